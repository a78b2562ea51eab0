#include "dev/dev_test.h"
#include "dev/mc146818.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define S  1000000000ull
#define MS 1000000ull

struct fixture {
	struct test_board board;
	struct mc146818 rtc;
	struct test_line irq8;
};

static struct fixture *start(void **state, i64 wall, u64 low, u64 high)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.board.clock.wall_offset_s = wall;
	f.rtc.irq = test_irq(&f.irq8);
	f.rtc.ram_low_end = low;
	f.rtc.ram_high = high;
	board_add(&f.board, &f.rtc.dev, &mc146818_type, "rtc");
	*state = &f;
	return &f;
}

/* 2023-08-21 is a Monday. */
static int setup(void **state)
{
	start(state, 1692621296, 512 * MIB, 0); /* 2023-08-21 12:34:56 */
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static u8 get(struct fixture *f, u8 index)
{
	out8(&f->board, 0x70, index);
	return in8(&f->board, 0x71);
}

static void put(struct fixture *f, u8 index, u8 value)
{
	out8(&f->board, 0x70, index);
	out8(&f->board, 0x71, value);
}

static void assert_time(struct fixture *f, const char *expected)
{
	char text[64];

	snprintf(text, sizeof(text), "%02x%02x-%02x-%02x %02x:%02x:%02x day %x", get(f, 0x32),
		 get(f, 9), get(f, 8), get(f, 7), get(f, 4), get(f, 2), get(f, 0), get(f, 6));
	assert_string_equal(text, expected);
}

static void shows_the_wall_clock(void **state)
{
	struct fixture *f = *state;

	assert_time(f, "2023-08-21 12:34:56 day 2");
	board_run_to(&f->board, 4 * S - 1);
	assert_time(f, "2023-08-21 12:34:59 day 2");
	board_run_to(&f->board, 4 * S);
	assert_time(f, "2023-08-21 12:35:00 day 2");
	board_run_to(&f->board, 12 * 3600 * S);
	assert_time(f, "2023-08-22 00:34:56 day 3");
}

static void formats(void **state)
{
	struct fixture *f = *state;

	board_run_to(&f->board, 45 * 60 * S); /* 13:19:56 */
	put(f, 0x0b, 0x80 | 0x00);            /* 12 h, BCD; the bytes stay until written */
	put(f, 4, 0x81);
	put(f, 0x0b, 0x00);
	assert_int_equal(get(f, 4), 0x81);
	put(f, 0x0b, 0x86); /* 24 h, binary */
	put(f, 4, 13);
	put(f, 2, 59);
	put(f, 0, 58);
	put(f, 7, 31);
	put(f, 8, 12);
	put(f, 9, 23);
	put(f, 0x0b, 0x06);
	board_run(&f->board, 11 * 3600 * S);
	assert_int_equal(get(f, 4), 0);
	assert_int_equal(get(f, 2), 59);
	assert_int_equal(get(f, 7), 1);
	assert_int_equal(get(f, 8), 1);
	assert_int_equal(get(f, 9), 24);
	assert_int_equal(get(f, 0x32), 0x20);
}

static void twelve_hours(void **state)
{
	static const u8 shown[24] = { 0x12, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
				      0x08, 0x09, 0x10, 0x11, 0x92, 0x81, 0x82, 0x83,
				      0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x90, 0x91 };
	struct fixture *f = *state;

	put(f, 0x0b, 0x80);
	put(f, 4, 0x12); /* midnight */
	put(f, 2, 0);
	put(f, 0, 0);
	put(f, 0x0b, 0x00);
	for (unsigned h = 0; h < 24; h++) {
		assert_int_equal(get(f, 4), shown[h]);
		board_run(&f->board, 3600 * S);
	}
	for (unsigned h = 0; h < 24; h++) {
		put(f, 4, shown[h]);
		assert_int_equal(get(f, 4), shown[h]);
	}
}

/* Days from 1970 to 2100 against the C library. */
static void calendar(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x06);
	for (i64 day = 0; day < 131 * 365; day += 17) {
		time_t t = day * 86400 + 3661;
		struct tm tm;

		f->rtc.regs.seconds = t;
		gmtime_r(&t, &tm);
		assert_int_equal(get(f, 0x32), ((tm.tm_year + 1900) / 1000 << 4) +
						       (tm.tm_year + 1900) / 100 % 10);
		assert_int_equal(get(f, 9), tm.tm_year % 100);
		assert_int_equal(get(f, 8), tm.tm_mon + 1);
		assert_int_equal(get(f, 7), tm.tm_mday);
		assert_int_equal(get(f, 6), tm.tm_wday + 1);
		/* And back, through the bytes. */
		put(f, 0x0b, 0x86);
		put(f, 0x0b, 0x06);
		assert_true(f->rtc.regs.seconds == t);
	}
}

static void set_freezes_the_bytes(void **state)
{
	struct fixture *f = *state;

	board_run(&f->board, 2 * S);
	put(f, 0x0b, 0x92);
	/* SET clears UIE. */
	assert_int_equal(get(f, 0x0b), 0x82);
	board_run(&f->board, 10 * S);
	assert_time(f, "2023-08-21 12:34:58 day 2");
	put(f, 9, 0x99);
	put(f, 0x32, 0x19);
	put(f, 8, 0x12);
	put(f, 7, 0x31);
	put(f, 4, 0x23);
	put(f, 2, 0x59);
	put(f, 0, 0x59);
	assert_int_equal(get(f, 0x0a) & 0x80, 0);
	put(f, 0x0b, 0x02);
	assert_time(f, "1999-12-31 23:59:59 day 6");
	board_run(&f->board, 1 * S);
	assert_time(f, "2000-01-01 00:00:00 day 7");
}

static void update_in_progress(void **state)
{
	struct fixture *f = *state;

	board_run_to(&f->board, 1 * S - 2229000);
	assert_int_equal(get(f, 0x0a), 0x26);
	board_run_to(&f->board, 1 * S - 2227000);
	assert_int_equal(get(f, 0x0a), 0xa6);
	board_run_to(&f->board, 1 * S - 1);
	assert_int_equal(get(f, 0x0a), 0xa6);
	board_run_to(&f->board, 1 * S);
	assert_int_equal(get(f, 0x0a), 0x26);
	/* The divider in reset: no updates; the first follows half a second after its release. */
	put(f, 0x0a, 0x76);
	board_run(&f->board, 3 * S + S / 4);
	assert_int_equal(get(f, 0), 0x57);
	assert_int_equal(get(f, 0x0a), 0x76);
	put(f, 0x0a, 0x26);
	board_run(&f->board, S / 2 - 1);
	assert_int_equal(get(f, 0), 0x57);
	board_run(&f->board, 1);
	assert_int_equal(get(f, 0), 0x58);
}

static void update_interrupt(void **state)
{
	struct fixture *f = *state;

	get(f, 0x0c);
	put(f, 0x0b, 0x12);
	board_run_to(&f->board, 1 * S - 1);
	assert_false(f->irq8.level);
	board_run_to(&f->board, 1 * S);
	assert_true(f->irq8.level);
	board_run(&f->board, 5 * S);
	assert_int_equal(f->irq8.rises, 1);
	assert_int_equal(get(f, 0x0c), 0xd0); /* the periodic flag shows too: its rate is set */
	assert_false(f->irq8.level);
	assert_int_equal(get(f, 0x0c), 0x00);
	board_run(&f->board, 1 * S);
	assert_int_equal(f->irq8.rises, 2);
}

static void flags_without_interrupts(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0a, 0x20);
	get(f, 0x0c);
	board_run(&f->board, 1 * S);
	assert_int_equal(get(f, 0x0c), 0x10);
	assert_int_equal(get(f, 0x0c), 0x00);
	assert_int_equal(f->irq8.rises, 0);
	/* A flag that is up raises the line when its interrupt is enabled. */
	board_run(&f->board, 1 * S);
	put(f, 0x0b, 0x12);
	assert_true(f->irq8.level);
	put(f, 0x0b, 0x02);
	assert_false(f->irq8.level);
}

/* Table 5: rates at 32.768 kHz. */
static void periodic_rates(void **state)
{
	static const unsigned hz[16] = { 0,   256, 128, 8192, 4096, 2048, 1024, 512,
					 256, 128, 64,  32,   16,   8,    4,    2 };
	struct fixture *f = *state;

	for (u8 rs = 0; rs < 16; rs++) {
		unsigned n = 0;
		u64 end = clock_now(&f->board.clock) + 2 * S;

		put(f, 0x0b, 0x02);
		put(f, 0x0a, 0x20 | rs);
		get(f, 0x0c);
		put(f, 0x0b, 0x42);
		while (clock_next(&f->board.clock) <= end) {
			board_run_to(&f->board, clock_next(&f->board.clock));
			assert_true(f->irq8.level);
			assert_int_equal(get(f, 0x0c) & 0xc0, 0xc0);
			n++;
		}
		assert_int_equal(n, 2 * hz[rs]);
		board_run_to(&f->board, end);
	}
}

static void alarm_interrupt(void **state)
{
	struct fixture *f = *state;

	put(f, 5, 0x12);
	put(f, 3, 0x36);
	put(f, 1, 0x10);
	get(f, 0x0c);
	put(f, 0x0b, 0x22);
	board_run_to(&f->board, 74 * S - 1);
	assert_false(f->irq8.level);
	board_run_to(&f->board, 74 * S);
	assert_true(f->irq8.level);
	assert_int_equal(get(f, 0x0c) & 0xb0, 0xb0);
	/* The next day at the same time. */
	board_run_to(&f->board, (86400 + 74) * S - 1);
	assert_false(f->irq8.level);
	board_run(&f->board, 1);
	assert_true(f->irq8.level);
}

static void alarm_wildcards(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	put(f, 5, 0xff);
	put(f, 3, 0xc0);
	put(f, 1, 0x30);
	get(f, 0x0c);
	put(f, 0x0b, 0x22);
	for (u64 t = 1; t <= 600; t++) {
		board_run_to(&f->board, t * S);
		if (!f->irq8.level)
			continue;
		assert_int_equal(get(f, 0), 0x30);
		get(f, 0x0c);
		n++;
	}
	assert_int_equal(n, 10);
	/* Every second. */
	put(f, 1, 0xff);
	get(f, 0x0c);
	board_run(&f->board, 1 * S);
	assert_true(f->irq8.level);
	/* Never. */
	put(f, 1, 0x99);
	get(f, 0x0c);
	board_run(&f->board, 200000 * S);
	assert_false(f->irq8.level);
	assert_int_equal(get(f, 0x0c) & 0x20, 0);
}

static void alarm_flag_of_a_long_sleep(void **state)
{
	struct fixture *f = *state;

	put(f, 5, 0x03);
	put(f, 3, 0x00);
	put(f, 1, 0x00);
	get(f, 0x0c);
	clock_skip(&f->board.clock, 10 * 3600 * S); /* 22:34:56 */
	assert_int_equal(get(f, 0x0c) & 0x30, 0x10);
	clock_skip(&f->board.clock, 20 * 3600 * S); /* past 3 in the night */
	assert_int_equal(get(f, 0x0c) & 0x30, 0x30);
}

static void memory_sizes(void **state)
{
	struct fixture *f = *state;
	unsigned sum = 0;

	assert_int_equal(get(f, 0x15) | get(f, 0x16) << 8, 640);
	assert_int_equal(get(f, 0x17) | get(f, 0x18) << 8, 0xffff);
	assert_int_equal(get(f, 0x30) | get(f, 0x31) << 8, 0xffff);
	assert_int_equal(get(f, 0x34) | get(f, 0x35) << 8, (512 - 16) * 16);
	assert_int_equal(get(f, 0x5b) | get(f, 0x5c) << 8 | get(f, 0x5d) << 16, 0);
	for (u8 i = 0x10; i <= 0x2d; i++)
		sum += get(f, i);
	assert_int_equal(get(f, 0x2e) << 8 | get(f, 0x2f), sum);
	board_fini(&f->board);
	f = start(state, 0, 3 * GIB, 5 * GIB);
	assert_int_equal(get(f, 0x34) | get(f, 0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(get(f, 0x5b) | get(f, 0x5c) << 8 | get(f, 0x5d) << 16, 5 * 1024 * 16);
	board_fini(&f->board);
	f = start(state, 0, 8 * MIB, 0);
	assert_int_equal(get(f, 0x17) | get(f, 0x18) << 8, 7 * 1024);
	assert_int_equal(get(f, 0x34) | get(f, 0x35) << 8, 0);
}

static void firmware_bytes(void **state)
{
	struct fixture *f = *state;
	unsigned sum = 0;

	assert_int_equal(get(f, 0x10), 0);
	assert_int_equal(get(f, 0x14), 0x06);
	assert_int_equal(get(f, 0x5f), 0);
	board_fini(&f->board);
	memset(f, 0, sizeof(*f));
	board_init(&f->board);
	f->rtc.ram_low_end = 64 * MIB;
	f->rtc.cpus = 4;
	f->rtc.floppy[0] = MC146818_FLOPPY_1440K;
	f->rtc.floppy[1] = MC146818_FLOPPY_2880K;
	f->rtc.boot[0] = MC146818_BOOT_CD;
	f->rtc.boot[1] = MC146818_BOOT_DISK;
	f->rtc.boot[2] = MC146818_BOOT_FLOPPY;
	f->rtc.translated = 0x05;
	board_add(&f->board, &f->rtc.dev, &mc146818_type, "rtc");
	assert_int_equal(get(f, 0x10), 0x45);
	assert_int_equal(get(f, 0x14), 0x47);
	assert_int_equal(get(f, 0x3d), 0x23);
	assert_int_equal(get(f, 0x38), 0x10);
	assert_int_equal(get(f, 0x39), 0x11);
	assert_int_equal(get(f, 0x5f), 3);
	for (u8 i = 0x10; i <= 0x2d; i++)
		sum += get(f, i);
	assert_int_equal(get(f, 0x2e) << 8 | get(f, 0x2f), sum);
}

static void memory_is_kept(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0f, 0x0a);
	put(f, 0x7f, 0x5a);
	put(f, 0x8e, 0x77); /* bit 7 of the index is not part of it */
	put(f, 0x0d, 0x00);
	put(f, 0x0c, 0xff);
	put(f, 0x0b, 0x72);
	mc146818_type.reset(&f->rtc.dev);
	assert_int_equal(get(f, 0x0f), 0x0a);
	assert_int_equal(get(f, 0x7f), 0x5a);
	assert_int_equal(get(f, 0x0e), 0x77);
	assert_int_equal(get(f, 0x0d), 0x80);
	assert_int_equal(get(f, 0x0c), 0x00);
	assert_int_equal(get(f, 0x0b), 0x02);
	assert_int_equal(in8(&f->board, 0x70), 0xff);
}

static void nonsense_is_survived(void **state)
{
	struct fixture *f = *state;

	for (unsigned v = 0; v < 256; v++) {
		for (u8 i = 0; i < 10; i++)
			put(f, i, (u8)v);
		put(f, 0x32, (u8)v);
		for (u8 b = 0; b < 8; b++) {
			put(f, 0x0b, (u8)(b | 0x30));
			get(f, 9);
		}
		board_run(&f->board, 3 * S);
		get(f, 0x0c);
	}
}

static void state_survives(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x12);
	get(f, 0x0c);
	board_run_to(&f->board, 3 * S / 2);
	get(f, 0x0c);
	board_save_and_load(&f->rtc.dev);
	assert_time(f, "2023-08-21 12:34:57 day 2");
	board_run_to(&f->board, 2 * S);
	assert_true(f->irq8.level);
}

static void bytes_written_while_it_runs(void **state)
{
	struct fixture *f = *state;

	board_run_to(&f->board, 100 * S);
	put(f, 9, 0x24); /* the others are as of now, not of the last look */
	assert_time(f, "2024-08-21 12:36:36 day 4");
	put(f, 0, 0x59);
	board_run(&f->board, 1 * S);
	assert_time(f, "2024-08-21 12:37:00 day 4");
}

static void reset_clears_the_flags(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x12);
	board_run_to(&f->board, 2 * S);
	assert_true(f->irq8.level);
	mc146818_type.reset(&f->rtc.dev);
	assert_false(f->irq8.level);
	assert_int_equal(get(f, 0x0c), 0x00);
	/* Enabling an interrupt does not bring back what happened before. */
	put(f, 0x0b, 0x12);
	assert_false(f->irq8.level);
}

static void alarm_sleeps_until_it_is_due(void **state)
{
	struct fixture *f = *state;

	put(f, 5, 0x14);
	put(f, 3, 0x00);
	put(f, 1, 0x00);
	put(f, 0x0a, 0x20);
	put(f, 0x0b, 0x22);
	/* From 12:34:56. */
	assert_int_equal(clock_next(&f->board.clock), (85 * 60 + 4) * S);
	put(f, 0x0b, 0x02);
	assert_int_equal(clock_next(&f->board.clock), CLOCK_NEVER);
}

/* The counted clock goes to the end of its range if every processor sleeps that long. */
static void end_of_time(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x72); /* all three interrupts */
	get(f, 0x0c);
	clock_skip(&f->board.clock, INT64_MAX - 1000);
	clock_run(&f->board.clock);
	assert_true(f->irq8.level);
	assert_int_equal(get(f, 0x0c) & 0xf0, 0xf0);
	assert_false(f->irq8.level);
	/* Nothing is ahead: it does not raise its line again and again. */
	assert_int_equal(clock_next(&f->board.clock), CLOCK_NEVER);
	for (unsigned i = 0; i < 3; i++) {
		clock_skip(&f->board.clock, clock_now(&f->board.clock) + UINT64_MAX / 8);
		put(f, 0x0a, i & 1 ? 0x26 : 0x76);
		put(f, 9, 0x99);
		assert_int_equal(get(f, 9), 0x99);
		board_save_and_load(&f->rtc.dev);
	}
	assert_int_equal(clock_next(&f->board.clock), CLOCK_NEVER);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(shows_the_wall_clock),
		TEST(formats),
		TEST(twelve_hours),
		TEST(calendar),
		TEST(set_freezes_the_bytes),
		TEST(update_in_progress),
		TEST(update_interrupt),
		TEST(flags_without_interrupts),
		TEST(periodic_rates),
		TEST(alarm_interrupt),
		TEST(alarm_wildcards),
		TEST(alarm_flag_of_a_long_sleep),
		TEST(memory_sizes),
		TEST(firmware_bytes),
		TEST(memory_is_kept),
		TEST(nonsense_is_survived),
		TEST(bytes_written_while_it_runs),
		TEST(reset_clears_the_flags),
		TEST(alarm_sleeps_until_it_is_due),
		TEST(state_survives),
		TEST(end_of_time),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("mc146818", tests, NULL, NULL);
}
