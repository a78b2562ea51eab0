/* What an engine is: one way to run a vCPU. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "x86/vcpu.h"

struct engine_ops {
	const char *name, *help;
	/* run() does not count instructions unless the guest's clock does: it returns STOP_BUDGET when ATT_YIELD is set. */
	bool timed;
	bool makes_code; /* vm.cache_size and vm.perf_map mean something */
	/* NULL, or why this host cannot run it: by trying, not by looking. */
	const char *(*unfit)(void);
	int (*vm_init)(struct vm *vm) must_check;
	void (*vm_fini)(struct vm *vm);
	int (*vcpu_init)(struct vcpu *v) must_check;
	void (*vcpu_fini)(struct vcpu *v);
	/* Runs until about budget_insns instructions are done (at most a block more) or another stop.
	 *
	 * For lockstep (vm.pace other than PACE_FREE) events and instructions are apart. With a budget
	 * of 0 it attends (x86_attend, once), runs nothing and returns STOP_BUDGET, or the stop. With a
	 * larger budget it attends to nothing, though it runs one instruction at a time where attention
	 * asks for that (ATT_SHADOW, ATT_SLOW), and returns STOP_BUDGET
	 * - when it has delivered a fault, which counts as no instruction; or STOP_SHUTDOWN;
	 * - else PACE_UNITS: at the first boundary between its units where the budget is used up,
	 *   attention is set, or the CPU has halted;
	 * - else PACE_EXACT: after exactly budget_insns instructions, whatever attention says. */
	enum stop (*run)(struct vcpu *v, u64 budget_insns);
	u64 (*icount)(const struct vcpu *v); /* exact, also inside an exit; becomes vm.icount */
	void (*stats)(const struct vm *vm, void *file); /* lines for --stats */
	/* --dump=dump_name: prints each block or unit as it is made, from now on. */
	const char *dump_name;
	void (*dump)(struct vm *vm, void *file);
	/* Outside run: makes v->cpu complete, floating-point state included. Returns whether that part may have changed since
	 * the last call. NULL: v->cpu is always complete, and nobody knows. */
	bool (*pull)(struct vcpu *v);
	/* Outside run, PACE_UNITS: what the engine knows about the unit that ran last, as text for a person. May be NULL. */
	void (*describe)(struct vcpu *v, void *file);
};

extern const struct engine_ops engine_bt, engine_interp;

/* All engines, the best first; NULL-terminated. */
extern const struct engine_ops *const engines[];
const struct engine_ops *engine_find(const char *name);
/* The best one that can run on this host. */
const struct engine_ops *engine_default(void);

#endif
