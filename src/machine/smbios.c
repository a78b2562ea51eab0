/* Structures of types 1, 3, 4, 16, 17, 19, 32 and 127 (DSP0134 2.8, chapter 7) and the entry point (5.2.1). */
#include "machine/smbios.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>

#define ANCHOR_SIZE  31u
#define TABLES_MAX   65535u /* the length in the entry point is a word */
#define STRING_MAX   64u
#define MANUFACTURER "Pogo"

#define RAM_SLOT  (16 * GIB) /* bytes of a memory device, more if there would be too many */
#define RAM_SLOTS 64u

#define SIZE_KIB      0x8000u
#define SIZE_EXTENDED 0x7fffu /* the number is in another field */

enum {
	HANDLE_SYSTEM = 0x100,
	HANDLE_CHASSIS = 0x300,
	HANDLE_CPU = 0x400, /* and those that follow */
	HANDLE_ARRAY = 0x1000,
	HANDLE_DEVICE = 0x1100,
	HANDLE_RANGE = 0x1300,
	HANDLE_BOOT = 0x2000,
	HANDLE_END = 0x7f00,
	HANDLE_NONE = 0xfffe, /* no error information is provided */
};

struct tables {
	u8 bytes[TABLES_MAX];
	u32 used, largest;
	unsigned count;
	bool overflow;
	/* The structure that is being made. */
	u32 start;
	unsigned strings;
};

static void put(struct tables *t, u64 value, unsigned size)
{
	if (size > sizeof(t->bytes) - t->used) {
		t->overflow = true;
		return;
	}
	le_store(t->bytes + t->used, value, size);
	t->used += size;
}

/* A structure is its formatted part of `size` bytes, of which the caller puts all but the header, then strings, then end(). */
static void begin(struct tables *t, u8 type, u8 size, u16 handle)
{
	t->start = t->used;
	t->strings = 0;
	put(t, type, 1);
	put(t, size, 1);
	put(t, handle, 2);
}

/* Strings follow in the order of their numbers. */
static void string(struct tables *t, const char *text)
{
	size_t len = strnlen(text, STRING_MAX);

	for (size_t i = 0; i < len; i++)
		put(t, (u8)text[i] >= ' ' ? (u8)text[i] : '?', 1);
	put(t, 0, 1);
	t->strings++;
}

static void end(struct tables *t)
{
	put(t, 0, t->strings ? 1 : 2);
	t->largest = MAX(t->largest, t->used - t->start);
	t->count++;
}

/* Type 1, with the three first fields of the UUID little-endian (7.2.1). */
static void add_system(struct tables *t, const struct smbios_board *board)
{
	const u8 *u = board->uuid;

	begin(t, 1, 27, HANDLE_SYSTEM);
	put(t, 1, 1);                   /* manufacturer */
	put(t, 2, 1);                   /* product */
	put(t, 3, 1);                   /* version */
	put(t, board->name ? 4 : 0, 1); /* serial number: none but the name */
	put(t, __builtin_bswap32((u32)le_load(u, 4)), 4);
	put(t, __builtin_bswap16((u16)le_load(u + 4, 2)), 2);
	put(t, __builtin_bswap16((u16)le_load(u + 6, 2)), 2);
	put(t, le_load(u + 8, 8), 8);
	put(t, 6, 1); /* woken by the power switch */
	put(t, 0, 1); /* no SKU number */
	put(t, 0, 1); /* no family */
	string(t, MANUFACTURER);
	string(t, "Pogo PC");
	string(t, POGO_VERSION);
	if (board->name)
		string(t, board->name[0] ? board->name : "-");
	end(t);
}

static void add_chassis(struct tables *t)
{
	begin(t, 3, 22, HANDLE_CHASSIS);
	put(t, 1, 1);
	put(t, 1, 1);          /* type: other */
	put(t, 0, 3);          /* version, serial number, asset tag */
	put(t, 0x03030303, 4); /* boot, power supply, heat: safe; security: none */
	put(t, 0, 4);          /* OEM */
	put(t, 0, 2);          /* height, power cords */
	put(t, 0, 2);          /* no contained elements */
	put(t, 0, 1);          /* no SKU number */
	string(t, MANUFACTURER);
	end(t);
}

static void add_cpu(struct tables *t, unsigned n)
{
	begin(t, 4, 42, (u16)(HANDLE_CPU + n));
	put(t, 1, 1);
	put(t, 3, 1);      /* central processor */
	put(t, 0xfe, 1);   /* family: see Processor Family 2 */
	put(t, 2, 1);      /* manufacturer */
	put(t, 0, 8);      /* CPUID says it better */
	put(t, 0, 1);      /* version */
	put(t, 0, 1);      /* voltage */
	put(t, 0, 2);      /* external clock: unknown */
	put(t, 0, 4);      /* maximum and current speed: unknown */
	put(t, 0x41, 1);   /* populated, enabled */
	put(t, 1, 1);      /* upgrade: other */
	put(t, 0xffff, 2); /* caches: none described */
	put(t, 0xffff, 4);
	put(t, 0, 3);        /* serial number, asset tag, part number */
	put(t, 0x010101, 3); /* cores, enabled cores, threads */
	put(t, 2, 2);        /* characteristics: unknown */
	put(t, 1, 2);        /* family 2: other */
	string(t, "CPU");
	string(t, MANUFACTURER);
	end(t);
}

static void add_array(struct tables *t, u64 ram, unsigned slots)
{
	u64 kib = ram / KIB;

	begin(t, 16, 23, HANDLE_ARRAY);
	put(t, 1, 1); /* location: other */
	put(t, 3, 1); /* system memory */
	put(t, 3, 1); /* error correction: none */
	put(t, kib < 0x80000000 ? kib : 0x80000000, 4);
	put(t, HANDLE_NONE, 2);
	put(t, slots, 2);
	put(t, kib < 0x80000000 ? 0 : ram, 8);
	end(t);
}

/* In MiB, or in KiB if bit 15 is set (7.18). */
static u64 device_size(u64 size)
{
	if (size % MIB && size / KIB < SIZE_EXTENDED)
		return SIZE_KIB | size / KIB;
	return MIN(size / MIB, SIZE_EXTENDED);
}

static void add_device(struct tables *t, unsigned n, u64 size)
{
	begin(t, 17, 40, (u16)(HANDLE_DEVICE + n));
	put(t, HANDLE_ARRAY, 2);
	put(t, HANDLE_NONE, 2);
	put(t, 64, 2); /* total width */
	put(t, 64, 2); /* data width */
	put(t, device_size(size), 2);
	put(t, 9, 1); /* DIMM */
	put(t, 0, 1); /* of no set */
	put(t, 1, 1); /* locator */
	put(t, 0, 1); /* bank locator */
	put(t, 7, 1); /* RAM */
	put(t, 2, 2); /* detail: other */
	put(t, 0, 2); /* speed: unknown */
	put(t, 2, 1); /* manufacturer */
	put(t, 0, 3); /* serial number, asset tag, part number */
	put(t, 0, 1); /* rank: unknown */
	put(t, size / MIB < SIZE_EXTENDED ? 0 : size / MIB, 4);
	put(t, 0, 2); /* clock: unknown */
	put(t, 0, 6); /* voltages: unknown */
	string(t, "DIMM");
	string(t, MANUFACTURER);
	end(t);
}

/* Addresses are in KiB, with all ones where they do not fit, and then in bytes. */
static void add_range(struct tables *t, unsigned n, u64 first, u64 end_addr)
{
	bool wide = end_addr / KIB > 0xffffffff;

	begin(t, 19, 31, (u16)(HANDLE_RANGE + n));
	put(t, wide ? 0xffffffff : first / KIB, 4);
	put(t, wide ? 0xffffffff : end_addr / KIB - 1, 4);
	put(t, HANDLE_ARRAY, 2);
	put(t, 1, 1); /* partition width */
	put(t, wide ? first : 0, 8);
	put(t, wide ? end_addr - 1 : 0, 8);
	end(t);
}

static void add_memory(struct tables *t, const struct smbios_board *board)
{
	u64 ram = board->ram_low_end + board->ram_high;
	u64 slot = RAM_SLOT;
	unsigned slots;

	while ((ram + slot - 1) / slot > RAM_SLOTS)
		slot *= 2;
	slots = (unsigned)((ram + slot - 1) / slot);
	add_array(t, ram, slots);
	for (unsigned n = 0; n < slots; n++)
		add_device(t, n, MIN(slot, ram - n * slot));
	add_range(t, 0, 0, board->ram_low_end);
	if (board->ram_high)
		add_range(t, 1, 4 * GIB, 4 * GIB + board->ram_high);
}

static void build(struct tables *t, const struct smbios_board *board)
{
	add_system(t, board);
	add_chassis(t);
	for (unsigned n = 0; n < board->cpus && !t->overflow; n++)
		add_cpu(t, n);
	add_memory(t, board);
	begin(t, 32, 11, HANDLE_BOOT);
	put(t, 0, 7); /* reserved; no errors */
	end(t);
	begin(t, 127, 4, HANDLE_END);
	end(t);
}

static u8 negative_sum(const u8 *p, u32 size)
{
	u8 sum = 0;

	for (u32 i = 0; i < size; i++)
		sum = (u8)(sum + p[i]);
	return (u8)-sum;
}

/* The address of the tables is firmware's to fill in, which then sums anew. */
static void make_anchor(u8 a[ANCHOR_SIZE], const struct tables *t)
{
	memset(a, 0, ANCHOR_SIZE);
	memcpy(a, "_SM_", 4);
	a[5] = ANCHOR_SIZE;
	a[6] = 2;
	a[7] = 8;
	le_store(a + 8, t->largest, 2);
	memcpy(a + 16, "_DMI_", 5);
	le_store(a + 22, t->used, 2);
	le_store(a + 28, t->count, 2);
	a[30] = 0x28; /* revision, as digits */
	a[21] = negative_sum(a + 16, 15);
	a[4] = negative_sum(a, ANCHOR_SIZE);
}

int smbios_add_files(struct fw_cfg *f, const struct smbios_board *board)
{
	struct tables *t = calloc(1, sizeof(*t));
	u8 anchor[ANCHOR_SIZE];
	int err = -ENOMEM;

	if (!t)
		return err;
	build(t, board);
	make_anchor(anchor, t);
	err = t->overflow ? -ENOSPC : 0;
	if (!err)
		err = fw_cfg_add_file(f, "etc/smbios/smbios-tables", t->bytes, t->used);
	if (!err)
		err = fw_cfg_add_file(f, "etc/smbios/smbios-anchor", anchor, sizeof(anchor));
	free(t);
	return err;
}
