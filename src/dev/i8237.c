/* 8237A pair. A device that asks gets all its bytes at once: single, demand and block mode differ
 * only in who has the bus meanwhile, which nobody on this board can tell. */
#include "dev/i8237.h"

#include "base/bits.h"
#include "base/trace.h"

/* Registers of a controller (table "software commands"); the second one has them at even ports. */
enum {
	REG_COMMAND = 8, /* write; read: status */
	REG_REQUEST = 9,
	REG_MASK_ONE = 10,
	REG_MODE = 11,
	REG_CLEAR_POINTER = 12,
	REG_MASTER_CLEAR = 13, /* write; read: temporary */
	REG_CLEAR_MASK = 14,
	REG_MASK_ALL = 15,
};

#define COMMAND_WRITABLE 0xd4u /* PIIX4 has no memory-to-memory transfers, no compressed timing */
#define COMMAND_DISABLE  0x04u

#define MODE_TYPE     0x0cu
#define MODE_VERIFY   0x00u
#define MODE_WRITE    0x04u /* to memory */
#define MODE_READ     0x08u
#define MODE_AUTOINIT 0x10u
#define MODE_DOWN     0x20u
#define MODE_SELECT   0xc0u
#define MODE_BLOCK    0x80u
#define MODE_CASCADE  0xc0u

#define CASCADE 4u /* the channel through which the first controller asks */

static const struct state_field i8237_rows[] = {
	STATE_ARRAY(struct i8237_regs, base_address), STATE_ARRAY(struct i8237_regs, base_count),
	STATE_ARRAY(struct i8237_regs, address),      STATE_ARRAY(struct i8237_regs, count),
	STATE_ARRAY(struct i8237_regs, mode),         STATE_ARRAY(struct i8237_regs, command),
	STATE_ARRAY(struct i8237_regs, mask),         STATE_ARRAY(struct i8237_regs, reached),
	STATE_ARRAY(struct i8237_regs, request),      STATE_ARRAY(struct i8237_regs, high),
	STATE_ARRAY(struct i8237_regs, page),
};
static STATE_DESC(i8237_state, struct i8237_regs, "i8237", i8237_rows);

/* --- Transfers ------------------------------------------------------------------------------- */

/* Bytes of a unit. */
static unsigned unit_size(unsigned channel) { return channel < CASCADE ? 1 : 2; }

/* Where the next unit lies: the page register gives the bits that the counter does not have, so
 * that addresses wrap at 64 KiB, or 128 KiB for words. */
static gpa_t unit_address(const struct i8237_regs *r, unsigned channel)
{
	/* Page registers by channel: ports 87h, 83h, 81h, 82h, 8Fh, 8Bh, 89h, 8Ah. */
	static const u8 page[I8237_CHANNELS] = { 7, 3, 1, 2, 15, 11, 9, 10 };
	gpa_t high = r->page[page[channel]];

	if (channel < CASCADE)
		return high << 16 | r->address[channel];
	return (high & 0xfe) << 16 | (gpa_t)r->address[channel] << 1;
}

/* The controller and, for the first one, the cascade are open. */
static bool passes(const struct i8237_regs *r, unsigned channel)
{
	unsigned c = channel / 4;

	if (r->command[c] & COMMAND_DISABLE)
		return false;
	if ((r->mode[channel] & MODE_SELECT) == MODE_CASCADE)
		return false;
	if (channel >= CASCADE)
		return true;
	return !(r->command[1] & COMMAND_DISABLE) && !(r->mask[1] & 1) &&
	       (r->mode[CASCADE] & MODE_SELECT) == MODE_CASCADE;
}

/* Units that can move at once: they are contiguous, and on one page of memory. */
static u32 stretch(const struct i8237_regs *r, unsigned channel, u32 units)
{
	u32 unit = unit_size(channel);
	u32 page = (MEM_PAGE - (u32)(unit_address(r, channel) % MEM_PAGE)) / unit;

	return r->mode[channel] & MODE_DOWN ? 1 : MIN(units, page);
}

static void move(struct i8237 *dma, gpa_t at, u8 *buf, u32 size, unsigned type)
{
	struct mem *mem = dma->dev.platform->mem;

	if (type == MODE_WRITE) {
		/* Nobody answers where there is no memory: the bytes are gone. */
		(void)!mem_write(mem, at, buf, size);
	} else if (buf && (type != MODE_READ || !mem_read(mem, at, buf, size))) {
		memset(buf, 0xff, size);
	}
}

static void terminal_count(struct i8237_regs *r, unsigned channel)
{
	unsigned c = channel / 4;
	u8 bit = (u8)BIT(channel % 4);

	r->reached[c] |= bit;
	r->request[c] &= (u8)~bit;
	if (r->mode[channel] & MODE_AUTOINIT) {
		r->address[channel] = r->base_address[channel];
		r->count[channel] = r->base_count[channel];
	} else {
		r->mask[c] |= bit;
	}
}

/* Moves up to `units`; true at terminal count, which comes when the count goes below 0. */
static bool run(struct i8237 *dma, unsigned channel, u8 *buf, u32 units, u32 *done)
{
	struct i8237_regs *r = &dma->regs;
	u32 left = MIN(units, r->count[channel] + 1u), unit = unit_size(channel);
	bool tc = units > r->count[channel];
	unsigned type = r->mode[channel] & MODE_TYPE;

	*done = left;
	while (left) {
		u32 n = stretch(r, channel, left);
		u16 step = (u16)(r->mode[channel] & MODE_DOWN ? -1 : (int)n);

		move(dma, unit_address(r, channel), buf, n * unit, type);
		buf = buf ? buf + (size_t)n * unit : NULL;
		r->address[channel] = (u16)(r->address[channel] + step);
		r->count[channel] = (u16)(r->count[channel] - n);
		left -= n;
	}
	if (tc)
		terminal_count(r, channel);
	return tc;
}

u32 i8237_transfer(struct i8237 *dma, unsigned channel, void *buf, u32 size, bool to_memory,
		   bool *tc)
{
	struct i8237_regs *r = &dma->regs;
	unsigned n = channel % I8237_CHANNELS, type = r->mode[n] & MODE_TYPE;
	u32 done = 0, unit = unit_size(n);

	*tc = false;
	if (size < unit || (r->mask[n / 4] & BIT(n % 4)) || !passes(r, n))
		return 0;
	if (type != MODE_VERIFY && type != (to_memory ? MODE_WRITE : MODE_READ))
		return 0;
	/* A verify must not change what the device sends. */
	*tc = run(dma, n, type == MODE_VERIFY && to_memory ? NULL : buf, size / unit, &done);
	trace(DMA, "channel %u: %u bytes %s memory%s", n, done * unit, to_memory ? "to" : "from",
	      *tc ? ", terminal count" : "");
	return done * unit;
}

/* A request by software runs a block transfer to its end, masked or not, with no device at the
 * other end (8237A, request register): what is written is the idle bus. */
static void software_request(struct i8237 *dma, unsigned channel)
{
	static const u8 idle[MEM_PAGE] = { [0 ... MEM_PAGE - 1] = 0xff };
	struct i8237_regs *r = &dma->regs;
	u32 unit = unit_size(channel), done = 0;
	bool write = (r->mode[channel] & MODE_TYPE) == MODE_WRITE, tc = false;

	if ((r->mode[channel] & MODE_SELECT) != MODE_BLOCK || !passes(r, channel))
		return;
	while (!tc)
		tc = run(dma, channel, write ? (u8 *)idle : NULL, MEM_PAGE / unit, &done);
}

void i8237_dreq(struct i8237 *dma, unsigned channel, bool level)
{
	u8 bit = (u8)BIT(channel % I8237_CHANNELS);

	dma->dreq = (u8)(level ? dma->dreq | bit : dma->dreq & ~bit);
}

/* --- Registers ------------------------------------------------------------------------------- */

static void put_byte(u16 *reg, bool high, u8 value)
{
	*reg = (u16)(high ? (*reg & 0x00ff) | value << 8 : (*reg & 0xff00) | value);
}

/* Base and current register of a channel are written together, by halves. */
static void write_channel(struct i8237_regs *r, unsigned c, unsigned reg, u8 value)
{
	unsigned channel = c * 4 + reg / 2;

	put_byte(reg & 1 ? &r->base_count[channel] : &r->base_address[channel], r->high[c], value);
	put_byte(reg & 1 ? &r->count[channel] : &r->address[channel], r->high[c], value);
	r->high[c] = !r->high[c];
}

static u8 read_channel(struct i8237_regs *r, unsigned c, unsigned reg)
{
	unsigned channel = c * 4 + reg / 2;
	u16 value = reg & 1 ? r->count[channel] : r->address[channel];

	r->high[c] = !r->high[c];
	return (u8)(r->high[c] ? value : value >> 8);
}

static void master_clear(struct i8237_regs *r, unsigned c)
{
	r->command[c] = r->reached[c] = r->request[c] = r->high[c] = 0;
	r->mask[c] = 0x0f;
}

static void write_reg(struct i8237 *dma, unsigned c, unsigned reg, u8 value)
{
	struct i8237_regs *r = &dma->regs;
	u8 bit = (u8)BIT(value & 3);

	trace(DMA, "controller %u write %x = %02x", c, reg, value);
	switch (reg) {
	case REG_COMMAND: r->command[c] = value & COMMAND_WRITABLE; break;
	case REG_REQUEST:
		r->request[c] = (u8)(value & 4 ? r->request[c] | bit : r->request[c] & ~bit);
		if (value & 4)
			software_request(dma, c * 4 + (value & 3));
		break;
	case REG_MASK_ONE:
		r->mask[c] = (u8)(value & 4 ? r->mask[c] | bit : r->mask[c] & ~bit);
		break;
	case REG_MODE: r->mode[c * 4 + (value & 3)] = value & 0xfc; break;
	case REG_CLEAR_POINTER: r->high[c] = 0; break;
	case REG_MASTER_CLEAR: master_clear(r, c); break;
	case REG_CLEAR_MASK: r->mask[c] = 0; break;
	case REG_MASK_ALL: r->mask[c] = value & 0x0f; break;
	default: write_channel(r, c, reg, value); break;
	}
}

/* Terminal counts since the last look, and who asks now. */
static u8 read_status(struct i8237 *dma, unsigned c)
{
	struct i8237_regs *r = &dma->regs;
	u8 asking = (u8)((dma->dreq >> (4 * c) | r->request[c]) & 0x0f);
	u8 value = (u8)(asking << 4 | (r->reached[c] & 0x0f));

	r->reached[c] = 0;
	return value;
}

static u8 read_reg(struct i8237 *dma, unsigned c, unsigned reg)
{
	struct i8237_regs *r = &dma->regs;

	switch (reg) {
	case REG_COMMAND: return read_status(dma, c);
	case REG_MASTER_CLEAR: return 0; /* temporary: of memory-to-memory transfers alone */
	case REG_MASK_ALL: return r->mask[c] | 0xf0;
	case REG_REQUEST:
	case REG_MASK_ONE:
	case REG_MODE:
	case REG_CLEAR_POINTER:
	case REG_CLEAR_MASK: return 0xff; /* for writing alone */
	default: return read_channel(r, c, reg);
	}
}

static u64 first_read(void *dev, u64 offset, unsigned size)
{
	return read_reg(dev, 0, (unsigned)offset);
}

static void first_write(void *dev, u64 offset, u64 value, unsigned size)
{
	write_reg(dev, 0, (unsigned)offset, (u8)value);
}

static u64 second_read(void *dev, u64 offset, unsigned size)
{
	return read_reg(dev, 1, (unsigned)offset / 2);
}

static void second_write(void *dev, u64 offset, u64 value, unsigned size)
{
	write_reg(dev, 1, (unsigned)offset / 2, (u8)value);
}

/* Sixteen bytes of memory; those of no channel are for the diagnostic codes that BIOSes write to
 * port 80h, and for delays. */
static u64 page_read(void *dev, u64 offset, unsigned size)
{
	return ((struct i8237 *)dev)->regs.page[offset];
}

static void page_write(void *dev, u64 offset, u64 value, unsigned size)
{
	((struct i8237 *)dev)->regs.page[offset] = (u8)value;
	if (offset == 0)
		trace(DMA, "port 80h: code %02x", (u8)value);
}

static const struct bus_ops first_ops = { first_read, first_write, 1 };
static const struct bus_ops second_ops = { second_read, second_write, 1 };
static const struct bus_ops page_ops = { page_read, page_write, 1 };

/* The cascade comes up open: firmware that has no use for DMA leaves it to the system, and systems
 * leave it to firmware. */
static void i8237_reset(struct device *dev)
{
	struct i8237 *dma = container_of(dev, struct i8237, dev);

	memset(&dma->regs, 0, sizeof(dma->regs));
	master_clear(&dma->regs, 0);
	master_clear(&dma->regs, 1);
	dma->regs.mode[CASCADE] = MODE_CASCADE;
	dma->regs.mask[1] = 0x0e;
}

static int i8237_init(struct device *dev)
{
	struct i8237 *dma = container_of(dev, struct i8237, dev);
	struct bus *ports = dev->platform->ports;
	int err = bus_map(ports, 0x00, 16, &first_ops, dma, dev->name);

	if (!err)
		err = bus_map(ports, 0xc0, 32, &second_ops, dma, dev->name);
	if (!err)
		err = bus_map(ports, 0x80, 16, &page_ops, dma, "dma page");
	if (!err)
		i8237_reset(dev);
	return err;
}

const struct device_type i8237_type = {
	.name = "i8237",
	.help = "two 8237A DMA controllers and their page registers",
	.size = sizeof(struct i8237),
	.regs_offset = offsetof(struct i8237, regs),
	.regs = &i8237_state,
	.init = i8237_init,
	.reset = i8237_reset,
};
