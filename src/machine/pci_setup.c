/* PCI resources, assigned as firmware does (PCI Local Bus Specification 3.0, 6.2.5.1: sizing a
 * BAR). */
#include "machine/pci_setup.h"

#include "dev/acpi_pm.h"
#include "dev/i440bx.h"
#include "dev/piix4.h"

#define ISA_BRIDGE PCI_DEVFN(PIIX4_SLOT, 0)
#define PM_FUNC    PCI_DEVFN(PIIX4_SLOT, 3)

/* IRQ of each PIRQ. */
static const u8 routes[PCI_PIRQS] = { 10, 11, 10, 11 };

#define IO_BASE 0xc000u
#define IO_END  0x10000u
#define ELCR    0x4d0 /* edge or level, a bit per IRQ */

struct window {
	u64 next, end;
};

/* Sizes BAR n and places it at the next multiple of its size. Returns the command bit it needs,
 * or 0 if the register is not there or its window (memory, ports) is full. */
static u32 place_bar(struct pci_bus *bus, unsigned devfn, unsigned n, struct window windows[2])
{
	unsigned reg = PCI_BAR0 + 4 * n;
	struct window *w;
	u32 bits, size;
	u64 base;

	pci_config_write(bus, devfn, reg, 0xffffffff, 4);
	bits = pci_config_read(bus, devfn, reg, 4);
	size = ~(bits & (bits & 1 ? ~3u : ~15u)) + 1;
	w = &windows[bits & 1];
	base = align_up(w->next, size ? size : 1);
	if (size == 0 || base + size > w->end) {
		pci_config_write(bus, devfn, reg, 0, 4);
		return 0;
	}
	pci_config_write(bus, devfn, reg, (u32)base, 4);
	w->next = base + size;
	return bits & 1 ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
}

static void set_up(struct pci_bus *bus, unsigned devfn, struct window windows[2])
{
	u32 command = pci_config_read(bus, devfn, PCI_COMMAND, 2);
	u32 pin = pci_config_read(bus, devfn, PCI_INTR_PIN, 1);

	for (unsigned n = 0; n < PCI_BARS; n++)
		command |= place_bar(bus, devfn, n, windows);
	pci_config_write(bus, devfn, PCI_COMMAND, command, 2);
	if (pin >= 1 && pin <= 4)
		pci_config_write(bus, devfn, PCI_INTR_LINE, routes[pci_pirq(devfn >> 3, pin - 1)],
				 1);
}

void pci_setup(struct pci_bus *bus, u64 mem_base, u64 mem_end)
{
	struct window windows[2] = { { mem_base, mem_end }, { IO_BASE, IO_END } };
	u16 level = BIT(PIIX4_SCI_IRQ);

	/* RAM from 768 KiB to 1 MiB, both ways. */
	for (unsigned n = 0; n < I440BX_PAMS; n++)
		pci_config_write(bus, 0, I440BX_PAM + n, n ? 0x33 : 0x30, 1);

	for (unsigned devfn = 0; devfn < ARRAY_LEN(bus->funcs); devfn++) {
		if (pci_config_read(bus, devfn, PCI_VENDOR_ID, 2) != 0xffff)
			set_up(bus, devfn, windows);
	}
	for (unsigned i = 0; i < PCI_PIRQS; i++) {
		pci_config_write(bus, ISA_BRIDGE, PIIX4_PIRQRC + i, routes[i], 1);
		level |= BIT(routes[i]);
	}
	pci_config_write(bus, PM_FUNC, ACPI_PM_PMBA, ACPI_PM_BASE, 4);
	pci_config_write(bus, PM_FUNC, ACPI_PM_PMREGMISC, ACPI_PM_PMIOSE, 1);
	pci_config_write(bus, PM_FUNC, ACPI_PM_SMBBA, ACPI_PM_SMBUS, 4);
	pci_config_write(bus, PM_FUNC, ACPI_PM_SMBHSTCFG, ACPI_PM_SMB_ON, 1);
	pci_config_write(bus, PM_FUNC, PCI_COMMAND, PCI_COMMAND_IO, 2);
	pci_config_write(bus, PM_FUNC, PCI_INTR_LINE, PIIX4_SCI_IRQ, 1);
	bus_write(bus->ports, ELCR, level, 2);
}
