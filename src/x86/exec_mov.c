/* Data movement between registers and memory: MOV MOVZX MOVSX MOVSXD LEA XCHG BSWAP CMOVcc SETcc
 * MOVBE MOVNTI XLAT, the sign extensions of the accumulator, NOP and the prefetch hints (SDM 2).
 * None of them changes flags. */
#include "x86/alu.h"
#include "x86/exec.h"

#include <Zydis/Zydis.h>

/* --- MOV, XCHG -------------------------------------------------------------------------------- */

inline_fn void run_mov(struct vcpu *v, const struct x86_insn *i, unsigned size, enum form form,
		       enum addr_kind kind, x86_exec_fn *general)
{
	bool to_memory = form == FORM_MR || form == FORM_MI;
	struct mem_ref m;
	u64 value;

	if ((to_memory || form == FORM_RM) &&
	    !mem_open(v, i, &m, size, to_memory ? ACC_WRITE : ACC_READ, kind)) {
		general(v, i);
		return;
	}
	if (form == FORM_RM)
		value = mem_get(v, &m, size, ACC_READ, kind);
	else
		value = form == FORM_RI || form == FORM_MI ? i->imm : reg_get(v, &i->op[1], size);
	if (to_memory)
		mem_put(v, &m, value, size, kind);
	else
		reg_set(v, &i->op[0], value, size);
}

#define MOV(name, general, form, kind, bits)                                     \
	static void mov##bits##_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                        \
		run_mov(v, i, bits / 8, form, kind, mov##bits##_##general);      \
	}
FORM_LIST(MOV, 8)
FORM_LIST(MOV, 16)
FORM_LIST(MOV, 32)
FORM_LIST(MOV, 64)

#define MOV_ENTRY(name, general, form, kind, bits) [form + kind] = mov##bits##_##name,
static x86_exec_fn *const mov_fns[4][FORMS + 1] = { { FORM_LIST(MOV_ENTRY, 8) },
						    { FORM_LIST(MOV_ENTRY, 16) },
						    { FORM_LIST(MOV_ENTRY, 32) },
						    { FORM_LIST(MOV_ENTRY, 64) } };

inline_fn void run_xchg(struct vcpu *v, const struct x86_insn *i, unsigned size, enum place place,
			enum addr_kind kind, x86_exec_fn *general)
{
	u64 b = reg_get(v, &i->op[1], size);
	struct mem_ref m;

	if (place == PLACE_REG) {
		u64 a = reg_get(v, &i->op[0], size);

		reg_set(v, &i->op[0], b, size);
		reg_set(v, &i->op[1], a, size);
	} else if (mem_open(v, i, &m, size, ACC_RMW, kind)) {
		u64 a = mem_get(v, &m, size, ACC_RMW, kind);

		mem_put(v, &m, b, size, kind);
		reg_set(v, &i->op[1], a, size);
	} else {
		general(v, i);
	}
}

/* --- Extension -------------------------------------------------------------------------------- */

inline_fn void run_extend(struct vcpu *v, const struct x86_insn *i, bool sign, unsigned from,
			  unsigned to, enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	struct mem_ref m;

	if (place == PLACE_MEM && !mem_open(v, i, &m, from, ACC_READ, kind)) {
		general(v, i);
		return;
	}

	u64 value = place == PLACE_MEM ? mem_get(v, &m, from, ACC_READ, kind)
				       : reg_get(v, &i->op[1], from);

	gpr_set(v, i->op[0].reg, sign ? (u64)bits_sext(value, 8 * from) : value, to);
}

/* Name, sign, size of the source, of the destination. Zero extension to 32 and to 64 bits is the
 * same. */
#define EXTEND_LIST(X)            \
	X(movzx_b_w, false, 1, 2) \
	X(movzx_b_q, false, 1, 8) \
	X(movzx_w_q, false, 2, 8) \
	X(movsx_b_w, true, 1, 2)  \
	X(movsx_b_d, true, 1, 4)  \
	X(movsx_b_q, true, 1, 8)  \
	X(movsx_w_d, true, 2, 4)  \
	X(movsx_w_q, true, 2, 8)  \
	X(movsx_d_w, true, 4, 2)  \
	X(movsx_d_q, true, 4, 8)

#define EXTEND(name, general, place, kind, op, sign, from, to)                 \
	static void op##_##name(struct vcpu *v, const struct x86_insn *i)      \
	{                                                                      \
		run_extend(v, i, sign, from, to, place, kind, op##_##general); \
	}
#define PLACE_ENTRY(name, general, place, kind, op) [place + kind] = op##_##name,
#define EXTENDS(op, sign, from, to)            \
	PLACE_LIST(EXTEND, op, sign, from, to) \
	static x86_exec_fn *const op##_fns[PLACES] = { PLACE_LIST(PLACE_ENTRY, op) };
EXTEND_LIST(EXTENDS)

static x86_exec_fn *bind_movzx(const struct x86_insn *i)
{
	unsigned place = operand_place(i, &i->op[1]);

	if (i->op[1].size == 1)
		return (i->opsize == 2 ? movzx_b_w_fns : movzx_b_q_fns)[place];
	return i->opsize == 2 ? mov_fns[1][operand_form(i)] : movzx_w_q_fns[place];
}

/* MOVSXD without REX.W is a plain move of its operand size; the 16-bit form reads 32 bits of memory
 * as on AMD's processors. */
static x86_exec_fn *bind_movsx(const struct x86_insn *i)
{
	unsigned place = operand_place(i, &i->op[1]);

	if (i->op[1].size == 1)
		return (i->opsize == 2   ? movsx_b_w_fns
			: i->opsize == 4 ? movsx_b_d_fns
					 : movsx_b_q_fns)[place];
	if (i->opsize == i->op[1].size)
		return mov_fns[size_index(i->opsize)][operand_form(i)];
	if (i->op[1].size == 4)
		return (i->opsize == 2 ? movsx_d_w_fns : movsx_d_q_fns)[place];
	return (i->opsize == 4 ? movsx_w_d_fns : movsx_w_q_fns)[place];
}

/* CBW, CWDE, CDQE: the lower half of the accumulator extended to the operand size. */
static void extend_acc(struct vcpu *v, const struct x86_insn *i)
{
	gpr_set(v, RAX, (u64)bits_sext(v->cpu.gpr[RAX], 4u * i->opsize), i->opsize);
}

/* CWD, CDQ, CQO: the accumulator's sign all over rDX. */
static void extend_to_dx(struct vcpu *v, const struct x86_insn *i)
{
	gpr_set(v, RDX, (u64)(bits_sext(v->cpu.gpr[RAX], 8u * i->opsize) >> 63), i->opsize);
}

/* --- SETcc, CMOVcc ---------------------------------------------------------------------------- */

inline_fn void run_setcc(struct vcpu *v, const struct x86_insn *i, unsigned n, enum place place,
			 enum addr_kind kind, x86_exec_fn *general)
{
	struct mem_ref m;

	if (place == PLACE_REG)
		reg_set(v, &i->op[0], cc_test(v->cpu.cc, n), 1);
	else if (mem_open(v, i, &m, 1, ACC_WRITE, kind))
		mem_put(v, &m, cc_test(v->cpu.cc, n), 1, kind);
	else
		general(v, i);
}

/* A memory source is read, and may fault, whatever the condition; a 32-bit destination is extended
 * whatever the condition. */
inline_fn void run_cmov(struct vcpu *v, const struct x86_insn *i, unsigned n, unsigned size,
			enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	struct mem_ref m;

	if (place == PLACE_MEM && !mem_open(v, i, &m, size, ACC_READ, kind)) {
		general(v, i);
		return;
	}

	u64 value = place == PLACE_MEM ? mem_get(v, &m, size, ACC_READ, kind)
				       : reg_get(v, &i->op[1], size);
	u64 old = v->cpu.gpr[i->op[0].reg];

	gpr_set(v, i->op[0].reg, cc_test(v->cpu.cc, n) ? value : old, size);
}

#define SETCC(name, general, place, kind, n, cond)                               \
	static void set##cond##_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                        \
		run_setcc(v, i, n, place, kind, set##cond##_##general);          \
	}
#define CMOV(name, general, place, kind, n, cond, bits)                                 \
	static void cmov##cond##bits##_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                               \
		run_cmov(v, i, n, bits / 8, place, kind, cmov##cond##bits##_##general); \
	}
#define CONDITIONALS(n, cond, ...)    \
	PLACE_LIST(SETCC, n, cond)    \
	PLACE_LIST(CMOV, n, cond, 16) \
	PLACE_LIST(CMOV, n, cond, 32) \
	PLACE_LIST(CMOV, n, cond, 64)
CONDITIONS(CONDITIONALS, )

#define SETCC_ENTRIES(n, cond, ...) { PLACE_LIST(PLACE_ENTRY, set##cond) },
static x86_exec_fn *const setcc_fns[16][PLACES] = { CONDITIONS(SETCC_ENTRIES, ) };

#define CMOV_ENTRIES(n, cond, ...)                     \
	{ { PLACE_LIST(PLACE_ENTRY, cmov##cond##16) }, \
	  { PLACE_LIST(PLACE_ENTRY, cmov##cond##32) }, \
	  { PLACE_LIST(PLACE_ENTRY, cmov##cond##64) } },
static x86_exec_fn *const cmov_fns[16][3][PLACES] = { CONDITIONS(CMOV_ENTRIES, ) };

/* --- LEA, BSWAP, MOVBE, XLAT ------------------------------------------------------------------ */

inline_fn u64 address_sum(const struct vcpu *v, const struct x86_insn *i)
{
	return x86_slot(&v->cpu, i->base) + (x86_slot(&v->cpu, i->index) << i->scale) +
	       (u64)i->disp;
}

/* 64-bit addresses. */
static void lea64(struct vcpu *v, const struct x86_insn *i)
{
	v->cpu.gpr[i->op[0].reg] = address_sum(v, i);
}

/* Addresses at least as wide as the destination. */
static void lea32(struct vcpu *v, const struct x86_insn *i)
{
	v->cpu.gpr[i->op[0].reg] = (u32)address_sum(v, i);
}

static void lea(struct vcpu *v, const struct x86_insn *i)
{
	gpr_set(v, i->op[0].reg, x86_ea(v, i), i->opsize);
}

static x86_exec_fn *bind_lea(const struct x86_insn *i)
{
	if (i->opsize == 8 && i->addrsize == 8)
		return lea64;
	return i->opsize == 4 && i->addrsize >= 4 ? lea32 : lea;
}

static void bswap64(struct vcpu *v, const struct x86_insn *i)
{
	u64 *r = &v->cpu.gpr[i->op[0].reg];

	*r = __builtin_bswap64(*r);
}

static void bswap32(struct vcpu *v, const struct x86_insn *i)
{
	u64 *r = &v->cpu.gpr[i->op[0].reg];

	*r = __builtin_bswap32((u32)*r);
}

/* Undefined: does what the host does. */
static void bswap16(struct vcpu *v, const struct x86_insn *i)
{
	u64 r = v->cpu.gpr[i->op[0].reg];

	asm(".byte 0x66, 0x0f, 0xc8" : "+a"(r));
	v->cpu.gpr[i->op[0].reg] = r;
}

static u64 swap_bytes(u64 value, unsigned size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

static void movbe(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->opsize;

	if (!cpuid_has(v->vm, FEAT_MOVBE))
		x86_raise_ud(v);
	if (i->op[0].kind == OPK_MEM) {
		u64 value = v->cpu.gpr[i->op[1].reg] & bits_mask(8 * size);

		x86_write(v, x86_operand(v, i, size, ACC_WRITE), swap_bytes(value, size), size);
	} else {
		u64 value = x86_read(v, x86_operand(v, i, size, ACC_READ), size);

		gpr_set(v, i->op[0].reg, swap_bytes(value, size), size);
	}
}

/* AL indexes the table at rBX; the sum is cut to the address size. */
static void xlat(struct vcpu *v, const struct x86_insn *i)
{
	u64 off = (v->cpu.gpr[RBX] + (u8)v->cpu.gpr[RAX]) & bits_mask(8u * i->addrsize);

	gpr_set(v, RAX, x86_read(v, x86_linear(v, i->seg, off, 1, ACC_READ), 1), 1);
}

/* Hints touch nothing, not even the address they name. */
static void nop(struct vcpu *v, const struct x86_insn *i)
{
	(void)v;
	(void)i;
}

/* 0F 0D with a register: reserved, NOP on Intel's processors only. */
static void prefetch_register(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	if (cpuid_is_amd(v->vm))
		x86_raise_ud(v);
}

static x86_exec_fn *bind_nop(const ZydisDecodedInstruction *z)
{
	if (z->opcode_map == ZYDIS_OPCODE_MAP_0F && z->opcode == 0x0d && z->raw.modrm.mod == 3)
		return prefetch_register;
	return nop;
}

#define XCHG(name, general, place, kind, bits)                                    \
	static void xchg##bits##_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                         \
		run_xchg(v, i, bits / 8, place, kind, xchg##bits##_##general);    \
	}
PLACE_LIST(XCHG, 8)
PLACE_LIST(XCHG, 16)
PLACE_LIST(XCHG, 32)
PLACE_LIST(XCHG, 64)

static x86_exec_fn *const xchg_fns[4][PLACES] = { { PLACE_LIST(PLACE_ENTRY, xchg8) },
						  { PLACE_LIST(PLACE_ENTRY, xchg16) },
						  { PLACE_LIST(PLACE_ENTRY, xchg32) },
						  { PLACE_LIST(PLACE_ENTRY, xchg64) } };

/* --- Binding ---------------------------------------------------------------------------------- */

/* MOV to and from segment, control and debug registers belongs to other families. */
static x86_exec_fn *bind_mov(const struct x86_insn *i)
{
	unsigned form = operand_form(i);

	return form < FORMS ? mov_fns[size_index(i->opsize)][form] : NULL;
}

/* SETcc is 0F 90 to 0F 9F and CMOVcc 0F 40 to 0F 4F; the FCMOVcc and the mask register instructions
 * are not. */
static x86_exec_fn *bind_conditional(const struct x86_insn *i, const ZydisDecodedInstruction *z)
{
	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	    z->opcode_map != ZYDIS_OPCODE_MAP_0F)
		return NULL;
	if (z->opcode >> 4 == 9)
		return setcc_fns[z->opcode & 15][operand_place(i, &i->op[0])];
	if (z->opcode >> 4 == 4)
		return cmov_fns[z->opcode & 15][size_index(i->opsize) - 1]
			       [operand_place(i, &i->op[1])];
	return NULL;
}

x86_exec_fn *x86_bind_mov(struct x86_insn *i, const struct x86_zydis *z)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV: return bind_mov(i);
	case ZYDIS_MNEMONIC_MOVNTI:
		return mov_fns[size_index(i->op[1].size)][operand_form(i)]; /* has no 16-bit form */
	case ZYDIS_MNEMONIC_MOVZX: return bind_movzx(i);
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD: return bind_movsx(i);
	case ZYDIS_MNEMONIC_XCHG:
		return xchg_fns[size_index(i->opsize)][operand_place(i, &i->op[0])];
	case ZYDIS_MNEMONIC_LEA: return bind_lea(i);
	case ZYDIS_MNEMONIC_BSWAP:
		return i->opsize == 8 ? bswap64 : i->opsize == 4 ? bswap32 : bswap16;
	case ZYDIS_MNEMONIC_MOVBE: return movbe;
	case ZYDIS_MNEMONIC_XLAT: return xlat;
	case ZYDIS_MNEMONIC_CBW:
	case ZYDIS_MNEMONIC_CWDE:
	case ZYDIS_MNEMONIC_CDQE: return extend_acc;
	case ZYDIS_MNEMONIC_CWD:
	case ZYDIS_MNEMONIC_CDQ:
	case ZYDIS_MNEMONIC_CQO: return extend_to_dx;
	case ZYDIS_MNEMONIC_NOP: return bind_nop(z->insn);
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHW:
	case ZYDIS_MNEMONIC_PREFETCHWT1: return nop;
	default: return bind_conditional(i, z->insn);
	}
}
