/* The first process of the guest of bench/disk: loads the modules that /modules/order names, then reads and writes the disk that
 * "pogo.disk=PATH" on the kernel's command line names, past the guest's own cache, and says what it begins and how long it took:
 *
 *     @@begin ITEM
 *     @@end ITEM OPERATIONS BYTES NANOSECONDS
 *
 * Static; glibc alone. */
#define _GNU_SOURCE /* O_DIRECT */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPAN       (256u << 20) /* of the disk's start that is used */
#define SMALL      4096u
#define LARGE      (1u << 20)
#define SMALL_OPS  10000u
#define LARGE_OPS  768u
#define PATIENCE_S 30

/* Off, with what went wrong as the last words. */
static _Noreturn void end(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void load_modules(void)
{
	FILE *order = fopen("/modules/order", "r");
	char name[128], path[160];

	if (!order)
		end("@@fail no /modules/order\n");
	while (fscanf(order, "%127s", name) == 1) {
		snprintf(path, sizeof(path), "/modules/%s", name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			end("@@fail module %s: %s\n", name, strerror(errno));
		close(fd);
	}
	fclose(order);
}

/* The value of a word NAME=VALUE of the kernel's command line. */
static const char *word(const char *name)
{
	static char line[4096];
	FILE *f = fopen("/proc/cmdline", "r");
	size_t n = f ? fread(line, 1, sizeof(line) - 1, f) : 0;
	size_t length = strlen(name);

	line[n] = 0;
	if (f)
		fclose(f);
	for (char *w = strtok(line, " \n"); w; w = strtok(NULL, " \n"))
		if (!strncmp(w, name, length) && w[length] == '=')
			return w + length + 1;
	end("@@fail no %s= on the command line\n", name);
}

/* Disks are found a while after their driver is loaded. */
static int open_disk(const char *path)
{
	for (unsigned n = 0; n < PATIENCE_S * 20; n++) {
		int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

		if (fd >= 0)
			return fd;
		usleep(50000);
	}
	end("@@fail %s: %s\n", path, strerror(errno));
}

struct item {
	const char *name;
	int write, random;
	unsigned size, operations;
};

static void run(int fd, uint8_t *buf, const struct item *item)
{
	uint32_t random = 12345;
	unsigned blocks = SPAN / item->size;

	printf("@@begin %s\n", item->name);
	uint64_t start = now_ns();

	for (unsigned n = 0; n < item->operations; n++) {
		random = random * 1664525u + 1013904223u;
		off_t at = (off_t)((item->random ? random >> 8 : n) % blocks) * item->size;
		ssize_t done = item->write ? pwrite(fd, buf, item->size, at)
					   : pread(fd, buf, item->size, at);

		if (done != (ssize_t)item->size)
			end("@@fail %s: %s\n", item->name, done < 0 ? strerror(errno) : "short");
	}
	printf("@@end %s %u %llu %llu\n", item->name, item->operations,
	       (unsigned long long)item->operations * item->size,
	       (unsigned long long)(now_ns() - start));
}

int main(void)
{
	static const struct item items[] = {
		{ "read-4k", 0, 1, SMALL, SMALL_OPS },
		{ "write-4k", 1, 1, SMALL, SMALL_OPS },
		{ "read-1m", 0, 0, LARGE, LARGE_OPS },
		{ "write-1m", 1, 0, LARGE, LARGE_OPS },
	};
	void *buf;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/proc", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mkdir("/dev", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	load_modules();
	if (posix_memalign(&buf, LARGE, LARGE))
		end("@@fail no memory\n");
	memset(buf, 0x5a, LARGE);

	int fd = open_disk(word("pogo.disk"));

	for (unsigned round = 0; round < 2; round++)
		for (unsigned n = 0; n < sizeof(items) / sizeof(items[0]); n++)
			run(fd, buf, &items[n]);
	end("@@done\n");
}
