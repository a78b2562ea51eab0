#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static bool log_raw;

static void (*log_show)(void *opaque, enum log_level level, const char *line);
static void *log_show_opaque;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

void log_set_show(void (*show)(void *opaque, enum log_level level, const char *line), void *opaque)
{
	pthread_mutex_lock(&log_lock);
	log_show = show;
	log_show_opaque = opaque;
	pthread_mutex_unlock(&log_lock);
}

void log_set_raw(bool raw) { log_raw = raw; }

void log_print(enum log_level level, const char *fmt, ...)
{
	static const char *const prefix[] = { "error: ", "warning: ", "" };
	char line[1024];
	va_list ap;
	bool shown;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&log_lock);
	shown = log_show != NULL;
	if (shown)
		log_show(log_show_opaque, level, line);
	pthread_mutex_unlock(&log_lock);
	if (shown)
		return;
	fprintf(stderr, "pogo: %s%s%s\n", prefix[level], line, log_raw ? "\r" : "");
}
