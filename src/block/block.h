/* Disks: a backend serves requests on a flat array of bytes. */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include "base/types.h"
#include "block/file.h"

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
	bool fua;         /* BLOCK_WRITE: done means on stable storage */
	u64 offset, size; /* bytes, multiples of BLOCK_SECTOR; 0 for a flush */
	void *buf;        /* reads and writes: size bytes */
	/* Called once, with result 0 or a negative errno: from within block_submit, or later from
	 * block_poll or block_drain, always on the thread that calls these. May submit again. */
	void (*done)(struct block_req *req);
	void *opaque;
	int result;
	struct block_req *next; /* the backend's */
};

/* What an image may refer to. */
enum block_backing {
	BLOCK_BACKING_NONE, /* an image with a parent is refused, and the error says how to allow it */
	BLOCK_BACKING_NAMED, /* the one in block_options.parent, whatever the image says */
	BLOCK_BACKING_ANY, /* what the image names, each link of the chain: for images that the user made */
	BLOCK_BACKING_UNSEEN, /* block_open_parent gives NULL: for looking at an image without reading what the guest would */
};

/* An image further down a chain, as the user names it. */
struct block_below {
	const char *path, *format;
	const struct block_below *next; /* below that one */
};

/* A file that is open above an image in its chain. */
struct block_above {
	u64 device, inode;
	const struct block_above *next;
};

/* How requests are served beside the caller. */
enum block_io {
	BLOCK_IO_AUTO,   /* the quickest way that this image and this host allow */
	BLOCK_IO_URING,  /* io_uring: raw images in host files; an error elsewhere */
	BLOCK_IO_THREAD, /* worker threads */
};

struct block_options {
	const char *path;
	/* A format's name is final, whatever the image contains. NULL finds out. Who records what was found (a machine file) passes it
	 * from then on: a guest writes what it likes into a raw image, a header of another format too. Where nothing is recorded, an
	 * image that was found to be raw refuses writes after which it would be found to be of another format. */
	const char *format;
	bool readonly;
	bool threaded; /* requests that may take long are served beside the caller; else all are within block_submit */
	enum block_io io; /* if threaded */
	bool scratch;     /* the image is only read: changes are kept apart, and lost at the end */
	bool repair; /* opened to be checked with repair and closed: also what is too damaged to be written otherwise */
	enum block_backing backing;
	/* BLOCK_BACKING_NAMED; a relative path is one of the caller's directory. */
	const char *parent, *parent_format;
	const struct block_below *below; /* the parent's parent and so on; NULL: it has none */
	unsigned depth; /* images above this one in its chain; set by block_open_parent */
	const struct block_above *above; /* they themselves; set by block_open_parent */
};

#define BLOCK_CHAIN_MAX 32 /* images in a chain */

/* What `pogo disk create` asks for. */
struct block_create {
	const char *path, *format;
	const char *variant; /* of the format: "fixed", "dynamic"; NULL is its default */
	u64 size;            /* bytes; 0 with a parent: the parent's */
	/* Differencing; NULL: none. block_create takes the path as the caller means it; formats get it as the image shall name it:
	 * absolute, or from the image's own directory. parent_format is never NULL for formats if there is a parent. */
	const char *parent, *parent_format;
	u32 cluster_size; /* of VHD blocks or qcow2 clusters, bytes; 0: the default */
};

/* What `pogo disk info` shows. */
struct block_info {
	const char *format, *variant; /* constants */
	u64 size, file_size;
	u64 allocated; /* guest bytes that the image itself holds */
	u32 cluster_size;
	char parent[4096]; /* as the image names it, "" if none */
	char parent_format[16];
	bool dirty; /* was not closed */
	unsigned snapshots;
	struct block_snapshot {
		char id[64], name[64];
		u64 vm_state_size;
		i64 seconds; /* since 1970 */
	} snapshot[16];      /* the first ones */
	char note[256];      /* anything else worth a line: CHS geometry, UUID, compression */
};

/* What a check found. Leaks cost space alone; errors are data at risk. */
struct block_check {
	u64 leaks, errors, repaired;
	u64 clusters, allocated; /* seen */
	/* One line a finding. May be NULL. */
	void (*report)(void *opaque, const char *line);
	void *opaque;
};

struct block_ops {
	const char *name, *help;
	/* True if the file is of this format: head is its first 512 bytes (zeros beyond its end), tail its last 512. NULL: never found
	 * by its contents. */
	bool (*probe)(const u8 *head, const u8 *tail, u64 file_size);
	/* Opens the image in file, which becomes the disk's if the call succeeds. options->parent etc. say what it may refer to; parents
	 * are opened with block_open_parent. On failure a negative errno, and err holds one line that names the file, the problem and
	 * the fix. */
	int (*open)(struct block **block, struct block_file *file,
		    const struct block_options *options, char *err, size_t errlen);
	/* Writes an empty image into an empty file. NULL: cannot be created. parent: open for reading, or NULL. */
	int (*create)(struct block_file *file, const struct block_create *c, struct block *parent,
		      char *err, size_t errlen);
	bool parallel; /* submit is called on several threads at once */
	/* Serves a request that lies within the disk; sets result, then calls block_complete. Any
	 * one thread at a time, unless it is parallel. A read of the file may fail with -EAGAIN, its data not being in memory: then so
	 * does the read request, which comes again. Only a read request meets this. */
	void (*submit)(struct block *block, struct block_req *req);
	/* Writes what it must to leave a clean image (errors are lost: who must know flushes first), closes file and parent. */
	void (*close)(struct block *block);
	/* May be NULL. Nothing is in flight. */
	int (*check)(struct block *block, struct block_check *c, bool repair);
	void (*info)(struct block *block, struct block_info *info);
	/* Changes the disk's size, bytes; -EOPNOTSUPP with a line in err where the format cannot. */
	int (*resize)(struct block *block, u64 size, char *err, size_t errlen);
	/* Names another parent in the image (its contents must equal what the old one showed, or the caller has copied the difference);
	 * NULL: none. */
	int (*set_parent)(struct block *block, const char *path, const char *format, char *err,
			  size_t errlen);
	/* Whether [offset, offset + *size) is held by this image itself (not its parent) and may be other than zeros. *size is cut to the
	 * range, from offset, of which the answer is true; at least a sector. NULL: all of it is. */
	bool (*allocated)(struct block *block, u64 offset, u64 *size);
};

/* The part that every backend embeds first. */
struct block {
	const struct block_ops *ops;
	struct block_file *file; /* NULL where there is none of its own */
	struct block *parent;    /* below a differencing image, opened for reading; NULL: none */
	u64 size;                /* bytes, a multiple of BLOCK_SECTOR */
	u32 physical_size;       /* bytes that the storage writes at once: a power of two */
	bool readonly;
	struct block_thread *thread; /* at most one of the two is there */
	struct block_uring *uring;
	bool now; /* a request is being served within block_submit, to see if that can be done without waiting */
	/* Requests that failed and wait: see block_on_error. */
	bool (*wait)(void *opaque, const struct block_req *req);
	void *wait_opaque;
	struct block_req *waiting, **waits;
	bool draining;
};

extern const struct block_ops block_raw, block_vhd, block_qcow2;

/* All formats, ended by NULL. */
extern const struct block_ops *const block_formats[];
/* NULL: no such format. */
const struct block_ops *block_format_find(const char *name);
/* What a new image is by the end of its name; NULL: it does not say. */
const struct block_ops *block_format_by_extension(const char *path);
/* The format that these first and last 512 bytes are of: raw where no other is. */
const struct block_ops *block_format_probe(const u8 *head, const u8 *tail, u64 file_size);

/* Puts a disk over one that was opened for reading alone: it has the same contents and can be written, what is written goes to
 * an unlinked file in the directory for temporary ones. Closing it closes `below`, which is not used otherwise any more. On
 * failure a negative errno, and `below` is left alone. */
int block_scratch(struct block **block, struct block *below) must_check;

/* On failure a negative errno, and one line in err. */
int block_open(struct block **block, const struct block_options *options, char *err, size_t errlen)
	must_check;
/* Makes a new image; path must not exist. A NULL format is that of the path's extension. On failure there is no file, a negative errno, and
 * one line in err. */
int block_create(const struct block_create *c, char *err, size_t errlen) must_check;
/* How the image at `image` shall name the file at `path`: an absolute name stays, otherwise it is the way from the image's directory, with
 * symbolic links out of the way. A negative errno if a directory does not exist or the name does not fit. */
int block_path_from(char *out, size_t size, const char *image, const char *path) must_check;
/* Makes sure that `overlay` is a differencing image over `base`: created if there is none, otherwise it must name base as its parent. NULL
 * formats are found out. Then open it with BLOCK_BACKING_NAMED and base as the parent. `base` is only read. */
int block_overlay_prepare(const char *overlay, const char *format, const char *base,
			  const char *base_format, char *err, size_t errlen) must_check;
/* For block_open: readies threads or rings where requests may have to wait for a device. -ENOSYS and others if `io` is refused. */
int block_engage(struct block *block, enum block_io io) must_check;
/* Drains, flushes nothing, frees. NULL is ignored. */
void block_close(struct block *block);
/* A request beyond the disk fails with -EINVAL, a change of a read-only disk with -EROFS. */
void block_submit(struct block *block, struct block_req *req);
/* Descriptor that is readable while block_poll has something to do, or -1. */
int block_fd(const struct block *block);
/* Calls done for the requests that have been served; never waits. */
void block_poll(struct block *block);
/* Waits until every submitted request is done; those that wait for block_retry are, with the errors that they have met. */
void block_drain(struct block *block);
/* From now on `wait` is asked about each request that was submitted, lies within the disk, and failed: true, and it is not done but waits
 * for block_retry (or block_drain). On the thread that submits; it must not submit anything. */
void block_on_error(struct block *block, bool (*wait)(void *opaque, const struct block_req *req),
		    void *opaque);
/* Submits again what waits, in the order in which it failed. */
void block_retry(struct block *block);
/* Flushes will never succeed again: what an earlier one was to make stable may be lost. */
bool block_flush_lost(const struct block *block);

/* For formats: names in an image come from others, and stand in messages and on terminals: control characters become '?'. */
void block_printable(char *name);
/* For formats: opens the image that `child` names as its parent (or gives NULL, with 0: BLOCK_BACKING_UNSEEN), as far as the options that
 * the child was opened with allow it. `path` is as the image has it: relative to the directory of the child. format NULL: found out, but then a parent that has a
 * parent itself is refused: a guest may have written the header that names it. Never opened for writing, never threaded. */
int block_open_parent(struct block **parent, const struct block_file *child, const char *path,
		      const char *format, const struct block_options *options, char *err,
		      size_t errlen) must_check;
/* For formats: serves a request on a disk below, at once, on this thread. 0 or a negative errno. Reads beyond the disk's end give
 * zeros. */
int block_read_now(struct block *block, void *buf, u64 size, u64 offset) must_check;
/* The same for writing and for flushing. */
int block_write_now(struct block *block, const void *buf, u64 size, u64 offset) must_check;
int block_flush_now(struct block *block) must_check;
/* For backends: the request is served. */
void block_complete(struct block *block, struct block_req *req);
/* For ways of service, on the thread that submits: calls done, unless the request has failed and is to wait. */
void block_done(struct block *block, struct block_req *req);

#endif
