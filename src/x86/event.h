/* Event delivery as instructions and task switches use it. */
#ifndef X86_EVENT_H
#define X86_EVENT_H

#include "x86/vcpu.h"

/* The instruction that raised a software interrupt. INT1 is delivered without a check of the gate's
 * DPL, and the errors it causes have EXT set (SDM 2A INT n, SDM 3A 6.13). */
enum x86_int_kind { INT_N, INT_3, INT_O, INT_1 };

/* One event on its way through the IDT or the real-mode vector table. */
struct x86_event {
	u8 vector;
	bool has_error;
	bool soft; /* INT n, INT3, INTO */
	bool rf;   /* the pushed image has RF set: faults */
	u32 error;
	u64 rip; /* return address */
};

/* Runs the software interrupt instruction at cpu.rip; raises on faults, with nothing changed. */
void x86_software_interrupt(struct vcpu *v, unsigned vector, enum x86_int_kind kind, u64 next_rip);

/* MOV SS and POP SS: holds interrupts and debug traps back until after the next instruction (SDM 3A
 * 6.8.3). */
void x86_shadow_mov_ss(struct vcpu *v);

#endif
