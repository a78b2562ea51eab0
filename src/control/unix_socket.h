/* Stream sockets in the file system. */
#ifndef CONTROL_UNIX_SOCKET_H
#define CONTROL_UNIX_SOCKET_H

#include "base/types.h"

/* A listening socket that its owner alone may use (0600); one that nobody listens on any more is replaced. -1 with a line in err. */
int unix_listen(const char *path, char *err, size_t errlen) must_check;
/* A connection, blocking. A negative errno. */
int unix_connect(const char *path) must_check;

#endif
