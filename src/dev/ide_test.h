/* A PIIX4 IDE function without a PC around it: drives in memory that can fail, and what a driver does. */
#ifndef DEV_IDE_TEST_H
#define DEV_IDE_TEST_H

#include "block/thread.h"
#include "dev/dev_test.h"
#include "dev/ide.h"
#include "dev/piix4.h"

#include <errno.h>
#include <stdlib.h>

#define PRIMARY   0x1f0
#define SECONDARY 0x170
#define CONTROL   0x206 /* from the command block */
#define BM        0xc000
#define TEST_RAM  (8 * MIB)
#define DISK_SIZE (8 * MIB)
#define CD_SIZE   (700 * 2048u)

enum { BSY = 0x80, DRDY = 0x40, DSC = 0x10, DRQ = 0x08, ERR = 0x01 };

/* A disk in memory. */
struct fake {
	struct block block;
	u8 *data;
	u64 bad;   /* a sector that cannot be read or written */
	int error; /* what a flush gives, or the bad sector */
	bool bad_flush;
	unsigned reads, writes, flushes, discards;
	u64 discarded; /* bytes */
};

static inline void fake_submit(struct block *block, struct block_req *req)
{
	struct fake *f = container_of(block, struct fake, block);
	u64 bad = f->bad * BLOCK_SECTOR;
	bool hit = bad >= req->offset && bad < req->offset + req->size;

	req->result = 0;
	switch (req->op) {
	case BLOCK_READ:
		f->reads++;
		memcpy(req->buf, f->data + req->offset, req->size);
		break;
	case BLOCK_WRITE:
		f->writes++;
		if (!hit)
			memcpy(f->data + req->offset, req->buf, req->size);
		break;
	case BLOCK_FLUSH:
		f->flushes++;
		hit = f->bad_flush;
		break;
	default:
		f->discards++;
		f->discarded += req->size;
		break;
	}
	if (hit)
		req->result = -f->error;
	block_complete(block, req);
}

static const struct block_ops fake_ops = { .name = "fake", .submit = fake_submit };

/* Each 8 bytes of the disk have their own number. */
static inline void fake_init(struct fake *f, u64 size)
{
	*f = (struct fake){
		.block = { .ops = &fake_ops, .size = size, .physical_size = 4096 },
		.data = malloc(size),
		.bad = UINT64_MAX / BLOCK_SECTOR,
		.error = EIO,
	};
	assert_non_null(f->data);
	for (u64 i = 0; i < size; i += 8)
		le_store(f->data + i, 0x1000000000000000 + i, 8);
}

struct fixture {
	struct test_board board;
	struct pci_bus bus;
	struct piix4_ide ide;
	struct test_line irq[2];
	struct fake disk, slave, cd; /* primary 0 and 1, secondary 0 */
	unsigned errors, trays;
	int last_error;
	bool tray_open;
};

static inline void on_test_error(void *opaque, unsigned channel, unsigned unit, int error)
{
	struct fixture *f = opaque;

	f->errors++;
	f->last_error = error;
}

static inline void on_test_tray(void *opaque, unsigned channel, unsigned unit, bool open)
{
	struct fixture *f = opaque;

	f->trays++;
	f->tray_open = open;
	assert_int_equal(channel, 1);
}

static inline void config_write(struct fixture *f, unsigned offset, u32 value, unsigned size)
{
	pci_config_write(&f->bus, f->ide.func.devfn, offset, value, size);
}

/* What firmware does. */
static inline void enable(struct fixture *f)
{
	config_write(f, 0x20, BM, 4);
	config_write(f, 0x40, 0x80008000, 4);
	config_write(f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
}

static inline int ide_setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add_ram(&f.board, TEST_RAM);
	f.bus.ports = &f.board.ports;
	f.bus.mmio = &f.board.mmio;
	fake_init(&f.disk, DISK_SIZE);
	fake_init(&f.slave, 2 * MIB);
	fake_init(&f.cd, CD_SIZE);
	f.cd.block.readonly = true;
	f.ide.func.bus = &f.bus;
	f.ide.drive[0][0] = (struct ata_drive){
		.kind = ATA_DISK, .block = &f.disk.block, .serial = "SN1", .model = "ONE"
	};
	f.ide.drive[0][1] = (struct ata_drive){ .kind = ATA_DISK, .block = &f.slave.block };
	f.ide.drive[1][0] = (struct ata_drive){ .kind = ATA_CDROM, .block = &f.cd.block };
	f.ide.irq[0] = test_irq(&f.irq[0]);
	f.ide.irq[1] = test_irq(&f.irq[1]);
	f.ide.error = on_test_error;
	f.ide.tray = on_test_tray;
	f.ide.opaque = &f;
	board_add(&f.board, &f.ide.dev, &piix4_ide_type, "ide");
	enable(&f);
	*state = &f;
	return 0;
}

static inline int ide_teardown(void **state)
{
	struct fixture *f = *state;

	piix4_ide_type.fini(&f->ide.dev);
	assert_int_equal(f->board.ports.count, 0);
	if (f->disk.block.thread)
		block_thread_stop(&f->disk.block);
	if (f->cd.block.thread)
		block_thread_stop(&f->cd.block);
	free(f->disk.data);
	free(f->slave.data);
	free(f->cd.data);
	board_fini(&f->board);
	return 0;
}

/* --- What a driver does ---------------------------------------------------------------------- */

static inline u8 status(struct fixture *f, u16 base) { return in8(&f->board, base + 7); }

static inline u8 alt(struct fixture *f, u16 base) { return in8(&f->board, base + CONTROL); }

static inline void out_command(struct fixture *f, u16 base, u8 command)
{
	out8(&f->board, base + 7, command);
}

/* Registers 2 to 5 and the device register, for LBA28. */
static inline void set_lba(struct fixture *f, u16 base, unsigned unit, u32 lba, u8 count)
{
	out8(&f->board, base + 6, (u8)(0xe0 | unit << 4 | lba >> 24));
	out8(&f->board, base + 2, count);
	out8(&f->board, base + 3, (u8)lba);
	out8(&f->board, base + 4, (u8)(lba >> 8));
	out8(&f->board, base + 5, (u8)(lba >> 16));
}

static inline u32 get_lba(struct fixture *f, u16 base)
{
	return in8(&f->board, base + 3) | (u32)in8(&f->board, base + 4) << 8 |
	       (u32)in8(&f->board, base + 5) << 16 | (u32)(in8(&f->board, base + 6) & 0x0f) << 24;
}

static inline void set_lba48(struct fixture *f, u16 base, unsigned unit, u64 lba, u16 count)
{
	out8(&f->board, base + 6, (u8)(0x40 | unit << 4));
	out8(&f->board, base + 2, (u8)(count >> 8));
	out8(&f->board, base + 2, (u8)count);
	for (unsigned i = 0; i < 3; i++) {
		out8(&f->board, (u16)(base + 3 + i), (u8)(lba >> (24 + 8 * i)));
		out8(&f->board, (u16)(base + 3 + i), (u8)(lba >> (8 * i)));
	}
}

static inline void read_data(struct fixture *f, u16 base, void *buf, unsigned size)
{
	for (unsigned i = 0; i < size; i += 2)
		le_store((u8 *)buf + i, bus_read(&f->board.ports, base, 2), 2);
}

static inline void write_data(struct fixture *f, u16 base, const void *buf, unsigned size)
{
	for (unsigned i = 0; i < size; i += 2)
		bus_write(&f->board.ports, base, le_load((const u8 *)buf + i, 2), 2);
}

/* One descriptor of the list at `table`. */
static inline void put_prd(struct fixture *f, u32 table, unsigned n, u32 addr, u16 size, bool last)
{
	u32 prd[2] = { addr, size | (last ? 1u << 31 : 0) };

	assert_true(mem_write(&f->board.mem, table + 8 * n, prd, sizeof(prd)));
}

/* Sets up the bus master of a channel and starts it. */
static inline void start_dma(struct fixture *f, unsigned channel, u32 table, bool to_memory)
{
	u16 bm = (u16)(BM + 8 * channel);

	bus_write(&f->board.ports, bm, 0, 1);
	bus_write(&f->board.ports, bm + 4, table, 4);
	bus_write(&f->board.ports, bm + 2, 0x06, 1);
	bus_write(&f->board.ports, bm, to_memory ? 0x08 : 0, 1);
	bus_write(&f->board.ports, bm, to_memory ? 0x09 : 1, 1);
}

static inline u8 bm_status(struct fixture *f, unsigned channel)
{
	return in8(&f->board, (u16)(BM + 8 * channel + 2));
}

#endif
