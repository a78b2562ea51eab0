/* In array mode the contents are memory, and writes alone come here; in all other modes reads come too. Programming and erasing take no
 * time: the chip is ready again when the access is over, so that suspending has nothing to suspend. */
#include "dev/flash.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/trace.h"

#include <errno.h>

/* Commands (P30, table 20). */
#define CMD_PROGRAM_ALT   0x10
#define CMD_ERASE         0x20
#define CMD_PROGRAM       0x40
#define CMD_CLEAR_STATUS  0x50
#define CMD_LOCK          0x60
#define CMD_READ_STATUS   0x70
#define CMD_READ_ID       0x90
#define CMD_QUERY         0x98
#define CMD_SUSPEND       0xb0
#define CMD_CONFIRM       0xd0
#define CMD_PROGRAM_BLOCK 0xe8
#define CMD_READ_ARRAY    0xff

#define LOCK_BLOCK   0x01
#define LOCK_DOWN    0x2f
#define UNLOCK_BLOCK 0xd0

/* Status register (P30, table 22). */
#define SR_READY         0x80
#define SR_ERASE_ERROR   0x20
#define SR_PROGRAM_ERROR 0x10
#define SR_LOCKED        0x02
#define SR_SEQUENCE      (SR_ERASE_ERROR | SR_PROGRAM_ERROR)

#define MANUFACTURER 0x89
#define DEVICE       0x18

/* --- The array ------------------------------------------------------------------------------ */

static void show(struct flash *f)
{
	int err = mem_show(f->dev.platform->mem, &(struct mem_window){ .base = f->base,
								       .size = f->size,
								       .area = f->area,
								       .access = MEM_ROM,
								       .level = MEM_LEVEL_DEVICE,
								       .owner = f });

	if (err)
		trace(FIRMWARE, "flash cannot be shown as memory: %s", strerror(-err));
}

static void set_mode(struct flash *f, enum flash_mode mode)
{
	bool shown = f->regs.mode == FLASH_ARRAY;

	f->regs.mode = (u8)mode;
	if (shown && mode != FLASH_ARRAY)
		mem_hide(f->dev.platform->mem, f->base, f);
	else if (!shown && mode == FLASH_ARRAY)
		show(f);
}

/* Replaces bytes, in the file first: 0 or a negative errno, and then nothing has changed. */
static int change(struct flash *f, u64 offset, const u8 *data, u32 size)
{
	u8 *at = f->area->host + offset;
	int err = 0;

	if (!memcmp(at, data, size))
		return 0;
	if (f->file && !f->file->readonly) {
		err = block_file_write(f->file, data, size, offset);
		f->dirty = true;
	}
	if (err && !f->warned) {
		f->warned = true;
		log_warn("firmware variables '%s' cannot be written: %s; make room for it",
			 f->file->path, strerror(-err));
	}
	if (err)
		return err;
	mem_area_touch(f->dev.platform->mem, f->area, offset, size);
	memcpy(at, data, size);
	return 0;
}

static bool is_locked(const struct flash *f, u64 offset)
{
	u64 block = offset / FLASH_BLOCK;

	return f->regs.locked[block / 8] & BIT(block % 8);
}

/* The status bits that tell why [offset, offset + size), of two blocks at most, may not be changed; 0: it may. */
static u8 protection(const struct flash *f, u64 offset, u32 size)
{
	if (f->write_protected || is_locked(f, offset) || is_locked(f, offset + size - 1))
		return SR_LOCKED;
	return 0;
}

/* Programming clears bits; only erasing sets them. */
static void program(struct flash *f, u64 offset, const u8 *data, u32 size)
{
	u8 bytes[FLASH_BUFFER], error = protection(f, offset, size);

	for (u32 i = 0; i < size; i++)
		bytes[i] = f->area->host[offset + i] & data[i];
	if (error || change(f, offset, bytes, size))
		f->regs.status |= error | SR_PROGRAM_ERROR;
}

static void erase(struct flash *f, u64 offset)
{
	u8 bytes[FLASH_BLOCK], error;

	offset = align_down(offset, FLASH_BLOCK);
	error = protection(f, offset, FLASH_BLOCK);
	memset(bytes, 0xff, sizeof(bytes));
	if (error || change(f, offset, bytes, sizeof(bytes)))
		f->regs.status |= error | SR_ERASE_ERROR;
}

static void set_lock(struct flash *f, u64 offset, u8 what)
{
	u64 block = offset / FLASH_BLOCK;
	u8 *byte = &f->regs.locked[block / 8];

	if (what == LOCK_BLOCK || what == LOCK_DOWN)
		*byte |= (u8)BIT(block % 8);
	else if (what == UNLOCK_BLOCK)
		*byte &= (u8)~BIT(block % 8);
	else
		f->regs.status |= SR_SEQUENCE;
}

/* --- Reads ---------------------------------------------------------------------------------- */

/* Least n with 2^n at least v. */
static u8 log2_ceil(u64 v) { return v > 1 ? (u8)(64 - __builtin_clzll(v - 1)) : 0; }

/* The query's byte at an address (JESD68.01; P30, appendix C). */
static u8 query_byte(const struct flash *f, u8 at)
{
	static const u8 table[] = {
		[0x10] = 'Q',
		'R',
		'Y',
		0x01,
		0x00,
		0x31,
		0x00,
		0x00,
		0x00,
		0x00,
		0x00,
		/* VCC 1.7 to 2.0 V, VPP 8.5 to 9.5 V */
		[0x1b] = 0x17,
		0x20,
		0x85,
		0x95,
		/* typical times as powers of two: byte, buffer (us), block, chip (ms); then how much more at most */
		[0x1f] = 0x08,
		0x09,
		0x0a,
		0x00,
		0x01,
		0x01,
		0x02,
		0x00,
		[0x28] = 0x00,
		0x00,
		0x08,
		0x00,          /* 8 bits wide; buffer of 2^8 bytes */
		[0x2c] = 0x01, /* one region of equal blocks */
		[0x31] = 'P',
		'R',
		'I',
		'1',
		'0',
	};
	u64 blocks = f->size / FLASH_BLOCK - 1;

	switch (at) {
	case 0x27: return log2_ceil(f->size);
	case 0x2d: return (u8)blocks;
	case 0x2e: return (u8)(blocks >> 8);
	case 0x2f: return (u8)(FLASH_BLOCK / 256);
	case 0x30: return (u8)(FLASH_BLOCK / 256 >> 8);
	}
	return at < sizeof(table) ? table[at] : 0;
}

static u8 id_byte(const struct flash *f, u64 offset)
{
	switch (offset & 0xff) {
	case 0: return MANUFACTURER;
	case 1: return DEVICE;
	case 2: return is_locked(f, offset);
	}
	return 0;
}

static u8 read_byte(const struct flash *f, u64 offset)
{
	switch ((enum flash_mode)f->regs.mode) {
	case FLASH_ARRAY: return f->area->host[offset]; /* no room for the window */
	case FLASH_ID: return id_byte(f, offset);
	case FLASH_QUERY: return query_byte(f, (u8)offset);
	default: return f->regs.status;
	}
}

static u64 flash_read(void *dev, u64 offset, unsigned size)
{
	const struct flash *f = dev;
	u64 value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (u64)read_byte(f, offset + i) << (8 * i);
	return value;
}

/* --- Writes --------------------------------------------------------------------------------- */

static void command(struct flash *f, u8 cmd)
{
	switch (cmd) {
	case CMD_PROGRAM_ALT:
	case CMD_PROGRAM: set_mode(f, FLASH_PROGRAM); break;
	case CMD_ERASE: set_mode(f, FLASH_ERASE); break;
	case CMD_LOCK: set_mode(f, FLASH_LOCK); break;
	case CMD_PROGRAM_BLOCK:
		f->regs.status |= SR_READY; /* the buffer is there */
		set_mode(f, FLASH_BUFFER_COUNT);
		break;
	case CMD_READ_STATUS:
	case CMD_SUSPEND:
	case CMD_CONFIRM: set_mode(f, FLASH_STATUS); break;
	case CMD_READ_ID: set_mode(f, FLASH_ID); break;
	case CMD_QUERY: set_mode(f, FLASH_QUERY); break;
	/* All of the register, where a P30 keeps the ready bit: OVMF tells flash from ROM by the zero that it reads then. */
	case CMD_CLEAR_STATUS:
		f->regs.status = 0;
		set_mode(f, FLASH_ARRAY);
		break;
	default:
		trace(FIRMWARE, "flash: unknown command %#x", cmd);
		set_mode(f, FLASH_ARRAY);
		break;
	case CMD_READ_ARRAY: set_mode(f, FLASH_ARRAY); break;
	}
}

/* An operation is over. */
static void done(struct flash *f)
{
	f->regs.status |= SR_READY;
	set_mode(f, FLASH_STATUS);
}

static void buffer_begin(struct flash *f, u64 offset, u8 count)
{
	f->regs.start = (u32)align_down(offset, FLASH_BUFFER);
	f->regs.left = (u16)(count + 1);
	f->regs.astray = false;
	memset(f->regs.buffer, 0xff, sizeof(f->regs.buffer)); /* programs nothing */
	set_mode(f, FLASH_BUFFER_DATA);
}

static void buffer_put(struct flash *f, u64 offset, u8 byte)
{
	if (align_down(offset, FLASH_BUFFER) == f->regs.start)
		f->regs.buffer[offset % FLASH_BUFFER] = byte;
	else
		f->regs.astray = true;
	if (f->regs.left <= 1)
		set_mode(f, FLASH_BUFFER_CONFIRM);
	else
		f->regs.left--;
}

static void flash_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct flash *f = dev;
	u8 bytes[8];

	le_store(bytes, value, 8);
	switch ((enum flash_mode)f->regs.mode) {
	case FLASH_PROGRAM:
		program(f, offset, bytes, size);
		done(f);
		break;
	case FLASH_ERASE:
		if (bytes[0] == CMD_CONFIRM)
			erase(f, offset);
		else
			f->regs.status |= SR_SEQUENCE;
		done(f);
		break;
	case FLASH_LOCK:
		set_lock(f, offset, bytes[0]);
		done(f);
		break;
	case FLASH_BUFFER_COUNT: buffer_begin(f, offset, bytes[0]); break;
	case FLASH_BUFFER_DATA:
		for (unsigned i = 0; i < size && f->regs.mode == FLASH_BUFFER_DATA; i++)
			buffer_put(f, offset + i, bytes[i]);
		break;
	case FLASH_BUFFER_CONFIRM:
		if (bytes[0] == CMD_CONFIRM && !f->regs.astray)
			program(f, f->regs.start, f->regs.buffer, FLASH_BUFFER);
		else
			f->regs.status |= SR_SEQUENCE;
		done(f);
		break;
	default: command(f, bytes[0]); break;
	}
}

static const struct bus_ops flash_ops = { flash_read, flash_write, 8 };

/* --- Life ----------------------------------------------------------------------------------- */

static void flush(struct flash *f)
{
	int err = f->dirty ? block_file_flush(f->file) : 0;

	if (err)
		log_warn("firmware variables '%s' may not be on the disk: %s", f->file->path,
			 strerror(-err));
	f->dirty = false;
}

/* RST#: array mode, no errors; blocks come up unlocked, as firmware does not unlock them. */
static void flash_reset(struct device *dev)
{
	struct flash *f = container_of(dev, struct flash, dev);

	flush(f);
	set_mode(f, FLASH_ARRAY);
	f->regs = (struct flash_regs){ .status = SR_READY };
}

static void flash_loaded(struct device *dev)
{
	struct flash *f = container_of(dev, struct flash, dev);

	f->regs.start = (u32)align_down(MIN(f->regs.start, f->size - FLASH_BUFFER), FLASH_BUFFER);
	mem_hide(dev->platform->mem, f->base, f);
	if (f->regs.mode == FLASH_ARRAY)
		show(f);
}

static int flash_init(struct device *dev)
{
	struct flash *f = container_of(dev, struct flash, dev);
	int err = 0;

	if (f->file)
		f->size = f->file->size;
	if (f->size == 0 || f->size % FLASH_BLOCK || f->size > FLASH_SIZE_MAX ||
	    f->base % FLASH_BLOCK)
		return -EINVAL;
	f->area = mem_area_new(dev->platform->mem, f->size, dev->name);
	if (!f->area)
		return -ENOMEM;
	if (f->file)
		err = block_file_read(f->file, f->area->host, f->size, 0);
	else
		memset(f->area->host, 0xff, f->size);
	if (err)
		return err;
	err = bus_map(dev->platform->mmio, f->base, f->size, &flash_ops, f, dev->name);
	if (err)
		return err;
	f->regs.mode = FLASH_STATUS;
	flash_reset(dev);
	return 0;
}

static void flash_fini(struct device *dev)
{
	struct flash *f = container_of(dev, struct flash, dev);

	flush(f);
	mem_hide(dev->platform->mem, f->base, f);
	bus_unmap(dev->platform->mmio, f->base, f);
	block_file_close(f->file);
	f->file = NULL;
}

static const struct state_field flash_rows[] = {
	STATE_ROW(struct flash_regs, mode),     STATE_ROW(struct flash_regs, status),
	STATE_ARRAY(struct flash_regs, locked), STATE_ROW(struct flash_regs, start),
	STATE_ROW(struct flash_regs, left),     STATE_ROW(struct flash_regs, astray),
	STATE_ARRAY(struct flash_regs, buffer),
};
static STATE_DESC(flash_state, struct flash_regs, "flash", flash_rows);

const struct device_type flash_type = {
	.name = "flash",
	.help = "NOR flash with the Intel command set",
	.size = sizeof(struct flash),
	.regs_offset = offsetof(struct flash, regs),
	.regs = &flash_state,
	.init = flash_init,
	.reset = flash_reset,
	.loaded = flash_loaded,
	.fini = flash_fini,
};
