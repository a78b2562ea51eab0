/* The host code of thunks: the re-encoded instruction (SDM 2A 2.1 to 2.7) and the loads and
 * stores around it.
 *
 * Registers: RDI x86_cpu, RSI memory operand, R8 to R11 the renamed operands, RAX for flags. All
 * are caller-saved, so a thunk has no frame and can be left at any instruction by a jump to the
 * exit of faults. */
#include "x86/thunk.h"

#include "x86/exec.h"

#include <Zydis/Zydis.h>

#define OFF_XSAVE ((u32)offsetof(struct x86_cpu, xsave))
#define OFF_GPR   ((u32)offsetof(struct x86_cpu, gpr))
#define OFF_CC    ((u32)offsetof(struct x86_cpu, cc))

_Static_assert(offsetof(struct vcpu, cpu) == 0, "thunks and handlers use vcpu and x86_cpu alike");
_Static_assert(offsetof(struct x86_cpu, gpr) == 0, "general registers start the state");

struct out {
	u8 *p;
	u8 *begin;
	uintptr_t at; /* address of begin when executed */
};

static void put(struct out *o, unsigned byte) { *o->p++ = (u8)byte; }

static void put32(struct out *o, u32 value)
{
	memcpy(o->p, &value, sizeof(value));
	o->p += sizeof(value);
}

static void put_bytes(struct out *o, const void *bytes, unsigned size)
{
	memcpy(o->p, bytes, size);
	o->p += size;
}

/* ModRM and displacement of [RDI + disp]. */
static void put_state(struct out *o, unsigned reg, u32 disp)
{
	put(o, 0x80 | (reg & 7) << 3 | RDI);
	put32(o, disp);
}

/* mov between a 64-bit register and [RDI + disp]; op 8B loads, 89 stores. */
static void put_mov(struct out *o, unsigned op, unsigned reg, u32 disp)
{
	put(o, 0x48 | (reg >> 3) << 2);
	put(o, op);
	put_state(o, reg, disp);
}

/* movzx reg32, byte [RDI + disp] */
static void put_movzx8(struct out *o, unsigned reg, u32 disp)
{
	put(o, 0x40 | (reg >> 3) << 2);
	put(o, 0x0f);
	put(o, 0xb6);
	put_state(o, reg, disp);
}

/* movups between xmm0..15 and [RDI + disp]; op 10 loads, 11 stores. */
static void put_movups(struct out *o, unsigned op, unsigned reg, u32 disp)
{
	if (reg >= 8)
		put(o, 0x44);
	put(o, 0x0f);
	put(o, op);
	put_state(o, reg, disp);
}

/* A VEX instruction with [RDI + disp]; map 1 0F, 3 0F3A; l 1: 256 bits. */
static void put_vex(struct out *o, unsigned map, unsigned pp, unsigned w, unsigned l, unsigned op,
		    unsigned reg, unsigned vvvv, u32 disp)
{
	put(o, 0xc4);
	put(o, (reg & 8 ? 0 : 0x80) | 0x60 | map);
	put(o, w << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
	put(o, op);
	put_state(o, reg, disp);
}

/* An EVEX instruction of 512 bits with [RDI + disp]; registers 0..31. */
static void put_evex(struct out *o, unsigned map, unsigned pp, unsigned w, unsigned op,
		     unsigned reg, unsigned vvvv, u32 disp)
{
	put(o, 0x62);
	put(o, (reg & 8 ? 0 : 0x80) | 0x60 | (reg & 16 ? 0 : 0x10) | map);
	put(o, w << 7 | (~vvvv & 15) << 3 | 4 | pp);
	put(o, 2u << 5 | (vvvv & 16 ? 0 : 8));
	put(o, op);
	put_state(o, reg, disp);
}

static u32 off_xmm(unsigned n) { return OFF_XSAVE + FX_XMM + 16 * n; }

static u32 off_ymm(unsigned n) { return OFF_XSAVE + XS_YMM + 16 * n; }

static u32 off_zmm(unsigned n)
{
	const struct xsave_layout *l = xsave_layout();

	return OFF_XSAVE + (n < 16 ? l->offset[6] + 32 * n : l->offset[7] + 64 * (n - 16));
}

static void load_vector(struct out *o, const struct thunk_plan *p, unsigned n)
{
	if (n > 15) {
		put_evex(o, 1, 0, 0, 0x10, n, 0, off_zmm(n)); /* vmovups zmm */
		return;
	}
	if (!p->vex) {
		put_movups(o, 0x10, n, off_xmm(n));
		return;
	}
	put_vex(o, 1, 0, 0, 0, 0x10, n, 0, off_xmm(n)); /* vmovups xmm */
	if (p->load[n] > 16) {
		put_vex(o, 3, 1, 0, 1, 0x18, n, n, off_ymm(n)); /* vinsertf128 */
		put(o, 1);
	}
	if (p->load[n] > 32) {
		put_evex(o, 3, 1, 1, 0x1a, n, n, off_zmm(n)); /* vinsertf64x4 */
		put(o, 1);
	}
}

static void store_vector(struct out *o, const struct thunk_plan *p, unsigned n)
{
	const struct xsave_layout *l = xsave_layout();

	if (n > 15) {
		put_evex(o, 1, 0, 0, 0x11, n, 0, off_zmm(n));
		return;
	}
	if (!p->vex) {
		put_movups(o, 0x11, n, off_xmm(n));
		return;
	}
	put_vex(o, 1, 0, 0, 0, 0x11, n, 0, off_xmm(n));
	put_vex(o, 3, 1, 0, 1, 0x19, n, 0, off_ymm(n)); /* vextractf128 */
	put(o, 1);
	if (l->avx512) {
		put_evex(o, 3, 1, 1, 0x1b, n, 0, off_zmm(n)); /* vextractf64x4 */
		put(o, 1);
	}
}

static void put_rip(struct out *o, uintptr_t target)
{
	put32(o, (u32)(target - (o->at + (uintptr_t)(o->p - o->begin) + 4)));
}

static void load_mxcsr_constant(struct out *o, uintptr_t constant)
{
	put_bytes(o, "\x0f\xae\x15", 3); /* ldmxcsr [rip + disp] */
	put_rip(o, constant);
}

/* Leaves the host's x87 unit empty with its own control word. FNINIT would do, but takes four
 * times as long; it is needed while an exception is pending, for EMMS and FLDCW wait. */
static void clean_x87(struct out *o, uintptr_t constant)
{
	put_bytes(o, "\xf6", 1); /* test byte [FSW], ES */
	put_state(o, 0, OFF_XSAVE + FX_FSW);
	put(o, FSW_ES);
	put_bytes(o, "\x74\x04\xdb\xe3\xeb\x08", 6); /* jz +4; fninit; jmp +8 */
	put_bytes(o, "\x0f\x77\xd9\x2d", 4);         /* emms; fldcw [rip + disp] */
	put_rip(o, constant + THUNK_FCW_OFFSET);
}

static void emit_loads(struct out *o, const struct thunk_plan *p)
{
	const struct xsave_layout *l = xsave_layout();

	if (p->t.flags & THUNK_X87) {
		put_bytes(o, "\x48\x0f\xae", 3); /* fxrstor64 */
		put_state(o, 1, OFF_XSAVE);
	}
	for (unsigned n = 0; n < 32; n++)
		if (p->load[n])
			load_vector(o, p, n);
	for (unsigned k = 0; k < 8; k++) {
		if (p->k_load & BIT(k))
			put_vex(o, 1, 0, 1, 0, 0x90, k, 0,
				OFF_XSAVE + l->offset[5] + 8 * k); /* kmovq */
		if (p->mmx_load & BIT(k)) {
			put_bytes(o, "\x0f\x6f", 2); /* movq mm */
			put_state(o, k, OFF_XSAVE + FX_ST + 16 * k);
		}
	}
	if (p->mxcsr) {
		put_bytes(o, "\x0f\xae", 2); /* ldmxcsr */
		put_state(o, 2, OFF_XSAVE + FX_MXCSR);
	}
	if (p->flags_load) {
		put_bytes(o, "\x0f\xb7", 2); /* movzx eax, word [cc] */
		put_state(o, RAX, OFF_CC);
		put_bytes(o, "\x04\x7f\x9e", 3); /* add al, 7Fh: OF from bit 0; sahf: the others */
	}
	for (unsigned k = 0; k < p->gprs; k++) {
		if (!p->gpr[k].load)
			continue;
		if (p->gpr[k].guest >= 16)
			put_movzx8(o, p->gpr[k].host, OFF_GPR + 8 * (p->gpr[k].guest - 16u) + 1);
		else
			put_mov(o, 0x8b, p->gpr[k].host, OFF_GPR + 8 * p->gpr[k].guest);
	}
}

static void emit_stores(struct out *o, const struct thunk_plan *p, uintptr_t constant)
{
	const struct xsave_layout *l = xsave_layout();

	for (unsigned k = 0; k < p->gprs; k++)
		if (p->gpr[k].store)
			put_mov(o, 0x89, p->gpr[k].host, OFF_GPR + 8 * p->gpr[k].guest);
	if (p->flags_store) {
		put_bytes(o, "\x9f\x0f\x90\xc0\x66\x89", 6); /* lahf; seto al; mov [cc], ax */
		put_state(o, RAX, OFF_CC);
	}
	for (unsigned n = 0; n < 32; n++)
		if (p->store[n])
			store_vector(o, p, n);
	for (unsigned k = 0; k < 8; k++) {
		if (p->k_store & BIT(k))
			put_vex(o, 1, 0, 1, 0, 0x91, k, 0, OFF_XSAVE + l->offset[5] + 8 * k);
		if (p->mmx_store & BIT(k)) {
			put_bytes(o, "\x0f\x7f", 2);
			put_state(o, k, OFF_XSAVE + FX_ST + 16 * k);
		}
	}
	if (p->mxcsr) {
		put_bytes(o, "\x0f\xae", 2); /* stmxcsr */
		put_state(o, 3, OFF_XSAVE + FX_MXCSR);
	}
	if (p->t.flags & THUNK_X87) {
		put_bytes(o, "\x48\x0f\xae", 3); /* fxsave64 */
		put_state(o, 0, OFF_XSAVE);
		clean_x87(o, constant);
	}
	if (p->mxcsr || (p->t.flags & THUNK_X87))
		load_mxcsr_constant(o, constant);
	if (p->t.flags & THUNK_MMX)
		put_bytes(o, "\x0f\x77", 2); /* emms */
	if (p->clears_upper)
		put_bytes(o, "\xc5\xf8\x77", 3); /* vzeroupper */
}

unsigned thunk_emit(const struct thunk_plan *p, u8 *out, uintptr_t at, uintptr_t constant)
{
	struct out o = { out, out, at };

	emit_loads(&o, p);
	put_bytes(&o, p->bytes, p->size);
	emit_stores(&o, p, constant);
	put_bytes(&o, "\x31\xc0\xc3", 3); /* xor eax, eax; ret */
	return (unsigned)(o.p - out);
}

unsigned thunk_emit_exit(u8 *out, uintptr_t at, uintptr_t constant, bool simd)
{
	struct out o = { out, out, at };

	if (simd) {
		put_bytes(&o, "\x0f\xae", 2);
		put_state(&o, 3, OFF_XSAVE + FX_MXCSR);
	}
	load_mxcsr_constant(&o, constant);
	put_bytes(&o, "\xdb\xe3", 2); /* fninit: also empties what MMX left */
	if (xsave_layout()->avx)
		put_bytes(&o, "\xc5\xf8\x77", 3);
	put(&o, 0xc3);
	return (unsigned)(o.p - out);
}

/* --- Re-encoding ------------------------------------------------------------------------------ */

/* The parts of an encoding that may change. */
struct fields {
	bool memory;
	u8 reg, rm, vvvv; /* full numbers; rm is the base if there is memory */
	u8 index;         /* bit 3 of it counts; for a vector in r/m bit 4 of the number */
	bool has_modrm, has_vvvv, has_is4;
	u8 is4;
	u8 w;
};

static u8 host_number(const struct thunk_plan *p, ZydisRegister reg)
{
	u8 guest = thunk_register(reg);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: break;
	default: return guest;
	}
	for (unsigned k = 0; k < p->gprs; k++)
		if (p->gpr[k].guest == guest)
			return p->gpr[k].host;
	return guest;
}

static void find_fields(struct fields *f, const struct thunk_plan *p, const struct x86_zydis *zy)
{
	const ZydisDecodedInstruction *z = zy->insn;

	memset(f, 0, sizeof(*f));
	f->has_modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	f->memory = p->t.size != 0;
	/* Opcode extensions and x87 register numbers stay as they are. */
	f->reg = z->raw.modrm.reg;
	f->rm = z->raw.modrm.rm;
	for (unsigned k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &zy->ops[k];

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		switch (o->encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG: f->reg = host_number(p, o->reg.value); break;
		case ZYDIS_OPERAND_ENCODING_MODRM_RM: f->rm = host_number(p, o->reg.value); break;
		case ZYDIS_OPERAND_ENCODING_NDSNDD:
			f->vvvv = host_number(p, o->reg.value);
			f->has_vvvv = true;
			break;
		case ZYDIS_OPERAND_ENCODING_IS4:
			f->is4 = host_number(p, o->reg.value);
			f->has_is4 = true;
			break;
		default: break;
		}
	}
	f->index = f->rm >> 1 & 8;
	if (f->memory) {
		f->rm = p->mem.base;
		f->index = p->mem.index & 8;
	}
}

static bool opsize16(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_LZCNT:
	case ZYDIS_MNEMONIC_TZCNT:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED: return z->operand_width == 16;
	case ZYDIS_MNEMONIC_CRC32: return z->operand_width == 16;
	default: return false;
	}
}

static void encode_legacy(struct out *o, const struct fields *f, const struct x86_zydis *zy,
			  const u8 *bytes, bool bsx)
{
	const ZydisDecodedInstruction *z = zy->insn;
	unsigned opcode = z->raw.prefix_count, end = f->has_modrm ? z->raw.modrm.offset : z->length,
		 rex = 0;
	bool p66 = opsize16(z);

	for (unsigned k = 0; k < z->raw.prefix_count; k++) {
		if (z->raw.prefixes[k].type != ZYDIS_PREFIX_TYPE_MANDATORY)
			continue;
		if (z->raw.prefixes[k].value == 0x66)
			p66 = true;
	}
	if (p66)
		put(o, 0x66);
	for (unsigned k = 0; k < z->raw.prefix_count && !bsx; k++)
		if (z->raw.prefixes[k].type == ZYDIS_PREFIX_TYPE_MANDATORY &&
		    z->raw.prefixes[k].value != 0x66)
			put(o, z->raw.prefixes[k].value);
	if (f->has_modrm) {
		rex |= (unsigned)f->w << 3 | (f->reg >> 3 & 1u) << 2 | (f->rm >> 3 & 1u);
		if (f->memory)
			rex |= (unsigned)f->index >> 2;
	}
	if (rex)
		put(o, 0x40 | rex);
	put_bytes(o, bytes + opcode, end - opcode);
}

static void encode_vex(struct out *o, const struct fields *f, const struct x86_zydis *zy)
{
	const ZydisDecodedInstruction *z = zy->insn;
	unsigned map = (unsigned)z->opcode_map;

	put(o, 0xc4);
	put(o, (f->reg & 8 ? 0 : 0x80) | (f->index ? 0 : 0x40) | (f->rm & 8 ? 0 : 0x20) | map);
	put(o, (unsigned)f->w << 7 | (~(f->has_vvvv ? f->vvvv : 0u) & 15) << 3 |
		       (unsigned)z->raw.vex.L << 2 | z->raw.vex.pp);
	put(o, z->opcode);
}

static void encode_evex(struct out *o, const struct fields *f, const struct x86_zydis *zy)
{
	const ZydisDecodedInstruction *z = zy->insn;
	unsigned vvvv = f->has_vvvv ? f->vvvv : 0;

	put(o, 0x62);
	put(o, (f->reg & 8 ? 0 : 0x80) | (f->index ? 0 : 0x40) | (f->rm & 8 ? 0 : 0x20) |
		       (f->reg & 16 ? 0 : 0x10) | (unsigned)z->raw.evex.mmm);
	put(o, (unsigned)f->w << 7 | (~vvvv & 15) << 3 | 4 | z->raw.evex.pp);
	put(o, (unsigned)z->raw.evex.z << 7 | (unsigned)z->raw.evex.L2 << 6 |
		       (unsigned)z->raw.evex.L << 5 | (unsigned)z->raw.evex.b << 4 |
		       (vvvv & 16 ? 0 : 8) | z->raw.evex.aaa);
	put(o, z->opcode);
}

/* ModRM, SIB and displacement of p->mem. A short displacement of EVEX would be scaled. */
static void encode_memory(struct out *o, const struct thunk_plan *p, unsigned reg)
{
	unsigned base = p->mem.base & 7u, mod = 2;
	i32 disp = p->mem.disp;

	if (disp == 0 && base != 5)
		mod = 0;
	else if (disp >= -128 && disp <= 127 && (!p->evex || disp == 0))
		mod = 1;
	if (p->mem.index != PLAN_NO_INDEX || base == 4) {
		put(o, mod << 6 | (reg & 7) << 3 | 4);
		put(o, (p->mem.index == PLAN_NO_INDEX ? 4u : p->mem.index & 7u) << 3 | base);
	} else {
		put(o, mod << 6 | (reg & 7) << 3 | base);
	}
	if (mod == 1)
		put(o, (u8)disp);
	else if (mod == 2)
		put32(o, (u32)disp);
}

static void encode(struct out *o, const struct fields *f, const struct thunk_plan *p,
		   const struct x86_zydis *zy, const u8 *bytes, bool bsx)
{
	const ZydisDecodedInstruction *z = zy->insn;

	if (p->evex)
		encode_evex(o, f, zy);
	else if (p->vex)
		encode_vex(o, f, zy);
	else
		encode_legacy(o, f, zy, bytes, bsx);
	if (f->has_modrm && f->memory)
		encode_memory(o, p, f->reg);
	else if (f->has_modrm)
		put(o, 0xc0 | (f->reg & 7u) << 3 | (f->rm & 7u));
	for (unsigned k = 0; k < 2; k++) {
		unsigned size = z->raw.imm[k].size / 8u;

		if (size == 0)
			continue;
		if (f->has_is4)
			put(o, (unsigned)f->is4 << 4 | (bytes[z->raw.imm[k].offset] & 15u));
		else
			put_bytes(o, bytes + z->raw.imm[k].offset, size);
	}
}

static bool same_memory(const struct thunk_plan *p, const ZydisDecodedOperandMem *m)
{
	if (thunk_register(m->base) != p->mem.base || m->disp.value != p->mem.disp ||
	    m->segment > ZYDIS_REGISTER_DS)
		return false;
	if (p->mem.index == PLAN_NO_INDEX)
		return m->index == ZYDIS_REGISTER_NONE;
	return m->index != ZYDIS_REGISTER_NONE && thunk_register(m->index) == p->mem.index &&
	       m->scale <= 1;
}

static bool same_operand(const struct thunk_plan *p, const ZydisDecodedOperand *a,
			 const ZydisDecodedOperand *b)
{
	if (a->type != b->type || a->size != b->size)
		return false;
	if (a->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return a->imm.value.u == b->imm.value.u;
	if (a->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return same_memory(p, &b->mem);
	return ZydisRegisterGetClass(a->reg.value) == ZydisRegisterGetClass(b->reg.value) &&
	       host_number(p, a->reg.value) == thunk_register(b->reg.value);
}

/* The host must see the same instruction with the renamed operands. */
static bool verify(const struct thunk_plan *p, const struct x86_zydis *zy)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, p->bytes, p->size, &z, ops)))
		return false;
	if (z.length != p->size || z.mnemonic != (ZydisMnemonic)p->mnemonic ||
	    z.operand_count_visible != zy->insn->operand_count_visible ||
	    z.avx.mask.mode != zy->insn->avx.mask.mode ||
	    z.avx.rounding.mode != zy->insn->avx.rounding.mode ||
	    z.avx.has_sae != zy->insn->avx.has_sae ||
	    z.avx.broadcast.mode != zy->insn->avx.broadcast.mode ||
	    z.avx.vector_length != zy->insn->avx.vector_length)
		return false;
	for (unsigned k = 0; k < z.operand_count_visible; k++)
		if (!same_operand(p, &zy->ops[k], &ops[k]))
			return false;
	return true;
}

bool thunk_encode(struct thunk_plan *p, const struct x86_zydis *zy, const u8 *bytes, bool bsx)
{
	const ZydisDecodedInstruction *z = zy->insn;
	struct fields f;

	find_fields(&f, p, zy);
	f.w = p->evex ? z->raw.evex.W : p->vex ? z->raw.vex.W : z->raw.rex.W;
	if (bsx)
		p->mnemonic = z->mnemonic == ZYDIS_MNEMONIC_TZCNT ? ZYDIS_MNEMONIC_BSF
								  : ZYDIS_MNEMONIC_BSR;
	/* Outside 64-bit mode W does not widen general registers: where it would on the host, it
	 * is dropped. */
	for (unsigned tries = 0; tries < 2; tries++) {
		struct out o = { p->bytes, p->bytes, 0 };

		encode(&o, &f, p, zy, bytes, bsx);
		p->size = (u8)(o.p - o.begin);
		if (verify(p, zy))
			return true;
		if (z->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 || f.w == 0)
			break;
		f.w = 0;
	}
	return false;
}
