/* An ATA channel: its registers, the selection of a drive, interrupts, resets (ATA/ATAPI-6, chapters 7 and 9). */
#include "dev/ata_internal.h"

#include "base/trace.h"

#include <errno.h>
#include <stdlib.h>

/* Device Control (7.8) */
#define CONTROL_NIEN BIT(1)
#define CONTROL_SRST BIT(2)
#define CONTROL_HOB  BIT(7)

/* Nobody drives the bus; the host pulls DD7 down, that the status may not look busy (table 2). */
#define FLOATING 0x7f

#define DIAGNOSTIC_PASSED 0x01 /* of both drives (8.11) */

enum { CMD_DEVICE_RESET = 0x08, CMD_DIAGNOSTIC = 0x90 };

/* --- Interrupt ------------------------------------------------------------------------------- */

static void update_irq(struct ata_channel *ch)
{
	const struct ata_channel_regs *r = ch->regs;
	bool level = r->drive[r->select].intrq && !(r->control & CONTROL_NIEN);

	if (level == ch->line)
		return;
	ch->line = level;
	irq_set(&ch->irq, level);
}

void ata_intrq(struct ata_channel *ch, unsigned unit, bool level)
{
	ch->regs->drive[unit].intrq = level;
	update_irq(ch);
}

/* --- Resets ---------------------------------------------------------------------------------- */

void ata_signature(struct ata_channel *ch, unsigned unit)
{
	struct ata_drive_regs *d = &ch->regs->drive[unit];
	bool cdrom = ch->drive[unit].kind == ATA_CDROM;

	memset(d->reg, 0, sizeof(d->reg));
	memset(d->hob, 0, sizeof(d->hob));
	d->reg[ATA_COUNT] = 1;
	d->reg[ATA_LBA_LOW] = 1;
	d->reg[ATA_LBA_MID] = cdrom ? 0x14 : 0;
	d->reg[ATA_LBA_HIGH] = cdrom ? 0xeb : 0;
	d->status = cdrom ? 0 : ST_DRDY | ST_DSC;
}

/* Settings as after power-on. */
static void defaults(struct ata_drive_regs *d)
{
	d->write_cache = d->look_ahead = true;
	d->mode = MODE_PIO;
	d->multiple = 0;
	d->heads = ATA_HEADS;
	d->sectors = ATA_SPT;
}

/* Both drives take their diagnostics again: software reset and EXECUTE DEVICE DIAGNOSTIC. */
static void diagnose(struct ata_channel *ch)
{
	ata_cancel(ch);
	ch->regs->select = 0;
	for (unsigned i = 0; i < ATA_UNITS; i++) {
		struct ata_drive_regs *d = &ch->regs->drive[i];

		ata_signature(ch, i);
		d->error = DIAGNOSTIC_PASSED;
		d->intrq = false;
		d->standby = false;
	}
}

static void soft_reset(struct ata_channel *ch)
{
	trace(IDE, "channel %u: software reset", ch->index);
	diagnose(ch);
	for (unsigned i = 0; i < ATA_UNITS; i++) {
		struct ata_drive_regs *d = &ch->regs->drive[i];

		d->sleeping = false;
		if (!d->keep)
			defaults(d);
	}
	update_irq(ch);
}

/* What is in the drive, and whether its tray is open, is no matter of resets. */
void ata_reset(struct ata_channel *ch)
{
	ata_cancel(ch);
	ch->regs->control = 0;
	for (unsigned i = 0; i < ATA_UNITS; i++) {
		struct ata_drive_regs *d = &ch->regs->drive[i];
		bool open = d->open;

		memset(d, 0, sizeof(*d));
		defaults(d);
		d->keep = true;
		d->open = open;
		if (ch->drive[i].kind == ATA_CDROM)
			d->attention = ASC_RESET;
	}
	diagnose(ch);
	update_irq(ch);
}

void ata_fini(struct ata_channel *ch)
{
	ata_cancel(ch);
	for (unsigned i = 0; i < ARRAY_LEN(ch->io); i++) {
		free(ch->io[i].buf);
		ch->io[i].buf = NULL;
	}
}

int ata_init(struct ata_channel *ch)
{
	for (unsigned i = 0; i < ATA_UNITS; i++) {
		if (ch->drive[i].kind == ATA_DISK && !ch->drive[i].block)
			return -EINVAL;
	}
	for (unsigned i = 0; i < ARRAY_LEN(ch->io); i++) {
		ch->io[i].buf = malloc(ATA_BOUNCE);
		if (!ch->io[i].buf) {
			ata_fini(ch);
			return -ENOMEM;
		}
	}
	memset(ch->regs, 0, sizeof(*ch->regs));
	ata_reset(ch);
	return 0;
}

static void check_drive(struct ata_drive_regs *d)
{
	d->status &= ST_BSY | ST_DRDY | ST_DSC | ST_DRQ | ST_ERR;
	if (d->multiple > ATA_MULTIPLE_MAX || (d->multiple & (d->multiple - 1)))
		d->multiple = 0;
	if (d->heads == 0 || d->heads > 16)
		d->heads = ATA_HEADS;
	if (d->sectors == 0)
		d->sectors = ATA_SPT;
}

void ata_loaded(struct ata_channel *ch)
{
	struct ata_channel_regs *r = ch->regs;

	r->select &= 1;
	for (unsigned i = 0; i < ATA_UNITS; i++)
		check_drive(&r->drive[i]);
	ata_transfer_loaded(ch);
	update_irq(ch);
	ata_run(ch);
}

/* --- Ends of commands ------------------------------------------------------------------------ */

static void end(struct ata_channel *ch, u8 status, u8 error)
{
	struct ata_drive_regs *d = ata_active(ch);

	ch->regs->transfer.phase = ATA_IDLE;
	d->status = ST_DRDY | ST_DSC | status;
	d->error = error;
	ata_intrq(ch, ch->regs->transfer.unit, true);
}

void ata_complete(struct ata_channel *ch) { end(ch, 0, 0); }

void ata_abort(struct ata_channel *ch, u8 error)
{
	trace(IDE, "channel %u: drive %u: error %#x", ch->index, ch->regs->transfer.unit, error);
	end(ch, ST_ERR, error);
}

/* --- Command block --------------------------------------------------------------------------- */

static bool present(const struct ata_channel *ch, unsigned unit)
{
	return ch->drive[unit].kind != ATA_NONE;
}

/* Drive 0 answers for an absent drive 1 (9.16.1): status 00h. In its place nothing but the device register is shown: drivers that take the
 * signature of drive 0 for that of drive 1 would wait for one that is not there. No drive 0: nobody answers. */
static u8 absent_read(const struct ata_channel *ch, enum ata_reg reg)
{
	if (!present(ch, 0))
		return FLOATING;
	return reg == ATA_DEVICE ? ch->regs->drive[0].reg[ATA_DEVICE] : 0;
}

static u8 status(const struct ata_channel *ch)
{
	const struct ata_channel_regs *r = ch->regs;

	if (!present(ch, r->select))
		return absent_read(ch, ATA_COMMAND);
	return r->control & CONTROL_SRST ? ST_BSY : r->drive[r->select].status;
}

u8 ata_reg_read(struct ata_channel *ch, enum ata_reg reg)
{
	struct ata_channel_regs *r = ch->regs;
	struct ata_drive_regs *d = &r->drive[r->select];
	u8 value;

	if (reg == ATA_COMMAND) {
		value = status(ch);
		ata_intrq(ch, r->select, false);
		return value;
	}
	if (!present(ch, r->select))
		return absent_read(ch, reg);
	if (reg == ATA_FEATURES)
		return d->error;
	if ((r->control & CONTROL_HOB) && reg >= ATA_COUNT && reg <= ATA_LBA_HIGH)
		return d->hob[reg];
	return d->reg[reg];
}

/* EXECUTE DEVICE DIAGNOSTIC is for both drives; drive 0 interrupts. */
static void run_diagnostic(struct ata_channel *ch)
{
	trace(IDE, "channel %u: diagnostic", ch->index);
	diagnose(ch);
	ata_intrq(ch, 0, present(ch, 0));
}

static void command(struct ata_channel *ch, u8 value)
{
	struct ata_channel_regs *r = ch->regs;
	struct ata_drive_regs *d = &r->drive[r->select];
	enum ata_kind kind = ch->drive[r->select].kind;
	bool reset = kind == ATA_CDROM && value == CMD_DEVICE_RESET;

	if ((d->status & ST_BSY) && !reset)
		return;
	if (value == CMD_DIAGNOSTIC) {
		run_diagnostic(ch);
		return;
	}
	/* A drive that sleeps is woken by resets alone (8.49). */
	if (kind == ATA_NONE || (d->sleeping && !reset))
		return;
	if (r->transfer.phase != ATA_IDLE) { /* given up by the host */
		ata_active(ch)->status &= (u8) ~(ST_BSY | ST_DRQ);
		ata_cancel(ch);
	}
	trace(IDE,
	      "channel %u: drive %u: command %02x features %02x count %02x lba %02x%02x%02x/%02x",
	      ch->index, r->select, value, d->reg[ATA_FEATURES], d->reg[ATA_COUNT],
	      d->reg[ATA_LBA_HIGH], d->reg[ATA_LBA_MID], d->reg[ATA_LBA_LOW], d->reg[ATA_DEVICE]);
	memset(&r->transfer, 0, sizeof(r->transfer));
	r->transfer.unit = r->select;
	d->error = 0;
	d->status = ST_DRDY | ST_DSC;
	ata_intrq(ch, r->select, false);
	if (kind == ATA_DISK)
		ata_disk_command(ch, value);
	else
		atapi_command(ch, value);
}

/* Both drives take what is written to the registers. */
void ata_reg_write(struct ata_channel *ch, enum ata_reg reg, u8 value)
{
	struct ata_channel_regs *r = ch->regs;

	if (r->control & CONTROL_SRST)
		return;
	r->control &= (u8)~CONTROL_HOB;
	if (reg == ATA_COMMAND) {
		command(ch, value);
		return;
	}
	if (r->drive[r->select].status & ST_BSY)
		return;
	for (unsigned i = 0; i < ATA_UNITS; i++) {
		r->drive[i].hob[reg] = r->drive[i].reg[reg];
		r->drive[i].reg[reg] = value;
	}
	if (reg == ATA_DEVICE) {
		r->select = value & DEVICE_DEV ? 1 : 0;
		update_irq(ch);
	}
}

u8 ata_alt_read(const struct ata_channel *ch) { return status(ch); }

void ata_control_write(struct ata_channel *ch, u8 value)
{
	u8 old = ch->regs->control;

	ch->regs->control = value & (CONTROL_HOB | CONTROL_SRST | CONTROL_NIEN);
	if ((value & CONTROL_SRST) && !(old & CONTROL_SRST))
		soft_reset(ch);
	update_irq(ch);
}

/* --- Data port ------------------------------------------------------------------------------- */

u32 ata_data_read(struct ata_channel *ch, unsigned size)
{
	struct ata_channel_regs *r = ch->regs;
	struct ata_transfer_regs *t = &r->transfer;
	u32 value;

	if (t->phase != ATA_PIO_IN || t->unit != r->select)
		return present(ch, 0) || present(ch, r->select) ? 0 : 0xffffff7f;
	if (likely(size == 2 && t->end - t->pos >= 2))
		value = (u32)le_load(r->buf + t->pos, 2);
	else
		value = (u32)le_load(r->buf + t->pos, MIN(size, t->end - t->pos));
	t->pos += MIN(size, t->end - t->pos);
	if (t->pos == t->end)
		ata_block_done(ch);
	return value;
}

void ata_data_write(struct ata_channel *ch, u32 value, unsigned size)
{
	struct ata_channel_regs *r = ch->regs;
	struct ata_transfer_regs *t = &r->transfer;
	u32 n = MIN(size, t->end - t->pos);

	if (t->unit != r->select)
		return;
	if (t->phase == ATA_PIO_OUT)
		le_store(r->buf + t->pos, value, n);
	else if (t->phase == ATA_PACKET_OUT)
		le_store(t->packet + t->pos, value, n);
	else
		return;
	t->pos += n;
	if (t->pos == t->end)
		ata_block_done(ch);
}

unsigned ata_data_block(struct ata_channel *ch, u8 *buf, unsigned size, unsigned n, bool write)
{
	struct ata_channel_regs *r = ch->regs;
	struct ata_transfer_regs *t = &r->transfer;

	if (t->phase != (write ? ATA_PIO_OUT : ATA_PIO_IN) || t->unit != r->select)
		return 0;
	n = MIN(n, (t->end - t->pos) / size);
	if (n == 0)
		return 0;
	if (write)
		memcpy(r->buf + t->pos, buf, n * size);
	else
		memcpy(buf, r->buf + t->pos, n * size);
	t->pos += n * size;
	if (t->pos == t->end)
		ata_block_done(ch);
	return n;
}

void ata_dma_changed(struct ata_channel *ch) { ata_run(ch); }
