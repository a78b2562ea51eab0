/*
 * Canonical addresses, SDM 1 3.3.7.1: which reference faults #GP(0), which #SS(0), which neither.
 * With 4-level paging bits 63:47 of a linear address are equal.
 */
#include "lib/lm.h"

#define TOP_PAGE 0x00007ffffffff000ull /* the last page of the lower half */

static void data(void)
{
	static const u64 bad[] = { NONCANON, 0xffff7fffffffffff, 0x8000000000000000,
				   0x0000fffffffffff8 };
	struct try t;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		t = try_new(U64);
		t.rbx = bad[i];
		faults(&t, CODE("mov rax, [rbx]"), GP, 0,
		       "SDM 1 3.3.7.1 a load from a non-canonical address faults #GP(0)");
	}
	t = try_new(U64);
	t.rbx = NONCANON;
	faults(&t, CODE("mov byte ptr [rbx], 1"), GP, 0,
	       "SDM 1 3.3.7.1 a store to a non-canonical address faults #GP(0)");
	check(&t, t.cr2 == 0x5a5a5a, "SDM 3A 6.15 #GP leaves CR2 alone");
	t = try_new(U64);
	t.rsp = NONCANON;
	faults(&t, CODE("mov rax, [rsp]"), SS, 0, "SDM 1 3.3.7.1 a load through RSP faults #SS(0)");
	t = try_new(U64);
	t.rbp = NONCANON;
	faults(&t, CODE("mov rax, [rbp]"), SS, 0, "SDM 1 3.3.7.1 a load through RBP faults #SS(0)");
	t = try_new(U64);
	t.rbp = NONCANON - 0x10;
	t.rax = 0x10;
	faults(&t, CODE("mov rax, [rbp + rax]"), SS, 0,
	       "SDM 1 3.7.4 base RBP with an index is a stack reference: #SS(0)");
	t = try_new(U64);
	t.rax = NONCANON;
	t.rbp = 0;
	faults(&t, CODE("mov rax, [rax + rbp * 2]"), GP, 0,
	       "SDM 1 3.7.4 index RBP is no stack reference: #GP(0)");
	t = try_new(U64);
	t.r12 = NONCANON;
	faults(&t, CODE("mov rax, [r12]"), GP, 0,
	       "SDM 1 3.7.4 base R12 is no stack reference: #GP(0)");
	t = try_new(U64);
	t.r13 = NONCANON;
	faults(&t, CODE("mov rax, [r13]"), GP, 0,
	       "SDM 1 3.7.4 base R13 is no stack reference: #GP(0)");
	t = try_new(U64);
	t.rbp = NONCANON;
	faults(&t, CODE("mov rax, fs:[rbp]"), GP, 0,
	       "SDM 1 3.7.4 an FS override makes an RBP reference #GP(0)");
	t = try_new(U64);
	t.rbp = NONCANON;
	faults(&t, CODE(".byte 0x3e; mov rax, [rbp]"), SS, 0,
	       "SDM 1 3.7.4 a DS override is ignored in 64-bit mode: RBP still faults #SS(0)");
	t = try_new(U64);
	t.rbx = NONCANON;
	faults(&t, CODE(".byte 0x36; mov rax, [rbx]"), GP, 0,
	       "SDM 1 3.7.4 an SS override is ignored in 64-bit mode: RBX still faults #GP(0)");
	t = try_new(U64);
	t.rbx = NONCANON;
	faults(&t, CODE("clflush [rbx]"), GP, 0,
	       "SDM 2A CLFLUSH of a non-canonical address faults #GP(0)");
	t = try_new(U64);
	t.rbx = NONCANON;
	runs(&t, CODE("lea rax, [rbx]; prefetcht0 [rbx]; nop dword ptr [rbx]"),
	     "SDM 2 LEA, PREFETCH and NOP do not check for canonical addresses");
	t = try_new(K64);
	t.rbx = NONCANON;
	runs(&t, CODE("invlpg [rbx]"), "SDM 2A INVLPG of a non-canonical address does nothing");
}

static void stack(void)
{
	struct try t = try_new(U64);

	t.rsp = NONCANON + 0x100;
	faults(&t, CODE("push rax"), SS, 0, "SDM 2B PUSH to a non-canonical stack faults #SS(0)");
	check(&t, t.out.rsp == t.rsp, "SDM 2B a PUSH that faults leaves RSP alone");
	t = try_new(U64);
	t.rsp = NONCANON;
	faults(&t, CODE("pop rax"), SS, 0, "SDM 2B POP from a non-canonical stack faults #SS(0)");
	t = try_new(U64);
	t.rsp = NONCANON + 0x100;
	faults(&t, CODE("call 1f; 1:"), SS, 0,
	       "SDM 2A CALL with a non-canonical stack faults #SS(0)");
	t = try_new(U64);
	t.rsp = NONCANON;
	faults(&t, CODE("ret"), SS, 0, "SDM 2B RET with a non-canonical stack faults #SS(0)");
	t = try_new(U64);
	t.rbp = NONCANON;
	faults(&t, CODE("leave"), SS, 0, "SDM 2A LEAVE with a non-canonical RBP faults #SS(0)");
	check(&t, t.out.rsp == t.rsp, "SDM 2A a LEAVE that faults leaves RSP alone");
	t = try_new(U64);
	t.rsp = NONCANON + 8;
	faults(&t, CODE("enter 16, 0"), SS, 0,
	       "SDM 2A ENTER with a non-canonical stack faults #SS(0)");
	check(&t, t.out.rbp == 0 && t.out.rsp == t.rsp,
	      "SDM 2A an ENTER that faults leaves RSP and RBP alone");
	t = try_new(U64);
	t.rbx = NONCANON;
	faults(&t, CODE("pop qword ptr [rbx]"), GP, 0,
	       "SDM 2B POP to a non-canonical address faults #GP(0)");
	check(&t, t.out.rsp == t.rsp, "SDM 2B a POP whose store faults leaves RSP alone");
	t = try_new(U64);
	t.rsp = NONCANON + 8;
	faults(&t, CODE("pushfq"), SS, 0, "SDM 2B PUSHF to a non-canonical stack faults #SS(0)");
}

static void string(void)
{
	struct try t = try_new(U64);

	t.rsi = NONCANON;
	t.rdi = USER_STACK_TOP - 64;
	faults(&t, CODE("movsb"), GP, 0, "SDM 2B MOVS with a non-canonical RSI faults #GP(0)");
	check(&t, t.out.rsi == t.rsi && t.out.rdi == t.rdi,
	      "SDM 2B a MOVS that faults leaves RSI and RDI alone");
	t = try_new(U64);
	t.rdi = NONCANON;
	faults(&t, CODE("stosq"), GP, 0, "SDM 2B STOS with a non-canonical RDI faults #GP(0)");
	t = try_new(U64);
	t.rbx = NONCANON;
	faults(&t, CODE("xlatb"), GP, 0, "SDM 2D XLAT of a non-canonical address faults #GP(0)");
	t = try_new(U64);
	t.rcx = 3;
	t.rdi = TOP_PAGE + 0xff0;
	faults(&t, CODE("rep stosq"), GP, 0,
	       "SDM 2B REP STOS stops where RDI leaves the canonical range: #GP(0)");
	check(&t, t.out.rcx == 1 && t.out.rdi == NONCANON,
	      "SDM 2B ... with RCX and RDI of the iteration that faulted");
}

static void edge(void)
{
	struct try t = try_new(U64);

	t.rbx = NONCANON - 8;
	runs(&t, CODE("mov rax, [rbx]"), "SDM 1 3.3.7.1 the last canonical quadword can be read");
	t = try_new(U64);
	t.rbx = NONCANON - 4;
	faults(&t, CODE("mov rax, [rbx]"), GP, 0,
	       "SDM 1 3.3.7.1 an operand that ends beyond the canonical range faults #GP(0)");
	t = try_new(U64);
	t.rsp = NONCANON - 4;
	faults(&t, CODE("pop rax"), SS, 0,
	       "SDM 1 3.3.7.1 a stack operand that ends beyond the canonical range faults #SS(0)");
	t = try_new(U64);
	t.rbx = 0xfffffffffffffffc;
	faults(&t, CODE("mov rax, [rbx]"), PF, PF_U,
	       "SDM 1 3.3.7.1 the top of the upper half is canonical: an unmapped page there is #PF");
	check(&t, t.cr2 == 0xfffffffffffffffc, "SDM 3A 4.7 CR2 holds all 64 bits of the address");
	t = try_new(U64);
	t.rbx = 0xffff800000000000;
	faults(&t, CODE("mov rax, [rbx]"), PF, PF_U,
	       "SDM 1 3.3.7.1 the bottom of the upper half is canonical: #PF");
}

static u64 target[2] USER;

static void control(void)
{
	u8 *last = (u8 *)(NONCANON - 1);
	struct try t = try_new(U64);

	t.rax = NONCANON;
	faults(&t, CODE("jmp rax"), GP, 0,
	       "SDM 2A JMP to a non-canonical address faults #GP(0) on the JMP");
	t = try_new(U64);
	t.rax = NONCANON;
	faults(&t, CODE("call rax"), GP, 0,
	       "SDM 2A CALL to a non-canonical address faults #GP(0) on the CALL");
	check(&t, t.out.rsp == t.rsp, "SDM 2A a CALL that faults leaves RSP alone");
	t = try_new(U64);
	target[0] = NONCANON;
	t.rbx = (u64)target;
	faults(&t, CODE("jmp qword ptr [rbx]"), GP, 0,
	       "SDM 2A JMP through memory to a non-canonical address faults #GP(0) on the JMP");
	t = try_new(U64);
	t.rsp -= 8;
	*(u64 *)t.rsp = NONCANON;
	faults(&t, CODE("ret"), GP, 0,
	       "SDM 2B RET to a non-canonical address faults #GP(0) on the RET");
	check(&t, t.out.rsp == t.rsp, "SDM 2B a RET that faults leaves RSP alone");
	*last = 0x90;
	t = try_new(U64);
	faults_at(&t, last, 1, GP, 0,
		  "SDM 1 3.3.7.1 running past the canonical range faults #GP(0) at 800000000000h");
	last[-1] = 0xeb; /* a jump by 0: ends at the canonical edge, goes beyond */
	last[0] = 0;
	t = try_new(U64);
	try_run(&t, last - 1);
	check(&t, t.out.vector == GP && t.out.error == 0,
	      "SDM 2A a short JMP to a non-canonical address faults #GP(0)");
}

static struct {
	u16 limit;
	u64 base;
} __attribute__((packed)) pointer USER;

static void tables(void)
{
	struct try t = try_new(K64);

	pointer.limit = 0xfff;
	pointer.base = NONCANON;
	t.rbx = (u64)&pointer;
	faults(&t, CODE("lidt [rbx]"), GP, 0,
	       "SDM 2A LIDT with a non-canonical base faults #GP(0)");
	t = try_new(K64);
	t.rbx = (u64)&pointer;
	faults(&t, CODE("lgdt [rbx]"), GP, 0,
	       "SDM 2A LGDT with a non-canonical base faults #GP(0)");
	t = try_new(K64);
	t.rbx = NONCANON;
	faults(&t, CODE("lgdt [rbx]"), GP, 0,
	       "SDM 2A LGDT from a non-canonical address faults #GP(0)");
}

static void bases(void)
{
	static const struct {
		u32 msr;
		bool intel_only; /* AMD keeps 32 bits of the SYSENTER registers */
		const char *rule;
	} msrs[] = {
		{ MSR_LSTAR, false, "SDM 2D WRMSR of a non-canonical IA32_LSTAR faults #GP(0)" },
		{ MSR_CSTAR, false, "SDM 2D WRMSR of a non-canonical IA32_CSTAR faults #GP(0)" },
		{ MSR_FS_BASE, false,
		  "SDM 2D WRMSR of a non-canonical IA32_FS_BASE faults #GP(0)" },
		{ MSR_GS_BASE, false,
		  "SDM 2D WRMSR of a non-canonical IA32_GS_BASE faults #GP(0)" },
		{ MSR_KERNEL_GS_BASE, false,
		  "SDM 2D WRMSR of a non-canonical IA32_KERNEL_GS_BASE faults #GP(0)" },
		{ MSR_SYSENTER_ESP, true,
		  "SDM 2D WRMSR of a non-canonical IA32_SYSENTER_ESP faults #GP(0) (Intel)" },
		{ MSR_SYSENTER_EIP, true,
		  "SDM 2D WRMSR of a non-canonical IA32_SYSENTER_EIP faults #GP(0) (Intel)" },
	};
	struct try t;

	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		if (msrs[i].intel_only && !cpu_is_intel()) {
			tap_skip(msrs[i].rule, "not an Intel processor");
			continue;
		}
		t = try_new(K64);
		t.rcx = msrs[i].msr;
		t.rdx = NONCANON >> 32;
		faults(&t, CODE("wrmsr"), GP, 0, msrs[i].rule);
	}
	wrmsr(MSR_FS_BASE, 0x00007ffffffff000);
	t = try_new(U64);
	t.rbx = 0x1000;
	faults(&t, CODE("mov rax, fs:[rbx]"), GP, 0,
	       "SDM 1 3.3.7.1 FS base plus offset is checked: #GP(0)");
	wrmsr(MSR_FS_BASE, 0xffffffffffffff00);
	target[1] = 0x1122334455667788;
	t = try_new(U64);
	t.rbx = (u64)&target[1] + 0x100;
	try_run(&t, CODE("mov rax, fs:[rbx]"));
	check(&t, t.out.vector == DONE && t.out.rax == 0x1122334455667788,
	      "SDM 3A 3.4.4 FS base plus offset wraps at 64 bits");
	wrmsr(MSR_FS_BASE, 0);
}

void lm_main(void)
{
	*pt_entry(TOP_PAGE, 1) = (u64)page_alloc() | PTE_P | PTE_W | PTE_U;
	data();
	stack();
	string();
	edge();
	control();
	tables();
	bases();
}
