/*
 * SMEP, SMAP and UMIP: SDM 3A 4.6, 2.5, SDM 2 STAC, CLAC, SGDT, SIDT, SLDT, SMSW, STR.
 */
#include "lib/lm.h"

static u64 user_word[2] USER = { 0x1234, 0 };

static void smep(void)
{
	struct try t = try_new(K64);
	u64 cr4 = read_cr4();

	if (!(cpuid_ebx(7, 0) >> 7 & 1)) {
		t.rax = cr4 | CR4_SMEP;
		t.rcx = cr4;
		faults(&t, CODE("mov cr4, rax; mov cr4, rcx"), GP, 0,
		       "SDM 3A 2.5 CR4.SMEP without CPUID bit faults #GP(0)");
		return;
	}
	write_cr4(cr4 | CR4_SMEP);
	faults(&t, CODE("nop"), PF, PF_P | PF_I,
	       "SDM 3A 4.6.1 SMEP: a supervisor fetch from a user page faults, error P I");
	check(&t, t.cr2 == t.rip, "SDM 3A 4.7 ... with CR2 the address of the fetch");
	t = try_new(U64);
	runs(&t, CODE("nop"), "SDM 3A 4.6.1 SMEP: CPL 3 still runs user pages");
	t = try_new(K64);
	t.rbx = (u64)user_word;
	try_run(&t, KCODE("mov rax, [rbx]"));
	check(&t, t.out.vector == DONE && t.out.rax == 0x1234,
	      "SDM 3A 4.6.1 SMEP: a supervisor read of a user page passes");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
	t = try_new(K64);
	faults(&t, CODE("nop"), PF, PF_P | PF_I,
	       "SDM 3A 4.7 SMEP with EFER.NXE=0: error still P I");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	t = try_new(U64);
	gate_set(0x60, (void *)CODE("nop"), SEL_CODE64, 14, 3, 0);
	try_run(&t, CODE("int 0x60"));
	check(&t, t.out.vector == PF && t.out.error == (PF_P | PF_I) && t.out.cs == SEL_CODE64,
	      "SDM 3A 4.6.1 SMEP: an interrupt handler in a user page faults on its first fetch");
	write_cr4(cr4);
}

static void smap(void)
{
	struct try t = try_new(K64);
	u64 cr4 = read_cr4();
	const u8 *load = KCODE("mov rax, [rbx]"), *store = KCODE("mov [rbx + 8], rcx");

	if (!(cpuid_ebx(7, 0) >> 20 & 1)) {
		faults(&t, CODE("stac"), UD, 0, "SDM 2B STAC without CPUID bit faults #UD");
		t = try_new(K64);
		t.rax = cr4 | CR4_SMAP;
		t.rcx = cr4;
		faults(&t, CODE("mov cr4, rax; mov cr4, rcx"), GP, 0,
		       "SDM 3A 2.5 CR4.SMAP without CPUID bit faults #GP(0)");
		return;
	}
	write_cr4(cr4 | CR4_SMAP);
	t.rbx = (u64)user_word;
	faults(&t, load, PF, PF_P,
	       "SDM 3A 4.6.1 SMAP: a supervisor read of a user page faults, error P");
	t = try_new(K64);
	t.rbx = (u64)user_word;
	faults(&t, store, PF, PF_P | PF_W,
	       "SDM 3A 4.6.1 SMAP: a supervisor write to a user page faults, error P W");
	t = try_new(K64);
	t.rbx = (u64)user_word;
	t.rflags |= FLAG_AC;
	try_run(&t, load);
	check(&t, t.out.vector == DONE && t.out.rax == 0x1234,
	      "SDM 3A 4.6.1 SMAP: RFLAGS.AC=1 allows it");
	t = try_new(K64);
	t.rbx = (u64)user_word;
	try_run(&t, KCODE("stac; mov rax, [rbx]"));
	check(&t, t.out.vector == DONE && t.out.rax == 0x1234 && (t.out.rflags & FLAG_AC),
	      "SDM 2B STAC sets AC");
	t = try_new(K64);
	t.rbx = (u64)user_word;
	t.rflags |= FLAG_AC;
	faults_at(&t, KCODE("clac; mov rax, [rbx]"), 3, PF, PF_P, "SDM 2A CLAC clears AC");
	t = try_new(U64);
	t.rbx = (u64)user_word;
	runs(&t, CODE("mov rax, [rbx]"), "SDM 3A 4.6.1 SMAP: CPL 3 still reads user pages");
	t = try_new(K64);
	runs(&t, CODE("nop"), "SDM 3A 4.6.1 SMAP does not stop fetches");
	t = try_new(K64);
	t.rsp = USER_STACK_TOP - 64;
	faults(&t, KCODE("push rax"), PF, PF_P | PF_W,
	       "SDM 3A 4.6.1 SMAP: PUSH to a user stack faults");
	{
		/* A GDT in a user page: implicit accesses fault whatever AC says. */
		static struct {
			u16 limit;
			u64 base;
		} __attribute__((packed)) moved, back;
		u64 *gdt_page = page_alloc();

		for (unsigned i = 0; i < 128; i++)
			gdt_page[512 - 128 + i] = gdt[i];
		gdt_page[512 - 128 + (SEL_FREE >> 3)] = desc(0, 0xfffff, 0xf3, 0xc);
		*pt_entry(TEST_VA, 1) = (u64)gdt_page | PTE_P | PTE_W;
		*pt_entry(TEST_VA + 4096, 1) = (u64)page_alloc() | PTE_P | PTE_W | PTE_U;
		/* Entries below SEL_FREE lie in a supervisor page, SEL_FREE and above in a user one. */
		for (unsigned i = 0; i < SEL_FREE / 8; i++)
			gdt_page[512 - SEL_FREE / 8 + i] = gdt[i];
		write_cr4(cr4);
		*(u64 *)(TEST_VA + 4096) = desc(0, 0xfffff, 0xf3, 0xc);
		write_cr4(cr4 | CR4_SMAP);
		moved.limit = 0x3ff;
		moved.base = TEST_VA + 4096 - SEL_FREE;
		back.limit = 0x3ff;
		back.base = (u64)gdt;
		__asm__ volatile("lgdt %0" : : "m"(moved));
		t = try_new(K64);
		t.rax = SEL_FREE;
		t.rflags |= FLAG_AC;
		faults(&t, KCODE("mov ds, eax"), PF, PF_P,
		       "SDM 3A 4.6.1 SMAP: an implicit access to a user page faults with AC=1 too");
		t = try_new(U64);
		t.rax = SEL_FREE | 3;
		t.rflags |= FLAG_AC;
		faults(&t, CODE("mov ds, eax"), PF, PF_P,
		       "SDM 3A 4.6.1 SMAP: an implicit access at CPL 3 to a user page faults");
		__asm__ volatile("lgdt %0" : : "m"(back));
	}
	t = try_new(U64);
	faults(&t, CODE("stac"), UD, 0, "SDM 2B STAC at CPL 3 faults #UD");
	t = try_new(U64);
	faults(&t, CODE("clac"), UD, 0, "SDM 2A CLAC at CPL 3 faults #UD");
	write_cr4(cr4);
	t = try_new(K64);
	runs(&t, CODE("stac; clac"), "SDM 2B STAC and CLAC work with CR4.SMAP=0");
}

static void umip(void)
{
	struct {
		const u8 *code;
		const char *on, *off, *kernel;
	} rows[] = {
		{ CODE("sgdt [rbx]"), "SDM 2B SGDT at CPL 3 with CR4.UMIP=1 faults #GP(0)",
		  "SDM 2B SGDT at CPL 3 with CR4.UMIP=0 works",
		  "SDM 2B SGDT at CPL 0 with UMIP works" },
		{ CODE("sidt [rbx]"), "SDM 2B SIDT at CPL 3 with CR4.UMIP=1 faults #GP(0)",
		  "SDM 2B SIDT at CPL 3 with CR4.UMIP=0 works",
		  "SDM 2B SIDT at CPL 0 with UMIP works" },
		{ CODE("sldt eax"), "SDM 2B SLDT at CPL 3 with CR4.UMIP=1 faults #GP(0)",
		  "SDM 2B SLDT at CPL 3 with CR4.UMIP=0 works",
		  "SDM 2B SLDT at CPL 0 with UMIP works" },
		{ CODE("smsw eax"), "SDM 2B SMSW at CPL 3 with CR4.UMIP=1 faults #GP(0)",
		  "SDM 2B SMSW at CPL 3 with CR4.UMIP=0 works",
		  "SDM 2B SMSW at CPL 0 with UMIP works" },
		{ CODE("str eax"), "SDM 2B STR at CPL 3 with CR4.UMIP=1 faults #GP(0)",
		  "SDM 2B STR at CPL 3 with CR4.UMIP=0 works",
		  "SDM 2B STR at CPL 0 with UMIP works" },
	};
	static u64 buffer[2] USER;
	u64 cr4 = read_cr4();
	struct try t;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		t = try_new(U64);
		t.rbx = (u64)buffer;
		runs(&t, rows[i].code, rows[i].off);
	}
	if (!(cpuid_ecx(7, 0) >> 2 & 1)) {
		t = try_new(K64);
		t.rax = cr4 | CR4_UMIP;
		t.rcx = cr4;
		faults(&t, CODE("mov cr4, rax; mov cr4, rcx"), GP, 0,
		       "SDM 3A 2.5 CR4.UMIP without CPUID bit faults #GP(0)");
		return;
	}
	write_cr4(cr4 | CR4_UMIP);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		t = try_new(U64);
		t.rbx = (u64)buffer;
		faults(&t, rows[i].code, GP, 0, rows[i].on);
		t = try_new(K64);
		t.rbx = (u64)buffer;
		runs(&t, rows[i].code, rows[i].kernel);
	}
	write_cr4(cr4);
}

void lm_main(void)
{
	smep();
	smap();
	umip();
}
