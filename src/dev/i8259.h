/* The PC's pair of 8259A interrupt controllers (Intel 8259A data sheet, 231468-003), with the
 * edge/level registers of the PIIX (82371SB data sheet, 2.5.3). Lines 0..7 are the master's inputs,
 * 8..15 the slave's; line 2 is the cascade. */
#ifndef DEV_I8259_H
#define DEV_I8259_H

#include "core/device.h"

#define I8259_LINES 16u

/* Index 0 is the master, 1 the slave. */
struct i8259_regs {
	u8 lines[2]; /* levels of the inputs */
	u8 latch[2]; /* edge seen and not yet acknowledged */
	u8 isr[2];
	u8 imr[2];
	u8 elcr[2]; /* 1: level triggered */
	u8 icw1[2], icw2[2], icw3[2], icw4[2];
	u8 expect[2]; /* number of the next initialization word: 2, 3, 4, or 0 */
	u8 lowest[2]; /* input of lowest priority; 7 after initialization */
	u8 rotate_aeoi[2];
	u8 special_mask[2];
	u8 read_isr[2]; /* which register a read of the even port gives */
	u8 poll[2];     /* the next read is a poll */
};

struct i8259 {
	struct device dev;
	struct i8259_regs regs;
	struct irq out; /* INTR; set before init */
	bool level;     /* what out shows */
};

extern const struct device_type i8259_type;

/* An input of the pair: for struct irq, with chip = struct i8259 *. As on the chip, an
 * edge-triggered request is withdrawn when the line goes low before it is acknowledged: a pulse
 * that ends at once is not seen. */
void i8259_set_line(void *chip, unsigned line, bool level);

/* The CPU's interrupt acknowledge cycle: returns the vector of the request of highest priority and
 * moves it into service; IR7 of a chip whose request has gone (spurious). May change `out`. */
u8 i8259_ack(struct i8259 *pic);

#endif
