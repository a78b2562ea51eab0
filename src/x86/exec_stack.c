/* PUSH POP PUSHA POPA ENTER LEAVE PUSHF POPF (SDM 2), the last two with the virtual-8086 and
 * VME rules of SDM 3B 21.2 and 21.3. Pushes and pops of segment registers are with the
 * segment loads. */
#include "x86/exec.h"
#include "x86/stack.h"

#include <Zydis/Zydis.h>

/* --- PUSH, POP -------------------------------------------------------------------------------- */

enum push_form { PUSH_R, PUSH_I, PUSH_M };

inline_fn void run_push(struct vcpu *v, const struct x86_insn *i, enum push_form form,
			enum stack_kind kind, unsigned size, x86_exec_fn *general)
{
	const enum addr_kind ak = stack_addr_kind(kind);
	struct mem_ref m;
	u64 value;

	if (form == PUSH_M && !mem_open(v, i, &m, size, ACC_READ, ak)) {
		general(v, i);
		return;
	}
	if (form == PUSH_M)
		value = mem_get(v, &m, size, ACC_READ, ak);
	else
		value = form == PUSH_R ? v->cpu.gpr[i->op[0].reg] : i->imm;
	if (!stack_push(v, value, size, kind))
		general(v, i);
}

/* The stack pointer moves first: POP rSP ends with the value from the stack. */
inline_fn void run_pop(struct vcpu *v, const struct x86_insn *i, enum stack_kind kind,
		       unsigned size, x86_exec_fn *general)
{
	u64 value;

	if (!stack_peek(v, &value, size, kind)) {
		general(v, i);
		return;
	}
	stack_move(v, (i64)size, kind);
	gpr_set(v, i->op[0].reg, value, size);
}

#define PUSH_POP(name, general, kind, size, ...)                                        \
	static noinline_fn void push_r_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                               \
		run_push(v, i, PUSH_R, kind, size, push_r_##general);                   \
	}                                                                               \
	static noinline_fn void push_i_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                               \
		run_push(v, i, PUSH_I, kind, size, push_i_##general);                   \
	}                                                                               \
	static noinline_fn void push_m_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                               \
		run_push(v, i, PUSH_M, kind, size, push_m_##general);                   \
	}                                                                               \
	static noinline_fn void pop_r_##name(struct vcpu *v, const struct x86_insn *i)  \
	{                                                                               \
		run_pop(v, i, kind, size, pop_r_##general);                             \
	}
STACK_LIST(PUSH_POP, )

#define STACK_ENTRY(name, general, kind, size, op) [kind] = op##_##name,
static x86_exec_fn *const push_r_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, push_r) };
static x86_exec_fn *const push_i_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, push_i) };
static x86_exec_fn *const push_m_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, push_m) };
static x86_exec_fn *const pop_r_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, pop_r) };

/* RSP after it has been moved by delta bytes, without moving it. */
static u64 moved_sp(const struct x86_cpu *cpu, u64 delta)
{
	u64 mask = x86_sp_mask(cpu), sp = (cpu->gpr[RSP] + delta) & mask;

	return mask == 0xffff ? (cpu->gpr[RSP] & ~mask) | sp : sp;
}

/* An address formed with rSP uses its value after the pop. */
static void pop_m(struct vcpu *v, const struct x86_insn *i)
{
	u64 value = x86_peek(v, 0, i->opsize), sp = moved_sp(&v->cpu, i->opsize),
	    off = x86_ea(v, i);

	if (i->base == RSP)
		off = (off + sp - v->cpu.gpr[RSP]) & bits_mask(8u * i->addrsize);
	x86_write(v, x86_linear(v, i->seg, off, i->opsize, ACC_WRITE), value, i->opsize);
	v->cpu.gpr[RSP] = sp;
}

/* --- PUSHA, POPA ------------------------------------------------------------------------------ */

/* Linear address of the slot at RSP + delta, which may be negative. */
static gva_t slot_address(struct vcpu *v, u64 delta, unsigned size, enum x86_access acc)
{
	return x86_linear(v, SS, (v->cpu.gpr[RSP] + delta) & x86_sp_mask(&v->cpu), size, acc);
}

/* Faults as a write of the slot at RSP + delta would: alignment is looked at before the page is. */
static void probe_slot(struct vcpu *v, u64 delta, unsigned size)
{
	gva_t a = slot_address(v, delta, size, ACC_WRITE);

	if (a & (size - 1) && x86_alignment_checked(&v->cpu))
		x86_raise_error(v, EXC_AC, 0);
	x86_probe(v, a, size, ACC_WRITE);
}

static void pusha(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->opsize;
	u64 slot = 0;

	/* All eight first, so that a fault leaves nothing behind. */
	for (unsigned r = 0; r < 8; r++) {
		slot -= size;
		probe_slot(v, slot, size);
	}
	slot = 0;
	for (unsigned r = 0; r < 8; r++) {
		slot -= size;
		x86_write(v, slot_address(v, slot, size, ACC_WRITE),
			  v->cpu.gpr[r] & bits_mask(8 * size), size);
	}
	v->cpu.gpr[RSP] = moved_sp(&v->cpu, slot);
}

/* The saved SP is skipped. */
static void popa(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->opsize;
	u64 value[8];

	for (unsigned n = 0; n < 8; n++)
		value[7 - n] = x86_peek(v, n * size, size);
	for (unsigned r = 0; r < 8; r++)
		if (r != RSP)
			gpr_set(v, r, value[r], size);
	v->cpu.gpr[RSP] = moved_sp(&v->cpu, 8 * size);
}

/* --- ENTER, LEAVE ----------------------------------------------------------------------------- */

/* Registers change at the end; slots below the stack pointer may have been written when one faults,
 * as on the CPU. */
static void enter(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	unsigned size = i->opsize, level = i->imm2 & 31;
	u64 mask = x86_sp_mask(cpu), frame_slot = 0 - (u64)size, slot = frame_slot;
	u64 frame = moved_sp(cpu, frame_slot);

	x86_write(v, slot_address(v, slot, size, ACC_WRITE), cpu->gpr[RBP], size);
	for (unsigned n = 1; n < level; n++) {
		u64 bp = (cpu->gpr[RBP] - n * size) & mask;
		u64 outer = x86_read(v, x86_linear(v, SS, bp, size, ACC_READ), size);

		slot -= size;
		x86_write(v, slot_address(v, slot, size, ACC_WRITE), outer, size);
	}
	if (level > 0) {
		slot -= size;
		x86_write(v, slot_address(v, slot, size, ACC_WRITE), frame, size);
	}
	slot -= (u16)i->imm;
	/* The new top must be writable. */
	probe_slot(v, slot, size);
	cpu->gpr[RSP] = moved_sp(cpu, slot);
	gpr_set(v, RBP, frame, size);
}

static void leave(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	u64 bp = cpu->gpr[RBP] & x86_sp_mask(cpu);
	u64 value = x86_read(v, x86_linear(v, SS, bp, i->opsize, ACC_READ), i->opsize);

	x86_set_sp(cpu, bp + i->opsize);
	gpr_set(v, RBP, value, i->opsize);
}

/* The form that compilers use. */
static void leave_64(struct vcpu *v, const struct x86_insn *i)
{
	u64 bp = v->cpu.gpr[RBP];
	const u8 *p = tlb_hit(v, bp, 8, false);

	if (unlikely(!p)) {
		leave(v, i);
		return;
	}
	v->cpu.gpr[RSP] = bp + 8;
	v->cpu.gpr[RBP] = le_load(p, 8);
}

/* --- PUSHF, POPF ------------------------------------------------------------------------------ */

/* Virtual-8086 mode with IOPL below 3: only the 16-bit forms, and only with VME (SDM 3B 21.3). True
 * if they run so. */
static bool vme_flags(struct vcpu *v, unsigned size)
{
	if (!x86_v86(&v->cpu) || x86_iopl(&v->cpu) == 3)
		return false;
	if (size != 2 || !(v->cpu.cr4 & CR4_VME))
		x86_raise_gp0(v);
	return true;
}

static void pushf(struct vcpu *v, const struct x86_insn *i)
{
	u64 flags = x86_rflags(&v->cpu) & ~(FL_VM | FL_RF);

	if (vme_flags(v, i->opsize)) {
		flags |= FL_IOPL;
		flags = (flags & ~FL_IF) | (flags & FL_VIF ? FL_IF : 0);
	}
	x86_push(v, flags, i->opsize);
}

/* RFLAGS from the popped value where VIF stands for IF; raises #GP(0) if the monitor must see the
 * change. */
static u64 popf_vme(struct vcpu *v, u64 old, u64 value)
{
	u64 keep = ~0xffffull | FL_IF | FL_IOPL;

	if (value & FL_TF || (value & FL_IF && old & FL_VIP))
		x86_raise_gp0(v);
	old = (old & ~FL_VIF) | (value & FL_IF ? FL_VIF : 0);
	return (old & keep) | (value & ~keep);
}

static void popf(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	u64 old = x86_rflags(cpu), new;
	bool vme = vme_flags(v, i->opsize);
	u64 value = x86_peek(v, 0, i->opsize);

	if (vme) {
		new = popf_vme(v, old, value);
	} else {
		u64 keep = FL_VM | FL_VIF | FL_VIP;

		if (cpu->cpl > 0)
			keep |= FL_IOPL;
		if (cpu->cpl > x86_iopl(cpu))
			keep |= FL_IF;
		if (i->opsize == 2)
			keep |= ~0xffffull;
		new = (old & keep) | (value & ~keep);
	}
	x86_set_sp(cpu, cpu->gpr[RSP] + i->opsize);
	x86_set_rflags(cpu, new & ~FL_RF);
	if ((old ^ new) & (FL_TF | FL_AC))
		x86_mode_changed(v);
}

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_push(const struct x86_insn *i)
{
	switch (i->op[0].kind) {
	case OPK_GPR: return push_r_fns[stack_kind(i)];
	case OPK_IMM: return push_i_fns[stack_kind(i)];
	case OPK_MEM: return push_m_fns[stack_kind_mem(i)];
	default: return NULL;
	}
}

static x86_exec_fn *bind_pop(const struct x86_insn *i)
{
	if (i->op[0].kind == OPK_GPR)
		return pop_r_fns[stack_kind(i)];
	return i->op[0].kind == OPK_MEM ? pop_m : NULL;
}

x86_exec_fn *x86_bind_stack(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_PUSH: return bind_push(i);
	case ZYDIS_MNEMONIC_POP: return bind_pop(i);
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD: return pusha;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD: return popa;
	case ZYDIS_MNEMONIC_ENTER: return enter;
	case ZYDIS_MNEMONIC_LEAVE: return i->mode == 64 && i->opsize == 8 ? leave_64 : leave;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ: return pushf;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ: i->flags |= INSN_END; return popf;
	default: return NULL;
	}
}
