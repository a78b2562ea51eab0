/* Host faults inside thunks. An instruction of the guest that faults on the host's units (#XM,
 * #GP for alignment, #UD...) arrives as a signal; the handler makes the thunk return the vector
 * instead. A fault anywhere else takes its old course: a crash of the monitor still crashes.
 * Signal handlers belong to the process, and so does the list of ranges they look at. */
#ifndef X86_HOSTSIG_H
#define X86_HOSTSIG_H

#include "base/types.h"

/* Host code whose faults are the guest's. It is entered by a call, keeps RSP and the
 * callee-saved registers as they were at entry, and holds the x86_cpu pointer in RDI throughout. */
struct hostsig_range {
	uintptr_t begin, end;
	/* Where a fault continues, with HOSTSIG_FAULT | vector in EAX and the fault's address in RCX; must restore the host's
	 * state and return. exit_simd is for #XM, and saves MXCSR for the guest first. */
	uintptr_t exit, exit_simd;
};

#define HOSTSIG_FAULT 0x100u

/* Installs the handlers where they are not. -ENOSPC if too many ranges exist, -errno. Any
 * thread. */
int hostsig_add(const struct hostsig_range *range) must_check;
/* No thread may be executing in the range. */
void hostsig_remove(uintptr_t begin);

/* Gives the calling thread an alternate signal stack, unless it has one. Without it the handlers
 * run on the thread's own stack. Negative errno. */
int hostsig_init_thread(void) must_check;
void hostsig_fini_thread(void);

#endif
