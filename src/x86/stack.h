/* Pushes and pops for the handlers of PUSH, POP, CALL and RET: templates like those of
 * operand.h. */
#ifndef X86_STACK_H
#define X86_STACK_H

#include "x86/operand.h"

/* How a slot is reached. The two fast kinds are for the modes' own slot size; when they cannot be
 * used the handler jumps to its twin of the same slot size that does all checks. */
enum stack_kind {
	STACK_16,
	STACK_32,
	STACK_64,
	STACK_FAST_32, /* 32-bit code; works if SS is a plain 4 GiB segment with B set */
	STACK_FAST_64, /* 64-bit mode */
	STACK_KINDS
};

/* Calls X(name, general, kind, slot size, ...) for each; generals first. */
#define STACK_LIST(X, ...)                            \
	X(16, 16, STACK_16, 2, __VA_ARGS__)           \
	X(32, 32, STACK_32, 4, __VA_ARGS__)           \
	X(64, 64, STACK_64, 8, __VA_ARGS__)           \
	X(fast_32, 32, STACK_FAST_32, 4, __VA_ARGS__) \
	X(fast_64, 64, STACK_FAST_64, 8, __VA_ARGS__)

inline_fn enum stack_kind stack_kind(const struct x86_insn *i)
{
	switch (i->opsize) {
	case 8: return STACK_FAST_64;
	case 4: return i->mode == 32 ? STACK_FAST_32 : STACK_32;
	default: return STACK_16;
	}
}

/* The same for an instruction that also has a memory operand: fast only if that is. */
inline_fn enum stack_kind stack_kind_mem(const struct x86_insn *i)
{
	enum stack_kind kind = stack_kind(i);

	if (kind >= STACK_FAST_32 && addr_kind(i) == ADDR_ANY)
		return kind == STACK_FAST_64 ? STACK_64 : STACK_32;
	return kind;
}

/* The kind of address that goes with a kind of stack in such a handler. */
inline_fn enum addr_kind stack_addr_kind(enum stack_kind kind)
{
	return kind == STACK_FAST_64 ? ADDR_64 : kind == STACK_FAST_32 ? ADDR_32 : ADDR_ANY;
}

/* Host address of the slot at RSP + delta, or NULL. Fast kinds only. */
inline_fn u8 *stack_hit(struct vcpu *v, i64 delta, unsigned size, bool write, enum stack_kind kind)
{
	u64 sp = v->cpu.gpr[RSP] + (u64)delta;
	const struct x86_seg *s = &v->cpu.seg[SS];

	if (kind == STACK_FAST_64)
		return tlb_hit(v, sp, size, write);
	return likely(seg_plain(s) && (s->ar & AR_DB))
		       ? tlb_hit(v, (u32)(sp + s->base), size, write)
		       : NULL;
}

/* Moves the stack pointer by delta bytes. */
inline_fn void stack_move(struct vcpu *v, i64 delta, enum stack_kind kind)
{
	u64 sp = v->cpu.gpr[RSP] + (u64)delta;

	if (kind == STACK_FAST_64)
		v->cpu.gpr[RSP] = sp;
	else if (kind == STACK_FAST_32)
		v->cpu.gpr[RSP] = (u32)sp;
	else
		x86_set_sp(&v->cpu, sp);
}

/* False: nothing has happened, the twin is to do it. */
inline_fn bool stack_push(struct vcpu *v, u64 value, unsigned size, enum stack_kind kind)
{
	if (kind < STACK_FAST_32) {
		x86_push(v, value, size);
		return true;
	}

	u8 *p = stack_hit(v, -(i64)size, size, true, kind);

	if (unlikely(!p))
		return false;
	le_store(p, value, size);
	stack_move(v, -(i64)size, kind);
	return true;
}

/* Reads the slot at the top and leaves the stack pointer to the caller. */
inline_fn bool stack_peek(struct vcpu *v, u64 *value, unsigned size, enum stack_kind kind)
{
	if (kind < STACK_FAST_32) {
		*value = x86_peek(v, 0, size);
		return true;
	}

	const u8 *p = stack_hit(v, 0, size, false, kind);

	if (unlikely(!p))
		return false;
	*value = le_load(p, size);
	return true;
}

#endif
