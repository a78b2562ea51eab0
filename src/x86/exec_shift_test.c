/* Shifts and rotates: counts at and beyond the operand size, carries through, what a zero count
 * leaves alone. */
#include "x86/exec_test.h"

static void counts(void **state)
{
	static const struct {
		const char *hex;
		u64 rax;
		u8 cl;
		u64 flags, result, after, defined;
	} row[] = {
		{ "d3 e0", 0xffffffff80000001, 0, FL_STATUS, 0x80000001, FL_STATUS, FL_STATUS },
		{ "d3 e0", 0x80000001, 32, 0, 0x80000001, 0, FL_STATUS }, /* masked to 0 */
		{ "d3 e0", 0x80000001, 33, 0, 2, FL_CF | FL_OF, FL_CF | FL_OF | FL_ZF | FL_SF },
		{ "48 d3 e0", 1, 63, 0, 0x8000000000000000, FL_SF | FL_PF,
		  FL_CF | FL_SF | FL_ZF | FL_PF },
		{ "d2 e0", 0x1101, 8, 0, 0x1100, FL_CF | FL_ZF | FL_PF, FL_CF | FL_ZF | FL_PF },
		{ "d2 e0", 0x11ff, 9, 0, 0x1100, FL_ZF, FL_ZF },
		{ "c1 f8 1f", 0x80000000, 0, 0, 0xffffffff, FL_SF | FL_PF,
		  FL_SF | FL_ZF | FL_PF | FL_CF },
		{ "d1 e8", 0x80000001, 0, 0, 0x40000000, FL_CF | FL_OF | FL_PF,
		  FL_CF | FL_OF | FL_SF | FL_ZF | FL_PF },
		{ "d2 c0", 0x81, 8, FL_ZF | FL_SF, 0x81, FL_CF | FL_ZF | FL_SF,
		  FL_CF | FL_ZF | FL_SF | FL_PF | FL_AF },
		{ "d0 d0", 0x80, 0, FL_CF, 0x01, FL_CF | FL_OF, FL_CF | FL_OF }, /* rcl al */
		{ "d2 d0", 0x35, 9, FL_CF, 0x35, FL_CF, FL_CF }, /* nine bits around */
		{ "66 d3 d8", 0x8001, 17, 0, 0x8001, 0, FL_CF }, /* rcr ax: seventeen */
		{ "d1 d8", 0, 0, FL_CF, 0x80000000, FL_OF, FL_CF | FL_OF },
		{ "66 c1 c8 04", 0x11111234, 0, 0, 0x11114123, 0, FL_CF },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		print_message("row %u\n", n);
		m->r[RAX] = row[n].rax;
		m->r[RCX] = row[n].cl;
		x86_set_rflags(&m->v->cpu, row[n].flags);
		assert_int_equal(run(m, row[n].hex), NO_EXC);
		assert_int_equal(m->r[RAX], row[n].result);
		assert_int_equal(x86_rflags(&m->v->cpu) & row[n].defined,
				 row[n].after & row[n].defined);
	}
}

static void double_width(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0xffffffff12345678;
	m->r[RBX] = 0xabcdef01;
	run(m, "0f a4 d8 08"); /* shld eax, ebx, 8 */
	assert_int_equal(m->r[RAX], 0x345678ab);
	m->r[RCX] = 4;
	run(m, "0f ad d8"); /* shrd eax, ebx, cl */
	assert_int_equal(m->r[RAX], 0x1345678a);
	m->r[RCX] = 64;
	x86_set_rflags(&m->v->cpu, FL_STATUS);
	run(m, "48 0f ad d8");
	assert_int_equal(m->r[RAX], 0x1345678a);
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_STATUS);
}

static void memory(void **state)
{
	static const char *const hex[] = { "d3 23", "65 d3 23", "d3 23" };
	static const u64 at[] = { 0x4000, 0x4000, 0x4fff };
	struct machine *m = *state;

	m->r[RCX] = 4;
	for (unsigned n = 0; n < ARRAY_LEN(hex); n++) {
		m->r[RBX] = at[n];
		poke(m, at[n], 0x8800000001, 8);
		assert_int_equal(run(m, hex[n]), NO_EXC);
		assert_int_equal(peek(m, at[n], 8), 0x8800000010);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(counts, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(double_width, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(memory, machine_setup, machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
