/* The guest's x87, SSE and AVX state: its layout in x86_cpu.xsave, and the conditions under
 * which an instruction may use it (SDM 1 8, 10.5, 13; 3A 2.5, 13).
 *
 * x86_cpu.xsave is in the standard XSAVE form with 64-bit FIP and FDP. It always holds the true
 * values: a component whose XSTATE_BV bit is clear is in its initial configuration and its bytes
 * say so. XSTATE_BV is XINUSE. The bytes that the format leaves to software hold FCS and FDS. */
#ifndef X86_FPU_H
#define X86_FPU_H

#include "x86/cpuid.h"
#include "x86/vcpu.h"

/* Offsets in x86_cpu.xsave. */
#define FX_FCW        0
#define FX_FSW        2
#define FX_FTW        4 /* abridged: a bit per register, by physical number */
#define FX_FOP        6
#define FX_FIP        8
#define FX_FDP        16
#define FX_MXCSR      24
#define FX_MXCSR_MASK 28
#define FX_ST         32 /* ST(i) at 32 + 16 i: in stack order */
#define FX_XMM        160
#define FX_SIZE       512
#define FX_FCS        464
#define FX_FDS        466
#define XS_BV         512
#define XS_YMM        576 /* on every processor so far; the host must agree (cpuid.c) */

#define XC_X87    BIT(0)
#define XC_SSE    BIT(1)
#define XC_AVX    BIT(2)
#define XC_OPMASK BIT(5)
#define XC_ZMM_HI BIT(6)
#define XC_HI16   BIT(7)

#define FSW_TOP_SHIFT 11
#define FSW_EXC       0x3fu
#define FSW_SF        BIT(6)
#define FSW_ES        BIT(7)
#define FSW_B         BIT(15)

#define MXCSR_INIT 0x1f80u
#define MXCSR_MM   BIT(17) /* AMD: misaligned accesses allowed */

static inline u16 fpu_get16(const struct x86_cpu *cpu, unsigned offset)
{
	u16 value;

	memcpy(&value, cpu->xsave + offset, sizeof(value));
	return value;
}

static inline u32 fpu_get32(const struct x86_cpu *cpu, unsigned offset)
{
	u32 value;

	memcpy(&value, cpu->xsave + offset, sizeof(value));
	return value;
}

static inline u64 fpu_get64(const struct x86_cpu *cpu, unsigned offset)
{
	u64 value;

	memcpy(&value, cpu->xsave + offset, sizeof(value));
	return value;
}

static inline void fpu_set16(struct x86_cpu *cpu, unsigned offset, u64 value)
{
	u16 cut = (u16)value;

	memcpy(cpu->xsave + offset, &cut, sizeof(cut));
}

static inline void fpu_set32(struct x86_cpu *cpu, unsigned offset, u64 value)
{
	u32 cut = (u32)value;

	memcpy(cpu->xsave + offset, &cut, sizeof(cut));
}

static inline void fpu_set64(struct x86_cpu *cpu, unsigned offset, u64 value)
{
	memcpy(cpu->xsave + offset, &value, sizeof(value));
}

/* Marks state components as in use. */
static inline void fpu_use(struct x86_cpu *cpu, u64 components)
{
	fpu_set64(cpu, XS_BV, fpu_get64(cpu, XS_BV) | components);
}

/* Byte `byte` of vector register n (0..31) in the state. A chunk of up to 16 bytes, aligned to
 * its size, is contiguous there. */
static inline u8 *fpu_vector_at(struct x86_cpu *cpu, unsigned n, unsigned byte)
{
	const struct xsave_layout *l = xsave_layout();

	if (n > 15)
		return cpu->xsave + l->offset[7] + 64 * (n - 16) + byte;
	if (byte < 16)
		return cpu->xsave + FX_XMM + 16 * n + byte;
	if (byte < 32)
		return cpu->xsave + XS_YMM + 16 * n + (byte - 16);
	return cpu->xsave + l->offset[6] + 32 * n + (byte - 32);
}

/* Opmask register k. */
static inline u64 fpu_get_mask(const struct x86_cpu *cpu, unsigned k)
{
	return fpu_get64(cpu, xsave_layout()->offset[5] + 8 * k);
}

static inline void fpu_set_mask(struct x86_cpu *cpu, unsigned k, u64 value)
{
	fpu_set64(cpu, xsave_layout()->offset[5] + 8 * k, value);
	fpu_use(cpu, XC_OPMASK);
}

/* The low 16, 32 or 64 bytes of a vector register. */
void fpu_get_vector(const struct x86_cpu *cpu, unsigned n, u8 *to, unsigned size);
/* Writes a register to its full length, as VEX and EVEX instructions of `size` bytes do: from
 * holds 64 bytes, zeros from size on. */
void fpu_set_vector(struct x86_cpu *cpu, unsigned n, const u8 *from, unsigned size);
/* What every MMX instruction but EMMS does (SDM 1 9.6.2): TOP 0 (the caller has called
 * fpu_turn), all tags valid, ones in the exponents of the registers in `written`. */
void fpu_enter_mmx(struct x86_cpu *cpu, unsigned written);

/* After RESET (SDM 3A table 10-1): everything in its initial state, FCW 0040h, tags "zero". INIT
 * changes none of it. */
void x86_fpu_reset(struct x86_cpu *cpu);
/* FNINIT: x87 control, status, tags and pointers; the registers keep their bits. */
void x86_fpu_finit(struct x86_cpu *cpu);
/* XINUSE (XGETBV with ECX = 1 returns it ANDed with XCR0). */
u64 x86_xinuse(const struct x86_cpu *cpu);
/* FSW with ES and B as FCW makes them. */
u16 fpu_fsw_derive(u16 fcw, u16 fsw);
static inline unsigned fpu_top(const struct x86_cpu *cpu)
{
	return fpu_get16(cpu, FX_FSW) >> FSW_TOP_SHIFT & 7u;
}

/* Sets TOP and keeps the physical registers: the image, which is in stack order, turns. Tags are
 * left alone. */
void fpu_turn(struct x86_cpu *cpu, unsigned top);
/* Bits that MXCSR of this guest may have. */
u32 fpu_mxcsr_mask(const struct vcpu *v);

/* What an instruction needs before it may run, in the order that the manual gives (SDM 2A table
 * 2-18 to 2-24, 3A 2.5). */
enum fpu_gate {
	GATE_NONE,    /* general registers, legacy encoding */
	GATE_VEX_GPR, /* general registers, VEX: not in real or v8086 mode */
	GATE_X87,     /* #NM if CR0.EM or CR0.TS */
	GATE_FWAIT,   /* #NM if CR0.MP and CR0.TS */
	GATE_FXSR,    /* FXSAVE and FXRSTOR */
	GATE_MMX,
	GATE_SSE,
	GATE_AVX,
	GATE_AVX512, /* EVEX, and VEX instructions on opmasks */
	GATE_COUNT,
};

struct fpu_gate_row {
	u32 cr0_bad, cr4_need, xcr0_need, flags_bad, cr0_need;
};

extern const struct fpu_gate_row fpu_gates[GATE_COUNT];

/* Raises #UD or #NM, whichever comes first. */
noreturn_fn void fpu_gate_closed(struct vcpu *v, enum fpu_gate gate);

static inline void fpu_check_gate(struct vcpu *v, enum fpu_gate gate)
{
	const struct fpu_gate_row *g = &fpu_gates[gate];
	const struct x86_cpu *cpu = &v->cpu;

	if (unlikely((cpu->cr0 & g->cr0_bad) | (~cpu->cr0 & g->cr0_need) |
		     (~cpu->cr4 & g->cr4_need) | (~cpu->xcr0 & g->xcr0_need) |
		     (cpu->rflags & g->flags_bad)))
		fpu_gate_closed(v, gate);
}

/* A waiting x87 or MMX instruction: #MF if an unmasked exception is pending. With CR0.NE clear a
 * processor stops and asserts FERR#, which a PC turns into IRQ 13 (SDM 1 8.7.2); there is no such
 * wire here, and #MF is raised then too. */
static inline void fpu_check_pending(struct vcpu *v)
{
	if (unlikely(fpu_get16(&v->cpu, FX_FSW) & FSW_ES))
		x86_raise(v, EXC_MF);
}

/* Alignment checks are in force for the present access. */
static inline bool fpu_align_check(const struct vcpu *v) { return x86_alignment_checked(&v->cpu); }

#endif
