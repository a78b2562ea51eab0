/* CLC STC CMC CLD STD LAHF SAHF SALC CLI STI CLAC STAC (SDM 2), with the virtual interrupt flag of
 * virtual-8086 mode and of protected mode (SDM 3B 21.3, 21.4). */
#include "x86/alu.h"
#include "x86/exec.h"

#include <Zydis/Zydis.h>

static void clc(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	v->cpu.cc &= (u16)~CC_CF;
}

static void stc(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	v->cpu.cc |= (u16)CC_CF;
}

static void cmc(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	v->cpu.cc ^= (u16)CC_CF;
}

static void cld(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	v->cpu.rflags &= ~FL_DF;
}

static void std(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	v->cpu.rflags |= FL_DF;
}

static void lahf(struct vcpu *v, const struct x86_insn *i)
{
	u64 *rax = &v->cpu.gpr[RAX];

	(void)i;
	*rax = (*rax & ~0xff00ull) | ((x86_cc_to_flags(v->cpu.cc) & 0xff) | FL_FIXED) << 8;
}

static void sahf(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	v->cpu.cc = (u16)((v->cpu.cc & CC_OF) | x86_cc_from_flags(v->cpu.gpr[RAX] >> 8 & 0xff));
}

static void salc(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	gpr_set(v, RAX, v->cpu.cc & CC_CF ? 0xff : 0, 1);
}

/* The flag that CLI and STI act on here: IF, VIF, or 0 where they raise #GP(0). */
static u64 interrupt_flag(const struct x86_cpu *cpu)
{
	if (!x86_protected(cpu) || x86_iopl(cpu) >= cpu->cpl)
		return FL_IF;
	if (x86_v86(cpu))
		return cpu->cr4 & CR4_VME ? FL_VIF : 0;
	return cpu->cpl == 3 && cpu->cr4 & CR4_PVI ? FL_VIF : 0;
}

static void cli(struct vcpu *v, const struct x86_insn *i)
{
	u64 flag = interrupt_flag(&v->cpu);

	(void)i;
	if (!flag)
		x86_raise_gp0(v);
	v->cpu.rflags &= ~flag;
}

static void sti(struct vcpu *v, const struct x86_insn *i)
{
	u64 flag = interrupt_flag(&v->cpu);

	(void)i;
	if (!flag || (flag == FL_VIF && v->cpu.rflags & FL_VIP))
		x86_raise_gp0(v);
	if (flag == FL_IF && !(v->cpu.rflags & FL_IF)) {
		v->shadow = 1;
		vcpu_attend(v, ATT_SHADOW);
	}
	v->cpu.rflags |= flag;
}

static void set_ac(struct vcpu *v, u64 ac)
{
	if (v->cpu.cpl != 0 || !cpuid_has(v->vm, FEAT_SMAP))
		x86_raise_ud(v);
	v->cpu.rflags = (v->cpu.rflags & ~FL_AC) | ac;
	x86_mode_changed(v);
}

static void clac(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	set_ac(v, 0);
}

static void stac(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	set_ac(v, FL_AC);
}

x86_exec_fn *x86_bind_flag(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_CLC: return clc;
	case ZYDIS_MNEMONIC_STC: return stc;
	case ZYDIS_MNEMONIC_CMC: return cmc;
	case ZYDIS_MNEMONIC_CLD: return cld;
	case ZYDIS_MNEMONIC_STD: return std;
	case ZYDIS_MNEMONIC_LAHF: return lahf;
	case ZYDIS_MNEMONIC_SAHF: return sahf;
	case ZYDIS_MNEMONIC_SALC: return salc;
	case ZYDIS_MNEMONIC_CLI: return cli;
	case ZYDIS_MNEMONIC_STI: i->flags |= INSN_END; return sti;
	case ZYDIS_MNEMONIC_CLAC: i->flags |= INSN_END; return clac;
	case ZYDIS_MNEMONIC_STAC: i->flags |= INSN_END; return stac;
	default: return NULL;
	}
}
