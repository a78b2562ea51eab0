/* What an engine is: one way to run a vCPU. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "x86/vcpu.h"

struct engine_ops {
	const char *name, *help;
	const char *(*unfit)(
		void); /* NULL, or why this host cannot run it: by trying, not by looking */
	int (*vm_init)(struct vm *vm) must_check;
	void (*vm_fini)(struct vm *vm);
	int (*vcpu_init)(struct vcpu *v) must_check;
	void (*vcpu_fini)(struct vcpu *v);
	/* Runs until about budget_insns instructions are done (at most a block more) or another stop. */
	enum stop (*run)(struct vcpu *v, u64 budget_insns);
	u64 (*icount)(const struct vcpu *v); /* exact, also inside an exit; becomes vm.icount */
	void (*stats)(const struct vm *vm, void *file); /* lines for --stats */
	void (*dump_block)(struct vm *vm,
			   void *file); /* --dump=block: every block as it is decoded */
};

extern const struct engine_ops engine_bt, engine_interp;

/* All engines, the default first; NULL-terminated. */
extern const struct engine_ops *const engines[];
const struct engine_ops *engine_find(const char *name);

#endif
