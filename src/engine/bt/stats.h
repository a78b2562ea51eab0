/* What the translator counts for --stats. Counting is C's business alone: translated code counts nothing. */
#ifndef ENGINE_BT_STATS_H
#define ENGINE_BT_STATS_H

#include "base/types.h"

struct bt;
struct vm;

/* Why the CPU went from units to C. */
enum bt_reason {
	BT_BY_DESIGN, /* an instruction that C always runs */
	BT_SLOW, /* one that its unit could not finish: the page is not in the TLB, a device, an odd case */
	BT_FAULT,     /* one that faulted on the host */
	BT_FP,        /* one that found the FP registers not loaded, or its gate closed */
	BT_EXIT,      /* a direct exit that was not linked */
	BT_MISS,      /* a target that the jump cache did not know */
	BT_ATTENTION, /* asked for at a unit's entry: interrupts, timers, the end */
	BT_BUDGET,    /* used up at a unit's entry (counted clock) */
	BT_DEAD,      /* entered a unit that a write had killed */
	BT_COLD,      /* code that the cache does not know, and that is not worth a unit yet */
	BT_ALONE, /* code that no unit can hold: across two pages, not in RAM, with checks for each access */
	BT_ALONE_EVENT, /* one instruction after which events are looked at: an interrupt shadow, single steps */
	BT_REASONS
};

/* Which addresses cause exits: the most frequent of them, in bounded memory. A set that is full gives way slowly: a newcomer takes
 * one from the least frequent, and its place when nothing is left. So a count is never too high, and close for what dominates. */
#define BT_SPOT_SETS 1024u
#define BT_SPOT_WAYS 4u

struct bt_spot {
	u64 rip, count;
	u16 mnemonic; /* 0: not known */
	u8 reason;
};

/* For telling a unit made again from a new one: a 16-bit tag of the last one made for a hash. */
#define BT_MADE 65536u

struct bt_stats {
	u64 units[3], insns[3];                  /* by code size */
	u64 guest_bytes, code_bytes, meta_bytes; /* of all that were made */
	u64 retranslated, killed, evicted, evictions;
	u64 linked;
	u64 checked, stale; /* units that check themselves, and how many of them found a change */
	u64 reasons[BT_REASONS];
	struct bt_spot spot[BT_SPOT_SETS][BT_SPOT_WAYS];
	u16 made[BT_MADE];
};

/* An exit of instruction or target rip. */
void bt_count(struct bt_stats *s, enum bt_reason reason, u64 rip, u16 mnemonic);
/* A unit is made for the code at host address guest. */
void bt_count_made(struct bt_stats *s, const u8 *guest, u32 key);
/* The lines for --stats. */
void bt_stats_print(const struct vm *vm, void *file);

#endif
