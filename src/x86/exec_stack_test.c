/* Stack instructions in all modes, and the privilege rules of PUSHF and POPF. */
#include "x86/exec_test.h"

static void push_and_pop_sizes(void **state)
{
	static const struct {
		unsigned mode, size;
		const char *push, *pop;
	} row[] = {
		{ 64, 8, "50", "5b" }, { 64, 2, "66 50", "66 5b" },
		{ 32, 4, "50", "5b" }, { 32, 2, "66 50", "66 5b" },
		{ 16, 2, "50", "5b" }, { 16, 4, "66 50", "66 5b" },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		unsigned size = row[n].size;

		machine_mode(m, row[n].mode);
		poke(m, STACK_AT - 8, 0, 8);
		m->r[RAX] = 0x1122334455667788;
		for (unsigned times = 0; times < 2; times++) {
			m->r[RBX] = 0;
			assert_int_equal(run(m, row[n].push), NO_EXC);
			assert_int_equal(m->r[RSP], STACK_AT - size);
			assert_int_equal(peek(m, STACK_AT - 8, 8), (m->r[RAX] & bits_mask(8 * size))
									   << (64 - 8 * size));
			assert_int_equal(run(m, row[n].pop), NO_EXC);
			assert_int_equal(m->r[RSP], STACK_AT);
			assert_int_equal(m->r[RBX], m->r[RAX] & bits_mask(8 * size));
		}
	}
}

static void immediates_are_extended(void **state)
{
	struct machine *m = *state;

	run(m, "6a fe");
	assert_int_equal(peek(m, STACK_AT - 8, 8), (u64)-2);
	run(m, "68 00 00 00 80");
	assert_int_equal(peek(m, STACK_AT - 16, 8), 0xffffffff80000000);
	machine_mode(m, 32);
	poke(m, STACK_AT - 8, 0, 8);
	run(m, "66 6a fe");
	assert_int_equal(peek(m, STACK_AT - 8, 8), 0xfffe000000000000);
}

static void stack_pointer_as_operand(void **state)
{
	struct machine *m = *state;

	run(m, "54"); /* push rsp: the old value */
	assert_int_equal(peek(m, STACK_AT - 8, 8), STACK_AT);
	poke(m, STACK_AT - 8, 0x4000, 8);
	run(m, "5c"); /* pop rsp: the value popped */
	assert_int_equal(m->r[RSP], 0x4000);
	poke(m, 0x4000, 0x1234, 8);
	poke(m, 0x4008, 0, 8);
	run(m, "8f 04 24"); /* pop [rsp]: the address is formed after the pop */
	assert_int_equal(peek(m, 0x4008, 8), 0x1234);
	assert_int_equal(m->r[RSP], 0x4008);
	run(m, "ff 74 24 f8"); /* push [rsp - 8]: before the push */
	assert_int_equal(peek(m, 0x4000, 8), 0x1234);
}

/* A 16-bit stack wraps within its segment and leaves the upper half of ESP alone. */
static void sixteen_bit_stack(void **state)
{
	struct machine *m = *state;

	machine_mode(m, 16);
	m->r[RAX] = 0xabcd;
	m->r[RSP] = 0x12340000;
	assert_int_equal(run(m, "50"), NO_EXC);
	assert_int_equal(m->r[RSP], 0x1234fffe);
	assert_int_equal(peek(m, 0xfffe, 2), 0xabcd);
	assert_int_equal(run(m, "5b"), NO_EXC);
	assert_int_equal(m->r[RSP], 0x12340000);
	assert_int_equal(m->r[RBX], 0xabcd);
	m->r[RSP] = 1;
	assert_int_equal(run(m, "50"), EXC_SS); /* a slot at FFFF */
	assert_int_equal(m->r[RSP], 1);
}

static void all_registers(void **state)
{
	struct machine *m = *state;

	machine_mode(m, 32);
	for (unsigned r = 0; r < 8; r++)
		if (r != RSP)
			m->r[r] = 0x1000 + r;
	assert_int_equal(run(m, "60"), NO_EXC);
	assert_int_equal(m->r[RSP], STACK_AT - 32);
	for (unsigned r = 0; r < 8; r++)
		assert_int_equal(peek(m, STACK_AT - 4 - 4 * r, 4),
				 r == RSP ? STACK_AT : 0x1000 + r);
	for (unsigned r = 0; r < 8; r++)
		if (r != RSP)
			m->r[r] = 0;
	poke(m, STACK_AT - 20, 0xdead, 4); /* the saved ESP means nothing */
	assert_int_equal(run(m, "61"), NO_EXC);
	for (unsigned r = 0; r < 8; r++)
		assert_int_equal(m->r[r], r == RSP ? STACK_AT : 0x1000 + r);
	/* A fault in the middle leaves no trace. */
	m->v->cpu.seg[SS].limit = 0xffff;
	m->r[RSP] = 0x10008;
	poke(m, 0x10000, 0x55aa, 8);
	assert_int_equal(run(m, "60"), EXC_SS);
	assert_int_equal(m->r[RSP], 0x10008);
	assert_int_equal(peek(m, 0x10000, 8), 0x55aa);
}

static void frames(void **state)
{
	struct machine *m = *state;

	m->r[RBP] = 0x7000;
	assert_int_equal(run(m, "c8 20 00 00"), NO_EXC); /* enter 32, 0 */
	assert_int_equal(m->r[RBP], STACK_AT - 8);
	assert_int_equal(m->r[RSP], STACK_AT - 40);
	assert_int_equal(peek(m, STACK_AT - 8, 8), 0x7000);
	assert_int_equal(run(m, "c9"), NO_EXC);
	assert_int_equal(m->r[RBP], 0x7000);
	assert_int_equal(m->r[RSP], STACK_AT);
	/* Three levels: two outer frame pointers are copied, then the new one is pushed. */
	poke(m, 0x7000 - 8, 0xaaaa, 8);
	poke(m, 0x7000 - 16, 0xbbbb, 8);
	assert_int_equal(run(m, "c8 10 00 03"), NO_EXC);
	assert_int_equal(peek(m, STACK_AT - 16, 8), 0xaaaa);
	assert_int_equal(peek(m, STACK_AT - 24, 8), 0xbbbb);
	assert_int_equal(peek(m, STACK_AT - 32, 8), STACK_AT - 8);
	assert_int_equal(m->r[RBP], STACK_AT - 8);
	assert_int_equal(m->r[RSP], STACK_AT - 48);
	/* The new top is checked. */
	machine_mode(m, 32);
	m->v->cpu.seg[SS].ar |= AR_DC; /* expand-down: valid above the limit */
	m->v->cpu.seg[SS].limit = STACK_AT - 0x10;
	m->r[RBP] = 0x1234;
	assert_int_equal(run(m, "c8 20 00 00"), EXC_SS);
	assert_int_equal(m->r[RBP], 0x1234);
	assert_int_equal(m->r[RSP], STACK_AT);
}

/* What POPF changes, by privilege: a popped value with every bit set, or none. */
static void popf_privilege(void **state)
{
	const u64 status = FL_STATUS | FL_TF | FL_DF | FL_NT;
	const struct {
		unsigned cpl, iopl;
		const char *hex;
		u64 may;
	} row[] = {
		{ 0, 0, "9d", status | FL_IF | FL_IOPL | FL_AC | FL_ID },
		{ 0, 0, "66 9d", status | FL_IF | FL_IOPL },
		{ 1, 1, "9d", status | FL_IF | FL_AC | FL_ID },
		{ 3, 3, "9d", status | FL_IF | FL_AC | FL_ID },
		{ 3, 2, "9d", status | FL_AC | FL_ID },
		{ 1, 0, "66 9d", status },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++)
		for (unsigned ones = 0; ones < 2; ones++) {
			u64 before = (ones ? 0 : status | FL_IF | FL_AC | FL_ID | FL_VIF) |
				     FL_FIXED | row[n].iopl << 12;
			u64 popped = ones ? ~0ull : 0;

			machine_mode(m, 32);
			m->v->cpu.cpl = (u8)row[n].cpl;
			x86_set_rflags(&m->v->cpu, before);
			poke(m, STACK_AT, popped, 8);
			assert_int_equal(run(m, row[n].hex), NO_EXC);
			assert_int_equal(x86_rflags(&m->v->cpu),
					 (before & ~row[n].may) | (popped & row[n].may));
			assert_int_equal(!!(m->v->attention & ATT_SLOW), ones); /* TF */
		}
}

static void pushf_hides_vm_and_rf(void **state)
{
	struct machine *m = *state;

	x86_set_rflags(&m->v->cpu, FL_RF | FL_AC | FL_CF | FL_OF);
	assert_int_equal(run(m, "9c"), NO_EXC);
	assert_int_equal(peek(m, STACK_AT - 8, 8), FL_FIXED | FL_AC | FL_CF | FL_OF);
}

static void v86(struct machine *m, u64 flags, bool vme)
{
	machine_mode(m, 16);
	m->v->cpu.cr0 = CR0_PE;
	m->v->cpu.cr4 = vme ? CR4_VME : 0;
	m->v->cpu.cpl = 3;
	x86_set_rflags(&m->v->cpu, flags | FL_VM);
}

static void virtual_8086_flags(void **state)
{
	struct machine *m = *state;

	v86(m, 0, false);
	assert_int_equal(run(m, "9c"), EXC_GP);
	assert_int_equal(run(m, "9d"), EXC_GP);
	v86(m, FL_IOPL, false);
	assert_int_equal(run(m, "9c"), NO_EXC);
	poke(m, STACK_AT - 2, FL_IF, 2);
	assert_int_equal(run(m, "9d"), NO_EXC);
	assert_int_equal(x86_rflags(&m->v->cpu), FL_IF | FL_IOPL | FL_VM | FL_FIXED);
	/* VME: VIF stands for IF, in 16-bit forms only. */
	v86(m, FL_VIF, true);
	assert_int_equal(run(m, "66 9c"), EXC_GP);
	assert_int_equal(run(m, "9c"), NO_EXC);
	assert_int_equal(peek(m, STACK_AT - 2, 2), FL_IF | FL_IOPL | FL_FIXED);
	poke(m, STACK_AT - 2, FL_CF, 2);
	assert_int_equal(run(m, "9d"), NO_EXC);
	assert_int_equal(x86_rflags(&m->v->cpu), FL_CF | FL_VM | FL_FIXED);
	poke(m, STACK_AT, FL_IF, 2);
	assert_int_equal(run(m, "9d"), NO_EXC);
	assert_int_equal(x86_rflags(&m->v->cpu), FL_VIF | FL_VM | FL_FIXED);
	/* An interrupt is pending, or a trap wanted: the monitor takes over. */
	v86(m, FL_VIP, true);
	poke(m, STACK_AT, FL_IF, 2);
	assert_int_equal(run(m, "9d"), EXC_GP);
	poke(m, STACK_AT, FL_TF, 2);
	assert_int_equal(run(m, "9d"), EXC_GP);
	assert_int_equal(m->r[RSP], STACK_AT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(push_and_pop_sizes, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(immediates_are_extended, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(stack_pointer_as_operand, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(sixteen_bit_stack, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(all_registers, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(frames, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(popf_privilege, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(pushf_hides_vm_and_rf, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(virtual_8086_flags, machine_setup,
						machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
