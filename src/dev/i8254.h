/* 8254 interval timer (Intel 82C54 data sheet, 231244-006) and port 0x61 of a PC, which gates its
 * channel 2. Channel 0 drives IRQ0, channel 1 the memory refresh, channel 2 the speaker. */
#ifndef DEV_I8254_H
#define DEV_I8254_H

#include "core/device.h"

#define I8254_HZ 1193182ull

struct i8254_regs {
	u64 tick;      /* the state is that after this many CLK pulses since time 0 */
	u32 cr[3];     /* count register: 1..65536, BCD 1..10000 */
	u32 ce[3];     /* counting element; equal to the modulus it reads as 0 */
	u32 loaded[3]; /* what ce was last loaded with: mode 3 needs to know if it was odd */
	u8 control[3]; /* RW, mode and BCD bits of the control word */
	u8 written[3]; /* a whole count has been written since the control word */
	u8 load[3];    /* the next CLK pulse moves cr to ce */
	u8 run[3];     /* ce counts (while the gate lets it) */
	u8 armed[3];   /* OUT has yet to react to ce reaching 0 */
	u8 out[3], gate[3], null[3];
	u8 risen[3]; /* OUT has risen since the interrupt line was last driven (channel 0) */
	u8 write_msb[3], write_lsb[3]; /* the second byte of a count is due; the first */
	u8 read_msb[3];
	u8 latched[3]; /* latch[] waits to be read */
	u16 latch[3];
	u8 status_latched[3], status[3];
	u8 port61; /* bits 0..3 as written */
};

struct i8254 {
	struct device dev;
	struct i8254_regs regs;
	struct irq irq;     /* OUT of channel 0; set before init */
	struct timer timer; /* due when OUT of channel 0 changes */
};

extern const struct device_type i8254_type;

#endif
