/* Lockstep: running two machines a unit at a time, and comparing them. See check.h. */
#include "machine/check.h"

#include "base/log.h"
#include "base/trace.h"
#include "machine/check_internal.h"
#include "x86/fpu.h"

#include <stdio.h>
#include <stdlib.h>

/* Units between comparisons of all floating-point state where no engine says whether it has changed; x87 and SSE are compared
 * each time then. */
#define FP_EVERY 8
/* Instructions between comparisons of RAM. */
#define RAM_EVERY 20000000

/* --- The two machines ------------------------------------------------------------------------- */

static void on_exit_logged(struct vcpu *v, struct exit *e)
{
	struct machine *m = machine_of(v);
	struct check_log *log = m == m->check->lead ? &m->check->lead_log : &m->check->follow_log;

	machine_exit(v, e);
	if (log->count < CHECK_EXITS)
		log->exit[log->count] = *e;
	log->count++;
}

int check_new(struct machine *lead, struct machine *follow)
{
	struct check *c = aligned_alloc(64, align_up(sizeof(*c), 64));

	if (!c)
		return -ENOMEM;
	memset(c, 0, sizeof(*c));
	c->lead = lead;
	c->follow = follow;
	lead->check = follow->check = c;
	c->lead_page = mem_host(&lead->mem, (gpa_t)lead->cfg.check_page * MEM_PAGE, MEM_PAGE);
	c->follow_page = mem_host(&follow->mem, (gpa_t)lead->cfg.check_page * MEM_PAGE, MEM_PAGE);
	for (unsigned n = 0; n < lead->vm.nvcpus; n++) {
		lead->vm.vcpus[n]->exit = follow->vm.vcpus[n]->exit = on_exit_logged;
		/* The two machines need not come to the same pieces. */
		lead->vm.vcpus[n]->port_block = follow->vm.vcpus[n]->port_block = NULL;
	}
	return 0;
}

struct machine *check_free(struct check *c)
{
	struct machine *follow = c->follow;

	follow->check = NULL;
	free(c);
	return follow;
}

struct machine *check_follower(struct check *c) { return c->follow; }

void check_input(struct check *c, const u8 *buf, size_t n)
{
	(void)ns16550_receive(&c->follow->com1, buf, n);
}

void check_stats(const struct check *c, void *file)
{
	fprintf(file,
		"check: %llu units and %llu events compared, floating-point state %llu times, RAM %llu times\n",
		(unsigned long long)c->units, (unsigned long long)c->events,
		(unsigned long long)c->fp_compared, (unsigned long long)c->ram_compared);
}

/* --- Comparing -------------------------------------------------------------------------------- */

unsigned check_fp_differs(const struct x86_cpu *a, const struct x86_cpu *b, unsigned from)
{
	for (unsigned n = from; n < X86_XSAVE_SIZE; n++) {
		if (n == FX_MXCSR_MASK)
			n += 4;
		else if (n == XS_BV)
			n = XS_YMM;
		if (a->xsave[n] != b->xsave[n])
			return n;
	}
	return X86_XSAVE_SIZE;
}

static bool fp_same(const struct x86_cpu *a, const struct x86_cpu *b)
{
	return likely(!memcmp(a->xsave, b->xsave, X86_XSAVE_SIZE)) ||
	       check_fp_differs(a, b, 0) == X86_XSAVE_SIZE;
}

static u64 seek(const struct mem *mem, u64 from, int whence)
{
	off_t to = lseek(mem->fd, (off_t)from, whence);

	return to < 0 ? mem->size : (u64)to;
}

/* Holes are passed over: to read them would fill them. */
u64 check_ram_differs(const struct mem *a, const struct mem *b, u64 from)
{
	while (from < a->size) {
		u64 begin = MIN(seek(a, from, SEEK_DATA), seek(b, from, SEEK_DATA)), end;

		if (begin >= a->size)
			break;
		end = seek(a, begin, SEEK_HOLE);
		end = MAX(end, seek(b, begin, SEEK_HOLE));
		for (u64 at = begin, n; at < end; at += n) {
			n = MIN(end - at, MEM_PAGE - at % MEM_PAGE);
			if (likely(!memcmp(a->ram->host + at, b->ram->host + at, n)))
				continue;
			while (a->ram->host[at] == b->ram->host[at])
				at++;
			return at;
		}
		from = end;
	}
	return a->size;
}

static bool exit_same(const struct exit *a, const struct exit *b)
{
	return a->kind == b->kind && a->size == b->size && a->fault == b->fault &&
	       a->addr == b->addr && a->value == b->value;
}

u64 check_exits_differ(const struct check *c)
{
	u64 most = MIN(MIN(c->lead_log.count, c->follow_log.count), CHECK_EXITS);

	for (u64 n = 0; n < most; n++)
		if (!exit_same(&c->lead_log.exit[n], &c->follow_log.exit[n]))
			return n;
	return MIN(c->lead_log.count, c->follow_log.count);
}

static bool exits_same(const struct check *c)
{
	return c->lead_log.count == c->follow_log.count &&
	       (likely(!c->lead_log.count) || check_exits_differ(c) == c->lead_log.count);
}

/* What lies between the fields may differ, once: it is made the same, so that the quick comparison holds again. */
static bool core_same(const struct x86_cpu *a, struct x86_cpu *b)
{
	if (likely(!memcmp(a, b, CHECK_CORE)))
		return true;
	for (unsigned n = 0; n < x86_cpu_state.count; n++) {
		const struct state_field *f = &x86_cpu_state.fields[n];

		if (check_is_core(f) && check_field_differs(f, a, b))
			return false;
	}
	memcpy(b, a, CHECK_CORE);
	return true;
}

/* Floating-point state is compared whole where an engine says that it may have changed, and now and then. */
static bool fp_differs(struct check *c, struct vcpu *a, struct vcpu *b)
{
	bool (*lead)(struct vcpu *) = c->lead->vm.engine->pull;
	bool (*follow)(struct vcpu *) = c->follow->vm.engine->pull;
	bool changed = lead && lead(a);

	if (follow && follow(b))
		changed = true;

	if (!changed && c->units % FP_EVERY)
		return !lead && !follow && memcmp(a->cpu.xsave, b->cpu.xsave, FX_SIZE) &&
		       !fp_same(&a->cpu, &b->cpu);
	c->fp_compared++;
	return !fp_same(&a->cpu, &b->cpu);
}

static unsigned compare_cpu(struct check *c, struct vcpu *a, struct vcpu *b)
{
	unsigned what = fp_differs(c, a, b) ? DIFF_FP : 0;

	if (!core_same(&a->cpu, &b->cpu))
		what |= DIFF_CPU;
	if ((atomic_load(&a->attention) ^ atomic_load(&b->attention)) & CHECK_ATT)
		what |= DIFF_EVENTS;
	return what;
}

static bool ram_same(struct check *c)
{
	c->ram_compared++;
	if (check_ram_differs(&c->lead->mem, &c->follow->mem, 0) != c->lead->mem.size)
		return false;
	c->ram_fine = machine_insns(c->lead);
	return true;
}

static unsigned compare_unit(struct check *c, struct vcpu *a, struct vcpu *b)
{
	unsigned what = compare_cpu(c, a, b);

	if (c->lead_stop != c->follow_stop)
		what |= DIFF_STOP;
	if (vcpu_icount(a) != vcpu_icount(b) || a->last_exc_count != b->last_exc_count)
		what |= DIFF_COUNT;
	if (!exits_same(c))
		what |= DIFF_EXITS;
	if (c->lead_page && memcmp(c->lead_page, c->follow_page, MEM_PAGE))
		what |= DIFF_RAM;
	return what;
}

static void differ(struct check *c, unsigned what)
{
	check_report(c, what, stderr);
	c->lead->end = END_NONE; /* whatever the guest thinks of it */
	machine_end(c->lead, END_DIFFERENT);
}

/* --- Running ---------------------------------------------------------------------------------- */

/* Both CPUs attend (budget 0) or run a unit. False if they differ. */
static bool run_both(struct check *c, struct vcpu *a, struct vcpu *b, u64 budget)
{
	u64 count = vcpu_icount(a), raised = a->last_exc_count, traced = trace_enabled;

	memcpy(&c->before, &a->cpu, offsetof(struct x86_cpu, gdtr));
	c->lead_log.count = c->follow_log.count = 0;
	c->attended = budget == 0;
	c->lead_stop = c->lead->vm.engine->run(a, budget);
	c->insns = vcpu_icount(a) - count;
	c->fault = a->last_exc_count != raised;
	/* An instruction that faults must begin to do so. */
	if (budget)
		budget = c->insns + c->fault;
	c->follow_stop = c->lead_stop;
	if (budget || c->attended) {
		trace_enabled = 0; /* one trace is enough */
		c->follow_stop = c->follow->vm.engine->run(b, budget);
		trace_enabled = traced;
	}
	unsigned what = compare_unit(c, a, b);

	if (unlikely(what)) {
		differ(c, what);
		return false;
	}
	if (unlikely(c->lead->console_ready)) {
		c->lead->console_ready = false;
		if (c->lead->console.ready)
			c->lead->console.ready(c->lead->console.opaque);
	}
	return true;
}

/* At a boundary: events. False with *stop set if the CPU does not go on. */
static bool attend(struct check *c, struct vcpu *a, struct vcpu *b, enum stop *stop)
{
	u32 why = atomic_load_explicit(&a->attention, memory_order_relaxed);

	if (likely(!why && !a->cpu.halted && !a->cpu.wait_sipi))
		return true;
	/* Asked for by the leader's host side too, which the follower does not have. */
	if (why & ATT_STOP) {
		vcpu_unattend(a, ATT_STOP);
		vcpu_unattend(b, ATT_STOP);
		*stop = STOP_KICK;
		return false;
	}
	c->events++;
	*stop = run_both(c, a, b, 0) ? c->lead_stop : STOP_KICK;
	return *stop == STOP_BUDGET;
}

/* Each pass that makes no progress is a fault delivered to a handler that cannot run: their number is bounded like that of
 * instructions, so that host events are looked at. */
enum stop check_run(struct check *c, unsigned n, u64 insns)
{
	struct vcpu *a = c->lead->vm.vcpus[n], *b = c->follow->vm.vcpus[n];
	u64 target = vcpu_icount(a) + insns;
	enum stop stop;

	c->cpu = n;
	c->follow->current = b;
	for (u64 passes = 0; passes <= 2 * insns; passes++) {
		if (!attend(c, a, b, &stop))
			return stop;
		if (vcpu_icount(a) >= target)
			break;
		c->units++;
		if (!run_both(c, a, b, MIN(c->lead->cfg.check_step, target - vcpu_icount(a))))
			return STOP_KICK;
		if (c->lead_stop != STOP_BUDGET)
			return c->lead_stop;
	}
	u64 now = machine_insns(c->lead);

	if (now >= c->ram_due) {
		c->ram_due = now + RAM_EVERY;
		if (!ram_same(c)) {
			differ(c, DIFF_RAM);
			return STOP_KICK;
		}
	}
	return STOP_BUDGET;
}

void check_finish(struct check *c)
{
	unsigned what = 0;

	if (c->lead->end == END_DIFFERENT)
		return;
	for (unsigned n = 0; n < c->lead->vm.nvcpus && !what; n++) {
		struct vcpu *a = c->lead->vm.vcpus[n], *b = c->follow->vm.vcpus[n];

		c->cpu = n;
		what = compare_cpu(c, a, b) | (fp_same(&a->cpu, &b->cpu) ? 0 : DIFF_FP);
	}
	if (!ram_same(c))
		what |= DIFF_RAM;
	for (unsigned n = 0; n < c->lead->device_count; n++) {
		struct device *d = c->lead->devices[n];

		if (state_diff(d->type->regs, device_regs(d), device_regs(c->follow->devices[n]),
			       NULL))
			what |= DIFF_DEVICES;
	}
	if (what)
		differ(c, what);
}
