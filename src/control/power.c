/* Commands to a machine that runs: stop, kill, reset, pause, resume. */
#include "base/log.h"
#include "control/client.h"
#include "control/command.h"
#include "control/json_print.h"
#include "control/places.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct power_config {
	u32 timeout_s;
	bool json;
};

static const struct opt plain_opts[] = {
	{ .rows = command_opts, .offset = offsetof(struct power_config, json) },
	{ 0 },
};
static const struct opt stop_opts[] = {
	{ .key = "timeout",
	  .kind = OPT_UINT,
	  .offset = offsetof(struct power_config, timeout_s),
	  .value = "SECONDS",
	  .help = "how long to wait for the guest (default 60)",
	  .max = 86400 },
	{ .rows = command_opts, .offset = offsetof(struct power_config, json) },
	{ 0 },
};

/* One of the commands. */
struct power {
	const char *name;
	const struct opt *opts;
	void (*usage)(void *file);
	const char *command; /* of the socket */
	const char *said;    /* of the machine afterwards */
	const char *state;   /* likewise, for JSON */
	bool wait;           /* until the machine has ended */
	const char *help;
};

static const struct power powers[] = {
	{ "stop", stop_opts, command_stop_usage, "system_powerdown", "is off", "off", true,
	  "Presses the power button of a machine, and waits until its guest has shut down.\n\n"
	  "  pogo stop web\n"
	  "  pogo stop web --timeout 300 || pogo kill web\n\n"
	  "A guest without ACPI, or still in its firmware, does not notice the button.\n\n"
	  "Exit codes: 0 it is off, 1 error, 2 wrong usage, 124 it still runs after the timeout.\n" },
	{ "kill", plain_opts, command_kill_usage, "quit", "is off", "off", true,
	  "Ends a machine at once, as by pulling its plug. What the guest has not written yet is lost.\n\n"
	  "  pogo kill web\n\n"
	  "Exit codes: 0 it is off, 1 error, 2 wrong usage.\n" },
	{ "reset", plain_opts, command_reset_usage, "system_reset", "was reset", "running", false,
	  "Presses the reset button of a machine. What the guest has not written yet is lost.\n\n"
	  "  pogo reset web\n\n"
	  "Exit codes: 0 done, 1 error, 2 wrong usage.\n" },
	{ "pause", plain_opts, command_pause_usage, "stop", "is paused", "paused", false,
	  "Holds a machine. Its time stands still; nothing is lost, and nothing leaves its memory.\n\n"
	  "  pogo pause web\n"
	  "  pogo resume web\n\n"
	  "Exit codes: 0 done, 1 error, 2 wrong usage.\n" },
	{ "resume", plain_opts, command_resume_usage, "cont", "runs", "running", false,
	  "Lets a paused machine run on.\n\n"
	  "  pogo resume web\n\n"
	  "Exit codes: 0 done, 1 error, 2 wrong usage.\n" },
};

static const struct power *power_find(const char *name)
{
	for (unsigned n = 0; n < ARRAY_LEN(powers) - 1; n++)
		if (!strcmp(powers[n].name, name))
			return &powers[n];
	return &powers[ARRAY_LEN(powers) - 1];
}

static void power_usage(const char *name, void *file)
{
	const struct power *p = power_find(name);

	fputs(p->help, file);
	fputs("\nOptions:\n", file);
	opt_help(p->opts, file);
}

/* Until the process that ran the machine has let go of it. */
static bool wait_off(const struct client_target *t, u32 timeout_s)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };

	for (u64 n = 0; claim_holder(t->name) == t->pid; n++) {
		if (n >= (u64)timeout_s * 50)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int power_run(const struct power *p, const char *arg, const struct power_config *cfg)
{
	struct client_target t;
	char err[512];
	json_t *answer;

	if (!client_find_running(&t, arg, err, sizeof(err)))
		goto failed;
	answer = client_ask(t.name, p->command, NULL, err, sizeof(err));
	if (!answer)
		goto failed;
	json_decref(answer);
	if (p->wait && !wait_off(&t, cfg->timeout_s)) {
		log_error(
			"%s still runs after %u s; wait longer (--timeout), or end it at once: pogo kill %s",
			t.name, cfg->timeout_s, t.name);
		return EXIT_TIMED_OUT;
	}
	if (cfg->json)
		json_print(json_pack("{s:s, s:s}", "name", t.name, "state", p->state));
	else
		printf("%s %s\n", t.name, p->said);
	return EXIT_OK;
failed:
	log_error("%s", err);
	return EXIT_ERROR;
}

int command_power(int argc, char **argv)
{
	const struct power *p = power_find(argv[0]);
	struct power_config cfg = { .timeout_s = 60 };
	int code;
	const char *name = command_parse_name(p->opts, p->usage, &cfg, argc, argv, &code);

	return name ? power_run(p, name, &cfg) : code;
}

void command_stop_usage(void *file) { power_usage("stop", file); }
void command_kill_usage(void *file) { power_usage("kill", file); }
void command_reset_usage(void *file) { power_usage("reset", file); }
void command_pause_usage(void *file) { power_usage("pause", file); }
void command_resume_usage(void *file) { power_usage("resume", file); }
