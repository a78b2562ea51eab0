/* The mouse for the guest. Its report holds 8 bits and a sign for each axis, and its queue a few reports: a longer way goes in steps, and waits
 * here for room. */
#include "control/pointer.h"

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PACE_NS 10000000
#define STEP    255
#define WAY_MAX 65536

static void arm(struct pointer *p, bool on)
{
	struct itimerspec t = { { 0, on ? PACE_NS : 0 }, { 0, on ? PACE_NS : 0 } };

	timerfd_settime(p->timer_fd, 0, &t, NULL);
	p->waiting = on;
}

static int clamp(int n, int limit) { return n < -limit ? -limit : MIN(n, limit); }

static void pump(struct pointer *p)
{
	while (p->count) {
		struct pointer_move *m = &p->moves[p->first];
		int dx = clamp(m->dx, STEP), dy = clamp(m->dy, STEP);

		if (!machine_pointer(p->machine, dx, dy, m->buttons))
			break;
		m->dx -= dx;
		m->dy -= dy;
		if (m->dx || m->dy)
			continue;
		p->first = (p->first + 1) % POINTER_QUEUE;
		p->count--;
	}
	if (p->waiting != (p->count != 0))
		arm(p, p->count != 0);
}

static void on_timer(void *arg, short revents)
{
	struct pointer *p = arg;
	u64 expired;

	(void)revents;
	(void)!read(p->timer_fd, &expired, sizeof(expired));
	pump(p);
}

int pointer_init(struct pointer *p, struct machine *m)
{
	int err;

	*p = (struct pointer){ .machine = m };
	p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (p->timer_fd < 0)
		return -errno;
	err = loop_add(machine_loop(m), p->timer_fd, POLLIN, on_timer, p);
	if (err)
		close(p->timer_fd);
	return err;
}

void pointer_fini(struct pointer *p)
{
	loop_remove(machine_loop(p->machine), p->timer_fd);
	close(p->timer_fd);
}

void pointer_move(struct pointer *p, int dx, int dy, u8 buttons)
{
	struct pointer_move *last = p->count ? &p->moves[(p->first + p->count - 1) % POINTER_QUEUE]
					     : NULL;

	if (last && (last->buttons == buttons || p->count == POINTER_QUEUE)) {
		last->dx = clamp(last->dx + dx, WAY_MAX);
		last->dy = clamp(last->dy + dy, WAY_MAX);
		last->buttons = buttons;
	} else {
		p->moves[(p->first + p->count) % POINTER_QUEUE] =
			(struct pointer_move){ clamp(dx, WAY_MAX), clamp(dy, WAY_MAX), buttons };
		p->count++;
	}
	pump(p);
}
