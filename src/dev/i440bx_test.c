/* The host bridge's memory: shadow RAM by the PAM registers, SMRAM, and what reset and loading make of them (82443BX datasheet, 3.3.17
 * and 3.3.21). */
#include "dev/i440bx.h"

#include "dev/dev_test.h"

#include <stdlib.h>
#include <string.h>

#define ROM_AT 0xe0000ull

struct fixture {
	struct test_board board;
	struct mem mem;
	struct mem_area *rom;
	struct i440bx host;
	unsigned announced;
};

static void on_code(void *opaque, const u8 *host, u64 size)
{
	struct fixture *f = opaque;

	(void)host;
	(void)size;
	f->announced++;
}

/* 2 MiB; ROM of bytes EEh in the upper 128 KiB below 1 MiB, as firmware has it. */
static int setup_as(void **state, bool fx)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	assert_non_null(f);
	board_init(&f->board);
	assert_int_equal(mem_init(&f->mem, 2 * MIB), 0);
	f->mem.code_written = on_code;
	f->mem.opaque = f;
	f->rom = mem_area_new(&f->mem, 128 * KIB, "rom");
	assert_non_null(f->rom);
	memset(f->rom->host, 0xee, 128 * KIB);
	assert_int_equal(mem_show(&f->mem, &(struct mem_window){ .base = ROM_AT,
								 .size = 128 * KIB,
								 .area = f->rom,
								 .access = MEM_ROM,
								 .level = MEM_LEVEL_RAM,
								 .owner = f }),
			 0);
	f->board.platform.mem = &f->mem;
	f->host.fx = fx;
	board_add(&f->board, &f->host.dev, &i440bx_type, "host");
	i440bx_type.reset(&f->host.dev);
	return 0;
}

static int setup(void **state) { return setup_as(state, false); }
static int setup_fx(void **state) { return setup_as(state, true); }

static int teardown(void **state)
{
	struct fixture *f = *state;

	i440bx_type.fini(&f->host.dev);
	mem_fini(&f->mem);
	board_fini(&f->board);
	free(f);
	return 0;
}

static u32 cfg_read(struct fixture *f, unsigned reg, unsigned size)
{
	bus_write(&f->board.ports, 0xcf8, 0x80000000u | (reg & 0xfc), 4);
	return (u32)bus_read(&f->board.ports, 0xcfc + (reg & 3), size);
}

static void cfg_write(struct fixture *f, unsigned reg, u32 value, unsigned size)
{
	bus_write(&f->board.ports, 0xcf8, 0x80000000u | (reg & 0xfc), 4);
	bus_write(&f->board.ports, 0xcfc + (reg & 3), value, size);
}

/* As a CPU does: of memory, or on the bus where there is none or a write may not go to it. */
static u8 cpu_read(struct fixture *f, gpa_t gpa)
{
	u8 byte;

	return mem_read(&f->mem, gpa, &byte, 1) ? byte : (u8)bus_read(&f->board.mmio, gpa, 1);
}

static void cpu_write(struct fixture *f, gpa_t gpa, u8 value)
{
	const struct mem_slot *slot = mem_find(&f->mem, gpa);

	if (slot && !slot->readonly)
		assert_true(mem_write(&f->mem, gpa, &value, 1));
	else
		bus_write(&f->board.mmio, gpa, value, 1);
}

/* The pieces of shadow RAM, by register and nibble. */
static const struct piece {
	gpa_t base;
	u32 size;
	u8 pam, shift;
} pieces[] = {
	{ 0xc0000, 0x4000, 1, 0 },  { 0xc4000, 0x4000, 1, 4 }, { 0xc8000, 0x4000, 2, 0 },
	{ 0xcc000, 0x4000, 2, 4 },  { 0xd0000, 0x4000, 3, 0 }, { 0xd4000, 0x4000, 3, 4 },
	{ 0xd8000, 0x4000, 4, 0 },  { 0xdc000, 0x4000, 4, 4 }, { 0xe0000, 0x4000, 5, 0 },
	{ 0xe4000, 0x4000, 5, 4 },  { 0xe8000, 0x4000, 6, 0 }, { 0xec000, 0x4000, 6, 4 },
	{ 0xf0000, 0x10000, 0, 4 },
};

/* What reads where no RAM is shown. */
static u8 below(gpa_t gpa) { return gpa < ROM_AT ? 0xff : 0xee; }

static void check_piece(struct fixture *f, const struct piece *p, unsigned attributes)
{
	const gpa_t at[] = { p->base, p->base + p->size / 2, p->base + p->size - 1 };

	for (unsigned n = 0; n < ARRAY_LEN(at); n++) {
		u8 *ram = f->mem.ram->host + at[n];

		*ram = 0x11;
		assert_int_equal(cpu_read(f, at[n]),
				 attributes & I440BX_PAM_READ ? 0x11 : below(at[n]));
		cpu_write(f, at[n], 0x22);
		assert_int_equal(*ram, attributes & I440BX_PAM_WRITE ? 0x22 : 0x11);
		assert_int_equal(f->rom->host[0], 0xee);
	}
}

static void each_nibble(void **state)
{
	struct fixture *f = *state;

	for (unsigned n = 0; n < ARRAY_LEN(pieces); n++)
		for (unsigned attributes = 0; attributes < 4; attributes++) {
			cfg_write(f, I440BX_PAM + pieces[n].pam, attributes << pieces[n].shift, 1);
			for (unsigned k = 0; k < ARRAY_LEN(pieces); k++)
				check_piece(f, &pieces[k], k == n ? attributes : 0);
			cfg_write(f, I440BX_PAM + pieces[n].pam, 0, 1);
		}
	/* Neither the other nibble of PAM0 nor bits without a meaning do anything. */
	cfg_write(f, I440BX_PAM, 0xcf, 1);
	for (unsigned k = 0; k < ARRAY_LEN(pieces); k++)
		check_piece(f, &pieces[k], 0);
}

/* All attributes at random, in accesses of all sizes, which also straddle the registers' ends. */
static void random_attributes(void **state)
{
	struct fixture *f = *state;
	u64 seed = 7;

	for (unsigned n = 0; n < 500; n++) {
		unsigned size, reg;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		size = 1u << (seed >> 60) % 3;
		reg = 0x58 + (unsigned)(seed >> 40) % 8 / size * size;
		cfg_write(f, reg, (u32)(seed >> 8), size);
		for (unsigned k = 0; k < ARRAY_LEN(pieces); k++)
			check_piece(f, &pieces[k],
				    f->host.regs.pci.config[I440BX_PAM + pieces[k].pam] >>
						    pieces[k].shift &
					    3);
		assert_true(f->mem.window_count < 20);
	}
}

/* Firmware shadows itself: reads are the ROM's and writes the RAM's, at one address. */
static void copies_in_place(void **state)
{
	struct fixture *f = *state;
	u8 *ram = f->mem.ram->host + 0xf0000;

	f->rom->host[0x10010] = 0x5a;
	cfg_write(f, I440BX_PAM, 0x20, 1);
	f->mem.ram->page_flags[0xf0] = MEM_PAGE_CODE;
	for (gpa_t at = 0xf0000; at < 0x100000; at++)
		cpu_write(f, at, cpu_read(f, at));
	assert_int_equal(f->announced,
			 0x1000); /* writes to code of it, though nobody sees it now */
	assert_int_equal(ram[0x10], 0x5a);
	assert_int_equal(ram[0xffff], 0xee);
	/* Accesses of all sizes. */
	bus_write(&f->board.mmio, 0xf0020, 0x1122334455667788, 8);
	bus_write(&f->board.mmio, 0xfffff - 3, 0xaabbccdd, 4);
	assert_int_equal(le_load(ram + 0x20, 8), 0x1122334455667788);
	assert_int_equal(le_load(ram + 0xfffc, 4), 0xaabbccdd);
	assert_int_equal(f->mem.ram->host[0x100000], 0);
	cfg_write(f, I440BX_PAM, 0x10, 1);
	assert_int_equal(cpu_read(f, 0xf0010), 0x5a);
	cpu_write(f, 0xf0010, 0);
	assert_int_equal(ram[0x10], 0x5a);
	f->rom->host[0x10010] = 0;
	assert_int_equal(cpu_read(f, 0xf0010), 0x5a);
}

static void reset_hides_all(void **state)
{
	struct fixture *f = *state;
	unsigned windows = f->mem.window_count;

	for (unsigned n = 0; n < 50; n++) {
		for (unsigned k = 0; k < I440BX_PAMS; k++)
			cfg_write(f, I440BX_PAM + k, 0x33, 1);
		cfg_write(f, I440BX_SMRAM, 0x48, 1);
		assert_int_equal(f->mem.window_count, windows + 14);
		i440bx_type.reset(&f->host.dev);
		assert_int_equal(f->mem.window_count, windows);
	}
	for (unsigned k = 0; k < ARRAY_LEN(pieces); k++)
		check_piece(f, &pieces[k], 0);
	assert_null(mem_find(&f->mem, 0xa0000));
	for (unsigned k = 0; k < I440BX_PAMS; k++)
		assert_int_equal(cfg_read(f, I440BX_PAM + k, 1), 0);
	assert_int_equal(cfg_read(f, I440BX_SMRAM, 1), 2);
}

static void loaded(void **state)
{
	struct fixture *f = *state;

	cfg_write(f, I440BX_PAM, 0x30, 1);
	cfg_write(f, I440BX_PAM + 3, 0x12, 1);
	cfg_write(f, I440BX_SMRAM, 0x48, 1);
	board_save_and_load(&f->host.dev);
	for (unsigned k = 0; k < ARRAY_LEN(pieces); k++)
		check_piece(f, &pieces[k], k == 12 ? 3 : k == 4 ? 2 : k == 5 ? 1 : 0);
	assert_ptr_equal(mem_host(&f->mem, 0xa0000, 0x20000), f->mem.ram->host + 0xa0000);
	/* A lock that was saved holds. */
	cfg_write(f, I440BX_SMRAM, 0x18, 1);
	board_save_and_load(&f->host.dev);
	cfg_write(f, I440BX_SMRAM, 0x48, 1);
	assert_int_equal(cfg_read(f, I440BX_SMRAM, 1), 0x1a);
	assert_null(mem_find(&f->mem, 0xa0000));
	/* A state that no register could have. */
	memset(f->host.regs.pci.config, 0xff, sizeof(f->host.regs.pci.config));
	i440bx_type.loaded(&f->host.dev);
	for (unsigned k = 0; k < ARRAY_LEN(pieces); k++)
		check_piece(f, &pieces[k], 3);
	assert_null(mem_find(&f->mem, 0xa0000));
	assert_int_equal(cfg_read(f, I440BX_SMRAM, 1) & 0x57, 0x12);
}

static void smram(void **state)
{
	struct fixture *f = *state;
	struct mem_area *video = mem_area_new(&f->mem, 64 * KIB, "video");

	assert_int_equal(mem_show(&f->mem, &(struct mem_window){ .base = 0xa0000,
								 .size = 64 * KIB,
								 .area = video,
								 .level = MEM_LEVEL_DEVICE,
								 .owner = video }),
			 0);
	/* Both G_SMRAME and D_OPEN. */
	cfg_write(f, I440BX_SMRAM, 0x40, 1);
	assert_ptr_equal(mem_host(&f->mem, 0xa0000, 1), video->host);
	cfg_write(f, I440BX_SMRAM, 0x08, 1);
	assert_ptr_equal(mem_host(&f->mem, 0xa0000, 1), video->host);
	cfg_write(f, I440BX_SMRAM, 0x48, 1);
	assert_ptr_equal(mem_host(&f->mem, 0xa0000, 0x20000), f->mem.ram->host + 0xa0000);
	cpu_write(f, 0xa1234, 0x77);
	assert_int_equal(video->host[0x1234], 0);
	assert_int_equal(cfg_read(f, I440BX_SMRAM, 1), 0x4a); /* C_BASE_SEG */
	/* Closed: what is behind it is seen, and it keeps its bytes. */
	cfg_write(f, I440BX_SMRAM, 0x08, 1);
	assert_int_equal(cpu_read(f, 0xa1234), 0);
	assert_int_equal(cpu_read(f, 0xb1234), 0xff);
	assert_int_equal(f->mem.ram->host[0xa1234], 0x77);
	/* The lock closes it at once and until reset. */
	cfg_write(f, I440BX_SMRAM, 0x58, 1);
	assert_int_equal(cfg_read(f, I440BX_SMRAM, 1), 0x1a);
	assert_ptr_equal(mem_host(&f->mem, 0xa0000, 1), video->host);
	cfg_write(f, I440BX_SMRAM, 0x48, 1);
	cfg_write(f, 0x70, 0x00480000, 4);
	assert_int_equal(cfg_read(f, I440BX_SMRAM, 1), 0x1a);
	assert_ptr_equal(mem_host(&f->mem, 0xa0000, 1), video->host);
	i440bx_type.reset(&f->host.dev);
	cfg_write(f, I440BX_SMRAM, 0x48, 1);
	assert_ptr_equal(mem_host(&f->mem, 0xa0000, 1), f->mem.ram->host + 0xa0000);
}

static void identity_bx(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cfg_read(f, 0, 4), 0x71908086);
	assert_int_equal(cfg_read(f, 8, 4), 0x06000003);
}

static void identity_fx(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cfg_read(f, 0, 4), 0x12378086);
	assert_int_equal(cfg_read(f, 8, 4), 0x06000002);
	cfg_write(f, I440BX_PAM + 6, 0x30, 1);
	check_piece(f, &pieces[11], 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(each_nibble),
		TEST(random_attributes),
		TEST(copies_in_place),
		TEST(reset_hides_all),
		TEST(loaded),
		TEST(smram),
		TEST(identity_bx),
		cmocka_unit_test_setup_teardown(identity_fx, setup_fx, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("i440bx", tests, NULL, NULL);
}
