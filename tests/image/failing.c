/*
 * Preloaded into Pogo by tests/image/faults-guest: calls on one file fail, as a disk that is full or broken makes them. io_uring is refused, so
 * that every call comes by here.
 *   FAIL_FILE   end of the file's path
 *   FAIL_CALLS  letters: r read, w write, f flush, s set size, p punch
 *   FAIL_AT     the number of the first of these that fails, from 1
 *   FAIL_COUNT  how many fail (default 1)
 *   FAIL_ERRNO  with this
 *   FAIL_SHORT  the one before moves about half of what it was to
 *   FAIL_LOG    a file that says so when it happens
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64 /* as Pogo is built: the names end in 64 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

static long number(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text ? atol(text) : otherwise;
}

static bool is_ours(int fd)
{
	const char *name = getenv("FAIL_FILE");
	char link[64], path[4096];
	ssize_t n;
	size_t size;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	size = name ? strlen(name) : 0;
	return size && n >= (ssize_t)size && !memcmp(path + n - size, name, size);
}

static void note(char call, long n)
{
	const char *name = getenv("FAIL_LOG");
	FILE *f = name ? fopen(name, "a") : NULL;

	if (f) {
		fprintf(f, "%c %ld\n", call, n);
		fclose(f);
	}
}

/* True if this call is to fail; *half if it is to move half, and the next one fails. */
static bool fails(int fd, char call, bool *half)
{
	const char *which = getenv("FAIL_CALLS");
	long n, first = number("FAIL_AT", 0), count = number("FAIL_COUNT", 1);
	bool shortly = half && number("FAIL_SHORT", 0), bad;

	if (!which || !strchr(which, call) || !is_ours(fd))
		return false;
	pthread_mutex_lock(&lock);
	n = ++calls;
	pthread_mutex_unlock(&lock);
	bad = n >= first + shortly && n < first + shortly + count;
	if (shortly && n == first)
		*half = true;
	if (bad) {
		note(call, n);
		errno = (int)number("FAIL_ERRNO", EIO);
	}
	return bad;
}

/* A sector is not torn. */
static size_t cut(size_t size) { return size >= 1024 ? size / 1024 * 512 : size; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread(int fd, void *buf, size_t size, off_t at)
{
	bool half = false;

	return fails(fd, 'r', &half) ? -1 : REAL(pread)(fd, buf, half ? cut(size) : size, at);
}

ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
	bool half = false;

	return fails(fd, 'r', &half) ? -1 : REAL(preadv2)(fd, iov, count, at, flags);
}

ssize_t pwrite(int fd, const void *buf, size_t size, off_t at)
{
	bool half = false;

	return fails(fd, 'w', &half) ? -1 : REAL(pwrite)(fd, buf, half ? cut(size) : size, at);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t at, int flags)
{
	return fails(fd, 'w', NULL) ? -1 : REAL(pwritev2)(fd, iov, count, at, flags);
}

int fdatasync(int fd) { return fails(fd, 'f', NULL) ? -1 : REAL(fdatasync)(fd); }

int ftruncate(int fd, off_t size) { return fails(fd, 's', NULL) ? -1 : REAL(ftruncate)(fd, size); }

int fallocate(int fd, int mode, off_t at, off_t size)
{
	return fails(fd, 'p', NULL) ? -1 : REAL(fallocate)(fd, mode, at, size);
}

int io_uring_queue_init(unsigned entries, void *ring, unsigned flags)
{
	(void)entries;
	(void)ring;
	(void)flags;
	return -ENOSYS;
}
