/* The thunk cache: a table of thunks by host encoding, and the memory their code lies in. Host
 * code is written through one mapping and executed through another (W^X). When the table or the
 * memory is full, everything is dropped. */
#include "x86/thunk.h"

#include "base/trace.h"
#include "x86/decoder.h"
#include "x86/exec.h"
#include "x86/hostsig.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOST_MXCSR_OFFSET 0u
#define FIXED_CODE        64u

static bool map_arena(struct thunk_cache *cache)
{
	int fd = memfd_create("pogo-thunks", MFD_CLOEXEC);
	void *rw = MAP_FAILED, *rx = MAP_FAILED;

	if (fd < 0)
		return false;
	if (ftruncate(fd, THUNK_ARENA) == 0) {
		rw = mmap(NULL, THUNK_ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		rx = mmap(NULL, THUNK_ARENA, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	}
	close(fd);
	cache->rw = rw == MAP_FAILED ? NULL : rw;
	cache->rx = rx == MAP_FAILED ? NULL : rx;
	return cache->rw != NULL && cache->rx != NULL;
}

static uintptr_t constant_address(const struct thunk_cache *cache)
{
	return (uintptr_t)cache->rx + HOST_MXCSR_OFFSET;
}

/* The start of the arena: the host's MXCSR and FCW, and the two exits of faults. */
static bool write_fixed(struct thunk_cache *cache)
{
	u32 mxcsr = MXCSR_INIT, fcw = 0x37f, at = FIXED_CODE;
	struct hostsig_range range = { .begin = (uintptr_t)cache->rx,
				       .end = (uintptr_t)cache->rx + THUNK_ARENA };

	memcpy(cache->rw + HOST_MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
	memcpy(cache->rw + HOST_MXCSR_OFFSET + THUNK_FCW_OFFSET, &fcw, sizeof(fcw));
	range.exit = (uintptr_t)cache->rx + at;
	at += thunk_emit_exit(cache->rw + at, range.exit, constant_address(cache), false);
	range.exit_simd = (uintptr_t)cache->rx + at;
	at += thunk_emit_exit(cache->rw + at, range.exit_simd, constant_address(cache), true);
	cache->fixed = (u32)align_up(at, 64);
	return hostsig_add(&range) == 0;
}

struct thunk_cache *thunk_cache_new(void)
{
	struct thunk_cache *cache = calloc(1, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	cpuid_init();
	if (!map_arena(cache) || !write_fixed(cache)) {
		thunk_cache_free(cache);
		return NULL;
	}
	cache->epoch = 1;
	cache->count = 1;
	cache->used = cache->fixed;
	return cache;
}

void thunk_cache_free(struct thunk_cache *cache)
{
	if (cache == NULL)
		return;
	if (cache->rx != NULL) {
		hostsig_remove((uintptr_t)cache->rx);
		munmap(cache->rx, THUNK_ARENA);
	}
	if (cache->rw != NULL)
		munmap(cache->rw, THUNK_ARENA);
	free(cache);
}

static void flush(struct thunk_cache *cache)
{
	memset(cache->hash, 0, sizeof(cache->hash));
	cache->epoch++;
	cache->count = 1;
	cache->used = cache->fixed;
	cache->flushes++;
	trace(CODE, "thunks: flush %llu", (unsigned long long)cache->flushes);
}

/* The encoding and the guest's registers behind it: all that the code depends on. */
static void make_key(struct thunk *t, const struct thunk_plan *p)
{
	memcpy(t->key, p->bytes, p->size);
	t->key_size = p->size;
	for (unsigned k = 0; k < p->gprs; k++)
		t->key[t->key_size++] = p->gpr[k].guest;
}

static unsigned hash_key(const struct thunk *t)
{
	u32 h = 2166136261u;

	for (unsigned k = 0; k < t->key_size; k++)
		h = (h ^ t->key[k]) * 16777619u;
	return (h ^ h >> 16) & (THUNK_HASH - 1);
}

static unsigned find(const struct thunk_cache *cache, const struct thunk *t, unsigned hash)
{
	unsigned n = cache->hash[hash];

	while (n != 0 && (cache->entries[n].key_size != t->key_size ||
			  memcmp(cache->entries[n].key, t->key, t->key_size) != 0))
		n = cache->entries[n].next;
	return n;
}

static unsigned build(struct thunk_cache *cache, const struct thunk_plan *p, unsigned hash)
{
	struct thunk *t;
	uintptr_t at;
	unsigned n;

	if (cache->count == THUNK_ENTRIES || cache->used + THUNK_MAX > THUNK_ARENA)
		flush(cache);
	n = cache->count++;
	t = &cache->entries[n];
	*t = p->t;
	at = (uintptr_t)cache->rx + cache->used;
	t->code = (u32(*)(struct x86_cpu *, void *))at;
	cache->used += (u32)align_up(
		thunk_emit(p, cache->rw + cache->used, at, constant_address(cache)), 16);
	t->next = cache->hash[hash];
	cache->hash[hash] = (u16)n;
	cache->built++;
	return n;
}

static bool decode(const struct x86_insn *i, ZydisDecodedInstruction *z, ZydisDecodedOperand *ops)
{
	ZydisDecoder decoder;

	x86_decoder_init(&decoder, i->mode);
	return ZYAN_SUCCESS(x86_decoder_decode(&decoder, i->bytes, i->len, z, ops));
}

bool thunk_in_model(struct thunk_plan *p, const struct vm *vm, bool *bsx)
{
	/* TZCNT and LZCNT are BSF and BSR with a prefix that older processors ignore. */
	*bsx = (p->mnemonic == ZYDIS_MNEMONIC_TZCNT || p->mnemonic == ZYDIS_MNEMONIC_LZCNT) &&
	       !cpuid_bit(vm, p->features[0]);
	if (*bsx) { /* BSF and BSR of 0 leave their destination */
		for (unsigned k = 0; k < p->gprs; k++)
			p->gpr[k].load = true;
		return true;
	}
	for (unsigned k = 0; k < ARRAY_LEN(p->features); k++)
		if (!cpuid_bit(vm, p->features[k]))
			return false;
	return true;
}

const struct thunk *thunk_lookup(struct vcpu *v, const struct x86_insn *i)
{
	struct thunk_cache *cache = v->vm->thunks;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct x86_zydis zy = { .insn = &z, .ops = ops };
	struct thunk_plan p;
	unsigned hash, n;
	bool bsx;

	if (!decode(i, &z, ops) || !thunk_plan(&p, &zy)) {
		trace(CODE, "thunks: no plan for mnemonic %u", i->mnemonic);
		x86_raise_ud(v);
	}
	if (!thunk_in_model(&p, v->vm, &bsx))
		x86_raise_ud(v);
	if (!thunk_encode(&p, &zy, i->bytes, bsx)) {
		trace(CODE, "thunks: no host encoding for %s", ZydisMnemonicGetString(z.mnemonic));
		x86_raise_ud(v);
	}
	make_key(&p.t, &p);
	hash = hash_key(&p.t);
	n = find(cache, &p.t, hash);
	if (n == 0)
		n = build(cache, &p, hash);
	/* The one field that an instruction's function may change later; the tag is never
	 * followed as a pointer. */
	((struct x86_insn *)(uintptr_t)i)->aux =
		(const void *)(uintptr_t)(cache->epoch << THUNK_INDEX_BITS | n);
	return &cache->entries[n];
}
