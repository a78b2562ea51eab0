#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static bool log_raw;

void log_set_raw(bool raw) { log_raw = raw; }

void log_print(enum log_level level, const char *fmt, ...)
{
	static const char *const prefix[] = { "error: ", "warning: ", "" };
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "pogo: %s%s%s\n", prefix[level], line, log_raw ? "\r" : "");
}
