/* The machine's text screen in the user's terminal, and the terminal's keys on the machine's keyboard. */
#ifndef CONTROL_TEXT_DISPLAY_H
#define CONTROL_TEXT_DISPLAY_H

#include "control/keyboard.h"

#include <pthread.h>

struct text_display {
	struct machine *machine;
	struct keyboard *keyboard;
	struct ticker frames;
	bool graphics;            /* the last thing shown was that there is no text */
	u32 width, height;        /* of the picture then */
	struct screen_text *text; /* now, and as the terminal shows it */
	struct screen_text *shown;
	u32 rows, cols, top; /* of the terminal; the first row of the text that it shows */
	bool anew;           /* nothing of what it shows is known */
	bool page;           /* it shows something else until a key is pressed */
	u32 note_ticks;      /* for which the note stays */
	bool catching;       /* messages come here */
	pthread_mutex_t lock;
	char note[256];    /* under the lock: the last message, "" */
	bool note_new;     /* likewise */
	char kept[4096];   /* likewise: errors and warnings, for the end */
	size_t kept_count; /* likewise */
};

/* Standard output is a terminal. Negative errno; -ENODEV: the machine has no screen. */
int text_display_start(struct text_display *d, struct machine *m, struct keyboard *keyboard)
	must_check;
void text_display_stop(struct text_display *d);
/* Shows a text of several lines until a key is pressed. */
void text_display_page(struct text_display *d, const char *text);
/* Bytes that the terminal sent at once: characters, and escape sequences for other keys. */
void text_display_input(struct text_display *d, const u8 *bytes, size_t n);

#endif
