/* The timer of a local APIC: one shot, periodic, TSC deadline (SDM 3A 10.5.4). */
#include "dev/lapic_internal.h"

#include "base/trace.h"

static u32 timer_divisor(const struct lapic_regs *r)
{
	return 1u << (((r->divide & 3) + (r->divide >> 1 & 4) + 1) & 7);
}

static u64 timer_now(const struct lapic *a)
{
	return clock_ns_to_ticks(clock_now(a->dev.platform->clock), a->timer_hz);
}

/* Current count; a periodic timer whose expiry has not been noticed yet has gone round. */
u32 lapic_timer_current(const struct lapic *a)
{
	const struct lapic_regs *r = &a->regs;
	u64 elapsed = (timer_now(a) - r->timer_tick) / timer_divisor(r);

	if (!r->count || elapsed < r->count)
		return r->count ? (u32)(r->count - elapsed) : 0;
	if (TIMER_MODE(r->lvt[LVT_TIMER]) != TIMER_PERIODIC || !r->initial_count)
		return 0;
	return (u32)(r->initial_count - (elapsed - r->count) % r->initial_count);
}

void lapic_timer_arm(struct lapic *a)
{
	const struct lapic_regs *r = &a->regs;
	struct clock *clock = a->dev.platform->clock;
	u64 due = CLOCK_NEVER;

	if (TIMER_MODE(r->lvt[LVT_TIMER]) == TIMER_DEADLINE) {
		if (r->tsc_deadline)
			due = a->tsc_due(a->opaque, r->tsc_deadline);
	} else if (r->count) {
		due = clock_ticks_to_ns(r->timer_tick + (u64)r->count * timer_divisor(r),
					a->timer_hz);
	}
	timer_set(clock, &a->timer, due);
}

void lapic_timer_expired(void *lapic)
{
	struct lapic *a = lapic;
	struct lapic_regs *r = &a->regs;
	u32 mode = TIMER_MODE(r->lvt[LVT_TIMER]);
	u64 divisor = timer_divisor(r), period = r->initial_count * divisor;

	trace(TIMER, "apic %u timer expired", a->id);
	if (mode == TIMER_DEADLINE) {
		r->tsc_deadline = 0;
	} else if (mode == TIMER_PERIODIC && period) {
		/* The next expiry is a whole number of periods later: nothing drifts, and what was
		 * missed is missed. */
		r->timer_tick += r->count * divisor;
		r->timer_tick += (timer_now(a) - r->timer_tick) / period * period;
		r->count = r->initial_count;
	} else {
		r->count = 0;
	}
	lapic_timer_arm(a);
	lapic_deliver_lvt(a, LVT_TIMER, false);
}

static void timer_set_count(struct lapic *a, u32 count)
{
	a->regs.count = count;
	a->regs.timer_tick = timer_now(a);
	lapic_timer_arm(a);
}

void lapic_timer_set_initial(struct lapic *a, u32 value)
{
	if (TIMER_MODE(a->regs.lvt[LVT_TIMER]) == TIMER_DEADLINE)
		return;
	a->regs.initial_count = value;
	timer_set_count(a, value);
}

void lapic_timer_set_divide(struct lapic *a, u32 value)
{
	u32 count = lapic_timer_current(a);

	a->regs.divide = value & DIVIDE_WRITABLE;
	timer_set_count(a, count);
}

void lapic_timer_set_deadline(struct lapic *a, u64 value)
{
	/* In the other modes the MSR reads 0 and ignores writes. */
	if (TIMER_MODE(a->regs.lvt[LVT_TIMER]) != TIMER_DEADLINE)
		return;
	a->regs.tsc_deadline = value;
	if (value && a->tsc_due(a->opaque, value) <= clock_now(a->dev.platform->clock))
		lapic_timer_expired(a);
	else
		lapic_timer_arm(a);
}

void lapic_tsc_changed(struct lapic *a)
{
	if (a->regs.tsc_deadline)
		lapic_timer_arm(a);
}
