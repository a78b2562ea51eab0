/* MOVS CMPS STOS LODS SCAS INS OUTS with their repeat prefixes (SDM 2, SDM 1 7.3.9). A repeated
 * instruction runs in pieces of at most REP_PIECE elements: as long as a count is left, RIP stays
 * on the instruction, so that interrupts get in. Within a piece, runs of elements that lie in RAM
 * on one page are done through host pointers; all else goes element by element, and the registers
 * always stand after the last finished one. */
#include "x86/alu.h"
#include "x86/debug.h"
#include "x86/exec.h"

#include <Zydis/Zydis.h>

#define REP_PIECE 4096u

inline_fn u64 index_get(const struct vcpu *v, const struct x86_insn *i, unsigned reg)
{
	return v->cpu.gpr[reg] & bits_mask(8u * i->addrsize);
}

/* Moves an index register on by n elements. */
inline_fn void index_move(struct vcpu *v, const struct x86_insn *i, unsigned reg, u64 n,
			  unsigned size)
{
	u64 bytes = n * size, value = v->cpu.gpr[reg];

	value = v->cpu.rflags & FL_DF ? value - bytes : value + bytes;
	switch (i->addrsize) {
	case 8: v->cpu.gpr[reg] = value; break;
	case 4: gpr_set(v, reg, value, 4); break;
	default: gpr_set(v, reg, value, 2);
	}
}

inline_fn u64 source_read(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	return x86_read(v, x86_linear(v, i->seg, index_get(v, i, RSI), size, ACC_READ), size);
}

inline_fn gva_t dest_linear(struct vcpu *v, const struct x86_insn *i, unsigned size,
			    enum x86_access acc)
{
	return x86_linear(v, ES, index_get(v, i, RDI), size, acc);
}

/* --- Single elements -------------------------------------------------------------------------- */

enum string_op {
	STRING_MOVS,
	STRING_CMPS,
	STRING_STOS,
	STRING_LODS,
	STRING_SCAS,
	STRING_INS,
	STRING_OUTS,
	STRING_OPS
};

inline_fn void movs_one(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	u64 value = source_read(v, i, size);

	x86_write(v, dest_linear(v, i, size, ACC_WRITE), value, size);
	index_move(v, i, RSI, 1, size);
	index_move(v, i, RDI, 1, size);
}

inline_fn void cmps_one(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	u64 a = source_read(v, i, size), b = x86_read(v, dest_linear(v, i, size, ACC_READ), size);

	alu_binary(ALU_CMP, size, a, b, &v->cpu.cc);
	index_move(v, i, RSI, 1, size);
	index_move(v, i, RDI, 1, size);
}

inline_fn void stos_one(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	x86_write(v, dest_linear(v, i, size, ACC_WRITE), v->cpu.gpr[RAX], size);
	index_move(v, i, RDI, 1, size);
}

inline_fn void lods_one(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	gpr_set(v, RAX, source_read(v, i, size), size);
	index_move(v, i, RSI, 1, size);
}

inline_fn void scas_one(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	alu_binary(ALU_CMP, size, v->cpu.gpr[RAX],
		   x86_read(v, dest_linear(v, i, size, ACC_READ), size), &v->cpu.cc);
	index_move(v, i, RDI, 1, size);
}

/* The destination must take the data before the port gives it away. */
inline_fn void ins_one(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	u16 port = (u16)v->cpu.gpr[RDX];

	x86_check_io(v, port, size);

	gva_t a = dest_linear(v, i, size, ACC_WRITE);

	x86_probe(v, a, size, ACC_WRITE);
	x86_write(v, a, x86_port_in(v, port, size), size);
	index_move(v, i, RDI, 1, size);
}

inline_fn void outs_one(struct vcpu *v, const struct x86_insn *i, unsigned size)
{
	u16 port = (u16)v->cpu.gpr[RDX];

	x86_check_io(v, port, size);
	x86_port_out(v, port, source_read(v, i, size), size);
	index_move(v, i, RSI, 1, size);
}

inline_fn void run_one(struct vcpu *v, const struct x86_insn *i, enum string_op op, unsigned size)
{
	switch (op) {
	case STRING_MOVS: movs_one(v, i, size); break;
	case STRING_CMPS: cmps_one(v, i, size); break;
	case STRING_STOS: stos_one(v, i, size); break;
	case STRING_LODS: lods_one(v, i, size); break;
	case STRING_SCAS: scas_one(v, i, size); break;
	case STRING_INS: ins_one(v, i, size); break;
	default: outs_one(v, i, size);
	}
}

/* --- Runs of elements ------------------------------------------------------------------------- */

/* Elements on one page of RAM, the first at p, the next ones above it, or below it with DF. */
struct run {
	u8 *p;
	u64 n;
};

/* The highest offset that may be accessed, or false if the segment needs the checks of a single
 * access. */
static bool offset_limit(const struct vcpu *v, const struct x86_insn *i, unsigned seg, u64 *limit)
{
	const struct x86_seg *s = &v->cpu.seg[seg];

	*limit = bits_mask(8u * i->addrsize);
	if (i->mode == 64)
		return true;
	*limit = MIN(*limit, (u64)s->limit);
	return (s->ar & SEG_PLAIN_MASK) == SEG_PLAIN;
}

/* Shortens run to the elements from seg:off on that can be accessed through host memory; false if
 * there is none. */
static bool run_at(struct vcpu *v, const struct x86_insn *i, unsigned seg, u64 off, unsigned size,
		   enum x86_access acc, struct run *run)
{
	u64 limit, base = i->mode != 64 || seg >= FS ? v->cpu.seg[seg].base : 0;
	gva_t a = i->mode == 64 ? off + base : (u32)(off + base);
	u64 in_page = a & 0xfff, below = in_page / size + 1, above = (0x1000 - in_page) / size;

	if (!offset_limit(v, i, seg, &limit) || off > limit || limit - off < size - 1 || !above)
		return false;
	if (i->mode == 64 && !x86_canonical(a))
		return false;
	below = MIN(below, off / size + 1);
	above = MIN(above, (limit - off - (size - 1)) / size + 1);
	run->n = MIN(run->n, v->cpu.rflags & FL_DF ? below : above);
	run->p = x86_direct(v, a, acc);
	return run->p;
}

/* Element by element in the direction of DF: where source and destination overlap, what was written
 * is read again. */
inline_fn void copy_elements(u8 *d, const u8 *s, u64 n, unsigned size, i64 step)
{
	for (; n > 0; n--, d += step, s += step)
		le_store(d, le_load(s, size), size);
}

inline_fn u64 movs_run(struct vcpu *v, const struct x86_insn *i, u64 n, unsigned size)
{
	struct run s = { .n = n }, d;

	if (!run_at(v, i, i->seg, index_get(v, i, RSI), size, ACC_READ, &s))
		return 0;
	d = s;
	if (!run_at(v, i, ES, index_get(v, i, RDI), size, ACC_WRITE, &d))
		return 0;
	/* The walk for the destination may have changed a page table entry, never where the source
	 * is. */
	if (v->cpu.rflags & FL_DF)
		copy_elements(d.p, s.p, d.n, size, -(i64)size);
	else if (d.p > s.p && d.p < s.p + d.n * size)
		copy_elements(d.p, s.p, d.n, size, size);
	else
		memmove(d.p, s.p, d.n * size);
	index_move(v, i, RSI, d.n, size);
	index_move(v, i, RDI, d.n, size);
	return d.n;
}

inline_fn u64 stos_run(struct vcpu *v, const struct x86_insn *i, u64 n, unsigned size)
{
	struct run d = { .n = n };
	u64 value = v->cpu.gpr[RAX];

	if (!run_at(v, i, ES, index_get(v, i, RDI), size, ACC_WRITE, &d))
		return 0;

	u8 *p = v->cpu.rflags & FL_DF ? d.p - (d.n - 1) * size : d.p;

	if (size == 1) {
		memset(p, (u8)value, d.n);
	} else {
		for (u64 k = 0; k < d.n; k++)
			le_store(p + k * size, value, size);
	}
	index_move(v, i, RDI, d.n, size);
	return d.n;
}

/* Compares until ZF is not what the prefix asks for; the elements compared, the last one
 * included. */
inline_fn u64 cmps_run(struct vcpu *v, const struct x86_insn *i, u64 n, unsigned size)
{
	bool go_on = i->flags & INSN_REP; /* while equal; else while not */
	i64 step = v->cpu.rflags & FL_DF ? -(i64)size : (i64)size;
	struct run s = { .n = n }, d;
	u64 done = 0, a, b;

	if (!run_at(v, i, i->seg, index_get(v, i, RSI), size, ACC_READ, &s))
		return 0;
	d = s;
	if (!run_at(v, i, ES, index_get(v, i, RDI), size, ACC_READ, &d))
		return 0;
	do {
		a = le_load(s.p + (i64)done * step, size);
		b = le_load(d.p + (i64)done * step, size);
		done++;
	} while (done < d.n && (a == b) == go_on);
	alu_binary(ALU_CMP, size, a, b, &v->cpu.cc);
	index_move(v, i, RSI, done, size);
	index_move(v, i, RDI, done, size);
	return done;
}

inline_fn u64 scas_run(struct vcpu *v, const struct x86_insn *i, u64 n, unsigned size)
{
	bool go_on = i->flags & INSN_REP;
	i64 step = v->cpu.rflags & FL_DF ? -(i64)size : (i64)size;
	u64 a = v->cpu.gpr[RAX] & bits_mask(8 * size), done = 0, b;
	struct run d = { .n = n };

	if (!run_at(v, i, ES, index_get(v, i, RDI), size, ACC_READ, &d))
		return 0;
	do {
		b = le_load(d.p + (i64)done * step, size);
		done++;
	} while (done < d.n && (a == b) == go_on);
	alu_binary(ALU_CMP, size, a, b, &v->cpu.cc);
	index_move(v, i, RDI, done, size);
	return done;
}

/* Elements that the device gives, or takes, at once. */
inline_fn u64 port_run(struct vcpu *v, const struct x86_insn *i, u64 n, unsigned size, bool write)
{
	u16 port = (u16)v->cpu.gpr[RDX];
	unsigned seg = write ? i->seg : ES, reg = write ? RSI : RDI;
	struct run m = { .n = n };

	/* With DR7 set there may be a breakpoint on the port. */
	if (!v->port_block || (v->cpu.rflags & FL_DF) || (v->cpu.dr[7] & DR7_ENABLES))
		return 0;
	x86_check_io(v, port, size);
	if (!run_at(v, i, seg, index_get(v, i, reg), size, write ? ACC_READ : ACC_WRITE, &m))
		return 0;
	n = v->port_block(v, port, m.p, size, (unsigned)m.n, write);
	index_move(v, i, reg, n, size);
	return n;
}

inline_fn u64 run_many(struct vcpu *v, const struct x86_insn *i, enum string_op op, u64 n,
		       unsigned size)
{
	switch (op) {
	case STRING_MOVS: return movs_run(v, i, n, size);
	case STRING_CMPS: return cmps_run(v, i, n, size);
	case STRING_STOS: return stos_run(v, i, n, size);
	case STRING_SCAS: return scas_run(v, i, n, size);
	case STRING_INS: return port_run(v, i, n, size, false);
	case STRING_OUTS: return port_run(v, i, n, size, true);
	default: return 0;
	}
}

/* --- Repetition ------------------------------------------------------------------------------- */

/* True if a compare has ended the repetition. */
inline_fn bool repeat_ends(const struct vcpu *v, const struct x86_insn *i, enum string_op op)
{
	if (op != STRING_CMPS && op != STRING_SCAS)
		return false;
	return !(v->cpu.cc & CC_ZF) == !!(i->flags & INSN_REP);
}

/* With TF each element is a step of its own; anything that asks for attention (a data breakpoint, a
 * device) ends the piece. */
inline_fn void run_rep(struct vcpu *v, const struct x86_insn *i, enum string_op op, unsigned size)
{
	u64 count = index_get(v, i, RCX), room = v->cpu.rflags & FL_TF ? 1 : REP_PIECE;
	bool ended = count == 0, runs = !x86_alignment_checked(&v->cpu);

	if (ended && (op == STRING_INS || op == STRING_OUTS))
		x86_check_io(v, (u16)v->cpu.gpr[RDX], size); /* also where nothing is moved */
	while (!ended && room > 0) {
		u64 n = runs ? run_many(v, i, op, MIN(count, room), size) : 0;

		if (n == 0) {
			run_one(v, i, op, size);
			n = 1;
		}
		room -= n;
		count -= n;
		gpr_set(v, RCX, count, i->addrsize);
		ended = count == 0 || repeat_ends(v, i, op);
		if (atomic_load_explicit(&v->attention, memory_order_relaxed))
			break;
	}
	if (ended) {
		u64 next = v->cpu.rip + i->len;

		v->cpu.rip = i->mode == 64 ? next : (u32)next;
		v->cpu.rflags &= ~FL_RF;
	} else if (!cpuid_is_amd(v->vm)) {
		/* What an event between two iterations saves (SDM 3B 17.3.1.1); processors of AMD save it clear. */
		v->cpu.rflags |= FL_RF;
	}
}

#define STRING_LIST(X)       \
	X(movs, STRING_MOVS) \
	X(cmps, STRING_CMPS) \
	X(stos, STRING_STOS) \
	X(lods, STRING_LODS) \
	X(scas, STRING_SCAS) \
	X(ins, STRING_INS)   \
	X(outs, STRING_OUTS)

#define STRING(op, OP, size)                                                 \
	static void op##size(struct vcpu *v, const struct x86_insn *i)       \
	{                                                                    \
		run_one(v, i, OP, size);                                     \
	}                                                                    \
	static void rep_##op##size(struct vcpu *v, const struct x86_insn *i) \
	{                                                                    \
		run_rep(v, i, OP, size);                                     \
	}
#define STRING_SIZES(op, OP) STRING(op, OP, 1) STRING(op, OP, 2) STRING(op, OP, 4) STRING(op, OP, 8)
STRING_LIST(STRING_SIZES)

#define STRING_ENTRIES(op, OP)                   \
	[OP] = { { op##1, op##2, op##4, op##8 }, \
		 { rep_##op##1, rep_##op##2, rep_##op##4, rep_##op##8 } },
static x86_exec_fn *const string_fns[STRING_OPS][2][4] = { STRING_LIST(STRING_ENTRIES) };

/* --- Binding ---------------------------------------------------------------------------------- */

/* STRING_OPS if it is none; MOVSD and CMPSD are also names of SSE2 instructions. */
static enum string_op string_op(const ZydisDecodedInstruction *z)
{
	if (z->meta.category != ZYDIS_CATEGORY_STRINGOP &&
	    z->meta.category != ZYDIS_CATEGORY_IOSTRINGOP)
		return STRING_OPS;
	switch (z->opcode & ~1) {
	case 0xa4: return STRING_MOVS;
	case 0xa6: return STRING_CMPS;
	case 0xaa: return STRING_STOS;
	case 0xac: return STRING_LODS;
	case 0xae: return STRING_SCAS;
	case 0x6c: return STRING_INS;
	default: return STRING_OUTS;
	}
}

x86_exec_fn *x86_bind_string(struct x86_insn *i, const struct x86_zydis *z)
{
	enum string_op op = string_op(z->insn);
	bool rep = i->flags &
		   (INSN_REP | INSN_REPNE); /* where no flag is tested F2 repeats as F3 does */
	unsigned size = op == STRING_INS || op == STRING_OUTS ? MIN(i->opsize, 4u) : i->opsize;

	if (op == STRING_OPS)
		return NULL;
	if (rep)
		i->flags |= INSN_BRANCH;
	return string_fns[op][rep][size_index(size)];
}
