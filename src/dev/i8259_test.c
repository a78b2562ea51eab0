#include "dev/dev_test.h"
#include "dev/i8259.h"

#include <string.h>

struct fixture {
	struct test_board board;
	struct i8259 pic;
	struct test_line intr;
};

static int setup_raw(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.pic.out = test_irq(&f.intr);
	board_add(&f.board, &f.pic.dev, &i8259_type, "pic");
	*state = &f;
	return 0;
}

static void program(struct fixture *f, u8 icw4_master, u8 icw4_slave)
{
	struct test_board *b = &f->board;

	out8(b, 0x20, 0x11);
	out8(b, 0xa0, 0x11);
	out8(b, 0x21, 0x30);
	out8(b, 0xa1, 0x70);
	out8(b, 0x21, 0x04);
	out8(b, 0xa1, 0x02);
	out8(b, 0x21, icw4_master);
	out8(b, 0xa1, icw4_slave);
}

/* Vectors 0x30 and 0x70, nothing masked. */
static int setup(void **state)
{
	setup_raw(state);
	program(*state, 0x01, 0x01);
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static void line(struct fixture *f, unsigned n, bool level) { i8259_set_line(&f->pic, n, level); }

static void raise_again(struct fixture *f, unsigned n)
{
	line(f, n, false);
	line(f, n, true);
}

static u8 read_isr(struct fixture *f, u16 port)
{
	out8(&f->board, port, 0x0b);
	return in8(&f->board, port);
}

static u8 read_irr(struct fixture *f, u16 port)
{
	out8(&f->board, port, 0x0a);
	return in8(&f->board, port);
}

static void silent_until_programmed(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 16; i++)
		line(f, i, true);
	assert_false(f->intr.level);
	assert_int_equal(in8(&f->board, 0x21), 0xff);
	/* ICW1 forgets edges: lines that are high already must rise anew. */
	program(f, 1, 1);
	assert_false(f->intr.level);
	raise_again(f, 5);
	assert_int_equal(i8259_ack(&f->pic), 0x35);
}

static void fixed_priorities(void **state)
{
	struct fixture *f = *state;

	line(f, 5, true);
	line(f, 3, true);
	assert_true(f->intr.level);
	assert_int_equal(read_irr(f, 0x20), 0x28);
	assert_int_equal(i8259_ack(&f->pic), 0x33);
	/* 5 is below what is in service. */
	assert_false(f->intr.level);
	assert_int_equal(read_isr(f, 0x20), 0x08);
	line(f, 1, true);
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x31);
	assert_int_equal(read_isr(f, 0x20), 0x0a);
	/* A non-specific EOI ends the highest in service. */
	out8(&f->board, 0x20, 0x20);
	assert_int_equal(read_isr(f, 0x20), 0x08);
	assert_false(f->intr.level);
	out8(&f->board, 0x20, 0x20);
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x35);
	out8(&f->board, 0x20, 0x65); /* specific */
	assert_int_equal(read_isr(f, 0x20), 0);
}

static void edges_are_taken_once(void **state)
{
	struct fixture *f = *state;

	line(f, 4, true);
	assert_int_equal(i8259_ack(&f->pic), 0x34);
	out8(&f->board, 0x20, 0x20);
	assert_false(f->intr.level);
	/* A new edge while the first is in service waits for the EOI. */
	raise_again(f, 4);
	assert_int_equal(i8259_ack(&f->pic), 0x34);
	raise_again(f, 4);
	assert_false(f->intr.level);
	out8(&f->board, 0x20, 0x20);
	assert_true(f->intr.level);
}

static void slave_cascades(void **state)
{
	struct fixture *f = *state;

	line(f, 12, true);
	assert_true(f->intr.level);
	assert_int_equal(read_irr(f, 0x20), 0x04);
	assert_int_equal(i8259_ack(&f->pic), 0x74);
	assert_int_equal(read_isr(f, 0x20), 0x04);
	assert_int_equal(read_isr(f, 0xa0), 0x10);
	/* The master's IR2 is in service: even a higher one of the slave waits, one above on the
	 * master does not. */
	line(f, 8, true);
	assert_false(f->intr.level);
	line(f, 3, true);
	assert_false(f->intr.level);
	line(f, 1, true);
	assert_int_equal(i8259_ack(&f->pic), 0x31);
	out8(&f->board, 0x20, 0x61);
	out8(&f->board, 0xa0, 0x20);
	out8(&f->board, 0x20, 0x62);
	assert_int_equal(i8259_ack(&f->pic), 0x70);
}

static void special_fully_nested(void **state)
{
	struct fixture *f = *state;

	program(f, 0x11, 0x01);
	line(f, 12, true);
	assert_int_equal(i8259_ack(&f->pic), 0x74);
	line(f, 14, true);
	assert_false(f->intr.level);
	line(f, 8, true);
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x70);
	assert_int_equal(read_isr(f, 0xa0), 0x11);
}

static void masking(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x21, 0x08);
	line(f, 3, true);
	assert_false(f->intr.level);
	/* A masked request stays in the IRR and comes when unmasked. */
	assert_int_equal(read_irr(f, 0x20), 0x08);
	assert_int_equal(in8(&f->board, 0x21), 0x08);
	out8(&f->board, 0x21, 0x00);
	assert_int_equal(i8259_ack(&f->pic), 0x33);
	/* The slave's mask hides its input from the master. */
	out8(&f->board, 0x20, 0x20);
	out8(&f->board, 0xa1, 0xff);
	line(f, 10, true);
	assert_int_equal(read_irr(f, 0x20), 0x00);
	assert_int_equal(read_irr(f, 0xa0), 0x04);
}

static void spurious(void **state)
{
	struct fixture *f = *state;

	line(f, 3, true);
	line(f, 3, false);
	assert_false(f->intr.level);
	/* The CPU had decided already: vector of IR7, no ISR bit. */
	assert_int_equal(i8259_ack(&f->pic), 0x37);
	assert_int_equal(read_isr(f, 0x20), 0);
}

static void level_triggered(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x4d0, 0xff);
	out8(&f->board, 0x4d1, 0xff);
	assert_int_equal(in8(&f->board, 0x4d0), 0xf8);
	assert_int_equal(in8(&f->board, 0x4d1), 0xde);
	line(f, 11, true);
	assert_int_equal(i8259_ack(&f->pic), 0x73);
	out8(&f->board, 0xa0, 0x20);
	out8(&f->board, 0x20, 0x20);
	/* Still asserted: again. */
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x73);
	line(f, 11, false);
	out8(&f->board, 0xa0, 0x20);
	out8(&f->board, 0x20, 0x20);
	assert_false(f->intr.level);
}

static void automatic_eoi(void **state)
{
	struct fixture *f = *state;

	program(f, 0x03, 0x01);
	line(f, 6, true);
	assert_int_equal(i8259_ack(&f->pic), 0x36);
	assert_int_equal(read_isr(f, 0x20), 0);
	line(f, 7, true);
	assert_true(f->intr.level);
	/* Rotation in automatic EOI: what was served last goes last. */
	out8(&f->board, 0x20, 0x80);
	assert_int_equal(i8259_ack(&f->pic), 0x37);
	raise_again(f, 7);
	raise_again(f, 6);
	assert_int_equal(i8259_ack(&f->pic), 0x36);
	raise_again(f, 0);
	assert_int_equal(i8259_ack(&f->pic), 0x37);
	assert_int_equal(i8259_ack(&f->pic), 0x30);
}

static void rotation(void **state)
{
	struct fixture *f = *state;

	/* Set priority: 4 is lowest, so 5 is highest. */
	out8(&f->board, 0x20, 0xc4);
	line(f, 0, true);
	line(f, 5, true);
	line(f, 4, true);
	assert_int_equal(i8259_ack(&f->pic), 0x35);
	/* Rotate on non-specific EOI: 5 becomes lowest, 6 highest. */
	out8(&f->board, 0x20, 0xa0);
	assert_int_equal(i8259_ack(&f->pic), 0x30);
	/* Rotate on specific EOI. */
	out8(&f->board, 0x20, 0xe0);
	raise_again(f, 0);
	assert_int_equal(i8259_ack(&f->pic), 0x34);
}

static void special_mask(void **state)
{
	struct fixture *f = *state;

	line(f, 2 + 1, true);
	assert_int_equal(i8259_ack(&f->pic), 0x33);
	line(f, 6, true);
	assert_false(f->intr.level);
	out8(&f->board, 0x21, 0x08);
	assert_false(f->intr.level);
	out8(&f->board, 0x20, 0x68);
	assert_true(f->intr.level);
	assert_int_equal(i8259_ack(&f->pic), 0x36);
	/* A non-specific EOI passes over what is masked. */
	out8(&f->board, 0x20, 0x20);
	assert_int_equal(read_isr(f, 0x20), 0x08);
	out8(&f->board, 0x20, 0x20);
	assert_int_equal(read_isr(f, 0x20), 0x08);
	out8(&f->board, 0x20, 0x48);
	out8(&f->board, 0x20, 0x20);
	assert_int_equal(read_isr(f, 0x20), 0);
}

static void polling(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x20, 0x0c);
	assert_int_equal(in8(&f->board, 0x20), 0x00);
	line(f, 6, true);
	line(f, 9, true);
	out8(&f->board, 0x20, 0x0c);
	assert_int_equal(in8(&f->board, 0x20), 0x82);
	assert_int_equal(read_isr(f, 0x20), 0x04);
	out8(&f->board, 0xa0, 0x0c);
	assert_int_equal(in8(&f->board, 0xa1), 0x81); /* either port */
	assert_int_equal(in8(&f->board, 0xa1), 0x00); /* the mask again */
	assert_int_equal(read_isr(f, 0xa0), 0x02);
}

static void initialization_without_icw4(void **state)
{
	struct fixture *f = *state;

	program(f, 0x03, 0x03);
	out8(&f->board, 0x20, 0x10);
	out8(&f->board, 0x21, 0x48);
	out8(&f->board, 0x21, 0x04);
	/* The sequence is over: this is the mask. ICW4's functions are off. */
	out8(&f->board, 0x21, 0x01);
	assert_int_equal(in8(&f->board, 0x21), 0x01);
	line(f, 1, true);
	assert_int_equal(i8259_ack(&f->pic), 0x49);
	assert_int_equal(read_isr(f, 0x20), 0x02);
}

static void single_chip(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x20, 0x13);
	out8(&f->board, 0x21, 0x50);
	out8(&f->board, 0x21, 0x01); /* ICW4: there is no ICW3 */
	line(f, 8, true);
	assert_false(f->intr.level);
	line(f, 2, true);
	assert_int_equal(i8259_ack(&f->pic), 0x52);
}

static void wrong_slave_identity(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0xa0, 0x11);
	out8(&f->board, 0xa1, 0x70);
	out8(&f->board, 0xa1, 0x05);
	out8(&f->board, 0xa1, 0x01);
	line(f, 8, true);
	assert_int_equal(i8259_ack(&f->pic), 0xff);
	assert_int_equal(read_isr(f, 0xa0), 0);
}

static void ack_shows_an_edge(void **state)
{
	struct fixture *f = *state;

	line(f, 6, true);
	line(f, 3, true);
	assert_int_equal(f->intr.rises, 1);
	program(f, 0x03, 0x03);
	raise_again(f, 6);
	raise_again(f, 3);
	i8259_ack(&f->pic);
	assert_true(f->intr.level);
	assert_int_equal(f->intr.rises, 3);
}

static void state_survives(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x21, 0xf0);
	line(f, 3, true);
	line(f, 6, true);
	board_save_and_load(&f->pic.dev);
	assert_true(f->intr.level);
	assert_int_equal(in8(&f->board, 0x21), 0xf0);
	assert_int_equal(i8259_ack(&f->pic), 0x33);
}

static void icw1_starts_afresh(void **state)
{
	struct fixture *f = *state;

	line(f, 3, true);
	assert_int_equal(i8259_ack(&f->pic), 0x33);
	out8(&f->board, 0x20, 0xc4); /* priorities, read of ISR, special mask */
	out8(&f->board, 0x20, 0x0b);
	out8(&f->board, 0x20, 0x68);
	out8(&f->board, 0x21, 0xf0);
	program(f, 0x03, 0x01);
	assert_int_equal(in8(&f->board, 0x21), 0x00);
	raise_again(f, 5);
	raise_again(f, 2 + 4);
	assert_int_equal(in8(&f->board, 0x20), 0x60); /* IRR */
	assert_int_equal(read_isr(f, 0x20), 0x00);
	assert_int_equal(i8259_ack(&f->pic), 0x35);
	/* Rotation in automatic EOI is off again too. */
	out8(&f->board, 0x20, 0x80);
	program(f, 0x03, 0x01);
	raise_again(f, 0);
	i8259_ack(&f->pic);
	raise_again(f, 0);
	raise_again(f, 1);
	assert_int_equal(i8259_ack(&f->pic), 0x30);
	/* And can be turned off by command. */
	out8(&f->board, 0x20, 0x80);
	out8(&f->board, 0x20, 0x00);
	assert_int_equal(i8259_ack(&f->pic), 0x31);
	raise_again(f, 0);
	raise_again(f, 1);
	assert_int_equal(i8259_ack(&f->pic), 0x30);
}

static void wide_accesses_are_bytes(void **state)
{
	struct fixture *f = *state;

	bus_write(&f->board.ports, 0x20, 0x5a0b, 2); /* OCW3, then the mask */
	assert_int_equal(in8(&f->board, 0x21), 0x5a);
	bus_write(&f->board.ports, 0x4d0, 0x1ef8, 2);
	assert_int_equal(bus_read(&f->board.ports, 0x4d0, 2), 0x1ef8);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(silent_until_programmed, setup_raw, teardown),
		TEST(fixed_priorities),
		TEST(edges_are_taken_once),
		TEST(slave_cascades),
		TEST(special_fully_nested),
		TEST(masking),
		TEST(spurious),
		TEST(level_triggered),
		TEST(automatic_eoi),
		TEST(rotation),
		TEST(special_mask),
		TEST(polling),
		TEST(initialization_without_icw4),
		TEST(single_chip),
		TEST(wrong_slave_identity),
		TEST(ack_shows_an_edge),
		TEST(icw1_starts_afresh),
		TEST(wide_accesses_are_bytes),
		TEST(state_survives),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("i8259", tests, NULL, NULL);
}
