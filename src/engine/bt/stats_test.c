/* Exit counters: what dominates is found among many others, in bounded memory. */
#include "engine/bt/stats.h"

#include "base/test.h"

#include <stdlib.h>

static struct bt_stats *s;

static int setup(void **state)
{
	s = calloc(1, sizeof(*s));
	return s ? 0 : -1;
}

static int teardown(void **state)
{
	free(s);
	return 0;
}

static u64 count_of(enum bt_reason reason, u64 rip)
{
	for (unsigned n = 0; n < BT_SPOT_SETS; n++)
		for (unsigned k = 0; k < BT_SPOT_WAYS; k++)
			if (s->spot[n][k].count && s->spot[n][k].rip == rip &&
			    s->spot[n][k].reason == reason)
				return s->spot[n][k].count;
	return 0;
}

static void few_are_exact(void **state)
{
	for (unsigned n = 0; n < 300; n++)
		bt_count(s, n % 3 ? BT_SLOW : BT_FAULT, 0x401000, 7);
	bt_count(s, BT_SLOW, 0xffffffff81000000, 8);
	assert_int_equal(count_of(BT_SLOW, 0x401000), 200);
	assert_int_equal(count_of(BT_FAULT, 0x401000), 100);
	assert_int_equal(count_of(BT_SLOW, 0xffffffff81000000), 1);
	assert_int_equal(s->reasons[BT_SLOW], 201);
	assert_int_equal(s->reasons[BT_FAULT], 100);
}

static void what_dominates_stays(void **state)
{
	u64 rip = 0;

	for (unsigned n = 0; n < 1000000; n++) {
		bt_count(s, BT_MISS, rip += 64, 0);
		if (n % 10 == 0)
			bt_count(s, BT_SLOW, 0x1234567, 9);
	}
	assert_in_range(count_of(BT_SLOW, 0x1234567), 90000, 100000);
	assert_int_equal(s->reasons[BT_MISS], 1000000);
}

static void made_again(void **state)
{
	const u8 *page = (const u8 *)0x7f0000000000;

	for (unsigned n = 0; n < 100; n++)
		bt_count_made(s, page + n * 40, 1);
	assert_in_range(s->retranslated, 0, 1);
	bt_count_made(s, page, 2); /* with another key it is another unit */
	assert_in_range(s->retranslated, 0, 1);
	for (unsigned n = 0; n < 100; n++)
		bt_count_made(s, page + n * 40, 1);
	assert_in_range(s->retranslated, 95, 101);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(few_are_exact, setup, teardown),
		cmocka_unit_test_setup_teardown(what_dominates_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(made_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
