/* The interface as firmware uses it: byte by byte, by DMA, and as a hostile guest would. */
#include "dev/dev_test.h"
#include "dev/fw_cfg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RAM  (4 * MIB)
#define DESC 0x10000u
#define BUF  0x20000u

struct fixture {
	struct test_board board;
	struct fw_cfg cfg;
	unsigned selected;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add_ram(&f.board, RAM);
	assert_int_equal(fw_cfg_add_int(&f.cfg, FW_CFG_NB_CPUS, 3, 2), 0);
	assert_int_equal(fw_cfg_add_file(&f.cfg, "etc/middle", "middle", 6), 0);
	board_add(&f.board, &f.cfg.dev, &fw_cfg_type, "fw_cfg");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->cfg.dev.type->fini(&f->cfg.dev);
	board_fini(&f->board);
	return 0;
}

static u64 be(const void *p, unsigned size)
{
	const u8 *b = p;
	u64 v = 0;

	while (size--)
		v = v << 8 | *b++;
	return v;
}

static void pick(struct fixture *f, u16 key) { bus_write(&f->board.ports, FW_CFG_PORT, key, 2); }

static void get(struct fixture *f, void *buf, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		((u8 *)buf)[i] = in8(&f->board, FW_CFG_PORT + 1);
}

/* Returns what the control word is afterwards. */
static u32 dma(struct fixture *f, u32 control, u32 size, gpa_t addr)
{
	u8 d[16];

	be_store(d, control, 4);
	be_store(d + 4, size, 4);
	be_store(d + 8, addr, 8);
	assert_true(mem_write(&f->board.mem, DESC, d, sizeof(d)));
	bus_write(&f->board.ports, FW_CFG_PORT + 4, 0, 4);
	bus_write(&f->board.ports, FW_CFG_PORT + 8, __builtin_bswap32(DESC), 4);
	assert_true(mem_read(&f->board.mem, DESC, d, sizeof(d)));
	return (u32)be(d, 4);
}

/* The key that the directory gives for a file; 0 if it has none. */
static u16 key_of(struct fixture *f, const char *name, u32 *size)
{
	u8 e[64];
	u32 count;

	pick(f, FW_CFG_DIRECTORY);
	get(f, e, 4);
	count = (u32)be(e, 4);
	for (unsigned n = 0; n < count; n++) {
		get(f, e, sizeof(e));
		*size = (u32)be(e, 4);
		if (!strcmp((char *)e + 8, name))
			return (u16)be(e + 4, 2);
	}
	return 0;
}

static void on_selected(void *opaque)
{
	struct fixture *f = opaque;
	char text[8];

	f->selected++;
	snprintf(text, sizeof(text), "call%02u", f->selected % 100);
	assert_int_equal(fw_cfg_add_file(&f->cfg, "etc/middle", text, 6), 0);
}

static void identity(void **state)
{
	struct fixture *f = *state;
	u8 b[8];

	pick(f, FW_CFG_SIGNATURE);
	get(f, b, 6);
	assert_memory_equal(b, "QEMU\0\0", 6); /* zeros beyond the end */
	pick(f, FW_CFG_ID);
	get(f, b, 4);
	assert_int_equal(le_load(b, 4), 3);
	pick(f, FW_CFG_NB_CPUS);
	get(f, b, 2);
	assert_int_equal(le_load(b, 2), 3);
	pick(f, FW_CFG_NB_CPUS); /* selecting starts anew */
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 3);
	for (unsigned i = 0; i < 8; i++)
		b[i] = in8(&f->board, (u16)(FW_CFG_PORT + 4 + i));
	assert_memory_equal(b, "QEMU CFG", 8);
	assert_int_equal(bus_read(&f->board.ports, FW_CFG_PORT + 4, 4), 0x554d4551);
}

static void nothing_there(void **state)
{
	static const u16 keys[] = {
		0x02, 0x1f, 0x21, 0x3fff, 0x7fff, 0x8000, 0x8008, 0xbfff, 0xffff
	};
	struct fixture *f = *state;
	u8 b[4];

	for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
		pick(f, keys[i]);
		get(f, b, 4);
		assert_int_equal(le_load(b, 4), 0);
		assert_int_equal(dma(f, FW_CFG_DMA_WRITE, 1, BUF), FW_CFG_DMA_ERROR);
		assert_int_equal(dma(f, FW_CFG_DMA_SKIP, 0xffffffff, 0), 0);
	}
}

static void directory_is_sorted(void **state)
{
	struct fixture *f = *state;
	u32 size = 0;
	u8 b[8];

	assert_int_equal(fw_cfg_add_file(&f->cfg, "etc/zebra", "z", 1), 0);
	assert_int_equal(fw_cfg_add_file(&f->cfg, "bootorder", NULL, 0), 0);
	assert_int_equal(fw_cfg_add_file_int(&f->cfg, "etc/number", 0x1122334455667788, 8), 0);
	assert_int_equal(key_of(f, "bootorder", &size), 0x20);
	assert_int_equal(size, 0);
	assert_int_equal(key_of(f, "etc/middle", &size), 0x21);
	assert_int_equal(size, 6);
	assert_int_equal(key_of(f, "etc/number", &size), 0x22);
	pick(f, 0x22);
	get(f, b, 8);
	assert_int_equal(le_load(b, 8), 0x1122334455667788);
	assert_int_equal(key_of(f, "etc/zebra", &size), 0x23);
	assert_int_equal(key_of(f, "etc/none", &size), 0);
	/* Again: new contents and size in the same place. */
	assert_int_equal(fw_cfg_add_file(&f->cfg, "etc/middle", "other text", 10), 0);
	assert_int_equal(key_of(f, "etc/middle", &size), 0x21);
	assert_int_equal(size, 10);
	assert_memory_equal(fw_cfg_file(&f->cfg, "etc/middle", &size), "other text", 10);
	assert_null(fw_cfg_file(&f->cfg, "etc/middl", &size));
}

static void limits(void **state)
{
	struct fixture *f = *state;
	char name[64];
	u32 size;

	memset(name, 'n', sizeof(name));
	name[FW_CFG_NAME] = 0;
	assert_int_equal(fw_cfg_add_file(&f->cfg, name, "", 0), -EINVAL);
	name[FW_CFG_NAME - 1] = 0;
	assert_int_equal(fw_cfg_add_file(&f->cfg, name, "", 0), 0);
	assert_int_equal(fw_cfg_add_file(&f->cfg, "", "", 0), -EINVAL);
	for (unsigned n = 2; n < FW_CFG_FILES; n++) {
		snprintf(name, sizeof(name), "file%u", n);
		assert_int_equal(fw_cfg_add_file(&f->cfg, name, name, (u32)strlen(name)), 0);
	}
	assert_int_equal(fw_cfg_add_file(&f->cfg, "one more", "", 0), -ENOSPC);
	assert_int_equal(key_of(f, "file9", &size), 0x20 + FW_CFG_FILES - 2);
	assert_int_equal(fw_cfg_add(&f->cfg, FW_CFG_SIGNATURE, "", 0), -EINVAL);
	assert_int_equal(fw_cfg_add(&f->cfg, FW_CFG_DIRECTORY, "", 0), -EINVAL);
	assert_int_equal(fw_cfg_add(&f->cfg, 0x20, "", 0), -EINVAL);
	assert_int_equal(fw_cfg_add(&f->cfg, 0x8008, "", 0), -EINVAL);
	assert_int_equal(fw_cfg_add_int(&f->cfg, FW_CFG_IRQ0_OVERRIDE, 1, 4), 0);
	pick(f, FW_CFG_IRQ0_OVERRIDE);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 1);
	assert_int_equal(fw_cfg_on_select(&f->cfg, "none", on_selected, f), -ENOENT);
}

static void dma_reads(void **state)
{
	struct fixture *f = *state;
	u8 b[12];

	memset(b, 0xee, sizeof(b));
	assert_true(mem_write(&f->board.mem, BUF, b, sizeof(b)));
	assert_int_equal(dma(f, 0x20u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ, 3, BUF), 0);
	assert_int_equal(dma(f, FW_CFG_DMA_SKIP, 1, 0), 0);
	assert_int_equal(dma(f, FW_CFG_DMA_READ, 4, BUF + 3), 0);
	assert_true(mem_read(&f->board.mem, BUF, b, sizeof(b)));
	assert_memory_equal(b, "midle\0\0\xee", 8);
	/* The ports see the same place in the item. */
	pick(f, 0x20);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 'm');
	assert_int_equal(dma(f, FW_CFG_DMA_READ, 2, BUF), 0);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 'd');
	/* Nothing asked for: nothing done. */
	assert_int_equal(dma(f, 0, 100, BUF), 0);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 'l');
}

static void dma_errors(void **state)
{
	struct fixture *f = *state;
	u32 read = 0x20u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ;
	u8 b[8] = { 0 };

	assert_int_equal(dma(f, read, 6, RAM - 5), FW_CFG_DMA_ERROR);
	assert_int_equal(dma(f, read, 6, ~0ull - 2), FW_CFG_DMA_ERROR);
	assert_int_equal(dma(f, read, 6, FW_CFG_PORT + (1ull << 60)), FW_CFG_DMA_ERROR);
	assert_int_equal(dma(f, read, 0xffffffff, BUF), FW_CFG_DMA_ERROR);
	assert_int_equal(dma(f, read, FW_CFG_DMA_MAX, BUF), FW_CFG_DMA_ERROR); /* beyond RAM */
	assert_int_equal(dma(f, read, 6, RAM - 6), 0);
	/* The error bit of a request means nothing. */
	assert_int_equal(dma(f, read | FW_CFG_DMA_ERROR, 6, BUF), 0);
	/* A descriptor outside RAM: nothing happens. */
	pick(f, 0x20);
	bus_write(&f->board.ports, FW_CFG_PORT + 4, 0xffffffff, 4);
	bus_write(&f->board.ports, FW_CFG_PORT + 8, 0xffffffff, 4);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 'm');
	/* The register is empty after that: the high half need not be written. */
	be_store(b, FW_CFG_DMA_SKIP, 4);
	be_store(b + 4, 2, 4);
	assert_true(mem_write(&f->board.mem, DESC, b, sizeof(b)));
	bus_write(&f->board.ports, FW_CFG_PORT + 8, __builtin_bswap32(DESC), 4);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 'd' /* "middle" without m, i, d */);
}

/* A transfer onto its own descriptor ends like any other. */
static void dma_onto_itself(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dma(f, 0x20u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ, 16, DESC), 0);
	assert_int_equal(dma(f, FW_CFG_DMA_READ, 16, DESC - 8), 0);
}

/* By DMA or through the data port. */
static void nothing_is_for_writing(void **state)
{
	struct fixture *f = *state;
	u8 b[6];

	assert_true(mem_write(&f->board.mem, BUF, "MIDDLE", 6));
	assert_int_equal(dma(f, 0x20u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_WRITE, 2, BUF),
			 FW_CFG_DMA_ERROR);
	pick(f, 0x20);
	out8(&f->board, FW_CFG_PORT + 1, 'X');
	get(f, b, 6);
	assert_memory_equal(b, "middle", 6);
}

static void made_when_selected(void **state)
{
	struct fixture *f = *state;
	u8 b[6];

	assert_int_equal(fw_cfg_on_select(&f->cfg, "etc/middle", on_selected, f), 0);
	pick(f, 0x20);
	get(f, b, 6);
	assert_memory_equal(b, "call01", 6);
	assert_int_equal(dma(f, 0x20u << 16 | FW_CFG_DMA_SELECT | FW_CFG_DMA_READ, 6, BUF), 0);
	assert_true(mem_read(&f->board.mem, BUF, b, 6));
	assert_memory_equal(b, "call02", 6);
}

/* Any descriptor anywhere: no access beyond an item or RAM (the sanitizers' to judge), and the control word is 0 or 1 when it is over. */
static void hostile_descriptors(void **state)
{
	struct fixture *f = *state;
	static u8 before[4096], after[4096];
	u64 seed = 7;
	unsigned ok = 0, failed = 0;

	assert_int_equal(fw_cfg_add_file(&f->cfg, "etc/more", "0123456789abcdef", 16), 0);
	memset(before, 0x5e, sizeof(before));
	assert_true(mem_write(&f->board.mem, BUF - 4096, before, sizeof(before)));
	for (unsigned n = 0; n < 20000; n++) {
		static const u32 sizes[] = { 0, 1, 4, 16, 17, 4096, 0x7fffffff, 0xffffffff };
		static const gpa_t addrs[] = { BUF, RAM - 8, 0x9fffc, ~0ull - 3, 1ull << 62 };
		u32 control, size;
		gpa_t addr;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		control = (u32)(seed >> 32) & 0x1f;
		control |= (u32)(seed >> 40 & 1 ? 0x20 + (seed >> 41 & 3) : seed >> 41 & 0xffff)
			   << 16;
		size = sizes[seed >> 57 & 7];
		addr = addrs[(seed >> 20) % ARRAY_LEN(addrs)];
		control = dma(f, control, size, addr);
		assert_true(control <= FW_CFG_DMA_ERROR);
		ok += control == 0;
		failed += control != 0;
	}
	assert_true(ok > 1000 && failed > 1000);
	assert_true(mem_read(&f->board.mem, BUF - 4096, after, sizeof(after)));
	assert_memory_equal(before, after, sizeof(after));
}

static void state_survives(void **state)
{
	struct fixture *f = *state;

	pick(f, 0x20);
	in8(&f->board, FW_CFG_PORT + 1);
	bus_write(&f->board.ports, FW_CFG_PORT + 4, 0xffffffff, 4);
	board_save_and_load(&f->cfg.dev);
	assert_int_equal(f->cfg.regs.address, 0xffffffff00000000);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 'i');
	/* Any state: no byte is read that is not there. */
	f->cfg.regs = (struct fw_cfg_regs){ .key = 0x20, .offset = 0xffffffff };
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 0);
	assert_int_equal(dma(f, FW_CFG_DMA_READ, 8, BUF), 0);
	assert_int_equal(dma(f, FW_CFG_DMA_SKIP, 8, 0), 0);
	fw_cfg_type.reset(&f->cfg.dev);
	assert_int_equal(in8(&f->board, FW_CFG_PORT + 1), 'Q');
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity),
		TEST(nothing_there),
		TEST(directory_is_sorted),
		TEST(limits),
		TEST(dma_reads),
		TEST(dma_errors),
		TEST(dma_onto_itself),
		TEST(nothing_is_for_writing),
		TEST(made_when_selected),
		TEST(state_survives),
		TEST(hostile_descriptors),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("fw_cfg", tests, NULL, NULL);
}
