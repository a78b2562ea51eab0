/* The jump cache against a plain model of it: what is in it, what a dropped page and a full log take out. */
#include "engine/bt/bt.h"

#include "base/test.h"

#include <stdlib.h>

static struct bt_cpu *cpu;

static int setup(void **state)
{
	cpu = calloc(1, sizeof(*cpu));
	if (!cpu)
		return -1;
	jump_init(cpu);
	return 0;
}

static int teardown(void **state)
{
	free(cpu);
	return 0;
}

/* As translated code looks it up: the tag plus the rip is 0. */
static uintptr_t look(const struct jump_cache *c, u64 rip)
{
	return c->tag[rip & (JUMP_SLOTS - 1)] + rip ? 0 : c->entry[rip & (JUMP_SLOTS - 1)];
}

static void empty_has_nothing(void **state)
{
	const struct jump_cache *c = &cpu->jump[0];

	for (u64 rip = 0; rip < JUMP_SLOTS; rip++)
		assert_int_equal(look(c, rip), 0);
	for (u64 rip = 0; rip < 64; rip++)
		assert_int_equal(look(c, ~rip), 0);
}

static void found_until_cleared(void **state)
{
	struct jump_cache *c = &cpu->jump[0];

	jump_fill(c, 0, 0, 1, TLB_LOCAL, 100);
	jump_fill(c, 0xffffffff81000000, 0xffffffff81000000, 1, TLB_LOCAL, 200);
	jump_fill(c, 0x401234, 0x401234, 1, TLB_LOCAL, 300);
	assert_int_equal(look(c, 0xffffffff81000000), 200);
	assert_int_equal(look(c, 0x401234), 300);
	assert_int_equal(look(c, 0xff401234), 0);
	/* The same slot: the later one stays. */
	assert_int_equal(look(c, 0), 0);
	jump_fill(c, 0, 0, 1, TLB_LOCAL, 100);
	assert_int_equal(look(c, 0), 100);
	jump_clear(c);
	assert_int_equal(look(c, 0), 0);
	assert_int_equal(look(c, 0x401234), 0);
}

static void a_page_is_dropped(void **state)
{
	struct jump_cache *c = &cpu->jump[1];

	c->key = KEY_64;
	for (u64 rip = 0x1000; rip < 0x4000; rip += 16)
		jump_fill(c, rip, rip, 1, TLB_LOCAL, rip + 1);
	jump_drop_page(c, 0x2000);
	for (u64 rip = 0x1000; rip < 0x4000; rip += 16)
		assert_int_equal(look(c, rip), rip >> 12 == 2 ? 0 : rip + 1);
	/* What was kept is still in the log. */
	jump_clear(c);
	for (u64 rip = 0x1000; rip < 0x4000; rip += 16)
		assert_int_equal(look(c, rip), 0);
}

static void what_reaches_into_a_page_is_dropped(void **state)
{
	struct jump_cache *c = &cpu->jump[1];

	c->key = KEY_64;
	jump_fill(c, 0x1ff1, 0x1ff1, 15, TLB_LOCAL, 1);
	jump_fill(c, 0x1ff2, 0x1ff2, 15, TLB_LOCAL, 2);
	jump_fill(c, 0x1fff, 0x1fff, 2, TLB_GLOBAL, 3);
	jump_drop_page(c, 0x2000);
	assert_int_equal(look(c, 0x1ff1), 1);
	assert_int_equal(look(c, 0x1ff2), 0);
	assert_int_equal(look(c, 0x1fff), 0);
}

static void a_full_log_clears_all(void **state)
{
	struct jump_cache *c = &cpu->jump[2];

	c->key = KEY_64;
	for (u64 rip = 0; rip < JUMP_LOG + 100; rip++)
		jump_fill(c, rip * 3, rip * 3, 1, TLB_LOCAL, rip + 1);
	jump_drop_page(c, 0x5000);
	for (u64 rip = 0; rip < JUMP_LOG + 100; rip++)
		assert_int_equal(look(c, rip * 3), 0);
	empty_has_nothing(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty_has_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(found_until_cleared, setup, teardown),
		cmocka_unit_test_setup_teardown(a_page_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(what_reaches_into_a_page_is_dropped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_full_log_clears_all, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
