/*
 * 32-bit paging: 4 KiB and 4 MiB pages, rights, accessed and dirty flags, page-fault error codes,
 * the TLB. SDM 3A 4.3, 4.6 to 4.8 and 4.10.
 *
 * The first 16 MiB are mapped 1:1 by 4 MiB supervisor pages; the rules' own pages are at WINDOW,
 * through one page table, onto the physical pages from FRAME on.
 */
#include "pm.h"

enum { PTE_P = 1, RW = 2, US = 4, PWT = 8, PCD = 16, A = 32, DIRTY = 64, PS = 128, GLOBAL = 256 };
/* Page-fault error code: SDM 3A figure 4-12. */
enum { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_I = 16 };

#define PD     PAGES
#define PT     (PAGES + 0x1000)
#define FRAME  (PAGES + 0x100000)
#define WINDOW 0x40000000u
#define PDE    (WINDOW >> 22)

static volatile u32 *const pd = (u32 *)PD, *const pt = (u32 *)PT;

/*
 * Turn paging on. All of low memory is user pages, so that probes run at each level, but with SMEP
 * or SMAP, under which level 0 could not use them.
 */
static void paging_on(u32 cr0_bits, u32 cr4_bits)
{
	u32 user = cr4_bits & (CR4_SMEP | CR4_SMAP) ? 0 : US;

	for (unsigned i = 0; i < 1024; i++)
		pd[i] = 0;
	for (unsigned i = 0; i < 4; i++)
		pd[i] = i << 22 | PTE_P | RW | user | PS;
	for (unsigned i = 0; i < 1024; i++)
		pt[i] = 0;
	pd[PDE] = PT | PTE_P | RW | US;
	for (unsigned i = 0; i < 8; i++) {
		pt[i] = (FRAME + i * 0x1000) | PTE_P | RW | US;
		*mem32(FRAME + i * 0x1000) = 0xf00d0000 + i;
	}
	cr4_set(CR4_PSE | cr4_bits);
	cr3_set(PD);
	cr0_set(CR0_PG | CR0_PE | CR0_ET | CR0_NE | cr0_bits);
}

static u32 read_code(void) { return CODE("mov eax, [ebx]"); }

static u32 write_code(void) { return CODE("mov [ebx], eax"); }

/* The last probe's page fault at its first instruction. */
static bool page_fault(u32 error, u32 address) { return fault_e(PF, error, 0) && t.cr2 == address; }

static void translation(void)
{
	paging_on(0, 0);
	PROBE3(read_code(), .ebx = WINDOW + 0x3000);
	rule("SDM 3A 4.3 a 4 KiB page translates through directory and table",
	     done() && t.eax == 0xf00d0003);
	paging_on(0, 0);
	pd[PDE] = 0x800000 | PTE_P | RW | US | PS;
	PROBE3(read_code(), .ebx = WINDOW + (FRAME - 0x800000) + 0x2000);
	rule("SDM 3A 4.3 a 4 MiB page with CR4.PSE", done() && t.eax == 0xf00d0002);
	paging_on(0, 0);
	pt[1] = FRAME + 0x5000;
	PROBE3(read_code(), .ebx = WINDOW + 0x1004);
	rule("SDM 3A 4.7 user read of a page not present: error 4, CR2 the address",
	     page_fault(E_U, WINDOW + 0x1004));
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(write_code(), .ebx = WINDOW + 0x1ffe);
	rule("SDM 3A 4.7 user write of a page not present: error 6",
	     page_fault(E_U | E_W, WINDOW + 0x1ffe));
	paging_on(0, 0);
	pt[1] = 0;
	PROBE(read_code(), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.7 supervisor read of a page not present: error 0",
	     page_fault(0, WINDOW + 0x1000));
	paging_on(0, 0);
	pt[1] = 0;
	PROBE(write_code(), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.7 supervisor write of a page not present: error 2",
	     page_fault(E_W, WINDOW + 0x1000));
	paging_on(0, 0);
	pd[PDE] = 0;
	PROBE3(read_code(), .ebx = WINDOW);
	rule("SDM 3A 4.7 a directory entry not present: error 4", page_fault(E_U, WINDOW));
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(read_code(), .ebx = WINDOW + 0xffe);
	rule("SDM 3A 4.7 a read across two pages, the second not present: CR2 is the second page",
	     page_fault(E_U, WINDOW + 0x1000));
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(write_code(), .ebx = WINDOW + 0xffe, .eax = 0x11223344);
	rule("SDM 3A 6.5 a write across two pages that faults writes neither",
	     page_fault(E_U | E_W, WINDOW + 0x1000) && *mem16(FRAME + 0xffe) != 0x3344);
}

static void rights(void)
{
	static const struct {
		const char *name;
		u8 pde, pte; /* RW and US */
		bool user, write, wp;
		u8 error; /* 0: allowed */
	} rows[] = {
		{ "SDM 3A 4.6.1 user read of a user page", RW | US, US, true, false, false, 0 },
		{ "SDM 3A 4.6.1 user write of a read-only page: error 7", RW | US, US, true, true,
		  false, 7 },
		{ "SDM 3A 4.6.1 user write, read-only in the directory: error 7", US, RW | US, true,
		  true, false, 7 },
		{ "SDM 3A 4.6.1 user read of a supervisor page: error 5", RW | US, RW, true, false,
		  false, 5 },
		{ "SDM 3A 4.6.1 user read, supervisor in the directory: error 5", RW, RW | US, true,
		  false, false, 5 },
		{ "SDM 3A 4.6.1 user write of a supervisor page: error 7", RW | US, RW, true, true,
		  false, 7 },
		{ "SDM 3A 4.6.1 supervisor write of a read-only user page, WP clear", RW | US, US,
		  false, true, false, 0 },
		{ "SDM 3A 4.6.1 supervisor write of a read-only user page, WP set: error 3",
		  RW | US, US, false, true, true, 3 },
		{ "SDM 3A 4.6.1 supervisor write of a read-only supervisor page, WP set: error 3",
		  RW | US, 0, false, true, true, 3 },
		{ "SDM 3A 4.6.1 supervisor write of a read-only supervisor page, WP clear", RW | US,
		  0, false, true, false, 0 },
		{ "SDM 3A 4.6.1 supervisor write, read-only in the directory, WP set: error 3", US,
		  RW | US, false, true, true, 3 },
		{ "SDM 3A 4.6.1 supervisor read of a supervisor page", RW, 0, false, false, true,
		  0 },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		u32 code = rows[i].write ? write_code() : read_code();

		paging_on(rows[i].wp ? CR0_WP : 0, 0);
		pd[PDE] = PT | PTE_P | rows[i].pde;
		pt[2] = (FRAME + 0x2000) | PTE_P | rows[i].pte;
		if (rows[i].user)
			PROBE3(code, .ebx = WINDOW + 0x2000);
		else
			PROBE(code, .ebx = WINDOW + 0x2000);
		rule(rows[i].name,
		     rows[i].error ? page_fault(rows[i].error, WINDOW + 0x2000) : done());
	}
	paging_on(0, 0);
	pt[2] = (FRAME + 0x2000) | PTE_P | RW;
	*mem8(FRAME + 0x2000) = 0xcc;
	PROBE3(WINDOW + 0x2000);
	rule("SDM 3A 4.7 user fetch from a supervisor page: error 5, without NX or SMEP no I/D bit",
	     page_fault(E_U | E_P, WINDOW + 0x2000));
	paging_on(0, 0);
	pt[2] = (FRAME + 0x2000) | PTE_P | RW;
	PROBE3(CODE("mov fs, eax"), .eax = T(0));
	rule("SDM 3A 4.6 descriptor tables are read with supervisor rights from CPL 3",
	     fault_e(GP, T(0), 0));
	paging_on(0, 0);
	pt[2] = (FRAME + 0x2000) | PTE_P | RW;
	pt[3] = 0;
	seg_set(SEL_LDT, desc(WINDOW + 0x3000, 0xff, P | LDT, 0));
	__asm__ volatile("lldt %w0" : : "r"(SEL_LDT));
	PROBE3(CODE("mov fs, eax"), .eax = L(1));
	rule("SDM 3A 4.7 a descriptor table page not present: a supervisor access, error 0",
	     page_fault(0, WINDOW + 0x3008));
}

/* The LDT in the window: a descriptor that the rules' page rights apply to. */
static void ldt_in_window(u64 descriptor, bool writable)
{
	paging_on(CR0_WP, 0);
	*(volatile u64 *)(FRAME + 0x3008) = descriptor;
	pt[3] = (FRAME + 0x3000) | PTE_P | (writable ? RW : 0);
	seg_set(SEL_LDT, desc(WINDOW + 0x3000, 0xff, P | LDT, 0));
	__asm__ volatile("lldt %w0" : : "r"(SEL_LDT));
	PROBE3(CODE("mov fs, eax"), .eax = L(1) + 3);
}

static void descriptor_pages(void)
{
	u64 data = desc(0, 0xfffff, P | DPL(3) | DATA_RW, G | D);

	ldt_in_window(data, true);
	rule("SDM 3A 3.4.5.1 setting the accessed bit of a descriptor dirties its page",
	     done() && (pt[3] & DIRTY) && (*mem8(FRAME + 0x300d) & ACCESSED));
	ldt_in_window(data, false);
	rule("SDM 3A 4.6.1 setting the accessed bit in a read-only page with WP: error W | P",
	     fault_e(PF, E_W | E_P, 0) && (t.cr2 & ~7u) == WINDOW + 0x3008);
	ldt_in_window(data | (u64)ACCESSED << 40, false);
	rule("SDM 3A 4.6.1 a descriptor that is accessed already is not written",
	     done() && t.fs == L(1) + 3);
}

static void accessed_dirty(void)
{
	paging_on(0, 0);
	PROBE3(read_code(), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.8 a read sets A in directory and table entry, and not D",
	     done() && (pd[PDE] & A) && (pt[1] & (A | DIRTY)) == A && !(pt[2] & A));
	paging_on(0, 0);
	PROBE3(write_code(), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.8 a write sets A and D in the table entry, D not in the directory entry",
	     done() && (pt[1] & (A | DIRTY)) == (A | DIRTY) && (pd[PDE] & (A | DIRTY)) == A);
	paging_on(0, 0);
	PROBE3(CODE("mov eax, [ebx]\n mov [ebx], eax"), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.8 a write after a read sets D", done() && (pt[1] & DIRTY));
	paging_on(0, 0);
	pt[1] = (FRAME + 0x1000) | PTE_P | US;
	PROBE3(write_code(), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.8 a write that faults on rights does not set D",
	     page_fault(7, WINDOW + 0x1000) && !(pt[1] & DIRTY));
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(read_code(), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.8 an entry not present is left as it is", t.vector == PF && pt[1] == 0);
	paging_on(0, 0);
	pd[PDE] = 0x800000 | PTE_P | RW | US | PS;
	PROBE3(read_code(), .ebx = WINDOW);
	rule("SDM 3A 4.8 a read of a 4 MiB page sets A and not D",
	     done() && (pd[PDE] & (A | DIRTY)) == A);
	paging_on(0, 0);
	pd[PDE] = 0x800000 | PTE_P | RW | US | PS;
	PROBE3(write_code(), .ebx = WINDOW + 0x3ffff0);
	rule("SDM 3A 4.8 a write to a 4 MiB page sets A and D",
	     done() && (pd[PDE] & (A | DIRTY)) == (A | DIRTY));
	paging_on(0, 0);
	PROBE3(CODE("lock cmpxchg [ebx], ecx"), .ebx = WINDOW + 0x1000, .eax = 0);
	rule("SDM 2A CMPXCHG writes its destination even when the comparison fails: D is set",
	     done() && !(t.eflags & FL_ZF) && (pt[1] & DIRTY));
}

static void reserved(void)
{
	/* Bits 20:13 may hold address bits 39:32 (PSE-36); bit 21 is reserved with it and without. */
	paging_on(0, 0);
	pd[PDE] = 0x800000 | 1u << 21 | PTE_P | RW | US | PS;
	PROBE3(read_code(), .ebx = WINDOW);
	rule("SDM 3A 4.3 a reserved bit in a 4 MiB directory entry: error RSVD | P",
	     page_fault(E_RSVD | E_U | E_P, WINDOW));
	paging_on(0, 0);
	pd[PDE] = (0x800000 | 1u << 21 | RW | US | PS);
	PROBE3(read_code(), .ebx = WINDOW);
	rule("SDM 3A 4.3 a reserved bit in an entry not present: no RSVD", page_fault(E_U, WINDOW));
}

static void no_pse(void)
{
	u32 code = CODE("mov eax, [ebx]");

	/* With PSE clear all entries refer to tables: a table of its own for the first 4 MiB. */
	paging_on(0, 0);
	cr0_set(CR0_PE | CR0_ET | CR0_NE);
	for (unsigned i = 0; i < 1024; i++) {
		mem32(PAGES + 0x2000)[i] = i << 12 | PTE_P | RW | US;
		mem32(PAGES + 0x3000)[i] = (0x800000 + (i << 12)) | PTE_P | RW | US;
	}
	pd[0] = (PAGES + 0x2000) | PTE_P | RW | US;
	pd[2] = (PAGES + 0x3000) | PTE_P | RW | US;
	pd[PDE] = PT | PTE_P | RW | US | PS;
	cr4_set(0);
	cr0_set(CR0_PG | CR0_PE | CR0_ET | CR0_NE);
	PROBE3(code, .ebx = WINDOW + 0x4000);
	rule("SDM 3A 4.3 with CR4.PSE clear bit 7 of a directory entry is ignored",
	     done() && t.eax == 0xf00d0004);
}

static void stacks(void)
{
	paging_on(0, 0);
	PROBE3(CODE("push eax"), .esp = WINDOW + 0x9002);
	rule("SDM 3A 6.15 (14) a push that faults leaves ESP unchanged",
	     page_fault(E_U | E_W, WINDOW + 0x8ffe) && t.esp == WINDOW + 0x9002);
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(CODE("call 1f\n nop\n1:"), .esp = WINDOW + 0x2000);
	rule("SDM 3A 6.15 (14) a call whose push faults leaves EIP and ESP unchanged",
	     page_fault(E_U | E_W, WINDOW + 0x1ffc) && t.esp == WINDOW + 0x2000);
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(CODE("pop eax"), .esp = WINDOW + 0x1000, .eax = 77);
	rule("SDM 3A 6.15 (14) a pop that faults leaves register and ESP unchanged",
	     page_fault(E_U, WINDOW + 0x1000) && t.eax == 77 && t.esp == WINDOW + 0x1000);
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(CODE("pushad"), .esp = WINDOW + 0x2010);
	rule("SDM 2B PUSHAD that faults half way leaves ESP unchanged",
	     fault_e(PF, E_U | E_W, 0) && (t.cr2 & ~0xfffu) == WINDOW + 0x1000 &&
		     t.esp == WINDOW + 0x2010);
	paging_on(0, 0);
	pt[2] = 0;
	PROBE3(CODE("popad"), .esp = WINDOW + 0x1ff0, .edi = 1, .esi = 2, .ebp = 3, .ebx = 4);
	rule("SDM 2B POPAD that faults half way leaves ESP and the remaining registers unchanged",
	     page_fault(E_U, WINDOW + 0x2000) && t.esp == WINDOW + 0x1ff0 && t.ebx == 4);
	paging_on(0, 0);
	pt[1] = 0;
	PROBE3(CODE("enter 0x100, 0"), .esp = WINDOW + 0x2000, .ebp = 3);
	rule("SDM 2A ENTER that faults leaves ESP and EBP unchanged",
	     page_fault(E_U | E_W, WINDOW + 0x1ffc) && t.esp == WINDOW + 0x2000 && t.ebp == 3);
	paging_on(0, 0);
	pt[1] = (FRAME + 0x1000) | PTE_P | US;
	PROBE3(CODE("xchg [ebx], eax"), .ebx = WINDOW + 0x1000, .eax = 3);
	rule("SDM 3A 4.7 XCHG with a read-only page is a write: error 7, register unchanged",
	     page_fault(7, WINDOW + 0x1000) && t.eax == 3);
	paging_on(0, 0);
	pt[1] = (FRAME + 0x1000) | PTE_P | US;
	PROBE3(CODE("add [ebx], eax"), .ebx = WINDOW + 0x1000, .eax = 3, .eflags = FL_CF | 2);
	rule("SDM 3A 6.5 ADD to a read-only page: error 7, flags unchanged",
	     page_fault(7, WINDOW + 0x1000) && t.eflags == (FL_CF | FL_RF | 2));
	paging_on(0, 0);
	pt[2] = 0;
	PROBE3(CODE("rep movsb"), .esi = WINDOW, .edi = WINDOW + 0x1ff0, .ecx = 0x20);
	rule("SDM 3A 6.15 (14) REP MOVS that faults has done the iterations before",
	     page_fault(E_U | E_W, WINDOW + 0x2000) && t.ecx == 0x10 && t.esi == WINDOW + 0x10);
	paging_on(0, 0);
	tss.esp1 = WINDOW + 0x9000;
	idt_set(0x40, gate(CS1, CODE(""), P | DPL(3) | INT32, 0));
	PROBE3(CODE("int 0x40"));
	rule("SDM 3A 6.15 (14) #PF on the inner stack: a supervisor write of the interrupted program",
	     page_fault(E_W, WINDOW + 0x8ffc) && t.cs == UCS && t.esp == TOP(user_stack));
	paging_on(0, 0);
	idt_set(PF, gate(CS1, CODE(""), P | DPL(3) | INT32, 0));
	tss.esp1 = WINDOW + 0x9000;
	PROBE3(read_code(), .ebx = WINDOW + 0x9000);
	rule("SDM 3A 6.15 (8) #PF during delivery of #PF: #DF(0)", t.vector == DF && t.error == 0);
	paging_on(0, 0);
	idt_set(GP, gate(CS1, CODE(""), P | DPL(3) | INT32, 0));
	tss.esp1 = WINDOW + 0x9000;
	PROBE3(CODE("hlt"));
	rule("SDM 3A 6.15 (8) #PF during delivery of #GP is handled in turn",
	     fault_e(PF, E_W, 0) && t.cr2 == WINDOW + 0x8ffc);
	paging_on(0, 0);
	idt_set(PF, 0);
	PROBE3(read_code(), .ebx = WINDOW + 0x9000);
	rule("SDM 3A 6.15 (8) #GP during delivery of #PF: #DF(0)", t.vector == DF && t.error == 0);
	paging_on(0, 0);
	*mem8(FRAME + 0xfff) = 0xb8;
	pt[1] = 0;
	PROBE3(WINDOW + 0xfff);
	rule("SDM 3A 6.15 (14) an instruction that crosses into a page not present: CR2 there, EIP "
	     "at its start",
	     page_fault(E_U, WINDOW + 0x1000));
}

static void tlb(void)
{
	u32 stale = CODE("mov eax, [ebx]\n mov dword ptr [edx], 0\n invlpg [ebx]\n mov ecx, [ebx]");
	u32 global = CODE("mov eax, [ebx]\n mov dword ptr [edx], 0\n mov esi, cr3\n mov cr3, esi\n"
			  "mov ecx, [ebx]");
	u32 global_flush = CODE("mov eax, [ebx]\n mov dword ptr [edx], 0\n mov esi, cr4\n"
				"and esi, 0xffffff7f\n mov cr4, esi\n mov ecx, [ebx]");
	u32 remap = CODE("mov eax, [ebx]\n mov [edx], esi\n invlpg [ebx + 0xff0]\n mov ecx, [ebx]");
	u32 cr3 = CODE("mov eax, [ebx]\n mov [edx], esi\n mov esi, cr3\n mov cr3, esi\n"
		       "mov ecx, [ebx]");

	paging_on(0, 0);
	PROBE(stale, .ebx = WINDOW + 0x1000, .edx = (u32)&pt[1]);
	rule("SDM 3A 4.10.4.1 INVLPG makes a cleared entry felt",
	     t.vector == PF && t.cr2 == WINDOW + 0x1000 && t.error == 0 && t.eax == 0xf00d0001);
	paging_on(0, 0);
	PROBE(remap, .ebx = WINDOW + 0x1000, .edx = (u32)&pt[1],
	      .esi = (FRAME + 0x6000) | PTE_P | RW | US);
	rule("SDM 3A 4.10.4.1 INVLPG of any address in the page makes a new frame felt",
	     done() && t.ecx == 0xf00d0006);
	paging_on(0, 0);
	PROBE(cr3, .ebx = WINDOW + 0x1000, .edx = (u32)&pt[1],
	      .esi = (FRAME + 0x6000) | PTE_P | RW | US);
	rule("SDM 3A 4.10.4.1 MOV to CR3 makes a new frame felt", done() && t.ecx == 0xf00d0006);
	paging_on(0, CR4_PGE);
	pt[1] |= GLOBAL;
	PROBE(stale, .ebx = WINDOW + 0x1000, .edx = (u32)&pt[1]);
	rule("SDM 3A 4.10.4.1 INVLPG drops a global page",
	     t.vector == PF && t.cr2 == WINDOW + 0x1000);
	paging_on(0, CR4_PGE);
	pt[1] |= GLOBAL;
	PROBE(global_flush, .ebx = WINDOW + 0x1000, .edx = (u32)&pt[1]);
	rule("SDM 3A 4.10.4.1 clearing CR4.PGE drops global pages",
	     t.vector == PF && t.cr2 == WINDOW + 0x1000);
	paging_on(0, 0);
	pt[1] |= GLOBAL;
	PROBE(global, .ebx = WINDOW + 0x1000, .edx = (u32)&pt[1]);
	rule("SDM 3A 4.10.2.4 with CR4.PGE clear the G bit does not outlive MOV to CR3",
	     t.vector == PF && t.cr2 == WINDOW + 0x1000);
	paging_on(0, 0);
	pt[1] = 0;
	PROBE(CODE("mov [edx], esi\n mov ecx, [ebx]"), .ebx = WINDOW + 0x1000, .edx = (u32)&pt[1],
	      .esi = (FRAME + 0x1000) | PTE_P | RW | US);
	rule("SDM 3A 4.10.4.3 an entry that becomes present needs no invalidation",
	     done() && t.ecx == 0xf00d0001);
	paging_on(0, 0);
	PROBE(CODE("mov [edx], esi\n mov cr0, eax\n mov ecx, [edi]"), .edx = LOW_DATA,
	      .esi = 0xcafe, .edi = LOW_DATA, .eax = CR0_PE | CR0_ET | CR0_NE);
	rule("SDM 3A 4.1.1 clearing CR0.PG ends translation",
	     done() && t.ecx == 0xcafe && !(t.cr0 & CR0_PG));
}

static void smep_smap(void)
{
	if (cpuid_7_ebx & 0x80) {
		paging_on(0, CR4_SMEP);
		*mem8(FRAME + 0x2000) = 0xcc;
		PROBE(WINDOW + 0x2000);
		rule("SDM 3A 4.6.1 SMEP: supervisor fetch from a user page: error I | P",
		     page_fault(E_I | E_P, WINDOW + 0x2000));
	} else {
		tap_skip("SDM 3A 4.6.1 SMEP: supervisor fetch from a user page: error I | P",
			 "CPUID.7:EBX.SMEP is clear");
	}
	if (cpuid_7_ebx & 0x100000) {
		u32 read = read_code(), stac = CODE("stac\n mov eax, [ebx]\n clac");

		paging_on(0, CR4_SMAP);
		PROBE(read, .ebx = WINDOW + 0x2000);
		rule("SDM 3A 4.6.1 SMAP: supervisor read of a user page with AC clear: error 1",
		     page_fault(E_P, WINDOW + 0x2000));
		paging_on(0, CR4_SMAP);
		PROBE(stac, .ebx = WINDOW + 0x2000);
		rule("SDM 3A 4.6.1 SMAP: with AC set it is allowed", done() && t.eax == 0xf00d0002);
	} else {
		tap_skip("SDM 3A 4.6.1 SMAP", "CPUID.7:EBX.SMAP is clear");
	}
}

void test_main(void)
{
	translation();
	rights();
	descriptor_pages();
	accessed_dirty();
	reserved();
	no_pse();
	stacks();
	tlb();
	smep_smap();
}
