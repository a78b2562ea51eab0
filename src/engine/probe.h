/* Whether an engine works on this host: by running a tiny guest on it. */
#ifndef ENGINE_PROBE_H
#define ENGINE_PROBE_H

#include "engine/engine.h"

/* NULL if the engine ran the guest right, else one line that says what went wrong. */
const char *engine_probe(const struct engine_ops *engine) must_check;

#endif
