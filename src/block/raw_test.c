/* Raw images: opening with its errors, requests in both ways of service, locking. */
#include "base/test.h"
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (1 * MIB)

static char dir[] = "/tmp/pogo-raw-XXXXXX";
static char image[64];

static void make_image(u64 size)
{
	int fd = open(image, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static int setup(void **state)
{
	make_image(SIZE);
	return 0;
}

static struct block *open_ok(bool readonly)
{
	struct block_options o = { .path = image, .readonly = readonly };
	struct block *block = NULL;
	char err[256] = "";

	assert_int_equal(block_open(&block, &o, err, sizeof(err)), 0);
	assert_string_equal(err, "");
	return block;
}

static int open_fails(const char *path, bool readonly, const char *says)
{
	struct block_options o = { .path = path, .readonly = readonly };
	struct block *block = NULL;
	char err[256] = "";
	int r = block_open(&block, &o, err, sizeof(err));

	assert_true(r < 0);
	assert_null(block);
	if (!strstr(err, says) || !strstr(err, path))
		fail_msg("'%s' does not say '%s'", err, says);
	return r;
}

static void count_done(struct block_req *req) { ++*(unsigned *)req->opaque; }

static int run_op(struct block *block, enum block_op op, u64 offset, u64 size, void *buf)
{
	unsigned done = 0;
	struct block_req req = { .op = op,
				 .offset = offset,
				 .size = size,
				 .buf = buf,
				 .done = count_done,
				 .opaque = &done };

	block_submit(block, &req);
	block_drain(block);
	assert_int_equal(done, 1);
	return req.result;
}

static void read_write(struct block *block)
{
	u8 out[1024], in[1024];

	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (u8)(i * 7 + 1);
	assert_int_equal(block->size, SIZE);
	assert_int_equal(run_op(block, BLOCK_WRITE, SIZE - 1024, 1024, out), 0);
	assert_int_equal(run_op(block, BLOCK_FLUSH, 0, 0, NULL), 0);
	assert_int_equal(run_op(block, BLOCK_READ, SIZE - 1024, 1024, in), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(run_op(block, BLOCK_WRITE_ZEROES, SIZE - 512, 512, NULL), 0);
	assert_int_equal(run_op(block, BLOCK_READ, SIZE - 1024, 1024, in), 0);
	memset(out + 512, 0, 512);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(run_op(block, BLOCK_DISCARD, 0, SIZE, NULL), 0);
	/* Nothing reaches beyond the end, whatever the sum wraps to. */
	assert_int_equal(run_op(block, BLOCK_READ, SIZE - 512, 1024, in), -EINVAL);
	assert_int_equal(run_op(block, BLOCK_READ, SIZE + 512, 0, in), -EINVAL);
	assert_int_equal(run_op(block, BLOCK_WRITE, -512ull, 1024, in), -EINVAL);
	assert_int_equal(run_op(block, BLOCK_READ, 100, 512, in), -EINVAL);
	assert_int_equal(run_op(block, BLOCK_READ, 0, 100, in), -EINVAL);
}

static void synchronous(void **state)
{
	struct block *block = open_ok(false);

	assert_int_equal(block_fd(block), -1);
	read_write(block);
	block_close(block);
}

static struct block *open_by(enum block_io io)
{
	struct block_options o = { .path = image, .threaded = true, .io = io };
	struct block *block = NULL;
	char err[256] = "";

	if (block_open(&block, &o, err, sizeof(err)))
		fail_msg("%s", err);
	return block;
}

/* Where the host refuses io_uring, that way is left out, and AUTO is another. */
static bool have_ring(void)
{
	struct block_options o = { .path = image, .threaded = true, .io = BLOCK_IO_URING };
	struct block *block;
	char err[256];

	if (block_open(&block, &o, err, sizeof(err)))
		return false;
	block_close(block);
	return true;
}

static void each_way(void **state)
{
	for (enum block_io io = BLOCK_IO_AUTO; io <= BLOCK_IO_THREAD; io++) {
		struct block *block;

		if (io == BLOCK_IO_URING && !have_ring())
			continue;
		make_image(SIZE);
		block = open_by(io);
		if (io == BLOCK_IO_URING)
			assert_non_null(block->uring);
		if (io == BLOCK_IO_THREAD)
			assert_non_null(block->thread);
		read_write(block);
		block_close(block);
	}
}

#define MANY 200 /* more than there are slots in a ring */

/* Completion by the event descriptor: for each request, once, whatever is in flight; and what was written is there. */
static void completion_by_poll(void **state)
{
	static u8 buf[MANY][512];
	struct block_req req[MANY];

	for (enum block_io io = BLOCK_IO_URING; io <= BLOCK_IO_THREAD; io++) {
		struct block *block;
		unsigned done = 0;

		if (io == BLOCK_IO_URING && !have_ring())
			continue;
		block = open_by(io);
		assert_true(block_fd(block) >= 0);
		for (unsigned i = 0; i < MANY; i++) {
			memset(buf[i], (int)(i + io), 512);
			req[i] = (struct block_req){ .op = BLOCK_WRITE,
						     .fua = i % 8 == 0,
						     .offset = i * 512,
						     .size = 512,
						     .buf = buf[i],
						     .done = count_done,
						     .opaque = &done };
			block_submit(block, &req[i]);
		}
		assert_int_equal(done, 0);
		for (unsigned tries = 0; done < MANY && tries < 10000; tries++) {
			struct pollfd p = { .fd = block_fd(block), .events = POLLIN };

			assert_int_equal(poll(&p, 1, 10000), 1);
			block_poll(block);
		}
		assert_int_equal(done, MANY);
		block_poll(block);
		for (unsigned i = 0; i < MANY; i++) {
			u8 in[512];

			assert_int_equal(req[i].result, 0);
			assert_int_equal(run_op(block, BLOCK_READ, i * 512, 512, in), 0);
			assert_memory_equal(in, buf[i], 512);
		}
		block_close(block);
	}
}

/* A failed flush stays failed, as what it was to make stable may be lost. */
static void failed_flush(void **state)
{
	for (enum block_io io = BLOCK_IO_URING; io <= BLOCK_IO_THREAD; io++) {
		struct block *block;

		if (io == BLOCK_IO_URING && !have_ring())
			continue;
		block = open_by(io);
		assert_int_equal(run_op(block, BLOCK_FLUSH, 0, 0, NULL), 0);
		block->file->flush_error = -EIO;
		assert_int_equal(run_op(block, BLOCK_FLUSH, 0, 0, NULL), -EIO);
		block_close(block);
	}
}

/* A file cut behind our back is an I/O error, not zeros. */
static void cut_file(void **state)
{
	for (enum block_io io = BLOCK_IO_AUTO; io <= BLOCK_IO_THREAD; io++) {
		struct block *block;
		u8 buf[1024];

		if (io == BLOCK_IO_URING && !have_ring())
			continue;
		make_image(SIZE);
		block = open_by(io);
		assert_int_equal(truncate(image, 512), 0);
		assert_int_equal(run_op(block, BLOCK_READ, 0, 512, buf), 0);
		assert_int_equal(run_op(block, BLOCK_READ, 0, 1024, buf), -EIO);
		block_close(block);
	}
}

static void readonly(void **state)
{
	struct block *block = open_ok(true);
	u8 buf[512];

	assert_int_equal(run_op(block, BLOCK_READ, 0, 512, buf), 0);
	assert_int_equal(run_op(block, BLOCK_WRITE, 0, 512, buf), -EROFS);
	assert_int_equal(run_op(block, BLOCK_DISCARD, 0, 512, NULL), -EROFS);
	assert_int_equal(run_op(block, BLOCK_WRITE_ZEROES, 0, 512, NULL), -EROFS);
	assert_int_equal(run_op(block, BLOCK_FLUSH, 0, 0, NULL), 0);
	block_close(block);
}

static void locking(void **state)
{
	struct block *writer = open_ok(false), *reader, *other;

	assert_int_equal(open_fails(image, false, "in use"), -EBUSY);
	assert_int_equal(open_fails(image, true, "in use"), -EBUSY);
	block_close(writer);
	reader = open_ok(true);
	other = open_ok(true);
	assert_int_equal(open_fails(image, false, "in use"), -EBUSY);
	block_close(reader);
	block_close(other);
	block_close(open_ok(false));
}

static void refused(void **state)
{
	struct block_options o = { .path = image, .format = "floppy" };
	struct block *block;
	char err[256], fifo[80];

	make_image(1000);
	open_fails(image, false, "not a multiple of 512");
	open_fails(image, true, "truncate -s %512");
	make_image(0);
	open_fails(image, false, "empty");
	assert_int_equal(open_fails("/nonexistent/disk.img", false, "No such file"), -ENOENT);
	open_fails(dir, false, "directory");
	open_fails(dir, true, "neither a file nor a block device");
	open_fails("/dev/null", true, "neither a file nor a block device");
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	open_fails(fifo, true, "neither a file nor a block device");
	unlink(fifo);
	assert_true(block_open(&block, &o, err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "floppy"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(synchronous, setup),
		cmocka_unit_test_setup(each_way, setup),
		cmocka_unit_test_setup(completion_by_poll, setup),
		cmocka_unit_test_setup(failed_flush, setup),
		cmocka_unit_test_setup(cut_file, setup),
		cmocka_unit_test_setup(readonly, setup),
		cmocka_unit_test_setup(locking, setup),
		cmocka_unit_test_setup(refused, setup),
	};
	int failed;

	assert_non_null(mkdtemp(dir));
	snprintf(image, sizeof(image), "%s/disk.img", dir);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests_name("raw", tests, NULL, NULL);
	unlink(image);
	rmdir(dir);
	return failed;
}
