/* Devices with mistakes of the five classic kinds, each after one that has been found in a device
 * model in the field. Nothing of Pogo uses them: the fuzzer must find each one, or it is no good. */
#include "fuzz.h"

#include <stdlib.h>

#define PLANT_PORT 0xd00
#define PLANT_MMIO 0xfd000000ull
#define REGS       8u

#define FIFO  512u
#define VRAM  65536u
#define CHAIN 16u

struct plant {
	struct platform *platform;
	u64 reg[REGS];
	u8 *bytes; /* heap, so that a sanitizer sees its ends */
	unsigned at;
	u64 sum;
};

/* --- 1: a command whose last parameter is not taken as the end of it ---------------------------- */

static void command_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct plant *p = dev;

	p->bytes[p->at++] = (u8)value;
	if (p->bytes[0] != 0x8e)
		p->at = 0;
	else if (p->at == 6 && (p->bytes[5] & 0x80))
		p->at = 0;
	/* The mistake: without that bit the command goes on for ever. */
}

/* --- 2: a blit whose check takes the pitch for positive ----------------------------------------- */

enum { BLIT_TO, BLIT_WIDTH, BLIT_HEIGHT, BLIT_PITCH, BLIT_GO };

static void blit(struct plant *p)
{
	i64 to = (i64)(p->reg[BLIT_TO] % VRAM), width = (i64)(p->reg[BLIT_WIDTH] % 256);
	i64 height = (i64)(p->reg[BLIT_HEIGHT] % 256), pitch = (i16)p->reg[BLIT_PITCH];

	if (to + pitch * height + width > VRAM)
		return;
	for (i64 y = 0; y < height; y++)
		memset(p->bytes + to + y * pitch, 0x55, (size_t)width);
}

/* --- 3: a sum that wraps before it is compared -------------------------------------------------- */

enum { COPY_OFFSET, COPY_LENGTH, COPY_GO };

static void copy(struct plant *p)
{
	u32 offset = (u32)p->reg[COPY_OFFSET], length = (u32)p->reg[COPY_LENGTH];

	if (offset + length <= VRAM)
		memset(p->bytes + offset, 0x55, length);
}

/* --- 4: a chain of descriptors that is followed wherever it leads ------------------------------- */

enum { CHAIN_TABLE, CHAIN_GO };

static void follow(struct plant *p)
{
	struct {
		u64 addr;
		u32 length;
		u16 flags, next;
	} d = { 0 };

	do {
		if (!mem_read(p->platform->mem, p->reg[CHAIN_TABLE] + d.next % CHAIN * 16, &d,
			      sizeof(d)))
			return;
		p->sum += d.length;
	} while (d.flags & 1);
}

/* --- 5: DMA that reaches the registers of its own device ---------------------------------------- */

enum { DMA_FROM, DMA_TO, DMA_LENGTH, DMA_GO, DMA_RESET };

static void release(struct plant *p)
{
	free(p->bytes);
	p->bytes = NULL;
}

static void dma(struct plant *p)
{
	u32 length = (u32)(p->reg[DMA_LENGTH] % 4096) & ~3u;
	u64 to = p->reg[DMA_TO];
	u8 *buf;

	release(p);
	buf = p->bytes = malloc(length + 1);
	if (!buf || !mem_read(p->platform->mem, p->reg[DMA_FROM], buf, length))
		return;
	for (u32 n = 0; n < length; n += 4)
		if (!mem_write(p->platform->mem, to + n, buf + n, 4))
			bus_write(p->platform->mmio, to + n, le_load(buf + n, 4), 4);
}

static void write_reg(struct plant *p, u64 offset, u64 value, void (*go)(struct plant *), u64 start)
{
	p->reg[offset / 8 % REGS] = value;
	if (offset / 8 == start)
		go(p);
}

static void blit_write(void *dev, u64 offset, u64 value, unsigned size)
{
	write_reg(dev, offset, value, blit, BLIT_GO);
}

static void copy_write(void *dev, u64 offset, u64 value, unsigned size)
{
	write_reg(dev, offset, value, copy, COPY_GO);
}

static void chain_write(void *dev, u64 offset, u64 value, unsigned size)
{
	write_reg(dev, offset, value, follow, CHAIN_GO);
}

static void dma_write(void *dev, u64 offset, u64 value, unsigned size)
{
	if (offset / 8 == DMA_RESET)
		release(dev);
	else
		write_reg(dev, offset, value, dma, DMA_GO);
}

static u64 plant_read(void *dev, u64 offset, unsigned size)
{
	return ((struct plant *)dev)->reg[offset / 8 % REGS];
}

static const struct {
	const char *name;
	struct bus_ops ops;
	bool port;
} plants[PLANTS] = {
	{ "command FIFO without an end", { plant_read, command_write, 1 }, true },
	{ "negative blit pitch", { plant_read, blit_write, 8 }, false },
	{ "length that wraps", { plant_read, copy_write, 8 }, false },
	{ "loop of descriptors", { plant_read, chain_write, 8 }, false },
	{ "DMA to its own registers", { plant_read, dma_write, 8 }, false },
};

const char *plant_name(unsigned n) { return n >= 1 && n <= PLANTS ? plants[n - 1].name : NULL; }

struct plant *plant_new(struct platform *platform, unsigned n)
{
	struct plant *p = calloc(1, sizeof(*p));
	struct bus *bus = plants[n - 1].port ? platform->ports : platform->mmio;
	u64 base = plants[n - 1].port ? PLANT_PORT : PLANT_MMIO;

	if (!p)
		return NULL;
	p->platform = platform;
	p->bytes = calloc(1, plants[n - 1].port ? FIFO : VRAM);
	if (p->bytes &&
	    !bus_map(bus, base, plants[n - 1].port ? 4 : REGS * 8, &plants[n - 1].ops, p, "plant"))
		return p;
	plant_free(p);
	return NULL;
}

void plant_free(struct plant *p)
{
	if (p)
		free(p->bytes);
	free(p);
}
