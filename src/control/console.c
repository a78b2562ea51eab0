#include "control/console.h"

#include "base/log.h"
#include "host/terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ESCAPE 0x1d /* Ctrl-] */

/* Writes all of buf, waiting where the reader is slow; a reader that has gone is ignored. */
static void console_write(void *opaque, const u8 *buf, size_t n)
{
	struct console *c = opaque;

	if (c->display)
		return;
	while (n) {
		ssize_t done = write(STDOUT_FILENO, buf, n);

		if (done < 0 && errno == EAGAIN) {
			struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

			poll(&p, 1, -1);
		} else if (done < 0 && errno != EINTR) {
			return;
		} else if (done > 0) {
			buf += done;
			n -= (size_t)done;
		}
	}
}

static void console_readable(void *arg, short revents);

/* Standard input is watched only while there is room for what it brings. */
static void console_watch(struct console *c, bool on)
{
	if (on == c->watching)
		return;
	if (!on)
		loop_remove(machine_loop(c->machine), STDIN_FILENO);
	else if (loop_add(machine_loop(c->machine), STDIN_FILENO, POLLIN, console_readable, c))
		return;
	c->watching = on;
}

static void console_feed(struct console *c)
{
	while (c->count) {
		size_t taken = machine_input(c->machine, c->pending + c->first, c->count);

		if (!taken)
			break;
		c->first += taken;
		c->count -= taken;
	}
	if (!c->count)
		c->first = 0;
}

static void console_ready(void *opaque)
{
	struct console *c = opaque;

	if (!c->machine)
		return;
	console_feed(c);
	if (c->count < sizeof(c->pending) && !c->ended)
		console_watch(c, true);
}

/* Keys that the guest does not take and that do not fit are lost, as on a real line. */
static void console_queue(struct console *c, u8 key)
{
	if (c->first + c->count < sizeof(c->pending))
		c->pending[c->first + c->count++] = key;
}

static void console_help(struct console *c)
{
	if (c->display)
		text_display_page(c->display, "Ctrl-] then:\n"
					      "  q       quit\n"
					      "  r       reset\n"
					      "  p       pause or go on\n"
					      "  s       state of the CPUs\n"
					      "  h       this help\n"
					      "  Ctrl-]  sends itself\n");
	else
		log_info(
			"Ctrl-] then: q quit, r reset, p pause or go on, s state of the CPUs, h this help, Ctrl-] sends itself");
}

/* Each line ends with a carriage return too: the terminal is raw. */
static void console_report(struct console *c, struct machine *m)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	machine_report(m, f);
	fclose(f);
	if (c->display)
		text_display_page(c->display, text);
	for (const char *line = c->display ? "" : text; *line;) {
		int n = (int)strcspn(line, "\n");

		fprintf(stderr, "%.*s\r\n", n, line);
		line += n + (line[n] != 0);
	}
	free(text);
}

static void console_command(struct console *c, u8 key)
{
	struct machine *m = c->machine;

	switch (key) {
	case 'q': machine_end(m, END_QUIT); break;
	case 'r':
		log_info("reset");
		machine_reset(m);
		break;
	case 'p':
		machine_pause(m, !machine_paused(m));
		log_info(machine_paused(m) ? "paused; Ctrl-] p goes on" : "running");
		break;
	case 's': console_report(c, m); break;
	case ESCAPE: console_queue(c, ESCAPE); break;
	default: console_help(c); break;
	}
}

static void console_key(struct console *c, u8 key)
{
	if (c->escaped) {
		c->escaped = false;
		console_command(c, key);
	} else if (c->raw && key == ESCAPE) {
		c->escaped = true;
	} else {
		console_queue(c, key);
	}
}

static void console_readable(void *arg, short revents)
{
	struct console *c = arg;
	u8 buf[1024];
	size_t room;

	(void)revents;
	console_feed(c);
	memmove(c->pending, c->pending + c->first, c->count);
	c->first = 0;
	room = sizeof(c->pending) - c->count;
	/* A raw terminal is read on even if the guest takes nothing: the escape must always work. */
	if (!room && !c->raw) {
		console_watch(c, false);
		return;
	}
	ssize_t n = read(STDIN_FILENO, buf, room ? MIN(room, sizeof(buf)) : 1);

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
		c->ended = true;
		console_watch(c, false); /* end of input: the guest sees an idle line */
		return;
	}
	for (ssize_t k = 0; k < n; k++)
		console_key(c, buf[k]);
	if (c->display) {
		text_display_input(c->display, c->pending, c->count);
		c->count = 0;
	}
	console_feed(c);
}

struct machine_console console_wires(struct console *c)
{
	return (struct machine_console){ .write = console_write,
					 .opaque = c,
					 .ready = console_ready };
}

int console_attach(struct console *c, struct machine *m)
{
	c->machine = m;
	c->raw = terminal_raw();
	if (c->raw)
		log_info("the %s this terminal; Ctrl-] is the escape key (Ctrl-] h for help)",
			 c->display ? "screen is" : "serial console is");
	console_watch(c, true);
	return c->watching ? 0 : -ENOSPC;
}

void console_detach(struct console *c)
{
	console_watch(c, false);
	terminal_restore();
	c->machine = NULL;
}
