/* Sparse files in memory, with the locks and the limits of real ones. */
#include "memory_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE    4096u
#define PAGES   8192u /* that hold something, of all files */
#define BUCKETS 16384u

struct page {
	u64 key; /* file and number */
	u32 next;
};

static struct page pages[PAGES + 1]; /* 0 is none */
static u8 memory[PAGES + 1][PAGE];
static u32 buckets[BUCKETS], used, freed;

static struct {
	u64 size;
	unsigned readers, writers;
} files[MEMORY_FILES];

static unsigned file_count, fail_calls;
static int fail_error;
static bool failed;
static void (*watcher)(unsigned n, const u8 *buf, u64 size, u64 offset);

struct memory_file {
	struct block_file file;
	unsigned number;
};

/* --- Pages ---------------------------------------------------------------------------------- */

static u64 key_of(unsigned file, u64 offset) { return (u64)file << 60 | offset / PAGE; }

static u32 *bucket_of(u64 key) { return &buckets[key * 0x9e3779b97f4a7c15ull >> 50]; }

static u32 find(u64 key)
{
	u32 n = *bucket_of(key);

	while (n && pages[n].key != key)
		n = pages[n].next;
	return n;
}

/* 0: no more room. */
static u32 make(u64 key)
{
	u32 n = find(key), *bucket = bucket_of(key);

	if (n)
		return n;
	n = freed;
	if (n)
		freed = pages[n].next;
	else if (used < PAGES)
		n = ++used;
	else
		return 0;
	memset(memory[n], 0, PAGE);
	pages[n] = (struct page){ .key = key, .next = *bucket };
	*bucket = n;
	return n;
}

static void drop(u64 key)
{
	u32 *link = bucket_of(key), n;

	while (*link && pages[*link].key != key)
		link = &pages[*link].next;
	n = *link;
	if (!n)
		return;
	*link = pages[n].next;
	pages[n].next = freed;
	freed = n;
}

static void read_pages(unsigned file, u8 *buf, u64 size, u64 offset)
{
	for (u64 done = 0, n; done < size; done += n) {
		u64 at = (offset + done) % PAGE;
		u32 page = find(key_of(file, offset + done));

		n = MIN(size - done, PAGE - at);
		if (page)
			memcpy(buf + done, memory[page] + at, n);
		else
			memset(buf + done, 0, n);
	}
}

static bool is_zero(const u8 *p, u64 size) { return !p[0] && !memcmp(p, p + 1, size - 1); }

static int write_pages(unsigned file, const u8 *buf, u64 size, u64 offset)
{
	for (u64 done = 0, n; done < size; done += n) {
		u64 at = (offset + done) % PAGE, key = key_of(file, offset + done);
		u32 page = find(key);

		n = MIN(size - done, PAGE - at);
		if (!page && is_zero(buf + done, n))
			continue;
		page = make(key);
		if (!page)
			return -ENOSPC;
		memcpy(memory[page] + at, buf + done, n);
	}
	return 0;
}

static void clear_pages(unsigned file, u64 from, u64 to)
{
	for (u32 n = 1; n <= used; n++) {
		u64 start = (pages[n].key & ~(0xfull << 60)) * PAGE, a, b;

		if (pages[n].key >> 60 != file || start >= to || start + PAGE <= from ||
		    find(pages[n].key) != n)
			continue;
		a = MAX(from, start);
		b = MIN(to, start + PAGE);
		if (b - a == PAGE)
			drop(pages[n].key);
		else
			memset(memory[n] + (a - start), 0, b - a);
	}
}

/* --- Before a run --------------------------------------------------------------------------- */

void memory_files_reset(unsigned count)
{
	memset(buckets, 0, sizeof(buckets));
	memset(files, 0, sizeof(files));
	used = freed = 0;
	file_count = count;
	watcher = NULL;
	memory_files_fail(0, 0);
}

void memory_file_put(unsigned n, const void *data, u64 size, u64 offset)
{
	if (size && !write_pages(n, data, size, offset))
		files[n].size = MAX(files[n].size, offset + size);
}

void memory_file_resize(unsigned n, u64 size)
{
	if (size < files[n].size)
		clear_pages(n, size, ~0ull);
	files[n].size = size;
}

u64 memory_file_size(unsigned n) { return files[n].size; }

void memory_file_get(unsigned n, void *buf, u64 size, u64 offset)
{
	u64 inside = offset < files[n].size ? MIN(size, files[n].size - offset) : 0;

	read_pages(n, buf, inside, offset);
	memset((u8 *)buf + inside, 0, size - inside);
}

void memory_files_watch(void (*watch)(unsigned n, const u8 *buf, u64 size, u64 offset))
{
	watcher = watch;
}

unsigned memory_files_open(void)
{
	unsigned count = 0;

	for (unsigned n = 0; n < MEMORY_FILES; n++)
		count += files[n].readers + files[n].writers;
	return count;
}

void memory_files_fail(unsigned calls, int error)
{
	fail_calls = calls;
	fail_error = error;
	failed = false;
}

bool memory_files_failed(void) { return failed; }

/* --- Operations ----------------------------------------------------------------------------- */

static unsigned number_of(struct block_file *f) { return ((struct memory_file *)f)->number; }

/* A change: one of a file that was opened to be read is a mistake of the format. */
static int change(struct block_file *f)
{
	if (f->readonly) {
		fprintf(stderr, "'%s' is changed, but was opened to be read\n", f->path);
		abort();
	}
	if (failed || (fail_calls && --fail_calls == 0)) {
		failed = true;
		return fail_error;
	}
	return 0;
}

static int file_read(struct block_file *f, void *buf, u64 size, u64 offset)
{
	if (offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;
	memory_file_get(number_of(f), buf, size, offset);
	return 0;
}

static int file_write(struct block_file *f, const void *buf, u64 size, u64 offset)
{
	int r = change(f);

	if (r)
		return r;
	if (offset > MEMORY_FILE_MAX || size > MEMORY_FILE_MAX - offset)
		return -EFBIG;
	if (watcher)
		watcher(number_of(f), buf, size, offset);
	r = size ? write_pages(number_of(f), buf, size, offset) : 0;
	if (!r)
		f->size = files[number_of(f)].size = MAX(f->size, offset + size);
	else
		failed = true;
	return r;
}

static int file_flush(struct block_file *f) { return f->readonly ? 0 : change(f); }

static int file_resize(struct block_file *f, u64 size)
{
	int r = change(f);

	if (r || size > MEMORY_FILE_MAX)
		return r ? r : -EFBIG;
	memory_file_resize(number_of(f), size);
	f->size = size;
	return 0;
}

static int file_punch(struct block_file *f, u64 offset, u64 size)
{
	int r = change(f);

	if (r)
		return r;
	if (offset > f->size || size > f->size - offset) {
		fprintf(stderr, "a hole behind the end of '%s'\n", f->path);
		abort();
	}
	clear_pages(number_of(f), offset, offset + size);
	return 0;
}

static void file_close(struct block_file *f)
{
	unsigned n = number_of(f);

	files[n].readers -= f->readonly;
	files[n].writers -= !f->readonly;
	free(f->path);
	free(f);
}

static const struct block_file_ops memory_ops = {
	file_read, file_write, file_flush, file_resize, file_punch, file_close,
};

/* --- In the place of the host's ------------------------------------------------------------- */

static int number_named(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	return name[0] >= '0' && name[0] < '0' + (int)file_count && !name[1] ? name[0] - '0' : -1;
}

int __wrap_block_file_open(struct block_file **out, const char *path, bool readonly, char *err,
			   size_t errlen);
int __wrap_stat64(const char *path, struct stat *st);

int __wrap_block_file_open(struct block_file **out, const char *path, bool readonly, char *err,
			   size_t errlen)
{
	int n = number_named(path);
	struct memory_file *m;

	if (n < 0 || files[n].writers || (!readonly && files[n].readers)) {
		snprintf(err, errlen, "disk '%s' cannot be opened", path);
		return n < 0 ? -ENOENT : -EBUSY;
	}
	m = calloc(1, sizeof(*m));
	m->number = (unsigned)n;
	m->file = (struct block_file){ .ops = &memory_ops,
				       .path = strdup(path),
				       .size = files[n].size,
				       .readonly = readonly,
				       .fd = -1 };
	files[n].readers += readonly;
	files[n].writers += !readonly;
	*out = &m->file;
	return 0;
}

int __wrap_stat64(const char *path, struct stat *st)
{
	int n = number_named(path);

	if (n < 0) {
		errno = ENOENT;
		return -1;
	}
	*st = (struct stat){ .st_dev = 1, .st_ino = (ino_t)n + 1, .st_mode = S_IFREG | 0644 };
	return 0;
}
