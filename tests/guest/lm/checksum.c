/*
 * Code read as data is the code that the guest put there, SDM 3A 11.6 and 3.2.1: before it runs,
 * while it runs hot and after, by every kind of read, at every offset, through every mapping.
 */
#include "code.h"
#include "lib/lm.h"

#define TEXT_START 0x200000u
#define USER_START 0x400000u
#define USER_SIZE  4096u
#define ALIAS      (TEST_VA + 0x100000)
#define ROUNDS     300

extern u8 text_end[];

static struct try t;
static u8 *copy, *user_copy; /* of the text and of the snippets, made before any loop */
static u32 text_size;

/* Rotate and add: the snippets below compute the same. */
static u32 sum_bytes(const volatile u8 *at, u32 size)
{
	u32 sum = 0;

	while (size--)
		sum = (sum << 5 | sum >> 27) + *at++;
	return sum;
}

static u64 compose(const u8 *from, unsigned size)
{
	u64 value = 0;

	while (size--)
		value = value << 8 | from[size];
	return value;
}

/* The number of places where a read of some width differs from the copy. */
static u32 differences(const u8 *at, const u8 *original, u32 size)
{
	u32 bad = 0;

	for (u32 i = 0; i + 8 <= size; i++) {
		bad += *(volatile u8 *)(at + i) != original[i];
		bad += *(volatile u16 *)(at + i) != compose(original + i, 2);
		bad += *(volatile u32 *)(at + i) != compose(original + i, 4);
		bad += *(volatile u64 *)(at + i) != compose(original + i, 8);
	}
	return bad;
}

/* --- Hot functions -------------------------------------------------------------------------------- */

#define HOT(n, expression)                                        \
	static __attribute__((noinline)) u32 hot##n(u32 a, u32 b) \
	{                                                         \
		for (u32 i = 0; i < (b & 15); i++)                \
			a = expression;                           \
		return a;                                         \
	}
HOT(0, a * 3 + b)
HOT(1, (a ^ b) + i)
HOT(2, a + (a >> 3) + b)
HOT(3, (a << 7 | a >> 25) ^ b)
HOT(4, a - b * i)
HOT(5, a & 1 ? a >> 1 ^ 0xedb88320 : a >> 1)

static u32 (*const functions[])(u32, u32) = { hot0, hot1, hot2, hot3, hot4, hot5 };

static u32 run_hot(u32 times)
{
	struct prng r = { 0x1234567 };
	u32 value = 1;

	while (times--)
		value = functions[prng_below(&r, 6)](value, prng_next(&r));
	return value;
}

static void text(void)
{
	const u8 *at = (const u8 *)(u64)TEXT_START;
	u32 before = sum_bytes(at, text_size), changed = 0, value;

	tap_equal(before, sum_bytes(copy, text_size), "SDM 3A 11.6 the text before it runs hot");
	value = run_hot(20000);
	for (unsigned i = 0; i < 20; i++) {
		changed += run_hot(20000) != value;
		changed += sum_bytes(at, text_size) != before;
	}
	tap_equal(changed, 0, "SDM 3A 11.6 the text and its results while functions run hot");
	tap_equal(differences(at, copy, text_size), 0,
		  "SDM 3A 11.6 the text after that: every offset, 1, 2, 4 and 8 bytes");
	for (u32 page = 0; page < text_size; page += 4096) {
		*pt_entry(ALIAS + page, 1) = (TEXT_START + page) | PTE_P | PTE_W;
		invlpg(ALIAS + page);
	}
	tap_equal(differences((const u8 *)ALIAS, copy, text_size), 0,
		  "SDM 3A 11.6 the text through another linear address");
}

/* --- Code that reads itself ----------------------------------------------------------------------- */

/* Run a snippet ROUNDS times with RSI at itself; count the runs that end with another EDX. */
static void self(enum mode m, const u8 *code, const u8 *reads, u32 size, u32 wanted,
		 const char *rule)
{
	u32 bad = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		t = try_new(m);
		t.rsi = (u64)reads;
		t.rcx = size;
		try_run(&t, code);
		bad += t.out.vector != DONE || (u32)t.out.rdx != wanted;
	}
	if (!check(&t, !bad, rule))
		tap_note("sum", t.out.rdx, wanted);
}

static u32 sum_words(const u8 *at, u32 size)
{
	u32 sum = 0;

	for (u32 i = 0; i < size; i++)
		sum = (sum << 5 | sum >> 27) + (u32)compose(at + i, 4);
	return sum;
}

static void reads_itself(void)
{
	const u8 *wide = CODE("1: movzx eax, byte ptr [rsi]; rol edx, 5; add edx, eax; inc rsi;"
			      "dec ecx; jnz 1b");
	const u8 *narrow = CODE32("1: movzx eax, byte ptr [esi]; rol edx, 5; add edx, eax; inc esi;"
				  "dec ecx; jnz 1b");
	const u8 *words = CODE("1: rol edx, 5; add edx, [rsi]; inc rsi; dec ecx; jnz 1b");
	const u8 *string =
		CODE("1: rol edx, 5; lodsb; movzx eax, al; add edx, eax; dec ecx; jnz 1b");
	const u8 *calls =
		CODE("lea rdi, [rip + 2f]; 1: call rdi; dec ecx; jnz 1b; jmp 3f;"
		     "2: movzx eax, byte ptr [rsi]; rol edx, 5; add edx, eax; inc rsi; ret; 3:");
	/* Each pass pops 8 bytes of the code that runs. */
	const u8 *pops = CODE("mov rbx, rsp; mov rsp, rsi; 1: pop rax; rol edx, 5; add edx, eax;"
			      "dec ecx; jnz 1b; mov rsp, rbx");
	u32 sum = sum_bytes(user_copy, 1024), pop_sum = 0;
	const u8 *start = (const u8 *)(u64)USER_START;

	for (u32 i = 0; i < 128; i++)
		pop_sum = (pop_sum << 5 | pop_sum >> 27) + (u32)compose(user_copy + 8 * i, 4);
	self(K64, wide, start, 1024, sum, "SDM 3A 11.6 a loop that sums its page, 64-bit, CPL 0");
	self(U64, wide, start, 1024, sum, "SDM 3A 11.6 a loop that sums its page, 64-bit, CPL 3");
	self(K32, narrow, start, 1024, sum, "SDM 3A 11.6 a loop that sums its page, 32-bit, CPL 0");
	self(U32, narrow, start, 1024, sum, "SDM 3A 11.6 a loop that sums its page, 32-bit, CPL 3");
	self(U64, words, start, 1024, sum_words(user_copy, 1024),
	     "SDM 3A 11.6 four bytes at each offset of the page that runs");
	self(U64, string, start, 1024, sum, "SDM 3A 11.6 LODSB through the page that runs");
	self(U64, calls, start, 1024, sum,
	     "SDM 3A 11.6 a function called through a pointer that sums its page");
	self(U64, pops, start, 128, pop_sum, "SDM 3A 11.6 POP from the page that runs");

	*pt_entry(ALIAS, 1) = USER_START | PTE_P | PTE_W | PTE_U;
	invlpg(ALIAS);
	self(U64, wide, (const u8 *)ALIAS, 1024, sum,
	     "SDM 3A 11.6 a loop that sums itself through another linear address");
	self(U64, (const u8 *)ALIAS + (wide - start), start, 1024, sum,
	     "SDM 3A 11.6 the loop at another linear address sums the first one");
	self(U64, (const u8 *)ALIAS + (calls - start), (const u8 *)ALIAS, 1024, sum,
	     "SDM 3A 11.6 a function at another linear address sums itself there");
}

/* --- Other ways to read, and writes that change nothing ------------------------------------------- */

static void other_reads(u8 *page)
{
	static u8 buffer[512] __attribute__((aligned(16)));
	struct emit e = { page };
	u32 bad = 0, equal, crc;
	u8 original[64];

	/* mov eax, 0; a little loop; ret */
	emit_load(&e, 0);
	emit8(&e, 0xb9);
	emit32(&e, 20);
	emit8(&e, 0x01); /* add eax, ecx */
	emit8(&e, 0xc8);
	emit8(&e, 0xff); /* dec ecx */
	emit8(&e, 0xc9);
	emit8(&e, 0x75);
	emit8(&e, 0xfa);
	emit_ret(&e);
	for (unsigned i = 0; i < 64; i++)
		original[i] = page[i];
	for (unsigned n = 0; n < 2000; n++) {
		const void *from = page, *with = original;
		void *to = buffer;
		u64 count = 64, old = *(volatile u64 *)page, same = old;

		bad += code_call(page) != 210;
		__asm__ volatile("repe cmpsb; sete %b0"
				 : "=a"(equal), "+S"(from), "+D"(with), "+c"(count)
				 :
				 : "memory", "cc");
		bad += !(equal & 1);
		from = page;
		count = 8;
		__asm__ volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
		bad += sum_bytes(buffer, 64) != sum_bytes(original, 64);
		__asm__ volatile("movups (%0), %%xmm0; movups %%xmm0, (%1)"
				 :
				 : "r"(page + (n & 31)), "r"(buffer)
				 : "memory");
		bad += sum_bytes(buffer, 16) != sum_bytes(original + (n & 31), 16);
		__asm__ volatile("fildll (%0); fistpll (%1)" : : "r"(page), "r"(buffer) : "memory");
		bad += *(volatile u64 *)buffer != compose(original, 8);
		/* Writes of what is there already. */
		__asm__ volatile("lock cmpxchgq %1, (%2)"
				 : "+a"(same)
				 : "r"(old), "r"(page)
				 : "memory", "cc");
		__asm__ volatile("lock orb $0, 9(%0); addb $0, 3(%0)"
				 :
				 : "r"(page)
				 : "memory", "cc");
		bad += same != old;
	}
	tap_equal(bad, 0, "SDM 3A 11.6 CMPS, MOVS, SSE and x87 reads of a function that runs hot");
	if (cpuid_ecx(1, 0) >> 20 & 1) {
		u32 first = 0;

		bad = 0;
		for (unsigned n = 0; n < 2000; n++) {
			crc = 0;
			for (unsigned i = 0; i < 8; i++)
				__asm__ volatile("crc32l (%1), %0"
						 : "+r"(crc)
						 : "r"(page + i)
						 : "memory");
			first = n ? first : crc;
			bad += crc != first || code_call(page) != 210;
		}
		tap_equal(bad, 0, "SDM 2A CRC32 of a function that runs hot");
	}
}

/* A guest that changes its code sees the change, and that alone. */
static void changes(u8 *page)
{
	struct emit e = { page + 100 };
	u32 bad = 0, before = sum_bytes(page, 4096), at;
	struct prng r = { 99 };

	emit_load(&e, 5);
	emit_ret(&e);
	for (unsigned n = 0; n < 3000; n++) {
		u32 value = prng_next(&r);

		put32(page + 101, value);
		bad += (u32)code_call(page + 100) != value;
		for (unsigned i = 0; i < 4; i++)
			bad += page[101 + i] != (u8)(value >> 8 * i);
		bad += page[100] != 0xb8 || page[105] != 0xc3 ||
		       *(volatile u16 *)(page + 105) != 0xc3;
	}
	for (at = 100; at < 106; at++)
		put8(page + at, 0);
	tap_equal(bad, 0, "SDM 3A 11.6 a store into code is read back");
	tap_equal(sum_bytes(page, 4096), before,
		  "SDM 3A 11.6 a page with its code taken out again");
}

/* Running a page is no write to it: SDM 3A 4.8. */
static void dirty(u8 *page)
{
	u64 *pte = pt_entry(ALIAS, 1);
	u32 bad = 0;

	*pte = (u64)page | PTE_P | PTE_W;
	invlpg(ALIAS);
	for (unsigned n = 0; n < 20000; n++)
		bad += code_call((void *)ALIAS) != 210;
	tap_equal(bad, 0, "SDM 3A 4.8 a hot function at another linear address");
	tap_equal(*pte & (PTE_A | PTE_D), PTE_A, "SDM 3A 4.8 fetches set A and never D");
}

void lm_main(void)
{
	u8 *page;

	write_cr4(read_cr4() | CR4_OSFXSR);
	write_cr0(read_cr0() & ~CR0_EM);
	__asm__ volatile("fninit");
	text_size = (u32)(u64)text_end - TEXT_START;
	copy = page_alloc();
	for (u32 size = 4096; size < text_size; size += 4096)
		(void)page_alloc();
	user_copy = page_alloc();
	page = page_alloc();
	for (u32 i = 0; i < text_size; i++)
		copy[i] = *(volatile u8 *)(u64)(TEXT_START + i);
	for (u32 i = 0; i < USER_SIZE; i++)
		user_copy[i] = *(volatile u8 *)(u64)(USER_START + i);
	text();
	reads_itself();
	other_reads(page);
	changes(page);
	dirty(page);
	tap_equal(differences((const u8 *)(u64)TEXT_START, copy, text_size), 0,
		  "SDM 3A 11.6 the text at the end");
	tap_equal(differences((const u8 *)(u64)USER_START, user_copy, 1024), 0,
		  "SDM 3A 11.6 the snippets at the end");
}
