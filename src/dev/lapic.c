/* One local APIC: its state, priorities, acceptance of interrupts, pins. Section numbers are those of
 * SDM 3A. */
#include "dev/lapic_internal.h"

#include "base/trace.h"

#include <errno.h>

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

bool lapic_is_enabled(const struct lapic *a)
{
	return lapic_is_on(a) && (a->regs.svr & SVR_ENABLE);
}

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

u32 lapic_arbitration_priority(const struct lapic *a)
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

	if (vector < 0 || !lapic_is_on(a) ||
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
	if (!lapic_is_on(a))
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

void lapic_update(struct lapic *a)
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

void lapic_end_interrupt(struct lapic *a)
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
			lapic_pin_deliver(a, pin, false);
		}
	}
	if (a->set->eoi)
		a->set->eoi(a->set->opaque, (u8)vector);
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

void lapic_error(struct lapic *a, u32 error)
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

void lapic_accept(struct lapic *a, u8 vector, bool level)
{
	if (vector < 16)
		lapic_error(a, ESR_RECEIVE_VECTOR);
	else
		accept_vector(a, vector, level);
}

void lapic_receive(struct lapic *a, const struct apic_msg *msg)
{
	switch (msg->mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		/* An APIC that software has turned off takes INIT, NMI, SMI and SIPI alone
		 * (10.4.7.2). */
		if (a->regs.svr & SVR_ENABLE)
			lapic_accept(a, msg->vector, msg->level);
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

void lapic_deliver_lvt(struct lapic *a, unsigned i, bool level)
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

static bool matches_logical(const struct lapic *a, u32 dest)
{
	u32 ldr = a->regs.ldr >> 24;

	if (lapic_is_x2apic(a)) {
		ldr = lapic_x2apic_ldr(a);
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
	if (!lapic_is_on(a))
		return false;
	if (msg->dest == (msg->wide ? UINT32_MAX : 0xff))
		return true;
	return msg->logical ? matches_logical(a, msg->dest) : msg->dest == a->id;
}

/* --- Pins ----------------------------------------------------------------------------------- */

void lapic_pin_deliver(struct lapic *a, unsigned pin, bool edge)
{
	u32 *lvt = &a->regs.lvt[LVT_LINT0 + pin];

	if (!lapic_is_on(a)) {
		/* LINT1 is the NMI pin of old. */
		if (pin == 1 && edge)
			a->signal(a->opaque, LAPIC_NMI, 0);
	} else if (LVT_MODE(*lvt) == APIC_EXTINT) {
		/* lapic_update looks at the pin itself. */
	} else if (LVT_MODE(*lvt) == APIC_FIXED && (*lvt & LVT_LEVEL)) {
		/* Only LINT0 can be level triggered (10.5.1, trigger mode). */
		if (pin_active(a, pin) && !(*lvt & (LVT_REMOTE_IRR | LVT_MASKED))) {
			*lvt |= LVT_REMOTE_IRR;
			lapic_deliver_lvt(a, LVT_LINT0 + pin, true);
		}
	} else if (edge) {
		lapic_deliver_lvt(a, LVT_LINT0 + pin, false);
	}
}

void lapic_lint(void *lapic, unsigned pin, bool level)
{
	struct lapic *a = lapic;
	bool before = pin_active(a, pin & 1);

	a->regs.lint = (u8)((a->regs.lint & ~(1u << (pin & 1))) | (unsigned)level << (pin & 1));
	if (!before && pin_active(a, pin & 1))
		lapic_pin_deliver(a, pin & 1, true);
	lapic_update(a);
}

/* --- Life ----------------------------------------------------------------------------------- */

/* As after INIT (10.4.7.3): everything but APIC_BASE and the pins. */
void lapic_clear(struct lapic *a)
{
	struct lapic_regs *r = &a->regs;

	*r = (struct lapic_regs){
		.apic_base = r->apic_base, .lint = r->lint, .dfr = UINT32_MAX, .svr = 0xff
	};
	for (unsigned i = 0; i < LVT_COUNT; i++)
		r->lvt[i] = LVT_MASKED;
	lapic_timer_arm(a);
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

	lapic_timer_arm(a);
	a->intr = deliverable(a) >= 0 || extint_asked(a);
	a->signal(a->opaque, LAPIC_INTR, a->intr);
}

static int lapic_init(struct device *dev)
{
	struct lapic *a = container_of(dev, struct lapic, dev);
	int err;

	if (a->set->count == LAPIC_MAX)
		return -ENOSPC;
	err = timer_init(dev->platform->clock, &a->timer, "apic", lapic_timer_expired, a);
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
