#include "host/terminal.h"

#include "base/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

/* The terminal belongs to the process, and a signal handler has no other way to find it. */
static struct termios saved;
static volatile sig_atomic_t is_raw, is_full;

/* ECMA-48 and what xterm added: the alternate screen, without wrapping at its right edge. */
void terminal_full(void)
{
	static const char enter[] = "\x1b[?1049h\x1b[?7l";

	is_full = 1;
	(void)!write(STDOUT_FILENO, enter, sizeof(enter) - 1);
}

static void leave_full(void)
{
	static const char leave[] = "\x1b[0m\x1b[?25h\x1b[?7h\x1b[?1049l";

	if (!is_full)
		return;
	is_full = 0;
	(void)!write(STDOUT_FILENO, leave, sizeof(leave) - 1);
}

void terminal_restore(void)
{
	leave_full();
	if (!is_raw)
		return;
	is_raw = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	log_set_raw(false);
}

static void die(int sig)
{
	terminal_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* A file that is opened later must not become standard input or output. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

void terminal_guard(void)
{
	static const int fatal[] = { SIGHUP, SIGQUIT, SIGABRT, SIGALRM, SIGSEGV, SIGBUS,
				     SIGILL, SIGFPE,  SIGSYS,  SIGTRAP, SIGXCPU };
	struct sigaction sa = { .sa_handler = die, .sa_flags = SA_NODEFER };

	open_standard_files();
	for (unsigned n = 0; n < ARRAY_LEN(fatal); n++)
		sigaction(fatal[n], &sa, NULL);
	atexit(terminal_restore);
}

bool terminal_raw(void)
{
	struct termios t;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved))
		return false;
	t = saved;
	cfmakeraw(&t);
	is_raw = 1;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &t)) {
		is_raw = 0;
		return false;
	}
	log_set_raw(true);
	return true;
}
