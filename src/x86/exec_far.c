/* Control transfers that may change the code segment: far JMP, CALL and RET, IRET, software
 * interrupts, BOUND (SDM 2, by name; SDM 3A 5.8). */
#include "x86/debug.h"
#include "x86/event.h"
#include "x86/operand.h"
#include "x86/seg.h"

#include <Zydis/Zydis.h>

struct far_target {
	u16 sel;
	u64 off;
	unsigned opsize;
	u64 next; /* rip of the instruction after */
};

static u64 next_rip(const struct vcpu *v, const struct x86_insn *i)
{
	u64 next = v->cpu.rip + i->len;

	return i->mode == 64 ? next : (u32)next;
}

/* --- JMP and CALL ----------------------------------------------------------------------------- */

/* Transfers without a gate keep CPL; RPL counts for non-conforming segments only. */
static void check_code_level(struct vcpu *v, const struct x86_seg *cs, bool use_rpl)
{
	unsigned dpl = ar_dpl(cs->ar), cpl = v->cpu.cpl;
	bool ok = ar_is_conforming(cs->ar) ? dpl <= cpl
					   : dpl == cpl && !(use_rpl && (cs->sel & SEL_RPL) > cpl);

	if (!ok)
		x86_raise_sel(v, EXC_GP, cs->sel, 0);
}

static void jump_to(struct vcpu *v, const struct x86_seg *cs, u64 rip)
{
	seg_check_rip(v, cs, rip, 0);
	seg_enter_code(v, *cs, v->cpu.cpl);
	v->cpu.rip = rip;
}

/* Pushes CS and rip on the current stack and goes there. */
static void call_to(struct vcpu *v, struct x86_seg cs, u64 rip, unsigned size, unsigned sp_size,
		    u64 next)
{
	struct x86_stack s = stack_current(v);

	s.sp_size = sp_size;
	stack_check(v, &s, 2 * size);
	seg_check_rip(v, &cs, rip, 0);
	seg_mark_accessed(v, &cs);
	stack_push(v, &s, v->cpu.seg[CS].sel, size);
	stack_push(v, &s, next, size);
	v->cpu.gpr[RSP] = stack_merge(&s, v->cpu.gpr[RSP]);
	v->cpu.rip = rip;
	seg_enter_code(v, cs, v->cpu.cpl);
}

static void real_jump(struct vcpu *v, const struct far_target *t)
{
	if (t->off > v->cpu.seg[CS].limit)
		x86_raise_gp0(v);
	x86_set_real_seg(v, CS, t->sel);
	v->cpu.rip = t->off;
}

static void real_call(struct vcpu *v, const struct far_target *t)
{
	struct x86_stack s = stack_current(v);

	stack_check(v, &s, 2 * t->opsize);
	if (t->off > v->cpu.seg[CS].limit)
		x86_raise_gp0(v);
	stack_push(v, &s, v->cpu.seg[CS].sel, t->opsize);
	stack_push(v, &s, t->next, t->opsize);
	v->cpu.gpr[RSP] = stack_merge(&s, v->cpu.gpr[RSP]);
	real_jump(v, t);
}

/* The code segment a call gate names. */
static struct x86_seg gate_code(struct vcpu *v, const struct x86_gate *g)
{
	if (sel_null(g->sel))
		x86_raise_gp0(v);
	struct x86_seg cs = seg_fetch(v, g->sel, EXC_GP, 0);

	if (!ar_is_code(cs.ar) || ar_dpl(cs.ar) > v->cpu.cpl)
		x86_raise_sel(v, EXC_GP, g->sel, 0);
	/* SDM 3A 5.8.3.1: gates lead to 64-bit code only, in long mode. */
	if (x86_long(&v->cpu) && (cs.ar & (AR_L | AR_DB)) != AR_L)
		x86_raise_sel(v, EXC_GP, g->sel, 0);
	return cs;
}

/* A call through a gate to an inner ring: new stack from the TSS, parameters copied. */
static void call_inner(struct vcpu *v, const struct x86_gate *g, struct x86_seg cs, u64 next)
{
	struct x86_cpu *cpu = &v->cpu;
	bool wide = x86_long(cpu);
	unsigned cpl = ar_dpl(cs.ar),
		 size = wide        ? 8
			: g->ar & 8 ? 4
				    : 2,
		 params = wide ? 0 : g->params;
	struct x86_stack s = wide ? stack_from_tss64(v, cpl, 0, 0) : stack_from_tss(v, cpl, 0);
	struct x86_stack old = stack_current(v);
	u64 param[31];

	stack_check(v, &s, size * (4 + params));
	seg_check_rip(v, &cs, g->offset, 0);
	for (unsigned n = 0; n < params; n++)
		param[n] = stack_pop(v, &old, size);
	seg_mark_accessed(v, &cs);
	seg_mark_accessed(v, &s.ss);
	stack_push(v, &s, cpu->seg[SS].sel, size);
	stack_push(v, &s, cpu->gpr[RSP], size);
	while (params--)
		stack_push(v, &s, param[params], size);
	stack_push(v, &s, cpu->seg[CS].sel, size);
	stack_push(v, &s, next, size);
	cpu->gpr[RSP] = stack_merge(&s, cpu->gpr[RSP]);
	cpu->seg[SS] = s.ss;
	cpu->rip = g->offset;
	seg_enter_code(v, cs, cpl);
}

static struct x86_gate checked_gate(struct vcpu *v, u16 sel)
{
	struct x86_gate g = seg_fetch_gate(v, sel, EXC_GP, 0);

	if (ar_dpl(g.ar) < v->cpu.cpl || ar_dpl(g.ar) < (sel & SEL_RPL))
		x86_raise_sel(v, EXC_GP, sel, 0);
	if (!(g.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, 0);
	return g;
}

static void through_call_gate(struct vcpu *v, const struct far_target *t, bool call)
{
	struct x86_gate g = checked_gate(v, t->sel);
	struct x86_seg cs = gate_code(v, &g);
	bool inner = !ar_is_conforming(cs.ar) && ar_dpl(cs.ar) < v->cpu.cpl;
	bool wide = x86_long(&v->cpu);

	if (!call)
		check_code_level(v, &cs, false);
	if (!(cs.ar & AR_P))
		x86_raise_sel(v, EXC_NP, cs.sel, 0);
	if (!call)
		jump_to(v, &cs, g.offset);
	else if (inner)
		call_inner(v, &g, cs, t->next);
	else
		call_to(v, cs, g.offset,
			wide       ? 8
			: g.ar & 8 ? 4
				   : 2,
			wide ? 8 : x86_stack_size(&v->cpu), t->next);
}

static void through_task_gate(struct vcpu *v, const struct far_target *t,
			      enum x86_task_source source)
{
	struct x86_gate g = checked_gate(v, t->sel);

	x86_task_switch(v, g.sel, source, t->next, false, 0);
}

static void to_tss(struct vcpu *v, const struct far_target *t, const struct x86_seg *tss,
		   enum x86_task_source source)
{
	if (ar_dpl(tss->ar) < v->cpu.cpl || ar_dpl(tss->ar) < (t->sel & SEL_RPL))
		x86_raise_sel(v, EXC_GP, t->sel, 0);
	x86_task_switch(v, t->sel, source, t->next, false, 0);
}

static void far_transfer(struct vcpu *v, const struct far_target *t, bool call)
{
	enum x86_task_source source = call ? TASK_CALL : TASK_JMP;
	bool wide = x86_long(&v->cpu);

	if (x86_real_or_v86(&v->cpu)) {
		if (call)
			real_call(v, t);
		else
			real_jump(v, t);
		return;
	}
	if (sel_null(t->sel))
		x86_raise_gp0(v);
	struct x86_seg s = seg_fetch(v, t->sel, EXC_GP, 0);
	int type = ar_system(s.ar);

	if (ar_is_code(s.ar)) {
		check_code_level(v, &s, true);
		seg_check_code(v, &s, 0);
		if (call)
			call_to(v, s, t->off, t->opsize, x86_stack_size(&v->cpu), t->next);
		else
			jump_to(v, &s, t->off);
	} else if (type == DESC_CALL32 || (type == DESC_CALL16 && !wide)) {
		through_call_gate(v, t, call);
	} else if (type == DESC_TASK_GATE && !wide) {
		through_task_gate(v, t, source);
	} else if ((type == DESC_TSS16 || type == DESC_TSS32) && !wide) {
		to_tss(v, t, &s, source);
	} else {
		x86_raise_sel(v, EXC_GP, t->sel, 0);
	}
}

static struct far_target far_target(struct vcpu *v, const struct x86_insn *i)
{
	struct far_target t = {
		.sel = i->sel, .off = i->imm, .opsize = i->opsize, .next = next_rip(v, i)
	};

	if (i->op[0].kind != OPK_MEM)
		return t;
	/* AMD's CPUs have no 64-bit offset in memory: REX.W is ignored (APM 3, JMP far). */
	if (t.opsize == 8 && cpuid_is_amd(v->vm))
		t.opsize = 4;
	gva_t a = x86_operand(v, i, t.opsize + 2, ACC_READ);

	t.off = x86_read(v, a, t.opsize);
	t.sel = (u16)x86_read(v, a + t.opsize, 2);
	return t;
}

static void exec_jmp_far(struct vcpu *v, const struct x86_insn *i)
{
	struct far_target t = far_target(v, i);

	far_transfer(v, &t, false);
}

static void exec_call_far(struct vcpu *v, const struct x86_insn *i)
{
	struct far_target t = far_target(v, i);

	far_transfer(v, &t, true);
}

/* --- RET and IRET ----------------------------------------------------------------------------- */

/* The code segment that RET or IRET goes back to. */
static struct x86_seg return_code(struct vcpu *v, u16 sel)
{
	unsigned rpl = sel & SEL_RPL;

	if (sel_null(sel))
		x86_raise_gp0(v);
	struct x86_seg cs = seg_fetch(v, sel, EXC_GP, 0);
	bool level = ar_is_conforming(cs.ar) ? ar_dpl(cs.ar) <= rpl : ar_dpl(cs.ar) == rpl;

	if (!ar_is_code(cs.ar) || rpl < v->cpu.cpl || !level)
		x86_raise_sel(v, EXC_GP, sel, 0);
	seg_check_code(v, &cs, 0);
	return cs;
}

/* The stack that a return to CPL cpl goes back to, with the selector and pointer that were
 * popped. */
static struct x86_stack return_stack(struct vcpu *v, const struct x86_seg *cs, u16 sel, u64 sp,
				     unsigned cpl)
{
	bool wide = x86_long(&v->cpu) && cs->ar & AR_L;
	struct x86_seg ss = seg_check_stack(v, sel, cpl, EXC_GP, 0, wide && cpl < 3);

	seg_mark_accessed(v, &ss);
	return (struct x86_stack){
		.ss = ss, .cpl = cpl, .sp_size = seg_stack_size(&v->cpu, cs, &ss), .sp = sp
	};
}

static void finish_return(struct vcpu *v, const struct x86_stack *s, struct x86_seg cs, u64 rip)
{
	struct x86_cpu *cpu = &v->cpu;
	unsigned rpl = cs.sel & SEL_RPL;
	bool outer = rpl > cpu->cpl;

	seg_mark_accessed(v, &cs);
	cpu->gpr[RSP] = stack_merge(s, cpu->gpr[RSP]);
	cpu->seg[SS] = s->ss;
	cpu->rip = rip;
	seg_enter_code(v, cs, rpl);
	if (outer)
		seg_drop_inaccessible(v);
}

static void real_return(struct vcpu *v, struct x86_stack *s, u64 rip, u16 sel)
{
	if (rip > v->cpu.seg[CS].limit)
		x86_raise_gp0(v);
	v->cpu.gpr[RSP] = stack_merge(s, v->cpu.gpr[RSP]);
	x86_set_real_seg(v, CS, sel);
	v->cpu.rip = rip;
}

static void exec_ret_far(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_stack s = stack_current(v);
	unsigned size = i->opsize;
	u64 drop = i->nops ? (u16)i->imm : 0;
	u64 rip = stack_pop(v, &s, size);
	u16 sel = (u16)stack_pop(v, &s, size);

	if (x86_real_or_v86(&v->cpu)) {
		s.sp += drop;
		real_return(v, &s, rip, sel);
		return;
	}
	struct x86_seg cs = return_code(v, sel);
	unsigned rpl = sel & SEL_RPL;

	s.sp += drop;
	if (rpl > v->cpu.cpl) {
		u64 sp = stack_pop(v, &s, size);
		u16 ss = (u16)stack_pop(v, &s, size);

		s = return_stack(v, &cs, ss, sp, rpl);
		s.sp += drop;
	}
	seg_check_rip(v, &cs, rip, 0);
	finish_return(v, &s, cs, rip);
}

/* Flags that IRET may change at privilege level cpl (SDM 2A IRET). */
static u64 iret_mask(const struct x86_cpu *cpu, unsigned size)
{
	u64 mask = FL_STATUS | FL_TF | FL_DF | FL_NT;

	if (size > 2)
		mask |= FL_RF | FL_AC | FL_ID;
	if (cpu->cpl <= x86_iopl(cpu))
		mask |= FL_IF;
	if (cpu->cpl == 0) {
		mask |= FL_IOPL;
		if (size > 2 && x86_protected(cpu))
			mask |= FL_VIF | FL_VIP;
	}
	return mask;
}

static void merge_flags(struct vcpu *v, u64 flags, u64 mask)
{
	x86_set_rflags(&v->cpu, (x86_rflags(&v->cpu) & ~mask) | (flags & mask));
	x86_rf_loaded(v);
}

static void iret_real(struct vcpu *v, unsigned size)
{
	struct x86_stack s = stack_current(v);
	u64 rip = stack_pop(v, &s, size);
	u16 sel = (u16)stack_pop(v, &s, size);
	u64 flags = stack_pop(v, &s, size);

	real_return(v, &s, rip, sel);
	merge_flags(v, flags, iret_mask(&v->cpu, size));
	x86_mode_changed(v);
}

/* In virtual-8086 mode (SDM 3B 20.2.7, 20.3). */
static void iret_v86(struct vcpu *v, unsigned size)
{
	struct x86_cpu *cpu = &v->cpu;
	bool vme = x86_iopl(cpu) < 3;
	struct x86_stack s = stack_current(v);

	if (vme && (!(cpu->cr4 & CR4_VME) || size != 2))
		x86_raise_gp0(v);
	u64 rip = stack_pop(v, &s, size);
	u16 sel = (u16)stack_pop(v, &s, size);
	u64 flags = stack_pop(v, &s, size);
	u64 mask = FL_STATUS | FL_TF | FL_DF | FL_NT;

	if (vme) {
		if ((flags & FL_TF) || ((flags & FL_IF) && (cpu->rflags & FL_VIP)))
			x86_raise_gp0(v);
		if (flags & FL_IF)
			flags |= FL_VIF;
		mask |= FL_VIF;
	} else {
		mask |= FL_IF | (size > 2 ? FL_RF | FL_AC | FL_ID : 0);
	}
	real_return(v, &s, rip, sel);
	merge_flags(v, flags, mask);
	x86_mode_changed(v);
}

/* From CPL 0 back to a virtual-8086 program (SDM 3B 20.2.3). */
static void iret_to_v86(struct vcpu *v, struct x86_stack *s, u64 rip, u16 sel, u64 flags)
{
	static const u8 order[] = { ES, DS, FS, GS };
	struct x86_cpu *cpu = &v->cpu;
	u64 sp = stack_pop(v, s, 4);
	u16 ss = (u16)stack_pop(v, s, 4), data[ARRAY_LEN(order)];

	for (unsigned n = 0; n < ARRAY_LEN(order); n++)
		data[n] = (u16)stack_pop(v, s, 4);
	if (rip > 0xffff)
		x86_raise_gp0(v);
	merge_flags(v, flags, ~0ull);
	x86_set_real_seg(v, CS, sel);
	x86_set_real_seg(v, SS, ss);
	for (unsigned n = 0; n < ARRAY_LEN(order); n++)
		x86_set_real_seg(v, order[n], data[n]);
	cpu->gpr[RSP] = sp;
	cpu->rip = rip;
	cpu->cpl = 3;
	x86_mode_changed(v);
}

static void iret_protected(struct vcpu *v, unsigned size, u64 next)
{
	struct x86_cpu *cpu = &v->cpu;

	if (cpu->rflags & FL_NT) {
		if (x86_long(cpu))
			x86_raise_gp0(v);
		const struct x86_seg *tr = &cpu->seg[TR];

		x86_task_switch(v, (u16)x86_read_sys(v, (u32)tr->base, 2), TASK_IRET, next, false,
				0);
		return;
	}
	struct x86_stack s = stack_current(v);
	u64 rip = stack_pop(v, &s, size);
	u16 sel = (u16)stack_pop(v, &s, size);
	u64 flags = stack_pop(v, &s, size);

	if (size == 4 && (flags & FL_VM) && cpu->cpl == 0 && !x86_long(cpu)) {
		iret_to_v86(v, &s, rip, sel, flags);
		return;
	}
	struct x86_seg cs = return_code(v, sel);
	unsigned rpl = sel & SEL_RPL;

	if (rpl > cpu->cpl || x86_64bit(cpu)) {
		u64 sp = stack_pop(v, &s, size);
		u16 ss = (u16)stack_pop(v, &s, size);

		s = return_stack(v, &cs, ss, sp, rpl);
	}
	seg_check_rip(v, &cs, rip, 0);
	seg_mark_accessed(v, &cs);
	merge_flags(v, flags, iret_mask(cpu, size));
	finish_return(v, &s, cs, rip);
}

static void exec_iret(struct vcpu *v, const struct x86_insn *i)
{
	v->cpu.nmi_blocked = false; /* also if the instruction faults (SDM 3A 6.7.1) */
	if (!x86_protected(&v->cpu))
		iret_real(v, i->opsize);
	else if (x86_v86(&v->cpu))
		iret_v86(v, i->opsize);
	else
		iret_protected(v, i->opsize, next_rip(v, i));
}

/* --- Software interrupts ---------------------------------------------------------------------- */

static void exec_int(struct vcpu *v, const struct x86_insn *i)
{
	x86_software_interrupt(v, i->imm & 0xff, INT_N, next_rip(v, i));
}

static void exec_int3(struct vcpu *v, const struct x86_insn *i)
{
	x86_software_interrupt(v, EXC_BP, INT_3, next_rip(v, i));
}

static void exec_int1(struct vcpu *v, const struct x86_insn *i)
{
	x86_software_interrupt(v, EXC_DB, INT_1, next_rip(v, i));
}

static void exec_into(struct vcpu *v, const struct x86_insn *i)
{
	if (v->cpu.cc & CC_OF)
		x86_software_interrupt(v, EXC_OF, INT_O, next_rip(v, i));
	else
		v->cpu.rip = next_rip(v, i);
}

static void exec_bound(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->opsize, bits = size * 8;
	i64 index = bits_sext(reg_get(v, &i->op[0], size), bits);
	gva_t a = x86_operand(v, i, 2 * size, ACC_READ);
	i64 low = bits_sext(x86_read(v, a, size), bits);
	i64 high = bits_sext(x86_read(v, a + size, size), bits);

	if (index < low || index > high)
		x86_raise(v, EXC_BR);
}

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_transfer(const struct x86_insn *i, const struct x86_zydis *z)
{
	bool far = z->insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_JMP: return far ? exec_jmp_far : NULL;
	case ZYDIS_MNEMONIC_CALL: return far ? exec_call_far : NULL;
	case ZYDIS_MNEMONIC_RET: return far ? exec_ret_far : NULL;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ: return exec_iret;
	case ZYDIS_MNEMONIC_INT: return exec_int;
	case ZYDIS_MNEMONIC_INT3: return exec_int3;
	case ZYDIS_MNEMONIC_INT1: return exec_int1;
	case ZYDIS_MNEMONIC_INTO: return exec_into;
	default: return NULL;
	}
}

x86_exec_fn *x86_bind_far(struct x86_insn *i, const struct x86_zydis *z)
{
	x86_exec_fn *fn = bind_transfer(i, z);

	if (!fn)
		fn = x86_bind_syscall(i, z);
	if (fn)
		i->flags |= INSN_BRANCH | INSN_END;
	else if (i->mnemonic == ZYDIS_MNEMONIC_BOUND)
		return exec_bound;
	return fn;
}
