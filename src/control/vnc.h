/* The screen, keyboard and mouse of a machine over VNC (RFC 6143), by libvncserver. */
#ifndef CONTROL_VNC_H
#define CONTROL_VNC_H

#include "control/keyboard.h"

struct vnc_options {
	const char *
		listen; /* "unix:PATH", "PORT" or "HOST:PORT"; without HOST it is the loopback address */
	/* A file whose first line is the password; NULL: none, which only loopback and unix sockets allow. */
	const char *password_file;
};

struct vnc;

/* Clients are served on a thread of its own, so that a slow one holds nothing up; screen and keys are touched on the machine's thread alone, from
 * its loop. All strings outlive it. On failure a negative errno, and one line in err. */
int vnc_new(struct vnc **vnc, struct machine *m, struct keyboard *keyboard,
	    const struct vnc_options *options, char *err, size_t errlen) must_check;
/* NULL is ignored. */
void vnc_free(struct vnc *vnc);
/* "unix:PATH" or "HOST:PORT", where the port is the one that was given for port 0. */
const char *vnc_address(const struct vnc *vnc);

#endif
