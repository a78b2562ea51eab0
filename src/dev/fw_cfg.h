/* The firmware configuration device: items that firmware reads by key through ports, or has copied to guest memory; some of
 * them are files, which the directory names. Registers, keys and formats are those of the QEMU fw_cfg interface, which SeaBIOS and
 * OVMF look for; numbers in the DMA interface and the directory are big-endian, in items little-endian. */
#ifndef DEV_FW_CFG_H
#define DEV_FW_CFG_H

#include "base/bits.h"
#include "core/device.h"

#define FW_CFG_PORT  0x510 /* selector 510h, data 511h, DMA address 514h..51Bh */
#define FW_CFG_PORTS 12

enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_RAM_SIZE = 0x03,
	FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_NB_CPUS = 0x05,
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_DIRECTORY = 0x19,
	FW_CFG_FILE_FIRST = 0x20,
	FW_CFG_ARCH = 0x8000, /* keys of the architecture start here */
	FW_CFG_IRQ0_OVERRIDE = 0x8002,
};

#define FW_CFG_FILES     64u
#define FW_CFG_ARCH_KEYS 8u
#define FW_CFG_NAME      56u             /* with the zero that ends it */
#define FW_CFG_DMA_MAX   (64 * 1048576u) /* bytes of one transfer */

/* DMA control word. */
#define FW_CFG_DMA_ERROR  BIT(0)
#define FW_CFG_DMA_READ   BIT(1)
#define FW_CFG_DMA_SKIP   BIT(2)
#define FW_CFG_DMA_SELECT BIT(3) /* the key is in bits 31..16 */
#define FW_CFG_DMA_WRITE  BIT(4)

struct fw_cfg_regs {
	u16 key;     /* selected item */
	u32 offset;  /* of the next byte in it */
	u64 address; /* of the DMA descriptor, as far as it has been written */
};

/* The guest selects a file: its contents may be brought up to date, by adding files of the same name and size. */
typedef void fw_cfg_selected(void *opaque);

struct fw_cfg_item {
	u8 *data;
	u32 size;
	fw_cfg_selected *selected;
	void *opaque;
};

struct fw_cfg {
	struct device dev;
	struct fw_cfg_regs regs;
	struct fw_cfg_item keys[FW_CFG_FILE_FIRST];
	struct fw_cfg_item arch[FW_CFG_ARCH_KEYS];
	/* Sorted by name; file n has key FW_CFG_FILE_FIRST + n. */
	struct fw_cfg_item file[FW_CFG_FILES];
	char name[FW_CFG_FILES][FW_CFG_NAME];
	unsigned files;
};

extern const struct device_type fw_cfg_type;

/* All of these copy `data`, which may be NULL if size is 0. They may be called from when the struct is zeroed until the device's fini;
 * a new name changes the keys of others: only while no guest runs. The same key or name again replaces the contents.
 * -EINVAL: a key that is not there or the device's own, a name that is empty or too long; -ENOSPC: too many files; -ENOMEM. */
int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 size) must_check;
/* A little-endian number of 2, 4 or 8 bytes. */
int fw_cfg_add_int(struct fw_cfg *f, u16 key, u64 value, unsigned bytes) must_check;
int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 size) must_check;
int fw_cfg_add_file_int(struct fw_cfg *f, const char *name, u64 value, unsigned bytes) must_check;
/* Has fn called each time the guest selects the file. -ENOENT. */
int fw_cfg_on_select(struct fw_cfg *f, const char *name, fw_cfg_selected *fn, void *opaque)
	must_check;
/* Takes all items away; for a struct that no device has been made of. */
void fw_cfg_clear(struct fw_cfg *f);
/* The contents of a file as the guest reads it, until it is added again; NULL if it is not there. */
const u8 *fw_cfg_file(const struct fw_cfg *f, const char *name, u32 *size);

#endif
