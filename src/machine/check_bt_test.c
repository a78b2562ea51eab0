/* A wrong translation is found by lockstep, in the unit that has it, and shown: guest bytes and text, the host code, both states. */
#include "machine/check.h"

#include "base/test.h"
#include "engine/bt/tr.h"
#include "machine/check_internal.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>

#define LOAD 0x100000u

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

static char kernel[] = "/tmp/pogo-check-bt-XXXXXX";

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

static int setup(void **state)
{
	struct {
		u32 header[8];
		u8 code[sizeof(code)];
	} image = { .header = { 0x1badb002, 0x10000, -(0x1badb002u + 0x10000), LOAD, LOAD, 0, 0,
				LOAD + 32 } };
	int fd = mkstemp(kernel);

	memcpy(image.code, code, sizeof(code));
	return fd < 0 || write(fd, &image, sizeof(image)) != sizeof(image) || close(fd) ? -1 : 0;
}

static int teardown(void **state) { return unlink(kernel); }

static void discard(void *opaque, const u8 *buf, size_t n) {}

/* The machine at its end, with all additions but the first `good` ones translated wrong. */
static struct machine *run(unsigned good)
{
	const struct machine_console console = { .write = discard };
	struct machine_config cfg = { .kernel = kernel,
				      .append = "",
				      .memory = 16 * MIB,
				      .cpus = 1,
				      .engine = "bt",
				      .cpu = "max",
				      .clock = "insns",
				      .boot_entry = "auto",
				      .debug_exit = 0xf4,
				      .timeout_s = 60,
				      .check = "interp",
				      .check_step = 1,
				      .check_page = UINT32_MAX };
	struct machine *m;
	struct bt *bt;
	char err[256];

	if (machine_new(&m, &cfg, &console, err, sizeof(err)))
		fail_msg("%s", err);
	bt = machine_vm(m)->engine_vm;
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
	assert_int_equal(m->end, END_DEBUG_EXIT);
	assert_int_equal(m->exit_code, 7);
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
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	assert_int_equal(m->end, END_DIFFERENT);
	check_report(m->check, 0, f);
	fclose(f);
	for (unsigned n = 0; n < ARRAY_LEN(expected); n++)
		if (!strstr(text, expected[n]))
			fail_msg("no '%s' in:\n%s", expected[n], text);
	free(text);
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
