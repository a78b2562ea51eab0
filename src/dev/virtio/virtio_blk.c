/* Virtio block device (Virtio 1.2, 5.2): one queue, requests moved through a bounce buffer. */
#include "dev/virtio/virtio_blk.h"

#include "base/trace.h"

#include <errno.h>
#include <stdlib.h>

#define SECTOR BLOCK_SECTOR

#define F_SIZE_MAX     BIT(1)
#define F_SEG_MAX      BIT(2)
#define F_RO           BIT(5)
#define F_BLK_SIZE     BIT(6)
#define F_FLUSH        BIT(9)
#define F_TOPOLOGY     BIT(10)
#define F_CONFIG_WCE   BIT(11)
#define F_DISCARD      BIT(13)
#define F_WRITE_ZEROES BIT(14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

#define HEADER_SIZE 16u /* type, reserved, sector */

/* 5.2.6: what a discard or write-zeroes request carries, up to RANGE_MAX times. */
struct range {
	u64 sector;
	u32 num_sectors, flags;
};
#define RANGE_UNMAP       BIT(0)
#define RANGE_MAX         4u
#define RANGE_MAX_SECTORS ((u32)(64 * MIB / SECTOR))

/* Limits that the device states. A request beyond their product is refused, so that no
 * single one keeps the disk for long. */
#define SIZE_MAX_BYTES 65536u
#define SEG_MAX        (VIRTIO_CHAIN - 2) /* less header and status */
#define DATA_MAX       ((u64)SIZE_MAX_BYTES * SEG_MAX)

/* Bytes moved for one notification before other work gets its turn; a request counts at least as
 * one page. */
#define ROUND_BYTES (4 * MIB)

/* struct virtio_blk_config (5.2.4) */
struct config {
	u64 capacity; /* sectors */
	u32 size_max, seg_max;
	u16 cylinders;
	u8 heads, sectors;
	u32 blk_size;
	u8 physical_block_exp, alignment_offset;
	u16 min_io_size;
	u32 opt_io_size;
	u8 writeback, unused0;
	u16 num_queues;
	u32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
	u32 max_write_zeroes_sectors, max_write_zeroes_seg;
	u8 write_zeroes_may_unmap, unused1[3];
};

#define CONFIG_WRITEBACK 0x20

_Static_assert(sizeof(struct config) == 64, "layout as in the specification, padded to 8 bytes");
_Static_assert(offsetof(struct config, writeback) == CONFIG_WRITEBACK, "layout");
_Static_assert(offsetof(struct config, write_zeroes_may_unmap) == 0x38, "layout");
#define CONFIG_SIZE 60

static struct virtio_blk *from_virtio(struct virtio *v)
{
	return container_of(v, struct virtio_blk, vpci.virtio);
}

static u64 features(struct virtio *v)
{
	u64 f = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE;

	return f | (from_virtio(v)->block->readonly ? F_RO : F_DISCARD | F_WRITE_ZEROES);
}

/* 5.2.5.2: whether a write must be on stable storage before it is reported as done. */
static bool write_through(const struct virtio_blk *blk)
{
	if (virtio_has(&blk->vpci.virtio, F_CONFIG_WCE))
		return !blk->regs.writeback;
	return !virtio_has(&blk->vpci.virtio, F_FLUSH);
}

static void config_read(struct virtio *v, u32 offset, void *buf, unsigned size)
{
	const struct virtio_blk *blk = from_virtio(v);
	struct config c = {
		.capacity = blk->block->size / SECTOR,
		.size_max = SIZE_MAX_BYTES,
		.seg_max = SEG_MAX,
		.blk_size = SECTOR,
		.min_io_size = (u16)(blk->block->physical_size / SECTOR),
		.writeback = blk->regs.writeback,
		.num_queues = 1,
		.max_discard_sectors = RANGE_MAX_SECTORS,
		.max_discard_seg = RANGE_MAX,
		.discard_sector_alignment = blk->block->physical_size / SECTOR,
		.max_write_zeroes_sectors = RANGE_MAX_SECTORS,
		.max_write_zeroes_seg = RANGE_MAX,
		.write_zeroes_may_unmap = 1,
	};

	for (u32 n = blk->block->physical_size / SECTOR; n > 1; n /= 2)
		c.physical_block_exp++;
	memcpy(buf, (const u8 *)&c + offset, size);
}

static void config_write(struct virtio *v, u32 offset, const void *buf, unsigned size)
{
	if (offset == CONFIG_WRITEBACK && size == 1 && virtio_has(v, F_CONFIG_WCE))
		from_virtio(v)->regs.writeback = *(const u8 *)buf & 1;
}

/* --- One request ---------------------------------------------------------------------------- */

static void io_done(struct block_req *io);

static void start_io(struct virtio_blk_request *r, enum block_op op, u64 offset, u64 size)
{
	r->io = (struct block_req){
		.op = op,
		.offset = offset,
		.size = size,
		.buf = r->buf,
		.done = io_done,
		.opaque = r,
	};
	r->pending = true;
	r->cost += size;
}

/* The next piece of a read or write; false when there is none left. */
static bool next_piece(struct virtio_blk_request *r)
{
	struct virtio *v = &r->blk->vpci.virtio;
	u64 left = r->length - r->done, size = MIN(left, VIRTIO_BLK_BUFFER);

	if (left == 0) {
		if (r->type == T_IN || r->synced || !write_through(r->blk))
			return false;
		r->synced = true;
		start_io(r, BLOCK_FLUSH, 0, 0);
		return true;
	}
	if (r->type == T_OUT &&
	    !virtio_chain_read(v, &r->chain, HEADER_SIZE + r->done, r->buf, size)) {
		r->status = S_IOERR;
		return false;
	}
	start_io(r, r->type == T_IN ? BLOCK_READ : BLOCK_WRITE, r->sector * SECTOR + r->done, size);
	return true;
}

/* The next range of a discard or write-zeroes request. */
static bool next_range(struct virtio_blk_request *r)
{
	struct virtio_blk *blk = r->blk;
	u64 sectors = blk->block->size / SECTOR;
	bool zero = r->type == T_WRITE_ZEROES;
	struct range range;

	if (r->done == r->length) {
		if (!zero || r->synced || !write_through(blk))
			return false;
		r->synced = true;
		start_io(r, BLOCK_FLUSH, 0, 0);
		return true;
	}
	if (!virtio_chain_read(&blk->vpci.virtio, &r->chain, HEADER_SIZE + r->done, &range,
			       sizeof(range)))
		r->status = S_IOERR;
	else if (range.flags & ~(zero ? RANGE_UNMAP : 0)) /* 5.2.6.2 */
		r->status = S_UNSUPP;
	else if (range.num_sectors > RANGE_MAX_SECTORS || range.sector > sectors ||
		 range.num_sectors > sectors - range.sector)
		r->status = S_IOERR;
	if (r->status != S_OK)
		return false;
	start_io(r, zero ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, range.sector * SECTOR,
		 (u64)range.num_sectors * SECTOR);
	r->io.unmap = range.flags & RANGE_UNMAP;
	return true;
}

/* Takes in what the last I/O did. */
static void take_result(struct virtio_blk_request *r)
{
	if (r->io.result) {
		trace(VIRTIO, "%s: I/O error %d", r->blk->vpci.virtio.name, r->io.result);
		r->status = S_IOERR;
	} else if (r->io.op == BLOCK_READ && !virtio_chain_write(&r->blk->vpci.virtio, &r->chain,
								 r->done, r->buf, r->io.size)) {
		r->status = S_IOERR;
	} else if (r->io.op == BLOCK_READ || r->io.op == BLOCK_WRITE) {
		r->done += r->io.size;
	} else if (r->io.op != BLOCK_FLUSH) {
		r->done += sizeof(struct range);
	}
}

/* Prepares the next I/O of the request; false when it is finished. */
static bool next_io(struct virtio_blk_request *r)
{
	switch (r->status == S_OK ? r->type : UINT32_MAX) {
	case T_IN:
	case T_OUT: return next_piece(r);
	case T_DISCARD:
	case T_WRITE_ZEROES: return next_range(r);
	case T_FLUSH:
		if (r->synced)
			return false;
		r->synced = true;
		start_io(r, BLOCK_FLUSH, 0, 0);
		return true;
	default: return false;
	}
}

static void finish(struct virtio_blk_request *r)
{
	struct virtio *v = &r->blk->vpci.virtio;

	trace(VIRTIO, "%s: type %u sector %llu length %llu: status %u", v->name, r->type,
	      (unsigned long long)r->sector, (unsigned long long)r->length, r->status);
	r->busy = false;
	if (!virtio_chain_write(v, &r->chain, r->in_size - 1, &r->status, 1))
		virtio_broken(v, "status byte is not in RAM");
	virtio_push(v, 0, r->chain.head, (u32)MIN(r->in_size, UINT32_MAX));
}

/* Runs the request until it waits for the backend or is finished. A backend that completes within
 * submit comes back through io_done while this loop runs, and leaves the work to it. */
static void step(struct virtio_blk_request *r)
{
	r->stepping = true;
	while (!r->pending && next_io(r)) {
		block_submit(r->blk->block, &r->io);
		if (!r->pending)
			take_result(r);
	}
	r->stepping = false;
	if (!r->pending)
		finish(r);
}

/* GET_ID: the serial number, cut to the room there is. */
static void get_id(struct virtio_blk_request *r)
{
	u64 size = MIN(r->in_size - 1, VIRTIO_BLK_SERIAL);

	if (!virtio_chain_write(&r->blk->vpci.virtio, &r->chain, 0, r->blk->serial, size))
		r->status = S_IOERR;
}

/* Status for a request whose fields are known: S_OK if it may start. */
static u8 validate(const struct virtio_blk_request *r)
{
	const struct block *block = r->blk->block;
	u64 sectors = block->size / SECTOR;

	switch (r->type) {
	case T_OUT:
	case T_DISCARD:
	case T_WRITE_ZEROES:
		if (block->readonly) /* 5.2.6.2 */
			return S_IOERR;
		break;
	case T_IN:
	case T_FLUSH:
	case T_GET_ID: break;
	default: return S_UNSUPP;
	}
	if (r->type == T_IN || r->type == T_OUT)
		return r->length % SECTOR || r->length > DATA_MAX || r->sector > sectors ||
				       r->length / SECTOR > sectors - r->sector
			       ? S_IOERR
			       : S_OK;
	if (r->type == T_DISCARD || r->type == T_WRITE_ZEROES)
		return !r->length || r->length % sizeof(struct range) ||
				       r->length > RANGE_MAX * sizeof(struct range)
			       ? S_IOERR
			       : S_OK;
	return S_OK;
}

/* Starts the request in r->chain. False: it has no room for a status, which breaks the device. */
static bool start(struct virtio_blk_request *r)
{
	struct virtio *v = &r->blk->vpci.virtio;
	const struct virtio_chain *c = &r->chain;
	u64 out_size = virtio_chain_length(c, 0, c->readable);
	struct {
		u32 type, reserved;
		u64 sector;
	} header;

	r->in_size = virtio_chain_length(c, c->readable, c->count);
	if (r->in_size == 0 || out_size < HEADER_SIZE ||
	    !virtio_chain_read(v, c, 0, &header, sizeof(header))) {
		virtio_broken(v, "request without header or status");
		return false;
	}
	r->type = header.type;
	r->sector = header.sector;
	r->length = r->type == T_IN ? r->in_size - 1 : out_size - HEADER_SIZE;
	r->done = r->cost = 0;
	r->synced = false;
	r->busy = true;
	r->status = validate(r);
	if (r->type == T_GET_ID)
		get_id(r);
	step(r);
	return true;
}

/* --- The queue ------------------------------------------------------------------------------ */

static struct virtio_blk_request *free_request(struct virtio_blk *blk)
{
	for (unsigned i = 0; i < VIRTIO_BLK_REQUESTS; i++) {
		if (!blk->requests[i].busy)
			return &blk->requests[i];
	}
	return NULL;
}

/* Serves the queue until it is empty, all request slots are in use (the next completion goes
 * on), or this round's share is used up (a timer goes on). */
static void serve(struct virtio_blk *blk)
{
	struct virtio *v = &blk->vpci.virtio;
	u64 moved = 0;

	while (moved < ROUND_BYTES) {
		struct virtio_blk_request *r = free_request(blk);

		if (!r || virtio_pop(v, 0, &r->chain) <= 0 || !start(r))
			break;
		moved += MAX(r->cost, 4096);
	}
	if (moved >= ROUND_BYTES)
		timer_set(blk->vpci.dev.platform->clock, &blk->more,
			  clock_now(blk->vpci.dev.platform->clock));
	virtio_notify(v, 0);
}

static void io_done(struct block_req *io)
{
	struct virtio_blk_request *r = io->opaque;

	r->pending = false;
	if (r->blk->resetting) {
		r->busy = false;
	} else if (!r->stepping) {
		take_result(r);
		step(r);
		serve(r->blk);
	}
}

static void more(void *arg) { serve(arg); }

static void notify(struct virtio *v, unsigned queue) { serve(from_virtio(v)); }

/* Requests that are with the backend finish there, but nothing of them reaches the guest. */
static void reset_requests(struct virtio *v)
{
	struct virtio_blk *blk = from_virtio(v);

	blk->resetting = true;
	block_drain(blk->block);
	blk->resetting = false;
	timer_cancel(blk->vpci.dev.platform->clock, &blk->more);
	blk->regs.writeback = 1;
}

static const struct virtio_kind kind = {
	.device_id = 2,
	.class_code = 0x018000, /* mass storage, other */
	.queues = 1,
	.config_size = CONFIG_SIZE,
	.features = features,
	.config_read = config_read,
	.config_write = config_write,
	.notify = notify,
	.reset = reset_requests,
};

static void virtio_blk_reset(struct device *dev)
{
	virtio_pci_reset(&((struct virtio_blk *)dev)->vpci);
}

static void free_buffers(struct virtio_blk *blk)
{
	for (unsigned i = 0; i < VIRTIO_BLK_REQUESTS; i++) {
		free(blk->requests[i].buf);
		blk->requests[i].buf = NULL;
	}
}

static int virtio_blk_init(struct device *dev)
{
	struct virtio_blk *blk = (struct virtio_blk *)dev;
	int r;

	for (unsigned i = 0; i < VIRTIO_BLK_REQUESTS; i++) {
		blk->requests[i].blk = blk;
		blk->requests[i].buf = malloc(VIRTIO_BLK_BUFFER);
		if (!blk->requests[i].buf) {
			r = -ENOMEM;
			goto free_all;
		}
	}
	r = timer_init(dev->platform->clock, &blk->more, dev->name, more, blk);
	if (r)
		goto free_all;
	r = virtio_pci_init(&blk->vpci, &kind, &blk->regs.pci, &blk->regs.virtio);
	if (r)
		goto free_all;
	return 0;

free_all:
	free_buffers(blk);
	return r;
}

static void virtio_blk_fini(struct device *dev)
{
	struct virtio_blk *blk = (struct virtio_blk *)dev;

	virtio_pci_fini(&blk->vpci);
	free_buffers(blk);
}

/* Requests that were under way when the state was saved are the saver's to finish first. */
static void virtio_blk_loaded(struct device *dev)
{
	struct virtio_blk *blk = (struct virtio_blk *)dev;

	pci_func_loaded(&blk->vpci.func);
	timer_set(dev->platform->clock, &blk->more, clock_now(dev->platform->clock));
}

static const struct state_field fields[] = {
	PCI_STATE_ROWS(struct virtio_blk_regs, pci),
	VIRTIO_STATE_ROWS(struct virtio_blk_regs, virtio),
	STATE_ROW(struct virtio_blk_regs, writeback),
};
static STATE_DESC(virtio_blk_state, struct virtio_blk_regs, "virtio-blk", fields);

const struct device_type virtio_blk_type = {
	.name = "virtio-blk",
	.help = "virtio disk on PCI",
	.size = sizeof(struct virtio_blk),
	.regs_offset = offsetof(struct virtio_blk, regs),
	.regs = &virtio_blk_state,
	.init = virtio_blk_init,
	.reset = virtio_blk_reset,
	.loaded = virtio_blk_loaded,
	.fini = virtio_blk_fini,
};
