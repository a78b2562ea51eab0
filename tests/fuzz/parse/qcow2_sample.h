/* qcow2 images with what Pogo itself never writes, byte by byte after docs/interop/qcow2.txt of QEMU: the fuzzers start from them. */
#ifndef FUZZ_QCOW2_SAMPLE_H
#define FUZZ_QCOW2_SAMPLE_H

#include "base/types.h"

struct qcow2_sample {
	unsigned version, cluster_bits, refcount_order;
	u64 size;            /* of the disk */
	const char *backing; /* a qcow2 image; NULL: none */
	u8 incompatible;
	unsigned snapshots;
	bool packed, zstd; /* compressed clusters; by zstd */
	bool bitmap, extensions;
	bool miscounted; /* some refcounts are wrong */
	u64 length; /* of the file, with a cluster amid that no refcount block counts; 0: no longer than it must be */
};

/* Writes one to a new file. Ends the program where it cannot. */
void qcow2_sample_write(const struct qcow2_sample *s, const char *path);

#endif
