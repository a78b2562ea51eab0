/* What the tests of all formats share: each kind of image on a disk in memory, a guest that works on it at random, and a model of what a read
 * may return once the machine has lost power. */
#ifndef BLOCK_BLOCK_TEST_H
#define BLOCK_BLOCK_TEST_H

#include "base/test.h"
#include "block/block.h"
#include "block/faultfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GUEST_SIZE    (6 * MIB)
#define GUEST_SECTORS (GUEST_SIZE / BLOCK_SECTOR)
#define GUEST_HISTORY 12
#define GUEST_RUN     (96 * KIB) /* the largest request, bytes */

struct image_kind {
	const char *name, *format, *variant;
	u32 cluster_size;
	bool child;
};

static const struct image_kind image_kinds[] = {
	{ "raw", "raw", NULL, 0, false },
	{ "vhd fixed", "vhd", "fixed", 0, false },
	{ "vhd dynamic", "vhd", "dynamic", 0, false },
	{ "vhd dynamic, small blocks", "vhd", "dynamic", 4096, false },
	{ "vhd differencing", "vhd", NULL, 0, true },
	{ "vhd differencing, small blocks", "vhd", NULL, 16384, true },
	{ "qcow2", "qcow2", NULL, 0, false },
	{ "qcow2 small clusters", "qcow2", NULL, 4096, false },
	{ "qcow2 backing", "qcow2", NULL, 0, true },
};

/* --- Images --------------------------------------------------------------------------------- */

struct image {
	const struct image_kind *kind;
	const struct block_ops *ops;
	char dir[64], path[96], base[96];
};

/* Each sector says which one it is and which write made it; version 0 is zeros. */
static inline void sector_fill(u8 *buf, u64 sector, u32 version)
{
	u64 rng = (sector << 32 | version) + 1, head[2] = { sector, version };

	memset(buf, 0, BLOCK_SECTOR);
	if (!version)
		return;
	memcpy(buf, head, sizeof(head));
	for (unsigned n = sizeof(head); n < BLOCK_SECTOR; n += 8) {
		u64 word = fault_random(&rng);

		memcpy(buf + n, &word, 8);
	}
}

/* Which version of its own contents a sector holds; UINT32_MAX: none, somebody else's bytes, or a mixture. */
static inline u32 sector_version(const u8 *buf, u64 sector)
{
	static const u8 zeros[BLOCK_SECTOR];
	u8 want[BLOCK_SECTOR];
	u64 head[2];

	if (!memcmp(buf, zeros, BLOCK_SECTOR))
		return 0;
	memcpy(head, buf, sizeof(head));
	if (head[0] != sector || !head[1] || head[1] >= UINT32_MAX)
		return UINT32_MAX;
	sector_fill(want, sector, (u32)head[1]);
	return memcmp(buf, want, BLOCK_SECTOR) ? UINT32_MAX : (u32)head[1];
}

/* What lies below a child: version 1 in the first half of each MiB, zeros in the second. */
static inline u32 base_version(const struct image *image, u64 sector)
{
	return image->kind->child && sector % 2048 < 1024;
}

static inline void image_make_base(struct image *image)
{
	struct block_create c = { .path = image->base,
				  .format = image->kind->format,
				  .size = GUEST_SIZE };
	struct block_options o = { .path = image->base, .format = image->kind->format };
	struct block *block;
	u8 buf[BLOCK_SECTOR];
	char err[512];

	if (block_create(&c, err, sizeof(err)) || block_open(&block, &o, err, sizeof(err)))
		fail_msg("%s", err);
	for (u64 s = 0; s < GUEST_SECTORS; s++) {
		sector_fill(buf, s, base_version(image, s));
		if (base_version(image, s))
			assert_int_equal(block_write_now(block, buf, sizeof(buf), s * BLOCK_SECTOR),
					 0);
	}
	block_close(block);
}

/* False: this format does not exist. */
static inline bool image_init(struct image *image, const struct image_kind *kind)
{
	*image = (struct image){ .kind = kind, .ops = block_format_find(kind->format) };
	if (!image->ops)
		return false;
	strcpy(image->dir, "/tmp/pogo-image-XXXXXX");
	assert_non_null(mkdtemp(image->dir));
	snprintf(image->path, sizeof(image->path), "%s/child", image->dir);
	snprintf(image->base, sizeof(image->base), "%s/base", image->dir);
	if (kind->child)
		image_make_base(image);
	return true;
}

static inline void image_fini(struct image *image)
{
	unlink(image->base);
	rmdir(image->dir);
}

/* 0 or what the format says; *block is NULL then. */
static inline int image_open(const struct image *image, struct fault_disk *disk, bool readonly,
			     struct block **block, char *err, size_t errlen)
{
	struct block_options o = { .path = image->path,
				   .format = image->kind->format,
				   .readonly = readonly,
				   .backing = BLOCK_BACKING_ANY };
	struct block_file *file = fault_disk_open(disk, image->path, readonly);
	int r;

	*block = NULL;
	assert_non_null(file);
	err[0] = 0;
	r = image->ops->open(block, file, &o, err, errlen);
	if (r)
		block_file_close(file);
	else
		(*block)->readonly = readonly;
	return r;
}

/* An empty image. */
static inline int image_create(const struct image *image, struct fault_disk *disk, char *err,
			       size_t errlen)
{
	struct block_create c = { .path = image->path,
				  .format = image->kind->format,
				  .variant = image->kind->variant,
				  .cluster_size = image->kind->cluster_size,
				  .size = GUEST_SIZE };
	struct block_options below = { .path = image->base,
				       .format = image->kind->format,
				       .readonly = true };
	struct block_file *file = fault_disk_open(disk, image->path, false);
	struct block *parent = NULL;
	int r;

	assert_non_null(file);
	if (image->kind->child) {
		c.parent = "base";
		c.parent_format = image->kind->format;
		if (block_open(&parent, &below, err, errlen))
			fail_msg("%s", err);
	}
	r = image->ops->create(file, &c, parent, err, errlen);
	if (!r)
		r = block_file_flush(file);
	block_close(parent);
	block_file_close(file);
	return r;
}

/* --- The guest and its model ---------------------------------------------------------------- */

#define VERSION_ANY UINT32_MAX /* after a discard or a failed write: whatever it ever was */

/* The versions that a sector may have now, oldest first: the one that is certainly on the medium, and all since. */
struct sector_model {
	u32 may[GUEST_HISTORY];
	u8 count;
};

struct guest {
	const struct image *image;
	struct sector_model *sectors;
	u32 version; /* of the last write */
	u64 rng;
	u8 buf[GUEST_RUN];
};

static inline void guest_init(struct guest *g, const struct image *image, u64 seed)
{
	g->image = image;
	g->sectors = calloc(GUEST_SECTORS, sizeof(*g->sectors));
	assert_non_null(g->sectors);
	g->version = 1;
	g->rng = seed * 2 + 1;
	for (u64 s = 0; s < GUEST_SECTORS; s++) {
		g->sectors[s].may[0] = base_version(image, s);
		g->sectors[s].count = 1;
	}
}

static inline void guest_fini(struct guest *g) { free(g->sectors); }

static inline void may_add(struct sector_model *m, u32 version)
{
	if (m->count == GUEST_HISTORY) {
		m->may[0] = VERSION_ANY;
		m->count--;
	}
	m->may[m->count++] = version;
}

static inline void may_settle(struct sector_model *m, u32 version)
{
	m->may[0] = version;
	m->count = 1;
}

/* Before a request is made: what it writes may be there from now on. */
static inline void guest_before(struct guest *g, const struct block_req *req)
{
	u64 from = req->offset / BLOCK_SECTOR, to = from + req->size / BLOCK_SECTOR;

	for (u64 s = from; s < to; s++) {
		if (req->op == BLOCK_WRITE)
			may_add(&g->sectors[s], g->version);
		else if (req->op == BLOCK_WRITE_ZEROES)
			may_add(&g->sectors[s], 0);
		else if (req->op == BLOCK_DISCARD)
			may_add(&g->sectors[s], VERSION_ANY);
	}
}

/* After it: what is certain now. */
static inline void guest_after(struct guest *g, const struct block_req *req)
{
	u64 from = req->offset / BLOCK_SECTOR, to = from + req->size / BLOCK_SECTOR;

	if (req->op == BLOCK_FLUSH && !req->result) {
		for (u64 s = 0; s < GUEST_SECTORS; s++)
			may_settle(&g->sectors[s], g->sectors[s].may[g->sectors[s].count - 1]);
	} else if (req->result && req->op != BLOCK_READ) {
		for (u64 s = from; s < to; s++)
			may_add(&g->sectors[s], VERSION_ANY);
	} else if (req->op == BLOCK_WRITE && req->fua) {
		for (u64 s = from; s < to; s++)
			may_settle(&g->sectors[s], g->version);
	}
}

/* Whether a sector may read so: after a cut, or (now) to a guest that is still running. */
static inline bool guest_allows(const struct guest *g, u64 sector, const u8 *contents, bool now)
{
	const struct sector_model *m = &g->sectors[sector];
	u32 version = sector_version(contents, sector);

	if (version == UINT32_MAX || version > g->version)
		return false;
	for (unsigned n = now ? m->count - 1u : 0; n < m->count; n++)
		if (m->may[n] == version || m->may[n] == VERSION_ANY)
			return true;
	return false;
}

/* Reads all that lies in [from, to), sectors, and names the first one that is wrong. */
static inline bool guest_verify(const struct guest *g, struct block *block, u64 from, u64 to,
				bool now, char *err, size_t errlen)
{
	static u8 buf[GUEST_RUN];

	for (u64 s = from; s < to; s += GUEST_RUN / BLOCK_SECTOR) {
		u64 n = MIN(to - s, GUEST_RUN / BLOCK_SECTOR);
		int r = block_read_now(block, buf, n * BLOCK_SECTOR, s * BLOCK_SECTOR);

		if (r) {
			snprintf(err, errlen, "sector %llu: read: %s", (unsigned long long)s,
				 strerror(-r));
			return false;
		}
		for (u64 i = 0; i < n; i++) {
			const struct sector_model *m = &g->sectors[s + i];

			if (guest_allows(g, s + i, buf + i * BLOCK_SECTOR, now))
				continue;
			snprintf(
				err, errlen,
				"sector %llu holds version %d; certain was %d, then %u more up to %d",
				(unsigned long long)(s + i),
				(int)sector_version(buf + i * BLOCK_SECTOR, s + i), (int)m->may[0],
				m->count - 1u, (int)m->may[m->count - 1]);
			return false;
		}
	}
	return true;
}

static inline void guest_request_done(struct block_req *req) { ++*(unsigned *)req->opaque; }

/* What the guest does next: mostly writes, in a few places rather than all over the disk. */
static inline void guest_choose(struct guest *g, struct block_req *req)
{
	u64 what = fault_random(&g->rng) % 100, where = fault_random(&g->rng),
	    size = fault_random(&g->rng);
	static const u64 sizes[] = { 512, 4 * KIB, 8 * KIB, GUEST_RUN };
	u64 max = sizes[fault_random(&g->rng) % ARRAY_LEN(sizes)];

	*req = (struct block_req){ .buf = g->buf, .done = guest_request_done };
	req->op = what < 65   ? BLOCK_WRITE
		  : what < 75 ? BLOCK_READ
		  : what < 88 ? BLOCK_FLUSH
		  : what < 94 ? BLOCK_DISCARD
			      : BLOCK_WRITE_ZEROES;
	req->fua = req->op == BLOCK_WRITE && what < 5;
	req->unmap = what & 1;
	if (req->op == BLOCK_FLUSH)
		return;
	req->size = (size % (max / BLOCK_SECTOR) + 1) * BLOCK_SECTOR;
	req->offset = where % GUEST_SECTORS * BLOCK_SECTOR;
	if (where >> 40 & 1) /* near the start of a MiB */
		req->offset = (req->offset & ~(MIB - 1)) |
			      (req->offset & (16 * KIB - BLOCK_SECTOR));
	req->size = MIN(req->size, GUEST_SIZE - req->offset);
}

/* The next request, as the model has it from the moment that it is made. */
static inline void guest_next(struct guest *g, struct block_req *req)
{
	guest_choose(g, req);
	if (req->op == BLOCK_WRITE) {
		g->version++;
		for (u64 at = 0; at < req->size; at += BLOCK_SECTOR)
			sector_fill(g->buf + at, (req->offset + at) / BLOCK_SECTOR, g->version);
	}
	guest_before(g, req);
}

/* One request, with what it does to the model; a read must show what was written last. Returns the request's result. */
static inline int guest_step(struct guest *g, struct block *block)
{
	struct block_req req;
	unsigned done = 0;

	guest_next(g, &req);
	req.opaque = &done;
	block_submit(block, &req);
	block_retry(block); /* if it waits, see block_on_error */
	block_drain(block);
	assert_int_equal(done, 1);
	guest_after(g, &req);
	for (u64 at = 0; req.op == BLOCK_READ && !req.result && at < req.size; at += BLOCK_SECTOR)
		if (!guest_allows(g, (req.offset + at) / BLOCK_SECTOR, g->buf + at, true))
			fail_msg("%s: while it runs: sector %llu holds version %d",
				 g->image->kind->name,
				 (unsigned long long)(req.offset + at) / BLOCK_SECTOR,
				 (int)sector_version(g->buf + at,
						     (req.offset + at) / BLOCK_SECTOR));
	return req.result;
}

#endif
