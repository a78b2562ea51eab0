/* Locks on images: many readers or one writer, on this host by the kernel's locks, across hosts by a record beside the image. See
 * ADR 0017. */
#ifndef BLOCK_LOCK_H
#define BLOCK_LOCK_H

#include "base/types.h"

struct block_lock;

/* Locks the open file fd, whose name is path. For writing, a regular file gets a record PATH.lock that says who has it, where the directory
 * can be written. On failure -EBUSY or another negative errno, and one line in err that names the holder and the way out. */
int block_lock_take(struct block_lock **lock, int fd, const char *path, bool readonly, char *err,
		    size_t errlen) must_check;
/* Removes the record. The kernel's lock goes with fd, which is still open. NULL is ignored. */
void block_lock_release(struct block_lock *lock);

#endif
