/* What the tests of whole machines share. */
#ifndef MACHINE_MACHINE_TEST_H
#define MACHINE_MACHINE_TEST_H

#include "machine/machine.h"

/* One CPU, counted time, isa-debug-exit; the caller says what the machine starts, and how much RAM it has. */
static inline struct machine_config test_config(const char *engine)
{
	return (struct machine_config){ .append = "",
					.cpus = 1,
					.engine = engine,
					.cpu = "max",
					.clock = "insns",
					.boot_entry = "auto",
					.debug_exit = 0xf4,
					.timeout_s = 60,
					.check_step = 1 };
}

#endif
