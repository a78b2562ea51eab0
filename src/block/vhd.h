/* An open VHD image, as the files of its implementation share it.
 *
 * What makes it safe against power cuts: a new block is linked (its entry in the block allocation table is written) only after its
 * contents and the footer behind it are on stable storage; in a differencing image a sector's bit is set on disk only after the
 * sector. Until then entries and bits wait in memory: vhd_commit flushes, writes them, and flushes again. So a cut leaves blocks that
 * nothing links (leaks), and sectors never written as far as a flush promised anything. Entries and bitmaps are changed in place, by
 * whole sectors. A damaged footer at the end is replaced by the copy at the start. */
#ifndef BLOCK_VHD_H
#define BLOCK_VHD_H

#include "block/block.h"
#include "block/vhd_format.h"

#define VHD_MIN_BLOCK     4096u
#define VHD_MAX_BLOCK     (128u << 20)
#define VHD_DEFAULT_BLOCK (2u << 20)
#define VHD_MAX_ENTRIES   (8u << 20) /* a table of 32 MiB */
#define VHD_MAX_PENDING   64u
#define VHD_MAX_SIZE      (VHD_MAX_SECTORS * BLOCK_SECTOR)
#define VHD_TABLE_OFFSET  (VHD_FOOTER + VHD_HEADER)

/* The bitmap of a block, in memory. */
struct vhd_bitmap {
	u32 index; /* of the block, or VHD_UNUSED */
	bool dirty;
	u8 *bits; /* the first sector's is the top bit of the first byte */
};

struct vhd {
	struct block block;
	enum vhd_type type;
	u8 footer[VHD_FOOTER], header[VHD_HEADER];
	/* On disk: the footer's copy, the dynamic header, the footer. */
	bool head_ok, header_ok, tail_ok;
	u64 tail; /* where the footer is, or belongs */
	/* The negative errno of a flush, or of a change of what the image is, that failed: nothing can be promised until it is opened again. */
	int failed;

	/* Dynamic and differencing images. */
	u32 block_size, bitmap_size;
	u64 header_offset, table_offset;
	u8 locators; /* a bit for each parent locator that counts */
	u32 entries;
	u32 *table; /* sector numbers, with the pending ones */
	u64 end;    /* all that is linked or pending lies below */
	bool trim;  /* what the file has from `end` on is garbage, to be cut before it grows */
	u64 damaged; /* entries that point outside the file or into each other: then the image is only read */
	u32 pending[VHD_MAX_PENDING]; /* blocks whose entries are not in the file */
	unsigned pending_count;
	i64 pending_since;          /* seconds */
	u8 *full;                   /* a bit a block: its bitmap is all ones */
	struct vhd_bitmap *bitmaps; /* a cache: block i in slot i % bitmap_slots */
	u32 bitmap_slots, dirty_bitmaps;
	u8 *bitmap_memory;
};

/* --- vhd.c --- */

/* An entry in use is sane: the block lies in the file, and not over header or table. */
bool vhd_entry_ok(const struct vhd *v, u32 entry);
/* Finds `locators` anew from header, table and type. */
void vhd_find_locators(struct vhd *v);
/* Finds `end`, `trim`, `damaged` and `locators` anew from header and table. 0 or -ENOMEM. */
int vhd_survey(struct vhd *v) must_check;
/* Where the first header, table or locator's text that ends behind `from` starts, and its end; ~0 if there is none. */
u64 vhd_next_metadata(const struct vhd *v, u64 from, u64 *end);

/* --- vhd_io.c --- */

/* Makes the cache; the table is loaded. 0 or -ENOMEM. */
int vhd_cache_init(struct vhd *v) must_check;
void vhd_cache_free(struct vhd *v);
/* Serves a request other than a flush on a dynamic or differencing disk. */
int vhd_serve_blocks(struct vhd *v, const struct block_req *req) must_check;
/* block_ops.submit and .allocated of dynamic and differencing images. */
void vhd_submit(struct block *block, struct block_req *req);
bool vhd_allocated(struct block *block, u64 offset, u64 *size);
/* Everything written so far reaches stable storage, linked. What could not be written waits and may be tried again; a failed flush stays. */
int vhd_commit(struct vhd *v) must_check;
/* Puts the footer where it belongs. */
int vhd_write_tail(struct vhd *v) must_check;
/* The bitmap of a linked or pending block; valid until the next call. */
int vhd_bitmap_load(struct vhd *v, u32 index, struct vhd_bitmap **out) must_check;
bool vhd_bitmap_get(const struct vhd_bitmap *b, u32 sector);

/* --- vhd_parent.c --- */

/* Opens the parent of a differencing image. */
int vhd_parent_open(struct vhd *v, const struct block_options *options, char *err, size_t errlen)
	must_check;
/* The name of the parent as the image has it: relative if it can be, "" if there is none. */
void vhd_parent_name(const struct vhd *v, char *name, size_t size);
/* Enters a parent in the header, its locators' texts from `offset` of the file on, which is moved behind them. Writes the texts alone. */
int vhd_parent_set(struct block_file *file, u8 *header, const char *path, const struct vhd *parent,
		   u64 *offset, char *err, size_t errlen) must_check;

/* --- vhd_create.c: block_ops --- */

int vhd_create(struct block_file *file, const struct block_create *c, struct block *parent,
	       char *err, size_t errlen) must_check;
int vhd_resize(struct block *block, u64 size, char *err, size_t errlen) must_check;
int vhd_set_parent(struct block *block, const char *path, const char *format, char *err,
		   size_t errlen) must_check;

/* --- vhd_check.c: block_ops --- */

int vhd_check(struct block *block, struct block_check *c, bool repair) must_check;

static inline struct vhd *vhd_of(struct block *block) { return (struct vhd *)block; }

/* The space that a block takes in the file. */
static inline u64 vhd_span(const struct vhd *v) { return v->bitmap_size + (u64)v->block_size; }

static inline u64 vhd_block_offset(const struct vhd *v, u32 index)
{
	return v->table[index] * (u64)BLOCK_SECTOR;
}

#endif
