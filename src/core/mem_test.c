#include "base/test.h"
#include "core/mem.h"

#include <errno.h>
#include <string.h>

static void layout_small(void **state)
{
	struct mem mem;

	assert_int_equal(mem_init(&mem, 64 * MIB), 0);
	assert_int_equal(mem.low_end, 64 * MIB);
	assert_int_equal(mem.high_end, 4 * GIB);
	assert_non_null(mem_find(&mem, 0));
	assert_non_null(mem_find(&mem, 0x9ffff));
	assert_null(mem_find(&mem, 0xa0000));
	assert_null(mem_find(&mem, 0xbffff));
	assert_non_null(mem_find(&mem, 0xc0000));
	assert_non_null(mem_find(&mem, 64 * MIB - 1));
	assert_null(mem_find(&mem, 64 * MIB));
	assert_null(mem_find(&mem, 4 * GIB));
	mem_fini(&mem);
}

static void layout_above_4g(void **state)
{
	struct mem mem;
	u8 a = 1, b = 2, got;

	assert_int_equal(mem_init(&mem, 5 * GIB), 0);
	assert_int_equal(mem.low_end, 3 * GIB);
	assert_int_equal(mem.high_end, 6 * GIB);
	assert_null(mem_find(&mem, 3 * GIB));
	assert_null(mem_find(&mem, 6 * GIB));
	assert_true(mem_write(&mem, 3 * GIB - 1, &a, 1));
	assert_true(mem_write(&mem, 4 * GIB, &b, 1));
	assert_true(mem_read(&mem, 3 * GIB - 1, &got, 1));
	assert_int_equal(got, 1);
	assert_true(mem_read(&mem, 4 * GIB, &got, 1));
	assert_int_equal(got, 2);
	assert_ptr_equal(mem_host(&mem, 4 * GIB, 1), mem.ram->host + 3 * GIB);
	assert_ptr_equal(mem_host(&mem, 6 * GIB - 1, 1), mem.ram->host + 5 * GIB - 1);
	assert_null(mem_host(&mem, 6 * GIB - 1, 2));
	assert_ptr_equal(mem_find(&mem, 4 * GIB)->page_flags,
			 mem.ram->page_flags + 3 * GIB / MEM_PAGE);
	mem_fini(&mem);
}

static void bad_sizes(void **state)
{
	struct mem mem;

	assert_int_equal(mem_init(&mem, 0), -EINVAL);
	assert_int_equal(mem_init(&mem, MIB - MEM_PAGE), -EINVAL);
	assert_int_equal(mem_init(&mem, MIB + 1), -EINVAL);
	mem_fini(&mem);
}

static void failed_accesses_change_nothing(void **state)
{
	struct mem mem;
	u8 buf[16], before[16];

	assert_int_equal(mem_init(&mem, MIB), 0);
	memset(buf, 0xaa, sizeof(buf));
	assert_false(mem_write(&mem, 0x9fff8, buf, 16));
	assert_int_equal(mem.ram->host[0x9fff8], 0);
	assert_false(mem_write(&mem, MIB - 8, buf, 16));
	assert_int_equal(mem.ram->host[MIB - 8], 0);
	memcpy(before, buf, 16);
	assert_false(mem_read(&mem, 0x9fff8, buf, 16));
	assert_memory_equal(buf, before, 16);
	assert_false(mem_read(&mem, ~0ull, buf, 16));
	assert_false(mem_read(&mem, ~0ull - 7, buf, 16));
	assert_false(mem_read(&mem, 0, buf, ~0ull));
	assert_true(mem_read(&mem, 0xa0000, buf, 0));
	mem_fini(&mem);
}

static void host_pointer_stays_in_one_slot(void **state)
{
	struct mem mem;

	assert_int_equal(mem_init(&mem, MIB), 0);
	assert_non_null(mem_host(&mem, 0x9f000, 0x1000));
	assert_null(mem_host(&mem, 0x9f000, 0x1001));
	assert_null(mem_host(&mem, 0xa0000, 1));
	assert_null(mem_host(&mem, 0x1000, ~0ull));
	mem_fini(&mem);
}

static void touching_slots_are_one_range(void **state)
{
	struct mem mem;
	u8 out[32], in[32];

	assert_int_equal(mem_init(&mem, MIB), 0);
	/* The upper one is followed by pages of another place. */
	assert_int_equal(mem_show(&mem, &(struct mem_window){ .base = 0xd0000,
							      .size = 0x10000,
							      .area = mem.ram,
							      .offset = 0xe0000,
							      .level = MEM_LEVEL_SHADOW }),
			 0);
	assert_int_equal(mem.count, 4);
	for (unsigned i = 0; i < 32; i++)
		out[i] = (u8)i;
	assert_true(mem_write(&mem, 0xcfff0, out, 32));
	assert_true(mem_read(&mem, 0xcfff0, in, 32));
	assert_memory_equal(in, out, 32);
	assert_memory_equal(mem.ram->host + 0xcfff0, out, 16);
	assert_memory_equal(mem.ram->host + 0xe0000, out + 16, 16);
	mem_fini(&mem);
}

static void rom_drops_writes(void **state)
{
	struct mem mem;
	u8 byte = 0x55;

	assert_int_equal(mem_init(&mem, MIB), 0);
	assert_int_equal(mem_show(&mem, &(struct mem_window){ .base = 0xf0000,
							      .size = 0x10000,
							      .area = mem.ram,
							      .offset = 0xf0000,
							      .access = MEM_ROM,
							      .level = MEM_LEVEL_SHADOW }),
			 0);
	assert_true(mem_write(&mem, 0xf0000, &byte, 1));
	assert_int_equal(mem.ram->host[0xf0000], 0);
	mem_fini(&mem);
}

struct announced {
	struct mem *mem;
	unsigned calls;
	gpa_t gpa[4];
	u64 size[4];
	u8 old;
};

static void announce(void *opaque, const u8 *host, u64 size)
{
	struct announced *a = opaque;

	assert_true(a->calls < 4);
	a->old = *host;
	a->gpa[a->calls] = mem_gpa(a->mem, host);
	a->size[a->calls++] = size;
}

static void code_pages_are_announced_first(void **state)
{
	struct mem mem;
	struct announced a = { .mem = &mem };
	u8 buf[3 * MEM_PAGE];

	assert_int_equal(mem_init(&mem, MIB), 0);
	mem.code_written = announce;
	mem.opaque = &a;
	memset(buf, 0x90, sizeof(buf));
	mem.ram->page_flags[0xc2000 / MEM_PAGE] = MEM_PAGE_CODE;
	mem.ram->page_flags[0xc3000 / MEM_PAGE] = MEM_PAGE_CODE;
	assert_true(mem_write(&mem, 0xc1800, buf, 2 * MEM_PAGE));
	assert_int_equal(a.calls, 2);
	assert_int_equal(a.gpa[0], 0xc2000);
	assert_int_equal(a.size[0], 0x1000);
	assert_int_equal(a.gpa[1], 0xc3000);
	assert_int_equal(a.size[1], 0x800);
	assert_int_equal(a.old, 0);
	assert_int_equal(mem.ram->host[0xc3000], 0x90);
	mem_fini(&mem);
}

/* --- Windows ---------------------------------------------------------------------------------- */

#define HOLE  0xe0000000ull /* nothing is here */
#define PAGES 16u

static const int owner_a, owner_b;

/* 2 MiB of RAM, and an area of PAGES pages whose first bytes are their numbers plus mark. */
static struct mem_area *with_area(struct mem *mem, u8 mark)
{
	struct mem_area *area;

	if (mem->fd <= 0)
		assert_int_equal(mem_init(mem, 2 * MIB), 0);
	area = mem_area_new(mem, PAGES * MEM_PAGE, "area");
	assert_non_null(area);
	for (unsigned n = 0; n < PAGES; n++)
		area->host[n * MEM_PAGE] = (u8)(mark + n);
	return area;
}

static int show(struct mem *mem, struct mem_area *area, gpa_t base, unsigned pages, unsigned first,
		unsigned level, const void *owner)
{
	return mem_show(mem, &(struct mem_window){ .base = base,
						   .size = pages * (u64)MEM_PAGE,
						   .area = area,
						   .offset = first * (u64)MEM_PAGE,
						   .level = level,
						   .owner = owner });
}

static int first_byte(struct mem *mem, gpa_t gpa)
{
	u8 byte;

	return mem_read(mem, gpa, &byte, 1) ? byte : -1;
}

static void count_call(void *opaque) { ++*(unsigned *)opaque; }

static void higher_level_is_seen(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *low = with_area(&mem, 0x10), *high = with_area(&mem, 0x80);

	(void)state;
	assert_int_equal(show(&mem, high, HOLE + 0x2000, 2, 0, 2, &owner_a), 0);
	assert_int_equal(show(&mem, low, HOLE, 6, 0, 1, &owner_a), 0);
	assert_int_equal(first_byte(&mem, HOLE + 0x1000), 0x11);
	assert_int_equal(first_byte(&mem, HOLE + 0x2000), 0x80);
	assert_int_equal(first_byte(&mem, HOLE + 0x3000), 0x81);
	assert_int_equal(first_byte(&mem, HOLE + 0x4000), 0x14);
	assert_int_equal(first_byte(&mem, HOLE + 0x6000), -1);
	assert_null(mem_host(&mem, HOLE, 0x3000));
	assert_ptr_equal(mem_host(&mem, HOLE + 0x4000, 0x2000), low->host + 0x4000);
	/* What is covered comes back. */
	mem_hide(&mem, HOLE + 0x2000, &owner_a);
	assert_int_equal(first_byte(&mem, HOLE + 0x2000), 0x12);
	assert_ptr_equal(mem_host(&mem, HOLE, 0x6000), low->host);
	mem_fini(&mem);
}

/* Of equal levels the one that came later; one that is replaced keeps its turn. */
static void of_equals_the_later(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *one = with_area(&mem, 0x10), *two = with_area(&mem, 0x80);

	(void)state;
	assert_int_equal(show(&mem, one, HOLE, 4, 0, 1, &owner_a), 0);
	assert_int_equal(show(&mem, two, HOLE + 0x1000, 2, 0, 1, &owner_b), 0);
	assert_int_equal(first_byte(&mem, HOLE + 0x1000), 0x80);
	assert_int_equal(show(&mem, one, HOLE, 4, 4, 1, &owner_a), 0);
	assert_int_equal(first_byte(&mem, HOLE), 0x14);
	assert_int_equal(first_byte(&mem, HOLE + 0x1000), 0x80);
	assert_int_equal(first_byte(&mem, HOLE + 0x3000), 0x17);
	mem_hide(&mem, HOLE, &owner_a);
	assert_int_equal(show(&mem, one, HOLE, 4, 0, 1, &owner_a), 0);
	assert_int_equal(first_byte(&mem, HOLE + 0x1000), 0x11);
	mem_fini(&mem);
}

/* A window is known by owner and base, and only a change is one. */
static void replaced_by_owner_and_base(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *area = with_area(&mem, 0x10);
	unsigned changes = 0, windows = mem.window_count;

	(void)state;
	mem.changed = count_call;
	mem.opaque = &changes;
	assert_int_equal(show(&mem, area, HOLE, 2, 0, 1, &owner_a), 0);
	assert_int_equal(show(&mem, area, HOLE, 2, 0, 1, &owner_a), 0);
	assert_int_equal(changes, 1);
	assert_int_equal(show(&mem, area, HOLE, 3, 8, 1, &owner_a), 0);
	assert_int_equal(changes, 2);
	assert_int_equal(mem.window_count, windows + 1);
	assert_int_equal(first_byte(&mem, HOLE), 0x18);
	assert_int_equal(first_byte(&mem, HOLE + 0x2000), 0x1a);
	assert_int_equal(show(&mem, area, HOLE, 1, 0, 1, &owner_b), 0);
	assert_int_equal(mem.window_count, windows + 2);
	assert_int_equal(first_byte(&mem, HOLE), 0x10);
	mem_hide(&mem, HOLE, &owner_b);
	assert_int_equal(first_byte(&mem, HOLE), 0x18);
	assert_int_equal(changes, 4);
	/* Unknown ones. */
	mem_hide(&mem, HOLE, &owner_b);
	mem_hide(&mem, HOLE + 0x1000, &owner_a);
	mem_hide(&mem, 0, &owner_a);
	assert_int_equal(changes, 4);
	assert_int_equal(mem.window_count, windows + 1);
	/* From memory to ROM is a change, too. */
	assert_int_equal(mem_show(&mem, &(struct mem_window){ .base = HOLE,
							      .size = 0x3000,
							      .area = area,
							      .offset = 0x8000,
							      .access = MEM_ROM,
							      .level = 1,
							      .owner = &owner_a }),
			 0);
	assert_int_equal(changes, 5);
	assert_true(mem_find(&mem, HOLE)->readonly);
	mem_fini(&mem);
}

static void windows_with_errors(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *area = with_area(&mem, 0);
	unsigned changes = 0, windows = mem.window_count;
	struct mem_window w = { .base = HOLE, .size = MEM_PAGE, .area = area, .owner = &owner_a };
	struct mem_window bad;

	(void)state;
	mem.changed = count_call;
	mem.opaque = &changes;
#define BAD(...)                                                 \
	do {                                                     \
		bad = w;                                         \
		__VA_ARGS__;                                     \
		assert_int_equal(mem_show(&mem, &bad), -EINVAL); \
	} while (0)
	BAD(bad.base++);
	BAD(bad.size--);
	BAD(bad.size = 0);
	BAD(bad.offset = 1);
	BAD(bad.offset = area->size);
	BAD(bad.offset = area->size + MEM_PAGE);
	BAD(bad.offset = 0 - (u64)MEM_PAGE);
	BAD(bad.size = area->size + MEM_PAGE);
	BAD(bad.size = 0 - (u64)MEM_PAGE);
	BAD(bad.offset = MEM_PAGE; bad.size = area->size);
	BAD(bad.base = 0 - (u64)MEM_PAGE); /* an end of 2^64 does not fit */
#undef BAD
	assert_int_equal(changes, 0);
	assert_int_equal(mem.window_count, windows);
	w.base = 0 - 2 * (u64)MEM_PAGE;
	assert_int_equal(mem_show(&mem, &w), 0);
	assert_ptr_equal(mem_host(&mem, w.base, MEM_PAGE), area->host);
	assert_null(mem_find(&mem, w.base + MEM_PAGE));
	mem_fini(&mem);
}

/* Windows run out, and then only changes of those that are there are taken; the slots of the most fit. */
static void limits(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *area = with_area(&mem, 0x10);
	unsigned n = 0;

	(void)state;
	/* A stair, up and down again: each window has a part in front and one behind the next. */
	while (mem.window_count < MEM_WINDOWS) {
		assert_int_equal(mem_show(&mem,
					  &(struct mem_window){ .base = HOLE + n * (u64)MEM_PAGE,
								.size = (2 * MEM_WINDOWS - 2 * n) *
									(u64)MEM_PAGE,
								.area = mem.ram,
								.offset = n % 2 * 3 * (u64)MEM_PAGE,
								.level = n,
								.owner = &owner_a }),
				 0);
		n++;
	}
	assert_true(mem.count >= 2 * n - 1);
	assert_true(mem.count <= MEM_SLOTS);
	assert_int_equal(show(&mem, area, GIB, 1, 0, 0, &owner_a), -ENOSPC);
	assert_int_equal(first_byte(&mem, GIB), -1);
	assert_int_equal(show(&mem, area, HOLE, 1, 0, 99, &owner_a), 0);
	assert_int_equal(first_byte(&mem, HOLE), 0x10);
	mem_hide(&mem, HOLE, &owner_a);
	assert_int_equal(show(&mem, area, GIB, 1, 0, 0, &owner_a), 0);
	assert_int_equal(first_byte(&mem, GIB), 0x10);

	while (mem.area_count < MEM_AREAS)
		assert_non_null(mem_area_new(&mem, 1, "page"));
	assert_int_equal(mem.areas[MEM_AREAS - 1]->size, MEM_PAGE);
	assert_null(mem_area_new(&mem, 1, "page"));
	mem_fini(&mem);
	assert_int_equal(mem_init(&mem, MIB), 0);
	assert_null(mem_area_new(&mem, 0, "nothing"));
	assert_null(mem_area_new(&mem, 1ull << 60, "too much"));
	assert_int_equal(mem.area_count, 1);
	mem_fini(&mem);
}

/* Parts of an area that follow each other there and here are one slot, whoever shows them. */
static void slots_merge(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *area = with_area(&mem, 0x10);
	unsigned count = mem.count;

	(void)state;
	assert_int_equal(show(&mem, area, HOLE, 2, 0, 1, &owner_a), 0);
	assert_int_equal(show(&mem, area, HOLE + 0x2000, 2, 2, 3, &owner_b), 0);
	assert_int_equal(mem.count, count + 1);
	assert_ptr_equal(mem_host(&mem, HOLE, 0x4000), area->host);
	/* Other bytes, or another access. */
	assert_int_equal(show(&mem, area, HOLE + 0x2000, 2, 3, 3, &owner_b), 0);
	assert_int_equal(mem.count, count + 2);
	assert_int_equal(mem_show(&mem, &(struct mem_window){ .base = HOLE + 0x2000,
							      .size = 0x2000,
							      .area = area,
							      .offset = 0x2000,
							      .access = MEM_ROM,
							      .owner = &owner_b }),
			 0);
	assert_int_equal(mem.count, count + 2);
	assert_false(mem_find(&mem, HOLE + 0x1fff)->readonly);
	assert_true(mem_find(&mem, HOLE + 0x2000)->readonly);
	mem_fini(&mem);
}

/* Bytes at two addresses are the same bytes; their page has one set of flags. */
static void aliases(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *area = with_area(&mem, 0x10);
	struct announced a = { .mem = &mem };
	u8 byte = 0x77, *flags;

	(void)state;
	mem.code_written = announce;
	mem.opaque = &a;
	assert_int_equal(show(&mem, area, HOLE + 0x10000, 4, 0, 1, &owner_a), 0);
	assert_int_equal(show(&mem, area, HOLE, 4, 2, 1, &owner_a), 0);
	assert_true(mem_write(&mem, HOLE + 0x1000, &byte, 1));
	assert_int_equal(first_byte(&mem, HOLE + 0x13000), 0x77);
	/* The lowest address, or none. */
	assert_int_equal(mem_gpa(&mem, area->host + 0x3001), HOLE + 0x1001);
	assert_int_equal(mem_gpa(&mem, area->host + 0x1001), HOLE + 0x11001);
	assert_int_equal(mem_gpa(&mem, area->host + 0x7000), ~0ull);
	assert_int_equal(mem_gpa(&mem, mem.ram->host + 0xa0000), ~0ull);
	assert_int_equal(mem_gpa(&mem, (const u8 *)&mem), ~0ull);

	flags = mem_page_flags(&mem, area->host + 0x3fff);
	assert_ptr_equal(flags, area->page_flags + 3);
	assert_ptr_equal(mem_find(&mem, HOLE)->page_flags, area->page_flags + 2);
	assert_ptr_equal(mem_page_flags(&mem, area->host + 0x7000), area->page_flags + 7);
	assert_ptr_equal(mem_page_flags(&mem, mem.ram->host + 0xa0000), mem.ram->page_flags + 0xa0);
	assert_null(mem_page_flags(&mem, (const u8 *)&mem));
	*flags = MEM_PAGE_CODE;
	assert_true(mem_write(&mem, HOLE + 0x13008, &byte, 1));
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.gpa[0], HOLE + 0x1008);
	mem_fini(&mem);
}

static void dirty_pages(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *area = with_area(&mem, 0);
	unsigned changes = 0;
	u8 two[2] = { 1, 2 };
	u64 dirty[1] = { 0 };

	(void)state;
	mem.changed = count_call;
	mem.opaque = &changes;
	assert_int_equal(show(&mem, area, HOLE, PAGES, 0, 1, &owner_a), 0);
	assert_true(mem_write(&mem, HOLE, two, 1));
	assert_false(mem_take_dirty(&mem, area, dirty)); /* not asked for */
	area->track = true;
	changes = 0;
	assert_false(mem_take_dirty(&mem, area, dirty));
	assert_int_equal(changes, 0); /* no translation lets a write pass */
	assert_true(mem_write(&mem, HOLE + 0x1fff, two, 2));
	mem_area_touch(&mem, area, 0x5000, 0x1001);
	mem_area_touch(&mem, area, 0x8000, 0);
	assert_true(mem_read(&mem, HOLE + 0xa000, two, 2));
	assert_true(mem_take_dirty(&mem, area, dirty));
	assert_int_equal(changes, 1);
	assert_int_equal(dirty[0], 0x66);
	assert_false(mem_take_dirty(&mem, area, dirty));
	assert_true(mem_write(&mem, HOLE + 0xffff, two, 1));
	assert_int_equal(dirty[0], 0x66); /* bits are added */
	assert_true(mem_take_dirty(&mem, area, dirty));
	assert_int_equal(dirty[0], 0x8066);
	/* A write that ROM drops is none. */
	assert_int_equal(mem_show(&mem, &(struct mem_window){ .base = HOLE,
							      .size = area->size,
							      .area = area,
							      .access = MEM_ROM,
							      .owner = &owner_a }),
			 0);
	assert_true(mem_write(&mem, HOLE + 0x3000, two, 2));
	assert_false(mem_take_dirty(&mem, area, NULL));
	mem_area_touch(&mem, area, 0, 1);
	assert_true(mem_take_dirty(&mem, area, NULL));
	mem_fini(&mem);
}

/* --- Against a model --------------------------------------------------------------------------- */

#define MODEL_PAGES   24u /* addresses from HOLE on */
#define MODEL_WINDOWS 8u

struct model_window {
	bool shown;
	unsigned base, pages, first, level, turn, area;
	bool rom;
};

static u32 rnd(u64 *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(*seed >> 33);
}

/* The one of them that is seen at a page, or NULL. */
static const struct model_window *seen(const struct model_window *w, unsigned page)
{
	const struct model_window *best = NULL;

	for (unsigned n = 0; n < MODEL_WINDOWS; n++)
		if (w[n].shown && page >= w[n].base && page < w[n].base + w[n].pages &&
		    (!best || w[n].level > best->level ||
		     (w[n].level == best->level && w[n].turn > best->turn)))
			best = &w[n];
	return best;
}

static void check_model(struct mem *mem, struct mem_area **areas, const struct model_window *w)
{
	gpa_t end = 0;

	for (unsigned page = 0; page < MODEL_PAGES; page++) {
		const struct model_window *s = seen(w, page);
		struct mem_slot *slot = mem_find(mem, HOLE + page * MEM_PAGE + 17);

		assert_int_equal(!slot, !s);
		if (!slot || !s)
			continue;
		u64 offset = (s->first + page - s->base) * (u64)MEM_PAGE;

		assert_ptr_equal(mem_host(mem, HOLE + page * MEM_PAGE, MEM_PAGE),
				 areas[s->area]->host + offset);
		assert_int_equal(slot->readonly, s->rom);
		assert_ptr_equal(slot->area, areas[s->area]);
		assert_ptr_equal(slot->page_flags +
					 (HOLE + page * MEM_PAGE - slot->base) / MEM_PAGE,
				 areas[s->area]->page_flags + offset / MEM_PAGE);
	}
	for (unsigned n = 0; n < mem->count; n++) {
		assert_true(mem->slots[n].base >= end);
		assert_true(mem->slots[n].size > 0);
		end = mem->slots[n].base + mem->slots[n].size;
	}
}

static void random_windows(void **state)
{
	struct mem mem = { 0 };
	struct mem_area *areas[2] = { with_area(&mem, 0), with_area(&mem, 0x80) };
	struct model_window w[MODEL_WINDOWS] = { 0 };
	u64 seed = 42;

	(void)state;
	for (unsigned turn = 1; turn < 20000; turn++) {
		struct model_window *one = &w[rnd(&seed) % MODEL_WINDOWS];
		unsigned base = one->base;

		if (one->shown && rnd(&seed) % 3 == 0) {
			mem_hide(&mem, HOLE + base * MEM_PAGE, one);
			one->shown = false;
		} else {
			if (!one->shown)
				one->turn = turn;
			one->shown = true;
			one->base = turn == one->turn ? rnd(&seed) % (MODEL_PAGES - 8) : base;
			one->pages = 1 + rnd(&seed) % 8;
			one->first = rnd(&seed) % (PAGES - 8);
			one->level = rnd(&seed) % 3;
			one->area = rnd(&seed) % 2;
			one->rom = rnd(&seed) % 2;
			assert_int_equal(mem_show(&mem,
						  &(struct mem_window){
							  .base = HOLE + one->base * MEM_PAGE,
							  .size = one->pages * (u64)MEM_PAGE,
							  .area = areas[one->area],
							  .offset = one->first * (u64)MEM_PAGE,
							  .access = one->rom ? MEM_ROM : MEM_RAM,
							  .level = one->level,
							  .owner = one }),
					 0);
		}
		check_model(&mem, areas, w);
	}
	mem_fini(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_small),
		cmocka_unit_test(layout_above_4g),
		cmocka_unit_test(bad_sizes),
		cmocka_unit_test(failed_accesses_change_nothing),
		cmocka_unit_test(host_pointer_stays_in_one_slot),
		cmocka_unit_test(touching_slots_are_one_range),
		cmocka_unit_test(rom_drops_writes),
		cmocka_unit_test(code_pages_are_announced_first),
		cmocka_unit_test(higher_level_is_seen),
		cmocka_unit_test(of_equals_the_later),
		cmocka_unit_test(replaced_by_owner_and_base),
		cmocka_unit_test(windows_with_errors),
		cmocka_unit_test(limits),
		cmocka_unit_test(slots_merge),
		cmocka_unit_test(aliases),
		cmocka_unit_test(dirty_pages),
		cmocka_unit_test(random_windows),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
