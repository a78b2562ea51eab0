#include "control/unix_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool set_address(struct sockaddr_un *a, const char *path)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(a->sun_path))
		return false;
	memcpy(a->sun_path, path, strlen(path) + 1);
	return true;
}

int unix_connect(const char *path)
{
	struct sockaddr_un a;
	int fd;

	if (!set_address(&a, path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		int code = -errno;

		close(fd);
		return code;
	}
	return fd;
}

/* Removes a socket that nobody listens on; nothing else. */
static void remove_dead(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) || !S_ISSOCK(st.st_mode))
		return;
	fd = unix_connect(path);
	if (fd >= 0)
		close(fd);
	else if (fd == -ECONNREFUSED)
		unlink(path);
}

int unix_listen(const char *path, char *err, size_t errlen)
{
	struct sockaddr_un a;
	int fd, code;

	if (!set_address(&a, path)) {
		snprintf(err, errlen, "%s: longer than the %zu bytes that a socket's path may have",
			 path, sizeof(a.sun_path) - 1);
		return -1;
	}
	remove_dead(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode of the descriptor becomes that of the file, less the umask: there is no moment in which others may connect. */
	if (fd >= 0 && !fchmod(fd, 0600) && !bind(fd, (struct sockaddr *)&a, sizeof(a)) &&
	    !listen(fd, 64))
		return fd;
	code = errno;
	if (fd >= 0)
		close(fd);
	snprintf(err, errlen, "%s: no socket can be made there: %s%s", path, strerror(code),
		 code == EADDRINUSE ? "; remove it, or name another one" : "");
	return -1;
}
