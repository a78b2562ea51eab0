/* Instruction decoding (SDM 2 chapter 2): Zydis finds the fields, this file puts them into struct
 * x86_insn and asks the instruction families for the function. The result depends on the bytes and
 * the code size alone; what depends on the mode, the privilege or the CPU model is decided when the
 * instruction runs. Where processors differ, this is what Intel's do: an operand-size prefix on
 * near branches in 64-bit mode is ignored. The hint space 0F 18 to 0F 1F is NOP whatever the
 * prefix, as on a CPU without MPX and CET. */
#include "x86/decoder.h"
#include "x86/exec.h"

#include <stdio.h>

/* The order matters where one mnemonic has forms in several families (MOV, PUSH, POP, JMP, CALL,
 * RET, MOVSD, CMPSD): each binder takes its own forms only. */
static x86_bind_fn *const binders[] = {
	x86_bind_mov, x86_bind_alu,    x86_bind_branch, x86_bind_stack, x86_bind_shift,
	x86_bind_bit, x86_bind_muldiv, x86_bind_string, x86_bind_flag,  x86_bind_far,
	x86_bind_seg, x86_bind_sys,    x86_bind_xsave,  x86_bind_host,
};

static void exec_ud(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	x86_raise_ud(v);
}

static void exec_too_long(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	x86_raise_gp0(v);
}

void x86_decoder_init(ZydisDecoder *d, unsigned mode)
{
	static const ZydisMachineMode modes[] = { ZYDIS_MACHINE_MODE_LEGACY_16,
						  ZYDIS_MACHINE_MODE_LEGACY_32,
						  ZYDIS_MACHINE_MODE_LONG_64 };
	static const ZydisStackWidth stacks[] = { ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						  ZYDIS_STACK_WIDTH_64 };
	static const ZydisDecoderMode off[] = { ZYDIS_DECODER_MODE_KNC, ZYDIS_DECODER_MODE_MPX,
						ZYDIS_DECODER_MODE_CET,
						ZYDIS_DECODER_MODE_CLDEMOTE };

	ZydisDecoderInit(d, modes[mode >> 5], stacks[mode >> 5]);
	for (unsigned n = 0; n < ARRAY_LEN(off); n++)
		ZydisDecoderEnableMode(d, off[n], ZYAN_FALSE);
}

/* REX.B makes 90 XCHG r8, rAX, and F3 then has no meaning (SDM 2B, NOP and XCHG; AMD APM 3, NOP). */
static ZyanStatus decode_xchg_r8(const ZydisDecoder *d, const u8 *bytes, ZydisDecodedInstruction *z,
				 ZydisDecodedOperand *ops)
{
	u8 plain[ZYDIS_MAX_INSTRUCTION_LENGTH];

	memcpy(plain, bytes, z->length);
	for (unsigned n = 0; n + 1u < z->length; n++)
		if (plain[n] == 0xf3)
			plain[n] = 0x3e; /* DS: as long, and without meaning in 64-bit mode */
	return ZydisDecoderDecodeFull(d, plain, z->length, z, ops);
}

/* With mod 0 and base 5 the SIB byte names no base, whatever REX.B says (SDM 2A table 2-5). Zydis has R13D there for 32-bit
 * addresses, and drops the displacement. */
static void fix_no_base(const ZydisDecodedInstruction *z, ZydisDecodedOperand *ops)
{
	if (!(z->attributes & ZYDIS_ATTRIB_HAS_SIB) || z->raw.modrm.mod != 0 ||
	    z->raw.sib.base != 5)
		return;
	for (unsigned n = 0; n < z->operand_count_visible; n++) {
		ZydisDecodedOperandMem *m = &ops[n].mem;

		if (ops[n].type != ZYDIS_OPERAND_TYPE_MEMORY || m->base != ZYDIS_REGISTER_R13D)
			continue;
		m->base = ZYDIS_REGISTER_NONE;
		m->disp.has_displacement = ZYAN_TRUE;
		m->disp.value = z->raw.disp.value;
	}
}

ZyanStatus x86_decoder_decode(const ZydisDecoder *d, const u8 *bytes, unsigned avail,
			      ZydisDecodedInstruction *z, ZydisDecodedOperand *ops)
{
	ZyanStatus status = ZydisDecoderDecodeFull(d, bytes, avail, z, ops);

	if (!ZYAN_SUCCESS(status))
		return status;
	if (unlikely(z->mnemonic == ZYDIS_MNEMONIC_PAUSE && z->raw.rex.B))
		return decode_xchg_r8(d, bytes, z, ops);
	fix_no_base(z, ops);
	return status;
}

/* Slot of the address register reg (any width), ZERO_IDX for none. */
static u8 address_slot(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return ZERO_IDX;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return RIP_IDX;
	return (u8)ZydisRegisterGetId(reg);
}

static void fill_memory(struct x86_insn *i, const ZydisDecodedOperandMem *m)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(m->index);

	i->seg = m->segment == ZYDIS_REGISTER_NONE ? DS : (u8)(m->segment - ZYDIS_REGISTER_ES);
	i->base = address_slot(m->base);
	i->index = address_slot(m->index);
	i->scale = m->scale > 1 ? (u8)__builtin_ctz(m->scale) : 0;
	i->disp = m->disp.value;
	if (i->base == RIP_IDX) {
		i->disp += i->len;
		i->flags |= INSN_RIP_REL;
	}
	if (class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM ||
	    class == ZYDIS_REGCLASS_ZMM)
		i->flags |= INSN_VSIB;
}

static struct x86_operand byte_register(ZydisRegister r)
{
	struct x86_operand o = { .kind = OPK_GPR, .size = 1 };

	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) {
		o.kind = OPK_GPR_HIGH;
		o.reg = (u8)(r - ZYDIS_REGISTER_AH);
	} else if (r >= ZYDIS_REGISTER_SPL) {
		o.reg = (u8)(r - ZYDIS_REGISTER_SPL + RSP);
	} else {
		o.reg = (u8)(r - ZYDIS_REGISTER_AL);
	}
	return o;
}

static u8 operand_bytes(const ZydisDecodedOperand *z)
{
	unsigned bytes = z->size / 8u;

	return bytes > 255 ? 255 : (u8)bytes;
}

static struct x86_operand register_operand(const ZydisDecodedOperand *z)
{
	ZydisRegister r = z->reg.value;
	struct x86_operand o = { .size = operand_bytes(z), .reg = (u8)ZydisRegisterGetId(r) };

	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8: return byte_register(r);
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: o.kind = OPK_GPR; break;
	case ZYDIS_REGCLASS_SEGMENT: o.kind = OPK_SEG; break;
	case ZYDIS_REGCLASS_CONTROL: o.kind = OPK_CR; break;
	case ZYDIS_REGCLASS_DEBUG: o.kind = OPK_DR; break;
	case ZYDIS_REGCLASS_X87: o.kind = OPK_X87; break;
	case ZYDIS_REGCLASS_MMX: o.kind = OPK_MMX; break;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM: o.kind = OPK_VEC; break;
	case ZYDIS_REGCLASS_MASK: o.kind = OPK_MASK; break;
	default: o.kind = OPK_OTHER;
	}
	return o;
}

static void fill_immediate(struct x86_insn *i, const ZydisDecodedOperandImm *imm, bool *seen)
{
	if (*seen)
		i->imm2 = (u32)imm->value.u;
	else
		i->imm = imm->value.u;
	*seen = true;
}

static struct x86_operand fill_operand(struct x86_insn *i, const ZydisDecodedOperand *z,
				       bool *imm_seen)
{
	struct x86_operand o = { .size = operand_bytes(z) };

	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER: return register_operand(z);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		o.kind = OPK_MEM;
		fill_memory(i, &z->mem);
		break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		o.kind = z->imm.is_relative ? OPK_REL : OPK_IMM;
		fill_immediate(i, &z->imm, imm_seen);
		break;
	default:
		o.kind = OPK_FAR;
		i->sel = z->ptr.segment;
		i->imm = z->ptr.offset;
	}
	return o;
}

/* Memory that an instruction addresses without an operand of its own: the source of string
 * instructions, XLAT, MASKMOVQ. The stack and the ES:rDI of string instructions need no
 * description. */
static void fill_hidden_memory(struct x86_insn *i, const ZydisDecodedInstruction *z,
			       const ZydisDecodedOperand *ops)
{
	bool string = z->meta.category == ZYDIS_CATEGORY_STRINGOP ||
		      z->meta.category == ZYDIS_CATEGORY_IOSTRINGOP;

	for (unsigned n = z->operand_count_visible; n < z->operand_count; n++) {
		if (ops[n].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		u8 base = address_slot(ops[n].mem.base);

		if (base != RSP && !(string && base == RDI))
			fill_memory(i, &ops[n].mem);
	}
}

static u16 prefix_flags(const ZydisDecodedInstruction *z)
{
	ZydisInstructionAttributes a = z->attributes;
	unsigned flags = 0;

	if (a & ZYDIS_ATTRIB_HAS_LOCK)
		flags |= INSN_LOCK;
	if (a & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		flags |= INSN_REP;
	if (a & ZYDIS_ATTRIB_HAS_REPNE)
		flags |= INSN_REPNE;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT)
		flags |= INSN_SEG_OVERRIDE;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT:
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD: flags |= INSN_IO; break;
	default: break;
	}
	return (u16)flags;
}

static void fill(struct x86_insn *i, const ZydisDecodedInstruction *z,
		 const ZydisDecodedOperand *ops)
{
	bool memory = false, imm_seen = false;

	i->mnemonic = (u16)z->mnemonic;
	i->len = z->length;
	i->opsize = z->operand_width / 8;
	i->addrsize = z->address_width / 8;
	i->seg = DS;
	i->base = i->index = ZERO_IDX;
	i->flags = prefix_flags(z);
	i->nops = MIN(z->operand_count_visible, (u8)ARRAY_LEN(i->op));
	for (unsigned n = 0; n < z->operand_count_visible; n++) {
		struct x86_operand o = fill_operand(i, &ops[n], &imm_seen);

		if (n < ARRAY_LEN(i->op))
			i->op[n] = o;
		memory |= o.kind == OPK_MEM;
	}
	if (!memory)
		fill_hidden_memory(i, z, ops);
}

/* An instruction that raises fn's exception; nothing after it is reached. */
static void fill_fault(struct x86_insn *i, x86_exec_fn *fn, unsigned len)
{
	i->fn = fn;
	i->mnemonic = ZYDIS_MNEMONIC_INVALID;
	i->flags = INSN_BRANCH;
	i->len = (u8)len;
	i->seg = DS;
	i->base = i->index = ZERO_IDX;
	i->opsize = i->addrsize = i->mode == 64 ? 8 : i->mode / 8;
}

/* How many of the bytes it takes to see that they are no instruction. */
static unsigned fault_len(const ZydisDecoder *d, const u8 *bytes, unsigned avail)
{
	ZydisDecodedInstruction z;
	unsigned n = 1;

	while (n < avail &&
	       ZydisDecoderDecodeInstruction(d, NULL, bytes, n, &z) == ZYDIS_STATUS_NO_MORE_DATA)
		n++;
	return n;
}

int x86_decode_full(struct x86_insn *i, const u8 *bytes, unsigned avail, unsigned mode,
		    ZydisDecodedInstruction *z, ZydisDecodedOperand *ops)
{
	ZydisDecoder d;
	struct x86_zydis full = { z, ops };

	avail = MIN(avail, (unsigned)ARRAY_LEN(i->bytes));
	*i = (struct x86_insn){ .mode = (u8)mode };
	x86_decoder_init(&d, mode);

	ZyanStatus status = x86_decoder_decode(&d, bytes, avail, z, ops);

	if (status == ZYDIS_STATUS_NO_MORE_DATA && avail < ARRAY_LEN(i->bytes))
		return 0;
	if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
		fill_fault(i, exec_too_long, avail);
	} else if (!ZYAN_SUCCESS(status)) {
		fill_fault(i, exec_ud, fault_len(&d, bytes, avail));
	} else {
		fill(i, z, ops);
		for (unsigned n = 0; n < ARRAY_LEN(binders) && !i->fn; n++)
			i->fn = binders[n](i, &full);
		if (!i->fn) {
			i->fn = exec_ud;
			i->flags |= INSN_BRANCH;
		}
	}
	memcpy(i->bytes, bytes, i->len);
	return ZYAN_SUCCESS(status) ? 1 : -1;
}

int x86_decode(struct x86_insn *i, const u8 *bytes, unsigned avail, unsigned mode)
{
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];

	return x86_decode_full(i, bytes, avail, mode, &z, ops);
}

void x86_disasm(const struct x86_insn *i, u64 rip, char *buf, size_t size)
{
	ZydisDecoder d;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter f;

	x86_decoder_init(&d, i->mode);
	if (!ZYAN_SUCCESS(x86_decoder_decode(&d, i->bytes, i->len, &z, ops)) ||
	    !ZYAN_SUCCESS(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, &z, ops, z.operand_count_visible, buf,
							  size, rip, NULL)))
		snprintf(buf, size, "(bad)");
}
