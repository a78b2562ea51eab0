/* What the board tells its firmware. */
#include "machine/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define BOOT_MENU_WAIT_MS 3000

/* Drives in the order in which the machine is to start from them: those with a number first, then as they were named. */
static unsigned boot_order(struct machine *m)
{
	unsigned count = 0;

	for (unsigned order = 1; order <= 101; order++)
		for (unsigned n = 0; n < m->cfg.disk_count; n++)
			if (m->cfg.disks[n].boot == order % 101)
				m->boots[count++] = m->boot[n];
	return count;
}

/* The tables name ports that firmware has chosen. */
static void on_tables(void *opaque, struct acpi_board *acpi)
{
	struct machine *m = opaque;

	acpi->pm_base = (u16)(le_load(m->acpi_pm.regs.pci.config + ACPI_PM_PMBA, 4) & 0xffc0);
}

struct acpi_board board_acpi(const struct machine *m)
{
	return (struct acpi_board){
		.cpus = m->vm.nvcpus,
		.lapic_addr = LAPIC_MMIO_BASE,
		.ioapic_addr = IOAPIC_BASE,
		.ioapic_id = IOAPIC_ID,
		.pit_gsi = IOAPIC_PIT_PIN,
		.pci_base = MAX(m->mem.low_end, BOARD_PCI_BASE),
		.pci_end = IOAPIC_BASE,
		.serial_ports = 2,
		.keyboard = true,
		.mouse = true,
		.vga = !m->cfg.no_vga,
		.dma = true,
		.floppy = true,
		.parallel = true,
		.hpet_addr = HPET_BASE,
		.hpet_id = HPET_ID,
	};
}

int board_firmware_init(struct machine *m)
{
	struct firmware *fw = &m->firmware;

	*fw = (struct firmware){
		.fw_cfg = &m->fw_cfg,
		.cpus = m->vm.nvcpus,
		.ram_low_end = m->mem.low_end,
		.ram_high = m->mem.high_end - 4 * GIB,
		.vga = !m->cfg.no_vga,
		.serial_console = m->cfg.no_vga ? 0x3f8 : 0,
		.boots = m->boots,
		.boot_count = boot_order(m),
		.boot_menu = m->cfg.boot_menu,
		.boot_menu_wait_ms = BOOT_MENU_WAIT_MS,
		.boot_retry_ms = FIRMWARE_NO_RETRY,
		.acpi = board_acpi(m),
		.update = on_tables,
		.opaque = m,
	};
	return firmware_describe(fw);
}
