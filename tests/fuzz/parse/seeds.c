/* Writes the inputs that the fuzzers of disk images start from: small images of every kind, made by Pogo or by qcow2_sample.c, with some
 * requests.
 * usage: seeds DIR */
#include "image.h"
#include "qcow2_sample.h"

#include "block/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct seed {
	const char *name, *format, *variant;
	u32 cluster_size;
	u64 size;
	unsigned parents;
};

static const struct seed seeds[] = {
	{ "vhd-fixed", "vhd", "fixed", 0, 64 * KIB, 0 },
	{ "vhd-dynamic", "vhd", "dynamic", 4096, 256 * KIB, 0 },
	{ "vhd-default", "vhd", "dynamic", 0, 4 * MIB, 0 },
	{ "vhd-child", "vhd", NULL, 4096, 256 * KIB, 1 },
	{ "vhd-chain", "vhd", NULL, 4096, 64 * KIB, 2 },
	{ "qcow2-small", "qcow2", NULL, 512, 256 * KIB, 0 },
	{ "qcow2-4k", "qcow2", NULL, 4096, 2 * MIB, 0 },
	{ "qcow2-8k", "qcow2", NULL, 8192, 4 * MIB, 0 },
	{ "qcow2-child", "qcow2", NULL, 4096, 256 * KIB, 1 },
	{ "qcow2-chain", "qcow2", NULL, 512, 256 * KIB, 2 },
};

static const struct {
	const char *name;
	struct qcow2_sample sample;
} samples[] = {
	{ "qcow2-v2", { 2, 9, 4, .size = 256 * KIB, .packed = true } },
	{ "qcow2-v2-snapshots", { 2, 12, 4, .size = 5 * MIB, .packed = true, .snapshots = 2 } },
	{ "qcow2-snapshots", { 3, 9, 4, .size = 200 * KIB, .snapshots = 3, .extensions = true } },
	{ "qcow2-packed", { 3, 12, 4, .size = 2 * MIB, .packed = true, .snapshots = 1 } },
	{ "qcow2-zstd", { 3, 16, 4, .size = 4 * MIB, .packed = true, .zstd = true } },
	{ "qcow2-2m", { 3, 21, 4, .size = 64 * MIB, .packed = true, .extensions = true } },
	{ "qcow2-bits1", { 3, 9, 0, .size = 100 * KIB } },
	{ "qcow2-bits2", { 3, 10, 1, .size = 300 * KIB, .snapshots = 1 } },
	{ "qcow2-bits4", { 3, 9, 2, .size = 96 * KIB, .packed = true } },
	{ "qcow2-bits8", { 3, 14, 3, .size = 3 * MIB, .packed = true, .snapshots = 1 } },
	{ "qcow2-bits32", { 3, 11, 5, .size = MIB, .zstd = true, .packed = true } },
	{ "qcow2-bits64", { 3, 9, 6, .size = 256 * KIB, .snapshots = 1 } },
	{ "qcow2-bitmap", { 3, 12, 4, .size = MIB, .bitmap = true, .extensions = true } },
	{ "qcow2-all", { 3, 10, 4, .size = MIB, .packed = true, .snapshots = 2, .bitmap = true } },
	{ "qcow2-backing", { 3, 9, 4, .size = 200 * KIB, .backing = "1", .snapshots = 1 } },
	{ "qcow2-v2-backing", { 2, 12, 4, .size = MIB, .backing = "1", .packed = true } },
	{ "qcow2-dirty",
	  { 3, 12, 4, .size = MIB, .incompatible = QCOW2_DIRTY, .miscounted = true } },
	{ "qcow2-long", { 3, 9, 6, .size = 256 * KIB, .miscounted = true, .length = 11 * MIB } },
	{ "qcow2-corrupt",
	  { 3, 9, 4, .size = 96 * KIB, .incompatible = QCOW2_CORRUPT, .miscounted = true } },
};

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "seeds: %s\n", what);
	exit(1);
}

static void put(FILE *out, u64 v, unsigned size) { fwrite(&v, size, 1, out); }

static void put_ops(FILE *out)
{
	static const u8 ops[][2] = {
		{ OP_READ, 63 },  { OP_WRITE, 3 },  { OP_ALLOCATED, 63 }, { OP_ZERO, 1 },
		{ OP_FLUSH, 0 },  { OP_CHECK, 0 },  { OP_DISCARD, 20 },   { OP_RESIZE, 0 },
		{ OP_WRITE, 40 }, { OP_REOPEN, 0 }, { OP_READ, 63 },
	};

	for (size_t n = 0; n < ARRAY_LEN(ops); n++) {
		put(out, ops[n][0], 1);
		put(out, ops[n][1], 1);
		put(out, n * 7, 4);
		put(out, 1, 2);
	}
}

static bool is_zero(const u8 *p, size_t size) { return !p[0] && !memcmp(p, p + 1, size - 1); }

static void put_piece(FILE *out, unsigned file, enum image_piece kind, u64 length, u64 sector)
{
	put(out, file, 1);
	put(out, kind, 1);
	put(out, length, 2);
	put(out, sector, 4);
}

/* A file as pieces: a sector's run of what is not zero, and its size. */
static void put_file(FILE *out, const char *path, unsigned number)
{
	FILE *in = fopen(path, "rb");
	u8 buf[BLOCK_SECTOR * 8];
	u64 sector = 0, size = 0;
	size_t n, unit;

	if (!in)
		fail(path);
	for (;;) {
		unit = BLOCK_SECTOR;
		n = fread(buf, 1, unit, in);
		/* A header or a table in one piece, as its fields are found from the start of one. */
		while (n == unit && !is_zero(buf + unit - BLOCK_SECTOR, BLOCK_SECTOR) &&
		       unit < sizeof(buf) && memcmp(buf, "conectix", 8)) {
			size_t more = fread(buf + unit, 1, BLOCK_SECTOR, in);

			n += more;
			unit += BLOCK_SECTOR;
		}
		if (!n)
			break;
		size += n;
		if (buf[0] && !memcmp(buf, buf + 1, n - 1)) {
			put_piece(out, number, PIECE_FILL, n, sector);
			put(out, buf[0], 1);
		} else if (!is_zero(buf, n)) {
			put_piece(out, number, PIECE_DATA, n, sector);
			fwrite(buf, 1, n, out);
		}
		sector += unit / BLOCK_SECTOR;
	}
	fclose(in);
	put_piece(out, number, PIECE_SIZE, size % BLOCK_SECTOR, size / BLOCK_SECTOR);
	put(out, 0, 1);
}

/* Something is in each image. */
static void write_some(const char *path)
{
	struct block_options o = { .path = path, .backing = BLOCK_BACKING_ANY };
	u8 buf[2 * BLOCK_SECTOR];
	struct block *block;
	char err[512];

	memset(buf, 0xa5, sizeof(buf));
	if (block_open(&block, &o, err, sizeof(err)))
		fail(err);
	if (block_write_now(block, buf, sizeof(buf), 0) ||
	    block_write_now(block, buf, BLOCK_SECTOR, block->size - BLOCK_SECTOR) ||
	    block_flush_now(block))
		fail("cannot write");
	block_close(block);
}

/* `count` files, with the operations, as an input. Their names in the images are those that the fuzzer has. */
static void put_input(const char *path, unsigned count)
{
	FILE *out = fopen(path, "wb");
	char name[2];

	if (!out)
		fail(path);
	put(out, (count > 1 ? IMAGE_BACKED : 0) | IMAGE_REPAIR, 1);
	put(out, 11, 1);
	put(out, count - 1, 1);
	put(out, 0, 1);
	put_ops(out);
	for (unsigned n = 0; n < count; n++) {
		snprintf(name, sizeof(name), "%u", n);
		put_file(out, name, n);
		unlink(name);
	}
	if (fclose(out))
		fail(path);
}

static void make(const struct seed *s)
{
	char err[512], name[2];

	for (unsigned n = s->parents + 1; n-- > 0;) {
		bool child = n < s->parents;
		struct block_create c = { .path = name,
					  .format = s->format,
					  .variant = child ? NULL : s->variant,
					  .size = s->size,
					  .cluster_size = s->cluster_size };
		char parent[2] = { (char)('1' + n), 0 };

		snprintf(name, sizeof(name), "%u", n);
		if (child) {
			c.parent = parent;
			c.parent_format = s->format;
		}
		if (block_create(&c, err, sizeof(err)))
			fail(err);
		write_some(name);
	}
	put_input(s->name, s->parents + 1);
}

/* A sample is as it should be, before the fuzzer changes it. */
static void check_sample(const struct qcow2_sample *s, const char *path)
{
	struct block_options o = { .path = path, .readonly = true, .backing = BLOCK_BACKING_ANY };
	struct block_check c = { 0 };
	struct block *block;
	char err[512];

	if (block_open(&block, &o, err, sizeof(err)))
		fail(err);
	if (block->ops->check(block, &c, false) || (c.errors || c.leaks) != s->miscounted)
		fail("a sample is not whole");
	block_close(block);
}

static void make_sample(const struct qcow2_sample *s, const char *name)
{
	struct qcow2_sample below = { .version = 3, .cluster_bits = 12, .refcount_order = 4 };

	below.size = s->size - 64 * KIB;
	if (s->backing)
		qcow2_sample_write(&below, s->backing);
	qcow2_sample_write(s, "0");
	check_sample(s, "0");
	put_input(name, s->backing ? 2 : 1);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		fail("usage: seeds DIR");
	if (chdir(argv[1]))
		fail(argv[1]);
	for (size_t n = 0; n < ARRAY_LEN(seeds); n++)
		make(&seeds[n]);
	for (size_t n = 0; n < ARRAY_LEN(samples); n++)
		make_sample(&samples[n].sample, samples[n].name);
	return 0;
}
