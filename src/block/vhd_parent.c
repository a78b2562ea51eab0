/* Parents of differencing VHD images: their names (locators, in the header), and whether one is still the disk that the child was made
 * over. */
#include "block/vhd.h"

#include "base/bits.h"
#include "base/fail.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- Names in the image --------------------------------------------------------------------- */

/* Windows' separators become ours. False for what cannot be a name here: of a drive, of a server, empty. */
static bool to_path(char *name)
{
	char *start = name;

	block_printable(name);
	for (char *p = name; *p; p++)
		if (*p == '\\')
			*p = '/';
	if (name[0] && name[1] == ':')
		return false;
	while (start[0] == '.' && start[1] == '/')
		for (start += 2; *start == '/'; start++)
			;
	memmove(name, start, strlen(start) + 1);
	return name[0] && !(name[0] == '/' && name[1] == '/');
}

static bool locator_name(const struct vhd *v, u32 code, char *name, size_t size)
{
	static const unsigned max = 8192; /* twice PATH_MAX */
	u8 *text = malloc(max);
	bool found = false;

	for (unsigned i = 0; text && i < VHD_LOCATORS && !found; i++) {
		const u8 *l = v->header + VHD_H_LOCATORS + i * VHD_L_SIZE;
		u64 length = be_load(l + VHD_L_LENGTH, 4), offset = be_load(l + VHD_L_OFFSET, 8);

		if (!(v->locators & 1u << i) || be_load(l + VHD_L_CODE, 4) != code || length > max)
			continue;
		found = !block_file_read(v->block.file, text, length, offset) &&
			vhd_utf16_decode(name, (unsigned)size, text, (unsigned)length, false) > 0 &&
			to_path(name);
	}
	free(text);
	return found;
}

/* The n-th way to name the parent: relative, absolute, in the header. */
static bool nth_name(const struct vhd *v, unsigned n, char *name, size_t size)
{
	if (n < 2)
		return locator_name(v, n == 0 ? VHD_W2RU : VHD_W2KU, name, size);
	return vhd_utf16_decode(name, (unsigned)size, v->header + VHD_H_PARENT_NAME,
				VHD_PARENT_NAME, true) > 0 &&
	       to_path(name);
}

void vhd_parent_name(const struct vhd *v, char *name, size_t size)
{
	bool found = false;

	for (unsigned n = 0; n < 3 && !found && v->type == VHD_DIFFERENCING; n++)
		found = nth_name(v, n, name, size);
	if (!found)
		name[0] = 0;
}

/* --- Opening -------------------------------------------------------------------------------- */

/* When the parent's file was changed last, seconds since 2000. */
static u32 parent_stamp(const struct vhd *parent)
{
	struct stat st;

	if (parent->block.file->fd >= 0 && fstat(parent->block.file->fd, &st) == 0)
		return (u32)(st.st_mtime - VHD_EPOCH);
	return (u32)be_load(parent->footer + VHD_F_STAMP, 4);
}

/* Whether the stamp of the child fits: by the specification it is the modification time of the parent's file, some programs take the
 * stamp in its footer. FAT counts by two seconds. */
static bool stamp_fits(const struct vhd *v, const struct vhd *parent)
{
	u32 stamp = (u32)be_load(v->header + VHD_H_PARENT_STAMP, 4);
	u32 age = parent_stamp(parent) - stamp;

	return stamp == 0 || age + 2 <= 4 || stamp == (u32)be_load(parent->footer + VHD_F_STAMP, 4);
}

static int check_parent(const struct vhd *v, struct block *block, char *err, size_t errlen)
{
	const char *path = v->block.file->path;
	const struct vhd *parent = vhd_of(block);

	if (block->ops != &block_vhd)
		FAIL(EINVAL, "disk '%s': its parent is no VHD image, as it must be", path);
	if (memcmp(v->header + VHD_H_PARENT_UUID, parent->footer + VHD_F_UUID, 16) != 0)
		FAIL(ESTALE,
		     "disk '%s': '%s' is not the parent that it was made over (another UUID); name the right one, or, if "
		     "its contents are the same: pogo disk rebase --unsafe '%s' --parent FILE",
		     path, block->file->path, path);
	if (!stamp_fits(v, parent))
		FAIL(ESTALE,
		     "disk '%s': its parent '%s' has changed since (another time stamp); if it was only copied or touched: "
		     "pogo disk rebase --unsafe '%s' --parent FILE",
		     path, block->file->path, path);
	return 0;
}

int vhd_parent_open(struct vhd *v, const struct block_options *options, char *err, size_t errlen)
{
	char name[PATH_MAX];
	bool tried = false;
	int r = -ENOENT;

	for (unsigned n = 0; n < 4 && (r == -ENOENT || r == -ESTALE); n++) {
		struct block *parent;

		if (n < 3 && !nth_name(v, n, name, sizeof(name)))
			continue;
		if (n == 3 && tried)
			break;
		if (n == 3) /* but the options may name it */
			snprintf(name, sizeof(name), "(no name)");
		tried = true;
		r = block_open_parent(&parent, v->block.file, name, "vhd", options, err, errlen);
		if (r)
			continue;
		r = parent ? check_parent(v, parent, err, errlen) : 0;
		if (r)
			block_close(parent);
		else
			v->block.parent = parent;
	}
	return r;
}

/* --- Writing -------------------------------------------------------------------------------- */

/* Our separators become Windows'. */
static int put_locator(struct block_file *file, u8 *locator, u32 code, const char *prefix,
		       const char *path, u64 *offset)
{
	char name[PATH_MAX + 8];
	u8 text[2 * PATH_MAX] = { 0 };
	u64 space;
	int length, r;

	if (snprintf(name, sizeof(name), "%s%s", prefix, path) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	for (char *p = name; *p; p++)
		if (*p == '/')
			*p = '\\';
	length = vhd_utf16_encode(text, sizeof(text), name, false);
	if (length < 0)
		return -EILSEQ;
	space = align_up((u64)length, BLOCK_SECTOR);
	r = block_file_write(file, text, space, *offset);
	if (r)
		return r;
	be_store(locator + VHD_L_CODE, code, 4);
	be_store(locator + VHD_L_SPACE, space, 4);
	be_store(locator + VHD_L_LENGTH, (u64)length, 4);
	be_store(locator + VHD_L_OFFSET, *offset, 8);
	*offset += space;
	return 0;
}

/* The absolute name of what the image at `image` finds at `path`. */
static bool absolute(char out[PATH_MAX], const char *image, const char *path)
{
	char copy[PATH_MAX], whole[2 * PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s", image) >= (int)sizeof(copy))
		return false;
	if (path[0] == '/')
		snprintf(whole, sizeof(whole), "%s", path);
	else
		snprintf(whole, sizeof(whole), "%s/%s", dirname(copy), path);
	return realpath(whole, out);
}

int vhd_parent_set(struct block_file *file, u8 *header, const char *path, const struct vhd *parent,
		   u64 *offset, char *err, size_t errlen)
{
	const char *slash = strrchr(path, '/');
	u8 *locator = header + VHD_H_LOCATORS;
	char whole[PATH_MAX];
	int r = 0;

	memset(header + VHD_H_PARENT_NAME, 0, VHD_PARENT_NAME);
	memset(locator, 0, VHD_LOCATORS * VHD_L_SIZE);
	memcpy(header + VHD_H_PARENT_UUID, parent->footer + VHD_F_UUID, 16);
	be_store(header + VHD_H_PARENT_STAMP, parent_stamp(parent), 4);
	if (strchr(path, '\\') || (path[0] && path[1] == ':'))
		FAIL(EINVAL, "disk '%s': a VHD image cannot name '%s' as its parent; rename that",
		     file->path, path);
	if (vhd_utf16_encode(header + VHD_H_PARENT_NAME, VHD_PARENT_NAME, slash ? slash + 1 : path,
			     true) < 0)
		FAIL(EILSEQ, "disk '%s': the name of its parent '%s' is not UTF-8, or too long",
		     file->path, path);
	if (path[0] != '/') {
		r = put_locator(file, locator, VHD_W2RU, "./", path, offset);
		locator += VHD_L_SIZE;
	}
	if (!r && absolute(whole, file->path, path))
		r = put_locator(file, locator, VHD_W2KU, "", whole, offset);
	vhd_header_seal(header);
	if (r == -EILSEQ || r == -ENAMETOOLONG)
		FAIL(-r, "disk '%s': the path of its parent '%s' is not UTF-8, or too long",
		     file->path, path);
	if (r)
		FAIL(-r, "disk '%s' cannot be written: %s", file->path, fail_text(-r));
	return 0;
}
