#include "base/test.h"
#include "core/clock.h"

#include <time.h>

static char order[64];
static unsigned fired;

static void note(void *arg)
{
	if (fired < sizeof(order) - 1)
		order[fired++] = *(const char *)arg;
	order[fired] = 0;
}

static int setup(void **state)
{
	fired = 0;
	order[0] = 0;
	return 0;
}

static void fires_in_order(void **state)
{
	static const char names[] = "abcdefgh";
	struct timer t[8];
	struct clock clock;

	clock_init(&clock, CLOCK_KIND_INSNS);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(timer_init(&clock, &t[i], "t", note, (void *)&names[i]), 0);
		/* due: a0 b50 c20 d70 e40 f10 g60 h30 */
		timer_set(&clock, &t[i], (i * 5 % 8) * 10);
	}
	assert_int_equal(clock_next(&clock), 0);
	clock_run(&clock);
	assert_string_equal(order, "a");
	assert_int_equal(clock_next(&clock), 10);
	clock_skip(&clock, 40);
	clock_run(&clock);
	assert_string_equal(order, "afche");
	clock_skip(&clock, 1000);
	clock_run(&clock);
	assert_string_equal(order, "afchebgd");
	assert_int_equal(clock_next(&clock), CLOCK_NEVER);
	clock_fini(&clock);
}

static void ties_fire_in_order_of_arming(void **state)
{
	static const char names[] = "abcdef";
	static const u8 arming[] = { 3, 1, 5, 0, 4, 2 };
	struct timer t[6];
	struct clock clock;

	clock_init(&clock, CLOCK_KIND_INSNS);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(timer_init(&clock, &t[i], "t", note, (void *)&names[i]), 0);
	for (unsigned i = 0; i < 6; i++)
		timer_set(&clock, &t[arming[i]], 7);
	timer_set(&clock, &t[3], 7); /* armed again: now last */
	clock_skip(&clock, 7);
	clock_run(&clock);
	assert_string_equal(order, "bfaecd");
	clock_fini(&clock);
}

static void cancel_and_move(void **state)
{
	static const char names[] = "abcdefghij";
	struct timer t[10];
	struct clock clock;

	clock_init(&clock, CLOCK_KIND_INSNS);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(timer_init(&clock, &t[i], "t", note, (void *)&names[i]), 0);
		timer_cancel(&clock, &t[i]); /* not armed: nothing */
		timer_set(&clock, &t[i], 100 - i);
	}
	timer_cancel(&clock, &t[9]);
	timer_cancel(&clock, &t[4]);
	timer_cancel(&clock, &t[4]);
	timer_set(&clock, &t[0], 1);
	timer_set(&clock, &t[8], CLOCK_NEVER);
	assert_int_equal(t[8].due_ns, CLOCK_NEVER);
	assert_int_equal(clock_next(&clock), 1);
	clock_skip(&clock, 100);
	clock_run(&clock);
	assert_string_equal(order, "ahgfdcb");
	clock_fini(&clock);
}

struct again {
	struct clock *clock;
	struct timer self, victim, last, other;
};

static void arm_again(void *arg)
{
	struct again *a = arg;

	note("r");
	assert_int_equal(a->self.due_ns, CLOCK_NEVER);
	timer_set(a->clock, &a->self, 0); /* in the past */
	timer_cancel(a->clock, &a->last);
	timer_cancel(a->clock, &a->victim);
	timer_set(a->clock, &a->other, 90);
}

static void one_round_a_call(void **state)
{
	struct clock clock;
	struct again a = { .clock = &clock };

	clock_init(&clock, CLOCK_KIND_INSNS);
	assert_int_equal(timer_init(&clock, &a.self, "self", arm_again, &a), 0);
	assert_int_equal(timer_init(&clock, &a.victim, "victim", note, "v"), 0);
	assert_int_equal(timer_init(&clock, &a.other, "other", note, "o"), 0);
	assert_int_equal(timer_init(&clock, &a.last, "last", note, "l"), 0);
	timer_set(&clock, &a.self, 1);
	timer_set(&clock, &a.victim, 2);
	timer_set(&clock, &a.other, 3);
	timer_set(&clock, &a.last, 4);
	clock_skip(&clock, 50);
	clock_run(&clock);
	assert_string_equal(order, "r");
	assert_int_equal(clock_next(&clock), 0);
	clock_run(&clock);
	assert_string_equal(order, "rr");
	assert_int_equal(a.other.due_ns, 90);
	clock_fini(&clock);
}

/* Against a plain search: random arming, moving and cancelling. */
static void heap_agrees_with_search(void **state)
{
	struct timer t[40];
	struct clock clock;
	u32 seed = 1;

	clock_init(&clock, CLOCK_KIND_INSNS);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(timer_init(&clock, &t[i], "t", note, "x"), 0);
	for (unsigned step = 0; step < 20000; step++) {
		u64 next = CLOCK_NEVER;
		struct timer *which;

		seed = seed * 1664525 + 1013904223;
		which = &t[(seed >> 8) % 40];
		if (seed >> 30)
			timer_set(&clock, which, (seed >> 16) % 1000);
		else
			timer_cancel(&clock, which);
		for (unsigned i = 0; i < 40; i++)
			next = MIN(next, t[i].due_ns);
		assert_int_equal(clock_next(&clock), next);
	}
	clock_fini(&clock);
}

static u64 executed(void *opaque) { return *(u64 *)opaque; }

static void counted_clock(void **state)
{
	struct clock clock;
	u64 insns = 5;

	clock_init(&clock, CLOCK_KIND_INSNS);
	clock.count = executed;
	clock.opaque = &insns;
	clock_start(&clock);
	assert_int_equal(clock_now(&clock), 5);
	clock_skip(&clock, 1000);
	assert_int_equal(clock_now(&clock), 1000);
	clock_skip(&clock, 10); /* never back */
	insns += 7;
	assert_int_equal(clock_now(&clock), 1007);
	clock_stop(&clock);
	clock_start(&clock);
	assert_int_equal(clock_now(&clock), 1007);
	clock_fini(&clock);
}

static void real_clock_stands_still_when_stopped(void **state)
{
	const struct timespec ms2 = { 0, 2000000 };
	struct clock clock;
	u64 a, b;

	clock_init(&clock, CLOCK_KIND_REAL);
	nanosleep(&ms2, NULL);
	assert_int_equal(clock_now(&clock), 0);
	clock_start(&clock);
	nanosleep(&ms2, NULL);
	a = clock_now(&clock);
	assert_true(a >= 2000000 && a < 60000000000);
	clock_stop(&clock);
	a = clock_now(&clock);
	nanosleep(&ms2, NULL);
	b = clock_now(&clock);
	assert_int_equal(a, b);
	clock_skip(&clock, b + 1000); /* not for this kind */
	assert_int_equal(clock_now(&clock), b);
	clock_fini(&clock);
}

static void tick_conversion(void **state)
{
	static const u64 hz[] = { 1, 32768, 1193182, 3579545, 1000000000, 3000000000 };

	for (unsigned i = 0; i < ARRAY_LEN(hz); i++)
		for (u64 ticks = 0; ticks < 5000000000; ticks = ticks * 3 + 1) {
			u64 ns = clock_ticks_to_ns(ticks, hz[i]);

			if (ns == CLOCK_NEVER)
				continue;
			assert_true(clock_ns_to_ticks(ns, hz[i]) >= ticks);
			if (ns)
				assert_true(clock_ns_to_ticks(ns - 1, hz[i]) < ticks);
		}
	assert_int_equal(clock_ticks_to_ns(1193182, 1193182), 1000000000);
	assert_int_equal(clock_ticks_to_ns(UINT64_MAX, 1), CLOCK_NEVER);
	assert_int_equal(clock_ns_to_ticks(UINT64_MAX - 1, 1000000000), UINT64_MAX - 1);
}

static u64 fake_host_ns;

static u64 fake_host(void) { return fake_host_ns; }

/* Looks at the clock each millisecond for a while, as the run loop does. */
static u64 run_for(struct clock *clock, u64 ns)
{
	u64 last = clock_now(clock), now = last;

	for (u64 done = 0; done < ns; done += 1000000) {
		fake_host_ns += 1000000;
		now = clock_now(clock);
		assert_true(now > last);
		last = now;
	}
	return now;
}

/* The host runs something else for a while: guest time goes on slowly, and makes up for it. */
static void gaps_are_made_up_for(void **state)
{
	struct clock clock;

	(void)state;
	fake_host_ns = 1000000000;
	clock_init(&clock, CLOCK_KIND_REAL);
	clock.host = fake_host;
	clock_start(&clock);
	assert_int_equal(run_for(&clock, 50000000), 50000000);
	fake_host_ns += 90000000;
	assert_int_equal(clock_now(&clock), 50000000 + CLOCK_GAP_NS);
	/* 80 ms are made up for within 640 ms. */
	assert_int_equal(run_for(&clock, 8000000), 60000000 + 9000000);
	assert_int_equal(run_for(&clock, 700000000), 50000000 + 90000000 + 708000000);
	/* Sleep is no gap. */
	clock_idle(&clock, true);
	fake_host_ns += 5000000000;
	clock_idle(&clock, false);
	assert_int_equal(clock_now(&clock), 848000000 + 5000000000);
	/* It ends being behind, too. */
	fake_host_ns += 500000000;
	assert_int_equal(clock_now(&clock), 5848000000 + CLOCK_GAP_NS);
	clock_idle(&clock, true);
	assert_int_equal(clock_now(&clock), 6348000000);
	clock_idle(&clock, false);
	/* No more than so far behind. */
	fake_host_ns += 10 * CLOCK_BEHIND_MAX;
	assert_int_equal(clock_now(&clock), 6348000000 + 9 * CLOCK_BEHIND_MAX);
	clock_fini(&clock);
}

/* A pause and a resume from outside come while the machine waits: what was idle is not any more. */
static void idleness_ends_while_stopped(void **state)
{
	struct clock clock;
	u64 paused;

	(void)state;
	fake_host_ns = 1000000000;
	clock_init(&clock, CLOCK_KIND_REAL);
	clock.host = fake_host;
	clock_start(&clock);
	clock_idle(&clock, true);
	fake_host_ns += 500000000;
	clock_stop(&clock);
	paused = clock_now(&clock);
	assert_int_equal(paused, 500000000);
	clock_idle(&clock, false);
	fake_host_ns += 1000000000;
	clock_start(&clock);
	fake_host_ns += 90000000;
	assert_int_equal(clock_now(&clock), paused + CLOCK_GAP_NS);
	/* The other way round: resumed in the wait, it sleeps until the end of the wait. */
	clock_stop(&clock);
	paused = clock_now(&clock);
	clock_idle(&clock, true);
	clock_start(&clock);
	fake_host_ns += 90000000;
	assert_int_equal(clock_now(&clock), paused + 90000000);
	clock_idle(&clock, false);
	clock_fini(&clock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(fires_in_order, setup),
		cmocka_unit_test_setup(ties_fire_in_order_of_arming, setup),
		cmocka_unit_test_setup(cancel_and_move, setup),
		cmocka_unit_test_setup(one_round_a_call, setup),
		cmocka_unit_test(heap_agrees_with_search),
		cmocka_unit_test(counted_clock),
		cmocka_unit_test(real_clock_stands_still_when_stopped),
		cmocka_unit_test(tick_conversion),
		cmocka_unit_test(gaps_are_made_up_for),
		cmocka_unit_test(idleness_ends_while_stopped),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
