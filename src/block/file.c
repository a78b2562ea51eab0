/* Host files and block devices under disk images, and the locks that keep two writers apart. */
#include "block/file.h"

#include "base/fail.h"
#include "block/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

struct host_file {
	struct block_file file;
	struct block_lock *lock;
};

static int host_read(struct block_file *f, void *buf, u64 size, u64 offset)
{
	int flags = f->nowait ? RWF_NOWAIT : 0;
	u64 done = 0;

	while (done < size) {
		struct iovec iov = { (u8 *)buf + done, size - done };
		ssize_t n = flags ? preadv2(f->fd, &iov, 1, (off_t)(offset + done), flags)
				  : pread(f->fd, iov.iov_base, iov.iov_len, (off_t)(offset + done));

		if (n < 0 && flags && errno == EOPNOTSUPP) {
			f->nowait_refused = true;
			return -EAGAIN;
		}
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) {
			if (offset + done < f->size)
				return -EIO; /* somebody has cut the file */
			memset((u8 *)buf + done, 0, size - done);
			return 0;
		}
		done += n > 0 ? (u64)n : 0;
	}
	return 0;
}

static int host_write(struct block_file *f, const void *buf, u64 size, u64 offset)
{
	u64 done = 0;

	while (done < size) {
		ssize_t n =
			pwrite(f->fd, (const u8 *)buf + done, size - done, (off_t)(offset + done));

		if (n == 0 || (n < 0 && errno != EINTR))
			return n ? -errno : -EIO;
		done += n > 0 ? (u64)n : 0;
	}
	f->size = MAX(f->size, offset + size);
	return 0;
}

static int host_flush(struct block_file *f) { return fdatasync(f->fd) ? -errno : 0; }

static int host_resize(struct block_file *f, u64 size)
{
	if (ftruncate(f->fd, (off_t)size))
		return -errno;
	f->size = size;
	return 0;
}

static int host_punch(struct block_file *f, u64 offset, u64 size)
{
	int r;

	do {
		r = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			      (off_t)size);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static void host_close(struct block_file *f)
{
	block_lock_release(((struct host_file *)f)->lock);
	close(f->fd); /* and with it the kernel's lock */
	free(f->path);
	free(f);
}

static const struct block_file_ops host_ops = {
	host_read, host_write, host_flush, host_resize, host_punch, host_close,
};

/* --- Opening -------------------------------------------------------------------------------- */

static int find_size(struct block_file *f, char *err, size_t errlen)
{
	struct stat st;

	if (fstat(f->fd, &st))
		FAIL(errno, "disk '%s': %s", f->path, fail_text(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(f->fd, BLKGETSIZE64, &f->size))
			FAIL(errno, "disk '%s': its size cannot be read: %s", f->path,
			     strerror(errno));
	} else if (S_ISREG(st.st_mode)) {
		f->size = (u64)st.st_size;
	} else {
		FAIL(EINVAL, "disk '%s' is neither a file nor a block device", f->path);
	}
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
	FAIL(errno, "disk '%s' cannot be opened%s: %s%s", path, readonly ? "" : " for writing",
	     fail_text(errno),
	     errno == ENOENT && !readonly ? "; `pogo disk create` makes an image" : "");
}

/* Takes fd over. NULL: no memory. */
static struct block_file *host_new(int fd, const char *path)
{
	struct host_file *host = calloc(1, sizeof(*host));

	if (!host || !(host->file.path = strdup(path))) {
		free(host);
		close(fd);
		return NULL;
	}
	host->file.ops = &host_ops;
	host->file.fd = fd;
	return &host->file;
}

/* Takes fd over. */
static int file_new(struct block_file **out, int fd, const char *path, bool readonly, char *err,
		    size_t errlen)
{
	struct block_file *f = host_new(fd, path);
	int r;

	if (!f)
		FAIL(ENOMEM, "disk '%s': out of memory", path);
	f->readonly = readonly;
	r = find_size(f, err, errlen);
	if (!r)
		r = block_lock_take(&((struct host_file *)f)->lock, fd, path, readonly, err,
				    errlen);
	if (r)
		host_close(f);
	else
		*out = f;
	return r;
}

int block_file_open(struct block_file **f, const char *path, bool readonly, char *err,
		    size_t errlen)
{
	int fd = open_image(path, readonly, err, errlen);

	return fd < 0 ? fd : file_new(f, fd, path, readonly, err, errlen);
}

int block_file_create(struct block_file **f, const char *path, char *err, size_t errlen)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	if (fd < 0 && errno == EEXIST)
		FAIL(EEXIST, "disk '%s' exists already; choose another name, or remove it first",
		     path);
	if (fd < 0)
		FAIL(errno, "disk '%s' cannot be created: %s", path, fail_text(errno));
	return file_new(f, fd, path, false, err, errlen);
}

int block_file_temporary(struct block_file **f)
{
	FILE *file = tmpfile();
	int fd = file ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 0) : -1, r = -errno;

	if (file)
		fclose(file);
	if (fd < 0)
		return r;
	*f = host_new(fd, "temporary file");
	return *f ? 0 : -ENOMEM;
}

bool block_file_in_memory(const struct block_file *f)
{
	struct statfs fs;

	return f->fd >= 0 && fstatfs(f->fd, &fs) == 0 &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

void block_file_close(struct block_file *f)
{
	if (f)
		f->ops->close(f);
}
