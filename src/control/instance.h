/* A machine of a machine file while it runs: under its name, with its command socket and its serial port. */
#ifndef CONTROL_INSTANCE_H
#define CONTROL_INSTANCE_H

#include "control/qmp.h"
#include "control/screens.h"
#include "control/serial_hub.h"

struct instance {
	struct machine_spec *spec;
	struct machine_config config; /* what was built; its strings are the spec's */
	struct machine *machine;      /* NULL before it is built */
	struct qmp qmp;
	struct serial_hub *hub;  /* NULL: the first serial port is this process's terminal */
	int claim;               /* -1: none */
	struct screens *screens; /* NULL: none was opened */
	u64 started_s;           /* since 1970 */
};

/* Whether the engine of the configuration can run here, and the CPU model exists. False with a line in err. */
bool instance_fit(const struct machine_config *cfg, char *err, size_t errlen) must_check;
/* Claims the machine's name. False with a line in err. */
bool instance_claim(struct instance *i, struct machine_spec *spec, char *err, size_t errlen)
	must_check;
/* Where the machine file wants the screen to be seen. False with a line in err. */
bool instance_screens(struct machine_spec *spec, struct screens_options *options, char *err,
		      size_t errlen) must_check;
/* Makes the sockets. console: the first serial port is reached through one too. False with a line in err. */
bool instance_open(struct instance *i, bool console, char *err, size_t errlen) must_check;
/* Starts to serve them from the machine's loop. False with a line in err. */
bool instance_attach(struct instance *i, struct machine *m, char *err, size_t errlen) must_check;
/* The machine has ended: tells clients why. */
void instance_ended(struct instance *i, enum machine_end end);
/* Before the machine is freed: nothing of the loop is used afterwards. */
void instance_detach(struct instance *i);
/* Removes the sockets and the claim. */
void instance_close(struct instance *i);
/* A few words on how machine_run ended. */
const char *instance_end_name(enum machine_end end);

#endif
