/* Keys for the guest. A PS/2 keyboard holds sixteen bytes: what does not fit waits here, and is offered again each PACE_NS. */
#include "control/keyboard.h"

#include "control/keymap.h"

#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PACE_NS 5000000

static void arm(struct keyboard *k, bool on)
{
	struct itimerspec t = { { 0, on ? PACE_NS : 0 }, { 0, on ? PACE_NS : 0 } };

	timerfd_settime(k->timer_fd, 0, &t, NULL);
	k->waiting = on;
}

/* One movement each time: guests that poll slowly lose none. */
static void on_timer(void *arg, short revents)
{
	struct keyboard *k = arg;
	u64 expired;

	(void)revents;
	(void)!read(k->timer_fd, &expired, sizeof(expired));
	if (k->count && machine_key(k->machine, k->code[k->first], k->down[k->first])) {
		k->first = (k->first + 1) % KEYBOARD_QUEUE;
		k->count--;
	}
	if (!k->count)
		arm(k, false);
}

int keyboard_init(struct keyboard *k, struct machine *m)
{
	int err;

	*k = (struct keyboard){ .machine = m };
	k->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (k->timer_fd < 0)
		return -errno;
	err = loop_add(machine_loop(m), k->timer_fd, POLLIN, on_timer, k);
	if (err)
		close(k->timer_fd);
	return err;
}

void keyboard_fini(struct keyboard *k)
{
	loop_remove(machine_loop(k->machine), k->timer_fd);
	close(k->timer_fd);
}

bool keyboard_key(struct keyboard *k, u16 code, bool down)
{
	u32 at = (k->first + k->count) % KEYBOARD_QUEUE;

	if (k->count == KEYBOARD_QUEUE)
		return false;
	if (!k->count && machine_key(k->machine, code, down))
		return true;
	k->code[at] = code;
	k->down[at] = down;
	k->count++;
	if (!k->waiting)
		arm(k, true);
	return true;
}

size_t keyboard_type(struct keyboard *k, const char *text, size_t n)
{
	for (size_t done = 0; done < n; done++) {
		bool shift;
		u16 code = keymap_char((u8)text[done], &shift);

		if (!code || k->count + 4 > KEYBOARD_QUEUE)
			return done;
		if (shift)
			keyboard_key(k, KEY_SHIFT, true);
		keyboard_key(k, code, true);
		keyboard_key(k, code, false);
		if (shift)
			keyboard_key(k, KEY_SHIFT, false);
	}
	return n;
}
