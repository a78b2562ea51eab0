/* Near jumps, calls and returns. A target in the page is a direct exit, which is linked when it is first taken; any other goes by the
 * jump cache. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

static const u16 conditions[16] = {
	ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_JB,  ZYDIS_MNEMONIC_JNB,
	ZYDIS_MNEMONIC_JZ, ZYDIS_MNEMONIC_JNZ, ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_JNBE,
	ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_JNS, ZYDIS_MNEMONIC_JP,  ZYDIS_MNEMONIC_JNP,
	ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_JLE, ZYDIS_MNEMONIC_JNLE,
};

/* Where a relative jump goes, relative to the page. */
static i64 rel_target(const struct tr *t) { return (i64)tr_next(t) + (i64)t->i->imm; }

/* A jump of the code's own operand size, to where code can be. */
static bool may_jump(const struct tr *t) { return t->i->opsize * 8u == t->mode; }

static bool may_jump_rel(const struct tr *t)
{
	if (!may_jump(t))
		return false;
	if (t->mode == 64)
		return x86_canonical(t->rip_page + (u64)rel_target(t));
	/* Within the page no limit can be in the way, elsewhere it must be out of reach. */
	return (t->key & KEY_CS_WIDE) ||
	       ((t->key & KEY_CS_LINK) && rel_target(t) >= 0 && rel_target(t) < 4096);
}

static bool may_jump_far(const struct tr *t) { return may_jump(t) && (t->key & KEY_CS_WIDE); }

static bool emit_jcc(struct tr *t)
{
	if (!may_jump_rel(t))
		return false;
	tr_exit(t, (int)tr_condition(conditions, t->i->mnemonic), rel_target(t));
	t->ends = false;
	return true;
}

/* The target of an indirect jump: in 16-bit code 16 bits of it count. */
static void load_target(struct tr *t, unsigned size, struct as_rm from)
{
	if (size == 2)
		as_loadz(&t->a, size, H_RAX, from);
	else
		as_load(&t->a, size, H_RAX, from);
}

static bool emit_jmp(struct tr *t)
{
	const struct x86_operand *o = &t->i->op[0];
	struct tr_mem m;

	if (o->kind == OPK_REL) {
		if (!may_jump_rel(t))
			return false;
		tr_exit(t, -1, rel_target(t));
		return true;
	}
	if (!may_jump_far(t) || o->size != t->i->opsize || o->kind == OPK_FAR)
		return false;
	if (o->kind == OPK_MEM) {
		if (!tr_mem(t, &m, o->size, TR_READ))
			return false;
		load_target(t, o->size, m.rm);
	} else {
		load_target(t, o->size, tr_rm(o->reg));
	}
	tr_jump_rax(t);
	return true;
}

/* An indirect call to an address that no code can have faults before it pushes: bits 63..48 of RAX must be copies of bit 47. */
static void check_canonical(struct tr *t)
{
	struct as *a = &t->a;

	as_rorx(a, true, H_RCX, H_RAX, 32);
	as_op(a, 0, MAP_0F | 0xbf, 4, H_RDX, rm_reg(H_RCX)); /* movsx edx, cx */
	as_op(a, 0, 0xf7, 4, 2, rm_reg(H_RDX));              /* not edx */
	as_lea(a, 4, H_RCX, rm_index(H_RCX, H_RDX, 0, 1));

	u8 *good = as_jecxz(a);

	tr_slow_jmp(t);
	as_short_here(a, good);
}

static bool emit_call(struct tr *t)
{
	const struct x86_operand *o = &t->i->op[0];
	unsigned size = t->i->opsize, sp = bt_home[RSP];
	bool rel = o->kind == OPK_REL;
	struct tr_mem m;

	if (rel ? !may_jump_rel(t) : !may_jump_far(t) || o->size != size || o->kind == OPK_FAR)
		return false;
	if (o->kind == OPK_MEM) {
		if (!tr_mem(t, &m, size, TR_READ))
			return false;
		load_target(t, size, m.rm);
	} else if (!rel) {
		load_target(t, size, tr_rm(o->reg));
	}
	if (!rel && t->mode == 64)
		check_canonical(t);
	if (!tr_stack(t, &m, RSP, -(i32)size, size, TR_WRITE))
		return false;
	tr_rip(t, H_RCX, tr_next(t));
	as_store(&t->a, size, m.rm, H_RCX);
	as_lea(&t->a, size, sp, rm_mem(sp, -(i32)size));
	if (rel)
		tr_exit(t, -1, rel_target(t));
	else
		tr_jump_rax(t);
	return true;
}

/* CA and CB are far; the opcode is in front of the immediate. */
static bool is_far_ret(const struct x86_insn *i)
{
	unsigned op = i->bytes[i->len - (i->nops ? 3 : 1)];

	return op == 0xca || op == 0xcb;
}

static bool emit_ret(struct tr *t)
{
	unsigned size = t->i->opsize, sp = bt_home[RSP];
	i32 release = (i32)size + (t->i->nops ? (i32)(u16)t->i->imm : 0);
	struct tr_mem m;

	if (is_far_ret(t->i) || !may_jump_far(t) || !tr_stack(t, &m, RSP, 0, size, TR_READ))
		return false;
	load_target(t, size, m.rm);
	as_lea(&t->a, size, sp, rm_mem(sp, release));
	tr_jump_rax(t);
	return true;
}

/* LOOP without a condition, JCXZ. */
static bool emit_loop(struct tr *t)
{
	unsigned size = t->i->addrsize, cx = bt_home[RCX];
	u8 *zero, *over;

	if (size == 2 || !may_jump_rel(t))
		return false;
	if (t->i->mnemonic == ZYDIS_MNEMONIC_LOOP) {
		as_lea(&t->a, size, cx, rm_mem(cx, -1));
		as_mov(&t->a, size, H_RCX, cx);
		zero = as_jrcxz(&t->a);
		tr_exit(t, -1, rel_target(t));
		as_short_here(&t->a, zero);
	} else {
		as_mov(&t->a, size, H_RCX, cx);
		zero = as_jrcxz(&t->a);
		over = as_jmp(&t->a);
		as_short_here(&t->a, zero);
		tr_exit(t, -1, rel_target(t));
		as_patch_here(&t->a, over);
	}
	t->ends = false;
	return true;
}

static void enter(struct bt *bt, u16 mnemonic, bt_emit_fn *fn, bool goes_on)
{
	bt->emit[mnemonic] = fn;
	bt->goes_on[mnemonic] = goes_on;
}

void emit_branch_init(struct bt *bt)
{
	for (unsigned n = 0; n < ARRAY_LEN(conditions); n++)
		enter(bt, conditions[n], emit_jcc, true);
	enter(bt, ZYDIS_MNEMONIC_JMP, emit_jmp, false);
	enter(bt, ZYDIS_MNEMONIC_CALL, emit_call, false);
	enter(bt, ZYDIS_MNEMONIC_RET, emit_ret, false);
	enter(bt, ZYDIS_MNEMONIC_LOOP, emit_loop, true);
	enter(bt, ZYDIS_MNEMONIC_JECXZ, emit_loop, true);
	enter(bt, ZYDIS_MNEMONIC_JRCXZ, emit_loop, true);
}
