/* New qcow2 images, and changes of what an image is: its parent, its size. */
#include "block/qcow2.h"

#include "base/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_MAX      2048u /* the header with all that we put behind it, but for the parent's name */
#define CLUSTER_DEFAULT (64 * KIB)

/* For the user of a program that does not know a feature: type (0 incompatible, 1 compatible, 2 autoclear), bit, name. */
static const struct {
	u8 type, bit;
	const char *name;
} features[] = {
	{ 0, 0, "dirty bit" },
	{ 0, 1, "corrupt bit" },
	{ 0, 2, "external data file" },
	{ 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" },
	{ 1, 0, "lazy refcounts" },
	{ 2, 0, "bitmaps" },
	{ 2, 1, "raw external data" },
};

static u32 put_extension(u8 *at, u32 type, const void *data, u32 size)
{
	be_store(at, type, 4);
	be_store(at + 4, size, 4);
	memcpy(at + 8, data, size);
	return 8 + (u32)align_up(size, 8);
}

static u32 put_text(u8 *at, u32 type, const char *text)
{
	return put_extension(at, type, text, (u32)strlen(text));
}

static u32 put_features(u8 *at)
{
	u8 table[48 * ARRAY_LEN(features)] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		table[48 * i] = features[i].type;
		table[48 * i + 1] = features[i].bit;
		memcpy(table + 48 * i + 2, features[i].name, strlen(features[i].name));
	}
	return put_extension(at, QCOW2_EXT_FEATURES, table, sizeof(table));
}

/* --- Creating --------------------------------------------------------------------------------- */

/* Where the parts of a new image lie, in clusters: header, refcount table, refcount blocks, L1 table. */
struct layout {
	unsigned version, cluster_bits;
	u64 size, l1_entries, l1, reftable, blocks;
};

static int plan(struct layout *l, const struct block_create *c, const struct block *parent,
		char *err, size_t errlen)
{
	u64 cluster = c->cluster_size ? c->cluster_size : CLUSTER_DEFAULT, per_l2, was;

	*l = (struct layout){ .version = 3, .size = c->size || !parent ? c->size : parent->size };
	if (c->variant && !strcmp(c->variant, "v2"))
		l->version = 2;
	else if (c->variant && strcmp(c->variant, "v3"))
		return qcow2_fail(err, errlen, -EINVAL,
				  "disk '%s': no variant '%s' of qcow2; choose v2 or v3", c->path,
				  c->variant);
	if (cluster < 512 || cluster > 2 * MIB || (cluster & (cluster - 1)))
		return qcow2_fail(err, errlen, -EINVAL,
				  "disk '%s': a qcow2 image has clusters of 512 bytes to 2 MiB, "
				  "a power of two, not %llu bytes",
				  c->path, (unsigned long long)cluster);
	if (l->size == 0 || l->size % BLOCK_SECTOR)
		return qcow2_fail(err, errlen, -EINVAL,
				  "disk '%s': give it a size that is a multiple of %u bytes",
				  c->path, BLOCK_SECTOR);
	l->cluster_bits = (unsigned)__builtin_ctzll(cluster);
	per_l2 = cluster * (cluster / 8);
	l->l1_entries = l->size / per_l2 + (l->size % per_l2 != 0);
	if (l->l1_entries > QCOW2_L1_MAX / 8 || l->size > 1ull << 62)
		return qcow2_fail(err, errlen, -EFBIG,
				  "disk '%s': %llu bytes are too many for clusters of %llu; "
				  "choose larger clusters",
				  c->path, (unsigned long long)l->size,
				  (unsigned long long)cluster);
	l->l1 = align_up(l->l1_entries * 8, cluster) / cluster;
	do { /* each of them counts itself too */
		u64 all = 1 + l->reftable + l->blocks + l->l1;

		was = l->reftable + l->blocks;
		l->blocks = (all + cluster / 2 - 1) / (cluster / 2);
		l->reftable = align_up(l->blocks * 8, cluster) / cluster;
	} while (l->reftable + l->blocks != was);
	return 0;
}

/* The header's cluster; -ENAMETOOLONG if the parent's name does not fit. */
static int build_header(const struct layout *l, const struct block_create *c, u8 *h)
{
	u32 cluster = 1u << l->cluster_bits, at = QCOW2_H_V2_LENGTH,
	    name = c->parent ? (u32)strlen(c->parent) : 0,
	    names = 8 + 48 * (u32)ARRAY_LEN(features);

	be_store(h + QCOW2_H_MAGIC, QCOW2_MAGIC, 4);
	be_store(h + QCOW2_H_VERSION, l->version, 4);
	be_store(h + QCOW2_H_CLUSTER_BITS, l->cluster_bits, 4);
	be_store(h + QCOW2_H_SIZE, l->size, 8);
	be_store(h + QCOW2_H_L1_SIZE, l->l1_entries, 4);
	be_store(h + QCOW2_H_L1_OFFSET, (1 + l->reftable + l->blocks) << l->cluster_bits, 8);
	be_store(h + QCOW2_H_REFTABLE_OFFSET, cluster, 8);
	be_store(h + QCOW2_H_REFTABLE_CLUSTERS, l->reftable, 4);
	if (l->version >= 3) {
		at = QCOW2_H_V3_LENGTH;
		be_store(h + QCOW2_H_REFCOUNT_ORDER, 4, 4);
		be_store(h + QCOW2_H_LENGTH, at, 4);
	}
	if (name >= 1024 || at + 32 + name > cluster)
		return -ENAMETOOLONG;
	if (name)
		at += put_text(h + at, QCOW2_EXT_BACKING_FORMAT,
			       qcow2_format_in_image(c->parent_format));
	if (l->version >= 3 && at + names + 8 + name <= cluster)
		at += put_features(h + at);
	at += 8; /* the end of the extensions */
	if (name) {
		be_store(h + QCOW2_H_BACKING_OFFSET, at, 8);
		be_store(h + QCOW2_H_BACKING_SIZE, name, 4);
		memcpy(h + at, c->parent, name);
	}
	return 0;
}

static int write_layout(struct block_file *file, const struct layout *l, u8 *cluster)
{
	u64 size = 1ull << l->cluster_bits, all = 1 + l->reftable + l->blocks + l->l1,
	    per_block = size / 2;
	int r = file->fd >= 0 && file->size ? 0 : file->ops->resize(file, all * size);

	for (u64 i = 0; i < l->reftable && !r; i++) {
		memset(cluster, 0, size);
		for (u64 n = 0; n < size / 8 && i * (size / 8) + n < l->blocks; n++)
			be_store(cluster + 8 * n, (1 + l->reftable + i * (size / 8) + n) * size, 8);
		r = block_file_write(file, cluster, size, (1 + i) * size);
	}
	for (u64 i = 0; i < l->blocks && !r; i++) {
		memset(cluster, 0, size);
		for (u64 n = 0; n < per_block && i * per_block + n < all; n++)
			be_store(cluster + 2 * n, 1, 2);
		r = block_file_write(file, cluster, size, (1 + l->reftable + i) * size);
	}
	memset(cluster, 0, size);
	for (u64 i = 0; i < l->l1 && !r; i++)
		r = block_file_write(file, cluster, size, (1 + l->reftable + l->blocks + i) * size);
	return r ? r : block_file_flush(file);
}

int qcow2_create(struct block_file *file, const struct block_create *c, struct block *parent,
		 char *err, size_t errlen)
{
	struct layout l;
	u8 *cluster;
	int r = plan(&l, c, parent, err, errlen);

	if (r)
		return r;
	cluster = calloc(1, (1u << l.cluster_bits) + HEADER_MAX);
	if (!cluster)
		return qcow2_fail(err, errlen, -ENOMEM, "disk '%s': out of memory", c->path);
	/* The header last: until then it is no image. */
	r = write_layout(file, &l, cluster);
	memset(cluster, 0, 1u << l.cluster_bits);
	if (!r)
		r = build_header(&l, c, cluster);
	if (!r)
		r = block_file_write(file, cluster, 1u << l.cluster_bits, 0);
	if (!r)
		r = block_file_flush(file);
	free(cluster);
	if (r == -ENAMETOOLONG)
		return qcow2_fail(err, errlen, r,
				  "disk '%s': the name of its parent is too long; choose larger "
				  "clusters, or a shorter name",
				  c->path);
	return r ? qcow2_fail(err, errlen, r, "disk '%s': %s", c->path, fail_text(-r)) : 0;
}

/* --- Another parent --------------------------------------------------------------------------- */

/* The header's cluster `h`, with another name and format in it; what is behind the header otherwise moves along. */
static int rebuild_header(const struct qcow2 *q, const u8 *was, u8 *h, const char *path,
			  const char *format)
{
	u32 at = q->version < 3 ? QCOW2_H_V2_LENGTH : (u32)be_load(was + QCOW2_H_LENGTH, 4),
	    from = at, name = path ? (u32)strlen(path) : 0, room = q->cluster_size,
	    old = (u32)be_load(was + QCOW2_H_BACKING_OFFSET, 8), end = old ? old : room;

	memcpy(h, was, at);
	if (name >= 1024 || at + 32 + name > room)
		return -ENAMETOOLONG;
	if (name && format)
		at += put_text(h + at, QCOW2_EXT_BACKING_FORMAT, qcow2_format_in_image(format));
	while (from + 8 <= end && be_load(was + from, 4)) {
		u32 type = (u32)be_load(was + from, 4), size = (u32)be_load(was + from + 4, 4),
		    padded = (u32)align_up(size, 8);

		if (type != QCOW2_EXT_BACKING_FORMAT) {
			if (at + 8 + padded + 8 + name > room)
				return -ENAMETOOLONG;
			at += put_extension(h + at, type, was + from + 8, size);
		}
		from += 8 + padded;
	}
	at += 8;
	be_store(h + QCOW2_H_BACKING_OFFSET, name ? at : 0, 8);
	be_store(h + QCOW2_H_BACKING_SIZE, name, 4);
	if (name)
		memcpy(h + at, path, name);
	return 0;
}

int qcow2_set_parent(struct block *block, const char *path, const char *format, char *err,
		     size_t errlen)
{
	struct qcow2 *q = (struct qcow2 *)block;
	u8 *clusters;
	int r = qcow2_commit(q);

	if (r)
		return qcow2_fail(err, errlen, r, "disk '%s': %s", block->file->path,
				  fail_text(-r));
	clusters = calloc(2, q->cluster_size + HEADER_MAX);
	r = clusters ? block_file_read(block->file, clusters, q->cluster_size, 0) : -ENOMEM;
	if (!r)
		r = rebuild_header(q, clusters, clusters + q->cluster_size + HEADER_MAX, path,
				   format);
	if (!r)
		r = qcow2_file_write(q, clusters + q->cluster_size + HEADER_MAX, q->cluster_size,
				     0);
	if (!r) {
		memcpy(q->header, clusters + q->cluster_size + HEADER_MAX, sizeof(q->header));
		snprintf(q->backing, sizeof(q->backing), "%s", path ? path : "");
		snprintf(q->backing_format, sizeof(q->backing_format), "%s",
			 path && format ? format : "");
		r = qcow2_commit(q);
	}
	free(clusters);
	if (r == -ENAMETOOLONG)
		return qcow2_fail(err, errlen, r,
				  "disk '%s': the name of its parent does not fit into its header; "
				  "choose a shorter one",
				  block->file->path);
	return r ? qcow2_fail(err, errlen, r, "disk '%s': %s", block->file->path, fail_text(-r))
		 : 0;
}

/* --- Another size ----------------------------------------------------------------------------- */

/* A larger L1 table, in a new place. */
static int grow_l1(struct qcow2 *q, u64 entries)
{
	u64 clusters = align_up(entries * 8, q->cluster_size) >> q->cluster_bits,
	    old = q->l1_offset >> q->cluster_bits, first, got,
	    old_clusters = align_up(8ull * q->l1_size, q->cluster_size) >> q->cluster_bits;
	u64 *l1;
	int r = qcow2_alloc(q, clusters, true, &first, &got);

	if (r)
		return r;
	l1 = realloc(q->l1, entries * 8);
	if (!l1) {
		qcow2_unalloc(q, first, clusters);
		return -ENOMEM;
	}
	memset(l1 + q->l1_size, 0, (entries - q->l1_size) * 8);
	q->l1 = l1;
	q->l1_size = (u32)entries;
	q->l1_offset = first << q->cluster_bits;
	q->l1_moved = true;
	qcow2_header_update(q);
	r = qcow2_reserve(q);
	if (old_clusters)
		qcow2_free_later(q, old, old_clusters);
	return r;
}

/* What a parent has behind the disk's end so far must not come to light. */
static int hide_parent(struct block *block, u64 from, u64 to)
{
	struct block_req req = { .op = BLOCK_WRITE_ZEROES, .offset = from, .done = NULL };
	struct qcow2 *q = (struct qcow2 *)block;

	if (block->parent)
		to = MIN(to, block->parent->size);
	if (!q->backing[0] || to <= from)
		return 0;
	req.size = to - from;
	return qcow2_serve(q, &req);
}

int qcow2_resize(struct block *block, u64 size, char *err, size_t errlen)
{
	struct qcow2 *q = (struct qcow2 *)block;
	u64 per_l2 = 1ull << (q->cluster_bits + q->l2_bits), was = block->size,
	    entries = size / per_l2 + (size % per_l2 != 0);
	int r;

	if (size < was)
		return qcow2_fail(err, errlen, -EOPNOTSUPP,
				  "disk '%s': a qcow2 image cannot shrink; copy what is to stay "
				  "to a smaller one",
				  block->file->path);
	if (q->snapshots && size > was)
		return qcow2_fail(err, errlen, -EOPNOTSUPP,
				  "disk '%s': it has snapshots of its present size; delete them "
				  "first with: qemu-img snapshot -d",
				  block->file->path);
	if (size % BLOCK_SECTOR || entries > QCOW2_L1_MAX / 8)
		return qcow2_fail(err, errlen, -EFBIG,
				  "disk '%s': %llu bytes are too many for clusters of %u, or no "
				  "multiple of %u",
				  block->file->path, (unsigned long long)size, q->cluster_size,
				  BLOCK_SECTOR);
	r = entries > q->l1_size ? grow_l1(q, entries) : 0;
	if (!r)
		r = qcow2_commit(q);
	if (!r)
		r = hide_parent(block, was, size);
	if (!r)
		r = qcow2_commit(q);
	if (r)
		return qcow2_fail(err, errlen, r, "disk '%s': %s", block->file->path,
				  fail_text(-r));
	block->size = size;
	qcow2_header_update(q);
	r = qcow2_commit(q);
	return r ? qcow2_fail(err, errlen, r, "disk '%s': %s", block->file->path, fail_text(-r))
		 : 0;
}
