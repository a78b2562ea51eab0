/* Which bytes of a page an engine holds code of: a bit for each 64 bytes, so that a write to a page of code and data finds out cheaply
 * whether it concerns code. */
#ifndef ENGINE_GRANULE_H
#define ENGINE_GRANULE_H

#include "base/bits.h"

/* The page of a byte of RAM. */
static inline const u8 *granule_page(const u8 *host)
{
	return (const u8 *)((uintptr_t)host & ~(uintptr_t)0xfff);
}

/* The granules that the bytes [host, host + size) touch; they lie in one page, and size is not 0. */
static inline u64 granules(const u8 *host, unsigned size)
{
	unsigned first = (unsigned)((uintptr_t)host & 0xfff) / 64;
	unsigned last = (unsigned)(((uintptr_t)host & 0xfff) + size - 1) / 64;

	return bits_mask(last - first + 1) << first;
}

#endif
