/* I/O APIC: 82093AA (data sheet 290566-001) with 24 pins, and the EOI register of version 0x20 (ICH
 * data sheets, 9.5). */
#ifndef DEV_IOAPIC_H
#define DEV_IOAPIC_H

#include "core/device.h"
#include "dev/lapic.h"

#define IOAPIC_PINS 24u
#define IOAPIC_BASE 0xfec00000ull

struct ioapic_regs {
	u8 select; /* IOREGSEL */
	u8 id;
	u32 lines; /* pins that are asserted */
	u64 redir[IOAPIC_PINS];
};

struct ioapic {
	struct device dev;
	struct ioapic_regs regs;
	/* Set before init. */
	u64 base;
	u8 id;                                                     /* after power-on */
	bool (*deliver)(void *opaque, const struct apic_msg *msg); /* lapic_deliver fits */
	void *opaque;
};

extern const struct device_type ioapic_type;

/* An input: for struct irq, with chip = struct ioapic *. level is whether the interrupt is
 * asserted, whatever voltage that is: the polarity bits of the redirection table are kept but mean
 * nothing, as each wire has the polarity that the firmware's tables tell. */
void ioapic_set_line(void *chip, unsigned pin, bool level);

/* A local APIC has seen the end of a level-triggered interrupt: for struct lapic_set.eoi, with
 * opaque = struct ioapic *. */
void ioapic_eoi(void *chip, u8 vector);

#endif
