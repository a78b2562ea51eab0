/* JSON on standard output, for --json. */
#ifndef CONTROL_JSON_PRINT_H
#define CONTROL_JSON_PRINT_H

#include "base/types.h"

#include <jansson.h>

/* Prints value in several lines and drops it. */
void json_print(json_t *value);

#endif
