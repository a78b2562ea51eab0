/* Checks of VHD images, and their repair. Nothing that a block table entry reaches is overwritten before the table that no longer does
 * is on stable storage, so that a repair that is cut short can be made again. */
#include "block/vhd.h"

#include "base/bits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (64u * 1024)

struct checker {
	struct vhd *v;
	struct block_check *c;
	bool repair;
	bool moved;  /* entries have changed in memory */
	u64 *blocks; /* sane ones: sector number and index, in order of the file */
	u32 count;
	u64 end; /* where a block may be copied to: behind everything */
	u8 buf[PIECE];
};

static void finding(struct checker *k, u64 *counter, u64 count, const char *fmt, ...)
	printf_like(4, 5);

static void finding(struct checker *k, u64 *counter, u64 count, const char *fmt, ...)
{
	char line[256];
	va_list args;

	*counter += count;
	if (k->repair)
		k->c->repaired += count;
	if (!k->c->report)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	k->c->report(k->c->opaque, line);
}

static u64 block_start(const struct checker *k, u32 n)
{
	return (k->blocks[n] >> 32) * BLOCK_SECTOR;
}

static u32 block_index(const struct checker *k, u32 n) { return (u32)k->blocks[n]; }

static int by_place(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static void sort_blocks(struct checker *k)
{
	struct vhd *v = k->v;

	k->count = 0;
	for (u32 i = 0; i < v->entries; i++)
		if (v->table[i] != VHD_UNUSED && vhd_entry_ok(v, v->table[i]))
			k->blocks[k->count++] = (u64)v->table[i] << 32 | i;
	if (k->count)
		qsort(k->blocks, k->count, sizeof(*k->blocks), by_place);
}

/* --- Entries -------------------------------------------------------------------------------- */

/* An entry whose block the end of the file cuts off, or that points nowhere. */
static int check_entry(struct checker *k, u32 index)
{
	struct vhd *v = k->v;
	struct block_file *f = v->block.file;
	u64 start = vhd_block_offset(v, index), end = start + vhd_span(v), size = f->size;
	bool cut;
	int r;

	if (vhd_entry_ok(v, v->table[index]))
		return 0;
	f->size = MAX(size, end); /* only to ask: would it be sane in a longer file? */
	cut = start + v->bitmap_size < size && vhd_entry_ok(v, v->table[index]);
	f->size = size;
	finding(k, &k->c->errors, 1,
		cut ? "block %u is cut off by the end of the file"
		    : "block %u lies outside of the file, or over its structures",
		index);
	if (!k->repair)
		return 0;
	if (cut) { /* what is left of it is kept */
		r = f->ops->resize(f, end);
		v->tail_ok = false;
		return r;
	}
	v->table[index] = VHD_UNUSED;
	k->moved = true;
	return 0;
}

static int copy_block(struct checker *k, u64 from, u64 to)
{
	struct block_file *f = k->v->block.file;
	u64 span = vhd_span(k->v);
	int r = 0;

	for (u64 done = 0, n; done < span && !r; done += n) {
		n = MIN(span - done, PIECE);
		r = block_file_read(f, k->buf, n, from + done);
		if (!r)
			r = block_file_write(f, k->buf, n, to + done);
	}
	return r;
}

static int move_block(struct checker *k, u32 n, u64 to)
{
	struct vhd *v = k->v;
	int r = copy_block(k, block_start(k, n), to);

	if (r)
		return r;
	v->table[block_index(k, n)] = (u32)(to / BLOCK_SECTOR);
	k->moved = true;
	return 0;
}

/* Blocks that share space: each but the first gets a copy of its own. */
static int check_overlaps(struct checker *k)
{
	struct vhd *v = k->v;
	u64 end = 0;
	int r = 0;

	k->end = align_up(v->block.file->size, 4096);
	for (u32 n = 0; n < k->count && !r; n++) {
		u64 start = block_start(k, n);

		if (start >= end) {
			end = start + vhd_span(v);
			continue;
		}
		finding(k, &k->c->errors, 1, "block %u shares space of the file with another",
			block_index(k, n));
		if (!k->repair)
			continue;
		if ((k->end + vhd_span(v)) / BLOCK_SECTOR >= VHD_UNUSED)
			return -ENOSPC;
		r = move_block(k, n, k->end);
		k->end += align_up(vhd_span(v), 4096);
		v->tail_ok = false;
	}
	return r;
}

/* --- Bitmaps -------------------------------------------------------------------------------- */

static bool is_zero(const u8 *p, u32 size) { return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0; }

/* In a dynamic disk a sector without its bit is zeros; programs that do not look at bitmaps show what is there. Data counts: the bit is
 * set, and all agree. */
static int check_bitmap(struct checker *k, u32 n)
{
	struct vhd *v = k->v;
	struct block_file *f = v->block.file;
	u64 start = block_start(k, n);
	u8 *bits = malloc(v->bitmap_size);
	u32 lost = 0;
	int r = bits ? block_file_read(f, bits, v->bitmap_size, start) : -ENOMEM;

	for (u32 at = 0; at < v->block_size && !r; at += PIECE) {
		u32 size = MIN(v->block_size - at, PIECE), sector = at / BLOCK_SECTOR;

		if (bits[sector / 8] == 0xff && memcmp(bits + sector / 8, bits + sector / 8 + 1,
						       MAX(size / BLOCK_SECTOR / 8, 1) - 1) == 0)
			continue;
		r = block_file_read(f, k->buf, size, start + v->bitmap_size + at);
		for (u32 i = 0; i < size / BLOCK_SECTOR && !r; i++) {
			u8 *byte = &bits[(sector + i) / 8], bit = (u8)(0x80u >> (sector + i) % 8);

			if (*byte & bit || is_zero(k->buf + i * BLOCK_SECTOR, BLOCK_SECTOR))
				continue;
			*byte |= bit;
			lost++;
		}
	}
	if (!r && lost) {
		finding(k, &k->c->errors, 1,
			"block %u has %u sectors of data that its bitmap leaves out",
			block_index(k, n), lost);
		if (k->repair)
			r = block_file_write(f, bits, v->bitmap_size, start);
	}
	free(bits);
	return r;
}

/* --- Space that is lost --------------------------------------------------------------------- */

/* The first stretch without metadata in [*from, to): false if there is none. */
static bool next_free(const struct vhd *v, u64 *from, u64 to, u64 *end)
{
	while (*from < to) {
		u64 next = vhd_next_metadata(v, *from, end);

		if (next > *from) {
			*end = MIN(next, to);
			return true;
		}
		*from = *end;
	}
	return false;
}

/* Blocks from the end of the file fill the holes between others. `last` is one behind the last block that is where it was. */
static int fill_hole(struct checker *k, u64 from, u64 to, u32 *last)
{
	struct vhd *v = k->v;
	u64 page = v->block_size >= 65536 ? 4096 : BLOCK_SECTOR;
	int r = 0;

	while (to - from >= vhd_span(v) && *last > 0 && block_start(k, *last - 1) >= to && !r) {
		u64 place = align_up(from + v->bitmap_size, page) - v->bitmap_size;

		if (place + vhd_span(v) > to)
			place = from;
		r = move_block(k, --*last, place);
		from = place + vhd_span(v);
	}
	return r;
}

static int check_holes(struct checker *k)
{
	struct vhd *v = k->v;
	u64 from = VHD_FOOTER, leaks = 0;
	u32 last = k->count;
	int r = 0;

	for (u32 n = 0; n < k->count && !r; n++) {
		u64 start = block_start(k, n), end;

		if (n >= last) /* moved into a hole before */
			break;
		while (next_free(v, &from, start, &end)) {
			leaks += (end - from) / vhd_span(v);
			if (k->repair && !r)
				r = fill_hole(k, from, end, &last);
			from = end;
		}
		from = MAX(from, start + vhd_span(v));
	}
	/* What follows the last block: see vhd_survey. */
	if (v->tail > v->end)
		leaks += (v->tail - v->end) / vhd_span(v);
	if (leaks)
		finding(k, &k->c->leaks, leaks, "%llu blocks of the file belong to nothing",
			(unsigned long long)leaks);
	return r;
}

/* --- The whole ------------------------------------------------------------------------------ */

static int write_table(struct checker *k)
{
	struct vhd *v = k->v;
	int r = k->moved ? block_file_flush(v->block.file) : 0;

	for (u32 i = 0, n; k->moved && i < v->entries && !r; i += n) {
		n = MIN(v->entries - i, PIECE / 4);
		for (u32 j = 0; j < n; j++)
			be_store(k->buf + j * 4ull, v->table[i + j], 4);
		r = block_file_write(v->block.file, k->buf, n * 4ull, v->table_offset + i * 4ull);
	}
	if (!r && k->moved)
		r = block_file_flush(v->block.file);
	if (r)
		return r;
	k->moved = false;
	v->tail = v->block.file->size > VHD_FOOTER ? v->block.file->size - VHD_FOOTER : 0;
	if (!v->tail_ok)
		v->tail = v->block.file->size;
	r = vhd_survey(v);
	if (r)
		return r;
	vhd_cache_free(v);
	return vhd_cache_init(v);
}

static int check_blocks(struct checker *k)
{
	struct vhd *v = k->v;
	int r = 0;

	for (u32 i = 0; i < v->entries && !r; i++)
		if (v->table[i] != VHD_UNUSED)
			r = check_entry(k, i);
	if (r)
		return r;
	sort_blocks(k);
	r = check_overlaps(k);
	if (!r && k->repair && v->damaged)
		r = write_table(k);
	if (r)
		return r;
	sort_blocks(k);
	for (u32 n = 0; n < k->count && v->type == VHD_DYNAMIC && !r; n++)
		r = check_bitmap(k, n);
	if (r || v->damaged)
		return r; /* what overlaps leaves no holes to count */
	r = check_holes(k);
	return r || !k->repair ? r : write_table(k);
}

/* Locators of the parent that do not count: their text is cut off, or lies where the image keeps something else. */
static void check_locators(struct checker *k)
{
	struct vhd *v = k->v;

	for (unsigned i = 0; i < VHD_LOCATORS && v->type == VHD_DIFFERENCING; i++) {
		u8 *l = v->header + VHD_H_LOCATORS + i * VHD_L_SIZE;

		if (v->locators & 1u << i || !be_load(l + VHD_L_CODE, 4))
			continue;
		finding(k, &k->c->errors, 1,
			"parent locator %u lies outside of the file, or over its blocks", i);
		if (!k->repair)
			continue;
		memset(l, 0, VHD_L_SIZE);
		v->header_ok = false; /* to be written */
	}
}

/* Footers and header. A missing footer at the end costs nothing but its repair. */
static int check_ends(struct checker *k)
{
	struct vhd *v = k->v;
	struct block_file *f = v->block.file;
	int r = 0;

	if (!v->head_ok)
		finding(k, &k->c->errors, 1, "the copy of the footer at the start is damaged");
	if (!v->header_ok)
		finding(k, &k->c->errors, 1, "the checksum of the dynamic header is wrong");
	check_locators(k);
	if (!v->tail_ok)
		finding(k, &k->c->leaks, 1, "the footer at the end is missing or not up to date");
	if (!k->repair)
		return 0;
	if (!v->head_ok) {
		r = block_file_write(f, v->footer, VHD_FOOTER, 0);
		v->head_ok = !r;
	}
	if (!r && !v->header_ok) {
		vhd_header_seal(v->header);
		r = block_file_write(f, v->header, VHD_HEADER, v->header_offset);
		v->header_ok = !r;
	}
	return r ? r : block_file_flush(f);
}

static int check_fixed(struct checker *k)
{
	struct vhd *v = k->v;
	int r;

	if (v->tail_ok)
		return 0;
	finding(k, &k->c->errors, 1, "the checksum of the footer is wrong");
	if (!k->repair)
		return 0;
	vhd_footer_seal(v->footer);
	r = vhd_write_tail(v);
	return r ? r : block_file_flush(v->block.file);
}

static int check_dynamic(struct checker *k)
{
	struct vhd *v = k->v;
	int r = v->pending_count || v->dirty_bitmaps ? vhd_commit(v) : 0;

	if (!r)
		r = check_ends(k);
	if (!r)
		r = check_blocks(k);
	if (r || !k->repair || (v->tail_ok && !v->trim))
		return r;
	r = vhd_write_tail(v);
	return r ? r : block_file_flush(v->block.file);
}

int vhd_check(struct block *block, struct block_check *c, bool repair)
{
	struct vhd *v = vhd_of(block);
	struct checker *k;
	int r;

	if (repair && (block->readonly || block->file->readonly))
		return -EROFS;
	if (v->failed)
		return v->failed;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->v = v;
	k->c = c;
	k->repair = repair;
	c->clusters = v->entries;
	for (u32 i = 0; i < v->entries; i++)
		c->allocated += v->table[i] != VHD_UNUSED;
	k->blocks = malloc(MAX(c->allocated, 1) * sizeof(*k->blocks));
	if (!k->blocks)
		r = -ENOMEM;
	else
		r = v->type == VHD_FIXED ? check_fixed(k) : check_dynamic(k);
	if (r && repair)
		v->failed = r; /* what is in memory may not be what is in the file */
	free(k->blocks);
	free(k);
	return r;
}
