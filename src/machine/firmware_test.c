/* The files as firmware reads them. */
#include "base/test.h"
#include "machine/firmware.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct fixture {
	struct fw_cfg cfg;
	struct firmware fw;
	unsigned updates;
};

static const struct firmware_boot boots[] = {
	{ .kind = FIRMWARE_BOOT_FLOPPY, .unit = 1 },
	{ .kind = FIRMWARE_BOOT_IDE, .slot = 1, .function = 1, .channel = 1, .unit = 0 },
	{ .kind = FIRMWARE_BOOT_VIRTIO, .slot = 10 },
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	f.fw = (struct firmware){ .fw_cfg = &f.cfg,
				  .cpus = 2,
				  .ram_low_end = 3 * GIB,
				  .ram_high = 5 * GIB,
				  .vga = true,
				  .boots = boots,
				  .boot_count = ARRAY_LEN(boots),
				  .boot_menu_wait_ms = 300,
				  .boot_retry_ms = FIRMWARE_NO_RETRY,
				  .acpi = { .lapic_addr = 0xfee00000,
					    .ioapic_addr = 0xfec00000,
					    .pit_gsi = 2,
					    .pci_end = 0xfec00000 } };
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fw_cfg_clear(&((struct fixture *)*state)->cfg);
	return 0;
}

static const u8 *file(struct fixture *f, const char *name, u32 expected)
{
	u32 size;
	const u8 *data = fw_cfg_file(&f->cfg, name, &size);

	assert_non_null(data);
	if (expected)
		assert_int_equal(size, expected);
	return data;
}

static u64 number(struct fixture *f, const char *name, u32 size)
{
	return le_load(file(f, name, size), size);
}

static void everything(void **state)
{
	struct fixture *f = *state;
	const u8 *e820;
	u32 size;

	assert_int_equal(firmware_describe(&f->fw), 0);
	e820 = file(f, "etc/e820", 40);
	assert_int_equal(le_load(e820, 8), 0);
	assert_int_equal(le_load(e820 + 8, 8), 3 * GIB);
	assert_int_equal(le_load(e820 + 16, 4), 1);
	assert_int_equal(le_load(e820 + 20, 8), 4 * GIB);
	assert_int_equal(le_load(e820 + 28, 8), 5 * GIB);
	assert_int_equal(le_load(e820 + 36, 4), 1);
	assert_int_equal(number(f, "etc/boot-cpus", 2), 2);
	assert_int_equal(number(f, "etc/boot-menu-wait", 2), 300);
	assert_int_equal(number(f, "etc/boot-fail-wait", 4), 0xffffffff);
	file(f, "etc/acpi/tables", 0);
	file(f, "etc/acpi/rsdp", 36);
	file(f, "etc/table-loader", 0);
	file(f, "etc/smbios/smbios-tables", 0);
	file(f, "etc/smbios/smbios-anchor", 31);
	assert_null(fw_cfg_file(&f->cfg, "etc/sercon-port", &size));
	assert_int_equal(le_load(f->cfg.keys[FW_CFG_NB_CPUS].data, 2), 2);
	assert_int_equal(le_load(f->cfg.keys[FW_CFG_MAX_CPUS].data, 2), 2);
	assert_int_equal(le_load(f->cfg.keys[FW_CFG_RAM_SIZE].data, 8), 8 * GIB);
	assert_int_equal(le_load(f->cfg.keys[FW_CFG_NOGRAPHIC].data, 2), 0);
	assert_int_equal(le_load(f->cfg.keys[FW_CFG_BOOT_MENU].data, 2), 0);
	assert_int_equal(le_load(f->cfg.arch[2].data, 4), 1);
	/* Again, with the menu. */
	f->fw.boot_menu = true;
	assert_int_equal(firmware_describe(&f->fw), 0);
	assert_int_equal(le_load(f->cfg.keys[FW_CFG_BOOT_MENU].data, 2), 1);
}

static void boot_order(void **state)
{
	static const char paths[] = "/pci@i0cf8/isa@1/fdc@03f0/floppy@1\n"
				    "/pci@i0cf8/ide@1,1/drive@1/disk@0\n"
				    "/pci@i0cf8/scsi@a/disk@0,0";
	static struct firmware_boot many[FIRMWARE_BOOTS + 1];
	struct fixture *f = *state;
	u32 size;

	assert_int_equal(firmware_describe(&f->fw), 0);
	assert_string_equal((const char *)file(f, "bootorder", sizeof(paths)), paths);
	fw_cfg_clear(&f->cfg);
	f->fw.boot_count = 0;
	assert_int_equal(firmware_describe(&f->fw), 0);
	assert_null(fw_cfg_file(&f->cfg, "bootorder", &size));
	/* The longest paths there are, and one too many of them. */
	for (unsigned n = 0; n < ARRAY_LEN(many); n++)
		many[n] = (struct firmware_boot){ FIRMWARE_BOOT_IDE, ~0u, ~0u, ~0u, ~0u };
	f->fw.boots = many;
	f->fw.boot_count = FIRMWARE_BOOTS;
	assert_int_equal(firmware_describe(&f->fw), 0);
	f->fw.boot_count++;
	assert_int_equal(firmware_describe(&f->fw), -EINVAL);
}

static void without_a_screen(void **state)
{
	struct fixture *f = *state;

	f->fw.vga = false;
	f->fw.serial_console = 0x3f8;
	f->fw.ram_high = 0;
	assert_int_equal(firmware_describe(&f->fw), 0);
	assert_int_equal(number(f, "etc/sercon-port", 2), 0x3f8);
	assert_int_equal(le_load(f->cfg.keys[FW_CFG_NOGRAPHIC].data, 2), 1);
	file(f, "etc/e820", 20);
}

static void on_update(void *opaque, struct acpi_board *acpi)
{
	struct fixture *f = opaque;

	f->updates++;
	acpi->pm_base = 0xb000;
}

/* The DSDT's window is where firmware puts BARs: from 2 GiB, or from the end of RAM if that is higher. */
static void window(void **state)
{
	static const struct {
		u64 low_end;
		u8 range[8]; /* its first and last address */
	} cases[] = { { 256 * MIB, { 0, 0, 0, 0x80, 0xff, 0xff, 0xbf, 0xfe } },
		      { 3 * GIB, { 0, 0, 0, 0xc0, 0xff, 0xff, 0xbf, 0xfe } } };
	struct fixture *f = *state;

	for (unsigned n = 0; n < ARRAY_LEN(cases); n++) {
		const u8 *t;
		u32 size;

		f->fw.ram_low_end = cases[n].low_end;
		assert_int_equal(firmware_describe(&f->fw), 0);
		t = fw_cfg_file(&f->cfg, "etc/acpi/tables", &size);
		assert_non_null(memmem(t, size, cases[n].range, sizeof(cases[n].range)));
	}
}

/* The tables tell of the ports that firmware has chosen. */
static void tables_are_made_when_wanted(void **state)
{
	struct fixture *f = *state;
	struct fw_cfg_item *item = NULL;
	u32 size, at = 0;
	const u8 *t;

	f->fw.update = on_update;
	f->fw.opaque = f;
	assert_int_equal(firmware_describe(&f->fw), 0);
	t = fw_cfg_file(&f->cfg, "etc/table-loader", &size);
	for (unsigned n = 0; n < f->cfg.files; n++) {
		if (f->cfg.file[n].data == t)
			item = &f->cfg.file[n];
	}
	if (!item || !item->selected)
		fail_msg("nobody is told when the loader is read");
	assert_int_equal(f->updates, 0);
	item->selected(item->opaque);
	assert_int_equal(f->updates, 1);
	t = fw_cfg_file(&f->cfg, "etc/acpi/tables", &size);
	while (at + 244 < size && memcmp(t + at, "FACP", 4))
		at++;
	assert_memory_equal(t + at, "FACP", 4);
	assert_int_equal(le_load(t + at + 56, 4), 0xb000);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything),       TEST(boot_order),
		TEST(without_a_screen), TEST(tables_are_made_when_wanted),
		TEST(window),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("firmware", tests, NULL, NULL);
}
