/* CD-ROM drive: commands that report what the drive and the medium are (MMC-5, chapter 6; SPC-2; SFF-8020i for mode page 2Ah). */
#include "dev/ata_internal.h"

#include "base/bits.h"

#include <stdio.h>

#define PROFILE_CD  0x0008  /* CD-ROM */
#define PROFILE_DVD 0x0010  /* DVD-ROM */
#define CD_BLOCKS   450000u /* a CD holds less than 100 minutes */

#define LEAD_OUT 0xaa
#define CONTROL  0x14 /* ADR 1: position; a data track */

static void put16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void put32(u8 *p, u32 v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static void invalid_field(struct ata_channel *ch)
{
	atapi_failed(ch, SENSE_ILLEGAL, ASC_INVALID_FIELD, 0);
}

static u32 blocks(const struct ata_channel *ch)
{
	return atapi_blocks(ch, ch->regs->transfer.unit);
}

static bool has_medium(const struct ata_channel *ch)
{
	return atapi_medium(ch, ch->regs->transfer.unit);
}

/* The buffer, clear. */
static u8 *reply(struct ata_channel *ch)
{
	memset(ch->regs->buf, 0, 512);
	return ch->regs->buf;
}

/* An address as the command wants it: a block, or minute, second and frame. */
static void put_address(u8 *p, u32 lba, bool msf)
{
	u32 frames = lba + 150;

	if (!msf) {
		put32(p, lba);
		return;
	}
	p[0] = 0;
	p[1] = (u8)MIN(frames / (60 * 75), 255);
	p[2] = (u8)(frames / 75 % 60);
	p[3] = (u8)(frames % 75);
}

/* --- The drive ------------------------------------------------------------------------------- */

/* SPC-2, 7.3 */
void atapi_inquiry(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	char text[29];
	u8 *data;

	if ((p[1] & 3) || p[2]) { /* vital product data */
		invalid_field(ch);
		return;
	}
	data = reply(ch);
	data[0] = 0x05; /* CD-ROM */
	data[1] = 0x80; /* removable */
	data[3] = 0x21; /* ATAPI (SFF-8020i), response format 1 */
	data[4] = 36 - 5;
	snprintf(text, sizeof(text), "%-8s%-16s%-4s", "POGO", "CD-ROM", "1.0");
	memcpy(data + 8, text, 28);
	atapi_reply(ch, 36, be_load(p + 3, 2));
}

/* SFF-8020i 10.8.3.5, MMC-5 Annex D: page 2Ah */
static u32 page_capabilities(struct ata_channel *ch, u8 *page)
{
	page[1] = 20;
	page[2] = 0x38; /* reads DVD-ROM, DVD-R, DVD-RAM */
	page[4] = 0x70; /* multi-session, mode 2 forms 1 and 2 */
	page[6] = (u8)(0x29 | (ata_active(ch)->locked ? 2 : 0)); /* tray; ejects, locks */
	put16(page + 8, 706 * 24);                               /* KB/s: 24x CD of 176.4 */
	put16(page + 12, 512);                                   /* KiB of buffer */
	put16(page + 14, 706 * 24);
	return 22;
}

/* One mode page into p; 0 if there is none of this number. */
static u32 mode_page(struct ata_channel *ch, u8 number, bool changeable, u8 *p)
{
	static const u8 sizes[][2] = {
		{ 0x01, 12 }, { 0x0d, 8 }, { 0x0e, 16 }, { 0x1a, 12 }, { 0x2a, 22 }
	};
	u32 size = 0;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		if (sizes[i][0] == number)
			size = sizes[i][1];
	}
	if (!size)
		return 0;
	p[0] = number;
	p[1] = (u8)(size - 2);
	if (changeable) /* nothing is */
		return size;
	switch (number) {
	case 0x01: p[3] = 5; break; /* read retries */
	case 0x0d:
		p[3] = 0x0d; /* inactivity: 32 min */
		put16(p + 4, 60);
		put16(p + 6, 75);
		break;
	case 0x0e:
		p[2] = 0x04; /* commands return at once */
		put16(p + 6, 75);
		p[8] = 1;
		p[9] = p[11] = 0xff;
		p[10] = 2;
		break;
	case 0x2a: return page_capabilities(ch, p);
	}
	return size;
}

static u32 mode_pages(struct ata_channel *ch, u8 number, bool changeable, u8 *p)
{
	static const u8 all[] = { 0x01, 0x0d, 0x0e, 0x1a, 0x2a };
	u32 size = 0;

	if (number != 0x3f)
		return mode_page(ch, number, changeable, p);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		size += mode_page(ch, all[i], changeable, p + size);
	return size;
}

/* SPC-2, 7.8 and 7.9: both forms, the six-byte one for old drivers. There are no block descriptors. */
void atapi_mode_sense(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	bool ten = p[0] == 0x5a;
	u32 head = ten ? 8 : 4, size;
	u8 *data;

	if (p[2] >> 6 == 3) {
		atapi_failed(ch, SENSE_ILLEGAL, ASC_SAVING, 0);
		return;
	}
	data = reply(ch);
	size = mode_pages(ch, p[2] & 0x3f, p[2] >> 6 == 1, data + head);
	if (!size) {
		invalid_field(ch);
		return;
	}
	size += head;
	/* Medium type of SFF-8020i: data CD of 120 mm, no disc, tray open */
	data[ten ? 2 : 1] = has_medium(ch) ? 0x01 : ata_active(ch)->open ? 0x71 : 0x70;
	if (ten)
		put16(data, size - 2);
	else
		data[0] = (u8)(size - 1);
	atapi_reply(ch, size, ten ? be_load(p + 7, 2) : p[4]);
}

void atapi_mode_select(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;

	if (p[1] & 1) /* save pages */
		invalid_field(ch);
	else
		atapi_take(ch, p[0] == 0x55 ? be_load(p + 7, 2) : p[4]);
}

/* The pages have nothing that could be changed: those that the drive has are taken as they are. */
void atapi_mode_selected(struct ata_channel *ch)
{
	const struct ata_transfer_regs *t = &ch->regs->transfer;
	const u8 *data = ch->regs->buf;
	bool ten = t->packet[0] == 0x55;
	u32 at = ten ? 8 : 4, size = t->have;

	if (size >= at)
		at += ten ? be_load(data + 6, 2) : data[3]; /* block descriptors */
	while (at < size) {
		u8 page[22];
		u32 have = mode_page(ch, data[at] & 0x3f, true, page);

		if (!have || at + 2 > size || data[at + 1] != have - 2 || at + have > size) {
			atapi_failed(ch, SENSE_ILLEGAL, ASC_PARAMETER, 0);
			return;
		}
		at += have;
	}
	atapi_complete(ch);
}

/* MMC-5, 6.12 */
void atapi_mechanism_status(struct ata_channel *ch)
{
	u8 *data = reply(ch);

	data[1] = ata_active(ch)->open ? BIT(4) : 0;
	atapi_reply(ch, 8, be_load(ch->regs->transfer.packet + 8, 2));
}

/* MMC-5, 6.7: media events, by polling */
void atapi_event_status(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	struct ata_drive_regs *d = ata_active(ch);
	u8 *data;

	if (!(p[1] & 1)) { /* asynchronous */
		invalid_field(ch);
		return;
	}
	data = reply(ch);
	data[3] = BIT(4); /* supported: media */
	if (!(p[4] & BIT(4))) {
		put16(data, 2);
		data[2] = 0x80; /* none of the classes that were asked for */
		atapi_reply(ch, 4, be_load(p + 7, 2));
		return;
	}
	put16(data, 6);
	data[2] = 4;
	data[4] = d->event;
	data[5] = (u8)((d->open ? 1 : 0) | (has_medium(ch) ? 2 : 0));
	if (be_load(p + 7, 2) > 4)
		d->event = 0;
	atapi_reply(ch, 8, be_load(p + 7, 2));
}

struct feature {
	u16 code;
	u8 version; /* and persistent, current */
	u8 size;
	u8 data[8];
};

#define PERSISTENT BIT(1)

/* Features (MMC-5, 5.3) after the profile list. Current ones are marked when they are reported. */
static const struct feature features[] = {
	{ 0x0001, 2 << 2 | PERSISTENT | 1, 8, { 0, 0, 0, 2, 1 } }, /* core: ATAPI; DBE */
	{ 0x0003, 2 << 2 | PERSISTENT | 1, 4, { 0x29 } }, /* removable medium: tray, ejects, locks */
	{ 0x0010, 0, 8, { 0, 0, 8, 0, 0, 1 } },        /* random readable: 2048 bytes, one block */
	{ 0x001e, 2 << 2, 4, { 0 } },                  /* CD read */
	{ 0x001f, 0, 4, { 0 } },                       /* DVD read */
	{ 0x0100, PERSISTENT | 1, 0, { 0 } },          /* power management */
	{ 0x0105, 1 << 2 | PERSISTENT | 1, 4, { 0 } }, /* time-out */
};

static u16 profile(const struct ata_channel *ch)
{
	if (!has_medium(ch))
		return 0;
	return blocks(ch) > CD_BLOCKS ? PROFILE_DVD : PROFILE_CD;
}

static bool is_current(const struct ata_channel *ch, u16 code)
{
	switch (code) {
	case 0x0010: return has_medium(ch);
	case 0x001e: return profile(ch) == PROFILE_CD;
	case 0x001f: return profile(ch) == PROFILE_DVD;
	default: return false;
	}
}

static u32 profile_list(const struct ata_channel *ch, u8 *data)
{
	static const u16 profiles[] = { PROFILE_DVD, PROFILE_CD };

	data[2] = PERSISTENT | 1;
	data[3] = 4 * ARRAY_LEN(profiles);
	for (size_t i = 0; i < ARRAY_LEN(profiles); i++) {
		put16(data + 4 + 4 * i, profiles[i]);
		data[6 + 4 * i] = profile(ch) == profiles[i];
	}
	return 4 + 4 * ARRAY_LEN(profiles);
}

/* MMC-5, 6.6: RT 0: all features from a number on; 1: those that are current; 2: one. */
void atapi_configuration(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	unsigned kind = p[1] & 3;
	u32 first = be_load(p + 2, 2), size = 8;
	u8 *data;

	if (kind == 3) {
		invalid_field(ch);
		return;
	}
	data = reply(ch);
	put16(data + 6, profile(ch));
	if (first == 0)
		size += profile_list(ch, data + size);
	for (size_t i = 0; i < ARRAY_LEN(features); i++) {
		const struct feature *f = &features[i];
		u8 flags = f->version | is_current(ch, f->code);

		if (f->code < first || (kind == 1 && !(flags & 1)) ||
		    (kind == 2 && f->code != first))
			continue;
		put16(data + size, f->code);
		data[size + 2] = flags;
		data[size + 3] = f->size;
		memcpy(data + size + 4, f->data, f->size);
		size += 4 + f->size;
	}
	put32(data, size - 4);
	atapi_reply(ch, size, be_load(p + 7, 2));
}

/* --- The medium: one session with one data track --------------------------------------------- */

void atapi_capacity(struct ata_channel *ch)
{
	u8 *data = reply(ch);
	u32 n = blocks(ch);

	put32(data, n ? n - 1 : 0);
	put32(data + 4, CD_SECTOR);
	atapi_reply(ch, 8, 8);
}

static void put_track(u8 *p, u8 number, u32 lba, bool msf)
{
	p[1] = CONTROL;
	p[2] = number;
	put_address(p + 4, lba, msf);
}

/* Format 0: the tracks from the wanted one on, and the lead-out. */
static u32 toc_tracks(struct ata_channel *ch, u8 first, bool msf, u8 *data)
{
	u32 size = 4;

	if (first > 1 && first != LEAD_OUT)
		return 0;
	data[2] = data[3] = 1;
	if (first <= 1) {
		put_track(data + size, 1, 0, msf);
		size += 8;
	}
	put_track(data + size, LEAD_OUT, blocks(ch), msf);
	return size + 8;
}

/* Format 2: what the lead-in's Q channel says, always in minutes, seconds and frames. */
static u32 toc_raw(struct ata_channel *ch, u8 *data)
{
	static const u8 points[] = { 0xa0, 0xa1, 0xa2, 1 };
	u32 size = 4;

	data[2] = data[3] = 1;
	for (size_t i = 0; i < ARRAY_LEN(points); i++, size += 11) {
		u8 *p = data + size;

		p[0] = 1;
		p[1] = CONTROL;
		p[3] = points[i];
		if (i < 2)
			p[8] = 1; /* first track, type of disc; last track */
		else
			put_address(p + 7, points[i] == 1 ? 0 : blocks(ch), true);
	}
	return size;
}

/* MMC-5, 6.26. The format stands in byte 2; old drivers put it in the control byte. */
void atapi_read_toc(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	unsigned format = p[2] & 0x0f ? p[2] & 0x0f : p[9] >> 6;
	bool msf = p[1] & 2;
	u8 *data = reply(ch);
	u32 size = 0;

	if (format == 0) {
		size = toc_tracks(ch, p[6], msf, data);
	} else if (format == 1) { /* sessions */
		data[2] = data[3] = 1;
		put_track(data + 4, 1, 0, msf);
		size = 12;
	} else if (format == 2) {
		size = toc_raw(ch, data);
	}
	if (!size) {
		invalid_field(ch);
		return;
	}
	put16(data, size - 2);
	atapi_reply(ch, size, be_load(p + 7, 2));
}

/* MMC-5, 6.33: audio status 15h, "none to return"; format 1 has the position, the head never moves. */
void atapi_subchannel(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	bool data_wanted = p[2] & 0x40;
	u8 *data = reply(ch);
	u32 size = 4;

	data[1] = 0x15;
	if (data_wanted) {
		if (p[3] < 1 || p[3] > 3) {
			invalid_field(ch);
			return;
		}
		data[4] = p[3];
		if (p[3] == 1) {
			data[5] = CONTROL;
			data[6] = data[7] = 1;
			put_address(data + 8, 0, p[1] & 2);
			put_address(data + 12, 0, p[1] & 2);
			size = 16;
		} else { /* no catalogue number, no ISRC */
			size = 24;
		}
		put16(data + 2, size - 4);
	}
	atapi_reply(ch, size, be_load(p + 7, 2));
}

/* MMC-5, 6.22 */
void atapi_disc_information(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	u8 *data;

	if (p[1] & 7) {
		invalid_field(ch);
		return;
	}
	data = reply(ch);
	put16(data, 34 - 2);
	data[2] = 0x0e; /* complete disc, complete session */
	data[3] = data[4] = data[5] = data[6] = 1;
	data[7] = 0x20; /* unrestricted use */
	put32(data + 16, 0xffffffff);
	put32(data + 20, 0xffffffff);
	atapi_reply(ch, 34, be_load(p + 7, 2));
}

/* MMC-5, 6.27: by block, by track or by session */
void atapi_track_information(struct ata_channel *ch)
{
	const u8 *p = ch->regs->transfer.packet;
	unsigned kind = p[1] & 3;
	u32 number = be_load(p + 2, 4);
	u8 *data;

	if (kind == 3 || (kind == 0 ? number >= blocks(ch) : number != 1)) {
		invalid_field(ch);
		return;
	}
	data = reply(ch);
	put16(data, 36 - 2);
	data[2] = data[3] = 1;
	data[5] = 0x04; /* a data track */
	data[6] = 0x01; /* mode 1 */
	put32(data + 24, blocks(ch));
	atapi_reply(ch, 36, be_load(p + 7, 2));
}
