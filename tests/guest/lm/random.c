/*
 * The random-bytes guest: not a test of rules but a hostile program for the monitor. Each round fills a
 * sandbox with random bytes, picks a mode (64-bit, compatibility, protected 16 and 32-bit, each at CPL 0
 * and 3, virtual-8086, real), jumps into them, and takes control back at the first fault, interrupt or
 * watchdog NMI. Between rounds come random port, MMIO and MSR accesses.
 *
 * The multiboot command line holds up to two numbers: the seed (1) and the number of rounds (0: for
 * ever). A line is printed per 1,000 rounds. A seed divisible by 4 is wild: nothing is kept out of the
 * random code and of the accesses, so that it may reset, power off or hang the machine. With other seeds
 * the guest tries to survive: code runs under page tables in which the kernel is read-only, the
 * instructions that would take the tables away are left out, and so are the ports of reset and exit.
 */
#include "lib/legacy.h"

#define SANDBOX      0x480000u
#define SANDBOX_SIZE 0x10000u
#define REAL_PAGE    0x8000u  /* real-mode entry and handler */
#define REAL_SANDBOX 0x20000u /* 64 KiB for real and virtual-8086 mode */

enum {
	SEL_R_CODE16 = SEL_FREE, /* base at the sandbox, 64 KiB, DPL 0 */
	SEL_R_DATA16 = SEL_FREE + 0x08,
	SEL_R_UCODE16 = SEL_FREE + 0x10,
	SEL_R_UDATA16 = SEL_FREE + 0x18,
	SEL_R_RESCUE = SEL_FREE + 0x20, /* 32-bit TSS for the double fault */
	SEL_R_REAL = SEL_FREE + 0x28,   /* base 0, 64 KiB: the way to real mode */
	SEL_R_REAL_DATA = SEL_FREE + 0x30,
	SEL_R_REAL_STACK = SEL_FREE + 0x38, /* 128 KiB: a stack that wraps does not shut down */
};

/* What the assembly below pops on its way into a 64-bit or compatibility-mode round. */
struct entry64 {
	u64 gpr[15]; /* r15 down to rax, without rsp */
	u64 rip, cs, rflags, rsp, ss;
};

/* The same for the legacy modes: POPAL, then IRETD. */
struct entry32 {
	struct legacy_regs regs;
	u32 eip, cs, eflags, esp, ss, es, ds, fs, gs;
};

struct entry64 rnd_entry64;
struct entry32 rnd_entry32;
u64 rnd_cr0, rnd_cr3, rnd_cr4;
u32 rnd_ds, rnd_vector;
u64 rnd_sp;
u32 rnd_stack[2]; /* ESP and SS for a legacy round at CPL 0 */
struct {
	u16 limit;
	u64 base;
} __attribute__((packed)) rnd_idt64_pointer, rnd_idt32_pointer;

static u64 rnd_idt64[512] __attribute__((aligned(4096)));
static u64 rnd_idt32[256] __attribute__((aligned(4096)));
static struct tss32 rescue_tss __attribute__((aligned(128)));
static u8 rescue_stack[4096] __attribute__((aligned(4096)));
static u64 gdt_copy[128];

/* Page tables of a round: long mode, and 32-bit paging. */
static u64 pml4[512] __attribute__((aligned(4096)));
static u64 pdpt[512] __attribute__((aligned(4096)));
static u64 pd[512] __attribute__((aligned(4096)));
static u64 pt_kernel[512] __attribute__((aligned(4096)));
static u64 pt_sandbox[512] __attribute__((aligned(4096)));
static u32 pd32[1024] __attribute__((aligned(4096)));
static u32 pt32[2][1024] __attribute__((aligned(4096)));

extern u8 rnd_stubs64[], rnd_stubs32[], rnd_enter32[], rnd_enter32_kernel[], rnd_enter_real[];
extern u8 rnd_rescue[], rnd_syscall[], rnd_syscall32[];
extern u8 real_start[], real_end[], real_handler[];

/* Run rnd_entry64 until something stops it; rnd_vector says what. */
void rnd_enter64(void);

__asm__(".text\n"
	".code64\n"
	"rnd_enter64:\n"
	"	pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
	"	movq %rsp, rnd_sp\n"
	"	lidt rnd_idt64_pointer\n"
	"	movq rnd_cr4, %rax; movq %rax, %cr4\n"
	"	movq rnd_cr0, %rax; movq %rax, %cr0\n"
	"	movq rnd_cr3, %rax; movq %rax, %cr3\n"
	"	movl rnd_ds, %eax; movl %eax, %ds; movl %eax, %es\n"
	"	movq $rnd_entry64, %rsp\n"
	"	popq %r15; popq %r14; popq %r13; popq %r12; popq %r11; popq %r10; popq %r9; popq %r8\n"
	"	popq %rdi; popq %rsi; popq %rbp; popq %rbx; popq %rdx; popq %rcx; popq %rax\n"
	"	iretq\n"
	".balign 16\n"
	"rnd_stubs64:\n"
	".set vector, 0\n"
	".rept 256\n"
	".balign 16\n"
	"	movl $vector, %edi\n"
	"	jmp rnd_common64\n"
	".set vector, vector + 1\n"
	".endr\n"
	"rnd_syscall:\n"
	"	movl $0x100, %edi\n"
	"rnd_common64:\n"
	"	movl $boot_pml4, %eax; movq %rax, %cr3\n"
	"	movl $0x80010033, %eax; movq %rax, %cr0\n"
	"	movl $0x20, %eax; movq %rax, %cr4\n"
	"	movq rnd_sp, %rsp\n"
	"	movl %edi, rnd_vector\n"
	"	xorl %eax, %eax; movq %rax, %dr7\n"
	"	lgdt gdt_pointer; lidt idt_pointer\n"
	"	movl $0x10, %eax; movl %eax, %ds; movl %eax, %es; movl %eax, %ss\n"
	"	xorl %eax, %eax; movl %eax, %fs; movl %eax, %gs; lldt %ax\n"
	"	movl $0xc0000080, %ecx; xorl %edx, %edx; movl $0xd01, %eax; wrmsr\n"
	"	movq %rsp, %rax\n"
	"	pushq $0x10; pushq %rax; pushq $2; pushq $8; pushq $1f\n"
	"	iretq\n" /* ends the blocking of NMIs */
	"1:	popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n"
	"	ret\n"

	".code32\n"
	/* For legacy_enter: CPL 3 and virtual-8086 mode, whose IRETD pops a stack. */
	"rnd_enter32:\n"
	"	lidt rnd_idt32_pointer\n"
	"	movl rnd_cr4, %eax; movl %eax, %cr4\n"
	"	movl rnd_cr3, %eax; movl %eax, %cr3\n"
	"	movl rnd_cr0, %eax; movl %eax, %cr0\n"
	"	movl rnd_ds, %eax; movl %eax, %ds; movl %eax, %es\n"
	"	movl $rnd_entry32, %esp\n"
	"	popal\n"
	"	iretl\n"
	/* CPL 0: the frame lies on the round's own stack already. */
	"rnd_enter32_kernel:\n"
	"	lidt rnd_idt32_pointer\n"
	"	movl rnd_cr4, %eax; movl %eax, %cr4\n"
	"	movl rnd_cr3, %eax; movl %eax, %cr3\n"
	"	movl rnd_cr0, %eax; movl %eax, %cr0\n"
	"	movl rnd_ds, %eax; movl %eax, %ds; movl %eax, %es\n"
	"	movl $rnd_entry32, %esp\n"
	"	popal\n"
	"	lssl %ss:rnd_stack, %esp\n"
	"	iretl\n"
	".balign 16\n"
	"rnd_stubs32:\n"
	".set vector, 0\n"
	".rept 256\n"
	".balign 16\n"
	"	movl $vector, %edi\n"
	"	jmp rnd_common32\n"
	".set vector, vector + 1\n"
	".endr\n"
	"rnd_syscall32:\n" /* flat, but perhaps still in real mode */
	"	movl $0x100, %edi\n"
	"	movl %cr0, %eax; andl $0x7fffffff, %eax; orl $1, %eax; movl %eax, %cr0\n"
	"	ljmpl $0x18, $rnd_common32\n"
	"rnd_rescue:\n"
	"	movl $0x101, %edi\n"
	"rnd_common32:\n"
	"	movl $0x10, %eax; movl %eax, %ds\n"
	"	movl %cr0, %eax; andl $0x7fffffff, %eax; movl %eax, %cr0\n"
	"	movl %edi, rnd_vector\n"
	"	xorl %eax, %eax; movl %eax, %dr7\n"
	"	lgdt gdt_pointer\n"
	"	jmp legacy_exit\n"

	/* The way to real mode; SEL_R_REAL has the limit that real mode needs. */
	"rnd_enter_real:\n"
	"	movl $0xf0, %eax; movl %eax, %ds; movl %eax, %es; movl %eax, %fs; movl %eax, %gs\n"
	"	movl $0xf8, %eax; movl %eax, %ss\n"
	"	movl $0x7ffc, %esp\n"
	"	ljmpl $0xe8, $0x8000\n"
	".code16\n"
	"real_start:\n" /* at 0000:8000, still protected */
	"	movl %cr0, %eax; andl $0x7ffffffe, %eax; movl %eax, %cr0\n"
	"	ljmp $0x0800, $(1f - real_start)\n"
	"1:	lidtl %cs:(real_ivt - real_start)\n"
	"	movw $0x0800, %ax; movw %ax, %ss\n"
	"	movl $(real_regs - real_start), %esp\n"
	"	popw %ds; popw %es\n"
	"	popal\n"
	"	lssw %cs:(real_stack - real_start), %sp\n"
	"	iretw\n"
	"real_handler:\n"
	"	cli\n"
	"	lgdtl %cs:(real_gdt - real_start)\n"
	"	movl %cr0, %eax; andl $0x7fffffff, %eax; orl $1, %eax; movl %eax, %cr0\n"
	"	movl $0x102, %edi\n"
	"	ljmpl $0x18, $rnd_common32\n"
	".balign 4\n"
	"real_gdt:	.word 0x3ff; .long gdt\n"
	"real_ivt:	.word 0x3ff; .long 0\n"
	"	.globl real_regs, real_stack\n"
	"real_regs:	.word 0, 0; .fill 8, 4, 0\n"
	"real_stack:	.word 0, 0\n"
	"real_end:\n"
	".code64\n");

extern u8 real_regs[], real_stack[];

static u64 state;
static bool wild;

/* xorshift64* */
static u64 rnd(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1d;
}

static u32 below(u32 n) { return (u32)((rnd() >> 32) * n >> 32); }
static bool one_in(u32 n) { return below(n) == 0; }

/*
 * Wind up the watchdog, an NMI each 20 ms: right before the jump, as an NMI while legacy_enter or
 * legacy_exit changes modes would be the end.
 */
static void arm(void)
{
	outb(0x43, 0x34);
	outb(0x40, 0x37);
	outb(0x40, 0x5d);
}

/* Leave long mode for the code at an address, with the watchdog wound up. */
static void enter_legacy(const u8 *code)
{
	arm();
	legacy_enter((u32)(u64)code);
}

static void flags_of_page(u64 *pte, u64 at)
{
	*pte = at | PTE_P | PTE_U | PTE_W;
	if (one_in(24))
		*pte &= ~(1ull << below(3));
	if (one_in(24))
		*pte |= PTE_XD;
	if (one_in(64))
		*pte |= 1ull << (12 + below(40));
}

static void writable(const void *start, u64 size)
{
	for (u64 a = (u64)start & ~0xfffull; a < (u64)start + size; a += 4096) {
		pt_kernel[(a >> 12) - 512] |= PTE_W;
		pt32[0][a >> 12] |= PTE_W;
	}
}

static void tables_init(void)
{
	pml4[0] = pml4[256] = (u64)pdpt | PTE_P | PTE_W | PTE_U;
	pdpt[0] = (u64)pd | PTE_P | PTE_W | PTE_U;
	pd[1] = (u64)pt_kernel | PTE_P | PTE_W;
	pd[2] = (u64)pt_sandbox | PTE_P | PTE_W | PTE_U;
	if (wild) {
		pd[0] = PTE_P | PTE_W | PTE_U | PTE_PS;
		pdpt[3] = (u64)&boot_pd[3 * 512] | PTE_P | PTE_W | PTE_U;
	}
	for (u64 i = 0; i < 512; i++) {
		pt_kernel[i] = (0x200000 + i * 4096) | PTE_P;
		pt32[0][i + 512] = (u32)(0x200000 + i * 4096) | PTE_P;
	}
	for (u32 i = 0; i < 0x110; i++)
		pt32[0][i] = i << 12 | PTE_P | PTE_W | PTE_U;
	pt32[0][REAL_PAGE >> 12] = REAL_PAGE | PTE_P;
	pd32[0] = (u32)(u64)pt32[0] | PTE_P | PTE_W | PTE_U;
	pd32[1] = (u32)(u64)pt32[1] | PTE_P | PTE_W | PTE_U;
	writable(ist_stacks, sizeof(ist_stacks));
	writable(gdt, sizeof(gdt));
	writable(&legacy_tss, sizeof(legacy_tss));
	writable(&rescue_tss, sizeof(rescue_tss));
	writable(rescue_stack, sizeof(rescue_stack));
	writable(legacy_stack_top - 8192, 8192);
	for (unsigned i = 0; i < 256; i++) {
		u64 at = (u64)rnd_stubs64 + 16 * i;

		rnd_idt64[2 * i] = (at & 0xffff) | (u64)SEL_CODE64 << 16 | 1ull << 32 |
				   (i & 1 ? 0xefull : 0x8eull) << 40 | (at >> 16) << 48;
		at = (u64)rnd_stubs32 + 16 * i;
		rnd_idt32[i] = (at & 0xffff) | (u64)SEL_CODE32 << 16 |
			       (i & 1 ? 0xeeull : 0x8eull) << 40 | (at >> 16) << 48;
	}
	rnd_idt32[DF] = (u64)SEL_R_RESCUE << 16 | 0x85ull << 40;
	rnd_idt64_pointer.limit = sizeof(rnd_idt64) - 1;
	rnd_idt64_pointer.base = (u64)rnd_idt64;
	rnd_idt32_pointer.limit = sizeof(rnd_idt32) - 1;
	rnd_idt32_pointer.base = (u64)rnd_idt32;
}

static void descriptors_init(void)
{
	gdt[SEL_R_CODE16 >> 3] = desc(SANDBOX, 0xffff, 0x9b, 0);
	gdt[SEL_R_DATA16 >> 3] = desc(SANDBOX, 0xffff, 0x93, 0);
	gdt[SEL_R_UCODE16 >> 3] = desc(SANDBOX, 0xffff, 0xfb, 0);
	gdt[SEL_R_UDATA16 >> 3] = desc(SANDBOX, 0xffff, 0xf3, 0);
	gdt[SEL_R_RESCUE >> 3] = desc((u32)(u64)&rescue_tss, sizeof(rescue_tss) - 1, 0x89, 0);
	gdt[SEL_R_REAL >> 3] = desc(0, 0xffff, 0x9b, 0);
	gdt[SEL_R_REAL_DATA >> 3] = desc(0, 0xffff, 0x93, 0);
	gdt[SEL_R_REAL_STACK >> 3] = desc(0, 0x1ffff, 0x93, 0);
	for (unsigned i = 0; i < 128; i++)
		gdt_copy[i] = gdt[i];
}

/* The rescue task's state, which a task switch away from it overwrites. */
static void rescue_init(void)
{
	u32 *t = (u32 *)&rescue_tss;

	for (unsigned i = 0; i < sizeof(rescue_tss) / 4; i++)
		t[i] = 0;
	t[1] = t[14] = (u32)(u64)rescue_stack + sizeof(rescue_stack); /* ESP0, ESP */
	t[2] = t[18] = t[20] = t[21] = SEL_DATA;                      /* SS0, ES, SS, DS */
	t[7] = (u32)(u64)pd32;                                        /* CR3 */
	t[8] = (u32)(u64)rnd_rescue;                                  /* EIP */
	t[9] = 2;                                                     /* EFLAGS */
	t[19] = SEL_CODE32;                                           /* CS */
	rescue_tss.iomap = sizeof(rescue_tss);
}

/* One instruction's worth of bytes that decode more often than plain noise does. */
static u8 *instruction(u8 *p, bool long_mode)
{
	static const u8 prefixes[] = { 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e,
				       0x36, 0x3e, 0x26, 0x64, 0x65 };
	unsigned tail;

	while (one_in(4))
		*p++ = prefixes[below(sizeof(prefixes))];
	if (long_mode && one_in(2))
		*p++ = (u8)(0x40 | below(16));
	switch (below(16)) {
	case 0:
	case 1:
	case 2:
	case 3:
		*p++ = 0x0f;
		*p++ = (u8)rnd();
		break;
	case 4:
		*p++ = 0x0f;
		*p++ = one_in(2) ? 0x38 : 0x3a;
		*p++ = (u8)rnd();
		break;
	case 5:
		*p++ = 0xc5;
		*p++ = (u8)(rnd() | 0x80);
		*p++ = (u8)rnd();
		break;
	case 6:
		*p++ = 0xc4;
		*p++ = (u8)(0xe0 | (1 + below(3)));
		*p++ = (u8)rnd();
		*p++ = (u8)rnd();
		break;
	case 7:
		*p++ = 0x62;
		*p++ = (u8)(0xf0 | (1 + below(3)));
		*p++ = (u8)(rnd() | 4);
		*p++ = (u8)rnd();
		*p++ = (u8)rnd();
		break;
	case 8: *p++ = (u8)(0xd8 | below(8)); break;
	default: *p++ = (u8)rnd(); break;
	}
	*p++ = one_in(3) ? (u8)(below(8) | below(8) << 3) : (u8)rnd();
	for (tail = below(6); tail; tail--)
		*p++ = one_in(2) ? (u8)below(64) : (u8)rnd();
	return p;
}

/* Whether OUT of up to four bytes to a port misses the watchdog's PIT, reset and the exit device. */
static bool harmless_out(u8 port)
{
	return (port < 0x3d || port > 0x43) && (port < 0x61 || port > 0x64) &&
	       (port < 0x8f || port > 0x92) && port < 0xed;
}

/*
 * Replace what would take the machine from us: descriptor-table and task-register loads, MOV to control
 * registers, WRMSR, and OUT to the ports of the exit device and of reset.
 */
static void tame(u8 *code, u32 size)
{
	for (u32 i = 0; i + 1 < size; i++) {
		if (code[i] == 0x0f &&
		    (code[i + 1] == 0x00 || code[i + 1] == 0x01 || code[i + 1] == 0x22 ||
		     code[i + 1] == 0x30 || code[i + 1] == 0x26))
			code[i + 1] = 0x1f;
		if ((code[i] & 0xfe) == 0xe6 && !harmless_out(code[i + 1]))
			code[i + 1] = 0x80;
		if ((code[i] & 0xfe) == 0xee || (code[i] & 0xfe) == 0x6e)
			code[i] = 0x90;
	}
}

static void fill(u8 *sandbox, bool long_mode)
{
	u32 size = one_in(8) ? 0x800 : 0x100;
	u8 *end = sandbox + size, *p = sandbox;

	while (p < end)
		p = one_in(8) ? (*p = (u8)rnd(), p + 1) : instruction(p, long_mode);
	if (!wild)
		tame(sandbox, size + 32);
}

static u64 value(u64 base)
{
	switch (below(8)) {
	case 0: return rnd();
	case 1: return below(256);
	case 2: return (u64)0 - below(256);
	case 3: return 1ull << below(64);
	default: return base + below(SANDBOX_SIZE);
	}
}

static u32 flags(bool user)
{
	u32 f = (u32)rnd() & 0xcd5;

	if (!one_in(8))
		f &= ~0x400u;
	if (one_in(16))
		f |= 0x100;
	if (one_in(2))
		f |= 0x200;
	if (one_in(8))
		f |= 0x40000;
	if (one_in(16))
		f |= 0x200000;
	if (user && one_in(8))
		f |= 0x3000;
	return f | 2;
}

static u64 control4(void)
{
	u64 cr4 = CR4_PAE, extra = rnd();
	u32 ebx7 = cpuid_ebx(7, 0), ecx7 = cpuid_ecx(7, 0), ecx1 = cpuid_ecx(1, 0);

	if (extra & 0xe)
		cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
	if ((extra & 0x30) && ecx1 >> 26 & 1)
		cr4 |= CR4_OSXSAVE;
	if (extra & 0x40 && ebx7 & 1)
		cr4 |= CR4_FSGSBASE;
	if (!(extra & 0x700) && ecx7 >> 2 & 1)
		cr4 |= CR4_UMIP;
	cr4 |= extra & (CR4_DE | CR4_PGE);
	if (!(extra & 0x7000))
		cr4 |= CR4_TSD;
	if (!(extra & 0x1f0000) && ebx7 >> 7 & 1)
		cr4 |= CR4_SMEP;
	if (!(extra & 0xf00000) && ebx7 >> 20 & 1)
		cr4 |= CR4_SMAP;
	return cr4;
}

static u64 control0(void)
{
	u64 cr0 = 0x80010033;

	if (one_in(16))
		cr0 |= CR0_TS;
	if (one_in(32))
		cr0 |= CR0_EM;
	if (one_in(4))
		cr0 |= CR0_AM;
	return cr0;
}

static void pages(void)
{
	for (u32 i = 0; i < SANDBOX_SIZE >> 12; i++) {
		u32 index = (SANDBOX >> 12 & 511) + i;
		u64 pte;

		flags_of_page(&pte, SANDBOX + i * 4096);
		pt_sandbox[index] = pte;
		pt32[1][(SANDBOX >> 12 & 1023) + i] = (u32)pte;
	}
	/* A round that cannot fetch its first page is over too soon. */
	pt_sandbox[SANDBOX >> 12 & 511] = SANDBOX | PTE_P | PTE_W | PTE_U;
	pt32[1][SANDBOX >> 12 & 1023] = SANDBOX | PTE_P | PTE_W | PTE_U;
}

static void round64(enum mode mode)
{
	static const struct {
		u16 cs, ss;
	} sel[] = {
		[K64] = { SEL_CODE64, SEL_DATA },
		[U64] = { SEL_UCODE64, SEL_UDATA },
		[K32] = { SEL_CODE32, SEL_DATA },
		[U32] = { SEL_UCODE32, SEL_UDATA },
		[K16] = { SEL_R_CODE16, SEL_R_DATA16 },
		[U16] = { SEL_R_UCODE16 | 3, SEL_R_UDATA16 | 3 },
	};
	bool sixteen = mode == K16 || mode == U16, user = mode == U64 || mode == U32 || mode == U16;
	u64 base = sixteen ? 0 : SANDBOX;

	fill((u8 *)(u64)SANDBOX, mode == K64 || mode == U64);
	if (mode <= U64 && one_in(4))
		base |= 0xffff800000000000;
	for (unsigned i = 0; i < 15; i++)
		rnd_entry64.gpr[i] = value(base);
	rnd_entry64.rip = base + below(0x80);
	rnd_entry64.cs = sel[mode].cs;
	rnd_entry64.rflags = flags(user);
	rnd_entry64.rsp = base + SANDBOX_SIZE - 64 - 8 * below(512);
	rnd_entry64.ss = sel[mode].ss;
	rnd_ds = sel[mode].ss;
	rnd_cr0 = control0();
	rnd_cr4 = control4();
	rnd_cr3 = (u64)pml4;
	arm();
	rnd_enter64();
}

static void legacy_registers(u32 base)
{
	u32 *r = (u32 *)&rnd_entry32.regs;

	for (unsigned i = 0; i < 8; i++)
		r[i] = (u32)value(base);
}

/* Protected mode with 32-bit paging: 32 or 16-bit code. */
static void round_protected(bool user, bool sixteen)
{
	u32 base = sixteen ? 0 : SANDBOX, esp = base + SANDBOX_SIZE - 64 - 4 * below(512);

	fill((u8 *)(u64)SANDBOX, false);
	legacy_registers(base);
	rnd_entry32.eip = base + below(0x80);
	rnd_entry32.eflags = flags(user);
	rnd_cr0 = control0();
	rnd_cr3 = (u64)pd32;
	rnd_cr4 = control4() & ~(CR4_PAE | CR4_FSGSBASE);
	if (user) {
		rnd_entry32.cs = sixteen ? SEL_R_UCODE16 | 3 : SEL_UCODE32;
		rnd_entry32.ss = rnd_ds = sixteen ? SEL_R_UDATA16 | 3 : SEL_UDATA;
		rnd_entry32.esp = esp;
		enter_legacy(rnd_enter32);
		return;
	}
	rnd_entry32.cs = sixteen ? SEL_R_CODE16 : SEL_CODE32;
	rnd_ds = sixteen ? SEL_R_DATA16 : SEL_DATA;
	esp -= 12;
	{
		u32 *frame = (u32 *)(u64)(sixteen ? SANDBOX + esp : esp);

		frame[0] = rnd_entry32.eip;
		frame[1] = rnd_entry32.cs;
		frame[2] = rnd_entry32.eflags;
	}
	rnd_stack[0] = esp;
	rnd_stack[1] = rnd_ds;
	enter_legacy(rnd_enter32_kernel);
}

static void round_v86(void)
{
	u32 segment = REAL_SANDBOX >> 4;

	fill((u8 *)(u64)REAL_SANDBOX, false);
	legacy_registers(0);
	rnd_entry32.eip = below(0x80);
	rnd_entry32.cs = rnd_entry32.ss = rnd_entry32.ds = rnd_entry32.es = segment;
	rnd_entry32.fs = below(0x10000);
	rnd_entry32.gs = below(0x10000);
	rnd_entry32.esp = 0xff00;
	rnd_entry32.eflags = flags(true) | (u32)FLAG_VM;
	rnd_ds = SEL_DATA;
	rnd_cr0 = control0();
	rnd_cr3 = (u64)pd32;
	rnd_cr4 = (control4() & ~(CR4_PAE | CR4_FSGSBASE)) | (rnd() & 1); /* VME */
	enter_legacy(rnd_enter32);
}

static void round_real(void)
{
	u8 *page = (u8 *)(u64)REAL_PAGE;
	u32 *vectors = 0; /* the table lies at 0 */
	u16 *w = (u16 *)(page + (real_regs - real_start));
	u16 *stack = (u16 *)(page + (real_stack - real_start));
	u16 *frame = (u16 *)(u64)(REAL_SANDBOX + 0xff00);

	__asm__("" : "+r"(vectors)); /* so that the compiler takes 0 for an address */
	for (u32 i = 0; i < (u32)(real_end - real_start); i++)
		page[i] = real_start[i];
	for (unsigned i = 0; i < 256; i++)
		vectors[i] = (u32)(real_handler - real_start) | (REAL_PAGE >> 4) << 16;
	fill((u8 *)(u64)REAL_SANDBOX, false);
	w[0] = w[1] = REAL_SANDBOX >> 4;
	legacy_registers(0);
	for (unsigned i = 0; i < 8; i++)
		((u32 *)(w + 2))[i] = ((u32 *)&rnd_entry32.regs)[i];
	stack[0] = 0xff00;
	stack[1] = REAL_SANDBOX >> 4;
	frame[0] = (u16)below(0x80);
	frame[1] = REAL_SANDBOX >> 4;
	frame[2] = (u16)flags(false);
	enter_legacy(rnd_enter_real);
}

static bool ignore(struct frame *f)
{
	(void)f;
	return true;
}

#define IOAPIC ((volatile u32 *)0xfec00000ull)

/* Put back what a round or an access may have changed. */
static void restore(void)
{
	for (unsigned i = 0; i < 128; i++)
		gdt[i] = gdt_copy[i];
	gdt[SEL_TSS >> 3] |= 2ull << 40; /* loaded, so busy */
	rescue_init();
	apic_write(0xf0, 0x1ff);
	apic_write(0x80, 0);
	apic_write(0x320, 0x10000);
	apic_write(0x350, 0x10000);
	apic_write(0x360, 0x10000);
	for (unsigned i = 0; i < 16; i++)
		apic_write(0xb0, 0);
	wrmsr(MSR_LSTAR, (u64)rnd_syscall);
	wrmsr(MSR_CSTAR, (u64)rnd_syscall);
	/* Outside of long mode SYSCALL goes to STAR[31:0], on processors that have it there. */
	wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)SEL_UCODE32 << 48 | (u32)(u64)rnd_syscall32);
	wrmsr(MSR_FMASK, 0x700);
	wrmsr(MSR_FS_BASE, SANDBOX + below(SANDBOX_SIZE));
	wrmsr(MSR_GS_BASE, SANDBOX + below(SANDBOX_SIZE));
	wrmsr(MSR_SYSENTER_CS, 0);
	for (unsigned pin = 0; pin < 24; pin++) {
		IOAPIC[0] = 0x10 + 2 * pin;
		IOAPIC[4] = pin == 2 ? 0x400 : 0x10000;
		IOAPIC[0] = 0x11 + 2 * pin;
		IOAPIC[4] = 0;
	}
	pic_quiet();
	if (one_in(4)) /* something to deliver once IF=1 */
		apic_write(0x300, 0x40000 | (32 + below(224)));
}

static bool port_spared(u32 port, unsigned size, u32 data)
{
	for (u32 p = port; p < port + size; p++) {
		if ((p >= 0xf0 && p < 0xf8) || (p >= 0x3f8 && p < 0x400) || p == 0x92)
			return true;
		if ((p >= 0x600 && p < 0x640) || (p >= 0xb000 && p < 0xb040))
			return true; /* ACPI power management: it powers off */
		if (p == 0xcf9 && (port != 0xcf8 || size != 4))
			return true;
		if (p == 0x64 && ((data >> 8 * (p - port) & 0xf0) == 0xf0 ||
				  (data >> 8 * (p - port) & 0xff) == 0xd1))
			return true;
	}
	return false;
}

static void port_access(void)
{
	static const struct {
		u16 first, count;
	} ranges[] = {
		{ 0x00, 0x10 }, { 0x20, 2 },   { 0x40, 4 },        { 0x60, 5 },     { 0x70, 4 },
		{ 0x80, 0x20 }, { 0xa0, 2 },   { 0xc0, 0x20 },     { 0x170, 8 },    { 0x1f0, 8 },
		{ 0x2f8, 8 },   { 0x376, 1 },  { 0x378, 8 },       { 0x3b0, 0x30 }, { 0x3f0, 8 },
		{ 0x3f8, 8 },   { 0x4d0, 2 },  { 0x510, 0x10 },    { 0xcf8, 8 },    { 0xcfc, 4 },
		{ 0xb000, 64 }, { 0x600, 64 }, { 0xc000, 0x1000 }, { 0, 0xfff0 },
	};
	unsigned i = below(sizeof(ranges) / sizeof(ranges[0])), size = 1u << below(3);
	u16 port = (u16)(ranges[i].first + below(ranges[i].count));
	u32 data = (u32)rnd();

	if (port == 0xcf8 && size == 4)
		data = 0x80000000 | below(32) << 11 | below(8) << 8 | (below(64) << 2);
	if (one_in(2)) {
		if (size == 1)
			__asm__ volatile("inb %w1, %b0" : "=a"(data) : "Nd"(port));
		else if (size == 2)
			__asm__ volatile("inw %w1, %w0" : "=a"(data) : "Nd"(port));
		else
			__asm__ volatile("inl %w1, %0" : "=a"(data) : "Nd"(port));
		return;
	}
	if (!wild && port_spared(port, size, data))
		return;
	if (size == 1)
		__asm__ volatile("outb %b0, %w1" : : "a"(data), "Nd"(port));
	else if (size == 2)
		__asm__ volatile("outw %w0, %w1" : : "a"(data), "Nd"(port));
	else
		__asm__ volatile("outl %0, %w1" : : "a"(data), "Nd"(port));
}

static void mmio_access(void)
{
	static const u64 bases[] = { 0xa0000,    0xc0000,    0xf0000,    0xfec00000, 0xfed00000,
				     0xfee00000, 0xfffc0000, 0xe0000000, 0xfeb00000 };
	u64 at = bases[below(sizeof(bases) / sizeof(bases[0]))] + below(0x1000);
	u64 data = rnd();
	unsigned size = below(4);

	if (one_in(8))
		at = 0xc0000000 + (u32)(rnd() & 0x3ffffff8);
	if (one_in(2)) {
		switch (size) {
		case 0: (void)*(volatile u8 *)at; break;
		case 1: (void)*(volatile u16 *)at; break;
		case 2: (void)*(volatile u32 *)at; break;
		default: (void)*(volatile u64 *)at; break;
		}
		return;
	}
	/* The ICR could send an INIT, and IPIs to the other CPU. */
	if (!wild && at >= 0xfee002f0 && at < 0xfee00320)
		return;
	switch (size) {
	case 0: *(volatile u8 *)at = (u8)data; break;
	case 1: *(volatile u16 *)at = (u16)data; break;
	case 2: *(volatile u32 *)at = (u32)data; break;
	default: *(volatile u64 *)at = data; break;
	}
}

static void msr_access(void)
{
	static const u32 bases[] = { 0,          0x170,      0x1a0, 0x200,     0x250, 0x268,
				     0x2ff,      0x400,      0x480, 0x6e0,     0x800, 0xc0000080,
				     0xc0000100, 0xc0010000, 0xd90, 0x40000000 };
	struct try t = try_new(K64);
	u64 data = one_in(2) ? rnd() : rnd() & 0xffff;

	t.rcx = bases[below(sizeof(bases) / sizeof(bases[0]))] + below(64);
	if (one_in(8))
		t.rcx = rnd();
	t.rax = (u32)data;
	t.rdx = data >> 32;
	if (one_in(2)) {
		try_run(&t, CODE("rdmsr"));
		return;
	}
	if (!wild && ((u32)t.rcx == MSR_EFER || (u32)t.rcx == MSR_APIC_BASE || (u32)t.rcx == 0x10))
		return;
	try_run(&t, CODE("wrmsr"));
}

static void accesses(void)
{
	for (u32 n = below(16); n; n--) {
		switch (below(3)) {
		case 0: port_access(); break;
		case 1: mmio_access(); break;
		default: msr_access(); break;
		}
	}
	outb(0x3fc, 0x03); /* the heartbeat needs its port: no loopback */
	outb(0x3f9, 0x00);
	tap.uart_ready = false;
}

/* The n-th number on the command line; other words are skipped. */
static u64 argument(unsigned n, u64 otherwise)
{
	const u32 *info = (const u32 *)(u64)mb_info;
	const char *p;

	if (mb_magic != 0x2badb002 || !(info[0] & 4))
		return otherwise;
	for (p = (const char *)(u64)info[4]; *p;) {
		u64 number = 0;
		bool digits = true;

		while (*p == ' ')
			p++;
		if (!*p)
			break;
		for (; *p && *p != ' '; p++) {
			digits &= *p >= '0' && *p <= '9';
			number = number * 10 + (u64)(*p - '0');
		}
		if (digits && n-- == 0)
			return number;
	}
	return otherwise;
}

static void heartbeat(u64 round, u32 *counts)
{
	static const struct {
		u32 vector;
		const char *name;
	} names[] = { { DE, " DE " },         { DB, " DB " },        { NMI, " NMI " },
		      { BP, " BP " },         { UD, " UD " },        { NM, " NM " },
		      { DF, " DF " },         { TS, " TS " },        { NP, " NP " },
		      { SS, " SS " },         { GP, " GP " },        { PF, " PF " },
		      { MF, " MF " },         { AC, " AC " },        { XM, " XM " },
		      { 0x100, " syscall " }, { 0x101, " rescue " }, { 0x102, " real " } };
	u32 named = 0;

	tap_puts("round ");
	tap_put_dec((unsigned)round);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!counts[names[i].vector])
			continue;
		tap_puts(names[i].name);
		tap_put_dec(counts[names[i].vector]);
		named += counts[names[i].vector];
	}
	tap_puts(" other ");
	tap_put_dec(1000 - named);
	tap_putc('\n');
	for (unsigned i = 0; i < 0x103; i++)
		counts[i] = 0;
}

void lm_main(void)
{
	u64 seed = argument(0, 1), rounds = argument(1, 0);
	static u32 counts[0x103];

	wild = seed % 4 == 0;
	state = seed * 0x9e3779b97f4a7c15 + 1;
	legacy_init();
	descriptors_init();
	tables_init();
	handler[NMI] = ignore;
	for (unsigned i = 32; i < 256; i++)
		if (i != DONE)
			handler[i] = ignore;
	if (cpuid_ecx(1, 0) >> 26 & 1) {
		write_cr4(read_cr4() | CR4_OSXSAVE);
		__asm__ volatile("xsetbv" : : "c"(0), "a"(cpuid_eax(13, 0)), "d"(cpuid_edx(13, 0)));
		write_cr4(read_cr4() & ~CR4_OSXSAVE);
	}
	say("random-bytes guest, seed", seed);
	for (u64 round = 1; !rounds || round <= rounds; round++) {
		if (one_in(4))
			accesses();
		pages();
		restore();
		rnd_vector = 0;
		switch (below(12)) {
		case 0: round64(K64); break;
		case 1: round64(U64); break;
		case 2: round64(K32); break;
		case 3: round64(U32); break;
		case 4: round64(K16); break;
		case 5: round64(U16); break;
		case 6: round_protected(false, false); break;
		case 7: round_protected(true, false); break;
		case 8: round_protected(false, true); break;
		case 9: round_protected(true, true); break;
		case 10: round_v86(); break;
		default: round_real(); break;
		}
		counts[rnd_vector < 0x103 ? rnd_vector : 0]++;
		if (round % 1000 == 0)
			heartbeat(round, counts);
	}
	tap_check(true, "the random-bytes guest came to its last round");
}
