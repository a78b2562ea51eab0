/* SYSCALL, SYSRET, SYSENTER, SYSEXIT, in the flavours of Intel (SDM 2B) and AMD (APM 3): AMD has
 * SYSCALL outside 64-bit mode too, but no SYSENTER in long mode; its SYSRET leaves the attributes
 * of SS as they are and does not check RCX. */
#include "x86/debug.h"
#include "x86/operand.h"
#include "x86/seg.h"

#include <Zydis/Zydis.h>

#define AR_CODE_FLAT (AR_P | AR_S | AR_CODE | AR_WR | AR_A | AR_G)
#define AR_DATA_FLAT (AR_P | AR_S | AR_WR | AR_A | AR_G | AR_DB)

/* RFLAGS bits that SYSRET takes from R11. */
#define SYSRET_FLAGS 0x3c7fd7ull

static struct x86_seg flat_code(u64 sel, unsigned cpl, bool wide)
{
	return (struct x86_seg){
		.sel = (u16)((sel & ~3ull) | cpl),
		.ar = AR_CODE_FLAT | cpl << AR_DPL_SHIFT | (wide ? AR_L : AR_DB),
		.limit = 0xffffffff,
	};
}

static struct x86_seg flat_stack(u64 sel, unsigned cpl)
{
	return (struct x86_seg){
		.sel = (u16)((sel & ~3ull) | cpl),
		.ar = AR_DATA_FLAT | cpl << AR_DPL_SHIFT,
		.limit = 0xffffffff,
	};
}

static void enter(struct vcpu *v, struct x86_seg cs, struct x86_seg ss, u64 rip)
{
	struct x86_cpu *cpu = &v->cpu;

	cpu->seg[CS] = cs;
	cpu->seg[SS] = ss;
	cpu->cpl = cs.sel & SEL_RPL;
	cpu->rip = rip;
	x86_mode_changed(v);
}

static void exec_syscall(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	u64 cs = cpu->star >> 32 & 0xffff;
	u64 next = cpu->rip + i->len;

	if (!(cpu->efer & EFER_SCE) || (i->mode != 64 && !cpuid_is_amd(v->vm)))
		x86_raise_ud(v);
	x86_step_override(v);
	if (x86_long(cpu)) {
		u64 flags = x86_rflags(cpu) & ~FL_RF;

		cpu->gpr[RCX] = i->mode == 64 ? next : (u32)next;
		cpu->gpr[R11] = flags;
		x86_set_rflags(cpu, flags & ~cpu->fmask);
		enter(v, flat_code(cs, 0, true), flat_stack(cs + 8, 0),
		      i->mode == 64 ? cpu->lstar : cpu->cstar);
	} else {
		cpu->gpr[RCX] = (u32)next;
		cpu->rflags &= ~(FL_VM | FL_IF | FL_RF);
		enter(v, flat_code(cs, 0, false), flat_stack(cs + 8, 0), (u32)cpu->star);
	}
	x86_step_if_tf(v); /* TF counts as it is after the instruction */
}

static void sysret(struct vcpu *v, const struct x86_insn *i, bool wide)
{
	struct x86_cpu *cpu = &v->cpu;
	bool amd = cpuid_is_amd(v->vm);
	u64 base = cpu->star >> 48;
	u64 rip = wide ? cpu->gpr[RCX] : (u32)cpu->gpr[RCX];

	if (!(cpu->efer & EFER_SCE) || (i->mode != 64 && !amd))
		x86_raise_ud(v);
	if (cpu->cpl || !x86_protected(cpu))
		x86_raise_gp0(v);
	if (!amd && !x86_canonical(rip))
		x86_raise_gp0(v);
	x86_step_override(v);
	struct x86_seg ss = flat_stack(base + 8, 3);

	if (amd) {
		ss = cpu->seg[SS];
		ss.sel = (u16)(base + 8);
	}
	if (i->mode == 64)
		x86_set_rflags(cpu, cpu->gpr[R11] & SYSRET_FLAGS & ~FL_RF);
	else
		cpu->rflags |= FL_IF;
	enter(v, flat_code(wide ? base + 16 : base, 3, wide), ss, rip);
	x86_step_if_tf(v);
}

static void exec_sysret32(struct vcpu *v, const struct x86_insn *i) { sysret(v, i, false); }

static void exec_sysret64(struct vcpu *v, const struct x86_insn *i) { sysret(v, i, true); }

static void exec_sysenter(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	bool wide = x86_long(cpu);

	(void)i;
	if (!cpuid_has(v->vm, FEAT_SEP) || (wide && cpuid_is_amd(v->vm)))
		x86_raise_ud(v);
	if (!x86_protected(cpu) || !(cpu->sysenter_cs & 0xfffc))
		x86_raise_gp0(v);
	cpu->rflags &= ~(FL_VM | FL_IF | FL_RF);
	cpu->gpr[RSP] = wide ? cpu->sysenter_esp : (u32)cpu->sysenter_esp;
	enter(v, flat_code(cpu->sysenter_cs, 0, wide), flat_stack(cpu->sysenter_cs + 8, 0),
	      wide ? cpu->sysenter_eip : (u32)cpu->sysenter_eip);
}

static void sysexit(struct vcpu *v, bool wide)
{
	struct x86_cpu *cpu = &v->cpu;
	u64 base = cpu->sysenter_cs + (wide ? 32 : 16);
	u64 rip = wide ? cpu->gpr[RDX] : (u32)cpu->gpr[RDX];
	u64 rsp = wide ? cpu->gpr[RCX] : (u32)cpu->gpr[RCX];

	if (!cpuid_has(v->vm, FEAT_SEP) || (x86_long(cpu) && cpuid_is_amd(v->vm)))
		x86_raise_ud(v);
	if (!x86_protected(cpu) || cpu->cpl || !(cpu->sysenter_cs & 0xfffc))
		x86_raise_gp0(v);
	if (!x86_canonical(rip) || !x86_canonical(rsp))
		x86_raise_gp0(v);
	cpu->gpr[RSP] = rsp;
	enter(v, flat_code(base, 3, wide), flat_stack(base + 8, 3), rip);
}

static void exec_sysexit32(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	sysexit(v, false);
}

static void exec_sysexit64(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	sysexit(v, true);
}

x86_exec_fn *x86_bind_syscall(struct x86_insn *i, const struct x86_zydis *z)
{
	bool rex_w = z->insn->raw.rex.W;

	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_SYSCALL: return exec_syscall;
	case ZYDIS_MNEMONIC_SYSRET: return rex_w ? exec_sysret64 : exec_sysret32;
	case ZYDIS_MNEMONIC_SYSENTER: return exec_sysenter;
	case ZYDIS_MNEMONIC_SYSEXIT: return rex_w ? exec_sysexit64 : exec_sysexit32;
	default: return NULL;
	}
}
