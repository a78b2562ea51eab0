#include "control/serial_hub.h"

#include "base/fail.h"
#include "control/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static void client_ready(void *arg, short revents);

static void client_close(struct hub_client *c)
{
	if (c->fd < 0)
		return;
	if (c->events)
		loop_remove(c->hub->loop, c->fd);
	close(c->fd);
	c->fd = -1;
	c->events = 0;
}

/* The loop watches for input while there is room for it, and for room while there is output. */
static void client_watch(struct hub_client *c)
{
	struct serial_hub *h = c->hub;
	short events = (short)((h->count < sizeof(h->pending) ? POLLIN : 0) |
			       (c->sent < h->written && !c->pty ? POLLOUT : 0));

	if (events == c->events || !h->loop)
		return;
	if (c->events)
		loop_remove(h->loop, c->fd);
	c->events = events;
	if (events && loop_add(h->loop, c->fd, events, client_ready, c)) {
		c->events = 0;
		client_close(c);
	}
}

/* As much as the client takes now. What has left the ring is lost to it. */
static void client_send(struct hub_client *c)
{
	struct serial_hub *h = c->hub;

	if (h->written - c->sent > HUB_RING)
		c->sent = h->written - HUB_RING;
	while (c->sent < h->written) {
		size_t at = (size_t)(c->sent % HUB_RING);
		size_t n = (size_t)MIN(h->written - c->sent, HUB_RING - at);
		ssize_t done = c->pty ? write(c->fd, h->ring + at, n)
				      : send(c->fd, h->ring + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno != EAGAIN && !c->pty) {
			client_close(c);
			return;
		}
		if (done <= 0)
			break;
		c->sent += (u64)done;
	}
	client_watch(c);
}

static void hub_feed(struct serial_hub *h)
{
	while (h->count) {
		size_t taken = machine_input(h->machine, h->pending + h->first, h->count);

		if (!taken)
			break;
		h->first += taken;
		h->count -= taken;
	}
	if (!h->count)
		h->first = 0;
}

static void watch_all(struct serial_hub *h)
{
	for (unsigned n = 0; n < HUB_CLIENTS; n++)
		if (h->client[n].fd >= 0)
			client_watch(&h->client[n]);
}

static void client_receive(struct hub_client *c)
{
	struct serial_hub *h = c->hub;
	ssize_t n;

	memmove(h->pending, h->pending + h->first, h->count);
	h->first = 0;
	if (h->count == sizeof(h->pending))
		return;
	n = read(c->fd, h->pending + h->count, sizeof(h->pending) - h->count);
	if (n > 0)
		h->count += (size_t)n;
	else if (!c->pty && (n == 0 || (errno != EAGAIN && errno != EINTR)))
		client_close(c);
	hub_feed(h);
}

static void client_ready(void *arg, short revents)
{
	struct hub_client *c = arg;

	if (revents & (POLLIN | POLLHUP | POLLERR))
		client_receive(c);
	if (c->fd >= 0)
		client_send(c);
	watch_all(c->hub);
}

static struct hub_client *client_add(struct serial_hub *h, int fd, bool pty)
{
	for (unsigned n = 0; n < HUB_CLIENTS; n++) {
		struct hub_client *c = &h->client[n];

		if (c->fd >= 0)
			continue;
		*c = (struct hub_client){ .hub = h, .fd = fd, .pty = pty };
		client_send(c); /* the last bytes that there were */
		return c;
	}
	return NULL;
}

static void on_connection(struct serial_hub *h, int listener)
{
	static const char full[] = "pogo: too many consoles are attached to this machine\r\n";
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 || client_add(h, fd, false))
		return;
	(void)!send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void on_first(void *arg, short revents)
{
	(void)revents;
	on_connection(arg, ((struct serial_hub *)arg)->listener[0]);
}

static void on_second(void *arg, short revents)
{
	(void)revents;
	on_connection(arg, ((struct serial_hub *)arg)->listener[1]);
}

/* A file on a full disk loses what does not fit; the guest goes on. */
static void file_write(int fd, const u8 *buf, size_t n)
{
	while (n) {
		ssize_t done = write(fd, buf, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;
		buf += done;
		n -= (size_t)done;
	}
}

static void hub_write(void *opaque, const u8 *buf, size_t n)
{
	struct serial_hub *h = opaque;

	if (h->file >= 0)
		file_write(h->file, buf, n);
	while (n) {
		size_t at = (size_t)(h->written % HUB_RING), part = MIN(n, (size_t)HUB_RING - at);

		memcpy(h->ring + at, buf, part);
		h->written += part;
		buf += part;
		n -= part;
	}
	for (unsigned k = 0; k < HUB_CLIENTS; k++)
		if (h->client[k].fd >= 0 && !(h->client[k].events & POLLOUT))
			client_send(&h->client[k]);
}

static void hub_ready(void *opaque)
{
	struct serial_hub *h = opaque;

	if (!h->machine)
		return;
	hub_feed(h);
	watch_all(h);
}

struct machine_console hub_wires(struct serial_hub *h)
{
	return (struct machine_console){ .write = hub_write, .opaque = h, .ready = hub_ready };
}

static bool open_pty(struct serial_hub *h, char *err, size_t errlen)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct termios t;

	if (master < 0 || grantpt(master) || unlockpt(master) ||
	    ptsname_r(master, h->pty_name, sizeof(h->pty_name)) ||
	    (h->pty_slave = open(h->pty_name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 ||
	    tcgetattr(h->pty_slave, &t)) {
		snprintf(err, errlen, "no pseudo-terminal: %s; write another <serial type>",
			 fail_text(errno));
		if (master >= 0)
			close(master);
		return false;
	}
	cfmakeraw(&t);
	tcsetattr(h->pty_slave, TCSANOW, &t);
	(void)!client_add(h, master, true);
	return true;
}

static bool open_file(struct serial_hub *h, const struct spec_chardev *port, const char *path,
		      char *err, size_t errlen)
{
	h->file = open(path,
		       O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY |
			       (port->append ? O_APPEND : O_TRUNC),
		       0600);
	if (h->file < 0)
		snprintf(err, errlen, "%s: cannot be written: %s; correct <source path>", path,
			 fail_text(errno));
	return h->file >= 0;
}

bool hub_open(struct serial_hub *h, const struct spec_chardev *port, const char *path,
	      const char *socket, char *err, size_t errlen)
{
	*h = (struct serial_hub){ .listener = { -1, -1 }, .file = -1, .pty_slave = -1 };
	for (unsigned n = 0; n < HUB_CLIENTS; n++)
		h->client[n].fd = -1;
	if (socket && (h->listener[0] = unix_listen(socket, err, errlen)) < 0)
		return false;
	switch ((enum spec_char)port->type) {
	case SPEC_CHAR_FILE: return open_file(h, port, path, err, errlen);
	case SPEC_CHAR_PTY: return open_pty(h, err, errlen);
	case SPEC_CHAR_UNIX: return (h->listener[1] = unix_listen(path, err, errlen)) >= 0;
	case SPEC_CHAR_STDIO:
	case SPEC_CHAR_NULL: break;
	}
	return true;
}

int hub_attach(struct serial_hub *h, struct machine *m)
{
	static void (*const accept[])(void *arg, short revents) = { on_first, on_second };

	h->machine = m;
	h->loop = machine_loop(m);
	for (unsigned n = 0; n < ARRAY_LEN(h->listener); n++) {
		int code = h->listener[n] < 0
				   ? 0
				   : loop_add(h->loop, h->listener[n], POLLIN, accept[n], h);

		if (code)
			return code;
	}
	watch_all(h);
	return 0;
}

void hub_detach(struct serial_hub *h)
{
	for (unsigned n = 0; n < HUB_CLIENTS; n++)
		if (h->client[n].fd >= 0)
			client_close(&h->client[n]);
	for (unsigned n = 0; n < ARRAY_LEN(h->listener) && h->loop; n++)
		if (h->listener[n] >= 0)
			loop_remove(h->loop, h->listener[n]);
	h->machine = NULL;
	h->loop = NULL;
}

void hub_close(struct serial_hub *h)
{
	hub_detach(h);
	for (unsigned n = 0; n < ARRAY_LEN(h->listener); n++)
		if (h->listener[n] >= 0)
			close(h->listener[n]);
	if (h->file >= 0)
		close(h->file);
	if (h->pty_slave >= 0)
		close(h->pty_slave);
	h->listener[0] = h->listener[1] = h->file = h->pty_slave = -1;
}
