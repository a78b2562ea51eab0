/* The registers that gdb sees: their order in packets, their XML description (GDB manual, appendices E.2 and G), and their values
 * in a CPU. Two sets: wide is that of amd64, the other one that of i386. */
#ifndef CONTROL_GDB_REGS_H
#define CONTROL_GDB_REGS_H

#include "x86/vcpu.h"

#define GDB_REG_MAX 16 /* bytes of the largest one */

/* The program counter is the linear address, CS base included. */
u64 gdb_pc(const struct x86_cpu *cpu);
/* Writes register n, in guest byte order, to buf. Returns its size in bytes; 0 if the set has no register n. */
unsigned gdb_reg_get(const struct x86_cpu *cpu, bool wide, unsigned n, u8 buf[GDB_REG_MAX]);
/* Gives register n, which exists, the value that is in buf. False if it differs from what the register holds and cannot be changed:
 * selectors (gdb does not mean a segment load) and control registers. The caller ends with x86_mode_changed. */
bool gdb_reg_set(struct vcpu *v, bool wide, unsigned n, const u8 buf[GDB_REG_MAX]);
/* The target description. file is a FILE *. */
void gdb_reg_describe(bool wide, const char *architecture, void *file);

#endif
