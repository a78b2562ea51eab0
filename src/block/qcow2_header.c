/* The header of qcow2 images and the tables that it names: read, checked, changed. */
#include "block/qcow2.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EXTENSIONS_MAX 256u
#define FEATURE_SIZE   48u

int qcow2_fail(char *err, size_t errlen, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err, errlen, format, args);
	va_end(args);
	return error;
}

/* One line that begins with the file's name. */
#define FAIL(q, error, format, ...)                          \
	qcow2_fail(err, errlen, error, "disk '%s': " format, \
		   (q)->block.file->path __VA_OPT__(, ) __VA_ARGS__)

#define DAMAGED "the qcow2 image is damaged: "

bool qcow2_probe(const u8 *head, const u8 *tail, u64 file_size)
{
	u64 version = be_load(head + QCOW2_H_VERSION, 4);

	(void)tail;
	return file_size >= BLOCK_SECTOR && be_load(head, 4) == QCOW2_MAGIC && version >= 2;
}

static u64 field(const struct qcow2 *q, enum qcow2_field at, unsigned size)
{
	return be_load(q->header + at, size);
}

static u32 header_length(const struct qcow2 *q)
{
	return q->version < 3 ? QCOW2_H_V2_LENGTH : (u32)field(q, QCOW2_H_LENGTH, 4);
}

void qcow2_header_update(struct qcow2 *q)
{
	u8 *h = q->header;

	be_store(h + QCOW2_H_SIZE, q->block.size, 8);
	be_store(h + QCOW2_H_L1_SIZE, q->l1_size, 4);
	be_store(h + QCOW2_H_L1_OFFSET, q->l1_offset, 8);
	be_store(h + QCOW2_H_REFTABLE_OFFSET, q->reftable_offset, 8);
	be_store(h + QCOW2_H_REFTABLE_CLUSTERS, q->reftable_size / (q->cluster_size / 8), 4);
	if (q->version >= 3)
		be_store(h + QCOW2_H_INCOMPATIBLE, q->incompatible, 8);
	q->header_dirty = true;
}

/* Formats that have another name in images, for the sake of QEMU. */
static const struct {
	const char *name, *in_image;
} format_names[] = { { "vhd", "vpc" }, { "raw", "host_device" }, { "raw", "file" } };

static const char *format_name(const char *in_image)
{
	for (size_t i = 0; i < ARRAY_LEN(format_names); i++)
		if (!strcmp(format_names[i].in_image, in_image))
			return format_names[i].name;
	return in_image;
}

const char *qcow2_format_in_image(const char *name)
{
	return name && !strcmp(name, format_names[0].name) ? format_names[0].in_image : name;
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* The name of a feature in the table that the image may have, into name[47]. */
static void feature_name(const u8 *table, u32 size, unsigned bit, char *name)
{
	for (u32 at = 0; at + FEATURE_SIZE <= size; at += FEATURE_SIZE) {
		if (table[at] != 0 || table[at + 1] != bit)
			continue;
		memcpy(name, table + at + 2, FEATURE_SIZE - 2);
		name[FEATURE_SIZE - 2] = 0;
		for (char *c = name; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '?';
	}
}

static int check_features(struct qcow2 *q, const u8 *names, u32 size, char *err, size_t errlen)
{
	u64 known = QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION_TYPE,
	    unknown = q->incompatible & ~known;
	char name[FEATURE_SIZE] = "";

	if (unknown & QCOW2_EXTERNAL_DATA)
		return FAIL(q, -EOPNOTSUPP,
			    "its data lie in another file, which is not supported; make an image "
			    "of one file with: qemu-img convert -O qcow2");
	if (unknown & QCOW2_EXTENDED_L2)
		return FAIL(q, -EOPNOTSUPP,
			    "it has subclusters, which are not supported; convert it with: "
			    "qemu-img convert -O qcow2 -o extended_l2=off");
	if (unknown) {
		unsigned bit = (unsigned)__builtin_ctzll(unknown);

		snprintf(name, sizeof(name), "bit %u", bit);
		feature_name(names, size, bit, name);
		return FAIL(q, -EOPNOTSUPP,
			    "it needs the feature '%s', which is not supported; convert it with "
			    "the program that made it",
			    name);
	}
	return 0;
}

/* What is in the rest of the header's cluster. *names: the feature name table, a part of `cluster`. */
static int read_extensions(struct qcow2 *q, const u8 *cluster, u64 end, const u8 **names,
			   u32 *names_size, char *err, size_t errlen)
{
	u64 at = header_length(q);
	char name[sizeof(q->backing_format)];

	for (unsigned n = 0; n < EXTENSIONS_MAX && at + 8 <= end; n++) {
		u64 type = be_load(cluster + at, 4), size = be_load(cluster + at + 4, 4);
		const u8 *data = cluster + at + 8;

		if (type == 0)
			return 0;
		if (size > end - at - 8)
			return FAIL(q, -EINVAL, DAMAGED "a header extension of %llu bytes",
				    (unsigned long long)size);
		if (type == QCOW2_EXT_FEATURES) {
			*names = data;
			*names_size = (u32)size;
		} else if (type == QCOW2_EXT_BACKING_FORMAT) {
			if (size >= sizeof(q->backing_format))
				return FAIL(q, -EINVAL,
					    DAMAGED "the name of its parent's format is too long");
			memcpy(name, data, size);
			name[size] = 0;
			block_printable(name);
			snprintf(q->backing_format, sizeof(q->backing_format), "%s",
				 format_name(name));
		} else if (type == QCOW2_EXT_BITMAPS && size >= 24) {
			q->bitmaps = (u32)be_load(data, 4);
			q->bitmaps_size = be_load(data + 8, 8);
			q->bitmaps_offset = be_load(data + 16, 8);
		}
		at += 8 + align_up(size, 8);
	}
	return 0;
}

static int read_first_cluster(struct qcow2 *q, char *err, size_t errlen)
{
	u64 name = field(q, QCOW2_H_BACKING_OFFSET, 8), size = field(q, QCOW2_H_BACKING_SIZE, 4);
	const u8 *names = NULL;
	u32 names_size = 0;
	int r = block_file_read(q->block.file, q->bounce, q->cluster_size, 0);

	if (r)
		return FAIL(q, r, "%s", strerror(-r));
	if (name && (name > q->cluster_size || size > q->cluster_size - name ||
		     size >= sizeof(q->backing) || name < header_length(q)))
		return FAIL(q, -EINVAL, DAMAGED "the name of its parent lies elsewhere");
	if (name) {
		memcpy(q->backing, q->bounce + name, size);
		q->backing[size] = 0;
		if (strlen(q->backing) != size)
			return FAIL(q, -EINVAL, DAMAGED "the name of its parent has a zero byte");
		block_printable(q->backing);
	}
	r = read_extensions(q, q->bounce, name ? name : q->cluster_size, &names, &names_size, err,
			    errlen);
	return r ? r : check_features(q, names, names_size, err, errlen);
}

static int read_v3(struct qcow2 *q, char *err, size_t errlen)
{
	u32 length = header_length(q);
	unsigned type;

	q->refcount_order = (unsigned)field(q, QCOW2_H_REFCOUNT_ORDER, 4);
	q->incompatible = field(q, QCOW2_H_INCOMPATIBLE, 8);
	if (q->refcount_order > 6)
		return FAIL(q, -EINVAL, DAMAGED "refcounts of 2^%u bits", q->refcount_order);
	if (length < QCOW2_H_COMPRESSION || length % 8 || length > q->cluster_size ||
	    length > BLOCK_SECTOR)
		return FAIL(q, -EINVAL, DAMAGED "a header of %u bytes", length);
	type = length > QCOW2_H_COMPRESSION ? q->header[QCOW2_H_COMPRESSION] : 0;
	q->zstd = type == 1;
	if (type > 1)
		return FAIL(q, -EOPNOTSUPP,
			    "compression type %u is not supported; convert it with: qemu-img "
			    "convert -O qcow2",
			    type);
	if ((type != 0) != ((q->incompatible & QCOW2_COMPRESSION_TYPE) != 0))
		return FAIL(q, -EINVAL, DAMAGED "its compression type is given in two ways");
	return 0;
}

static int read_header(struct qcow2 *q, char *err, size_t errlen)
{
	int r = block_file_read(q->block.file, q->header, sizeof(q->header), 0);
	u64 version = field(q, QCOW2_H_VERSION, 4), bits = field(q, QCOW2_H_CLUSTER_BITS, 4);

	if (r)
		return FAIL(q, r, "%s", strerror(-r));
	if (field(q, QCOW2_H_MAGIC, 4) != QCOW2_MAGIC || q->block.file->size < QCOW2_H_V2_LENGTH)
		return FAIL(q, -EINVAL, "not a qcow2 image; leave its format away to find it out");
	if (version != 2 && version != 3)
		return FAIL(q, -EOPNOTSUPP,
			    "qcow2 version %llu is not supported; convert it with: qemu-img "
			    "convert -O qcow2",
			    (unsigned long long)version);
	if (bits < 9 || bits > 21)
		return FAIL(q, -EINVAL,
			    DAMAGED "clusters of 2^%llu bytes (2^9 to 2^21 are "
				    "supported)",
			    (unsigned long long)bits);
	q->version = (unsigned)version;
	q->cluster_bits = (unsigned)bits;
	q->cluster_size = 1u << bits;
	q->l2_bits = q->cluster_bits - 3;
	q->refcount_order = 4;
	if (field(q, QCOW2_H_CRYPT, 4))
		return FAIL(q, -EOPNOTSUPP,
			    "it is encrypted, which is not supported; decrypt it with: qemu-img "
			    "convert");
	return version < 3 ? 0 : read_v3(q, err, errlen);
}

/* Whether a table of the image lies where it can. */
static bool placed(const struct qcow2 *q, u64 offset, u64 bytes)
{
	return offset >= q->cluster_size && offset % q->cluster_size == 0 && offset < 1ull << 56 &&
	       offset <= q->block.file->size &&
	       bytes <= align_up(q->block.file->size, q->cluster_size) - offset;
}

static int load_numbers(struct qcow2 *q, u64 **out, u64 offset, u64 count)
{
	u64 *table = malloc(MAX(count, 1u) * 8);
	int r = table ? block_file_read(q->block.file, table, count * 8, offset) : -ENOMEM;

	if (r) {
		free(table);
		return r;
	}
	for (u64 i = 0; i < count; i++)
		table[i] = __builtin_bswap64(table[i]);
	*out = table;
	return 0;
}

static int load_tables(struct qcow2 *q, char *err, size_t errlen)
{
	u64 size = field(q, QCOW2_H_SIZE, 8), l1_size = field(q, QCOW2_H_L1_SIZE, 4),
	    clusters = field(q, QCOW2_H_REFTABLE_CLUSTERS, 4), covered;
	int r;

	q->l1_offset = field(q, QCOW2_H_L1_OFFSET, 8);
	q->reftable_offset = field(q, QCOW2_H_REFTABLE_OFFSET, 8);
	if (l1_size > QCOW2_L1_MAX / 8)
		return FAIL(q, -EFBIG, "an L1 table of %llu entries is too large (%llu at most)",
			    (unsigned long long)l1_size, QCOW2_L1_MAX / 8);
	covered = l1_size << (q->cluster_bits + q->l2_bits); /* at most 2^22 * 2^39 */
	if (size == 0 || size > covered)
		return FAIL(q, -EINVAL, DAMAGED "a disk of %llu bytes, with tables for %llu",
			    (unsigned long long)size, (unsigned long long)covered);
	if (!placed(q, q->l1_offset, l1_size * 8))
		return FAIL(q, -EINVAL, DAMAGED "its L1 table lies outside the file");
	if (clusters == 0 || clusters > QCOW2_REFTABLE_MAX >> q->cluster_bits ||
	    !placed(q, q->reftable_offset, clusters << q->cluster_bits))
		return FAIL(q, -EINVAL, DAMAGED "its refcount table lies outside the file");
	q->block.size = align_up(size, BLOCK_SECTOR);
	q->l1_size = (u32)l1_size;
	q->reftable_size = (u32)(clusters << q->cluster_bits >> 3);
	r = load_numbers(q, &q->l1, q->l1_offset, l1_size);
	if (!r)
		r = load_numbers(q, &q->reftable, q->reftable_offset, q->reftable_size);
	q->full = calloc(q->reftable_size, 1);
	if (!r && !q->full)
		r = -ENOMEM;
	return r ? FAIL(q, r, "%s", strerror(-r)) : 0;
}

static int load_snapshots(struct qcow2 *q, char *err, size_t errlen)
{
	u64 count = field(q, QCOW2_H_SNAPSHOTS, 4), start = field(q, QCOW2_H_SNAPSHOTS_OFFSET, 8),
	    at = start;
	u8 entry[40];

	if (count > QCOW2_SNAPSHOTS_MAX)
		return FAIL(q, -EFBIG, "%llu snapshots are too many (%u at most)",
			    (unsigned long long)count, QCOW2_SNAPSHOTS_MAX);
	if (count && !placed(q, at, count * sizeof(entry)))
		return FAIL(q, -EINVAL, DAMAGED "its snapshot table lies outside the file");
	q->snapshot = calloc(MAX(count, 1u), sizeof(*q->snapshot));
	if (!q->snapshot)
		return FAIL(q, -ENOMEM, "out of memory");
	for (u32 i = 0; i < count; i++) {
		int r = block_file_read(q->block.file, entry, sizeof(entry), at);
		struct qcow2_snapshot *s = &q->snapshot[i];

		if (r)
			return FAIL(q, r, "%s", strerror(-r));
		*s = (struct qcow2_snapshot){ .l1_offset = be_load(entry, 8),
					      .table_offset = at,
					      .l1_size = (u32)be_load(entry + 8, 4) };
		if (s->l1_size > QCOW2_L1_MAX / 8 ||
		    (s->l1_size && !placed(q, s->l1_offset, 8ull * s->l1_size)))
			return FAIL(q, -EINVAL,
				    DAMAGED "the tables of snapshot %u lie outside the "
					    "file",
				    i + 1);
		at += align_up(40 + be_load(entry + 36, 4) + be_load(entry + 12, 2) +
				       be_load(entry + 14, 2),
			       8);
		if (at > align_up(q->block.file->size, q->cluster_size))
			return FAIL(q, -EINVAL, DAMAGED "its snapshot table lies outside the file");
		if (at - start > QCOW2_SNAPSHOT_TABLE_MAX)
			return FAIL(q, -EFBIG,
				    "a snapshot table of %llu bytes is too large (%llu at most)",
				    (unsigned long long)(at - start), QCOW2_SNAPSHOT_TABLE_MAX);
	}
	q->snapshots = (u32)count;
	q->snapshots_end = at;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct qcow2_area *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

int qcow2_reserve(struct qcow2 *q)
{
	u32 count = 4 + q->snapshots, n = 0;
	struct qcow2_area *a = calloc(count, sizeof(*a));
	u64 table = field(q, QCOW2_H_SNAPSHOTS_OFFSET, 8);

	if (!a)
		return -ENOMEM;
	a[n++] = (struct qcow2_area){ 0, q->cluster_size };
	a[n++] = (struct qcow2_area){ q->l1_offset, q->l1_offset + 8ull * q->l1_size };
	a[n++] = (struct qcow2_area){ q->reftable_offset,
				      q->reftable_offset + 8ull * q->reftable_size };
	if (q->snapshots)
		a[n++] = (struct qcow2_area){ table, q->snapshots_end };
	for (u32 i = 0; i < q->snapshots; i++)
		if (q->snapshot[i].l1_size)
			a[n++] = (struct qcow2_area){ q->snapshot[i].l1_offset,
						      q->snapshot[i].l1_offset +
							      8ull * q->snapshot[i].l1_size };
	for (u32 i = 0; i < n; i++)
		a[i].end = align_up(a[i].end, q->cluster_size);
	qsort(a, n, sizeof(*a), by_start);
	/* They may lie in each other if the image is only read. */
	for (u32 i = 1; i < n; i++)
		a[i].end = MAX(a[i].end, a[i - 1].end);
	free(q->reserved);
	q->reserved = a;
	q->reserved_count = n;
	return 0;
}

/* Clusters are taken by what the refcounts say: each block of them must be one of its own, and no two areas the same. */
static bool tables_apart(struct qcow2 *q, const u64 *blocks, u32 count)
{
	for (u32 i = 0; i < count; i++)
		if (!placed(q, blocks[i], q->cluster_size) ||
		    qcow2_guarded(q, blocks[i], q->cluster_size) ||
		    (i && blocks[i] == blocks[i - 1]))
			return false;
	for (u32 i = 1; i < q->reserved_count; i++)
		if (q->reserved[i].start < q->reserved[i - 1].end)
			return false;
	return true;
}

static int check_writable(struct qcow2 *q, char *err, size_t errlen)
{
	u64 *blocks;
	u32 count;
	bool fine;

	if (q->incompatible & QCOW2_CORRUPT)
		return FAIL(q, -EROFS,
			    "it is marked as corrupt and can only be read; repair it with: pogo "
			    "disk check --repair");
	blocks = qcow2_refblocks(q, &count);
	if (!blocks)
		return FAIL(q, -ENOMEM, "out of memory");
	fine = tables_apart(q, blocks, count);
	free(blocks);
	return fine ? 0
		    : FAIL(q, -EIO,
			   DAMAGED "tables lie in each other; try pogo disk check --repair, or "
				   "copy what can be read with: pogo disk convert");
}

int qcow2_load(struct qcow2 *q, bool for_writing, bool repair, char *err, size_t errlen)
{
	int r = read_header(q, err, errlen);

	if (r)
		return r;
	q->bounce = malloc(q->cluster_size);
	if (!q->bounce || qcow2_cache_init(&q->l2, q->cluster_size, 16 * MIB) ||
	    qcow2_cache_init(&q->refblocks, q->cluster_size, 8 * MIB))
		return FAIL(q, -ENOMEM, "out of memory");
	r = read_first_cluster(q, err, errlen);
	if (!r)
		r = load_tables(q, err, errlen);
	if (!r)
		r = load_snapshots(q, err, errlen);
	if (!r && qcow2_reserve(q))
		r = FAIL(q, -ENOMEM, "out of memory");
	if (!r && for_writing && !repair)
		r = check_writable(q, err, errlen);
	if (!r && for_writing && q->version >= 3 && field(q, QCOW2_H_AUTOCLEAR, 8)) {
		/* Bitmaps of what has changed, which changes make wrong. */
		be_store(q->header + QCOW2_H_AUTOCLEAR, 0, 8);
		q->header_dirty = true;
	}
	return r;
}

/* --- Snapshots -------------------------------------------------------------------------------- */

static void read_text(struct qcow2 *q, u64 at, u64 size, char *text, size_t room)
{
	size = MIN(size, room - 1);
	if (block_file_read(q->block.file, text, size, at))
		size = 0;
	text[size] = 0;
	block_printable(text);
}

void qcow2_info_snapshots(struct qcow2 *q, struct block_info *info)
{
	info->snapshots = q->snapshots;
	for (u32 i = 0; i < MIN(q->snapshots, ARRAY_LEN(info->snapshot)); i++) {
		struct block_snapshot *s = &info->snapshot[i];
		u64 at = q->snapshot[i].table_offset, extra, id;
		u8 entry[48] = { 0 };

		if (block_file_read(q->block.file, entry, sizeof(entry), at))
			continue;
		extra = be_load(entry + 36, 4);
		id = be_load(entry + 12, 2);
		s->seconds = (i64)be_load(entry + 16, 4);
		s->vm_state_size = extra >= 8 ? be_load(entry + 40, 8) : be_load(entry + 32, 4);
		read_text(q, at + 40 + extra, id, s->id, sizeof(s->id));
		read_text(q, at + 40 + extra + id, be_load(entry + 14, 2), s->name,
			  sizeof(s->name));
	}
}
