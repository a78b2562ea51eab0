/* FXSAVE and the XSAVE family: layouts, init optimisation, and the rules for images that are
 * refused. */
#include "x86/exec_test.h"

#include "x86/fpu.h"

#define AREA_AT 0x4000ull
#define HEADER  (AREA_AT + 512)

static void on(struct machine *m, unsigned mode)
{
	machine_mode_fpu(m, mode);
	m->r[RBX] = AREA_AT;
	m->r[RAX] = m->r[RDX] = 0xffffffff;
	memset(mem_host(&m->mem, AREA_AT, 4096), 0, 4096);
}

static void scribble(struct machine *m) { memset(mem_host(&m->mem, AREA_AT, 4096), 0xee, 4096); }

static void fxsave_round_trip(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	fpu_set64(cpu, FX_ST, 0xc000000000000000);
	fpu_set16(cpu, FX_ST + 8, 0x4001);
	cpu->xsave[FX_FTW] = 0x80;
	le_store(cpu->xsave + FX_XMM + 16 * 15, 0x1122334455667788, 8);
	fpu_set32(cpu, FX_MXCSR, 0x1fa0);
	scribble(m);
	assert_int_equal(run(m, "48 0f ae 03"), NO_EXC); /* fxsave64 [rbx] */
	assert_int_equal(peek(m, AREA_AT, 2), 0x37f);
	assert_int_equal(peek(m, AREA_AT + 24, 4), 0x1fa0);
	assert_int_equal(peek(m, AREA_AT + 28, 4), fpu_mxcsr_mask(m->v));
	assert_int_equal(peek(m, AREA_AT + 160 + 240, 8), 0x1122334455667788);
	assert_int_equal(peek(m, AREA_AT + 464, 8), 0xeeeeeeeeeeeeeeee); /* left to software */
	x86_fpu_reset(cpu);
	assert_int_equal(run(m, "48 0f ae 0b"), NO_EXC); /* fxrstor64 */
	assert_int_equal(fpu_get64(cpu, FX_ST), 0xc000000000000000);
	assert_int_equal(cpu->xsave[FX_FTW], 0x80);
	assert_int_equal(le_load(cpu->xsave + FX_XMM + 16 * 15, 8), 0x1122334455667788);
	poke(m, AREA_AT + 24, 0x80000000, 4);
	assert_int_equal(run(m, "48 0f ae 0b"), EXC_GP); /* reserved bit of MXCSR */
	assert_int_equal(fpu_get32(cpu, FX_MXCSR), 0x1fa0);
	m->r[RBX] += 8;
	assert_int_equal(run(m, "0f ae 03"), EXC_GP);
	/* Eight registers outside 64-bit mode. */
	on(m, 32);
	scribble(m);
	assert_int_equal(run(m, "0f ae 03"), NO_EXC);
	assert_int_equal(peek(m, AREA_AT + 160 + 112, 8), 0);
	assert_int_equal(peek(m, AREA_AT + 160 + 128, 8), 0xeeeeeeeeeeeeeeee);
}

static void exceptions_follow_the_control_word(void **state)
{
	struct machine *m = *state;

	on(m, 64);
	poke(m, AREA_AT, 0x37b, 2);
	poke(m, AREA_AT + 2, 0x0004, 2); /* ZE without ES */
	poke(m, AREA_AT + 24, MXCSR_INIT, 4);
	assert_int_equal(run(m, "48 0f ae 0b"), NO_EXC);
	assert_int_equal(fpu_get16(&m->v->cpu, FX_FSW), 0x8084);
	assert_int_equal(run(m, "9b"), EXC_MF);
	poke(m, AREA_AT, 0x37f, 2);
	poke(m, AREA_AT + 2, 0x8084, 2);
	assert_int_equal(run(m, "48 0f ae 0b"), NO_EXC);
	assert_int_equal(fpu_get16(&m->v->cpu, FX_FSW), 0x0004);
}

static void xsave_standard(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	if (!cpuid_bit(&m->vm, CPUID_XSAVEOPT))
		skip();
	/* XSTATE_BV outside RFBM is kept, inside it becomes XINUSE. */
	m->r[RAX] = 1;
	m->r[RDX] = 0;
	poke(m, HEADER, 0x6, 8);
	assert_int_equal(run(m, "0f ae 23"), NO_EXC); /* xsave [rbx] */
	assert_int_equal(peek(m, HEADER, 8), 0x7);
	m->r[RAX] = 3;
	assert_int_equal(run(m, "0f ae 23"), NO_EXC);
	assert_int_equal(peek(m, HEADER, 8), 0x5); /* SSE is in its initial state */
	/* XSAVEOPT leaves out what is not in use, but not MXCSR. */
	scribble(m);
	poke(m, HEADER, 0, 8);
	assert_int_equal(run(m, "0f ae 33"), NO_EXC);
	assert_int_equal(peek(m, AREA_AT, 2), 0x37f);
	assert_int_equal(peek(m, AREA_AT + 24, 4), MXCSR_INIT);
	assert_int_equal(peek(m, AREA_AT + 160, 8), 0xeeeeeeeeeeeeeeee);
	/* XRSTOR of a component whose bit is clear initialises it. */
	on(m, 64);
	le_store(fpu_vector_at(cpu, 3, 0), 77, 8);
	fpu_use(cpu, XC_SSE);
	poke(m, AREA_AT + 24, 0x1f00, 4);
	assert_int_equal(run(m, "0f ae 2b"), NO_EXC); /* xrstor */
	assert_int_equal(le_load(fpu_vector_at(cpu, 3, 0), 8), 0);
	assert_int_equal(fpu_get16(cpu, FX_FCW), 0x37f);
	assert_int_equal(fpu_get32(cpu, FX_MXCSR), 0x1f00); /* 13.8.2: loaded all the same */
	assert_int_equal(x86_xinuse(cpu), 0);
}

static void xsave_compacted(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;
	unsigned last = 2;

	on(m, 64);
	if (!cpuid_bit(&m->vm, CPUID_XSAVEC) || !cpuid_bit(&m->vm, CPUID_AVX))
		skip();
	if (cpuid_bit(&m->vm, CPUID_AVX512F))
		last = 5;
	/* x87 and the last of the components: it lies directly after the header. */
	memset(cpu->xsave + xsave_layout()->offset[last], 0x5a, xsave_layout()->size[last]);
	fpu_use(cpu, BIT(last));
	m->r[RAX] = 1 | BIT(last);
	m->r[RDX] = 0;
	scribble(m);
	assert_int_equal(run(m, "0f c7 23"), NO_EXC); /* xsavec [rbx] */
	assert_int_equal(peek(m, HEADER, 8), 1 | BIT(last));
	assert_int_equal(peek(m, HEADER + 8, 8), BIT(63) | 1 | BIT(last));
	assert_int_equal(peek(m, AREA_AT + 576, 8), 0x5a5a5a5a5a5a5a5a);
	assert_int_equal(peek(m, AREA_AT + 576 + xsave_layout()->size[last], 8),
			 0xeeeeeeeeeeeeeeee);
	for (unsigned k = 16; k < 64; k += 8)
		poke(m, HEADER + k, 0, 8);
	memset(cpu->xsave + xsave_layout()->offset[last], 0, xsave_layout()->size[last]);
	assert_int_equal(run(m, "0f ae 2b"), NO_EXC);
	assert_int_equal(cpu->xsave[xsave_layout()->offset[last] + 3], 0x5a);
	/* MXCSR alone brings SSE into the image. */
	on(m, 64);
	fpu_set32(cpu, FX_MXCSR, 0x1f00);
	m->r[RAX] = 2;
	m->r[RDX] = 0;
	assert_int_equal(run(m, "0f c7 23"), NO_EXC);
	assert_int_equal(peek(m, HEADER, 8), 2);
	assert_int_equal(peek(m, AREA_AT + 24, 4), 0x1f00);
}

static void xrstor_refuses(void **state)
{
	struct machine *m = *state;
	u64 mask;
	static const struct {
		u64 bv, comp, at16, at56;
	} rows[] = {
		{ 0x100, 0, 0, 0 }, /* a component that is not enabled */
		{ 1, 1, 0, 0 },     /* XCOMP_BV without bit 63 */
		{ 1, 0, 1, 0 },
		{ 2, BIT(63) | 1, 0, 0 }, /* not in XCOMP_BV */
		{ 1, BIT(63) | 0x101, 0, 0 },
		{ 1, BIT(63) | 1, 0, 1 },
	};

	on(m, 64);
	if (!cpuid_bit(&m->vm, CPUID_XSAVEC))
		skip();
	mask = cpuid_xcr0_mask(&m->vm);
	assert_int_equal(mask & 0x100, 0);
	for (unsigned k = 0; k < ARRAY_LEN(rows); k++) {
		on(m, 64);
		poke(m, AREA_AT + 24, MXCSR_INIT, 4);
		poke(m, HEADER, rows[k].bv, 8);
		poke(m, HEADER + 8, rows[k].comp, 8);
		poke(m, HEADER + 16, rows[k].at16, 8);
		poke(m, HEADER + 56, rows[k].at56, 8);
		assert_int_equal(run(m, "0f ae 2b"), EXC_GP);
	}
	on(m, 64);
	m->r[RBX] += 32;
	assert_int_equal(run(m, "0f ae 2b"), EXC_GP);
	assert_int_equal(run(m, "0f ae 23"), EXC_GP);
	on(m, 64);
	assert_int_equal(run(m, "0f c7 1b"), EXC_GP); /* xrstors: only the compacted form */
	m->v->cpu.cpl = 3;
	x86_mode_changed(m->v);
	assert_int_equal(run(m, "0f c7 2b"), EXC_GP); /* xsaves at CPL 3 */
}

static void mxcsr(void **state)
{
	struct machine *m = *state;

	on(m, 64);
	poke(m, AREA_AT, 0x1f81, 4);
	assert_int_equal(run(m, "0f ae 13"), NO_EXC); /* ldmxcsr [rbx] */
	poke(m, AREA_AT, 0x10000, 4);
	assert_int_equal(run(m, "0f ae 13"), EXC_GP);
	assert_int_equal(run(m, "0f ae 1b"), NO_EXC); /* stmxcsr */
	assert_int_equal(peek(m, AREA_AT, 4), 0x1f81);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		TEST(fxsave_round_trip), TEST(exceptions_follow_the_control_word),
		TEST(xsave_standard),    TEST(xsave_compacted),
		TEST(xrstor_refuses),    TEST(mxcsr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
