/* What all disk backends share while they are open: range checks, completion, requests served at once. */
#include "block/block.h"

#include "block/thread.h"

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

void block_close(struct block *block)
{
	if (!block)
		return;
	block_drain(block);
	if (block->thread)
		block_thread_stop(block);
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
	else if (block->thread)
		block_thread_submit(block, req);
	else
		block->ops->submit(block, req);
}

void block_complete(struct block *block, struct block_req *req)
{
	if (block->thread)
		block_thread_complete(block, req);
	else
		req->done(req);
}

int block_fd(const struct block *block) { return block->thread ? block_thread_fd(block) : -1; }

void block_poll(struct block *block)
{
	if (block->thread)
		block_thread_poll(block);
}

void block_drain(struct block *block)
{
	if (block->thread)
		block_thread_drain(block);
}
