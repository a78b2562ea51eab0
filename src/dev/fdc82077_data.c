/* 82077AA: the commands that touch sectors (data sheet, 5.1). An image holds sectors of 512 bytes
 * with the IDs of their places, in MFM, none of them deleted: whatever else a guest asks for is not
 * found, or cannot be written. A sector at a time is looked for, goes through data[], and between
 * disk and host in the order that the command wants. */
#include "dev/fdc82077_internal.h"

#include "base/trace.h"

#define DMA_CHANNEL 2u
#define SIZE_512    2u /* N */
#define FORMAT_ID   6u /* in fifo: C, H, R, N of the sector that FORMAT TRACK makes */

#define FIRST_NS   300000ull
#define NEXT_NS    30000ull
#define OVERRUN_NS 250000ull /* what a full FIFO bears at 500 kbit/s */
#define ROTATE_NS  1000000ull

static unsigned code_of(const struct fdc82077_regs *r) { return r->fifo[0] & CMD_CODE; }

static unsigned side_of(const struct fdc82077_regs *r)
{
	return r->fifo[ARG_UNIT] & UNIT_HDS ? 1 : 0;
}

bool fdc_data_to_host(const struct fdc82077_regs *r)
{
	return code_of(r) != CMD_WRITE && code_of(r) != CMD_WRITE_DELETED &&
	       code_of(r) != CMD_FORMAT;
}

/* --- Where sectors are ----------------------------------------------------------------------- */

/* The cylinder of the disk that is under the head: disks of 40 are wide ones, of which a drive with
 * 80 tracks makes two steps each. */
static unsigned cylinder(const struct fdc82077_drive *d, u8 track)
{
	bool wide = d->geometry->cylinders <= 40 && floppy_tracks(d->type) > 80;

	return wide ? track / 2u : track;
}

/* The drive, if there are IDs to be read under its head, else NULL. Without a turning disk the
 * chip would wait for index pulses without end; here it gives up as it does where it sees no
 * address mark between two of them. */
static struct fdc82077_drive *readable(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	unsigned unit = r->fifo[ARG_UNIT] & UNIT_DS;
	struct fdc82077_drive *d = fdc_drive(fdc, unit);

	if (d && d->block && fdc82077_motor(fdc, unit) && (r->fifo[0] & CMD_MFM) &&
	    (d->geometry->rates & BIT(r->rate & 3)) && side_of(r) < d->geometry->heads &&
	    cylinder(d, r->track[unit]) < d->geometry->cylinders)
		return d;
	r->st1 |= ST1_MA;
	return NULL;
}

/* The sector's place on its track, 1 and up; 0 if no ID matches, and then st1 and st2 say why. */
static unsigned search(struct fdc82077_regs *r, const struct floppy_geometry *g, unsigned cyl)
{
	const u8 *id = code_of(r) == CMD_FORMAT ? r->fifo + FORMAT_ID : r->fifo + ARG_C;
	bool same = id[1] == side_of(r) && id[3] == SIZE_512;

	if (code_of(r) == CMD_READ_TRACK) {
		/* All sectors in their order; one with another ID than expected is noted. */
		if (id[0] != cyl || !same || id[2] != r->written + 1)
			r->st1 |= ST1_ND;
		if (r->written < g->sectors)
			return r->written + 1u;
		r->st1 |= ST1_MA;
		return 0;
	}
	if (id[0] == cyl && same && id[2] >= 1 && id[2] <= g->sectors)
		return id[2];
	r->st1 |= ST1_ND;
	if (id[0] != cyl)
		r->st2 |= ST2_WC;
	return 0;
}

/* The drive that has the sector, with its offset in the image; NULL if it is not found. */
static struct fdc82077_drive *locate(struct fdc82077 *fdc, u64 *offset)
{
	struct fdc82077_regs *r = &fdc->regs;
	struct fdc82077_drive *d = readable(fdc);
	unsigned cyl, place;

	if (!d)
		return NULL;
	cyl = cylinder(d, r->track[r->fifo[ARG_UNIT] & UNIT_DS]);
	place = search(r, d->geometry, cyl);
	if (!place)
		return NULL;
	*offset =
		((u64)(cyl * d->geometry->heads + side_of(r)) * d->geometry->sectors + place - 1) *
		FLOPPY_SECTOR;
	return d;
}

/* --- The end --------------------------------------------------------------------------------- */

/* ST0 to ST2, then C, H, R, N as they are now. */
static void finish(struct fdc82077 *fdc, u8 st0)
{
	struct fdc82077_regs *r = &fdc->regs;

	st0 |= r->fifo[ARG_UNIT] & (UNIT_HDS | UNIT_DS);
	memmove(r->fifo + 3, r->fifo + ARG_C, 4);
	r->fifo[0] = st0;
	r->fifo[1] = r->st1;
	r->fifo[2] = r->st2;
	i8237_dreq(fdc->dma, DMA_CHANNEL, false);
	fdc_result(fdc, 7);
	fdc_irq(fdc, true);
}

static void fail(struct fdc82077 *fdc, u8 st1)
{
	fdc->regs.st1 |= st1;
	finish(fdc, ST0_ABNORMAL);
}

/* Goes on to the ID after the one that is done (table 5-4). False: that was the last one. */
static bool next_id(struct fdc82077_regs *r)
{
	bool other_side = (r->fifo[0] & CMD_MT) && !side_of(r);

	if (r->fifo[ARG_R] != r->fifo[ARG_EOT]) {
		r->fifo[ARG_R]++;
		return true;
	}
	r->fifo[ARG_R] = 1;
	if (r->fifo[0] & CMD_MT)
		r->fifo[ARG_H] ^= 1;
	if (!other_side)
		r->fifo[ARG_C]++;
	else if (!r->tc)
		r->fifo[ARG_UNIT] |= UNIT_HDS;
	return other_side;
}

static void search_next(struct fdc82077 *fdc)
{
	fdc->regs.stage = STAGE_SEARCH;
	fdc_wait(fdc, NEXT_NS);
}

/* A sector is done. */
static void advance(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	bool more;

	r->written++;
	switch (code_of(r)) {
	case CMD_FORMAT: more = r->written < r->fifo[FORMAT_SC]; break;
	case CMD_READ_TRACK:
		more = r->written < r->fifo[ARG_EOT];
		r->fifo[ARG_R]++;
		break;
	case CMD_READ_DELETED:
		/* A sector that is not deleted was read: the last one, and its ID stays. */
		more = r->fifo[0] & CMD_SK;
		if (more && !next_id(r)) {
			fail(fdc, ST1_EN);
			return;
		}
		break;
	case CMD_VERIFY:
		more = next_id(r);
		if (!(r->fifo[ARG_UNIT] & UNIT_EC))
			break;
		/* DTL counts sectors; there must be as many. */
		if (!more && r->fifo[ARG_DTL] != 1) {
			fail(fdc, ST1_EN);
			return;
		}
		more = --r->fifo[ARG_DTL] != 0;
		break;
	default:
		more = next_id(r);
		if (!more && !r->tc) {
			fail(fdc, ST1_EN);
			return;
		}
		break;
	}
	if (more && !r->tc)
		search_next(fdc);
	else
		finish(fdc, 0);
}

/* --- Disk ------------------------------------------------------------------------------------ */

static void transfer(struct fdc82077 *fdc);

static void sector_read(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	memcpy(r->data, fdc->sector, FLOPPY_SECTOR);
	r->data_at = 0;
	r->data_size = FLOPPY_SECTOR;
	if (code_of(r) == CMD_VERIFY)
		advance(fdc);
	else
		transfer(fdc);
}

static void submit(struct fdc82077 *fdc);

static void disk_done(struct block_req *req)
{
	struct fdc82077 *fdc = req->opaque;
	const struct fdc82077_regs *r = &fdc->regs;
	bool waited = r->phase == PHASE_EXECUTION &&
		      (r->stage == STAGE_READING || r->stage == STAGE_WRITING);

	fdc->in_flight = false;
	if (fdc->stale) {
		fdc->stale = false;
		if (waited)
			submit(fdc);
		return;
	}
	if (req->result) {
		trace(FLOPPY, "the image fails: error %d", -req->result);
		fdc->regs.st2 |= r->stage == STAGE_READING ? ST2_DD : 0;
		fail(fdc, ST1_DE);
	} else if (r->stage == STAGE_READING) {
		sector_read(fdc);
	} else {
		advance(fdc);
	}
}

/* Has the backend read or write the sector, as regs.stage says. While it is still busy with a
 * request that nobody waits for, this comes again when that is done. */
static void submit(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	bool write = r->stage == STAGE_WRITING;
	struct fdc82077_drive *d;
	u64 offset = 0;

	if (fdc->in_flight)
		return;
	d = locate(fdc, &offset);
	if (!d) {
		fail(fdc, 0);
		return;
	}
	if (write)
		memcpy(fdc->sector, r->data, FLOPPY_SECTOR);
	fdc->req = (struct block_req){ .op = write ? BLOCK_WRITE : BLOCK_READ,
				       .offset = offset,
				       .size = FLOPPY_SECTOR,
				       .buf = fdc->sector,
				       .done = disk_done,
				       .opaque = fdc };
	fdc->in_flight = true;
	block_submit(d->block, &fdc->req);
}

void fdc_data_cancel(struct fdc82077 *fdc)
{
	fdc->stale = fdc->in_flight;
	i8237_dreq(fdc->dma, DMA_CHANNEL, false);
}

void fdc_data_loaded(struct fdc82077 *fdc)
{
	const struct fdc82077_regs *r = &fdc->regs;

	fdc_data_cancel(fdc);
	if (r->phase == PHASE_EXECUTION && (r->stage == STAGE_READING || r->stage == STAGE_WRITING))
		submit(fdc);
}

/* --- Host ------------------------------------------------------------------------------------ */

/* The ID that FORMAT TRACK got is made, if an image can hold it. */
static void format_sector(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	struct fdc82077_drive *d;
	u64 offset;

	memcpy(r->fifo + FORMAT_ID, r->data, 4);
	d = r->fifo[FORMAT_N] == SIZE_512 ? locate(fdc, &offset) : NULL;
	r->st1 = r->st2 = 0;
	if (!d) {
		trace(FLOPPY, "no place for sector C %u H %u R %u N %u", r->data[0], r->data[1],
		      r->data[2], r->data[3]);
		advance(fdc);
		return;
	}
	memset(r->data, r->fifo[FORMAT_D], FLOPPY_SECTOR);
	r->stage = STAGE_WRITING;
	submit(fdc);
}

/* All bytes of data[] have been moved, or terminal count came earlier. */
static void transferred(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	fdc_irq(fdc, false);
	i8237_dreq(fdc->dma, DMA_CHANNEL, false);
	if (fdc_data_to_host(r)) {
		advance(fdc);
	} else if (code_of(r) == CMD_FORMAT) {
		format_sector(fdc);
	} else {
		/* The rest of a sector that terminal count cuts is zeros. */
		memset(r->data + r->data_at, 0, FLOPPY_SECTOR - r->data_at);
		r->stage = STAGE_WRITING;
		submit(fdc);
	}
}

static void transfer_dma(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	bool tc = false;
	u32 n;

	i8237_dreq(fdc->dma, DMA_CHANNEL, true);
	n = i8237_transfer(fdc->dma, DMA_CHANNEL, r->data + r->data_at,
			   (u32)r->data_size - r->data_at, fdc_data_to_host(r), &tc);
	r->data_at = (u16)(r->data_at + n);
	r->tc = tc;
	if (tc || r->data_at == r->data_size) {
		r->late = 0;
		transferred(fdc);
	} else if (r->late) {
		fail(fdc, ST1_OR);
	} else {
		r->late = 1;
		fdc_wait(fdc, OVERRUN_NS);
	}
}

/* data[] goes to the host, or is filled by it. */
static void transfer(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	r->stage = STAGE_HOST;
	if (r->specify[1] & SPECIFY_ND)
		fdc_irq(fdc, true);
	else
		transfer_dma(fdc);
}

/* Bytes that one interrupt asks for without DMA: one, or what the FIFO's threshold says. A FIFO
 * that waits for the host never overruns here. */
static unsigned burst(const struct fdc82077_regs *r)
{
	return r->config & CONFIG_EFIFO ? 1 : (r->config & CONFIG_FIFOTHR) + 1u;
}

static bool host_turn(const struct fdc82077_regs *r, bool to_host)
{
	return r->stage == STAGE_HOST && (r->specify[1] & SPECIFY_ND) &&
	       r->data_at < r->data_size && fdc_data_to_host(r) == to_host;
}

static void byte_moved(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	if (++r->data_at == r->data_size) {
		transferred(fdc);
	} else if (r->data_at % burst(r) == 0) {
		fdc_irq(fdc, false);
		fdc_irq(fdc, true);
	}
}

u8 fdc_data_read(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	u8 value = 0xff;

	if (host_turn(r, true)) {
		value = r->data[r->data_at];
		byte_moved(fdc);
	}
	return value;
}

void fdc_data_write(struct fdc82077 *fdc, u8 value)
{
	struct fdc82077_regs *r = &fdc->regs;

	if (host_turn(r, false)) {
		r->data[r->data_at] = value;
		byte_moved(fdc);
	}
}

/* --- Steps ----------------------------------------------------------------------------------- */

/* The first ID that comes by, which is another one each time. */
static void read_id(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	const struct fdc82077_drive *d = readable(fdc);

	memset(r->fifo + ARG_C, 0, 4);
	if (!d) {
		fail(fdc, 0);
		return;
	}
	r->fifo[ARG_C] = (u8)cylinder(d, r->track[r->fifo[ARG_UNIT] & UNIT_DS]);
	r->fifo[ARG_H] = (u8)side_of(r);
	r->fifo[ARG_R] =
		(u8)(1 + clock_now(fdc->dev.platform->clock) / ROTATE_NS % d->geometry->sectors);
	r->fifo[ARG_N] = SIZE_512;
	finish(fdc, 0);
}

/* The host gives what is to be written: a sector, or the ID of one. */
static void write_next(struct fdc82077 *fdc, unsigned size)
{
	struct fdc82077_regs *r = &fdc->regs;
	struct fdc82077_drive *d;
	u64 offset;

	d = code_of(r) == CMD_FORMAT ? readable(fdc) : locate(fdc, &offset);
	if (!d) {
		fail(fdc, 0);
	} else if (d->block->readonly) {
		fail(fdc, ST1_NW);
	} else {
		r->data_at = 0;
		r->data_size = (u16)size;
		transfer(fdc);
	}
}

static void sector_next(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	u64 offset;

	switch (code_of(r)) {
	case CMD_READ_ID: read_id(fdc); return;
	case CMD_FORMAT: write_next(fdc, 4); return;
	case CMD_WRITE:
	case CMD_WRITE_DELETED: write_next(fdc, FLOPPY_SECTOR); return;
	case CMD_READ_DELETED: r->st2 |= ST2_CM; break;
	}
	if (code_of(r) == CMD_READ_DELETED && (r->fifo[0] & CMD_SK)) {
		/* Not deleted: passed over. */
		if (locate(fdc, &offset))
			advance(fdc);
		else
			fail(fdc, 0);
		return;
	}
	r->stage = STAGE_READING;
	submit(fdc);
}

void fdc_data_due(struct fdc82077 *fdc)
{
	const struct fdc82077_regs *r = &fdc->regs;

	if (r->phase != PHASE_EXECUTION)
		return;
	if (r->stage == STAGE_SEARCH)
		sector_next(fdc);
	else if (r->stage == STAGE_HOST && !(r->specify[1] & SPECIFY_ND))
		transfer_dma(fdc);
}

void fdc_data_start(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	unsigned unit = r->fifo[ARG_UNIT] & UNIT_DS;
	u64 ns = FIRST_NS;

	r->phase = PHASE_EXECUTION;
	r->stage = STAGE_SEARCH;
	r->late = r->tc = r->st1 = r->st2 = r->written = 0;
	r->data_at = r->data_size = 0;
	if (code_of(r) != CMD_READ_ID)
		r->eot = code_of(r) == CMD_FORMAT ? r->fifo[FORMAT_SC] : r->fifo[ARG_EOT];
	if ((r->config & CONFIG_EIS) && code_of(r) != CMD_READ_ID && code_of(r) != CMD_FORMAT &&
	    r->pcn[unit] != r->fifo[ARG_C])
		ns += fdc_step(fdc, unit, r->fifo[ARG_C]);
	fdc_wait(fdc, ns);
}
