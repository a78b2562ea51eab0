/* Images as files: which format one is of, opening it with the images below it, making a new one. */
#include "block/block.h"

#include "base/fail.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- Formats -------------------------------------------------------------------------------- */

const struct block_ops *const block_formats[] = { &block_raw, &block_vhd, &block_qcow2, NULL };

static const struct {
	const char *extension, *format;
} extensions[] = {
	{ "raw", "raw" }, { "img", "raw" },     { "iso", "raw" },    { "vhd", "vhd" },
	{ "vpc", "vhd" }, { "qcow2", "qcow2" }, { "qcow", "qcow2" },
};

void block_printable(char *name)
{
	for (u8 *c = (u8 *)name; *c; c++)
		if (*c < ' ' || *c == 0x7f)
			*c = '?';
		else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* U+0080 to U+009F */
			c[0] = c[1] = '?';
}

const struct block_ops *block_format_find(const char *name)
{
	for (const struct block_ops *const *f = block_formats; *f; f++)
		if (!strcmp((*f)->name, name))
			return *f;
	return NULL;
}

const struct block_ops *block_format_by_extension(const char *path)
{
	const char *name = strrchr(path, '/'), *dot = strrchr(name ? name : path, '.');

	for (size_t i = 0; dot && i < ARRAY_LEN(extensions); i++)
		if (!strcasecmp(dot + 1, extensions[i].extension))
			return block_format_find(extensions[i].format);
	return NULL;
}

const struct block_ops *block_format_probe(const u8 *head, const u8 *tail, u64 file_size)
{
	for (const struct block_ops *const *f = block_formats; *f; f++)
		if ((*f)->probe && (*f)->probe(head, tail, file_size))
			return *f;
	return &block_raw;
}

static int unknown_format(const char *path, const char *format, char *err, size_t errlen)
{
	char list[128] = "";

	for (const struct block_ops *const *f = block_formats; *f; f++) {
		size_t n = strlen(list);

		snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", (*f)->name);
	}
	FAIL(EINVAL, "disk '%s': unknown format '%s'; choose one of: %s", path, format, list);
}

/* Images that are not raw, but of no format that is known here. */
static const char *foreign_format(const u8 *head)
{
	static const struct {
		const char *name, *magic;
		unsigned at, size;
	} foreign[] = {
		{ "VMDK", "KDMV", 0, 4 },     { "VMDK", "# Disk DescriptorFile", 0, 21 },
		{ "VHDX", "vhdxfile", 0, 8 }, { "VDI", "\x7f\x10\xda\xbe", 0x40, 4 },
		{ "QED", "QED", 0, 4 },       { "Parallels", "WithoutFreeSpace", 0, 16 },
	};

	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (!memcmp(head + foreign[i].at, foreign[i].magic, foreign[i].size))
			return foreign[i].name;
	return NULL;
}

/* What looks raw may be a damaged image, or one of a format that is not known here: then its guest's writes would destroy what can be
 * saved. Who knows better gives the format. */
static int check_raw(const struct block_file *file, const u8 *head, char *err, size_t errlen)
{
	const struct block_ops *named = block_format_by_extension(file->path);
	const char *foreign = foreign_format(head);

	if (foreign)
		FAIL(EINVAL,
		     "disk '%s' is a %s image; make one of it that can be used: qemu-img convert -O qcow2 '%s' NEW.qcow2 (if "
		     "it is a raw one, give its format: raw)",
		     file->path, foreign, file->path);
	if (named && named != &block_raw)
		FAIL(EINVAL,
		     "disk '%s' is called %s, but is none, or is damaged; if it is a raw one, give its format: raw",
		     file->path, named->name);
	return 0;
}

/* The format that was asked for, or what the file looks like; NULL, with *error and err, if there is no telling. */
static const struct block_ops *find_format(struct block_file *file, const char *name, int *error,
					   char *err, size_t errlen)
{
	u8 head[512] = { 0 }, tail[512] = { 0 };
	u64 end = file->size > sizeof(tail) ? file->size - sizeof(tail) : 0;
	const struct block_ops *format;

	if (name) {
		format = block_format_find(name);
		if (!format)
			*error = unknown_format(file->path, name, err, errlen);
		return format;
	}
	*error = block_file_read(file, head, sizeof(head), 0);
	if (!*error)
		*error = block_file_read(file, tail, sizeof(tail), end);
	if (!*error) {
		format = block_format_probe(head, tail, file->size);
		if (format == &block_raw)
			*error = check_raw(file, head, err, errlen);
		return *error ? NULL : format;
	}
	snprintf(err, errlen, "disk '%s' cannot be read: %s", file->path, fail_text(-*error));
	return NULL;
}

/* --- Opening -------------------------------------------------------------------------------- */

static int open_image(struct block **block, const struct block_options *options, char *err,
		      size_t errlen)
{
	const struct block_ops *format;
	struct block_file *file;
	struct block *b = NULL;
	int r = block_file_open(&file, options->path, options->readonly, err, errlen);

	if (r)
		return r;
	format = find_format(file, options->format, &r, err, errlen);
	if (format)
		r = format->open(&b, file, options, err, errlen);
	if (b) {
		b->readonly = options->readonly;
		*block = b;
	} else {
		block_file_close(file);
	}
	return r;
}

static int open_scratch(struct block **block, const struct block_options *options, char *err,
			size_t errlen)
{
	struct block_options below = *options;
	struct block *image = NULL;
	int r;

	below.readonly = true;
	r = open_image(&image, &below, err, errlen);
	if (!image)
		return r;
	r = block_scratch(block, image);
	if (r) {
		image->ops->close(image);
		FAIL(-r, "disk '%s': no temporary file for its changes: %s", options->path,
		     fail_text(-r));
	}
	(*block)->readonly = options->readonly;
	return 0;
}

int block_open(struct block **block, const struct block_options *options, char *err, size_t errlen)
{
	struct block *b = NULL;
	int r;

	/* Before anything is locked. */
	if (options->format && !block_format_find(options->format))
		return unknown_format(options->path, options->format, err, errlen);
	r = options->scratch ? open_scratch(&b, options, err, errlen)
			     : open_image(&b, options, err, errlen);
	if (!b)
		return r;
	if (options->threaded) {
		r = block_engage(b, options->io);
		if (r) {
			b->ops->close(b);
			FAIL(-r, "disk '%s': no %s: %s", options->path,
			     options->io == BLOCK_IO_URING ? "io_uring for it" : "worker thread",
			     strerror(-r));
		}
	}
	*block = b;
	return 0;
}

/* --- Parents -------------------------------------------------------------------------------- */

/* `path` as seen from the directory that `from` lies in. */
static int resolve(char *out, size_t size, const char *from, const char *path)
{
	const char *slash = strrchr(from, '/');
	int n;

	if (path[0] == '/' || !slash)
		n = snprintf(out, size, "%s", path);
	else
		n = snprintf(out, size, "%.*s/%s", (int)(slash - from), from, path);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* What the options of the child make of the name in its image: how the parent is to be opened. */
static int parent_options(struct block_options *parent, char *path, size_t size,
			  const struct block_file *child, const char *named, const char *format,
			  const struct block_options *o, char *err, size_t errlen)
{
	int r;

	*parent = (struct block_options){ .format = format, .readonly = true };
	if (o->backing == BLOCK_BACKING_ANY) {
		r = resolve(path, size, child->path, named);
		if (format)
			parent->backing = BLOCK_BACKING_ANY;
	} else if (o->backing == BLOCK_BACKING_NAMED && o->parent) {
		r = snprintf(path, size, "%s", o->parent) < (int)size ? 0 : -ENAMETOOLONG;
		parent->format = o->parent_format ? o->parent_format : format;
		if (o->below) {
			parent->backing = BLOCK_BACKING_NAMED;
			parent->parent = o->below->path;
			parent->parent_format = o->below->format;
			parent->below = o->below->next;
		}
	} else {
		FAIL(EPERM,
		     "disk '%s' is a difference to '%s', which it may not open; name that as its parent where you name "
		     "the disk (<backingStore> in a machine file), or make it independent with: pogo disk rebase '%s' --parent none",
		     child->path, named, child->path);
	}
	if (r)
		FAIL(-r, "disk '%s': the name of its parent is too long", child->path);
	return 0;
}

/* Two names of one file are one file. */
static bool is_above(const struct stat *st, const struct block_above *above)
{
	for (; above; above = above->next)
		if (above->device == st->st_dev && above->inode == st->st_ino)
			return true;
	return false;
}

int block_open_parent(struct block **parent, const struct block_file *child, const char *path,
		      const char *format, const struct block_options *options, char *err,
		      size_t errlen)
{
	struct block_options o;
	struct block_above here = { .next = options->above };
	char where[PATH_MAX];
	struct stat st;
	int r;

	if (options->backing == BLOCK_BACKING_UNSEEN) {
		*parent = NULL;
		return 0;
	}
	r = parent_options(&o, where, sizeof(where), child, path, format, options, err, errlen);

	if (r)
		return r;
	if (options->depth + 1 >= BLOCK_CHAIN_MAX)
		FAIL(ELOOP,
		     "disk '%s': more than %u images in its chain; merge some with: pogo disk rebase '%s' --parent none",
		     child->path, BLOCK_CHAIN_MAX, child->path);
	o.path = where;
	o.depth = options->depth + 1;
	o.above = options->above;
	if (child->fd >= 0 && fstat(child->fd, &st) == 0) {
		here.device = st.st_dev;
		here.inode = st.st_ino;
		o.above = &here;
	}
	if (stat(where, &st))
		FAIL(errno,
		     "disk '%s': its parent '%s' cannot be opened: %s; if it has moved, say where with: "
		     "pogo disk rebase --unsafe '%s' --parent FILE",
		     child->path, where, strerror(errno), child->path);
	if (is_above(&st, o.above))
		FAIL(ELOOP,
		     "disk '%s': its parent '%s' is above it in the same chain; name the right one with: "
		     "pogo disk rebase --unsafe '%s' --parent FILE",
		     child->path, where, child->path);
	return block_open(parent, &o, err, errlen);
}

/* --- New images ----------------------------------------------------------------------------- */

int block_path_from(char *out, size_t size, const char *image, const char *path)
{
	char copy[PATH_MAX], from[PATH_MAX], to[PATH_MAX], name[PATH_MAX];
	const char *f = from, *t = to;
	size_t same = 0, n = 0;

	if (path[0] == '/')
		return snprintf(out, size, "%s", path) < (int)size ? 0 : -ENAMETOOLONG;
	if (strlen(image) >= sizeof(copy) || strlen(path) >= sizeof(copy))
		return -ENAMETOOLONG;
	snprintf(copy, sizeof(copy), "%s", image);
	if (!realpath(dirname(copy), from))
		return -errno;
	snprintf(copy, sizeof(copy), "%s", path);
	if (!realpath(dirname(copy), to))
		return -errno;
	snprintf(copy, sizeof(copy), "%s", path);
	if (snprintf(name, sizeof(name), "%s", basename(copy)) >= (int)sizeof(name))
		return -ENAMETOOLONG;
	for (size_t i = 0;; i++) {
		bool end_f = !f[i] || f[i] == '/', end_t = !t[i] || t[i] == '/';

		if (end_f && end_t)
			same = i; /* a component ends in both */
		if (f[i] != t[i] || !f[i])
			break;
	}
	out[0] = 0;
	for (const char *p = f + same; *p; p++)
		if (*p == '/' && p[1])
			n += (size_t)snprintf(out + MIN(n, size), size - MIN(n, size), "../");
	for (t += same; *t == '/'; t++)
		;
	n += (size_t)snprintf(out + MIN(n, size), size - MIN(n, size), "%s%s%s", t, *t ? "/" : "",
			      name);
	return n < size ? 0 : -ENAMETOOLONG;
}

/* Opens the parent of an image that is to be made, fills in what the image takes from it. */
static int create_parent(struct block **parent, struct block_create *c, char *name, size_t size,
			 char *err, size_t errlen)
{
	struct block_options o = { .path = c->parent,
				   .format = c->parent_format,
				   .readonly = true,
				   .backing = BLOCK_BACKING_ANY };
	int r = block_path_from(name, size, c->path, c->parent);

	if (r)
		FAIL(-r, "disk '%s': parent '%s': %s", c->path, c->parent, strerror(-r));
	r = block_open(parent, &o, err, errlen);
	if (!*parent)
		return r;
	c->parent = name;
	c->parent_format = (*parent)->ops->name;
	if (!c->size)
		c->size = (*parent)->size;
	return 0;
}

static int create_file(const struct block_ops *format, const struct block_create *c,
		       struct block *parent, char *err, size_t errlen)
{
	struct block_file *file;
	int r = block_file_create(&file, c->path, err, errlen);

	if (r)
		return r;
	r = format->create(file, c, parent, err, errlen);
	if (!r) {
		r = block_file_flush(file);
		if (r)
			snprintf(err, errlen, "disk '%s' cannot be written: %s", c->path,
				 fail_text(-r));
	}
	if (r)
		unlink(c->path);
	block_file_close(file);
	return r;
}

int block_create(const struct block_create *c, char *err, size_t errlen)
{
	struct block_create create = *c;
	const struct block_ops *format = c->format ? block_format_find(c->format)
						   : block_format_by_extension(c->path);
	struct block *parent = NULL;
	char name[PATH_MAX];
	int r;

	if (!format && c->format)
		return unknown_format(c->path, c->format, err, errlen);
	if (!format)
		FAIL(EINVAL,
		     "disk '%s': its name does not say which format it shall have; let it end in .raw, .vhd or .qcow2, or give the format",
		     c->path);
	if (!format->create)
		FAIL(EOPNOTSUPP, "disk '%s': images of format %s cannot be created", c->path,
		     format->name);
	create.format = format->name;
	if (c->parent) {
		r = create_parent(&parent, &create, name, sizeof(name), err, errlen);
		if (r)
			return r;
	}
	if (!create.size || create.size % BLOCK_SECTOR || create.size > INT64_MAX) {
		block_close(parent);
		FAIL(EINVAL,
		     "disk '%s': its size must be a multiple of %u bytes, not 0, and less than 8 EiB",
		     c->path, BLOCK_SECTOR);
	}
	r = create_file(format, &create, parent, err, errlen);
	block_close(parent);
	return r;
}

/* An overlay that exists: is it one over base? */
static int overlay_fits(const char *overlay, const char *format, const char *base,
			const char *base_format, char *err, size_t errlen)
{
	struct block_options o = { .path = overlay,
				   .format = format,
				   .readonly = true,
				   .backing = BLOCK_BACKING_NAMED,
				   .parent = base,
				   .parent_format = base_format };
	struct block_info info = { 0 };
	struct block *block = NULL;
	struct stat ours, theirs;
	char where[PATH_MAX];
	int r = block_open(&block, &o, err, errlen);

	if (!block)
		return r;
	if (block->ops->info)
		block->ops->info(block, &info);
	block_close(block);
	if (!info.parent[0])
		FAIL(EINVAL,
		     "overlay '%s' is no difference to '%s' but a disk of its own; choose another name",
		     overlay, base);
	if (resolve(where, sizeof(where), overlay, info.parent) || stat(where, &theirs) ||
	    stat(base, &ours) || ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino)
		FAIL(EINVAL,
		     "overlay '%s' is a difference to '%s', not to '%s'; choose another name",
		     overlay, info.parent, base);
	return 0;
}

int block_overlay_prepare(const char *overlay, const char *format, const char *base,
			  const char *base_format, char *err, size_t errlen)
{
	struct block_create c = {
		.path = overlay, .format = format, .parent = base, .parent_format = base_format
	};

	if (access(overlay, F_OK) == 0)
		return overlay_fits(overlay, format, base, base_format, err, errlen);
	return block_create(&c, err, errlen);
}
