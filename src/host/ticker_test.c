/* Calls come while they are wanted, and a ticker leaves nothing behind. */
#include "host/ticker.h"

#include "base/test.h"

#include <errno.h>
#include <time.h>

#define PERIOD_NS 1000000

static void count(void *arg) { ++*(unsigned *)arg; }

static void sleep_ms(long ms) { nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL); }

static void calls_while_on(void **state)
{
	struct loop loop = { 0 };
	struct ticker t;
	unsigned calls = 0;

	assert_int_equal(ticker_init(&t, &loop, PERIOD_NS, count, &calls), 0);
	sleep_ms(5);
	loop_wait(&loop, 0);
	assert_int_equal(calls, 0);
	ticker_set(&t, true);
	for (unsigned n = 1; n <= 3; n++) {
		loop_wait(&loop, LOOP_FOREVER);
		assert_int_equal(calls, n);
	}
	/* Five periods are one call. */
	sleep_ms(5);
	loop_wait(&loop, 0);
	ticker_set(&t, false);
	assert_int_equal(calls, 4);
	sleep_ms(5);
	loop_wait(&loop, 0);
	assert_int_equal(calls, 4);
	ticker_set(&t, true);
	loop_wait(&loop, LOOP_FOREVER);
	assert_int_equal(calls, 5);
	ticker_fini(&t);
	assert_int_equal(loop.count, 0);
}

static void stop(void *arg)
{
	struct ticker **t = arg;

	ticker_set(t[1], false);
	ticker_fini(t[2]);
}

static void other_calls(void *arg) { fail(); }

/* What another one stopped or ended in the same turn of the loop is not called. */
static void stopped_in_the_same_turn(void **state)
{
	struct loop loop = { 0 };
	struct ticker t[3], *all[3] = { &t[0], &t[1], &t[2] };

	assert_int_equal(ticker_init(&t[0], &loop, PERIOD_NS, stop, all), 0);
	assert_int_equal(ticker_init(&t[1], &loop, PERIOD_NS, other_calls, NULL), 0);
	assert_int_equal(ticker_init(&t[2], &loop, PERIOD_NS, other_calls, NULL), 0);
	for (unsigned n = 0; n < 3; n++)
		ticker_set(&t[n], true);
	sleep_ms(5);
	loop_wait(&loop, 0);
	assert_int_equal(loop.count, 2);
	for (unsigned n = 0; n < 3; n++)
		ticker_fini(&t[n]); /* once more is nothing */
	assert_int_equal(loop.count, 0);
}

static void no_room(void **state)
{
	struct loop loop = { .count = LOOP_MAX };
	struct ticker t;

	assert_int_equal(ticker_init(&t, &loop, PERIOD_NS, count, NULL), -ENOSPC);
	ticker_fini(&t);
	assert_int_equal(loop.count, LOOP_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_while_on),
		cmocka_unit_test(stopped_in_the_same_turn),
		cmocka_unit_test(no_room),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ticker", tests, NULL, NULL);
}
