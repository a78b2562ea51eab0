/* Translation of one access, shared by the access functions of mem.c. */
#ifndef X86_TLB_H
#define X86_TLB_H

#include "x86/mmu.h"

/* Where an access goes: to RAM if host is set, else to the MMIO bus at gpa. */
struct x86_place {
	u8 *host;
	gpa_t gpa; /* valid if host is NULL, or flags are not */
	u8 *flags; /* of the page of RAM; NULL if the TLB has said that nothing is to be heeded */
	bool code; /* the engine caches code of the page: announce a write */
	bool readonly; /* writes go to the MMIO bus */
	bool track;    /* writes are noted in the flags */
};

/* Translates with the rights of `mode`, filling the TLB; raises #PF. The access lies within one page. */
struct x86_place x86_translate(struct vcpu *v, gva_t a, enum x86_access acc, enum tlb_mode mode);

#endif
