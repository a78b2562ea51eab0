/* Parallel port with a printer. A falling edge of nStrobe hands the byte over; the printer is busy
 * for a moment, then pulses nAck, whose rising edge interrupts (IEEE 1284-1994, 6.2). */
#include "dev/parallel.h"

#include "base/trace.h"

enum { REG_DATA, REG_STATUS, REG_CONTROL };

/* Status, with Busy inverted. */
#define STATUS_NBUSY  0x80u
#define STATUS_NACK   0x40u
#define STATUS_PE     0x20u
#define STATUS_SELECT 0x10u
#define STATUS_NFAULT 0x08u
#define STATUS_NIRQ   0x04u /* PS/2: low from an acknowledge until status is read */
#define STATUS_ONES   0x03u

/* Control, with nStrobe, nAutoFd and nSelectIn inverted. */
#define CONTROL_STROBE   0x01u
#define CONTROL_NINIT    0x04u
#define CONTROL_SELECT   0x08u
#define CONTROL_IRQ      0x10u
#define CONTROL_INPUT    0x20u /* data pins are inputs */
#define CONTROL_WRITABLE 0x3fu
#define CONTROL_ONES     0xc0u

#define BUSY_NS 10000ull /* from the strobe to nAck */
#define ACK_NS  5000ull  /* its width */

static const struct state_field parallel_rows[] = {
	STATE_ROW(struct parallel_regs, data),    STATE_ROW(struct parallel_regs, control),
	STATE_ROW(struct parallel_regs, busy),    STATE_ROW(struct parallel_regs, nack),
	STATE_ROW(struct parallel_regs, pending), STATE_ROW(struct parallel_regs, due_ns),
};
static STATE_DESC(parallel_state, struct parallel_regs, "parallel", parallel_rows);

/* The interrupt pin follows nAck, inverted: down and up again is one edge on the line. */
static void update(struct parallel *p)
{
	const struct parallel_regs *r = &p->regs;

	irq_set(&p->irq, (r->control & CONTROL_IRQ) && !r->nack);
	timer_set(p->dev.platform->clock, &p->timer, r->due_ns);
}

static void wait(struct parallel *p, u64 ns)
{
	p->regs.due_ns = clock_now(p->dev.platform->clock) + ns;
}

static void ack_due(void *opaque)
{
	struct parallel *p = opaque;
	struct parallel_regs *r = &p->regs;

	r->due_ns = CLOCK_NEVER;
	if (r->busy && r->nack) {
		r->nack = 0;
		r->pending = 1;
		wait(p, ACK_NS);
	} else {
		r->nack = 1;
		r->busy = 0;
	}
	update(p);
}

/* Without a printer nothing drives the pins: Busy and PE are pulled up, nFault too. */
static u8 read_status(struct parallel *p)
{
	struct parallel_regs *r = &p->regs;
	u8 value = STATUS_ONES | STATUS_NFAULT | (r->pending ? 0 : STATUS_NIRQ);

	r->pending = 0;
	if (!p->backend.write)
		return value | STATUS_NACK | STATUS_PE | STATUS_SELECT;
	return (u8)(value | STATUS_SELECT | (r->busy ? 0 : STATUS_NBUSY) |
		    (r->nack ? STATUS_NACK : 0));
}

static void write_control(struct parallel *p, u8 value)
{
	struct parallel_regs *r = &p->regs;
	bool strobe = value & ~r->control & CONTROL_STROBE;

	r->control = value & CONTROL_WRITABLE;
	if (!(value & CONTROL_NINIT)) {
		r->busy = 0;
		r->nack = 1;
		r->due_ns = CLOCK_NEVER;
	} else if (strobe && p->backend.write && !r->busy && !(value & CONTROL_INPUT)) {
		trace(PARALLEL, "%s sends %02x", p->dev.name, r->data);
		p->backend.write(p->backend.opaque, &r->data, 1);
		r->busy = 1;
		wait(p, BUSY_NS);
	}
}

/* The data register shows the pins: what was written, or with the drivers off what the other end
 * drives, which is nothing. */
static u64 parallel_read(void *dev, u64 offset, unsigned size)
{
	struct parallel *p = dev;

	switch (offset) {
	case REG_DATA: return p->regs.control & CONTROL_INPUT ? 0xff : p->regs.data;
	case REG_STATUS: return read_status(p);
	default: return p->regs.control | CONTROL_ONES;
	}
}

static void parallel_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct parallel *p = dev;

	trace(PARALLEL, "%s write %llu = %02llx", p->dev.name, (unsigned long long)offset,
	      (unsigned long long)value);
	if (offset == REG_DATA)
		p->regs.data = (u8)value;
	else if (offset == REG_CONTROL)
		write_control(p, (u8)value);
	update(p);
}

static const struct bus_ops parallel_ops = { parallel_read, parallel_write, 1 };

static void parallel_reset(struct device *dev)
{
	struct parallel *p = container_of(dev, struct parallel, dev);

	p->regs = (struct parallel_regs){ .nack = 1, .due_ns = CLOCK_NEVER };
	update(p);
}

static void parallel_loaded(struct device *dev) { update(container_of(dev, struct parallel, dev)); }

static int parallel_init(struct device *dev)
{
	struct parallel *p = container_of(dev, struct parallel, dev);
	int err = timer_init(dev->platform->clock, &p->timer, "parallel", ack_due, p);

	if (!err)
		err = bus_map(dev->platform->ports, p->base, 3, &parallel_ops, p, dev->name);
	if (!err)
		parallel_reset(dev);
	return err;
}

const struct device_type parallel_type = {
	.name = "parallel",
	.help = "parallel port with a printer",
	.size = sizeof(struct parallel),
	.regs_offset = offsetof(struct parallel, regs),
	.regs = &parallel_state,
	.init = parallel_init,
	.reset = parallel_reset,
	.loaded = parallel_loaded,
};
