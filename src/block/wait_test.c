/* Requests that failed and wait for what failed them to go away: in each way of service, with a limit on the size of files as the failure. */
#include "base/test.h"
#include "block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIZE  (1 * MIB)
#define LIMIT (SIZE / 2)
#define COUNT 8u

static char dir[] = "/tmp/pogo-wait-XXXXXX";
static char image[64];

/* What was asked and done, in order. */
struct events {
	unsigned asked, done;
	bool answer;
	const struct block_req *asks[2 * COUNT], *finished[2 * COUNT];
};

static struct events events;

static bool wait_for(void *opaque, const struct block_req *req)
{
	struct events *e = opaque;

	assert_true(e->asked < 2 * COUNT);
	e->asks[e->asked++] = req;
	return e->answer;
}

static void on_done(struct block_req *req)
{
	assert_true(events.done < 2 * COUNT);
	events.finished[events.done++] = req;
}

static void limit_files(u64 size)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static struct block *open_disk(bool threaded, enum block_io io)
{
	struct block_options o = { .path = image, .format = "raw", .threaded = threaded, .io = io };
	struct block *block;
	char err[512];
	int fd = open(image, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	close(fd);
	if (block_open(&block, &o, err, sizeof(err)))
		return NULL;
	events = (struct events){ .answer = true };
	block_on_error(block, wait_for, &events);
	return block;
}

static void poll_until(struct block *block, const unsigned *count, unsigned wanted)
{
	for (unsigned tries = 0; *count < wanted && tries < 1000; tries++) {
		struct pollfd p = { .fd = block_fd(block), .events = POLLIN };

		assert_true(p.fd >= 0);
		assert_int_equal(poll(&p, 1, 10000), 1);
		block_poll(block);
	}
	assert_int_equal(*count, wanted);
}

static void submit(struct block *block, struct block_req *req, u8 (*buf)[512])
{
	for (unsigned n = 0; n < COUNT; n++) {
		memset(buf[n], (int)n + 1, 512);
		req[n] = (struct block_req){ .op = BLOCK_WRITE,
					     .offset = LIMIT + n * 512,
					     .size = 512,
					     .buf = buf[n],
					     .done = on_done };
		block_submit(block, &req[n]);
	}
}

static void waits(struct block *block)
{
	static u8 buf[COUNT][512];
	struct block_req req[COUNT];
	u8 in[COUNT][512];
	int fd;

	limit_files(LIMIT);
	submit(block, req, buf);
	poll_until(block, &events.asked, COUNT);
	assert_int_equal(events.done, 0);
	assert_int_equal(req[0].result, -EFBIG);
	/* Too early. */
	block_retry(block);
	poll_until(block, &events.asked, 2 * COUNT);
	assert_int_equal(events.done, 0);
	/* Who is served at once is told at once. */
	if (block_fd(block) < 0)
		assert_int_equal(block_write_now(block, buf, 512, LIMIT), -EFBIG);
	limit_files(RLIM_INFINITY);
	block_retry(block);
	poll_until(block, &events.done, COUNT);
	for (unsigned n = 0; n < COUNT; n++)
		assert_int_equal(req[n].result, 0);
	fd = open(image, O_RDONLY);
	assert_int_equal(pread(fd, in, sizeof(in), LIMIT), sizeof(in));
	close(fd);
	assert_memory_equal(in, buf, sizeof(in));
	/* Nothing is left. */
	block_retry(block);
	block_drain(block);
	assert_int_equal(events.done, COUNT);
}

static void gives_up(struct block *block)
{
	static u8 buf[COUNT][512];
	struct block_req req[COUNT];

	limit_files(LIMIT);
	submit(block, req, buf);
	poll_until(block, &events.asked, COUNT);
	block_drain(block);
	assert_int_equal(events.done, COUNT);
	for (unsigned n = 0; n < COUNT; n++) {
		assert_ptr_equal(events.finished[n], events.asks[n]);
		assert_int_equal(req[n].result, -EFBIG);
	}
	/* A drain lets what is under way fail, too. */
	events = (struct events){ .answer = true };
	submit(block, req, buf);
	block_drain(block);
	assert_int_equal(events.done, COUNT);
	limit_files(RLIM_INFINITY);
}

static void reports(struct block *block)
{
	static u8 buf[COUNT][512];
	struct block_req req[COUNT];

	events.answer = false;
	limit_files(LIMIT);
	submit(block, req, buf);
	poll_until(block, &events.done, COUNT);
	assert_int_equal(events.asked, COUNT);
	assert_int_equal(req[COUNT - 1].result, -EFBIG);
	limit_files(RLIM_INFINITY);
}

static void each_way(void (*test)(struct block *))
{
	static const enum block_io ways[] = { BLOCK_IO_AUTO, BLOCK_IO_THREAD, BLOCK_IO_URING };

	for (unsigned n = 0; n < ARRAY_LEN(ways); n++) {
		struct block *block = open_disk(n > 0, ways[n]);

		if (!block) {
			assert_int_equal(ways[n], BLOCK_IO_URING); /* which a host may refuse */
			continue;
		}
		test(block);
		block_close(block);
	}
}

static void failed_requests_wait(void **state) { each_way(waits); }
static void a_drain_gives_them_up(void **state) { each_way(gives_up); }
static void errors_are_reported(void **state) { each_way(reports); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failed_requests_wait),
		cmocka_unit_test(a_drain_gives_them_up),
		cmocka_unit_test(errors_are_reported),
	};
	int failed;

	signal(SIGXFSZ, SIG_IGN);
	if (!mkdtemp(dir))
		return 1;
	snprintf(image, sizeof(image), "%s/image", dir);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(image);
	rmdir(dir);
	return failed;
}
