/* The screen as a picture, and as text. */
#ifndef CONTROL_SCREENSHOT_H
#define CONTROL_SCREENSHOT_H

#include "core/screen.h"

/* Whether a picture can be written there, tried before there is one. On failure one line in err, as below. */
int screenshot_can(const char *path, char *err, size_t errlen) must_check;
/* Writes what the adapter shows to a PNG file, which appears whole or not at all. On failure one line in err. */
int screenshot_png(struct screen *s, const char *path, char *err, size_t errlen) must_check;
/* The screen of a text mode as lines of UTF-8 without trailing blanks, and without empty ones at the end; to be freed. NULL: not in a text mode, or no memory. */
char *screenshot_text(struct screen *s);

#endif
