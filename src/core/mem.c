/* Guest-physical memory: areas, windows on them, and the slots that result. RAM is one memfd. */
#include "core/mem.h"

#include "base/bits.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct mem_area *area_add(struct mem *mem, u8 *host, u64 size, const char *name)
{
	struct mem_area *area = calloc(1, sizeof(*area));

	if (area)
		area->page_flags = calloc(size / MEM_PAGE, 1);
	if (!area || !area->page_flags) {
		free(area);
		return NULL;
	}
	area->name = name;
	area->host = host;
	area->size = size;
	mem->areas[mem->area_count++] = area;
	return area;
}

struct mem_area *mem_area_new(struct mem *mem, u64 size, const char *name)
{
	struct mem_area *area;
	u8 *host;

	size = align_up(size, MEM_PAGE);
	if (mem->area_count == MEM_AREAS || size == 0)
		return NULL;
	host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (host == MAP_FAILED)
		return NULL;
	area = area_add(mem, host, size, name);
	if (!area)
		munmap(host, size);
	return area;
}

/* --- Windows ---------------------------------------------------------------------------------- */

/* The window that is seen at gpa, and in *end where that may change. Of equals the later one wins. */
static const struct mem_window *window_at(const struct mem *mem, gpa_t gpa, gpa_t *end)
{
	const struct mem_window *top = NULL;

	*end = ~0ull;
	for (unsigned n = 0; n < mem->window_count; n++) {
		const struct mem_window *w = &mem->windows[n];

		if (gpa < w->base) {
			*end = MIN(*end, w->base);
		} else if (gpa - w->base < w->size) {
			*end = MIN(*end, w->base + w->size);
			if (!top || w->level >= top->level)
				top = w;
		}
	}
	return top;
}

static void slot_add(struct mem *mem, const struct mem_window *w, gpa_t base, u64 size)
{
	u64 offset = w->offset + (base - w->base);
	struct mem_slot slot = {
		.base = base,
		.size = size,
		.host = w->area->host + offset,
		.page_flags = w->area->page_flags + offset / MEM_PAGE,
		.area = w->area,
		.readonly = w->access == MEM_ROM,
	};
	struct mem_slot *last = mem->count ? &mem->slots[mem->count - 1] : NULL;

	if (last && last->base + last->size == base && last->host + last->size == slot.host &&
	    last->readonly == slot.readonly)
		last->size += size;
	else
		mem->slots[mem->count++] = slot;
}

/* Each window has two ends, between which there are fewer than 2 * MEM_WINDOWS stretches: they fit. */
static void slots_make(struct mem *mem)
{
	gpa_t gpa = 0, end;

	static_assert(MEM_SLOTS >= 2 * MEM_WINDOWS, "a slot for each stretch");
	mem->count = 0;
	do {
		const struct mem_window *w = window_at(mem, gpa, &end);

		if (w)
			slot_add(mem, w, gpa, end - gpa);
		gpa = end;
	} while (end != ~0ull);
	if (mem->changed)
		mem->changed(mem->opaque);
}

static struct mem_window *window_find(struct mem *mem, gpa_t base, const void *owner)
{
	for (unsigned n = 0; n < mem->window_count; n++)
		if (mem->windows[n].base == base && mem->windows[n].owner == owner)
			return &mem->windows[n];
	return NULL;
}

int mem_show(struct mem *mem, const struct mem_window *w)
{
	struct mem_window *old = window_find(mem, w->base, w->owner);

	if ((w->base | w->size | w->offset) % MEM_PAGE || w->size == 0 ||
	    w->base + w->size < w->base || w->offset > w->area->size ||
	    w->size > w->area->size - w->offset)
		return -EINVAL;
	if (old) {
		if (old->size == w->size && old->area == w->area && old->offset == w->offset &&
		    old->access == w->access && old->level == w->level)
			return 0;
		*old = *w;
	} else {
		if (mem->window_count == MEM_WINDOWS)
			return -ENOSPC;
		mem->windows[mem->window_count++] = *w;
	}
	slots_make(mem);
	return 0;
}

void mem_hide(struct mem *mem, gpa_t base, const void *owner)
{
	struct mem_window *w = window_find(mem, base, owner);

	if (!w)
		return;
	mem->window_count--;
	memmove(w, w + 1, (size_t)(mem->windows + mem->window_count - w) * sizeof(*w));
	slots_make(mem);
}

/* RAM offset `offset` appears at guest-physical `base`. */
static int show_ram(struct mem *mem, gpa_t base, u64 size, u64 offset)
{
	return mem_show(mem, &(struct mem_window){ .base = base,
						   .size = size,
						   .area = mem->ram,
						   .offset = offset,
						   .access = MEM_RAM,
						   .level = MEM_LEVEL_RAM,
						   .owner = mem });
}

int mem_init(struct mem *mem, u64 size)
{
	u8 *host;
	int err;

	*mem = (struct mem){ .fd = -1, .size = size };
	if (size < MIB || size % MEM_PAGE)
		return -EINVAL;
	mem->fd = memfd_create("pogo-ram", MFD_CLOEXEC);
	if (mem->fd < 0)
		return -errno;
	if (ftruncate(mem->fd, (off_t)size) < 0) {
		err = -errno;
		goto close;
	}
	host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, mem->fd, 0);
	if (host == MAP_FAILED) {
		err = -errno;
		goto close;
	}
	mem->ram = area_add(mem, host, size, "ram");
	if (!mem->ram) {
		err = -ENOMEM;
		goto unmap;
	}
	mem->low_end = MIN(size, MEM_LOW_MAX);
	mem->high_end = 4 * GIB + size - mem->low_end;
	err = show_ram(mem, 0, MEM_HOLE_BASE, 0);
	if (!err)
		err = show_ram(mem, MEM_HOLE_END, MIB - MEM_HOLE_END, MEM_HOLE_END);
	if (!err && mem->low_end > MIB)
		err = show_ram(mem, MIB, mem->low_end - MIB, MIB);
	if (!err && mem->high_end > 4 * GIB)
		err = show_ram(mem, 4 * GIB, mem->high_end - 4 * GIB, mem->low_end);
	if (!err)
		return 0;
	mem_fini(mem);
	return err;
unmap:
	munmap(host, size);
close:
	close(mem->fd);
	*mem = (struct mem){ .fd = -1 };
	return err;
}

void mem_fini(struct mem *mem)
{
	for (unsigned n = 0; n < mem->area_count; n++) {
		munmap(mem->areas[n]->host, mem->areas[n]->size);
		free(mem->areas[n]->page_flags);
		free(mem->areas[n]);
	}
	if (mem->fd >= 0)
		close(mem->fd);
	*mem = (struct mem){ .fd = -1 };
}

struct mem_slot *mem_find(struct mem *mem, gpa_t gpa)
{
	unsigned first = 0, end = mem->count;

	while (first < end) {
		unsigned middle = (first + end) / 2;
		struct mem_slot *slot = &mem->slots[middle];

		if (gpa - slot->base < slot->size)
			return slot;
		if (gpa < slot->base)
			end = middle;
		else
			first = middle + 1;
	}
	return NULL;
}

u8 *mem_host(struct mem *mem, gpa_t gpa, u64 size)
{
	struct mem_slot *slot = mem_find(mem, gpa);

	if (!slot || size > slot->base + slot->size - gpa)
		return NULL;
	return slot->host + (gpa - slot->base);
}

gpa_t mem_gpa(const struct mem *mem, const u8 *host)
{
	for (unsigned n = 0; n < mem->count; n++) {
		const struct mem_slot *s = &mem->slots[n];

		if (host >= s->host && host < s->host + s->size)
			return s->base + (u64)(host - s->host);
	}
	return ~0ull;
}

static struct mem_area *area_of(const struct mem *mem, const u8 *host)
{
	for (unsigned n = 0; n < mem->area_count; n++) {
		struct mem_area *area = mem->areas[n];

		if (host >= area->host && host < area->host + area->size)
			return area;
	}
	return NULL;
}

u8 *mem_page_flags(const struct mem *mem, const u8 *host)
{
	struct mem_area *area = area_of(mem, host);

	return area ? &area->page_flags[(u64)(host - area->host) / MEM_PAGE] : NULL;
}

/* Whether slots hold every byte of a range: it may span slots that touch. */
static bool mem_covers(struct mem *mem, gpa_t gpa, u64 size)
{
	while (size) {
		struct mem_slot *slot = mem_find(mem, gpa);
		u64 room;

		if (!slot)
			return false;
		room = slot->base + slot->size - gpa;
		if (size <= room)
			return true;
		gpa += room;
		size -= room;
	}
	return true;
}

bool mem_read(struct mem *mem, gpa_t gpa, void *buf, u64 size)
{
	u8 *to = buf;

	if (!mem_covers(mem, gpa, size))
		return false;
	while (size) {
		struct mem_slot *slot = mem_find(mem, gpa);
		u64 offset = gpa - slot->base;
		u64 n = MIN(size, slot->size - offset);

		memcpy(to, slot->host + offset, n);
		to += n;
		gpa += n;
		size -= n;
	}
	return true;
}

void mem_area_touch(struct mem *mem, struct mem_area *area, u64 offset, u64 size)
{
	u64 end = offset + size;

	while (offset < end) {
		u8 *flags = &area->page_flags[offset / MEM_PAGE];
		u64 n = MIN(end, (offset / MEM_PAGE + 1) * MEM_PAGE) - offset;

		if ((*flags & MEM_PAGE_CODE) && mem->code_written)
			mem->code_written(mem->opaque, area->host + offset, n);
		if (area->track)
			*flags |= MEM_PAGE_DIRTY;
		offset += n;
	}
}

bool mem_take_dirty(struct mem *mem, struct mem_area *area, u64 *dirty)
{
	bool any = false;

	for (u64 page = 0; page < area->size / MEM_PAGE; page++) {
		u8 *flags = &area->page_flags[page];

		if (!(*flags & MEM_PAGE_DIRTY))
			continue;
		*flags &= (u8)~MEM_PAGE_DIRTY;
		if (dirty)
			dirty[page / 64] |= 1ull << page % 64;
		any = true;
	}
	if (any && mem->changed)
		mem->changed(mem->opaque);
	return any;
}

bool mem_write(struct mem *mem, gpa_t gpa, const void *buf, u64 size)
{
	const u8 *from = buf;

	if (!mem_covers(mem, gpa, size))
		return false;
	while (size) {
		struct mem_slot *slot = mem_find(mem, gpa);
		u64 offset = gpa - slot->base;
		u64 n = MIN(size, slot->size - offset);

		if (!slot->readonly) {
			mem_area_touch(mem, slot->area,
				       (u64)(slot->host - slot->area->host) + offset, n);
			memcpy(slot->host + offset, from, n);
		}
		from += n;
		gpa += n;
		size -= n;
	}
	return true;
}

void mem_dump(const struct mem *mem, void *file)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct mem_slot *s = &mem->slots[i];

		fprintf(file, "mem %016llx-%016llx %s %s\n", (unsigned long long)s->base,
			(unsigned long long)(s->base + s->size - 1), s->readonly ? "ro" : "rw",
			s->area->name);
	}
}
