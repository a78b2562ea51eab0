/* The other end of the command socket: what pogo's own commands use. */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

#include "control/spec.h"

#include <jansson.h>

/* A machine that a command is for. */
struct client_target {
	char name[SPEC_NAME_MAX + 1];
	char file[4096]; /* its machine file */
	pid_t pid;       /* 0: it does not run */
};

/* What an argument means: a name that was created, a machine file, or the name of a machine that runs. False with a line in err. */
bool client_find(struct client_target *t, const char *arg, char *err, size_t errlen) must_check;
/* The same of a machine that must run: pid is not 0. */
bool client_find_running(struct client_target *t, const char *arg, char *err, size_t errlen)
	must_check;
/* Runs one command on a running machine. args is dropped; NULL: none. What it returns, for json_decref; NULL with a line in err. */
json_t *client_ask(const char *name, const char *command, json_t *args, char *err, size_t errlen)
	must_check;

#endif
