/*
 * The writer: not a test of rules but what tests/image/kill9-guest and faults-guest run while they kill the monitor, or fail its calls. It
 * writes records whose contents say which write they are of, flushes now and then, and says on COM1 what it knows:
 *   wrote N      all writes before number N have been answered
 *   flushed N    they were, and then a flush was
 *   failed write|read|flush N
 *   wrong N      a read gave something else than write N, which had been answered as done
 *   done
 * What write N is follows from N and the seed alone: see record_of here and in tests/image/writer.py.
 *
 * Command line: [ide] SEED FIRST BATCHES (0: for ever). The disk is the first virtio one (Virtio 1.2: 4.1 its registers,
 * 2.7 its queue, 5.2 its requests), or the primary master (ATA/ATAPI-6, chapter 8; the PIIX4's bus master by its
 * datasheet, 2.4): writes by DMA and by PIO in turn.
 */
#include "lib/lm.h"
#include "virtio.h"

#define SECTOR       512u
#define SLOTS        2048u
#define SLOT_STRIDE  128u /* sectors: a cluster of qcow2 */
#define SLOT_SECTORS 32u
#define BATCH        8u

struct record {
	u32 slot, first, count; /* sectors of the slot */
	bool zero, unmap;
};

static u64 seed;
static u8 buffers[BATCH][SLOT_SECTORS * SECTOR] __attribute__((aligned(65536)));
static struct record records[BATCH];
static bool failed[BATCH];

/* The finalizer of SplitMix64. */
static u64 mix(u64 z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* The records of one batch are of different slots: in which order they are served does not matter. */
static struct record record_of(u64 n)
{
	u64 h = mix(seed * 0x9e3779b97f4a7c15 + n);

	return (struct record){
		.slot = (u32)((h >> 8) % (SLOTS / BATCH) * BATCH + n % BATCH),
		.first = (u32)(h >> 32) % 8,
		.count = 1 + (u32)(h >> 40) % 24,
		.zero = (h >> 56) % 8 == 0,
		.unmap = h >> 63,
	};
}

static u64 record_sector(const struct record *r)
{
	return (u64)r->slot * SLOT_STRIDE + r->slot % 4 * SLOT_SECTORS + r->first;
}

static void record_fill(const struct record *r, u64 n, u8 *to)
{
	for (u32 i = 0; i < r->count; i++) {
		u64 *w = (u64 *)(to + i * SECTOR);
		u64 place = (u64)r->slot << 32 | (r->first + i);

		w[0] = r->zero ? 0 : n;
		w[1] = r->zero ? 0 : place;
		for (unsigned k = 2; k < SECTOR / 8; k++)
			w[k] = r->zero ? 0 : mix(n ^ place << 20);
	}
}

/* --- Virtio ------------------------------------------------------------------------------------ */

static struct virtio_header header[BATCH];
static struct {
	u64 sector;
	u32 sectors, flags;
} range[BATCH];
static volatile u8 status[BATCH];
static void virtio_queue(unsigned n, u32 type, u64 sector, void *data, u32 size)
{
	unsigned at = 3 * n, last = size ? at + 2 : at + 1;

	header[n].type = type;
	header[n].sector = sector;
	status[n] = 0xff;
	virtio_table[at].address = (u64)&header[n];
	virtio_table[at].length = 16;
	virtio_table[at].flags = VIRTIO_NEXT;
	virtio_table[at].next = (u16)(at + 1);
	virtio_table[at + 1].address = (u64)data;
	virtio_table[at + 1].length = size;
	virtio_table[at + 1].flags = (u16)(VIRTIO_NEXT | (type == VIRTIO_T_IN ? VIRTIO_WRITE : 0));
	virtio_table[at + 1].next = (u16)last;
	virtio_table[last].address = (u64)&status[n];
	virtio_table[last].length = 1;
	virtio_table[last].flags = VIRTIO_WRITE;
	virtio_offer(at);
}

static void virtio_wait(void)
{
	virtio_kick();
	while (!virtio_idle())
		pause();
	__asm__ volatile("mfence" : : : "memory");
}

static void virtio_writes(void)
{
	for (unsigned i = 0; i < BATCH; i++) {
		const struct record *r = &records[i];

		range[i].sector = record_sector(r);
		range[i].sectors = r->count;
		range[i].flags = r->unmap;
		if (r->zero)
			virtio_queue(i, VIRTIO_T_WRITE_ZEROES, 0, &range[i], sizeof(range[i]));
		else
			virtio_queue(i, VIRTIO_T_OUT, record_sector(r), buffers[i],
				     r->count * SECTOR);
	}
	virtio_wait();
	for (unsigned i = 0; i < BATCH; i++)
		failed[i] = status[i] != 0;
}

static bool virtio_one(u32 type, u64 sector, void *data, u32 size)
{
	virtio_queue(0, type, sector, data, size);
	virtio_wait();
	return status[0] == 0;
}

/* --- IDE --------------------------------------------------------------------------------------- */

enum { READ_EXT = 0x24, WRITE_EXT = 0x34, WRITE_DMA_EXT = 0x35, FLUSH_EXT = 0xea };
enum { BSY = 0x80, DRQ = 8, FAULT = 0x21 }; /* with DF */

static u16 bus_master; /* ports of the primary channel */
static struct {
	u32 address, flags;
} prd[1] __attribute__((aligned(8)));

static bool ide_start(void)
{
	unsigned devfn = pci_find(0x71118086);

	if (devfn == PCI_NONE)
		return false;
	pci_enable(devfn, PCI_IO | PCI_MASTER);
	bus_master = (u16)(pci_read(devfn, PCI_BAR0 + 4 * 4) & ~3u);
	tap_outb(0x3f6, 2); /* no interrupts */
	return bus_master != 0;
}

static u8 ide_wait(void)
{
	u8 s;

	do
		s = tap_inb(0x3f6);
	while (s & BSY);
	return tap_inb(0x1f7);
}

static void ide_command(u8 command, u64 sector, u32 count)
{
	ide_wait();
	tap_outb(0x1f6, 0x40); /* LBA, drive 0 */
	for (int shift = 24; shift >= 0; shift -= 24) {
		tap_outb(0x1f2, (u8)(shift ? count >> 8 : count));
		tap_outb(0x1f3, (u8)(sector >> shift));
		tap_outb(0x1f4, (u8)(shift ? sector >> 32 : sector >> 8));
		tap_outb(0x1f5, (u8)(shift ? sector >> 40 : sector >> 16));
	}
	tap_outb(0x1f7, command);
}

static bool ide_pio(u8 command, u64 sector, u8 *data, u32 count)
{
	ide_command(command, sector, count);
	for (u32 i = 0; i < count; i++, data += SECTOR) {
		const u8 *from = data;
		u8 *to = data;
		u64 words = SECTOR / 2;

		if ((ide_wait() & (DRQ | FAULT)) != DRQ)
			return false;
		if (command == READ_EXT)
			__asm__ volatile("rep insw"
					 : "+D"(to), "+c"(words)
					 : "d"((u16)0x1f0)
					 : "memory");
		else
			__asm__ volatile("rep outsw"
					 : "+S"(from), "+c"(words)
					 : "d"((u16)0x1f0)
					 : "memory");
	}
	return !(ide_wait() & FAULT);
}

static bool ide_dma_write(u64 sector, const u8 *data, u32 count)
{
	u8 s;

	prd[0].address = (u32)(u64)data;
	prd[0].flags = 1u << 31 | count * SECTOR;
	tap_outb(bus_master, 0);
	tap_outb((u16)(bus_master + 2), 6); /* clears error and interrupt */
	__asm__ volatile("outl %0, %1"
			 :
			 : "a"((u32)(u64)prd), "d"((u16)(bus_master + 4))
			 : "memory");
	ide_command(WRITE_DMA_EXT, sector, count);
	tap_outb(bus_master, 1); /* from memory */
	s = ide_wait();
	tap_outb(bus_master, 0);
	return !(s & FAULT);
}

static void ide_writes(void)
{
	for (unsigned i = 0; i < BATCH; i++) {
		const struct record *r = &records[i];
		u64 sector = record_sector(r);

		failed[i] = !(i % 4 == 3 ? ide_pio(WRITE_EXT, sector, buffers[i], r->count)
					 : ide_dma_write(sector, buffers[i], r->count));
	}
}

/* --- The work ---------------------------------------------------------------------------------- */

static bool is_ide;

static bool flush(void)
{
	if (!is_ide)
		return virtio_one(VIRTIO_T_FLUSH, 0, 0, 0);
	ide_command(FLUSH_EXT, 0, 0);
	return !(ide_wait() & FAULT);
}

static void tell(const char *what, u64 n)
{
	tap_puts(what);
	tap_put_dec((unsigned)n);
	tap_putc('\n');
}

/* One record of the batch is read back over its buffer. */
static void read_back(unsigned i, u64 n)
{
	static u8 wanted[SLOT_SECTORS * SECTOR];
	const struct record *r = &records[i];
	u64 sector = record_sector(r);
	u32 size = r->count * SECTOR, at = 0;
	bool good;

	record_fill(r, n, wanted);
	good = is_ide ? ide_pio(READ_EXT, sector, buffers[i], r->count)
		      : virtio_one(VIRTIO_T_IN, sector, buffers[i], size);
	if (!good) {
		tell("failed read ", n);
		return;
	}
	while (at < size && buffers[i][at] == wanted[at])
		at++;
	if (at < size && !failed[i])
		tell("wrong ", n);
}

static void batch(u64 n)
{
	for (unsigned i = 0; i < BATCH; i++) {
		records[i] = record_of(n + i);
		record_fill(&records[i], n + i, buffers[i]);
	}
	(is_ide ? ide_writes : virtio_writes)();
	for (unsigned i = 0; i < BATCH; i++)
		if (failed[i])
			tell("failed write ", n + i);
	tell("wrote ", n + BATCH);
	if (mix(n) % 2)
		tell(flush() ? "flushed " : "failed flush ", n + BATCH);
	read_back((unsigned)(mix(n) >> 32) % BATCH, n + (mix(n) >> 32) % BATCH);
}

/* The next number of the command line; the word "ide" is noticed on the way. */
static u64 next_number(const char **at)
{
	const char *p = *at;
	u64 n = 0;

	for (; *p && (*p < '0' || *p > '9'); p++)
		is_ide |= p[0] == 'i' && p[1] == 'd' && p[2] == 'e';
	for (; *p >= '0' && *p <= '9'; p++)
		n = n * 10 + (u64)(*p - '0');
	*at = p;
	return n;
}

void lm_main(void)
{
	/* Multiboot information, flag 2: the command line. */
	const u32 *info = (const u32 *)(u64)mb_info;
	const char *p = info[0] & 4 ? (const char *)(u64)info[4] : "";
	u64 first, count;

	seed = next_number(&p);
	first = next_number(&p);
	count = next_number(&p);
	if (!(is_ide ? ide_start()
		     : virtio_start(VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_WRITE_ZEROES))) {
		tap_puts("no disk\n");
		return;
	}
	for (u64 n = 0; !count || n < count; n++)
		batch(first + n * BATCH);
	tap_puts("done\n");
}
