#include "dev/dev_test.h"
#include "dev/i8254.h"

#include <string.h>

struct fixture {
	struct test_board board;
	struct i8254 pit;
	struct test_line irq0;
	u64 tick; /* CLK pulses since time 0 */
};

static void ticks(struct fixture *f, u64 n)
{
	f->tick += n;
	board_run_to(&f->board, clock_ticks_to_ns(f->tick, I8254_HZ));
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.pit.irq = test_irq(&f.irq0);
	board_add(&f.board, &f.pit.dev, &i8254_type, "pit");
	ticks(&f, 1000);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static void program(struct fixture *f, unsigned c, u8 control, u16 count)
{
	out8(&f->board, 0x43, (u8)(c << 6 | 0x30 | control));
	out8(&f->board, (u16)(0x40 + c), (u8)count);
	out8(&f->board, (u16)(0x40 + c), (u8)(count >> 8));
}

static u16 count(struct fixture *f, unsigned c)
{
	u8 low;

	out8(&f->board, 0x43, (u8)(c << 6));
	low = in8(&f->board, (u16)(0x40 + c));
	return (u16)(low | in8(&f->board, (u16)(0x40 + c)) << 8);
}

static u8 status(struct fixture *f, unsigned c)
{
	out8(&f->board, 0x43, (u8)(0xe0 | 2u << c));
	return in8(&f->board, (u16)(0x40 + c));
}

static bool out(struct fixture *f, unsigned c) { return status(f, c) >> 7; }

static void gate2(struct fixture *f, bool on) { out8(&f->board, 0x61, on ? 0x01 : 0x00); }

/* OUT over n pulses, one character each, starting now. */
static const char *wave(struct fixture *f, unsigned c, unsigned n)
{
	static char text[128];

	for (unsigned i = 0; i < n; i++) {
		text[i] = out(f, c) ? '1' : '0';
		ticks(f, 1);
	}
	text[n] = 0;
	return text;
}

/* The data sheet's figure for mode 0: N = 4 gives OUT high N + 1 pulses after the write. */
static void mode0(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x00, 4);
	assert_int_equal(status(f, 0), 0x70); /* OUT low, null count */
	assert_string_equal(wave(f, 0, 8), "00000111");
	/* It goes on counting from the top. */
	assert_int_equal(count(f, 0), 0xfffd);
	assert_int_equal(f->irq0.rises, 1);
	/* Another count: loaded with the next pulse. */
	out8(&f->board, 0x40, 3);
	assert_false(out(f, 0));
	ticks(f, 5);
	assert_int_equal(count(f, 0), 0xfffd); /* the first byte has stopped it */
	out8(&f->board, 0x40, 0);
	assert_string_equal(wave(f, 0, 6), "000011");
}

static void mode0_gate(void **state)
{
	struct fixture *f = *state;

	gate2(f, true);
	program(f, 2, 0x00, 10);
	ticks(f, 4);
	assert_int_equal(count(f, 2), 7);
	gate2(f, false);
	ticks(f, 100);
	assert_int_equal(count(f, 2), 7);
	assert_int_equal(in8(&f->board, 0x61) & 0x21, 0x00);
	gate2(f, true);
	ticks(f, 6);
	assert_int_equal(in8(&f->board, 0x61) & 0x21, 0x01);
	ticks(f, 1);
	assert_int_equal(in8(&f->board, 0x61) & 0x21, 0x21);
}

static void mode1(void **state)
{
	struct fixture *f = *state;

	program(f, 2, 0x02, 3);
	assert_string_equal(wave(f, 2, 5), "11111");
	gate2(f, true);
	assert_string_equal(wave(f, 2, 6), "100011");
	/* Retriggered while low: low again for the whole count. */
	gate2(f, false);
	gate2(f, true);
	ticks(f, 2);
	assert_int_equal(count(f, 2), 2);
	gate2(f, false);
	gate2(f, true);
	assert_string_equal(wave(f, 2, 6), "000011");
	/* A new count waits for the next trigger. */
	gate2(f, false);
	gate2(f, true);
	ticks(f, 1);
	out8(&f->board, 0x42, 5);
	out8(&f->board, 0x42, 0);
	assert_string_equal(wave(f, 2, 5), "00011");
	gate2(f, false);
	gate2(f, true);
	assert_string_equal(wave(f, 2, 8), "10000011");
}

static void mode2(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x04, 3);
	assert_string_equal(wave(f, 0, 11), "11101101101");
	/* A new count counts from the end of the period. */
	program(f, 0, 0x04, 4);
	ticks(f, 2);
	assert_int_equal(count(f, 0), 3);
	out8(&f->board, 0x40, 5);
	out8(&f->board, 0x40, 0);
	assert_int_equal(status(f, 0) & 0x40, 0x40);
	assert_string_equal(wave(f, 0, 10), "1101111011");
	assert_int_equal(status(f, 0) & 0x40, 0x00);
}

static void mode2_gate(void **state)
{
	struct fixture *f = *state;

	gate2(f, true);
	program(f, 2, 0x04, 3);
	ticks(f, 3);
	assert_false(out(f, 2));
	/* Low sets OUT high at once; the rise reloads with the next pulse. */
	gate2(f, false);
	assert_true(out(f, 2));
	ticks(f, 7);
	assert_int_equal(count(f, 2), 1);
	gate2(f, true);
	assert_string_equal(wave(f, 2, 8), "11101101");
}

static void mode3_even(void **state)
{
	struct fixture *f = *state;
	static const u16 counts[] = { 4, 2, 4, 2, 4, 2 };

	program(f, 0, 0x06, 4);
	ticks(f, 1);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(count(f, 0), counts[i]);
		assert_int_equal(out(f, 0), i < 2 || i >= 4);
		ticks(f, 1);
	}
}

static void mode3_odd(void **state)
{
	struct fixture *f = *state;
	static const u16 counts[] = { 4, 2, 0, 4, 2, 4, 2, 0, 4, 2 };

	program(f, 0, 0x06, 5);
	ticks(f, 1);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(count(f, 0), counts[i]);
		assert_int_equal(out(f, 0), i % 5 < 3);
		ticks(f, 1);
	}
	/* A new count comes with the next half. */
	out8(&f->board, 0x40, 6);
	out8(&f->board, 0x40, 0);
	assert_string_equal(wave(f, 0, 12), "111000111000");
}

static void mode3_gate(void **state)
{
	struct fixture *f = *state;

	gate2(f, true);
	program(f, 2, 0x06, 4);
	ticks(f, 3);
	assert_false(out(f, 2));
	gate2(f, false);
	assert_true(out(f, 2));
	ticks(f, 5);
	gate2(f, true);
	assert_string_equal(wave(f, 2, 9), "111001100");
}

static void mode4(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x08, 3);
	assert_string_equal(wave(f, 0, 10), "1111011111");
	assert_int_equal(count(f, 0), 0xfffa);
	/* One strobe a count, also after it wraps. */
	ticks(f, 70000);
	/* the control word raised OUT from reset, then the strobe ended */
	assert_int_equal(f->irq0.rises, 2);
	out8(&f->board, 0x40, 2);
	out8(&f->board, 0x40, 0);
	assert_string_equal(wave(f, 0, 6), "111011");
	assert_int_equal(f->irq0.rises, 3);
}

static void mode4_gate(void **state)
{
	struct fixture *f = *state;

	gate2(f, true);
	program(f, 2, 0x08, 4);
	ticks(f, 3);
	gate2(f, false);
	ticks(f, 9);
	assert_int_equal(count(f, 2), 2);
	gate2(f, true);
	assert_string_equal(wave(f, 2, 5), "11011");
}

static void mode5(void **state)
{
	struct fixture *f = *state;

	program(f, 2, 0x0a, 3);
	assert_string_equal(wave(f, 2, 6), "111111");
	gate2(f, true);
	assert_string_equal(wave(f, 2, 7), "1111011");
	/* Retriggered before it ends: no strobe until the whole count has passed. */
	gate2(f, false);
	gate2(f, true);
	ticks(f, 3);
	gate2(f, false);
	gate2(f, true);
	assert_string_equal(wave(f, 2, 7), "1111011");
}

static void modes_6_and_7(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x0c, 3);
	assert_string_equal(wave(f, 0, 8), "11101101");
	program(f, 0, 0x0e, 4);
	assert_string_equal(wave(f, 0, 8), "11100110");
}

static void bcd(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x05, 0x1000);
	ticks(f, 2);
	assert_int_equal(count(f, 0), 0x0999);
	ticks(f, 998);
	assert_int_equal(count(f, 0), 0x0001);
	ticks(f, 1);
	assert_int_equal(count(f, 0), 0x1000);
	/* 0 is 10000. */
	program(f, 0, 0x01, 0);
	ticks(f, 2);
	assert_int_equal(count(f, 0), 0x9999);
	assert_false(out(f, 0));
	ticks(f, 9999);
	assert_true(out(f, 0));
	ticks(f, 1);
	assert_int_equal(count(f, 0), 0x9999);
}

static void zero_is_65536(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x04, 0);
	ticks(f, 1);
	assert_int_equal(count(f, 0), 0);
	ticks(f, 1);
	assert_int_equal(count(f, 0), 0xffff);
	ticks(f, 65534);
	assert_false(out(f, 0));
	ticks(f, 1);
	assert_int_equal(count(f, 0), 0);
}

static void single_byte_access(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x43, 0x14); /* LSB, mode 2 */
	out8(&f->board, 0x40, 0x80);
	ticks(f, 2);
	assert_int_equal(in8(&f->board, 0x40), 0x7f);
	assert_int_equal(in8(&f->board, 0x40), 0x7f);
	out8(&f->board, 0x43, 0x24); /* MSB */
	out8(&f->board, 0x40, 0x12);
	ticks(f, 1);
	assert_int_equal(in8(&f->board, 0x40), 0x12);
	ticks(f, 1);
	assert_int_equal(in8(&f->board, 0x40), 0x11);
	out8(&f->board, 0x43, 0x00);
	ticks(f, 0x1000);
	assert_int_equal(in8(&f->board, 0x40), 0x11);
	assert_int_equal(in8(&f->board, 0x40), 0x01);
}

static void latches(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x04, 1000);
	ticks(f, 1);
	out8(&f->board, 0x43, 0x00);
	ticks(f, 5);
	out8(&f->board, 0x43, 0x00); /* ignored: the first has not been read */
	assert_int_equal(in8(&f->board, 0x40), 1000 & 0xff);
	assert_int_equal(in8(&f->board, 0x40), 1000 >> 8);
	/* Not latched: as it counts. */
	assert_int_equal(in8(&f->board, 0x40), 995 & 0xff);
	assert_int_equal(in8(&f->board, 0x40), 995 >> 8);
	/* Read-back of status and count of channels 0 and 2: status comes first. */
	gate2(f, true);
	program(f, 2, 0x06, 500);
	ticks(f, 1);
	out8(&f->board, 0x43, 0xca);
	ticks(f, 9);
	assert_int_equal(in8(&f->board, 0x40), 0xb4);
	assert_int_equal(in8(&f->board, 0x40), 994 & 0xff);
	assert_int_equal(in8(&f->board, 0x40), 994 >> 8);
	assert_int_equal(in8(&f->board, 0x42), 0xb6);
	assert_int_equal(in8(&f->board, 0x42), 500 & 0xff);
	assert_int_equal(in8(&f->board, 0x42), 500 >> 8);
	/* A control word drops what was latched. */
	out8(&f->board, 0x43, 0x00);
	program(f, 0, 0x04, 0x5555);
	ticks(f, 1);
	assert_int_equal(in8(&f->board, 0x40), 0x55);
}

static void null_count(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x04, 100);
	assert_int_equal(status(f, 0), 0xf4);
	ticks(f, 1);
	assert_int_equal(status(f, 0), 0xb4);
}

/* 1193182 pulses make exactly one second: a thousand of HZ = 1000 with their rounding of the count
 * never lose a pulse. */
static void periodic_interrupt_does_not_drift(void **state)
{
	struct fixture *f = *state;
	u64 start;

	program(f, 0, 0x04, 1193);
	f->irq0.rises = 0;
	ticks(f, 1);
	start = f->tick;
	ticks(f, 1193ull * 5000 - 1);
	assert_int_equal(f->irq0.rises, 4999);
	ticks(f, 1);
	assert_int_equal(f->irq0.rises, 5000);
	assert_int_equal(clock_now(&f->board.clock),
			 clock_ticks_to_ns(start + 1193 * 5000, I8254_HZ));
}

/* Time leaps over many periods at once: one edge, and the phase is kept. */
static void late_service_keeps_phase(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x04, 1000);
	ticks(f, 1);
	f->irq0.rises = 0;
	f->tick += 12345;
	clock_skip(&f->board.clock, clock_ticks_to_ns(f->tick, I8254_HZ));
	clock_run(&f->board.clock);
	assert_int_equal(f->irq0.rises, 1);
	assert_int_equal(count(f, 0), 1000 - 345);
	ticks(f, 655);
	assert_int_equal(f->irq0.rises, 2);
	program(f, 0, 0x06, 1001);
	ticks(f, 1);
	f->irq0.rises = 0;
	f->tick += 1001 * 1000 + 500;
	clock_skip(&f->board.clock, clock_ticks_to_ns(f->tick, I8254_HZ));
	clock_run(&f->board.clock);
	assert_int_equal(f->irq0.rises, 1);
	assert_true(out(f, 0));
	ticks(f, 1);
	assert_false(out(f, 0));
}

static void square_wave_interrupts(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x06, 100);
	ticks(f, 1);
	f->irq0.rises = 0;
	ticks(f, 99);
	assert_false(f->irq0.level);
	assert_int_equal(f->irq0.rises, 0);
	ticks(f, 1);
	assert_true(f->irq0.level);
	ticks(f, 1000);
	assert_int_equal(f->irq0.rises, 11);
}

static void tiny_counts_do_not_hang(void **state)
{
	struct fixture *f = *state;

	for (u8 mode = 0; mode < 8; mode++)
		for (u16 n = 1; n < 4; n++) {
			gate2(f, false);
			program(f, 0, (u8)(mode << 1), n);
			program(f, 2, (u8)(mode << 1), n);
			gate2(f, true);
			ticks(f, 1000);
			f->tick += 1ull << 40;
			clock_skip(&f->board.clock, clock_ticks_to_ns(f->tick, I8254_HZ));
			clock_run(&f->board.clock);
			status(f, 0);
			status(f, 2);
		}
}

static void port61(void **state)
{
	struct fixture *f = *state;
	unsigned toggles = 0;
	u8 last = in8(&f->board, 0x61) & 0x10;

	for (unsigned i = 0; i < 18 * 20; i++) {
		u8 now;

		ticks(f, 1);
		now = in8(&f->board, 0x61) & 0x10;
		toggles += now != last;
		last = now;
	}
	assert_int_equal(toggles, 20);
	out8(&f->board, 0x61, 0xff);
	assert_int_equal(in8(&f->board, 0x61) & 0xcf, 0x0f);
	out8(&f->board, 0x61, 0x02);
	assert_int_equal(in8(&f->board, 0x61) & 0xcf, 0x02);
}

static void control_port_reads_ones(void **state)
{
	assert_int_equal(in8(&((struct fixture *)*state)->board, 0x43), 0xff);
}

static void state_survives(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x04, 1000);
	ticks(f, 101);
	board_save_and_load(&f->pit.dev);
	assert_int_equal(count(f, 0), 900);
	f->irq0.rises = 0;
	ticks(f, 900);
	assert_int_equal(f->irq0.rises, 1);
}

static void mode5_ignores_the_gate_while_counting(void **state)
{
	struct fixture *f = *state;

	program(f, 2, 0x0a, 4);
	gate2(f, true);
	ticks(f, 2);
	gate2(f, false);
	assert_string_equal(wave(f, 2, 6), "111011");
}

static void mode0_first_byte_stops_a_load(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x00, 3);
	out8(&f->board, 0x40, 9); /* before the next pulse could load 3 */
	ticks(f, 10);
	assert_false(out(f, 0));
	out8(&f->board, 0x40, 0);
	ticks(f, 9);
	assert_false(out(f, 0));
	ticks(f, 1);
	assert_true(out(f, 0));
}

static void trigger_without_a_count(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x43, 0xb2); /* mode 1, no count */
	gate2(f, true);
	assert_string_equal(wave(f, 2, 5), "11111");
	assert_int_equal(status(f, 2), 0xf2);
	/* Half a count is none. */
	out8(&f->board, 0x42, 3);
	gate2(f, false);
	gate2(f, true);
	assert_string_equal(wave(f, 2, 5), "11111");
}

/* The interrupt line shows the strobe's end when that is due, and a write during the strobe does
 * not lose it. */
static void strobe_is_short(void **state)
{
	struct fixture *f = *state;

	program(f, 0, 0x08, 3);
	f->irq0.rises = 0;
	ticks(f, 4);
	assert_false(out(f, 0));
	assert_int_equal(f->irq0.rises, 0);
	ticks(f, 1);
	assert_int_equal(f->irq0.rises, 1);
	assert_true(f->irq0.level);
}

static void whole_periods_passed_at_once_rise(void **state)
{
	struct fixture *f = *state;

	/* From within the high half to within the next high half. */
	program(f, 0, 0x06, 1000);
	ticks(f, 101);
	f->irq0.rises = 0;
	f->tick += 3000;
	clock_skip(&f->board.clock, clock_ticks_to_ns(f->tick, I8254_HZ));
	assert_int_equal(count(f, 0), 800);
	assert_int_equal(f->irq0.rises, 1);
}

static void latched_bytes_belong_together(void **state)
{
	struct fixture *f = *state;
	u8 low;

	program(f, 0, 0x04, 0x1300);
	ticks(f, 1);
	out8(&f->board, 0x43, 0x00);
	low = in8(&f->board, 0x40);
	ticks(f, 0x200);
	assert_int_equal(low, 0x00);
	assert_int_equal(in8(&f->board, 0x40), 0x13);
}

static void one_shot_counts_past_its_end_in_one_leap(void **state)
{
	struct fixture *f = *state;
	static const u8 modes[] = { 0x00, 0x08 };

	for (unsigned i = 0; i < 2; i++) {
		program(f, 0, modes[i], 100);
		f->tick += 1 + 100 + 50;
		clock_skip(&f->board.clock, clock_ticks_to_ns(f->tick, I8254_HZ));
		assert_int_equal(count(f, 0), 0x10000 - 50);
		assert_true(out(f, 0));
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(mode0),
		TEST(mode0_gate),
		TEST(mode1),
		TEST(mode2),
		TEST(mode2_gate),
		TEST(mode3_even),
		TEST(mode3_odd),
		TEST(mode3_gate),
		TEST(mode4),
		TEST(mode4_gate),
		TEST(mode5),
		TEST(modes_6_and_7),
		TEST(bcd),
		TEST(zero_is_65536),
		TEST(single_byte_access),
		TEST(latches),
		TEST(null_count),
		TEST(periodic_interrupt_does_not_drift),
		TEST(late_service_keeps_phase),
		TEST(square_wave_interrupts),
		TEST(tiny_counts_do_not_hang),
		TEST(port61),
		TEST(control_port_reads_ones),
		TEST(mode5_ignores_the_gate_while_counting),
		TEST(mode0_first_byte_stops_a_load),
		TEST(trigger_without_a_count),
		TEST(strobe_is_short),
		TEST(whole_periods_passed_at_once_rise),
		TEST(latched_bytes_belong_together),
		TEST(one_shot_counts_past_its_end_in_one_leap),
		TEST(state_survives),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("i8254", tests, NULL, NULL);
}
