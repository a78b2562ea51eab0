/* Shared by the families that run on the host's units: memory operands, and the end of a thunk. */
#ifndef X86_EXEC_HOST_H
#define X86_EXEC_HOST_H

#include "x86/exec.h"
#include "x86/fpu.h"
#include "x86/hostsig.h"
#include "x86/mem.h"
#include "x86/thunk.h"

/* Room for a memory operand at any offset from a multiple of 64. */
#define HOST_OPERAND_ROOM 128

/* Reads or writes size bytes as one operand. */
static inline void host_load(struct vcpu *v, gva_t a, void *to, unsigned size)
{
	const u8 *p = tlb_hit(v, a, size, false);

	if (likely(p != NULL))
		memcpy(to, p, size);
	else
		x86_read_bytes(v, a, to, size);
}

static inline void host_store(struct vcpu *v, gva_t a, const void *from, unsigned size)
{
	u8 *p = tlb_hit(v, a, size, true);

	if (likely(p != NULL))
		memcpy(p, from, size);
	else
		x86_write_bytes(v, a, from, size);
}

/* Raises what the host's fault means for the guest. fault is HOSTSIG_FAULT | vector. */
noreturn_fn void host_fault(struct vcpu *v, u32 fault);
/* The same as t->code, with alignment checks on as the guest has them. */
u32 host_run_aligned(struct vcpu *v, const struct thunk *t, void *mem);

/* With alignment checks on, a misaligned operand raises #AC before its pages are looked at. Which
 * instructions check what is up to the processor: this tries on a copy of the state. mem: room for
 * the operand at its offset within 64 bytes. */
void host_check_alignment(struct vcpu *v, const struct thunk *t, void *mem);

/* Runs a thunk. 0, or a fault for host_fault. */
static inline u32 host_run(struct vcpu *v, const struct thunk *t, void *mem)
{
	if (unlikely(mem != NULL && fpu_align_check(v)))
		return host_run_aligned(v, t, mem);
	return t->code(&v->cpu, mem);
}

/* A thunk with a memory operand. */
x86_exec_fn exec_host_mem;
/* EVEX instructions that access only the memory elements that the mask selects. */
x86_exec_fn exec_host_masked;

/* The binders behind x86_bind_host: moves done without a thunk; gathers, scatters, masked moves. */
x86_bind_fn host_bind_move;
x86_bind_fn host_bind_gather;
/* Behind x86_bind_xsave: x87 control instructions, EMMS, LDMXCSR, STMXCSR. */
x86_bind_fn host_bind_x87env;

#endif
