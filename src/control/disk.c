/* `pogo disk`: makes, shows, checks and changes disk images. The table of subcommands, and what they share. */
#include "control/disk.h"

#include "base/fail.h"
#include "base/log.h"
#include "control/command.h"
#include "control/suggest.h"
#include "core/opt.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARG(field) offsetof(struct disk_args, field)
#define HELP \
	{ .key = "help", .kind = OPT_HELP, .help = "this text" }, { 0 }
#define FORMAT                                                                                 \
	{                                                                                      \
		.key = "format", .kind = OPT_STRING, .offset = ARG(format), .value = "FORMAT", \
		.help = "what the image is, if its contents shall not say: raw, vhd, qcow2"    \
	}
#define FLAG(name, field, text)                                                   \
	{                                                                         \
		.key = name, .kind = OPT_FLAG, .offset = ARG(field), .help = text \
	}
/* --json and --help. */
#define JSON \
	{ .rows = command_opts, .offset = ARG(json) }, { 0 }
#define JSON_DONE \
	FLAG("json", json, "print the image that was written as JSON, as `pogo disk info` does")
#define PARENT(text)                                                                           \
	{ .key = "parent",                                                                     \
	  .kind = OPT_STRING,                                                                  \
	  .offset = ARG(parent),                                                               \
	  .value = "FILE",                                                                     \
	  .help = text },                                                                      \
	{                                                                                      \
		.key = "parent-format", .kind = OPT_STRING, .offset = ARG(parent_format),      \
		.value = "FORMAT", .help = "what the parent is, if its contents shall not say" \
	}

/* What a new image is like. */
static const struct opt layout_opts[] = {
	{ .key = "variant",
	  .kind = OPT_CHOICE,
	  .offset = ARG(variant),
	  .value = "NAME",
	  .choices = "fixed dynamic v2 v3",
	  .help = "vhd: fixed is as raw, with a footer, dynamic (the default) grows; qcow2: v3 (the default), v2 for old programs" },
	{ .key = "cluster",
	  .kind = OPT_SIZE,
	  .offset = ARG(cluster_size),
	  .value = "SIZE",
	  .min = 512,
	  .max = 64 * MIB,
	  .help = "vhd, qcow2: what is allocated at a time" },
	{ 0 },
};
static const struct opt create_opts[] = {
	{ .key = "size",
	  .kind = OPT_STRING,
	  .offset = ARG(size),
	  .value = "SIZE",
	  .help = "of the disk: 512M, 20G, or with B bytes; instead of FILE:SIZE" },
	{ .key = "format",
	  .kind = OPT_STRING,
	  .offset = ARG(format),
	  .value = "FORMAT",
	  .help = "raw, vhd or qcow2; default: what the name ends in" },
	{ .rows = layout_opts },
	PARENT("make a difference to this image, which must not change from then on"),
	JSON_DONE,
	HELP,
};
static const struct opt info_opts[] = { FORMAT, FLAG("chain", chain, "the images below it too"),
					JSON };
static const struct opt check_opts[] = { FORMAT,
					 FLAG("repair", repair, "correct what can be corrected"),
					 JSON };
static const struct opt convert_opts[] = {
	{ .key = "format",
	  .kind = OPT_STRING,
	  .offset = ARG(to_format),
	  .value = "FORMAT",
	  .help = "of the new image; default: what its name ends in" },
	{ .key = "source-format",
	  .kind = OPT_STRING,
	  .offset = ARG(format),
	  .value = "FORMAT",
	  .help = "what the source is, if its contents shall not say" },
	{ .rows = layout_opts },
	FLAG("force", force, "replace a file that exists"),
	JSON_DONE,
	HELP,
};
static const struct opt resize_opts[] = {
	FORMAT, FLAG("shrink", shrink, "allow a smaller size: what lies behind it is lost"),
	JSON_DONE, HELP
};
static const struct opt rebase_opts[] = {
	PARENT("the new parent; `none`: take in all that the old one held"),
	FLAG("unsafe", unsafe, "only change the name in the image: for a parent that was moved"),
	FORMAT,
	JSON_DONE,
	HELP,
};
static const struct opt diff_opts[] = { FORMAT, JSON };

static const struct subcommand {
	const char *name, *words, *help;
	const struct opt *opts;
	int min_words, max_words;
	int (*run)(struct disk_args *args);
	const char *more; /* help text */
} subcommands[] = {
	{ "create", "FILE:SIZE", "make an empty image", create_opts, 1, 1, disk_create,
	  "  pogo disk create web.vhd:20G\n"
	  "  pogo disk create root.qcow2 --size 8G\n"
	  "  pogo disk create today.qcow2 --parent base.qcow2\n" },
	{ "info", "FILE", "say what an image is and what it takes", info_opts, 1, 1, disk_info,
	  "  pogo disk info web.vhd\n"
	  "  pogo disk info today.qcow2 --chain --json\n" },
	{ "check", "FILE", "look for damage, repair it", check_opts, 1, 1, disk_check,
	  "  pogo disk check web.vhd\n"
	  "  pogo disk check web.vhd --repair\n\n"
	  "Exit codes: 0 clean (or all repaired), 1 damaged, or it cannot be checked, 2 wrong usage, 3 only space is lost.\n" },
	{ "convert", "SOURCE DESTINATION", "copy a disk into an image of another format",
	  convert_opts, 2, 2, disk_convert,
	  "  pogo disk convert web.vhd web.qcow2\n"
	  "  pogo disk convert today.qcow2 all.img --force\n\n"
	  "The new image holds all that the guest saw, also what lay in parents. Zeros take no space.\n" },
	{ "resize", "FILE SIZE|+SIZE", "make a disk larger or smaller", resize_opts, 2, 2,
	  disk_resize,
	  "  pogo disk resize web.vhd +10G\n"
	  "  pogo disk resize small.img 512M --shrink\n" },
	{ "rebase", "FILE", "give a difference another parent, or none", rebase_opts, 1, 1,
	  disk_rebase,
	  "  pogo disk rebase today.qcow2 --parent newbase.qcow2\n"
	  "  pogo disk rebase today.qcow2 --parent none\n"
	  "  pogo disk rebase today.qcow2 --parent moved/base.qcow2 --unsafe\n\n"
	  "What differs between the old parent and the new is copied first, so that the guest sees no change.\n" },
	{ "diff", "A B", "compare what the guests see", diff_opts, 2, 2, disk_diff,
	  "  pogo disk diff web.vhd web.qcow2\n\n"
	  "Exit codes: 0 the same, 1 different, 2 an error.\n" },
};

void command_disk_usage(void *file)
{
	fputs("Makes, shows, checks and changes disk images: raw, VHD, qcow2.\n\n"
	      "  pogo disk create web.vhd:20G\n"
	      "  pogo disk info web.vhd\n"
	      "  pogo disk convert web.vhd web.qcow2\n"
	      "  pogo disk create today.qcow2 --parent web.qcow2\n\n"
	      "Commands (pogo disk COMMAND --help):\n",
	      file);
	for (size_t n = 0; n < ARRAY_LEN(subcommands); n++)
		fprintf(file, "  %-8s %-20s %s\n", subcommands[n].name, subcommands[n].words,
			subcommands[n].help);
}

static void subcommand_usage(const struct subcommand *c)
{
	printf("pogo disk %s %s: %s.\n\n%s\nOptions:\n", c->name, c->words, c->help, c->more);
	opt_help(c->opts, stdout);
}

static int unknown_subcommand(const char *name)
{
	const char *names[ARRAY_LEN(subcommands)], *nearest;

	for (size_t n = 0; n < ARRAY_LEN(subcommands); n++)
		names[n] = subcommands[n].name;
	nearest = suggest_nearest(name, names, ARRAY_LEN(names));
	if (nearest)
		return disk_usage_error("no command 'disk %s'; did you mean '%s'?", name, nearest);
	return disk_usage_error("no command 'disk %s'; `pogo help disk` lists them", name);
}

int command_disk(int argc, char **argv)
{
	const struct subcommand *c = subcommands, *end = c + ARRAY_LEN(subcommands);
	struct disk_args args = { 0 };
	char err[512];
	bool help;

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		command_disk_usage(argc < 2 ? stderr : stdout);
		return argc < 2 ? EXIT_USAGE : EXIT_OK;
	}
	while (c < end && strcmp(c->name, argv[1]))
		c++;
	if (c == end)
		return unknown_subcommand(argv[1]);
	args.count = opt_parse(c->opts, &args, argc - 1, argv + 1, args.words, c->max_words, &help,
			       err, sizeof(err));
	if (args.count < 0)
		return disk_usage_error("%s; see `pogo disk %s --help`", err, c->name);
	if (help) {
		subcommand_usage(c);
		return EXIT_OK;
	}
	if (args.count < c->min_words)
		return disk_usage_error("something is missing: pogo disk %s %s", c->name, c->words);
	int code = c->run(&args);

	if (code || !args.json || !args.written)
		return code;
	args.words[0] = args.written;
	return disk_info(&args);
}

/* --- Shared --------------------------------------------------------------------------------------- */

bool disk_size(const char *text, u64 *bytes)
{
	char *end;

	errno = 0;
	*bytes = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !errno && !strcmp(end, "B"))
		return true;
	return opt_parse_size(text, bytes);
}

const char *disk_size_text(u64 bytes, char *buf, size_t len)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double size = (double)bytes;
	unsigned unit = 0;

	for (; size >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
		size /= 1024;
	snprintf(buf, len, "%.*f %s", unit && size < 100 && bytes % (1ull << (10 * unit)) ? 1 : 0,
		 size, units[unit]);
	return buf;
}

struct block *disk_open(const char *path, const char *format, bool readonly,
			enum block_backing backing)
{
	struct block_options o = {
		.path = path, .format = format, .readonly = readonly, .backing = backing
	};
	struct block *block;
	char err[1024];

	if (block_open(&block, &o, err, sizeof(err)) == 0)
		return block;
	log_error("%s", err);
	return NULL;
}

bool disk_finish(struct block *block)
{
	int r = block && !block->readonly ? block_flush_now(block) : 0;

	if (r)
		log_error("disk '%s' cannot be written: %s", block->file->path, fail_text(-r));
	block_close(block);
	return !r;
}

void disk_print_json(json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
}

/* --- Long work ------------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

bool disk_interrupted(void) { return interrupted; }

void disk_catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND }, old;

	for (size_t n = 0; n < ARRAY_LEN(signals); n++)
		if (sigaction(signals[n], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(signals[n], &sa, NULL);
}

void disk_work_start(struct disk_work *w, const char *verb, u64 total)
{
	disk_catch_signals();
	*w = (struct disk_work){
		.verb = verb, .total = total, .tty = isatty(STDERR_FILENO) == 1, .percent = -1
	};
	disk_work_step(w, 0);
}

void disk_work_step(struct disk_work *w, u64 done)
{
	int percent = w->total ? (int)((double)done * 100 / (double)w->total) : 100;

	if (!w->tty || percent == w->percent)
		return;
	w->percent = percent;
	fprintf(stderr, "\r%s %3d%%", w->verb, percent);
}

void disk_work_end(struct disk_work *w)
{
	if (w->tty)
		fputs("\r\033[K", stderr);
}

bool disk_may_have_data(struct block *block, u64 offset, u64 *size)
{
	for (; block; block = block->parent) {
		u64 here = *size;

		if (offset >= block->size)
			return false;
		here = MIN(here, block->size - offset);
		if (!block->ops->allocated || block->ops->allocated(block, offset, &here)) {
			*size = here;
			return true;
		}
		*size = MIN(*size, here);
	}
	return false;
}

bool disk_is_zero(const u8 *buf, u64 size)
{
	return !size || (!buf[0] && !memcmp(buf, buf + 1, size - 1));
}
