/* shl shr sar rol ror rcl rcr shld shrd. The host wants a count in CL, which is scratch: the guest's is copied there when the operand
 * is at hand. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

static unsigned shift_digit(u16 mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_ROL: return 0;
	case ZYDIS_MNEMONIC_ROR: return 1;
	case ZYDIS_MNEMONIC_RCL: return 2;
	case ZYDIS_MNEMONIC_RCR: return 3;
	case ZYDIS_MNEMONIC_SHL: return 4;
	case ZYDIS_MNEMONIC_SHR: return 5;
	default: return 7; /* SAR */
	}
}

static bool emit_shift(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0];
	unsigned size = d->size, digit = shift_digit(t->i->mnemonic), to = H_NONE;
	struct tr_mem m;

	if (d->kind == OPK_MEM) {
		if (!tr_mem(t, &m, size, TR_WRITE))
			return false;
	} else {
		to = tr_use_op(t, d, H_RDX);
		m.rm = rm_reg(to);
	}
	if (t->i->op[1].kind != OPK_IMM) {
		as_mov(&t->a, 4, H_RCX, bt_home[RCX]);
		as_op(&t->a, 0, 0xd2 | (size > 1), size, digit, m.rm);
	} else if (t->i->imm == 1) {
		as_op(&t->a, 0, 0xd0 | (size > 1), size, digit, m.rm);
	} else {
		as_op(&t->a, 0, 0xc0 | (size > 1), size, digit, m.rm);
		as_imm(&t->a, t->i->imm, 1);
	}
	if (to != H_NONE)
		tr_done_op(t, d, to, H_RAX);
	return true;
}

/* SHLD, SHRD. */
static bool emit_double(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned op = t->i->mnemonic == ZYDIS_MNEMONIC_SHLD ? MAP_0F | 0xa4 : MAP_0F | 0xac;
	unsigned to = H_NONE, from;
	struct tr_mem m;

	if (d->kind == OPK_MEM) {
		if (!tr_mem(t, &m, d->size, TR_WRITE))
			return false;
		if (bt_home[s->reg] == H_NONE)
			tr_mem_pin(t, &m);
	} else {
		to = tr_use(t, d->reg, H_RDX);
		m.rm = rm_reg(to);
	}
	from = tr_use(t, s->reg, H_RAX);
	if (t->i->op[2].kind == OPK_IMM) {
		as_op(&t->a, 0, op, d->size, from, m.rm);
		as_imm(&t->a, t->i->imm, 1);
	} else {
		as_mov(&t->a, 4, H_RCX, bt_home[RCX]);
		as_op(&t->a, 0, op | 1, d->size, from, m.rm);
	}
	if (to != H_NONE)
		tr_done(t, d->reg, to);
	return true;
}

void emit_shift_init(struct bt *bt)
{
	static const u16 shifts[] = { ZYDIS_MNEMONIC_ROL, ZYDIS_MNEMONIC_ROR, ZYDIS_MNEMONIC_RCL,
				      ZYDIS_MNEMONIC_RCR, ZYDIS_MNEMONIC_SHL, ZYDIS_MNEMONIC_SHR,
				      ZYDIS_MNEMONIC_SAR };

	for (unsigned n = 0; n < ARRAY_LEN(shifts); n++)
		bt->emit[shifts[n]] = emit_shift;
	bt->emit[ZYDIS_MNEMONIC_SHLD] = emit_double;
	bt->emit[ZYDIS_MNEMONIC_SHRD] = emit_double;
}
