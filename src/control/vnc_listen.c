/* Where VNC listens: a unix socket, or a TCP port of an address. */
#include "control/vnc_internal.h"

#include "base/fail.h"
#include "control/unix_socket.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int listen_unix(struct vnc *v, const char *path, char *err, size_t errlen)
{
	char why[256];

	v->listener = unix_listen(path, why, sizeof(why));
	if (v->listener < 0)
		FAIL(EINVAL, "VNC: %s", why);
	/* It fits into a socket's address, and so here. */
	snprintf(v->socket_path, sizeof(v->socket_path), "%s", path);
	snprintf(v->address, sizeof(v->address), "unix:%s", path);
	return 0;
}

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >>
			       24 ==
		       127;
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int bind_tcp(struct vnc *v, const struct addrinfo *a, const char *where, char *err,
		    size_t errlen)
{
	struct sockaddr_storage bound;
	socklen_t size = sizeof(bound);
	char host[128], port[16];
	int on = 1;

	if (!is_loopback(a->ai_addr) && !v->password[0])
		FAIL(EPERM,
		     "VNC on %s is reachable by others: give a password file, or listen on unix:PATH or 127.0.0.1",
		     where);
	v->listener =
		socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	if (v->listener < 0)
		FAIL(errno, "VNC on %s: %s", where, strerror(errno));
	setsockopt(v->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(v->listener, a->ai_addr, a->ai_addrlen) || listen(v->listener, VNC_SEATS))
		FAIL(errno, "VNC on %s: %s%s", where, strerror(errno),
		     errno == EADDRINUSE ? "; choose another port" : "");
	getsockname(v->listener, (struct sockaddr *)&bound, &size);
	if (getnameinfo((struct sockaddr *)&bound, size, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return -EINVAL;
	snprintf(v->address, sizeof(v->address), strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
		 port);
	return 0;
}

static int listen_tcp(struct vnc *v, const char *where, char *err, size_t errlen)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *a;
	const char *port = strrchr(where, ':');
	char host[256] = "127.0.0.1";
	int r;

	if (port && port != where)
		snprintf(host, sizeof(host), "%.*s", (int)(port - where), where);
	port = port ? port + 1 : where;
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		memmove(host, host + 1, strlen(host));
		host[strlen(host) - 1] = 0;
	}
	if (strspn(port, "0123456789") != strlen(port) || !*port)
		FAIL(EINVAL, "VNC on '%s': say unix:PATH, PORT or HOST:PORT", where);
	if (strlen(port) > 5 || strtoul(port, NULL, 10) > 65535)
		FAIL(EINVAL, "VNC on '%s': a port is at most 65535", where);
	r = getaddrinfo(host, port, &hints, &a);
	if (r)
		FAIL(EINVAL, "VNC on '%s': %s", where, gai_strerror(r));
	r = bind_tcp(v, a, where, err, errlen);
	freeaddrinfo(a);
	return r;
}

int vnc_listen(struct vnc *v, const char *where, char *err, size_t errlen)
{
	if (!strncmp(where, "unix:", 5))
		return listen_unix(v, where + 5, err, errlen);
	return listen_tcp(v, where, err, errlen);
}
