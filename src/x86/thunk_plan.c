/* What a thunk must load and store, from Zydis' operand list, and which features and which state
 * its instruction needs (SDM 2A 2.4 to 2.8: exception classes; APM for SSE4a). */
#include "x86/thunk.h"

#include "x86/exec.h"

#include <Zydis/Zydis.h>

/* --- Features --- */

struct feature_row {
	u16 isa_set, need, need2;
};

#define SETS3(name, a, b)                                                           \
	{ ZYDIS_ISA_SET_##name##_128, a, b }, { ZYDIS_ISA_SET_##name##_256, a, b }, \
	{                                                                           \
		ZYDIS_ISA_SET_##name##_512, a, b                                    \
	}

static const struct feature_row features[] = {
	{ ZYDIS_ISA_SET_X87, CPUID_FPU, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_FCMOV, CPUID_FPU, CPUID_CMOV },
	{ ZYDIS_ISA_SET_PPRO, CPUID_FPU, CPUID_CMOV }, /* FCOMI */
	{ ZYDIS_ISA_SET_SSE3X87, CPUID_FPU, CPUID_SSE3 },
	{ ZYDIS_ISA_SET_PENTIUMMMX, CPUID_MMX, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSE, CPUID_SSE, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSEMXCSR, CPUID_SSE, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSE2, CPUID_SSE2, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSE2MMX, CPUID_SSE2, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSE3, CPUID_SSE3, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSSE3, CPUID_SSSE3, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSSE3MMX, CPUID_SSSE3, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSE4, CPUID_SSE41, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSE42, CPUID_SSE42, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SSE4A, CPUID_SSE4A, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_POPCNT, CPUID_POPCNT, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_LZCNT, CPUID_LZCNT, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_BMI1, CPUID_BMI1, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_BMI2, CPUID_BMI2, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_ADOX_ADCX, CPUID_ADX, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_RDRAND, CPUID_RDRAND, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_RDSEED, CPUID_RDSEED, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AES, CPUID_AES, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_PCLMULQDQ, CPUID_PCLMULQDQ, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_SHA, CPUID_SHA, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_GFNI, CPUID_GFNI, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVX, CPUID_AVX, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVXAES, CPUID_AVX, CPUID_AES },
	{ ZYDIS_ISA_SET_AVX_GFNI, CPUID_AVX, CPUID_GFNI },
	{ ZYDIS_ISA_SET_AVX_VNNI, CPUID_AVX2, CPUID_AVX_VNNI },
	{ ZYDIS_ISA_SET_AVX2, CPUID_AVX2, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVX2GATHER, CPUID_AVX2, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_FMA, CPUID_FMA, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_F16C, CPUID_F16C, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_VAES, CPUID_AVX, CPUID_VAES },
	{ ZYDIS_ISA_SET_VPCLMULQDQ, CPUID_AVX, CPUID_VPCLMULQDQ },
	SETS3(AVX512F, CPUID_AVX512F, CPUID_ALWAYS),
	{ ZYDIS_ISA_SET_AVX512F_128N, CPUID_AVX512F, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVX512F_SCALAR, CPUID_AVX512F, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVX512F_KOP, CPUID_AVX512F, CPUID_ALWAYS },
	SETS3(AVX512BW, CPUID_AVX512BW, CPUID_ALWAYS),
	{ ZYDIS_ISA_SET_AVX512BW_128N, CPUID_AVX512BW, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVX512BW_KOP, CPUID_AVX512BW, CPUID_ALWAYS },
	SETS3(AVX512CD, CPUID_AVX512CD, CPUID_ALWAYS),
	SETS3(AVX512DQ, CPUID_AVX512DQ, CPUID_ALWAYS),
	{ ZYDIS_ISA_SET_AVX512DQ_128N, CPUID_AVX512DQ, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVX512DQ_SCALAR, CPUID_AVX512DQ, CPUID_ALWAYS },
	{ ZYDIS_ISA_SET_AVX512DQ_KOP, CPUID_AVX512DQ, CPUID_ALWAYS },
	SETS3(AVX512_BF16, CPUID_AVX512_BF16, CPUID_AVX512F),
	SETS3(AVX512_BITALG, CPUID_AVX512_BITALG, CPUID_AVX512F),
	SETS3(AVX512_FP16, CPUID_AVX512_FP16, CPUID_AVX512F),
	{ ZYDIS_ISA_SET_AVX512_FP16_128N, CPUID_AVX512_FP16, CPUID_AVX512F },
	{ ZYDIS_ISA_SET_AVX512_FP16_SCALAR, CPUID_AVX512_FP16, CPUID_AVX512F },
	SETS3(AVX512_GFNI, CPUID_GFNI, CPUID_AVX512F),
	SETS3(AVX512_IFMA, CPUID_AVX512_IFMA, CPUID_AVX512F),
	SETS3(AVX512_VAES, CPUID_VAES, CPUID_AVX512F),
	SETS3(AVX512_VBMI, CPUID_AVX512_VBMI, CPUID_AVX512F),
	SETS3(AVX512_VBMI2, CPUID_AVX512_VBMI2, CPUID_AVX512F),
	SETS3(AVX512_VNNI, CPUID_AVX512_VNNI, CPUID_AVX512F),
	SETS3(AVX512_VP2INTERSECT, CPUID_AVX512_VP2INTERSECT, CPUID_AVX512F),
	SETS3(AVX512_VPCLMULQDQ, CPUID_VPCLMULQDQ, CPUID_AVX512F),
	SETS3(AVX512_VPOPCNTDQ, CPUID_AVX512_VPOPCNTDQ, CPUID_AVX512F),
};

static bool is_x87(const ZydisDecodedInstruction *z)
{
	return z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z->opcode >= 0xd8 && z->opcode <= 0xdf;
}

static bool plan_features(struct thunk_plan *p, const ZydisDecodedInstruction *z)
{
	p->features[2] = CPUID_ALWAYS;
	/* The 128-bit VEX form of carry-less multiply is older than VPCLMULQDQ. */
	if (z->mnemonic == ZYDIS_MNEMONIC_VPCLMULQDQ && z->meta.isa_set == ZYDIS_ISA_SET_AVX)
		p->features[2] = CPUID_PCLMULQDQ;
	/* Zydis' PPRO holds more than FCOMI. */
	if (z->meta.isa_set == ZYDIS_ISA_SET_PPRO && !is_x87(z))
		return false;
	for (unsigned k = 0; k < ARRAY_LEN(features); k++) {
		if (features[k].isa_set == z->meta.isa_set) {
			p->features[0] = features[k].need;
			p->features[1] = features[k].need2;
			return true;
		}
	}
	return false;
}

/* --- Classes --- */

/* Control instructions leave FOP, FIP and FDP alone (SDM 1 8.1.8). */
static bool x87_sets_pointers(const ZydisDecodedInstruction *z)
{
	return z->mnemonic != ZYDIS_MNEMONIC_FLDCW && z->mnemonic != ZYDIS_MNEMONIC_FNSTCW &&
	       z->mnemonic != ZYDIS_MNEMONIC_FNSTSW;
}

/* The result depends on MXCSR or goes into it. Zydis does not list MXCSR as an operand of
 * computations. */
static bool uses_mxcsr(const ZydisDecodedInstruction *z)
{
	switch (z->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_AVX11:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E2NF:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E3NF:
	case ZYDIS_EXCEPTION_CLASS_E11:
	case ZYDIS_EXCEPTION_CLASS_E11NF: return true;
	default: break;
	}
	switch (z->mnemonic) {
	/* These raise nothing but follow DAZ. */
	case ZYDIS_MNEMONIC_VRCP14PS:
	case ZYDIS_MNEMONIC_VRCP14PD:
	case ZYDIS_MNEMONIC_VRCP14SS:
	case ZYDIS_MNEMONIC_VRCP14SD:
	case ZYDIS_MNEMONIC_VRSQRT14PS:
	case ZYDIS_MNEMONIC_VRSQRT14PD:
	case ZYDIS_MNEMONIC_VRSQRT14SS:
	case ZYDIS_MNEMONIC_VRSQRT14SD:
	case ZYDIS_MNEMONIC_VFPCLASSPS:
	case ZYDIS_MNEMONIC_VFPCLASSPD:
	case ZYDIS_MNEMONIC_VFPCLASSSS:
	case ZYDIS_MNEMONIC_VFPCLASSSD: return true;
	default: break;
	}
	/* Other computing instructions, some without an exception class (conversions to and from
	 * MMX; FP16). */
	return z->meta.category == ZYDIS_CATEGORY_CONVERT || z->meta.isa_set == ZYDIS_ISA_SET_FMA ||
	       (z->meta.isa_set >= ZYDIS_ISA_SET_AVX512_FP16_128 &&
		z->meta.isa_set <= ZYDIS_ISA_SET_AVX512_FP16_SCALAR);
}

/* Legacy 16-byte operands of exception class 4 that need no alignment. */
static bool unaligned_class4(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM: return true;
	default: return false;
	}
}

static void plan_alignment(struct thunk *t, const ZydisDecodedInstruction *z)
{
	switch (z->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE1:
	case ZYDIS_EXCEPTION_CLASS_AVX1:
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E1NF:
		t->align_mask = (u8)(t->size - 1);
		t->flags |= THUNK_ALIGNED;
		break;
	case ZYDIS_EXCEPTION_CLASS_SSE2: t->align_mask = t->size == 16 ? 15 : 0; break;
	case ZYDIS_EXCEPTION_CLASS_SSE4:
		/* For SHA the manuals ask for alignment; processors that do not are right too,
		 * and the host decides. */
		if (t->size == 16 && !unaligned_class4(z->mnemonic) &&
		    z->meta.isa_set != ZYDIS_ISA_SET_SHA)
			t->align_mask = 15;
		break;
	default:
		/* These have no class of their own (SDM 2A table 23-4). */
		if (z->mnemonic == ZYDIS_MNEMONIC_CVTPD2PI ||
		    z->mnemonic == ZYDIS_MNEMONIC_CVTTPD2PI)
			t->align_mask = 15;
	}
}

static bool suppresses_faults(const ZydisDecodedInstruction *z)
{
	/* Elements of the mask and of memory differ: class E4NF, not E4 as Zydis says. */
	if (z->mnemonic == ZYDIS_MNEMONIC_VGF2P8AFFINEQB ||
	    z->mnemonic == ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB ||
	    z->mnemonic == ZYDIS_MNEMONIC_VCVTNE2PS2BF16 || z->mnemonic == ZYDIS_MNEMONIC_VDBPSADBW)
		return false;
	switch (z->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11: return true;
	default: return false;
	}
}

/* --- Operands --- */

u8 thunk_register(u32 reg)
{
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return (u8)(reg - ZYDIS_REGISTER_AH + 16);
	if (ZydisRegisterGetClass(reg) != ZYDIS_REGCLASS_GPR8)
		return (u8)ZydisRegisterGetId(reg);
	return (u8)(reg >= ZYDIS_REGISTER_SPL ? reg - ZYDIS_REGISTER_SPL + RSP
					      : reg - ZYDIS_REGISTER_AL);
}

static bool plan_gpr(struct thunk_plan *p, const ZydisDecodedOperand *o)
{
	ZydisRegister reg = o->reg.value;
	bool reads = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ,
	     writes = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	bool fixed = o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
		     o->encoding == ZYDIS_OPERAND_ENCODING_NONE;
	u8 guest = thunk_register(reg), k = 0;

	if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR8 && writes)
		return false;
	/* RDI and RSI are the thunk's own, and no instruction has these or callee-saved
	 * registers as fixed operands. */
	if (fixed && guest != RAX && guest != RCX && guest != RDX)
		return false;
	while (k < p->gprs && p->gpr[k].guest != guest)
		k++;
	if (k == PLAN_GPRS)
		return false;
	if (k == p->gprs) {
		p->gprs++;
		p->gpr[k].guest = guest;
		p->gpr[k].host = 0xff;
	}
	if (fixed)
		p->gpr[k].host = guest;
	/* A 16-bit write leaves the rest of the register. */
	p->gpr[k].load |= reads || (writes && o->size < 32);
	p->gpr[k].store |= writes;
	return true;
}

static bool plan_vector(struct thunk_plan *p, const ZydisDecodedOperand *o)
{
	ZydisRegister reg = o->reg.value;
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);
	unsigned n = (unsigned)ZydisRegisterGetId(reg);
	u8 width = class == ZYDIS_REGCLASS_ZMM ? 64 : class == ZYDIS_REGCLASS_YMM ? 32 : 16;
	bool writes = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if (n > 31)
		return false;
	/* A legacy instruction may leave a part of its destination as it was; a VEX one says so
	 * by reading it. */
	if ((o->actions & ZYDIS_OPERAND_ACTION_MASK_READ) || !p->vex ||
	    (o->actions & ZYDIS_OPERAND_ACTION_CONDWRITE))
		p->load[n] = MAX(p->load[n], width);
	if (writes) {
		p->store[n] = MAX(p->store[n], width);
		if (n > 15)
			p->t.inuse |= XC_HI16;
		else
			p->t.inuse |= (u8)(XC_SSE | (width > 16 ? XC_AVX : 0) |
					   (width > 32 ? XC_ZMM_HI : 0));
	}
	if (width > 16 || n > 15)
		p->clears_upper = true;
	return true;
}

static bool plan_register(struct thunk_plan *p, const ZydisDecodedInstruction *z,
			  const ZydisDecodedOperand *o)
{
	ZydisRegister reg = o->reg.value;
	bool reads = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ,
	     writes = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	u8 bit = (u8)BIT((unsigned)ZydisRegisterGetId(reg) & 7);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return plan_gpr(p, o);
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM: return plan_vector(p, o);
	case ZYDIS_REGCLASS_MMX:
		p->t.flags |= THUNK_MMX | THUNK_WAITS;
		p->mmx_load |= bit;
		p->mmx_store |= writes ? bit : 0;
		return true;
	case ZYDIS_REGCLASS_MASK:
		if (o->encoding == ZYDIS_OPERAND_ENCODING_MASK && reg == ZYDIS_REGISTER_K0)
			return true; /* no masking */
		if (z->mnemonic == ZYDIS_MNEMONIC_VP2INTERSECTD ||
		    z->mnemonic == ZYDIS_MNEMONIC_VP2INTERSECTQ)
			bit = (u8)(3u << ((unsigned)ZydisRegisterGetId(reg) & 6)); /* a pair */
		p->k_load |= reads ? bit : 0;
		p->k_store |= writes ? bit : 0;
		p->t.inuse |= writes ? XC_OPMASK : 0;
		return true;
	case ZYDIS_REGCLASS_FLAGS:
		/* Flags that the instruction leaves alone or undefined keep their values as on
		 * the hardware. */
		p->flags_load = true;
		/* Zydis has the flags of ADCX and ADOX as read only. */
		p->flags_store |= writes || z->meta.isa_set == ZYDIS_ISA_SET_ADOX_ADCX;
		return true;
	case ZYDIS_REGCLASS_X87: return true;
	default: return p->t.flags & THUNK_X87; /* status, control and tag words of x87 */
	}
}

static bool plan_memory(struct thunk_plan *p, const ZydisDecodedInstruction *z,
			const ZydisDecodedOperand *o)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(o->mem.index);
	bool writes = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if (o->mem.type != ZYDIS_MEMOP_TYPE_MEM || p->t.size != 0)
		return false;
	if (class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM ||
	    class == ZYDIS_REGCLASS_ZMM)
		return false;
	if (o->size < 8 || o->size > 512 || (writes && (o->actions & ZYDIS_OPERAND_ACTION_READ)))
		return false;
	p->t.size = (u8)(o->size / 8);
	p->t.flags |= writes ? THUNK_STORE : THUNK_LOAD;
	/* A load without suppression is an ordinary one; a store writes the selected elements all the
	 * same. */
	if (z->avx.mask.reg != ZYDIS_REGISTER_NONE && z->avx.mask.reg != ZYDIS_REGISTER_K0 &&
	    (writes || suppresses_faults(z))) {
		p->t.flags |= THUNK_MASKED | (suppresses_faults(z) ? 0 : THUNK_WHOLE);
		p->t.mask_reg = (u8)ZydisRegisterGetId(z->avx.mask.reg);
		p->t.element_size = (u8)(o->element_size / 8);
		if (p->t.element_size == 0)
			return false;
		p->t.elements = (u8)(p->t.size / p->t.element_size);
	}
	return true;
}

/* How many mask bits take part. Memory elements and mask bits go together one to one, unless the
 * operand is repeated to the vector's length. */
static u8 mask_lanes(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops,
		     const struct thunk *t)
{
	unsigned lanes = t->elements;

	/* Scalar: bit 0 alone. Some vector conversions are in class E3 too. */
	if (t->elements == 1 && z->avx.broadcast.mode == ZYDIS_BROADCAST_MODE_INVALID)
		return 1;
	if (z->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID) {
		lanes = z->avx.vector_length / 8u / t->element_size;
		/* A widening conversion has fewer elements; a compare's destination is a mask
		 * and does not count. */
		if (ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(ops[0].reg.value) != ZYDIS_REGCLASS_MASK)
			lanes = MIN(lanes, ops[0].element_count);
	}
	return (u8)MIN(lanes, 64u);
}

static u8 plan_gate(const struct thunk_plan *p, const ZydisDecodedInstruction *z)
{
	/* CVTSS2SI from memory and the like have no vector register. */
	bool vectors = p->mxcsr, vex = z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY;

	if (p->t.flags & THUNK_X87)
		return GATE_X87;
	for (unsigned n = 0; n < 32; n++)
		vectors = vectors || p->load[n] != 0 || p->store[n] != 0;
	if (p->evex || (p->k_load | p->k_store))
		return GATE_AVX512;
	if (vectors)
		return vex ? GATE_AVX : GATE_SSE;
	if (p->t.flags & THUNK_MMX)
		return GATE_MMX;
	return vex ? GATE_VEX_GPR : GATE_NONE;
}

/* Registers that may be renamed get R8 to R11. */
static void assign_gprs(struct thunk_plan *p)
{
	u8 next = R8;

	for (unsigned k = 0; k < p->gprs; k++)
		if (p->gpr[k].host == 0xff)
			p->gpr[k].host = next++;
}

bool thunk_plan(struct thunk_plan *p, const struct x86_zydis *zy)
{
	const ZydisDecodedInstruction *z = zy->insn;

	memset(p, 0, sizeof(*p));
	p->mnemonic = (u16)z->mnemonic;
	p->mem.base = RSI;
	p->mem.index = PLAN_NO_INDEX;
	p->evex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	p->vex = p->evex || z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	if (!p->vex && z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return false;
	if (!plan_features(p, z))
		return false;
	if (is_x87(z)) {
		p->t.flags |= THUNK_X87 | THUNK_WAITS;
		if (x87_sets_pointers(z)) {
			p->t.flags |= THUNK_POINTERS;
			p->t.fop = (u16)((z->opcode & 7) << 8 | z->raw.modrm.mod << 6 |
					 z->raw.modrm.reg << 3 | z->raw.modrm.rm);
		}
		if (z->mnemonic == ZYDIS_MNEMONIC_FNSTCW || z->mnemonic == ZYDIS_MNEMONIC_FNSTSW)
			p->t.flags &= (u16)~THUNK_WAITS;
	}
	for (unsigned k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &zy->ops[k];
		bool ok = true;

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER)
			ok = plan_register(p, z, o);
		else if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
			ok = plan_memory(p, z, o);
		else if (o->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			ok = false;
		if (!ok)
			return false;
	}
	assign_gprs(p);
	p->mxcsr = !(p->t.flags & THUNK_X87) && uses_mxcsr(z);
	p->t.mmx_written = p->mmx_store;
	p->t.gate = plan_gate(p, z);
	if (p->t.flags & (THUNK_X87 | THUNK_MMX))
		p->t.inuse |= XC_X87;
	if (p->t.flags & THUNK_MASKED)
		p->t.lanes = mask_lanes(z, zy->ops, &p->t);
	if (p->t.size != 0)
		plan_alignment(&p->t, z);
	return true;
}
