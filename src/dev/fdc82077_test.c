#include "dev/fdc82077.h"

#include "base/bits.h"
#include "dev/dev_test.h"

#include <errno.h>
#include <string.h>

#define BUFFER 0x10000u

/* A disk in memory, which answers at once or when told. */
struct disk {
	struct block block;
	u8 bytes[2880 * KIB];
	bool later;
	struct block_req *held;
	int fail;
};

struct fixture {
	struct test_board board;
	struct i8237 dma;
	struct fdc82077 fdc;
	struct test_line irq;
	struct disk disk[2];
	u8 result[16];
};

static void serve(struct disk *d, struct block_req *req)
{
	assert_true(req->offset + req->size <= d->block.size);
	req->result = d->fail;
	if (!d->fail && req->op == BLOCK_READ)
		memcpy(req->buf, d->bytes + req->offset, req->size);
	else if (!d->fail && req->op == BLOCK_WRITE)
		memcpy(d->bytes + req->offset, req->buf, req->size);
	block_complete(&d->block, req);
}

static void disk_submit(struct block *block, struct block_req *req)
{
	struct disk *d = (struct disk *)block;

	if (d->later) {
		assert_null(d->held);
		d->held = req;
	} else {
		serve(d, req);
	}
}

static void disk_answer(struct disk *d)
{
	struct block_req *req = d->held;

	assert_non_null(req);
	d->held = NULL;
	serve(d, req);
}

static const struct block_ops disk_ops = { .name = "test", .submit = disk_submit };

/* Each sector starts with its number. */
static void disk_fill(struct disk *d, u64 size)
{
	memset(d, 0, sizeof(*d));
	d->block.ops = &disk_ops;
	d->block.size = size;
	for (u32 n = 0; n < size / 512; n++) {
		memset(d->bytes + n * 512, (int)n, 512);
		le_store(d->bytes + n * 512, n, 4);
	}
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add_ram(&f.board, 4 * MIB);
	board_add(&f.board, &f.dma.dev, &i8237_type, "dma");
	f.fdc.irq = test_irq(&f.irq);
	f.fdc.dma = &f.dma;
	f.fdc.drive[0].type = f.fdc.drive[1].type = FLOPPY_1440K;
	disk_fill(&f.disk[0], 1440 * KIB);
	disk_fill(&f.disk[1], 720 * KIB);
	f.fdc.drive[0].block = &f.disk[0].block;
	board_add(&f.board, &f.fdc.dev, &fdc82077_type, "floppy");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	board_fini(&f->board);
	return 0;
}

/* --- The driver ------------------------------------------------------------------------------ */

static u8 msr(struct fixture *f) { return in8(&f->board, 0x3f4); }

static void put(struct fixture *f, u8 byte)
{
	assert_int_equal(msr(f) & 0xc0, 0x80);
	out8(&f->board, 0x3f5, byte);
}

#define COMMAND(f, ...)                                          \
	do {                                                     \
		static const u8 bytes_[] = { __VA_ARGS__ };      \
		for (unsigned i_ = 0; i_ < sizeof(bytes_); i_++) \
			put((f), bytes_[i_]);                    \
	} while (0)

/* Reads the result bytes; there must be as many. */
static const u8 *result(struct fixture *f, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		assert_int_equal(msr(f) & 0xd0, 0xd0);
		f->result[n] = in8(&f->board, 0x3f5);
	}
	assert_int_equal(msr(f) & 0xd0, 0x80);
	return f->result;
}

#define RESULT(f, ...)                                                                 \
	do {                                                                           \
		static const u8 want_[] = { __VA_ARGS__ };                             \
		assert_memory_equal(result((f), sizeof(want_)), want_, sizeof(want_)); \
	} while (0)

static void wait_irq(struct fixture *f)
{
	for (unsigned n = 0; n < 1000 && !f->irq.level; n++)
		board_run(&f->board, 100000);
	assert_true(f->irq.level);
}

/* As a driver starts: reset, four interrupts to sense, motors on, 500 kbit/s. */
static void start(struct fixture *f)
{
	out8(&f->board, 0x3f2, 0);
	assert_int_equal(msr(f), 0);
	out8(&f->board, 0x3f2, 0x3c);
	wait_irq(f);
	for (u8 n = 0; n < 4; n++) {
		put(f, 0x08);
		assert_int_equal(result(f, 2)[0], 0xc0 | n);
		assert_int_equal(f->result[1], 0);
		assert_false(f->irq.level);
	}
	COMMAND(f, 0x03, 0xdf, 0x02);
	out8(&f->board, 0x3f7, 0);
}

static void dma_program(struct fixture *f, u8 mode, u16 count)
{
	out8(&f->board, 0x0a, 6);
	out8(&f->board, 0x0c, 0);
	out8(&f->board, 0x0b, mode | 2);
	out8(&f->board, 0x04, (u8)BUFFER);
	out8(&f->board, 0x04, (u8)(BUFFER >> 8));
	out8(&f->board, 0x05, (u8)(count - 1));
	out8(&f->board, 0x05, (u8)((count - 1) >> 8));
	out8(&f->board, 0x81, BUFFER >> 16);
	out8(&f->board, 0x0a, 2);
}

static void seek(struct fixture *f, u8 unit, u8 cyl)
{
	put(f, 0x0f);
	put(f, unit);
	put(f, cyl);
	wait_irq(f);
	put(f, 0x08);
	assert_int_equal(result(f, 2)[0], 0x20 | unit);
	assert_int_equal(f->result[1], cyl);
}

/* `count` sectors from number `first` on are in the buffer. */
static void check_sectors(struct fixture *f, u32 first, u32 count)
{
	u8 buf[512];

	for (u32 n = 0; n < count; n++) {
		assert_true(mem_read(&f->board.mem, BUFFER + n * 512, buf, 512));
		assert_memory_equal(buf, f->disk[0].bytes + (first + n) * 512, 512);
	}
}

/* --- Control --------------------------------------------------------------------------------- */

static void reset_and_identify(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(msr(f), 0);
	start(f);
	assert_int_equal(f->irq.rises, 1);
	COMMAND(f, 0x08); /* no fifth one */
	RESULT(f, 0x80);
	COMMAND(f, 0x10);
	RESULT(f, 0x90);
	COMMAND(f, 0x18); /* PART ID is of later chips */
	RESULT(f, 0x80);
	COMMAND(f, 0x1f);
	RESULT(f, 0x80);
	assert_int_equal(in8(&f->board, 0x3f2), 0x3c);
	out8(&f->board, 0x3f4, 0x80); /* DSR: the same reset */
	assert_int_equal(msr(f), 0);
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0xc0, 0);
}

static void interrupt_gate(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0x3f2, 0x04);
	board_run(&f->board, 10000000);
	assert_false(f->irq.level);
	assert_int_equal(msr(f), 0x80);
	out8(&f->board, 0x3f2, 0x0c);
	assert_true(f->irq.level);
	out8(&f->board, 0x3f2, 0x04);
	assert_false(f->irq.level);
}

static void settings(void **state)
{
	struct fixture *f = *state;

	start(f);
	COMMAND(f, 0x13, 0x00, 0x4a, 0x11); /* implied seek, FIFO on, threshold 11 */
	COMMAND(f, 0x12, 0x84 | 0x03);      /* drive 0 perpendicular, GAP and WGATE */
	COMMAND(f, 0x0e);
	RESULT(f, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x07, 0x4a, 0x11);
	COMMAND(f, 0x94);
	RESULT(f, 0x10);
	COMMAND(f, 0x12, 0x38 | 0x02); /* without OW the drives stay */
	start(f);
	COMMAND(f, 0x0e); /* locked FIFO settings, drives and lock have survived */
	RESULT(f, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x84, 0x0a, 0x11);
	COMMAND(f, 0x14);
	RESULT(f, 0x00);
	start(f);
	COMMAND(f, 0x0e);
	RESULT(f, 0, 0, 0, 0, 0xdf, 0x02, 0, 0x04, 0x20, 0x00);
}

static void seeks(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(in8(&f->board, 0x3f7) & 0x80, 0x80); /* not seen yet */
	COMMAND(f, 0x0f, 0x04, 40);
	assert_int_equal(msr(f), 0x81); /* unit 0 seeks, commands may come */
	assert_false(f->irq.level);
	COMMAND(f, 0x0f, 0x01, 2);
	assert_int_equal(msr(f), 0x83);
	wait_irq(f);
	board_run(&f->board, 10000000);
	assert_int_equal(msr(f), 0x80);
	COMMAND(f, 0x08);
	assert_false(f->irq.level);
	RESULT(f, 0x24, 40);
	assert_true(f->irq.level); /* unit 1 */
	COMMAND(f, 0x08);
	RESULT(f, 0x21, 2);
	assert_false(f->irq.level);
	assert_int_equal(in8(&f->board, 0x3f7), 0);
	COMMAND(f, 0x04, 0x04);
	RESULT(f, 0x2c);
	COMMAND(f, 0x8f, 0x00, 10); /* relative: toward 0 */
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0x20, 30);
	COMMAND(f, 0xcf, 0x00, 5);
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0x20, 35);
	COMMAND(f, 0x07, 0x00);
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0x20, 0);
	COMMAND(f, 0x04, 0x00);
	RESULT(f, 0x38);
}

static void recalibrate_fails(void **state)
{
	struct fixture *f = *state;

	start(f);
	COMMAND(f, 0x07, 0x02); /* no such drive: track 0 is never seen */
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0x72, 0);
	seek(f, 0, 83); /* 79 steps do not suffice */
	COMMAND(f, 0x07, 0x00);
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0x70, 0);
	COMMAND(f, 0x07, 0x00);
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0x20, 0);
}

/* --- Reading --------------------------------------------------------------------------------- */

static void read_one(void **state)
{
	struct fixture *f = *state;

	start(f);
	seek(f, 0, 3);
	dma_program(f, 0x44, 512);
	COMMAND(f, 0xe6, 0x04, 3, 1, 5, 2, 18, 0x1b, 0xff);
	assert_int_equal(msr(f), 0x10);
	assert_false(f->irq.level);
	wait_irq(f);
	assert_int_equal(msr(f), 0xd0);
	assert_int_equal(in8(&f->board, 0x3f5), 0x04);
	assert_false(f->irq.level); /* the first result byte answers it */
	assert_int_equal(result(f, 6)[0], 0);
	assert_memory_equal(f->result, ((u8[]){ 0, 0, 3, 1, 6, 2 }), 6);
	check_sectors(f, (3 * 2 + 1) * 18 + 4, 1);
}

static void read_both_sides(void **state)
{
	struct fixture *f = *state;

	start(f);
	seek(f, 0, 7);
	/* A whole cylinder; it ends at terminal count, and the ID is that of the next. */
	dma_program(f, 0x44, 36 * 512);
	COMMAND(f, 0xe6, 0x00, 7, 0, 1, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x04, 0, 0, 8, 0, 1, 2);
	check_sectors(f, 7 * 36, 36);
	/* The end of a side alone. */
	dma_program(f, 0x44, 2 * 512);
	COMMAND(f, 0xe6, 0x00, 7, 0, 17, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 7, 1, 1, 2);
	/* Without MT the other side stays away, and the cylinder ends before the transfer. */
	dma_program(f, 0x44, 3 * 512);
	COMMAND(f, 0x66, 0x00, 7, 0, 17, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x40, 0x80, 0, 8, 0, 1, 2);
	check_sectors(f, 7 * 36 + 16, 2);
	/* Terminal count within a sector. */
	dma_program(f, 0x44, 700);
	COMMAND(f, 0x66, 0x00, 7, 0, 1, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 7, 0, 3, 2);
}

static void what_is_not_found(void **state)
{
	struct fixture *f = *state;

	start(f);
	dma_program(f, 0x44, 512);
	COMMAND(f, 0x66, 0x00, 0, 0, 19, 2, 19, 0x1b, 0xff); /* no such sector */
	wait_irq(f);
	RESULT(f, 0x40, 0x04, 0, 0, 0, 19, 2);
	COMMAND(f, 0x66, 0x00, 1, 0, 1, 2, 18, 0x1b, 0xff); /* the head is elsewhere */
	wait_irq(f);
	RESULT(f, 0x40, 0x04, 0x10, 1, 0, 1, 2);
	COMMAND(f, 0x66, 0x00, 0, 1, 1, 2, 18, 0x1b, 0xff); /* H of the other side */
	wait_irq(f);
	RESULT(f, 0x40, 0x04, 0, 0, 1, 1, 2);
	COMMAND(f, 0x66, 0x00, 0, 0, 1, 3, 18, 0x1b, 0xff); /* 1024 bytes */
	wait_irq(f);
	RESULT(f, 0x40, 0x04, 0, 0, 0, 1, 3);
	COMMAND(f, 0x26, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff); /* FM */
	wait_irq(f);
	RESULT(f, 0x40, 0x01, 0, 0, 0, 1, 2);
	out8(&f->board, 0x3f7, 2); /* 250 kbit/s */
	COMMAND(f, 0x4a, 0x00);
	wait_irq(f);
	RESULT(f, 0x40, 0x01, 0, 0, 0, 0, 0);
	COMMAND(f, 0x66, 0x01, 0, 0, 1, 2, 18, 0x1b, 0xff); /* no disk */
	wait_irq(f);
	RESULT(f, 0x41, 0x01, 0, 0, 0, 1, 2);
	out8(&f->board, 0x3f7, 0);
	out8(&f->board, 0x3f2, 0x0c); /* motors off */
	COMMAND(f, 0x66, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x40, 0x01, 0, 0, 0, 1, 2);
}

static void read_id_turns(void **state)
{
	struct fixture *f = *state;
	u32 seen = 0;

	start(f);
	seek(f, 0, 9);
	for (unsigned n = 0; n < 200; n++) {
		COMMAND(f, 0x4a, 0x04);
		wait_irq(f);
		result(f, 7);
		assert_memory_equal(f->result, ((u8[]){ 4, 0, 0, 9, 1 }), 5);
		assert_in_range(f->result[5], 1, 18);
		assert_int_equal(f->result[6], 2);
		seen |= (u32)BIT(f->result[5]);
		board_run(&f->board, 300000);
	}
	assert_int_equal(seen, 0x7fffe);
}

static void read_track_and_deleted(void **state)
{
	struct fixture *f = *state;

	start(f);
	dma_program(f, 0x44, 3 * 512);
	COMMAND(f, 0x42, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 0, 0, 4, 2);
	check_sectors(f, 0, 3);
	dma_program(f, 0x44, 5 * 512); /* ends after EOT sectors; an ID that differs is noted */
	COMMAND(f, 0x42, 0x00, 0, 0, 3, 2, 2, 0x1b, 0xff);
	wait_irq(f);
	assert_int_equal(result(f, 7)[0], 0);
	assert_int_equal(f->result[1], 0x04);
	check_sectors(f, 0, 2);
	/* READ DELETED stops after a sector that is not deleted, or passes over all of them. */
	dma_program(f, 0x44, 5 * 512);
	COMMAND(f, 0x4c, 0x00, 0, 0, 4, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0x40, 0, 0, 4, 2);
	check_sectors(f, 3, 1);
	COMMAND(f, 0x6c, 0x00, 0, 0, 4, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x40, 0x80, 0x40, 1, 0, 1, 2);
	check_sectors(f, 3, 1);
}

static void verify(void **state)
{
	struct fixture *f = *state;

	start(f);
	COMMAND(f, 0xf6, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff); /* both sides to EOT */
	wait_irq(f);
	RESULT(f, 0x04, 0, 0, 1, 0, 1, 2);
	COMMAND(f, 0x56, 0x80, 0, 0, 1, 2, 18, 0x1b, 4); /* EC: four of them */
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 0, 0, 5, 2);
	COMMAND(f, 0x56, 0x80, 0, 0, 17, 2, 18, 0x1b, 4); /* there are two */
	wait_irq(f);
	RESULT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
	COMMAND(f, 0x56, 0x80, 0, 0, 17, 2, 18, 0x1b, 2);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 1, 0, 1, 2);
}

static void implied_seek(void **state)
{
	struct fixture *f = *state;

	start(f);
	COMMAND(f, 0x13, 0x00, 0x50, 0x00);
	dma_program(f, 0x44, 512);
	COMMAND(f, 0xe6, 0x00, 20, 0, 2, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 20, 0, 3, 2);
	check_sectors(f, 20 * 36 + 1, 1);
	COMMAND(f, 0x0e);
	assert_int_equal(result(f, 10)[0], 20);
}

/* --- Writing --------------------------------------------------------------------------------- */

static void write_sectors(void **state)
{
	struct fixture *f = *state;
	u8 buf[1024];

	start(f);
	for (unsigned n = 0; n < sizeof(buf); n++)
		buf[n] = (u8)(n * 7 + n / 256);
	assert_true(mem_write(&f->board.mem, BUFFER, buf, sizeof(buf)));
	dma_program(f, 0x48, 1024);
	COMMAND(f, 0xc5, 0x00, 0, 0, 18, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x04, 0, 0, 0, 1, 2, 2);
	assert_memory_equal(f->disk[0].bytes + 17 * 512, buf, 1024);
	/* Terminal count cuts the sector: zeros follow. */
	dma_program(f, 0x48, 100);
	COMMAND(f, 0x49, 0x00, 0, 0, 2, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 0, 0, 3, 2);
	assert_memory_equal(f->disk[0].bytes + 512, buf, 100);
	for (unsigned n = 100; n < 512; n++)
		assert_int_equal(f->disk[0].bytes[512 + n], 0);
	assert_int_equal(f->disk[0].bytes[1024], 2);
}

static void write_protect(void **state)
{
	struct fixture *f = *state;

	f->disk[0].block.readonly = true;
	start(f);
	COMMAND(f, 0x04, 0x00);
	RESULT(f, 0x78);
	dma_program(f, 0x48, 512);
	COMMAND(f, 0x45, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x40, 0x02, 0, 0, 0, 1, 2);
	COMMAND(f, 0x4d, 0x00, 2, 18, 0x54, 0xf6);
	wait_irq(f);
	assert_int_equal(result(f, 7)[1], 0x02);
	assert_int_equal(f->disk[0].bytes[4], 0);
}

static void format(void **state)
{
	struct fixture *f = *state;
	u8 ids[18][4];

	start(f);
	seek(f, 0, 2);
	for (u8 n = 0; n < 18; n++)
		memcpy(ids[n], ((u8[]){ 2, 1, n + 1, 2 }), 4);
	ids[4][2] = 40; /* an image has no place for this one */
	assert_true(mem_write(&f->board.mem, BUFFER, ids, sizeof(ids)));
	dma_program(f, 0x48, sizeof(ids));
	COMMAND(f, 0x4d, 0x04, 2, 18, 0x54, 0xf6);
	wait_irq(f);
	assert_int_equal(result(f, 7)[0], 0x04);
	assert_int_equal(f->result[1], 0);
	for (unsigned n = 0; n < 18; n++) {
		const u8 *sector = f->disk[0].bytes + ((2 * 2 + 1) * 18 + n) * 512;

		assert_int_equal(sector[0] == 0xf6 && !memcmp(sector, sector + 1, 511), n != 4);
	}
	assert_int_equal(f->disk[0].bytes[(3 * 36) * 512], 3 * 36);
}

/* --- Host side ------------------------------------------------------------------------------- */

static void without_dma(void **state)
{
	struct fixture *f = *state;
	unsigned rises;

	start(f);
	COMMAND(f, 0x03, 0xdf, 0x03);
	COMMAND(f, 0x46, 0x00, 0, 0, 2, 2, 3, 0x1b, 0xff);
	rises = f->irq.rises;
	for (unsigned n = 0; n < 1024; n++) {
		wait_irq(f);
		assert_int_equal(msr(f), 0xf0);
		assert_int_equal(in8(&f->board, 0x3f5), f->disk[0].bytes[512 + n]);
	}
	wait_irq(f);
	RESULT(f, 0x40, 0x80, 0, 1, 0, 1, 2); /* nobody gives terminal count */
	assert_int_equal(f->irq.rises - rises, 1025);
	COMMAND(f, 0x13, 0x00, 0x1f, 0x00); /* FIFO: 16 bytes an interrupt */
	COMMAND(f, 0x45, 0x00, 0, 0, 1, 2, 1, 0x1b, 0xff);
	rises = f->irq.rises;
	for (unsigned n = 0; n < 512; n++) {
		if (n % 16 == 0)
			wait_irq(f);
		assert_int_equal(msr(f), 0xb0);
		out8(&f->board, 0x3f5, (u8)(n * 3));
	}
	wait_irq(f);
	RESULT(f, 0x40, 0x80, 0, 1, 0, 1, 2);
	assert_int_equal(f->irq.rises - rises, 33);
	for (unsigned n = 0; n < 512; n++)
		assert_int_equal(f->disk[0].bytes[n], (u8)(n * 3));
}

static void overrun(void **state)
{
	struct fixture *f = *state;

	start(f);
	out8(&f->board, 0x0a, 6); /* masked */
	COMMAND(f, 0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	board_run(&f->board, 400000);
	assert_int_equal(in8(&f->board, 0x08), 0x40); /* DREQ */
	wait_irq(f);
	assert_int_equal(in8(&f->board, 0x08), 0);
	RESULT(f, 0x40, 0x10, 0, 0, 0, 1, 2);
	dma_program(f, 0x44, 512);
	out8(&f->board, 0x0a, 6);
	COMMAND(f, 0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	board_run(&f->board, 400000);
	out8(&f->board, 0x0a, 2); /* just in time */
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 0, 0, 2, 2);
	check_sectors(f, 0, 1);
}

static void slow_disk(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->disk[0].later = true;
	dma_program(f, 0x44, 1024);
	COMMAND(f, 0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	for (unsigned n = 0; n < 2; n++) {
		board_run(&f->board, 100000000);
		assert_int_equal(msr(f), 0x10);
		disk_answer(&f->disk[0]);
	}
	assert_true(f->irq.level);
	RESULT(f, 0x00, 0, 0, 0, 0, 3, 2);
	check_sectors(f, 0, 2);
	/* A reset while the disk works: the next command waits for it, and gets its own sector. */
	dma_program(f, 0x44, 512);
	COMMAND(f, 0x46, 0x00, 0, 0, 9, 2, 18, 0x1b, 0xff);
	board_run(&f->board, 1000000);
	assert_non_null(f->disk[0].held);
	start(f);
	dma_program(f, 0x44, 512);
	COMMAND(f, 0x46, 0x00, 0, 0, 5, 2, 18, 0x1b, 0xff);
	board_run(&f->board, 1000000);
	disk_answer(&f->disk[0]);
	assert_false(f->irq.level);
	disk_answer(&f->disk[0]);
	assert_true(f->irq.level);
	RESULT(f, 0x00, 0, 0, 0, 0, 6, 2);
	check_sectors(f, 4, 1);
}

static void broken_disk(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->disk[0].fail = -EIO;
	dma_program(f, 0x44, 512);
	COMMAND(f, 0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x40, 0x20, 0x20, 0, 0, 1, 2);
	dma_program(f, 0x48, 512);
	COMMAND(f, 0x45, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x40, 0x20, 0, 0, 0, 1, 2);
}

/* --- Disks ----------------------------------------------------------------------------------- */

static void change_of_disk(void **state)
{
	struct fixture *f = *state;

	start(f);
	seek(f, 0, 1);
	assert_int_equal(in8(&f->board, 0x3f7), 0);
	assert_int_equal(fdc82077_insert(&f->fdc, 0, NULL), 0);
	assert_int_equal(in8(&f->board, 0x3f7), 0x80);
	seek(f, 0, 5); /* an empty drive does not forget */
	assert_int_equal(in8(&f->board, 0x3f7), 0x80);
	assert_int_equal(fdc82077_insert(&f->fdc, 0, &f->disk[1].block), 0);
	assert_int_equal(in8(&f->board, 0x3f7), 0x80);
	seek(f, 0, 0);
	assert_int_equal(in8(&f->board, 0x3f7), 0);
	dma_program(f, 0x44, 512);
	out8(&f->board, 0x3f7, 2); /* 720K: 250 kbit/s, nine sectors */
	COMMAND(f, 0x66, 0x04, 0, 1, 9, 2, 9, 0x1b, 0xff);
	wait_irq(f);
	RESULT(f, 0x04, 0, 0, 1, 1, 1, 2);
	check_sectors(f, 17, 1);
	assert_int_equal(fdc82077_insert(&f->fdc, 2, NULL), -ENODEV);
	f->disk[1].block.size = 1000 * KIB;
	assert_int_equal(fdc82077_insert(&f->fdc, 1, &f->disk[1].block), -EINVAL);
}

static void geometries(void **state)
{
	static const u16 sizes[] = { 160,  180,  320,  360,  640,  720, 800,
				     1200, 1440, 1600, 1680, 1722, 2880 };

	for (unsigned n = 0; n < ARRAY_LEN(sizes); n++) {
		const struct floppy_geometry *g = floppy_geometry(sizes[n] * KIB);

		assert_non_null(g);
		assert_int_equal(g->cylinders * g->heads * g->sectors * 512, sizes[n] * KIB);
		assert_true(floppy_tracks(g->drive) >= g->cylinders);
	}
	assert_null(floppy_geometry(0));
	assert_null(floppy_geometry(1440 * KIB + 512));
	assert_null(floppy_geometry((1440 + 65536) * KIB));
}

/* A disk of 40 wide cylinders in a drive that makes 80 steps over them. */
static void double_steps(void **state)
{
	struct fixture *f = *state;

	f->fdc.drive[0].type = FLOPPY_1200K;
	f->disk[0].block.size = 360 * KIB;
	assert_int_equal(fdc82077_insert(&f->fdc, 0, &f->disk[0].block), 0);
	start(f);
	out8(&f->board, 0x3f7, 1);
	seek(f, 0, 20);
	dma_program(f, 0x44, 512);
	COMMAND(f, 0x66, 0x00, 10, 0, 1, 2, 9, 0x2a, 0xff);
	wait_irq(f);
	RESULT(f, 0x00, 0, 0, 10, 0, 2, 2);
	check_sectors(f, 10 * 18, 1);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->disk[0].later = true;
	dma_program(f, 0x44, 512);
	COMMAND(f, 0x46, 0x00, 0, 0, 1, 2);
	board_save_and_load(&f->fdc.dev);
	COMMAND(f, 18, 0x1b, 0xff);
	board_save_and_load(&f->fdc.dev);
	board_run(&f->board, 1000000);
	board_save_and_load(&f->fdc.dev); /* asks the disk again */
	disk_answer(&f->disk[0]);
	disk_answer(&f->disk[0]);
	assert_true(f->irq.level);
	board_save_and_load(&f->fdc.dev);
	assert_true(f->irq.level);
	RESULT(f, 0x00, 0, 0, 0, 0, 2, 2);
	check_sectors(f, 0, 1);
	COMMAND(f, 0x0f, 0x00, 10);
	board_save_and_load(&f->fdc.dev);
	wait_irq(f);
	COMMAND(f, 0x08);
	RESULT(f, 0x20, 10);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reset_and_identify),
		TEST(interrupt_gate),
		TEST(settings),
		TEST(seeks),
		TEST(recalibrate_fails),
		TEST(read_one),
		TEST(read_both_sides),
		TEST(what_is_not_found),
		TEST(read_id_turns),
		TEST(read_track_and_deleted),
		TEST(verify),
		TEST(implied_seek),
		TEST(write_sectors),
		TEST(write_protect),
		TEST(format),
		TEST(without_dma),
		TEST(overrun),
		TEST(slow_disk),
		TEST(broken_disk),
		TEST(change_of_disk),
		TEST(geometries),
		TEST(double_steps),
		TEST(save_and_load),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("fdc82077", tests, NULL, NULL);
}
