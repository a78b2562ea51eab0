/*
 * Whatever runs the guest has registers, flags, stacks and code addresses of its own. None of them
 * may show: each fact that the guest can read, without a clock, is the one that the guest made, also
 * after loops long enough for an engine to have translated them. Each rule names the instruction's
 * page or the section that says what the guest made.
 */
#include "lib/lm.h"

#define TIMES     20000u
#define ARITH     0x8d5ull /* OF SF ZF AF PF CF */
#define FLAG_ID   0x200000ull
#define FLAG_IOPL 0x3000ull
#define POISON    0xa5

static struct try t;

static bool is_user(enum mode m) { return m == U64 || m == U32; }
static bool is_64(enum mode m) { return m == K64 || m == U64; }
static const char *const mode_names[] = { "64/0", "64/3", "compat/0", "compat/3" };

static void in_mode(enum mode m)
{
	tap_puts("# mode ");
	tap_puts(mode_names[m]);
	tap_putc('\n');
}

/* A state in which every register has a value of its own. */
static void fresh(enum mode m)
{
	t = try_new(m);
	for (unsigned i = 0; i < 16; i++)
		if (i != 4)
			t.gpr[i] = is_64(m) ? 0x1122334455660000ull * (i + 1) + i : 0x11220000u + i;
	t.rsp = USER_STACK_TOP - 1024;
	t.rcx = TIMES;
	t.rax = t.rdx = 0;
}

/* Registers that the snippet does not name are as they were; RAX, RCX and RDX are its own. */
static bool kept(void)
{
	bool ok = t.out.rsp == t.rsp && t.out.cs == t.cs && t.out.ss == t.ss;

	for (unsigned i = 3; i < 16; i++)
		if (i != 4)
			ok &= t.out.gpr[i] == t.gpr[i];
	return ok;
}

/* --- Registers, flags and the stack -------------------------------------------------------------- */

static void registers(enum mode m)
{
	fresh(m);
	t.rflags = FLAG_ID | FLAG_NT | FLAG_IOPL | 2;
	runs(&t,
	     is_64(m) ? CODE("1: add rax, rcx; rol edx, 3; xor edx, ecx; dec ecx; jnz 1b")
		      : CODE32("1: add eax, ecx; rol edx, 3; xor edx, ecx; dec ecx; jnz 1b"),
	     "SDM 3A 6.12 a loop ends in the handler");
	check(&t, kept() && t.out.rax == (u64)TIMES * (TIMES + 1) / 2 && !t.out.rcx,
	      "SDM 1 3.4.1 general registers after a long loop");
	tap_equal(t.out.rflags & ~ARITH, t.rflags & ~ARITH,
		  "SDM 1 3.4.3 system flags after a long loop");
	fresh(m);
	t.r9 = t.rbx = ~0ull;
	t.r8 = t.rsi = 0;
	t.rflags = FLAG_ID | FLAG_NT | (is_user(m) ? 0x1000 : 0x2000) | FLAG_AC | 2;
	try_run(&t,
		is_64(m)
			? CODE("1: pushfq; or r8, [rsp]; and r9, [rsp]; pop rax; dec ecx; jnz 1b")
			: CODE32("1: pushfd; or esi, [esp]; and ebx, [esp]; pop eax; dec ecx; jnz 1b"));
	check(&t,
	      t.out.vector == DONE && ((is_64(m) ? t.out.r8 : t.out.rsi) & ~ARITH) == t.rflags &&
		      ((is_64(m) ? t.out.r9 : (u32)t.out.rbx) & ~ARITH) == t.rflags,
	      "SDM 2B PUSHF in a loop: AC, ID, NT, IOPL as set; TF, RF, VM and the rest 0");
}

static u8 below[8192] USER __attribute__((aligned(16)));

/* Nothing but the guest writes to its memory; what is below the stack pointer is memory. */
static void below_stack(enum mode m)
{
	bool ok = true;

	for (unsigned i = 0; i < sizeof(below); i++)
		below[i] = POISON;
	fresh(m);
	t.rsp = (u64)below + 4096;
	t.rbx = (u64)&below[8000];
	try_run(&t,
		is_64(m) ? CODE("1: mov [rbx], eax; add eax, ecx; div ebx; xor edx, edx;"
				"call 2f; dec ecx; jnz 1b; jmp 3f; 2: imul rax, rcx; ret; 3:")
			 : CODE32("1: mov [ebx], eax; add eax, ecx; div ebx; xor edx, edx;"
				  "call 2f; dec ecx; jnz 1b; jmp 3f; 2: imul eax, ecx; ret; 3:"));
	for (unsigned i = 0; i < sizeof(below); i++)
		ok &= below[i] == POISON || (i >= 4088 && i < 4096) || (i >= 8000 && i < 8004);
	check(&t, ok, "SDM 1 6.2 memory below the stack pointer is not touched");
}

static void segments(enum mode m)
{
	static u32 words[4] USER = { 0x5e9a, 0x5e9b };
	u16 fs = is_user(m) ? SEL_FREE | 3 : SEL_FREE,
	    gs = is_user(m) ? (SEL_FREE + 8) | 3 : SEL_FREE + 8;

	gdt[SEL_FREE >> 3] = desc((u32)(u64)words - 0x100, 0xfff, 0xf3, 4);
	gdt[(SEL_FREE >> 3) + 1] = desc((u32)(u64)words - 0x200, 0xfff, 0xf3, 4);
	fresh(m);
	t.rbx = fs;
	t.rsi = gs;
	t.rdi = 0;
	try_run(&t,
		is_64(m)
			? CODE("mov fs, ebx; mov gs, esi; 1: add edi, fs:[0x100]; sub edi, gs:[0x204];"
			       "inc edi; dec ecx; jnz 1b; mov eax, fs; mov edx, gs; shl edx, 16; or eax, edx;"
			       "mov edx, ds; mov ecx, es")
			: CODE32("mov fs, ebx; mov gs, esi; 1: add edi, fs:[0x100]; sub edi, gs:[0x204];"
				 "inc edi; dec ecx; jnz 1b; mov eax, fs; mov edx, gs; shl edx, 16; or eax, edx;"
				 "mov edx, ds; mov ecx, es"));
	check(&t,
	      t.out.vector == DONE && t.out.rax == (fs | (u32)gs << 16) && t.out.rdx == t.ds &&
		      t.out.rcx == t.ds && !t.out.rdi,
	      "SDM 3A 3.4.3 selectors and bases of FS and GS, DS and ES after a long loop");
	tap_check(rdmsr(MSR_FS_BASE) == (u64)words - 0x100 &&
			  rdmsr(MSR_GS_BASE) == (u64)words - 0x200,
		  "SDM 3A 3.4.4 IA32_FS_BASE and IA32_GS_BASE are the guest's");
	__asm__ volatile("movl %0, %%fs; movl %0, %%gs" : : "r"(0));
}

static void bases(void)
{
	u64 sum = 0;

	wrmsr(MSR_FS_BASE, 0x123456789abc);
	wrmsr(MSR_GS_BASE, 0xffff9234567890ab);
	wrmsr(MSR_KERNEL_GS_BASE, 0x7edcba987654);
	for (unsigned i = 0; i < TIMES; i++)
		__asm__ volatile("swapgs; addq %%rcx, %0; swapgs" : "+r"(sum));
	tap_equal(rdmsr(MSR_FS_BASE), 0x123456789abc, "SDM 4 IA32_FS_BASE after a long loop");
	tap_equal(rdmsr(MSR_GS_BASE), 0xffff9234567890ab, "SDM 4 IA32_GS_BASE after SWAPGS twice");
	tap_equal(rdmsr(MSR_KERNEL_GS_BASE), 0x7edcba987654, "SDM 4 IA32_KERNEL_GS_BASE");
	if (cpuid_ebx(7, 0) & 1) {
		u64 fs, gs;

		write_cr4(read_cr4() | CR4_FSGSBASE);
		__asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(fs), "=r"(gs));
		tap_check(fs == 0x123456789abc && gs == 0xffff9234567890ab,
			  "SDM 2B RDFSBASE and RDGSBASE are the guest's");
		fresh(U64);
		try_run(&t, CODE("1: rdfsbase rax; rdgsbase rdx; dec ecx; jnz 1b"));
		check(&t, t.out.rax == 0x123456789abc && t.out.rdx == 0xffff9234567890ab,
		      "SDM 2B RDFSBASE and RDGSBASE in a loop at CPL 3");
		write_cr4(read_cr4() & ~CR4_FSGSBASE);
	}
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
}

/* --- Code addresses ------------------------------------------------------------------------------ */

/* Each pass compares the address that a call pushed with the one that the guest knows. */
static void return_addresses(enum mode m)
{
	fresh(m);
	runs(&t,
	     is_64(m) ? CODE("lea rbx, [rip + 2f]; 1: call 3f; 2: dec ecx; jnz 1b; jmp 4f;"
			     "3: cmp rbx, [rsp]; jne 5f; ret; 5: ud2; 4:")
		      : CODE32("lea ebx, [2f]; 1: call 3f; 2: dec ecx; jnz 1b; jmp 4f;"
			       "3: cmp ebx, [esp]; jne 5f; ret; 5: ud2; 4:"),
	     "SDM 2A CALL pushes the guest's address");
	fresh(m);
	runs(&t,
	     is_64(m) ? CODE("lea rbx, [rip + 2f]; lea rsi, [rip + 3f]; 1: call rsi;"
			     "2: dec ecx; jnz 1b; jmp 4f;"
			     "3: cmp rbx, [rsp]; jne 5f; ret; 5: ud2; 4:")
		      : CODE32("lea ebx, [2f]; lea esi, [3f]; 1: call esi;"
			       "2: dec ecx; jnz 1b; jmp 4f;"
			       "3: cmp ebx, [esp]; jne 5f; ret; 5: ud2; 4:"),
	     "SDM 2A CALL by a register pushes the guest's address");
	fresh(m);
	runs(&t,
	     is_64(m)
		     ? CODE("lea rbx, [rip + 2f]; lea rsi, [rip + 3f]; mov edi, cs;"
			    "shl rdi, 32; or rdi, rsi; push rdi; shr rdi, 32; 1: call fword ptr [rsp]; 2: dec ecx; jnz 1b;"
			    "jmp 4f; 3: mov eax, [rsp]; cmp eax, ebx; jne 5f; cmp [rsp + 4], edi;"
			    "jne 5f; .byte 0xcb; 5: ud2; 4: pop rsi")
		     : CODE32("lea ebx, [2f]; lea esi, [3f]; mov edi, cs;"
			      "push edi; push esi; 1: call fword ptr [esp]; 2: dec ecx; jnz 1b;"
			      "jmp 4f; 3: cmp [esp], ebx; jne 5f; cmp [esp + 4], edi;"
			      "jne 5f; retf; 5: ud2; 4: pop esi; pop edi"),
	     "SDM 2A CALL FAR pushes the guest's CS and address");
}

static u64 expected_rip;
static volatile u32 traps, wrong;

/* The faulting instruction is two bytes long; go on behind it. */
static bool skip_two(struct frame *f)
{
	traps++;
	if (f->rip != expected_rip || f->cs != t.cs || f->ss != t.ss || f->rsp != t.rsp ||
	    (f->rflags & ~ARITH) != ((t.rflags & ~ARITH) | (f->vector < 32 ? FLAG_RF : 0)))
		wrong++;
	f->rip += 2;
	return true;
}

static void saved_rips(enum mode m)
{
	static const struct {
		u8 vector, bytes[2];
		const char *rule;
	} rows[] = {
		{ UD, { 0x0f, 0x0b }, "SDM 3A 6.12.1 what #UD saves, many times" },
		{ GP, { 0xcd, 0x93 }, "SDM 3A 6.12.1 what #GP of a gate saves, many times" },
		{ DE, { 0xf7, 0xf6 }, "SDM 3A 6.12.1 what #DE saves, many times" },
		{ PF, { 0x8b, 0x06 }, "SDM 3A 6.12.1 what #PF saves, many times" },
	};
	u8 code[32];

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].vector == GP && !is_user(m))
			continue;
		/* 1: add ebx, ecx; the fault; dec ecx; jnz 1b */
		code[0] = 0x01;
		code[1] = 0xcb;
		code[2] = rows[i].bytes[0];
		code[3] = rows[i].bytes[1];
		code[4] = 0xff;
		code[5] = 0xc9;
		code[6] = 0x75;
		code[7] = 0xf8;
		fresh(m);
		t.rcx = 3000;
		t.rsi = rows[i].vector == PF ? 0xc0000000 : 0;
		t.rflags = FLAG_ID | FLAG_NT | 0x1000 | 2;
		if (rows[i].vector == PF) {
			*pt_entry(t.rsi, 2) = 0;
			invlpg(t.rsi);
		}
		expected_rip = (u64)code_bytes(code, 8) + 2;
		traps = wrong = 0;
		handler[rows[i].vector] = skip_two;
		try_run(&t, code_bytes(code, 8));
		handler[rows[i].vector] = 0;
		check(&t, t.out.vector == DONE && traps == 3000 && !wrong, rows[i].rule);
		if (rows[i].vector == PF)
			*pt_entry(t.rsi, 2) = t.rsi | PTE_P | PTE_W | PTE_PS;
	}
}

/* SYSCALL leaves the guest's RIP in RCX and its flags in R11. */
static void system_calls(void)
{
	u64 efer = rdmsr(MSR_EFER);
	const u8 *entry =
		CODE("cmp rcx, rbx; jne 1f; cmp r11, r12; jne 1f; .byte 0x48, 0x0f, 0x07; 1: ud2");

	wrmsr(MSR_EFER, efer | EFER_SCE);
	wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)SEL_UCODE32 << 48);
	wrmsr(MSR_LSTAR, (u64)entry);
	wrmsr(MSR_FMASK, FLAG_IF | FLAG_TF);
	fresh(U64);
	t.rsi = 3000;
	t.rflags = FLAG_ID | FLAG_NT | 2;
	t.r12 = FLAG_ID | FLAG_NT | 2 | FLAG_ZF | 4;
	runs(&t, CODE("lea rbx, [rip + 2f]; 1: xor eax, eax; syscall; 2: dec esi; jnz 1b"),
	     "SDM 2B SYSCALL gives the guest's RIP and flags, SYSRET takes them back");
	check(&t, t.out.cs == SEL_UCODE64 && t.out.ss == SEL_UDATA,
	      "SDM 2B SYSRET: CS and SS are those of IA32_STAR");
	wrmsr(MSR_EFER, efer);
}

/* --- Interrupts at any instruction --------------------------------------------------------------- */

static u64 loop_start;

/*
 * add rax, 3 (4 bytes); add rdx, 1 (4); dec rcx (3); jnz (2); INT 81h: the registers have one
 * relation at each of these addresses.
 */
static bool on_timer(struct frame *f)
{
	u64 at = f->rip - loop_start;

	traps++;
	outb(0x20, 0x20);
	if ((at != 0 && at != 4 && at != 8 && at != 11 && at != 13) ||
	    f->rax != 3 * (f->rdx + (at == 4)) || f->rcx + f->rdx != t.rcx + (at == 8) ||
	    f->cs != t.cs || f->ss != t.ss || f->rsp != t.rsp || f->rbx != t.rbx ||
	    f->rbp != t.rbp || f->r12 != t.r12 || f->r15 != t.r15 ||
	    (f->rflags & ~ARITH) != (FLAG_IF | FLAG_ID | 2))
		wrong++;
	return true;
}

static void timer(enum mode m)
{
	const u8 *code = CODE("1: add rax, 3; add rdx, 1; dec rcx; jnz 1b");

	if (!is_64(m))
		return;
	handler[0x20] = on_timer;
	outb(0x43, 0x34); /* channel 0, mode 2, about 8 kHz */
	outb(0x40, 150);
	outb(0x40, 0);
	outb(0x21, 0xfe);
	traps = wrong = 0;
	for (unsigned i = 0; i < 20000 && traps < 300; i++) {
		fresh(m);
		t.rcx = 300000;
		t.rflags = FLAG_ID | FLAG_IF | 2;
		loop_start = (u64)code;
		try_run(&t, code);
		if (t.out.vector != DONE || t.out.rax != 900000 || t.out.rdx != 300000 || !kept())
			wrong++;
	}
	outb(0x21, 0xff);
	handler[0x20] = 0;
	tap_check(traps >= 300, "SDM 3A 6.8.1 the timer interrupts a hot loop");
	tap_equal(wrong, 0, "SDM 3A 6.8 an interrupt in a hot loop shows one instruction boundary");
}

/* Single steps: RIP goes through the guest's instructions, one by one. */
static u64 step_sum, steps;

static bool on_step(struct frame *f)
{
	steps++;
	step_sum += f->rip - loop_start;
	if (!(f->rflags & FLAG_TF) || f->cs != t.cs)
		wrong++;
	return f->rip - loop_start < 13;
}

static void single_step(enum mode m)
{
	const u8 *code = CODE("1: add rax, 3; add rdx, 1; dec rcx; jnz 1b");

	if (!is_64(m))
		return;
	fresh(m);
	t.rcx = 500;
	t.rflags = FLAG_TF | 2;
	loop_start = (u64)code;
	steps = step_sum = wrong = 0;
	handler[DB] = on_step;
	try_run(&t, code);
	handler[DB] = 0;
	check(&t,
	      t.out.vector == DB && steps == 2000 && !wrong &&
		      step_sum == 500 * (4 + 8 + 11) + 13 && t.out.rip == loop_start + 13,
	      "SDM 3A 17.3.1.4 TF: one #DB behind each instruction of a loop");
}

/* --- x87, SSE and extended state ----------------------------------------------------------------- */

static u8 image[1024] __attribute__((aligned(64), section(".user.data")));
static u32 number[4] USER = { 7, 0, 0x3f800000, 0x3eaaaaab };

static u64 field(unsigned at, unsigned size)
{
	u64 value = 0;

	while (size--)
		value = value << 8 | image[at + size];
	return value;
}

static bool either(u64 value, u64 wanted) { return value == wanted || value == 0; }

/* FCS and FDS: CPUID.7.EBX[13] says that they are 0; a processor that has them stores the selector. */
static bool selector_is(u64 value, u64 wanted)
{
	return value == (cpuid_ebx(7, 0) >> 13 & 1 ? 0 : wanted);
}

/*
 * The last x87 instruction that is no control instruction is FIDIV dword [rsi], byte 7 of each text.
 * The last run leaves #Z, which it raises, unmasked and pending.
 */
static void x87(enum mode m)
{
	const u8 *code[2] = {
		is_64(m)
			? CODE("1: fild dword ptr [rbx]; fldz; fxch; nop; fidiv dword ptr [rsi];"
			       "fwait; dec ecx; jnz 2f; fnstenv [rdi]; jmp 3f; 2: fninit; jmp 1b; 3:")
			: CODE32("1: fild dword ptr [ebx]; fldz; fxch; nop; fidiv dword ptr [esi];"
				 "fwait; dec ecx; jnz 2f; fnstenv [edi]; jmp 3f; 2: fninit; jmp 1b; 3:"),
		is_64(m)
			? CODE("1: fild dword ptr [rbx]; fldz; fxch; nop; fidiv dword ptr [rsi];"
			       "nop; dec ecx; jnz 2f; fxsave [rdi]; jmp 3f; 2: fninit; fldcw [rbp]; jmp 1b; 3:")
			: CODE32("1: fild dword ptr [ebx]; fldz; fxch; nop; fidiv dword ptr [esi];"
				 "nop; dec ecx; jnz 2f; fxsave [edi]; jmp 3f; 2: fninit; fldcw [ebp]; jmp 1b; 3:"),
	};
	static u16 control[2] USER = { 0x37f, 0x37b }; /* all masked; #Z not */

	for (unsigned n = 0; n < 3; n++) {
		bool fxsave = n > 0, pending = n == 2, ok;
		u64 fip = (u64)code[fxsave] + 7, fdp = (u64)&number[pending];
		u64 fop = 0x236; /* DAh 36h: FIDIV m32 at [rsi] */

		for (unsigned i = 0; i < sizeof(image); i++)
			image[i] = POISON;
		fresh(m);
		t.rcx = pending ? 1 : 3000;
		t.rbx = (u64)&number[0];
		t.rsi = fdp;
		t.rdi = (u64)image;
		t.rbp = (u64)&control[0];
		__asm__ volatile("fninit; fldcw %0" : : "m"(control[pending]));
		try_run(&t, code[fxsave]);
		__asm__ volatile("fninit");
		if (!fxsave) {
			ok = field(12, 4) == fip &&
			     (field(16, 2) == 0 || selector_is(field(16, 2), t.cs)) &&
			     either(field(18, 2) & 0x7ff, fop) && either(field(20, 4), fdp) &&
			     selector_is(field(24, 2), t.ds);
			check(&t, t.out.vector == DONE && ok,
			      "SDM 1 8.1.8 FNSTENV: FIP, FCS, FOP, FDP and FDS are the guest's");
		} else {
			/* SDM 2A FXSAVE; AMD stores pointers for a pending exception only. */
			bool none = !field(6, 2) && !field(8, 8) && !field(16, 8);
			bool old = field(6, 2) == 0xa5a5 && field(8, 8) == 0xa5a5a5a5a5a5a5a5;

			ok = field(8, 4) == (u32)fip && selector_is(field(12, 2), t.cs) &&
			     either(field(6, 2), fop) && either(field(16, 4), fdp) &&
			     selector_is(field(20, 2), t.ds);
			if (pending || cpu_is_intel())
				check(&t, t.out.vector == DONE && ok,
				      "SDM 2A FXSAVE: FIP, FCS, FOP, FDP and FDS are the guest's");
			else
				check(&t, t.out.vector == DONE && (ok || none || old),
				      "APM 2 11.4.4 FXSAVE without an exception: the guest's, or none");
			ok = true;
			for (unsigned i = 464; i < 1024; i++)
				ok &= image[i] == POISON;
			check(&t, ok, "SDM 2A FXSAVE writes nothing behind byte 463");
		}
		if (!ok) {
			say("fip", field(fxsave ? 8 : 12, 8));
			say("fop", field(fxsave ? 6 : 18, 2));
			say("fdp", field(fxsave ? 16 : 20, 8));
			say("instruction", fip);
		}
	}
}

static void sse(enum mode m)
{
	static u32 control[4] USER = { 0x1f80, 0x9fc0, 0x7f80, 0x3f80 };
	const u8 *exact = is_64(m) ? CODE("ldmxcsr [rbx]; 1: movss xmm0, [rsi]; addss xmm0, xmm0;"
					  "sqrtss xmm1, [rsi]; dec ecx; jnz 1b; stmxcsr [rdi]")
				   : CODE32("ldmxcsr [ebx]; 1: movss xmm0, [esi]; addss xmm0, xmm0;"
					    "sqrtss xmm1, [esi]; dec ecx; jnz 1b; stmxcsr [edi]");
	bool ok = true;

	for (unsigned n = 0; n < 8; n++) {
		u32 wanted = control[n & 3] | (n & 4 ? 0x20 : 0);

		fresh(m);
		t.rbx = (u64)&control[n & 3];
		t.rsi = (u64)&number[n & 4 ? 3 : 2];
		t.rdi = (u64)image;
		try_run(&t, exact);
		ok &= t.out.vector == DONE && field(0, 4) == wanted;
		if (field(0, 4) != wanted)
			tap_note("mxcsr", field(0, 4), wanted);
	}
	check(&t, ok,
	      "SDM 1 10.2.3 MXCSR: the guest's controls, and the exceptions that it caused");
}

static u64 xgetbv(u32 index)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
	return (u64)hi << 32 | lo;
}

static void extended_state(void)
{
	u64 all = cpuid_eax(13, 0) | (u64)cpuid_edx(13, 0) << 32;

	if (!(cpuid_ecx(1, 0) >> 26 & 1)) {
		tap_skip("SDM 2D XGETBV", "no XSAVE");
		return;
	}
	write_cr4(read_cr4() | CR4_OSXSAVE);
	tap_equal(xgetbv(0), 1, "SDM 1 13.3 XCR0 is 1 after reset");
	for (u64 xcr0 = 3; xcr0 <= 7 && (all & xcr0) == xcr0; xcr0 += 4) {
		__asm__ volatile("xsetbv" : : "a"((u32)xcr0), "d"(0), "c"(0));
		fresh(U64);
		t.rsi = TIMES;
		try_run(&t, CODE("1: xor ecx, ecx; xgetbv; dec esi; jnz 1b"));
		check(&t, t.out.rax == xcr0 && !t.out.rdx, "SDM 2D XGETBV(0) is the guest's XCR0");
		if (cpuid_eax(13, 1) & 4) {
			tap_check(!(xgetbv(1) & ~xcr0), "SDM 2D XGETBV(1) is within XCR0");
			if (xcr0 & 4) {
				__asm__ volatile("vzeroall");
				tap_check(!(xgetbv(1) & 4),
					  "SDM 1 13.6 XINUSE[2] is 0 after VZEROALL");
				__asm__ volatile("vpcmpeqd %xmm1, %xmm1, %xmm1;"
						 "vinsertf128 $1, %xmm1, %ymm1, %ymm1");
				tap_check(xgetbv(1) & 4,
					  "SDM 1 13.6 XINUSE[2] is 1 with a YMM in use");
				__asm__ volatile("vzeroall");
			}
		}
	}
	__asm__ volatile("xsetbv" : : "a"(1), "d"(0), "c"(0));
	write_cr4(read_cr4() & ~CR4_OSXSAVE);
}

/* --- Tables, debug registers, identification, counters ------------------------------------------- */

static void tables(enum mode m)
{
	static u8 saved[32] USER;
	u64 base_g = 0, base_i = 0;

	fresh(m);
	t.rbx = (u64)saved;
	try_run(&t, is_64(m) ? CODE("1: sgdt [rbx]; sidt [rbx + 16]; sldt eax; str edx; smsw esi;"
				    "dec ecx; jnz 1b")
			     : CODE32("1: sgdt [ebx]; sidt [ebx + 16]; sldt eax; str edx; smsw esi;"
				      "dec ecx; jnz 1b"));
	for (unsigned i = is_64(m) ? 8 : 4; i--;) {
		base_g = base_g << 8 | saved[2 + i];
		base_i = base_i << 8 | saved[18 + i];
	}
	check(&t,
	      t.out.vector == DONE && base_g == (u64)gdt && base_i == (u64)idt &&
		      saved[0] == 0xff && saved[1] == 3 && saved[16] == 0xff && saved[17] == 0xf &&
		      !t.out.rax && t.out.rdx == SEL_TSS && t.out.rsi == read_cr0(),
	      "SDM 2B SGDT, SIDT, SLDT, STR and SMSW in a loop");
}

static void debug_registers(void)
{
	write_dr0(0x123456789abc);
	write_dr1(0xffff800000001234);
	write_dr2(0x5555);
	write_dr3(0xffffffffffffffff);
	write_dr6(0xffff0ff0);
	write_dr7(0x400);
	fresh(K64);
	try_run(&t, CODE("1: add rax, rcx; call 2f; dec ecx; jnz 1b; jmp 3f; 2: ret; 3:"));
	for (volatile u32 i = 0; i < TIMES; i++)
		;
	tap_check(read_dr0() == 0x123456789abc && read_dr1() == 0xffff800000001234 &&
			  read_dr2() == 0x5555 && read_dr3() == ~0ull,
		  "SDM 3A 17.2 DR0 to DR3 are the guest's");
	tap_check(read_dr6() == 0xffff0ff0 && read_dr7() == 0x400,
		  "SDM 3A 17.2 DR6 and DR7 are the guest's");
	write_dr0(0);
	write_dr1(0);
	write_dr2(0);
	write_dr3(0);
	/* The last branch: a guest's address, 0, or no such register. */
	for (u32 msr = 0x1db; msr <= 0x1de; msr++) {
		fresh(K64);
		t.rcx = msr;
		try_run(&t, CODE("rdmsr"));
		check(&t,
		      (t.out.vector == GP && !t.out.error) ||
			      (t.out.vector == DONE && !t.out.rdx && t.out.rax < 0x1000000),
		      "SDM 3B 17.4 last-branch and last-exception records hold no host address");
	}
	fresh(K64);
	t.rcx = 0x1d9;
	try_run(&t, CODE("rdmsr"));
	check(&t, t.out.vector == DONE && !t.out.rax && !t.out.rdx,
	      "SDM 3B 17.4.1 IA32_DEBUGCTL is 0 after reset");
}

static void counters(enum mode m)
{
	static const u32 index[] = { 0, 1, 5, 0x40000000, 0x40000001, 0x7fffffff };
	bool ok = true;

	if (!is_user(m))
		return;
	for (unsigned i = 0; i < sizeof(index) / sizeof(index[0]); i++) {
		fresh(m);
		t.rcx = index[i];
		try_run(&t, is_64(m) ? CODE("rdpmc") : CODE32("rdpmc"));
		ok &= t.out.vector == GP && !t.out.error && t.out.rip == t.rip && !t.out.rax;
	}
	check(&t, ok, "SDM 2B RDPMC at CPL 3 with CR4.PCE=0: #GP(0), whatever the counter");
}

static u64 cpuid_sum(void)
{
	u64 sum = 0;

	for (u32 range = 0; range < 2; range++) {
		u32 first = range << 31, last = cpuid(first, 0).eax;

		for (u32 leaf = first; leaf <= last && leaf - first < 64; leaf++)
			for (u32 sub = 0; sub < 4; sub++) {
				struct cpuid c = cpuid(leaf, sub);

				sum = (sum << 7 | sum >> 57) ^ c.eax;
				sum = (sum << 7 | sum >> 57) ^ c.ebx;
				sum = (sum << 7 | sum >> 57) ^ c.ecx;
				sum = (sum << 7 | sum >> 57) ^ c.edx;
			}
	}
	return sum;
}

static void identification(void)
{
	u64 first = cpuid_sum();
	unsigned changes = 0;

	for (unsigned i = 0; i < 50; i++)
		changes += cpuid_sum() != first;
	tap_equal(changes, 0, "SDM 2A CPUID gives the same values each time");
}

static void time_stamps(void)
{
	u64 last = 0, back = 0, aux = 0;
	bool rdtscp = cpuid_edx(0x80000001, 0) >> 27 & 1;

	if (rdtscp)
		wrmsr(MSR_TSC_AUX, 0x1234567);
	for (unsigned i = 0; i < 50000; i++) {
		u32 lo, hi, id = 0x1234567;

		if (rdtscp && (i & 1))
			__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(id));
		else
			__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
		back += ((u64)hi << 32 | lo) < last;
		aux += id != 0x1234567;
		last = (u64)hi << 32 | lo;
	}
	tap_equal(back, 0, "SDM 3B 17.17 the time-stamp counter never goes back");
	tap_equal(aux, 0, "SDM 2B RDTSCP gives the guest's IA32_TSC_AUX");
	if (cpuid_ecx(7, 0) >> 22 & 1) {
		fresh(U64);
		try_run(&t, CODE("1: rdpid rax; dec ecx; jnz 1b"));
		check(&t, t.out.rax == 0x1234567, "SDM 2B RDPID gives the guest's IA32_TSC_AUX");
	}
	if (rdtscp)
		wrmsr(MSR_TSC_AUX, 0);
}

void lm_main(void)
{
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	for (enum mode m = K64; m <= U32; m++) {
		in_mode(m);
		registers(m);
		below_stack(m);
		segments(m);
		return_addresses(m);
		saved_rips(m);
		timer(m);
		single_step(m);
		x87(m);
		sse(m);
		tables(m);
		counters(m);
	}
	bases();
	system_calls();
	extended_state();
	debug_registers();
	identification();
	time_stamps();
}
