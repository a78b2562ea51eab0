/* x87 control instructions, on the state directly: FNINIT, FNCLEX, FNSTCW, FLDCW, FNSTSW, FWAIT,
 * the environment and FNSAVE/FRSTOR in the four layouts of SDM 1 8.1.10; also EMMS, LDMXCSR and
 * STMXCSR. */
#include "x86/exec_host.h"

#include <Zydis/Zydis.h>

/* The environment as 16-bit words: 7 of them, or 14 where the odd ones are the upper halves. */
#define ENV_WORDS      14
#define REGISTERS_SIZE 80
#define SAVE_SIZE      (2 * ENV_WORDS + REGISTERS_SIZE)

static u16 fcw_legal(unsigned fcw) { return (u16)((fcw & 0x1f3f) | 0x40); }

static void set_fsw(struct x86_cpu *cpu, unsigned fsw)
{
	fpu_set16(cpu, FX_FSW, fpu_fsw_derive(fpu_get16(cpu, FX_FCW), (u16)fsw));
}

static void check_feature(struct vcpu *v, unsigned id)
{
	if (unlikely(!cpuid_bit(v->vm, id)))
		x86_raise_ud(v);
}

static void begin_control(struct vcpu *v, bool waits)
{
	fpu_check_gate(v, GATE_X87);
	if (waits)
		fpu_check_pending(v);
}

/* --- Control and status words --- */

static void exec_fninit(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	begin_control(v, false);
	x86_fpu_finit(&v->cpu);
}

static void exec_fnclex(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	begin_control(v, false);
	fpu_set16(&v->cpu, FX_FSW, fpu_get16(&v->cpu, FX_FSW) & 0x7f00u);
	fpu_use(&v->cpu, XC_X87);
}

/* FENI, FDISI, FSETPM of the 8087 and 80287 do nothing. */
static void exec_fnop(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	begin_control(v, false);
}

static void exec_fwait(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	if (v->cpu.cr0 & CR0_MP)
		fpu_check_gate(v, GATE_FWAIT);
	fpu_check_pending(v);
}

static void exec_fnstcw(struct vcpu *v, const struct x86_insn *i)
{
	begin_control(v, false);
	x86_write(v, x86_operand(v, i, 2, ACC_WRITE), fpu_get16(&v->cpu, FX_FCW), 2);
}

static void exec_fldcw(struct vcpu *v, const struct x86_insn *i)
{
	begin_control(v, true);
	fpu_set16(&v->cpu, FX_FCW,
		  fcw_legal((unsigned)x86_read(v, x86_operand(v, i, 2, ACC_READ), 2)));
	set_fsw(&v->cpu, fpu_get16(&v->cpu, FX_FSW));
	fpu_use(&v->cpu, XC_X87);
}

static void exec_fnstsw(struct vcpu *v, const struct x86_insn *i)
{
	u16 fsw = fpu_get16(&v->cpu, FX_FSW);

	begin_control(v, false);
	if (i->op[0].kind == OPK_MEM)
		x86_write(v, x86_operand(v, i, 2, ACC_WRITE), fsw, 2);
	else
		le_store(&v->cpu.gpr[RAX], fsw, 2);
}

static void exec_emms(struct vcpu *v, const struct x86_insn *i)
{
	(void)i;
	check_feature(v, CPUID_MMX);
	fpu_check_gate(v, GATE_MMX);
	fpu_check_pending(v);
	fpu_turn(&v->cpu, 0);
	v->cpu.xsave[FX_FTW] = 0;
	fpu_use(&v->cpu, XC_X87);
}

static bool is_vex(const struct x86_insn *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_VLDMXCSR || i->mnemonic == ZYDIS_MNEMONIC_VSTMXCSR;
}

static void begin_mxcsr(struct vcpu *v, const struct x86_insn *i)
{
	check_feature(v, is_vex(i) ? CPUID_AVX : CPUID_SSE);
	fpu_check_gate(v, is_vex(i) ? GATE_AVX : GATE_SSE);
}

static void exec_ldmxcsr(struct vcpu *v, const struct x86_insn *i)
{
	u32 value;

	begin_mxcsr(v, i);
	value = (u32)x86_read(v, x86_operand(v, i, 4, ACC_READ), 4);
	if (value & ~fpu_mxcsr_mask(v))
		x86_raise_gp0(v);
	fpu_set32(&v->cpu, FX_MXCSR, value);
}

static void exec_stmxcsr(struct vcpu *v, const struct x86_insn *i)
{
	begin_mxcsr(v, i);
	x86_write(v, x86_operand(v, i, 4, ACC_WRITE), fpu_get32(&v->cpu, FX_MXCSR), 4);
}

/* --- Environment --- */

/* Two bits per physical register (SDM 1 8.1.7): 0 valid, 1 zero, 2 special, 3 empty. */
static u16 full_tags(const struct x86_cpu *cpu)
{
	unsigned top = fpu_top(cpu), tags = 0;

	for (unsigned k = 0; k < 8; k++) {
		const u8 *st = cpu->xsave + FX_ST + 16 * ((k - top) & 7);
		u64 fraction = le_load(st, 8);
		unsigned exponent = (unsigned)le_load(st + 8, 2) & 0x7fff, tag = 2;

		if (!(cpu->xsave[FX_FTW] & BIT(k)))
			tag = 3;
		else if (exponent == 0 && fraction == 0)
			tag = 1;
		else if (exponent != 0 && exponent != 0x7fff && fraction >> 63)
			tag = 0;
		tags |= tag << 2 * k;
	}
	return (u16)tags;
}

static u8 abridged_tags(unsigned tags)
{
	unsigned out = 0;

	for (unsigned k = 0; k < 8; k++)
		if ((tags >> 2 * k & 3) != 3)
			out |= 1u << k;
	return (u8)out;
}

/* Selectors as they are stored: 0 where the processor does not keep them. */
static u16 selector(const struct vcpu *v, unsigned offset)
{
	return cpuid_bit(v->vm, CPUID_NO_FCS_FDS) ? 0 : fpu_get16(&v->cpu, offset);
}

/* The environment in its present layout; returns its size. */
static unsigned build_env(const struct vcpu *v, unsigned opsize, u8 *to)
{
	const struct x86_cpu *cpu = &v->cpu;
	bool real = x86_real_or_v86(cpu);
	u32 fip = (u32)fpu_get64(cpu, FX_FIP), fdp = (u32)fpu_get64(cpu, FX_FDP);
	u16 fcs = selector(v, FX_FCS), fds = selector(v, FX_FDS), fop = fpu_get16(cpu, FX_FOP);
	u32 w[7] = { fpu_get16(cpu, FX_FCW), fpu_get16(cpu, FX_FSW), full_tags(cpu) };

	if (real) {
		fip += (u32)fcs << 4;
		fdp += (u32)fds << 4;
		w[3] = (u16)fip;
		w[4] = fip >> 16 << 12 | fop;
		w[5] = (u16)fdp;
		w[6] = fdp >> 16 << 12;
	} else {
		w[3] = fip;
		w[4] = fcs | (opsize == 2 ? 0 : (u32)fop << 16);
		w[5] = fdp;
		w[6] = fds;
	}
	if (opsize == 2) {
		for (unsigned k = 0; k < 7; k++)
			le_store(to + 2 * k, w[k], 2);
		return 14;
	}
	/* Unused upper halves are stored as ones. */
	for (unsigned k = 0; k < 7; k++)
		if (k < 3 || (real ? k == 3 || k == 5 : k == 6))
			w[k] |= 0xffff0000u;
	memcpy(to, w, sizeof(w));
	return 28;
}

static void load_env(struct vcpu *v, unsigned opsize, const u8 *from)
{
	struct x86_cpu *cpu = &v->cpu;
	u32 w[7];

	for (unsigned k = 0; k < 7; k++)
		w[k] = (u32)le_load(from + k * (opsize == 2 ? 2 : 4), opsize == 2 ? 2 : 4);
	fpu_turn(cpu, w[1] >> FSW_TOP_SHIFT & 7);
	fpu_set16(cpu, FX_FCW, fcw_legal(w[0]));
	set_fsw(cpu, w[1]);
	cpu->xsave[FX_FTW] = abridged_tags(w[2]);
	if (x86_real_or_v86(cpu)) {
		fpu_set64(cpu, FX_FIP, (u16)w[3] | (w[4] >> 12 & 0xffff) << 16);
		fpu_set16(cpu, FX_FOP, w[4] & 0x7ff);
		fpu_set64(cpu, FX_FDP, (u16)w[5] | (w[6] >> 12 & 0xffff) << 16);
		fpu_set32(cpu, FX_FCS, 0);
	} else {
		fpu_set64(cpu, FX_FIP, w[3]);
		fpu_set16(cpu, FX_FCS, w[4]);
		fpu_set16(cpu, FX_FOP, w[4] >> 16 & 0x7ff);
		fpu_set64(cpu, FX_FDP, w[5]);
		fpu_set16(cpu, FX_FDS, w[6]);
	}
	fpu_use(cpu, XC_X87);
}

/* The layout follows the operand-size attribute, which the operand's size shows: 14 or 28 bytes,
 * with registers 94 or 108. */
static unsigned env_opsize(unsigned size) { return size == 14 || size == 94 ? 2 : 4; }

static void exec_fnstenv(struct vcpu *v, const struct x86_insn *i)
{
	u8 image[2 * ENV_WORDS];
	unsigned size;

	begin_control(v, false);
	size = build_env(v, env_opsize(i->op[0].size), image);
	x86_write_bytes(v, x86_operand(v, i, size, ACC_WRITE), image, size);
	/* All exceptions are masked now (SDM 2A FSTENV). */
	fpu_set16(&v->cpu, FX_FCW, fpu_get16(&v->cpu, FX_FCW) | FSW_EXC);
	set_fsw(&v->cpu, fpu_get16(&v->cpu, FX_FSW));
	fpu_use(&v->cpu, XC_X87);
}

static void exec_fldenv(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->op[0].size;
	u8 image[2 * ENV_WORDS];

	begin_control(v, true);
	x86_read_bytes(v, x86_operand(v, i, size, ACC_READ), image, size);
	load_env(v, env_opsize(size), image);
}

static void exec_fnsave(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	u8 image[SAVE_SIZE];
	unsigned env;

	begin_control(v, false);
	env = build_env(v, env_opsize(i->op[0].size), image);
	for (unsigned k = 0; k < 8; k++)
		memcpy(image + env + 10 * k, cpu->xsave + FX_ST + 16 * k, 10);
	x86_write_bytes(v, x86_operand(v, i, env + REGISTERS_SIZE, ACC_WRITE), image,
			env + REGISTERS_SIZE);
	x86_fpu_finit(cpu);
}

static void exec_frstor(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	unsigned size = i->op[0].size, env = size - REGISTERS_SIZE;
	u8 image[SAVE_SIZE];

	begin_control(v, true);
	x86_read_bytes(v, x86_operand(v, i, size, ACC_READ), image, size);
	load_env(v, env_opsize(size), image);
	for (unsigned k = 0; k < 8; k++) {
		u8 *st = cpu->xsave + FX_ST + 16 * k;

		memset(st, 0, 16);
		memcpy(st, image + env + 10 * k, 10);
	}
}

x86_exec_fn *host_bind_x87env(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_FNINIT: return exec_fninit;
	case ZYDIS_MNEMONIC_FNCLEX: return exec_fnclex;
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP: return exec_fnop;
	case ZYDIS_MNEMONIC_FWAIT: return exec_fwait;
	case ZYDIS_MNEMONIC_FNSTCW: return exec_fnstcw;
	case ZYDIS_MNEMONIC_FLDCW: return exec_fldcw;
	case ZYDIS_MNEMONIC_FNSTSW: return exec_fnstsw;
	case ZYDIS_MNEMONIC_FNSTENV: return exec_fnstenv;
	case ZYDIS_MNEMONIC_FLDENV: return exec_fldenv;
	case ZYDIS_MNEMONIC_FNSAVE: return exec_fnsave;
	case ZYDIS_MNEMONIC_FRSTOR: return exec_frstor;
	case ZYDIS_MNEMONIC_EMMS: return exec_emms;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR: return exec_ldmxcsr;
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR: return exec_stmxcsr;
	default: return NULL;
	}
}
