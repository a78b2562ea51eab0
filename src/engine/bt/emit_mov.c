/* mov movzx movsx movsxd movnti lea xlat movbe bswap cbw..cqo nop prefetch, push and pop. */
#include "engine/bt/tr.h"

#include "x86/cpuid.h"

#include <Zydis/Zydis.h>

static bool mov_store(struct tr *t, unsigned size)
{
	const struct x86_operand *s = &t->i->op[1];
	struct tr_mem m;

	if (!tr_mem(t, &m, size, TR_WRITE))
		return false;
	if (s->kind == OPK_IMM)
		as_store_imm(&t->a, size, m.rm, t->i->imm);
	else
		as_store(&t->a, size, m.rm, tr_use_op(t, s, H_RCX));
	return true;
}

static bool mov_load(struct tr *t, const struct x86_operand *d)
{
	struct tr_mem m;
	unsigned to;

	if (!tr_mem(t, &m, d->size, TR_READ))
		return false;
	if (d->size >= 4) {
		to = tr_def(d->reg, H_RCX);
		as_load(&t->a, d->size, to, m.rm);
		tr_done(t, d->reg, to);
		return true;
	}
	if (d->size == 1 && d->kind == OPK_GPR_HIGH) {
		as_load(&t->a, 1, H_RCX, m.rm);
		tr_done_op(t, d, H_RCX, H_RDX);
		return true;
	}
	to = tr_use(t, d->reg, H_RCX);
	as_load(&t->a, d->size, to, m.rm);
	tr_done(t, d->reg, to);
	return true;
}

static bool emit_mov(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned size = d->size, to;

	if (d->kind == OPK_MEM &&
	    (s->kind == OPK_IMM || s->kind == OPK_GPR || s->kind == OPK_GPR_HIGH))
		return mov_store(t, size);
	if (d->kind != OPK_GPR && d->kind != OPK_GPR_HIGH)
		return false;
	if (s->kind == OPK_MEM)
		return mov_load(t, d);
	if (s->kind == OPK_IMM) {
		if (size >= 4) {
			to = tr_def(d->reg, H_RCX);
			if (!tr_live_imm(t))
				as_mov_imm(&t->a, to, size == 4 ? (u32)t->i->imm : t->i->imm);
			else if (size == 8 && t->live[t->k] == 4)
				as_op(&t->a, 0, 0x63, 8, to, rm_mem(H_RDX, 0)); /* movsxd */
			else
				as_load(&t->a, size, to, rm_mem(H_RDX, 0));
			tr_done(t, d->reg, to);
			return true;
		}
		if (d->kind == OPK_GPR_HIGH)
			to = H_RCX;
		else
			to = tr_use(t, d->reg, H_RCX);
		as_store_imm(&t->a, size, rm_reg(to), t->i->imm);
		tr_done_op(t, d, to, H_RDX);
		return true;
	}
	if (s->kind != OPK_GPR && s->kind != OPK_GPR_HIGH)
		return false;
	if (size >= 4) {
		unsigned from = tr_use(t, s->reg, H_RDX);

		to = tr_def(d->reg, H_RCX);
		as_mov(&t->a, size, to, from);
		tr_done(t, d->reg, to);
		return true;
	}
	unsigned from = tr_use_op(t, s, H_RDX);

	to = tr_use_op(t, d, H_RCX);
	as_op(&t->a, 0, 0x8a | (size > 1), size, to, rm_reg(from));
	tr_done_op(t, d, to, H_RAX);
	return true;
}

/* MOVZX, MOVSX, MOVSXD. */
static bool emit_extend(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned op, to;
	struct tr_mem m;

	switch (t->i->mnemonic) {
	case ZYDIS_MNEMONIC_MOVZX: op = MAP_0F | 0xb6; break;
	case ZYDIS_MNEMONIC_MOVSX: op = MAP_0F | 0xbe; break;
	default: op = 0x63; break;
	}
	if (op != 0x63)
		op |= s->size > 1;
	if (s->kind == OPK_MEM) {
		if (!tr_mem(t, &m, s->size, TR_READ))
			return false;
	} else {
		unsigned from = tr_use_op(t, s, H_RDX);

		/* As an r/m byte register it needs a REX prefix that the operand size does not ask for. */
		if (s->size == 1 && from >= 4 && from < 8) {
			as_mov(&t->a, 4, H_RDX, from);
			from = H_RDX;
		}
		m.rm = rm_reg(from);
	}
	to = d->size == 2 ? tr_use(t, d->reg, H_RCX) : tr_def(d->reg, H_RCX);
	as_op(&t->a, 0, op, d->size, to, m.rm);
	tr_done(t, d->reg, to);
	return true;
}

static bool emit_lea(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0];
	unsigned to;

	if (d->size == 2) {
		if (!tr_ea(t, H_RAX))
			return false;
		to = tr_use(t, d->reg, H_RCX);
		as_op(&t->a, 0, 0x8b, 2, to, rm_reg(H_RAX));
		tr_done(t, d->reg, to);
		return true;
	}
	to = tr_def(d->reg, H_RDX);
	if (!tr_ea(t, to))
		return false;
	/* RIP-relative addresses come whole. */
	if (d->size == 4 && t->i->base == RIP_IDX)
		as_mov(&t->a, 4, to, to);
	tr_done(t, d->reg, to);
	return true;
}

static void swap_bytes(struct tr *t, unsigned size, unsigned reg)
{
	if (size == 8 || reg & 8)
		as_byte(&t->a, 0x40 | (size == 8 ? 8u : 0) | (reg & 8 ? 1u : 0));
	as_byte(&t->a, 0x0f);
	as_byte(&t->a, 0xc8 | (reg & 7));
}

static bool emit_bswap(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0];
	unsigned to;

	if (d->size == 2)
		return false;
	to = tr_use(t, d->reg, H_RCX);
	swap_bytes(t, d->size, to);
	tr_done(t, d->reg, to);
	return true;
}

/* With BSWAP, which every host has; 16 bits are the upper ones of 32 swapped. */
static bool emit_movbe(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned size = d->size, to;
	struct tr_mem m;

	if (!cpuid_bit(t->bt->vm, CPUID_MOVBE) || s->kind == d->kind ||
	    !tr_mem(t, &m, size, d->kind == OPK_MEM ? TR_WRITE : TR_READ))
		return false;
	if (d->kind == OPK_MEM)
		as_load(&t->a, 8, H_RCX, tr_rm(s->reg));
	else
		as_loadz(&t->a, size, H_RCX, m.rm);
	swap_bytes(t, size == 8 ? 8 : 4, H_RCX);
	if (size == 2)
		as_rorx(&t->a, false, H_RCX, H_RCX, 16);
	if (d->kind == OPK_MEM) {
		as_store(&t->a, size, m.rm, H_RCX);
		return true;
	}
	to = size == 2 ? tr_use(t, d->reg, H_RDX) : tr_def(d->reg, H_RDX);
	as_mov(&t->a, size, to, H_RCX);
	tr_done(t, d->reg, to);
	return true;
}

static bool emit_xlat(struct tr *t)
{
	struct tr_mem m;

	if (t->i->addrsize == 2)
		return false;
	as_loadz(&t->a, 1, H_RCX, rm_reg(bt_home[RAX]));
	as_lea(&t->a, t->i->addrsize, H_RAX, rm_index(bt_home[RBX], H_RCX, 0, 0));
	if (!tr_mem_at_rax(t, &m, 1, TR_READ))
		return false;
	as_load(&t->a, 1, bt_home[RAX], m.rm);
	return true;
}

/* CBW CWDE CDQE: RAX from its lower half. */
static bool emit_widen(struct tr *t)
{
	unsigned rax = bt_home[RAX];

	switch (t->i->mnemonic) {
	case ZYDIS_MNEMONIC_CBW: as_op(&t->a, 0, MAP_0F | 0xbe, 2, rax, rm_reg(rax)); break;
	case ZYDIS_MNEMONIC_CWDE: as_op(&t->a, 0, MAP_0F | 0xbf, 4, rax, rm_reg(rax)); break;
	default: as_op(&t->a, 0, 0x63, 8, rax, rm_reg(rax)); break;
	}
	return true;
}

/* CWD CDQ CQO: RDX from the sign of RAX. */
static bool emit_sign(struct tr *t)
{
	unsigned size = t->i->mnemonic == ZYDIS_MNEMONIC_CWD   ? 2
			: t->i->mnemonic == ZYDIS_MNEMONIC_CDQ ? 4
							       : 8;

	as_mov(&t->a, 8, H_RAX, bt_home[RAX]);
	if (size == 2)
		as_byte(&t->a, 0x66);
	else if (size == 8)
		as_byte(&t->a, 0x48);
	as_byte(&t->a, 0x99);
	as_op(&t->a, 0, 0x8b, size, bt_home[RDX], rm_reg(H_RDX));
	return true;
}

/* 0F 0D with a register is #UD on some processors: C knows. */
static bool emit_nop(struct tr *t) { return !t->i->nops || t->i->op[0].kind == OPK_MEM; }

static bool emit_push(struct tr *t)
{
	const struct x86_operand *s = &t->i->op[0];
	unsigned size = t->i->opsize;
	struct as *a = &t->a;
	unsigned sp = bt_home[RSP];
	struct tr_mem m;

	if (size * 8u != t->mode || s->kind == OPK_SEG)
		return false;
	if (s->kind == OPK_MEM) {
		if (!tr_mem(t, &m, size, TR_READ))
			return false;
		as_load(a, size, H_RAX, m.rm);
	}
	if (!tr_stack(t, &m, RSP, -(i32)size, size, TR_WRITE))
		return false;
	if (s->kind == OPK_IMM)
		as_store_imm(a, size, m.rm, t->i->imm);
	else
		as_store(a, size, m.rm, s->kind == OPK_MEM ? H_RAX : tr_use(t, s->reg, H_RCX));
	as_lea(a, size, sp, rm_mem(sp, -(i32)size));
	return true;
}

static bool emit_pop(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0];
	unsigned size = t->i->opsize, to;
	unsigned sp = bt_home[RSP];
	struct tr_mem m;

	if (size * 8u != t->mode || d->kind != OPK_GPR)
		return false;
	if (!tr_stack(t, &m, RSP, 0, size, TR_READ))
		return false;
	to = tr_def(d->reg, H_RCX);
	as_load(&t->a, size, to, m.rm);
	tr_done(t, d->reg, to);
	if (d->reg != RSP)
		as_lea(&t->a, size, sp, rm_mem(sp, (i32)size));
	return true;
}

/* RSP from RBP, which is popped. */
static bool emit_leave(struct tr *t)
{
	unsigned size = t->i->opsize, sp = bt_home[RSP], bp = bt_home[RBP];
	struct tr_mem m;

	if (size * 8u != t->mode || !tr_stack(t, &m, RBP, 0, size, TR_READ))
		return false;
	as_lea(&t->a, size, sp, rm_mem(bp, (i32)size));
	as_load(&t->a, size, bp, m.rm);
	return true;
}

void emit_mov_init(struct bt *bt)
{
	static const struct {
		u16 mnemonic;
		bt_emit_fn *fn;
	} rows[] = {
		{ ZYDIS_MNEMONIC_MOV, emit_mov },         { ZYDIS_MNEMONIC_MOVZX, emit_extend },
		{ ZYDIS_MNEMONIC_MOVSX, emit_extend },    { ZYDIS_MNEMONIC_MOVSXD, emit_extend },
		{ ZYDIS_MNEMONIC_LEA, emit_lea },         { ZYDIS_MNEMONIC_XLAT, emit_xlat },
		{ ZYDIS_MNEMONIC_BSWAP, emit_bswap },     { ZYDIS_MNEMONIC_CBW, emit_widen },
		{ ZYDIS_MNEMONIC_CWDE, emit_widen },      { ZYDIS_MNEMONIC_CDQE, emit_widen },
		{ ZYDIS_MNEMONIC_CWD, emit_sign },        { ZYDIS_MNEMONIC_CDQ, emit_sign },
		{ ZYDIS_MNEMONIC_CQO, emit_sign },        { ZYDIS_MNEMONIC_NOP, emit_nop },
		{ ZYDIS_MNEMONIC_ENDBR64, emit_nop },     { ZYDIS_MNEMONIC_ENDBR32, emit_nop },
		{ ZYDIS_MNEMONIC_PUSH, emit_push },       { ZYDIS_MNEMONIC_POP, emit_pop },
		{ ZYDIS_MNEMONIC_LEAVE, emit_leave },     { ZYDIS_MNEMONIC_MOVBE, emit_movbe },
		{ ZYDIS_MNEMONIC_MOVNTI, emit_mov },      { ZYDIS_MNEMONIC_PREFETCH, emit_nop },
		{ ZYDIS_MNEMONIC_PREFETCHNTA, emit_nop }, { ZYDIS_MNEMONIC_PREFETCHT0, emit_nop },
		{ ZYDIS_MNEMONIC_PREFETCHT1, emit_nop },  { ZYDIS_MNEMONIC_PREFETCHT2, emit_nop },
		{ ZYDIS_MNEMONIC_PREFETCHW, emit_nop },   { ZYDIS_MNEMONIC_PREFETCHWT1, emit_nop },
	};

	for (unsigned n = 0; n < ARRAY_LEN(rows); n++)
		bt->emit[rows[n].mnemonic] = rows[n].fn;
}
