#include "engine/engine.h"

#include <string.h>

const struct engine_ops *const engines[] = { &engine_interp, &engine_bt, NULL };

const struct engine_ops *engine_find(const char *name)
{
	for (const struct engine_ops *const *e = engines; *e; e++)
		if (!strcmp((*e)->name, name))
			return *e;
	return NULL;
}
