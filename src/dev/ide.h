/* PIIX4 (82371AB) function 1: two IDE channels with bus-master DMA (datasheet 29056201, chapter 5). */
#ifndef DEV_IDE_H
#define DEV_IDE_H

#include "dev/ata.h"
#include "dev/pci.h"

#define IDE_CHANNELS 2
#define IDE_IRQ0     14 /* of the primary channel; the other one is next to it */

/* Configuration registers that firmware programs. */
#define IDE_IDETIM 0x40    /* 16 bits a channel */
#define IDE_DECODE 0x8000u /* the channel's ports are decoded */

/* Bus master of one channel (5.2). */
struct ide_bm_regs {
	u8 command, status;
	u32 table; /* BMIDTP */
	/* Where the list is: */
	u32 next; /* address of the next descriptor */
	u32 addr; /* rest of the current region */
	u32 left;
	bool last; /* the current region is the last one */
};

struct piix4_ide_regs {
	struct pci_regs pci;
	struct ide_bm_regs bm[IDE_CHANNELS];
	struct ata_channel_regs ata[IDE_CHANNELS];
};

struct piix4_ide;

struct ide_channel {
	struct piix4_ide *ide;
	unsigned index;
	struct ata_channel ata;
	bool mapped, mapped_control; /* its ports */
};

struct piix4_ide {
	struct device dev;
	struct piix4_ide_regs regs;
	struct pci_func func;                            /* the board sets func.bus */
	struct irq irq[IDE_CHANNELS];                    /* ISA IRQ 14 and 15, active high */
	struct ata_drive drive[IDE_CHANNELS][ATA_UNITS]; /* set before init */
	/* The ports are decoded after reset, as if firmware had set the I/O enable and the IDE decode bits: for boards whose firmware does not. */
	bool decoded;
	/* The host failed to serve a request (an errno); the guest has been told. May be NULL. */
	void (*error)(void *opaque, unsigned channel, unsigned unit, int error);
	/* The guest has moved the tray of a CD-ROM drive. May be NULL. */
	void (*tray)(void *opaque, unsigned channel, unsigned unit, bool open);
	void *opaque;
	struct ide_channel channel[IDE_CHANNELS];
};

extern const struct device_type piix4_ide_type;

/* Puts a medium into a CD-ROM drive or takes it out (NULL); see atapi_set_medium. */
void piix4_ide_set_medium(struct piix4_ide *ide, unsigned channel, unsigned unit,
			  struct block *block);

#endif
