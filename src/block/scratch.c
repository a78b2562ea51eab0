/* A disk whose changes are kept apart from the image: each 4 KiB piece is read from an unlinked temporary file once it has been
 * written, from the image below until then. */
#include "block/block.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 4096u

struct scratch {
	struct block block; /* its file holds the changes, its parent is the image */
	u8 *written;        /* a bit per piece */
};

static bool is_written(const struct scratch *s, u64 piece)
{
	return s->written[piece / 8] >> (piece % 8) & 1;
}

/* The bytes from offset on, `most` at most, that are all to be read from the same of the two. */
static u64 run_length(const struct scratch *s, u64 offset, u64 most)
{
	u64 piece = offset / PIECE, first = piece, length;

	do {
		piece++;
		length = piece * PIECE - offset;
	} while (length < most && is_written(s, piece) == is_written(s, first));
	return MIN(length, most);
}

static int scratch_read(struct scratch *s, u8 *buf, u64 size, u64 offset)
{
	int r = 0;

	for (u64 done = 0, n; done < size && !r; done += n) {
		u64 at = offset + done;

		n = run_length(s, at, size - done);
		/* Where the file ends, there are zeros: nothing is written beyond it. */
		r = is_written(s, at / PIECE) ? block_file_read(s->block.file, buf + done, n, at)
					      : block_read_now(s->block.parent, buf + done, n, at);
	}
	return r;
}

/* Part of one piece that has not been written: the rest comes from the image. */
static int part_write(struct scratch *s, const u8 *buf, u64 size, u64 offset)
{
	u64 start = align_down(offset, PIECE), length = MIN(PIECE, s->block.size - start);
	u8 whole[PIECE];
	int r = block_read_now(s->block.parent, whole, length, start);

	if (r)
		return r;
	memcpy(whole + (offset - start), buf, size);
	return block_file_write(s->block.file, whole, length, start);
}

/* Whole pieces at once; the parts at both ends alone. */
static int scratch_write(struct scratch *s, const u8 *buf, u64 size, u64 offset)
{
	int r = 0;

	for (u64 done = 0, n; done < size && !r; done += n) {
		u64 at = offset + done, in_piece = at % PIECE, left = size - done;
		bool part = in_piece || (left < PIECE && at + left < s->block.size);

		n = part           ? MIN(left, PIECE - in_piece)
		    : left < PIECE ? left
				   : align_down(left, PIECE);
		r = part && !is_written(s, at / PIECE)
			    ? part_write(s, buf + done, n, at)
			    : block_file_write(s->block.file, buf + done, n, at);
		for (u64 piece = at / PIECE; !r && piece * PIECE < at + n; piece++)
			s->written[piece / 8] |= (u8)(1u << (piece % 8));
	}
	return r;
}

/* A discarded range reads as zeros, as a hole in a file does. */
static int scratch_zero(struct scratch *s, u64 size, u64 offset)
{
	static const u8 zeros[64 * KIB];
	int r = 0;

	for (u64 done = 0, n; done < size && !r; done += n) {
		n = MIN(size - done, sizeof(zeros) - (offset + done) % sizeof(zeros));
		r = scratch_write(s, zeros, n, offset + done);
	}
	return r;
}

static int scratch_serve(struct scratch *s, const struct block_req *req)
{
	switch (req->op) {
	case BLOCK_READ:
		return req->buf ? scratch_read(s, req->buf, req->size, req->offset) : -EINVAL;
	case BLOCK_WRITE:
		return req->buf ? scratch_write(s, req->buf, req->size, req->offset) : -EINVAL;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES: return scratch_zero(s, req->size, req->offset);
	case BLOCK_FLUSH: break; /* the changes do not outlive the machine */
	}
	return 0;
}

static void scratch_submit(struct block *block, struct block_req *req)
{
	req->result = scratch_serve((struct scratch *)block, req);
	block_complete(block, req);
}

static void scratch_close(struct block *block)
{
	struct scratch *s = (struct scratch *)block;

	block->parent->ops->close(block->parent);
	block_file_close(block->file);
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
	s->written = calloc(below->size / PIECE / 8 + 1, 1);
	r = s->written ? block_file_temporary(&s->block.file) : -ENOMEM;
	if (r) {
		free(s->written);
		free(s);
		return r;
	}
	s->block.parent = below;
	*block = &s->block;
	return 0;
}
