/* Page walks (SDM 3A 4) and the soft TLB that caches them. */
#ifndef X86_MMU_H
#define X86_MMU_H

#include "x86/mem.h"

#define PTE_P  BIT(0)
#define PTE_W  BIT(1)
#define PTE_U  BIT(2)
#define PTE_A  BIT(5)
#define PTE_D  BIT(6)
#define PTE_PS BIT(7)
#define PTE_G  BIT(8)
#define PTE_NX BIT(63)

#define PF_P    BIT(0)
#define PF_W    BIT(1)
#define PF_U    BIT(2)
#define PF_RSVD BIT(3)
#define PF_I    BIT(4)

/* One page as the walk found it. */
struct mmu_page {
	gpa_t gpa;                 /* of the 4 KiB page that holds the address */
	u64 size;                  /* of the mapping: 4K, 2M, 4M, 1G */
	bool user, writable, exec; /* the AND of all levels */
	bool dirty;                /* D is set: a write needs no walk */
	bool global;
};

/* Walks the page tables for one access with the rights of `mode`; sets A and, for writes, D. Returns true and *page, or
 * false and the #PF error code in *error; nothing is changed then. */
bool mmu_walk(struct vcpu *v, gva_t a, enum x86_access acc, enum tlb_mode mode,
	      struct mmu_page *page, u32 *error) must_check;

#endif
