/* String instructions: direction, overlap, interruption, restart after a fault, wrap-around. */
#include "x86/exec_test.h"

/* Repeats until the instruction is finished or faults. */
static int run_rep(struct machine *m, const char *hex)
{
	int exc;

	m->v->cpu.rip = CODE_AT;
	do
		exc = run_hex(m, hex);
	while (exc == NO_EXC && m->v->cpu.rip == CODE_AT);
	return exc;
}

static void fill(struct machine *m, gpa_t a, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		poke(m, a + k, (k * 7 + 3) & 0xff, 1);
}

static void single(void **state)
{
	struct machine *m = *state;

	m->r[RSI] = 0x4000;
	m->r[RDI] = 0x5000;
	poke(m, 0x4000, 0x1122334455667788, 8);
	assert_int_equal(run(m, "66 a5"), NO_EXC);
	assert_int_equal(m->v->cpu.rip, CODE_AT + 2);
	assert_int_equal(peek(m, 0x5000, 4), 0x7788);
	assert_int_equal(m->r[RSI], 0x4002);
	assert_int_equal(m->r[RDI], 0x5002);
	m->v->cpu.rflags |= FL_DF;
	m->r[RAX] = 0xffffffffffffffff;
	assert_int_equal(run(m, "ad"), NO_EXC); /* lodsd */
	assert_int_equal(m->r[RAX], 0x33445566);
	assert_int_equal(m->r[RSI], 0x3ffe);
	m->r[RAX] = 0x8800;
	poke(m, 0x5002, 0x8801, 2);
	assert_int_equal(run(m, "66 af"), NO_EXC); /* scasw */
	assert_int_equal(m->r[RDI], 0x5000);
	assert_true(m->v->cpu.cc & CC_CF);
}

/* Against the definition, element by element, with every overlap near zero, in both directions and
 * all sizes. */
static void overlapping_copies(void **state)
{
	static const char *const hex[] = { "f3 a4", "f3 66 a5", "f3 a5", "f3 48 a5" };
	struct machine *m = *state;
	u8 want[0x200];

	for (unsigned s = 0; s < 4; s++)
		for (unsigned down = 0; down < 2; down++)
			for (int distance = -20; distance <= 20; distance++) {
				unsigned size = 1u << s, n = 29;
				i64 step = down ? -(i64)size : (i64)size, from = 0x100,
				    to = from + distance;

				fill(m, 0x4f00, sizeof(want)); /* crosses a page in the middle */
				memcpy(want, mem_host(&m->mem, 0x4f00, sizeof(want)), sizeof(want));
				for (unsigned k = 0; k < n; k++)
					le_store(want + to + k * step,
						 le_load(want + from + k * step, size), size);
				m->r[RSI] = 0x4f00 + (u64)from;
				m->r[RDI] = 0x4f00 + (u64)to;
				m->r[RCX] = n;
				x86_set_rflags(&m->v->cpu, down ? FL_DF : 0);
				assert_int_equal(run_rep(m, hex[s]), NO_EXC);
				assert_memory_equal(mem_host(&m->mem, 0x4f00, sizeof(want)), want,
						    sizeof(want));
				assert_int_equal(m->r[RCX], 0);
				assert_int_equal(m->r[RSI], 0x4f00 + (u64)(from + n * step));
				assert_int_equal(m->r[RDI], 0x4f00 + (u64)(to + n * step));
			}
}

/* A long copy comes up for air with RIP on the instruction and the registers in step. */
static void long_copies_stop_between(void **state)
{
	struct machine *m = *state;

	fill(m, 0x10000, 0x4000);
	m->r[RSI] = 0x10001;
	m->r[RDI] = 0x20010;
	m->r[RCX] = 0x3000;
	assert_int_equal(run(m, "f3 a4"), NO_EXC);
	assert_int_equal(m->v->cpu.rip, CODE_AT);
	u64 done = m->r[RSI] - 0x10001;
	assert_in_range(done, 1, 0x1000);
	assert_int_equal(m->r[RDI], 0x20010 + done);
	assert_int_equal(m->r[RCX], 0x3000 - done);
	assert_int_equal(run_rep(m, "f3 a4"), NO_EXC);
	assert_int_equal(m->v->cpu.rip, CODE_AT + 2);
	assert_memory_equal(mem_host(&m->mem, 0x20010, 0x3000), mem_host(&m->mem, 0x10001, 0x3000),
			    0x3000);
	/* TF: one element at a time. */
	m->r[RCX] = 3;
	m->v->cpu.rflags |= FL_TF;
	assert_int_equal(run(m, "f3 a4"), NO_EXC);
	assert_int_equal(m->r[RCX], 2);
	assert_int_equal(m->v->cpu.rip, CODE_AT);
}

static void no_count(void **state)
{
	struct machine *m = *state;

	x86_set_rflags(&m->v->cpu, FL_ZF | FL_CF);
	m->r[RSI] = m->r[RDI] = 0x0000800000000000; /* is not looked at */
	assert_int_equal(run(m, "f3 a6"), NO_EXC);
	assert_int_equal(m->v->cpu.rip, CODE_AT + 2);
	assert_int_equal(x86_rflags(&m->v->cpu) & FL_STATUS, FL_ZF | FL_CF);
}

static void fault_keeps_what_is_done(void **state)
{
	struct machine *m = *state;

	for (unsigned down = 0; down < 2; down++) {
		machine_mode(m, 32);
		m->v->cpu.seg[ES].limit = 0x5fff;
		if (down) {
			m->v->cpu.seg[ES].ar |= AR_DC; /* valid above the limit */
			m->v->cpu.rflags |= FL_DF;
		}
		fill(m, 0x4000, 0x1000);
		m->r[RSI] = 0x4800;
		m->r[RDI] = down ? 0x6000 + 0x100 : 0x6000 - 0x100;
		m->r[RCX] = 0x100;
		assert_int_equal(run_rep(m, "f3 a5"), EXC_GP);
		assert_int_equal(m->v->cpu.rip, CODE_AT);
		assert_int_equal(m->r[RDI], down ? 0x6000 - 4 : 0x6000);
		assert_int_equal(m->r[RSI], down ? 0x4800 - 0x104 : 0x4800 + 0x100);
		assert_int_equal(m->r[RCX], down ? 0x100 - 0x41 : 0x100 - 0x40);
	}
}

static void widths_of_registers(void **state)
{
	struct machine *m = *state;

	machine_mode(m, 16);
	m->r[RSI] = 0x1234fffc;
	m->r[RDI] = 0x12344000;
	m->r[RCX] = 0x12340003;
	poke(m, 0xfffc, 0x44332211, 4);
	poke(m, 0, 0x88776655, 4);
	assert_int_equal(run_rep(m, "f3 a5"), NO_EXC); /* SI wraps */
	assert_int_equal(peek(m, 0x4000, 8), 0x665544332211);
	assert_int_equal(m->r[RSI], 0x12340002);
	assert_int_equal(m->r[RDI], 0x12344006);
	assert_int_equal(m->r[RCX], 0x12340000);
	m->r[RSI] = 0xffff;
	m->r[RCX] = 1;
	assert_int_equal(run_rep(m, "f3 a5"), EXC_GP); /* a word at FFFF */
	machine_mode(m, 64);
	m->r[RDI] = 0xdead00004000;
	m->r[RCX] = 0xdead00000002;
	assert_int_equal(run_rep(m, "67 f3 ab"), NO_EXC);
	assert_int_equal(m->r[RDI], 0x4008);
	assert_int_equal(m->r[RCX], 0);
}

static void segments(void **state)
{
	struct machine *m = *state;

	machine_mode(m, 32);
	m->v->cpu.seg[FS].base = 0x10000;
	m->v->cpu.seg[ES].base = 0x20000;
	poke(m, 0x10100, 0x12345678, 4);
	m->r[RSI] = m->r[RDI] = 0x100;
	m->r[RCX] = 1;
	assert_int_equal(run_rep(m, "f3 64 a5"), NO_EXC); /* the source only */
	assert_int_equal(peek(m, 0x20100, 4), 0x12345678);
	machine_mode(m, 64);
	m->v->cpu.seg[FS].base = 0x10000;
	m->r[RSI] = 0x100;
	m->r[RDI] = 0x20200;
	assert_int_equal(run(m, "64 a5"), NO_EXC);
	assert_int_equal(peek(m, 0x20200, 4), 0x12345678);
}

static void search_and_compare(void **state)
{
	struct machine *m = *state;

	memset(mem_host(&m->mem, 0x4000, 0x3000), 'a', 0x3000);
	poke(m, 0x5123, 0, 1);
	m->r[RDI] = 0x4000;
	m->r[RCX] = ~0ull;
	assert_int_equal(run_rep(m, "f2 ae"), NO_EXC); /* strlen */
	assert_int_equal(m->r[RDI], 0x5124);
	assert_int_equal(~m->r[RCX], 0x1124);
	assert_true(m->v->cpu.cc & CC_ZF);
	memset(mem_host(&m->mem, 0x8000, 0x3000), 'a', 0x3000);
	m->r[RSI] = 0x4000;
	m->r[RDI] = 0x8000;
	m->r[RCX] = 0x2000;
	assert_int_equal(run_rep(m, "f3 a6"), NO_EXC); /* differs at 1123 */
	assert_int_equal(m->r[RSI], 0x5124);
	assert_int_equal(m->r[RCX], 0x2000 - 0x1124);
	assert_int_equal(m->v->cpu.cc & (CC_ZF | CC_CF), CC_CF);
	m->r[RAX] = 'b';
	m->r[RDI] = 0x8000;
	m->r[RCX] = 0x1800;
	assert_int_equal(run_rep(m, "f2 ae"), NO_EXC); /* is not there */
	assert_int_equal(m->r[RCX], 0);
	assert_false(m->v->cpu.cc & CC_ZF);
}

static void store(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0x1122334455667788;
	m->r[RDI] = 0x4ffd;
	m->r[RCX] = 3;
	poke(m, 0x5015, 0x55, 1);
	assert_int_equal(run_rep(m, "f3 48 ab"), NO_EXC);
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(peek(m, 0x4ffd + 8 * k, 8), 0x1122334455667788);
	assert_int_equal(peek(m, 0x5015, 1), 0x55);
	x86_set_rflags(&m->v->cpu, FL_DF);
	m->r[RDI] = 0x5800;
	m->r[RCX] = 0x900;
	assert_int_equal(run_rep(m, "f2 aa"), NO_EXC); /* F2 repeats as well */
	assert_int_equal(m->r[RDI], 0x4f00);
	assert_int_equal(peek(m, 0x4f01, 1), 0x88);
	assert_int_equal(peek(m, 0x5800, 1), 0x88);
	assert_int_not_equal(peek(m, 0x4f00, 1), 0x88);
}

static void ports(void **state)
{
	struct machine *m = *state;

	m->r[RDX] = 0xabcd1234;
	m->r[RDI] = 0x4000;
	m->r[RCX] = 3;
	assert_int_equal(run_rep(m, "f3 6d"), NO_EXC);
	assert_int_equal(m->exits, 3);
	assert_int_equal(m->last.kind, EXIT_PORT_IN);
	assert_int_equal(m->last.addr, 0x1234);
	assert_int_equal(m->last.size, 4);
	assert_int_equal(peek(m, 0x4000, 8), 0x1122334411223344);
	assert_int_equal(m->r[RDI], 0x400c);
	m->r[RSI] = 0x4001;
	assert_int_equal(run(m, "66 6f"), NO_EXC);
	assert_int_equal(m->last.kind, EXIT_PORT_OUT);
	assert_int_equal(m->last.value, 0x2233);
	assert_int_equal(m->r[RSI], 0x4003);
	/* A destination that faults must not cost the device its data. */
	machine_mode(m, 32);
	m->v->cpu.seg[ES].limit = 0x4000;
	m->r[RDI] = 0x4000;
	m->r[RCX] = 1;
	m->exits = 0;
	assert_int_equal(run_rep(m, "f3 6d"), EXC_GP);
	assert_int_equal(m->exits, 0);
	m->v->cpu.cpl = 3;
	assert_int_equal(run(m, "6c"), EXC_GP); /* no TSS, no permission */
	assert_int_equal(m->exits, 0);
}

static struct {
	u8 *at;
	unsigned size, n, calls;
	bool write;
} block;

/* Moves five elements at most. */
static unsigned take_block(struct vcpu *v, u16 port, u8 *buf, unsigned size, unsigned n, bool write)
{
	assert_int_equal(port, 0x1234);
	block.at = buf;
	block.size = size;
	block.n = n;
	block.write = write;
	block.calls++;
	n = MIN(n, 5);
	if (!write)
		memset(buf, 0x77, (size_t)n * size);
	return n;
}

static void ports_at_once(void **state)
{
	struct machine *m = *state;

	memset(&block, 0, sizeof(block));
	m->v->port_block = take_block;
	m->r[RDX] = 0x1234;
	m->r[RDI] = 0x4ff8;
	m->r[RCX] = 6;
	assert_int_equal(run_rep(m, "66 f3 6d"), NO_EXC);
	assert_int_equal(block.calls, 2); /* four to the end of the page, two behind it */
	assert_int_equal(m->exits, 0);
	assert_int_equal(m->r[RDI], 0x5004);
	assert_int_equal(m->r[RCX], 0);
	assert_int_equal(peek(m, 0x4ff8, 8), 0x7777777777777777);
	assert_int_equal(peek(m, 0x5000, 8), 0x77777777);
	m->r[RSI] = 0x4100;
	m->r[RCX] = 7;
	assert_int_equal(run_rep(m, "f3 6e"), NO_EXC);
	assert_true(block.write);
	assert_int_equal(block.n, 2);
	assert_int_equal(m->r[RSI], 0x4107);
	/* Downwards, and with a breakpoint that may be on the port: one by one. */
	block.calls = 0;
	x86_set_rflags(&m->v->cpu, FL_DF);
	m->r[RCX] = 3;
	assert_int_equal(run_rep(m, "f3 6e"), NO_EXC);
	x86_set_rflags(&m->v->cpu, 0);
	m->v->cpu.dr[7] = 1;
	m->r[RCX] = 3;
	assert_int_equal(run_rep(m, "f3 6e"), NO_EXC);
	assert_int_equal(m->exits, 6);
	assert_int_equal(block.calls, 0);
	/* Without permission the device is not asked. */
	machine_mode(m, 32);
	m->v->cpu.cpl = 3;
	m->r[RCX] = 3;
	assert_int_equal(run_rep(m, "f3 6d"), EXC_GP);
	assert_int_equal(block.calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(single, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(overlapping_copies, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(long_copies_stop_between, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(no_count, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(fault_keeps_what_is_done, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(widths_of_registers, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(segments, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(search_and_compare, machine_setup,
						machine_teardown),
		cmocka_unit_test_setup_teardown(store, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(ports, machine_setup, machine_teardown),
		cmocka_unit_test_setup_teardown(ports_at_once, machine_setup, machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
