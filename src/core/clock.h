/* Guest time: a clock object, real or counted in instructions, and the timers on it. Devices never
 * read host time. All times are nanoseconds of guest time since power-on. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include "base/types.h"

enum clock_kind {
	CLOCK_KIND_REAL,  /* host CLOCK_MONOTONIC, stopped while the machine is paused */
	CLOCK_KIND_INSNS, /* one nanosecond an instruction, plus the idle time that was skipped */
};

#define CLOCK_NEVER UINT64_MAX

/* Real clock, while guest code runs it is looked at each millisecond. More between two looks than this is the host's doing: guest time
 * goes on by this much alone, then runs faster by one part in CLOCK_MAKE_UP until it is right again. */
#define CLOCK_GAP_NS  10000000u
#define CLOCK_MAKE_UP 8u
#define CLOCK_BEHIND_MAX \
	(60ull * 1000000000) /* guest time is never further behind: then it jumps */

struct timer {
	const char *name;
	u64 due_ns; /* CLOCK_NEVER: not armed */
	void (*fn)(void *arg);
	void *arg;
	u64 order;          /* of arming: breaks ties */
	unsigned slot;      /* in the clock's heap, or one of two marks: idle, or about to fire */
	struct timer *next; /* among those about to fire */
};

struct clock {
	enum clock_kind kind;
	bool running;
	u64 base_ns; /* guest time when the clock last started; counted: skipped idle time */
	u64 host_ns; /* host time at that moment */
	/* Real: guest time does not jump because the host ran something else. What it is behind is made up for later. */
	u64 (*host)(void); /* host time; CLOCK_MONOTONIC */
	u64 seen_ns;       /* host time when the clock was looked at last */
	u64 behind_ns;
	bool idle; /* nothing runs until a timer or the host: then a long time is no gap */
	u64 (*count)(void *opaque); /* counted: instructions executed so far by the machine */
	void *opaque;
	i64 wall_offset_s; /* guest wall clock (Unix seconds) at guest time 0 */
	struct timer **heap;
	struct timer *firing; /* taken off the heap by the clock_run in progress */
	unsigned armed, capacity;
	/* initialized: the heap has room for all of them, so that arming cannot fail */
	unsigned timers;
	u64 orders;
};

/* The clock stands still at 0 until clock_start. */
void clock_init(struct clock *clock, enum clock_kind kind);
/* No timer of the clock is used after this. */
void clock_fini(struct clock *clock);
void clock_start(struct clock *clock);
void clock_stop(struct clock *clock);
u64 clock_now(struct clock *clock);
/* The machine is about to wait with all CPUs halted, or has done so. */
void clock_idle(struct clock *clock, bool idle);

/* Prepares a timer, not armed, that keeps its address until clock_fini. -ENOMEM. */
int timer_init(struct clock *clock, struct timer *timer, const char *name, void (*fn)(void *),
	       void *arg) must_check;
/* Arms a timer for one expiry; arming it again moves it. A due time in the past fires at the next
 * clock_run; CLOCK_NEVER disarms. */
void timer_set(struct clock *clock, struct timer *timer, u64 due_ns);
void timer_cancel(struct clock *clock, struct timer *timer);
/* Due time of the earliest armed timer, or CLOCK_NEVER. */
u64 clock_next(const struct clock *clock);
/* Fires every timer that is due now, in order of due time (ties: order of arming), each with due_ns
 * CLOCK_NEVER while its function runs. A timer armed meanwhile waits for the next call, even if it
 * is due: each timer fires at most once a call. */
void clock_run(struct clock *clock);
/* Counted clock only: moves guest time forward to `to_ns` while every vCPU is idle. */
void clock_skip(struct clock *clock, u64 to_ns);

#define CLOCK_NS_PER_S 1000000000ull

/* Ticks of a hz oscillator, started at time 0, that are complete at ns. */
static inline u64 clock_ns_to_ticks(u64 ns, u64 hz)
{
	return (u64)((unsigned __int128)ns * hz / CLOCK_NS_PER_S);
}

/* The first nanosecond at which clock_ns_to_ticks gives `ticks`; CLOCK_NEVER if beyond the clock's
 * range. hz is not 0. */
static inline u64 clock_ticks_to_ns(u64 ticks, u64 hz)
{
	unsigned __int128 ns = ((unsigned __int128)ticks * CLOCK_NS_PER_S + hz - 1) / hz;

	return ns < CLOCK_NEVER ? (u64)ns : CLOCK_NEVER;
}

#endif
