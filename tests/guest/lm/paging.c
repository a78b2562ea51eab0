/*
 * 4-level paging, SDM 3A 4.5 to 4.8: page sizes, access rights, error codes, reserved bits, accessed
 * and dirty flags. Each rule uses TEST_VA, 512 GiB up, with page tables of its own.
 */
#include "lib/lm.h"

#define LEAF (PTE_P | PTE_W | PTE_U)

/* Read, write and fetch at rbx, in both privileges. */
static const u8 *read_code, *write_code;

static u64 *page; /* the page behind TEST_VA */

/* A fresh mapping of one 4 KiB page at TEST_VA with these flags in the leaf. */
static u64 *map(u64 flags)
{
	u64 *pte = pt_entry(TEST_VA, 1);

	*pte = (u64)page | flags;
	invlpg(TEST_VA);
	return pte;
}

static struct try access(enum mode mode, const u8 *code)
{
	struct try t = try_new(mode);

	t.rbx = TEST_VA;
	t.rcx = 0x5ca1ab1e;
	try_run(&t, code);
	return t;
}

static bool fault_is(const struct try *t, u64 error)
{
	return t->out.vector == PF && t->out.error == error && t->cr2 == TEST_VA;
}

static void rights(void)
{
	static const struct {
		u64 flags;
		enum mode mode;
		char kind; /* read, write, fetch */
		int error; /* -1: no fault */
		bool wp;
		const char *rule;
	} rows[] = {
		{ 0, K64, 'r', 0, 1, "SDM 3A 4.7 read of a page not present: error 0" },
		{ 0, K64, 'w', PF_W, 1, "SDM 3A 4.7 write to a page not present: error W" },
		{ 0, U64, 'r', PF_U, 1, "SDM 3A 4.7 user read of a page not present: error U" },
		{ 0, U64, 'w', PF_U | PF_W, 1,
		  "SDM 3A 4.7 user write to a page not present: error U W" },
		{ PTE_P | PTE_W, U64, 'r', PF_P | PF_U, 1,
		  "SDM 3A 4.6.1 user read of a supervisor page: error P U" },
		{ PTE_P | PTE_W, U64, 'w', PF_P | PF_U | PF_W, 1,
		  "SDM 3A 4.6.1 user write to a supervisor page: error P U W" },
		{ PTE_P | PTE_W, K64, 'w', -1, 1,
		  "SDM 3A 4.6.1 supervisor write to a supervisor page" },
		{ PTE_P | PTE_U, U64, 'r', -1, 1,
		  "SDM 3A 4.6.1 user read of a read-only user page" },
		{ PTE_P | PTE_U, U64, 'w', PF_P | PF_U | PF_W, 1,
		  "SDM 3A 4.6.1 user write to a read-only page: error P U W" },
		{ PTE_P | PTE_U, U64, 'w', PF_P | PF_U | PF_W, 0,
		  "SDM 3A 4.6.1 user write to a read-only page with CR0.WP=0: error P U W" },
		{ PTE_P | PTE_U, K64, 'w', PF_P | PF_W, 1,
		  "SDM 3A 4.6.1 supervisor write to a read-only user page with CR0.WP=1: error P W" },
		{ PTE_P, K64, 'w', PF_P | PF_W, 1,
		  "SDM 3A 4.6.1 supervisor write to a read-only page with CR0.WP=1: error P W" },
		{ PTE_P, K64, 'w', -1, 0,
		  "SDM 3A 4.6.1 supervisor write to a read-only page with CR0.WP=0" },
		{ PTE_P | PTE_U, K64, 'w', -1, 0,
		  "SDM 3A 4.6.1 supervisor write to a read-only user page with CR0.WP=0" },
		{ LEAF, U64, 'w', -1, 1, "SDM 3A 4.6.1 user write to a user page" },
		{ LEAF, U64, 'f', -1, 1, "SDM 3A 4.6.1 user fetch from a user page" },
		{ LEAF, K64, 'f', -1, 1,
		  "SDM 3A 4.6.1 supervisor fetch from a user page without SMEP" },
		{ LEAF | PTE_XD, U64, 'f', PF_P | PF_U | PF_I, 1,
		  "SDM 3A 4.6.1 user fetch from an XD page: error P U I" },
		{ PTE_P | PTE_W | PTE_XD, K64, 'f', PF_P | PF_I, 1,
		  "SDM 3A 4.6.1 supervisor fetch from an XD page: error P I" },
		{ LEAF | PTE_XD, U64, 'w', -1, 1, "SDM 3A 4.6.1 user write to an XD page" },
		{ 0, U64, 'f', PF_U | PF_I, 1,
		  "SDM 3A 4.7 user fetch from a page not present: error U I" },
		{ PTE_P | PTE_W, U64, 'f', PF_P | PF_U | PF_I, 1,
		  "SDM 3A 4.6.1 user fetch from a supervisor page: error P U I" },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct try t;
		u64 cr0 = read_cr0();
		bool ok;

		map(rows[i].flags);
		*(u8 *)page = 0xcd;
		((u8 *)page)[1] = DONE;
		if (!rows[i].wp)
			write_cr0(cr0 & ~CR0_WP);
		t = access(rows[i].mode, rows[i].kind == 'r'   ? read_code
					 : rows[i].kind == 'w' ? write_code
							       : (const u8 *)TEST_VA);
		write_cr0(cr0);
		ok = rows[i].error < 0 ? t.out.vector == DONE : fault_is(&t, (u64)rows[i].error);
		check(&t, ok, rows[i].rule);
	}
}

/* The rights of all levels count together (SDM 3A 4.6.1). */
static void levels(void)
{
	static const char *const rules[4][3] = {
		{ "SDM 3A 4.6.1 R/W=0 in the PTE makes the page read-only",
		  "SDM 3A 4.6.1 U/S=0 in the PTE makes it a supervisor page",
		  "SDM 3A 4.6.1 XD=1 in the PTE makes it non-executable" },
		{ "SDM 3A 4.6.1 R/W=0 in the PDE makes the page read-only",
		  "SDM 3A 4.6.1 U/S=0 in the PDE makes it a supervisor page",
		  "SDM 3A 4.6.1 XD=1 in the PDE makes it non-executable" },
		{ "SDM 3A 4.6.1 R/W=0 in the PDPTE makes the page read-only",
		  "SDM 3A 4.6.1 U/S=0 in the PDPTE makes it a supervisor page",
		  "SDM 3A 4.6.1 XD=1 in the PDPTE makes it non-executable" },
		{ "SDM 3A 4.6.1 R/W=0 in the PML4E makes the page read-only",
		  "SDM 3A 4.6.1 U/S=0 in the PML4E makes it a supervisor page",
		  "SDM 3A 4.6.1 XD=1 in the PML4E makes it non-executable" },
	};
	struct try t;

	map(LEAF);
	*(u16 *)page = 0xcd | DONE << 8;
	for (unsigned level = 1; level <= 4; level++) {
		u64 *e = pt_entry(TEST_VA, level), old = *e;

		*e = old & ~PTE_W;
		flush_tlb();
		t = access(U64, write_code);
		check(&t, fault_is(&t, PF_P | PF_U | PF_W), rules[level - 1][0]);
		*e = old & ~PTE_U;
		flush_tlb();
		t = access(U64, read_code);
		check(&t, fault_is(&t, PF_P | PF_U), rules[level - 1][1]);
		*e = old | PTE_XD;
		flush_tlb();
		t = access(U64, (const u8 *)TEST_VA);
		check(&t, fault_is(&t, PF_P | PF_U | PF_I), rules[level - 1][2]);
		*e = old;
		flush_tlb();
	}
}

static void not_present(void)
{
	static const char *const rules[4] = {
		"SDM 3A 4.7 P=0 in the PTE: error without P, other bits ignored",
		"SDM 3A 4.7 P=0 in the PDE: error without P, other bits ignored",
		"SDM 3A 4.7 P=0 in the PDPTE: error without P, other bits ignored",
		"SDM 3A 4.7 P=0 in the PML4E: error without P, other bits ignored",
	};
	struct try t;

	map(LEAF);
	for (unsigned level = 1; level <= 4; level++) {
		u64 *e = pt_entry(TEST_VA, level), old = *e;

		*e = ~PTE_P;
		flush_tlb();
		t = access(U64, read_code);
		check(&t, fault_is(&t, PF_U), rules[level - 1]);
		*e = old;
		flush_tlb();
	}
}

/* The first page, not present: offsets of every alignment, in turn read and written. */
static void first_page(void)
{
	static const char *const rules[] = {
		"SDM 3A 4.7 read at linear address 1 with page 0 not present: #PF, CR2 = 1",
		"SDM 3A 4.7 write at linear address 1 with page 0 not present: #PF, CR2 = 1",
		"SDM 3A 4.7 read-modify-write at linear address 1 with page 0 not present: #PF, CR2 = 1",
	};
	const u8 *code[] = { read_code, write_code, CODE("add [rbx], rcx") };
	u64 old = boot_pd[0];
	struct try t;

	boot_pd[0] = 0;
	flush_tlb();
	for (unsigned i = 0; i < 3; i++) {
		t = try_new(U64);
		t.rbx = 1;
		faults(&t, code[i], PF, i ? PF_U | PF_W : PF_U, rules[i]);
		check(&t, t.cr2 == 1, rules[i]);
	}
	for (u64 at = 0; at < 64; at++) {
		t = try_new(U64);
		t.rbx = at;
		try_run(&t, CODE("mov ax, [rbx]"));
		if (t.out.vector != PF || t.cr2 != at)
			break;
	}
	check(&t, t.rbx == 63 && t.out.vector == PF && t.cr2 == 63,
	      "SDM 3A 4.7 reads of words at each offset below 64 of a page not present: #PF");
	boot_pd[0] = old;
	flush_tlb();
}

static void reserved(void)
{
	static const char *const rules[4] = {
		"SDM 3A 4.5 a physical address bit above MAXPHYADDR in the PTE: error P RSVD",
		"SDM 3A 4.5 a physical address bit above MAXPHYADDR in the PDE: error P RSVD",
		"SDM 3A 4.5 a physical address bit above MAXPHYADDR in the PDPTE: error P RSVD",
		"SDM 3A 4.5 a physical address bit above MAXPHYADDR in the PML4E: error P RSVD",
	};
	struct try t;
	u64 *e, old;

	map(LEAF);
	for (unsigned level = 1; level <= 4; level++) {
		if (cpu_phys_bits() >= 52) {
			tap_skip(rules[level - 1], "MAXPHYADDR is 52");
			continue;
		}
		e = pt_entry(TEST_VA, level);
		old = *e;
		*e = old | 1ull << cpu_phys_bits();
		flush_tlb();
		t = access(U64, read_code);
		check(&t, fault_is(&t, PF_P | PF_U | PF_RSVD), rules[level - 1]);
		*e = old | 1ull << 51;
		flush_tlb();
		t = access(K64, write_code);
		check(&t, fault_is(&t, PF_P | PF_W | PF_RSVD), rules[level - 1]);
		*e = old;
		flush_tlb();
	}
	e = pt_entry(TEST_VA, 4);
	old = *e;
	*e = old | PTE_PS;
	flush_tlb();
	t = access(U64, read_code);
	check(&t, fault_is(&t, PF_P | PF_U | PF_RSVD), "SDM 3A 4.5 PS=1 in a PML4E: error P RSVD");
	*e = old;
	e = pt_entry(TEST_VA, 2);
	old = *e;
	*e = (u64)page | LEAF | PTE_PS | 1u << 13;
	flush_tlb();
	t = access(U64, read_code);
	check(&t, fault_is(&t, PF_P | PF_U | PF_RSVD),
	      "SDM 3A 4.5 a low address bit in a 2 MiB PDE: error P RSVD");
	*e = old;
	e = pt_entry(TEST_VA, 3);
	old = *e;
	*e = LEAF | PTE_PS | (cpuid_edx(0x80000001, 0) & 1u << 26 ? 1u << 29 : 0);
	flush_tlb();
	t = access(U64, read_code);
	check(&t, fault_is(&t, PF_P | PF_U | PF_RSVD),
	      "SDM 3A 4.5 a low address bit in a 1 GiB PDPTE, or PS=1 without 1 GiB pages: P RSVD");
	*e = old;
	flush_tlb();
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
	map(LEAF | PTE_XD);
	flush_tlb();
	t = access(U64, read_code);
	check(&t, fault_is(&t, PF_P | PF_U | PF_RSVD),
	      "SDM 3A 4.5 XD=1 with EFER.NXE=0: error P RSVD");
	map(LEAF);
	flush_tlb();
	*pt_entry(TEST_VA, 1) = 0;
	flush_tlb();
	t = access(U64, (const u8 *)TEST_VA);
	check(&t, t.out.vector == PF && t.out.error == PF_U,
	      "SDM 3A 4.7 no I bit in the error code with EFER.NXE=0 and CR4.SMEP=0");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	map(LEAF | 0x07f0000000000000);
	t = access(U64, read_code);
	check(&t, t.out.vector == DONE, "SDM 3A 4.5 bits 58:52 of a PTE are ignored");
	map(LEAF | 0xe00);
	t = access(U64, read_code);
	check(&t, t.out.vector == DONE, "SDM 3A 4.5 bits 11:9 of a PTE are ignored");
}

static void sizes(void)
{
	u64 *e = pt_entry(TEST_VA, 2), old = *e;
	struct try t;

	page[0] = 0x1122334455667788;
	map(LEAF);
	t = access(U64, read_code);
	check(&t, t.out.vector == DONE && t.out.rax == page[0], "SDM 3A 4.5 a 4 KiB page");
	*e = ((u64)page & ~0x1fffffull) | LEAF | PTE_PS;
	flush_tlb();
	t = try_new(U64);
	t.rbx = TEST_VA + ((u64)page & 0x1fffff);
	try_run(&t, read_code);
	check(&t, t.out.vector == DONE && t.out.rax == page[0], "SDM 3A 4.5 a 2 MiB page");
	tap_check((*e & (PTE_A | PTE_D)) == PTE_A,
		  "SDM 3A 4.8 a read sets A in a 2 MiB PDE, not D");
	t = try_new(U64);
	t.rbx = TEST_VA + ((u64)page & 0x1fffff);
	try_run(&t, write_code);
	tap_check((*e & (PTE_A | PTE_D)) == (PTE_A | PTE_D),
		  "SDM 3A 4.8 a write sets D in a 2 MiB PDE");
	*e = old;
	flush_tlb();
	if (!(cpuid_edx(0x80000001, 0) & 1u << 26)) {
		tap_skip("SDM 3A 4.5 a 1 GiB page", "no 1 GiB pages");
		return;
	}
	page[0] = 0x1122334455667788;
	e = pt_entry(TEST_VA, 3);
	old = *e;
	*e = LEAF | PTE_PS;
	flush_tlb();
	t = try_new(U64);
	t.rbx = TEST_VA + (u64)page;
	try_run(&t, read_code);
	check(&t, t.out.vector == DONE && t.out.rax == page[0], "SDM 3A 4.5 a 1 GiB page");
	*e = old;
	flush_tlb();
}

static void accessed_dirty(void)
{
	struct try t;
	u64 *e[5];

	map(LEAF);
	for (unsigned l = 1; l <= 4; l++) {
		e[l] = pt_entry(TEST_VA, l);
		*e[l] &= ~(PTE_A | PTE_D);
	}
	flush_tlb();
	t = access(U64, read_code);
	tap_check((*e[1] & (PTE_A | PTE_D)) == PTE_A, "SDM 3A 4.8 a read sets A in the PTE, not D");
	tap_check(*e[2] & PTE_A && *e[3] & PTE_A && *e[4] & PTE_A,
		  "SDM 3A 4.8 a read sets A in the PDE, PDPTE and PML4E");
	tap_check(!((*e[2] | *e[3] | *e[4]) & PTE_D), "SDM 3A 4.8 D is not set in upper levels");
	t = access(U64, write_code);
	tap_check(*e[1] & PTE_D, "SDM 3A 4.8 a write after a read sets D");
	*e[1] &= ~(PTE_A | PTE_D);
	flush_tlb();
	t = access(U64, write_code);
	tap_check((*e[1] & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "SDM 3A 4.8 a write sets A and D");
	*e[1] = (u64)page | PTE_P | PTE_U;
	flush_tlb();
	t = access(U64, write_code);
	tap_check(!(*e[1] & PTE_D), "SDM 3A 4.8 a write that faults does not set D");
	*e[1] = (u64)page | PTE_P | PTE_W;
	flush_tlb();
	t = access(U64, read_code);
	check(&t, !(*e[1] & PTE_D), "SDM 3A 4.8 a user access that faults on U/S does not set D");
	*e[1] = 0;
	*e[2] &= ~PTE_A;
	flush_tlb();
	t = access(U64, read_code);
	tap_check(*e[1] == 0, "SDM 3A 4.8 an entry that is not present is not changed");
	map(LEAF);
	*(u16 *)page = 0xcd | DONE << 8;
	t = access(U64, (const u8 *)TEST_VA);
	check(&t, t.out.vector == DONE && (*e[1] & (PTE_A | PTE_D)) == PTE_A,
	      "SDM 3A 4.8 a fetch sets A, not D");
	*e[1] &= ~(PTE_A | PTE_D);
	flush_tlb();
	t = access(U64, CODE("lock cmpxchg [rbx], rcx"));
	check(&t, t.out.vector == DONE && *e[1] & PTE_D,
	      "SDM 3A 4.8 LOCK CMPXCHG that fails to compare writes, and sets D");
	*e[1] = (u64)page | PTE_P | PTE_U;
	flush_tlb();
	t = access(U64, CODE("add [rbx], ecx"));
	check(&t, fault_is(&t, PF_P | PF_U | PF_W),
	      "SDM 3A 4.7 a read-modify-write of a read-only page reports a write");
	*e[1] = 0;
	flush_tlb();
	t = access(U64, CODE("add [rbx], ecx"));
	check(&t, fault_is(&t, PF_U | PF_W),
	      "SDM 3A 4.7 a read-modify-write of a page not present reports a write");
}

/* Descriptor tables are read and written at supervisor privilege whatever the CPL (SDM 3A 4.6). */
static void implicit(void)
{
	u64 *e = pt_entry(TEST_VA, 1);
	struct try t = try_new(U64);
	u64 *gdt_page = page_alloc();
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) moved = { 0x3ff, TEST_VA }, back = { 0x3ff, (u64)gdt };

	for (unsigned i = 0; i < 128; i++)
		gdt_page[i] = gdt[i];
	gdt_page[SEL_FREE >> 3] = desc(0, 0xfffff, 0xf2, 0xc);
	*e = (u64)gdt_page | PTE_P | PTE_W;
	invlpg(TEST_VA);
	__asm__ volatile("lgdt %0" : : "m"(moved));
	t.rax = SEL_FREE | 3;
	runs(&t, CODE("mov ds, eax"),
	     "SDM 3A 4.6 a segment load at CPL 3 reads a supervisor GDT: an implicit access");
	tap_equal(gdt_page[SEL_FREE >> 3] >> 40 & 0xff, 0xf3,
		  "SDM 3A 3.4.5.1 ... and sets the accessed bit there");
	gdt_page[SEL_FREE >> 3] = desc(0, 0xfffff, 0xf2, 0xc);
	*e = (u64)gdt_page | PTE_P;
	invlpg(TEST_VA);
	t = try_new(U64);
	t.rax = SEL_FREE | 3;
	faults(&t, CODE("mov ds, eax"), PF, PF_P | PF_W,
	       "SDM 3A 4.7 an accessed bit that cannot be written: #PF with P W, not U");
	check(&t, t.cr2 - TEST_VA - SEL_FREE < 8, "SDM 3A 4.7 ... and CR2 within the descriptor");
	*e = 0;
	invlpg(TEST_VA);
	t = try_new(U64);
	t.rax = SEL_FREE | 3;
	/* The fault's own delivery needs CS: a GDT page that is gone makes a double fault there, so
	   the descriptors of the kernel are kept by a GDT that starts just below the page. */
	*pt_entry(TEST_VA - 4096, 1) = (u64)gdt_page | PTE_P | PTE_W;
	for (unsigned i = 0; i < 0x60 / 8; i++)
		gdt_page[512 - 0x60 / 8 + i] = gdt[i];
	moved.base = TEST_VA - 0x60;
	moved.limit = 0xfff;
	__asm__ volatile("lgdt %0" : : "m"(moved));
	faults(&t, CODE("mov ds, eax"), PF, 0,
	       "SDM 3A 4.7 a segment load at CPL 3 from a page not present: #PF without U");
	check(&t, t.cr2 - (TEST_VA - 0x60) - SEL_FREE < 8,
	      "SDM 3A 4.7 ... and CR2 within the descriptor");
	__asm__ volatile("lgdt %0" : : "m"(back));
	*pt_entry(TEST_VA - 4096, 1) = 0;
	invlpg(TEST_VA - 4096);
}

static void crossing(void)
{
	u64 *e = pt_entry(TEST_VA, 1), *e2 = pt_entry(TEST_VA + 4096, 1);
	u64 *other = page_alloc();
	struct try t;

	*e = (u64)page | LEAF;
	*e2 = 0;
	flush_tlb();
	page[511] = 0x1111111111111111;
	t = try_new(U64);
	t.rbx = TEST_VA + 4096 - 4;
	try_run(&t, CODE("mov [rbx], rcx"));
	check(&t, t.out.vector == PF && t.out.error == (PF_U | PF_W) && t.cr2 == TEST_VA + 4096,
	      "SDM 3A 4.7 an operand across two pages faults with CR2 at the start of the second");
	tap_equal(page[511], 0x1111111111111111,
		  "SDM 3A 6.5 a store that faults on its second page has not changed the first");
	*e2 = (u64)other | LEAF;
	*e = 0;
	flush_tlb();
	t = try_new(U64);
	t.rbx = TEST_VA + 4096 - 4;
	try_run(&t, CODE("mov [rbx], rcx"));
	check(&t, t.out.vector == PF && t.cr2 == TEST_VA + 4096 - 4,
	      "SDM 3A 4.7 an operand across two pages, the first missing: CR2 is its address");
	*e = (u64)page | LEAF;
	flush_tlb();
	t = try_new(U64);
	t.rbx = TEST_VA + 4096 - 4;
	t.rcx = 0x1122334455667788;
	try_run(&t, CODE("mov [rbx], rcx"));
	check(&t,
	      t.out.vector == DONE && ((u32 *)page)[1023] == 0x55667788 &&
		      *(u32 *)other == 0x11223344,
	      "SDM 3A 4.1 the pages of an operand are translated one by one");
	((u8 *)page)[4095] = 0x48; /* REX.W of a MOV that goes on in the next page */
	*e2 = 0;
	flush_tlb();
	t = try_new(U64);
	try_run(&t, (const u8 *)TEST_VA + 4095);
	check(&t,
	      t.out.vector == PF && t.out.error == (PF_U | PF_I) && t.cr2 == TEST_VA + 4096 &&
		      t.out.rip == TEST_VA + 4095,
	      "SDM 3A 4.7 an instruction across two pages: RIP at its start, CR2 in the second page");
	*e = (u64)page | LEAF;
	flush_tlb();
	t = try_new(U64);
	t.rdi = TEST_VA + 4096 - 16;
	t.rcx = 4;
	try_run(&t, CODE("rep stosq"));
	check(&t,
	      t.out.vector == PF && t.out.rcx == 2 && t.out.rdi == TEST_VA + 4096 &&
		      t.out.rip == t.rip,
	      "SDM 3A 6.5 a REP that faults keeps the iterations done in RCX and RDI");
	*e = *e2 = 0;
	flush_tlb();
}

static void cr3(void)
{
	struct try t = try_new(K64);

	if (cpu_phys_bits() < 52) {
		t.rax = read_cr3() | 1ull << cpu_phys_bits();
		t.rcx = read_cr3();
		faults(&t, CODE("mov cr3, rax; mov cr3, rcx"), GP, 0,
		       "SDM 3A 4.5 CR3 with a bit above MAXPHYADDR faults #GP(0)");
	}
	t = try_new(K64);
	t.rax = read_cr3() | 1ull << 62;
	t.rcx = read_cr3();
	faults(&t, CODE("mov cr3, rax; mov cr3, rcx"), GP, 0,
	       "SDM 3A 2.5 CR3 with bit 62 faults #GP(0)");
	t = try_new(K64);
	t.rax = read_cr3() | 0x18;
	t.rcx = read_cr3();
	try_run(&t, CODE("mov cr3, rax; mov rdx, cr3; mov cr3, rcx"));
	check(&t, t.out.vector == DONE && t.out.rdx == t.rax, "SDM 3A 4.5 CR3 keeps PWT and PCD");
	t = try_new(K64);
	t.rax = read_cr4() | 1ull << 32;
	faults(&t, CODE("mov cr4, rax"), GP, 0, "SDM 3A 2.5 CR4 with bit 32 faults #GP(0)");
	t = try_new(K64);
	t.rax = read_cr0() | 1ull << 32;
	t.rcx = read_cr0();
	faults(&t, CODE("mov cr0, rax; mov cr0, rcx"), GP, 0,
	       "SDM 3A 2.5 CR0 with bit 32 faults #GP(0)");
	t = try_new(K64);
	t.rax = (read_cr0() | CR0_NW) & ~CR0_CD;
	t.rcx = read_cr0();
	faults(&t, CODE("mov cr0, rax; mov cr0, rcx"), GP, 0,
	       "SDM 3A 2.5 CR0 with NW=1 and CD=0 faults #GP(0)");
	write_cr2(0x123456789abcdef0);
	tap_equal(read_cr2(), 0x123456789abcdef0, "SDM 3A 2.5 CR2 takes any 64-bit value");
}

void lm_main(void)
{
	read_code = CODE("mov rax, [rbx]");
	write_code = CODE("mov [rbx], rcx");
	page = page_alloc();
	pt_entry(TEST_VA, 1);
	rights();
	levels();
	not_present();
	first_page();
	reserved();
	sizes();
	accessed_dirty();
	implicit();
	crossing();
	cr3();
}
