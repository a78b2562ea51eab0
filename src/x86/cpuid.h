/* CPUID models: what a guest is told about its processor. A feature is shown only if the model
 * names it and Pogo carries it: either Pogo emulates it alone, or the host's own units execute
 * it. */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include "x86/exec.h"

/* The registers of CPUID that hold feature bits. */
enum cpuid_word {
	CW_1_EDX,
	CW_1_ECX,
	CW_7_EBX,
	CW_7_ECX,
	CW_7_EDX,
	CW_7_1_EAX,
	CW_D_1_EAX,
	CW_81_EDX, /* 8000_0001h */
	CW_81_ECX,
	CW_88_EBX,  /* 8000_0008h */
	CW_821_EAX, /* 8000_0021h */
	CW_COUNT,
};

/* A feature bit by register and position. */
#define CPUID_ID(word, bit) ((word)*32u + (bit))

/* id, register, bit, who carries it: N the host's own units, E Pogo alone. Names as in SDM 2A
 * CPUID and APM 3 appendix E. */
#define CPUID_FEATURES(X)                      \
	X(FPU, CW_1_EDX, 0, N)                 \
	X(VME, CW_1_EDX, 1, E)                 \
	X(DE, CW_1_EDX, 2, E)                  \
	X(PSE, CW_1_EDX, 3, E)                 \
	X(TSC, CW_1_EDX, 4, E)                 \
	X(MSR, CW_1_EDX, 5, E)                 \
	X(PAE, CW_1_EDX, 6, E)                 \
	X(MCE, CW_1_EDX, 7, E)                 \
	X(CX8, CW_1_EDX, 8, E)                 \
	X(APIC, CW_1_EDX, 9, E)                \
	X(SEP, CW_1_EDX, 11, E)                \
	X(MTRR, CW_1_EDX, 12, E)               \
	X(PGE, CW_1_EDX, 13, E)                \
	X(MCA, CW_1_EDX, 14, E)                \
	X(CMOV, CW_1_EDX, 15, E)               \
	X(PAT, CW_1_EDX, 16, E)                \
	X(PSE36, CW_1_EDX, 17, E)              \
	X(CLFSH, CW_1_EDX, 19, E)              \
	X(MMX, CW_1_EDX, 23, N)                \
	X(FXSR, CW_1_EDX, 24, N)               \
	X(SSE, CW_1_EDX, 25, N)                \
	X(SSE2, CW_1_EDX, 26, N)               \
	X(HTT, CW_1_EDX, 28, E)                \
	X(SSE3, CW_1_ECX, 0, N)                \
	X(PCLMULQDQ, CW_1_ECX, 1, N)           \
	X(SSSE3, CW_1_ECX, 9, N)               \
	X(FMA, CW_1_ECX, 12, N)                \
	X(CX16, CW_1_ECX, 13, E)               \
	X(PCID, CW_1_ECX, 17, E)               \
	X(SSE41, CW_1_ECX, 19, N)              \
	X(SSE42, CW_1_ECX, 20, N)              \
	X(X2APIC, CW_1_ECX, 21, E)             \
	X(MOVBE, CW_1_ECX, 22, E)              \
	X(POPCNT, CW_1_ECX, 23, N)             \
	X(TSC_DEADLINE, CW_1_ECX, 24, E)       \
	X(AES, CW_1_ECX, 25, N)                \
	X(XSAVE, CW_1_ECX, 26, N)              \
	X(OSXSAVE, CW_1_ECX, 27, E)            \
	X(AVX, CW_1_ECX, 28, N)                \
	X(F16C, CW_1_ECX, 29, N)               \
	X(RDRAND, CW_1_ECX, 30, N)             \
	X(HYPERVISOR, CW_1_ECX, 31, E)         \
	X(FSGSBASE, CW_7_EBX, 0, E)            \
	X(BMI1, CW_7_EBX, 3, N)                \
	X(AVX2, CW_7_EBX, 5, N)                \
	X(FDP_EXCPTN_ONLY, CW_7_EBX, 6, N)     \
	X(SMEP, CW_7_EBX, 7, E)                \
	X(BMI2, CW_7_EBX, 8, N)                \
	X(ERMS, CW_7_EBX, 9, E)                \
	X(INVPCID, CW_7_EBX, 10, E)            \
	X(NO_FCS_FDS, CW_7_EBX, 13, N)         \
	X(AVX512F, CW_7_EBX, 16, N)            \
	X(AVX512DQ, CW_7_EBX, 17, N)           \
	X(RDSEED, CW_7_EBX, 18, N)             \
	X(ADX, CW_7_EBX, 19, N)                \
	X(SMAP, CW_7_EBX, 20, E)               \
	X(AVX512_IFMA, CW_7_EBX, 21, N)        \
	X(CLFLUSHOPT, CW_7_EBX, 23, E)         \
	X(CLWB, CW_7_EBX, 24, E)               \
	X(AVX512CD, CW_7_EBX, 28, N)           \
	X(SHA, CW_7_EBX, 29, N)                \
	X(AVX512BW, CW_7_EBX, 30, N)           \
	X(AVX512VL, CW_7_EBX, 31, N)           \
	X(AVX512_VBMI, CW_7_ECX, 1, N)         \
	X(UMIP, CW_7_ECX, 2, E)                \
	X(AVX512_VBMI2, CW_7_ECX, 6, N)        \
	X(GFNI, CW_7_ECX, 8, N)                \
	X(VAES, CW_7_ECX, 9, N)                \
	X(VPCLMULQDQ, CW_7_ECX, 10, N)         \
	X(AVX512_VNNI, CW_7_ECX, 11, N)        \
	X(AVX512_BITALG, CW_7_ECX, 12, N)      \
	X(AVX512_VPOPCNTDQ, CW_7_ECX, 14, N)   \
	X(RDPID, CW_7_ECX, 22, E)              \
	X(CLDEMOTE, CW_7_ECX, 25, E)           \
	X(MOVDIRI, CW_7_ECX, 27, E)            \
	X(FSRM, CW_7_EDX, 4, E)                \
	X(AVX512_VP2INTERSECT, CW_7_EDX, 8, N) \
	X(AVX512_FP16, CW_7_EDX, 23, N)        \
	X(AVX_VNNI, CW_7_1_EAX, 4, N)          \
	X(AVX512_BF16, CW_7_1_EAX, 5, N)       \
	X(XSAVEOPT, CW_D_1_EAX, 0, E)          \
	X(XSAVEC, CW_D_1_EAX, 1, E)            \
	X(XGETBV1, CW_D_1_EAX, 2, E)           \
	X(XSAVES, CW_D_1_EAX, 3, E)            \
	X(SYSCALL, CW_81_EDX, 11, E)           \
	X(NX, CW_81_EDX, 20, E)                \
	X(MMXEXT, CW_81_EDX, 22, N)            \
	X(PAGE1GB, CW_81_EDX, 26, E)           \
	X(RDTSCP, CW_81_EDX, 27, E)            \
	X(LM, CW_81_EDX, 29, E)                \
	X(LAHF_LM, CW_81_ECX, 0, E)            \
	X(CMP_LEGACY, CW_81_ECX, 1, E)         \
	X(LZCNT, CW_81_ECX, 5, N)              \
	X(SSE4A, CW_81_ECX, 6, N)              \
	X(MISALIGNSSE, CW_81_ECX, 7, N)        \
	X(PREFETCHW, CW_81_ECX, 8, E)          \
	X(TOPOEXT, CW_81_ECX, 22, E)           \
	X(CLZERO, CW_88_EBX, 0, E)             \
	X(XSAVEERPTR, CW_88_EBX, 2, E)         \
	X(LFENCE_SERIALIZING, CW_821_EAX, 2, E)

enum cpuid_id {
#define X(name, word, bit, who) CPUID_##name = CPUID_ID(word, bit),
	CPUID_FEATURES(X)
#undef X
		CPUID_NEVER = CPUID_ID(CW_COUNT, 0),
	CPUID_ALWAYS,
};

enum cpuid_vendor { CPUID_HOST, CPUID_INTEL, CPUID_AMD };

struct cpuid_model {
	const char *name, *help;
	enum cpuid_vendor vendor;    /* never CPUID_HOST in a model that cpuid_model_find returns */
	u8 family, model, stepping;  /* the effective (display) numbers */
	u32 max_basic, max_extended; /* max_extended 0: none */
	u32 words[CW_COUNT];
	u64 xcr0; /* bits the guest may set */
};

/* Where an XSAVE state component lies in the standard format, as on the host: the guest's state
 * is kept in that form and shown in it. Both are 0 for a component that Pogo does not carry. */
struct xsave_layout {
	u32 offset[10], size[10];
	u32 mxcsr_mask;
	bool avx, avx512; /* the host has YMM; ZMM and opmask registers */
};

/* Filled by cpuid_init, constant from then on. */
extern struct xsave_layout cpuid_layout;

/* Reads what the host is, once. cpuid_model_find and thunk_cache_new do it, so that it is done
 * wherever a vCPU exists. Any thread. */
void cpuid_init(void);

static inline const struct xsave_layout *xsave_layout(void) { return &cpuid_layout; }

/* The model's feature bit; id is an enum cpuid_id. */
static inline bool cpuid_model_bit(const struct cpuid_model *model, unsigned id)
{
	if (id >= CPUID_NEVER)
		return id == CPUID_ALWAYS;
	return model->words[id / 32] >> (id % 32) & 1;
}

static inline bool cpuid_bit(const struct vm *vm, unsigned id)
{
	return cpuid_model_bit(vm->model, id);
}

/* `--dump=cpuid`: every leaf that vCPU v sees. file is a FILE *. */
void cpuid_dump(struct vcpu *v, void *file);

#endif
