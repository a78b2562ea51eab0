/* Lockstep finds what an engine does wrong, where it does it, and nothing where there is nothing. The faulty engine is the
 * interpreter with one fault planted in it. */
#include "machine/check.h"

#include "machine/check_test.h"
#include "x86/fpu.h"

#define FAULT   1000000u /* instructions before it */
#define SCRATCH 0x300000u

/* A multiboot kernel: it adds up time stamps and PIT readings, stores the sum now and then, and ends through port F4h. */
static const u8 code[] = {
	0xbc, 0,    0,    0x20, 0, /* mov esp, 200000h */
	0xb8, 0,    0,    0x30, 0, /* mov eax, SCRATCH */
	0xb9, 0x40, 0x0d, 3,    0, /* mov ecx, 200000 */
	0x0f, 0x31,                /* next: rdtsc */
	0x01, 0xc5,                /* add ebp, eax */
	0xf6, 0xc1, 0x3f,          /* test cl, 63 */
	0x75, 0x0f,                /* jnz skip */
	0xe4, 0x40,                /* in al, 40h */
	0x01, 0xc6,                /* add esi, eax */
	0xbf, 0,    0,    0x30, 0, /* mov edi, SCRATCH */
	0xab, 0xab,                /* stosd; stosd */
	0x56, 0x5b, 0x90, 0x90,    /* push esi; pop ebx; nop; nop */
	0x49,                      /* skip: dec ecx */
	0x75, 0xe5,                /* jnz next */
	0xb0, 3,                   /* mov al, 3 */
	0xe6, 0xf4,                /* out f4h, al */
	0xeb, 0xfe,                /* jmp . */
};

enum plant {
	PLANT_NONE,
	PLANT_GPR,
	PLANT_FLAG,
	PLANT_CR,
	PLANT_FP,
	PLANT_RAM,
	PLANT_PORT,
	PLANT_COUNT
};

/* Of one run. The engine's functions have no other way to know it. */
static struct {
	enum plant plant;
	bool done;
} fault;

static struct check_kernel kernel;

static enum stop faulty_run(struct vcpu *v, u64 budget)
{
	enum stop stop = engine_interp.run(v, budget);

	if (v->icount < FAULT || fault.done || !budget)
		return stop;
	fault.done = true;
	switch (fault.plant) {
	case PLANT_NONE: break;
	case PLANT_GPR: v->cpu.gpr[R15] ^= 1; break;
	case PLANT_FLAG: v->cpu.cc ^= CC_AF; break;
	case PLANT_CR: v->cpu.cr3 ^= 0x1000; break;
	case PLANT_FP: v->cpu.xsave[FX_XMM + 16 * 3 + 5] ^= 1; break;
	case PLANT_RAM: v->vm->mem->ram->host[SCRATCH + 100] ^= 1; break;
	case PLANT_PORT: {
		struct exit e = { .kind = EXIT_PORT_OUT, .size = 1, .addr = 0x80, .value = 1 };

		v->exit(v, &e);
		break;
	}
	case PLANT_COUNT: v->icount++; break;
	}
	return stop;
}

static int setup(void **state) { return check_kernel_make(&kernel, code, sizeof(code)) ? 0 : -1; }

static int teardown(void **state) { return unlink(kernel.path); }

/* Runs it with a fault planted in the follower or the leader: the machine, at its end. */
static struct machine *run(enum plant plant, bool in_lead, u32 page, u32 step,
			   struct engine_ops *ops)
{
	struct machine *m = check_machine(&kernel, "interp", step, page);

	fault.plant = plant;
	fault.done = false;
	*ops = engine_interp;
	ops->name = "faulty";
	ops->run = faulty_run;
	(in_lead ? m : check_follower(m->check))->vm.engine = ops;
	machine_run(m);
	return m;
}

static void nothing_is_found(void **state)
{
	struct engine_ops ops;

	for (u32 step = 1; step <= 1000; step *= 1000) {
		struct machine *m = run(PLANT_NONE, false, 0, step, &ops);

		assert_true(fault.done);
		check_ended_well(m);
		assert_true(m->check->units > 1000);
		machine_free(m);
	}
}

/* The difference is found in the unit that made it, and the report names it. */
static void found(enum plant plant, bool in_lead, const char *head, const char *line)
{
	const char *const expected[] = { head, line };
	struct engine_ops ops;
	struct machine *m = run(plant, in_lead, SCRATCH / MEM_PAGE, 1, &ops);

	assert_in_range(machine_insns(m), FAULT, FAULT + 16);
	check_reported(m, plant == PLANT_PORT ? DIFF_EXITS : 0, expected, ARRAY_LEN(expected));
	machine_free(m);
}

static void a_register(void **state)
{
	found(PLANT_GPR, false, "interp and faulty",
	      "* r15                       0                0                1");
	found(PLANT_GPR, true, "faulty and interp",
	      "* r15                       0                1                0");
}

static void a_flag(void **state) { found(PLANT_FLAG, false, "interp and faulty", "* cc "); }

static void a_control_register(void **state)
{
	found(PLANT_CR, false, "interp and faulty", "* cr3[0] 0, 1000");
}

static void a_vector_register(void **state)
{
	found(PLANT_FP, false, "interp and faulty", "* xmm3 ");
}

static void a_byte_of_ram(void **state)
{
	found(PLANT_RAM, false, "interp and faulty",
	      "gpa 300060, page 0x300: 0000000000000000, 0000000100000000");
}

static void an_exit(void **state)
{
	found(PLANT_PORT, false, "faulty: port out8 80 = 1", "interp: none");
}

static void a_count(void **state) { found(PLANT_COUNT, false, "interp: 1000", "faulty: 1000"); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_found),
		cmocka_unit_test(a_register),
		cmocka_unit_test(a_flag),
		cmocka_unit_test(a_control_register),
		cmocka_unit_test(a_vector_register),
		cmocka_unit_test(a_byte_of_ram),
		cmocka_unit_test(an_exit),
		cmocka_unit_test(a_count),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
