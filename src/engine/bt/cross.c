/* Instructions across two pages. C runs them, and keeps those that it has run lately decoded, with the bytes that they were decoded
 * from. One that runs often becomes a unit of its own, if its pages follow each other in RAM as they do in the guest's code. */
#include "engine/bt/bt.h"
#include "engine/granule.h"
#include "x86/debug.h"
#include "x86/exec.h"
#include "x86/mem.h"

static struct bt_cross *slot_of(struct bt *bt, const u8 *guest)
{
	u64 h = (u64)(uintptr_t)guest;

	return &bt->cross[(h ^ h >> 12) % BT_CROSSES];
}

/* Decodes the instruction whose first `room` bytes end a page. False if it does not go beyond, or is no good. */
static bool decode(struct bt_cross *c, struct decode_cache *cache, const u8 *guest,
		   const u8 *second, unsigned room, u32 mode)
{
	c->first = NULL;
	memcpy(c->bytes, guest, room);
	if (x86_decode_cached(cache, &c->insn, c->bytes, room, mode) != 0)
		return false;
	memcpy(c->bytes + room, second, sizeof(c->bytes) - room);
	if (x86_decode_cached(cache, &c->insn, c->bytes, sizeof(c->bytes), mode) != 1)
		return false;
	c->insn.off = 0;
	c->first = guest;
	c->mode = mode;
	return true;
}

struct bt_cross *bt_cross_find(struct vcpu *v, const u8 *guest, u32 key)
{
	struct bt *bt = bt_cpu(v)->bt;
	struct bt_cross *c = slot_of(bt, guest);
	unsigned room = 4096 - ((unsigned)(uintptr_t)guest & 0xfff);
	u32 mode = key_bits(key);
	bool known = c->first == guest && c->mode == mode && !memcmp(c->bytes, guest, room);
	struct x86_insn i;

	/* The second page is not touched for an instruction that ends before it. */
	if (!known && x86_decode_cached(v->vm->decode, &i, guest, room, mode) != 0)
		return NULL;

	const u8 *second = x86_fetch_host(v, x86_code_linear(&v->cpu) + room);

	if (!second)
		return NULL;
	if (known && !memcmp(c->bytes + room, second, c->insn.len - room)) {
		c->second = second;
		return c;
	}
	if (!decode(c, v->vm->decode, guest, second, room, mode))
		return NULL;
	c->second = second;
	c->runs = 0;
	/* Whether it goes on is more than one event's matter (engine_step). */
	if (c->insn.flags & (INSN_REP | INSN_REPNE))
		c->first = NULL;
	return c->first ? c : NULL;
}

/* Making a unit takes as long as so many runs. */
#define UNIT_FROM 32u

bool bt_cross_is_unit(struct bt_cross *c)
{
	return granule_page(c->first) + 4096 == c->second && ++c->runs >= UNIT_FROM;
}

void bt_cross_run(struct vcpu *v, const struct bt_cross *c)
{
	const struct x86_insn *i = &c->insn;
	u64 next = (v->cpu.rip + i->len) & (c->mode == 64 ? ~0ull : 0xffffffffull);

	v->cpu.rflags &= ~FL_RF;
	v->insn = i;
	i->fn(v, i);
	if (!(i->flags & INSN_BRANCH))
		v->cpu.rip = next;
	v->icount++;
	v->insn = NULL;
	x86_step_done(v, false);
}
