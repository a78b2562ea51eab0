/* CPUID (SDM 2A CPUID, APM 3 appendix E): the models, and the leaves a guest reads. The host's
 * own CPUID is slow (a hypervisor traps it), so it is read once. */
#include "x86/cpuid.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define PHYS_BITS_LM      40u
#define PHYS_BITS_PAE     36u
#define HYPERVISOR_LEAF   0x40000000u
#define HYPERVISOR_TIMING 0x40000010u /* eax: TSC kHz */
#define CACHE_LINE        64u

/* --- Models --- */

#define LIST_I686                                                                               \
	CPUID_FPU, CPUID_VME, CPUID_DE, CPUID_PSE, CPUID_TSC, CPUID_MSR, CPUID_PAE, CPUID_MCE,  \
		CPUID_CX8, CPUID_APIC, CPUID_SEP, CPUID_MTRR, CPUID_PGE, CPUID_MCA, CPUID_CMOV, \
		CPUID_PAT, CPUID_PSE36, CPUID_MMX, CPUID_FXSR, CPUID_HYPERVISOR
#define LIST_PENTIUM3 LIST_I686, CPUID_SSE
#define LIST_V1                                                                                  \
	LIST_PENTIUM3, CPUID_SSE2, CPUID_CLFSH, CPUID_SYSCALL, CPUID_NX, CPUID_LM, CPUID_X2APIC, \
		CPUID_TSC_DEADLINE
#define LIST_V2                                                                               \
	LIST_V1, CPUID_SSE3, CPUID_SSSE3, CPUID_CX16, CPUID_SSE41, CPUID_SSE42, CPUID_POPCNT, \
		CPUID_LAHF_LM
#define LIST_V3                                                                          \
	LIST_V2, CPUID_XSAVE, CPUID_AVX, CPUID_AVX2, CPUID_BMI1, CPUID_BMI2, CPUID_F16C, \
		CPUID_FMA, CPUID_LZCNT, CPUID_MOVBE
#define LIST_AVX512_BASE \
	CPUID_AVX512F, CPUID_AVX512CD, CPUID_AVX512BW, CPUID_AVX512DQ, CPUID_AVX512VL
#define LIST_V4 LIST_V3, LIST_AVX512_BASE
/* What server processors of both vendors have had since about 2017. */
#define LIST_SERVER                                                                             \
	LIST_V3, CPUID_PCLMULQDQ, CPUID_AES, CPUID_RDRAND, CPUID_RDSEED, CPUID_ADX, CPUID_CLWB, \
		CPUID_CLFLUSHOPT, CPUID_FSGSBASE, CPUID_SMEP, CPUID_SMAP, CPUID_ERMS,           \
		CPUID_PAGE1GB, CPUID_RDTSCP, CPUID_PREFETCHW, CPUID_XSAVEOPT, CPUID_XSAVEC,     \
		CPUID_XGETBV1, CPUID_XSAVES, CPUID_PCID, CPUID_INVPCID

static const u16 list_i686[] = { LIST_I686 };
static const u16 list_pentium3[] = { LIST_PENTIUM3 };
static const u16 list_v1[] = { LIST_V1 };
static const u16 list_v2[] = { LIST_V2 };
static const u16 list_v3[] = { LIST_V3 };
static const u16 list_v4[] = { LIST_V4 };
static const u16 list_skylake[] = { LIST_SERVER, LIST_AVX512_BASE, CPUID_NO_FCS_FDS,
				    CPUID_FDP_EXCPTN_ONLY };
static const u16 list_epyc[] = {
	LIST_SERVER,      CPUID_SSE4A, CPUID_MISALIGNSSE, CPUID_MMXEXT,     CPUID_TOPOEXT,
	CPUID_CMP_LEGACY, CPUID_SHA,   CPUID_CLZERO,      CPUID_XSAVEERPTR, CPUID_LFENCE_SERIALIZING
};
static const u16 list_max[] = {
	LIST_SERVER,
	LIST_AVX512_BASE,
	CPUID_NO_FCS_FDS,
	CPUID_FDP_EXCPTN_ONLY,
	CPUID_UMIP,
	CPUID_RDPID,
	CPUID_FSRM,
	CPUID_CLDEMOTE,
	CPUID_MOVDIRI,
	CPUID_SHA,
	CPUID_GFNI,
	CPUID_VAES,
	CPUID_VPCLMULQDQ,
	CPUID_AVX_VNNI,
	CPUID_AVX512_IFMA,
	CPUID_AVX512_VBMI,
	CPUID_AVX512_VBMI2,
	CPUID_AVX512_VNNI,
	CPUID_AVX512_BITALG,
	CPUID_AVX512_VPOPCNTDQ,
	CPUID_AVX512_VP2INTERSECT,
	CPUID_AVX512_FP16,
	CPUID_AVX512_BF16,
	CPUID_SSE4A,
	CPUID_MISALIGNSSE,
	CPUID_MMXEXT,
	CPUID_TOPOEXT,
	CPUID_CMP_LEGACY,
	CPUID_CLZERO,
	CPUID_XSAVEERPTR,
	CPUID_LFENCE_SERIALIZING,
};

struct model_row {
	const char *name, *help;
	enum cpuid_vendor vendor;
	u8 family, model, stepping; /* family 0: the host's numbers */
	u32 max_basic, max_extended;
	const u16 *features;
	u32 count;
};

#define FEATURES(list) list, ARRAY_LEN(list)
#define MODEL_NAMES    "max x86-64-v1 x86-64-v2 x86-64-v3 x86-64-v4 skylake epyc pentium3 i686"

static const struct model_row rows[] = {
	{ "max", "all that this host and Pogo carry", CPUID_HOST, 0, 0, 0, 0xd, 0x80000021,
	  FEATURES(list_max) },
	{ "x86-64-v1", "the 64-bit baseline", CPUID_HOST, 6, 15, 1, 0xd, 0x80000008,
	  FEATURES(list_v1) },
	{ "x86-64-v2", "with SSE4.2 and POPCNT", CPUID_HOST, 6, 30, 1, 0xd, 0x80000008,
	  FEATURES(list_v2) },
	{ "x86-64-v3", "with AVX2, BMI and FMA", CPUID_HOST, 6, 60, 1, 0xd, 0x80000008,
	  FEATURES(list_v3) },
	{ "x86-64-v4", "with AVX-512", CPUID_HOST, 6, 85, 1, 0xd, 0x80000008, FEATURES(list_v4) },
	{ "skylake", "Intel Xeon Scalable, first generation", CPUID_INTEL, 6, 85, 4, 0x16,
	  0x80000008, FEATURES(list_skylake) },
	{ "epyc", "AMD EPYC, first generation", CPUID_AMD, 0x17, 1, 2, 0xd, 0x80000021,
	  FEATURES(list_epyc) },
	{ "pentium3", "32 bits, SSE", CPUID_INTEL, 6, 8, 3, 2, 0, FEATURES(list_pentium3) },
	{ "i686", "32 bits, MMX", CPUID_INTEL, 6, 5, 2, 2, 0, FEATURES(list_i686) },
};

/* Filled once, from what the host is, and never changed after. */
static struct {
	pthread_once_t once;
	bool amd;
	u8 family, model, stepping;
	u32 words[CW_COUNT]; /* the host's */
	struct cpuid_model models[ARRAY_LEN(rows)];
} host = { .once = PTHREAD_ONCE_INIT };

struct xsave_layout cpuid_layout;

/* --- The host --- */

static void host_cpuid(u32 leaf, u32 subleaf, u32 r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(subleaf));
}

static void host_read_layout(void)
{
	static const u8 components[] = { 2, 5, 6, 7 };
	u8 image[512] __attribute__((aligned(16)));
	u32 mask, r[4], xcr0 = 0;

	memset(image, 0, sizeof(image));
	__asm__ volatile("fxsave64 %0" : "+m"(image));
	memcpy(&mask, image + 28, sizeof(mask));
	cpuid_layout.mxcsr_mask = mask ? mask : 0xffbf;
	cpuid_layout.offset[1] = 160;
	cpuid_layout.size[0] = 160;
	cpuid_layout.size[1] = 256;
	if (!(host.words[CW_1_ECX] & BIT(27)))
		return;
	__asm__ volatile("xgetbv" : "=a"(xcr0) : "c"(0) : "edx");
	for (unsigned k = 0; k < ARRAY_LEN(components); k++) {
		unsigned c = components[k];

		if (!(xcr0 & BIT(c)))
			continue;
		host_cpuid(0xd, c, r);
		/* A layout that does not fit our area is not carried. */
		if (r[0] == 0 || (u64)r[0] + r[1] > X86_XSAVE_SIZE)
			continue;
		cpuid_layout.size[c] = r[0];
		cpuid_layout.offset[c] = r[1];
	}
	cpuid_layout.avx = cpuid_layout.size[2] == 256 && cpuid_layout.offset[2] == 576;
	cpuid_layout.avx512 = cpuid_layout.avx && cpuid_layout.size[5] == 64 &&
			      cpuid_layout.size[6] == 512 && cpuid_layout.size[7] == 1024;
}

static void host_read_words(void)
{
	static const struct {
		u32 leaf, subleaf;
		u8 reg, word;
	} where[] = {
		{ 1, 0, 3, CW_1_EDX },
		{ 1, 0, 2, CW_1_ECX },
		{ 7, 0, 1, CW_7_EBX },
		{ 7, 0, 2, CW_7_ECX },
		{ 7, 0, 3, CW_7_EDX },
		{ 7, 1, 0, CW_7_1_EAX },
		{ 0xd, 1, 0, CW_D_1_EAX },
		{ 0x80000001, 0, 3, CW_81_EDX },
		{ 0x80000001, 0, 2, CW_81_ECX },
		{ 0x80000008, 0, 1, CW_88_EBX },
		{ 0x80000021, 0, 0, CW_821_EAX },
	};
	u32 r[4], basic, extended, subleaves = 0;

	host_cpuid(0, 0, r);
	basic = r[0];
	host.amd = r[1] == 0x68747541; /* "Auth" */
	host_cpuid(0x80000000, 0, r);
	extended = r[0];
	if (basic >= 7) {
		host_cpuid(7, 0, r);
		subleaves = r[0];
	}
	for (unsigned k = 0; k < ARRAY_LEN(where); k++) {
		u32 leaf = where[k].leaf;

		if (leaf > (leaf >= 0x80000000 ? extended : basic))
			continue;
		if (leaf == 7 && where[k].subleaf > subleaves)
			continue;
		host_cpuid(leaf, where[k].subleaf, r);
		host.words[where[k].word] = r[where[k].reg];
	}
	host_cpuid(1, 0, r);
	host.family = (u8)(bits_get(r[0], 11, 8));
	host.model = (u8)(bits_get(r[0], 7, 4));
	if (host.family == 15 || host.family == 6)
		host.model = (u8)(host.model | bits_get(r[0], 19, 16) << 4);
	if (host.family == 15)
		host.family = (u8)(host.family + bits_get(r[0], 27, 20));
	host.stepping = (u8)(r[0] & 15);
	/* RDSEED of Zen 5 can return 0 as success (AMD-SB-7055): no guest gets that. */
	if (host.amd && host.family == 0x1a)
		host.words[CW_7_EBX] &= ~(u32)BIT(18);
	/* Intel shows these two as SSE and not at all. */
	if (host.words[CW_1_EDX] & BIT(25))
		host.words[CW_81_EDX] |= BIT(22);
}

static void model_drop(struct cpuid_model *m, unsigned id)
{
	m->words[id / 32] &= ~(u32)BIT(id % 32);
}

/* No feature without those it builds on. */
static void model_prune(struct cpuid_model *m)
{
	static const u16 needs_avx[] = { CPUID_AVX2,      CPUID_FMA,        CPUID_F16C,
					 CPUID_VAES,      CPUID_VPCLMULQDQ, CPUID_AVX_VNNI,
					 LIST_AVX512_BASE };
	static const u16 avx512_base[] = { LIST_AVX512_BASE };
	static const u16 needs_avx512[] = {
		LIST_AVX512_BASE,       CPUID_AVX512_IFMA,         CPUID_AVX512_VBMI,
		CPUID_AVX512_VBMI2,     CPUID_AVX512_VNNI,         CPUID_AVX512_BITALG,
		CPUID_AVX512_VPOPCNTDQ, CPUID_AVX512_VP2INTERSECT, CPUID_AVX512_FP16,
		CPUID_AVX512_BF16,
	};
	static const u16 needs_xsave[] = { CPUID_AVX, CPUID_XSAVEOPT, CPUID_XSAVEC, CPUID_XGETBV1,
					   CPUID_XSAVES };
	bool avx512 = cpuid_layout.avx512;

	if (!cpuid_model_bit(m, CPUID_XSAVE))
		for (unsigned k = 0; k < ARRAY_LEN(needs_xsave); k++)
			model_drop(m, needs_xsave[k]);
	if (!cpuid_layout.avx)
		model_drop(m, CPUID_AVX);
	if (!cpuid_model_bit(m, CPUID_AVX))
		for (unsigned k = 0; k < ARRAY_LEN(needs_avx); k++)
			model_drop(m, needs_avx[k]);
	for (unsigned k = 0; k < ARRAY_LEN(avx512_base); k++)
		avx512 = avx512 && cpuid_model_bit(m, avx512_base[k]);
	if (!avx512)
		for (unsigned k = 0; k < ARRAY_LEN(needs_avx512); k++)
			model_drop(m, needs_avx512[k]);
	m->xcr0 = cpuid_model_bit(m, CPUID_XSAVE) ? 3 : 0;
	m->xcr0 |= cpuid_model_bit(m, CPUID_AVX) ? 4 : 0;
	m->xcr0 |= avx512 ? 0xe0 : 0;
}

static void model_build(struct cpuid_model *m, const struct model_row *row)
{
	u32 carried[CW_COUNT] = { 0 };

#define CARRY_N(word, bit)      carried[word] |= host.words[word] & (u32)BIT(bit);
#define CARRY_E(word, bit)      carried[word] |= (u32)BIT(bit);
#define X(name, word, bit, who) CARRY_##who(word, bit)
	CPUID_FEATURES(X)
#undef X
#undef CARRY_E
#undef CARRY_N
	m->name = row->name;
	m->help = row->help;
	m->vendor = row->vendor != CPUID_HOST ? row->vendor : host.amd ? CPUID_AMD : CPUID_INTEL;
	m->family = row->family ? row->family : host.family;
	m->model = row->family ? row->model : host.model;
	m->stepping = row->family ? row->stepping : host.stepping;
	if (row->family == 6 && m->vendor == CPUID_AMD) {
		/* Family 6 of AMD is the 32-bit Athlon; the levels appear as a K8. */
		m->family = 15;
		m->model = 107;
	}
	m->max_basic = row->max_basic;
	m->max_extended = row->max_extended;
	for (unsigned k = 0; k < row->count; k++)
		m->words[row->features[k] / 32] |= (u32)BIT(row->features[k] % 32);
	for (unsigned w = 0; w < CW_COUNT; w++)
		m->words[w] &= carried[w];
	if (m->vendor == CPUID_AMD) {
		model_drop(m, CPUID_NO_FCS_FDS);
		model_drop(m, CPUID_FDP_EXCPTN_ONLY);
	} else {
		static const u16 amd_only[] = { CPUID_SSE4A,      CPUID_MISALIGNSSE,
						CPUID_MMXEXT,     CPUID_TOPOEXT,
						CPUID_CMP_LEGACY, CPUID_CLZERO,
						CPUID_XSAVEERPTR, CPUID_LFENCE_SERIALIZING };

		for (unsigned k = 0; k < ARRAY_LEN(amd_only); k++)
			model_drop(m, amd_only[k]);
	}
	model_prune(m);
}

static void host_read(void)
{
	host_read_words();
	host_read_layout();
	for (unsigned k = 0; k < ARRAY_LEN(rows); k++)
		model_build(&host.models[k], &rows[k]);
}

void cpuid_init(void) { pthread_once(&host.once, host_read); }

const struct cpuid_model *cpuid_model_find(const char *name)
{
	cpuid_init();
	for (unsigned k = 0; k < ARRAY_LEN(rows); k++)
		if (strcmp(rows[k].name, name) == 0)
			return &host.models[k];
	return NULL;
}

const char *cpuid_model_list(void) { return MODEL_NAMES; }

/* --- Questions about a model --- */

bool cpuid_has(const struct vm *vm, enum cpuid_feature f)
{
	static const u16 ids[] = {
		[FEAT_PCID] = CPUID_PCID,
		[FEAT_INVPCID] = CPUID_INVPCID,
		[FEAT_SMEP] = CPUID_SMEP,
		[FEAT_SMAP] = CPUID_SMAP,
		[FEAT_UMIP] = CPUID_UMIP,
		[FEAT_FSGSBASE] = CPUID_FSGSBASE,
		[FEAT_XSAVE] = CPUID_XSAVE,
		[FEAT_NX] = CPUID_NX,
		[FEAT_1G] = CPUID_PAGE1GB,
		[FEAT_RDTSCP] = CPUID_RDTSCP,
		[FEAT_LM] = CPUID_LM,
		[FEAT_PAE] = CPUID_PAE,
		[FEAT_PSE] = CPUID_PSE,
		[FEAT_PSE36] = CPUID_PSE36,
		[FEAT_PGE] = CPUID_PGE,
		[FEAT_VME] = CPUID_VME,
		[FEAT_DE] = CPUID_DE,
		[FEAT_SEP] = CPUID_SEP,
		[FEAT_SYSCALL] = CPUID_SYSCALL,
		[FEAT_FXSR] = CPUID_FXSR,
		[FEAT_SSE] = CPUID_SSE,
		[FEAT_X2APIC] = CPUID_X2APIC,
		[FEAT_TSC_DEADLINE] = CPUID_TSC_DEADLINE,
		[FEAT_RDPID] = CPUID_RDPID,
		[FEAT_MOVBE] = CPUID_MOVBE,
		[FEAT_CX16] = CPUID_CX16,
		[FEAT_AVX] = CPUID_AVX,
		[FEAT_AVX512] = CPUID_AVX512F,
		[FEAT_PKU] = CPUID_NEVER,
		[FEAT_XSAVES] = CPUID_XSAVES,
		[FEAT_XSAVEC] = CPUID_XSAVEC,
		[FEAT_XSAVEOPT] = CPUID_XSAVEOPT,
		[FEAT_MTRR] = CPUID_MTRR,
		[FEAT_PAT] = CPUID_PAT,
	};

	return cpuid_bit(vm, ids[f]);
}

unsigned cpuid_phys_bits(const struct vm *vm)
{
	return cpuid_bit(vm, CPUID_LM) ? PHYS_BITS_LM : PHYS_BITS_PAE;
}

u64 cpuid_xcr0_mask(const struct vm *vm) { return vm->model->xcr0; }

bool cpuid_is_amd(const struct vm *vm) { return vm->model->vendor == CPUID_AMD; }

unsigned cpuid_xsave_size(const struct vm *vm, u64 xcr0)
{
	const struct xsave_layout *l = xsave_layout();
	unsigned size = 512 + 64;

	for (unsigned c = 2; c < ARRAY_LEN(l->size); c++)
		if (xcr0 & vm->model->xcr0 & BIT(c))
			size = MAX(size, l->offset[c] + l->size[c]);
	return size;
}

/* --- The leaves --- */

static unsigned log2_up(unsigned n)
{
	unsigned bits = 0;

	while (BIT(bits) < n)
		bits++;
	return bits;
}

static bool has_apic_ids(const struct vcpu *v) { return v->vm->nvcpus > 1; }

static void leaf_vendor(const struct vcpu *v, u32 max, u32 r[4])
{
	static const char names[][13] = {
		[CPUID_INTEL] = "GenuineIntel", [CPUID_AMD] = "AuthenticAMD"
	};
	const char *name = names[v->vm->model->vendor];

	r[0] = max;
	memcpy(&r[1], name, 4);
	memcpy(&r[3], name + 4, 4);
	memcpy(&r[2], name + 8, 4);
}

static u32 signature(const struct cpuid_model *m)
{
	u32 family = MIN(m->family, 15u), ext_family = m->family - family;
	u32 model = m->model & 15u, ext_model = m->model >> 4;

	return ext_family << 20 | ext_model << 16 | family << 8 | model << 4 | m->stepping;
}

#define MSR_APIC_BASE 0x1b

/* IA32_APIC_BASE[11] hides the local APIC from CPUID (SDM 3A 10.4.3). */
static bool apic_enabled(struct vcpu *v)
{
	struct exit e = { .kind = EXIT_MSR_READ, .addr = MSR_APIC_BASE };

	v->exit(v, &e);
	return e.fault || (e.value & BIT(11));
}

static void leaf_1(struct vcpu *v, u32 r[4])
{
	const struct cpuid_model *m = v->vm->model;

	r[0] = signature(m);
	r[1] = v->apic_id << 24 | (v->vm->nvcpus & 0xff) << 16;
	if (cpuid_model_bit(m, CPUID_CLFSH))
		r[1] |= CACHE_LINE / 8 << 8;
	r[2] = m->words[CW_1_ECX];
	if (v->cpu.cr4 & CR4_OSXSAVE)
		r[2] |= BIT(27);
	r[3] = m->words[CW_1_EDX];
	if (!apic_enabled(v))
		r[3] &= ~(u32)BIT(CPUID_APIC % 32);
	if (has_apic_ids(v))
		r[3] |= BIT(28); /* HTT: more than one logical processor in the package */
}

/* The caches: the same three levels in every model that describes them. One core has its own L1
 * and L2; all share L3. */
static const struct cache_level {
	u8 type, level, ways;
	u32 size;
	bool shared;
} caches[] = {
	{ 1, 1, 8, 32 * KIB, false },
	{ 2, 1, 8, 32 * KIB, false },
	{ 3, 2, 8, 512 * KIB, false },
	{ 3, 3, 16, 16 * MIB, true },
};

/* Leaf 4 of Intel; 8000_001Dh of AMD has the same form but for bits 31:26 of EAX. */
static void leaf_cache(const struct vcpu *v, u32 subleaf, bool intel, u32 r[4])
{
	const struct cache_level *c = &caches[subleaf];
	u32 sharing, ids = (u32)BIT(log2_up(v->vm->nvcpus));

	if (subleaf >= ARRAY_LEN(caches))
		return;
	sharing = c->shared ? ids - 1 : 0;
	r[0] = c->type | (u32)c->level << 5 | (u32)BIT(8) | sharing << 14;
	if (intel)
		r[0] |= MIN(ids - 1, 63u) << 26;
	r[1] = (c->ways - 1u) << 22 | (CACHE_LINE - 1);
	r[2] = c->size / (c->ways * CACHE_LINE) - 1;
}

static void leaf_7(const struct cpuid_model *m, u32 subleaf, u32 r[4])
{
	if (subleaf == 0) {
		r[0] = m->words[CW_7_1_EAX] ? 1 : 0;
		r[1] = m->words[CW_7_EBX];
		r[2] = m->words[CW_7_ECX];
		r[3] = m->words[CW_7_EDX];
	} else if (subleaf == 1) {
		r[0] = m->words[CW_7_1_EAX];
	}
}

/* One thread a core, all cores in one package. */
static void leaf_topology(const struct vcpu *v, u32 subleaf, u32 r[4])
{
	r[2] = subleaf & 0xff;
	r[3] = v->apic_id;
	if (subleaf == 0) {
		r[1] = 1;
		r[2] |= 1 << 8; /* SMT */
	} else if (subleaf == 1) {
		r[0] = log2_up(v->vm->nvcpus);
		r[1] = v->vm->nvcpus;
		r[2] |= 2 << 8; /* core */
	}
}

static u32 compact_size(u64 components)
{
	const struct xsave_layout *l = xsave_layout();
	u32 size = 512 + 64;

	for (unsigned c = 2; c < ARRAY_LEN(l->size); c++)
		if (components & BIT(c))
			size += l->size[c];
	return size;
}

static void leaf_xsave(const struct vcpu *v, u32 subleaf, u32 r[4])
{
	const struct xsave_layout *l = xsave_layout();
	const struct cpuid_model *m = v->vm->model;

	if (!cpuid_model_bit(m, CPUID_XSAVE))
		return;
	if (subleaf == 0) {
		r[0] = (u32)m->xcr0;
		r[1] = cpuid_xsave_size(v->vm, v->cpu.xcr0);
		r[2] = cpuid_xsave_size(v->vm, m->xcr0);
	} else if (subleaf == 1) {
		r[0] = m->words[CW_D_1_EAX];
		if (r[0] & (BIT(1) | BIT(3)))
			r[1] = compact_size(v->cpu.xcr0 | v->cpu.xss);
	} else if (subleaf < ARRAY_LEN(l->size) && (m->xcr0 & BIT(subleaf))) {
		r[0] = l->size[subleaf];
		r[1] = l->offset[subleaf];
	}
}

static void leaf_brand(const struct cpuid_model *m, u32 part, u32 r[4])
{
	char text[49] = { 0 };

	snprintf(text, sizeof(text), "Pogo virtual CPU (%s)", m->name);
	memcpy(r, text + part * 16, 16);
}

static void leaf_basic(struct vcpu *v, u32 leaf, u32 subleaf, u32 r[4])
{
	const struct cpuid_model *m = v->vm->model;
	bool intel = m->vendor == CPUID_INTEL;

	switch (leaf) {
	case 0: leaf_vendor(v, m->max_basic, r); break;
	case 1: leaf_1(v, r); break;
	case 2:
		if (intel && m->max_basic == 2) { /* L1 16K + 16K, L2 512K; SDM table 3-12 */
			r[0] = 0x03020101;
			r[3] = 0x0c040843;
		} else if (intel) {
			r[0] = 0x0000ff01; /* see leaf 4 */
		}
		break;
	case 4:
		if (intel)
			leaf_cache(v, subleaf, true, r);
		break;
	case 6: r[0] = BIT(2); break; /* ARAT: the APIC timer never stops */
	case 7: leaf_7(m, subleaf, r); break;
	case 0xb: leaf_topology(v, subleaf, r); break;
	case 0xd: leaf_xsave(v, subleaf, r); break;
	case 0x16: r[0] = r[1] = (u32)(v->vm->tsc_hz / 1000000); break;
	default: break;
	}
}

static void leaf_extended(const struct vcpu *v, u32 leaf, u32 subleaf, u32 r[4])
{
	const struct cpuid_model *m = v->vm->model;
	bool amd = m->vendor == CPUID_AMD;
	u32 n = v->vm->nvcpus;

	switch (leaf) {
	case 0x80000000:
		leaf_vendor(v, m->max_extended, r);
		if (!amd)
			r[1] = r[2] = r[3] = 0;
		break;
	case 0x80000001:
		r[2] = m->words[CW_81_ECX];
		r[3] = m->words[CW_81_EDX];
		if (!amd)
			break;
		r[0] = signature(m);
		/* AMD repeats the low features of leaf 1 here. */
		r[3] |= m->words[CW_1_EDX] & 0x0183f3ff;
		if (n == 1)
			r[2] &= ~(u32)BIT(1); /* CMP_LEGACY */
		break;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004: leaf_brand(m, leaf - 0x80000002, r); break;
	case 0x80000005:
		if (amd) { /* KiB, ways, lines a tag, line size */
			r[0] = r[1] = 0xff40ff40;
			r[2] = r[3] = 32u << 24 | 8u << 16 | 1u << 8 | CACHE_LINE;
		}
		break;
	case 0x80000006:
		r[2] = 512u << 16 | 6u << 12 | (amd ? 1u << 8 : 0) | CACHE_LINE;
		if (amd)
			r[3] = 32u << 18 | 8u << 12 | 1u << 8 | CACHE_LINE;
		break;
	case 0x80000007: r[3] = BIT(8); break; /* invariant TSC */
	case 0x80000008:
		r[0] = PHYS_BITS_LM | 48u << 8;
		if (amd) {
			r[1] = m->words[CW_88_EBX];
			r[2] = log2_up(n) << 12 | (n - 1);
		}
		break;
	case 0x8000001d:
		if (cpuid_model_bit(m, CPUID_TOPOEXT))
			leaf_cache(v, subleaf, false, r);
		break;
	case 0x8000001e:
		if (cpuid_model_bit(m, CPUID_TOPOEXT)) {
			r[0] = v->apic_id;
			r[1] = v->apic_id & 0xff;
		}
		break;
	case 0x80000021: r[0] = m->words[CW_821_EAX]; break;
	default: break;
	}
}

static void leaf_hypervisor(const struct vcpu *v, u32 leaf, u32 r[4])
{
	if (leaf == HYPERVISOR_LEAF) {
		r[0] = HYPERVISOR_TIMING;
		memcpy(&r[1], "PogoPogoPogo", 12);
	} else if (leaf == HYPERVISOR_TIMING) {
		r[0] = (u32)(v->vm->tsc_hz / 1000);
	}
}

void x86_cpuid(struct vcpu *v, u32 regs[4])
{
	const struct cpuid_model *m = v->vm->model;
	u32 leaf = regs[0], subleaf = regs[2];

	memset(regs, 0, 4 * sizeof(*regs));
	if (leaf >= HYPERVISOR_LEAF && leaf <= HYPERVISOR_LEAF + 0xff &&
	    cpuid_model_bit(m, CPUID_HYPERVISOR)) {
		leaf_hypervisor(v, leaf, regs);
	} else if (leaf >= 0x80000000 && leaf <= m->max_extended) {
		leaf_extended(v, leaf, subleaf, regs);
	} else if (leaf <= m->max_basic) {
		leaf_basic(v, leaf, subleaf, regs);
	} else if (m->vendor == CPUID_INTEL) {
		/* Intel answers a leaf beyond the last with the highest basic leaf (SDM 2A
		 * CPUID). */
		leaf_basic(v, m->max_basic, subleaf, regs);
	}
}

static void dump_leaf(struct vcpu *v, u32 leaf, u32 subleaf, FILE *f)
{
	u32 r[4] = { leaf, 0, subleaf, 0 };

	x86_cpuid(v, r);
	if (r[0] | r[1] | r[2] | r[3])
		fprintf(f, "%08x.%02x  eax %08x  ebx %08x  ecx %08x  edx %08x\n", leaf, subleaf,
			r[0], r[1], r[2], r[3]);
}

void cpuid_dump(struct vcpu *v, void *file)
{
	const struct cpuid_model *m = v->vm->model;
	FILE *f = file;

	fprintf(f, "model %s: %s\n", m->name, m->help);
	for (u32 leaf = 0; leaf <= m->max_basic; leaf++)
		for (u32 sub = 0;
		     sub < (leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd ? 10u : 1u); sub++)
			dump_leaf(v, leaf, sub, f);
	dump_leaf(v, HYPERVISOR_LEAF, 0, f);
	dump_leaf(v, HYPERVISOR_TIMING, 0, f);
	for (u32 leaf = 0x80000000; m->max_extended && leaf <= m->max_extended; leaf++)
		for (u32 sub = 0; sub < (leaf == 0x8000001d ? 4u : 1u); sub++)
			dump_leaf(v, leaf, sub, f);
	fprintf(f, "features:");
#define X(name, word, bit, who)               \
	if (cpuid_model_bit(m, CPUID_##name)) \
		fprintf(f, " %s", #name);
	CPUID_FEATURES(X)
#undef X
	fputc('\n', f);
}
