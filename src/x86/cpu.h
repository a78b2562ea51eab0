/* Architectural state of one virtual x86 CPU, and the names of its bits (SDM 1 3.4, 3A 2). */
#ifndef X86_CPU_H
#define X86_CPU_H

#include "base/bits.h"
#include "base/types.h"
#include "core/state.h"

enum {
	RAX,
	RCX,
	RDX,
	RBX,
	RSP,
	RBP,
	RSI,
	RDI,
	R8,
	R9,
	R10,
	R11,
	R12,
	R13,
	R14,
	R15,
	RIP_IDX,
	ZERO_IDX,
	GPR_SLOTS
};
enum x86_sreg { ES, CS, SS, DS, FS, GS, LDTR, TR, SREG_COUNT };

#define FL_CF     BIT(0)
#define FL_PF     BIT(2)
#define FL_AF     BIT(4)
#define FL_ZF     BIT(6)
#define FL_SF     BIT(7)
#define FL_TF     BIT(8)
#define FL_IF     BIT(9)
#define FL_DF     BIT(10)
#define FL_OF     BIT(11)
#define FL_IOPL   (BIT(12) | BIT(13))
#define FL_NT     BIT(14)
#define FL_RF     BIT(16)
#define FL_VM     BIT(17)
#define FL_AC     BIT(18)
#define FL_VIF    BIT(19)
#define FL_VIP    BIT(20)
#define FL_ID     BIT(21)
#define FL_FIXED  BIT(1)
#define FL_STATUS (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* Access rights of a loaded segment register: bits 8..15 and 20..23 of the descriptor's high word, moved down by 8, so
 * type 0..3, S 4, DPL 5..6, P 7, AVL 12, L 13, D/B 14, G 15; and one bit of our own. */
#define AR_TYPE      0xfu
#define AR_A         BIT(0)
#define AR_WR        BIT(1) /* data: writable; code: readable */
#define AR_DC        BIT(2) /* data: expand-down; code: conforming */
#define AR_CODE      BIT(3)
#define AR_S         BIT(4)
#define AR_DPL_SHIFT 5
#define AR_DPL       (BIT(5) | BIT(6))
#define AR_P         BIT(7)
#define AR_AVL       BIT(12)
#define AR_L         BIT(13)
#define AR_DB        BIT(14)
#define AR_G         BIT(15)
#define AR_UNUSABLE  BIT(16) /* loaded with a null selector */

struct x86_seg {
	u16 sel;
	u32 ar;
	u32 limit; /* bytes - 1, after scaling by G */
	u64 base;
};

struct x86_dtr {
	u64 base;
	u16 limit;
};

enum x86_vector {
	EXC_DE = 0,
	EXC_DB = 1,
	EXC_NMI = 2,
	EXC_BP = 3,
	EXC_OF = 4,
	EXC_BR = 5,
	EXC_UD = 6,
	EXC_NM = 7,
	EXC_DF = 8,
	EXC_TS = 10,
	EXC_NP = 11,
	EXC_SS = 12,
	EXC_GP = 13,
	EXC_PF = 14,
	EXC_MF = 16,
	EXC_AC = 17,
	EXC_MC = 18,
	EXC_XM = 19,
	EXC_NONE = 0xff,
};

/* Room for XSAVE in standard format: legacy, header, AVX, AVX-512, PKRU. */
#define X86_XSAVE_SIZE 2752

/* Status flags are held apart from rflags in the form that LAHF and SETO leave in AX: AH has SF ZF AF PF CF, AL (bit 0) has OF. */
#define CC_OF    BIT(0)
#define CC_CF    BIT(8)
#define CC_PF    BIT(10)
#define CC_AF    BIT(12)
#define CC_ZF    BIT(14)
#define CC_SF    BIT(15)
#define CC_FIXED BIT(9) /* LAHF gives it always */

struct x86_cpu {
	u64 gpr[GPR_SLOTS - 2];
	u64 rip;    /* reachable as gpr slot RIP_IDX (see x86_slot) */
	u64 zero;   /* always 0: the base or index that an address does not have */
	u64 rflags; /* without FL_STATUS; bit 1 set */
	u16 cc;
	u8 cpl;
	bool nmi_blocked; /* from NMI delivery to IRET */
	bool halted;      /* in HLT (or waiting for SIPI: wait_sipi) */
	bool wait_sipi;
	struct x86_seg seg[SREG_COUNT];
	struct x86_dtr gdtr, idtr;
	u64 cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	u64 dr[8];    /* 4 and 5 unused */
	u64 pdpte[4]; /* PAE: loaded by MOV CR3, SDM 3A 4.4.1 */
	u64 star, lstar, cstar, fmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, tsc_aux, misc_enable, mtrr_def_type, mtrr_fix[11], mtrr_phys[16];
	i64 tsc_offset; /* guest TSC minus machine TSC */
	u64 xss;
	u8 xsave[X86_XSAVE_SIZE] __attribute__((
		aligned(64))); /* x87, SSE, AVX... in XSAVE standard form, header included */
};

_Static_assert(offsetof(struct x86_cpu, rip) == RIP_IDX * 8, "RIP_IDX addresses rip");
_Static_assert(offsetof(struct x86_cpu, zero) == ZERO_IDX * 8, "ZERO_IDX addresses zero");

extern const struct state_desc x86_cpu_state;

/* General register, rip or zero by slot. */
static inline u64 x86_slot(const struct x86_cpu *cpu, unsigned slot)
{
	return ((const u64 *)(const void *)cpu)[slot];
}

static inline u64 x86_cc_to_flags(u16 cc)
{
	return ((u64)(cc >> 8) & FL_STATUS & 0xff) | (u64)(cc & CC_OF) << 11;
}

static inline u16 x86_cc_from_flags(u64 flags)
{
	return (u16)(CC_FIXED | (flags & (FL_STATUS & 0xff)) << 8 | ((flags >> 11) & 1));
}

/* RFLAGS whole, as PUSHF at CPL 0 shows it (VM and RF included). */
static inline u64 x86_rflags(const struct x86_cpu *cpu)
{
	return cpu->rflags | x86_cc_to_flags(cpu->cc);
}

/* Sets all of RFLAGS; reserved bits are forced. The caller has done the privilege rules. */
static inline void x86_set_rflags(struct x86_cpu *cpu, u64 flags)
{
	cpu->cc = x86_cc_from_flags(flags);
	cpu->rflags = (flags & (FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC |
				FL_VIF | FL_VIP | FL_ID)) |
		      FL_FIXED;
}

static inline unsigned x86_iopl(const struct x86_cpu *cpu)
{
	return (unsigned)(cpu->rflags >> 12) & 3;
}

static inline bool x86_protected(const struct x86_cpu *cpu) { return cpu->cr0 & CR0_PE; }

static inline bool x86_v86(const struct x86_cpu *cpu) { return cpu->rflags & FL_VM; }

/* Real mode or virtual-8086 mode: selectors are paragraphs. */
static inline bool x86_real_or_v86(const struct x86_cpu *cpu)
{
	return !x86_protected(cpu) || x86_v86(cpu);
}

static inline bool x86_long(const struct x86_cpu *cpu) { return cpu->efer & EFER_LMA; }

/* Alignment checks are in force (SDM 3A 6.15, #AC). */
static inline bool x86_alignment_checked(const struct x86_cpu *cpu)
{
	return cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->rflags & FL_AC);
}

/* 64-bit mode: long mode with CS.L. */
static inline bool x86_64bit(const struct x86_cpu *cpu)
{
	return x86_long(cpu) && (cpu->seg[CS].ar & AR_L);
}

/* Bytes of a default operand: 2, 4; in 64-bit mode 4. */
static inline unsigned x86_code_bits(const struct x86_cpu *cpu)
{
	if (x86_64bit(cpu))
		return 64;
	return cpu->seg[CS].ar & AR_DB ? 32 : 16;
}

/* Bytes of the stack pointer in use: 2, 4 or 8. */
static inline unsigned x86_stack_size(const struct x86_cpu *cpu)
{
	if (x86_64bit(cpu))
		return 8;
	return cpu->seg[SS].ar & AR_DB ? 4 : 2;
}

/* Linear address of the instruction at rip. */
static inline u64 x86_code_linear(const struct x86_cpu *cpu)
{
	return x86_64bit(cpu) ? cpu->rip : (u32)(cpu->seg[CS].base + cpu->rip);
}

static inline bool x86_canonical(u64 a) { return (u64)bits_sext(a, 48) == a; }

#endif
