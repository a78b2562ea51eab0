/* Bit fields, alignment, and unaligned access in either byte order. */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include "base/types.h"

#include <string.h>

#define BIT(n) (1ull << (n))

/* Bits hi..lo of v, shifted down. */
static inline u64 bits_get(u64 v, unsigned hi, unsigned lo)
{
	return (v >> lo) & (~0ull >> (63 - (hi - lo)));
}

/* A mask of the low n bits, n in 0..64. */
static inline u64 bits_mask(unsigned n) { return n >= 64 ? ~0ull : BIT(n) - 1; }

static inline i64 bits_sext(u64 v, unsigned width)
{
	return (i64)(v << (64 - width)) >> (64 - width);
}

static inline u64 align_down(u64 v, u64 a) { return v & ~(a - 1); }

static inline u64 align_up(u64 v, u64 a) { return (v + a - 1) & ~(a - 1); }

/* Little-endian loads and stores of 1, 2, 4 or 8 bytes at any alignment. */
static inline u64 le_load(const void *p, unsigned size)
{
	u64 v = 0;

	memcpy(&v, p, size);
	return v;
}

static inline void le_store(void *p, u64 v, unsigned size) { memcpy(p, &v, size); }

/* The same, big-endian, of 1 to 8 bytes. */
static inline u64 be_load(const void *p, unsigned size)
{
	return __builtin_bswap64(le_load(p, size)) >> (64 - 8 * size);
}

static inline void be_store(void *p, u64 v, unsigned size)
{
	le_store(p, __builtin_bswap64(v) >> (64 - 8 * size), size);
}

#endif
