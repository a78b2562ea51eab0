/* Bit tests, also far outside their operand, and bit scans. */
#include "x86/exec_test.h"

static void in_registers(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0xffffffff00000002;
	m->r[RCX] = 33; /* modulo 32 */
	x86_set_rflags(&m->v->cpu, FL_ZF);
	run(m, "0f a3 c8");
	assert_int_equal(m->r[RAX], 0xffffffff00000002);
	assert_int_equal(x86_rflags(&m->v->cpu) & (FL_CF | FL_ZF), FL_CF | FL_ZF);
	run(m, "0f b3 c8"); /* btr */
	assert_int_equal(m->r[RAX], 0);
	assert_true(m->v->cpu.cc & CC_CF);
	run(m, "48 0f bb c8"); /* btc */
	assert_int_equal(m->r[RAX], 1ull << 33);
	assert_false(m->v->cpu.cc & CC_CF);
	run(m, "48 0f ba e8 7f"); /* bts rax, 127 */
	assert_int_equal(m->r[RAX], 1ull << 63 | 1ull << 33);
}

/* The bit number in a register is signed; the access is of the operand's size at a multiple of it
 * from the base. */
static void in_memory(void **state)
{
	static const struct {
		const char *hex;
		u64 rcx, at;
		unsigned bit;
	} row[] = {
		{ "0f ab 0b", 0, 0x4800, 0 },
		{ "0f ab 0b", 37, 0x4804, 5 },
		{ "0f ab 0b", (u32)-1, 0x47fc, 31 },
		{ "66 0f ab 0b", 0xffff, 0x47fe, 15 },
		{ "66 0f ab 0b", 0x7fff, 0x57fe, 15 },
		{ "48 0f ab 0b", (u64)-64, 0x47f8, 0 },
		{ "48 0f ab 0b", (u64)-65, 0x47f0, 63 },
		{ "0f ab 0b", 0xdead00000021, 0x4804, 1 },
		{ "0f ba 2b 3f", 99, 0x4800, 31 },
		{ "0f ab 0d f9 37 00 00", 32, 0x4804, 0 }, /* rip-relative: CODE_AT + 7 + 37f9 */
	};
	struct machine *m = *state;

	m->r[RBX] = 0x4800;
	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		print_message("row %u\n", n);
		memset(mem_host(&m->mem, 0x3000, 0x4000), 0, 0x4000);
		m->r[RCX] = row[n].rcx;
		assert_int_equal(run(m, row[n].hex), NO_EXC);
		assert_int_equal(peek(m, row[n].at, 8), 1ull << row[n].bit);
		assert_false(m->v->cpu.cc & CC_CF);
		assert_int_equal(run(m, row[n].hex), NO_EXC);
		assert_true(m->v->cpu.cc & CC_CF);
	}
	machine_mode(m, 32);
	m->v->cpu.seg[DS].ar &= ~AR_WR;
	m->r[RBX] = 0x4800;
	m->v->cpu.cc = 0;
	assert_int_equal(run(m, "0f a3 0b"), NO_EXC); /* bt only reads */
	assert_int_equal(run(m, "0f ab 0b"), EXC_GP);
}

static void scans(void **state)
{
	struct machine *m = *state;

	m->r[RBX] = 0x8000000000000100;
	run(m, "48 0f bc c3");
	assert_int_equal(m->r[RAX], 8);
	assert_false(m->v->cpu.cc & CC_ZF);
	run(m, "48 0f bd c3");
	assert_int_equal(m->r[RAX], 63);
	run(m, "0f bd c3");
	assert_int_equal(m->r[RAX], 8);
	m->r[RAX] = 0x1234;
	m->r[RBX] = 0;
	run(m, "48 0f bc c3"); /* of nothing: ZF, and the destination stays */
	assert_int_equal(m->r[RAX], 0x1234);
	assert_true(m->v->cpu.cc & CC_ZF);
	m->r[RBX] = 0x4000;
	poke(m, 0x4000, 0x10000, 4);
	run(m, "0f bc 03");
	assert_int_equal(m->r[RAX], 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_registers, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(in_memory, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(scans, machine_setup, machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
