/*
 * One instruction across two pages, run often and then changed: its bytes on either page, the frame of either page, with every way to
 * forget a translation (SDM 3A 4.10.4, 8.1.3), and a second page that is missing or not to be executed (SDM 3A 4.7).
 */
#include "lib/lm.h"

#define PAGE  4096u
#define WARM  100u
#define IMM   5u /* mov eax, imm32 */
#define FIRST TEST_VA
#define NEXT  (TEST_VA + PAGE)

static u8 *low, *high, *other; /* low and high follow each other in memory; other lies behind */
static unsigned head;          /* bytes of the instruction on the first page */
static bool by_jump;           /* enter by a jump within the page, not by what lies before */

static void map(u64 va, const u8 *page, u64 flags)
{
	*pt_entry(va, 1) = page ? (u64)page | PTE_P | PTE_W | flags : 0;
}

/* nop; jmp over a nop; then mov eax, value; ret in pages a and b. */
static void put(u8 *a, u8 *b, u32 value)
{
	const u8 code[] = { 0x90,
			    0xeb,
			    (u8)(by_jump ? 1 : 0),
			    0x90,
			    0xb8,
			    (u8)value,
			    (u8)(value >> 8),
			    (u8)(value >> 16),
			    (u8)(value >> 24),
			    0xc3 };

	for (unsigned n = 0; n < sizeof(code); n++) {
		unsigned before = sizeof(code) - 6 + head;

		if (n < before)
			((volatile u8 *)a)[PAGE - before + n] = code[n];
		else
			((volatile u8 *)b)[n - before] = code[n];
	}
}

static u32 call(void)
{
	u32 value;

	__asm__ volatile("call *%1" : "=a"(value) : "r"(NEXT - head - 4) : "memory");
	return value;
}

static bool warm(u32 value)
{
	bool same = true;

	for (unsigned n = 0; n < WARM; n++)
		same &= call() == value;
	return same;
}

/* The bits of the immediate that lie on the first page. */
static u32 low_mask(void) { return (u32)((1ull << 8 * (head - 1)) - 1); }

static void fresh(void)
{
	map(FIRST, low, 0);
	map(NEXT, high, 0);
	put(low, high, 0x11223344);
	flush_tlb();
}

static void patched(void)
{
	fresh();
	tap_equal(warm(0x11223344), true, "SDM 1 6.4.1 code that lies across two pages");
	for (unsigned n = 1; n < IMM; n++) {
		u8 *at = (n < head ? low + PAGE - head : high - head) + n;
		u32 shift = 8 * (n - 1);

		*(volatile u8 *)at = 0x55;
		tap_equal(call(), (0x11223344 & ~(0xffu << shift)) | 0x55u << shift,
			  "SDM 3A 8.1.3 a byte of an instruction across two pages is patched");
		fresh();
		warm(0x11223344);
	}
}

static void forget_page(void) { invlpg(NEXT); }
static void forget_cr3(void) { flush_tlb(); }

static void forget_all(void)
{
	u64 cr4 = read_cr4();

	write_cr4(cr4 ^ CR4_PGE);
	write_cr4(cr4);
}

static void remapped(u64 first_flags, u64 next_flags, void (*forget)(void))
{
	fresh();
	put(low, other, 0xaabbccdd);
	put(low, high, 0x11223344);
	map(FIRST, low, first_flags);
	map(NEXT, high, next_flags);
	forget_all();
	warm(0x11223344);
	map(NEXT, other, next_flags);
	forget();
	tap_equal(warm((0x11223344 & low_mask()) | (0xaabbccdd & ~low_mask())), true,
		  "SDM 3A 4.10.4 the page under the second half is exchanged");
	map(NEXT, high, next_flags);
	forget();
	tap_equal(warm(0x11223344), true, "SDM 3A 4.10.4 and comes back");
	forget_all();
}

static void first_remapped(void)
{
	fresh();
	warm(0x11223344);
	put(other, high, 0x55667788);
	put(low, high, 0x11223344);
	map(FIRST, other, 0);
	invlpg(FIRST);

	tap_equal(warm((0x55667788 & low_mask()) | (0x11223344 & ~low_mask())), true,
		  "SDM 3A 4.10.4 the page under the first half is exchanged");
}

/* Runs the instruction after the second page's entry has become this one. */
static struct try with_next(u64 entry)
{
	struct try t = try_new(K64);

	fresh();
	warm(0x11223344);
	*pt_entry(NEXT, 1) = entry;
	invlpg(NEXT);
	try_run(&t, (const void *)(NEXT - head - 4));
	return t;
}

static void forbidden(u64 entry, u64 error, const char *rule)
{
	struct try t = with_next(entry);

	check(&t,
	      t.out.vector == PF && t.out.error == error && t.cr2 == NEXT &&
		      t.out.rip == NEXT - head,
	      rule);
}

/* Nothing answers there: all bytes read as FFh, which is no instruction. */
#define NOWHERE 0xb0000000ull

static void no_memory(void)
{
	struct try t = with_next(NOWHERE | PTE_P);

	check(&t,
	      t.out.vector == UD && t.out.rax == ((0x11223344 & low_mask()) | (u32)~low_mask()) &&
		      t.out.rip == NEXT - head + IMM,
	      "SDM 3A 4.10.4 the second half comes to lie where there is no memory");
}

/* xor [itself], al: what it changes is where the next one goes. */
static void changes_itself(void)
{
	static const u8 code[] = { 0x30, 0x05, 0xfc, 0xff, 0xff, 0xff, 0xc3 };
	u8 *at = high - head;

	fresh();
	for (unsigned n = 0; n < sizeof(code); n++)
		((volatile u8 *)at)[n] = code[n];
	for (unsigned n = 0; n < WARM + 2; n++) {
		u32 al = n < WARM ? 0 : n == WARM ? 1 : 0x10;

		__asm__ volatile("call *%1" : "+a"(al) : "r"(NEXT - head) : "memory");
	}
	tap_equal((u64)((volatile u8 *)at)[2] << 8 | ((volatile u8 *)at)[3], 0xfdef,
		  "SDM 3A 8.1.3 an instruction across two pages changes itself");
}

void lm_main(void)
{
	low = page_alloc();
	high = page_alloc();
	other = page_alloc();
	tap_equal((u64)high, (u64)low + PAGE, "(the pool is contiguous)");
	for (unsigned jump = 0; jump < 2; jump++)
		for (head = 1; head < IMM; head++) {
			by_jump = jump;
			patched();
			remapped(0, 0, forget_page);
			remapped(0, 0, forget_cr3);
			remapped(PTE_G, 0, forget_page);
			remapped(PTE_G, PTE_G, forget_page);
			write_cr4(read_cr4() | CR4_PGE);
			remapped(PTE_G, 0, forget_cr3);
			remapped(PTE_G, PTE_G, forget_page);
			write_cr4(read_cr4() & ~CR4_PGE);
			first_remapped();
			forbidden(0, PF_I, "SDM 3A 4.7 the second page is missing");
			forbidden((u64)high | PTE_P | PTE_XD, PF_P | PF_I,
				  "SDM 3A 4.6 the second page is not to be executed");
			no_memory();
			changes_itself();
		}
}
