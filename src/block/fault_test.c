/* Failing storage: for each kind of image and each k, the k-th call that changes the file fails, with each error, whole or after a part of the
 * transfer, once or from then on. Requests fail or not; but the image stays good, and a flush that was reported as done was done. Requests
 * that wait for space, as those of a paused machine, are done when there is some.
 *
 *     fault_test [K]     default 5 */
#include "block/block_test.h"

#include <errno.h>

static unsigned last_call = 5;

#define CHANGES (1u << FAULT_WRITE | 1u << FAULT_FLUSH | 1u << FAULT_RESIZE | 1u << FAULT_PUNCH)

static const struct fault {
	int error;
	bool part, for_good, waits;
	unsigned calls;
} faults[] = {
	{ -ENOSPC, false, false, false, 1u << FAULT_WRITE | 1u << FAULT_RESIZE },
	{ -ENOSPC, true, true, false, 1u << FAULT_WRITE | 1u << FAULT_RESIZE },
	{ -ENOSPC, false, false, true, 1u << FAULT_WRITE | 1u << FAULT_RESIZE },
	{ -ENOSPC, true, true, true, 1u << FAULT_WRITE | 1u << FAULT_RESIZE },
	{ -EIO, false, false, false, CHANGES },
	{ -EIO, true, false, false, CHANGES },
	{ -EIO, true, true, false, CHANGES },
	{ -EIO, false, false, false, 1u << FAULT_FLUSH },
	{ -EIO, false, false, false, 1u << FAULT_READ },
};

/* The image that is left holds what it must, and its check finds leaks at most. */
static void verify(const struct image *image, struct guest *g, struct fault_disk *disk,
		   const char *what)
{
	struct block_check c = { 0 };
	struct block *block;
	char err[512];
	int r = image_open(image, disk, false, &block, err, sizeof(err));

	if (r)
		fail_msg("%s: %s: does not open: %s", image->kind->name, what, err);
	if (!guest_verify(g, block, 0, GUEST_SECTORS, false, err, sizeof(err)))
		fail_msg("%s: %s: %s", image->kind->name, what, err);
	r = block->ops->check ? block->ops->check(block, &c, false) : 0;
	if (r || c.errors)
		fail_msg("%s: %s: check: %d, %llu errors", image->kind->name, what, r,
			 (unsigned long long)c.errors);
	block->ops->close(block);
}

/* As a machine that is paused: there is room again when it goes on. */
static bool wait_for_space(void *opaque, const struct block_req *req)
{
	struct fault_disk *disk = opaque;

	disk->fail_for_good = false;
	return req->result == -ENOSPC;
}

static void run_fault(const struct image *image, const struct fault *fault, unsigned k)
{
	struct fault_disk *disk = fault_disk_new(k), *cut;
	static struct guest g;
	struct block *block;
	char err[512], what[64];
	unsigned failed = 0;

	snprintf(what, sizeof(what), "fault %u, call %u", (unsigned)(fault - faults), k);
	assert_non_null(disk);
	guest_init(&g, image, k);
	if (image_create(image, disk, err, sizeof(err)) ||
	    image_open(image, disk, false, &block, err, sizeof(err)))
		fail_msg("%s: %s", image->kind->name, err);
	disk->fail_at = k;
	disk->fail_calls = fault->calls;
	disk->fail_error = fault->error;
	disk->fail_short = fault->part;
	disk->fail_for_good = fault->for_good;
	if (fault->waits)
		block_on_error(block, wait_for_space, disk);
	for (unsigned n = 0; n < 2000 && disk->calls < k + 20; n++)
		failed += guest_step(&g, block) != 0;
	/* Some call that fails need not fail a request: of a punch, of a read ahead. */
	cut = fault_disk_cut(disk, k);
	assert_non_null(cut);
	block->ops->close(block);
	disk->fail_calls = 0;
	verify(image, &g, disk, what);
	snprintf(what, sizeof(what), "fault %u, call %u, then a power cut",
		 (unsigned)(fault - faults), k);
	verify(image, &g, cut, what);
	if (fault->waits && failed)
		fail_msg("%s: %s: a request that waited for space fails", image->kind->name, what);
	if (fault->calls == 1u << FAULT_FLUSH && !failed)
		fail_msg("%s: %s: nobody heard of a failed flush", image->kind->name, what);
	guest_fini(&g);
	fault_disk_free(cut);
	fault_disk_free(disk);
}

static void each_call_fails(void **state)
{
	struct image image;

	if (!image_init(&image, *state))
		skip();
	for (size_t f = 0; f < ARRAY_LEN(faults); f++)
		for (unsigned k = 1; k <= last_call; k++)
			run_fault(&image, &faults[f], k);
	image_fini(&image);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[ARRAY_LEN(image_kinds)];

	if (argc > 1)
		last_call = (unsigned)strtoul(argv[1], NULL, 10);
	for (size_t n = 0; n < ARRAY_LEN(tests); n++)
		tests[n] =
			(struct CMUnitTest){ .name = image_kinds[n].name,
					     .test_func = each_call_fails,
					     .initial_state = (void *)(uintptr_t)&image_kinds[n] };
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
