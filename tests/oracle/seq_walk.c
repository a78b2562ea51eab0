/* The layout of a sequence, and a walk through it with the interpreter before anything else runs it: the walk says where it goes,
 * which flags the manual leaves undefined on the way, and whether it may run on the host. */
#include "seq.h"

#include "gen.h"

#include <string.h>

#define MAX_STEPS   200u
#define MAX_REPEATS 16u
#define FRAME_MAX   512u /* how far from its address an instruction reaches */

bool seq_assemble(const struct sequence *s, struct oracle_case *c)
{
	u64 offset[SEQ_MAX + 1] = { 0 };

	for (unsigned n = 0; n < s->count; n++)
		offset[n + 1] = offset[n] + s->list[n].len;
	c->mode = s->mode;
	c->to_halt = true;
	c->len = (u16)offset[s->count];
	c->before.rip = s->start;
	if (c->len > CODE_MAX)
		return false;
	for (unsigned n = 0; n < s->count; n++) {
		const struct seq_insn *i = &s->list[n];
		u8 *at = c->bytes + offset[n];
		u64 next = s->start + offset[n + 1], target = s->start + offset[i->target];
		u64 value = i->patch == SEQ_BRANCH    ? target - next
			    : i->patch == SEQ_ADDRESS ? target
						      : i->to - next;

		memcpy(at, i->bytes, i->len);
		if (i->patch == SEQ_NONE)
			continue;
		if (i->patch == SEQ_BRANCH && (u64)bits_sext(value, i->size * 8u) != value)
			return false;
		le_store(at + i->at, value & bits_mask(i->size * 8u), i->size);
	}
	return true;
}

/* --- Memory ---------------------------------------------------------------------------------- */

bool seq_operand_address(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *op,
			 const u64 *gpr, u64 rip, u64 *address)
{
	const ZydisDecodedOperandMem *m = &op->mem;

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || m->type != ZYDIS_MEMOP_TYPE_MEM ||
	    insn->meta.category == ZYDIS_CATEGORY_NOP ||
	    insn->meta.category == ZYDIS_CATEGORY_WIDENOP ||
	    insn->meta.category == ZYDIS_CATEGORY_PREFETCH)
		return false;
	int base = gen_slot(m->base), index = gen_slot(m->index);
	bool stack = op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && base == RSP;
	u64 a = (u64)m->disp.value;

	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP)
		a += rip + insn->length;
	else if (base >= 0)
		a += gpr[base];
	if (m->index == ZYDIS_REGISTER_AL) /* XLAT */
		a += gpr[RAX] & 0xff;
	else if (index >= 0)
		a += gpr[index] * (m->scale ? m->scale : 1u);
	*address = a & bits_mask(stack ? insn->stack_width : insn->address_width);
	return true;
}

bool seq_near_data(unsigned mode, u64 address)
{
	u64 base = mode == 16 ? DATA_PAGE - SEG16_BASE : DATA_PAGE;

	return address - (base - 2048) < DATA_SIZE + 4096;
}

/* In 64-bit code a wild access could reach the child's own memory, and for kernel addresses Linux makes up the error code. In 32-bit
 * code an access across the end of a segment of 4 GiB may raise #GP or #SS or wrap, as the processor likes (SDM 3A 5.3); and the
 * walk does not see what a sequence would do to its own code. */
static bool safe_address(unsigned mode, u64 address)
{
	if (mode == 32)
		return (u32)(address + FRAME_MAX) >= 2 * FRAME_MAX &&
		       (u32)(address - (CODE_PAGE - FRAME_MAX)) >= 4096 + 2 * FRAME_MAX;
	return mode == 16 || seq_near_data(mode, address) ||
	       (address >= FRAME_MAX && address < 4096) || (u64)bits_sext(address, 48) != address;
}

/* An address that is not canonical, through SS, and misaligned: #SS and #GP are faults of one class, and within it the order is the
 * processor's own (SDM 3A table 6-2). */
static bool two_faults(const struct oracle_case *i, const ZydisDecodedOperand *o, u64 address)
{
	return i->mode == 64 && o->mem.segment == ZYDIS_REGISTER_SS && o->size >= 128 &&
	       address & 15 && (u64)bits_sext(address, 48) != address;
}

static bool is_bit_string(u16 m)
{
	return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	       m == ZYDIS_MNEMONIC_BTC;
}

static bool safe_memory(const struct oracle_case *i, const struct guest_view *v)
{
	bool rep = i->insn.attributes &
		   (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);

	if (rep && (v->gpr[RCX] & bits_mask(i->insn.address_width)) > MAX_REPEATS)
		return false;
	/* Frames: rbp is an address that no operand names. */
	if ((i->insn.mnemonic == ZYDIS_MNEMONIC_LEAVE ||
	     i->insn.mnemonic == ZYDIS_MNEMONIC_ENTER) &&
	    !safe_address(i->mode, v->gpr[RBP]))
		return false;
	for (unsigned n = 0; n < i->insn.operand_count; n++) {
		u64 a;

		if (!seq_operand_address(&i->insn, &i->ops[n], v->gpr, v->rip, &a))
			continue;
		if (is_bit_string(i->insn.mnemonic) &&
		    i->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
			a += (u64)(bits_sext(v->gpr[gen_slot(i->ops[1].reg.value)],
					     i->ops[1].size) >>
				   3);
		if (!safe_address(i->mode, a) || two_faults(i, &i->ops[n], a))
			return false;
	}
	return true;
}

/* --- Flags ----------------------------------------------------------------------------------- */

static u64 operand_value(const ZydisDecodedOperand *o, const u64 *gpr)
{
	return o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? o->imm.value.u : gpr[RCX];
}

/* Zydis' table, and for shifts and rotates their counts: 0 leaves all flags alone, 1 defines OF. */
u64 seq_undefined_after(const struct oracle_case *i, const u64 *gpr, u64 undefined)
{
	const ZydisAccessedFlags *f = i->insn.cpu_flags;

	if (!f)
		return undefined;
	u64 now = f->undefined, written = f->modified | f->set_0 | f->set_1;
	ZydisInstructionCategory cat = i->insn.meta.category;

	if ((cat == ZYDIS_CATEGORY_SHIFT || cat == ZYDIS_CATEGORY_ROTATE) &&
	    i->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
		const ZydisDecodedOperand *count =
			&i->ops[i->insn.operand_count_visible == 3 ? 2 : 1];
		u64 n = operand_value(count, gpr) & (i->insn.operand_width == 64 ? 63 : 31);

		if (n == 0)
			return undefined;
		if (n == 1)
			now &= ~(u64)FL_OF;
		if (n == 1 && cat == ZYDIS_CATEGORY_SHIFT)
			written |= FL_OF;
	}
	/* With a count of zero a repeated comparison writes nothing. */
	if (cat == ZYDIS_CATEGORY_STRINGOP)
		return undefined | now;
	return (undefined & ~written) | now;
}

/* --- The walk -------------------------------------------------------------------------------- */

/* Decodes what is at rip, with HLT behind it as the page has it. */
static bool fetch(const struct oracle_case *c, u64 rip, struct oracle_case *i)
{
	u64 at = rip - c->before.rip;

	memset(i->bytes, HLT, INSN_MAX);
	memcpy(i->bytes, c->bytes + at, MIN((u64)INSN_MAX, c->len - at));
	i->mode = c->mode;
	return gen_redecode(i);
}

bool seq_walk(struct guest *seer, struct oracle_case *c, struct seq_walk *w)
{
	static struct oracle_case i;
	struct guest_view v = { .rip = c->before.rip };

	*w = (struct seq_walk){ 0 };
	memcpy(v.gpr, c->before.gpr, sizeof(v.gpr));
	guest_load(seer, &c->before);
	while (v.rip != c->before.rip + c->len) {
		const u64 was = v.rip;
		u64 before[16];

		if (was - c->before.rip >= c->len || !fetch(c, was, &i) ||
		    was + i.insn.length > c->before.rip + c->len || w->steps++ == MAX_STEPS)
			return false;
		if (i.insn.cpu_flags && i.insn.cpu_flags->tested & w->undefined)
			return false;
		if (!safe_memory(&i, &v))
			return false;
		memcpy(before, v.gpr, sizeof(before));
		guest_step(seer, i.bytes, i.insn.length, &v);
		/* A trap of its own after the next instruction is not what a sequence is about. */
		if (v.lost || v.flags & FL_TF)
			return false;
		if (v.fault && gen_fault_is_loose(&i.insn))
			return false;
		if (v.fault) {
			w->fault = true;
			break;
		}
		w->undefined = seq_undefined_after(&i, before, w->undefined);
	}
	c->undefined = w->undefined;
	return true;
}
