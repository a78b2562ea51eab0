/* The firmware's ROM: a flat image whose end lies at 4 GiB, with its top 128 KiB once more below 1 MiB; and OVMF's variable store right
 * below it. */
#ifndef MACHINE_ROM_H
#define MACHINE_ROM_H

#include "base/types.h"

struct machine;

#define ROM_MIN (64 * KIB)
#define ROM_MAX (16 * MIB)

/* Loads what the configuration names, if anything. On failure one line in err. */
int rom_init(struct machine *m, char *err, size_t errlen) must_check;
/* Reads a whole file of at most max bytes; *data is the caller's to free. On failure NULL, and one line in err that starts with `what`. */
int rom_file_read(const char *what, const char *path, size_t max, u8 **data, size_t *size,
		  char *err, size_t errlen) must_check;

#endif
