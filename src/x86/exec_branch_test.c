/* Near control transfer: conditions, widths, limits, and the stack. */
#include "x86/exec_test.h"

static u64 rip(const struct machine *m) { return m->v->cpu.rip; }

/* Every condition against every combination of the flags it looks at. */
static void conditions(void **state)
{
	struct machine *m = *state;

	for (unsigned k = 0; k < 32; k++) {
		bool cf = k & 1, zf = k & 2, sf = k & 4, of = k & 8, pf = k & 16;
		bool holds[8] = { of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of };

		x86_set_rflags(&m->v->cpu, (cf ? FL_CF : 0) | (zf ? FL_ZF : 0) | (sf ? FL_SF : 0) |
						   (of ? FL_OF : 0) | (pf ? FL_PF : 0));
		for (unsigned cond = 0; cond < 16; cond++) {
			char hex[16];

			snprintf(hex, sizeof(hex), "%02x 10", 0x70 + cond);
			assert_int_equal(run(m, hex), NO_EXC);
			assert_int_equal(rip(m),
					 CODE_AT + 2 + (holds[cond / 2] != (cond & 1) ? 0x10 : 0));
		}
	}
}

static void widths(void **state)
{
	struct machine *m = *state;

	assert_int_equal(run(m, "e9 00 00 00 80"), NO_EXC);
	assert_int_equal(rip(m), CODE_AT + 5 - 0x80000000ull);
	assert_int_equal(run(m, "66 eb fe"), NO_EXC); /* no 16-bit branches in 64-bit mode */
	assert_int_equal(rip(m), CODE_AT + 1);
	machine_mode(m, 32);
	assert_int_equal(run(m, "e9 00 00 00 80"), NO_EXC);
	assert_int_equal(rip(m), CODE_AT + 5 + 0x80000000ull);
	m->v->cpu.rip = 0x12340;
	assert_int_equal(run_hex(m, "66 eb 10"), NO_EXC);
	assert_int_equal(rip(m), 0x2353);
	machine_mode(m, 16);
	assert_int_equal(run(m, "eb 80"), NO_EXC);
	assert_int_equal(rip(m), CODE_AT + 2 - 0x80);
	m->v->cpu.rip = 0x10;
	assert_int_equal(run_hex(m, "eb 80"), NO_EXC);
	assert_int_equal(rip(m), 0xff92);
}

static void targets_are_checked(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0x0000800000000000;
	assert_int_equal(run(m, "ff e0"), EXC_GP);
	assert_int_equal(run(m, "ff d0"), EXC_GP);
	poke(m, STACK_AT, 0x0000800000000000, 8);
	assert_int_equal(run(m, "c3"), EXC_GP);
	assert_int_equal(m->r[RSP], STACK_AT);
	m->v->cpu.rip = 0x00007ffffffffff0;
	x86_set_rflags(&m->v->cpu, FL_ZF);
	assert_int_equal(run_hex(m, "74 7f"), EXC_GP);
	assert_int_equal(rip(m), 0x00007ffffffffff0);
	assert_int_equal(run_hex(m, "75 7f"), NO_EXC); /* not taken */
	machine_mode(m, 32);
	m->v->cpu.seg[CS].limit = 0x1fff;
	m->r[RCX] = 5;
	assert_int_equal(run(m, "e9 fb 0f 00 00"), EXC_GP); /* to 2000 */
	assert_int_equal(run(m, "e8 fb 0f 00 00"), EXC_GP);
	assert_int_equal(m->r[RSP], STACK_AT);
	m->v->cpu.rip = 0x1ff0;
	assert_int_equal(run_hex(m, "e2 7f"), EXC_GP);
	assert_int_equal(m->r[RCX], 5);
	assert_int_equal(run(m, "e9 fa 0f 00 00"), NO_EXC); /* to 1fff */
}

static void call_and_return(void **state)
{
	static const struct {
		unsigned mode, size;
		const char *call, *ret, *ret_n;
	} row[] = {
		{ 64, 8, "ff d0", "c3", "c2 10 00" },          { 32, 4, "ff d0", "c3", "c2 10 00" },
		{ 32, 2, "66 ff d0", "66 c3", "66 c2 10 00" }, { 16, 2, "ff d0", "c3", "c2 10 00" },
		{ 16, 4, "66 ff d0", "66 c3", "66 c2 10 00" },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		unsigned len = row[n].mode != 64 && row[n].call[0] == '6' ? 3 : 2;

		machine_mode(m, row[n].mode);
		m->r[RAX] = 0x3000;
		for (unsigned times = 0; times < 2; times++) {
			poke(m, STACK_AT - 8, 0, 8);
			assert_int_equal(run(m, row[n].call), NO_EXC);
			assert_int_equal(rip(m), 0x3000);
			assert_int_equal(m->r[RSP], STACK_AT - row[n].size);
			assert_int_equal(peek(m, m->r[RSP], row[n].size), CODE_AT + len);
			assert_int_equal(run(m, row[n].ret), NO_EXC);
			assert_int_equal(rip(m), CODE_AT + len);
			assert_int_equal(m->r[RSP], STACK_AT);
			m->r[RSP] = STACK_AT - row[n].size;
			assert_int_equal(run(m, row[n].ret_n), NO_EXC);
			assert_int_equal(rip(m), CODE_AT + len);
			assert_int_equal(m->r[RSP], STACK_AT + 0x10);
			m->r[RSP] = STACK_AT;
		}
	}
}

static void through_memory(void **state)
{
	struct machine *m = *state;

	poke(m, 0x4000, 0x5678, 8);
	m->r[RBX] = 0x4000;
	assert_int_equal(run(m, "ff 23"), NO_EXC);
	assert_int_equal(rip(m), 0x5678);
	poke(m, STACK_AT - 8, 0x6789, 8);
	assert_int_equal(run(m, "ff 54 24 f8"), NO_EXC); /* call [rsp - 8]: read before the push */
	assert_int_equal(rip(m), 0x6789);
	assert_int_equal(peek(m, STACK_AT - 8, 8), CODE_AT + 4);
	assert_int_equal(run(m, "65 ff 23"), NO_EXC);
	assert_int_equal(rip(m), 0x5678);
}

static void loops(void **state)
{
	struct machine *m = *state;

	m->r[RCX] = 1;
	run(m, "e2 10");
	assert_int_equal(rip(m), CODE_AT + 2);
	assert_int_equal(m->r[RCX], 0);
	run(m, "e2 10");
	assert_int_equal(rip(m), CODE_AT + 0x12);
	assert_int_equal(m->r[RCX], ~0ull);
	m->r[RCX] = 0x1234567800000000;
	run(m, "67 e2 10"); /* ECX counts */
	assert_int_equal(rip(m), CODE_AT + 0x13);
	assert_int_equal(m->r[RCX], 0xffffffff);
	x86_set_rflags(&m->v->cpu, FL_ZF);
	run(m, "e1 10");
	assert_int_equal(rip(m), CODE_AT + 0x12);
	run(m, "e0 10");
	assert_int_equal(rip(m), CODE_AT + 2);
	assert_int_equal(m->r[RCX], 0xfffffffd);
	m->r[RCX] = 0x100000000;
	run(m, "e3 10");
	assert_int_equal(rip(m), CODE_AT + 2);
	run(m, "67 e3 10");
	assert_int_equal(rip(m), CODE_AT + 0x13);
	machine_mode(m, 32);
	m->r[RCX] = 0x10000;
	run(m, "67 e2 10"); /* CX counts, the rest stays */
	assert_int_equal(rip(m), CODE_AT + 0x13);
	assert_int_equal(m->r[RCX], 0x1ffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(conditions, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(widths, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(targets_are_checked, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(call_and_return, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(through_memory, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(loops, machine_setup, machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
