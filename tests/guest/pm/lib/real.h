/* Probes in real-address mode, in the manner of pm.h. */
#ifndef TESTS_GUEST_PM_REAL_H
#define TESTS_GUEST_PM_REAL_H

#include "pm.h"

extern u8 real_stubs[]; /* of 8 bytes: what the vector table names */

/* Run a probe in real mode; DS and ES go through the descriptor `data` before PE is cleared. */
void real_probe(const struct regs *r, u32 data);

#define REAL_WITH(code, data, ...)                       \
	real_probe(&(struct regs){ .eip = (code)-LOW,    \
				   .eflags = 2,          \
				   .cs = LOW_SEG,        \
				   .ss = LOW_STACK >> 4, \
				   .esp = 0x8000,        \
				   .ds = LOW_DATA >> 4,  \
				   .es = LOW_DATA >> 4,  \
				   __VA_ARGS__ },        \
		   data)
#define REAL(code, ...) REAL_WITH(code, DS16, __VA_ARGS__)

#endif
