/* The memory of a virtual CPU. */
#include "x86/vcpu.h"

#include "x86/mem.h"

#include <sys/mman.h>

/* Where memory of zeros is not an invalid tag yet. */
static void tlb_init(struct tlb *t)
{
	const unsigned ends[] = { 0, TLB_SIZE - 1 };

	for (unsigned n = 0; n < ARRAY_LEN(ends); n++) {
		unsigned slot = ends[n];

		t->read[slot] = t->write[slot] = t->exec[slot] = tlb_invalid(slot);
	}
}

struct vcpu *vcpu_new(struct vm *vm)
{
	struct vcpu *v = mmap(NULL, sizeof(*v), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (v == MAP_FAILED)
		return NULL;
	v->vm = vm;
	v->tlb = &v->tlbs[TLB_SUPER];
	for (unsigned m = 0; m < TLB_MODES; m++)
		tlb_init(&v->tlbs[m]);
	x86_tlb_flush(v, false);
	return v;
}

void vcpu_free(struct vcpu *v)
{
	if (v)
		munmap(v, sizeof(*v));
}
