/* What the tests of VHD images share: images on disks in memory, random requests beside a shadow of what they must show. */
#ifndef BLOCK_VHD_TEST_H
#define BLOCK_VHD_TEST_H

#include "base/test.h"
#include "block/faultfile.h"
#include "block/vhd.h"

#include <stdlib.h>
#include <string.h>

static u64 seed; /* of rnd */

static inline u32 rnd(u32 below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(seed >> 33) % below;
}

static inline void done(struct block_req *req) { ++*(unsigned *)req->opaque; }

static inline int run(struct block *b, enum block_op op, u64 offset, u64 size, void *buf)
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

static inline struct block *open_on(struct fault_disk *d, const char *name)
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

static inline struct block *create_on(struct fault_disk *d, const char *variant, u64 size,
				      u32 block_size)
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

static inline void fill(u8 *buf, u64 size)
{
	u32 v = rnd(1u << 30) * 2 + 1;

	for (u64 i = 0; i < size; i += 4, v = v * 1664525 + 1013904223)
		memcpy(buf + i, &v, 4);
}

static inline void compare(struct block *b, const u8 *shadow, u64 size)
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
static inline void random_request(struct block *b, u8 *shadow, u32 max_sectors)
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

#define BLOCK        (64u * 1024)
#define DAMAGED_SIZE (16 * BLOCK)

/* A dynamic image with all blocks but the last written, in order. */
static inline struct fault_disk *make_damaged(u8 *shadow)
{
	struct fault_disk *d = fault_disk_new(1);
	struct block *b = create_on(d, "dynamic", DAMAGED_SIZE, BLOCK);

	memset(shadow, 0, DAMAGED_SIZE);
	fill(shadow, DAMAGED_SIZE - BLOCK);
	assert_int_equal(run(b, BLOCK_WRITE, 0, DAMAGED_SIZE - BLOCK, shadow), 0);
	block_close(b);
	return d;
}

static inline u8 *entry(struct fault_disk *d, u32 i)
{
	return d->data + VHD_TABLE_OFFSET + i * 4ull;
}

#endif
