/* Debug registers: fixed bits, aliases, what each kind of breakpoint matches. */
#include "x86/debug.h"
#include "x86/exec_test.h"

#define DR7(n, rw, len) (BIT(2 * (n)) | (u64)(rw) << (16 + 4 * (n)) | (u64)(len) << (18 + 4 * (n)))
#define RW_WRITE        1u
#define RW_IO           2u
#define RW_ACCESS       3u

static struct machine *fresh(void **state)
{
	struct machine *m = *state;

	machine_mode(m, 64);
	m->v->cpu.dr[6] = DR6_FIXED;
	m->v->cpu.dr[7] = DR7_FIXED;
	m->v->pending_dr6 = 0;
	return m;
}

static void registers(void **state)
{
	struct machine *m = fresh(state);

	m->r[RAX] = 0xffffffff;
	assert_int_equal(run(m, "0f 23 f8"), NO_EXC); /* mov dr7, rax */
	assert_int_equal(m->v->cpu.dr[7], 0xffff27ff);
	assert_int_equal(run(m, "0f 21 f8"), EXC_DB); /* GD is set now */
	assert_int_equal(m->v->cpu.dr[6], DR6_FIXED | DR6_BD);
	m->v->cpu.dr[7] = DR7_FIXED;
	m->r[RAX] = 0;
	assert_int_equal(run(m, "0f 23 e0"), NO_EXC); /* mov dr4, rax: dr6 */
	assert_int_equal(m->v->cpu.dr[6], DR6_FIXED);
	m->r[RAX] = BIT(32);
	assert_int_equal(run(m, "0f 23 f0"), EXC_GP);
	assert_int_equal(run(m, "0f 23 c0"), NO_EXC);
	assert_int_equal(m->v->cpu.dr[0], BIT(32));
	m->v->cpu.cr4 |= CR4_DE;
	assert_int_equal(run(m, "0f 23 e0"), EXC_UD);
	m->v->cpu.cpl = 3;
	assert_int_equal(run(m, "0f 21 c0"), EXC_GP);
}

static u64 hits(struct machine *m, gva_t a, unsigned size, bool write)
{
	m->v->pending_dr6 = 0;
	vcpu_unattend(m->v, ATT_TRAP);
	x86_data_breakpoint(m->v, a, size, write);
	assert_int_equal(!!(m->v->attention & ATT_TRAP), !!m->v->pending_dr6);
	return m->v->pending_dr6;
}

static void data(void **state)
{
	struct machine *m = fresh(state);

	x86_write_dr(m->v, 0, 0x2002);
	x86_write_dr(m->v, 1, 0x3005); /* 4 bytes: aligned down to 3004 */
	x86_write_dr(m->v, 2, 0xfffffffffffffff8);
	x86_write_dr(m->v, 7, DR7(0, RW_WRITE, 0) | DR7(1, RW_ACCESS, 3) | DR7(2, RW_ACCESS, 2));
	assert_int_equal(hits(m, 0x2000, 4, true), 1);
	assert_int_equal(hits(m, 0x2000, 4, false), 0); /* writes only */
	assert_int_equal(hits(m, 0x2000, 2, true), 0);
	assert_int_equal(hits(m, 0x2003, 8, true), 0);
	assert_int_equal(hits(m, 0x3007, 1, false), 2);
	assert_int_equal(hits(m, 0x3003, 1, false), 0);
	assert_int_equal(hits(m, 0x3008, 1, false), 0);
	assert_int_equal(hits(m, 0xffffffffffffffff, 1, false), 4);
	assert_int_equal(hits(m, 0, 8, false), 0);
	assert_true(x86_page_watched(m->v, 0x3000));
	assert_false(x86_page_watched(m->v, 0x1000));
	/* A store through the whole memory path, with its page in the TLB before the breakpoint is
	 * set. */
	x86_write_dr(m->v, 7, 0);
	m->r[RBX] = 0x2000;
	assert_int_equal(run(m, "89 03"), NO_EXC); /* mov [rbx], eax */
	assert_int_equal(m->v->pending_dr6, 0);
	m->v->pending_dr6 = 0;
	x86_write_dr(m->v, 7, DR7(0, RW_WRITE, 0));
	assert_true(m->v->attention & ATT_SLOW);
	assert_int_equal(run(m, "89 03"), NO_EXC);
	assert_int_equal(m->v->pending_dr6, 1);
}

static void code(void **state)
{
	struct machine *m = fresh(state);
	u64 dr6;

	x86_write_dr(m->v, 3, CODE_AT);
	x86_write_dr(m->v, 7, DR7(3, 0, 0));
	assert_true(x86_code_breakpoint(m->v, CODE_AT, &dr6));
	assert_int_equal(dr6, 8);
	assert_false(x86_code_breakpoint(m->v, CODE_AT + 1, &dr6));
	assert_false(x86_page_watched(m->v, CODE_AT));
	x86_write_dr(m->v, 7, DR7(3, 0, 0) & ~0xffull);
	assert_false(x86_code_breakpoint(m->v, CODE_AT, &dr6));
	assert_false(m->v->attention & ATT_SLOW);
}

static void ports(void **state)
{
	struct machine *m = fresh(state);

	x86_write_dr(m->v, 0, 0x61);
	x86_write_dr(m->v, 7, DR7(0, RW_IO, 0));
	assert_int_equal(run(m, "e4 60"), NO_EXC);
	m->v->pending_dr6 = 0;
	m->v->cpu.cr4 |= CR4_DE;
	assert_int_equal(run(m, "e4 60"), NO_EXC); /* in al, 60h */
	assert_int_equal(m->v->pending_dr6, 0);
	assert_int_equal(run(m, "66 e5 60"), NO_EXC); /* in ax, 60h covers 61h */
	assert_int_equal(m->v->pending_dr6, 1);
	assert_int_equal(m->last.kind, EXIT_PORT_IN);
	assert_int_equal(m->last.size, 2);
}

static void single_step(void **state)
{
	struct machine *m = fresh(state);

	m->v->cpu.rflags |= FL_TF;
	x86_mode_changed(m->v);
	assert_true(m->v->attention & ATT_SLOW);
	x86_step_done(m->v, true);
	assert_int_equal(m->v->pending_dr6, DR6_BS);
	/* POPF that clears TF still traps; ATT_SLOW ends. */
	m->v->pending_dr6 = 0;
	m->v->cpu.rflags &= ~FL_TF;
	x86_step_done(m->v, true);
	assert_int_equal(m->v->pending_dr6, DR6_BS);
	assert_false(m->v->attention & ATT_SLOW);
	/* An instruction that decides for itself. */
	m->v->pending_dr6 = 0;
	m->v->cpu.rflags |= FL_TF;
	x86_mode_changed(m->v);
	x86_step_override(m->v);
	x86_step_done(m->v, true);
	assert_int_equal(m->v->pending_dr6, 0);
	x86_step_done(m->v, true);
	assert_int_equal(m->v->pending_dr6, DR6_BS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers), cmocka_unit_test(data),        cmocka_unit_test(code),
		cmocka_unit_test(ports),     cmocka_unit_test(single_step),
	};

	return cmocka_run_group_tests(tests, machine_setup, machine_teardown);
}
