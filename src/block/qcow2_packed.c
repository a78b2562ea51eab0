/* Compressed clusters of qcow2 images. */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

/* Both stop as soon as they have made a cluster, however much more the data would become. */
static int inflate_cluster(u8 *out, u32 out_size, u8 *in, u64 in_size)
{
	z_stream z = {
		.next_in = in, .avail_in = (uInt)in_size, .next_out = out, .avail_out = out_size
	};
	int r;

	if (inflateInit2(&z, -15) != Z_OK) /* no header; any window */
		return -ENOMEM;
	r = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return (r == Z_STREAM_END || r == Z_BUF_ERROR) && z.avail_out == 0 ? 0 : -EIO;
}

static int zstd_cluster(u8 *out, u32 out_size, const u8 *in, u64 in_size)
{
	ZSTD_inBuffer from = { in, in_size, 0 };
	ZSTD_outBuffer to = { out, out_size, 0 };
	ZSTD_DStream *z = ZSTD_createDStream();
	bool more = true;

	if (!z)
		return -ENOMEM;
	/* A cluster never needs a larger window than itself; the least limit covers the largest cluster. */
	ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 23);
	while (to.pos < to.size && more) {
		size_t in_pos = from.pos, out_pos = to.pos;
		size_t r = ZSTD_decompressStream(z, &to, &from);

		more = !ZSTD_isError(r) && (from.pos > in_pos || to.pos > out_pos);
	}
	ZSTD_freeDStream(z);
	return to.pos == to.size ? 0 : -EIO;
}

int qcow2_unpack(struct qcow2 *q, u64 entry)
{
	u64 offset, size;
	int r;

	if (q->unpacked_entry == entry)
		return 0;
	if (!q->unpacked)
		q->unpacked = malloc(q->cluster_size);
	if (!q->packed) /* the most sectors that an entry can have */
		q->packed = malloc(2 * (size_t)q->cluster_size);
	if (!q->unpacked || !q->packed)
		return -ENOMEM;
	q->unpacked_entry = 0;
	qcow2_packed(q, entry, &offset, &size);
	if (offset >= q->block.file->size)
		return -EIO;
	r = block_file_read(q->block.file, q->packed, size, offset);
	if (!r && q->zstd)
		r = zstd_cluster(q->unpacked, q->cluster_size, q->packed, size);
	else if (!r)
		r = inflate_cluster(q->unpacked, q->cluster_size, q->packed, size);
	if (!r)
		q->unpacked_entry = entry;
	return r;
}
