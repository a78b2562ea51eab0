/* Model-specific registers (SDM 4 chapter 2, APM 2 appendix A) and the time stamp counter (SDM 3B
 * 17.17). What belongs to the local APIC, and whatever is unknown here, goes to the machine; what
 * nobody knows raises #GP. */
#include "base/trace.h"
#include "x86/cpuid.h"
#include "x86/mem.h"

#define NS_PER_S 1000000000ull

/* Architectural, or Intel's with meanings that AMD shares. */
enum {
	MSR_P5_MC_ADDR = 0x0,
	MSR_P5_MC_TYPE = 0x1,
	MSR_TSC = 0x10,
	MSR_PLATFORM_ID = 0x17,
	MSR_TSC_ADJUST = 0x3b,
	MSR_BIOS_UPDT_TRIG = 0x79,
	MSR_BIOS_SIGN_ID = 0x8b,
	MSR_MTRR_CAP = 0xfe,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17a,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_DEBUGCTL = 0x1d9,
	MSR_MTRR_PHYS = 0x200,
	MSR_MTRR_PHYS_END = 0x20f,
	MSR_MTRR_FIX_64K = 0x250,
	MSR_MTRR_FIX_16K = 0x258,
	MSR_MTRR_FIX_4K = 0x268,
	MSR_MTRR_FIX_4K_END = 0x26f,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MSR_XSS = 0xda0,
};

/* AMD64, on both vendors' CPUs. */
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_FMASK          0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u

/* AMD alone. */
#define MSR_SYSCFG       0xc0010010u
#define MSR_HWCR         0xc0010015u
#define MSR_TOP_MEM      0xc001001au
#define MSR_TOP_MEM2     0xc001001du
#define MSR_NB_CFG       0xc001001fu
#define MSR_PATCH_LOADER 0xc0010020u
#define MSR_INT_PENDING  0xc0010055u
#define MSR_LS_CFG       0xc0011020u
#define MSR_IC_CFG       0xc0011021u
#define MSR_DC_CFG       0xc0011022u
#define MSR_DE_CFG       0xc0011029u

#define MTRR_CAP           (8u | BIT(8) | BIT(10)) /* eight variable ranges, fixed ones, WC */
#define MTRR_DEF_TYPE_BITS (0xffu | BIT(10) | BIT(11))
#define MTRR_MASK_VALID    BIT(11)

/* IA32_MISC_ENABLE: bits that a guest may change, and those that are set for what the CPU does not
 * have (BTS, PEBS). */
#define MISC_ENABLE_WRITABLE (BIT(0) | BIT(3) | BIT(16) | BIT(18) | BIT(22) | BIT(23) | BIT(34))

#define SYSCFG_MTRR_VAR_DRAM    BIT(20)
#define SYSCFG_TOM2             BIT(21)
#define SYSCFG_TOM2_WB          BIT(22)
#define HWCR_TSC_FREQ_P0        BIT(24)
#define DE_CFG_LFENCE_SERIALIZE BIT(1)
#define INTEL_MICROCODE         1ull

/* --- Time ------------------------------------------------------------------------------------- */

/* The counter that all CPUs of the machine share. */
static u64 machine_tsc(const struct vcpu *v)
{
	return (u64)((unsigned __int128)clock_now(v->vm->clock) * v->vm->tsc_hz / NS_PER_S);
}

/* A deadline that the local APIC waits for is in terms of the TSC. */
static void set_tsc_offset(struct vcpu *v, i64 offset)
{
	v->cpu.tsc_offset = offset;
	if (v->vm->tsc_changed)
		v->vm->tsc_changed(v);
}

u64 x86_rdtsc(struct vcpu *v) { return machine_tsc(v) + (u64)v->cpu.tsc_offset; }

/* --- Checks ----------------------------------------------------------------------------------- */

static bool set_canonical(u64 *msr, u64 value)
{
	if (!x86_canonical(value))
		return false;
	*msr = value;
	return true;
}

/* Memory types UC, WC, WT, WP, WB; PAT has UC- (7) too. */
static bool memory_types_valid(u64 value, bool pat)
{
	for (unsigned n = 0; n < 8; n++) {
		u64 type = value >> (8 * n) & 0xff;

		if (type > 7 || type == 2 || type == 3 || (type == 7 && !pat))
			return false;
	}
	return true;
}

static bool is_mtrr(u32 index)
{
	return index == MSR_MTRR_CAP || index == MSR_MTRR_DEF_TYPE ||
	       (index >= MSR_MTRR_PHYS && index <= MSR_MTRR_PHYS_END) ||
	       index == MSR_MTRR_FIX_64K || index == MSR_MTRR_FIX_16K ||
	       index == MSR_MTRR_FIX_16K + 1 ||
	       (index >= MSR_MTRR_FIX_4K && index <= MSR_MTRR_FIX_4K_END);
}

/* Storage of an MTRR; NULL for the capabilities. */
static u64 *mtrr_slot(struct x86_cpu *cpu, u32 index)
{
	if (index == MSR_MTRR_DEF_TYPE)
		return &cpu->mtrr_def_type;
	if (index >= MSR_MTRR_PHYS && index <= MSR_MTRR_PHYS_END)
		return &cpu->mtrr_phys[index - MSR_MTRR_PHYS];
	if (index == MSR_MTRR_FIX_64K)
		return &cpu->mtrr_fix[0];
	if (index == MSR_MTRR_FIX_16K || index == MSR_MTRR_FIX_16K + 1)
		return &cpu->mtrr_fix[1 + index - MSR_MTRR_FIX_16K];
	if (index >= MSR_MTRR_FIX_4K && index <= MSR_MTRR_FIX_4K_END)
		return &cpu->mtrr_fix[3 + index - MSR_MTRR_FIX_4K];
	return NULL;
}

/* SDM 3A 11.11.2. */
static bool mtrr_write(struct vcpu *v, u32 index, u64 value)
{
	u64 *slot = mtrr_slot(&v->cpu, index);
	u64 frame = bits_mask(cpuid_phys_bits(v->vm)) & ~0xfffull;
	u64 allowed = ~0ull;
	bool types = true;

	if (!slot)
		return false;
	if (index == MSR_MTRR_DEF_TYPE) {
		allowed = MTRR_DEF_TYPE_BITS;
		types = memory_types_valid(value & 0xff, false);
	} else if (index <= MSR_MTRR_PHYS_END) {
		bool mask = index & 1;

		allowed = frame | (mask ? MTRR_MASK_VALID : 0xff);
		types = mask || memory_types_valid(value & 0xff, false);
	} else {
		types = memory_types_valid(value, false);
	}
	if (!types || value & ~allowed)
		return false;
	*slot = value;
	return true;
}

/* Bits of EFER that the model has. LMA is read-only and ignored. */
static u64 efer_allowed(const struct vm *vm)
{
	u64 allowed = EFER_LMA;

	if (cpuid_has(vm, FEAT_SYSCALL))
		allowed |= EFER_SCE;
	if (cpuid_has(vm, FEAT_LM))
		allowed |= EFER_LME;
	if (cpuid_has(vm, FEAT_NX))
		allowed |= EFER_NXE;
	return allowed;
}

static bool efer_write(struct vcpu *v, u64 value)
{
	struct x86_cpu *cpu = &v->cpu;

	if (value & ~efer_allowed(v->vm))
		return false;
	if (((value ^ cpu->efer) & EFER_LME) && (cpu->cr0 & CR0_PG))
		return false;
	value = (value & ~EFER_LMA) | (cpu->efer & EFER_LMA);
	if ((value ^ cpu->efer) & EFER_NXE)
		x86_tlb_flush(v, false);
	cpu->efer = value;
	x86_mode_changed(v);
	return true;
}

/* Whether the model has the register at all. */
static bool msr_present(const struct vm *vm, u32 index)
{
	bool amd = cpuid_is_amd(vm);

	if (is_mtrr(index))
		return cpuid_has(vm, FEAT_MTRR);
	switch (index) {
	case MSR_PLATFORM_ID:
	case MSR_BIOS_UPDT_TRIG:
	case MSR_MISC_ENABLE: return !amd;
	case MSR_SYSENTER_CS:
	case MSR_SYSENTER_ESP:
	case MSR_SYSENTER_EIP: return cpuid_has(vm, FEAT_SEP);
	case MSR_PAT: return cpuid_has(vm, FEAT_PAT);
	case MSR_XSS: return cpuid_has(vm, FEAT_XSAVES);
	case MSR_EFER:
		return cpuid_has(vm, FEAT_LM) || cpuid_has(vm, FEAT_NX) ||
		       cpuid_has(vm, FEAT_SYSCALL);
	case MSR_STAR:
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FMASK:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
	case MSR_TSC_ADJUST: return cpuid_has(vm, FEAT_LM);
	case MSR_TSC_AUX: return cpuid_has(vm, FEAT_RDTSCP) || cpuid_has(vm, FEAT_RDPID);
	case MSR_MCG_CAP:
	case MSR_MCG_STATUS: return cpuid_bit(vm, CPUID_MCA);
	default: return index < MSR_SYSCFG || amd;
	}
}

/* --- AMD's own -------------------------------------------------------------------------------- */

/* What firmware leaves behind on these CPUs. Writes of settings without effect here are accepted
 * and dropped. */
static bool amd_read(const struct vcpu *v, u32 index, u64 *value)
{
	const struct mem *mem = v->vm->mem;
	bool high = mem->high_end > 4 * GIB;

	switch (index) {
	case MSR_SYSCFG:
		*value = SYSCFG_MTRR_VAR_DRAM | (high ? SYSCFG_TOM2 | SYSCFG_TOM2_WB : 0);
		return true;
	case MSR_HWCR: *value = HWCR_TSC_FREQ_P0; return true;
	case MSR_TOP_MEM: *value = mem->low_end; return true;
	case MSR_TOP_MEM2: *value = high ? mem->high_end : 0; return true;
	case MSR_DE_CFG: *value = DE_CFG_LFENCE_SERIALIZE; return true;
	case MSR_NB_CFG:
	case MSR_INT_PENDING:
	case MSR_LS_CFG:
	case MSR_IC_CFG:
	case MSR_DC_CFG: *value = 0; return true;
	default: return false;
	}
}

static bool amd_write(u32 index)
{
	switch (index) {
	case MSR_SYSCFG:
	case MSR_HWCR:
	case MSR_TOP_MEM:
	case MSR_TOP_MEM2:
	case MSR_NB_CFG:
	case MSR_PATCH_LOADER:
	case MSR_INT_PENDING:
	case MSR_LS_CFG:
	case MSR_IC_CFG:
	case MSR_DC_CFG:
	case MSR_DE_CFG: return true;
	default: return false;
	}
}

/* --- Access ----------------------------------------------------------------------------------- */

static bool machine_msr(struct vcpu *v, u32 index, u64 *value, bool write)
{
	struct exit e = { .kind = write ? EXIT_MSR_WRITE : EXIT_MSR_READ,
			  .size = 8,
			  .addr = index,
			  .value = write ? *value : 0 };

	v->exit(v, &e);
	if (!write)
		*value = e.value;
	if (e.fault)
		trace(MSR, "cpu%u: no MSR %#x (%s)", v->index, index, write ? "write" : "read");
	return !e.fault;
}

bool x86_msr_read(struct vcpu *v, u32 index, u64 *value)
{
	struct x86_cpu *cpu = &v->cpu;

	if (!msr_present(v->vm, index))
		return false;
	if (is_mtrr(index)) {
		const u64 *slot = mtrr_slot(cpu, index);

		*value = slot ? *slot : MTRR_CAP;
		return true;
	}
	switch (index) {
	case MSR_P5_MC_ADDR:
	case MSR_P5_MC_TYPE:
	case MSR_PLATFORM_ID:
	case MSR_MCG_CAP:
	case MSR_MCG_STATUS:
	case MSR_DEBUGCTL: *value = 0; return true;
	case MSR_TSC: *value = x86_rdtsc(v); return true;
	case MSR_TSC_ADJUST: *value = (u64)cpu->tsc_offset; return true;
	case MSR_BIOS_SIGN_ID:
		*value = cpuid_is_amd(v->vm) ? 0 : INTEL_MICROCODE << 32;
		return true;
	case MSR_SYSENTER_CS: *value = cpu->sysenter_cs; return true;
	case MSR_SYSENTER_ESP: *value = cpu->sysenter_esp; return true;
	case MSR_SYSENTER_EIP: *value = cpu->sysenter_eip; return true;
	case MSR_MISC_ENABLE: *value = cpu->misc_enable; return true;
	case MSR_PAT: *value = cpu->pat; return true;
	case MSR_XSS: *value = cpu->xss; return true;
	case MSR_EFER: *value = cpu->efer; return true;
	case MSR_STAR: *value = cpu->star; return true;
	case MSR_LSTAR: *value = cpu->lstar; return true;
	case MSR_CSTAR: *value = cpu->cstar; return true;
	case MSR_FMASK: *value = cpu->fmask; return true;
	case MSR_FS_BASE: *value = cpu->seg[FS].base; return true;
	case MSR_GS_BASE: *value = cpu->seg[GS].base; return true;
	case MSR_KERNEL_GS_BASE: *value = cpu->kernel_gs_base; return true;
	case MSR_TSC_AUX: *value = cpu->tsc_aux; return true;
	default: return amd_read(v, index, value) || machine_msr(v, index, value, false);
	}
}

static bool store(u64 *msr, u64 value, u64 allowed)
{
	if (value & ~allowed)
		return false;
	*msr = value;
	return true;
}

bool x86_msr_write(struct vcpu *v, u32 index, u64 value)
{
	struct x86_cpu *cpu = &v->cpu;

	if (!msr_present(v->vm, index))
		return false;
	if (is_mtrr(index))
		return mtrr_write(v, index, value);
	switch (index) {
	case MSR_P5_MC_ADDR:
	case MSR_P5_MC_TYPE:
	case MSR_BIOS_UPDT_TRIG:
	case MSR_BIOS_SIGN_ID: return true;
	case MSR_MCG_STATUS:
	case MSR_DEBUGCTL:
	case MSR_XSS: return value == 0;
	case MSR_PLATFORM_ID:
	case MSR_MCG_CAP: return false;
	case MSR_TSC: set_tsc_offset(v, (i64)(value - machine_tsc(v))); return true;
	case MSR_TSC_ADJUST: set_tsc_offset(v, (i64)value); return true;
	case MSR_SYSENTER_CS: cpu->sysenter_cs = (u32)value; return true;
	case MSR_SYSENTER_ESP: return set_canonical(&cpu->sysenter_esp, value);
	case MSR_SYSENTER_EIP: return set_canonical(&cpu->sysenter_eip, value);
	case MSR_MISC_ENABLE:
		if ((value ^ cpu->misc_enable) & ~MISC_ENABLE_WRITABLE)
			return false;
		cpu->misc_enable = value;
		return true;
	case MSR_PAT: return memory_types_valid(value, true) && store(&cpu->pat, value, ~0ull);
	case MSR_EFER: return efer_write(v, value);
	case MSR_STAR: cpu->star = value; return true;
	case MSR_LSTAR: return set_canonical(&cpu->lstar, value);
	case MSR_CSTAR: return set_canonical(&cpu->cstar, value);
	case MSR_FMASK: cpu->fmask = (u32)value; return true;
	case MSR_FS_BASE: return set_canonical(&cpu->seg[FS].base, value);
	case MSR_GS_BASE: return set_canonical(&cpu->seg[GS].base, value);
	case MSR_KERNEL_GS_BASE: return set_canonical(&cpu->kernel_gs_base, value);
	case MSR_TSC_AUX: return store(&cpu->tsc_aux, value, 0xffffffff);
	default: return amd_write(index) || machine_msr(v, index, &value, true);
	}
}
