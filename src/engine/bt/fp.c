/* Moves the guest's FP state between x86_cpu.xsave and the host's registers (see fp.h). */
#include "engine/bt/fp.h"

#include "x86/exec.h"
#include "x86/fpu.h"

#include <cpuid.h>

/* What the host's registers hold of the guest's state: all that the CPU model can enable. Other components of the host are not
 * touched. */
static u64 components(const struct vm *vm) { return XC_X87 | XC_SSE | cpuid_xcr0_mask(vm); }

bool fp_gate_open(const struct vcpu *v, unsigned gate)
{
	const struct fpu_gate_row *g = &fpu_gates[gate];
	const struct x86_cpu *cpu = &v->cpu;

	if (gate == GATE_FWAIT && !(cpu->cr0 & CR0_MP))
		return true;
	return !((cpu->cr0 & g->cr0_bad) | (~cpu->cr0 & g->cr0_need) | (~cpu->cr4 & g->cr4_need) |
		 (~cpu->xcr0 & g->xcr0_need) | (cpu->rflags & g->flags_bad));
}

void fp_init(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);

	e->fp_live = false;
	e->fp_mxcsr = MXCSR_INIT;
	memset(e->fp_closed, 1, sizeof(e->fp_closed));
}

/* --- To x86_cpu.xsave ----------------------------------------------------------------------------- */

/* XSAVEOPT does not write a component in its initial configuration; the image is to say so in its bytes. */
static void clear_component(struct x86_cpu *cpu, unsigned c)
{
	const struct xsave_layout *l = xsave_layout();

	switch (BIT(c)) {
	case XC_X87:
		memset(cpu->xsave, 0, FX_MXCSR);
		fpu_set16(cpu, FX_FCW, 0x37f);
		memset(cpu->xsave + FX_ST, 0, FX_XMM - FX_ST);
		break;
	case XC_SSE: memset(cpu->xsave + FX_XMM, 0, 16 * 16); break;
	default: memset(cpu->xsave + l->offset[c], 0, l->size[c]); break;
	}
}

/* FOP, FIP and FDP in the image are about the host's code: the guest's are those of before, or of the last x87 instruction that
 * units have noted. */
static void put_pointers(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);
	struct x86_cpu *cpu = &v->cpu;

	if (e->x87_op & X87_NOTED) {
		u64 rip = e->x87_vrip + (e->x87_op >> X87_OFF_POS & 0xfff);

		e->x87_fop = e->x87_op & X87_FOP;
		e->x87_fip = x86_64bit(cpu) ? rip : (u32)rip;
		fpu_set16(cpu, FX_FCS, cpu->seg[CS].sel);
	}
	if (e->x87_mem & X87_NOTED)
		fpu_set16(cpu, FX_FDS, cpu->seg[e->x87_mem & X87_SEG].sel);
	fpu_set16(cpu, FX_FOP, e->x87_fop);
	fpu_set64(cpu, FX_FIP, e->x87_fip);
	fpu_set64(cpu, FX_FDP, e->x87_fdp);
}

/* Leaves the host's x87 unit as C expects it. FNINIT would do but is slow; it is needed where an exception is pending, for the
 * others wait. */
static void clean_x87(const struct x86_cpu *cpu)
{
	static const u16 fcw = 0x37f;

	if (fpu_get16(cpu, FX_FSW) & FSW_ES)
		__asm__ volatile("fninit");
	else
		__asm__ volatile("emms\n\tfldcw %0" : : "m"(fcw));
}

void fp_leave_live(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);
	struct x86_cpu *cpu = &v->cpu;
	u64 inuse = fpu_get64(cpu, XS_BV), gone = e->fp_inuse & ~inuse;

	e->fp_live = false;
	/* Some processors look at the values, which leaves a component whose registers happen to be initial out of XINUSE. Here it
	 * stays in use until an instruction initializes it, as in C. */
	fpu_set64(cpu, XS_BV, inuse | (e->fp_inuse & ~(e->fp_zeroed ? XC_AVX | XC_ZMM_HI : 0ull)));
	memset(e->fp_closed, 1, sizeof(e->fp_closed));
	for (unsigned c = 0; gone; c++, gone >>= 1)
		if (gone & 1)
			clear_component(cpu, c);
	put_pointers(v);
	if (inuse & XC_X87)
		clean_x87(cpu);
}

/* --- To the host's registers ---------------------------------------------------------------------- */

void fp_enter(struct vcpu *v)
{
	struct bt_cpu *e = bt_cpu(v);
	struct x86_cpu *cpu = &v->cpu;

	/* A saved machine's state may be anything; XRSTOR must not fault. */
	e->fp_inuse = fpu_get64(cpu, XS_BV) & components(v->vm);
	fpu_set64(cpu, XS_BV, e->fp_inuse);
	memset(cpu->xsave + XS_BV + 8, 0, XS_YMM - XS_BV - 8);
	fpu_set32(cpu, FX_MXCSR, fpu_get32(cpu, FX_MXCSR) & fpu_mxcsr_mask(v));
	e->x87_fop = fpu_get16(cpu, FX_FOP);
	e->x87_fip = fpu_get64(cpu, FX_FIP);
	e->x87_fdp = fpu_get64(cpu, FX_FDP);
	e->x87_vrip = e->vrip;
	e->x87_op = e->x87_mem = 0;
	e->fp_zeroed = 0;
	e->fp_live = true;
	for (unsigned g = 0; g < GATE_COUNT; g++)
		e->fp_closed[g] = !fp_gate_open(v, g);
}

/* --- The stubs' part ------------------------------------------------------------------------------ */

/* Zero-extended fp_live in RCX; skips what follows if it is 0. */
static u8 *skip_if_not_live(struct as *a)
{
	as_loadz(a, 1, H_RCX, rm_ctx(CTX_BT(fp_live)));
	return as_jrcxz(a);
}

static void load_mask(struct as *a, const struct vm *vm)
{
	as_mov_imm(a, H_RAX, (u32)components(vm));
	as_mov_imm(a, H_RDX, (u32)(components(vm) >> 32));
}

static bool host_has_xsaveopt(void)
{
	unsigned a = 0, b, c, d;

	return __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && (a & BIT(0));
}

/* XSAVEOPT may leave out what has not changed since XRSTOR from the same place: between the two only fp_live code runs, and C leaves
 * the image alone. */
void fp_emit_save(struct as *a, const struct vm *vm)
{
	u8 *skip = skip_if_not_live(a);

	load_mask(a, vm);
	as_op(a, 0, MAP_0F | 0xae, 4, 3, rm_ctx(CTX(cpu.xsave) + FX_MXCSR)); /* stmxcsr */
	as_op(a, 0, MAP_0F | 0xae, 8, host_has_xsaveopt() ? 6 : 4, rm_ctx(CTX(cpu.xsave)));
	as_op(a, 0, MAP_0F | 0xae, 4, 2, rm_ctx(CTX_BT(fp_mxcsr))); /* ldmxcsr */
	if (xsave_layout()->avx) {
		as_byte(a, 0xc5); /* vzeroupper */
		as_byte(a, 0xf8);
		as_byte(a, 0x77);
	}
	as_short_here(a, skip);
}

void fp_emit_restore(struct as *a, const struct vm *vm)
{
	u8 *skip = skip_if_not_live(a);

	load_mask(a, vm);
	as_op(a, 0, MAP_0F | 0xae, 8, 5, rm_ctx(CTX(cpu.xsave))); /* xrstor64 */
	as_short_here(a, skip);
}
