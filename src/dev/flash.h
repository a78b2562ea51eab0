/* A byte-wide NOR flash chip with the Intel command set (Numonyx StrataFlash P30 datasheet 306666, chapters 9 to 11; Common Flash Interface,
 * JESD68.01), below 4 GiB, in which firmware keeps its variables. */
#ifndef DEV_FLASH_H
#define DEV_FLASH_H

#include "block/file.h"
#include "core/device.h"

#define FLASH_BLOCK \
	4096u /* bytes that are erased at once; what OVMF's variable store is made for */
#define FLASH_BUFFER   256u
#define FLASH_SIZE_MAX (16u << 20)

/* What the next write is taken for, and what reads give. */
enum flash_mode {
	FLASH_ARRAY,  /* reads give the contents; a command is awaited in this and the next three */
	FLASH_STATUS, /* reads give the status register, also in those that follow */
	FLASH_ID,
	FLASH_QUERY,
	FLASH_PROGRAM,        /* data of a program command */
	FLASH_ERASE,          /* confirmation of an erase command */
	FLASH_LOCK,           /* what to do with a block's lock */
	FLASH_BUFFER_COUNT,   /* number of bytes, less one */
	FLASH_BUFFER_DATA,    /* those bytes */
	FLASH_BUFFER_CONFIRM, /* and the command to program them */
};

struct flash_regs {
	u8 mode; /* enum flash_mode */
	u8 status;
	u8 locked[FLASH_SIZE_MAX / FLASH_BLOCK / 8]; /* bit per block */
	u32 start;                                   /* the buffer's place in the array */
	u16 left;                                    /* bytes that the buffer still awaits */
	bool astray;                                 /* one of them was for another place */
	u8 buffer[FLASH_BUFFER];
};

struct flash {
	struct device dev;
	struct flash_regs regs;
	/* Set before init. */
	gpa_t base;
	u64 size; /* a multiple of FLASH_BLOCK up to FLASH_SIZE_MAX; with a file, its size is taken */
	/* Holds the contents, and takes each change before the guest sees it; a file that is open for reading alone only gives them.
	 * Closed by fini. NULL: the chip comes erased, and is forgotten. */
	struct block_file *file;
	bool write_protected;
	/* The chip's own. */
	struct mem_area *area; /* the contents */
	bool dirty;            /* the file has changes that may not be on stable storage */
	bool warned;           /* the user knows that the file cannot be written */
};

extern const struct device_type flash_type;

#endif
