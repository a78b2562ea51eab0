/* Hardware task switches, between 16- and 32-bit TSSs in any combination (SDM 3A chapter 7). All
 * that can fail before the switch is tried first; from the moment the old state is saved,
 * exceptions belong to the new task (7.3). */
#include "x86/debug.h"
#include "x86/seg.h"

#include "base/trace.h"

/* Offsets in the TSS (figures 7-2 and 7-10). */
enum {
	TSS_LINK = 0,
	TSS32_CR3 = 28,
	TSS32_EIP = 32,
	TSS32_EFLAGS = 36,
	TSS32_EAX = 40,
	TSS32_ES = 72,
	TSS32_LDT = 96,
	TSS32_T = 100,
	TSS32_SIZE = 104,
	TSS16_IP = 14,
	TSS16_FLAGS = 16,
	TSS16_AX = 18,
	TSS16_ES = 34,
	TSS16_LDT = 42,
	TSS16_SIZE = 44,
};

/* One switch in progress. */
struct task_switch {
	struct vcpu *v;
	enum x86_task_source source;
	u32 ext;
	struct x86_seg tss; /* of the new task */
	bool links;         /* CALL and events: the new task will return to the old one */
};

/* The new task's state as its TSS has it. */
struct task_image {
	u32 cr3, eip, eflags, gpr[8];
	u16 sel[GS + 1], ldt;
	bool trap;
};

static bool tss_wide(const struct x86_seg *tss) { return tss->ar & 8; }

static unsigned tss_size(const struct x86_seg *tss)
{
	return tss_wide(tss) ? TSS32_SIZE : TSS16_SIZE;
}

static u64 tss_read(struct vcpu *v, const struct x86_seg *tss, u32 off, unsigned size)
{
	return x86_read_sys(v, (u32)(tss->base + off), size);
}

static void tss_write(struct vcpu *v, const struct x86_seg *tss, u32 off, u64 value, unsigned size)
{
	x86_write_sys(v, (u32)(tss->base + off), value, size);
}

/* Finds the new TSS and checks its descriptor (7.3 steps 1 to 4). */
static struct x86_seg find_tss(struct vcpu *v, u16 sel, enum x86_task_source source, u32 ext)
{
	bool iret = source == TASK_IRET;
	enum x86_vector vector = iret ? EXC_TS : EXC_GP;

	if (sel_null(sel) || (sel & SEL_TI))
		x86_raise_sel(v, vector, sel, ext);
	struct x86_seg tss = seg_fetch(v, sel, vector, ext);
	int type = ar_system(tss.ar);
	bool fits = iret ? type == DESC_TSS16_BUSY || type == DESC_TSS32_BUSY
			 : type == DESC_TSS16 || type == DESC_TSS32;

	if (!fits)
		x86_raise_sel(v, vector, sel, ext);
	if (!(tss.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, ext);
	if (tss.limit < tss_size(&tss) - 1)
		x86_raise_sel(v, EXC_TS, sel, ext);
	return tss;
}

static void probe_descriptor(struct vcpu *v, u16 sel)
{
	gva_t a;

	if (seg_desc_address(v, sel, 8, &a))
		x86_probe_sys(v, a, 8, ACC_WRITE);
}

/* Everything that the switch is going to touch is present (step 6). */
static void probe_all(const struct task_switch *t)
{
	struct vcpu *v = t->v;
	const struct x86_seg *old = &v->cpu.seg[TR];

	if (old->limit < tss_size(old) - 1)
		x86_raise_sel(v, EXC_TS, old->sel, t->ext);
	x86_probe_sys(v, (u32)old->base, tss_size(old), ACC_WRITE);
	x86_probe_sys(v, (u32)t->tss.base, tss_size(&t->tss), ACC_READ);
	if (t->links)
		x86_probe_sys(v, (u32)(t->tss.base + TSS_LINK), 2, ACC_WRITE);
	probe_descriptor(v, t->tss.sel);
	probe_descriptor(v, old->sel);
}

static void save_old(const struct task_switch *t, u64 next_rip)
{
	struct vcpu *v = t->v;
	struct x86_cpu *cpu = &v->cpu;
	const struct x86_seg *tss = &cpu->seg[TR];
	bool wide = tss_wide(tss);
	unsigned size = wide ? 4 : 2;
	u64 flags = x86_rflags(cpu);

	if (t->source == TASK_IRET)
		flags &= ~FL_NT;
	tss_write(v, tss, wide ? TSS32_EIP : TSS16_IP, next_rip, size);
	tss_write(v, tss, wide ? TSS32_EFLAGS : TSS16_FLAGS, flags, size);
	for (unsigned n = 0; n < 8; n++)
		tss_write(v, tss, (wide ? TSS32_EAX : TSS16_AX) + n * size, cpu->gpr[n], size);
	for (unsigned n = ES; n <= (wide ? (unsigned)GS : (unsigned)DS); n++)
		tss_write(v, tss, (wide ? TSS32_ES : TSS16_ES) + n * size, cpu->seg[n].sel, 2);
}

static struct task_image read_image(struct vcpu *v, const struct x86_seg *tss)
{
	struct task_image m = { 0 };
	bool wide = tss_wide(tss);
	unsigned size = wide ? 4 : 2;

	m.eip = (u32)tss_read(v, tss, wide ? TSS32_EIP : TSS16_IP, size);
	m.eflags = (u32)tss_read(v, tss, wide ? TSS32_EFLAGS : TSS16_FLAGS, size);
	for (unsigned n = 0; n < 8; n++)
		m.gpr[n] = (u32)tss_read(v, tss, (wide ? TSS32_EAX : TSS16_AX) + n * size, size);
	for (unsigned n = ES; n <= (wide ? (unsigned)GS : (unsigned)DS); n++)
		m.sel[n] = (u16)tss_read(v, tss, (wide ? TSS32_ES : TSS16_ES) + n * size, 2);
	m.ldt = (u16)tss_read(v, tss, wide ? TSS32_LDT : TSS16_LDT, 2);
	if (wide) {
		m.cr3 = (u32)tss_read(v, tss, TSS32_CR3, 4);
		m.trap = tss_read(v, tss, TSS32_T, 1) & 1;
	}
	return m;
}

/* Steps 7 to 12: from here on the new task is the current one. */
static void commit(const struct task_switch *t, const struct task_image *m)
{
	struct x86_cpu *cpu = &t->v->cpu;

	cpu->seg[TR] = t->tss;
	cpu->seg[TR].ar |= DESC_TSS_BUSY_BIT;
	cpu->cr0 |= CR0_TS;
	cpu->dr[7] &= ~0x155ull; /* local breakpoints end with the task (SDM 3B 17.2.4) */
	cpu->rip = m->eip;
	x86_set_rflags(cpu, m->eflags | (t->links ? FL_NT : 0));
	for (unsigned n = 0; n < 8; n++)
		cpu->gpr[n] = m->gpr[n];
	for (unsigned n = ES; n <= GS; n++)
		cpu->seg[n] = seg_null(m->sel[n], 0);
	cpu->seg[LDTR] = seg_null(m->ldt, 0);
	/* Until CS and SS are good, a fault must come in from the outermost ring, so that its
	 * handler gets a stack. */
	cpu->cpl = 3;
	x86_rf_loaded(t->v);
	if (cpu->cr0 & CR0_PG && tss_wide(&t->tss)) {
		cpu->cr3 = m->cr3;
		x86_tlb_flush(t->v, true);
	}
	x86_mode_changed(t->v);
}

static void load_ldt(struct vcpu *v, u16 sel, u32 ext)
{
	if (sel_null(sel))
		return;
	if (sel & SEL_TI)
		x86_raise_sel(v, EXC_TS, sel, ext);
	struct x86_seg s = seg_fetch(v, sel, EXC_TS, ext);

	if (ar_system(s.ar) != DESC_LDT || !(s.ar & AR_P))
		x86_raise_sel(v, EXC_TS, sel, ext);
	v->cpu.seg[LDTR] = s;
}

static void load_code_and_stack(struct vcpu *v, const struct task_image *m, u32 ext)
{
	u16 sel = m->sel[CS];
	unsigned rpl = sel & SEL_RPL;

	if (sel_null(sel))
		x86_raise_sel(v, EXC_TS, sel, ext);
	struct x86_seg cs = seg_fetch(v, sel, EXC_TS, ext);
	bool level = ar_is_conforming(cs.ar) ? ar_dpl(cs.ar) <= rpl : ar_dpl(cs.ar) == rpl;

	if (!ar_is_code(cs.ar) || !level)
		x86_raise_sel(v, EXC_TS, sel, ext);
	if (!(cs.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, ext);
	struct x86_seg ss = seg_check_stack(v, m->sel[SS], rpl, EXC_TS, ext, false);

	seg_mark_accessed(v, &ss);
	seg_mark_accessed(v, &cs);
	v->cpu.seg[SS] = ss;
	seg_enter_code(v, cs, rpl);
}

static void load_data(struct vcpu *v, unsigned seg, u16 sel, u32 ext)
{
	if (sel_null(sel))
		return;
	struct x86_seg s = seg_fetch(v, sel, EXC_TS, ext);
	unsigned dpl = ar_dpl(s.ar);

	if (!(s.ar & AR_S) || (s.ar & (AR_CODE | AR_WR)) == AR_CODE)
		x86_raise_sel(v, EXC_TS, sel, ext);
	if (!ar_is_conforming(s.ar) && (dpl < v->cpu.cpl || dpl < (sel & SEL_RPL)))
		x86_raise_sel(v, EXC_TS, sel, ext);
	if (!(s.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, ext);
	seg_mark_accessed(v, &s);
	v->cpu.seg[seg] = s;
}

/* Step 13: descriptors are loaded and qualified; exceptions are those of table 7-1. */
static void load_segments(struct vcpu *v, const struct task_image *m, u32 ext)
{
	static const u8 data[] = { DS, ES, FS, GS };

	load_ldt(v, m->ldt, ext);
	if (x86_v86(&v->cpu)) {
		for (unsigned n = ES; n <= GS; n++)
			x86_set_real_seg(v, n, m->sel[n]);
		return;
	}
	load_code_and_stack(v, m, ext);
	for (unsigned n = 0; n < ARRAY_LEN(data); n++)
		load_data(v, data[n], m->sel[data[n]], ext);
}

void x86_task_switch(struct vcpu *v, u16 sel, enum x86_task_source source, u64 next_rip,
		     bool has_error, u32 error)
{
	struct task_switch t = {
		.v = v,
		.source = source,
		.ext = source == TASK_EVENT && v->delivering,
		.links = source == TASK_CALL || source == TASK_EVENT,
	};
	struct x86_seg *tr = &v->cpu.seg[TR];

	t.tss = find_tss(v, sel, source, t.ext);
	probe_all(&t);
	trace(SEG, "cpu%u: task %04x to %04x", v->index, tr->sel, sel);
	if (!t.links)
		seg_set_busy(v, tr->sel, false);
	save_old(&t, next_rip);
	struct task_image image = read_image(v, &t.tss);

	if (t.links)
		tss_write(v, &t.tss, TSS_LINK, tr->sel, 2);
	if (source != TASK_IRET)
		seg_set_busy(v, sel, true);
	x86_step_override(v);
	commit(&t, &image);
	if (image.trap)
		x86_pend_debug_trap(v, DR6_BT);
	if (v->cpu.cr0 & CR0_PG && v->cpu.cr4 & CR4_PAE && tss_wide(&t.tss))
		x86_load_pdptes(v, v->cpu.cr3);
	load_segments(v, &image, t.ext);
	if (has_error) {
		struct x86_stack s = stack_current(v);

		s.fault = t.ext;
		stack_push(v, &s, error, tss_wide(&t.tss) ? 4 : 2);
		v->cpu.gpr[RSP] = stack_merge(&s, v->cpu.gpr[RSP]);
	}
	x86_mode_changed(v);
}
