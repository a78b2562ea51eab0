/* A cache of instruction shapes, for code that is decoded once but looks like what came before it:
 * a guest's JIT, a guest that patches itself. All of a decoded instruction but its displacement and
 * its immediate follows from the bytes in front of them, its head: prefixes, opcode, ModRM, SIB. A
 * decode whose head and code size are in the cache takes the rest from there. */
#ifndef X86_DECODE_CACHE_H
#define X86_DECODE_CACHE_H

#include "x86/insn.h"

struct decode_cache {
	struct shape_set *sets;
	u64 hits, misses;
	u64 unshaped; /* those misses that no shape could be made of */
};

/* NULL if there is no memory. */
struct decode_cache *decode_cache_new(void);
void decode_cache_free(struct decode_cache *c); /* may be NULL */

/* x86_decode, same contract and same result. c may be NULL; one thread at a time uses it. */
int x86_decode_cached(struct decode_cache *c, struct x86_insn *i, const u8 *bytes, unsigned avail,
		      unsigned mode) must_check;

#endif
