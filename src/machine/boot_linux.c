/* Linux on x86: the boot protocol of Documentation/x86/boot.rst, 32-bit and 64-bit entry; the
 * 16-bit entry runs the kernel's own setup code on the BIOS stub. */
#include "machine/boot_internal.h"

#include "base/trace.h"
#include "machine/bios_stub.h"

/* Setup header, as offsets in the file and in struct boot_params alike. */
#define HDR_SETUP_SECTS     0x1f1
#define HDR_SYSSIZE         0x1f4 /* paragraphs */
#define HDR_VID_MODE        0x1fa
#define HDR_BOOT_FLAG       0x1fe
#define HDR_JUMP_LENGTH     0x201
#define HDR_MAGIC           0x202
#define HDR_VERSION         0x206
#define HDR_TYPE_OF_LOADER  0x210
#define HDR_LOADFLAGS       0x211
#define HDR_CODE32_START    0x214
#define HDR_RAMDISK_IMAGE   0x218
#define HDR_RAMDISK_SIZE    0x21c
#define HDR_HEAP_END_PTR    0x224
#define HDR_CMD_LINE_PTR    0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_KERNEL_ALIGN    0x230
#define HDR_RELOCATABLE     0x234
#define HDR_XLOADFLAGS      0x236
#define HDR_CMDLINE_SIZE    0x238
#define HDR_PREF_ADDRESS    0x258
#define HDR_INIT_SIZE       0x260
#define HDR_END             0x290 /* what struct boot_params has room for */

#define LOADFLAGS_LOADED_HIGH  BIT(0)
#define LOADFLAGS_CAN_USE_HEAP BIT(7)
#define XLF_KERNEL_64          BIT(0)
#define LOADER_UNDEFINED       0xff /* no number is assigned to this monitor */
#define VID_MODE_NORMAL        0xffff

/* struct boot_params */
#define BP_SIZE         0x1000
#define BP_EXT_MEM_K    0x002
#define BP_VIDEO_MODE   0x006
#define BP_VIDEO_COLS   0x007
#define BP_VIDEO_LINES  0x00e
#define BP_VIDEO_IS_VGA 0x00f
#define BP_VIDEO_POINTS 0x010
#define BP_ACPI_RSDP    0x070
#define BP_ALT_MEM_K    0x1e0
#define BP_E820_ENTRIES 0x1e8
#define BP_E820_TABLE   0x2d0
#define BP_E820_SIZE    20

/* Entry offset of the 64-bit kernel, and where bzImages are loaded. */
#define ENTRY_64  0x200
#define LOAD_ADDR BOOT_HIGH

/* Setup segment of the 16-bit entry: code and header, then heap and stack up to here. */
#define REAL_MODE_STACK 0xe000u

struct linux_image {
	unsigned version; /* 0x20a is 2.10 */
	u64 setup_size, payload_size;
	u64 end;        /* of the memory that the kernel uses before it reads the memory map */
	u32 initrd_max; /* highest address of the ramdisk's last byte */
	u64 cmdline_max;
	bool can_64;
};

static u64 field(const struct boot *b, unsigned offset, unsigned size)
{
	return le_load(b->head + offset, size);
}

bool boot_linux_match(const struct boot *b)
{
	return field(b, HDR_BOOT_FLAG, 2) == 0xaa55 && !memcmp(b->head + HDR_MAGIC, "HdrS", 4);
}

/* Where the kernel unpacks itself to, and what it needs there (protocol 2.10: init_size). */
static int find_end(struct boot *b, struct linux_image *k)
{
	u64 start = LOAD_ADDR, align, size = k->payload_size;

	k->end = LOAD_ADDR + k->payload_size;
	if (k->version >= 0x20a) {
		align = field(b, HDR_KERNEL_ALIGN, 4);
		if (align == 0 || (align & (align - 1)))
			return boot_fail(b,
					 "kernel '%s': kernel_alignment %#llx is no power of two",
					 b->kernel.path, (unsigned long long)align);
		if (field(b, HDR_RELOCATABLE, 1))
			start = align_up(start, align);
		start = MAX(start, field(b, HDR_PREF_ADDRESS, 8));
		size = field(b, HDR_INIT_SIZE, 4);
	}
	if (start > b->mem->low_end || size > b->mem->low_end - start || k->end > b->mem->low_end)
		return boot_no_room(b, MAX(k->end, start + size));
	k->end = MAX(k->end, start + size);
	return 0;
}

static int parse(struct boot *b, struct linux_image *k)
{
	u64 sects = field(b, HDR_SETUP_SECTS, 1), paragraphs;

	k->version = (unsigned)field(b, HDR_VERSION, 2);
	k->setup_size = ((sects ? sects : 4) + 1) * 512;
	if (k->version < 0x202)
		return boot_fail(
			b, "kernel '%s' has boot protocol %u.%02u; 2.02 is the oldest that works",
			b->kernel.path, k->version >> 8, k->version & 0xff);
	if (!(field(b, HDR_LOADFLAGS, 1) & LOADFLAGS_LOADED_HIGH))
		return boot_fail(b, "kernel '%s' is a zImage; only bzImages can be started",
				 b->kernel.path);
	if (b->kernel.size <= k->setup_size)
		return boot_fail(b, "kernel '%s' is truncated: it ends within its setup code",
				 b->kernel.path);
	k->payload_size = b->kernel.size - k->setup_size;
	paragraphs = field(b, HDR_SYSSIZE, k->version >= 0x204 ? 4 : 2);
	if (k->version >= 0x204 && k->payload_size + 15 < paragraphs * 16)
		return boot_fail(b, "kernel '%s' is truncated: %llu of %llu bytes", b->kernel.path,
				 (unsigned long long)b->kernel.size,
				 (unsigned long long)(k->setup_size + paragraphs * 16));
	k->initrd_max = k->version >= 0x203 ? (u32)field(b, HDR_INITRD_ADDR_MAX, 4) : 0x37ffffff;
	k->cmdline_max = k->version >= 0x206 ? field(b, HDR_CMDLINE_SIZE, 4) : 255;
	k->can_64 = k->version >= 0x20c && (field(b, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64);
	return find_end(b, k);
}

static void add_memory_map(const struct boot *b, u8 *params)
{
	struct boot_range ranges[BOOT_RANGES];
	unsigned count = boot_memory_map(b->mem, ranges);
	u64 above_1m = (b->mem->low_end - BOOT_HIGH) / KIB;

	for (unsigned i = 0; i < count; i++) {
		u8 *e = params + BP_E820_TABLE + i * BP_E820_SIZE;

		le_store(e, ranges[i].base, 8);
		le_store(e + 8, ranges[i].size, 8);
		le_store(e + 16, ranges[i].type, 4);
	}
	params[BP_E820_ENTRIES] = (u8)count;
	le_store(params + BP_EXT_MEM_K, MIN(above_1m, 0xffff), 2);
	le_store(params + BP_ALT_MEM_K, above_1m, 4);
}

static void add_screen(u8 *params)
{
	params[BP_VIDEO_MODE] = 3; /* text, 80 by 25, 16 colours */
	params[BP_VIDEO_COLS] = 80;
	params[BP_VIDEO_LINES] = 25;
	params[BP_VIDEO_IS_VGA] = 1;
	le_store(params + BP_VIDEO_POINTS, 16, 2);
}

/* What the loader fills in of the header, wherever it lies. */
static void fill_header(u8 *header, gpa_t initrd, u64 initrd_size)
{
	header[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	le_store(header + HDR_VID_MODE, VID_MODE_NORMAL, 2);
	le_store(header + HDR_CMD_LINE_PTR, BOOT_CMDLINE, 4);
	le_store(header + HDR_RAMDISK_IMAGE, initrd, 4);
	le_store(header + HDR_RAMDISK_SIZE, initrd_size, 4);
	le_store(header + HDR_CODE32_START, LOAD_ADDR, 4);
}

/* 32- and 64-bit entry: completes a boot_params that has nothing but a header. */
static void write_params(struct boot *b, u8 *params, gpa_t initrd, u64 initrd_size)
{
	fill_header(params, initrd, initrd_size);
	add_memory_map(b, params);
	if (b->rq->vga)
		add_screen(params);
	le_store(params + BP_ACPI_RSDP, b->rq->rsdp, 8);
	boot_write(b, BOOT_INFO, params, BP_SIZE);
}

void boot_linux_params(struct boot *b, gpa_t initrd, u64 initrd_size)
{
	u8 params[BP_SIZE] = { 0 };

	le_store(params + HDR_BOOT_FLAG, 0xaa55, 2);
	memcpy(params + HDR_MAGIC, "HdrS", 4);
	le_store(params + HDR_VERSION, 0x20f, 2);
	write_params(b, params, initrd, initrd_size);
}

/* 16-bit entry: the setup code with its header, and the BIOS services that it calls. */
static int enter_16(struct boot *b, const struct linux_image *k, gpa_t initrd, u64 initrd_size)
{
	u8 header[HDR_END];
	int r;

	if (k->setup_size > REAL_MODE_STACK - 4096)
		return boot_fail(
			b,
			"kernel '%s': %llu bytes of setup code are too many for the 16-bit entry",
			b->kernel.path, (unsigned long long)k->setup_size);
	r = boot_copy(b, &b->kernel, 0, BOOT_REAL_MODE, k->setup_size);
	if (r)
		return r;
	memcpy(header, b->head, sizeof(header));
	fill_header(header, initrd, initrd_size);
	header[HDR_LOADFLAGS] |= LOADFLAGS_CAN_USE_HEAP;
	le_store(header + HDR_HEAP_END_PTR, REAL_MODE_STACK - 0x200, 2);
	boot_write(b, BOOT_REAL_MODE, header, sizeof(header));
	bios_stub_enter(b, (u16)((BOOT_REAL_MODE + 0x200) >> 4), (u16)(BOOT_REAL_MODE >> 4),
			REAL_MODE_STACK);
	return 0;
}

static int pick_entry(struct boot *b, const struct linux_image *k, enum boot_entry *entry)
{
	*entry = b->rq->entry;
	if (*entry == BOOT_ENTRY_AUTO)
		*entry = k->can_64 && b->rq->long_mode ? BOOT_ENTRY_64 : BOOT_ENTRY_32;
	if (*entry == BOOT_ENTRY_64 && !k->can_64)
		return boot_fail(b, "kernel '%s' has no 64-bit entry", b->kernel.path);
	if (*entry == BOOT_ENTRY_64 && !b->rq->long_mode)
		return boot_fail(b, "the 64-bit entry needs a CPU model with long mode");
	return 0;
}

int boot_linux_load(struct boot *b)
{
	struct linux_image k = { 0 };
	enum boot_entry entry;
	u8 params[BP_SIZE] = { 0 };
	gpa_t initrd;
	u64 initrd_size;
	unsigned end;
	int r = parse(b, &k);

	if (!r)
		r = pick_entry(b, &k, &entry);
	if (!r)
		r = boot_write_cmdline(b, k.cmdline_max);
	if (!r)
		r = boot_copy(b, &b->kernel, k.setup_size, LOAD_ADDR, k.payload_size);
	if (!r)
		r = boot_load_initrd(b, k.end, k.initrd_max + 1ull, &initrd, &initrd_size);
	if (r)
		return r;
	trace(BOOT, "boot protocol %u.%02u, kernel to %#llx, initrd %#llx", k.version >> 8,
	      k.version & 0xff, (unsigned long long)k.end, (unsigned long long)initrd);
	if (entry == BOOT_ENTRY_16)
		return enter_16(b, &k, initrd, initrd_size);
	end = MIN(HDR_MAGIC + b->head[HDR_JUMP_LENGTH], HDR_END);
	memcpy(params + HDR_SETUP_SECTS, b->head + HDR_SETUP_SECTS, end - HDR_SETUP_SECTS);
	write_params(b, params, initrd, initrd_size);
	if (entry == BOOT_ENTRY_64)
		boot_enter_flat(b, 64, LOAD_ADDR + ENTRY_64);
	else
		boot_enter_flat(b, 32, LOAD_ADDR);
	b->cpu->gpr[RSI] = BOOT_INFO;
	return 0;
}
