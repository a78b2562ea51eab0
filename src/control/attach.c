/* `pogo console`: this terminal becomes that of a running machine's serial port. */
#include "base/log.h"
#include "control/client.h"
#include "control/command.h"
#include "control/places.h"
#include "control/unix_socket.h"
#include "host/terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ESCAPE 0x1d /* Ctrl-] */

static const struct opt attach_opts[] = {
	{ .key = "help", .kind = OPT_HELP, .help = "this text" },
	{ 0 },
};

void command_console_usage(void *file)
{
	fputs("Attaches this terminal to the first serial port of a running machine; its last output is shown again.\n\n"
	      "  pogo console web\n"
	      "  pogo console web < commands > answers\n\n"
	      "Ctrl-] is the escape key: then q detaches, h helps, Ctrl-] sends itself. Every other key goes to the guest.\n"
	      "Several terminals may be attached. Without a terminal the end of standard input detaches.\n\n"
	      "Options:\n",
	      file);
	opt_help(attach_opts, file);
	fputs("\nExit codes: 0 detached, or the machine has ended; 1 error; 2 wrong usage.\n",
	      file);
}

struct attachment {
	int fd;
	bool raw, escaped, detached;
};

static bool write_all(int fd, const u8 *buf, size_t n)
{
	while (n) {
		ssize_t done = fd == STDOUT_FILENO ? write(fd, buf, n)
						   : send(fd, buf, n, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN) {
			struct pollfd p = { .fd = fd, .events = POLLOUT };

			poll(&p, 1, -1);
			continue;
		}
		if (done <= 0)
			return false;
		buf += done;
		n -= (size_t)done;
	}
	return true;
}

/* What is typed, less what is meant for Pogo; in place. Returns how much is left for the guest. */
static size_t take_escapes(struct attachment *a, u8 *buf, size_t n)
{
	size_t out = 0;

	for (size_t k = 0; k < n && !a->detached; k++) {
		if (!a->escaped && buf[k] == ESCAPE) {
			a->escaped = true;
		} else if (!a->escaped || buf[k] == ESCAPE) {
			a->escaped = false;
			buf[out++] = buf[k];
		} else {
			a->escaped = false;
			if (buf[k] == 'q' || buf[k] == 'd' || buf[k] == '.')
				a->detached = true;
			else
				log_info("Ctrl-] then: q detach, h this help, Ctrl-] sends itself");
		}
	}
	return out;
}

/* False if the attachment is over. */
static bool from_user(struct attachment *a)
{
	u8 buf[1024];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
	size_t left;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0)
		return false;
	left = a->raw ? take_escapes(a, buf, (size_t)n) : (size_t)n;
	return write_all(a->fd, buf, left) && !a->detached;
}

static bool from_machine(struct attachment *a)
{
	u8 buf[16384];
	ssize_t n = read(a->fd, buf, sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	return n > 0 && write_all(STDOUT_FILENO, buf, (size_t)n);
}

/* Without a terminal the answers to the last of the input are still waited for, as long as more comes. */
static void drain(struct attachment *a)
{
	struct pollfd p = { .fd = a->fd, .events = POLLIN };

	while (poll(&p, 1, 500) > 0 && from_machine(a))
		;
}

static void attach(struct attachment *a, const char *name)
{
	struct pollfd p[2] = { { .fd = a->fd, .events = POLLIN },
			       { .fd = STDIN_FILENO, .events = POLLIN } };
	bool ended = false;

	a->raw = terminal_raw();
	if (a->raw)
		log_info("attached to %s; Ctrl-] is the escape key (Ctrl-] q detaches)", name);
	while (!ended) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			break;
		}
		if (p[0].revents && !from_machine(a))
			ended = true;
		if (!ended && p[1].revents && !from_user(a))
			break;
	}
	if (!a->raw && !ended)
		drain(a);
	terminal_restore();
	if (a->raw)
		log_info(ended ? "%s has ended" : "detached from %s, which runs on", name);
}

static int console(const char *arg)
{
	struct attachment a = { 0 };
	struct client_target t;
	char path[PATH_MAX], err[512];

	if (!client_find_running(&t, arg, err, sizeof(err)) ||
	    !place_file(t.name, PLACE_CONSOLE, path, err, sizeof(err))) {
		log_error("%s", err);
		return EXIT_ERROR;
	}
	a.fd = unix_connect(path);
	if (a.fd < 0) {
		log_error(
			a.fd == -ENOENT
				? "%s runs in the foreground: its serial port is the terminal where `pogo run` was called"
				: "%s: its console cannot be reached: %s",
			t.name, strerror(-a.fd));
		return EXIT_ERROR;
	}
	attach(&a, t.name);
	close(a.fd);
	return EXIT_OK;
}

int command_console(int argc, char **argv)
{
	int code;
	const char *name =
		command_parse_name(attach_opts, command_console_usage, NULL, argc, argv, &code);

	return name ? console(name) : code;
}
