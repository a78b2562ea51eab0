/* --perf-map: names for what lies in the executable memory, in the form that `perf report` reads: /tmp/perf-PID.map, a line of
 * address, size and name for each stub and unit. Addresses of emptied segments come again with other names; the last one counts. */
#include "engine/bt/bt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int bt_perf_open(struct bt *bt)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	/* A file that is there was left by a process that had this number. /tmp is everybody's: never through a link. */
	if (unlink(path) && errno != ENOENT)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	bt->perf = fdopen(fd, "w");
	if (!bt->perf) {
		close(fd);
		return -ENOMEM;
	}
	return 0;
}

void bt_perf_close(struct bt *bt)
{
	if (bt->perf)
		fclose(bt->perf);
	bt->perf = NULL;
}

static void line(struct bt *bt, uintptr_t at, uintptr_t end, const char *name)
{
	fprintf(bt->perf, "%llx %llx %s\n", (unsigned long long)at, (unsigned long long)(end - at),
		name);
}

void bt_perf_stubs(struct bt *bt)
{
	line(bt, bt->stub.enter, bt->stub.insn, "bt enter, leave");
	line(bt, bt->stub.insn, bt->stub.exit, "bt insn");
	line(bt, bt->stub.exit, bt->stub.entry, "bt exit");
	line(bt, bt->stub.entry, bt->stub.fp, "bt entry");
	line(bt, bt->stub.fp, bt->stub.miss, "bt fp");
	line(bt, bt->stub.miss, bt->stub.fault, "bt miss");
	line(bt, bt->stub.fault, bt->stub.end, "bt fault");
}

void bt_perf_unit(struct bt *bt, const struct unit *u, u64 rip)
{
	uintptr_t at = (uintptr_t)(u->code + bt->exec);
	char name[32];

	snprintf(name, sizeof(name), "tu %u %llx", key_bits(u->key), (unsigned long long)rip);
	line(bt, at, at + u->total, name);
}
