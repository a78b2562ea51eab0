/* Event delivery at boundaries: priorities, shadows, NMI blocking, HLT, INIT and SIPI; double and
 * triple faults. */
#include "x86/debug.h"
#include "x86/event.h"
#include "x86/exec_test.h"
#include "x86/seg.h"

#define GDT_AT          0x3000ull
#define IDT_AT          0x4000ull
#define TSS_AT          0x5000ull
#define IST_TOP         0x9000ull
#define HANDLER(vector) (0x10000u + (vector)*16u)
#define SEL_CODE        0x08u
#define SEL_DATA32      0x10u

static int irq_vector;
static unsigned irq_taken;

static int take_irq(struct vcpu *v)
{
	(void)v;
	irq_taken++;
	return irq_vector;
}

static void gate(struct machine *m, unsigned vector, u64 type)
{
	u64 target = HANDLER(vector);

	poke(m, IDT_AT + vector * 16,
	     (target & 0xffff) | SEL_CODE << 16 | type << 40 | (target >> 16 & 0xffff) << 48, 8);
	poke(m, IDT_AT + vector * 16 + 8, 0, 8);
}

/* 64-bit mode with an IDT of interrupt gates for all vectors. */
static void setup_tables(struct machine *m)
{
	struct x86_cpu *cpu = &m->v->cpu;

	machine_mode(m, 64);
	poke(m, GDT_AT + SEL_CODE, 0x00209b0000000000, 8);
	poke(m, GDT_AT + SEL_DATA32, 0x00cf93000000ffff, 8);
	for (unsigned n = 0; n < 256; n++)
		gate(m, n, 0x8e);
	cpu->gdtr = (struct x86_dtr){ .base = GDT_AT, .limit = 0x1f };
	cpu->idtr = (struct x86_dtr){ .base = IDT_AT, .limit = 0xfff };
	cpu->seg[CS].sel = SEL_CODE;
	cpu->seg[TR] = (struct x86_seg){
		.sel = 0x20, .ar = AR_P | DESC_TSS32_BUSY, .limit = 103, .base = TSS_AT
	};
	poke(m, TSS_AT + 36, IST_TOP, 8);
	cpu->rip = CODE_AT;
	m->v->take_irq = take_irq;
	m->v->icount = 100;
	m->v->pending_dr6 = 0;
	m->v->index = 0;
	irq_vector = 0x40;
	irq_taken = 0;
}

static u64 at_handler(const struct machine *m, unsigned vector)
{
	return m->v->cpu.rip == HANDLER(vector);
}

/* The handler returns at once, as after IRET. */
static void handled(struct machine *m)
{
	m->v->cpu.rip = CODE_AT;
	m->v->cpu.gpr[RSP] = STACK_AT;
	m->v->cpu.rflags |= FL_IF;
}

static void frame(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	m->r[RSP] = STACK_AT + 5;
	x86_set_rflags(&m->v->cpu, FL_IF | FL_CF | FL_NT);
	vcpu_attend(m->v, ATT_IRQ);
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, 0x40));
	assert_int_equal(m->r[RSP], STACK_AT - 40);    /* aligned to 16 first */
	assert_int_equal(peek(m, STACK_AT - 8, 8), 0); /* SS */
	assert_int_equal(peek(m, STACK_AT - 16, 8), STACK_AT + 5);
	assert_int_equal(peek(m, STACK_AT - 24, 8), FL_FIXED | FL_IF | FL_CF | FL_NT);
	assert_int_equal(peek(m, STACK_AT - 32, 8), SEL_CODE);
	assert_int_equal(peek(m, STACK_AT - 40, 8), CODE_AT);
	assert_int_equal(m->v->cpu.rflags, FL_FIXED);
	assert_int_equal(m->v->interrupts, 1);
}

static void priorities(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	m->v->cpu.rflags |= FL_IF;
	x86_pend_debug_trap(m->v, DR6_BS);
	vcpu_attend(m->v, ATT_NMI | ATT_IRQ);
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, EXC_DB));
	assert_int_equal(m->v->cpu.dr[6], DR6_FIXED | DR6_BS);
	handled(m);
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, EXC_NMI));
	assert_true(m->v->cpu.nmi_blocked);
	handled(m);
	vcpu_attend(m->v, ATT_NMI); /* held back until IRET */
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, 0x40));
	assert_true(m->v->attention & ATT_NMI);
	assert_int_equal(irq_taken, 1);
}

static void interrupt_flag(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	vcpu_attend(m->v, ATT_IRQ);
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(irq_taken, 0);
	assert_int_equal(m->v->cpu.rip, CODE_AT);
	m->v->cpu.rflags |= FL_IF;
	irq_vector = -1; /* spurious */
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(irq_taken, 1);
	assert_int_equal(m->v->cpu.rip, CODE_AT);
}

static void sti_shadow(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	m->v->cpu.rflags |= FL_IF;
	m->v->shadow = 1;
	vcpu_attend(m->v, ATT_SHADOW | ATT_IRQ);
	/* The boundary right after, however often it is looked at. */
	assert_true(x86_attend(m->v, &stop));
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(irq_taken, 0);
	assert_true(m->v->attention & ATT_SHADOW);
	m->v->icount++;
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, 0x40));
	assert_false(m->v->attention & ATT_SHADOW);
	assert_int_equal(m->v->shadow, 0);
}

static void mov_ss_shadow(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	m->v->cpu.rflags |= FL_IF;
	m->r[RAX] = 0;
	assert_int_equal(run(m, "8e d0"), NO_EXC); /* mov ss, ax */
	x86_pend_debug_trap(m->v, 1);
	vcpu_attend(m->v, ATT_NMI | ATT_IRQ);
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(m->v->cpu.rip, CODE_AT + 2);
	/* A second MOV SS does not prolong it. */
	assert_int_equal(run_hex(m, "8e d0"), NO_EXC);
	m->v->icount++;
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, EXC_DB));
	assert_int_equal(m->v->cpu.dr[6], DR6_FIXED | 1);
}

static void halt(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	assert_int_equal(run(m, "f4"), NO_EXC);
	assert_int_equal(m->v->cpu.rip, CODE_AT + 1);
	vcpu_attend(m->v, ATT_IRQ); /* IF is clear */
	assert_false(x86_attend(m->v, &stop));
	assert_int_equal(stop, STOP_HALT);
	m->v->cpu.rflags |= FL_IF;
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, 0x40));
	assert_false(m->v->cpu.halted);
	assert_int_equal(peek(m, m->r[RSP], 8), CODE_AT + 1);
	vcpu_attend(m->v, ATT_STOP);
	assert_false(x86_attend(m->v, &stop));
	assert_int_equal(stop, STOP_KICK);
	assert_false(m->v->attention & ATT_STOP);
}

static void start_up(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	m->v->index = 1;
	m->v->cpu.lstar = 0x1234;
	m->v->cpu.cr0 |= CR0_CD;
	m->v->sipi_vector = 0x9a;
	vcpu_attend(m->v, ATT_SIPI); /* not waited for: dropped */
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(m->v->cpu.rip, CODE_AT);
	assert_false(m->v->attention & ATT_SIPI);
	vcpu_attend(m->v, ATT_INIT | ATT_NMI);
	assert_false(x86_attend(m->v, &stop));
	assert_int_equal(stop, STOP_HALT);
	assert_true(m->v->cpu.wait_sipi);
	assert_int_equal(m->v->cpu.lstar, 0x1234); /* INIT keeps MSRs */
	assert_int_equal(m->v->cpu.cr0, CR0_ET | CR0_CD);
	assert_int_equal(m->v->cpu.efer, 0);
	vcpu_attend(m->v, ATT_SIPI);
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(m->v->cpu.seg[CS].sel, 0x9a00);
	assert_int_equal(m->v->cpu.seg[CS].base, 0x9a000);
	assert_int_equal(m->v->cpu.rip, 0);
	/* Both at once, as a sender on the same thread leaves them. */
	vcpu_attend(m->v, ATT_INIT | ATT_SIPI);
	assert_true(x86_attend(m->v, &stop));
	assert_false(m->v->cpu.wait_sipi);
	/* The boot processor does not wait. */
	m->v->index = 0;
	vcpu_attend(m->v, ATT_INIT);
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(m->v->cpu.rip, 0xfff0);
	assert_int_equal(m->v->cpu.seg[CS].base, 0xffff0000);
}

/* Delivers `first` with its gate set up to raise `second`: #GP for a gate of no kind, #NP, #PF
 * through an IDT beyond RAM. */
static bool fault_on_fault(struct machine *m, unsigned first, unsigned second)
{
	jmp_buf catch;

	setup_tables(m);
	if (second == EXC_GP)
		gate(m, first, 0x80);
	if (second == EXC_NP)
		gate(m, first, 0x0e);
	m->v->exc = (struct x86_exception){ .vector = (u8)first,
					    .has_error = first == EXC_GP || first == EXC_PF };
	m->v->catch = &catch;
	return x86_deliver_fault(m->v);
}

/* SDM 3A table 6-5. */
static void double_faults(void **state)
{
	static const struct {
		unsigned first, second, then;
	} row[] = {
		{ EXC_UD, EXC_GP, EXC_GP }, { EXC_DE, EXC_GP, EXC_DF }, { EXC_GP, EXC_NP, EXC_DF },
		{ EXC_PF, EXC_NP, EXC_DF }, { EXC_NM, EXC_NP, EXC_NP }, { EXC_DB, EXC_GP, EXC_GP },
	};
	struct machine *m = *state;

	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		/* The second fault's own gate is good unless it is the first's. */
		if (row[n].first == row[n].second)
			continue;
		assert_true(fault_on_fault(m, row[n].first, row[n].second));
		assert_true(at_handler(m, row[n].then));
		/* Error code: of the gate, with EXT; 0 for #DF. */
		assert_int_equal(peek(m, m->r[RSP], 8),
				 row[n].then == EXC_DF ? 0 : row[n].first * 8 + 3);
	}
}

static void triple_fault(void **state)
{
	struct machine *m = *state;
	jmp_buf catch;
	enum stop stop;

	setup_tables(m);
	gate(m, EXC_GP, 0);
	gate(m, EXC_DF, 0x0e);
	m->v->exc = (struct x86_exception){ .vector = EXC_GP, .has_error = true };
	m->v->catch = &catch;
	assert_false(x86_deliver_fault(m->v));
	assert_int_equal(m->v->cpu.rip, CODE_AT);
	assert_int_equal(m->r[RSP], STACK_AT);
	assert_ptr_equal(m->v->catch, &catch);
	assert_false(m->v->delivering);
	m->v->cpu.rflags |= FL_IF;
	gate(m, 0x40, 0);
	vcpu_attend(m->v, ATT_IRQ);
	assert_false(x86_attend(m->v, &stop));
	assert_int_equal(stop, STOP_SHUTDOWN);
}

/* An interrupt is benign whatever its number. */
static void interrupt_numbered_like_a_fault(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	m->v->cpu.rflags |= FL_IF;
	irq_vector = EXC_TS;
	gate(m, EXC_TS, 0x0e);
	vcpu_attend(m->v, ATT_IRQ);
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, EXC_NP));
}

static void interrupt_stack_table(void **state)
{
	struct machine *m = *state;
	enum stop stop;

	setup_tables(m);
	m->v->cpu.rflags |= FL_IF;
	poke(m, IDT_AT + 0x40 * 16 + 4, 1, 1);
	vcpu_attend(m->v, ATT_IRQ);
	assert_true(x86_attend(m->v, &stop));
	assert_int_equal(m->r[RSP], IST_TOP - 40);
	/* Not canonical: #SS(EXT) on the old stack. */
	setup_tables(m);
	m->v->cpu.rflags |= FL_IF;
	poke(m, IDT_AT + 0x40 * 16 + 4, 1, 1);
	poke(m, TSS_AT + 36, 0x0000800000000000, 8); /* the first push would be canonical */
	vcpu_attend(m->v, ATT_IRQ);
	assert_true(x86_attend(m->v, &stop));
	assert_true(at_handler(m, EXC_SS));
	assert_int_equal(peek(m, m->r[RSP], 8), 1);
}

/* RF in the pushed flags (SDM 3B 17.3.1.1). */
static void resume_flag(void **state)
{
	struct machine *m = *state;
	jmp_buf catch;

	setup_tables(m);
	m->v->catch = &catch;
	m->v->exc = (struct x86_exception){ .vector = EXC_PF, .has_error = true };
	assert_true(x86_deliver_fault(m->v));
	assert_true(peek(m, m->r[RSP] + 24, 8) & FL_RF);
	setup_tables(m);
	m->v->exc = (struct x86_exception){ .vector = EXC_DB };
	m->v->cpu.dr[7] |= DR7_GD;
	assert_true(x86_deliver_fault(m->v));
	assert_false(peek(m, m->r[RSP] + 16, 8) & FL_RF);
	assert_false(m->v->cpu.dr[7] & DR7_GD);
}

static void real_mode(void **state)
{
	struct machine *m = *state;
	jmp_buf catch;

	setup_tables(m);
	machine_mode(m, 16);
	m->v->cpu.idtr = (struct x86_dtr){ .base = IDT_AT, .limit = 0x3ff };
	poke(m, IDT_AT + 0x21 * 4, 0x12345678, 4);
	x86_set_rflags(&m->v->cpu, FL_IF | FL_TF | FL_CF);
	assert_int_equal(run(m, "cd 21"), NO_EXC);
	assert_int_equal(m->v->cpu.rip, 0x5678);
	assert_int_equal(m->v->cpu.seg[CS].base, 0x12340);
	assert_int_equal(peek(m, STACK_AT - 6, 2), CODE_AT + 2);
	assert_int_equal(peek(m, STACK_AT - 2, 2), FL_FIXED | FL_IF | FL_TF | FL_CF);
	assert_false(m->v->cpu.rflags & (FL_IF | FL_TF));
	/* Vectors beyond the limit, #DF included: shutdown. */
	m->v->cpu.idtr.limit = 8 * 4 - 1;
	m->v->catch = &catch;
	m->v->exc = (struct x86_exception){ .vector = EXC_GP, .has_error = true };
	assert_false(x86_deliver_fault(m->v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame),
		cmocka_unit_test(priorities),
		cmocka_unit_test(interrupt_flag),
		cmocka_unit_test(sti_shadow),
		cmocka_unit_test(mov_ss_shadow),
		cmocka_unit_test(halt),
		cmocka_unit_test(start_up),
		cmocka_unit_test(double_faults),
		cmocka_unit_test(triple_fault),
		cmocka_unit_test(interrupt_numbered_like_a_fault),
		cmocka_unit_test(interrupt_stack_table),
		cmocka_unit_test(resume_flag),
		cmocka_unit_test(real_mode),
	};

	return cmocka_run_group_tests(tests, machine_setup, machine_teardown);
}
