/* Access to the operands of a decoded instruction: the templates from which the integer families
 * are made. Everything here is inlined with a constant size and a constant kind of addressing, so
 * that a handler is a straight line of a dozen host instructions with one rarely taken way out. */
#ifndef X86_OPERAND_H
#define X86_OPERAND_H

#include "x86/mem.h"

#define inline_fn static inline __attribute__((always_inline))

/* --- Registers -------------------------------------------------------------------------------- */

_Static_assert(OPK_GPR_HIGH == OPK_GPR + 1,
	       "the kind is the byte offset of a byte register, plus OPK_GPR");

/* Value of a general register operand, zero-extended. */
inline_fn u64 reg_get(const struct vcpu *v, const struct x86_operand *o, unsigned size)
{
	const u64 *r = &v->cpu.gpr[o->reg];

	switch (size) {
	case 1: return ((const u8 *)r)[o->kind - OPK_GPR];
	case 2: return (u16)*r;
	case 4: return (u32)*r;
	default: return *r;
	}
}

/* Writes one of the registers 0..15 as an instruction with this operand size does: 32 bits clear
 * the upper half, 16 and 8 bits keep the rest. The register is written whole, as a later wider load
 * of a partly written one would stall. */
inline_fn void gpr_set(struct vcpu *v, size_t reg, u64 value, unsigned size)
{
	u64 *r = &v->cpu.gpr[reg];

	switch (size) {
	case 1: *r = (*r & ~0xffull) | (u8)value; break;
	case 2: *r = (*r & ~0xffffull) | (u16)value; break;
	case 4: *r = (u32)value; break;
	default: *r = value;
	}
}

inline_fn void reg_set(struct vcpu *v, const struct x86_operand *o, u64 value, unsigned size)
{
	if (size == 1) {
		unsigned shift = 8u * (o->kind - OPK_GPR);
		u64 *r = &v->cpu.gpr[o->reg];

		*r = (*r & ~(0xffull << shift)) | (u64)(u8)value << shift;
	} else {
		gpr_set(v, o->reg, value, size);
	}
}

/* --- Memory ----------------------------------------------------------------------------------- */

/* How the address of a memory operand is formed. The code size that an instruction was decoded for
 * is the mode it runs in, so the choice is made once, when it is bound. */
enum addr_kind {
	ADDR_64, /* 64-bit mode and addresses, no FS or GS: the offset is the linear address */
	ADDR_32, /* 32-bit code and addresses: fast if the segment is a plain 4 GiB one */
	ADDR_ANY,
	ADDR_KINDS
};

inline_fn enum addr_kind addr_kind(const struct x86_insn *i)
{
	if (i->mode == 64 && i->addrsize == 8 && i->seg < FS)
		return ADDR_64;
	return i->mode == 32 && i->addrsize == 4 ? ADDR_32 : ADDR_ANY;
}

/* A present, writable, expand-up data segment: with a limit of 4 GiB - 1 no access to it can
 * fail. */
#define SEG_PLAIN_MASK (AR_UNUSABLE | AR_P | AR_S | AR_CODE | AR_DC | AR_WR)
#define SEG_PLAIN      (AR_P | AR_S | AR_WR)

inline_fn bool seg_plain(const struct x86_seg *s)
{
	return s->limit == 0xffffffff && (s->ar & SEG_PLAIN_MASK) == SEG_PLAIN;
}

/* Host address of the memory operand if it can be had without a check that may fail, else NULL. */
inline_fn u8 *operand_hit(struct vcpu *v, const struct x86_insn *i, unsigned size, bool write,
			  enum addr_kind kind)
{
	u64 off = x86_slot(&v->cpu, i->base) + (x86_slot(&v->cpu, i->index) << i->scale) +
		  (u64)i->disp;
	const struct x86_seg *s = &v->cpu.seg[i->seg];

	if (kind == ADDR_64)
		return tlb_hit(v, off, size, write);
	return likely(seg_plain(s)) ? tlb_hit(v, (u32)(off + s->base), size, write) : NULL;
}

/* A memory operand being accessed. A handler for a fast kind of address that cannot open its
 * operand jumps to its ADDR_ANY twin, which does all checks: so the fast one needs no stack
 * frame. */
struct mem_ref {
	u8 *host; /* fast kinds */
	gva_t a;  /* ADDR_ANY */
};

/* True if *m can be used for acc; always for ADDR_ANY. Nothing has been read or written yet. */
inline_fn bool mem_open(struct vcpu *v, const struct x86_insn *i, struct mem_ref *m, unsigned size,
			enum x86_access acc, enum addr_kind kind)
{
	if (kind == ADDR_ANY) {
		m->a = x86_operand(v, i, size, acc);
		return true;
	}
	m->host = operand_hit(v, i, size, acc != ACC_READ, kind);
	return likely(m->host);
}

/* The operand's value, zero-extended; acc is ACC_READ or ACC_RMW. */
inline_fn u64 mem_get(struct vcpu *v, const struct mem_ref *m, unsigned size, enum x86_access acc,
		      enum addr_kind kind)
{
	if (kind != ADDR_ANY)
		return le_load(m->host, size);
	return acc == ACC_RMW ? x86_read_rmw(v, m->a, size) : x86_read(v, m->a, size);
}

inline_fn void mem_put(struct vcpu *v, const struct mem_ref *m, u64 value, unsigned size,
		       enum addr_kind kind)
{
	if (kind == ADDR_ANY)
		x86_write(v, m->a, value, size);
	else
		le_store(m->host, value, size);
}

/* --- Binding ---------------------------------------------------------------------------------- */

/* Index of an operand size in tables of handlers: 0..3 for 1, 2, 4, 8. */
inline_fn unsigned size_index(unsigned size) { return size == 8 ? 3 : size >> 1 & 3; }

inline_fn bool is_gpr(const struct x86_operand *o)
{
	return o->kind == OPK_GPR || o->kind == OPK_GPR_HIGH;
}

/* The ways operands come to an instruction with a destination and a source, memory ones by kind of
 * address. */
enum form {
	FORM_RR,
	FORM_RI,
	FORM_RM,
	FORM_MR = FORM_RM + ADDR_KINDS,
	FORM_MI = FORM_MR + ADDR_KINDS,
	FORMS = FORM_MI + ADDR_KINDS
};

/* Calls X(name, general, form, kind, ...) for each of them; `general` is the name of the one with
 * all checks, which comes before the fast ones. */
#define FORM_LIST(X, ...)                                 \
	X(rr, rr, FORM_RR, 0, __VA_ARGS__)                \
	X(ri, ri, FORM_RI, 0, __VA_ARGS__)                \
	X(rm_any, rm_any, FORM_RM, ADDR_ANY, __VA_ARGS__) \
	X(rm_64, rm_any, FORM_RM, ADDR_64, __VA_ARGS__)   \
	X(rm_32, rm_any, FORM_RM, ADDR_32, __VA_ARGS__)   \
	X(mr_any, mr_any, FORM_MR, ADDR_ANY, __VA_ARGS__) \
	X(mr_64, mr_any, FORM_MR, ADDR_64, __VA_ARGS__)   \
	X(mr_32, mr_any, FORM_MR, ADDR_32, __VA_ARGS__)   \
	X(mi_any, mi_any, FORM_MI, ADDR_ANY, __VA_ARGS__) \
	X(mi_64, mi_any, FORM_MI, ADDR_64, __VA_ARGS__)   \
	X(mi_32, mi_any, FORM_MI, ADDR_32, __VA_ARGS__)

/* The same for instructions with one register or memory operand that decides. */
enum place { PLACE_REG, PLACE_MEM, PLACES = PLACE_MEM + ADDR_KINDS };

#define PLACE_LIST(X, ...)                                \
	X(r, r, PLACE_REG, 0, __VA_ARGS__)                \
	X(m_any, m_any, PLACE_MEM, ADDR_ANY, __VA_ARGS__) \
	X(m_64, m_any, PLACE_MEM, ADDR_64, __VA_ARGS__)   \
	X(m_32, m_any, PLACE_MEM, ADDR_32, __VA_ARGS__)

/* Where operand o is: it is a general register or memory. */
inline_fn unsigned operand_place(const struct x86_insn *i, const struct x86_operand *o)
{
	return o->kind == OPK_MEM ? PLACE_MEM + (unsigned)addr_kind(i) : PLACE_REG;
}

/* Form of the first two operands; FORMS if they are none of these. */
inline_fn unsigned operand_form(const struct x86_insn *i)
{
	const struct x86_operand *d = &i->op[0], *s = &i->op[1];

	if (is_gpr(d)) {
		if (is_gpr(s))
			return FORM_RR;
		if (s->kind == OPK_IMM)
			return FORM_RI;
		return s->kind == OPK_MEM ? FORM_RM + (unsigned)addr_kind(i) : FORMS;
	}
	if (d->kind != OPK_MEM)
		return FORMS;
	if (is_gpr(s))
		return FORM_MR + (unsigned)addr_kind(i);
	return s->kind == OPK_IMM ? FORM_MI + (unsigned)addr_kind(i) : FORMS;
}

#endif
