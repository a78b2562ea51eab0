/*
 * PAE paging: the PDPTE registers, 4 KiB and 2 MiB pages, execute-disable, reserved bits.
 * SDM 3A 4.4, 4.6 and 4.7.
 */
#include "pm.h"

enum { PTE_P = 1, RW = 2, US = 4, A = 32, DIRTY = 64, PS = 128 };
enum { E_P = 1, E_W = 2, E_U = 4, E_RSVD = 8, E_I = 16 };
#define XD (1ull << 63)

#define PDPT   PAGES /* 32 bytes */
#define PD0    (PAGES + 0x1000)
#define PD1    (PAGES + 0x2000)
#define PT     (PAGES + 0x3000)
#define FRAME  (PAGES + 0x100000)
#define WINDOW 0x40000000u

#define IA32_EFER 0xc0000080
#define EFER_NXE  0x800

static volatile u64 *const pdpt = (u64 *)PDPT, *const pd0 = (u64 *)PD0, *const pd1 = (u64 *)PD1,
			   *const pt = (u64 *)PT;

/* Structures for 16 MiB 1:1 and the window, and CR4 and CR3, but CR0.PG. */
static void prepare(void)
{
	for (unsigned i = 0; i < 512; i++)
		pd0[i] = pd1[i] = pt[i] = 0;
	for (unsigned i = 0; i < 8; i++) {
		pd0[i] = (u64)i << 21 | PTE_P | RW | US | PS;
		pt[i] = (FRAME + i * 0x1000) | PTE_P | RW | US;
		*mem32(FRAME + i * 0x1000) = 0xf00d0000 + i;
	}
	pdpt[0] = PD0 | PTE_P;
	pdpt[1] = PD1 | PTE_P;
	pdpt[2] = pdpt[3] = 0;
	pd1[0] = PT | PTE_P | RW | US;
	wrmsr(IA32_EFER, 0);
	cr4_set(CR4_PAE);
	cr3_set(PDPT);
}

static void paging_on(bool nx)
{
	prepare();
	if (nx)
		wrmsr(IA32_EFER, EFER_NXE);
	cr0_set(CR0_PG | CR0_PE | CR0_ET | CR0_NE);
}

static bool page_fault(u32 error, u32 address) { return fault_e(PF, error, 0) && t.cr2 == address; }

static void translation(void)
{
	u32 read = CODE("mov eax, [ebx]"), write = CODE("mov [ebx], eax");

	paging_on(false);
	PROBE3(read, .ebx = WINDOW + 0x3000);
	rule("SDM 3A 4.4.2 a 4 KiB page translates through PDPTE, directory and table",
	     done() && t.eax == 0xf00d0003);
	paging_on(false);
	pd1[1] = (FRAME & ~0x1fffffu) | PTE_P | RW | US | PS;
	PROBE3(read, .ebx = WINDOW + 0x200000 + (FRAME & 0x1fffff) + 0x2000);
	rule("SDM 3A 4.4.2 a 2 MiB page needs no CR4.PSE", done() && t.eax == 0xf00d0002);
	paging_on(false);
	PROBE3(read, .ebx = 0x80000000);
	rule("SDM 3A 4.4.2 a PDPTE not present: page fault, error 4", page_fault(E_U, 0x80000000));
	paging_on(false);
	PROBE3(write, .ebx = WINDOW + 0x9000);
	rule("SDM 3A 4.7 user write of a page not present: error 6",
	     page_fault(E_U | E_W, WINDOW + 0x9000));
	paging_on(false);
	pd1[0] = PT | PTE_P | US;
	PROBE3(write, .ebx = WINDOW);
	rule("SDM 3A 4.6 read-only in the directory: user write: error 7",
	     page_fault(E_U | E_W | E_P, WINDOW));
	paging_on(false);
	PROBE3(read, .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.8 a read sets A in directory and table entry, and not D; PDPTEs have no A",
	     done() && (pd1[0] & A) && (pt[1] & (A | DIRTY)) == A && pdpt[1] == (PD1 | PTE_P));
	paging_on(false);
	PROBE3(write, .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.8 a write sets A and D", done() && (pt[1] & (A | DIRTY)) == (A | DIRTY));
	paging_on(false);
	pd1[1] = (FRAME & ~0x1fffffu) | PTE_P | RW | US | PS;
	PROBE3(write, .ebx = WINDOW + 0x200000 + (FRAME & 0x1fffff));
	rule("SDM 3A 4.8 a write to a 2 MiB page sets A and D",
	     done() && (pd1[1] & (A | DIRTY)) == (A | DIRTY));
}

static void reserved(void)
{
	u32 read = CODE("mov eax, [ebx]");

	paging_on(false);
	pt[1] |= 1ull << 62;
	PROBE3(read, .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.4.2 bit 62 of a table entry is reserved: error RSVD | P",
	     page_fault(E_RSVD | E_U | E_P, WINDOW + 0x1000));
	paging_on(false);
	pt[1] |= 1ull << 62;
	PROBE(CODE("mov [ebx], eax"), .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.7 a supervisor write with a reserved bit set: error RSVD | W | P",
	     page_fault(E_RSVD | E_W | E_P, WINDOW + 0x1000));
	paging_on(false);
	pt[1] |= XD;
	PROBE3(read, .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.4.2 with EFER.NXE clear bit 63 is reserved: error RSVD | P",
	     page_fault(E_RSVD | E_U | E_P, WINDOW + 0x1000));
	paging_on(false);
	pd1[1] = (FRAME & ~0x1fffffu) | 0x2000 | PTE_P | RW | US | PS;
	PROBE3(read, .ebx = WINDOW + 0x200000);
	rule("SDM 3A 4.4.2 bit 13 of a 2 MiB entry is reserved: error RSVD | P",
	     page_fault(E_RSVD | E_U | E_P, WINDOW + 0x200000));
	paging_on(false);
	pd1[0] |= 1ull << 62;
	PROBE3(read, .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.4.2 bit 62 of a directory entry is reserved: error RSVD | P",
	     page_fault(E_RSVD | E_U | E_P, WINDOW + 0x1000));
	paging_on(false);
	pt[1] = (pt[1] | 1ull << 62) & ~(u64)PTE_P;
	PROBE3(read, .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.7 reserved bits of an entry not present are not checked: no RSVD",
	     page_fault(E_U, WINDOW + 0x1000));
}

static void execute_disable(void)
{
	u32 read = CODE("mov eax, [ebx]");

	if (!(cpuid_ext_edx & 0x100000)) {
		tap_skip("SDM 3A 4.6 execute-disable", "CPUID.80000001H:EDX.NX is clear");
		return;
	}
	paging_on(true);
	pt[1] |= XD;
	PROBE3(read, .ebx = WINDOW + 0x1000);
	rule("SDM 3A 4.6.1 data may be read from an execute-disable page",
	     done() && t.eax == 0xf00d0001);
	paging_on(true);
	pt[1] |= XD;
	*mem8(FRAME + 0x1000) = 0xcc;
	PROBE3(WINDOW + 0x1000);
	rule("SDM 3A 4.6.1 user fetch from an execute-disable page: error I | U | P",
	     page_fault(E_I | E_U | E_P, WINDOW + 0x1000));
	paging_on(true);
	pd1[0] |= XD;
	PROBE(WINDOW + 0x1000);
	rule("SDM 3A 4.6.1 supervisor fetch, execute-disable in the directory: error I | P",
	     page_fault(E_I | E_P, WINDOW + 0x1000));
	paging_on(true);
	pd1[1] = (FRAME & ~0x1fffffu) | PTE_P | RW | US | PS | XD;
	PROBE3(WINDOW + 0x200000);
	rule("SDM 3A 4.6.1 user fetch from an execute-disable 2 MiB page: error I | U | P",
	     page_fault(E_I | E_U | E_P, WINDOW + 0x200000));
	paging_on(true);
	pt[1] = 0;
	PROBE3(WINDOW + 0x1000);
	rule("SDM 3A 4.7 with NXE set, a fetch from a page not present: error I | U",
	     page_fault(E_I | E_U, WINDOW + 0x1000));
	paging_on(false);
	pt[1] = 0;
	PROBE3(WINDOW + 0x1000);
	rule("SDM 3A 4.7 with NXE clear, a fetch from a page not present: error U, no I/D bit",
	     page_fault(E_U, WINDOW + 0x1000));
	paging_on(true);
	*mem8(FRAME + 0x1fff) = 0xb8;
	pt[2] |= XD;
	PROBE3(WINDOW + 0x1fff);
	rule("SDM 3A 4.6.1 an instruction that runs into an execute-disable page: CR2 there",
	     page_fault(E_I | E_U | E_P, WINDOW + 0x2000));
}

static void pdptes(void)
{
	u32 mov_cr3 = CODE("mov cr3, eax"), mov_cr0 = CODE("mov cr0, eax"),
	    read = CODE("mov eax, [ebx]");
	u32 enable = CR0_PG | CR0_PE | CR0_ET | CR0_NE;

	prepare();
	pdpt[2] = PD0 | RW | PTE_P;
	PROBE(mov_cr0, .eax = enable);
	rule("SDM 3A 4.4.1 setting CR0.PG with a reserved bit in a present PDPTE: #GP(0)",
	     fault_e(GP, 0, 0) && !(t.cr0 & CR0_PG));
	prepare();
	pdpt[2] = PD0 | RW;
	PROBE(mov_cr0, .eax = enable);
	rule("SDM 3A 4.4.1 a reserved bit in a PDPTE not present does not matter", done());
	paging_on(false);
	pdpt[3] = PD0 | US | PTE_P;
	PROBE(mov_cr3, .eax = PDPT);
	rule("SDM 3A 4.4.1 MOV to CR3 with a reserved bit in a present PDPTE: #GP(0)",
	     fault_e(GP, 0, 0));
	paging_on(false);
	pdpt[3] = PD0 | 1ull << 63 | PTE_P;
	PROBE(mov_cr3, .eax = PDPT);
	rule("SDM 3A 4.4.1 bit 63 of a present PDPTE is reserved: #GP(0)", fault_e(GP, 0, 0));
	paging_on(false);
	pdpt[1] = 0;
	PROBE(read, .ebx = WINDOW);
	rule("SDM 3A 4.4.1 PDPTEs are registers: a change in memory is not felt before MOV to CR3",
	     done() && t.eax == 0xf00d0000);
	paging_on(false);
	pdpt[1] = 0;
	PROBE(CODE("mov cr3, eax\n mov eax, [ebx]"), .eax = PDPT, .ebx = WINDOW);
	rule("SDM 3A 4.4.1 MOV to CR3 loads the PDPTEs",
	     t.vector == PF && t.cr2 == WINDOW && t.error == 0);
	paging_on(false);
	pdpt[1] = 0;
	PROBE(CODE("mov ecx, cr4\n xor ecx, 0x80\n mov cr4, ecx\n mov eax, [ebx]"), .ebx = WINDOW);
	rule("SDM 3A 4.4.1 MOV to CR4 that changes PGE loads the PDPTEs",
	     t.vector == PF && t.cr2 == WINDOW);
	paging_on(false);
	pdpt[1] = 0;
	PROBE(CODE("invlpg [ebx]\n mov eax, [ebx]"), .ebx = WINDOW);
	rule("SDM 3A 4.4.1 INVLPG does not load the PDPTEs", done() && t.eax == 0xf00d0000);
	prepare();
	for (unsigned i = 0; i < 4; i++)
		*(volatile u64 *)(PDPT + 32 + 8 * i) = pdpt[i];
	pdpt[1] = 0;
	cr3_set(PDPT + 32);
	cr0_set(enable);
	PROBE(read, .ebx = WINDOW + 0x2000);
	rule("SDM 3A 4.4.1 the table of PDPTEs is aligned to 32 bytes, not to a page",
	     done() && t.eax == 0xf00d0002);
}

void test_main(void)
{
	if (!(cpuid_1_edx & 0x40)) {
		tap_skip("SDM 3A 4.4 PAE paging", "CPUID.1:EDX.PAE is clear");
		return;
	}
	translation();
	reserved();
	execute_disable();
	pdptes();
}
