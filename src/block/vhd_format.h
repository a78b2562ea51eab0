/* What lies in a VHD file: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (2006). Everything is big-endian. The
 * structures are kept as they are on disk, so that what we do not know survives; fields are reached by their offsets. */
#ifndef BLOCK_VHD_FORMAT_H
#define BLOCK_VHD_FORMAT_H

#include "base/bits.h"

#define VHD_FOOTER    512u
#define VHD_HEADER    1024u
#define VHD_UNUSED    0xffffffffu /* a block allocation table entry without a block */
#define VHD_NO_OFFSET (~0ull)     /* a footer's data offset in a fixed disk */
#define VHD_MAX_SECTORS \
	0xff000000ull               /* 2040 GiB: more, and the last blocks' sectors pass 32 bits */
#define VHD_EPOCH       946684800   /* 2000-01-01 00:00 UTC in Unix time */
#define VHD_VERSION     0x00010000u /* of the format, in footer and header */
#define VHD_LOCATORS    8u
#define VHD_MAX_LOCATOR 65536u      /* bytes of text */
#define VHD_W2RU        0x57327275u /* a locator: relative path, UTF-16 little-endian */
#define VHD_W2KU        0x57326b75u /* absolute path, UTF-16 little-endian */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* The hard disk footer: at the end of the file, a copy at the start of dynamic and differencing ones. */
enum vhd_footer_field {
	VHD_F_COOKIE = 0, /* "conectix" */
	VHD_F_FEATURES = 8,
	VHD_F_VERSION = 12,
	VHD_F_DATA_OFFSET = 16, /* 8 bytes: of the dynamic disk header */
	VHD_F_STAMP = 24,       /* seconds since 2000 */
	VHD_F_APP = 28,         /* of the creator: "vpc ", "win " */
	VHD_F_APP_VERSION = 32,
	VHD_F_OS = 36,
	VHD_F_ORIGINAL_SIZE = 40, /* 8 bytes */
	VHD_F_SIZE = 48,          /* 8 bytes */
	VHD_F_CYLINDERS = 56,     /* 2 bytes */
	VHD_F_HEADS = 58,         /* 1 byte */
	VHD_F_SPT = 59,           /* 1 byte: sectors per track */
	VHD_F_TYPE = 60,
	VHD_F_CHECKSUM = 64,
	VHD_F_UUID = 68,  /* 16 bytes */
	VHD_F_SAVED = 84, /* 1 byte */
};

/* The dynamic disk header. */
enum vhd_header_field {
	VHD_H_COOKIE = 0,        /* "cxsparse" */
	VHD_H_DATA_OFFSET = 8,   /* 8 bytes, unused */
	VHD_H_TABLE_OFFSET = 16, /* 8 bytes: of the block allocation table */
	VHD_H_VERSION = 24,
	VHD_H_ENTRIES = 28,
	VHD_H_BLOCK_SIZE = 32,
	VHD_H_CHECKSUM = 36,
	VHD_H_PARENT_UUID = 40,  /* 16 bytes */
	VHD_H_PARENT_STAMP = 56, /* modification time of the parent, seconds since 2000 */
	VHD_H_PARENT_NAME = 64,  /* 512 bytes, UTF-16 big-endian: its file name */
	VHD_H_LOCATORS = 576,    /* 8 times 24 bytes */
};

#define VHD_PARENT_NAME 512u

enum vhd_locator_field {
	VHD_L_CODE = 0,
	VHD_L_SPACE = 4,   /* room for it: bytes in most programs, sectors in the specification */
	VHD_L_LENGTH = 8,  /* bytes */
	VHD_L_OFFSET = 16, /* 8 bytes */
	VHD_L_SIZE = 24,
};

/* The one's complement of the sum of all bytes but those of the checksum, which is at `field`. */
u32 vhd_checksum(const u8 *p, unsigned size, unsigned field);
/* Put the right checksum in. */
void vhd_footer_seal(u8 *footer);
void vhd_header_seal(u8 *header);
bool vhd_footer_cookie(const u8 *footer);
/* Cookie and checksum are right. */
bool vhd_footer_good(const u8 *footer);
bool vhd_header_good(const u8 *header);

struct vhd_geometry {
	u16 cylinders;
	u8 heads, spt;
};

/* The geometry that a disk of so many sectors gets (specification, appendix "CHS calculation"). */
struct vhd_geometry vhd_geometry(u64 sectors);

/* The disk's size, bytes, from its footer. Virtual PC shows the product of the geometry, Hyper-V and most others the size field; who wrote
 * the image tells which. */
u64 vhd_footer_size(const u8 *footer);

/* A new footer: this type and size, now, a new UUID; false if there is no randomness. */
bool vhd_footer_init(u8 *footer, enum vhd_type type, u64 size);
/* Both sizes and the geometry of a disk of so many bytes; seals the footer. */
void vhd_footer_set_size(u8 *footer, u64 size);

/* UTF-8 to UTF-16 and back. Returns bytes (without a final 0; decode adds one to out), or -1 if the text is not valid or does not fit. */
int vhd_utf16_encode(u8 *out, unsigned size, const char *text, bool big);
int vhd_utf16_decode(char *out, unsigned size, const u8 *in, unsigned length, bool big);

#endif
