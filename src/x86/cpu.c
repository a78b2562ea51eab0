/* The CPU's state as a table, RESET and INIT (SDM 3A 9.1), and what follows from a change of
 * mode. */
#include "x86/cpu.h"

#include "base/trace.h"
#include "x86/debug.h"
#include "x86/exec.h"
#include "x86/fpu.h"
#include "x86/mem.h"

#include <stdatomic.h>

/* One field of struct x86_cpu under the name that a reader expects. */
#define ROW(title, member)                                                 \
	{                                                                  \
		.name = title, .offset = offsetof(struct x86_cpu, member), \
		.size = sizeof(((struct x86_cpu *)0)->member), .count = 1, \
		.is_bool = STATE_IS_BOOL(((struct x86_cpu *)0)->member)    \
	}
#define SEG_ROWS(title, n)                                          \
	ROW(title ".sel", seg[n].sel), ROW(title ".ar", seg[n].ar), \
		ROW(title ".limit", seg[n].limit), ROW(title ".base", seg[n].base)
#define DTR_ROWS(title, member) ROW(title ".base", member.base), ROW(title ".limit", member.limit)

static const struct state_field cpu_rows[] = {
	ROW("rax", gpr[RAX]),
	ROW("rcx", gpr[RCX]),
	ROW("rdx", gpr[RDX]),
	ROW("rbx", gpr[RBX]),
	ROW("rsp", gpr[RSP]),
	ROW("rbp", gpr[RBP]),
	ROW("rsi", gpr[RSI]),
	ROW("rdi", gpr[RDI]),
	ROW("r8", gpr[R8]),
	ROW("r9", gpr[R9]),
	ROW("r10", gpr[R10]),
	ROW("r11", gpr[R11]),
	ROW("r12", gpr[R12]),
	ROW("r13", gpr[R13]),
	ROW("r14", gpr[R14]),
	ROW("r15", gpr[R15]),
	ROW("rip", rip),
	ROW("rflags", rflags),
	ROW("cc", cc),
	ROW("cpl", cpl),
	ROW("nmi_blocked", nmi_blocked),
	ROW("halted", halted),
	ROW("wait_sipi", wait_sipi),
	SEG_ROWS("es", ES),
	SEG_ROWS("cs", CS),
	SEG_ROWS("ss", SS),
	SEG_ROWS("ds", DS),
	SEG_ROWS("fs", FS),
	SEG_ROWS("gs", GS),
	SEG_ROWS("ldtr", LDTR),
	SEG_ROWS("tr", TR),
	DTR_ROWS("gdtr", gdtr),
	DTR_ROWS("idtr", idtr),
	ROW("cr0", cr0),
	ROW("cr2", cr2),
	ROW("cr3", cr3),
	ROW("cr4", cr4),
	ROW("cr8", cr8),
	ROW("efer", efer),
	ROW("xcr0", xcr0),
	STATE_ARRAY(struct x86_cpu, dr),
	STATE_ARRAY(struct x86_cpu, pdpte),
	ROW("star", star),
	ROW("lstar", lstar),
	ROW("cstar", cstar),
	ROW("fmask", fmask),
	ROW("kernel_gs_base", kernel_gs_base),
	ROW("sysenter_cs", sysenter_cs),
	ROW("sysenter_esp", sysenter_esp),
	ROW("sysenter_eip", sysenter_eip),
	ROW("pat", pat),
	ROW("tsc_aux", tsc_aux),
	ROW("misc_enable", misc_enable),
	ROW("mtrr_def_type", mtrr_def_type),
	STATE_ARRAY(struct x86_cpu, mtrr_fix),
	STATE_ARRAY(struct x86_cpu, mtrr_phys),
	ROW("tsc_offset", tsc_offset),
	ROW("xss", xss),
	ROW("xsave", xsave),
};

STATE_DESC(x86_cpu_state, struct x86_cpu, "cpu", cpu_rows);

_Static_assert(sizeof(struct x86_dtr) == 16 && sizeof(struct x86_seg) == 24,
	       "rows name each field");

/* Offsets in the XSAVE area (SDM 1 13.4). */

static void reset_segments(struct x86_cpu *cpu)
{
	for (unsigned n = 0; n < SREG_COUNT; n++)
		cpu->seg[n] = (struct x86_seg){ .limit = 0xffff, .ar = AR_P | AR_S | AR_WR | AR_A };
	cpu->seg[CS].sel = 0xf000;
	cpu->seg[CS].base = 0xffff0000;
	cpu->seg[LDTR].ar = AR_P | 2; /* LDT */
	cpu->seg[TR].ar = AR_P | 11;  /* busy 32-bit TSS */
	cpu->gdtr = cpu->idtr = (struct x86_dtr){ .base = 0, .limit = 0xffff };
}

static void reset_misc(struct vcpu *v)
{
	struct x86_cpu *cpu = &v->cpu;

	/* Fast strings on; no BTS, no PEBS (SDM 4, IA32_MISC_ENABLE). */
	cpu->misc_enable = BIT(0) | BIT(11) | BIT(12);
	cpu->pat = 0x0007040600070406;
	cpu->xcr0 = 1;
	x86_fpu_reset(cpu);
}

/* What RESET and INIT have in common. */
static void reset_common(struct vcpu *v, u64 cr0)
{
	struct x86_cpu *cpu = &v->cpu;
	u32 regs[4] = { 1, 0, 0, 0 };

	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	x86_cpuid(v, regs);
	cpu->gpr[RDX] = regs[0]; /* family, model, stepping */
	cpu->rip = 0xfff0;
	cpu->cpl = 0;
	x86_set_rflags(cpu, 0);
	reset_segments(cpu);
	cpu->cr0 = cr0;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = 0;
	cpu->efer = 0;
	memset(cpu->dr, 0, sizeof(cpu->dr));
	memset(cpu->pdpte, 0, sizeof(cpu->pdpte));
	cpu->dr[6] = DR6_FIXED;
	cpu->dr[7] = DR7_FIXED;
	cpu->nmi_blocked = false;
	cpu->halted = false;
	cpu->wait_sipi = v->index != 0;
	v->shadow = 0;
	v->pending_dr6 = 0;
	vcpu_unattend(v, ATT_SHADOW | ATT_TRAP | ATT_NO_STEP | ATT_RF);
	x86_tlb_flush(v, false);
	x86_mode_changed(v);
}

void x86_reset(struct vcpu *v)
{
	memset(&v->cpu, 0, sizeof(v->cpu));
	reset_misc(v);
	vcpu_unattend(v, ATT_NMI | ATT_INIT | ATT_SIPI);
	reset_common(v, CR0_CD | CR0_NW | CR0_ET);
	trace(RUN, "cpu%u: reset", v->index);
}

void x86_init_reset(struct vcpu *v)
{
	/* x87 and SSE state, MTRRs, PAT, TSC and the other MSRs stay. */
	reset_common(v, (v->cpu.cr0 & (CR0_CD | CR0_NW)) | CR0_ET);
	trace(RUN, "cpu%u: INIT", v->index);
}

void x86_mode_changed(struct vcpu *v)
{
	const struct x86_cpu *cpu = &v->cpu;
	enum tlb_mode mode = TLB_SUPER;
	bool slow;

	if (cpu->cpl == 3)
		mode = x86_alignment_checked(cpu) ? TLB_CHECKED : TLB_USER;
	else if (!(cpu->cr4 & CR4_SMAP) || (cpu->rflags & FL_AC))
		mode = TLB_SUPER_AC;
	v->tlb = &v->tlbs[mode];
	/* Breakpoints of every kind end in a trap right after the instruction. RF counts without
	 * them too: it is cleared after exactly one instruction (SDM 3B 17.3.1.1). */
	u32 att = atomic_load_explicit(&v->attention, memory_order_relaxed);

	slow = (cpu->rflags & FL_TF) || (cpu->dr[7] & DR7_ENABLES) || v->dbg ||
	       ((cpu->rflags & FL_RF) && (att & ATT_RF));
	if (slow != !!(att & ATT_SLOW)) {
		if (slow)
			vcpu_attend(v, ATT_SLOW);
		else
			vcpu_unattend(v, ATT_SLOW);
	}
}
