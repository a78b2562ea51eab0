/* The guest's first serial port in the user's terminal. Not a terminal: plain standard input and output. A terminal: raw mode,
 * with Ctrl-] as the escape to Pogo itself. */
#ifndef CONTROL_CONSOLE_H
#define CONTROL_CONSOLE_H

#include "control/text_display.h"

struct console {
	/* Its keys go there, and the serial port is not shown; NULL: to the serial port. */
	struct text_display *display;
	struct machine *machine;
	bool raw;         /* standard input is a terminal */
	bool escaped;     /* Ctrl-] was the last key */
	bool watching;    /* standard input is in the loop */
	bool ended;       /* standard input is at its end */
	u8 pending[4096]; /* input that the guest has not taken yet */
	size_t first, count;
};

/* What machine_new needs; the machine may write before console_attach. */
struct machine_console console_wires(struct console *c);
/* Starts reading standard input. Negative errno. */
int console_attach(struct console *c, struct machine *m) must_check;
void console_detach(struct console *c);

#endif
