/* The commands of the pogo program, and its exit codes. */
#ifndef CONTROL_COMMAND_H
#define CONTROL_COMMAND_H

#include "core/opt.h"

enum exit_code {
	EXIT_OK = 0, /* the guest powered off */
	EXIT_ERROR = 1,
	EXIT_USAGE = 2,
	EXIT_CRASHED = 3,     /* triple fault */
	EXIT_UNAVAILABLE = 4, /* this host cannot run the engine */
	EXIT_DIFFERENT = 5,   /* --check: the engines differ */
	EXIT_TIMED_OUT = 124,
};

struct command {
	const char *name;
	const char *help;                  /* one line */
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an exit code */
	void (*usage)(void *file);         /* whole help text */
};

extern const struct command commands[]; /* ended by name == NULL */

/* What a command takes. */
struct command_line {
	const struct opt *opts;
	void (*usage)(void *file);
	int min, max;      /* words beside the options */
	const char *wants; /* what is said if there are fewer; NULL: that a machine is to be named */
};

/* Parses argv into config, the struct of opts, and words, which has room for line->max. Returns the number of words. -1: the command ends here and
 * returns *code; the help that was asked for, or what is wrong, has been printed. */
int command_parse(const struct command_line *line, void *config, int argc, char **argv,
		  const char **words, int *code) must_check;
/* The same for commands whose one word names a machine: returns it, or NULL. */
const char *command_parse_name(const struct opt *opts, void (*usage)(void *file), void *config,
			       int argc, char **argv, int *code) must_check;
/* --json, for a bool, and --help. */
extern const struct opt command_opts[];

int command_run(int argc, char **argv);
void command_run_usage(void *file);
int command_validate(int argc, char **argv);
void command_validate_usage(void *file);
int command_create(int argc, char **argv);
void command_create_usage(void *file);
int command_start(int argc, char **argv);
void command_start_usage(void *file);
int command_ls(int argc, char **argv);
void command_ls_usage(void *file);
int command_info(int argc, char **argv);
void command_info_usage(void *file);
int command_console(int argc, char **argv);
void command_console_usage(void *file);
int command_power(int argc, char **argv); /* stop, kill, reset, pause, resume */
void command_stop_usage(void *file);
void command_kill_usage(void *file);
void command_reset_usage(void *file);
void command_pause_usage(void *file);
void command_resume_usage(void *file);
int command_rm(int argc, char **argv);
void command_rm_usage(void *file);
int command_screen(int argc, char **argv); /* screenshot, text, type, key */
void command_screenshot_usage(void *file);
void command_text_usage(void *file);
void command_type_usage(void *file);
void command_key_usage(void *file);
int command_view(int argc, char **argv);
void command_view_usage(void *file);
int command_doctor(int argc, char **argv);
void command_doctor_usage(void *file);
int command_disk(int argc, char **argv);
void command_disk_usage(void *file);

#endif
