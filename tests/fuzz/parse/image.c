/* An input as disk images, requests on them, and what must hold then: a read shows what was written, an image that was whole stays so,
 * a repair leaves one that is whole or says that it does not. Of qcow2, where qcow2_model.c reads the same file: a read shows what the file
 * says, no data is written over what the header names, and what a snapshot holds stays. */
#include "image.h"

#include "memory_file.h"
#include "qcow2_model.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a file that is checked: the work grows with it, and with the size of clusters. */
#define CHECK_MAX (12 * MIB)
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
	bool whole;    /* the image was without errors: so it stays, and reads are predicted */
	bool modelled; /* it is one of qcow2 */
	bool settled;  /* all changes are in the file */
	bool snapshots_kept; /* it was whole, and nobody has repaired it since */
	u64 snapshots;       /* the sum of what they hold */
	u32 version;
	struct shadow shadow[SHADOW];
	u8 buf[RUN_MAX * BLOCK_SECTOR], want[BLOCK_SECTOR];
	u64 findings;   /* lines of a report */
	char err[1024]; /* of the last opening */
};

#define UNKNOWN UINT32_MAX
#define MARK    "\x8fGST" /* in what is written to the disk */

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

size_t image_start(const u8 *data, size_t size)
{
	return IMAGE_HEAD + IMAGE_OP * (size > 1 ? MIN(data[1], IMAGE_OPS) : 0);
}

bool image_span(u8 *data, size_t size, unsigned n, struct image_span *span)
{
	size_t at = image_start(data, size);

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
		memcpy(buf + n + 12, MARK, 4);
	}
}

static bool is_filled(const u8 *buf)
{
	return !memcmp(buf + 12, MARK, 4) && !memcmp(buf + BLOCK_SECTOR - 4, MARK, 4);
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

/* --- What the file says --------------------------------------------------------------------- */

/* Data of the disk over a table that the header names. */
static void watch_data(unsigned file, const u8 *buf, u64 size, u64 offset)
{
	struct qcow2_model m;

	for (u64 at = 0; at + BLOCK_SECTOR <= size; at += BLOCK_SECTOR)
		if (is_filled(buf + at) && !qcow2_model_load(&m, file, false) &&
		    qcow2_model_protects(&m, offset + at, BLOCK_SECTOR))
			wrong("data is written over a table, at %#llx",
			      (unsigned long long)(offset + at));
}

static void model_opened(struct run *r, bool readonly)
{
	struct qcow2_model m;
	const char *why;

	r->modelled = r->block->ops == &block_qcow2;
	r->settled = true;
	if (!r->modelled)
		return;
	why = qcow2_model_load(&m, 0, !readonly);
	if (why)
		wrong("an image opens, but %s", why);
	if (!readonly)
		memory_files_watch(watch_data);
}

/* What a read has given, or that it failed, beside the file itself. */
static void model_compare(struct run *r, int result, u64 sector, u64 count)
{
	struct qcow2_model m;
	bool sure = true;

	if (!r->modelled || !r->settled || memory_files_failed() || qcow2_model_load(&m, 0, false))
		return;
	for (u64 i = 0; i < count; i++) {
		enum qcow2_model_says says =
			qcow2_model_sector(&m, QCOW2_MODEL_L1, sector + i, r->want);

		if (says == QCOW2_SAYS_ERROR && !result)
			wrong("sector %llu can be read, but its tables are damaged",
			      (unsigned long long)(sector + i));
		if (says == QCOW2_SAYS_PARENT && !m.backing) {
			memset(r->want, 0, BLOCK_SECTOR);
			says = QCOW2_SAYS_DATA;
		}
		sure &= says == QCOW2_SAYS_DATA;
		if (says == QCOW2_SAYS_DATA && !result &&
		    memcmp(r->buf + i * BLOCK_SECTOR, r->want, BLOCK_SECTOR))
			wrong("sector %llu does not read as the file has it",
			      (unsigned long long)(sector + i));
	}
	if (sure && result)
		wrong("sectors from %llu on cannot be read: %s", (unsigned long long)sector,
		      strerror(-result));
}

static void model_snapshots(struct run *r, bool first)
{
	struct qcow2_model m;
	u64 sum = 0;

	if (!r->modelled || !r->snapshots_kept || qcow2_model_load(&m, 0, false) || !m.snapshots)
		return;
	for (unsigned n = 0; n < m.snapshots; n++)
		sum = sum * 31 + qcow2_model_sum(&m, QCOW2_MODEL_SNAPSHOT_L1 + n);
	if (!first && sum != r->snapshots)
		wrong("what a snapshot holds has changed");
	r->snapshots = sum;
}

/* A sum of the disk as the file has it, for a repair not to change it; 0: nothing is known. */
static u64 model_disk(struct run *r)
{
	struct qcow2_model m;

	if (r->block->ops != &block_qcow2 || r->readonly || block_flush_now(r->block) ||
	    memory_files_failed() || qcow2_model_load(&m, 0, false))
		return 0;
	return qcow2_model_sum(&m, QCOW2_MODEL_L1);
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
	} else if (!repair && !memory_files_failed()) {
		model_opened(r, readonly);
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
	u64 before = model_disk(r), after;
	int result = check(r, &c, true);

	r->settled = false;
	r->snapshots_kept = false;

	r->whole = false;
	if (result)
		return;
	if (c.repaired > c.leaks + c.errors)
		wrong("%llu findings, %llu repaired", (unsigned long long)(c.leaks + c.errors),
		      (unsigned long long)c.repaired);
	if (c.repaired < c.leaks + c.errors || memory_files_failed())
		return;
	after = model_disk(r);
	if (before && after != before && !memory_files_failed())
		wrong("a repair has changed the disk");
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
	if (op == BLOCK_READ)
		model_compare(r, req.result, sector, count);
	r->settled = op == BLOCK_FLUSH ? !req.result : r->settled && op == BLOCK_READ;
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
	r->settled = false;
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
	r->settled = false;
	if (result) {
		check_line(err);
	} else { /* another disk shows through when it is opened anew, or none can be */
		r->whole = false;
		r->modelled = false;
	}
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

	if (size < image_start(data, size) || size < IMAGE_HEAD)
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
		r.snapshots_kept = r.whole;
		model_snapshots(&r, true);
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
	model_snapshots(&r, false);
	memory_files_fail(0, 0);
	r.whole = false;
	if (r.repair && open_image(&r, false, true) == 0)
		check_repaired(&r, true);
	if (r.block)
		close_image(&r);
	return 0;
}
