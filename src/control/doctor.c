/* `pogo doctor`: what this host offers to each engine, found by trying. */
#include "control/command.h"
#include "control/json_print.h"
#include "machine/machine.h"
#include "engine/probe.h"
#include "x86/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/kvm.h>

void command_doctor_usage(void *file)
{
	fputs("Says what this host offers to each engine, by trying rather than by looking.\n\n"
	      "  pogo doctor\n"
	      "  pogo doctor --json\n\n"
	      "Exit codes: 0 at least one engine works, 4 none does.\n",
	      file);
}

/* Printed, or if there is a list, for --json, put into it. */
static void row(json_t *list, const char *name, bool good, const char *text)
{
	if (list)
		json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", name, "works",
						      good, "text", text));
	else
		printf("  %-10s %-4s %s\n", name, good ? "yes" : "no", text);
}

/* No engine uses it; said because users ask. */
static void doctor_kvm(json_t *list)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (fd < 0) {
		row(list, "/dev/kvm", false, errno == ENOENT ? "not there" : strerror(errno));
		return;
	}
	vm = ioctl(fd, KVM_CREATE_VM, 0);
	row(list, "/dev/kvm", vm >= 0,
	    vm >= 0 ? "creates virtual machines; no engine of Pogo uses it yet" : strerror(errno));
	if (vm >= 0)
		close(vm);
	close(fd);
}

static void doctor_memory(json_t *list)
{
	static const u64 sizes[] = { MACHINE_MEMORY_MAX, 16 * GIB, 4 * GIB, GIB,
				     MACHINE_MEMORY_DEFAULT };
	char text[64];
	struct mem mem;

	for (unsigned n = 0; n < ARRAY_LEN(sizes); n++)
		if (!mem_init(&mem, sizes[n])) {
			mem_fini(&mem);
			snprintf(text, sizeof(text), "a guest of %llu MiB can be mapped",
				 (unsigned long long)(sizes[n] / MIB));
			row(list, "memory", true, text);
			return;
		}
	row(list, "memory", false,
	    "not even 512 MiB can be mapped: raise ulimit -v or the container's limit");
}

static unsigned doctor_engines(json_t *list)
{
	unsigned good = 0;

	for (const struct engine_ops *const *e = engines; *e; e++) {
		const char *why = (*e)->unfit();

		if (!why)
			why = engine_probe(*e);
		row(list, (*e)->name, !why, why ? why : (*e)->help);
		good += !why;
	}
	return good;
}

int command_doctor(int argc, char **argv)
{
	bool json = argc == 2 && !strcmp(argv[1], "--json");
	json_t *list = json ? json_array() : NULL, *host = json ? json_array() : NULL;
	unsigned good;

	if (argc > 1 && !json) {
		command_doctor_usage(strcmp(argv[1], "--help") ? stderr : stdout);
		return strcmp(argv[1], "--help") ? EXIT_USAGE : EXIT_OK;
	}
	if (!json)
		puts("Engines:");
	good = doctor_engines(list);
	if (!json)
		puts("Host:");
	doctor_kvm(host);
	doctor_memory(host);
	if (json)
		json_print(json_pack("{s:o, s:o, s:s}", "engines", list, "host", host, "cpu-models",
				     cpuid_model_list()));
	else
		printf("CPU models: %s\n", cpuid_model_list());
	return good ? EXIT_OK : EXIT_UNAVAILABLE;
}
