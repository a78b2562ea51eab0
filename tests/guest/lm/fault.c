/*
 * Faults while a fault is delivered: SDM 3A 6.15 (double fault, table 6-5), 6.13.
 */
#include "lib/lm.h"

#define NO_PAGE 0x7000000000ull

static void absent(unsigned vector) { idt[2 * vector] &= ~(1ull << 47); }
static void present(unsigned vector) { idt[2 * vector] |= 1ull << 47; }

static void contributory(void)
{
	static const struct {
		u8 vector;
		const char *rule;
	} rows[] = {
		{ DE, "SDM 3A 6.15 #NP on delivery of #DE: #DF(0)" },
		{ GP, "SDM 3A 6.15 #NP on delivery of #GP: #DF(0)" },
		{ SS, "SDM 3A 6.15 #NP on delivery of #SS: #DF(0)" },
		{ PF, "SDM 3A 6.15 #NP on delivery of #PF: #DF(0)" },
	};
	struct try t;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		absent(rows[i].vector);
		t = try_new(U64);
		t.rbx = NO_PAGE;
		t.rbp = NONCANON;
		try_run(&t, rows[i].vector == DE   ? CODE("xor ecx, ecx; div ecx")
			    : rows[i].vector == GP ? CODE("hlt")
			    : rows[i].vector == SS ? CODE("mov rax, [rbp]")
						   : CODE("mov rax, [rbx]"));
		present(rows[i].vector);
		check(&t, t.out.vector == DF && t.out.error == 0, rows[i].rule);
	}
	absent(NP);
	absent(UD);
	t = try_new(U64);
	try_run(&t, CODE("ud2"));
	present(NP);
	present(UD);
	check(&t, t.out.vector == DF && t.out.error == 0,
	      "SDM 3A 6.15 #NP on delivery of #NP, itself from #UD: #DF(0)");
}

static void benign(void)
{
	static const struct {
		u8 vector;
		u16 error;
		const char *rule;
	} rows[] = {
		{ UD, UD * 8 + 3, "SDM 3A 6.15 #NP on delivery of #UD is handled: #UD is benign" },
		{ DB, DB * 8 + 3, "SDM 3A 6.15 #NP on delivery of #DB is handled: #DB is benign" },
		{ BP, BP * 8 + 2, "SDM 3A 6.15 #NP on delivery of INT3 is handled, EXT=0" },
		{ NM, NM * 8 + 3, "SDM 3A 6.15 #NP on delivery of #NM is handled: #NM is benign" },
	};
	struct try t;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		u64 cr0 = read_cr0();

		absent(rows[i].vector);
		t = try_new(U64);
		if (rows[i].vector == DB)
			t.rflags |= FLAG_TF;
		if (rows[i].vector == NM)
			write_cr0(cr0 | CR0_TS);
		try_run(&t, rows[i].vector == UD   ? CODE("ud2")
			    : rows[i].vector == DB ? CODE("nop; nop")
			    : rows[i].vector == BP ? CODE("int3")
						   : CODE("fnop"));
		write_cr0(cr0);
		present(rows[i].vector);
		check(&t, t.out.vector == NP && t.out.error == rows[i].error, rows[i].rule);
	}
}

static void page_faults(void)
{
	struct try t;
	u64 top = tss.rsp[0];

	gate_set(PF, trap_stubs + 16 * PF, SEL_CODE64, 14, 0, 5);
	tss.ist[5] = NO_PAGE;
	t = try_new(U64);
	t.rbx = NO_PAGE + 0x5000;
	try_run(&t, CODE("mov rax, [rbx]"));
	check(&t, t.out.vector == DF && t.out.error == 0 && t.out.rip == t.rip,
	      "SDM 3A 6.15 #PF on delivery of #PF: #DF(0), RIP on the first fault");
	check(&t, t.cr2 - (NO_PAGE - 64) < 64, "SDM 3A 6.15 ... CR2 holds the second address");
	tss.ist[5] = NONCANON;
	t = try_new(U64);
	t.rbx = NO_PAGE;
	try_run(&t, CODE("mov rax, [rbx]"));
	check(&t, t.out.vector == DF && t.out.error == 0,
	      "SDM 3A 6.15 #SS on delivery of #PF: #DF(0)");
	gate_set(PF, trap_stubs + 16 * PF, SEL_CODE64, 14, 0, 1);
	gate_set(GP, trap_stubs + 16 * GP, SEL_CODE64, 14, 0, 5);
	tss.ist[5] = NO_PAGE;
	t = try_new(U64);
	try_run(&t, CODE("hlt"));
	check(&t, t.out.vector == PF && t.out.error == PF_W && t.cr2 - (NO_PAGE - 64) < 64,
	      "SDM 3A 6.15 #PF on delivery of #GP is handled as #PF, a supervisor write");
	tss.ist[5] = NONCANON;
	t = try_new(U64);
	try_run(&t, CODE("hlt"));
	check(&t, t.out.vector == DF, "SDM 3A 6.15 #SS on delivery of #GP: #DF(0)");
	gate_set(GP, trap_stubs + 16 * GP, SEL_CODE64, 14, 0, 1);
	gate_set(UD, trap_stubs + 16 * UD, SEL_CODE64, 14, 0, 0);
	tss.rsp[0] = NONCANON;
	t = try_new(U64);
	try_run(&t, CODE("ud2"));
	tss.rsp[0] = top;
	check(&t, t.out.vector == SS && t.out.error == 1,
	      "SDM 2A #UD with a non-canonical RSP0: #SS(0) with EXT=1");
	gate_set(UD, trap_stubs + 16 * UD, SEL_CODE32, 14, 0, 1);
	t = try_new(U64);
	try_run(&t, CODE("ud2"));
	check(&t, t.out.vector == GP && t.out.error == (SEL_CODE32 | 1),
	      "SDM 3A 6.13 #UD through a gate to 32-bit code: #GP(code) with EXT=1");
	gate_set(UD, trap_stubs + 16 * UD, SEL_CODE64, 14, 0, 1);
}

static void external(void)
{
	struct try t = try_new(K64);

	apic_write(0xf0, 0x1ff);
	absent(0x55);
	apic_write(0x300, 0x44055);
	while (apic_read(0x300) & 0x1000)
		pause();
	try_run(&t, CODE("sti; nop; nop; cli"));
	present(0x55);
	check(&t, t.out.vector == NP && t.out.error == 0x55 * 8 + 3,
	      "SDM 3A 6.13 #NP on delivery of an external interrupt: IDT and EXT bits");
	apic_write(0xb0, 0);
}

static void priorities(void)
{
	struct try t = try_new(U64);
	u8 *page = page_alloc();

	*pt_entry(TEST_VA, 1) = (u64)page | PTE_P | PTE_W | PTE_U;
	t.rbx = NO_PAGE;
	faults(&t, CODE(".byte 0xf0; mov [rbx], eax"), UD, 0,
	       "SDM 3A 6.9 #UD comes before #PF of the operand");
	t = try_new(U64);
	t.rbx = NO_PAGE;
	faults(&t, CODE("lgdt [rbx]"), GP, 0, "SDM 3A 6.9 #GP for the privilege comes before #PF");
	t = try_new(K64);
	t.rbx = NO_PAGE;
	faults(&t, CODE("lgdt [rbx]"), PF, 0, "SDM 2A LGDT of an unmapped operand faults #PF");
	t = try_new(U64);
	t.rbx = NO_PAGE;
	t.rcx = 0;
	faults(&t, CODE("div dword ptr [rbx]"), PF, PF_U,
	       "SDM 3A 6.9 #PF of the operand comes before #DE");
	page[4095] = 0x0f;
	t = try_new(U64);
	try_run(&t, (const u8 *)TEST_VA + 4095);
	check(&t, t.out.vector == PF && t.cr2 == TEST_VA + 4096,
	      "SDM 3A 6.9 #PF of the second fetch page comes before #UD");
	page[4095] = 0x06;
	t = try_new(U64);
	faults(&t, (const u8 *)TEST_VA + 4095, UD, 0,
	       "SDM 3A 6.9 #UD of a one-byte opcode at the end of a page fetches nothing more");
}

void lm_main(void)
{
	contributory();
	benign();
	page_faults();
	external();
	priorities();
}
