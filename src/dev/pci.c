/* PCI functions and their configuration space (PCI Local Bus Specification 3.0, chapter 6). */
#include "dev/pci.h"

#include "base/trace.h"
#include "dev/pci_msix.h"

#include <errno.h>

#define PCI_BAR_PREFETCH BIT(3)
#define PCI_ROM_ENABLE   BIT(0)

void pci_func_init(struct pci_func *f, const char *name, u16 vendor, u16 device, u32 class_code,
		   u8 revision)
{
	f->name = name;
	memset(f->initial, 0, sizeof(f->initial));
	memset(f->writable, 0, sizeof(f->writable));
	memset(f->bars, 0, sizeof(f->bars));
	f->cap_last = 0;
	f->cap_end = 0x40;
	f->msix_cap = 0;
	f->msix_vectors = 0;
	le_store(f->initial + PCI_VENDOR_ID, vendor, 2);
	le_store(f->initial + PCI_DEVICE_ID, device, 2);
	le_store(f->initial + PCI_CLASS_CODE, class_code, 3);
	f->initial[PCI_REVISION_ID] = revision;
	le_store(f->writable + PCI_COMMAND,
		 PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX, 2);
	f->writable[PCI_INTR_LINE] = 0xff;
}

void pci_bar_init(struct pci_func *f, unsigned n, bool io, u64 size, const struct bus_ops *ops,
		  void *dev)
{
	unsigned offset = PCI_BAR0 + 4 * n;

	f->bars[n] = (struct pci_bar){ .size = size, .ops = ops, .dev = dev, .io = io };
	f->initial[offset] = io; /* bit 0: I/O space; memory is 32-bit, not prefetchable */
	le_store(f->writable + offset, ~(size - 1), 4);
	f->writable[PCI_COMMAND] |= io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
}

void pci_bar_area_init(struct pci_func *f, unsigned n, struct mem_area *area)
{
	pci_bar_init(f, n, false, area->size, NULL, NULL);
	f->bars[n].area = area;
	f->initial[PCI_BAR0 + 4 * n] = PCI_BAR_PREFETCH;
}

void pci_rom_init(struct pci_func *f, struct mem_area *area)
{
	f->bars[PCI_ROM_BAR] = (struct pci_bar){ .size = area->size, .area = area };
	le_store(f->writable + PCI_ROM_BASE, ~(area->size - 1) | PCI_ROM_ENABLE, 4);
	f->writable[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
}

unsigned pci_cap_add(struct pci_func *f, u8 id, unsigned size)
{
	unsigned offset = f->cap_end;

	f->initial[f->cap_last ? f->cap_last + 1 : PCI_CAP_PTR] = (u8)offset;
	f->initial[PCI_STATUS] |= PCI_STATUS_CAPS;
	f->initial[offset] = id;
	f->cap_last = (u8)offset;
	f->cap_end = (u8)align_up(offset + size, 4);
	return offset;
}

/* Where the guest has put BAR n; false if the command register, or a ROM's own enable bit, has it
 * switched off. */
static bool bar_decodes(const struct pci_func *f, unsigned n, u64 *base)
{
	const struct pci_bar *bar = &f->bars[n];
	bool rom = n == PCI_ROM_BAR;
	u32 value = (u32)le_load(f->regs->config + (rom ? PCI_ROM_BASE : PCI_BAR0 + 4 * n), 4);

	*base = value & ~(u32)(bar->size - 1);
	return bar->size && (!rom || (value & PCI_ROM_ENABLE)) &&
	       (pci_command(f) & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
}

static struct bus *bar_bus(const struct pci_func *f, unsigned n)
{
	return f->bars[n].io ? f->bus->ports : f->bus->mmio;
}

static void bar_unmap(struct pci_func *f, unsigned n)
{
	struct pci_bar *bar = &f->bars[n];

	if (bar->mapped && bar->area)
		mem_hide(f->bus->mem, bar->base, bar);
	else if (bar->mapped)
		bus_unmap(bar_bus(f, n), bar->base, bar->dev);
	bar->mapped = false;
}

static bool mem_taken(const struct mem *mem, u64 base, u64 size)
{
	for (unsigned n = 0; n < mem->count; n++) {
		const struct mem_slot *s = &mem->slots[n];

		if (base < s->base + s->size && s->base < base + size)
			return true;
	}
	return false;
}

static int bar_map(struct pci_func *f, unsigned n, u64 base)
{
	struct pci_bar *bar = &f->bars[n];
	struct mem_window window = {
		.base = base,
		.size = bar->size,
		.area = bar->area,
		.access = n == PCI_ROM_BAR ? MEM_ROM : MEM_RAM,
		.level = MEM_LEVEL_DEVICE,
		.owner = bar,
	};

	if (!bar->area)
		return bus_map(bar_bus(f, n), base, bar->size, bar->ops, bar->dev, f->name);
	if (mem_taken(f->bus->mem, base, bar->size))
		return -EEXIST;
	return mem_show(f->bus->mem, &window);
}

/* Maps what decodes and is not mapped. Two regions that claim one address are undefined on the real
 * bus; here the first one keeps it, and the other is tried again whenever a mapping goes away. */
static void map_waiting(struct pci_bus *bus)
{
	for (unsigned devfn = 0; devfn < ARRAY_LEN(bus->funcs); devfn++) {
		struct pci_func *f = bus->funcs[devfn];

		for (unsigned n = 0; f && n <= PCI_ROM_BAR; n++) {
			struct pci_bar *bar = &f->bars[n];
			u64 base;
			int r;

			if (bar->mapped || !bar_decodes(f, n, &base))
				continue;
			r = bar_map(f, n, base);
			bar->mapped = r == 0;
			bar->base = base;
			trace(PCI, "%s: BAR%u at %#llx, %s%s", f->name, n, (unsigned long long)base,
			      bar->io ? "port" : "memory", r ? ": taken, not mapped" : "");
		}
	}
}

static void remap(struct pci_func *f)
{
	bool changed = false;

	for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
		struct pci_bar *bar = &f->bars[n];
		u64 base;
		bool on = bar_decodes(f, n, &base);

		if (bar->mapped == on && (!on || bar->base == base))
			continue;
		bar_unmap(f, n);
		changed = true;
	}
	if (changed)
		map_waiting(f->bus);
}

/* Brings the status register and the shared PIRQ lines in step with the functions' INTx. */
static void update_intx(struct pci_bus *bus)
{
	u8 level = 0, changed;

	for (unsigned devfn = 0; devfn < ARRAY_LEN(bus->funcs); devfn++) {
		struct pci_func *f = bus->funcs[devfn];

		if (!f || !f->initial[PCI_INTR_PIN])
			continue;
		if (f->regs->intx)
			f->regs->config[PCI_STATUS] |= PCI_STATUS_INTX;
		else
			f->regs->config[PCI_STATUS] &= (u8)~PCI_STATUS_INTX;
		if (f->regs->intx && !(pci_command(f) & PCI_COMMAND_INTX) && !pci_msix_enabled(f))
			level |= BIT(pci_pirq(devfn >> 3, f->initial[PCI_INTR_PIN] - 1u));
	}
	changed = bus->pirq_level ^ level;
	bus->pirq_level = level;
	for (unsigned i = 0; i < PCI_PIRQS; i++) {
		if (changed & BIT(i))
			irq_set(&bus->pirq[i], level & BIT(i));
	}
}

/* Derives mappings and interrupts from the regs. */
static void refresh(struct pci_func *f)
{
	remap(f);
	update_intx(f->bus);
	pci_msix_deliver(f);
}

void pci_intx_set(struct pci_func *f, bool level)
{
	if (f->regs->intx == level)
		return;
	f->regs->intx = level;
	update_intx(f->bus);
}

int pci_add(struct pci_func *f)
{
	if (f->bus->funcs[f->devfn])
		return -EEXIST;
	f->bus->funcs[f->devfn] = f;
	pci_func_reset(f);
	return 0;
}

void pci_remove(struct pci_func *f)
{
	if (f->bus->funcs[f->devfn] != f)
		return;
	pci_func_reset(f);
	f->bus->funcs[f->devfn] = NULL;
}

void pci_func_reset(struct pci_func *f)
{
	memset(f->regs, 0, sizeof(*f->regs));
	memcpy(f->regs->config, f->initial, sizeof(f->initial));
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		f->regs->msix_control[i] = PCI_MSIX_MASKED;
	refresh(f);
}

void pci_func_loaded(struct pci_func *f)
{
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		u8 kept = f->writable[i];

		f->regs->config[i] = (u8)((f->regs->config[i] & kept) | (f->initial[i] & ~kept));
	}
	refresh(f);
}

u32 pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size)
{
	struct pci_func *f = bus->funcs[devfn & 0xff];
	u32 value;

	offset &= PCI_CONFIG_SIZE - size;
	if (!f)
		return (u32)bits_mask(8 * size);
	if (f->config_read)
		f->config_read(f, offset, size);
	value = (u32)le_load(f->regs->config + offset, size);
	trace(PCI, "%s: config read %02x.%u = %x", f->name, offset, size, value);
	return value;
}

void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, u32 value,
		      unsigned size)
{
	struct pci_func *f = bus->funcs[devfn & 0xff];
	unsigned end;

	offset &= PCI_CONFIG_SIZE - size;
	if (!f)
		return;
	trace(PCI, "%s: config write %02x.%u = %x", f->name, offset, size, value);
	for (unsigned i = 0; i < size; i++) {
		u8 *reg = &f->regs->config[offset + i];
		u8 byte = (u8)(value >> (8 * i)), mask = f->writable[offset + i];

		*reg = (u8)((*reg & ~mask) | (byte & mask));
	}
	end = offset + size;
	if (offset < PCI_ROM_BASE + 4 && end > PCI_COMMAND)
		refresh(f);
	if (f->msix_cap && offset < f->msix_cap + 4u && end > f->msix_cap)
		refresh(f);
	if (f->config_written)
		f->config_written(f, offset, size);
}

u64 pci_bar_read(struct pci_func *f, unsigned n, u64 offset, unsigned size)
{
	return f->bars[n].ops->read(f->bars[n].dev, offset, size);
}

void pci_bar_write(struct pci_func *f, unsigned n, u64 offset, u64 value, unsigned size)
{
	f->bars[n].ops->write(f->bars[n].dev, offset, value, size);
}
