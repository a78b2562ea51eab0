/* Changes inputs with disk images in them: requests, pieces, and numbers where a format has them. */
#include "image.h"

#include <string.h>

/* --- Mutation ------------------------------------------------------------------------------- */

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max);

u32 image_random(u32 *rng)
{
	*rng = *rng * 1664525u + 1013904223u;
	return *rng >> 8 ^ *rng << 16;
}

u64 image_number(u32 *rng, unsigned width, u64 scale)
{
	u64 pick = image_random(rng), v = image_random(rng) % 64;

	switch (pick % 8) {
	case 0: v = 0; break;
	case 1: v = ~0ull; break;
	case 2: v = 1ull << v; break;
	case 3: v = (1ull << v) - 1; break;
	case 4: v = v * scale; break;
	case 5: v = v * scale | 1ull << (63 - image_random(rng) % 3); break;
	case 6: v = ~0ull << v; break;
	default: break;
	}
	return width < 8 ? v & ((1ull << 8 * width) - 1) : v;
}

static void put_number(u8 *p, u64 v, unsigned width)
{
	for (unsigned i = width; i-- > 0; v >>= 8)
		p[i] = (u8)v;
}

static const struct image_grammar *grammar_of(const struct image_grammar *g,
					      const struct image_span *s)
{
	for (; g->magic; g++)
		if (s->kind == PIECE_DATA && s->length > g->magic_size &&
		    !memcmp(s->at + IMAGE_PIECE, g->magic, g->magic_size))
			return g;
	return NULL;
}

static unsigned count_pieces(u8 *data, size_t size)
{
	struct image_span s;
	unsigned n = 0;

	while (n < 64 && image_span(data, size, n, &s))
		n++;
	return n;
}

/* A field of a structure, or a number anywhere in a piece: an entry of a table. */
static void mutate_number(u8 *data, size_t size, u32 *rng, const struct image_grammar *grammars)
{
	static const u64 scales[] = { 1, 8, 512, 4096, 65536, 1 << 20 };
	unsigned pieces = count_pieces(data, size), width = image_random(rng) % 2 ? 8 : 4;
	u64 scale = scales[image_random(rng) % ARRAY_LEN(scales)];
	const struct image_grammar *g;
	struct image_span s;
	u32 at;

	if (!pieces || !image_span(data, size, image_random(rng) % pieces, &s) ||
	    s.kind != PIECE_DATA)
		return;
	g = grammar_of(grammars, &s);
	at = s.length / width ? image_random(rng) % MIN(s.length / width, 64) * width : s.length;
	if (g && g->count && image_random(rng) % 4) {
		const struct image_field *f = &g->fields[image_random(rng) % g->count];

		at = f->offset;
		width = f->width;
	}
	if (at + width <= s.length)
		put_number(s.at + IMAGE_PIECE + at, image_number(rng, width, scale), width);
}

/* A digit that stands alone, as the names of files do, becomes another. */
static void mutate_name(u8 *data, size_t size, u32 *rng)
{
	unsigned pieces = count_pieces(data, size), from;
	struct image_span s;
	u8 *p;

	if (!pieces || !image_span(data, size, image_random(rng) % pieces, &s) ||
	    s.kind != PIECE_DATA || s.length < 3)
		return;
	p = s.at + IMAGE_PIECE;
	from = image_random(rng) % s.length;
	for (u32 i = 0; i < s.length; i++) {
		u32 at = (from + i) % s.length;

		if (at > 0 && at + 1 < s.length && p[at] >= '0' && p[at] <= '3' && !p[at + 1] &&
		    (!p[at - 1] || p[at - 1] == '/' || p[at - 1] == '\\' || p[at - 1] >= 0x80)) {
			p[at] = (u8)('0' + image_random(rng) % IMAGE_FILES);
			return;
		}
	}
}

static void mutate_op(u8 *data, size_t size, u32 *rng)
{
	u8 *op;

	if (data[1] == 0 || size < image_start(data, size))
		return;
	op = data + IMAGE_HEAD + IMAGE_OP * (image_random(rng) % MIN(data[1], IMAGE_OPS));
	op[0] = (u8)(image_random(rng) % OP_COUNT);
	op[1] = (u8)image_random(rng);
	put_number(op + 2, image_random(rng) & (1u << image_random(rng) % 32), 4);
	op[6] = (u8)image_random(rng);
}

static size_t insert_op(u8 *data, size_t size, size_t max, u32 *rng)
{
	if (data[1] >= IMAGE_OPS || size + IMAGE_OP > max || size < image_start(data, size))
		return size;
	memmove(data + IMAGE_HEAD + IMAGE_OP, data + IMAGE_HEAD, size - IMAGE_HEAD);
	data[1]++;
	memset(data + IMAGE_HEAD, 0, IMAGE_OP);
	data[IMAGE_HEAD] = (u8)(image_random(rng) % OP_COUNT);
	data[IMAGE_HEAD + 1] = (u8)image_random(rng);
	data[IMAGE_HEAD + 2] = (u8)image_random(rng);
	data[IMAGE_HEAD + 3] = (u8)(image_random(rng) % 32);
	data[IMAGE_HEAD + 6] = (u8)image_random(rng);
	return size + IMAGE_OP;
}

size_t image_mutate(u8 *data, size_t size, size_t max, u32 seed,
		    const struct image_grammar *grammars)
{
	u32 rng = seed * 2 + 1, what;
	struct image_span s;

	if (size < IMAGE_HEAD)
		return LLVMFuzzerMutate(data, size, max);
	image_random(&rng);
	what = image_random(&rng) % 16;
	if (what < 4)
		size = LLVMFuzzerMutate(data, size, max);
	else if (what < 7)
		mutate_op(data, size, &rng);
	else if (what < 9)
		size = insert_op(data, size, max, &rng);
	else if (what == 9)
		data[0] ^= (u8)(1u << image_random(&rng) % 4);
	else if (what == 10)
		mutate_name(data, size, &rng);
	else
		for (u32 n = image_random(&rng) % 3 + 1; n; n--)
			mutate_number(data, size, &rng, grammars);
	for (unsigned n = 0; size >= IMAGE_HEAD && n < 64 && image_span(data, size, n, &s); n++) {
		const struct image_grammar *g = grammar_of(grammars, &s);

		if (g && g->seal && image_random(&rng) % 16)
			g->seal(s.at + IMAGE_PIECE, s.length);
	}
	return size;
}
