/* Refcounts of qcow2 images, and what follows from them: which clusters are free. */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>

#define FREED_MAX       16384u
#define CLUSTERS_MAX(q) (1ull << (56 - (q)->cluster_bits)) /* links have 56 bits */

/* Counts in one refcount block. */
static unsigned block_bits(const struct qcow2 *q)
{
	return q->cluster_bits + 3 - q->refcount_order;
}

static u64 block_count(const struct qcow2 *q) { return 1ull << block_bits(q); }

static u64 entry_get(const u8 *data, u64 i, unsigned order)
{
	unsigned bits = 1u << order;

	if (order >= 3)
		return be_load(data + i * (bits / 8), bits / 8);
	return data[i >> (3 - order)] >> (i << order & 7) & ((1u << bits) - 1);
}

static void entry_set(u8 *data, u64 i, unsigned order, u64 count)
{
	unsigned bits = 1u << order, shift = (unsigned)(i << order & 7);
	u8 *byte = data + (i >> (3 - MIN(order, 3)));

	if (order >= 3)
		be_store(data + i * (bits / 8), count, bits / 8);
	else
		*byte = (u8)((*byte & ~(((1u << bits) - 1) << shift)) | count << shift);
}

/* The refcount block of an entry of the refcount table that is not 0. */
static int block_load(struct qcow2 *q, u64 index, struct qcow2_table **t)
{
	return qcow2_cache_load(q, &q->refblocks, q->reftable[index], t);
}

int qcow2_ref_get(struct qcow2 *q, u64 cluster, u64 *count)
{
	u64 index = cluster >> block_bits(q);
	struct qcow2_table *t;
	int r;

	*count = 0;
	if (index >= q->reftable_size || q->reftable[index] == 0)
		return 0;
	r = block_load(q, index, &t);
	if (!r)
		*count = entry_get(t->data, cluster & (block_count(q) - 1), q->refcount_order);
	return r;
}

static void put(struct qcow2 *q, struct qcow2_table *t, u64 cluster, u64 count)
{
	u64 i = cluster & (block_count(q) - 1);

	entry_set(t->data, i, q->refcount_order, count);
	qcow2_cache_mark(&q->refblocks, t, (u32)(i << q->refcount_order >> 3),
			 MAX(1u << q->refcount_order >> 3, 1u));
}

/* --- The refcount table grows ----------------------------------------------------------------- */

static int table_resize(struct qcow2 *q, u32 entries)
{
	u64 *table = realloc(q->reftable, entries * sizeof(*table));
	u8 *full;

	if (!table)
		return -ENOMEM;
	q->reftable = table;
	full = realloc(q->full, entries);
	if (!full)
		return -ENOMEM;
	q->full = full;
	if (entries > q->reftable_size) {
		memset(table + q->reftable_size, 0, (entries - q->reftable_size) * sizeof(*table));
		memset(full + q->reftable_size, 0, entries - q->reftable_size);
	}
	q->reftable_size = entries;
	return 0;
}

/* How many entries the refcount table needs for `index`, for the file as it is, and for itself behind that. */
static u64 table_entries(const struct qcow2 *q, u64 index)
{
	u32 per_cluster = q->cluster_size / 8, was = q->reftable_size;
	u64 file = MAX(q->block.file->size, q->used_end) >> q->cluster_bits,
	    end = MAX(file, MAX(q->free_hint, q->alloc_floor)) >> block_bits(q),
	    entries = MAX(MAX(index, end) + 1, was + was / 2);

	entries += entries / per_cluster / (block_count(q) - 1) + 3 * (u64)per_cluster;
	return MIN(align_up(entries, per_cluster), QCOW2_REFTABLE_MAX / 8);
}

/* What failed to get a place is as it was: no entry is written behind the table that there is. */
static void table_shrink(struct qcow2 *q, u32 entries)
{
	q->reftable_size = entries;
	q->reftable_dirty_to = MIN(q->reftable_dirty_to, entries);
	q->reftable_dirty_from = MIN(q->reftable_dirty_from, q->reftable_dirty_to);
}

/* Moves the refcount table to where it has room for `index`, and for what it takes itself. */
static int table_grow(struct qcow2 *q, u64 index)
{
	u32 per_cluster = q->cluster_size / 8, was = q->reftable_size;
	u64 entries = table_entries(q, index), first, got, old;
	int r;

	if (index >= entries || q->reftable_growing)
		return -ENOSPC;
	r = table_resize(q, (u32)entries);
	if (r)
		return r;
	q->reftable_growing = true;
	r = qcow2_alloc(q, entries / per_cluster, true, &first, &got);
	q->reftable_growing = false;
	if (r) {
		table_shrink(q, was);
		return r;
	}
	old = q->reftable_offset >> q->cluster_bits;
	q->reftable_offset = first << q->cluster_bits;
	q->reftable_moved = true;
	qcow2_header_update(q);
	r = qcow2_reserve(q);
	qcow2_free_later(q, old, was / per_cluster);
	return r;
}

static void table_set(struct qcow2 *q, u32 index, u64 offset)
{
	q->reftable[index] = offset;
	if (q->reftable_dirty_from == q->reftable_dirty_to) {
		q->reftable_dirty_from = index;
		q->reftable_dirty_to = index + 1;
	}
	q->reftable_dirty_from = MIN(q->reftable_dirty_from, index);
	q->reftable_dirty_to = MAX(q->reftable_dirty_to, index + 1);
}

static int by_value(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

u64 *qcow2_refblocks(const struct qcow2 *q, u32 *count)
{
	u64 *blocks = malloc(MAX(q->reftable_size, 1u) * sizeof(*blocks));

	*count = 0;
	if (!blocks)
		return NULL;
	for (u32 i = 0; i < q->reftable_size; i++)
		if (q->reftable[i])
			blocks[(*count)++] = q->reftable[i];
	qsort(blocks, *count, sizeof(*blocks), by_value);
	return blocks;
}

void qcow2_ref_forget(struct qcow2 *q, u32 index) { table_set(q, index, 0); }

/* Makes the block of counts that are all 0 so far. It lies among the clusters that it counts, which are free; unless the image is
 * damaged or being repaired. */
static int block_make(struct qcow2 *q, u64 index)
{
	u64 first = index << block_bits(q), end = first + block_count(q), cluster, got;
	struct qcow2_table *t;
	int r;

	cluster = MAX(first, q->alloc_floor);
	while (cluster < end && qcow2_guarded(q, cluster << q->cluster_bits, q->cluster_size))
		cluster++;
	if (cluster >= end && q->alloc_floor < end)
		return -EIO; /* tables all over clusters that are said to be free */
	if (cluster >= end) {
		r = qcow2_alloc(q, 1, true, &cluster, &got);
		if (r)
			return r;
	}
	r = qcow2_cache_add(q, &q->refblocks, cluster << q->cluster_bits, &t);
	if (r)
		return r;
	memset(t->data, 0, q->cluster_size);
	qcow2_cache_mark(&q->refblocks, t, 0, q->cluster_size);
	if (cluster >= first && cluster < end)
		put(q, t, cluster, 1);
	table_set(q, (u32)index, cluster << q->cluster_bits);
	q->full[index] = 0;
	q->used_end = MAX(q->used_end, (cluster + 1) << q->cluster_bits);
	return 0;
}

/* The block that counts a cluster. */
static int block_get(struct qcow2 *q, u64 cluster, struct qcow2_table **t)
{
	u64 index = cluster >> block_bits(q);
	int r = 0;

	if (cluster >= CLUSTERS_MAX(q))
		return -ENOSPC;
	if (index >= q->reftable_size)
		r = table_grow(q, index);
	if (!r && q->reftable[index] == 0)
		r = block_make(q, index);
	return r ? r : block_load(q, index, t);
}

int qcow2_ref_set(struct qcow2 *q, u64 cluster, u64 count)
{
	struct qcow2_table *t;
	int r = block_get(q, cluster, &t);

	if (r)
		return r;
	if (count > qcow2_refcount_max(q))
		return -ERANGE;
	put(q, t, cluster, count);
	if (count == 0) {
		q->full[cluster >> block_bits(q)] = 0;
		q->free_hint = MIN(q->free_hint, cluster);
	}
	return 0;
}

/* --- Free clusters ---------------------------------------------------------------------------- */

bool qcow2_guarded(struct qcow2 *q, u64 offset, u64 size)
{
	u64 first = align_down(offset, q->cluster_size);
	u32 low = 0, high = q->reserved_count;

	while (low < high) { /* the first area that ends behind offset */
		u32 middle = low + (high - low) / 2;

		if (q->reserved[middle].end > offset)
			high = middle;
		else
			low = middle + 1;
	}
	if (low < q->reserved_count && q->reserved[low].start < offset + size)
		return true;
	for (u64 at = first; at < offset + size; at += q->cluster_size)
		if (qcow2_cache_find(&q->l2, at) || qcow2_cache_find(&q->refblocks, at))
			return true;
	return false;
}

/* Looks on from *cluster for the first run of `want` free ones, or of fewer unless exact, that lies within the clusters of one refcount
 * block; that block is there afterwards. */
static int find_run(struct qcow2 *q, u64 *cluster, u64 want, bool exact, u64 *got)
{
	u64 at = *cluster, run = 0;

	for (;;) {
		u64 index = at >> block_bits(q), end = (index + 1) << block_bits(q);
		bool from_start = at == index << block_bits(q);
		struct qcow2_table *t;
		int r;

		run = 0;
		if (index < q->reftable_size && q->reftable[index] && q->full[index]) {
			at = end;
			continue;
		}
		r = block_get(q, at, &t);
		if (r)
			return r;
		for (bool none = true; at < end; at++) {
			if (entry_get(t->data, at & (block_count(q) - 1), q->refcount_order) ||
			    qcow2_guarded(q, at << q->cluster_bits, q->cluster_size)) {
				if (run && !exact)
					break;
				run = 0;
			} else {
				none = false;
				if (++run == want)
					break;
			}
			if (at + 1 == end && none && from_start)
				q->full[index] = 1;
		}
		if (run == want || (run && !exact)) {
			*cluster = run == want ? at + 1 - run : at - run;
			*got = run;
			return 0;
		}
	}
}

/* Many clusters for a table, behind all others, with the refcount blocks for them in front. */
static int find_large(struct qcow2 *q, u64 want, u64 *cluster)
{
	u64 index = q->reftable_size, blocks, first;
	int r = 0;

	while (index > 0 && q->reftable[index - 1] == 0)
		index--;
	first = MAX(align_up(q->block.file->size, q->cluster_size), q->used_end) >> q->cluster_bits;
	index = MAX(index, (first + block_count(q) - 1) >> block_bits(q));
	/* Each new block counts itself and those of the ones behind it. */
	blocks = (want + block_count(q) - 2) / (block_count(q) - 1) + 1;
	if (index + blocks > q->reftable_size)
		r = table_grow(q, index + blocks);
	first = index << block_bits(q);
	for (u64 i = 0; i < blocks && !r; i++) {
		struct qcow2_table *t;

		if (q->reftable[index + i])
			return -EAGAIN; /* taken as the table grew */
		/* Of an attempt that failed. */
		qcow2_cache_drop(&q->refblocks, (first + i) << q->cluster_bits);
		r = qcow2_cache_add(q, &q->refblocks, (first + i) << q->cluster_bits, &t);
		if (r)
			break;
		memset(t->data, 0, q->cluster_size);
		qcow2_cache_mark(&q->refblocks, t, 0, q->cluster_size);
		table_set(q, (u32)(index + i), (first + i) << q->cluster_bits);
		q->full[index + i] = 0;
		r = qcow2_ref_set(q, first + i, 1);
	}
	*cluster = first + blocks;
	return r;
}

int qcow2_alloc(struct qcow2 *q, u64 want, bool exact, u64 *first, u64 *got)
{
	int r;

	*first = MAX(q->free_hint, q->alloc_floor);
	*got = want;
	if (exact && want > block_count(q) / 2) {
		r = -EAGAIN;
		for (unsigned tries = 0; tries < 4 && r == -EAGAIN; tries++)
			r = find_large(q, want, first);
	} else {
		r = find_run(q, first, want, exact, got);
	}
	for (u64 i = 0; i < *got && !r; i++) {
		r = qcow2_ref_set(q, *first + i, 1);
		if (r)
			qcow2_unalloc(q, *first, i);
	}
	if (r)
		return r;
	if (!exact || want == 1)
		q->free_hint = *first + *got; /* none below was free */
	q->used_end = MAX(q->used_end, (*first + *got) << q->cluster_bits);
	return 0;
}

void qcow2_unalloc(struct qcow2 *q, u64 first, u64 count)
{
	/* A count that cannot be changed leaks a cluster. */
	for (u64 i = 0; i < count; i++)
		if (qcow2_ref_set(q, first + i, 0))
			return;
}

void qcow2_free_later(struct qcow2 *q, u64 first, u64 count)
{
	struct qcow2_extent *last = q->freed_count ? &q->freed[q->freed_count - 1] : NULL;

	if (last && last->first + last->count == first) {
		last->count += count;
		return;
	}
	if (!q->freed)
		q->freed = calloc(FREED_MAX, sizeof(*q->freed));
	if (!q->freed)
		return; /* leaked, until a check */
	if (q->freed_count == FREED_MAX && (q->committing || qcow2_commit(q)))
		return;
	q->freed[q->freed_count++] = (struct qcow2_extent){ first, count };
}

/* One reference less; whether that was the last. */
static bool drop_one(struct qcow2 *q, u64 cluster)
{
	u64 count, offset = cluster << q->cluster_bits;

	if (qcow2_ref_get(q, cluster, &count) || count == 0 ||
	    qcow2_ref_set(q, cluster, count - 1) || count != 1)
		return false;
	qcow2_cache_drop(&q->l2, offset);
	return !qcow2_guarded(q, offset, q->cluster_size);
}

static void punch(struct qcow2 *q, u64 first, u64 count)
{
	struct block_file *f = q->block.file;
	u64 start = first << q->cluster_bits, end = (first + count) << q->cluster_bits;

	end = MIN(end, f->size);
	if (start < end)
		(void)!f->ops->punch(f, start, end - start); /* room on the host, no more */
}

void qcow2_free_now(struct qcow2 *q)
{
	u32 extents = q->freed_count;

	q->freed_count = 0; /* what follows frees nothing */
	for (u32 i = 0; i < extents; i++) {
		u64 first = q->freed[i].first, run = 0;

		for (u64 n = 0; n < q->freed[i].count; n++) {
			if (drop_one(q, first + n)) {
				run++;
				continue;
			}
			punch(q, first + n - run, run);
			run = 0;
		}
		punch(q, first + q->freed[i].count - run, run);
	}
}
