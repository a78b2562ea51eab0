#include "base/bits.h"
#include "base/test.h"
#include "core/bus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A device that logs its accesses and reads as offset + 0x10 in each byte. */
struct probe {
	unsigned calls;
	u64 offset[16], value[16];
	unsigned size[16];
};

static void probe_log(struct probe *p, u64 offset, u64 value, unsigned size)
{
	assert_true(p->calls < 16);
	p->offset[p->calls] = offset;
	p->value[p->calls] = value;
	p->size[p->calls++] = size;
}

static u64 probe_read(void *dev, u64 offset, unsigned size)
{
	u64 value = 0;

	probe_log(dev, offset, 0, size);
	for (unsigned i = 0; i < size; i++)
		value |= (offset + i + 0x10) << (8 * i);
	return value | ~bits_mask(8 * size); /* rubbish above the access */
}

static void probe_write(void *dev, u64 offset, u64 value, unsigned size)
{
	probe_log(dev, offset, value, size);
}

static const struct bus_ops ops1 = { probe_read, probe_write, 1 };
static const struct bus_ops ops4 = { probe_read, probe_write, 4 };
static const struct bus_ops ops8 = { probe_read, probe_write, 8 };

static void mapping_rules(void **state)
{
	struct probe p = { 0 };
	struct bus bus;

	bus_init(&bus, "port", 0x10000, true);
	assert_int_equal(bus_map(&bus, 0x100, 0x10, &ops1, &p, "a"), 0);
	assert_int_equal(bus_map(&bus, 0x120, 0x10, &ops1, &p, "b"), 0);
	assert_int_equal(bus_map(&bus, 0x110, 0x10, &ops1, &p, "between"), 0);
	assert_int_equal(bus_map(&bus, 0xf0, 0x10, &ops1, &p, "before"), 0);
	assert_int_equal(bus_map(&bus, 0x10f, 1, &ops1, &p, "inside"), -EEXIST);
	assert_int_equal(bus_map(&bus, 0xe0, 0x11, &ops1, &p, "reaches in"), -EEXIST);
	assert_int_equal(bus_map(&bus, 0, 0x10000, &ops1, &p, "covers"), -EEXIST);
	assert_int_equal(bus_map(&bus, 0x200, 0, &ops1, &p, "empty"), -EINVAL);
	assert_int_equal(bus_map(&bus, 0xffff, 2, &ops1, &p, "beyond"), -EINVAL);
	assert_int_equal(bus_map(&bus, 0x10000, 1, &ops1, &p, "outside"), -EINVAL);
	assert_int_equal(bus_map(&bus, 0x10, ~0ull, &ops1, &p, "wraps"), -EINVAL);
	assert_int_equal(bus_map(&bus, 0xffff, 1, &ops1, &p, "last"), 0);
	assert_int_equal(bus.count, 5);
	for (unsigned i = 1; i < bus.count; i++)
		assert_true(bus.regions[i - 1].base + bus.regions[i - 1].size <=
			    bus.regions[i].base);
	bus_fini(&bus);
}

static void grows(void **state)
{
	struct probe p = { 0 };
	struct bus bus;

	bus_init(&bus, "mmio", 1ull << 52, false);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(bus_map(&bus, (i * 37 % 100) * 16ull, 16, &ops8, &p, "r"), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(bus.regions[i].base, i * 16);
	bus_fini(&bus);
}

static void unmap_frees_the_place(void **state)
{
	struct probe p = { 0 }, q = { 0 };
	struct bus bus;

	bus_init(&bus, "port", 0x10000, true);
	assert_int_equal(bus_map(&bus, 0x100, 0x10, &ops1, &p, "a"), 0);
	assert_int_equal(bus_map(&bus, 0x200, 0x10, &ops1, &p, "b"), 0);
	bus_unmap(&bus, 0x100, &q);
	bus_unmap(&bus, 0x101, &p);
	bus_unmap(&bus, 0x300, &p);
	assert_int_equal(bus.count, 2);
	bus_unmap(&bus, 0x100, &p);
	assert_int_equal(bus_read(&bus, 0x100, 1), 0xff);
	assert_int_equal(bus_read(&bus, 0x200, 1), 0x10);
	assert_int_equal(bus_map(&bus, 0x108, 0x10, &ops1, &p, "c"), 0);
	bus_fini(&bus);
}

static void wide_accesses_are_split(void **state)
{
	struct probe p = { 0 };
	struct bus bus;

	bus_init(&bus, "mmio", 1ull << 52, false);
	assert_int_equal(bus_map(&bus, 0x1000, 0x10, &ops4, &p, "four"), 0);
	assert_int_equal(bus_read(&bus, 0x1004, 8), 0x1b1a191817161514);
	assert_int_equal(p.calls, 2);
	assert_int_equal(p.offset[0], 4);
	assert_int_equal(p.size[0], 4);
	assert_int_equal(p.offset[1], 8);
	p.calls = 0;
	bus_write(&bus, 0x1008, 0x1122334455667788, 8);
	assert_int_equal(p.calls, 2);
	assert_int_equal(p.value[0], 0x55667788);
	assert_int_equal(p.value[1], 0x11223344);
	bus_fini(&bus);
}

static void narrow_reads_are_masked(void **state)
{
	struct probe p = { 0 };
	struct bus bus;

	bus_init(&bus, "mmio", 1ull << 52, false);
	assert_int_equal(bus_map(&bus, 0, 0x10, &ops8, &p, "eight"), 0);
	assert_int_equal(bus_read(&bus, 1, 1), 0x11);
	assert_int_equal(bus_read(&bus, 2, 2), 0x1312);
	assert_int_equal(bus_read(&bus, 3, 4), 0x16151413);
	bus_fini(&bus);
}

static void accesses_across_regions(void **state)
{
	struct probe p = { 0 }, q = { 0 };
	struct bus bus;

	bus_init(&bus, "port", 0x10000, true);
	assert_int_equal(bus_map(&bus, 0xcf8, 4, &ops4, &p, "address"), 0);
	assert_int_equal(bus_map(&bus, 0xcfc, 4, &ops4, &q, "data"), 0);
	assert_int_equal(bus_read(&bus, 0xcfa, 4), 0x11101312);
	assert_int_equal(p.size[0], 2);
	assert_int_equal(q.size[0], 2);
	assert_int_equal(bus.unclaimed, 0);
	/* Three bytes of the second region are left, and one is nobody's. */
	q.calls = 0;
	assert_int_equal(bus_read(&bus, 0xcfd, 4), 0xff131211);
	assert_int_equal(q.calls, 2);
	assert_int_equal(q.size[0], 2);
	assert_int_equal(q.size[1], 1);
	assert_int_equal(bus.unclaimed, 1);
	bus_fini(&bus);
}

static void writes_across_regions(void **state)
{
	struct probe p = { 0 }, q = { 0 };
	struct bus bus;

	bus_init(&bus, "mmio", 1ull << 52, false);
	assert_int_equal(bus_map(&bus, 0x100, 4, &ops4, &p, "first"), 0);
	assert_int_equal(bus_map(&bus, 0x104, 2, &ops1, &q, "second"), 0);
	bus_write(&bus, 0x102, 0x8877665544332211, 8);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.offset[0], 2);
	assert_int_equal(p.value[0], 0x2211);
	assert_int_equal(q.calls, 2);
	assert_int_equal(q.value[0], 0x33);
	assert_int_equal(q.offset[1], 1);
	assert_int_equal(q.value[1], 0x44);
	assert_int_equal(bus.unclaimed, 1);
	bus_write(&bus, 0x100, 0, 4);
	assert_int_equal(bus.unclaimed, 1);
	bus_fini(&bus);
}

static void unclaimed_reads_are_ones(void **state)
{
	struct probe p = { 0 };
	struct bus bus;

	bus_init(&bus, "port", 0x10000, true);
	assert_int_equal(bus_read(&bus, 0x80, 1), 0xff);
	assert_int_equal(bus_read(&bus, 0x80, 2), 0xffff);
	assert_int_equal(bus_read(&bus, 0x80, 4), 0xffffffff);
	bus_write(&bus, 0x80, 1, 4);
	assert_int_equal(bus.unclaimed, 4);
	/* Beyond the last port nothing wraps to the first. */
	assert_int_equal(bus_map(&bus, 0, 1, &ops1, &p, "first"), 0);
	assert_int_equal(bus_read(&bus, 0xffff, 4), 0xffffffff);
	assert_int_equal(p.calls, 0);
	bus_fini(&bus);
}

static unsigned probe_block(void *dev, u64 offset, u8 *buf, unsigned size, unsigned n, bool write)
{
	probe_log(dev, offset, write, size);
	buf[0] = (u8)n;
	return n / 2;
}

static void blocks(void **state)
{
	struct probe p = { 0 };
	struct bus bus;
	u8 buf[16] = { 0 };

	bus_init(&bus, "port", 0x10000, true);
	assert_int_equal(bus_map(&bus, 0x100, 8, &ops4, &p, "blocks"), 0);
	assert_int_equal(bus_map(&bus, 0x108, 8, &ops4, &p, "plain"), 0);
	assert_int_equal(bus_block(&bus, 0x102, buf, 2, 7, true), 0);
	bus_map_block(&bus, 0x101, &p, probe_block);   /* no region starts there */
	bus_map_block(&bus, 0x100, &bus, probe_block); /* nor is it of that device */
	assert_int_equal(bus_block(&bus, 0x102, buf, 2, 7, true), 0);
	bus_map_block(&bus, 0x100, &p, probe_block);
	assert_int_equal(bus_block(&bus, 0x102, buf, 2, 7, true), 3);
	assert_int_equal(buf[0], 7);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.offset[0], 2);
	assert_int_equal(p.size[0], 2);
	assert_int_equal(p.value[0], true);
	/* What would be split, nobody's, and a device that has none. */
	assert_int_equal(bus_block(&bus, 0x100, buf, 8, 1, false), 0);
	assert_int_equal(bus_block(&bus, 0x107, buf, 2, 1, false), 0);
	assert_int_equal(bus_block(&bus, 0x108, buf, 2, 1, false), 0);
	assert_int_equal(bus_block(&bus, 0x200, buf, 2, 1, false), 0);
	assert_int_equal(p.calls, 1);
	assert_int_equal(bus.unclaimed, 0);
	bus_fini(&bus);
}

static void dump_lists_regions(void **state)
{
	struct probe p = { 0 };
	struct bus bus;
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	bus_init(&bus, "port", 0x10000, true);
	assert_int_equal(bus_map(&bus, 0x3f8, 8, &ops1, &p, "com1"), 0);
	bus_dump(&bus, f);
	fclose(f);
	assert_string_equal(text, "port 03f8-03ff com1\n");
	free(text);
	bus_fini(&bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mapping_rules),
		cmocka_unit_test(grows),
		cmocka_unit_test(unmap_frees_the_place),
		cmocka_unit_test(wide_accesses_are_split),
		cmocka_unit_test(narrow_reads_are_masked),
		cmocka_unit_test(accesses_across_regions),
		cmocka_unit_test(writes_across_regions),
		cmocka_unit_test(unclaimed_reads_are_ones),
		cmocka_unit_test(blocks),
		cmocka_unit_test(dump_lists_regions),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
