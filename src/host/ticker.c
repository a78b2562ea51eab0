/* A function that a loop calls again and again: a timer of the kernel among the loop's descriptors. */
#include "host/ticker.h"

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void on_expired(void *arg, short revents)
{
	struct ticker *t = arg;
	u64 expired;

	(void)revents;
	/* It may have been set anew since the loop has seen it. */
	if (read(t->fd, &expired, sizeof(expired)) == sizeof(expired))
		t->fn(t->arg);
}

int ticker_init(struct ticker *t, struct loop *loop, u64 period_ns, void (*fn)(void *arg),
		void *arg)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), err;

	*t = (struct ticker){ 0 };
	if (fd < 0)
		return -errno;
	err = loop_add(loop, fd, POLLIN, on_expired, t);
	if (err) {
		close(fd);
		return err;
	}
	*t = (struct ticker){ .loop = loop, .fd = fd, .period_ns = period_ns, .fn = fn, .arg = arg };
	return 0;
}

void ticker_fini(struct ticker *t)
{
	if (!t->loop)
		return;
	loop_remove(t->loop, t->fd);
	close(t->fd);
	*t = (struct ticker){ 0 };
}

void ticker_set(struct ticker *t, bool on)
{
	struct timespec period = { .tv_nsec = on ? (long)t->period_ns : 0 };

	if (on == t->on)
		return;
	timerfd_settime(t->fd, 0, &(struct itimerspec){ period, period }, NULL);
	t->on = on;
}
