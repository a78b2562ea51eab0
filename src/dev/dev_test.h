/* A board without a CPU for device tests: buses, a clock that moves when told, and lines that
 * count. */
#ifndef DEV_DEV_TEST_H
#define DEV_DEV_TEST_H

#include "base/test.h"
#include "core/device.h"

struct test_board {
	struct bus ports, mmio;
	struct clock clock;
	struct mem mem; /* if there is RAM */
	struct platform platform;
};

static inline void board_init(struct test_board *b)
{
	bus_init(&b->ports, "port", 0x10000, true);
	bus_init(&b->mmio, "mmio", 1ull << 52, false);
	clock_init(&b->clock, CLOCK_KIND_INSNS);
	b->platform = (struct platform){ .ports = &b->ports, .mmio = &b->mmio, .clock = &b->clock };
}

/* RAM from address 0, for devices that reach it. */
static inline void board_add_ram(struct test_board *b, u64 size)
{
	assert_int_equal(mem_init(&b->mem, size), 0);
	b->platform.mem = &b->mem;
}

static inline void board_fini(struct test_board *b)
{
	bus_fini(&b->ports);
	bus_fini(&b->mmio);
	clock_fini(&b->clock);
	if (b->platform.mem)
		mem_fini(&b->mem);
}

static inline void board_add(struct test_board *b, struct device *dev,
			     const struct device_type *type, const char *name)
{
	dev->type = type;
	dev->name = name;
	dev->platform = &b->platform;
	assert_int_equal(type->init(dev), 0);
}

static inline u8 in8(struct test_board *b, u16 port) { return (u8)bus_read(&b->ports, port, 1); }

static inline void out8(struct test_board *b, u16 port, u8 value)
{
	bus_write(&b->ports, port, value, 1);
}

/* Lets guest time pass, firing timers when they are due. */
static inline void board_run_to(struct test_board *b, u64 ns)
{
	while (clock_next(&b->clock) <= ns) {
		clock_skip(&b->clock, clock_next(&b->clock));
		clock_run(&b->clock);
	}
	clock_skip(&b->clock, ns);
}

static inline void board_run(struct test_board *b, u64 ns)
{
	board_run_to(b, clock_now(&b->clock) + ns);
}

/* Saves a device's state, resets it, loads it again: what follows must not show a difference. */
static inline void board_save_and_load(struct device *dev)
{
	static u8 buf[32768];
	const struct state_desc *desc = dev->type->regs;
	size_t n = state_save(desc, device_regs(dev), buf, sizeof(buf));

	assert_true(n <= sizeof(buf));
	dev->type->reset(dev);
	assert_int_equal(state_load(desc, device_regs(dev), buf, n), 0);
	assert_int_equal(state_save(desc, device_regs(dev), NULL, 0), n);
	if (dev->type->loaded)
		dev->type->loaded(dev);
}

/* An interrupt line's far end. */
struct test_line {
	bool level;
	unsigned rises;
};

static inline void test_line_set(void *chip, unsigned line, bool level)
{
	struct test_line *l = chip;

	l->rises += level && !l->level;
	l->level = level;
}

static inline struct irq test_irq(struct test_line *line)
{
	return (struct irq){ .set = test_line_set, .chip = line };
}

#endif
