/*
 * A guest that goes on writing new code and running it, as a JIT compiler does, for as many
 * generations as its command line says: what the monitor keeps of it must not grow with their
 * number. Each generation overwrites all functions of the one before.
 */
#include "code.h"
#include "lib/lm.h"

#define FUNCTIONS   16384u
#define SPACING     32u
#define GENERATIONS 4u
#define MOST        1000000u

static u8 arena[FUNCTIONS * SPACING] __attribute__((aligned(4096)));

/* The number that the command line ends with: multiboot information, flag 2. */
static u32 generations(void)
{
	const u32 *info = (const u32 *)(u64)mb_info;
	const char *p = info[0] & 4 ? (const char *)(u64)info[4] : "";
	u32 n = 0;

	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			n = 0;
		else if (n < MOST)
			n = n * 10 + (u32)(*p - '0');
	}
	return n ? n : GENERATIONS;
}

/* mov eax, value; add eax, extra; with a jump over a few bytes now and then; ret */
static void make(u8 *at, u32 value, u32 extra)
{
	struct emit e = { at };

	emit_load(&e, value);
	if (extra & 1) {
		emit8(&e, 0xeb);
		emit8(&e, (u8)(extra & 7));
		e.at += extra & 7;
	}
	emit8(&e, 0x05);
	emit32(&e, extra);
	emit_ret(&e);
}

void lm_main(void)
{
	struct prng prng = { 0x2545f4914f6cdd1d };
	struct patches p = { 0 };
	u32 count = generations();

	for (u32 n = 0; n < count; n++) {
		u64 first = prng.state;

		for (u32 k = 0; k < FUNCTIONS; k++) {
			u32 value = prng_next(&prng);

			make(arena + k * SPACING, value, prng_next(&prng));
		}
		prng.state = first;
		for (u32 k = 0; k < FUNCTIONS; k++) {
			u32 value = prng_next(&prng);

			patches_saw(&p, code_call(arena + k * SPACING),
				    (u32)(value + prng_next(&prng)));
		}
		tap_puts("# generation ");
		tap_put_dec(n + 1);
		tap_putc('\n');
	}
	patches_report(&p, "SDM 3A 8.1.3 code that is written anew each generation");
}
