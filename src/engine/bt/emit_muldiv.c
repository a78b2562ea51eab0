/* mul imul div idiv. A division that faults on the host leaves the homes as they were, and is done again in C, which raises #DE. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

/* A divisor of 0 is for C without a fault on the host, which costs a signal. Leaves it zero-extended in RCX. */
static void check_divisor(struct tr *t, unsigned from, unsigned size)
{
	u8 *zero, *over;

	as_loadz(&t->a, size, H_RCX, rm_reg(from));
	zero = as_jrcxz(&t->a);
	over = as_jmp(&t->a);
	as_short_here(&t->a, zero);
	tr_slow_jmp(t);
	as_patch_here(&t->a, over);
}

/* rDX:rAX by one operand. All of RAX and RDX goes in and out, so that what the operand size leaves of them is left. */
static bool emit_wide(struct tr *t)
{
	const struct x86_operand *s = &t->i->op[0];
	unsigned digit, from = H_RCX, size = s->size;
	struct tr_mem m;

	switch (t->i->mnemonic) {
	case ZYDIS_MNEMONIC_MUL: digit = 4; break;
	case ZYDIS_MNEMONIC_IMUL: digit = 5; break;
	case ZYDIS_MNEMONIC_DIV: digit = 6; break;
	default: digit = 7; break;
	}
	if (s->kind == OPK_MEM) {
		if (!tr_mem(t, &m, size, TR_READ))
			return false;
		as_load(&t->a, size, H_RCX, m.rm);
	} else {
		from = tr_use_op(t, s, H_RCX);
	}
	if (digit >= 6) {
		check_divisor(t, from, size);
		from = H_RCX;
	}
	as_mov(&t->a, 8, H_RAX, bt_home[RAX]);
	if (size > 1)
		as_mov(&t->a, 8, H_RDX, bt_home[RDX]);
	as_op(&t->a, 0, 0xf6 | (size > 1), size, digit, rm_reg(from));
	as_mov(&t->a, 8, bt_home[RAX], H_RAX);
	if (size > 1)
		as_mov(&t->a, 8, bt_home[RDX], H_RDX);
	return true;
}

static bool fits_i8(i64 imm) { return imm >= -128 && imm <= 127; }

/* Two operands, or three. */
static bool emit_imul(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned size = d->size, to;
	i64 imm = bits_sext(t->i->imm, 8 * size);
	struct tr_mem m;

	if (t->i->nops == 1)
		return emit_wide(t);
	if (s->kind == OPK_MEM) {
		if (!tr_mem(t, &m, size, TR_READ))
			return false;
	} else {
		m.rm = tr_rm(s->reg);
	}
	if (t->i->nops == 2) {
		to = tr_use(t, d->reg, H_RCX);
		as_op(&t->a, 0, MAP_0F | 0xaf, size, to, m.rm);
	} else {
		to = size == 2 ? tr_use(t, d->reg, H_RCX) : tr_def(d->reg, H_RCX);
		as_op(&t->a, 0, fits_i8(imm) ? 0x6b : 0x69, size, to, m.rm);
		as_imm(&t->a, (u64)imm, fits_i8(imm) ? 1 : size);
	}
	tr_done(t, d->reg, to);
	return true;
}

void emit_muldiv_init(struct bt *bt)
{
	bt->emit[ZYDIS_MNEMONIC_MUL] = emit_wide;
	bt->emit[ZYDIS_MNEMONIC_DIV] = emit_wide;
	bt->emit[ZYDIS_MNEMONIC_IDIV] = emit_wide;
	bt->emit[ZYDIS_MNEMONIC_IMUL] = emit_imul;
}
