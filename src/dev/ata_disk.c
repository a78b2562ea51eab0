/* Commands of a hard disk (ATA/ATAPI-6, chapter 8; DATA SET MANAGEMENT of ATA8-ACS). */
#include "dev/ata_internal.h"

#include "base/trace.h"

enum command {
	CMD_NOP = 0x00,
	CMD_DATA_SET_MANAGEMENT = 0x06,
	CMD_RECALIBRATE = 0x10, /* and the fifteen after it; so SEEK */
	CMD_READ_NATIVE_MAX_EXT = 0x27,
	CMD_SEEK = 0x70,
	CMD_INITIALIZE_PARAMETERS = 0x91,
	CMD_STANDBY_IMMEDIATE = 0xe0,
	CMD_IDLE_IMMEDIATE = 0xe1,
	CMD_STANDBY = 0xe2,
	CMD_IDLE = 0xe3,
	CMD_CHECK_POWER = 0xe5,
	CMD_SLEEP = 0xe6,
	CMD_FLUSH = 0xe7,
	CMD_FLUSH_EXT = 0xea,
	CMD_SET_MULTIPLE = 0xc6,
	CMD_IDENTIFY = 0xec,
	CMD_IDENTIFY_PACKET = 0xa1,
	CMD_SET_FEATURES = 0xef,
	CMD_READ_NATIVE_MAX = 0xf8,
};

#define DSM_TRIM      BIT(0)
#define TRIM_SECTORS  1u /* what IDENTIFY DEVICE says in word 105 */
#define RANGE_SIZE    8u /* LBA 47:0, number of sectors 63:48 */
#define POWER_ACTIVE  0xff
#define POWER_STANDBY 0x00

enum { EXT = 1, MULTI = 2, FUA = 4 };

/* Commands that move sectors, or only read them. */
static const struct io_command {
	u8 opcode, phase, flags;
} io_commands[] = {
	{ 0x20, ATA_READ, 0 },
	{ 0x21, ATA_READ, 0 },
	{ 0x24, ATA_READ, EXT },
	{ 0x25, ATA_DMA_READ, EXT },
	{ 0x29, ATA_READ, EXT | MULTI },
	{ 0x30, ATA_PIO_OUT, 0 },
	{ 0x31, ATA_PIO_OUT, 0 },
	{ 0x34, ATA_PIO_OUT, EXT },
	{ 0x35, ATA_DMA_WRITE, EXT },
	{ 0x39, ATA_PIO_OUT, EXT | MULTI },
	{ 0x3d, ATA_DMA_WRITE, EXT | FUA },
	{ 0x40, ATA_VERIFY, 0 },
	{ 0x41, ATA_VERIFY, 0 },
	{ 0x42, ATA_VERIFY, EXT },
	{ 0xc4, ATA_READ, MULTI },
	{ 0xc5, ATA_PIO_OUT, MULTI },
	{ 0xc8, ATA_DMA_READ, 0 },
	{ 0xc9, ATA_DMA_READ, 0 },
	{ 0xca, ATA_DMA_WRITE, 0 },
	{ 0xcb, ATA_DMA_WRITE, 0 },
	{ 0xce, ATA_PIO_OUT, EXT | MULTI | FUA },
};

/* --- Addresses ------------------------------------------------------------------------------- */

static u32 byte3(const u8 *reg)
{
	return reg[ATA_LBA_LOW] | (u32)reg[ATA_LBA_MID] << 8 | (u32)reg[ATA_LBA_HIGH] << 16;
}

/* The sector that the registers name; false if the translation has none. */
static bool get_address(const struct ata_drive_regs *d, bool ext, u64 *sector)
{
	u32 head = d->reg[ATA_DEVICE] & DEVICE_HEAD, number = d->reg[ATA_LBA_LOW];

	if (ext) {
		*sector = byte3(d->reg) | (u64)byte3(d->hob) << 24;
		return true;
	}
	if (d->reg[ATA_DEVICE] & DEVICE_LBA) {
		*sector = byte3(d->reg) | (u64)head << 24;
		return true;
	}
	if (head >= d->heads || number == 0 || number > d->sectors)
		return false;
	*sector = ((u64)(byte3(d->reg) >> 8) * d->heads + head) * d->sectors + number - 1;
	return true;
}

static void put_byte3(u8 *reg, u64 value)
{
	reg[ATA_LBA_LOW] = (u8)value;
	reg[ATA_LBA_MID] = (u8)(value >> 8);
	reg[ATA_LBA_HIGH] = (u8)(value >> 16);
}

static void put_head(struct ata_drive_regs *d, u64 head)
{
	d->reg[ATA_DEVICE] = (u8)((d->reg[ATA_DEVICE] & ~DEVICE_HEAD) | (head & DEVICE_HEAD));
}

static void put_address(struct ata_drive_regs *d, bool ext, u64 sector)
{
	if (ext) {
		put_byte3(d->reg, sector);
		put_byte3(d->hob, sector >> 24);
	} else if (d->reg[ATA_DEVICE] & DEVICE_LBA) {
		put_byte3(d->reg, sector);
		put_head(d, sector >> 24);
	} else {
		u64 track = sector / d->sectors;

		put_byte3(d->reg, (track / d->heads) << 8 | (sector % d->sectors + 1));
		put_head(d, track % d->heads);
	}
}

static u32 get_count(const struct ata_drive_regs *d, bool ext)
{
	u32 count = d->reg[ATA_COUNT];

	if (!ext)
		return count ? count : 256;
	count |= (u32)d->hob[ATA_COUNT] << 8;
	return count ? count : 65536;
}

/* --- Sectors --------------------------------------------------------------------------------- */

/* The range that the registers name, or an error. */
static bool get_range(struct ata_channel *ch, bool ext, u64 *sector, u64 *count)
{
	u64 sectors = ata_sectors(ata_active_drive(ch));

	*count = get_count(ata_active(ch), ext);
	if (get_address(ata_active(ch), ext, sector) && *sector < sectors &&
	    *count <= sectors - *sector)
		return true;
	ata_abort(ch, ER_IDNF);
	return false;
}

static void start_io(struct ata_channel *ch, const struct io_command *c)
{
	struct ata_drive_regs *d = ata_active(ch);
	struct ata_transfer_regs *t = &ch->regs->transfer;
	bool write = c->phase == ATA_PIO_OUT || c->phase == ATA_DMA_WRITE;
	u32 block = c->flags & MULTI ? d->multiple : 1;
	u64 sector, count;

	if (block == 0 || (write && ata_active_drive(ch)->block->readonly)) {
		ata_abort(ch, ER_ABRT);
		return;
	}
	if (!get_range(ch, c->flags & EXT, &sector, &count))
		return;
	d->standby = false;
	t->ext = c->flags & EXT;
	t->sync = write && (!d->write_cache || (c->flags & FUA));
	ata_start(ch, (enum ata_phase)c->phase, sector * ATA_SECTOR, count * ATA_SECTOR,
		  block * ATA_SECTOR);
}

/* The registers name the last sector (of ATA-3; later standards leave them open). */
void ata_disk_done(struct ata_channel *ch)
{
	const struct ata_transfer_regs *t = &ch->regs->transfer;
	struct ata_drive_regs *d = ata_active(ch);

	if (t->offset == 0)
		return;
	d->reg[ATA_COUNT] = 0;
	put_address(d, t->ext, t->offset / ATA_SECTOR - 1);
}

void ata_disk_failed(struct ata_channel *ch)
{
	const struct ata_transfer_regs *t = &ch->regs->transfer;
	bool read = t->phase == ATA_READ || t->phase == ATA_DMA_READ || t->phase == ATA_VERIFY;

	if (t->phase != ATA_FLUSH && t->phase != ATA_TRIM) {
		ata_active(ch)->reg[ATA_COUNT] = (u8)(t->left / ATA_SECTOR);
		put_address(ata_active(ch), t->ext, t->offset / ATA_SECTOR);
	}
	ata_abort(ch, read ? ER_UNC : ER_ABRT);
}

/* --- DATA SET MANAGEMENT --------------------------------------------------------------------- */

static void start_trim(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);

	if (d->reg[ATA_FEATURES] != DSM_TRIM || ata_active_drive(ch)->block->readonly ||
	    get_count(d, true) > TRIM_SECTORS) {
		ata_abort(ch, ER_ABRT);
		return;
	}
	ata_start_buffer(ch, ATA_DMA_OUT, TRIM_SECTORS * ATA_SECTOR, ATA_SECTOR);
}

static bool get_trim(const struct ata_channel *ch, u32 pos, u64 *sector, u64 *count)
{
	u64 entry = le_load(ch->regs->buf + pos, RANGE_SIZE);

	*sector = bits_get(entry, 47, 0);
	*count = bits_get(entry, 63, 48);
	return *count != 0; /* an entry without sectors is ignored */
}

/* Every range is looked at before the first one is discarded. */
void ata_disk_data(struct ata_channel *ch)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;
	u64 sectors = ata_sectors(ata_active_drive(ch)), sector, count;

	for (u32 pos = 0; pos < t->have; pos += RANGE_SIZE) {
		if (!get_trim(ch, pos, &sector, &count))
			continue;
		if (sector >= sectors || count > sectors - sector) {
			ata_abort(ch, ER_IDNF | ER_ABRT);
			return;
		}
	}
	t->pos = 0;
	t->phase = ATA_TRIM;
}

bool ata_disk_next_range(struct ata_channel *ch, u64 *offset, u64 *size)
{
	struct ata_transfer_regs *t = &ch->regs->transfer;
	u64 sector, count;

	while (t->have - t->pos >= RANGE_SIZE) {
		bool any = get_trim(ch, t->pos, &sector, &count);

		t->pos += RANGE_SIZE;
		if (!any)
			continue;
		*offset = sector * ATA_SECTOR;
		*size = count * ATA_SECTOR;
		return true;
	}
	return false;
}

/* --- Settings -------------------------------------------------------------------------------- */

bool ata_set_mode(struct ata_drive_regs *d, u8 mode)
{
	unsigned n = mode & 7;

	if (mode <= 1) /* default PIO mode, with or without IORDY */
		mode = MODE_PIO;
	else if (!((mode & 0xf8) == MODE_PIO && n <= 4) &&
		 !((mode & 0xf8) == MODE_MWDMA && n <= 2) &&
		 !((mode & 0xf8) == MODE_UDMA && n <= 2))
		return false;
	d->mode = mode;
	return true;
}

/* 8.46 */
static void set_features(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);

	switch (d->reg[ATA_FEATURES]) {
	case 0x02: d->write_cache = true; break;
	case 0x82:
		if (d->write_cache) {
			d->write_cache = false;
			ata_start(ch, ATA_FLUSH, 0, 0, 0);
			return;
		}
		break;
	case 0x03:
		if (!ata_set_mode(d, d->reg[ATA_COUNT])) {
			ata_abort(ch, ER_ABRT);
			return;
		}
		break;
	case 0x55: d->look_ahead = false; break;
	case 0xaa: d->look_ahead = true; break;
	case 0x66: d->keep = true; break;
	case 0xcc: d->keep = false; break;
	default: ata_abort(ch, ER_ABRT); return;
	}
	ata_complete(ch);
}

static void set_multiple(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);
	u8 count = d->reg[ATA_COUNT];

	if (count > ATA_MULTIPLE_MAX || (count & (count - 1))) {
		ata_abort(ch, ER_ABRT);
		return;
	}
	d->multiple = count;
	ata_complete(ch);
}

/* 8.16 of ATA-5, which later standards dropped. */
static void initialize_parameters(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);
	u8 heads = (d->reg[ATA_DEVICE] & DEVICE_HEAD) + 1, sectors = d->reg[ATA_COUNT];

	if (sectors == 0 || !ata_cylinders(ata_sectors(ata_active_drive(ch)), heads, sectors)) {
		ata_abort(ch, ER_ABRT);
		return;
	}
	d->heads = heads;
	d->sectors = sectors;
	ata_complete(ch);
}

static void native_max(struct ata_channel *ch, bool ext)
{
	u64 last = ata_sectors(ata_active_drive(ch)) - 1;
	struct ata_drive_regs *d = ata_active(ch);

	if (!ext) {
		d->reg[ATA_DEVICE] |= DEVICE_LBA;
		last = MIN(last, LBA28_MAX - 1);
	}
	put_address(d, ext, last);
	ata_complete(ch);
}

static void seek(struct ata_channel *ch)
{
	u64 sector;

	if (get_address(ata_active(ch), false, &sector) &&
	    sector < ata_sectors(ata_active_drive(ch)))
		ata_complete(ch);
	else
		ata_abort(ch, ER_IDNF);
}

static void power(struct ata_channel *ch, bool standby)
{
	ata_active(ch)->standby = standby;
	ata_complete(ch);
}

static void sleep_now(struct ata_channel *ch)
{
	ata_active(ch)->sleeping = true;
	ata_complete(ch);
}

static void check_power(struct ata_channel *ch)
{
	struct ata_drive_regs *d = ata_active(ch);

	d->reg[ATA_COUNT] = d->standby ? POWER_STANDBY : POWER_ACTIVE;
	ata_complete(ch);
}

static void identify(struct ata_channel *ch)
{
	ata_identify_disk(ch, ch->regs->buf);
	ata_start_buffer(ch, ATA_PIO_IN, ATA_SECTOR, ATA_SECTOR);
}

/* --- Dispatch -------------------------------------------------------------------------------- */

/* Commands without data but for IDENTIFY DEVICE; false if there is no such command. */
static bool simple_command(struct ata_channel *ch, u8 command)
{
	switch (command) {
	case CMD_RECALIBRATE ... CMD_RECALIBRATE + 15: power(ch, false); return true;
	case CMD_SEEK ... CMD_SEEK + 15: seek(ch); return true;
	case CMD_INITIALIZE_PARAMETERS: initialize_parameters(ch); return true;
	/* The second opcodes of power management are those of ATA-3. */
	case 0x94:
	case 0x96:
	case CMD_STANDBY:
	case CMD_STANDBY_IMMEDIATE: power(ch, true); return true;
	case 0x95:
	case 0x97:
	case CMD_IDLE:
	case CMD_IDLE_IMMEDIATE: power(ch, false); return true;
	case 0x98:
	case CMD_CHECK_POWER: check_power(ch); return true;
	case 0x99:
	case CMD_SLEEP: sleep_now(ch); return true;
	case CMD_SET_MULTIPLE: set_multiple(ch); return true;
	case CMD_SET_FEATURES: set_features(ch); return true;
	case CMD_READ_NATIVE_MAX: native_max(ch, false); return true;
	case CMD_READ_NATIVE_MAX_EXT: native_max(ch, true); return true;
	case CMD_IDENTIFY: identify(ch); return true;
	default: return false;
	}
}

void ata_disk_command(struct ata_channel *ch, u8 command)
{
	for (size_t i = 0; i < ARRAY_LEN(io_commands); i++) {
		if (io_commands[i].opcode == command) {
			start_io(ch, &io_commands[i]);
			return;
		}
	}
	if (simple_command(ch, command))
		return;
	if (command == CMD_FLUSH || command == CMD_FLUSH_EXT)
		ata_start(ch, ATA_FLUSH, 0, 0, 0);
	else if (command == CMD_DATA_SET_MANAGEMENT)
		start_trim(ch);
	else /* CMD_NOP too (8.25) */
		ata_abort(ch, ER_ABRT);
}
