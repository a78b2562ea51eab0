/* A machine that does nothing, for the fuzzers of what is said to one. */
#ifndef FUZZ_OUTSIDE_H
#define FUZZ_OUTSIDE_H

#include "control/instance.h"

/* The client end of the next connection that is accepted. */
int outside_connect(void);
/* Serves what is ready, never waits. */
void outside_serve(struct loop *loop);

#endif
