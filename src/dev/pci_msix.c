/* MSI-X: vector table, pending bits, delivery (PCI Local Bus Specification 3.0, 6.8.2). */
#include "dev/pci_msix.h"

#include "base/trace.h"

#define TABLE_OFFSET   0x000
#define PENDING_OFFSET 0x800
#define BAR_SIZE       0x1000
#define ENTRY_SIZE     16u

#define CONTROL        2 /* message control, from the start of the capability */
#define CONTROL_ENABLE BIT(15)
#define CONTROL_MASK   BIT(14) /* all vectors */

_Static_assert(PCI_MSIX_MAX *ENTRY_SIZE <= PENDING_OFFSET - TABLE_OFFSET, "table fits");
_Static_assert(PCI_MSIX_MAX <= 64, "pending bits fit one word");

static u16 control(const struct pci_func *f)
{
	return (u16)le_load(f->regs->config + f->msix_cap + CONTROL, 2);
}

bool pci_msix_enabled(const struct pci_func *f)
{
	return f->msix_cap && (control(f) & CONTROL_ENABLE);
}

void pci_msix_deliver(struct pci_func *f)
{
	struct pci_regs *regs = f->regs;

	/* A message is a memory write of the function: it needs the bus master bit. */
	if (!pci_msix_enabled(f) || (control(f) & CONTROL_MASK) ||
	    !(pci_command(f) & PCI_COMMAND_MASTER))
		return;
	for (unsigned i = 0; i < f->msix_vectors; i++) {
		if (!(regs->msix_pending & BIT(i)) || (regs->msix_control[i] & PCI_MSIX_MASKED))
			continue;
		regs->msix_pending &= ~BIT(i);
		trace(PCI, "%s: MSI-X %u: %#llx <- %#x", f->name, i,
		      (unsigned long long)regs->msix_addr[i], regs->msix_data[i]);
		if (f->bus->msi)
			f->bus->msi(f->bus->msi_opaque, regs->msix_addr[i], regs->msix_data[i]);
	}
}

void pci_msix_notify(struct pci_func *f, unsigned vector)
{
	if (vector >= f->msix_vectors || !pci_msix_enabled(f))
		return;
	f->regs->msix_pending |= BIT(vector);
	pci_msix_deliver(f);
}

static u32 table_read(const struct pci_regs *regs, unsigned vector, unsigned word)
{
	switch (word) {
	case 0: return (u32)regs->msix_addr[vector];
	case 1: return (u32)(regs->msix_addr[vector] >> 32);
	case 2: return regs->msix_data[vector];
	default: return regs->msix_control[vector];
	}
}

/* Software reads and writes whole, aligned doublewords (or quadwords, which the bus splits); the
 * results of other accesses are undefined: reads see the bytes, writes are dropped. */
static u64 msix_read(void *dev, u64 offset, unsigned size)
{
	const struct pci_func *f = dev;
	unsigned vector = (unsigned)(offset / ENTRY_SIZE);
	u64 value = 0;

	if (vector < f->msix_vectors)
		value = table_read(f->regs, vector, (offset / 4) % 4) >> (8 * (offset % 4));
	else if (offset >= PENDING_OFFSET && offset < PENDING_OFFSET + 8)
		value = f->regs->msix_pending >> (8 * (offset - PENDING_OFFSET));
	return value & bits_mask(8 * size);
}

static void msix_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct pci_func *f = dev;
	struct pci_regs *regs = f->regs;
	unsigned vector = (unsigned)(offset / ENTRY_SIZE);

	if (vector >= f->msix_vectors || size != 4 || offset % 4)
		return;
	switch ((offset / 4) % 4) {
	case 0:
		regs->msix_addr[vector] = (regs->msix_addr[vector] >> 32 << 32) | (value & ~3ull);
		break;
	case 1: regs->msix_addr[vector] = (u32)regs->msix_addr[vector] | value << 32; break;
	case 2: regs->msix_data[vector] = (u32)value; break;
	default:
		regs->msix_control[vector] = value & PCI_MSIX_MASKED;
		pci_msix_deliver(f);
		break;
	}
}

static const struct bus_ops msix_ops = { msix_read, msix_write, 4 };

void pci_msix_init(struct pci_func *f, unsigned n, unsigned vectors)
{
	unsigned cap = pci_cap_add(f, PCI_CAP_MSIX, 12);

	f->msix_cap = (u8)cap;
	f->msix_vectors = (u8)MIN(vectors, PCI_MSIX_MAX);
	le_store(f->initial + cap + CONTROL, f->msix_vectors - 1u, 2);
	le_store(f->writable + cap + CONTROL, CONTROL_ENABLE | CONTROL_MASK, 2);
	le_store(f->initial + cap + 4, TABLE_OFFSET | n, 4);
	le_store(f->initial + cap + 8, PENDING_OFFSET | n, 4);
	pci_bar_init(f, n, false, BAR_SIZE, &msix_ops, f);
}
