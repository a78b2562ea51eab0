/* Random sequences. Each instruction is drawn when the state that it will meet is known: the interpreter runs what has been drawn so
 * far (the seer). A register that nothing has used yet may still get any value in the state before, so that addresses hit the data;
 * what has been used keeps its value, and then displacements are fitted or the draw is dropped. */
#include "seq.h"

#include "gen.h"

#include <stdlib.h>
#include <string.h>

#define DRAWS        60u /* for one instruction */
#define RIP_GUESS    32u /* distance of a branch target that is not known yet */
#define BIT_REACH    8192
#define REPEATS      6u
#define OPCODE_JCC   0x70
#define OPCODE_DEC_R 0x48

enum kind {
	KIND_ALU,
	KIND_MOVE,
	KIND_SHIFT,
	KIND_BIT,
	KIND_FLAG, /* reads flags, or moves them */
	KIND_STACK,
	KIND_MULDIV,
	KIND_STRING,
	KIND_SSE,
	KIND_AVX,
	KIND_EVEX,
	KIND_X87,
	KIND_OTHER,
	KIND_BRANCH, /* made here, not from forms */
	KIND_LOOP,
	KINDS,
};

static const u8 weights[KINDS] = {
	[KIND_ALU] = 22,  [KIND_MOVE] = 18,   [KIND_SHIFT] = 10, [KIND_BIT] = 4,
	[KIND_FLAG] = 10, [KIND_STACK] = 8,   [KIND_MULDIV] = 5, [KIND_STRING] = 4,
	[KIND_SSE] = 6,   [KIND_AVX] = 4,     [KIND_EVEX] = 2,   [KIND_X87] = 5,
	[KIND_OTHER] = 2, [KIND_BRANCH] = 10, [KIND_LOOP] = 2,
};

struct seq_forms {
	struct forms *all;
	unsigned count[KINDS];
	u32 *list[KINDS]; /* indices in all */
};

struct draft {
	struct rng *r;
	const struct seq_forms *f;
	struct guest *seer;
	struct sequence *s;
	struct oracle_case *c;
	struct oracle_case *i; /* the instruction in hand */
	struct guest_view v;   /* before it, as the seer has it */
	u64 at;                /* its rip */
	u64 undefined;
	u32 fixed;            /* registers that have been used */
	u32 barred;           /* the loop's counter */
	unsigned live;        /* instructions before this one are jumped over */
	bool faulted;         /* nothing runs any more */
	unsigned fault_at;    /* from which instruction on faults are welcome */
	int counter;          /* the loop's register, -1: no loop is open */
	unsigned top, bottom; /* its first instruction, and where it is to end */
};

/* --- Kinds ----------------------------------------------------------------------------------- */

static enum kind kind_of_base(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_BINARY:
		switch (insn->mnemonic) {
		case ZYDIS_MNEMONIC_MUL:
		case ZYDIS_MNEMONIC_IMUL:
		case ZYDIS_MNEMONIC_DIV:
		case ZYDIS_MNEMONIC_IDIV: return KIND_MULDIV;
		case ZYDIS_MNEMONIC_ADC:
		case ZYDIS_MNEMONIC_SBB: return KIND_FLAG;
		default: return KIND_ALU;
		}
	case ZYDIS_CATEGORY_LOGICAL: return KIND_ALU;
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_ROTATE: return KIND_SHIFT;
	case ZYDIS_CATEGORY_BITBYTE: return KIND_BIT;
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_DECIMAL:
	case ZYDIS_CATEGORY_FLAGOP: return KIND_FLAG;
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP: return KIND_STACK;
	case ZYDIS_CATEGORY_STRINGOP: return KIND_STRING;
	case ZYDIS_CATEGORY_NOP:
	case ZYDIS_CATEGORY_WIDENOP:
	case ZYDIS_CATEGORY_PREFETCH: return KIND_OTHER;
	case ZYDIS_CATEGORY_MISC:
		return insn->mnemonic == ZYDIS_MNEMONIC_ENTER ||
				       insn->mnemonic == ZYDIS_MNEMONIC_LEAVE
			       ? KIND_STACK
		       : insn->mnemonic == ZYDIS_MNEMONIC_LEA ? KIND_MOVE
							      : KIND_OTHER;
	default: return KIND_MOVE;
	}
}

static enum kind kind_of(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_CMOV: return KIND_FLAG;
	case ZYDIS_CATEGORY_ADOX_ADCX: return KIND_FLAG;
	case ZYDIS_CATEGORY_BMI1:
	case ZYDIS_CATEGORY_BMI2:
	case ZYDIS_CATEGORY_LZCNT: return KIND_BIT;
	case ZYDIS_CATEGORY_X87_ALU:
	case ZYDIS_CATEGORY_FCMOV: return KIND_X87;
	default: break;
	}
	if (insn->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return KIND_AVX;
	if (insn->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		return KIND_EVEX;
	switch (insn->meta.isa_ext) {
	case ZYDIS_ISA_EXT_BASE:
	case ZYDIS_ISA_EXT_LONGMODE: return kind_of_base(insn);
	case ZYDIS_ISA_EXT_X87: return KIND_X87;
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_SHA: return KIND_SSE;
	default: return KIND_OTHER;
	}
}

static bool usable(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *ops)
{
	/* Their index vectors need places of their own; the single cases have them. */
	for (unsigned n = 0; n < insn->operand_count; n++)
		if (ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    ops[n].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			return false;
	return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_NONE;
}

struct seq_forms *seq_forms_new(unsigned mode)
{
	struct seq_forms *f = calloc(1, sizeof(*f));
	static struct oracle_case i;

	f->all = forms_new(mode);
	for (unsigned k = 0; k < KINDS; k++)
		f->list[k] = calloc(f->all->count, sizeof(u32));
	for (unsigned n = 0; n < f->all->count; n++) {
		i.mode = mode;
		memcpy(i.bytes, f->all->list[n].bytes, INSN_MAX);
		if (!gen_redecode(&i) || !usable(&i.insn, i.ops))
			continue;
		enum kind k = kind_of(&i.insn);

		f->list[k][f->count[k]++] = n;
	}
	return f;
}

void seq_forms_free(struct seq_forms *f)
{
	for (unsigned k = 0; k < KINDS; k++)
		free(f->list[k]);
	forms_free(f->all);
	free(f);
}

/* --- Registers ------------------------------------------------------------------------------- */

static u32 gpr_bit(ZydisRegister reg)
{
	ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	return ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64
		       ? 1u << ZydisRegisterGetId(whole)
		       : 0;
}

/* The general registers that an instruction names or uses; with addresses, those that make up addresses. */
static u32 registers_of(const struct oracle_case *i, bool addresses)
{
	u32 set = 0;

	for (unsigned n = 0; n < i->insn.operand_count; n++) {
		const ZydisDecodedOperand *o = &i->ops[n];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
			set |= gpr_bit(o->mem.base) | gpr_bit(o->mem.index);
		else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && !addresses)
			set |= gpr_bit(o->reg.value);
	}
	if (addresses && i->insn.meta.category == ZYDIS_CATEGORY_STRINGOP)
		set |= 1u << RCX;
	return set;
}

static bool writes(const struct oracle_case *i, u32 set)
{
	for (unsigned n = 0; n < i->insn.operand_count; n++)
		if (i->ops[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    i->ops[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE &&
		    gpr_bit(i->ops[n].reg.value) & set)
			return true;
	return false;
}

static bool is_free(const struct draft *d, int reg) { return reg >= 0 && !(d->fixed >> reg & 1); }

/* Gives an unused register a value; bits above an address keep theirs. */
static void set_gpr(struct draft *d, int reg, u64 value, u64 mask)
{
	if (d->s->mode != 64)
		mask &= 0xffffffff;
	value = (d->v.gpr[reg] & ~mask) | (value & mask);
	d->v.gpr[reg] = d->c->before.gpr[reg] = value;
}

/* --- Addresses ------------------------------------------------------------------------------- */

static bool fault_is_due(const struct draft *d) { return d->s->count >= d->fault_at; }

/* Mostly inside the data; else across an end of it, or off it. */
static u32 draw_address(struct draft *d)
{
	static const u32 ends[] = { 0, DATA_SIZE };
	u32 base = d->s->mode == 16 ? DATA_PAGE - SEG16_BASE : DATA_PAGE;

	if (rng_below(d->r, 16) >= (fault_is_due(d) ? 12u : 1u))
		return gen_data_offset(d->r, d->s->mode);
	return base + ends[rng_below(d->r, 2)] - 64 + rng_below(d->r, 128);
}

/* Every register is taken: fits the displacement, if the encoding has one that reaches. */
static bool fit_displacement(struct draft *d, const ZydisDecodedOperand *o, u64 address, u64 want)
{
	struct oracle_case *i = d->i;
	unsigned width = i->insn.address_width, size = i->insn.raw.disp.size;
	u64 disp = want - (address - (u64)o->mem.disp.value);

	if (!size || ((u64)bits_sext(disp, size) ^ disp) & bits_mask(width))
		return false;
	le_store(i->bytes + i->insn.raw.disp.offset, disp & bits_mask(size), size / 8);
	return gen_redecode(i);
}

static bool place_explicit(struct draft *d, const ZydisDecodedOperand *o, u64 address)
{
	struct oracle_case *i = d->i;
	struct seq_insn *out = &d->s->list[d->s->count];
	const ZydisDecodedOperandMem m = o->mem;
	u64 want = draw_address(d), mask = bits_mask(i->insn.address_width);
	u64 disp = (u64)m.disp.value, scale = m.scale ? m.scale : 1;
	int base = gen_slot(m.base), index = gen_slot(m.index);

	if (m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP) {
		out->patch = SEQ_RIP;
		out->at = i->insn.raw.disp.offset;
		out->size = 4;
		out->to = want;
		return true;
	}
	if (base < 0 && index < 0)
		return fit_displacement(d, o, address, want);
	if (index == base && is_free(d, base)) {
		set_gpr(d, base, (u64)((i64)(want - disp) / (i64)(1 + scale)), mask);
		return true;
	}
	if (is_free(d, index) && rng_below(d->r, 2))
		set_gpr(d, index, rng_below(d->r, 2) ? rng_below(d->r, 64) : gen_edge_value(d->r),
			~0ull);
	u64 rest = disp + (index >= 0 ? d->v.gpr[index] * scale : 0);

	if (is_free(d, base)) {
		set_gpr(d, base, want - rest, mask);
		return true;
	}
	u64 fixed = disp + (base >= 0 ? d->v.gpr[base] : 0);

	if (is_free(d, index)) {
		set_gpr(d, index,
			(u64)(bits_sext((want - fixed) & mask, i->insn.address_width) / (i64)scale),
			mask);
		return true;
	}
	if (seq_near_data(d->s->mode, address) && !fault_is_due(d) && rng_below(d->r, 2))
		return true;
	return fit_displacement(d, o, address, want);
}

static bool place_bit_offset(struct draft *d, const ZydisDecodedOperand *o)
{
	int reg = gen_slot(o->reg.value);

	if (is_free(d, reg))
		set_gpr(d, reg, (u64)bits_sext(rng_next(d->r), 12), ~0ull);
	i64 bit = bits_sext(d->v.gpr[reg], o->size);

	return bit >= -BIT_REACH && bit <= BIT_REACH;
}

/* Registers and immediates that are addresses or counts without being operands of that kind. */
static bool place_special(struct draft *d)
{
	struct oracle_case *i = d->i;
	u16 m = i->insn.mnemonic;

	if (i->insn.meta.category == ZYDIS_CATEGORY_STRINGOP && is_free(d, RCX))
		set_gpr(d, RCX, rng_below(d->r, REPEATS), bits_mask(i->insn.address_width));
	if ((m == ZYDIS_MNEMONIC_LEAVE || m == ZYDIS_MNEMONIC_ENTER) && is_free(d, RBP))
		set_gpr(d, RBP, gen_data_offset(d->r, d->s->mode), ~0ull);
	if (m == ZYDIS_MNEMONIC_ENTER && rng_below(d->r, 8)) {
		i->bytes[i->insn.raw.imm[0].offset + 1] = 0;
		i->bytes[i->insn.raw.imm[1].offset] = (u8)rng_below(d->r, 4);
		if (!gen_redecode(i))
			return false;
	}
	if ((m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	     m == ZYDIS_MNEMONIC_BTC) &&
	    i->ops[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
	    i->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		return place_bit_offset(d, &i->ops[1]);
	return true;
}

static bool place(struct draft *d)
{
	struct oracle_case *i = d->i;
	u64 a;

	if (!place_special(d))
		return false;
	for (unsigned n = 0; n < i->insn.operand_count; n++) {
		if (!seq_operand_address(&i->insn, &i->ops[n], d->v.gpr, d->at, &a))
			continue;
		int base = gen_slot(i->ops[n].mem.base);

		if (i->ops[n].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
			if (!place_explicit(d, &i->ops[n], a))
				return false;
			if (d->s->list[d->s->count].patch == SEQ_RIP)
				continue;
		} else if (is_free(d, base)) {
			set_gpr(d, base, gen_data_offset(d->r, d->s->mode),
				bits_mask(i->insn.address_width));
		}
		(void)seq_operand_address(&i->insn, &i->ops[n], d->v.gpr, d->at, &a);
		if (!seq_near_data(d->s->mode, a) && (d->s->mode == 64 || rng_below(d->r, 8)))
			return false;
	}
	return true;
}

/* --- One instruction after the other --------------------------------------------------------- */

/* Bytes for the seer: what is not known yet is guessed. */
static void guess(const struct draft *d, const struct seq_insn *out, u8 *bytes)
{
	u64 next = d->at + out->len;
	u64 value = out->patch == SEQ_BRANCH    ? RIP_GUESS
		    : out->patch == SEQ_ADDRESS ? next + RIP_GUESS
						: out->to - next;

	memcpy(bytes, out->bytes, out->len);
	if (out->patch != SEQ_NONE)
		le_store(bytes + out->at, value & bits_mask(out->size * 8u), out->size);
}

/* Runs the instruction in hand. False if it is better dropped. */
static bool foresee(struct draft *d, const struct seq_insn *out)
{
	struct guest_view was = d->v;
	u8 bytes[INSN_MAX];

	if (d->faulted || d->s->count < d->live)
		return true;
	guess(d, out, bytes);
	d->v.rip = d->at;
	guest_step(d->seer, bytes, out->len, &d->v);
	/* Not all at the start, where addresses are free; and page faults rather than those that come by themselves. */
	if (d->v.lost || (d->v.fault && rng_below(d->r, 16) >= (!fault_is_due(d)        ? 1u
								: d->v.vector == EXC_PF ? 12
											: 4))) {
		d->v = was;
		return false;
	}
	if (d->v.fault) {
		d->faulted = true;
		return true;
	}
	d->undefined = seq_undefined_after(d->i, was.gpr, d->undefined);
	/* Taken: what lies between is not executed. */
	if (d->v.rip != d->at + out->len && out->target > d->s->count)
		d->live = out->target;
	return true;
}

/* Appends the instruction in d->i with the patch that is set up in the list. */
static bool append(struct draft *d)
{
	struct seq_insn *out = &d->s->list[d->s->count];

	if (d->s->count == SEQ_MAX)
		return false;
	memcpy(out->bytes, d->i->bytes, INSN_MAX);
	out->len = d->i->insn.length;
	if (d->i->insn.cpu_flags && d->i->insn.cpu_flags->tested & d->undefined)
		return false;
	if (!foresee(d, out))
		return false;
	d->fixed |= registers_of(d->i, false) | registers_of(d->i, true);
	d->s->keep |= registers_of(d->i, true);
	d->at += out->len;
	d->s->count++;
	return true;
}

static bool append_form(struct draft *d, enum kind k)
{
	struct seq_insn *out = &d->s->list[d->s->count];
	const struct form *form;

	if (!d->f->count[k] || d->s->count == SEQ_MAX)
		return false;
	*out = (struct seq_insn){ 0 };
	form = &d->f->all->list[d->f->list[k][rng_below(d->r, d->f->count[k])]];
	if (!gen_draw(d->r, d->s->mode, form, d->i) || !usable(&d->i->insn, d->i->ops))
		return false;
	if (writes(d->i, d->barred) ||
	    (k != KIND_STACK && writes(d->i, 1u << RSP) && rng_below(d->r, 8)))
		return false;
	return place(d) && append(d);
}

/* An instruction made here; patch: a field at its end of `size` bytes. */
static bool append_made(struct draft *d, const u8 *bytes, unsigned len, enum seq_patch patch,
			unsigned size, unsigned target)
{
	struct seq_insn *out = &d->s->list[d->s->count];

	if (d->s->count == SEQ_MAX)
		return false;
	*out = (struct seq_insn){
		.patch = (u8)patch, .at = (u8)len, .size = (u8)size, .target = (u8)target
	};
	memset(d->i->bytes, 0, INSN_MAX);
	memcpy(d->i->bytes, bytes, len);
	d->i->mode = d->s->mode;
	return gen_redecode(d->i) && d->i->insn.length == len + size && append(d);
}

/* REX.B where the register needs it. Returns the bytes written. */
static unsigned with_register(u8 *b, u8 opcode, const u8 *modrm, unsigned reg)
{
	unsigned n = 0;

	if (reg >= 8)
		b[n++] = 0x41;
	if (!modrm) {
		b[n++] = (u8)(opcode | (reg & 7));
		return n;
	}
	b[n++] = opcode;
	b[n++] = (u8)(*modrm | (reg & 7));
	return n;
}

/* A general register that is no stack pointer and not the open loop's counter. */
static unsigned any_register(struct draft *d)
{
	for (;;) {
		unsigned reg = rng_below(d->r, d->s->mode == 64 ? 16 : 8);

		if (reg != RSP && !(d->barred >> reg & 1))
			return reg;
	}
}

static unsigned word_size(const struct draft *d) { return d->s->mode == 16 ? 2 : 4; }

/* Through a register, or by PUSH and RET. */
static bool append_indirect(struct draft *d)
{
	static const u8 jump = 0xe0, call = 0xd0, push = 0x68, ret = 0xc3;
	unsigned reg = any_register(d), target = d->s->count + 2 + rng_below(d->r, 3);
	u8 b[4];

	if (d->s->count + 2 > SEQ_MAX)
		return false;
	if (!rng_below(d->r, 3)) {
		if (!seq_near_data(d->s->mode, d->v.gpr[RSP]) ||
		    !append_made(d, &push, 1, SEQ_ADDRESS, word_size(d), target))
			return false;
		return append_made(d, &ret, 1, SEQ_NONE, 0, target);
	}
	unsigned n = with_register(b, 0xb8, NULL, reg);

	if (!append_made(d, b, n, SEQ_ADDRESS, word_size(d), target))
		return false;
	n = with_register(b, 0xff, rng_below(d->r, 2) ? &jump : &call, reg);
	return append_made(d, b, n, SEQ_NONE, 0, target);
}

/* Forwards over the next instructions. */
static bool append_branch(struct draft *d)
{
	unsigned target = d->s->count + 1 + rng_below(d->r, 4), cc = rng_below(d->r, 16);
	u8 b[2] = { (u8)(OPCODE_JCC | cc) };

	switch (rng_below(d->r, 12)) {
	case 0: b[0] = 0xeb; break; /* JMP rel8 */
	case 1: b[0] = 0xe9; return append_made(d, b, 1, SEQ_BRANCH, word_size(d), target);
	case 2: /* CALL */
		b[0] = 0xe8;
		return seq_near_data(d->s->mode, d->v.gpr[RSP]) &&
		       append_made(d, b, 1, SEQ_BRANCH, word_size(d), target);
	case 3: /* LOOPNE, LOOPE, LOOP, JrCXZ */
		b[0] = (u8)(0xe0 | (cc & 3));
		if (d->barred >> RCX & 1)
			return false;
		break;
	case 4: return append_indirect(d);
	case 5:
	case 6: /* Jcc rel16 or rel32 */
		b[0] = 0x0f;
		b[1] = (u8)(0x80 | cc);
		return append_made(d, b, 2, SEQ_BRANCH, word_size(d), target);
	default: break;
	}
	return append_made(d, b, 1, SEQ_BRANCH, 1, target);
}

/* MOV counter, small number. */
static bool open_loop(struct draft *d, unsigned length)
{
	unsigned reg = rng_below(d->r, 3) ? any_register(d) : RCX;
	u8 b[8] = { 0 };

	if (d->counter >= 0 || d->s->count + 4 > length)
		return false;
	unsigned n = with_register(b, 0xb8, NULL, reg);

	b[n] = (u8)(1 + rng_below(d->r, 4));
	if (!append_made(d, b, n + word_size(d), SEQ_NONE, 0, 0))
		return false;
	d->s->keep |= 1u << reg;
	d->counter = (int)reg;
	d->barred = 1u << reg;
	d->top = d->s->count;
	d->bottom = d->s->count + 1 + rng_below(d->r, 4);
	return true;
}

/* DEC counter; JNZ top, or LOOP top. */
static bool close_loop(struct draft *d)
{
	static const u8 dec = 0xc8, jnz = 0x75, loop = 0xe2;
	unsigned reg = (unsigned)d->counter;
	u8 b[4];

	d->counter = -1;
	d->barred = 0;
	if (reg == RCX && rng_below(d->r, 2))
		return append_made(d, &loop, 1, SEQ_BRANCH, 1, d->top);
	unsigned n = d->s->mode == 64 || rng_below(d->r, 2)
			     ? with_register(b, 0xff, &dec, reg)
			     : with_register(b, OPCODE_DEC_R, NULL, reg);

	return append_made(d, b, n, SEQ_NONE, 0, 0) &&
	       append_made(d, &jnz, 1, SEQ_BRANCH, 1, d->top);
}

static enum kind draw_kind(struct rng *r)
{
	unsigned sum = 0, k = 0;

	for (unsigned n = 0; n < KINDS; n++)
		sum += weights[n];
	for (unsigned at = rng_below(r, sum); at >= weights[k]; k++)
		at -= weights[k];
	return (enum kind)k;
}

static bool append_any(struct draft *d, unsigned length)
{
	for (unsigned tries = 0; tries < DRAWS; tries++) {
		enum kind k = draw_kind(d->r);

		if (k == KIND_BRANCH ? append_branch(d)
		    : k == KIND_LOOP ? open_loop(d, length)
				     : append_form(d, k))
			return true;
	}
	return false;
}

/* --- States ---------------------------------------------------------------------------------- */

static void first_state(struct rng *r, unsigned mode, struct oracle_state *s)
{
	gen_state(r, mode, s);
	for (unsigned n = 0; n < (mode == 64 ? 16u : 8u); n++)
		if (rng_below(r, 2))
			s->gpr[n] = gen_data_offset(r, mode);
	s->gpr[RSP] = gen_data_offset(r, mode) & (rng_below(r, 4) ? ~7ull : ~0ull);
}

void seq_second_state(struct rng *r, const struct sequence *s, const struct oracle_state *first,
		      struct oracle_state *second)
{
	u64 rip = first->rip;

	first_state(r, s->mode, second);
	for (unsigned n = 0; n < 16; n++)
		if (s->keep >> n & 1)
			second->gpr[n] = first->gpr[n];
	second->rip = rip;
}

bool seq_draw(struct rng *r, struct seq_forms *f, unsigned mode, unsigned length,
	      struct guest *seer, struct sequence *s, struct oracle_case *c)
{
	static struct oracle_case i;
	u64 start = CODE_OFFSET + rng_below(r, 64);
	struct draft d = { .r = r,
			   .f = f,
			   .seer = seer,
			   .s = s,
			   .c = c,
			   .i = &i,
			   .fixed = 1u << RSP,
			   .counter = -1,
			   .fault_at = rng_below(r, length + length / 2) };

	*s = (struct sequence){ .mode = mode,
				.start = mode == 16 ? start : CODE_PAGE + start,
				.keep = 1u << RSP };
	first_state(r, mode, &c->before);
	c->before.rip = d.at = s->start;
	memcpy(d.v.gpr, c->before.gpr, sizeof(d.v.gpr));
	guest_load(seer, &c->before);
	while (s->count < length || d.counter >= 0)
		if (d.counter >= 0 && (s->count >= d.bottom || s->count >= length)
			    ? !close_loop(&d)
			    : !append_any(&d, length))
			return false;
	for (unsigned n = 0; n < s->count; n++)
		s->list[n].target = (u8)MIN(s->list[n].target, s->count);
	return seq_assemble(s, c);
}
