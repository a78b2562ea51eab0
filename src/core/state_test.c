#include "base/test.h"
#include "core/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct part {
	u8 a, b;
};

struct chip {
	u8 byte;
	u16 half;
	u32 word;
	i64 big;
	bool on;
	bool flags[3];
	u16 list[3];
	struct part parts[2];
	u8 raw[3];
};

static const struct state_field rows[] = {
	STATE_ROW(struct chip, byte),   STATE_ROW(struct chip, half),
	STATE_ROW(struct chip, word),   STATE_ROW(struct chip, big),
	STATE_ROW(struct chip, on),     STATE_ARRAY(struct chip, flags),
	STATE_ARRAY(struct chip, list), STATE_ARRAY(struct chip, parts),
	STATE_ROW(struct chip, raw),
};
static STATE_DESC(chip_state, struct chip, "chip", rows);

static const struct chip sample = {
	.byte = 0x12,
	.half = 0x3456,
	.word = 0x789abcde,
	.big = -2,
	.on = true,
	.flags = { true, false, true },
	.list = { 1, 2, 0xffff },
	.parts = { { 1, 2 }, { 3, 4 } },
	.raw = { 0xaa, 0xbb, 0xcc },
};

static char *show(const void *regs, const void *other, unsigned *differ)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (other)
		*differ = state_diff(&chip_state, regs, other, f);
	else
		state_show(&chip_state, regs, "c.", f);
	fclose(f);
	return text;
}

static void shows_every_field(void **state)
{
	char *text = show(&sample, NULL, NULL);

	assert_string_equal(text, "c.byte 12\n"
				  "c.half 3456\n"
				  "c.word 789abcde\n"
				  "c.big fffffffffffffffe\n"
				  "c.on 1\n"
				  "c.flags 1 0 1\n"
				  "c.list 1 2 ffff\n"
				  "c.parts 201 403\n"
				  "c.raw aabbcc\n");
	free(text);
}

static void diff_names_the_field(void **state)
{
	struct chip other = sample;
	unsigned differ;
	char *text;

	assert_int_equal(state_diff(&chip_state, &sample, &other, NULL), 0);
	other.list[2] = 7;
	text = show(&sample, &other, &differ);
	assert_int_equal(differ, 1);
	assert_string_equal(text, "chip.list\n  - 1 2 ffff\n  + 1 2 7\n");
	free(text);
	other.raw[0] = 0;
	assert_int_equal(state_diff(&chip_state, &sample, &other, NULL), 2);
}

static void save_and_load(void **state)
{
	struct chip got = { 0 };
	u8 buf[512];
	size_t n = state_save(&chip_state, &sample, NULL, 0);

	assert_true(n > 0 && n <= sizeof(buf));
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(state_save(&chip_state, &sample, buf, n - 1), n);
	assert_int_equal(buf[0], 0xee);
	assert_int_equal(state_save(&chip_state, &sample, buf, sizeof(buf)), n);
	assert_int_equal(buf[n], 0xee);
	assert_int_equal(state_load(&chip_state, &got, buf, n), 0);
	assert_int_equal(state_diff(&chip_state, &sample, &got, NULL), 0);
}

/* Fields in another order, and some missing, as an older or newer version saves them. */
static void load_is_by_name(void **state)
{
	static const struct state_field two[] = {
		STATE_ROW(struct chip, word),
		STATE_ROW(struct chip, byte),
	};
	static STATE_DESC(desc, struct chip, "chip", two);
	struct chip got = { .half = 9 };
	u8 buf[64];
	size_t n = state_save(&desc, &sample, buf, sizeof(buf));

	assert_int_equal(state_load(&chip_state, &got, buf, n), 0);
	assert_int_equal(got.word, sample.word);
	assert_int_equal(got.byte, sample.byte);
	assert_int_equal(got.half, 9);
}

static void damaged_input_changes_nothing(void **state)
{
	struct chip got = { 0 }, untouched = { 0 };
	u8 buf[512], bad[512];
	size_t n = state_save(&chip_state, &sample, buf, sizeof(buf));

	for (size_t cut = 1; cut < n; cut++) {
		/* Cuts between two fields leave a whole, shorter state. */
		if (state_load(&chip_state, &got, buf, cut) == 0)
			got = untouched;
		assert_memory_equal(&got, &untouched, sizeof(got));
	}
	memcpy(bad, buf, n);
	bad[1] = 'X'; /* unknown name */
	assert_int_equal(state_load(&chip_state, &got, bad, n), -EINVAL);
	memcpy(bad, buf, n);
	bad[1 + 4] = 2; /* size of "byte" */
	assert_int_equal(state_load(&chip_state, &got, bad, n), -EINVAL);
	memcpy(bad, buf, n);
	bad[1 + 4 + 2] = 2; /* its count */
	assert_int_equal(state_load(&chip_state, &got, bad, n), -EINVAL);
	assert_memory_equal(&got, &untouched, sizeof(got));
}

static void bools_are_0_or_1(void **state)
{
	struct chip got = { 0 };
	u8 one[] = "\x02"
		   "on"
		   "\x01\x00"
		   "\x01\x00"
		   "\x02";
	u8 three[] = "\x05"
		     "flags"
		     "\x01\x00"
		     "\x03\x00"
		     "\x01\x00\x80";

	assert_int_equal(state_load(&chip_state, &got, one, sizeof(one) - 1), -EINVAL);
	assert_int_equal(state_load(&chip_state, &got, three, sizeof(three) - 1), -EINVAL);
	one[sizeof(one) - 2] = 1;
	assert_int_equal(state_load(&chip_state, &got, one, sizeof(one) - 1), 0);
	assert_true(got.on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_every_field),
		cmocka_unit_test(diff_names_the_field),
		cmocka_unit_test(save_and_load),
		cmocka_unit_test(load_is_by_name),
		cmocka_unit_test(damaged_input_changes_nothing),
		cmocka_unit_test(bools_are_0_or_1),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
