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
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
