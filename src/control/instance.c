#include "control/instance.h"

#include "control/places.h"
#include "x86/cpuid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool instance_fit(const struct machine_config *cfg, char *err, size_t errlen)
{
	const struct engine_ops *engine = engine_find(cfg->engine);
	const char *why;

	if (!engine) {
		snprintf(err, errlen, "engine %s: no such engine; `pogo doctor` lists them",
			 cfg->engine);
		return false;
	}
	why = engine->unfit();
	if (why) {
		snprintf(err, errlen, "engine %s cannot run on this host: %s", engine->name, why);
		return false;
	}
	if (cfg->cache && !engine->makes_code) {
		snprintf(
			err, errlen,
			"<cache>: engine %s makes no host code; remove it, or write <engine>bt</engine>",
			engine->name);
		return false;
	}
	if (cpuid_model_find(cfg->cpu))
		return true;
	snprintf(err, errlen, "CPU model %s: no such model; choose one of: %s", cfg->cpu,
		 cpuid_model_list());
	return false;
}

bool instance_claim(struct instance *i, struct machine_spec *spec, char *err, size_t errlen)
{
	*i = (struct instance){ .spec = spec, .started_s = (u64)time(NULL), .qmp.listener = -1 };
	for (unsigned n = 0; n < QMP_CLIENTS; n++)
		i->qmp.client[n].fd = -1;
	i->claim = claim_take(spec->name, err, errlen);
	return i->claim >= 0;
}

bool instance_open(struct instance *i, bool console, char *err, size_t errlen)
{
	static const struct spec_chardev nothing = { .type = SPEC_CHAR_NULL };
	struct machine_spec *s = i->spec;
	const struct spec_chardev *port = s->serials ? &s->serial[0] : &nothing;
	bool terminal = !s->serials || port->type == SPEC_CHAR_STDIO;
	char path[PATH_MAX];

	if (!place_file(s->name, PLACE_COMMAND, path, err, errlen) ||
	    !qmp_open(&i->qmp, i, path, err, errlen))
		return false;
	if (!console && terminal)
		return true;
	if (!place_file(s->name, PLACE_CONSOLE, path, err, errlen))
		return false;
	i->hub = malloc(sizeof(*i->hub));
	if (!i->hub) {
		snprintf(err, errlen, "no memory");
		return false;
	}
	const char *file = port->path ? spec_path(s, port->path) : NULL;

	return hub_open(i->hub, port, file, path, err, errlen);
}

bool instance_screens(struct machine_spec *spec, struct screens_options *options, char *err,
		      size_t errlen)
{
	char path[PATH_MAX];

	if (!place_file(spec->name, PLACE_VNC, path, err, errlen))
		return false;
	options->vnc.password_file = spec_path(spec, spec->vnc.password_file);
	if (spec_vnc(spec, path, &options->vnc.listen) &&
	    (options->vnc.password_file || !spec->vnc.password_file))
		return true;
	snprintf(err, errlen, "no memory");
	return false;
}

static json_t *disk_error(const struct instance *i)
{
	static const char *const operations[] = { [BLOCK_READ] = "read",
						  [BLOCK_WRITE] = "write",
						  [BLOCK_FLUSH] = "write",
						  [BLOCK_DISCARD] = "write",
						  [BLOCK_WRITE_ZEROES] = "write" };
	const struct machine_disk_error *e = machine_disk_error(i->machine);
	const struct machine_spec *s = i->spec;

	return json_pack("{s:s, s:s, s:s, s:b, s:s}", "device",
			 e->drive < s->disks ? s->disk[e->drive].target : "", "operation",
			 operations[e->op], "action", e->paused ? "stop" : "report", "nospace",
			 e->error == ENOSPC, "reason", strerror(e->error));
}

static void on_event(void *opaque, enum machine_event event)
{
	struct instance *i = opaque;
	bool guest = event == MACHINE_GUEST_RESET;

	switch (event) {
	case MACHINE_PAUSED: qmp_event(&i->qmp, "STOP", NULL); break;
	case MACHINE_RESUMED: qmp_event(&i->qmp, "RESUME", NULL); break;
	case MACHINE_DISK_ERROR: qmp_event(&i->qmp, "BLOCK_IO_ERROR", disk_error(i)); break;
	case MACHINE_RESET:
	case MACHINE_GUEST_RESET:
		qmp_event(&i->qmp, "RESET",
			  json_pack("{s:b, s:s}", "guest", guest, "reason",
				    guest ? "guest-reset" : "host-qmp-system-reset"));
	}
}

bool instance_attach(struct instance *i, struct machine *m, char *err, size_t errlen)
{
	int code = qmp_attach(&i->qmp, machine_loop(m));

	i->machine = m;
	if (!code && i->hub)
		code = hub_attach(i->hub, m);
	if (code) {
		snprintf(err, errlen, "the sockets cannot be watched: %s", strerror(-code));
		return false;
	}
	machine_on_event(m, on_event, i);
	return true;
}

const char *instance_end_name(enum machine_end end)
{
	switch (end) {
	case END_POWEROFF: return "the guest powered off";
	case END_RESET: return "the guest reset the machine";
	case END_CRASH: return "the guest crashed: triple fault";
	case END_DEBUG_EXIT: return "the guest wrote the debug-exit port";
	case END_TIMEOUT: return "timeout";
	case END_QUIT: return "ended on request";
	case END_INTERRUPTED: return "ended by a signal";
	case END_DIFFERENT: return "the engines differ";
	case END_NONE:
	case END_ERROR: break;
	}
	return "the machine could not go on";
}

void instance_ended(struct instance *i, enum machine_end end)
{
	/* QMP's ShutdownCause. */
	const char *reason = end == END_POWEROFF      ? "guest-shutdown"
			     : end == END_RESET       ? "guest-reset"
			     : end == END_CRASH       ? "guest-panic"
			     : end == END_DEBUG_EXIT  ? "guest-shutdown"
			     : end == END_QUIT        ? "host-qmp-quit"
			     : end == END_INTERRUPTED ? "host-signal"
						      : "host-error";
	bool guest = !strncmp(reason, "guest", 5);

	qmp_event(&i->qmp, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", guest, "reason", reason));
}

void instance_detach(struct instance *i)
{
	if (!i->machine)
		return;
	machine_on_event(i->machine, NULL, NULL);
	qmp_close(&i->qmp);
	if (i->hub)
		hub_detach(i->hub);
	i->machine = NULL;
}

void instance_close(struct instance *i)
{
	instance_detach(i);
	qmp_close(&i->qmp);
	if (i->hub)
		hub_close(i->hub);
	free(i->hub);
	i->hub = NULL;
	if (i->claim >= 0)
		claim_drop(i->spec->name, i->claim);
	i->claim = -1;
}
