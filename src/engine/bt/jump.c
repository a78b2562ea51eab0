/* The jump cache: where the code at a rip is, for indirect jumps and those that leave a page. It holds what the exec side of the TLB
 * allows and no more: it is emptied with it. */
#include "engine/bt/bt.h"

static void clear_slot(struct jump_cache *c, unsigned slot) { c->tag[slot] = slot == 0; }

void jump_init(struct bt_cpu *e)
{
	for (unsigned n = 0; n < JUMP_CACHES; n++)
		clear_slot(&e->jump[n], 0);
}

unsigned jump_index(struct bt *bt, u32 key)
{
	/* Units without groups go on to units with them. */
	key &= ~KEY_SINGLE;
	for (unsigned n = 0; n < bt->jump_keys; n++)
		if (bt->jump_key[n] == key)
			return n;
	if (bt->jump_keys < ARRAY_LEN(bt->jump_key) && (key & KEY_SIZE) != KEY_16)
		bt->jump_key[bt->jump_keys++] = key;
	else
		return JUMP_CACHES - 1;
	return bt->jump_keys - 1;
}

static void clear_scope(struct jump_cache *c, enum tlb_scope scope)
{
	for (unsigned n = 0; n < c->log[scope].used; n++)
		clear_slot(c, c->log[scope].slot[n]);
	c->log[scope].used = 0;
}

void jump_clear(struct jump_cache *c)
{
	if (c->log[TLB_LOCAL].used > JUMP_LOG || c->log[TLB_GLOBAL].used > JUMP_LOG) {
		memset(c->tag, 0, sizeof(c->tag));
		clear_slot(c, 0);
		c->log[TLB_LOCAL].used = c->log[TLB_GLOBAL].used = 0;
	} else if (c->log[TLB_LOCAL].used || c->log[TLB_GLOBAL].used) {
		clear_scope(c, TLB_LOCAL);
		clear_scope(c, TLB_GLOBAL);
	} else {
		return;
	}
	memset(c->pages, 0, sizeof(c->pages));
}

/* The hashes of pages stay if there are global ones. */
void jump_clear_local(struct jump_cache *c)
{
	if (c->log[TLB_LOCAL].used > JUMP_LOG || !c->log[TLB_GLOBAL].used)
		jump_clear(c);
	else
		clear_scope(c, TLB_LOCAL);
}

static unsigned page_hash(u64 linear)
{
	return (unsigned)(linear >> 12 ^ linear >> 27) & (JUMP_PAGES - 1);
}

static void note_page(struct jump_cache *c, u64 linear)
{
	unsigned page = page_hash(linear);

	c->pages[page / 64] |= BIT(page % 64);
}

void jump_fill(struct jump_cache *c, u64 rip, u64 linear, unsigned bytes, enum tlb_scope scope,
	       uintptr_t entry)
{
	unsigned slot = rip & (JUMP_SLOTS - 1);
	u32 used = c->log[scope].used;

	if (used < JUMP_LOG)
		c->log[scope].slot[used] = (u16)slot;
	if (used <= JUMP_LOG)
		c->log[scope].used++;
	note_page(c, linear);
	note_page(c, linear + bytes - 1);
	c->tag[slot] = 0 - rip;
	c->entry[slot] = entry;
}

/* With the page goes what may reach into it from the one before. */
static void drop_from(struct jump_cache *c, enum tlb_scope scope, u64 page)
{
	u64 first = page - (4096 - BT_CROSS_OFF);
	unsigned kept = 0;

	for (unsigned n = 0; n < c->log[scope].used; n++) {
		unsigned slot = c->log[scope].slot[n];

		if (0 - c->tag[slot] - first < page + 4096 - first)
			clear_slot(c, slot);
		else
			c->log[scope].slot[kept++] = (u16)slot;
	}
	c->log[scope].used = kept;
}

void jump_drop_page(struct jump_cache *c, u64 page)
{
	unsigned hash = page_hash(page);

	if (!(c->pages[hash / 64] >> hash % 64 & 1))
		return;
	/* Entries of other code are not by linear address. */
	if ((c->key & KEY_SIZE) != KEY_64 || c->log[TLB_LOCAL].used > JUMP_LOG ||
	    c->log[TLB_GLOBAL].used > JUMP_LOG) {
		jump_clear(c);
		return;
	}
	drop_from(c, TLB_LOCAL, page);
	drop_from(c, TLB_GLOBAL, page);
}
