/* The pogo program: finds the command and runs it. */
#include "base/fail.h"
#include "base/log.h"
#include "control/command.h"
#include "control/suggest.h"
#include "host/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int command_help(int argc, char **argv);
static int command_version(int argc, char **argv);
static void help_usage(void *file);
static void version_usage(void *file);

const struct command commands[] = {
	{ "create", "make a machine: its file, and images for it", command_create,
	  command_create_usage },
	{ "start", "start a machine in the background", command_start, command_start_usage },
	{ "ls", "list machines", command_ls, command_ls_usage },
	{ "info", "show a machine", command_info, command_info_usage },
	{ "console", "attach this terminal to a machine's serial port", command_console,
	  command_console_usage },
	{ "view", "show a machine's screen in a VNC viewer", command_view, command_view_usage },
	{ "screenshot", "write a machine's screen to a PNG file", command_screen,
	  command_screenshot_usage },
	{ "text", "print a machine's text screen", command_screen, command_text_usage },
	{ "type", "type a text on a machine's keyboard", command_screen, command_type_usage },
	{ "key", "press keys of a machine", command_screen, command_key_usage },
	{ "stop", "press the power button, wait for the guest", command_power, command_stop_usage },
	{ "kill", "end a machine at once", command_power, command_kill_usage },
	{ "reset", "press the reset button", command_power, command_reset_usage },
	{ "pause", "hold a machine", command_power, command_pause_usage },
	{ "resume", "let a paused machine run on", command_power, command_resume_usage },
	{ "rm", "remove a machine", command_rm, command_rm_usage },
	{ "run", "run a machine in the foreground", command_run, command_run_usage },
	{ "validate", "say what is wrong with machine files", command_validate,
	  command_validate_usage },
	{ "disk", "make, show, check and change disk images", command_disk, command_disk_usage },
	{ "doctor", "say what this host offers to each engine", command_doctor,
	  command_doctor_usage },
	{ "help", "explain a command", command_help, help_usage },
	{ "version", "print the version", command_version, version_usage },
	{ 0 },
};

static void usage(void *file)
{
	fputs("Pogo runs unmodified x86 operating systems inside one ordinary process.\n\n"
	      "  pogo create web --memory 1G --disk web.vhd:20G --cdrom debian.iso\n"
	      "  pogo start web\n"
	      "  pogo console web\n"
	      "  pogo run --kernel vmlinuz --initrd initrd.gz --append \"console=ttyS0\"\n"
	      "  pogo disk create root.vhd:20G\n"
	      "  pogo doctor\n"
	      "  pogo help run\n\n"
	      "Commands:\n",
	      file);
	for (const struct command *c = commands; c->name; c++)
		fprintf(file, "  %-10s %s\n", c->name, c->help);
}

static const struct command *command_find(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[64], *nearest;
	unsigned count = 0;

	while (count < ARRAY_LEN(names) && commands[count].name) {
		names[count] = commands[count].name;
		count++;
	}
	nearest = suggest_nearest(name, names, count);
	if (nearest)
		log_error("no command '%s'; did you mean '%s'?", name, nearest);
	else
		log_error("no command '%s'; `pogo help` lists them", name);
	return EXIT_USAGE;
}

static void help_usage(void *file)
{
	fputs("Explains a command.\n\n  pogo help run\n  pogo help disk create\n", file);
}

static void version_usage(void *file)
{
	fputs("Prints the version.\n\n  pogo version\n  pogo version --json\n", file);
}

static int command_help(int argc, char **argv)
{
	const struct command *c;

	if (argc < 2) {
		usage(stdout);
		return EXIT_OK;
	}
	c = command_find(argv[1]);
	if (!c)
		return unknown_command(argv[1]);
	if (argc > 2 && c->run == command_disk)
		return command_disk(3, (char *[]){ argv[1], argv[2], "--help", NULL });
	c->usage(stdout);
	return EXIT_OK;
}

static int command_version(int argc, char **argv)
{
	bool json = argc == 2 && !strcmp(argv[1], "--json");

	if (argc > 1 && !json) {
		version_usage(strcmp(argv[1], "--help") ? stderr : stdout);
		return strcmp(argv[1], "--help") ? EXIT_USAGE : EXIT_OK;
	}
	puts(json ? "{\n  \"version\": \"" POGO_VERSION "\"\n}" : "pogo " POGO_VERSION);
	return EXIT_OK;
}

/* A result that did not get out is no result: a full disk must not look like success. */
static int finish(int code)
{
	if (!fflush(stdout) && !ferror(stdout))
		return code;
	log_error("the result cannot be written: %s", fail_text(errno));
	return code ? code : EXIT_ERROR;
}

int main(int argc, char **argv)
{
	const struct command *c;

	terminal_guard();
	/* A file that grows beyond a limit is an error of that write, as a full disk is. */
	signal(SIGXFSZ, SIG_IGN);
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return finish(command_help(1, argv));
	if (!strcmp(argv[1], "--version"))
		return finish(command_version(1, argv));
	c = command_find(argv[1]);
	return c ? finish(c->run(argc - 1, argv + 1)) : unknown_command(argv[1]);
}
