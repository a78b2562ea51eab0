/*
 * What every long-mode test image uses: the machine set up by boot.S, and "tries": short pieces of
 * assembly that run at a chosen privilege level and mode, and stop by a fault or by INT 0x81.
 *
 * Rules are named after their section in the Intel SDM (order number 325462-075: chapter 4 paging,
 * 5 protection, 6 interrupts, 7 tasks, 8 multiple processors, 9 initialization, 10 APIC, 17 debug).
 * Where AMD's processors differ by their manual (APM), the rule is chosen by the CPUID vendor and
 * says so in its name.
 */
#ifndef TESTS_GUEST_LM_H
#define TESTS_GUEST_LM_H

#include "../../common/tap.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

/* Selectors of the GDT in boot.S. */
enum {
	SEL_CODE64 = 0x08,
	SEL_DATA = 0x10,
	SEL_CODE32 = 0x18,
	SEL_UCODE32 = 0x23,
	SEL_UDATA = 0x2b,
	SEL_UCODE64 = 0x33,
	SEL_CODE16 = 0x38,
	SEL_TSS = 0x40,
	SEL_LDT = 0x50,
	SEL_TSS_AP = 0x60,
	SEL_STACK16 = 0x70,
	SEL_UCODE16 = 0x7b,
	SEL_SYSENTER = 0x80,
	SEL_TSS32 = 0xb0,  /* for legacy.S */
	SEL_FREE = 0xc0,   /* this and all above: for the tests */
	SEL_BEYOND = 0x400 /* first selector outside the limit */
};

/* Vectors. */
enum {
	DE = 0,
	DB = 1,
	NMI = 2,
	BP = 3,
	OF = 4,
	BR = 5,
	UD = 6,
	NM = 7,
	DF = 8,
	TS = 10,
	NP = 11,
	SS = 12,
	GP = 13,
	PF = 14,
	MF = 16,
	AC = 17,
	MC = 18,
	XM = 19,
	CP = 21,
	DONE = 0x81 /* the snippet reached its end */
};

/* Page-fault error code, SDM 3A 4.7. */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

/* Page-table entry bits, SDM 3A 4.5. */
#define PTE_P  (1ull << 0)
#define PTE_W  (1ull << 1)
#define PTE_U  (1ull << 2)
#define PTE_A  (1ull << 5)
#define PTE_D  (1ull << 6)
#define PTE_PS (1ull << 7)
#define PTE_G  (1ull << 8)
#define PTE_XD (1ull << 63)

#define CR0_PE 0x1ull
#define CR0_MP 0x2ull
#define CR0_EM 0x4ull
#define CR0_TS 0x8ull
#define CR0_NE 0x20ull
#define CR0_WP 0x10000ull
#define CR0_AM 0x40000ull
#define CR0_NW 0x20000000ull
#define CR0_CD 0x40000000ull
#define CR0_PG 0x80000000ull

#define CR4_TSD        (1ull << 2)
#define CR4_DE         (1ull << 3)
#define CR4_PAE        (1ull << 5)
#define CR4_PGE        (1ull << 7)
#define CR4_PCE        (1ull << 8)
#define CR4_OSFXSR     (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_UMIP       (1ull << 11)
#define CR4_LA57       (1ull << 12)
#define CR4_FSGSBASE   (1ull << 16)
#define CR4_PCIDE      (1ull << 17)
#define CR4_OSXSAVE    (1ull << 18)
#define CR4_SMEP       (1ull << 20)
#define CR4_SMAP       (1ull << 21)

#define FLAG_CF 0x1ull
#define FLAG_ZF 0x40ull
#define FLAG_SF 0x80ull
#define FLAG_TF 0x100ull
#define FLAG_IF 0x200ull
#define FLAG_DF 0x400ull
#define FLAG_NT 0x4000ull
#define FLAG_RF 0x10000ull
#define FLAG_VM 0x20000ull
#define FLAG_AC 0x40000ull

enum {
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_PAT = 0x277,
	MSR_TSC_DEADLINE = 0x6e0
};
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_FMASK          0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u

#define EFER_SCE 0x1ull
#define EFER_LME 0x100ull
#define EFER_LMA 0x400ull
#define EFER_NXE 0x800ull

#define NONCANON 0x0000800000000000ull /* the first non-canonical address with 48 bits */

/* Named registers over an array in the order of their encoding. */
#define REGS                                                        \
	union {                                                     \
		u64 gpr[16];                                        \
		struct {                                            \
			u64 rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi; \
			u64 r8, r9, r10, r11, r12, r13, r14, r15;   \
		};                                                  \
	}

/* What the entry stubs leave on the stack: registers, then the frame of SDM 3A 6.14.2. */
struct frame {
	union {
		u64 gpr[16];
		struct {
			u64 rax, rcx, rdx, rbx, stub_rsp, rbp, rsi, rdi;
			u64 r8, r9, r10, r11, r12, r13, r14, r15;
		};
	};
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

/* A try: the state that a snippet starts with, and the event that ended it. */
struct
try {
	REGS;
	u64 rip, cs, rflags, ss, ds;
	struct frame out;
	u64 cr2, dr6;
	u64 handler_rsp; /* address of the vector's frame, and */
	u16 handler_ss;  /* SS, as the handler found them */
};

enum mode {
	K64, /* CPL 0, 64-bit */
	U64, /* CPL 3, 64-bit */
	K32, /* CPL 0, 32-bit compatibility mode */
	U32, /* CPL 3, 32-bit compatibility mode */
	K16, /* CPL 0, 16-bit compatibility mode */
	U16
};

/* A fresh state in a mode: registers 0, a stack, RFLAGS 2. */
struct try try_new(enum mode mode);

/* Run t from the linear address code until a fault, or until INT 0x81. */
void try_run(struct try *t, const void *code);

/*
 * Run and report one rule: faults() wants this vector and error code with RIP at the first
 * instruction, faults_at() with RIP that many bytes further, runs() wants the end of the snippet.
 */
bool faults(struct try *t, const void *code, u64 vector, u64 error, const char *rule);
bool faults_at(struct try *t, const void *code, u64 offset, u64 vector, u64 error,
	       const char *rule);
bool runs(struct try *t, const void *code, const char *rule);

/* Report whether ok holds for t, which has run; print what ended it if not. */
bool check(const struct try *t, bool ok, const char *rule);

/* Code bytes for any mode in the user part, with INT 0x81 behind them. */
const u8 *code_bytes(const void *bytes, unsigned size);

/*
 * The address of a snippet given as Intel-syntax assembly: in user pages (CODE...) or in kernel
 * pages (KCODE, which CPL 0 with SMEP can run). INT 0x81 follows the text.
 */
#define SNIPPET(section, bits, text)                            \
	({                                                      \
		const u8 *code_;                                \
		__asm__ volatile(".pushsection " section "\n\t" \
				 ".intel_syntax noprefix\n\t"   \
				 ".code" bits "\n"              \
				 "98765:\n\t" text "\n\t"       \
				 "int 0x81\n\t"                 \
				 ".code64\n\t"                  \
				 ".att_syntax prefix\n\t"       \
				 ".popsection\n\t"              \
				 "leaq 98765b(%%rip), %0"       \
				 : "=r"(code_));                \
		code_;                                          \
	})
#define CODE(text)   SNIPPET(".user,\"awx\"", "64", text)
#define CODE32(text) SNIPPET(".user,\"awx\"", "32", text)
#define CODE16(text) SNIPPET(".user,\"awx\"", "16", text)
#define KCODE(text)  SNIPPET(".text.k,\"ax\"", "64", text)

/* A variable that CPL 3 can use. */
#define USER __attribute__((section(".user.data")))

/*
 * Called for a vector before the try machinery, on the CPU that took it. True: return to the
 * interrupted code. The table starts empty.
 */
extern bool (*handler[256])(struct frame *);

/* Ready-made handlers: count the vector and return, with and without an APIC EOI. */
extern volatile u32 hits[256];
bool count_hit(struct frame *f);
bool count_eoi(struct frame *f);

/* Vectors in the order in which count_hit and count_eoi saw them. */
extern volatile u8 hit_order[16];
extern volatile u32 hit_orders;
void hits_clear(void);

/* Long-mode TSS, SDM 3A 7.7. */
struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 ist[8]; /* [0] is reserved */
	u64 reserved1;
	u16 reserved2;
	u16 iomap;
	u8 bitmap[128 + 1]; /* ports below 0x400 */
} __attribute__((packed));

extern struct tss tss, tss_ap;
extern u64 gdt[128], idt[512];
extern u8 trap_stubs[];
extern u64 boot_pml4[512], boot_pdpt[512], boot_pd[2048];
extern u32 mb_magic, mb_info;

/* Write a gate: type 14 interrupt, 15 trap; ist 0 uses the current or the TSS stack. */
void gate_set(unsigned vector, void *target, u16 selector, unsigned type, unsigned dpl,
	      unsigned ist);
/* Write a 16-byte system descriptor: type 2 LDT, 9 TSS. */
void desc_system(u16 selector, u64 base, u32 limit, unsigned type, unsigned dpl);
/* A code or data descriptor: access is the byte with P, DPL, S and type, flags the bits G D L AVL. */
u64 desc(u32 base, u32 limit, u8 access, u8 flags);

#define HANDLER_STACK_SIZE 8192
extern u8 ist_stacks[2][5][HANDLER_STACK_SIZE];
extern u8 rsp0_stack[HANDLER_STACK_SIZE], kernel_try_stack[HANDLER_STACK_SIZE];
#define USER_STACK_TOP 0x600000u

/* Pages of the pool, zeroed; never given back. */
void *page_alloc(void);

/*
 * The entry that maps va at a level (1 PTE, 2 PDE, 3 PDPTE, 4 PML4E) in the tables at CR3, with
 * missing tables above it made present, writable and user.
 */
u64 *pt_entry(u64 va, unsigned level);
/* An address range with no mapping, 512 GiB up: for paging tests. */
#define TEST_VA 0x0000008000000000ull

/* A test image's main part; it ends with tap_done() or by returning. */
void lm_main(void);

/* Start the second CPU once. False if there is none. */
bool ap_start(void);
/* Have the second CPU call fn(arg); ap_wait() returns when that is over, false if it hangs. */
void ap_call(void (*fn)(void *), void *arg);
bool ap_wait(void);
extern volatile u32 ap_alive;
#define AP_PAGE 0x9000u
extern u8 ap_trampoline[], ap_trampoline_end[];
extern u16 ap_seen_cs;
extern u32 ap_seen_cr0, ap_seen_edx, ap_seen_esi;
/* Address of a trampoline variable in the copy that the second CPU ran. */
#define AP_SEEN(var) ((volatile void *)((u64)AP_PAGE + (u64)((u8 *)&(var)-ap_trampoline)))

/* Wait that many periods of the PIT (1,193,182 a second) by its channel 2. */
void pit_wait(u32 ticks);
#define PIT_MS 1193u

/* Mask all lines of both 8259 chips, with vectors 0x20 and 0x28. */
void pic_quiet(void);

/* Free-form output. */
void say(const char *text, u64 value);

struct cpuid {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
	struct cpuid c;

	__asm__ volatile("cpuid"
			 : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
			 : "a"(leaf), "c"(sub));
	return c;
}

/* The register of a leaf, or 0 where the leaf is above the maximum. */
u32 cpuid_ecx(u32 leaf, u32 sub);
u32 cpuid_ebx(u32 leaf, u32 sub);
u32 cpuid_edx(u32 leaf, u32 sub);
u32 cpuid_eax(u32 leaf, u32 sub);
bool cpu_is_intel(void); /* GenuineIntel; every other vendor is taken to follow the APM */
unsigned cpu_phys_bits(void);

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

#define CR_ACCESS(n)                                                                \
	static inline u64 read_cr##n(void)                                          \
	{                                                                           \
		u64 value;                                                          \
                                                                                    \
		__asm__ volatile("movq %%cr" #n ", %0" : "=r"(value) : : "memory"); \
		return value;                                                       \
	}                                                                           \
	static inline void write_cr##n(u64 value)                                   \
	{                                                                           \
		__asm__ volatile("movq %0, %%cr" #n : : "r"(value) : "memory");     \
	}
CR_ACCESS(0)
CR_ACCESS(2)
CR_ACCESS(3)
CR_ACCESS(4)
CR_ACCESS(8)

#define DR_ACCESS(n)                                                   \
	static inline u64 read_dr##n(void)                             \
	{                                                              \
		u64 value;                                             \
                                                                       \
		__asm__ volatile("movq %%dr" #n ", %0" : "=r"(value)); \
		return value;                                          \
	}                                                              \
	static inline void write_dr##n(u64 value)                      \
	{                                                              \
		__asm__ volatile("movq %0, %%dr" #n : : "r"(value));   \
	}
DR_ACCESS(0)
DR_ACCESS(1)
DR_ACCESS(2)
DR_ACCESS(3)
DR_ACCESS(6)
DR_ACCESS(7)

static inline void invlpg(u64 va) { __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory"); }
static inline void flush_tlb(void) { write_cr3(read_cr3()); }
static inline void sti(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void cli(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void pause(void) { __asm__ volatile("pause" : : : "memory"); }
static inline u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

static inline void outb(u16 port, u8 value) { tap_outb(port, value); }
static inline u8 inb(u16 port) { return tap_inb(port); }

static inline volatile u32 *apic_reg(u32 offset)
{
	return (volatile u32 *)(0xfee00000ull + offset);
}
static inline u32 apic_read(u32 offset) { return *apic_reg(offset); }
static inline void apic_write(u32 offset, u32 value) { *apic_reg(offset) = value; }

#endif
