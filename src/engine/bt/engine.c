/* The engine: finds or makes the unit for the CPU's rip, enters it, and does in C what units cannot. */
#include "engine/engine.h"

#include "base/trace.h"
#include "engine/bt/bt.h"
#include "engine/bt/fp.h"
#include "engine/bt/tr.h"
#include "engine/step.h"
#include "x86/debug.h"
#include "x86/debugger.h"
#include "x86/exec.h"
#include "x86/hostsig.h"
#include "x86/mem.h"
#include "x86/operand.h"

#include <Zydis/Zydis.h>
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- Where the CPU is ----------------------------------------------------------------------------- */

static u32 segment_key(const struct x86_cpu *cpu)
{
	const struct x86_seg *cs = &cpu->seg[CS];
	bool wide = cs->ar & AR_DB;
	/* A jump of 16-bit code that wraps at 64 KiB leaves the page. */
	bool in_page = !(cs->base & 0xfff);
	u32 key = wide ? KEY_32 : KEY_16;

	if (cs->limit == 0xffffffff && (wide || in_page))
		key |= KEY_CS_WIDE | KEY_CS_LINK;
	else if (cs->limit == 0xffff && !wide && in_page)
		key |= KEY_CS_LINK;
	if (cpu->seg[SS].ar & AR_DB)
		key |= KEY_SS_B;
	for (unsigned n = 0; n <= GS; n++) {
		const struct x86_seg *s = &cpu->seg[n];

		if (n == CS || !seg_plain(s))
			continue;
		key |= KEY_PLAIN(n);
		if (!s->base)
			key |= KEY_ZERO(n);
	}
	return key;
}

static u32 present_key(const struct vcpu *v)
{
	u32 tlb = (u32)(v->tlb - v->tlbs) << KEY_TLB_POS;

	return tlb |
	       (x86_64bit(&v->cpu) ? KEY_64 | KEY_CS_WIDE | KEY_CS_LINK : segment_key(&v->cpu));
}

/* Host address of the code at rip, or NULL if it must run alone: not RAM, or a fault that step() is to raise. May raise #PF. */
static const u8 *code_host(struct vcpu *v, u32 key)
{
	gva_t a = x86_code_linear(&v->cpu);

	if ((key & KEY_SIZE) == KEY_64) {
		if (!x86_canonical(a))
			return NULL;
	} else if (v->cpu.rip > v->cpu.seg[CS].limit ||
		   ((key & KEY_SIZE) == KEY_16 && v->cpu.rip > 0xffff)) {
		/* 16-bit code that runs on behind 64 KiB jumps back below them even within a page. */
		return NULL;
	}
	return x86_fetch_host(v, a);
}

static struct unit *find_unit(struct vcpu *v, struct bt *bt, u32 key)
{
	const u8 *guest = code_host(v, key);
	struct bt_cross *cross = NULL;
	struct unit *u;

	if (!guest)
		return NULL;
	if (unlikely(((uintptr_t)guest & 0xfff) >= BT_CROSS_OFF) && (key & KEY_CS_WIDE) &&
	    (cross = bt_cross_find(v, guest, key)) && !bt_cross_is_unit(cross)) {
		bt_cpu(v)->cross = cross;
		return NULL;
	}
	u = bt_cache_find(bt, guest, key);
	if (u && u->checked && !bt_unit_holds(u)) {
		bt_cache_stale(bt, u);
		u = NULL;
	}
	if (!u && !cross && bt_cold(bt, guest, key)) {
		bt_cpu(v)->cold = guest;
		return NULL;
	}
	if (!u)
		u = bt_translate(bt, v, guest, v->cpu.rip, key, cross);
	else if (unlikely(unit_crosses(u)) && !cross)
		return NULL; /* its second page is elsewhere, or no RAM */
	if (u && !(key & KEY_CS_WIDE) && v->cpu.rip + u->bytes - 1 > v->cpu.seg[CS].limit)
		return NULL;
	return u;
}

/* An interrupt that waits for IF does not interrupt units: its attention bit is put aside until IF is set. */
static void release_held(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);

	if (unlikely(e->irq_held) && (v->cpu.rflags & FL_IF)) {
		e->irq_held = false;
		vcpu_attend(v, ATT_IRQ);
	}
}

/* After x86_attend; taken: it delivered an interrupt. */
static void hold_irq(struct vcpu *v, bool taken)
{
	bool waits = !(v->cpu.rflags & FL_IF);

	if (atomic_load_explicit(&v->attention, memory_order_relaxed) != ATT_IRQ || v->shadow)
		return;
	/* With IF set and none taken, the request that was put aside has gone in the meantime. */
	if (waits || !taken) {
		vcpu_unattend(v, ATT_IRQ);
		bt_cpu(v)->irq_held = waits;
	}
}

static u64 rip_mask(const struct unit *u) { return engine_rip_mask(key_bits(u->key)); }

/* The unit at rip, paid for as far as the budget goes; NULL with bt_cpu.step set if the instruction there must run alone. cpu is
 * complete; may raise #PF. */
static struct unit *next_unit(struct vcpu *v, u32 key)
{
	struct bt_cpu *e = bt_cpu(v);
	struct unit *u;

	e->cross = NULL;
	e->cold = NULL;
	u = key_tlb(key) == TLB_CHECKED ? NULL : find_unit(v, e->bt, key);
	e->moved = false;
	e->step = !u;
	/* Counted: a unit is executed whole, so a budget may be exceeded by one. A side exit gives back what was not executed: once
	 * more than the budget has been granted, that does not count as budget. */
	if (u && e->bt->counted && e->left < u->count) {
		if (e->overdrawn) {
			e->granted -= e->left;
			e->left = 0;
			return NULL;
		}
		e->overdrawn = true;
		e->granted += u->count - e->left;
		e->left = u->count;
	}
	e->last = u;
	return u;
}

/* What a rip of code with this key counts from. */
static gva_t code_base(const struct vcpu *v, u32 key)
{
	return (key & KEY_SIZE) == KEY_64 ? 0 : v->cpu.seg[CS].base;
}

/* The jump cache of code that is about to run: what other code or another segment had there goes. */
static struct jump_cache *jumps_for(struct vcpu *v, u32 key)
{
	struct bt_cpu *e = bt_cpu(v);
	struct jump_cache *c = &e->jump[jump_index(e->bt, key)];
	gva_t base = code_base(v, key);

	key &= ~KEY_SINGLE;
	if (c->key != key || c->base != base) {
		jump_clear(c);
		c->key = key;
		c->base = base;
	}
	return c;
}

/* The unit at rip, which the TLB has just let through, to the jump cache. */
static void note_jump(struct vcpu *v, struct jump_cache *c, const struct unit *u, uintptr_t entry)
{
	gva_t a = x86_code_linear(&v->cpu);
	enum tlb_scope scope = x86_tlb_scope(v, a);

	if (unlikely(unit_crosses(u)) && x86_tlb_scope(v, a + u->bytes - 1) == TLB_LOCAL)
		scope = TLB_LOCAL;
	jump_fill(c, v->cpu.rip, a, u->bytes, scope, entry);
}

/* Runs the instruction at rip alone, for the sake of why. False with *stop for a debugger. */
static bool step(struct vcpu *v, enum bt_reason why, enum stop *stop)
{
	struct bt_cpu *e = bt_cpu(v);
	const struct bt_cross *cross = why == BT_ALONE ? e->cross : NULL;
	const u8 *cold = why == BT_ALONE ? e->cold : NULL;

	e->step = false;
	e->cross = NULL;
	e->cold = NULL;
	e->last = NULL;
	if (cold) {
		unsigned count;

		e->bt->stats.reasons[BT_COLD]++;
		count = bt_cold_run(v, cold, present_key(v));
		e->left -= count;
		e->granted -= count;
		return true;
	}
	bt_count(&e->bt->stats, why, v->cpu.rip, 0);
	if (cross)
		bt_cross_run(v, cross);
	else if (!engine_step(v, stop))
		return false;
	e->left--;
	e->granted--;
	return true;
}

/* Where the code at rip is by the jump cache of key; 0 if it does not know. */
static uintptr_t known_code(const struct vcpu *v, const struct bt_cpu *e, u32 key)
{
	const struct jump_cache *c = &e->jump[jump_index(e->bt, key)];
	unsigned slot = v->cpu.rip & (JUMP_SLOTS - 1);

	return c->key == key && c->base == code_base(v, key) && c->tag[slot] + v->cpu.rip == 0
		       ? c->entry[slot]
		       : 0;
}

/* The host address at which the CPU goes on, or 0 if the loop in C must look: attention, or no budget. Runs what runs alone. quick:
 * bt_cpu.last need not be set, and need not be where it goes on. single: 0 or KEY_SINGLE. */
static uintptr_t next_code(struct vcpu *v, bool quick, u32 single)
{
	struct bt_cpu *e = bt_cpu(v);
	struct unit *u;
	uintptr_t entry;
	enum stop stop;
	u32 key;

	e->at = NULL;
	for (;;) {
		release_held(v);
		if (atomic_load_explicit(&v->attention, memory_order_relaxed) || e->left <= 0 ||
		    v->cpu.halted)
			return 0;
		key = present_key(v) | single;
		if (quick && !single && (key & KEY_CS_WIDE) && key_tlb(key) != TLB_CHECKED &&
		    !e->bt->counted && (entry = known_code(v, e, key))) {
			e->moved = false;
			return entry;
		}
		u = next_unit(v, key);
		if (u)
			break;
		/* Without attention no debugger stops it. */
		if (!e->step || !step(v, BT_ALONE, &stop))
			return 0;
		quick = true;
	}
	entry = (uintptr_t)(u->code + e->bt->exec);
	if (key & KEY_CS_LINK) {
		struct jump_cache *c = jumps_for(v, key);

		if (!single)
			note_jump(v, c, u, entry);
	}
	return entry;
}

/* The same, whatever attention says: past the poll of the unit. */
static uintptr_t forced_code(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);
	u32 key = present_key(v);
	struct unit *u = next_unit(v, key);

	if (!u)
		return 0;
	if (key & KEY_CS_LINK)
		jumps_for(v, key);
	e->vrip = (v->cpu.rip - ((uintptr_t)u->guest & 0xfff)) & rip_mask(u);
	if (e->bt->counted)
		e->left -= u->count;
	return (uintptr_t)(u->code + e->bt->exec) + u->body;
}

/* --- What units ask of C -------------------------------------------------------------------------- */

static u64 insn_rip(const struct bt_cpu *e, const struct unit *u, unsigned off)
{
	return (e->vrip + ((uintptr_t)u->guest & 0xfff) + off) & rip_mask(u);
}

/* After instruction n, which may open a group, was run in C: opens it. False if the rest of the unit cannot rely on it. */
static bool open_group(struct vcpu *v, const struct unit_insn *n)
{
	struct bt_cpu *e = bt_cpu(v);
	unsigned reg = n->group & 15;
	const struct tlb *t = &v->tlbs[key_tlb(unit_of(n)->key)];
	gva_t a = v->cpu.gpr[reg] + (u64)(i64)n->low;

	if (n->group == NO_GROUP)
		return true;
	if (!tlb_covers((n->group & GROUP_WRITE ? t->write : t->read)[tlb_slot(a)], a, n->span))
		return false;
	e->group[reg] = t->addend[tlb_slot(a)];
	return true;
}

/* Runs instruction n of its unit, for the sake of why. The host address to go on at, or 0. */
static u64 run_insn(struct vcpu *v, struct unit_insn *n, enum bt_reason why)
{
	struct bt_cpu *e = bt_cpu(v);
	struct unit *u = unit_of(n);
	struct x86_insn room;
	const struct x86_insn *i = bt_insn(e->bt, n, &room);
	const struct unit_insn *last = &u->insn[u->count - 1];
	bool fp = fp_leave(v);
	u64 drops = v->near_drops;
	bool grouped = true;
	u64 next;

	v->cpu.rip = insn_rip(e, u, n->off);
	if (unlikely(!i)) {
		if (e->bt->counted)
			e->left += u->count - n->k;
		e->step = true;
		return 0;
	}
	next = insn_rip(e, u, i->off + i->len);
	bt_count(&e->bt->stats, why, v->cpu.rip, i->mnemonic);
	e->at = n;
	v->insn = i;
	i->fn(v, i);
	v->insn = NULL;
	if (!(i->flags & INSN_BRANCH))
		v->cpu.rip = next;
	/* Behind it the registers that it uses are taken to be live. */
	if (v->cpu.rip == next && !(i->flags & INSN_END) && (n < last || u->falls) && !u->dead &&
	    !u->checked && !e->moved && (fp || n->gate == GATE_NONE) && v->near_drops == drops &&
	    !atomic_load_explicit(&v->attention, memory_order_relaxed) &&
	    (grouped = open_group(v, n))) {
		e->at = NULL;
		if (fp)
			fp_enter(v);
		return (uintptr_t)(u->code + e->bt->exec) + n->end;
	}
	/* What the unit was paid for and has not done. */
	if (e->bt->counted)
		e->left += u->count - 1 - n->k;
	return next_code(v, true, grouped ? 0 : KEY_SINGLE);
}

u64 bt_do_insn(struct vcpu *v, u32 id)
{
	struct unit_insn *n = bt_of_id(bt_cpu(v)->bt, id);

	return run_insn(v, n, n->kept == NOT_KEPT ? BT_SLOW : BT_BY_DESIGN);
}

u64 bt_do_fp(struct vcpu *v, u32 id)
{
	struct bt_cpu *e = bt_cpu(v);
	struct unit_insn *n = bt_of_id(e->bt, id);

	fp_leave(v);
	if (!fp_gate_open(v, n->gate))
		return run_insn(v, n, BT_FP);
	e->bt->stats.reasons[BT_FP]++;
	fp_enter(v);
	return (uintptr_t)(unit_of(n)->code + e->bt->exec) + n->host;
}

u64 bt_do_fault(struct vcpu *v, u32 vector)
{
	struct bt_cpu *e = bt_cpu(v);
	struct unit *u = bt_cache_unit_at(e->bt, e->fault_at);
	u32 off;
	unsigned n = 0;

	(void)vector;
	assert(u);
	off = (u32)(e->fault_at - (uintptr_t)(u->code + e->bt->exec));
	while (n + 1 < u->count && u->insn[n + 1].host <= off)
		n++;
	return run_insn(v, &u->insn[n], BT_FAULT);
}

u64 bt_do_exit(struct vcpu *v, u32 id)
{
	struct bt_cpu *e = bt_cpu(v);
	struct bt *bt = e->bt;
	struct bt_exit *x = bt_of_id(bt, id);
	struct unit *from = x->from;
	u64 target, evictions = bt->stats.evictions;
	i64 page_off = (i64)((uintptr_t)from->guest & 0xfff);

	fp_leave(v);
	v->cpu.rip = (e->vrip + (u64)x->target) & rip_mask(from);
	bt_count(&bt->stats, BT_EXIT, v->cpu.rip, 0);
	target = next_code(v, false, x->single ? KEY_SINGLE : 0);
	/* Making the target may have emptied the segment that x lies in. */
	if (target && e->last && evictions == bt->stats.evictions && !from->dead && !x->to &&
	    !unit_crosses(e->last) &&
	    e->last->key == ((from->key & ~KEY_SINGLE) | (x->single ? KEY_SINGLE : 0)) &&
	    e->last->guest == from->guest + (x->target - page_off))
		bt_link(bt, x, e->last);
	return target;
}

u64 bt_do_entry(struct vcpu *v, u32 id)
{
	struct bt_cpu *e = bt_cpu(v);
	struct unit *u = bt_of_id(e->bt, id);

	fp_leave(v);
	e->bt->stats.reasons[u->dead                                ? BT_DEAD
			     : e->bt->counted && e->left < u->count ? BT_BUDGET
								    : BT_ATTENTION]++;
	v->cpu.rip = insn_rip(e, u, 0);
	/* A dead unit comes here too: the jump cache may still lead to it. */
	return next_code(v, false, u->key & KEY_SINGLE);
}

/* An indirect jump has gone to an address that no code can have: takes back what it did to the stack pointer, and lets C fault. */
static u64 fault_in_jump(struct vcpu *v, struct unit_insn *n)
{
	struct x86_insn room;
	const struct x86_insn *i = bt_insn(bt_cpu(v)->bt, n, &room);

	if (i && i->mnemonic == ZYDIS_MNEMONIC_RET)
		v->cpu.gpr[RSP] -= 8 + (i->nops ? (u16)i->imm : 0u);
	return run_insn(v, n, BT_FAULT);
}

u64 bt_do_miss(struct vcpu *v, u32 id)
{
	struct bt *bt = bt_cpu(v)->bt;

	if (unlikely(!x86_canonical(v->cpu.rip)) && id)
		return fault_in_jump(v, bt_of_id(bt, id));
	bt_count(&bt->stats, BT_MISS, v->cpu.rip, 0);
	fp_leave(v);
	return next_code(v, true, 0);
}

/* --- Mappings ------------------------------------------------------------------------------------- */

static void mapping_dropped(struct vcpu *v, enum tlb_drop what, gva_t a)
{
	struct bt_cpu *e = bt_cpu(v);

	e->moved = true;
	for (unsigned m = 0; m < JUMP_CACHES; m++) {
		if (what == TLB_DROP_PAGE)
			jump_drop_page(&e->jump[m], a & ~0xfffull);
		else if (what == TLB_DROP_NONGLOBAL)
			jump_clear_local(&e->jump[m]);
		else
			jump_clear(&e->jump[m]);
	}
}

/* --- Running -------------------------------------------------------------------------------------- */

static u64 bt_icount(const struct vcpu *cv)
{
	struct vcpu *v = (struct vcpu *)(uintptr_t)cv;
	const struct bt_cpu *e = bt_cpu(v);
	u64 done = v->icount;

	if (!e->bt->counted)
		return done;
	done += (u64)(e->granted - e->left);
	if (e->at)
		done -= unit_of(e->at)->count - (u64)e->at->k;
	return done;
}

/* v->icount becomes exact; what is left stays. */
static void settle(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);

	v->icount = bt_icount(v);
	if (e->bt->counted && e->at)
		e->left += unit_of(e->at)->count - e->at->k;
	e->granted = e->left;
	e->at = NULL;
	v->insn = NULL;
}

static void set_gs(struct vcpu *v) { syscall(SYS_arch_prctl, ARCH_SET_GS, v); }

static u64 enter(struct vcpu *v, uintptr_t target)
{
	u64 (*fn)(struct vcpu *, uintptr_t) =
		(u64(*)(struct vcpu *, uintptr_t))bt_cpu(v)->bt->stub.enter;

	return fn(v, target);
}

static enum stop bt_loop(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);
	enum stop stop;

	for (;;) {
		release_held(v);
		if (atomic_load_explicit(&v->attention, memory_order_relaxed) || v->cpu.halted ||
		    v->cpu.wait_sipi) {
			u64 interrupts = v->interrupts;

			if (!x86_attend(v, &stop))
				return stop;
			if (e->left <= 0)
				return STOP_BUDGET;
			hold_irq(v, v->interrupts != interrupts);
			u32 att = atomic_load_explicit(&v->attention, memory_order_relaxed);

			if (att == ATT_SLOW && debugger_is_elsewhere(v, x86_code_linear(&v->cpu))) {
				uintptr_t target = forced_code(v);

				if (target) {
					enter(v, target);
					settle(v);
					continue;
				}
			}
			if (att) {
				if (!step(v, BT_ALONE_EVENT, &stop))
					return stop;
				continue;
			}
		} else if (e->left <= 0) {
			return STOP_BUDGET;
		}
		uintptr_t target = next_code(v, true, 0);

		if (target) {
			enter(v, target);
			settle(v);
		}
		if (e->step && !step(v, BT_ALONE, &stop))
			return stop;
	}
}

/* In lockstep: see engine.h. */
static enum stop paced_loop(struct vcpu *v, u64 budget_insns)
{
	struct bt_cpu *e = bt_cpu(v);
	enum stop stop;

	if (budget_insns == 0)
		return x86_attend(v, &stop) ? STOP_BUDGET : stop;
	do {
		u32 alone = atomic_load_explicit(&v->attention, memory_order_relaxed) &
			    (ATT_SLOW | ATT_SHADOW);
		uintptr_t target = alone ? 0 : forced_code(v);

		if (target) {
			enter(v, target);
			settle(v);
		} else if ((alone || e->step) &&
			   !step(v, alone ? BT_ALONE_EVENT : BT_ALONE, &stop)) {
			return stop;
		}
	} while (e->left > 0 && !v->cpu.halted &&
		 !atomic_load_explicit(&v->attention, memory_order_relaxed));
	return STOP_BUDGET;
}

/* What ran last has been left by longjmp: makes the counts exact and delivers the exception. False if run is to return *stop. */
static bool unwound(struct vcpu *v, enum stop *stop)
{
	settle(v);
	if (v->exc.vector == EXC_NONE)
		return true;
	*stop = STOP_BUDGET;
	if (x86_deliver_fault(v))
		return v->vm->pace == PACE_FREE;
	*stop = STOP_SHUTDOWN;
	return false;
}

static enum stop bt_run(struct vcpu *v, u64 budget_insns)
{
	struct bt_cpu *e = bt_cpu(v);
	jmp_buf catch;
	enum stop stop;

	set_gs(v);
	e->step = e->overdrawn = false;
	e->left = e->granted = (i64)MIN(budget_insns, (u64)INT64_MAX);
	v->catch = &catch;
	if (!_setjmp(catch) || unwound(v, &stop)) {
		v->catch = &catch;
		stop = v->vm->pace == PACE_FREE ? bt_loop(v) : paced_loop(v, budget_insns);
	}
	v->catch = NULL;
	return stop;
}

static void bt_describe(struct vcpu *v, void *file)
{
	struct bt_cpu *e = bt_cpu(v);

	if (e->last)
		bt_dump_unit(e->bt, e->last, insn_rip(e, e->last, 0), file);
}

/* --- The engine ----------------------------------------------------------------------------------- */

static void bt_code_written(struct vm *vm, const u8 *host, u64 size)
{
	bt_cache_written(vm->engine_vm, host, size);
}

static void bt_vm_fini(struct vm *vm)
{
	struct bt *bt = vm->engine_vm;

	bt_cache_fini(bt);
	bt_perf_close(bt);
	free(bt->emit);
	free(bt->goes_on);
	free(bt);
	vm->engine_vm = NULL;
	vm->code_written = NULL;
}

/* Code that does not fit is made again and again: what systems with more memory run is larger, too. */
static size_t cache_size(const struct vm *vm)
{
	if (vm->cache_size)
		return vm->cache_size;
	return MAX(BT_CACHE_LEAST, MIN(BT_CACHE_MOST, vm->mem->size / BT_CACHE_PART));
}

static int bt_vm_init(struct vm *vm)
{
	struct bt *bt = calloc(1, sizeof(*bt));
	int err = -ENOMEM;

	if (!bt)
		return err;
	bt->vm = vm;
	bt->counted = vm->clock->kind == CLOCK_KIND_INSNS || vm->pace != PACE_FREE;
	bt->groups = vm->pace == PACE_FREE;
	vm->engine_vm = bt;
	vm->code_written = bt_code_written;
	bt->emit = calloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, sizeof(*bt->emit));
	bt->goes_on = calloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, sizeof(*bt->goes_on));
	if (bt->emit && bt->goes_on)
		err = bt_cache_init(bt, cache_size(vm));
	if (!err && vm->perf_map)
		err = bt_perf_open(bt);
	if (err) {
		bt_vm_fini(vm);
		return err;
	}
	if (bt->perf)
		bt_perf_stubs(bt);
	emit_alu_init(bt);
	emit_mov_init(bt);
	emit_branch_init(bt);
	emit_shift_init(bt);
	emit_bit_init(bt);
	emit_cond_init(bt);
	emit_muldiv_init(bt);
	emit_atomic_init(bt);
	emit_flag_init(bt);
	emit_string_init(bt);
	emit_sys_init(bt);
	emit_fp_init(bt);
	return 0;
}

static int bt_vcpu_init(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);

	e->self = v;
	e->bt = v->vm->engine_vm;
	jump_init(e);
	fp_init(v);
	v->mapping_dropped = mapping_dropped;
	return 0;
}

static void bt_vcpu_fini(struct vcpu *v) { v->mapping_dropped = NULL; }

static void bt_dump(struct vm *vm, void *file)
{
	struct bt *bt = vm->engine_vm;

	bt->dump = file;
}

static const char *bt_unfit(void)
{
	unsigned a, b = 0, c, d;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & BIT(8)))
		return "the host's CPU has no BMI2 instructions";
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT(27)))
		return "the host's kernel does not use XSAVE";
	return NULL;
}

const struct engine_ops engine_bt = {
	.name = "bt",
	.timed = true,
	.makes_code = true,
	.help = "binary translator; needs a host CPU with BMI2 (Haswell, Zen, or later)",
	.unfit = bt_unfit,
	.vm_init = bt_vm_init,
	.vm_fini = bt_vm_fini,
	.vcpu_init = bt_vcpu_init,
	.vcpu_fini = bt_vcpu_fini,
	.run = bt_run,
	.icount = bt_icount,
	.stats = bt_stats_print,
	.dump_name = "tu",
	.dump = bt_dump,
	.describe = bt_describe,
};
