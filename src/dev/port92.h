/* System control port A of a PC (port 0x92): a second A20 gate and a quick reset (82371SB data
 * sheet, 2.5.4.5). */
#ifndef DEV_PORT92_H
#define DEV_PORT92_H

#include "core/device.h"

struct port92_regs {
	u8 value;
};

struct port92 {
	struct device dev;
	struct port92_regs regs;
	/* Set before init. */
	/* this port's part: A20 is on if this or the keyboard controller says so */
	void (*set_a20)(void *opaque, bool on);
	void (*reset)(void *opaque); /* of the processor */
	void *opaque;
};

extern const struct device_type port92_type;

#endif
