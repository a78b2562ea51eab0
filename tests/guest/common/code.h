/*
 * For guests that write code and run it: a reproducible random sequence, stores of every size that
 * the compiler can neither widen nor drop, an emitter of instructions, and the count of stale runs.
 */
#ifndef TESTS_GUEST_CODE_H
#define TESTS_GUEST_CODE_H

#include "tap.h"

/* xorshift64*: the same sequence on every run. */
struct prng {
	uint64_t state;
};

static inline uint32_t prng_next(struct prng *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	/* A 32-bit image has no 64-bit multiplication by a variable without a library. */
	return (uint32_t)(r->state >> 32) * 0x9e3779b1u ^ (uint32_t)r->state;
}

/* A value below n, n not 0. */
static inline uint32_t prng_below(struct prng *r, uint32_t n) { return prng_next(r) % n; }

static inline void put8(void *at, uint8_t value)
{
	__asm__ volatile("movb %1, (%0)" : : "r"(at), "q"(value) : "memory");
}

static inline void put16(void *at, uint16_t value)
{
	__asm__ volatile("movw %1, (%0)" : : "r"(at), "r"(value) : "memory");
}

static inline void put32(void *at, uint32_t value)
{
	__asm__ volatile("movl %1, (%0)" : : "r"(at), "r"(value) : "memory");
}

/* Code under construction: `at` is where the next byte goes. */
struct emit {
	uint8_t *at;
};

static inline void emit8(struct emit *e, uint8_t byte) { put8(e->at++, byte); }

static inline void emit32(struct emit *e, uint32_t value)
{
	put32(e->at, value);
	e->at += 4;
}

/* mov eax, value */
static inline void emit_load(struct emit *e, uint32_t value)
{
	emit8(e, 0xb8);
	emit32(e, value);
}

static inline void emit_ret(struct emit *e) { emit8(e, 0xc3); }

/*
 * Call what is at an address and return EAX (in a 64-bit image: RAX). The code may change the
 * registers that the calling convention lets it change.
 */
static inline unsigned long code_call(const void *at)
{
	unsigned long result;

	__asm__ volatile("" : : : "memory");
	result = ((unsigned long (*)(void))at)();
	__asm__ volatile("" : : : "memory");
	return result;
}

/* One kind of modification: how many patches were made and how many runs saw something else. */
struct patches {
	unsigned made, stale;
	uint64_t got, expected; /* of the first stale run */
};

static inline void patches_saw(struct patches *p, uint64_t got, uint64_t expected)
{
	p->made++;
	if (got == expected)
		return;
	if (!p->stale++) {
		p->got = got;
		p->expected = expected;
	}
}

/* Report a kind: one rule. */
__attribute__((unused)) static void patches_report(const struct patches *p, const char *rule)
{
	if (!tap_check(p->made && !p->stale, rule))
		tap_note("first stale run", p->got, p->expected);
	tap_puts("# patches ");
	tap_put_dec(p->made);
	tap_puts(", stale executions ");
	tap_put_dec(p->stale);
	tap_putc('\n');
}

#endif
