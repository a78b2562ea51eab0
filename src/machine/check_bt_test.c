/* A wrong translation is found by lockstep, in the unit that has it, and shown: guest bytes and text, the host code, both states. */
#include "machine/check.h"

#include "engine/bt/tr.h"
#include "machine/check_test.h"

#include <Zydis/Zydis.h>

/* A multiboot kernel: a loop of additions, then port F4h. */
static const u8 code[] = {
	0xbc, 0,    0, 0x20, 0, /* mov esp, 200000h */
	0xb9, 0x64, 0, 0,    0, /* mov ecx, 100 */
	0x31, 0xdb,             /* xor ebx, ebx */
	0x01, 0xcb,             /* next: add ebx, ecx */
	0x83, 0xc6, 3,          /* add esi, 3 */
	0x11, 0xde,             /* adc esi, ebx */
	0x49,                   /* dec ecx */
	0x75, 0xf6,             /* jnz next */
	0xb0, 3,                /* mov al, 3 */
	0xe6, 0xf4,             /* out f4h, al */
	0xeb, 0xfe,             /* jmp . */
};

static struct check_kernel kernel;

/* The translator's own function, and how many additions it translates right. There is no other way to know them. */
static bt_emit_fn *right;
static unsigned left;

/* ADD, but after so many of them SUB. */
static bool wrong_add(struct tr *t)
{
	struct x86_insn i = *t->i;
	const struct x86_insn *real = t->i;
	bool done;

	if (left) {
		left--;
		return right(t);
	}
	i.mnemonic = ZYDIS_MNEMONIC_SUB;
	t->i = &i;
	done = t->bt->emit[ZYDIS_MNEMONIC_SUB](t);
	t->i = real;
	return done;
}

static int setup(void **state) { return check_kernel_make(&kernel, code, sizeof(code)) ? 0 : -1; }

static int teardown(void **state) { return unlink(kernel.path); }

/* The machine at its end, with all additions but the first `good` ones translated wrong. */
static struct machine *run(unsigned good)
{
	struct machine *m = check_machine(&kernel, "bt", 1, UINT32_MAX);
	struct bt *bt = machine_vm(m)->engine_vm;

	right = bt->emit[ZYDIS_MNEMONIC_ADD];
	left = good;
	bt->emit[ZYDIS_MNEMONIC_ADD] = wrong_add;
	machine_run(m);
	return m;
}

static void right_translations_agree(void **state)
{
	if (engine_bt.unfit())
		skip();

	struct machine *m = run(1000);

	assert_true(left < 1000);
	check_ended_well(m);
	machine_free(m);
}

static void a_wrong_one_is_shown(void **state)
{
	/* The unit's guest bytes, decoded; its host code; RSI before and after on each: the borrow of the subtraction is in it. */
	static const char *const expected[] = {
		"bt and interp",
		"10002e  83c603",
		"add esi, 0x03",
		"sub esi, 0x03",
		"* rsi                       0               62               67",
	};
	if (engine_bt.unfit())
		skip();

	struct machine *m = run(1);

	check_reported(m, 0, expected, ARRAY_LEN(expected));
	machine_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_translations_agree),
		cmocka_unit_test(a_wrong_one_is_shown),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
