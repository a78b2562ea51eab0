/* Near JMP, CALL, RET, Jcc, LOOPcc, JCXZ (SDM 2). A target is checked before anything
 * changes: it must be canonical in 64-bit mode and within the limit of CS elsewhere. Every
 * function sets RIP. */
#include "x86/alu.h"
#include "x86/exec.h"
#include "x86/stack.h"

#include <Zydis/Zydis.h>

/* Address of the next instruction. size is the operand size: 8 means 64-bit mode. */
inline_fn u64 next_ip(const struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	u64 next = v->cpu.rip + i->len;

	return size == 8 ? next : (u32)next;
}

/* The target cut to the operand size; raises #GP(0) if execution cannot go on there. */
inline_fn u64 check_target(struct vcpu *v, u64 target, unsigned size)
{
	if (size == 8) {
		if (unlikely(!x86_canonical(target)))
			x86_raise_gp0(v);
		return target;
	}
	target = size == 4 ? (u32)target : (u16)target;
	if (unlikely(target > v->cpu.seg[CS].limit))
		x86_raise_gp0(v);
	return target;
}

/* --- Jcc, JMP --------------------------------------------------------------------------------- */

inline_fn void run_jump_if(struct vcpu *v, const struct x86_insn *i, bool taken, unsigned size)
{
	u64 rip = next_ip(v, i, size) + (taken ? i->imm : 0);

	/* One check for 64-bit mode, without a branch on the condition. */
	if (size == 8) {
		if (unlikely(!x86_canonical(rip)) && taken)
			x86_raise_gp0(v);
	} else if (taken) {
		rip = check_target(v, rip, size);
	}
	v->cpu.rip = rip;
}

#define SIZE_LIST(X, ...)     \
	X(16, 2, __VA_ARGS__) \
	X(32, 4, __VA_ARGS__) \
	X(64, 8, __VA_ARGS__)

#define JCC(bits, size, n, cond)                                               \
	static void j##cond##_##bits(struct vcpu *v, const struct x86_insn *i) \
	{                                                                      \
		run_jump_if(v, i, cc_test(v->cpu.cc, n), size);                \
	}
#define JCCS(n, cond, ...) SIZE_LIST(JCC, n, cond)
CONDITIONS(JCCS, )

#define JCC_ENTRY(bits, size, cond) j##cond##_##bits,
#define JCC_ENTRIES(n, cond, ...)   { SIZE_LIST(JCC_ENTRY, cond) },
static x86_exec_fn *const jcc_fns[16][3] = { CONDITIONS(JCC_ENTRIES, ) };

#define JMP(bits, size, ...)                                                     \
	static void jmp_##bits(struct vcpu *v, const struct x86_insn *i)         \
	{                                                                        \
		run_jump_if(v, i, true, size);                                   \
	}                                                                        \
	static void jmp_r_##bits(struct vcpu *v, const struct x86_insn *i)       \
	{                                                                        \
		v->cpu.rip = check_target(v, reg_get(v, &i->op[0], size), size); \
	}
SIZE_LIST(JMP, )

static x86_exec_fn *const jmp_fns[3] = { jmp_16, jmp_32, jmp_64 };
static x86_exec_fn *const jmp_r_fns[3] = { jmp_r_16, jmp_r_32, jmp_r_64 };

#define JMP_M(name, general, kind, size, ...)                                                   \
	static void jmp_m_##name(struct vcpu *v, const struct x86_insn *i)                      \
	{                                                                                       \
		const enum addr_kind ak = stack_addr_kind(kind);                                \
		struct mem_ref m;                                                               \
                                                                                                \
		if (mem_open(v, i, &m, size, ACC_READ, ak))                                     \
			v->cpu.rip = check_target(v, mem_get(v, &m, size, ACC_READ, ak), size); \
		else                                                                            \
			jmp_m_##general(v, i);                                                  \
	}
STACK_LIST(JMP_M, )

/* --- LOOP, JCXZ ------------------------------------------------------------------------------- */

static u64 cut(u64 value, unsigned size) { return value & bits_mask(8 * size); }

/* The counter changes only if the jump does not fault. cond: 4 or 5 for LOOPE and LOOPNE, else
 * below zero. */
inline_fn void run_loop(struct vcpu *v, const struct x86_insn *i, int cond)
{
	u64 count = cut(v->cpu.gpr[RCX] - 1, i->addrsize);
	bool taken = count != 0 && (cond < 0 || cc_test(v->cpu.cc, (unsigned)cond));
	u64 rip = next_ip(v, i, i->opsize);

	v->cpu.rip = taken ? check_target(v, rip + i->imm, i->opsize) : rip;
	gpr_set(v, RCX, count, i->addrsize);
}

static void loop(struct vcpu *v, const struct x86_insn *i) { run_loop(v, i, -1); }

static void loope(struct vcpu *v, const struct x86_insn *i) { run_loop(v, i, 4); }

static void loopne(struct vcpu *v, const struct x86_insn *i) { run_loop(v, i, 5); }

static void jcxz(struct vcpu *v, const struct x86_insn *i)
{
	u64 rip = next_ip(v, i, i->opsize);

	v->cpu.rip = cut(v->cpu.gpr[RCX], i->addrsize) ? rip
						       : check_target(v, rip + i->imm, i->opsize);
}

/* --- CALL, RET -------------------------------------------------------------------------------- */

enum call_form { CALL_REL, CALL_R, CALL_M };

inline_fn void run_call(struct vcpu *v, const struct x86_insn *i, enum call_form form,
			enum stack_kind kind, unsigned size, x86_exec_fn *general)
{
	const enum addr_kind ak = stack_addr_kind(kind);
	u64 next = next_ip(v, i, size), target;
	struct mem_ref m;

	if (form == CALL_M && !mem_open(v, i, &m, size, ACC_READ, ak)) {
		general(v, i);
		return;
	}
	if (form == CALL_M)
		target = mem_get(v, &m, size, ACC_READ, ak);
	else
		target = form == CALL_R ? reg_get(v, &i->op[0], size) : next + i->imm;
	target = check_target(v, target, size);
	if (stack_push(v, next, size, kind))
		v->cpu.rip = target;
	else
		general(v, i);
}

/* RET, or RET n: the n bytes go after the return address has been taken. */
inline_fn void run_ret(struct vcpu *v, const struct x86_insn *i, bool release, enum stack_kind kind,
		       unsigned size, x86_exec_fn *general)
{
	u64 target;

	if (!stack_peek(v, &target, size, kind)) {
		general(v, i);
		return;
	}
	v->cpu.rip = check_target(v, target, size);
	stack_move(v, (i64)size + (release ? (i64)(u16)i->imm : 0), kind);
}

/* Not inlined into each other: the fast ones are to stay small. */
#define CALL_RET(name, general, kind, size, ...)                                        \
	static noinline_fn void call_##name(struct vcpu *v, const struct x86_insn *i)   \
	{                                                                               \
		run_call(v, i, CALL_REL, kind, size, call_##general);                   \
	}                                                                               \
	static noinline_fn void call_r_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                               \
		run_call(v, i, CALL_R, kind, size, call_r_##general);                   \
	}                                                                               \
	static noinline_fn void call_m_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                               \
		run_call(v, i, CALL_M, kind, size, call_m_##general);                   \
	}                                                                               \
	static void ret_##name(struct vcpu *v, const struct x86_insn *i)                \
	{                                                                               \
		run_ret(v, i, false, kind, size, ret_##general);                        \
	}                                                                               \
	static void ret_n_##name(struct vcpu *v, const struct x86_insn *i)              \
	{                                                                               \
		run_ret(v, i, true, kind, size, ret_n_##general);                       \
	}
STACK_LIST(CALL_RET, )

#define STACK_ENTRY(name, general, kind, size, op) [kind] = op##_##name,
static x86_exec_fn *const jmp_m_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, jmp_m) };
static x86_exec_fn *const call_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, call) };
static x86_exec_fn *const call_r_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, call_r) };
static x86_exec_fn *const call_m_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, call_m) };
static x86_exec_fn *const ret_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, ret) };
static x86_exec_fn *const ret_n_fns[STACK_KINDS] = { STACK_LIST(STACK_ENTRY, ret_n) };

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_jmp(const struct x86_insn *i, unsigned size)
{
	switch (i->op[0].kind) {
	case OPK_REL: return jmp_fns[size];
	case OPK_GPR: return jmp_r_fns[size];
	default: return jmp_m_fns[stack_kind_mem(i)];
	}
}

static x86_exec_fn *bind_call(const struct x86_insn *i)
{
	switch (i->op[0].kind) {
	case OPK_REL: return call_fns[stack_kind(i)];
	case OPK_GPR: return call_r_fns[stack_kind(i)];
	default: return call_m_fns[stack_kind_mem(i)];
	}
}

static x86_exec_fn *bind(const struct x86_insn *i, const ZydisDecodedInstruction *z)
{
	unsigned size = size_index(i->opsize) - 1;

	if (z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return NULL;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_JMP: return bind_jmp(i, size);
	case ZYDIS_MNEMONIC_CALL: return bind_call(i);
	case ZYDIS_MNEMONIC_RET: return (i->nops ? ret_n_fns : ret_fns)[stack_kind(i)];
	case ZYDIS_MNEMONIC_LOOP: return loop;
	case ZYDIS_MNEMONIC_LOOPE: return loope;
	case ZYDIS_MNEMONIC_LOOPNE: return loopne;
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ: return jcxz;
	default: break;
	}
	/* Jcc: 70 to 7F and 0F 80 to 0F 8F. */
	if (z->meta.category == ZYDIS_CATEGORY_COND_BR &&
	    (z->opcode >> 4 == 7 || z->opcode >> 4 == 8))
		return jcc_fns[z->opcode & 15][size];
	return NULL;
}

x86_exec_fn *x86_bind_branch(struct x86_insn *i, const struct x86_zydis *z)
{
	/* JKZD and JKNZD of Knights Corner have VEX encodings, which the decoder takes. */
	x86_exec_fn *fn = z->insn->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? bind(i, z->insn)
										 : NULL;

	if (fn)
		i->flags |= INSN_BRANCH;
	return fn;
}
