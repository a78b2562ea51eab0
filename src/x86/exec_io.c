/* Port access: IN and OUT, and what every port instruction needs (SDM 1 chapter 19). */
#include "x86/debug.h"
#include "x86/operand.h"
#include "x86/seg.h"

#include <Zydis/Zydis.h>

#define TSS_IO_BASE 102 /* where a 32-bit TSS holds the offset of its permission bitmap */

void x86_check_io(struct vcpu *v, u16 port, unsigned size)
{
	const struct x86_cpu *cpu = &v->cpu;
	const struct x86_seg *tr = &cpu->seg[TR];

	if (!x86_protected(cpu) || (!x86_v86(cpu) && cpu->cpl <= x86_iopl(cpu)))
		return;
	if (!(tr->ar & 8) || tr->limit < TSS_IO_BASE + 1)
		x86_raise_gp0(v);
	u32 off = (u32)x86_read_sys(v, x86_wrap_linear(cpu, tr->base + TSS_IO_BASE), 2) + port / 8u;

	/* Two bytes are always read, so that an access may span them. */
	if (off + 1 > tr->limit)
		x86_raise_gp0(v);
	u64 map = x86_read_sys(v, x86_wrap_linear(cpu, tr->base + off), 2);

	if (map >> (port & 7) & bits_mask(size))
		x86_raise_gp0(v);
}

u64 x86_port_in(struct vcpu *v, u16 port, unsigned size)
{
	struct exit e = { .kind = EXIT_PORT_IN, .size = (u8)size, .addr = port };

	v->exit(v, &e);
	x86_io_breakpoint(v, port, size);
	return e.value & bits_mask(8 * size);
}

void x86_port_out(struct vcpu *v, u16 port, u64 value, unsigned size)
{
	struct exit e = { .kind = EXIT_PORT_OUT,
			  .size = (u8)size,
			  .addr = port,
			  .value = value & bits_mask(8 * size) };

	v->exit(v, &e);
	x86_io_breakpoint(v, port, size);
}

static u16 port_of(const struct vcpu *v, const struct x86_insn *i, const struct x86_operand *o)
{
	return o->kind == OPK_IMM ? (u8)i->imm : (u16)v->cpu.gpr[RDX];
}

static void exec_in(struct vcpu *v, const struct x86_insn *i)
{
	u16 port = port_of(v, i, &i->op[1]);
	unsigned size = i->op[0].size;

	x86_check_io(v, port, size);
	gpr_set(v, RAX, x86_port_in(v, port, size), size);
}

static void exec_out(struct vcpu *v, const struct x86_insn *i)
{
	u16 port = port_of(v, i, &i->op[0]);
	unsigned size = i->op[1].size;

	x86_check_io(v, port, size);
	x86_port_out(v, port, v->cpu.gpr[RAX], size);
}

x86_exec_fn *x86_bind_io(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_IN: return exec_in;
	case ZYDIS_MNEMONIC_OUT: return exec_out;
	default: return NULL;
	}
}
