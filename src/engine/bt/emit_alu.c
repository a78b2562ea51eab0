/* add or adc sbb and sub xor cmp test inc dec neg not: the host's own instruction on the guest's operands, so that the flags are the
 * host's too. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

/* The opcode's bits 3..5, and the digit of the immediate forms, of the eight two-operand operations. */
static int alu_digit(u16 mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_ADD: return 0;
	case ZYDIS_MNEMONIC_OR: return 1;
	case ZYDIS_MNEMONIC_ADC: return 2;
	case ZYDIS_MNEMONIC_SBB: return 3;
	case ZYDIS_MNEMONIC_AND: return 4;
	case ZYDIS_MNEMONIC_SUB: return 5;
	case ZYDIS_MNEMONIC_XOR: return 6;
	default: return 7; /* CMP */
	}
}

static bool fits_i8(u64 imm) { return (i64)imm >= -128 && (i64)imm <= 127; }

/* op rm, imm. size: of the operation. */
static void op_imm(struct tr *t, unsigned digit, unsigned size, struct as_rm rm, u64 imm)
{
	u64 value = (u64)bits_sext(imm, 8 * size);

	tr_lock(t);
	if (size > 1 && fits_i8(value)) {
		as_op(&t->a, 0, 0x83, size, digit, rm);
		as_imm(&t->a, value, 1);
	} else {
		as_op(&t->a, 0, 0x80 | (size > 1), size, digit, rm);
		as_imm(&t->a, value, size);
	}
}

static bool alu_mem_dest(struct tr *t, unsigned digit)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	struct tr_mem m;
	unsigned reg;

	if (!tr_mem(t, &m, d->size, digit == 7 ? TR_READ : TR_WRITE))
		return false;
	if (s->kind == OPK_IMM) {
		op_imm(t, digit, d->size, m.rm, t->i->imm);
		return true;
	}
	reg = tr_use_op(t, s, H_RCX);
	tr_lock(t);
	as_op(&t->a, 0, digit << 3 | (d->size > 1), d->size, reg, m.rm);
	return true;
}

/* op reg, immediate of 32 bits at RDX. */
static void live_imm(struct tr *t, unsigned digit, unsigned size, unsigned reg)
{
	struct as_rm imm = rm_mem(H_RDX, 0);

	if (size == 8) {
		as_op(&t->a, 0, 0x63, 8, H_RDX, imm);
		imm = rm_reg(H_RDX);
	}
	as_op(&t->a, 0, digit << 3 | 3, size, reg, imm);
}

static bool emit_alu(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned digit = (unsigned)alu_digit(t->i->mnemonic), to, from;
	struct tr_mem m;

	if (d->kind == OPK_MEM)
		return alu_mem_dest(t, digit);
	if (s->kind == OPK_MEM) {
		if (!tr_mem(t, &m, d->size, TR_READ))
			return false;
		to = tr_use_op(t, d, H_RCX);
		as_op(&t->a, 0, digit << 3 | 2 | (d->size > 1), d->size, to, m.rm);
	} else {
		to = tr_use_op(t, d, H_RCX);
		if (s->kind == OPK_IMM && tr_live_imm(t)) {
			live_imm(t, digit, d->size, to);
		} else if (s->kind == OPK_IMM) {
			op_imm(t, digit, d->size, rm_reg(to), t->i->imm);
		} else {
			from = tr_use_op(t, s, H_RDX);
			as_op(&t->a, 0, digit << 3 | 2 | (d->size > 1), d->size, to, rm_reg(from));
		}
	}
	if (digit != 7)
		tr_done_op(t, d, to, H_RDX);
	return true;
}

static bool emit_test(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned size = d->size, reg;
	struct tr_mem m;

	if (d->kind == OPK_MEM) {
		if (!tr_mem(t, &m, size, TR_READ))
			return false;
	} else {
		m.rm = rm_reg(tr_use_op(t, d, H_RCX));
	}
	if (s->kind == OPK_IMM) {
		as_op(&t->a, 0, 0xf6 | (size > 1), size, 0, m.rm);
		as_imm(&t->a, t->i->imm, size);
	} else {
		reg = tr_use_op(t, s, d->kind == OPK_MEM ? H_RCX : H_RDX);
		as_op(&t->a, 0, 0x84 | (size > 1), size, reg, m.rm);
	}
	return true;
}

static bool emit_unary(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0];
	unsigned op = 0xf6, digit = 0, to;
	struct tr_mem m;

	switch (t->i->mnemonic) {
	case ZYDIS_MNEMONIC_INC: op = 0xfe; break;
	case ZYDIS_MNEMONIC_DEC:
		op = 0xfe;
		digit = 1;
		break;
	case ZYDIS_MNEMONIC_NOT: digit = 2; break;
	default: digit = 3; break; /* NEG */
	}
	op |= d->size > 1;
	if (d->kind == OPK_MEM) {
		if (!tr_mem(t, &m, d->size, TR_WRITE))
			return false;
		tr_lock(t);
		as_op(&t->a, 0, op, d->size, digit, m.rm);
		return true;
	}
	to = tr_use_op(t, d, H_RCX);
	as_op(&t->a, 0, op, d->size, digit, rm_reg(to));
	tr_done_op(t, d, to, H_RDX);
	return true;
}

void emit_alu_init(struct bt *bt)
{
	static const u16 binary[] = { ZYDIS_MNEMONIC_ADD, ZYDIS_MNEMONIC_OR,  ZYDIS_MNEMONIC_ADC,
				      ZYDIS_MNEMONIC_SBB, ZYDIS_MNEMONIC_AND, ZYDIS_MNEMONIC_SUB,
				      ZYDIS_MNEMONIC_XOR, ZYDIS_MNEMONIC_CMP };
	static const u16 unary[] = { ZYDIS_MNEMONIC_INC, ZYDIS_MNEMONIC_DEC, ZYDIS_MNEMONIC_NEG,
				     ZYDIS_MNEMONIC_NOT };

	for (unsigned n = 0; n < ARRAY_LEN(binary); n++)
		bt->emit[binary[n]] = emit_alu;
	for (unsigned n = 0; n < ARRAY_LEN(unary); n++)
		bt->emit[unary[n]] = emit_unary;
	bt->emit[ZYDIS_MNEMONIC_TEST] = emit_test;
}
