/*
 * Cross-modifying code, SDM 3A 8.1.3: the second CPU changes code that the first one runs. With
 * the protocol of 8.1.3 (write, signal, serialize, run) only the new code may run; without it, an
 * aligned store within an instruction leaves the old or the new one and never anything else.
 */
#include "code.h"
#include "lib/lm.h"

static struct prng prng = { 0x2545f4914f6cdd1d };
static unsigned total_made, total_stale;

static u32 below(u32 n) { return prng_below(&prng, n); }

static void report(const struct patches *p, const char *rule)
{
	patches_report(p, rule);
	total_made += p->made;
	total_stale += p->stale;
}

/* What the first CPU asks the second one to do; `done` follows `asked`. */
static struct {
	u8 *volatile at;
	volatile u64 value;
	volatile u32 size, asked, done;
} job;
static volatile bool stop;

static void serve(void *arg)
{
	(void)arg;
	while (!stop) {
		u8 *at = job.at;
		u64 value = job.value;

		if (job.asked == job.done) {
			pause();
			continue;
		}
		switch (job.size) {
		case 1: put8(at, (u8)value); break;
		case 2: put16(at, (u16)value); break;
		case 4: put32(at, (u32)value); break;
		default: __asm__ volatile("movq %1, (%0)" : : "r"(at), "r"(value) : "memory");
		}
		job.done = job.asked;
	}
}

/* Have the second CPU store, wait for its signal, and serialize. */
static bool patch(u8 *at, u64 value, u32 size)
{
	job.at = at;
	job.value = value;
	job.size = size;
	job.asked++;
	for (u32 spins = 0; job.done != job.asked; spins++) {
		if (spins == 100000000)
			return false;
		pause();
	}
	(void)cpuid(0, 0);
	return true;
}

static bool begin(void (*fn)(void *))
{
	stop = false;
	ap_call(fn, 0);
	return true;
}

static void end(const char *rule)
{
	stop = true;
	if (!ap_wait())
		tap_check(false, rule);
}

/* mov rax, imm64; ret all over three pages, across their ends, too. */
static void protocol(u8 *area)
{
	struct patches p = { 0 };
	u8 *at[24];
	u64 value[24];

	for (unsigned i = 0; i < 24; i++) {
		struct emit e = { at[i] = area + 500 * i + below(480) };

		value[i] = 0;
		emit8(&e, 0x48);
		emit_load(&e, 0);
		emit32(&e, 0);
		emit_ret(&e);
	}
	begin(serve);
	for (unsigned n = 0; n < 6000; n++) {
		unsigned i = below(24), size = 1u << below(4), offset = below(9 - size);
		u64 bytes = (u64)prng_next(&prng) << 32 | prng_next(&prng);
		u64 mask = (size == 8 ? ~0ull : (1ull << 8 * size) - 1) << 8 * offset;

		if (below(256) == 0)
			for (unsigned k = 0; k < 300; k++)
				code_call(at[i]);
		value[i] = (value[i] & ~mask) | (bytes << 8 * offset & mask);
		patches_saw(&p, patch(at[i] + 2 + offset, bytes, size) ? code_call(at[i]) : 0,
			    value[i]);
	}
	end("the second CPU serves");
	report(&p,
	       "SDM 3A 8.1.3 the second CPU writes, signals; the first one serializes and runs");
}

/* The second CPU counts in an immediate: the upper half of each value is the lower one inverted. */
static u8 *volatile target;
static volatile u32 writes;

static void count_up(void *arg)
{
	u16 n = 0;

	(void)arg;
	while (!stop) {
		n++;
		put32(target, (u32)(u16)~n << 16 | n);
		writes++;
	}
}

static void old_or_new(u8 *page)
{
	struct patches p = { 0 };
	struct emit e = { page + 63 }; /* the immediate is aligned */
	u32 changes = 0, last = 0;

	emit_load(&e, 0xffff0000);
	emit_ret(&e);
	target = page + 64;
	writes = 0;
	begin(count_up);
	for (u32 n = 0; n < 2000000 && (n < 200000 || changes < 20); n++) {
		u32 seen = (u32)code_call(page + 63);

		if ((seen >> 16 ^ 0xffff) != (seen & 0xffff))
			patches_saw(&p, seen, (u32) ~(seen << 16 & 0xffff0000) | (seen & 0xffff));
		changes += seen != last;
		last = seen;
	}
	end("the second CPU counts");
	p.made = writes;
	tap_check(changes >= 20, "SDM 3A 8.1.3 stores of the other CPU become visible");
	report(&p, "SDM 3A 8.1.3 an immediate that the second CPU changes: old or new, never torn");
}

/* The second CPU makes dec ecx; jz out; jmp back leave its loop by one byte, with no signal. */
static void release(void *arg)
{
	(void)arg;
	pit_wait(PIT_MS * 2);
	put8(target, 0);
}

static void escape(u8 *page)
{
	struct patches p = { 0 };
	u32 left;

	for (unsigned n = 0; n < 10; n++) {
		struct emit e = { page + 128 };

		emit8(&e, 0xb9); /* mov ecx, 2^30 */
		emit32(&e, 1u << 30);
		emit8(&e, 0xff); /* dec ecx */
		emit8(&e, 0xc9);
		emit8(&e, 0x74); /* jz to the end */
		emit8(&e, 2);
		emit8(&e, 0xeb); /* jmp to dec ecx; the second CPU makes it a jump to the end */
		emit8(&e, 0xfa);
		emit8(&e, 0x89); /* mov eax, ecx */
		emit8(&e, 0xc8);
		emit_ret(&e);
		target = page + 128 + 10;
		ap_call(release, 0);
		left = (u32)code_call(page + 128);
		patches_saw(&p, left != 0, 1);
		ap_wait();
	}
	report(&p, "SDM 3A 8.1.3 a loop that the second CPU patches ends");
}

/* --- INT3, tail, head, with both CPUs in step after each ---------------------------------------- */

static volatile u32 acks;
static volatile u64 current; /* the values that the function may return: old, new and 3 */

static bool on_int3(struct frame *f)
{
	f->rax = 3;
	f->rip = *(u64 *)f->rsp;
	f->rsp += 8;
	return true;
}

static void in_step(void)
{
	u32 before = acks;

	for (u32 spins = 0; acks - before < 2 && spins < 100000000 && !stop; spins++)
		pause();
}

static volatile u32 rounds;

static void replace(void *arg)
{
	u32 value = 0x1000;

	(void)arg;
	while (!stop) {
		u32 next = value + 0x01010101;

		current = (u64)next << 32 | value;
		in_step();
		put8(target, 0xcc);
		in_step();
		put32(target + 1, next);
		in_step();
		put8(target, 0xb8);
		in_step();
		value = next;
		rounds++;
	}
}

static void alternatives(u8 *page)
{
	struct patches p = { 0 };
	struct emit e = { target = page + 333 };
	u8 *at = e.at;
	u32 traps = 0;

	handler[BP] = on_int3;
	emit_load(&e, 0x1000);
	emit_ret(&e);
	current = 0x1000;
	rounds = 0;
	begin(replace);
	for (u32 n = 0; n < 60000000 && rounds < 500; n++) {
		u64 before = current, after;
		u32 seen = (u32)code_call(at);

		after = current;
		traps += seen == 3;
		if (seen != 3 && seen != (u32)before && seen != (u32)(before >> 32) &&
		    seen != (u32)after && seen != (u32)(after >> 32))
			patches_saw(&p, seen, after);
		(void)cpuid(0, 0);
		acks++;
	}
	end("the second CPU replaces");
	handler[BP] = 0;
	p.made = 3 * rounds;
	tap_check(traps && rounds >= 500, "SDM 3A 8.1.3 INT3 of the other CPU is met");
	report(&p, "SDM 3A 8.1.3 INT3, tail, head by the second CPU: old, INT3 or new");
}

/* Both CPUs run one page of code that counts in the page itself. */
static u8 *volatile shared;

static void count_shared(void *arg)
{
	(void)arg;
	for (unsigned n = 0; n < 20000; n++)
		code_call(shared);
}

static void both_count(u8 *page)
{
	struct emit e = { page + 1000 };

	shared = e.at;
	put32(page + 1020, 0);
	emit8(&e, 0xf0); /* lock inc dword [rip + d] */
	emit8(&e, 0xff);
	emit8(&e, 0x05);
	emit32(&e, (u32)(page + 1020 - e.at - 4));
	emit_ret(&e);
	ap_call(count_shared, 0);
	count_shared(0);
	tap_check(ap_wait(), "the second CPU runs the shared page");
	tap_equal(*(volatile u32 *)(page + 1020), 40000,
		  "SDM 3A 8.1 two CPUs count by locked increments in the page of their code");
}

void lm_main(void)
{
	u8 *area = page_alloc(); /* the pool is contiguous */

	(void)page_alloc();
	(void)page_alloc();
	if (!ap_start()) {
		tap_skip("SDM 3A 8.1.3 cross-modifying code", "one processor");
		return;
	}
	protocol(area);
	old_or_new(area);
	escape(area);
	alternatives(area);
	both_count(area);
	tap_equal(total_stale, 0, "SDM 3A 8.1.3 no stale execution in all");
}
