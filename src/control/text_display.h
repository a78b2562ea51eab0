/* The machine's text screen in the user's terminal, and the terminal's keys on the machine's keyboard. */
#ifndef CONTROL_TEXT_DISPLAY_H
#define CONTROL_TEXT_DISPLAY_H

#include "control/keyboard.h"

struct text_display {
	struct machine *machine;
	struct keyboard *keyboard;
	int timer_fd;
	bool graphics;            /* the last thing shown was that there is no text */
	u32 width, height;        /* of the picture then */
	struct screen_text *text; /* now, and as the terminal shows it */
	struct screen_text *shown;
};

/* Standard output is a terminal. Negative errno; -ENODEV: the machine has no screen. */
int text_display_start(struct text_display *d, struct machine *m, struct keyboard *keyboard)
	must_check;
void text_display_stop(struct text_display *d);
/* Bytes that the terminal sent at once: characters, and escape sequences for other keys. */
void text_display_input(struct text_display *d, const u8 *bytes, size_t n);

#endif
