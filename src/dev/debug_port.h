/* The port to which SeaBIOS and OVMF write their log, character by character. */
#ifndef DEV_DEBUG_PORT_H
#define DEV_DEBUG_PORT_H

#include "core/device.h"

#define DEBUG_PORT       0x402
#define DEBUG_PORT_VALUE 0xe9 /* what it reads as: firmware looks for it */
#define DEBUG_PORT_LINE  128u /* longer lines are cut into several */

struct debug_port_regs {
	u8 length;
	u8 line[DEBUG_PORT_LINE]; /* what has come of the current line */
};

struct debug_port {
	struct device dev;
	struct debug_port_regs regs;
};

extern const struct device_type debug_port_type;

#endif
