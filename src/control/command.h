/* The commands of the pogo program, and its exit codes. */
#ifndef CONTROL_COMMAND_H
#define CONTROL_COMMAND_H

#include "base/types.h"

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
