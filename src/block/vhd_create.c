/* New VHD images, and changes of what an image is: its size, its parent. */
#include "block/vhd.h"

#include "base/bits.h"
#include "base/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int write_error(const struct block_file *f, int r, char *err, size_t errlen)
{
	FAIL(-r, "disk '%s' cannot be written: %s", f->path, fail_text(-r));
}

/* --- New images ----------------------------------------------------------------------------- */

static int find_type(enum vhd_type *type, const struct block_file *f, const struct block_create *c,
		     const struct block *parent, char *err, size_t errlen)
{
	const char *variant = c->variant ? c->variant : parent ? "differencing" : "dynamic";

	if (!strcmp(variant, "fixed"))
		*type = VHD_FIXED;
	else if (!strcmp(variant, "dynamic"))
		*type = VHD_DYNAMIC;
	else if (!strcmp(variant, "differencing"))
		*type = VHD_DIFFERENCING;
	else
		FAIL(EINVAL,
		     "disk '%s': VHD images are fixed, dynamic or differencing, but not '%s'",
		     f->path, variant);
	if (!parent != (*type != VHD_DIFFERENCING))
		FAIL(EINVAL, "disk '%s': a %s VHD image has %s parent", f->path, variant,
		     parent ? "no" : "a");
	if (parent && parent->ops != &block_vhd)
		FAIL(EINVAL,
		     "disk '%s': the parent of a VHD image must be one; convert it, or make the difference as qcow2",
		     f->path);
	return 0;
}

static int check_size(const struct block_file *f, u64 size, char *err, size_t errlen)
{
	if (size == 0 || size % BLOCK_SECTOR || size > VHD_MAX_SIZE)
		FAIL(EFBIG,
		     "disk '%s': a VHD disk has at most 2040 GiB, in whole sectors; use qcow2 or raw for more",
		     f->path);
	return 0;
}

/* How many table entries a disk takes. */
static int count_entries(u32 *entries, const struct block_file *f, u64 size, u32 block_size,
			 char *err, size_t errlen)
{
	u64 n = (size + block_size - 1) / block_size;

	if (n > VHD_MAX_ENTRIES)
		FAIL(EFBIG, "disk '%s': too many blocks of %u bytes; make them larger", f->path,
		     block_size);
	*entries = (u32)n;
	return 0;
}

/* Entries without blocks, up to the end of the last one's sector. */
static int write_unused(struct block_file *f, u64 offset, u64 end)
{
	u8 unused[4096];
	int r = 0;

	memset(unused, 0xff, sizeof(unused));
	for (u64 n; offset < end && !r; offset += n) {
		n = MIN(end - offset, sizeof(unused));
		r = block_file_write(f, unused, n, offset);
	}
	return r;
}

static int create_dynamic(struct block_file *f, const u8 *footer, const struct block_create *c,
			  struct block *parent, char *err, size_t errlen)
{
	u32 block_size = c->cluster_size ? c->cluster_size : VHD_DEFAULT_BLOCK, entries;
	u8 header[VHD_HEADER] = { 0 };
	u64 end;
	int r;

	if (block_size < VHD_MIN_BLOCK || block_size > VHD_MAX_BLOCK ||
	    (block_size & (block_size - 1)))
		FAIL(EINVAL,
		     "disk '%s': VHD blocks are a power of two from 4 KiB to 128 MiB, usually 2 MiB",
		     f->path);
	r = count_entries(&entries, f, c->size, block_size, err, errlen);
	if (r)
		return r;
	memcpy(header + VHD_H_COOKIE, "cxsparse", 8);
	be_store(header + VHD_H_DATA_OFFSET, VHD_NO_OFFSET, 8);
	be_store(header + VHD_H_TABLE_OFFSET, VHD_TABLE_OFFSET, 8);
	be_store(header + VHD_H_VERSION, VHD_VERSION, 4);
	be_store(header + VHD_H_ENTRIES, entries, 4);
	be_store(header + VHD_H_BLOCK_SIZE, block_size, 4);
	end = align_up(VHD_TABLE_OFFSET + entries * 4ull, BLOCK_SECTOR);
	if (parent)
		r = vhd_parent_set(f, header, c->parent, vhd_of(parent), &end, err, errlen);
	if (r)
		return r;
	vhd_header_seal(header);
	r = block_file_write(f, footer, VHD_FOOTER, 0);
	if (!r)
		r = block_file_write(f, header, VHD_HEADER, VHD_FOOTER);
	if (!r)
		r = write_unused(f, VHD_TABLE_OFFSET,
				 align_up(VHD_TABLE_OFFSET + entries * 4ull, BLOCK_SECTOR));
	if (!r)
		r = block_file_write(f, footer, VHD_FOOTER, end);
	return r ? write_error(f, r, err, errlen) : 0;
}

int vhd_create(struct block_file *f, const struct block_create *c, struct block *parent, char *err,
	       size_t errlen)
{
	u8 footer[VHD_FOOTER];
	enum vhd_type type;
	int r = find_type(&type, f, c, parent, err, errlen);

	if (!r)
		r = check_size(f, c->size, err, errlen);
	if (r)
		return r;
	if (!vhd_footer_init(footer, type, c->size))
		FAIL(EIO, "disk '%s': no random numbers for its UUID", f->path);
	if (type != VHD_FIXED)
		return create_dynamic(f, footer, c, parent, err, errlen);
	r = block_file_write(f, footer, VHD_FOOTER, c->size);
	return r ? write_error(f, r, err, errlen) : 0;
}

/* --- Changes -------------------------------------------------------------------------------- */

static int may_change(struct vhd *v, char *err, size_t errlen)
{
	const char *path = v->block.file->path;
	int r;

	if (v->block.readonly || v->block.file->readonly)
		FAIL(EROFS, "disk '%s' is only open for reading", path);
	if (v->damaged || (v->type == VHD_FIXED ? !v->tail_ok : !v->header_ok))
		FAIL(EIO,
		     "disk '%s' is damaged; repair it first with: pogo disk check --repair '%s'",
		     path, path);
	r = vhd_commit(v);
	return r ? write_error(v->block.file, r, err, errlen) : 0;
}

/* Both footers, once all before is on stable storage. */
static int write_footers(struct vhd *v)
{
	struct block_file *f = v->block.file;
	int r = block_file_flush(f);

	if (!r && v->type != VHD_FIXED) {
		r = block_file_write(f, v->footer, VHD_FOOTER, 0);
		v->head_ok = !r;
	}
	if (!r)
		r = vhd_write_tail(v);
	return r ? r : block_file_flush(f);
}

static int write_header(struct vhd *v)
{
	struct block_file *f = v->block.file;
	int r = block_file_flush(f);

	vhd_header_seal(v->header);
	if (!r)
		r = block_file_write(f, v->header, VHD_HEADER, v->header_offset);
	return r ? r : block_file_flush(f);
}

/* Room for `size` bytes of metadata behind all blocks, and the footer behind it. */
static int extend(struct vhd *v, u64 size, u64 *offset)
{
	int r = vhd_write_tail(v); /* cuts what is behind the end */

	if (r)
		return r;
	*offset = v->end;
	v->end = v->tail = *offset + align_up(size, BLOCK_SECTOR);
	return vhd_write_tail(v);
}

/* A table of more entries: where it is if its last sector has the room, else at the end of the file; the old one's place is lost. */
static int grow_table(struct vhd *v, u32 entries)
{
	u64 end = align_up(v->table_offset + v->entries * 4ull, BLOCK_SECTOR), offset;
	u32 *table = malloc(entries * sizeof(*table));
	u8 *bytes = malloc(align_up(entries * 4ull, BLOCK_SECTOR));
	int r = table && bytes ? 0 : -ENOMEM;

	if (!r) {
		memset(bytes, 0xff, align_up(entries * 4ull, BLOCK_SECTOR));
		memset(table, 0xff, entries * sizeof(*table));
		memcpy(table, v->table, v->entries * sizeof(*table));
		for (u32 i = 0; i < v->entries; i++)
			be_store(bytes + i * 4ull, table[i], 4);
		offset = v->table_offset;
		if (offset + entries * 4ull > end)
			r = extend(v, entries * 4ull, &offset);
	}
	if (!r)
		r = block_file_write(v->block.file, bytes, align_up(entries * 4ull, BLOCK_SECTOR),
				     offset);
	free(bytes);
	if (!r) {
		be_store(v->header + VHD_H_TABLE_OFFSET, offset, 8);
		be_store(v->header + VHD_H_ENTRIES, entries, 4);
		r = write_header(v);
	}
	if (r) {
		free(table);
		return r;
	}
	free(v->table);
	v->table = table;
	v->entries = entries;
	v->table_offset = offset;
	vhd_cache_free(v);
	return vhd_cache_init(v);
}

/* The new footer before the old one is made part of the disk. */
static int grow_fixed(struct vhd *v, u64 size)
{
	static const u8 zeroes[VHD_FOOTER];
	u64 old = v->tail;
	int r;

	v->tail = MAX(size, old);
	r = write_footers(v);
	if (!r && v->tail >= old + VHD_FOOTER)
		r = block_file_write(v->block.file, zeroes, VHD_FOOTER, old);
	return r ? r : block_file_flush(v->block.file);
}

/* What the disk gains shows zeros, whatever the parent has there. */
static int hide_parent(struct vhd *v, u64 from, u64 to)
{
	u64 end = v->block.parent ? MIN(to, v->block.parent->size) : 0;
	struct block_req req = { .op = BLOCK_WRITE_ZEROES, .offset = from, .unmap = true };

	if (end <= from)
		return 0;
	req.size = end - from;
	return vhd_serve_blocks(v, &req);
}

int vhd_resize(struct block *block, u64 size, char *err, size_t errlen)
{
	struct vhd *v = vhd_of(block);
	u64 old = block->size;
	u32 entries = 0;
	int r = may_change(v, err, errlen);

	if (!r)
		r = check_size(block->file, size, err, errlen);
	if (r)
		return r;
	if (size < old)
		FAIL(EOPNOTSUPP,
		     "disk '%s': a VHD disk can grow but not shrink; convert it to a new, smaller one",
		     block->file->path);
	if (v->type != VHD_FIXED)
		r = count_entries(&entries, block->file, size, v->block_size, err, errlen);
	if (r)
		return r;
	if (entries > v->entries)
		r = grow_table(v, entries);
	if (!r && v->type != VHD_FIXED)
		r = hide_parent(v, old, MIN(size, (u64)v->entries * v->block_size));
	vhd_footer_set_size(v->footer, size);
	if (!r)
		r = v->type == VHD_FIXED ? grow_fixed(v, size) : write_footers(v);
	if (r) {
		v->failed = r; /* which of both sizes it has is not known */
		return write_error(block->file, r, err, errlen);
	}
	block->size = size;
	return 0;
}

static int replace_parent(struct vhd *v, const char *path, const struct vhd *parent, char *err,
			  size_t errlen)
{
	u64 start, end;
	int r = extend(v, 0, &start);

	if (r)
		return write_error(v->block.file, r, err, errlen);
	/* Over the footer at the end; the copy is good. */
	end = start;
	r = vhd_parent_set(v->block.file, v->header, path, parent, &end, err, errlen);
	if (r)
		return r;
	v->end = v->tail = end;
	r = vhd_write_tail(v);
	if (!r)
		r = write_header(v);
	if (!r && v->type != VHD_DIFFERENCING) {
		v->type = VHD_DIFFERENCING;
		be_store(v->footer + VHD_F_TYPE, v->type, 4);
		vhd_footer_seal(v->footer);
		r = write_footers(v);
	}
	return r ? write_error(v->block.file, r, err, errlen) : 0;
}

/* The footers first: a dynamic image's header may name a parent that does not count. */
static int remove_parent(struct vhd *v)
{
	int r;

	if (v->type != VHD_DIFFERENCING)
		return 0;
	v->type = VHD_DYNAMIC;
	be_store(v->footer + VHD_F_TYPE, v->type, 4);
	vhd_footer_seal(v->footer);
	r = write_footers(v);
	if (r)
		return r;
	memset(v->header + VHD_H_PARENT_UUID, 0, 16);
	memset(v->header + VHD_H_PARENT_STAMP, 0, 4);
	memset(v->header + VHD_H_PARENT_NAME, 0, VHD_PARENT_NAME);
	memset(v->header + VHD_H_LOCATORS, 0, VHD_LOCATORS * VHD_L_SIZE);
	return write_header(v);
}

int vhd_set_parent(struct block *block, const char *path, const char *format, char *err,
		   size_t errlen)
{
	static const struct block_options any = { .backing = BLOCK_BACKING_ANY };
	struct vhd *v = vhd_of(block);
	struct block *parent;
	int r = may_change(v, err, errlen);

	if (r)
		return r;
	if (v->type == VHD_FIXED && path)
		FAIL(EINVAL, "disk '%s': a fixed VHD image cannot have a parent",
		     block->file->path);
	if (!path) {
		r = v->type == VHD_FIXED ? 0 : remove_parent(v);
		v->failed = r;
		vhd_find_locators(v);
		return r ? write_error(block->file, r, err, errlen) : 0;
	}
	if (format && strcmp(format, block_vhd.name) != 0)
		FAIL(EINVAL, "disk '%s': the parent of a VHD image must be one, not %s",
		     block->file->path, format);
	r = block_open_parent(&parent, block->file, path, block_vhd.name, &any, err, errlen);
	if (r)
		return r;
	r = replace_parent(v, path, vhd_of(parent), err, errlen);
	vhd_find_locators(v);
	block_close(parent);
	return r;
}
