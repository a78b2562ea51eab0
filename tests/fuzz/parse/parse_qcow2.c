/* Fuzzes qcow2 images. */
#include "image.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) { return image_run(data, size, "qcow2"); }
