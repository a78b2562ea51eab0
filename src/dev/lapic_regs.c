/* The registers of a local APIC as software reaches them: by the page and by MSRs; interprocessor interrupts. Section numbers are those of
 * SDM 3A. */
#include "dev/lapic_internal.h"

#include "base/trace.h"

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

#define ICR_LOGICAL  BIT(11)
#define ICR_ASSERT   BIT(14)
#define ICR_LEVEL    BIT(15)
#define ICR_WRITABLE (0xffull | 0x700 | ICR_LOGICAL | ICR_ASSERT | ICR_LEVEL | 3u << 18)

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

/* --- Writes that do something ------------------------------------------------------------- */

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
		lapic_pin_deliver(a, i - LVT_LINT0, false);
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
	lapic_timer_arm(a);
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
		.dest = (u32)(lapic_is_x2apic(a) ? icr >> 32 : icr >> 56),
		.mode = icr >> 8 & 7,
		.vector = (u8)icr,
		.logical = icr & ICR_LOGICAL,
		.wide = lapic_is_x2apic(a),
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

static u32 read_id(const struct lapic *a) { return lapic_is_x2apic(a) ? a->id : a->id << 24; }

/* False if there is no such register to read, in either mode. */
static bool reg_read(struct lapic *a, u32 reg, u32 *value)
{
	const struct lapic_regs *r = &a->regs;

	switch (reg) {
	case REG_ID: *value = read_id(a); break;
	case REG_VERSION: *value = VERSION; break;
	case REG_TPR: *value = r->tpr; break;
	case REG_APR: *value = lapic_arbitration_priority(a); break;
	case REG_PPR: *value = lapic_processor_priority(a); break;
	case REG_EOI: *value = 0; break;
	case REG_RRD: *value = 0; break;
	case REG_LDR: *value = lapic_is_x2apic(a) ? lapic_x2apic_ldr(a) : r->ldr; break;
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
	case REG_CURRENT_COUNT: *value = lapic_timer_current(a); break;
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
	case REG_EOI: lapic_end_interrupt(a); break;
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
	case REG_INITIAL_COUNT: lapic_timer_set_initial(a, value); break;
	case REG_DIVIDE: lapic_timer_set_divide(a, value); break;
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

	if (!lapic_is_on(a) || lapic_is_x2apic(a) ||
	    (a->regs.apic_base & BASE_ADDR) != LAPIC_MMIO_BASE)
		return UINT32_MAX;
	if (!reg_read(a, offset >> 4, &value))
		lapic_error(a, ESR_REGISTER);
	trace(APIC, "apic %u read %03x = %08x", a->id, offset, value);
	return value;
}

void lapic_mmio_write(struct lapic *a, u32 offset, u32 value)
{
	if (!lapic_is_on(a) || lapic_is_x2apic(a) ||
	    (a->regs.apic_base & BASE_ADDR) != LAPIC_MMIO_BASE)
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
	case REG_SELF_IPI: lapic_accept(a, (u8)value, false); return true;
	default: return reg_write(a, reg, (u32)value);
	}
}

/* The states of figure 10-27: off, xAPIC, x2APIC; off is the only way back from x2APIC. */
static bool write_apic_base(struct lapic *a, u64 value)
{
	struct lapic_regs *r = &a->regs;
	u64 allowed = BASE_BSP | BASE_EN | (a->x2apic ? BASE_EXTD : 0) |
		      (BASE_ADDR & bits_mask(a->phys_bits));
	bool on = value & BASE_EN, ext = value & BASE_EXTD, was_on = lapic_is_on(a),
	     was_ext = lapic_is_x2apic(a);

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
	return lapic_is_x2apic(a) && x2apic_read(a, msr - MSR_X2APIC, value);
}

bool lapic_msr_write(struct lapic *a, u32 msr, u64 value)
{
	if (msr == MSR_APIC_BASE)
		return write_apic_base(a, value);
	if (msr == MSR_TSC_DEADLINE) {
		if (a->has_tsc_deadline)
			lapic_timer_set_deadline(a, value);
		return a->has_tsc_deadline;
	}
	return lapic_is_x2apic(a) && x2apic_write(a, msr - MSR_X2APIC, value);
}

void lapic_virtual_wire(struct lapic *a)
{
	write_svr(a, SVR_ENABLE | 0xff);
	write_lvt(a, LVT_LINT0, APIC_EXTINT << 8 | (a->bsp ? 0 : LVT_MASKED));
	write_lvt(a, LVT_LINT1, APIC_NMI << 8);
	lapic_update(a);
}
