/*
 * The 17 instructions of x86 that are sensitive and not privileged, after Robin and Irvine,
 * "Analysis of the Intel Pentium's Ability to Support a Secure Virtual Machine Monitor", USENIX
 * Security 2000 (VERR and VERW as one): a table of what each gives the guest in each mode.
 */
#ifndef TESTS_GUEST_SENSITIVE_H
#define TESTS_GUEST_SENSITIVE_H

#include "tap.h"

enum row {
	R_SGDT,
	R_SIDT,
	R_SLDT,
	R_SMSW,
	R_PUSHF,
	R_POPF,
	R_LAR,
	R_LSL,
	R_VERR,
	R_POP,
	R_PUSH,
	R_CALL,
	R_JMP,
	R_INT,
	R_RET,
	R_STR,
	R_MOV,
	ROWS
};
#define COLUMNS 6

static const char *const row_names[ROWS] = {
	"sgdt", "sidt", "sldt",     "smsw",    "pushf", "popf",    "lar", "lsl",      "verr verw",
	"pop",  "push", "call far", "jmp far", "int n", "ret far", "str", "mov sreg",
};

/* A cell: rules tried, rules failed, and the value that the first failed one saw. */
static struct cell {
	unsigned tried, failed;
	uint64_t value;
} cells[ROWS][COLUMNS];

static void append(char **to, char *end, const char *text)
{
	while (*text && *to < end)
		*(*to)++ = *text++;
	**to = 0;
}

/* The name of a rule: "row, column: what". Valid until the next call. */
static const char *cell_name(enum row row, const char *column, const char *what)
{
	static char name[160];
	char *at = name, *end = name + sizeof(name) - 1;

	append(&at, end, row_names[row]);
	append(&at, end, ", ");
	append(&at, end, column);
	append(&at, end, ": ");
	append(&at, end, what);
	return name;
}

static void cell_note(enum row row, unsigned column, bool ok, uint64_t value)
{
	struct cell *c = &cells[row][column];

	c->tried++;
	if (!ok && !c->failed++)
		c->value = value;
}

static void put_padded(const char *text, unsigned width)
{
	unsigned n = 0;

	for (; text[n]; n++)
		tap_putc(text[n]);
	for (; n < width; n++)
		tap_putc(' ');
}

static void table_print(const char *const *columns, unsigned count)
{
	tap_puts("# ");
	put_padded("", 10);
	for (unsigned c = 0; c < count; c++)
		put_padded(columns[c], 12);
	tap_putc('\n');
	for (unsigned r = 0; r < ROWS; r++) {
		tap_puts("# ");
		put_padded(row_names[r], 10);
		for (unsigned c = 0; c < count; c++) {
			struct cell *cell = &cells[r][c];

			if (cell->failed) {
				tap_puts("fails ");
				tap_put_hex(cell->value);
				tap_putc(' ');
			} else {
				put_padded(cell->tried ? "ok" : "-", 12);
			}
		}
		tap_putc('\n');
	}
}

#endif
