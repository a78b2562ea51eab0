/* PIIX4 (82371AB) ISA bridge: PIRQ routing and the reset control register. */
#ifndef DEV_PIIX4_H
#define DEV_PIIX4_H

#include "dev/pci.h"

#define PIIX4_SLOT    1    /* where OVMF looks for it, without asking */
#define PIIX4_PIRQRC  0x60 /* one byte per PIRQ: bit 7 set: not routed, bits 3..0 the ISA IRQ */
#define PIIX4_SCI_IRQ 9

struct piix4_regs {
	struct pci_regs pci;
	u8 rc;   /* reset control, port CF9h */
	u8 pirq; /* levels of PIRQA..PIRQD */
	u8 sci;
};

struct piix4 {
	struct device dev;
	struct piix4_regs regs;
	struct pci_func func; /* the board sets func.bus */
	/* Inputs of the 8259 pair that PCI lines and SCI may drive; active high. */
	struct irq isa[16];
	struct irq apic[PCI_PIRQS]; /* PIRQA..D as an I/O APIC sees them */
	u16 isa_level;              /* what isa[] is driven to, derived */
	/* The guest asked for a reset: hard, or INIT of the processors alone. Called from a vCPU's
	 * exit; it must only take note. */
	void (*reset)(void *opaque, bool hard);
	void *reset_opaque;
};

extern const struct device_type piix4_type;
/* Port CF9h, for the bridge that decodes it. */
extern const struct bus_ops piix4_reset_ops;

/* Inputs for struct irq: chip is the struct piix4. line: 0..3 for PIRQA..D. */
void piix4_pirq_set(void *chip, unsigned line, bool level);
/* The power management function's SCI, on IRQ 9 (ISA and I/O APIC). line is ignored. */
void piix4_sci_set(void *chip, unsigned line, bool level);

#endif
