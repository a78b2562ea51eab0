/* VHD's structures: fields, checksums, geometry, names. */
#include "block/vhd_format.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

/* --- Checksums ------------------------------------------------------------------------------ */

u32 vhd_checksum(const u8 *p, unsigned size, unsigned field)
{
	u32 sum = 0;

	for (unsigned i = 0; i < size; i++)
		sum += i - field < 4 ? 0 : p[i];
	return ~sum;
}

void vhd_footer_seal(u8 *footer)
{
	be_store(footer + VHD_F_CHECKSUM, vhd_checksum(footer, VHD_FOOTER, VHD_F_CHECKSUM), 4);
}

void vhd_header_seal(u8 *header)
{
	be_store(header + VHD_H_CHECKSUM, vhd_checksum(header, VHD_HEADER, VHD_H_CHECKSUM), 4);
}

bool vhd_footer_cookie(const u8 *footer)
{
	return memcmp(footer + VHD_F_COOKIE, "conectix", 8) == 0;
}

bool vhd_footer_good(const u8 *footer)
{
	return vhd_footer_cookie(footer) &&
	       be_load(footer + VHD_F_CHECKSUM, 4) ==
		       vhd_checksum(footer, VHD_FOOTER, VHD_F_CHECKSUM);
}

bool vhd_header_good(const u8 *header)
{
	return be_load(header + VHD_H_CHECKSUM, 4) ==
	       vhd_checksum(header, VHD_HEADER, VHD_H_CHECKSUM);
}

/* --- Size and geometry ---------------------------------------------------------------------- */

#define MAX_CYLINDERS 65535u

struct vhd_geometry vhd_geometry(u64 sectors)
{
	u32 spt, heads, tracks; /* tracks: cylinders times heads */

	sectors = MIN(sectors, MAX_CYLINDERS * 16ull * 255);
	if (sectors >= MAX_CYLINDERS * 16ull * 63) {
		spt = 255;
		heads = 16;
		tracks = (u32)(sectors / spt);
	} else {
		spt = 17;
		tracks = (u32)(sectors / spt);
		heads = MAX((tracks + 1023) / 1024, 4);
		if (tracks >= heads * 1024 || heads > 16) {
			spt = 31;
			heads = 16;
			tracks = (u32)(sectors / spt);
		}
		if (tracks >= heads * 1024) {
			spt = 63;
			heads = 16;
			tracks = (u32)(sectors / spt);
		}
	}
	return (struct vhd_geometry){ (u16)(tracks / heads), (u8)heads, (u8)spt };
}

u64 vhd_footer_size(const u8 *footer)
{
	/* Writers whose geometry is only a hint: Hyper-V, QEMU when told the exact size, Disk2vhd, XenServer, XenConverter, Azure. */
	static const char exact[][4] = { "win ", "qem2", "d2v ", "tap", "CTXS", "wa" };
	u64 size = be_load(footer + VHD_F_SIZE, 8);
	u64 sectors =
		be_load(footer + VHD_F_CYLINDERS, 2) * footer[VHD_F_HEADS] * footer[VHD_F_SPT];

	for (unsigned i = 0; i < ARRAY_LEN(exact); i++)
		if (memcmp(footer + VHD_F_APP, exact[i], 4) == 0)
			return size;
	/* The largest geometry stands for any larger disk; one that is larger than the disk is none. */
	if (sectors == 0 || sectors == MAX_CYLINDERS * 16ull * 255 || sectors > size / 512)
		return size;
	return sectors * 512;
}

void vhd_footer_set_size(u8 *footer, u64 size)
{
	struct vhd_geometry g = vhd_geometry(size / 512);

	be_store(footer + VHD_F_SIZE, size, 8);
	/* Only informs, but libvhdi takes it for the size. */
	be_store(footer + VHD_F_ORIGINAL_SIZE, size, 8);
	be_store(footer + VHD_F_CYLINDERS, g.cylinders, 2);
	footer[VHD_F_HEADS] = g.heads;
	footer[VHD_F_SPT] = g.spt;
	/* Everyone shall see this size exactly. */
	if (vhd_footer_size(footer) != size)
		memcpy(footer + VHD_F_APP, "win ", 4);
	vhd_footer_seal(footer);
}

bool vhd_footer_init(u8 *footer, enum vhd_type type, u64 size)
{
	u8 *uuid = footer + VHD_F_UUID;

	memset(footer, 0, VHD_FOOTER);
	memcpy(footer + VHD_F_COOKIE, "conectix", 8);
	be_store(footer + VHD_F_FEATURES, 2, 4); /* reserved, always 1 */
	be_store(footer + VHD_F_VERSION, VHD_VERSION, 4);
	be_store(footer + VHD_F_DATA_OFFSET, type == VHD_FIXED ? VHD_NO_OFFSET : VHD_FOOTER, 8);
	be_store(footer + VHD_F_STAMP, (u64)(time(NULL) - VHD_EPOCH), 4);
	/* The creator whose images all programs take at their exact size. */
	memcpy(footer + VHD_F_APP, "win ", 4);
	be_store(footer + VHD_F_APP_VERSION, 0x00060001, 4);
	memcpy(footer + VHD_F_OS, "Wi2k", 4);
	be_store(footer + VHD_F_TYPE, type, 4);
	if (getrandom(uuid, 16, 0) != 16)
		return false;
	uuid[6] = (u8)((uuid[6] & 0x0f) | 0x40); /* RFC 4122: random */
	uuid[8] = (u8)((uuid[8] & 0x3f) | 0x80);
	vhd_footer_set_size(footer, size);
	return true;
}

/* --- Names ---------------------------------------------------------------------------------- */

static void put_unit(u8 *out, u32 unit, bool big)
{
	out[big ? 0 : 1] = (u8)(unit >> 8);
	out[big ? 1 : 0] = (u8)unit;
}

static u32 get_unit(const u8 *in, bool big)
{
	return big ? (u32)in[0] << 8 | in[1] : (u32)in[1] << 8 | in[0];
}

/* The next character of a UTF-8 text, 0 at its end, or ~0 if it is not valid: too long a form, a surrogate, cut. */
static u32 next_utf8(const u8 **p)
{
	static const u32 smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const u8 *s = *p;
	unsigned n = s[0] < 0x80       ? 1
		     : s[0] >> 5 == 6  ? 2
		     : s[0] >> 4 == 14 ? 3
		     : s[0] >> 3 == 30 ? 4
				       : 0;
	u32 c = n == 1 ? s[0] : n ? s[0] & (0x7fu >> n) : ~0u;

	for (unsigned i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return ~0u;
		c = c << 6 | (s[i] & 0x3f);
	}
	*p = s + n;
	return n && c >= smallest[n] && c <= 0x10ffff && c >> 11 != 27 ? c : ~0u;
}

int vhd_utf16_encode(u8 *out, unsigned size, const char *text, bool big)
{
	const u8 *p = (const u8 *)text;
	unsigned n = 0;

	for (u32 c; (c = next_utf8(&p)) != 0;) {
		unsigned need = c > 0xffff ? 4 : 2;

		if (c == ~0u || need > size - n)
			return -1;
		if (need == 4) {
			put_unit(out + n, 0xd7c0 + (c >> 10), big);
			put_unit(out + n + 2, 0xdc00 | (c & 0x3ff), big);
		} else {
			put_unit(out + n, c, big);
		}
		n += need;
	}
	return (int)n;
}

static unsigned put_utf8(u8 *out, u32 c)
{
	unsigned n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (n == 1) {
		out[0] = (u8)c;
		return 1;
	}
	for (unsigned i = n; i-- > 1; c >>= 6)
		out[i] = (u8)(0x80 | (c & 0x3f));
	out[0] = (u8)(c | (0xf00u >> n));
	return n;
}

int vhd_utf16_decode(char *out, unsigned size, const u8 *in, unsigned length, bool big)
{
	unsigned n = 0;

	for (unsigned i = 0; i + 2 <= length; i += 2) {
		u32 c = get_unit(in + i, big), low;

		if (c == 0)
			break;
		if (c >> 11 == 27) { /* a surrogate */
			low = i + 4 <= length ? get_unit(in + i + 2, big) : 0;
			if (c >> 10 != 54 || low >> 10 != 55)
				return -1;
			c = ((c - 0xd7c0) << 10) | (low & 0x3ff);
			i += 2;
		}
		if (size - n < 5)
			return -1;
		n += put_utf8((u8 *)out + n, c);
	}
	out[n] = 0;
	return (int)n;
}
