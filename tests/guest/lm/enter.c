/*
 * Entering and leaving IA-32e mode, SDM 3A 9.8.5, and what differs in compatibility mode.
 */
#include "lib/legacy.h"

#define ENABLE_PAE  "mov eax, cr4; or eax, 0x20; mov cr4, eax;"
#define DISABLE_PAE "mov eax, cr4; and eax, ~0x20; mov cr4, eax;"
#define SET_LME     "mov ecx, 0xc0000080; rdmsr; or eax, 0x100; wrmsr;"
#define CLEAR_LME   "mov ecx, 0xc0000080; rdmsr; and eax, ~0x100; wrmsr;"
#define SET_PG      "mov eax, cr0; or eax, 0x80000000; mov cr0, eax;"
#define CLEAR_PG    "mov eax, cr0; and eax, 0x7fffffff; mov cr0, eax;"
#define READ_EFER   "mov ecx, 0xc0000080; rdmsr;"

/* Like legacy_faults, for a fault at the end of a longer piece of code. */
static void legacy_fault_after(const u8 *code, u32 vector, const char *rule)
{
	legacy_run(code);
	if (!tap_check(legacy_out.vector == vector && legacy_out.error == 0, rule)) {
		say("vector", legacy_out.vector);
		say("error", legacy_out.error);
	}
}

static void enter(void)
{
	legacy_fault_after(CODE32(DISABLE_PAE SET_LME SET_PG), GP,
			   "SDM 3A 9.8.5 setting CR0.PG with LME=1 and CR4.PAE=0 faults #GP(0)");
	gdt[SEL_FREE >> 3] = desc(0, 0xfffff, 0x9b, 0xa);
	gdt[(SEL_FREE >> 3) + 1] = desc(0, 0xfffff, 0x9b, 0xe);
	legacy_fault_after(CODE32(ENABLE_PAE SET_LME
				  ".byte 0xea; .long 1f; .word 0xc8; 1:" SET_PG CLEAR_PG),
			   GP, "SDM 3A 9.8.5 setting CR0.PG with LME=1 and CS.L=1 faults #GP(0)");
	gdt[SEL_FREE >> 3] = desc((u32)(u64)&legacy_tss, sizeof(legacy_tss) - 1, 0x81, 0);
	legacy_fault_after(CODE32(ENABLE_PAE SET_LME "mov eax, 0xc0; ltr ax;" SET_PG CLEAR_PG), GP,
			   "SDM 3A 9.8.5 setting CR0.PG with LME=1 and a 16-bit TSS in TR faults "
			   "#GP(0)");
	legacy_run(CODE32(ENABLE_PAE SET_LME READ_EFER));
	tap_check((legacy_out.regs.eax & 0x500) == 0x100,
		  "SDM 3A 2.2.1 EFER.LMA stays 0 with LME=1 until CR0.PG=1");
	legacy_run(CODE32(ENABLE_PAE SET_LME SET_PG READ_EFER "mov ebx, eax;" CLEAR_PG READ_EFER));
	tap_check((legacy_out.regs.ebx & 0x500) == 0x500,
		  "SDM 3A 9.8.5 EFER.LMA is 1 once CR0.PG=1 with LME=1");
	tap_check((legacy_out.regs.eax & 0x500) == 0x100,
		  "SDM 3A 9.8.5.4 clearing CR0.PG in compatibility mode clears EFER.LMA, not LME");
	if (cpuid_ecx(1, 0) & 1u << 17)
		legacy_fault_after(
			CODE32("mov eax, cr4; bts eax, 17; mov cr4, eax"), GP,
			"SDM 3A 4.10.1 setting CR4.PCIDE outside IA-32e mode faults #GP(0)");
	legacy_fault_after(CODE32("mov eax, cr0; or eax, 0x20000000; and eax, ~0x40000000; "
				  "mov cr0, eax"),
			   GP, "SDM 3A 2.5 setting CR0.NW with CR0.CD=0 faults #GP(0)");
	legacy_run(CODE32("push es; pop es; mov eax, 0x12345678; inc eax"));
	tap_check(legacy_out.vector == DONE && legacy_out.regs.eax == 0x12345679,
		  "SDM 3A 9.8.5.4 legacy 32-bit code runs after leaving IA-32e mode");
}

/* With EFER.LME=0, PAE paging uses 4 PDPTEs at CR3, loaded by MOV CR0 (SDM 3A 4.4.1). */
static u64 pdpt[4] __attribute__((aligned(32)));

static void pae(void)
{
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)&boot_pd[512 * i] | PTE_P;
	legacy_regs.ebx = (u32)(u64)pdpt;
	legacy_run(CODE32(ENABLE_PAE CLEAR_LME "mov cr3, ebx;" SET_PG READ_EFER "mov ebx, eax;"
					       "mov edx, [esp];" CLEAR_PG));
	tap_check(legacy_out.vector == DONE && !(legacy_out.regs.ebx & 0x400),
		  "SDM 3A 4.4.1 CR0.PG with PAE=1 and LME=0 gives PAE paging, EFER.LMA=0");
	pdpt[3] |= PTE_U;
	legacy_regs.ebx = (u32)(u64)pdpt;
	legacy_fault_after(
		CODE32(ENABLE_PAE CLEAR_LME "mov cr3, ebx;" SET_PG), GP,
		"SDM 3A 4.4.1 a reserved bit in a present PDPTE faults #GP(0) on MOV CR0");
	pdpt[3] &= ~PTE_P;
	legacy_regs.ebx = (u32)(u64)pdpt;
	legacy_run(CODE32(ENABLE_PAE CLEAR_LME "mov cr3, ebx;" SET_PG CLEAR_PG));
	tap_check(legacy_out.vector == DONE,
		  "SDM 3A 4.4.1 reserved bits in a PDPTE that is not present do not fault");
}

/* Behind each write that must fault stands the one that undoes it, encoded alike in all modes. */
static void leave(void)
{
	struct try t = try_new(K64);

	t.rax = read_cr0() & ~CR0_PG;
	t.rcx = read_cr0();
	faults(&t, CODE("mov cr0, rax; mov cr0, rcx"), GP, 0,
	       "SDM 3A 9.8.5.4 clearing CR0.PG in 64-bit mode faults #GP(0)");
	t = try_new(K64);
	t.rax = read_cr0() & ~(CR0_PG | CR0_PE);
	t.rcx = read_cr0();
	faults(&t, CODE("mov cr0, rax; mov cr0, rcx"), GP, 0,
	       "SDM 3A 2.5 clearing CR0.PE and CR0.PG in 64-bit mode faults #GP(0)");
	t = try_new(K64);
	t.rax = read_cr0() & ~CR0_PE;
	t.rcx = read_cr0();
	faults(&t, CODE("mov cr0, rax; mov cr0, rcx"), GP, 0,
	       "SDM 3A 2.5 clearing CR0.PE with CR0.PG=1 faults #GP(0)");
	t = try_new(K64);
	t.rax = read_cr4() ^ CR4_LA57;
	t.rcx = read_cr4();
	faults(&t, CODE("mov cr4, rax; mov cr4, rcx"), GP, 0,
	       "SDM 3A 2.5 changing CR4.LA57 in IA-32e mode faults #GP(0)");
	t = try_new(K64);
	t.rcx = MSR_EFER;
	t.rax = rdmsr(MSR_EFER) & ~EFER_LME;
	faults(&t, CODE("wrmsr"), GP, 0,
	       "SDM 3A 9.8.5 changing EFER.LME with CR0.PG=1 faults #GP(0)");
	t = try_new(K64);
	t.rcx = MSR_EFER;
	t.rax = rdmsr(MSR_EFER);
	t.rdx = 1;
	faults(&t, CODE("wrmsr"), GP, 0, "SDM 3A 2.2.1 a reserved bit (32) in EFER faults #GP(0)");
	t = try_new(K64);
	t.rcx = MSR_EFER;
	t.rax = rdmsr(MSR_EFER) | 1u << 9;
	faults(&t, CODE("wrmsr"), GP, 0, "SDM 3A 2.2.1 a reserved bit (9) in EFER faults #GP(0)");
	if (cpuid_ecx(1, 0) & 1u << 17) {
		write_cr4(read_cr4() | CR4_PCIDE);
		t = try_new(K32);
		t.rax = read_cr0() & ~CR0_PG;
		t.rcx = read_cr0();
		faults(&t, CODE32("mov cr0, eax; mov cr0, ecx"), GP, 0,
		       "SDM 3A 4.10.1 clearing CR0.PG with CR4.PCIDE=1 faults #GP(0)");
		write_cr4(read_cr4() & ~CR4_PCIDE);
	} else {
		tap_skip("SDM 3A 4.10.1 clearing CR0.PG with CR4.PCIDE=1 faults #GP(0)", "no PCID");
	}
}

static u32 pair[2] USER = { 0x11223344, SEL_UDATA };
static u32 bounds[2] USER = { 10, 20 };

static void compat(void)
{
	struct try t = try_new(U32);

	t.rax = 0x1ffffffff;
	try_run(&t, CODE32(".byte 0x40")); /* inc eax */
	check(&t, t.out.vector == DONE && t.out.rax == 0,
	      "SDM 3A 9.8.5 40h is INC in compatibility mode and clears bits 63:32");
	t = try_new(U32);
	runs(&t, CODE32(".byte 0x06, 0x07"),
	     "SDM 2B PUSH ES and POP ES work in compatibility mode");
	t = try_new(U32);
	t.rbx = (u64)pair;
	try_run(&t, CODE32(".byte 0xc5, 0x03")); /* lds eax, [ebx] */
	check(&t, t.out.vector == DONE && t.out.rax == 0x11223344,
	      "SDM 2A LDS works in compatibility mode");
	t = try_new(U32);
	t.rax = 0x0f;
	try_run(&t, CODE32(".byte 0x37")); /* aaa */
	check(&t, t.out.vector == DONE && (u16)t.out.rax == 0x105,
	      "SDM 2A AAA works in compatibility mode");
	t = try_new(U32);
	t.rax = 21;
	t.rbx = (u64)bounds;
	faults(&t, CODE32(".byte 0x62, 0x03"), BR, 0,
	       "SDM 3A 6.15 BOUND in compatibility mode faults #BR on itself");
	t = try_new(U32);
	t.rflags |= 0x800;
	faults_at(&t, CODE32(".byte 0xce"), 1, OF, 0,
		  "SDM 3A 6.15 INTO in compatibility mode is a trap: RIP behind it");
	t = try_new(U32);
	t.rax = 0x23;
	t.rcx = 0x3;
	try_run(&t, CODE32(".byte 0x63, 0xc8")); /* arpl ax, cx */
	check(&t, t.out.vector == DONE && (t.out.rflags & FLAG_ZF) == 0,
	      "SDM 2A 63h is ARPL in compatibility mode");
	t = try_new(U32);
	t.rsp = USER_STACK_TOP - 64;
	t.rax = 0x55667788;
	try_run(&t, CODE32("push eax; pop ecx"));
	check(&t, t.out.vector == DONE && t.out.rcx == 0x55667788 && t.out.rsp == t.rsp,
	      "SDM 1 6.2.3 PUSH in compatibility mode moves ESP by 4");
	t = try_new(U32);
	t.r8 = 0x1122334455667788;
	t.r15 = 0x8877665544332211;
	try_run(&t, CODE32("nop"));
	check(&t, t.out.r8 == t.r8 && t.out.r15 == t.r15,
	      "SDM 1 3.4.1.1 R8 to R15 survive compatibility mode");
	t = try_new(K32);
	try_run(&t, CODE32("mov eax, cr0"));
	check(&t, t.out.vector == DONE && (u32)t.out.rax == (u32)read_cr0(),
	      "SDM 2B MOV from CR0 works in compatibility mode at CPL 0");
	t = try_new(U16);
	t.rax = 0x1ffff;
	try_run(&t, CODE16("inc ax"));
	check(&t, t.out.vector == DONE && t.out.rax == 0x10000,
	      "SDM 3A 5.2.1 CS.L=0 CS.D=0 is 16-bit compatibility mode");
}

/* Last: a processor that lets these pass does not survive them. */
static void deadly(void)
{
	struct try t;

	t = try_new(K64);
	t.rax = read_cr4() & ~CR4_PAE;
	t.rcx = read_cr4();
	faults(&t, CODE("mov cr4, rax; mov cr4, rcx"), GP, 0,
	       "SDM 3A 2.5 clearing CR4.PAE in IA-32e mode faults #GP(0)");
	t = try_new(K32);
	t.rax = read_cr4() & ~CR4_PAE;
	t.rcx = read_cr4();
	faults(&t, CODE32("mov cr4, eax; mov cr4, ecx"), GP, 0,
	       "SDM 3A 2.5 clearing CR4.PAE in compatibility mode faults #GP(0)");
	legacy_fault_after(CODE32("mov eax, cr4; bts eax, 31; mov cr4, eax"), GP,
			   "SDM 3A 2.5 a reserved bit in CR4 faults #GP(0) in protected mode");
	legacy_fault_after(CODE32("mov eax, cr0; or eax, 0x80000000; and eax, ~1; mov cr0, eax"),
			   GP, "SDM 3A 2.5 setting CR0.PG with CR0.PE=0 faults #GP(0)");
}

void lm_main(void)
{
	legacy_init();
	leave();
	compat();
	enter();
	pae();
	deadly();
}
