/* 82443BX host bridge: function 00:00.0 and the door to configuration space.
 * The memory controller's registers are storage: RAM is always there and never shadowed. */
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

static void i440bx_reset(struct device *dev)
{
	struct i440bx *h = (struct i440bx *)dev;

	pci_func_reset(&h->func);
	h->regs.confadd = 0;
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
	pci_func_init(f, dev->name, 0x8086, 0x7190, 0x060000, 0x03);
	/* PCICMD resets to 0006h: memory and bus master, wired to one. PCISTS: medium DEVSEL#. */
	le_store(f->initial + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	le_store(f->writable + PCI_COMMAND, PCI_COMMAND_PARITY | PCI_COMMAND_SERR, 2);
	le_store(f->initial + PCI_STATUS, 0x0200, 2);
	f->writable[PCI_INTR_LINE] = 0;
	for (unsigned i = 0; i < ARRAY_LEN(storage); i++)
		memset(f->writable + storage[i].first, 0xff,
		       storage[i].last - storage[i].first + 1u);
	r = bus_map(dev->platform->ports, I440BX_CONFIG_PORT, 8, &config_ops, h, dev->name);
	if (r)
		return r;
	r = pci_add(f);
	if (r)
		bus_unmap(dev->platform->ports, I440BX_CONFIG_PORT, h);
	return r;
}

static void i440bx_fini(struct device *dev)
{
	struct i440bx *h = (struct i440bx *)dev;

	pci_remove(&h->func);
	bus_unmap(dev->platform->ports, I440BX_CONFIG_PORT, h);
}

static void i440bx_loaded(struct device *dev)
{
	struct i440bx *h = (struct i440bx *)dev;

	pci_func_loaded(&h->func);
	h->regs.confadd &= CONFADD_WRITABLE;
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
