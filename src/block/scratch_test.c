/* Scratch disks: what is written can be read again, what is not comes from the image, and the image stays as it was. */
#include "base/test.h"
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE (64 * KIB + 512) /* the last piece is a short one */

static char image[] = "/tmp/pogo-scratch-XXXXXX";
static u8 was[SIZE];

static int setup(void **state)
{
	int fd;

	memcpy(image + sizeof(image) - 7, "XXXXXX", 6);
	fd = mkstemp(image);
	for (unsigned n = 0; n < SIZE; n++)
		was[n] = (u8)(n * 7 + n / 256);
	if (fd < 0 || write(fd, was, SIZE) != SIZE)
		return -1;
	return close(fd);
}

static int teardown(void **state) { return unlink(image); }

static struct block *open_scratch(bool readonly)
{
	struct block_options o = { .path = image, .readonly = readonly, .scratch = true };
	struct block *block = NULL;
	char err[256] = "";

	if (block_open(&block, &o, err, sizeof(err)))
		fail_msg("%s", err);
	return block;
}

static void done(struct block_req *req) { ++*(unsigned *)req->opaque; }

static int request(struct block *block, enum block_op op, u64 offset, u64 size, void *buf)
{
	unsigned calls = 0;
	struct block_req r = {
		.op = op, .offset = offset, .size = size, .buf = buf, .done = done, .opaque = &calls
	};

	block_submit(block, &r);
	assert_int_equal(calls, 1);
	return r.result;
}

static void expect(struct block *block, const u8 *contents)
{
	static u8 buf[SIZE];

	assert_int_equal(request(block, BLOCK_READ, 0, SIZE, buf), 0);
	assert_memory_equal(buf, contents, SIZE);
}

static void changes_stay_apart(void **state)
{
	struct block *a = open_scratch(false), *b = open_scratch(false);
	struct block_options plain = { .path = image, .readonly = true };
	struct block *c = NULL;
	static u8 model[SIZE], data[SIZE];
	char err[256] = "";
	u32 seed = 1;

	assert_int_equal(a->size, SIZE);
	memcpy(model, was, SIZE);
	expect(a, model);
	for (unsigned n = 0; n < 300; n++) {
		static const enum block_op ops[] = { BLOCK_WRITE, BLOCK_WRITE, BLOCK_DISCARD,
						     BLOCK_WRITE_ZEROES };

		seed = seed * 1664525 + 1013904223;
		enum block_op op = ops[seed >> 30];
		u64 at = (seed >> 8) % (SIZE / 512), count = (seed >> 16) % 20;

		count = MIN(count, SIZE / 512 - at);
		memset(data, (int)n, sizeof(data));
		assert_int_equal(
			request(a, op, at * 512, count * 512, op == BLOCK_WRITE ? data : NULL), 0);
		memset(model + at * 512, op == BLOCK_WRITE ? (int)(n & 0xff) : 0, count * 512);
		expect(a, model);
	}
	assert_int_equal(request(a, BLOCK_FLUSH, 0, 0, NULL), 0);
	expect(b, was);
	assert_int_equal(block_open(&c, &plain, err, sizeof(err)), 0);
	expect(c, was);
	block_close(a);
	block_close(b);
	block_close(c);
}

static void read_only_stays_read_only(void **state)
{
	struct block *a = open_scratch(true);
	u8 data[512] = { 0 };

	assert_int_equal(request(a, BLOCK_WRITE, 0, 512, data), -EROFS);
	expect(a, was);
	block_close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(changes_stay_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only_stays_read_only, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
