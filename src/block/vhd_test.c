/* VHD images: structures against the specification, random requests against a shadow, chains, damage, failing storage. */
#include "base/test.h"
#include "block/faultfile.h"
#include "block/vhd.h"

#include <errno.h>
#include <fcntl.h>
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
	b = open_good("leaf.vhd");
	compare(b, shadow, CHAIN_SIZE);
	block_close(b);
	remove_chain();
	free(shadow);
}

/* The leaf takes mid.vhd as it is. */
static void accept_parent(void)
{
	struct block_options unseen = { .path = "leaf.vhd", .backing = BLOCK_BACKING_UNSEEN };
	struct block *b;
	char err[512];

	assert_int_equal(block_open(&b, &unseen, err, sizeof(err)), 0);
	assert_int_equal(b->ops->set_parent(b, "mid.vhd", "vhd", err, sizeof(err)), 0);
	block_close(b);
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
	accept_parent();
	block_close(open_good("leaf.vhd"));
	touch("mid.vhd", 1010);
	open_bad("leaf.vhd", -ESTALE, "time stamp");
	accept_parent();
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

/* --- Damage --------------------------------------------------------------------------------- */

static void line(void *opaque, const char *text)
{
	char *last = opaque;

	snprintf(last, 256, "%s", text);
}

/* Errors and leaks that a check finds, also while it repairs. */
static void checks_as(struct block *b, bool repair, u64 errors, u64 leaks, const char *says)
{
	char last[256] = "";
	struct block_check c = { .report = line, .opaque = last };

	assert_int_equal(b->ops->check(b, &c, repair), 0);
	if (c.errors != errors || c.leaks != leaks || !strstr(last, says))
		fail_msg("%llu errors, %llu leaks, '%s'", (unsigned long long)c.errors,
			 (unsigned long long)c.leaks, last);
	assert_int_equal(c.repaired, repair ? errors + leaks : 0);
}

static void repaired(struct fault_disk *d, struct block *b, u64 errors, u64 leaks, const char *says,
		     const u8 *shadow)
{
	checks_as(b, false, errors, leaks, says);
	checks_as(b, true, errors, leaks, says);
	checks_as(b, false, 0, 0, "");
	block_close(b);
	b = open_on(d, "mem.vhd");
	checks_as(b, false, 0, 0, "");
	compare(b, shadow, b->size);
	assert_int_equal(run(b, BLOCK_WRITE, 0, 512, (void *)(uintptr_t)shadow), 0);
	block_close(b);
	fault_disk_free(d);
}

#define BLOCK        (64u * 1024)
#define DAMAGED_SIZE (16 * BLOCK)

/* A dynamic image with all blocks but the last written, in order. */
static struct fault_disk *make_damaged(u8 *shadow)
{
	struct fault_disk *d = fault_disk_new(1);
	struct block *b = create_on(d, "dynamic", DAMAGED_SIZE, BLOCK);

	memset(shadow, 0, DAMAGED_SIZE);
	fill(shadow, DAMAGED_SIZE - BLOCK);
	assert_int_equal(run(b, BLOCK_WRITE, 0, DAMAGED_SIZE - BLOCK, shadow), 0);
	block_close(b);
	return d;
}

static u8 *entry(struct fault_disk *d, u32 i) { return d->data + VHD_TABLE_OFFSET + i * 4ull; }

static void damaged_ends(void **state)
{
	u8 *shadow = malloc(DAMAGED_SIZE);
	struct fault_disk *d = make_damaged(shadow);
	struct block *b;
	u64 size = d->size;

	/* The footer at the end lost: a leak of nothing. */
	d->data[size - 512] ^= 1;
	repaired(d, open_on(d, "mem.vhd"), 0, 1, "footer at the end", shadow);
	/* Cut off with it. */
	d = make_damaged(shadow);
	d->size -= 512 + 1000;
	b = open_on(d, "mem.vhd");
	assert_int_equal(run(b, BLOCK_WRITE, 0, 512, shadow), -EIO); /* only read */
	block_close(b);
	memset(d->data + d->size, 0, 1512);
	memset(shadow + DAMAGED_SIZE - BLOCK - 1000, 0, 1000);
	repaired(d, open_on(d, "mem.vhd"), 1, 1, "cut off", shadow);
	/* Only the copy. */
	d = make_damaged(shadow);
	d->data[100] ^= 1;
	repaired(d, open_on(d, "mem.vhd"), 1, 0, "copy of the footer", shadow);
	d = make_damaged(shadow);
	d->data[512 + 1000] ^= 1;
	repaired(d, open_on(d, "mem.vhd"), 1, 0, "dynamic header", shadow);
	free(shadow);
}

static void damaged_blocks(void **state)
{
	u8 *shadow = malloc(DAMAGED_SIZE);
	struct fault_disk *d = make_damaged(shadow);
	struct block *b;

	/* Two blocks in one place. */
	memcpy(entry(d, 15), entry(d, 3), 4);
	memcpy(shadow + 15 * BLOCK, shadow + 3 * BLOCK, BLOCK);
	repaired(d, open_on(d, "mem.vhd"), 1, 0, "shares space", shadow);
	/* Beyond the end: lost, the rest is not. */
	d = make_damaged(shadow);
	vhd_put(entry(d, 2), 0x00fffff0, 4);
	b = open_on(d, "mem.vhd");
	assert_int_equal(run(b, BLOCK_READ, 2 * BLOCK, 512, shadow + 2 * BLOCK), -EIO);
	memset(shadow + 2 * BLOCK, 0, BLOCK);
	checks_as(b, false, 1, 0, "outside of the file");
	checks_as(b, true, 1, 1, "belong to nothing"); /* its place in the file */
	block_close(b);
	b = open_on(d, "mem.vhd");
	checks_as(b, false, 0, 0, "");
	compare(b, shadow, DAMAGED_SIZE);
	block_close(b);
	fault_disk_free(d);
	/* Over the header. */
	d = make_damaged(shadow);
	vhd_put(entry(d, 2), 2, 4);
	b = open_on(d, "mem.vhd");
	checks_as(b, false, 1, 0, "outside of the file");
	block_close(b);
	fault_disk_free(d);
	free(shadow);
}

static void lost_blocks(void **state)
{
	u8 *shadow = malloc(DAMAGED_SIZE);
	struct fault_disk *d = make_damaged(shadow);
	u64 size = d->size;
	struct block *b;

	/* In the middle: blocks from the end take their place. */
	vhd_put(entry(d, 0), VHD_UNUSED, 4);
	vhd_put(entry(d, 5), VHD_UNUSED, 4);
	memset(shadow, 0, BLOCK);
	memset(shadow + 5 * BLOCK, 0, BLOCK);
	b = open_on(d, "mem.vhd");
	checks_as(b, true, 0, 2, "belong to nothing");
	block_close(b);
	assert_true(d->size <= size - 2 * BLOCK);
	b = open_on(d, "mem.vhd");
	compare(b, shadow, DAMAGED_SIZE);
	block_close(b);
	/* At the end: used again without a repair, and full of zeros then. */
	vhd_put(entry(d, 12), VHD_UNUSED, 4);
	vhd_put(entry(d, 11), VHD_UNUSED, 4);
	memset(shadow + 11 * BLOCK, 0, 2 * BLOCK);
	b = open_on(d, "mem.vhd");
	size = d->size;
	fill(shadow + 15 * BLOCK + 512, 512);
	assert_int_equal(run(b, BLOCK_WRITE, 15 * BLOCK + 512, 512, shadow + 15 * BLOCK + 512), 0);
	block_close(b);
	assert_true(d->size <= size);
	b = open_on(d, "mem.vhd");
	compare(b, shadow, DAMAGED_SIZE);
	block_close(b);
	fault_disk_free(d);
	/* Data that the bitmap does not know. */
	d = make_damaged(shadow);
	memset(d->data + vhd_get(entry(d, 4), 4) * 512 + 3, 0, 2);
	repaired(d, open_on(d, "mem.vhd"), 1, 0, "16 sectors of data", shadow);
	free(shadow);
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
		vhd_put(d->data + rows[i].offset, rows[i].value, rows[i].size);
		seal(d);
		refuses(d, rows[i].says);
		fault_disk_free(d);
	}
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
		cmocka_unit_test(geometry),        cmocka_unit_test(size_by_creator),
		cmocka_unit_test(names),           cmocka_unit_test(fixed),
		cmocka_unit_test(dynamic),         cmocka_unit_test(dynamic_small),
		cmocka_unit_test(dynamic_default), cmocka_unit_test(chain),
		cmocka_unit_test(parent_names),    cmocka_unit_test(parent_identity),
		cmocka_unit_test(without_parent),  cmocka_unit_test(damaged_ends),
		cmocka_unit_test(damaged_blocks),  cmocka_unit_test(lost_blocks),
		cmocka_unit_test(hostile),         cmocka_unit_test(guest_forges_header),
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
