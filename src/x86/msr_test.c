/* MSRs: which exist on which model, reserved bits, canonical addresses, and the time stamp
 * counter. */
#include "x86/exec_test.h"

#define MSR_EFER 0xc0000080u

static struct machine *with_model(void **state, const char *name)
{
	struct machine *m = *state;

	machine_mode(m, 64);
	m->vm.model = cpuid_model_find(name);
	assert_non_null(m->vm.model);
	return m;
}

static void accepts(struct machine *m, u32 msr, u64 value)
{
	u64 back = ~value;

	assert_true(x86_msr_write(m->v, msr, value));
	assert_true(x86_msr_read(m->v, msr, &back));
	assert_int_equal(back, value);
}

static void refuses(struct machine *m, u32 msr, u64 value)
{
	u64 before, after;

	assert_true(x86_msr_read(m->v, msr, &before));
	assert_false(x86_msr_write(m->v, msr, value));
	assert_true(x86_msr_read(m->v, msr, &after));
	assert_int_equal(before, after);
}

static void absent(struct machine *m, u32 msr)
{
	u64 value;

	m->exits = 0;
	assert_false(x86_msr_read(m->v, msr, &value));
	assert_false(x86_msr_write(m->v, msr, 0));
	assert_int_equal(m->exits, 0);
}

static void canonical_addresses(void **state)
{
	static const u32 msrs[] = { 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101,
				    0xc0000102, 0x175,      0x176 };
	struct machine *m = with_model(state, "skylake");

	for (unsigned n = 0; n < ARRAY_LEN(msrs); n++) {
		accepts(m, msrs[n], 0xffff800000000000);
		refuses(m, msrs[n], 0x0000800000000000);
		accepts(m, msrs[n], 0x00007fffffffffff);
	}
	accepts(m, 0xc0000103, 0xffffffff);
	refuses(m, 0xc0000103, BIT(32));
}

static void efer(void **state)
{
	struct machine *m = with_model(state, "skylake");

	m->v->cpu.cr0 |= CR0_PG;
	refuses(m, MSR_EFER, EFER_LMA);           /* LME with paging on */
	refuses(m, MSR_EFER, EFER_LME | BIT(12)); /* SVME */
	/* LMA cannot be written. */
	assert_true(x86_msr_write(m->v, MSR_EFER, EFER_LME | EFER_SCE | EFER_NXE));
	assert_int_equal(m->v->cpu.efer, EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
	with_model(state, "pentium3");
	absent(m, MSR_EFER);
	absent(m, 0xc0000082);
}

static void memory_types(void **state)
{
	struct machine *m = with_model(state, "skylake");

	accepts(m, 0x277, 0x0706050401000706);
	refuses(m, 0x277, 0x0000000000000002);
	refuses(m, 0x277, 0x0300000000000000);
	refuses(m, 0x277, 0x0000000000000800);
	accepts(m, 0x250, 0x0606060606060606);
	refuses(m, 0x250, 0x0706060606060606); /* UC- is PAT's alone */
	accepts(m, 0x26f, 0x0505050505050505);
	accepts(m, 0x2ff, 0xc06);
	refuses(m, 0x2ff, 0x1006);
	refuses(m, 0x2ff, 0xc02);
	accepts(m, 0x200, 0x80000006);
	refuses(m, 0x200, 0x80000106);
	accepts(m, 0x20f, 0xff80000800);
	refuses(m, 0x20f, 0xff80000400);
	refuses(m, 0x201, BIT(40) | 0x800); /* beyond MAXPHYADDR */
	refuses(m, 0xfe, 0);
	assert_int_equal(m->v->cpu.mtrr_fix[10], 0x0505050505050505);
	assert_int_equal(m->v->cpu.mtrr_phys[15], 0xff80000800);
}

static void vendors(void **state)
{
	struct machine *m = with_model(state, "skylake");
	u64 value;

	absent(m, 0xc0010015);
	assert_true(x86_msr_read(m->v, 0x8b, &value));
	assert_true(value >> 32);
	refuses(m, 0x1a0, m->v->cpu.misc_enable ^ BIT(11)); /* BTS unavailable is read-only */
	with_model(state, "epyc");
	absent(m, 0x1a0);
	absent(m, 0x17);
	assert_true(x86_msr_read(m->v, 0xc0010015, &value));
	assert_true(value & BIT(24));
	assert_true(x86_msr_read(m->v, 0xc0011029, &value));
	assert_true(value & BIT(1));
}

/* What is unknown here is the machine's business, with its verdict. */
static void unknown(void **state)
{
	struct machine *m = with_model(state, "skylake");
	u64 value;

	m->exits = 0;
	assert_true(x86_msr_read(m->v, 0x1b, &value));
	assert_int_equal(m->last.kind, EXIT_MSR_READ);
	assert_int_equal(m->last.addr, 0x1b);
	assert_true(x86_msr_write(m->v, 0x830, 0x12345));
	assert_int_equal(m->last.kind, EXIT_MSR_WRITE);
	assert_int_equal(m->last.value, 0x12345);
	assert_int_equal(m->exits, 2);
}

static u64 instructions(void *opaque) { return *(u64 *)opaque; }

static void time_stamp(void **state)
{
	struct machine *m = with_model(state, "skylake");
	struct clock clock;
	u64 ns = 0, value;

	clock_init(&clock, CLOCK_KIND_INSNS);
	clock.count = instructions;
	clock.opaque = &ns;
	m->vm.clock = &clock;
	m->vm.tsc_hz = 3000000000;
	ns = 1000000000ull * 86400 * 365; /* a year: 64 bits of ns * hz would not do */
	assert_int_equal(x86_rdtsc(m->v), 3000000000ull * 86400 * 365);
	accepts(m, 0x10, 5000);
	ns += 10;
	assert_int_equal(x86_rdtsc(m->v), 5030);
	assert_true(x86_msr_read(m->v, 0x3b, &value));
	assert_int_equal(value, 5000 - 3000000000ull * 86400 * 365);
	accepts(m, 0x3b, (u64)-30);
	assert_int_equal(x86_rdtsc(m->v), 3000000000ull * 86400 * 365);
	assert_int_equal(run(m, "0f 31"), NO_EXC);
	assert_int_equal(m->r[RAX] | m->r[RDX] << 32, 3000000000ull * 86400 * 365);
	m->v->cpu.cr4 |= CR4_TSD;
	m->v->cpu.cpl = 3;
	assert_int_equal(run(m, "0f 31"), EXC_GP);
	m->vm.clock = NULL;
	clock_fini(&clock);
}

static void xcr0(void **state)
{
	struct machine *m = with_model(state, "max");
	u64 all = cpuid_xcr0_mask(&m->vm);

	if (!(all & 4))
		skip();
	m->r[RCX] = m->r[RDX] = 0;
	assert_int_equal(run(m, "0f 01 d1"), EXC_UD); /* CR4.OSXSAVE */
	m->v->cpu.cr4 |= CR4_OSXSAVE;
	m->r[RAX] = all;
	assert_int_equal(run(m, "0f 01 d1"), NO_EXC);
	assert_int_equal(m->v->cpu.xcr0, all);
	static const u32 bad[] = { 0, 2, 5, 0x100001, 0x23, 0xe3 };

	for (unsigned n = 0; n < ARRAY_LEN(bad); n++) {
		m->r[RAX] = bad[n];
		assert_int_equal(run(m, "0f 01 d1"), EXC_GP);
	}
	assert_int_equal(m->v->cpu.xcr0, all);
	m->r[RAX] = 7;
	m->r[RCX] = 1;
	assert_int_equal(run(m, "0f 01 d1"), EXC_GP);
	m->r[RCX] = 0;
	m->v->cpu.cpl = 3;
	assert_int_equal(run(m, "0f 01 d1"), EXC_GP);
	assert_int_equal(run(m, "0f 01 d0"), NO_EXC); /* xgetbv */
	assert_int_equal(m->r[RAX], all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(canonical_addresses),
		cmocka_unit_test(efer),
		cmocka_unit_test(memory_types),
		cmocka_unit_test(vendors),
		cmocka_unit_test(unknown),
		cmocka_unit_test(time_stamp),
		cmocka_unit_test(xcr0),
	};

	return cmocka_run_group_tests(tests, machine_setup, machine_teardown);
}
