/* `pogo validate`: whether machine files can be used. */
#include "base/log.h"
#include "control/command.h"
#include "control/json_print.h"
#include "control/machine_xml.h"

#include <stdio.h>

#define FILES_MAX 256

struct validate_config {
	bool json;
};

static const struct opt validate_opts[] = {
	{ .rows = command_opts, .offset = offsetof(struct validate_config, json) },
	{ 0 },
};

void command_validate_usage(void *file)
{
	fputs("Reads machine files and says what is wrong with them. No image or kernel is opened.\n\n"
	      "  pogo validate web.xml\n"
	      "  pogo validate --json *.xml\n\n"
	      "Options:\n",
	      file);
	opt_help(validate_opts, file);
	fputs("\nExit codes: 0 all of them are good, 1 one is not, 2 wrong usage. pogo-machine(5) describes the file.\n",
	      file);
}

static bool validate(const char *path, json_t *list)
{
	struct machine_spec spec;
	char err[512] = "";
	bool good = machine_xml_read(&spec, path, err, sizeof(err));

	if (list)
		json_array_append_new(list, good ? json_pack("{s:s, s:b, s:s}", "file", path,
							     "valid", 1, "name", spec.name)
						 : json_pack("{s:s, s:b, s:s}", "file", path,
							     "valid", 0, "error", err));
	else if (good)
		printf("%s: machine %s, good\n", path, spec.name);
	else
		log_error("%s", err);
	if (good)
		spec_free(&spec);
	return good;
}

int command_validate(int argc, char **argv)
{
	static const struct command_line line = { validate_opts, command_validate_usage, 1,
						  FILES_MAX,
						  "name a machine file: pogo validate web.xml" };
	struct validate_config cfg = { 0 };
	const char *files[FILES_MAX];
	bool good = true;
	int code, count = command_parse(&line, &cfg, argc, argv, files, &code);

	if (count < 0)
		return code;
	json_t *list = cfg.json ? json_array() : NULL;

	for (int n = 0; n < count; n++)
		good &= validate(files[n], list);
	if (list)
		json_print(list);
	return good ? EXIT_OK : EXIT_ERROR;
}
