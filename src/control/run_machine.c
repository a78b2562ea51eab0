/* A machine in the foreground: this terminal is its serial port, or its screen. */
#include "base/log.h"
#include "control/command.h"
#include "control/console.h"
#include "control/gdb.h"
#include "control/instance.h"
#include "control/run.h"
#include "control/screenshot.h"
#include "host/terminal.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The running machine, for the signal handler: an interrupt asks it to end. */
static struct machine *volatile signalled;

/* The second one does not ask: whoever reads the output may have stopped doing so. */
static void on_signal(int sig)
{
	struct machine *m = signalled;

	signalled = NULL;
	if (m) {
		machine_interrupt(m);
		return;
	}
	terminal_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void catch_signals(struct machine *m)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };

	signalled = m;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int end_code(struct machine *m, enum machine_end end, const struct run_config *cfg)
{
	switch (end) {
	case END_POWEROFF:
	case END_RESET:
	case END_QUIT: return EXIT_OK;
	case END_CRASH:
		log_error("the guest crashed: triple fault");
		machine_report(m, stderr);
		return EXIT_CRASHED;
	case END_TIMEOUT:
		log_error("timeout after %u s", cfg->machine.timeout_s);
		return EXIT_TIMED_OUT;
	case END_DEBUG_EXIT: return machine_exit_code(m);
	case END_INTERRUPTED: log_error("interrupted by a signal"); return EXIT_ERROR;
	case END_DIFFERENT: return EXIT_DIFFERENT;
	case END_NONE:
	case END_ERROR: break;
	}
	return EXIT_ERROR;
}

static void print_screen(struct machine *m)
{
	struct screen *s = machine_screen(m);
	char *text = s ? screenshot_text(s) : NULL;

	if (text)
		fputs(text, stdout);
	else
		log_info("the machine's screen is not in a text mode");
	free(text);
}

static int screenshot(struct machine *m, const char *path)
{
	struct screen *s = machine_screen(m);
	char err[512] = "the machine has no screen";
	int r = s ? screenshot_png(s, path, err, sizeof(err)) : -ENODEV;

	if (r)
		log_error("%s", err);
	return r;
}

/* All that belongs to a machine while it runs. */
struct session {
	struct run_config *cfg;
	struct machine *machine;
	struct console console;
	struct instance instance; /* of a machine file */
	struct screens screens;
	struct gdb *gdb;
};

/* A machine of a machine file is there under its name. False after a message. */
static bool open_instance(struct session *s)
{
	char err[PATH_MAX + 256];

	if (!s->cfg->spec)
		return true;
	if (instance_claim(&s->instance, s->cfg->spec, err, sizeof(err))) {
		s->instance.config = s->cfg->machine;
		if (instance_open(&s->instance, false, err, sizeof(err)))
			return true;
		instance_close(&s->instance);
	}
	log_error("%s", err);
	return false;
}

/* Everything that looks at the machine is connected to it. False after a message. */
static bool attach(struct session *s)
{
	struct run_config *cfg = s->cfg;
	char err[512];

	if (cfg->gdb && !(s->gdb = gdb_new(s->machine, cfg->gdb, err, sizeof(err))))
		goto failed;
	cfg->screens.text = cfg->display && !strcmp(cfg->display, "text");
	if (screens_open(&s->screens, s->machine, &cfg->screens, err, sizeof(err)))
		goto failed;
	if (cfg->screens.text)
		s->console.display = &s->screens.text;
	s->instance.screens = &s->screens;
	if (s->screens.vnc)
		log_info("VNC on %s", vnc_address(s->screens.vnc));
	if (cfg->spec && !instance_attach(&s->instance, s->machine, err, sizeof(err)))
		goto failed;
	if (s->instance.hub || !console_attach(&s->console, s->machine))
		return true;
	snprintf(err, sizeof(err), "standard input cannot be watched");
failed:
	log_error("%s", err);
	return false;
}

static int run_attached(struct session *s)
{
	struct run_config *cfg = s->cfg;
	struct machine *m = s->machine;
	const char *dump = cfg->dump ? cfg->dump : "";

	catch_signals(m);
	enum machine_end end = machine_run(m);

	if (!s->instance.hub)
		console_detach(&s->console);
	s->instance.screens = NULL;
	screens_close(&s->screens);
	if (cfg->spec)
		instance_ended(&s->instance, end);
	int code = end_code(m, end, cfg);

	if (!strcmp(dump, "screen"))
		print_screen(m);
	else if (!strcmp(dump, "state"))
		machine_dump(m, "state", stdout);
	if (cfg->screenshot && screenshot(m, cfg->screenshot) && !code)
		code = EXIT_ERROR;
	if (cfg->stats)
		machine_stats(m, stderr);
	return code;
}

static int run_or_dump(struct session *s)
{
	const struct engine_ops *engine = machine_vm(s->machine)->engine;
	const char *dump = s->cfg->dump;

	if (dump && !strcmp(dump, engine->dump_name)) {
		engine->dump(machine_vm(s->machine), stderr);
	} else if (dump && strcmp(dump, "state") && strcmp(dump, "screen")) {
		if (machine_dump(s->machine, dump, stdout))
			return EXIT_OK;
		log_error(
			"--dump %s: choose config, memmap, bus, cpuid, state, screen or, with engine %s, %s",
			dump, engine->name, engine->dump_name);
		return EXIT_USAGE;
	}
	return attach(s) ? run_attached(s) : EXIT_ERROR;
}

int run_machine(struct run_config *cfg)
{
	struct session s = { .cfg = cfg };
	char err[512];
	int code = EXIT_ERROR;

	if (cfg->screenshot && screenshot_can(cfg->screenshot, err, sizeof(err))) {
		log_error("%s", err);
		return EXIT_ERROR;
	}
	if (!open_instance(&s))
		return EXIT_ERROR;
	struct machine_console wires = s.instance.hub ? hub_wires(s.instance.hub)
						      : console_wires(&s.console);

	if (machine_new(&s.machine, &cfg->machine, &wires, err, sizeof(err))) {
		log_error("%s", err);
	} else {
		code = run_or_dump(&s);
		signalled = NULL;
		screens_close(&s.screens);
		gdb_free(s.gdb, code);
		if (cfg->spec)
			instance_detach(&s.instance);
		machine_free(s.machine);
	}
	if (cfg->spec)
		instance_close(&s.instance);
	return code;
}
