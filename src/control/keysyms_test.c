#include "base/test.h"
#include "control/keymap.h"
#include "control/keysyms.h"

#include <stdio.h>
#include <string.h>

#define SHIFT   0xffe1
#define SHIFT_R 0xffe2
#define CTRL    0xffe3
#define ALTGR   0xfe03

static char said[512];

static void emit(void *opaque, u16 code, bool down)
{
	size_t n = strlen(said);

	snprintf(said + n, sizeof(said) - n, "%s%x%c", n ? " " : "", code, down ? '+' : '-');
}

struct event {
	u32 keysym;
	bool down, caps;
};

static void check(const struct event *events, unsigned n, const char *expected)
{
	struct keysyms k = { 0 };

	said[0] = 0;
	for (unsigned at = 0; at < n; at++)
		keysyms_event(&k, events[at].keysym, events[at].down, events[at].caps, emit, NULL);
	assert_string_equal(said, expected);
}

#define CHECK(expected, ...)                                      \
	do {                                                      \
		static const struct event events[] = __VA_ARGS__; \
		check(events, ARRAY_LEN(events), expected);       \
	} while (0)

/* With the shift key that the client sends, and without. */
static void shifts(void **state)
{
	CHECK("1e+ 1e-", { { 'a', 1, 0 }, { 'a', 0, 0 } });
	CHECK("2a+ 2+ 2- 2a-", { { SHIFT, 1, 0 }, { '!', 1, 0 }, { '!', 0, 0 }, { SHIFT, 0, 0 } });
	CHECK("2a+ 2+ 2a- 2-", { { '!', 1, 0 }, { '!', 0, 0 } });
	CHECK("2a+ 2a- 35+ 2a+ 35- 2a-",
	      { { SHIFT, 1, 0 }, { '/', 1, 0 }, { '/', 0, 0 }, { SHIFT, 0, 0 } });
	CHECK("2a+ 36+ 2a- 36- 35+ 2a+ 36+", { { SHIFT, 1, 0 }, { SHIFT_R, 1, 0 }, { '/', 1, 0 } });
	CHECK("10+ 10-", { { ALTGR, 1, 0 }, { 'q', 1, 0 }, { 'q', 0, 0 }, { ALTGR, 0, 0 } });
}

static void caps(void **state)
{
	CHECK("1e+ 1e-", { { 'A', 1, 1 }, { 'A', 0, 1 } });
	CHECK("2a+ 1e+ 2a-", { { 'a', 1, 1 } });
	CHECK("2a+ 1e+", { { SHIFT, 1, 1 }, { 'a', 1, 1 } });
	CHECK("2+", { { '1', 1, 1 } });
}

/* A key comes up once, whatever it is called by then. */
static void releases(void **state)
{
	CHECK("2a+ 2+ 2a- 2-", { { SHIFT, 1, 0 }, { '!', 1, 0 }, { SHIFT, 0, 0 }, { '1', 0, 0 } });
	CHECK("1e+ 1e+ 1e-", { { 'a', 1, 0 }, { 'a', 1, 0 }, { 'a', 0, 0 }, { 'a', 0, 0 } });
	CHECK("", { { 'a', 0, 0 }, { 0, 1, 0 }, { 0x20ac, 1, 0 }, { 0xffffffff, 1, 0 } });
}

static void gone(void **state)
{
	struct keysyms k = { 0 };

	keysyms_event(&k, CTRL, true, false, emit, NULL);
	keysyms_event(&k, SHIFT, true, false, emit, NULL);
	keysyms_event(&k, 'A', true, false, emit, NULL);
	said[0] = 0;
	keysyms_release(&k, emit, NULL);
	assert_string_equal(said, "1e- 2a- 1d-");
	assert_false(k.shift || k.count);
	/* No more than a hand has fingers for is remembered, and none hangs. */
	for (u32 c = ' ' + 1; c < 0x7f; c++)
		keysyms_event(&k, c, true, false, emit, NULL);
	assert_int_equal(k.count, KEYSYMS_HELD);
	said[0] = 0;
	keysyms_release(&k, emit, NULL);
	assert_int_equal(k.count, 0);
}

/* Every character of a keyboard has a key, and that key is its keysym's. */
static void characters(void **state)
{
	unsigned plain = 0, shifted = 0;

	for (u32 c = ' '; c < 0x7f; c++) {
		bool shift;
		u16 code = keymap_char((u8)c, &shift);

		assert_int_not_equal(code, 0);
		assert_int_equal(keymap_keysym(c), code);
		plain += !shift;
		shifted += shift;
	}
	assert_int_equal(plain, 48);
	assert_int_equal(shifted, 47);
	for (u32 c = 0x80; c < 0x100; c++) {
		bool shift;

		assert_int_equal(keymap_char((u8)c, &shift), 0);
		assert_int_equal(keymap_keysym(c), 0);
	}
}

static void names(void **state)
{
	assert_int_equal(keymap_name("ret"), 0x1c);
	assert_int_equal(keymap_name("a"), 0x1e);
	assert_int_equal(keymap_name("delete"), 0xe053);
	assert_int_equal(keymap_name("f12"), 0x58);
	assert_int_equal(keymap_name("spc"), 0x39);
	assert_int_equal(keymap_name(""), 0);
	assert_int_equal(keymap_name("aa"), 0);
	assert_int_equal(keymap_name("\xe4"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shifts), cmocka_unit_test(caps),       cmocka_unit_test(releases),
		cmocka_unit_test(gone),   cmocka_unit_test(characters), cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
