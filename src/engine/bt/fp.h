/* The guest's x87, SSE, AVX and AVX-512 registers, which are the host's while translated code uses them.
 *
 * bt_cpu.fp_live: they are in the host's registers, and x86_cpu.xsave is out of date. The stubs move the registers (fp_emit_save,
 * fp_emit_restore), so that no C code runs in between: where C is entered from units with fp_live set, x86_cpu.xsave already holds
 * what the processor stored and the host's MXCSR is C's. fp_leave makes of that what fpu.h promises. Where C goes back to units with
 * fp_live set, the stub loads the registers. C that can leave in another way (exceptions) has called fp_leave. */
#ifndef ENGINE_BT_FP_H
#define ENGINE_BT_FP_H

#include "engine/bt/bt.h"

void fp_init(struct vcpu *v);
/* Before C looks at FP registers or changes them, or leaves to the caller of bt_enter. */
void fp_leave_live(struct vcpu *v);
/* Lets the stub load the registers: the next code is a unit's. */
void fp_enter(struct vcpu *v);
/* Whether an instruction of this gate (enum fpu_gate) may run. */
bool fp_gate_open(const struct vcpu *v, unsigned gate);

/* True if the registers were live. */
static inline bool fp_leave(struct vcpu *v)
{
	bool live = bt_cpu(v)->fp_live;

	if (live)
		fp_leave_live(v);
	return live;
}

/* Host code that stores or loads the registers if fp_live. Change RAX, RCX, RDX and flags. */
void fp_emit_save(struct as *a, const struct vm *vm);
void fp_emit_restore(struct as *a, const struct vm *vm);

#endif
