/* GDB remote serial protocol stub: registers, memory, breakpoints, step, for 16, 32 and 64-bit guests. */
#ifndef CONTROL_GDB_H
#define CONTROL_GDB_H

#include "machine/machine.h"

struct gdb;

/* Listens on ":PORT" or "HOST:PORT" (loopback by default) and pauses the machine until a debugger continues it. NULL with one
 * line in err on failure. */
struct gdb *gdb_new(struct machine *m, const char *address, char *err, size_t errlen) must_check;
/* An attached gdb is told that the machine has ended with this exit code. g may be NULL. */
void gdb_free(struct gdb *g, int code);

#endif
