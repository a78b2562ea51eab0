/* setcc and cmovcc. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

static const u16 sets[16] = {
	ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB,  ZYDIS_MNEMONIC_SETNB,
	ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE,
	ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_SETP,  ZYDIS_MNEMONIC_SETNP,
	ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_SETNLE,
};

static const u16 moves[16] = {
	ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB,  ZYDIS_MNEMONIC_CMOVNB,
	ZYDIS_MNEMONIC_CMOVZ, ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE,
	ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVP,  ZYDIS_MNEMONIC_CMOVNP,
	ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVLE, ZYDIS_MNEMONIC_CMOVNLE,
};

static bool emit_setcc(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0];
	unsigned op = MAP_0F | 0x90 | tr_condition(sets, t->i->mnemonic), to;
	struct tr_mem m;

	if (d->kind == OPK_MEM) {
		if (!tr_mem(t, &m, 1, TR_WRITE))
			return false;
		as_op(&t->a, 0, op, 1, 0, m.rm);
		return true;
	}
	to = d->kind == OPK_GPR ? tr_use(t, d->reg, H_RCX) : H_RCX;
	as_op(&t->a, 0, op, 1, 0, rm_reg(to));
	tr_done_byte(t, d, to, H_RDX);
	return true;
}

/* Memory is read, and 32 bits clear the upper half, whatever the condition is: on the host too. */
static bool emit_cmov(struct tr *t)
{
	const struct x86_operand *d = &t->i->op[0], *s = &t->i->op[1];
	unsigned op = MAP_0F | 0x40 | tr_condition(moves, t->i->mnemonic), to;
	struct tr_mem m;

	if (s->kind == OPK_MEM) {
		if (!tr_mem(t, &m, d->size, TR_READ))
			return false;
	} else {
		m.rm = tr_rm(s->reg);
	}
	to = tr_use(t, d->reg, H_RCX);
	as_op(&t->a, 0, op, d->size, to, m.rm);
	tr_done(t, d->reg, to);
	return true;
}

void emit_cond_init(struct bt *bt)
{
	for (unsigned n = 0; n < 16; n++) {
		bt->emit[sets[n]] = emit_setcc;
		bt->emit[moves[n]] = emit_cmov;
	}
}
