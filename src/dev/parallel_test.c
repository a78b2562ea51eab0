#include "dev/parallel.h"

#include "dev/dev_test.h"

#include <string.h>

struct fixture {
	struct test_board board;
	struct parallel port;
	struct test_line irq;
	u8 sent[64];
	size_t count;
};

static void on_sent(void *opaque, const u8 *buf, size_t n)
{
	struct fixture *f = opaque;

	assert_true(f->count + n <= sizeof(f->sent));
	memcpy(f->sent + f->count, buf, n);
	f->count += n;
}

static void plug(struct fixture *f, bool printer)
{
	memset(f, 0, sizeof(*f));
	board_init(&f->board);
	f->port.base = PARALLEL_BASE;
	f->port.irq = test_irq(&f->irq);
	if (printer)
		f->port.backend = (struct chardev){ on_sent, NULL, f };
	board_add(&f->board, &f->port.dev, &parallel_type, "lpt1");
}

static int setup(void **state)
{
	static struct fixture f;

	plug(&f, true);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static u8 status(struct fixture *f) { return in8(&f->board, 0x379) & 0xf8; }

static void strobe(struct fixture *f, u8 byte)
{
	out8(&f->board, 0x378, byte);
	out8(&f->board, 0x37a, 0x0d);
	out8(&f->board, 0x37a, 0x0c);
}

static void prints(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "hello";

	out8(&f->board, 0x37a, 0x0c);
	for (const char *c = text; *c; c++) {
		assert_int_equal(status(f), 0xd8);
		strobe(f, (u8)*c);
		assert_int_equal(status(f), 0x58); /* busy */
		board_run(&f->board, 10000);
		assert_int_equal(status(f), 0x18); /* and acknowledges */
		board_run(&f->board, 5000);
	}
	assert_int_equal(f->count, 5);
	assert_memory_equal(f->sent, text, 5);
	assert_int_equal(f->irq.rises, 0);
}

static void one_byte_an_edge(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x37a, 0x0c);
	out8(&f->board, 0x378, 'a');
	assert_int_equal(f->count, 0);
	out8(&f->board, 0x37a, 0x0d);
	out8(&f->board, 0x37a, 0x0d); /* still low */
	assert_int_equal(f->count, 1);
	strobe(f, 'b'); /* it is busy: lost */
	assert_int_equal(f->count, 1);
	out8(&f->board, 0x37a, 0x00); /* nInit makes it ready */
	out8(&f->board, 0x37a, 0x0c);
	assert_int_equal(status(f), 0xd8);
	strobe(f, 'c');
	assert_memory_equal(f->sent, "ac", 2);
}

static void acknowledge_interrupts(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x37a, 0x1c);
	out8(&f->board, 0x378, 'a');
	out8(&f->board, 0x37a, 0x1d);
	assert_false(f->irq.level);
	assert_int_equal(in8(&f->board, 0x379) & 0x04, 0x04);
	board_run(&f->board, 10000);
	assert_true(f->irq.level);
	assert_int_equal(in8(&f->board, 0x379) & 0x04, 0);
	assert_int_equal(in8(&f->board, 0x379) & 0x04, 0x04);
	board_run(&f->board, 5000);
	assert_false(f->irq.level);
	assert_int_equal(f->irq.rises, 1);
}

static void registers(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x378, 0x5a);
	assert_int_equal(in8(&f->board, 0x378), 0x5a);
	out8(&f->board, 0x37a, 0x2c); /* drivers off: the latch is not seen, and comes back */
	assert_int_equal(in8(&f->board, 0x378), 0xff);
	assert_int_equal(in8(&f->board, 0x37a), 0xec);
	out8(&f->board, 0x37a, 0x0c);
	assert_int_equal(in8(&f->board, 0x378), 0x5a);
	out8(&f->board, 0x379, 0); /* for reading alone */
	assert_int_equal(status(f), 0xd8);
}

static void no_printer(void **state)
{
	struct fixture *f = *state;

	board_fini(&f->board);
	plug(f, false);
	assert_int_equal(status(f), 0x78); /* busy, out of paper */
	out8(&f->board, 0x37a, 0x1c);
	strobe(f, 'a');
	board_run(&f->board, 1000000);
	assert_int_equal(f->irq.rises, 0);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x37a, 0x1c);
	out8(&f->board, 0x378, 'a');
	out8(&f->board, 0x37a, 0x1d);
	board_save_and_load(&f->port.dev);
	assert_int_equal(f->count, 1);
	board_run(&f->board, 10000);
	assert_true(f->irq.level);
	board_save_and_load(&f->port.dev);
	assert_true(f->irq.level);
	board_run(&f->board, 5000);
	assert_false(f->irq.level);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(prints),    TEST(one_byte_an_edge), TEST(acknowledge_interrupts),
		TEST(registers), TEST(no_printer),       TEST(save_and_load),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("parallel", tests, NULL, NULL);
}
