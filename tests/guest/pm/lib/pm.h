/*
 * Probes: the means by which the 16/32-bit test guests state one rule each of SDM volume 3.
 *
 * A probe is a few instructions run at a chosen privilege level, with chosen segments and
 * registers, under tables that the rule has altered. It ends in the first exception or interrupt;
 * what the handler saw is left in `t`. A probe that runs to its end executes INT3 followed by the
 * bytes "done". A rule reads:
 *
 *	seg_set(T(0), desc(0, 0xfffff, P | DATA_RW, G | D));
 *	PROBE3(CODE("mov ds, ax"), .eax = T(0));
 *	rule("SDM 3A 5.6 ...", fault_e(GP, T(0), 0));
 *
 * rule() reports, then restores every table and control register, so rules do not depend on each
 * other. Probe text is in Intel syntax as in the manual, and must not contain a percent sign.
 *
 * Section numbers are those of the combined SDM volumes of 2022 (order number 325462-077US), in
 * which chapter 5 is protection, 6 interrupts, 7 tasks, 17 debug and 20 8086 emulation.
 */
#ifndef TESTS_GUEST_PM_H
#define TESTS_GUEST_PM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sel.h"
#include "tap.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

enum vector { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC, MC };

/* Bits of an error code: SDM 3A 6.13. */
#define EXT        1
#define IDT_VEC(n) ((n)*8 + 2)

/* Access byte of a descriptor: SDM 3A 3.4.5 and 3.5. */
enum {
	P = 0x80,
	ACCESSED = 1,
	DATA_R = 0x10,
	DATA_RW = 0x12,
	DATA_R_DOWN = 0x14,
	DATA_RW_DOWN = 0x16,
	CODE_X = 0x18,
	CODE_XR = 0x1a,
	CONF_X = 0x1c,
	CONF_XR = 0x1e,
	TSS16 = 1,
	LDT = 2,
	TSS16_BUSY = 3,
	CALL16 = 4,
	TASK = 5,
	INT16 = 6,
	TRAP16 = 7,
	TSS32 = 9,
	TSS32_BUSY = 11,
	CALL32 = 12,
	INT32 = 14,
	TRAP32 = 15,
};
#define DPL(n) ((n) << 5)
enum { D = 4, G = 8 }; /* bits 22 and 23 of the second word, as the high nibble's bits */

/* Control register bits. */
enum {
	CR0_PE = 1,
	CR0_MP = 2,
	CR0_EM = 4,
	CR0_TS = 8,
	CR0_ET = 16,
	CR0_NE = 32,
	CR0_WP = 0x10000,
	CR0_AM = 0x40000,
	CR0_NW = 0x20000000,
	CR0_CD = 0x40000000,
	CR4_VME = 1,
	CR4_PVI = 2,
	CR4_TSD = 4,
	CR4_DE = 8,
	CR4_PSE = 16,
	CR4_PAE = 32,
	CR4_MCE = 64,
	CR4_PGE = 128,
	CR4_PCE = 256,
	CR4_OSFXSR = 512,
	CR4_UMIP = 0x800,
	CR4_PCIDE = 0x20000,
	CR4_SMEP = 0x100000,
	CR4_SMAP = 0x200000,
};
#define CR0_PG 0x80000000u

/* probe_enter() in start.S knows this layout. */
struct regs {
	u32 eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags;
	u32 cs, ss, ds, es, fs, gs;
};

/* How the last probe ended. For a virtual-8086 program the segments are those on the stack. */
struct trap {
	u32 vector, error;
	bool has_error;
	u32 eax, ecx, edx, ebx, ebp, esi, edi;
	u32 eip, cs, eflags, esp, ss, ds, es, fs, gs;
	u32 cr0, cr2, dr6, dr7, tr;
	/* What the handler itself started with; h_esp points at the error code or EIP. */
	u32 h_eflags, h_cs, h_ss, h_esp, h_ds, h_es, h_fs, h_gs;
	u64 gdt_entry[GDT_ENTRIES]; /* the GDT when the probe ended */
};

/* SDM 3A figure 7-2, with room behind for the redirection and I/O maps. */
struct tss {
	u16 link, r0;
	u32 esp0;
	u16 ss0, r1;
	u32 esp1;
	u16 ss1, r2;
	u32 esp2;
	u16 ss2, r3;
	u32 cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
	u16 es, r4, cs, r5, ss, r6, ds, r7, fs, r8, gs, r9, ldt, r10;
	u16 trap, iobase;
	u8 redirect[32]; /* only where iobase says so */
	u8 iomap[8193];
} __attribute__((packed));
#define TSS_LIMIT  103
#define TSS_IOBASE 136 /* offset of iomap */

/* SDM 3A figure 7-10. */
struct tss16 {
	u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di;
	u16 es, cs, ss, ds, ldt;
} __attribute__((packed));

extern struct trap t;
extern struct tss tss; /* the one that TR holds; PL0 stack: trap_stack */
extern u64 gdt[GDT_ENTRIES], ldt[LDT_ENTRIES], idt[256];
extern u8 probe_stack[4096], user_stack[4096], trap_stack[8192], stack1[4096], stack2[4096];
extern u8 trap_stubs[];
extern bool saves_rf_in_strings; /* between two iterations; processors of AMD do not */
extern u32 cpuid_1_edx, cpuid_1_ecx, cpuid_7_ebx, cpuid_7_ecx, cpuid_ext_edx;

#define TOP(stack) ((u32)(stack) + sizeof(stack) - 64)
#define LOW_DATA   0x20000  /* 64 KiB for virtual-8086 and 16-bit data */
#define LOW_STACK  0x30000  /* and for stacks */
#define PAGES      0x800000 /* from here on memory is free for page tables and test pages */

/* The program under test; yields its linear address, below LOW + 64 KiB. */
#define CODE_BITS(bits, text)                                                              \
	({                                                                                 \
		u32 code_;                                                                 \
		__asm__ volatile(                                                          \
			".pushsection .low, \"awx\"\n\t.code" #bits                        \
			"\n\t.intel_syntax noprefix\n.Lprobe%=:\n\t" text                  \
			"\n\tint3\n\t.ascii \"done\"\n\t.att_syntax prefix\n\t.code32\n\t" \
			".popsection\n\tmovl $.Lprobe%=, %0"                               \
			: "=r"(code_));                                                    \
		code_;                                                                     \
	})
#define CODE(text)    CODE_BITS(32, text)
#define CODE_16(text) CODE_BITS(16, text)

#define PROBE_WITH(code, cs_, ss_, esp_, ds_, ...) \
	probe(&(struct regs){ .eip = (code),       \
			      .eflags = 2,         \
			      .cs = (cs_),         \
			      .ss = (ss_),         \
			      .esp = (esp_),       \
			      .ds = (ds_),         \
			      .es = (ds_),         \
			      .fs = (ds_),         \
			      .gs = (ds_),         \
			      __VA_ARGS__ })
/* Run at privilege level 0, 1, 2, 3; in virtual-8086 mode; in a 16-bit segment at level 0. */
#define PROBE(code, ...)  PROBE_WITH(code, KCS, KDS, TOP(probe_stack), KDS, __VA_ARGS__)
#define PROBE1(code, ...) PROBE_WITH(code, CS1, DS1, TOP(user_stack), DS1, __VA_ARGS__)
#define PROBE2(code, ...) PROBE_WITH(code, CS2, DS2, TOP(user_stack), DS2, __VA_ARGS__)
#define PROBE3(code, ...) PROBE_WITH(code, UCS, UDS, TOP(user_stack), UDS, __VA_ARGS__)
#define PROBEV(code, ...)                                                      \
	PROBE_WITH((code)-LOW, LOW_SEG, LOW_STACK >> 4, 0x8000, LOW_DATA >> 4, \
		   .eflags = FL_VM | FL_IOPL(3) | 2, __VA_ARGS__)
#define PROBE16(code, ...) PROBE_WITH((code)-LOW, CS16, KDS, TOP(probe_stack), KDS, __VA_ARGS__)

void probe(const struct regs *r);

/* The probe ended by an exception without, or with, an error code, offset bytes into the code. */
bool fault(enum vector v, u32 offset);
bool fault_e(enum vector v, u32 error, u32 offset);
/* The probe ran to its end. */
bool done(void);

/* Where probes that return find what they return to. */
extern u32 *const return_frame;
/* Put five dwords into the frame and run `code`, an instruction that returns, at CPL 0 with ESP there. */
void return_by(u32 code, u32 a, u32 b, u32 c, u32 d, u32 e);
/* That instruction faulted, and ESP still points at the frame. */
bool return_fault(u32 code, enum vector v, u32 error);

/* Report a rule, say what the last probe did if it does not hold, and start over. */
#define rule(name, holds) rule_report(name, holds, #holds)
void rule_report(const char *name, bool holds, const char *text);
/* Put every table, control and debug register back. */
void reset(void);

u64 desc(u32 base, u32 limit, unsigned access, unsigned flags);
u64 gate(u16 sel, u32 offset, unsigned access, unsigned params);
/* Alter the descriptor that a selector names in the GDT, or with TI set in the LDT. */
void seg_set(u16 sel, u64 descriptor);
u64 seg_get(u16 sel);
/* The access byte of a descriptor. */
static inline u8 seg_access(u64 d) { return (u8)(d >> 40); }
void idt_set(unsigned vector, u64 gate_descriptor);
/* An interrupt gate to the default stub of vector, with DPL dpl. */
u64 stub_gate(unsigned vector, unsigned dpl);

#define READ_REG(type, name, insn)                                  \
	static inline type name(void)                               \
	{                                                           \
		type value_;                                        \
		__asm__ volatile(insn : "=r"(value_) : : "memory"); \
		return value_;                                      \
	}
READ_REG(u32, cr0_get, "movl %%cr0, %0")
READ_REG(u32, cr2_get, "movl %%cr2, %0")
READ_REG(u32, cr3_get, "movl %%cr3, %0")
READ_REG(u32, cr4_get, "movl %%cr4, %0")
READ_REG(u32, dr6_get, "movl %%dr6, %0")
READ_REG(u32, dr7_get, "movl %%dr7, %0")

#define WRITE_REG(name, insn) \
	static inline void name(u32 value) { __asm__ volatile(insn : : "r"(value) : "memory"); }
WRITE_REG(cr0_set, "movl %0, %%cr0")
WRITE_REG(cr2_set, "movl %0, %%cr2")
WRITE_REG(cr3_set, "movl %0, %%cr3")
WRITE_REG(cr4_set, "movl %0, %%cr4")
WRITE_REG(dr0_set, "movl %0, %%dr0")
WRITE_REG(dr1_set, "movl %0, %%dr1")
WRITE_REG(dr2_set, "movl %0, %%dr2")
WRITE_REG(dr3_set, "movl %0, %%dr3")
WRITE_REG(dr6_set, "movl %0, %%dr6")
WRITE_REG(dr7_set, "movl %0, %%dr7")

static inline u64 rdmsr(u32 msr)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static inline void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "a"((u32)value), "d"((u32)(value >> 32)), "c"(msr) : "memory");
}

static inline void invlpg(u32 address)
{
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

void *memset(void *to, int value, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);

/* Memory at an address that no object of the image has. */
static inline volatile u32 *mem32(u32 address) { return (volatile u32 *)address; }
static inline volatile u16 *mem16(u32 address) { return (volatile u16 *)address; }
static inline volatile u8 *mem8(u32 address) { return (volatile u8 *)address; }

/* Each image defines this; it returns when its rules are done. */
void test_main(void);

#endif
