/* Checks of qcow2 images: every reference to a cluster is counted and compared with the refcounts, and repairs of these. */
#include "block/qcow2.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW \
	(16 *  \
	 MIB) /* clusters that are counted at once; a larger file is gone through several times */
#define CLUSTERS_MAX  (1ull << 32)
#define GROWTH_MAX    20000u /* clusters of a refcount table, and the blocks that count them */
#define GRANULE       65536u /* clusters; those that nothing refers to, and no refcount, cost no time */
#define BITMAPS_MAX   65535u
#define REPAIR_PASSES 4u

/* What a cluster is used for. Tables belong to one thing alone. */
enum use { USE_NONE, USE_DATA, USE_L2, USE_TABLE };

/* Snapshots that share large tables could keep a check busy for days; images that are used stay far below. */
#define WORK_MAX (1ull << 34)

static const char *const use_names[] = { "nothing", "data", "an L2 table", "a table" };

struct scan {
	struct qcow2 *q;
	struct block_check *check;
	bool repair, quiet, active; /* the last: the active L1 table is gone through */
	u64 clusters;     /* of the file, and one: the last cluster's end need not be there */
	u64 first, count; /* of the window */
	u16 *counts;      /* stays at its maximum */
	u8 *uses;
	u8 *touched; /* by granule of the file, not of the window: something refers to it, or it has refcounts */
	u64 overlaps; /* and what would become one by a repair */
	u64 work;     /* entries of tables gone through in this window */
	u8 *table;    /* a cluster */
};

static void printf_like(3, 4) found(struct scan *s, u64 *counter, const char *format, ...)
{
	char line[256];
	va_list args;

	if (s->quiet)
		return;
	++*counter;
	if (!s->check->report)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	s->check->report(s->check->opaque, line);
}

/* Findings that do not depend on the window are made in the first one. */
#define FOUND_ONCE(s, ...)                                          \
	do {                                                        \
		if ((s)->first == 0)                                \
			found(s, &(s)->check->errors, __VA_ARGS__); \
	} while (0)

static void count_one(struct scan *s, u64 cluster, enum use use)
{
	u64 i = cluster - s->first;

	if (cluster < s->first || i >= s->count)
		return;
	if (s->uses[i] != USE_NONE && (s->uses[i] != use || use == USE_TABLE)) {
		found(s, &s->check->errors, "the cluster at %#llx is %s and %s",
		      (unsigned long long)(cluster << s->q->cluster_bits), use_names[s->uses[i]],
		      use_names[use]);
		s->overlaps++;
	}
	s->uses[i] = MAX(s->uses[i], (u8)use);
	s->counts[i] += s->counts[i] != UINT16_MAX;
}

static void touch(struct scan *s, u64 first, u64 end)
{
	end = MIN(end, s->clusters);
	for (u64 c = align_down(first, GRANULE); c < end; c += GRANULE)
		s->touched[c / GRANULE] = 1;
}

/* A reference to what the file does not have. A repair makes the file longer, and what is lost would seem to be there, or a new table would
 * lie in it; it never makes it twice as long. */
static void count_lost(struct scan *s, u64 cluster)
{
	s->overlaps += cluster < 2 * s->clusters + GROWTH_MAX;
}

static void tell_lost(struct scan *s, u64 offset, enum use use)
{
	FOUND_ONCE(s, "%s at %#llx lies behind the end of the file", use_names[use],
		   (unsigned long long)offset);
	count_lost(s, offset >> s->q->cluster_bits);
}

static void count_range(struct scan *s, u64 offset, u64 size, enum use use)
{
	u64 first = offset >> s->q->cluster_bits,
	    end = (offset + size + s->q->cluster_size - 1) >> s->q->cluster_bits;

	if (end > s->clusters)
		tell_lost(s, offset, use);
	touch(s, first, end);
	first = MAX(first, s->first);
	end = MIN(end, s->first + s->count);
	for (u64 c = first; c < end; c++)
		count_one(s, c, use);
}

/* What is compressed is lost without its first byte; other data that ends a file may be cut short, and reads as zeros there. */
static void count_packed(struct scan *s, u64 entry)
{
	u64 offset, size;

	qcow2_packed(s->q, entry, &offset, &size);
	if (offset >= s->q->block.file->size)
		tell_lost(s, offset, USE_DATA);
	else
		count_range(s, offset, size, USE_DATA);
}

/* --- What refers to clusters ------------------------------------------------------------------ */

static void count_l2(struct scan *s)
{
	struct qcow2 *q = s->q;

	for (u32 i = 0; i < 1u << q->l2_bits; i++) {
		u64 entry = be_load(s->table + 8 * (size_t)i, 8);

		s->check->allocated += s->active && !s->quiet && s->first == 0 &&
				       (entry & (QCOW2_OFFSET | QCOW2_COMPRESSED));
		switch (qcow2_kind(q, entry)) {
		case QCOW2_K_NONE:
		case QCOW2_K_ZERO: break;
		case QCOW2_K_DATA:
		case QCOW2_K_RESERVED:
			count_range(s, entry & QCOW2_OFFSET, q->cluster_size, USE_DATA);
			break;
		case QCOW2_K_PACKED: count_packed(s, entry); break;
		case QCOW2_K_BAD:
			FOUND_ONCE(s, "the L2 entry %#llx means nothing",
				   (unsigned long long)entry);
			break;
		}
	}
}

static int by_offset(const void *a, const void *b)
{
	u64 x = *(const u64 *)a & QCOW2_OFFSET, y = *(const u64 *)b & QCOW2_OFFSET;

	return x < y ? -1 : x > y;
}

/* The L2 tables of an L1 table, each once; l1 is sorted for that. */
static int each_l2(struct scan *s, u64 *l1, u32 size, int (*visit)(struct scan *, u64 offset))
{
	struct qcow2 *q = s->q;
	u64 last = 0;
	int r = 0;

	s->work += (u64)size * 32; /* sorting it */
	qsort(l1, size, 8, by_offset);
	for (u32 i = 0; i < size && !r; i++) {
		u64 offset = l1[i] & QCOW2_OFFSET;

		if (offset == 0 || offset % q->cluster_size || offset >= q->block.file->size ||
		    offset == last)
			continue;
		last = offset;
		s->work += q->cluster_size / 8;
		if (s->work > WORK_MAX)
			return -EFBIG;
		r = block_file_read(q->block.file, s->table, q->cluster_size, offset);
		if (!r)
			r = visit(s, offset);
	}
	return r;
}

static int visit_count(struct scan *s, u64 offset)
{
	(void)offset;
	count_l2(s);
	return 0;
}

static int count_l1(struct scan *s, u64 *l1, u32 size)
{
	struct qcow2 *q = s->q;
	u64 last = 0;
	int r = each_l2(s, l1, size, visit_count);

	for (u32 i = 0; i < size && !r; i++) {
		u64 offset = l1[i] & QCOW2_OFFSET;

		if (offset == 0)
			continue;
		if (offset % q->cluster_size || offset >= q->block.file->size) {
			FOUND_ONCE(s, "the L1 entry %#llx names no L2 table",
				   (unsigned long long)l1[i]);
			if (offset >= q->block.file->size)
				count_lost(s, offset >> q->cluster_bits);
		} else if (offset == last) {
			FOUND_ONCE(s, "the L2 table at %#llx is used twice",
				   (unsigned long long)offset);
		} else {
			count_range(s, offset, q->cluster_size, USE_L2);
		}
		last = offset;
	}
	return r;
}

/* A copy of the L1 table of a snapshot, or of the active one. */
static int copy_l1(struct scan *s, const struct qcow2_snapshot *of, u64 **out)
{
	struct qcow2 *q = s->q;
	u32 size = of ? of->l1_size : q->l1_size;
	u64 *l1 = malloc(MAX(size, 1u) * (size_t)8);
	int r = l1 ? 0 : -ENOMEM;

	if (!r && !of)
		memcpy(l1, q->l1, size * (size_t)8);
	else if (!r)
		r = block_file_read(q->block.file, l1, size * (size_t)8, of->l1_offset);
	for (u32 i = 0; i < size && of && !r; i++)
		l1[i] = __builtin_bswap64(l1[i]);
	if (r)
		free(l1);
	else
		*out = l1;
	return r;
}

static int count_l1_of(struct scan *s, const struct qcow2_snapshot *of)
{
	u64 *l1;
	int r = copy_l1(s, of, &l1);

	if (r)
		return r;
	s->active = !of;
	r = count_l1(s, l1, of ? of->l1_size : s->q->l1_size);
	free(l1);
	return r;
}

static int count_snapshots(struct scan *s)
{
	struct qcow2 *q = s->q;
	u64 start = be_load(q->header + QCOW2_H_SNAPSHOTS_OFFSET, 8);
	int r = 0;

	if (q->snapshots)
		count_range(s, start, q->snapshots_end - start, USE_TABLE);
	for (u32 i = 0; i < q->snapshots && !r; i++) {
		const struct qcow2_snapshot *of = &q->snapshot[i];

		if (of->l1_size)
			count_range(s, of->l1_offset, 8ull * of->l1_size, USE_TABLE);
		r = s->work > WORK_MAX ? -EFBIG : count_l1_of(s, of);
	}
	return r;
}

static int count_bitmap(struct scan *s, u64 table, u64 entries)
{
	u8 piece[4096];
	int r = 0;

	if (table % s->q->cluster_size || table >= s->clusters << s->q->cluster_bits ||
	    entries * 8 > (s->clusters << s->q->cluster_bits) - table) {
		FOUND_ONCE(s, "the table of a bitmap lies outside the file");
		return 0;
	}
	count_range(s, table, entries * 8, USE_TABLE);
	for (u64 i = 0; i < entries && !r; i++) {
		u64 in_piece = i % (sizeof(piece) / 8);

		if (in_piece == 0)
			r = block_file_read(s->q->block.file, piece,
					    MIN(sizeof(piece), (entries - i) * 8), table + i * 8);
		if (!r && (be_load(piece + 8 * in_piece, 8) & QCOW2_OFFSET))
			count_range(s, be_load(piece + 8 * in_piece, 8) & QCOW2_OFFSET,
				    s->q->cluster_size, USE_TABLE);
	}
	return r;
}

static int count_bitmaps(struct scan *s)
{
	struct qcow2 *q = s->q;
	u64 at = q->bitmaps_offset, end = at + q->bitmaps_size;
	int r = 0;

	if (q->bitmaps_size == 0)
		return 0;
	if (q->bitmaps_size > 64 * MIB || end > s->clusters << q->cluster_bits ||
	    q->bitmaps > BITMAPS_MAX) {
		FOUND_ONCE(s, "the directory of bitmaps lies outside the file");
		return 0;
	}
	count_range(s, at, q->bitmaps_size, USE_TABLE);
	for (u32 i = 0; i < q->bitmaps && at + 24 <= end && !r; i++) {
		u8 entry[24];

		r = block_file_read(q->block.file, entry, sizeof(entry), at);
		if (!r)
			r = count_bitmap(s, be_load(entry, 8), be_load(entry + 8, 4));
		at += align_up(24 + be_load(entry + 18, 2) + be_load(entry + 20, 4), 8);
	}
	return r;
}

static bool block_placed(const struct scan *s, u64 offset)
{
	return offset % s->q->cluster_size == 0 && offset < s->q->block.file->size;
}

/* The refcount blocks. One that two entries name counts for both, and so as an overlap. */
static int count_refblocks(struct scan *s)
{
	struct qcow2 *q = s->q;
	unsigned bits = q->cluster_bits + 3 - q->refcount_order;
	u64 *blocks;
	u32 count;

	for (u32 i = 0; i < q->reftable_size; i++) {
		if (q->reftable[i])
			touch(s, (u64)i << bits, (i + 1ull) << bits);
		if (q->reftable[i] && block_placed(s, q->reftable[i])) {
			count_range(s, q->reftable[i], q->cluster_size, USE_TABLE);
		} else if (q->reftable[i]) {
			FOUND_ONCE(s, "the refcount table names a block at %#llx, where none is",
				   (unsigned long long)q->reftable[i]);
			if (s->repair)
				qcow2_ref_forget(q, i);
		}
	}
	blocks = qcow2_refblocks(q, &count);
	if (!blocks)
		return -ENOMEM;
	for (u32 i = 1; i < count; i++)
		s->overlaps += blocks[i] == blocks[i - 1];
	free(blocks);
	return 0;
}

static int count_all(struct scan *s)
{
	struct qcow2 *q = s->q;
	int r;

	count_range(s, 0, q->cluster_size, USE_TABLE);
	count_range(s, q->l1_offset, 8ull * q->l1_size, USE_TABLE);
	count_range(s, q->reftable_offset, 8ull * q->reftable_size, USE_TABLE);
	r = count_refblocks(s);
	if (!r)
		r = count_l1_of(s, NULL);
	if (!r)
		r = count_snapshots(s);
	return r ? r : count_bitmaps(s);
}

/* --- Against the refcounts -------------------------------------------------------------------- */

static int compare_one(struct scan *s, u64 cluster, u64 counted)
{
	struct qcow2 *q = s->q;
	u64 stored;
	int r = qcow2_ref_get(q, cluster, &stored);

	if (r == -EIO && !s->repair) /* told about where the tables were counted */
		return 0;
	if (r || stored == counted || (counted == UINT16_MAX && stored > counted))
		return r;
	found(s, stored > counted ? &s->check->leaks : &s->check->errors,
	      "the cluster at %#llx has a refcount of %llu and %llu references",
	      (unsigned long long)(cluster << q->cluster_bits), (unsigned long long)stored,
	      (unsigned long long)counted);
	if (!s->repair || counted > qcow2_refcount_max(q))
		return 0;
	return qcow2_ref_set(q, cluster, counted);
}

static int compare(struct scan *s)
{
	int r = 0;

	for (u64 i = 0; i < s->count && !r; i++)
		if (s->touched[(s->first + i) / GRANULE])
			r = compare_one(s, s->first + i, s->counts[i]);
		else
			i |= GRANULE - 1;
	return r;
}

/* Counts of clusters that the file does not have. */
static int compare_behind(struct scan *s)
{
	unsigned bits = s->q->cluster_bits + 3 - s->q->refcount_order;
	int r = 0;

	for (u64 index = s->clusters >> bits; index < s->q->reftable_size && !r; index++) {
		u64 start = MAX(index << bits, s->clusters), end = (index + 1) << bits;

		if (s->q->reftable[index] && block_placed(s, s->q->reftable[index]))
			for (u64 c = start; c < end && !r; c++)
				r = compare_one(s, c, 0);
	}
	return r;
}

/* --- Bit 63: whose count is one --------------------------------------------------------------- */

/* Whether the bit is as the count says; a repair makes it so. */
static bool flag_right(struct scan *s, u64 *entry)
{
	u64 cluster = (*entry & QCOW2_OFFSET) >> s->q->cluster_bits, i = cluster - s->first;

	if (cluster < s->first || i >= s->count ||
	    (s->counts[i] == 1) == ((*entry & QCOW2_COPIED) != 0))
		return true;
	/* "Shared" where nobody else has it any more costs a copy, no data: one of two entries of the same table has got another cluster. */
	found(s, *entry & QCOW2_COPIED ? &s->check->errors : &s->check->leaks,
	      "an entry says that the cluster at %#llx is %s, but it is not",
	      (unsigned long long)(cluster << s->q->cluster_bits),
	      *entry & QCOW2_COPIED ? "its own" : "shared");
	*entry ^= QCOW2_COPIED;
	return false;
}

static int visit_flags(struct scan *s, u64 offset)
{
	struct qcow2 *q = s->q;
	bool right = true;

	for (u32 i = 0; i < 1u << q->l2_bits; i++) {
		u64 entry = be_load(s->table + 8 * (size_t)i, 8);
		enum qcow2_kind kind = qcow2_kind(q, entry);

		if ((kind == QCOW2_K_DATA || kind == QCOW2_K_RESERVED) && !flag_right(s, &entry)) {
			be_store(s->table + 8 * (size_t)i, entry, 8);
			right = false;
		}
	}
	if (right || !s->repair)
		return 0;
	qcow2_cache_drop(&q->l2, offset);
	return qcow2_file_write(q, s->table, q->cluster_size, offset);
}

static int check_flags(struct scan *s)
{
	struct qcow2 *q = s->q;
	u64 *l1;
	int r = copy_l1(s, NULL, &l1);

	if (r)
		return r;
	r = each_l2(s, l1, q->l1_size, visit_flags);
	free(l1);
	for (u32 i = 0; i < q->l1_size && !r; i++) {
		u64 entry = q->l1[i];

		if ((entry & QCOW2_OFFSET) && !flag_right(s, &entry) && s->repair)
			qcow2_l1_set(q, i, entry);
	}
	return r;
}

/* --- All of it -------------------------------------------------------------------------------- */

static int scan_window(struct scan *s)
{
	int r;

	s->work = 0;
	r = count_all(s);
	if (!r && s->first == 0) /* before a repair puts new tables there */
		r = compare_behind(s);
	if (!r)
		r = compare(s);
	if (!r && s->repair)
		r = qcow2_commit(s->q);
	return r ? r : check_flags(s);
}

/* For the next window. */
static void clear_window(struct scan *s)
{
	for (u64 i = 0; i < s->count; i += GRANULE)
		if (s->touched[(s->first + i) / GRANULE]) {
			u64 n = MIN(GRANULE, s->count - i);

			memset(s->counts + i, 0, n * sizeof(*s->counts));
			memset(s->uses + i, 0, n);
		}
}

/* The whole file as it is now, which a repair makes longer. */
static int scan_all(struct scan *s)
{
	struct qcow2 *q = s->q;
	int r = 0;

	s->clusters = (align_up(q->block.file->size, q->cluster_size) >> q->cluster_bits) + 1;
	if (s->clusters > CLUSTERS_MAX)
		return -EFBIG;
	s->count = MIN(WINDOW, s->clusters);
	s->counts = calloc(s->count, sizeof(*s->counts));
	s->uses = calloc(s->count, 1);
	s->touched = calloc(s->clusters / GRANULE + 1, 1);
	if (!s->counts || !s->uses || !s->touched)
		r = -ENOMEM;
	if (s->repair) /* new tables lie behind all that is counted */
		q->alloc_floor = s->clusters;
	for (s->first = 0; s->first < s->clusters && !r; s->first += WINDOW) {
		s->count = MIN(WINDOW, s->clusters - s->first);
		if (s->first &&
		    !memchr(s->touched + s->first / GRANULE, 1, (s->count + GRANULE - 1) / GRANULE))
			continue;
		r = scan_window(s);
		clear_window(s);
	}
	q->alloc_floor = 0;
	free(s->counts);
	free(s->uses);
	free(s->touched);
	return r;
}

/* What a check finds now, told to nobody. */
static int count_left(struct scan *s, u64 *left)
{
	struct block_check *told = s->check, again = { 0 };
	int r;

	s->check = &again;
	s->repair = s->quiet = false;
	r = scan_all(s);
	s->check = told;
	*left = again.leaks + again.errors;
	return r;
}

/* Nothing is repaired where a table lies in another: what is written to one would destroy the other. Counts that a repair makes right can
 * show that others are wrong, so it is made again as long as that leaves less. */
static int repair(struct scan *s)
{
	struct qcow2 *q = s->q;
	u64 found = s->check->leaks + s->check->errors, left = found, now = 0;
	int r = 0;

	if (s->overlaps)
		return 0;
	for (unsigned pass = 0; pass < REPAIR_PASSES && left && !s->overlaps && !r; pass++) {
		s->repair = s->quiet = true;
		r = scan_all(s);
		if (!r)
			r = qcow2_commit(q);
		if (!r)
			r = count_left(s, &now);
		if (r || now >= left)
			break;
		left = now;
		s->check->repaired = found - left;
	}
	if (r || left || !(q->incompatible & (QCOW2_DIRTY | QCOW2_CORRUPT)))
		return r;
	q->incompatible &= ~(u64)(QCOW2_DIRTY | QCOW2_CORRUPT);
	qcow2_header_update(q);
	return qcow2_commit(q);
}

int qcow2_check(struct block *block, struct block_check *c, bool with_repair)
{
	struct qcow2 *q = (struct qcow2 *)block;
	struct scan s = { .q = q, .check = c };
	int r = qcow2_commit(q);

	if (!r)
		r = qcow2_commit(q); /* with the counts of what the first has freed */
	if (r)
		return r;
	c->clusters = (block->size + q->cluster_size - 1) >> q->cluster_bits;
	s.table = malloc(q->cluster_size);
	r = s.table ? scan_all(&s) : -ENOMEM;
	if (!r && with_repair && block->file->readonly)
		r = -EROFS;
	if (!r && with_repair)
		r = repair(&s);
	free(s.table);
	return r;
}
