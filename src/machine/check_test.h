/* What the tests of lockstep share: a multiboot kernel of a few instructions, and a machine that runs it beside another engine. */
#ifndef MACHINE_CHECK_TEST_H
#define MACHINE_CHECK_TEST_H

#include "base/test.h"
#include "machine/check_internal.h"
#include "machine/machine_test.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK_LOAD 0x100000u

struct check_kernel {
	char path[32];
};

/* A file with this code, which runs at CHECK_LOAD + 32. False: there is none. */
static inline bool check_kernel_make(struct check_kernel *k, const u8 *code, size_t size)
{
	const u32 header[8] = { 0x1badb002, 0x10000,        -(0x1badb002u + 0x10000),
				CHECK_LOAD, CHECK_LOAD,     0,
				0,          CHECK_LOAD + 32 };

	snprintf(k->path, sizeof(k->path), "/tmp/pogo-check-XXXXXX");
	int fd = mkstemp(k->path);

	return fd >= 0 && write(fd, header, sizeof(header)) == sizeof(header) &&
	       write(fd, code, size) == (ssize_t)size && !close(fd);
}

static inline void check_discard(void *opaque, const u8 *buf, size_t n) {}

/* Not run yet; interp follows. */
static inline struct machine *check_machine(const struct check_kernel *k, const char *engine,
					    u32 step, u32 page)
{
	const struct machine_console console = { .write = check_discard };
	struct machine_config cfg = test_config(engine);
	struct machine *m;
	char err[256];

	cfg.kernel = k->path;
	cfg.memory = 16 * MIB;
	cfg.check = "interp";
	cfg.check_step = step;
	cfg.check_page = page;
	if (machine_new(&m, &cfg, &console, err, sizeof(err)))
		fail_msg("%s", err);
	return m;
}

/* The machine has ended by itself, with the code that AL = 3 stands for. */
static inline void check_ended_well(const struct machine *m)
{
	assert_int_equal(m->end, END_DEBUG_EXIT);
	assert_int_equal(m->exit_code, 7);
}

/* The machine has ended with a difference, and the report of it has all of these. */
static inline void check_reported(struct machine *m, unsigned differs, const char *const *expected,
				  unsigned count)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	assert_int_equal(m->end, END_DIFFERENT);
	check_report(m->check, differs, f);
	fclose(f);
	for (unsigned n = 0; n < count; n++)
		if (!strstr(text, expected[n]))
			fail_msg("no '%s' in:\n%s", expected[n], text);
	free(text);
}

#endif
