/* The firmware's ROM: a flat image whose end lies at 4 GiB, with its top 128 KiB once more below 1 MiB. */
#include "machine/rom.h"

#include "base/fail.h"
#include "machine/internal.h"
#include "machine/nvram.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ROM_LOW_SIZE (128 * KIB)

#define SEABIOS   "/usr/share/seabios/bios-256k.bin"
#define OVMF      "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define OVMF_VARS "/usr/share/OVMF/OVMF_VARS_4M.fd" /* variables as they are at first */

static int read_all(int fd, u8 *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, data + done, size - done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return n ? -errno : -EIO;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Debian's packages that hold what was not found. */
static const char *package_of(const char *path)
{
	if (!strncmp(path, "/usr/share/OVMF/", 16))
		return "ovmf";
	return !strncmp(path, "/usr/share/seabios/", 19) ? "seabios" : NULL;
}

int rom_file_read(const char *what, const char *path, size_t max, u8 **data, size_t *size,
		  char *err, size_t errlen)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r;
	struct stat st;
	u8 *bytes;

	*data = NULL;
	*size = 0;
	if (fd < 0 && errno == ENOENT && package_of(path))
		FAIL(ENOENT, "%s '%s' is not installed; run: apt-get install %s", what, path,
		     package_of(path));
	if (fd < 0)
		FAIL(errno, "%s '%s' cannot be opened: %s", what, path, fail_text(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size == 0 || (u64)st.st_size > max) {
		close(fd);
		FAIL(EINVAL, "%s '%s' is not a file of 1 byte to %zu KiB", what, path, max / 1024);
	}
	bytes = malloc((size_t)st.st_size);
	r = bytes ? read_all(fd, bytes, (size_t)st.st_size) : -ENOMEM;
	close(fd);
	if (!r) {
		*data = bytes;
		*size = (size_t)st.st_size;
		return 0;
	}
	free(bytes);
	FAIL(-r, "%s '%s' cannot be read: %s", what, path, fail_text(-r));
}

static int show(struct machine *m, gpa_t base, u64 size, u64 offset)
{
	return mem_show(&m->mem, &(struct mem_window){ .base = base,
						       .size = size,
						       .area = m->rom,
						       .offset = offset,
						       .access = MEM_ROM,
						       .level = MEM_LEVEL_RAM,
						       .owner = m });
}

static int load(struct machine *m, const char *path, char *err, size_t errlen)
{
	u8 *data;
	size_t size;
	u64 low;
	int r = rom_file_read("firmware", path, ROM_MAX, &data, &size, err, errlen);

	if (r)
		return r;
	if (size < ROM_MIN || size % MEM_PAGE) {
		free(data);
		FAIL(EINVAL,
		     "firmware '%s' has %zu bytes; a flat ROM image has 64 KiB to 16 MiB, in pages of 4 KiB",
		     path, size);
	}
	m->rom = mem_area_new(&m->mem, size, "firmware");
	if (m->rom)
		memcpy(m->rom->host, data, size);
	free(data);
	if (!m->rom)
		FAIL(ENOMEM, "firmware '%s': out of memory", path);
	low = MIN(size, ROM_LOW_SIZE);
	r = show(m, 4 * GIB - size, size, 0);
	if (!r)
		r = show(m, MIB - low, low, size - low);
	if (r)
		FAIL(-r, "firmware '%s' cannot be mapped: %s", path, strerror(-r));
	return 0;
}

/* Right below the code. */
static int nvram_init(struct machine *m, char *err, size_t errlen)
{
	int r = nvram_open(&m->nvram.file, m->cfg.nvram, OVMF_VARS, m->cfg.pace != PACE_FREE, err,
			   errlen);

	if (r)
		return r;
	m->nvram.base = 4 * GIB - m->rom->size - m->nvram.file->size;
	r = board_part(m, &m->nvram.dev, &flash_type, "nvram");
	if (r)
		block_file_close(m->nvram.file);
	return r;
}

int rom_init(struct machine *m, char *err, size_t errlen)
{
	const char *firmware = m->cfg.firmware;

	if (m->cfg.kernel || !firmware)
		return 0;
	if (!strcmp(firmware, "bios"))
		return load(m, SEABIOS, err, errlen);
	if (strcmp(firmware, "uefi"))
		return load(m, firmware, err, errlen);
	int r = load(m, OVMF, err, errlen);

	return r ? r : nvram_init(m, err, errlen);
}
