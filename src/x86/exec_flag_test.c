/* Flag instructions, and who may touch the interrupt flag. */
#include "x86/exec_test.h"

static void single_flags(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	x86_set_rflags(cpu, FL_ZF | FL_OF);
	run(m, "f9");
	assert_int_equal(x86_rflags(cpu), FL_FIXED | FL_ZF | FL_OF | FL_CF);
	run(m, "f5");
	assert_int_equal(x86_rflags(cpu), FL_FIXED | FL_ZF | FL_OF);
	run(m, "f5");
	run(m, "f8");
	assert_int_equal(x86_rflags(cpu), FL_FIXED | FL_ZF | FL_OF);
	run(m, "fd");
	assert_int_equal(x86_rflags(cpu), FL_FIXED | FL_ZF | FL_OF | FL_DF);
	run(m, "fc");
	assert_int_equal(x86_rflags(cpu), FL_FIXED | FL_ZF | FL_OF);
	m->r[RAX] = 0x1111111111111111;
	run(m, "9f"); /* lahf: bit 1 set, 3 and 5 clear */
	assert_int_equal(m->r[RAX], 0x1111111111114211);
	m->r[RAX] = 0xbe00; /* all but ZF and CF; OF is not touched */
	run(m, "9e");
	assert_int_equal(x86_rflags(cpu), FL_FIXED | FL_OF | FL_SF | FL_AF | FL_PF);
	machine_mode(m, 32);
	m->r[RAX] = 0x1234;
	run(m, "d6");
	assert_int_equal(m->r[RAX], 0x1200);
	x86_set_rflags(cpu, FL_CF);
	run(m, "d6");
	assert_int_equal(m->r[RAX], 0x12ff);
}

/* The flag that CLI clears and STI sets, or 0 for #GP(0) (SDM 2 CLI, table 3-7; STI, table
 * 4-18). */
static void interrupt_flag_privilege(void **state)
{
	static const struct {
		bool pe, vm;
		unsigned cpl, iopl;
		u64 cr4, flag;
	} row[] = {
		{ false, false, 0, 0, 0, FL_IF },     { true, false, 0, 0, 0, FL_IF },
		{ true, false, 1, 1, 0, FL_IF },      { true, false, 2, 1, 0, 0 },
		{ true, false, 3, 3, 0, FL_IF },      { true, false, 3, 2, 0, 0 },
		{ true, false, 3, 2, CR4_VME, 0 },    { true, false, 3, 2, CR4_PVI, FL_VIF },
		{ true, false, 2, 1, CR4_PVI, 0 },    { true, true, 3, 3, 0, FL_IF },
		{ true, true, 3, 3, CR4_VME, FL_IF }, { true, true, 3, 0, 0, 0 },
		{ true, true, 3, 0, CR4_PVI, 0 },     { true, true, 3, 0, CR4_VME, FL_VIF },
	};
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		u64 flags = FL_FIXED | row[n].iopl << 12 | (row[n].vm ? FL_VM : 0);
		int exc = row[n].flag ? NO_EXC : EXC_GP;

		print_message("row %u\n", n);
		machine_mode(m, 16);
		cpu->cr0 = row[n].pe ? CR0_PE : 0;
		cpu->cr4 = row[n].cr4;
		cpu->cpl = (u8)row[n].cpl;
		x86_set_rflags(cpu, flags);
		assert_int_equal(run(m, "fb"), exc);
		assert_int_equal(x86_rflags(cpu), flags | row[n].flag);
		assert_int_equal(m->v->shadow, row[n].flag == FL_IF);
		assert_int_equal(!!(m->v->attention & ATT_SHADOW), row[n].flag == FL_IF);
		x86_set_rflags(cpu, flags | FL_IF | FL_VIF);
		assert_int_equal(run(m, "fa"), exc);
		assert_int_equal(x86_rflags(cpu), (flags | FL_IF | FL_VIF) & ~row[n].flag);
		x86_set_rflags(cpu, flags | FL_VIP);
		assert_int_equal(run(m, "fb"), row[n].flag == FL_IF ? NO_EXC : EXC_GP);
	}
}

/* STI holds interrupts back only if it is what enabled them. */
static void shadow(void **state)
{
	struct machine *m = *state;

	x86_set_rflags(&m->v->cpu, FL_IF);
	assert_int_equal(run(m, "fb"), NO_EXC);
	assert_int_equal(m->v->shadow, 0);
	assert_int_equal(m->v->attention, 0);
}

static void alignment_check_flag(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	if (!cpuid_has(&m->vm, FEAT_SMAP))
		skip();
	cpu->cr4 = CR4_SMAP;
	x86_mode_changed(m->v);
	assert_ptr_equal(m->v->tlb, &m->v->tlbs[TLB_SUPER]);
	assert_int_equal(run(m, "0f 01 cb"), NO_EXC);
	assert_int_equal(x86_rflags(cpu), FL_FIXED | FL_AC);
	assert_ptr_equal(m->v->tlb, &m->v->tlbs[TLB_SUPER_AC]);
	assert_int_equal(run(m, "0f 01 ca"), NO_EXC);
	assert_int_equal(x86_rflags(cpu), FL_FIXED);
	assert_ptr_equal(m->v->tlb, &m->v->tlbs[TLB_SUPER]);
	cpu->cpl = 3;
	assert_int_equal(run(m, "0f 01 cb"), EXC_UD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(single_flags, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(interrupt_flag_privilege, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(shadow, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(alignment_check_flag, machine_setup,
						machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
