/* The mouse for the guest, at the pace at which it takes reports. */
#ifndef CONTROL_POINTER_H
#define CONTROL_POINTER_H

#include "host/ticker.h"
#include "machine/machine.h"

#define POINTER_QUEUE 64u

struct pointer_move {
	int dx, dy;
	u8 buttons;
};

struct pointer {
	struct machine *machine;
	struct ticker pace; /* on while moves wait */
	u32 first, count;
	struct pointer_move moves[POINTER_QUEUE]; /* each with buttons of its own */
};

/* On the machine's thread, as everything here. Negative errno. */
int pointer_init(struct pointer *p, struct machine *m) must_check;
/* One that is all 0 is ignored. */
void pointer_fini(struct pointer *p);
/* The mouse moves, down is positive; buttons as for machine_pointer. What the guest does not take waits; if too much does, moves and clicks
 * become one, and the buttons end as they are. */
void pointer_move(struct pointer *p, int dx, int dy, u8 buttons);

#endif
