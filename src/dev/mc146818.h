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
	/* What firmware takes from the memory. */
	unsigned cpus; /* 0 counts as one */
	u8 floppy[2];  /* types of the drives, as of enum mc146818_floppy */
	u8 boot[3];    /* what to start from, in this order: enum mc146818_boot */
	/* Bit n: IDE drive n (primary master first) has more cylinders than INT 13h can say; its geometry there is translated. */
	u8 translated;
	struct timer timer; /* due at the next enabled interrupt */
};

enum mc146818_floppy {
	MC146818_FLOPPY_NONE = 0,
	MC146818_FLOPPY_360K = 1,
	MC146818_FLOPPY_1200K = 2,
	MC146818_FLOPPY_720K = 3,
	MC146818_FLOPPY_1440K = 4,
	MC146818_FLOPPY_2880K = 5,
};

enum mc146818_boot {
	MC146818_BOOT_NONE = 0,
	MC146818_BOOT_FLOPPY = 1,
	MC146818_BOOT_DISK = 2,
	MC146818_BOOT_CD = 3,
	MC146818_BOOT_NET = 4,
};

extern const struct device_type mc146818_type;

#endif
