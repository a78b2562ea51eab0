/* qcow2 images, after docs/interop/qcow2.txt of QEMU: what the files of this format share.
 *
 * A request changes tables in memory alone; qcow2_commit brings them to the file in an order that leaves, wherever the power is cut,
 * an image that opens and has leaked clusters at most:
 *
 *   1. data (when it was written), refcount blocks, L2 tables that nothing on disk links
 *   2. the entries of the refcount table, or all of a table that has moved; then the header that names it
 *   3. changes of L2 tables that are linked, and of the L1 table
 *   4. what these no longer link is free
 *
 * with a flush of the file between the steps. So a refcount block may be written at any time: a count rises before the link exists and
 * falls after it is gone. */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "base/bits.h"
#include "block/block.h"

#include <string.h>

#define QCOW2_L1_MAX             (32 * MIB) /* bytes; QEMU has the same limits */
#define QCOW2_REFTABLE_MAX       (8 * MIB)
#define QCOW2_SNAPSHOTS_MAX      65536u
#define QCOW2_SNAPSHOT_TABLE_MAX (64 * MIB)
#define QCOW2_OFFSET             0x00fffffffffffe00ull /* bits 9-55 of L1 and L2 entries */
#define QCOW2_COPIED             (1ull << 63)
#define QCOW2_COMPRESSED         (1ull << 62)
#define QCOW2_ZERO               1ull

enum qcow2_incompatible {
	QCOW2_DIRTY = 1 << 0,
	QCOW2_CORRUPT = 1 << 1,
	QCOW2_EXTERNAL_DATA = 1 << 2,
	QCOW2_COMPRESSION_TYPE = 1 << 3,
	QCOW2_EXTENDED_L2 = 1 << 4,
};

/* Byte offsets in the header. */
enum qcow2_field {
	QCOW2_H_MAGIC = 0,
	QCOW2_H_VERSION = 4,
	QCOW2_H_BACKING_OFFSET = 8,
	QCOW2_H_BACKING_SIZE = 16,
	QCOW2_H_CLUSTER_BITS = 20,
	QCOW2_H_SIZE = 24,
	QCOW2_H_CRYPT = 32,
	QCOW2_H_L1_SIZE = 36,
	QCOW2_H_L1_OFFSET = 40,
	QCOW2_H_REFTABLE_OFFSET = 48,
	QCOW2_H_REFTABLE_CLUSTERS = 56,
	QCOW2_H_SNAPSHOTS = 60,
	QCOW2_H_SNAPSHOTS_OFFSET = 64,
	QCOW2_H_V2_LENGTH = 72,
	QCOW2_H_INCOMPATIBLE = 72,
	QCOW2_H_COMPATIBLE = 80,
	QCOW2_H_AUTOCLEAR = 88,
	QCOW2_H_REFCOUNT_ORDER = 96,
	QCOW2_H_LENGTH = 100,
	QCOW2_H_COMPRESSION = 104,
	QCOW2_H_V3_LENGTH = 112, /* that we write */
};

#define QCOW2_MAGIC              0x514649fbu
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURES       0x6803f857u
#define QCOW2_EXT_BITMAPS        0x23852875u

/* A table of one cluster, an L2 table or a refcount block, as the file has it or will have it. */
struct qcow2_table {
	u64 offset; /* in the file; 0: this place is free */
	u8 *data;
	u32 dirty_from, dirty_to; /* bytes; equal if clean */
	bool fresh;               /* no table on disk links it */
	bool recent;              /* used since the hand came by */
	struct qcow2_table *next; /* in its bucket */
};

/* A bounded number of tables, found by their offset; those that are dirty stay. */
struct qcow2_cache {
	u32 table_size, limit, used, dirty, hand, bucket_mask;
	struct qcow2_table *tables, **buckets;
};

struct qcow2_extent {
	u64 first, count; /* clusters */
};

struct qcow2_area {
	u64 start, end; /* bytes in the file */
};

struct qcow2_snapshot {
	u64 l1_offset, table_offset; /* the latter of its entry in the snapshot table */
	u32 l1_size;
};

struct qcow2 {
	struct block block;
	u8 header[BLOCK_SECTOR]; /* the file's first bytes: all that ever changes in them is in this sector */
	bool header_dirty;
	unsigned version, cluster_bits, l2_bits, refcount_order;
	u32 cluster_size;
	u64 incompatible;
	bool zstd;
	char backing[1024], backing_format[16];
	u64 bitmaps_offset, bitmaps_size; /* of the directory */
	u32 bitmaps;

	u64 *l1;
	u32 l1_size; /* entries */
	u64 l1_offset;
	u32 l1_dirty_from, l1_dirty_to; /* entries */
	bool l1_moved;                  /* all of it is to be written */
	struct qcow2_cache l2;

	u64 *reftable;
	u64 reftable_offset;
	u32 reftable_size; /* entries */
	u32 reftable_dirty_from, reftable_dirty_to;
	bool reftable_moved;
	bool reftable_growing; /* it has its new size, but no place yet */
	u8 *full;              /* for each refcount block: it counts no cluster as free */
	struct qcow2_cache refblocks;
	u64 free_hint;   /* clusters below are in use */
	u64 alloc_floor; /* clusters below are not handed out: a repair does not know them */

	/* Freed in memory; the file may still link them. */
	struct qcow2_extent *freed;
	u32 freed_count;
	bool committing;

	struct qcow2_snapshot *snapshot;
	u32 snapshots;
	u64 snapshots_end; /* of their table, in the file */

	/* Areas that are neither allocated nor written as data, by starts and by ends: header, L1 tables, refcount table, snapshot table. */
	struct qcow2_area *reserved;
	u32 reserved_count;

	u64 virgin;   /* no write has ever gone beyond this offset of the file: zeros */
	u64 used_end; /* allocated clusters end here; the file may be shorter */
	int failed; /* a flush of the file has failed, with this negative errno: nothing is known of what it covered */

	u8 *bounce;            /* a cluster */
	u8 *unpacked, *packed; /* compressed clusters; allocated when met */
	u64 unpacked_entry;    /* the L2 entry of what is in unpacked, or 0 */
};

/* Writes at most one line to err; returns error, a negative errno. */
int qcow2_fail(char *err, size_t errlen, int error, const char *format, ...) printf_like(4, 5);

/* --- qcow2_cache.c: tables in memory --- */

/* Room for tables of table_size bytes, together about `bytes`. 0 or -ENOMEM. */
int qcow2_cache_init(struct qcow2_cache *c, u32 table_size, u64 bytes) must_check;
void qcow2_cache_free(struct qcow2_cache *c);
/* The table at offset; NULL if it is not in memory. */
struct qcow2_table *qcow2_cache_find(struct qcow2_cache *c, u64 offset);
/* A place for the table at offset, which is not there yet; its contents are undefined. Where too many are dirty they are written, L2 tables
 * by a commit. -EIO if it is there. */
int qcow2_cache_add(struct qcow2 *q, struct qcow2_cache *c, u64 offset, struct qcow2_table **t)
	must_check;
/* The table at offset, from the file if it is not in memory. -EIO where none can be. */
int qcow2_cache_load(struct qcow2 *q, struct qcow2_cache *c, u64 offset, struct qcow2_table **t)
	must_check;
/* Forgets the table at offset, if it is there, with its changes. */
void qcow2_cache_drop(struct qcow2_cache *c, u64 offset);
/* Bytes [from, from + size) of a table have been changed. */
void qcow2_cache_mark(struct qcow2_cache *c, struct qcow2_table *t, u32 from, u32 size);
/* Writes what was changed to the file; fresh: in tables that are. Negative errno: what could not be written stays dirty. */
int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c, bool fresh) must_check;

/* --- qcow2_header.c: the header, what it names, and new images --- */

/* Reads and checks all that is read when an image is opened; for writing also, unless for a repair, that tables do not lie in each other. */
int qcow2_load(struct qcow2 *q, bool for_writing, bool repair, char *err, size_t errlen) must_check;
/* The areas that only q's own tables may lie in, after any of them has moved. */
int qcow2_reserve(struct qcow2 *q) must_check;
bool qcow2_probe(const u8 *head, const u8 *tail, u64 file_size);
/* Puts the header's fields that change together again; a commit writes them. */
void qcow2_header_update(struct qcow2 *q);
/* What a format is called in images; NULL stays. */
const char *qcow2_format_in_image(const char *name);
void qcow2_info_snapshots(struct qcow2 *q, struct block_info *info);

/* --- qcow2_create.c: what an image is, from outside; block_ops --- */

int qcow2_set_parent(struct block *block, const char *path, const char *format, char *err,
		     size_t errlen);
int qcow2_create(struct block_file *file, const struct block_create *c, struct block *parent,
		 char *err, size_t errlen);
int qcow2_resize(struct block *block, u64 size, char *err, size_t errlen);

/* --- qcow2_refs.c: refcounts, and clusters that are free --- */

/* The count of a cluster; -EIO if the tables are damaged. */
int qcow2_ref_get(struct qcow2 *q, u64 cluster, u64 *count) must_check;
int qcow2_ref_set(struct qcow2 *q, u64 cluster, u64 count) must_check;
/* What the refcount table names, sorted; to be freed. NULL if out of memory. */
u64 *qcow2_refblocks(const struct qcow2 *q, u32 *count);
/* Takes up to `want` free clusters that follow each other, exactly as many if exact; their counts are 1. */
int qcow2_alloc(struct qcow2 *q, u64 want, bool exact, u64 *first, u64 *got) must_check;
/* For repairs: the block that an entry of the refcount table names is none; a new one is made when it is needed. */
void qcow2_ref_forget(struct qcow2 *q, u32 index);
/* Gives back clusters that no table, on disk or in memory, has ever linked. */
void qcow2_unalloc(struct qcow2 *q, u64 first, u64 count);
/* The references of tables in memory to these clusters are gone; counts fall once those on disk are too. */
void qcow2_free_later(struct qcow2 *q, u64 first, u64 count);
void qcow2_free_now(struct qcow2 *q);
/* True if data must not be written here: a table lies there. */
bool qcow2_guarded(struct qcow2 *q, u64 offset, u64 size);
static inline u64 qcow2_refcount_max(const struct qcow2 *q)
{
	return q->refcount_order == 6 ? ~0ull : (1ull << (1u << q->refcount_order)) - 1;
}

/* --- qcow2_map.c: L1 and L2 tables --- */

enum qcow2_kind {
	QCOW2_K_NONE,     /* the parent's, or zeros */
	QCOW2_K_ZERO,     /* zeros, no cluster in the file */
	QCOW2_K_RESERVED, /* zeros, with a cluster */
	QCOW2_K_DATA,
	QCOW2_K_PACKED,
	QCOW2_K_BAD,
};

/* Clusters that follow each other on the disk and are of one kind; with a cluster in the file also follow each other there. */
struct qcow2_run {
	enum qcow2_kind kind;
	u64 host;  /* of the first byte asked for, where there is a cluster */
	u64 entry; /* of the first cluster */
	u64 size;  /* bytes from the first one asked for, at most what was asked for */
};

enum qcow2_kind qcow2_kind(const struct qcow2 *q, u64 entry);
int qcow2_map(struct qcow2 *q, u64 offset, u64 size, struct qcow2_run *run) must_check;
/* The L2 table of an L1 entry; NULL where there is none. Good until the next call for another one. */
int qcow2_l2_read(struct qcow2 *q, u64 l1_index, struct qcow2_table **t) must_check;
/* The same to be changed: makes one, or a copy of one that a snapshot has too. */
int qcow2_l2_change(struct qcow2 *q, u64 l1_index, struct qcow2_table **t) must_check;
void qcow2_l1_set(struct qcow2 *q, u32 index, u64 entry);
/* Sets an entry of a table to be changed, and drops the reference that it held. */
void qcow2_l2_set(struct qcow2 *q, struct qcow2_table *t, u32 index, u64 entry);
static inline u64 qcow2_l2_get(const struct qcow2_table *t, u32 index)
{
	return be_load(t->data + 8 * (size_t)index, 8);
}
/* Whether the cluster that an active entry links belongs to it alone. */
int qcow2_own(struct qcow2 *q, u64 entry, bool *own) must_check;
/* The clusters in the file that a compressed cluster lies in, its first byte and how many it can have. */
void qcow2_packed(const struct qcow2 *q, u64 entry, u64 *offset, u64 *size);
/* All changes so far reach stable storage, in order. */
int qcow2_commit(struct qcow2 *q) must_check;
/* Every write of data, so that q->virgin holds. */
int qcow2_file_write(struct qcow2 *q, const void *buf, u64 size, u64 offset) must_check;

/* --- qcow2.c --- */

/* A request, which may reach behind the disk's end as far as L1 entries do. */
int qcow2_serve(struct qcow2 *q, const struct block_req *req) must_check;

/* --- qcow2_packed.c --- */

/* The contents of a compressed cluster, in q->unpacked. */
int qcow2_unpack(struct qcow2 *q, u64 entry) must_check;

/* --- qcow2_check.c: block_ops --- */

int qcow2_check(struct block *block, struct block_check *c, bool repair);

#endif
