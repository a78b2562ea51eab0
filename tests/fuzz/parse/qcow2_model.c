/* qcow2 files in memory, read after docs/interop/qcow2.txt of QEMU. */
#include "qcow2_model.h"

#include "memory_file.h"

#include "base/bits.h"
#include "block/qcow2.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define REFTABLE_LOOK 4096u /* entries that are compared with an offset */
#define SUM_ENTRIES   32u   /* of each table, for a snapshot's sum */

/* The last compressed cluster, since a header was read. */
static u8 unpacked[2 * MIB];
static u64 unpacked_entry;
static bool unpacked_good;

/* The last question about a refcount block, since then. */
static u64 asked;
static bool answer;

static u64 number(const struct qcow2_model *m, u64 at, unsigned size)
{
	u8 buf[8];

	memory_file_get(m->file, buf, size, at);
	return be_load(buf, size);
}

/* --- The header ------------------------------------------------------------------------------- */

/* The last cluster of a file may be cut short. */
static bool inside(const struct qcow2_model *m, u64 offset, u64 size)
{
	u64 end = align_up(m->file_size, m->cluster);

	return offset && offset % m->cluster == 0 && offset <= end && size <= end - offset;
}

static const char *load_snapshots(struct qcow2_model *m)
{
	u64 count = number(m, QCOW2_H_SNAPSHOTS, 4), at = number(m, QCOW2_H_SNAPSHOTS_OFFSET, 8);
	struct qcow2_model_area *table = &m->areas[3];

	*table = (struct qcow2_model_area){ at, 0 };
	if (count && !inside(m, at, 40 * count))
		return "the snapshot table is not in the file";
	for (u64 n = 0; n < count; n++) {
		struct qcow2_model_area l1 = { number(m, at, 8), 8 * number(m, at + 8, 4) };

		if (l1.size && !inside(m, l1.start, l1.size))
			return "the L1 table of a snapshot is not in the file";
		at += align_up(40 + number(m, at + 36, 4) + number(m, at + 12, 2) +
				       number(m, at + 14, 2),
			       8);
		if (at > align_up(m->file_size, m->cluster))
			return "the snapshot table reaches behind the file";
		if (n < QCOW2_MODEL_SNAPSHOTS)
			m->areas[QCOW2_MODEL_SNAPSHOT_L1 + m->snapshots++] = l1;
	}
	table->size = at - table->start;
	return NULL;
}

/* For writing, no table is where another one is. */
static const char *find_overlap(const struct qcow2_model *m)
{
	for (unsigned a = 1; a < 4 + m->snapshots; a++)
		for (unsigned b = 0; b < a; b++) {
			const struct qcow2_model_area *x = &m->areas[a], *y = &m->areas[b];

			if (x->size && y->size &&
			    x->start < align_up(y->start + y->size, m->cluster) &&
			    y->start < align_up(x->start + x->size, m->cluster))
				return "tables lie in each other";
		}
	for (u32 n = 0; n < MIN(m->reftable_entries, REFTABLE_LOOK); n++) {
		u64 block = number(m, m->areas[2].start + 8ull * n, 8);

		if (block && (!inside(m, block, m->cluster) || block >= m->file_size))
			return "a refcount block is not in the file";
		if (block && qcow2_model_protects(m, block, m->cluster))
			return "a refcount block lies in another table";
	}
	return NULL;
}

static const char *load_v3(struct qcow2_model *m)
{
	u64 incompatible = number(m, QCOW2_H_INCOMPATIBLE, 8),
	    length = number(m, QCOW2_H_LENGTH, 4);

	m->zstd = length > QCOW2_H_COMPRESSION && number(m, QCOW2_H_COMPRESSION, 1) == 1;
	if (incompatible & ~(u64)(QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION_TYPE))
		return "a feature that nobody knows";
	if (number(m, QCOW2_H_REFCOUNT_ORDER, 4) > 6)
		return "refcounts of more than 64 bits";
	if (length < 104 || length > m->cluster)
		return "a header of no good length";
	return NULL;
}

const char *qcow2_model_load(struct qcow2_model *m, unsigned file, bool for_writing)
{
	u64 bits, l1_size, clusters, backing, name;
	const char *why;

	*m = (struct qcow2_model){ .file = file, .file_size = memory_file_size(file) };
	unpacked_entry = asked = 0;
	m->version = (unsigned)number(m, QCOW2_H_VERSION, 4);
	bits = number(m, QCOW2_H_CLUSTER_BITS, 4);
	if (number(m, 0, 4) != QCOW2_MAGIC || m->version < 2 || m->version > 3 || bits < 9 ||
	    bits > 21)
		return "it is no qcow2 image";
	m->cluster_bits = (unsigned)bits;
	m->cluster = 1ull << bits;
	m->size = number(m, QCOW2_H_SIZE, 8);
	l1_size = number(m, QCOW2_H_L1_SIZE, 4);
	clusters = number(m, QCOW2_H_REFTABLE_CLUSTERS, 4);
	backing = number(m, QCOW2_H_BACKING_OFFSET, 8);
	name = number(m, QCOW2_H_BACKING_SIZE, 4);
	m->backing = backing && name;
	m->areas[0] = (struct qcow2_model_area){ 0, m->cluster };
	m->areas[QCOW2_MODEL_L1] =
		(struct qcow2_model_area){ number(m, QCOW2_H_L1_OFFSET, 8), 8 * l1_size };
	m->areas[2] = (struct qcow2_model_area){ number(m, QCOW2_H_REFTABLE_OFFSET, 8),
						 clusters << bits };
	m->reftable_entries = (u32)MIN(clusters << bits >> 3, UINT32_MAX);
	if (number(m, QCOW2_H_CRYPT, 4))
		return "it is encrypted";
	if (!inside(m, m->areas[1].start, 8 * l1_size) || m->size > l1_size << (2 * bits - 3))
		return "the L1 table is not in the file, or too small";
	if (!clusters || clusters << bits > QCOW2_REFTABLE_MAX ||
	    !inside(m, m->areas[2].start, clusters << bits))
		return "the refcount table is not in the file, or too large";
	if (m->backing && (backing > m->cluster || name > m->cluster - backing))
		return "the parent's name is not in the first cluster";
	why = m->version < 3 ? NULL : load_v3(m);
	if (!why)
		why = load_snapshots(m);
	return why || !for_writing ? why : find_overlap(m);
}

/* --- What the tables say ---------------------------------------------------------------------- */

bool qcow2_model_protects(const struct qcow2_model *m, u64 offset, u64 size)
{
	for (unsigned n = 0; n < 4 + m->snapshots; n++) {
		u64 start = m->areas[n].start, end = align_up(start + m->areas[n].size, m->cluster);

		if (m->areas[n].size && offset < end && start < offset + size)
			return true;
	}
	return false;
}

/* Also where the refcount table is too long to say. */
static bool is_refblock(const struct qcow2_model *m, u64 offset)
{
	u8 piece[512];

	if (asked == offset)
		return answer;
	asked = offset;
	answer = true;
	for (u32 n = 0; n < m->reftable_entries; n++) {
		if (n % 64 == 0)
			memory_file_get(m->file, piece, sizeof(piece),
					m->areas[2].start + 8ull * n);
		if (n == REFTABLE_LOOK || be_load(piece + 8 * (n % 64), 8) == offset)
			return true;
	}
	answer = false;
	return false;
}

/* What is compressed without a fault, into `unpacked`; otherwise there is no saying what becomes of it. */
static bool unpack(const struct qcow2_model *m, const u8 *in, u64 size)
{
	z_stream z = { .next_in = (u8 *)(uintptr_t)in, .avail_in = (uInt)size };
	int r;

	if (m->zstd) {
		size_t frame = ZSTD_findFrameCompressedSize(in, size);

		return !ZSTD_isError(frame) &&
		       ZSTD_decompress(unpacked, m->cluster, in, frame) == m->cluster;
	}
	z.next_out = unpacked;
	z.avail_out = (uInt)m->cluster;
	if (inflateInit2(&z, -15) != Z_OK)
		return false;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return r == Z_STREAM_END && z.total_out == m->cluster;
}

static enum qcow2_model_says read_packed(const struct qcow2_model *m, u64 entry, u64 from, u8 *buf)
{
	unsigned x = 62 - (m->cluster_bits - 8);
	u64 offset = entry & bits_mask(x), sectors = (entry & bits_mask(62)) >> x;
	u64 size = (sectors + 1) * 512 - offset % 512;
	u8 *in;

	if (offset >= m->file_size)
		return QCOW2_SAYS_ERROR;
	if (unpacked_entry != entry) {
		in = malloc(size);
		memory_file_get(m->file, in, size, offset);
		unpacked_entry = entry;
		unpacked_good = unpack(m, in, size);
		free(in);
	}
	memcpy(buf, unpacked + from, 512);
	return unpacked_good ? QCOW2_SAYS_DATA : QCOW2_SAYS_NOTHING;
}

enum qcow2_model_says qcow2_model_sector(const struct qcow2_model *m, unsigned area, u64 sector,
					 u8 *buf)
{
	u64 at = sector * 512, inside_cluster = at % m->cluster;
	u64 l1_index = at >> (2 * m->cluster_bits - 3), l2, entry, host;
	u64 l2_index = at >> m->cluster_bits & (m->cluster / 8 - 1);

	if (l1_index >= m->areas[area].size / 8)
		return QCOW2_SAYS_ERROR;
	l2 = number(m, m->areas[area].start + 8 * l1_index, 8) & QCOW2_OFFSET;
	if (!l2)
		return QCOW2_SAYS_PARENT;
	if (l2 % m->cluster || l2 >= m->file_size || qcow2_model_protects(m, l2, m->cluster))
		return QCOW2_SAYS_ERROR;
	if (is_refblock(m, l2))
		return QCOW2_SAYS_NOTHING;
	entry = number(m, l2 + 8 * l2_index, 8);
	if (entry & QCOW2_COMPRESSED)
		return read_packed(m, entry, inside_cluster, buf);
	host = entry & QCOW2_OFFSET;
	if (host % m->cluster || (entry & ~(QCOW2_OFFSET | QCOW2_COPIED | QCOW2_ZERO)) ||
	    (m->version < 3 && (entry & QCOW2_ZERO)))
		return QCOW2_SAYS_ERROR;
	if (!host && (entry & QCOW2_COPIED))
		return QCOW2_SAYS_NOTHING;
	if (!host && !(entry & QCOW2_ZERO))
		return QCOW2_SAYS_PARENT;
	memset(buf, 0, 512);
	if (!(entry & QCOW2_ZERO))
		memory_file_get(m->file, buf, 512, host + inside_cluster);
	return QCOW2_SAYS_DATA;
}

u64 qcow2_model_sum(const struct qcow2_model *m, unsigned area)
{
	u64 sum = 0, per_cluster = m->cluster / 512, per_l2 = m->cluster / 8;
	u64 entries = MIN(m->areas[area].size / 8, SUM_ENTRIES);
	u8 buf[512];

	for (u64 i = 0; i < entries * SUM_ENTRIES; i++) {
		u64 cluster = i / SUM_ENTRIES * per_l2 + i % SUM_ENTRIES;
		enum qcow2_model_says says =
			qcow2_model_sector(m, area, cluster * per_cluster + i % per_cluster, buf);

		sum = (sum ^ says) * 0x9e3779b97f4a7c15ull;
		for (unsigned b = 0; b < 512 && says == QCOW2_SAYS_DATA; b += 8)
			sum = (sum ^ le_load(buf + b, 8)) * 0x9e3779b97f4a7c15ull;
	}
	return sum;
}
