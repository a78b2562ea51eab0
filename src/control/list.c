/* `pogo ls` and `pogo info`: which machines there are, and how they are. */
#include "base/log.h"
#include "control/client.h"
#include "control/command.h"
#include "control/json_print.h"
#include "control/machine_xml.h"
#include "control/places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MAX 1024u

struct list_config {
	bool json;
};

static const struct opt list_opts[] = {
	{ .rows = command_opts, .offset = offsetof(struct list_config, json) },
	{ 0 },
};

void command_ls_usage(void *file)
{
	fputs("Lists the machines that were created, and those that run.\n\n"
	      "  pogo ls\n"
	      "  pogo ls --json\n\n"
	      "States: running, paused, off; lost: its machine file is gone; bad: `pogo validate` says why.\n\n"
	      "Options:\n",
	      file);
	opt_help(list_opts, file);
}

void command_info_usage(void *file)
{
	fputs("Shows a machine: what its file says, and how it is.\n\n"
	      "  pogo info web\n"
	      "  pogo info --json web\n\n"
	      "Options:\n",
	      file);
	opt_help(list_opts, file);
}

/* "running" or "paused", as the machine itself says; "running" if it does not answer. */
static const char *state_running(const char *name)
{
	char err[512];
	json_t *status = client_ask(name, "query-status", NULL, err, sizeof(err));
	const char *word = json_string_value(json_object_get(status, "status"));
	bool paused = word && strcmp(word, "running");

	json_decref(status);
	return paused ? "paused" : "running";
}

static json_t *describe_disks(const struct machine_spec *s)
{
	json_t *list = json_array();

	for (u32 n = 0; n < s->disks; n++) {
		const struct spec_disk *d = &s->disk[n];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:b}", "target",
						      d->target, "device", spec_devices[d->device],
						      "bus", spec_buses[d->bus], "file", d->source,
						      "format", d->format, "readonly",
						      d->readonly || d->device == SPEC_CDROM));
	}
	return list;
}

/* What is known of a machine. path: its file, or NULL. */
static json_t *describe(const char *name, const char *path, bool whole)
{
	struct machine_spec *spec = malloc(sizeof(*spec));
	pid_t pid = claim_holder(name);
	char err[512] = "";
	bool good = spec && path && machine_xml_read(spec, path, err, sizeof(err));
	const char *state = pid                           ? state_running(name)
			    : !path || access(path, F_OK) ? "lost"
			    : good                        ? "off"
							  : "bad";
	json_t *o = json_pack("{s:s, s:s}", "name", name, "state", state);

	if (pid)
		json_object_set_new(o, "pid", json_integer(pid));
	if (path)
		json_object_set_new(o, "file", json_string(path));
	if (good) {
		json_object_set_new(o, "memory", json_integer((json_int_t)spec->memory));
		json_object_set_new(o, "cpus", json_integer(spec->cpus));
	} else if (*err && strcmp(state, "lost")) {
		json_object_set_new(o, "error", json_string(err));
	}
	if (good && whole) {
		if (spec->title)
			json_object_set_new(o, "title", json_string(spec->title));
		if (spec->uuid)
			json_object_set_new(o, "uuid", json_string(spec->uuid));
		json_object_set_new(o, "disks", describe_disks(spec));
	}
	if (good)
		spec_free(spec);
	free(spec);
	return o;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "-";
}

static void size_of(const json_t *o, char *buf, size_t size)
{
	json_int_t bytes = json_integer_value(json_object_get(o, "memory"));

	if (!bytes)
		snprintf(buf, size, "-");
	else if (bytes % (json_int_t)GIB)
		snprintf(buf, size, "%lldM", (long long)(bytes / (json_int_t)MIB));
	else
		snprintf(buf, size, "%lldG", (long long)(bytes / (json_int_t)GIB));
}

static void number_of(const json_t *o, const char *key, char *buf, size_t size)
{
	const json_t *n = json_object_get(o, key);

	snprintf(buf, size, n ? "%lld" : "-", (long long)json_integer_value(n));
}

static void print_table(const json_t *list)
{
	size_t index, width = 4;
	json_t *o;

	json_array_foreach(list, index, o) width = MAX(width, strlen(text_of(o, "name")));
	printf("%-*s  %-8s %-8s %-7s %-5s %s\n", (int)width, "NAME", "STATE", "PROCESS", "MEMORY",
	       "CPUS", "FILE");
	json_array_foreach(list, index, o)
	{
		char pid[24], cpus[24], memory[32];

		number_of(o, "pid", pid, sizeof(pid));
		number_of(o, "cpus", cpus, sizeof(cpus));
		size_of(o, memory, sizeof(memory));
		printf("%-*s  %-8s %-8s %-7s %-5s %s\n", (int)width, text_of(o, "name"),
		       text_of(o, "state"), pid, memory, cpus, text_of(o, "file"));
	}
}

static json_t *list_all(void)
{
	struct registry_entry *entries = calloc(LIST_MAX, sizeof(*entries));
	char(*names)[SPEC_NAME_MAX + 1] = calloc(LIST_MAX, sizeof(*names));
	unsigned count = entries ? registry_list(entries, LIST_MAX) : 0,
		 running = names ? claim_list(names, LIST_MAX) : 0;
	json_t *list = json_array();

	for (unsigned n = 0; n < count; n++)
		json_array_append_new(list, describe(entries[n].name, entries[n].path, false));
	for (unsigned n = 0; n < running; n++) {
		bool known = false;

		for (unsigned k = 0; k < count; k++)
			known |= !strcmp(entries[k].name, names[n]);
		if (known)
			continue;
		/* Started from a file; the machine itself knows which. */
		char err[512];
		json_t *info = client_ask(names[n], "x-pogo-info", NULL, err, sizeof(err));

		json_array_append_new(
			list, describe(names[n], json_string_value(json_object_get(info, "file")),
				       false));
		json_decref(info);
	}
	registry_free(entries, count);
	free(entries);
	free(names);
	return list;
}

int command_ls(int argc, char **argv)
{
	static const struct command_line line = { .opts = list_opts, .usage = command_ls_usage };
	struct list_config cfg = { 0 };
	int code;

	if (command_parse(&line, &cfg, argc, argv, NULL, &code) < 0)
		return code;
	json_t *list = list_all();

	if (cfg.json) {
		json_print(list);
		return EXIT_OK;
	}
	if (json_array_size(list) || !isatty(STDOUT_FILENO))
		print_table(list);
	else
		puts("no machines; `pogo create` makes one");
	json_decref(list);
	return EXIT_OK;
}

static void print_info(const json_t *o)
{
	const char *key;
	json_t *value;
	size_t index;

	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		if (!strcmp(key, "memory"))
			printf("%-8s %lld MiB\n", key,
			       (long long)(json_integer_value(value) / (json_int_t)MIB));
		else if (json_is_string(value))
			printf("%-8s %s\n", key, json_string_value(value));
		else if (json_is_integer(value))
			printf("%-8s %lld\n", key, (long long)json_integer_value(value));
	}
	json_array_foreach(json_object_get(o, "disks"), index, value)
		printf("%-8s %s, %s on %s, %s%s\n", text_of(value, "target"),
		       text_of(value, "file"), text_of(value, "device"), text_of(value, "bus"),
		       text_of(value, "format"),
		       json_is_true(json_object_get(value, "readonly")) ? ", read-only" : "");
}

int command_info(int argc, char **argv)
{
	struct list_config cfg = { 0 };
	struct client_target t;
	char err[512];
	int code;
	const char *name =
		command_parse_name(list_opts, command_info_usage, &cfg, argc, argv, &code);

	if (!name)
		return code;
	if (!client_find(&t, name, err, sizeof(err))) {
		log_error("%s", err);
		return EXIT_ERROR;
	}
	json_t *o = describe(t.name, *t.file ? t.file : NULL, true);

	if (t.pid) {
		json_t *more = client_ask(t.name, "x-pogo-info", NULL, err, sizeof(err));

		json_object_update(o, more);
		json_decref(more);
	}
	if (cfg.json) {
		json_print(o);
		return EXIT_OK;
	}
	print_info(o);
	json_decref(o);
	return EXIT_OK;
}
