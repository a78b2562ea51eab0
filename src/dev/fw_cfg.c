/* Items, the two ports that read them byte by byte, and the DMA interface. */
#include "dev/fw_cfg.h"

#include "base/trace.h"

#include <errno.h>
#include <stdlib.h>

#define ID_TRADITIONAL BIT(0)
#define ID_DMA         BIT(1)

#define KEY_WRITE  0x4000 /* of the first version of the interface; has no meaning now */
#define DMA_OFFSET 4u     /* of the address register from the first port */

#define DIRECTORY_ENTRY 64u
#define DMA_DESCRIPTOR  16u
#define CHUNK           65536u /* bytes of zeros written at once */

static const char dma_signature[8] = { 'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G' };

/* --- Items ---------------------------------------------------------------------------------- */

/* NULL: no such item. */
static struct fw_cfg_item *item_at(struct fw_cfg *f, u16 key)
{
	if (key & FW_CFG_ARCH) {
		key = (u16)(key & ~(FW_CFG_ARCH | KEY_WRITE));
		return key < FW_CFG_ARCH_KEYS ? &f->arch[key] : NULL;
	}
	key = (u16)(key & ~KEY_WRITE);
	if (key < FW_CFG_FILE_FIRST)
		return &f->keys[key];
	key = (u16)(key - FW_CFG_FILE_FIRST);
	return key < f->files ? &f->file[key] : NULL;
}

/* Replaces the contents; what is called when the guest touches the item stays. */
static int item_set(struct fw_cfg_item *item, const void *data, u32 size)
{
	u8 *copy = malloc(size ? size : 1);

	if (!copy)
		return -ENOMEM;
	if (size)
		memcpy(copy, data, size);
	free(item->data);
	item->data = copy;
	item->size = size;
	return 0;
}

static void item_clear(struct fw_cfg_item *item)
{
	free(item->data);
	*item = (struct fw_cfg_item){ 0 };
}

int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 size)
{
	u16 number = (u16)(key & ~FW_CFG_ARCH);

	if (number >= (key & FW_CFG_ARCH ? FW_CFG_ARCH_KEYS : FW_CFG_FILE_FIRST) ||
	    key == FW_CFG_SIGNATURE || key == FW_CFG_ID || key == FW_CFG_DIRECTORY)
		return -EINVAL;
	return item_set(item_at(f, key), data, size);
}

int fw_cfg_add_int(struct fw_cfg *f, u16 key, u64 value, unsigned bytes)
{
	u8 data[8];

	le_store(data, value, 8);
	return fw_cfg_add(f, key, data, bytes);
}

/* The file's place among the sorted names, or where it would be. */
static unsigned place_of(const struct fw_cfg *f, const char *name, bool *found)
{
	unsigned n = 0;

	while (n < f->files && strcmp(f->name[n], name) < 0)
		n++;
	*found = n < f->files && strcmp(f->name[n], name) == 0;
	return n;
}

static int make_directory(struct fw_cfg *f)
{
	static const u8 zeros[4 + FW_CFG_FILES * DIRECTORY_ENTRY];
	struct fw_cfg_item *dir = &f->keys[FW_CFG_DIRECTORY];
	int err = item_set(dir, zeros, 4 + f->files * DIRECTORY_ENTRY);

	if (err)
		return err;
	be_store(dir->data, f->files, 4);
	for (unsigned n = 0; n < f->files; n++) {
		u8 *p = dir->data + 4 + n * DIRECTORY_ENTRY;

		be_store(p, f->file[n].size, 4);
		be_store(p + 4, FW_CFG_FILE_FIRST + n, 2);
		memcpy(p + 8, f->name[n], FW_CFG_NAME);
	}
	return 0;
}

static void file_remove(struct fw_cfg *f, unsigned n)
{
	item_clear(&f->file[n]);
	f->files--;
	memmove(&f->file[n], &f->file[n + 1], (f->files - n) * sizeof(f->file[0]));
	memmove(f->name[n], f->name[n + 1], (f->files - n) * sizeof(f->name[0]));
	f->file[f->files] = (struct fw_cfg_item){ 0 };
}

static int file_insert(struct fw_cfg *f, unsigned n, const char *name, const void *data, u32 size)
{
	struct fw_cfg_item item = { 0 };
	int err;

	if (f->files == FW_CFG_FILES)
		return -ENOSPC;
	err = item_set(&item, data, size);
	if (err)
		return err;
	memmove(&f->file[n + 1], &f->file[n], (f->files - n) * sizeof(f->file[0]));
	memmove(f->name[n + 1], f->name[n], (f->files - n) * sizeof(f->name[0]));
	f->files++;
	f->file[n] = item;
	memset(f->name[n], 0, FW_CFG_NAME);
	memcpy(f->name[n], name, strlen(name));
	err = make_directory(f);
	if (err)
		file_remove(f, n);
	return err;
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 size)
{
	size_t len = strlen(name);
	bool found;
	unsigned n;
	int err;

	if (len == 0 || len >= FW_CFG_NAME)
		return -EINVAL;
	n = place_of(f, name, &found);
	if (!found)
		return file_insert(f, n, name, data, size);
	err = item_set(&f->file[n], data, size);
	if (!err)
		be_store(f->keys[FW_CFG_DIRECTORY].data + 4 + n * DIRECTORY_ENTRY, size, 4);
	return err;
}

int fw_cfg_add_file_int(struct fw_cfg *f, const char *name, u64 value, unsigned bytes)
{
	u8 data[8];

	le_store(data, value, 8);
	return fw_cfg_add_file(f, name, data, bytes);
}

int fw_cfg_on_select(struct fw_cfg *f, const char *name, fw_cfg_selected *fn, void *opaque)
{
	bool found;
	unsigned n = place_of(f, name, &found);

	if (!found)
		return -ENOENT;
	f->file[n].selected = fn;
	f->file[n].opaque = opaque;
	return 0;
}

const u8 *fw_cfg_file(const struct fw_cfg *f, const char *name, u32 *size)
{
	bool found;
	unsigned n = place_of(f, name, &found);

	if (!found)
		return NULL;
	*size = f->file[n].size;
	return f->file[n].data;
}

/* --- Access --------------------------------------------------------------------------------- */

static void select_key(struct fw_cfg *f, u16 key)
{
	struct fw_cfg_item *item = item_at(f, key);
	bool file = item >= f->file && item < f->file + FW_CFG_FILES;

	trace(FIRMWARE, "item %#x %s", key, file ? f->name[item - f->file] : item ? "" : "none");
	f->regs.key = key;
	f->regs.offset = 0;
	if (item && item->selected)
		item->selected(item->opaque);
}

/* How many bytes of the selected item are left; *item is NULL if there is none. */
static u32 bytes_left(struct fw_cfg *f, struct fw_cfg_item **item)
{
	*item = item_at(f, f->regs.key);
	return *item && f->regs.offset < (*item)->size ? (*item)->size - f->regs.offset : 0;
}

/* Beyond the end there are zeros. */
static u8 next_byte(struct fw_cfg *f)
{
	struct fw_cfg_item *item;

	return bytes_left(f, &item) ? item->data[f->regs.offset++] : 0;
}

static bool write_zeros(struct mem *mem, gpa_t to, u32 size)
{
	static const u8 zeros[CHUNK];

	while (size) {
		u32 n = MIN(size, CHUNK);

		if (!mem_write(mem, to, zeros, n))
			return false;
		to += n;
		size -= n;
	}
	return true;
}

static bool dma_read(struct fw_cfg *f, gpa_t to, u32 size)
{
	struct mem *mem = f->dev.platform->mem;
	struct fw_cfg_item *item;
	u32 n = MIN(size, bytes_left(f, &item));

	if (n && !mem_write(mem, to, item->data + f->regs.offset, n))
		return false;
	f->regs.offset += n;
	return write_zeros(mem, to + n, size - n);
}

/* The descriptor is control, length (4 bytes each), address (8). The control word becomes 0, or the error bit alone, when the transfer
 * is over. A descriptor that is not in memory has nowhere to tell of it. */
static void dma_run(struct fw_cfg *f, gpa_t at)
{
	struct mem *mem = f->dev.platform->mem;
	u8 d[DMA_DESCRIPTOR];
	u32 control, size, left;
	struct fw_cfg_item *item;
	gpa_t addr;
	bool ok = true;

	if (!mem_read(mem, at, d, sizeof(d))) {
		trace(FIRMWARE, "DMA descriptor at %#llx is not in RAM", (unsigned long long)at);
		return;
	}
	control = (u32)be_load(d, 4);
	size = (u32)be_load(d + 4, 4);
	addr = be_load(d + 8, 8);
	if (control & FW_CFG_DMA_SELECT)
		select_key(f, (u16)(control >> 16));
	if (control & FW_CFG_DMA_READ) {
		ok = size <= FW_CFG_DMA_MAX && addr + size >= addr && dma_read(f, addr, size);
	} else if (control & FW_CFG_DMA_WRITE) {
		ok = false; /* there are no files for writing */
	} else if (control & FW_CFG_DMA_SKIP) {
		left = bytes_left(f, &item);
		f->regs.offset += MIN(size, left);
	}
	if (!ok)
		trace(FIRMWARE, "DMA fails: control %#x, %#x bytes at %#llx", control, size,
		      (unsigned long long)addr);
	be_store(d, ok ? 0 : FW_CFG_DMA_ERROR, 4);
	if (!mem_write(mem, at, d, 4))
		trace(FIRMWARE, "DMA descriptor at %#llx is gone", (unsigned long long)at);
}

/* The address register: high doubleword, then the low one, whose last byte starts the transfer. */
static void dma_address_write(struct fw_cfg *f, unsigned offset, u64 value, unsigned size)
{
	u8 bytes[8];
	gpa_t at;

	be_store(bytes, f->regs.address, 8);
	for (unsigned i = 0; i < size; i++)
		bytes[offset + i] = (u8)(value >> (8 * i));
	at = f->regs.address = be_load(bytes, 8);
	if (offset + size < 8)
		return;
	f->regs.address = 0;
	dma_run(f, at);
}

static u64 fw_cfg_read(void *dev, u64 offset, unsigned size)
{
	struct fw_cfg *f = dev;
	u64 value = 0;

	for (unsigned i = 0; i < size; i++, offset++) {
		u8 byte = 0;

		if (offset == 1)
			byte = next_byte(f);
		else if (offset >= DMA_OFFSET)
			byte = (u8)dma_signature[offset - DMA_OFFSET];
		value |= (u64)byte << (8 * i);
	}
	return value;
}

/* The selector takes words alone; writes to the data port have had no effect since there is DMA. */
static void fw_cfg_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct fw_cfg *f = dev;

	if (offset == 0 && size >= 2)
		select_key(f, (u16)value);
	else if (offset >= DMA_OFFSET)
		dma_address_write(f, (unsigned)(offset - DMA_OFFSET), value, size);
}

static const struct bus_ops fw_cfg_ops = { fw_cfg_read, fw_cfg_write, 4 };

/* --- Life ----------------------------------------------------------------------------------- */

static void fw_cfg_reset(struct device *dev)
{
	container_of(dev, struct fw_cfg, dev)->regs = (struct fw_cfg_regs){ 0 };
}

static int fw_cfg_init(struct device *dev)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);
	u8 id[4];
	int err = item_set(&f->keys[FW_CFG_SIGNATURE], "QEMU", 4);

	le_store(id, ID_TRADITIONAL | ID_DMA, 4);
	if (!err)
		err = item_set(&f->keys[FW_CFG_ID], id, sizeof(id));
	if (!err)
		err = make_directory(f);
	fw_cfg_reset(dev);
	if (!err)
		err = bus_map(dev->platform->ports, FW_CFG_PORT, FW_CFG_PORTS, &fw_cfg_ops, f,
			      dev->name);
	return err;
}

void fw_cfg_clear(struct fw_cfg *f)
{
	for (unsigned n = 0; n < ARRAY_LEN(f->keys); n++)
		item_clear(&f->keys[n]);
	for (unsigned n = 0; n < ARRAY_LEN(f->arch); n++)
		item_clear(&f->arch[n]);
	while (f->files)
		item_clear(&f->file[--f->files]);
}

static void fw_cfg_fini(struct device *dev)
{
	struct fw_cfg *f = container_of(dev, struct fw_cfg, dev);

	bus_unmap(dev->platform->ports, FW_CFG_PORT, f);
	fw_cfg_clear(f);
}

static const struct state_field fw_cfg_rows[] = {
	STATE_ROW(struct fw_cfg_regs, key),
	STATE_ROW(struct fw_cfg_regs, offset),
	STATE_ROW(struct fw_cfg_regs, address),
};
static STATE_DESC(fw_cfg_state, struct fw_cfg_regs, "fw_cfg", fw_cfg_rows);

const struct device_type fw_cfg_type = {
	.name = "fw_cfg",
	.help = "items that firmware reads about the machine",
	.size = sizeof(struct fw_cfg),
	.regs_offset = offsetof(struct fw_cfg, regs),
	.regs = &fw_cfg_state,
	.init = fw_cfg_init,
	.reset = fw_cfg_reset,
	.fini = fw_cfg_fini,
};
