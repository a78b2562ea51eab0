/* Real-time clock and 128 bytes of battery-backed memory of a PC (Motorola MC146818A data sheet,
 * 1984; memory layout as PC firmware uses it). */
#ifndef DEV_MC146818_H
#define DEV_MC146818_H

#include "core/device.h"

struct mc146818_regs {
	u8 index;     /* port 0x70; bit 7 masks NMIs */
	u8 cmos[128]; /* time bytes, when updates run, are only as of the last look */
	/* Date and time shown are `seconds` since 1970 plus the whole seconds from base_ns to now;
	 * while updates do not run (SET, or the divider held) the bytes of cmos count instead. */
	i64 seconds;
	i64 base_ns;  /* guest time; the phase of the seconds */
	i64 flags_ns; /* the interrupt flags of register C are up to date to this time */
};

struct mc146818 {
	struct device dev;
	struct mc146818_regs regs;
	/* Set before init. */
	struct irq irq;  /* IRQ8 */
	u64 ram_low_end; /* bytes of RAM below 4 GiB, and above */
	u64 ram_high;
	struct timer timer; /* due at the next enabled interrupt */
};

extern const struct device_type mc146818_type;

#endif
