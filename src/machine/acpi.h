/* ACPI tables of the board, for guests that start without firmware (ACPI 6.4, chapters 5, 6, 19
 * and 20). */
#ifndef MACHINE_ACPI_H
#define MACHINE_ACPI_H

#include "core/mem.h"

/* The area in which systems look for the root pointer, and which the tables fill from its start. */
#define ACPI_AREA_BASE 0xe0000ull
#define ACPI_AREA_END  0x100000ull

/* Global system interrupt of PIRQA; B, C and D follow. */
#define ACPI_PIRQ_GSI 16

/* What the tables tell about. */
struct acpi_board {
	unsigned cpus; /* 1..254; the local APIC of CPU n has ID n */
	u32 lapic_addr, ioapic_addr;
	u8 ioapic_id;
	u8 pit_gsi;            /* I/O APIC pin of the 8254: 0, or 2 as PCs have it */
	u64 pci_base, pci_end; /* memory window for BARs, below 4 GiB */
	unsigned serial_ports; /* at 3F8h, 2F8h, 3E8h, 2E8h: 0..4 */
	bool keyboard, mouse;  /* 8042 with its devices */
	bool vga;
};

/* Writes the tables to guest RAM. Returns the address of the RSDP, or 0 if the board has more
 * than tables can tell. */
gpa_t acpi_build(struct mem *mem, const struct acpi_board *board);

#endif
