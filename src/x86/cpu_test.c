/* RESET and INIT, the state table, and control registers. */
#include "x86/debug.h"
#include "x86/exec_test.h"

static void reset(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	memset(cpu, 0xff, sizeof(*cpu));
	cpu->cpl = 3;
	vcpu_attend(m->v, ATT_NMI | ATT_INIT | ATT_IRQ);
	x86_reset(m->v);
	assert_int_equal(cpu->rip, 0xfff0);
	assert_int_equal(cpu->seg[CS].sel, 0xf000);
	assert_int_equal(cpu->seg[CS].base, 0xffff0000);
	assert_int_equal(cpu->seg[DS].limit, 0xffff);
	assert_int_equal(cpu->cr0, 0x60000010);
	assert_int_equal(x86_rflags(cpu), 2);
	assert_int_equal(cpu->dr[6], 0xffff0ff0);
	assert_int_equal(cpu->dr[7], 0x400);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->zero, 0);
	assert_int_equal(cpu->pat, 0x0007040600070406);
	assert_true(cpu->gpr[RDX] != 0);
	assert_int_equal(le_load(cpu->xsave, 2), 0x40);
	assert_int_equal(m->v->attention, ATT_IRQ); /* the interrupt controller's own */
	assert_ptr_equal(m->v->tlb, &m->v->tlbs[TLB_SUPER_AC]);
}

static void init(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	x86_reset(m->v);
	cpu->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_CD;
	cpu->efer = EFER_LME | EFER_LMA;
	cpu->mtrr_def_type = 0xc06;
	cpu->star = 7;
	cpu->xcr0 = 3;
	cpu->xsave[100] = 1;
	cpu->dr[0] = 5;
	cpu->tsc_offset = 9;
	x86_init_reset(m->v);
	assert_int_equal(cpu->cr0, CR0_ET | CR0_CD);
	assert_int_equal(cpu->efer, 0);
	assert_int_equal(cpu->dr[0], 0);
	assert_int_equal(cpu->mtrr_def_type, 0xc06);
	assert_int_equal(cpu->star, 7);
	assert_int_equal(cpu->xcr0, 3);
	assert_int_equal(cpu->xsave[100], 1);
	assert_int_equal(cpu->tsc_offset, 9);
}

/* Every byte of struct x86_cpu but padding and `zero` is in a row: after save and load of a random
 * state nothing differs. */
static void table(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *a = &m->v->cpu, b;
	size_t size = state_save(&x86_cpu_state, a, NULL, 0);
	u8 *buf = malloc(size);
	size_t covered = 0;

	assert_non_null(buf);
	for (size_t n = 0; n < sizeof(*a); n++)
		((u8 *)a)[n] = (u8)(n * 37 + 11);
	a->nmi_blocked = a->halted = a->wait_sipi = true;
	memset(&b, 0, sizeof(b));
	assert_int_equal(state_save(&x86_cpu_state, a, buf, size), size);
	assert_int_equal(state_load(&x86_cpu_state, &b, buf, size), 0);
	assert_int_equal(state_diff(&x86_cpu_state, a, &b, NULL), 0);
	for (u32 n = 0; n < x86_cpu_state.count; n++)
		covered += (size_t)x86_cpu_state.fields[n].size * x86_cpu_state.fields[n].count;
	for (unsigned n = 0; n < SREG_COUNT; n++)
		assert_int_equal(b.seg[n].ar, a->seg[n].ar);
	assert_int_equal(b.mtrr_phys[15], a->mtrr_phys[15]);
	/* Not covered: zero, and the padding of cpl.., seg[], gdtr, idtr and xsave. */
	assert_int_equal(covered,
			 sizeof(*a) - 8 - 2 - SREG_COUNT * 6 - 2 * 6 -
				 (sizeof(*a) - offsetof(struct x86_cpu, xss) - 8 - X86_XSAVE_SIZE));
	free(buf);
	machine_mode(m, 64);
}

static void control_bits(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	machine_mode(m, 64);
	m->vm.model = cpuid_model_find("skylake");
	cpu->cr0 = CR0_PE | CR0_PG | CR0_ET;
	cpu->cr4 = CR4_PAE;
	m->r[RAX] = BIT(32) | CR0_PE | CR0_PG;
	assert_int_equal(run(m, "0f 22 c0"), EXC_GP);
	m->r[RAX] = CR0_PG;
	assert_int_equal(run(m, "0f 22 c0"), EXC_GP);
	m->r[RAX] = CR0_PE; /* paging off in 64-bit mode */
	assert_int_equal(run(m, "0f 22 c0"), EXC_GP);
	m->r[RAX] = CR0_PE | CR0_PG | CR0_NW;
	assert_int_equal(run(m, "0f 22 c0"), EXC_GP);
	m->r[RAX] = CR0_PE | CR0_PG | 0x1ffaffc0; /* reserved bits are ignored, ET is 1 */
	assert_int_equal(run(m, "0f 22 c0"), NO_EXC);
	assert_int_equal(cpu->cr0, CR0_PE | CR0_PG | CR0_ET);
	m->r[RAX] = 0;
	assert_int_equal(run(m, "0f 22 e0"), EXC_GP); /* PAE off in long mode */
	m->r[RAX] = CR4_PAE | BIT(12);                /* LA57 */
	assert_int_equal(run(m, "0f 22 e0"), EXC_GP);
	cpu->cr3 = 0x1005;
	m->r[RAX] = CR4_PAE | CR4_PCIDE;
	assert_int_equal(run(m, "0f 22 e0"), EXC_GP); /* a PCID is in CR3 already */
	m->r[RAX] = 0x1000;
	assert_int_equal(run(m, "0f 22 d8"), NO_EXC);
	m->r[RAX] = BIT(63) | 0x2000;
	assert_int_equal(run(m, "0f 22 d8"), EXC_GP);
	m->r[RAX] = CR4_PAE | CR4_PCIDE;
	assert_int_equal(run(m, "0f 22 e0"), NO_EXC);
	m->r[RAX] = BIT(63) | 0x2000;
	assert_int_equal(run(m, "0f 22 d8"), NO_EXC);
	assert_int_equal(cpu->cr3, 0x2000);
	m->r[RAX] = BIT(40);
	assert_int_equal(run(m, "0f 22 d8"), EXC_GP);
	/* LMSW sets PE and cannot clear it. */
	m->r[RAX] = 0xffff0;
	cpu->cr0 |= CR0_TS;
	assert_int_equal(run(m, "0f 01 f0"), NO_EXC);
	assert_int_equal(cpu->cr0, CR0_PE | CR0_PG | CR0_ET);
	m->r[RAX] = 16;
	assert_int_equal(run(m, "44 0f 22 c0"), EXC_GP);
	m->r[RAX] = 9;
	assert_int_equal(run(m, "44 0f 22 c0"), NO_EXC);
	assert_int_equal(m->last.kind, EXIT_TPR_WRITE);
	assert_int_equal(m->last.value, 9);
	cpu->cpl = 3;
	assert_int_equal(run(m, "0f 20 c0"), EXC_GP);
	m->vm.model = cpuid_model_find("i686");
	cpu->cpl = 0;
	cpu->efer = 0;
	cpu->seg[CS].ar &= ~AR_L;
	cpu->seg[CS].ar |= AR_DB;
	cpu->cr0 = CR0_PE | CR0_ET;
	m->r[RAX] = CR4_SMEP;
	assert_int_equal(run(m, "0f 22 e0"), EXC_GP);
}

static void tlb_tables(void **state)
{
	struct machine *m = *state;
	struct vcpu *v = m->v;

	machine_mode(m, 64);
	assert_ptr_equal(v->tlb, &v->tlbs[TLB_SUPER_AC]);
	v->cpu.cr4 |= CR4_SMAP;
	x86_mode_changed(v);
	assert_ptr_equal(v->tlb, &v->tlbs[TLB_SUPER]);
	v->cpu.rflags |= FL_AC;
	x86_mode_changed(v);
	assert_ptr_equal(v->tlb, &v->tlbs[TLB_SUPER_AC]);
	v->cpu.cpl = 3;
	x86_mode_changed(v);
	assert_ptr_equal(v->tlb, &v->tlbs[TLB_USER]);
	v->cpu.cr0 |= CR0_AM;
	x86_mode_changed(v);
	assert_ptr_equal(v->tlb, &v->tlbs[TLB_CHECKED]);
	v->cpu.rflags &= ~FL_AC;
	x86_mode_changed(v);
	assert_ptr_equal(v->tlb, &v->tlbs[TLB_USER]);
	/* RF asks for one instruction alone if IRET loaded it. */
	v->cpu.rflags |= FL_RF;
	x86_mode_changed(v);
	assert_false(v->attention & ATT_SLOW);
	x86_rf_loaded(v);
	x86_mode_changed(v);
	assert_true(v->attention & ATT_SLOW);
	v->cpu.rflags &= ~FL_RF;
	x86_step_done(v, false);
	assert_int_equal(v->attention, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset),      cmocka_unit_test(init),
		cmocka_unit_test(table),      cmocka_unit_test(control_bits),
		cmocka_unit_test(tlb_tables),
	};

	return cmocka_run_group_tests(tests, machine_setup, machine_teardown);
}
