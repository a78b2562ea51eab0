/*
 * Code that runs once, twice, and often, after so much other code that an engine which keeps translations has had to drop some: it may
 * treat such code otherwise. Straight code that runs on into the next page, faults in the middle, code that patches what follows it,
 * an interrupt shadow (SDM 3A 4.7, 6.5, 6.8.3, 8.1.3).
 */
#include "lib/lm.h"

#define PAGE  4096u
#define CROWD 150000u
#define RUNS  12u

static u8 *crowd; /* CROWD times mov eax, N; ret */

static u32 call(u64 va)
{
	u32 value = 0;

	__asm__ volatile("call *%1" : "+a"(value) : "r"(va) : "rcx", "rdx", "memory");
	return value;
}

static void fill(void)
{
	u32 sum = 0, expected = 0;

	crowd = page_alloc();
	for (unsigned n = 0; n < CROWD * 8 / PAGE; n++)
		(void)page_alloc(); /* the pool is contiguous */
	for (u32 n = 0; n < CROWD; n++) {
		u8 *at = crowd + n * 8;

		at[0] = 0xb8;
		at[1] = (u8)n;
		at[2] = (u8)(n >> 8);
		at[3] = (u8)(n >> 16);
		at[4] = (u8)(n >> 24);
		at[5] = 0xc3;
	}
	for (u32 n = 0; n < CROWD; n++) {
		sum += call((u64)(crowd + n * 8));
		expected += n;
	}
	tap_equal(sum, expected, "SDM 1 6.4.1 many small procedures");
}

static void put(u8 *page, unsigned at, const u8 *code, unsigned size)
{
	for (unsigned n = 0; n < size; n++)
		((volatile u8 *)page)[at + n] = code[n];
}

/* add eax, 1 without end on the page before; add eax, 2; ret on the next one in the guest's code, add eax, 4; ret on the next in memory. */
static void page_end(void)
{
	static const u8 one[] = { 0x83, 0xc0, 1 }, two[] = { 0x83, 0xc0, 2, 0xc3 },
			four[] = { 0x83, 0xc0, 4, 0xc3 };
	u8 *first = page_alloc(), *wrong = page_alloc(), *second = page_alloc();

	put(wrong, 0, four, sizeof(four));
	put(second, 0, two, sizeof(two));
	for (unsigned n = 1; n <= 40; n++)
		put(first, PAGE - 3 * n, one, sizeof(one));
	*pt_entry(TEST_VA, 1) = (u64)first | PTE_P | PTE_W;
	*pt_entry(TEST_VA + PAGE, 1) = (u64)second | PTE_P | PTE_W;
	flush_tlb();
	for (unsigned n = 1; n <= 40; n++)
		for (unsigned run = 0; run < RUNS; run++)
			tap_equal(
				call(TEST_VA + PAGE - 3 * n), n + 2,
				"SDM 3A 4.1 straight code goes on in the page that is mapped next");
}

/* inc eax; mov ecx, [rdx]; inc eax. */
static void fault(void)
{
	static const u8 code[] = { 0xff, 0xc0, 0x8b, 0x0a, 0xff, 0xc0, 0xcd, 0x81 };
	u8 *page = page_alloc();

	for (unsigned at = 0; at < 64; at += 16) {
		put(page, at, code, sizeof(code));
		for (unsigned run = 0; run < RUNS; run++) {
			struct try t = try_new(K64);

			t.rdx = run % 3 == 2 ? (u64)page : NONCANON;
			try_run(&t, page + at);
			check(&t,
			      run % 3 == 2 ? t.out.vector == DONE && t.out.rax == 2
					   : t.out.vector == GP && t.out.rax == 1 &&
						     t.out.rip == (u64)page + at + 2,
			      "SDM 3A 6.5 a fault in straight code: what is before it is done, RIP is its own");
		}
	}
}

/* mov [rip + 1], cl; mov al, imm8: the immediate is what was stored. */
static void patch(void)
{
	static const u8 code[] = { 0x31, 0xc0, 0x88, 0x0d, 1, 0, 0, 0, 0xb0, 0, 0xc3 };
	u8 *page = page_alloc();

	for (unsigned at = 0; at < 64; at += 16) {
		put(page, at, code, sizeof(code));
		for (unsigned run = 1; run < RUNS; run++) {
			u32 value;

			__asm__ volatile("call *%1"
					 : "=a"(value)
					 : "r"(page + at), "c"(run)
					 : "memory");
			tap_equal(value, run, "SDM 3A 8.1.3 code that patches what follows it");
		}
	}
}

/* pushfq; sti; inc eax; cli; inc eax; popfq; ret. */
static void shadow(void)
{
	static const u8 code[] = { 0x9c, 0xfb, 0xff, 0xc0, 0xfa, 0xff, 0xc0, 0x9d, 0xc3 };
	u8 *page = page_alloc();

	for (unsigned at = 0; at < 64; at += 16) {
		put(page, at, code, sizeof(code));
		for (unsigned run = 0; run < RUNS; run++)
			tap_equal(call((u64)(page + at)), 2,
				  "SDM 3A 6.8.3 STI and what follows it");
	}
}

void lm_main(void)
{
	fill();
	page_end();
	fault();
	patch();
	shadow();
}
