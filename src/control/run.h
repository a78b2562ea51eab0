/* What `pogo run` was asked for. */
#ifndef CONTROL_RUN_H
#define CONTROL_RUN_H

#include "control/disk_option.h"
#include "control/screens.h"
#include "control/spec.h"

struct run_config {
	struct machine_config machine;
	const char *overlay; /* "": changes are lost */
	struct drive_options drives;
	struct machine_spec *spec; /* of the machine file; NULL: there is none */
	const char *trace, *dump, *gdb, *display, *screenshot;
	struct screens_options screens;
	bool stats;
};

/* Builds the machine, runs it in the foreground until it ends. Returns an exit code. */
int run_machine(struct run_config *cfg);

#endif
