/* One instruction alone: see step.h. */
#include "engine/step.h"

#include "x86/debug.h"
#include "x86/debugger.h"
#include "x86/decode_cache.h"
#include "x86/exec.h"
#include "x86/mem.h"

/* Fetches and decodes the one instruction at rip with every check; used where the cache cannot help. */
static void decode_one(struct vcpu *v, struct x86_insn *i, unsigned mode)
{
	struct decode_cache *c = v->vm->decode;
	gva_t a = x86_code_linear(&v->cpu);
	u8 bytes[15];
	unsigned max = sizeof(bytes), have;

	if (mode == 64) {
		if (!x86_canonical(a))
			x86_raise_gp0(v);
	} else {
		if (v->cpu.rip > v->cpu.seg[CS].limit)
			x86_raise_gp0(v);
		max = (unsigned)MIN(max, (u64)v->cpu.seg[CS].limit - v->cpu.rip + 1);
	}
	have = x86_fetch(v, a, bytes, max);
	if (x86_decode_cached(c, i, bytes, have, mode) == 0 && have < max) {
		have += x86_fetch(v, a + have, bytes + have, max - have);
		if (x86_decode_cached(c, i, bytes, have, mode) == 0)
			x86_raise_gp0(v); /* cut off by the segment limit */
	} else if (have == max && max < sizeof(bytes) &&
		   x86_decode_cached(c, i, bytes, have, mode) == 0) {
		x86_raise_gp0(v);
	}
	i->off = 0;
}

bool engine_step(struct vcpu *v, enum stop *stop)
{
	unsigned mode = x86_code_bits(&v->cpu);
	bool tf = v->cpu.rflags & FL_TF;
	struct x86_insn i;

	if (unlikely(v->dbg && debugger_stops(v->dbg, x86_code_linear(&v->cpu)))) {
		*stop = STOP_DEBUG;
		return false;
	}
	bool resume = v->cpu.rflags & FL_RF;

	if (!resume)
		x86_check_code_breakpoint(v, x86_code_linear(&v->cpu));
	decode_one(v, &i, mode);
	u64 rip = v->cpu.rip, next = (rip + i.len) & engine_rip_mask(mode);

	v->cpu.rflags &= ~FL_RF;

	v->insn = &i;
	i.fn(v, &i);
	if (!(i.flags & INSN_BRANCH))
		v->cpu.rip = next;
	else if (v->cpu.rip == rip && resume && i.flags & (INSN_REP | INSN_REPNE))
		v->cpu.rflags |=
			FL_RF; /* a string instruction between two iterations (SDM 3B 18.3.1.1) */
	v->icount++;
	v->insn = NULL;
	x86_step_done(v, tf);
	return true;
}
