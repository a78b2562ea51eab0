/*
 * Fast system calls and the FS and GS bases: SDM 3A 5.8.7, 5.8.8, SDM 2B SYSCALL, SYSRET, SYSENTER,
 * SYSEXIT, SWAPGS, RDFSBASE.
 */
#include "lib/lm.h"

#define STAR_VALUE ((u64)SEL_CODE64 << 32 | (u64)SEL_UCODE32 << 48)

/* The RFLAGS bits that SYSCALL and SYSRET touch beside the ones with a rule of their own. */
#define FLAGS_ALL (FLAG_CF | FLAG_ZF | FLAG_SF | 0x800 | FLAG_DF | FLAG_AC)

static void sce(bool on)
{
	u64 efer = rdmsr(MSR_EFER) & ~EFER_SCE;

	wrmsr(MSR_EFER, on ? efer | EFER_SCE : efer);
}

static void disabled(void)
{
	struct try t = try_new(U64);

	sce(false);
	faults(&t, CODE("syscall"), UD, 0, "SDM 2B SYSCALL with EFER.SCE=0 faults #UD");
	t = try_new(K64);
	faults(&t, CODE(".byte 0x48, 0x0f, 0x07"), UD, 0,
	       "SDM 2B SYSRET with EFER.SCE=0 faults #UD");
	t = try_new(U32);
	faults(&t, CODE32(".byte 0x0f, 0x05"), UD, 0,
	       "SDM 2B SYSCALL in compatibility mode with EFER.SCE=0 faults #UD");
	sce(true);
}

static void enter(void)
{
	struct try t = try_new(U64);
	const u8 *entry = CODE("pushfq; pop rax; mov edx, ss; mov ebx, cs");

	wrmsr(MSR_STAR, STAR_VALUE);
	wrmsr(MSR_LSTAR, (u64)entry);
	wrmsr(MSR_FMASK, FLAG_IF | FLAG_DF | FLAG_TF | FLAG_AC);
	t.rflags |= FLAGS_ALL | FLAG_IF;
	t.rsp = USER_STACK_TOP - 64;
	try_run(&t, CODE("syscall"));
	check(&t,
	      t.out.vector == DONE && t.out.cs == SEL_CODE64 && t.out.rbx == SEL_CODE64 &&
		      t.out.rdx == SEL_CODE64 + 8,
	      "SDM 2B SYSCALL takes CS from STAR[47:32] and SS = that + 8, CPL 0");
	check(&t, t.out.rcx == t.rip + 2,
	      "SDM 2B SYSCALL saves RIP of the next instruction in RCX");
	check(&t, t.out.r11 == t.rflags, "SDM 2B SYSCALL saves RFLAGS in R11");
	check(&t, (t.out.rax & (FLAGS_ALL | FLAG_IF)) == (FLAG_CF | FLAG_ZF | FLAG_SF | 0x800),
	      "SDM 2B SYSCALL clears the RFLAGS bits that are set in IA32_FMASK");
	check(&t, t.out.rsp == t.rsp, "SDM 2B SYSCALL leaves RSP alone");
	wrmsr(MSR_FMASK, 0);
	t = try_new(U64);
	t.rflags |= FLAGS_ALL;
	t.rsp = USER_STACK_TOP - 64;
	try_run(&t, CODE("syscall"));
	check(&t, (t.out.rax & FLAGS_ALL) == FLAGS_ALL,
	      "SDM 2B SYSCALL with IA32_FMASK 0 keeps RFLAGS");
	t = try_new(U64);
	t.rflags |= FLAG_RF;
	t.rsp = USER_STACK_TOP - 64;
	try_run(&t, CODE("syscall"));
	check(&t, !(t.out.rax & FLAG_RF), "SDM 2B SYSCALL clears RF");
	wrmsr(MSR_STAR, STAR_VALUE | 3ull << 32);
	t = try_new(U64);
	try_run(&t, CODE("syscall"));
	check(&t, t.out.vector == DONE && (t.out.cs & 3) == 0,
	      "SDM 2B SYSCALL forces RPL 0 in CS whatever STAR says");
	wrmsr(MSR_STAR, (u64)(SEL_BEYOND + 0x100) << 32);
	t = try_new(U64);
	try_run(&t, CODE("syscall"));
	check(&t, t.out.vector == DONE && t.out.cs == SEL_BEYOND + 0x100,
	      "SDM 2B SYSCALL does not look at the GDT: CS and SS are fixed flat values");
	wrmsr(MSR_STAR, STAR_VALUE);
	t = try_new(K64);
	try_run(&t, CODE("syscall"));
	check(&t, t.out.vector == DONE && t.out.cs == SEL_CODE64,
	      "SDM 2B SYSCALL works at CPL 0 too");
	if (cpu_is_intel()) {
		t = try_new(U32);
		faults(&t, CODE32(".byte 0x0f, 0x05"), UD, 0,
		       "SDM 2B SYSCALL in compatibility mode faults #UD (Intel)");
		return;
	}
	wrmsr(MSR_CSTAR, (u64)CODE("mov ebx, cs"));
	wrmsr(MSR_LSTAR, (u64)CODE("ud2"));
	t = try_new(U32);
	try_run(&t, CODE32(".byte 0x0f, 0x05"));
	check(&t, t.out.vector == DONE && t.out.rbx == SEL_CODE64 && t.out.rcx == t.rip + 2,
	      "APM 3 SYSCALL in compatibility mode enters 64-bit mode at CSTAR (AMD)");
}

static void leave(void)
{
	struct try t = try_new(K64);

	t.rcx = (u64)CODE("pushfq; pop rax; mov edx, ss; mov ebx, cs");
	t.r11 = 2 | FLAGS_ALL | 0x3000 | FLAG_RF | FLAG_VM;
	t.rsp = USER_STACK_TOP - 64;
	try_run(&t, CODE(".byte 0x48, 0x0f, 0x07"));
	check(&t, t.out.vector == DONE && t.out.rbx == SEL_UCODE64 && t.out.rdx == SEL_UDATA,
	      "SDM 2B SYSRET with REX.W takes CS = STAR[63:48] + 16 and SS = that + 8, CPL 3");
	check(&t, (t.out.rax & (FLAGS_ALL | 0x3000 | FLAG_RF | FLAG_VM)) == (FLAGS_ALL | 0x3000),
	      "SDM 2B SYSRET loads RFLAGS from R11 but RF and VM, which become 0");
	check(&t, t.out.rsp == t.rsp, "SDM 2B SYSRET leaves RSP alone");
	t = try_new(K64);
	t.rcx = 0x1100000000 | (u64)CODE32("mov edx, ss; mov ebx, cs");
	t.r11 = 2;
	t.rsp = USER_STACK_TOP - 64;
	try_run(&t, CODE(".byte 0x0f, 0x07"));
	check(&t, t.out.vector == DONE && t.out.rbx == SEL_UCODE32 && t.out.rdx == SEL_UDATA,
	      "SDM 2B SYSRET without REX.W goes to compatibility mode at ECX, CS = STAR[63:48]");
	wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)(SEL_UCODE32 & ~3) << 48);
	t = try_new(K64);
	t.rcx = (u64)CODE("mov edx, ss; mov ebx, cs");
	t.r11 = 2;
	t.rsp = USER_STACK_TOP - 64;
	try_run(&t, CODE(".byte 0x48, 0x0f, 0x07"));
	check(&t, t.out.vector == DONE && t.out.rbx == SEL_UCODE64,
	      "SDM 2B SYSRET forces RPL 3 in CS whatever STAR says");
	wrmsr(MSR_STAR, STAR_VALUE);
	t = try_new(K64);
	t.rcx = NONCANON;
	t.r11 = 2;
	if (cpu_is_intel()) {
		faults(&t, CODE(".byte 0x48, 0x0f, 0x07"), GP, 0,
		       "SDM 2B SYSRET with a non-canonical RCX faults #GP(0) at CPL 0 (Intel)");
		check(&t, t.out.cs == SEL_CODE64, "SDM 2B ... still in ring 0 (Intel)");
	} else {
		try_run(&t, CODE(".byte 0x48, 0x0f, 0x07"));
		check(&t,
		      t.out.vector == GP && t.out.error == 0 && t.out.rip == NONCANON &&
			      t.out.cs == SEL_UCODE64,
		      "APM 3 SYSRET with a non-canonical RCX completes; the target faults #GP(0) "
		      "at CPL 3 (AMD)");
	}
	t = try_new(U64);
	faults(&t, CODE(".byte 0x48, 0x0f, 0x07"), GP, 0, "SDM 2B SYSRET at CPL 3 faults #GP(0)");
	if (cpu_is_intel()) {
		t = try_new(K32);
		faults(&t, CODE32(".byte 0x0f, 0x07"), UD, 0,
		       "SDM 2B SYSRET in compatibility mode faults #UD (Intel)");
	}
	t = try_new(K64);
	t.rcx = (u64)CODE("nop");
	t.r11 = 2;
	runs(&t, CODE("xor eax, eax; mov ss, eax; .byte 0x48, 0x0f, 0x07"),
	     "SDM 2B SYSRET loads a fixed SS even when it was null");
}

static void sysenter(void)
{
	struct try t;

	if (!cpu_is_intel()) {
		t = try_new(U64);
		faults(&t, CODE("sysenter"), UD, 0, "APM 3 SYSENTER in long mode faults #UD (AMD)");
		t = try_new(U32);
		faults(&t, CODE32("sysenter"), UD, 0,
		       "APM 3 SYSENTER in compatibility mode faults #UD (AMD)");
		t = try_new(K64);
		faults(&t, CODE(".byte 0x0f, 0x35"), UD, 0,
		       "APM 3 SYSEXIT in long mode faults #UD (AMD)");
		return;
	}
	wrmsr(MSR_SYSENTER_CS, 0);
	t = try_new(U64);
	faults(&t, CODE("sysenter"), GP, 0,
	       "SDM 2B SYSENTER with a null IA32_SYSENTER_CS faults #GP(0) (Intel)");
	t = try_new(K64);
	faults(&t, CODE(".byte 0x0f, 0x35"), GP, 0,
	       "SDM 2B SYSEXIT with a null IA32_SYSENTER_CS faults #GP(0) (Intel)");
	wrmsr(MSR_SYSENTER_CS, SEL_SYSENTER);
	wrmsr(MSR_SYSENTER_ESP, (u64)kernel_try_stack + 2048);
	wrmsr(MSR_SYSENTER_EIP, (u64)CODE("pushfq; pop rax; mov edx, ss; mov ebx, cs"));
	t = try_new(U64);
	t.rflags |= FLAG_IF;
	try_run(&t, CODE("sysenter"));
	check(&t,
	      t.out.vector == DONE && t.out.rbx == SEL_SYSENTER && t.out.rdx == SEL_SYSENTER + 8 &&
		      t.out.rsp == (u64)kernel_try_stack + 2048 && !(t.out.rax & FLAG_IF),
	      "SDM 2B SYSENTER loads CS, SS, RSP, RIP and clears IF (Intel)");
	t = try_new(U32);
	try_run(&t, CODE32("sysenter"));
	check(&t, t.out.vector == DONE && t.out.rbx == SEL_SYSENTER,
	      "SDM 2B SYSENTER in compatibility mode enters 64-bit mode (Intel)");
	t = try_new(K64);
	t.rdx = (u64)CODE("mov edx, ss; mov ebx, cs");
	t.rcx = USER_STACK_TOP - 64;
	try_run(&t, CODE(".byte 0x48, 0x0f, 0x35"));
	check(&t,
	      t.out.vector == DONE && t.out.rbx == (SEL_SYSENTER + 32 + 3) &&
		      t.out.rdx == (SEL_SYSENTER + 40 + 3) && t.out.rsp == USER_STACK_TOP - 64,
	      "SDM 2B SYSEXIT with REX.W goes to 64-bit mode at RDX with RSP = RCX (Intel)");
	t = try_new(K64);
	t.rdx = (u64)CODE32("mov edx, ss; mov ebx, cs");
	t.rcx = USER_STACK_TOP - 64;
	try_run(&t, CODE(".byte 0x0f, 0x35"));
	check(&t,
	      t.out.vector == DONE && t.out.rbx == (SEL_SYSENTER + 16 + 3) &&
		      t.out.rdx == (SEL_SYSENTER + 24 + 3),
	      "SDM 2B SYSEXIT without REX.W goes to compatibility mode (Intel)");
	t = try_new(K64);
	t.rdx = NONCANON;
	faults(&t, CODE(".byte 0x48, 0x0f, 0x35"), GP, 0,
	       "SDM 2B SYSEXIT to a non-canonical RDX faults #GP(0) (Intel)");
	t = try_new(U64);
	faults(&t, CODE(".byte 0x0f, 0x35"), GP, 0,
	       "SDM 2B SYSEXIT at CPL 3 faults #GP(0) (Intel)");
}

static void swapgs(void)
{
	struct try t = try_new(K64);

	wrmsr(MSR_GS_BASE, 0x1111111111);
	wrmsr(MSR_KERNEL_GS_BASE, 0xffff888822222222);
	runs(&t, CODE("swapgs"), "SDM 2B SWAPGS works at CPL 0");
	tap_check(rdmsr(MSR_GS_BASE) == 0xffff888822222222 &&
			  rdmsr(MSR_KERNEL_GS_BASE) == 0x1111111111,
		  "SDM 2B SWAPGS exchanges IA32_GS_BASE and IA32_KERNEL_GS_BASE");
	t = try_new(U64);
	faults(&t, CODE("swapgs"), GP, 0, "SDM 2B SWAPGS at CPL 3 faults #GP(0)");
	t = try_new(K32);
	faults(&t, CODE32(".byte 0x0f, 0x01, 0xf8"), UD, 0,
	       "SDM 2B SWAPGS in compatibility mode faults #UD");
	wrmsr(MSR_GS_BASE, 0);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
}

static void fsgsbase(void)
{
	struct try t = try_new(U64);

	if (!(cpuid_ebx(7, 0) & 1)) {
		faults(&t, CODE("rdfsbase rax"), UD, 0,
		       "SDM 2B RDFSBASE without CPUID bit faults #UD");
		t = try_new(K64);
		t.rax = read_cr4() | CR4_FSGSBASE;
		faults(&t, CODE("mov cr4, rax"), GP, 0,
		       "SDM 3A 2.5 CR4.FSGSBASE without CPUID bit faults #GP(0)");
		return;
	}
	faults(&t, CODE("rdfsbase rax"), UD, 0, "SDM 2B RDFSBASE with CR4.FSGSBASE=0 faults #UD");
	t = try_new(K64);
	faults(&t, CODE("wrgsbase rax"), UD, 0,
	       "SDM 2B WRGSBASE with CR4.FSGSBASE=0 faults #UD at CPL 0 too");
	write_cr4(read_cr4() | CR4_FSGSBASE);
	t = try_new(U64);
	t.rax = 0x123456789abc;
	try_run(&t, CODE("wrfsbase rax; rdfsbase rcx; rdfsbase edx"));
	check(&t, t.out.vector == DONE && t.out.rcx == t.rax && t.out.rdx == 0x56789abc,
	      "SDM 2B WRFSBASE and RDFSBASE work at CPL 3, with 64 and 32 bits");
	tap_equal(rdmsr(MSR_FS_BASE), 0x123456789abc, "SDM 2B WRFSBASE changes IA32_FS_BASE");
	t = try_new(U64);
	t.rax = 0xffff123456789abc;
	try_run(&t, CODE("wrgsbase eax; rdgsbase rcx"));
	check(&t, t.out.vector == DONE && t.out.rcx == 0x56789abc,
	      "SDM 2B WRGSBASE r32 zero-extends");
	t = try_new(U64);
	t.rax = NONCANON;
	faults(&t, CODE("wrfsbase rax"), GP, 0,
	       "SDM 2B WRFSBASE of a non-canonical value faults #GP(0)");
	t = try_new(U64);
	t.rax = NONCANON;
	faults(&t, CODE("wrgsbase rax"), GP, 0,
	       "SDM 2B WRGSBASE of a non-canonical value faults #GP(0)");
	t = try_new(U32);
	faults(&t, CODE32(".byte 0xf3, 0x0f, 0xae, 0xc0"), UD, 0,
	       "SDM 2B RDFSBASE in compatibility mode faults #UD");
	write_cr4(read_cr4() & ~CR4_FSGSBASE);
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
}

static void msrs(void)
{
	struct try t = try_new(K64);

	wrmsr(MSR_FMASK, 0);
	t.rcx = MSR_FMASK;
	t.rax = 0x12345678;
	runs(&t, CODE("wrmsr"), "SDM 2D IA32_FMASK takes any low 32 bits");
	tap_equal(rdmsr(MSR_FMASK), 0x12345678, "SDM 2D IA32_FMASK reads back");
	wrmsr(MSR_STAR, 0x123456789abcdef0);
	tap_equal(rdmsr(MSR_STAR), 0x123456789abcdef0, "SDM 2D IA32_STAR holds 64 bits");
	wrmsr(MSR_LSTAR, 0xffff812345678abc);
	tap_equal(rdmsr(MSR_LSTAR), 0xffff812345678abc, "SDM 2D IA32_LSTAR holds 64 bits");
	wrmsr(MSR_CSTAR, 0xffff812345678abd);
	tap_equal(rdmsr(MSR_CSTAR), 0xffff812345678abd, "SDM 2D IA32_CSTAR holds 64 bits");
}

void lm_main(void)
{
	disabled();
	enter();
	leave();
	sysenter();
	swapgs();
	fsgsbase();
	msrs();
}
