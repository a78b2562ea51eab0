/* 82443BX host bridge: function 00:00.0 and the door to configuration space. Of the memory controller's registers PAM and SMRAM
 * act, the rest is storage. */
#include "dev/i440bx.h"

#include "base/trace.h"

#include <errno.h>

/* CONFADD
 *  31      30..24     23..16  15..11  10..8     7..2      1..0
 * | enable | reserved | bus | device | function | register | 0 |
 */
#define CONFADD_ENABLE   BIT(31)
#define CONFADD_WRITABLE 0x80fffffcu

#define RESET_CONTROL 1u /* CF9h, from the start of the region */
#define CONFDATA      4u

/* Registers of the memory controller that software writes: first and last byte (82443BX
 * datasheet, 3.3). */
static const struct {
	u8 first, last;
} storage[] = {
	{ 0x0d, 0x0d }, /* MLT */
	{ 0x50, 0x53 }, /* NBXCFG */
	{ 0x57, 0x6b }, /* DRAMC DRAMT PAM DRB FDHC MBSC */
	{ 0x72, 0x78 }, /* SMRAM ESMRAMC RPS SDRAMC PGPOL */
	{ 0x7a, 0x7b }, /* PMCR SCRR */
	{ 0xca, 0xd7 }, /* MBFS */
	{ 0xf8, 0xf9 }, /* BSPAD */
};

static u32 config_addr(const struct i440bx *h) { return h->regs.confadd; }

static bool selected(const struct i440bx *h)
{
	return (config_addr(h) & CONFADD_ENABLE) && bits_get(config_addr(h), 23, 16) == 0;
}

static unsigned devfn(const struct i440bx *h) { return (unsigned)bits_get(config_addr(h), 15, 8); }

/* Only a doubleword access at CF8h is CONFADD; any other goes on to the ports behind the bridge,
 * where CF9h alone exists. Configuration data accesses that are not aligned within the
 * doubleword are taken apart into bytes. */
static u64 config_port_read(void *dev, u64 offset, unsigned size)
{
	struct i440bx *h = dev;
	u64 value = 0;

	if (offset == 0 && size == 4)
		return config_addr(h);
	if (offset == RESET_CONTROL && size == 1 && h->reset_ops)
		return h->reset_ops->read(h->reset_dev, 0, 1);
	if (offset < CONFDATA || !selected(h))
		return bits_mask(8 * size);
	if (offset % size == 0)
		return pci_config_read(&h->bus, devfn(h), (config_addr(h) & 0xfc) | (offset & 3),
				       size);
	for (unsigned i = 0; i < size; i++)
		value |= config_port_read(h, offset + i, 1) << (8 * i);
	return value;
}

static void config_port_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct i440bx *h = dev;

	if (offset == 0 && size == 4) {
		h->regs.confadd = value & CONFADD_WRITABLE;
	} else if (offset == RESET_CONTROL && size == 1 && h->reset_ops) {
		h->reset_ops->write(h->reset_dev, 0, value, 1);
	} else if (offset < CONFDATA || !selected(h)) {
		trace(PCI, "write to port %#llx ignored", 0xcf8 + (unsigned long long)offset);
	} else if (offset % size == 0) {
		pci_config_write(&h->bus, devfn(h), (config_addr(h) & 0xfc) | (offset & 3),
				 (u32)value, size);
	} else {
		for (unsigned i = 0; i < size; i++)
			config_port_write(h, offset + i, value >> (8 * i) & 0xff, 1);
	}
}

static const struct bus_ops config_ops = { config_port_read, config_port_write, 4 };

/* --- Shadow RAM and SMRAM (82443BX datasheet, 3.3.17, 3.3.21 and 4.1) -------------------------- */

#define SHADOW_BASE 0xc0000ull
#define SHADOW_END  0x100000ull
#define SHADOW_PIECE \
	0x4000u /* PAM1..PAM6 have two pieces each, low nibble first; PAM0's high nibble is the BIOS area */
#define BIOS_BASE 0xf0000ull

#define SMRAM_BASE     0xa0000ull
#define SMRAM_SIZE     0x20000u
#define SMRAM_OPEN     BIT(6)
#define SMRAM_LOCK     BIT(4)
#define SMRAM_ON       BIT(3)
#define SMRAM_FIXED    0x07 /* C_BASE_SEG reads 010b: A0000h */
#define SMRAM_WRITABLE 0x78

static unsigned pam_attributes(const struct i440bx *h, gpa_t gpa)
{
	const u8 *pam = h->regs.pci.config + I440BX_PAM;
	unsigned piece = (unsigned)(gpa - SHADOW_BASE) / SHADOW_PIECE;
	unsigned bits = gpa >= BIOS_BASE ? pam[0] >> 4 : pam[1 + piece / 2] >> (piece % 2 ? 4 : 0);

	return bits & (I440BX_PAM_READ | I440BX_PAM_WRITE);
}

static void ram_show(struct i440bx *h, gpa_t base, u64 size, enum mem_access access)
{
	struct mem *mem = h->dev.platform->mem;
	struct mem_window w = { .base = base,
				.size = size,
				.area = mem->ram,
				.offset = base,
				.access = access,
				.level = MEM_LEVEL_SHADOW,
				.owner = h };

	if (mem_show(mem, &w))
		trace(PCI, "no window for RAM at %#llx", (unsigned long long)base);
}

/* Where reads are the memory's there is a window; writes that are not go to the bus, as do all accesses elsewhere. */
static void shadow_update(struct i440bx *h)
{
	struct mem *mem = h->dev.platform->mem;

	for (gpa_t at = SHADOW_BASE; at < SHADOW_END;) {
		u64 size = at < BIOS_BASE ? SHADOW_PIECE : SHADOW_END - BIOS_BASE;
		unsigned attributes = pam_attributes(h, at);

		if (attributes & I440BX_PAM_READ)
			ram_show(h, at, size, attributes & I440BX_PAM_WRITE ? MEM_RAM : MEM_ROM);
		else
			mem_hide(mem, at, h);
		at += size;
	}
}

static void smram_update(struct i440bx *h)
{
	u8 *smram = &h->regs.pci.config[I440BX_SMRAM];

	*smram = (u8)((*smram & ~SMRAM_FIXED) | 2);
	if (*smram & SMRAM_LOCK)
		*smram &= (u8)~SMRAM_OPEN;
	if ((*smram & (SMRAM_OPEN | SMRAM_ON)) == (SMRAM_OPEN | SMRAM_ON)) {
		struct mem_window w = { .base = SMRAM_BASE,
					.size = SMRAM_SIZE,
					.area = h->dev.platform->mem->ram,
					.offset = SMRAM_BASE,
					.access = MEM_RAM,
					.level = MEM_LEVEL_SMRAM,
					.owner = h };

		if (mem_show(h->dev.platform->mem, &w))
			trace(PCI, "no window for SMRAM");
	} else {
		mem_hide(h->dev.platform->mem, SMRAM_BASE, h);
	}
	/* Locked until the next reset. */
	h->func.writable[I440BX_SMRAM] = *smram & SMRAM_LOCK ? 0 : SMRAM_WRITABLE;
}

/* Nothing on the PCI bus answers reads here. */
static u64 shadow_read(void *dev, u64 offset, unsigned size) { return bits_mask(8 * size); }

/* Write-only shadow RAM, for firmware that copies itself in place. */
static void shadow_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct i440bx *h = dev;
	struct mem *mem = h->dev.platform->mem;
	gpa_t gpa = SHADOW_BASE + offset;

	if (!(pam_attributes(h, gpa) & I440BX_PAM_WRITE))
		return;
	mem_area_touch(mem, mem->ram, gpa, size);
	le_store(mem->ram->host + gpa, value, size);
}

static const struct bus_ops shadow_ops = { shadow_read, shadow_write, 8 };

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
	struct i440bx *h = f->opaque;

	if (!h->dev.platform->mem)
		return;
	if (offset < I440BX_PAM + I440BX_PAMS && offset + size > I440BX_PAM)
		shadow_update(h);
	if (offset <= I440BX_SMRAM && offset + size > I440BX_SMRAM)
		smram_update(h);
}

static void memory_update(struct i440bx *h)
{
	if (!h->dev.platform->mem)
		return;
	shadow_update(h);
	smram_update(h);
}

static void i440bx_reset(struct device *dev)
{
	struct i440bx *h = (struct i440bx *)dev;

	pci_func_reset(&h->func);
	h->regs.confadd = 0;
	memory_update(h);
}

/* Takes the shadow area over from the memory's plain layout. */
static int memory_init(struct i440bx *h)
{
	struct platform *p = h->dev.platform;

	if (!p->mem)
		return 0;
	mem_hide(p->mem, SHADOW_BASE, p->mem);
	return bus_map(p->mmio, SHADOW_BASE, SHADOW_END - SHADOW_BASE, &shadow_ops, h, h->dev.name);
}

static int i440bx_init(struct device *dev)
{
	struct i440bx *h = (struct i440bx *)dev;
	struct pci_func *f = &h->func;
	int r;

	h->bus.ports = dev->platform->ports;
	h->bus.mmio = dev->platform->mmio;
	h->bus.mem = dev->platform->mem;
	f->bus = &h->bus;
	f->regs = &h->regs.pci;
	f->devfn = PCI_DEVFN(0, 0);
	f->opaque = h;
	f->config_written = config_written;
	pci_func_init(f, dev->name, 0x8086, h->fx ? 0x1237 : 0x7190, 0x060000, h->fx ? 0x02 : 0x03);
	/* PCICMD resets to 0006h: memory and bus master, wired to one. PCISTS: medium DEVSEL#. */
	le_store(f->initial + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	le_store(f->writable + PCI_COMMAND, PCI_COMMAND_PARITY | PCI_COMMAND_SERR, 2);
	le_store(f->initial + PCI_STATUS, 0x0200, 2);
	f->writable[PCI_INTR_LINE] = 0;
	for (unsigned i = 0; i < ARRAY_LEN(storage); i++)
		memset(f->writable + storage[i].first, 0xff,
		       storage[i].last - storage[i].first + 1u);
	f->initial[I440BX_SMRAM] = 0x02;
	r = bus_map(dev->platform->ports, I440BX_CONFIG_PORT, 8, &config_ops, h, dev->name);
	if (r)
		return r;
	r = pci_add(f);
	if (!r) {
		r = memory_init(h);
		if (r)
			pci_remove(f);
	}
	if (r)
		bus_unmap(dev->platform->ports, I440BX_CONFIG_PORT, h);
	else
		memory_update(h);
	return r;
}

static void i440bx_fini(struct device *dev)
{
	struct i440bx *h = (struct i440bx *)dev;

	pci_remove(&h->func);
	if (dev->platform->mem)
		bus_unmap(dev->platform->mmio, SHADOW_BASE, h);
	bus_unmap(dev->platform->ports, I440BX_CONFIG_PORT, h);
}

static void i440bx_loaded(struct device *dev)
{
	struct i440bx *h = (struct i440bx *)dev;

	h->func.writable[I440BX_SMRAM] = SMRAM_WRITABLE; /* the lock of before does not count */
	pci_func_loaded(&h->func);
	h->regs.confadd &= CONFADD_WRITABLE;
	memory_update(h);
}

static const struct state_field fields[] = {
	PCI_STATE_ROWS(struct i440bx_regs, pci),
	STATE_ROW(struct i440bx_regs, confadd),
};
static STATE_DESC(i440bx_state, struct i440bx_regs, "i440bx", fields);

const struct device_type i440bx_type = {
	.name = "i440bx",
	.help = "Intel 440BX host bridge with PCI bus 0",
	.size = sizeof(struct i440bx),
	.regs_offset = offsetof(struct i440bx, regs),
	.regs = &i440bx_state,
	.init = i440bx_init,
	.reset = i440bx_reset,
	.loaded = i440bx_loaded,
	.fini = i440bx_fini,
};
