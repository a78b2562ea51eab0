/* The translation cache: shared memory mapped twice, once writable and once executable (no page is both), divided into segments that are
 * filled in turn and emptied whole, the oldest first; units by guest bytes and key; and which bytes of which page have units, so that
 * a write kills exactly those that hold them. */
#include "base/trace.h"
#include "engine/bt/bt.h"
#include "engine/granule.h"
#include "x86/hostsig.h"
#include "x86/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define FIXED_SIZE 8192u
/* The most that one unit takes. */
#define CODE_ROOM (UNIT_MAX_INSNS * 2 * ASM_MOST + UNIT_MAX_WORDS * 64)
#define META_ROOM                                                                  \
	(sizeof(struct unit) +                                                     \
	 UNIT_MAX_INSNS * (sizeof(struct unit_insn) + 2 * sizeof(struct bt_exit) + \
			   sizeof(struct x86_insn)) +                              \
	 UNIT_MAX_WORDS * sizeof(struct unit_word) + 256)

/* Shared memory without a name: perf looks for a perf map only where no file is mapped. The second mapping is of the same pages
 * (mremap of length 0), and is not executable before it ceases to be writable. */
static int map_code(struct bt *bt, size_t size)
{
	void *rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void *rx;

	if (rw == MAP_FAILED)
		return -errno;
	bt->rw = rw;
	rx = mremap(rw, 0, size, MREMAP_MAYMOVE);
	if (rx == MAP_FAILED)
		return -errno;
	bt->exec = (u8 *)rx - (u8 *)rw;
	return mprotect(rx, size, PROT_READ | PROT_EXEC) ? -errno : 0;
}

static size_t code_bytes(const struct bt *bt)
{
	return FIXED_SIZE + (size_t)bt->code_size * BT_SEGMENTS;
}

static size_t meta_bytes(const struct bt *bt)
{
	return (size_t)bt->meta_size * BT_SEGMENTS + UNIT_HASH * sizeof(struct unit *);
}

int bt_cache_init(struct bt *bt, size_t size)
{
	int err;

	/* Measured on kernels that boot: twice as much code as metadata. */
	bt->code_size = (u32)align_down(size * 2 / 3 / BT_SEGMENTS, 4096);
	bt->meta_size = (u32)align_down(size / 3 / BT_SEGMENTS, 4096);
	err = map_code(bt, code_bytes(bt));
	if (err)
		return err;
	bt->meta = mmap(NULL, meta_bytes(bt), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bt->meta == MAP_FAILED) {
		bt->meta = NULL;
		return -errno;
	}
	/* Looking for a unit goes all over the hash and the metadata, once for most jumps that the jump cache does not know. A host
	 * without large pages does without. */
	madvise(bt->meta, meta_bytes(bt), MADV_HUGEPAGE);
	bt->hash = (struct unit **)(void *)(bt->meta + (size_t)bt->meta_size * BT_SEGMENTS);
	bt->fixed = bt->rw;
	bt_make_stubs(bt);
	for (unsigned n = 0; n < BT_SEGMENTS; n++) {
		bt->segment[n].code = bt->rw + FIXED_SIZE + (size_t)n * bt->code_size;
		bt->segment[n].meta = bt->meta + (size_t)n * bt->meta_size;
	}

	struct hostsig_range range = {
		.begin = (uintptr_t)(bt->rw + bt->exec),
		.end = (uintptr_t)(bt->rw + bt->exec) + code_bytes(bt),
		.exit = bt->stub.fault,
		.exit_simd = bt->stub.fault,
	};
	return hostsig_add(&range);
}

void bt_cache_fini(struct bt *bt)
{
	for (unsigned n = 0; n < PAGE_HASH; n++)
		while (bt->pages[n]) {
			struct code_page *p = bt->pages[n];

			bt->pages[n] = p->next;
			free(p);
		}
	if (bt->exec) {
		hostsig_remove((uintptr_t)(bt->rw + bt->exec));
		munmap(bt->rw + bt->exec, code_bytes(bt));
	}
	if (bt->rw)
		munmap(bt->rw, code_bytes(bt));
	if (bt->meta)
		munmap(bt->meta, meta_bytes(bt));
}

/* --- Pages with code -------------------------------------------------------------------------------- */

static unsigned page_hash(const u8 *page)
{
	return (unsigned)((uintptr_t)page >> 12) & (PAGE_HASH - 1);
}

static struct code_page *page_find(struct bt *bt, const u8 *page)
{
	for (struct code_page *p = bt->pages[page_hash(page)]; p; p = p->next)
		if (p->host == page)
			return p;
	return NULL;
}

/* --- Pages that are written as often as they are executed ------------------------------------------- */

/* A page with code is filled anew now and then, where memory is given to something else. Code that is patched or generated is written
 * over and over. */
#define HOT            6u    /* births */
#define HOT_MEMORY     4096u /* births of all pages */
#define HEAT_KILL      16u   /* of a write that kills a unit; other writes to the page count 1 */
#define HEAT_OF_WRITES 1024u /* more than clearing a page of code makes */

static u8 *page_births(struct bt *bt, const u8 *page)
{
	return &bt->births[(uintptr_t)page >> 12 & (HOT_HASH - 1)];
}

bool bt_cache_hot(const struct bt *bt, const u8 *guest)
{
	return bt->births[(uintptr_t)guest >> 12 & (HOT_HASH - 1)] >= HOT;
}

static void page_born(struct bt *bt, const u8 *page)
{
	u8 *births = page_births(bt, page);

	if (++bt->born % HOT_MEMORY == 0)
		memset(bt->births, 0, sizeof(bt->births));
	if (*births < HOT)
		++*births;
}

static void page_drop(struct bt *bt, struct code_page *p)
{
	struct code_page **link = &bt->pages[page_hash(p->host)];

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	x86_unprotect_code(bt->vm, p->host);
	free(p);
}

/* --- Units ------------------------------------------------------------------------------------------ */

static unsigned unit_hash(const u8 *guest, u32 key)
{
	u64 h = (u64)(uintptr_t)guest;

	return (unsigned)(h ^ h >> 16 ^ key) & (UNIT_HASH - 1);
}

struct unit *bt_cache_find(struct bt *bt, const u8 *guest, u32 key)
{
	for (struct unit *u = bt->hash[unit_hash(guest, key)]; u; u = u->hash_next)
		if (u->guest == guest && u->key == key)
			return u;
	return NULL;
}

static void set_jump(struct bt *bt, u8 *at, uintptr_t target)
{
	struct as a = { .exec = bt->exec };

	as_patch(&a, at, target);
}

void bt_link(struct bt *bt, struct bt_exit *x, struct unit *to)
{
	x->to = to;
	x->next = to->incoming;
	to->incoming = x;
	set_jump(bt, x->at, (uintptr_t)(to->code + bt->exec) + to->near);
	bt->stats.linked++;
}

static void unlink_exit(struct bt_exit *x)
{
	struct bt_exit **link = &x->to->incoming;

	while (*link != x)
		link = &(*link)->next;
	*link = x->next;
	x->to = NULL;
}

/* Takes a unit out of everything that leads to it. Its code stays, and goes to bt_do_entry if it is entered. */
static void unit_kill(struct bt *bt, struct unit *u)
{
	struct unit **link = &bt->hash[unit_hash(u->guest, u->key)];

	while (*link != u)
		link = &(*link)->hash_next;
	*link = u->hash_next;
	while (u->incoming) {
		struct bt_exit *x = u->incoming;

		set_jump(bt, x->at, x->stub);
		u->incoming = x->next;
		x->to = NULL;
	}
	for (unsigned n = 0; n < u->exits; n++)
		if (u->exit[n].to)
			unlink_exit(&u->exit[n]);
	u->dead = true;
	/* The jump cache may still lead here. */
	u->code[0] = 0xe9;
	set_jump(bt, u->code + 1, (uintptr_t)(u->code + bt->exec) + u->size);
	bt->stats.killed++;
}

void bt_cache_stale(struct bt *bt, struct unit *u)
{
	unit_kill(bt, u);
	bt->stats.killed--;
	bt->stats.stale++;
}

/* Leaves the page to units that check themselves. */
static void page_heated(struct bt *bt, struct code_page *p)
{
	*page_births(bt, p->host) = HOT;
	while (p->units) {
		struct unit *u = p->units;

		p->units = u->page_next;
		unit_kill(bt, u);
	}
	page_drop(bt, p);
}

static bool page_heat(struct bt *bt, struct code_page *p, unsigned heat)
{
	p->heat += heat;
	if (p->heat < HEAT_OF_WRITES)
		return false;
	page_heated(bt, p);
	return true;
}

static void page_written(struct bt *bt, const u8 *host, unsigned size)
{
	struct code_page *p = page_find(bt, granule_page(host));

	if (!p || page_heat(bt, p, 1) || !(p->granules & granules(host, size)))
		return;
	struct unit **link = &p->units;
	u64 killed = bt->stats.killed;

	p->granules = 0;
	while (*link) {
		struct unit *u = *link;

		if (u->guest < host + size && host < u->guest + u->bytes) {
			*link = u->page_next;
			unit_kill(bt, u);
		} else {
			p->granules |= granules(u->guest, u->bytes);
			link = &u->page_next;
		}
	}
	if (!p->units)
		page_drop(bt, p);
	else if (bt->stats.killed != killed)
		page_heat(bt, p, HEAT_KILL);
}

void bt_cache_written(struct bt *bt, const u8 *host, u64 size)
{
	while (size) {
		unsigned n = (unsigned)MIN(size, 4096 - ((uintptr_t)host & 0xfff));

		page_written(bt, host, n);
		host += n;
		size -= n;
	}
}

static void page_remove(struct bt *bt, struct unit *u)
{
	struct code_page *p = page_find(bt, granule_page(u->guest));
	struct unit **link = &p->units;

	while (*link != u)
		link = &(*link)->page_next;
	*link = u->page_next;
	if (!p->units)
		page_drop(bt, p);
}

static void jumps_clear(struct bt *bt)
{
	for (unsigned n = 0; n < bt->vm->nvcpus; n++)
		if (bt->vm->vcpus[n])
			for (unsigned m = 0; m < JUMP_CACHES; m++)
				jump_clear(&bt_cpu(bt->vm->vcpus[n])->jump[m]);
}

static void segment_empty(struct bt *bt, struct bt_segment *s)
{
	bool any = s->units;

	for (struct unit *u = s->units; u; u = u->older) {
		if (u->dead)
			continue;
		if (!u->checked)
			page_remove(bt, u);
		unit_kill(bt, u);
		bt->stats.killed--;
		bt->stats.evicted++;
	}
	s->units = NULL;
	s->code_used = s->meta_used = s->count = 0;
	if (any) {
		jumps_clear(bt);
		memset(bt->cold_runs, 0, sizeof(bt->cold_runs));
		bt->stats.evictions++;
	}
}

static bool has_room(const struct bt *bt, const struct bt_segment *s)
{
	return s->code_used + CODE_ROOM <= bt->code_size &&
	       s->meta_used + META_ROOM + (s->count + 1) * sizeof(u32) <= bt->meta_size;
}

struct bt_segment *bt_cache_room(struct bt *bt)
{
	if (!has_room(bt, &bt->segment[bt->current])) {
		bt->current = (bt->current + 1) % BT_SEGMENTS;
		segment_empty(bt, &bt->segment[bt->current]);
	}
	return &bt->segment[bt->current];
}

/* The units of a segment in the order of their code, from the end of its metadata down. */
static u32 *unit_index(const struct bt *bt, const struct bt_segment *s, unsigned n)
{
	return (u32 *)(void *)(s->meta + bt->meta_size) - 1 - n;
}

static void page_add(struct bt *bt, struct unit *u)
{
	const u8 *page = granule_page(u->guest);
	struct code_page *p = page_find(bt, page);

	if (!p) {
		p = calloc(1, sizeof(*p));
		assert(p);
		p->host = page;
		p->next = bt->pages[page_hash(page)];
		bt->pages[page_hash(page)] = p;
		page_born(bt, page);
		x86_protect_code(bt->vm, page);
	}
	u->page_next = p->units;
	p->units = u;
	p->granules |= granules(u->guest, u->bytes);
}

void bt_cache_publish(struct bt *bt, struct unit *u)
{
	struct bt_segment *s = &bt->segment[bt->current];
	unsigned h = unit_hash(u->guest, u->key);

	if (u->checked)
		bt->stats.checked++;
	else
		page_add(bt, u);
	u->hash_next = bt->hash[h];
	bt->hash[h] = u;
	u->older = s->units;
	s->units = u;
	*unit_index(bt, s, s->count++) = bt_id(bt, u);
}

struct unit *bt_cache_unit_at(struct bt *bt, uintptr_t host)
{
	const u8 *code = (const u8 *)host - bt->exec;

	if (code < bt->segment[0].code || code >= bt->rw + code_bytes(bt))
		return NULL;
	struct bt_segment *s = &bt->segment[(size_t)(code - bt->segment[0].code) / bt->code_size];
	unsigned low = 0, high = s->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;
		struct unit *u = bt_of_id(bt, *unit_index(bt, s, mid));

		if (code < u->code)
			high = mid;
		else if (code >= u->code + u->total)
			low = mid + 1;
		else
			return u;
	}
	return NULL;
}
