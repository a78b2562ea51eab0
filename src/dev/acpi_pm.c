/* PIIX4 function 3 (82371AB datasheet 29056201, chapter 7): power management registers, PM
 * timer, SCI. */
#include "dev/acpi_pm.h"

#include "base/trace.h"
#include "dev/piix4.h"

/* PMSTS and PMEN (7.2.1, 7.2.2): PM1 event block of ACPI. Bit 0 timer overflow, 5 global, 8
 * power button, 10 RTC, 11 power button override, 15 wake. */
#define STS_TMROF  BIT(0)
#define STS_PWRBTN BIT(8)
#define STS_ALL    0x8d31u
#define EN_ALL     0x0521u
/* PMCNTRL (7.2.3): bit 0 SCI_EN, 1 BRLD_EN_BM, 2 GBL_RLS, 12..10 SUS_TYP, 13 SUS_EN. */
#define CNTRL_SCI_EN BIT(0)
#define CNTRL_STORED 0x1c03u
#define CNTRL_SUS_EN BIT(13)

#define SMB_HST_EN    0x01u
#define SMB_INTR      0x0eu
#define SMB_INTR_IRQ9 0x08u

#define PM_TIMER_HZ   3579545u
#define PM_TIMER_BITS 24 /* 7.2.4; the FADT leaves TMR_VAL_EXT clear */
#define HALF_PERIOD   (1ull << (PM_TIMER_BITS - 1))

/* --- PM timer ------------------------------------------------------------------------------- */

static u64 ticks(const struct acpi_pm *pm)
{
	return clock_ns_to_ticks(clock_now(pm->dev.platform->clock), PM_TIMER_HZ);
}

/* SMBHSTCFG (7.1.35): the controller's interrupt is IRQ 9, or an SMI that nobody sees. */
static bool smbus_irq(const struct acpi_pm *pm)
{
	return (pm->regs.pci.config[ACPI_PM_SMBHSTCFG] & SMB_INTR) == SMB_INTR_IRQ9 &&
	       smbus_interrupt(&pm->smbus);
}

/* Brings the overflow status, the SCI and the timer for the next overflow in step with the time.
 * TMROF_STS is set each time the counter's highest bit changes. */
static void update(struct acpi_pm *pm)
{
	struct acpi_pm_regs *r = &pm->regs;
	struct clock *clock = pm->dev.platform->clock;
	u64 wraps = ticks(pm) / HALF_PERIOD;

	if (wraps != r->timer_wraps)
		r->pmsts |= STS_TMROF;
	r->timer_wraps = wraps;
	irq_set(&pm->sci, ((r->pmcntrl & CNTRL_SCI_EN) && (r->pmsts & r->pmen)) || smbus_irq(pm));
	if ((r->pmen & STS_TMROF) && !(r->pmsts & STS_TMROF))
		timer_set(clock, &pm->overflow,
			  clock_ticks_to_ns((wraps + 1) * HALF_PERIOD, PM_TIMER_HZ));
	else
		timer_cancel(clock, &pm->overflow);
}

static void overflowed(void *arg) { update(arg); }

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pm->regs.pmsts |= STS_PWRBTN;
	update(pm);
}

/* --- The register block --------------------------------------------------------------------- */

/* One byte of the block. */
static u8 block_byte(const struct acpi_pm *pm, unsigned offset)
{
	const struct acpi_pm_regs *r = &pm->regs;
	u8 image[ACPI_PM_SIZE] = { 0 };

	le_store(image + 0x00, r->pmsts, 2);
	le_store(image + 0x02, r->pmen, 2);
	le_store(image + 0x04, r->pmcntrl, 2);
	le_store(image + 0x08, ticks(pm) & bits_mask(PM_TIMER_BITS), 4);
	le_store(image + 0x0e, r->gpen, 2);
	le_store(image + 0x10, r->pcntrl, 4);
	/* PLVL2 and PLVL3 (0x14, 0x15) read 0; reading does not stop the processor here. */
	le_store(image + 0x20, r->glben, 2);
	le_store(image + 0x28, r->glbctl, 4);
	le_store(image + 0x2c, r->devctl, 4);
	le_store(image + 0x34, r->gporeg, 4);
	return image[offset];
}

static u64 block_read(void *dev, u64 offset, unsigned size)
{
	struct acpi_pm *pm = dev;
	u64 value = 0;

	update(pm);
	if (offset == ACPI_PM_TIMER && size == 4) /* the one that is read often */
		return ticks(pm) & bits_mask(PM_TIMER_BITS);
	for (unsigned i = 0; i < size; i++)
		value |= (u64)block_byte(pm, (unsigned)offset + i) << (8 * i);
	return value;
}

static void control_written(struct acpi_pm *pm, u16 value)
{
	pm->regs.pmcntrl = value & CNTRL_STORED;
	/* GBL_RLS asks the BIOS for the global lock; no BIOS ever holds it. */
	if (!(value & CNTRL_SUS_EN))
		return;
	trace(ACPI, "sleep, type %u", (unsigned)bits_get(value, 12, 10));
	if (bits_get(value, 12, 10) == ACPI_S5_SLP_TYP && pm->power_off)
		pm->power_off(pm->power_off_opaque);
}

/* Merges a byte into a little-endian register. */
#define PUT_BYTE(reg, n, byte) \
	((reg) = (__typeof__(reg))(((reg) & ~(0xffull << (8 * (n)))) | (u64)(byte) << (8 * (n))))

static void block_write_byte(struct acpi_pm *pm, unsigned offset, u8 value)
{
	struct acpi_pm_regs *r = &pm->regs;
	unsigned n = offset & 3;

	switch (offset) {
	case 0x00:
	case 0x01: r->pmsts &= (u16) ~((value << (8 * n)) & STS_ALL); break;
	case 0x02:
	case 0x03:
		PUT_BYTE(r->pmen, n - 2, value);
		r->pmen &= EN_ALL;
		break;
	case 0x04: control_written(pm, (u16)((r->pmcntrl & 0xff00) | value)); break;
	case 0x05: control_written(pm, (u16)((r->pmcntrl & 0x00ff) | value << 8)); break;
	case 0x0e:
	case 0x0f: PUT_BYTE(r->gpen, n - 2, value); break;
	case 0x10 ... 0x13: PUT_BYTE(r->pcntrl, n, value); break;
	case 0x20 ... 0x21: PUT_BYTE(r->glben, n, value); break;
	case 0x28 ... 0x2b: PUT_BYTE(r->glbctl, n, value); break;
	case 0x2c ... 0x2f: PUT_BYTE(r->devctl, n, value); break;
	case 0x34 ... 0x37: PUT_BYTE(r->gporeg, n, value); break;
	}
}

static void block_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct acpi_pm *pm = dev;

	trace(ACPI, "write %02llx.%u = %llx", (unsigned long long)offset, size,
	      (unsigned long long)value);
	update(pm);
	if (offset == ACPI_PM1_CONTROL && size >= 2) {
		/* SUS_EN and SUS_TYP act together. */
		control_written(pm, (u16)value);
	} else {
		for (unsigned i = 0; i < size; i++)
			block_write_byte(pm, (unsigned)offset + i, (u8)(value >> (8 * i)));
	}
	update(pm);
}

static const struct bus_ops block_ops = { block_read, block_write, 4 };

/* --- SMI command ---------------------------------------------------------------------------- */

static u64 smi_read(void *dev, u64 offset, unsigned size)
{
	const struct acpi_pm *pm = dev;

	return offset ? pm->regs.apms : pm->regs.apmc;
}

/* APMC raises an SMI; what the firmware's handler would do for ACPI is done here (ACPI 6.4,
 * 4.8.2.5). */
static void smi_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct acpi_pm *pm = dev;

	if (offset) {
		pm->regs.apms = (u8)value;
		return;
	}
	pm->regs.apmc = (u8)value;
	trace(ACPI, "SMI command %#x", (unsigned)value);
	if (value == ACPI_SMI_ENABLE)
		pm->regs.pmcntrl |= CNTRL_SCI_EN;
	else if (value == ACPI_SMI_DISABLE)
		pm->regs.pmcntrl &= (u16)~CNTRL_SCI_EN;
	update(pm);
}

static const struct bus_ops smi_ops = { smi_read, smi_write, 1 };

/* --- Function 3 ----------------------------------------------------------------------------- */

/* One of the two blocks: decoded where it is, or not. A place that is taken stays with its owner. */
static void place(struct bus *ports, bool *mapped, u16 *at, bool on, u16 base, u32 size,
		  const struct bus_ops *ops, void *dev, const char *name)
{
	if (*mapped == on && base == *at)
		return;
	if (*mapped)
		bus_unmap(ports, *at, dev);
	*at = base;
	*mapped = on && bus_map(ports, base, size, ops, dev, name) == 0;
}

static void map_power(struct acpi_pm *pm, bool on, u16 base)
{
	place(pm->dev.platform->ports, &pm->mapped, &pm->base, on, base, ACPI_PM_SIZE, &block_ops,
	      pm, pm->dev.name);
}

static void map_smbus(struct acpi_pm *pm, bool on, u16 base)
{
	place(pm->dev.platform->ports, &pm->smbus_mapped, &pm->smbus_base, on, base, SMBUS_SIZE,
	      &smbus_ops, &pm->smbus, "smbus");
}

/* PMREGMISC switches the power management block on, not the command register (7.1.30); the SMBus
 * block needs both (7.1.2, 7.1.35). */
static void map_blocks(struct acpi_pm *pm)
{
	const u8 *config = pm->regs.pci.config;
	bool io = pci_command(&pm->func) & PCI_COMMAND_IO;

	map_power(pm, config[ACPI_PM_PMREGMISC] & ACPI_PM_PMIOSE,
		  (u16)(le_load(config + ACPI_PM_PMBA, 2) & ~(ACPI_PM_SIZE - 1)));
	map_smbus(pm, io && (config[ACPI_PM_SMBHSTCFG] & SMB_HST_EN),
		  (u16)(le_load(config + ACPI_PM_SMBBA, 2) & ~(SMBUS_SIZE - 1)));
}

static void smbus_changed(void *opaque) { update(opaque); }

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
	map_blocks(f->opaque);
	update(f->opaque);
}

static void acpi_pm_reset(struct device *dev)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	pci_func_reset(&pm->func);
	memset((u8 *)&pm->regs + sizeof(pm->regs.pci), 0, sizeof(pm->regs) - sizeof(pm->regs.pci));
	smbus_reset(&pm->smbus);
	pm->regs.timer_wraps = ticks(pm) / HALF_PERIOD;
	map_blocks(pm);
	update(pm);
}

static void describe(struct acpi_pm *pm)
{
	struct pci_func *f = &pm->func;

	/* Revision 3: systems work around a fault in the timer of earlier ones. */
	pci_func_init(f, pm->dev.name, 0x8086, 0x7113, 0x068000, 0x03);
	le_store(f->initial + PCI_STATUS, 0x0280, 2);
	le_store(f->writable + PCI_COMMAND, PCI_COMMAND_IO, 2);
	le_store(f->initial + ACPI_PM_PMBA, 1, 4); /* I/O space */
	le_store(f->writable + ACPI_PM_PMBA, 0xffc0, 4);
	memset(f->writable + 0x44, 0xff, 0x3c); /* CNTA to DEVRESJ */
	/* There is no system management mode: firmware takes APMC_EN for the mark of an earlier stage that has set it up. */
	le_store(f->initial + ACPI_PM_DEVACTB, ACPI_PM_APMC_EN, 4);
	f->writable[ACPI_PM_PMREGMISC] = 1;
	le_store(f->initial + ACPI_PM_SMBBA, 1, 4);
	le_store(f->writable + ACPI_PM_SMBBA, 0xfff0, 4);
	f->writable[ACPI_PM_SMBHSTCFG] = SMB_HST_EN | SMB_INTR;
	memset(f->writable + ACPI_PM_SMBHSTCFG + 1, 0xff, 3); /* SMBSLVC, SMBSHDW1 and 2 */
}

static int acpi_pm_init(struct device *dev)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;
	struct pci_func *f = &pm->func;
	struct bus *ports = dev->platform->ports;
	int r;

	f->regs = &pm->regs.pci;
	f->devfn = PCI_DEVFN(PIIX4_SLOT, 3);
	f->opaque = pm;
	f->config_written = config_written;
	describe(pm);
	pm->smbus = (struct smbus){ .regs = &pm->regs.smbus,
				    .clock = dev->platform->clock,
				    .changed = smbus_changed,
				    .opaque = pm };
	r = smbus_init(&pm->smbus, "smbus");
	if (!r)
		r = timer_init(dev->platform->clock, &pm->overflow, dev->name, overflowed, pm);
	if (r)
		return r;
	r = bus_map(ports, ACPI_SMI_COMMAND, 2, &smi_ops, pm, dev->name);
	if (r)
		return r;
	r = pci_add(f);
	if (r)
		bus_unmap(ports, ACPI_SMI_COMMAND, pm);
	else
		acpi_pm_reset(dev);
	return r;
}

static void acpi_pm_fini(struct device *dev)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	timer_cancel(dev->platform->clock, &pm->overflow);
	map_power(pm, false, 0);
	map_smbus(pm, false, 0);
	timer_cancel(dev->platform->clock, &pm->smbus.timer);
	bus_unmap(dev->platform->ports, ACPI_SMI_COMMAND, pm);
	pci_remove(&pm->func);
}

static void acpi_pm_loaded(struct device *dev)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	pci_func_loaded(&pm->func);
	smbus_loaded(&pm->smbus);
	map_blocks(pm);
	update(pm);
}

static const struct state_field fields[] = {
	PCI_STATE_ROWS(struct acpi_pm_regs, pci),    STATE_ROW(struct acpi_pm_regs, pmsts),
	STATE_ROW(struct acpi_pm_regs, pmen),        STATE_ROW(struct acpi_pm_regs, pmcntrl),
	STATE_ROW(struct acpi_pm_regs, pcntrl),      STATE_ROW(struct acpi_pm_regs, glben),
	STATE_ROW(struct acpi_pm_regs, glbctl),      STATE_ROW(struct acpi_pm_regs, devctl),
	STATE_ROW(struct acpi_pm_regs, gporeg),      STATE_ROW(struct acpi_pm_regs, gpen),
	STATE_ROW(struct acpi_pm_regs, apmc),        STATE_ROW(struct acpi_pm_regs, apms),
	STATE_ROW(struct acpi_pm_regs, timer_wraps), SMBUS_STATE_ROWS(struct acpi_pm_regs, smbus),
};
static STATE_DESC(acpi_pm_state, struct acpi_pm_regs, "acpi-pm", fields);

const struct device_type acpi_pm_type = {
	.name = "acpi-pm",
	.help = "PIIX4 power management: power button, soft off, PM timer",
	.size = sizeof(struct acpi_pm),
	.regs_offset = offsetof(struct acpi_pm, regs),
	.regs = &acpi_pm_state,
	.init = acpi_pm_init,
	.reset = acpi_pm_reset,
	.loaded = acpi_pm_loaded,
	.fini = acpi_pm_fini,
};
