/* What engines share: running one instruction alone, with every check. */
#ifndef ENGINE_STEP_H
#define ENGINE_STEP_H

#include "x86/vcpu.h"

/* What a rip that moves on within code of 16, 32 or 64 bits is cut to. */
static inline u64 engine_rip_mask(unsigned mode) { return mode == 64 ? ~0ull : 0xffffffffull; }

/* Runs the instruction at rip: code on no cacheable page, across two pages, at the segment's end; and whenever each boundary
 * counts (single step, breakpoints, interrupt shadow). v->icount goes up by one. Returns false with *stop for a debugger. Leaves
 * by x86_raise if the instruction does; v->insn is then still set, and the caller clears it. */
bool engine_step(struct vcpu *v, enum stop *stop);

#endif
