/* Fuzzes the way from a file to a disk: which format it is of, and the images below it. */
#include "image.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) { return image_run(data, size, NULL); }
