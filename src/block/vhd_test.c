/* VHD images: random requests against a shadow, chains and their parents, hostile images. */
#include "block/vhd_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/pogo-vhd-XXXXXX";

/* --- Requests ------------------------------------------------------------------------------- */

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

/* --- Chains --------------------------------------------------------------------------------- */

static int make(const char *path, const char *parent, u64 size, char *err)
{
	struct block_create c = { .path = path, .format = "vhd", .size = size, .parent = parent };

	return block_create(&c, err, 512);
}

static int open_path(struct block **b, const char *path, bool readonly, char *err)
{
	struct block_options o = {
		.path = path, .format = "vhd", .readonly = readonly, .backing = BLOCK_BACKING_ANY
	};

	*b = NULL;
	return block_open(b, &o, err, 512);
}

static struct block *open_good(const char *path)
{
	char err[512];
	struct block *b;

	if (open_path(&b, path, false, err))
		fail_msg("%s", err);
	return b;
}

static void open_bad(const char *path, int error, const char *says)
{
	char err[512] = "";
	struct block *b;

	assert_int_equal(open_path(&b, path, true, err), error);
	assert_null(b);
	if (!strstr(err, says))
		fail_msg("'%s' does not say '%s'", err, says);
}

/* Flips bits in a file. */
static void poke(const char *path, long offset, int whence, u8 flip)
{
	FILE *f = fopen(path, "r+");
	int c;

	assert_non_null(f);
	assert_int_equal(fseek(f, offset, whence), 0);
	offset = ftell(f);
	c = fgetc(f);
	assert_int_equal(fseek(f, offset, SEEK_SET), 0);
	assert_int_not_equal(fputc(c ^ flip, f), EOF);
	assert_int_equal(fclose(f), 0);
}

#define CHAIN_SIZE (5 * MIB)

static void remove_chain(void)
{
	unlink("base.vhd");
	unlink("mid.vhd");
	unlink("leaf.vhd");
}

/* base, mid and leaf in the directory; what the leaf shows. */
static void make_chain(u8 *shadow)
{
	static const char *const names[] = { "base.vhd", "mid.vhd", "leaf.vhd" };
	char err[512];

	for (unsigned n = 0; n < 3; n++) {
		struct block *b;

		if (make(names[n], n ? names[n - 1] : NULL, n ? 0 : CHAIN_SIZE, err))
			fail_msg("%s", err);
		b = open_good(names[n]);
		compare(b, shadow, CHAIN_SIZE);
		for (unsigned i = 0; i < 40; i++)
			random_request(b, shadow, 300);
		block_close(b);
	}
}

static void chain(void **state)
{
	u8 *shadow = calloc(CHAIN_SIZE, 1);
	struct block_info info = { 0 };
	struct block *b;
	char err[512];

	make_chain(shadow);
	b = open_good("leaf.vhd");
	assert_string_equal(b->parent->parent->ops->name, "vhd");
	b->ops->info(b, &info);
	assert_string_equal(info.parent, "mid.vhd");
	assert_string_equal(info.variant, "differencing");
	for (unsigned i = 0; i < 200; i++)
		random_request(b, shadow, 300);
	compare(b, shadow, CHAIN_SIZE);
	/* Growing does not show what is not the disk's; parents do not grow with it. */
	assert_int_equal(b->ops->resize(b, CHAIN_SIZE + 300 * MIB, err, sizeof(err)), 0);
	assert_int_equal(b->ops->resize(b, CHAIN_SIZE, err, sizeof(err)), -EOPNOTSUPP);
	block_close(b);
	b = open_good("leaf.vhd");
	assert_int_equal(b->size, CHAIN_SIZE + 300 * MIB);
	b->size = CHAIN_SIZE;
	compare(b, shadow, CHAIN_SIZE);
	b->size = CHAIN_SIZE + 300 * MIB;
	assert_int_equal(run(b, BLOCK_READ, b->size - MIB, MIB, shadow), 0);
	for (unsigned i = 0; i < MIB; i++)
		assert_int_equal(shadow[i], 0);
	block_close(b);
	remove_chain();
	free(shadow);
}

/* The leaf takes the disk at path as it is for its parent. */
static void accept_parent(const char *path)
{
	struct block_options unseen = { .path = "leaf.vhd", .backing = BLOCK_BACKING_UNSEEN };
	struct block *b;
	char err[512];

	assert_int_equal(block_open(&b, &unseen, err, sizeof(err)), 0);
	assert_int_equal(b->ops->set_parent(b, path, "vhd", err, sizeof(err)), 0);
	block_close(b);
}

/* The names of a parent are found one after the other: relative, absolute, the plain one. */
static void parent_names(void **state)
{
	u8 *shadow = calloc(CHAIN_SIZE, 1);
	struct block *b;

	make_chain(shadow);
	block_close(open_good("leaf.vhd"));
	/* Locator texts of the leaf: behind header and table (a sector), a sector each. */
	poke("leaf.vhd", 2048 + 4, SEEK_SET, 0x04); /* ".\mid" becomes ".\iid" */
	block_close(open_good("leaf.vhd"));         /* by its absolute name */
	poke("leaf.vhd", 2560 + 2, SEEK_SET, 0x04);
	block_close(open_good("leaf.vhd")); /* by the one in the header */
	assert_int_equal(rename("mid.vhd", "elsewhere.vhd"), 0);
	open_bad("leaf.vhd", -ENOENT, "rebase --unsafe");
	assert_int_equal(rename("elsewhere.vhd", "mid.vhd"), 0);
	/* The absolute name leads there without detours. */
	assert_int_equal(mkdir("detour", 0700), 0);
	accept_parent("detour/../mid.vhd");
	assert_int_equal(rmdir("detour"), 0);
	b = open_good("leaf.vhd");
	assert_non_null(b->parent);
	compare(b, shadow, CHAIN_SIZE);
	block_close(b);
	remove_chain();
	free(shadow);
}

/* The leaf's first locator says that its text is there. */
static void move_locator(u64 offset, u32 length)
{
	FILE *f = fopen("leaf.vhd", "r+");
	u8 header[VHD_HEADER], *locator = header + VHD_H_LOCATORS;

	assert_non_null(f);
	assert_int_equal(fseek(f, VHD_FOOTER, SEEK_SET), 0);
	assert_int_equal(fread(header, sizeof(header), 1, f), 1);
	assert_int_equal(be_load(locator + VHD_L_CODE, 4), VHD_W2RU);
	be_store(locator + VHD_L_LENGTH, length, 4);
	be_store(locator + VHD_L_OFFSET, offset, 8);
	vhd_header_seal(header);
	assert_int_equal(fseek(f, VHD_FOOTER, SEEK_SET), 0);
	assert_int_equal(fwrite(header, sizeof(header), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

/* The check says that the first locator does not count; a repair removes it. */
static void repair_locator(struct block *b)
{
	struct block_check c = { 0 }, repair = { 0 }, again = { 0 };

	assert_int_equal(b->ops->check(b, &c, false), 0);
	assert_int_equal(c.errors, 1);
	assert_int_equal(b->ops->check(b, &repair, true), 0);
	assert_int_equal(repair.repaired, c.errors + c.leaks);
	assert_int_equal(b->ops->check(b, &again, false), 0);
	assert_int_equal(again.errors, 0);
}

/* A locator over a block: the guest would choose the parent. */
static void locator_over_block(void **state)
{
	static const char name[] = "b\0a\0s\0e\0.\0v\0h\0d";
	u8 *shadow = calloc(CHAIN_SIZE, 1);
	struct block_info info = { 0 };
	struct block *b;
	struct vhd *v;

	make_chain(shadow);
	b = open_good("leaf.vhd");
	v = vhd_of(b);
	memcpy(shadow, name, sizeof(name));
	assert_int_equal(run(b, BLOCK_WRITE, 0, 4096, shadow), 0);
	move_locator(vhd_block_offset(v, 0) + v->bitmap_size, sizeof(name));
	block_close(b);
	b = open_good("leaf.vhd");
	b->ops->info(b, &info);
	assert_non_null(strstr(info.parent, "/mid.vhd")); /* the other locator */
	compare(b, shadow, CHAIN_SIZE);
	repair_locator(b);
	block_close(b);
	b = open_good("leaf.vhd");
	compare(b, shadow, CHAIN_SIZE);
	block_close(b);
	remove_chain();
	free(shadow);
}

/* A locator that begins over blocks and ends outside of the file, until that grows. */
static void locator_outside(void **state)
{
	u8 *shadow = calloc(CHAIN_SIZE, 1);
	struct block_info info = { 0 };
	struct block *b;

	make_chain(shadow);
	b = open_good("leaf.vhd");
	b->ops->info(b, &info);
	block_close(b);
	move_locator(info.file_size - 4096, VHD_MAX_LOCATOR);
	b = open_good("leaf.vhd");
	memset(shadow, 0x5a, CHAIN_SIZE);
	assert_int_equal(run(b, BLOCK_WRITE, 0, CHAIN_SIZE, shadow), 0);
	block_close(b);
	b = open_good("leaf.vhd");
	compare(b, shadow, CHAIN_SIZE);
	assert_int_equal(run(b, BLOCK_WRITE, 0, 512, shadow), 0);
	repair_locator(b);
	compare(b, shadow, CHAIN_SIZE);
	block_close(b);
	remove_chain();
	free(shadow);
}

static void touch(const char *path, i64 seconds)
{
	const struct timespec times[2] = { { .tv_sec = VHD_EPOCH + seconds },
					   { .tv_sec = VHD_EPOCH + seconds } };

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void parent_identity(void **state)
{
	u8 *shadow = calloc(CHAIN_SIZE, 1);
	struct block *b;
	char err[512];

	make_chain(shadow);
	touch("mid.vhd", 1000);
	accept_parent("mid.vhd");
	block_close(open_good("leaf.vhd"));
	touch("mid.vhd", 1010);
	open_bad("leaf.vhd", -ESTALE, "time stamp");
	accept_parent("mid.vhd");
	b = open_good("leaf.vhd");
	compare(b, shadow, CHAIN_SIZE);
	block_close(b);
	/* Another disk of that name. */
	unlink("mid.vhd");
	assert_int_equal(make("mid.vhd", NULL, CHAIN_SIZE, err), 0);
	open_bad("leaf.vhd", -ESTALE, "UUID");
	remove_chain();
	free(shadow);
}

static void without_parent(void **state)
{
	u8 *shadow = calloc(CHAIN_SIZE, 1), *buf = malloc(CHAIN_SIZE);
	struct block_info info = { 0 };
	struct block *b;
	char err[512];

	make_chain(shadow);
	b = open_good("leaf.vhd");
	assert_int_equal(run(b, BLOCK_READ, 0, CHAIN_SIZE, buf), 0);
	assert_int_equal(run(b, BLOCK_WRITE, 0, CHAIN_SIZE, buf), 0);
	assert_int_equal(b->ops->set_parent(b, NULL, NULL, err, sizeof(err)), 0);
	block_close(b);
	unlink("base.vhd");
	b = open_good("leaf.vhd");
	assert_null(b->parent);
	compare(b, shadow, CHAIN_SIZE);
	b->ops->info(b, &info);
	assert_string_equal(info.parent, "");
	assert_string_equal(info.variant, "dynamic");
	block_close(b);
	remove_chain();
	free(shadow);
	free(buf);
}

/* --- Hostile images ------------------------------------------------------------------------- */

static void refuses(struct fault_disk *d, const char *says)
{
	struct block_options o = { .path = "mem.vhd", .format = "vhd" };
	struct block_file *f = fault_disk_open(d, "mem.vhd", false);
	char err[512] = "";
	struct block *b = NULL;

	assert_non_null(f);
	assert_true(block_vhd.open(&b, f, &o, err, sizeof(err)) < 0);
	assert_null(b);
	if (!strstr(err, says) || !strstr(err, "mem.vhd"))
		fail_msg("'%s' does not say '%s'", err, says);
	block_file_close(f);
}

static void seal(struct fault_disk *d)
{
	vhd_footer_seal(d->data);
	memcpy(d->data + d->size - 512, d->data, 512);
	vhd_header_seal(d->data + 512);
}

static void hostile(void **state)
{
	static const struct {
		unsigned offset, size;
		u64 value;
		const char *says;
	} rows[] = {
		{ VHD_F_VERSION, 4, 0x20000, "version 2.0" },
		{ VHD_F_TYPE, 4, 5, "unknown type 5" },
		{ VHD_F_TYPE, 4, 4, "which it may not open" },
		{ VHD_F_SIZE, 8, 0, "0 bytes is not possible" },
		{ VHD_F_SIZE, 8, 1ull << 62, "at most 2040 GiB" },
		{ VHD_F_SIZE, 8, 1 * GIB, "too short" },
		{ VHD_F_DATA_OFFSET, 8, ~511ull, "header lies outside" },
		{ VHD_F_DATA_OFFSET, 8, 1024, "header is damaged" },
		{ VHD_F_DATA_OFFSET, 8, 513, "header lies outside" },
		{ 512 + VHD_H_COOKIE, 8, 0, "header is damaged" },
		{ 512 + VHD_H_VERSION, 4, 0x20000, "unknown version" },
		{ 512 + VHD_H_BLOCK_SIZE, 4, 0, "powers of two" },
		{ 512 + VHD_H_BLOCK_SIZE, 4, 3u << 20, "powers of two" },
		{ 512 + VHD_H_BLOCK_SIZE, 4, 1u << 31, "powers of two" },
		{ 512 + VHD_H_ENTRIES, 4, ~0u, "at most" },
		{ 512 + VHD_H_ENTRIES, 4, VHD_MAX_ENTRIES, "outside of the file" },
		{ 512 + VHD_H_ENTRIES, 4, 0, "too short" },
		{ 512 + VHD_H_TABLE_OFFSET, 8, ~511ull, "outside of the file" },
		{ 512 + VHD_H_TABLE_OFFSET, 8, 512, "outside of the file" },
		{ 512 + VHD_H_TABLE_OFFSET, 8, 0, "outside of the file" },
	};
	u8 *shadow = malloc(DAMAGED_SIZE);
	struct fault_disk *d;

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		d = make_damaged(shadow);
		be_store(d->data + rows[i].offset, rows[i].value, rows[i].size);
		seal(d);
		refuses(d, rows[i].says);
		fault_disk_free(d);
	}
	/* Table and header over the footer at the end: a repair of the one would destroy the other. */
	d = make_damaged(shadow);
	be_store(d->data + 512 + VHD_H_TABLE_OFFSET, d->size - 512, 8);
	seal(d);
	refuses(d, "outside of the file");
	memcpy(d->data + d->size - 1024, d->data + 512, 512); /* a header's first part */
	be_store(d->data + VHD_F_DATA_OFFSET, d->size - 1024, 8);
	seal(d);
	refuses(d, "header lies outside");
	fault_disk_free(d);
	d = make_damaged(shadow);
	d->data[100] ^= 1;
	d->data[d->size - 100] ^= 1;
	refuses(d, "all copies of the VHD footer are damaged");
	memset(d->data, 0, 512);
	d->size = 511;
	refuses(d, "no VHD image");
	d->size = 0;
	refuses(d, "no VHD image");
	fault_disk_free(d);
	free(shadow);
}

/* A fixed disk stays one, whatever its guest writes into its first sector. */
static void guest_forges_header(void **state)
{
	struct fault_disk *d = fault_disk_new(1);
	struct block *b = create_on(d, "fixed", 1 * MIB, 0);
	struct block_info info = { 0 };
	u8 footer[512];

	assert_true(vhd_footer_init(footer, VHD_DYNAMIC, 1 * MIB));
	assert_int_equal(run(b, BLOCK_WRITE, 0, 512, footer), 0);
	block_close(b);
	b = open_on(d, "mem.vhd");
	b->ops->info(b, &info);
	assert_string_equal(info.variant, "fixed");
	/* Larger, with zeros where the footer was. */
	assert_int_equal(b->ops->resize(b, 2 * MIB, (char[512]){ 0 }, 512), 0);
	block_close(b);
	b = open_on(d, "mem.vhd");
	assert_int_equal(b->size, 2 * MIB);
	assert_int_equal(run(b, BLOCK_READ, 1 * MIB, 512, footer), 0);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(footer[i], 0);
	block_close(b);
	fault_disk_free(d);
}

/* A footer of 511 bytes. */
static void old_footer(void **state)
{
	struct fault_disk *d = fault_disk_new(1);
	struct block *b = create_on(d, "fixed", 1 * MIB, 0);

	block_close(b);
	d->size--;
	b = open_on(d, "mem.vhd");
	assert_int_equal(b->size, 1 * MIB);
	assert_int_equal(run(b, BLOCK_WRITE, 1 * MIB - 512, 512, d->data), 0);
	block_close(b);
	fault_disk_free(d);
}

/* The same random writes on an image and on a raw file, for comparisons by other programs. */
static int write_both(const char *image, const char *raw, u64 number)
{
	char err[512];
	struct block_options o = { .path = image, .format = "vhd", .backing = BLOCK_BACKING_ANY };
	struct block_options plain = { .path = raw, .format = "raw" };
	struct block *b, *twin;
	static u8 buf[MIB];

	seed = number;
	if (block_open(&b, &o, err, sizeof(err)) || block_open(&twin, &plain, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	for (unsigned i = 0; i < 60; i++) {
		u64 size = 512 * (1ull + rnd(i % 4 ? 32 : 2048));
		u64 offset = rnd((u32)((b->size - size) / 512)) * 512ull;

		fill(buf, size);
		if (run(b, BLOCK_WRITE, offset, size, buf) ||
		    run(twin, BLOCK_WRITE, offset, size, buf))
			return 1;
	}
	if (run(b, BLOCK_FLUSH, 0, 0, NULL))
		return 1;
	block_close(b);
	block_close(twin);
	return 0;
}

/* vhd_test write IMAGE RAW SEED: see write_both. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed),
		cmocka_unit_test(dynamic),
		cmocka_unit_test(dynamic_small),
		cmocka_unit_test(dynamic_default),
		cmocka_unit_test(chain),
		cmocka_unit_test(parent_names),
		cmocka_unit_test(locator_over_block),
		cmocka_unit_test(locator_outside),
		cmocka_unit_test(parent_identity),
		cmocka_unit_test(without_parent),
		cmocka_unit_test(hostile),
		cmocka_unit_test(guest_forges_header),
		cmocka_unit_test(old_footer),
	};
	int failed;

	if (argc == 5 && !strcmp(argv[1], "write"))
		return write_both(argv[2], argv[3], strtoull(argv[4], NULL, 10));
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests_name("vhd", tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
