/* What people look at and type on: VNC and the text display of one machine, over one keyboard. */
#ifndef CONTROL_SCREENS_H
#define CONTROL_SCREENS_H

#include "control/text_display.h"
#include "control/vnc.h"

struct screens_options {
	struct vnc_options vnc; /* listen NULL: no VNC */
	bool text;              /* the text screen is in this terminal */
};

struct screens {
	struct keyboard keyboard;
	struct vnc *vnc;
	struct text_display text; /* machine NULL: off */
	bool open;
};

/* On failure a negative errno, one line in err, and nothing is open. */
int screens_open(struct screens *s, struct machine *m, const struct screens_options *options,
		 char *err, size_t errlen) must_check;
/* Before the machine is freed. What was never opened is ignored. */
void screens_close(struct screens *s);

#endif
