#include "base/test.h"
#include "base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void enables_listed_categories(void **state)
{
	trace_enabled = 0;
	assert_null(trace_enable("irq,pic"));
	assert_int_equal(trace_enabled, 1u << TRACE_IRQ | 1u << TRACE_PIC);
	assert_null(trace_enable("all"));
	assert_int_equal(trace_enabled, (1u << TRACE_COUNT) - 1);
	trace_enabled = 0;
}

static void unknown_name_enables_nothing(void **state)
{
	const char *bad[] = { "nosuch", "irq,nosuch", "irq,", ",irq", "ir", "irqq", "irq,,pic" };

	trace_enabled = 0;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_non_null(trace_enable(bad[i]));
		assert_int_equal(trace_enabled, 0);
	}
	assert_string_equal(trace_enable("irq,nosuch,pic"), "nosuch,pic");
}

/* Runs fn with stderr going to a file; returns what was written. */
static char *captured(void (*fn)(void))
{
	static char text[65536];
	char path[] = "/tmp/trace-test-XXXXXX";
	int fd = mkstemp(path), saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_true(fd >= 0 && saved >= 0);
	unlink(path);
	fflush(stderr);
	dup2(fd, STDERR_FILENO);
	fn();
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	assert_true(n >= 0);
	text[n] = 0;
	return text;
}

static void emit_300(void)
{
	for (int i = 0; i < 300; i++) {
		trace(PIC, "line %d", i);
		trace(IRQ, "off %d", i);
	}
}

static void ring_keeps_the_last_256(void **state)
{
	char *text;

	trace_enabled = 1u << TRACE_PIC;
	text = captured(emit_300);
	trace_enabled = 0;
	assert_non_null(strstr(text, "pic: line 0\n"));
	assert_null(strstr(text, "off"));
	text = captured(trace_ring_dump);
	assert_null(strstr(text, "line 43\n"));
	assert_non_null(strstr(text, "line 44\n"));
	assert_non_null(strstr(text, "line 299\n"));
}

static void emit_long(void) { trace(PIC, "%0500d", 1); }

static void long_lines_are_cut(void **state)
{
	trace_enabled = 1u << TRACE_PIC;
	assert_int_equal(strlen(captured(emit_long)), 160);
	trace_enabled = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enables_listed_categories),
		cmocka_unit_test(unknown_name_enables_nothing),
		cmocka_unit_test(ring_keeps_the_last_256),
		cmocka_unit_test(long_lines_are_cut),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
