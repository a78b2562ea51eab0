/* x86_decode_cached against x86_decode: they agree in all fields for any bytes, however often the
 * cache has seen the like; and what is common is served from the cache. */
#include "base/bits.h"
#include "base/test.h"
#include "x86/decode_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define COMPARED (offsetof(struct x86_insn, bytes) + 15) /* all but padding */

static u64 seed = 1;

static u64 next_random(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed ^ seed >> 32;
}

static int setup(void **state)
{
	*state = decode_cache_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	decode_cache_free(*state);
	return 0;
}

static void print_bytes(const u8 *bytes, unsigned n, unsigned mode)
{
	print_message("mode %u:", mode);
	for (unsigned k = 0; k < n; k++)
		print_message(" %02x", bytes[k]);
	print_message("\n");
}

/* What x86_decode returns. */
static int check(struct decode_cache *c, const u8 *bytes, unsigned avail, unsigned mode)
{
	u8 *exact = malloc(avail ? avail : 1); /* so that a sanitizer sees a read beyond */
	struct x86_insn plain, cached;
	int want, got;

	memcpy(exact, bytes, avail);
	memset(&plain, 0xa5, sizeof(plain));
	memset(&cached, 0x5a, sizeof(cached));
	want = x86_decode(&plain, exact, avail, mode);
	got = x86_decode_cached(c, &cached, exact, avail, mode);
	free(exact);
	if (want == got && memcmp(&plain, &cached, COMPARED) == 0)
		return want;
	print_bytes(bytes, avail, mode);
	assert_int_equal(got, want);
	assert_memory_equal(&cached, &plain, COMPARED);
	return want;
}

/* That comparisons mean something: many decodes were out of the cache. */
static void assert_served(const struct decode_cache *c, u64 least)
{
	print_message("# %llu by shape, %llu in full, %llu unshaped\n", (unsigned long long)c->hits,
		      (unsigned long long)c->misses, (unsigned long long)c->unshaped);
	assert_true(c->hits >= least);
}

/* The head with tails of several kinds behind it; now and then all the ways to cut it off. */
static void check_head(struct decode_cache *c, const u8 *head, unsigned n, unsigned mode)
{
	static const u8 ends[] = { 0x00, 0xff, 0x7f, 0x80, 0x01 };
	u8 bytes[15];

	n = MIN(n, 15u);
	memcpy(bytes, head, n);
	for (unsigned round = 0; round < 4; round++) {
		u64 r[2] = { next_random(), next_random() };

		memcpy(bytes + n, r, 15 - n);
		if (round & 1) /* few different SIBs, that they recur */
			bytes[n] = ends[r[0] % ARRAY_LEN(ends)];
		if (round == 2 && n < 15)
			memset(bytes + n + 1, ends[r[0] % ARRAY_LEN(ends)], 14 - n);
		if (check(c, bytes, 15, mode) < 0 && next_random() % 4)
			return; /* mostly no instruction with any tail */
	}
	if (next_random() % 16 == 0)
		for (unsigned avail = 0; avail < 15; avail++)
			check(c, bytes, avail, mode);
}

static const struct {
	u8 n, bytes[4];
} prefix_sets[] = {
	{ 0, { 0 } },
	{ 1, { 0x66 } },
	{ 1, { 0xf2 } },
	{ 1, { 0xf3 } },
	{ 1, { 0x67 } },
	{ 1, { 0x65 } },
	{ 1, { 0xf0 } },
	{ 1, { 0x48 } },
	{ 1, { 0x41 } },
	{ 2, { 0x66, 0x4f } },
	{ 2, { 0x48, 0x66 } },
	{ 2, { 0xf2, 0xf3 } },
	{ 2, { 0xf3, 0x47 } },
	{ 3, { 0x67, 0x66, 0x64 } },
	{ 4, { 0x2e, 0x67, 0xf0, 0x44 } },
	{ 4, { 0x66, 0x66, 0x66, 0x66 } },
};

static const struct {
	u8 n, bytes[2];
} maps[] = { { 0, { 0 } }, { 1, { 0x0f } }, { 2, { 0x0f, 0x38 } }, { 2, { 0x0f, 0x3a } } };

static void check_opcode(struct decode_cache *c, unsigned prefix, unsigned map, u8 opcode,
			 unsigned mode)
{
	static const u8 modrm[] = { 0x00, 0x04, 0x05, 0x06, 0x2c, 0x44, 0x4d,
				    0x7c, 0x84, 0x86, 0xbb, 0xc1, 0xd8, 0xff };
	u8 head[15];
	unsigned n = prefix_sets[prefix].n;

	memcpy(head, prefix_sets[prefix].bytes, n);
	memcpy(head + n, maps[map].bytes, maps[map].n);
	n += maps[map].n;
	head[n++] = opcode;
	if (prefix == 0) {
		for (unsigned m = 0; m < 256; m++) {
			head[n] = (u8)m;
			check_head(c, head, n + 1, mode);
		}
		return;
	}
	for (unsigned m = 0; m < ARRAY_LEN(modrm); m++) {
		head[n] = modrm[m];
		check_head(c, head, n + 1, mode);
	}
}

static void every_opcode(void **state)
{
	for (unsigned mode = 16; mode <= 64; mode *= 2)
		for (unsigned p = 0; p < ARRAY_LEN(prefix_sets); p++)
			for (unsigned map = 0; map < ARRAY_LEN(maps); map++)
				for (unsigned op = 0; op < 256; op++)
					check_opcode(*state, p, map, (u8)op, mode);
	assert_served(*state, 2500000);
}

/* VEX and EVEX. Three quarters have vvvv 1111, without which what has no second source is no
 * instruction; with EVEX also no masking and no broadcast. */
static unsigned vector_head(u8 *head, unsigned kind, u8 opcode)
{
	u64 r = next_random();
	u8 vvvv = r & 3 ? 0x78 : 0, map = (u8)(1 + (r >> 2) % 3);
	unsigned n = 0;

	if ((r >> 4) % 8 == 0)
		head[n++] = r & 0x80 ? 0x67 : 0x64;
	r >>= 16;
	switch (kind) {
	case 0:
		head[n++] = 0xc5;
		head[n++] = (u8)(r | 0x80 | vvvv);
		break;
	case 1:
		head[n++] = 0xc4;
		head[n++] = (u8)((r & 0xe0) | 0xc0 | map);
		head[n++] = (u8)(r >> 16 | vvvv);
		break;
	default:
		head[n++] = 0x62;
		head[n++] = (u8)((r & 0xf0) | 0xc0 | map);
		head[n++] = (u8)(r >> 16 | vvvv | 0x04);
		head[n++] = vvvv ? (u8)((r >> 24 & 0x60) | 0x08) : (u8)(r >> 24);
		break;
	}
	head[n++] = opcode;
	head[n++] = (u8)(r >> 32);
	return n;
}

static void vector_prefixes(void **state)
{
	for (unsigned n = 0; n < 3 * 256 * 1000; n++) {
		u8 head[8];
		unsigned bytes = vector_head(head, n % 3, (u8)(n / 3));

		check_head(*state, head, bytes, next_random() % 4 ? 64 : 32);
	}
	assert_served(*state, 200000);
}

/* Bytes of no kind, each decoded twice and with another end. */
static void random_streams(void **state)
{
	for (unsigned n = 0; n < 1000000; n++) {
		unsigned mode = 16u << n % 3;
		u64 r[2] = { next_random(), next_random() };
		u8 bytes[15];

		memcpy(bytes, r, sizeof(bytes));
		check(*state, bytes, 15, mode);
		memcpy(bytes + 4 + n % 8, r, 4);
		check(*state, bytes, n % 16, mode);
	}
}

static unsigned parse_hex(u8 *bytes, const char *hex)
{
	unsigned n = 0, byte;

	memset(bytes, 0, 15);
	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2 + (hex[2] == ' '))
		bytes[n++] = (u8)byte;
	return n;
}

/* The forms that compilers and JITs emit: two that differ in displacement or immediate. */
static const struct {
	unsigned mode;
	const char *first, *second;
} shaped[] = {
	{ 64, "90", "90" },
	{ 64, "55", "55" },
	{ 64, "c3", "c3" },
	{ 64, "48 89 e5", "48 89 e5" },
	{ 64, "48 83 ec 10", "48 83 ec f0" },
	{ 64, "48 81 ec 10 00 00 00", "48 81 ec 00 00 00 80" },
	{ 64, "b8 01 00 00 00", "b8 ff ff ff ff" },
	{ 64, "48 b8 00 00 00 00 00 00 00 00", "48 b8 11 22 33 44 55 66 77 88" },
	{ 64, "48 c7 84 c8 00 01 00 00 78 56 34 12", "48 c7 84 c8 00 00 00 ff ff ff ff ff" },
	{ 64, "64 66 c7 84 c8 00 01 00 00 78 56", "64 66 c7 84 c8 88 77 66 55 44 33" },
	{ 64, "8b 05 10 00 00 00", "8b 05 f0 ff ff ff" },
	{ 64, "c7 05 10 00 00 00 01 02 03 04", "c7 05 00 00 00 80 00 00 00 80" },
	{ 64, "0f 84 00 01 00 00", "0f 84 00 00 00 ff" },
	{ 64, "eb 10", "eb fe" },
	{ 64, "e8 00 00 00 00", "e8 ff ff ff ff" },
	{ 64, "ff d0", "ff d0" },
	{ 64, "c1 e0 01", "c1 e0 1f" },
	{ 64, "d1 e0", "d1 e0" },
	{ 64, "0f b6 44 24 10", "0f b6 44 24 80" },
	{ 64, "48 a1 11 22 33 44 55 66 77 88", "48 a1 00 00 00 00 00 00 00 80" },
	{ 64, "cd 03", "cd 80" },
	{ 64, "f2 0f 10 43 08", "f2 0f 10 43 f8" },
	{ 64, "66 0f 38 00 43 08", "66 0f 38 00 43 f8" },
	{ 64, "66 0f 70 c1 00", "66 0f 70 c1 ff" },
	{ 64, "c5 f8 77", "c5 f8 77" },
	{ 64, "c5 fc 28 43 20", "c5 fc 28 43 e0" },
	{ 64, "c4 e2 7d 18 05 10 00 00 00", "c4 e2 7d 18 05 f0 ff ff ff" },
	{ 64, "62 f1 7c 48 58 40 01", "62 f1 7c 48 58 40 80" },
	{ 64, "62 f2 7d 48 77 c1", "62 f2 7d 48 77 c1" },
	{ 64, "d9 43 08", "d9 43 f8" },
	{ 32, "40", "40" },
	{ 32, "8b 45 08", "8b 45 f8" },
	{ 32, "a1 78 56 34 12", "a1 00 00 00 80" },
	{ 32, "c4 06", "c4 06" },
	{ 32, "67 8b 44 08", "67 8b 44 f8" },
	{ 16, "8b 0e 34 12", "8b 0e 00 80" },
	{ 16, "8b 04", "8b 04" },
	{ 16, "67 8b 04 24", "67 8b 04 24" },
	{ 16, "e9 00 80", "e9 00 01" },
};

static void common_forms_hit(void **state)
{
	for (unsigned n = 0; n < ARRAY_LEN(shaped); n++) {
		struct decode_cache *c = decode_cache_new();
		struct x86_insn i;
		u8 bytes[15];

		assert_non_null(c);
		print_message("%s\n", shaped[n].first);
		parse_hex(bytes, shaped[n].first);
		assert_int_equal(x86_decode_cached(c, &i, bytes, 15, shaped[n].mode), 1);
		assert_int_equal(c->misses, 1);
		for (unsigned avail = parse_hex(bytes, shaped[n].second); avail <= 15; avail++) {
			u64 hits = c->hits;

			check(c, bytes, avail, shaped[n].mode);
			assert_int_equal(c->hits, hits + 1);
		}
		decode_cache_free(c);
	}
	(void)state;
}

/* Code across two pages: what the first has, again and again. */
static void cut_off_hits(void **state)
{
	struct decode_cache *c = *state;
	u8 bytes[15];
	unsigned len = parse_hex(bytes, "48 c7 84 c8 00 01 00 00 78 56 34 12");

	for (unsigned avail = 1; avail < 8; avail++)
		check(c, bytes, avail, 64);
	assert_int_equal(c->misses, 7);
	for (unsigned round = 0; round < 2; round++) {
		u64 hits = c->hits;

		for (unsigned avail = 1; avail < len; avail++)
			check(c, bytes, avail, 64);
		assert_true(c->hits - hits >= 7);
		check(c, bytes, 15, 64); /* from now on its shape is known too */
	}
	check(c, bytes, 0, 64);
}

/* What the values behind the head may change is decoded in full each time. */
static void others_do_not(void **state)
{
	static const struct {
		unsigned mode;
		const char *hex;
	} row[] = {
		{ 64, "c4 e3 71 4a c2 30" }, /* vblendvps: a register in the immediate */
		{ 64, "c8 10 00 03" },
		{ 64, "c1 e0 00" },
		{ 32, "ea 11 22 33 44 55 66" },
		{ 64, "0f 0f c1 9e" },
		{ 64, "f0 01 d8" },
		{ 64, "62 f1 7c 48 58 40 00" }, /* 0 does not tell its factor */
		{ 64, "66 66 66 66 66 66 66 66 90" },
	};
	struct decode_cache *c = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		u8 bytes[15];

		print_message("%s\n", row[n].hex);
		parse_hex(bytes, row[n].hex);
		check(c, bytes, 15, row[n].mode);
		check(c, bytes, 15, row[n].mode);
		assert_int_equal(c->hits, 0);
		assert_int_equal(c->unshaped, 2 * (n + 1));
	}
}

static void without_a_cache(void **state)
{
	(void)state;
	check(NULL, (const u8 *)"\x48\x89\xe5\0\0\0\0\0\0\0\0\0\0\0", 15, 64);
}

/* Two code sizes do not share shapes, whatever the bytes. */
static void modes_apart(void **state)
{
	static const u8 text[15] = { 0xb8, 1, 2, 3, 4, 5 };

	for (unsigned round = 0; round < 3; round++)
		for (unsigned mode = 16; mode <= 64; mode *= 2)
			check(*state, text, 15, mode);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define STREAM (64 * 1024)

/* The 64-bit forms above in random order, with random displacements and immediates. */
static unsigned make_stream(u8 *text)
{
	unsigned at = 0, count = 0;

	while (at + 15 <= STREAM) {
		unsigned n = (unsigned)(next_random() % ARRAY_LEN(shaped));
		u64 r = next_random();
		u8 bytes[15], first[15];
		unsigned len;

		if (shaped[n].mode != 64)
			continue;
		len = parse_hex(bytes, shaped[n].first);
		parse_hex(first, shaped[n].second);
		for (unsigned k = 0; k < len; k++)
			text[at + k] = bytes[k] != first[k] ? (u8)(r >> 4 * k | 1) : bytes[k];
		at += len;
		count++;
	}
	memset(text + at, 0x90, STREAM + 15 - at);
	return count;
}

static double time_stream(struct decode_cache *c, const u8 *text, unsigned count)
{
	double best = 1e18;

	for (unsigned round = 0; round < 3; round++) {
		double start = now();

		for (unsigned n = 0, at = 0; n < count; n++) {
			struct x86_insn i;

			assert_int_equal(x86_decode_cached(c, &i, text + at, 15, 64), 1);
			at += i.len;
		}
		best = MIN(best, (now() - start) / count);
	}
	return best;
}

static void measurement(void **state)
{
	u8 *text = malloc(STREAM + 15);
	unsigned count;

	assert_non_null(text);
	count = make_stream(text);
	print_message("# %u instructions: %.1f ns each in full, %.1f ns by shape\n", count,
		      time_stream(NULL, text, count), time_stream(*state, text, count));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_opcode, setup, teardown),
		cmocka_unit_test_setup_teardown(vector_prefixes, setup, teardown),
		cmocka_unit_test_setup_teardown(random_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(common_forms_hit, setup, teardown),
		cmocka_unit_test_setup_teardown(cut_off_hits, setup, teardown),
		cmocka_unit_test_setup_teardown(others_do_not, setup, teardown),
		cmocka_unit_test(without_a_cache),
		cmocka_unit_test_setup_teardown(modes_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(measurement, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
