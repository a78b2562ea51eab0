/* Code that runs seldom. While the cache has room everything becomes a unit at once. Once it has been full, code that is new to it runs
 * in C a few times first, straight on to the next jump: what runs no more than that, a good part of a system that starts, costs less
 * so than it takes to translate it, and does not drive out what runs often. */
#include "engine/bt/bt.h"
#include "engine/step.h"
#include "x86/debug.h"

/* Runs in C before code becomes a unit. */
#define COLD_RUNS 4u

/* What C runs much slower than a unit does, or by rules of its own between two iterations, is better translated. */
static bool suits_c(const struct x86_insn *i)
{
	if (i->flags & (INSN_REP | INSN_REPNE))
		return false;
	for (unsigned n = 0; n < i->nops; n++)
		if (i->op[n].kind >= OPK_X87 && i->op[n].kind <= OPK_MASK)
			return false;
	return true;
}

/* The instruction at guest, if it lies in its page whole and C may as well run it. */
static bool decode(struct bt *bt, struct x86_insn *i, const u8 *guest, unsigned mode)
{
	unsigned room = 4096 - ((unsigned)(uintptr_t)guest & 0xfff);

	return x86_decode_cached(bt->vm->decode, i, guest, MIN(room, 15u), mode) == 1 && suits_c(i);
}

bool bt_cold(struct bt *bt, const u8 *guest, u32 key)
{
	u64 h = (u64)(uintptr_t)guest;
	u8 *runs = &bt->cold_runs[(h ^ h >> 16 ^ key) % COLD_HASH];
	struct x86_insn i;

	if (!bt->stats.evictions || bt->counted || !(key & KEY_CS_WIDE) || *runs >= COLD_RUNS)
		return false;
	++*runs;
	return decode(bt, &i, guest, key_bits(key));
}

unsigned bt_cold_run(struct vcpu *v, const u8 *guest, u32 key)
{
	struct bt_cpu *e = bt_cpu(v);
	u64 mask = engine_rip_mask(key_bits(key)), next;
	unsigned count = 0;
	struct x86_insn i;

	while (count < UNIT_MAX_INSNS && decode(e->bt, &i, guest, key_bits(key))) {
		i.off = 0;
		next = (v->cpu.rip + i.len) & mask;
		v->cpu.rflags &= ~FL_RF;
		v->insn = &i;
		i.fn(v, &i);
		if (!(i.flags & INSN_BRANCH))
			v->cpu.rip = next;
		v->icount++;
		v->insn = NULL;
		count++;
		guest += i.len;
		/* It may have changed anything that the next one depends on, which may lie on another page. */
		if ((i.flags & (INSN_BRANCH | INSN_END)) || e->moved ||
		    !((uintptr_t)guest & 0xfff) ||
		    atomic_load_explicit(&v->attention, memory_order_relaxed))
			break;
	}
	x86_step_done(v, false);
	return count;
}
