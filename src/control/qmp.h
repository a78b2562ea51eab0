/* The command socket of a machine: JSON, one object a line, with QMP's handshake and names. Clients are served from the machine's loop and
 * never waited for; one that does not read, or says too much at once, is dropped.
 *
 *   < {"QMP": {"version": ..., "capabilities": []}}
 *   > {"execute": "qmp_capabilities"}
 *   < {"return": {}}
 *   > {"execute": "query-status", "id": 1}
 *   < {"return": {"running": true, "status": "running"}, "id": 1}
 *   < {"event": "SHUTDOWN", "data": {...}, "timestamp": {...}}
 */
#ifndef CONTROL_QMP_H
#define CONTROL_QMP_H

#include "machine/machine.h"

#include <jansson.h>

#define QMP_CLIENTS  8u
#define QMP_LINE_MAX (64 * KIB)
#define QMP_OUT_MAX  (256 * KIB) /* not yet read by the client */
#define QMP_DEPTH    16u

struct instance;
struct qmp;

/* A command while it runs. */
struct qmp_call {
	struct instance *instance;
	json_t *args; /* an object; those that the command's row names, of the right types, and no others */
	char error[256]; /* of a call that fails: one line with the fix */
};

/* Commands are rows of tables; a table is ended by name == NULL. */
struct qmp_command {
	const char *name;
	/* "name:TYPE name?:TYPE": s string, i integer, b boolean, a array; with ? it may be left out. "": none. */
	const char *args;
	/* What it returns, or NULL with the reason in call->error. On the machine's thread; must not wait. */
	json_t *(*run)(struct qmp_call *call);
};

/* Screen and keyboard. */
extern const struct qmp_command qmp_screen_commands[];
/* All tables, ended by NULL. */
extern const struct qmp_command *const qmp_tables[];

struct qmp_client {
	struct qmp *qmp;
	int fd;       /* -1: free */
	bool agreed;  /* qmp_capabilities has been called */
	bool leaving; /* closed once its output is out */
	short events;
	char *in; /* QMP_LINE_MAX bytes */
	size_t in_count;
	char *out; /* QMP_OUT_MAX bytes */
	size_t out_first, out_count;
};

struct qmp {
	struct instance *instance;
	struct loop *loop; /* NULL: not attached */
	int listener;
	struct qmp_client client[QMP_CLIENTS];
};

/* False with a line in err. */
bool qmp_open(struct qmp *q, struct instance *instance, const char *path, char *err, size_t errlen)
	must_check;
/* Negative errno. */
int qmp_attach(struct qmp *q, struct loop *loop) must_check;
/* Tells all clients that have agreed. data is dropped; NULL: none. */
void qmp_event(struct qmp *q, const char *name, json_t *data);
/* Sends what clients take at once, closes all. */
void qmp_close(struct qmp *q);
/* For the fuzz test and the socket alike: what is answered to a line, or NULL if nothing is. */
json_t *qmp_answer(struct instance *instance, bool *agreed, const char *line, size_t size);

#endif
