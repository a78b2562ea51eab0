/* An input as disk images, requests on them, and what must hold then: a read shows what was written, an image that was whole stays so,
 * a repair leaves one that is whole or says that it does not. */
#include "image.h"

#include "memory_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_MAX (16 * MIB) /* of a file that is checked: the work grows with it */
#define GROW_MAX  (8 * MIB)
#define RUN_MAX   64u /* sectors of a request */
#define SHADOW    4096u

struct shadow {
	u64 sector; /* and 1 */
	u32 version;
};

struct run {
	const u8 *data;
	const char *format;
	struct block *block;
	bool readonly, backed, repair;
	bool whole; /* the image was without errors: so it stays, and reads are predicted */
	u32 version;
	struct shadow shadow[SHADOW];
	u8 buf[RUN_MAX * BLOCK_SECTOR], want[BLOCK_SECTOR];
	u64 findings;   /* lines of a report */
	char err[1024]; /* of the last opening */
};

#define UNKNOWN UINT32_MAX

static _Noreturn void printf_like(1, 2) wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

/* --- Pieces --------------------------------------------------------------------------------- */

static u32 get(const u8 *p, unsigned size)
{
	u32 v = 0;

	memcpy(&v, p, size);
	return v;
}

static size_t pieces_start(const u8 *data, size_t size)
{
	return IMAGE_HEAD + IMAGE_OP * (size > 1 ? MIN(data[1], IMAGE_OPS) : 0);
}

bool image_span(u8 *data, size_t size, unsigned n, struct image_span *span)
{
	size_t at = pieces_start(data, size);

	for (;; n--) {
		size_t left;

		if (at + IMAGE_PIECE >= size)
			return false;
		left = size - at - IMAGE_PIECE;
		span->at = data + at;
		span->file = data[at] % IMAGE_FILES;
		span->kind = data[at + 1] % PIECE_KINDS;
		span->length = get(data + at + 2, 2);
		span->place = get(data + at + 4, 4);
		if (span->kind == PIECE_DATA)
			span->length = (u32)MIN(span->length, left);
		if (n == 0)
			return true;
		at += IMAGE_PIECE + (span->kind == PIECE_DATA ? span->length : 1);
	}
}

static void build_files(const u8 *data, size_t size)
{
	struct image_span s;
	u8 fill[65536];

	memory_files_reset(size > 2 ? data[2] % IMAGE_FILES + 1 : 1);
	for (unsigned n = 0; image_span((u8 *)(uintptr_t)data, size, n, &s); n++) {
		u64 place = s.place * (u64)BLOCK_SECTOR;
		const u8 *contents = s.at + IMAGE_PIECE;

		if (s.kind == PIECE_DATA) {
			memory_file_put(s.file, contents, s.length, place);
		} else if (s.kind == PIECE_FILL) {
			memset(fill, contents[0], s.length);
			memory_file_put(s.file, fill, s.length, place);
		} else {
			memory_file_resize(s.file, place + s.length % BLOCK_SECTOR);
		}
	}
}

/* --- What is known of the contents ---------------------------------------------------------- */

static struct shadow *shadow_of(struct run *r, u64 sector)
{
	for (u32 i = (u32)(sector * 2654435761u), n = 0; n < 64; n++, i++) {
		struct shadow *s = &r->shadow[i % SHADOW];

		if (s->sector == sector + 1)
			return s;
		if (!s->sector) {
			*s = (struct shadow){ sector + 1, UNKNOWN };
			return s;
		}
	}
	return NULL;
}

static void sector_fill(u8 *buf, u64 sector, u32 version)
{
	memset(buf, 0, BLOCK_SECTOR);
	if (!version)
		return;
	for (unsigned n = 0; n < BLOCK_SECTOR; n += 16) {
		memcpy(buf + n, &sector, 8);
		memcpy(buf + n + 8, &version, 4);
	}
}

static void shadow_set(struct run *r, u64 sector, u64 count, u32 version)
{
	for (u64 i = 0; i < count; i++) {
		struct shadow *s = shadow_of(r, sector + i);

		if (s)
			s->version = version;
	}
}

static void shadow_compare(struct run *r, const u8 *buf, u64 sector, u64 count)
{
	for (u64 i = 0; i < count && r->whole; i++) {
		struct shadow *s = shadow_of(r, sector + i);

		if (!s || s->version == UNKNOWN)
			continue;
		sector_fill(r->want, sector + i, s->version);
		if (memcmp(buf + i * BLOCK_SECTOR, r->want, BLOCK_SECTOR))
			wrong("sector %llu does not read as it was written",
			      (unsigned long long)(sector + i));
	}
}

static void shadow_verify(struct run *r)
{
	for (unsigned n = 0; n < SHADOW && r->whole; n++) {
		u64 sector = r->shadow[n].sector - 1;

		if (!r->shadow[n].sector || r->shadow[n].version == UNKNOWN ||
		    (sector + 1) * BLOCK_SECTOR > r->block->size)
			continue;
		int result = block_read_now(r->block, r->buf, BLOCK_SECTOR, sector * BLOCK_SECTOR);

		if (result)
			wrong("%s: sector %llu, which was written, cannot be read: %s",
			      r->block->ops->name, (unsigned long long)sector, strerror(-result));
		shadow_compare(r, r->buf, sector, 1);
	}
}

/* --- Opening, checking ---------------------------------------------------------------------- */

static void check_line(const char *err)
{
	if (!err[0] || strchr(err, '\n'))
		wrong("a failure without one line of reason: '%s'", err);
}

static int open_image(struct run *r, bool readonly, bool repair)
{
	struct block_options o = { .path = "/f/0",
				   .format = r->format,
				   .readonly = readonly,
				   .repair = repair,
				   .backing = r->backed ? BLOCK_BACKING_ANY : BLOCK_BACKING_NONE };
	int result;

	r->err[0] = 0;
	result = block_open(&r->block, &o, r->err, sizeof(r->err));
	if (result) {
		r->block = NULL;
		check_line(r->err);
		if (memory_files_open())
			wrong("files stay open after: %s", r->err);
	}
	return result;
}

static void close_image(struct run *r)
{
	block_close(r->block);
	r->block = NULL;
	if (memory_files_open())
		wrong("files stay open");
}

static void count_line(void *opaque, const char *line)
{
	struct run *r = opaque;

	r->findings++;
	check_line(line);
}

static int check(struct run *r, struct block_check *c, bool repair)
{
	*c = (struct block_check){ .report = count_line, .opaque = r };
	if (!r->block->ops->check || r->block->file->size > CHECK_MAX)
		return -EOPNOTSUPP;
	return r->block->ops->check(r->block, c, repair);
}

/* A repair that says that it has repaired all leaves nothing to be found. */
static void check_repaired(struct run *r, bool last)
{
	struct block_check c, again;
	int result = check(r, &c, true);

	r->whole = false;
	if (result)
		return;
	if (c.repaired > c.leaks + c.errors)
		wrong("%llu findings, %llu repaired", (unsigned long long)(c.leaks + c.errors),
		      (unsigned long long)c.repaired);
	if (c.repaired < c.leaks + c.errors || memory_files_failed())
		return;
	if (last) {
		close_image(r);
		/* Its parent is not its own fault: an operation may have named one that is not there. */
		if (open_image(r, false, false) && !strstr(r->err, "its parent"))
			wrong("a repaired image does not open: %s", r->err);
	}
	result = check(r, &again, false);
	if (memory_files_failed() || result == -EOPNOTSUPP)
		return;
	if (result || again.errors || (last && again.leaks))
		wrong("%llu errors, %llu leaks repaired; but then %llu and %llu, %s",
		      (unsigned long long)c.errors, (unsigned long long)c.leaks,
		      (unsigned long long)again.errors, (unsigned long long)again.leaks,
		      strerror(-result));
}

static void check_whole(struct run *r)
{
	struct block_check c;
	int result = check(r, &c, false);

	if (!r->whole || memory_files_failed() || result == -EOPNOTSUPP)
		return;
	if (result || c.errors)
		wrong("the image was whole, now: %llu errors, %s", (unsigned long long)c.errors,
		      strerror(-result));
}

/* --- Operations ----------------------------------------------------------------------------- */

static void request_done(struct block_req *req) { ++*(unsigned *)req->opaque; }

static void do_request(struct run *r, enum block_op op, u64 sector, u64 count, u32 value)
{
	unsigned done = 0;
	struct block_req req = { .op = op,
				 .offset = sector * BLOCK_SECTOR,
				 .size = count * BLOCK_SECTOR,
				 .buf = r->buf,
				 .unmap = value & 1,
				 .fua = value & 2,
				 .done = request_done,
				 .opaque = &done };

	r->version++;
	for (u64 i = 0; op == BLOCK_WRITE && i < count; i++)
		sector_fill(r->buf + i * BLOCK_SECTOR, sector + i, r->version);
	block_submit(r->block, &req);
	if (done != 1)
		wrong("a request was done %u times", done);
	if (op == BLOCK_READ && !req.result)
		shadow_compare(r, r->buf, sector, count);
	else if (op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES || op == BLOCK_DISCARD)
		shadow_set(r, sector, count,
			   req.result || op == BLOCK_DISCARD ? UNKNOWN
			   : op == BLOCK_WRITE               ? r->version
							     : 0);
}

static void do_resize(struct run *r, u32 position, u32 value)
{
	u64 size = r->block->size, sectors = size / BLOCK_SECTOR;
	char err[1024] = "";
	int result;

	if (!r->block->ops->resize || r->readonly)
		return;
	size = value & 1 ? (sectors + position % (GROW_MAX / BLOCK_SECTOR)) * BLOCK_SECTOR
			 : (position % sectors + 1) * BLOCK_SECTOR;
	result = r->block->ops->resize(r->block, size, err, sizeof(err));
	if (result)
		check_line(err);
	else if (r->block->size != size)
		wrong("resized to %llu, it is %llu", (unsigned long long)size,
		      (unsigned long long)r->block->size);
	for (unsigned n = 0; n < SHADOW; n++)
		if (r->shadow[n].sector * BLOCK_SECTOR > r->block->size)
			r->shadow[n].version = UNKNOWN;
}

static void do_parent(struct run *r, u32 value)
{
	static const char *const names[] = { NULL, "1", "/f/2", "nothing" };
	const char *name = names[value % ARRAY_LEN(names)];
	char err[1024] = "";
	int result;

	if (!r->block->ops->set_parent || r->readonly)
		return;
	result = r->block->ops->set_parent(r->block, name, name ? r->block->ops->name : NULL, err,
					   sizeof(err));
	if (result)
		check_line(err);
	else
		r->whole = false; /* another disk shows through now, or none can be opened */
}

static void do_info(struct run *r)
{
	struct block_info info = { 0 };

	if (r->block->ops->info)
		r->block->ops->info(r->block, &info);
	if (!memchr(info.parent, 0, sizeof(info.parent)) ||
	    !memchr(info.note, 0, sizeof(info.note)))
		wrong("what info says has no end");
	for (unsigned n = 0; n < ARRAY_LEN(info.snapshot); n++)
		if (!memchr(info.snapshot[n].name, 0, sizeof(info.snapshot[n].name)) ||
		    !memchr(info.snapshot[n].id, 0, sizeof(info.snapshot[n].id)))
			wrong("a snapshot's name has no end");
}

static void do_allocated(struct run *r, u64 sector, u64 count)
{
	u64 size = count * BLOCK_SECTOR;

	if (!r->block->ops->allocated)
		return;
	(void)r->block->ops->allocated(r->block, sector * BLOCK_SECTOR, &size);
	if (size < BLOCK_SECTOR || size > count * BLOCK_SECTOR)
		wrong("%llu of %llu bytes are allocated", (unsigned long long)size,
		      (unsigned long long)count * BLOCK_SECTOR);
}

static void do_reopen(struct run *r)
{
	close_image(r);
	if (open_image(r, r->readonly, false) && r->whole && !memory_files_failed())
		wrong("an image that was whole does not open again: %s", r->err);
	if (r->block && !memory_files_failed())
		shadow_verify(r);
}

static void do_op(struct run *r, const u8 *op)
{
	static const enum block_op requests[] = { BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE_ZEROES,
						  BLOCK_DISCARD, BLOCK_FLUSH };
	static const int errors[] = { -ENOSPC, -EIO };
	u32 position = get(op + 2, 4), value = get(op + 6, 2), what = op[0] % OP_COUNT;
	u64 sectors = r->block->size / BLOCK_SECTOR, sector = position % sectors;
	u64 count = MIN(op[1] % RUN_MAX + 1, sectors - sector);
	struct block_check c;

	if (what <= OP_FLUSH)
		do_request(r, requests[what], what == OP_FLUSH ? 0 : sector,
			   what == OP_FLUSH ? 0 : count, value);
	else if (what == OP_CHECK)
		(void)check(r, &c, false);
	else if (what == OP_REPAIR && !r->readonly)
		check_repaired(r, false);
	else if (what == OP_RESIZE)
		do_resize(r, position, value);
	else if (what == OP_PARENT)
		do_parent(r, value);
	else if (what == OP_INFO)
		do_info(r);
	else if (what == OP_ALLOCATED)
		do_allocated(r, sector, count);
	else if (what == OP_REOPEN)
		do_reopen(r);
	else if (what == OP_FAULT && op[1] < 8) {
		memory_files_fail(value % 32 + 1, errors[value >> 8 & 1]);
		r->whole = false;
	}
}

int image_run(const u8 *data, size_t size, const char *format)
{
	static struct run r;
	struct block_check c;

	if (size < pieces_start(data, size) || size < IMAGE_HEAD)
		return 0;
	build_files(data, size);
	r = (struct run){ .data = data,
			  .format = data[0] & IMAGE_PROBED ? NULL : format,
			  .readonly = data[0] & IMAGE_READONLY,
			  .backed = data[0] & IMAGE_BACKED,
			  .repair = data[0] & IMAGE_REPAIR };
	if (open_image(&r, r.readonly, false) == 0) {
		r.whole = !r.readonly && !check(&r, &c, false) && !c.errors &&
			  r.block->ops != &block_raw;
		do_info(&r);
		for (unsigned n = 0; n < MIN(data[1], IMAGE_OPS) && r.block; n++)
			do_op(&r, data + IMAGE_HEAD + n * IMAGE_OP);
		if (r.block)
			do_reopen(&r);
		if (r.block && !memory_files_failed())
			check_whole(&r);
	}
	if (r.block)
		close_image(&r);
	memory_files_fail(0, 0);
	r.whole = false;
	if (r.repair && open_image(&r, false, true) == 0)
		check_repaired(&r, true);
	if (r.block)
		close_image(&r);
	return 0;
}

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

	if (data[1] == 0 || size < pieces_start(data, size))
		return;
	op = data + IMAGE_HEAD + IMAGE_OP * (image_random(rng) % MIN(data[1], IMAGE_OPS));
	op[0] = (u8)(image_random(rng) % OP_COUNT);
	op[1] = (u8)image_random(rng);
	put_number(op + 2, image_random(rng) & (1u << image_random(rng) % 32), 4);
	op[6] = (u8)image_random(rng);
}

static size_t insert_op(u8 *data, size_t size, size_t max, u32 *rng)
{
	if (data[1] >= IMAGE_OPS || size + IMAGE_OP > max || size < pieces_start(data, size))
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
