/* Segmentation: descriptors, segment register loads, limit checks (SDM 3A 3.4, 3.5, 5.3 to 5.8). */
#include "x86/seg.h"

#include "base/trace.h"

void x86_raise_sel(struct vcpu *v, enum x86_vector vector, u16 sel, u32 ext)
{
	x86_raise_error(v, vector, (sel & ~SEL_RPL) | ext);
}

/* --- Descriptor tables ------------------------------------------------------------------------ */

bool seg_desc_address(const struct vcpu *v, u16 sel, unsigned size, gva_t *a)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 base = cpu->gdtr.base, limit = cpu->gdtr.limit;
	u32 off = sel & ~7u;

	if (sel & SEL_TI) {
		const struct x86_seg *ldt = &cpu->seg[LDTR];

		if (ldt->ar & AR_UNUSABLE)
			return false;
		base = ldt->base;
		limit = ldt->limit;
	}
	if (off + size - 1 > limit)
		return false;
	*a = x86_wrap_linear(cpu, base + off);
	return true;
}

bool x86_read_desc(struct vcpu *v, u16 sel, u64 *desc)
{
	gva_t a;

	if (!seg_desc_address(v, sel, 8, &a))
		return false;
	*desc = x86_read_sys(v, a, 8);
	return true;
}

struct x86_seg x86_seg_from_desc(u16 sel, u64 desc)
{
	u32 limit = (u32)(bits_get(desc, 51, 48) << 16 | bits_get(desc, 15, 0));
	u32 ar = desc_ar(desc);

	return (struct x86_seg){
		.sel = sel,
		.ar = ar,
		.limit = ar & AR_G ? limit << 12 | 0xfff : limit,
		.base = bits_get(desc, 63, 56) << 24 | bits_get(desc, 39, 16),
	};
}

struct x86_seg seg_fetch(struct vcpu *v, u16 sel, enum x86_vector vector, u32 ext)
{
	u64 desc;

	if (!x86_read_desc(v, sel, &desc))
		x86_raise_sel(v, vector, sel, ext);
	return x86_seg_from_desc(sel, desc);
}

struct x86_seg seg_fetch_system(struct vcpu *v, u16 sel, enum x86_vector vector, u32 ext)
{
	struct x86_seg s = seg_fetch(v, sel, vector, ext);
	gva_t a;

	if (!x86_long(&v->cpu) || (s.ar & AR_S))
		return s;
	/* SDM 3A 7.2.3: 16 bytes, and the type field of the upper half must be 0. */
	if (!seg_desc_address(v, sel, 16, &a))
		x86_raise_sel(v, vector, sel, ext);
	u64 high = x86_read_sys(v, a + 8, 8);

	s.base |= high << 32;
	if (bits_get(high, 44, 40) || !x86_canonical(s.base))
		x86_raise_sel(v, vector, sel, ext);
	return s;
}

struct x86_gate gate_from_desc(u64 low, u64 high)
{
	struct x86_gate g = {
		.ar = (u32)(low >> 40) & 0xff,
		.sel = (u16)(low >> 16),
		.params = bits_get(low, 36, 32) & 31,
		.ist = bits_get(low, 34, 32) & 7,
		.offset = (low & 0xffff) | high << 32,
	};

	if (g.ar & 8) /* the 32-bit kinds; a task gate has no offset */
		g.offset |= bits_get(low, 63, 48) << 16;
	return g;
}

struct x86_gate seg_fetch_gate(struct vcpu *v, u16 sel, enum x86_vector vector, u32 ext)
{
	gva_t a;
	u64 high = 0;

	if (!seg_desc_address(v, sel, x86_long(&v->cpu) ? 16 : 8, &a))
		x86_raise_sel(v, vector, sel, ext);
	u64 low = x86_read_sys(v, a, 8);

	if (x86_long(&v->cpu)) {
		high = x86_read_sys(v, a + 8, 8);
		if (bits_get(high, 44,
			     40)) /* SDM 3A 5.8.3.1: must not be taken for a valid descriptor */
			x86_raise_sel(v, vector, sel, ext);
	}
	return gate_from_desc(low, high & 0xffffffff);
}

void seg_mark_accessed(struct vcpu *v, struct x86_seg *seg)
{
	gva_t a;

	if (seg->ar & (AR_A | AR_UNUSABLE) || !seg_desc_address(v, seg->sel, 8, &a))
		return;
	/* The table may have changed since it was read: only the bit is written. */
	x86_write_sys(v, a + 5, x86_read_sys(v, a + 5, 1) | AR_A, 1);
	seg->ar |= AR_A;
}

void seg_set_busy(struct vcpu *v, u16 sel, bool busy)
{
	gva_t a;

	if (!seg_desc_address(v, sel, 8, &a))
		return;
	u64 type = x86_read_sys(v, a + 5, 1);

	x86_write_sys(v, a + 5, busy ? type | DESC_TSS_BUSY_BIT : type & ~(u64)DESC_TSS_BUSY_BIT,
		      1);
}

/* --- Checks shared by loads ------------------------------------------------------------------- */

struct x86_seg seg_null(u16 sel, unsigned dpl)
{
	return (struct x86_seg){ .sel = sel, .ar = AR_UNUSABLE | dpl << AR_DPL_SHIFT };
}

struct x86_seg seg_check_stack(struct vcpu *v, u16 sel, unsigned cpl, enum x86_vector vector,
			       u32 ext, bool null_ok)
{
	if (sel_null(sel)) {
		if (!null_ok || (sel & SEL_RPL) != cpl)
			x86_raise_error(v, vector, ext);
		return seg_null(sel, cpl);
	}
	struct x86_seg s = seg_fetch(v, sel, vector, ext);

	if ((sel & SEL_RPL) != cpl || !ar_is_writable_data(s.ar) || ar_dpl(s.ar) != cpl)
		x86_raise_sel(v, vector, sel, ext);
	if (!(s.ar & AR_P))
		x86_raise_sel(v, EXC_SS, sel, ext);
	return s;
}

void seg_check_code(struct vcpu *v, const struct x86_seg *cs, u32 ext)
{
	if (x86_long(&v->cpu) && (cs->ar & (AR_L | AR_DB)) == (AR_L | AR_DB))
		x86_raise_sel(v, EXC_GP, cs->sel, ext);
	if (!(cs->ar & AR_P))
		x86_raise_sel(v, EXC_NP, cs->sel, ext);
}

void seg_check_rip(struct vcpu *v, const struct x86_seg *cs, u64 rip, u32 ext)
{
	bool bad = x86_long(&v->cpu) && cs->ar & AR_L ? !x86_canonical(rip) : rip > cs->limit;

	if (bad)
		x86_raise_error(v, EXC_GP, ext);
}

void seg_enter_code(struct vcpu *v, struct x86_seg cs, unsigned cpl)
{
	seg_mark_accessed(v, &cs);
	cs.sel = (u16)((cs.sel & ~SEL_RPL) | cpl);
	v->cpu.seg[CS] = cs;
	v->cpu.cpl = (u8)cpl;
	x86_mode_changed(v);
}

void seg_drop_inaccessible(struct vcpu *v)
{
	static const u8 data[] = { ES, DS, FS, GS };

	for (unsigned n = 0; n < ARRAY_LEN(data); n++) {
		struct x86_seg *s = &v->cpu.seg[data[n]];

		/* The base stays: FS and GS of 64-bit code are null and have one. */
		if (s->ar & AR_UNUSABLE) {
			s->sel = 0;
		} else if (!ar_is_conforming(s->ar) && ar_dpl(s->ar) < v->cpu.cpl) {
			s->sel = 0;
			s->ar = AR_UNUSABLE;
		}
	}
}

/* --- Loads ------------------------------------------------------------------------------------ */

void x86_set_real_seg(struct vcpu *v, unsigned seg, u16 sel)
{
	struct x86_seg *s = &v->cpu.seg[seg];

	s->sel = sel;
	s->base = (u64)sel << 4;
	if (x86_v86(&v->cpu)) { /* SDM 3B 20.1.1 */
		s->limit = 0xffff;
		s->ar = AR_P | AR_S | AR_WR | AR_A | 3 << AR_DPL_SHIFT;
		return;
	}
	/* Real mode keeps the limit and the size that protected mode has set ("unreal mode"). */
	if (s->ar & AR_UNUSABLE)
		s->limit = 0xffff;
	s->ar = (s->ar & (AR_DB | AR_G)) | AR_P | AR_S | AR_WR | AR_A;
}

static void load_stack(struct vcpu *v, u16 sel)
{
	struct x86_seg s = seg_check_stack(v, sel, v->cpu.cpl, EXC_GP, 0,
					   x86_64bit(&v->cpu) && v->cpu.cpl < 3);

	seg_mark_accessed(v, &s);
	v->cpu.seg[SS] = s;
}

void x86_load_seg(struct vcpu *v, unsigned seg, u16 sel)
{
	if (x86_real_or_v86(&v->cpu)) {
		x86_set_real_seg(v, seg, sel);
		return;
	}
	if (seg == SS) {
		load_stack(v, sel);
		return;
	}
	if (sel_null(sel)) {
		v->cpu.seg[seg] = seg_null(sel, 0);
		return;
	}
	struct x86_seg s = seg_fetch(v, sel, EXC_GP, 0);
	unsigned dpl = ar_dpl(s.ar);

	if (!(s.ar & AR_S) || (s.ar & (AR_CODE | AR_WR)) == AR_CODE)
		x86_raise_sel(v, EXC_GP, sel, 0);
	if (!ar_is_conforming(s.ar) && ((sel & SEL_RPL) > dpl || v->cpu.cpl > dpl))
		x86_raise_sel(v, EXC_GP, sel, 0);
	if (!(s.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, 0);
	seg_mark_accessed(v, &s);
	v->cpu.seg[seg] = s;
}

void x86_load_ldt(struct vcpu *v, u16 sel)
{
	if (sel_null(sel)) {
		v->cpu.seg[LDTR] = seg_null(sel, 0);
		return;
	}
	if (sel & SEL_TI)
		x86_raise_sel(v, EXC_GP, sel, 0);
	struct x86_seg s = seg_fetch_system(v, sel, EXC_GP, 0);

	if (ar_system(s.ar) != DESC_LDT)
		x86_raise_sel(v, EXC_GP, sel, 0);
	if (!(s.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, 0);
	v->cpu.seg[LDTR] = s;
}

void x86_load_tr(struct vcpu *v, u16 sel)
{
	if (sel_null(sel) || (sel & SEL_TI))
		x86_raise_sel(v, EXC_GP, sel, 0);
	struct x86_seg s = seg_fetch_system(v, sel, EXC_GP, 0);
	int type = ar_system(s.ar);

	if (type != DESC_TSS32 && (type != DESC_TSS16 || x86_long(&v->cpu)))
		x86_raise_sel(v, EXC_GP, sel, 0);
	if (!(s.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, 0);
	seg_set_busy(v, sel, true);
	s.ar |= DESC_TSS_BUSY_BIT;
	v->cpu.seg[TR] = s;
	trace(SEG, "cpu%u: TR %04x base %#llx limit %#x", v->index, sel, (unsigned long long)s.base,
	      s.limit);
}

/* --- Addressing ------------------------------------------------------------------------------- */

bool seg_holds(const struct x86_seg *s, u64 off, unsigned size)
{
	u64 last = off + size - 1;

	if ((s->ar & (AR_S | AR_CODE | AR_DC)) == (AR_S | AR_DC)) /* expand-down */
		return off > s->limit && last <= (s->ar & AR_DB ? 0xffffffff : 0xffff);
	/* In a segment of 4 GiB an access may run over the end, and wraps. */
	return last <= s->limit || (s->limit == 0xffffffff && off <= 0xffffffff);
}

void x86_raise_segment(struct vcpu *v, unsigned seg)
{
	x86_raise_error(v, seg == SS ? EXC_SS : EXC_GP, 0);
}

gva_t x86_linear_checked(struct vcpu *v, unsigned seg, u64 off, unsigned size, enum x86_access acc)
{
	const struct x86_seg *s = &v->cpu.seg[seg];

	if (x86_64bit(&v->cpu)) {
		u64 a = seg >= FS ? off + s->base : off;

		if (!x86_canonical(a) || !x86_canonical(a + size - 1))
			x86_raise_segment(v, seg);
		return a;
	}
	if (!seg_holds(s, off, size) || (s->ar & AR_UNUSABLE))
		x86_raise_segment(v, seg);
	/* Types count in protected mode only: in real mode even CS is writable. */
	if (x86_protected(&v->cpu)) {
		bool code = s->ar & AR_CODE;

		if (acc == ACC_READ ? code && !(s->ar & AR_WR)
				    : acc != ACC_EXEC && (code || !(s->ar & AR_WR)))
			x86_raise_segment(v, seg);
	}
	return (u32)(s->base + off);
}

unsigned seg_stack_size(const struct x86_cpu *cpu, const struct x86_seg *cs,
			const struct x86_seg *ss)
{
	if (x86_long(cpu) && (cs->ar & AR_L))
		return 8;
	return ss->ar & AR_DB ? 4 : 2;
}

/* --- Stacks under construction ---------------------------------------------------------------- */

struct x86_stack stack_current(const struct vcpu *v)
{
	const struct x86_cpu *cpu = &v->cpu;

	return (struct x86_stack){
		.ss = cpu->seg[SS],
		.cpl = cpu->cpl,
		.sp_size = x86_stack_size(cpu),
		.sp = cpu->gpr[RSP],
	};
}

struct x86_stack stack_from_tss(struct vcpu *v, unsigned cpl, u32 ext)
{
	const struct x86_seg *tr = &v->cpu.seg[TR];
	bool wide = tr->ar & 8;
	u32 off = wide ? cpl * 8 + 4 : cpl * 4 + 2;
	unsigned size = wide ? 4 : 2;

	if (off + size + 1 > tr->limit)
		x86_raise_sel(v, EXC_TS, tr->sel, ext);
	u64 sp = x86_read_sys(v, (u32)(tr->base + off), size);
	u16 sel = (u16)x86_read_sys(v, (u32)(tr->base + off + size), 2);
	struct x86_seg ss = seg_check_stack(v, sel, cpl, EXC_TS, ext, false);

	return (struct x86_stack){
		.ss = ss,
		.cpl = cpl,
		.sp_size = ss.ar & AR_DB ? 4 : 2,
		.sp = sp,
		.fault = (sel & ~SEL_RPL) | ext,
	};
}

struct x86_stack stack_from_tss64(struct vcpu *v, unsigned cpl, unsigned ist, u32 ext)
{
	const struct x86_seg *tr = &v->cpu.seg[TR];
	u32 off = ist ? 28 + 8 * ist : 4 + 8 * cpl;

	if (off + 7 > tr->limit)
		x86_raise_sel(v, EXC_TS, tr->sel, ext);
	u64 sp = x86_read_sys(v, tr->base + off, 8);

	if (!x86_canonical(sp))
		x86_raise_error(v, EXC_SS, ext);
	return (struct x86_stack){
		.ss = cpl == v->cpu.cpl ? v->cpu.seg[SS] : seg_null((u16)cpl, cpl),
		.cpl = cpl,
		.sp_size = 8,
		.sp = sp,
		.fault = ext,
	};
}

static u64 sp_cut(const struct x86_stack *s, u64 sp) { return sp & bits_mask(8 * s->sp_size); }

static gva_t stack_linear(struct vcpu *v, const struct x86_stack *s, u64 sp, unsigned size)
{
	if (s->sp_size == 8) {
		if (!x86_canonical(sp) || !x86_canonical(sp + size - 1))
			x86_raise_error(v, EXC_SS, s->fault);
		return sp;
	}
	if ((s->ss.ar & AR_UNUSABLE) || !seg_holds(&s->ss, sp, size))
		x86_raise_error(v, EXC_SS, s->fault);
	return (u32)(s->ss.base + sp);
}

void stack_check(struct vcpu *v, const struct x86_stack *s, unsigned bytes)
{
	/* Slot by slot, as a 16-bit stack may wrap; before the first push, so that nothing is
	 * written if there is no room. */
	unsigned step = s->sp_size == 8 ? 8 : 2;

	for (unsigned n = step; n <= bytes; n += step)
		stack_linear(v, s, sp_cut(s, s->sp - n), step);
}

void stack_push(struct vcpu *v, struct x86_stack *s, u64 value, unsigned size)
{
	u64 sp = sp_cut(s, s->sp - size);

	gva_t a = stack_linear(v, s, sp, size);

	if (s->cpl == v->cpu.cpl)
		x86_write(v, a, value, size);
	else
		x86_write_as(v, a, value, size, s->cpl);
	s->sp = stack_merge(&(struct x86_stack){ .sp_size = s->sp_size, .sp = sp }, s->sp);
}

u64 stack_pop(struct vcpu *v, struct x86_stack *s, unsigned size)
{
	u64 sp = sp_cut(s, s->sp);
	gva_t a = stack_linear(v, s, sp, size);
	u64 value = s->cpl == v->cpu.cpl ? x86_read(v, a, size) : x86_read_as(v, a, size, s->cpl);

	s->sp = stack_merge(&(struct x86_stack){ .sp_size = s->sp_size, .sp = sp + size }, s->sp);
	return value;
}

u64 stack_merge(const struct x86_stack *s, u64 old)
{
	u64 mask = bits_mask(8 * s->sp_size);

	if (s->sp_size == 4)
		return (u32)s->sp;
	return (old & ~mask) | (s->sp & mask);
}
