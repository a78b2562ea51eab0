/* The soft TLB: filled by page walks, emptied by CR3 loads and INVLPG, and kept from letting writes pass by cached code or data
 * breakpoints. Every CPU has one table for each set of rights, so that a change of CPL or AC is a pointer. Sets remember which
 * slots are filled, so that a flush costs what it drops and not the size of the table. */
#include "base/trace.h"
#include "x86/exec.h"
#include "x86/tlb.h"

/* --- Sets of slots ---------------------------------------------------------------------------- */

static void set_add(struct tlb_set *s, unsigned n)
{
	s->word[n / 64] |= BIT(n % 64);
	s->summary[n / 4096] |= BIT(n / 64 % 64);
}

static void set_remove(struct tlb_set *s, unsigned n) { s->word[n / 64] &= ~BIT(n % 64); }

static bool set_has(const struct tlb_set *s, unsigned n) { return s->word[n / 64] >> n % 64 & 1; }

/* Takes a word with members out of the set and returns its number, or -1 if the set is empty. */
static int set_take_word(struct tlb_set *s, u64 *word)
{
	for (unsigned k = 0; k < ARRAY_LEN(s->summary); k++)
		while (s->summary[k]) {
			unsigned n = k * 64 + (unsigned)__builtin_ctzll(s->summary[k]);

			s->summary[k] &= s->summary[k] - 1;
			*word = s->word[n];
			s->word[n] = 0;
			if (*word)
				return (int)n;
		}
	return -1;
}

static void set_empty(struct tlb_set *s)
{
	u64 word;

	while (set_take_word(s, &word) >= 0)
		;
}

/* --- Dropping --------------------------------------------------------------------------------- */

/* The addend stays: nothing looks at it without a tag. */
static void slot_clear(struct tlb *t, unsigned slot)
{
	t->read[slot] = t->write[slot] = t->exec[slot] = tlb_invalid(slot);
}

static void near_clear(struct vcpu *v)
{
	const struct tlb_near none = { .read = TLB_NEAR_INVALID, .write = TLB_NEAR_INVALID };

	for (unsigned m = 0; m < TLB_MODES; m++)
		for (unsigned n = 0; n < ARRAY_LEN(v->near[m]); n++)
			v->near[m][n] = none;
	v->near_drops++;
}

static void mapping_dropped(struct vcpu *v, enum tlb_drop what, gva_t a)
{
	if (v->mapping_dropped)
		v->mapping_dropped(v, what, a);
}

static void drop_scope(struct vcpu *v, enum tlb_scope scope)
{
	for (unsigned m = 0; m < TLB_MODES; m++) {
		u64 word;
		int n;

		while ((n = set_take_word(&v->filled[m][scope], &word)) >= 0)
			for (; word; word &= word - 1)
				slot_clear(&v->tlbs[m],
					   (unsigned)n * 64 + (unsigned)__builtin_ctzll(word));
	}
	set_empty(&v->large[scope]);
}

void x86_tlb_flush(struct vcpu *v, bool keep_global)
{
	drop_scope(v, TLB_LOCAL);
	if (!keep_global)
		drop_scope(v, TLB_GLOBAL);
	near_clear(v);
	mapping_dropped(v, keep_global ? TLB_DROP_NONGLOBAL : TLB_DROP_ALL, 0);
}

enum tlb_scope x86_tlb_scope(const struct vcpu *v, gva_t a)
{
	return set_has(&v->filled[v->tlb - v->tlbs][TLB_GLOBAL], tlb_slot(a)) ? TLB_GLOBAL
									      : TLB_LOCAL;
}

/* --- Large pages ------------------------------------------------------------------------------ */

/* They are held as slots of 4 KiB, all of which an INVLPG drops, and engines may know of more than are still held. So each place
 * where one was is remembered as a hash of its address: another address may be taken for one by mistake, but none is missed. Pages
 * of 2 MiB count as the 4 MiB around them. */
enum { SHIFT_LARGE = 22, SHIFT_HUGE = 30 };

static unsigned large_hash(gva_t a, unsigned shift)
{
	return (unsigned)(((a >> shift ^ (u64)shift << 56) * 0x9e3779b97f4a7c15ull) >>
			  (64 - TLB_BITS));
}

static void large_note(struct vcpu *v, gva_t a, const struct mmu_page *p)
{
	unsigned shift = p->size > BIT(SHIFT_LARGE) ? SHIFT_HUGE : SHIFT_LARGE;

	set_add(&v->large[p->global ? TLB_GLOBAL : TLB_LOCAL], large_hash(a, shift));
}

static bool large_seen(const struct vcpu *v, gva_t a, unsigned shift)
{
	unsigned hash = large_hash(a, shift);

	return set_has(&v->large[TLB_LOCAL], hash) || set_has(&v->large[TLB_GLOBAL], hash);
}

/* Whether the slot holds a page of the region of 1 << shift bytes around a; an invalid tag may look so and does no harm. */
static bool slot_in_region(const struct tlb *t, unsigned slot, gva_t a, unsigned shift)
{
	return !((-t->read[slot] ^ a) >> shift) || !((-t->write[slot] ^ a) >> shift) ||
	       !((-t->exec[slot] ^ a) >> shift);
}

static void drop_region(struct vcpu *v, gva_t a, unsigned shift)
{
	unsigned slots = MIN(1u << (shift - 12), TLB_SIZE);
	unsigned first = tlb_slot(a) & ~(slots - 1);

	for (unsigned m = 0; m < TLB_MODES; m++)
		for (unsigned n = first / 64; n < (first + slots) / 64; n++) {
			u64 *local = &v->filled[m][TLB_LOCAL].word[n];
			u64 *global = &v->filled[m][TLB_GLOBAL].word[n];

			for (u64 bits = *local | *global; bits; bits &= bits - 1) {
				unsigned bit = (unsigned)__builtin_ctzll(bits);

				if (slot_in_region(&v->tlbs[m], n * 64 + bit, a, shift)) {
					slot_clear(&v->tlbs[m], n * 64 + bit);
					*local &= ~BIT(bit);
					*global &= ~BIT(bit);
				}
			}
		}
}

static void drop_page(struct vcpu *v, gva_t a)
{
	unsigned slot = tlb_slot(a);
	u64 tag = -(a & ~0xfffull);

	for (unsigned m = 0; m < TLB_MODES; m++) {
		struct tlb *t = &v->tlbs[m];

		if (t->read[slot] == tag || t->write[slot] == tag || t->exec[slot] == tag) {
			slot_clear(t, slot);
			set_remove(&v->filled[m][TLB_LOCAL], slot);
			set_remove(&v->filled[m][TLB_GLOBAL], slot);
		}
	}
}

void x86_tlb_flush_page(struct vcpu *v, gva_t a)
{
	bool huge = large_seen(v, a, SHIFT_HUGE), large = large_seen(v, a, SHIFT_LARGE);

	if (huge || large)
		drop_region(v, a, huge ? SHIFT_HUGE : SHIFT_LARGE);
	else
		drop_page(v, a);
	near_clear(v);
	mapping_dropped(v, huge || large ? TLB_DROP_ALL : TLB_DROP_PAGE, a);
}

/* --- Filling ---------------------------------------------------------------------------------- */

static void tlb_fill(struct vcpu *v, enum tlb_mode mode, gva_t a, const struct mmu_page *p,
		     const struct x86_place *at)
{
	const struct x86_cpu *cpu = &v->cpu;
	struct tlb *t = &v->tlbs[mode];
	unsigned slot = tlb_slot(a);
	u64 tag = -(a & ~0xfffull), invalid = tlb_invalid(slot);
	bool paging = cpu->cr0 & CR0_PG;
	bool user = mode == TLB_USER || mode == TLB_CHECKED;
	bool smap = mode == TLB_SUPER && p->user && (cpu->cr4 & CR4_SMAP);
	bool watched = (cpu->dr[7] & 0xff) && x86_page_watched(v, a);
	bool direct = mode != TLB_CHECKED && !watched;
	bool readable = !paging || (user ? p->user : !smap);
	bool writable = readable && (p->writable || (!user && !(cpu->cr0 & CR0_WP)));
	bool exec = !paging || (p->exec && (user ? p->user : !(p->user && (cpu->cr4 & CR4_SMEP))));
	enum tlb_scope scope = p->global ? TLB_GLOBAL : TLB_LOCAL;

	writable = writable && p->dirty && direct && !at->code && !at->readonly;
	t->read[slot] = readable && direct ? tag : invalid;
	t->write[slot] = writable ? tag : invalid;
	t->exec[slot] = exec ? tag : invalid;
	t->addend[slot] = (u64)(uintptr_t)at->host - a;
	set_add(&v->filled[mode][scope], slot);
	set_remove(&v->filled[mode][!scope], slot);
	if (p->size > 4096)
		large_note(v, a, p);
	if (writable)
		*at->flags |= MEM_PAGE_TLB_WRITE | (at->track ? MEM_PAGE_DIRTY : 0);
}

/* Host address of a if the table lets the access through, else NULL. */
static u8 *tlb_lookup(const struct tlb *t, gva_t a, enum x86_access acc)
{
	unsigned slot = tlb_slot(a);
	const u64 *tag = acc == ACC_EXEC ? t->exec : acc == ACC_READ ? t->read : t->write;

	return tlb_covers(tag[slot], a, 1) ? (u8 *)(uintptr_t)(a + t->addend[slot]) : NULL;
}

struct x86_place x86_translate(struct vcpu *v, gva_t a, enum x86_access acc, enum tlb_mode mode)
{
	enum tlb_mode rights = mode == TLB_CHECKED ? TLB_USER : mode;

	/* Data accesses that have been checked are those of CPL 3; code has a place in the table of the mode itself, where engines
	 * look it up. */
	if (acc != ACC_EXEC)
		mode = rights;
	struct x86_place at = { .host = tlb_lookup(&v->tlbs[mode], a, acc) };

	if (at.host)
		return at;

	struct mmu_page p;
	u32 error;

	if (!mmu_walk(v, a, acc, rights, &p, &error))
		x86_raise_pf(v, a, error);
	at.gpa = p.gpa | (a & 0xfff);
	struct mem_slot *slot = mem_find(v->vm->mem, at.gpa);

	if (!slot)
		return at;
	at.host = slot->host + (at.gpa - slot->base);
	at.flags = &slot->page_flags[(at.gpa - slot->base) / MEM_PAGE];
	at.code = *at.flags & MEM_PAGE_CODE;
	at.readonly = slot->readonly;
	at.track = slot->area->track;
	tlb_fill(v, mode, a, &p, &at);
	return at;
}

/* --- Cached code ------------------------------------------------------------------------------ */

/* Makes v unable to write to the host page directly. */
static void forbid_writes(struct vcpu *v, const u8 *host)
{
	for (unsigned m = 0; m < TLB_MODES; m++) {
		struct tlb *t = &v->tlbs[m];
		const struct tlb_set *local = &v->filled[m][TLB_LOCAL];
		const struct tlb_set *global = &v->filled[m][TLB_GLOBAL];

		for (unsigned k = 0; k < ARRAY_LEN(local->summary); k++)
			for (u64 words = local->summary[k] | global->summary[k]; words;
			     words &= words - 1) {
				unsigned n = k * 64 + (unsigned)__builtin_ctzll(words);
				u64 bits = local->word[n] | global->word[n];

				for (; bits; bits &= bits - 1) {
					unsigned slot = n * 64 + (unsigned)__builtin_ctzll(bits);

					/* An invalid tag may match by chance, and stays invalid. */
					if (t->addend[slot] - t->write[slot] ==
					    (u64)(uintptr_t)host)
						t->write[slot] = tlb_invalid(slot);
				}
			}
	}
	near_clear(v);
}

void x86_protect_code(struct vm *vm, const u8 *page)
{
	u8 *flags = mem_page_flags(vm->mem, page);

	if (!flags || *flags & MEM_PAGE_CODE)
		return;
	bool written = *flags & MEM_PAGE_TLB_WRITE;

	*flags = (u8)((*flags | MEM_PAGE_CODE) & ~MEM_PAGE_TLB_WRITE);
	if (!written)
		return;
	for (unsigned c = 0; c < vm->nvcpus; c++)
		forbid_writes(vm->vcpus[c], page);
}

void x86_unprotect_code(struct vm *vm, const u8 *page)
{
	u8 *flags = mem_page_flags(vm->mem, page);

	if (flags)
		*flags &= (u8)~MEM_PAGE_CODE;
}
