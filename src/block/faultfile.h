/* For tests: disks in memory under block files, which keep a log of what has not been flushed, so that a test can see what a power cut leaves,
 * and which fail when they are told to. */
#ifndef BLOCK_FAULTFILE_H
#define BLOCK_FAULTFILE_H

#include "block/file.h"

#define FAULT_SECTOR   512u        /* what a power cut does not tear */
#define FAULT_SIZE_MAX (512 * MIB) /* a file never grows beyond: -ENOSPC */

enum fault_call { FAULT_READ, FAULT_WRITE, FAULT_FLUSH, FAULT_RESIZE, FAULT_PUNCH };

/* A change since the last flush. */
struct fault_event {
	u64 offset, size; /* that it covered; size 0: only the file's size changed */
	u64 file_size;    /* after it */
	u8 *data;         /* NULL: zeros */
};

/* A disk outlives the files that are opened on it, as one does its users. */
struct fault_disk {
	u8 *data, *stable;     /* what a read sees; what is certainly on the medium */
	u64 size, stable_size; /* of the file */
	struct fault_event *log;
	unsigned logged, log_room;
	u64 rng;

	/* The fail_at-th call from now (1 is the next one) of a kind in fail_calls (a mask of 1 << enum fault_call) returns fail_error, after
	 * a part of its transfer if fail_short. After a flush that failed some of the log is lost for good, as it is on a host,
	 * although reads still show it and the next flush succeeds. 0: none. */
	unsigned fail_at, fail_calls;
	int fail_error; /* negative errno */
	bool fail_short;
	bool fail_for_good; /* all later ones too */
	unsigned calls;     /* of these kinds that were made */

	/* Called before each change and flush, in the state that it starts from: the place for a cut. May be NULL. */
	void (*before)(void *opaque);
	void *opaque;
};

/* An empty disk, or NULL. */
struct fault_disk *fault_disk_new(u64 seed);
void fault_disk_free(struct fault_disk *d);
/* A file on it; path is for messages and for finding parents. Closing it leaves the disk as it is, unflushed changes too. NULL: no memory. */
struct block_file *fault_disk_open(struct fault_disk *d, const char *path, bool readonly)
	must_check;
/* What is on the medium after a cut at this moment: a new disk. Each sector that was changed since the last flush has any one of the contents
 * that it has had since then, and so has the file's size; chosen by seed, at random or by patterns that find more. (A sector never
 * mixes two of its states, nor goes back in time: the host's cache and the drive's both hold one copy of it.) */
struct fault_disk *fault_disk_cut(const struct fault_disk *d, u64 seed);
/* A copy of all that reads see, as a killed process leaves it. */
struct fault_disk *fault_disk_copy(const struct fault_disk *d);
/* The next of a sequence of random numbers; *state is not 0. */
u64 fault_random(u64 *state);

#endif
