/* Raw disk images: a file or block device whose bytes are the disk's. */
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define ZEROES_SIZE (64 * KIB) /* written at once where the host cannot make holes */

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

static int raw_open(struct block **out, struct block_file *file,
		    const struct block_options *options, char *err, size_t errlen)
{
	struct block *block;
	unsigned physical;

	(void)options;
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
	block = calloc(1, sizeof(*block));
	if (!block) {
		snprintf(err, errlen, "disk '%s': out of memory", file->path);
		return -ENOMEM;
	}
	if (file->fd < 0 || ioctl(file->fd, BLKPBSZGET, &physical))
		physical = 4096;
	*block = (struct block){
		.ops = &block_raw, .file = file, .size = file->size, .physical_size = physical
	};
	*out = block;
	return 0;
}

const struct block_ops block_raw = {
	.name = "raw",
	.help = "a plain image, or a block device",
	.open = raw_open,
	.submit = raw_submit,
	.close = raw_close,
};
