/* A machine of one CPU and 1 MiB of RAM, paging off, on which the unit tests run single
 * instructions. */
#ifndef X86_EXEC_TEST_H
#define X86_EXEC_TEST_H

#include "base/test.h"
#include "x86/exec.h"
#include "x86/fpu.h"
#include "x86/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define NO_EXC   EXC_NONE
#define CODE_AT  0x1000ull
#define STACK_AT 0x8000ull

struct machine {
	struct mem mem;
	struct vm vm;
	struct vcpu *v;
	u64 *r;           /* v->cpu.gpr */
	struct exit last; /* the last exit; reads give 0x11223344 */
	unsigned exits;
};

static inline void machine_exit(struct vcpu *v, struct exit *e)
{
	struct machine *m = container_of(v->vm, struct machine, vm);

	m->exits++;
	if (e->kind == EXIT_PORT_IN || e->kind == EXIT_MMIO_READ)
		e->value = 0x11223344;
	m->last = *e;
}

/* 64: 64-bit mode; 32: protected mode, flat segments; 16: real mode, all segments at 0. At CPL 0,
 * RSP at STACK_AT. */
static inline void machine_mode(struct machine *m, unsigned mode)
{
	struct x86_cpu *cpu = &m->v->cpu;
	u32 data = AR_P | AR_S | AR_WR | AR_A;

	memset(cpu, 0, sizeof(*cpu));
	cpu->rflags = FL_FIXED;
	cpu->cr0 = mode == 16 ? 0 : CR0_PE;
	cpu->efer = mode == 64 ? EFER_LME | EFER_LMA : 0;
	for (unsigned s = ES; s <= GS; s++) {
		cpu->seg[s].ar = data | (s == CS && mode != 16 ? AR_CODE : 0) |
				 (mode == 32 ? AR_DB | AR_G : 0);
		cpu->seg[s].limit = mode == 16 ? 0xffff : 0xffffffff;
	}
	if (mode == 64)
		cpu->seg[CS].ar |= AR_L;
	cpu->gpr[RSP] = STACK_AT;
	x86_tlb_flush(m->v, false);
	x86_mode_changed(m->v);
	m->v->attention = 0;
	m->v->shadow = 0;
}

/* The same with x87, SSE and all that XSAVE knows turned on. */
static inline void machine_mode_fpu(struct machine *m, unsigned mode)
{
	struct x86_cpu *cpu = &m->v->cpu;

	machine_mode(m, mode);
	x86_fpu_reset(cpu);
	x86_fpu_finit(cpu);
	cpu->cr0 |= CR0_NE | CR0_MP;
	cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	cpu->xcr0 = cpuid_xcr0_mask(&m->vm);
}

static inline int machine_setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	*state = m;
	if (!m || mem_init(&m->mem, MIB) < 0)
		return -1;
	m->v = vcpu_new(&m->vm);
	if (!m->v)
		return -1;
	m->vm = (struct vm){ .mem = &m->mem,
			     .nvcpus = 1,
			     .vcpus = { m->v },
			     .a20_mask = ~0ull,
			     .model = cpuid_model_find("max") };
	m->v->exit = machine_exit;
	m->r = m->v->cpu.gpr;
	machine_mode(m, 64);
	return m->vm.model ? 0 : -1;
}

static inline int machine_teardown(void **state)
{
	struct machine *m = *state;

	mem_fini(&m->mem);
	vcpu_free(m->v);
	free(m);
	return 0;
}

static inline void poke(struct machine *m, gpa_t a, u64 value, unsigned size)
{
	le_store(mem_host(&m->mem, a, size), value, size);
}

static inline u64 peek(struct machine *m, gpa_t a, unsigned size)
{
	return le_load(mem_host(&m->mem, a, size), size);
}

/* Runs the instruction in hexadecimal at RIP and returns the vector it raised, or NO_EXC. A string
 * instruction that is not finished leaves RIP where it was. */
static inline int run_hex(struct machine *m, const char *hex)
{
	struct x86_cpu *cpu = &m->v->cpu;
	unsigned n = 0, byte, mode = x86_code_bits(cpu);
	u8 bytes[15] = { 0 };
	struct x86_insn i;
	jmp_buf catch;

	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2 + (hex[2] == ' '))
		bytes[n++] = (u8)byte;
	assert_true(x86_decode(&i, bytes, n, mode) != 0);
	assert_int_equal(i.len, n);
	m->v->catch = &catch;
	if (_setjmp(catch))
		return m->v->exc.vector;
	i.fn(m->v, &i);
	if (!(i.flags & INSN_BRANCH))
		cpu->rip += i.len;
	return NO_EXC;
}

/* The same at CODE_AT. */
static inline int run(struct machine *m, const char *hex)
{
	m->v->cpu.rip = CODE_AT;
	return run_hex(m, hex);
}

#endif
