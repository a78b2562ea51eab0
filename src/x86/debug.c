/* Debug registers, breakpoints and single step (SDM 3B 17.2, 17.3). */
#include "x86/debug.h"

#include "x86/exec.h"
#include "x86/mem.h"

/* R/W field of DR7. */
enum { RW_EXEC, RW_WRITE, RW_IO, RW_READ_WRITE };

#define DR7_RW(dr7, n)      (((dr7) >> (16 + 4 * (n))) & 3)
#define DR7_LEN(dr7, n)     (((dr7) >> (18 + 4 * (n))) & 3)
#define DR7_ENABLED(dr7, n) (((dr7) >> (2 * (n))) & 3)

static bool enabled_as(const struct x86_cpu *cpu, unsigned n, unsigned rw)
{
	u64 dr7 = cpu->dr[7];

	return DR7_ENABLED(dr7, n) && DR7_RW(dr7, n) == rw;
}

static bool enabled_data(const struct x86_cpu *cpu, unsigned n)
{
	return enabled_as(cpu, n, RW_WRITE) || enabled_as(cpu, n, RW_READ_WRITE);
}

/* Bytes of breakpoint n: 1, 2, 8, 4 for LEN 0..3. */
static unsigned breakpoint_size(const struct x86_cpu *cpu, unsigned n)
{
	static const u8 size[] = { 1, 2, 8, 4 };

	return size[DR7_LEN(cpu->dr[7], n)];
}

/* The processor ignores address bits below the size (SDM 3B 17.2.5). */
static u64 breakpoint_base(const struct x86_cpu *cpu, unsigned n)
{
	return cpu->dr[n] & ~((u64)breakpoint_size(cpu, n) - 1);
}

static bool overlaps(u64 a, u64 size, u64 b, u64 bsize) { return a - b < bsize || b - a < size; }

bool x86_code_breakpoint(struct vcpu *v, gva_t a, u64 *dr6)
{
	u64 hits = 0;

	for (unsigned n = 0; n < 4; n++)
		if (enabled_as(&v->cpu, n, RW_EXEC) && v->cpu.dr[n] == a)
			hits |= BIT(n);
	*dr6 = hits;
	return hits != 0;
}

void x86_data_breakpoint(struct vcpu *v, gva_t a, unsigned size, bool write)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 hits = 0;

	for (unsigned n = 0; n < 4; n++) {
		bool kind = enabled_as(cpu, n, RW_READ_WRITE) ||
			    (write && enabled_as(cpu, n, RW_WRITE));

		if (kind && overlaps(a, size, breakpoint_base(cpu, n), breakpoint_size(cpu, n)))
			hits |= BIT(n);
	}
	if (hits)
		x86_pend_debug_trap(v, hits);
}

bool x86_page_watched(const struct vcpu *v, gva_t page)
{
	for (unsigned n = 0; n < 4; n++)
		if (enabled_data(&v->cpu, n) &&
		    (breakpoint_base(&v->cpu, n) & ~0xfffull) == (page & ~0xfffull))
			return true;
	return false;
}

void x86_io_breakpoint(struct vcpu *v, u16 port, unsigned size)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 hits = 0;

	if (likely(!(cpu->dr[7] & DR7_ENABLES)) || !(cpu->cr4 & CR4_DE))
		return;
	for (unsigned n = 0; n < 4; n++)
		if (enabled_as(cpu, n, RW_IO) &&
		    overlaps(port, size, breakpoint_base(cpu, n), breakpoint_size(cpu, n)))
			hits |= BIT(n);
	if (hits)
		x86_pend_debug_trap(v, hits);
}

void x86_set_dr6(struct x86_cpu *cpu, u64 bits)
{
	cpu->dr[6] = (cpu->dr[6] & ~DR6_TRAPS) | bits | DR6_FIXED;
}

void x86_raise_debug(struct vcpu *v, u64 bits)
{
	x86_set_dr6(&v->cpu, bits);
	x86_raise(v, EXC_DB);
}

void x86_pend_debug_trap(struct vcpu *v, u64 dr6)
{
	v->pending_dr6 |= dr6;
	vcpu_attend(v, ATT_TRAP);
}

void x86_check_code_breakpoint(struct vcpu *v, gva_t a)
{
	u64 hits;

	if (unlikely(v->cpu.dr[7] & DR7_ENABLES) && x86_code_breakpoint(v, a, &hits))
		x86_raise_debug(v, hits);
}

void x86_step_override(struct vcpu *v)
{
	if (atomic_load_explicit(&v->attention, memory_order_relaxed) & (ATT_SLOW | ATT_SHADOW))
		vcpu_attend(v, ATT_NO_STEP);
}

void x86_rf_loaded(struct vcpu *v)
{
	if (v->cpu.rflags & FL_RF)
		vcpu_attend(v, ATT_RF);
}

void x86_step_if_tf(struct vcpu *v)
{
	if (v->cpu.rflags & FL_TF)
		x86_pend_debug_trap(v, DR6_BS);
}

void x86_step_done(struct vcpu *v, bool tf_before)
{
	bool overridden = atomic_load_explicit(&v->attention, memory_order_relaxed) & ATT_NO_STEP;

	if (overridden)
		vcpu_unattend(v, ATT_NO_STEP);
	else if (tf_before)
		x86_pend_debug_trap(v, DR6_BS);
	x86_mode_changed(v);
	vcpu_unattend(v, ATT_RF); /* ATT_SLOW carries on if it was this instruction's */
}

u64 x86_read_dr(const struct x86_cpu *cpu, unsigned n)
{
	if (n == 4 || n == 5) /* aliases while CR4.DE is clear */
		n += 2;
	return cpu->dr[n & 7];
}

void x86_write_dr(struct vcpu *v, unsigned n, u64 value)
{
	struct x86_cpu *cpu = &v->cpu;

	if (n == 4 || n == 5)
		n += 2;
	if (n == 6)
		value = (value & (DR6_TRAPS | DR6_BD | DR6_BS | DR6_BT)) | DR6_FIXED;
	if (n == 7)
		value = (value & 0xffff23ff) | DR7_FIXED;
	cpu->dr[n & 7] = value;
	if (n != 6) {
		/* Pages with data breakpoints stay out of the TLB. */
		x86_tlb_flush(v, false);
		x86_mode_changed(v);
	}
}
