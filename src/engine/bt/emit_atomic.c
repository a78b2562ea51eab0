/* xchg xadd cmpxchg cmpxchg8b cmpxchg16b. */
#include "engine/bt/tr.h"

#include "x86/cpuid.h"

#include <Zydis/Zydis.h>

/* Part of a register from a scratch register other than RAX, which is used. */
static void set_part(struct tr *t, const struct x86_operand *o, unsigned from)
{
	if (o->kind == OPK_GPR_HIGH)
		tr_done_byte(t, o, from, H_RAX);
	else if (o->size >= 4 && bt_home[o->reg] == H_NONE)
		as_store(&t->a, 8, tr_rm(o->reg), from); /* its upper half is zero */
	else if (o->size >= 4)
		as_mov(&t->a, o->size, bt_home[o->reg], from);
	else
		as_store(&t->a, o->size, tr_rm(o->reg), from);
}

static bool xchg_mem(struct tr *t, const struct x86_operand *s)
{
	unsigned size = s->size, reg;
	struct tr_mem m;

	if (!tr_mem(t, &m, size, TR_WRITE))
		return false;
	if (t->bt->threads) {
		if (s->kind == OPK_GPR_HIGH)
			tr_mem_pin(t, &m);
		reg = tr_use_op(t, s, H_RCX);
		as_op(&t->a, 0, 0x86 | (size > 1), size, reg, m.rm);
		tr_done_op(t, s, reg, H_RAX);
		return true;
	}
	/* XCHG with memory locks of itself: two moves do not. */
	if (s->kind == OPK_GPR_HIGH || bt_home[s->reg] == H_NONE)
		tr_mem_pin(t, &m);
	reg = tr_use_op(t, s, H_RAX);
	as_loadz(&t->a, size, H_RCX, m.rm);
	as_store(&t->a, size, m.rm, reg);
	set_part(t, s, H_RCX);
	return true;
}

static bool emit_xchg(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned a, b;

	if (d->kind == OPK_MEM)
		return xchg_mem(t, s);
	if (s->kind == OPK_MEM)
		return xchg_mem(t, d);
	a = tr_use_op(t, d, H_RCX);
	b = tr_use_op(t, s, H_RDX);
	as_op(&t->a, 0, 0x86 | (d->size > 1), d->size, a, rm_reg(b));
	tr_done_op(t, d, a, H_RAX);
	tr_done_op(t, s, b, H_RAX);
	return true;
}

static bool emit_xadd(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned op = MAP_0F | 0xc0 | (d->size > 1), to = H_NONE, from;
	struct tr_mem m;

	if (d->kind == OPK_MEM) {
		if (!tr_mem(t, &m, d->size, TR_WRITE))
			return false;
	} else {
		to = tr_use_op(t, d, H_RDX);
		m.rm = rm_reg(to);
	}
	from = tr_use_op(t, s, H_RCX);
	tr_lock(t);
	as_op(&t->a, 0, op, d->size, from, m.rm);
	/* The source first: if both are one register, the sum stays. */
	tr_done_op(t, s, from, H_RAX);
	if (to != H_NONE)
		tr_done_op(t, d, to, H_RAX);
	return true;
}

static bool emit_cmpxchg(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned op = MAP_0F | 0xb0 | (d->size > 1), to = H_NONE, from;
	struct tr_mem m;

	if (d->kind == OPK_MEM) {
		if (!tr_mem(t, &m, d->size, TR_WRITE))
			return false;
		tr_mem_pin(t, &m);
	} else {
		/* A copy of RAX as the destination too: it is written last. */
		to = d->reg == RAX ? H_RDX : tr_use_op(t, d, H_RDX);
		if (to == H_RDX && d->reg == RAX) {
			if (d->kind == OPK_GPR_HIGH)
				as_rorx(&t->a, false, H_RDX, bt_home[RAX], 8);
			else
				as_mov(&t->a, 8, H_RDX, bt_home[RAX]);
		}
		m.rm = rm_reg(to);
	}
	from = tr_use_op(t, s, H_RCX);
	as_mov(&t->a, 8, H_RAX, bt_home[RAX]);
	tr_lock(t);
	as_op(&t->a, 0, op, d->size, from, m.rm);
	as_mov(&t->a, 8, bt_home[RAX], H_RAX);
	if (to == H_NONE)
		return true;
	if (d->reg == RAX && d->kind == OPK_GPR)
		as_mov(&t->a, 8, bt_home[RAX], H_RDX);
	else
		tr_done_op(t, d, to, H_RAX);
	return true;
}

/* All scratch registers are operands, so the address goes into the home of RCX, whose value is meanwhile in RCX: nothing may fault
 * then. Loading from the address shows that it does not, but for the alignment that CMPXCHG16B wants. */
static bool emit_cmpxchg_wide(struct tr *t)
{
	bool wide = t->i->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B;
	struct as *a = &t->a;
	struct tr_mem m;

	if (wide && !cpuid_bit(t->bt->vm, CPUID_CX16))
		return false;
	if (!tr_mem(t, &m, wide ? 16 : 8, TR_WRITE))
		return false;
	tr_mem_pin(t, &m);
	if (wide) {
		as_mov_imm(a, H_RAX, 60);
		as_shlx(a, H_RCX, H_RDX, H_RAX);

		u8 *aligned = as_jrcxz(a);

		tr_slow_jmp(t);
		as_short_here(a, aligned);
	}
	as_load(a, 8, H_RCX, m.rm);
	as_mov(a, 8, H_RCX, bt_home[RCX]);
	as_mov(a, 8, bt_home[RCX], H_RDX);
	as_mov(a, 8, H_RAX, bt_home[RAX]);
	as_mov(a, 8, H_RDX, bt_home[RDX]);
	tr_lock(t);
	as_op(a, 0, MAP_0F | 0xc7, wide ? 8 : 4, 1, rm_mem(bt_home[RCX], 0));
	as_mov(a, 8, bt_home[RCX], H_RCX);
	as_mov(a, 8, bt_home[RAX], H_RAX);
	as_mov(a, 8, bt_home[RDX], H_RDX);
	return true;
}

void emit_atomic_init(struct bt *bt)
{
	bt->emit[ZYDIS_MNEMONIC_XCHG] = emit_xchg;
	bt->emit[ZYDIS_MNEMONIC_XADD] = emit_xadd;
	bt->emit[ZYDIS_MNEMONIC_CMPXCHG] = emit_cmpxchg;
	bt->emit[ZYDIS_MNEMONIC_CMPXCHG8B] = emit_cmpxchg_wide;
	bt->emit[ZYDIS_MNEMONIC_CMPXCHG16B] = emit_cmpxchg_wide;
}
