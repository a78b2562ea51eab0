/* Guest RAM as one memfd, and the slots that show it to the guest. */
#include "core/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* RAM offset `offset` appears at guest-physical `base`. */
static void mem_add_slot(struct mem *mem, gpa_t base, u64 size, u64 offset, const char *name)
{
	mem->slots[mem->count++] = (struct mem_slot){
		.base = base,
		.size = size,
		.host = mem->host + offset,
		.page_flags = mem->page_flags + offset / MEM_PAGE,
		.name = name,
	};
}

int mem_init(struct mem *mem, u64 size)
{
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
	mem->host =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, mem->fd, 0);
	if (mem->host == MAP_FAILED) {
		err = -errno;
		goto close;
	}
	mem->page_flags = calloc(size / MEM_PAGE, 1);
	if (!mem->page_flags) {
		err = -ENOMEM;
		goto unmap;
	}
	mem->low_end = MIN(size, MEM_LOW_MAX);
	mem->high_end = 4 * GIB + size - mem->low_end;
	mem_add_slot(mem, 0, MEM_HOLE_BASE, 0, "ram below the VGA window");
	mem_add_slot(mem, MEM_HOLE_END, mem->low_end - MEM_HOLE_END, MEM_HOLE_END, "ram");
	if (mem->high_end > 4 * GIB)
		mem_add_slot(mem, 4 * GIB, mem->high_end - 4 * GIB, mem->low_end, "ram above 4G");
	return 0;
unmap:
	munmap(mem->host, size);
close:
	close(mem->fd);
	*mem = (struct mem){ .fd = -1 };
	return err;
}

void mem_fini(struct mem *mem)
{
	if (mem->fd >= 0) {
		free(mem->page_flags);
		munmap(mem->host, mem->size);
		close(mem->fd);
	}
	*mem = (struct mem){ .fd = -1 };
}

struct mem_slot *mem_find(struct mem *mem, gpa_t gpa)
{
	for (unsigned i = 0; i < mem->count; i++)
		if (gpa - mem->slots[i].base < mem->slots[i].size)
			return &mem->slots[i];
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

/* Tells the engine about each page of [offset, offset + size) of a slot that holds cached code. */
static void mem_announce(struct mem *mem, struct mem_slot *slot, u64 offset, u64 size)
{
	u64 end = offset + size;

	while (offset < end) {
		u64 page = offset / MEM_PAGE;
		u64 n = MIN(end, (page + 1) * MEM_PAGE) - offset;

		if ((slot->page_flags[page] & MEM_PAGE_CODE) && mem->code_written)
			mem->code_written(mem->opaque, slot->base + offset, n);
		offset += n;
	}
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
			mem_announce(mem, slot, offset, n);
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
			s->name);
	}
}
