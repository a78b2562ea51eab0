/* Self-modifying code on the interpreter: each stale execution is a failure. The guest is 64-bit, paging off. */
#include "engine/engine.h"
#include "engine/interp/block.h"
#include "x86/decode_cache.h"
#include "x86/exec_test.h"

#define PATCHES 20000

static void on_dma(void *opaque, const u8 *host, u64 size)
{
	struct vm *vm = opaque;

	vm->code_written(vm, host, size);
}

static int setup(void **state)
{
	struct machine *m;

	if (machine_setup(state))
		return -1;
	m = *state;
	m->vm.engine = &engine_interp;
	m->vm.decode = decode_cache_new();
	if (!m->vm.decode)
		return -1;
	if (engine_interp.vm_init(&m->vm) || engine_interp.vcpu_init(m->v))
		return -1;
	m->mem.code_written = on_dma;
	m->mem.opaque = &m->vm;
	return 0;
}

static int teardown(void **state)
{
	struct machine *m = *state;

	engine_interp.vcpu_fini(m->v);
	engine_interp.vm_fini(&m->vm);
	decode_cache_free(m->vm.decode);
	return machine_teardown(state);
}

static void put(struct machine *m, gpa_t at, const void *code, size_t size)
{
	assert_true(mem_write(&m->mem, at, code, size));
}

/* Runs from `at` to the next HLT. */
static void run_from(struct machine *m, u64 at)
{
	m->v->cpu.rip = at;
	m->v->cpu.halted = false;
	assert_int_equal(engine_interp.run(m->v, 1000), STOP_HALT);
}

static void patch_in_the_running_block(void **state)
{
	/* mov byte [rip + 1], 7: the immediate of the instruction behind it; mov eax, 1; hlt */
	static const u8 code[] = { 0xc6, 0x05, 0x01, 0, 0, 0, 7, 0xb8, 1, 0, 0, 0, 0xf4 };
	struct machine *m = *state;

	put(m, CODE_AT, code, sizeof(code));
	for (unsigned n = 0; n < 3; n++) {
		put(m, CODE_AT + 8, "\1", 1);
		run_from(m, CODE_AT);
		assert_int_equal(m->r[RAX], 7);
	}
}

static void patch_behind_a_branch_back(void **state)
{
	/* A loop that raises the immediate of its own addition: eax = 1 + 2 + ... + 10.
	 * next: add eax, 1; inc byte [next + 2]; dec ecx; jnz next; hlt */
	static const u8 code[] = { 0x83, 0xc0, 1,    0xfe, 0x05, 0xf9, 0xff,
				   0xff, 0xff, 0xff, 0xc9, 0x75, 0xf3, 0xf4 };
	struct machine *m = *state;

	put(m, CODE_AT, code, sizeof(code));
	m->r[RAX] = 0;
	m->r[RCX] = 10;
	run_from(m, CODE_AT);
	assert_int_equal(m->r[RAX], 55);
}

/* mov eax, IMM; hlt at many places, patched by a store of the guest or by a device, then run. */
static void random_patches(void **state)
{
	static const u8 template[] = { 0xb8, 0, 0, 0, 0, 0xf4 };
	/* mov [rbx], ecx; hlt */
	static const u8 writer[] = { 0x89, 0x0b, 0xf4 };
	struct machine *m = *state;
	u32 seed = 1, stale = 0;
	gpa_t at[64];

	put(m, CODE_AT, writer, sizeof(writer));
	for (unsigned k = 0; k < ARRAY_LEN(at); k++) {
		/* Every eighth lies across the end of a page. */
		at[k] = 0x10000 + (k & 7 ? k * 40 : k * 4096 + 4096 - 3);
		put(m, at[k], template, sizeof(template));
	}
	for (unsigned n = 0; n < PATCHES; n++) {
		seed = seed * 1664525 + 1013904223;
		gpa_t place = at[seed >> 26];

		if (seed & 0x10000) {
			m->r[RBX] = place + 1;
			m->r[RCX] = seed;
			run_from(m, CODE_AT);
		} else {
			put(m, place + 1, &seed, 4);
		}
		run_from(m, place);
		stale += m->r[RAX] != seed;
	}
	assert_int_equal(stale, 0);
}

/* A page that holds code and written data keeps its code. */
static void data_beside_code(void **state)
{
	static const u8 code[] = { 0xb8, 1, 0, 0, 0, 0xf4 };
	struct machine *m = *state;
	struct block_cache c = { 0 };
	struct block *b;

	assert_int_equal(block_cache_init(&c, &m->vm), 0);
	put(m, 0x2000, code, sizeof(code));
	b = block_decode(&c, mem_host(&m->mem, 0x2000, 1), 0x2000, 64);
	assert_int_equal(b->count, 2);
	block_cache_written(&c, mem_host(&m->mem, 0x2100, 1), 4); /* elsewhere on the page */
	block_cache_written(&c, mem_host(&m->mem, 0x2006, 1), 4); /* right behind it */
	block_cache_written(&c, mem_host(&m->mem, 0x1ff8, 1), 8); /* right before it */
	assert_int_equal(c.killed, 0);
	assert_ptr_equal(block_find(&c, mem_host(&m->mem, 0x2000, 1), 64), b);
	assert_null(block_find(&c, mem_host(&m->mem, 0x2000, 1), 32));
	block_cache_written(&c, mem_host(&m->mem, 0x2005, 1), 1);
	assert_int_equal(c.killed, 1);
	assert_null(block_find(&c, mem_host(&m->mem, 0x2000, 1), 64));
	block_cache_fini(&c);
}

/* An endless stream of new code does not grow the cache. */
static void bounded(void **state)
{
	struct machine *m = *state;
	struct block_cache *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	assert_int_equal(block_cache_init(c, &m->vm), 0);
	for (unsigned n = 0; n < 400000; n++) {
		u8 *host = mem_host(&m->mem, 0x20000 + n % 0x10000, 1);

		if (!block_find(c, host, 64))
			block_decode(c, host, 0, 64);
		else
			block_cache_written(c, host, 1);
		assert_true(c->used <= BLOCK_ARENA);
	}
	assert_true(c->flushes > 0);
	block_cache_fini(c);
	free(c);
}

/* --- Code whose address comes to show other bytes --------------------------------------------------- */

static struct mem_area *banks[2];
static unsigned bank;

static void show_bank(struct machine *m)
{
	assert_int_equal(mem_show(&m->mem, &(struct mem_window){ .base = CODE_AT,
								 .size = MEM_PAGE,
								 .area = banks[bank],
								 .level = MEM_LEVEL_DEVICE,
								 .owner = banks }),
			 0);
}

static void on_bank_port(struct vcpu *v, struct exit *e)
{
	if (e->kind != EXIT_PORT_OUT)
		return;
	bank ^= 1;
	show_bank(container_of(v->vm, struct machine, vm));
}

static void on_map(void *opaque)
{
	struct vm *vm = opaque;

	x86_tlb_flush(vm->vcpus[0], false);
}

static void map_changes_in_the_running_block(void **state)
{
	/* out 10h, al; mov eax, n; hlt */
	static const u8 code[] = { 0xe6, 0x10, 0xb8, 1, 0, 0, 0, 0xf4 };
	struct machine *m = *state;
	u64 icount;

	m->v->exit = on_bank_port;
	m->mem.changed = on_map;
	for (unsigned n = 0; n < 2; n++) {
		banks[n] = mem_area_new(&m->mem, MEM_PAGE, "bank");
		assert_non_null(banks[n]);
		memcpy(banks[n]->host, code, sizeof(code));
		banks[n]->host[3] = (u8)(n + 1);
	}
	bank = 0;
	show_bank(m);
	for (unsigned n = 0; n < 6; n++) {
		icount = engine_interp.icount(m->v);
		run_from(m, CODE_AT);
		assert_int_equal(m->r[RAX], 2 - n % 2);
		assert_int_equal(engine_interp.icount(m->v) - icount, 3);
	}
	mem_hide(&m->mem, CODE_AT, banks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(patch_in_the_running_block, setup, teardown),
		cmocka_unit_test_setup_teardown(patch_behind_a_branch_back, setup, teardown),
		cmocka_unit_test_setup_teardown(random_patches, setup, teardown),
		cmocka_unit_test_setup_teardown(data_beside_code, setup, teardown),
		cmocka_unit_test_setup_teardown(bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(map_changes_in_the_running_block, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
