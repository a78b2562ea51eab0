/* --stats: what was translated, how units were left, and where. */
#include "engine/bt/bt.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

#define TOP 20u

static const char *const reason_names[BT_REASONS] = {
	[BT_BY_DESIGN] = "in C by design", [BT_SLOW] = "slow path",
	[BT_FAULT] = "host fault",         [BT_FP] = "FP state",
	[BT_EXIT] = "unlinked exit",       [BT_MISS] = "jump cache miss",
	[BT_ATTENTION] = "attention",      [BT_BUDGET] = "budget",
	[BT_DEAD] = "killed unit",         [BT_ALONE] = "alone: no unit",
	[BT_ALONE_EVENT] = "alone: event", [BT_COLD] = "cold code",
};

/* --- Counting ------------------------------------------------------------------------------------- */

/* Spreads what differs in a few bits over the upper half. */
static u64 mix(u64 n)
{
	n = (n ^ n >> 32) * 0x9e3779b97f4a7c15;
	return (n ^ n >> 29) * 0xbf58476d1ce4e5b9;
}

void bt_count(struct bt_stats *s, enum bt_reason reason, u64 rip, u16 mnemonic)
{
	struct bt_spot *set = s->spot[(mix(rip ^ reason) >> 32) % BT_SPOT_SETS], *least = set;

	s->reasons[reason]++;
	for (unsigned n = 0; n < BT_SPOT_WAYS; n++) {
		if (set[n].count && set[n].rip == rip && set[n].reason == reason) {
			set[n].count++;
			return;
		}
		if (set[n].count < least->count)
			least = &set[n];
	}
	if (least->count && --least->count)
		return;
	*least = (struct bt_spot){ rip, 1, mnemonic, (u8)reason };
}

void bt_count_made(struct bt_stats *s, const u8 *guest, u32 key)
{
	u64 h = mix((u64)(uintptr_t)guest ^ (u64)key << 48);
	u16 *made = &s->made[h >> 48], tag = (u16)(h >> 32 | 1);

	if (*made == tag)
		s->retranslated++;
	*made = tag;
}

/* --- Printing ------------------------------------------------------------------------------------- */

/* The most frequent spots, in order. Returns how many. */
static unsigned find_top(const struct bt_stats *s, const struct bt_spot **top)
{
	unsigned count = 0;

	for (unsigned n = 0; n < BT_SPOT_SETS * BT_SPOT_WAYS; n++) {
		const struct bt_spot *spot = &s->spot[n / BT_SPOT_WAYS][n % BT_SPOT_WAYS];
		unsigned at = count;

		if (!spot->count || (count == TOP && spot->count <= top[TOP - 1]->count))
			continue;
		if (count < TOP)
			count++;
		else
			at = TOP - 1;
		for (; at > 0 && top[at - 1]->count < spot->count; at--)
			top[at] = top[at - 1];
		top[at] = spot;
	}
	return count;
}

static void print_top(const struct bt_stats *s, FILE *f)
{
	const struct bt_spot *top[TOP];
	unsigned count = find_top(s, top);

	for (unsigned n = 0; n < count; n++)
		fprintf(f, "  exit at %016llx %-10s %-15s %12llu\n",
			(unsigned long long)top[n]->rip,
			top[n]->mnemonic ? ZydisMnemonicGetString(top[n]->mnemonic) : "-",
			reason_names[top[n]->reason], (unsigned long long)top[n]->count);
}

static u64 cache_used(const struct bt *bt)
{
	u64 used = 0;

	for (unsigned n = 0; n < BT_SEGMENTS; n++)
		used += bt->segment[n].code_used + bt->segment[n].meta_used;
	return used;
}

void bt_stats_print(const struct vm *vm, void *file)
{
	const struct bt *bt = vm->engine_vm;
	const struct bt_stats *s = &bt->stats;
	FILE *f = file;

	for (unsigned n = 0; n < 3; n++)
		fprintf(f, "bt: %u-bit code %12llu units %12llu instructions\n", 16u << n,
			(unsigned long long)s->units[n], (unsigned long long)s->insns[n]);
	fprintf(f,
		"bt: %llu guest bytes became %llu host bytes, %.1f for each, and %llu bytes of metadata\n",
		(unsigned long long)s->guest_bytes, (unsigned long long)s->code_bytes,
		s->guest_bytes ? (double)s->code_bytes / (double)s->guest_bytes : 0.0,
		(unsigned long long)s->meta_bytes);
	fprintf(f,
		"bt: %llu units made again, %llu killed by writes, %llu evicted, %llu segments emptied\n",
		(unsigned long long)s->retranslated, (unsigned long long)s->killed,
		(unsigned long long)s->evicted, (unsigned long long)s->evictions);
	fprintf(f, "bt: %llu of %llu KiB of cache in use\n",
		(unsigned long long)cache_used(bt) / 1024,
		((unsigned long long)bt->code_size + bt->meta_size) * BT_SEGMENTS / 1024);
	fprintf(f, "bt: %llu exits linked\n", (unsigned long long)s->linked);
	for (unsigned n = 0; n < BT_REASONS; n++)
		if (s->reasons[n])
			fprintf(f, "  exit %-15s %12llu\n", reason_names[n],
				(unsigned long long)s->reasons[n]);
	print_top(s, f);
}
