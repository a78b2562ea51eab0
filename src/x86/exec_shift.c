/* SHL SHR SAR ROL ROR RCL RCR SHLD SHRD (SDM 2). The host's instruction runs on the guest's
 * operands and flags, so that counts beyond the operand, a masked count of zero and the flags that
 * the manual leaves undefined come out as on the CPU. */
#include "x86/alu.h"
#include "x86/exec.h"

#include <Zydis/Zydis.h>

enum shift_op {
	SHIFT_ROL,
	SHIFT_ROR,
	SHIFT_RCL,
	SHIFT_RCR,
	SHIFT_SHL,
	SHIFT_SHR,
	SHIFT_SAR,
	SHIFT_OPS
};

/* The last three with a masked count other than zero: they set all flags that they define, and need
 * none. */
enum { SHIFT_SHL_N = SHIFT_OPS, SHIFT_SHR_N, SHIFT_SAR_N, SHIFT_VARIANTS };

inline_fn u64 host_shift(unsigned op, unsigned size, u64 a, u8 count, u16 *cc)
{
	u16 f = *cc;

	switch (op) {
	case SHIFT_ROL: HOST_SIZES(CC_LOAD, "rol", HOST_BY_CL, "+a", "c"(count)) break;
	case SHIFT_ROR: HOST_SIZES(CC_LOAD, "ror", HOST_BY_CL, "+a", "c"(count)) break;
	case SHIFT_RCL: HOST_SIZES(CC_LOAD, "rcl", HOST_BY_CL, "+a", "c"(count)) break;
	case SHIFT_RCR: HOST_SIZES(CC_LOAD, "rcr", HOST_BY_CL, "+a", "c"(count)) break;
	case SHIFT_SHL: HOST_SIZES(CC_LOAD, "shl", HOST_BY_CL, "+a", "c"(count)) break;
	case SHIFT_SHR: HOST_SIZES(CC_LOAD, "shr", HOST_BY_CL, "+a", "c"(count)) break;
	case SHIFT_SAR: HOST_SIZES(CC_LOAD, "sar", HOST_BY_CL, "+a", "c"(count)) break;
	case SHIFT_SHL_N: HOST_SIZES("", "shl", HOST_BY_CL, "=a", "c"(count)) break;
	case SHIFT_SHR_N: HOST_SIZES("", "shr", HOST_BY_CL, "=a", "c"(count)) break;
	default: HOST_SIZES("", "sar", HOST_BY_CL, "=a", "c"(count)) break;
	}
	*cc = f;
	return a;
}

/* A register destination is written also where the count is zero: 32 bits clear the upper half in
 * any case. */
inline_fn void run_shift(struct vcpu *v, const struct x86_insn *i, unsigned op, unsigned size,
			 enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	u16 cc = v->cpu.cc;
	struct mem_ref m;
	u8 count = (u8)i->imm;

	if (op < SHIFT_OPS && i->op[1].kind != OPK_IMM)
		count = (u8)v->cpu.gpr[RCX];
	if (place == PLACE_REG) {
		reg_set(v, &i->op[0], host_shift(op, size, reg_get(v, &i->op[0], size), count, &cc),
			size);
	} else if (mem_open(v, i, &m, size, ACC_RMW, kind)) {
		u64 a = mem_get(v, &m, size, ACC_RMW, kind);

		mem_put(v, &m, host_shift(op, size, a, count, &cc), size, kind);
	} else {
		general(v, i);
		return;
	}
	v->cpu.cc = cc;
}

#define SHIFT_LIST(X)         \
	X(rol, SHIFT_ROL)     \
	X(ror, SHIFT_ROR)     \
	X(rcl, SHIFT_RCL)     \
	X(rcr, SHIFT_RCR)     \
	X(shl, SHIFT_SHL)     \
	X(shr, SHIFT_SHR)     \
	X(sar, SHIFT_SAR)     \
	X(shl_n, SHIFT_SHL_N) \
	X(shr_n, SHIFT_SHR_N) \
	X(sar_n, SHIFT_SAR_N)

#define SHIFT(name, general, place, kind, op, OP, bits)                           \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i)   \
	{                                                                         \
		run_shift(v, i, OP, bits / 8, place, kind, op##bits##_##general); \
	}
#define SHIFTS(op, OP)                \
	PLACE_LIST(SHIFT, op, OP, 8)  \
	PLACE_LIST(SHIFT, op, OP, 16) \
	PLACE_LIST(SHIFT, op, OP, 32) \
	PLACE_LIST(SHIFT, op, OP, 64)
SHIFT_LIST(SHIFTS)

#define ENTRY(name, general, place, kind, op, bits) [place + kind] = op##bits##_##name,
#define SHIFT_ENTRIES(op, OP)                   \
	[OP] = { { PLACE_LIST(ENTRY, op, 8) },  \
		 { PLACE_LIST(ENTRY, op, 16) }, \
		 { PLACE_LIST(ENTRY, op, 32) }, \
		 { PLACE_LIST(ENTRY, op, 64) } },
static x86_exec_fn *const shift_fns[SHIFT_VARIANTS][4][PLACES] = { SHIFT_LIST(SHIFT_ENTRIES) };

/* --- SHLD, SHRD ------------------------------------------------------------------------------- */

#define HOST_DOUBLE(op)                                    \
	switch (size) {                                    \
	case 2:                                            \
		asm(CC_LOAD op "w %%cl, %w2, %w0" CC_SAVE  \
		    : "+r"(a), "+a"(f)                     \
		    : "r"(b), "c"(count));                 \
		break;                                     \
	case 4:                                            \
		asm(CC_LOAD op "l %%cl, %k2, %k0" CC_SAVE  \
		    : "+r"(a), "+a"(f)                     \
		    : "r"(b), "c"(count));                 \
		break;                                     \
	default: asm(CC_LOAD op "q %%cl, %q2, %q0" CC_SAVE \
		     : "+r"(a), "+a"(f)                    \
		     : "r"(b), "c"(count));                \
	}

inline_fn u64 host_double(bool left, unsigned size, u64 a, u64 b, u8 count, u16 *cc)
{
	u16 f = *cc;

	if (left)
		HOST_DOUBLE("shld")
	else
		HOST_DOUBLE("shrd")
	*cc = f;
	return a;
}

inline_fn void run_double(struct vcpu *v, const struct x86_insn *i, bool left, unsigned size,
			  enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	u64 b = v->cpu.gpr[i->op[1].reg];
	u8 count = (u8)(i->op[2].kind == OPK_IMM ? i->imm : v->cpu.gpr[RCX]);
	u16 cc = v->cpu.cc;
	struct mem_ref m;

	if (place == PLACE_REG) {
		reg_set(v, &i->op[0],
			host_double(left, size, reg_get(v, &i->op[0], size), b, count, &cc), size);
	} else if (mem_open(v, i, &m, size, ACC_RMW, kind)) {
		u64 a = mem_get(v, &m, size, ACC_RMW, kind);

		mem_put(v, &m, host_double(left, size, a, b, count, &cc), size, kind);
	} else {
		general(v, i);
		return;
	}
	v->cpu.cc = cc;
}

#define DOUBLE(name, general, place, kind, op, left, bits)                           \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i)      \
	{                                                                            \
		run_double(v, i, left, bits / 8, place, kind, op##bits##_##general); \
	}
#define DOUBLES(op, left)                                                                \
	PLACE_LIST(DOUBLE, op, left, 16)                                                 \
	PLACE_LIST(DOUBLE, op, left, 32)                                                 \
	PLACE_LIST(DOUBLE, op, left, 64)                                                 \
	static x86_exec_fn *const op##_fns[3][PLACES] = { { PLACE_LIST(ENTRY, op, 16) }, \
							  { PLACE_LIST(ENTRY, op, 32) }, \
							  { PLACE_LIST(ENTRY, op, 64) } };
DOUBLES(shld, true)
DOUBLES(shrd, false)

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_shift(unsigned op, const struct x86_insn *i)
{
	unsigned mask = i->opsize == 8 ? 63 : 31;

	if (op >= SHIFT_SHL && i->op[1].kind == OPK_IMM && (i->imm & mask))
		op += SHIFT_SHL_N - SHIFT_SHL;
	return shift_fns[op][size_index(i->opsize)][operand_place(i, &i->op[0])];
}

x86_exec_fn *x86_bind_shift(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_ROL: return bind_shift(SHIFT_ROL, i);
	case ZYDIS_MNEMONIC_ROR: return bind_shift(SHIFT_ROR, i);
	case ZYDIS_MNEMONIC_RCL: return bind_shift(SHIFT_RCL, i);
	case ZYDIS_MNEMONIC_RCR: return bind_shift(SHIFT_RCR, i);
	case ZYDIS_MNEMONIC_SHL: return bind_shift(SHIFT_SHL, i);
	case ZYDIS_MNEMONIC_SHR: return bind_shift(SHIFT_SHR, i);
	case ZYDIS_MNEMONIC_SAR: return bind_shift(SHIFT_SAR, i);
	case ZYDIS_MNEMONIC_SHLD:
		return shld_fns[size_index(i->opsize) - 1][operand_place(i, &i->op[0])];
	case ZYDIS_MNEMONIC_SHRD:
		return shrd_fns[size_index(i->opsize) - 1][operand_place(i, &i->op[0])];
	default: return NULL;
	}
}
