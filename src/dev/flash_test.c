/* The chip as OVMF's driver and others use it, its file, and a hostile guest. */
#include "dev/dev_test.h"
#include "dev/flash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BASE 0xffc00000ull
#define SIZE (16 * FLASH_BLOCK)

/* A file in memory that fails when told. */
struct fake {
	struct block_file file;
	u8 bytes[SIZE];
	unsigned writes, flushes, closes;
	int fail;
};

struct fixture {
	struct test_board board;
	struct flash flash;
	struct fake fake;
};

static int fake_read(struct block_file *f, void *buf, u64 size, u64 offset)
{
	assert_true(offset + size <= SIZE);
	memcpy(buf, ((struct fake *)f)->bytes + offset, size);
	return 0;
}

static int fake_write(struct block_file *f, const void *buf, u64 size, u64 offset)
{
	struct fake *k = (struct fake *)f;

	assert_false(f->readonly);
	assert_true(offset + size <= SIZE);
	if (k->fail)
		return k->fail;
	memcpy(k->bytes + offset, buf, size);
	k->writes++;
	return 0;
}

static int fake_flush(struct block_file *f)
{
	((struct fake *)f)->flushes++;
	return 0;
}

static void fake_close(struct block_file *f) { ((struct fake *)f)->closes++; }

static const struct block_file_ops fake_ops = {
	.read = fake_read,
	.write = fake_write,
	.flush = fake_flush,
	.close = fake_close,
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add_ram(&f.board, 4 * MIB);
	for (unsigned i = 0; i < SIZE; i++)
		f.fake.bytes[i] = (u8)(i * 7 + (i >> 8));
	f.fake.file =
		(struct block_file){ .ops = &fake_ops, .path = "vars", .size = SIZE, .fd = -1 };
	f.flash.base = BASE;
	f.flash.file = &f.fake.file;
	board_add(&f.board, &f.flash.dev, &flash_type, "flash");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	flash_type.fini(&f->flash.dev);
	assert_int_equal(f->fake.closes, 1);
	board_fini(&f->board);
	return 0;
}

/* As a CPU does it: memory if there is some, else the bus. */
static u8 get(struct fixture *f, u32 offset)
{
	u8 byte;

	if (mem_read(&f->board.mem, BASE + offset, &byte, 1))
		return byte;
	return (u8)bus_read(&f->board.mmio, BASE + offset, 1);
}

/* Memory that is not RAM does not take writes: they go to the bus. */
static void put(struct fixture *f, u32 offset, u64 value)
{
	bus_write(&f->board.mmio, BASE + offset, value, 1);
}

static bool visible(struct fixture *f) { return mem_find(&f->board.mem, BASE) != NULL; }

static void program(struct fixture *f, u32 offset, u8 value)
{
	put(f, offset, 0x10);
	put(f, offset, value);
}

static void erase(struct fixture *f, u32 offset)
{
	put(f, offset, 0x20);
	put(f, offset, 0xd0);
}

static void is_memory(void **state)
{
	struct fixture *f = *state;
	u8 page[FLASH_BLOCK];
	struct mem_slot *slot = mem_find(&f->board.mem, BASE + SIZE - 1);

	assert_non_null(slot);
	assert_true(slot->readonly);
	assert_null(mem_find(&f->board.mem, BASE + SIZE));
	assert_true(mem_read(&f->board.mem, BASE + FLASH_BLOCK, page, sizeof(page)));
	assert_memory_equal(page, f->fake.bytes + FLASH_BLOCK, sizeof(page));
}

/* How OVMF tells flash from RAM and ROM (QemuFlashDetected). */
static void detection(void **state)
{
	struct fixture *f = *state;
	u8 original = get(f, 1);

	assert_int_not_equal(original, 0);
	put(f, 1, 0x50);
	assert_int_equal(get(f, 1), original);
	put(f, 1, 0x70);
	assert_int_equal(get(f, 1), 0x00);
	assert_false(visible(f));
	put(f, 1, 0xff);
	assert_int_equal(get(f, 1), original);
	assert_true(visible(f));
}

static void writes(void **state)
{
	struct fixture *f = *state;
	u8 below = get(f, FLASH_BLOCK - 1), above = get(f, 2 * FLASH_BLOCK);

	erase(f, FLASH_BLOCK + 123);
	assert_int_equal(get(f, 0), 0x80); /* status */
	put(f, 0, 0xff);
	assert_int_equal(get(f, FLASH_BLOCK - 1), below);
	assert_int_equal(get(f, 2 * FLASH_BLOCK), above);
	for (u32 i = 0; i < FLASH_BLOCK; i++) {
		assert_int_equal(get(f, FLASH_BLOCK + i), 0xff);
		assert_int_equal(f->fake.bytes[FLASH_BLOCK + i], 0xff);
	}
	for (u32 i = 0; i < 4; i++)
		program(f, FLASH_BLOCK + i, (u8)(0x5a + i));
	put(f, FLASH_BLOCK, 0xff);
	assert_memory_equal(f->fake.bytes + FLASH_BLOCK, "\x5a\x5b\x5c\x5d\xff", 5);
	assert_int_equal(get(f, FLASH_BLOCK + 3), 0x5d);
	/* Bits are only cleared. */
	program(f, FLASH_BLOCK, 0xa3);
	put(f, 0, 0xff);
	assert_int_equal(get(f, FLASH_BLOCK), 0x5a & 0xa3);
	assert_int_equal(f->fake.bytes[FLASH_BLOCK], 0x5a & 0xa3);
	/* What is the same is not written again. */
	f->fake.writes = 0;
	program(f, FLASH_BLOCK + 1, 0x5b);
	assert_int_equal(f->fake.writes, 0);
	/* Four bytes at once. */
	put(f, FLASH_BLOCK + 8, 0x40);
	bus_write(&f->board.mmio, BASE + FLASH_BLOCK + 8, 0x11223344, 4);
	assert_memory_equal(f->fake.bytes + FLASH_BLOCK + 7, "\xff\x44\x33\x22\x11\xff", 6);
	flash_type.reset(&f->flash.dev);
	assert_int_equal(f->fake.flushes, 1);
	assert_true(visible(f));
}

static void buffered(void **state)
{
	struct fixture *f = *state;

	erase(f, 0);
	put(f, 0x180, 0xe8);
	assert_int_equal(get(f, 0), 0x80);
	put(f, 0x180, 3); /* four bytes */
	put(f, 0x181, 1);
	put(f, 0x182, 2);
	bus_write(&f->board.mmio, BASE + 0x183, 0x0403, 2);
	put(f, 0x180, 0xd0);
	put(f, 0, 0xff);
	assert_memory_equal(f->fake.bytes + 0x180, "\xff\x01\x02\x03\x04\xff", 6);
	assert_int_equal(get(f, 0x184), 4);
	/* The largest, to the end of the chip. */
	erase(f, SIZE - 1);
	put(f, SIZE - 256, 0xe8);
	put(f, SIZE - 256, 0xff);
	for (u32 i = 0; i < 256; i++)
		put(f, SIZE - 256 + i, i);
	put(f, SIZE - 256, 0xd0);
	assert_int_equal(get(f, 0), 0x80);
	assert_int_equal(f->fake.bytes[SIZE - 1], 255);
	assert_int_equal(f->fake.bytes[SIZE - 256], 0);
	assert_int_equal(f->fake.bytes[SIZE - 257], 0xff);
	/* Bytes for two places, and no confirmation. */
	put(f, 0x200, 0xe8);
	put(f, 0x200, 1);
	put(f, 0x2ff, 0);
	put(f, 0x300, 0);
	put(f, 0x200, 0xd0);
	assert_int_equal(get(f, 0), 0xb0);
	put(f, 0, 0x50);
	put(f, 0x200, 0xe8);
	put(f, 0x200, 0);
	put(f, 0x200, 0);
	put(f, 0x200, 0xff);
	assert_int_equal(get(f, 0), 0xb0);
	assert_int_equal(f->fake.bytes[0x200], 0xff);
	assert_int_equal(f->fake.bytes[0x2ff], 0xff);
}

static void wrong_sequences(void **state)
{
	struct fixture *f = *state;

	put(f, 0, 0x20);
	put(f, 0, 0xff);
	assert_int_equal(get(f, 0), 0xb0);
	put(f, 0, 0x50);
	assert_true(visible(f));
	put(f, 0, 0x60);
	put(f, 0, 0x77);
	assert_int_equal(get(f, 0), 0xb0);
	put(f, 0, 0x33); /* no command */
	assert_true(visible(f));
	assert_memory_equal(f->flash.area->host, f->fake.bytes, SIZE);
	assert_int_equal(f->fake.writes, 0);
}

static void locks(void **state)
{
	struct fixture *f = *state;

	put(f, FLASH_BLOCK, 0x60);
	put(f, FLASH_BLOCK, 0x01);
	put(f, 0, 0x90);
	assert_int_equal(get(f, FLASH_BLOCK + 2), 1);
	assert_int_equal(get(f, 2), 0);
	assert_int_equal(get(f, 0), 0x89);
	assert_int_equal(get(f, 1), 0x18);
	erase(f, FLASH_BLOCK);
	assert_int_equal(get(f, 0), 0xa2);
	put(f, 0, 0x50);
	program(f, FLASH_BLOCK, 0);
	assert_int_equal(get(f, 0), 0x92);
	put(f, 0, 0x50);
	/* Eight bytes that reach into a locked block. */
	put(f, 0, 0x40);
	bus_write(&f->board.mmio, BASE + FLASH_BLOCK - 4, 0, 8);
	assert_int_equal(get(f, 0), 0x92);
	put(f, 0, 0x50);
	assert_int_equal(f->fake.writes, 0);
	put(f, FLASH_BLOCK, 0x60);
	put(f, FLASH_BLOCK, 0xd0);
	erase(f, FLASH_BLOCK);
	assert_int_equal(get(f, 0), 0x80);
	/* A chip that is write-protected as a whole. */
	f->flash.write_protected = true;
	erase(f, 0);
	assert_int_equal(get(f, 0), 0xa2);
}

static void query(void **state)
{
	struct fixture *f = *state;

	put(f, 0x55, 0x98);
	assert_int_equal(get(f, 0x10), 'Q');
	assert_int_equal(get(f, 0x12), 'Y');
	assert_int_equal(get(f, 0x13), 1);
	assert_int_equal(get(f, 0x27), 16); /* 64 KiB */
	assert_int_equal(get(f, 0x2a), 8);
	assert_int_equal(get(f, 0x2c), 1);
	assert_int_equal(get(f, 0x2d) | get(f, 0x2e) << 8, 15);
	assert_int_equal(get(f, 0x2f) | get(f, 0x30) << 8, FLASH_BLOCK / 256);
	assert_int_equal(get(f, get(f, 0x15)), 'P');
	assert_int_equal(bus_read(&f->board.mmio, BASE + 0x10, 4), 0x01595251);
	assert_int_equal(get(f, 0xff), 0);
}

/* What could not be written has not happened, and the guest is told. */
static void host_fails(void **state)
{
	struct fixture *f = *state;

	f->fake.fail = -ENOSPC;
	erase(f, 0);
	assert_int_equal(get(f, 0), 0xa0);
	put(f, 0, 0x50);
	program(f, 1, 0);
	assert_int_equal(get(f, 0), 0x90);
	put(f, 0, 0xff);
	assert_memory_equal(f->flash.area->host, f->fake.bytes, SIZE);
	assert_int_equal(get(f, 1), f->fake.bytes[1]);
	assert_int_not_equal(get(f, 1), 0);
}

/* A file that is only read: changes are the machine's alone. */
static void scratch(void **state)
{
	struct fixture *f = *state;

	f->fake.file.readonly = true;
	erase(f, 0);
	assert_int_equal(get(f, 0), 0x80);
	put(f, 0, 0xff);
	assert_int_equal(get(f, 5), 0xff);
	assert_int_not_equal(f->fake.bytes[5], 0xff);
	f->fake.flushes = 0;
	flash_type.reset(&f->flash.dev);
	assert_int_equal(f->fake.flushes, 0);
	assert_int_equal(get(f, 5), 0xff);
}

static unsigned announced;

static void on_code_written(void *opaque, const u8 *host, u64 size) { announced++; }

static void code_is_announced(void **state)
{
	struct fixture *f = *state;

	announced = 0;
	f->board.mem.code_written = on_code_written;
	f->flash.area->page_flags[0] |= MEM_PAGE_CODE;
	program(f, 1, 0);
	assert_int_equal(announced, 1);
	program(f, FLASH_BLOCK + 1, 0);
	assert_int_equal(announced, 1);
}

static void any_state_is_survived(void **state)
{
	struct fixture *f = *state;
	u64 seed = 1;

	put(f, 0, 0xe8);
	board_save_and_load(&f->flash.dev);
	assert_false(visible(f));
	for (unsigned n = 0; n < 20000; n++) {
		static const unsigned sizes[] = { 1, 2, 4, 8 };
		static const u8 commands[] = { 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90,
					       0x98, 0xb0, 0xd0, 0xe8, 0xff, 0x01, 0x00 };
		u32 r;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		r = (u32)(seed >> 32);
		bus_write(&f->board.mmio, BASE + r % (SIZE - 7), commands[(r >> 20) % 14],
			  sizes[r >> 18 & 3]);
		bus_read(&f->board.mmio, BASE + (r >> 8) % (SIZE - 7), sizes[r >> 16 & 3]);
		assert_int_equal(visible(f), f->flash.regs.mode == FLASH_ARRAY);
		if (n % 50)
			continue;
		for (unsigned i = 0; i < offsetof(struct flash_regs, buffer); i++)
			((u8 *)&f->flash.regs)[i] = (u8)(seed >> (i % 57));
		f->flash.regs.astray = r & 1;
		f->flash.regs.mode %= 16;
		flash_type.loaded(&f->flash.dev);
	}
	assert_memory_equal(f->flash.area->host, f->fake.bytes, SIZE);
}

static void bad_sizes(void **state)
{
	static const u64 sizes[] = { 0, 100, FLASH_SIZE_MAX + FLASH_BLOCK };
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		struct flash other = { .dev = { .platform = &f->board.platform },
				       .base = 0xf0000000,
				       .size = sizes[i] };

		assert_int_equal(flash_type.init(&other.dev), -EINVAL);
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_memory),  TEST(detection), TEST(writes),
		TEST(buffered),   TEST(locks),     TEST(wrong_sequences),
		TEST(query),      TEST(scratch),   TEST(code_is_announced),
		TEST(host_fails), TEST(bad_sizes), TEST(any_state_is_survived),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("flash", tests, NULL, NULL);
}
