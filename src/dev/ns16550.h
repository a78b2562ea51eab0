/* 16550A UART (National Semiconductor PC16550D data sheet, 1995), wired as a PC's COM port. */
#ifndef DEV_NS16550_H
#define DEV_NS16550_H

#include "core/chardev.h"
#include "core/device.h"

#define NS16550_FIFO 16u

struct ns16550_regs {
	u8 ier, fcr, lcr, mcr, scr;
	u8 lsr;             /* OE only; the other bits follow from the FIFO */
	u8 msr;             /* as read */
	u8 thre_pending;    /* the THR-empty interrupt has been raised and not yet acknowledged */
	u8 timeout_pending; /* character timeout indication */
	u16 divisor;
	u8 rx[NS16550_FIFO]; /* ring; without FIFO mode it holds at most one */
	u8 rx_head, rx_count;
	u64 timeout_due_ns; /* CLOCK_NEVER: no timeout is running */
};

struct ns16550 {
	struct device dev;
	struct ns16550_regs regs;
	/* Set before init. */
	u16 base; /* first of eight ports */
	struct irq irq;
	struct chardev backend;

	struct timer timeout;
	bool starved; /* the backend was refused and waits for can_receive */
};

extern const struct device_type ns16550_type;

/* Bytes from the line. Returns how many were taken: as many as there is room for. If that is not
 * all, backend.can_receive is called once there is room. With the device lock held. */
size_t ns16550_receive(struct ns16550 *uart, const u8 *buf, size_t n);

#endif
