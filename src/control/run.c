/* `pogo run`: one machine in the foreground. */
#include "base/log.h"
#include "base/trace.h"
#include "control/command.h"
#include "control/instance.h"
#include "control/machine_options.h"
#include "control/machine_xml.h"
#include "control/places.h"
#include "control/run.h"
#include "x86/cpuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MACHINE(field) offsetof(struct run_config, machine.field)

static const struct opt run_opts[] = {
	{ .rows = machine_opts, .offset = offsetof(struct run_config, machine) },
	{ .key = "disk",
	  .kind = OPT_LIST,
	  .offset = offsetof(struct run_config, drives.disks),
	  .value = "FILE[,...]",
	  .help = "image as a disk: ro, bus=virtio|ide, format=NAME, serial=TEXT, overlay[=FILE], parent=FILE, boot=N may follow; may be repeated" },
	{ .rows = drive_opts, .offset = offsetof(struct run_config, drives) },
	{ .key = "overlay",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct run_config, overlay),
	  .value = "FILE",
	  .help = "disks are only read: changes are lost at the end, or those of the first disk are kept in FILE",
	  .implied = "" },
	{ .key = "display",
	  .kind = OPT_CHOICE,
	  .offset = offsetof(struct run_config, display),
	  .value = "serial|text",
	  .help = "what this terminal is: the serial port (default), or the screen while it is in a text mode",
	  .choices = "serial text" },
	{ .key = "vnc",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct run_config, screens.vnc.listen),
	  .value = "WHERE",
	  .help = "the screen over VNC on [HOST:]PORT or unix:PATH (default 5900 on the loopback address)",
	  .implied = "5900" },
	{ .key = "vnc-password",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct run_config, screens.vnc.password_file),
	  .value = "FILE",
	  .help = "VNC clients must know the first line of FILE; needed where others than this host can connect" },
	{ .key = "screenshot",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct run_config, screenshot),
	  .value = "FILE",
	  .help = "the screen as it is at the end, as PNG" },
	{ .key = "check",
	  .kind = OPT_STRING,
	  .offset = MACHINE(check),
	  .value = "NAME",
	  .help = "run a second machine in lockstep on this engine, end at the first difference; implies --clock insns" },
	{ .key = "check-step",
	  .kind = OPT_UINT,
	  .offset = MACHINE(check_step),
	  .value = "N",
	  .help = "instructions between comparisons (default 1: as few as the engine can)",
	  .min = 1,
	  .max = 1000000 },
	{ .key = "check-page",
	  .kind = OPT_UINT,
	  .offset = MACHINE(check_page),
	  .value = "N",
	  .help = "compare page N of guest RAM (address / 4096) each time too",
	  .max = UINT32_MAX },
	{ .key = "cache",
	  .kind = OPT_SIZE,
	  .offset = MACHINE(cache),
	  .value = "SIZE",
	  .help = "engine bt: room for translated code, 4M to 1G (default: RAM/16, 32M to 128M)",
	  .min = MACHINE_CACHE_MIN,
	  .max = MACHINE_CACHE_MAX },
	{ .key = "clock",
	  .kind = OPT_CHOICE,
	  .offset = MACHINE(clock),
	  .value = "real|insns",
	  .help = "guest time: real, or counted in instructions (deterministic)",
	  .choices = "real insns" },
	{ .key = "boot-entry",
	  .kind = OPT_CHOICE,
	  .offset = MACHINE(boot_entry),
	  .value = "ENTRY",
	  .help = "which entry of a bzImage to use: auto, 16, 32, 64 (default auto)",
	  .choices = "auto 16 32 64" },
	{ .key = "timeout",
	  .kind = OPT_UINT,
	  .offset = MACHINE(timeout_s),
	  .value = "SECONDS",
	  .help = "stop after this time, exit code 124",
	  .min = 1,
	  .max = MACHINE_TIMEOUT_MAX_S },
	{ .key = "no-reboot",
	  .kind = OPT_FLAG,
	  .offset = MACHINE(no_reboot),
	  .help = "exit where the guest resets the machine" },
	{ .key = "trace",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct run_config, trace),
	  .value = "LIST",
	  .help = "trace points to stderr: a comma-separated list, or all; `help` lists them" },
	{ .key = "stats",
	  .kind = OPT_FLAG,
	  .offset = offsetof(struct run_config, stats),
	  .help = "exit counters at the end, to stderr" },
	{ .key = "dump",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct run_config, dump),
	  .value = "WHAT",
	  .help = "config, memmap, bus, cpuid: print and exit; state, screen: at the end; block (interp) or tu (bt): each block or unit to stderr" },
	{ .key = "perf-map",
	  .kind = OPT_FLAG,
	  .offset = MACHINE(perf_map),
	  .help = "engine bt: name translated code for perf, in /tmp/perf-PID.map" },
	{ .key = "gdb",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct run_config, gdb),
	  .value = ":PORT",
	  .help = "wait for gdb before the first instruction (default :1234)",
	  .implied = ":1234" },
	{ .key = "help", .kind = OPT_HELP, .help = "this text" },
	{ 0 },
};

void command_run_usage(void *file)
{
	fputs("Runs a machine in the foreground; its first serial port is this terminal. Options go over what a machine file says.\n\n"
	      "  pogo run web.xml\n"
	      "  pogo run web --memory 2G --cdrom rescue.iso\n"
	      "  pogo run --kernel vmlinuz --initrd initrd.gz --append \"console=ttyS0\"\n"
	      "  pogo run --kernel vmlinuz --initrd initrd.gz --append \"console=ttyS0\" --memory 1G --cpus 2 --disk root.img\n"
	      "  pogo run --kernel test.elf --debug-exit --stats\n\n"
	      "On a terminal, Ctrl-] is the escape key (Ctrl-] h for help, Ctrl-] q quits); every other key goes to the guest.\n\n"
	      "Options:\n",
	      file);
	opt_help(run_opts, file);
	fputs("\nExit codes: 0 the guest powered off, 1 error, 2 wrong usage, 3 the guest crashed (triple fault),\n"
	      "4 the engine cannot run on this host, 5 the engines differ (--check), 124 timeout; with --debug-exit, what the guest\n"
	      "asks for.\n",
	      file);
}

static int usage_error(const char *err)
{
	log_error("%s", err);
	log_info("see `pogo help run`");
	return EXIT_USAGE;
}

static int check_engine(const char *option, const char *name)
{
	const struct engine_ops *engine = engine_find(name);
	const char *why;

	if (!engine) {
		log_error("--%s %s: no such engine; `pogo doctor` lists them", option, name);
		return EXIT_USAGE;
	}
	why = engine->unfit();
	if (why) {
		log_error("engine %s cannot run on this host: %s", engine->name, why);
		return EXIT_UNAVAILABLE;
	}
	return 0;
}

static int check_lockstep(struct run_config *cfg)
{
	if (!strcmp(cfg->machine.clock, "real") || cfg->gdb) {
		log_error("--check goes with --clock insns alone, and not with --gdb");
		return EXIT_USAGE;
	}
	return check_engine("check", cfg->machine.check);
}

/* Options that only mean something to an engine that makes host code. */
static int check_code_options(const struct run_config *cfg)
{
	const char *option = cfg->machine.cache      ? "cache"
			     : cfg->machine.perf_map ? "perf-map"
						     : NULL;

	if (!option || engine_find(cfg->machine.engine)->makes_code)
		return 0;
	log_error("--%s: engine %s makes no host code; --engine bt does", option,
		  cfg->machine.engine);
	return EXIT_USAGE;
}

/* --overlay: for all disks, or with a file for the first. */
static bool set_overlays(struct machine_config *m, const char *overlay)
{
	bool found = false;

	for (unsigned n = 0; n < m->disk_count && !(found && *overlay); n++) {
		if (m->disks[n].drive != DRIVE_DISK)
			continue;
		if (!m->disks[n].overlay)
			m->disks[n].overlay = overlay;
		found = true;
	}
	return found;
}

/* 0 or an exit code. */
static int add_drives(struct run_config *cfg)
{
	struct machine_config *m = &cfg->machine;
	char err[512];

	if (!drive_options_add(m, &cfg->drives, err, sizeof(err)))
		return usage_error(err);
	if (cfg->overlay && !set_overlays(m, cfg->overlay))
		return usage_error("--overlay: goes with --disk");
	if (!m->kernel && !m->firmware)
		m->firmware = "bios";
	if (!m->kernel && !m->disk_count && !strcmp(m->firmware, "bios")) {
		log_error(
			"nothing to boot: give --kernel FILE, --disk FILE, --cdrom FILE or --floppy FILE");
		log_info("see `pogo help run`");
		return EXIT_USAGE;
	}
	return 0;
}

/* Options that would go unheard without another one. */
static int check_company(const struct run_config *cfg)
{
	const struct machine_config *m = &cfg->machine;
	bool uefi = m->firmware && !strcmp(m->firmware, "uefi");

	if (m->kernel && m->firmware)
		return usage_error(
			"--kernel and --firmware: a kernel starts without firmware; give one of the two");
	if (!m->kernel && m->initrd)
		return usage_error("--initrd: goes with --kernel alone");
	if (!m->kernel && *m->append)
		return usage_error("--append: goes with --kernel alone");
	if (m->nvram && !uefi)
		return usage_error("--nvram: goes with --firmware uefi alone");
	if (cfg->screens.vnc.password_file && !cfg->screens.vnc.listen)
		return usage_error("--vnc-password: goes with --vnc");
	return 0;
}

/* Checks what needs no machine. Returns 0 or an exit code. */
static int check_config(struct run_config *cfg)
{
	int code = check_engine("engine", cfg->machine.engine);

	if (!code && cfg->machine.check)
		code = check_lockstep(cfg);
	if (!code)
		code = check_code_options(cfg);
	if (code)
		return code;
	if (!cpuid_model_find(cfg->machine.cpu)) {
		log_error("--cpu %s: no such model; choose one of: %s", cfg->machine.cpu,
			  cpuid_model_list());
		return EXIT_USAGE;
	}
	if (cfg->trace) {
		const char *bad = trace_enable(cfg->trace);

		if (bad) {
			log_error(
				"--trace: no trace point '%s'; `pogo run --trace help` lists them",
				bad);
			return EXIT_USAGE;
		}
	}
	code = add_drives(cfg);
	return code ? code : check_company(cfg);
}

/* The configuration that a machine file, or a name, means. 0 or an exit code. */
static int read_machine(struct run_config *cfg, struct machine_spec *spec, const char *arg)
{
	char path[PATH_MAX], whole[PATH_MAX], err[PATH_MAX + 256];

	if (!registry_find(arg, path, err, sizeof(err)) ||
	    !machine_xml_read(spec, realpath(path, whole) ? whole : path, err, sizeof(err))) {
		log_error("%s", err);
		return EXIT_ERROR;
	}
	cfg->spec = spec;
	if (instance_screens(spec, &cfg->screens, err, sizeof(err)) &&
	    spec_config(spec, &cfg->machine, err, sizeof(err)))
		return 0;
	log_error("%s", err);
	return EXIT_ERROR;
}

/* A kernel of the options rules out the file's firmware, and the other way round; other firmware has other variables. */
static void settle_boot(struct machine_config *cfg, const struct machine_config *file)
{
	if (cfg->firmware != file->firmware && cfg->nvram == file->nvram)
		cfg->nvram = NULL;
	if (!cfg->kernel || !cfg->firmware)
		return;
	if (cfg->kernel != file->kernel) {
		cfg->firmware = NULL;
	} else {
		cfg->kernel = cfg->initrd = NULL;
		cfg->append = "";
	}
}

static int run_parsed(struct run_config *cfg, int argc, char **argv, const char *word)
{
	struct machine_config file = { 0 };
	struct machine_spec spec;
	bool help;
	char err[256];
	int code = 0;

	if (word) {
		struct run_config fresh = { 0 };

		/* Options once more, over the file's settings. */
		code = read_machine(&fresh, &spec, word);
		*cfg = fresh;
		file = fresh.machine;
		if (!code &&
		    opt_parse(run_opts, cfg, argc, argv, &word, 1, &help, err, sizeof(err)) < 0)
			code = usage_error(err);
		if (cfg->machine.no_vga && cfg->screens.vnc.listen == fresh.screens.vnc.listen)
			cfg->screens.vnc.listen = cfg->screens.vnc.password_file = NULL;
		settle_boot(&cfg->machine, &file);
		if (cfg->machine.check && !strcmp(file.clock, cfg->machine.clock))
			cfg->machine.clock = "";
	}
	if (!code)
		code = check_config(cfg);
	if (!code) {
		if (!*cfg->machine.clock)
			cfg->machine.clock = cfg->machine.check ? "insns" : "real";
		code = run_machine(cfg);
	}
	if (cfg->spec)
		spec_free(cfg->spec);
	return code;
}

int command_run(int argc, char **argv)
{
	static const struct command_line line = { .opts = run_opts,
						  .usage = command_run_usage,
						  .max = 1 };
	struct run_config cfg = { .machine = { .memory = MACHINE_MEMORY_DEFAULT,
					       .cpus = 1,
					       .engine = engine_default()->name,
					       .cpu = "max",
					       .clock = "",
					       .board = "auto",
					       .check_step = 1,
					       .check_page = UINT32_MAX,
					       .boot_entry = "auto",
					       .append = "" } };
	const char *word = NULL;
	int code;

	if (command_parse(&line, &cfg, argc, argv, &word, &code) < 0)
		return code;
	if (cfg.trace && !strcmp(cfg.trace, "help")) {
		trace_help();
		return EXIT_OK;
	}
	return run_parsed(&cfg, argc, argv, word);
}
