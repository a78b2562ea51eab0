/* The decode cache: straight runs of decoded instructions, keyed by where their bytes lie in RAM and by code size, so that address
 * spaces share them. A run ends at control flow, at an instruction that changes what later ones mean, or at the end of the page.
 * Writes to cached bytes kill exactly the runs that hold them. */
#ifndef ENGINE_INTERP_BLOCK_H
#define ENGINE_INTERP_BLOCK_H

#include "x86/mem.h"

#define BLOCK_MAX_INSNS 32
#define BLOCK_ARENA     (6 * MIB) /* all decoded code; when it is full everything is decoded anew */
#define BLOCK_HASH      16384u
#define PAGE_HASH       1024u

struct block {
	const u8 *host;          /* of its first byte; NULL once it is dead */
	struct block *next;      /* in its hash chain */
	struct block *page_next; /* in its page's list */
	u16 bytes;
	u8 count;
	u8 mode;    /* 16, 32, 64 */
	bool falls; /* the last instruction does not set rip */
	struct x86_insn insn[];
};

struct code_page {
	const u8 *host;
	struct code_page *next;
	struct block *blocks;
	u64 granules; /* bit per 64 bytes that any live run touches */
};

struct block_cache {
	struct vm *vm;
	u8 *arena;
	size_t used;
	struct block *hash[BLOCK_HASH];
	struct code_page *pages[PAGE_HASH];
	struct block *running; /* being executed now; its instructions are cut off when it dies */
	void *dump;            /* FILE for --dump=block */
	u64 decoded, decoded_insns, killed, flushes;
};

/* Negative errno. */
int block_cache_init(struct block_cache *c, struct vm *vm) must_check;
void block_cache_fini(struct block_cache *c);
/* Forgets everything. Not while a block runs. */
void block_cache_flush(struct block_cache *c);
/* The bytes [host, host + size) of RAM are about to change. */
void block_cache_written(struct block_cache *c, const u8 *host, u64 size);
/* The run that is being executed ends behind the present instruction: what the guest sees where the rest of it was may be other bytes
 * now. It is decoded anew next time. */
void block_cut(struct block_cache *c);
/* Decodes the run at host; rip is what it is called in a trace or dump. NULL if its first instruction spans the page's end. */
struct block *block_decode(struct block_cache *c, const u8 *host, u64 rip, unsigned mode);

static inline unsigned block_hash(const u8 *host)
{
	u64 h = (u64)(uintptr_t)host;

	return (unsigned)(h ^ h >> 12) & (BLOCK_HASH - 1);
}

static inline struct block *block_find(struct block_cache *c, const u8 *host, unsigned mode)
{
	for (struct block *b = c->hash[block_hash(host)]; b; b = b->next)
		if (b->host == host && b->mode == mode)
			return b;
	return NULL;
}

/* What stands in for the instructions of a run that died while it was running: resumes at its own address. */
x86_exec_fn block_abandon;

#endif
