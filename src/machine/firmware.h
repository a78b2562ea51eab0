/* What firmware (SeaBIOS, OVMF) is told about the machine: all files and items of the fw_cfg device. */
#ifndef MACHINE_FIRMWARE_H
#define MACHINE_FIRMWARE_H

#include "machine/acpi.h"
#include "machine/smbios.h"

#define FIRMWARE_BOOTS 32u

enum firmware_boot_kind {
	FIRMWARE_BOOT_FLOPPY, /* drive `unit` */
	FIRMWARE_BOOT_IDE, /* disk or CD-ROM: drive `unit` on `channel` of the controller at slot, function */
	FIRMWARE_BOOT_VIRTIO, /* virtio disk at slot, function */
};

struct firmware_boot {
	enum firmware_boot_kind kind;
	unsigned slot, function, channel, unit;
};

/* Kept by the board for as long as the fw_cfg device lives; strings and arrays too. */
struct firmware {
	struct fw_cfg *fw_cfg;
	unsigned cpus;
	u64 ram_low_end, ram_high; /* bytes of RAM below 4 GiB, and above */
	bool vga;
	u16 serial_console; /* port of the 16550 on which SeaBIOS shows its screen; 0: none */
	const struct firmware_boot *boots; /* devices to start from, in this order */
	unsigned boot_count;               /* up to FIRMWARE_BOOTS */
	bool boot_menu;
	u16 boot_menu_wait_ms; /* how long a key for the menu is waited for */
	/* After nothing could be started from: milliseconds until firmware starts anew; FIRMWARE_NO_RETRY: it waits. */
	u32 boot_retry_ms;
	struct smbios_board smbios; /* ram_* and cpus are filled in */
	struct acpi_board acpi;     /* cpus, vga, fw_cfg and pci_base are filled in */
	/* Called when firmware asks for the ACPI tables, after it has set up the chips: brings what it has programmed, such as
	 * acpi.pm_base, up to date. May be NULL. */
	void (*update)(void *opaque, struct acpi_board *acpi);
	void *opaque;
};

#define FIRMWARE_NO_RETRY 0xffffffffu

/* Adds everything to fw->fw_cfg; may be called again when something has changed, while no guest runs. Negative errno. */
int firmware_describe(struct firmware *fw) must_check;

#endif
