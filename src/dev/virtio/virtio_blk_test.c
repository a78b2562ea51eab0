/* The virtio disk as a driver sees it: PCI capabilities, ring, requests, and a hostile driver. */
#include "dev/dev_test.h"
#include "dev/virtio/virtio_blk.h"

#include <errno.h>
#include <string.h>

#define BAR      0xe0000000u
#define MSIX     0xd0000000u
#define COMMON   (BAR + 0x0000)
#define ISR      (BAR + 0x1000)
#define DEVCFG   (BAR + 0x2000)
#define NOTIFY   (BAR + 0x3000)
#define DEVFN    PCI_DEVFN(3, 0)
#define SECTORS  2048
#define RING     16
#define DESC     0x10000
#define AVAIL    0x11000
#define USED     0x12000
#define INDIRECT 0x13000
#define HEADER   0x20000
#define STATUS   0x20100
#define DATA     0x40000

#define NEXT      1
#define WRITE     2
#define INDIRECTF 4

#define FEATURES (BIT(32) | BIT(9) | BIT(28))

/* A disk in memory that keeps requests until told, if held. */
struct fake {
	struct block block;
	u8 bytes[SECTORS * 512];
	struct block_req *held[16];
	unsigned nheld, submits, flushes, writes_since_flush;
	bool hold;
	int fail;
};

struct fixture {
	struct test_board board;
	struct pci_bus bus;
	struct virtio_blk blk;
	struct test_line intx[4];
	struct fake disk;
	unsigned msis;
	u16 avail, descs;
};

static void fake_serve(struct fake *d, struct block_req *req)
{
	req->result = d->fail;
	if (!d->fail) {
		switch (req->op) {
		case BLOCK_READ: memcpy(req->buf, d->bytes + req->offset, req->size); break;
		case BLOCK_WRITE:
			memcpy(d->bytes + req->offset, req->buf, req->size);
			d->writes_since_flush++;
			break;
		case BLOCK_FLUSH:
			d->flushes++;
			d->writes_since_flush = 0;
			break;
		default: memset(d->bytes + req->offset, 0, req->size); break;
		}
	}
	req->done(req);
}

static void fake_submit(struct block *block, struct block_req *req)
{
	struct fake *d = (struct fake *)block;

	d->submits++;
	if (d->hold) {
		assert_true(d->nheld < 16);
		d->held[d->nheld++] = req;
	} else {
		fake_serve(d, req);
	}
}

static void release(struct fake *d)
{
	while (d->nheld)
		fake_serve(d, d->held[--d->nheld]);
}

static const struct block_ops fake_ops = { .name = "fake", .submit = fake_submit };

static void on_msi(void *opaque, u64 addr, u32 data) { ((struct fixture *)opaque)->msis++; }

/* --- The driver ----------------------------------------------------------------------------- */

static u64 rd(struct fixture *f, u64 addr, unsigned size)
{
	return bus_read(&f->board.mmio, addr, size);
}

static void wr(struct fixture *f, u64 addr, u64 value, unsigned size)
{
	bus_write(&f->board.mmio, addr, value, size);
}

static u64 mem_get(struct fixture *f, gpa_t at, unsigned size)
{
	u64 v = 0;

	assert_true(mem_read(&f->board.mem, at, &v, size));
	return v;
}

static void mem_put(struct fixture *f, gpa_t at, u64 value, unsigned size)
{
	assert_true(mem_write(&f->board.mem, at, &value, size));
}

static u8 status(struct fixture *f) { return (u8)rd(f, COMMON + 0x14, 1); }

static void set_up_queue(struct fixture *f, u64 features)
{
	static const u8 zeros[0x3000];

	wr(f, COMMON + 0x14, 0, 1);
	wr(f, COMMON + 0x14, 1, 1);
	wr(f, COMMON + 0x14, 3, 1);
	for (unsigned i = 0; i < 2; i++) {
		wr(f, COMMON + 0x08, i, 4);
		wr(f, COMMON + 0x0c, features >> (32 * i) & 0xffffffff, 4);
	}
	wr(f, COMMON + 0x14, 0xb, 1);
	assert_int_equal(status(f), 0xb);
	assert_true(mem_write(&f->board.mem, DESC, zeros, sizeof(zeros)));
	wr(f, COMMON + 0x16, 0, 2);
	wr(f, COMMON + 0x18, RING, 2);
	wr(f, COMMON + 0x20, DESC, 8);
	wr(f, COMMON + 0x28, AVAIL, 8);
	wr(f, COMMON + 0x30, USED, 8);
	f->avail = f->descs = 0;
}

static void start_driver(struct fixture *f, u64 features)
{
	set_up_queue(f, features);
	wr(f, COMMON + 0x1c, 1, 2);
	wr(f, COMMON + 0x14, 0xf, 1);
	assert_int_equal(status(f), 0xf);
}

static void put_desc(struct fixture *f, gpa_t table, unsigned n, u64 addr, u32 len, u16 flags,
		     u16 next)
{
	mem_put(f, table + 16 * n, addr, 8);
	mem_put(f, table + 16 * n + 8, len, 4);
	mem_put(f, table + 16 * n + 12, flags, 2);
	mem_put(f, table + 16 * n + 14, next, 2);
}

static void offer(struct fixture *f, u16 head)
{
	mem_put(f, AVAIL + 4 + 2 * (f->avail % RING), head, 2);
	f->avail++;
	mem_put(f, AVAIL + 2, f->avail, 2);
}

static void kick(struct fixture *f) { wr(f, NOTIFY, 0, 2); }

static u16 used(struct fixture *f) { return (u16)mem_get(f, USED + 2, 2); }

static void put_header(struct fixture *f, u32 type, u64 sector)
{
	mem_put(f, HEADER, type, 4);
	mem_put(f, HEADER + 8, sector, 8);
	mem_put(f, STATUS, 0xee, 1);
}

/* Header, one data descriptor, status; returns the status byte. */
static u8 request(struct fixture *f, u32 type, u64 sector, u32 len, bool device_writes)
{
	u16 before = used(f);

	put_header(f, type, sector);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, len ? 1 : 2);
	put_desc(f, DESC, 1, DATA, len, NEXT | (device_writes ? WRITE : 0), 2);
	put_desc(f, DESC, 2, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	release(&f->disk);
	assert_int_equal((u16)(used(f) - before), 1);
	return (u8)mem_get(f, STATUS, 1);
}

/* --- Fixture -------------------------------------------------------------------------------- */

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add_ram(&f.board, 32 * MIB);
	f.bus.ports = &f.board.ports;
	f.bus.mmio = &f.board.mmio;
	f.bus.msi = on_msi;
	f.bus.msi_opaque = &f;
	for (unsigned i = 0; i < 4; i++)
		f.bus.pirq[i] = test_irq(&f.intx[i]);
	f.disk.block =
		(struct block){ .ops = &fake_ops, .size = SECTORS * 512, .physical_size = 4096 };
	for (unsigned i = 0; i < sizeof(f.disk.bytes); i++)
		f.disk.bytes[i] = (u8)(i * 31 + i / 512);
	f.blk.block = &f.disk.block;
	f.blk.vpci.func.bus = &f.bus;
	f.blk.vpci.func.devfn = DEVFN;
	strcpy(f.blk.serial, "serial-1");
	board_add(&f.board, &f.blk.vpci.dev, &virtio_blk_type, "disk0");
	pci_config_write(&f.bus, DEVFN, 0x10, BAR, 4);
	pci_config_write(&f.bus, DEVFN, 0x14, MSIX, 4);
	pci_config_write(&f.bus, DEVFN, 4, 6, 2);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	release(&f->disk);
	virtio_blk_type.fini(&f->blk.vpci.dev);
	board_fini(&f->board);
	return 0;
}

static bool interrupted(struct fixture *f)
{
	bool level = f->intx[pci_pirq(3, 0)].level;

	assert_int_equal(rd(f, ISR, 1) & 1, level);
	assert_false(f->intx[pci_pirq(3, 0)].level); /* reading acknowledges */
	return level;
}

/* --- Tests ---------------------------------------------------------------------------------- */

static void identity_and_capabilities(void **state)
{
	struct fixture *f = *state;
	unsigned types = 0, cap = pci_config_read(&f->bus, DEVFN, 0x34, 1), n = 0;

	assert_int_equal(pci_config_read(&f->bus, DEVFN, 0, 4), 0x10421af4);
	for (; cap && n < 20; n++, cap = pci_config_read(&f->bus, DEVFN, cap + 1, 1)) {
		if (pci_config_read(&f->bus, DEVFN, cap, 1) == 9)
			types |= 1u << pci_config_read(&f->bus, DEVFN, cap + 3, 1);
	}
	assert_int_equal(types, 0x3e); /* common, notify, ISR, device, PCI */
	assert_int_equal(n, 6);
	assert_int_equal(rd(f, COMMON + 0x12, 2), 1);
	assert_int_equal(rd(f, COMMON + 0x18, 2), 256);
	assert_int_equal(rd(f, DEVCFG, 8), SECTORS);
	assert_int_equal(rd(f, DEVCFG + 20, 4), 512);
	assert_int_equal(rd(f, DEVCFG + 24, 1), 3);
	assert_int_equal(rd(f, DEVCFG + 60, 4), 0);
	wr(f, COMMON + 0x16, 1, 2); /* no such queue */
	assert_int_equal(rd(f, COMMON + 0x18, 2), 0);
	wr(f, COMMON + 0x18, 8, 2);
	wr(f, COMMON + 0x1c, 1, 2);
}

static void features_are_negotiated(void **state)
{
	struct fixture *f = *state;

	wr(f, COMMON + 0x14, 3, 1);
	wr(f, COMMON, 0, 4);
	assert_int_equal(rd(f, COMMON + 4, 4) & 0x30000000, 0x30000000);
	wr(f, COMMON, 1, 4);
	assert_int_equal(rd(f, COMMON + 4, 4), 1);
	wr(f, COMMON, 2, 4);
	assert_int_equal(rd(f, COMMON + 4, 4), 0);
	wr(f, COMMON + 0x14, 0xb, 1); /* without VERSION_1 */
	assert_int_equal(status(f), 3);
	wr(f, COMMON + 8, 1, 4);
	wr(f, COMMON + 0xc, 3, 4); /* bit 33 was not offered */
	wr(f, COMMON + 0x14, 0xb, 1);
	assert_int_equal(status(f), 3);
	wr(f, COMMON + 0x14, 0xf, 1); /* nor can it be skipped */
	assert_int_equal(status(f), 3);
	wr(f, COMMON + 0xc, 1, 4);
	wr(f, COMMON + 0x14, 0xb, 1);
	assert_int_equal(status(f), 0xb);
	wr(f, COMMON + 0xc, 0, 4); /* fixed now */
	assert_int_equal(rd(f, COMMON + 0xc, 4), 1);
}

static void reads_and_writes(void **state)
{
	struct fixture *f = *state;
	u8 buf[8192];

	start_driver(f, FEATURES);
	assert_int_equal(request(f, 0, 5, 8192, true), 0);
	assert_true(mem_read(&f->board.mem, DATA, buf, sizeof(buf)));
	assert_memory_equal(buf, f->disk.bytes + 5 * 512, sizeof(buf));
	assert_int_equal(mem_get(f, USED + 8, 4), 8193); /* bytes written */
	assert_true(interrupted(f));
	memset(buf, 0x5a, sizeof(buf));
	assert_true(mem_write(&f->board.mem, DATA, buf, sizeof(buf)));
	assert_int_equal(request(f, 1, SECTORS - 16, 8192, false), 0);
	assert_memory_equal(f->disk.bytes + (SECTORS - 16) * 512, buf, sizeof(buf));
	assert_int_equal(mem_get(f, USED + 4 + 8 + 4, 4), 1);
	assert_int_equal(f->disk.flushes, 0);
	assert_int_equal(request(f, 4, 0, 0, false), 0);
	assert_int_equal(f->disk.flushes, 1);
}

/* More than the bounce buffer holds, in descriptors that do not fall on its edges. */
static void large_request(void **state)
{
	struct fixture *f = *state;
	static u8 buf[SECTORS * 512];

	start_driver(f, FEATURES);
	put_header(f, 0, 0);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
	put_desc(f, DESC, 1, DATA, 1000, NEXT | WRITE, 2);
	put_desc(f, DESC, 2, 4 * MIB, SECTORS * 512 - 1000, NEXT | WRITE, 3);
	put_desc(f, DESC, 3, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_int_equal(mem_get(f, STATUS, 1), 0);
	assert_true(mem_read(&f->board.mem, DATA, buf, 1000));
	assert_true(mem_read(&f->board.mem, 4 * MIB, buf + 1000, sizeof(buf) - 1000));
	assert_memory_equal(buf, f->disk.bytes, sizeof(buf));
}

static void refused_requests(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	assert_int_equal(request(f, 0, SECTORS, 512, true), 1);
	assert_int_equal(request(f, 0, SECTORS - 1, 1024, true), 1);
	assert_int_equal(request(f, 0, ~0ull, 512, true), 1);
	assert_int_equal(request(f, 0, 1ull << 55, 512, true), 1);
	assert_int_equal(request(f, 0, 0, 100, true), 1); /* not whole sectors */
	assert_int_equal(request(f, 1, 0, 511, false), 1);
	assert_int_equal(request(f, 0, 0, 0x40000000, true), 1);
	assert_int_equal(request(f, 99, 0, 512, true), 2);
	/* Nothing of a bad write is done, however long its good part. */
	assert_int_equal(request(f, 1, SECTORS - 300, 301 * 512, false), 1);
	assert_int_equal(request(f, 1, 0, 300 * 512 + 1, false), 1);
	assert_int_equal(f->disk.submits, 0);
	f->disk.fail = -EIO;
	assert_int_equal(request(f, 0, 0, 512, true), 1);
	assert_int_equal(request(f, 1, 0, 512, false), 1);
	assert_int_equal(request(f, 4, 0, 0, false), 1);
	f->disk.fail = 0;
	assert_int_equal(request(f, 0, 0, 512, true), 0);
	assert_int_equal(status(f), 0xf);
}

static void readonly_disk(void **state)
{
	struct fixture *f = *state;

	f->disk.block.readonly = true;
	wr(f, COMMON, 0, 4);
	assert_int_equal(rd(f, COMMON + 4, 4) & (BIT(5) | BIT(13) | BIT(14)), BIT(5));
	start_driver(f, FEATURES | BIT(5));
	assert_int_equal(request(f, 1, 0, 512, false), 1);
	assert_int_equal(request(f, 11, 0, 16, false), 1);
	assert_int_equal(f->disk.submits, 0);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
}

static void get_id(void **state)
{
	struct fixture *f = *state;
	char id[20];

	start_driver(f, FEATURES);
	assert_int_equal(request(f, 8, 0, 20, true), 0);
	assert_true(mem_read(&f->board.mem, DATA, id, 20));
	assert_memory_equal(id, f->blk.serial, 20);
	mem_put(f, DATA, 0, 8);
	assert_int_equal(request(f, 8, 0, 3, true), 0); /* a short buffer gets the start */
	assert_int_equal(mem_get(f, DATA, 4), 0x726573);
}

static void put_range(struct fixture *f, unsigned n, u64 sector, u32 count, u32 flags)
{
	mem_put(f, DATA + 16 * n, sector, 8);
	mem_put(f, DATA + 16 * n + 8, count, 4);
	mem_put(f, DATA + 16 * n + 12, flags, 4);
}

static void discard_and_write_zeroes(void **state)
{
	struct fixture *f = *state;
	static const u8 zeros[1024];

	start_driver(f, FEATURES | BIT(13) | BIT(14));
	put_range(f, 0, 10, 2, 1);
	put_range(f, 1, 20, 1, 0);
	assert_int_equal(request(f, 13, 0, 32, false), 0);
	assert_memory_equal(f->disk.bytes + 10 * 512, zeros, 1024);
	assert_memory_equal(f->disk.bytes + 20 * 512, zeros, 512);
	assert_memory_not_equal(f->disk.bytes + 12 * 512, zeros, 512);
	assert_int_equal(request(f, 11, 0, 32, false), 2); /* unmap means nothing to a discard */
	put_range(f, 0, 30, 1, 0);
	assert_int_equal(request(f, 11, 0, 16, false), 0);
	f->disk.submits = 0;
	put_range(f, 0, SECTORS - 1, 2, 0);
	assert_int_equal(request(f, 11, 0, 16, false), 1);
	assert_int_equal(f->disk.submits, 0);
	put_range(f, 0, ~0ull, 2, 0);
	assert_int_equal(request(f, 13, 0, 16, false), 1);
	put_range(f, 0, 0, 0xffffffff, 0);
	assert_int_equal(request(f, 13, 0, 16, false), 1);
	put_range(f, 0, 0, 1, 2);
	assert_int_equal(request(f, 13, 0, 16, false), 2);
	assert_int_equal(request(f, 13, 0, 15, false), 1);
	assert_int_equal(request(f, 13, 0, 512, false), 1); /* too many ranges */
	assert_int_equal(request(f, 13, 0, 0, false), 1);
}

/* Without FLUSH, or with the cache switched to write-through, a finished write is on the disk. */
static void write_through(void **state)
{
	struct fixture *f = *state;

	start_driver(f, BIT(32));
	assert_int_equal(request(f, 1, 0, 512, false), 0);
	assert_int_equal(f->disk.flushes, 1);
	assert_int_equal(f->disk.writes_since_flush, 0);
	start_driver(f, FEATURES | BIT(11));
	assert_int_equal(rd(f, DEVCFG + 0x20, 1), 1);
	assert_int_equal(request(f, 1, 0, 512, false), 0);
	assert_int_equal(f->disk.flushes, 1);
	wr(f, DEVCFG + 0x20, 0, 1);
	assert_int_equal(request(f, 1, 0, 512, false), 0);
	assert_int_equal(f->disk.flushes, 2);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
	assert_int_equal(f->disk.flushes, 2);
	start_driver(f, FEATURES | BIT(11)); /* back on after a reset */
	assert_int_equal(rd(f, DEVCFG + 0x20, 1), 1);
}

static void indirect(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	put_header(f, 0, 1);
	put_desc(f, INDIRECT, 0, HEADER, 16, NEXT, 1);
	put_desc(f, INDIRECT, 1, DATA, 512, NEXT | WRITE, 2);
	put_desc(f, INDIRECT, 2, STATUS, 1, WRITE, 0);
	put_desc(f, DESC, 7, INDIRECT, 48, INDIRECTF, 0);
	offer(f, 7);
	kick(f);
	assert_int_equal(mem_get(f, STATUS, 1), 0);
	assert_int_equal(mem_get(f, USED + 4, 4), 7);
	assert_int_equal(mem_get(f, DATA, 4), le_load(f->disk.bytes + 512, 4));
}

static void event_index(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES | BIT(29));
	mem_put(f, AVAIL + 4 + 2 * RING, 1, 2); /* tell me about the second */
	request(f, 0, 0, 512, true);
	assert_false(interrupted(f));
	/* The device wants to hear of the entry after the last. */
	assert_int_equal(mem_get(f, USED + 4 + 8 * RING, 2), 1);
	request(f, 0, 0, 512, true);
	assert_true(interrupted(f));
	request(f, 0, 0, 512, true);
	assert_false(interrupted(f));
}

static void no_interrupt_flag(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	mem_put(f, AVAIL, 1, 2);
	request(f, 0, 0, 512, true);
	assert_false(interrupted(f));
}

static void msix(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	pci_config_write(&f->bus, DEVFN, f->blk.vpci.func.msix_cap + 2, 0x8000, 2);
	wr(f, COMMON + 0x1a, 2, 2); /* beyond the table */
	assert_int_equal(rd(f, COMMON + 0x1a, 2), 0xffff);
	request(f, 0, 0, 512, true);
	assert_int_equal(f->msis, 0);
	wr(f, COMMON + 0x1a, 1, 2);
	assert_int_equal(rd(f, COMMON + 0x1a, 2), 1);
	wr(f, MSIX + 0x1c, 0, 4);
	request(f, 0, 0, 512, true);
	assert_int_equal(f->msis, 1);
	assert_int_equal(rd(f, ISR, 1), 0);
}

/* A bad ring stops the device, and only a reset brings it back. */
static void assert_broken(struct fixture *f)
{
	assert_int_equal(status(f), 0x4f);
	assert_int_equal(rd(f, ISR, 1) & 2, 2);
	kick(f);
	start_driver(f, FEATURES);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
}

/* A flush request in the first two descriptors of a table; `at` is where these count from. */
static void put_flush(struct fixture *f, gpa_t table, int at)
{
	put_header(f, 4, 0);
	put_desc(f, table, 0, HEADER, 16, NEXT, (u16)(1 - at));
	put_desc(f, table, 1, STATUS, 1, WRITE, 0);
}

static void bad_rings(void **state)
{
	struct fixture *f = *state;

	/* The available index runs ahead; what it points to is good. */
	start_driver(f, FEATURES);
	put_flush(f, DESC, 0);
	mem_put(f, AVAIL + 2, RING + 1, 2);
	kick(f);
	assert_int_equal(used(f), 0);
	assert_broken(f);
	/* A loop. */
	start_driver(f, FEATURES);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 0);
	offer(f, 0);
	kick(f);
	assert_broken(f);
	/* Numbers beyond the table, where there is a good chain. */
	start_driver(f, FEATURES);
	put_flush(f, DESC + 16 * RING, -RING);
	put_flush(f, DESC, 0);
	offer(f, RING);
	kick(f);
	assert_int_equal(used(f), 0);
	assert_broken(f);
	start_driver(f, FEATURES);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 0xffff);
	offer(f, 0);
	kick(f);
	assert_broken(f);
	/* Readable after writable. */
	start_driver(f, FEATURES);
	put_header(f, 4, 0);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
	put_desc(f, DESC, 1, STATUS, 1, NEXT | WRITE, 2);
	put_desc(f, DESC, 2, DATA, 16, NEXT, 3);
	put_desc(f, DESC, 3, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_broken(f);
	/* Rings outside RAM. */
	for (unsigned reg = 0x20; reg <= 0x30; reg += 8) {
		set_up_queue(f, FEATURES);
		wr(f, COMMON + reg, 0x100000000000, 8);
		wr(f, COMMON + 0x1c, 1, 2);
		wr(f, COMMON + 0x14, 0xf, 1);
		put_header(f, 0, 0);
		put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
		put_desc(f, DESC, 1, STATUS, 1, WRITE, 0);
		offer(f, 0);
		kick(f);
		assert_broken(f);
	}
}

static void bad_chains(void **state)
{
	struct fixture *f = *state;

	/* Indirect: empty, odd, nested, with NEXT, long. */
	static const struct {
		u32 len;
		u16 flags, inner;
	} bad[] = { { 0, INDIRECTF, 0 },
		    { 24, INDIRECTF, 0 },
		    { 16, INDIRECTF, INDIRECTF },
		    { 16, INDIRECTF | NEXT, 0 },
		    { 0xfffffff0, INDIRECTF, NEXT } };

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		start_driver(f, FEATURES);
		put_desc(f, INDIRECT, 0, INDIRECT, 16, bad[i].inner, 0);
		put_desc(f, DESC, 0, INDIRECT, bad[i].len, bad[i].flags, 0);
		offer(f, 0);
		kick(f);
		assert_broken(f);
	}
	/* No status byte; no header; header too short; status not in RAM. */
	start_driver(f, FEATURES);
	put_desc(f, DESC, 0, HEADER, 16, 0, 0);
	offer(f, 0);
	kick(f);
	assert_broken(f);
	start_driver(f, FEATURES);
	put_desc(f, DESC, 0, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_broken(f);
	start_driver(f, FEATURES);
	put_desc(f, DESC, 0, HEADER, 15, NEXT, 1);
	put_desc(f, DESC, 1, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_broken(f);
	start_driver(f, FEATURES);
	put_header(f, 4, 0);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
	put_desc(f, DESC, 1, 0xfffffffffffffff0, 0x20, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_broken(f);
}

static void bad_setup(void **state)
{
	struct fixture *f = *state;

	set_up_queue(f, FEATURES);
	wr(f, COMMON + 0x18, 3, 2); /* no power of two */
	wr(f, COMMON + 0x1c, 1, 2);
	assert_int_equal(status(f), 0x4b);
	assert_int_equal(rd(f, COMMON + 0x1c, 2), 0);
	set_up_queue(f, FEATURES);
	wr(f, COMMON + 0x18, 512, 2);
	wr(f, COMMON + 0x1c, 1, 2);
	assert_int_equal(status(f), 0x4b);
	set_up_queue(f, FEATURES);
	wr(f, COMMON + 0x20, DESC + 8, 8);
	wr(f, COMMON + 0x1c, 1, 2);
	assert_int_equal(status(f), 0x4b);
	/* An enabled queue does not move; notifications of unknown queues are ignored. */
	start_driver(f, FEATURES);
	wr(f, COMMON + 0x20, 0, 8);
	wr(f, COMMON + 0x18, 8, 2);
	wr(f, NOTIFY + 4, 1, 2);
	wr(f, NOTIFY + 0xffc, 1023, 2);
	wr(f, NOTIFY + 2, 0, 2);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
}

/* Data outside RAM fails the request, not the device. */
static void data_outside_ram(void **state)
{
	struct fixture *f = *state;

	for (unsigned type = 0; type < 2; type++) {
		start_driver(f, FEATURES);
		put_header(f, type, 0);
		put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
		put_desc(f, DESC, 1, 0x80000000, 512, NEXT | (type ? 0 : WRITE), 2);
		put_desc(f, DESC, 2, STATUS, 1, WRITE, 0);
		offer(f, 0);
		kick(f);
		assert_int_equal(mem_get(f, STATUS, 1), 1);
		assert_int_equal(used(f), 1);
		assert_int_equal(status(f), 0xf);
	}
}

/* More requests than slots, completed in reverse order. */
static void queue_depth(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	f->disk.hold = true;
	put_header(f, 0, 0);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
	put_desc(f, DESC, 1, DATA, 512, NEXT | WRITE, 2);
	put_desc(f, DESC, 2, STATUS, 1, WRITE, 0);
	for (unsigned i = 0; i < RING; i++)
		offer(f, 0);
	kick(f);
	assert_int_equal(f->disk.nheld, VIRTIO_BLK_REQUESTS);
	assert_int_equal(used(f), 0);
	release(&f->disk);
	assert_int_equal(used(f), RING);
}

/* A reset while requests are with the backend: their data never arrives. */
static void reset_in_flight(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	f->disk.hold = true;
	put_header(f, 0, 0);
	mem_put(f, DATA, 0x1122334455667788, 8);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
	put_desc(f, DESC, 1, DATA, 512, NEXT | WRITE, 2);
	put_desc(f, DESC, 2, STATUS, 1, WRITE, 0);
	offer(f, 0);
	kick(f);
	assert_int_equal(f->disk.nheld, 1);
	/* The backend's drain, as the device calls it, has nothing to wait for here: let go by
	 * hand. */
	f->blk.resetting = true;
	release(&f->disk);
	f->blk.resetting = false;
	wr(f, COMMON + 0x14, 0, 1);
	assert_int_equal(status(f), 0);
	assert_int_equal(mem_get(f, DATA, 8), 0x1122334455667788);
	assert_int_equal(used(f), 0);
	f->disk.hold = false;
	start_driver(f, FEATURES);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
}

/* DMA off: nothing is taken from the ring, and nothing written, until it is on again. */
static void bus_master(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	put_header(f, 0, 0);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
	put_desc(f, DESC, 1, DATA, 512, NEXT | WRITE, 2);
	put_desc(f, DESC, 2, STATUS, 1, WRITE, 0);
	pci_config_write(&f->bus, DEVFN, 4, 2, 2);
	offer(f, 0);
	kick(f);
	assert_int_equal(used(f), 0);
	pci_config_write(&f->bus, DEVFN, 4, 6, 2);
	assert_int_equal(used(f), 1);
	assert_int_equal(mem_get(f, STATUS, 1), 0);
}

/* A burst is cut into rounds; the timer does the rest. */
static void rounds(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	put_header(f, 0, 0);
	put_desc(f, DESC, 0, HEADER, 16, NEXT, 1);
	put_desc(f, DESC, 1, 4 * MIB, SECTORS * 512, NEXT | WRITE, 2);
	put_desc(f, DESC, 2, STATUS, 1, WRITE, 0);
	for (unsigned i = 0; i < RING; i++)
		offer(f, 0);
	kick(f);
	assert_in_range(used(f), 1, RING / 2);
	for (unsigned i = 0; i < 8; i++)
		clock_run(&f->board.clock);
	assert_int_equal(used(f), RING);
}

/* Configuration cycles reach the BAR through the window. */
static void config_window(void **state)
{
	struct fixture *f = *state;
	unsigned cap = f->blk.vpci.cfg_cap;

	pci_config_write(&f->bus, DEVFN, 4, 0, 2); /* not even mapped */
	pci_config_write(&f->bus, DEVFN, cap + 4, 0, 1);
	pci_config_write(&f->bus, DEVFN, cap + 8, 0x2000, 4);
	pci_config_write(&f->bus, DEVFN, cap + 12, 4, 4);
	assert_int_equal(pci_config_read(&f->bus, DEVFN, cap + 16, 4), SECTORS);
	pci_config_write(&f->bus, DEVFN, cap + 8, 0x14, 4);
	pci_config_write(&f->bus, DEVFN, cap + 12, 1, 4);
	pci_config_write(&f->bus, DEVFN, cap + 16, 3, 1);
	assert_int_equal(f->blk.regs.virtio.device_status, 3);
	/* Places that are not there. */
	pci_config_write(&f->bus, DEVFN, cap + 8, 0x4000, 4);
	pci_config_write(&f->bus, DEVFN, cap + 16, 0, 4);
	pci_config_write(&f->bus, DEVFN, cap + 8, 0xfffffffc, 4);
	pci_config_read(&f->bus, DEVFN, cap + 16, 4);
	pci_config_write(&f->bus, DEVFN, cap + 8, 0x14, 4);
	pci_config_write(&f->bus, DEVFN, cap + 4, 5, 1);
	pci_config_write(&f->bus, DEVFN, cap + 16, 0, 4);
	pci_config_write(&f->bus, DEVFN, cap + 4, 200, 1);
	pci_config_write(&f->bus, DEVFN, cap + 16, 0, 4);
	pci_config_write(&f->bus, DEVFN, cap + 4, 0, 1);
	pci_config_write(&f->bus, DEVFN, cap + 12, 3, 4);
	pci_config_write(&f->bus, DEVFN, cap + 16, 0, 4);
	assert_int_equal(f->blk.regs.virtio.device_status, 3);
}

static u64 seed;

static u64 rnd(u64 below) { return test_random(&seed) % below; }

/* A number as drivers get it wrong: small, near a power of two, or anything. */
static u64 rnd_number(void)
{
	switch (rnd(4)) {
	case 0: return rnd(8);
	case 1: return (1ull << rnd(64)) - rnd(3);
	case 2: return DESC + rnd(0x30000);
	default: return rnd(~0ull);
	}
}

/* Random registers, configuration cycles, rings and chains: the device answers or breaks, and a
 * reset brings it back. */
static void random_driver(void **state)
{
	struct fixture *f = *state;
	static const u32 bars[] = { BAR,          BAR + 0x1000, BAR + 0x2000,
				    BAR + 0x3000, MSIX,         MSIX + 0x800 };

	seed = TEST_SEED;
	for (unsigned round = 0; round < 300; round++) {
		f->disk.hold = rnd(2);
		pci_config_write(&f->bus, DEVFN, 0x10, BAR, 4);
		pci_config_write(&f->bus, DEVFN, 0x14, MSIX, 4);
		pci_config_write(&f->bus, DEVFN, 4, 6, 2);
		release(&f->disk);
		start_driver(f, FEATURES | (rnd(2) ? BIT(29) | BIT(13) | BIT(14) : 0));
		for (unsigned step = 0; step < 100; step++) {
			unsigned n = (unsigned)rnd(RING);

			switch (rnd(8)) {
			case 0:
				put_desc(f, rnd(2) ? DESC : INDIRECT, n, rnd_number(),
					 (u32)rnd_number(), (u16)rnd(8), (u16)rnd(RING + 1));
				break;
			case 1: put_desc(f, DESC, n, HEADER, 16, NEXT, (u16)rnd(RING)); break;
			case 2:
				put_desc(f, DESC, n, DATA, (u32)(512 * rnd(900)),
					 (u16)(NEXT | 2 * rnd(2)), (u16)rnd(RING));
				break;
			case 3: put_desc(f, DESC, n, STATUS, 1, WRITE, 0); break;
			case 4: put_header(f, (u32)rnd(15), rnd(SECTORS)); break;
			case 5:
				offer(f, (u16)n);
				kick(f);
				break;
			case 6: wr(f, bars[rnd(6)] + rnd(64), rnd_number(), 1u << rnd(4)); break;
			default:
				if (rnd(4) == 0)
					pci_config_write(&f->bus, DEVFN, (unsigned)rnd(64) * 4,
							 (u32)rnd_number(), 4);
				rd(f, bars[rnd(6)] + rnd(64), 1u << rnd(4));
				clock_run(&f->board.clock);
				break;
			}
		}
	}
	release(&f->disk);
	f->disk.hold = false;
	pci_config_write(&f->bus, DEVFN, 0x10, BAR, 4);
	pci_config_write(&f->bus, DEVFN, 4, 6, 2);
	start_driver(f, FEATURES);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;

	start_driver(f, FEATURES);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
	board_save_and_load(&f->blk.vpci.dev);
	assert_int_equal(status(f), 0xf);
	assert_int_equal(request(f, 0, 0, 512, true), 0);
	assert_int_equal(used(f), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(identity_and_capabilities),
		TEST(features_are_negotiated),
		TEST(reads_and_writes),
		TEST(large_request),
		TEST(refused_requests),
		TEST(readonly_disk),
		TEST(get_id),
		TEST(discard_and_write_zeroes),
		TEST(write_through),
		TEST(indirect),
		TEST(event_index),
		TEST(no_interrupt_flag),
		TEST(msix),
		TEST(bad_rings),
		TEST(bad_chains),
		TEST(bad_setup),
		TEST(data_outside_ram),
		TEST(queue_depth),
		TEST(reset_in_flight),
		TEST(bus_master),
		TEST(rounds),
		TEST(config_window),
		TEST(random_driver),
		TEST(save_and_load),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("virtio_blk", tests, NULL, NULL);
}
