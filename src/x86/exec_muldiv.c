/* MUL IMUL DIV IDIV and the decimal adjustments AAA AAS AAM AAD DAA DAS (SDM 2). Multiplications
 * and divisions run on the host with the guest's flags, so that undefined flags come out as on the
 * CPU; what would trap is found before. */
#include "x86/alu.h"
#include "x86/exec.h"

#include <Zydis/Zydis.h>

typedef unsigned __int128 u128;
typedef __int128 i128;

/* --- rDX:rAX with one operand ----------------------------------------------------------------- */

enum wide_op { WIDE_MUL, WIDE_IMUL, WIDE_DIV, WIDE_IDIV, WIDE_OPS };

/* Whole registers go in and out, so that the host keeps or clears of them what the operand size
 * says. AX holds the flags before and after, and rAX in between. */
#define HOST_WIDE(insn, operand)                                                             \
	asm(CC_LOAD "movq %[lo], %%rax\n\t" insn " " operand "\n\tmovq %%rax, %[lo]" CC_SAVE \
	    : [lo] "+&r"(lo), "+&d"(hi), "+&a"(cc)                                           \
	    : [src] "q"(src))
#define HOST_WIDE_SIZES(name)                          \
	switch (size) {                                \
	case 1: HOST_WIDE(name "b", "%b[src]"); break; \
	case 2: HOST_WIDE(name "w", "%w[src]"); break; \
	case 4: HOST_WIDE(name "l", "%k[src]"); break; \
	default: HOST_WIDE(name "q", "%q[src]");       \
	}

/* Whether n / d fits in `bits` bits; false if d is zero. */
static bool div_fits(u128 n, u64 d, unsigned bits) { return (u64)(n >> bits) < d; }

/* The quotient is truncated, so its magnitude is that of the magnitudes. */
static bool idiv_fits(i128 n, i64 d, unsigned bits)
{
	u128 un = n < 0 ? -(u128)n : (u128)n, ud = d < 0 ? -(u128)d : (u128)d;
	u128 limit = ud << (bits - 1);

	return un < ((n < 0) == (d < 0) ? limit : limit + ud);
}

/* The double-width dividend: AX, DX:AX, EDX:EAX or RDX:RAX. */
inline_fn u128 dividend(const struct vcpu *v, unsigned size)
{
	u64 lo = v->cpu.gpr[RAX], hi = v->cpu.gpr[RDX];

	switch (size) {
	case 1: return (u16)lo;
	case 2: return (u32)(u16)hi << 16 | (u16)lo;
	case 4: return hi << 32 | (u32)lo;
	default: return (u128)hi << 64 | lo;
	}
}

inline_fn bool quotient_fits(const struct vcpu *v, enum wide_op op, unsigned size, u64 d)
{
	unsigned bits = 8 * size, spare = 128 - 2 * bits;
	u128 n = dividend(v, size);

	if (op == WIDE_DIV)
		return div_fits(n, d, bits);
	return idiv_fits((i128)(n << spare) >> spare, bits_sext(d, bits), bits);
}

inline_fn void run_wide(struct vcpu *v, const struct x86_insn *i, enum wide_op op, unsigned size,
			enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	struct mem_ref m;

	if (place == PLACE_MEM && !mem_open(v, i, &m, size, ACC_READ, kind)) {
		general(v, i);
		return;
	}

	u64 src = place == PLACE_MEM ? mem_get(v, &m, size, ACC_READ, kind)
				     : reg_get(v, &i->op[0], size);
	u64 lo = v->cpu.gpr[RAX], hi = v->cpu.gpr[RDX];
	u16 cc = v->cpu.cc;

	if (op >= WIDE_DIV && unlikely(!quotient_fits(v, op, size, src)))
		x86_raise(v, EXC_DE);
	switch (op) {
	case WIDE_MUL: HOST_WIDE_SIZES("mul") break;
	case WIDE_IMUL: HOST_WIDE_SIZES("imul") break;
	case WIDE_DIV: HOST_WIDE_SIZES("div") break;
	default: HOST_WIDE_SIZES("idiv") break;
	}
	v->cpu.gpr[RAX] = lo;
	v->cpu.gpr[RDX] = hi;
	v->cpu.cc = cc;
}

#define WIDE_LIST(X)       \
	X(mul, WIDE_MUL)   \
	X(imul, WIDE_IMUL) \
	X(div, WIDE_DIV)   \
	X(idiv, WIDE_IDIV)

#define WIDE(name, general, place, kind, op, OP, bits)                           \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i)  \
	{                                                                        \
		run_wide(v, i, OP, bits / 8, place, kind, op##bits##_##general); \
	}
#define WIDES(op, OP)                \
	PLACE_LIST(WIDE, op, OP, 8)  \
	PLACE_LIST(WIDE, op, OP, 16) \
	PLACE_LIST(WIDE, op, OP, 32) \
	PLACE_LIST(WIDE, op, OP, 64)
WIDE_LIST(WIDES)

#define ENTRY(name, general, place, kind, op, bits) [place + kind] = op##bits##_##name,
#define WIDE_ENTRIES(op, OP)                    \
	[OP] = { { PLACE_LIST(ENTRY, op, 8) },  \
		 { PLACE_LIST(ENTRY, op, 16) }, \
		 { PLACE_LIST(ENTRY, op, 32) }, \
		 { PLACE_LIST(ENTRY, op, 64) } },
static x86_exec_fn *const wide_fns[WIDE_OPS][4][PLACES] = { WIDE_LIST(WIDE_ENTRIES) };

/* --- IMUL with two or three operands ---------------------------------------------------------- */

inline_fn u64 host_imul(unsigned size, u64 a, u64 b, u16 *cc)
{
	u16 f = *cc;

	switch (size) {
	case 2: asm(CC_LOAD "imulw %w2, %w0" CC_SAVE : "+r"(a), "+a"(f) : "r"(b)); break;
	case 4: asm(CC_LOAD "imull %k2, %k0" CC_SAVE : "+r"(a), "+a"(f) : "r"(b)); break;
	default: asm(CC_LOAD "imulq %q2, %q0" CC_SAVE : "+r"(a), "+a"(f) : "r"(b));
	}
	*cc = f;
	return a;
}

/* The second operand is a register or memory; it is multiplied with the immediate, or with the
 * destination. */
inline_fn void run_imul_to(struct vcpu *v, const struct x86_insn *i, bool imm, unsigned size,
			   enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	u16 cc = v->cpu.cc;
	struct mem_ref m;

	if (place == PLACE_MEM && !mem_open(v, i, &m, size, ACC_READ, kind)) {
		general(v, i);
		return;
	}

	u64 a = place == PLACE_MEM ? mem_get(v, &m, size, ACC_READ, kind)
				   : v->cpu.gpr[i->op[1].reg];

	gpr_set(v, i->op[0].reg, host_imul(size, a, imm ? i->imm : v->cpu.gpr[i->op[0].reg], &cc),
		size);
	v->cpu.cc = cc;
}

#define IMUL_TO(name, general, place, kind, op, imm, bits)                           \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i)      \
	{                                                                            \
		run_imul_to(v, i, imm, bits / 8, place, kind, op##bits##_##general); \
	}
#define IMULS_TO(op, imm)                                                                \
	PLACE_LIST(IMUL_TO, op, imm, 16)                                                 \
	PLACE_LIST(IMUL_TO, op, imm, 32)                                                 \
	PLACE_LIST(IMUL_TO, op, imm, 64)                                                 \
	static x86_exec_fn *const op##_fns[3][PLACES] = { { PLACE_LIST(ENTRY, op, 16) }, \
							  { PLACE_LIST(ENTRY, op, 32) }, \
							  { PLACE_LIST(ENTRY, op, 64) } };
IMULS_TO(imul_rm, false)
IMULS_TO(imul_rmi, true)

static x86_exec_fn *bind_imul(const struct x86_insn *i)
{
	if (i->nops == 1)
		return wide_fns[WIDE_IMUL][size_index(i->opsize)][operand_place(i, &i->op[0])];
	return (i->nops == 3 ? imul_rmi_fns
			     : imul_rm_fns)[size_index(i->opsize) - 1][operand_place(i, &i->op[1])];
}

/* --- Decimal adjustment ----------------------------------------------------------------------- */

/* SF, ZF and PF of AL with the given CF and AF; OF is undefined. */
static void decimal_flags(struct vcpu *v, bool carry, bool adjust)
{
	u64 al = (u8)v->cpu.gpr[RAX];
	u16 cc = 0;

	alu_binary(ALU_TEST, 1, al, al, &cc);
	v->cpu.cc = (u16)((cc & ~(CC_CF | CC_AF)) | (carry ? CC_CF : 0) | (adjust ? CC_AF : 0));
}

static bool low_digit_over(const struct vcpu *v)
{
	return (v->cpu.gpr[RAX] & 15) > 9 || v->cpu.cc & CC_AF;
}

static bool high_digit_over(const struct vcpu *v)
{
	return (u8)v->cpu.gpr[RAX] > 0x99 || v->cpu.cc & CC_CF;
}

static void aaa(struct vcpu *v, const struct x86_insn *i)
{
	bool over = low_digit_over(v);
	u64 ax = v->cpu.gpr[RAX] + (over ? 0x106 : 0);

	(void)i;
	gpr_set(v, RAX, ax & 0xff0f, 2);
	decimal_flags(v, over, over);
}

static void aas(struct vcpu *v, const struct x86_insn *i)
{
	bool over = low_digit_over(v);
	u64 ax = v->cpu.gpr[RAX] - (over ? 0x106 : 0);

	(void)i;
	gpr_set(v, RAX, ax & 0xff0f, 2);
	decimal_flags(v, over, over);
}

static void aam(struct vcpu *v, const struct x86_insn *i)
{
	unsigned base = (u8)i->imm, al = (u8)v->cpu.gpr[RAX];

	if (base == 0)
		x86_raise(v, EXC_DE);
	gpr_set(v, RAX, al / base << 8 | al % base, 2);
	decimal_flags(v, false, false);
}

static void aad(struct vcpu *v, const struct x86_insn *i)
{
	unsigned al = (u8)v->cpu.gpr[RAX], ah = (u8)(v->cpu.gpr[RAX] >> 8);

	gpr_set(v, RAX, (u8)(al + ah * (u8)i->imm), 2);
	decimal_flags(v, false, false);
}

static void daa(struct vcpu *v, const struct x86_insn *i)
{
	bool low = low_digit_over(v), high = high_digit_over(v);
	u64 al = v->cpu.gpr[RAX] + (low ? 6 : 0) + (high ? 0x60 : 0);

	(void)i;
	gpr_set(v, RAX, al, 1);
	decimal_flags(v, high, low);
}

/* CF is also the borrow of the lower digit's adjustment. */
static void das(struct vcpu *v, const struct x86_insn *i)
{
	bool low = low_digit_over(v), high = high_digit_over(v);
	bool borrow = low && (u8)v->cpu.gpr[RAX] < 6;
	u64 al = v->cpu.gpr[RAX] - (low ? 6 : 0) - (high ? 0x60 : 0);

	(void)i;
	gpr_set(v, RAX, al, 1);
	decimal_flags(v, high || borrow, low);
}

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_wide(enum wide_op op, const struct x86_insn *i)
{
	return wide_fns[op][size_index(i->opsize)][operand_place(i, &i->op[0])];
}

x86_exec_fn *x86_bind_muldiv(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MUL: return bind_wide(WIDE_MUL, i);
	case ZYDIS_MNEMONIC_IMUL: return bind_imul(i);
	case ZYDIS_MNEMONIC_DIV: return bind_wide(WIDE_DIV, i);
	case ZYDIS_MNEMONIC_IDIV: return bind_wide(WIDE_IDIV, i);
	case ZYDIS_MNEMONIC_AAA: return aaa;
	case ZYDIS_MNEMONIC_AAS: return aas;
	case ZYDIS_MNEMONIC_AAM: return aam;
	case ZYDIS_MNEMONIC_AAD: return aad;
	case ZYDIS_MNEMONIC_DAA: return daa;
	case ZYDIS_MNEMONIC_DAS: return das;
	default: return NULL;
	}
}
