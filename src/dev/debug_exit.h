/* A port through which a test guest ends the machine with a code. */
#ifndef DEV_DEBUG_EXIT_H
#define DEV_DEBUG_EXIT_H

#include "core/device.h"

struct debug_exit_regs {
	u32 last; /* value written last; reads give it back */
};

struct debug_exit {
	struct device dev;
	struct debug_exit_regs regs;
	/* Set before init. */
	u16 base; /* first of four ports */
	void (*exit)(void *opaque, u32 code);
	void *opaque;
};

extern const struct device_type debug_exit_type;

#endif
