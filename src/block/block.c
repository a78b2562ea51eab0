/* What all disk backends share while they are open: range checks, completion, requests served at once. */
#include "block/block.h"

#include "block/thread.h"
#include "block/uring.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void now_done(struct block_req *req) { (void)req; }

static int serve_now(struct block *block, struct block_req *req)
{
	req->done = now_done;
	block->ops->submit(block, req);
	return req->result;
}

int block_read_now(struct block *block, void *buf, u64 size, u64 offset)
{
	u64 inside = offset < block->size ? MIN(size, block->size - offset) : 0;
	struct block_req req = { .op = BLOCK_READ, .offset = offset, .size = inside, .buf = buf };

	memset((u8 *)buf + inside, 0, size - inside);
	return inside ? serve_now(block, &req) : 0;
}

int block_write_now(struct block *block, const void *buf, u64 size, u64 offset)
{
	struct block_req req = {
		.op = BLOCK_WRITE, .offset = offset, .size = size, .buf = (void *)(uintptr_t)buf
	};

	return serve_now(block, &req);
}

int block_flush_now(struct block *block)
{
	struct block_req req = { .op = BLOCK_FLUSH };

	return serve_now(block, &req);
}

/* --- Ways of service ------------------------------------------------------------------------- */

int block_engage(struct block *block, enum block_io io)
{
	bool memory = io == BLOCK_IO_AUTO, ring = io != BLOCK_IO_THREAD && block->ops == &block_raw;
	int r = -EOPNOTSUPP;

	/* In the host's memory a request takes less time than its way to a thread. */
	for (const struct block *b = block; b && memory; b = b->parent)
		memory = b->file && block_file_in_memory(b->file);
	if (memory)
		return 0;
	if (ring && block->file && block->file->fd >= 0)
		r = block_uring_start(block);
	if (r && io != BLOCK_IO_URING)
		r = block_thread_start(block);
	return r;
}

/* Serves a read at once if all it needs is in the host's memory: true, and it is done. A request that has to cross to another thread and back
 * takes several times as long. */
static bool serve_cached(struct block *block, struct block_req *req)
{
	if (req->op != BLOCK_READ || (block->thread && block_thread_busy(block)))
		return false;
	for (const struct block *b = block; b; b = b->parent)
		if (!b->file || b->file->fd < 0 || b->file->nowait_refused)
			return false;
	for (struct block *b = block; b; b = b->parent)
		b->file->nowait = true;
	block->now = true;
	block->ops->submit(block, req);
	block->now = false;
	for (struct block *b = block; b; b = b->parent)
		b->file->nowait = false;
	if (req->result == -EAGAIN)
		return false;
	block_done(block, req);
	return true;
}

void block_close(struct block *block)
{
	if (!block)
		return;
	block_drain(block);
	if (block->thread)
		block_thread_stop(block);
	if (block->uring)
		block_uring_stop(block);
	block->ops->close(block);
}

static int check(const struct block *block, const struct block_req *req)
{
	if (req->op == BLOCK_FLUSH)
		return 0;
	if (req->offset % BLOCK_SECTOR || req->size % BLOCK_SECTOR || req->offset > block->size ||
	    req->size > block->size - req->offset)
		return -EINVAL;
	return block->readonly && req->op != BLOCK_READ ? -EROFS : 0;
}

void block_submit(struct block *block, struct block_req *req)
{
	req->result = check(block, req);
	if (req->result)
		req->done(req);
	else if (!block->thread && !block->uring)
		block->ops->submit(block, req);
	else if (serve_cached(block, req))
		return;
	else if (block->uring)
		block_uring_submit(block, req);
	else
		block_thread_submit(block, req);
}

void block_complete(struct block *block, struct block_req *req)
{
	if (block->now)
		return;
	if (block->thread)
		block_thread_complete(block, req);
	else
		block_done(block, req);
}

int block_fd(const struct block *block)
{
	return block->uring ? block_uring_fd(block) : block->thread ? block_thread_fd(block) : -1;
}

void block_poll(struct block *block)
{
	if (block->uring)
		block_uring_poll(block);
	else if (block->thread)
		block_thread_poll(block);
}

/* --- Requests that failed and wait ------------------------------------------------------------- */

void block_on_error(struct block *block, bool (*wait)(void *opaque, const struct block_req *req),
		    void *opaque)
{
	block->wait = wait;
	block->wait_opaque = opaque;
	block->waits = &block->waiting;
}

void block_done(struct block *block, struct block_req *req)
{
	/* Who is served at once waits on the stack. */
	bool asks = req->result && block->wait && !block->draining && req->done != now_done;

	if (!asks || !block->wait(block->wait_opaque, req)) {
		req->done(req);
		return;
	}
	req->next = NULL;
	*block->waits = req;
	block->waits = &req->next;
}

static struct block_req *take_waiting(struct block *block)
{
	struct block_req *first = block->waiting;

	block->waiting = NULL;
	block->waits = &block->waiting; /* nothing here yet, or no longer */
	return first;
}

void block_retry(struct block *block)
{
	struct block_req *next;

	for (struct block_req *req = take_waiting(block); req; req = next) {
		next = req->next;
		block_submit(block, req);
	}
}

bool block_flush_lost(const struct block *block)
{
	for (; block; block = block->parent)
		if (block->file && !block->readonly && block->file->flush_error)
			return true;
	return false;
}

void block_drain(struct block *block)
{
	struct block_req *next;

	block->draining = true;
	for (struct block_req *req = take_waiting(block); req; req = next) {
		next = req->next;
		req->done(req);
	}
	if (block->uring)
		block_uring_drain(block);
	else if (block->thread)
		block_thread_drain(block);
	block->draining = false;
}
