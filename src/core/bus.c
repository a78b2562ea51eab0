/* Regions sorted by base, found by binary search; accesses cut to what each device takes. */
#include "core/bus.h"

#include "base/bits.h"
#include "base/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void bus_init(struct bus *bus, const char *name, u64 limit, bool is_port)
{
	*bus = (struct bus){ .name = name, .limit = limit, .is_port = is_port };
}

void bus_fini(struct bus *bus)
{
	free(bus->regions);
	*bus = (struct bus){ 0 };
}

/* Index of the first region that ends beyond addr. */
static unsigned bus_search(const struct bus *bus, u64 addr)
{
	unsigned lo = 0, hi = bus->count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (bus->regions[mid].base + bus->regions[mid].size > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

int bus_map(struct bus *bus, u64 base, u64 size, const struct bus_ops *ops, void *dev,
	    const char *name)
{
	unsigned at;

	if (!size || base >= bus->limit || size > bus->limit - base)
		return -EINVAL;
	at = bus_search(bus, base);
	if (at < bus->count && bus->regions[at].base < base + size)
		return -EEXIST;
	if (bus->count == bus->capacity) {
		unsigned capacity = bus->capacity ? 2 * bus->capacity : 32;
		void *regions = realloc(bus->regions, capacity * sizeof(*bus->regions));

		if (!regions)
			return -ENOMEM;
		bus->regions = regions;
		bus->capacity = capacity;
	}
	for (unsigned i = bus->count; i > at; i--)
		bus->regions[i] = bus->regions[i - 1];
	bus->regions[at] = (struct bus_region){ base, size, ops, NULL, dev, name };
	bus->count++;
	return 0;
}

void bus_unmap(struct bus *bus, u64 base, const void *dev)
{
	unsigned at = bus_search(bus, base);

	if (at == bus->count || bus->regions[at].base != base || bus->regions[at].dev != dev)
		return;
	bus->count--;
	for (; at < bus->count; at++)
		bus->regions[at] = bus->regions[at + 1];
}

/* The largest access of 1, 2, 4 or 8 bytes, at most `left`, that the device at addr takes at once;
 * NULL and a size of 1 where there is none. The result is valid until a device is called: it may
 * move regions. */
static const struct bus_region *bus_piece(const struct bus *bus, u64 addr, unsigned left,
					  unsigned *size)
{
	unsigned at = bus_search(bus, addr);
	const struct bus_region *r;
	u64 room;

	*size = 1;
	if (at == bus->count || bus->regions[at].base > addr)
		return NULL;
	r = &bus->regions[at];
	room = MIN(r->base + r->size - addr, MIN(left, r->ops->max_size));
	while (*size * 2 <= room)
		*size *= 2;
	return r;
}

static void bus_trace(const struct bus *bus, const char *verb, u64 addr, unsigned size, u64 value,
		      const char *who)
{
	if (bus->is_port)
		trace(PORT, "%s%u %04llx = %0*llx %s", verb, size * 8, (unsigned long long)addr,
		      (int)size * 2, (unsigned long long)value, who);
	else
		trace(MMIO, "%s%u %08llx = %0*llx %s", verb, size * 8, (unsigned long long)addr,
		      (int)size * 2, (unsigned long long)value, who);
}

u64 bus_read(struct bus *bus, u64 addr, unsigned size)
{
	u64 value = 0;
	bool unclaimed = false;
	unsigned n;

	for (unsigned done = 0; done < size; done += n) {
		const struct bus_region *r = bus_piece(bus, addr + done, size - done, &n);
		const char *name = r ? r->name : "nobody";
		u64 part = bits_mask(8 * n);

		if (r)
			part &= r->ops->read(r->dev, addr + done - r->base, n);
		else
			unclaimed = true;
		bus_trace(bus, "read", addr + done, n, part, name);
		value |= part << (8 * done);
	}
	bus->unclaimed += unclaimed;
	return value;
}

void bus_write(struct bus *bus, u64 addr, u64 value, unsigned size)
{
	bool unclaimed = false;
	unsigned n;

	for (unsigned done = 0; done < size; done += n) {
		const struct bus_region *r = bus_piece(bus, addr + done, size - done, &n);
		u64 part = (value >> (8 * done)) & bits_mask(8 * n);

		bus_trace(bus, "write", addr + done, n, part, r ? r->name : "nobody");
		if (r)
			r->ops->write(r->dev, addr + done - r->base, part, n);
		else
			unclaimed = true;
	}
	bus->unclaimed += unclaimed;
}

void bus_map_block(struct bus *bus, u64 base, const void *dev, bus_block_fn *block)
{
	unsigned at = bus_search(bus, base);

	if (at < bus->count && bus->regions[at].base == base && bus->regions[at].dev == dev)
		bus->regions[at].block = block;
}

unsigned bus_block(struct bus *bus, u64 addr, u8 *buf, unsigned size, unsigned n, bool write)
{
	unsigned piece;
	const struct bus_region *r = bus_piece(bus, addr, size, &piece);

	if (!r || !r->block || piece != size || trace_on(PORT) || trace_on(MMIO))
		return 0;
	return r->block(r->dev, addr - r->base, buf, size, n, write);
}

void bus_dump(const struct bus *bus, void *file)
{
	int digits = bus->is_port ? 4 : 16;

	for (unsigned i = 0; i < bus->count; i++) {
		const struct bus_region *r = &bus->regions[i];

		fprintf(file, "%s %0*llx-%0*llx %s\n", bus->name, digits,
			(unsigned long long)r->base, digits,
			(unsigned long long)(r->base + r->size - 1), r->name);
	}
}
