/*
 * Self-modifying code, SDM 3A 8.1.3 and 11.6: what a store has changed is what runs next. Every
 * rule counts the runs that saw anything but the newest bytes. Stores through another linear
 * address than that of the code are followed by a serializing instruction, as 8.1.3 asks.
 */
#include "code.h"
#include "lib/lm.h"

#define PAGE 4096u

static struct prng prng = { 0x9e3779b97f4a7c15 };
static unsigned total_made, total_stale;

static u32 below(u32 n) { return prng_below(&prng, n); }
static u32 rnd(void) { return prng_next(&prng); }
static u64 rnd64(void) { return (u64)rnd() << 32 | rnd(); }
static void serialize(void) { (void)cpuid(0, 0); }

static void report(const struct patches *p, const char *rule)
{
	patches_report(p, rule);
	total_made += p->made;
	total_stale += p->stale;
}

/* --- A store, then the code -------------------------------------------------------------------- */

/* A function that returns a 64-bit immediate: 48 b8 imm64 c3. */
#define IMM64 2

static void emit_imm64(u8 *at, u64 value)
{
	struct emit e = { at };

	emit8(&e, 0x48);
	emit8(&e, 0xb8);
	emit32(&e, (u32)value);
	emit32(&e, (u32)(value >> 32));
	emit_ret(&e);
}

/* Change value the way that a store of `size` bytes of `bytes` at offset `at` changes memory. */
static u64 with_bytes(u64 value, unsigned at, unsigned size, u64 bytes)
{
	u64 mask = size == 8 ? ~0ull : ((1ull << 8 * size) - 1) << 8 * at;

	return (value & ~mask) | (bytes << 8 * at & mask);
}

static void store(u8 *at, unsigned size, u64 value)
{
	switch (size) {
	case 1: put8(at, (u8)value); break;
	case 2: put16(at, (u16)value); break;
	case 4: put32(at, (u32)value); break;
	default: __asm__ volatile("movq %1, (%0)" : : "r"(at), "r"(value) : "memory");
	}
}

/* Now and then a function becomes hot between two patches. */
static void warm(const u8 *code)
{
	if (below(256) == 0)
		for (unsigned i = 0; i < 300; i++)
			code_call(code);
}

/* Plain stores of one size at any place of the immediate, over functions all over a page. */
static void plain_stores(u8 *page, unsigned size, const char *rule)
{
	struct patches p = { 0 };
	u64 value[32];
	u8 *at[32];

	for (unsigned i = 0; i < 32; i++) {
		at[i] = page + i * 128 + below(100);
		emit_imm64(at[i], value[i] = rnd64());
	}
	for (unsigned n = 0; n < 6000; n++) {
		unsigned i = below(32), offset = below(9 - size);
		u64 bytes = rnd64();

		warm(at[i]);
		store(at[i] + IMM64 + offset, size, bytes);
		value[i] = with_bytes(value[i], offset, size, bytes);
		patches_saw(&p, code_call(at[i]), value[i]);
	}
	report(&p, rule);
}

static void image_imm64(u8 image[16], u64 value)
{
	for (unsigned i = 0; i < 16; i++)
		image[i] = 0x90;
	emit_imm64(image, value);
}

static void wide_stores(u8 *page)
{
	static u8 image[16] __attribute__((aligned(16)));
	static u8 fxsave[512] __attribute__((aligned(16)));
	struct patches sse = { 0 }, fx = { 0 }, movs = { 0 }, stos = { 0 };
	u8 *at = page;

	for (unsigned n = 0; n < 4000; n++) {
		u64 value = rnd64();

		at = page + 64 + below(3900);
		image_imm64(image, value);
		__asm__ volatile("movups (%1), %%xmm0; movups %%xmm0, (%0)"
				 :
				 : "r"(at), "r"(image)
				 : "memory");
		patches_saw(&sse, code_call(at), value);
	}
	report(&sse, "SDM 3A 8.1.3 a store of 16 bytes");
	for (unsigned n = 0; n < 2000; n++) {
		u64 value = rnd64();
		unsigned reg = below(2);

		/* SDM 1 table 10-2: XMM0 is at byte 160 of the image. */
		at = page + 16 * below((PAGE - 512) / 16);
		image_imm64(image, value);
		__asm__ volatile("fxsave (%0)" : : "r"(fxsave) : "memory");
		for (unsigned i = 0; i < 16; i++)
			fxsave[160 + 16 * reg + i] = image[i];
		__asm__ volatile("fxrstor (%0); fxsave (%1)" : : "r"(fxsave), "r"(at) : "memory");
		patches_saw(&fx, code_call(at + 160 + 16 * reg), value);
	}
	report(&fx, "SDM 3A 8.1.3 a store of 512 bytes by FXSAVE");
	for (unsigned n = 0; n < 3000; n++) {
		u64 value = rnd64(), size = n & 1 ? 4 : 11;
		void *from = image, *to;

		to = at = page + 64 + below(3900);
		image_imm64(image, value);
		if (n & 1) {
			__asm__ volatile("rep movsl"
					 : "+S"(from), "+D"(to), "+c"(size)
					 :
					 : "memory");
		} else {
			__asm__ volatile("rep movsb"
					 : "+S"(from), "+D"(to), "+c"(size)
					 :
					 : "memory");
		}
		patches_saw(&movs, code_call(at), value);
	}
	report(&movs, "SDM 3A 8.1.3 a REP MOVS over code");
	for (unsigned n = 0; n < 3000; n++) {
		u64 bytes = (rnd() & 0xff) * 0x0101010101010101, size = 8;
		void *to;

		if (n % 20 == 0)
			emit_imm64(at = page + 64 + below(3900), 0);
		to = at + IMM64;
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(bytes) : "memory");
		patches_saw(&stos, code_call(at), bytes);
	}
	report(&stos, "SDM 3A 8.1.3 a REP STOS over code");
}

/* One read-modify-write of 8 bytes. */
static void modify(void *at, unsigned kind, u64 value)
{
	u64 old = *(volatile u64 *)at;

	switch (kind) {
	case 0:
		__asm__ volatile("lock cmpxchgq %2, (%1)"
				 : "+a"(old)
				 : "r"(at), "r"(value)
				 : "memory", "cc");
		break;
	case 1:
		__asm__ volatile("cmpxchgl %k2, 2(%1)"
				 : "+a"(old)
				 : "r"(at), "r"(value)
				 : "memory", "cc");
		break;
	case 2:
		__asm__ volatile("lock xaddq %0, (%1)" : "+r"(value) : "r"(at) : "memory", "cc");
		break;
	case 3:
		__asm__ volatile("lock orl %k1, 1(%0)" : : "r"(at), "r"(value) : "memory", "cc");
		break;
	case 4: __asm__ volatile("andq %1, (%0)" : : "r"(at), "r"(value) : "memory", "cc"); break;
	case 5: __asm__ volatile("xchgw %w0, 5(%1)" : "+r"(value) : "r"(at) : "memory"); break;
	case 6:
		__asm__ volatile("lock btcq %1, (%0)"
				 :
				 : "r"(at), "r"(value & 63)
				 : "memory", "cc");
		break;
	case 7: __asm__ volatile("negq (%0)" : : "r"(at) : "memory", "cc"); break;
	case 8: __asm__ volatile("lock incb 3(%0)" : : "r"(at) : "memory", "cc"); break;
	case 9: __asm__ volatile("rolw $5, 6(%0)" : : "r"(at) : "memory", "cc"); break;
	case 10:
		__asm__ volatile("lock cmpxchg8b (%1)"
				 : "+a"(old)
				 : "r"(at), "b"((u32)value), "c"((u32)(value >> 32)),
				   "d"((u32)(old >> 32))
				 : "memory", "cc");
		break;
	default: __asm__ volatile("movnti %1, (%0)" : : "r"(at), "r"(value) : "memory");
	}
}

static void rmw_stores(u8 *page)
{
	struct patches p = { 0 };
	u64 shadow = 0;
	u8 *at = page;

	for (unsigned n = 0; n < 12000; n++) {
		unsigned kind = n % 12;
		u64 value = rnd64();

		if (n % 16 == 0)
			emit_imm64(at = page + below(4000), shadow = rnd64());
		warm(at);
		modify(at + IMM64, kind, value);
		modify(&shadow, kind, value);
		patches_saw(&p, code_call(at), shadow);
	}
	report(&p, "SDM 3A 8.1.3 locked and unlocked read-modify-writes of code");
}

/* A push, and the address that a call pushes, are stores, too. */
static void stack_stores(u8 *page)
{
	struct patches p = { 0 };

	for (unsigned n = 0; n < 3000; n++) {
		u8 *at = page + 64 + below(3900);
		u64 value = rnd64(), where = (u64)(at + IMM64 + 8);

		emit_imm64(at, 0);
		code_call(at);
		if (n & 1) {
			__asm__ volatile("movq %%rsp, %%rcx; movq %0, %%rsp; pushq %1;"
					 "movq %%rcx, %%rsp"
					 :
					 : "r"(where), "r"(value)
					 : "rcx", "memory");
		} else {
			__asm__ volatile("movq %%rsp, %%rcx; movq %1, %%rsp; call 1f;"
					 "1: movq %%rcx, %%rsp; leaq 1b(%%rip), %0"
					 : "=&r"(value)
					 : "r"(where)
					 : "rcx", "memory");
		}
		patches_saw(&p, code_call(at), value);
	}
	report(&p, "SDM 3A 8.1.3 PUSH and CALL that store into code");
}

/* --- The unit that is running ------------------------------------------------------------------ */

static void emit_fill(struct emit *e, unsigned adds)
{
	while (adds--) { /* add ecx, 1 */
		emit8(e, 0x83);
		emit8(e, 0xc1);
		emit8(e, 1);
	}
}

static u64 call1(const void *at, u64 argument)
{
	u64 result;

	__asm__ volatile("call *%2"
			 : "=a"(result), "+D"(argument)
			 : "r"(at)
			 : "rcx", "rdx", "rsi", "memory", "cc");
	return result;
}

/* mov [rip + to the immediate], edi; add ecx, 1 (some times); mov eax, imm32; ret */
static void ahead(u8 *page, unsigned most, const char *rule)
{
	struct patches p = { 0 };

	for (unsigned block = 0; block < 200; block++) {
		unsigned adds = below(most + 1);
		u8 *at = page + below(3900);
		struct emit e = { at };

		emit8(&e, 0x89);
		emit8(&e, 0x3d);
		emit32(&e, 3 * adds + 1);
		emit_fill(&e, adds);
		emit_load(&e, 0);
		emit_ret(&e);
		for (unsigned n = 0; n < 40; n++) {
			u32 value = rnd();

			patches_saw(&p, call1(at, value), value);
		}
	}
	report(&p, rule);
}

/*
 * xor eax, eax; mov ecx, edi; loop: store ecx into the immediate of the ADD, which is before or
 * behind the store; dec ecx; jnz loop; ret. The sum of 1 to edi, or that less 1 and the first value.
 */
static void loops(u8 *page, bool behind, const char *rule)
{
	struct patches p = { 0 };

	for (unsigned round = 0; round < 300; round++) {
		u32 times = 2 + below(60), first = rnd(), sum = 0, got;
		u8 *at = page + below(3900), *start;
		struct emit e = { at };

		emit32(&e, 0xf989c031); /* xor eax, eax; mov ecx, edi */
		start = e.at;
		if (behind) {
			emit8(&e, 0x05);
			emit32(&e, first);
		}
		emit8(&e, 0x89); /* mov [rip + x], ecx */
		emit8(&e, 0x0d);
		emit32(&e, behind ? (u32)-10 : 1);
		if (!behind) {
			emit8(&e, 0x05);
			emit32(&e, first);
		}
		emit8(&e, 0xff); /* dec ecx */
		emit8(&e, 0xc9);
		emit8(&e, 0x75);
		emit8(&e, (u8)(start - e.at - 1));
		emit_ret(&e);
		for (u32 i = times; i; i--)
			sum += i;
		got = (u32)call1(at, times);
		patches_saw(&p, got, behind ? sum - 1 + first : sum);
		p.made += times - 1;
	}
	report(&p, rule);
}

/* loop: add eax, ecx, which XOR of its ModRM byte makes sub eax, ecx and back, each time around. */
static void toggle(u8 *page)
{
	struct patches p = { 0 };

	for (unsigned round = 0; round < 300; round++) {
		u32 times = 2 + below(60), expected = 0;
		bool subtract = false;
		u8 *at = page + below(3900), *start;
		struct emit e = { at };

		emit32(&e, 0xf989c031);
		start = e.at;
		emit8(&e, 0x01); /* add eax, ecx */
		emit8(&e, 0xc8);
		emit8(&e, 0x80); /* xor byte [rip + its opcode], 28h */
		emit8(&e, 0x35);
		emit32(&e, (u32)-9);
		emit8(&e, 0x28);
		emit8(&e, 0xff);
		emit8(&e, 0xc9);
		emit8(&e, 0x75);
		emit8(&e, (u8)(start - e.at - 1));
		emit_ret(&e);
		for (u32 i = times; i; i--, subtract = !subtract)
			expected += subtract ? -i : i;
		patches_saw(&p, (u32)call1(at, times), expected);
		p.made += times - 1;
	}
	report(&p, "SDM 3A 8.1.3 a loop that changes an opcode of its body on every pass");
}

/* mov byte [rip + displacement of the JMP], dil; jmp table: the branch goes where it says now. */
static void branches(u8 *page)
{
	struct patches p = { 0 };
	struct emit e = { page + 100 };

	emit8(&e, 0x40);
	emit8(&e, 0x88);
	emit8(&e, 0x3d);
	emit32(&e, 1);
	emit8(&e, 0xeb);
	emit8(&e, 0);
	for (unsigned i = 0; i < 16; i++) {
		emit_load(&e, 1000 + i);
		emit_ret(&e);
	}
	for (unsigned n = 0; n < 3000; n++) {
		unsigned i = below(16);

		patches_saw(&p, call1(page + 100, 6 * i), 1000 + i);
	}
	report(&p, "SDM 3A 8.1.3 the displacement of the next branch");
}

/* rep stosb over the immediate of the next instruction. */
static void string_ahead(u8 *page)
{
	struct patches p = { 0 };
	struct emit e = { page + 200 };

	emit8(&e, 0x89); /* mov eax, edi */
	emit8(&e, 0xf8);
	emit8(&e, 0x48); /* lea rdi, [rip + 8] */
	emit8(&e, 0x8d);
	emit8(&e, 0x3d);
	emit32(&e, 8);
	emit8(&e, 0xb9); /* mov ecx, 4 */
	emit32(&e, 4);
	emit8(&e, 0xf3); /* rep stosb */
	emit8(&e, 0xaa);
	emit_load(&e, 0);
	emit_ret(&e);
	for (unsigned n = 0; n < 3000; n++) {
		u32 byte = rnd() & 0xff;

		patches_saw(&p, call1(page + 200, byte), byte * 0x01010101);
	}
	report(&p, "SDM 3A 8.1.3 a REP STOS over the instruction behind it");
}

/* --- Page ends, page tables and aliases -------------------------------------------------------- */

/* Map a page of TEST_VA, counted in pages. */
static void map(unsigned number, const void *page)
{
	*pt_entry(TEST_VA + (u64)number * PAGE, 1) = (u64)page | PTE_P | PTE_W;
	invlpg(TEST_VA + (u64)number * PAGE);
}

static void page_ends(void)
{
	u8 *second = (u8 *)page_alloc() + PAGE; /* the pool is contiguous */
	struct patches p = { 0 };

	(void)page_alloc();
	for (unsigned round = 0; round < 1000; round++) {
		u8 *at = second - 1 - below(11);
		u64 value = rnd64();

		emit_imm64(at, value);
		for (unsigned n = 0; n < 10; n++) {
			unsigned size = 1u << below(4), offset = below(9 - size);
			u64 bytes = rnd64();

			store(at + IMM64 + offset, size, bytes);
			value = with_bytes(value, offset, size, bytes);
			patches_saw(&p, code_call(at), value);
		}
	}
	report(&p, "SDM 3A 8.1.3 an instruction across a page end, patched on either page");
	p = (struct patches){ 0 };
	for (unsigned round = 0; round < 300; round++) {
		unsigned adds = below(12);
		struct emit e = { second - 6 - below(3 * adds + 4) };
		u8 *at = e.at;

		emit8(&e, 0x89);
		emit8(&e, 0x3d);
		emit32(&e, 3 * adds + 1);
		emit_fill(&e, adds);
		emit_load(&e, 0);
		emit_ret(&e);
		for (unsigned n = 0; n < 10; n++) {
			u32 value = rnd();

			patches_saw(&p, call1(at, value), value);
		}
	}
	report(&p, "SDM 3A 8.1.3 a block across a page end that patches its part on the next page");
}

/* Code that starts on one page and ends on another, with either exchanged in the page table. */
static void remap(void)
{
	u8 *heads[3], *tails[4];
	struct patches p = { 0 };
	struct emit e;

	for (unsigned i = 0; i < 3; i++)
		heads[i] = page_alloc();
	for (unsigned i = 0; i < 4; i++)
		tails[i] = page_alloc();
	for (unsigned length = 1; length < 5; length++) {
		/* length bytes of mov eax, imm32 are on the first page. */
		unsigned head = 0, tail = 0;

		for (unsigned i = 0; i < 3; i++)
			for (unsigned j = 0; j < 4; j++) {
				u8 code[6];

				e.at = code;
				emit_load(&e, 0x01010101 * (i + 1));
				for (unsigned n = 0; n < length; n++)
					put8(heads[i] + PAGE - length + n, code[n]);
				e.at = code;
				emit_load(&e, 0x10101010 * (j + 1));
				emit_ret(&e);
				for (unsigned n = length; n < 6; n++)
					put8(tails[j] + n - length, code[n]);
			}
		map(0, heads[0]);
		map(1, tails[0]);
		for (unsigned n = 0; n < 1500; n++) {
			u32 low = (u32)((1ull << 8 * (length - 1)) - 1);

			if (below(3))
				map(1, tails[tail = below(4)]);
			else
				map(0, heads[head = below(3)]);
			patches_saw(&p, code_call((void *)(TEST_VA + PAGE - length)),
				    (0x01010101 * (head + 1) & low) |
					    (0x10101010 * (tail + 1) & ~low));
		}
	}
	report(&p, "SDM 3A 4.10.4 INVLPG: a page under one half of an instruction is exchanged");
}

static void aliases(void)
{
	u8 *page = page_alloc();
	struct patches p = { 0 }, same = { 0 };
	u8 *view[3] = { page, (u8 *)TEST_VA + 8 * PAGE, (u8 *)TEST_VA + 9 * PAGE };
	u64 value[16];
	unsigned at[16];

	map(8, page);
	map(9, page);
	for (unsigned i = 0; i < 16; i++) {
		at[i] = i * 256 + below(240);
		emit_imm64(page + at[i], value[i] = rnd64());
	}
	for (unsigned n = 0; n < 9000; n++) {
		unsigned i = below(16), size = 1u << below(4), offset = below(9 - size);
		unsigned writer = below(3), runner = below(3);
		u64 bytes = rnd64();

		store(view[writer] + at[i] + IMM64 + offset, size, bytes);
		value[i] = with_bytes(value[i], offset, size, bytes);
		if (writer != runner)
			serialize();
		patches_saw(writer != runner ? &p : &same, code_call(view[runner] + at[i]),
			    value[i]);
	}
	report(&p, "SDM 3A 8.1.3 a store through another linear address, then CPUID");
	report(&same, "SDM 3A 8.1.3 a page of code with three linear addresses, each one run");
}

/* --- Code and data on one page ----------------------------------------------------------------- */

/* inc dword [rip + d]; add eax, imm32; mov eax, [rip + d]; ret, and the counter d bytes further */
static void mixed(u8 *page)
{
	struct patches p = { 0 };

	for (unsigned round = 0; round < 60; round++) {
		u8 *at = page + 512 + below(2048);
		bool before = below(2);
		u8 *counter = before ? at - 4 - below(300) : at + 18 + below(300);
		struct emit e = { at };

		put32(counter, 0);
		emit8(&e, 0xff);
		emit8(&e, 0x05);
		emit32(&e, (u32)(counter - e.at - 4));
		emit8(&e, 0x05);
		emit32(&e, 0);
		emit8(&e, 0x8b);
		emit8(&e, 0x05);
		emit32(&e, (u32)(counter - e.at - 4));
		emit_ret(&e);
		for (unsigned n = 1; n <= 400; n++) {
			if (n % 8 == 0)
				put32(at + 7, rnd());
			else
				p.made--; /* a count alone is no patch of an instruction */
			patches_saw(&p, code_call(at), n);
		}
	}
	report(&p, "SDM 3A 11.6 a counter beside the code that counts in it");
}

/* --- A compiler at run time -------------------------------------------------------------------- */

#define JIT_PAGES 6

/* A straight line of arithmetic, with a jump over rubbish now and then. Returns what it computes. */
static u32 compile(struct emit *e, unsigned length)
{
	u32 value = rnd();

	emit_load(e, value);
	while (length--) {
		u32 n = rnd();

		switch (below(5)) {
		case 0:
			emit8(e, 0x05); /* add eax, n */
			emit32(e, n);
			value += n;
			break;
		case 1:
			emit8(e, 0x35); /* xor eax, n */
			emit32(e, n);
			value ^= n;
			break;
		case 2:
			emit8(e, 0xc1); /* rol eax, n */
			emit8(e, 0xc0);
			emit8(e, n &= 31);
			value = value << n | value >> (-n & 31);
			break;
		case 3:
			emit8(e, 0xf7); /* not eax */
			emit8(e, 0xd0);
			value = ~value;
			break;
		default:
			emit8(e, 0xeb); /* jmp over n bytes */
			emit8(e, n &= 7);
			while (n--)
				emit8(e, (u8)rnd());
		}
	}
	emit_ret(e);
	return value;
}

static void jit(void)
{
	struct patches p = { 0 };
	u8 *area = page_alloc();

	for (unsigned i = 1; i < JIT_PAGES; i++)
		(void)page_alloc();
	for (unsigned n = 0; n < 8000; n++) {
		unsigned length = 1 + below(below(16) ? 30 : 400);
		u8 *at = area + below(JIT_PAGES * PAGE - 10 * length - 16);
		struct emit e = { at };
		u32 expected = compile(&e, length);

		patches_saw(&p, (u32)code_call(at), expected);
	}
	report(&p, "SDM 3A 8.1.3 code written, run once, and written over");
}

static bool int3_hit;

/* An INT3 that stands for a function returns 3 from it. */
static bool on_int3(struct frame *f)
{
	int3_hit = true;
	f->rax = 3;
	f->rip = *(u64 *)f->rsp;
	f->rsp += 8;
	return true;
}

/* INT3 over the first byte, the rest, then the first byte: at each step the function is whole. */
static void alternatives(u8 *page)
{
	struct patches p = { 0 };
	u8 *at = page + 300;
	struct emit e = { at };

	handler[BP] = on_int3;
	emit_load(&e, 0);
	emit_ret(&e);
	for (unsigned n = 0; n < 2000; n++) {
		u32 value = rnd();

		if (below(20) == 0) {
			e.at = at = page + below(4000);
			emit_load(&e, 0);
			emit_ret(&e);
		}
		int3_hit = false;
		put8(at, 0xcc);
		patches_saw(&p, code_call(at) + int3_hit, 4);
		int3_hit = false;
		put32(at + 1, value);
		patches_saw(&p, code_call(at) + int3_hit, 4);
		int3_hit = false;
		put8(at, 0xb8);
		patches_saw(&p, code_call(at) + int3_hit, value);
	}
	handler[BP] = 0;
	report(&p, "SDM 3A 8.1.3 INT3 first, then the tail, then the head");
}

void lm_main(void)
{
	u8 *page = page_alloc();

	write_cr4(read_cr4() | CR4_OSFXSR);
	plain_stores(page, 1, "SDM 3A 8.1.3 stores of 1 byte");
	plain_stores(page, 2, "SDM 3A 8.1.3 stores of 2 bytes");
	plain_stores(page, 4, "SDM 3A 8.1.3 stores of 4 bytes");
	plain_stores(page, 8, "SDM 3A 8.1.3 stores of 8 bytes");
	wide_stores(page);
	rmw_stores(page);
	stack_stores(page);
	ahead(page, 0, "SDM 3A 8.1.3 a store into the next instruction");
	ahead(page, 20, "SDM 3A 8.1.3 a store into the same block, further ahead");
	loops(page, false, "SDM 3A 8.1.3 a loop that patches its body ahead");
	loops(page, true, "SDM 3A 8.1.3 a loop that patches its body behind");
	toggle(page);
	branches(page);
	string_ahead(page);
	page_ends();
	remap();
	aliases();
	mixed(page);
	jit();
	alternatives(page);
	tap_equal(total_stale, 0, "SDM 3A 8.1.3 no stale execution in all");
	tap_check(total_made >= 100000, "at least 100,000 patches of code");
	tap_puts("# in all: patches ");
	tap_put_dec(total_made);
	tap_puts(", stale executions ");
	tap_put_dec(total_stale);
	tap_putc('\n');
}
