/* Guest time and its timers: a binary heap ordered by due time, then by order of arming. */
#include "core/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Marks in timer.slot of timers that are not in the heap. */
#define SLOT_IDLE   UINT32_MAX
#define SLOT_FIRING (UINT32_MAX - 1)

static u64 host_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * CLOCK_NS_PER_S + (u64)ts.tv_nsec;
}

void clock_init(struct clock *clock, enum clock_kind kind)
{
	*clock = (struct clock){ .kind = kind, .host = host_now };
}

void clock_fini(struct clock *clock)
{
	free(clock->heap);
	*clock = (struct clock){ 0 };
}

void clock_start(struct clock *clock)
{
	if (clock->running)
		return;
	clock->running = true;
	clock->host_ns = clock->seen_ns = clock->host();
	clock->behind_ns = 0;
}

void clock_stop(struct clock *clock)
{
	if (!clock->running)
		return;
	if (clock->kind == CLOCK_KIND_REAL)
		clock->base_ns = clock_now(clock);
	clock->running = false;
}

/* Host time since the start, less what guest time is behind. */
static u64 real_elapsed(struct clock *clock)
{
	u64 host = clock->host(), passed = host - clock->seen_ns;

	if (passed > CLOCK_GAP_NS && !clock->idle)
		clock->behind_ns = MIN(clock->behind_ns + passed - CLOCK_GAP_NS, CLOCK_BEHIND_MAX);
	else
		clock->behind_ns -= MIN(clock->behind_ns, passed / CLOCK_MAKE_UP);
	clock->seen_ns = host;
	return host - clock->host_ns - clock->behind_ns;
}

u64 clock_now(struct clock *clock)
{
	if (clock->kind == CLOCK_KIND_INSNS)
		return clock->base_ns + (clock->count ? clock->count(clock->opaque) : 0);
	return clock->base_ns + (clock->running ? real_elapsed(clock) : 0);
}

/* An idle guest cannot tell a jump from a long sleep: it makes up for all at once. */
void clock_idle(struct clock *clock, bool idle)
{
	clock->idle = idle; /* even if it stands still: it may have been stopped during the wait */
	if (!clock->running)
		return;
	clock->seen_ns = clock->host();
	if (idle)
		clock->behind_ns = 0;
}

void clock_skip(struct clock *clock, u64 to_ns)
{
	u64 now = clock_now(clock);

	if (clock->kind == CLOCK_KIND_INSNS && to_ns > now)
		clock->base_ns += to_ns - now;
}

int timer_init(struct clock *clock, struct timer *timer, const char *name, void (*fn)(void *),
	       void *arg)
{
	if (clock->timers == clock->capacity) {
		unsigned capacity = clock->capacity ? 2 * clock->capacity : 16;
		void *heap = realloc(clock->heap, capacity * sizeof(struct timer *));

		if (!heap)
			return -ENOMEM;
		clock->heap = heap;
		clock->capacity = capacity;
	}
	clock->timers++;
	*timer = (struct timer){
		.name = name, .due_ns = CLOCK_NEVER, .fn = fn, .arg = arg, .slot = SLOT_IDLE
	};
	return 0;
}

static bool timer_before(const struct timer *a, const struct timer *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void heap_put(struct clock *clock, unsigned slot, struct timer *timer)
{
	clock->heap[slot] = timer;
	timer->slot = slot;
}

/* Moves the timer at `slot` to where the heap's order wants it. */
static void heap_fix(struct clock *clock, unsigned slot)
{
	struct timer *t = clock->heap[slot];

	while (slot > 0 && timer_before(t, clock->heap[(slot - 1) / 2])) {
		heap_put(clock, slot, clock->heap[(slot - 1) / 2]);
		slot = (slot - 1) / 2;
	}
	for (;;) {
		unsigned child = 2 * slot + 1;

		if (child >= clock->armed)
			break;
		if (child + 1 < clock->armed &&
		    timer_before(clock->heap[child + 1], clock->heap[child]))
			child++;
		if (timer_before(t, clock->heap[child]))
			break;
		heap_put(clock, slot, clock->heap[child]);
		slot = child;
	}
	heap_put(clock, slot, t);
}

static void heap_remove(struct clock *clock, unsigned slot)
{
	clock->heap[slot]->slot = SLOT_IDLE;
	clock->armed--;
	if (slot == clock->armed)
		return;
	heap_put(clock, slot, clock->heap[clock->armed]);
	heap_fix(clock, slot);
}

void timer_cancel(struct clock *clock, struct timer *timer)
{
	timer->due_ns = CLOCK_NEVER;
	if (timer->slot == SLOT_FIRING) {
		struct timer **link = &clock->firing;

		while (*link != timer)
			link = &(*link)->next;
		*link = timer->next;
		timer->slot = SLOT_IDLE;
	} else if (timer->slot != SLOT_IDLE) {
		heap_remove(clock, timer->slot);
	}
}

void timer_set(struct clock *clock, struct timer *timer, u64 due_ns)
{
	timer_cancel(clock, timer);
	if (due_ns == CLOCK_NEVER)
		return;
	timer->due_ns = due_ns;
	timer->order = clock->orders++;
	heap_put(clock, clock->armed++, timer);
	heap_fix(clock, timer->slot);
}

u64 clock_next(const struct clock *clock)
{
	u64 next = clock->armed ? clock->heap[0]->due_ns : CLOCK_NEVER;

	/* Inside clock_run only; the list is sorted. */
	return clock->firing ? MIN(next, clock->firing->due_ns) : next;
}

void clock_run(struct clock *clock)
{
	struct timer **tail = &clock->firing;
	u64 now;

	if (!clock->armed)
		return;
	now = clock_now(clock);
	/* All that is due comes off the heap first: what the functions arm stays there for the next
	 * call. */
	while (clock->armed && clock->heap[0]->due_ns <= now) {
		struct timer *t = clock->heap[0];

		heap_remove(clock, 0);
		t->slot = SLOT_FIRING;
		t->next = NULL;
		*tail = t;
		tail = &t->next;
	}
	while (clock->firing) {
		struct timer *t = clock->firing;

		clock->firing = t->next;
		t->slot = SLOT_IDLE;
		t->due_ns = CLOCK_NEVER;
		t->fn(t->arg);
	}
}
