/* HPET. Nothing counts by itself: at each access, and when an enabled timer is due, the counter and
 * the comparators are brought forward in closed form. Sections are those of the specification. */
#include "dev/hpet.h"

#include "base/bits.h"
#include "base/trace.h"

#define HPET_SIZE 0x400u
#define PERIOD_NS 10u
#define PERIOD_FS (PERIOD_NS * 1000000ull)

/* Offsets (2.3.2). */
enum { REG_ID = 0x000, REG_CONFIG = 0x010, REG_STATUS = 0x020, REG_COUNTER = 0x0f0 };
enum { REG_TIMERS = 0x100, TIMER_STRIDE = 0x20, TIMER_CONFIG = 0x00, TIMER_COMPARATOR = 0x08 };

/* 2.3.5 */
#define CONFIG_ENABLE BIT(0)
#define CONFIG_LEGACY BIT(1)

/* 2.3.8 */
#define TIMER_LEVEL     BIT(1)
#define TIMER_ENABLE    BIT(2)
#define TIMER_PERIODIC  BIT(3)
#define TIMER_CAPS      (BIT(4) | BIT(5) | (u64)HPET_PINS << 32) /* periodic, 64-bit, routes */
#define TIMER_SET_VALUE BIT(6)
#define TIMER_32BIT     BIT(8)
#define TIMER_WRITABLE  (TIMER_LEVEL | TIMER_ENABLE | TIMER_PERIODIC | TIMER_SET_VALUE | TIMER_32BIT)
#define TIMER_ROUTE     0x3e00ull

static const struct state_field hpet_rows[] = {
	STATE_ROW(struct hpet_regs, config),         STATE_ROW(struct hpet_regs, counter),
	STATE_ROW(struct hpet_regs, counter_ns),     STATE_ROW(struct hpet_regs, status),
	STATE_ARRAY(struct hpet_regs, timer_config), STATE_ARRAY(struct hpet_regs, comparator),
	STATE_ARRAY(struct hpet_regs, period),       STATE_ARRAY(struct hpet_regs, raised),
	STATE_ARRAY(struct hpet_regs, legacy),
};
static STATE_DESC(hpet_state, struct hpet_regs, "hpet", hpet_rows);

static bool is_running(const struct hpet_regs *r) { return r->config & CONFIG_ENABLE; }

static u64 timer_mask(const struct hpet_regs *r, unsigned n)
{
	return r->timer_config[n] & TIMER_32BIT ? bits_mask(32) : ~0ull;
}

/* --- Interrupts ------------------------------------------------------------------------------ */

static bool output(const struct hpet_regs *r, unsigned n)
{
	u64 config = r->timer_config[n];

	if (!is_running(r) || !(config & TIMER_ENABLE))
		return false;
	return config & TIMER_LEVEL ? r->status & BIT(n) : r->raised[n];
}

/* Timers 0 and 1 take the places of the 8254 and the clock while legacy routing is on (2.3.5);
 * else each has the pin that it is routed to, if any. */
static void drive(struct hpet *h)
{
	const struct hpet_regs *r = &h->regs;
	bool legacy = r->config & CONFIG_LEGACY;
	u32 pins = 0, changed;

	for (unsigned n = 0; n < 2; n++)
		irq_set(&h->isa[n], legacy ? output(r, n) : r->legacy[n]);
	for (unsigned n = legacy ? 2 : 0; n < HPET_TIMERS; n++)
		if (output(r, n))
			pins |= (u32)BIT(bits_get(r->timer_config[n], 13, 9)) & HPET_PINS;
	changed = pins ^ h->pins;
	h->pins = pins;
	for (unsigned pin = 0; pin < 32; pin++)
		if ((changed & BIT(pin)) && h->apic.set)
			h->apic.set(h->apic.chip, pin, pins & BIT(pin));
}

void hpet_legacy_set(void *chip, unsigned line, bool level)
{
	struct hpet *h = chip;

	if (line >= ARRAY_LEN(h->regs.legacy))
		return;
	h->regs.legacy[line] = level;
	if (!(h->regs.config & CONFIG_LEGACY))
		irq_set(&h->isa[line], level);
}

static void match(struct hpet *h, unsigned n)
{
	struct hpet_regs *r = &h->regs;

	trace(TIMER, "hpet timer %u matches", n);
	if (r->timer_config[n] & TIMER_LEVEL) {
		r->status |= (u8)BIT(n);
	} else if (r->timer_config[n] & TIMER_ENABLE) {
		r->raised[n] = 0;
		drive(h);
		r->raised[n] = 1;
	}
}

/* --- Counting -------------------------------------------------------------------------------- */

/* Ticks from the counter's value to the next match: equal values have matched already. 0 is a
 * whole turn of 64 bits. */
static u64 distance(const struct hpet_regs *r, unsigned n)
{
	u64 mask = timer_mask(r, n), ticks = (r->comparator[n] - r->counter) & mask;

	return ticks ? ticks : mask + 1;
}

/* The counter goes on by `ticks`. A comparator that was met moves beyond the new value by whole
 * periods (2.3.9.2.2): what came more than once meanwhile is one interrupt. */
static void advance_timer(struct hpet *h, unsigned n, u64 ticks)
{
	struct hpet_regs *r = &h->regs;
	u64 first = distance(r, n), period = r->period[n] & timer_mask(r, n);

	if (!first || first > ticks)
		return;
	if ((r->timer_config[n] & TIMER_PERIODIC) && period)
		r->comparator[n] = (r->comparator[n] + ((ticks - first) / period + 1) * period) &
				   timer_mask(r, n);
	match(h, n);
}

/* When the next enabled timer is due. */
static u64 next_due(const struct hpet_regs *r)
{
	u64 due = CLOCK_NEVER;

	for (unsigned n = 0; n < HPET_TIMERS && is_running(r); n++) {
		u64 ticks = distance(r, n);

		if ((r->timer_config[n] & TIMER_ENABLE) && ticks &&
		    ticks < (CLOCK_NEVER - r->counter_ns) / PERIOD_NS)
			due = MIN(due, r->counter_ns + ticks * PERIOD_NS);
	}
	return due;
}

static void sync(struct hpet *h)
{
	struct hpet_regs *r = &h->regs;
	u64 now = clock_now(h->dev.platform->clock), ticks;

	if (!is_running(r))
		return;
	ticks = now > r->counter_ns ? (now - r->counter_ns) / PERIOD_NS : 0;
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		advance_timer(h, n, ticks);
	r->counter += ticks;
	r->counter_ns += ticks * PERIOD_NS;
}

static void update(struct hpet *h)
{
	drive(h);
	timer_set(h->dev.platform->clock, &h->timer, next_due(&h->regs));
}

static void hpet_due(void *opaque)
{
	sync(opaque);
	update(opaque);
}

/* --- Registers ------------------------------------------------------------------------------- */

static u64 read_timer(const struct hpet_regs *r, unsigned n, unsigned reg)
{
	switch (reg) {
	case TIMER_CONFIG: return r->timer_config[n] | TIMER_CAPS;
	case TIMER_COMPARATOR: return r->comparator[n] & timer_mask(r, n);
	default: return 0;
	}
}

/* Eight bytes at a multiple of eight. */
static u64 read_reg(const struct hpet_regs *r, unsigned reg)
{
	switch (reg) {
	case REG_ID: return PERIOD_FS << 32 | HPET_ID;
	case REG_CONFIG: return r->config;
	case REG_STATUS: return r->status;
	case REG_COUNTER: return r->counter;
	}
	if (reg < REG_TIMERS || reg >= REG_TIMERS + HPET_TIMERS * TIMER_STRIDE)
		return 0;
	return read_timer(r, (reg - REG_TIMERS) / TIMER_STRIDE, reg % TIMER_STRIDE);
}

static void write_timer_config(struct hpet_regs *r, unsigned n, u64 value)
{
	u64 writable = TIMER_WRITABLE;

	/* A route that is not offered does not stick (2.3.8). */
	if (HPET_PINS & BIT(bits_get(value, 13, 9)))
		writable |= TIMER_ROUTE;
	r->timer_config[n] = (r->timer_config[n] & ~writable) | (value & writable);
	if (!(r->timer_config[n] & TIMER_LEVEL))
		r->status &= (u8)~BIT(n);
	if ((r->timer_config[n] & TIMER_LEVEL) || !(r->timer_config[n] & TIMER_ENABLE))
		r->raised[n] = 0;
	if (r->timer_config[n] & TIMER_32BIT) {
		r->comparator[n] &= bits_mask(32);
		r->period[n] &= bits_mask(32);
	}
}

/* A periodic timer's comparator is reached with VAL_SET alone, which the write clears; its period is
 * the last value written (2.3.9.2.2). */
static void write_comparator(struct hpet_regs *r, unsigned n, u64 value, u64 lanes)
{
	bool periodic = r->timer_config[n] & TIMER_PERIODIC;
	u64 mask = timer_mask(r, n);

	if (!(lanes & mask))
		return;
	if (!periodic || (r->timer_config[n] & TIMER_SET_VALUE))
		r->comparator[n] = ((r->comparator[n] & ~lanes) | (value & lanes)) & mask;
	if (periodic)
		r->period[n] = ((r->period[n] & ~lanes) | (value & lanes)) & mask;
	r->timer_config[n] &= ~TIMER_SET_VALUE;
}

static void write_config(struct hpet *h, u64 value)
{
	struct hpet_regs *r = &h->regs;

	/* The counter starts from where it stands; sync() has brought it there. */
	if (value & ~r->config & CONFIG_ENABLE)
		r->counter_ns = clock_now(h->dev.platform->clock);
	if (!(value & CONFIG_ENABLE))
		memset(r->raised, 0, sizeof(r->raised));
	r->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
}

/* `lanes` has ones where bytes are written. */
static void write_reg(struct hpet *h, unsigned reg, u64 value, u64 lanes)
{
	struct hpet_regs *r = &h->regs;
	u64 whole = (read_reg(r, reg) & ~lanes) | (value & lanes);
	unsigned n = (reg - REG_TIMERS) / TIMER_STRIDE;

	switch (reg) {
	case REG_CONFIG: write_config(h, whole); return;
	case REG_STATUS: r->status &= (u8) ~(value & lanes); return;
	case REG_COUNTER:
		if (!is_running(r))
			r->counter = whole;
		return;
	}
	if (reg < REG_TIMERS || n >= HPET_TIMERS)
		return;
	switch (reg % TIMER_STRIDE) {
	case TIMER_CONFIG: write_timer_config(r, n, whole); return;
	case TIMER_COMPARATOR: write_comparator(r, n, value, lanes); return;
	}
}

/* An access may lie across two registers. */
static u64 hpet_read(void *dev, u64 offset, unsigned size)
{
	struct hpet *h = dev;
	unsigned shift = offset % 8 * 8, reg = (unsigned)(offset - offset % 8);
	u64 value;

	sync(h);
	update(h);
	value = read_reg(&h->regs, reg) >> shift;
	if (shift + size * 8 > 64)
		value |= read_reg(&h->regs, reg + 8) << (64 - shift);
	return value & bits_mask(size * 8);
}

static void hpet_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct hpet *h = dev;
	unsigned shift = offset % 8 * 8, reg = (unsigned)(offset - offset % 8);
	u64 lanes = bits_mask(size * 8);

	trace(TIMER, "hpet write %03llx.%u = %llx", (unsigned long long)offset, size,
	      (unsigned long long)value);
	sync(h);
	write_reg(h, reg, value << shift, lanes << shift);
	if (shift + size * 8 > 64)
		write_reg(h, reg + 8, value >> (64 - shift), lanes >> (64 - shift));
	update(h);
}

static const struct bus_ops hpet_ops = { hpet_read, hpet_write, 8 };

/* --- The device ------------------------------------------------------------------------------ */

static void hpet_reset(struct device *dev)
{
	struct hpet *h = container_of(dev, struct hpet, dev);
	struct hpet_regs *r = &h->regs;

	r->config = r->counter = r->counter_ns = 0;
	r->status = 0;
	memset(r->timer_config, 0, sizeof(r->timer_config));
	memset(r->comparator, 0xff, sizeof(r->comparator));
	memset(r->period, 0, sizeof(r->period));
	memset(r->raised, 0, sizeof(r->raised));
	update(h); /* legacy[] are levels that others drive */
}

static void hpet_loaded(struct device *dev)
{
	struct hpet *h = container_of(dev, struct hpet, dev);

	for (unsigned n = 0; n < HPET_TIMERS; n++)
		h->regs.timer_config[n] &= TIMER_WRITABLE | TIMER_ROUTE;
	update(h);
}

static int hpet_init(struct device *dev)
{
	struct hpet *h = container_of(dev, struct hpet, dev);
	int err = timer_init(dev->platform->clock, &h->timer, "hpet", hpet_due, h);

	if (!err)
		err = bus_map(dev->platform->mmio, HPET_BASE, HPET_SIZE, &hpet_ops, h, dev->name);
	if (!err)
		hpet_reset(dev);
	return err;
}

const struct device_type hpet_type = {
	.name = "hpet",
	.help = "high precision event timers",
	.size = sizeof(struct hpet),
	.regs_offset = offsetof(struct hpet, regs),
	.regs = &hpet_state,
	.init = hpet_init,
	.reset = hpet_reset,
	.loaded = hpet_loaded,
};
