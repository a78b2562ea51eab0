/* Hard disks through the ports of the PIIX4's IDE channels. */
#include "dev/ide_test.h"

#define DISK(f, lba) ((f)->disk.data + (u64)(lba)*BLOCK_SECTOR)

static u8 buf[256 * 512];

static void pattern(unsigned size, u8 seed)
{
	for (unsigned i = 0; i < size; i++)
		buf[i] = (u8)(i * 7 + i / 256 + seed);
}

static void identify(struct fixture *f, unsigned unit, u16 *words)
{
	out8(&f->board, PRIMARY + 6, (u8)(0xa0 | unit << 4));
	out_command(f, PRIMARY, 0xec);
	assert_int_equal(alt(f, PRIMARY), DRDY | DSC | DRQ);
	assert_true(f->irq[0].level);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | DRQ);
	assert_false(f->irq[0].level);
	read_data(f, PRIMARY, words, 512);
	assert_int_equal(alt(f, PRIMARY), DRDY | DSC);
}

static void identifies(void **state)
{
	struct fixture *f = *state;
	u16 w[256];
	u8 sum = 0;

	identify(f, 0, w);
	assert_int_equal(w[0], 0x0040);
	assert_int_equal(w[3], 16);
	assert_int_equal(w[6], 63);
	assert_int_equal(w[1], DISK_SIZE / 512 / 16 / 63);
	assert_int_equal(w[60] | (u32)w[61] << 16, DISK_SIZE / 512);
	assert_int_equal(le_load(&w[100], 8), DISK_SIZE / 512);
	assert_memory_equal(&w[27], "NO E", 4);
	assert_memory_equal(&w[10], "NS 1", 4);
	assert_int_equal(w[83] & 0xc400, 0x4400);
	assert_int_equal(w[80], 0x00fe);
	assert_int_equal(w[169], 0x0001); /* TRIM, which drivers believe from version 7 on */
	assert_int_equal(w[106], 0x6003); /* eight logical sectors in a physical one */
	assert_int_equal(w[85] & 0x60, 0x60);
	assert_int_equal(w[88], 0x0007);
	for (unsigned i = 0; i < 512; i++)
		sum += ((u8 *)w)[i];
	assert_int_equal(sum, 0);
	identify(f, 1, w);
	assert_int_equal(le_load(&w[100], 8), 2 * MIB / 512);
}

static void reads_and_writes(void **state)
{
	struct fixture *f = *state;

	set_lba(f, PRIMARY, 0, 100, 20);
	out_command(f, PRIMARY, 0x20);
	for (unsigned i = 0; i < 20; i++) {
		assert_true(f->irq[0].level);
		assert_int_equal(status(f, PRIMARY), DRDY | DSC | DRQ);
		assert_false(f->irq[0].level);
		read_data(f, PRIMARY, buf + 512 * i, 512);
	}
	assert_false(f->irq[0].level);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_memory_equal(buf, DISK(f, 100), 20 * 512);
	assert_int_equal(get_lba(f, PRIMARY), 119);
	assert_int_equal(f->disk.reads, 2); /* read ahead within the command */

	pattern(20 * 512, 1);
	set_lba(f, PRIMARY, 0, 200, 20);
	f->irq[0].rises = 0;
	out_command(f, PRIMARY, 0x30);
	assert_false(f->irq[0].level);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(status(f, PRIMARY), DRDY | DSC | DRQ);
		write_data(f, PRIMARY, buf + 512 * i, 512);
		assert_true(f->irq[0].level);
	}
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_int_equal(f->irq[0].rises, 20);
	assert_memory_equal(DISK(f, 200), buf, 20 * 512);
	assert_int_equal(f->disk.flushes, 0);
}

/* Repeated accesses to the data port stop at the end of each block, and are refused where there is none. */
static void blocks_at_once(void **state)
{
	struct fixture *f = *state;
	struct bus *ports = &f->board.ports;

	assert_int_equal(bus_block(ports, PRIMARY, buf, 2, 256, false), 0);
	set_lba(f, PRIMARY, 0, 100, 2);
	out_command(f, PRIMARY, 0x20);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | DRQ);
	assert_int_equal(bus_block(ports, PRIMARY, buf, 2, 256, true), 0); /* the other way */
	assert_int_equal(bus_block(ports, PRIMARY + 1, buf, 1, 1, false), 0);
	assert_int_equal(bus_block(ports, PRIMARY, buf, 2, 10, false), 10);
	assert_false(f->irq[0].level);
	assert_int_equal(bus_block(ports, PRIMARY, buf + 20, 4, 1000, false), 123);
	assert_true(f->irq[0].level);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | DRQ);
	assert_int_equal(bus_block(ports, PRIMARY, buf + 512, 2, 1000, false), 256);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_int_equal(bus_block(ports, PRIMARY, buf, 2, 1, false), 0);
	assert_memory_equal(buf, DISK(f, 100), 2 * 512);

	pattern(512, 9);
	set_lba(f, PRIMARY, 0, 300, 1);
	out_command(f, PRIMARY, 0x30);
	assert_int_equal(bus_block(ports, PRIMARY, buf, 4, 100, true), 100);
	assert_memory_not_equal(DISK(f, 300), buf, 512);
	assert_int_equal(bus_block(ports, PRIMARY, buf + 400, 2, 57, true), 56);
	assert_true(f->irq[0].level);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_memory_equal(DISK(f, 300), buf, 512);
}

/* 256 sectors for a count of 0; the port by doublewords and bytes; the drive with DEV 1. */
static void widths_and_counts(void **state)
{
	struct fixture *f = *state;

	set_lba(f, PRIMARY, 1, 0, 0);
	out_command(f, PRIMARY, 0x20);
	for (unsigned i = 0; i < 256 * 512; i += 4)
		le_store(buf + i, bus_read(&f->board.ports, PRIMARY, 4), 4);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_memory_equal(buf, f->slave.data, 256 * 512);
	set_lba(f, PRIMARY, 0, 5, 1);
	out_command(f, PRIMARY, 0x21);
	for (unsigned i = 0; i < 512; i++)
		buf[i] = in8(&f->board, PRIMARY);
	assert_memory_equal(buf, DISK(f, 5), 512);
	assert_int_equal(bus_read(&f->board.ports, PRIMARY, 2), 0);
}

static void multiple(void **state)
{
	struct fixture *f = *state;

	set_lba(f, PRIMARY, 0, 10, 7);
	out_command(f, PRIMARY, 0xc4); /* disabled after reset */
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 0x04);
	out8(&f->board, PRIMARY + 2, 3);
	out_command(f, PRIMARY, 0xc6);
	assert_true(status(f, PRIMARY) & ERR);
	out8(&f->board, PRIMARY + 2, 32);
	out_command(f, PRIMARY, 0xc6);
	assert_true(status(f, PRIMARY) & ERR);
	out8(&f->board, PRIMARY + 2, 4);
	out_command(f, PRIMARY, 0xc6);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);

	set_lba(f, PRIMARY, 0, 10, 7);
	f->irq[0].rises = 0;
	out_command(f, PRIMARY, 0xc4);
	status(f, PRIMARY);
	read_data(f, PRIMARY, buf, 4 * 512);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | DRQ);
	read_data(f, PRIMARY, buf + 4 * 512, 3 * 512);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_int_equal(f->irq[0].rises, 2);
	assert_memory_equal(buf, DISK(f, 10), 7 * 512);

	pattern(40 * 512, 2);
	set_lba48(f, PRIMARY, 0, 50, 40);
	f->irq[0].rises = 0;
	out_command(f, PRIMARY, 0xce); /* WRITE MULTIPLE FUA EXT */
	for (unsigned i = 0; i < 10; i++) {
		write_data(f, PRIMARY, buf + 4 * 512 * i, 4 * 512);
		status(f, PRIMARY);
	}
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_int_equal(f->irq[0].rises, 10);
	assert_memory_equal(DISK(f, 50), buf, 40 * 512);
	assert_int_equal(f->disk.flushes, 1);
}

static void lba48(void **state)
{
	struct fixture *f = *state;
	u64 last = DISK_SIZE / 512 - 1;

	set_lba48(f, PRIMARY, 0, last - 1, 2);
	out_command(f, PRIMARY, 0x24);
	read_data(f, PRIMARY, buf, 1024);
	assert_memory_equal(buf, DISK(f, last - 1), 1024);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	/* HOB shows what was written before, until a register is written. */
	set_lba48(f, PRIMARY, 0, 0x112233445566, 0x7788);
	out8(&f->board, PRIMARY + CONTROL, 0x80);
	assert_int_equal(in8(&f->board, PRIMARY + 2), 0x77);
	assert_int_equal(in8(&f->board, PRIMARY + 3), 0x33);
	assert_int_equal(in8(&f->board, PRIMARY + 4), 0x22);
	assert_int_equal(in8(&f->board, PRIMARY + 5), 0x11);
	out_command(f, PRIMARY, 0x24);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 0x10); /* no such sector */
	assert_int_equal(in8(&f->board, PRIMARY + 3), 0x66);
	set_lba48(f, PRIMARY, 0, last, 2);
	out_command(f, PRIMARY, 0x42);
	assert_true(status(f, PRIMARY) & ERR);
	set_lba48(f, PRIMARY, 0, 0, 0);
	out_command(f, PRIMARY, 0x42); /* 65536 sectors: more than there are */
	assert_true(status(f, PRIMARY) & ERR);
	out_command(f, PRIMARY, 0x27);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_int_equal(in8(&f->board, PRIMARY + 3), last & 0xff);
	assert_int_equal(in8(&f->board, PRIMARY + 4), last >> 8);
}

static void chs(struct fixture *f, unsigned c, unsigned h, unsigned s)
{
	out8(&f->board, PRIMARY + 6, (u8)(0xa0 | h));
	out8(&f->board, PRIMARY + 2, 1);
	out8(&f->board, PRIMARY + 3, (u8)s);
	out8(&f->board, PRIMARY + 4, (u8)c);
	out8(&f->board, PRIMARY + 5, (u8)(c >> 8));
	out_command(f, PRIMARY, 0x20);
}

static void translation(void **state)
{
	struct fixture *f = *state;
	u16 w[256];

	chs(f, 2, 3, 5);
	read_data(f, PRIMARY, buf, 512);
	assert_memory_equal(buf, DISK(f, (2 * 16 + 3) * 63 + 4), 512);
	assert_int_equal(in8(&f->board, PRIMARY + 3), 5);
	assert_int_equal(in8(&f->board, PRIMARY + 4), 2);
	assert_int_equal(in8(&f->board, PRIMARY + 6), 0xa3);
	chs(f, 0, 0, 0);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 0x10);
	chs(f, 0, 0, 64);
	assert_true(status(f, PRIMARY) & ERR);
	chs(f, 17, 0, 1);
	assert_true(status(f, PRIMARY) & ERR);

	out8(&f->board, PRIMARY + 6, 0xa0 | 3); /* four heads of 32 sectors */
	out8(&f->board, PRIMARY + 2, 32);
	out_command(f, PRIMARY, 0x91);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	chs(f, 100, 3, 32);
	read_data(f, PRIMARY, buf, 512);
	assert_memory_equal(buf, DISK(f, (100 * 4 + 3) * 32 + 31), 512);
	chs(f, 0, 4, 1);
	assert_true(status(f, PRIMARY) & ERR);
	identify(f, 0, w);
	assert_int_equal(w[54], DISK_SIZE / 512 / 4 / 32);
	assert_int_equal(w[55], 4);
	assert_int_equal(w[56], 32);
	out8(&f->board, PRIMARY + 2, 0);
	out_command(f, PRIMARY, 0x91);
	assert_true(status(f, PRIMARY) & ERR);
}

static void read_error(void **state)
{
	struct fixture *f = *state;

	f->disk.bad = 1005;
	set_lba(f, PRIMARY, 0, 1000, 16);
	out_command(f, PRIMARY, 0x20);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(status(f, PRIMARY), DRDY | DSC | DRQ);
		read_data(f, PRIMARY, buf + 512 * i, 512);
	}
	assert_memory_equal(buf, DISK(f, 1000), 5 * 512);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 0x40);
	assert_int_equal(get_lba(f, PRIMARY), 1005);
	assert_int_equal(f->errors, 1);
	assert_int_equal(f->last_error, EIO);
	set_lba(f, PRIMARY, 0, 900, 200);
	out_command(f, PRIMARY, 0x40);
	assert_true(status(f, PRIMARY) & ERR);
	assert_int_equal(get_lba(f, PRIMARY), 1005);
	set_lba(f, PRIMARY, 0, 900, 100);
	out_command(f, PRIMARY, 0x40);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
}

static void write_error(void **state)
{
	struct fixture *f = *state;

	f->disk.bad = 1003;
	f->disk.error = ENOSPC;
	pattern(8 * 512, 3);
	set_lba48(f, PRIMARY, 0, 1000, 8);
	out_command(f, PRIMARY, 0x34);
	write_data(f, PRIMARY, buf, 8 * 512);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 0x04);
	assert_int_equal(in8(&f->board, PRIMARY + 3), 1003 & 0xff);
	assert_int_equal(in8(&f->board, PRIMARY + 4), 1003 >> 8);
	assert_int_equal(f->last_error, ENOSPC);
	assert_memory_equal(DISK(f, 1000), buf, 3 * 512);
	f->disk.block.readonly = true;
	set_lba(f, PRIMARY, 0, 0, 1);
	out_command(f, PRIMARY, 0x30);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 0x04);
}

static void features(struct fixture *f, u8 feature, u8 count)
{
	out8(&f->board, PRIMARY + 6, 0xe0);
	out8(&f->board, PRIMARY + 1, feature);
	out8(&f->board, PRIMARY + 2, count);
	out_command(f, PRIMARY, 0xef);
}

static void flushes(void **state)
{
	struct fixture *f = *state;
	u16 w[256];

	out_command(f, PRIMARY, 0xe7);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	out_command(f, PRIMARY, 0xea);
	assert_int_equal(f->disk.flushes, 2);
	features(f, 0x82, 0); /* write cache off: what it holds is written */
	assert_int_equal(f->disk.flushes, 3);
	identify(f, 0, w);
	assert_int_equal(w[85] & 0x20, 0);
	set_lba(f, PRIMARY, 0, 0, 1);
	out_command(f, PRIMARY, 0x30);
	write_data(f, PRIMARY, buf, 512);
	assert_int_equal(f->disk.flushes, 4);
	f->disk.bad_flush = true;
	set_lba(f, PRIMARY, 0, 0, 1);
	out_command(f, PRIMARY, 0x30);
	write_data(f, PRIMARY, buf, 512);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	out_command(f, PRIMARY, 0xe7);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
	assert_int_equal(f->errors, 2);
}

static void settings(void **state)
{
	struct fixture *f = *state;
	u16 w[256];

	features(f, 0x03, 0x42);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	identify(f, 0, w);
	assert_int_equal(w[88], 0x0407);
	features(f, 0x03, 0x22);
	identify(f, 0, w);
	assert_int_equal(w[88], 0x0007);
	assert_int_equal(w[63], 0x0407);
	features(f, 0x03, 0x45); /* faster than the cable allows */
	assert_true(status(f, PRIMARY) & ERR);
	features(f, 0x99, 0);
	assert_true(status(f, PRIMARY) & ERR);
	out_command(f, PRIMARY, 0xe0);
	out_command(f, PRIMARY, 0xe5);
	assert_int_equal(in8(&f->board, PRIMARY + 2), 0);
	out_command(f, PRIMARY, 0xe1);
	out_command(f, PRIMARY, 0xe5);
	assert_int_equal(in8(&f->board, PRIMARY + 2), 0xff);
	static const u8 unknown[] = { 0x00, 0xb0, 0xf9, 0x37, 0xa0, 0xa1, 0x08, 0x22, 0xf6 };
	for (unsigned i = 0; i < sizeof(unknown); i++) {
		out_command(f, PRIMARY, unknown[i]);
		assert_int_equal(status(f, PRIMARY), DRDY | DSC | ERR);
		assert_int_equal(in8(&f->board, PRIMARY + 1), 0x04);
	}
	static const u8 known[] = { 0x10, 0x70, 0xe2, 0xe3, 0xf8 };
	set_lba(f, PRIMARY, 0, 7, 1);
	for (unsigned i = 0; i < sizeof(known); i++) {
		out_command(f, PRIMARY, known[i]);
		assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	}
	assert_int_equal(get_lba(f, PRIMARY), DISK_SIZE / 512 - 1);
	/* Asleep until a reset. */
	out_command(f, PRIMARY, 0xe6);
	status(f, PRIMARY);
	out_command(f, PRIMARY, 0xec);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	out8(&f->board, PRIMARY + CONTROL, 0x04);
	out8(&f->board, PRIMARY + CONTROL, 0x00);
	identify(f, 0, w);
}

static void resets(void **state)
{
	struct fixture *f = *state;

	set_lba(f, PRIMARY, 1, 3, 4);
	out_command(f, PRIMARY, 0x20);
	assert_true(f->irq[0].level);
	out8(&f->board, PRIMARY + CONTROL, 0x04);
	assert_false(f->irq[0].level);
	assert_int_equal(alt(f, PRIMARY), BSY);
	out_command(f, PRIMARY, 0xec);
	out8(&f->board, PRIMARY + CONTROL, 0x00);
	assert_int_equal(alt(f, PRIMARY), DRDY | DSC);
	for (unsigned unit = 0; unit < 2; unit++) {
		out8(&f->board, PRIMARY + 6, (u8)(unit << 4));
		assert_int_equal(in8(&f->board, PRIMARY + 1), 1);
		assert_int_equal(in8(&f->board, PRIMARY + 2), 1);
		assert_int_equal(in8(&f->board, PRIMARY + 3), 1);
		assert_int_equal(in8(&f->board, PRIMARY + 4), 0);
		assert_int_equal(in8(&f->board, PRIMARY + 5), 0);
	}
	out_command(f, PRIMARY, 0x90);
	assert_int_equal(in8(&f->board, PRIMARY + 6), 0);
	assert_int_equal(in8(&f->board, PRIMARY + 1), 1);
	assert_true(f->irq[0].level);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	/* nIEN holds the line; what was pending comes through afterwards. */
	out8(&f->board, PRIMARY + CONTROL, 0x02);
	out_command(f, PRIMARY, 0xe1);
	assert_false(f->irq[0].level);
	out8(&f->board, PRIMARY + CONTROL, 0x00);
	assert_true(f->irq[0].level);
	out8(&f->board, PRIMARY + 6, 0x10); /* the line is that of the selected drive */
	assert_false(f->irq[0].level);
}

static void absent(void **state)
{
	struct fixture *f = *state;

	/* The secondary channel has a drive 0 alone. */
	out8(&f->board, SECONDARY + 6, 0xb0);
	assert_int_equal(status(f, SECONDARY), 0);
	assert_int_equal(alt(f, SECONDARY), 0);
	out8(&f->board, SECONDARY + 2, 0x55);
	assert_int_equal(in8(&f->board, SECONDARY + 2), 0);
	out_command(f, SECONDARY, 0xec);
	assert_int_equal(status(f, SECONDARY), 0);
	assert_int_equal(bus_read(&f->board.ports, SECONDARY, 2), 0);
	out8(&f->board, SECONDARY + 6, 0xa0);
	assert_int_equal(in8(&f->board, SECONDARY + 6), 0xa0);
	/* Nobody at all. */
	f->ide.channel[1].ata.drive[0].kind = ATA_NONE;
	assert_int_equal(status(f, SECONDARY), 0x7f);
	assert_int_equal(in8(&f->board, SECONDARY + 2), 0x7f);
	out_command(f, SECONDARY, 0xec);
	assert_int_equal(f->irq[1].rises, 0);
	f->ide.channel[1].ata.drive[0].kind = ATA_CDROM;
}

/* A command that is given up in the middle, and one written while a transfer waits for DMA. */
static void gives_up(void **state)
{
	struct fixture *f = *state;

	set_lba(f, PRIMARY, 0, 3, 4);
	out_command(f, PRIMARY, 0x30);
	write_data(f, PRIMARY, buf, 100);
	out_command(f, PRIMARY, 0x20);
	read_data(f, PRIMARY, buf, 512);
	assert_memory_equal(buf, DISK(f, 3), 512);
	out8(&f->board, PRIMARY + 6, 0xf0);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	assert_int_equal(bus_read(&f->board.ports, PRIMARY, 2), 0); /* not this drive's data */
	out_command(f, PRIMARY, 0xe1);
	out8(&f->board, PRIMARY + 6, 0xe0);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
	out_command(f, PRIMARY, 0xc8);
	assert_true(status(f, PRIMARY) & BSY);
	out_command(f, PRIMARY, 0xec);
	out8(&f->board, PRIMARY + 6, 0xf0);
	assert_true(status(f, PRIMARY) & BSY);
	assert_int_equal(f->disk.writes, 0);
}

static void saves_in_the_middle(void **state)
{
	struct fixture *f = *state;

	set_lba(f, PRIMARY, 0, 64, 40);
	out_command(f, PRIMARY, 0x20);
	read_data(f, PRIMARY, buf, 700);
	board_save_and_load(&f->ide.dev);
	for (unsigned i = 700; i < 40 * 512; i += 4)
		le_store(buf + i, bus_read(&f->board.ports, PRIMARY, 4), 4);
	assert_memory_equal(buf, DISK(f, 64), 40 * 512);
	assert_int_equal(status(f, PRIMARY), DRDY | DSC);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ide_setup, ide_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identifies),
		TEST(reads_and_writes),
		TEST(blocks_at_once),
		TEST(widths_and_counts),
		TEST(multiple),
		TEST(lba48),
		TEST(translation),
		TEST(read_error),
		TEST(write_error),
		TEST(flushes),
		TEST(settings),
		TEST(resets),
		TEST(absent),
		TEST(gives_up),
		TEST(saves_in_the_middle),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ata_disk", tests, NULL, NULL);
}
