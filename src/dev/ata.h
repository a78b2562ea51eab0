/* An ATA channel with up to two drives: hard disks and CD-ROM drives (ATA/ATAPI-6, T13 1410D). The host adapter gives it the accesses to its
 * registers and a way to memory for DMA; it gives back an interrupt line. All functions: the caller holds the device lock. */
#ifndef DEV_ATA_H
#define DEV_ATA_H

#include "base/bits.h"
#include "block/block.h"
#include "core/irq.h"
#include "core/state.h"

#define ATA_UNITS        2
#define ATA_SECTOR       512u
#define ATA_BUFFER       8192u       /* moved by PIO between two accesses to the medium */
#define ATA_BOUNCE       (256 * KIB) /* moved by DMA at once */
#define ATA_MULTIPLE_MAX 16u         /* sectors a DRQ block; they fit in the buffer */
#define ATA_PACKET       12u         /* bytes of a command packet */
#define ATA_SERIAL       20
#define ATA_MODEL        40

/* Command block registers. */
enum ata_reg {
	ATA_DATA,
	ATA_FEATURES, /* reads: error */
	ATA_COUNT,    /* packet commands: interrupt reason */
	ATA_LBA_LOW,
	ATA_LBA_MID, /* packet commands: byte count */
	ATA_LBA_HIGH,
	ATA_DEVICE,
	ATA_COMMAND, /* reads: status */
	ATA_REGS,
};

enum ata_kind { ATA_NONE, ATA_DISK, ATA_CDROM };

/* What a transfer waits for. */
enum ata_phase {
	ATA_IDLE,
	ATA_PACKET_OUT, /* the host writes a command packet */
	ATA_PIO_IN,     /* DRQ: the host reads the buffer */
	ATA_PIO_OUT,    /* DRQ: the host writes the buffer */
	ATA_READ,       /* the medium fills the buffer */
	ATA_WRITE,      /* the buffer goes to the medium */
	ATA_DMA_READ,   /* medium to memory */
	ATA_DMA_WRITE,  /* memory to medium */
	ATA_DMA_IN,     /* buffer to memory */
	ATA_DMA_OUT,    /* memory to buffer */
	ATA_VERIFY,     /* the medium is read for its own sake */
	ATA_TRIM,       /* ranges in the buffer are discarded */
	ATA_FLUSH,
	ATA_STALLED, /* the host adapter's list of memory ended too early: waits for a reset */
};

/* One drive. */
struct ata_drive_regs {
	/* Registers by enum ata_reg; what the host wrote last, and before that (48-bit addresses). */
	u8 reg[ATA_REGS], hob[ATA_REGS];
	u8 status, error;
	bool intrq;
	bool sleeping, standby;
	bool write_cache, look_ahead;
	bool keep; /* features survive a software reset */
	u8 mode;   /* transfer mode as SET FEATURES has it */
	u8 multiple;
	u8 heads, sectors; /* the current translation */
	/* CD-ROM */
	u8 sense_key, asc, ascq;
	u8 attention; /* ASC of a unit attention that waits, 0: none */
	u8 event;     /* media event that waits */
	bool locked, open;
};

/* The command that is under way on a channel. */
struct ata_transfer_regs {
	u8 phase;
	u8 unit;
	u8 packet[ATA_PACKET];
	bool ext;         /* the address has 48 bits */
	bool sync;        /* ends with a flush */
	bool cautious;    /* sector by sector, to find the one that fails */
	u64 offset, left; /* bytes of the medium that the buffer has not seen */
	u32 block;        /* bytes a DRQ block */
	u32 pos, end;     /* of the DRQ block in the buffer */
	u32 have;         /* bytes in the buffer; PIO_OUT and DMA_OUT: bytes that it shall take */
};

struct ata_channel_regs {
	u8 control; /* Device Control */
	u8 select;  /* the drive that DEV names */
	struct ata_drive_regs drive[ATA_UNITS];
	struct ata_transfer_regs transfer;
	u8 buf[ATA_BUFFER];
};

/* What the board puts in. */
struct ata_drive {
	enum ata_kind kind;
	struct block *block; /* stays the board's. A disk has one; CD-ROM: NULL is no medium */
	char serial[ATA_SERIAL + 1]; /* "": made from the drive's place */
	char model[ATA_MODEL + 1];   /* "": a default */
};

/* The host adapter's side of DMA. */
struct ata_dma {
	/* Whether the adapter is set up to move data in this direction now. */
	bool (*ready)(void *opaque, bool to_memory);
	/* Moves size bytes between buf and memory; false if the adapter's list ended, or is bad. */
	bool (*move)(void *opaque, u8 *buf, u32 size, bool to_memory);
	void *opaque;
};

/* A request to the block layer. */
struct ata_io {
	struct block_req req;
	struct block *block; /* that it goes to */
	bool pending;
	u8 *buf; /* ATA_BOUNCE bytes */
};

struct ata_channel {
	struct ata_channel_regs *regs;
	struct ata_drive drive[ATA_UNITS];
	struct irq irq; /* INTRQ */
	struct ata_dma dma;
	unsigned index; /* of the channel, for names */
	/* The host failed to serve a request, which the guest has been told. May be NULL. */
	void (*error)(void *opaque, unsigned unit, int error);
	/* The guest has opened the CD-ROM drive's tray, or closed it. May be NULL. */
	void (*tray)(void *opaque, unsigned unit, bool open);
	void *opaque;
	/* --- The channel's own */
	bool line; /* level of irq */
	/* Two requests, so that the medium is read while the data before it is moved on. */
	struct ata_io io[2];
	unsigned current; /* the one that the transfer waits for */
	bool ahead;       /* the other one is for what follows */
	bool running;     /* a loop on the stack takes care of io */
	bool cancelled;   /* what comes back is dropped */
};

/* Leaves the channel as after power-on. -ENOMEM; -EINVAL for a disk without a block. */
int ata_init(struct ata_channel *ch) must_check;
void ata_fini(struct ata_channel *ch);
/* Hardware reset. What is with the block layer is waited for and dropped. */
void ata_reset(struct ata_channel *ch);
/* The regs have been loaded. */
void ata_loaded(struct ata_channel *ch);

/* Command block registers but for data, one byte. */
u8 ata_reg_read(struct ata_channel *ch, enum ata_reg reg);
void ata_reg_write(struct ata_channel *ch, enum ata_reg reg, u8 value);
/* The data port: 1, 2 or 4 bytes. */
u32 ata_data_read(struct ata_channel *ch, unsigned size);
void ata_data_write(struct ata_channel *ch, u32 value, unsigned size);
/* n accesses of that size to the data port, at most as many as the block under way has left for; how many. */
unsigned ata_data_block(struct ata_channel *ch, u8 *buf, unsigned size, unsigned n, bool write);
/* Alternate status and device control. */
u8 ata_alt_read(const struct ata_channel *ch);
void ata_control_write(struct ata_channel *ch, u8 value);
/* dma.ready may say something else than before. */
void ata_dma_changed(struct ata_channel *ch);

/* Puts a medium (read-only, blocks of 2048 bytes) into a CD-ROM drive, or takes it out (NULL): afterwards the old one is not used any more.
 * The tray is closed. A command that was using the old medium fails. Before init the board sets drive.block instead. */
void atapi_set_medium(struct ata_channel *ch, unsigned unit, struct block *block);

#define ATA_DRIVE_ROWS(type, m)                                                                    \
	STATE_ARRAY(type, m.reg), STATE_ARRAY(type, m.hob), STATE_ROW(type, m.status),             \
		STATE_ROW(type, m.error), STATE_ROW(type, m.intrq), STATE_ROW(type, m.sleeping),   \
		STATE_ROW(type, m.standby), STATE_ROW(type, m.write_cache),                        \
		STATE_ROW(type, m.look_ahead), STATE_ROW(type, m.keep), STATE_ROW(type, m.mode),   \
		STATE_ROW(type, m.multiple), STATE_ROW(type, m.heads), STATE_ROW(type, m.sectors), \
		STATE_ROW(type, m.sense_key), STATE_ROW(type, m.asc), STATE_ROW(type, m.ascq),     \
		STATE_ROW(type, m.attention), STATE_ROW(type, m.event), STATE_ROW(type, m.locked), \
		STATE_ROW(type, m.open)

#define ATA_TRANSFER_ROWS(type, m)                                                            \
	STATE_ROW(type, m.phase), STATE_ROW(type, m.unit), STATE_ARRAY(type, m.packet),       \
		STATE_ROW(type, m.ext), STATE_ROW(type, m.sync), STATE_ROW(type, m.cautious), \
		STATE_ROW(type, m.offset), STATE_ROW(type, m.left), STATE_ROW(type, m.block), \
		STATE_ROW(type, m.pos), STATE_ROW(type, m.end), STATE_ROW(type, m.have)

/* Rows for the state table of an adapter whose regs block `type` holds a struct ata_channel_regs `m`. */
#define ATA_STATE_ROWS(type, m)                                                          \
	STATE_ROW(type, m.control), STATE_ROW(type, m.select), STATE_ARRAY(type, m.buf), \
		ATA_DRIVE_ROWS(type, m.drive[0]), ATA_DRIVE_ROWS(type, m.drive[1]),      \
		ATA_TRANSFER_ROWS(type, m.transfer)

#endif
