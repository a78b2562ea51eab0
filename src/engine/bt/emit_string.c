/* movs stos lods scas cmps, alone and, movs and stos, repeated: upwards, where the index registers are linear addresses themselves.
 * All else is C's.
 *
 * A repeated instruction saves the status flags, which it does not change, in x86_cpu.cc, and has the host's flags to itself. It goes
 * in pieces that are one stretch of host memory on either side, each done by the host's repeated instruction. The homes always stand after the last
 * finished piece, so that it can be left at any: what is not RAM for the TLB, and attention, go to C, which goes on from there. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

enum { COND_AE = 3, COND_E = 4, COND_NE = 5, COND_A = 7 };

enum string_op { STRING_MOVS, STRING_CMPS, STRING_STOS, STRING_LODS, STRING_SCAS };

/* The byte form of each; the others are one above. */
static const u8 string_opcode[] = { 0xa4, 0xa6, 0xaa, 0xac, 0xae };

static bool uses_rsi(enum string_op op) { return op != STRING_STOS && op != STRING_SCAS; }
static bool uses_rdi(enum string_op op) { return op != STRING_LODS; }

static bool addresses_plain(const struct tr *t, enum string_op op)
{
	return (!uses_rsi(op) || tr_plain(t, t->i->seg)) && (!uses_rdi(op) || tr_plain(t, ES));
}

/* --- One element ---------------------------------------------------------------------------------- */

/* C does what goes downwards. */
static void check_direction(struct tr *t)
{
	struct as *a = &t->a;

	as_loadz(a, 1, H_RCX, rm_ctx(CTX(cpu.rflags) + 1));
	as_mov_imm(a, H_RDX, FL_DF >> 8);
	as_pext(a, H_RCX, H_RCX, H_RDX);

	u8 *up = as_jrcxz(a);

	tr_slow_jmp(t);
	as_short_here(a, up);
}

static void move_on(struct tr *t, unsigned reg, unsigned size)
{
	as_lea(&t->a, t->i->addrsize, bt_home[reg], rm_mem(bt_home[reg], (i32)size));
}

static void emit_one(struct tr *t, enum string_op op, unsigned size)
{
	struct as *a = &t->a;
	unsigned acc = bt_home[RAX];
	struct tr_mem m;

	check_direction(t);
	if (uses_rsi(op)) {
		tr_mem_plain(t, &m, RSI, size, TR_READ);
		as_load(a, size, op == STRING_LODS ? acc : H_RAX, m.rm);
	}
	if (uses_rdi(op))
		tr_mem_plain(t, &m, RDI, size,
			     op == STRING_MOVS || op == STRING_STOS ? TR_WRITE : TR_READ);
	switch (op) {
	case STRING_MOVS: as_store(a, size, m.rm, H_RAX); break;
	case STRING_STOS: as_store(a, size, m.rm, acc); break;
	case STRING_CMPS: as_op(a, 0, 0x3a | (size > 1), size, H_RAX, m.rm); break;
	case STRING_SCAS: as_op(a, 0, 0x3a | (size > 1), size, acc, m.rm); break;
	case STRING_LODS: break;
	}
	if (uses_rsi(op))
		move_on(t, RSI, size);
	if (uses_rdi(op))
		move_on(t, RDI, size);
}

/* --- Repeated ------------------------------------------------------------------------------------- */

#define REP_OUTS 6u

/* Jumps from the code that has the host's flags to itself to where they are the guest's again and C goes on. */
struct rep {
	u8 *out[REP_OUTS];
	unsigned outs;
};

static void leave_if(struct tr *t, struct rep *r, unsigned cond)
{
	assert(r->outs < REP_OUTS);
	r->out[r->outs++] = as_jcc(&t->a, cond);
}

/* Instructions with an immediate of one byte on a register or memory: digit is the operation. */
static void op_i8(struct as *a, unsigned digit, unsigned size, struct as_rm rm, i32 imm)
{
	as_op(a, 0, size == 1 ? 0x80 : 0x83, size, digit, rm);
	as_byte(a, (u8)imm);
}

static void op_i32(struct as *a, unsigned digit, unsigned size, unsigned reg, u32 imm)
{
	as_op(a, 0, 0x81, size, digit, rm_reg(reg));
	as_u32(a, imm);
}

enum { OP_ADD = 0x03, OP_SUB = 0x2b, OP_CMP = 0x3b, DIGIT_ADD = 0, DIGIT_AND = 4, DIGIT_CMP = 7 };

static void op_reg(struct as *a, unsigned op, unsigned size, unsigned to, struct as_rm from)
{
	as_op(a, 0, op, size, to, from);
}

/* Bytes from the address in home `from` to the end of its page, 1..4096, into `to`. */
static void page_left(struct as *a, unsigned to, unsigned from)
{
	as_mov(a, 4, to, from);
	as_op(a, 0, 0xf7, 4, 2, rm_reg(to)); /* not */
	op_i32(a, DIGIT_AND, 4, to, 0xfff);
	op_i8(a, DIGIT_ADD, 4, rm_reg(to), 1);
}

static void cmov_above(struct as *a, unsigned size, unsigned to, unsigned from)
{
	op_reg(a, OP_CMP, size, to, rm_reg(from));
	as_op(a, 0, MAP_0F | 0x40 | COND_A, size, to, rm_reg(from));
}

#define PIECE_MOST 65536u

/* The bytes that are asked for, PIECE_MOST at most, into rep_room. */
static void piece_asked(struct tr *t, unsigned log)
{
	struct as *a = &t->a;

	as_mov_imm(a, H_RCX, PIECE_MOST >> log);
	cmov_above(a, t->i->addrsize, H_RCX, bt_home[RCX]);
	if (log) {
		as_op(a, 0, 0xc1, 4, 4, rm_reg(H_RCX)); /* shl */
		as_byte(a, log);
	}
	as_store(a, 8, rm_ctx(CTX_BT(rep_room)), H_RCX);
}

/* Cuts rep_room to what is one stretch of host memory from guest register reg on, which also goes into RCX, and stores its addend.
 * Uses RAX and RDX. */
static void piece_side(struct tr *t, struct rep *r, unsigned reg, enum tr_access access,
		       struct as_rm addend)
{
	struct as *a = &t->a;
	struct as_rm room = rm_ctx(CTX_BT(rep_room));
	unsigned home = bt_home[reg];
	u8 *more, *enough, *other_page, *elsewhere;

	as_rorx(a, true, H_RAX, home, 12);
	as_loadz(a, 2, H_RAX, rm_reg(H_RAX));
	as_load(a, 8, H_RDX, rm_ctx_array(tr_tags(t, access), H_RAX));
	op_reg(a, OP_ADD, 8, H_RDX, rm_reg(home));
	op_i32(a, DIGIT_CMP, 8, H_RDX, 0xfff);
	leave_if(t, r, COND_A);
	as_load(a, 8, H_RDX, rm_ctx_array(tr_addends(t), H_RAX));
	as_store(a, 8, addend, H_RDX);
	page_left(a, H_RCX, home);
	more = a->p;
	op_reg(a, OP_CMP, 4, H_RCX, room);
	enough = as_jcc(a, COND_AE);
	/* The next page: its tag and its address add up to 0 if it may be accessed. */
	as_lea(a, 8, H_RDX, rm_index(home, H_RCX, 0, 0));
	as_rorx(a, true, H_RAX, H_RDX, 12);
	as_loadz(a, 2, H_RAX, rm_reg(H_RAX));
	op_reg(a, OP_ADD, 8, H_RDX, rm_ctx_array(tr_tags(t, access), H_RAX));
	other_page = as_jcc(a, COND_NE);
	as_load(a, 8, H_RDX, rm_ctx_array(tr_addends(t), H_RAX));
	op_reg(a, OP_CMP, 8, H_RDX, addend);
	elsewhere = as_jcc(a, COND_NE);
	op_i32(a, DIGIT_ADD, 4, H_RCX, 4096);
	as_jmp_to(a, (uintptr_t)(more + a->exec));
	as_patch_here(a, enough);
	as_load(a, 4, H_RCX, room);
	as_patch_here(a, other_page);
	as_patch_here(a, elsewhere);
	as_store(a, 4, room, H_RCX);
}

/* Between a linear and a host address. In 32-bit code the address after the last is 0. */
static void to_host(struct as *a, unsigned reg, unsigned addend)
{
	op_reg(a, OP_ADD, 8, bt_home[reg], rm_reg(addend));
}

static void from_host(struct tr *t, unsigned reg, unsigned addend)
{
	op_reg(&t->a, OP_SUB, 8, bt_home[reg], rm_reg(addend));
	if (t->mode != 64)
		as_mov(&t->a, 4, bt_home[reg], bt_home[reg]);
}

static void host_rep(struct as *a, enum string_op op, unsigned size)
{
	as_byte(a, 0xf3);
	if (size == 2)
		as_byte(a, 0x66);
	if (size == 8)
		as_byte(a, 0x48);
	as_byte(a, string_opcode[op] | (size > 1));
}

/* The host's instruction reads what it has written where source and destination overlap, as the guest's does: both sides are host
 * addresses, so that this holds for two mappings of one page too. */
static void emit_piece(struct tr *t, struct rep *r, enum string_op op, unsigned size)
{
	struct as *a = &t->a;
	struct as_rm from = rm_ctx(CTX_BT(rep_from)), to = rm_ctx(CTX_BT(rep_to));
	unsigned log = size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;

	piece_asked(t, log);
	if (op == STRING_MOVS)
		piece_side(t, r, RSI, TR_READ, from);
	piece_side(t, r, RDI, TR_WRITE, to);
	if (log) {
		as_op(a, 0, 0xc1, 4, 5, rm_reg(H_RCX)); /* shr */
		as_byte(a, log);
		leave_if(t, r, COND_E);
		as_store(a, 4, rm_ctx(CTX_BT(rep_room)), H_RCX);
	}
	as_load(a, 8, H_RDX, to);
	to_host(a, RDI, H_RDX);
	if (op == STRING_MOVS) {
		as_load(a, 8, H_RAX, from);
		to_host(a, RSI, H_RAX);
	} else {
		as_mov(a, 8, H_RAX, bt_home[RAX]);
	}
	host_rep(a, op, size);
	from_host(t, RDI, H_RDX);
	if (op == STRING_MOVS)
		from_host(t, RSI, H_RAX);
	op_reg(a, OP_SUB, t->i->addrsize, bt_home[RCX], rm_ctx(CTX_BT(rep_room)));
}

static void restore_flags(struct as *a)
{
	as_loadz(a, 2, H_RAX, rm_ctx(CTX(cpu.cc)));
	as_flags_from_ax(a);
}

/* Where the count is beyond this, C counts each piece of it as an instruction. */
#define COUNTED_PIECE 4096u

static void emit_rep(struct tr *t, enum string_op op, unsigned size)
{
	struct as *a = &t->a;
	struct rep r = { .outs = 0 };
	unsigned w = t->i->addrsize, count = bt_home[RCX];
	u8 *loop, *none, *more, *done;

	as_flags_to_ax(a);
	as_store(a, 2, rm_ctx(CTX(cpu.cc)), H_RAX);
	op_reg(a, 0x85, w, count, rm_reg(count)); /* test */
	none = as_jcc(a, COND_E);
	as_op(a, 0, 0xf6, 1, 0, rm_ctx(CTX(cpu.rflags) + 1)); /* test */
	as_byte(a, FL_DF >> 8);
	leave_if(t, &r, COND_NE);
	if (t->bt->counted) {
		op_i32(a, DIGIT_CMP, w, count, COUNTED_PIECE);
		leave_if(t, &r, COND_A);
	}
	loop = a->p;
	emit_piece(t, &r, op, size);
	done = as_jcc(a, COND_E);
	op_i8(a, DIGIT_CMP, 4, rm_ctx(CTX(attention)), 0);
	more = as_jcc(a, COND_E);
	as_patch(a, more, (uintptr_t)(loop + a->exec));
	for (unsigned n = 0; n < r.outs; n++)
		as_patch_here(a, r.out[n]);
	restore_flags(a);
	tr_slow_jmp(t);
	as_patch_here(a, none);
	as_patch_here(a, done);
	/* Set where C was interrupted in the same instruction (SDM 3B 17.3.1.1). */
	op_i8(a, DIGIT_AND, 1, rm_ctx(CTX(cpu.rflags) + 2), (i32)(0xff & ~(FL_RF >> 16)));
	restore_flags(a);
}

/* --- Binding -------------------------------------------------------------------------------------- */

static bool emit(struct tr *t, enum string_op op)
{
	bool rep = t->i->flags & (INSN_REP | INSN_REPNE);

	if (!addresses_plain(t, op) || (rep && op != STRING_MOVS && op != STRING_STOS))
		return false;
	if (rep)
		emit_rep(t, op, t->i->opsize);
	else
		emit_one(t, op, t->i->opsize);
	return true;
}

static bool emit_movs(struct tr *t) { return emit(t, STRING_MOVS); }
static bool emit_cmps(struct tr *t) { return emit(t, STRING_CMPS); }
static bool emit_stos(struct tr *t) { return emit(t, STRING_STOS); }
static bool emit_lods(struct tr *t) { return emit(t, STRING_LODS); }
static bool emit_scas(struct tr *t) { return emit(t, STRING_SCAS); }

bool emit_string_d(struct tr *t)
{
	return t->i->mnemonic == ZYDIS_MNEMONIC_MOVSD ? emit_movs(t) : emit_cmps(t);
}

void emit_string_init(struct bt *bt)
{
	static const struct {
		u16 mnemonic;
		bt_emit_fn *fn;
	} rows[] = {
		{ ZYDIS_MNEMONIC_MOVSB, emit_movs }, { ZYDIS_MNEMONIC_MOVSW, emit_movs },
		{ ZYDIS_MNEMONIC_MOVSQ, emit_movs }, { ZYDIS_MNEMONIC_CMPSB, emit_cmps },
		{ ZYDIS_MNEMONIC_CMPSW, emit_cmps }, { ZYDIS_MNEMONIC_CMPSQ, emit_cmps },
		{ ZYDIS_MNEMONIC_STOSB, emit_stos }, { ZYDIS_MNEMONIC_STOSW, emit_stos },
		{ ZYDIS_MNEMONIC_STOSD, emit_stos }, { ZYDIS_MNEMONIC_STOSQ, emit_stos },
		{ ZYDIS_MNEMONIC_LODSB, emit_lods }, { ZYDIS_MNEMONIC_LODSW, emit_lods },
		{ ZYDIS_MNEMONIC_LODSD, emit_lods }, { ZYDIS_MNEMONIC_LODSQ, emit_lods },
		{ ZYDIS_MNEMONIC_SCASB, emit_scas }, { ZYDIS_MNEMONIC_SCASW, emit_scas },
		{ ZYDIS_MNEMONIC_SCASD, emit_scas }, { ZYDIS_MNEMONIC_SCASQ, emit_scas },
	};

	for (unsigned n = 0; n < ARRAY_LEN(rows); n++)
		bt->emit[rows[n].mnemonic] = rows[n].fn;
}
