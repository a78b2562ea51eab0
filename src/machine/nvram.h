/* The file of a machine's firmware variables, which starts as a copy of the template that comes with the firmware. */
#ifndef MACHINE_NVRAM_H
#define MACHINE_NVRAM_H

#include "block/file.h"

/* Opens and locks the file for writing. If it does not exist it is made, all of it or nothing. path NULL, or scratch: nothing is written;
 * the file, or the template if there is no such file, is opened for reading. The size is the template's. On failure a negative
 * errno, and one line in err. */
int nvram_open(struct block_file **f, const char *path, const char *template_path, bool scratch,
	       char *err, size_t errlen) must_check;

#endif
