/*
 * Control registers, model-specific registers, time-stamp counter: SDM 3A 2.5, 2.8, 10.8.6, 11.12.4.
 */
#include "lib/lm.h"

static void control(void)
{
	struct {
		const u8 *code;
		const char *rule;
	} absent[] = {
		{ CODE(".byte 0x0f, 0x20, 0xc8"), "SDM 2B MOV from CR1 faults #UD" },
		{ CODE(".byte 0x0f, 0x20, 0xe8"), "SDM 2B MOV from CR5 faults #UD" },
		{ CODE(".byte 0x0f, 0x22, 0xf0"), "SDM 2B MOV to CR6 faults #UD" },
		{ CODE(".byte 0x0f, 0x22, 0xf8"), "SDM 2B MOV to CR7 faults #UD" },
		{ CODE(".byte 0x44, 0x0f, 0x20, 0xc8"), "SDM 2B MOV from CR9 faults #UD" },
		{ CODE(".byte 0x44, 0x0f, 0x22, 0xf8"), "SDM 2B MOV to CR15 faults #UD" },
	};
	struct try t;
	u64 cr0 = read_cr0(), cr3 = read_cr3();

	for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		t = try_new(K64);
		faults(&t, absent[i].code, UD, 0, absent[i].rule);
	}
	t = try_new(K64);
	try_run(&t, CODE(".byte 0x0f, 0x20, 0x18"));
	check(&t, t.out.vector == DONE && t.out.rax == cr3,
	      "SDM 2B MOV from CR ignores the mod field");
	t = try_new(K64);
	try_run(&t, CODE(".byte 0x66, 0x0f, 0x20, 0xd8"));
	check(&t, t.out.vector == DONE && t.out.rax == cr3,
	      "SDM 2B MOV from CR has 64 bits whatever the operand-size prefix");
	t = try_new(K64);
	t.rax = cr0 & ~0x10ull;
	try_run(&t, CODE("mov cr0, rax; mov rcx, cr0"));
	check(&t, t.out.vector == DONE && (t.out.rcx & 0x10), "SDM 3A 2.5 CR0.ET stays 1");
	t = try_new(K64);
	t.rax = (cr0 | CR0_TS) & ~CR0_PE;
	try_run(&t, CODE("lmsw ax; mov rcx, cr0; clts; mov rdx, cr0"));
	check(&t, t.out.vector == DONE && (t.out.rcx & (CR0_PE | CR0_TS)) == (CR0_PE | CR0_TS),
	      "SDM 2A LMSW sets TS but cannot clear PE");
	check(&t, t.out.rdx == cr0, "SDM 2A CLTS clears TS");
	t = try_new(K64);
	t.rax = 0;
	try_run(&t, CODE("mov rcx, cr0; lmsw ax; mov rdx, cr0; mov cr0, rcx"));
	check(&t, t.out.vector == DONE && (t.out.rdx & ~15ull) == (cr0 & ~15ull),
	      "SDM 2A LMSW writes bits 3:0 alone");
	t = try_new(K64);
	try_run(&t, CODE("mov rax, -1; smsw rax; mov rcx, -1; smsw cx"));
	check(&t,
	      t.out.vector == DONE && (u16)t.out.rax == (u16)cr0 &&
		      t.out.rcx == (0xffffffffffff0000 | (u16)cr0),
	      "SDM 2B SMSW stores 16 bits of CR0, more in a wide register");
	t = try_new(K64);
	runs(&t, CODE("wbinvd"), "SDM 2D WBINVD works at CPL 0");
}

static void cr8(void)
{
	struct try t = try_new(K64);

	t.rax = 5;
	try_run(&t, CODE("mov cr8, rax; mov rcx, cr8"));
	check(&t, t.out.vector == DONE && t.out.rcx == 5, "SDM 3A 10.8.6 CR8 reads back");
	tap_equal(apic_read(0x80), 0x50, "SDM 3A 10.8.6.1 CR8 is TPR[7:4], TPR[3:0] are cleared");
	apic_write(0x80, 0x9f);
	tap_equal(read_cr8(), 9, "SDM 3A 10.8.6.1 a write to the TPR shows in CR8");
	apic_write(0x80, 0);
	t = try_new(K64);
	t.rax = 0x10;
	faults(&t, CODE("mov cr8, rax"), GP, 0,
	       "SDM 3A 10.8.6 CR8 with a bit above 3 faults #GP(0)");
	t = try_new(K64);
	t.rax = 1ull << 63;
	faults(&t, CODE("mov cr8, rax"), GP, 0, "SDM 3A 10.8.6 CR8 with bit 63 faults #GP(0)");
}

static void msrs(void)
{
	static const struct {
		u32 msr;
		u64 value;
		const char *rule;
	} bad[] = {
		{ MSR_PAT, 0x0007040600070402,
		  "SDM 3A 11.12.4 memory type 2 in IA32_PAT faults #GP(0)" },
		{ MSR_PAT, 0x0307040600070406,
		  "SDM 3A 11.12.4 memory type 3 in IA32_PAT faults #GP(0)" },
		{ MSR_PAT, 0x0807040600070406,
		  "SDM 3A 11.12.4 a reserved bit in IA32_PAT faults #GP(0)" },
		{ MSR_APIC_BASE, 0xfee00901 | 1ull << 63,
		  "SDM 3A 10.4.4 a reserved bit in IA32_APIC_BASE faults #GP(0)" },
		{ 0xfe, 0, "SDM 3A 11.11.1 a write to IA32_MTRRCAP faults #GP(0)" },
		{ 0x12345678, 0, "SDM 2D WRMSR of an unknown register faults #GP(0)" },
		{ 0x2ff, 0x3, "SDM 3A 11.11.2.1 type 3 in IA32_MTRR_DEF_TYPE faults #GP(0)" },
	};
	struct try t;
	u64 pat = rdmsr(MSR_PAT);

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		t = try_new(K64);
		t.rcx = bad[i].msr;
		t.rax = (u32)bad[i].value;
		t.rdx = bad[i].value >> 32;
		faults(&t, CODE("wrmsr"), GP, 0, bad[i].rule);
	}
	t = try_new(K64);
	t.rcx = 0x12345678;
	faults(&t, CODE("rdmsr"), GP, 0, "SDM 2B RDMSR of an unknown register faults #GP(0)");
	t = try_new(K64);
	t.rcx = 0xffffffff00000000 | MSR_EFER;
	t.rax = t.rdx = ~0ull;
	try_run(&t, CODE("rdmsr"));
	check(&t, t.out.vector == DONE && t.out.rax == (u32)rdmsr(MSR_EFER) && t.out.rdx == 0,
	      "SDM 2B RDMSR takes ECX and clears bits 63:32 of RAX and RDX");
	tap_equal(pat, 0x0007040600070406, "SDM 3A 11.12.4 IA32_PAT after reset");
	wrmsr(MSR_PAT, 0x0007010600070406);
	tap_equal(rdmsr(MSR_PAT), 0x0007010600070406, "SDM 3A 11.12.4 IA32_PAT reads back");
	wrmsr(MSR_PAT, pat);
	tap_check((rdmsr(MSR_APIC_BASE) & 0xfffff100) == 0xfee00100,
		  "SDM 3A 10.4.4 IA32_APIC_BASE: FEE00000h, BSP");
}

static void tsc(void)
{
	struct try t;
	u64 a, b, cr4 = read_cr4();

	a = rdtsc();
	b = rdtsc();
	tap_check(b > a, "SDM 3B 17.17 the time-stamp counter runs");
	t = try_new(K64);
	t.rax = t.rdx = ~0ull;
	try_run(&t, CODE("rdtsc"));
	check(&t, t.out.rax >> 32 == 0 && t.out.rdx >> 32 == 0,
	      "SDM 2B RDTSC clears bits 63:32 of RAX and RDX");
	write_cr4(cr4 | CR4_TSD);
	t = try_new(U64);
	faults(&t, CODE("rdtsc"), GP, 0, "SDM 2B RDTSC at CPL 3 with CR4.TSD=1 faults #GP(0)");
	t = try_new(K64);
	runs(&t, CODE("rdtsc"), "SDM 2B RDTSC at CPL 0 with CR4.TSD=1 works");
	write_cr4(cr4);
	t = try_new(U64);
	runs(&t, CODE("rdtsc"), "SDM 2B RDTSC at CPL 3 with CR4.TSD=0 works");
	if (cpuid_edx(0x80000001, 0) >> 27 & 1) {
		wrmsr(MSR_TSC_AUX, 0x1234567);
		t = try_new(U64);
		try_run(&t, CODE("rdtscp"));
		check(&t, t.out.vector == DONE && t.out.rcx == 0x1234567,
		      "SDM 2B RDTSCP gives IA32_TSC_AUX in ECX");
		write_cr4(cr4 | CR4_TSD);
		t = try_new(U64);
		faults(&t, CODE("rdtscp"), GP, 0,
		       "SDM 2B RDTSCP at CPL 3 with CR4.TSD=1 faults #GP(0)");
		write_cr4(cr4);
		t = try_new(K64);
		t.rcx = MSR_TSC_AUX;
		t.rdx = 1;
		faults(&t, CODE("wrmsr"), GP, 0,
		       "SDM 2D IA32_TSC_AUX with bits 63:32 faults #GP(0)");
	}
	wrmsr(MSR_TSC, 0x123456789000);
	a = rdtsc();
	tap_check(a >= 0x123456789000 && a < 0x133456789000,
		  "SDM 3B 17.17.3 IA32_TSC can be written");
	t = try_new(U64);
	faults(&t, CODE("rdpmc"), GP, 0, "SDM 2B RDPMC at CPL 3 with CR4.PCE=0 faults #GP(0)");
	t = try_new(U64);
	if (cpuid_ecx(7, 0) >> 22 & 1) {
		try_run(&t, CODE("rdpid rax"));
		check(&t, t.out.rax == 0x1234567, "SDM 2B RDPID gives IA32_TSC_AUX");
	} else {
		faults(&t, CODE(".byte 0xf3, 0x0f, 0xc7, 0xf8"), UD, 0,
		       "SDM 2B RDPID without CPUID bit faults #UD");
	}
}

static void monitor(void)
{
	struct try t = try_new(K64);
	static u64 line[8] USER;

	t.rax = (u64)line;
	if (!(cpuid_ecx(1, 0) >> 3 & 1)) {
		faults(&t, CODE("monitor"), UD, 0, "SDM 2B MONITOR without CPUID bit faults #UD");
		t = try_new(K64);
		faults(&t, CODE("mwait"), UD, 0, "SDM 2B MWAIT without CPUID bit faults #UD");
		return;
	}
	t.rcx = 1;
	faults(&t, CODE("monitor"), GP, 0, "SDM 2B MONITOR with ECX not 0 faults #GP(0)");
	t = try_new(K64);
	t.rax = NONCANON;
	faults(&t, CODE("monitor"), GP, 0,
	       "SDM 2B MONITOR of a non-canonical address faults #GP(0)");
	t = try_new(K64);
	t.rax = 0x7000000000;
	faults(&t, CODE("monitor"), PF, 0,
	       "SDM 2B MONITOR of an unmapped address faults #PF as a load");
	t = try_new(K64);
	t.rcx = 0x80;
	faults(&t, CODE("mwait"), GP, 0, "SDM 2B MWAIT with a reserved bit in ECX faults #GP(0)");
	t = try_new(U64);
	t.rax = (u64)line;
	try_run(&t, CODE("monitor"));
	check(&t, t.out.vector == UD, "SDM 2B MONITOR at CPL 3 faults #UD");
}

void lm_main(void)
{
	cr8();
	msrs();
	tsc();
	monitor();
	control();
}
