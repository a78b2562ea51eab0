/* fuzz-devices [--seconds N | --runs N] [--seed S] [--rounds N] [--plant N]: builds the board anew for
 * each seed and lets a hostile guest at it; one run with --seed alone. Every other seed adds hostile saved states. Ends with status
 * 0 if nothing was found; what a sanitizer or the work budget finds ends it with a report and the
 * seed. */
#include "fuzz.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 20000u
/* Basic blocks that one operation of the guest, or one look at the screen, may take. The dearest
 * ones draw a whole screen, or clear the video memory. */
#define WORK_MAX 100000000ull

static struct fuzz machine;
static u64 seed_now;
static volatile u64 work;

/* gcc's word, and clang's. */
#if __has_attribute(no_sanitize_coverage)
#define UNCOUNTED __attribute__((no_sanitize_coverage))
#else
#define UNCOUNTED __attribute__((no_sanitize("coverage")))
#endif

/* Counts what a build with -fsanitize-coverage=trace-pc runs through. */
void __sanitizer_cov_trace_pc(void);
extern void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

static void say_where(void)
{
	dprintf(STDERR_FILENO, "seed %" PRIu64 ", round %" PRIu64 "\n", seed_now, machine.rounds);
}

UNCOUNTED void __sanitizer_cov_trace_pc(void)
{
	if (++work <= WORK_MAX)
		return;
	work = 0;
	dprintf(STDERR_FILENO, "more than %llu basic blocks for one operation\n", WORK_MAX);
	abort();
}

static void on_abort(int signal)
{
	say_where();
	_exit(1);
}

static u64 run(u64 seed, u64 rounds, unsigned plant, u64 *dearest)
{
	u64 hash;

	seed_now = seed;
	fuzz_build(&machine, seed, plant);
	for (machine.rounds = 0; machine.rounds < rounds; machine.rounds++) {
		work = 0;
		fuzz_step(&machine, seed % 2);
		*dearest = MAX(*dearest, work);
	}
	work = 0;
	hash = fuzz_hash(&machine);
	fuzz_fini(&machine);
	return hash;
}

struct totals {
	u64 runs, vectors, extints, requests[DISKS], bytes, rects, resets;
	unsigned signals;
};

static void count(struct totals *t)
{
	t->runs++;
	t->vectors += machine.vectors;
	t->extints += machine.extints;
	for (unsigned n = 0; n < DISKS; n++)
		t->requests[n] += machine.requests[n];
	t->bytes += machine.bytes_sent;
	t->rects += machine.rects;
	t->resets += machine.resets;
	t->signals |= machine.signals;
}

static bool reached_all(const struct totals *t)
{
	for (unsigned n = 0; n < DISKS; n++)
		if (!t->requests[n])
			return false;
	return t->vectors && t->extints && t->bytes && t->rects && t->resets &&
	       t->signals == SIGNALS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "runs", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 'S' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "plant", required_argument, NULL, 'p' },
		{ 0 },
	};
	u64 seconds = 60, runs = 0, seed = 1, rounds = ROUNDS, dearest = 0, first = 0;
	unsigned plant = 0;
	struct totals t = { 0 };
	time_t end;

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 's': seconds = strtoull(optarg, NULL, 0); break;
		case 'n': runs = strtoull(optarg, NULL, 0); break;
		case 'S':
			seed = strtoull(optarg, NULL, 0);
			runs = runs ? runs : 1;
			break;
		case 'r': rounds = strtoull(optarg, NULL, 0); break;
		case 'p': plant = (unsigned)strtoul(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	if (plant && !plant_name(plant)) {
		fprintf(stderr, "--plant: 1 to %d\n", PLANTS);
		return 2;
	}
	signal(SIGABRT, on_abort);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(say_where);
	end = time(NULL) + (time_t)seconds;
	do {
		u64 hash = run(seed, rounds, plant, &dearest);

		count(&t);
		first = first ? first : hash;
		if (t.runs == 2 && run(seed - 1, rounds, plant, &dearest) != first) {
			fprintf(stderr, "seed %" PRIu64 " does not repeat\n", seed - 1);
			return 1;
		}
		seed++;
	} while (runs ? t.runs < runs : time(NULL) < end);
	printf("%" PRIu64 " runs of %" PRIu64 " operations: %" PRIu64 " interrupts, %" PRIu64
	       " of them from the 8259, %" PRIu64 "+%" PRIu64 "+%" PRIu64 "+%" PRIu64
	       " requests to hard disk, CD-ROM, floppy and virtio disk, %" PRIu64
	       " bytes sent, %" PRIu64 " rectangles drawn, %" PRIu64
	       " resets; the dearest operation took %" PRIu64 " basic blocks\n",
	       t.runs, rounds, t.vectors, t.extints, t.requests[0], t.requests[1], t.requests[2],
	       t.requests[3], t.bytes, t.rects, t.resets, dearest);
	if (runs == 1 || reached_all(&t))
		return 0;
	fprintf(stderr, "the fuzzer does not reach the devices any more\n");
	return 1;
}
