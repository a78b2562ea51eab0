/* 82077AA floppy disk controller (Intel data sheet 290166), wired as on a PC/AT: ports 3F0h..3F5h
 * and 3F7h, IRQ 6, DMA channel 2, two drives. */
#ifndef DEV_FDC82077_H
#define DEV_FDC82077_H

#include "block/block.h"
#include "core/device.h"
#include "dev/floppy.h"
#include "dev/i8237.h"

#define FDC82077_BASE   0x3f0
#define FDC82077_DRIVES 2u
#define FDC82077_UNITS  4u /* that the chip can name */
#define FDC82077_FIFO   16u

struct fdc82077_regs {
	u8 dor, tdr, rate;
	u8 specify[2];            /* SRT and HUT; HLT and ND */
	u8 config;                /* EIS, EFIFO, POLL, FIFOTHR */
	u8 pretrk, lock;          /* LOCK keeps FIFO settings over a reset */
	u8 perpendicular;         /* D3..D0, GAP, WGATE */
	u8 eot;                   /* of the last data command, for DUMPREG */
	u8 pcn[FDC82077_UNITS];   /* track as the chip counts */
	u8 track[FDC82077_UNITS]; /* where the head is */
	u8 changed[FDC82077_UNITS];
	/* Interrupts that wait for SENSE INTERRUPT STATUS. */
	u8 sense[FDC82077_UNITS]; /* ST0 */
	u8 sense_waits;           /* bit per unit */
	u8 polled;                /* they are of a reset: one interrupt for all four */
	u8 irq;
	u64 seek_due_ns[FDC82077_UNITS]; /* CLOCK_NEVER: that unit does not seek */
	u8 seek_st0[FDC82077_UNITS];     /* what it will report */
	u64 reset_due_ns;                /* CLOCK_NEVER: no reset is being left */
	/* The command. Its bytes stay in fifo[] while it runs and follow its progress; then results. */
	u8 phase;
	u8 fifo[FDC82077_FIFO];
	u8 length, at; /* bytes expected or held, bytes written or read */
	/* Execution of a data command. */
	u8 stage;
	u8 late; /* the DMA controller has not answered once */
	u8 tc;   /* terminal count has come */
	u8 st1, st2;
	u8 written; /* sectors that FORMAT TRACK has made */
	u64 due_ns; /* CLOCK_NEVER: it waits for the disk or the host */
	u8 data[FLOPPY_SECTOR];
	u16 data_at, data_size;
};

struct fdc82077_drive {
	/* Set before init. */
	enum floppy_drive type;
	/* fdc82077_insert */
	struct block *block; /* NULL: no disk */
	const struct floppy_geometry *geometry;
};

struct fdc82077 {
	struct device dev;
	struct fdc82077_regs regs;
	/* Set before init. */
	struct irq irq;
	struct i8237 *dma; /* channel 2 */
	struct fdc82077_drive drive[FDC82077_DRIVES];

	struct timer timer;
	struct block_req req;
	u8 sector[FLOPPY_SECTOR]; /* of req */
	bool in_flight;           /* req is the backend's */
	bool stale;               /* nobody waits for it any more */
};

extern const struct device_type fdc82077_type;

/* Puts a disk into a drive in place of what is there, before or after init; NULL takes it out. The
 * block belongs to the caller, who may close the old one (which drains it) after this returns and
 * before anything else happens. -EINVAL if a floppy disk has no such size, -ENODEV if there is no
 * such drive. Device lock held. */
int fdc82077_insert(struct fdc82077 *fdc, unsigned drive, struct block *block) must_check;
/* Whether the motor of a drive turns: for who shows it to the user. */
bool fdc82077_motor(const struct fdc82077 *fdc, unsigned drive);

#endif
