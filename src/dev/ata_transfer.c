/* How a command's data moves between the host, the channel's buffer and the medium: PIO in DRQ blocks, DMA, and requests to the block layer,
 * which may be served at once or later. */
#include "dev/ata_internal.h"

#include "base/trace.h"

#include <errno.h>

static u32 sector_size(const struct ata_channel *ch)
{
	return ch->drive[ch->regs->transfer.unit].kind == ATA_CDROM ? CD_SECTOR : ATA_SECTOR;
}

static bool is_cdrom(const struct ata_channel *ch)
{
	return ch->drive[ch->regs->transfer.unit].kind == ATA_CDROM;
}

/* --- Phases ---------------------------------------------------------------------------------- */

static void busy(struct ata_channel *ch, enum ata_phase phase)
{
	ch->regs->transfer.phase = (u8)phase;
	ata_active(ch)->status = ST_BSY | ST_DRDY | ST_DSC;
}

/* The next DRQ block of the buffer, from pos. */
static void request_block(struct ata_channel *ch, enum ata_phase phase, bool interrupt)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	t->phase = (u8)phase;
	t->end = MIN(t->have, t->pos + t->block);
	ata_active(ch)->status = ST_DRDY | ST_DSC | ST_DRQ;
	if (is_cdrom(ch))
		atapi_reason(ch, phase == ATA_PIO_IN ? REASON_IO : 0, t->end - t->pos);
	if (interrupt)
		ata_intrq(ch, t->unit, true);
}

/* Room for as much as the host has still to write, from the buffer's start. */
static void request_write(struct ata_channel *ch, bool interrupt)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	t->pos = 0;
	t->have = (u32)MIN(t->left, ATA_BUFFER);
	request_block(ch, ATA_PIO_OUT, interrupt);
}

void ata_start(struct ata_channel *ch, enum ata_phase phase, u64 offset, u64 left, u32 block)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	t->offset = offset;
	t->left = left;
	t->block = block;
	t->pos = t->have = 0;
	if (phase == ATA_PIO_OUT) {
		request_write(ch, false);
		return;
	}
	busy(ch, phase);
	ata_run(ch);
}

void ata_start_buffer(struct ata_channel *ch, enum ata_phase phase, u32 have, u32 block)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	t->offset = t->left = 0;
	t->pos = 0;
	t->have = have;
	t->block = block;
	if (phase == ATA_PIO_IN || phase == ATA_PIO_OUT) {
		/* A disk's first block of a write is not announced (9.6); a packet command's is. */
		request_block(ch, phase, phase == ATA_PIO_IN || is_cdrom(ch));
		return;
	}
	busy(ch, phase);
	ata_run(ch);
}

/* All data has been moved. */
static void finished(struct ata_channel *ch, bool interrupt)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	if (is_cdrom(ch)) {
		atapi_complete(ch);
		return;
	}
	ata_disk_done(ch);
	if (interrupt) {
		ata_complete(ch);
		return;
	}
	t->phase = ATA_IDLE;
	ata_active(ch)->status = ST_DRDY | ST_DSC;
}

/* All of a write is with the block layer. */
static void written(struct ata_channel *ch)
{
	if (ch->regs->transfer.sync)
		busy(ch, ATA_FLUSH);
	else
		finished(ch, true);
}

/* The host's parameters are in the buffer. */
static void taken(struct ata_channel *ch)
{
	if (is_cdrom(ch))
		atapi_data(ch);
	else
		ata_disk_data(ch);
}

void ata_block_done(struct ata_channel *ch)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	if (t->phase == ATA_PACKET_OUT) {
		atapi_packet(ch);
	} else if (t->pos < t->have) {
		request_block(ch, (enum ata_phase)t->phase, true);
	} else if (t->phase == ATA_PIO_IN) {
		if (!t->left) { /* the last block was announced; its end is not, but for packets */
			finished(ch, false);
			return;
		}
		busy(ch, ATA_READ);
		ata_run(ch);
	} else if (t->left) {
		t->pos = 0;
		busy(ch, ATA_WRITE);
		ata_run(ch);
	} else {
		taken(ch);
	}
}

/* --- DMA of the buffer ----------------------------------------------------------------------- */

static bool dma_ready(struct ata_channel *ch, bool to_memory)
{
	return ch->dma.ready && ch->dma.ready(ch->dma.opaque, to_memory);
}

/* The drive goes on asking for DMA, and the host adapter does not answer: no interrupt, until a reset. */
static bool dma_move(struct ata_channel *ch, u8 *buf, u32 size, bool to_memory)
{
	if (ch->dma.move(ch->dma.opaque, buf, size, to_memory))
		return true;
	trace(IDE, "channel %u: DMA ends too early", ch->index);
	ch->regs->transfer.phase = ATA_STALLED;
	ch->ahead = false;
	return false;
}

/* Moves what needs no medium; false if nothing was moved. */
static bool run_buffer(struct ata_channel *ch)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;
	bool in = t->phase == ATA_DMA_IN;

	if ((!in && t->phase != ATA_DMA_OUT) || !dma_ready(ch, in) ||
	    !dma_move(ch, ch->regs->buf, t->have, in))
		return false;
	if (in)
		finished(ch, true);
	else
		taken(ch);
	return true;
}

/* --- Requests to the block layer ------------------------------------------------------------- */

static void io_done(struct block_req *io);

static struct ata_io *current(struct ata_channel *ch) { return &ch->io[ch->current]; }

static void prepare(struct ata_channel *ch, enum block_op op, u8 *buf, u64 offset, u64 size)
{
	current(ch)->req = (struct block_req){
		.op = op,
		.offset = offset,
		.size = size,
		.buf = buf,
		.done = io_done,
		.opaque = ch,
	};
}

/* Has the bytes of the next request in the bounce buffer, from pos: false if the host adapter is not ready. */
static bool gather(struct ata_channel *ch)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	if (t->pos < t->have) /* sector by sector, after an error */
		return true;
	if (!dma_ready(ch, false))
		return false;
	t->pos = 0;
	t->have = (u32)MIN(t->left, ATA_BOUNCE);
	return dma_move(ch, current(ch)->buf, t->have, false);
}

/* Prepares the next request; false if there is none now. */
static bool next_io(struct ata_channel *ch)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;
	u64 most = t->cautious ? sector_size(ch) : ATA_BOUNCE, offset, size;

	switch (t->phase) {
	case ATA_READ:
		prepare(ch, BLOCK_READ, current(ch)->buf, t->offset,
			MIN(MIN(t->left, most), ATA_BUFFER));
		return true;
	case ATA_DMA_READ:
		if (!dma_ready(ch, true))
			return false;
		if (ch->ahead)
			ch->current ^= 1;
		else
			prepare(ch, BLOCK_READ, current(ch)->buf, t->offset, MIN(t->left, most));
		return true;
	case ATA_VERIFY:
		prepare(ch, BLOCK_READ, current(ch)->buf, t->offset, MIN(t->left, most));
		return true;
	case ATA_WRITE:
		size = MIN(t->have - t->pos, most);
		memcpy(current(ch)->buf, ch->regs->buf + t->pos, size);
		prepare(ch, BLOCK_WRITE, current(ch)->buf, t->offset, size);
		return true;
	case ATA_DMA_WRITE:
		if (!gather(ch))
			return false;
		size = MIN(t->have - t->pos, most);
		prepare(ch, BLOCK_WRITE, current(ch)->buf + t->pos, t->offset, size);
		return true;
	case ATA_TRIM:
		if (!ata_disk_next_range(ch, &offset, &size)) {
			finished(ch, true);
			return false;
		}
		prepare(ch, BLOCK_DISCARD, NULL, offset, size);
		return true;
	case ATA_FLUSH: prepare(ch, BLOCK_FLUSH, NULL, 0, 0); return true;
	default: return false;
	}
}

/* `size` bytes of the medium are in the buffer or on the medium. */
static void advance(struct ata_channel *ch, u64 size)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;

	t->offset += size;
	t->left -= size;
	switch (t->phase) {
	case ATA_READ:
		memcpy(ch->regs->buf, current(ch)->buf, size);
		t->pos = 0;
		t->have = (u32)size;
		request_block(ch, ATA_PIO_IN, true);
		break;
	case ATA_WRITE:
		t->pos += (u32)size;
		if (t->pos < t->have)
			break;
		if (t->left)
			request_write(ch, true);
		else
			written(ch);
		break;
	case ATA_DMA_WRITE:
		t->pos += (u32)size;
		if (!t->left)
			written(ch);
		break;
	default: /* ATA_DMA_READ, ATA_VERIFY */
		if (!t->left)
			finished(ch, true);
		break;
	}
}

/* A request failed. The guest is told which sector it was: the rest is tried sector by sector. */
static void failed(struct ata_channel *ch, int error)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;
	unsigned unit = t->unit;

	ch->ahead = false;
	if (t->phase != ATA_FLUSH && t->phase != ATA_TRIM &&
	    current(ch)->req.size > sector_size(ch)) {
		t->cautious = true;
		return;
	}
	trace(IDE, "channel %u: drive %u: I/O error %d at %#llx", ch->index, t->unit, error,
	      (unsigned long long)t->offset);
	if (is_cdrom(ch))
		atapi_failed(ch, SENSE_MEDIUM, ASC_READ_ERROR, 0);
	else
		ata_disk_failed(ch);
	if (ch->error)
		ch->error(ch->opaque, unit, -error);
}

static void take_result(struct ata_channel *ch)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;
	u64 size = current(ch)->req.size;
	int error = current(ch)->req.result;

	if (error)
		failed(ch, error);
	else if (t->phase == ATA_FLUSH)
		finished(ch, true);
	else if (t->phase == ATA_DMA_READ && !dma_move(ch, current(ch)->buf, (u32)size, true))
		return;
	else if (t->phase != ATA_TRIM)
		advance(ch, size);
}

/* The medium that a request goes to; NULL: it has been taken away. */
static struct block *medium(const struct ata_channel *ch)
{
	unsigned unit = ch->regs->transfer.unit;

	return is_cdrom(ch) ? atapi_medium(ch, unit) : ch->drive[unit].block;
}

static void start(struct ata_channel *ch, struct ata_io *io)
{
	io->block = medium(ch);
	io->pending = true;
	block_submit(io->block, &io->req);
}

/* Has the other request read what follows. One that was left behind by an error may still be under way. */
static void read_ahead(struct ata_channel *ch)
{
	const struct ata_transfer_regs *t = &ch->regs->transfer;
	struct ata_io *next = &ch->io[ch->current ^ 1];
	u64 size = current(ch)->req.size;

	if (t->phase != ATA_DMA_READ || t->cautious || t->left <= size || next->pending)
		return;
	next->req = (struct block_req){
		.op = BLOCK_READ,
		.offset = t->offset + size,
		.size = MIN(t->left - size, ATA_BOUNCE),
		.buf = next->buf,
		.done = io_done,
		.opaque = ch,
	};
	ch->ahead = true;
	start(ch, next);
}

/* Serves the prepared request; false if that takes until later. */
static bool submit(struct ata_channel *ch)
{
	bool started = ch->ahead;

	ch->ahead = false;
	if (!medium(ch)) {
		atapi_failed(ch, SENSE_NOT_READY, ASC_NO_MEDIUM, 0);
		return true;
	}
	if (!started)
		start(ch, current(ch));
	read_ahead(ch);
	if (current(ch)->pending)
		return false;
	take_result(ch);
	return true;
}

/* A backend that serves within block_submit comes back through io_done while the loop runs, and leaves the work to it. */
void ata_run(struct ata_channel *ch)
{
	if (ch->running || current(ch)->pending)
		return;
	ch->running = true;
	do {
		while (run_buffer(ch)) {
		}
	} while (next_io(ch) && submit(ch));
	ch->running = false;
}

static void io_done(struct block_req *req)
{
	struct ata_io *io = container_of(req, struct ata_io, req);
	struct ata_channel *ch = req->opaque;

	io->pending = false;
	if (ch->cancelled || ch->running || io != current(ch))
		return;
	ch->running = true;
	take_result(ch);
	ch->running = false;
	ata_run(ch);
}

void ata_cancel(struct ata_channel *ch)
{
	ch->cancelled = true;
	for (unsigned i = 0; i < ARRAY_LEN(ch->io); i++) {
		if (ch->io[i].pending)
			block_drain(ch->io[i].block);
	}
	ch->cancelled = false;
	ch->ahead = false;
	ch->regs->transfer.phase = ATA_IDLE;
}

void ata_transfer_loaded(struct ata_channel *ch)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;
	enum ata_phase phase = t->phase;
	enum ata_kind kind;
	u64 most;

	ata_cancel(ch);
	t->unit &= 1;
	kind = ch->drive[t->unit].kind;
	most = kind == ATA_CDROM ? BIT(32) * CD_SECTOR : 65536ull * ATA_SECTOR;
	t->have = MIN(t->have, ATA_BUFFER);
	t->pos = MIN(t->pos, t->have);
	t->end = phase == ATA_PACKET_OUT ? ATA_PACKET : MIN(t->end, t->have);
	if (phase == ATA_PACKET_OUT)
		t->pos %= ATA_PACKET;
	t->pos = MIN(t->pos, t->end);
	t->block = MAX(1, MIN(t->block, ATA_BUFFER));
	t->left = MIN(t->left, most);
	if (phase == ATA_DMA_WRITE)
		t->pos = t->have = 0;
	/* A phase that has nothing to move, or that this drive does not know, has no end. */
	if (kind == ATA_NONE || phase > ATA_STALLED ||
	    (phase == ATA_PACKET_OUT && kind != ATA_CDROM))
		return;
	if ((phase == ATA_PIO_IN || phase == ATA_PIO_OUT) && t->pos == t->end)
		return;
	if (phase == ATA_WRITE && (t->pos == t->have || t->left < t->have - t->pos))
		return;
	if (phase == ATA_PIO_OUT && t->left && t->left < t->have)
		return;
	if ((phase == ATA_READ || phase == ATA_DMA_READ || phase == ATA_DMA_WRITE ||
	     phase == ATA_VERIFY) &&
	    !t->left)
		return;
	t->phase = (u8)phase;
}
