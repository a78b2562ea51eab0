/* Host events: file descriptors that the machine's thread waits on between slices of guest code. One thread. */
#ifndef HOST_LOOP_H
#define HOST_LOOP_H

#include "base/types.h"

#define LOOP_MAX 32

struct loop_source {
	int fd;
	short events; /* POLLIN, POLLOUT */
	void (*fn)(void *arg, short revents);
	void *arg;
};

struct loop {
	struct loop_source sources[LOOP_MAX];
	unsigned count;
};

#define LOOP_FOREVER UINT64_MAX

/* -ENOSPC if there are LOOP_MAX sources already. */
int loop_add(struct loop *loop, int fd, short events, void (*fn)(void *arg, short revents),
	     void *arg) must_check;
/* What is not there is ignored. */
void loop_remove(struct loop *loop, int fd);
/* Waits up to timeout_ns for one of the sources and calls the functions of all that are ready. A signal ends the wait. A
 * function may add and remove sources. */
void loop_wait(struct loop *loop, u64 timeout_ns);

#endif
