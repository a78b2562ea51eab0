/* Guest memory accesses in translated code. This file alone knows how a linear address becomes the host's: by the soft TLB, in one
 * of two ways. `hashed` looks up the page; `near` compares with the page that was last used through the same base register, which
 * keeps the lookup off the path from the address to the data. Neither touches flags: a tag is added, what must be zero is shifted
 * down by RSP (whose low bits are 12) and tested with JRCXZ. A miss goes to C, which runs the whole instruction. */
#include "engine/bt/tr.h"

#include <Zydis/Zydis.h>

/* How the address of an operand is had. */
struct address {
	unsigned base; /* host register: a home, or RAX */
	i32 disp;
	unsigned slot; /* near slot, or 16 for none */
	unsigned reg;  /* guest register that is the base, or GROUP_NONE */
};

#define NO_SLOT 16u
/* R14 and R15 as bases have no slots of their own. */
#define TABLE_SLOT 14u
#define RIP_SLOT   15u

static bool seg_needs_base(const struct tr *t, unsigned seg)
{
	if (t->mode == 64)
		return seg >= FS;
	return !(t->key & KEY_ZERO(seg));
}

/* An address in this segment needs no check but the TLB's. */
static bool seg_fits(const struct tr *t, unsigned seg)
{
	return t->mode == 64 || (t->mode == 32 && (t->key & KEY_PLAIN(seg)));
}

/* base + index * scale + disp of the present instruction into a register, with a host LEA of size 4 or 8. */
static void sum_into(struct tr *t, unsigned to, unsigned size)
{
	const struct x86_insn *i = t->i;
	unsigned base = H_NONE, index = H_NONE;

	if (i->base == RIP_IDX) {
		tr_rip(t, to, (i64)tr_off(t) + i->disp);
		return;
	}
	if (i->base != ZERO_IDX)
		base = tr_use(t, i->base, H_RAX);
	if (i->index != ZERO_IDX)
		index = tr_use(t, i->index, H_RCX);
	if (base == H_NONE && index == H_NONE)
		as_mov_imm(&t->a, to, size == 8 ? (u64)i->disp : (u32)i->disp);
	else
		as_lea(&t->a, size, to, rm_index(base, index, i->scale, (i32)i->disp));
}

static unsigned address_size(const struct tr *t) { return t->i->addrsize == 8 ? 8 : 4; }

/* A displacement of 32 bits, in 32-bit code of any sign. */
static bool disp_fits(const struct tr *t) { return t->mode != 64 || t->i->disp == (i32)t->i->disp; }

/* Whether the unit changes the register; loaded: only if it takes it from memory. By explicit operands: this decides no more than
 * which check is used. */
static bool is_changed(const struct tr *t, unsigned reg, bool loaded)
{
	for (unsigned k = 0; k < t->u->count; k++) {
		const struct x86_insn *i = &t->insn[k];

		if (i->nops && i->op[0].kind == OPK_GPR && i->op[0].reg == reg &&
		    (!loaded || (i->nops > 1 && i->op[1].kind == OPK_MEM &&
				 i->mnemonic != ZYDIS_MNEMONIC_LEA)))
			return true;
	}
	return false;
}

/* Displacements that the check can add itself: in 32-bit code a sum beyond 4 GiB matches no entry and takes the slow path. */
static bool disp_is_near(i64 disp) { return disp >= -0x8000 && disp < 0x8000; }

static bool disp_is_small(const struct tr *t)
{
	i64 disp = t->i->disp;

	return disp_is_near(disp) ||
	       (t->mode == 64 && disp > -GROUP_MOST_OFF && disp < GROUP_MOST_OFF);
}

/* Near slots are for frames, for tables at fixed addresses, and for pointers that are likely to stay in a page. Waiting for the data is
 * what a load costs, so one may also go through a pointer that moves along; what a store costs is its instructions, of which the
 * hashed lookup has fewer. An index, or an array's address as displacement, may go anywhere. */
static unsigned base_slot(const struct tr *t, bool write)
{
	const struct x86_insn *i = t->i;

	if (i->base == RSP || i->base == RBP)
		return i->base;
	if (i->index != ZERO_IDX)
		return i->base == ZERO_IDX ? TABLE_SLOT : NO_SLOT;
	if (i->base == RIP_IDX || i->base == ZERO_IDX)
		return RIP_SLOT;
	if (i->base >= TABLE_SLOT || !disp_is_near(i->disp) || is_changed(t, i->base, !write))
		return NO_SLOT;
	return i->base;
}

/* To the offset in RAX. */
static void add_segment_base(struct tr *t, unsigned seg)
{
	as_load(&t->a, 8, H_RCX,
		rm_ctx(CTX(cpu.seg) + seg * sizeof(struct x86_seg) +
		       offsetof(struct x86_seg, base)));
	as_lea(&t->a, t->mode == 64 ? 8 : 4, H_RAX, rm_index(H_RAX, H_RCX, 0, 0));
}

static bool form_address(struct tr *t, struct address *ad, enum tr_access access)
{
	const struct x86_insn *i = t->i;
	bool with_base = seg_needs_base(t, i->seg);

	if (!seg_fits(t, i->seg) || (i->flags & INSN_VSIB) || i->addrsize == 2 || !disp_fits(t))
		return false;
	*ad = (struct address){ .base = H_RAX,
				.slot = base_slot(t, access == TR_WRITE),
				.reg = GROUP_NONE };
	if (!with_base && i->addrsize * 8u == t->mode && i->index == ZERO_IDX && i->base < 16 &&
	    disp_is_small(t)) {
		ad->base = tr_use(t, i->base, H_RAX);
		ad->disp = (i32)i->disp;
		ad->reg = i->base;
		return true;
	}
	sum_into(t, H_RAX, address_size(t));
	if (with_base) {
		add_segment_base(t, i->seg);
		ad->slot = NO_SLOT;
	}
	return true;
}

static struct tr_slow *slow_jmp(struct tr *t)
{
	struct tr_slow *s = &t->slow[t->slows++];

	assert(t->slows <= ARRAY_LEN(t->slow));
	*s = (struct tr_slow){ .at = as_jmp(&t->a), .k = (u8)t->k };
	return s;
}

void tr_slow_jmp(struct tr *t) { slow_jmp(t); }

static size_t tag_array(const struct tr *t, bool write)
{
	return CTX(tlbs) + t->tlb * sizeof(struct tlb) +
	       (write ? offsetof(struct tlb, write) : offsetof(struct tlb, read));
}

static size_t addend_array(const struct tr *t)
{
	return CTX(tlbs) + t->tlb * sizeof(struct tlb) + offsetof(struct tlb, addend);
}

static size_t near_tag(const struct tr *t, unsigned slot, bool write)
{
	return CTX(near) + (t->tlb * 16 + slot) * sizeof(struct tlb_near) +
	       (write ? offsetof(struct tlb_near, write) : offsetof(struct tlb_near, read));
}

static size_t near_addend(const struct tr *t, unsigned slot, bool write)
{
	return near_tag(t, slot, write) + sizeof(u64);
}

_Static_assert(offsetof(struct tlb_near, read_addend) == offsetof(struct tlb_near, read) + 8 &&
		       offsetof(struct tlb_near, write_addend) ==
			       offsetof(struct tlb_near, write) + 8,
	       "an addend follows its tag");

/* Leaves the addend in RDX. */
static void check_hashed(struct tr *t, const struct address *ad, unsigned size, bool write)
{
	struct as *a = &t->a;
	unsigned from = ad->base;

	if (ad->disp) {
		as_lea(a, 8, H_RCX, rm_mem(ad->base, ad->disp));
		from = H_RCX;
	}
	as_rorx(a, true, H_RCX, from, 12);
	as_loadz(a, 2, H_RCX, rm_reg(H_RCX));
	as_load(a, 8, H_RDX, rm_ctx_array(addend_array(t), H_RCX));
	as_load(a, 8, H_RCX, rm_ctx_array(tag_array(t, write), H_RCX));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, ad->base, 0, ad->disp + (i32)size - 1));
	as_shrx(a, H_RCX, H_RCX, H_RSP);

	u8 *hit = as_jrcxz(a);

	slow_jmp(t);
	as_short_here(a, hit);
}

/* The same by the near slot. Here the first and the last byte must be tested: no index rules out an access that begins just below
 * the page. */
static void check_near(struct tr *t, const struct address *ad, unsigned size, bool write)
{
	struct as *a = &t->a;

	as_load(a, 8, H_RCX, rm_ctx(near_tag(t, ad->slot, write)));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, ad->base, 0, ad->disp));
	if (size > 1) {
		as_lea(a, 8, H_RDX, rm_mem(H_RCX, (i32)size - 1));
		as_shrx(a, H_RCX, H_RCX, H_RSP);
		as_shrx(a, H_RDX, H_RDX, H_RSP);
		as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RDX, 0, 0));
	} else {
		as_shrx(a, H_RCX, H_RCX, H_RSP);
	}
	u8 *hit = as_jrcxz(a);
	struct tr_slow *s = slow_jmp(t);

	as_short_here(a, hit);
	as_load(a, 8, H_RDX, rm_ctx(near_addend(t, ad->slot, write)));
	s->is_near = true;
	s->a = (u8)ad->base;
	s->disp = ad->disp;
	s->slot = (u8)ad->slot;
	s->size = (u8)size;
	s->write = write;
	s->back = a->p;
}

static void check_one(struct tr *t, const struct address *ad, unsigned size, bool write)
{
	if (ad->slot == NO_SLOT)
		check_hashed(t, ad, size, write);
	else
		check_near(t, ad, size, write);
}

static size_t group_addend(unsigned reg) { return CTX_BT(group) + reg * sizeof(u64); }

/* Checks the whole group that begins with this access. */
static void check_group(struct tr *t, const struct address *ad, unsigned size, bool write)
{
	const struct tr_group *g = &t->group[ad->reg];
	struct address whole = *ad;
	struct tr_slow *s = &t->slow[t->slows];

	whole.disp = g->low;
	check_one(t, &whole, (unsigned)(g->high - g->low), g->write);
	assert(s == &t->slow[t->slows - 1]);
	s->grouped = true;
	s->a = (u8)ad->base;
	s->own_write = write;
	s->own_size = (u8)size;
	s->own_disp = ad->disp;
	as_store(&t->a, 8, rm_ctx(group_addend(ad->reg)), H_RDX);
}

static void check(struct tr *t, struct tr_mem *m, const struct address *ad, unsigned size,
		  enum tr_access access)
{
	bool write = access == TR_WRITE;

	t->wrote |= write;
	if (ad->reg == GROUP_NONE)
		check_one(t, ad, size, write);
	else if (group_covers(t, ad->reg, ad->disp, size, write))
		as_load(&t->a, 8, H_RDX, rm_ctx(group_addend(ad->reg)));
	else if (group_open(t, ad->reg, ad->disp, size, write))
		check_group(t, ad, size, write);
	else
		check_one(t, ad, size, write);
	m->rm = rm_index(ad->base, H_RDX, 0, ad->disp);
}

bool tr_mem(struct tr *t, struct tr_mem *m, unsigned size, enum tr_access access)
{
	struct address ad;

	if (t->tlb == TLB_CHECKED || !form_address(t, &ad, access))
		return false;
	check(t, m, &ad, size, access);
	return true;
}

bool tr_offset(struct tr *t)
{
	if (t->i->addrsize == 2 || !disp_fits(t))
		return false;
	sum_into(t, H_RAX, address_size(t));
	return true;
}

bool tr_mem_at_rax(struct tr *t, struct tr_mem *m, unsigned size, enum tr_access access)
{
	struct address ad = { .base = H_RAX, .slot = NO_SLOT, .reg = GROUP_NONE };

	if (t->tlb == TLB_CHECKED || !seg_fits(t, t->i->seg))
		return false;
	if (seg_needs_base(t, t->i->seg))
		add_segment_base(t, t->i->seg);
	check(t, m, &ad, size, access);
	return true;
}

bool tr_plain(const struct tr *t, unsigned seg)
{
	return t->tlb != TLB_CHECKED && t->i->addrsize * 8u == t->mode && seg_fits(t, seg) &&
	       !seg_needs_base(t, seg);
}

void tr_mem_plain(struct tr *t, struct tr_mem *m, unsigned reg, unsigned size,
		  enum tr_access access)
{
	struct address ad = { .base = bt_home[reg], .slot = NO_SLOT, .reg = GROUP_NONE };

	check(t, m, &ad, size, access);
}

size_t tr_tags(struct tr *t, enum tr_access access)
{
	t->wrote |= access == TR_WRITE;
	return tag_array(t, access == TR_WRITE);
}

size_t tr_addends(const struct tr *t) { return addend_array(t); }

bool tr_stack(struct tr *t, struct tr_mem *m, unsigned base, i32 disp, unsigned size,
	      enum tr_access access)
{
	struct address ad = { .base = bt_home[base], .disp = disp, .slot = base, .reg = base };

	if (t->tlb == TLB_CHECKED ||
	    (t->mode != 64 && !((t->key & KEY_SS_B) && (t->key & KEY_ZERO(SS)))) || t->mode == 16)
		return false;
	check(t, m, &ad, size, access);
	return true;
}

void tr_mem_pin(struct tr *t, struct tr_mem *m)
{
	as_lea(&t->a, 8, H_RDX, m->rm);
	m->rm = rm_mem(H_RDX, 0);
}

bool tr_ea(struct tr *t, unsigned reg)
{
	if (t->i->addrsize == 2 || !disp_fits(t))
		return false;
	sum_into(t, reg, MIN((unsigned)t->i->opsize, address_size(t)) == 8 ? 8 : 4);
	return true;
}

/* --- Out of line ------------------------------------------------------------------------------------ */

/* A group's check has failed. If the access alone has no need of C, the unit goes on without groups. */
static void group_miss(struct tr *t, const struct tr_slow *s)
{
	struct as *a = &t->a;

	as_lea(a, 8, H_RDX, rm_mem(s->a, s->own_disp));
	as_rorx(a, true, H_RCX, H_RDX, 12);
	as_loadz(a, 2, H_RCX, rm_reg(H_RCX));
	as_load(a, 8, H_RCX, rm_ctx_array(tag_array(t, s->own_write), H_RCX));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, H_RDX, 0, s->own_size - 1));
	as_shrx(a, H_RCX, H_RCX, H_RSP);

	u8 *hit = as_jrcxz(a);
	u8 *to_c = as_jmp(a);

	as_short_here(a, hit);
	tr_exit_single(t, s->k);
	as_patch_here(a, to_c);
}

/* The near slot missed: takes the page from the table if it is there, else C does the instruction. */
static void near_miss(struct tr *t, const struct tr_slow *s, u8 **to_c)
{
	struct as *a = &t->a;

	as_lea(a, 8, H_RDX, rm_mem(s->a, s->disp));
	as_rorx(a, true, H_RDX, H_RDX, 12);
	as_loadz(a, 2, H_RDX, rm_reg(H_RDX));
	as_load(a, 8, H_RCX, rm_ctx_array(tag_array(t, s->write), H_RDX));
	as_lea(a, 8, H_RCX, rm_index(H_RCX, s->a, 0, s->disp + s->size - 1));
	as_shrx(a, H_RCX, H_RCX, H_RSP);

	u8 *hit = as_jrcxz(a);

	*to_c = as_jmp(a);
	as_short_here(a, hit);
	as_load(a, 8, H_RCX, rm_ctx_array(tag_array(t, s->write), H_RDX));
	as_store(a, 8, rm_ctx(near_tag(t, s->slot, s->write)), H_RCX);
	as_load(a, 8, H_RDX, rm_ctx_array(addend_array(t), H_RDX));
	as_store(a, 8, rm_ctx(near_addend(t, s->slot, s->write)), H_RDX);
	as_patch(a, as_jmp(a), (uintptr_t)(s->back + a->exec));
}

void tr_emit_slow(struct tr *t)
{
	struct as *a = &t->a;

	for (unsigned n = 0; n < t->slows; n++) {
		const struct tr_slow *s = &t->slow[n];
		u8 *to_c = NULL;

		as_patch_here(a, s->at);
		if (s->is_near) {
			near_miss(t, s, &to_c);
			as_patch_here(a, to_c);
		}
		if (s->grouped)
			group_miss(t, s);
		as_mov_imm(a, H_RCX, bt_id(t->bt, &t->u->insn[s->k]));
		as_jmp_to(a, t->bt->stub.insn);
	}
}
