/* CPUID models: never more than the host and Pogo carry, and leaves that agree with each other. */
#include "base/test.h"

#include "x86/cpuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct vcpu *vcpu;
static struct vm vm;

static u64 apic_base;

static void answer_msr(struct vcpu *v, struct exit *e)
{
	(void)v;
	assert_int_equal(e->kind, EXIT_MSR_READ);
	assert_int_equal(e->addr, 0x1b);
	e->value = apic_base;
}

static void use(const char *model, unsigned nvcpus)
{
	memset(&vm, 0, sizeof(vm));
	vm.model = cpuid_model_find(model);
	assert_non_null(vm.model);
	vm.nvcpus = nvcpus;
	vm.tsc_hz = 2500000000;
	vcpu_free(vcpu);
	vcpu = vcpu_new(&vm);
	assert_non_null(vcpu);
	vcpu->exit = answer_msr;
	apic_base = 0xfee00900;
	vcpu->cpu.xcr0 = 1;
}

static const u32 *leaf(u32 eax, u32 ecx)
{
	static u32 r[4];

	r[0] = eax;
	r[1] = r[3] = 0;
	r[2] = ecx;
	x86_cpuid(vcpu, r);
	return r;
}

static void each_model(void (*check)(void))
{
	char *list = strdup(cpuid_model_list()), *next = list, *name;

	assert_non_null(list);
	while ((name = strsep(&next, " ")) != NULL) {
		use(name, 1);
		check();
	}
	free(list);
}

static void host_leaf(u32 eax, u32 ecx, u32 r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(eax), "c"(ecx));
}

/* The host's register that holds a word of features. */
static u32 host_word(enum cpuid_word word)
{
	static const struct {
		u32 leaf, subleaf;
		u8 reg;
	} where[] = {
		[CW_1_EDX] = { 1, 0, 3 },
		[CW_1_ECX] = { 1, 0, 2 },
		[CW_7_EBX] = { 7, 0, 1 },
		[CW_7_ECX] = { 7, 0, 2 },
		[CW_7_EDX] = { 7, 0, 3 },
		[CW_7_1_EAX] = { 7, 1, 0 },
		[CW_D_1_EAX] = { 0xd, 1, 0 },
		[CW_81_EDX] = { 0x80000001, 0, 3 },
		[CW_81_ECX] = { 0x80000001, 0, 2 },
		[CW_88_EBX] = { 0x80000008, 0, 1 },
		[CW_821_EAX] = { 0x80000021, 0, 0 },
	};
	u32 r[4];

	host_leaf(where[word].leaf & 0x80000000, 0, r);
	if (where[word].leaf > r[0])
		return 0;
	host_leaf(where[word].leaf, where[word].subleaf, r);
	return r[where[word].reg];
}

static void check_carried(void)
{
	/* Never offered: MONITOR, VMX, SMX, SGX, HLE, RTM, MPX, PT, PKU, CET, LA57, AMX. */
	const u32 never_1 = 1u << 3 | 1u << 5 | 1u << 6;
	const u32 never_7b = 1u << 2 | 1u << 4 | 1u << 11 | 1u << 14 | 1u << 25;
	const u32 never_7c = 1u << 3 | 1u << 7 | 1u << 16, never_7d = 1u << 20 | 1u << 24;

	/* What runs on the host's units must be there; Intel does not show MMXEXT. */
#define CHECK_N(name, word, bit)                                          \
	if (CPUID_##name != CPUID_MMXEXT && cpuid_bit(&vm, CPUID_##name)) \
		assert_true(host_word(word) >> (bit)&1);
#define CHECK_E(name, word, bit)
#define X(name, word, bit, who) CHECK_##who(name, word, bit)
	CPUID_FEATURES(X)
#undef X
#undef CHECK_E
#undef CHECK_N
	assert_int_equal(leaf(1, 0)[2] & never_1, 0);
	if (leaf(0, 0)[0] < 7)
		return;
	assert_int_equal(leaf(7, 0)[1] & never_7b, 0);
	assert_int_equal(leaf(7, 0)[2] & never_7c, 0);
	assert_int_equal(leaf(7, 0)[3] & never_7d, 0);
}

static void nothing_that_is_not_carried(void **state) { each_model(check_carried); }

static void check_xsave(void)
{
	u64 mask = cpuid_xcr0_mask(&vm);
	u32 max;

	if (!(leaf(1, 0)[2] & 1u << 26)) {
		assert_int_equal(mask, 0);
		return;
	}
	assert_int_equal(leaf(0xd, 0)[0], mask);
	assert_int_equal(leaf(0xd, 0)[1], 576);
	max = leaf(0xd, 0)[2];
	assert_int_equal(max, cpuid_xsave_size(&vm, mask));
	assert_true(max <= X86_XSAVE_SIZE);
	for (u32 c = 2; c < 63; c++) {
		u32 size = leaf(0xd, c)[0], offset = leaf(0xd, c)[1];

		if (!(mask >> c & 1)) {
			assert_int_equal(size, 0);
			continue;
		}
		assert_true(size > 0 && offset >= 576 && offset + size <= max);
	}
	/* AVX and AVX-512 are offered only with their state. */
	assert_int_equal(leaf(1, 0)[2] >> 28 & 1, mask >> 2 & 1);
	if (leaf(7, 0)[1] & 1u << 16)
		assert_int_equal(mask & 0xe7, 0xe7);
	vcpu->cpu.xcr0 = mask;
	assert_int_equal(leaf(0xd, 0)[1], max);
}

static void xsave_leaves_agree(void **state) { each_model(check_xsave); }

static void follows_control_registers(void **state)
{
	use("max", 1);
	assert_int_equal(leaf(1, 0)[2] & 1u << 27, 0);
	vcpu->cpu.cr4 = CR4_OSXSAVE;
	assert_int_equal(leaf(1, 0)[2] & 1u << 27, 1u << 27);
}

static void topology(void **state)
{
	use("max", 3);
	vcpu->apic_id = 2;
	assert_int_equal(leaf(1, 0)[1] >> 24, 2);
	assert_int_equal(leaf(1, 0)[1] >> 16 & 0xff, 3);
	assert_int_equal(leaf(1, 0)[3] & 1u << 28, 1u << 28);
	assert_int_equal(leaf(0xb, 0)[1], 1);
	assert_int_equal(leaf(0xb, 1)[0], 2); /* two bits for three cores */
	assert_int_equal(leaf(0xb, 1)[1], 3);
	assert_int_equal(leaf(0xb, 1)[3], 2);
	assert_int_equal(leaf(0xb, 2)[1], 0);
	use("max", 1);
	assert_int_equal(leaf(1, 0)[3] & 1u << 28, 0);
}

static void levels(void **state)
{
	use("skylake", 1);
	assert_memory_equal(&leaf(0, 0)[1], "Genu", 4);
	/* Intel: a leaf beyond the last is the last basic one. */
	assert_int_equal(leaf(0x16, 0)[0], 2500);
	assert_int_equal(leaf(0x1000, 0)[0], 2500);
	assert_false(cpuid_bit(&vm, CPUID_SSE4A));
	use("epyc", 1);
	assert_memory_equal(&leaf(0, 0)[1], "Auth", 4);
	assert_int_equal(leaf(1, 0)[0], 0x00800f12); /* family 17h, model 1, stepping 2 */
	assert_int_equal(leaf(0x1000, 0)[0], 0);
	assert_int_equal(leaf(0x80000001, 0)[3] & 1u << 4, 1u << 4); /* TSC repeated */
	use("pentium3", 1);
	assert_int_equal(leaf(0x80000000, 0)[0], leaf(2, 0)[0]); /* no extended leaves */
	assert_false(cpuid_has(&vm, FEAT_LM));
	assert_true(cpuid_has(&vm, FEAT_SSE));
	assert_int_equal(cpuid_phys_bits(&vm), 36);
	use("i686", 1);
	assert_false(cpuid_has(&vm, FEAT_SSE));
	assert_true(cpuid_has(&vm, FEAT_PAE));
	use("max", 1);
	assert_memory_equal(&leaf(0x40000000, 0)[1], "PogoPogoPogo", 12);
	assert_int_equal(leaf(0x80000008, 0)[0] & 0xffff, 0x3028);
	assert_null(cpuid_model_find("no such"));
}

static int teardown(void **state)
{
	vcpu_free(vcpu);
	return 0;
}

static void apic_hidden_while_disabled(void **state)
{
	(void)state;
	use("max", 1);
	assert_true(leaf(1, 0)[3] & BIT(9));
	apic_base = 0xfee00100;
	assert_false(leaf(1, 0)[3] & BIT(9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_that_is_not_carried),
		cmocka_unit_test(xsave_leaves_agree),
		cmocka_unit_test(follows_control_registers),
		cmocka_unit_test(topology),
		cmocka_unit_test(levels),
		cmocka_unit_test(apic_hidden_while_disabled),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
