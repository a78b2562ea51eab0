/* qcow2 images byte by byte, after docs/interop/qcow2.txt of QEMU. */
#include "qcow2_sample.h"

#include "block/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define CLUSTERS 256u /* of a file */
#define PACKED   3u   /* compressed clusters of an L2 table */

struct image {
	const struct qcow2_sample *s;
	u8 *data;
	u32 cluster;
	u32 used; /* clusters */
	u16 counts[CLUSTERS];
	u64 l1_entries, l1, reftable;
};

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "qcow2 sample: %s\n", what);
	exit(1);
}

static u64 take(struct image *im, u32 count)
{
	u64 offset = (u64)im->used * im->cluster;

	for (u32 i = 0; i < count; i++) {
		if (im->used == CLUSTERS)
			fail("too large");
		im->counts[im->used++] = 1;
	}
	return offset;
}

static void put(struct image *im, u64 at, u64 v, unsigned size)
{
	be_store(im->data + at, v, size);
}

/* --- Clusters of the disk --------------------------------------------------------------------- */

static u64 data_cluster(struct image *im, u8 value)
{
	u64 offset = take(im, 1);

	memset(im->data + offset, value, BLOCK_SECTOR);
	return offset;
}

static u64 compress_cluster(const struct image *im, u8 *out, u64 room, u8 *in)
{
	z_stream z = {
		.next_in = in, .avail_in = im->cluster, .next_out = out, .avail_out = (uInt)room
	};

	if (im->s->zstd)
		return ZSTD_compress(out, room, in, im->cluster, 3);
	if (deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		fail("deflate");
	deflateEnd(&z);
	return z.total_out;
}

/* Compressed clusters into entries of an L2 table. They follow each other without gaps: some share a cluster of the file, some lie in two. */
static void packed_clusters(struct image *im, u64 entries)
{
	unsigned x = 62 - (im->s->cluster_bits - 8);
	u8 *in = malloc(im->cluster), *out = malloc(PACKED * 2 * (size_t)im->cluster);
	u64 ends[PACKED + 1] = { 0 }, start;

	for (unsigned n = 0; n < PACKED; n++) {
		for (u32 i = 0; i < im->cluster; i++)
			in[i] = i < 300 ? (u8)(i * i * (7 * n + 3) >> 3)
					: (u8)(n + i * 16 / im->cluster);
		ends[n + 1] = ends[n] + compress_cluster(im, out + ends[n], 2 * im->cluster, in);
	}
	start = take(im, (u32)((ends[PACKED] + im->cluster - 1) / im->cluster));
	memcpy(im->data + start, out, ends[PACKED]);
	for (u64 at = start; at < start + ends[PACKED]; at += im->cluster)
		im->counts[at / im->cluster] = 0;
	for (unsigned n = 0; n < PACKED; n++) {
		u64 from = start + ends[n], last = start + ends[n + 1] - 1;

		put(im, entries + 8ull * n,
		    QCOW2_COMPRESSED | (last / BLOCK_SECTOR - from / BLOCK_SECTOR) << x | from, 8);
		for (u64 c = from / im->cluster; c <= last / im->cluster; c++)
			im->counts[c]++;
	}
	free(in);
	free(out);
}

/* An L2 table that has entries of each kind. */
static u64 l2_table(struct image *im, u64 entries)
{
	u64 l2 = take(im, 1), copied = im->s->snapshots ? 0 : QCOW2_COPIED;

	put(im, l2, data_cluster(im, 0x5a) | copied, 8);
	if (im->s->length)
		put(im, l2 + 8, im->s->length / 4 | copied, 8);
	if (entries < 8)
		return l2;
	if (im->s->packed)
		packed_clusters(im, l2 + 8);
	if (im->s->version >= 3)
		put(im, l2 + 8ull * 4, QCOW2_ZERO, 8);
	if (im->s->version >= 3 && im->s->cluster_bits < 20)
		put(im, l2 + 8ull * 5, data_cluster(im, 0xc3) | QCOW2_ZERO | copied, 8);
	if (im->s->cluster_bits < 20)
		put(im, l2 + 8ull * 7, data_cluster(im, 0x77) | copied, 8);
	return l2;
}

static void make_l1(struct image *im)
{
	u64 per_l2 = im->cluster / 8, clusters = (im->s->size + im->cluster - 1) / im->cluster;
	u64 copied = im->s->snapshots ? 0 : QCOW2_COPIED;

	im->l1_entries = (clusters + per_l2 - 1) / per_l2;
	im->l1 = take(im, (u32)((im->l1_entries * 8 + im->cluster - 1) / im->cluster));
	put(im, im->l1, l2_table(im, MIN(clusters, per_l2)) | copied, 8);
	if (im->l1_entries > 2)
		put(im, im->l1 + 8 * (im->l1_entries - 2), l2_table(im, per_l2) | copied, 8);
}

/* --- What else there can be ------------------------------------------------------------------- */

/* They share all with the active tables. */
static void make_snapshots(struct image *im)
{
	static const char *const names[] = { "clean", "before the update", "" };
	u32 l1_clusters = (u32)((im->l1_entries * 8 + im->cluster - 1) / im->cluster);
	u64 at, table;

	if (!im->s->snapshots)
		return;
	/* Behind the L1 table are only L2 tables and data so far. */
	for (u64 i = im->l1 / im->cluster + l1_clusters; i < im->used; i++)
		im->counts[i] = (u16)(im->counts[i] * (im->s->snapshots + 1));
	table = at = take(im, 1);
	for (unsigned i = 0; i < im->s->snapshots; i++) {
		const char *name = names[i % ARRAY_LEN(names)];
		u32 extra = im->s->version < 3 ? 0 : i == 1 ? 24 : 16;
		u64 l1 = take(im, l1_clusters);

		memcpy(im->data + l1, im->data + im->l1, im->l1_entries * 8);
		put(im, at, l1, 8);
		put(im, at + 8, im->l1_entries, 4);
		put(im, at + 12, 1, 2);
		put(im, at + 14, strlen(name), 2);
		put(im, at + 16, 1700000000 + i, 4);
		put(im, at + 36, extra, 4);
		at += 40;
		if (extra)
			put(im, at + 8, im->s->size, 8);
		at += extra;
		im->data[at++] = (u8)('1' + i);
		memcpy(im->data + at, name, strlen(name));
		at = align_up(at + strlen(name), 8);
		if (at - table > im->cluster)
			fail("too many snapshots");
	}
	put(im, QCOW2_H_SNAPSHOTS, im->s->snapshots, 4);
	put(im, QCOW2_H_SNAPSHOTS_OFFSET, table, 8);
}

static u64 extension(struct image *im, u64 at, u32 type, const void *data, u32 size)
{
	put(im, at, type, 4);
	put(im, at + 4, size, 4);
	memcpy(im->data + at + 8, data, size);
	return at + 8 + align_up(size, 8);
}

/* One bitmap of one cluster. */
static u64 make_bitmap(struct image *im, u64 at)
{
	static const char name[] = "since monday";
	u8 data[24] = { 0 };
	u64 directory = take(im, 1), table = take(im, 1), bits = take(im, 1);

	put(im, directory, table, 8);
	put(im, directory + 8, 1, 4);
	im->data[directory + 16] = 1; /* dirty tracking */
	im->data[directory + 17] = 16;
	put(im, directory + 18, strlen(name), 2);
	memcpy(im->data + directory + 24, name, strlen(name));
	put(im, table, bits, 8);
	im->data[bits] = 0x81;
	be_store(data, 1, 4);
	be_store(data + 8, align_up(24 + strlen(name), 8), 8);
	be_store(data + 16, directory, 8);
	put(im, QCOW2_H_AUTOCLEAR, 1, 8);
	return extension(im, at, QCOW2_EXT_BITMAPS, data, sizeof(data));
}

static void make_header(struct image *im)
{
	static const u8 feature[48] = { 0, 0, 'd', 'i', 'r', 't', 'y' };
	const struct qcow2_sample *s = im->s;
	u64 at = s->version < 3 ? 72 : s->zstd ? 112 : 104;

	put(im, QCOW2_H_MAGIC, QCOW2_MAGIC, 4);
	put(im, QCOW2_H_VERSION, s->version, 4);
	put(im, QCOW2_H_CLUSTER_BITS, s->cluster_bits, 4);
	put(im, QCOW2_H_SIZE, s->size, 8);
	put(im, QCOW2_H_L1_SIZE, im->l1_entries, 4);
	put(im, QCOW2_H_L1_OFFSET, im->l1, 8);
	put(im, QCOW2_H_REFTABLE_OFFSET, im->reftable, 8);
	put(im, QCOW2_H_REFTABLE_CLUSTERS, 1, 4);
	if (s->version >= 3) {
		put(im, QCOW2_H_INCOMPATIBLE,
		    s->incompatible | (s->zstd ? QCOW2_COMPRESSION_TYPE : 0u), 8);
		put(im, QCOW2_H_COMPATIBLE, s->incompatible & QCOW2_DIRTY, 8); /* lazy refcounts */
		put(im, QCOW2_H_REFCOUNT_ORDER, s->refcount_order, 4);
		put(im, QCOW2_H_LENGTH, at, 4);
		im->data[QCOW2_H_COMPRESSION] = s->zstd;
	}
	if (s->backing)
		at = extension(im, at, QCOW2_EXT_BACKING_FORMAT, "qcow2", 5);
	if (s->extensions) {
		at = extension(im, at, QCOW2_EXT_FEATURES, feature, sizeof(feature));
		at = extension(im, at, 0x12345678, "unknown", 7);
	}
	if (s->bitmap)
		at = make_bitmap(im, at);
	at += 8;
	if (s->backing) {
		put(im, QCOW2_H_BACKING_OFFSET, at, 8);
		put(im, QCOW2_H_BACKING_SIZE, strlen(s->backing), 4);
		memcpy(im->data + at, s->backing, strlen(s->backing));
	}
}

static void make_refcounts(struct image *im)
{
	unsigned order = im->s->refcount_order;
	u32 per_block = im->cluster * 8 >> order, blocks = 1;
	u64 first;

	while (blocks * per_block < im->used + blocks)
		blocks++;
	first = take(im, blocks);
	for (u32 i = 0; i < blocks; i++)
		put(im, im->reftable + 8 * i, first + (u64)i * im->cluster, 8);
	for (u32 i = 0; i < im->used; i++) {
		u64 count = im->s->miscounted && i % 4 == 3 ? i & 4 ? 0 : im->counts[i] + 1u
							    : im->counts[i];
		u8 *block = im->data + first + (u64)(i / per_block) * im->cluster;
		u32 n = i % per_block;

		if (count >> (1u << MIN(order, 5u)))
			fail("a refcount is too large");
		if (order < 3)
			block[n << order >> 3] |= (u8)(count << (n << order & 7));
		else
			be_store(block + ((u64)n << (order - 3)), count, 1u << (order - 3));
	}
}

void qcow2_sample_write(const struct qcow2_sample *s, const char *path)
{
	struct image im = { .s = s, .cluster = 1u << s->cluster_bits };
	FILE *out = fopen(path, "wb");

	im.data = calloc(CLUSTERS, im.cluster);
	if (!out || !im.data)
		fail(path);
	take(&im, 1);
	im.reftable = take(&im, 1);
	make_l1(&im);
	make_snapshots(&im);
	make_header(&im);
	make_refcounts(&im);
	if (fwrite(im.data, im.cluster, im.used, out) != im.used || fflush(out) ||
	    (s->length && ftruncate(fileno(out), (off_t)s->length)) || fclose(out))
		fail(path);
	free(im.data);
}
