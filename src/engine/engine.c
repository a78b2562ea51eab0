#include "engine/engine.h"

#include <string.h>

const struct engine_ops *const engines[] = { &engine_bt, &engine_interp, NULL };

const struct engine_ops *engine_find(const char *name)
{
	for (const struct engine_ops *const *e = engines; *e; e++)
		if (!strcmp((*e)->name, name))
			return *e;
	return NULL;
}

const struct engine_ops *engine_default(void)
{
	const struct engine_ops *const *e = engines;

	while (e[1] && (*e)->unfit())
		e++;
	return *e;
}
