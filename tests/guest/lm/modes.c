/*
 * The same code bytes at the same address under ever changing modes: code size, segments, rights
 * of pages and the control bits that instructions depend on. What was learned about the code in
 * one mode must not be used in another one. SDM 3A 2.2, 3.4.5, 4.6, 5.2.1 and 9.8.5.
 */
#include "code.h"
#include "lib/lm.h"

#define ROUNDS    1000u
#define TRAMP     0x6000 /* 16-bit code, copied there */
#define LOW_STACK 0x5f00
#define LOW_CODE  0x7000u /* the code of changing meaning */
#define ALIAS     (TEST_VA + 0x200000)
#define SEL_CODE  SEL_FREE        /* 16-bit, 64 KiB: on the way to real mode */
#define SEL_SMALL (SEL_FREE + 8)  /* data of 64 KiB */
#define SEL_ANY   (SEL_FREE + 16) /* changes its descriptor: code */
#define SEL_VARY  (SEL_FREE + 24) /* and data */

static struct prng prng = { 0x6a09e667f3bcc909 };
static struct try t;

static u32 below(u32 n) { return prng_below(&prng, n); }

/* --- Real, protected, compatibility and 64-bit mode in turn --------------------------------------- */

/*
 * mode_round(results, code): call the code in 64-bit mode, 32-bit and 16-bit compatibility mode, 32-bit
 * and 16-bit protected mode without paging, and real mode; EAX of each call goes to results.
 */
void mode_round(u32 *results, u32 code);
extern u8 tramp[], tramp_end[];

#define S1(x)      #x
#define S(x)       S1(x)
#define LOW(label) label " - tramp + " S(TRAMP)

__asm__(".text\n"
	".code64\n"
	".globl mode_round, tramp, tramp_end\n"
	"mode_round:\n"
	"	pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
	"	movq %rsp, round_sp\n"
	"	movl %edi, %ebx\n"
	"	movl %esi, %ebp\n"
	"	movl %edi, round_results\n"
	"	call *%rbp\n"
	"	movl %eax, (%rbx)\n"
	"	pushq $0x18\n"
	"	pushq $1f\n"
	"	lretq\n"
	".code32\n"
	"1:	movl $" S(
		LOW_STACK) ", %esp\n"
			   "	call *%ebp\n"
			   "	movl %eax, 4(%ebx)\n"
			   "	ljmp $0x38, $" LOW(
				   "t_compat") "\n"
					       "2:	movl %cr0, %eax\n"
					       "	andl $0x7fffffff, %eax\n"
					       "	movl %eax, %cr0\n"
					       "	movl $0xc0000080, %ecx\n"
					       "	rdmsr\n"
					       "	andl $~0x100, %eax\n"
					       "	wrmsr\n"
					       "	call *%ebp\n"
					       "	movl %eax, 12(%ebx)\n"
					       "	ljmp $0x38, $" LOW(
						       "t_protected") "\n"
								      "3:	movl $0x10, %eax\n"
								      "	movl %eax, %ds\n"
								      "	movl %eax, %es\n"
								      "	movl %eax, %ss\n"
								      "	call long_mode\n"
								      "	ljmp $0x08, $4f\n"
								      ".code64\n"
								      "4:	movl round_results, %ebx\n"
								      "	movl (" LOW(
									      "t_result") "), %eax\n"
											  "	movl %eax, 20(%rbx)\n"
											  "	movq round_sp, %rsp\n"
											  "	popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n"
											  "	ret\n"
											  ".code16\n"
											  "tramp:\n"
											  "t_compat:\n"
											  "	callw *%bp\n"
											  "	movl %eax, 8(%ebx)\n"
											  "	ljmpl $0x18, $2b\n"
											  "t_protected:\n"
											  "	callw *%bp\n"
											  "	movl %eax, 16(%ebx)\n"
											  "	ljmpl $" S(0xc0) ", $" LOW(
												  "t_small") "\n"
													     "t_small:\n"
													     "	movw $0xc8, %ax\n"
													     "	movw %ax, %ds\n"
													     "	movw %ax, %es\n"
													     "	movw %ax, %ss\n"
													     "	movl %cr0, %eax\n"
													     "	andb $0xfe, %al\n"
													     "	movl %eax, %cr0\n"
													     "	ljmpl $0, $" LOW(
														     "t_real") "\n"
															       "t_real:\n"
															       "	xorw %ax, %ax\n"
															       "	movw %ax, %ds\n"
															       "	movw %ax, %ss\n"
															       "	callw *%bp\n"
															       "	addr32 movl %eax, (" LOW(
																       "t_result") ")\n"
																		   "	movl %cr0, %eax\n"
																		   "	orb $1, %al\n"
																		   "	movl %eax, %cr0\n"
																		   "	ljmpl $0x18, $3b\n"
																		   "	.balign 4\n"
																		   "t_result:\n"
																		   "	.long 0\n"
																		   "tramp_end:\n"
																		   ".code64\n"
																		   ".data\n"
																		   ".balign 8\n"
																		   "round_sp: .quad 0\n"
																		   "round_results: .long 0\n"
																		   ".text\n");

/*
 * xor eax, eax; 66 b8 lo hi 90 90; 48 ff c0: MOV AX and two NOPs, or in 16-bit code MOV EAX of four
 * bytes; then INC RAX, or outside 64-bit mode DEC and INC.
 */
static void emit_many(struct emit *e, u16 value)
{
	emit8(e, 0x31);
	emit8(e, 0xc0);
	emit8(e, 0x66);
	emit8(e, 0xb8);
	emit8(e, (u8)value);
	emit8(e, (u8)(value >> 8));
	emit8(e, 0x90);
	emit8(e, 0x90);
	emit8(e, 0x48);
	emit8(e, 0xff);
	emit8(e, 0xc0);
}

#define MANY_VALUE 4 /* where the two bytes are */

/* What it leaves in EAX. */
static u32 many_gives(unsigned bits, u16 value)
{
	return bits == 64 ? value + 1u : bits == 32 ? value : 0x90900000u | value;
}

static void rounds(void)
{
	static const struct {
		unsigned bits;
		const char *rule;
	} modes[] = {
		{ 64, "SDM 3A 2.2 64-bit mode, among all other modes" },
		{ 32, "SDM 3A 2.2 32-bit compatibility mode, among all other modes" },
		{ 16, "SDM 3A 2.2 16-bit compatibility mode, among all other modes" },
		{ 32, "SDM 3A 2.2 32-bit protected mode, among all other modes" },
		{ 16, "SDM 3A 2.2 16-bit protected mode, among all other modes" },
		{ 16, "SDM 3A 2.2 real-address mode, among all other modes" },
	};
	struct emit e = { (u8 *)(u64)LOW_CODE };
	u32 results[6], bad[6] = { 0 };
	u16 value = 0x1234;

	for (u64 i = 0; i < (u64)(tramp_end - tramp); i++)
		((u8 *)TRAMP)[i] = tramp[i];
	gdt[SEL_CODE >> 3] = desc(0, 0xffff, 0x9b, 0);
	gdt[SEL_SMALL >> 3] = desc(0, 0xffff, 0x93, 0);
	emit_many(&e, value);
	emit_ret(&e);
	for (unsigned n = 0; n < ROUNDS; n++) {
		if (below(4) == 0)
			put16((u8 *)(u64)LOW_CODE + MANY_VALUE, value = (u16)prng_next(&prng));
		mode_round(results, LOW_CODE);
		for (unsigned i = 0; i < 6; i++)
			if (results[i] != many_gives(modes[i].bits, value) && !bad[i]++)
				tap_note(modes[i].rule, results[i],
					 many_gives(modes[i].bits, value));
	}
	for (unsigned i = 0; i < 6; i++)
		tap_equal(bad[i], 0, modes[i].rule);
}

/* --- One selector, many descriptors --------------------------------------------------------------- */

static u8 user_many[32] USER;

static void code_sizes(void)
{
	static const struct {
		unsigned bits;
		u8 flags;
	} kinds[] = { { 16, 0 }, { 16, 8 }, { 32, 12 }, { 64, 10 } };
	struct emit e = { user_many };
	u32 bad = 0;
	u16 value = 0x4321;

	emit_many(&e, value);
	emit8(&e, 0xcd);
	emit8(&e, DONE);
	for (unsigned n = 0; n < 6000; n++) {
		unsigned k = below(4), user = below(2);
		/* A base counts outside 64-bit mode only; 16-bit code needs one to be reached. */
		u32 base = kinds[k].bits == 64 ? below(2) * 0x1000
					       : (u32)(u64)user_many - 16 * below(99);

		if (below(8) == 0)
			put16(user_many + MANY_VALUE, value = (u16)prng_next(&prng));
		gdt[SEL_ANY >> 3] = desc(base, 0xfffff, user ? 0xfb : 0x9b, kinds[k].flags);
		t = try_new(user ? U32 : K32);
		t.cs = SEL_ANY | (user ? 3 : 0);
		try_run(&t, kinds[k].bits == 64 ? user_many : (u8 *)((u64)user_many - base));
		bad += t.out.vector != DONE || (u32)t.out.rax != many_gives(kinds[k].bits, value) ||
		       t.out.rip != t.rip + 13;
	}
	check(&t, !bad, "SDM 3A 5.2.1 CS.D, CS.L, CS.base and CPL change between runs of one code");
}

static void stack_sizes(void)
{
	/* SP is 0: with B clear, the push wraps. IRET to such a stack loads no more than SP. */
	const u8 *code =
		CODE32("mov esp, 0x450000; push eax; mov edx, esp; pop ecx; call 1f; 1: pop esi");
	u32 bad = 0;

	for (unsigned n = 0; n < 3000; n++) {
		bool wide = below(2);

		t = try_new(K32);
		gdt[SEL_VARY >> 3] = desc(0, 0xfffff, 0x93, wide ? 12 : 8);
		t.ss = SEL_VARY;
		t.rax = n;
		try_run(&t, code);
		bad += t.out.vector != DONE || t.out.rdx != (wide ? 0x44fffc : 0x45fffc) ||
		       t.out.rcx != n || t.out.rsi != t.rip + 14 || t.out.rsp != 0x450000;
	}
	check(&t, !bad, "SDM 3A 3.4.5 SS.B changes between runs of one code");
}

static u32 words[64] USER;

static void data_segments(void)
{
	const u8 *code = CODE32("1: add eax, [ebx]; mov es:[ebx + 4], ecx; loop 1b");
	u32 bad = 0;

	for (unsigned i = 0; i < 64; i++)
		words[i] = 0x1000 * i;
	for (unsigned n = 0; n < 5000; n++) {
		unsigned kind = below(6), at = 2 * below(30), user = below(2);
		u32 address = (u32)(u64)&words[at], base = kind == 0 ? 0 : address - 16 * below(16);
		u32 offset = address - base;
		bool good = kind < 2 || kind == 5;

		t = try_new(user ? U32 : K32);
		t.ds = SEL_VARY | (user ? 3 : 0);
		t.rbx = offset;
		t.rcx = 3;
		words[at] = at;
		words[at + 1] = 0;
		switch (kind) {
		case 0:
		case 1: gdt[SEL_VARY >> 3] = desc(base, 0xfffff, 0xf3, 12); break;
		case 2: /* ends within the store */
			gdt[SEL_VARY >> 3] = desc(base, offset + 6, 0xf3, 4);
			break;
		case 3: /* expand-down, begins within the read */
			gdt[SEL_VARY >> 3] = desc(base, offset, 0xf7, 4);
			break;
		case 4: /* read-only */ gdt[SEL_VARY >> 3] = desc(base, 0xfffff, 0xf1, 12); break;
		default: /* expand-down, from behind the limit on */
			gdt[SEL_VARY >> 3] = desc(base - 16, offset + 15, 0xf7, 4);
			t.rbx = offset + 16;
		}
		try_run(&t, code);
		if (good)
			bad += t.out.vector != DONE || t.out.rax != 3 * at || words[at + 1] != 1;
		else
			bad += t.out.vector != GP || t.out.error || words[at + 1] ||
			       t.out.rip - t.rip != (kind == 3 ? 0 : 2);
	}
	check(&t, !bad, "SDM 3A 5.3 base, limit, direction and type of DS and ES change");
}

/* --- Rights of the code's page -------------------------------------------------------------------- */

static void page_rights(void)
{
	u64 *pte = pt_entry(ALIAS, 1);
	u8 *pages[2] = { page_alloc(), page_alloc() };
	u32 bad = 0;
	bool nx = rdmsr(MSR_EFER) & EFER_NXE, smep = cpuid_ebx(7, 0) >> 7 & 1;

	for (unsigned i = 0; i < 2; i++) {
		struct emit e = { pages[i] + 64 };

		emit_load(&e, 0x100 + i);
		emit8(&e, 0xcd);
		emit8(&e, DONE);
	}
	for (unsigned n = 0; n < 8000; n++) {
		unsigned which = below(2), rights = below(8), user = below(2),
			 protect = smep && below(2);
		bool present = rights != 0, user_page = rights & 1, no_execute = nx && rights == 6;
		bool runs_well = present && !no_execute &&
				 (user ? user_page : !(user_page && protect));
		u64 error = (present ? PF_P : 0) | (user ? PF_U : 0) | (nx || protect ? PF_I : 0);

		*pte = (u64)pages[which] | (present ? PTE_P : 0) | (user_page ? PTE_U : 0) |
		       (no_execute ? PTE_XD : 0);
		invlpg(ALIAS);
		write_cr4((read_cr4() & ~CR4_SMEP) | (protect ? CR4_SMEP : 0));
		for (unsigned again = below(3); again < 3; again++) {
			t = try_new(user ? U64 : K64);
			try_run(&t, (u8 *)ALIAS + 64);
			if (runs_well)
				bad += t.out.vector != DONE || t.out.rax != 0x100 + which;
			else
				bad += t.out.vector != PF || t.out.error != error ||
				       t.cr2 != ALIAS + 64 || t.out.rip != ALIAS + 64;
		}
	}
	write_cr4(read_cr4() & ~CR4_SMEP);
	check(&t, !bad, "SDM 3A 4.6 P, U/S, XD, SMEP and the page change under code that runs");
}

static u32 faults_seen;

static bool allow_access(struct frame *f)
{
	faults_seen++;
	f->rflags |= FLAG_AC;
	return f->error == PF_P;
}

static void smap(void)
{
	const u8 *each = KCODE("1: clac; add rax, [rbx]; add rax, [rbx]; dec ecx; jnz 1b");
	const u8 *open = KCODE("1: stac; add rax, [rbx]; clac; dec ecx; jnz 1b; add rax, [rbx]");

	if (!(cpuid_ebx(7, 0) >> 20 & 1)) {
		tap_skip("SDM 3A 4.6 STAC and CLAC in a loop", "no SMAP");
		return;
	}
	words[0] = 5;
	words[1] = 0;
	write_cr4(read_cr4() | CR4_SMAP);
	handler[PF] = allow_access;
	faults_seen = 0;
	t = try_new(K64);
	t.rbx = (u64)words;
	t.rcx = 5000;
	try_run(&t, each);
	handler[PF] = 0;
	check(&t, t.out.vector == DONE && faults_seen == 5000 && t.out.rax == 50000,
	      "SDM 3A 4.6 CLAC in a loop: each pass faults, until its handler sets AC");
	t = try_new(K64);
	t.rbx = (u64)words;
	t.rcx = 5000;
	try_run(&t, open);
	check(&t, t.out.vector == PF && t.out.error == PF_P && t.out.rax == 25000 && !t.out.rcx,
	      "SDM 3A 4.6 STAC in a loop lets each read through, and not the one behind it");
	write_cr4(read_cr4() & ~CR4_SMAP);
}

/* --- Control bits --------------------------------------------------------------------------------- */

/* Run a snippet with a random setting of a control bit; count the runs that end otherwise than told. */
struct bit_rule {
	const u8 *code;
	enum mode mode;
	enum { IN_CR0, IN_CR4, IN_EFER, IN_FLAGS } where;
	u64 bit;
	u64 when_set, when_clear; /* the vector that ends the run */
	u64 cr0, flags;           /* set for this rule */
	const char *rule;
};

static void set_bit(const struct bit_rule *r, bool on)
{
	switch (r->where) {
	case IN_CR0: write_cr0((read_cr0() & ~r->bit) | (on ? r->bit : 0)); break;
	case IN_CR4: write_cr4((read_cr4() & ~r->bit) | (on ? r->bit : 0)); break;
	case IN_EFER: wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~r->bit) | (on ? r->bit : 0)); break;
	case IN_FLAGS: t.rflags = (t.rflags & ~r->bit) | (on ? r->bit : 0); break;
	}
}

static void control_bit(const struct bit_rule *r)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4(), efer = rdmsr(MSR_EFER);
	u32 bad = 0;

	for (unsigned n = 0; n < 600; n++) {
		bool on = below(2);

		t = try_new(r->mode);
		t.rflags |= r->flags;
		t.rbx = (u64)words + 1;
		t.rcx = 40;
		write_cr0(cr0 | r->cr0);
		set_bit(r, on);
		for (unsigned again = 0; again < 2; again++) {
			try_run(&t, r->code);
			bad += t.out.vector != (on ? r->when_set : r->when_clear);
		}
		write_cr0(cr0);
	}
	write_cr4(cr4);
	wrmsr(MSR_EFER, efer);
	check(&t, !bad, r->rule);
}

static void control_bits(void)
{
	const struct bit_rule rules[] = {
		{ .code = CODE("1: movaps xmm0, xmm1; addps xmm1, xmm0; loop 1b"),
		  .mode = U64,
		  .where = IN_CR0,
		  .bit = CR0_TS,
		  .when_set = NM,
		  .when_clear = DONE,
		  .rule = "SDM 3A 2.5 CR0.TS changes between runs of SSE code" },
		{ .code = CODE("1: fld1; fstp st(0); loop 1b"),
		  .mode = U64,
		  .where = IN_CR0,
		  .bit = CR0_EM,
		  .when_set = NM,
		  .when_clear = DONE,
		  .rule = "SDM 3A 2.5 CR0.EM changes between runs of x87 code" },
		{ .code = CODE("1: movaps xmm0, xmm1; loop 1b"),
		  .mode = U64,
		  .where = IN_CR4,
		  .bit = CR4_OSFXSR,
		  .when_set = DONE,
		  .when_clear = UD,
		  .rule = "SDM 3A 2.5 CR4.OSFXSR changes between runs of SSE code" },
		{ .code = CODE("1: rdtsc; loop 1b"),
		  .mode = U64,
		  .where = IN_CR4,
		  .bit = CR4_TSD,
		  .when_set = GP,
		  .when_clear = DONE,
		  .rule = "SDM 3A 2.5 CR4.TSD changes between runs of RDTSC" },
		{ .code = CODE("1: cli; sti; loop 1b; cli"),
		  .mode = U64,
		  .where = IN_FLAGS,
		  .bit = 0x3000,
		  .when_set = DONE,
		  .when_clear = GP,
		  .rule = "SDM 2A IOPL changes between runs of CLI at CPL 3" },
		{ .code = CODE("1: add eax, [rbx]; loop 1b"),
		  .mode = U64,
		  .where = IN_FLAGS,
		  .bit = FLAG_AC,
		  .when_set = AC,
		  .when_clear = DONE,
		  .cr0 = CR0_AM,
		  .rule = "SDM 3A 6.15 EFLAGS.AC changes between runs of a misaligned read" },
		{ .code = CODE("1: add eax, [rbx]; loop 1b"),
		  .mode = U64,
		  .where = IN_CR0,
		  .bit = CR0_AM,
		  .when_set = AC,
		  .when_clear = DONE,
		  .flags = FLAG_AC,
		  .rule = "SDM 3A 2.5 CR0.AM changes between runs of a misaligned read" },
		{ .code = CODE("1: add eax, [rbx]; loop 1b"),
		  .mode = U32,
		  .where = IN_FLAGS,
		  .bit = FLAG_TF,
		  .when_set = DB,
		  .when_clear = DONE,
		  .rule = "SDM 3A 17.3.1.4 TF changes between runs of a loop" },
		{ .code = CODE("1: rdfsbase rax; loop 1b"),
		  .mode = U64,
		  .where = IN_CR4,
		  .bit = CR4_FSGSBASE,
		  .when_set = cpuid_ebx(7, 0) & 1 ? DONE : 0,
		  .when_clear = UD,
		  .rule = "SDM 3A 2.5 CR4.FSGSBASE changes between runs of RDFSBASE" },
		{ .code = CODE("1: smsw eax; loop 1b"),
		  .mode = U64,
		  .where = IN_CR4,
		  .bit = CR4_UMIP,
		  .when_set = cpuid_ecx(7, 0) & 4 ? GP : 0,
		  .when_clear = DONE,
		  .rule = "SDM 3A 2.5 CR4.UMIP changes between runs of SMSW" },
		{ .code = CODE("1: mov esi, ecx; xor ecx, ecx; xgetbv; mov ecx, esi; loop 1b"),
		  .mode = U64,
		  .where = IN_CR4,
		  .bit = CR4_OSXSAVE,
		  .when_set = cpuid_ecx(1, 0) >> 26 & 1 ? DONE : 0,
		  .when_clear = UD,
		  .rule = "SDM 3A 2.5 CR4.OSXSAVE changes between runs of XGETBV" },
		{ .code = CODE("syscall; nop"),
		  .mode = U64,
		  .where = IN_EFER,
		  .bit = EFER_SCE,
		  .when_set = DONE,
		  .when_clear = UD,
		  .rule = "SDM 2B EFER.SCE changes between runs of SYSCALL" },
	};

	wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)SEL_UCODE32 << 48);
	wrmsr(MSR_LSTAR, (u64)KCODE("nop"));
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (!rules[i].when_set)
			tap_skip(rules[i].rule, "no such feature");
		else
			control_bit(&rules[i]);
	}
}

void lm_main(void)
{
	write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	__asm__ volatile("fninit");
	rounds();
	code_sizes();
	stack_sizes();
	data_segments();
	page_rights();
	smap();
	control_bits();
}
