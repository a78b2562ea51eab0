/* An address space of device registers: the machine has one for ports and one for MMIO. */
#ifndef CORE_BUS_H
#define CORE_BUS_H

#include "base/types.h"

struct bus_ops {
	/* offset is from the region's base; size is 1, 2, 4 or 8 and never above max_size; the
	 * access lies within the region. */
	u64 (*read)(void *dev, u64 offset, unsigned size);
	void (*write)(void *dev, u64 offset, u64 value, unsigned size);
	/* wider accesses are split into several of this size, low address first */
	unsigned max_size;
};

/* Moves up to n elements between the device's register at offset and buf, as so many reads (write: writes) of that size would, and as far as it
 * can say what they do: fewer, or none, if not. size is never above max_size. */
typedef unsigned bus_block_fn(void *dev, u64 offset, u8 *buf, unsigned size, unsigned n,
			      bool write);

struct bus_region {
	u64 base, size;
	const struct bus_ops *ops;
	bus_block_fn *block; /* or NULL */
	void *dev;
	const char *name;
};

struct bus {
	const char *name;
	u64 limit;                  /* first address beyond the bus: 0x10000 for ports */
	struct bus_region *regions; /* sorted by base, never overlapping */
	unsigned count, capacity;
	u64 unclaimed; /* accesses that no device answered */
	bool is_port;
};

void bus_init(struct bus *bus, const char *name, u64 limit, bool is_port);
void bus_fini(struct bus *bus);
/* Adds a region. -EEXIST where it overlaps another, -EINVAL where it is empty or beyond the limit,
 * -ENOMEM. Not while a vCPU runs guest code. `name` and `ops` outlive the bus. */
int bus_map(struct bus *bus, u64 base, u64 size, const struct bus_ops *ops, void *dev,
	    const char *name) must_check;
/* Removes the region of `dev` that starts at `base`; unknown regions are ignored. */
void bus_unmap(struct bus *bus, u64 base, const void *dev);
/* One access of 1, 2, 4 or 8 bytes at any address. Unclaimed bytes read as ones, writes to them are
 * dropped. */
u64 bus_read(struct bus *bus, u64 addr, unsigned size);
void bus_write(struct bus *bus, u64 addr, u64 value, unsigned size);
/* For a device that takes repeated accesses at once: to its region that starts at base. */
void bus_map_block(struct bus *bus, u64 base, const void *dev, bus_block_fn *block);
/* The first of n accesses to addr that the device does at once; how many. The others, if they are wanted, are for bus_read and bus_write: none is
 * done at once where accesses are traced, or split. */
unsigned bus_block(struct bus *bus, u64 addr, u8 *buf, unsigned size, unsigned n, bool write);
/* `--dump=bus`: one line per region. */
void bus_dump(const struct bus *bus, void *file);

#endif
