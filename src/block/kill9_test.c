/* Killed monitors: a process works on an image of each kind, by each way of service, and is killed at any moment. Whatever it was told of is
 * there afterwards, the image opens in spite of the lock that was left, and its check finds leaks at most.
 *
 *     kill9_test [KILLS]     over all kinds; default 18 */
#include "block/block_test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static unsigned kills_wanted = 18;

static struct block *open_image(const struct image *image, bool readonly, enum block_io io)
{
	struct block_options o = { .path = image->path,
				   .format = image->kind->format,
				   .readonly = readonly,
				   .threaded = !readonly,
				   .io = io,
				   .backing = BLOCK_BACKING_ANY };
	struct block *block;
	char err[512];

	if (block_open(&block, &o, err, sizeof(err)))
		fail_msg("%s: %s", image->kind->name, err);
	return block;
}

/* In the process that will be killed: says which request it starts, so that all before it are known to be done. */
static void work(struct guest *g, int told, enum block_io io)
{
	struct block *block = open_image(g->image, false, io);

	for (u32 n = 1;; n++)
		if (write(told, &n, sizeof(n)) != sizeof(n) || guest_step(g, block))
			_exit(1);
}

/* How many requests it started before it was killed, some time after its first ones. */
static u32 run_and_kill(struct guest *g, enum block_io io, u64 *rng)
{
	u32 started = 0, wanted = 1 + (u32)(fault_random(rng) % 200);
	int told[2], status;
	pid_t child;

	assert_int_equal(pipe(told), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close(told[0]);
		work(g, told[1], io);
	}
	close(told[1]);
	while (started < wanted && read(told[0], &started, sizeof(started)) > 0)
		;
	if (fault_random(rng) % 2) {
		struct timespec t = { .tv_nsec = (long)(fault_random(rng) % 500000) };

		nanosleep(&t, NULL); /* into a request, rather than at its start */
	}
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	while (read(told[0], &started, sizeof(started)) > 0)
		;
	close(told[0]);
	return started;
}

/* The model takes part in what the process did: all requests but the last one are done. */
static void follow(struct guest *g, u32 started)
{
	struct block_req req;

	for (u32 n = 1; n <= started; n++) {
		guest_next(g, &req);
		if (n < started)
			guest_after(g, &req);
	}
}

/* Verifies the image, and goes on from what it holds. */
static void verify(struct guest *g, unsigned kill_number)
{
	struct block *block = open_image(g->image, true, BLOCK_IO_AUTO);
	struct block_check c = { 0 };
	char err[512];
	int r;

	if (!guest_verify(g, block, 0, GUEST_SECTORS, false, err, sizeof(err)))
		fail_msg("%s: kill %u: %s", g->image->kind->name, kill_number, err);
	r = block->ops->check ? block->ops->check(block, &c, false) : 0;
	if (r || c.errors)
		fail_msg("%s: kill %u: check: %d, %llu errors", g->image->kind->name, kill_number,
			 r, (unsigned long long)c.errors);
	for (u64 s = 0; s < GUEST_SECTORS; s++) {
		u8 buf[BLOCK_SECTOR];

		assert_int_equal(block_read_now(block, buf, sizeof(buf), s * BLOCK_SECTOR), 0);
		may_settle(&g->sectors[s], sector_version(buf, s));
	}
	block_close(block);
}

static void kills(void **state)
{
	static struct guest g;
	struct image image;
	u64 rng = 3;
	char err[512], lock[128];

	if (!image_init(&image, *state))
		skip();
	struct block_create c = { .path = image.path,
				  .format = image.kind->format,
				  .variant = image.kind->variant,
				  .cluster_size = image.kind->cluster_size,
				  .size = GUEST_SIZE,
				  .parent = image.kind->child ? image.base : NULL,
				  .parent_format = image.kind->format };

	if (block_create(&c, err, sizeof(err)))
		fail_msg("%s", err);
	guest_init(&g, &image, 1);
	for (unsigned n = 0;
	     n < (kills_wanted + ARRAY_LEN(image_kinds) - 1) / ARRAY_LEN(image_kinds); n++) {
		enum block_io io = n % 2 ? BLOCK_IO_THREAD : BLOCK_IO_AUTO;

		g.rng = fault_random(&rng) | 1;
		follow(&g, run_and_kill(&g, io, &rng));
		verify(&g, n + 1);
	}
	block_close(open_image(&image, false, BLOCK_IO_AUTO));
	snprintf(lock, sizeof(lock), "%s.lock", image.path);
	assert_int_not_equal(access(lock, F_OK), 0);
	guest_fini(&g);
	unlink(image.path);
	image_fini(&image);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[ARRAY_LEN(image_kinds)];

	if (argc > 1)
		kills_wanted = (unsigned)strtoul(argv[1], NULL, 10);
	for (size_t n = 0; n < ARRAY_LEN(tests); n++)
		tests[n] =
			(struct CMUnitTest){ .name = image_kinds[n].name,
					     .test_func = kills,
					     .initial_state = (void *)(uintptr_t)&image_kinds[n] };
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("kill9", tests, NULL, NULL);
}
