/* Each write, of 1, 2 or 4 bytes, reports its value. */
#include "dev/debug_exit.h"

static const struct state_field debug_exit_rows[] = {
	STATE_ROW(struct debug_exit_regs, last),
};
static STATE_DESC(debug_exit_state, struct debug_exit_regs, "debug_exit", debug_exit_rows);

static u64 debug_exit_read(void *dev, u64 offset, unsigned size)
{
	const struct debug_exit *d = dev;

	return d->regs.last >> (8 * offset);
}

static void debug_exit_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct debug_exit *d = dev;

	d->regs.last = (u32)value;
	d->exit(d->opaque, (u32)value);
}

static const struct bus_ops debug_exit_ops = { debug_exit_read, debug_exit_write, 4 };

static void debug_exit_reset(struct device *dev)
{
	container_of(dev, struct debug_exit, dev)->regs = (struct debug_exit_regs){ 0 };
}

static int debug_exit_init(struct device *dev)
{
	struct debug_exit *d = container_of(dev, struct debug_exit, dev);

	debug_exit_reset(dev);
	return bus_map(dev->platform->ports, d->base, 4, &debug_exit_ops, d, dev->name);
}

const struct device_type debug_exit_type = {
	.name = "debug_exit",
	.help = "port that ends the machine with a code",
	.size = sizeof(struct debug_exit),
	.regs_offset = offsetof(struct debug_exit, regs),
	.regs = &debug_exit_state,
	.init = debug_exit_init,
	.reset = debug_exit_reset,
};
