/* 82077AA: registers, command and result phase, and the commands that touch no sectors. Section and
 * table numbers are those of the data sheet. The mechanics are quicker than a real drive's by two
 * orders; what comes later than its command still does. */
#include "dev/fdc82077_internal.h"

#include "base/trace.h"

#include <errno.h>

/* Offsets from 3F0h. 0 and 1 are status registers that the PC/AT mode does not have (2.1). */
enum { REG_DOR = 2, REG_TDR = 3, REG_MSR = 4, REG_DATA = 5, REG_DIR = 7 };
enum { REG_DSR = REG_MSR, REG_CCR = REG_DIR };

#define DOR_RESET  0x04u /* low: in reset */
#define DOR_MOTOR  0x10u /* of unit 0; the others follow */
#define DSR_RESET  0x80u
#define RATE       0x03u
#define RATE_250   2u
#define DIR_DSKCHG 0x80u

#define MSR_RQM    0x80u
#define MSR_DIO    0x40u
#define MSR_NONDMA 0x20u
#define MSR_BUSY   0x10u

#define ST3_WP   0x40u
#define ST3_ONES 0x28u
#define ST3_T0   0x10u

#define CONFIG_DEFAULT   CONFIG_EFIFO /* 5.2.7 */
#define CONFIG_WRITABLE  0x7fu
#define PERPENDICULAR_OW 0x80u
#define PERPENDICULAR_D  0x3cu /* kept by a software reset; GAP and WGATE are not */
#define SEEK_MAX_STEPS   79u   /* of RECALIBRATE (5.2.1) */

#define RESET_NS  100000ull
#define SETTLE_NS 500000ull
#define STEP_NS   20000ull

static const struct state_field fdc82077_rows[] = {
	STATE_ROW(struct fdc82077_regs, dor),
	STATE_ROW(struct fdc82077_regs, tdr),
	STATE_ROW(struct fdc82077_regs, rate),
	STATE_ARRAY(struct fdc82077_regs, specify),
	STATE_ROW(struct fdc82077_regs, config),
	STATE_ROW(struct fdc82077_regs, pretrk),
	STATE_ROW(struct fdc82077_regs, lock),
	STATE_ROW(struct fdc82077_regs, perpendicular),
	STATE_ROW(struct fdc82077_regs, eot),
	STATE_ARRAY(struct fdc82077_regs, pcn),
	STATE_ARRAY(struct fdc82077_regs, track),
	STATE_ARRAY(struct fdc82077_regs, changed),
	STATE_ARRAY(struct fdc82077_regs, sense),
	STATE_ROW(struct fdc82077_regs, sense_waits),
	STATE_ROW(struct fdc82077_regs, polled),
	STATE_ROW(struct fdc82077_regs, irq),
	STATE_ARRAY(struct fdc82077_regs, seek_due_ns),
	STATE_ARRAY(struct fdc82077_regs, seek_st0),
	STATE_ROW(struct fdc82077_regs, reset_due_ns),
	STATE_ROW(struct fdc82077_regs, phase),
	STATE_ARRAY(struct fdc82077_regs, fifo),
	STATE_ROW(struct fdc82077_regs, length),
	STATE_ROW(struct fdc82077_regs, at),
	STATE_ROW(struct fdc82077_regs, stage),
	STATE_ROW(struct fdc82077_regs, late),
	STATE_ROW(struct fdc82077_regs, tc),
	STATE_ROW(struct fdc82077_regs, st1),
	STATE_ROW(struct fdc82077_regs, st2),
	STATE_ROW(struct fdc82077_regs, written),
	STATE_ROW(struct fdc82077_regs, due_ns),
	STATE_ARRAY(struct fdc82077_regs, data),
	STATE_ROW(struct fdc82077_regs, data_at),
	STATE_ROW(struct fdc82077_regs, data_size),
};
static STATE_DESC(fdc82077_state, struct fdc82077_regs, "fdc82077", fdc82077_rows);

/* --- Interrupt and time ---------------------------------------------------------------------- */

/* DMAGATE# lets the interrupt reach its pin (2.1.3). */
void fdc_irq(struct fdc82077 *fdc, bool level)
{
	fdc->regs.irq = level;
	irq_set(&fdc->irq, level && (fdc->regs.dor & DOR_DMAGATE));
}

void fdc_arm(struct fdc82077 *fdc)
{
	const struct fdc82077_regs *r = &fdc->regs;
	u64 due = MIN(r->reset_due_ns, r->due_ns);

	for (unsigned n = 0; n < FDC82077_UNITS; n++)
		due = MIN(due, r->seek_due_ns[n]);
	timer_set(fdc->dev.platform->clock, &fdc->timer, due);
}

void fdc_wait(struct fdc82077 *fdc, u64 ns)
{
	fdc->regs.due_ns = clock_now(fdc->dev.platform->clock) + ns;
	fdc_arm(fdc);
}

struct fdc82077_drive *fdc_drive(struct fdc82077 *fdc, unsigned unit)
{
	if (unit >= FDC82077_DRIVES || fdc->drive[unit].type == FLOPPY_NONE)
		return NULL;
	return &fdc->drive[unit];
}

bool fdc82077_motor(const struct fdc82077 *fdc, unsigned drive)
{
	return drive < FDC82077_UNITS && (fdc->regs.dor & DOR_MOTOR << drive);
}

/* --- Seeks ----------------------------------------------------------------------------------- */

/* Each step pulse moves the head until it is at its stop, and with a disk in the drive tells it
 * that the change has been seen. */
u64 fdc_step(struct fdc82077 *fdc, unsigned unit, u8 pcn)
{
	struct fdc82077_regs *r = &fdc->regs;
	struct fdc82077_drive *d = fdc_drive(fdc, unit);
	int steps = pcn - r->pcn[unit], track = r->track[unit] + steps;
	int last = d ? (int)floppy_tracks(d->type) - 1 : 0;

	r->pcn[unit] = pcn;
	r->track[unit] = (u8)MAX(0, MIN(track, last));
	if (steps && d && d->block)
		r->changed[unit] = 0;
	return SETTLE_NS + (u64)(steps < 0 ? -steps : steps) * STEP_NS;
}

static void seek_to(struct fdc82077 *fdc, u8 pcn)
{
	struct fdc82077_regs *r = &fdc->regs;
	unsigned unit = r->fifo[ARG_UNIT] & UNIT_DS;
	u64 ns = fdc_step(fdc, unit, pcn);

	r->seek_st0[unit] = (u8)(ST0_SE | (r->fifo[ARG_UNIT] & (UNIT_HDS | UNIT_DS)));
	r->seek_due_ns[unit] = clock_now(fdc->dev.platform->clock) + ns;
	fdc_arm(fdc);
}

static void run_seek(struct fdc82077 *fdc) { seek_to(fdc, fdc->regs.fifo[2]); }

/* 5.2.3: away from track 0 with DIR set. */
static void run_relative_seek(struct fdc82077 *fdc)
{
	const struct fdc82077_regs *r = &fdc->regs;
	u8 from = r->pcn[r->fifo[ARG_UNIT] & UNIT_DS], by = r->fifo[2];

	if (r->fifo[0] & 0x40)
		seek_to(fdc, (u8)MIN(from + by, 255));
	else
		seek_to(fdc, (u8)MAX(from - by, 0));
}

/* Pulses toward the stop until the drive says that it is at track 0. Where nothing says so within
 * 79 of them the command ends abnormally, with Equipment Check (5.2.1). */
static void run_recalibrate(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	unsigned unit = r->fifo[ARG_UNIT] & UNIT_DS;
	u8 steps = (u8)MIN(r->track[unit], SEEK_MAX_STEPS);

	r->fifo[ARG_UNIT] &= (u8)~UNIT_HDS;
	r->pcn[unit] = steps;
	seek_to(fdc, 0);
	if (!fdc_drive(fdc, unit) || r->track[unit])
		r->seek_st0[unit] |= ST0_ABNORMAL | ST0_EC;
}

static void seek_done(struct fdc82077 *fdc, unsigned unit)
{
	struct fdc82077_regs *r = &fdc->regs;

	r->seek_due_ns[unit] = CLOCK_NEVER;
	r->sense[unit] = r->seek_st0[unit];
	r->sense_waits |= (u8)BIT(unit);
	trace(FLOPPY, "drive %u: at track %u", unit, r->track[unit]);
	fdc_irq(fdc, true);
}

/* --- Other commands -------------------------------------------------------------------------- */

void fdc_result(struct fdc82077 *fdc, unsigned length)
{
	struct fdc82077_regs *r = &fdc->regs;

	r->phase = PHASE_RESULT;
	r->length = (u8)length;
	r->at = 0;
	r->due_ns = CLOCK_NEVER;
	fdc_arm(fdc);
	trace(FLOPPY, "result %u: %02x %02x %02x %02x %02x %02x %02x", length, r->fifo[0],
	      r->fifo[1], r->fifo[2], r->fifo[3], r->fifo[4], r->fifo[5], r->fifo[6]);
}

static void result_byte(struct fdc82077 *fdc, u8 value)
{
	fdc->regs.fifo[0] = value;
	fdc_result(fdc, 1);
}

static void run_invalid(struct fdc82077 *fdc) { result_byte(fdc, ST0_INVALID); }

static void run_version(struct fdc82077 *fdc) { result_byte(fdc, 0x90); }

static void run_specify(struct fdc82077 *fdc) { memcpy(fdc->regs.specify, fdc->regs.fifo + 1, 2); }

static void run_sense_drive(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	unsigned unit = r->fifo[ARG_UNIT] & UNIT_DS;
	const struct fdc82077_drive *d = fdc_drive(fdc, unit);
	u8 st3 = (u8)(ST3_ONES | (r->fifo[ARG_UNIT] & (UNIT_HDS | UNIT_DS)));

	if (d && r->track[unit] == 0)
		st3 |= ST3_T0;
	if (d && d->block && d->block->readonly)
		st3 |= ST3_WP;
	result_byte(fdc, st3);
}

/* The lowest unit that has something to say; without one the command is invalid (5.2.4). */
static void run_sense_interrupt(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	unsigned unit = 0;

	fdc_irq(fdc, false);
	if (!(r->sense_waits & bits_mask(FDC82077_UNITS))) {
		run_invalid(fdc);
		return;
	}
	while (!(r->sense_waits & BIT(unit)))
		unit++;
	r->sense_waits &= (u8)~BIT(unit);
	r->fifo[0] = r->sense[unit];
	r->fifo[1] = r->pcn[unit];
	fdc_result(fdc, 2);
}

static void run_configure(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	r->config = r->fifo[2] & CONFIG_WRITABLE;
	r->pretrk = r->fifo[3];
}

static void run_lock(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	r->lock = r->fifo[0] >> 7;
	result_byte(fdc, (u8)(r->lock << 4));
}

/* The drive bits change with OW alone (5.2.8). */
static void run_perpendicular(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	u8 value = r->fifo[1], drives = value & PERPENDICULAR_OW ? value : r->perpendicular;

	r->perpendicular = (u8)((drives & PERPENDICULAR_D) | (value & 3));
}

static void run_dumpreg(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	memcpy(r->fifo, r->pcn, FDC82077_UNITS);
	r->fifo[4] = r->specify[0];
	r->fifo[5] = r->specify[1];
	r->fifo[6] = r->eot;
	r->fifo[7] = (u8)(r->lock << 7 | r->perpendicular);
	r->fifo[8] = r->config;
	r->fifo[9] = r->pretrk;
	fdc_result(fdc, 10);
}

/* --- Command phase --------------------------------------------------------------------------- */

struct command {
	u8 mask, value, length;
	void (*run)(struct fdc82077 *fdc);
	const char *name;
};

/* Table 5-1. SCAN came before this chip's time and PART ID after it. */
static const struct command commands[] = {
	{ 0x1f, CMD_READ, 9, fdc_data_start, "read data" },
	{ 0x3f, CMD_WRITE, 9, fdc_data_start, "write data" },
	{ 0x1f, CMD_READ_DELETED, 9, fdc_data_start, "read deleted data" },
	{ 0x3f, CMD_WRITE_DELETED, 9, fdc_data_start, "write deleted data" },
	{ 0xbf, CMD_READ_TRACK, 9, fdc_data_start, "read track" },
	{ 0x1f, CMD_VERIFY, 9, fdc_data_start, "verify" },
	{ 0xbf, CMD_FORMAT, 6, fdc_data_start, "format track" },
	{ 0xbf, CMD_READ_ID, 2, fdc_data_start, "read id" },
	{ 0xff, CMD_VERSION, 1, run_version, "version" },
	{ 0xff, CMD_SPECIFY, 3, run_specify, "specify" },
	{ 0xff, CMD_SENSE_DRIVE, 2, run_sense_drive, "sense drive status" },
	{ 0xff, CMD_RECALIBRATE, 2, run_recalibrate, "recalibrate" },
	{ 0xff, CMD_SENSE_INTERRUPT, 1, run_sense_interrupt, "sense interrupt status" },
	{ 0xff, CMD_DUMPREG, 1, run_dumpreg, "dumpreg" },
	{ 0xff, CMD_SEEK, 3, run_seek, "seek" },
	{ 0xbf, CMD_RELATIVE_SEEK, 3, run_relative_seek, "relative seek" },
	{ 0xff, CMD_PERPENDICULAR, 2, run_perpendicular, "perpendicular mode" },
	{ 0xff, CMD_CONFIGURE, 4, run_configure, "configure" },
	{ 0x7f, CMD_LOCK, 1, run_lock, "lock" },
	{ 0x00, 0x00, 1, run_invalid, "invalid" },
};

static const struct command *command_of(u8 byte)
{
	const struct command *c = commands;

	while ((byte & c->mask) != c->value)
		c++;
	return c;
}

static void command_byte(struct fdc82077 *fdc, u8 value)
{
	struct fdc82077_regs *r = &fdc->regs;
	const struct command *c;

	if (r->at == 0)
		r->length = command_of(value)->length;
	r->fifo[r->at++] = value;
	if (r->at < r->length)
		return;
	c = command_of(r->fifo[0]);
	trace(FLOPPY, "%s: %02x %02x %02x %02x %02x %02x %02x", c->name, r->fifo[0], r->fifo[1],
	      r->fifo[2], r->fifo[3], r->fifo[4], r->fifo[5], r->fifo[6]);
	r->at = 0;
	r->length = 0;
	c->run(fdc);
}

/* The interrupt of a command goes away with its first result byte; seeks that ended meanwhile ask
 * again after the last one. */
static u8 result_read(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;
	u8 value = r->fifo[r->at++];

	fdc_irq(fdc, false);
	if (r->at < r->length)
		return value;
	r->phase = PHASE_COMMAND;
	r->at = r->length = 0;
	if (!(r->sense_waits & bits_mask(FDC82077_UNITS)))
		r->polled = 0;
	else if (!r->polled)
		fdc_irq(fdc, true);
	return value;
}

/* --- Reset ----------------------------------------------------------------------------------- */

/* What DOR, DSR and the pin have in common (4.0): the settings of SPECIFY stay, those of the FIFO
 * if they are locked. */
static void enter_reset(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	fdc_data_cancel(fdc);
	fdc_irq(fdc, false);
	r->phase = PHASE_COMMAND;
	r->at = r->length = 0;
	r->sense_waits = r->polled = 0;
	r->perpendicular &= PERPENDICULAR_D;
	r->config = r->lock ? r->config & (CONFIG_EFIFO | CONFIG_FIFOTHR) : CONFIG_DEFAULT;
	if (!r->lock)
		r->pretrk = 0;
	memset(r->pcn, 0, sizeof(r->pcn));
	for (unsigned n = 0; n < FDC82077_UNITS; n++)
		r->seek_due_ns[n] = CLOCK_NEVER;
	r->due_ns = r->reset_due_ns = CLOCK_NEVER;
	fdc_arm(fdc);
}

static void leave_reset(struct fdc82077 *fdc)
{
	fdc->regs.reset_due_ns = clock_now(fdc->dev.platform->clock) + RESET_NS;
	fdc_arm(fdc);
}

/* Polling finds that the ready state of all four units has changed (4.2). */
static void reset_done(struct fdc82077 *fdc)
{
	struct fdc82077_regs *r = &fdc->regs;

	r->reset_due_ns = CLOCK_NEVER;
	for (unsigned n = 0; n < FDC82077_UNITS; n++)
		r->sense[n] = (u8)(ST0_POLLED | n);
	r->sense_waits = (u8)bits_mask(FDC82077_UNITS);
	r->polled = 1;
	fdc_irq(fdc, true);
}

static bool in_reset(const struct fdc82077_regs *r)
{
	return !(r->dor & DOR_RESET) || r->reset_due_ns != CLOCK_NEVER;
}

static void fdc_due(void *opaque)
{
	struct fdc82077 *fdc = opaque;
	struct fdc82077_regs *r = &fdc->regs;
	u64 now = clock_now(fdc->dev.platform->clock);

	if (r->reset_due_ns <= now)
		reset_done(fdc);
	for (unsigned n = 0; n < FDC82077_UNITS; n++)
		if (r->seek_due_ns[n] <= now)
			seek_done(fdc, n);
	if (r->due_ns <= now) {
		r->due_ns = CLOCK_NEVER;
		fdc_data_due(fdc);
	}
	fdc_arm(fdc);
}

/* --- Ports ----------------------------------------------------------------------------------- */

static u8 read_msr(const struct fdc82077_regs *r)
{
	bool host = r->phase == PHASE_EXECUTION && r->stage == STAGE_HOST &&
		    (r->specify[1] & SPECIFY_ND);
	u8 value = 0;

	if (in_reset(r))
		return 0;
	for (unsigned n = 0; n < FDC82077_UNITS; n++)
		value |= (u8)(r->seek_due_ns[n] != CLOCK_NEVER ? BIT(n) : 0);
	switch (r->phase) {
	case PHASE_COMMAND: return value | MSR_RQM | (r->at ? MSR_BUSY : 0);
	case PHASE_RESULT: return value | MSR_RQM | MSR_DIO | MSR_BUSY;
	default:
		value |= MSR_BUSY;
		if (r->specify[1] & SPECIFY_ND)
			value |= MSR_NONDMA;
		if (host)
			value |= MSR_RQM | (fdc_data_to_host(r) ? MSR_DIO : 0);
		return value;
	}
}

static u8 read_data(struct fdc82077 *fdc)
{
	const struct fdc82077_regs *r = &fdc->regs;

	if (in_reset(r) || r->phase == PHASE_COMMAND)
		return 0xff;
	return r->phase == PHASE_RESULT ? result_read(fdc) : fdc_data_read(fdc);
}

static void write_data(struct fdc82077 *fdc, u8 value)
{
	const struct fdc82077_regs *r = &fdc->regs;

	if (in_reset(r) || r->phase == PHASE_RESULT)
		return;
	if (r->phase == PHASE_COMMAND)
		command_byte(fdc, value);
	else
		fdc_data_write(fdc, value);
}

static void write_dor(struct fdc82077 *fdc, u8 value)
{
	struct fdc82077_regs *r = &fdc->regs;
	u8 changed = r->dor ^ value;

	r->dor = value;
	if (changed & DOR_RESET) {
		if (value & DOR_RESET)
			leave_reset(fdc);
		else
			enter_reset(fdc);
	}
	fdc_irq(fdc, r->irq);
}

/* The reset bit clears itself. */
static void write_dsr(struct fdc82077 *fdc, u8 value)
{
	fdc->regs.rate = value & RATE;
	if (!(value & DSR_RESET))
		return;
	enter_reset(fdc);
	if (fdc->regs.dor & DOR_RESET)
		leave_reset(fdc);
}

/* The drive that DOR selects answers, while its motor is on. The other bits are of the hard disk's
 * adapter on a PC/AT. */
static u8 read_dir(struct fdc82077 *fdc)
{
	unsigned unit = fdc->regs.dor & UNIT_DS;
	bool changed = fdc_drive(fdc, unit) && fdc82077_motor(fdc, unit) && fdc->regs.changed[unit];

	return changed ? DIR_DSKCHG : 0;
}

static u64 fdc82077_read(void *dev, u64 offset, unsigned size)
{
	struct fdc82077 *fdc = dev;

	switch (offset) {
	case REG_DOR: return fdc->regs.dor;
	case REG_TDR: return fdc->regs.tdr | 0xfc;
	case REG_MSR: return read_msr(&fdc->regs);
	case REG_DATA: return read_data(fdc);
	default: return 0xff;
	}
}

static void fdc82077_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct fdc82077 *fdc = dev;

	switch (offset) {
	case REG_DOR: write_dor(fdc, (u8)value); break;
	case REG_TDR: fdc->regs.tdr = value & 3; break;
	case REG_DSR: write_dsr(fdc, (u8)value); break;
	case REG_DATA: write_data(fdc, (u8)value); break;
	default: break;
	}
}

static u64 change_read(void *dev, u64 offset, unsigned size) { return read_dir(dev); }

static void change_write(void *dev, u64 offset, u64 value, unsigned size)
{
	((struct fdc82077 *)dev)->regs.rate = value & RATE;
}

static const struct bus_ops fdc82077_ops = { fdc82077_read, fdc82077_write, 1 };
static const struct bus_ops change_ops = { change_read, change_write, 1 };

/* --- The device ------------------------------------------------------------------------------ */

int fdc82077_insert(struct fdc82077 *fdc, unsigned drive, struct block *block)
{
	const struct floppy_geometry *geometry = block ? floppy_geometry(block->size) : NULL;
	struct fdc82077_drive *d = fdc_drive(fdc, drive);

	if (!d)
		return -ENODEV;
	if (block && !geometry)
		return -EINVAL;
	d->block = block;
	d->geometry = geometry;
	fdc->regs.changed[drive] = 1;
	return 0;
}

/* The pin clears everything but what SPECIFY set; the heads stay where they are. */
static void fdc82077_reset(struct device *dev)
{
	struct fdc82077 *fdc = container_of(dev, struct fdc82077, dev);
	struct fdc82077_regs *r = &fdc->regs;

	r->dor = r->tdr = r->lock = r->perpendicular = r->eot = 0;
	r->rate = RATE_250;
	for (unsigned n = 0; n < FDC82077_DRIVES; n++)
		r->changed[n] = 1;
	enter_reset(fdc);
}

/* Values that index and count are brought into range; the rest may be anything. */
static void fdc82077_loaded(struct device *dev)
{
	struct fdc82077 *fdc = container_of(dev, struct fdc82077, dev);
	struct fdc82077_regs *r = &fdc->regs;

	if (r->phase > PHASE_RESULT || r->length > FDC82077_FIFO || r->at > r->length ||
	    (r->at == r->length && r->phase == PHASE_RESULT)) {
		r->phase = PHASE_COMMAND;
		r->at = r->length = 0;
	}
	if (r->phase == PHASE_COMMAND && (r->at == r->length || r->length > 9))
		r->at = r->length = 0;
	r->data_size = MIN(r->data_size, FLOPPY_SECTOR);
	r->data_at = MIN(r->data_at, r->data_size);
	fdc_data_loaded(fdc);
	fdc_irq(fdc, r->irq);
	fdc_arm(fdc);
}

static int fdc82077_init(struct device *dev)
{
	struct fdc82077 *fdc = container_of(dev, struct fdc82077, dev);
	struct platform *p = dev->platform;
	int err = timer_init(p->clock, &fdc->timer, "floppy", fdc_due, fdc);

	for (unsigned n = 0; n < FDC82077_DRIVES && !err; n++)
		if (fdc->drive[n].block)
			err = fdc82077_insert(fdc, n, fdc->drive[n].block);
	if (!err)
		err = bus_map(p->ports, FDC82077_BASE, 6, &fdc82077_ops, fdc, dev->name);
	if (!err)
		err = bus_map(p->ports, FDC82077_BASE + REG_DIR, 1, &change_ops, fdc, dev->name);
	if (!err)
		fdc82077_reset(dev);
	return err;
}

const struct device_type fdc82077_type = {
	.name = "fdc82077",
	.help = "82077AA floppy disk controller",
	.size = sizeof(struct fdc82077),
	.regs_offset = offsetof(struct fdc82077, regs),
	.regs = &fdc82077_state,
	.init = fdc82077_init,
	.reset = fdc82077_reset,
	.loaded = fdc82077_loaded,
};
