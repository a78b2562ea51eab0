#include "host/loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

int loop_add(struct loop *loop, int fd, short events, void (*fn)(void *arg, short revents),
	     void *arg)
{
	if (loop->count == LOOP_MAX)
		return -ENOSPC;
	loop->sources[loop->count++] = (struct loop_source){ fd, events, fn, arg };
	return 0;
}

void loop_remove(struct loop *loop, int fd)
{
	for (unsigned n = 0; n < loop->count; n++)
		if (loop->sources[n].fd == fd) {
			loop->count--;
			memmove(&loop->sources[n], &loop->sources[n + 1],
				(loop->count - n) * sizeof(loop->sources[0]));
			return;
		}
}

static const struct loop_source *source_find(const struct loop *loop, int fd)
{
	for (unsigned n = 0; n < loop->count; n++)
		if (loop->sources[n].fd == fd)
			return &loop->sources[n];
	return NULL;
}

void loop_wait(struct loop *loop, u64 timeout_ns)
{
	struct pollfd fds[LOOP_MAX];
	unsigned count = loop->count;
	struct timespec ts = { (time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000) };

	for (unsigned n = 0; n < count; n++)
		fds[n] = (struct pollfd){ .fd = loop->sources[n].fd,
					  .events = loop->sources[n].events };
	if (ppoll(fds, count, timeout_ns == LOOP_FOREVER ? NULL : &ts, NULL) <= 0)
		return;
	for (unsigned n = 0; n < count; n++) {
		const struct loop_source *s = fds[n].revents ? source_find(loop, fds[n].fd) : NULL;

		if (s)
			s->fn(s->arg, fds[n].revents);
	}
}
