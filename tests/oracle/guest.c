/* The engine under test: one vCPU at CPL 3 in the same surroundings as the host's child: long mode, the same two mappings, flat
 * or 16-bit compatibility segments. The code is followed by HLT, and there is no IDT: the first exception that is
 * recorded says how it ended, before the CPU shuts down. */
#include "oracle.h"

#include "engine/engine.h"
#include "x86/exec.h"
#include "x86/hostsig.h"
#include "x86/mem.h"
#include "x86/thunk.h"

#include <stdio.h>
#include <stdlib.h>

#define RAM_SIZE         (528 * MIB)
#define TABLES           0x10000u
#define PTE_PRESENT_USER 7u
#define PTE_NO_EXEC      BIT(63)

struct guest {
	unsigned mode;
	struct mem mem;
	struct clock clock;
	struct vm vm;
	struct vcpu *v;
};

static void no_exit(struct vcpu *v, struct exit *e)
{
	(void)v;
	e->value = ~0ull;
	e->fault = true;
}

static int no_irq(struct vcpu *v)
{
	(void)v;
	return -1;
}

static void write_entry(struct guest *g, u64 at, u64 value)
{
	if (!mem_write(&g->mem, at, &value, 8))
		abort();
}

/* PML4, PDPT, PD, PT: the code page and the data pages, nothing else. */
static void make_tables(struct guest *g)
{
	u64 pt = TABLES + 0x3000;

	write_entry(g, TABLES, (TABLES + 0x1000) | PTE_PRESENT_USER);
	write_entry(g, TABLES + 0x1000, (TABLES + 0x2000) | PTE_PRESENT_USER);
	write_entry(g, TABLES + 0x2000 + (CODE_PAGE >> 21) * 8, pt | PTE_PRESENT_USER);
	write_entry(g, pt + (CODE_PAGE >> 12 & 511) * 8, CODE_PAGE | PTE_PRESENT_USER);
	for (unsigned n = 0; n < DATA_PAGES; n++)
		write_entry(g, pt + ((DATA_PAGE >> 12 & 511) + n) * 8,
			    (DATA_PAGE + n * 4096) | PTE_PRESENT_USER | PTE_NO_EXEC);
}

static void set_segments(struct x86_cpu *cpu, unsigned mode)
{
	u32 data = AR_A | AR_WR | AR_S | AR_DPL | AR_P | (mode == 16 ? 0 : AR_DB | AR_G);
	u32 code = data | AR_CODE;
	u32 limit = mode == 16 ? 0xffff : 0xffffffff;

	if (mode == 64)
		code = (code & (u32)~AR_DB) | (u32)AR_L;
	cpu->seg[CS] = (struct x86_seg){
		.sel = 0x33, .ar = code, .limit = limit, .base = mode == 16 ? CODE16_BASE : 0
	};
	for (unsigned n = ES; n <= DS; n++)
		if (n != CS)
			cpu->seg[n] = (struct x86_seg){ .sel = 0x2b,
							.ar = data,
							.limit = limit,
							.base = mode == 16 ? SEG16_BASE : 0 };
	cpu->cpl = 3;
}

static void set_system(struct guest *g)
{
	struct x86_cpu *cpu = &g->v->cpu;

	cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	cpu->cr3 = TABLES;
	cpu->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	cpu->xcr0 = cpuid_xcr0_mask(&g->vm);
	cpu->gdtr.limit = 0;
	cpu->idtr.limit = 0;
	set_segments(cpu, g->mode);
}

static void on_code_written(void *opaque, const u8 *host, u64 size)
{
	struct vm *vm = opaque;

	if (vm->code_written)
		vm->code_written(vm, host, size);
}

struct guest *guest_start(unsigned mode, const char *engine)
{
	struct guest *g = calloc(1, sizeof(*g));
	const struct engine_ops *ops = engine_find(engine);

	if (!ops) {
		fprintf(stderr, "oracle: no engine %s\n", engine);
		exit(2);
	}
	struct vcpu *v = vcpu_new(&g->vm);

	if (!v)
		abort();
	g->mode = mode;
	g->v = v;
	if (mem_init(&g->mem, RAM_SIZE) || hostsig_init_thread())
		abort();
	clock_init(&g->clock, CLOCK_KIND_REAL);
	g->vm = (struct vm){ .mem = &g->mem,
			     .clock = &g->clock,
			     .nvcpus = 1,
			     .vcpus = { v },
			     .engine = ops,
			     .icount = ops->icount,
			     .model = cpuid_model_find("max"),
			     .tsc_hz = 1000000000,
			     .a20_mask = ~0ull,
			     .thunks = thunk_cache_new() };
	g->mem.code_written = on_code_written;
	g->mem.opaque = &g->vm;
	v->exit = no_exit;
	v->take_irq = no_irq;
	if (ops->vm_init(&g->vm) || ops->vcpu_init(v))
		abort();
	make_tables(g);
	u8 halts[4096];

	memset(halts, HLT, sizeof(halts));
	if (!mem_write(&g->mem, CODE_PAGE, halts, sizeof(halts)))
		abort();
	return g;
}

/* The same bytes again are not written: the engine may keep what it has made of them. */
static void load_code(struct guest *g, const struct oracle_case *c)
{
	u8 code[CODE_AREA], there[CODE_AREA];

	memset(code, HLT, sizeof(code));
	memcpy(code + (c->before.rip & 0xfff) - CODE_OFFSET, c->bytes, c->len);
	if (!mem_read(&g->mem, CODE_PAGE + CODE_OFFSET, there, sizeof(there)))
		abort();
	if (!memcmp(code, there, sizeof(code)))
		return;
	if (!mem_write(&g->mem, CODE_PAGE + CODE_OFFSET, code, sizeof(code)))
		abort();
}

void guest_load(struct guest *g, const struct oracle_state *s)
{
	struct x86_cpu *cpu = &g->v->cpu;

	if (!mem_write(&g->mem, DATA_PAGE, s->data, DATA_SIZE))
		abort();
	x86_reset(g->v);
	set_system(g);
	memcpy(cpu->gpr, s->gpr, sizeof(s->gpr));
	cpu->rip = s->rip;
	x86_set_rflags(cpu, s->flags);
	memcpy(cpu->xsave, s->xsave, X86_XSAVE_SIZE);
	atomic_store(&g->v->attention, 0);
	x86_mode_changed(g->v);
	g->v->last_exc_count = 0;
	g->v->shadow = 0;
	g->v->pending_dr6 = 0;
}

void guest_step(struct guest *g, const u8 *bytes, unsigned len, struct guest_view *view)
{
	struct x86_cpu *cpu = &g->v->cpu;
	u64 at = CODE_PAGE + (view->rip & 0xfff);
	u8 halts[INSN_MAX];

	memset(halts, HLT, sizeof(halts));
	memcpy(cpu->gpr, view->gpr, sizeof(view->gpr));
	cpu->rip = view->rip;
	g->v->last_exc_count = 0;
	if (!mem_write(&g->mem, at, bytes, len))
		abort();
	enum stop stop = g->vm.engine->run(g->v, GUEST_WHOLE);

	if (!mem_write(&g->mem, at, halts, len))
		abort();
	view->lost = stop != STOP_SHUTDOWN || !g->v->last_exc_count;
	view->fault = !view->lost && g->v->last_exc[0].rip == view->rip;
	view->vector = (u8)g->v->last_exc[0].vector;
	if (!view->lost)
		view->rip = g->v->last_exc[0].rip;
	memcpy(view->gpr, cpu->gpr, sizeof(view->gpr));
	view->flags = x86_rflags(cpu);
}

/* Where HLT ends a case: a single instruction may have gone anywhere, a sequence must have come to its end. */
static bool completed(const struct oracle_case *c, u64 rip, u64 vector)
{
	if (c->to_halt)
		return vector == EXC_GP && rip == c->before.rip + c->len;
	return rip != c->before.rip;
}

void guest_run(struct guest *g, const struct oracle_case *c, unsigned slice,
	       struct oracle_result *r)
{
	const struct x86_cpu *cpu = &g->v->cpu;

	load_code(g, c);
	guest_load(g, &c->before);
	enum stop stop = STOP_BUDGET;

	for (unsigned n = 0; n < GUEST_WHOLE && stop == STOP_BUDGET; n += slice)
		stop = g->vm.engine->run(g->v, slice);

	memcpy(r->after.gpr, cpu->gpr, sizeof(r->after.gpr));
	memcpy(r->after.xsave, cpu->xsave, X86_XSAVE_SIZE);
	r->after.flags = x86_rflags(cpu);
	if (!mem_read(&g->mem, DATA_PAGE, r->after.data, DATA_SIZE))
		abort();
	r->end = (struct oracle_end){ 0 };
	if (stop != STOP_SHUTDOWN || !g->v->last_exc_count) {
		r->after.rip = cpu->rip;
		r->end.vector = EXC_NONE; /* of single instructions only a branch into itself may */
		return;
	}
	r->after.rip = g->v->last_exc[0].rip;
	if (completed(c, r->after.rip, g->v->last_exc[0].vector)) {
		r->end.vector = c->to_halt ? 0 : (u8)g->v->last_exc[0].vector;
		return;
	}
	r->end.fault = true;
	r->end.vector = (u8)g->v->last_exc[0].vector;
	if (oracle_has_error(r->end.vector))
		r->end.error = (u32)g->v->last_exc[0].error;
	if (r->end.vector == EXC_PF)
		r->end.cr2 = g->v->last_exc[0].cr2;
}

void guest_stop(struct guest *g)
{
	g->vm.engine->vcpu_fini(g->v);
	g->vm.engine->vm_fini(&g->vm);
	thunk_cache_free(g->vm.thunks);
	clock_fini(&g->clock);
	mem_fini(&g->mem);
	vcpu_free(g->v);
	free(g);
}
