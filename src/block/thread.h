/* Worker threads that serve a disk's requests beside the thread that submits them: several for a format that is parallel, otherwise one, which
 * takes them in order. */
#ifndef BLOCK_THREAD_H
#define BLOCK_THREAD_H

#include "block/block.h"

/* Negative errno. On success block->thread is set. */
int block_thread_start(struct block *block) must_check;
/* Nothing is in flight. */
void block_thread_stop(struct block *block);
/* What block_submit, block_fd, block_poll and block_drain do for such a disk, on the thread that
 * submits. */
void block_thread_submit(struct block *block, struct block_req *req);
int block_thread_fd(const struct block *block);
void block_thread_poll(struct block *block);
void block_thread_drain(struct block *block);
/* What block_complete does on a worker: the request waits for block_thread_poll. */
void block_thread_complete(struct block *block, struct block_req *req);
/* Whether a request is under way. */
bool block_thread_busy(const struct block *block);

#endif
