/* The guest's x87 and SIMD state: reset, gates, and the parts of x87 that are derived (SDM 1
 * 8.1, 13; 3A 2.5, 10.1). */
#include "x86/fpu.h"

/* GATE_FWAIT has its own rule: TS counts only with MP. */
const struct fpu_gate_row fpu_gates[GATE_COUNT] = {
	[GATE_NONE] = { 0 },
	[GATE_VEX_GPR] = { .cr0_need = CR0_PE, .flags_bad = FL_VM },
	[GATE_X87] = { .cr0_bad = CR0_EM | CR0_TS },
	[GATE_FWAIT] = { .cr0_bad = CR0_TS },
	[GATE_FXSR] = { .cr0_bad = CR0_EM | CR0_TS },
	[GATE_MMX] = { .cr0_bad = CR0_EM | CR0_TS },
	[GATE_SSE] = { .cr0_bad = CR0_EM | CR0_TS, .cr4_need = CR4_OSFXSR },
	[GATE_AVX] = { .cr0_bad = CR0_TS,
		       .cr4_need = CR4_OSXSAVE,
		       .xcr0_need = XC_SSE | XC_AVX,
		       .cr0_need = CR0_PE,
		       .flags_bad = FL_VM },
	[GATE_AVX512] = { .cr0_bad = CR0_TS,
			  .cr4_need = CR4_OSXSAVE,
			  .xcr0_need = XC_SSE | XC_AVX | XC_OPMASK | XC_ZMM_HI | XC_HI16,
			  .cr0_need = CR0_PE,
			  .flags_bad = FL_VM },
};

void fpu_gate_closed(struct vcpu *v, enum fpu_gate gate)
{
	const struct fpu_gate_row *g = &fpu_gates[gate];
	const struct x86_cpu *cpu = &v->cpu;

	if ((~cpu->cr0 & g->cr0_need) | (~cpu->cr4 & g->cr4_need) | (~cpu->xcr0 & g->xcr0_need) |
	    (cpu->rflags & g->flags_bad))
		x86_raise_ud(v);
	/* With EM, x87 instructions are emulated through #NM; the rest does not exist. FXSAVE and FXRSTOR
	 * go with x87 on Intel's processors (SDM 2A), with the rest on AMD's (APM 5). */
	if ((cpu->cr0 & CR0_EM) &&
	    (gate == GATE_MMX || gate == GATE_SSE || (gate == GATE_FXSR && cpuid_is_amd(v->vm))))
		x86_raise_ud(v);
	x86_raise(v, EXC_NM);
}

void x86_fpu_reset(struct x86_cpu *cpu)
{
	memset(cpu->xsave, 0, sizeof(cpu->xsave));
	fpu_set16(cpu, FX_FCW, 0x40);
	/* Table 10-1: FTW 5555h, every register tagged zero, that is not empty. */
	cpu->xsave[FX_FTW] = 0xff;
	fpu_set32(cpu, FX_MXCSR, MXCSR_INIT);
	/* FCW and FTW are not the initial configuration of XSAVE. */
	fpu_use(cpu, XC_X87);
}

void x86_fpu_finit(struct x86_cpu *cpu)
{
	fpu_turn(cpu, 0);
	memset(cpu->xsave, 0, FX_MXCSR);
	fpu_set16(cpu, FX_FCW, 0x37f);
	fpu_set32(cpu, FX_FCS, 0); /* FDS too */
	fpu_use(cpu, XC_X87);
}

u64 x86_xinuse(const struct x86_cpu *cpu) { return fpu_get64(cpu, XS_BV); }

u16 fpu_fsw_derive(u16 fcw, u16 fsw)
{
	unsigned cut = fsw & ~(unsigned)(FSW_ES | FSW_B);

	return (u16)(fsw & ~fcw & FSW_EXC ? cut | FSW_ES | FSW_B : cut);
}

void fpu_turn(struct x86_cpu *cpu, unsigned top)
{
	unsigned by = (fpu_top(cpu) - top) & 7,
		 fsw = fpu_get16(cpu, FX_FSW) & ~(7u << FSW_TOP_SHIFT);
	u8 old[8][16];

	if (by == 0)
		return;
	memcpy(old, cpu->xsave + FX_ST, sizeof(old));
	for (unsigned k = 0; k < 8; k++)
		memcpy(cpu->xsave + FX_ST + 16 * ((k + by) & 7), old[k], 16);
	fpu_set16(cpu, FX_FSW, fsw | top << FSW_TOP_SHIFT);
}

u32 fpu_mxcsr_mask(const struct vcpu *v)
{
	u32 mask = xsave_layout()->mxcsr_mask;

	return cpuid_bit(v->vm, CPUID_MISALIGNSSE) ? mask : mask & ~(u32)MXCSR_MM;
}

void fpu_get_vector(const struct x86_cpu *cpu, unsigned n, u8 *to, unsigned size)
{
	const struct xsave_layout *l = xsave_layout();

	if (n > 15) {
		memcpy(to, cpu->xsave + l->offset[7] + 64 * (n - 16), size);
		return;
	}
	memcpy(to, cpu->xsave + FX_XMM + 16 * n, 16);
	if (size > 16)
		memcpy(to + 16, cpu->xsave + XS_YMM + 16 * n, 16);
	if (size > 32)
		memcpy(to + 32, cpu->xsave + l->offset[6] + 32 * n, 32);
}

void fpu_set_vector(struct x86_cpu *cpu, unsigned n, const u8 *from, unsigned size)
{
	const struct xsave_layout *l = xsave_layout();

	if (n > 15) {
		memcpy(cpu->xsave + l->offset[7] + 64 * (n - 16), from, 64);
		fpu_use(cpu, XC_HI16);
		return;
	}
	memcpy(cpu->xsave + FX_XMM + 16 * n, from, 16);
	memcpy(cpu->xsave + XS_YMM + 16 * n, from + 16, 16);
	if (l->avx512)
		memcpy(cpu->xsave + l->offset[6] + 32 * n, from + 32, 32);
	fpu_use(cpu, XC_SSE | (size > 16 ? XC_AVX : 0) | (size > 32 ? XC_ZMM_HI : 0));
}

void fpu_enter_mmx(struct x86_cpu *cpu, unsigned written)
{
	cpu->xsave[FX_FTW] = 0xff;
	for (unsigned k = 0; k < 8; k++)
		if (written & BIT(k))
			fpu_set16(cpu, FX_ST + 16 * k + 8, 0xffff);
	fpu_use(cpu, XC_X87);
}
