/* What people look at and type on. */
#include "control/screens.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_text(struct screens *s, struct machine *m, char *err, size_t errlen)
{
	int r;

	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)) {
		snprintf(
			err, errlen,
			"--display text needs a terminal; without one, use `pogo screenshot` or VNC");
		return -ENOTTY;
	}
	r = text_display_start(&s->text, m, &s->keyboard);
	if (r)
		snprintf(err, errlen, "--display text: %s",
			 r == -ENODEV ? "the machine has no screen" : strerror(-r));
	return r;
}

int screens_open(struct screens *s, struct machine *m, const struct screens_options *options,
		 char *err, size_t errlen)
{
	int r;

	*s = (struct screens){ 0 };
	r = keyboard_init(&s->keyboard, m);
	if (r) {
		snprintf(err, errlen, "keyboard: %s", strerror(-r));
		return r;
	}
	s->open = true;
	if (options->vnc.listen)
		r = vnc_new(&s->vnc, m, &s->keyboard, &options->vnc, err, errlen);
	if (!r && options->text)
		r = open_text(s, m, err, errlen);
	if (r)
		screens_close(s);
	return r;
}

void screens_close(struct screens *s)
{
	if (!s->open)
		return;
	text_display_stop(&s->text);
	vnc_free(s->vnc);
	keyboard_fini(&s->keyboard);
	*s = (struct screens){ 0 };
}
