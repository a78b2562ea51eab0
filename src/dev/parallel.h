/* Parallel port of a PC: data, status and control register of the standard and the bidirectional
 * mode (IEEE 1284-1994, compatibility and byte mode; IBM PS/2 parallel port). No EPP, no ECP. What
 * is at the other end takes each byte as it is strobed. */
#ifndef DEV_PARALLEL_H
#define DEV_PARALLEL_H

#include "core/chardev.h"
#include "core/device.h"

#define PARALLEL_BASE 0x378

struct parallel_regs {
	u8 data, control;
	u8 busy;    /* the device has a byte and has not acknowledged it yet */
	u8 nack;    /* level of nAck: low while the device acknowledges */
	u8 pending; /* status bit 2: an acknowledge came since status was read; low when it did */
	u64 due_ns; /* when busy or nAck changes; CLOCK_NEVER: nothing is going on */
};

struct parallel {
	struct device dev;
	struct parallel_regs regs;
	/* Set before init. */
	u16 base;               /* first of three ports */
	struct irq irq;         /* IRQ 7 for the first port */
	struct chardev backend; /* write NULL: no printer, the status says so */
	struct timer timer;
};

extern const struct device_type parallel_type;

#endif
