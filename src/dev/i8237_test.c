#include "dev/i8237.h"

#include "base/bits.h"
#include "dev/dev_test.h"

#include <string.h>

struct fixture {
	struct test_board board;
	struct i8237 dma;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add_ram(&f.board, 4 * MIB);
	board_add(&f.board, &f.dma.dev, &i8237_type, "dma");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_fini(&f->board);
	return 0;
}

/* Mode, address and count as a driver programs them; units are those of the channel. */
static void program(struct fixture *f, unsigned channel, u8 mode, u32 addr, u16 count)
{
	static const u8 pages[] = { 0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a };
	bool wide = channel >= 4;
	u16 base = wide ? 0xc0 : 0, step = wide ? 2 : 1;
	u16 first = (u16)(base + (channel & 3) * 2 * step);
	u16 at = (u16)(wide ? addr >> 1 : addr);

	out8(&f->board, (u16)(base + 10 * step), 4 | (channel & 3));
	out8(&f->board, (u16)(base + 12 * step), 0);
	out8(&f->board, (u16)(base + 11 * step), mode | (channel & 3));
	out8(&f->board, first, (u8)at);
	out8(&f->board, first, (u8)(at >> 8));
	out8(&f->board, (u16)(first + step), (u8)count);
	out8(&f->board, (u16)(first + step), (u8)(count >> 8));
	out8(&f->board, pages[channel], (u8)(addr >> 16));
	out8(&f->board, (u16)(base + 10 * step), channel & 3);
}

static u16 read_pair(struct fixture *f, u16 port)
{
	u8 low = in8(&f->board, port);

	return (u16)(low | in8(&f->board, port) << 8);
}

static void check_mem(struct fixture *f, u32 addr, const void *want, u32 size)
{
	u8 buf[64];

	assert_true(mem_read(&f->board.mem, addr, buf, size));
	assert_memory_equal(buf, want, size);
}

static void bytes_to_memory(void **state)
{
	struct fixture *f = *state;
	bool tc = true;

	program(f, 2, 0x44, 0x12345, 7); /* single, write */
	assert_int_equal(i8237_transfer(&f->dma, 2, "abcde", 5, true, &tc), 5);
	assert_false(tc);
	assert_int_equal(in8(&f->board, 0x08), 0);
	assert_int_equal(read_pair(f, 4), 0x234a);
	assert_int_equal(read_pair(f, 5), 2);
	/* The count is one less than the bytes: three are left, and no more are taken. */
	assert_int_equal(i8237_transfer(&f->dma, 2, "fghij", 5, true, &tc), 3);
	assert_true(tc);
	check_mem(f, 0x12345, "abcdefgh\0", 9);
	assert_int_equal(in8(&f->board, 0x08), 0x04); /* reached, and reading clears it */
	assert_int_equal(in8(&f->board, 0x08), 0);
	assert_int_equal(read_pair(f, 5), 0xffff);
	/* The channel masks itself. */
	assert_int_equal(in8(&f->board, 0x0f) & 0x0f, 0x0f);
	assert_int_equal(i8237_transfer(&f->dma, 2, "k", 1, true, &tc), 0);
	assert_false(tc);
}

static void bytes_from_memory(void **state)
{
	struct fixture *f = *state;
	u8 buf[8];
	bool tc;

	assert_true(mem_write(&f->board.mem, 0x2fffe, "xyz", 3));
	program(f, 1, 0x48, 0x2fffe, 3);
	assert_true(mem_write(&f->board.mem, 0x20000, "w", 1));
	/* Beyond FFFFh the address wraps within the page. */
	assert_int_equal(i8237_transfer(&f->dma, 1, buf, 8, false, &tc), 4);
	assert_true(tc);
	assert_memory_equal(buf, "xyw\0", 4);
}

static void words_wrap_at_128k(void **state)
{
	struct fixture *f = *state;
	bool tc;

	/* Bit 0 of the page register does not count. */
	program(f, 5, 0x44, 0x11fffe | 0x10000, 3);
	assert_int_equal(i8237_transfer(&f->dma, 5, "abcdefgh", 5, true, &tc), 4);
	assert_false(tc);
	check_mem(f, 0x11fffe, "ab", 2);
	check_mem(f, 0x100000, "cd", 2);
	assert_int_equal(read_pair(f, 0xc6), 1);
	assert_int_equal(i8237_transfer(&f->dma, 5, "ijkl", 4, true, &tc), 4);
	assert_true(tc);
	check_mem(f, 0x100002, "ijkl", 4);
	assert_int_equal(in8(&f->board, 0xd0), 0x02);
}

static void addresses_count_down(void **state)
{
	struct fixture *f = *state;
	u8 buf[4];
	bool tc;

	program(f, 3, 0x64, 0x30001, 3);
	assert_int_equal(i8237_transfer(&f->dma, 3, "abcd", 4, true, &tc), 4);
	check_mem(f, 0x30000, "ba", 2);
	check_mem(f, 0x3fffe, "dc", 2);
	program(f, 6, 0x68, 0x30000, 1);
	assert_true(mem_write(&f->board.mem, 0x2fffe, "1234", 4));
	assert_true(mem_write(&f->board.mem, 0x3fffe, "zz", 2));
	assert_int_equal(i8237_transfer(&f->dma, 6, buf, 4, false, &tc), 4);
	assert_memory_equal(buf, "34", 2);
	assert_memory_equal(buf + 2, "12", 2);
}

static void autoinit(void **state)
{
	struct fixture *f = *state;
	bool tc;

	program(f, 2, 0x54, 0x4000, 1);
	assert_int_equal(i8237_transfer(&f->dma, 2, "abcd", 4, true, &tc), 2);
	assert_true(tc);
	assert_int_equal(read_pair(f, 4), 0x4000);
	assert_int_equal(read_pair(f, 5), 1);
	assert_int_equal(i8237_transfer(&f->dma, 2, "cd", 2, true, &tc), 2);
	check_mem(f, 0x4000, "cd\0", 3);
}

static void direction_and_verify(void **state)
{
	struct fixture *f = *state;
	u8 buf[4] = "abc";
	bool tc;

	program(f, 2, 0x48, 0x5000, 9);
	assert_int_equal(i8237_transfer(&f->dma, 2, buf, 4, true, &tc), 0);
	program(f, 2, 0x4c, 0x5000, 9); /* illegal type */
	assert_int_equal(i8237_transfer(&f->dma, 2, buf, 4, true, &tc), 0);
	program(f, 2, 0x40, 0x5000, 3);
	assert_int_equal(i8237_transfer(&f->dma, 2, buf, 4, true, &tc), 4);
	assert_true(tc);
	assert_memory_equal(buf, "abc", 4);
	check_mem(f, 0x5000, "\0\0\0\0", 4);
	program(f, 2, 0x40, 0x5000, 3);
	assert_int_equal(i8237_transfer(&f->dma, 2, buf, 4, false, &tc), 4);
	assert_memory_equal(buf, "\xff\xff\xff\xff", 4);
}

static void gates(void **state)
{
	struct fixture *f = *state;
	bool tc;

	program(f, 2, 0x44, 0x6000, 0xffff);
	out8(&f->board, 0x08, 0x04); /* first controller off */
	assert_int_equal(i8237_transfer(&f->dma, 2, "a", 1, true, &tc), 0);
	out8(&f->board, 0x08, 0);
	out8(&f->board, 0xd4, 0x04); /* cascade masked */
	assert_int_equal(i8237_transfer(&f->dma, 2, "a", 1, true, &tc), 0);
	out8(&f->board, 0xda, 0); /* master clear masks it too, and keeps the modes */
	assert_int_equal(i8237_transfer(&f->dma, 2, "a", 1, true, &tc), 0);
	out8(&f->board, 0xdc, 0); /* clear mask */
	assert_int_equal(i8237_transfer(&f->dma, 2, "a", 1, true, &tc), 1);
	out8(&f->board, 0xd6, 0x40); /* channel 4 is no cascade any more */
	assert_int_equal(i8237_transfer(&f->dma, 2, "a", 1, true, &tc), 0);
	out8(&f->board, 0xd6, 0xc0);
	out8(&f->board, 0xd0, 0x04); /* second controller off */
	assert_int_equal(i8237_transfer(&f->dma, 2, "a", 1, true, &tc), 0);
	out8(&f->board, 0xd0, 0);
	out8(&f->board, 0x0b, 0xc2); /* a cascade in which nobody is */
	assert_int_equal(i8237_transfer(&f->dma, 2, "a", 1, true, &tc), 0);
}

static void byte_pointer(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x00, 0x11);
	out8(&f->board, 0x0c, 0);
	out8(&f->board, 0x00, 0x22);
	out8(&f->board, 0x00, 0x33);
	assert_int_equal(read_pair(f, 0), 0x3322);
	out8(&f->board, 0x00, 0x44);
	out8(&f->board, 0x0d, 0); /* master clear resets the pointer */
	assert_int_equal(read_pair(f, 0), 0x3344);
	/* Each controller has its own. */
	out8(&f->board, 0xc4, 0x55);
	assert_int_equal(read_pair(f, 0), 0x3344);
	out8(&f->board, 0xc4, 0x66);
	assert_int_equal(read_pair(f, 0xc4), 0x6655);
}

static void status_shows_requests(void **state)
{
	struct fixture *f = *state;

	i8237_dreq(&f->dma, 2, true);
	i8237_dreq(&f->dma, 7, true);
	assert_int_equal(in8(&f->board, 0x08), 0x40);
	assert_int_equal(in8(&f->board, 0xd0), 0x80);
	i8237_dreq(&f->dma, 2, false);
	assert_int_equal(in8(&f->board, 0x08), 0);
	out8(&f->board, 0x09, 0x05);
	assert_int_equal(in8(&f->board, 0x08), 0x20);
	out8(&f->board, 0x09, 0x01);
	assert_int_equal(in8(&f->board, 0x08), 0);
}

static void software_request_runs_a_block(void **state)
{
	struct fixture *f = *state;

	assert_true(mem_write(&f->board.mem, 0x7000, "abcd", 4));
	program(f, 0, 0x84, 0x7001, 1);
	out8(&f->board, 0x09, 0x04);
	check_mem(f, 0x7000, "a\xff\xff", 3);
	check_mem(f, 0x7003, "d", 1);
	assert_int_equal(in8(&f->board, 0x08), 0x01);
	assert_int_equal(in8(&f->board, 0x0f) & 0x0f, 0x0f);
	program(f, 0, 0x88, 0x7000, 0xffff); /* a whole one, from memory to nobody */
	out8(&f->board, 0x09, 0x04);
	assert_int_equal(in8(&f->board, 0x08), 0x01);
}

static void no_memory(void **state)
{
	struct fixture *f = *state;
	u8 buf[4] = "abc";
	bool tc;

	program(f, 2, 0x48, 0x0a0000, 0xff);
	assert_int_equal(i8237_transfer(&f->dma, 2, buf, 4, false, &tc), 4);
	assert_memory_equal(buf, "\xff\xff\xff\xff", 4);
	program(f, 2, 0x44, 0xff0000, 3);
	assert_int_equal(i8237_transfer(&f->dma, 2, buf, 4, true, &tc), 4);
	assert_true(tc);
}

static void page_registers(void **state)
{
	struct fixture *f = *state;

	for (u16 n = 0; n < 16; n++)
		out8(&f->board, 0x80 + n, (u8)(0xa0 + n));
	for (u16 n = 0; n < 16; n++)
		assert_int_equal(in8(&f->board, 0x80 + n), 0xa0 + n);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;
	bool tc;

	program(f, 2, 0x44, 0x8000, 9);
	assert_int_equal(i8237_transfer(&f->dma, 2, "ab", 2, true, &tc), 2);
	out8(&f->board, 0x00, 1); /* the pointer is at the high byte */
	board_save_and_load(&f->dma.dev);
	assert_int_equal(i8237_transfer(&f->dma, 2, "cd", 2, true, &tc), 2);
	check_mem(f, 0x8000, "abcd", 4);
	out8(&f->board, 0x00, 2);
	assert_int_equal(read_pair(f, 0), 0x0201);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_to_memory),
		TEST(bytes_from_memory),
		TEST(words_wrap_at_128k),
		TEST(addresses_count_down),
		TEST(autoinit),
		TEST(direction_and_verify),
		TEST(gates),
		TEST(byte_pointer),
		TEST(status_shows_requests),
		TEST(software_request_runs_a_block),
		TEST(no_memory),
		TEST(page_registers),
		TEST(save_and_load),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("i8237", tests, NULL, NULL);
}
