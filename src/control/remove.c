/* `pogo rm`: a machine is forgotten. */
#include "base/fail.h"
#include "base/log.h"
#include "block/file.h"
#include "control/command.h"
#include "control/json_print.h"
#include "control/machine_xml.h"
#include "control/places.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rm_config {
	bool disks, force, json;
};

static const struct opt rm_opts[] = {
	{ .key = "disks",
	  .kind = OPT_FLAG,
	  .offset = offsetof(struct rm_config, disks),
	  .help = "its disk images too (no CD-ROMs, floppies and backing files), after a question" },
	{ .key = "force",
	  .kind = OPT_FLAG,
	  .offset = offsetof(struct rm_config, force),
	  .help = "without the question" },
	{ .rows = command_opts, .offset = offsetof(struct rm_config, json) },
	{ 0 },
};

void command_rm_usage(void *file)
{
	fputs("Removes a machine that is off: its machine file, and its name from `pogo ls`.\n\n"
	      "  pogo rm web\n"
	      "  pogo rm --disks web\n\n"
	      "Options:\n",
	      file);
	opt_help(rm_opts, file);
	fputs("\nExit codes: 0 done, 1 error or the answer was no, 2 wrong usage.\n", file);
}

static bool ask(const struct machine_spec *s)
{
	char line[16];

	for (u32 n = 0; n < s->disks; n++)
		if (s->disk[n].device == SPEC_DISK)
			fprintf(stderr, "  %s%s\n", s->disk[n].source[0] == '/' ? "" : s->dir,
				s->disk[n].source);
	fprintf(stderr, "Remove machine %s and these images for good? [y/N] ", s->name);
	return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static bool remove_file(const char *path, json_t *removed)
{
	if (!path || unlink(path)) {
		log_error("%s: cannot be removed: %s", path ? path : "an image", fail_text(errno));
		return path && errno == ENOENT;
	}
	json_array_append_new(removed, json_string(path));
	return true;
}

/* Locks an image that is to go: another machine may be using it. NULL in *file: it is gone already. */
static bool lock_image(struct block_file **file, const char *path)
{
	char err[1024];
	int r = path ? block_file_open(file, path, false, err, sizeof(err)) : -ENOMEM;

	if (!r || r == -ENOENT)
		return true;
	log_error("%s", path ? err : "no memory");
	return false;
}

/* The machine is claimed, so that nobody starts it. */
static bool remove_machine(struct machine_spec *s, const char *path, const struct rm_config *cfg,
			   json_t *removed)
{
	struct block_file *images[SPEC_DISKS] = { 0 };
	bool good = true;

	for (u32 n = 0; n < s->disks && cfg->disks && good; n++)
		if (s->disk[n].device == SPEC_DISK)
			good = lock_image(&images[n], spec_path(s, s->disk[n].source));
	for (u32 n = 0; n < s->disks && good; n++)
		if (images[n])
			good = remove_file(images[n]->path, removed);
	for (u32 n = 0; n < s->disks; n++)
		if (images[n])
			block_file_close(images[n]);
	return good && remove_file(path, removed);
}

/* Whether the registry has this file under this name. */
static bool is_registered(const char *name, const char *path)
{
	char known[PATH_MAX], whole[PATH_MAX], err[256];

	return registry_find(name, known, err, sizeof(err)) && realpath(path, whole) &&
	       !strcmp(known, whole);
}

/* A name whose file is gone or bad has nothing but the name to be removed. */
static int remove_name(const char *arg, const struct rm_config *cfg, const char *why)
{
	char path[PATH_MAX], err[512];

	if (!spec_name_good(arg) || cfg->disks || claim_holder(arg) ||
	    !registry_find(arg, path, err, sizeof(err))) {
		log_error("%s", why);
		return EXIT_ERROR;
	}
	registry_remove(arg);
	if (cfg->json)
		json_print(json_pack("{s:s, s:[]}", "name", arg, "removed"));
	else
		printf("%s is forgotten; its machine file %s %s\n", arg, path,
		       access(path, F_OK) ? "was gone already" : "is bad, and stays there");
	return EXIT_OK;
}

static int rm(const char *arg, const struct rm_config *cfg)
{
	struct machine_spec spec;
	char path[PATH_MAX], err[512];
	json_t *removed;
	int claim, code = EXIT_ERROR;

	if (!registry_find(arg, path, err, sizeof(err)) ||
	    !machine_xml_read(&spec, path, err, sizeof(err)))
		return remove_name(arg, cfg, err);
	claim = claim_take(spec.name, err, sizeof(err));
	if (claim < 0) {
		log_error("%s", err);
		spec_free(&spec);
		return EXIT_ERROR;
	}
	removed = json_array();
	if (cfg->disks && !cfg->force && !isatty(STDIN_FILENO)) {
		log_error("--disks removes images for good; say --force where nobody can be asked");
	} else if (!cfg->disks || cfg->force || ask(&spec)) {
		bool known = is_registered(spec.name, path);

		code = remove_machine(&spec, path, cfg, removed) ? EXIT_OK : EXIT_ERROR;
		if (!code && known)
			registry_remove(spec.name);
	}
	claim_drop(spec.name, claim);
	if (!code && cfg->json) {
		json_print(json_pack("{s:s, s:o}", "name", spec.name, "removed", removed));
	} else {
		if (!code)
			printf("%s is removed\n", spec.name);
		json_decref(removed);
	}
	spec_free(&spec);
	return code;
}

int command_rm(int argc, char **argv)
{
	struct rm_config cfg = { 0 };
	int code;
	const char *name = command_parse_name(rm_opts, command_rm_usage, &cfg, argc, argv, &code);

	return name ? rm(name, &cfg) : code;
}
