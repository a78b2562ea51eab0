/* Multiplication, division with its traps, and decimal adjustment. */
#include "x86/exec_test.h"

static void divide_errors(void **state)
{
	static const struct {
		const char *hex;
		u64 rax, rdx, rbx;
		int exc;
		u64 quotient, remainder; /* of rax and rdx after */
	} row[] = {
		{ "f6 f3", 0x1234567800000101, 5, 2, NO_EXC, 0x1234567800000180,
		  5 }, /* div bl: AH is the remainder */
		{ "f6 f3", 0x0200, 0, 2, EXC_DE, 0, 0 },
		{ "f6 f3", 5, 0, 0x100, EXC_DE, 0, 0 },
		{ "66 f7 f3", 0, 1, 1, EXC_DE, 0, 0 },
		{ "66 f7 f3", 0xfffe, 1, 2, NO_EXC, 0xffff, 0 },
		{ "f7 f3", 7, 0xffffffff00000000, 2, NO_EXC, 3, 1 },
		{ "f7 f3", 0, 2, 2, EXC_DE, 0, 0 },
		{ "48 f7 f3", 0, 1, 2, NO_EXC, 0x8000000000000000, 0 },
		{ "48 f7 f3", ~0ull, 1, 2, NO_EXC, ~0ull, 1 },
		{ "48 f7 f3", 0, 2, 2, EXC_DE, 0, 0 },
		{ "f6 fb", 0xff80, 7, 0xff, EXC_DE, 0, 0 }, /* idiv bl: -128 / -1 */
		{ "f6 fb", 0xff80, 7, 1, NO_EXC, 0x0080, 7 },
		{ "f6 fb", 0x0080, 7, 0xff, NO_EXC, 0x0080, 7 }, /* 128 / -1 */
		{ "66 f7 fb", 0x8000, 0xffff, 0xffff, EXC_DE, 0, 0 },
		{ "66 f7 fb", 0xfff9, 0xffff, 2, NO_EXC, 0xfffd,
		  0xffff }, /* -7 / 2 is -3, -1 left */
		{ "f7 fb", 0x80000000, 0xffffffff, 0xffffffff, EXC_DE, 0, 0 },
		{ "f7 fb", 0x80000000, 0, 0xffffffff, NO_EXC, 0x80000000, 0 },
		{ "f7 fb", 0x80000000, 0, 1, EXC_DE, 0, 0 },
		{ "48 f7 fb", 0x8000000000000000, ~0ull, ~0ull, EXC_DE, 0, 0 },
		{ "48 f7 fb", 0x8000000000000000, ~0ull, 1, NO_EXC, 0x8000000000000000, 0 },
		{ "48 f7 fb", 0, 0x8000000000000000, 0x8000000000000000, EXC_DE, 0, 0 },
		{ "48 f7 fb", 0, 0xc000000000000000, 0x8000000000000000, EXC_DE, 0, 0 }, /* +2^63 */
		{ "48 f7 fb", 1, 0xc000000000000000, 0x8000000000000000, NO_EXC, 0x7fffffffffffffff,
		  0x8000000000000001 },
		{ "48 f7 fb", 5, 0, 0, EXC_DE, 0, 0 },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		bool fine = row[n].exc == NO_EXC;

		print_message("row %u\n", n);
		m->r[RAX] = row[n].rax;
		m->r[RDX] = row[n].rdx;
		m->r[RBX] = row[n].rbx;
		assert_int_equal(run(m, row[n].hex), row[n].exc);
		assert_int_equal(m->r[RAX], fine ? row[n].quotient : row[n].rax);
		assert_int_equal(m->r[RDX], fine ? row[n].remainder : row[n].rdx);
	}
}

static void products(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = m->r[RBX] = ~0ull;
	assert_int_equal(run(m, "48 f7 e3"), NO_EXC);
	assert_int_equal(m->r[RAX], 1);
	assert_int_equal(m->r[RDX], ~0ull - 1);
	assert_int_equal(m->v->cpu.cc & (CC_CF | CC_OF), CC_CF | CC_OF);
	m->r[RAX] = ~0ull;
	assert_int_equal(run(m, "48 f7 eb"), NO_EXC);
	assert_int_equal(m->r[RDX], 0);
	assert_int_equal(m->v->cpu.cc & (CC_CF | CC_OF), 0);
	m->r[RAX] = 0x1234567811223344;
	assert_int_equal(run(m, "f6 e3"), NO_EXC); /* AX only */
	assert_int_equal(m->r[RAX], 0x1234567811220000 | 0x44 * 0xff);
	m->r[RBX] = 0x4000;
	poke(m, 0x4000, 0x10000, 4);
	assert_int_equal(run(m, "69 03 00 80 00 80"), NO_EXC); /* imul eax, [rbx], 80008000h */
	assert_int_equal(m->r[RAX], 0x80000000);
	assert_true(m->v->cpu.cc & CC_OF);
	m->r[RCX] = 0xffffffff00000003;
	assert_int_equal(run(m, "0f af 0b"), NO_EXC);
	assert_int_equal(m->r[RCX], 0x30000);
}

static void decimal(void **state)
{
	static const struct {
		const char *hex;
		u64 ax, flags, result, after;
		u64 defined;
	} row[] = {
		{ "27", 0x79 + 0x35, 0, 0x14, FL_CF | FL_AF | FL_PF,
		  FL_STATUS & ~FL_OF }, /* daa: 79 + 35 = 114 */
		{ "27", 0x9a, 0, 0x00, FL_CF | FL_AF | FL_ZF | FL_PF, FL_STATUS & ~FL_OF },
		{ "27", 0x02, FL_CF | FL_AF, 0x68, FL_CF | FL_AF, FL_STATUS & ~FL_OF },
		{ "2f", 0x35 - 0x47 + 0x100, FL_CF | FL_AF, 0x88, FL_CF | FL_AF | FL_SF | FL_PF,
		  FL_STATUS & ~FL_OF }, /* das: 35 - 47 = -12 */
		{ "2f", 0x02, FL_AF, 0xfc, FL_CF | FL_AF | FL_SF | FL_PF, FL_STATUS & ~FL_OF },
		{ "37", 0x000b, 0, 0x0101, FL_CF | FL_AF, FL_CF | FL_AF },
		{ "37", 0x00ff, 0, 0x0205, FL_CF | FL_AF, FL_CF | FL_AF }, /* AX + 106h */
		{ "37", 0x0009, 0, 0x0009, 0, FL_CF | FL_AF },
		{ "3f", 0x0203, FL_AF, 0x000d, FL_CF | FL_AF, FL_CF | FL_AF },
		{ "3f", 0x0103, FL_AF, 0xff0d, FL_CF | FL_AF,
		  FL_CF | FL_AF }, /* AX - 6 borrows from AH, which is then one less */
		{ "d4 0a", 0x0063, 0, 0x0909, FL_PF, FL_SF | FL_ZF | FL_PF },
		{ "d5 0a", 0x0909, 0, 0x0063, FL_PF, FL_SF | FL_ZF | FL_PF },
		{ "d5 10", 0x1234, 0, 0x0054, 0, FL_SF | FL_ZF | FL_PF },
	};
	struct machine *m = *state;

	machine_mode(m, 32);
	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		print_message("row %u\n", n);
		m->r[RAX] = row[n].ax;
		x86_set_rflags(&m->v->cpu, row[n].flags);
		assert_int_equal(run(m, row[n].hex), NO_EXC);
		assert_int_equal(m->r[RAX], row[n].result);
		assert_int_equal(x86_rflags(&m->v->cpu) & row[n].defined, row[n].after);
	}
	assert_int_equal(run(m, "d4 00"), EXC_DE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(divide_errors, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(products, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(decimal, machine_setup, machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
