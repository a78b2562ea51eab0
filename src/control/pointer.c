/* The mouse for the guest. Its report holds 8 bits and a sign for each axis, and its queue a few reports: a longer way goes in steps, and waits
 * here for room. */
#include "control/pointer.h"

#define PACE_NS 10000000
#define STEP    255
#define WAY_MAX 65536

static int clamp(int n, int limit) { return n < -limit ? -limit : MIN(n, limit); }

static void pump(void *arg)
{
	struct pointer *p = arg;

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
	ticker_set(&p->pace, p->count > 0);
}

int pointer_init(struct pointer *p, struct machine *m)
{
	*p = (struct pointer){ .machine = m };
	return ticker_init(&p->pace, machine_loop(m), PACE_NS, pump, p);
}

void pointer_fini(struct pointer *p) { ticker_fini(&p->pace); }

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
