/* `pogo start`: a machine in a process of its own, in the background. */
#include "base/fail.h"
#include "base/log.h"
#include "control/command.h"
#include "control/instance.h"
#include "control/json_print.h"
#include "control/machine_xml.h"
#include "control/places.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct start_config {
	bool json, paused;
};

static const struct opt start_opts[] = {
	{ .key = "paused",
	  .kind = OPT_FLAG,
	  .offset = offsetof(struct start_config, paused),
	  .help = "before its first instruction; `pogo resume` lets it run" },
	{ .rows = command_opts, .offset = offsetof(struct start_config, json) },
	{ 0 },
};

void command_start_usage(void *file)
{
	fputs("Starts a machine in the background, and returns when it runs.\n\n"
	      "  pogo start web\n"
	      "  pogo start ./web.xml\n"
	      "  pogo start web && pogo console web\n\n"
	      "Options:\n",
	      file);
	opt_help(start_opts, file);
	fputs("\nExit codes: 0 it runs, 1 it could not be started (the reason is printed), 2 wrong usage.\n"
	      "What the machine has to say later is in $XDG_STATE_HOME/pogo/NAME.log (~/.local/state/pogo).\n",
	      file);
}

/* The machine that signals are for; there is one in this process. */
static struct machine *volatile running;

static void on_signal(int sig)
{
	struct machine *m = running;

	if (m)
		machine_interrupt(m);
}

static void catch_signals(struct machine *m)
{
	struct sigaction sa = { .sa_handler = on_signal };

	running = m;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

/* Standard output and error become the log; nothing of the terminal is left. */
static bool leave_terminal(const char *name, char *err, size_t errlen)
{
	char path[PATH_MAX];
	int log, null;

	if (!place_log(name, path, err, errlen))
		return false;
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (log < 0 || null < 0) {
		snprintf(err, errlen, "%s: %s", path, fail_text(errno));
		return false;
	}
	setsid();
	dup2(null, STDIN_FILENO);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	close(log);
	close(null);
	return true;
}

static void note(const char *name, const char *what)
{
	char when[32] = "";
	time_t now = time(NULL);
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(stderr, "%s %s: %s\n", when, name, what);
}

/* Builds the machine, tells the parent, runs it. In the child. */
static int serve(struct instance *i, const struct start_config *cfg, int report)
{
	struct machine_spec *spec = i->spec;
	struct screens_options options = { 0 };
	struct machine_console wires;
	struct screens screens = { 0 };
	struct machine *m = NULL;
	char err[PATH_MAX + 256] = "";

	claim_sign(i->claim);
	if (!leave_terminal(i->spec->name, err, sizeof(err)) ||
	    !instance_screens(spec, &options, err, sizeof(err)) ||
	    !instance_open(i, true, err, sizeof(err)))
		goto failed;
	wires = hub_wires(i->hub);
	if (machine_new(&m, &i->config, &wires, err, sizeof(err)))
		goto failed;
	if (!instance_attach(i, m, err, sizeof(err)))
		goto failed;
	if (screens_open(&screens, m, &options, err, sizeof(err)))
		goto failed;
	i->screens = &screens;
	catch_signals(m);
	machine_pause(m, cfg->paused);
	note(i->spec->name, "started");
	(void)!write(report, "+", 1);
	close(report);
	enum machine_end end = machine_run(m);

	note(i->spec->name, instance_end_name(end));
	if (end == END_CRASH)
		machine_report(m, stderr);
	instance_ended(i, end);
	running = NULL;
	screens_close(&screens);
	instance_detach(i);
	machine_free(m);
	instance_close(i);
	return EXIT_OK;
failed:
	(void)!write(report, err, strlen(err));
	close(report);
	screens_close(&screens);
	instance_detach(i);
	if (m)
		machine_free(m);
	instance_close(i);
	return EXIT_ERROR;
}

/* What the child says, up to its closing of the pipe. */
static bool hear(int report, char *text, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while (n < size - 1 &&
	       ((got = read(report, text + n, size - 1 - n)) > 0 || (got < 0 && errno == EINTR)))
		n += got > 0 ? (size_t)got : 0;
	text[n] = 0;
	return n > 0;
}

/* 0 or an exit code. */
static int launch(struct instance *i, const struct start_config *cfg, pid_t *pid)
{
	char said[PATH_MAX + 256], log[PATH_MAX] = "its log";
	int report[2];

	if (pipe2(report, O_CLOEXEC) || (fflush(NULL), *pid = fork()) < 0) {
		log_error("no process for the machine: %s", strerror(errno));
		return EXIT_ERROR;
	}
	if (!*pid) {
		close(report[0]);
		exit(serve(i, cfg, report[1]));
	}
	close(report[1]);
	bool heard = hear(report[0], said, sizeof(said));

	close(report[0]);
	if (heard && said[0] == '+')
		return EXIT_OK;
	waitpid(*pid, NULL, 0);
	if (heard) {
		log_error("%s", said);
		return EXIT_ERROR;
	}
	(void)!place_log(i->spec->name, log, said, sizeof(said));
	log_error("%s: its process has died; %s may say why", i->spec->name, log);
	return EXIT_ERROR;
}

static int start(const char *arg, const struct start_config *cfg)
{
	struct machine_spec spec;
	struct instance i;
	char path[PATH_MAX], whole[PATH_MAX], err[512];
	pid_t pid = 0;
	int code;

	/* The machine says where its file is to those who stand elsewhere. */
	if (!registry_find(arg, path, err, sizeof(err)) ||
	    !machine_xml_read(&spec, realpath(path, whole) ? whole : path, err, sizeof(err))) {
		log_error("%s", err);
		return EXIT_ERROR;
	}
	if (!instance_claim(&i, &spec, err, sizeof(err))) {
		log_error("%s", err);
		spec_free(&spec);
		return EXIT_ERROR;
	}
	if (spec_config(&spec, &i.config, err, sizeof(err)) &&
	    instance_fit(&i.config, err, sizeof(err))) {
		code = launch(&i, cfg, &pid);
		close(i.claim); /* the child's now; it has removed it if it failed */
	} else {
		log_error("%s", err);
		claim_drop(spec.name, i.claim);
		code = EXIT_ERROR;
	}
	if (!code && cfg->json)
		json_print(json_pack("{s:s, s:s, s:i}", "name", spec.name, "state",
				     cfg->paused ? "paused" : "running", "pid", (int)pid));
	else if (!code)
		printf("%s %s (process %d); pogo console %s shows its serial port\n", spec.name,
		       cfg->paused ? "is paused" : "runs", (int)pid, spec.name);
	spec_free(&spec);
	return code;
}

int command_start(int argc, char **argv)
{
	struct start_config cfg = { 0 };
	int code;
	const char *name =
		command_parse_name(start_opts, command_start_usage, &cfg, argc, argv, &code);

	return name ? start(name, &cfg) : code;
}
