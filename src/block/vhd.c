/* Virtual hard disks (VHD), fixed, dynamic and differencing: opening with all checks, what an image is. Microsoft, Virtual Hard Disk
 * Image Format Specification 1.0. */
#include "block/vhd.h"

#include "base/bits.h"
#include "base/fail.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Virtual PC before 2004 wrote footers of 511 bytes. */
static bool old_tail(const u8 *tail, u64 file_size)
{
	return file_size % BLOCK_SECTOR == BLOCK_SECTOR - 1 && memcmp(tail + 1, "conectix", 8) == 0;
}

static bool vhd_probe(const u8 *head, const u8 *tail, u64 file_size)
{
	return file_size >= VHD_FOOTER - 1 &&
	       (vhd_footer_cookie(head) || vhd_footer_cookie(tail) || old_tail(tail, file_size));
}

/* --- Footers -------------------------------------------------------------------------------- */

static int read_error(const struct block_file *f, int r, char *err, size_t errlen)
{
	FAIL(-r, "disk '%s' cannot be read: %s", f->path, strerror(-r));
}

/* Reads the footer at the end; its place is v->tail, whether it is good or not. */
static int read_tail(struct vhd *v, u8 *footer, char *err, size_t errlen)
{
	struct block_file *f = v->block.file;
	bool old = f->size % BLOCK_SECTOR == BLOCK_SECTOR - 1;
	u64 size = old ? VHD_FOOTER - 1 : VHD_FOOTER;
	int r;

	memset(footer, 0, VHD_FOOTER);
	if (f->size < size)
		FAIL(EINVAL, "disk '%s' is no VHD image: it has only %llu bytes", f->path,
		     (unsigned long long)f->size);
	v->tail = f->size - size;
	r = block_file_read(f, footer, size, v->tail);
	if (r)
		return read_error(f, r, err, errlen);
	v->tail_ok = vhd_footer_good(footer) && v->tail % BLOCK_SECTOR == 0;
	return 0;
}

static bool is_dynamic(const u8 *footer)
{
	u64 type = be_load(footer + VHD_F_TYPE, 4);

	return type == VHD_DYNAMIC || type == VHD_DIFFERENCING;
}

/* Decides which footer counts. A good one of a fixed disk at the end comes first: the file's first sector is its guest's then, who may
 * write what looks like another image. Otherwise the copy, as it is the one never moved. */
static int choose_footer(struct vhd *v, char *err, size_t errlen)
{
	struct block_file *f = v->block.file;
	u8 head[VHD_FOOTER], tail[VHD_FOOTER];
	const u8 *use = NULL;
	int r = read_tail(v, tail, err, errlen);

	if (r)
		return r;
	r = block_file_read(f, head, sizeof(head), 0);
	if (r)
		return read_error(f, r, err, errlen);
	v->head_ok = vhd_footer_good(head) && is_dynamic(head);
	if (v->tail_ok && !is_dynamic(tail))
		use = tail;
	else if (v->head_ok)
		use = head;
	else if (v->tail_ok)
		use = tail;
	else if (vhd_footer_cookie(tail) && be_load(tail + VHD_F_SIZE, 8) == v->tail &&
		 be_load(tail + VHD_F_TYPE, 4) == VHD_FIXED)
		use = tail; /* whose checksum alone is wrong: may be read, and repaired */
	if (!use && (vhd_footer_cookie(head) || vhd_footer_cookie(tail)))
		FAIL(EINVAL, "disk '%s': all copies of the VHD footer are damaged", f->path);
	if (!use)
		FAIL(EINVAL, "disk '%s' is no VHD image; if it is a raw one, give its format: raw",
		     f->path);
	memcpy(v->footer, use, VHD_FOOTER);
	/* A footer at the end that differs, as after a cut in a change of size, is brought up to date. */
	if (use == head && memcmp(head, tail, VHD_FOOTER - 1) != 0)
		v->tail_ok = false;
	return 0;
}

static int read_footer(struct vhd *v, char *err, size_t errlen)
{
	const char *path = v->block.file->path;
	u64 version, type;
	int r = choose_footer(v, err, errlen);

	if (r)
		return r;
	version = be_load(v->footer + VHD_F_VERSION, 4);
	type = be_load(v->footer + VHD_F_TYPE, 4);
	if (version >> 16 != VHD_VERSION >> 16)
		FAIL(ENOTSUP, "disk '%s' is a VHD image of version %llu.%llu; only 1.0 is known",
		     path, (unsigned long long)version >> 16, (unsigned long long)version & 0xffff);
	if (type != VHD_FIXED && type != VHD_DYNAMIC && type != VHD_DIFFERENCING)
		FAIL(ENOTSUP, "disk '%s' is a VHD image of an unknown type %llu", path,
		     (unsigned long long)type);
	v->type = (enum vhd_type)type;
	v->block.size = align_down(vhd_footer_size(v->footer), BLOCK_SECTOR);
	if (v->block.size == 0 || v->block.size > VHD_MAX_SIZE)
		FAIL(EINVAL,
		     "disk '%s': a VHD disk of %llu bytes is not possible (at most 2040 GiB)", path,
		     (unsigned long long)v->block.size);
	if (v->type == VHD_FIXED && v->block.size > v->tail)
		FAIL(EINVAL,
		     "disk '%s' has been cut: its footer says %llu bytes, the file holds %llu",
		     path, (unsigned long long)v->block.size, (unsigned long long)v->tail);
	return 0;
}

/* --- What lies where ------------------------------------------------------------------------ */

/* A stretch of the file. */
struct span {
	u64 start, end;
};

static struct span header_span(const struct vhd *v)
{
	return (struct span){ v->header_offset, v->header_offset + VHD_HEADER };
}

static struct span table_span(const struct vhd *v)
{
	return (struct span){ v->table_offset,
			      align_up(v->table_offset + v->entries * 4ull, BLOCK_SECTOR) };
}

/* Of a locator's text, which may lie outside of the file. */
static struct span locator_span(const struct vhd *v, unsigned i)
{
	const u8 *l = v->header + VHD_H_LOCATORS + i * VHD_L_SIZE;
	u64 start = be_load(l + VHD_L_OFFSET, 8), length = be_load(l + VHD_L_LENGTH, 4);

	return (struct span){ start, align_up(start + length, BLOCK_SECTOR) };
}

static struct span block_span(const struct vhd *v, u32 entry)
{
	u64 start = entry * (u64)BLOCK_SECTOR;

	return (struct span){ start, start + vhd_span(v) };
}

static bool overlap(struct span a, struct span b) { return a.start < b.end && b.start < a.end; }

bool vhd_entry_ok(const struct vhd *v, u32 entry)
{
	struct span block = block_span(v, entry);

	return block.start >= VHD_FOOTER &&
	       block.end <= align_up(v->block.file->size, BLOCK_SECTOR) &&
	       !overlap(block, header_span(v)) && !overlap(block, table_span(v));
}

/* A locator counts if its text lies in the file, apart from all that the image keeps there: its guest may write a block, and must not
 * choose the parent with that. */
static bool locator_ok(const struct vhd *v, unsigned i)
{
	const u8 *l = v->header + VHD_H_LOCATORS + i * VHD_L_SIZE;
	u64 start = be_load(l + VHD_L_OFFSET, 8), length = be_load(l + VHD_L_LENGTH, 4);
	u64 size = v->block.file->size;
	struct span text;

	if (v->type != VHD_DIFFERENCING || !be_load(l + VHD_L_CODE, 4) ||
	    length > VHD_MAX_LOCATOR || start > size || length > size - start)
		return false;
	text = locator_span(v, i);
	if (overlap(text, header_span(v)) || overlap(text, table_span(v)))
		return false;
	for (u32 n = 0; n < v->entries; n++)
		if (v->table[n] != VHD_UNUSED && overlap(text, block_span(v, v->table[n])))
			return false;
	return true;
}

void vhd_find_locators(struct vhd *v)
{
	v->locators = 0;
	for (unsigned i = 0; i < VHD_LOCATORS; i++)
		if (locator_ok(v, i))
			v->locators |= (u8)(1u << i);
}

u64 vhd_next_metadata(const struct vhd *v, u64 from, u64 *end)
{
	struct span spans[2 + VHD_LOCATORS] = { header_span(v), table_span(v) };
	u64 first = ~0ull;
	unsigned n = 2;

	for (unsigned i = 0; i < VHD_LOCATORS; i++)
		if (v->locators & 1u << i)
			spans[n++] = locator_span(v, i);
	*end = first;
	while (n-- > 0)
		if (spans[n].end > from && spans[n].start < first) {
			first = spans[n].start;
			*end = spans[n].end;
		}
	return first;
}

static int by_number(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

/* Blocks that share space. */
static u64 count_overlaps(const struct vhd *v, u32 *sorted, u32 count)
{
	u64 overlaps = 0;

	qsort(sorted, count, sizeof(*sorted), by_number);
	for (u32 i = 1; i < count; i++)
		overlaps += sorted[i] - sorted[i - 1] < vhd_span(v) / BLOCK_SECTOR;
	return overlaps;
}

int vhd_survey(struct vhd *v)
{
	u32 *sorted = malloc(MAX(v->entries, 1) * sizeof(*sorted)), count = 0;
	u64 room, end = MAX(table_span(v).end, header_span(v).end);

	if (!sorted)
		return -ENOMEM;
	v->damaged = 0;
	vhd_find_locators(v);
	for (unsigned i = 0; i < VHD_LOCATORS; i++)
		if (v->locators & 1u << i)
			end = MAX(end, locator_span(v, i).end);
	for (u32 i = 0; i < v->entries; i++) {
		if (v->table[i] == VHD_UNUSED)
			continue;
		if (!vhd_entry_ok(v, v->table[i])) {
			v->damaged++;
			continue;
		}
		sorted[count++] = v->table[i];
		end = MAX(end, vhd_block_offset(v, i) + vhd_span(v));
	}
	v->damaged += count_overlaps(v, sorted, count);
	free(sorted);
	/* Blocks behind the last linked one were lost in a cut, and are used again. Less than a block may be something that another
	 * program keeps there. */
	v->tail = align_up(v->tail, BLOCK_SECTOR);
	room = v->tail > end ? v->tail - end : 0;
	v->end = MAX(v->tail, end) - room / vhd_span(v) * vhd_span(v);
	v->trim = v->tail > v->end || !v->tail_ok;
	return 0;
}

/* --- Dynamic header and block allocation table ---------------------------------------------- */

/* Where header and table must end: none of them may lie in a footer, which a repair of the table would destroy. */
static u64 metadata_room(const struct vhd *v) { return v->tail_ok ? v->tail : v->block.file->size; }

static int check_header(struct vhd *v, u64 header_offset, char *err, size_t errlen)
{
	const struct block_file *f = v->block.file;
	const u8 *h = v->header;
	u64 entries = be_load(h + VHD_H_ENTRIES, 4), block = be_load(h + VHD_H_BLOCK_SIZE, 4);
	u64 table = be_load(h + VHD_H_TABLE_OFFSET, 8), room = metadata_room(v);

	if (memcmp(h + VHD_H_COOKIE, "cxsparse", 8) != 0)
		FAIL(EINVAL, "disk '%s': its dynamic VHD header is damaged", f->path);
	if (be_load(h + VHD_H_VERSION, 4) >> 16 != VHD_VERSION >> 16)
		FAIL(ENOTSUP, "disk '%s': its dynamic VHD header is of an unknown version",
		     f->path);
	if (block < VHD_MIN_BLOCK || block > VHD_MAX_BLOCK || (block & (block - 1)))
		FAIL(ENOTSUP,
		     "disk '%s': VHD blocks of %llu bytes; only powers of two from 4 KiB to 128 MiB are possible",
		     f->path, (unsigned long long)block);
	if (entries > VHD_MAX_ENTRIES)
		FAIL(EFBIG, "disk '%s': a VHD block table of %llu entries; at most %u are possible",
		     f->path, (unsigned long long)entries, VHD_MAX_ENTRIES);
	if (entries * block < v->block.size)
		FAIL(EINVAL, "disk '%s': its VHD block table is too short for the disk's size",
		     f->path);
	if (table % BLOCK_SECTOR || table < VHD_FOOTER || table > room ||
	    entries * 4 > room - table ||
	    (table < header_offset + VHD_HEADER && header_offset < table + entries * 4))
		FAIL(EINVAL, "disk '%s': its VHD block table lies outside of the file", f->path);
	v->table_offset = table;
	v->entries = (u32)entries;
	v->block_size = (u32)block;
	v->bitmap_size = (u32)align_up(block / BLOCK_SECTOR / 8, BLOCK_SECTOR);
	return 0;
}

static int read_table(struct vhd *v, char *err, size_t errlen)
{
	struct block_file *f = v->block.file;
	int r;

	/* The size of the table is bounded by that of the file, see above. */
	v->table = malloc(MAX(v->entries, 1) * sizeof(*v->table));
	if (!v->table)
		FAIL(ENOMEM, "disk '%s': out of memory", f->path);
	r = block_file_read(f, v->table, v->entries * 4ull, v->table_offset);
	if (r)
		return read_error(f, r, err, errlen);
	for (u32 i = 0; i < v->entries; i++)
		v->table[i] = (u32)be_load((u8 *)&v->table[i], 4);
	if (vhd_survey(v) || vhd_cache_init(v))
		FAIL(ENOMEM, "disk '%s': out of memory", f->path);
	return 0;
}

static int open_dynamic(struct vhd *v, char *err, size_t errlen)
{
	struct block_file *f = v->block.file;
	u64 offset = be_load(v->footer + VHD_F_DATA_OFFSET, 8);
	int r;

	if (offset % BLOCK_SECTOR || offset < VHD_FOOTER || metadata_room(v) < VHD_HEADER ||
	    offset > metadata_room(v) - VHD_HEADER)
		FAIL(EINVAL, "disk '%s': its dynamic VHD header lies outside of the file", f->path);
	r = block_file_read(f, v->header, VHD_HEADER, offset);
	if (r)
		return read_error(f, r, err, errlen);
	v->header_ok = vhd_header_good(v->header);
	r = check_header(v, offset, err, errlen);
	if (r)
		return r;
	v->header_offset = offset;
	return read_table(v, err, errlen);
}

/* --- The image ------------------------------------------------------------------------------ */

static void vhd_free(struct vhd *v)
{
	vhd_cache_free(v);
	free(v->table);
	free(v);
}

static void vhd_close(struct block *block)
{
	struct vhd *v = vhd_of(block);
	bool writable = !block->file->readonly && !v->failed && v->type != VHD_FIXED &&
			!v->damaged && v->header_ok;
	int r = 0; /* which nobody is left to be told */

	if (writable && (v->pending_count || v->dirty_bitmaps))
		r = vhd_commit(v);
	if (writable && !v->tail_ok && !r && !vhd_write_tail(v))
		(void)!block_file_flush(block->file);
	block_close(block->parent);
	block_file_close(block->file);
	vhd_free(v);
}

/* Damage that leaves the image readable is told once. */
static void warn_damage(const struct vhd *v)
{
	const char *path = v->block.file->path;

	if (v->damaged)
		log_warn(
			"disk '%s': %llu damaged entries in its VHD block table; it is only read until: pogo disk check --repair '%s'",
			path, (unsigned long long)v->damaged, path);
	else if (v->type == VHD_FIXED ? !v->tail_ok : !v->header_ok)
		log_warn(
			"disk '%s': a wrong checksum in its VHD %s; it is only read until: pogo disk check --repair '%s'",
			path, v->type == VHD_FIXED ? "footer" : "header", path);
}

static int vhd_open(struct block **out, struct block_file *file,
		    const struct block_options *options, char *err, size_t errlen)
{
	struct vhd *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		FAIL(ENOMEM, "disk '%s': out of memory", file->path);
	v->block = (struct block){ .ops = &block_vhd,
				   .file = file,
				   .physical_size = 4096,
				   .readonly = options->readonly };
	r = read_footer(v, err, errlen);
	if (!r && v->type != VHD_FIXED)
		r = open_dynamic(v, err, errlen);
	if (!r && v->type == VHD_DIFFERENCING)
		r = vhd_parent_open(v, options, err, errlen);
	if (r) {
		vhd_free(v);
		return r;
	}
	warn_damage(v);
	*out = &v->block;
	return 0;
}

static void vhd_info(struct block *block, struct block_info *info)
{
	static const char *const types[] = {
		[VHD_FIXED] = "fixed", [VHD_DYNAMIC] = "dynamic", [VHD_DIFFERENCING] = "differencing"
	};
	struct vhd *v = vhd_of(block);
	const u8 *f = v->footer, *u = f + VHD_F_UUID;

	info->format = "vhd";
	info->variant = types[v->type];
	info->size = block->size;
	info->file_size = block->file->size;
	info->cluster_size = v->block_size;
	info->allocated = v->type == VHD_FIXED ? block->size : 0;
	for (u32 i = 0; i < v->entries; i++)
		if (v->table[i] != VHD_UNUSED)
			info->allocated += v->block_size;
	info->allocated = MIN(info->allocated, block->size);
	vhd_parent_name(v, info->parent, sizeof(info->parent));
	if (info->parent[0])
		snprintf(info->parent_format, sizeof(info->parent_format), "vhd");
	info->dirty = !v->tail_ok;
	snprintf(
		info->note, sizeof(info->note),
		"geometry %u/%u/%u, made by \"%.4s\", UUID %02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		(unsigned)be_load(f + VHD_F_CYLINDERS, 2), f[VHD_F_HEADS], f[VHD_F_SPT],
		(const char *)f + VHD_F_APP, u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8],
		u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	block_printable(info->note); /* the program's name */
}

const struct block_ops block_vhd = {
	.name = "vhd",
	.help = "Virtual PC's and Hyper-V's images: fixed, dynamic, differencing",
	.probe = vhd_probe,
	.open = vhd_open,
	.create = vhd_create,
	.submit = vhd_submit,
	.close = vhd_close,
	.check = vhd_check,
	.info = vhd_info,
	.resize = vhd_resize,
	.set_parent = vhd_set_parent,
	.allocated = vhd_allocated,
};
