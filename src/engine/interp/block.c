#include "engine/interp/block.h"

#include "base/trace.h"
#include "engine/granule.h"
#include "x86/decode_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int block_cache_init(struct block_cache *c, struct vm *vm)
{
	c->vm = vm;
	c->arena =
		mmap(NULL, BLOCK_ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return c->arena == MAP_FAILED ? -errno : 0;
}

void block_cache_fini(struct block_cache *c) { munmap(c->arena, BLOCK_ARENA); }

static unsigned page_hash(const u8 *page)
{
	return (unsigned)((uintptr_t)page >> 12) & (PAGE_HASH - 1);
}

static struct code_page *page_find(struct block_cache *c, const u8 *page)
{
	for (struct code_page *p = c->pages[page_hash(page)]; p; p = p->next)
		if (p->host == page)
			return p;
	return NULL;
}

void block_cache_flush(struct block_cache *c)
{
	for (unsigned n = 0; n < PAGE_HASH; n++)
		for (struct code_page *p = c->pages[n]; p; p = p->next)
			x86_unprotect_code(c->vm, p->host);
	memset(c->hash, 0, sizeof(c->hash));
	memset(c->pages, 0, sizeof(c->pages));
	c->used = 0;
	c->flushes++;
	trace(CODE, "block cache: flush %llu", (unsigned long long)c->flushes);
}

void block_abandon(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	v->exc.vector = EXC_NONE;
	longjmp(*v->catch, 1);
}

static void block_kill(struct block_cache *c, struct block *b)
{
	struct block **link = &c->hash[block_hash(b->host)];

	while (*link != b)
		link = &(*link)->next;
	*link = b->next;
	b->host = NULL;
	c->killed++;
	if (b == c->running)
		for (unsigned n = 0; n < b->count; n++)
			b->insn[n].fn = block_abandon;
}

static void page_written(struct block_cache *c, const u8 *host, unsigned size)
{
	struct code_page *p = page_find(c, granule_page(host));

	if (!p || !(p->granules & granules(host, size)))
		return;
	struct block **link = &p->blocks;

	p->granules = 0;
	while (*link) {
		struct block *b = *link;

		if (b->host < host + size && host < b->host + b->bytes) {
			*link = b->page_next;
			trace(CODE, "block at gpa %#llx killed by a write",
			      (unsigned long long)mem_gpa(c->vm->mem, b->host));
			block_kill(c, b);
		} else {
			p->granules |= granules(b->host, b->bytes);
			link = &b->page_next;
		}
	}
	if (!p->blocks)
		x86_unprotect_code(c->vm, p->host);
}

void block_cache_written(struct block_cache *c, const u8 *host, u64 size)
{
	while (size) {
		unsigned n = (unsigned)MIN(size, 4096 - ((uintptr_t)host & 0xfff));

		page_written(c, host, n);
		host += n;
		size -= n;
	}
}

void block_cut(struct block_cache *c)
{
	if (c->running && c->running->host)
		block_cache_written(c, c->running->host, 1);
}

static void block_dump(const struct block *b, u64 rip, FILE *f)
{
	char text[128];

	fprintf(f, "block %llx: %u instructions, %u bytes, %u-bit\n", (unsigned long long)rip,
		b->count, b->bytes, b->mode);
	for (unsigned n = 0; n < b->count; n++) {
		const struct x86_insn *i = &b->insn[n];

		x86_disasm(i, rip + i->off, text, sizeof(text));
		fprintf(f, "  %8llx  ", (unsigned long long)(rip + i->off));
		for (unsigned k = 0; k < 15; k++)
			fprintf(f, k < i->len ? "%02x" : "  ", i->bytes[k]);
		fprintf(f, "  %s\n", text);
	}
}

/* Enters a finished run into the tables; its page is watched from now on. The caller has made sure of room. */
static void block_publish(struct block_cache *c, struct block *b, const u8 *host)
{
	const u8 *page = granule_page(host);
	struct code_page *p = page_find(c, page);

	if (!p) {
		p = (struct code_page *)(void *)(c->arena + c->used);
		c->used += sizeof(*p);
		*p = (struct code_page){ .host = page, .next = c->pages[page_hash(page)] };
		c->pages[page_hash(page)] = p;
	}
	b->host = host;
	b->next = c->hash[block_hash(host)];
	c->hash[block_hash(host)] = b;
	b->page_next = p->blocks;
	p->blocks = b;
	p->granules |= granules(b->host, b->bytes);
	x86_protect_code(c->vm, page);
	c->decoded++;
	c->decoded_insns += b->count;
}

struct block *block_decode(struct block_cache *c, const u8 *host, u64 rip, unsigned mode)
{
	unsigned room = 4096 - (unsigned)((uintptr_t)host & 0xfff);
	size_t most = sizeof(struct block) + BLOCK_MAX_INSNS * sizeof(struct x86_insn) +
		      sizeof(struct code_page);

	if (c->used + most > BLOCK_ARENA)
		block_cache_flush(c);
	struct block *b = (struct block *)(void *)(c->arena + c->used);

	*b = (struct block){ .mode = (u8)mode, .falls = true };
	while (b->count < BLOCK_MAX_INSNS && b->bytes < room) {
		struct x86_insn *i = &b->insn[b->count];
		unsigned avail = MIN(room - b->bytes, 15u);

		if (x86_decode_cached(c->vm->decode, i, host + b->bytes, avail, mode) == 0)
			break; /* goes on in the next page */
		if (b->bytes + i->len > 255)
			break; /* i->off is a byte */
		i->off = (u8)b->bytes;
		b->bytes = (u16)(b->bytes + i->len);
		b->count++;
		b->falls = !(i->flags & INSN_BRANCH);
		if (i->flags & (INSN_BRANCH | INSN_END))
			break;
	}
	if (!b->count)
		return NULL;
	c->used += align_up(sizeof(*b) + b->count * sizeof(struct x86_insn), 16);
	block_publish(c, b, host);
	trace(CODE, "block %#llx: %u instructions, %u-bit", (unsigned long long)rip, b->count,
	      mode);
	if (unlikely(c->dump))
		block_dump(b, rip, c->dump);
	return b;
}
