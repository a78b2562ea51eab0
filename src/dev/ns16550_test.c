#include "dev/dev_test.h"
#include "dev/ns16550.h"

#include <string.h>

#define PORT 0x3f8
#define RBR  (PORT + 0)
#define THR  (PORT + 0)
#define IER  (PORT + 1)
#define IIR  (PORT + 2)
#define FCR  (PORT + 2)
#define LCR  (PORT + 3)
#define MCR  (PORT + 4)
#define LSR  (PORT + 5)
#define MSR  (PORT + 6)
#define SCR  (PORT + 7)

struct fixture {
	struct test_board board;
	struct ns16550 uart;
	struct test_line irq;
	u8 sent[256];
	size_t count;
	unsigned wanted;
};

static void sink(void *opaque, const u8 *buf, size_t n)
{
	struct fixture *f = opaque;

	assert_true(f->count + n <= sizeof(f->sent));
	memcpy(f->sent + f->count, buf, n);
	f->count += n;
}

static void wanted(void *opaque) { ((struct fixture *)opaque)->wanted++; }

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.uart.base = PORT;
	f.uart.irq = test_irq(&f.irq);
	f.uart.backend = (struct chardev){ sink, wanted, &f };
	board_add(&f.board, &f.uart.dev, &ns16550_type, "com1");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static size_t feed(struct fixture *f, const char *text)
{
	return ns16550_receive(&f->uart, (const u8 *)text, strlen(text));
}

static void after_reset(void **state)
{
	struct test_board *b = &((struct fixture *)*state)->board;

	/* Table I. */
	assert_int_equal(in8(b, IER), 0);
	assert_int_equal(in8(b, IIR), 0x01);
	assert_int_equal(in8(b, LCR), 0);
	assert_int_equal(in8(b, MCR), 0);
	assert_int_equal(in8(b, LSR), 0x60);
	assert_int_equal(in8(b, MSR), 0xb0);
}

static void divisor_latch(void **state)
{
	struct test_board *b = &((struct fixture *)*state)->board;

	out8(b, IER, 0x05);
	out8(b, LCR, 0x83);
	out8(b, PORT, 0x0c);
	out8(b, PORT + 1, 0x34);
	assert_int_equal(in8(b, PORT), 0x0c);
	assert_int_equal(in8(b, PORT + 1), 0x34);
	out8(b, LCR, 0x03);
	assert_int_equal(in8(b, IER), 0x05);
	assert_int_equal(((struct fixture *)*state)->count, 0);
}

static void reserved_bits_read_zero(void **state)
{
	struct test_board *b = &((struct fixture *)*state)->board;

	out8(b, IER, 0xff);
	assert_int_equal(in8(b, IER), 0x0f);
	out8(b, MCR, 0xef);
	assert_int_equal(in8(b, MCR), 0x0f);
	out8(b, SCR, 0xa5);
	assert_int_equal(in8(b, SCR), 0xa5);
	out8(b, LSR, 0xff);
	out8(b, MSR, 0x00);
	assert_int_equal(in8(b, LSR), 0x60);
}

static void transmit(void **state)
{
	struct fixture *f = *state;

	bus_write(&f->board.ports, THR, 'h', 1);
	out8(&f->board, THR, 'i');
	assert_int_equal(f->count, 2);
	assert_memory_equal(f->sent, "hi", 2);
	assert_int_equal(in8(&f->board, LSR), 0x60);
}

static void thre_interrupt(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, MCR, 0x08);
	/* Enabling it while THR is empty raises it. */
	out8(b, IER, 0x02);
	assert_true(f->irq.level);
	assert_int_equal(in8(b, IIR), 0x02);
	assert_false(f->irq.level);
	assert_int_equal(in8(b, IIR), 0x01);
	/* Each byte written lets it fall and rise: an edge-triggered input sees it. */
	out8(b, THR, 'x');
	assert_true(f->irq.level);
	assert_int_equal(f->irq.rises, 2);
	out8(b, THR, 'y');
	assert_int_equal(f->irq.rises, 3);
	/* Writing the same enable again does not raise it, turning it off and on does. */
	in8(b, IIR);
	out8(b, IER, 0x02);
	assert_false(f->irq.level);
	out8(b, IER, 0x00);
	out8(b, IER, 0x02);
	assert_true(f->irq.level);
}

static void out2_gates_the_line(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, IER, 0x02);
	assert_false(f->irq.level);
	assert_int_equal(f->uart.regs.thre_pending, 1);
	out8(&f->board, MCR, 0x08);
	assert_true(f->irq.level);
	out8(&f->board, MCR, 0x00);
	assert_false(f->irq.level);
}

static void receive_without_fifo(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, MCR, 0x08);
	out8(b, IER, 0x01);
	assert_int_equal(feed(f, "abc"), 1);
	assert_true(f->irq.level);
	assert_int_equal(in8(b, IIR), 0x04);
	assert_int_equal(in8(b, LSR), 0x61);
	assert_int_equal(f->wanted, 0);
	assert_int_equal(in8(b, RBR), 'a');
	assert_int_equal(f->wanted, 1);
	assert_false(f->irq.level);
	assert_int_equal(in8(b, LSR), 0x60);
}

static void fifo_trigger_levels(void **state)
{
	static const u8 levels[] = { 1, 4, 8, 14 };
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, MCR, 0x08);
	out8(b, IER, 0x01);
	for (unsigned i = 0; i < 4; i++) {
		out8(b, FCR, (u8)(i << 6 | 0x03));
		for (unsigned n = 1; n < levels[i]; n++) {
			assert_int_equal(feed(f, "x"), 1);
			assert_int_equal(in8(b, IIR), 0xc1);
		}
		assert_int_equal(feed(f, "x"), 1);
		assert_int_equal(in8(b, IIR), 0xc4);
		/* It resets when the FIFO falls below the level. */
		in8(b, RBR);
		assert_int_equal(in8(b, IIR), 0xc1);
	}
}

static void fifo_takes_16(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, FCR, 0x01);
	assert_int_equal(feed(f, "0123456789abcdefGH"), 16);
	assert_int_equal(feed(f, "GH"), 0);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in8(b, RBR), "0123456789abcdef"[i]);
	assert_int_equal(f->wanted, 1);
	assert_int_equal(in8(b, LSR), 0x60);
}

static void character_timeout(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;
	/* 115200 baud, 8N1: four characters of ten bits. */
	const u64 four_chars = 4 * 10 * 16 * 1000000000ull / 1843200;

	out8(b, LCR, 0x83);
	out8(b, PORT, 1);
	out8(b, PORT + 1, 0);
	out8(b, LCR, 0x03);
	out8(b, MCR, 0x08);
	out8(b, IER, 0x01);
	out8(b, FCR, 0xc1);
	feed(f, "ab");
	board_run(b, four_chars - 10);
	assert_int_equal(in8(b, IIR), 0xc1);
	board_run(b, 20);
	assert_true(f->irq.level);
	assert_int_equal(in8(b, IIR), 0xcc);
	/* Reading a character resets it and starts the time again. */
	assert_int_equal(in8(b, RBR), 'a');
	assert_int_equal(in8(b, IIR), 0xc1);
	board_run(b, four_chars + 1);
	assert_int_equal(in8(b, IIR), 0xcc);
	assert_int_equal(in8(b, RBR), 'b');
	board_run(b, 10 * four_chars);
	assert_int_equal(in8(b, IIR), 0xc1);
}

static void fcr_resets(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, FCR, 0x01);
	feed(f, "abc");
	out8(b, FCR, 0x01);
	assert_int_equal(in8(b, LSR), 0x61);
	out8(b, FCR, 0x03);
	assert_int_equal(in8(b, LSR), 0x60);
	/* Bit 1 without bit 0 is a mode change, which clears too; other bits do not count then. */
	feed(f, "abc");
	out8(b, FCR, 0xc0);
	assert_int_equal(in8(b, LSR), 0x60);
	assert_int_equal(in8(b, IIR), 0x01);
}

static void loopback(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, MCR, 0x1f);
	/* The modem lines changed with the switch: RI rose from off, which sets no bit. */
	assert_int_equal(in8(b, MSR), 0xf0);
	out8(b, MCR, 0x10);
	/* CTS, DSR and DCD changed, RI shows its trailing edge. */
	assert_int_equal(in8(b, MSR), 0x0f);
	assert_int_equal(in8(b, MSR), 0x00);
	out8(b, MCR, 0x1a);
	assert_int_equal(in8(b, MSR), 0x99);
	out8(b, THR, 'L');
	assert_int_equal(f->count, 0);
	assert_int_equal(in8(b, LSR), 0x61);
	assert_int_equal(in8(b, RBR), 'L');
	/* The line is cut off, and asks again afterwards. */
	assert_int_equal(feed(f, "x"), 0);
	out8(b, MCR, 0x00);
	assert_int_equal(f->wanted, 1);
}

static void overrun(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, MCR, 0x10);
	out8(b, IER, 0x04);
	out8(b, THR, '1');
	out8(b, THR, '2');
	assert_int_equal(in8(b, IIR), 0x06);
	assert_int_equal(in8(b, LSR), 0x63);
	assert_int_equal(in8(b, LSR), 0x61);
	assert_int_equal(in8(b, IIR), 0x01);
	assert_int_equal(in8(b, RBR), '2');
	/* FIFO: the FIFO keeps its 16, the new one is lost. */
	out8(b, FCR, 0x01);
	for (unsigned i = 0; i < 17; i++)
		out8(b, THR, (u8)('a' + i));
	assert_int_equal(in8(b, LSR), 0x63);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in8(b, RBR), 'a' + i);
	assert_int_equal(in8(b, LSR), 0x60);
}

static void interrupt_priorities(void **state)
{
	struct test_board *b = &((struct fixture *)*state)->board;

	out8(b, MCR, 0x10); /* loopback: changes modem inputs */
	out8(b, THR, '1');
	out8(b, THR, '2');
	out8(b, IER, 0x0f);
	assert_int_equal(in8(b, IIR), 0x06);
	in8(b, LSR);
	assert_int_equal(in8(b, IIR), 0x04);
	in8(b, RBR);
	assert_int_equal(in8(b, IIR), 0x02);
	assert_int_equal(in8(b, IIR), 0x00);
	in8(b, MSR);
	assert_int_equal(in8(b, IIR), 0x01);
}

static void state_survives(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, MCR, 0x08);
	out8(b, IER, 0x01);
	out8(b, FCR, 0x81);
	out8(b, LCR, 0x03);
	out8(b, SCR, 0x42);
	feed(f, "xyz");
	board_save_and_load(&f->uart.dev);
	assert_false(f->irq.level);
	board_run(b, 1000000000);
	assert_true(f->irq.level);
	assert_int_equal(in8(b, IIR), 0xcc);
	assert_int_equal(in8(b, RBR), 'x');
	assert_int_equal(in8(b, SCR), 0x42);
}

/* Start, 5..8 data bits, parity, 1 or 2 stop bits, each 16 * divisor clocks. */
static void timeout_counts_the_line_format(void **state)
{
	static const struct {
		u8 lcr;
		unsigned bits;
	} rows[] = {
		{ 0x00, 7 }, { 0x01, 8 }, { 0x02, 9 }, { 0x03, 10 }, { 0x07, 11 }, { 0x0f, 12 }
	};
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, IER, 0x01);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		u64 ns = 4ull * rows[i].bits * 16 * 0x0102 * 1000000000 / 1843200;

		out8(b, LCR, 0x80);
		out8(b, PORT, 0x02);
		out8(b, PORT + 1, 0x01);
		out8(b, LCR, rows[i].lcr);
		out8(b, FCR, 0xc3);
		feed(f, "a");
		board_run(b, ns - 10);
		assert_int_equal(in8(b, IIR), 0xc1);
		board_run(b, 20);
		assert_int_equal(in8(b, IIR), 0xcc);
	}
}

static void modem_status_interrupts(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	/* Each change alone raises it: DTR, RTS, OUT1 falling, OUT2, through the loopback. */
	out8(b, MCR, 0x14);
	in8(b, MSR);
	out8(b, IER, 0x08);
	assert_false(f->irq.level);
	for (unsigned i = 0; i < 4; i++) {
		out8(b, MCR, (u8)(0x14 ^ 1u << i));
		assert_true(f->irq.level);
		assert_int_equal(in8(b, IIR), 0x00);
		assert_int_equal(in8(b, MSR) & 0x0f, i < 2 ? 2u >> i : 1u << i);
		assert_false(f->irq.level);
		out8(b, MCR, 0x14);
		in8(b, MSR);
	}
	/* Changes add up until they are read. */
	out8(b, MCR, 0x15);
	out8(b, MCR, 0x17);
	assert_int_equal(in8(b, MSR) & 0x0f, 0x03);
}

static void reset_forgets_everything(void **state)
{
	struct fixture *f = *state;
	struct test_board *b = &f->board;

	out8(b, MCR, 0x08);
	out8(b, IER, 0x0f);
	out8(b, FCR, 0xc1);
	feed(f, "abc");
	ns16550_type.reset(&f->uart.dev);
	assert_false(f->irq.level);
	after_reset(state);
	out8(b, IER, 0x01);
	out8(b, MCR, 0x08);
	board_run(b, 1000000000);
	assert_false(f->irq.level);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_reset),
		TEST(divisor_latch),
		TEST(reserved_bits_read_zero),
		TEST(transmit),
		TEST(thre_interrupt),
		TEST(out2_gates_the_line),
		TEST(receive_without_fifo),
		TEST(fifo_trigger_levels),
		TEST(fifo_takes_16),
		TEST(character_timeout),
		TEST(fcr_resets),
		TEST(loopback),
		TEST(overrun),
		TEST(interrupt_priorities),
		TEST(timeout_counts_the_line_format),
		TEST(modem_status_interrupts),
		TEST(reset_forgets_everything),
		TEST(state_survives),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ns16550", tests, NULL, NULL);
}
