/* The jump cache: where the code at a rip is, for indirect jumps and those that leave a page. It holds what the exec side of the TLB
 * allows and no more: it is emptied with it. */
#include "engine/bt/bt.h"

#include <sys/mman.h>

static void clear_slot(struct jump_cache *c, unsigned slot) { c->tag[slot] = slot == 0; }

void jump_init(struct bt_cpu *e)
{
	for (unsigned m = 0; m < JUMP_MODES; m++)
		clear_slot(&e->jump[m], 0);
}

void jump_clear(struct jump_cache *c)
{
	if (c->used <= JUMP_LOG)
		for (unsigned n = 0; n < c->used; n++)
			clear_slot(c, c->log[n]);
	else {
		memset(c->tag, 0, sizeof(c->tag));
		clear_slot(c, 0);
	}
	c->used = 0;
}

void jump_fill(struct jump_cache *c, u64 rip, uintptr_t entry)
{
	unsigned slot = rip & (JUMP_SLOTS - 1);

	if (c->used < JUMP_LOG)
		c->log[c->used] = (u16)slot;
	if (c->used <= JUMP_LOG)
		c->used++;
	c->tag[slot] = 0 - rip;
	c->entry[slot] = entry;
}

void jump_drop_page(struct jump_cache *c, u64 page)
{
	unsigned kept = 0;

	if (c->used > JUMP_LOG) {
		jump_clear(c);
		return;
	}
	for (unsigned n = 0; n < c->used; n++) {
		unsigned slot = c->log[n];

		if (0 - c->tag[slot] - page < 4096)
			clear_slot(c, slot);
		else
			c->log[kept++] = (u16)slot;
	}
	c->used = kept;
}
