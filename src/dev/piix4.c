/* 82371AB (PIIX4) function 0: PCI to ISA bridge (datasheet 29056201, chapter 4). */
#include "dev/piix4.h"

#include "base/trace.h"

#define PIRQRC_OFF 0x80
#define PIRQRC_IRQ 0x0f

/* Reset control, CF9h (4.2.6.1): RCPU 0 to 1 starts the reset that SRST selects. */
#define RC_SRST BIT(1)
#define RC_RCPU BIT(2)

/* IRQs that a PIRQ may be routed to (4.1.10); the others belong to the board's own chips. */
#define ROUTABLE 0xdef8u

/* Drives each interrupt line with the OR of its sources. */
static void update(struct piix4 *p)
{
	u16 level = p->regs.sci ? BIT(PIIX4_SCI_IRQ) : 0, changed;

	for (unsigned i = 0; i < PCI_PIRQS; i++) {
		u8 route = p->regs.pci.config[PIIX4_PIRQRC + i];

		if ((p->regs.pirq & BIT(i)) && !(route & PIRQRC_OFF))
			level |= BIT(route & PIRQRC_IRQ) & ROUTABLE;
	}
	changed = level ^ p->isa_level;
	p->isa_level = level;
	for (unsigned i = 0; i < ARRAY_LEN(p->isa); i++) {
		if (changed & BIT(i))
			irq_set(&p->isa[i], level & BIT(i));
	}
}

void piix4_pirq_set(void *chip, unsigned line, bool level)
{
	struct piix4 *p = chip;

	if (line >= PCI_PIRQS)
		return;
	p->regs.pirq = (u8)((p->regs.pirq & ~BIT(line)) | (level ? BIT(line) : 0));
	irq_set(&p->apic[line], level);
	update(p);
}

void piix4_sci_set(void *chip, unsigned line, bool level)
{
	struct piix4 *p = chip;

	p->regs.sci = level;
	update(p);
}

static u64 rc_read(void *dev, u64 offset, unsigned size)
{
	const struct piix4 *p = dev;

	return p->regs.rc;
}

static void rc_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct piix4 *p = dev;
	bool start = !(p->regs.rc & RC_RCPU) && (value & RC_RCPU);

	p->regs.rc = value & (RC_SRST | RC_RCPU);
	if (!start)
		return;
	trace(ACPI, "reset control: %s reset", value & RC_SRST ? "hard" : "soft");
	if (p->reset)
		p->reset(p->reset_opaque, value & RC_SRST);
}

const struct bus_ops piix4_reset_ops = { rc_read, rc_write, 1 };

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
	if (offset < PIIX4_PIRQRC + PCI_PIRQS && offset + size > PIIX4_PIRQRC)
		update(f->opaque);
}

/* The PIRQ inputs and SCI are levels that others drive: they stay as they are. */
static void piix4_reset(struct device *dev)
{
	struct piix4 *p = (struct piix4 *)dev;

	pci_func_reset(&p->func);
	p->regs.rc = 0;
	update(p);
}

static int piix4_init(struct device *dev)
{
	struct piix4 *p = (struct piix4 *)dev;
	struct pci_func *f = &p->func;

	f->regs = &p->regs.pci;
	f->devfn = PCI_DEVFN(PIIX4_SLOT, 0);
	f->opaque = p;
	f->config_written = config_written;
	pci_func_init(f, dev->name, 0x8086, 0x7110, 0x060100, 0x02);
	f->initial[PCI_HEADER_TYPE] = PCI_HEADER_MULTI;
	/* PCICMD: I/O, memory and bus master are wired to one. PCISTS: medium DEVSEL#. */
	le_store(f->initial + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
		 2);
	le_store(f->writable + PCI_COMMAND, PCI_COMMAND_SERR, 2);
	le_store(f->initial + PCI_STATUS, 0x0280, 2);
	f->writable[PCI_INTR_LINE] = 0;
	f->initial[0x4c] = 0x4d; /* IORT */
	f->writable[0x4c] = 0xff;
	le_store(f->initial + 0x4e, 0x0003, 2); /* XBCS */
	le_store(f->writable + 0x4e, 0x07ff, 2);
	memset(f->initial + PIIX4_PIRQRC, PIRQRC_OFF, PCI_PIRQS);
	memset(f->writable + PIIX4_PIRQRC, PIRQRC_OFF | PIRQRC_IRQ, PCI_PIRQS);
	f->initial[0x64] = 0x10; /* SERIRQC */
	f->writable[0x64] = 0xff;
	f->initial[0x69] = 0x02; /* TOM */
	f->writable[0x69] = 0xff;
	le_store(f->writable + 0xb0, 0xffffffff, 4); /* GENCFG */
	return pci_add(f);
}

static void piix4_fini(struct device *dev) { pci_remove(&((struct piix4 *)dev)->func); }

static void piix4_loaded(struct device *dev)
{
	struct piix4 *p = (struct piix4 *)dev;

	pci_func_loaded(&p->func);
	for (unsigned i = 0; i < PCI_PIRQS; i++)
		irq_set(&p->apic[i], p->regs.pirq & BIT(i));
	update(p);
}

static const struct state_field fields[] = {
	PCI_STATE_ROWS(struct piix4_regs, pci),
	STATE_ROW(struct piix4_regs, rc),
	STATE_ROW(struct piix4_regs, pirq),
	STATE_ROW(struct piix4_regs, sci),
};
static STATE_DESC(piix4_state, struct piix4_regs, "piix4", fields);

const struct device_type piix4_type = {
	.name = "piix4",
	.help = "Intel PIIX4 PCI to ISA bridge",
	.size = sizeof(struct piix4),
	.regs_offset = offsetof(struct piix4, regs),
	.regs = &piix4_state,
	.init = piix4_init,
	.reset = piix4_reset,
	.loaded = piix4_loaded,
	.fini = piix4_fini,
};
