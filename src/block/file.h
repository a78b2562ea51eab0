/* The bytes under a disk image: what image formats read and write. A format holds a struct block_file and knows nothing of
 * descriptors, so that tests can put a write log or a failing disk in its place. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include "base/types.h"

struct block_file;

struct block_file_ops {
	/* Reads or writes exactly size bytes; bytes beyond the end read as zeros, a write beyond it extends the file. 0 or a
	 * negative errno; after an error any part may have been transferred. */
	int (*read)(struct block_file *f, void *buf, u64 size, u64 offset);
	int (*write)(struct block_file *f, const void *buf, u64 size, u64 offset);
	/* All writes that have returned reach stable storage, with the size. An error means that they may not have, now or ever:
	 * calling it again proves nothing, so block_file_flush does not. */
	int (*flush)(struct block_file *f);
	int (*resize)(struct block_file *f, u64 size);
	/* The range, which lies within the file, reads as zeros and need not take space; -EOPNOTSUPP where the host cannot. */
	int (*punch)(struct block_file *f, u64 offset, u64 size);
	void (*close)(struct block_file *f);
};

/* The part that every implementation embeds first. */
struct block_file {
	const struct block_file_ops *ops;
	char *path; /* for messages; owned */
	u64 size;   /* bytes, kept current by write and resize */
	bool readonly;
	int fd;              /* of a host file, or -1: then only ops reach the bytes */
	bool nowait;         /* set by who reads: fail with -EAGAIN rather than wait for a device */
	bool nowait_refused; /* the host cannot tell: such reads always fail */
	int flush_error; /* of a flush that failed: what it was to make stable may be lost, so all later ones fail too */
};

/* Opens and locks an image: many may read it, or one write, also across hosts where the file system carries locks. On failure a
 * negative errno, and one line in err that names the file, the problem (the holder, if locked) and the fix. */
int block_file_open(struct block_file **f, const char *path, bool readonly, char *err,
		    size_t errlen) must_check;
/* Creates a file of no bytes, locked for writing; -EEXIST if there is one. */
int block_file_create(struct block_file **f, const char *path, char *err, size_t errlen) must_check;
/* An empty file without a name, which is gone once it is closed; nobody else can open it. A negative errno. */
int block_file_temporary(struct block_file **f) must_check;
/* True if the file lies in the host's memory, so that nothing ever waits for a device. */
bool block_file_in_memory(const struct block_file *f);
/* NULL is ignored. */
void block_file_close(struct block_file *f);

static inline int block_file_read(struct block_file *f, void *buf, u64 size, u64 offset)
{
	return f->ops->read(f, buf, size, offset);
}

static inline int block_file_write(struct block_file *f, const void *buf, u64 size, u64 offset)
{
	return f->ops->write(f, buf, size, offset);
}

static inline int block_file_flush(struct block_file *f)
{
	if (!f->flush_error)
		f->flush_error = f->ops->flush(f);
	return f->flush_error;
}

#endif
