/*
 * Several accesses through one register, across the border of two pages whose frames are in the opposite order, and where the
 * second page is missing or may not be written: each access goes to its own page and faults for itself (SDM 3A 4.7).
 */
#include "lib/lm.h"

#define AREA 0x0000600000000000ull /* two pages */

static u8 *low, *high; /* the frames */

static u64 *word(u64 a) { return (u64 *)((a - AREA < 4096 ? low : high) + (a & 0xfff)); }

static void map(u64 second)
{
	*pt_entry(AREA, 1) = (u64)low | PTE_P | PTE_W | PTE_U;
	*pt_entry(AREA + 4096, 1) = second;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

static void fill(u64 seed)
{
	for (unsigned n = 0; n < 512; n++) {
		((u64 *)low)[n] = seed + n;
		((u64 *)high)[n] = seed + 0x1000 + n;
	}
}

static void structure(u64 a)
{
	struct try t = try_new(U64);
	u64 first, second;

	fill(a);
	first = *word(a);
	second = *word(a + 8);
	/* Also as code of the guest's own, which lies in a page that is not written. */
	__asm__ volatile(
		"mov (%0), %%rax; mov 8(%0), %%rcx; add $16, %0; mov %%rcx, (%0); mov %%rax, 8(%0)"
		: "+b"(a)
		:
		: "rax", "rcx", "memory");
	a -= 16;
	check(&t, *word(a + 16) == second && *word(a + 24) == first,
	      "SDM 1 3.7.5 straight code through one register goes each to its page");
	t.rbx = a;
	try_run(&t,
		CODE("mov rax, [rbx]; mov rcx, [rbx + 8]; add rbx, 16; mov [rbx], rax; mov [rbx + 8], rcx"));
	check(&t,
	      t.out.vector == DONE && t.out.rax == first && t.out.rcx == second &&
		      *word(a + 16) == first && *word(a + 24) == second,
	      "SDM 1 3.7.5 loads and stores near each other go each to its page");
}

static void stack(u64 a)
{
	struct try t = try_new(U64);

	fill(a);
	t.rsp = a + 32;
	t.rax = 1;
	t.rbx = 2;
	try_run(&t,
		CODE("push rax; push rbx; sub rsp, 8; mov [rsp], rbx; push rax; pop rcx; pop rdx; pop rbx; pop rax"));
	check(&t,
	      t.out.vector == DONE && t.out.rcx == 1 && t.out.rdx == 2 && t.out.rbx == 2 &&
		      t.out.rax == 1 && *word(a + 24) == 1 && *word(a + 16) == 2 &&
		      *word(a + 8) == 2 && *word(a) == 1,
	      "SDM 1 6.2 a stack frame lies on two pages");
}

static void missing(u64 a)
{
	struct try t = try_new(U64);
	u64 first;

	fill(a);
	first = *word(a);
	t.rbx = a;
	t.rcx = 3;
	try_run(&t, CODE("mov rax, [rbx]; mov [rbx + 8], rcx; mov [rbx + 16], rcx"));
	check(&t, t.out.rax == first || a >= AREA + 4096,
	      "SDM 3A 4.7 what is before the fault is done");
	check(&t, (t.out.vector == PF) == (a + 24 > AREA + 4096),
	      "SDM 3A 4.7 only an access to the page faults");
}

void lm_main(void)
{
	low = page_alloc();
	high = page_alloc();
	if (low < high) {
		u8 *other = low;

		low = high;
		high = other;
	}
	for (u64 pass = 0; pass < 3; pass++)
		for (u64 a = AREA + 4096 - 64; a <= AREA + 4096; a += 8) {
			map(pass ? (u64)high | PTE_P | PTE_W | PTE_U : 0);
			if (!pass) {
				missing(a);
				continue;
			}
			structure(a);
			stack(a);
			map((u64)high | PTE_P | PTE_U);
			missing(a);
		}
}
