/* Control registers: what may be written to them, and what follows (SDM 3A 2.5, 4.1, 4.10.4; SDM 2B
 * MOV CR). */
#include "base/trace.h"
#include "x86/exec.h"
#include "x86/seg.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR3_NOFLUSH BIT(63)

/* PAE paging outside long mode: the four PDPTEs are registers (SDM 3A 4.4.1). */
static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* Raises #GP if paging cannot be switched on or off like this; returns EFER with LMA as it will
 * be. */
static u64 check_paging_switch(struct vcpu *v, u64 value)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 efer = cpu->efer;

	if (value & CR0_PG) {
		if (!(efer & EFER_LME))
			return efer;
		int tss = ar_system(cpu->seg[TR].ar);

		if (!(cpu->cr4 & CR4_PAE) || cpu->seg[CS].ar & AR_L || tss == DESC_TSS16 ||
		    tss == DESC_TSS16_BUSY)
			x86_raise_gp0(v);
		return efer | EFER_LMA;
	}
	if (x86_64bit(cpu) || (cpu->cr4 & CR4_PCIDE))
		x86_raise_gp0(v);
	return efer & ~EFER_LMA;
}

void x86_set_cr0(struct vcpu *v, u64 value)
{
	struct x86_cpu *cpu = &v->cpu;
	u64 efer = cpu->efer;

	if (value >> 32)
		x86_raise_gp0(v);
	value = (value & CR0_DEFINED) | CR0_ET;
	if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
		x86_raise_gp0(v);
	u64 changed = value ^ cpu->cr0;

	if (changed & CR0_PG)
		efer = check_paging_switch(v, value);
	if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && pae_paging(value, cpu->cr4, efer))
		x86_load_pdptes(v, cpu->cr3);
	cpu->cr0 = value;
	cpu->efer = efer;
	if (changed & (CR0_PG | CR0_WP | CR0_PE)) {
		x86_tlb_flush(v, false);
		trace(SEG, "cpu%u: CR0 %#llx EFER %#llx", v->index, (unsigned long long)value,
		      (unsigned long long)efer);
	}
	x86_mode_changed(v);
}

void x86_set_cr3(struct vcpu *v, u64 value)
{
	struct x86_cpu *cpu = &v->cpu;

	if (x86_long(cpu)) {
		/* With PCIDs bit 63 asks to keep the TLB; it is not stored. Only one context is
		 * cached here, so the TLB goes. */
		if (cpu->cr4 & CR4_PCIDE)
			value &= ~CR3_NOFLUSH;
		if (value & ~bits_mask(cpuid_phys_bits(v->vm)))
			x86_raise_gp0(v);
	} else {
		value = (u32)value;
	}
	if (pae_paging(cpu->cr0, cpu->cr4, cpu->efer))
		x86_load_pdptes(v, value);
	cpu->cr3 = value;
	x86_tlb_flush(v, true);
	trace(MMU, "cpu%u: CR3 %#llx", v->index, (unsigned long long)value);
}

/* CR4 bits that the CPU model has. */
static u64 cr4_allowed(const struct vm *vm)
{
	static const struct {
		enum cpuid_feature feature;
		u64 bits;
	} gated[] = {
		{ FEAT_VME, CR4_VME | CR4_PVI }, { FEAT_DE, CR4_DE },
		{ FEAT_PSE, CR4_PSE },           { FEAT_PAE, CR4_PAE },
		{ FEAT_PGE, CR4_PGE },           { FEAT_FXSR, CR4_OSFXSR },
		{ FEAT_SSE, CR4_OSXMMEXCPT },    { FEAT_UMIP, CR4_UMIP },
		{ FEAT_FSGSBASE, CR4_FSGSBASE }, { FEAT_PCID, CR4_PCIDE },
		{ FEAT_XSAVE, CR4_OSXSAVE },     { FEAT_SMEP, CR4_SMEP },
		{ FEAT_SMAP, CR4_SMAP },
	};
	u64 allowed = CR4_TSD | CR4_MCE | CR4_PCE;

	for (unsigned n = 0; n < ARRAY_LEN(gated); n++)
		if (cpuid_has(vm, gated[n].feature))
			allowed |= gated[n].bits;
	return allowed;
}

void x86_set_cr4(struct vcpu *v, u64 value)
{
	struct x86_cpu *cpu = &v->cpu;
	u64 changed = value ^ cpu->cr4;

	if (value & ~cr4_allowed(v->vm))
		x86_raise_gp0(v);
	if (x86_long(cpu) && !(value & CR4_PAE))
		x86_raise_gp0(v);
	if ((changed & value & CR4_PCIDE) && (!x86_long(cpu) || cpu->cr3 & 0xfff))
		x86_raise_gp0(v);
	if ((changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
	    pae_paging(cpu->cr0, value, cpu->efer))
		x86_load_pdptes(v, cpu->cr3);
	cpu->cr4 = value;
	if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_PCIDE))
		x86_tlb_flush(v, false);
	x86_mode_changed(v);
}
