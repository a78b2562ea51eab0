/* A board with firmware: ROM images of all sizes, resets, two machines at once, and boards that cannot be built. */
#include "base/test.h"
#include "machine/internal.h"
#include "machine/machine_test.h"
#include "machine/rom.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define RESETS 20

/* At F000:0, real mode. It counts in RAM how often it started, says a letter, puts RAM in front of C0000h, and resets the machine; the
 * last time it ends by port F4h. */
static const u8 code[] = {
	0xa1, 0x00,    0x05,                   /* mov ax, [500h] */
	0x40,                                  /* inc ax */
	0xa3, 0x00,    0x05,                   /* mov [500h], ax */
	0x04, 'a' - 1,                         /* add al, 'a' - 1 */
	0xba, 0xf8,    0x03, 0xee,             /* mov dx, 3f8h; out dx, al */
	0x66, 0xb8,    0x58, 0,    0,    0x80, /* mov eax, 80000058h */
	0xba, 0xf8,    0x0c, 0x66, 0xef,       /* mov dx, cf8h; out dx, eax */
	0xba, 0xfe,    0x0c, 0xb0, 0x33, 0xee, /* mov dx, cfeh; mov al, 33h; out dx, al: PAM1 */
	0xa0, 0x00,    0x05,                   /* mov al, [500h] */
	0x3c, RESETS,  0x73, 0x07,             /* cmp al, RESETS; jae end */
	0xba, 0xf9,    0x0c, 0xb0, 0x06, 0xee, /* mov dx, cf9h; mov al, 6; out dx, al */
	0xf4,                                  /* hlt */
	0xb0, 0x03,    0xe6, 0xf4,             /* end: mov al, 3; out f4h, al */
	0xeb, 0xfe,                            /* jmp . */
};
static const u8 start[] = { 0xea, 0, 0, 0, 0xf0 }; /* jmp f000h:0 */

static char path[] = "/tmp/pogo-board-XXXXXX";
static char printed[256];
static unsigned printed_bytes;

static void on_print(void *opaque, const u8 *buf, size_t n)
{
	for (size_t i = 0; i < n && printed_bytes < sizeof(printed) - 1; i++)
		printed[printed_bytes++] = (char)buf[i];
	printed[printed_bytes] = 0;
}

static const struct machine_console console = { .write = on_print };

static int setup(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state) { return unlink(path); }

static void make_rom(size_t size)
{
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
	off_t top = (off_t)size;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, top), 0);
	if (size >= ROM_MIN) {
		assert_int_equal(pwrite(fd, code, sizeof(code), top - 0x10000), sizeof(code));
		assert_int_equal(pwrite(fd, start, sizeof(start), top - 16), sizeof(start));
	}
	close(fd);
}

static struct machine_config config(const char *engine)
{
	struct machine_config cfg = test_config(engine);

	cfg.firmware = path;
	cfg.memory = 4 * MIB;
	cfg.no_vga = true;
	return cfg;
}

static void run(const struct machine_config *cfg)
{
	struct machine *m;
	char err[512];

	printed_bytes = 0;
	if (machine_new(&m, cfg, &console, err, sizeof(err)))
		fail_msg("%s", err);
	unsigned windows = m->mem.window_count, areas = m->mem.area_count,
		 devices = m->device_count, regions = m->mmio.count;

	machine_run(m);
	assert_int_equal(m->end, END_DEBUG_EXIT);
	assert_string_equal(printed, "abcdefghijklmnopqrst");
	assert_int_equal(le_load(m->mem.ram->host + 0x500, 2), RESETS);
	/* The last run has put two pieces of RAM there. */
	assert_int_equal(m->mem.window_count, windows + 2);
	assert_int_equal(m->mem.area_count, areas);
	assert_int_equal(m->device_count, devices);
	assert_int_equal(m->mmio.count, regions);
	assert_int_equal(board_power_on(m, err, sizeof(err)), 0);
	assert_int_equal(m->mem.window_count, windows);
	machine_free(m);
}

static void roms_of_all_sizes(void **state)
{
	static const size_t sizes[] = { ROM_MIN, ROM_MIN + MEM_PAGE, 128 * KIB, 256 * KIB,
					ROM_MAX };
	struct machine_config cfg = config("interp");

	for (unsigned n = 0; n < ARRAY_LEN(sizes); n++) {
		make_rom(sizes[n]);
		run(&cfg);
	}
}

static void on_the_translator(void **state)
{
	struct machine_config cfg = config("bt");

	if (engine_find("bt")->unfit())
		skip();
	make_rom(ROM_MIN);
	run(&cfg);
}

/* Two machines in one process, each with its ROM and its resets. */
static void in_lockstep(void **state)
{
	struct machine_config cfg = config("interp");

	cfg.check = "interp";
	make_rom(128 * KIB);
	run(&cfg);
}

static void either_bridge(void **state)
{
	static const char *const boards[] = { "440bx", "440fx", "auto" };
	struct machine_config cfg = config("interp");
	struct machine *m;
	char err[512];

	make_rom(ROM_MIN);
	for (unsigned n = 0; n < ARRAY_LEN(boards); n++) {
		cfg.board = boards[n];
		run(&cfg);
		assert_int_equal(machine_new(&m, &cfg, &console, err, sizeof(err)), 0);
		/* A ROM that Pogo does not know gets the board's own. */
		assert_int_equal(m->i440bx.fx, n == 1);
		machine_free(m);
	}
}

/* Nothing of a board that fails half way is left: this test is for the address sanitizer, too. */
static void fails(const struct machine_config *cfg, const char *what)
{
	struct machine *m = NULL;
	char err[512];

	assert_true(machine_new(&m, cfg, &console, err, sizeof(err)) < 0);
	if (!strstr(err, what) || strchr(err, '\n'))
		fail_msg("'%s' is not in '%s'", what, err);
}

static void bad_roms(void **state)
{
	static const size_t sizes[] = {
		0,           1,           MEM_PAGE,           ROM_MIN - MEM_PAGE,
		ROM_MIN + 1, ROM_MAX - 1, ROM_MAX + MEM_PAGE, 64 * MIB
	};
	struct machine_config cfg = config("interp");

	for (unsigned n = 0; n < ARRAY_LEN(sizes); n++) {
		make_rom(sizes[n]);
		fails(&cfg, path);
	}
	cfg.firmware = "/nonexistent/rom";
	fails(&cfg, "firmware '/nonexistent/rom' cannot be opened");
	cfg.firmware = "/tmp";
	fails(&cfg, "firmware '/tmp' is not a file");
	cfg.firmware = "/dev/zero";
	fails(&cfg, "firmware '/dev/zero' is not a file");
}

static void bad_parts(void **state)
{
	struct machine_config cfg = config("interp");

	make_rom(ROM_MIN);
	cfg.check =
		"interp"; /* also where the second machine fails, or the first one does for it */
	cfg.disk_count = 1;
	cfg.disks[0] = (struct machine_disk){ .path = "/nonexistent/disk" };
	fails(&cfg, "/nonexistent/disk");
	cfg.check = NULL;
	fails(&cfg, "/nonexistent/disk");
	cfg.disk_count = 5;
	for (unsigned n = 0; n < 5; n++)
		cfg.disks[n] = (struct machine_disk){ .drive = DRIVE_CDROM };
	fails(&cfg, "IDE has room for four drives");
	cfg.disk_count = 3;
	for (unsigned n = 0; n < 3; n++)
		cfg.disks[n].drive = DRIVE_FLOPPY;
	fails(&cfg, "two floppy drives");
	cfg.disk_count = 1;
	cfg.disks[0] =
		(struct machine_disk){ .path = path, .drive = DRIVE_FLOPPY, .readonly = true };
	fails(&cfg, "no floppy disk has");
	cfg.disk_count = 0;
	cfg.parallel = "/nonexistent/file";
	fails(&cfg, "/nonexistent/file");
	cfg.parallel = NULL;
	run(&cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roms_of_all_sizes), cmocka_unit_test(on_the_translator),
		cmocka_unit_test(in_lockstep),       cmocka_unit_test(either_bridge),
		cmocka_unit_test(bad_roms),          cmocka_unit_test(bad_parts),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("board", tests, setup, teardown);
}
