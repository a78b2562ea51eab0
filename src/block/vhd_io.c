/* Reads and writes of VHD disks: blocks and their bitmaps, new blocks, and the order in which all of it reaches storage (vhd.h). */
#include "block/vhd.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CACHE_SIZE      (4u << 20) /* of bitmaps, bytes */
#define PENDING_SECONDS 5
#define ZEROES          (64u * 1024)
#define GROUP           8u /* sectors, a byte of a bitmap */

static const u8 zeroes[ZEROES];

static i64 seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* --- Bitmaps -------------------------------------------------------------------------------- */

int vhd_cache_init(struct vhd *v)
{
	u32 slots = MAX(MIN(v->entries, CACHE_SIZE / v->bitmap_size), 1);

	v->full = calloc(v->entries / 8 + 1, 1);
	v->bitmaps = calloc(slots, sizeof(*v->bitmaps));
	v->bitmap_memory = malloc((size_t)slots * v->bitmap_size);
	if (!v->full || !v->bitmaps || !v->bitmap_memory)
		return -ENOMEM;
	v->bitmap_slots = slots;
	v->dirty_bitmaps = 0;
	for (u32 i = 0; i < slots; i++) {
		v->bitmaps[i].index = VHD_UNUSED;
		v->bitmaps[i].bits = v->bitmap_memory + (size_t)i * v->bitmap_size;
	}
	return 0;
}

void vhd_cache_free(struct vhd *v)
{
	free(v->full);
	free(v->bitmaps);
	free(v->bitmap_memory);
	v->full = v->bitmap_memory = NULL;
	v->bitmaps = NULL;
}

static bool is_full(const struct vhd *v, u32 index) { return v->full[index / 8] >> index % 8 & 1; }

static void set_full(struct vhd *v, u32 index, bool full)
{
	u8 bit = (u8)(1u << index % 8);

	v->full[index / 8] = (u8)(full ? v->full[index / 8] | bit : v->full[index / 8] & ~bit);
}

bool vhd_bitmap_get(const struct vhd_bitmap *b, u32 sector)
{
	return b->bits[sector / 8] >> (7 - sector % 8) & 1;
}

static void note_full(struct vhd *v, const struct vhd_bitmap *b)
{
	u32 bytes = v->block_size / BLOCK_SECTOR / 8;

	/* All bytes equal the first, and that is 0xff. */
	if (b->bits[0] == 0xff && memcmp(b->bits, b->bits + 1, bytes - 1) == 0)
		set_full(v, b->index, true);
}

static int bitmap_write(struct vhd *v, struct vhd_bitmap *b)
{
	int r = block_file_write(v->block.file, b->bits, v->bitmap_size,
				 vhd_block_offset(v, b->index));

	if (!r) {
		b->dirty = false;
		v->dirty_bitmaps--;
	}
	return r;
}

/* The slot of a block, holding nothing that is still needed. */
static int bitmap_slot(struct vhd *v, u32 index, struct vhd_bitmap **out)
{
	struct vhd_bitmap *b = &v->bitmaps[index % v->bitmap_slots];
	int r = b->dirty && b->index != index ? vhd_commit(v) : 0;

	*out = b;
	return r;
}

int vhd_bitmap_load(struct vhd *v, u32 index, struct vhd_bitmap **out)
{
	struct vhd_bitmap *b;
	int r = bitmap_slot(v, index, &b);

	*out = b;
	if (r || b->index == index)
		return r;
	b->index = VHD_UNUSED;
	r = block_file_read(v->block.file, b->bits, v->bitmap_size, vhd_block_offset(v, index));
	if (r)
		return r;
	b->index = index;
	note_full(v, b);
	return 0;
}

/* How many sectors from `sector` on, at most `max`, have the same bit. */
static u32 bitmap_run(const struct vhd_bitmap *b, u32 sector, u32 max)
{
	bool bit = vhd_bitmap_get(b, sector);
	u32 n = 1;

	while (n < max) {
		u32 at = sector + n;

		if (at % 8 == 0 && max - n >= 8 && b->bits[at / 8] == (bit ? 0xff : 0))
			n += 8;
		else if (vhd_bitmap_get(b, at) == bit)
			n++;
		else
			break;
	}
	return n;
}

/* The sectors have been written to the block: notes it, in memory. */
static int bitmap_set(struct vhd *v, u32 index, u32 sector, u32 count)
{
	struct vhd_bitmap *b;
	int r;

	if (is_full(v, index))
		return 0;
	r = vhd_bitmap_load(v, index, &b);
	if (r)
		return r;
	for (u32 i = sector; i < sector + count; i++) {
		if (vhd_bitmap_get(b, i))
			continue;
		b->bits[i / 8] |= (u8)(0x80u >> i % 8);
		if (!b->dirty) {
			b->dirty = true;
			v->dirty_bitmaps++;
			if (!v->pending_since)
				v->pending_since = seconds_now();
		}
	}
	note_full(v, b);
	return 0;
}

/* --- Stable storage ------------------------------------------------------------------------- */

static bool is_pending(const struct vhd *v, u32 index)
{
	for (unsigned i = 0; i < v->pending_count; i++)
		if (v->pending[i] == index)
			return true;
	return false;
}

/* Bitmaps of blocks that are not linked yet, or of those that are. */
static int write_bitmaps(struct vhd *v, bool pending)
{
	int r = 0;

	for (u32 i = 0; i < v->bitmap_slots && v->dirty_bitmaps && !r; i++)
		if (v->bitmaps[i].dirty && is_pending(v, v->bitmaps[i].index) == pending)
			r = bitmap_write(v, &v->bitmaps[i]);
	return r;
}

/* The sectors of the table that have pending entries. */
static int write_entries(struct vhd *v)
{
	const u32 in_sector = BLOCK_SECTOR / 4;
	u8 sector[BLOCK_SECTOR];

	for (unsigned i = 0; i < v->pending_count; i++) {
		u32 first = v->pending[i] / in_sector * in_sector;
		u32 count = MIN(v->entries - first, in_sector);
		int r;

		if (i > 0 && first == v->pending[i - 1] / in_sector * in_sector)
			continue; /* as with blocks written in order */
		for (u32 k = 0; k < count; k++)
			be_store(sector + k * 4, v->table[first + k], 4);
		r = block_file_write(v->block.file, sector, count * 4ull,
				     v->table_offset + first * 4ull);
		if (r)
			return r;
	}
	return 0;
}

static int flush_file(struct vhd *v)
{
	int r = block_file_flush(v->block.file);

	if (r)
		v->failed = r;
	return r;
}

static int commit(struct vhd *v)
{
	int r = v->pending_count ? write_bitmaps(v, true) : 0;

	if (!r)
		r = flush_file(v);
	if (r || (!v->pending_count && !v->dirty_bitmaps))
		return r;
	r = write_entries(v);
	v->pending_count = r ? v->pending_count : 0;
	if (!r)
		r = write_bitmaps(v, false);
	return r ? r : flush_file(v);
}

int vhd_commit(struct vhd *v)
{
	int r = v->failed ? v->failed : commit(v);

	v->pending_since = r ? seconds_now() : 0;
	return r;
}

/* Not too much, and not for too long, waits in memory alone. */
static int commit_some(struct vhd *v)
{
	if (v->pending_count == VHD_MAX_PENDING ||
	    (v->pending_since && seconds_now() - v->pending_since >= PENDING_SECONDS))
		return vhd_commit(v);
	return 0;
}

/* --- New blocks ----------------------------------------------------------------------------- */

/* Cuts what is behind the last block, so that what the file gains reads as zeros. */
static int trim(struct vhd *v)
{
	int r = v->trim ? v->block.file->ops->resize(v->block.file, v->end) : 0;

	if (!r && v->trim) {
		v->trim = false;
		v->tail = v->end;
		v->tail_ok = false;
	}
	return r;
}

int vhd_write_tail(struct vhd *v)
{
	int r = v->type == VHD_FIXED ? 0 : trim(v);

	if (r)
		return r;
	r = block_file_write(v->block.file, v->footer, VHD_FOOTER, v->tail);
	v->tail_ok = !r;
	return r;
}

/* While the footer at the end moves, the copy must be good. */
static int write_head(struct vhd *v)
{
	int r;

	if (v->head_ok)
		return 0;
	r = block_file_write(v->block.file, v->footer, VHD_FOOTER, 0);
	if (!r)
		r = flush_file(v);
	v->head_ok = !r;
	return r;
}

/* Pages of the disk are pages of the file, where blocks are large enough for the gap not to matter. */
static u64 block_place(const struct vhd *v)
{
	u64 page = v->block_size >= 65536 ? 4096 : BLOCK_SECTOR;

	return align_up(v->end + v->bitmap_size, page) - v->bitmap_size;
}

/* Undoes an allocation that was not completed, as far as the storage allows; the image is good in any case. */
static void unallocate(struct vhd *v, u32 index, u64 old_end)
{
	struct vhd_bitmap *b = &v->bitmaps[index % v->bitmap_slots];

	if (b->index == index) {
		v->dirty_bitmaps -= b->dirty;
		b->dirty = false;
		b->index = VHD_UNUSED;
	}
	set_full(v, index, false);
	v->table[index] = VHD_UNUSED;
	v->pending_count--;
	v->end = v->tail = old_end;
	v->trim = true;
	if (vhd_write_tail(v))
		v->trim = true;
}

/* The bitmap of a new block: of a dynamic disk all ones (sectors not written are zeros, and programs that ignore the bitmaps agree), of
 * a differencing one zeros. It is written at once, so that no flush can fail for want of space for it. */
static int bitmap_new(struct vhd *v, u32 index, struct vhd_bitmap *b)
{
	bool full = v->type == VHD_DYNAMIC;

	b->index = index;
	memset(b->bits, full ? 0xff : 0, v->bitmap_size);
	set_full(v, index, full);
	return block_file_write(v->block.file, b->bits, v->bitmap_size, vhd_block_offset(v, index));
}

/* Gives the block a place at the end of the file, which reads as zeros. The footer moves first: what fails then for want of space fails
 * while the old one still stands. */
static int allocate(struct vhd *v, u32 index)
{
	struct vhd_bitmap *b;
	u64 old_end, place;
	int r = v->pending_count == VHD_MAX_PENDING ? vhd_commit(v) : 0;

	if (!r)
		r = bitmap_slot(v, index, &b); /* may commit, which later it must not */
	if (!r)
		r = write_head(v);
	if (!r)
		r = trim(v);
	if (r)
		return r;
	old_end = v->end;
	place = block_place(v);
	if ((place + vhd_span(v)) / BLOCK_SECTOR >= VHD_UNUSED)
		return -ENOSPC;
	v->table[index] = (u32)(place / BLOCK_SECTOR);
	v->pending[v->pending_count++] = index;
	v->end = v->tail = place + vhd_span(v);
	if (!v->pending_since)
		v->pending_since = seconds_now();
	r = vhd_write_tail(v);
	if (!r)
		r = bitmap_new(v, index, b);
	if (r)
		unallocate(v, index, old_end);
	return r;
}

/* --- Requests ------------------------------------------------------------------------------- */

/* What a range shows that this image does not hold. */
static int read_below(const struct vhd *v, u8 *buf, u64 size, u64 offset)
{
	if (v->block.parent)
		return block_read_now(v->block.parent, buf, size, offset);
	memset(buf, 0, size);
	return 0;
}

/* Within one block, from `offset` on the disk. */
static int block_read(struct vhd *v, u32 index, u8 *buf, u32 size, u64 offset)
{
	u32 in_block = (u32)(offset % v->block_size);
	u64 data;
	int r = 0;

	if (v->table[index] == VHD_UNUSED)
		return read_below(v, buf, size, offset);
	if (v->damaged && !vhd_entry_ok(v, v->table[index]))
		return -EIO;
	data = vhd_block_offset(v, index) + v->bitmap_size + in_block;
	for (u32 done = 0, n; done < size && !r; done += n) {
		u32 left = size - done;
		struct vhd_bitmap *b;
		bool here = true;

		n = left;
		if (!is_full(v, index)) {
			u32 sector = (in_block + done) / BLOCK_SECTOR;

			r = vhd_bitmap_load(v, index, &b);
			if (r)
				return r;
			here = vhd_bitmap_get(b, sector);
			n = bitmap_run(b, sector, left / BLOCK_SECTOR) * BLOCK_SECTOR;
		}
		r = here ? block_file_read(v->block.file, buf + done, n, data + done)
			 : read_below(v, buf + done, n, offset + done);
	}
	return r;
}

static int write_zeroes(struct block_file *f, u64 size, u64 offset, bool unmap)
{
	int r = unmap ? f->ops->punch(f, offset, size) : -EOPNOTSUPP;

	if (r != -EOPNOTSUPP)
		return r;
	r = 0;
	for (u64 done = 0; done < size && !r; done += ZEROES)
		r = block_file_write(f, zeroes, MIN(size - done, ZEROES), offset + done);
	return r;
}

/* Sectors of a block of which the bitmap says that they are the parent's become the child's, with the same contents. */
static int fill_from_parent(struct vhd *v, u32 index, u32 from, u32 to)
{
	u64 data = vhd_block_offset(v, index) + v->bitmap_size;
	u8 buf[GROUP * BLOCK_SECTOR];
	struct vhd_bitmap *b;
	int r = from < to ? vhd_bitmap_load(v, index, &b) : 0;

	for (u32 n; from < to && !r; from += n) {
		n = bitmap_run(b, from, to - from);
		if (vhd_bitmap_get(b, from))
			continue;
		r = read_below(v, buf, n * BLOCK_SECTOR,
			       (u64)index * v->block_size + from * (u64)BLOCK_SECTOR);
		if (!r)
			r = block_file_write(v->block.file, buf, n * BLOCK_SECTOR,
					     data + from * (u64)BLOCK_SECTOR);
	}
	return r;
}

/* A differencing image takes whole groups of 8 sectors from its parent, a byte of the bitmap each: the pages of a file system, and libvhdi
 * reads sectors behind a set bit of the same byte as set (seen in 20210425). Widens the range to groups. */
static int fill_groups(struct vhd *v, u32 index, u32 *from, u32 *to)
{
	u32 first = *from / GROUP * GROUP, last = (*to + GROUP - 1) / GROUP * GROUP;
	int r;

	if (v->type != VHD_DIFFERENCING || is_full(v, index))
		return 0;
	r = fill_from_parent(v, index, first, *from);
	if (!r)
		r = fill_from_parent(v, index, *to, last);
	*from = first;
	*to = last;
	return r;
}

/* Within one block; buf NULL: zeros, that may become a hole if `unmap`. */
static int block_write(struct vhd *v, u32 index, const u8 *buf, u32 size, u64 offset, bool unmap)
{
	u32 in_block = (u32)(offset % v->block_size);
	u32 from = in_block / BLOCK_SECTOR, to = from + size / BLOCK_SECTOR;
	u64 old_end = v->end;
	bool fresh = v->table[index] == VHD_UNUSED;
	u64 data;
	int r;

	if (fresh && !buf && v->type == VHD_DYNAMIC)
		return 0; /* zeros it is */
	r = fresh ? allocate(v, index) : 0;
	if (r)
		return r;
	data = vhd_block_offset(v, index) + v->bitmap_size + in_block;
	if (buf)
		r = block_file_write(v->block.file, buf, size, data);
	else if (!fresh)
		r = write_zeroes(v->block.file, size, data, unmap);
	if (!r)
		r = fill_groups(v, index, &from, &to);
	if (!r)
		r = bitmap_set(v, index, from, to - from);
	if (r && fresh && is_pending(v, index))
		unallocate(v, index, old_end);
	return r;
}

/* What the block holds need not be kept; which sectors it holds stays: a parent's old contents must not show again. */
static int block_discard(struct vhd *v, u32 index, u32 size, u64 offset)
{
	u64 data = vhd_block_offset(v, index) + v->bitmap_size + offset % v->block_size;
	int r;

	if (v->table[index] == VHD_UNUSED)
		return 0;
	r = v->block.file->ops->punch(v->block.file, data, size);
	return r == -EOPNOTSUPP ? 0 : r; /* a hint that this host cannot take */
}

int vhd_serve_blocks(struct vhd *v, const struct block_req *req)
{
	int r = 0;

	for (u64 done = 0, n; done < req->size && !r; done += n) {
		u64 offset = req->offset + done;
		u32 index = (u32)(offset / v->block_size);
		u8 *buf = req->buf ? (u8 *)req->buf + done : NULL;

		n = MIN(req->size - done, v->block_size - offset % v->block_size);
		switch (req->op) {
		case BLOCK_READ: r = block_read(v, index, buf, (u32)n, offset); break;
		case BLOCK_WRITE: r = block_write(v, index, buf, (u32)n, offset, false); break;
		case BLOCK_WRITE_ZEROES:
			r = block_write(v, index, NULL, (u32)n, offset, req->unmap);
			break;
		case BLOCK_DISCARD: r = block_discard(v, index, (u32)n, offset); break;
		case BLOCK_FLUSH: break;
		}
	}
	return r;
}

static int serve_fixed(struct vhd *v, const struct block_req *req)
{
	struct block_file *f = v->block.file;
	int r;

	switch (req->op) {
	case BLOCK_READ: return block_file_read(f, req->buf, req->size, req->offset);
	case BLOCK_WRITE: return block_file_write(f, req->buf, req->size, req->offset);
	case BLOCK_WRITE_ZEROES: return write_zeroes(f, req->size, req->offset, req->unmap);
	case BLOCK_DISCARD:
		r = f->ops->punch(f, req->offset, req->size);
		return r == -EOPNOTSUPP ? 0 : r;
	case BLOCK_FLUSH: break;
	}
	return 0;
}

static int serve(struct vhd *v, const struct block_req *req)
{
	bool change = req->op != BLOCK_READ && req->op != BLOCK_FLUSH;
	int r;

	if (req->op == BLOCK_FLUSH)
		return v->block.file->readonly ? 0 : vhd_commit(v);
	if (req->size == 0)
		return 0;
	if (change && v->failed)
		return v->failed;
	if (change && v->type == VHD_DIFFERENCING && !v->block.parent)
		return -EROFS; /* BLOCK_BACKING_UNSEEN: what is not written here is not known */
	if (change && (v->damaged || (v->type == VHD_FIXED ? !v->tail_ok : !v->header_ok)))
		return -EIO; /* see warn_damage */
	if ((req->op == BLOCK_READ || req->op == BLOCK_WRITE) && !req->buf)
		return -EINVAL;
	r = v->type == VHD_FIXED ? serve_fixed(v, req) : vhd_serve_blocks(v, req);
	if (!r && change)
		r = req->op == BLOCK_WRITE && req->fua ? vhd_commit(v) : commit_some(v);
	return r;
}

void vhd_submit(struct block *block, struct block_req *req)
{
	req->result = serve(vhd_of(block), req);
	block_complete(block, req);
}

/* --- What is held here ---------------------------------------------------------------------- */

bool vhd_allocated(struct block *block, u64 offset, u64 *size)
{
	struct vhd *v = vhd_of(block);
	bool first = false;
	u64 done = 0;

	if (v->type == VHD_FIXED)
		return true;
	while (done < *size) {
		u64 at = offset + done, left = v->block_size - at % v->block_size;
		u32 index = (u32)(at / v->block_size);
		struct vhd_bitmap *b;
		bool here = v->table[index] != VHD_UNUSED;
		u64 n = MIN(*size - done, left);

		/* A bitmap that cannot be read: the read of the data will tell. */
		if (here && !is_full(v, index) && vhd_entry_ok(v, v->table[index]) &&
		    !vhd_bitmap_load(v, index, &b)) {
			u32 sector = (u32)(at % v->block_size) / BLOCK_SECTOR;

			here = vhd_bitmap_get(b, sector);
			n = bitmap_run(b, sector, (u32)(n / BLOCK_SECTOR)) * (u64)BLOCK_SECTOR;
		}
		if (done == 0)
			first = here;
		else if (here != first)
			break;
		done += n;
	}
	*size = done;
	return first;
}
