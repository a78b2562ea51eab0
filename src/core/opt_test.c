#include "core/opt.h"

#include "base/test.h"

#include <stdio.h>
#include <string.h>

struct config {
	u64 size;
	u32 number;
	bool flag;
	const char *text, *choice, *maybe;
	struct opt_list list;
	struct part {
		u32 before, inner;
	} part;
};

static const struct opt part_rows[] = {
	{ .key = "inner",
	  .kind = OPT_UINT,
	  .offset = offsetof(struct part, inner),
	  .value = "N",
	  .help = "of another table",
	  .max = 9 },
	{ 0 },
};

static const struct opt rows[] = {
	{ .key = "size",
	  .kind = OPT_SIZE,
	  .offset = offsetof(struct config, size),
	  .value = "SIZE",
	  .help = "",
	  .min = MIB,
	  .max = GIB },
	{ .key = "number",
	  .kind = OPT_UINT,
	  .offset = offsetof(struct config, number),
	  .value = "N",
	  .help = "",
	  .min = 1,
	  .max = 9 },
	{ .key = "flag", .kind = OPT_FLAG, .offset = offsetof(struct config, flag), .help = "" },
	{ .key = "text",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct config, text),
	  .value = "TEXT",
	  .help = "" },
	{ .key = "choice",
	  .kind = OPT_CHOICE,
	  .offset = offsetof(struct config, choice),
	  .value = "a|bc",
	  .help = "",
	  .choices = "a bc" },
	{ .key = "maybe",
	  .kind = OPT_STRING,
	  .offset = offsetof(struct config, maybe),
	  .value = "V",
	  .help = "",
	  .implied = "implied" },
	{ .rows = part_rows, .offset = offsetof(struct config, part) },
	{ .key = "list",
	  .kind = OPT_LIST,
	  .offset = offsetof(struct config, list),
	  .value = "V",
	  .help = "" },
	{ .key = "help", .kind = OPT_HELP, .help = "" },
	{ 0 },
};

static char err[256];

/* Parses words (ended by NULL) after the command's name. */
static int parse(struct config *c, bool *help, const char *const *words)
{
	char *argv[32] = { (char *)(uintptr_t) "test" };
	const char *rest[2];
	int argc = 1;

	*c = (struct config){ 0 };
	while (*words)
		argv[argc++] = (char *)(uintptr_t)*words++;
	return opt_parse(rows, c, argc, argv, rest, 2, help, err, sizeof(err));
}

#define PARSE(c, ...)                                                         \
	({                                                                    \
		bool help_;                                                   \
		parse(c, &help_, (const char *const[]){ __VA_ARGS__, NULL }); \
	})

static void values(void **state)
{
	struct config c;

	(void)state;
	assert_int_equal(PARSE(&c, "--size", "3M", "--number=7", "--flag", "word", "--text",
			       "--dashes", "--choice", "bc"),
			 1);
	assert_int_equal(c.size, 3 * MIB);
	assert_int_equal(c.number, 7);
	assert_true(c.flag);
	assert_string_equal(c.text, "--dashes");
	assert_string_equal(c.choice, "bc");
	assert_null(c.maybe);
	assert_int_equal(PARSE(&c, "--list", "a", "--list=b"), 0);
	assert_int_equal(c.list.count, 2);
	assert_string_equal(c.list.item[1], "b");
}

/* Rows of another table go to their own struct, and what stands behind them goes on as before. */
static void rows_in_rows(void **state)
{
	struct config c;
	char help[4096] = "";
	FILE *file = fmemopen(help, sizeof(help), "w");

	(void)state;
	assert_int_equal(PARSE(&c, "--inner", "3", "--list", "a"), 0);
	assert_int_equal(c.part.inner, 3);
	assert_int_equal(c.part.before, 0);
	assert_int_equal(c.list.count, 1);
	assert_int_equal(PARSE(&c, "--inner", "10"), -1);
	assert_string_equal(err, "--inner 10: must be a number from 0 to 9");
	assert_non_null(file);
	opt_help(rows, file);
	fclose(file);
	assert_non_null(strstr(help, "--maybe"));
	assert_non_null(strstr(help, "of another table"));
	assert_non_null(strstr(help, "--help"));
}

static void implied(void **state)
{
	struct config c;

	(void)state;
	assert_int_equal(PARSE(&c, "--maybe"), 0);
	assert_string_equal(c.maybe, "implied");
	assert_int_equal(PARSE(&c, "--maybe", "--flag"), 0);
	assert_string_equal(c.maybe, "implied");
	assert_true(c.flag);
	assert_int_equal(PARSE(&c, "--maybe", "given"), 0);
	assert_string_equal(c.maybe, "given");
	assert_int_equal(PARSE(&c, "--maybe=given"), 0);
	assert_string_equal(c.maybe, "given");
}

static void errors(void **state)
{
	struct config c;

	(void)state;
	assert_int_equal(PARSE(&c, "--size", "2G"), -1);
	assert_string_equal(err, "--size 2G: must be from 1M to 1G");
	assert_int_equal(PARSE(&c, "--size", "1X"), -1);
	assert_int_equal(PARSE(&c, "--size", "-1M"), -1);
	assert_int_equal(PARSE(&c, "--size", "99999999999999999999"), -1);
	assert_int_equal(PARSE(&c, "--number", "10"), -1);
	assert_string_equal(err, "--number 10: must be a number from 1 to 9");
	assert_int_equal(PARSE(&c, "--number", "0"), -1);
	assert_int_equal(PARSE(&c, "--number", "3x"), -1);
	assert_int_equal(PARSE(&c, "--flag=1"), -1);
	assert_int_equal(PARSE(&c, "--choice", "b"), -1);
	assert_int_equal(PARSE(&c, "--text"), -1);
	assert_int_equal(PARSE(&c, "--nothing"), -1);
	assert_int_equal(PARSE(&c, "one", "two", "three"), -1);
}

static void sizes(void **state)
{
	u64 n;

	(void)state;
	assert_true(opt_parse_size("64", &n) && n == 64 * MIB);
	assert_true(opt_parse_size("2g", &n) && n == 2 * GIB);
	assert_true(opt_parse_size("4KiB", &n) && n == 4 * KIB);
	assert_true(opt_parse_size("1T", &n) && n == 1024 * GIB);
	assert_false(opt_parse_size("", &n));
	assert_false(opt_parse_size("M", &n));
	assert_false(opt_parse_size("16777216T", &n)); /* 2^64 */
	assert_false(opt_parse_size("1MM", &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values), cmocka_unit_test(rows_in_rows), cmocka_unit_test(implied),
		cmocka_unit_test(errors), cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
