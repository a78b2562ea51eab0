/* ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT XADD CMPXCHG CMPXCHG8B CMPXCHG16B (SDM 2).
 * One vCPU runs at a time, so LOCK needs no more than the decoder's check that it is allowed. */
#include "x86/alu.h"
#include "x86/exec.h"

#include <Zydis/Zydis.h>

/* --- Two operands ----------------------------------------------------------------------------- */

inline_fn void run_binary(struct vcpu *v, const struct x86_insn *i, enum alu_op op, unsigned size,
			  enum form form, enum addr_kind kind, x86_exec_fn *general)
{
	bool to_memory = form == FORM_MR || form == FORM_MI;
	enum x86_access acc = to_memory && alu_writes(op) ? ACC_RMW : ACC_READ;
	u16 cc = v->cpu.cc;
	struct mem_ref m;
	u64 a, b;

	if ((to_memory || form == FORM_RM) && !mem_open(v, i, &m, size, acc, kind)) {
		general(v, i);
		return;
	}
	if (form == FORM_RM)
		b = mem_get(v, &m, size, acc, kind);
	else
		b = form == FORM_RI || form == FORM_MI ? i->imm : reg_get(v, &i->op[1], size);
	a = to_memory ? mem_get(v, &m, size, acc, kind) : reg_get(v, &i->op[0], size);
	a = alu_binary(op, size, a, b, &cc);
	if (to_memory && alu_writes(op))
		mem_put(v, &m, a, size, kind);
	else if (alu_writes(op))
		reg_set(v, &i->op[0], a, size);
	v->cpu.cc = cc;
}

#define ALU_LIST(X)     \
	X(add, ALU_ADD) \
	X(or, ALU_OR)   \
	X(adc, ALU_ADC) \
	X(sbb, ALU_SBB) \
	X(and, ALU_AND) \
	X(sub, ALU_SUB) \
	X(xor, ALU_XOR) \
	X(cmp, ALU_CMP) \
	X(test, ALU_TEST)

#define BINARY(name, general, form, kind, op, OP, bits)                           \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i)   \
	{                                                                         \
		run_binary(v, i, OP, bits / 8, form, kind, op##bits##_##general); \
	}
#define BINARIES(op, OP)              \
	FORM_LIST(BINARY, op, OP, 8)  \
	FORM_LIST(BINARY, op, OP, 16) \
	FORM_LIST(BINARY, op, OP, 32) \
	FORM_LIST(BINARY, op, OP, 64)
ALU_LIST(BINARIES)

#define BINARY_ENTRY(name, general, form, kind, op, bits) [form + kind] = op##bits##_##name,
#define BINARY_ENTRIES(op, OP)                        \
	[OP] = { { FORM_LIST(BINARY_ENTRY, op, 8) },  \
		 { FORM_LIST(BINARY_ENTRY, op, 16) }, \
		 { FORM_LIST(BINARY_ENTRY, op, 32) }, \
		 { FORM_LIST(BINARY_ENTRY, op, 64) } },
static x86_exec_fn *const binary_fns[ALU_OPS][4][FORMS] = { ALU_LIST(BINARY_ENTRIES) };

/* --- One operand ------------------------------------------------------------------------------ */

inline_fn void run_unary(struct vcpu *v, const struct x86_insn *i, enum alu_unary op, unsigned size,
			 enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	u16 cc = v->cpu.cc;
	struct mem_ref m;

	if (place == PLACE_REG) {
		reg_set(v, &i->op[0], alu_one(op, size, reg_get(v, &i->op[0], size), &cc), size);
	} else if (mem_open(v, i, &m, size, ACC_RMW, kind)) {
		u64 a = mem_get(v, &m, size, ACC_RMW, kind);

		mem_put(v, &m, alu_one(op, size, a, &cc), size, kind);
	} else {
		general(v, i);
		return;
	}
	v->cpu.cc = cc;
}

#define UNARY_LIST(X)   \
	X(inc, ALU_INC) \
	X(dec, ALU_DEC) \
	X(neg, ALU_NEG) \
	X(not, ALU_NOT)

#define UNARY(name, general, place, kind, op, OP, bits)                           \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i)   \
	{                                                                         \
		run_unary(v, i, OP, bits / 8, place, kind, op##bits##_##general); \
	}
#define UNARIES(op, OP)               \
	PLACE_LIST(UNARY, op, OP, 8)  \
	PLACE_LIST(UNARY, op, OP, 16) \
	PLACE_LIST(UNARY, op, OP, 32) \
	PLACE_LIST(UNARY, op, OP, 64)
UNARY_LIST(UNARIES)

#define UNARY_ENTRY(name, general, place, kind, op, bits) [place + kind] = op##bits##_##name,
#define UNARY_ENTRIES(op, OP)                         \
	[OP] = { { PLACE_LIST(UNARY_ENTRY, op, 8) },  \
		 { PLACE_LIST(UNARY_ENTRY, op, 16) }, \
		 { PLACE_LIST(UNARY_ENTRY, op, 32) }, \
		 { PLACE_LIST(UNARY_ENTRY, op, 64) } },
static x86_exec_fn *const unary_fns[ALU_UNARIES][4][PLACES] = { UNARY_LIST(UNARY_ENTRIES) };

/* --- XADD, CMPXCHG ---------------------------------------------------------------------------- */

inline_fn void run_xadd(struct vcpu *v, const struct x86_insn *i, unsigned size, enum place place,
			enum addr_kind kind, x86_exec_fn *general)
{
	struct mem_ref m;
	u16 cc = 0;

	if (place == PLACE_MEM && !mem_open(v, i, &m, size, ACC_RMW, kind)) {
		general(v, i);
		return;
	}

	u64 a = place == PLACE_REG ? reg_get(v, &i->op[0], size)
				   : mem_get(v, &m, size, ACC_RMW, kind);
	u64 sum = alu_binary(ALU_ADD, size, a, reg_get(v, &i->op[1], size), &cc);

	/* The source first: if both are one register, the sum stays. */
	if (place == PLACE_REG) {
		reg_set(v, &i->op[1], a, size);
		reg_set(v, &i->op[0], sum, size);
	} else {
		mem_put(v, &m, sum, size, kind);
		reg_set(v, &i->op[1], a, size);
	}
	v->cpu.cc = cc;
}

/* *dest and *acc change as the registers of CMPXCHG dest, src do, all 64 bits of them. */
inline_fn u16 host_cmpxchg(unsigned size, u64 *dest, u64 *acc, u64 src)
{
	u16 cc;

#define CMPXCHG(op)                                          \
	asm("cmpxchg" op "\n\tmovq %%rax, %[after]" CC_SAVE  \
	    : [d] "+q"(*dest), [after] "=&r"(*acc), "=a"(cc) \
	    : [s] "q"(src), "a"(*acc))
	switch (size) {
	case 1: CMPXCHG("b %b[s], %b[d]"); break;
	case 2: CMPXCHG("w %w[s], %w[d]"); break;
	case 4: CMPXCHG("l %k[s], %k[d]"); break;
	default: CMPXCHG("q %q[s], %q[d]");
	}
#undef CMPXCHG
	return cc;
}

/* The destination is written in any case: with its old value if the comparison fails. */
inline_fn void run_cmpxchg(struct vcpu *v, const struct x86_insn *i, unsigned size,
			   enum place place, enum addr_kind kind, x86_exec_fn *general)
{
	u64 src = reg_get(v, &i->op[1], size), acc = v->cpu.gpr[RAX], dest;
	u16 cc;

	if (place == PLACE_MEM) {
		struct mem_ref m;

		if (!mem_open(v, i, &m, size, ACC_RMW, kind)) {
			general(v, i);
			return;
		}
		dest = mem_get(v, &m, size, ACC_RMW, kind);
		cc = host_cmpxchg(size, &dest, &acc, src);
		mem_put(v, &m, dest, size, kind);
		v->cpu.gpr[RAX] = acc;
	} else if (size >= 4) {
		dest = v->cpu.gpr[i->op[0].reg];
		cc = host_cmpxchg(size, &dest, &acc, src);
		v->cpu.gpr[RAX] = acc;
		v->cpu.gpr[i->op[0].reg] = dest;
	} else {
		dest = reg_get(v, &i->op[0], size);
		cc = host_cmpxchg(size, &dest, &acc, src);
		v->cpu.gpr[RAX] = acc;
		reg_set(v, &i->op[0], dest, size);
	}
	v->cpu.cc = cc;
}

#define EXCHANGE(name, general, place, kind, op, bits)                          \
	static void op##bits##_##name(struct vcpu *v, const struct x86_insn *i) \
	{                                                                       \
		run_##op(v, i, bits / 8, place, kind, op##bits##_##general);    \
	}
#define EXCHANGES(op)                \
	PLACE_LIST(EXCHANGE, op, 8)  \
	PLACE_LIST(EXCHANGE, op, 16) \
	PLACE_LIST(EXCHANGE, op, 32) \
	PLACE_LIST(EXCHANGE, op, 64)
EXCHANGES(xadd)
EXCHANGES(cmpxchg)

static x86_exec_fn *const xadd_fns[4][PLACES] = { { PLACE_LIST(UNARY_ENTRY, xadd, 8) },
						  { PLACE_LIST(UNARY_ENTRY, xadd, 16) },
						  { PLACE_LIST(UNARY_ENTRY, xadd, 32) },
						  { PLACE_LIST(UNARY_ENTRY, xadd, 64) } };
static x86_exec_fn *const cmpxchg_fns[4][PLACES] = { { PLACE_LIST(UNARY_ENTRY, cmpxchg, 8) },
						     { PLACE_LIST(UNARY_ENTRY, cmpxchg, 16) },
						     { PLACE_LIST(UNARY_ENTRY, cmpxchg, 32) },
						     { PLACE_LIST(UNARY_ENTRY, cmpxchg, 64) } };

static void set_zf(struct vcpu *v, bool zf)
{
	v->cpu.cc = (u16)((v->cpu.cc & ~CC_ZF) | (zf ? CC_ZF : 0));
}

static void cmpxchg8b(struct vcpu *v, const struct x86_insn *i)
{
	u64 *r = v->cpu.gpr;
	gva_t a = x86_operand(v, i, 8, ACC_RMW);
	u64 old = x86_read_rmw(v, a, 8);
	bool equal = old == ((u64)(u32)r[RDX] << 32 | (u32)r[RAX]);

	x86_write(v, a, equal ? r[RCX] << 32 | (u32)r[RBX] : old, 8);
	if (!equal) {
		r[RAX] = (u32)old;
		r[RDX] = old >> 32;
	}
	set_zf(v, equal);
}

static void cmpxchg16b(struct vcpu *v, const struct x86_insn *i)
{
	u64 *r = v->cpu.gpr;

	if (!cpuid_has(v->vm, FEAT_CX16))
		x86_raise_ud(v);

	gva_t a = x86_operand(v, i, 16, ACC_RMW);

	if (a & 15)
		x86_raise_gp0(v);

	/* Aligned, so both halves are on one page and only the first access can fault. */
	u64 low = x86_read_rmw(v, a, 8), high = x86_read_rmw(v, a + 8, 8);
	bool equal = low == r[RAX] && high == r[RDX];

	x86_write(v, a, equal ? r[RBX] : low, 8);
	x86_write(v, a + 8, equal ? r[RCX] : high, 8);
	if (!equal) {
		r[RAX] = low;
		r[RDX] = high;
	}
	set_zf(v, equal);
}

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_binary(enum alu_op op, const struct x86_insn *i)
{
	unsigned form = operand_form(i);

	return form < FORMS ? binary_fns[op][size_index(i->opsize)][form] : NULL;
}

static x86_exec_fn *bind_unary(x86_exec_fn *const fns[4][PLACES], const struct x86_insn *i)
{
	return fns[size_index(i->opsize)][operand_place(i, &i->op[0])];
}

x86_exec_fn *x86_bind_alu(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_ADD: return bind_binary(ALU_ADD, i);
	case ZYDIS_MNEMONIC_OR: return bind_binary(ALU_OR, i);
	case ZYDIS_MNEMONIC_ADC: return bind_binary(ALU_ADC, i);
	case ZYDIS_MNEMONIC_SBB: return bind_binary(ALU_SBB, i);
	case ZYDIS_MNEMONIC_AND: return bind_binary(ALU_AND, i);
	case ZYDIS_MNEMONIC_SUB: return bind_binary(ALU_SUB, i);
	case ZYDIS_MNEMONIC_XOR: return bind_binary(ALU_XOR, i);
	case ZYDIS_MNEMONIC_CMP: return bind_binary(ALU_CMP, i);
	case ZYDIS_MNEMONIC_TEST: return bind_binary(ALU_TEST, i);
	case ZYDIS_MNEMONIC_INC: return bind_unary(unary_fns[ALU_INC], i);
	case ZYDIS_MNEMONIC_DEC: return bind_unary(unary_fns[ALU_DEC], i);
	case ZYDIS_MNEMONIC_NEG: return bind_unary(unary_fns[ALU_NEG], i);
	case ZYDIS_MNEMONIC_NOT: return bind_unary(unary_fns[ALU_NOT], i);
	case ZYDIS_MNEMONIC_XADD: return bind_unary(xadd_fns, i);
	case ZYDIS_MNEMONIC_CMPXCHG: return bind_unary(cmpxchg_fns, i);
	case ZYDIS_MNEMONIC_CMPXCHG8B: return cmpxchg8b;
	case ZYDIS_MNEMONIC_CMPXCHG16B: return cmpxchg16b;
	default: return NULL;
	}
}
