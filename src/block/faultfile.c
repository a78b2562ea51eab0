/* Disks in memory with a log of unflushed changes, for power cuts, and faults on demand. */
#include "block/faultfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct fault_file {
	struct block_file file;
	struct fault_disk *disk;
};

u64 fault_random(u64 *state)
{
	u64 x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1dull >> 11;
}

/* --- Disks ---------------------------------------------------------------------------------- */

/* Memory that costs nothing until it is touched. */
static u8 *room_new(void)
{
	void *p = mmap(NULL, FAULT_SIZE_MAX, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct fault_disk *fault_disk_new(u64 seed)
{
	struct fault_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->rng = seed * 2 + 1;
	d->data = room_new();
	d->stable = room_new();
	if (d->data && d->stable)
		return d;
	fault_disk_free(d);
	return NULL;
}

static void log_clear(struct fault_disk *d)
{
	for (unsigned n = 0; n < d->logged; n++)
		free(d->log[n].data);
	d->logged = 0;
}

void fault_disk_free(struct fault_disk *d)
{
	if (!d)
		return;
	log_clear(d);
	free(d->log);
	if (d->data)
		munmap(d->data, FAULT_SIZE_MAX);
	if (d->stable)
		munmap(d->stable, FAULT_SIZE_MAX);
	free(d);
}

/* Copies what is not zero, so that holes stay without memory. */
static void copy_sparse(u8 *to, const u8 *from, u64 size)
{
	static const u8 zeros[4096];

	for (u64 at = 0; at < size; at += sizeof(zeros)) {
		u64 n = MIN(size - at, sizeof(zeros));

		if (memcmp(from + at, zeros, n))
			memcpy(to + at, from + at, n);
	}
}

struct fault_disk *fault_disk_copy(const struct fault_disk *d)
{
	struct fault_disk *copy = fault_disk_new(d->rng);

	if (!copy)
		return NULL;
	copy_sparse(copy->data, d->data, d->size);
	copy_sparse(copy->stable, d->data, d->size);
	copy->size = copy->stable_size = d->size;
	return copy;
}

/* --- The log -------------------------------------------------------------------------------- */

/* Applies a change, sector by sector, where `takes` says so. */
static void event_apply(u8 *to, const struct fault_event *e, unsigned index, const unsigned *limit)
{
	for (u64 done = 0, n; done < e->size; done += n) {
		u64 at = e->offset + done;

		n = MIN(e->size - done, FAULT_SECTOR - at % FAULT_SECTOR);
		if (limit && index >= limit[at / FAULT_SECTOR])
			continue;
		if (e->data)
			memcpy(to + at, e->data + done, n);
		else
			memset(to + at, 0, n);
	}
}

/* Makes a change and logs it. Cutting the file is zeros behind its new end, which is what growing it again shows. */
static int change(struct fault_disk *d, u64 offset, const void *data, u64 size, u64 file_size)
{
	struct fault_event e = { .offset = offset, .size = size, .file_size = file_size };

	if (d->logged == d->log_room) {
		unsigned room = d->log_room ? d->log_room * 2 : 64;
		struct fault_event *log = realloc(d->log, room * sizeof(*log));

		if (!log)
			return -ENOMEM;
		d->log = log;
		d->log_room = room;
	}
	if (data && size) {
		e.data = malloc(size);
		if (!e.data)
			return -ENOMEM;
		memcpy(e.data, data, size);
	}
	event_apply(d->data, &e, 0, NULL);
	d->size = file_size;
	d->log[d->logged++] = e;
	return 0;
}

/* The patterns of a cut; the rest are as likely as these. */
enum { CUT_NOTHING_LOST, CUT_ALL_LOST, CUT_IN_ORDER, CUT_ONE_LOST, CUT_ONE_KEPT, CUT_KINDS = 8 };

/* For each sector of the disk, the number of events that may have reached it; NULL: no memory. */
static unsigned *cut_limits(const struct fault_disk *d, u64 *rng, u64 *file_size)
{
	u64 sectors = FAULT_SIZE_MAX / FAULT_SECTOR;
	unsigned *limit = mmap(NULL, sectors * sizeof(*limit), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned kind = fault_random(rng) % CUT_KINDS;
	unsigned one = d->logged ? (unsigned)(fault_random(rng) % d->logged) : 0;
	unsigned size_at = (unsigned)(fault_random(rng) % (d->logged + 1));

	if (limit == MAP_FAILED)
		return NULL;
	if (kind == CUT_NOTHING_LOST || kind == CUT_ONE_LOST)
		size_at = d->logged;
	else if (kind == CUT_ALL_LOST)
		size_at = 0;
	else if (kind == CUT_IN_ORDER)
		size_at = one;
	else if (kind == CUT_ONE_KEPT)
		size_at = one + 1;
	*file_size = size_at && d->logged ? d->log[size_at - 1].file_size : d->stable_size;
	for (unsigned n = 0; n < d->logged; n++) {
		const struct fault_event *e = &d->log[n];
		u64 end = (e->offset + e->size + FAULT_SECTOR - 1) / FAULT_SECTOR;

		for (u64 s = e->offset / FAULT_SECTOR; e->size && s < end; s++) {
			switch (kind) {
			case CUT_NOTHING_LOST: limit[s] = d->logged; break;
			case CUT_ALL_LOST: break;
			case CUT_IN_ORDER: limit[s] = one; break;
			case CUT_ONE_LOST:
				limit[s] = n == one || limit[s] == one ? one : n + 1;
				break;
			case CUT_ONE_KEPT: limit[s] = n == one ? one + 1 : limit[s]; break;
			default: /* any of its states: this one, or an earlier one */
				if (fault_random(rng) % 2)
					limit[s] = n + 1;
			}
		}
	}
	return limit;
}

struct fault_disk *fault_disk_cut(const struct fault_disk *d, u64 seed)
{
	struct fault_disk *cut = fault_disk_new(seed);
	u64 rng = seed * 2 + 1;
	unsigned *limit;

	if (!cut)
		return NULL;
	for (unsigned n = 0; n < 4; n++)
		fault_random(&rng);
	limit = cut_limits(d, &rng, &cut->size);
	if (!limit) {
		fault_disk_free(cut);
		return NULL;
	}
	copy_sparse(cut->data, d->stable, d->stable_size);
	for (unsigned n = 0; n < d->logged; n++)
		event_apply(cut->data, &d->log[n], n, limit);
	munmap(limit, FAULT_SIZE_MAX / FAULT_SECTOR * sizeof(*limit));
	memset(cut->data + cut->size, 0, MAX(d->size, MAX(d->stable_size, cut->size)) - cut->size);
	copy_sparse(cut->stable, cut->data, cut->size);
	cut->stable_size = cut->size;
	return cut;
}

/* All of the log is on the medium, or what a failed flush let through of it. */
static void settle(struct fault_disk *d, bool failed)
{
	unsigned *limit = NULL;
	u64 size = d->size;

	if (failed)
		limit = cut_limits(d, &d->rng, &size);
	for (unsigned n = 0; n < d->logged; n++)
		event_apply(d->stable, &d->log[n], n, limit);
	if (size < MAX(d->size, d->stable_size))
		memset(d->stable + size, 0, MAX(d->size, d->stable_size) - size);
	d->stable_size = size;
	if (limit)
		munmap(limit, FAULT_SIZE_MAX / FAULT_SECTOR * sizeof(*limit));
	log_clear(d);
}

/* --- The file ------------------------------------------------------------------------------- */

static struct fault_disk *disk_of(struct block_file *f) { return ((struct fault_file *)f)->disk; }

/* Whether this call is to fail. */
static bool fails(struct fault_disk *d, enum fault_call call)
{
	if (!(d->fail_calls >> call & 1))
		return false;
	d->calls++;
	return d->fail_at &&
	       (d->calls == d->fail_at || (d->fail_for_good && d->calls > d->fail_at));
}

static void announce(struct fault_disk *d)
{
	if (d->before)
		d->before(d->opaque);
}

/* Hosts stop between sectors. */
static u64 part_of(struct fault_disk *d, u64 size, u64 offset)
{
	u64 end = d->fail_short && size ? offset + fault_random(&d->rng) % size : 0;

	end -= end % FAULT_SECTOR;
	return end > offset ? end - offset : 0;
}

static int fault_read(struct block_file *f, void *buf, u64 size, u64 offset)
{
	struct fault_disk *d = disk_of(f);
	u64 inside = offset < d->size ? MIN(size, d->size - offset) : 0;

	if (fails(d, FAULT_READ))
		return d->fail_error;
	memcpy(buf, d->data + offset, inside);
	memset((u8 *)buf + inside, 0, size - inside);
	return 0;
}

static int fault_write(struct block_file *f, const void *buf, u64 size, u64 offset)
{
	struct fault_disk *d = disk_of(f);
	bool bad = fails(d, FAULT_WRITE);
	u64 part = bad ? part_of(d, size, offset) : size;
	int r;

	announce(d);
	if (f->readonly)
		return -EBADF;
	if (offset > FAULT_SIZE_MAX || size > FAULT_SIZE_MAX - offset)
		return -ENOSPC;
	r = part ? change(d, offset, buf, part, MAX(d->size, offset + part)) : 0;
	f->size = d->size;
	return r ? r : bad ? d->fail_error : 0;
}

static int fault_flush(struct block_file *f)
{
	struct fault_disk *d = disk_of(f);
	bool bad = fails(d, FAULT_FLUSH);

	announce(d);
	settle(d, bad);
	return bad ? d->fail_error : 0;
}

static int fault_resize(struct block_file *f, u64 size)
{
	struct fault_disk *d = disk_of(f);
	int r;

	if (fails(d, FAULT_RESIZE))
		return d->fail_error;
	announce(d);
	if (f->readonly)
		return -EBADF;
	if (size > FAULT_SIZE_MAX)
		return -ENOSPC;
	r = size < d->size ? change(d, size, NULL, d->size - size, size)
			   : change(d, 0, NULL, 0, size);
	f->size = d->size;
	return r;
}

static int fault_punch(struct block_file *f, u64 offset, u64 size)
{
	struct fault_disk *d = disk_of(f);

	if (fails(d, FAULT_PUNCH))
		return d->fail_error;
	announce(d);
	if (f->readonly)
		return -EBADF;
	if (offset > d->size || size > d->size - offset)
		return -EINVAL;
	return change(d, offset, NULL, size, d->size);
}

static void fault_close(struct block_file *f)
{
	free(f->path);
	free(f);
}

static const struct block_file_ops fault_ops = {
	fault_read, fault_write, fault_flush, fault_resize, fault_punch, fault_close,
};

struct block_file *fault_disk_open(struct fault_disk *d, const char *path, bool readonly)
{
	struct fault_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->file = (struct block_file){ .ops = &fault_ops,
				       .path = strdup(path),
				       .size = d->size,
				       .readonly = readonly,
				       .fd = -1 };
	f->disk = d;
	if (f->file.path)
		return &f->file;
	free(f);
	return NULL;
}
