/* The two 8237A DMA controllers of a PC (Intel 8237A data sheet, 231466; PIIX4 datasheet 29056201,
 * 4.2.1) and their page registers: channels 0..3 move bytes, 5..7 words, channel 4 lets the first
 * controller through. */
#ifndef DEV_I8237_H
#define DEV_I8237_H

#include "core/device.h"

#define I8237_CHANNELS 8u

struct i8237_regs {
	/* Per channel. Words on channels 4..7: an address is then one of words. */
	u16 base_address[I8237_CHANNELS], base_count[I8237_CHANNELS];
	u16 address[I8237_CHANNELS], count[I8237_CHANNELS];
	u8 mode[I8237_CHANNELS]; /* bits 7..2 of the mode register */
	/* Per controller; bit n is its channel n. */
	u8 command[2], mask[2], reached[2], request[2];
	u8 high[2];  /* byte pointer: the next access is to the high byte */
	u8 page[16]; /* ports 80h..8Fh as written */
};

struct i8237 {
	struct device dev;
	struct i8237_regs regs;
	u8 dreq; /* lines of the devices, bit per channel */
};

extern const struct device_type i8237_type;

/* The DREQ line of a channel, which the status register shows. Moves nothing by itself. Device lock
 * held. */
void i8237_dreq(struct i8237 *dma, unsigned channel, bool level);
/* The device on `channel` moves up to `size` bytes: to memory from buf, or from memory to buf.
 * Returns how many the controller let through: none while the channel is masked, disabled or set up
 * for the other direction; fewer than `size` at terminal count, which also sets *tc (else it is
 * cleared). Memory that is not there reads as ones. A verify transfer counts, and moves nothing
 * (buf reads as ones). On channels 5..7 size is even. Device lock held. */
u32 i8237_transfer(struct i8237 *dma, unsigned channel, void *buf, u32 size, bool to_memory,
		   bool *tc);

#endif
