/* Keys for the guest. A PS/2 keyboard holds sixteen bytes: what does not fit waits here, and is offered again each PACE_NS. */
#include "control/keyboard.h"

#include "control/keymap.h"

#define PACE_NS 5000000

/* One movement each time: guests that poll slowly lose none. */
static void offer(void *arg)
{
	struct keyboard *k = arg;

	if (k->count && machine_key(k->machine, k->code[k->first], k->down[k->first])) {
		k->first = (k->first + 1) % KEYBOARD_QUEUE;
		k->count--;
	}
	ticker_set(&k->pace, k->count > 0);
}

int keyboard_init(struct keyboard *k, struct machine *m)
{
	*k = (struct keyboard){ .machine = m };
	return ticker_init(&k->pace, machine_loop(m), PACE_NS, offer, k);
}

void keyboard_fini(struct keyboard *k) { ticker_fini(&k->pace); }

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
	ticker_set(&k->pace, true);
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
