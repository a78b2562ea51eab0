/* Addition, logic, comparison and exchange: flags, widths, addressing, and what a fault leaves
 * alone. */
#include "x86/exec_test.h"

static void flags_of_sizes(void **state)
{
	static const struct {
		const char *hex;
		u64 a, b, result, flags;
	} row[] = {
		{ "00 d8", 0xff, 1, 0, FL_CF | FL_PF | FL_AF | FL_ZF }, /* add al, bl */
		{ "66 01 d8", 0x7fff, 1, 0x8000, FL_OF | FL_SF | FL_PF | FL_AF },
		{ "01 d8", 0xffffffff80000000, 0x80000000, 0, FL_CF | FL_OF | FL_ZF | FL_PF },
		{ "48 01 d8", 0x7fffffffffffffff, 1, 0x8000000000000000,
		  FL_OF | FL_SF | FL_PF | FL_AF },
		{ "29 d8", 0, 1, 0xffffffff, FL_CF | FL_SF | FL_PF | FL_AF }, /* sub eax, ebx */
		{ "28 d8", 0x5500, 1, 0x55ff, FL_CF | FL_SF | FL_PF | FL_AF },
		{ "00 dc", 0xff77, 1, 0x77, FL_CF | FL_PF | FL_AF | FL_ZF }, /* add ah, bl */
		{ "31 d8", 0x1111222233334444, 0x33334444, 0, FL_ZF | FL_PF },
		{ "66 31 d8", 0x1111222233334444, 0x4444, 0x1111222233330000, FL_ZF | FL_PF },
		{ "f7 d8", 0x80000000, 0, 0x80000000, FL_CF | FL_OF | FL_SF | FL_PF }, /* neg eax */
		{ "39 d8", 0xffffffff00000005, 5, 0xffffffff00000005,
		  FL_ZF | FL_PF }, /* cmp writes nothing */
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		m->r[RAX] = row[n].a;
		m->r[RBX] = row[n].b;
		assert_int_equal(run(m, row[n].hex), NO_EXC);
		assert_int_equal(m->r[RAX], row[n].result);
		assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, row[n].flags);
	}
}

static void carry(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0xffffffff;
	m->r[RBX] = 0;
	x86_set_rflags(&m->v->cpu, FL_CF);
	run(m, "11 d8"); /* adc eax, ebx */
	assert_int_equal(m->r[RAX], 0);
	assert_int_equal(x86_rflags(&m->v->cpu) & (FL_CF | FL_ZF), FL_CF | FL_ZF);
	run(m, "ff c0"); /* inc keeps CF */
	assert_int_equal(m->r[RAX], 1);
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_CF);
	run(m, "ff c8");
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_CF | FL_ZF | FL_PF);
	run(m, "f7 d0"); /* not: no flags */
	assert_int_equal(m->r[RAX], 0xffffffff);
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_CF | FL_ZF | FL_PF);
}

/* The same addition through every kind of address: fast, general, unaligned, across pages. */
static void memory_kinds(void **state)
{
	static const struct {
		unsigned mode;
		const char *hex;
		u64 at;
	} row[] = {
		{ 64, "48 01 03", 0x4000 },    { 64, "65 48 01 03", 0x4000 },
		{ 64, "67 48 01 03", 0x4000 }, { 64, "48 01 03", 0x4001 },
		{ 64, "48 01 03", 0x4ffd },    { 64, "65 48 01 03", 0x4ffd },
		{ 32, "01 03", 0x4000 },       { 32, "65 01 03", 0x4000 },
		{ 32, "67 01 07", 0x4000 },    { 32, "01 03", 0x4fff },
		{ 16, "66 01 07", 0x4000 },    { 16, "66 01 07", 0x4ffe },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		machine_mode(m, row[n].mode);
		m->r[RAX] = 0x11111111;
		m->r[RBX] = row[n].at;
		poke(m, row[n].at - 8, ~0ull, 8);
		poke(m, row[n].at + 8, ~0ull, 8);
		for (unsigned times = 1; times <= 2;
		     times++) { /* the second finds the page in the TLB */
			poke(m, row[n].at, 0x22222222, 8);
			assert_int_equal(run(m, row[n].hex), NO_EXC);
			assert_int_equal(peek(m, row[n].at, 8), 0x33333333);
		}
		assert_int_equal(peek(m, row[n].at - 8, 8), ~0ull);
		assert_int_equal(peek(m, row[n].at + 8, 8), ~0ull);
	}
}

static void segment_limit(void **state)
{
	struct machine *m = *state;

	machine_mode(m, 32);
	m->v->cpu.seg[DS].limit = 0x4003;
	m->r[RBX] = 0x4000;
	assert_int_equal(run(m, "01 03"), NO_EXC);
	m->r[RBX] = 0x4001;
	x86_set_rflags(&m->v->cpu, FL_CF);
	assert_int_equal(run(m, "01 03"), EXC_GP);
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_CF);
	m->v->cpu.seg[DS].limit = 0xffffffff;
	m->v->cpu.seg[DS].ar &= ~AR_WR;
	assert_int_equal(run(m, "39 03"), NO_EXC); /* cmp reads */
	assert_int_equal(run(m, "01 03"), EXC_GP);
	m->v->cpu.seg[SS].limit = 0x4003;
	m->r[RBP] = 0x4001;
	assert_int_equal(run(m, "01 45 00"), EXC_SS);
}

static void non_canonical(void **state)
{
	struct machine *m = *state;

	m->r[RBX] = 0x0000800000000000;
	assert_int_equal(run(m, "48 01 03"), EXC_GP);
	m->r[RBP] = 0xffff7fffffffffff;
	assert_int_equal(run(m, "48 01 45 00"), EXC_SS);
}

static void compare_exchange(void **state)
{
	struct machine *m = *state;

	m->r[RBX] = 0x4000;
	m->r[RCX] = 7;
	m->r[RAX] = 0xffffffff00000005;
	poke(m, 0x4000, 5, 8);
	assert_int_equal(run(m, "f0 0f b1 0b"), NO_EXC); /* lock cmpxchg [rbx], ecx */
	assert_int_equal(peek(m, 0x4000, 4), 7);
	assert_int_equal(m->r[RAX], 0xffffffff00000005);
	assert_true(m->v->cpu.cc & CC_ZF);
	assert_int_equal(run(m, "f0 0f b1 0b"), NO_EXC);
	assert_int_equal(peek(m, 0x4000, 4), 7);
	assert_int_equal(m->r[RAX], 7);
	assert_false(m->v->cpu.cc & CC_ZF);
	m->r[RCX] = 7;
	m->r[RDX] = 9;
	assert_int_equal(run(m, "0f c1 d1"), NO_EXC); /* xadd ecx, edx */
	assert_int_equal(m->r[RCX], 16);
	assert_int_equal(m->r[RDX], 7);
	assert_int_equal(run(m, "0f c1 d2"), NO_EXC); /* xadd edx, edx */
	assert_int_equal(m->r[RDX], 14);
}

/* The destination needs write permission even if the comparison fails. */
static void compare_exchange_writes(void **state)
{
	struct machine *m = *state;

	machine_mode(m, 32);
	m->v->cpu.seg[DS].ar &= ~AR_WR;
	m->r[RBX] = 0x4000;
	m->r[RAX] = 1;
	poke(m, 0x4000, 0, 8);
	assert_int_equal(run(m, "0f b1 0b"), EXC_GP);
	assert_int_equal(run(m, "0f c7 0b"), EXC_GP);
	assert_int_equal(m->r[RAX], 1);
}

static void compare_exchange_wide(void **state)
{
	struct machine *m = *state;

	m->r[RDI] = 0x4000;
	poke(m, 0x4000, 0x1111, 8);
	poke(m, 0x4008, 0x2222, 8);
	m->r[RAX] = 0x1111;
	m->r[RDX] = 0x2222;
	m->r[RBX] = 0x3333;
	m->r[RCX] = 0x4444;
	assert_int_equal(run(m, "48 0f c7 0f"), NO_EXC);
	assert_true(m->v->cpu.cc & CC_ZF);
	assert_int_equal(peek(m, 0x4000, 8), 0x3333);
	assert_int_equal(peek(m, 0x4008, 8), 0x4444);
	assert_int_equal(run(m, "48 0f c7 0f"), NO_EXC);
	assert_false(m->v->cpu.cc & CC_ZF);
	assert_int_equal(m->r[RAX], 0x3333);
	assert_int_equal(m->r[RDX], 0x4444);
	m->r[RDI] = 0x4008;
	assert_int_equal(run(m, "48 0f c7 0f"), EXC_GP); /* not aligned */
	assert_int_equal(run(m, "0f c7 0f"), NO_EXC);    /* the 8-byte one need not be */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(flags_of_sizes, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(carry, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(memory_kinds, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(segment_limit, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(non_canonical, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(compare_exchange, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(compare_exchange_writes, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(compare_exchange_wide, machine_setup,
						machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
