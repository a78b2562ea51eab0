/* 8254. Nothing counts by itself: at each access, and when OUT of channel 0 is due to change, the
 * three channels are brought forward by the CLK pulses since, in closed form. All times derive from
 * the number of pulses since time 0, so that nothing drifts. */
#include "dev/i8254.h"

#include "base/bits.h"
#include "base/trace.h"

#define CONTROL_PORT 3

#define RW_LSB  1
#define RW_MSB  2
#define RW_BOTH 3

#define READBACK_NO_COUNT  0x20
#define READBACK_NO_STATUS 0x10

#define P61_GATE2     0x01
#define P61_SPEAKER   0x02
#define P61_WRITABLE  0x0f /* gate 2, speaker, and two check enables */
#define P61_REFRESH   0x10 /* toggles with each refresh cycle */
#define P61_OUT2      0x20
#define REFRESH_TICKS 18 /* channel 1 as every PC programs it */

#define NEVER UINT64_MAX

static const struct state_field i8254_rows[] = {
	STATE_ROW(struct i8254_regs, tick),
	STATE_ARRAY(struct i8254_regs, cr),
	STATE_ARRAY(struct i8254_regs, ce),
	STATE_ARRAY(struct i8254_regs, loaded),
	STATE_ARRAY(struct i8254_regs, control),
	STATE_ARRAY(struct i8254_regs, written),
	STATE_ARRAY(struct i8254_regs, load),
	STATE_ARRAY(struct i8254_regs, run),
	STATE_ARRAY(struct i8254_regs, armed),
	STATE_ARRAY(struct i8254_regs, out),
	STATE_ARRAY(struct i8254_regs, gate),
	STATE_ARRAY(struct i8254_regs, null),
	STATE_ARRAY(struct i8254_regs, risen),
	STATE_ARRAY(struct i8254_regs, write_msb),
	STATE_ARRAY(struct i8254_regs, write_lsb),
	STATE_ARRAY(struct i8254_regs, read_msb),
	STATE_ARRAY(struct i8254_regs, latched),
	STATE_ARRAY(struct i8254_regs, latch),
	STATE_ARRAY(struct i8254_regs, status_latched),
	STATE_ARRAY(struct i8254_regs, status),
	STATE_ROW(struct i8254_regs, port61),
};
static STATE_DESC(i8254_state, struct i8254_regs, "i8254", i8254_rows);

/* Modes 6 and 7 are 2 and 3. */
static unsigned chan_mode(const struct i8254_regs *r, unsigned c)
{
	unsigned mode = (r->control[c] >> 1) & 7;

	return mode > 5 ? mode - 4 : mode;
}

static unsigned chan_rw(const struct i8254_regs *r, unsigned c) { return (r->control[c] >> 4) & 3; }

static bool chan_bcd(const struct i8254_regs *r, unsigned c) { return r->control[c] & 1; }

static u32 chan_modulus(const struct i8254_regs *r, unsigned c)
{
	return chan_bcd(r, c) ? 10000 : 65536;
}

/* Count that modes 2 and 3 reload; 1 is illegal there and taken as 2. */
static u32 chan_period(const struct i8254_regs *r, unsigned c) { return MAX(r->cr[c], 2); }

/* --- Counting ------------------------------------------------------------------------------- */

static void set_out(struct i8254_regs *r, unsigned c, u8 level)
{
	r->risen[c] |= level & (r->out[c] ^ 1);
	r->out[c] = level;
}

static void chan_load(struct i8254_regs *r, unsigned c)
{
	unsigned mode = chan_mode(r, c);
	u32 n = mode == 2 || mode == 3 ? chan_period(r, c) : r->cr[c];

	r->load[c] = 0;
	r->null[c] = 0;
	r->run[c] = 1;
	r->armed[c] = 1;
	r->loaded[c] = n;
	r->ce[c] = mode == 3 ? n & ~1u : n; /* an odd count is loaded less one */
	if (mode == 1)
		set_out(r, c, 0);
}

static void chan_wrap(struct i8254_regs *r, unsigned c, u64 ticks)
{
	u32 modulus = chan_modulus(r, c);

	r->ce[c] = (u32)((r->ce[c] % modulus + modulus - ticks % modulus) % modulus);
}

/* Modes 0, 1, 4, 5: when the count reaches 0 for the first time OUT becomes `level`; the count then
 * goes on from the top. Like the functions below, uses up at least one of `ticks` pulses, at most
 * up to the next change, and returns how many. */
static u64 chan_count_down(struct i8254_regs *r, unsigned c, u64 ticks, u8 level)
{
	if (!r->armed[c] || ticks < r->ce[c]) {
		chan_wrap(r, c, ticks);
		return ticks;
	}
	ticks = r->ce[c];
	r->ce[c] = 0;
	r->armed[c] = 0;
	set_out(r, c, level);
	return ticks;
}

/* Modes 4 and 5: OUT is low for the one pulse after the count has reached 0. */
static u64 chan_strobe(struct i8254_regs *r, unsigned c, u64 ticks)
{
	if (r->out[c])
		return chan_count_down(r, c, ticks, 0);
	set_out(r, c, 1);
	chan_wrap(r, c, 1);
	return 1;
}

/* After a reload in modes 2 and 3: whole periods can be passed over, in which OUT rises. */
static u64 chan_skip_periods(struct i8254_regs *r, unsigned c, u64 ticks)
{
	u64 periods = ticks / r->loaded[c];

	r->risen[c] |= periods > 0;
	return periods * r->loaded[c];
}

/* Mode 2: counts n..1, with OUT low at 1. */
static u64 chan_rate(struct i8254_regs *r, unsigned c, u64 ticks)
{
	u64 used = r->ce[c];

	if (ticks < used) {
		r->ce[c] -= (u32)ticks;
		set_out(r, c, r->ce[c] != 1);
		return ticks;
	}
	set_out(r, c, 0);
	set_out(r, c, 1);
	chan_load(r, c);
	return used + chan_skip_periods(r, c, ticks - used);
}

/* Mode 3: pulses left of this half; the high half of an odd count is one longer. */
static u64 chan_half_left(const struct i8254_regs *r, unsigned c)
{
	return r->ce[c] / 2 + (r->out[c] && r->loaded[c] & 1);
}

static u64 chan_square(struct i8254_regs *r, unsigned c, u64 ticks)
{
	u64 used = chan_half_left(r, c);

	if (ticks < used) {
		r->ce[c] -= 2 * (u32)ticks;
		return ticks;
	}
	set_out(r, c, r->out[c] ^ 1);
	chan_load(r, c);
	return used + chan_skip_periods(r, c, ticks - used);
}

/* A channel that runs, with a gate that permits counting. */
static u64 chan_step(struct i8254_regs *r, unsigned c, u64 ticks)
{
	switch (chan_mode(r, c)) {
	case 2: return chan_rate(r, c, ticks);
	case 3: return chan_square(r, c, ticks);
	case 4:
	case 5: return chan_strobe(r, c, ticks);
	default: return chan_count_down(r, c, ticks, 1);
	}
}

/* Moves a channel on by CLK pulses. Each step goes to the next change of OUT or over whole periods:
 * it loops a handful of times. */
static void chan_advance(struct i8254_regs *r, unsigned c, u64 ticks)
{
	unsigned mode = chan_mode(r, c);
	bool gated = mode != 1 && mode != 5;

	while (ticks) {
		if (r->load[c]) {
			chan_load(r, c);
			ticks--;
		} else if (r->run[c] && (r->gate[c] || !gated)) {
			ticks -= chan_step(r, c, ticks);
		} else {
			break;
		}
	}
}

/* Pulses until OUT of a channel may change next, or NEVER. A strobe counts at its end. */
static u64 chan_next_change(const struct i8254_regs *r, unsigned c)
{
	unsigned mode = chan_mode(r, c);

	if (r->load[c])
		return 1;
	if (!r->run[c])
		return NEVER;
	switch (mode) {
	case 2: return r->ce[c];
	case 3: return chan_half_left(r, c);
	case 4:
	case 5: return !r->out[c] ? 1 : r->armed[c] ? r->ce[c] + 1ull : NEVER;
	default: return r->armed[c] ? r->ce[c] : NEVER;
	}
}

static void pit_sync(struct i8254 *pit)
{
	struct i8254_regs *r = &pit->regs;
	u64 tick = clock_ns_to_ticks(clock_now(pit->dev.platform->clock), I8254_HZ);

	if (tick <= r->tick)
		return;
	for (unsigned c = 0; c < 3; c++)
		chan_advance(r, c, tick - r->tick);
	r->tick = tick;
}

/* After any change: the interrupt line, and the time of its next change. Edges that were due
 * together show as one. */
static void pit_update(struct i8254 *pit)
{
	struct i8254_regs *r = &pit->regs;
	u64 next = chan_next_change(r, 0);

	if (r->risen[0])
		irq_set(&pit->irq, false);
	r->risen[0] = 0;
	irq_set(&pit->irq, r->out[0]);
	timer_set(pit->dev.platform->clock, &pit->timer,
		  next == NEVER ? CLOCK_NEVER : clock_ticks_to_ns(r->tick + next, I8254_HZ));
}

static void pit_due(void *opaque)
{
	struct i8254 *pit = opaque;

	pit_sync(pit);
	pit_update(pit);
}

/* --- Registers ------------------------------------------------------------------------------ */

static u32 count_from_register(const struct i8254_regs *r, unsigned c, u16 value)
{
	u32 n = value;

	if (chan_bcd(r, c))
		n = ((value >> 12) * 1000u + (value >> 8 & 15) * 100u + (value >> 4 & 15) * 10u +
		     (value & 15)) %
		    10000;
	return n ? n : chan_modulus(r, c);
}

static u16 count_to_register(const struct i8254_regs *r, unsigned c)
{
	u32 n = r->ce[c] % chan_modulus(r, c);

	if (chan_bcd(r, c))
		n = n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
	return (u16)n;
}

static void chan_latch_count(struct i8254_regs *r, unsigned c)
{
	if (r->latched[c])
		return;
	r->latched[c] = 1;
	r->latch[c] = count_to_register(r, c);
}

static void chan_latch_status(struct i8254_regs *r, unsigned c)
{
	if (r->status_latched[c])
		return;
	r->status_latched[c] = 1;
	r->status[c] = (u8)(r->out[c] << 7 | r->null[c] << 6 | r->control[c]);
}

static void write_readback(struct i8254_regs *r, u8 value)
{
	for (unsigned c = 0; c < 3; c++) {
		if (!(value & 2u << c))
			continue;
		if (!(value & READBACK_NO_COUNT))
			chan_latch_count(r, c);
		if (!(value & READBACK_NO_STATUS))
			chan_latch_status(r, c);
	}
}

static void write_control(struct i8254_regs *r, u8 value)
{
	unsigned c = value >> 6;

	if (c == 3) {
		write_readback(r, value);
		return;
	}
	if (!(value & 0x30)) {
		chan_latch_count(r, c);
		return;
	}
	r->control[c] = value & 0x3f;
	r->written[c] = r->load[c] = r->run[c] = r->armed[c] = 0;
	r->write_msb[c] = r->read_msb[c] = r->latched[c] = r->status_latched[c] = 0;
	r->null[c] = 1;
	set_out(r, c, chan_mode(r, c) != 0);
}

static void chan_write_count(struct i8254_regs *r, unsigned c, u16 value)
{
	unsigned mode = chan_mode(r, c);

	r->cr[c] = count_from_register(r, c, value);
	r->written[c] = 1;
	r->null[c] = 1;
	/* Modes 1 and 5 wait for the gate; modes 2 and 3, once they run, take it when the present
	 * (half) period ends. */
	if (mode == 0 || mode == 4 || ((mode == 2 || mode == 3) && !r->run[c]))
		r->load[c] = 1;
}

static void chan_write(struct i8254_regs *r, unsigned c, u8 value)
{
	unsigned rw = chan_rw(r, c);

	if (!rw)
		return; /* no control word yet */
	/* Mode 0: OUT goes low with the first byte, which also stops the count until the whole is
	 * there. */
	if (chan_mode(r, c) == 0) {
		set_out(r, c, 0);
		r->run[c] = 0;
	}
	if (rw == RW_LSB) {
		chan_write_count(r, c, value);
	} else if (rw == RW_MSB) {
		chan_write_count(r, c, (u16)(value << 8));
	} else if (!r->write_msb[c]) {
		r->write_lsb[c] = value;
		r->write_msb[c] = 1;
		if (chan_mode(r, c) == 0)
			r->load[c] = 0;
	} else {
		r->write_msb[c] = 0;
		chan_write_count(r, c, (u16)(value << 8 | r->write_lsb[c]));
	}
}

static u8 chan_read(struct i8254_regs *r, unsigned c)
{
	unsigned rw = chan_rw(r, c);
	u16 count = r->latched[c] ? r->latch[c] : count_to_register(r, c);
	bool msb = rw == RW_MSB || (rw == RW_BOTH && r->read_msb[c]);

	if (r->status_latched[c]) {
		r->status_latched[c] = 0;
		return r->status[c];
	}
	if (rw == RW_BOTH)
		r->read_msb[c] ^= 1;
	/* A latched count is held until all of it has been read. */
	if (rw != RW_BOTH || msb)
		r->latched[c] = 0;
	return (u8)(msb ? count >> 8 : count);
}

static void chan_set_gate(struct i8254_regs *r, unsigned c, u8 gate)
{
	unsigned mode = chan_mode(r, c);

	if (gate == r->gate[c])
		return;
	r->gate[c] = gate;
	if (mode == 0 || mode == 4)
		return;
	if (!gate) {
		if (mode == 2 || mode == 3)
			set_out(r, c, 1);
	} else if (r->written[c]) {
		r->load[c] = 1;
	}
}

static u64 i8254_read(void *dev, u64 offset, unsigned size)
{
	struct i8254 *pit = dev;
	u8 value = 0xff; /* the control port cannot be read: nothing drives the bus */

	pit_sync(pit);
	if (offset != CONTROL_PORT)
		value = chan_read(&pit->regs, (unsigned)offset);
	pit_update(pit);
	trace(TIMER, "pit read %llu = %02x", (unsigned long long)offset, value);
	return value;
}

static void i8254_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct i8254 *pit = dev;

	trace(TIMER, "pit write %llu = %02llx", (unsigned long long)offset,
	      (unsigned long long)value);
	pit_sync(pit);
	if (offset == CONTROL_PORT)
		write_control(&pit->regs, (u8)value);
	else
		chan_write(&pit->regs, (unsigned)offset, (u8)value);
	pit_update(pit);
}

static u64 port61_read(void *dev, u64 offset, unsigned size)
{
	struct i8254 *pit = dev;
	struct i8254_regs *r = &pit->regs;

	pit_sync(pit);
	pit_update(pit);
	return r->port61 | (r->tick / REFRESH_TICKS & 1 ? P61_REFRESH : 0) |
	       (r->out[2] ? P61_OUT2 : 0);
}

/* What is heard while bits 0 and 1 are set is the square wave of channel 2. */
static void trace_speaker(const struct i8254_regs *r, u8 old)
{
	u8 both = P61_GATE2 | P61_SPEAKER;

	if (!((r->port61 ^ old) & both))
		return;
	if ((r->port61 & both) == both && chan_mode(r, 2) == 3)
		trace(TIMER, "speaker: %u Hz", (unsigned)(I8254_HZ / MAX(r->cr[2], 1)));
	else
		trace(TIMER, "speaker: %s", r->port61 & P61_SPEAKER ? "clicks" : "off");
}

static void port61_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct i8254 *pit = dev;
	u8 old = pit->regs.port61;

	pit_sync(pit);
	pit->regs.port61 = value & P61_WRITABLE;
	chan_set_gate(&pit->regs, 2, value & P61_GATE2);
	trace_speaker(&pit->regs, old);
	pit_update(pit);
}

static const struct bus_ops i8254_ops = { i8254_read, i8254_write, 1 };
static const struct bus_ops port61_ops = { port61_read, port61_write, 1 };

/* The chip has no reset pin and its state is undefined until programmed: here nothing counts. */
static void i8254_reset(struct device *dev)
{
	struct i8254 *pit = container_of(dev, struct i8254, dev);
	u64 tick = clock_ns_to_ticks(clock_now(dev->platform->clock), I8254_HZ);

	pit->regs = (struct i8254_regs){ .tick = tick,
					 .gate = { 1, 1, 0 },
					 .null = { 1, 1, 1 },
					 .cr = { 65536, 65536, 65536 } };
	pit_update(pit);
}

static void i8254_loaded(struct device *dev) { pit_update(container_of(dev, struct i8254, dev)); }

static int i8254_init(struct device *dev)
{
	struct i8254 *pit = container_of(dev, struct i8254, dev);
	int err = timer_init(dev->platform->clock, &pit->timer, "pit", pit_due, pit);

	if (err < 0)
		return err;
	err = bus_map(dev->platform->ports, 0x40, 4, &i8254_ops, pit, dev->name);
	if (err < 0)
		return err;
	err = bus_map(dev->platform->ports, 0x61, 1, &port61_ops, pit, "port 61");
	if (err < 0)
		return err;
	i8254_reset(dev);
	return 0;
}

const struct device_type i8254_type = {
	.name = "i8254",
	.help = "8254 interval timer and port 61",
	.size = sizeof(struct i8254),
	.regs_offset = offsetof(struct i8254, regs),
	.regs = &i8254_state,
	.init = i8254_init,
	.reset = i8254_reset,
	.loaded = i8254_loaded,
};
