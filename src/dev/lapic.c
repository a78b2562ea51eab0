/* One local APIC: registers, priorities, local vector table, timer. Section numbers are those of
 * SDM 3A. */
#include "dev/lapic.h"

#include "base/bits.h"
#include "base/trace.h"

#include <errno.h>

/* Register numbers: MMIO offset >> 4, MSR - 0x800. */
enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT = 0x32,
	REG_INITIAL_COUNT = 0x38,
	REG_CURRENT_COUNT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

#define VERSION (0x14u | (LVT_COUNT - 1) << 16)

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC       0x800u

#define BASE_BSP  BIT(8)
#define BASE_EXTD BIT(10) /* x2APIC */
#define BASE_EN   BIT(11)
#define BASE_ADDR (~0ull << 12)

#define SVR_ENABLE    0x100u
#define SVR_FOCUS_OFF 0x200u
#define SVR_WRITABLE  (0xffu | SVR_ENABLE | SVR_FOCUS_OFF)

#define ESR_SEND_VECTOR    0x20u
#define ESR_RECEIVE_VECTOR 0x40u
#define ESR_REGISTER       0x80u

#define LVT_MASKED     0x10000u
#define LVT_LEVEL      0x8000u
#define LVT_REMOTE_IRR 0x4000u
#define LVT_LOW        0x2000u /* pin is active low */
#define LVT_STATUS     0x1000u /* delivery status: always idle */
#define LVT_MODE(lvt)  ((lvt) >> 8 & 7)

#define TIMER_MODE(lvt) ((lvt) >> 17 & 3)
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

#define DIVIDE_WRITABLE 0xbu

#define ICR_STATUS   BIT(12)
#define ICR_LOGICAL  BIT(11)
#define ICR_ASSERT   BIT(14)
#define ICR_LEVEL    BIT(15)
#define ICR_WRITABLE (0xffull | 0x700 | ICR_LOGICAL | ICR_ASSERT | ICR_LEVEL | 3u << 18)

static const struct state_field lapic_rows[] = {
	STATE_ROW(struct lapic_regs, apic_base),     STATE_ARRAY(struct lapic_regs, isr),
	STATE_ARRAY(struct lapic_regs, tmr),         STATE_ARRAY(struct lapic_regs, irr),
	STATE_ROW(struct lapic_regs, tpr),           STATE_ROW(struct lapic_regs, ldr),
	STATE_ROW(struct lapic_regs, dfr),           STATE_ROW(struct lapic_regs, svr),
	STATE_ROW(struct lapic_regs, esr),           STATE_ROW(struct lapic_regs, esr_pending),
	STATE_ROW(struct lapic_regs, icr),           STATE_ARRAY(struct lapic_regs, lvt),
	STATE_ROW(struct lapic_regs, initial_count), STATE_ROW(struct lapic_regs, divide),
	STATE_ROW(struct lapic_regs, count),         STATE_ROW(struct lapic_regs, timer_tick),
	STATE_ROW(struct lapic_regs, tsc_deadline),  STATE_ROW(struct lapic_regs, lint),
	STATE_ROW(struct lapic_regs, extint),
};
static STATE_DESC(lapic_state, struct lapic_regs, "lapic", lapic_rows);

/* Bits of each LVT entry that software sets (figure 10-8). */
static u32 lvt_writable(const struct lapic *a, unsigned i)
{
	switch (i) {
	case LVT_TIMER: return 0xffu | LVT_MASKED | 1u << 17 | (a->has_tsc_deadline ? 1u << 18 : 0);
	case LVT_LINT0:
	case LVT_LINT1: return 0x7ffu | LVT_MASKED | LVT_LEVEL | LVT_LOW;
	case LVT_ERROR: return 0xffu | LVT_MASKED;
	default: return 0x7ffu | LVT_MASKED;
	}
}

static bool hw_enabled(const struct lapic *a) { return a->regs.apic_base & BASE_EN; }

bool lapic_is_enabled(const struct lapic *a) { return hw_enabled(a) && (a->regs.svr & SVR_ENABLE); }

static bool x2apic_mode(const struct lapic *a) { return a->regs.apic_base & BASE_EXTD; }

/* --- Priorities and the interrupt line (10.8) ----------------------------------------------- */

static void set_bit(u32 *bits, unsigned vector) { bits[vector / 32] |= 1u << vector % 32; }

static void clear_bit(u32 *bits, unsigned vector) { bits[vector / 32] &= ~(1u << vector % 32); }

static bool test_bit(const u32 *bits, unsigned vector)
{
	return bits[vector / 32] >> vector % 32 & 1;
}

/* The highest vector of a set, or -1. */
static int highest_bit(const u32 *bits)
{
	for (int i = 7; i >= 0; i--)
		if (bits[i])
			return i * 32 + 31 - __builtin_clz(bits[i]);
	return -1;
}

/* Highest vector of a set as the priority formulas want it: 0 if empty. */
static u32 highest_or_0(const u32 *bits)
{
	int vector = highest_bit(bits);

	return vector < 0 ? 0 : (u32)vector;
}

u32 lapic_processor_priority(const struct lapic *a)
{
	u32 isrv = highest_or_0(a->regs.isr);

	return a->regs.tpr >> 4 >= isrv >> 4 ? a->regs.tpr : isrv & 0xf0;
}

static u32 arbitration_priority(const struct lapic *a)
{
	u32 tpr = a->regs.tpr, isrv = highest_or_0(a->regs.isr), irrv = highest_or_0(a->regs.irr);

	if (tpr >> 4 >= irrv >> 4 && tpr >> 4 > isrv >> 4)
		return tpr;
	return MAX((tpr & isrv) & 0xf0, irrv & 0xf0);
}

/* The vector that the processor may take now, or -1. */
static int deliverable(const struct lapic *a)
{
	int vector = highest_bit(a->regs.irr);

	if (vector < 0 || !hw_enabled(a) ||
	    ((u32)vector & 0xf0) <= (lapic_processor_priority(a) & 0xf0))
		return -1;
	return vector;
}

static bool pin_active(const struct lapic *a, unsigned pin)
{
	bool level = a->regs.lint >> pin & 1;

	return a->regs.lvt[LVT_LINT0 + pin] & LVT_LOW ? !level : level;
}

/* The 8259 asks, through a pin or by message. With the APIC off, LINT0 is the INTR pin of old
 * (10.4.3). */
static bool extint_asked(const struct lapic *a)
{
	if (!hw_enabled(a))
		return a->regs.lint & 1;
	if (a->regs.extint)
		return true;
	for (unsigned pin = 0; pin < 2; pin++) {
		u32 lvt = a->regs.lvt[LVT_LINT0 + pin];

		if (!(lvt & LVT_MASKED) && LVT_MODE(lvt) == APIC_EXTINT && pin_active(a, pin))
			return true;
	}
	return false;
}

static void lapic_update(struct lapic *a)
{
	bool intr = deliverable(a) >= 0 || extint_asked(a);

	if (intr == a->intr)
		return;
	a->intr = intr;
	a->signal(a->opaque, LAPIC_INTR, intr);
}

int lapic_ack(struct lapic *a)
{
	struct lapic_regs *r = &a->regs;
	int vector = deliverable(a);

	if (vector >= 0) {
		clear_bit(r->irr, (unsigned)vector);
		set_bit(r->isr, (unsigned)vector);
		lapic_update(a);
		return vector;
	}
	if (!extint_asked(a))
		return -1;
	r->extint = 0;
	lapic_update(a);
	return LAPIC_EXTINT;
}

/* --- Acceptance (10.8.4), errors (10.5.3) --------------------------------------------------- */

static void accept_vector(struct lapic *a, u8 vector, bool level)
{
	struct lapic_regs *r = &a->regs;

	trace(IRQ, "apic %u accepts %02x %s", a->id, vector, level ? "level" : "edge");
	set_bit(r->irr, vector);
	if (level)
		set_bit(r->tmr, vector);
	else
		clear_bit(r->tmr, vector);
	lapic_update(a);
}

static void lapic_error(struct lapic *a, u32 error)
{
	struct lapic_regs *r = &a->regs;
	u32 lvt = r->lvt[LVT_ERROR];

	trace(APIC, "apic %u error %02x", a->id, error);
	if (r->esr_pending & error)
		return;
	r->esr_pending |= error;
	if (lvt & LVT_MASKED)
		return;
	/* An entry with an illegal vector cannot report itself by the same entry. */
	if ((lvt & 0xff) < 16)
		r->esr_pending |= ESR_RECEIVE_VECTOR;
	else
		accept_vector(a, (u8)lvt, false);
}

static void accept_fixed(struct lapic *a, u8 vector, bool level)
{
	if (vector < 16)
		lapic_error(a, ESR_RECEIVE_VECTOR);
	else
		accept_vector(a, vector, level);
}

static void lapic_clear(struct lapic *a);

void lapic_receive(struct lapic *a, const struct apic_msg *msg)
{
	switch (msg->mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		/* An APIC that software has turned off takes INIT, NMI, SMI and SIPI alone
		 * (10.4.7.2). */
		if (a->regs.svr & SVR_ENABLE)
			accept_fixed(a, msg->vector, msg->level);
		break;
	case APIC_NMI: a->signal(a->opaque, LAPIC_NMI, 0); break;
	case APIC_INIT:
		trace(APIC, "apic %u INIT", a->id);
		lapic_clear(a);
		a->signal(a->opaque, LAPIC_INIT, 0);
		break;
	case APIC_SIPI:
		trace(APIC, "apic %u SIPI %02x", a->id, msg->vector);
		a->signal(a->opaque, LAPIC_SIPI, msg->vector);
		break;
	case APIC_EXTINT:
		a->regs.extint = 1;
		lapic_update(a);
		break;
	default: /* SMI: there is no system management mode; reserved */
		trace(APIC, "apic %u drops delivery mode %u", a->id, msg->mode);
		break;
	}
}

/* An event of the processor's own, through an LVT entry that may be masked. */
static void deliver_lvt(struct lapic *a, unsigned i, bool level)
{
	u32 lvt = a->regs.lvt[i];
	struct apic_msg msg = { .mode = LVT_MODE(lvt), .vector = (u8)lvt, .level = level };

	if (lvt & LVT_MASKED)
		return;
	if (i == LVT_TIMER || i == LVT_ERROR)
		msg.mode = APIC_FIXED;
	lapic_receive(a, &msg);
}

/* --- Destinations (10.6.2) ------------------------------------------------------------------ */

static u32 x2apic_ldr(const struct lapic *a) { return a->id >> 4 << 16 | 1u << (a->id & 15); }

static bool matches_logical(const struct lapic *a, u32 dest)
{
	u32 ldr = a->regs.ldr >> 24;

	if (x2apic_mode(a)) {
		ldr = x2apic_ldr(a);
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	}
	if (dest > 0xff)
		return false;
	if (a->regs.dfr >> 28 == 0xf)
		return ldr & dest;
	/* Cluster model: 15 means every cluster. */
	return (dest >> 4 == 0xf || dest >> 4 == ldr >> 4) && (ldr & dest & 0xf);
}

bool lapic_matches(const struct lapic *a, const struct apic_msg *msg)
{
	if (!hw_enabled(a))
		return false;
	if (msg->dest == (msg->wide ? UINT32_MAX : 0xff))
		return true;
	return msg->logical ? matches_logical(a, msg->dest) : msg->dest == a->id;
}

/* --- Pins ----------------------------------------------------------------------------------- */

/* What a pin that has just become active, or an entry that has just been written or ended, gives
 * rise to. */
static void pin_deliver(struct lapic *a, unsigned pin, bool edge)
{
	u32 *lvt = &a->regs.lvt[LVT_LINT0 + pin];

	if (!hw_enabled(a)) {
		/* LINT1 is the NMI pin of old. */
		if (pin == 1 && edge)
			a->signal(a->opaque, LAPIC_NMI, 0);
	} else if (LVT_MODE(*lvt) == APIC_EXTINT) {
		/* lapic_update looks at the pin itself. */
	} else if (LVT_MODE(*lvt) == APIC_FIXED && (*lvt & LVT_LEVEL)) {
		/* Only LINT0 can be level triggered (10.5.1, trigger mode). */
		if (pin_active(a, pin) && !(*lvt & (LVT_REMOTE_IRR | LVT_MASKED))) {
			*lvt |= LVT_REMOTE_IRR;
			deliver_lvt(a, LVT_LINT0 + pin, true);
		}
	} else if (edge) {
		deliver_lvt(a, LVT_LINT0 + pin, false);
	}
}

void lapic_lint(void *lapic, unsigned pin, bool level)
{
	struct lapic *a = lapic;
	bool before = pin_active(a, pin & 1);

	a->regs.lint = (u8)((a->regs.lint & ~(1u << (pin & 1))) | (unsigned)level << (pin & 1));
	if (!before && pin_active(a, pin & 1))
		pin_deliver(a, pin & 1, true);
	lapic_update(a);
}

/* --- Timer (10.5.4) ------------------------------------------------------------------------- */

static u32 timer_divisor(const struct lapic_regs *r)
{
	return 1u << (((r->divide & 3) + (r->divide >> 1 & 4) + 1) & 7);
}

static u64 timer_now(const struct lapic *a)
{
	return clock_ns_to_ticks(clock_now(a->dev.platform->clock), a->timer_hz);
}

/* Current count; a periodic timer whose expiry has not been noticed yet has gone round. */
static u32 timer_current(const struct lapic *a)
{
	const struct lapic_regs *r = &a->regs;
	u64 elapsed = (timer_now(a) - r->timer_tick) / timer_divisor(r);

	if (!r->count || elapsed < r->count)
		return r->count ? (u32)(r->count - elapsed) : 0;
	if (TIMER_MODE(r->lvt[LVT_TIMER]) != TIMER_PERIODIC || !r->initial_count)
		return 0;
	return (u32)(r->initial_count - (elapsed - r->count) % r->initial_count);
}

static void timer_arm(struct lapic *a)
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

static void timer_expired(void *opaque)
{
	struct lapic *a = opaque;
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
	timer_arm(a);
	deliver_lvt(a, LVT_TIMER, false);
}

static void timer_set_count(struct lapic *a, u32 count)
{
	a->regs.count = count;
	a->regs.timer_tick = timer_now(a);
	timer_arm(a);
}

static void write_initial_count(struct lapic *a, u32 value)
{
	if (TIMER_MODE(a->regs.lvt[LVT_TIMER]) == TIMER_DEADLINE)
		return;
	a->regs.initial_count = value;
	timer_set_count(a, value);
}

static void write_divide(struct lapic *a, u32 value)
{
	u32 count = timer_current(a);

	a->regs.divide = value & DIVIDE_WRITABLE;
	timer_set_count(a, count);
}

static void write_deadline(struct lapic *a, u64 value)
{
	/* In the other modes the MSR reads 0 and ignores writes. */
	if (TIMER_MODE(a->regs.lvt[LVT_TIMER]) != TIMER_DEADLINE)
		return;
	a->regs.tsc_deadline = value;
	if (value && a->tsc_due(a->opaque, value) <= clock_now(a->dev.platform->clock))
		timer_expired(a);
	else
		timer_arm(a);
}

void lapic_tsc_changed(struct lapic *a)
{
	if (a->regs.tsc_deadline)
		timer_arm(a);
}

/* --- Registers ------------------------------------------------------------------------------ */

static void write_lvt(struct lapic *a, unsigned i, u32 value)
{
	struct lapic_regs *r = &a->regs;
	u32 old = r->lvt[i];

	value &= lvt_writable(a, i);
	if (!(r->svr & SVR_ENABLE))
		value |= LVT_MASKED;
	if (i == LVT_LINT0 || i == LVT_LINT1) {
		if (value & LVT_LEVEL)
			value |= old & LVT_REMOTE_IRR;
		r->lvt[i] = value;
		pin_deliver(a, i - LVT_LINT0, false);
		return;
	}
	r->lvt[i] = value;
	if (i != LVT_TIMER)
		return;
	/* Moving to or from TSC-deadline mode disarms the timer (10.5.4.1). */
	if ((TIMER_MODE(old) == TIMER_DEADLINE) != (TIMER_MODE(value) == TIMER_DEADLINE)) {
		r->tsc_deadline = 0;
		r->count = 0;
	}
	timer_arm(a);
}

static void write_svr(struct lapic *a, u32 value)
{
	struct lapic_regs *r = &a->regs;

	r->svr = value & SVR_WRITABLE;
	if (r->svr & SVR_ENABLE)
		return;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		r->lvt[i] |= LVT_MASKED;
}

static void write_eoi(struct lapic *a)
{
	struct lapic_regs *r = &a->regs;
	int vector = highest_bit(r->isr);

	if (vector < 0)
		return;
	clear_bit(r->isr, (unsigned)vector);
	trace(IRQ, "apic %u EOI %02x", a->id, (unsigned)vector);
	if (!test_bit(r->tmr, (unsigned)vector))
		return;
	for (unsigned pin = 0; pin < 2; pin++) {
		u32 *lvt = &r->lvt[LVT_LINT0 + pin];

		if ((*lvt & LVT_REMOTE_IRR) && (*lvt & 0xff) == (u32)vector) {
			*lvt &= ~LVT_REMOTE_IRR;
			pin_deliver(a, pin, false);
		}
	}
	if (a->set->eoi)
		a->set->eoi(a->set->opaque, (u8)vector);
}

/* shorthand: 1 self, 2 all, 3 all but self. */
static void send_by_shorthand(struct lapic *a, struct apic_msg *msg, unsigned shorthand)
{
	if (shorthand == 1) {
		lapic_receive(a, msg);
		return;
	}
	msg->dest = UINT32_MAX;
	msg->wide = true;
	lapic_send(a->set, msg, shorthand == 3 ? a : NULL);
}

/* An interprocessor interrupt (10.6.1). Level-triggered ones do not exist: only INIT looks at the
 * level, and its de-assert form does nothing on processors with an xAPIC. */
static void send_ipi(struct lapic *a)
{
	u64 icr = a->regs.icr;
	unsigned shorthand = icr >> 18 & 3;
	struct apic_msg msg = {
		.dest = (u32)(x2apic_mode(a) ? icr >> 32 : icr >> 56),
		.mode = icr >> 8 & 7,
		.vector = (u8)icr,
		.logical = icr & ICR_LOGICAL,
		.wide = x2apic_mode(a),
	};
	bool fixed = msg.mode == APIC_FIXED || msg.mode == APIC_LOWEST;

	trace(APIC, "apic %u IPI %llx", a->id, (unsigned long long)icr);
	if (msg.mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return;
	if (fixed && msg.vector < 16) {
		lapic_error(a, ESR_SEND_VECTOR);
		return;
	}
	/* Reserved for IPIs: ExtINT. To oneself by shorthand: only fixed (table 10-3). */
	if (msg.mode == APIC_EXTINT || (!fixed && (shorthand == 1 || shorthand == 2)))
		return;
	if (shorthand)
		send_by_shorthand(a, &msg, shorthand);
	else
		lapic_deliver(a->set, &msg);
}

static void write_esr(struct lapic_regs *r)
{
	r->esr = r->esr_pending;
	r->esr_pending = 0;
}

static u32 read_id(const struct lapic *a) { return x2apic_mode(a) ? a->id : a->id << 24; }

/* False if there is no such register to read, in either mode. */
static bool reg_read(struct lapic *a, u32 reg, u32 *value)
{
	const struct lapic_regs *r = &a->regs;

	switch (reg) {
	case REG_ID: *value = read_id(a); break;
	case REG_VERSION: *value = VERSION; break;
	case REG_TPR: *value = r->tpr; break;
	case REG_APR: *value = arbitration_priority(a); break;
	case REG_PPR: *value = lapic_processor_priority(a); break;
	case REG_EOI: *value = 0; break;
	case REG_RRD: *value = 0; break;
	case REG_LDR: *value = x2apic_mode(a) ? x2apic_ldr(a) : r->ldr; break;
	case REG_DFR: *value = r->dfr; break;
	case REG_SVR: *value = r->svr; break;
	case REG_ISR ... REG_ISR + 7: *value = r->isr[reg - REG_ISR]; break;
	case REG_TMR ... REG_TMR + 7: *value = r->tmr[reg - REG_TMR]; break;
	case REG_IRR ... REG_IRR + 7: *value = r->irr[reg - REG_IRR]; break;
	case REG_ESR: *value = r->esr; break;
	case REG_ICR: *value = (u32)r->icr; break;
	case REG_ICR_HIGH: *value = (u32)(r->icr >> 32); break;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1: *value = r->lvt[reg - REG_LVT]; break;
	case REG_INITIAL_COUNT: *value = r->initial_count; break;
	case REG_CURRENT_COUNT: *value = timer_current(a); break;
	case REG_DIVIDE: *value = r->divide; break;
	default: return false;
	}
	return true;
}

/* False if there is no such register to write. Reserved bits are ignored. */
static bool reg_write(struct lapic *a, u32 reg, u32 value)
{
	struct lapic_regs *r = &a->regs;

	switch (reg) {
	case REG_TPR: r->tpr = value & 0xff; break;
	case REG_EOI: write_eoi(a); break;
	case REG_LDR: r->ldr = value & 0xff000000; break;
	case REG_DFR: r->dfr = value | 0x0fffffff; break;
	case REG_SVR: write_svr(a, value); break;
	case REG_ESR: write_esr(r); break;
	case REG_ICR:
		r->icr = (r->icr & ~0xffffffffull) | (value & ICR_WRITABLE);
		send_ipi(a);
		break;
	case REG_ICR_HIGH: r->icr = (u32)r->icr | (u64)(value & 0xff000000) << 32; break;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1: write_lvt(a, reg - REG_LVT, value); break;
	case REG_INITIAL_COUNT: write_initial_count(a, value); break;
	case REG_DIVIDE: write_divide(a, value); break;
	default: return false;
	}
	lapic_update(a);
	return true;
}

static bool reg_is_read_only(u32 reg)
{
	return reg == REG_ID || reg == REG_VERSION || reg == REG_APR || reg == REG_PPR ||
	       reg == REG_RRD || (reg >= REG_ISR && reg < REG_ESR) || reg == REG_CURRENT_COUNT;
}

u32 lapic_mmio_read(struct lapic *a, u32 offset)
{
	u32 value = 0;

	if (!hw_enabled(a) || x2apic_mode(a) || (a->regs.apic_base & BASE_ADDR) != LAPIC_MMIO_BASE)
		return UINT32_MAX;
	if (!reg_read(a, offset >> 4, &value))
		lapic_error(a, ESR_REGISTER);
	trace(APIC, "apic %u read %03x = %08x", a->id, offset, value);
	return value;
}

void lapic_mmio_write(struct lapic *a, u32 offset, u32 value)
{
	if (!hw_enabled(a) || x2apic_mode(a) || (a->regs.apic_base & BASE_ADDR) != LAPIC_MMIO_BASE)
		return;
	trace(APIC, "apic %u write %03x = %08x", a->id, offset, value);
	if (!reg_write(a, offset >> 4, value) && !reg_is_read_only(offset >> 4))
		lapic_error(a, ESR_REGISTER);
}

u64 lapic_cr8_read(const struct lapic *a) { return a->regs.tpr >> 4; }

void lapic_cr8_write(struct lapic *a, u64 value)
{
	a->regs.tpr = (u32)(value & 15) << 4;
	lapic_update(a);
}

/* --- MSRs (10.12) --------------------------------------------------------------------------- */

/* Which bits of an x2APIC register may be written as ones; 0 for "only zero". UINT64_MAX is never
 * returned. */
static u64 x2apic_writable(const struct lapic *a, u32 reg)
{
	switch (reg) {
	case REG_TPR: return 0xff;
	case REG_SVR: return SVR_WRITABLE;
	case REG_ICR: return ICR_WRITABLE | ~0ull << 32;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1:
		return lvt_writable(a, reg - REG_LVT) | LVT_STATUS | LVT_REMOTE_IRR;
	case REG_INITIAL_COUNT: return UINT32_MAX;
	case REG_DIVIDE: return DIVIDE_WRITABLE;
	case REG_SELF_IPI: return 0xff;
	default: return 0; /* EOI, ESR */
	}
}

static bool x2apic_read(struct lapic *a, u32 reg, u64 *value)
{
	u32 low;

	if (reg == REG_ICR) {
		*value = a->regs.icr;
		return true;
	}
	/* Not there in this mode, or for writing only (table 10-6). */
	if (reg == REG_APR || reg == REG_RRD || reg == REG_DFR || reg == REG_ICR_HIGH ||
	    reg == REG_EOI || !reg_read(a, reg, &low))
		return false;
	*value = low;
	return true;
}

static bool x2apic_write(struct lapic *a, u32 reg, u64 value)
{
	if (value & ~x2apic_writable(a, reg))
		return false;
	switch (reg) {
	case REG_LDR:
	case REG_DFR:
	case REG_ICR_HIGH: return false;
	case REG_ICR:
		a->regs.icr = value;
		send_ipi(a);
		lapic_update(a);
		return true;
	case REG_SELF_IPI: accept_fixed(a, (u8)value, false); return true;
	default: return reg_write(a, reg, (u32)value);
	}
}

/* The states of figure 10-27: off, xAPIC, x2APIC; off is the only way back from x2APIC. */
static bool write_apic_base(struct lapic *a, u64 value)
{
	struct lapic_regs *r = &a->regs;
	u64 allowed = BASE_BSP | BASE_EN | (a->x2apic ? BASE_EXTD : 0) |
		      (BASE_ADDR & bits_mask(a->phys_bits));
	bool on = value & BASE_EN, ext = value & BASE_EXTD, was_on = hw_enabled(a),
	     was_ext = x2apic_mode(a);

	if ((value & ~allowed) || (ext && !on) || (was_ext && on && !ext) || (!was_on && ext))
		return false;
	trace(APIC, "apic %u base %llx", a->id, (unsigned long long)value);
	if (was_on && !on)
		lapic_clear(a);
	if (!was_ext && ext)
		r->icr &= UINT32_MAX;
	r->apic_base = value;
	lapic_update(a);
	return true;
}

bool lapic_msr_read(struct lapic *a, u32 msr, u64 *value)
{
	if (msr == MSR_APIC_BASE) {
		*value = a->regs.apic_base;
		return true;
	}
	if (msr == MSR_TSC_DEADLINE) {
		*value = a->regs.tsc_deadline;
		return a->has_tsc_deadline;
	}
	return x2apic_mode(a) && x2apic_read(a, msr - MSR_X2APIC, value);
}

bool lapic_msr_write(struct lapic *a, u32 msr, u64 value)
{
	if (msr == MSR_APIC_BASE)
		return write_apic_base(a, value);
	if (msr == MSR_TSC_DEADLINE) {
		if (a->has_tsc_deadline)
			write_deadline(a, value);
		return a->has_tsc_deadline;
	}
	return x2apic_mode(a) && x2apic_write(a, msr - MSR_X2APIC, value);
}

/* --- Life ----------------------------------------------------------------------------------- */

/* As after INIT (10.4.7.3): everything but APIC_BASE and the pins. */
static void lapic_clear(struct lapic *a)
{
	struct lapic_regs *r = &a->regs;

	*r = (struct lapic_regs){
		.apic_base = r->apic_base, .lint = r->lint, .dfr = UINT32_MAX, .svr = 0xff
	};
	for (unsigned i = 0; i < LVT_COUNT; i++)
		r->lvt[i] = LVT_MASKED;
	timer_arm(a);
	lapic_update(a);
}

static void lapic_reset(struct device *dev)
{
	struct lapic *a = container_of(dev, struct lapic, dev);

	a->regs.apic_base = LAPIC_MMIO_BASE | BASE_EN | (a->bsp ? BASE_BSP : 0);
	lapic_clear(a);
}

static void lapic_loaded(struct device *dev)
{
	struct lapic *a = container_of(dev, struct lapic, dev);

	timer_arm(a);
	a->intr = deliverable(a) >= 0 || extint_asked(a);
	a->signal(a->opaque, LAPIC_INTR, a->intr);
}

void lapic_virtual_wire(struct lapic *a)
{
	write_svr(a, SVR_ENABLE | 0xff);
	write_lvt(a, LVT_LINT0, APIC_EXTINT << 8 | (a->bsp ? 0 : LVT_MASKED));
	write_lvt(a, LVT_LINT1, APIC_NMI << 8);
	lapic_update(a);
}

static int lapic_init(struct device *dev)
{
	struct lapic *a = container_of(dev, struct lapic, dev);
	int err;

	if (a->set->count == LAPIC_MAX)
		return -ENOSPC;
	err = timer_init(dev->platform->clock, &a->timer, "apic", timer_expired, a);
	if (err < 0)
		return err;
	a->set->cpus[a->set->count++] = a;
	lapic_reset(dev);
	return 0;
}

const struct device_type lapic_type = {
	.name = "lapic",
	.help = "local APIC",
	.size = sizeof(struct lapic),
	.regs_offset = offsetof(struct lapic, regs),
	.regs = &lapic_state,
	.init = lapic_init,
	.reset = lapic_reset,
	.loaded = lapic_loaded,
};
