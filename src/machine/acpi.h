/* ACPI tables of the board (ACPI 6.4, chapters 5, 6, 19 and 20), in guest memory for guests that start without firmware, or as files from
 * which firmware makes them. */
#ifndef MACHINE_ACPI_H
#define MACHINE_ACPI_H

#include "core/mem.h"
#include "dev/acpi_pm.h"
#include "dev/fw_cfg.h"

/* The area in which systems look for the root pointer, and which the tables fill from its start. */
#define ACPI_AREA_BASE 0xe0000ull
#define ACPI_AREA_END  0x100000ull

/* Global system interrupt of PIRQA; B, C and D follow. */
#define ACPI_PIRQ_GSI 16

/* What the tables tell about. Numbers are of the board, or of what firmware has programmed. */
struct acpi_board {
	unsigned cpus; /* 1..254; the local APIC of CPU n has ID n */
	u32 lapic_addr, ioapic_addr;
	u8 ioapic_id;
	u8 pit_gsi;            /* I/O APIC pin of the 8254: 0, or 2 as PCs have it */
	u16 pm_base;           /* ports of the power management block; 0: ACPI_PM_BASE */
	u16 smbus_base;        /* 16 ports of the SMBus controller, or 0 */
	u64 pci_base, pci_end; /* memory window for BARs, below 4 GiB */
	unsigned serial_ports; /* at 3F8h, 2F8h, 3E8h, 2E8h: 0..4 */
	bool keyboard, mouse;  /* 8042 with its devices */
	bool vga;
	bool dma;      /* a pair of 8237 */
	bool floppy;   /* at 3F0h, IRQ 6, DMA channel 2 */
	bool parallel; /* at 378h, IRQ 7 */
	bool fw_cfg;
	u32 hpet_addr, hpet_id; /* address, or 0; the low half of its capabilities register */
};

static inline u16 acpi_board_pm_base(const struct acpi_board *board)
{
	return board->pm_base ? board->pm_base : ACPI_PM_BASE;
}

/* Writes the tables to guest RAM. Returns the address of the RSDP, or 0 if the board has more
 * than tables can tell. */
gpa_t acpi_build(struct mem *mem, const struct acpi_board *board);
/* The same for firmware: the files "etc/acpi/tables", "etc/acpi/rsdp" and "etc/table-loader", whose commands tell firmware where to put
 * the first two, which pointers in them to relocate, and which checksums to make. Again with another description of the same board: sizes
 * stay, as firmware has read them from the directory. -ENOSPC: more than tables can tell; -ENOMEM. */
int acpi_add_files(struct fw_cfg *f, const struct acpi_board *board) must_check;

#endif
