/* `pogo disk convert`, `rebase` and `diff`: what goes over the contents of whole disks. */
#include "control/disk.h"

#include "base/fail.h"
#include "base/log.h"
#include "control/command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRAIN (64 * KIB) /* zeros of this size become holes */

static bool same_file(const char *a, const char *b)
{
	struct stat s, t;

	return stat(a, &s) == 0 && stat(b, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

/* --- convert -------------------------------------------------------------------------------------- */

/* One piece, leaving zeros out: a new image is full of them. */
static int copy_piece(struct block *from, struct block *to, u8 *buf, u64 offset, u64 size)
{
	int r = block_read_now(from, buf, size, offset);

	for (u64 at = 0, n; at < size && !r; at += n) {
		n = MIN(size - at, GRAIN - (offset + at) % GRAIN);
		if (!disk_is_zero(buf + at, n))
			r = block_write_now(to, buf + at, n, offset + at);
	}
	return r;
}

static int copy_all(struct block *from, struct block *to)
{
	u8 *buf = malloc(DISK_PIECE);
	struct disk_work w;
	int r = buf ? 0 : -ENOMEM;

	disk_work_start(&w, "converting", from->size);
	for (u64 at = 0, size; at < from->size && !r; at += size) {
		size = from->size - at;
		if (disk_may_have_data(from, at, &size)) {
			size = MIN(size, DISK_PIECE - at % DISK_PIECE);
			r = copy_piece(from, to, buf, at, size);
		}
		if (disk_interrupted())
			r = -EINTR;
		disk_work_step(&w, at + size);
	}
	if (!r)
		r = block_flush_now(to);
	disk_work_end(&w);
	free(buf);
	return r;
}

/* Copies the disk into a new image at `path`, which is the destination, or what is to take its place. */
static int convert_into(struct block *from, const struct disk_args *a, const char *path,
			const char *format)
{
	struct block_create c = { .path = path,
				  .format = format,
				  .variant = a->variant,
				  .size = from->size,
				  .cluster_size = (u32)a->cluster_size };
	struct block_options o = { .path = path, .format = format };
	struct block *to;
	char err[1024];
	int r = block_create(&c, err, sizeof(err));

	if (r) {
		log_error("%s", err);
		return r;
	}
	r = block_open(&to, &o, err, sizeof(err));
	if (r) {
		log_error("%s", err);
	} else {
		r = copy_all(from, to);
		if (r == -EINTR)
			log_error("interrupted; '%s' is %s", a->words[1],
				  path == a->words[1] ? "removed" : "as it was");
		else if (r)
			log_error("disk '%s' cannot be copied to '%s': %s", a->words[0],
				  a->words[1], fail_text(-r));
		block_close(to);
	}
	if (r)
		unlink(path);
	return r;
}

/* The image is made beside the old one and takes its place when it is complete; nobody may use the old one meanwhile. */
static int convert_replace(struct block *from, const struct disk_args *a, const char *format)
{
	char path[PATH_MAX], there[PATH_MAX], err[1024];
	struct block_file *old;
	struct stat st;
	int r;

	/* A link stays, and leads to the new image. */
	if (!realpath(a->words[1], there) ||
	    snprintf(path, sizeof(path), "%s.new-%d", there, (int)getpid()) >= (int)sizeof(path)) {
		log_error("'%.64s...': the name is too long", a->words[1]);
		return -ENAMETOOLONG;
	}
	if (stat(there, &st) || !S_ISREG(st.st_mode)) {
		log_error(
			"'%s' is no ordinary file; convert to one, and copy that: cp IMAGE.raw '%s'",
			a->words[1], a->words[1]);
		return -EINVAL;
	}
	r = block_file_open(&old, a->words[1], false, err, sizeof(err));
	if (r) {
		log_error("%s", err);
		return r;
	}
	r = convert_into(from, a, path, format);
	if (!r && rename(path, there)) {
		r = -errno;
		log_error("'%s' cannot be replaced: %s", a->words[1], fail_text(-r));
		unlink(path);
	}
	block_file_close(old);
	return r;
}

int disk_convert(struct disk_args *a)
{
	const struct block_ops *format = block_format_by_extension(a->words[1]);
	const char *name = a->to_format ? a->to_format : format ? format->name : NULL;
	struct block *from;
	int r;

	if (!name)
		return disk_usage_error(
			"disk convert: '%s' does not say which format it shall have; give --format",
			a->words[1]);
	if (same_file(a->words[0], a->words[1]))
		return disk_usage_error("disk convert: '%s' and '%s' are the same file",
					a->words[0], a->words[1]);
	if (!a->force && access(a->words[1], F_OK) == 0) {
		log_error("'%s' exists already; replace it with --force", a->words[1]);
		return EXIT_ERROR;
	}
	from = disk_open(a->words[0], a->format, true, BLOCK_BACKING_ANY);
	if (!from)
		return EXIT_ERROR;
	disk_catch_signals(); /* before there is a file to remove */
	r = access(a->words[1], F_OK) == 0 ? convert_replace(from, a, name)
					   : convert_into(from, a, a->words[1], name);
	block_close(from);
	a->written = a->words[1];
	a->format = name;
	return r ? EXIT_ERROR : EXIT_OK;
}

/* --- rebase --------------------------------------------------------------------------------------- */

/* One range that the image does not hold itself: what the guest sees must not change with the parent. */
static int rebase_piece(struct block *block, struct block *parent, u8 *now, u8 *then, u64 offset,
			u64 size)
{
	int r = block_read_now(block, now, size, offset);

	if (!r && parent)
		r = block_read_now(parent, then, size, offset);
	for (u64 at = 0, n; at < size && !r; at += n) {
		n = MIN(size - at, 4 * KIB);
		if (parent ? memcmp(now + at, then + at, n) : !disk_is_zero(now + at, n))
			r = block_write_now(block, now + at, n, offset + at);
	}
	return r;
}

static int rebase_contents(struct block *block, struct block *parent)
{
	u8 *now = malloc(DISK_PIECE), *then = malloc(DISK_PIECE);
	struct disk_work w;
	int r = now && then ? 0 : -ENOMEM;

	disk_work_start(&w, "copying", block->size);
	for (u64 at = 0, size; at < block->size && !r; at += size) {
		size = MIN(block->size - at, DISK_PIECE);
		if (!block->ops->allocated || !block->ops->allocated(block, at, &size))
			r = rebase_piece(block, parent, now, then, at, size);
		if (disk_interrupted())
			r = -EINTR;
		disk_work_step(&w, at + size);
	}
	if (!r)
		r = block_flush_now(block);
	disk_work_end(&w);
	free(now);
	free(then);
	return r;
}

/* The name that the image shall have for its parent. */
static int parent_name(char *out, size_t size, const struct disk_args *a)
{
	int r = block_path_from(out, size, a->words[0], a->parent);

	if (r)
		log_error("disk '%s': parent '%s': %s", a->words[0], a->parent, strerror(-r));
	return r;
}

static int rebase_open(const struct disk_args *a, struct block *block, struct block *parent)
{
	char name[PATH_MAX] = "", err[1024] = "";
	int r = parent ? parent_name(name, sizeof(name), a) : 0;

	if (r)
		return r;
	if (!a->unsafe)
		r = rebase_contents(block, parent);
	if (r == -EINTR)
		log_error(
			"interrupted; '%s' still has its old parent and is unchanged for its guest",
			a->words[0]);
	else if (r)
		log_error("disk '%s' cannot take in what its parent holds: %s", a->words[0],
			  fail_text(-r));
	if (r)
		return r;
	r = block->ops->set_parent(block, parent ? name : NULL, parent ? parent->ops->name : NULL,
				   err, sizeof(err));
	if (r)
		log_error("%s", err[0] ? err : fail_text(-r));
	return r;
}

/* The new parent. That the image itself is among those below it is found before it is opened, and locked, twice. */
static struct block *open_new_parent(const struct disk_args *a)
{
	struct block_above image = { 0 };
	struct block_options o = { .path = a->parent,
				   .format = a->parent_format,
				   .readonly = true,
				   .backing = BLOCK_BACKING_ANY,
				   .above = &image };
	struct block *parent;
	struct stat st;
	char err[1024];

	if (stat(a->words[0], &st) == 0) {
		image.device = st.st_dev;
		image.inode = st.st_ino;
	}
	if (block_open(&parent, &o, err, sizeof(err)) == 0)
		return parent;
	log_error("%s", err);
	return NULL;
}

int disk_rebase(struct disk_args *a)
{
	struct block *block, *parent = NULL;
	bool none, stored;
	int r;

	if (!a->parent)
		return disk_usage_error(
			"disk rebase: which parent? --parent FILE, or --parent none");
	none = !strcmp(a->parent, "none");
	if (!none && same_file(a->words[0], a->parent))
		return disk_usage_error("disk rebase: '%s' cannot be its own parent", a->words[0]);
	if (!none) {
		parent = open_new_parent(a);
		if (!parent)
			return EXIT_ERROR;
	}
	block = disk_open(a->words[0], a->format, false,
			  a->unsafe ? BLOCK_BACKING_UNSEEN : BLOCK_BACKING_ANY);
	if (block && !block->ops->set_parent) {
		log_error(
			"disk '%s': a %s image has no parent; make a difference to it with: pogo disk create NEW.qcow2 --parent '%s'",
			a->words[0], block->ops->name, a->words[0]);
		block_close(block);
		block = NULL;
	}
	if (!block) {
		block_close(parent);
		return EXIT_ERROR;
	}
	r = rebase_open(a, block, parent);
	block_close(parent);
	stored = disk_finish(block);
	a->written = a->words[0];
	return r || !stored ? EXIT_ERROR : EXIT_OK;
}

/* --- diff ----------------------------------------------------------------------------------------- */

#define DISK_EXIT_TROUBLE EXIT_USAGE /* as cmp and diff have it: 1 says different */

/* Ranges that differ, joined where they touch. */
struct ranges {
	u64 start, end, bytes;
	json_t *list; /* NULL: printed */
};

static void ranges_end(struct ranges *r)
{
	if (r->start == r->end)
		return;
	if (r->list)
		json_array_append_new(r->list, json_pack("{sIsI}", "offset", (json_int_t)r->start,
							 "size", (json_int_t)(r->end - r->start)));
	else
		printf("differ at %llu, %llu bytes\n", (unsigned long long)r->start,
		       (unsigned long long)(r->end - r->start));
	r->bytes += r->end - r->start;
	r->start = r->end = 0;
}

static void ranges_add(struct ranges *r, u64 offset, u64 size)
{
	if (r->start == r->end || r->end != offset) {
		ranges_end(r);
		r->start = offset;
	}
	r->end = offset + size;
}

static int diff_contents(struct block *a, struct block *b, struct ranges *ranges)
{
	u8 *x = malloc(DISK_PIECE), *y = malloc(DISK_PIECE);
	u64 total = MAX(a->size, b->size);
	struct disk_work w;
	int r = x && y ? 0 : -ENOMEM;

	disk_work_start(&w, "comparing", total);
	for (u64 at = 0, size; at < total && !r; at += size) {
		u64 in_a = total - at, in_b = total - at;
		bool data_a = disk_may_have_data(a, at, &in_a),
		     data_b = disk_may_have_data(b, at, &in_b);

		size = MIN(in_a, in_b);
		if (data_a || data_b) {
			size = MIN(size, DISK_PIECE);
			r = block_read_now(a, x, size, at);
			if (!r)
				r = block_read_now(b, y, size, at);
			for (u64 i = 0; i < size && !r; i += BLOCK_SECTOR)
				if (memcmp(x + i, y + i, BLOCK_SECTOR))
					ranges_add(ranges, at + i, BLOCK_SECTOR);
		}
		if (disk_interrupted())
			r = -EINTR;
		disk_work_step(&w, at + size);
	}
	disk_work_end(&w);
	ranges_end(ranges);
	free(x);
	free(y);
	return r;
}

static void diff_json(const struct block *a, const struct block *b, const struct ranges *ranges)
{
	disk_print_json(json_pack("{sbsIsIsIsO}", "same", ranges->bytes == 0, "bytes",
				  (json_int_t)ranges->bytes, "size-a", (json_int_t)a->size,
				  "size-b", (json_int_t)b->size, "ranges", ranges->list));
}

int disk_diff(struct disk_args *args)
{
	struct ranges ranges = { .list = args->json ? json_array() : NULL };
	struct block *a = disk_open(args->words[0], args->format, true, BLOCK_BACKING_ANY),
		     *b = NULL;
	int r = -EIO;

	if (a)
		b = disk_open(args->words[1], args->format, true, BLOCK_BACKING_ANY);
	if (a && b) {
		r = diff_contents(a, b, &ranges);
		if (r == -EINTR)
			log_error("interrupted");
		else if (r)
			log_error("the disks cannot be compared: %s", strerror(-r));
		else if (args->json)
			diff_json(a, b, &ranges);
		else if (a->size != b->size)
			printf("sizes differ: %llu and %llu bytes; what one lacks is taken as zeros\n",
			       (unsigned long long)a->size, (unsigned long long)b->size);
	}
	block_close(a);
	block_close(b);
	json_decref(ranges.list);
	return r ? DISK_EXIT_TROUBLE : ranges.bytes ? 1 : EXIT_OK;
}
