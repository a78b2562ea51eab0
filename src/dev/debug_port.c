/* Complete lines go to the trace category `firmware`; what is not printable in them is shown as dots. */
#include "dev/debug_port.h"

#include "base/trace.h"

static const struct state_field debug_port_rows[] = {
	STATE_ROW(struct debug_port_regs, length),
	STATE_ARRAY(struct debug_port_regs, line),
};
static STATE_DESC(debug_port_state, struct debug_port_regs, "debug_port", debug_port_rows);

static u64 debug_port_read(void *dev, u64 offset, unsigned size) { return DEBUG_PORT_VALUE; }

static void debug_port_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct debug_port_regs *r = &((struct debug_port *)dev)->regs;
	u8 c = (u8)value;

	if (c == '\r')
		return;
	if (c != '\n')
		r->line[r->length++] = c >= ' ' && c < 0x7f ? c : '.';
	if (c != '\n' && r->length < DEBUG_PORT_LINE)
		return;
	trace(FIRMWARE, "%.*s", (int)r->length, (const char *)r->line);
	r->length = 0;
}

static const struct bus_ops debug_port_ops = { debug_port_read, debug_port_write, 1 };

static void debug_port_reset(struct device *dev)
{
	container_of(dev, struct debug_port, dev)->regs = (struct debug_port_regs){ 0 };
}

static void debug_port_loaded(struct device *dev)
{
	struct debug_port_regs *r = &container_of(dev, struct debug_port, dev)->regs;

	if (r->length >= DEBUG_PORT_LINE)
		r->length = 0;
}

static int debug_port_init(struct device *dev)
{
	debug_port_reset(dev);
	return bus_map(dev->platform->ports, DEBUG_PORT, 1, &debug_port_ops, dev, dev->name);
}

const struct device_type debug_port_type = {
	.name = "debug_port",
	.help = "port for the log of firmware",
	.size = sizeof(struct debug_port),
	.regs_offset = offsetof(struct debug_port, regs),
	.regs = &debug_port_state,
	.init = debug_port_init,
	.reset = debug_port_reset,
	.loaded = debug_port_loaded,
};
