/* Packets of gdb's remote protocol (GDB manual, E.1). */
#include "control/gdb_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_TIMEOUT_S 5 /* a debugger that does not read for so long is gone */

/* --- The connection ---------------------------------------------------------------------------- */

int wire_listen(const char *address, char *err, size_t errlen)
{
	char host[128] = "127.0.0.1";
	const char *colon = strrchr(address, ':'), *port = colon ? colon + 1 : address;
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE },
			*list;
	int fd = -1, one = 1;

	if (colon && colon != address)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	/* The resolver takes any number, and its last 16 bits. */
	if (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 ||
	    strtoul(port, NULL, 10) > 65535 || getaddrinfo(host, port, &hints, &list)) {
		snprintf(err, errlen, "--gdb %s: not an address; write for example --gdb :1234",
			 address);
		return -1;
	}
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) || listen(fd, 1)) {
		snprintf(err, errlen, "--gdb %s: cannot listen: %s; choose another port", address,
			 strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

unsigned wire_port(int listener)
{
	struct sockaddr_in6 a = { 0 }; /* the port lies at the same place in both families */
	socklen_t len = sizeof(a);

	return getsockname(listener, (struct sockaddr *)&a, &len) ? 0 : ntohs(a.sin6_port);
}

int wire_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), one = 1;
	struct timeval patience = { .tv_sec = SEND_TIMEOUT_S };

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

bool wire_has_left(const struct wire *w)
{
	char byte;

	return w->fd >= 0 && recv(w->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* --- Out ------------------------------------------------------------------------------------- */

/* On failure the connection is closed, which the reader sees. */
static void send_raw(struct wire *w, const char *buf, size_t n)
{
	while (n && w->fd >= 0) {
		ssize_t done = send(w->fd, buf, n, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			shutdown(w->fd, SHUT_RDWR);
			return;
		}
		buf += done;
		n -= (size_t)done;
	}
}

void wire_put_bytes(struct wire *w, const char *text, size_t n)
{
	if (!w->out_len)
		w->out[w->out_len++] = '$';
	n = MIN(n, sizeof(w->out) - 3 - w->out_len);
	memcpy(w->out + w->out_len, text, n);
	w->out_len += n;
}

void wire_put(struct wire *w, const char *text) { wire_put_bytes(w, text, strlen(text)); }

void wire_put_hex(struct wire *w, const void *data, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t k = 0; k < n; k++) {
		u8 byte = ((const u8 *)data)[k];
		char two[2] = { digits[byte >> 4], digits[byte & 15] };

		wire_put_bytes(w, two, 2);
	}
}

static u8 checksum(const char *buf, size_t n)
{
	u8 sum = 0;

	for (size_t k = 0; k < n; k++)
		sum = (u8)(sum + (u8)buf[k]);
	return sum;
}

void wire_reply(struct wire *w)
{
	char tail[4];

	wire_put(w, "");
	snprintf(tail, sizeof(tail), "#%02x", checksum(w->out + 1, w->out_len - 1));
	memcpy(w->out + w->out_len, tail, 3);
	send_raw(w, w->out, w->out_len + 3);
	w->out_len = 0;
}

void wire_reply_text(struct wire *w, const char *text)
{
	wire_put(w, text);
	wire_reply(w);
}

void wire_reply_bool(struct wire *w, bool good) { wire_reply_text(w, good ? "OK" : "E16"); }

/* --- The parts of a packet --------------------------------------------------------------------- */

bool wire_take(const char **p, char c)
{
	if (**p != c)
		return false;
	++*p;
	return true;
}

bool wire_take_word(const char **p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*p, word, n))
		return false;
	*p += n;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool wire_take_hex(const char **p, void *data, size_t n)
{
	for (size_t k = 0; k < n; k++, *p += 2) {
		int high = hex_digit((*p)[0]), low = high < 0 ? -1 : hex_digit((*p)[1]);

		if (low < 0)
			return false;
		((u8 *)data)[k] = (u8)(high << 4 | low);
	}
	return true;
}

bool wire_take_number(const char **p, u64 *value)
{
	const char *start = *p;

	for (*value = 0; hex_digit(**p) >= 0; ++*p)
		*value = *value << 4 | (u64)hex_digit(**p);
	return *p != start;
}

/* --- In ---------------------------------------------------------------------------------------- */

bool wire_receive(struct wire *w)
{
	ssize_t n = recv(w->fd, w->in + w->in_len, sizeof(w->in) - 1 - w->in_len, 0);

	if (n <= 0)
		return false;
	w->in_len += (size_t)n;
	return true;
}

/* A whole packet, "$" excluded, and the two digits of its sum. */
static bool is_good(struct wire *w, const char *text, size_t n, const char *sum)
{
	u8 expected;
	bool good = memchr(text, 0, n) == NULL && wire_take_hex(&sum, &expected, 1) &&
		    expected == checksum(text, n);

	if (!w->no_ack)
		send_raw(w, good ? "+" : "-", 1);
	return good;
}

enum wire_event wire_next(struct wire *w, char text[WIRE_PACKET_MAX])
{
	enum wire_event event = WIRE_NOTHING;

	while (!event && w->in_len && w->fd >= 0) {
		size_t used = 1;

		if (w->in[0] == 3) {
			event = WIRE_INTERRUPT;
		} else if (w->in[0] == '$') {
			const char *end = memchr(w->in, '#', w->in_len);

			if (!end || end + 2 >= w->in + w->in_len)
				return WIRE_NOTHING;
			used = (size_t)(end - w->in) + 3;
			if (is_good(w, w->in + 1, used - 4, end + 1)) {
				memcpy(text, w->in + 1, used - 4);
				text[used - 4] = 0;
				event = WIRE_PACKET;
			}
		}
		w->in_len -= used;
		memmove(w->in, w->in + used, w->in_len);
	}
	return event;
}
