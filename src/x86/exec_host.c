/* Instructions that run on the host's own units through a thunk: x87, MMX, SSE to AVX-512, and
 * the integer extensions (SDM 1 chapters 8 to 16). What the guest's control registers forbid is
 * checked here; the host's faults become the guest's. */
#include "x86/exec_host.h"

#include "base/trace.h"

#include <Zydis/Zydis.h>

void host_fault(struct vcpu *v, u32 fault)
{
	unsigned vector = fault & 0xff;

	switch (vector) {
	case EXC_XM:
		/* SDM 3A 2.5: without OSXMMEXCPT an unmasked SIMD exception is #UD. */
		if (!(v->cpu.cr4 & CR4_OSXMMEXCPT))
			x86_raise_ud(v);
		x86_raise(v, EXC_XM);
	case EXC_AC: x86_raise_error(v, EXC_AC, 0);
	case EXC_GP: x86_raise_gp0(v);
	case EXC_MF: x86_raise(v, EXC_MF);
	default: trace(EXC, "thunk: host vector %u", vector); x86_raise_ud(v);
	}
}

static u32 run_with_ac(const struct thunk *t, struct x86_cpu *cpu, void *mem)
{
	u32 fault;

	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | FL_AC);
	fault = t->code(cpu, mem);
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~FL_AC);
	return fault;
}

u32 host_run_aligned(struct vcpu *v, const struct thunk *t, void *mem)
{
	return run_with_ac(t, &v->cpu, mem);
}

void host_check_alignment(struct vcpu *v, const struct thunk *t, void *mem)
{
	struct x86_cpu trial = v->cpu;

	if (run_with_ac(t, &trial, mem) == (HOSTSIG_FAULT | EXC_AC))
		x86_raise_error(v, EXC_AC, 0);
}

static void exec_host_reg(struct vcpu *v, const struct x86_insn *i)
{
	const struct thunk *t = thunk_of(v, i);
	u32 fault;

	fpu_check_gate(v, t->gate);
	fault = t->code(&v->cpu, NULL);
	if (unlikely(fault))
		host_fault(v, fault);
	fpu_use(&v->cpu, t->inuse);
}

/* The memory operand of a thunk: either the guest's bytes themselves, or a copy at the same
 * offset within 64 bytes, so that the host checks alignment as on the guest's address. */
struct operand {
	gva_t a;
	u8 *mem;
	bool copy;
	u8 room[HOST_OPERAND_ROOM] __attribute__((aligned(64)));
};

/* Faults as the access would. What is written is known to be writable afterwards. */
static inline void operand_begin(struct vcpu *v, const struct x86_insn *i, const struct thunk *t,
				 struct operand *op)
{
	bool store = t->flags & THUNK_STORE;
	unsigned offset;

	op->a = x86_operand(v, i, t->size, store ? ACC_WRITE : ACC_READ);
	offset = op->a & 63;
	if (unlikely(op->a & t->align_mask)) {
		if ((t->flags & THUNK_ALIGNED) || !(fpu_get32(&v->cpu, FX_MXCSR) & MXCSR_MM))
			x86_raise_gp0(v);
		offset = 0;
		op->mem = NULL;
	} else {
		op->mem = tlb_hit(v, op->a, t->size, store);
	}
	op->copy = op->mem == NULL;
	if (likely(!op->copy))
		return;
	op->mem = op->room + offset;
	if (unlikely(fpu_align_check(v)))
		host_check_alignment(v, t, op->mem);
	if (store)
		x86_probe(v, op->a, t->size, ACC_WRITE);
	else
		x86_read_bytes(v, op->a, op->mem, t->size);
}

static inline void operand_end(struct vcpu *v, const struct thunk *t, const struct operand *op)
{
	if (unlikely(op->copy) && (t->flags & THUNK_STORE))
		x86_write_bytes(v, op->a, op->mem, t->size);
}

void exec_host_mem(struct vcpu *v, const struct x86_insn *i)
{
	const struct thunk *t = thunk_of(v, i);
	struct operand op;
	u32 fault;

	fpu_check_gate(v, t->gate);
	operand_begin(v, i, t, &op);
	fault = host_run(v, t, op.mem);
	if (unlikely(fault))
		host_fault(v, fault);
	operand_end(v, t, &op);
	fpu_use(&v->cpu, t->inuse);
}

static void exec_host_mmx(struct vcpu *v, const struct x86_insn *i)
{
	const struct thunk *t = thunk_of(v, i);
	struct x86_cpu *cpu = &v->cpu;
	struct operand op = { .mem = NULL };
	unsigned top;
	u32 fault;

	fpu_check_gate(v, t->gate);
	fpu_check_pending(v);
	if (t->size != 0)
		operand_begin(v, i, t, &op);
	top = fpu_top(cpu);
	fpu_turn(cpu, 0);
	fault = host_run(v, t, op.mem);
	if (unlikely(fault)) {
		/* MMX state is entered also where the instruction then raises #XM, not before
		 * #GP. */
		if ((fault & 0xff) == EXC_XM)
			fpu_enter_mmx(cpu, 0);
		else
			fpu_turn(cpu, top);
		host_fault(v, fault);
	}
	if (t->size != 0)
		operand_end(v, t, &op);
	fpu_enter_mmx(cpu, t->mmx_written);
	fpu_use(cpu, t->inuse);
}

/* An x87 store with an unmasked exception writes nothing, unless it is the precision exception
 * (SDM 1 8.5). */
static bool x87_stored(const struct x86_cpu *cpu)
{
	return !(fpu_get16(cpu, FX_FSW) & ~(unsigned)fpu_get16(cpu, FX_FCW) & 0x1f);
}

static void exec_host_x87(struct vcpu *v, const struct x86_insn *i)
{
	const struct thunk *t = thunk_of(v, i);
	struct x86_cpu *cpu = &v->cpu;
	struct operand op = { .mem = NULL };
	u64 fip, fdp;
	u16 fop;
	u32 fault;

	fpu_check_gate(v, t->gate);
	if (t->flags & THUNK_WAITS)
		fpu_check_pending(v);
	if (t->size != 0)
		operand_begin(v, i, t, &op);
	fop = fpu_get16(cpu, FX_FOP);
	fip = fpu_get64(cpu, FX_FIP);
	fdp = fpu_get64(cpu, FX_FDP);
	fault = host_run(v, t, op.mem);
	if (unlikely(fault))
		host_fault(v, fault);
	/* The host's instruction and operand pointers are not the guest's. */
	if (t->flags & THUNK_POINTERS) {
		fop = t->fop;
		fip = cpu->rip;
		fpu_set16(cpu, FX_FCS, cpu->seg[CS].sel);
		if (t->size != 0) {
			fdp = x86_ea(v, i);
			fpu_set16(cpu, FX_FDS, cpu->seg[i->seg].sel);
		}
	}
	fpu_set16(cpu, FX_FOP, fop);
	fpu_set64(cpu, FX_FIP, fip);
	fpu_set64(cpu, FX_FDP, fdp);
	fpu_use(cpu, XC_X87);
	if (t->size != 0 && x87_stored(cpu))
		operand_end(v, t, &op);
}

/* --- Instructions that need no thunk --- */

/* The feature that a hand-written instruction needs is in i->sel. */
static inline void check_feature(struct vcpu *v, const struct x86_insn *i)
{
	if (unlikely(!cpuid_bit(v->vm, i->sel)))
		x86_raise_ud(v);
}

static void exec_vzeroupper(struct vcpu *v, const struct x86_insn *i)
{
	const struct xsave_layout *l = xsave_layout();
	struct x86_cpu *cpu = &v->cpu;
	unsigned n = x86_64bit(cpu) ? 16 : 8;

	check_feature(v, i);
	fpu_check_gate(v, GATE_AVX);
	memset(cpu->xsave + XS_YMM, 0, 16 * n);
	if (l->avx512)
		memset(cpu->xsave + l->offset[6], 0, 32 * n);
	if (i->mnemonic == ZYDIS_MNEMONIC_VZEROALL)
		memset(cpu->xsave + FX_XMM, 0, 16 * n);
	/* Both components are in their initial configuration now. */
	if (n == 16)
		fpu_set64(cpu, XS_BV, fpu_get64(cpu, XS_BV) & ~(u64)(XC_AVX | XC_ZMM_HI));
}

/* CLFLUSH, CLFLUSHOPT, CLWB: a load's faults and nothing else, for memory is always coherent
 * here. */
static void exec_cache_line(struct vcpu *v, const struct x86_insn *i)
{
	check_feature(v, i);
	x86_probe(v, x86_operand(v, i, 1, ACC_READ), 1, ACC_READ);
}

/* APM 3 CLZERO: the cache line of rAX is written with zeros. */
static void exec_clzero(struct vcpu *v, const struct x86_insn *i)
{
	static const u8 zeros[64];
	u64 off = x86_slot(&v->cpu, RAX) & bits_mask(8 * i->addrsize) & ~63ull;

	check_feature(v, i);
	host_store(v, x86_linear(v, i->flags & INSN_SEG_OVERRIDE ? i->seg : DS, off, 64, ACC_WRITE),
		   zeros, 64);
}

static void exec_movdiri(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->op[1].size;

	check_feature(v, i);
	x86_write(v, x86_operand(v, i, size, ACC_WRITE), v->cpu.gpr[i->op[1].reg], size);
}

static bool plain(const struct x86_insn *i)
{
	for (unsigned k = 0; k < i->len && i->bytes[k] != 0x0f; k++)
		if (i->bytes[k] == 0x66 || i->bytes[k] == 0xf2 || i->bytes[k] == 0xf3)
			return false;
	return true;
}

static x86_exec_fn *bind_simple(struct x86_insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_VZEROUPPER:
	case ZYDIS_MNEMONIC_VZEROALL: i->sel = CPUID_AVX; return exec_vzeroupper;
	case ZYDIS_MNEMONIC_CLFLUSH: i->sel = CPUID_CLFSH; return exec_cache_line;
	case ZYDIS_MNEMONIC_CLFLUSHOPT: i->sel = CPUID_CLFLUSHOPT; return exec_cache_line;
	case ZYDIS_MNEMONIC_CLWB: i->sel = CPUID_CLWB; return exec_cache_line;
	case ZYDIS_MNEMONIC_CLZERO: i->sel = CPUID_CLZERO; return plain(i) ? exec_clzero : NULL;
	case ZYDIS_MNEMONIC_MOVDIRI: i->sel = CPUID_MOVDIRI; return exec_movdiri;
	default: return NULL;
	}
}

x86_exec_fn *x86_bind_host(struct x86_insn *i, const struct x86_zydis *z)
{
	x86_exec_fn *fn = bind_simple(i);
	struct thunk_plan p;

	if (fn == NULL)
		fn = host_bind_move(i, z);
	if (fn == NULL)
		fn = host_bind_gather(i, z);
	if (fn != NULL)
		return fn;
	if (!thunk_plan(&p, z))
		return NULL;
	if (p.t.flags & THUNK_X87)
		return exec_host_x87;
	if (p.t.flags & THUNK_MMX)
		return exec_host_mmx;
	if (p.t.flags & THUNK_MASKED)
		return exec_host_masked;
	return p.t.size != 0 ? exec_host_mem : exec_host_reg;
}
