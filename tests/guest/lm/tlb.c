/*
 * Translation caching, SDM 3A 4.10: what must be forgotten, and when. A processor may always forget
 * more, so no rule here expects a stale translation.
 */
#include "lib/lm.h"

static u64 *one, *two; /* pages that hold 1 and 2 */
static const u8 *read_code;

static bool has_pcid(void) { return cpuid_ecx(1, 0) >> 17 & 1; }
static bool has_invpcid(void) { return cpuid_ebx(7, 0) >> 10 & 1; }

static u64 peek(u64 va) { return *(volatile u64 *)va; }

static void map(u64 *target, u64 flags)
{
	*pt_entry(TEST_VA, 1) = (u64)target | PTE_P | PTE_W | flags;
	__asm__ volatile("" : : : "memory");
}

/* TEST_VA is mapped to page one, used, then changed to page two behind the TLB's back. */
static void prime(u64 flags)
{
	map(one, flags);
	invlpg(TEST_VA);
	(void)peek(TEST_VA);
	*(volatile u64 *)TEST_VA = 1;
	map(two, flags);
}

static void flushes(void)
{
	u64 cr4 = read_cr4();
	u64 *pde, *table, old;
	struct try t;

	prime(0);
	invlpg(TEST_VA);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 INVLPG forgets the page");
	prime(0);
	invlpg(TEST_VA + 0xfff);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 INVLPG takes any address in the page");
	prime(0);
	write_cr3(read_cr3());
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 MOV CR3 forgets pages that are not global");
	write_cr4(cr4 | CR4_PGE);
	prime(PTE_G);
	invlpg(TEST_VA);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 INVLPG forgets global pages too");
	prime(PTE_G);
	write_cr4(cr4);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 clearing CR4.PGE forgets global pages");
	prime(PTE_G);
	write_cr3(read_cr3());
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.2.4 with CR4.PGE=0 the G bit does not count");
	prime(PTE_G);
	write_cr4(cr4 | CR4_PGE);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 setting CR4.PGE forgets all");
	write_cr4(cr4);

	pde = pt_entry(TEST_VA, 2);
	old = *pde;
	*pde = 0x200000 | PTE_P | PTE_W | PTE_PS;
	flush_tlb();
	(void)peek(TEST_VA);
	(void)peek(TEST_VA + 0x1ff000);
	*pde = old;
	map(two, 0);
	invlpg(TEST_VA + 0x123456);
	tap_equal(peek(TEST_VA), 2,
		  "SDM 3A 4.10.4.1 INVLPG anywhere in a 2 MiB page forgets all of it");

	/* Paging-structure caches: a new page table behind the same PDE. */
	map(one, 0);
	flush_tlb();
	(void)peek(TEST_VA);
	table = page_alloc();
	table[0] = (u64)two | PTE_P | PTE_W;
	table[5] = (u64)two | PTE_P | PTE_W;
	*pde = (u64)table | PTE_P | PTE_W;
	invlpg(TEST_VA + 0x5000);
	tap_equal(peek(TEST_VA + 0x5000), 2,
		  "SDM 3A 4.10.4.1 INVLPG of any address forgets the paging-structure caches");
	flush_tlb();

	map(one, 0);
	table[7] = 0;
	t = try_new(K64);
	t.rbx = TEST_VA + 0x7000;
	faults(&t, read_code, PF, 0, "SDM 3A 4.7 a page that is not present");
	table[7] = (u64)two | PTE_P | PTE_W;
	tap_equal(peek(TEST_VA + 0x7000), 2,
		  "SDM 3A 4.10.2.3 no translation is cached for an entry that is not present");
	table[7] = (u64)two | PTE_P;
	invlpg(TEST_VA + 0x7000);
	(void)peek(TEST_VA + 0x7000);
	t = try_new(K64);
	t.rbx = TEST_VA + 0x7000;
	try_run(&t, CODE("mov qword ptr [rbx], 7"));
	table[7] = (u64)two | PTE_P | PTE_W;
	t = try_new(K64);
	t.rbx = TEST_VA + 0x7000;
	runs(&t, CODE("mov qword ptr [rbx], 2"),
	     "SDM 3A 4.10.4.1 a page fault forgets its address: a retry sees new rights");
	*pde = old;
	flush_tlb();
}

static void modes(void)
{
	struct try t;
	u64 cr0 = read_cr0();

	*pt_entry(TEST_VA, 1) = (u64)two | PTE_P;
	write_cr0(cr0 & ~CR0_WP);
	invlpg(TEST_VA);
	*(volatile u64 *)TEST_VA = 2;
	write_cr0(cr0);
	t = try_new(K64);
	t.rbx = TEST_VA;
	faults(&t, CODE("mov qword ptr [rbx], 7"), PF, PF_P | PF_W,
	       "SDM 3A 4.6.1 setting CR0.WP counts for pages already used");
	*(u16 *)one = 0xcd | DONE << 8;
	*pt_entry(TEST_VA, 1) = (u64)one | PTE_P | PTE_U;
	invlpg(TEST_VA);
	t = try_new(K64);
	runs(&t, (const u8 *)TEST_VA, "SDM 3A 4.6.1 a supervisor fetch from a user page");
	if (cpuid_ebx(7, 0) >> 7 & 1) {
		write_cr4(read_cr4() | CR4_SMEP);
		t = try_new(K64);
		faults(&t, (const u8 *)TEST_VA, PF, PF_P | PF_I,
		       "SDM 3A 4.10.4.1 setting CR4.SMEP counts for pages already used");
		write_cr4(read_cr4() & ~CR4_SMEP);
	}
}

static void dirty(void)
{
	u64 *pte = pt_entry(TEST_VA, 1);

	map(one, 0);
	invlpg(TEST_VA);
	*(volatile u64 *)TEST_VA = 1;
	*pte &= ~(PTE_A | PTE_D);
	invlpg(TEST_VA);
	(void)peek(TEST_VA);
	tap_check(*pte & PTE_A, "SDM 3A 4.8 after INVLPG the next read sets A again");
	*(volatile u64 *)TEST_VA = 1;
	tap_check(*pte & PTE_D, "SDM 3A 4.8 a write through a translation cached by a read sets D");
}

static struct {
	u64 pcid, address;
} descriptor;

static void invpcid(u64 type, u64 pcid, u64 address)
{
	descriptor.pcid = pcid;
	descriptor.address = address;
	__asm__ volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
}

static void pcid_rules(void)
{
	u64 cr3 = read_cr3(), cr4 = read_cr4();
	struct try t = try_new(K64);

	if (!has_pcid()) {
		t.rax = cr4 | CR4_PCIDE;
		t.rcx = cr4;
		faults(&t, CODE("mov cr4, rax; mov cr4, rcx"), GP, 0,
		       "SDM 3A 4.10.1 CR4.PCIDE without CPUID bit faults #GP(0)");
		return;
	}
	t.rax = cr3 | 1ull << 63;
	t.rcx = cr3;
	faults(&t, CODE("mov cr3, rax; mov cr3, rcx"), GP, 0,
	       "SDM 3A 4.10.4.1 MOV CR3 with bit 63 and CR4.PCIDE=0 faults #GP(0)");
	t = try_new(K64);
	t.rax = cr4 | CR4_PCIDE;
	t.rcx = cr4;
	t.rdx = cr3 | 8;
	t.rbx = cr3;
	faults_at(&t, CODE("mov cr3, rdx; mov cr4, rax; mov cr4, rcx; mov cr3, rbx"), 3, GP, 0,
		  "SDM 3A 4.10.1 setting CR4.PCIDE with CR3[11:0] not 0 faults #GP(0)");
	write_cr3(cr3);
	write_cr4(cr4 | CR4_PCIDE);
	tap_check(read_cr4() & CR4_PCIDE, "SDM 3A 4.10.1 CR4.PCIDE can be set with CR3[11:0] = 0");
	write_cr3(cr3 | 0xabc);
	tap_equal(read_cr3(), cr3 | 0xabc, "SDM 3A 4.10.1 CR3[11:0] is the PCID with CR4.PCIDE=1");
	write_cr3(cr3 | 1 | 1ull << 63);
	tap_equal(read_cr3(), cr3 | 1, "SDM 3A 4.10.4.1 bit 63 of CR3 is not kept");
	t = try_new(K64);
	t.rax = cr3 | 1ull << 62;
	t.rcx = cr3;
	faults(&t, CODE("mov cr3, rax; mov cr3, rcx"), GP, 0,
	       "SDM 3A 2.5 MOV CR3 with bit 62 and CR4.PCIDE=1 faults #GP(0)");
	write_cr3(cr3 | 1);
	prime(0);
	write_cr3(cr3 | 1);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 MOV CR3 with bit 63 = 0 forgets its PCID");
	prime(0);
	invlpg(TEST_VA);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 INVLPG forgets the page of the current PCID");
	prime(0);
	write_cr3(cr3 | 2);
	tap_equal(peek(TEST_VA), 2,
		  "SDM 3A 4.10.2.2 a translation of PCID 1 is not used with PCID 2");
	prime(0);
	write_cr3(cr3 | 3);
	write_cr3(cr3 | 2);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 coming back with bit 63 = 0 forgets too");
	prime(0);
	write_cr3(cr3 | 3 | 1ull << 63);
	invlpg(TEST_VA);
	write_cr3(cr3 | 2);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 ... whatever INVLPG did under another PCID");
	write_cr3(cr3);
	prime(0);
	write_cr4(cr4);
	tap_equal(peek(TEST_VA), 2, "SDM 3A 4.10.4.1 clearing CR4.PCIDE forgets all PCIDs");
}

static void invpcid_rules(void)
{
	u64 cr3 = read_cr3(), cr4 = read_cr4();
	struct try t = try_new(K64);
	static u64 desc_user[2] USER;

	if (!has_invpcid()) {
		t.rbx = (u64)desc_user;
		faults(&t, CODE("invpcid rax, [rbx]"), UD, 0,
		       "SDM 2A INVPCID without CPUID bit faults #UD");
		return;
	}
	t = try_new(U64);
	t.rbx = (u64)desc_user;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0, "SDM 2A INVPCID at CPL 3 faults #GP(0)");
	t = try_new(K64);
	t.rbx = (u64)desc_user;
	t.rax = 4;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0, "SDM 2A INVPCID type 4 faults #GP(0)");
	t = try_new(K64);
	t.rbx = (u64)desc_user;
	t.rax = 0x100000000;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0,
	       "SDM 2A INVPCID looks at all 64 bits of the type: #GP(0)");
	desc_user[0] = 0x1000;
	t = try_new(K64);
	t.rbx = (u64)desc_user;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0,
	       "SDM 2A INVPCID type 0 with bits 63:12 of the PCID faults #GP(0)");
	t = try_new(K64);
	t.rbx = (u64)desc_user;
	t.rax = 1;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0,
	       "SDM 2A INVPCID type 1 with bits 63:12 of the PCID faults #GP(0)");
	desc_user[0] = 0;
	desc_user[1] = NONCANON;
	t = try_new(K64);
	t.rbx = (u64)desc_user;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0,
	       "SDM 2A INVPCID type 0 of a non-canonical address faults #GP(0)");
	t = try_new(K64);
	t.rbx = (u64)desc_user;
	t.rax = 2;
	runs(&t, CODE("invpcid rax, [rbx]"), "SDM 2A INVPCID type 2 does not look at the address");
	desc_user[0] = 1;
	desc_user[1] = 0;
	t = try_new(K64);
	t.rbx = (u64)desc_user;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0,
	       "SDM 2A INVPCID type 0 with PCID 1 and CR4.PCIDE=0 faults #GP(0)");
	t = try_new(K64);
	t.rbx = NONCANON;
	faults(&t, CODE("invpcid rax, [rbx]"), GP, 0,
	       "SDM 2A INVPCID with a non-canonical operand faults #GP(0)");
	prime(0);
	invpcid(0, 0, TEST_VA);
	tap_equal(peek(TEST_VA), 2, "SDM 2A INVPCID type 0 forgets the address");
	prime(0);
	invpcid(1, 0, 0);
	tap_equal(peek(TEST_VA), 2, "SDM 2A INVPCID type 1 forgets the PCID");
	prime(0);
	invpcid(3, 0, 0);
	tap_equal(peek(TEST_VA), 2, "SDM 2A INVPCID type 3 forgets all but global pages");
	write_cr4(cr4 | CR4_PGE);
	prime(PTE_G);
	invpcid(2, 0, 0);
	tap_equal(peek(TEST_VA), 2, "SDM 2A INVPCID type 2 forgets global pages too");
	write_cr4(cr4);
	if (!has_pcid())
		return;
	write_cr4(cr4 | CR4_PCIDE);
	write_cr3(cr3 | 5);
	prime(0);
	write_cr3(cr3 | 6);
	invpcid(0, 5, TEST_VA);
	write_cr3(cr3 | 5 | 1ull << 63);
	tap_equal(peek(TEST_VA), 2, "SDM 2A INVPCID type 0 forgets an address of another PCID");
	prime(0);
	write_cr3(cr3 | 6);
	invpcid(1, 5, 0);
	write_cr3(cr3 | 5 | 1ull << 63);
	tap_equal(peek(TEST_VA), 2, "SDM 2A INVPCID type 1 forgets another PCID");
	prime(0);
	write_cr3(cr3 | 6);
	invpcid(3, 0, 0);
	write_cr3(cr3 | 5 | 1ull << 63);
	tap_equal(peek(TEST_VA), 2, "SDM 2A INVPCID type 3 forgets every PCID");
	write_cr3(cr3);
	write_cr4(cr4);
}

void lm_main(void)
{
	read_code = CODE("mov rax, [rbx]");
	one = page_alloc();
	two = page_alloc();
	one[0] = 1;
	two[0] = 2;
	flushes();
	modes();
	one[0] = 1;
	two[0] = 2;
	dirty();
	invpcid_rules();
	pcid_rules();
}
