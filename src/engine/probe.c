#include "engine/probe.h"

#include "x86/thunk.h"

/* Real mode at 0000:1000: sums 1..100 into AX, adds two doubles on the x87, leaves both in memory, halts. */
static const u8 probe_code[] = {
	0xb9, 0x64, 0x00,       /* mov cx, 100 */
	0x31, 0xc0,             /* xor ax, ax */
	0x01, 0xc8,             /* next: add ax, cx */
	0xe2, 0xfc,             /* loop next */
	0xa3, 0x00, 0x20,       /* mov [2000h], ax */
	0xdb, 0xe3,             /* fninit */
	0xd9, 0xe8,             /* fld1 */
	0xd8, 0xc0,             /* fadd st, st */
	0xdf, 0x1e, 0x02, 0x20, /* fistp word [2002h] */
	0xf4,                   /* hlt */
};

#define PROBE_ENTRY    0x1000
#define PROBE_RESULT   0x2000
#define PROBE_EXPECTED (5050u | 2u << 16)

static void no_exit(struct vcpu *v, struct exit *e)
{
	(void)v;
	e->value = ~0ull;
}

static int no_irq(struct vcpu *v)
{
	(void)v;
	return -1;
}

static const char *run_guest(const struct engine_ops *engine, struct vm *vm, struct vcpu *v)
{
	u32 result = 0;

	x86_reset(v);
	v->cpu.seg[CS].sel = 0;
	v->cpu.seg[CS].base = 0;
	v->cpu.rip = PROBE_ENTRY;
	x86_mode_changed(v);
	if (engine->run(v, 10000) != STOP_HALT)
		return "a test guest did not come to its end";
	if (!mem_read(vm->mem, PROBE_RESULT, &result, sizeof(result)) || result != PROBE_EXPECTED)
		return "a test guest computed a wrong result";
	return NULL;
}

const char *engine_probe(const struct engine_ops *engine)
{
	struct mem mem;
	struct clock clock;
	struct vm vm = { .mem = &mem,
			 .clock = &clock,
			 .nvcpus = 1,
			 .engine = engine,
			 .tsc_hz = 1000000000,
			 .a20_mask = ~0ull,
			 .icount = engine->icount };
	struct vcpu *v = vcpu_new(&vm);
	const char *why = "out of memory";

	if (!v)
		return why;
	if (mem_init(&mem, 2 * MIB))
		goto free_vcpu;
	clock_init(&clock, CLOCK_KIND_REAL);
	vm.model = cpuid_model_find("max");
	vm.vcpus[0] = v;
	vm.thunks = thunk_cache_new();
	v->exit = no_exit;
	v->take_irq = no_irq;
	if (!vm.thunks || engine->vm_init(&vm))
		goto free_vm;
	if (engine->vcpu_init(v))
		goto free_engine;
	why = mem_write(&mem, PROBE_ENTRY, probe_code, sizeof(probe_code))
		      ? run_guest(engine, &vm, v)
		      : "guest memory is unusable";
	engine->vcpu_fini(v);
free_engine:
	engine->vm_fini(&vm);
free_vm:
	thunk_cache_free(vm.thunks);
	clock_fini(&clock);
	mem_fini(&mem);
free_vcpu:
	vcpu_free(v);
	return why;
}
