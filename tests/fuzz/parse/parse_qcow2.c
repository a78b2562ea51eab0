/* Fuzzes qcow2 images. */
#include "image.h"

#include "block/qcow2.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned seed);

static const struct image_field fields[] = {
	{ QCOW2_H_VERSION + 3, 1 },
	{ QCOW2_H_BACKING_OFFSET, 8 },
	{ QCOW2_H_BACKING_SIZE, 4 },
	{ QCOW2_H_CLUSTER_BITS + 3, 1 },
	{ QCOW2_H_SIZE, 8 },
	{ QCOW2_H_SIZE + 4, 4 },
	{ QCOW2_H_CRYPT, 4 },
	{ QCOW2_H_L1_SIZE, 4 },
	{ QCOW2_H_L1_OFFSET, 8 },
	{ QCOW2_H_REFTABLE_OFFSET, 8 },
	{ QCOW2_H_REFTABLE_CLUSTERS, 4 },
	{ QCOW2_H_SNAPSHOTS, 4 },
	{ QCOW2_H_SNAPSHOTS_OFFSET, 8 },
	{ QCOW2_H_INCOMPATIBLE + 7, 1 },
	{ QCOW2_H_COMPATIBLE + 7, 1 },
	{ QCOW2_H_AUTOCLEAR + 7, 1 },
	{ QCOW2_H_REFCOUNT_ORDER + 3, 1 },
	{ QCOW2_H_LENGTH, 4 },
	{ QCOW2_H_COMPRESSION, 1 },
	{ QCOW2_H_V3_LENGTH, 4 },
	{ QCOW2_H_V3_LENGTH + 4, 4 },
};

static const struct image_grammar grammars[] = {
	{ "QFI\xfb", 4, fields, ARRAY_LEN(fields), NULL },
	{ 0 },
};

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned seed)
{
	return image_mutate(data, size, max, seed, grammars);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size) { return image_run(data, size, "qcow2"); }
