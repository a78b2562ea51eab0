/* Keys for the guest, at the pace at which it takes them. */
#ifndef CONTROL_KEYBOARD_H
#define CONTROL_KEYBOARD_H

#include "host/ticker.h"
#include "machine/machine.h"

#define KEYBOARD_QUEUE 8192u /* key movements that wait */

struct keyboard {
	struct machine *machine;
	struct ticker pace; /* on while keys wait */
	u32 first, count;
	u16 code[KEYBOARD_QUEUE];
	bool down[KEYBOARD_QUEUE];
};

/* On the machine's thread, as everything here. Negative errno. */
int keyboard_init(struct keyboard *k, struct machine *m) must_check;
void keyboard_fini(struct keyboard *k);
/* A key moves; code is a set 1 make code. False if too many wait: it is lost. */
bool keyboard_key(struct keyboard *k, u16 code, bool down);
/* Types a text of ASCII on a US keyboard. Returns how many of its n characters were taken; one that no key types stops it. */
size_t keyboard_type(struct keyboard *k, const char *text, size_t n);

#endif
