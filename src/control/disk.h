/* The parts of `pogo disk`. */
#ifndef CONTROL_DISK_H
#define CONTROL_DISK_H

#include "block/block.h"

#include <jansson.h>
#include <limits.h>

/* The options of all subcommands; each takes its own. */
struct disk_args {
	const char *words[2]; /* what is no option */
	int count;
	const char *format, *to_format, *variant, *parent, *parent_format, *size;
	u64 cluster_size;
	bool json, chain, repair, force, shrink, unsafe;
	char path[PATH_MAX];
	const char *
		written; /* the image that a command has made or changed, of `format` if that is known: --json shows it */
};

#define DISK_EXIT_LEAKS 3 /* of check: only space is lost */

/* Subcommands: an exit code. What is wrong has been said. */
int disk_create(struct disk_args *a);
int disk_resize(struct disk_args *a);
int disk_info(struct disk_args *a);
int disk_check(struct disk_args *a);
int disk_convert(struct disk_args *a);
int disk_rebase(struct disk_args *a);
int disk_diff(struct disk_args *a);

/* A size with a unit, or bytes: "512B". */
bool disk_size(const char *text, u64 *bytes) must_check;
/* "20 GiB" */
const char *disk_size_text(u64 bytes, char *buf, size_t len);
/* Says what is wrong with the words; the exit code. */
#define disk_usage_error(...) (log_error(__VA_ARGS__), EXIT_USAGE)
/* Opens an image; on failure NULL, and the error has been said. format NULL: found out. */
struct block *disk_open(const char *path, const char *format, bool readonly,
			enum block_backing backing) must_check;
/* Closes an image that was written: false, and the error has been said, if not all of it has reached the storage. NULL is fine. */
bool disk_finish(struct block *block);
/* Prints a JSON value, and frees it. */
void disk_print_json(json_t *json);

/* --- Long work: the contents of whole disks ------------------------------------------------------- */

#define DISK_PIECE (1 * MIB)

struct disk_work {
	u64 total; /* bytes */
	const char *verb;
	bool tty;
	int percent;
};

/* From here on a first interrupt only makes disk_interrupted say so; a second one ends the program. */
void disk_catch_signals(void);
/* Does that too. */
void disk_work_start(struct disk_work *w, const char *verb, u64 total);
/* `done` bytes of the total are. */
void disk_work_step(struct disk_work *w, u64 done);
/* Takes the progress off the terminal. */
void disk_work_end(struct disk_work *w);
bool disk_interrupted(void);
/* Whether [offset, offset + *size) may be other than zeros in any image of the chain from `block` down; cuts *size to the range that this is
 * true of. */
bool disk_may_have_data(struct block *block, u64 offset, u64 *size);
bool disk_is_zero(const u8 *buf, u64 size);

#endif
