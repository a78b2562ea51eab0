/* BT BTS BTR BTC BSF BSR (SDM 2). */
#include "x86/alu.h"
#include "x86/exec.h"

#include <Zydis/Zydis.h>

enum bit_op { BIT_BT, BIT_BTS, BIT_BTR, BIT_BTC, BIT_OPS };

/* CF is the old bit; the other flags stay, as on all processors since the 80486 although only ZF is
 * documented to. */
inline_fn u64 bit_change(enum bit_op op, u64 a, unsigned bit, u16 *cc)
{
	*cc = (u16)((*cc & ~CC_CF) | (a >> bit & 1) << 8);
	switch (op) {
	case BIT_BTS: return a | BIT(bit);
	case BIT_BTR: return a & ~BIT(bit);
	case BIT_BTC: return a ^ BIT(bit);
	default: return a;
	}
}

inline_fn void run_bit_reg(struct vcpu *v, const struct x86_insn *i, enum bit_op op, unsigned size)
{
	u64 index = i->op[1].kind == OPK_IMM ? i->imm : v->cpu.gpr[i->op[1].reg];
	u64 a = bit_change(op, reg_get(v, &i->op[0], size), (unsigned)index & (8 * size - 1),
			   &v->cpu.cc);

	if (op != BIT_BT)
		gpr_set(v, i->op[0].reg, a, size);
}

/* A bit number in a register is signed and reaches memory on both sides of the operand; an
 * immediate one is cut to it. */
inline_fn void run_bit_mem(struct vcpu *v, const struct x86_insn *i, enum bit_op op, unsigned size)
{
	enum x86_access acc = op == BIT_BT ? ACC_READ : ACC_RMW;
	u64 off = x86_ea(v, i), index = i->imm;

	if (i->op[1].kind != OPK_IMM) {
		index = v->cpu.gpr[i->op[1].reg];
		off += (u64)(bits_sext(index, 8 * size) >> (3 + __builtin_ctz(size))) * size;
		off &= bits_mask(8u * i->addrsize);
	}

	gva_t a = x86_linear(v, i->seg, off, size, acc);
	u64 value = op == BIT_BT ? x86_read(v, a, size) : x86_read_rmw(v, a, size);
	u16 cc = v->cpu.cc;

	value = bit_change(op, value, (unsigned)index & (8 * size - 1), &cc);
	if (op != BIT_BT)
		x86_write(v, a, value, size);
	v->cpu.cc = cc;
}

#define BIT_FNS(op, OP, bits)                                              \
	static void op##bits##_r(struct vcpu *v, const struct x86_insn *i) \
	{                                                                  \
		run_bit_reg(v, i, OP, bits / 8);                           \
	}                                                                  \
	static void op##bits##_m(struct vcpu *v, const struct x86_insn *i) \
	{                                                                  \
		run_bit_mem(v, i, OP, bits / 8);                           \
	}
#define BIT_SIZES(op, OP) BIT_FNS(op, OP, 16) BIT_FNS(op, OP, 32) BIT_FNS(op, OP, 64)
#define BIT_LIST(X)       X(bt, BIT_BT) X(bts, BIT_BTS) X(btr, BIT_BTR) X(btc, BIT_BTC)
BIT_LIST(BIT_SIZES)

#define BIT_ENTRIES(op, OP) \
	[OP] = { { op##16_r, op##16_m }, { op##32_r, op##32_m }, { op##64_r, op##64_m } },
static x86_exec_fn *const bit_fns[BIT_OPS][3][2] = { BIT_LIST(BIT_ENTRIES) };

/* --- BSF, BSR --------------------------------------------------------------------------------- */

/* The whole destination register goes in: a source of zero leaves of it what the host leaves. */
#define HOST_SCAN(op)                                                                          \
	switch (size) {                                                                        \
	case 2: asm(CC_LOAD op "w %w2, %w0" CC_SAVE : "+r"(dest), "+a"(cc) : "r"(src)); break; \
	case 4: asm(CC_LOAD op "l %k2, %k0" CC_SAVE : "+r"(dest), "+a"(cc) : "r"(src)); break; \
	default: asm(CC_LOAD op "q %q2, %q0" CC_SAVE : "+r"(dest), "+a"(cc) : "r"(src));       \
	}

inline_fn void run_scan(struct vcpu *v, const struct x86_insn *i, bool reverse, unsigned size,
			enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	u64 dest = v->cpu.gpr[i->op[0].reg];
	u16 cc = v->cpu.cc;
	struct mem_ref m;

	if (place == PLACE_MEM && !mem_open(v, i, &m, size, ACC_READ, kind)) {
		general(v, i);
		return;
	}

	u64 src = place == PLACE_MEM ? mem_get(v, &m, size, ACC_READ, kind)
				     : reg_get(v, &i->op[1], size);

	if (reverse)
		HOST_SCAN("bsr")
	else
		HOST_SCAN("bsf")
	v->cpu.gpr[i->op[0].reg] = dest;
	v->cpu.cc = cc;
}

#define SCAN(name, general, place, kind, op, reverse, bits)                           \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i)       \
	{                                                                             \
		run_scan(v, i, reverse, bits / 8, place, kind, op##bits##_##general); \
	}
#define SCAN_ENTRY(name, general, place, kind, op, bits) [place + kind] = op##bits##_##name,
#define SCANS(op, reverse)                                                                    \
	PLACE_LIST(SCAN, op, reverse, 16)                                                     \
	PLACE_LIST(SCAN, op, reverse, 32)                                                     \
	PLACE_LIST(SCAN, op, reverse, 64)                                                     \
	static x86_exec_fn *const op##_fns[3][PLACES] = { { PLACE_LIST(SCAN_ENTRY, op, 16) }, \
							  { PLACE_LIST(SCAN_ENTRY, op, 32) }, \
							  { PLACE_LIST(SCAN_ENTRY, op, 64) } };
SCANS(bsf, false)
SCANS(bsr, true)

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_bit(enum bit_op op, const struct x86_insn *i)
{
	return bit_fns[op][size_index(i->opsize) - 1][i->op[0].kind == OPK_MEM];
}

static x86_exec_fn *bind_scan(x86_exec_fn *const fns[3][PLACES], const struct x86_insn *i)
{
	return fns[size_index(i->opsize) - 1][operand_place(i, &i->op[1])];
}

x86_exec_fn *x86_bind_bit(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_BT: return bind_bit(BIT_BT, i);
	case ZYDIS_MNEMONIC_BTS: return bind_bit(BIT_BTS, i);
	case ZYDIS_MNEMONIC_BTR: return bind_bit(BIT_BTR, i);
	case ZYDIS_MNEMONIC_BTC: return bind_bit(BIT_BTC, i);
	case ZYDIS_MNEMONIC_BSF: return bind_scan(bsf_fns, i);
	case ZYDIS_MNEMONIC_BSR: return bind_scan(bsr_fns, i);
	default: return NULL;
	}
}
