/* Disks: a backend serves requests on a flat array of bytes. */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/types.h"

#define BLOCK_SECTOR 512u

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,   /* all writes that are done reach stable storage */
	BLOCK_DISCARD, /* a hint: the contents of the range no longer matter */
	BLOCK_WRITE_ZEROES,
};

struct block;

/* One request; owned by the caller until done is called. */
struct block_req {
	enum block_op op;
	bool unmap;       /* BLOCK_WRITE_ZEROES: the range may become a hole */
	u64 offset, size; /* bytes, multiples of BLOCK_SECTOR; 0 for a flush */
	void *buf;        /* reads and writes: size bytes */
	/* Called once, with result 0 or a negative errno: from within block_submit, or later from
	 * block_poll or block_drain, always on the thread that calls these. May submit again. */
	void (*done)(struct block_req *req);
	void *opaque;
	int result;
	struct block_req *next; /* the backend's */
};

struct block_options {
	const char *path;
	const char *format; /* a backend's name; NULL is "raw" */
	bool readonly;
	bool threaded; /* requests are served beside the caller; else within block_submit */
	bool scratch;  /* the image is only read: changes are kept apart, and lost at the end */
};

struct block_ops {
	const char *name, *help;
	/* Opens and locks the image. On failure a negative errno, and err holds one line that names
	 * the file and the problem. */
	int (*open)(struct block **block, const struct block_options *options, char *err,
		    size_t errlen);
	/* Serves a request that lies within the disk; sets result, then calls block_complete. Any
	 * one thread at a time. */
	void (*submit)(struct block *block, struct block_req *req);
	void (*close)(struct block *block);
};

/* The part that every backend embeds first. */
struct block {
	const struct block_ops *ops;
	u64 size;          /* bytes, a multiple of BLOCK_SECTOR */
	u32 physical_size; /* bytes that the storage writes at once: a power of two */
	bool readonly;
	struct block_thread *thread; /* NULL if not threaded */
};

extern const struct block_ops block_raw;

/* Puts a disk over one that was opened for reading alone: it has the same contents and can be written, what is written goes to
 * an unlinked file in the directory for temporary ones. Closing it closes `below`, which is not used otherwise any more. On
 * failure a negative errno, and `below` is left alone. */
int block_scratch(struct block **block, struct block *below) must_check;

/* On failure a negative errno, and one line in err. */
int block_open(struct block **block, const struct block_options *options, char *err, size_t errlen)
	must_check;
/* Drains, flushes nothing, frees. NULL is ignored. */
void block_close(struct block *block);
/* A request beyond the disk fails with -EINVAL, a change of a read-only disk with -EROFS. */
void block_submit(struct block *block, struct block_req *req);
/* Descriptor that is readable while block_poll has something to do, or -1. */
int block_fd(const struct block *block);
/* Calls done for the requests that have been served; never waits. */
void block_poll(struct block *block);
/* Waits until every submitted request is done. */
void block_drain(struct block *block);

/* For backends: the request is served. */
void block_complete(struct block *block, struct block_req *req);

#endif
