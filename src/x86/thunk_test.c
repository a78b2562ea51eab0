/* Thunks and the instructions around them: results against the host's own, gates, faults of the
 * host, masked memory, state. */
#include "x86/exec_test.h"

#include "x86/fpu.h"
#include "x86/hostsig.h"
#include "x86/thunk.h"

#define DATA_AT 0x4000ull

static void on(struct machine *m, unsigned mode)
{
	/* cmocka takes the signals for each test; a new cache takes them back. */
	thunk_cache_free(m->vm.thunks);
	m->vm.thunks = thunk_cache_new();
	assert_non_null(m->vm.thunks);
	machine_mode_fpu(m, mode);
	m->r[RAX] = DATA_AT;
}

static int setup(void **state)
{
	if (machine_setup(state) != 0)
		return -1;
	return hostsig_init_thread();
}

static int teardown(void **state)
{
	struct machine *m = *state;

	thunk_cache_free(m->vm.thunks);
	hostsig_fini_thread();
	return machine_teardown(state);
}

static void set_xmm(struct machine *m, unsigned n, u64 low, u64 high)
{
	le_store(fpu_vector_at(&m->v->cpu, n, 0), low, 8);
	le_store(fpu_vector_at(&m->v->cpu, n, 8), high, 8);
}

static u64 lane(struct machine *m, unsigned n, unsigned q)
{
	return le_load(fpu_vector_at(&m->v->cpu, n, 8 * q), 8);
}

static void fill(struct machine *m, unsigned n, u8 byte)
{
	for (unsigned k = 0; k < (xsave_layout()->avx512 ? 64u
				  : xsave_layout()->avx  ? 32u
							 : 16u);
	     k++)
		*fpu_vector_at(&m->v->cpu, n, k) = byte;
}

/* The host as it must be outside a thunk. */
static void assert_host_clean(void)
{
	struct {
		u32 w[7];
	} env;
	u32 mxcsr;
	u64 flags = __builtin_ia32_readeflags_u64();

	__asm__ volatile("fnstenv %0\n\tfldenv %0" : "+m"(env));
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	assert_int_equal(mxcsr & ~0x3fu, MXCSR_INIT);
	assert_int_equal(env.w[0] & 0xffff, 0x37f);
	assert_int_equal(env.w[2] & 0xffff, 0xffff);
	assert_int_equal(flags & (FL_AC | FL_DF), 0);
}

static bool has(struct machine *m, unsigned id) { return cpuid_bit(&m->vm, id); }

/* --- Results --- */

static void registers_and_memory(void **state)
{
	struct machine *m = *state;

	on(m, 64);
	set_xmm(m, 1, 0x3ff0000000000000, 7);
	set_xmm(m, 9, 0x4000000000000000, 9);
	assert_int_equal(run(m, "f2 44 0f 58 c9"), NO_EXC); /* addsd xmm9, xmm1 */
	assert_int_equal(lane(m, 9, 0), 0x4008000000000000);
	assert_int_equal(lane(m, 9, 1), 9);
	poke(m, DATA_AT + 8, 0xbff0000000000000, 8);
	assert_int_equal(run(m, "f2 44 0f 58 48 08"), NO_EXC); /* addsd xmm9, [rax+8] */
	assert_int_equal(lane(m, 9, 0), 0x4000000000000000);
	/* A general register that is the thunk's own, RSP, and a 16-bit destination. */
	m->r[RDI] = 0x1234567890abcdef;
	assert_int_equal(run(m, "66 f3 0f b8 e7"), NO_EXC); /* popcnt sp, di */
	assert_int_equal(m->r[RSP], (STACK_AT & ~0xffffull) | 12);
	m->r[RCX] = 0x8040;
	m->r[RBX] = 0;
	assert_int_equal(run(m, "f2 0f 38 f0 dd"), NO_EXC); /* crc32 ebx, ch */
	u32 expect = 0;
	__asm__("crc32b %1, %0" : "+r"(expect) : "q"((u8)0x80));
	assert_int_equal(m->r[RBX], expect);
	/* Flags: CMP-like result of COMISD, carry chain of ADCX. */
	x86_set_rflags(&m->v->cpu, FL_OF);
	assert_int_equal(run(m, "66 41 0f 2f c9"), NO_EXC); /* comisd xmm1, xmm9: 1 < 2 */
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_CF);
	x86_set_rflags(&m->v->cpu, FL_CF | FL_OF | FL_ZF);
	m->r[RSI] = ~0ull;
	m->r[RDX] = 0;
	if (has(m, CPUID_ADX)) {
		assert_int_equal(run(m, "66 48 0f 38 f6 f2"), NO_EXC); /* adcx rsi, rdx */
		assert_int_equal(m->r[RSI], 0);
		assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_CF | FL_OF | FL_ZF);
	}
	assert_host_clean();
}

static void vex_clears_upper(void **state)
{
	struct machine *m = *state;

	on(m, 64);
	if (!has(m, CPUID_AVX2))
		skip();
	fill(m, 2, 0xaa);
	fill(m, 1, 0x11);
	fill(m, 3, 0x22);
	assert_int_equal(run(m, "c5 f1 fc d3"), NO_EXC); /* vpaddb xmm2, xmm1, xmm3 */
	assert_int_equal(lane(m, 2, 1), 0x3333333333333333);
	assert_int_equal(lane(m, 2, 2), 0);
	fill(m, 2, 0xaa);
	assert_int_equal(run(m, "c5 f5 fc d3"), NO_EXC); /* vpaddb ymm2, ymm1, ymm3 */
	assert_int_equal(lane(m, 2, 3), 0x3333333333333333);
	if (xsave_layout()->avx512)
		assert_int_equal(lane(m, 2, 4), 0);
	fill(m, 2, 0xaa);
	assert_int_equal(run(m, "66 0f fc d1"), NO_EXC); /* paddb xmm2, xmm1 leaves it */
	assert_int_equal(lane(m, 2, 2), 0xaaaaaaaaaaaaaaaa);
	assert_int_equal(run(m, "c5 fc 77"), NO_EXC); /* vzeroall */
	assert_int_equal(lane(m, 3, 0) | lane(m, 3, 3), 0);
}

static void other_modes(void **state)
{
	struct machine *m = *state;

	on(m, 16);
	m->r[RAX] = 0;
	m->r[RCX] = 0xfff0f;
	assert_int_equal(run(m, "66 f3 0f b8 c1"), NO_EXC); /* popcnt eax, ecx: 66 widens */
	assert_int_equal(m->r[RAX], 16);
	assert_int_equal(run(m, "f3 0f b8 c1"), NO_EXC); /* popcnt ax, cx */
	assert_int_equal(m->r[RAX], 12);
	m->r[RBX] = DATA_AT;
	poke(m, DATA_AT, 0x4000000000000000, 8);
	assert_int_equal(run(m, "dd 07"), NO_EXC); /* fld qword [bx] */
	assert_int_equal(fpu_get64(&m->v->cpu, FX_ST), 0x8000000000000000);
	assert_int_equal(fpu_get16(&m->v->cpu, FX_ST + 8), 0x4000);
	if (has(m, CPUID_BMI1))
		assert_int_equal(run(m, "c4 e2 78 f2 c1"), EXC_UD); /* andn: no VEX in real mode */
	on(m, 32);
	m->r[RAX] = 0xf0;
	m->r[RCX] = 0xffffffff;
	if (has(m, CPUID_BMI1)) {
		/* andn eax, eax, ecx: W is ignored here, and so is bit 3 of vvvv */
		assert_int_equal(run(m, "c4 e2 f8 f2 c1"), NO_EXC);
		assert_int_equal(m->r[RAX], 0xffffff0f);
	}
	m->r[RAX] = DATA_AT;
	set_xmm(m, 1, 1, 2);
	assert_int_equal(run(m, "0f 11 08"), NO_EXC); /* movups [eax], xmm1 */
	assert_int_equal(peek(m, DATA_AT + 8, 8), 2);
	assert_host_clean();
}

/* --- What comes before execution --- */

static void gates(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;
	static const struct {
		const char *hex;
		u64 cr0, cr4_off;
		int vector;
	} rows[] = {
		{ "d9 e8", CR0_TS, 0, EXC_NM }, /* fld1 */
		{ "d9 e8", CR0_EM, 0, EXC_NM },
		{ "9b", CR0_TS, 0, EXC_NM }, /* fwait: MP is set */
		{ "9b", CR0_EM, 0, NO_EXC },
		{ "0f fc c1", CR0_TS, 0, EXC_NM }, /* paddb mm0, mm1 */
		{ "0f fc c1", CR0_EM, 0, EXC_UD },
		{ "0f fc c1", 0, CR4_OSFXSR, NO_EXC },
		{ "66 0f fc c1", CR0_TS, 0, EXC_NM }, /* paddb xmm0, xmm1 */
		{ "66 0f fc c1", CR0_EM | CR0_TS, 0, EXC_UD },
		{ "66 0f fc c1", CR0_TS, CR4_OSFXSR, EXC_UD },
		{ "66 0f 6f c1", 0, CR4_OSFXSR, EXC_UD }, /* movdqa */
		{ "c5 f1 fc c1", CR0_TS, 0, EXC_NM },     /* vpaddb */
		{ "c5 f1 fc c1", CR0_EM, CR4_OSFXSR, NO_EXC },
		{ "c5 f1 fc c1", CR0_TS, CR4_OSXSAVE, EXC_UD },
		{ "f3 0f b8 c1", CR0_TS | CR0_EM, CR4_OSFXSR, NO_EXC }, /* popcnt */
		{ "0f ae 00", CR0_TS, 0, EXC_NM },                      /* fxsave */
		{ "0f ae 00", CR0_EM | CR0_TS, 0, EXC_UD },
		{ "0f ae 20", CR0_TS, 0, EXC_NM }, /* xsave */
		{ "0f ae 20", CR0_TS, CR4_OSXSAVE, EXC_UD },
	};

	for (unsigned k = 0; k < ARRAY_LEN(rows); k++) {
		on(m, 64);
		if (strncmp(rows[k].hex, "c5", 2) == 0 && !has(m, CPUID_AVX))
			continue;
		cpu->cr0 |= rows[k].cr0;
		cpu->cr4 &= ~rows[k].cr4_off;
		assert_int_equal(run(m, rows[k].hex), rows[k].vector);
	}
	on(m, 64);
	if (has(m, CPUID_AVX)) {
		cpu->xcr0 = 3;
		assert_int_equal(run(m, "c5 f1 fc c1"), EXC_UD);
	}
	on(m, 64);
	cpu->cr0 = (cpu->cr0 & ~CR0_MP) | CR0_TS;
	assert_int_equal(run(m, "9b"), NO_EXC);
}

static void models(void **state)
{
	struct machine *m = *state;

	m->vm.model = cpuid_model_find("x86-64-v1");
	on(m, 64);
	assert_int_equal(run(m, "66 0f fc c1"), NO_EXC);    /* SSE2 */
	assert_int_equal(run(m, "66 0f 38 00 c1"), EXC_UD); /* pshufb: SSSE3 */
	assert_int_equal(run(m, "f3 0f b8 c1"), EXC_UD);    /* popcnt */
	assert_int_equal(run(m, "c5 f1 fc c1"), EXC_UD);
	/* LZCNT is BSR, and leaves its destination where the source is 0. */
	m->r[RCX] = 0x00ff0000;
	assert_int_equal(run(m, "f3 0f bd d1"), NO_EXC);
	assert_int_equal(m->r[RDX], 23);
	m->r[RCX] = 0;
	assert_int_equal(run(m, "f3 0f bd d1"), NO_EXC);
	assert_int_equal(m->r[RDX], 23);
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_ZF, FL_ZF);
	m->vm.model = cpuid_model_find("i686");
	on(m, 32);
	assert_int_equal(run(m, "0f fc c1"), NO_EXC); /* MMX */
	assert_int_equal(run(m, "0f 58 c1"), EXC_UD); /* addps */
	assert_int_equal(run(m, "0f 28 c1"), EXC_UD); /* movaps */
}

/* --- Faults of the host --- */

static void host_faults(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	set_xmm(m, 0, 0x3ff0000000000000, 0);
	set_xmm(m, 1, 0, 0);
	fpu_set32(cpu, FX_MXCSR, MXCSR_INIT & ~BIT(9));  /* divide by zero unmasked */
	assert_int_equal(run(m, "f2 0f 5e c1"), EXC_XM); /* divsd xmm0, xmm1 */
	assert_int_equal(fpu_get32(cpu, FX_MXCSR), (MXCSR_INIT & ~BIT(9)) | 4);
	assert_int_equal(lane(m, 0, 0), 0x3ff0000000000000);
	assert_host_clean();
	cpu->cr4 &= ~CR4_OSXMMEXCPT;
	assert_int_equal(run(m, "f2 0f 5e c1"), EXC_UD);
	on(m, 64);
	m->r[RAX] = DATA_AT + 8;
	assert_int_equal(run(m, "0f 58 00"), EXC_GP);    /* addps xmm0, [misaligned] */
	assert_int_equal(run(m, "0f 28 00"), EXC_GP);    /* movaps */
	assert_int_equal(run(m, "66 0f 2d 00"), EXC_GP); /* cvtpd2pi */
	assert_int_equal(run(m, "0f 10 00"), NO_EXC);    /* movups */
	if (has(m, CPUID_AVX)) {
		assert_int_equal(run(m, "c5 f8 58 00"), NO_EXC); /* vaddps */
		assert_int_equal(run(m, "c5 f8 28 00"), EXC_GP); /* vmovaps */
	}
	/* Alignment checks: at CPL 3 with AC and AM. */
	on(m, 64);
	cpu->cpl = 3;
	cpu->cr0 |= CR0_AM;
	cpu->rflags |= FL_AC;
	x86_mode_changed(m->v);
	m->r[RAX] = DATA_AT + 4;
	assert_int_equal(run(m, "f2 0f 58 00"), EXC_AC); /* addsd xmm0, [misaligned] */
	assert_int_equal(run(m, "f2 0f 58 40 04"), NO_EXC);
	assert_int_equal(run(m, "dd 00"), EXC_AC); /* fld qword */
	assert_host_clean();
}

/* --- x87 and MMX --- */

static void x87_pointers(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	cpu->seg[CS].sel = 0x10;
	cpu->seg[DS].sel = 0x18;
	poke(m, DATA_AT, 0x3ff0000000000000, 8);
	assert_int_equal(run(m, "dd 00"), NO_EXC); /* fld qword [rax] */
	assert_int_equal(fpu_get64(cpu, FX_FIP), CODE_AT);
	assert_int_equal(fpu_get64(cpu, FX_FDP), DATA_AT);
	assert_int_equal(fpu_get16(cpu, FX_FOP), 0x500);
	cpu->rip = CODE_AT + 0x100;
	assert_int_equal(run_hex(m, "d9 e8"), NO_EXC); /* fld1: FDP stays */
	assert_int_equal(fpu_get64(cpu, FX_FIP), CODE_AT + 0x100);
	assert_int_equal(fpu_get64(cpu, FX_FDP), DATA_AT);
	assert_int_equal(run(m, "d9 38"), NO_EXC); /* fnstcw leaves all */
	assert_int_equal(fpu_get64(cpu, FX_FIP), CODE_AT + 0x100);
	m->r[RAX] = DATA_AT + 64;
	assert_int_equal(run(m, "d9 30"), NO_EXC); /* fnstenv */
	assert_int_equal(peek(m, DATA_AT + 64, 4), 0xffff037f);
	assert_int_equal(peek(m, DATA_AT + 64 + 8, 4), 0xffff0fff); /* 6 and 7 valid */
	assert_int_equal(peek(m, DATA_AT + 64 + 12, 4), CODE_AT + 0x100);
	assert_int_equal(peek(m, DATA_AT + 64 + 18, 2), 0x1e8);
	assert_int_equal(peek(m, DATA_AT + 64 + 20, 4), DATA_AT);
	if (!has(m, CPUID_NO_FCS_FDS)) {
		assert_int_equal(peek(m, DATA_AT + 64 + 16, 2), 0x10);
		assert_int_equal(peek(m, DATA_AT + 64 + 24, 4), 0xffff0018);
	}
}

/* The 16-bit real layout: FIP and FDP are linear addresses in 20 bits (SDM 1 figure 8-12). */
static void environment_real(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 16);
	fpu_set64(cpu, FX_FIP, 0x1234);
	fpu_set16(cpu, FX_FCS, 0xf000);
	fpu_set16(cpu, FX_FOP, 0x567);
	fpu_set64(cpu, FX_FDP, 0x10);
	fpu_set16(cpu, FX_FDS, 0xa000);
	m->r[RBX] = DATA_AT;
	if (has(m, CPUID_NO_FCS_FDS))
		skip();
	assert_int_equal(run(m, "d9 37"), NO_EXC); /* fnstenv [bx] */
	assert_int_equal(peek(m, DATA_AT + 6, 2), 0x1234);
	assert_int_equal(peek(m, DATA_AT + 8, 2), 0xf567);
	assert_int_equal(peek(m, DATA_AT + 10, 2), 0x0010);
	assert_int_equal(peek(m, DATA_AT + 12, 2), 0xa000);
	assert_int_equal(run(m, "d9 27"), NO_EXC); /* fldenv */
	assert_int_equal(fpu_get64(cpu, FX_FIP), 0xf1234);
	assert_int_equal(fpu_get64(cpu, FX_FDP), 0xa0010);
	assert_int_equal(fpu_get16(cpu, FX_FOP), 0x567);
	assert_int_equal(run(m, "dd 37"), NO_EXC); /* fnsave: 94 bytes, then FNINIT */
	assert_int_equal(fpu_get16(cpu, FX_FCW), 0x37f);
	assert_int_equal(fpu_get64(cpu, FX_FIP), 0);
}

static void pending_exception(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	poke(m, DATA_AT, 0x37b, 2);                /* divide by zero unmasked */
	assert_int_equal(run(m, "d9 28"), NO_EXC); /* fldcw */
	assert_int_equal(run(m, "d9 e8"), NO_EXC); /* fld1 */
	assert_int_equal(run(m, "d9 ee"), NO_EXC); /* fldz */
	assert_int_equal(run(m, "de f9"), NO_EXC); /* fdivp: pending from here on */
	assert_host_clean();
	assert_int_equal(fpu_get16(cpu, FX_FSW) & (FSW_ES | FSW_B), FSW_ES | FSW_B);
	assert_int_equal(run(m, "d9 e8"), EXC_MF);
	assert_int_equal(run(m, "9b"), EXC_MF);
	assert_int_equal(run(m, "0f fc c1"), EXC_MF);
	assert_int_equal(run(m, "0f 77"), EXC_MF);
	assert_int_equal(run(m, "66 0f fc c1"), NO_EXC); /* SSE does not care */
	assert_int_equal(run(m, "df e0"), NO_EXC);       /* fnstsw ax */
	assert_int_equal(m->r[RAX] & 4, 4);
	assert_int_equal(run(m, "db e2"), NO_EXC); /* fnclex */
	assert_int_equal(run(m, "9b"), NO_EXC);
	/* A store that raises an unmasked exception writes nothing. */
	on(m, 64);
	fpu_set16(cpu, FX_FCW, 0x37e); /* invalid unmasked; the stack is empty */
	poke(m, DATA_AT, 0x1122334455667788, 8);
	assert_int_equal(run(m, "dd 18"), NO_EXC); /* fstp qword [rax] */
	assert_int_equal(peek(m, DATA_AT, 8), 0x1122334455667788);
	assert_int_equal(fpu_get16(cpu, FX_FSW) & FSW_ES, FSW_ES);
}

static void mmx_state(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	run(m, "d9 e8"); /* fld1 is in physical register 7, TOP 7 */
	assert_int_equal(fpu_top(cpu), 7);
	m->r[RCX] = 0x0102030405060708;
	assert_int_equal(run(m, "48 0f 6e d9"), NO_EXC); /* movq mm3, rcx */
	assert_int_equal(fpu_top(cpu), 0);
	assert_int_equal(cpu->xsave[FX_FTW], 0xff);
	assert_int_equal(fpu_get64(cpu, FX_ST + 16 * 3), 0x0102030405060708);
	assert_int_equal(fpu_get16(cpu, FX_ST + 16 * 3 + 8), 0xffff);
	/* The old ST(0) is where register 7 is now. */
	assert_int_equal(fpu_get64(cpu, FX_ST + 16 * 7), 0x8000000000000000);
	assert_int_equal(run(m, "0f fc db"), NO_EXC); /* paddb mm3, mm3 */
	assert_int_equal(fpu_get64(cpu, FX_ST + 16 * 3), 0x020406080a0c0e10);
	assert_int_equal(run(m, "0f 77"), NO_EXC); /* emms */
	assert_int_equal(cpu->xsave[FX_FTW], 0);
	assert_host_clean();
}

/* --- Memory that is there in part --- */

/* Paging that maps one page, so that the next one faults. */
static void one_page(struct machine *m)
{
	struct x86_cpu *cpu = &m->v->cpu;

	poke(m, 0x10000, 0x11007, 8);
	poke(m, 0x11000, 0x12007, 8);
	poke(m, 0x12000, 0x13007, 8);
	for (unsigned n = 0; n < 512; n++)
		poke(m, 0x13000 + 8 * n, 0, 8);
	poke(m, 0x13000 + 8 * (DATA_AT >> 12), DATA_AT | 0x67, 8);
	cpu->cr3 = 0x10000;
	cpu->cr4 |= CR4_PAE;
	cpu->cr0 |= CR0_PG;
	x86_tlb_flush(m->v, false);
	x86_mode_changed(m->v);
}

static void mask_suppresses_faults(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	if (!has(m, CPUID_AVX512F))
		skip();
	for (unsigned k = 0; k < 4; k++)
		poke(m, DATA_AT + 0xff0 + 4 * k, 0x100 + k, 4);
	one_page(m);
	m->r[RAX] = DATA_AT + 0xff0; /* four dwords on the page */
	fill(m, 1, 0);
	fpu_set_mask(cpu, 1, 0xf);
	assert_int_equal(run(m, "62 f1 75 c9 fe 00"), NO_EXC); /* vpaddd zmm0{k1}{z}, zmm1, [rax] */
	assert_int_equal(lane(m, 0, 1), 0x0000010300000102);
	assert_int_equal(lane(m, 0, 2), 0);
	fpu_set_mask(cpu, 1, 0x1f);
	assert_int_equal(run(m, "62 f1 75 c9 fe 00"), EXC_PF);
	assert_int_equal(cpu->cr2, DATA_AT + 0x1000);
	fill(m, 2, 0x77);
	fpu_set_mask(cpu, 1, 1);
	assert_int_equal(run(m, "62 f1 7d 49 7f 10"),
			 EXC_GP); /* vmovdqa32: the operand's alignment, not the element's */
	/* A store writes nothing if one of its elements faults. */
	fpu_set_mask(cpu, 1, 0x18);
	assert_int_equal(run(m, "62 f1 7e 49 7f 10"), EXC_PF); /* vmovdqu32 [rax]{k1}, zmm2 */
	assert_int_equal(peek(m, DATA_AT + 0xffc, 4), 0x103);
	fpu_set_mask(cpu, 1, 0x8);
	assert_int_equal(run(m, "62 f1 7e 49 7f 10"), NO_EXC);
	assert_int_equal(peek(m, DATA_AT + 0xffc, 4), 0x77777777);
	assert_int_equal(peek(m, DATA_AT + 0xff8, 4), 0x102);
	/* Compressed: as many elements as bits, wherever these are. */
	fpu_set_mask(cpu, 1, 0xf000);
	assert_int_equal(run(m, "62 f2 7d 49 8b 10"), NO_EXC); /* vpcompressd [rax]{k1}, zmm2 */
	assert_int_equal(peek(m, DATA_AT + 0xff0, 8), 0x7777777777777777);
	fpu_set_mask(cpu, 1, 0xf001);
	assert_int_equal(run(m, "62 f2 7d 49 8b 10"), EXC_PF);
}

static void gather_restarts(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	on(m, 64);
	if (!has(m, CPUID_AVX2))
		skip();
	poke(m, DATA_AT, 0xaaaaaaaa, 4);
	one_page(m);
	set_xmm(m, 1, 0x0000100000000000,
		0); /* indices 0, 1000h, 0, 0: the second is beyond the page */
	set_xmm(m, 2, ~0ull, ~0ull);
	set_xmm(m, 0, 0, 0);
	assert_int_equal(run(m, "c4 e2 69 90 04 08"),
			 EXC_PF); /* vpgatherdd xmm0, [rax+xmm1], xmm2 */
	assert_int_equal(lane(m, 0, 0), 0xaaaaaaaa);
	assert_int_equal(lane(m, 2, 0), 0xffffffff00000000);
	assert_int_equal(cpu->cr2, DATA_AT + 0x1000);
	set_xmm(m, 1, 0, 0);
	assert_int_equal(run(m, "c4 e2 69 90 04 08"), NO_EXC);
	assert_int_equal(lane(m, 0, 1), 0xaaaaaaaaaaaaaaaa);
	assert_int_equal(lane(m, 2, 0) | lane(m, 2, 1), 0);
	assert_int_equal(run(m, "c4 e2 71 90 04 08"), EXC_UD); /* mask and index are one register */
	/* VPMASKMOVD reads no element whose mask is clear. */
	m->r[RAX] = DATA_AT + 0xff8;
	set_xmm(m, 2, 0x8000000080000000, 0);
	assert_int_equal(run(m, "c4 e2 69 8c 00"), NO_EXC);
	set_xmm(m, 2, 0, 0x80000000);
	assert_int_equal(run(m, "c4 e2 69 8c 00"), EXC_PF);
}

/* An operand across two pages goes through the buffer. */
static void crosses_pages(void **state)
{
	struct machine *m = *state;

	on(m, 64);
	m->r[RAX] = DATA_AT + 0xffc;
	poke(m, DATA_AT + 0xffc, 0x3ff0000000000000, 8);
	set_xmm(m, 0, 0x3ff0000000000000, 0);
	assert_int_equal(run(m, "f2 0f 58 00"), NO_EXC); /* addsd xmm0, [rax] */
	assert_int_equal(lane(m, 0, 0), 0x4000000000000000);
	assert_int_equal(run(m, "d9 e8"), NO_EXC);
	assert_int_equal(run(m, "db 38"), NO_EXC); /* fstp tword [rax] */
	assert_int_equal(peek(m, DATA_AT + 0xffc, 8), 0x8000000000000000);
	assert_int_equal(peek(m, DATA_AT + 0x1004, 2), 0x3fff);
	one_page(m);
	assert_int_equal(run(m, "d9 e8"), NO_EXC);
	assert_int_equal(run(m, "db 38"), EXC_PF);
	assert_int_equal(fpu_top(&m->v->cpu), 7); /* nothing was popped */
}

/* --- The cache --- */

static void cache_shares_and_flushes(void **state)
{
	struct machine *m = *state;
	struct thunk_cache *cache;
	struct x86_insn i, j;
	const struct thunk *t;
	u64 epoch;

	on(m, 64);
	cache = m->vm.thunks;
	epoch = cache->epoch;
	assert_int_equal(x86_decode(&i, (const u8 *)"\x66\x0f\xfc\x00", 4, 64),
			 1); /* paddb xmm0, [rax] */
	assert_int_equal(x86_decode(&j, (const u8 *)"\x66\x0f\xfc\x43\x08", 5, 64),
			 1); /* paddb xmm0, [rbx+8] */
	t = thunk_of(m->v, &i);
	assert_ptr_equal(thunk_of(m->v, &j), t);
	assert_ptr_equal(thunk_of(m->v, &i), t);
	cache->count = THUNK_ENTRIES; /* full: the next new one flushes */
	assert_int_equal(x86_decode(&j, (const u8 *)"\x66\x0f\xfd\xc1", 4, 64),
			 1); /* paddw xmm0, xmm1 */
	thunk_of(m->v, &j);
	assert_int_equal(cache->epoch, epoch + 1);
	/* The stale tag is noticed: the entry is another instruction's now. */
	t = thunk_of(m->v, &i);
	assert_ptr_not_equal(t, thunk_of(m->v, &j));
	assert_int_equal(t->size, 16);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(registers_and_memory),
		TEST(vex_clears_upper),
		TEST(other_modes),
		TEST(gates),
		TEST(models),
		TEST(host_faults),
		TEST(x87_pointers),
		TEST(environment_real),
		TEST(pending_exception),
		TEST(mmx_state),
		TEST(mask_suppresses_faults),
		TEST(gather_restarts),
		TEST(crosses_pages),
		TEST(cache_shares_and_flushes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
