/* VHD's structures against the specification: geometry, size, checksums, names. */
#include "base/test.h"
#include "block/vhd_format.h"

#include <string.h>

/* Values of the specification's algorithm, worked by hand at its corners. */
static void geometry(void **state)
{
	static const struct {
		u64 sectors;
		u16 c;
		u8 h, s;
	} rows[] = {
		{ 20480, 301, 4, 17 },         /* 10 MiB: 1204 tracks; at least 4 heads */
		{ 204800, 1003, 12, 17 },      /* 100 MiB: 12047 tracks */
		{ 1024 * 2048, 2080, 16, 63 }, /* 1 GiB */
		{ 16ull * 17 * 1024 - 1, 1023, 16, 17 },
		{ 16ull * 17 * 1024, 561, 16, 31 }, /* 17 sectors would need 1024 cylinders */
		{ 16ull * 31 * 1024, 503, 16, 63 },
		{ 65535ull * 16 * 63 - 1, 65534, 16, 63 },
		{ 65535ull * 16 * 63, 16191, 16, 255 },
		{ 65535ull * 16 * 255, 65535, 16, 255 },
		{ ~0ull, 65535, 16, 255 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct vhd_geometry g = vhd_geometry(rows[i].sectors);

		assert_int_equal(g.spt, rows[i].s);
		assert_int_equal(g.heads, rows[i].h);
		assert_int_equal(g.cylinders, rows[i].c);
	}
}

static void size_by_creator(void **state)
{
	u8 f[VHD_FOOTER];

	assert_true(vhd_footer_init(f, VHD_FIXED, 10 * MIB));
	assert_int_equal(vhd_footer_size(f), 10 * MIB);
	memcpy(f + VHD_F_APP, "vpc ", 4);
	assert_int_equal(vhd_footer_size(f), 301 * 4 * 17 * 512);
	memcpy(f + VHD_F_APP, "qem2", 4);
	assert_int_equal(vhd_footer_size(f), 10 * MIB);
	memcpy(f + VHD_F_APP, "vpc ", 4);
	vhd_footer_set_size(f, 10 * MIB); /* makes it exact */
	assert_int_equal(vhd_footer_size(f), 10 * MIB);
	memcpy(f + VHD_F_APP, "vpc ", 4);
	vhd_footer_set_size(f, 200 * GIB); /* more than any geometry */
	assert_memory_equal(f + VHD_F_APP, "vpc ", 4);
	assert_true(vhd_footer_good(f));
	f[100] ^= 1;
	assert_false(vhd_footer_good(f));
}

static void names(void **state)
{
	static const char text[] = "a/\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80.vhd";
	static const u8 lone[] = { 0x3d, 0xd8, 'a', 0 };
	u8 utf16[64];
	char back[64];

	for (unsigned big = 0; big < 2; big++) {
		int n = vhd_utf16_encode(utf16, sizeof(utf16), text, big);

		assert_int_equal(n, 2 * (2 + 1 + 1 + 2 + 4));
		assert_int_equal(vhd_utf16_decode(back, sizeof(back), utf16, (unsigned)n, big),
				 strlen(text));
		assert_string_equal(back, text);
		assert_int_equal(vhd_utf16_encode(utf16, 10, text, big), -1);
		assert_int_equal(vhd_utf16_decode(back, 6, utf16, (unsigned)n, big), -1);
	}
	assert_int_equal(vhd_utf16_encode(utf16, 64, "\xc0\x80", false), -1); /* too long a form */
	assert_int_equal(vhd_utf16_encode(utf16, 64, "\xed\xa0\x80", false), -1); /* surrogate */
	assert_int_equal(vhd_utf16_encode(utf16, 64, "\xe2\x82", false), -1);     /* cut */
	assert_int_equal(vhd_utf16_decode(back, 64, lone, 4, false), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(geometry),
		cmocka_unit_test(size_by_creator),
		cmocka_unit_test(names),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vhd_format", tests, NULL, NULL);
}
