/*
 * Code that a device writes: SDM 3A 8.1.3 and 11.6 for the processor, Virtio 1.2 for the disk.
 * What it holds is in smcdma.disk.S.
 */
#include "code.h"
#include "lib/lm.h"
#include "virtio.h"

#define SECTOR    512u
#define SECTORS   256u
#define FUNCTIONS 8u
#define STRIDE    64u
#define PAGES     8u

static struct prng prng = { 0x5851f42d4c957f2d };
static unsigned total_made, total_stale;

static u32 below(u32 n) { return prng_below(&prng, n); }

/* --- The disk ---------------------------------------------------------------------------------- */

static struct virtio_header header;
static volatile u8 status;

/* Start a read of sectors into up to four pieces of memory. */
static void disk_start_read(u32 sector, const struct virtio_descriptor *pieces, unsigned count)
{
	unsigned last = count + 1;

	header.sector = sector;
	status = 0xff;
	virtio_table[0] = (struct virtio_descriptor){ (u64)&header, 16, VIRTIO_NEXT, 1 };
	for (unsigned i = 0; i < count; i++)
		virtio_table[i + 1] =
			(struct virtio_descriptor){ pieces[i].address, pieces[i].length,
						    VIRTIO_NEXT | VIRTIO_WRITE, (u16)(i + 2) };
	virtio_table[last] = (struct virtio_descriptor){ (u64)&status, 1, VIRTIO_WRITE, 0 };
	virtio_offer(0);
	virtio_kick();
}

/* Wait for what was started. What follows runs behind a serializing instruction. */
static bool disk_wait(void)
{
	for (u32 spins = 0; spins < 50000000 && !virtio_idle(); spins++)
		pause();
	(void)cpuid(0, 0);
	return virtio_idle() && status == 0;
}

static bool disk_read(u32 sector, u8 *to, u32 bytes)
{
	struct virtio_descriptor piece = { .address = (u64)to, .length = bytes };

	disk_start_read(sector, &piece, 1);
	return disk_wait();
}

/* --- Rules --------------------------------------------------------------------------------------- */

static void report(const struct patches *p, const char *rule)
{
	patches_report(p, rule);
	total_made += p->made;
	total_stale += p->stale;
}

/* Every place of a page holds some sector; a random one is replaced, any of them may be run. */
static void sectors(u8 *page)
{
	struct patches p = { 0 };
	u32 at[8];

	for (unsigned i = 0; i < 8; i++) {
		disk_read(i, page + i * SECTOR, SECTOR);
		at[i] = i;
	}
	for (unsigned n = 0; n < 1000; n++) {
		unsigned i = below(8), times = below(200) ? 3 : 400;
		bool done;

		at[i] = below(SECTORS);
		done = disk_read(at[i], page + i * SECTOR, SECTOR);
		patches_saw(&p, done ? code_call(page + i * SECTOR) : ~0u, at[i] * FUNCTIONS);
		p.made--;
		while (times--) {
			unsigned j = below(8), f = below(FUNCTIONS);

			patches_saw(&p, code_call(page + j * SECTOR + f * STRIDE),
				    at[j] * FUNCTIONS + f);
			p.made--;
		}
		p.made++;
	}
	report(&p, "SDM 3A 8.1.3 a sector read over code");
}

/* Reads that start anywhere: instructions lie across page ends. */
static void anywhere(u8 *area)
{
	struct patches p = { 0 };

	for (unsigned n = 0; n < 500; n++) {
		u32 count = 1 + below(16), sector = below(SECTORS - count);
		u8 *to = area + below(PAGES * 4096 - count * SECTOR);
		u32 f = below(count * FUNCTIONS);
		bool done = disk_read(sector, to, count * SECTOR);

		patches_saw(&p, done ? code_call(to + f * STRIDE) : ~0u, sector * FUNCTIONS + f);
	}
	report(&p, "SDM 3A 8.1.3 reads of several sectors at any address, over several pages");
}

/* One sector in three pieces, the first two of which end within an instruction that is run. */
static void pieces(u8 *page)
{
	struct patches p = { 0 };

	disk_read(0, page + 1000, SECTOR);
	for (unsigned n = 0; n < 500; n++) {
		u32 sector = below(SECTORS), f = below(FUNCTIONS - 1),
		    cut = f * STRIDE + 1 + below(4);
		struct virtio_descriptor d[3] = {
			{ .address = (u64)page + 1000, .length = cut },
			{ .address = (u64)page + 1000 + cut, .length = STRIDE },
			{ .address = (u64)page + 1000 + cut + STRIDE,
			  .length = SECTOR - cut - STRIDE },
		};
		bool done;

		code_call(page + 1000 + f * STRIDE);
		disk_start_read(sector, d, 3);
		done = disk_wait();
		patches_saw(&p, done ? code_call(page + 1000 + f * STRIDE) : ~0u,
			    sector * FUNCTIONS + f);
		patches_saw(&p, code_call(page + 1000 + (f + 1) * STRIDE),
			    sector * FUNCTIONS + f + 1);
		p.made--;
	}
	report(&p, "SDM 3A 8.1.3 a sector in three pieces that end within instructions");
}

/*
 * The loop that waits for the disk is on the page that the disk writes, and jumps into it:
 * push rbx; loop: xor eax, eax; cpuid; mov ax, [used.index]; cmp ax, di; jne loop; pop rbx;
 * jmp target
 */
static void running(u8 *page)
{
	struct patches p = { 0 };
	struct emit e = { page + 3000 };
	u64 index = (u64)&virtio_used.index;
	u8 *loop, *code = e.at, *target = page + 512;
	u64 result;

	emit8(&e, 0x53);
	loop = e.at;
	emit32(&e, 0xa20fc031); /* xor eax, eax; cpuid */
	emit8(&e, 0x66);
	emit8(&e, 0x8b);
	emit8(&e, 0x04);
	emit8(&e, 0x25);
	emit32(&e, (u32)index);
	emit8(&e, 0x66);
	emit8(&e, 0x39);
	emit8(&e, 0xf8);
	emit8(&e, 0x75);
	emit8(&e, (u8)(loop - e.at - 1));
	emit8(&e, 0x5b);
	emit8(&e, 0xe9);
	emit32(&e, (u32)(target - e.at - 4));
	for (unsigned n = 0; n < 500; n++) {
		u32 sector = below(SECTORS);
		struct virtio_descriptor d = { .address = (u64)target, .length = SECTOR };
		u64 wanted = (u16)(virtio_available.index + 1);

		disk_start_read(sector, &d, 1);
		__asm__ volatile("call *%2"
				 : "=a"(result), "+D"(wanted)
				 : "r"(code)
				 : "rcx", "rdx", "rsi", "memory", "cc");
		patches_saw(&p, result, sector * FUNCTIONS);
	}
	report(&p, "SDM 3A 8.1.3 a read into the page of the loop that waits for it");
}

void lm_main(void)
{
	u8 *area = page_alloc(); /* the pool is contiguous */

	for (unsigned i = 1; i < PAGES; i++)
		(void)page_alloc();
	if (!virtio_start(0)) {
		tap_skip("SDM 3A 8.1.3 code that a device writes", "no virtio disk");
		return;
	}
	if (!tap_check(disk_read(1, area, SECTOR) && code_call(area) == FUNCTIONS,
		       "Virtio 5.2 the disk holds the functions of this guest"))
		return;
	sectors(area);
	anywhere(area);
	pieces(area);
	running(area);
	tap_equal(total_stale, 0, "SDM 3A 8.1.3 no stale execution in all");
}
