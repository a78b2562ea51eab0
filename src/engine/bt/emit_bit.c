/* bt bts btr btc bsf bsr. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

/* Digit of the immediate forms; the register forms have it in bits 3..5 of the opcode. */
static unsigned bit_digit(u16 mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_BT: return 4;
	case ZYDIS_MNEMONIC_BTS: return 5;
	case ZYDIS_MNEMONIC_BTR: return 6;
	default: return 7; /* BTC */
	}
}

#define BIT_BT 4u

static void bit_imm(struct tr *t, unsigned digit, unsigned size, struct as_rm rm)
{
	tr_lock(t);
	as_op(&t->a, 0, MAP_0F | 0xba, size, digit, rm);
	as_imm(&t->a, t->i->imm, 1);
}

static void bit_reg(struct tr *t, unsigned digit, unsigned size, unsigned reg, unsigned index)
{
	as_op(&t->a, 0, MAP_0F | 0x83 | digit << 3, size, index, rm_reg(reg));
}

/* The bit is counted from the operand's first byte, with sign: the host's own instruction with memory is slower than finding the word
 * that has it. */
static bool bit_mem_reg(struct tr *t, unsigned digit, unsigned size)
{
	const struct x86_operand *s = &t->i->op[1];
	unsigned index, log = size == 2 ? 1 : size == 4 ? 2 : 3;
	struct as *a = &t->a;
	struct tr_mem m;

	if (((t->i->flags & INSN_LOCK) && t->bt->threads) || !tr_offset(t))
		return false;
	index = tr_use(t, s->reg, H_RDX);
	if (size == 2)
		as_op(a, 0, MAP_0F | 0xbf, 8, H_RDX, rm_reg(index));
	else if (size == 4)
		as_op(a, 0, 0x63, 8, H_RDX, rm_reg(index));
	else
		as_mov(a, 8, H_RDX, index);
	as_mov_imm(a, H_RCX, 3 + log);
	as_sarx(a, H_RDX, H_RDX, H_RCX);
	as_lea(a, t->i->addrsize, H_RAX, rm_index(H_RAX, H_RDX, log, 0));
	if (!tr_mem_at_rax(t, &m, size, digit == BIT_BT ? TR_READ : TR_WRITE))
		return false;
	tr_mem_pin(t, &m);
	index = tr_use(t, s->reg, H_RAX);
	as_load(a, size, H_RCX, m.rm);
	bit_reg(t, digit, size, H_RCX, index);
	if (digit != BIT_BT)
		as_store(a, size, m.rm, H_RCX);
	return true;
}

static bool emit_bit(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned digit = bit_digit(t->i->mnemonic), size = d->size, to;
	struct tr_mem m;

	if (d->kind == OPK_MEM) {
		if (s->kind != OPK_IMM)
			return bit_mem_reg(t, digit, size);
		if (!tr_mem(t, &m, size, digit == BIT_BT ? TR_READ : TR_WRITE))
			return false;
		bit_imm(t, digit, size, m.rm);
		return true;
	}
	to = tr_use(t, d->reg, H_RCX);
	if (s->kind == OPK_IMM)
		bit_imm(t, digit, size, rm_reg(to));
	else
		bit_reg(t, digit, size, to, tr_use(t, s->reg, H_RDX));
	if (digit != BIT_BT)
		tr_done(t, d->reg, to);
	return true;
}

/* The destination goes in: a source of zero leaves of it what the host leaves. */
static bool emit_scan(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned op = MAP_0F | (t->i->mnemonic == ZYDIS_MNEMONIC_BSF ? 0xbc : 0xbd), to;
	struct tr_mem m;

	if (s->kind == OPK_MEM) {
		if (!tr_mem(t, &m, d->size, TR_READ))
			return false;
	} else {
		m.rm = rm_reg(tr_use(t, s->reg, H_RDX));
	}
	to = tr_use(t, d->reg, H_RCX);
	as_op(&t->a, 0, op, d->size, to, m.rm);
	tr_done(t, d->reg, to);
	return true;
}

void emit_bit_init(struct bt *bt)
{
	static const u16 bits[] = { ZYDIS_MNEMONIC_BT, ZYDIS_MNEMONIC_BTS, ZYDIS_MNEMONIC_BTR,
				    ZYDIS_MNEMONIC_BTC };

	for (unsigned n = 0; n < ARRAY_LEN(bits); n++)
		bt->emit[bits[n]] = emit_bit;
	bt->emit[ZYDIS_MNEMONIC_BSF] = emit_scan;
	bt->emit[ZYDIS_MNEMONIC_BSR] = emit_scan;
}
