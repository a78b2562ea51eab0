/* Page walks: none, 32-bit, PAE and 4-level paging (SDM 3A 4.3 to 4.7), with exact accessed and dirty bits. */
#include "x86/mmu.h"

#include "base/trace.h"
#include "x86/exec.h"

#define MAX_LEVELS 4

/* How one paging mode cuts up an address. */
struct geometry {
	unsigned levels; /* of tables read from memory */
	unsigned entry_bytes;
	unsigned index_bits;
};

struct walk {
	struct vcpu *v;
	gpa_t entry_gpa[MAX_LEVELS];
	u64 entry[MAX_LEVELS];
	unsigned depth; /* entries read */
	unsigned shift; /* of the leaf: the mapping is 1 << shift bytes */
	u64 rights;     /* AND of PTE_W and PTE_U, OR of PTE_NX, over all levels */
};

static struct geometry mmu_geometry(const struct x86_cpu *cpu)
{
	if (x86_long(cpu))
		return (struct geometry){ 4, 8, 9 };
	if (cpu->cr4 & CR4_PAE)
		return (struct geometry){ 2, 8, 9 }; /* the PDPTEs are registers */
	return (struct geometry){ 2, 4, 10 };
}

/* Paging structures outside RAM read as ones, as an unclaimed bus does. */
static u64 entry_read(struct vcpu *v, gpa_t gpa, unsigned size)
{
	const u8 *host = mem_host(v->vm->mem, gpa & v->vm->a20_mask, size);

	return host ? le_load(host, size) : bits_mask(8 * size);
}

static void entry_set(struct vcpu *v, gpa_t gpa, unsigned size, u64 bits)
{
	gpa_t at = gpa & v->vm->a20_mask;
	struct mem_slot *slot = mem_find(v->vm->mem, at);

	if (!slot || slot->readonly)
		return;
	u8 *host = slot->host + (at - slot->base);
	u8 *flags = &slot->page_flags[(at - slot->base) / MEM_PAGE];

	if (*flags & MEM_PAGE_CODE)
		v->vm->code_written(v->vm, host, size);
	if (slot->area->track)
		*flags |= MEM_PAGE_DIRTY;
	le_store(host, le_load(host, size) | bits, size);
}

/* Bits that must be zero in an entry, for the tables with 8-byte entries. */
static u64 reserved_bits(struct vcpu *v, unsigned shift, bool leaf)
{
	unsigned phys = cpuid_phys_bits(v->vm);
	u64 rsvd = x86_long(&v->cpu) ? bits_mask(52) & ~bits_mask(phys)
				     : bits_mask(63) & ~bits_mask(phys);

	if (!(v->cpu.efer & EFER_NXE))
		rsvd |= PTE_NX;
	if (shift == 39)
		rsvd |= PTE_PS;
	if (shift == 30 && !cpuid_has(v->vm, FEAT_1G))
		rsvd |= PTE_PS;
	if (leaf && shift > 12)
		rsvd |= bits_mask(shift) & ~bits_mask(13); /* bit 12 is PAT */
	return rsvd;
}

/* Reads entries down to the leaf. False with PF_P and PF_RSVD set in *error as found. */
static bool walk_tables(struct walk *w, gva_t a, u32 *error)
{
	struct vcpu *v = w->v;
	struct x86_cpu *cpu = &v->cpu;
	struct geometry g = mmu_geometry(cpu);
	bool wide = g.entry_bytes == 8;
	bool pse = wide || (cpu->cr4 & CR4_PSE);
	u64 frame = bits_mask(wide ? 52 : 32) & ~bits_mask(12);
	gpa_t table = cpu->cr3 & (wide ? bits_mask(52) & ~0xfffull : 0xfffff000ull);

	w->rights = PTE_W | PTE_U;
	if (wide && !x86_long(cpu)) {
		u64 pdpte = cpu->pdpte[(a >> 30) & 3];

		if (!(pdpte & PTE_P))
			return false;
		table = pdpte & frame;
	}
	for (unsigned level = g.levels; level-- > 0;) {
		unsigned shift = 12 + level * g.index_bits;
		gpa_t at = table + ((a >> shift) & bits_mask(g.index_bits)) * g.entry_bytes;
		u64 e = entry_read(v, at, g.entry_bytes);
		bool leaf = level == 0 || (pse && (e & PTE_PS) && level < 3);

		if (!(e & PTE_P))
			return false;
		w->entry_gpa[w->depth] = at;
		w->entry[w->depth++] = e;
		/* 4 MiB pages: bits 13..20 hold the address above 4 GiB (PSE-36), bit 21 is reserved. */
		if (wide ? (e & reserved_bits(v, shift, leaf)) != 0
			 : leaf && level && (e & BIT(21))) {
			*error |= PF_P | PF_RSVD;
			return false;
		}
		w->rights = (w->rights & e & (PTE_W | PTE_U)) |
			    ((w->rights | e) & PTE_NX & (wide ? ~0ull : 0));
		w->shift = shift;
		if (leaf)
			return true;
		table = e & frame;
	}
	return true;
}

/* Rights of SDM 3A 4.6.1 for the access. */
static bool access_allowed(const struct x86_cpu *cpu, const struct mmu_page *p, enum x86_access acc,
			   enum tlb_mode mode)
{
	if (mode == TLB_USER)
		return p->user && (acc == ACC_READ || (acc == ACC_EXEC ? p->exec : p->writable));
	if (acc == ACC_EXEC)
		return p->exec && !(p->user && (cpu->cr4 & CR4_SMEP));
	if (p->user && mode == TLB_SUPER && (cpu->cr4 & CR4_SMAP))
		return false;
	return acc == ACC_READ || p->writable || !(cpu->cr0 & CR0_WP);
}

static gpa_t leaf_address(const struct walk *w, gva_t a)
{
	u64 e = w->entry[w->depth - 1];
	gpa_t frame = e & (bits_mask(52) & ~bits_mask(w->shift));

	if (w->shift == 22) /* PSE-36 */
		frame = (e & 0xffc00000ull) | bits_get(e, 20, 13) << 32;
	return (frame | (a & bits_mask(w->shift))) & ~0xfffull;
}

bool mmu_walk(struct vcpu *v, gva_t a, enum x86_access acc, enum tlb_mode mode,
	      struct mmu_page *page, u32 *error)
{
	struct x86_cpu *cpu = &v->cpu;
	bool write = acc == ACC_WRITE || acc == ACC_RMW;

	if (!(cpu->cr0 & CR0_PG)) {
		*page = (struct mmu_page){
			a & ~0xfffull & v->vm->a20_mask, 4096, true, true, true, true, false
		};
		return true;
	}
	struct walk w = { .v = v };

	*error = (u32)((write ? PF_W : 0) | (mode == TLB_USER ? PF_U : 0));
	if (acc == ACC_EXEC &&
	    ((cpu->efer & EFER_NXE && cpu->cr4 & CR4_PAE) || cpu->cr4 & CR4_SMEP))
		*error |= PF_I;
	if (!walk_tables(&w, a, error))
		return false;
	u64 leaf = w.entry[w.depth - 1];

	*page = (struct mmu_page){
		.gpa = leaf_address(&w, a) & v->vm->a20_mask,
		.size = BIT(w.shift),
		.user = w.rights & PTE_U,
		.writable = w.rights & PTE_W,
		.exec = !(w.rights & PTE_NX),
		.dirty = (leaf & PTE_D) || write,
		.global = (leaf & PTE_G) && (cpu->cr4 & CR4_PGE),
	};
	if (!access_allowed(cpu, page, acc, mode)) {
		*error |= PF_P;
		return false;
	}
	unsigned bytes = mmu_geometry(cpu).entry_bytes;

	for (unsigned n = 0; n < w.depth; n++) {
		u64 set = PTE_A | (n == w.depth - 1 && write ? PTE_D : 0);

		if ((w.entry[n] & set) != set)
			entry_set(v, w.entry_gpa[n], bytes, set);
	}
	return true;
}

bool x86_translate_debug(const struct vcpu *v, gva_t a, gpa_t *gpa)
{
	if (!(v->cpu.cr0 & CR0_PG)) {
		*gpa = a & v->vm->a20_mask;
		return true;
	}
	/* walk_tables only reads; the cast lets one walk serve both callers. */
	struct walk w = { .v = (struct vcpu *)(uintptr_t)v };
	u32 error = 0;

	if (!walk_tables(&w, a, &error))
		return false;
	*gpa = (leaf_address(&w, a) | (a & 0xfff)) & v->vm->a20_mask;
	return true;
}

/* Each of the four PDPTEs is checked and latched by MOV CR3, by MOV CR0 and CR4 that change paging, and by a task switch
 * (SDM 3A 4.4.1). */
void x86_load_pdptes(struct vcpu *v, u64 cr3)
{
	u64 pdpte[4];
	u64 rsvd = (bits_mask(64) & ~bits_mask(cpuid_phys_bits(v->vm))) | 0x1e6;

	for (unsigned n = 0; n < 4; n++) {
		pdpte[n] = entry_read(v, (cr3 & 0xffffffe0ull) + n * 8, 8);
		if ((pdpte[n] & PTE_P) && (pdpte[n] & rsvd))
			x86_raise_gp0(v);
	}
	memcpy(v->cpu.pdpte, pdpte, sizeof(pdpte));
}
