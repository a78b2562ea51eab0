/* Power cuts: a guest works on an image of each kind; again and again the medium is looked at as it would be after losing power at that very
 * moment, in the middle of a request too. Then the image must open, hold all that was flushed, nothing that was never written, and a check
 * may find space that is lost but no error; repaired, not even that.
 *
 *     powercut_test [CUTS [SEED]]     for each kind of image; default 25, seed 1
 *
 * A failure names the seed that repeats it. */
#include "block/block_test.h"

#define CUTS_A_RUN 25 /* by one guest, on one image */

static unsigned cuts_wanted = 25;
static u64 first_seed = 1;

struct cutter {
	struct image image;
	struct guest guest;
	struct fault_disk *disk;
	u64 seed, cut_seed, rng;
	unsigned cuts; /* made */
	char problem[512];
};

static void report_line(void *opaque, const char *line)
{
	char *first = opaque;

	if (!first[0])
		snprintf(first, 256, "%s", line);
}

/* Nothing but leaks; after a repair, nothing. */
static bool check_image(struct block *block, bool readonly, char *err, size_t errlen)
{
	char line[256] = "";
	struct block_check c = { .report = report_line, .opaque = line };
	int r;

	if (!block->ops->check)
		return true;
	r = block->ops->check(block, &c, false);
	if (r || c.errors) {
		snprintf(err, errlen, "check: %d, %llu errors: %s", r, (unsigned long long)c.errors,
			 line);
		return false;
	}
	if (readonly)
		return true;
	line[0] = 0;
	c = (struct block_check){ .report = report_line, .opaque = line };
	r = block->ops->check(block, &c, true);
	c = (struct block_check){ .report = report_line, .opaque = line };
	r = r ? r : block->ops->check(block, &c, false);
	if (!r && !c.errors && !c.leaks)
		return true;
	snprintf(err, errlen, "after repair: %d, %llu errors, %llu leaks: %s", r,
		 (unsigned long long)c.errors, (unsigned long long)c.leaks, line);
	return false;
}

/* True if the medium is as it must be. Opened for reading first: nothing may need a repair to be read. */
static bool survives(struct cutter *c, struct fault_disk *medium)
{
	char err[512];

	for (int readonly = 1; readonly >= 0; readonly--) {
		struct block *block;
		bool good;

		if (image_open(&c->image, medium, readonly, &block, err, sizeof(err))) {
			snprintf(c->problem, sizeof(c->problem), "does not open%s: %.400s",
				 readonly ? " for reading" : "", err);
			return false;
		}
		good = guest_verify(&c->guest, block, 0, GUEST_SECTORS, false, err, sizeof(err)) &&
		       check_image(block, readonly, err, sizeof(err)) &&
		       guest_verify(&c->guest, block, 0, GUEST_SECTORS, false, err, sizeof(err));
		block->ops->close(block);
		if (!good) {
			snprintf(c->problem, sizeof(c->problem), "%.500s", err);
			return false;
		}
	}
	return true;
}

/* Before a change of the file: sometimes, a cut. */
static void maybe_cut(void *opaque)
{
	struct cutter *c = opaque;
	struct fault_disk *medium;

	if (c->problem[0] || c->cuts >= CUTS_A_RUN || fault_random(&c->rng) % 16)
		return;
	c->cuts++;
	c->cut_seed = fault_random(&c->rng);
	medium = fault_disk_cut(c->disk, c->cut_seed);
	assert_non_null(medium);
	if (!survives(c, medium) && !c->problem[0])
		snprintf(c->problem, sizeof(c->problem), "does not survive");
	fault_disk_free(medium);
}

/* One guest on one image. */
static void run_guest(struct cutter *c)
{
	struct block *block;
	char err[512];

	c->disk = fault_disk_new(c->seed);
	assert_non_null(c->disk);
	c->rng = c->seed * 2 + 1;
	c->cuts = 0;
	c->problem[0] = 0;
	guest_init(&c->guest, &c->image, c->seed);
	if (image_create(&c->image, c->disk, err, sizeof(err)) ||
	    image_open(&c->image, c->disk, false, &block, err, sizeof(err)))
		fail_msg("%s: %s", c->image.kind->name, err);
	c->disk->before = maybe_cut;
	c->disk->opaque = c;
	for (unsigned n = 0; n < 4000 && c->cuts < CUTS_A_RUN && !c->problem[0]; n++) {
		int r = guest_step(&c->guest, block);

		if (r)
			fail_msg("%s: a request failed: %s", c->image.kind->name, strerror(-r));
	}
	/* What a clean end leaves is a medium too. */
	c->disk->before = NULL;
	assert_int_equal(block_flush_now(block), 0);
	guest_after(&c->guest, &(struct block_req){ .op = BLOCK_FLUSH });
	block->ops->close(block);
	if (!c->problem[0])
		survives(c, c->disk);
	guest_fini(&c->guest);
	fault_disk_free(c->disk);
}

static void power_cuts(void **state)
{
	static struct cutter cutter;
	struct cutter *c = &cutter;
	unsigned cuts = 0;

	if (!image_init(&c->image, *state))
		skip();
	for (c->seed = first_seed; cuts < cuts_wanted; c->seed++) {
		run_guest(c);
		assert_true(c->cuts > 0);
		cuts += c->cuts;
		if (c->problem[0])
			fail_msg("%s: seed %llu, cut %u: %s", c->image.kind->name,
				 (unsigned long long)c->seed, c->cuts, c->problem);
	}
	image_fini(&c->image);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[ARRAY_LEN(image_kinds)];

	if (argc > 1)
		cuts_wanted = (unsigned)strtoul(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	for (size_t n = 0; n < ARRAY_LEN(tests); n++)
		tests[n] =
			(struct CMUnitTest){ .name = image_kinds[n].name,
					     .test_func = power_cuts,
					     .initial_state = (void *)(uintptr_t)&image_kinds[n] };
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("powercut", tests, NULL, NULL);
}
