/* A function that a loop calls again and again while somebody wants it to. */
#ifndef HOST_TICKER_H
#define HOST_TICKER_H

#include "host/loop.h"

struct ticker {
	struct loop *loop; /* NULL: never started, or over */
	int fd;
	bool on;
	u64 period_ns;
	void (*fn)(void *arg);
	void *arg;
};

/* Off at first; keeps its address until ticker_fini. period_ns is less than a second. Negative errno: *t is as one that was never started. */
int ticker_init(struct ticker *t, struct loop *loop, u64 period_ns, void (*fn)(void *arg),
		void *arg) must_check;
/* One that is all 0 is ignored. */
void ticker_fini(struct ticker *t);
/* The first call comes after a period; periods that passed while nobody waited are one call. On the loop's thread. */
void ticker_set(struct ticker *t, bool on);

#endif
