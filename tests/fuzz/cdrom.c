/* A driver of the CD-ROM drive, and what a hostile one does beside it: packet commands with parameters that are right but for one byte or
 * so, their data moved by PIO, in words or strings, or by the bus master, to the end or not. */
#include "fuzz.h"

#include "base/bits.h"

#define PORT    0x170
#define CONTROL 0x376
#define PRDS    (HOT + 0x3000)
#define DATA    (HOT + 0x4000) /* parameters that the drive reads by DMA */
#define ROUNDS  24u            /* DRQ blocks of a command */

enum { DATA_PORT = PORT, FEATURES = PORT + 1, REASON, LOW, MID, HIGH, DEVICE, STATUS };

#define BSY    0x80
#define DRQ    0x08
#define TO_CPU 0x02 /* in the interrupt reason */

/* Where a packet has its block number, a count of blocks and a length of data, and of which bytes small numbers make a difference. */
static const struct packet {
	u8 code, lba, count, count_size, length, length_size;
	u16 vary;
} packets[] = {
	{ 0x00, 0, 0, 0, 0, 0, 0 },               /* TEST UNIT READY */
	{ 0x03, 0, 0, 0, 4, 1, 0 },               /* REQUEST SENSE */
	{ 0x12, 0, 0, 0, 3, 2, BIT(1) | BIT(2) }, /* INQUIRY */
	{ 0x15, 0, 0, 0, 4, 1, BIT(1) },          /* MODE SELECT(6) */
	{ 0x1a, 0, 0, 0, 4, 1, BIT(2) },          /* MODE SENSE(6) */
	{ 0x1b, 0, 0, 0, 0, 0, BIT(4) },          /* START STOP UNIT */
	{ 0x1e, 0, 0, 0, 0, 0, BIT(4) },          /* PREVENT ALLOW MEDIUM REMOVAL */
	{ 0x25, 0, 0, 0, 0, 0, 0 },               /* READ CAPACITY */
	{ 0x28, 2, 7, 2, 0, 0, 0 },               /* READ(10) */
	{ 0x2b, 2, 0, 0, 0, 0, 0 },               /* SEEK(10) */
	{ 0x42, 0, 0, 0, 7, 2, BIT(1) | BIT(2) | BIT(3) | BIT(6) }, /* READ SUB-CHANNEL */
	{ 0x43, 0, 0, 0, 7, 2, BIT(1) | BIT(2) | BIT(6) | BIT(9) }, /* READ TOC */
	{ 0x45, 2, 7, 2, 0, 0, 0 },                                 /* PLAY AUDIO(10) */
	{ 0x46, 0, 0, 0, 7, 2, BIT(1) | BIT(2) | BIT(3) },          /* GET CONFIGURATION */
	{ 0x4a, 0, 0, 0, 7, 2, BIT(1) | BIT(4) }, /* GET EVENT STATUS NOTIFICATION */
	{ 0x4e, 0, 0, 0, 0, 0, 0 },               /* STOP PLAY/SCAN */
	{ 0x51, 0, 0, 0, 7, 2, BIT(1) },          /* READ DISC INFORMATION */
	{ 0x52, 2, 0, 0, 7, 2, BIT(1) },          /* READ TRACK INFORMATION */
	{ 0x55, 0, 0, 0, 7, 2, BIT(1) },          /* MODE SELECT(10) */
	{ 0x5a, 0, 0, 0, 7, 2, BIT(2) },          /* MODE SENSE(10) */
	{ 0xa8, 2, 6, 4, 0, 0, 0 },               /* READ(12) */
	{ 0xb9, 0, 0, 0, 0, 0, BIT(4) | BIT(5) | BIT(7) | BIT(8) | BIT(9) }, /* READ CD MSF */
	{ 0xbb, 0, 0, 0, 0, 0, BIT(2) },                                     /* SET CD SPEED */
	{ 0xbd, 0, 0, 0, 8, 2, 0 },                                          /* MECHANISM STATUS */
	{ 0xbe, 2, 6, 3, 0, 0, BIT(1) | BIT(9) | BIT(10) },                  /* READ CD */
};

static void put(struct fuzz *f, u16 port, u64 value, unsigned size)
{
	bus_write(&f->ports, port, value, size);
}

static u8 get(struct fuzz *f, u16 port) { return (u8)bus_read(&f->ports, port, 1); }

/* A block number: mostly on the medium, else at its end. */
static u32 some_block(struct fuzz *f)
{
	u32 blocks = (u32)(f->disk[1].block.size / 2048);

	return one_in(f, 3) ? blocks - 2 + rnd(f) % 4 : one_in(f, 10) ? rnd(f) : rnd(f) % blocks;
}

/* What MODE SELECT sends: a header, perhaps a block descriptor, pages. */
static void mode_parameters(struct fuzz *f, u8 code, u8 *data, u32 size)
{
	static const u8 pages[][2] = {
		{ 0x01, 10 }, { 0x0d, 6 }, { 0x0e, 14 }, { 0x1a, 10 }, { 0x2a, 20 }
	};
	u32 at = code == 0x55 ? 8 : 4;

	memset(data, 0, size);
	if (one_in(f, 4)) {
		data[at - 1] = 8;
		at += 8;
	}
	for (u32 n = rnd(f) % 4; n && at + 24 < size; n--) {
		const u8 *page = pages[rnd(f) % ARRAY_LEN(pages)];

		data[at] = page[0];
		data[at + 1] = page[1];
		at += 2u + page[1];
	}
	for (u32 n = one_in(f, 3) ? 1 + rnd(f) % 3 : 0; n; n--)
		data[rnd(f) % size] = (u8)rnd(f);
}

static void make_packet(struct fuzz *f, u8 *packet)
{
	static const u8 smalls[] = { 0,    1,    2,    3,    0x01, 0x10, 0x20, 0x40, 0x42,
				     0x80, 0x0d, 0x0e, 0x1a, 0x2a, 0x3f, 0x6a, 0xaa, 0xff };
	static const u8 lengths[] = { 0, 1, 4, 8, 18, 24, 36, 96, 128, 255 };
	const struct packet *p = &packets[rnd(f) % ARRAY_LEN(packets)];

	memset(packet, 0, 12);
	packet[0] = p->code;
	if (p->lba)
		be_store(packet + p->lba, some_block(f), 4);
	if (p->count)
		be_store(packet + p->count, rnd(f) % (one_in(f, 8) ? 80 : 6), p->count_size);
	if (p->length)
		be_store(packet + p->length, lengths[rnd(f) % ARRAY_LEN(lengths)], p->length_size);
	for (unsigned n = 1; n < 12; n++)
		if (p->vary & BIT(n))
			packet[n] = smalls[rnd(f) % ARRAY_LEN(smalls)];
	if (p->code == 0xb9) { /* a second or so, from the third one on */
		packet[4] = 2 + rnd(f) % 3;
		packet[7] = packet[4] + (rnd(f) % 4 == 0);
		packet[8] = (u8)(packet[5] + rnd(f) % 4);
	}
	if ((p->code == 0xb9 || p->code == 0xbe) && !one_in(f, 4)) {
		packet[1] &= 0x0b; /* user data of mode 1 */
		packet[9] = 0x10;
		packet[10] = 0;
	}
	if (one_in(f, 4))
		packet[rnd(f) % 12] = (u8)rnd(f);
}

/* Regions in RAM, of some sizes; or whatever is there. */
static void start_dma(struct fuzz *f, bool to_memory)
{
	u16 bm = (u16)((le_load(f->ide.regs.pci.config + 0x20, 2) & 0xfff0) + 8);
	u32 sizes[] = { 0, 2, 30, 512, 2048, 4096 };

	for (unsigned n = 0; n < 6 && !one_in(f, 8); n++) {
		u64 at = to_memory ? HOT + rnd(f) % (HOT_PAGES * MEM_PAGE) : DATA;
		u64 size = n == 5 || one_in(f, 2) ? 0 : sizes[rnd(f) % ARRAY_LEN(sizes)];
		u64 entry = at | size << 32 | (n == 5 || one_in(f, 8) ? BIT(63) : 0);

		(void)!mem_write(&f->mem, PRDS + 8 * n, &entry, 8);
	}
	put(f, bm, 0, 1);
	put(f, bm + 2, 6, 1);
	put(f, bm + 4, PRDS, 4);
	put(f, bm, 1u | (to_memory != one_in(f, 16) ? 8 : 0), 1);
}

/* A DRQ block, as long as the drive says, or a little longer. */
static void move_block(struct fuzz *f, const u8 *data, u32 *at)
{
	static u8 buf[65536 + 64];
	u32 size = get(f, MID) | (u32)get(f, HIGH) << 8, width = 1u << (1 + rnd(f) % 2);
	bool in = get(f, REASON) & TO_CPU;
	u32 count = size / width + (one_in(f, 8) ? rnd(f) % 8 : 0);

	if (!in)
		memcpy(buf, data + MIN(*at, 255u), 256);
	*at += size;
	if (one_in(f, 2))
		count -= bus_block(&f->ports, DATA_PORT, buf, width, count, !in);
	for (u32 n = 0; n < MIN(count, 4096u); n++) {
		if (in)
			bus_read(&f->ports, DATA_PORT, width);
		else
			put(f, DATA_PORT, le_load(buf + n * width % 256, width), width);
	}
}

/* What comes in between. */
static void disturb(struct fuzz *f)
{
	switch (rnd(f) % 6) {
	case 0: put(f, STATUS, 0x08, 1); break; /* DEVICE RESET */
	case 1:
		put(f, CONTROL, 4, 1);
		put(f, CONTROL, 0, 1);
		break;
	case 2: piix4_ide_set_medium(&f->ide, 1, 0, one_in(f, 2) ? &f->disk[1].block : NULL); break;
	case 3: put(f, STATUS, rnd(f), 1); break;
	case 4: put(f, DEVICE, rnd(f), 1); break;
	case 5: put(f, (u16)(PORT + rnd(f) % 8), rnd(f), 1); break;
	}
}

static void run_packet(struct fuzz *f, const u8 *packet)
{
	bool dma = one_in(f, 2), out = packet[0] == 0x15 || packet[0] == 0x55;
	u8 data[512];
	u32 at = 0;

	mode_parameters(f, packet[0], data, sizeof(data));
	(void)!mem_write(&f->mem, DATA, data, sizeof(data));
	put(f, FEATURES, dma, 1);
	put(f, MID, one_in(f, 2) ? 0xfe : rnd(f), 1);
	put(f, HIGH, one_in(f, 2) ? 0xff : rnd(f) & 0x0f, 1);
	put(f, STATUS, 0xa0, 1);
	for (unsigned n = 0; n < 12; n += 2)
		put(f, DATA_PORT, le_load(packet + n, 2), 2);
	if (dma && !one_in(f, 16))
		start_dma(f, !out);
	for (unsigned n = 0; n < ROUNDS && (get(f, STATUS) & (BSY | DRQ)); n++) {
		if (one_in(f, 60))
			disturb(f);
		if (get(f, STATUS) & BSY)
			fuzz_disk_answer(&f->disk[1]);
		else
			move_block(f, data, &at);
	}
}

void fuzz_cdrom(struct fuzz *f)
{
	static const u8 sense[12] = { 0x03, 0, 0, 0, 18 };
	u8 packet[12];

	put(f, CONTROL, one_in(f, 16) ? 2 : 0, 1);
	put(f, DEVICE, one_in(f, 16) ? 0xb0 : 0xa0, 1);
	if (get(f, STATUS) & (BSY | DRQ)) { /* of what was begun otherwise */
		put(f, CONTROL, 4, 1);
		put(f, CONTROL, 0, 1);
	}
	if (one_in(f, 8)) {
		u64 size = one_in(f, 2) ? 1024 * KIB : 2 * GIB;

		piix4_ide_set_medium(&f->ide, 1, 0, NULL);
		f->disk[1].block.size = size; /* a CD or a DVD */
		piix4_ide_set_medium(&f->ide, 1, 0, &f->disk[1].block);
	}
	for (unsigned n = rnd(f) % 4 + 1; n; n--) {
		if (one_in(f, 2))
			run_packet(f, sense);
		make_packet(f, packet);
		run_packet(f, packet);
	}
	if (one_in(f, 8))
		put(f, STATUS, (u8[]){ 0xa1, 0xec, 0xef, 0xe5, 0xe6, 0xe0, 0x20, 0x90 }[rnd(f) % 8],
		    1);
}
