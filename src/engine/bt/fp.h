/* The guest's x87, SSE and AVX registers, which are the host's while translated code uses them. */
#ifndef ENGINE_BT_FP_H
#define ENGINE_BT_FP_H

#include "engine/bt/bt.h"

/* Before C touches FP registers or x86_cpu.xsave: the guest's state goes to x86_cpu.xsave, if it is not there. True if it had to. */
static inline bool fp_leave(struct vcpu *v)
{
	(void)v;
	return false;
}

/* Back into the host's registers. */
static inline void fp_enter(struct vcpu *v) { (void)v; }

#endif
