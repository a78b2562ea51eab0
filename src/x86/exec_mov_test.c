/* Data movement: widths, extension, conditions, addresses. */
#include "x86/exec_test.h"

static void register_widths(void **state)
{
	static const struct {
		const char *hex;
		u64 rax;
	} row[] = {
		{ "b0 55", 0x1111111111111155 },
		{ "b4 55", 0x1111111111115511 },
		{ "66 b8 66 55", 0x1111111111115566 },
		{ "b8 00 00 00 80", 0x80000000 },
		{ "48 c7 c0 00 00 00 80", 0xffffffff80000000 },
		{ "88 d8", 0x1111111111111188 },
		{ "88 fc", 0x1111111111117711 },
		{ "89 d8", 0x55667788 },
		{ "0f b6 c7", 0x77 },
		{ "66 0f b6 c7", 0x1111111111110077 },
		{ "48 0f b7 c3", 0x7788 },
		{ "0f be c3", 0xffffff88 },
		{ "48 0f be c3", 0xffffffffffffff88 },
		{ "66 0f be c3", 0x111111111111ff88 },
		{ "48 63 c3", 0x55667788 },
		{ "63 c3", 0x55667788 },
		{ "0f bf c3", 0x7788 },
		{ "98", 0x1111 },
		{ "0f c8", 0x11111111 },
		{ "48 8d 43 f8", 0x1122334455667780 },
		{ "8d 04 5b", 0xffffffff & 3 * 0x55667788ull },
		{ "67 48 8d 04 5b", 0xffffffff & 3 * 0x55667788ull },
		{ "66 8d 43 01", 0x1111111111117789 },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		print_message("%s\n", row[n].hex);
		m->r[RAX] = 0x1111111111111111;
		m->r[RBX] = 0x1122334455667788;
		x86_set_rflags(&m->v->cpu, FL_STATUS);
		assert_int_equal(run(m, row[n].hex), NO_EXC);
		assert_int_equal(m->r[RAX], row[n].rax);
		assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_STATUS);
	}
}

static void sign_into_dx(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0x80000000;
	m->r[RDX] = 0x1111111111111111;
	run(m, "66 99");
	assert_int_equal(m->r[RDX], 0x1111111111110000);
	run(m, "48 99");
	assert_int_equal(m->r[RDX], 0);
	run(m, "99");
	assert_int_equal(m->r[RDX], 0xffffffff);
}

static void conditional(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = m->r[RBX] = 0xffffffff00000005;
	x86_set_rflags(&m->v->cpu, 0);
	run(m, "0f 44 c3"); /* cmove eax, ebx: not moved, but extended */
	assert_int_equal(m->r[RAX], 5);
	m->r[RBX] = 0x0000800000000000;
	assert_int_equal(run(m, "0f 44 03"), EXC_GP); /* memory is read in any case */
	m->r[RAX] = ~0ull;
	run(m, "0f 94 c4");
	assert_int_equal(m->r[RAX], 0xffffffffffff00ff);
	run(m, "0f 95 c4");
	assert_int_equal(m->r[RAX], 0xffffffffffff01ff);
}

static void exchange(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0x1111111111111122;
	run(m, "86 c4"); /* xchg ah, al */
	assert_int_equal(m->r[RAX], 0x1111111111112211);
	m->r[RAX] = ~0ull;
	run(m, "90");
	assert_int_equal(m->r[RAX], ~0ull);
	run(m, "87 c0"); /* the long form is not a NOP */
	assert_int_equal(m->r[RAX], 0xffffffff);
	m->r[RBX] = 0x4fff;
	poke(m, 0x4fff, 0x12345678, 4);
	run(m, "87 03");
	assert_int_equal(m->r[RAX], 0x12345678);
	assert_int_equal(peek(m, 0x4fff, 4), 0xffffffff);
}

static void addresses(void **state)
{
	struct machine *m = *state;

	poke(m, 0x4000, 0x8877665544332211, 8);
	run(m, "48 a1 00 40 00 00 00 00 00 00");
	assert_int_equal(m->r[RAX], 0x8877665544332211);
	run(m, "8b 05 02 30 00 00"); /* rip-relative: CODE_AT + 6 + 3002 */
	assert_int_equal(m->r[RAX], peek(m, CODE_AT + 6 + 0x3002, 4));
	m->v->cpu.seg[GS].base = 0x3ff0;
	run(m, "65 8b 04 25 10 00 00 00");
	assert_int_equal(m->r[RAX], 0x44332211);
	m->r[RBX] = 0x0000800000004000;
	assert_int_equal(run(m, "67 8b 03"), NO_EXC);
	assert_int_equal(run(m, "8b 03"), EXC_GP);
	m->r[RBX] = 0x3f80;
	m->r[RAX] = 0x1180;
	run(m, "d7");
	assert_int_equal(m->r[RAX], 0x1111);
	machine_mode(m, 16);
	m->r[RBX] = 0x1234f000;
	m->r[RSI] = 0x5000;
	run(m, "8b 00"); /* BX + SI wraps */
	assert_int_equal(m->r[RAX], 0x2211);
}

static void byte_swapped(void **state)
{
	struct machine *m = *state;

	if (!cpuid_has(&m->vm, FEAT_MOVBE))
		skip();
	m->r[RBX] = 0x4000;
	poke(m, 0x4000, 0x8877665544332211, 8);
	m->r[RAX] = ~0ull;
	run(m, "66 0f 38 f0 03");
	assert_int_equal(m->r[RAX], 0xffffffffffff1122);
	run(m, "0f 38 f0 03");
	assert_int_equal(m->r[RAX], 0x11223344);
	run(m, "48 0f 38 f1 03");
	assert_int_equal(peek(m, 0x4000, 8), 0x4433221100000000);
}

/* A hint's address is not looked at. */
static void hints(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0x0000800000000000;
	assert_int_equal(run(m, "0f 1f 00"), NO_EXC);
	assert_int_equal(run(m, "0f 18 08"), NO_EXC);
	assert_int_equal(run(m, "0f 0d 08"), NO_EXC);
	assert_int_equal(run(m, "f3 0f 1e fa"), NO_EXC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(register_widths, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(sign_into_dx, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(conditional, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(exchange, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(addresses, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(byte_swapped, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(hints, machine_setup, machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
