/* qcow2 images: opening, requests. */
#include "block/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct qcow2 *to_qcow2(struct block *block) { return (struct qcow2 *)block; }

/* --- Reading ---------------------------------------------------------------------------------- */

static int read_packed(struct qcow2 *q, const struct qcow2_run *run, u8 *buf, u64 offset)
{
	int r = qcow2_unpack(q, run->entry);

	if (!r)
		memcpy(buf, q->unpacked + (offset & (q->cluster_size - 1)), run->size);
	return r;
}

/* offset + size may lie behind the disk's end, in its last cluster. */
static int read_range(struct qcow2 *q, u8 *buf, u64 size, u64 offset)
{
	struct qcow2_run run;
	int r = 0;

	for (; size && !r; buf += run.size, offset += run.size, size -= run.size) {
		r = qcow2_map(q, offset, size, &run);
		if (r)
			return r;
		if (run.kind == QCOW2_K_DATA)
			r = block_file_read(q->block.file, buf, run.size, run.host);
		else if (run.kind == QCOW2_K_PACKED)
			r = read_packed(q, &run, buf, offset);
		else if (run.kind == QCOW2_K_NONE && q->block.parent)
			r = block_read_now(q->block.parent, buf, run.size, offset);
		else
			memset(buf, 0, run.size);
	}
	return r;
}

/* --- Writing ---------------------------------------------------------------------------------- */

/* What a request does to some clusters of one L2 table. */
struct piece {
	struct qcow2_table *table;
	u32 index, count; /* of L2 entries */
	/* Of bytes on the disk; part of the first and last cluster may be left out. */
	u64 offset, size;
	const u8 *buf;
	u64 host; /* of the first cluster */
};

/* Part of a cluster, with what it was around it. */
static int write_part(struct qcow2 *q, u64 host, u64 offset, u64 size, const u8 *buf, bool virgin)
{
	u64 start = align_down(offset, q->cluster_size), before = offset - start;
	struct qcow2_run run;
	int r = qcow2_map(q, start, q->cluster_size, &run);

	if (r)
		return r;
	if (virgin &&
	    (run.kind == QCOW2_K_ZERO || run.kind == QCOW2_K_RESERVED ||
	     (run.kind == QCOW2_K_NONE && (!q->block.parent || start >= q->block.parent->size))))
		return qcow2_file_write(q, buf, size, host + before);
	r = read_range(q, q->bounce, q->cluster_size, start);
	if (r)
		return r;
	memcpy(q->bounce + before, buf, size);
	return qcow2_file_write(q, q->bounce, q->cluster_size, host);
}

/* Fills clusters that no table links yet. */
static int write_new(struct qcow2 *q, const struct piece *p)
{
	bool virgin = p->host >= q->virgin;
	u64 mask = q->cluster_size - 1, offset = p->offset, left = p->size, host = p->host;
	const u8 *buf = p->buf;
	int r = 0;

	if (offset & mask || left < q->cluster_size) {
		u64 n = MIN(left, q->cluster_size - (offset & mask));

		r = write_part(q, host, offset, n, buf, virgin);
		buf += n;
		offset += n;
		left -= n;
		host += q->cluster_size;
	}
	if (!r && left > mask) {
		u64 n = left & ~mask;

		r = qcow2_file_write(q, buf, n, host);
		buf += n;
		offset += n;
		left -= n;
		host += n;
	}
	if (!r && left)
		r = write_part(q, host, offset, left, buf, virgin);
	return r;
}

static void link_clusters(struct qcow2 *q, const struct piece *p)
{
	for (u32 i = 0; i < p->count; i++)
		qcow2_l2_set(q, p->table, p->index + i,
			     (p->host + ((u64)i << q->cluster_bits)) | QCOW2_COPIED);
}

/* How many clusters from the first one on can be written where they are, or (if the first cannot) cannot: *kind says which. */
static int split(struct qcow2 *q, struct piece *p, enum qcow2_kind *kind)
{
	u32 n;

	*kind = QCOW2_K_BAD;
	for (n = 0; n < p->count; n++) {
		u64 entry = qcow2_l2_get(p->table, p->index + n);
		enum qcow2_kind k = qcow2_kind(q, entry);
		bool own = false;
		int r = 0;

		if (k == QCOW2_K_BAD)
			return n ? 0 : -EIO;
		if (k == QCOW2_K_DATA || k == QCOW2_K_RESERVED)
			r = qcow2_own(q, entry, &own);
		if (r)
			return r;
		if (!own)
			k = QCOW2_K_NONE;
		if (n == 0) {
			*kind = k;
			p->host = entry & QCOW2_OFFSET;
		}
		if (k != *kind ||
		    (own && (entry & QCOW2_OFFSET) != p->host + ((u64)n << q->cluster_bits)))
			break;
	}
	p->count = n;
	return 0;
}

static void fit(const struct qcow2 *q, struct piece *p)
{
	u64 inside = p->offset & (q->cluster_size - 1);

	p->size = MIN(p->size, ((u64)p->count << q->cluster_bits) - inside);
}

/* Some of p, from its start; p says how much afterwards. */
static int write_piece(struct qcow2 *q, struct piece *p)
{
	enum qcow2_kind kind;
	u64 first, got;
	int r = split(q, p, &kind);

	if (r)
		return r;
	fit(q, p);
	if (kind != QCOW2_K_NONE && (p->host >= q->block.file->size ||
				     qcow2_guarded(q, p->host, (u64)p->count << q->cluster_bits)))
		return -EIO; /* an entry that names a table, or nothing */
	if (kind == QCOW2_K_DATA)
		return qcow2_file_write(q, p->buf, p->size,
					p->host + (p->offset & (q->cluster_size - 1)));
	if (kind == QCOW2_K_RESERVED) {
		r = write_new(q, p);
		if (!r)
			link_clusters(q, p);
		return r;
	}
	r = qcow2_alloc(q, p->count, false, &first, &got);
	if (r)
		return r;
	p->count = (u32)got;
	p->host = first << q->cluster_bits;
	fit(q, p);
	r = write_new(q, p);
	if (r)
		qcow2_unalloc(q, first, got);
	else
		link_clusters(q, p);
	return r;
}

/* The part of a range that one L2 table maps. */
static void in_table(const struct qcow2 *q, u64 offset, u64 size, struct piece *p)
{
	u64 cluster = offset >> q->cluster_bits, mask = q->cluster_size - 1;
	u64 clusters = ((offset & mask) + size + mask) >> q->cluster_bits;

	p->index = (u32)(cluster & ((1u << q->l2_bits) - 1));
	p->count = (u32)MIN(clusters, (u64)(1u << q->l2_bits) - p->index);
	p->offset = offset;
	p->size = size;
	fit(q, p);
}

static int write_range(struct qcow2 *q, const u8 *buf, u64 size, u64 offset)
{
	struct piece p = { .buf = buf };
	int r = 0;

	for (; size && !r; offset += p.size, size -= p.size, p.buf += p.size) {
		in_table(q, offset, size, &p);
		r = qcow2_l2_change(q, offset >> (q->cluster_bits + q->l2_bits), &p.table);
		if (!r)
			r = write_piece(q, &p);
	}
	return r;
}

/* --- Zeros ------------------------------------------------------------------------------------ */

/* The L2 entry that makes a cluster read as zeros without a cluster in the file; false if there is none. */
static bool zero_entry(const struct qcow2 *q, u64 *entry)
{
	*entry = q->version >= 3 && q->backing[0] ? QCOW2_ZERO : 0;
	return q->version >= 3 || !q->backing[0];
}

/* Whole clusters of one L2 table become zeros. */
static int zero_clusters(struct qcow2 *q, struct piece *p, bool unmap)
{
	u64 l1_index = p->offset >> (q->cluster_bits + q->l2_bits), none;
	int r = qcow2_l2_read(q, l1_index, &p->table);

	if (r || (!p->table && !q->backing[0]))
		return r;
	r = qcow2_l2_change(q, l1_index, &p->table);
	if (r || !zero_entry(q, &none))
		return r;
	for (u32 i = p->index; i < p->index + p->count; i++) {
		u64 entry = qcow2_l2_get(p->table, i);
		enum qcow2_kind kind = qcow2_kind(q, entry);
		bool own = false;

		if (!unmap && q->version >= 3 && kind == QCOW2_K_DATA)
			r = qcow2_own(q, entry, &own);
		if (r || kind == QCOW2_K_BAD)
			return r ? r : -EIO;
		if (own)
			qcow2_l2_set(q, p->table, i, entry | QCOW2_ZERO);
		else if (unmap || kind != QCOW2_K_RESERVED)
			qcow2_l2_set(q, p->table, i, none);
	}
	return 0;
}

/* Zeros where the clusters stay: skips what is zero already. */
static int write_zeros(struct qcow2 *q, u64 size, u64 offset)
{
	static const u8 zeros[64 * KIB];
	struct qcow2_run run;
	int r = 0;

	for (; size && !r; offset += run.size, size -= run.size) {
		r = qcow2_map(q, offset, MIN(size, sizeof(zeros)), &run);
		if (r)
			return r;
		if (run.kind == QCOW2_K_DATA || run.kind == QCOW2_K_PACKED ||
		    (run.kind == QCOW2_K_NONE && q->backing[0]))
			r = write_range(q, zeros, run.size, offset);
	}
	return r;
}

/* The clusters that lie in a range as a whole; the last one of the disk counts as whole. */
static void whole(const struct qcow2 *q, const struct block_req *req, u64 *from, u64 *to)
{
	*from = align_up(req->offset, q->cluster_size);
	*to = req->offset + req->size;
	*to = *to == q->block.size ? align_up(*to, q->cluster_size)
				   : align_down(*to, q->cluster_size);
}

static int serve_zeros(struct qcow2 *q, const struct block_req *req)
{
	bool discard = req->op == BLOCK_DISCARD;
	u64 from, to, entry, end = req->offset + req->size;
	struct piece p;
	int r = 0;

	whole(q, req, &from, &to);
	if (from >= to || !zero_entry(q, &entry))
		return discard ? 0 : write_zeros(q, req->size, req->offset);
	if (!discard)
		r = write_zeros(q, from - req->offset, req->offset);
	for (u64 at = from; at < to && !r; at += p.size) {
		in_table(q, at, to - at, &p);
		r = zero_clusters(q, &p, discard || req->unmap);
	}
	if (!discard && !r && to < end)
		r = write_zeros(q, end - to, to);
	return r;
}

/* --- Operations ------------------------------------------------------------------------------- */

int qcow2_serve(struct qcow2 *q, const struct block_req *req)
{
	int r = 0;

	switch (req->op) {
	case BLOCK_READ: return read_range(q, req->buf, req->size, req->offset);
	case BLOCK_WRITE:
		r = write_range(q, req->buf, req->size, req->offset);
		return r || !req->fua ? r : qcow2_commit(q);
	case BLOCK_FLUSH: return qcow2_commit(q);
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES: return serve_zeros(q, req);
	}
	return -EINVAL;
}

static void qcow2_submit(struct block *block, struct block_req *req)
{
	req->result = qcow2_serve(to_qcow2(block), req);
	block_complete(block, req);
}

/* Everything but the file. */
static void release(struct qcow2 *q)
{
	if (q->block.parent)
		q->block.parent->ops->close(q->block.parent);
	qcow2_cache_free(&q->l2);
	qcow2_cache_free(&q->refblocks);
	free(q->l1);
	free(q->reftable);
	free(q->full);
	free(q->freed);
	free(q->snapshot);
	free(q->reserved);
	free(q->bounce);
	free(q->unpacked);
	free(q->packed);
	free(q);
}

static void qcow2_close(struct block *block)
{
	struct qcow2 *q = to_qcow2(block);
	struct block_file *file = block->file;

	/* The second commit writes the counts of what the first has freed. */
	if (!qcow2_commit(q))
		(void)!qcow2_commit(q);
	release(q);
	block_file_close(file);
}

static int open_parent(struct qcow2 *q, const struct block_options *options, char *err,
		       size_t errlen)
{
	const char *format = q->backing_format[0] ? q->backing_format : NULL;

	if (!q->backing[0])
		return 0;
	return block_open_parent(&q->block.parent, q->block.file, q->backing, format, options, err,
				 errlen);
}

static int clean(struct qcow2 *q, char *err, size_t errlen)
{
	struct block_check c = { 0 };
	int r = 0;

	if (q->incompatible & QCOW2_DIRTY) {
		r = qcow2_check(&q->block, &c, true);
		if (!r && (q->incompatible & QCOW2_DIRTY))
			r = -EIO;
	} else if (q->header_dirty) {
		r = qcow2_commit(q);
	}
	return r ? qcow2_fail(err, errlen, r,
			      "disk '%s': it was not closed, and cannot be put in order: %s; see: "
			      "pogo disk check",
			      q->block.file->path, strerror(-r))
		 : 0;
}

static int qcow2_open(struct block **out, struct block_file *file,
		      const struct block_options *options, char *err, size_t errlen)
{
	bool writable = !options->readonly && !file->readonly;
	struct qcow2 *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return qcow2_fail(err, errlen, -ENOMEM, "disk '%s': out of memory", file->path);
	q->block = (struct block){ .ops = &block_qcow2, .file = file };
	q->virgin = file->size;
	r = qcow2_load(q, writable, options->repair, err, errlen);
	if (!r)
		r = open_parent(q, options, err, errlen);
	if (!r && writable && !options->repair)
		r = clean(q, err, errlen);
	if (r) {
		release(q);
		return r;
	}
	q->block.physical_size = MIN(q->cluster_size, 4096u);
	*out = &q->block;
	return 0;
}

static void qcow2_info(struct block *block, struct block_info *info)
{
	struct qcow2 *q = to_qcow2(block);
	struct qcow2_run run = { .size = 0 };

	info->format = "qcow2";
	info->variant = q->version < 3 ? "v2" : "v3";
	info->size = block->size;
	info->file_size = block->file->size;
	info->cluster_size = q->cluster_size;
	info->dirty = q->incompatible & QCOW2_DIRTY;
	memcpy(info->parent, q->backing, sizeof(q->backing));
	memcpy(info->parent_format, q->backing_format, sizeof(q->backing_format));
	info->allocated = 0;
	for (u64 at = 0; at < block->size; at += run.size) {
		if (qcow2_map(q, at, block->size - at, &run)) {
			run.size = q->cluster_size;
			continue;
		}
		if (run.kind == QCOW2_K_DATA || run.kind == QCOW2_K_PACKED ||
		    run.kind == QCOW2_K_RESERVED)
			info->allocated += run.size;
	}
	snprintf(info->note, sizeof(info->note), "refcounts of %u bits, compression %s%s",
		 1u << q->refcount_order, q->zstd ? "zstd" : "zlib",
		 q->incompatible & QCOW2_CORRUPT ? ", marked as corrupt" : "");
	qcow2_info_snapshots(q, info);
}

static bool qcow2_allocated(struct block *block, u64 offset, u64 *size)
{
	struct qcow2 *q = to_qcow2(block);
	struct qcow2_run run;

	if (qcow2_map(q, offset, *size, &run))
		return true; /* reading it says what is wrong */
	*size = run.size;
	if (run.kind == QCOW2_K_ZERO || run.kind == QCOW2_K_RESERVED)
		return q->backing[0]; /* zeros that hide what the parent has */
	return run.kind != QCOW2_K_NONE;
}

const struct block_ops block_qcow2 = {
	.name = "qcow2",
	.help = "grows as it is written; snapshots, compression, a parent",
	.probe = qcow2_probe,
	.open = qcow2_open,
	.create = qcow2_create,
	.submit = qcow2_submit,
	.close = qcow2_close,
	.check = qcow2_check,
	.info = qcow2_info,
	.resize = qcow2_resize,
	.set_parent = qcow2_set_parent,
	.allocated = qcow2_allocated,
};
