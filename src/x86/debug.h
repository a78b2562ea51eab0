/* The debug facilities as engines use them (SDM 3B 17.2, 17.3). In ATT_SLOW mode an engine does,
 * for each instruction: unless RF is set, x86_check_code_breakpoint; clear RF; run the instruction;
 * x86_step_done. */
#ifndef X86_DEBUG_H
#define X86_DEBUG_H

#include "x86/vcpu.h"

#define DR6_BD      BIT(13)
#define DR6_BS      BIT(14)
#define DR6_BT      BIT(15)
#define DR6_TRAPS   0xfull
#define DR6_FIXED   0xffff0ff0ull
#define DR7_GD      BIT(13)
#define DR7_FIXED   BIT(10)
#define DR7_ENABLES 0xffull

/* Own thread, between an instruction's function and x86_step_done: the instruction has itself
 * decided about single-stepping (INT n and the like clear TF and lose the trap; SYSCALL and SYSRET
 * look at TF afterwards). */
#define ATT_NO_STEP BIT(8)
/* Own thread: RF was loaded by IRET or a task switch, and holds for one instruction, which must run
 * alone. (A string instruction between two iterations sets RF too, for the frame of an event that
 * comes there; that asks for nothing.) */
#define ATT_RF BIT(9)

/* Raises #DB as a fault if an enabled instruction breakpoint lies at linear address a. Before the
 * instruction, with RF clear. */
void x86_check_code_breakpoint(struct vcpu *v, gva_t a);
/* After an instruction that was run alone has completed; tf_before: RFLAGS.TF when it began.
 * Records the single-step trap, and ends ATT_SLOW where nothing asks for it any more. */
void x86_step_done(struct vcpu *v, bool tf_before);

/* For instructions that decide about the single-step trap themselves: at their start, before TF
 * changes. */
void x86_step_override(struct vcpu *v);
/* For instructions that have loaded RFLAGS with RF, before their x86_mode_changed. */
void x86_rf_loaded(struct vcpu *v);
/* Pends the single-step trap if TF is set now. */
void x86_step_if_tf(struct vcpu *v);
/* Notes bits of DR6 as a trap to deliver at the next boundary. */
void x86_pend_debug_trap(struct vcpu *v, u64 dr6);
/* Puts the bits of a debug exception into DR6 (B0..B3 are those of the last one). */
void x86_set_dr6(struct x86_cpu *cpu, u64 bits);
/* Raises the #DB fault with these DR6 bits. */
noreturn_fn void x86_raise_debug(struct vcpu *v, u64 bits);
/* An I/O access of size bytes at port: records breakpoints hit. */
void x86_io_breakpoint(struct vcpu *v, u16 port, unsigned size);

/* MOV to and from debug registers after the checks of privilege; n is 0..7. */
u64 x86_read_dr(const struct x86_cpu *cpu, unsigned n);
void x86_write_dr(struct vcpu *v, unsigned n, u64 value);

#endif
