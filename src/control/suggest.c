#include "control/suggest.h"

#include <ctype.h>
#include <string.h>

/* Optimal string alignment: three rows of the table suffice, since a swap looks two rows back. */
unsigned suggest_distance(const char *a, const char *b)
{
	unsigned rows[3][SUGGEST_MAX + 1];
	unsigned *above = rows[0], *row = rows[1], *next = rows[2];
	size_t n = strlen(a), m = strlen(b);

	if (n > SUGGEST_MAX || m > SUGGEST_MAX)
		return UINT32_MAX;
	for (unsigned j = 0; j <= m; j++)
		row[j] = j;
	for (unsigned i = 1; i <= n; i++) {
		next[0] = i;
		for (unsigned j = 1; j <= m; j++) {
			/* Case is no difference worth a letter. */
			bool same = tolower((u8)a[i - 1]) == tolower((u8)b[j - 1]);
			unsigned best = row[j - 1] + !same;

			best = MIN(best, row[j] + 1);
			best = MIN(best, next[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, above[j - 2] + 1);
			next[j] = best;
		}
		unsigned *free_row = above;

		above = row;
		row = next;
		next = free_row;
	}
	return row[m];
}

const char *suggest_nearest(const char *word, const char *const *words, unsigned count)
{
	unsigned limit = (unsigned)MIN(strlen(word) / 3 + 1, (size_t)4), best = limit + 1;
	const char *nearest = NULL;

	for (unsigned n = 0; n < count; n++) {
		unsigned distance = suggest_distance(word, words[n]);

		if (distance < best && distance < strlen(words[n])) {
			best = distance;
			nearest = words[n];
		}
	}
	return nearest;
}
