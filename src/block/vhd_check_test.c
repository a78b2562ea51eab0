/* Checks and repairs of VHD images: each kind of damage is found, and gone then. */
#include "block/vhd_test.h"

#include <errno.h>
#include <stdio.h>

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
	be_store(entry(d, 2), 0x00fffff0, 4);
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
	be_store(entry(d, 2), 2, 4);
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
	be_store(entry(d, 0), VHD_UNUSED, 4);
	be_store(entry(d, 5), VHD_UNUSED, 4);
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
	be_store(entry(d, 12), VHD_UNUSED, 4);
	be_store(entry(d, 11), VHD_UNUSED, 4);
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
	memset(d->data + be_load(entry(d, 4), 4) * 512 + 3, 0, 2);
	repaired(d, open_on(d, "mem.vhd"), 1, 0, "16 sectors of data", shadow);
	free(shadow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_ends),
		cmocka_unit_test(damaged_blocks),
		cmocka_unit_test(lost_blocks),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vhd_check", tests, NULL, NULL);
}
