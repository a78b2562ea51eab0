/* Groups of accesses: where a unit goes through one guest register several times with offsets that are close to each other (a stack
 * frame, a structure), the first access checks the bytes of all, and the others take its addend. If they do not lie in one page that
 * may be accessed so, the unit is left for one of KEY_SINGLE, which has no groups.
 *
 * What a group covers is kept relative to the register as it is now: it moves with PUSH, ADD and the like, and is forgotten when the
 * register changes in another way. What comes later is guessed by looking ahead, and decides only how much is checked. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

/* The more is checked at once, the more often it crosses a page. */
#define MOST_BYTES 128
#define MOST_MOVE  0x4000
#define MOST_OFF   (GROUP_MOST_OFF + 0x100000)

/* --- What an instruction does to registers ------------------------------------------------------- */

struct effect {
	u32 writes;   /* guest registers that change, */
	unsigned reg; /* but this one, by `by` alone; or GROUP_NONE */
	i64 by;
};

/* Of those that write no register but their first operand. */
static bool writes_first(u16 mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_SETZ:
	case ZYDIS_MNEMONIC_SETNZ:
	case ZYDIS_MNEMONIC_CMOVZ:
	case ZYDIS_MNEMONIC_CMOVNZ:
	case ZYDIS_MNEMONIC_POP: return true;
	default: return false;
	}
}

static bool writes_none(u16 mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_PUSH: return true;
	default: return false;
	}
}

/* The first operand changes by a constant. */
static bool adds(const struct x86_insn *i, i64 *by)
{
	const struct x86_operand *s = &i->op[1];

	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_INC: *by = 1; return true;
	case ZYDIS_MNEMONIC_DEC: *by = -1; return true;
	case ZYDIS_MNEMONIC_ADD: *by = (i64)i->imm; return s->kind == OPK_IMM;
	case ZYDIS_MNEMONIC_SUB: *by = -(i64)i->imm; return s->kind == OPK_IMM;
	case ZYDIS_MNEMONIC_LEA:
		*by = i->disp;
		return i->base == i->op[0].reg && i->index == ZERO_IDX &&
		       i->addrsize * 8u == i->mode;
	default: return false;
	}
}

/* False if it is not known. */
static bool find_effect(const struct tr *t, const struct x86_insn *i, struct effect *f)
{
	const struct x86_operand *d = &i->op[0];
	bool gpr = i->nops && (d->kind == OPK_GPR || d->kind == OPK_GPR_HIGH);

	*f = (struct effect){ .reg = GROUP_NONE };
	if (t->bt->goes_on[i->mnemonic])
		return i->mnemonic != ZYDIS_MNEMONIC_LOOP;
	if (gpr && writes_first(i->mnemonic) && !writes_none(i->mnemonic)) {
		f->writes = (u32)BIT(d->reg);
		if (d->kind == OPK_GPR && d->size * 8u == t->mode && adds(i, &f->by)) {
			f->reg = d->reg;
			f->writes = 0;
		}
	}
	if (i->mnemonic == ZYDIS_MNEMONIC_PUSH || i->mnemonic == ZYDIS_MNEMONIC_POP) {
		if (i->opsize * 8u != t->mode || (f->writes & BIT(RSP)))
			return false;
		f->reg = RSP;
		f->by = i->mnemonic == ZYDIS_MNEMONIC_PUSH ? -(i64)i->opsize : (i64)i->opsize;
	}
	return writes_first(i->mnemonic) || writes_none(i->mnemonic);
}

/* --- Looking ahead -------------------------------------------------------------------------------- */

static bool reads_first(u16 mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV: return true;
	default: return writes_none(mnemonic);
	}
}

/* What is expected of the instructions from the present one on. */
struct outlook {
	unsigned reg, accesses;
	i64 moved; /* how much the register has changed */
	i64 low, high;
	bool write;
};

/* False if the group would become too large. */
static bool widen(struct outlook *l, i64 disp, unsigned size, bool write)
{
	i64 low = MIN(l->low, disp + l->moved), high = MAX(l->high, disp + l->moved + (i64)size);

	if (high - low > MOST_BYTES)
		return false;
	l->low = low;
	l->high = high;
	l->write = l->write || write;
	l->accesses++;
	return true;
}

static bool foresee_access(struct outlook *l, const struct x86_insn *i)
{
	bool stack = l->reg == RSP;

	for (unsigned n = 0; n < i->nops; n++)
		if (i->op[n].kind == OPK_MEM && i->mnemonic != ZYDIS_MNEMONIC_LEA &&
		    i->base == l->reg && i->index == ZERO_IDX &&
		    !widen(l, i->disp, i->op[n].size, n == 0 && !reads_first(i->mnemonic)))
			return false;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_CALL: return !stack || widen(l, -(i64)i->opsize, i->opsize, true);
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_RET: return !stack || widen(l, 0, i->opsize, false);
	default: return true;
	}
}

/* Whether the register lives on, and with it the group. */
static bool foresee_effect(const struct tr *t, struct outlook *l, const struct x86_insn *i)
{
	struct effect f;

	if (find_effect(t, i, &f)) {
		if (f.reg == l->reg)
			l->moved += f.by;
		return !(f.writes & BIT(l->reg)) && l->moved > -MOST_MOVE && l->moved < MOST_MOVE;
	}
	for (unsigned n = 0; n < i->nops; n++)
		if (i->op[n].kind == OPK_GPR || i->op[n].kind == OPK_OTHER)
			return false;
	return i->nops;
}

/* --- For emitters --------------------------------------------------------------------------------- */

bool group_covers(const struct tr *t, unsigned reg, i32 disp, unsigned size, bool write)
{
	const struct tr_group *g = &t->group[reg];

	if (!g->open || (write && !g->write) || disp < g->low || disp + (i32)size > g->high)
		return false;
	/* Within the group a register of 32 bits has not wrapped around. */
	return t->mode == 64 || !g->moved || (g->low <= 0 && g->high > 0);
}

bool group_open(struct tr *t, unsigned reg, i32 disp, unsigned size, bool write)
{
	struct outlook l = { .reg = reg, .low = disp, .high = disp + (i64)size, .write = write };

	/* A unit that checks the guest's bytes leaves out the immediates. */
	if (!t->bt->groups || t->u->checked || (t->key & KEY_SINGLE) || !(t->key & KEY_CS_LINK) ||
	    t->opened != GROUP_NONE || size > MOST_BYTES)
		return false;
	for (unsigned k = t->k; k < t->u->count; k++)
		if (!foresee_access(&l, &t->insn[k]) || !foresee_effect(t, &l, &t->insn[k]))
			break;
	if (l.accesses < 2 || l.low <= -MOST_OFF || l.high >= MOST_OFF)
		return false;
	t->opened = reg;
	t->group[reg] = (struct tr_group){
		.open = true, .write = l.write, .low = (i32)l.low, .high = (i32)l.high
	};
	return true;
}

static void move(struct tr_group *g, i64 by)
{
	if (by <= -MOST_MOVE || by >= MOST_MOVE) {
		g->open = false;
		return;
	}
	g->low -= (i32)by;
	g->high -= (i32)by;
	g->moved = true;
	if (g->low <= -MOST_OFF || g->high >= MOST_OFF)
		g->open = false;
}

void group_next(struct tr *t, bool by_c)
{
	struct unit_insn *n = &t->u->insn[t->k];
	struct effect f;

	/* What C runs always is too slow for a few checks to matter. */
	if (by_c || !find_effect(t, t->i, &f))
		f = (struct effect){ .writes = by_c ? TR_WRITES_ALL : t->writes,
				     .reg = GROUP_NONE };
	for (unsigned reg = 0; reg < 16; reg++)
		if (f.writes & BIT(reg))
			t->group[reg].open = false;
	if (f.reg != GROUP_NONE)
		move(&t->group[f.reg], f.by);
	if (t->opened == GROUP_NONE || !t->group[t->opened].open)
		return;

	const struct tr_group *g = &t->group[t->opened];

	n->group = (u8)(t->opened | (g->write ? GROUP_WRITE : 0));
	n->low = g->low;
	n->span = (u8)(g->high - g->low);
}
