/* What can be asked of a running machine. Names, arguments and answers are QMP's. */
#include "control/instance.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static json_t *query_status(struct qmp_call *call)
{
	const struct machine *m = call->instance->machine;
	const struct machine_disk_error *e = machine_disk_error(m);
	bool paused = machine_paused(m);

	return json_pack("{s:b, s:s, s:b}", "running", !paused, "status",
			 !paused          ? "running"
			 : e && e->paused ? "io-error"
					  : "paused",
			 "singlestep", 0);
}

static json_t *do_stop(struct qmp_call *call)
{
	machine_pause(call->instance->machine, true);
	return json_object();
}

static json_t *do_cont(struct qmp_call *call)
{
	machine_pause(call->instance->machine, false);
	return json_object();
}

static json_t *system_reset(struct qmp_call *call)
{
	machine_reset(call->instance->machine);
	return json_object();
}

static json_t *system_powerdown(struct qmp_call *call)
{
	machine_power_button(call->instance->machine);
	qmp_event(&call->instance->qmp, "POWERDOWN", NULL);
	return json_object();
}

static json_t *do_quit(struct qmp_call *call)
{
	machine_end(call->instance->machine, END_QUIT);
	return json_object();
}

static json_t *query_name(struct qmp_call *call)
{
	return json_pack("{s:s}", "name", call->instance->spec->name);
}

static json_t *query_uuid(struct qmp_call *call)
{
	const char *uuid = call->instance->spec->uuid;

	return json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
}

static json_t *query_version(struct qmp_call *call)
{
	int major = 0, minor = 0, micro = 0;

	(void)call;
	sscanf(POGO_VERSION, "%d.%d.%d", &major, &minor, &micro);
	return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", major, "minor", minor,
			 "micro", micro, "package", "pogo " POGO_VERSION);
}

static json_t *query_block(struct qmp_call *call)
{
	const struct machine_spec *s = call->instance->spec;
	json_t *list = json_array();

	for (u32 n = 0; n < s->disks; n++) {
		const struct spec_disk *d = &s->disk[n];
		json_t *medium = !d->source ? NULL
					    : json_pack("{s:s, s:s, s:b, s:i}", "file", d->source,
							"drv", d->format ? d->format : "raw", "ro",
							d->readonly || d->device == SPEC_CDROM,
							"backing_file_depth", (int)d->backings);

		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:b, s:b, s:o*}", "device", d->target,
						"type", "unknown", "locked", 0, "removable",
						d->device != SPEC_DISK, "inserted", medium));
	}
	return list;
}

static json_t *query_cpus_fast(struct qmp_call *call)
{
	const struct vm *vm = machine_vm(call->instance->machine);
	json_t *list = json_array();

	/* All of them take turns on one thread. */
	for (unsigned n = 0; n < vm->nvcpus; n++) {
		char path[32];

		snprintf(path, sizeof(path), "/machine/cpu[%u]", n);
		json_array_append_new(list, json_pack("{s:i, s:I, s:s, s:s}", "cpu-index", (int)n,
						      "thread-id", (json_int_t)syscall(SYS_gettid),
						      "qom-path", path, "target", "x86_64"));
	}
	return list;
}

static json_t *query_chardev(struct qmp_call *call)
{
	const struct instance *i = call->instance;
	char name[80] = "stdio";

	if (i->hub && i->hub->pty_name[0])
		snprintf(name, sizeof(name), "pty:%s", i->hub->pty_name);
	else if (i->hub)
		snprintf(name, sizeof(name), "%s",
			 i->spec->serials ? spec_chars[i->spec->serial[0].type] : "console");
	return json_pack("[{s:s, s:s, s:b}]", "label", "serial0", "filename", name, "frontend-open",
			 1);
}

/* service: where a viewer connects. */
static json_t *query_vnc(struct qmp_call *call)
{
	const struct screens *screens = call->instance->screens;

	if (!screens || !screens->vnc)
		return json_pack("{s:b}", "enabled", 0);
	return json_pack("{s:b, s:s}", "enabled", 1, "service", vnc_address(screens->vnc));
}

static json_t *query_memory(struct qmp_call *call)
{
	return json_pack("{s:I, s:I}", "base-memory", (json_int_t)call->instance->config.memory,
			 "plugged-memory", (json_int_t)0);
}

/* Not QMP's: what `pogo info` shows beside. */
static json_t *query_pogo(struct qmp_call *call)
{
	const struct instance *i = call->instance;
	char error[512] = "";

	if (machine_disk_error(i->machine))
		machine_disk_error_text(i->machine, error, sizeof(error));
	return json_pack("{s:i, s:s, s:s, s:s, s:I, s:s*, s:s*, s:s*}", "pid", (int)getpid(),
			 "file", i->spec->file, "engine", i->config.engine, "cpu", i->config.cpu,
			 "uptime", (json_int_t)((u64)time(NULL) - i->started_s), "vnc",
			 i->screens && i->screens->vnc ? vnc_address(i->screens->vnc) : NULL, "pty",
			 i->hub && i->hub->pty_name[0] ? i->hub->pty_name : NULL, "problem",
			 *error ? error : NULL);
}

static json_t *query_commands(struct qmp_call *call)
{
	json_t *list = json_pack("[{s:s}]", "name", "qmp_capabilities");

	(void)call;
	for (const struct qmp_command *const *t = qmp_tables; *t; t++)
		for (const struct qmp_command *c = *t; c->name; c++)
			json_array_append_new(list, json_pack("{s:s}", "name", c->name));
	return list;
}

static const struct qmp_command machine_commands[] = {
	{ "query-status", "", query_status },
	{ "stop", "", do_stop },
	{ "cont", "", do_cont },
	{ "system_reset", "", system_reset },
	{ "system_powerdown", "", system_powerdown },
	{ "quit", "", do_quit },
	{ "query-name", "", query_name },
	{ "query-uuid", "", query_uuid },
	{ "query-version", "", query_version },
	{ "query-block", "", query_block },
	{ "query-cpus-fast", "", query_cpus_fast },
	{ "query-chardev", "", query_chardev },
	{ "query-vnc", "", query_vnc },
	{ "query-memory-size-summary", "", query_memory },
	{ "x-pogo-info", "", query_pogo },
	{ "query-commands", "", query_commands },
	{ 0 },
};

const struct qmp_command *const qmp_tables[] = { machine_commands, qmp_screen_commands, NULL };
