/* IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA/ATAPI-6, 8.15 and 8.16). */
#include "dev/ata_internal.h"

#include <stdio.h>

#define FIRMWARE      "1.0"
#define CYLINDERS_MAX 16383u

static void put(u8 *data, unsigned word, u32 value)
{
	le_store(data + 2 * word, value & 0xffff, 2);
}

static void put32(u8 *data, unsigned word, u64 value) { le_store(data + 2 * word, value, 4); }

/* A string, padded with spaces; the first character of each word is in its high byte. */
static void put_text(u8 *data, unsigned word, const char *text, unsigned size)
{
	unsigned i = 0;

	for (; i < size && text[i]; i++)
		data[2 * word + (i ^ 1)] = (u8)text[i];
	for (; i < size; i++)
		data[2 * word + (i ^ 1)] = ' ';
}

u32 ata_cylinders(u64 sectors, u32 heads, u32 per_track)
{
	return (u32)MIN(sectors / ((u64)heads * per_track), CYLINDERS_MAX);
}

/* What both kinds say; the last thing, for the checksum. */
static void identify_common(struct ata_channel *ch, u8 *data, const char *model)
{
	const struct ata_drive *drive = ata_active_drive(ch);
	const struct ata_drive_regs *d = ata_active(ch);
	char serial[ATA_SERIAL + 1];
	u8 sum = 0;

	snprintf(serial, sizeof(serial), "POGO-IDE%u%u", ch->index % 10, ch->regs->transfer.unit);
	put_text(data, 10, drive->serial[0] ? drive->serial : serial, ATA_SERIAL);
	put_text(data, 23, FIRMWARE, 8);
	put_text(data, 27, drive->model[0] ? drive->model : model, ATA_MODEL);
	put(data, 49, BIT(8) | BIT(9) | BIT(11));                   /* DMA, LBA, IORDY */
	put(data, 53, (drive->kind == ATA_DISK) | BIT(1) | BIT(2)); /* words 54-58, 64-70, 88 */
	put(data, 63, 0x07 | ((d->mode & 0xf8) == MODE_MWDMA ? BIT(8 + (d->mode & 7)) : 0));
	put(data, 64, 0x03); /* PIO modes 3 and 4 */
	for (unsigned word = 65; word <= 68; word++)
		put(data, word, 120); /* ns a cycle */
	put(data, 88, 0x07 | ((d->mode & 0xf8) == MODE_UDMA ? BIT(8 + (d->mode & 7)) : 0));
	data[510] = 0xa5;
	for (unsigned i = 0; i < 511; i++)
		sum += data[i];
	data[511] = (u8)-sum;
}

static void identify_geometry(const struct ata_drive_regs *d, u64 sectors, u8 *data)
{
	u32 cylinders = ata_cylinders(sectors, d->heads, d->sectors);

	put(data, 1, MAX(1, ata_cylinders(sectors, ATA_HEADS, ATA_SPT)));
	put(data, 3, ATA_HEADS);
	put(data, 6, ATA_SPT);
	put(data, 54, cylinders);
	put(data, 55, d->heads);
	put(data, 56, d->sectors);
	put32(data, 57, (u64)cylinders * d->heads * d->sectors);
	put32(data, 60, MIN(sectors, LBA28_MAX - 1));
	le_store(data + 200, sectors, 8);
}

void ata_identify_disk(struct ata_channel *ch, u8 *data)
{
	const struct ata_drive_regs *d = ata_active(ch);
	const struct block *block = ata_active_drive(ch)->block;
	unsigned exponent = 0;

	memset(data, 0, ATA_SECTOR);
	put(data, 0, BIT(6)); /* fixed */
	identify_geometry(d, ata_sectors(ata_active_drive(ch)), data);
	put(data, 47, 0x8000 | ATA_MULTIPLE_MAX);
	put(data, 50, BIT(14));
	put(data, 59, d->multiple ? BIT(8) | d->multiple : 0);
	/* ATA-1 to ATA/ATAPI-7, which is the first with word 106; Linux does not look for TRIM in older drives. */
	put(data, 80, 0xfe);
	put(data, 82, BIT(3) | BIT(5) | BIT(6) | BIT(14)); /* power, write cache, look-ahead, NOP */
	put(data, 83, BIT(14) | BIT(13) | BIT(12) | BIT(10)); /* FLUSH (EXT), 48-bit addresses */
	put(data, 84, BIT(14) | BIT(6));                      /* FUA */
	put(data, 85,
	    BIT(3) | BIT(14) | (d->write_cache ? BIT(5) : 0) | (d->look_ahead ? BIT(6) : 0));
	put(data, 86, BIT(13) | BIT(12) | BIT(10));
	put(data, 87, BIT(14) | BIT(6));
	put(data, 93, BIT(14) | BIT(13) | BIT(0) | (ch->regs->transfer.unit ? BIT(8) : BIT(3)));
	if (!block->readonly) {
		put(data, 105, 1);
		put(data, 169, BIT(0)); /* TRIM */
	}
	while (exponent < 15 && (ATA_SECTOR << exponent) < block->physical_size)
		exponent++;
	put(data, 106, BIT(14) | (exponent ? BIT(13) | exponent : 0));
	identify_common(ch, data, "POGO HARD DISK");
}

void ata_identify_cdrom(struct ata_channel *ch, u8 *data)
{
	memset(data, 0, ATA_SECTOR);
	/* ATAPI, CD-ROM, removable, DRQ within 50 us of PACKET, packets of 12 bytes. */
	put(data, 0, 0x8000 | 5 << 8 | BIT(7) | 2 << 5);
	put(data, 80, 0x7e);
	put(data, 82, BIT(4) | BIT(9) | BIT(14)); /* PACKET, DEVICE RESET, NOP */
	put(data, 83, BIT(14));
	put(data, 84, BIT(14));
	put(data, 85, BIT(4) | BIT(9) | BIT(14));
	put(data, 87, BIT(14));
	put(data, 93, BIT(14) | BIT(13) | BIT(0) | (ch->regs->transfer.unit ? BIT(8) : BIT(3)));
	identify_common(ch, data, "POGO CD-ROM");
}
