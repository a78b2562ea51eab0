/* What an attached debugger asks of a CPU. While v->dbg is set, ATT_SLOW is too, and the engine asks before each instruction. */
#ifndef X86_DEBUGGER_H
#define X86_DEBUGGER_H

#include "x86/vcpu.h"

#define DEBUGGER_MAX_BREAKPOINTS 64

struct debugger {
	gva_t breakpoints[DEBUGGER_MAX_BREAKPOINTS]; /* linear addresses */
	unsigned count;
	bool step;     /* stop after one instruction; interrupts wait meanwhile */
	bool held;     /* the CPU does not run at all */
	bool resuming; /* the instruction at rip runs even if there is a breakpoint on it */
};

/* True if ATT_SLOW is set for breakpoints of the debugger alone, and none lies in the page of the linear address a, at which the CPU
 * is: until it leaves the page nobody need look. */
static inline bool debugger_is_elsewhere(const struct vcpu *v, gva_t a)
{
	struct debugger *d = v->dbg;

	if (!d || d->step || (v->cpu.rflags & (FL_TF | FL_RF)) || (v->cpu.dr[7] & 0xff))
		return false;
	for (unsigned n = 0; n < d->count; n++)
		if ((d->breakpoints[n] ^ a) < 4096)
			return false;
	d->resuming = false;
	return true;
}

/* True if the CPU must stop before the instruction at linear address a. */
static inline bool debugger_stops(struct debugger *d, gva_t a)
{
	if (d->resuming) {
		d->resuming = false;
		return false;
	}
	if (d->step)
		return true;
	for (unsigned n = 0; n < d->count; n++)
		if (d->breakpoints[n] == a)
			return true;
	return false;
}

#endif
