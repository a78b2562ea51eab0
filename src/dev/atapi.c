/* CD-ROM drive: the packet protocol, reading, sense data and the medium (ATA/ATAPI-6, 9.8 and 9.9; MMC-5; SPC-2). */
#include "dev/ata_internal.h"

#include "base/bits.h"
#include "base/trace.h"

enum {
	CMD_DEVICE_RESET = 0x08,
	CMD_PACKET = 0xa0,
	CMD_IDENTIFY_PACKET = 0xa1,
	CMD_IDLE_IMMEDIATE = 0xe1,
	CMD_STANDBY_IMMEDIATE = 0xe0,
	CMD_CHECK_POWER = 0xe5,
	CMD_SLEEP = 0xe6,
	CMD_SET_FEATURES = 0xef,
};

#define FEATURE_DMA BIT(0)
#define SENSE_SIZE  18u

/* --- Ends ------------------------------------------------------------------------------------ */

void atapi_reason(struct ata_channel *ch, u8 reason, u32 bytes)
{
	struct ata_drive_regs *d = ata_active(ch);

	d->reg[ATA_COUNT] = reason;
	if (reason == (REASON_CD | REASON_IO))
		return;
	d->reg[ATA_LBA_MID] = (u8)bytes;
	d->reg[ATA_LBA_HIGH] = (u8)(bytes >> 8);
}

static void set_sense(struct ata_drive_regs *d, u8 key, u8 asc, u8 ascq)
{
	d->sense_key = key;
	d->asc = asc;
	d->ascq = ascq;
}

void atapi_complete(struct ata_channel *ch)
{
	set_sense(ata_active(ch), 0, 0, 0);
	atapi_reason(ch, REASON_CD | REASON_IO, 0);
	ata_complete(ch);
}

void atapi_failed(struct ata_channel *ch, u8 key, u8 asc, u8 ascq)
{
	trace(IDE, "channel %u: drive %u: packet %02x: sense %x/%02x/%02x", ch->index,
	      ch->regs->transfer.unit, ch->regs->transfer.packet[0], key, asc, ascq);
	set_sense(ata_active(ch), key, asc, ascq);
	atapi_reason(ch, REASON_CD | REASON_IO, 0);
	ata_abort(ch, (u8)(key << 4 | ER_ABRT));
}

/* --- Data ------------------------------------------------------------------------------------ */

static bool uses_dma(struct ata_channel *ch)
{
	return ata_active(ch)->reg[ATA_FEATURES] & FEATURE_DMA;
}

void atapi_reply(struct ata_channel *ch, u32 size, u32 limit)
{
	size = MIN(size, limit);
	if (size == 0)
		atapi_complete(ch);
	else
		ata_start_buffer(ch, uses_dma(ch) ? ATA_DMA_IN : ATA_PIO_IN, size,
				 ch->regs->transfer.block);
}

void atapi_take(struct ata_channel *ch, u32 size)
{
	if (size == 0)
		atapi_complete(ch);
	else if (size > ATA_BUFFER)
		atapi_failed(ch, SENSE_ILLEGAL, ASC_INVALID_FIELD, 0);
	else
		ata_start_buffer(ch, uses_dma(ch) ? ATA_DMA_OUT : ATA_PIO_OUT, size,
				 ch->regs->transfer.block);
}

void atapi_data(struct ata_channel *ch) { atapi_mode_selected(ch); }

/* --- Medium ---------------------------------------------------------------------------------- */

struct block *atapi_medium(const struct ata_channel *ch, unsigned unit)
{
	return ch->regs->drive[unit].open ? NULL : ch->drive[unit].block;
}

u32 atapi_blocks(const struct ata_channel *ch, unsigned unit)
{
	const struct block *block = atapi_medium(ch, unit);

	return block ? (u32)MIN(block->size / CD_SECTOR, UINT32_MAX) : 0;
}

static void read_blocks(struct ata_channel *ch, u32 lba, u32 count)
{
	u32 blocks = atapi_blocks(ch, ch->regs->transfer.unit);

	if (lba > blocks || count > blocks - lba)
		atapi_failed(ch, SENSE_ILLEGAL, ASC_LBA_RANGE, 0);
	else if (count == 0)
		atapi_complete(ch);
	else
		ata_start(ch, uses_dma(ch) ? ATA_DMA_READ : ATA_READ, (u64)lba * CD_SECTOR,
			  (u64)count * CD_SECTOR, ch->regs->transfer.block);
}

static void read_10(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;

	read_blocks(ch, be_load(p + 2, 4), be_load(p + 7, 2));
}

static void read_12(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;

	read_blocks(ch, be_load(p + 2, 4), be_load(p + 6, 4));
}

/* READ CD and READ CD MSF, from a data track of mode 1: the user data, or nothing (MMC-5, 6.19). */
static void read_cd(struct ata_channel *ch, u32 lba, u32 count)
{
	const u8 *p = ch->regs->transfer.packet;
	unsigned type = bits_get(p[1], 4, 2), subchannel = p[10] & 7;

	if (type != 0 && type != 2) /* any, mode 1 */
		atapi_failed(ch, SENSE_ILLEGAL, ASC_TRACK_MODE, 0);
	else if (subchannel || (p[9] != 0x10 && p[9] != 0))
		atapi_failed(ch, SENSE_ILLEGAL, ASC_INVALID_FIELD, 0);
	else
		read_blocks(ch, lba, p[9] ? count : 0);
}

static void read_cd_lba(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;

	read_cd(ch, be_load(p + 2, 4), be_load(p + 6, 3));
}

/* The block of a time that starts two seconds before block 0. */
static u32 from_msf(const u8 *msf) { return ((u32)msf[0] * 60 + msf[1]) * 75 + msf[2] - 150; }

static void read_cd_msf(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	u32 start = from_msf(p + 3), stop = from_msf(p + 6);

	if (stop < start)
		atapi_failed(ch, SENSE_ILLEGAL, ASC_INVALID_FIELD, 0);
	else
		read_cd(ch, start, stop - start);
}

static void seek(struct ata_channel *ch)
{
	if (be_load(ch->regs->transfer.packet + 2, 4) < atapi_blocks(ch, ch->regs->transfer.unit))
		atapi_complete(ch);
	else
		atapi_failed(ch, SENSE_ILLEGAL, ASC_LBA_RANGE, 0);
}

static void good(struct ata_channel *ch) { atapi_complete(ch); }

/* There are no audio tracks. */
static void play(struct ata_channel *ch) { atapi_failed(ch, SENSE_ILLEGAL, ASC_TRACK_MODE, 0); }

/* SPC-2, 7.20: fixed format. The sense, then a unit attention, are gone once they are reported. */
static void request_sense(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);
	u8 *data = ch->regs->buf, key = d->sense_key, asc = d->asc, ascq = d->ascq;

	if (key == 0 && d->attention) {
		key = SENSE_ATTENTION;
		asc = d->attention;
		ascq = 0;
		d->attention = 0;
	}
	memset(data, 0, SENSE_SIZE);
	data[0] = 0x70;
	data[2] = key;
	data[7] = SENSE_SIZE - 8;
	data[12] = asc;
	data[13] = ascq;
	atapi_reply(ch, SENSE_SIZE, ch->regs->transfer.packet[4]);
}

static void prevent_removal(struct ata_channel *ch)
{
	ata_active(ch)->locked = ch->regs->transfer.packet[4] & 1;
	atapi_complete(ch);
}

static void move_tray(struct ata_channel *ch, bool open)
{
	unsigned unit = ch->regs->transfer.unit;
	struct ata_drive_regs *d = &ch->regs->drive[unit];

	if (d->open == open)
		return;
	d->open = open;
	if (ch->drive[unit].block) {
		d->event = open ? EVENT_REMOVAL : EVENT_NEW_MEDIA;
		d->attention = open ? 0 : ASC_MEDIUM_CHANGED;
	}
	if (ch->tray)
		ch->tray(ch->opaque, unit, open);
}

/* MMC-5, 6.42: LoEj and Start */
static void start_stop(struct ata_channel *ch)
{
	u8 what = ch->regs->transfer.packet[4];

	if ((what & 0xf0) == 0 && (what & 2)) {
		bool open = !(what & 1);

		if (open && ata_active(ch)->locked) {
			atapi_failed(ch, SENSE_ILLEGAL, ASC_REMOVAL, 2);
			return;
		}
		move_tray(ch, open);
	}
	atapi_complete(ch);
}

void atapi_set_medium(struct ata_channel *ch, unsigned unit, struct block *block)
{
	struct ata_drive_regs *d = &ch->regs->drive[unit];
	bool had = ch->drive[unit].block && !d->open;
	struct ata_transfer_regs *t = &ch->regs->transfer;
	bool uses = t->unit == unit && t->left;

	if (uses && t->phase != ATA_IDLE) {
		ata_cancel(ch);
		atapi_failed(ch, SENSE_NOT_READY, ASC_NO_MEDIUM, 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(ch->io); i++) { /* left behind by an error */
		if (ch->io[i].pending && ch->io[i].block == ch->drive[unit].block)
			block_drain(ch->io[i].block);
	}
	ch->drive[unit].block = block;
	d->open = false;
	d->attention = block ? ASC_MEDIUM_CHANGED : 0;
	d->event = block ? EVENT_NEW_MEDIA : had ? EVENT_REMOVAL : 0;
}

/* --- Dispatch -------------------------------------------------------------------------------- */

enum {
	ALWAYS = 1, /* goes on under a unit attention (MMC-5, 4.1.6) */
	MEDIUM = 2,
};

static const struct packet_command {
	u8 opcode, flags;
	void (*run)(struct ata_channel *ch);
} commands[] = {
	{ 0x00, MEDIUM, good }, /* TEST UNIT READY */
	{ 0x03, ALWAYS, request_sense },
	{ 0x12, ALWAYS, atapi_inquiry },
	{ 0x15, 0, atapi_mode_select },
	{ 0x1a, 0, atapi_mode_sense },
	{ 0x1b, 0, start_stop },
	{ 0x1e, 0, prevent_removal },
	{ 0x25, MEDIUM, atapi_capacity },
	{ 0x28, MEDIUM, read_10 },
	{ 0x2b, MEDIUM, seek },
	{ 0x42, MEDIUM, atapi_subchannel },
	{ 0x43, MEDIUM, atapi_read_toc },
	{ 0x45, MEDIUM, play },
	{ 0x46, ALWAYS, atapi_configuration },
	{ 0x47, MEDIUM, play },
	{ 0x48, MEDIUM, play },
	{ 0x4a, ALWAYS, atapi_event_status },
	{ 0x4b, MEDIUM, play }, /* PAUSE/RESUME */
	{ 0x4e, MEDIUM, good }, /* STOP PLAY/SCAN */
	{ 0x51, MEDIUM, atapi_disc_information },
	{ 0x52, MEDIUM, atapi_track_information },
	{ 0x55, 0, atapi_mode_select },
	{ 0x5a, 0, atapi_mode_sense },
	{ 0xa5, MEDIUM, play },
	{ 0xa8, MEDIUM, read_12 },
	{ 0xb9, MEDIUM, read_cd_msf },
	{ 0xbb, 0, good }, /* SET CD SPEED */
	{ 0xbd, 0, atapi_mechanism_status },
	{ 0xbe, MEDIUM, read_cd_lba },
};

static void run_packet(struct ata_channel *ch, const struct packet_command *c)
{
	struct ata_drive_regs *d = ata_active(ch);

	if (d->attention && !(c->flags & ALWAYS)) {
		u8 asc = d->attention;

		d->attention = 0;
		atapi_failed(ch, SENSE_ATTENTION, asc, 0);
	} else if ((c->flags & MEDIUM) && !atapi_medium(ch, ch->regs->transfer.unit)) {
		/* ASCQ: tray closed, tray open */
		atapi_failed(ch, SENSE_NOT_READY, ASC_NO_MEDIUM, d->open ? 2 : 1);
	} else {
		c->run(ch);
	}
}

void atapi_packet(struct ata_channel *ch)
{
	u8 opcode = ch->regs->transfer.packet[0];

	trace(IDE, "channel %u: drive %u: packet %02x", ch->index, ch->regs->transfer.unit, opcode);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (commands[i].opcode == opcode) {
			run_packet(ch, &commands[i]);
			return;
		}
	}
	atapi_failed(ch, SENSE_ILLEGAL, ASC_INVALID_OPCODE, 0);
}

/* The byte count registers say now how large a DRQ block may be (9.8), later how large one is. Blocks have an even size; FFFFh means FFFEh, and so
 * does 0 here, which no command that moves data may say. */
static void start_packet(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);
	struct ata_transfer_regs *t = &ch->regs->transfer;
	u32 limit = d->reg[ATA_LBA_MID] | (u32)d->reg[ATA_LBA_HIGH] << 8;

	t->block = limit < 2 ? 0xfffe : limit & ~1u;
	t->phase = ATA_PACKET_OUT;
	t->pos = 0;
	t->end = t->have = ATA_PACKET;
	d->status = ST_DRDY | ST_DRQ;
	atapi_reason(ch, REASON_CD, 0);
}

/* 8.7: no interrupt. */
static void device_reset(struct ata_channel *ch)
{
	unsigned unit = ch->regs->transfer.unit;
	u8 device = ch->regs->drive[unit].reg[ATA_DEVICE];

	ata_signature(ch, unit);
	ch->regs->drive[unit].reg[ATA_DEVICE] = device & DEVICE_DEV;
	ch->regs->drive[unit].error = 1;
	ch->regs->drive[unit].sleeping = false;
}

static void set_features(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);
	bool good_mode = d->reg[ATA_FEATURES] == 0x03 && ata_set_mode(d, d->reg[ATA_COUNT]);

	if (good_mode || d->reg[ATA_FEATURES] == 0x66 || d->reg[ATA_FEATURES] == 0xcc) {
		if (!good_mode)
			d->keep = d->reg[ATA_FEATURES] == 0x66;
		ata_complete(ch);
	} else {
		ata_abort(ch, ER_ABRT);
	}
}

static void power(struct ata_channel *ch, u8 command)
{
	struct ata_drive_regs *d = ata_active(ch);

	if (command == CMD_CHECK_POWER)
		d->reg[ATA_COUNT] = d->standby ? 0x00 : 0xff;
	else
		d->standby = command == CMD_STANDBY_IMMEDIATE;
	d->sleeping = command == CMD_SLEEP;
	ata_complete(ch);
}

void atapi_command(struct ata_channel *ch, u8 command)
{
	u8 device = ata_active(ch)->reg[ATA_DEVICE];

	switch (command) {
	case CMD_PACKET: start_packet(ch); break;
	case CMD_IDENTIFY_PACKET:
		ata_identify_cdrom(ch, ch->regs->buf);
		ata_start_buffer(ch, ATA_PIO_IN, ATA_SECTOR, ATA_SECTOR);
		break;
	case CMD_DEVICE_RESET: device_reset(ch); break;
	case CMD_SET_FEATURES: set_features(ch); break;
	case CMD_CHECK_POWER:
	case CMD_IDLE_IMMEDIATE:
	case CMD_STANDBY_IMMEDIATE:
	case CMD_SLEEP: power(ch, command); break;
	case 0x20: /* READ SECTORS */
	case 0xec: /* IDENTIFY DEVICE: the host sees by the signature what it has before it (9.12) */
		ata_signature(ch, ch->regs->transfer.unit);
		ata_active(ch)->reg[ATA_DEVICE] = device;
		ata_abort(ch, ER_ABRT);
		break;
	default: ata_abort(ch, ER_ABRT); break;
	}
}
