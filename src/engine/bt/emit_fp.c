/* x87, MMX, SSE, AVX, AVX-512, and the integer extensions that thunks have too: the host's own instruction, with general registers
 * renamed to where the guest's are and the memory operand at its host address. Vector, mask and x87 registers are the host's of the
 * same number.
 *
 * The first instruction of a gate (fpu.h) in a unit checks that the gate is open, which also says that the registers are live; else C
 * does what it takes. Faults of the host (alignment, unmasked exceptions) have the instruction executed again, in C. */
#include "engine/bt/fp.h"
#include "engine/bt/tr.h"
#include "x86/decoder.h"
#include "x86/exec.h"
#include "x86/thunk.h"

#include <Zydis/Zydis.h>

/* --- Gates ---------------------------------------------------------------------------------------- */

static void pass_gate(struct tr *t, unsigned gate)
{
	struct as *a = &t->a;

	/* In 64-bit mode nothing closes this one. */
	if (gate == GATE_NONE || (gate == GATE_VEX_GPR && t->mode == 64))
		return;
	t->u->insn[t->k].gate = (u8)gate;
	if (t->fp_ready & BIT(gate))
		return;
	t->fp_ready |= (u32)BIT(gate);
	as_loadz(a, 1, H_RCX, rm_ctx(CTX_BT(fp_closed) + gate));

	u8 *open = as_jrcxz(a);

	as_mov_imm(a, H_RCX, bt_id(t->bt, &t->u->insn[t->k]));
	as_jmp_to(a, t->bt->stub.fp);
	as_short_here(a, open);
}

/* --- General registers ---------------------------------------------------------------------------- */

#define SCRATCH (BIT(H_RAX) | BIT(H_RCX) | BIT(H_RDX))

/* The registers of one instruction. */
struct regs {
	u32 loaded,
		stored; /* of RAX, RCX, RDX: fixed operands that the instruction reads; and those that it writes only */
	u32 address; /* those of the memory operand */
	u32 given;   /* those that stand for other registers */
};

static bool has_home(const struct thunk_plan *p, unsigned k)
{
	return p->gpr[k].guest < 16 && bt_home[p->gpr[k].guest] != H_NONE;
}

static void find_fixed(struct regs *r, const struct thunk_plan *p)
{
	for (unsigned k = 0; k < p->gprs; k++) {
		if (!plan_gpr_fixed(p, k))
			continue;
		if (p->gpr[k].load)
			r->loaded |= (u32)BIT(p->gpr[k].host);
		else
			r->stored |= (u32)BIT(p->gpr[k].host);
	}
}

/* A scratch register for operand k. One that is written only may stand in for the address, or for an operand that is read. */
static bool give_scratch(struct regs *r, struct thunk_plan *p, unsigned k)
{
	u32 free = SCRATCH & ~(r->given | r->stored);

	if (p->gpr[k].load || (free & ~(r->loaded | r->address)))
		free &= ~(r->loaded | r->address);
	if (!free)
		return false;
	p->gpr[k].host = (u8)__builtin_ctz(free);
	r->given |= (u32)BIT(p->gpr[k].host);
	return true;
}

static bool assign(struct regs *r, struct thunk_plan *p)
{
	u8 before[PLAN_GPRS];

	r->given = 0;
	for (unsigned k = 0; k < p->gprs; k++)
		before[k] = p->gpr[k].host;
	/* Those that are read first: they have less to choose from. */
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned k = 0; k < p->gprs; k++) {
			if (before[k] < R8 || p->gpr[k].load != (pass == 0))
				continue;
			if (has_home(p, k))
				p->gpr[k].host = bt_home[p->gpr[k].guest];
			else if (!give_scratch(r, p, k))
				goto none;
		}
	return true;
none:
	for (unsigned k = 0; k < p->gprs; k++)
		p->gpr[k].host = before[k];
	return false;
}

/* Gives each operand a host register, and the address fewer of them where they are short. */
static bool place(struct tr *t, struct thunk_plan *p, struct tr_mem *m)
{
	struct regs r = { 0 };
	u32 free;

	find_fixed(&r, p);
	if (m) {
		r.address = BIT(H_RDX) | (m->rm.base == H_RAX ? BIT(H_RAX) : 0);
		if (!(r.address & r.loaded) && assign(&r, p))
			return true;
		free = SCRATCH & ~r.loaded;
		if (!free)
			return false;
		r.address = 1u << (31 - __builtin_clz(free));
		as_lea(&t->a, 8, 31u - (unsigned)__builtin_clz(free), m->rm);
		m->rm = rm_mem(31u - (unsigned)__builtin_clz(free), 0);
	}
	return assign(&r, p);
}

static bool is_scratch(unsigned host) { return host <= H_RDX; }

static void load_operands(struct tr *t, const struct thunk_plan *p)
{
	for (unsigned k = 0; k < p->gprs; k++) {
		unsigned host = p->gpr[k].host, guest = p->gpr[k].guest;

		if (!is_scratch(host) || !p->gpr[k].load)
			continue;
		if (guest >= 16)
			as_rorx(&t->a, false, host, bt_home[guest - 16], 8);
		else
			as_load(&t->a, 8, host, tr_rm(guest));
	}
}

static void store_operands(struct tr *t, const struct thunk_plan *p)
{
	for (unsigned k = 0; k < p->gprs; k++)
		if (is_scratch(p->gpr[k].host) && p->gpr[k].store)
			as_store(&t->a, 8, tr_rm(p->gpr[k].guest), p->gpr[k].host);
}

static u32 written(const struct thunk_plan *p)
{
	u32 set = 0;

	for (unsigned k = 0; k < p->gprs; k++)
		if (p->gpr[k].store)
			set |= (u32)BIT(p->gpr[k].guest & 15);
	return set;
}

/* --- x87 ------------------------------------------------------------------------------------------ */

/* FOP, FIP, FCS, FDP, FDS: noted after the instruction, for an exception of an earlier one that it reports is about that one. */
static void note_pointers(struct tr *t, const struct thunk_plan *p)
{
	struct as *a = &t->a;

	as_store_imm(a, 4, rm_ctx(CTX_BT(x87_op)),
		     X87_NOTED | (p->t.fop & X87_FOP) | tr_off(t) << X87_OFF_POS);
	if (!(t->fp_ready & TR_X87_VRIP)) {
		t->fp_ready |= (u32)TR_X87_VRIP;
		as_load(a, 8, H_RAX, rm_ctx(CTX_BT(vrip)));
		as_store(a, 8, rm_ctx(CTX_BT(x87_vrip)), H_RAX);
	}
	/* What tr_mem takes has an offset. */
	if (!p->t.size || !tr_offset(t))
		return;
	as_store(a, 8, rm_ctx(CTX_BT(x87_fdp)), H_RAX);
	as_store_imm(a, 4, rm_ctx(CTX_BT(x87_mem)), X87_NOTED | t->i->seg);
}

/* --- The instruction ------------------------------------------------------------------------------ */

/* What the plan does not tell from others: these show or load the x87 pointers, or have hidden operands. */
static bool is_for_c(const struct x86_insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU: return true;
	default: return false;
	}
}

static bool emit_planned(struct tr *t, struct thunk_plan *p, const struct x86_zydis *zy, bool bsx)
{
	bool memory = p->t.size != 0;
	struct tr_mem m;

	pass_gate(t, p->t.gate);
	if (memory && !tr_mem(t, &m, p->t.size, p->t.flags & THUNK_STORE ? TR_WRITE : TR_READ))
		return false;
	if (!place(t, p, memory ? &m : NULL))
		return false;
	if (memory) {
		p->mem.base = m.rm.base;
		p->mem.index = m.rm.index == H_NONE ? PLAN_NO_INDEX : m.rm.index;
		p->mem.disp = m.rm.disp;
	}
	if (!thunk_encode(p, zy, t->i->bytes, bsx))
		return false;
	load_operands(t, p);
	memcpy(t->a.p, p->bytes, p->size);
	t->a.p += p->size;
	store_operands(t, p);
	t->writes = written(p);
	if (p->t.flags & THUNK_POINTERS)
		note_pointers(t, p);
	return true;
}

static bool emit_fp(struct tr *t)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct x86_zydis zy = { .insn = &z, .ops = ops };
	struct thunk_plan p;
	bool bsx;

	if (is_for_c(t->i) || t->i->mnemonic == ZYDIS_MNEMONIC_INVALID)
		return false;
	x86_decoder_init(&decoder, t->mode);
	if (!ZYAN_SUCCESS(x86_decoder_decode(&decoder, t->i->bytes, t->i->len, &z, ops)) ||
	    !thunk_plan(&p, &zy) || !thunk_in_model(&p, t->bt->vm, &bsx))
		return false;
	return emit_planned(t, &p, &zy, bsx);
}

/* --- Those that have no plan ------------------------------------------------------------------------ */

static bool has(const struct tr *t, unsigned feature) { return cpuid_bit(t->bt->vm, feature); }

/* VZEROUPPER, VZEROALL. Outside 64-bit mode registers 8 to 15 stay: a VEX instruction on each of the others. */
static bool emit_vzero(struct tr *t)
{
	bool all = t->i->mnemonic == ZYDIS_MNEMONIC_VZEROALL;
	struct as *a = &t->a;

	if (!has(t, CPUID_AVX))
		return false;
	pass_gate(t, GATE_AVX);
	if (t->mode == 64) {
		as_byte(a, 0xc5);
		as_byte(a, all ? 0xfc : 0xf8);
		as_byte(a, 0x77);
		as_store_imm(a, 1, rm_ctx(CTX_BT(fp_zeroed)), 1);
		return true;
	}
	for (unsigned n = 0; n < 8; n++) {
		if (all) /* vpxor xmm, xmm, xmm */
			as_vex(a, 1, MAP_0F | 0xef, false, false, n, n, rm_reg(n));
		else /* vmovaps xmm, xmm */
			as_vex(a, 0, MAP_0F | 0x28, false, false, n, 0, rm_reg(n));
	}
	return true;
}

/* LDMXCSR, STMXCSR and their VEX forms, which do the same. */
static bool emit_mxcsr(struct tr *t)
{
	u16 mnemonic = t->i->mnemonic;
	bool vex = mnemonic == ZYDIS_MNEMONIC_VLDMXCSR || mnemonic == ZYDIS_MNEMONIC_VSTMXCSR;
	bool load = mnemonic == ZYDIS_MNEMONIC_LDMXCSR || mnemonic == ZYDIS_MNEMONIC_VLDMXCSR;
	struct tr_mem m;

	/* The host is to refuse exactly the bits that the model does not have. */
	if (!has(t, vex ? CPUID_AVX : CPUID_SSE) ||
	    (load && fpu_mxcsr_mask(t->v) != xsave_layout()->mxcsr_mask))
		return false;
	pass_gate(t, vex ? GATE_AVX : GATE_SSE);
	if (!tr_mem(t, &m, 4, load ? TR_READ : TR_WRITE))
		return false;
	as_op(&t->a, 0, MAP_0F | 0xae, 4, load ? 2 : 3, m.rm);
	return true;
}

/* FWAIT, FNCLEX, EMMS: the same bytes. */
static bool emit_same(struct tr *t)
{
	u16 mnemonic = t->i->mnemonic;
	struct as *a = &t->a;

	if (mnemonic == ZYDIS_MNEMONIC_EMMS ? !has(t, CPUID_MMX) : !has(t, CPUID_FPU))
		return false;
	if (mnemonic == ZYDIS_MNEMONIC_FWAIT) {
		pass_gate(t, GATE_FWAIT);
		as_byte(a, 0x9b);
	} else if (mnemonic == ZYDIS_MNEMONIC_EMMS) {
		pass_gate(t, GATE_MMX);
		as_byte(a, 0x0f);
		as_byte(a, 0x77);
	} else {
		pass_gate(t, GATE_X87);
		as_byte(a, 0xdb);
		as_byte(a, 0xe2);
	}
	return true;
}

void emit_fp_init(struct bt *bt)
{
	static const struct {
		u16 mnemonic;
		bt_emit_fn *fn;
	} special[] = {
		{ ZYDIS_MNEMONIC_VZEROUPPER, emit_vzero }, { ZYDIS_MNEMONIC_VZEROALL, emit_vzero },
		{ ZYDIS_MNEMONIC_LDMXCSR, emit_mxcsr },    { ZYDIS_MNEMONIC_STMXCSR, emit_mxcsr },
		{ ZYDIS_MNEMONIC_VLDMXCSR, emit_mxcsr },   { ZYDIS_MNEMONIC_VSTMXCSR, emit_mxcsr },
		{ ZYDIS_MNEMONIC_FWAIT, emit_same },       { ZYDIS_MNEMONIC_FNCLEX, emit_same },
		{ ZYDIS_MNEMONIC_EMMS, emit_same },
	};

	for (unsigned n = 0; n < ARRAY_LEN(special); n++)
		bt->emit[special[n].mnemonic] = special[n].fn;
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		if (!bt->emit[m])
			bt->emit[m] = emit_fp;
}
