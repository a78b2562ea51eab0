/* The screen over VNC. Two threads share `struct vnc` under its lock: the machine's copies changed pixels into the frame and takes input out of
 * a queue; the server's encodes the frame and puts input in. Pixels are encoded without the lock: a torn picture is followed by a whole one,
 * as the damage comes after the pixels. */
#include "control/vnc.h"

#include "base/fail.h"
#include "base/log.h"
#include "control/keymap.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <rfb/rfb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define FRAME_NS     33000000
#define SERVE_US     20000
#define CLIENTS_MAX  4
#define CLIENT_MS    3000 /* a client that takes nothing for so long is dropped */
#define INPUT_MAX    1024u
#define DAMAGE_MAX   256u
#define START_WIDTH  640
#define START_HEIGHT 480

struct input {
	bool key, down;
	u16 code;
	int x, y;
	u8 buttons;
};

struct vnc {
	struct machine *machine;
	struct keyboard *keyboard;
	char address[300], socket_path[108];
	char *passwords[2]; /* a list that NULL ends */
	char password[9];
	int listener, timer_fd, input_fd, stop_fd;
	bool in_loop[2]; /* timer_fd, input_fd */
	pthread_t thread;
	bool running;
	rfbScreenInfoPtr server;
	/* The machine's thread. */
	bool watched; /* there were clients */
	bool fresh;   /* they have seen nothing yet */
	int x, y;     /* of the pointer */
	/* Both, under the lock. */
	pthread_mutex_t lock;
	u32 *frame; /* what the server shows: width * height */
	u32 width, height;
	bool resized;
	struct screen_rect damage[DAMAGE_MAX];
	unsigned damaged;
	struct input input[INPUT_MAX];
	unsigned inputs;
	unsigned clients;
	bool stop;
};

/* --- The machine's thread ------------------------------------------------------------------------------ */

static void copy_rect(struct vnc *v, const struct screen *s, const struct screen_rect *r)
{
	for (u32 y = r->y; y < r->y + r->height; y++)
		memcpy(v->frame + (size_t)y * v->width + r->x,
		       s->pixels + (size_t)y * s->width + r->x, (size_t)r->width * 4);
}

static bool frame_resize(struct vnc *v, const struct screen *s)
{
	u32 *frame = calloc((size_t)s->width * s->height, 4);

	if (!frame)
		return false;
	/* The server may be encoding the old one: it is the one who frees it. */
	if (v->resized)
		free(v->frame);
	v->frame = frame;
	v->width = s->width;
	v->height = s->height;
	v->resized = true;
	v->damaged = 0;
	return true;
}

static void take_rects(struct vnc *v, struct screen *s, const struct screen_rect *rects, unsigned n)
{
	const struct screen_rect whole = { 0, 0, s->width, s->height };

	if (v->width != s->width || v->height != s->height) {
		if (!frame_resize(v, s))
			return;
		rects = &whole;
		n = 1;
	}
	if (v->damaged + n > DAMAGE_MAX) {
		v->damaged = 0;
		rects = &whole;
		n = 1;
	}
	for (unsigned k = 0; k < n; k++) {
		copy_rect(v, s, &rects[k]);
		v->damage[v->damaged++] = rects[k];
	}
}

/* Frames are made while somebody looks. */
static void set_ticking(struct vnc *v, bool on)
{
	struct itimerspec t = { { 0, on ? FRAME_NS : 0 }, { 0, on ? FRAME_NS : 0 } };

	timerfd_settime(v->timer_fd, 0, &t, NULL);
	v->watched = on;
}

static void on_tick(void *arg, short revents)
{
	struct vnc *v = arg;
	struct screen *s = machine_screen(v->machine);
	struct screen_rect rects[SCREEN_RECTS];
	u64 expired;
	unsigned n;

	(void)revents;
	(void)!read(v->timer_fd, &expired, sizeof(expired));
	pthread_mutex_lock(&v->lock);
	if (v->clients) {
		n = s->update(s, rects);
		if (v->fresh) {
			rects[0] = (struct screen_rect){ 0, 0, s->width, s->height };
			n = 1;
		}
		if (s->width && s->height && n) {
			v->fresh = false;
			take_rects(v, s, rects, n);
		}
	} else {
		set_ticking(v, false);
	}
	pthread_mutex_unlock(&v->lock);
}

static void give(struct vnc *v, const struct input *in)
{
	if (in->key) {
		keyboard_key(v->keyboard, in->code, in->down);
		return;
	}
	machine_pointer(v->machine, in->x - v->x, in->y - v->y, in->buttons);
	v->x = in->x;
	v->y = in->y;
}

static void on_input(void *arg, short revents)
{
	struct vnc *v = arg;
	u64 count;

	(void)revents;
	(void)!read(v->input_fd, &count, sizeof(count));
	pthread_mutex_lock(&v->lock);
	for (unsigned n = 0; n < v->inputs; n++)
		give(v, &v->input[n]);
	v->inputs = 0;
	if (v->clients && !v->watched) {
		v->fresh = true;
		set_ticking(v, true);
	}
	pthread_mutex_unlock(&v->lock);
}

/* --- The server's thread ------------------------------------------------------------------------------- */

static void put(struct vnc *v, struct input in)
{
	u64 one = 1;

	pthread_mutex_lock(&v->lock);
	/* Of movements only the last counts. */
	if (v->inputs && !in.key && !v->input[v->inputs - 1].key &&
	    v->input[v->inputs - 1].buttons == in.buttons)
		v->inputs--;
	if (v->inputs < INPUT_MAX)
		v->input[v->inputs++] = in;
	pthread_mutex_unlock(&v->lock);
	(void)!write(v->input_fd, &one, sizeof(one));
}

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr client)
{
	u16 code = keymap_keysym(keysym);

	if (code)
		put(client->screen->screenData,
		    (struct input){ .key = true, .down = down, .code = code });
}

/* VNC's button 1 is left, 2 middle, 3 right. */
static void on_pointer(int mask, int x, int y, rfbClientPtr client)
{
	u8 buttons = (u8)((mask & 1) | (mask & 4 ? 2 : 0) | (mask & 2 ? 4 : 0));

	rfbDefaultPtrAddEvent(mask, x, y, client);
	put(client->screen->screenData, (struct input){ .x = x, .y = y, .buttons = buttons });
}

static void on_client_gone(rfbClientPtr client)
{
	struct vnc *v = client->screen->screenData;

	pthread_mutex_lock(&v->lock);
	v->clients--;
	pthread_mutex_unlock(&v->lock);
}

static enum rfbNewClientAction on_client(rfbClientPtr client)
{
	struct vnc *v = client->screen->screenData;
	u64 one = 1;
	bool room;

	pthread_mutex_lock(&v->lock);
	room = v->clients < CLIENTS_MAX;
	v->clients += room;
	pthread_mutex_unlock(&v->lock);
	if (!room)
		return RFB_CLIENT_REFUSE;
	client->clientGoneHook = on_client_gone;
	(void)!write(v->input_fd, &one, sizeof(one));
	return RFB_CLIENT_ACCEPT;
}

static void show_changes(struct vnc *v)
{
	struct screen_rect damage[DAMAGE_MAX];
	unsigned n;
	void *old = NULL;
	bool resized;

	pthread_mutex_lock(&v->lock);
	n = v->damaged;
	memcpy(damage, v->damage, n * sizeof(damage[0]));
	v->damaged = 0;
	resized = v->resized;
	v->resized = false;
	if (resized) {
		old = v->server->frameBuffer;
		rfbNewFramebuffer(v->server, (char *)v->frame, (int)v->width, (int)v->height, 8, 3,
				  4);
	}
	pthread_mutex_unlock(&v->lock);
	if (resized)
		free(old);
	for (unsigned k = 0; k < n; k++)
		rfbMarkRectAsModified(v->server, (int)damage[k].x, (int)damage[k].y,
				      (int)(damage[k].x + damage[k].width),
				      (int)(damage[k].y + damage[k].height));
}

static bool any_clients(struct vnc *v, bool *stop)
{
	bool any;

	pthread_mutex_lock(&v->lock);
	any = v->clients != 0;
	*stop = v->stop;
	pthread_mutex_unlock(&v->lock);
	return any;
}

static void *serve(void *arg)
{
	struct vnc *v = arg;
	bool stop = false;

	while (!stop) {
		bool busy = any_clients(v, &stop);
		struct pollfd p[2] = { { v->listener, POLLIN, 0 }, { v->stop_fd, POLLIN, 0 } };

		if (poll(p, 2, busy || stop ? 0 : -1) > 0 && p[0].revents) {
			int fd = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC);

			if (fd >= 0)
				rfbNewClient(v->server, fd);
		}
		if (!busy)
			continue;
		show_changes(v);
		rfbProcessEvents(v->server, SERVE_US);
	}
	return NULL;
}

/* --- Making one ---------------------------------------------------------------------------------------- */

static int listen_unix(struct vnc *v, const char *path, char *err, size_t errlen)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(a.sun_path) || !*path)
		FAIL(ENAMETOOLONG, "VNC socket '%s': the path must have 1 to %zu bytes", path,
		     sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, path);
	v->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	r = v->listener < 0 ? -1 : bind(v->listener, (struct sockaddr *)&a, sizeof(a));
	umask(mask);
	if (r)
		FAIL(errno, "VNC socket '%s' cannot be made: %s%s", path, strerror(errno),
		     errno == EADDRINUSE ? "; remove it if nobody uses it" : "");
	strcpy(v->socket_path, path);
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
	if (bind(v->listener, a->ai_addr, a->ai_addrlen))
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
	r = getaddrinfo(host, port, &hints, &a);
	if (r)
		FAIL(EINVAL, "VNC on '%s': %s", where, gai_strerror(r));
	r = bind_tcp(v, a, where, err, errlen);
	freeaddrinfo(a);
	return r;
}

static int read_password(struct vnc *v, const char *path, char *err, size_t errlen)
{
	char line[64];
	FILE *f = fopen(path, "re");
	bool got;

	if (!f)
		FAIL(errno, "VNC password file '%s' cannot be opened: %s", path, strerror(errno));
	got = fgets(line, sizeof(line), f) != NULL;
	fclose(f);
	line[got ? strcspn(line, "\r\n") : 0] = 0;
	if (!line[0] || strlen(line) > 8)
		FAIL(EINVAL,
		     "VNC password file '%s': its first line must have 1 to 8 characters, all that VNC uses",
		     path);
	snprintf(v->password, sizeof(v->password), "%.8s", line);
	v->passwords[0] = v->password;
	return 0;
}

static int server_new(struct vnc *v)
{
	rfbScreenInfoPtr s;

	rfbLogEnable(FALSE);
	v->width = START_WIDTH;
	v->height = START_HEIGHT;
	v->frame = calloc((size_t)v->width * v->height, 4);
	s = v->server = v->frame ? rfbGetScreen(NULL, NULL, START_WIDTH, START_HEIGHT, 8, 3, 4)
				 : NULL;
	if (!s)
		return -ENOMEM;
	s->serverFormat.redShift = 16;
	s->serverFormat.greenShift = 8;
	s->serverFormat.blueShift = 0;
	s->frameBuffer = (char *)v->frame;
	s->screenData = v;
	s->desktopName = "Pogo";
	s->alwaysShared = TRUE;
	s->cursor = NULL;
	s->permitFileTransfer = FALSE;
	s->maxClientWait = CLIENT_MS;
	s->kbdAddEvent = on_key;
	s->ptrAddEvent = on_pointer;
	s->newClientHook = on_client;
	if (v->password[0]) {
		s->authPasswdData = v->passwords;
		s->passwordCheck = rfbCheckPasswordByList;
	}
	return 0;
}

static int attach(struct vnc *v)
{
	struct loop *loop = machine_loop(v->machine);
	sigset_t all, old;
	int r;

	v->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	v->input_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->timer_fd < 0 || v->input_fd < 0 || v->stop_fd < 0)
		return -errno;
	r = loop_add(loop, v->timer_fd, POLLIN, on_tick, v);
	v->in_loop[0] = !r;
	if (!r)
		r = loop_add(loop, v->input_fd, POLLIN, on_input, v);
	v->in_loop[1] = !r;
	if (r)
		return r;
	/* Signals are for the thread that runs the machine. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&v->thread, NULL, serve, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	v->running = !r;
	return r;
}

int vnc_new(struct vnc **out, struct machine *m, struct keyboard *keyboard,
	    const struct vnc_options *options, char *err, size_t errlen)
{
	struct vnc *v;
	int r = 0;

	if (!machine_screen(m))
		FAIL(ENODEV, "VNC: the machine has no screen");
	v = calloc(1, sizeof(*v));
	if (!v)
		FAIL(ENOMEM, "VNC: out of memory");
	v->machine = m;
	v->keyboard = keyboard;
	v->listener = v->timer_fd = v->input_fd = v->stop_fd = -1;
	pthread_mutex_init(&v->lock, NULL);
	if (options->password_file)
		r = read_password(v, options->password_file, err, errlen);
	if (!r && !strncmp(options->listen, "unix:", 5))
		r = listen_unix(v, options->listen + 5, err, errlen);
	else if (!r)
		r = listen_tcp(v, options->listen, err, errlen);
	if (!r) {
		r = listen(v->listener, CLIENTS_MAX) ? -errno : server_new(v);
		if (!r)
			r = attach(v);
		if (r)
			snprintf(err, errlen, "VNC on %s: %s", options->listen, strerror(-r));
	}
	if (r)
		vnc_free(v);
	else
		*out = v;
	return r;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vnc_free(struct vnc *v)
{
	u64 one = 1;

	if (!v)
		return;
	if (v->running) {
		pthread_mutex_lock(&v->lock);
		v->stop = true;
		pthread_mutex_unlock(&v->lock);
		(void)!write(v->stop_fd, &one, sizeof(one));
		pthread_join(v->thread, NULL);
	}
	if (v->in_loop[0])
		loop_remove(machine_loop(v->machine), v->timer_fd);
	if (v->in_loop[1])
		loop_remove(machine_loop(v->machine), v->input_fd);
	if (v->server) {
		/* A frame that the server has not taken over yet. */
		if (v->resized)
			free(v->server->frameBuffer);
		rfbShutdownServer(v->server, TRUE);
		rfbScreenCleanup(v->server);
	}
	free(v->frame);
	if (v->socket_path[0])
		unlink(v->socket_path);
	close_fd(v->listener);
	close_fd(v->timer_fd);
	close_fd(v->input_fd);
	close_fd(v->stop_fd);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

const char *vnc_address(const struct vnc *v) { return v->address; }
