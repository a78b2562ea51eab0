/* The soft TLB: filled by page walks, emptied by CR3 loads and INVLPG, and kept from letting writes pass by cached code or data
 * breakpoints. Every CPU has one table for each set of rights, so that a change of CPL or AC is a pointer. */
#include "base/trace.h"
#include "x86/exec.h"
#include "x86/tlb.h"

static void entry_clear(struct tlb_entry *e) { e->read = e->write = e->exec = TLB_INVALID; }

void x86_tlb_flush(struct vcpu *v, bool keep_global)
{
	(void)keep_global; /* dropping more than asked is always allowed (SDM 3A 4.10.4.2) */
	for (unsigned m = 0; m < TLB_MODES; m++)
		for (unsigned n = 0; n < TLB_SIZE; n++)
			entry_clear(&v->tlbs[m][n]);
	v->large_base = 0;
	v->large_mask = 0;
	v->large_seen = false;
}

void x86_tlb_flush_page(struct vcpu *v, gva_t a)
{
	/* A large page is held as several entries of 4 KiB, all of which an INVLPG drops. */
	if (v->large_seen && (a & v->large_mask) == v->large_base) {
		x86_tlb_flush(v, false);
		return;
	}
	for (unsigned m = 0; m < TLB_MODES; m++) {
		struct tlb_entry *e = &v->tlbs[m][(a >> 12) & (TLB_SIZE - 1)];
		u64 page = a & ~0xfffull;

		if (e->read == page || e->write == page || e->exec == page)
			entry_clear(e);
	}
}

/* Widens the region of large pages to hold this one. */
static void note_large(struct vcpu *v, gva_t a, u64 size)
{
	if (!v->large_seen) {
		v->large_seen = true;
		v->large_mask = ~(size - 1);
	} else {
		v->large_mask &= ~(size - 1);
		while ((a & v->large_mask) != (v->large_base & v->large_mask))
			v->large_mask <<= 1;
	}
	v->large_base = a & v->large_mask;
}

static void tlb_fill(struct vcpu *v, struct tlb_entry *e, gva_t a, enum tlb_mode mode,
		     const struct mmu_page *p, u8 *host, bool code)
{
	const struct x86_cpu *cpu = &v->cpu;
	u64 page = a & ~0xfffull;
	bool paging = cpu->cr0 & CR0_PG;
	bool user = mode == TLB_USER;
	bool smap = mode == TLB_SUPER && p->user && (cpu->cr4 & CR4_SMAP);
	bool readable = !paging || (user ? p->user : !smap);
	bool writable = readable && (p->writable || (!user && !(cpu->cr0 & CR0_WP)));
	bool exec = p->exec && (user ? p->user : !(p->user && (cpu->cr4 & CR4_SMEP)));
	bool watched = (cpu->dr[7] & 0xff) && x86_page_watched(v, page);

	e->read = readable && !watched ? page : TLB_INVALID;
	e->write = writable && p->dirty && !watched && !code ? page : TLB_INVALID;
	e->exec = !paging || exec ? page : TLB_INVALID;
	e->addend = (u64)(uintptr_t)host - page;
	if (p->size > 4096)
		note_large(v, a, p->size);
}

static bool entry_permits(const struct tlb_entry *e, gva_t a, enum x86_access acc)
{
	u64 page = a & ~0xfffull;

	if (acc == ACC_EXEC)
		return e->exec == page;
	return (acc == ACC_READ ? e->read : e->write) == page;
}

struct x86_place x86_translate(struct vcpu *v, gva_t a, enum x86_access acc, enum tlb_mode mode)
{
	struct tlb_entry *e = &v->tlbs[mode][(a >> 12) & (TLB_SIZE - 1)];

	if (entry_permits(e, a, acc))
		return (struct x86_place){ .host = (u8 *)(uintptr_t)(a + e->addend) };

	struct mmu_page p;
	u32 error;

	if (!mmu_walk(v, a, acc, mode, &p, &error))
		x86_raise_pf(v, a, error);
	gpa_t gpa = p.gpa | (a & 0xfff);
	struct mem_slot *slot = mem_find(v->vm->mem, gpa);

	if (!slot)
		return (struct x86_place){ .gpa = gpa };
	u8 *host = slot->host + (p.gpa - slot->base);
	bool code = slot->page_flags[(gpa - slot->base) / MEM_PAGE] & MEM_PAGE_CODE;

	tlb_fill(v, e, a, mode, &p, host, code || slot->readonly);
	return (struct x86_place){
		.host = host + (a & 0xfff), .gpa = gpa, .code = code, .readonly = slot->readonly
	};
}

/* The page flags of a page of RAM. */
static u8 *page_flags(struct vm *vm, gpa_t page, u8 **host)
{
	struct mem_slot *slot = mem_find(vm->mem, page);

	if (!slot)
		return NULL;
	*host = slot->host + (page - slot->base);
	return &slot->page_flags[(page - slot->base) / MEM_PAGE];
}

void x86_protect_code(struct vm *vm, gpa_t page)
{
	u8 *host;
	u8 *flags = page_flags(vm, page & ~0xfffull, &host);

	if (!flags || *flags & MEM_PAGE_CODE)
		return;
	*flags |= MEM_PAGE_CODE;
	for (unsigned c = 0; c < vm->nvcpus; c++)
		for (unsigned m = 0; m < TLB_MODES; m++)
			for (unsigned n = 0; n < TLB_SIZE; n++) {
				struct tlb_entry *e = &vm->vcpus[c]->tlbs[m][n];

				if (e->write != TLB_INVALID &&
				    e->write + e->addend == (u64)(uintptr_t)host)
					e->write = TLB_INVALID;
			}
}

void x86_unprotect_code(struct vm *vm, gpa_t page)
{
	u8 *host;
	u8 *flags = page_flags(vm, page & ~0xfffull, &host);

	if (flags)
		*flags &= (u8)~MEM_PAGE_CODE;
}
