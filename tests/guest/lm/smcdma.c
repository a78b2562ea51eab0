/*
 * Code that a device writes: SDM 3A 8.1.3 and 11.6 for the processor, Virtio 1.2 for the disk
 * (4.1 its registers, 2.7 its queue, 5.2 its requests). What the disk holds is in smcdma.disk.S.
 */
#include "code.h"
#include "lib/lm.h"

#define SECTOR    512u
#define SECTORS   256u
#define FUNCTIONS 8u
#define STRIDE    64u
#define QUEUE     16u
#define PAGES     8u

static struct prng prng = { 0x5851f42d4c957f2d };
static unsigned total_made, total_stale;

static u32 below(u32 n) { return prng_below(&prng, n); }

/* --- The disk ---------------------------------------------------------------------------------- */

struct descriptor {
	u64 address;
	u32 length;
	u16 flags, next;
};
enum { NEXT = 1, WRITE = 2 };

static struct descriptor table[QUEUE] __attribute__((aligned(16)));
static volatile struct {
	u16 flags, index, ring[QUEUE];
} available;
static volatile struct {
	u16 flags, index;
	struct {
		u32 id, length;
	} ring[QUEUE];
} used __attribute__((aligned(4)));

static volatile u8 *common, *notify;
static struct {
	u32 type, reserved;
	u64 sector;
} header;
static volatile u8 status;

static u32 config_read(unsigned slot, unsigned at)
{
	u32 value;

	__asm__ volatile("outl %0, %1" : : "a"(1u << 31 | slot << 11 | at), "d"((u16)0xcf8));
	__asm__ volatile("inl %1, %0" : "=a"(value) : "d"((u16)0xcfc));
	return value;
}

static void config_write(unsigned slot, unsigned at, u32 value)
{
	__asm__ volatile("outl %0, %1" : : "a"(1u << 31 | slot << 11 | at), "d"((u16)0xcf8));
	__asm__ volatile("outl %0, %1" : : "a"(value), "d"((u16)0xcfc));
}

static void reg8(unsigned at, u8 value) { common[at] = value; }
static void reg16(unsigned at, u16 value) { *(volatile u16 *)(common + at) = value; }
static void reg32(unsigned at, u32 value) { *(volatile u32 *)(common + at) = value; }
static void reg64(unsigned at, u64 value)
{
	reg32(at, (u32)value);
	reg32(at + 4, (u32)(value >> 32));
}

/* Find the structures behind the vendor capabilities (4.1.4): 1 common, 2 notification. */
static void find_registers(unsigned slot)
{
	unsigned cap = config_read(slot, 0x34) & 0xfc;

	for (unsigned n = 0; cap && n < 48; n++) {
		u32 head = config_read(slot, cap);
		u32 bar = config_read(slot, cap + 4) & 7, type = head >> 24;
		u64 base;

		if ((head & 0xff) == 9 && bar < 6) {
			base = (config_read(slot, 0x10 + 4 * bar) & ~15u) +
			       (u64)config_read(slot, cap + 8);
			if (type == 1)
				common = (volatile u8 *)base;
			if (type == 2)
				notify = (volatile u8 *)base;
		}
		cap = head >> 8 & 0xfc;
	}
}

/* Set the first virtio disk up (3.1.1). False: there is none. */
static bool disk_start(void)
{
	unsigned slot = 0;

	while (slot < 32 && config_read(slot, 0) != 0x10421af4)
		slot++;
	if (slot == 32)
		return false;
	find_registers(slot);
	if (!common || !notify)
		return false;
	config_write(slot, 4, (config_read(slot, 4) & 0xffff) | 6);
	reg8(0x14, 0);
	reg8(0x14, 1);
	reg8(0x14, 3);
	reg32(8, 1);
	reg32(0xc, 1); /* VIRTIO_F_VERSION_1 */
	reg8(0x14, 0xb);
	reg16(0x16, 0);
	reg16(0x18, QUEUE);
	reg64(0x20, (u64)table);
	reg64(0x28, (u64)&available);
	reg64(0x30, (u64)&used);
	reg16(0x1c, 1);
	reg8(0x14, 0xf);
	return common[0x14] == 0xf;
}

/* Start a read of sectors into up to four pieces of memory. */
static void disk_start_read(u32 sector, const struct descriptor *pieces, unsigned count)
{
	unsigned last = count + 1;

	header.sector = sector;
	status = 0xff;
	table[0] = (struct descriptor){ (u64)&header, 16, NEXT, 1 };
	for (unsigned i = 0; i < count; i++)
		table[i + 1] = (struct descriptor){ pieces[i].address, pieces[i].length,
						    NEXT | WRITE, (u16)(i + 2) };
	table[last] = (struct descriptor){ (u64)&status, 1, WRITE, 0 };
	__asm__ volatile("" : : : "memory");
	available.ring[available.index % QUEUE] = 0;
	__asm__ volatile("mfence" : : : "memory");
	available.index++;
	__asm__ volatile("mfence" : : : "memory");
	*(volatile u16 *)notify = 0;
}

/* Wait for what was started. What follows runs behind a serializing instruction. */
static bool disk_wait(void)
{
	for (u32 spins = 0; spins < 50000000 && used.index != available.index; spins++)
		pause();
	(void)cpuid(0, 0);
	return used.index == available.index && status == 0;
}

static bool disk_read(u32 sector, u8 *to, u32 bytes)
{
	struct descriptor piece = { .address = (u64)to, .length = bytes };

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
		struct descriptor d[3] = {
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
	u64 index = (u64)&used.index;
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
		struct descriptor d = { .address = (u64)target, .length = SECTOR };
		u64 wanted = (u16)(available.index + 1);

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
	if (!disk_start()) {
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
