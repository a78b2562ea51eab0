/* What the mutator knows of the formats of disk images. */
#include "image.h"

#include "block/qcow2.h"
#include "block/vhd_format.h"

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned seed);

static const struct image_field footer_fields[] = {
	{ VHD_F_FEATURES, 4 }, { VHD_F_VERSION, 4 },       { VHD_F_DATA_OFFSET, 8 },
	{ VHD_F_STAMP, 4 },    { VHD_F_APP, 4 },           { VHD_F_SIZE, 8 },
	{ VHD_F_SIZE + 4, 4 }, { VHD_F_CYLINDERS, 2 },     { VHD_F_HEADS, 1 },
	{ VHD_F_SPT, 1 },      { VHD_F_TYPE + 3, 1 },      { VHD_F_UUID, 4 },
	{ VHD_F_SAVED, 1 },    { VHD_F_ORIGINAL_SIZE, 8 },
};

static const struct image_field header_fields[] = {
	{ VHD_H_TABLE_OFFSET, 8 },
	{ VHD_H_TABLE_OFFSET + 6, 2 },
	{ VHD_H_VERSION, 4 },
	{ VHD_H_ENTRIES, 4 },
	{ VHD_H_BLOCK_SIZE, 4 },
	{ VHD_H_PARENT_UUID, 4 },
	{ VHD_H_PARENT_STAMP, 4 },
	{ VHD_H_PARENT_NAME, 8 },
	{ VHD_H_LOCATORS + VHD_L_SPACE, 4 },
	{ VHD_H_LOCATORS + VHD_L_LENGTH, 4 },
	{ VHD_H_LOCATORS + VHD_L_OFFSET, 8 },
	{ VHD_H_LOCATORS + VHD_L_SIZE + VHD_L_LENGTH, 4 },
	{ VHD_H_LOCATORS + VHD_L_SIZE + VHD_L_OFFSET, 8 },
};

static void seal_footer(u8 *piece, u32 length)
{
	if (length >= VHD_FOOTER)
		vhd_footer_seal(piece);
}

static void seal_header(u8 *piece, u32 length)
{
	if (length >= VHD_HEADER)
		vhd_header_seal(piece);
}

static const struct image_field qcow2_fields[] = {
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
	{ "conectix", 8, footer_fields, ARRAY_LEN(footer_fields), seal_footer },
	{ "cxsparse", 8, header_fields, ARRAY_LEN(header_fields), seal_header },
	{ "QFI\xfb", 4, qcow2_fields, ARRAY_LEN(qcow2_fields), NULL },
	{ 0 },
};

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned seed)
{
	u32 rng = seed * 2 + 1;
	size_t changed = 0;

	if (image_random(&rng) % 5 < 2)
		changed = qcow2_mutate(data, size, max, &rng);
	return changed ? changed : image_mutate(data, size, max, seed, grammars);
}
