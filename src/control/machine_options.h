/* Options that the commands share which are told of a machine: `pogo run` and `pogo create`. */
#ifndef CONTROL_MACHINE_OPTIONS_H
#define CONTROL_MACHINE_OPTIONS_H

#include "machine/machine.h"

/* Rows for a struct machine_config. */
extern const struct opt machine_opts[];

#endif
