/* Raw disk images: a file or block device whose bytes are the disk's. */
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct raw {
	struct block block;
	int fd;
};

#define ZEROES_SIZE (64 * KIB) /* written at once where the host cannot make holes */

static int raw_read(const struct raw *raw, const struct block_req *req)
{
	u64 done = 0;

	while (done < req->size) {
		ssize_t n = pread(raw->fd, (u8 *)req->buf + done, req->size - done,
				  (off_t)(req->offset + done));

		if (n > 0)
			done += (u64)n;
		else if (n == 0)
			return -EIO; /* somebody has cut the file */
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static int write_all(const struct raw *raw, const u8 *buf, u64 size, u64 offset)
{
	u64 done = 0;

	while (done < size) {
		ssize_t n = pwrite(raw->fd, buf + done, size - done, (off_t)(offset + done));

		if (n > 0)
			done += (u64)n;
		else if (n == 0)
			return -EIO;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static int allocate(const struct raw *raw, int mode, const struct block_req *req)
{
	int r;

	do {
		r = fallocate(raw->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)req->offset,
			      (off_t)req->size);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int raw_write_zeroes(const struct raw *raw, const struct block_req *req)
{
	static const u8 zeroes[ZEROES_SIZE];
	int r = -EOPNOTSUPP;

	if (req->size == 0)
		return 0;
	if (req->unmap)
		r = allocate(raw, FALLOC_FL_PUNCH_HOLE, req);
	if (r == -EOPNOTSUPP)
		r = allocate(raw, FALLOC_FL_ZERO_RANGE, req);
	if (r != -EOPNOTSUPP)
		return r;
	r = 0;
	for (u64 done = 0; done < req->size && !r; done += ZEROES_SIZE)
		r = write_all(raw, zeroes, MIN(req->size - done, ZEROES_SIZE), req->offset + done);
	return r;
}

static int raw_discard(const struct raw *raw, const struct block_req *req)
{
	int r = req->size ? allocate(raw, FALLOC_FL_PUNCH_HOLE, req) : 0;

	return r == -EOPNOTSUPP ? 0 : r; /* a hint that this host cannot take */
}

static void raw_submit(struct block *block, struct block_req *req)
{
	const struct raw *raw = (struct raw *)block;

	switch (req->op) {
	case BLOCK_READ: req->result = raw_read(raw, req); break;
	case BLOCK_WRITE: req->result = write_all(raw, req->buf, req->size, req->offset); break;
	case BLOCK_FLUSH: req->result = fdatasync(raw->fd) ? -errno : 0; break;
	case BLOCK_DISCARD: req->result = raw_discard(raw, req); break;
	case BLOCK_WRITE_ZEROES: req->result = raw_write_zeroes(raw, req); break;
	}
	block_complete(block, req);
}

static void raw_close(struct block *block)
{
	struct raw *raw = (struct raw *)block;

	close(raw->fd); /* and with it the lock */
	free(raw);
}

/* --- Opening -------------------------------------------------------------------------------- */

/* Fails with -errno and one line that starts with the file's name. */
#define FAIL(error, ...)                                                     \
	do {                                                                 \
		int error_ = (error); /* before snprintf can change errno */ \
		snprintf(err, errlen, __VA_ARGS__);                          \
		return -error_;                                              \
	} while (0)

/* Keeps other monitors off the image: many may read it, or one write. */
static int lock_image(int fd, const char *path, bool readonly, char *err, size_t errlen)
{
	struct flock lock = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		FAIL(EBUSY, "disk '%s' is in use by another process%s", path,
		     readonly ? " that writes to it" : "");
	FAIL(errno, "disk '%s' cannot be locked: %s", path, strerror(errno));
}

static int find_size(struct raw *raw, const char *path, char *err, size_t errlen)
{
	struct stat st;
	u64 size;
	unsigned physical = 4096;

	if (fstat(raw->fd, &st))
		FAIL(errno, "disk '%s': %s", path, strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(raw->fd, BLKGETSIZE64, &size) || ioctl(raw->fd, BLKPBSZGET, &physical))
			FAIL(errno, "disk '%s': its size cannot be read: %s", path,
			     strerror(errno));
	} else if (S_ISREG(st.st_mode)) {
		size = (u64)st.st_size;
	} else {
		FAIL(EINVAL, "disk '%s' is neither a file nor a block device", path);
	}
	if (size == 0)
		FAIL(EINVAL, "disk '%s' is empty; give it a size with: truncate -s 1G '%s'", path,
		     path);
	if (size % BLOCK_SECTOR)
		FAIL(EINVAL,
		     "disk '%s' has %llu bytes, not a multiple of %u; "
		     "pad it with: truncate -s %%%u '%s'",
		     path, (unsigned long long)size, BLOCK_SECTOR, BLOCK_SECTOR, path);
	raw->block.size = size;
	raw->block.physical_size = physical;
	return 0;
}

/* A block device that is mounted or otherwise taken refuses O_EXCL. O_NONBLOCK: a FIFO in the
 * image's place must not hold the monitor up before it is refused. */
static int open_image(const char *path, bool readonly, char *err, size_t errlen)
{
	int flags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
	struct stat st;
	int fd;

	if (!readonly && stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	fd = open(path, flags);
	if (fd >= 0)
		return fd;
	if (errno == EBUSY)
		FAIL(EBUSY, "disk '%s' is in use by the host", path);
	if (errno == EISDIR)
		FAIL(EISDIR, "disk '%s' is a directory", path);
	FAIL(errno, "disk '%s' cannot be opened%s: %s", path, readonly ? "" : " for writing",
	     strerror(errno));
}

static int raw_open(struct block **block, const struct block_options *options, char *err,
		    size_t errlen)
{
	struct raw *raw = calloc(1, sizeof(*raw));
	int r;

	if (!raw)
		FAIL(ENOMEM, "disk '%s': out of memory", options->path);
	raw->block.ops = &block_raw;
	raw->block.readonly = options->readonly;
	r = raw->fd = open_image(options->path, options->readonly, err, errlen);
	if (r < 0)
		goto free_raw;
	r = find_size(raw, options->path, err, errlen);
	if (!r)
		r = lock_image(raw->fd, options->path, options->readonly, err, errlen);
	if (r)
		goto close_fd;
	*block = &raw->block;
	return 0;

close_fd:
	close(raw->fd);
free_raw:
	free(raw);
	return r;
}

const struct block_ops block_raw = {
	.name = "raw",
	.help = "a plain image, or a block device",
	.open = raw_open,
	.submit = raw_submit,
	.close = raw_close,
};
