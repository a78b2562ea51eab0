/* Bit 0 going from 0 to 1 resets the processor, bit 1 gates A20. */
#include "dev/port92.h"

#define P92_RESET 0x01
#define P92_A20   0x02

static const struct state_field port92_rows[] = {
	STATE_ROW(struct port92_regs, value),
};
static STATE_DESC(port92_state, struct port92_regs, "port92", port92_rows);

static u64 port92_read(void *dev, u64 offset, unsigned size)
{
	const struct port92 *p = dev;

	return p->regs.value;
}

static void port92_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct port92 *p = dev;
	u8 old = p->regs.value;

	p->regs.value = (u8)value;
	if ((old ^ value) & P92_A20)
		p->set_a20(p->opaque, value & P92_A20);
	if (value & ~old & P92_RESET)
		p->reset(p->opaque);
}

static const struct bus_ops port92_ops = { port92_read, port92_write, 1 };

static void port92_reset(struct device *dev)
{
	struct port92 *p = container_of(dev, struct port92, dev);

	p->regs.value = 0;
	p->set_a20(p->opaque, false);
}

static void port92_loaded(struct device *dev)
{
	struct port92 *p = container_of(dev, struct port92, dev);

	p->set_a20(p->opaque, p->regs.value & P92_A20);
}

static int port92_init(struct device *dev)
{
	struct port92 *p = container_of(dev, struct port92, dev);
	int err = bus_map(dev->platform->ports, 0x92, 1, &port92_ops, p, dev->name);

	if (err < 0)
		return err;
	port92_reset(dev);
	return 0;
}

const struct device_type port92_type = {
	.name = "port92",
	.help = "system control port A: fast A20 and reset",
	.size = sizeof(struct port92),
	.regs_offset = offsetof(struct port92, regs),
	.regs = &port92_state,
	.init = port92_init,
	.reset = port92_reset,
	.loaded = port92_loaded,
};
