/* Changes a qcow2 image in an input where it has its structures: fields of the header and its extensions, entries of L1, L2 and refcount
 * tables, refcounts, snapshots, bitmaps. A place becomes one beside it, one of another structure, or one at the file's end; a count one more
 * or less, or one that just fits. */
#include "image.h"

#include "base/bits.h"
#include "block/qcow2.h"

/* An image in an input, as its header has it. */
struct target {
	u8 *data;
	size_t size, max;
	u32 *rng;
	unsigned file;
	u64 cluster, end; /* the latter of the file */
	unsigned bits, order;
	u64 l1, l1_size, reftable, reftable_size, snapshots, snapshot_table;
};

static u32 pick(struct target *t, u32 n) { return image_random(t->rng) % n; }

/* --- Bytes of the file in the input ----------------------------------------------------------- */

/* Where the input has these bytes of the file; NULL: nowhere, or not as they are. */
static u8 *find(const struct target *t, u64 at, u64 size)
{
	struct image_span s;
	u8 *found = NULL;

	for (unsigned n = 0; n < 128 && image_span(t->data, t->size, n, &s); n++) {
		u64 start = s.place * (u64)BLOCK_SECTOR;

		if (s.file == t->file && s.kind == PIECE_DATA && start <= at &&
		    at - start < s.length && size <= s.length - (at - start))
			found = s.at + IMAGE_PIECE + (at - start);
	}
	return found;
}

static u64 get(const struct target *t, u64 at, unsigned size)
{
	const u8 *p = find(t, at, size);

	return p ? be_load(p, size) : 0;
}

/* In place, or in a piece of its own, as long as there is room. */
static void set(struct target *t, u64 at, unsigned size, u64 v)
{
	u32 before = (u32)(at % BLOCK_SECTOR), length = before + size;
	u8 *p = find(t, at, size), *piece = t->data + t->size;

	if (p) {
		be_store(p, v, size);
		return;
	}
	if (t->size + IMAGE_PIECE + length > t->max || at >> 41)
		return;
	piece[0] = (u8)t->file;
	piece[1] = PIECE_DATA;
	le_store(piece + 2, length, 2);
	le_store(piece + 4, at / BLOCK_SECTOR, 4);
	for (u32 i = 0; i < before; i++)
		piece[IMAGE_PIECE + i] = (u8)get(t, at - before + i, 1);
	be_store(piece + IMAGE_PIECE + before, v, size);
	t->size += IMAGE_PIECE + length;
}

/* The first file that has a header of qcow2, or another one. */
static bool load(struct target *t)
{
	struct image_span s;
	bool found = false;

	for (unsigned n = 0; n < 128 && image_span(t->data, t->size, n, &s); n++)
		if (s.kind == PIECE_DATA && s.place == 0 && s.length >= QCOW2_H_V2_LENGTH &&
		    be_load(s.at + IMAGE_PIECE, 4) == QCOW2_MAGIC && (!found || !pick(t, 4))) {
			t->file = s.file;
			found = true;
		}
	for (unsigned n = 0; n < 128 && image_span(t->data, t->size, n, &s); n++)
		if (s.file == t->file && s.place < 1u << 24)
			t->end = MAX(t->end, s.place * (u64)BLOCK_SECTOR +
						     (s.kind == PIECE_SIZE ? 0 : s.length));
	t->bits = (unsigned)(get(t, QCOW2_H_CLUSTER_BITS, 4) & 31);
	t->bits = MIN(MAX(t->bits, 9u), 21u);
	t->cluster = 1ull << t->bits;
	t->order = get(t, QCOW2_H_VERSION, 4) < 3
			   ? 4
			   : (unsigned)MIN(get(t, QCOW2_H_REFCOUNT_ORDER, 4), 6u);
	t->l1 = get(t, QCOW2_H_L1_OFFSET, 8);
	t->l1_size = get(t, QCOW2_H_L1_SIZE, 4);
	t->reftable = get(t, QCOW2_H_REFTABLE_OFFSET, 8);
	t->reftable_size = get(t, QCOW2_H_REFTABLE_CLUSTERS, 4) << t->bits >> 3;
	t->snapshots = get(t, QCOW2_H_SNAPSHOTS, 4);
	t->snapshot_table = get(t, QCOW2_H_SNAPSHOTS_OFFSET, 8);
	return found;
}

/* --- Where structures are --------------------------------------------------------------------- */

/* One of `count` entries of a table; of those that are not 0, if there are any. */
static u64 entry_of(struct target *t, u64 table, u64 count)
{
	u32 n = (u32)MIN(MAX(count, 1u), 64u), from = pick(t, n);

	for (u32 i = 0; i < n && pick(t, 8); i++)
		if (get(t, table + 8ull * ((from + i) % n), 8))
			return table + 8ull * ((from + i) % n);
	return table + 8ull * from;
}

/* The place of a snapshot's entry in their table. */
static u64 snapshot_entry(struct target *t)
{
	u64 at = t->snapshot_table;

	for (u32 n = pick(t, (u32)MIN(MAX(t->snapshots, 1u), 4u)); n; n--)
		at = align_up(
			at + 40 + get(t, at + 36, 4) + get(t, at + 12, 2) + get(t, at + 14, 2), 8);
	return at;
}

/* An L1 table: the active one, or one of a snapshot. */
static u64 some_l1(struct target *t)
{
	return t->snapshots && !pick(t, 3) ? get(t, snapshot_entry(t), 8) : t->l1;
}

static u64 some_l2(struct target *t)
{
	return get(t, entry_of(t, some_l1(t), t->l1_size), 8) & QCOW2_OFFSET;
}

static u64 bitmaps(const struct target *t)
{
	u64 at = get(t, QCOW2_H_VERSION, 4) < 3 ? QCOW2_H_V2_LENGTH : get(t, QCOW2_H_LENGTH, 4);

	for (unsigned n = 0; n < 8; n++) {
		if (get(t, at, 4) == QCOW2_EXT_BITMAPS)
			return at + 8;
		at += 8 + align_up(get(t, at + 4, 4), 8);
	}
	return 0;
}

/* --- Values ----------------------------------------------------------------------------------- */

/* Another place for something that lies at `was`. */
static u64 place(struct target *t, u64 was)
{
	switch (pick(t, 16)) {
	case 0: return was + t->cluster;
	case 1: return was - t->cluster;
	case 2: return was + (8ull << pick(t, 10));
	case 3: return 0;
	case 4: return t->l1;
	case 5: return t->reftable;
	case 6: return get(t, entry_of(t, t->reftable, 4), 8);
	case 7: return some_l2(t);
	case 8: return t->snapshots ? t->snapshot_table : t->l1;
	case 9: return t->snapshots ? get(t, snapshot_entry(t), 8) : t->reftable;
	case 10: return align_up(t->end, t->cluster);
	case 11: return align_up(t->end, t->cluster) - t->cluster;
	case 12: return align_up(t->end, t->cluster) + t->cluster * pick(t, 64);
	case 13: return (1ull << (40 + pick(t, 24))) - (pick(t, 2) ? t->cluster : 0);
	default: return t->cluster * pick(t, (u32)(t->end / t->cluster) + 2);
	}
}

/* Another number of things of `unit` bytes that lie at `at`. */
static u64 amount(struct target *t, u64 was, u64 at, u64 unit)
{
	u64 room = align_up(t->end, t->cluster) - MIN(at, t->end);

	switch (pick(t, 9)) {
	case 0: return was + 1;
	case 1: return was - 1;
	case 2: return 0;
	case 3: return was * 2;
	case 4: return room / unit;
	case 5: return room / unit + 1;
	case 6: return 1ull << pick(t, 32);
	case 7: return (1ull << pick(t, 33)) - 1;
	default: return pick(t, 300);
	}
}

/* An entry of an L1 or L2 table. */
static u64 link_entry(struct target *t, u64 was, bool l2)
{
	u64 offset = was & QCOW2_OFFSET, flags = was & ~QCOW2_OFFSET;
	unsigned x = 62 - (t->bits - 8);

	if (l2 && (was & QCOW2_COMPRESSED ? pick(t, 4) : !pick(t, 8))) {
		u64 at = was & QCOW2_COMPRESSED ? was & bits_mask(x) : place(t, offset);

		at += pick(t, 3) ? 0 : pick(t, 1024);
		return QCOW2_COMPRESSED | (u64)pick(t, 1u << (t->bits - 8)) << x |
		       (at & bits_mask(x));
	}
	if (pick(t, 4))
		offset = place(t, offset) & ~0x1ffull;
	if (!pick(t, 3))
		flags ^= (u64[]){
			QCOW2_COPIED,     QCOW2_COPIED,       QCOW2_ZERO,
			QCOW2_COMPRESSED, 1ull << pick(t, 9), 1ull << (56 + pick(t, 8))
		}[pick(t, 6)];
	return offset | flags;
}

/* --- Changes ---------------------------------------------------------------------------------- */

static void change_link(struct target *t)
{
	bool l2 = pick(t, 3);
	u64 at = l2 ? entry_of(t, some_l2(t), pick(t, 2) ? 12 : t->cluster / 8)
		    : entry_of(t, some_l1(t), t->l1_size);

	set(t, at, 8, link_entry(t, get(t, at, 8), l2));
}

static void change_reftable(struct target *t)
{
	u64 at = entry_of(t, t->reftable, pick(t, 2) ? 4 : t->reftable_size);

	set(t, at, 8, place(t, get(t, at, 8)));
}

static void change_count(struct target *t)
{
	u64 block = get(t, entry_of(t, t->reftable, 4), 8),
	    n = pick(t, (u32)(t->end / t->cluster) + 2);
	u64 at = block + (n << t->order >> 3) % t->cluster;
	unsigned width = t->order > 3 ? 1u << (t->order - 3) : 1;
	u64 was = get(t, at, width);

	set(t, at, width,
	    (u64[]){ 0, 1, was + 1, was - 1, ~0ull, was ^ 1u << pick(t, 8) }[pick(t, 6)]);
}

static void change_snapshot(struct target *t)
{
	u64 at = snapshot_entry(t), l1 = get(t, at, 8);

	switch (pick(t, 6)) {
	case 0: set(t, at, 8, place(t, l1)); break;
	case 1: set(t, at + 8, 4, amount(t, get(t, at + 8, 4), l1, 8)); break;
	case 2: set(t, at + 12, 2, amount(t, get(t, at + 12, 2), at, 1)); break;
	case 3: set(t, at + 14, 2, amount(t, get(t, at + 14, 2), at, 1)); break;
	case 4: set(t, at + 36, 4, amount(t, get(t, at + 36, 4), at, 1)); break;
	default:
		set(t, QCOW2_H_SNAPSHOTS, 4, amount(t, t->snapshots, t->snapshot_table, 40));
		break;
	}
}

static void change_bitmap(struct target *t)
{
	u64 ext = bitmaps(t), directory = get(t, ext + 16, 8), table = get(t, directory, 8);

	if (!ext)
		return;
	switch (pick(t, 8)) {
	case 0: set(t, ext, 4, amount(t, get(t, ext, 4), directory, 24)); break;
	case 1: set(t, ext + 8, 8, amount(t, get(t, ext + 8, 8), directory, 1)); break;
	case 2: set(t, ext + 16, 8, place(t, directory)); break;
	case 3: set(t, directory, 8, place(t, table)); break;
	case 4: set(t, directory + 8, 4, amount(t, get(t, directory + 8, 4), table, 8)); break;
	case 5:
		set(t, directory + 18, 2, amount(t, get(t, directory + 18, 2), directory, 1));
		break;
	case 6:
		set(t, directory + 20, 4, amount(t, get(t, directory + 20, 4), directory, 1));
		break;
	default: set(t, table, 8, place(t, get(t, table, 8))); break;
	}
}

static void change_extension(struct target *t)
{
	u64 at = get(t, QCOW2_H_VERSION, 4) < 3 ? QCOW2_H_V2_LENGTH : get(t, QCOW2_H_LENGTH, 4);
	static const u32 types[] = { 0, QCOW2_EXT_BACKING_FORMAT, QCOW2_EXT_FEATURES,
				     QCOW2_EXT_BITMAPS, 0x44415441 };

	for (u32 n = pick(t, 3); n && at < t->cluster; n--)
		at += 8 + align_up(get(t, at + 4, 4), 8);
	if (pick(t, 2))
		set(t, at, 4, types[pick(t, ARRAY_LEN(types))]);
	else
		set(t, at + 4, 4, amount(t, get(t, at + 4, 4), at, 1));
}

static void change_header(struct target *t)
{
	switch (pick(t, 10)) {
	case 0: set(t, QCOW2_H_L1_OFFSET, 8, place(t, t->l1)); break;
	case 1: set(t, QCOW2_H_L1_SIZE, 4, amount(t, t->l1_size, t->l1, 8)); break;
	case 2: set(t, QCOW2_H_REFTABLE_OFFSET, 8, place(t, t->reftable)); break;
	case 3:
		set(t, QCOW2_H_REFTABLE_CLUSTERS, 4,
		    amount(t, t->reftable_size * 8 >> t->bits, t->reftable, t->cluster));
		break;
	case 4: set(t, QCOW2_H_SNAPSHOTS_OFFSET, 8, place(t, t->snapshot_table)); break;
	case 5:
		set(t, QCOW2_H_SIZE, 8, get(t, QCOW2_H_SIZE, 8) + t->cluster * (pick(t, 5) - 2ull));
		break;
	case 6: set(t, QCOW2_H_INCOMPATIBLE, 8, 1ull << pick(t, 4)); break;
	case 7:
		set(t, QCOW2_H_BACKING_OFFSET, 8,
		    amount(t, get(t, QCOW2_H_BACKING_OFFSET, 8), 0, 1));
		break;
	case 8:
		set(t, QCOW2_H_BACKING_SIZE, 4, amount(t, get(t, QCOW2_H_BACKING_SIZE, 4), 0, 1));
		break;
	default: change_extension(t); break;
	}
}

size_t qcow2_mutate(u8 *data, size_t size, size_t max, u32 *rng)
{
	static void (*const changes[])(struct target *) = {
		change_link,  change_link,  change_link,   change_link,   change_reftable,
		change_count, change_count, change_header, change_header,
	};
	struct target t = { .data = data, .size = size, .max = max, .rng = rng };

	if (size < IMAGE_HEAD || !load(&t))
		return 0;
	for (u32 n = pick(&t, 3) + 1; n; n--) {
		if (t.snapshots && !pick(&t, 5))
			change_snapshot(&t);
		else if (bitmaps(&t) && !pick(&t, 5))
			change_bitmap(&t);
		else
			changes[pick(&t, ARRAY_LEN(changes))](&t);
	}
	return t.size;
}
