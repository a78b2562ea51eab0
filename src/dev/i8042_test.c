#include "dev/dev_test.h"
#include "dev/debug_exit.h"
#include "dev/i8042.h"
#include "dev/port92.h"

#include <stdio.h>
#include <string.h>

struct fixture {
	struct test_board board;
	struct i8042 kbc;
	struct port92 port92;
	struct test_line irq1, irq12;
	bool a20, fast_a20;
	unsigned resets;
};

static void set_a20(void *opaque, bool on) { ((struct fixture *)opaque)->a20 = on; }

static void set_fast_a20(void *opaque, bool on) { ((struct fixture *)opaque)->fast_a20 = on; }

static void reset(void *opaque) { ((struct fixture *)opaque)->resets++; }

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.kbc.irq_kbd = test_irq(&f.irq1);
	f.kbc.irq_aux = test_irq(&f.irq12);
	f.kbc.set_a20 = set_a20;
	f.kbc.reset = reset;
	f.kbc.opaque = &f;
	f.port92.set_a20 = set_fast_a20;
	f.port92.reset = reset;
	f.port92.opaque = &f;
	board_add(&f.board, &f.kbc.dev, &i8042_type, "kbc");
	board_add(&f.board, &f.port92.dev, &port92_type, "port92");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static void command(struct fixture *f, u8 value) { out8(&f->board, 0x64, value); }

static void data(struct fixture *f, u8 value) { out8(&f->board, 0x60, value); }

static u8 status(struct fixture *f) { return in8(&f->board, 0x64); }

/* Reads all that waits, as text; bytes of the auxiliary device have an 'a' in front. */
static const char *drain(struct fixture *f)
{
	static char text[256];
	size_t n = 0;

	text[0] = 0;
	while (status(f) & 1 && n < sizeof(text) - 8) {
		bool aux = status(f) & 0x20;

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s%02x", n ? " " : "",
				      aux ? "a" : "", in8(&f->board, 0x60));
	}
	return text;
}

static void self_tests(void **state)
{
	struct fixture *f = *state;

	command(f, 0xaa);
	assert_int_equal(status(f) & 0x2d, 0x0d);
	assert_string_equal(drain(f), "55");
	assert_int_equal(status(f) & 0x01, 0);
	command(f, 0xab);
	assert_string_equal(drain(f), "00");
	command(f, 0xa9);
	assert_string_equal(drain(f), "00");
	command(f, 0xa4);
	assert_string_equal(drain(f), "f1");
	command(f, 0xc0);
	assert_string_equal(drain(f), "80");
	command(f, 0xe0);
	assert_string_equal(drain(f), "00");
}

static void command_byte(struct fixture *f, u8 value)
{
	command(f, 0x60);
	data(f, value);
}

static void command_byte_and_ram(void **state)
{
	struct fixture *f = *state;

	command(f, 0x20);
	assert_string_equal(drain(f), "65");
	command_byte(f, 0x43);
	assert_int_equal(status(f) & 0x0c, 0x00);
	command(f, 0x20);
	assert_string_equal(drain(f), "43");
	command(f, 0xa7);
	command(f, 0xad);
	command(f, 0x20);
	assert_string_equal(drain(f), "73");
	command(f, 0xa8);
	command(f, 0xae);
	command(f, 0x20);
	assert_string_equal(drain(f), "43");
	command(f, 0x7f);
	data(f, 0x99);
	command(f, 0x3f);
	assert_string_equal(drain(f), "99");
}

static void keyboard_commands(void **state)
{
	struct fixture *f = *state;

	command_byte(f, 0x00); /* no translation */
	data(f, 0xff);
	assert_string_equal(drain(f), "fa aa");
	data(f, 0xf2);
	assert_string_equal(drain(f), "fa ab 83");
	data(f, 0xee);
	assert_string_equal(drain(f), "ee");
	data(f, 0xed);
	assert_string_equal(drain(f), "fa");
	data(f, 0x05);
	assert_string_equal(drain(f), "fa");
	assert_int_equal(f->kbc.regs.kbd.leds, 5);
	data(f, 0xf3);
	data(f, 0x20);
	assert_string_equal(drain(f), "fa fa");
	data(f, 0xf0);
	drain(f);
	data(f, 0x00);
	assert_string_equal(drain(f), "fa 02");
	data(f, 0xf0);
	data(f, 0x03);
	assert_string_equal(drain(f), "fa fe");
	data(f, 0xf0);
	data(f, 0x01);
	data(f, 0xf0);
	data(f, 0x00);
	/* A command drops what the one before has left in the keyboard; its first byte is with the
	 * controller. */
	assert_string_equal(drain(f), "fa fa 01");
	data(f, 0xfe);
	assert_string_equal(drain(f), "01");
	data(f, 0x12);
	assert_string_equal(drain(f), "fe");
	/* A command instead of the parameter. */
	data(f, 0xed);
	data(f, 0xee);
	assert_string_equal(drain(f), "fa ee");
	data(f, 0x07);
	assert_string_equal(drain(f), "fe");
	assert_int_equal(f->kbc.regs.kbd.leds, 5);
}

static void translation(void **state)
{
	struct fixture *f = *state;

	data(f, 0xf2);
	assert_string_equal(drain(f), "fa ab 41");
	i8042_key(&f->kbc, 0x1e, true); /* A */
	i8042_key(&f->kbc, 0x1e, false);
	assert_string_equal(drain(f), "1e 9e");
	i8042_key(&f->kbc, 0xe04b, true); /* left arrow */
	i8042_key(&f->kbc, 0xe04b, false);
	assert_string_equal(drain(f), "e0 4b e0 cb");
	i8042_key(&f->kbc, 0x41, true); /* F7 */
	i8042_key(&f->kbc, 0x41, false);
	assert_string_equal(drain(f), "41 c1");
	/* Set 2 as it leaves the keyboard. */
	command_byte(f, 0x01);
	i8042_key(&f->kbc, 0x1e, true);
	i8042_key(&f->kbc, 0x1e, false);
	assert_string_equal(drain(f), "1c f0 1c");
	i8042_key(&f->kbc, 0xe04b, false);
	assert_string_equal(drain(f), "e0 f0 6b");
	i8042_key(&f->kbc, 0x41, true);
	assert_string_equal(drain(f), "83");
	data(f, 0xf0);
	drain(f);
	data(f, 0x01);
	drain(f);
	i8042_key(&f->kbc, 0xe01d, true); /* right control */
	i8042_key(&f->kbc, 0xe01d, false);
	assert_string_equal(drain(f), "e0 1d e0 9d");
}

/* Every key of set 1 comes back as itself through set 2 and the translation. */
static void translation_is_invertible(void **state)
{
	struct fixture *f = *state;

	for (u8 code = 1; code < 0x59; code++) {
		char expected[16];

		snprintf(expected, sizeof(expected), "%02x %02x", code, code | 0x80);
		i8042_key(&f->kbc, code, true);
		i8042_key(&f->kbc, code, false);
		assert_string_equal(drain(f), expected);
	}
}

static void keyboard_interrupt(void **state)
{
	struct fixture *f = *state;

	i8042_key(&f->kbc, 0x1e, true);
	i8042_key(&f->kbc, 0x1e, false);
	assert_true(f->irq1.level);
	assert_int_equal(f->irq1.rises, 1);
	assert_int_equal(in8(&f->board, 0x60), 0x1e);
	/* The next byte makes a new edge. */
	assert_int_equal(f->irq1.rises, 2);
	assert_int_equal(in8(&f->board, 0x60), 0x9e);
	assert_false(f->irq1.level);
	assert_int_equal(in8(&f->board, 0x60), 0x9e);
	command_byte(f, 0x40);
	i8042_key(&f->kbc, 0x1e, true);
	assert_false(f->irq1.level);
	assert_int_equal(status(f) & 0x21, 0x01);
	assert_int_equal(f->irq12.rises, 0);
}

static void disabled_interface_keeps_bytes(void **state)
{
	struct fixture *f = *state;

	command(f, 0xad);
	i8042_key(&f->kbc, 0x1e, true);
	assert_int_equal(status(f) & 1, 0);
	command(f, 0xae);
	assert_string_equal(drain(f), "1e");
	/* Disabled scanning loses them. */
	data(f, 0xf5);
	i8042_key(&f->kbc, 0x1e, true);
	assert_string_equal(drain(f), "fa");
	data(f, 0xf4);
	i8042_key(&f->kbc, 0x1e, true);
	assert_string_equal(drain(f), "fa 1e");
}

static void keys_beyond_the_buffer_are_lost(void **state)
{
	struct fixture *f = *state;
	const char *text;

	command_byte(f, 0x00);
	for (unsigned i = 0; i < 100; i++)
		i8042_key(&f->kbc, 0xe04b, false);
	text = drain(f);
	/* One byte with the controller, and whole keys behind it. */
	assert_int_equal(strlen(text), 15 * 3 - 1);
	assert_int_equal(strncmp(text, "e0 f0 6b e0 f0 6b", 17), 0);
}

static void mouse(void **state)
{
	struct fixture *f = *state;

	command_byte(f, 0x47);
	command(f, 0xd4);
	data(f, 0xff);
	assert_true(f->irq12.level);
	assert_string_equal(drain(f), "afa aaa a00");
	command(f, 0xd4);
	data(f, 0xf2);
	assert_string_equal(drain(f), "afa a00");
	i8042_mouse(&f->kbc, 5, 5, 1); /* not reporting yet */
	assert_string_equal(drain(f), "");
	command(f, 0xd4);
	data(f, 0xeb); /* read data */
	assert_string_equal(drain(f), "afa a09 a05 a05");
	command(f, 0xd4);
	data(f, 0xf4);
	drain(f);
	i8042_mouse(&f->kbc, -2, 3, 4);
	assert_string_equal(drain(f), "a1c afe a03");
	i8042_mouse(&f->kbc, 300, 0, 4);
	assert_string_equal(drain(f), "a0c aff a00 a0c a2d a00");
	i8042_mouse(&f->kbc, 0, 0, 4);
	assert_string_equal(drain(f), "");
	command(f, 0xd4);
	data(f, 0xe8);
	command(f, 0xd4);
	data(f, 0x03);
	command(f, 0xd4);
	data(f, 0xf3);
	command(f, 0xd4);
	data(f, 40);
	drain(f);
	command(f, 0xd4);
	data(f, 0xe9); /* status: reporting, middle button */
	assert_string_equal(drain(f), "afa a22 a03 a28");
	command(f, 0xd4);
	data(f, 0xee);
	drain(f);
	command(f, 0xd4);
	data(f, 0xf2); /* wrap mode echoes */
	assert_string_equal(drain(f), "af2");
	command(f, 0xd4);
	data(f, 0xec);
	assert_string_equal(drain(f), "afa");
}

static void buffers_written_by_software(void **state)
{
	struct fixture *f = *state;

	command_byte(f, 0x47);
	command(f, 0xd2);
	data(f, 0x12); /* not translated */
	assert_true(f->irq1.level);
	assert_string_equal(drain(f), "12");
	command(f, 0xd3);
	data(f, 0x34);
	assert_true(f->irq12.level);
	assert_string_equal(drain(f), "a34");
}

static void a20_gate(void **state)
{
	struct fixture *f = *state;

	assert_true(f->a20);
	command(f, 0xd0);
	assert_int_equal(in8(&f->board, 0x60) & 0x03, 0x03);
	command(f, 0xd1);
	data(f, 0xdd);
	assert_false(f->a20);
	command(f, 0xd0);
	assert_int_equal(in8(&f->board, 0x60) & 0x03, 0x01);
	command(f, 0xd1);
	data(f, 0xdf);
	assert_true(f->a20);
	assert_int_equal(f->resets, 0);
}

static void resets(void **state)
{
	struct fixture *f = *state;

	command(f, 0xff); /* pulses nothing */
	command(f, 0xf1);
	assert_int_equal(f->resets, 0);
	command(f, 0xfe);
	assert_int_equal(f->resets, 1);
	command(f, 0xd1);
	data(f, 0x02);
	assert_int_equal(f->resets, 2);
	command(f, 0xf0);
	assert_int_equal(f->resets, 3);
}

static void port_92(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in8(&f->board, 0x92), 0x00);
	out8(&f->board, 0x92, 0x02);
	assert_true(f->fast_a20);
	assert_int_equal(in8(&f->board, 0x92), 0x02);
	out8(&f->board, 0x92, 0x00);
	assert_false(f->fast_a20);
	out8(&f->board, 0x92, 0x01);
	assert_int_equal(f->resets, 1);
	out8(&f->board, 0x92, 0x01); /* no edge */
	assert_int_equal(f->resets, 1);
}

static void answers_are_bounded(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 1000; i++) {
		command(f, 0xaa);
		data(f, 0xf2);
		command(f, 0xd4);
		data(f, 0xff);
	}
	assert_true(strlen(drain(f)) < 120);
	command(f, 0xab);
	assert_string_equal(drain(f), "00");
}

static u32 exit_code;
static unsigned exits;

static void on_exit_port(void *opaque, u32 code)
{
	exit_code = code;
	exits++;
}

static void exit_port(void **state)
{
	struct fixture *f = *state;
	struct debug_exit d = { .base = 0xf4, .exit = on_exit_port };

	exits = 0;
	board_add(&f->board, &d.dev, &debug_exit_type, "exit");
	out8(&f->board, 0xf4, 0x31);
	assert_int_equal(exit_code, 0x31);
	bus_write(&f->board.ports, 0xf4, 0x12345678, 4);
	assert_int_equal(exit_code, 0x12345678);
	assert_int_equal(exits, 2);
	assert_int_equal(bus_read(&f->board.ports, 0xf4, 4), 0x12345678);
	assert_int_equal(in8(&f->board, 0xf5), 0x56);
	assert_int_equal(exits, 2);
}

static void state_survives(void **state)
{
	struct fixture *f = *state;

	command(f, 0xd1);
	data(f, 0xdd);
	i8042_key(&f->kbc, 0x1e, true);
	i8042_key(&f->kbc, 0x1f, true);
	board_save_and_load(&f->kbc.dev);
	assert_false(f->a20);
	assert_true(f->irq1.level);
	assert_string_equal(drain(f), "1e 1f");
}

static void self_test_turns_the_devices_off(void **state)
{
	struct fixture *f = *state;

	command_byte(f, 0x43);
	assert_int_equal(status(f) & 0x04, 0x00);
	command(f, 0xaa);
	drain(f);
	assert_int_equal(status(f) & 0x04, 0x04);
	command(f, 0x20);
	assert_string_equal(drain(f), "77");
}

static void output_port_shows_the_buffers(void **state)
{
	struct fixture *f = *state;

	command_byte(f, 0x07);
	command(f, 0xd0);
	assert_string_equal(drain(f), "cf");
	/* With a byte of either device in front of the answer. */
	i8042_key(&f->kbc, 0x01, true);
	command(f, 0xd0);
	assert_string_equal(drain(f), "76 df");
	command(f, 0xd3);
	data(f, 0x11);
	command(f, 0xd0);
	assert_string_equal(drain(f), "a11 ef");
	/* A reset through it does not leave the reset line down. */
	command(f, 0xd1);
	data(f, 0x02);
	command(f, 0xd0);
	assert_string_equal(drain(f), "cf");
}

static void mouse_write(struct fixture *f, u8 byte)
{
	command(f, 0xd4);
	data(f, byte);
}

static void mouse_settings(void **state)
{
	struct fixture *f = *state;

	mouse_write(f, 0xe9);
	assert_string_equal(drain(f), "afa a00 a02 a64");
	mouse_write(f, 0xe7);
	mouse_write(f, 0xf0);
	drain(f);
	i8042_mouse(&f->kbc, 0, 0, 7);
	mouse_write(f, 0xe9);
	assert_string_equal(drain(f), "afa a57 a02 a64");
	i8042_mouse(&f->kbc, 0, 0, 1);
	mouse_write(f, 0xe9);
	assert_string_equal(drain(f), "afa a54 a02 a64");
	i8042_mouse(&f->kbc, 0, 0, 2);
	mouse_write(f, 0xe9);
	assert_string_equal(drain(f), "afa a51 a02 a64");
	/* Remote mode reports when asked alone. */
	mouse_write(f, 0xf4);
	drain(f);
	i8042_mouse(&f->kbc, 1, -1, 0);
	assert_string_equal(drain(f), "");
	mouse_write(f, 0xeb);
	assert_string_equal(drain(f), "afa a28 a01 aff");
	mouse_write(f, 0xfe);
	assert_string_equal(drain(f), "aff");
	mouse_write(f, 0xf3);
	mouse_write(f, 0x28);
	mouse_write(f, 0xe8);
	mouse_write(f, 0x01);
	mouse_write(f, 0xf6);
	drain(f);
	mouse_write(f, 0xe9);
	assert_string_equal(drain(f), "afa a00 a02 a64");
	/* A command in place of a parameter; an unknown one. */
	mouse_write(f, 0xf3);
	mouse_write(f, 0xf2);
	assert_string_equal(drain(f), "afa afa a00");
	mouse_write(f, 0x12);
	assert_string_equal(drain(f), "afe");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(self_tests),
		TEST(command_byte_and_ram),
		TEST(keyboard_commands),
		TEST(translation),
		TEST(translation_is_invertible),
		TEST(keyboard_interrupt),
		TEST(disabled_interface_keeps_bytes),
		TEST(keys_beyond_the_buffer_are_lost),
		TEST(mouse),
		TEST(buffers_written_by_software),
		TEST(a20_gate),
		TEST(resets),
		TEST(port_92),
		TEST(answers_are_bounded),
		TEST(exit_port),
		TEST(self_test_turns_the_devices_off),
		TEST(output_port_shows_the_buffers),
		TEST(mouse_settings),
		TEST(state_survives),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
