/* Commands to the screen and keyboard of a machine that runs: screenshot, text, type, key. */
#include "base/log.h"
#include "control/client.h"
#include "control/command.h"
#include "control/json_print.h"
#include "control/keymap.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX  65 /* the machine's name among them */
#define TYPE_CHUNK 1000u
#define TYPE_MAX   (64 * KIB)
#define PATIENCE   200u /* times 50 ms in which a guest takes no key at all */

struct screen_config {
	bool json, enter;
};

static const struct opt plain_opts[] = {
	{ .rows = command_opts, .offset = offsetof(struct screen_config, json) },
	{ 0 },
};
static const struct opt type_opts[] = {
	{ .key = "enter",
	  .kind = OPT_FLAG,
	  .offset = offsetof(struct screen_config, enter),
	  .help = "press Enter after the text" },
	{ .rows = command_opts, .offset = offsetof(struct screen_config, json) },
	{ 0 },
};

/* A command at work: the machine it is for, and the words behind its name. */
struct screen_call {
	const struct screen_config *cfg;
	struct client_target target;
	const char **words;
	int count;
	char err[PATH_MAX + 256];
};

static json_t *ask(struct screen_call *c, const char *command, json_t *args)
{
	return client_ask(c->target.name, command, args, c->err, sizeof(c->err));
}

/* --- screenshot, text ------------------------------------------------------------------------- */

/* The machine's process has another working directory, or none that still exists. */
static bool whole_path(struct screen_call *c, const char *path, char whole[PATH_MAX])
{
	char here[PATH_MAX] = "";

	if (*path != '/' && !getcwd(here, sizeof(here))) {
		snprintf(c->err, sizeof(c->err), "the current directory: %s", strerror(errno));
		return false;
	}
	if ((size_t)snprintf(whole, PATH_MAX, "%s%s%s", here, *here ? "/" : "", path) >= PATH_MAX) {
		snprintf(c->err, sizeof(c->err), "screenshot: the path is too long");
		return false;
	}
	return true;
}

static int screenshot(struct screen_call *c)
{
	char named[SPEC_NAME_MAX + 8], path[PATH_MAX];
	const char *out = named;

	snprintf(named, sizeof(named), "%s.png", c->target.name);
	if (c->count)
		out = c->words[0];
	if (!whole_path(c, out, path))
		return EXIT_ERROR;
	json_t *answer = ask(c, "screendump", json_pack("{s:s}", "filename", path));

	if (!answer)
		return EXIT_ERROR;
	json_decref(answer);
	if (c->cfg->json)
		json_print(json_pack("{s:s, s:s}", "name", c->target.name, "file", path));
	else
		printf("%s: screen of %s\n", out, c->target.name);
	return EXIT_OK;
}

static json_t *lines_of(const char *text)
{
	json_t *lines = json_array();

	while (*text) {
		size_t n = strcspn(text, "\n");

		json_array_append_new(lines, json_stringn(text, n));
		text += n + (text[n] != 0);
	}
	return lines;
}

static int text(struct screen_call *c)
{
	json_t *answer = ask(c, "x-pogo-screen-text", NULL);
	const char *said = json_string_value(json_object_get(answer, "text"));

	if (!said) {
		if (answer)
			snprintf(c->err, sizeof(c->err), "%s: an answer without text",
				 c->target.name);
		json_decref(answer);
		return EXIT_ERROR;
	}
	if (c->cfg->json)
		json_print(
			json_pack("{s:s, s:o}", "name", c->target.name, "lines", lines_of(said)));
	else
		fputs(said, stdout);
	json_decref(answer);
	return EXIT_OK;
}

/* --- type ------------------------------------------------------------------------------------- */

/* Words with a space between them, or all of standard input. For free(); NULL with a line in err. */
static char *gather(struct screen_call *c, size_t *size)
{
	char *buf = malloc(TYPE_MAX + 2);
	size_t n = 0;

	for (int k = 0; buf && k < c->count && n <= TYPE_MAX; k++)
		n += (size_t)snprintf(buf + n, TYPE_MAX + 1 - n, "%s%s", k ? " " : "", c->words[k]);
	if (buf && !c->count)
		n = fread(buf, 1, TYPE_MAX + 1, stdin);
	if (buf && n <= TYPE_MAX) {
		if (c->cfg->enter)
			buf[n++] = '\n';
		*size = n;
		return buf;
	}
	snprintf(c->err, sizeof(c->err),
		 buf ? "type: more than 64 KiB of text; type it in parts" : "no memory");
	free(buf);
	return NULL;
}

static bool check_typed(struct screen_call *c, const char *buf, size_t size)
{
	bool shift;

	for (size_t n = 0; n < size; n++) {
		if (keymap_char((u8)buf[n], &shift))
			continue;
		snprintf(c->err, sizeof(c->err),
			 "type: no key of a US keyboard types character %zu (%02xh); leave it out",
			 n + 1, (u8)buf[n]);
		return false;
	}
	return true;
}

/* As fast as the guest takes keys. */
static bool send_text(struct screen_call *c, const char *buf, size_t size)
{
	static const struct timespec pause = { .tv_nsec = 50000000 };
	unsigned idle = 0;

	for (size_t at = 0; at < size;) {
		size_t n = MIN(size - at, TYPE_CHUNK);
		json_t *answer = ask(c, "x-pogo-type", json_pack("{s:s%}", "text", buf + at, n));
		size_t typed = (size_t)json_integer_value(json_object_get(answer, "typed"));

		if (!answer)
			return false;
		json_decref(answer);
		at += MIN(typed, n);
		idle = typed ? 0 : idle + 1;
		if (idle == PATIENCE) {
			snprintf(
				c->err, sizeof(c->err),
				"%s: the guest takes no keys; %zu of %zu characters were typed, up to 2,000 of them wait",
				c->target.name, at, size);
			return false;
		}
		if (at < size)
			nanosleep(&pause, NULL);
	}
	return true;
}

static int type(struct screen_call *c)
{
	size_t size = 0;
	char *buf = gather(c, &size);
	bool good = buf && check_typed(c, buf, size) && send_text(c, buf, size);

	free(buf);
	if (!good)
		return EXIT_ERROR;
	if (c->cfg->json)
		json_print(
			json_pack("{s:s, s:I}", "name", c->target.name, "typed", (json_int_t)size));
	return EXIT_OK;
}

/* --- key -------------------------------------------------------------------------------------- */

/* What people call keys beside QMP's names. */
static const struct {
	const char *said, *name;
} aliases[] = {
	{ "control", "ctrl" },       { "del", "delete" },       { "ins", "insert" },
	{ "enter", "ret" },          { "return", "ret" },       { "escape", "esc" },
	{ "space", "spc" },          { "pageup", "pgup" },      { "pagedown", "pgdn" },
	{ "win", "meta_l" },         { "super", "meta_l" },     { "altgr", "alt_r" },
	{ "capslock", "caps_lock" }, { "numlock", "num_lock" }, { "printscreen", "print" },
	{ "bksp", "backspace" },
};

static const char *key_name(const char *said)
{
	for (unsigned n = 0; n < ARRAY_LEN(aliases); n++)
		if (!strcmp(aliases[n].said, said))
			return aliases[n].name;
	return keymap_name(said) ? said : NULL;
}

/* "ctrl-alt-delete" as QMP's keys; a last '-' is the key itself. NULL with a line in err. */
static json_t *chord(struct screen_call *c, const char *word)
{
	json_t *keys = json_array();
	const char *at = word;

	do {
		size_t n = *at == '-' ? 1 : strcspn(at, "-");
		char said[32];

		snprintf(said, sizeof(said), "%.*s", (int)MIN(n, sizeof(said) - 1), at);
		const char *name = key_name(said);

		if (!name) {
			snprintf(
				c->err, sizeof(c->err),
				"key %.60s: no key '%s'; write for example ret, f10, a, or ctrl-alt-delete",
				word, said);
			json_decref(keys);
			return NULL;
		}
		json_array_append_new(keys, json_pack("{s:s, s:s}", "type", "qcode", "data", name));
		at += n;
	} while (*at++ == '-');
	return keys;
}

static int key(struct screen_call *c)
{
	json_t *chords[WORDS_MAX];
	int made = 0, code = EXIT_OK;

	/* All are understood before the first is pressed. */
	while (made < c->count && (chords[made] = chord(c, c->words[made])))
		made++;
	if (made < c->count)
		code = EXIT_USAGE;
	for (int n = 0; n < made; n++) {
		json_t *answer = code ? NULL
				      : ask(c, "send-key", json_pack("{s:O}", "keys", chords[n]));

		if (!answer && !code)
			code = EXIT_ERROR;
		json_decref(answer);
		json_decref(chords[n]);
	}
	if (!code && c->cfg->json)
		json_print(json_pack("{s:s, s:i}", "name", c->target.name, "pressed", made));
	return code;
}

/* --- The commands ----------------------------------------------------------------------------- */

static const struct screen_command {
	const char *name;
	struct command_line line; /* its first word is the machine's name */
	int (*run)(struct screen_call *c);
	const char *help;
} screen_commands[] = {
	{ "screenshot",
	  { plain_opts, command_screenshot_usage, 1, 2,
	    "name a machine: pogo screenshot web out.png" },
	  screenshot,
	  "Writes the screen of a machine that runs to a PNG file, NAME.png unless another name is given.\n\n"
	  "  pogo screenshot web\n"
	  "  pogo screenshot web out.png\n\n"
	  "Exit codes: 0 done, 1 error (a file of that name stays as it was), 2 wrong usage.\n" },
	{ "text",
	  { plain_opts, command_text_usage, 1, 1, NULL },
	  text,
	  "Prints the text screen of a machine that runs, without colours and blanks at the ends of lines.\n\n"
	  "  pogo text web\n"
	  "  pogo text web | grep login:\n\n"
	  "Exit codes: 0 done, 1 error (the screen shows graphics, say), 2 wrong usage.\n" },
	{ "type",
	  { type_opts, command_type_usage, 1, WORDS_MAX,
	    "name a machine: pogo type web \"ls -l\"" },
	  type,
	  "Types a text on the keyboard of a machine that runs, as fast as its guest takes it; without TEXT what standard\n"
	  "input has. The guest is assumed to have a US keyboard.\n\n"
	  "  pogo type web --enter root\n"
	  "  pogo type web < commands.txt\n\n"
	  "Exit codes: 0 done, 1 error, 2 wrong usage.\n" },
	{ "key",
	  { plain_opts, command_key_usage, 2, WORDS_MAX,
	    "name a machine and keys: pogo key web ctrl-alt-delete" },
	  key,
	  "Presses keys of a machine that runs: one after the other, those joined by - together. Keys are called as QMP does:\n"
	  "a to z, 0 to 9, f1 to f12, ret, esc, tab, spc, backspace, delete, insert, home, end, pgup, pgdn, up, down, left,\n"
	  "right, shift, ctrl, alt, alt_r, meta_l, caps_lock, kp_0 to kp_9, print, sysrq and so on.\n\n"
	  "  pogo key web ctrl-alt-delete\n"
	  "  pogo key web down down ret\n\n"
	  "Exit codes: 0 done, 1 error, 2 wrong usage.\n" },
};

static const struct screen_command *command_find(const char *name)
{
	const struct screen_command *c = screen_commands;

	while (strcmp(c->name, name))
		c++;
	return c;
}

static void usage(const char *name, void *file)
{
	const struct screen_command *c = command_find(name);

	fputs(c->help, file);
	fputs("\nOptions:\n", file);
	opt_help(c->line.opts, file);
}

static int run(const struct screen_command *command, const struct screen_config *cfg,
	       const char **words, int count)
{
	struct screen_call *c = calloc(1, sizeof(*c));
	int code = EXIT_ERROR;

	if (!c) {
		log_error("no memory");
		return code;
	}
	*c = (struct screen_call){ .cfg = cfg, .words = words + 1, .count = count - 1 };
	if (client_find_running(&c->target, words[0], c->err, sizeof(c->err)))
		code = command->run(c);
	if (code)
		log_error("%s", c->err);
	free(c);
	return code;
}

/* argv[0] is one of the names in the table. */
int command_screen(int argc, char **argv)
{
	const struct screen_command *command = command_find(argv[0]);
	struct screen_config cfg = { 0 };
	const char *words[WORDS_MAX];
	int code, count = command_parse(&command->line, &cfg, argc, argv, words, &code);

	return count < 0 ? code : run(command, &cfg, words, count);
}

void command_screenshot_usage(void *file) { usage("screenshot", file); }
void command_text_usage(void *file) { usage("text", file); }
void command_type_usage(void *file) { usage("type", file); }
void command_key_usage(void *file) { usage("key", file); }
