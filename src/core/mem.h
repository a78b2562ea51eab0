/* Guest-physical memory. What holds bytes is an area: RAM, a ROM, a video memory. What the guest sees is windows on areas, one over the
 * other, which may change while the machine runs (between two instructions of any vCPU); slots are the result. Where no window is, the
 * MMIO bus answers. Devices reach guest memory through mem_read and mem_write alone: data is copied in, validated, then acted on. */
#ifndef CORE_MEM_H
#define CORE_MEM_H

#include "base/types.h"

#define MEM_PAGE    4096u
#define MEM_SLOTS   128
#define MEM_WINDOWS 48
#define MEM_AREAS   16

/* Per-page bits. */
#define MEM_PAGE_CODE      1u /* an engine caches code of this page: each write must be announced */
#define MEM_PAGE_TLB_WRITE 2u /* a vCPU's TLB may let writes to this page through */
#define MEM_PAGE_DIRTY     4u /* written since mem_take_dirty; for areas with `track` */

/* Bytes that exist, visible or not. */
struct mem_area {
	const char *name;
	u8 *host;
	u64 size;       /* a multiple of a page */
	u8 *page_flags; /* one byte a page */
	bool track;     /* writes set MEM_PAGE_DIRTY */
};

enum mem_access {
	MEM_RAM,
	MEM_ROM, /* reads and code are of memory; writes go to the MMIO bus, which drops them if no device claims them */
};

/* A part of an area that the guest sees at base. */
struct mem_window {
	gpa_t base;
	u64 size;
	struct mem_area *area;
	u64 offset;
	enum mem_access access;
	unsigned level; /* the higher one is seen where windows overlap */
	const void *owner;
};

/* A stretch of addresses after overlaps are resolved; never overlapping. */
struct mem_slot {
	gpa_t base;
	u64 size;
	u8 *host;       /* host address of base */
	u8 *page_flags; /* one byte a page */
	struct mem_area *area;
	bool readonly; /* MEM_ROM */
};

struct mem {
	int fd;
	u64 size;     /* bytes of RAM */
	u64 low_end;  /* RAM below 4 GiB ends here */
	u64 high_end; /* RAM above 4 GiB ends here, or 4 GiB if there is none */
	struct mem_area *ram;
	struct mem_area *areas[MEM_AREAS];
	unsigned area_count;
	struct mem_window windows[MEM_WINDOWS]; /* in the order in which they came */
	unsigned window_count;
	struct mem_slot slots[MEM_SLOTS]; /* sorted by base */
	unsigned count;
	/* Called before bytes of a page marked MEM_PAGE_CODE change. */
	void (*code_written)(void *opaque, const u8 *host, u64 size);
	/* Called after the slots have changed, or the tracking of writes starts anew: cached translations are void. */
	void (*changed)(void *opaque);
	void *opaque;
};

#define MEM_LOW_MAX   (3 * GIB)  /* where the PCI hole starts */
#define MEM_HOLE_BASE 0xa0000ull /* legacy VGA window: not RAM */
#define MEM_HOLE_END  0xc0000ull

#define MEM_LEVEL_RAM    0u /* what the memory controller decodes by default */
#define MEM_LEVEL_SHADOW 1u /* ROM below 1 MiB, and the shadow RAM that the bridge puts over it */
#define MEM_LEVEL_DEVICE 2u /* BARs, the VGA window, flash */
#define MEM_LEVEL_SMRAM  3u /* over the VGA window while it is open */

/* Lays out `size` bytes of RAM as a PC does: 0..640K, 768K..min(size, 3G), and the rest from 4 GiB.
 * size is a multiple of a page and at least 1 MiB. Negative errno. */
int mem_init(struct mem *mem, u64 size) must_check;
/* Adds an area of zeros (size is rounded up to a page) that no window shows yet; it lives as long as mem. NULL: no memory, or too many.
 * The name outlives mem. */
struct mem_area *mem_area_new(struct mem *mem, u64 size, const char *name);
/* Shows [offset, offset + size) of the area at base; all multiples of a page, else -EINVAL. The same owner and base: the old window is
 * replaced. -ENOSPC: too many windows. */
int mem_show(struct mem *mem, const struct mem_window *window) must_check;
/* Takes the owner's window at base away; unknown ones are ignored. */
void mem_hide(struct mem *mem, gpa_t base, const void *owner);
/* Sets bit n of dirty (if not NULL) for each page of the area that was written since the last call, and starts anew. The area
 * has `track`. Returns whether there was any. */
bool mem_take_dirty(struct mem *mem, struct mem_area *area, u64 *dirty);
/* The device itself has changed bytes of an area: announces code, marks pages dirty. Call before the change. */
void mem_area_touch(struct mem *mem, struct mem_area *area, u64 offset, u64 size);
void mem_fini(struct mem *mem);
/* The slot that holds gpa, or NULL. */
struct mem_slot *mem_find(struct mem *mem, gpa_t gpa);
/* Host address of [gpa, gpa + size) if all of it lies in one slot, else NULL. */
u8 *mem_host(struct mem *mem, gpa_t gpa, u64 size);
/* The other way: an address at which a byte of an area is seen (the lowest one); all ones if it is not. */
gpa_t mem_gpa(const struct mem *mem, const u8 *host);
/* The flags of the page of an area that holds a host byte, seen or not; NULL if it is of no area. */
u8 *mem_page_flags(const struct mem *mem, const u8 *host);
/* Copies from or to guest RAM; false, and nothing is written, if a byte of the range is not RAM. */
bool mem_read(struct mem *mem, gpa_t gpa, void *buf, u64 size) must_check;
bool mem_write(struct mem *mem, gpa_t gpa, const void *buf, u64 size) must_check;
/* `--dump=memmap`. */
void mem_dump(const struct mem *mem, void *file);

#endif
