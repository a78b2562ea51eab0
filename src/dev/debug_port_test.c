#include "base/trace.h"
#include "dev/debug_port.h"
#include "dev/dev_test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fixture {
	struct test_board board;
	struct debug_port port;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add(&f.board, &f.port.dev, &debug_port_type, "debug-port");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static void put(struct fixture *f, const char *text)
{
	while (*text)
		out8(&f->board, DEBUG_PORT, (u8)*text++);
}

/* What the trace prints for a text, on stderr. */
static void traced(struct fixture *f, const char *text, char *out, size_t cap)
{
	FILE *file = tmpfile();
	int old = dup(2);
	size_t n;

	assert_non_null(file);
	assert_null(trace_enable("firmware"));
	fflush(stderr);
	dup2(fileno(file), 2);
	put(f, text);
	fflush(stderr);
	dup2(old, 2);
	close(old);
	trace_enabled = 0;
	rewind(file);
	n = fread(out, 1, cap - 1, file);
	out[n] = 0;
	fclose(file);
}

static void is_there(void **state)
{
	assert_int_equal(in8(&((struct fixture *)*state)->board, DEBUG_PORT), DEBUG_PORT_VALUE);
}

static void lines(void **state)
{
	char out[1024];

	traced(*state, "one\r\ntwo \x1b[m\nrest", out, sizeof(out));
	assert_non_null(strstr(out, "firmware: one\n"));
	assert_non_null(strstr(out, "firmware: two .[m\n"));
	assert_null(strstr(out, "rest"));
}

static void long_lines(void **state)
{
	struct fixture *f = *state;
	char text[2 * DEBUG_PORT_LINE + 2], out[1024];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	traced(f, text, out, sizeof(out));
	assert_non_null(strstr(out, "aaa\n"));
	assert_int_equal(f->port.regs.length, 1);
	board_save_and_load(&f->port.dev);
	assert_int_equal(f->port.regs.length, 1);
	f->port.regs.length = 255;
	debug_port_type.loaded(&f->port.dev);
	put(f, "text\n");
	assert_int_equal(f->port.regs.length, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(is_there), TEST(lines), TEST(long_lines) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("debug_port", tests, NULL, NULL);
}
