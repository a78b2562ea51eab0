/* The tables as a system walks through them. */
#include "base/test.h"
#include "machine/smbios.h"

#include <errno.h>
#include <string.h>

static struct fw_cfg cfg;

static int teardown(void **state)
{
	fw_cfg_clear(&cfg);
	return 0;
}

static u8 sum(const u8 *p, unsigned size)
{
	u8 s = 0;

	while (size--)
		s = (u8)(s + *p++);
	return s;
}

/* String n of a structure. */
static const char *text(const u8 *s, unsigned n)
{
	const char *p = (const char *)s + s[1];

	assert_int_not_equal(n, 0);
	while (--n)
		p += strlen(p) + 1;
	assert_true(*p);
	return p;
}

/* Walks all structures; returns the nth of a type, and how many there are. */
static const u8 *find(u8 type, unsigned nth, unsigned *count)
{
	u32 size, anchor_size, largest = 0, structures = 0;
	const u8 *t = fw_cfg_file(&cfg, "etc/smbios/smbios-tables", &size), *last = t + size;
	const u8 *a = fw_cfg_file(&cfg, "etc/smbios/smbios-anchor", &anchor_size), *found = NULL;
	u8 type_now = 0;

	assert_int_equal(anchor_size, 31);
	assert_memory_equal(a, "_SM_", 4);
	assert_memory_equal(a + 16, "_DMI_", 5);
	assert_int_equal(sum(a, 31), 0);
	assert_int_equal(sum(a + 16, 15), 0);
	*count = 0;
	while (t < last) {
		const u8 *p = t + t[1];

		assert_true(t[1] >= 4);
		type_now = t[0];
		if (type_now == type && (*count)++ == nth)
			found = t;
		while (p + 1 < last && (p[0] || p[1]))
			p++;
		assert_true(p + 1 < last);
		p += 2;
		largest = (u32)MAX(largest, p - t);
		structures++;
		t = p;
	}
	assert_ptr_equal(t, last);
	assert_int_equal(type_now, 127);
	assert_int_equal(le_load(a + 8, 2), largest);
	assert_int_equal(le_load(a + 22, 2), size);
	assert_int_equal(le_load(a + 28, 2), structures);
	return found;
}

static void structures(void **state)
{
	static const struct smbios_board board = {
		.ram_low_end = 3 * GIB,
		.ram_high = 5 * GIB,
		.cpus = 3,
		.name = "my\nbox",
		.uuid = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
			  0xcc, 0xdd, 0xee, 0xff },
	};
	static const u8 uuid[] = { 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
				   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
	static const u8 sizes[][2] = { { 1, 27 },  { 3, 22 },  { 4, 42 },  { 16, 23 },
				       { 17, 40 }, { 19, 31 }, { 32, 11 }, { 127, 4 } };
	const u8 *s;
	unsigned n;

	assert_int_equal(smbios_add_files(&cfg, &board), 0);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		s = find(sizes[i][0], 0, &n);
		assert_non_null(s);
		assert_int_equal(s[1], sizes[i][1]);
	}
	s = find(1, 0, &n);
	assert_memory_equal(s + 8, uuid, 16);
	assert_string_equal(text(s, s[4]), "Pogo");
	assert_string_equal(text(s, s[7]), "my?box");
	find(4, 0, &n);
	assert_int_equal(n, 3);
	s = find(16, 0, &n);
	assert_int_equal(le_load(s + 7, 4), 8 * MIB); /* KiB */
	s = find(17, 0, &n);
	assert_int_equal(n, 1);
	assert_int_equal(le_load(s + 12, 2), 8192);
	s = find(19, 1, &n);
	assert_int_equal(n, 2);
	assert_int_equal(le_load(s + 4, 4), 4 * MIB);
	assert_int_equal(le_load(s + 8, 4), 9 * MIB - 1);
}

static void sizes(void **state)
{
	struct smbios_board board = { .ram_low_end = 3 * GIB, .ram_high = 97 * GIB, .cpus = 1 };
	const u8 *s;
	unsigned n;

	assert_int_equal(smbios_add_files(&cfg, &board), 0);
	s = find(17, 6, &n);
	assert_int_equal(n, 7);
	assert_int_equal(le_load(s + 12, 2), 4096);
	/* Devices of 64 GiB, and addresses that are more than KiB in 32 bits. */
	board.ram_high = 4096 * GIB - board.ram_low_end;
	assert_int_equal(smbios_add_files(&cfg, &board), 0);
	s = find(17, 0, &n);
	assert_int_equal(n, 64);
	assert_int_equal(le_load(s + 12, 2), 0x7fff);
	assert_int_equal(le_load(s + 28, 4), 65536);
	s = find(16, 0, &n);
	assert_int_equal(le_load(s + 7, 4), 0x80000000);
	assert_int_equal(le_load(s + 15, 8), 4096 * GIB);
	s = find(19, 1, &n);
	assert_int_equal(le_load(s + 4, 4), 0xffffffff);
	assert_int_equal(le_load(s + 15, 8), 4 * GIB);
	assert_int_equal(le_load(s + 23, 8), 4097 * GIB - 1);
	/* Less than one MiB more. */
	board.ram_low_end = 5 * MIB + 4096;
	board.ram_high = 0;
	assert_int_equal(smbios_add_files(&cfg, &board), 0);
	s = find(17, 0, &n);
	assert_int_equal(le_load(s + 12, 2), 0x8000 | (5 * 1024 + 4));
	s = find(1, 0, &n);
	assert_int_equal(s[7], 0);
}

static void too_many(void **state)
{
	struct smbios_board board = { .ram_low_end = GIB, .cpus = 1000 };

	assert_int_equal(smbios_add_files(&cfg, &board), 0);
	board.cpus = 4000;
	assert_int_equal(smbios_add_files(&cfg, &board), -ENOSPC);
}

#define TEST(fn) cmocka_unit_test_teardown(fn, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(structures), TEST(sizes), TEST(too_many) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("smbios", tests, NULL, NULL);
}
