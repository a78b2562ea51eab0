/* The interpreter: decoded runs from the decode cache, one call for each instruction. All that an instruction does is in
 * x86/exec_*.c; this file finds the next run, keeps rip and the instruction count exact, and takes events at run boundaries. */
#include "base/trace.h"
#include "engine/engine.h"
#include "engine/interp/block.h"
#include "engine/step.h"
#include "x86/debug.h"
#include "x86/debugger.h"
#include "x86/decode_cache.h"
#include "x86/exec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct interp_vm {
	struct block_cache cache;
};

struct interp_vcpu {
	struct block_cache *cache;
	const struct block *block; /* being executed, or NULL: v->icount is exact then */
	u64 target;                /* instruction count to stop at */
};

static u64 interp_icount(const struct vcpu *v)
{
	const struct interp_vcpu *e = v->engine;

	return e->block ? v->icount + (u64)(v->insn - e->block->insn) : v->icount;
}

/* The first `count` instructions of a run, or all. */
static void run_block(struct vcpu *v, struct block *b, unsigned count)
{
	struct interp_vcpu *e = v->engine;
	const struct x86_insn *i = b->insn, *end = i + count;
	u64 rip = v->cpu.rip;

	e->block = b;
	e->cache->running = b;
	do {
		v->insn = i;
		v->cpu.rip = rip + i->off;
		i->fn(v, i);
	} while (++i != end);
	if (count < b->count)
		v->cpu.rip = rip + end->off;
	else if (b->falls)
		v->cpu.rip = (rip + b->bytes) & engine_rip_mask(b->mode);
	v->icount += count;
	e->block = NULL;
	e->cache->running = NULL;
}

/* The cached run at rip, or NULL if there can be none. */
static struct block *find_block(struct vcpu *v, struct block_cache *c)
{
	unsigned mode = x86_code_bits(&v->cpu);
	gva_t a = x86_code_linear(&v->cpu);
	const struct tlb *t = v->tlb;
	unsigned slot = tlb_slot(a);
	const u8 *host;
	struct block *b;

	if (likely(tlb_covers(t->exec[slot], a, 1))) {
		host = (const u8 *)(uintptr_t)(a + t->addend[slot]);
	} else {
		if (mode == 64 && !x86_canonical(a))
			return NULL;
		if (mode != 64 && v->cpu.rip > v->cpu.seg[CS].limit)
			return NULL;
		host = x86_fetch_host(v, a);
		if (!host)
			return NULL;
	}
	b = block_find(c, host, mode);
	if (unlikely(!b)) {
		b = block_decode(c, host, v->cpu.rip, mode);
		if (!b)
			return NULL;
	}
	if (mode != 64 && unlikely(v->cpu.rip + b->bytes - 1 > v->cpu.seg[CS].limit))
		return NULL;
	return b;
}

/* An exception or an abandoned run has unwound to interp_run: makes the counts exact, delivers. False, and *stop set, if run()
 * returns. */
static bool unwound(struct vcpu *v, enum stop *stop)
{
	struct interp_vcpu *e = v->engine;

	v->icount = interp_icount(v);
	v->insn = NULL;
	e->block = NULL;
	e->cache->running = NULL;
	if (v->exc.vector == EXC_NONE)
		return true;
	*stop = STOP_BUDGET;
	if (x86_deliver_fault(v))
		return v->vm->pace == PACE_FREE;
	*stop = STOP_SHUTDOWN;
	return false;
}

/* After x86_attend: whether instructions must run one at a time here. */
static bool boundaries_count(struct vcpu *v)
{
	u32 why = atomic_load_explicit(&v->attention, memory_order_relaxed) &
		  (ATT_SLOW | ATT_SHADOW);

	return why && (why != ATT_SLOW || !debugger_is_elsewhere(v, x86_code_linear(&v->cpu)));
}

static enum stop interp_loop(struct vcpu *v)
{
	struct interp_vcpu *e = v->engine;
	enum stop stop;

	for (;;) {
		if (unlikely(atomic_load_explicit(&v->attention, memory_order_relaxed) ||
			     v->cpu.halted || v->cpu.wait_sipi)) {
			if (!x86_attend(v, &stop))
				return stop;
			if (v->icount >= e->target)
				return STOP_BUDGET;
			if (boundaries_count(v)) {
				if (!engine_step(v, &stop))
					return stop;
				continue;
			}
		} else if (unlikely(v->icount >= e->target)) {
			return STOP_BUDGET;
		}
		struct block *b = find_block(v, e->cache);

		if (likely(b))
			run_block(v, b, b->count);
		else if (!engine_step(v, &stop))
			return stop;
	}
}

/* In lockstep: see engine.h. The instructions of a run are the unit. */
static enum stop paced_loop(struct vcpu *v, u64 budget_insns)
{
	struct interp_vcpu *e = v->engine;
	bool exact = v->vm->pace == PACE_EXACT;
	u64 start = e->target - budget_insns;
	enum stop stop;

	if (budget_insns == 0)
		return x86_attend(v, &stop) ? STOP_BUDGET : stop;
	while (v->icount < e->target) {
		u64 left = exact ? e->target - v->icount : BLOCK_MAX_INSNS;
		struct block *b;

		if (!exact && v->icount != start &&
		    (atomic_load_explicit(&v->attention, memory_order_relaxed) || v->cpu.halted))
			break;
		b = boundaries_count(v) ? NULL : find_block(v, e->cache);
		if (likely(b))
			run_block(v, b, (unsigned)MIN(left, (u64)b->count));
		else if (!engine_step(v, &stop))
			return stop;
	}
	return STOP_BUDGET;
}

static enum stop interp_run(struct vcpu *v, u64 budget_insns)
{
	struct interp_vcpu *e = v->engine;
	jmp_buf catch;
	enum stop stop;

	e->target = v->icount + budget_insns;
	v->catch = &catch;
	if (!_setjmp(catch) || unwound(v, &stop)) {
		v->catch = &catch;
		stop = v->vm->pace == PACE_FREE ? interp_loop(v) : paced_loop(v, budget_insns);
	}
	v->catch = NULL;
	return stop;
}

static void interp_code_written(struct vm *vm, const u8 *host, u64 size)
{
	struct interp_vm *e = vm->engine_vm;

	block_cache_written(&e->cache, host, size);
}

static int interp_vm_init(struct vm *vm)
{
	struct interp_vm *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = block_cache_init(&e->cache, vm);
	if (err) {
		free(e);
		return err;
	}
	vm->engine_vm = e;
	vm->code_written = interp_code_written;
	return 0;
}

static void interp_vm_fini(struct vm *vm)
{
	struct interp_vm *e = vm->engine_vm;

	block_cache_fini(&e->cache);
	free(e);
	vm->engine_vm = NULL;
	vm->code_written = NULL;
}

/* Instructions that change how addresses are translated end their run. Any other may have changed the memory map itself, by a device:
 * then all that the TLB held goes. */
static void mapping_dropped(struct vcpu *v, enum tlb_drop what, gva_t a)
{
	struct interp_vcpu *e = v->engine;
	const struct block *b = e->block;

	(void)a;
	if (what == TLB_DROP_ALL && b && v->insn + 1 < b->insn + b->count)
		block_cut(e->cache);
}

static int interp_vcpu_init(struct vcpu *v)
{
	struct interp_vm *vm = v->vm->engine_vm;
	struct interp_vcpu *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->cache = &vm->cache;
	v->engine = e;
	v->mapping_dropped = mapping_dropped;
	return 0;
}

static void interp_vcpu_fini(struct vcpu *v)
{
	v->mapping_dropped = NULL;
	free(v->engine);
	v->engine = NULL;
}

static void interp_stats(const struct vm *vm, void *file)
{
	const struct interp_vm *e = vm->engine_vm;
	const struct decode_cache *d = vm->decode;

	fprintf(file,
		"interp: %llu blocks decoded, %llu instructions, %llu killed by writes, %llu flushes, %zu KiB in use\n",
		(unsigned long long)e->cache.decoded, (unsigned long long)e->cache.decoded_insns,
		(unsigned long long)e->cache.killed, (unsigned long long)e->cache.flushes,
		e->cache.used / 1024);
	if (d)
		fprintf(file, "decode: %llu by shape, %llu in full, %llu of them without a shape\n",
			(unsigned long long)d->hits, (unsigned long long)d->misses,
			(unsigned long long)d->unshaped);
}

static void interp_dump_block(struct vm *vm, void *file)
{
	struct interp_vm *e = vm->engine_vm;

	e->cache.dump = file;
}

static const char *interp_unfit(void) { return NULL; }

const struct engine_ops engine_interp = {
	.name = "interp",
	.help = "interpreter with a decode cache; runs on every x86-64 host",
	.unfit = interp_unfit,
	.vm_init = interp_vm_init,
	.vm_fini = interp_vm_fini,
	.vcpu_init = interp_vcpu_init,
	.vcpu_fini = interp_vcpu_fini,
	.run = interp_run,
	.icount = interp_icount,
	.stats = interp_stats,
	.dump_name = "block",
	.dump = interp_dump_block,
};
