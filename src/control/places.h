/* Where machines are found and where running ones leave their sockets: the directories of the XDG base directory specification.
 *
 *   $XDG_DATA_HOME/pogo/machines/NAME   symbolic link to the machine's file, for each that was created
 *   $XDG_RUNTIME_DIR/pogo/.NAME         held while NAME runs; contains its process ID
 *   $XDG_RUNTIME_DIR/pogo/NAME/         command.sock, console.sock, vnc.sock
 *   $XDG_STATE_HOME/pogo/NAME.log       what a background machine has to say */
#ifndef CONTROL_PLACES_H
#define CONTROL_PLACES_H

#include "control/spec.h"

#include <limits.h>
#include <sys/types.h>

#define PLACE_COMMAND "command.sock"
#define PLACE_CONSOLE "console.sock"
#define PLACE_VNC     "vnc.sock"

/* A directory of the three, made if it is not there (0700). False with a line in err. */
bool place_machines(char path[PATH_MAX], char *err, size_t errlen) must_check;
bool place_runtime(char path[PATH_MAX], char *err, size_t errlen) must_check;
/* The file that a background machine writes its messages to. */
bool place_log(const char *name, char path[PATH_MAX], char *err, size_t errlen) must_check;
/* The path of a running machine's file in its runtime directory. */
bool place_file(const char *name, const char *file, char path[PATH_MAX], char *err, size_t errlen)
	must_check;

/* The machine file that an argument means: a path if it has a '/' or ends with ".xml", else the name of a machine that was created. */
bool registry_find(const char *arg, char path[PATH_MAX], char *err, size_t errlen) must_check;
/* Enters a name, which must be free, or have a file that is gone. */
bool registry_add(const char *name, const char *path, char *err, size_t errlen) must_check;
void registry_remove(const char *name);
struct registry_entry {
	char name[SPEC_NAME_MAX + 1];
	char *path; /* NULL: not known */
};
/* In order of their names, at most max; for registry_free, which leaves the array itself. */
unsigned registry_list(struct registry_entry *entries, unsigned max);
void registry_free(struct registry_entry *entries, unsigned count);

/* Makes this process the one that runs NAME: what a dead one left is removed, the runtime directory made. Returns a descriptor that
 * holds the claim until it and its copies in children are closed; -1 with a line in err. */
int claim_take(const char *name, char *err, size_t errlen) must_check;
/* This process, a child of the one that took it, is who runs the machine from now on. */
void claim_sign(int claim);
/* Removes what lies in the runtime directory, and the claim. */
void claim_drop(const char *name, int claim);
/* The process that runs NAME, or 0. */
pid_t claim_holder(const char *name);
/* Names of running machines that are in no registry too; removes what dead ones left. */
unsigned claim_list(char (*names)[SPEC_NAME_MAX + 1], unsigned max);

#endif
