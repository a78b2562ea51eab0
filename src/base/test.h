/* What unit tests include: cmocka with all it needs before it, and numbers that are the same in
 * every run. */
#ifndef BASE_TEST_H
#define BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What cmocka's header does not say of fail() and fail_msg(): the test ends there. */
void _fail(const char *file, int line) __attribute__((noreturn));

#define TEST_SEED 88172645463325252ull

/* Marsaglia's 64-bit xorshift; a seed is not 0. */
static inline uint64_t test_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	return *seed ^= *seed << 17;
}

#endif
