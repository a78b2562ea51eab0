#include "control/places.h"

#include "base/fail.h"
#include "control/suggest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MACHINES_MAX 1024u

/* --- Directories ----------------------------------------------------------------------------- */

static bool format_path(char path[PATH_MAX], char *err, size_t errlen, const char *a, const char *b,
			const char *c)
{
	if (snprintf(path, PATH_MAX, "%s%s%s", a, b, c) < PATH_MAX)
		return true;
	snprintf(err, errlen, "%.60s...: the path is too long", a);
	return false;
}

/* Makes each directory of the path that is not there. */
static bool make_dirs(const char *path, char *err, size_t errlen)
{
	char part[PATH_MAX];

	for (size_t n = 1; path[n - 1]; n++) {
		if (path[n] && path[n] != '/')
			continue;
		memcpy(part, path, n);
		part[n] = 0;
		if (mkdir(part, 0700) && errno != EEXIST) {
			snprintf(err, errlen, "%s: cannot be made: %s", part, fail_text(errno));
			return false;
		}
	}
	return true;
}

static bool make_base(const char *path, const char *variable, char *err, size_t errlen)
{
	size_t len;

	if (make_dirs(path, err, errlen))
		return true;
	len = strlen(err);
	snprintf(err + len, errlen - len, "; set %s or HOME to a directory of yours", variable);
	return false;
}

/* $VARIABLE/pogo, or $HOME/fallback/pogo. The specification has relative paths ignored. */
static bool base_dir(const char *variable, const char *fallback, const char *rest,
		     char path[PATH_MAX], char *err, size_t errlen)
{
	const char *base = getenv(variable), *home = getenv("HOME");
	char below[128];

	if (base && *base == '/')
		return format_path(path, err, errlen, base, "/pogo", rest) &&
		       make_base(path, variable, err, errlen);
	if (!home || *home != '/') {
		snprintf(err, errlen, "neither %s nor HOME names a directory; set one of them",
			 variable);
		return false;
	}
	snprintf(below, sizeof(below), "/%s/pogo", fallback);
	return format_path(path, err, errlen, home, below, rest) &&
	       make_base(path, variable, err, errlen);
}

bool place_machines(char path[PATH_MAX], char *err, size_t errlen)
{
	return base_dir("XDG_DATA_HOME", ".local/share", "/machines", path, err, errlen);
}

/* In /tmp anybody may have made the directory before us. */
static bool check_own(const char *path, char *err, size_t errlen)
{
	struct stat st;

	if (lstat(path, &st)) {
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
		return false;
	}
	if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 077))
		return true;
	snprintf(
		err, errlen,
		"%s is not a directory of yours alone (chmod 700); set XDG_RUNTIME_DIR, or remove it",
		path);
	return false;
}

bool place_runtime(char path[PATH_MAX], char *err, size_t errlen)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	char own[32];

	if (base && *base == '/') {
		if (!format_path(path, err, errlen, base, "/pogo", ""))
			return false;
	} else {
		snprintf(own, sizeof(own), "%u", (unsigned)geteuid());
		if (!format_path(path, err, errlen, "/tmp/pogo-", own, ""))
			return false;
	}
	return make_dirs(path, err, errlen) && check_own(path, err, errlen);
}

bool place_log(const char *name, char path[PATH_MAX], char *err, size_t errlen)
{
	char dir[PATH_MAX], file[SPEC_NAME_MAX + 8];

	snprintf(file, sizeof(file), "/%s.log", name);
	return base_dir("XDG_STATE_HOME", ".local/state", "", dir, err, errlen) &&
	       format_path(path, err, errlen, dir, file, "");
}

bool place_file(const char *name, const char *file, char path[PATH_MAX], char *err, size_t errlen)
{
	char dir[PATH_MAX], rest[SPEC_NAME_MAX + 64];

	snprintf(rest, sizeof(rest), "/%s/%s", name, file);
	return place_runtime(dir, err, errlen) && format_path(path, err, errlen, dir, rest, "");
}

/* --- The registry ---------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct registry_entry *)a)->name,
		      ((const struct registry_entry *)b)->name);
}

/* Where a name's link points to, for free(). */
static char *registry_target(const char *dir, const char *name)
{
	char link[PATH_MAX + SPEC_NAME_MAX + 2], target[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "%s/%.48s", dir, name);
	n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return NULL;
	target[n] = 0;
	return strdup(target);
}

unsigned registry_list(struct registry_entry *entries, unsigned max)
{
	char dir[PATH_MAX], err[256];
	DIR *d = place_machines(dir, err, sizeof(err)) ? opendir(dir) : NULL;
	struct dirent *e;
	unsigned n = 0;

	while (d && n < max && (e = readdir(d))) {
		if (!spec_name_good(e->d_name))
			continue;
		entries[n].path = registry_target(dir, e->d_name);
		if (!entries[n].path)
			continue;
		snprintf(entries[n].name, sizeof(entries[n].name), "%.48s", e->d_name);
		n++;
	}
	if (d)
		closedir(d);
	qsort(entries, n, sizeof(entries[0]), by_name);
	return n;
}

void registry_free(struct registry_entry *entries, unsigned count)
{
	for (unsigned n = 0; n < count; n++)
		free(entries[n].path);
}

static void unknown_name(const char *arg, char *err, size_t errlen)
{
	struct registry_entry *entries = calloc(MACHINES_MAX, sizeof(*entries));
	const char *names[MACHINES_MAX], *nearest;
	char file[PATH_MAX];
	unsigned count = entries ? registry_list(entries, MACHINES_MAX) : 0;

	for (unsigned n = 0; n < count; n++)
		names[n] = entries[n].name;
	nearest = suggest_nearest(arg, names, count);
	snprintf(file, sizeof(file), "%.200s.xml", arg);
	if (!access(file, R_OK))
		snprintf(err, errlen,
			 "no machine '%.60s' was created; %.60s.xml lies here: name the file", arg,
			 arg);
	else if (nearest)
		snprintf(err, errlen, "no machine '%.60s'; did you mean '%s'?", arg, nearest);
	else
		snprintf(err, errlen,
			 "no machine '%.60s'; `pogo ls` lists them, `pogo create` makes one", arg);
	registry_free(entries, count);
	free(entries);
}

bool registry_find(const char *arg, char path[PATH_MAX], char *err, size_t errlen)
{
	size_t len = strlen(arg);
	char dir[PATH_MAX];

	if (strchr(arg, '/') || (len > 4 && !strcmp(arg + len - 4, ".xml")))
		return format_path(path, err, errlen, arg, "", "");
	if (!spec_name_good(arg)) {
		snprintf(
			err, errlen,
			"'%.60s' is neither a machine's name nor a file (which has a '/' or ends with .xml)",
			arg);
		return false;
	}
	if (!place_machines(dir, err, errlen))
		return false;
	char *target = registry_target(dir, arg);

	if (!target) {
		unknown_name(arg, err, errlen);
		return false;
	}
	bool good = format_path(path, err, errlen, target, "", "");

	free(target);
	return good;
}

bool registry_add(const char *name, const char *path, char *err, size_t errlen)
{
	char dir[PATH_MAX], link[PATH_MAX + SPEC_NAME_MAX + 2], whole[PATH_MAX];

	if (!place_machines(dir, err, errlen))
		return false;
	snprintf(link, sizeof(link), "%s/%s", dir, name);
	if (!realpath(path, whole)) {
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
		return false;
	}
	if (access(link, F_OK) && errno == ENOENT)
		unlink(link); /* it may point to what is gone */
	if (!symlink(whole, link))
		return true;
	if (errno == EEXIST)
		snprintf(err, errlen,
			 "there is a machine '%s' already; choose another name, or `pogo rm %s`",
			 name, name);
	else
		snprintf(err, errlen, "%s: %s", link, fail_text(errno));
	return false;
}

void registry_remove(const char *name)
{
	char dir[PATH_MAX], link[PATH_MAX + SPEC_NAME_MAX + 2], err[256];

	if (!place_machines(dir, err, sizeof(err)))
		return;
	snprintf(link, sizeof(link), "%s/%s", dir, name);
	unlink(link);
}

/* --- Who runs a machine ---------------------------------------------------------------------- */

static const struct flock whole_file = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

static bool lock_path(const char *name, char path[PATH_MAX], char *err, size_t errlen)
{
	char dir[PATH_MAX], rest[SPEC_NAME_MAX + 8];

	snprintf(rest, sizeof(rest), "/.%s", name); /* no name starts with a dot */
	return place_runtime(dir, err, errlen) && format_path(path, err, errlen, dir, rest, "");
}

/* Removes the sockets in a runtime directory, and it. Whoever calls holds the claim. */
static void clean(const char *name)
{
	char path[PATH_MAX], err[256];
	struct dirent *e;
	DIR *d;

	if (!place_file(name, "", path, err, sizeof(err)) || !(d = opendir(path)))
		return;
	while ((e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(path);
}

/* The lock of an open file description, which a child has too. False if somebody else has it. */
static bool lock_now(int fd, const char *path)
{
	struct flock lock = whole_file;
	struct stat mine, there;

	/* It may have been removed between open and lock: then another one is made there. */
	return !fcntl(fd, F_OFD_SETLK, &lock) && !fstat(fd, &mine) && !stat(path, &there) &&
	       mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

int claim_take(const char *name, char *err, size_t errlen)
{
	char path[PATH_MAX], dir[PATH_MAX], who[32] = "";
	pid_t holder;
	int fd;

	if (!lock_path(name, path, err, errlen) || !place_file(name, "", dir, err, errlen))
		return -1;
	for (unsigned tries = 0; tries < 8; tries++) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0) {
			snprintf(err, errlen, "%s: %s", path, fail_text(errno));
			return -1;
		}
		if (lock_now(fd, path)) {
			clean(name);
			claim_sign(fd);
			if (make_dirs(dir, err, errlen))
				return fd;
			close(fd);
			return -1;
		}
		close(fd);
	}
	holder = claim_holder(name);
	if (holder > 1)
		snprintf(who, sizeof(who), " (process %d)", (int)holder);
	snprintf(err, errlen, "%s runs already%s; `pogo stop %s` ends it", name, who, name);
	return -1;
}

void claim_sign(int claim)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (!ftruncate(claim, 0))
		(void)!pwrite(claim, text, (size_t)n, 0);
}

void claim_drop(const char *name, int claim)
{
	char path[PATH_MAX], err[256];

	clean(name);
	if (lock_path(name, path, err, sizeof(err)))
		unlink(path);
	close(claim);
}

pid_t claim_holder(const char *name)
{
	struct flock lock = whole_file;
	char path[PATH_MAX], err[256], text[16] = "";
	pid_t pid = 0;
	int fd;

	if (!lock_path(name, path, err, sizeof(err)) ||
	    (fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0)
		return 0;
	if (!fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK) {
		(void)!pread(fd, text, sizeof(text) - 1, 0);
		pid = (pid_t)strtol(text, NULL, 10);
		pid = pid > 0 ? pid : 1; /* held, but not signed yet */
	}
	close(fd);
	return pid;
}

/* What a dead process left: its claim is free. */
static void bury(const char *name)
{
	char path[PATH_MAX], err[256];
	int fd;

	if (!lock_path(name, path, err, sizeof(err)) ||
	    (fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0)
		return;
	if (lock_now(fd, path))
		claim_drop(name, fd);
	else
		close(fd);
}

unsigned claim_list(char (*names)[SPEC_NAME_MAX + 1], unsigned max)
{
	char dir[PATH_MAX], err[256];
	DIR *d = place_runtime(dir, err, sizeof(err)) ? opendir(dir) : NULL;
	struct dirent *e;
	unsigned n = 0;

	while (d && n < max && (e = readdir(d))) {
		if (e->d_name[0] != '.' || !spec_name_good(e->d_name + 1))
			continue;
		if (claim_holder(e->d_name + 1))
			snprintf(names[n++], SPEC_NAME_MAX + 1, "%.48s", e->d_name + 1);
		else
			bury(e->d_name + 1);
	}
	if (d)
		closedir(d);
	return n;
}
