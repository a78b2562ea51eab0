/* What the files of an ATA channel share: ata.c (registers), ata_transfer.c (moving data), ata_disk.c and ata_identify.c (hard disks),
 * atapi*.c (CD-ROM drives). */
#ifndef DEV_ATA_INTERNAL_H
#define DEV_ATA_INTERNAL_H

#include "dev/ata.h"

/* Status (ATA-6, 7.15) */
#define ST_ERR  BIT(0)
#define ST_DRQ  BIT(3)
#define ST_DSC  BIT(4) /* seek complete, of older standards: some drivers wait for it */
#define ST_DRDY BIT(6)
#define ST_BSY  BIT(7)

/* Error (7.9) */
#define ER_ABRT BIT(2)
#define ER_IDNF BIT(4)
#define ER_UNC  BIT(6)

#define DEVICE_HEAD 0x0f
#define DEVICE_DEV  BIT(4)
#define DEVICE_LBA  BIT(6)

/* Interrupt reason of packet commands (8.23, with the count register) */
#define REASON_CD BIT(0)
#define REASON_IO BIT(1)

/* Transfer modes of SET FEATURES (8.46, table 44): kind and number */
#define MODE_PIO   0x08
#define MODE_MWDMA 0x20
#define MODE_UDMA  0x40

#define LBA28_MAX BIT(28)
#define CD_SECTOR 2048u

/* The drive whose command is under way. */
static inline struct ata_drive_regs *ata_active(struct ata_channel *ch)
{
	return &ch->regs->drive[ch->regs->transfer.unit];
}

static inline struct ata_drive *ata_active_drive(struct ata_channel *ch)
{
	return &ch->drive[ch->regs->transfer.unit];
}

static inline u64 ata_sectors(const struct ata_drive *d) { return d->block->size / ATA_SECTOR; }

/* --- ata.c */
/* The drive asserts INTRQ, or takes it back. */
void ata_intrq(struct ata_channel *ch, unsigned unit, bool level);
/* The registers as a reset leaves them, with the drive's signature (9.12). */
void ata_signature(struct ata_channel *ch, unsigned unit);
/* The command has ended well: interrupt. */
void ata_complete(struct ata_channel *ch);
/* The command has ended with the error: interrupt. */
void ata_abort(struct ata_channel *ch, u8 error);

/* --- ata_transfer.c */
/* Starts with `left` bytes of the medium at `offset`, in DRQ blocks of `block` bytes. */
void ata_start(struct ata_channel *ch, enum ata_phase phase, u64 offset, u64 left, u32 block);
/* Starts to hand over the first `have` bytes of the buffer, or to take in as many (PIO_OUT, DMA_OUT). */
void ata_start_buffer(struct ata_channel *ch, enum ata_phase phase, u32 have, u32 block);
/* Goes on as far as possible without the host. */
void ata_run(struct ata_channel *ch);
/* Waits for what is with the block layer and drops it; no transfer is under way then. */
void ata_cancel(struct ata_channel *ch);
/* The regs have been loaded: nothing in them leads out of the buffer. */
void ata_transfer_loaded(struct ata_channel *ch);
/* The host has read or written the last byte of a DRQ block. */
void ata_block_done(struct ata_channel *ch);

/* --- ata_disk.c */
void ata_disk_command(struct ata_channel *ch, u8 command);
/* SET FEATURES: the transfer mode; false if there is no such mode. */
bool ata_set_mode(struct ata_drive_regs *d, u8 mode);
/* All that the host had to write has come into the buffer: the ranges of DATA SET MANAGEMENT. */
void ata_disk_data(struct ata_channel *ch);
/* The medium failed at transfer.offset. */
void ata_disk_failed(struct ata_channel *ch);
/* All sectors have been moved. */
void ata_disk_done(struct ata_channel *ch);
/* The next range in the buffer, bytes; false: no more. */
bool ata_disk_next_range(struct ata_channel *ch, u64 *offset, u64 *size);

/* --- ata_identify.c */
/* 512 bytes each, for the drive whose command is under way. */
void ata_identify_disk(struct ata_channel *ch, u8 *data);
void ata_identify_cdrom(struct ata_channel *ch, u8 *data);
/* Default translation: cylinders, with 16 heads of 63 sectors. */
u32 ata_cylinders(u64 sectors, u32 heads, u32 per_track);
#define ATA_HEADS 16
#define ATA_SPT   63

/* --- atapi.c */
void atapi_command(struct ata_channel *ch, u8 command);
/* The packet has come. */
void atapi_packet(struct ata_channel *ch);
/* The parameters of a packet command have come into the buffer. */
void atapi_data(struct ata_channel *ch);

/* A DRQ block of the buffer starts or the command ends: interrupt reason and byte count. */
void atapi_reason(struct ata_channel *ch, u8 reason, u32 bytes);
/* The packet command has ended well, or with a sense: interrupt. */
void atapi_complete(struct ata_channel *ch);
void atapi_failed(struct ata_channel *ch, u8 key, u8 asc, u8 ascq);
/* Hands over at most `limit` of the first `size` bytes of the buffer. */
void atapi_reply(struct ata_channel *ch, u32 size, u32 limit);
/* Has the host write `size` bytes of parameters. */
void atapi_take(struct ata_channel *ch, u32 size);
/* Medium that the guest can reach, or NULL. */
struct block *atapi_medium(const struct ata_channel *ch, unsigned unit);
u32 atapi_blocks(const struct ata_channel *ch, unsigned unit);

/* Sense keys (SPC-2, 7.20.2) and additional sense codes */
#define SENSE_NOT_READY    0x02
#define SENSE_MEDIUM       0x03
#define SENSE_ILLEGAL      0x05
#define SENSE_ATTENTION    0x06
#define ASC_READ_ERROR     0x11 /* unrecovered */
#define ASC_INVALID_OPCODE 0x20
#define ASC_LBA_RANGE      0x21
#define ASC_INVALID_FIELD  0x24
#define ASC_PARAMETER      0x26
#define ASC_MEDIUM_CHANGED 0x28
#define ASC_RESET          0x29
#define ASC_SAVING         0x39
#define ASC_NO_MEDIUM      0x3a
#define ASC_REMOVAL        0x53
#define ASC_TRACK_MODE     0x64

/* Media events (MMC-5, 6.7.2.6) */
#define EVENT_NEW_MEDIA 2
#define EVENT_REMOVAL   3

/* --- atapi_mmc.c: commands that report what the drive and the medium are. The packet is in transfer.packet. */
void atapi_inquiry(struct ata_channel *ch);
void atapi_mode_sense(struct ata_channel *ch);
void atapi_mode_select(struct ata_channel *ch);
void atapi_mode_selected(struct ata_channel *ch);
void atapi_capacity(struct ata_channel *ch);
void atapi_read_toc(struct ata_channel *ch);
void atapi_subchannel(struct ata_channel *ch);
void atapi_disc_information(struct ata_channel *ch);
void atapi_track_information(struct ata_channel *ch);
void atapi_configuration(struct ata_channel *ch);
void atapi_event_status(struct ata_channel *ch);
void atapi_mechanism_status(struct ata_channel *ch);

#endif
