/* Files in memory under the fuzzed images, in the place of block_file_open's: sparse, with an end to what they can hold. */
#ifndef FUZZ_MEMORY_FILE_H
#define FUZZ_MEMORY_FILE_H

#include "block/file.h"

#define MEMORY_FILES    4u
#define MEMORY_FILE_MAX (1ull << 44) /* bytes: what file systems allow */

/* All of them are empty, none is open. */
void memory_files_reset(unsigned count);
/* What a file holds before it is opened. */
void memory_file_put(unsigned n, const void *data, u64 size, u64 offset);
void memory_file_resize(unsigned n, u64 size);
u64 memory_file_size(unsigned n);
/* What it holds now; zeros behind its end. */
void memory_file_get(unsigned n, void *buf, u64 size, u64 offset);
/* Called before each write to an open file; NULL: nobody watches. */
void memory_files_watch(void (*watch)(unsigned n, const u8 *buf, u64 size, u64 offset));
/* The number of files that are open. */
unsigned memory_files_open(void);
/* The calls-th call that changes a file from now on, and all later ones, fail; 0: none does. */
void memory_files_fail(unsigned calls, int error);
bool memory_files_failed(void);

#endif
