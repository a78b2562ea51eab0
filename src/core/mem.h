/* Guest-physical RAM: a sparse memfd, mapped once, cut into slots that never overlap. The map
 * changes only while no vCPU runs. Devices reach guest memory through mem_read and mem_write alone:
 * data is copied in, validated, then acted on. */
#ifndef CORE_MEM_H
#define CORE_MEM_H

#include "base/types.h"

#define MEM_PAGE  4096u
#define MEM_SLOTS 8

/* Per-page bits. */
#define MEM_PAGE_CODE      1u /* an engine caches code of this page: each write must be announced */
#define MEM_PAGE_TLB_WRITE 2u /* a vCPU's TLB may let writes to this page through */

struct mem_slot {
	gpa_t base;
	u64 size;
	u8 *host;       /* host address of base */
	u8 *page_flags; /* one byte a page */
	const char *name;
	bool readonly; /* ROM: writes are dropped */
};

struct mem {
	int fd;
	u8 *host; /* the whole of RAM */
	u8 *page_flags;
	u64 size;     /* bytes of RAM */
	u64 low_end;  /* RAM below 4 GiB ends here */
	u64 high_end; /* RAM above 4 GiB ends here, or 4 GiB if there is none */
	struct mem_slot slots[MEM_SLOTS];
	unsigned count;
	/* Called before bytes of a page marked MEM_PAGE_CODE change. */
	void (*code_written)(void *opaque, gpa_t gpa, u64 size);
	void *opaque;
};

#define MEM_LOW_MAX   (3 * GIB)  /* where the PCI hole starts */
#define MEM_HOLE_BASE 0xa0000ull /* legacy VGA window: not RAM */
#define MEM_HOLE_END  0xc0000ull

/* Lays out `size` bytes of RAM as a PC does: 0..640K, 768K..min(size, 3G), and the rest from 4 GiB.
 * size is a multiple of a page and at least 1 MiB. Negative errno. */
int mem_init(struct mem *mem, u64 size) must_check;
void mem_fini(struct mem *mem);
/* The slot that holds gpa, or NULL. */
struct mem_slot *mem_find(struct mem *mem, gpa_t gpa);
/* Host address of [gpa, gpa + size) if all of it lies in one slot, else NULL. */
u8 *mem_host(struct mem *mem, gpa_t gpa, u64 size);
/* The other way: where in guest-physical memory a byte of RAM lies; all ones if host is none. */
gpa_t mem_gpa(const struct mem *mem, const u8 *host);
/* Copies from or to guest RAM; false, and nothing is written, if a byte of the range is not RAM. */
bool mem_read(struct mem *mem, gpa_t gpa, void *buf, u64 size) must_check;
bool mem_write(struct mem *mem, gpa_t gpa, const void *buf, u64 size) must_check;
/* `--dump=memmap`. */
void mem_dump(const struct mem *mem, void *file);

#endif
