/* What the system's error numbers mean to a user. */
#include "base/fail.h"

#include <string.h>

const char *fail_text(int error)
{
	switch (error) {
	case ENOENT: return "No such file or directory; check the path";
	case ENOTDIR: return "Not a directory; check the path";
	case EACCES:
	case EPERM:
		return "Permission denied; see with ls -l who may do that, or choose another place";
	case ENOSPC:
		return "No space left on device; make room there (df -h), or choose another place";
	case EDQUOT: return "Disk quota exceeded; make room there, or choose another place";
	case EROFS: return "Read-only file system; choose another place";
	default: return strerror(error);
	}
}
