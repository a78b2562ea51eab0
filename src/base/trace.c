/* The sink of trace lines: stderr, and a ring of the last lines for crash reports. */
#include "base/trace.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RING_LINES 256u
#define RING_WIDTH 160u

static const struct {
	const char *name, *help;
} categories[TRACE_COUNT] = {
#define X(id, name, help) { name, help },
	TRACE_CATEGORIES(X)
#undef X
};

u64 trace_enabled;

static struct {
	pthread_mutex_t lock;
	u64 count; /* lines ever written; the newest is at (count - 1) modulo RING_LINES */
	char lines[RING_LINES][RING_WIDTH];
} ring = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Bit mask of one name, 0 if there is no such category. */
static u64 category_mask(const char *name, size_t len)
{
	if (len == 3 && !memcmp(name, "all", 3))
		return (1ull << TRACE_COUNT) - 1;
	for (unsigned i = 0; i < TRACE_COUNT; i++)
		if (strlen(categories[i].name) == len && !memcmp(categories[i].name, name, len))
			return 1ull << i;
	return 0;
}

const char *trace_enable(const char *list)
{
	u64 mask = 0;

	while (*list) {
		size_t len = strcspn(list, ",");
		u64 bit = category_mask(list, len);

		if (!bit)
			return list;
		mask |= bit;
		list += len;
		if (*list == ',' && !*++list)
			return list;
	}
	trace_enabled |= mask;
	return NULL;
}

void trace_help(void)
{
	for (unsigned i = 0; i < TRACE_COUNT; i++)
		printf("  %-8s %s\n", categories[i].name, categories[i].help);
	printf("  %-8s %s\n", "all", "every category");
}

/* A terminal in raw mode needs the carriage return; in any other it does no harm. */
static const char *line_end(void) { return isatty(STDERR_FILENO) ? "\r\n" : "\n"; }

void trace_print(enum trace_category cat, const char *fmt, ...)
{
	char *line, text[RING_WIDTH];
	int n = snprintf(text, sizeof(text), "%s: ", categories[cat].name);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&ring.lock);
	line = ring.lines[ring.count++ % RING_LINES];
	memcpy(line, text, sizeof(text));
	fprintf(stderr, "%s%s", line, line_end());
	pthread_mutex_unlock(&ring.lock);
}

void trace_ring_dump(void)
{
	u64 first;

	pthread_mutex_lock(&ring.lock);
	first = ring.count > RING_LINES ? ring.count - RING_LINES : 0;
	if (ring.count)
		fprintf(stderr, "last %u trace lines:%s", (unsigned)(ring.count - first),
			line_end());
	for (u64 i = first; i < ring.count; i++)
		fprintf(stderr, "  %s%s", ring.lines[i % RING_LINES], line_end());
	pthread_mutex_unlock(&ring.lock);
}
