/* Who may use an image. The kernel's lock on the open file is the truth among the processes of one host (and among hosts, where the file
 * system carries it); it goes with its holder, however that ends. The record beside the image speaks to other hosts, and names the holder. */
#include "block/lock.h"

#include "base/fail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

struct block_lock {
	char path[PATH_MAX]; /* of the record; "" if there is none */
	int record;          /* open, so that no other file gets its inode; or -1 */
};

/* --- The holder, as this host knows it ---------------------------------------------------------- */

/* The start of a file as text that may be printed: zeros (between arguments) and control characters become spaces. False: none. */
static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	while (n > 0 && (!text[n - 1] || text[n - 1] == '\n'))
		text[--n] = 0;
	for (ssize_t i = 0; i < n; i++)
		if ((u8)text[i] < 0x20 && text[i] != '\n')
			text[i] = ' ';
	return n > 0;
}

/* True if the process has the file open with a lock of this kind. */
static bool holds(const char *pid, const struct stat *image)
{
	char path[PATH_MAX], info[2048];
	struct dirent *e;
	struct stat st;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return false; /* another user's */
	while (!found && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, e->d_name);
		if (stat(path, &st) || st.st_dev != image->st_dev || st.st_ino != image->st_ino)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, e->d_name);
		found = read_text(path, info, sizeof(info)) && strstr(info, "OFDLCK");
	}
	closedir(dir);
	return found;
}

/* "pid 123 (pogo run ...)", or what is known. */
static void describe_pid(const char *pid, char *text, size_t size)
{
	char path[64], command[80] = "";

	snprintf(path, sizeof(path), "/proc/%.16s/cmdline", pid);
	if (strtol(pid, NULL, 10) == getpid())
		snprintf(text, size, "this same process");
	else if (read_text(path, command, sizeof(command)))
		snprintf(text, size, "process %.16s (%s)", pid, command);
	else
		snprintf(text, size, "process %.16s", pid);
}

/* False: it is not to be found, and text says no more than that it is another process. */
static bool find_holder(int fd, char *text, size_t size)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	struct stat st;
	bool found = false;

	snprintf(text, size, "another process");
	while (!found && proc && fstat(fd, &st) == 0 && (e = readdir(proc))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !holds(e->d_name, &st))
			continue;
		/* Our own descriptor has no lock yet; another one of this process may. */
		describe_pid(e->d_name, text, size);
		found = true;
	}
	if (proc)
		closedir(proc);
	return found;
}

/* --- The record --------------------------------------------------------------------------------- */

struct record {
	char host[72], machine[40], boot[40], pid[16], command[80];
};

static void record_ours(struct record *r)
{
	*r = (struct record){ 0 };
	if (gethostname(r->host, sizeof(r->host) - 1) || !r->host[0])
		strcpy(r->host, "?");
	if (!read_text("/etc/machine-id", r->machine, sizeof(r->machine)))
		strcpy(r->machine, "?");
	if (!read_text("/proc/sys/kernel/random/boot_id", r->boot, sizeof(r->boot)))
		strcpy(r->boot, "?");
	snprintf(r->pid, sizeof(r->pid), "%d", (int)getpid());
	if (!read_text("/proc/self/cmdline", r->command, sizeof(r->command)))
		strcpy(r->command, "?");
	for (char *c = r->command; *c; c++)
		*c = *c == '\n' ? ' ' : *c;
}

#define RECORD_LINES "host %71s machine %39s boot %39s pid %15[0-9] command %79[^\n]"

/* False: there is none. One that cannot be understood is another host's. */
static bool record_read(struct record *r, const char *path)
{
	char text[512];
	struct stat st;

	*r = (struct record){ .host = "?", .machine = "?", .boot = "?", .pid = "?", .command = "?" };
	if (lstat(path, &st))
		return false;
	if (S_ISREG(st.st_mode) && read_text(path, text, sizeof(text)))
		(void)sscanf(text, RECORD_LINES, r->host, r->machine, r->boot, r->pid, r->command);
	return true;
}

/* Whether a record was left behind on this host. Whoever asks has the kernel's lock: no process of this boot can be using the image. */
static bool record_is_stale(const struct record *r, const struct record *ours)
{
	if (!strcmp(r->boot, ours->boot) && strcmp(r->boot, "?") != 0)
		return true;
	return !strcmp(r->machine, ours->machine) && !strcmp(r->host, ours->host) &&
	       strcmp(r->machine, "?") != 0;
}

/* Some file systems have no links, others no rename that spares what is there. */
static int put_in_place(const char *temp, const char *path, bool replace)
{
	if (replace)
		return rename(temp, path);
	if (link(temp, path) == 0)
		return 0;
	return errno == EEXIST ? -1 : renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE);
}

/* Writes the record to a name of its own first: it appears in its place as a whole. */
static int record_write(struct block_lock *lock, const struct record *ours, bool replace)
{
	char temp[PATH_MAX + 32];
	int r = 0;

	snprintf(temp, sizeof(temp), "%s.%s", lock->path, ours->pid);
	unlink(temp); /* of a dead process that had our number */
	lock->record = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (lock->record < 0)
		return -errno;
	if (dprintf(lock->record, "host %s\nmachine %s\nboot %s\npid %s\ncommand %s\n", ours->host,
		    ours->machine, ours->boot, ours->pid, ours->command) < 0 ||
	    put_in_place(temp, lock->path, replace))
		r = -errno;
	unlink(temp); /* it has gone with the rename, or has two names */
	if (r) {
		close(lock->record);
		lock->record = -1;
	}
	return r;
}

static int other_host(const char *path, const char *lock, const struct record *r, char *err,
		      size_t errlen)
{
	if (!strcmp(r->pid, "?"))
		FAIL(EBUSY,
		     "disk '%s': nobody knows whose lock '%s' is; if no host uses the disk, remove it",
		     path, lock);
	FAIL(EBUSY,
	     "disk '%s' is in use on host %s by process %s (%s); if it is not any more, remove '%s'",
	     path, r->host, r->pid, r->command, lock);
}

/* The record in its place, for a writer; for a reader, none of another host. */
static int record_take(struct block_lock *lock, const char *path, bool readonly, char *err,
		       size_t errlen)
{
	struct record there, ours;
	int r = -EEXIST;

	record_ours(&ours);
	for (unsigned tries = 0; r == -EEXIST && tries < 10; tries++) {
		bool is_there = record_read(&there, lock->path);

		if (is_there && !record_is_stale(&there, &ours))
			return other_host(path, lock->path, &there, err, errlen);
		if (readonly)
			return 0;
		r = record_write(lock, &ours, is_there);
	}
	if (r == -EACCES || r == -EPERM || r == -EROFS)
		return 0; /* the kernel's lock must do */
	if (r)
		FAIL(-r, "disk '%s': its lock '%s' cannot be written: %s", path, lock->path,
		     strerror(-r));
	return 0;
}

/* --- Both --------------------------------------------------------------------------------------- */

/* Files that another host may see. */
static bool wants_record(int fd)
{
	struct statfs fs;
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fstatfs(fd, &fs) == 0 &&
	       fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC;
}

static int lock_by_kernel(int fd, const char *path, bool readonly, char *err, size_t errlen)
{
	struct flock lock = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	const struct timespec pause = { .tv_nsec = 10000000 };
	char holder[160] = "";

	/* A process that was killed may still be in the hands of the kernel: the lock goes when its last I/O has ended. */
	for (unsigned tries = 0; fcntl(fd, F_OFD_SETLK, &lock); tries++) {
		if (errno != EAGAIN && errno != EACCES)
			FAIL(errno, "disk '%s' cannot be locked: %s", path, strerror(errno));
		if (find_holder(fd, holder, sizeof(holder)) || tries == 100)
			break;
		nanosleep(&pause, NULL);
		holder[0] = 0;
	}
	if (!holder[0])
		return 0;
	FAIL(EBUSY, "disk '%s' is in use by %s%s; stop that first, or give this one a copy", path,
	     holder, readonly ? ", which writes to it" : "");
}

int block_lock_take(struct block_lock **out, int fd, const char *path, bool readonly, char *err,
		    size_t errlen)
{
	struct block_lock *lock;
	char real[PATH_MAX];
	int r = lock_by_kernel(fd, path, readonly, err, errlen);

	if (r)
		return r;
	lock = calloc(1, sizeof(*lock));
	if (!lock)
		FAIL(ENOMEM, "disk '%s': out of memory", path);
	lock->record = -1;
	if (wants_record(fd) && realpath(path, real) &&
	    snprintf(lock->path, sizeof(lock->path), "%s.lock", real) < (int)sizeof(lock->path))
		r = record_take(lock, path, readonly, err, errlen);
	if (r)
		free(lock);
	else
		*out = lock;
	return r;
}

void block_lock_release(struct block_lock *lock)
{
	struct stat ours, there;

	if (!lock)
		return;
	if (lock->record >= 0) {
		if (fstat(lock->record, &ours) == 0 && lstat(lock->path, &there) == 0 &&
		    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
			unlink(lock->path);
		close(lock->record);
	}
	free(lock);
}
