/* The plain vector moves, done on the state directly: they are the most frequent vector
 * instructions of kernels and libraries (SDM 2B MOVUPS, MOVAPS, MOVDQU, MOVDQA, MOVD, MOVQ,
 * MOVSS, MOVSD, MOVLPS, MOVHPS and their VEX and EVEX forms, PXOR of a register with itself).
 *
 * A function of this file has the feature that the instruction needs in i->sel and the gate in
 * i->imm2. */
#include "x86/exec_host.h"

#include <Zydis/Zydis.h>

static inline u8 *xmm(struct x86_cpu *cpu, unsigned n) { return cpu->xsave + FX_XMM + 16 * n; }

static inline void begin(struct vcpu *v, const struct x86_insn *i)
{
	if (unlikely(!cpuid_bit(v->vm, i->sel)))
		x86_raise_ud(v);
	fpu_check_gate(v, (enum fpu_gate)i->imm2);
}

/* True if the instruction may go on here; else it has run through its thunk, for alignment
 * checks are in force. */
static inline bool begin_mem(struct vcpu *v, const struct x86_insn *i)
{
	begin(v, i);
	if (likely(!fpu_align_check(v)))
		return true;
	exec_host_mem(v, i);
	return false;
}

static inline gva_t address(struct vcpu *v, const struct x86_insn *i, unsigned size, bool store,
			    bool aligned)
{
	gva_t a = x86_operand(v, i, size, store ? ACC_WRITE : ACC_READ);

	if (aligned && unlikely(a & (size - 1)))
		x86_raise_gp0(v);
	return a;
}

/* --- Legacy SSE: the upper part of the register stays --- */

static inline void load16(struct vcpu *v, const struct x86_insn *i, bool aligned)
{
	if (!begin_mem(v, i))
		return;
	host_load(v, address(v, i, 16, false, aligned), xmm(&v->cpu, i->op[0].reg), 16);
	fpu_use(&v->cpu, XC_SSE);
}

static void sse_load(struct vcpu *v, const struct x86_insn *i) { load16(v, i, false); }

static void sse_load_aligned(struct vcpu *v, const struct x86_insn *i) { load16(v, i, true); }

static inline void store16(struct vcpu *v, const struct x86_insn *i, bool aligned)
{
	if (!begin_mem(v, i))
		return;
	host_store(v, address(v, i, 16, true, aligned), xmm(&v->cpu, i->op[1].reg), 16);
}

static void sse_store(struct vcpu *v, const struct x86_insn *i) { store16(v, i, false); }

static void sse_store_aligned(struct vcpu *v, const struct x86_insn *i) { store16(v, i, true); }

static void sse_copy(struct vcpu *v, const struct x86_insn *i)
{
	begin(v, i);
	memmove(xmm(&v->cpu, i->op[0].reg), xmm(&v->cpu, i->op[1].reg), 16);
	fpu_use(&v->cpu, XC_SSE);
}

static void sse_zero(struct vcpu *v, const struct x86_insn *i)
{
	begin(v, i);
	memset(xmm(&v->cpu, i->op[0].reg), 0, 16);
	fpu_use(&v->cpu, XC_SSE);
}

static inline void set_low(struct x86_cpu *cpu, unsigned n, u64 low)
{
	u64 value[2] = { low, 0 };

	memcpy(xmm(cpu, n), value, 16);
	fpu_use(cpu, XC_SSE);
}

/* MOVD, MOVQ, MOVSS, MOVSD from memory: the rest of the 128 bits becomes 0. */
static void sse_low_load(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->op[1].size;

	begin(v, i);
	set_low(&v->cpu, i->op[0].reg, x86_read(v, address(v, i, size, false, false), size));
}

/* Also the VEX and EVEX forms. */
static void vec_low_store(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->op[0].size;

	begin(v, i);
	x86_write(v, address(v, i, size, true, false),
		  le_load(fpu_vector_at(&v->cpu, i->op[1].reg, 0), size), size);
}

static void sse_low_copy(struct vcpu *v, const struct x86_insn *i)
{
	begin(v, i);
	set_low(&v->cpu, i->op[0].reg, le_load(xmm(&v->cpu, i->op[1].reg), 8));
}

static void sse_from_gpr(struct vcpu *v, const struct x86_insn *i)
{
	u64 value = v->cpu.gpr[i->op[1].reg];

	begin(v, i);
	set_low(&v->cpu, i->op[0].reg, i->op[1].size == 8 ? value : (u32)value);
}

/* Also the VEX and EVEX forms. */
static void vec_to_gpr(struct vcpu *v, const struct x86_insn *i)
{
	begin(v, i);
	v->cpu.gpr[i->op[0].reg] = le_load(fpu_vector_at(&v->cpu, i->op[1].reg, 0), i->op[0].size);
}

/* MOVLPS, MOVLPD, MOVHPS, MOVHPD: one half, the other stays. */
static inline void half_load(struct vcpu *v, const struct x86_insn *i, unsigned half)
{
	begin(v, i);
	le_store(xmm(&v->cpu, i->op[0].reg) + half, x86_read(v, address(v, i, 8, false, false), 8),
		 8);
	fpu_use(&v->cpu, XC_SSE);
}

static void sse_lower_load(struct vcpu *v, const struct x86_insn *i) { half_load(v, i, 0); }

static void sse_upper_load(struct vcpu *v, const struct x86_insn *i) { half_load(v, i, 8); }

static void sse_upper_store(struct vcpu *v, const struct x86_insn *i)
{
	begin(v, i);
	x86_write(v, address(v, i, 8, true, false), le_load(xmm(&v->cpu, i->op[1].reg) + 8, 8), 8);
}

/* --- VEX and EVEX: the register is written to its full length --- */

/* Copies of a known size are moves; any other is a call. */
static inline void copy(void *to, const void *from, unsigned size)
{
	if (size == 16)
		memcpy(to, from, 16);
	else if (size == 32)
		memcpy(to, from, 32);
	else
		memcpy(to, from, 64);
}

static inline void vload(struct vcpu *v, const struct x86_insn *i, bool aligned)
{
	unsigned size = i->op[1].size;
	u8 value[64] = { 0 };
	const u8 *from;
	gva_t a;

	if (!begin_mem(v, i))
		return;
	a = address(v, i, size, false, aligned);
	from = tlb_hit(v, a, size, false);
	if (likely(from != NULL))
		copy(value, from, size);
	else
		x86_read_bytes(v, a, value, size);
	fpu_set_vector(&v->cpu, i->op[0].reg, value, size);
}

static void vec_load(struct vcpu *v, const struct x86_insn *i) { vload(v, i, false); }

static void vec_load_aligned(struct vcpu *v, const struct x86_insn *i) { vload(v, i, true); }

static inline void vstore(struct vcpu *v, const struct x86_insn *i, bool aligned)
{
	unsigned size = i->op[0].size;
	u8 value[64], *to;
	gva_t a;

	if (!begin_mem(v, i))
		return;
	fpu_get_vector(&v->cpu, i->op[1].reg, value, size);
	a = address(v, i, size, true, aligned);
	to = tlb_hit(v, a, size, true);
	if (likely(to != NULL))
		copy(to, value, size);
	else
		x86_write_bytes(v, a, value, size);
}

static void vec_store(struct vcpu *v, const struct x86_insn *i) { vstore(v, i, false); }

static void vec_store_aligned(struct vcpu *v, const struct x86_insn *i) { vstore(v, i, true); }

static void vec_copy(struct vcpu *v, const struct x86_insn *i)
{
	u8 value[64] = { 0 };

	begin(v, i);
	fpu_get_vector(&v->cpu, i->op[1].reg, value, i->op[0].size);
	fpu_set_vector(&v->cpu, i->op[0].reg, value, i->op[0].size);
}

static void vec_zero(struct vcpu *v, const struct x86_insn *i)
{
	static const u8 zeros[64];

	begin(v, i);
	fpu_set_vector(&v->cpu, i->op[0].reg, zeros, 16);
}

static void vec_low_load(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->op[1].size;
	u8 value[64] = { 0 };

	begin(v, i);
	le_store(value, x86_read(v, address(v, i, size, false, false), size), 8);
	fpu_set_vector(&v->cpu, i->op[0].reg, value, 16);
}

static void vec_from_gpr(struct vcpu *v, const struct x86_insn *i)
{
	u8 value[64] = { 0 };

	begin(v, i);
	le_store(value, v->cpu.gpr[i->op[1].reg], i->op[1].size);
	fpu_set_vector(&v->cpu, i->op[0].reg, value, 16);
}

/* --- Binding --- */

enum shape { LOAD_STORE, LOAD_STORE_ALIGNED, STORE_ALIGNED, LOW, LOWER, UPPER, ZERO };

static const struct move {
	u16 mnemonic, feature;
	u8 shape; /* enum shape */
	bool vex;
} moves[] = {
	{ ZYDIS_MNEMONIC_MOVUPS, CPUID_SSE, LOAD_STORE, false },
	{ ZYDIS_MNEMONIC_MOVAPS, CPUID_SSE, LOAD_STORE_ALIGNED, false },
	{ ZYDIS_MNEMONIC_MOVUPD, CPUID_SSE2, LOAD_STORE, false },
	{ ZYDIS_MNEMONIC_MOVAPD, CPUID_SSE2, LOAD_STORE_ALIGNED, false },
	{ ZYDIS_MNEMONIC_MOVDQU, CPUID_SSE2, LOAD_STORE, false },
	{ ZYDIS_MNEMONIC_MOVDQA, CPUID_SSE2, LOAD_STORE_ALIGNED, false },
	{ ZYDIS_MNEMONIC_LDDQU, CPUID_SSE3, LOAD_STORE, false },
	{ ZYDIS_MNEMONIC_MOVNTPS, CPUID_SSE, STORE_ALIGNED, false },
	{ ZYDIS_MNEMONIC_MOVNTPD, CPUID_SSE2, STORE_ALIGNED, false },
	{ ZYDIS_MNEMONIC_MOVNTDQ, CPUID_SSE2, STORE_ALIGNED, false },
	{ ZYDIS_MNEMONIC_MOVD, CPUID_SSE2, LOW, false },
	{ ZYDIS_MNEMONIC_MOVQ, CPUID_SSE2, LOW, false },
	{ ZYDIS_MNEMONIC_MOVSS, CPUID_SSE, LOW, false },
	{ ZYDIS_MNEMONIC_MOVSD, CPUID_SSE2, LOW, false },
	{ ZYDIS_MNEMONIC_MOVLPS, CPUID_SSE, LOWER, false },
	{ ZYDIS_MNEMONIC_MOVLPD, CPUID_SSE2, LOWER, false },
	{ ZYDIS_MNEMONIC_MOVHPS, CPUID_SSE, UPPER, false },
	{ ZYDIS_MNEMONIC_MOVHPD, CPUID_SSE2, UPPER, false },
	{ ZYDIS_MNEMONIC_PXOR, CPUID_SSE2, ZERO, false },
	{ ZYDIS_MNEMONIC_XORPS, CPUID_SSE, ZERO, false },
	{ ZYDIS_MNEMONIC_XORPD, CPUID_SSE2, ZERO, false },
	{ ZYDIS_MNEMONIC_VMOVUPS, CPUID_AVX, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVAPS, CPUID_AVX, LOAD_STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VMOVUPD, CPUID_AVX, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVAPD, CPUID_AVX, LOAD_STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VMOVDQU, CPUID_AVX, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVDQA, CPUID_AVX, LOAD_STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VLDDQU, CPUID_AVX, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVNTDQ, CPUID_AVX, STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VMOVNTPS, CPUID_AVX, STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VMOVNTPD, CPUID_AVX, STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VMOVDQU8, CPUID_AVX512BW, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVDQU16, CPUID_AVX512BW, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVDQU32, CPUID_AVX512F, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVDQU64, CPUID_AVX512F, LOAD_STORE, true },
	{ ZYDIS_MNEMONIC_VMOVDQA32, CPUID_AVX512F, LOAD_STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VMOVDQA64, CPUID_AVX512F, LOAD_STORE_ALIGNED, true },
	{ ZYDIS_MNEMONIC_VMOVD, CPUID_AVX, LOW, true },
	{ ZYDIS_MNEMONIC_VMOVQ, CPUID_AVX, LOW, true },
	{ ZYDIS_MNEMONIC_VPXOR, CPUID_AVX, ZERO, true },
	{ ZYDIS_MNEMONIC_VXORPS, CPUID_AVX, ZERO, true },
	{ ZYDIS_MNEMONIC_VXORPD, CPUID_AVX, ZERO, true },
};

/* Whether the operands are of these kinds. */
static bool kinds(const struct x86_insn *i, enum x86_operand_kind a, enum x86_operand_kind b)
{
	return i->op[0].kind == a && i->op[1].kind == b;
}

static x86_exec_fn *bind_low(const struct x86_insn *i, bool vex)
{
	bool gpr = i->mnemonic != ZYDIS_MNEMONIC_MOVSS && i->mnemonic != ZYDIS_MNEMONIC_MOVSD;

	if (kinds(i, OPK_VEC, OPK_MEM))
		return vex ? vec_low_load : sse_low_load;
	if (kinds(i, OPK_MEM, OPK_VEC))
		return vec_low_store;
	if (kinds(i, OPK_VEC, OPK_GPR))
		return vex ? vec_from_gpr : sse_from_gpr;
	if (kinds(i, OPK_GPR, OPK_VEC))
		return vec_to_gpr;
	if (gpr && !vex && kinds(i, OPK_VEC, OPK_VEC))
		return sse_low_copy;
	return NULL;
}

static x86_exec_fn *bind_shape(const struct x86_insn *i, const struct move *m)
{
	bool aligned = m->shape != LOAD_STORE;

	switch (m->shape) {
	case LOAD_STORE:
	case LOAD_STORE_ALIGNED:
	case STORE_ALIGNED:
		if (kinds(i, OPK_VEC, OPK_MEM) && m->shape != STORE_ALIGNED)
			return m->vex    ? aligned ? vec_load_aligned : vec_load
			       : aligned ? sse_load_aligned
					 : sse_load;
		if (kinds(i, OPK_MEM, OPK_VEC))
			return m->vex    ? aligned ? vec_store_aligned : vec_store
			       : aligned ? sse_store_aligned
					 : sse_store;
		if (kinds(i, OPK_VEC, OPK_VEC))
			return m->vex ? vec_copy : sse_copy;
		return NULL;
	case LOW: return bind_low(i, m->vex);
	case LOWER:
		if (kinds(i, OPK_VEC, OPK_MEM))
			return sse_lower_load;
		return kinds(i, OPK_MEM, OPK_VEC) ? vec_low_store : NULL;
	case UPPER:
		if (kinds(i, OPK_VEC, OPK_MEM))
			return sse_upper_load;
		return kinds(i, OPK_MEM, OPK_VEC) ? sse_upper_store : NULL;
	default: break;
	}
	if (m->vex)
		return i->op[1].kind == OPK_VEC && i->op[2].kind == OPK_VEC &&
				       i->op[1].reg == i->op[2].reg
			       ? vec_zero
			       : NULL;
	return kinds(i, OPK_VEC, OPK_VEC) && i->op[0].reg == i->op[1].reg ? sse_zero : NULL;
}

/* The EVEX form of an instruction whose VEX form is AVX needs AVX-512; a masked one goes the
 * general way. Operands: EVEX has the mask k0 as operand 1, which the moves here do not have. */
static bool plain_evex(struct x86_insn *i, const struct x86_zydis *z)
{
	const ZydisDecodedInstruction *d = z->insn;

	return d->avx.mask.reg == ZYDIS_REGISTER_NONE || d->avx.mask.reg == ZYDIS_REGISTER_K0
		       ? i->nops <= 3
		       : false;
}

x86_exec_fn *host_bind_move(struct x86_insn *i, const struct x86_zydis *z)
{
	bool evex = z->insn->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	const struct move *m = moves;
	struct x86_insn plain = *i;
	x86_exec_fn *fn;

	while (m < moves + ARRAY_LEN(moves) && m->mnemonic != i->mnemonic)
		m++;
	if (m == moves + ARRAY_LEN(moves) || (evex && !plain_evex(i, z)))
		return NULL;
	if (evex && plain.op[1].kind == OPK_MASK)
		plain.op[1] = plain.op[2];
	fn = bind_shape(&plain, m);
	if (fn == NULL)
		return NULL;
	i->op[1] = plain.op[1];
	i->sel = evex && m->feature == CPUID_AVX ? CPUID_AVX512F : m->feature;
	i->imm2 = evex ? GATE_AVX512 : m->vex ? GATE_AVX : GATE_SSE;
	return fn;
}
