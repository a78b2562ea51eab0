/* System instructions: control and debug registers, TLB and cache control, HLT, MSRs, time stamp,
 * CPUID, extended control registers (SDM 2, by name). What a CPU model does not have (MONITOR, VMX,
 * SMX, RSM outside SMM) is bound nowhere and raises #UD. */
#include "base/trace.h"
#include "x86/cpuid.h"
#include "x86/debug.h"
#include "x86/fpu.h"
#include "x86/operand.h"
#include "x86/seg.h"

#include <Zydis/Zydis.h>

static void need_cpl0(struct vcpu *v)
{
	if (v->cpu.cpl)
		x86_raise_gp0(v);
}

/* MOV to and from control and debug registers has the size of the mode. */
static unsigned mode_size(const struct x86_insn *i) { return i->mode == 64 ? 8 : 4; }

/* --- Control registers ------------------------------------------------------------------------ */

static u64 read_cr8(struct vcpu *v)
{
	struct exit e = { .kind = EXIT_TPR_READ, .size = 8 };

	v->exit(v, &e);
	v->cpu.cr8 = e.value & 15;
	return v->cpu.cr8;
}

static void write_cr8(struct vcpu *v, u64 value)
{
	struct exit e = { .kind = EXIT_TPR_WRITE, .size = 8, .value = value };

	if (value & ~15ull)
		x86_raise_gp0(v);
	v->cpu.cr8 = value;
	v->exit(v, &e);
}

static void exec_mov_from_cr(struct vcpu *v, const struct x86_insn *i)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 value;

	need_cpl0(v);
	switch (i->op[1].reg) {
	case 0: value = cpu->cr0; break;
	case 2: value = cpu->cr2; break;
	case 3: value = cpu->cr3; break;
	case 4: value = cpu->cr4; break;
	case 8: value = read_cr8(v); break;
	default: x86_raise_ud(v);
	}
	gpr_set(v, i->op[0].reg, value, mode_size(i));
}

static void exec_mov_to_cr(struct vcpu *v, const struct x86_insn *i)
{
	u64 value = reg_get(v, &i->op[1], mode_size(i));

	need_cpl0(v);
	switch (i->op[0].reg) {
	case 0: x86_set_cr0(v, value); break;
	case 2: v->cpu.cr2 = value; break;
	case 3: x86_set_cr3(v, value); break;
	case 4: x86_set_cr4(v, value); break;
	case 8: write_cr8(v, value); break;
	default: x86_raise_ud(v);
	}
}

static void exec_clts(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	need_cpl0(v);
	v->cpu.cr0 &= ~CR0_TS;
}

static void exec_lmsw(struct vcpu *v, const struct x86_insn *i)
{
	need_cpl0(v);
	u64 word = i->op[0].kind == OPK_MEM ? x86_read(v, x86_operand(v, i, 2, ACC_READ), 2)
					    : reg_get(v, &i->op[0], 2);

	/* PE can be set, not cleared. */
	x86_set_cr0(v, (v->cpu.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (word & 15));
}

static void exec_smsw(struct vcpu *v, const struct x86_insn *i)
{
	if (v->cpu.cpl && (v->cpu.cr4 & CR4_UMIP))
		x86_raise_gp0(v);
	if (i->op[0].kind == OPK_MEM)
		x86_write(v, x86_operand(v, i, 2, ACC_WRITE), v->cpu.cr0, 2);
	else
		reg_set(v, &i->op[0], v->cpu.cr0, i->op[0].size);
}

/* --- Debug registers -------------------------------------------------------------------------- */

static void check_dr(struct vcpu *v, unsigned n)
{
	need_cpl0(v);
	if ((v->cpu.cr4 & CR4_DE) && (n == 4 || n == 5))
		x86_raise_ud(v);
	if (v->cpu.dr[7] & DR7_GD) {
		v->cpu.rflags |= FL_RF; /* a fault: the pushed image has RF set */
		x86_raise_debug(v, DR6_BD);
	}
}

static void exec_mov_from_dr(struct vcpu *v, const struct x86_insn *i)
{
	unsigned n = i->op[1].reg & 7;

	check_dr(v, n);
	gpr_set(v, i->op[0].reg, x86_read_dr(&v->cpu, n), mode_size(i));
}

static void exec_mov_to_dr(struct vcpu *v, const struct x86_insn *i)
{
	unsigned n = i->op[0].reg & 7;
	u64 value = reg_get(v, &i->op[1], mode_size(i));

	check_dr(v, n);
	if (n >= 4 && value >> 32)
		x86_raise_gp0(v);
	x86_write_dr(v, n, value);
}

/* --- TLB and caches --------------------------------------------------------------------------- */

static void exec_invlpg(struct vcpu *v, const struct x86_insn *i)
{
	u64 off = x86_ea(v, i);

	need_cpl0(v);
	if (i->mode != 64)
		x86_tlb_flush_page(v, (u32)(off + v->cpu.seg[i->seg].base));
	else
		x86_tlb_flush_page(v, i->seg >= FS ? off + v->cpu.seg[i->seg].base : off);
}

static void exec_invpcid(struct vcpu *v, const struct x86_insn *i)
{
	enum { ADDRESS, CONTEXT, ALL_WITH_GLOBAL, ALL };

	if (!cpuid_has(v->vm, FEAT_INVPCID))
		x86_raise_ud(v);
	need_cpl0(v);
	u64 type = reg_get(v, &i->op[0], mode_size(i));
	gva_t a = x86_operand(v, i, 16, ACC_READ);
	u64 pcid = x86_read(v, a, 8), address = x86_read(v, a + 8, 8);
	bool one = type == ADDRESS || type == CONTEXT;

	if (type > ALL || pcid >> 12 || (one && pcid && !(v->cpu.cr4 & CR4_PCIDE)))
		x86_raise_gp0(v);
	if (type == ADDRESS && !x86_canonical(address))
		x86_raise_gp0(v);
	if (type == ADDRESS)
		x86_tlb_flush_page(v, address);
	else
		x86_tlb_flush(v, type != ALL_WITH_GLOBAL);
}

/* INVD, WBINVD, WBNOINVD: memory is always coherent. */
static void exec_cache(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	need_cpl0(v);
}

/* Who spins on another CPU lets it run: slices that end anywhere else may all end while a lock is held that is free for two instructions
 * only, as SeaBIOS's is while it counts CPUs. */
static void exec_pause(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	if (v->vm->nvcpus > 1 && v->vm->pace == PACE_FREE)
		vcpu_attend(v, ATT_YIELD);
}

static void exec_fence(struct vcpu *v, const struct x86_insn *i)
{
	if (!cpuid_bit(v->vm, i->mnemonic == ZYDIS_MNEMONIC_SFENCE ? CPUID_SSE : CPUID_SSE2))
		x86_raise_ud(v);
	atomic_thread_fence(memory_order_seq_cst);
}

/* --- HLT -------------------------------------------------------------------------------------- */

static void exec_hlt(struct vcpu *v, const struct x86_insn *i)
{
	need_cpl0(v);
	u64 next = v->cpu.rip + i->len;

	v->cpu.rip = i->mode == 64 ? next : (u32)next;
	v->cpu.halted = true;
}

/* --- MSRs, time, identification --------------------------------------------------------------- */

/* The pair EDX:EAX. */
static void set_pair(struct vcpu *v, u64 value)
{
	v->cpu.gpr[RAX] = (u32)value;
	v->cpu.gpr[RDX] = value >> 32;
}

static u64 get_pair(const struct vcpu *v) { return (u32)v->cpu.gpr[RAX] | v->cpu.gpr[RDX] << 32; }

static void exec_rdmsr(struct vcpu *v, const struct x86_insn *i)
{
	u64 value;

	(void)i;
	need_cpl0(v);
	if (!x86_msr_read(v, (u32)v->cpu.gpr[RCX], &value))
		x86_raise_gp0(v);
	set_pair(v, value);
	trace(MSR, "cpu%u: rdmsr %x is %llx", v->index, (u32)v->cpu.gpr[RCX],
	      (unsigned long long)value);
}

static void exec_wrmsr(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	need_cpl0(v);
	trace(MSR, "cpu%u: wrmsr %x to %llx", v->index, (u32)v->cpu.gpr[RCX],
	      (unsigned long long)get_pair(v));
	if (!x86_msr_write(v, (u32)v->cpu.gpr[RCX], get_pair(v)))
		x86_raise_gp0(v);
}

static void check_tsd(struct vcpu *v)
{
	if ((v->cpu.cr4 & CR4_TSD) && v->cpu.cpl)
		x86_raise_gp0(v);
}

static void exec_rdtsc(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	check_tsd(v);
	set_pair(v, x86_rdtsc(v));
}

static void exec_rdtscp(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	if (!cpuid_has(v->vm, FEAT_RDTSCP))
		x86_raise_ud(v);
	check_tsd(v);
	set_pair(v, x86_rdtsc(v));
	v->cpu.gpr[RCX] = (u32)v->cpu.tsc_aux;
}

static void exec_rdpid(struct vcpu *v, const struct x86_insn *i)
{
	if (!cpuid_has(v->vm, FEAT_RDPID))
		x86_raise_ud(v);
	gpr_set(v, i->op[0].reg, v->cpu.tsc_aux, mode_size(i));
}

/* No model has performance counters: every index is out of range. */
static void exec_rdpmc(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	x86_raise_gp0(v);
}

static void exec_cpuid(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	u32 regs[4] = { (u32)cpu->gpr[RAX], (u32)cpu->gpr[RBX], (u32)cpu->gpr[RCX],
			(u32)cpu->gpr[RDX] };

	(void)i;
	trace(MSR, "cpu%u: cpuid %x.%x", v->index, regs[0], regs[2]);
	x86_cpuid(v, regs);
	cpu->gpr[RAX] = regs[0];
	cpu->gpr[RBX] = regs[1];
	cpu->gpr[RCX] = regs[2];
	cpu->gpr[RDX] = regs[3];
}

static void check_osxsave(struct vcpu *v)
{
	if (!(v->cpu.cr4 & CR4_OSXSAVE))
		x86_raise_ud(v);
}

static void exec_xgetbv(struct vcpu *v, const struct x86_insn *i)
{
	const struct x86_cpu *cpu = &v->cpu;
	u32 index = (u32)cpu->gpr[RCX];

	(void)i;
	check_osxsave(v);
	if (index > 1 || (index == 1 && !cpuid_bit(v->vm, CPUID_XGETBV1)))
		x86_raise_gp0(v);
	set_pair(v, index ? cpu->xcr0 & le_load(cpu->xsave + XS_BV, 8) : cpu->xcr0);
}

/* SDM 1 13.3. */
static bool xcr0_valid(const struct vm *vm, u64 value)
{
	const u64 avx512 = XC_OPMASK | XC_ZMM_HI | XC_HI16;

	if (value & ~cpuid_xcr0_mask(vm) || !(value & XC_X87))
		return false;
	if ((value & XC_AVX) && !(value & XC_SSE))
		return false;
	return !(value & avx512) || ((value & avx512) == avx512 && (value & XC_AVX));
}

static void exec_xsetbv(struct vcpu *v, const struct x86_insn *i)
{
	u64 value = get_pair(v);

	(void)i;
	check_osxsave(v);
	need_cpl0(v);
	if ((u32)v->cpu.gpr[RCX] != 0 || !xcr0_valid(v->vm, value))
		x86_raise_gp0(v);
	v->cpu.xcr0 = value;
}

/* --- Binding ---------------------------------------------------------------------------------- */

static x86_exec_fn *bind_mov(struct x86_insn *i)
{
	if (i->op[0].kind == OPK_CR || i->op[0].kind == OPK_DR) {
		i->flags |= INSN_END;
		return i->op[0].kind == OPK_CR ? exec_mov_to_cr : exec_mov_to_dr;
	}
	if (i->op[1].kind == OPK_CR)
		return exec_mov_from_cr;
	return i->op[1].kind == OPK_DR ? exec_mov_from_dr : NULL;
}

static x86_exec_fn *end_block(struct x86_insn *i, x86_exec_fn *fn)
{
	i->flags |= INSN_END;
	return fn;
}

x86_exec_fn *x86_bind_sys(struct x86_insn *i, const struct x86_zydis *z)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV: return bind_mov(i);
	case ZYDIS_MNEMONIC_CLTS: return end_block(i, exec_clts);
	case ZYDIS_MNEMONIC_LMSW: return end_block(i, exec_lmsw);
	case ZYDIS_MNEMONIC_SMSW: return exec_smsw;
	case ZYDIS_MNEMONIC_INVLPG: return end_block(i, exec_invlpg);
	case ZYDIS_MNEMONIC_INVPCID: return end_block(i, exec_invpcid);
	case ZYDIS_MNEMONIC_INVD:
	case ZYDIS_MNEMONIC_WBINVD: return exec_cache;
	case ZYDIS_MNEMONIC_PAUSE: return end_block(i, exec_pause);
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_SFENCE: return exec_fence;
	case ZYDIS_MNEMONIC_HLT: i->flags |= INSN_BRANCH; return end_block(i, exec_hlt);
	case ZYDIS_MNEMONIC_RDMSR: return end_block(i, exec_rdmsr);
	case ZYDIS_MNEMONIC_WRMSR: return end_block(i, exec_wrmsr);
	case ZYDIS_MNEMONIC_RDTSC: return exec_rdtsc;
	case ZYDIS_MNEMONIC_RDTSCP: return exec_rdtscp;
	case ZYDIS_MNEMONIC_RDPID: return exec_rdpid;
	case ZYDIS_MNEMONIC_RDPMC: return exec_rdpmc;
	case ZYDIS_MNEMONIC_CPUID: return exec_cpuid;
	case ZYDIS_MNEMONIC_XGETBV: return exec_xgetbv;
	case ZYDIS_MNEMONIC_XSETBV: return end_block(i, exec_xsetbv);
	default: return x86_bind_io(i, z);
	}
}
