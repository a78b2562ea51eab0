/* Options: one row gives parsing, range checks, and the help text. */
#ifndef CORE_OPT_H
#define CORE_OPT_H

#include "base/types.h"

enum opt_kind {
	OPT_FLAG,   /* bool: no value */
	OPT_STRING, /* const char * */
	OPT_SIZE,   /* u64 bytes: 512M, 2G; a bare number is MiB */
	OPT_UINT,   /* u32 */
	OPT_LIST,   /* struct opt_list: may be given several times */
	OPT_CHOICE, /* const char *: one of the words in `choices` */
	OPT_HELP,   /* prints the help of the command */
};

#define OPT_LIST_MAX 16

struct opt_list {
	const char *item[OPT_LIST_MAX];
	unsigned count;
};

struct opt {
	const char *key; /* without the dashes */
	enum opt_kind kind;
	u32 offset;        /* in the configuration struct */
	const char *value; /* name of the value in the help, NULL for flags */
	const char *help;
	u64 min, max;        /* OPT_SIZE, OPT_UINT */
	const char *choices; /* OPT_CHOICE: "real insns" */
	const char *implied; /* value if none is given: "--gdb" alone; NULL: a value is required */
	/* Alone with `offset`: here stand these rows, for the struct there. */
	const struct opt *rows;
};

/* Parses argv[1..argc) into config by the rows (ended by one that is all 0). Positional words go to `words` (at most max_words). Returns the number
 * of words, or -1 with one clear line in err. *help is set if help was asked for. Strings point into argv. */
int opt_parse(const struct opt *opts, void *config, int argc, char **argv, const char **words,
	      int max_words, bool *help, char *err, size_t errlen) must_check;
/* The rows as an aligned table. */
void opt_help(const struct opt *opts, void *file);
/* "512M" to bytes: K, M, G, T suffixes with optional iB; a bare number is MiB. */
bool opt_parse_size(const char *text, u64 *bytes) must_check;

#endif
