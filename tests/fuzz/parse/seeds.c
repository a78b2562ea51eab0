/* Writes the inputs that the fuzzers of disk images start from: small images of every kind, made by Pogo, with some requests.
 * usage: seeds DIR */
#include "image.h"

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
		if (!is_zero(buf, n)) {
			put(out, number, 1);
			put(out, PIECE_DATA, 1);
			put(out, n, 2);
			put(out, sector, 4);
			fwrite(buf, 1, n, out);
		}
		sector += unit / BLOCK_SECTOR;
	}
	fclose(in);
	put(out, number, 1);
	put(out, PIECE_SIZE, 1);
	put(out, size % BLOCK_SECTOR, 2);
	put(out, size / BLOCK_SECTOR, 4);
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

static void make(const struct seed *s, const char *dir)
{
	char path[600], err[512], name[2];
	unsigned count = s->parents + 1;
	FILE *out;

	/* The names in the images are those that the fuzzer has. */
	if (chdir(dir))
		fail(dir);
	for (unsigned n = count; n-- > 0;) {
		bool child = n + 1 < count;
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
	snprintf(path, sizeof(path), "%s", s->name);
	out = fopen(path, "wb");
	if (!out)
		fail(path);
	put(out, (s->parents ? IMAGE_BACKED : 0) | IMAGE_REPAIR, 1);
	put(out, 11, 1);
	put(out, s->parents, 1);
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

int main(int argc, char **argv)
{
	if (argc != 2)
		fail("usage: seeds DIR");
	for (size_t n = 0; n < ARRAY_LEN(seeds); n++)
		make(&seeds[n], n ? "." : argv[1]);
	return 0;
}
