/* Raw disk images: a file or block device whose bytes are the disk's. */
#include "block/block.h"

#include "base/fail.h"
#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ZEROES_SIZE (64 * KIB) /* written at once where the host cannot make holes */

struct raw {
	struct block block;
	bool guarded; /* the contents said that it is raw: they must go on saying so */
};

/* Whether the image would be found to be of another format once this write is done: then the guest could name any file of the host as its
 * parent, and read that after the next start. */
static bool raw_disguises(struct block *block, const struct block_req *req)
{
	u8 head[BLOCK_SECTOR], tail[BLOCK_SECTOR];
	const u8 *buf = req->buf;
	u64 end = block->size - BLOCK_SECTOR, size = req->size;

	if (!size || (req->offset > 0 && req->offset + size <= end))
		return false;
	if (block_file_read(block->file, head, sizeof(head), 0) ||
	    block_file_read(block->file, tail, sizeof(tail), end))
		return true;
	if (req->offset == 0)
		memcpy(head, buf, sizeof(head));
	if (req->offset + size > end)
		memcpy(tail, buf + size - BLOCK_SECTOR, sizeof(tail));
	return block_format_probe(head, tail, block->file->size) != &block_raw;
}

static int raw_zero_range(const struct block_req *req, struct block_file *f)
{
	int r;

	if (f->fd < 0)
		return -EOPNOTSUPP;
	do {
		r = fallocate(f->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)req->offset,
			      (off_t)req->size);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int raw_write_zeroes(struct block_file *f, const struct block_req *req)
{
	static const u8 zeroes[ZEROES_SIZE];
	int r = -EOPNOTSUPP;

	if (req->size == 0)
		return 0;
	if (req->unmap)
		r = f->ops->punch(f, req->offset, req->size);
	if (r == -EOPNOTSUPP)
		r = raw_zero_range(req, f);
	if (r != -EOPNOTSUPP)
		return r;
	r = 0;
	for (u64 done = 0; done < req->size && !r; done += ZEROES_SIZE)
		r = block_file_write(f, zeroes, MIN(req->size - done, ZEROES_SIZE),
				     req->offset + done);
	return r;
}

static int raw_discard(struct block_file *f, const struct block_req *req)
{
	int r = req->size ? f->ops->punch(f, req->offset, req->size) : 0;

	return r == -EOPNOTSUPP ? 0 : r; /* a hint that this host cannot take */
}

static void raw_submit(struct block *block, struct block_req *req)
{
	struct block_file *f = block->file;
	int r = 0;

	switch (req->op) {
	case BLOCK_READ: r = block_file_read(f, req->buf, req->size, req->offset); break;
	case BLOCK_WRITE:
		if (((struct raw *)block)->guarded && raw_disguises(block, req)) {
			r = -EPERM;
			break;
		}
		r = block_file_write(f, req->buf, req->size, req->offset);
		if (!r && req->fua)
			r = block_file_flush(f);
		break;
	case BLOCK_FLUSH: r = block_file_flush(f); break;
	case BLOCK_DISCARD: r = raw_discard(f, req); break;
	case BLOCK_WRITE_ZEROES: r = raw_write_zeroes(f, req); break;
	}
	req->result = r;
	block_complete(block, req);
}

static void raw_close(struct block *block)
{
	block_file_close(block->file);
	free(block);
}

/* What the host says about holes; a sector that is in one only in part is none. */
static bool raw_allocated(struct block *block, u64 offset, u64 *size)
{
	struct block_file *f = block->file;
	off_t data, hole;
	u64 to;

	if (f->fd < 0)
		return true;
	data = lseek(f->fd, (off_t)offset, SEEK_DATA);
	if (data < 0 && errno != ENXIO)
		return true;
	to = data < 0 ? block->size : align_down((u64)data, BLOCK_SECTOR);
	if (to > offset) {
		*size = MIN(*size, to - offset);
		return false;
	}
	hole = lseek(f->fd, (off_t)offset, SEEK_HOLE);
	if (hole > (off_t)offset)
		*size = MIN(*size, align_up((u64)hole, BLOCK_SECTOR) - offset);
	return true;
}

static int raw_open(struct block **out, struct block_file *file,
		    const struct block_options *options, char *err, size_t errlen)
{
	struct raw *raw;
	unsigned physical;

	if (file->size == 0) {
		snprintf(err, errlen,
			 "disk '%s' is empty; give it a size with: truncate -s 1G '%s'", file->path,
			 file->path);
		return -EINVAL;
	}
	if (file->size % BLOCK_SECTOR) {
		snprintf(err, errlen,
			 "disk '%s' has %llu bytes, not a multiple of %u; "
			 "pad it with: truncate -s %%%u '%s'",
			 file->path, (unsigned long long)file->size, BLOCK_SECTOR, BLOCK_SECTOR,
			 file->path);
		return -EINVAL;
	}
	raw = calloc(1, sizeof(*raw));
	if (!raw) {
		snprintf(err, errlen, "disk '%s': out of memory", file->path);
		return -ENOMEM;
	}
	if (file->fd < 0 || ioctl(file->fd, BLKPBSZGET, &physical))
		physical = 4096;
	raw->block = (struct block){
		.ops = &block_raw, .file = file, .size = file->size, .physical_size = physical
	};
	raw->guarded = !options->format;
	*out = &raw->block;
	return 0;
}

static int raw_create(struct block_file *file, const struct block_create *c, struct block *parent,
		      char *err, size_t errlen)
{
	int r;

	if (parent || c->variant || c->cluster_size) {
		snprintf(err, errlen,
			 "disk '%s': a raw image has no %s; choose --format qcow2 or vhd", c->path,
			 parent       ? "parent"
			 : c->variant ? "variants"
				      : "clusters");
		return -EINVAL;
	}
	r = file->ops->resize(file, c->size);
	if (r)
		snprintf(err, errlen, "disk '%s' cannot be made %llu bytes large: %s", c->path,
			 (unsigned long long)c->size, fail_text(-r));
	return r;
}

static int raw_resize(struct block *block, u64 size, char *err, size_t errlen)
{
	int r = block->file->ops->resize(block->file, size);

	if (r)
		snprintf(err, errlen, "disk '%s' cannot be made %llu bytes large: %s",
			 block->file->path, (unsigned long long)size, fail_text(-r));
	else
		block->size = size;
	return r;
}

static void raw_info(struct block *block, struct block_info *info)
{
	u64 size;

	info->format = "raw";
	info->variant = "fixed";
	info->size = block->size;
	info->file_size = block->file->size;
	for (u64 at = 0; at < block->size; at += size) {
		size = block->size - at;
		if (raw_allocated(block, at, &size))
			info->allocated += size;
	}
}

/* Nothing in a raw image can be wrong. */
static int raw_check(struct block *block, struct block_check *c, bool repair)
{
	struct block_info info = { 0 };

	(void)repair;
	raw_info(block, &info);
	c->clusters = block->size / BLOCK_SECTOR;
	c->allocated = info.allocated / BLOCK_SECTOR;
	return 0;
}

const struct block_ops block_raw = {
	.name = "raw",
	.help = "a plain image, or a block device",
	.open = raw_open,
	.parallel = true,
	.submit = raw_submit,
	.close = raw_close,
	.create = raw_create,
	.check = raw_check,
	.info = raw_info,
	.resize = raw_resize,
	.allocated = raw_allocated,
};
