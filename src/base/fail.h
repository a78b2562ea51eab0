/* The end of a function that fails with an error number and one line for the user. It has
 * parameters `char *err, size_t errlen` for the line, see core/opt.h and block/file.h, and returns
 * -errno. */
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

#include <errno.h>
#include <stdio.h>

/* `error` is positive, and evaluated before the line is made: it may be errno. What is no error
 * number after all is not taken for success. */
#define FAIL(error, ...)                            \
	do {                                        \
		int error_ = (error);               \
		snprintf(err, errlen, __VA_ARGS__); \
		return error_ > 0 ? -error_ : -EIO; \
	} while (0)

/* What strerror() says of a positive error number, and what the user can do about it where that is known. */
const char *fail_text(int error);

#endif
