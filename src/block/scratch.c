/* A disk whose changes are kept apart from the image: each 4 KiB piece is read from an unlinked temporary file once it has been
 * written, from the image below until then. */
#include "block/block.h"

#include "base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE 4096u

struct scratch {
	struct block block;
	struct block *below;
	FILE *file;
	u8 *written; /* a bit per piece */
};

static bool is_written(const struct scratch *s, u64 piece)
{
	return s->written[piece / 8] >> (piece % 8) & 1;
}

/* Where the file has holes, or ends, there are zeros. */
static int file_read(const struct scratch *s, u8 *buf, u64 size, u64 offset)
{
	u64 done = 0;

	while (done < size) {
		ssize_t n = pread(fileno(s->file), buf + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) {
			memset(buf + done, 0, size - done);
			return 0;
		}
		done += n > 0 ? (u64)n : 0;
	}
	return 0;
}

static int file_write(const struct scratch *s, const u8 *buf, u64 size, u64 offset)
{
	u64 done = 0;

	while (done < size) {
		ssize_t n =
			pwrite(fileno(s->file), buf + done, size - done, (off_t)(offset + done));

		if (n == 0 || (n < 0 && errno != EINTR))
			return n ? -errno : -EIO;
		done += n > 0 ? (u64)n : 0;
	}
	return 0;
}

/* Part of one piece. */
static int piece_write(struct scratch *s, const u8 *buf, u64 size, u64 offset)
{
	u64 piece = offset / PIECE, start = piece * PIECE,
	    length = MIN(PIECE, s->block.size - start);
	u8 whole[PIECE];
	int r;

	if (is_written(s, piece) || size == length) {
		r = file_write(s, buf, size, offset);
	} else {
		r = block_read_now(s->below, whole, length, start);
		if (r)
			return r;
		memcpy(whole + (offset - start), buf, size);
		r = file_write(s, whole, length, start);
	}
	if (!r)
		s->written[piece / 8] |= (u8)(1u << (piece % 8));
	return r;
}

/* Piece by piece. A discarded range reads as zeros, as a hole in a file does. */
static int scratch_serve(struct scratch *s, const struct block_req *req)
{
	static const u8 zeros[PIECE];
	u8 *buf = req->buf;
	int r = 0;

	if (!buf && (req->op == BLOCK_READ || req->op == BLOCK_WRITE))
		return -EINVAL;
	for (u64 done = 0, n; done < req->size && !r; done += n) {
		u64 offset = req->offset + done;

		n = MIN(req->size - done, PIECE - offset % PIECE);
		if (req->op == BLOCK_WRITE)
			r = piece_write(s, buf + done, n, offset);
		else if (req->op != BLOCK_READ)
			r = piece_write(s, zeros, n, offset);
		else if (is_written(s, offset / PIECE))
			r = file_read(s, buf + done, n, offset);
		else
			r = block_read_now(s->below, buf + done, n, offset);
	}
	return r;
}

static void scratch_submit(struct block *block, struct block_req *req)
{
	req->result = req->op == BLOCK_FLUSH ? 0 : scratch_serve((struct scratch *)block, req);
	block_complete(block, req);
}

static void scratch_close(struct block *block)
{
	struct scratch *s = (struct scratch *)block;

	s->below->ops->close(s->below);
	fclose(s->file);
	free(s->written);
	free(s);
}

static const struct block_ops scratch_ops = {
	.name = "scratch",
	.help = "changes are kept apart",
	.submit = scratch_submit,
	.close = scratch_close,
};

int block_scratch(struct block **block, struct block *below)
{
	struct scratch *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->block = (struct block){ .ops = &scratch_ops,
				   .size = below->size,
				   .physical_size = below->physical_size };
	s->below = below;
	s->written = calloc(below->size / PIECE / 8 + 1, 1);
	s->file = s->written ? tmpfile() : NULL;
	if (s->file) {
		*block = &s->block;
		return 0;
	}
	r = s->written ? -errno : -ENOMEM;
	free(s->written);
	free(s);
	return r;
}
