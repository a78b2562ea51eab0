/* "Did you mean": the known word nearest to one that is not known. */
#ifndef CONTROL_SUGGEST_H
#define CONTROL_SUGGEST_H

#include "base/types.h"

#define SUGGEST_MAX 64 /* longer words have no neighbours */

/* How many insertions, deletions, changes and swaps of neighbours make b of a; UINT32_MAX if one is longer than SUGGEST_MAX. */
unsigned suggest_distance(const char *a, const char *b);
/* The nearest of the words, or NULL if none is near enough to be meant. */
const char *suggest_nearest(const char *word, const char *const *words, unsigned count);

#endif
