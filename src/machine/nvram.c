#include "machine/nvram.h"

#include "base/fail.h"
#include "dev/flash.h"
#include "machine/rom.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Writes all of a new file to stable storage. */
static int write_new(const char *path, const u8 *data, size_t size, char *err, size_t errlen)
{
	struct block_file *f;
	int r = block_file_create(&f, path, err, errlen);

	if (r)
		return r;
	r = block_file_write(f, data, size, 0);
	if (!r)
		r = block_file_flush(f);
	block_file_close(f);
	if (!r)
		return 0;
	unlink(path);
	FAIL(-r, "firmware variables '%s' cannot be written: %s", path, fail_text(-r));
}

/* Gives a complete file its name. If somebody else was first, theirs stays, except where the file system has no links. */
static int name_file(const char *new, const char *path)
{
	if (!link(new, path) || errno == EEXIST)
		return 0;
	if (errno != EPERM && errno != EOPNOTSUPP)
		return -errno;
	return rename(new, path) ? -errno : 0;
}

static int create(const char *path, const u8 *data, size_t size, char *err, size_t errlen)
{
	char *new;
	int r;

	if (asprintf(&new, "%s.%ld.new", path, (long)getpid()) < 0)
		FAIL(ENOMEM, "firmware variables '%s': out of memory", path);
	r = write_new(new, data, size, err, errlen);
	if (!r) {
		r = name_file(new, path);
		unlink(new);
		if (r)
			snprintf(err, errlen, "firmware variables '%s' cannot be created: %s", path,
				 fail_text(-r));
	}
	free(new);
	return r;
}

static int check_size(struct block_file **f, const char *template_path, size_t size, char *err,
		      size_t errlen)
{
	u64 found = (*f)->size;
	char name[512];

	if (found == size && size && size % FLASH_BLOCK == 0)
		return 0;
	snprintf(name, sizeof(name), "%s", (*f)->path);
	block_file_close(*f);
	*f = NULL;
	FAIL(EINVAL,
	     "firmware variables '%s' have %llu bytes, '%s' has %zu; move the file away to start without variables",
	     name, (unsigned long long)found, template_path, size);
}

int nvram_open(struct block_file **f, const char *path, const char *template_path, bool scratch,
	       char *err, size_t errlen)
{
	u8 *data;
	size_t size;
	int r = rom_file_read("firmware variables", template_path, FLASH_SIZE_MAX, &data, &size,
			      err, errlen);

	if (r)
		return r;
	if (path && !scratch && access(path, F_OK) && errno == ENOENT)
		r = create(path, data, size, err, errlen);
	free(data);
	if (r)
		return r;
	if (!path || (scratch && access(path, F_OK) && errno == ENOENT))
		r = block_file_open(f, template_path, true, err, errlen);
	else
		r = block_file_open(f, path, scratch, err, errlen);
	return r ? r : check_size(f, template_path, size, err, errlen);
}
