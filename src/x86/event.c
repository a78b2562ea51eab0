/* Events: exceptions, interrupts, software interrupts and traps, their priority and their way
 * through the IDT or the real-mode vector table (SDM 3A chapter 6; 20.1.4 for real mode, 20.2 and
 * 20.3 for virtual-8086 mode).
 *
 * The interrupt shadow. STI and MOV SS set v->shadow to 1 or 2 and ATT_SHADOW. At the boundary that
 * follows, x86_attend notes the instruction count in v->shadow and delivers nothing that is held
 * back. The engine, seeing ATT_SHADOW still set, runs exactly one instruction and comes back;
 * x86_attend finds that the count has moved, and the shadow is over. So it does no harm if
 * x86_attend is called twice at one boundary, as happens when an engine's budget ends there. */
#include "x86/event.h"

#include "base/trace.h"
#include "x86/debug.h"
#include "x86/seg.h"

/* Serial benign faults can follow each other forever (an #AC handler whose stack is misaligned at
 * CPL 3); a CPU would hang with them. */
#define MAX_NESTED 8

enum { SHADOW_STI = 1, SHADOW_SS = 2, SHADOW_KIND = 3, SHADOW_SEEN = 0x80 };

/* Classes of SDM 3A table 6-4. */
enum event_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT, CLASS_DOUBLE };

static enum event_class exception_class(unsigned vector)
{
	switch (vector) {
	case EXC_DE:
	case EXC_TS:
	case EXC_NP:
	case EXC_SS:
	case EXC_GP: return CLASS_CONTRIBUTORY;
	case EXC_PF: return CLASS_PAGE_FAULT;
	case EXC_DF: return CLASS_DOUBLE;
	default: return CLASS_BENIGN;
	}
}

/* --- Delivery --------------------------------------------------------------------------------- */

static void enter_handler(struct vcpu *v, const struct x86_stack *s, struct x86_seg cs,
			  unsigned cpl, u64 rip, u64 clear)
{
	struct x86_cpu *cpu = &v->cpu;

	cpu->gpr[RSP] = stack_merge(s, cpu->gpr[RSP]);
	cpu->seg[SS] = s->ss;
	cpu->rip = rip;
	cpu->rflags &= ~clear;
	seg_enter_code(v, cs, cpl);
}

/* Real mode, and virtual-8086 interrupts that VME redirects: a far pointer in the table at linear
 * address `table`. */
static void deliver_vector_table(struct vcpu *v, gva_t table, unsigned vector, u64 rip, u64 flags,
				 u64 clear)
{
	u32 entry = (u32)x86_read_sys(v, (u32)(table + vector * 4), 4);
	struct x86_stack s = stack_current(v);

	stack_check(v, &s, 6);
	stack_push(v, &s, (u16)flags, 2);
	stack_push(v, &s, v->cpu.seg[CS].sel, 2);
	stack_push(v, &s, (u16)rip, 2);
	v->cpu.gpr[RSP] = stack_merge(&s, v->cpu.gpr[RSP]);
	v->cpu.rflags &= ~clear;
	v->cpu.rip = (u16)entry;
	x86_set_real_seg(v, CS, (u16)(entry >> 16));
	x86_mode_changed(v);
}

static void deliver_real(struct vcpu *v, const struct x86_event *e, u64 flags)
{
	if (e->vector * 4u + 3 > v->cpu.idtr.limit)
		x86_raise_error(v, EXC_GP, e->vector * 8u + 2);
	deliver_vector_table(v, v->cpu.idtr.base, e->vector, e->rip, flags,
			     FL_IF | FL_TF | FL_AC | FL_RF);
}

/* The checks of a gate that come before its target is looked at. */
static void check_gate(struct vcpu *v, const struct x86_event *e, const struct x86_gate *g,
		       u32 error)
{
	if (e->soft && ar_dpl(g->ar) < v->cpu.cpl)
		x86_raise_error(v, EXC_GP, error);
	if (!(g->ar & AR_P))
		x86_raise_error(v, EXC_NP, error);
}

/* The code segment that an interrupt or trap gate leads to. */
static struct x86_seg gate_target(struct vcpu *v, u16 sel, u32 ext)
{
	if (sel_null(sel))
		x86_raise_error(v, EXC_GP, ext);
	struct x86_seg cs = seg_fetch(v, sel, EXC_GP, ext);

	if (!ar_is_code(cs.ar) || ar_dpl(cs.ar) > v->cpu.cpl)
		x86_raise_sel(v, EXC_GP, sel, ext);
	if (!(cs.ar & AR_P))
		x86_raise_sel(v, EXC_NP, sel, ext);
	return cs;
}

/* SDM 3A 6.14. */
static void deliver_long(struct vcpu *v, const struct x86_event *e, u64 flags)
{
	struct x86_cpu *cpu = &v->cpu;
	u32 ext = !e->soft, error = e->vector * 8u + 2 + ext;
	gva_t a = cpu->idtr.base + e->vector * 16u;

	if (e->vector * 16u + 15 > cpu->idtr.limit)
		x86_raise_error(v, EXC_GP, error);
	u64 low = x86_read_sys(v, a, 8);
	struct x86_gate g = gate_from_desc(low, x86_read_sys(v, a + 8, 8) & 0xffffffff);
	int type = ar_system(g.ar);

	if (type != DESC_INT32 && type != DESC_TRAP32)
		x86_raise_error(v, EXC_GP, error);
	check_gate(v, e, &g, error);
	struct x86_seg cs = gate_target(v, g.sel, ext);

	if ((cs.ar & (AR_L | AR_DB)) != AR_L)
		x86_raise_sel(v, EXC_GP, g.sel, ext);
	unsigned cpl = ar_is_conforming(cs.ar) ? cpu->cpl : ar_dpl(cs.ar);
	struct x86_stack s;

	if (cpl != cpu->cpl || g.ist)
		s = stack_from_tss64(v, cpl, g.ist, ext);
	else
		s = (struct x86_stack){ .ss = cpu->seg[SS],
					.cpl = cpl,
					.sp_size = 8,
					.sp = cpu->gpr[RSP],
					.fault = ext };
	s.sp &= ~15ull;
	stack_check(v, &s, e->has_error ? 48 : 40);
	seg_check_rip(v, &cs, g.offset, ext);
	seg_mark_accessed(v, &cs);
	stack_push(v, &s, cpu->seg[SS].sel, 8);
	stack_push(v, &s, cpu->gpr[RSP], 8);
	stack_push(v, &s, flags, 8);
	stack_push(v, &s, cpu->seg[CS].sel, 8);
	stack_push(v, &s, e->rip, 8);
	if (e->has_error)
		stack_push(v, &s, e->error, 8);
	enter_handler(v, &s, cs, cpl, g.offset,
		      FL_TF | FL_NT | FL_RF | FL_VM | (type == DESC_INT32 ? FL_IF : 0));
}

static void push_v86_segments(struct vcpu *v, struct x86_stack *s, unsigned size)
{
	static const u8 order[] = { GS, FS, DS, ES };

	for (unsigned n = 0; n < ARRAY_LEN(order); n++)
		stack_push(v, s, v->cpu.seg[order[n]].sel, size);
}

/* Through an interrupt or trap gate of 16 or 32 bits (SDM 3A 6.12.1, 20.2.1.1). */
static void deliver_gate(struct vcpu *v, const struct x86_event *e, const struct x86_gate *g,
			 u64 flags)
{
	struct x86_cpu *cpu = &v->cpu;
	u32 ext = !e->soft;
	unsigned size = g->ar & 8 ? 4 : 2;
	struct x86_seg cs = gate_target(v, g->sel, ext);
	unsigned cpl = ar_is_conforming(cs.ar) ? cpu->cpl : ar_dpl(cs.ar);
	bool v86 = x86_v86(cpu), inner = cpl != cpu->cpl;
	struct x86_stack s;

	if (v86 && cpl != 0)
		x86_raise_sel(v, EXC_GP, g->sel, ext);
	if (inner) {
		s = stack_from_tss(v, cpl, ext);
	} else {
		s = stack_current(v);
		s.fault = ext;
	}
	stack_check(v, &s, size * ((v86 ? 9u : inner ? 5u : 3u) + e->has_error));
	seg_check_rip(v, &cs, g->offset, ext);
	seg_mark_accessed(v, &cs);
	if (inner) {
		seg_mark_accessed(v, &s.ss);
		if (v86)
			push_v86_segments(v, &s, size);
		stack_push(v, &s, cpu->seg[SS].sel, size);
		stack_push(v, &s, cpu->gpr[RSP], size);
	}
	stack_push(v, &s, flags, size);
	stack_push(v, &s, cpu->seg[CS].sel, size);
	stack_push(v, &s, e->rip, size);
	if (e->has_error)
		stack_push(v, &s, e->error, size);
	if (v86)
		cpu->seg[ES] = cpu->seg[DS] = cpu->seg[FS] = cpu->seg[GS] = seg_null(0, 0);
	enter_handler(v, &s, cs, cpl, g->offset,
		      FL_TF | FL_NT | FL_RF | FL_VM | (g->ar & 1 ? 0 : FL_IF));
}

static void deliver_protected(struct vcpu *v, const struct x86_event *e, u64 flags)
{
	struct x86_cpu *cpu = &v->cpu;
	u32 error = e->vector * 8u + 2 + !e->soft;

	if (e->vector * 8u + 7 > cpu->idtr.limit)
		x86_raise_error(v, EXC_GP, error);
	struct x86_gate g =
		gate_from_desc(x86_read_sys(v, (u32)(cpu->idtr.base + e->vector * 8u), 8), 0);

	switch (ar_system(g.ar)) {
	case DESC_TASK_GATE:
		check_gate(v, e, &g, error);
		if (e->rf)
			cpu->rflags |= FL_RF; /* the image in the old TSS has it */
		x86_task_switch(v, g.sel, TASK_EVENT, e->rip, e->has_error, e->error);
		break;
	case DESC_INT16:
	case DESC_TRAP16:
	case DESC_INT32:
	case DESC_TRAP32:
		check_gate(v, e, &g, error);
		deliver_gate(v, e, &g, flags);
		break;
	default: x86_raise_error(v, EXC_GP, error);
	}
}

static void deliver(struct vcpu *v, const struct x86_event *e)
{
	u64 flags = x86_rflags(&v->cpu) | (e->rf ? FL_RF : 0);

	if (x86_long(&v->cpu))
		deliver_long(v, e, flags);
	else if (x86_protected(&v->cpu))
		deliver_protected(v, e, flags);
	else
		deliver_real(v, e, flags);
	if (e->vector == EXC_DB && !e->soft)
		v->cpu.dr[7] &=
			~DR7_GD; /* SDM 3B 17.2.4: so that the handler may use the registers */
}

/* One attempt. False if it faulted: the fault is in v->exc. */
static bool try_deliver(struct vcpu *v, const struct x86_event *e)
{
	jmp_buf catch, *const outer = v->catch;

	v->catch = &catch;
	v->delivering = true;
	if (_setjmp(catch)) {
		v->catch = outer;
		v->delivering = false;
		return false;
	}
	deliver(v, e);
	v->catch = outer;
	v->delivering = false;
	return true;
}

/* What v->exc is as an event of the instruction at rip. */
static struct x86_event fault_event(const struct vcpu *v)
{
	const struct x86_exception *x = &v->exc;

	return (struct x86_event){
		.vector = x->vector,
		.has_error = x->has_error,
		.error = x->error,
		.rip = v->cpu.rip,
		/* SDM 3B 17.3.1.1: faults, but not #DB of an instruction breakpoint, nor aborts.
		 * General detect sets RF itself. */
		.rf = x->vector != EXC_DB && x->vector != EXC_DF && x->vector != EXC_MC,
	};
}

/* Delivers with the rules for faults on the way (SDM 3A 6.15, interrupt 8). False on shutdown. */
static bool deliver_nested(struct vcpu *v, struct x86_event e, enum event_class class)
{
	v->shadow = 0;
	v->pending_dr6 = 0;
	v->cpu.halted = false;
	vcpu_unattend(v, ATT_SHADOW | ATT_TRAP | ATT_NO_STEP | ATT_RF);
	for (unsigned n = 0; n < MAX_NESTED; n++) {
		if (try_deliver(v, &e))
			return true;
		enum event_class second = exception_class(v->exc.vector);

		if (class == CLASS_DOUBLE)
			break;
		if ((class == CLASS_CONTRIBUTORY && second == CLASS_CONTRIBUTORY) ||
		    (class == CLASS_PAGE_FAULT && second != CLASS_BENIGN)) {
			v->exceptions[EXC_DF]++;
			v->exc = (struct x86_exception){ .vector = EXC_DF, .has_error = true };
			second = CLASS_DOUBLE;
			trace(EXC, "cpu%u: double fault after vector %u", v->index, e.vector);
		}
		e = fault_event(v);
		class = second;
	}
	trace(EXC, "cpu%u: shutdown while delivering vector %u", v->index, e.vector);
	return false;
}

bool x86_deliver_fault(struct vcpu *v)
{
	return deliver_nested(v, fault_event(v), exception_class(v->exc.vector));
}

/* --- Software interrupts ---------------------------------------------------------------------- */

/* Virtual-8086 INT n with CR4.VME: true if the redirection bitmap of the TSS hands the vector to
 * the 8086 program (SDM 3B 20.3.3.4). */
static bool vme_redirects(struct vcpu *v, unsigned vector)
{
	const struct x86_seg *tr = &v->cpu.seg[TR];

	if (!(tr->ar & 8) || tr->limit < 103)
		x86_raise_gp0(v);
	u32 off = (u32)x86_read_sys(v, (u32)(tr->base + 102), 2) - 32 + vector / 8;

	if (off > tr->limit)
		x86_raise_gp0(v);
	return !(x86_read_sys(v, (u32)(tr->base + off), 1) >> (vector & 7) & 1);
}

static void redirect_to_8086(struct vcpu *v, unsigned vector, u64 next_rip)
{
	u64 flags = x86_rflags(&v->cpu);
	bool virtual_if = x86_iopl(&v->cpu) < 3;

	if (virtual_if)
		flags = (flags & ~FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
	deliver_vector_table(v, 0, vector, next_rip, flags,
			     FL_TF | FL_RF | (virtual_if ? FL_VIF : FL_IF));
}

void x86_software_interrupt(struct vcpu *v, unsigned vector, enum x86_int_kind kind, u64 next_rip)
{
	struct x86_event e = { .vector = (u8)vector, .soft = kind != INT_1, .rip = next_rip };

	x86_step_override(v);
	if (kind == INT_N && x86_v86(&v->cpu)) {
		if ((v->cpu.cr4 & CR4_VME) && vme_redirects(v, vector)) {
			redirect_to_8086(v, vector, next_rip);
			return;
		}
		if (x86_iopl(&v->cpu) < 3)
			x86_raise_gp0(v);
	}
	v->delivering = !e.soft;
	deliver(v, &e);
	v->delivering = false;
	v->exceptions[vector & 0xff]++;
}

/* --- Boundaries ------------------------------------------------------------------------------- */

void x86_shadow_mov_ss(struct vcpu *v)
{
	/* Of several in a row only the first inhibits, or a guest could hold interrupts off for
	 * good. */
	if ((v->shadow & SHADOW_KIND) == SHADOW_SS)
		return;
	v->shadow = SHADOW_SS;
	vcpu_attend(v, ATT_SHADOW);
}

/* See the top of the file. */
static void advance_shadow(struct vcpu *v)
{
	u8 stamp = (u8)(SHADOW_SEEN | (vcpu_icount(v) & 31) << 2);

	if (v->shadow && !(v->shadow & SHADOW_SEEN)) {
		v->shadow |= stamp;
	} else if ((v->shadow & ~SHADOW_KIND) != stamp) {
		v->shadow = 0;
		vcpu_unattend(v, ATT_SHADOW);
	}
}

static void start_up(struct vcpu *v)
{
	struct x86_seg *cs = &v->cpu.seg[CS];

	cs->sel = (u16)(v->sipi_vector << 8);
	cs->base = (u64)v->sipi_vector << 12;
	v->cpu.rip = 0;
	v->cpu.wait_sipi = false;
	trace(RUN, "cpu%u: SIPI, starts at %#llx", v->index, (unsigned long long)cs->base);
}

static bool deliver_trap(struct vcpu *v)
{
	struct x86_event e = { .vector = EXC_DB, .rip = v->cpu.rip };

	x86_set_dr6(&v->cpu, v->pending_dr6);
	v->exceptions[EXC_DB]++;
	return deliver_nested(v, e, CLASS_BENIGN);
}

static bool deliver_interrupt(struct vcpu *v, unsigned vector)
{
	struct x86_event e = { .vector = (u8)vector, .rip = v->cpu.rip };

	trace(IRQ, "cpu%u: interrupt %#x at %04x:%llx", v->index, vector, v->cpu.seg[CS].sel,
	      (unsigned long long)v->cpu.rip);
	return deliver_nested(v, e, CLASS_BENIGN);
}

/* INIT and SIPI. False if the CPU waits. */
static bool attend_start(struct vcpu *v, u32 att)
{
	if (att & ATT_INIT) {
		vcpu_unattend(v, ATT_INIT);
		x86_init_reset(v);
	}
	if (v->cpu.wait_sipi && !(att & ATT_SIPI))
		return false;
	vcpu_unattend(v, ATT_SIPI); /* ignored unless waited for */
	if (v->cpu.wait_sipi)
		start_up(v);
	return true;
}

/* Traps, NMI and interrupts in the order of SDM 3A table 6-2: true if one was delivered, with *ok
 * false on shutdown. */
static bool attend_event(struct vcpu *v, u32 att, bool *ok)
{
	struct x86_cpu *cpu = &v->cpu;
	bool held = (v->shadow & SHADOW_KIND) == SHADOW_SS;

	if ((att & ATT_TRAP) && !held) {
		*ok = deliver_trap(v);
		return true;
	}
	if ((att & ATT_NMI) && !cpu->nmi_blocked && !held) {
		vcpu_unattend(v, ATT_NMI);
		cpu->nmi_blocked = true;
		v->exceptions[EXC_NMI]++;
		*ok = deliver_interrupt(v, EXC_NMI);
		return true;
	}
	if ((att & ATT_IRQ) && (cpu->rflags & FL_IF) && !v->shadow) {
		int vector = v->take_irq(v);

		if (vector >= 0) {
			v->interrupts++;
			*ok = deliver_interrupt(v, (unsigned)vector);
			return true;
		}
	}
	return false;
}

bool x86_attend(struct vcpu *v, enum stop *stop)
{
	u32 att = atomic_load_explicit(&v->attention, memory_order_acquire);
	bool ok = true;

	if (att & ATT_STOP) {
		vcpu_unattend(v, ATT_STOP);
		*stop = STOP_KICK;
		return false;
	}
	if (att & ATT_YIELD) {
		vcpu_unattend(v, ATT_YIELD);
		*stop = STOP_BUDGET;
		return false;
	}
	if (att & ATT_SHADOW)
		advance_shadow(v);
	/* The T flag of a new task comes before INIT. */
	if ((att & ATT_TRAP) && (v->pending_dr6 & DR6_BT)) {
		ok = deliver_trap(v);
	} else if (att & (ATT_INIT | ATT_SIPI) || v->cpu.wait_sipi) {
		if (!attend_start(v, att)) {
			*stop = STOP_HALT;
			return false;
		}
	} else if (!attend_event(v, att, &ok) && v->cpu.halted) {
		*stop = STOP_HALT;
		return false;
	}
	if (!ok)
		*stop = STOP_SHUTDOWN;
	return ok;
}
