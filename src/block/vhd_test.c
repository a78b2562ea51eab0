/* VHD images: structures against the specification, random requests against a shadow, chains, damage, failing storage. */
#include "base/test.h"
#include "block/faultfile.h"
#include "block/vhd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/pogo-vhd-XXXXXX";
static u64 seed;

static u32 rnd(u32 below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(seed >> 33) % below;
}

static const char *at(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

/* --- Structures ----------------------------------------------------------------------------- */

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

/* --- Requests ------------------------------------------------------------------------------- */

static void done(struct block_req *req) { ++*(unsigned *)req->opaque; }

static int run(struct block *b, enum block_op op, u64 offset, u64 size, void *buf)
{
	unsigned times = 0;
	struct block_req req = { .op = op,
				 .unmap = offset / BLOCK_SECTOR % 2 == 0,
				 .offset = offset,
				 .size = size,
				 .buf = buf,
				 .done = done,
				 .opaque = &times };

	block_submit(b, &req);
	assert_int_equal(times, 1);
	return req.result;
}

static struct block *open_on(struct fault_disk *d, const char *name)
{
	struct block_options o = { .path = name, .format = "vhd", .backing = BLOCK_BACKING_ANY };
	struct block_file *f = fault_disk_open(d, name, false);
	char err[512] = "";
	struct block *b = NULL;

	assert_non_null(f);
	assert_true(block_vhd.probe(d->data, d->data + d->size - 512, d->size));
	if (block_vhd.open(&b, f, &o, err, sizeof(err)))
		fail_msg("%s", err);
	return b;
}

static struct block *create_on(struct fault_disk *d, const char *variant, u64 size, u32 block_size)
{
	struct block_create c = { .variant = variant, .size = size, .cluster_size = block_size };
	struct block_file *f = fault_disk_open(d, "mem.vhd", false);
	char err[512] = "";

	assert_non_null(f);
	if (block_vhd.create(f, &c, NULL, err, sizeof(err)))
		fail_msg("%s", err);
	block_file_close(f);
	return open_on(d, "mem.vhd");
}

static void fill(u8 *buf, u64 size)
{
	u32 v = rnd(1u << 30) * 2 + 1;

	for (u64 i = 0; i < size; i += 4, v = v * 1664525 + 1013904223)
		memcpy(buf + i, &v, 4);
}

static void compare(struct block *b, const u8 *shadow, u64 size)
{
	u8 *buf = malloc(size);
	u64 i = 0;

	assert_int_equal(b->size, size);
	memset(buf, 0x55, size);
	assert_int_equal(run(b, BLOCK_READ, 0, size, buf), 0);
	while (i < size && buf[i] == shadow[i])
		i++;
	if (i < size)
		fail_msg("byte %llu is %#x, not %#x", (unsigned long long)i, buf[i], shadow[i]);
	free(buf);
}

/* One random change or read, on the disk and on its shadow. */
static void random_request(struct block *b, u8 *shadow, u32 max_sectors)
{
	u32 sectors = (u32)(b->size / 512), n = 1 + rnd(MIN(max_sectors, sectors));
	u64 offset = rnd(sectors - n + 1) * 512ull, size = n * 512ull;
	u8 *buf = malloc(size);

	switch (rnd(8)) {
	case 0:
		assert_int_equal(run(b, BLOCK_WRITE_ZEROES, offset, size, NULL), 0);
		memset(shadow + offset, 0, size);
		break;
	case 1: assert_int_equal(run(b, BLOCK_FLUSH, 0, 0, NULL), 0); break;
	case 2:
		assert_int_equal(run(b, BLOCK_DISCARD, offset, size, NULL), 0);
		assert_int_equal(run(b, BLOCK_READ, offset, size, shadow + offset), 0);
		break;
	case 3:
	case 4:
		assert_int_equal(run(b, BLOCK_READ, offset, size, buf), 0);
		assert_memory_equal(buf, shadow + offset, size);
		break;
	default:
		fill(buf, size);
		assert_int_equal(run(b, BLOCK_WRITE, offset, size, buf), 0);
		memcpy(shadow + offset, buf, size);
	}
	free(buf);
}

static void shadowed(const char *variant, u64 size, u32 block_size, u32 max_sectors)
{
	struct fault_disk *d = fault_disk_new(1);
	struct block *b = create_on(d, variant, size, block_size);
	u8 *shadow = calloc(size, 1);

	compare(b, shadow, size);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 60; i++)
			random_request(b, shadow, max_sectors);
		compare(b, shadow, size);
		block_close(b);
		b = open_on(d, "mem.vhd");
		compare(b, shadow, size);
	}
	block_close(b);
	fault_disk_free(d);
	free(shadow);
}

static void fixed(void **state) { shadowed("fixed", 1 * MIB, 0, 100); }
static void dynamic(void **state) { shadowed("dynamic", 9 * MIB + 1536, 512 * 1024, 1000); }
static void dynamic_small(void **state) { shadowed("dynamic", 2 * MIB + 512, 4096, 50); }
static void dynamic_default(void **state) { shadowed("dynamic", 20 * MIB, 0, 5000); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(geometry),        cmocka_unit_test(size_by_creator),
		cmocka_unit_test(names),           cmocka_unit_test(fixed),
		cmocka_unit_test(dynamic),         cmocka_unit_test(dynamic_small),
		cmocka_unit_test(dynamic_default),
	};
	int failed;

	assert_non_null(mkdtemp(dir));
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests_name("vhd", tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
