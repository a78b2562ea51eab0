/* L1 and L2 tables of qcow2 images: where clusters of the disk lie, and how changes reach the file. */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>

#define RESERVED_BITS 0x3f000000000001feull /* of an L2 entry */

enum qcow2_kind qcow2_kind(const struct qcow2 *q, u64 entry)
{
	u64 host = entry & QCOW2_OFFSET;
	bool zero = entry & QCOW2_ZERO;

	if (entry & QCOW2_COMPRESSED)
		return QCOW2_K_PACKED;
	if (host % q->cluster_size || (entry & RESERVED_BITS) || (zero && q->version < 3))
		return QCOW2_K_BAD;
	if (host == 0)
		return entry & QCOW2_COPIED ? QCOW2_K_BAD : zero ? QCOW2_K_ZERO : QCOW2_K_NONE;
	return zero ? QCOW2_K_RESERVED : QCOW2_K_DATA;
}

void qcow2_packed(const struct qcow2 *q, u64 entry, u64 *offset, u64 *size)
{
	unsigned x = 62 - (q->cluster_bits - 8);

	*offset = entry & ((1ull << x) - 1);
	*size = (((entry & ~QCOW2_COPIED & ~QCOW2_COMPRESSED) >> x) + 1) * BLOCK_SECTOR -
		*offset % BLOCK_SECTOR;
}

/* --- Tables ----------------------------------------------------------------------------------- */

int qcow2_l2_read(struct qcow2 *q, u64 l1_index, struct qcow2_table **t)
{
	u64 offset = l1_index < q->l1_size ? q->l1[l1_index] & QCOW2_OFFSET : 0;

	*t = NULL;
	return offset ? qcow2_cache_load(q, &q->l2, offset, t) : 0;
}

int qcow2_own(struct qcow2 *q, u64 entry, bool *own)
{
	u64 count;
	int r;

	*own = entry & QCOW2_COPIED;
	if (!*own || q->snapshots == 0)
		return 0;
	/* What a snapshot has is worth more than the word of one bit. */
	r = qcow2_ref_get(q, (entry & QCOW2_OFFSET) >> q->cluster_bits, &count);
	*own = count == 1;
	return r;
}

void qcow2_l1_set(struct qcow2 *q, u32 index, u64 entry)
{
	q->l1[index] = entry;
	if (q->l1_dirty_from == q->l1_dirty_to) {
		q->l1_dirty_from = index;
		q->l1_dirty_to = index + 1;
	}
	q->l1_dirty_from = MIN(q->l1_dirty_from, index);
	q->l1_dirty_to = MAX(q->l1_dirty_to, index + 1);
}

/* A new table for an L1 entry: empty, or with the contents of the one that it has now. */
static int l2_make(struct qcow2 *q, u64 l1_index, struct qcow2_table **t)
{
	u64 was = q->l1[l1_index] & QCOW2_OFFSET, first, got;
	struct qcow2_table *old;
	int r = qcow2_alloc(q, 1, true, &first, &got);

	if (r)
		return r;
	if (was) {
		r = qcow2_l2_read(q, l1_index, &old);
		if (!r && old)
			memcpy(q->bounce, old->data, q->cluster_size);
	} else {
		memset(q->bounce, 0, q->cluster_size);
	}
	if (!r)
		r = qcow2_cache_add(q, &q->l2, first << q->cluster_bits, t);
	if (r) {
		qcow2_unalloc(q, first, 1);
		return r;
	}
	memcpy((*t)->data, q->bounce, q->cluster_size);
	qcow2_cache_mark(&q->l2, *t, 0, q->cluster_size);
	(*t)->fresh = true;
	qcow2_l1_set(q, (u32)l1_index, first << q->cluster_bits | QCOW2_COPIED);
	if (was)
		qcow2_free_later(q, was >> q->cluster_bits, 1);
	return 0;
}

int qcow2_l2_change(struct qcow2 *q, u64 l1_index, struct qcow2_table **t)
{
	bool own;
	int r;

	if (l1_index >= q->l1_size)
		return -EIO;
	if (q->l1[l1_index] & QCOW2_OFFSET) {
		r = qcow2_own(q, q->l1[l1_index], &own);
		if (r || own)
			return r ? r : qcow2_l2_read(q, l1_index, t);
	}
	return l2_make(q, l1_index, t);
}

static void drop(struct qcow2 *q, u64 entry)
{
	u64 offset = entry & QCOW2_OFFSET, size = q->cluster_size, first;

	switch (qcow2_kind(q, entry)) {
	case QCOW2_K_NONE:
	case QCOW2_K_ZERO:
	case QCOW2_K_BAD: return;
	case QCOW2_K_DATA:
	case QCOW2_K_RESERVED: break;
	case QCOW2_K_PACKED:
		qcow2_packed(q, entry, &offset, &size);
		q->unpacked_entry = 0;
		break;
	}
	if (qcow2_guarded(q, offset, size))
		return; /* the entry names a table, which stays */
	first = offset >> q->cluster_bits;
	qcow2_free_later(q, first, ((offset + size - 1) >> q->cluster_bits) - first + 1);
}

void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *t, u32 index, u64 entry)
{
	u64 was = qcow2_l2_get(t, index);

	if (was == entry)
		return;
	be_store(t->data + 8 * (size_t)index, entry, 8);
	qcow2_cache_mark(&q->l2, t, 8 * index, 8);
	if ((was ^ entry) & (QCOW2_OFFSET | QCOW2_COMPRESSED))
		drop(q, was);
}

int qcow2_map(struct qcow2 *q, u64 offset, u64 size, struct qcow2_run *run)
{
	u64 cluster = offset >> q->cluster_bits, inside = offset & (q->cluster_size - 1), host = 0;
	u32 per_table = 1u << q->l2_bits, index = (u32)(cluster & (per_table - 1)), last;
	struct qcow2_table *t;
	int r = qcow2_l2_read(q, cluster >> q->l2_bits, &t);

	if (r)
		return r;
	last = (u32)MIN((u64)per_table,
			index + ((inside + size + q->cluster_size - 1) >> q->cluster_bits));
	*run = (struct qcow2_run){ .kind = QCOW2_K_NONE };
	if (t) {
		run->entry = qcow2_l2_get(t, index);
		run->kind = qcow2_kind(q, run->entry);
	}
	if (run->kind == QCOW2_K_BAD)
		return -EIO;
	if (run->kind == QCOW2_K_DATA || run->kind == QCOW2_K_RESERVED)
		host = run->entry & QCOW2_OFFSET;
	for (u32 n = 1; index + n < last && t; n++) {
		u64 entry = qcow2_l2_get(t, index + n);

		if (run->kind == QCOW2_K_PACKED || qcow2_kind(q, entry) != run->kind ||
		    ((entry ^ run->entry) & QCOW2_COPIED) ||
		    (host && (entry & QCOW2_OFFSET) != host + ((u64)n << q->cluster_bits)))
			last = index + n;
	}
	run->host = host ? host + inside : 0;
	run->size = MIN(size, ((u64)(last - index) << q->cluster_bits) - inside);
	return 0;
}

/* --- To the file ------------------------------------------------------------------------------ */

int qcow2_file_write(struct qcow2 *q, const void *buf, u64 size, u64 offset)
{
	q->virgin = MAX(q->virgin, offset + size);
	return block_file_write(q->block.file, buf, size, offset);
}

static int flush(struct qcow2 *q)
{
	if (!q->failed)
		q->failed = block_file_flush(q->block.file);
	return q->failed;
}

/* Entries of a table of 64-bit numbers, in the file's byte order, some at a time. */
static int write_numbers(struct qcow2 *q, const u64 *table, u32 from, u32 to, u64 offset)
{
	u8 piece[4096];
	int r = 0;

	while (from < to && !r) {
		u32 n = MIN(to - from, (u32)sizeof(piece) / 8);

		for (u32 i = 0; i < n; i++)
			be_store(piece + 8 * (size_t)i, table[from + i], 8);
		r = qcow2_file_write(q, piece, 8 * (u64)n, offset + 8 * (u64)from);
		from += n;
	}
	return r;
}

/* The refcount table, and an L1 table that has moved, then the header that names their places. */
static int write_roots(struct qcow2 *q)
{
	int r = flush(q);

	if (!r && q->reftable_moved)
		r = write_numbers(q, q->reftable, 0, q->reftable_size, q->reftable_offset);
	else if (!r)
		r = write_numbers(q, q->reftable, q->reftable_dirty_from, q->reftable_dirty_to,
				  q->reftable_offset);
	if (!r && q->l1_moved)
		r = write_numbers(q, q->l1, 0, q->l1_size, q->l1_offset);
	if (!r && q->header_dirty)
		r = flush(q);
	if (!r && q->header_dirty)
		r = qcow2_file_write(q, q->header, sizeof(q->header), 0);
	if (r)
		return r;
	q->reftable_dirty_from = q->reftable_dirty_to = 0;
	q->reftable_moved = q->header_dirty = false;
	if (q->l1_moved)
		q->l1_dirty_from = q->l1_dirty_to = 0;
	q->l1_moved = false;
	return 0;
}

static int write_links(struct qcow2 *q)
{
	int r;

	if (q->l2.dirty == 0 && q->l1_dirty_from == q->l1_dirty_to)
		return 0;
	r = flush(q);
	if (!r)
		r = qcow2_cache_write(q, &q->l2, false);
	if (!r)
		r = write_numbers(q, q->l1, q->l1_dirty_from, q->l1_dirty_to, q->l1_offset);
	if (!r)
		q->l1_dirty_from = q->l1_dirty_to = 0;
	return r;
}

static int commit(struct qcow2 *q)
{
	int r = q->failed;

	if (!r)
		r = qcow2_cache_write(q, &q->refblocks, false);
	if (!r && q->l2.dirty)
		r = qcow2_cache_write(q, &q->l2, true);
	if (!r && (q->reftable_dirty_from != q->reftable_dirty_to || q->reftable_moved ||
		   q->l1_moved || q->header_dirty))
		r = write_roots(q);
	if (!r)
		r = write_links(q);
	return r ? r : flush(q);
}

int qcow2_commit(struct qcow2 *q)
{
	int r;

	if (q->block.file->readonly)
		return 0;
	q->committing = true;
	r = commit(q);
	if (!r) {
		for (u32 i = 0; i < q->l2.used; i++)
			q->l2.tables[i].fresh = false;
		qcow2_free_now(q);
	}
	q->committing = false;
	return r;
}
