/* Items and files as SeaBIOS 1.16 and OVMF 2022.11 read them. */
#include "machine/firmware.h"

#include "base/trace.h"
#include "dev/piix4.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* "etc/e820": address and length (8 bytes each), type (4). */
#define E820_ENTRY 20u
#define E820_RAM   1

/* Firmware places BARs above low RAM, but not below this, and sets memory types accordingly. */
#define PCI_BASE_MIN (2 * GIB)

#define BOOT_PATH 64u /* bytes of one device path, at most */
#define FDC_PORT  0x3f0

static u8 *e820_ram(u8 *p, u64 base, u64 end)
{
	if (base == end)
		return p;
	le_store(p, base, 8);
	le_store(p + 8, end - base, 8);
	le_store(p + 16, E820_RAM, 4);
	return p + E820_ENTRY;
}

/* RAM alone: what is reserved below 1 MiB and 4 GiB firmware knows, and OVMF does not take it twice. */
static int add_e820(const struct firmware *fw)
{
	u8 table[2 * E820_ENTRY], *p = table;

	p = e820_ram(p, 0, fw->ram_low_end);
	p = e820_ram(p, 4 * GIB, 4 * GIB + fw->ram_high);
	return fw_cfg_add_file(fw->fw_cfg, "etc/e820", table, (u32)(p - table));
}

/* Open Firmware's name of a device, as both firmwares take it apart. Returns its length. */
static int boot_path(const struct firmware_boot *b, char *path, size_t cap)
{
	char function[8] = "";

	if (b->function)
		snprintf(function, sizeof(function), ",%x", b->function & 7);
	switch (b->kind) {
	case FIRMWARE_BOOT_FLOPPY:
		return snprintf(path, cap, "/pci@i0cf8/isa@%x/fdc@%04x/floppy@%x", PIIX4_SLOT,
				FDC_PORT, b->unit & 3);
	case FIRMWARE_BOOT_IDE:
		return snprintf(path, cap, "/pci@i0cf8/ide@%x%s/drive@%x/disk@%x", b->slot & 31,
				function, b->channel & 1, b->unit & 1);
	case FIRMWARE_BOOT_VIRTIO:
		return snprintf(path, cap, "/pci@i0cf8/scsi@%x%s/disk@0,0", b->slot & 31, function);
	}
	return 0;
}

/* One path a line; a zero ends the file. */
static int add_boot_order(const struct firmware *fw)
{
	char text[FIRMWARE_BOOTS * BOOT_PATH];
	size_t len = 0;

	if (fw->boot_count > FIRMWARE_BOOTS)
		return -EINVAL;
	if (fw->boot_count == 0)
		return 0;
	for (unsigned n = 0; n < fw->boot_count; n++) {
		len += (size_t)boot_path(&fw->boots[n], text + len, BOOT_PATH);
		text[len++] = '\n';
	}
	text[len - 1] = 0;
	return fw_cfg_add_file(fw->fw_cfg, "bootorder", text, (u32)len);
}

/* OVMF takes the wait as a word, and no other size. */
static int add_boot(const struct firmware *fw)
{
	struct fw_cfg *f = fw->fw_cfg;
	int err = fw_cfg_add_int(f, FW_CFG_BOOT_MENU, fw->boot_menu, 2);

	if (!err)
		err = fw_cfg_add_file_int(f, "etc/boot-menu-wait", fw->boot_menu_wait_ms, 2);
	if (!err)
		err = fw_cfg_add_file_int(f, "etc/boot-fail-wait", fw->boot_retry_ms, 4);
	if (!err)
		err = add_boot_order(fw);
	return err;
}

static int add_screen(const struct firmware *fw)
{
	struct fw_cfg *f = fw->fw_cfg;
	int err = fw_cfg_add_int(f, FW_CFG_NOGRAPHIC, !fw->vga, 2);

	if (!err && fw->serial_console)
		err = fw_cfg_add_file_int(f, "etc/sercon-port", fw->serial_console, 2);
	return err;
}

/* The 8254 is at another pin of the I/O APIC than at the 8259: SeaBIOS's MP table says so. */
static int add_processors(const struct firmware *fw)
{
	struct fw_cfg *f = fw->fw_cfg;
	int err = fw_cfg_add_int(f, FW_CFG_NB_CPUS, fw->cpus, 2);

	if (!err)
		err = fw_cfg_add_int(f, FW_CFG_MAX_CPUS, fw->cpus, 2);
	if (!err)
		err = fw_cfg_add_file_int(f, "etc/boot-cpus", fw->cpus, 2);
	if (!err)
		err = fw_cfg_add_int(f, FW_CFG_IRQ0_OVERRIDE, fw->acpi.pit_gsi == 2, 4);
	return err;
}

static int add_memory(const struct firmware *fw)
{
	int err = fw_cfg_add_int(fw->fw_cfg, FW_CFG_RAM_SIZE, fw->ram_low_end + fw->ram_high, 8);

	return err ? err : add_e820(fw);
}

/* Firmware reads the commands first: what it reads then is of the same moment. If there is no memory the tables stay as they were. */
static void tables_wanted(void *opaque)
{
	struct firmware *fw = opaque;
	int err;

	if (fw->update)
		fw->update(fw->opaque, &fw->acpi);
	err = acpi_add_files(fw->fw_cfg, &fw->acpi);
	if (err)
		trace(FIRMWARE, "ACPI tables stay as they are: %s", strerror(-err));
}

static int add_tables(struct firmware *fw)
{
	int err;

	fw->smbios.cpus = fw->acpi.cpus = fw->cpus;
	fw->smbios.ram_low_end = fw->ram_low_end;
	fw->smbios.ram_high = fw->ram_high;
	fw->acpi.vga = fw->vga;
	fw->acpi.pci_base = MAX(fw->ram_low_end, PCI_BASE_MIN);
	fw->acpi.fw_cfg = true;
	err = acpi_add_files(fw->fw_cfg, &fw->acpi);
	if (!err)
		err = fw_cfg_on_select(fw->fw_cfg, "etc/table-loader", tables_wanted, fw);
	if (!err)
		err = smbios_add_files(fw->fw_cfg, &fw->smbios);
	return err;
}

int firmware_describe(struct firmware *fw)
{
	int err = add_processors(fw);

	if (!err)
		err = add_memory(fw);
	if (!err)
		err = add_boot(fw);
	if (!err)
		err = add_screen(fw);
	if (!err)
		err = add_tables(fw);
	return err;
}
