/* Measures the block layer alone: requests a second and bytes a second of an image, by way of service.
 *
 *     diskbench IMAGE [SECONDS]     overwrites the image, which exists */
#include "block/block.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEPTH_MAX 32

struct load {
	struct block *block;
	enum block_op op;
	u64 size, span, next, rng;
	bool random;
	u64 served;
	unsigned inflight;
	bool stop;
	u8 *buf[DEPTH_MAX];
	struct block_req req[DEPTH_MAX];
	/* To be submitted: not from done, which may be called from submit. */
	unsigned ready[DEPTH_MAX], ready_count;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void on_done(struct block_req *req)
{
	struct load *l = req->opaque;

	if (req->result) {
		fprintf(stderr, "diskbench: %s\n", strerror(-req->result));
		exit(1);
	}
	l->served++;
	l->inflight--;
	l->ready[l->ready_count++] = (unsigned)(req - l->req);
}

static void submit_one(struct load *l, unsigned n)
{
	u64 pieces = l->span / l->size;

	l->rng = l->rng * 6364136223846793005ull + 1442695040888963407ull;
	l->req[n] = (struct block_req){
		.op = l->op,
		.offset = (l->random ? (l->rng >> 20) % pieces : l->next++ % pieces) * l->size,
		.size = l->size,
		.buf = l->buf[n],
		.done = on_done,
		.opaque = l
	};
	l->inflight++;
	block_submit(l->block, &l->req[n]);
}

static void measure(struct block *block, enum block_op op, u64 size, unsigned depth, bool random,
		    double seconds)
{
	struct load *l = calloc(1, sizeof(*l));
	double start = now(), end;

	l->block = block;
	l->op = op;
	l->size = size;
	l->span = block->size / size * size;
	l->random = random;
	l->rng = 1;
	for (unsigned n = 0; n < depth; n++) {
		l->buf[n] = aligned_alloc(4096, size);
		memset(l->buf[n], (int)n + 1, size);
		l->ready[l->ready_count++] = n;
	}
	while (now() - start < seconds) {
		for (unsigned n = l->ready_count; n; n--) /* those served at once are ready again */
			submit_one(l, l->ready[--l->ready_count]);
		if (l->inflight) {
			struct pollfd p = { .fd = block_fd(block), .events = POLLIN };

			poll(&p, 1, 1000);
			block_poll(block);
		}
	}
	end = now();
	printf("  %-5s %4llu KiB %-10s depth %-2u  %9.0f /s  %7.0f MiB/s\n",
	       op == BLOCK_READ ? "read" : "write", (unsigned long long)size / 1024,
	       random ? "random" : "sequential", depth, (double)l->served / (end - start),
	       (double)(l->served * size) / (end - start) / (double)MIB);
	block_drain(block);
	for (unsigned n = 0; n < depth; n++)
		free(l->buf[n]);
	free(l);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		bool threaded;
		enum block_io io;
	} ways[] = {
		{ "at once", false, BLOCK_IO_AUTO },
		{ "chosen", true, BLOCK_IO_AUTO },
		{ "io_uring", true, BLOCK_IO_URING },
		{ "threads", true, BLOCK_IO_THREAD },
	};
	double seconds = argc > 2 ? atof(argv[2]) : 1;

	if (argc < 2) {
		fputs("usage: diskbench IMAGE [SECONDS]\n", stderr);
		return 2;
	}
	for (size_t n = 0; n < ARRAY_LEN(ways); n++) {
		struct block_options o = { .path = argv[1],
					   .threaded = ways[n].threaded,
					   .io = ways[n].io,
					   .backing = BLOCK_BACKING_ANY };
		struct block *block;
		char err[512];

		printf("%s\n", ways[n].name);
		if (block_open(&block, &o, err, sizeof(err))) {
			printf("  %s\n", err);
			continue;
		}
		for (unsigned depth = 1; depth <= (block_fd(block) < 0 ? 1 : 16); depth *= 16) {
			measure(block, BLOCK_WRITE, 4 * KIB, depth, true, seconds);
			measure(block, BLOCK_READ, 4 * KIB, depth, true, seconds);
			measure(block, BLOCK_WRITE, 128 * KIB, depth, false, seconds);
			measure(block, BLOCK_READ, 128 * KIB, depth, false, seconds);
		}
		block_close(block);
	}
	return 0;
}
