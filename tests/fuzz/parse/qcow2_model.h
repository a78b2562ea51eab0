/* What a qcow2 file in memory says, read a second time, straight from its bytes and without a cache, after docs/interop/qcow2.txt of QEMU: the
 * fuzzer compares it with what src/block makes of the file. */
#ifndef FUZZ_QCOW2_MODEL_H
#define FUZZ_QCOW2_MODEL_H

#include "base/types.h"

#define QCOW2_MODEL_SNAPSHOTS 16u

/* Bytes in the file. */
struct qcow2_model_area {
	u64 start, size;
};

struct qcow2_model {
	unsigned file, version, cluster_bits;
	u64 cluster, file_size, size; /* the last: of the disk */
	bool backing, zstd;
	u32 reftable_entries;
	unsigned snapshots; /* that are in areas */
	/* The header, the L1 table, the refcount table, the snapshot table, and the L1 tables of snapshots: no data may lie there. */
	struct qcow2_model_area areas[4 + QCOW2_MODEL_SNAPSHOTS];
};

enum qcow2_model_says {
	QCOW2_SAYS_DATA,    /* these bytes */
	QCOW2_SAYS_PARENT,  /* what is below; zeros without a parent */
	QCOW2_SAYS_ERROR,   /* it cannot be read */
	QCOW2_SAYS_NOTHING, /* what is made of it is a matter of taste */
};

/* Reads the header and what it names. NULL, or why the image must not open; for_writing: for that. */
const char *qcow2_model_load(struct qcow2_model *m, unsigned file, bool for_writing);
/* A sector of the disk, as the L1 table in an area says: of areas[QCOW2_MODEL_L1], or from QCOW2_MODEL_SNAPSHOT_L1 on. */
enum qcow2_model_says qcow2_model_sector(const struct qcow2_model *m, unsigned area, u64 sector,
					 u8 *buf);
/* Whether a write there would hit a table that is never written as data. */
bool qcow2_model_protects(const struct qcow2_model *m, u64 offset, u64 size);
/* A sum of what an L1 table leads to; at most a thousand sectors are looked at. */
u64 qcow2_model_sum(const struct qcow2_model *m, unsigned area);

enum { QCOW2_MODEL_L1 = 1, QCOW2_MODEL_SNAPSHOT_L1 = 4 };

#endif
