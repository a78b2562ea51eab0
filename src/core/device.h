/* What every device has in common. A chip `foo` is `struct foo { struct device dev; struct foo_regs
 * regs; wires, timers, host handles }`: all guest-visible state is in foo_regs, a plain block
 * described by a state table. */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include "core/bus.h"
#include "core/clock.h"
#include "core/irq.h"
#include "core/mem.h"
#include "core/state.h"

/* What a board offers to its devices. */
struct platform {
	struct mem *mem;
	struct bus *ports, *mmio;
	struct clock *clock;
};

struct device {
	const struct device_type *type;
	const char *name; /* unique on the board: "com1" */
	struct platform *platform;
};

struct device_type {
	const char *name, *help;
	u32 size;        /* of the whole device struct */
	u32 regs_offset; /* of its regs block in the device struct */
	const struct state_desc *regs;
	/* Parameters and wires are set in the struct before init; it maps regions and creates
	 * timers, and leaves the chip as after power-on. Negative errno. */
	int (*init)(struct device *dev);
	void (*reset)(struct device *dev); /* the platform's reset line */
	/* The regs block has just been filled by state_load: drives wires and arms timers as it
	 * says. May be NULL. Every value of every field must be survived. */
	void (*loaded)(struct device *dev);
	void (*fini)(struct device *dev); /* may be NULL */
};

static inline void *device_regs(struct device *dev) { return (u8 *)dev + dev->type->regs_offset; }

#endif
