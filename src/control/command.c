/* What the commands share: how one is called, and options that many have. */
#include "control/command.h"

#include "base/log.h"

#include <stdio.h>

const struct opt command_opts[] = {
	{ .key = "json", .kind = OPT_FLAG, .help = "the result as JSON" },
	{ .key = "help", .kind = OPT_HELP, .help = "this text" },
	{ 0 },
};

int command_parse(const struct command_line *line, void *config, int argc, char **argv,
		  const char **words, int *code)
{
	char err[256];
	bool help;
	int count = opt_parse(line->opts, config, argc, argv, words, line->max, &help, err,
			      sizeof(err));

	*code = EXIT_OK;
	if (count >= 0 && help) {
		line->usage(stdout);
		return -1;
	}
	if (count >= line->min)
		return count;
	*code = EXIT_USAGE;
	if (count < 0)
		log_error("%s", err);
	else if (line->wants)
		log_error("%s", line->wants);
	else
		log_error("name a machine: pogo %s web", argv[0]);
	log_info("see `pogo help %s`", argv[0]);
	return -1;
}

const char *command_parse_name(const struct opt *opts, void (*usage)(void *file), void *config,
			       int argc, char **argv, int *code)
{
	const struct command_line line = { .opts = opts, .usage = usage, .min = 1, .max = 1 };
	const char *name;

	return command_parse(&line, config, argc, argv, &name, code) < 0 ? NULL : name;
}
