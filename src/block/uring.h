/* A raw image's requests through io_uring: many in flight, no thread of ours. */
#ifndef BLOCK_URING_H
#define BLOCK_URING_H

#include "block/block.h"

/* Negative errno, -ENOSYS or -EPERM where the host does not allow it. On success block->uring is set. block->file is a host file. */
int block_uring_start(struct block *block) must_check;
/* Nothing is in flight. */
void block_uring_stop(struct block *block);
/* What block_submit, block_fd, block_poll and block_drain do for such a disk. */
void block_uring_submit(struct block *block, struct block_req *req);
int block_uring_fd(const struct block *block);
void block_uring_poll(struct block *block);
void block_uring_drain(struct block *block);

#endif
