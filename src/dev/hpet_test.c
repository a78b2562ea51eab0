#include "dev/hpet.h"

#include "base/bits.h"
#include "dev/dev_test.h"

#include <string.h>

#define PIN 20u

struct fixture {
	struct test_board board;
	struct hpet hpet;
	struct test_line isa[2], pin[32];
};

static void pin_set(void *chip, unsigned line, bool level)
{
	struct fixture *f = chip;

	assert_true(line < 32);
	test_line_set(&f->pin[line], 0, level);
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.hpet.isa[0] = test_irq(&f.isa[0]);
	f.hpet.isa[1] = test_irq(&f.isa[1]);
	f.hpet.apic = (struct irq){ pin_set, &f, 0 };
	board_run(&f.board, 12345);
	board_add(&f.board, &f.hpet.dev, &hpet_type, "hpet");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static u64 rd(struct fixture *f, u64 reg) { return bus_read(&f->board.mmio, HPET_BASE + reg, 8); }

static void wr(struct fixture *f, u64 reg, u64 value)
{
	bus_write(&f->board.mmio, HPET_BASE + reg, value, 8);
}

static void identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rd(f, 0), 10000000ull << 32 | 0x8086a201);
	assert_int_equal(bus_read(&f->board.mmio, HPET_BASE + 4, 4), 10000000);
	assert_int_equal(rd(f, 0x10), 0);
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(rd(f, 0x100 + n * 0x20), 0x00f0000000000030);
		assert_int_equal(rd(f, 0x108 + n * 0x20), UINT64_MAX);
		assert_int_equal(rd(f, 0x110 + n * 0x20), 0);
	}
	wr(f, 0, 0);
	assert_int_equal(rd(f, 0) & 0xffffffff, 0x8086a201);
	wr(f, 0x3f8, 1);
	assert_int_equal(rd(f, 0x3f8), 0);
	assert_int_equal(bus_read(&f->board.mmio, HPET_BASE + 1, 2), 0x86a2);
	assert_int_equal(rd(f, 0xfc), 0x30ull << 32); /* across two registers */
}

static void counter(void **state)
{
	struct fixture *f = *state;

	wr(f, 0xf0, 1000);
	board_run(&f->board, 1000);
	assert_int_equal(rd(f, 0xf0), 1000);
	wr(f, 0x10, 1);
	board_run(&f->board, 995);
	assert_int_equal(rd(f, 0xf0), 1099);
	board_run(&f->board, 5); /* nothing is lost by looking */
	assert_int_equal(rd(f, 0xf0), 1100);
	wr(f, 0xf0, 5); /* not while it runs */
	assert_int_equal(rd(f, 0xf0), 1100);
	wr(f, 0x10, 0);
	board_run(&f->board, 1000);
	assert_int_equal(rd(f, 0xf0), 1100);
	bus_write(&f->board.mmio, HPET_BASE + 0xf4, 1, 4);
	assert_int_equal(rd(f, 0xf0), BIT(32) + 1100);
}

static void one_shot_edge(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x100, PIN << 9 | 4);
	wr(f, 0x108, 500);
	wr(f, 0x10, 1);
	board_run(&f->board, 4999);
	assert_int_equal(f->pin[PIN].rises, 0);
	board_run(&f->board, 1);
	assert_int_equal(f->pin[PIN].rises, 1);
	assert_int_equal(rd(f, 0x20), 0); /* an edge leaves no status */
	board_run(&f->board, 1000000);
	assert_int_equal(f->pin[PIN].rises, 1);
	wr(f, 0x108, 200000);
	board_run(&f->board, 1000000);
	assert_int_equal(f->pin[PIN].rises, 2); /* the line went down before */
	wr(f, 0x10, 0);
	assert_false(f->pin[PIN].level);
	assert_int_equal(f->isa[0].rises, 0);
}

static void one_shot_level(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x140, 21 << 9 | 2 | 4);
	wr(f, 0x148, 100);
	wr(f, 0x10, 1);
	board_run(&f->board, 1000);
	assert_true(f->pin[21].level);
	assert_int_equal(rd(f, 0x20), 4);
	wr(f, 0x20, 3);
	assert_true(f->pin[21].level);
	wr(f, 0x20, 4);
	assert_false(f->pin[21].level);
	assert_int_equal(rd(f, 0x20), 0);
	/* Not enabled it has its status alone. */
	wr(f, 0x140, 21 << 9 | 2);
	wr(f, 0x148, 200);
	board_run(&f->board, 1000);
	assert_int_equal(rd(f, 0x20), 4);
	assert_false(f->pin[21].level);
	wr(f, 0x140, 21 << 9 | 2 | 4);
	assert_true(f->pin[21].level);
	wr(f, 0x140, 21 << 9 | 4); /* edge: status is gone */
	assert_int_equal(rd(f, 0x20), 0);
	assert_false(f->pin[21].level);
}

static void periodic(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x100, PIN << 9 | 0x4c);
	assert_int_equal(rd(f, 0x100) & 0x48, 0x48);
	wr(f, 0x108, 1000); /* the first one, and it clears VAL_SET */
	assert_int_equal(rd(f, 0x100) & 0x48, 0x08);
	wr(f, 0x108, 300); /* the period */
	assert_int_equal(rd(f, 0x108), 1000);
	wr(f, 0x10, 1);
	board_run(&f->board, 9999);
	assert_int_equal(f->pin[PIN].rises, 0);
	board_run(&f->board, 1);
	assert_int_equal(f->pin[PIN].rises, 1);
	assert_int_equal(rd(f, 0x108), 1300);
	board_run(&f->board, 30000);
	assert_int_equal(f->pin[PIN].rises, 11);
	/* Time passes at once: one interrupt, and the phase is kept. */
	clock_skip(&f->board.clock, clock_now(&f->board.clock) + 10000000 + 100);
	clock_run(&f->board.clock);
	assert_int_equal(f->pin[PIN].rises, 12);
	assert_int_equal(rd(f, 0x108), 1000 + 300 * (10 + 3333 + 1));
}

static void narrow(void **state)
{
	struct fixture *f = *state;

	wr(f, 0xf0, 0xfffffff00000ff00);
	wr(f, 0x100, 0x104 | PIN << 9);
	wr(f, 0x108, 0x1234567800000000 | 0x10000);
	assert_int_equal(rd(f, 0x108), 0x10000);
	wr(f, 0x10, 1);
	board_run(&f->board, 2560);
	assert_int_equal(f->pin[PIN].rises, 1);
	/* Again after 32 bits. */
	board_run(&f->board, BIT(32) * 10);
	assert_int_equal(f->pin[PIN].rises, 2);
	wr(f, 0x128, 0); /* 64 bits: practically never */
	wr(f, 0x120, 4 | 22 << 9);
	board_run(&f->board, BIT(32) * 10);
	assert_int_equal(f->pin[22].rises, 0);
}

static void legacy_routing(void **state)
{
	struct fixture *f = *state;

	hpet_legacy_set(&f->hpet, 0, true);
	hpet_legacy_set(&f->hpet, 0, false);
	hpet_legacy_set(&f->hpet, 1, true);
	assert_int_equal(f->isa[0].rises, 1);
	assert_true(f->isa[1].level);
	wr(f, 0x100, 4 | PIN << 9);
	wr(f, 0x108, 100);
	wr(f, 0x120, 4 | PIN << 9);
	wr(f, 0x128, 200);
	wr(f, 0x10, 3);
	assert_false(f->isa[1].level); /* the clock is disconnected */
	hpet_legacy_set(&f->hpet, 0, true);
	assert_false(f->isa[0].level);
	board_run(&f->board, 1000);
	assert_int_equal(f->isa[0].rises, 2);
	assert_int_equal(f->isa[1].rises, 1);
	board_run(&f->board, 1000);
	assert_int_equal(f->isa[1].rises, 2);
	assert_int_equal(f->pin[PIN].rises, 0);
	hpet_legacy_set(&f->hpet, 0, false);
	wr(f, 0x10, 0);
	assert_false(f->isa[0].level);
	assert_true(f->isa[1].level); /* and back */
}

static void routes(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x100, 23 << 9);
	assert_int_equal(rd(f, 0x100) >> 9 & 31, 23);
	wr(f, 0x100, 2 << 9);
	assert_int_equal(rd(f, 0x100) >> 9 & 31, 23);
	/* Two level-triggered timers on one pin. */
	wr(f, 0x100, 23 << 9 | 6);
	wr(f, 0x120, 23 << 9 | 6);
	wr(f, 0x108, 10);
	wr(f, 0x128, 20);
	wr(f, 0x10, 1);
	board_run(&f->board, 1000);
	assert_int_equal(rd(f, 0x20), 3);
	wr(f, 0x20, 1);
	assert_true(f->pin[23].level);
	wr(f, 0x20, 2);
	assert_false(f->pin[23].level);
}

static void no_period(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x100, PIN << 9 | 0x4c);
	wr(f, 0x108, 0);
	wr(f, 0x10, 1);
	board_run(&f->board, 1000000);
	assert_int_equal(f->pin[PIN].rises, 0);
	wr(f, 0x100, PIN << 9 | 0x4c);
	wr(f, 0x108, 1); /* met long ago */
	board_run(&f->board, 1000000);
	assert_int_equal(f->pin[PIN].rises, 0);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;

	wr(f, 0x100, PIN << 9 | 0x4c);
	wr(f, 0x108, 1000);
	wr(f, 0x10, 1);
	board_run(&f->board, 5000);
	board_save_and_load(&f->hpet.dev);
	board_run(&f->board, 5000);
	assert_int_equal(f->pin[PIN].rises, 1);
	board_save_and_load(&f->hpet.dev);
	assert_true(f->pin[PIN].level);
	board_run(&f->board, 10000);
	assert_int_equal(rd(f, 0x108), 3000);
	assert_int_equal(rd(f, 0xf0), 2000);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity),  TEST(counter),       TEST(one_shot_edge),  TEST(one_shot_level),
		TEST(periodic),  TEST(narrow),        TEST(legacy_routing), TEST(routes),
		TEST(no_period), TEST(save_and_load),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("hpet", tests, NULL, NULL);
}
