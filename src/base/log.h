/* Messages to the user, and the process-wide sink they go to (the one permitted global). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO };

/* One line "pogo: message" on the sink (stderr at start); a newline is added. Any thread. */
void log_print(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_print(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_print(LOG_INFO, __VA_ARGS__)

/* Hands messages to show, from whichever thread has them, instead of writing them. NULL: they are written again. */
void log_set_show(void (*show)(void *opaque, enum log_level level, const char *line), void *opaque);
/* Ends each line with CR LF while the terminal is in raw mode. */
void log_set_raw(bool raw);

#endif
