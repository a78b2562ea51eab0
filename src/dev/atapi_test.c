/* CD-ROM drive through the ports of the secondary channel. */
#include "dev/ide_test.h"

#define CD_BLOCKS (CD_SIZE / 2048)
#define LIST      0x1000u
#define DATA      0x100000u

static u8 buf[512 * KIB];

static u16 get16(const u8 *p) { return (u16)(p[0] << 8 | p[1]); }

static u32 get32(const u8 *p) { return (u32)get16(p) << 16 | get16(p + 2); }

/* Gives the drive a packet; what it has to say afterwards is there to be read. */
static void send(struct fixture *f, const u8 *packet, u16 limit, bool dma)
{
	out8(&f->board, SECONDARY + 6, 0xa0);
	out8(&f->board, SECONDARY + 1, dma);
	out8(&f->board, SECONDARY + 4, (u8)limit);
	out8(&f->board, SECONDARY + 5, (u8)(limit >> 8));
	f->irq[1].rises = 0;
	out_command(f, SECONDARY, 0xa0);
	assert_int_equal(status(f, SECONDARY), DRDY | DRQ);
	assert_int_equal(in8(&f->board, SECONDARY + 2), 1);
	assert_int_equal(f->irq[1].rises, 0);
	write_data(f, SECONDARY, packet, 12);
}

/* Takes what the drive has; returns its size. */
static unsigned receive(struct fixture *f, unsigned limit)
{
	unsigned size = 0, n;

	while (status(f, SECONDARY) & DRQ) {
		assert_int_equal(in8(&f->board, SECONDARY + 2), 2);
		n = in8(&f->board, SECONDARY + 4) | (u32)in8(&f->board, SECONDARY + 5) << 8;
		assert_true(n > 0 && n <= limit && size + n <= sizeof(buf));
		read_data(f, SECONDARY, buf + size, n);
		size += n;
		assert_true(f->irq[1].level);
	}
	assert_int_equal(in8(&f->board, SECONDARY + 2), 3);
	return size;
}

static unsigned packet(struct fixture *f, const u8 *p)
{
	send(f, p, 2048, false);
	return receive(f, 2048);
}

#define PACKET(f, ...) packet((f), (const u8[12]){ __VA_ARGS__ })

/* Sense of the last command, as key, ASC, ASCQ. */
static u32 sense(struct fixture *f)
{
	assert_int_equal(PACKET(f, 0x03, 0, 0, 0, 18), 18);
	assert_int_equal(buf[0], 0x70);
	return (u32)buf[2] << 16 | (u32)buf[12] << 8 | buf[13];
}

static void expect_sense(struct fixture *f, u32 value)
{
	assert_int_equal(status(f, SECONDARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, SECONDARY + 1), (value >> 16) << 4 | 4);
	assert_int_equal(sense(f), value);
	assert_int_equal(sense(f), 0);
}

static int setup(void **state)
{
	int r = ide_setup(state);
	struct fixture *f = *state;

	PACKET(f, 0x00); /* the unit attention of power-on */
	expect_sense(f, 0x062900);
	assert_int_equal(PACKET(f, 0x00), 0);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
	return r;
}

static void identifies(void **state)
{
	struct fixture *f = *state;
	u16 w[256];

	out_command(f, SECONDARY, 0xec);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC | ERR);
	assert_int_equal(in8(&f->board, SECONDARY + 4), 0x14);
	assert_int_equal(in8(&f->board, SECONDARY + 5), 0xeb);
	out_command(f, SECONDARY, 0xa1);
	assert_true(f->irq[1].level);
	read_data(f, SECONDARY, w, 512);
	assert_int_equal(w[0], 0x85c0);
	assert_memory_equal(&w[27], "OPOGC -DOR M", 12);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
	out8(&f->board, SECONDARY + CONTROL, 0x04);
	out8(&f->board, SECONDARY + CONTROL, 0x00);
	assert_int_equal(status(f, SECONDARY), 0);
	assert_int_equal(in8(&f->board, SECONDARY + 4), 0x14);
	assert_int_equal(in8(&f->board, SECONDARY + 5), 0xeb);
}

static void inquires(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(PACKET(f, 0x12, 0, 0, 0, 36), 36);
	assert_int_equal(buf[0], 0x05);
	assert_int_equal(buf[1], 0x80);
	assert_memory_equal(buf + 8, "POGO    CD-ROM          1.0 ", 28);
	assert_int_equal(PACKET(f, 0x12, 0, 0, 0, 5), 5);
	assert_int_equal(f->irq[1].rises, 2); /* data, end */
	assert_int_equal(PACKET(f, 0x12, 0, 0, 0, 0), 0);
	assert_int_equal(PACKET(f, 0x12, 1, 0, 0, 36), 0);
	expect_sense(f, 0x052400);
	PACKET(f, 0x5d);
	expect_sense(f, 0x052000);
}

static void reads(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(PACKET(f, 0x25), 8);
	assert_int_equal(get32(buf), CD_BLOCKS - 1);
	assert_int_equal(get32(buf + 4), 2048);
	assert_int_equal(PACKET(f, 0x28, 0, 0, 0, 0, 16, 0, 0, 9), 9 * 2048);
	assert_memory_equal(buf, f->cd.data + 16 * 2048, 9 * 2048);
	assert_int_equal(f->irq[1].rises, 10);
	assert_int_equal(PACKET(f, 0xa8, 0, 0, 0, 1, 0, 0, 0, 0, 3), 3 * 2048);
	assert_memory_equal(buf, f->cd.data + 256 * 2048, 3 * 2048);
	assert_int_equal(PACKET(f, 0x28, 0, 0, 0, 0, 16, 0, 0, 0), 0);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
	/* A byte count limit that divides no block, an odd one, and none at all. */
	static const u16 limits[] = { 1000, 777, 0xffff, 0 };
	for (unsigned i = 0; i < 4; i++) {
		memset(buf, 0, sizeof(buf));
		send(f, (const u8[12]){ 0x28, 0, 0, 0, 0, 7, 0, 0, 11 }, limits[i], false);
		assert_int_equal(receive(f, limits[i] ? limits[i] : 0xfffe), 11 * 2048);
		assert_memory_equal(buf, f->cd.data + 7 * 2048, 11 * 2048);
	}
	PACKET(f, 0x28, 0, 0, 0, CD_BLOCKS >> 8, CD_BLOCKS & 0xff, 0, 0, 1);
	expect_sense(f, 0x052100);
	PACKET(f, 0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff);
	expect_sense(f, 0x052100);
	PACKET(f, 0x2b, 0, 0, 0, 0, 0xff);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
	PACKET(f, 0x2b, 0, 0, 0, 0xff);
	expect_sense(f, 0x052100);
}

static void reads_cd(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(PACKET(f, 0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0x10), 2 * 2048);
	assert_memory_equal(buf, f->cd.data + 9 * 2048, 2 * 2048);
	assert_int_equal(PACKET(f, 0xb9, 0x08, 0, 0, 2, 20, 0, 2, 22, 0x10), 2 * 2048);
	assert_memory_equal(buf, f->cd.data + 20 * 2048, 2 * 2048);
	assert_int_equal(PACKET(f, 0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0), 0);
	PACKET(f, 0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0xf8);
	expect_sense(f, 0x052400);
	PACKET(f, 0xbe, 0x04, 0, 0, 0, 9, 0, 0, 2, 0x10); /* as audio */
	expect_sense(f, 0x056400);
	PACKET(f, 0xb9, 0, 0, 0, 2, 20, 0, 2, 19, 0x10);
	expect_sense(f, 0x052400);
	PACKET(f, 0xb9, 0, 0, 0, 0, 0, 0, 0, 9, 0x10); /* before block 0 */
	expect_sense(f, 0x052100);
	PACKET(f, 0x45, 0, 0, 0, 0, 0, 0, 0, 1);
	expect_sense(f, 0x056400);
}

static void reads_by_dma(void **state)
{
	struct fixture *f = *state;

	put_prd(f, LIST, 0, DATA, 0, false);
	put_prd(f, LIST, 1, DATA + 0x10000, 0, false);
	put_prd(f, LIST, 2, DATA + 0x20000, 0, false);
	put_prd(f, LIST, 3, DATA + 0x30000, 0, false);
	put_prd(f, LIST, 4, DATA + 0x40000, 0, true);
	send(f, (const u8[12]){ 0x28, 0, 0, 0, 0, 3, 0, 0, 160 }, 0, true);
	assert_int_equal(f->irq[1].rises, 0);
	start_dma(f, 1, LIST, true);
	assert_int_equal(bm_status(f, 1), 0x04);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
	assert_int_equal(in8(&f->board, SECONDARY + 2), 3);
	assert_true(mem_read(&f->board.mem, DATA, buf, 160 * 2048));
	assert_memory_equal(buf, f->cd.data + 3 * 2048, 160 * 2048);
	/* A reply from the drive itself. */
	send(f, (const u8[12]){ 0x12, 0, 0, 0, 36 }, 0, true);
	start_dma(f, 1, LIST, true);
	assert_int_equal(bm_status(f, 1), 0x05);
	assert_true(mem_read(&f->board.mem, DATA, buf, 36));
	assert_memory_equal(buf + 8, "POGO", 4);
	bus_write(&f->board.ports, BM + 8, 0, 1);
	/* A bad sector. */
	f->cd.bad = 50 * 4 + 1;
	send(f, (const u8[12]){ 0x28, 0, 0, 0, 0, 48, 0, 0, 4 }, 0, true);
	start_dma(f, 1, LIST, true);
	expect_sense(f, 0x031100);
	assert_int_equal(f->errors, 1);
	assert_true(mem_read(&f->board.mem, DATA, buf, 4096));
	assert_memory_equal(buf, f->cd.data + 48 * 2048, 4096);
}

static void table_of_contents(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(PACKET(f, 0x43, 0, 0, 0, 0, 0, 0, 1, 0), 20);
	assert_int_equal(get16(buf), 18);
	assert_int_equal(get16(buf + 2), 0x0101);
	assert_int_equal(get32(buf + 4), 0x00140100);
	assert_int_equal(get32(buf + 8), 0);
	assert_int_equal(get32(buf + 12), 0x0014aa00);
	assert_int_equal(get32(buf + 16), CD_BLOCKS);
	assert_int_equal(PACKET(f, 0x43, 2, 0, 0, 0, 0, 0xaa, 1, 0), 12);
	assert_int_equal(get32(buf + 8), 0x00000b19); /* 700 + 150 frames: 11 s 25 */
	assert_int_equal(PACKET(f, 0x43, 0, 1, 0, 0, 0, 0, 1, 0), 12);
	assert_int_equal(get16(buf + 2), 0x0101);
	assert_int_equal(PACKET(f, 0x43, 0, 0, 0, 0, 0, 0, 1, 0, 0x40), 12);
	assert_int_equal(PACKET(f, 0x43, 0, 2, 0, 0, 0, 0, 1, 0), 48);
	assert_int_equal(buf[4 + 3], 0xa0);
	assert_int_equal(buf[4 + 22 + 9], 11);
	assert_int_equal(PACKET(f, 0x43, 0, 0, 0, 0, 0, 0, 0, 4), 4);
	assert_int_equal(get16(buf), 18);
	PACKET(f, 0x43, 0, 0, 0, 0, 0, 2, 1, 0);
	expect_sense(f, 0x052400);
	PACKET(f, 0x43, 0, 5, 0, 0, 0, 0, 1, 0);
	expect_sense(f, 0x052400);
	assert_int_equal(PACKET(f, 0x51, 0, 0, 0, 0, 0, 0, 1, 0), 34);
	assert_int_equal(PACKET(f, 0x52, 1, 0, 0, 0, 1, 0, 1, 0), 36);
	assert_int_equal(get32(buf + 24), CD_BLOCKS);
	assert_int_equal(PACKET(f, 0x42, 0, 0x40, 1, 0, 0, 0, 1, 0), 16);
	assert_int_equal(PACKET(f, 0x42, 0, 0, 0, 0, 0, 0, 1, 0), 4);
}

static void modes(void **state)
{
	struct fixture *f = *state;
	u8 page[20] = { 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x0a };

	assert_int_equal(PACKET(f, 0x5a, 0, 0x2a, 0, 0, 0, 0, 1, 0), 30);
	assert_int_equal(get16(buf), 28);
	assert_int_equal(buf[8], 0x2a);
	assert_int_equal(buf[9], 20);
	assert_int_equal(PACKET(f, 0x1a, 0, 0x01, 0, 255), 16);
	assert_int_equal(buf[0], 15);
	assert_int_equal(PACKET(f, 0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0), 8 + 12 + 8 + 16 + 12 + 22);
	assert_int_equal(PACKET(f, 0x5a, 0, 0x41, 0, 0, 0, 0, 1, 0), 20);
	assert_int_equal(buf[11], 0); /* nothing can be changed */
	PACKET(f, 0x5a, 0, 0x05, 0, 0, 0, 0, 1, 0);
	expect_sense(f, 0x052400);
	PACKET(f, 0x5a, 0, 0xc1, 0, 0, 0, 0, 1, 0);
	expect_sense(f, 0x053900);

	send(f, (const u8[12]){ 0x55, 0x10, 0, 0, 0, 0, 0, 0, 20 }, 8, false);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC | DRQ);
	assert_int_equal(in8(&f->board, SECONDARY + 2), 0);
	assert_int_equal(in8(&f->board, SECONDARY + 4), 8);
	write_data(f, SECONDARY, page, 20);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
	page[9] = 0xff;
	send(f, (const u8[12]){ 0x55, 0x10, 0, 0, 0, 0, 0, 0, 20 }, 64, false);
	write_data(f, SECONDARY, page, 20);
	expect_sense(f, 0x052600);
	send(f, (const u8[12]){ 0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff }, 64, false);
	expect_sense(f, 0x052400);
}

static void configuration(void **state)
{
	struct fixture *f = *state;
	unsigned size = PACKET(f, 0x46, 0, 0, 0, 0, 0, 0, 2, 0);

	assert_int_equal(get32(buf), size - 4);
	assert_int_equal(get16(buf + 6), 0x0008);
	assert_int_equal(get16(buf + 8), 0);
	assert_int_equal(PACKET(f, 0x46, 2, 0, 0x1e, 0, 0, 0, 2, 0), 16);
	assert_int_equal(get16(buf + 8), 0x1e);
	assert_int_equal(buf[10] & 1, 1);
	assert_int_equal(PACKET(f, 0x46, 2, 0, 0x1f, 0, 0, 0, 2, 0), 16);
	assert_int_equal(buf[10] & 1, 0);
	assert_true(PACKET(f, 0x46, 1, 0, 0, 0, 0, 0, 2, 0) < size);
	assert_int_equal(PACKET(f, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8), 8);
}

static void media(void **state)
{
	struct fixture *f = *state;

	PACKET(f, 0x1e, 0, 0, 0, 1);
	PACKET(f, 0x1b, 0, 0, 0, 2);
	expect_sense(f, 0x055302);
	PACKET(f, 0x1e, 0, 0, 0, 0);
	assert_int_equal(f->trays, 0);
	PACKET(f, 0x1b, 0, 0, 0, 2);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
	assert_true(f->trays == 1 && f->tray_open);
	PACKET(f, 0x00);
	expect_sense(f, 0x023a02);
	PACKET(f, 0x28, 0, 0, 0, 0, 0, 0, 0, 1);
	expect_sense(f, 0x023a02);
	assert_int_equal(PACKET(f, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 8);
	assert_int_equal(buf[4], 3);
	assert_int_equal(buf[5], 1);
	PACKET(f, 0x1b, 0, 0, 0, 3);
	assert_true(f->trays == 2 && !f->tray_open);
	assert_int_equal(PACKET(f, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 8);
	assert_int_equal(buf[4], 2);
	assert_int_equal(buf[5], 2);
	assert_int_equal(PACKET(f, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 8);
	assert_int_equal(buf[4], 0);
	PACKET(f, 0x00);
	expect_sense(f, 0x062800);

	piix4_ide_set_medium(&f->ide, 1, 0, NULL);
	PACKET(f, 0x00);
	expect_sense(f, 0x023a01);
	assert_int_equal(PACKET(f, 0x46, 0, 0, 0, 0, 0, 0, 0, 8), 8);
	assert_int_equal(get16(buf + 6), 0);
	piix4_ide_set_medium(&f->ide, 1, 0, &f->cd.block);
	assert_int_equal(sense(f), 0x062800);
	assert_int_equal(PACKET(f, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), 2048);
	PACKET(f, 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8);
	expect_sense(f, 0x052400);
}

/* The medium goes away while it is read. */
static void taken_away(void **state)
{
	struct fixture *f = *state;

	send(f, (const u8[12]){ 0x28, 0, 0, 0, 0, 0, 0, 0, 20 }, 2048, false);
	read_data(f, SECONDARY, buf, 2048);
	piix4_ide_set_medium(&f->ide, 1, 0, NULL);
	expect_sense(f, 0x023a00);
	piix4_ide_set_medium(&f->ide, 1, 0, &f->cd.block);
	assert_int_equal(sense(f), 0x062800);
	assert_int_equal(block_thread_start(&f->cd.block), 0);
	send(f, (const u8[12]){ 0x28, 0, 0, 0, 0, 0, 0, 0, 20 }, 2048, false);
	assert_true(alt(f, SECONDARY) & BSY);
	piix4_ide_set_medium(&f->ide, 1, 0, NULL);
	expect_sense(f, 0x023a00);
}

static void device_reset(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(block_thread_start(&f->cd.block), 0);
	send(f, (const u8[12]){ 0x28, 0, 0, 0, 0, 0, 0, 0, 20 }, 2048, false);
	assert_true(alt(f, SECONDARY) & BSY);
	f->irq[1].rises = 0;
	out_command(f, SECONDARY, 0x08);
	assert_int_equal(alt(f, SECONDARY), 0);
	assert_int_equal(in8(&f->board, SECONDARY + 5), 0xeb);
	assert_int_equal(in8(&f->board, SECONDARY + 1), 1);
	block_drain(&f->cd.block);
	assert_int_equal(f->irq[1].rises, 0);
	assert_int_equal(PACKET(f, 0x00), 0);
	assert_int_equal(status(f, SECONDARY), DRDY | DSC);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, ide_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identifies), TEST(inquires),      TEST(reads),
		TEST(reads_cd),   TEST(reads_by_dma),  TEST(table_of_contents),
		TEST(modes),      TEST(configuration), TEST(media),
		TEST(taken_away), TEST(device_reset),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("atapi", tests, NULL, NULL);
}
