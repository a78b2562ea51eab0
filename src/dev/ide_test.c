/* The PIIX4's IDE function: configuration space, and bus-master DMA with lists of every kind. */
#include "dev/ide_test.h"

#define DISK(f, lba) ((f)->disk.data + (u64)(lba)*BLOCK_SECTOR)
#define LIST         0x1000u
#define DATA         0x100000u

static u8 buf[4 * MIB];

static u32 config_read(struct fixture *f, unsigned offset, unsigned size)
{
	return pci_config_read(&f->bus, f->ide.func.devfn, offset, size);
}

static void ram_read(struct fixture *f, u32 addr, void *to, unsigned size)
{
	assert_true(mem_read(&f->board.mem, addr, to, size));
}

static void place(void **state)
{
	struct fixture *f = *state;

	piix4_ide_type.reset(&f->ide.dev);
	assert_int_equal(config_read(f, 0, 4), 0x71118086);
	assert_int_equal(config_read(f, 8, 4) >> 8, 0x010180);
	assert_int_equal(config_read(f, 0x20, 4), 1);
	assert_int_equal(config_read(f, 0x3c, 2), 0);
	assert_int_equal(f->board.ports.count, 0);
	config_write(f, 0x40, 0xffffffff, 4);
	assert_int_equal(config_read(f, 0x40, 4), 0xf3fff3ff);
	assert_int_equal(f->board.ports.count, 0);
	config_write(f, PCI_COMMAND, 0xffff, 2);
	assert_int_equal(config_read(f, PCI_COMMAND, 2), 0x0005);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	config_write(f, 0x40, 0x7fff, 2);
	assert_int_equal(status(f, PRIMARY), 0xff);
	assert_int_equal(status(f, SECONDARY), 0);
	config_write(f, 0x44, 0xffffffff, 4);
	config_write(f, 0x48, 0xffffffff, 4);
	assert_int_equal(config_read(f, 0x44, 4), 0xff);
	assert_int_equal(config_read(f, 0x48, 4), 0x3333000f);
}

static void bus_master_registers(void **state)
{
	struct fixture *f = *state;

	bus_write(&f->board.ports, BM + 12, 0x12345677, 4);
	assert_int_equal(bus_read(&f->board.ports, BM + 12, 4), 0x12345674);
	assert_int_equal(bus_read(&f->board.ports, BM + 4, 4), 0);
	bus_write(&f->board.ports, BM + 2, 0xff, 1);
	assert_int_equal(bm_status(f, 0), 0x60);
	bus_write(&f->board.ports, BM, 0xff, 1);
	assert_int_equal(in8(&f->board, BM), 0x09);
	assert_int_equal(bm_status(f, 0), 0x61);
	bus_write(&f->board.ports, BM, 0, 1);
	assert_int_equal(bm_status(f, 0), 0x60);
	assert_int_equal(bm_status(f, 1), 0);
}

static void reads(void **state)
{
	struct fixture *f = *state;

	put_prd(f, LIST, 0, DATA + 0x10, 510, false);
	put_prd(f, LIST, 1, DATA + 0x10000, 2, false);
	put_prd(f, LIST, 2, DATA + 0x20000, 1024, true);
	set_lba(f, PRIMARY, 0, 77, 3);
	out_command(f, PRIMARY, 0xc8);
	assert_true(alt(f, PRIMARY) & BSY);
	assert_false(f->irq[0].level);
	start_dma(f, 0, LIST, true);
	assert_true(f->irq[0].level);
	assert_int_equal(bm_status(f, 0), 0x04);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	ram_read(f, DATA + 0x10, buf, 510);
	ram_read(f, DATA + 0x10000, buf + 510, 2);
	ram_read(f, DATA + 0x20000, buf + 512, 1024);
	assert_memory_equal(buf, DISK(f, 77), 1536);
	ram_read(f, DATA + 0x10 + 510, buf, 8);
	assert_int_equal(le_load(buf, 8), 0);
}

/* 2048 sectors, most in regions of 64 KiB (byte count 0), with the engine started before the command. */
static void reads_much(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 16; i++)
		put_prd(f, LIST, i, DATA + 0x10000 * i, 0, i == 15);
	start_dma(f, 0, LIST, true);
	assert_int_equal(bm_status(f, 0), 0x01);
	set_lba48(f, PRIMARY, 0, 1000, 2048);
	out_command(f, PRIMARY, 0x25);
	assert_int_equal(bm_status(f, 0), 0x04);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	ram_read(f, DATA, buf, 1 * MIB);
	assert_memory_equal(buf, DISK(f, 1000), 1 * MIB);
}

static void writes(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 300 * 512; i++)
		buf[i] = (u8)(i * 13 + i / 512);
	assert_true(mem_write(&f->board.mem, DATA, buf, 300 * 512));
	put_prd(f, LIST, 0, DATA, 0, false);
	put_prd(f, LIST, 1, DATA + 0x10000, 300 * 512 - 0x20000, false);
	put_prd(f, LIST, 2, DATA + 300 * 512 - 0x10000, 0, true);
	set_lba48(f, PRIMARY, 0, 4000, 300);
	out_command(f, PRIMARY, 0x3d); /* FUA */
	start_dma(f, 0, LIST, false);
	assert_int_equal(bm_status(f, 0), 0x04);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_memory_equal(DISK(f, 4000), buf, 300 * 512);
	assert_int_equal(f->disk.flushes, 1);
	f->disk.bad = 4100;
	memset(DISK(f, 4000), 0, 300 * 512);
	set_lba48(f, PRIMARY, 0, 4000, 300);
	out_command(f, PRIMARY, 0x35);
	start_dma(f, 0, LIST, false);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_memory_equal(DISK(f, 4000), buf, 100 * 512);
	assert_int_equal(in8(&f->board, PRIMARY + 3), 4100 & 0xff);
	f->disk.bad = 4102;
	set_lba48(f, PRIMARY, 0, 4100, 5);
	out_command(f, PRIMARY, 0x25);
	start_dma(f, 0, LIST, true);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 0x40);
	assert_int_equal(in8(&f->board, PRIMARY + 3), 4102 & 0xff);
}

/* Table 5.4.2 of the status register: a list that is longer than the command, and one that is shorter. */
static void lengths(void **state)
{
	struct fixture *f = *state;

	put_prd(f, LIST, 0, DATA, 4096, true);
	set_lba(f, PRIMARY, 0, 1, 2);
	out_command(f, PRIMARY, 0xc8);
	start_dma(f, 0, LIST, true);
	assert_int_equal(bm_status(f, 0), 0x05);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	bus_write(&f->board.ports, BM, 0, 1);
	assert_int_equal(bm_status(f, 0), 0x04);

	set_lba(f, PRIMARY, 0, 1, 9);
	out_command(f, PRIMARY, 0xc8);
	start_dma(f, 0, LIST, true);
	assert_int_equal(bm_status(f, 0), 0x00);
	assert_true(alt(f, PRIMARY) & BSY);
	assert_false(f->irq[0].level);
	start_dma(f, 0, LIST, true);
	assert_true(alt(f, PRIMARY) & BSY);
	out8(&f->board, PRIMARY + CONTROL, 0x04);
	out8(&f->board, PRIMARY + CONTROL, 0x00);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
}

static void not_allowed(void **state)
{
	struct fixture *f = *state;

	put_prd(f, LIST, 0, DATA, 512, true);
	config_write(f, PCI_COMMAND, PCI_COMMAND_IO, 2);
	set_lba(f, PRIMARY, 0, 1, 1);
	out_command(f, PRIMARY, 0xc8);
	start_dma(f, 0, LIST, true);
	assert_true(alt(f, PRIMARY) & BSY);
	config_write(f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	/* The other direction than the command's. */
	set_lba(f, PRIMARY, 0, 1, 1);
	out_command(f, PRIMARY, 0xca);
	start_dma(f, 0, LIST, true);
	assert_true(alt(f, PRIMARY) & BSY);
	assert_int_equal(f->disk.writes, 0);
	start_dma(f, 0, LIST, false);
	assert_int_equal(f->disk.writes, 1);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
}

static void hostile(struct fixture *f, u32 table)
{
	set_lba48(f, PRIMARY, 0, 0, 8192);
	out_command(f, PRIMARY, 0x25);
	start_dma(f, 0, table, true);
	assert_true(alt(f, PRIMARY) & BSY);
	assert_int_equal(bm_status(f, 0), 0x02);
	bus_write(&f->board.ports, BM, 0, 1);
	out8(&f->board, PRIMARY + CONTROL, 0x04);
	out8(&f->board, PRIMARY + CONTROL, 0x00);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
}

/* Lists that lie nowhere, lead nowhere, never end, overwrite themselves. */
static void hostile_lists(void **state)
{
	struct fixture *f = *state;

	hostile(f, 0xfffffff8);
	hostile(f, TEST_RAM);
	put_prd(f, LIST, 0, 0xfffffffe, 512, true);
	hostile(f, LIST);
	put_prd(f, LIST, 0, 0xc000, 4, false);
	put_prd(f, LIST, 1, TEST_RAM - 2, 4, true); /* beyond RAM by two bytes */
	hostile(f, LIST);
	for (unsigned i = 0; i < 8192; i++)
		put_prd(f, 0x20000, i, DATA, 2, false);
	hostile(f, 0x20000); /* crosses 64 KiB: ends */
	put_prd(f, 0x3fff8, 0, DATA, 2, false);
	hostile(f, 0x3fff8);
	/* A region on the list itself: the second descriptor is what the disk has there. */
	le_store(DISK(f, 0) + 8, 0x200000000, 8);
	for (unsigned i = 16; i < 4096; i += 8)
		le_store(DISK(f, 0) + i, 0x20ffffff0, 8);
	put_prd(f, LIST, 0, LIST, 4096, false);
	hostile(f, LIST);
}

static void wait_for_disk(struct fixture *f) { block_drain(&f->disk.block); }

/* Requests are served beside the guest. */
static void threaded(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(block_thread_start(&f->disk.block), 0);
	for (unsigned i = 0; i < 16; i++)
		put_prd(f, LIST, i, DATA + 0x10000 * i, 0, i == 15);
	set_lba48(f, PRIMARY, 0, 1000, 2048);
	out_command(f, PRIMARY, 0x25);
	start_dma(f, 0, LIST, true);
	wait_for_disk(f);
	assert_int_equal(bm_status(f, 0), 0x04);
	ram_read(f, DATA, buf, 1 * MIB);
	assert_memory_equal(buf, DISK(f, 1000), 1 * MIB);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	/* Resets with a request in flight: nothing of it reaches memory. */
	memset(buf, 0, 1 * MIB);
	assert_true(mem_write(&f->board.mem, DATA, buf, 1 * MIB));
	for (unsigned i = 0; i < 20; i++) {
		set_lba48(f, PRIMARY, 0, 1000, 2048);
		out_command(f, PRIMARY, 0x25);
		start_dma(f, 0, LIST, true);
		assert_true(alt(f, PRIMARY) & BSY);
		if (i % 3 == 0) {
			out8(&f->board, PRIMARY + CONTROL, 0x04);
			out8(&f->board, PRIMARY + CONTROL, 0x00);
		} else if (i % 3 == 1) {
			piix4_ide_type.reset(&f->ide.dev);
			enable(f);
		} else {
			board_save_and_load(&f->ide.dev);
			out8(&f->board, PRIMARY + CONTROL, 0x04);
			out8(&f->board, PRIMARY + CONTROL, 0x00);
		}
		assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	}
	ram_read(f, DATA, buf, 1 * MIB);
	for (unsigned i = 0; i < 1 * MIB; i++)
		assert_int_equal(buf[i], 0);
	set_lba(f, PRIMARY, 0, 9, 2);
	out_command(f, PRIMARY, 0x20);
	wait_for_disk(f);
	read_data(f, PRIMARY, buf, 1024);
	assert_memory_equal(buf, DISK(f, 9), 1024);
	/* fini with a request in flight */
	out_command(f, PRIMARY, 0x40);
}

/* The medium is read ahead; an error before what has been read counts, and what was read is dropped. */
static void reads_ahead(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(block_thread_start(&f->disk.block), 0);
	for (unsigned i = 0; i < 16; i++)
		put_prd(f, LIST, i, DATA + 0x10000 * i, 0, i == 15);
	for (u32 bad = 0; bad < 2048; bad += 511) {
		f->disk.bad = 1000 + bad;
		set_lba48(f, PRIMARY, 0, 1000, 2048);
		out_command(f, PRIMARY, 0x25);
		start_dma(f, 0, LIST, true);
		wait_for_disk(f);
		assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
		assert_int_equal(in8(&f->board, PRIMARY + 3), (1000 + bad) & 0xff);
		assert_int_equal(in8(&f->board, PRIMARY + 4), (1000 + bad) >> 8);
		ram_read(f, DATA, buf, bad * 512);
		assert_memory_equal(buf, DISK(f, 1000), bad * 512);
		assert_int_equal(bm_status(f, 0), 0x05);
	}
	set_lba48(f, PRIMARY, 0, 4000, 2048);
	out_command(f, PRIMARY, 0x25);
	start_dma(f, 0, LIST, true);
	wait_for_disk(f);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	ram_read(f, DATA, buf, 1 * MIB);
	assert_memory_equal(buf, DISK(f, 4000), 1 * MIB);
	/* A list that ends while more is read. */
	put_prd(f, LIST, 4, DATA, 0, true);
	set_lba48(f, PRIMARY, 0, 4000, 2048);
	out_command(f, PRIMARY, 0x25);
	start_dma(f, 0, LIST, true);
	wait_for_disk(f);
	assert_true(alt(f, PRIMARY) & BSY);
	out8(&f->board, PRIMARY + CONTROL, 0x04);
	out8(&f->board, PRIMARY + CONTROL, 0x00);
}

static void trims(void **state)
{
	struct fixture *f = *state;
	u64 ranges[64] = { 100 | 8ull << 48, 0, 200 | 16ull << 48 };

	assert_true(mem_write(&f->board.mem, DATA, ranges, 512));
	put_prd(f, LIST, 0, DATA, 512, true);
	set_lba48(f, PRIMARY, 0, 0, 1);
	out8(&f->board, PRIMARY + 1, 1);
	out_command(f, PRIMARY, 0x06);
	start_dma(f, 0, LIST, false);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_int_equal(bm_status(f, 0), 0x04);
	assert_int_equal(f->disk.discards, 2);
	assert_int_equal(f->disk.discarded, 24 * 512);
	ranges[63] = (DISK_SIZE / 512 - 1) | 2ull << 48;
	assert_true(mem_write(&f->board.mem, DATA, ranges, 512));
	out_command(f, PRIMARY, 0x06);
	start_dma(f, 0, LIST, false);
	assert_true(status(f, PRIMARY) & ERR);
	assert_int_equal(f->disk.discards, 2);
	f->disk.block.readonly = true;
	out_command(f, PRIMARY, 0x06);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
}

/* A saved state in which DMA has not started goes on where it was. */
static void saves_before_dma(void **state)
{
	struct fixture *f = *state;

	put_prd(f, LIST, 0, DATA, 1024, true);
	set_lba(f, PRIMARY, 0, 33, 2);
	out_command(f, PRIMARY, 0xc8);
	board_save_and_load(&f->ide.dev);
	assert_true(alt(f, PRIMARY) & BSY);
	start_dma(f, 0, LIST, true);
	ram_read(f, DATA, buf, 1024);
	assert_memory_equal(buf, DISK(f, 33), 1024);
	board_save_and_load(&f->ide.dev);
	assert_true(f->irq[0].level);
	assert_int_equal(bm_status(f, 0), 0x04);
}

/* Any bytes in any field, and any access: nothing happens to the monitor. */
static void survives(void **state)
{
	struct fixture *f = *state;
	const struct state_desc *d = piix4_ide_type.regs;
	u64 seed = TEST_SEED;

	for (unsigned i = 0; i < 60000; i++) {
		u32 r = (u32)(test_random(&seed) >> 20);
		u16 port = (r & 64 ? PRIMARY : SECONDARY) + (r >> 8 & 7);

		if (r % 64 == 0) {
			const struct state_field *s = &d->fields[(r >> 8) % d->count];
			u8 *at = (u8 *)&f->ide.regs + s->offset;

			for (unsigned n = 0; n < s->size * s->count && n < 64; n++)
				at[n] = s->is_bool ? r >> 30 & 1 : (u8)(seed >> (n % 8 * 7));
			piix4_ide_type.loaded(&f->ide.dev);
			enable(f);
		} else if (r % 64 < 4) {
			bus_write(&f->board.ports, BM + (r >> 8 & 15), r >> 12, 1 << (r >> 28 & 1));
		} else if (r % 64 < 32) {
			bus_write(&f->board.ports, port, seed >> 32, 1 << (r >> 28) % 3);
		} else {
			bus_read(&f->board.ports, port, 1 << (r >> 28) % 3);
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ide_setup, ide_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(place),       TEST(bus_master_registers),
		TEST(reads),       TEST(reads_much),
		TEST(writes),      TEST(lengths),
		TEST(not_allowed), TEST(hostile_lists),
		TEST(threaded),    TEST(reads_ahead),
		TEST(trims),       TEST(saves_before_dma),
		TEST(survives),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ide", tests, NULL, NULL);
}
