/*
 * x87, SSE and AVX as the system sees them, XSAVE and CPUID leaf 0Dh: SDM 3A 2.5, 9.6, 13, SDM 1 13,
 * SDM 2A XRSTOR, XSAVE, SDM 2D XSETBV.
 */
#include "lib/lm.h"

static u8 area[4096] __attribute__((aligned(64), section(".user.data")));
static u8 other[4096] __attribute__((aligned(64), section(".user.data")));
static float floats[8]
	__attribute__((aligned(16), section(".user.data"))) = { 1, 1, 1, 1, 0, 0, 0, 0 };
static u32 mxcsr[2] USER;

static bool has_xsave(void) { return cpuid_ecx(1, 0) >> 26 & 1; }
static bool has_avx(void) { return cpuid_ecx(1, 0) >> 28 & 1; }

static void enable_sse(void)
{
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	__asm__ volatile("fninit");
}

static void switches(void)
{
	struct {
		const u8 *code;
		u8 ts, em; /* the vector with CR0.TS=1, with CR0.EM=1; DONE for none */
		const char *ts_rule, *em_rule;
	} rows[] = {
		{ CODE("fld1"), NM, NM, "SDM 3A 2.5 x87 with CR0.TS=1 faults #NM",
		  "SDM 3A 2.5 x87 with CR0.EM=1 faults #NM" },
		{ CODE("fnop"), NM, NM, "SDM 3A 2.5 FNOP with CR0.TS=1 faults #NM",
		  "SDM 3A 2.5 FNOP with CR0.EM=1 faults #NM" },
		{ CODE("fnstsw ax"), NM, NM, "SDM 3A 2.5 FNSTSW with CR0.TS=1 faults #NM",
		  "SDM 3A 2.5 FNSTSW with CR0.EM=1 faults #NM" },
		{ CODE("fwait"), NM, DONE, "SDM 3A 2.5 FWAIT with CR0.TS=1, MP=1 faults #NM",
		  "SDM 3A 2.5 FWAIT with CR0.EM=1, TS=0 runs" },
		{ CODE("movd mm0, eax"), NM, UD, "SDM 3A 2.5 MMX with CR0.TS=1 faults #NM",
		  "SDM 3A 2.5 MMX with CR0.EM=1 faults #UD" },
		{ CODE("emms"), NM, UD, "SDM 3A 2.5 EMMS with CR0.TS=1 faults #NM",
		  "SDM 3A 2.5 EMMS with CR0.EM=1 faults #UD" },
		{ CODE("addps xmm0, xmm0"), NM, UD, "SDM 3A 2.5 SSE with CR0.TS=1 faults #NM",
		  "SDM 3A 2.5 SSE with CR0.EM=1 faults #UD" },
		{ CODE("movdqa xmm0, xmm1"), NM, UD, "SDM 3A 2.5 SSE2 with CR0.TS=1 faults #NM",
		  "SDM 3A 2.5 SSE2 with CR0.EM=1 faults #UD" },
		{ CODE("fxsave [rbx]"), NM, cpu_is_intel() ? NM : UD,
		  "SDM 2A FXSAVE with CR0.TS=1 faults #NM",
		  "SDM 2A FXSAVE with CR0.EM=1 faults #NM (AMD: #UD)" },
		{ CODE("prefetcht0 [rbx]; sfence; lfence; mfence"), DONE, DONE,
		  "SDM 3A 2.5 PREFETCH and fences ignore CR0.TS",
		  "SDM 3A 2.5 PREFETCH and fences ignore CR0.EM" },
		{ CODE("movnti [rbx], eax"), DONE, DONE, "SDM 3A 2.5 MOVNTI ignores CR0.TS",
		  "SDM 3A 2.5 MOVNTI ignores CR0.EM" },
	};
	u64 cr0 = read_cr0(), cr4;
	struct try t;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		write_cr0(cr0 | CR0_TS);
		t = try_new(U64);
		t.rbx = (u64)area;
		try_run(&t, rows[i].code);
		write_cr0(cr0);
		check(&t,
		      t.out.vector == rows[i].ts && (t.out.vector == DONE || t.out.rip == t.rip),
		      rows[i].ts_rule);
		write_cr0(cr0 | CR0_EM);
		t = try_new(U64);
		t.rbx = (u64)area;
		try_run(&t, rows[i].code);
		write_cr0(cr0);
		check(&t,
		      t.out.vector == rows[i].em && (t.out.vector == DONE || t.out.rip == t.rip),
		      rows[i].em_rule);
	}
	write_cr0((cr0 | CR0_TS) & ~CR0_MP);
	t = try_new(U64);
	runs(&t, CODE("fwait"), "SDM 3A 2.5 FWAIT with CR0.TS=1, MP=0 runs");
	write_cr0(cr0);
	cr4 = read_cr4();
	write_cr4(cr4 & ~CR4_OSFXSR);
	t = try_new(U64);
	faults(&t, CODE("addps xmm0, xmm0"), UD, 0, "SDM 3A 2.5 SSE with CR4.OSFXSR=0 faults #UD");
	t = try_new(U64);
	t.rbx = (u64)mxcsr;
	faults(&t, CODE("stmxcsr [rbx]"), UD, 0, "SDM 3A 2.5 STMXCSR with CR4.OSFXSR=0 faults #UD");
	t = try_new(U64);
	t.rbx = (u64)mxcsr;
	runs(&t, CODE("movd mm0, eax; movnti [rbx], eax"),
	     "SDM 3A 2.5 MMX and MOVNTI do not need CR4.OSFXSR");
	write_cr0(cr0 | CR0_TS);
	t = try_new(U64);
	faults(&t, CODE("addps xmm0, xmm0"), UD, 0,
	       "SDM 3A 6.15 #UD for CR4.OSFXSR=0 comes before #NM for CR0.TS=1");
	write_cr0(cr0);
	write_cr4(cr4);
}

static void exceptions(void)
{
	struct try t = try_new(U64);
	u64 cr4 = read_cr4();

	mxcsr[0] = 0x1f80 & ~0x200; /* divide by zero not masked */
	t.rbx = (u64)mxcsr;
	t.rdx = (u64)floats;
	faults_at(&t, CODE("ldmxcsr [rbx]; movaps xmm0, [rdx]; divps xmm0, [rdx + 16]"), 3 + 3, XM,
		  0, "SDM 3A 6.15 a SIMD exception that is not masked faults #XM");
	t = try_new(U64);
	t.rbx = (u64)mxcsr;
	try_run(&t, CODE("stmxcsr [rbx]"));
	tap_check(mxcsr[0] & 4, "SDM 1 11.5 ... and its flag is set in MXCSR");
	write_cr4(cr4 & ~CR4_OSXMMEXCPT);
	mxcsr[0] = 0x1f80 & ~0x200;
	t = try_new(U64);
	t.rbx = (u64)mxcsr;
	t.rdx = (u64)floats;
	faults_at(&t, CODE("ldmxcsr [rbx]; movaps xmm0, [rdx]; divps xmm0, [rdx + 16]"), 3 + 3, UD,
		  0, "SDM 3A 2.5 ... with CR4.OSXMMEXCPT=0 faults #UD");
	write_cr4(cr4);
	mxcsr[0] = 0x10000 | 0x1f80;
	t = try_new(U64);
	t.rbx = (u64)mxcsr;
	faults(&t, CODE("ldmxcsr [rbx]"), GP, 0,
	       "SDM 2A LDMXCSR with a reserved bit faults #GP(0)");
	mxcsr[0] = 0x1f80;
	t = try_new(U64);
	t.rbx = (u64)mxcsr;
	runs(&t, CODE("ldmxcsr [rbx]"), "SDM 2A LDMXCSR");
	t = try_new(U64);
	t.rdx = (u64)floats + 4;
	faults(&t, CODE("movaps xmm0, [rdx]"), GP, 0,
	       "SDM 2B MOVAPS not aligned to 16 faults #GP(0)");
	t = try_new(U64);
	t.rdx = (u64)floats + 4;
	runs(&t, CODE("movups xmm0, [rdx]"), "SDM 2B MOVUPS need not be aligned");
	t = try_new(U64);
	t.rbx = (u64)area + 8;
	faults(&t, CODE("fxsave [rbx]"), GP, 0, "SDM 2A FXSAVE not aligned to 16 faults #GP(0)");
	t = try_new(U64);
	t.rbx = (u64)area;
	try_run(&t, CODE("fxsave [rbx]"));
	*(u32 *)(area + 24) |= 0x80000000;
	t = try_new(U64);
	t.rbx = (u64)area;
	faults(&t, CODE("fxrstor [rbx]"), GP, 0,
	       "SDM 2A FXRSTOR with a reserved MXCSR bit faults #GP(0)");
	*(u16 *)mxcsr = 0x037b; /* x87: zero divide not masked */
	t = try_new(U64);
	t.rbx = (u64)mxcsr;
	faults_at(
		&t, CODE("fninit; fldcw [rbx]; fld1; fldz; fdivp; nop; fwait"),
		2 + 2 + 2 + 2 + 2 + 1, MF, 0,
		"SDM 3A 6.15 an x87 exception with CR0.NE=1 waits for the next x87 instruction: #MF");
	t = try_new(U64);
	runs(&t, CODE("fnclex; fninit; fwait"), "SDM 3A 6.15 FNCLEX and FNINIT do not wait");
}

static void xcr0(void)
{
	struct try t = try_new(U64);
	u64 cr4 = read_cr4(), all;

	if (!has_xsave()) {
		faults(&t, CODE("xgetbv"), UD, 0, "SDM 2D XGETBV without CPUID bit faults #UD");
		return;
	}
	tap_check(!(cpuid_ecx(1, 0) >> 27 & 1), "SDM 2A CPUID.1.OSXSAVE is 0 with CR4.OSXSAVE=0");
	t.rbx = (u64)area;
	faults(&t, CODE("xgetbv"), UD, 0, "SDM 2D XGETBV with CR4.OSXSAVE=0 faults #UD");
	t = try_new(U64);
	t.rbx = (u64)area;
	faults(&t, CODE("xsave [rbx]"), UD, 0, "SDM 2D XSAVE with CR4.OSXSAVE=0 faults #UD");
	t = try_new(K64);
	t.rax = 3;
	faults(&t, CODE("xsetbv"), UD, 0, "SDM 2D XSETBV with CR4.OSXSAVE=0 faults #UD");
	t = try_new(U64);
	faults(&t, CODE("vzeroupper"), UD, 0, "SDM 1 13.3 AVX with CR4.OSXSAVE=0 faults #UD");
	write_cr4(cr4 | CR4_OSXSAVE);
	tap_check(cpuid_ecx(1, 0) >> 27 & 1, "SDM 2A CPUID.1.OSXSAVE is 1 with CR4.OSXSAVE=1");
	t = try_new(U64);
	try_run(&t, CODE("xgetbv"));
	check(&t, t.out.vector == DONE && t.out.rax == 1 && t.out.rdx == 0,
	      "SDM 1 13.3 XCR0 after reset is 1; XGETBV works at CPL 3");
	t = try_new(U64);
	faults(&t, CODE("vzeroupper"), UD, 0, "SDM 1 13.3 AVX with XCR0.AVX=0 faults #UD");
	t = try_new(U64);
	t.rax = 3;
	faults(&t, CODE("xsetbv"), GP, 0, "SDM 2D XSETBV at CPL 3 faults #GP(0)");
	t = try_new(K64);
	t.rax = 2;
	faults(&t, CODE("xsetbv"), GP, 0, "SDM 2D XSETBV with XCR0[0]=0 faults #GP(0)");
	t = try_new(K64);
	t.rax = 5;
	faults(&t, CODE("xsetbv"), GP, 0, "SDM 2D XSETBV with AVX but not SSE faults #GP(0)");
	t = try_new(K64);
	t.rax = 3;
	t.rdx = 0x80000000;
	faults(&t, CODE("xsetbv"), GP, 0, "SDM 2D XSETBV with bit 63 faults #GP(0)");
	t = try_new(K64);
	t.rax = 3;
	t.rcx = 2;
	faults(&t, CODE("xsetbv"), GP, 0, "SDM 2D XSETBV of register 2 faults #GP(0)");
	t = try_new(U64);
	t.rcx = 2;
	faults(&t, CODE("xgetbv"), GP, 0, "SDM 2D XGETBV of register 2 faults #GP(0)");
	all = cpuid_eax(13, 0);
	if ((all & 0xe0) == 0xe0) {
		t = try_new(K64);
		t.rax = 0x27;
		faults(&t, CODE("xsetbv"), GP, 0,
		       "SDM 2D XSETBV with part of the AVX-512 bits faults #GP(0)");
	}
	for (unsigned i = 2; i < 32; i++)
		if (!(all >> i & 1)) {
			t = try_new(K64);
			t.rax = 7 | 1u << i;
			faults(&t, CODE("xsetbv"), GP, 0,
			       "SDM 2D XSETBV with a bit that CPUID.0Dh does not have faults #GP(0)");
			break;
		}
}

static void set_xcr0(u64 value)
{
	__asm__ volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)));
}

static u32 xsave_size(u64 mask)
{
	u32 size = 576;

	for (unsigned i = 2; i < 63; i++)
		if (mask >> i & 1) {
			struct cpuid c = cpuid(13, i);

			if (c.ebx + c.eax > size)
				size = c.ebx + c.eax;
		}
	return size;
}

static void leaf_d(void)
{
	u64 all = cpuid_eax(13, 0) | (u64)cpuid_edx(13, 0) << 32;

	set_xcr0(1);
	tap_equal(cpuid_ebx(13, 0), 576, "SDM 2A CPUID.0Dh EBX with XCR0=1 is 576");
	set_xcr0(3);
	tap_equal(cpuid_ebx(13, 0), 576, "SDM 2A CPUID.0Dh EBX with XCR0=3 is 576");
	tap_equal(cpuid_ecx(13, 0), xsave_size(all),
		  "SDM 2A CPUID.0Dh ECX is the size for all features, from the subleafs");
	if (has_avx()) {
		struct cpuid avx = cpuid(13, 2);

		tap_check(all & 4, "SDM 1 13.2 AVX comes with its bit in CPUID.0Dh");
		tap_check(avx.eax == 256 && avx.ebx == 576,
			  "SDM 1 13.4.3 AVX state: 256 bytes at 576");
		set_xcr0(7);
		tap_equal(cpuid_ebx(13, 0), 832, "SDM 2A CPUID.0Dh EBX with XCR0=7 is 832");
	}
	set_xcr0(all);
	tap_equal(cpuid_ebx(13, 0), xsave_size(all),
		  "SDM 2A CPUID.0Dh EBX follows XCR0: all features");
	for (unsigned i = 2; i < 32; i++)
		if (!(all >> i & 1)) {
			struct cpuid c = cpuid(13, i);

			if (c.ecx & 1)
				continue; /* a supervisor feature */
			tap_check(!c.eax && !c.ebx && !c.ecx && !c.edx,
				  "SDM 2A CPUID.0Dh subleaf of a feature that is not there is 0");
			break;
		}
}

static u64 *header(u8 *p) { return (u64 *)(p + 512); }

static void wipe(u8 *p, u8 value)
{
	for (unsigned i = 0; i < sizeof(area); i++)
		p[i] = value;
}

/* Instruction, operand rbx, mask edx:eax at CPL 3. */
static struct try xsave_try(const u8 *code, void *at, u64 mask)
{
	struct try t = try_new(U64);

	t.rbx = (u64)at;
	t.rax = (u32)mask;
	t.rdx = mask >> 32;
	try_run(&t, code);
	return t;
}

static void xsave(void)
{
	const u8 *save = CODE("xsave64 [rbx]"), *restore = CODE("xrstor64 [rbx]");
	struct try t;

	set_xcr0(3);
	wipe(area, 0);
	__asm__ volatile("fninit; pcmpeqd %%xmm1, %%xmm1; fld1" : : : "memory");
	t = xsave_try(save, area, 3);
	check(&t, t.out.vector == DONE && (header(area)[0] & 3) == 3,
	      "SDM 1 13.7 XSAVE marks the features in use in XSTATE_BV");
	tap_check(area[160 + 16] == 0xff, "SDM 1 13.4.2 XMM1 lies at offset 176");
	wipe(other, 0);
	t = xsave_try(restore, other, 3);
	wipe(other, 0);
	t = xsave_try(save, other, 3);
	check(&t, other[160 + 16] == 0 && *(u16 *)other == 0x37f,
	      "SDM 1 13.8 XRSTOR with XSTATE_BV=0 sets the initial state");
	wipe(other, 0xaa);
	header(other)[0] = 0;
	t = xsave_try(save, other, 2);
	check(&t, (header(other)[0] & 1) == 0 && other[32] == 0xaa,
	      "SDM 1 13.7 XSAVE leaves features outside of the mask alone");
	check(&t, header(other)[1] == 0xaaaaaaaaaaaaaaaa && header(other)[7] == 0xaaaaaaaaaaaaaaaa,
	      "SDM 1 13.7 XSAVE writes XSTATE_BV alone in the header");
	t = xsave_try(restore, area, 3);
	wipe(other, 0);
	t = xsave_try(save, other, 3);
	check(&t, other[160 + 16] == 0xff, "SDM 1 13.8 XRSTOR brings the saved state back");
	t = xsave_try(save, area + 16, 3);
	check(&t, t.out.vector == GP && t.out.error == 0,
	      "SDM 2D XSAVE not aligned to 64 faults #GP(0)");
	t = xsave_try(restore, area + 16, 3);
	check(&t, t.out.vector == GP && t.out.error == 0,
	      "SDM 2D XRSTOR not aligned to 64 faults #GP(0)");
	header(area)[0] |= 4;
	t = xsave_try(restore, area, 3);
	check(&t, t.out.vector == GP,
	      "SDM 1 13.8.1 XRSTOR with a bit of XSTATE_BV outside of XCR0 faults #GP(0)");
	header(area)[0] &= ~4ull;
	header(area)[1] = 1;
	t = xsave_try(restore, area, 3);
	check(&t, t.out.vector == GP,
	      "SDM 1 13.8.1 XRSTOR of the standard form with XCOMP_BV not 0 faults #GP(0)");
	header(area)[1] = 0;
	header(area)[2] = 1;
	t = xsave_try(restore, area, 3);
	check(&t, t.out.vector == GP,
	      "SDM 1 13.8.1 XRSTOR of the standard form with header bytes 23:16 not 0 faults #GP(0)");
	header(area)[2] = 0;
	*(u32 *)(area + 24) |= 0x80000000;
	t = xsave_try(restore, area, 3);
	check(&t, t.out.vector == GP,
	      "SDM 1 13.8.1 XRSTOR with a reserved MXCSR bit faults #GP(0)");
	t = xsave_try(restore, area, 1);
	check(&t, t.out.vector == DONE,
	      "SDM 1 13.8.1 ... but not when neither SSE nor AVX is asked for");
	*(u32 *)(area + 24) &= ~0x80000000;
	write_cr0(read_cr0() | CR0_TS);
	t = xsave_try(save, area, 3);
	write_cr0(read_cr0() & ~CR0_TS);
	check(&t, t.out.vector == NM, "SDM 2D XSAVE with CR0.TS=1 faults #NM");
	if (has_avx()) {
		set_xcr0(7);
		wipe(area, 0);
		__asm__ volatile(
			"vpcmpeqd %%xmm2, %%xmm2, %%xmm2; vinsertf128 $1, %%xmm2, %%ymm2, %%ymm2"
			:
			:
			: "memory");
		t = xsave_try(save, area, 7);
		check(&t, (header(area)[0] & 4) && area[576 + 2 * 16] == 0xff,
		      "SDM 1 13.4.3 XSAVE stores the upper half of YMM2 at 608");
		__asm__ volatile("vzeroall" : : : "memory");
		t = xsave_try(restore, area, 7);
		wipe(other, 0);
		t = xsave_try(save, other, 7);
		check(&t, other[576 + 2 * 16] == 0xff, "SDM 1 13.8 XRSTOR restores AVX state");
		set_xcr0(3);
		t = xsave_try(CODE("vaddps ymm0, ymm0, ymm0"), area, 0);
		check(&t, t.out.vector == UD,
		      "SDM 1 13.3 AVX after XCR0.AVX was cleared faults #UD");
		set_xcr0(7);
		write_cr0(read_cr0() | CR0_TS);
		t = xsave_try(CODE("vaddps ymm0, ymm0, ymm0"), area, 0);
		write_cr0(read_cr0() & ~CR0_TS);
		check(&t, t.out.vector == NM, "SDM 3A 2.5 AVX with CR0.TS=1 faults #NM");
	}
	if (cpuid(13, 1).eax >> 1 & 1) {
		set_xcr0(3);
		wipe(area, 0);
		t = xsave_try(CODE("xsavec64 [rbx]"), area, 3);
		check(&t, t.out.vector == DONE && header(area)[1] == (1ull << 63 | 3),
		      "SDM 1 13.10 XSAVEC writes XCOMP_BV: bit 63 and the mask");
		header(area)[3] = 1;
		t = xsave_try(restore, area, 3);
		check(&t, t.out.vector == GP,
		      "SDM 1 13.8.1 XRSTOR of the compacted form with header bytes 63:16 not 0 faults");
	} else {
		wipe(area, 0);
		header(area)[1] = 1ull << 63;
		t = xsave_try(restore, area, 3);
		check(&t, t.out.vector == GP,
		      "SDM 1 13.8.1 XRSTOR of the compacted form without XSAVEC faults #GP(0)");
	}
	if (cpuid(13, 1).eax & 1) {
		wipe(area, 0);
		t = xsave_try(CODE("xsaveopt64 [rbx]"), area, 3);
		check(&t, t.out.vector == DONE, "SDM 2D XSAVEOPT");
	}
	set_xcr0(1);
	__asm__ volatile("fninit");
}

static void leaves(void)
{
	struct try t = try_new(U64);
	u32 max = cpuid(0, 0).eax;
	struct cpuid a, b;

	t.rax = 0xffffffff00000000;
	t.rcx = t.rdx = t.rbx = ~0ull;
	try_run(&t, CODE("cpuid"));
	check(&t,
	      t.out.rax >> 32 == 0 && t.out.rbx >> 32 == 0 && t.out.rcx >> 32 == 0 &&
		      t.out.rdx >> 32 == 0,
	      "SDM 2A CPUID clears bits 63:32 of its four registers");
	tap_check(max >= 13 || !has_xsave(), "SDM 2A XSAVE needs leaf 0Dh");
	a = cpuid(0x80000000, 0);
	tap_check(a.eax >= 0x80000008 && a.eax < 0x80010000,
		  "SDM 2A extended leaves up to 80000008h");
	a = cpuid(1, 0);
	tap_check((a.edx >> 8 & 1) && (a.edx >> 9 & 1),
		  "SDM 2A CPUID.1 has CX8 and an enabled APIC");
	tap_check((a.edx >> 24 & 7) == 7 && (a.edx >> 6 & 1) && (a.edx >> 5 & 1),
		  "SDM 3A 9.8.5 a 64-bit processor has FXSR, SSE, SSE2, PAE, MSR");
	b = cpuid(0x80000001, 0);
	tap_check(b.edx >> 29 & 1 && b.edx >> 20 & 1, "SDM 2A CPUID.80000001h has LM and NX");
	if (max >= 7) {
		b = cpuid(7, 0);
		tap_check(!(b.ebx >> 5 & 1) || (a.ecx >> 28 & 1), "SDM 2A AVX2 comes with AVX");
		tap_check(!(b.ebx >> 16 & 1) || (cpuid_eax(13, 0) & 0xe0) == 0xe0,
			  "SDM 2A AVX512F comes with its three bits in CPUID.0Dh");
		tap_check(!(b.ecx >> 4 & 1), "SDM 2A CPUID.7.OSPKE is 0 with CR4.PKE=0");
	}
	tap_check(!(a.ecx >> 28 & 1) || (a.ecx >> 26 & 1), "SDM 2A AVX comes with XSAVE");
	tap_check((cpuid(0x80000008, 0).eax >> 8 & 0xff) == 48 || (cpuid_ecx(7, 0) >> 16 & 1),
		  "SDM 2A CPUID.80000008h: 48 linear address bits without LA57");
	tap_equal(cpuid(1, 0).ebx >> 24, apic_read(0x20) >> 24,
		  "SDM 3A 10.4.6 CPUID.1 has the APIC ID");
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~0x800ull);
	tap_check(!(cpuid(1, 0).edx >> 9 & 1),
		  "SDM 3A 10.4.3 CPUID.1.APIC is 0 while IA32_APIC_BASE[11] is 0");
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0x800);
	tap_check(cpuid(1, 0).edx >> 9 & 1, "SDM 3A 10.4.3 ... and comes back with it");
}

void lm_main(void)
{
	enable_sse();
	switches();
	exceptions();
	xcr0();
	if (has_xsave()) {
		leaf_d();
		xsave();
	}
	leaves();
}
