/* io_uring under raw images. A request holds a slot while the kernel works on it, in as many steps as it takes: a transfer may come back
 * short, zeros may have to be written where the host cannot make them. An eventfd tells the event loop of completions. */
#include "block/uring.h"

#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SLOTS       64u
#define ZEROES_SIZE (64 * KIB)

enum step { STEP_TRANSFER, STEP_FLUSH, STEP_PUNCH, STEP_ZERO_RANGE, STEP_ZERO_WRITE };

struct slot {
	struct block_req *req;
	enum step step;
	u64 done; /* bytes of a transfer, or of zeros written */
	struct slot *next_free;
};

struct block_uring {
	struct io_uring ring;
	int event;
	struct slot slots[SLOTS], *free;
	unsigned busy;                      /* slots */
	struct block_req *waiting, **waits; /* for a slot, in order */
};

static const u8 zeroes[ZEROES_SIZE];

int block_uring_start(struct block *block)
{
	struct block_uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = u->event < 0 ? -errno : io_uring_queue_init(SLOTS, &u->ring, 0);
	if (r < 0)
		goto no_ring;
	r = io_uring_register_eventfd(&u->ring, u->event);
	if (r < 0)
		goto no_event;
	for (unsigned n = 0; n < SLOTS; n++) {
		u->slots[n].next_free = u->free;
		u->free = &u->slots[n];
	}
	u->waits = &u->waiting;
	block->uring = u;
	return 0;

no_event:
	io_uring_queue_exit(&u->ring);
no_ring:
	if (u->event >= 0)
		close(u->event);
	free(u);
	return r;
}

void block_uring_stop(struct block *block)
{
	io_uring_queue_exit(&block->uring->ring);
	close(block->uring->event);
	free(block->uring);
	block->uring = NULL;
}

/* --- One step ------------------------------------------------------------------------------- */

/* Everything that is queued goes to the kernel. It refuses for want of memory alone, as there are no more slots than the rings hold:
 * nothing helps then but to wait. */
static void push(struct block_uring *u)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	while (io_uring_sq_ready(&u->ring)) {
		int r = io_uring_submit(&u->ring);

		if (r < 0 && r != -EINTR)
			nanosleep(&pause, NULL);
	}
}

static void start_step(struct block *block, struct slot *s)
{
	struct block_uring *u = block->uring;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring); /* there is one for each slot */
	const struct block_req *req = s->req;
	u64 offset = req->offset + s->done, left = req->size - s->done;
	int fd = block->file->fd;

	switch (s->step) {
	case STEP_TRANSFER:
		if (req->op == BLOCK_READ)
			io_uring_prep_read(sqe, fd, (u8 *)req->buf + s->done, (u32)MIN(left, GIB),
					   offset);
		else
			io_uring_prep_write(sqe, fd, (u8 *)req->buf + s->done, (u32)MIN(left, GIB),
					    offset);
		if (req->fua)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case STEP_FLUSH: io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC); break;
	case STEP_PUNCH:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)offset, (off_t)left);
		break;
	case STEP_ZERO_RANGE:
		io_uring_prep_fallocate(sqe, fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
					(off_t)offset, (off_t)left);
		break;
	case STEP_ZERO_WRITE:
		io_uring_prep_write(sqe, fd, zeroes, (u32)MIN(left, ZEROES_SIZE), offset);
		break;
	}
	io_uring_sqe_set_data(sqe, s);
	push(u);
}

/* What the kernel said of a step. True if the request is served, with its result; false if another step is to follow. */
static bool step_done(struct block *block, struct slot *s, int res)
{
	struct block_req *req = s->req;

	req->result = 0;
	if (res == -EINTR || res == -EAGAIN)
		return false;
	switch (s->step) {
	case STEP_TRANSFER:
	case STEP_ZERO_WRITE:
		if (res <= 0) { /* 0: somebody has cut the file */
			req->result = res ? res : -EIO;
			if (req->fua)
				block->file->flush_error = req->result;
			return true;
		}
		s->done += (u64)res;
		return s->done == req->size;
	case STEP_FLUSH:
		if (res < 0)
			block->file->flush_error = req->result = res;
		return true;
	case STEP_PUNCH:
	case STEP_ZERO_RANGE:
		if (res != -EOPNOTSUPP) {
			req->result = res;
			return true;
		}
		if (req->op == BLOCK_DISCARD)
			return true; /* a hint that this host cannot take */
		s->step = s->step == STEP_PUNCH ? STEP_ZERO_RANGE : STEP_ZERO_WRITE;
		return false;
	}
	return true;
}

/* --- Requests ------------------------------------------------------------------------------- */

/* Slots for those who wait. */
static void start_waiting(struct block *block)
{
	struct block_uring *u = block->uring;

	while (u->waiting && u->free) {
		struct block_req *req = u->waiting;
		struct slot *s = u->free;

		u->waiting = req->next;
		if (!u->waiting)
			u->waits = &u->waiting;
		u->free = s->next_free;
		u->busy++;
		s->req = req;
		s->done = 0;
		s->step = req->op == BLOCK_FLUSH     ? STEP_FLUSH
			  : req->op == BLOCK_DISCARD ? STEP_PUNCH
			  : req->op == BLOCK_WRITE_ZEROES
				  ? (req->unmap ? STEP_PUNCH : STEP_ZERO_RANGE)
				  : STEP_TRANSFER;
		start_step(block, s);
	}
}

void block_uring_submit(struct block *block, struct block_req *req)
{
	struct block_uring *u = block->uring;

	req->result = req->op == BLOCK_FLUSH ? block->file->flush_error : 0;
	if (req->result || (req->op != BLOCK_FLUSH && !req->size)) {
		block_done(block, req);
		return;
	}
	req->next = NULL;
	*u->waits = req;
	u->waits = &req->next;
	start_waiting(block);
}

/* Takes in what the kernel has finished. */
static void reap(struct block *block)
{
	struct block_uring *u = block->uring;
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct slot *s = io_uring_cqe_get_data(cqe);
		struct block_req *req = s->req;
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		if (!step_done(block, s, res)) {
			start_step(block, s);
			continue;
		}
		s->next_free = u->free;
		u->free = s;
		u->busy--;
		start_waiting(block);
		block_done(block, req);
	}
}

int block_uring_fd(const struct block *block) { return block->uring->event; }

void block_uring_poll(struct block *block)
{
	u64 count;

	/* Clears it; EAGAIN if it was clear. */
	(void)!read(block->uring->event, &count, sizeof(count));
	reap(block);
}

void block_uring_drain(struct block *block)
{
	struct io_uring_cqe *cqe;

	while (block->uring->busy) {
		if (io_uring_wait_cqe(&block->uring->ring, &cqe) == 0)
			reap(block);
	}
}
