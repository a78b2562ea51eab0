/* Raising exceptions: the way out of an instruction that cannot complete (SDM 3A 6.5). */
#include "base/trace.h"
#include "x86/vcpu.h"

static noreturn_fn void raise_exception(struct vcpu *v, enum x86_vector vector, bool has_error,
					u32 error)
{
	unsigned slot = v->last_exc_count++ % ARRAY_LEN(v->last_exc);

	v->exc = (struct x86_exception){ .vector = (u8)vector,
					 .has_error = has_error,
					 .error = error };
	v->exceptions[vector & 0xff]++;
	v->last_exc[slot].vector = vector;
	v->last_exc[slot].error = error;
	v->last_exc[slot].rip = v->cpu.rip;
	v->last_exc[slot].cr2 = v->cpu.cr2;
	trace(EXC, "cpu%u: exception %u error %#x at %04x:%llx cpl %u cr2 %#llx%s", v->index,
	      vector, error, v->cpu.seg[CS].sel, (unsigned long long)v->cpu.rip, v->cpu.cpl,
	      (unsigned long long)v->cpu.cr2, v->delivering ? " (nested)" : "");
	_longjmp(*v->catch, 1);
}

void x86_raise(struct vcpu *v, enum x86_vector vector) { raise_exception(v, vector, false, 0); }

void x86_raise_error(struct vcpu *v, enum x86_vector vector, u32 error)
{
	raise_exception(v, vector, true, error);
}

void x86_raise_pf(struct vcpu *v, gva_t addr, u32 error)
{
	v->cpu.cr2 = addr;
	raise_exception(v, EXC_PF, true, error);
}
