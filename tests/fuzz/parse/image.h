/* Disk images for the fuzzers of their formats: files in memory that are made of an input's bytes, and what is done to them once they
 * are open. An input:
 *
 *   flags, operations, files, 0         one byte each
 *   operations times IMAGE_OP bytes     op, sectors, position (4 bytes, in sectors), value (2 bytes)
 *   pieces to the end                   file, kind, length (2 bytes), place (4 bytes, in sectors), then length bytes, or one to repeat
 *
 * All of it little-endian. Names of files are /f/0, /f/1 and so on; the first is opened, the others can be parents. */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include "block/block.h"

#define IMAGE_HEAD  4u
#define IMAGE_OP    8u
#define IMAGE_PIECE 8u
#define IMAGE_FILES 4u
#define IMAGE_OPS   48u

enum image_flags { IMAGE_READONLY = 1, IMAGE_PROBED = 2, IMAGE_BACKED = 4, IMAGE_REPAIR = 8 };

enum image_piece { PIECE_DATA, PIECE_FILL, PIECE_SIZE, PIECE_KINDS };

enum image_op {
	OP_READ,
	OP_WRITE,
	OP_ZERO,
	OP_DISCARD,
	OP_FLUSH,
	OP_CHECK,
	OP_REPAIR,
	OP_RESIZE,
	OP_PARENT,
	OP_INFO,
	OP_ALLOCATED,
	OP_REOPEN,
	OP_FAULT,
	OP_COUNT
};

/* One piece of an input, as it lies there. */
struct image_span {
	u8 *at; /* its head; what it holds follows */
	u8 file, kind;
	u32 length; /* of the contents that are there */
	u32 place;
};

/* Where the pieces of an input start, which may be behind its end. */
size_t image_start(const u8 *data, size_t size);
/* The n-th piece of an input; false behind the last one. */
bool image_span(u8 *data, size_t size, unsigned n, struct image_span *span);

/* Runs an input on images of a format, NULL: as found by probing. Aborts where something must not be. */
int image_run(const u8 *data, size_t size, const char *format);

/* A number to try where a format has one of `width` bytes: near bounds, or a place in the file. */
u64 image_number(u32 *rng, unsigned width, u64 scale);
u32 image_random(u32 *rng);

/* Where a format has its numbers. */
struct image_field {
	u16 offset;
	u8 width;
};

/* What the mutator knows of a format. */
struct image_grammar {
	const char *magic; /* at the start of pieces that have these fields */
	size_t magic_size;
	const struct image_field *fields;
	unsigned count;
	void (*seal)(u8 *piece, u32 length); /* makes checksums right; may be NULL */
};

/* Changes an input in place; the room is `max` bytes. Returns the new size. grammars end with a NULL magic. */
size_t image_mutate(u8 *data, size_t size, size_t max, u32 seed,
		    const struct image_grammar *grammars);

/* Changes structures of a qcow2 image in an input. The new size; 0: there is none. */
size_t qcow2_mutate(u8 *data, size_t size, size_t max, u32 *rng);

#endif
