/* The screen over VNC, the machine's side: copies changed pixels into the frame that the seats copy from, and takes their input out of a
 * queue. A thread accepts clients and gives each a seat. All share `struct vnc` under its lock, which nobody holds while he waits. */
#include "control/vnc_internal.h"

#include "base/fail.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_NS  33000000
#define CAPS_LOCK 0xffe5u /* X11's keysym */
#define CAPS_MS   1000    /* after which a guest has set the light */

void vnc_ring(int fd)
{
	u64 one = 1;

	(void)!write(fd, &one, sizeof(one));
}

u64 vnc_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

/* --- Pixels ----------------------------------------------------------------------------------- */

static void copy_rect(struct vnc *v, const struct screen *s, const struct screen_rect *r)
{
	for (u32 y = r->y; y < r->y + r->height; y++)
		memcpy(v->frame + (size_t)y * v->width + r->x,
		       s->pixels + (size_t)y * s->width + r->x, (size_t)r->width * 4);
}

static bool frame_resize(struct vnc *v, const struct screen *s)
{
	u32 *frame;

	if (v->frame && v->width == s->width && v->height == s->height)
		return true;
	frame = calloc((size_t)s->width * s->height, 4);
	if (!frame)
		return false;
	free(v->frame);
	v->frame = frame;
	v->width = s->width;
	v->height = s->height;
	return true;
}

/* With the lock. */
static void tell_seats(struct vnc *v, const struct screen_rect *rects, unsigned n, bool whole)
{
	for (unsigned k = 0; k < VNC_SEATS; k++) {
		struct vnc_seat *s = &v->seat[k];

		if (s->state != SEAT_BUSY)
			continue;
		s->whole |= whole || s->damaged + n > VNC_DAMAGE;
		for (unsigned r = 0; r < n && !s->whole; r++)
			s->damage[s->damaged++] = rects[r];
		vnc_ring(s->wake);
	}
}

static bool any_client(const struct vnc *v)
{
	for (unsigned k = 0; k < VNC_SEATS; k++)
		if (v->seat[k].state == SEAT_BUSY)
			return true;
	return false;
}

/* With the lock. */
static void make_frame(struct vnc *v)
{
	struct screen *s = machine_screen(v->machine);
	struct screen_rect rects[SCREEN_RECTS];
	u32 before = s->updates, width = v->width, height = v->height;
	unsigned n = screen_update(s, rects);
	/* Others have looked since, a screenshot perhaps, and were told what was not told here. */
	bool whole = v->fresh || v->seen != before;

	v->seen = s->updates;
	if (!s->width || !s->height || (!n && !whole) || !frame_resize(v, s))
		return;
	v->fresh = false;
	/* A size that has come back may have damage of another one in between. */
	whole |= v->width != width || v->height != height;
	if (whole) {
		rects[0] = (struct screen_rect){ 0, 0, s->width, s->height };
		n = 1;
	}
	for (unsigned k = 0; k < n; k++)
		copy_rect(v, s, &rects[k]);
	tell_seats(v, rects, n, whole);
}

/* Frames are made while somebody looks. */
static void on_tick(void *arg)
{
	struct vnc *v = arg;

	pthread_mutex_lock(&v->lock);
	if (any_client(v))
		make_frame(v);
	else
		ticker_set(&v->frames, false);
	pthread_mutex_unlock(&v->lock);
}

/* --- Input ------------------------------------------------------------------------------------ */

static void emit_key(void *opaque, u16 code, bool down)
{
	struct vnc *v = opaque;

	keyboard_key(v->keyboard, code, down);
}

static void give_key(struct vnc *v, const struct vnc_input *in)
{
	struct keysyms *keys = &in->seat->keys;
	unsigned held = keys->count;
	u64 now = vnc_now_ms();

	if (now >= v->caps_ms)
		v->caps = machine_lights(v->machine) & 4;
	keysyms_event(keys, in->keysym, in->down, v->caps, emit_key, v);
	if (in->keysym == CAPS_LOCK && keys->count > held) {
		v->caps = !v->caps;
		v->caps_ms = now + CAPS_MS;
	}
}

/* A PS/2 mouse moves by differences, and its guest decides how far: at the screen's edges the way is longer than the screen, so that the
 * guest's pointer is there too, and both go together from there. */
static int way(int from, int to, int size)
{
	if (to != from && to == 0)
		return -size;
	if (to != from && to == size - 1)
		return size;
	return to - from;
}

static void give_pointer(struct vnc *v, const struct vnc_input *in)
{
	int width = (int)(v->frame ? v->width : VNC_WIDTH),
	    height = (int)(v->frame ? v->height : VNC_HEIGHT);
	int x = MAX(0, MIN(in->x, width - 1)), y = MAX(0, MIN(in->y, height - 1));
	int dx = way(v->x, x, width), dy = way(v->y, y, height);

	v->x = x;
	v->y = y;
	if (!dx && !dy && in->buttons == v->buttons)
		return;
	v->buttons = in->buttons;
	pointer_move(&v->pointer, dx, dy, in->buttons);
}

/* With the lock: keys and buttons of clients that have gone go up. */
static void clear_seats(struct vnc *v)
{
	bool gone = false;

	for (unsigned k = 0; k < VNC_SEATS; k++) {
		struct vnc_seat *s = &v->seat[k];

		if (s->state != SEAT_LEFT)
			continue;
		keysyms_release(&s->keys, emit_key, v);
		s->state = SEAT_FREE;
		gone = true;
	}
	if (gone && !any_client(v) && v->buttons) {
		v->buttons = 0;
		pointer_move(&v->pointer, 0, 0, 0);
	}
}

static void on_input(void *arg, short revents)
{
	struct vnc *v = arg;
	u64 count;

	(void)revents;
	(void)!read(v->input_fd, &count, sizeof(count));
	pthread_mutex_lock(&v->lock);
	for (unsigned n = 0; n < v->inputs; n++) {
		struct vnc_input *in = &v->input[n];

		if (in->key)
			give_key(v, in);
		else
			give_pointer(v, in);
	}
	v->inputs = 0;
	clear_seats(v);
	if (!v->frames.on && any_client(v)) {
		v->fresh = true;
		ticker_set(&v->frames, true);
		make_frame(v);
	}
	pthread_mutex_unlock(&v->lock);
}

/* --- The thread that accepts -------------------------------------------------------------------- */

static struct vnc_seat *find_seat(struct vnc *v, int fd)
{
	struct vnc_seat *found = NULL;

	pthread_mutex_lock(&v->lock);
	for (unsigned k = 0; k < VNC_SEATS && !found; k++)
		if (v->seat[k].state == SEAT_FREE)
			found = &v->seat[k];
	if (found) {
		found->state = SEAT_BUSY;
		found->fd = fd;
		found->damaged = 0;
		found->whole = true;
	}
	pthread_mutex_unlock(&v->lock);
	return found;
}

static void take_client(struct vnc *v, int fd)
{
	struct vnc_seat *s = find_seat(v, fd);

	if (!s) {
		close(fd);
		return;
	}
	if (s->joinable)
		pthread_join(s->thread, NULL);
	s->joinable = !pthread_create(&s->thread, NULL, seat_serve, s);
	if (!s->joinable) {
		pthread_mutex_lock(&v->lock);
		s->state = SEAT_FREE;
		s->fd = -1;
		pthread_mutex_unlock(&v->lock);
		close(fd);
		return;
	}
	vnc_ring(v->input_fd);
}

static void *accept_clients(void *arg)
{
	static const struct timespec pause = { .tv_nsec = 100000000 };
	struct vnc *v = arg;
	struct pollfd p[2] = { { v->listener, POLLIN, 0 }, { v->stop_fd, POLLIN, 0 } };

	for (;;) {
		poll(p, 2, -1);
		if (p[1].revents)
			return NULL;
		int fd = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			take_client(v, fd);
		else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			nanosleep(&pause, NULL); /* no descriptor is free, say */
	}
}

/* --- Making one ------------------------------------------------------------------------------- */

static int read_password(struct vnc *v, const char *path, char *err, size_t errlen)
{
	char line[64];
	FILE *f = fopen(path, "re");
	bool got;

	if (!f) {
		int error = errno;

		snprintf(err, errlen, "VNC password file '%s' cannot be opened: %s", path,
			 fail_text(error));
		return -error;
	}
	got = fgets(line, sizeof(line), f) != NULL;
	fclose(f);
	line[got ? strcspn(line, "\r\n") : 0] = 0;
	if (!line[0] || strlen(line) > 8) {
		snprintf(
			err, errlen,
			"VNC password file '%s': its first line must have 1 to 8 characters, all that VNC uses",
			path);
		return -EINVAL;
	}
	snprintf(v->password, sizeof(v->password), "%.8s", line);
	v->passwords[0] = v->password;
	return 0;
}

/* Signals are for the thread that runs the machine; a crash is for the thread that crashes. */
static int start_thread(struct vnc *v)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };
	sigset_t set, old;
	int r;

	sigfillset(&set);
	for (unsigned n = 0; n < ARRAY_LEN(own); n++)
		sigdelset(&set, own[n]);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	r = -pthread_create(&v->thread, NULL, accept_clients, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	v->running = !r;
	return r;
}

static int attach(struct vnc *v)
{
	struct loop *loop = machine_loop(v->machine);
	int r;

	v->input_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->input_fd < 0 || v->stop_fd < 0)
		return -errno;
	r = ticker_init(&v->frames, loop, FRAME_NS, on_tick, v);
	if (!r)
		r = loop_add(loop, v->input_fd, POLLIN, on_input, v);
	if (!r)
		r = pointer_init(&v->pointer, v->machine);
	for (unsigned n = 0; n < VNC_SEATS && !r; n++)
		r = seat_init(&v->seat[n], v) ? 0 : -ENOMEM;
	return r ? r : start_thread(v);
}

int vnc_new(struct vnc **out, struct machine *m, struct keyboard *keyboard,
	    const struct vnc_options *options, char *err, size_t errlen)
{
	struct vnc *v;
	int r = 0;

	if (!machine_screen(m)) {
		snprintf(err, errlen, "VNC: the machine has no screen");
		return -ENODEV;
	}
	v = calloc(1, sizeof(*v));
	if (!v) {
		snprintf(err, errlen, "VNC: out of memory");
		return -ENOMEM;
	}
	v->machine = m;
	v->keyboard = keyboard;
	v->listener = v->input_fd = v->stop_fd = -1;
	pthread_mutex_init(&v->lock, NULL);
	pthread_mutex_init(&v->handshake, NULL);
	if (options->password_file)
		r = read_password(v, options->password_file, err, errlen);
	if (!r)
		r = vnc_listen(v, options->listen, err, errlen);
	if (!r && (r = attach(v)))
		snprintf(err, errlen, "VNC on %s: %s", options->listen, strerror(-r));
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

/* Threads that wait for their clients, in whatever call, find the connection at its end. */
static void stop_threads(struct vnc *v)
{
	vnc_ring(v->stop_fd);
	pthread_join(v->thread, NULL);
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	for (unsigned n = 0; n < VNC_SEATS; n++) {
		if (v->seat[n].fd >= 0)
			shutdown(v->seat[n].fd, SHUT_RDWR);
		vnc_ring(v->seat[n].wake);
	}
	pthread_mutex_unlock(&v->lock);
	for (unsigned n = 0; n < VNC_SEATS; n++)
		if (v->seat[n].joinable)
			pthread_join(v->seat[n].thread, NULL);
}

void vnc_free(struct vnc *v)
{
	if (!v)
		return;
	if (v->running)
		stop_threads(v);
	ticker_fini(&v->frames);
	loop_remove(machine_loop(v->machine), v->input_fd);
	pointer_fini(&v->pointer);
	for (unsigned n = 0; n < VNC_SEATS; n++)
		seat_free(&v->seat[n]);
	free(v->frame);
	if (v->socket_path[0])
		unlink(v->socket_path);
	close_fd(v->listener);
	close_fd(v->input_fd);
	close_fd(v->stop_fd);
	pthread_mutex_destroy(&v->lock);
	pthread_mutex_destroy(&v->handshake);
	free(v);
}

const char *vnc_address(const struct vnc *v) { return v->address; }
