/* Guest-linear memory access through the soft TLB. All functions raise the exception that the manual says and do not
 * return then. A store that spans two pages changes nothing if either page faults. */
#ifndef X86_MEM_H
#define X86_MEM_H

#include "x86/vcpu.h"

enum x86_access {
	ACC_READ,
	ACC_WRITE,
	ACC_EXEC,
	ACC_RMW /* a read that will be followed by a write: checked as write */
};

u64 x86_read_slow(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc);
void x86_write_slow(struct vcpu *v, gva_t a, u64 value, unsigned size);

/* Host address of size bytes at linear a if the TLB lets the access through, else NULL. Non-canonical addresses are in no TLB
 * entry, so a hit needs no further check. size is in 1..4096. */
static inline __attribute__((always_inline)) u8 *tlb_hit(struct vcpu *v, gva_t a, unsigned size,
							 bool write)
{
	const struct tlb *t = v->tlb;
	unsigned slot = tlb_slot(a);

	if (unlikely(!tlb_covers(write ? t->write[slot] : t->read[slot], a, size)))
		return NULL;

	u8 *p = (u8 *)(uintptr_t)(a + t->addend[slot]);

	if (!p)
		__builtin_unreachable();
	return p;
}

/* Loads size = 1, 2, 4 or 8 bytes at linear address a with the rights of the current CPL. */
static inline u64 x86_read(struct vcpu *v, gva_t a, unsigned size)
{
	const u8 *p = tlb_hit(v, a, size, false);

	return likely(p) ? le_load(p, size) : x86_read_slow(v, a, size, ACC_READ);
}

/* The load of a read-modify-write: the page is checked for writing first. */
static inline u64 x86_read_rmw(struct vcpu *v, gva_t a, unsigned size)
{
	const u8 *p = tlb_hit(v, a, size, true);

	return likely(p) ? le_load(p, size) : x86_read_slow(v, a, size, ACC_RMW);
}

static inline void x86_write(struct vcpu *v, gva_t a, u64 value, unsigned size)
{
	u8 *p = tlb_hit(v, a, size, true);

	if (likely(p))
		le_store(p, value, size);
	else
		x86_write_slow(v, a, value, size);
}

/* Any number of bytes (bounded by X86_XSAVE_SIZE), page by page; checked whole before the first byte moves. MMIO is accessed in
 * pieces of at most 8 bytes. */
void x86_read_bytes(struct vcpu *v, gva_t a, void *buf, unsigned size);
void x86_write_bytes(struct vcpu *v, gva_t a, const void *buf, unsigned size);
/* Faults as an access to [a, a + size) would, without one. */
void x86_probe(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc);
/* Host address of one guest page's bytes from a to the page's end, A/D bits now set, if the access can go directly to RAM; NULL
 * where it cannot (MMIO, ROM, cached code if writing, a watchpoint). Raises as the access would. For string instructions. */
u8 *x86_direct(struct vcpu *v, gva_t a, enum x86_access acc);

/* Implicit supervisor accesses: descriptor tables, TSS, stack switches (U/S checked as CPL 0, SMAP as SDM 3A 4.6.1 implicit). */
u64 x86_read_sys(struct vcpu *v, gva_t a, unsigned size);
void x86_write_sys(struct vcpu *v, gva_t a, u64 value, unsigned size);
void x86_probe_sys(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc);
/* The same with the rights of CPL `cpl`, whatever the current one is (pushes on the stack of an inner ring). */
u64 x86_read_as(struct vcpu *v, gva_t a, unsigned size, unsigned cpl);
void x86_write_as(struct vcpu *v, gva_t a, u64 value, unsigned size, unsigned cpl);

/* Fetches up to max instruction bytes at linear a without crossing its page; raises #PF as a fetch does. Returns the number. */
unsigned x86_fetch(struct vcpu *v, gva_t a, u8 *buf, unsigned max);
/* Host address of the code at linear a, with the rights of a fetch, or NULL if it is not RAM; raises #PF. */
u8 *x86_fetch_host(struct vcpu *v, gva_t a);

/* TLB maintenance on this vCPU. keep_global: entries of global pages stay. A flush of the page at a drops it in every mode, also
 * if it is global, and all pieces of a large page there (SDM 3A 4.10.4.1). */
void x86_tlb_flush(struct vcpu *v, bool keep_global);
void x86_tlb_flush_page(struct vcpu *v, gva_t a);
/* Scope of the page at a, which the TLB of the present mode holds. */
enum tlb_scope x86_tlb_scope(const struct vcpu *v, gva_t a);
/* An engine caches code of the page at this host address from now on: the page is marked and no vCPU's TLB lets writes pass it by. */
void x86_protect_code(struct vm *vm, const u8 *page);
/* No code of the page is cached any more. */
void x86_unprotect_code(struct vm *vm, const u8 *page);

/* Page walk without side effects, for debuggers and dumps: true and *gpa, or false if not mapped. */
bool x86_translate_debug(const struct vcpu *v, gva_t a, gpa_t *gpa);

/* --- Segmented addressing ------------------------------------------------------------------- */

/* Raises #GP(0), or #SS(0) for the stack segment. */
noreturn_fn void x86_raise_segment(struct vcpu *v, unsigned seg);
/* Full checks: limit, type, null, canonical (SDM 3A 5.3); returns the linear address. */
gva_t x86_linear_checked(struct vcpu *v, unsigned seg, u64 off, unsigned size, enum x86_access acc);

/* Linear address of size bytes at seg:off. off is already cut to the address size. */
static inline gva_t x86_linear(struct vcpu *v, unsigned seg, u64 off, unsigned size,
			       enum x86_access acc)
{
	const struct x86_seg *s = &v->cpu.seg[seg];

	if (likely(x86_64bit(&v->cpu))) {
		u64 a = seg >= FS ? off + s->base : off;

		if (unlikely((a + BIT(47)) >> 48 || (a + size - 1 + BIT(47)) >> 48))
			x86_raise_segment(v, seg);
		return a;
	}
	return x86_linear_checked(v, seg, off, size, acc);
}

/* Offset of the memory operand within its segment, cut to the address size. */
static inline u64 x86_ea(const struct vcpu *v, const struct x86_insn *i)
{
	u64 off = x86_slot(&v->cpu, i->base) + (x86_slot(&v->cpu, i->index) << i->scale) +
		  (u64)i->disp;

	if (i->addrsize == 8)
		return off;
	return i->addrsize == 4 ? (u32)off : (u16)off;
}

/* Linear address of the memory operand. */
static inline gva_t x86_operand(struct vcpu *v, const struct x86_insn *i, unsigned size,
				enum x86_access acc)
{
	return x86_linear(v, i->seg, x86_ea(v, i), size, acc);
}

/* --- Stack ---------------------------------------------------------------------------------- */

static inline u64 x86_sp_mask(const struct x86_cpu *cpu)
{
	return bits_mask(8 * x86_stack_size(cpu));
}

/* Writes the part of RSP that the stack size covers; a 32-bit stack clears the upper half as a 32-bit register write in
 * 64-bit capable CPUs does. */
static inline void x86_set_sp(struct x86_cpu *cpu, u64 sp)
{
	unsigned size = x86_stack_size(cpu);

	cpu->gpr[RSP] = size == 8   ? sp
			: size == 4 ? (u32)sp
				    : ((cpu->gpr[RSP] & ~0xffffull) | (u16)sp);
}

/* Pushes one slot of size bytes at the current CPL: faults before RSP changes. */
static inline void x86_push(struct vcpu *v, u64 value, unsigned size)
{
	u64 sp = (v->cpu.gpr[RSP] - size) & x86_sp_mask(&v->cpu);

	x86_write(v, x86_linear(v, SS, sp, size, ACC_WRITE), value, size);
	x86_set_sp(&v->cpu, sp);
}

/* The slot at RSP + skip, without moving RSP. */
static inline u64 x86_peek(struct vcpu *v, unsigned skip, unsigned size)
{
	u64 sp = (v->cpu.gpr[RSP] + skip) & x86_sp_mask(&v->cpu);

	return x86_read(v, x86_linear(v, SS, sp, size, ACC_READ), size);
}

static inline u64 x86_pop(struct vcpu *v, unsigned size)
{
	u64 value = x86_peek(v, 0, size);

	x86_set_sp(&v->cpu, v->cpu.gpr[RSP] + size);
	return value;
}

#endif
