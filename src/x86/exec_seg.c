/* Instructions on segment registers, descriptor tables and selectors (SDM 2, by name; SDM 3A 2.8,
 * 5.10). */
#include "x86/debug.h"
#include "x86/event.h"
#include "x86/operand.h"
#include "x86/seg.h"

#include <Zydis/Zydis.h>

static void need_cpl0(struct vcpu *v)
{
	if (v->cpu.cpl)
		x86_raise_gp0(v);
}

static void need_protected(struct vcpu *v)
{
	if (x86_real_or_v86(&v->cpu))
		x86_raise_ud(v);
}

static void check_umip(struct vcpu *v)
{
	if (v->cpu.cpl && (v->cpu.cr4 & CR4_UMIP))
		x86_raise_gp0(v);
}

/* A 16-bit source, register or memory. */
static u16 source16(struct vcpu *v, const struct x86_insn *i, const struct x86_operand *o)
{
	if (o->kind == OPK_MEM)
		return (u16)x86_read(v, x86_operand(v, i, 2, ACC_READ), 2);
	return (u16)reg_get(v, o, 2);
}

/* A selector or machine status word goes whole to a register, as 16 bits to memory. */
static void store_word(struct vcpu *v, const struct x86_insn *i, u64 value)
{
	if (i->op[0].kind == OPK_MEM)
		x86_write(v, x86_operand(v, i, 2, ACC_WRITE), value, 2);
	else
		reg_set(v, &i->op[0], value, i->op[0].size);
}

static void set_zf(struct vcpu *v, bool zf)
{
	v->cpu.cc = (u16)((v->cpu.cc & ~CC_ZF) | (zf ? CC_ZF : 0));
}

/* --- MOV, PUSH, POP, LxS ---------------------------------------------------------------------- */

static void exec_mov_from_seg(struct vcpu *v, const struct x86_insn *i)
{
	store_word(v, i, v->cpu.seg[i->op[1].reg].sel);
}

static void exec_mov_to_seg(struct vcpu *v, const struct x86_insn *i)
{
	unsigned seg = i->op[0].reg;

	x86_load_seg(v, seg, source16(v, i, &i->op[1]));
	if (seg == SS)
		x86_shadow_mov_ss(v);
}

static void exec_push_seg(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	u16 sel = cpu->seg[i->op[0].reg].sel;

	/* Intel's CPUs move 16 bits into a 32-bit slot and leave the rest of it (SDM 2B PUSH). */
	if (i->opsize == 4 && !cpuid_is_amd(v->vm)) {
		u64 sp = (cpu->gpr[RSP] - 4) & x86_sp_mask(cpu);

		x86_write(v, x86_linear(v, SS, sp, 2, ACC_WRITE), sel, 2);
		x86_set_sp(cpu, sp);
	} else {
		x86_push(v, sel, i->opsize);
	}
}

static void exec_pop_seg(struct vcpu *v, const struct x86_insn *i)
{
	unsigned seg = i->op[0].reg;
	struct x86_stack s = stack_current(v);
	u16 sel = (u16)stack_pop(v, &s, i->opsize);

	x86_load_seg(v, seg, sel);
	v->cpu.gpr[RSP] = stack_merge(&s, v->cpu.gpr[RSP]); /* by the size of the old stack */
	if (seg == SS)
		x86_shadow_mov_ss(v);
}

static void load_far_pointer(struct vcpu *v, const struct x86_insn *i, unsigned seg)
{
	unsigned size = i->opsize;
	gva_t a = x86_operand(v, i, size + 2, ACC_READ);
	u64 off = x86_read(v, a, size);

	x86_load_seg(v, seg, (u16)x86_read(v, a + size, 2));
	reg_set(v, &i->op[0], off, size);
}

static void exec_les(struct vcpu *v, const struct x86_insn *i) { load_far_pointer(v, i, ES); }

static void exec_lss(struct vcpu *v, const struct x86_insn *i) { load_far_pointer(v, i, SS); }

static void exec_lds(struct vcpu *v, const struct x86_insn *i) { load_far_pointer(v, i, DS); }

static void exec_lfs(struct vcpu *v, const struct x86_insn *i) { load_far_pointer(v, i, FS); }

static void exec_lgs(struct vcpu *v, const struct x86_insn *i) { load_far_pointer(v, i, GS); }

/* --- Selector tests --------------------------------------------------------------------------- */

/* System types, as bits, that LAR and LSL accept: outside and in long mode (SDM 2A tables 3-52,
 * 3-55). */
#define LAR_TYPES      (LAR_TYPES_LONG | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5)
#define LAR_TYPES_LONG (1u << 2 | 1u << 9 | 1u << 11 | 1u << 12)
#define LSL_TYPES      (LSL_TYPES_LONG | 1u << 1 | 1u << 3)
#define LSL_TYPES_LONG (1u << 2 | 1u << 9 | 1u << 11)

/* The descriptor of sel if a program at CPL may know of it. types: system types that count. */
static bool visible_desc(struct vcpu *v, u16 sel, u32 types, u64 *desc)
{
	if (sel_null(sel) || !x86_read_desc(v, sel, desc))
		return false;
	u32 ar = desc_ar(*desc);

	if (!(ar & AR_S) && !(types >> (ar & AR_TYPE) & 1))
		return false;
	return ar_is_conforming(ar) || (ar_dpl(ar) >= v->cpu.cpl && ar_dpl(ar) >= (sel & SEL_RPL));
}

static void exec_lar(struct vcpu *v, const struct x86_insn *i)
{
	u64 desc;

	need_protected(v);
	bool ok = visible_desc(v, source16(v, i, &i->op[1]),
			       x86_long(&v->cpu) ? LAR_TYPES_LONG : LAR_TYPES, &desc);

	if (ok)
		reg_set(v, &i->op[0], desc >> 32 & 0x00f0ff00, i->opsize);
	set_zf(v, ok);
}

static void exec_lsl(struct vcpu *v, const struct x86_insn *i)
{
	u64 desc;

	need_protected(v);
	u16 sel = source16(v, i, &i->op[1]);
	bool ok = visible_desc(v, sel, x86_long(&v->cpu) ? LSL_TYPES_LONG : LSL_TYPES, &desc);

	if (ok)
		reg_set(v, &i->op[0], x86_seg_from_desc(sel, desc).limit, i->opsize);
	set_zf(v, ok);
}

static void exec_verr(struct vcpu *v, const struct x86_insn *i)
{
	u64 desc;

	need_protected(v);
	bool ok = visible_desc(v, source16(v, i, &i->op[0]), 0, &desc);

	set_zf(v, ok && (desc_ar(desc) & (AR_CODE | AR_WR)) != AR_CODE);
}

static void exec_verw(struct vcpu *v, const struct x86_insn *i)
{
	u64 desc;

	need_protected(v);
	bool ok = visible_desc(v, source16(v, i, &i->op[0]), 0, &desc);

	set_zf(v, ok && ar_is_writable_data(desc_ar(desc)));
}

static void exec_arpl(struct vcpu *v, const struct x86_insn *i)
{
	bool memory = i->op[0].kind == OPK_MEM;

	need_protected(v);
	u16 rpl = (u16)reg_get(v, &i->op[1], 2) & SEL_RPL;
	gva_t a = memory ? x86_operand(v, i, 2, ACC_RMW) : 0;
	/* It is written only where it changes, so a missing page is missed by the read (SDM 2A, ARPL: Operation). */
	u16 sel = (u16)(memory ? x86_read(v, a, 2) : reg_get(v, &i->op[0], 2));
	bool raise = (sel & SEL_RPL) < rpl;

	if (raise) {
		sel = (u16)((sel & ~SEL_RPL) | rpl);
		if (memory)
			x86_write(v, a, sel, 2);
		else
			reg_set(v, &i->op[0], sel, 2);
	}
	set_zf(v, raise);
}

/* --- Descriptor table registers --------------------------------------------------------------- */

static void load_table(struct vcpu *v, const struct x86_insn *i, struct x86_dtr *dtr)
{
	unsigned size = i->mode == 64 ? 8 : 4;

	need_cpl0(v);
	gva_t a = x86_operand(v, i, size + 2, ACC_READ);
	u16 limit = (u16)x86_read(v, a, 2);
	u64 base = x86_read(v, a + 2, size);

	if (i->mode == 64 && !x86_canonical(base))
		x86_raise_gp0(v);
	if (i->mode != 64 && i->opsize == 2)
		base &= 0xffffff;
	*dtr = (struct x86_dtr){ .base = base, .limit = limit };
}

static void exec_lgdt(struct vcpu *v, const struct x86_insn *i) { load_table(v, i, &v->cpu.gdtr); }

static void exec_lidt(struct vcpu *v, const struct x86_insn *i) { load_table(v, i, &v->cpu.idtr); }

static void store_table(struct vcpu *v, const struct x86_insn *i, const struct x86_dtr *dtr)
{
	unsigned size = i->mode == 64 ? 8 : 4;
	u8 image[10];

	check_umip(v);
	le_store(image, dtr->limit, 2);
	le_store(image + 2, dtr->base, size);
	x86_write_bytes(v, x86_operand(v, i, size + 2, ACC_WRITE), image, size + 2);
}

static void exec_sgdt(struct vcpu *v, const struct x86_insn *i) { store_table(v, i, &v->cpu.gdtr); }

static void exec_sidt(struct vcpu *v, const struct x86_insn *i) { store_table(v, i, &v->cpu.idtr); }

static void exec_lldt(struct vcpu *v, const struct x86_insn *i)
{
	need_protected(v);
	need_cpl0(v);
	x86_load_ldt(v, source16(v, i, &i->op[0]));
}

static void exec_ltr(struct vcpu *v, const struct x86_insn *i)
{
	need_protected(v);
	need_cpl0(v);
	x86_load_tr(v, source16(v, i, &i->op[0]));
}

static void exec_sldt(struct vcpu *v, const struct x86_insn *i)
{
	need_protected(v);
	check_umip(v);
	store_word(v, i, v->cpu.seg[LDTR].sel);
}

static void exec_str(struct vcpu *v, const struct x86_insn *i)
{
	need_protected(v);
	check_umip(v);
	store_word(v, i, v->cpu.seg[TR].sel);
}

/* --- FS and GS bases -------------------------------------------------------------------------- */

static void exec_swapgs(struct vcpu *v, const struct x86_insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	u64 base = cpu->seg[GS].base;

	if (i->mode != 64)
		x86_raise_ud(v);
	need_cpl0(v);
	cpu->seg[GS].base = cpu->kernel_gs_base;
	cpu->kernel_gs_base = base;
}

static void check_fsgsbase(struct vcpu *v, const struct x86_insn *i)
{
	if (i->mode != 64 || !(v->cpu.cr4 & CR4_FSGSBASE))
		x86_raise_ud(v);
}

static void read_base(struct vcpu *v, const struct x86_insn *i, unsigned seg)
{
	check_fsgsbase(v, i);
	reg_set(v, &i->op[0], v->cpu.seg[seg].base, i->op[0].size);
}

static void write_base(struct vcpu *v, const struct x86_insn *i, unsigned seg)
{
	check_fsgsbase(v, i);
	u64 base = reg_get(v, &i->op[0], i->op[0].size);

	if (!x86_canonical(base))
		x86_raise_gp0(v);
	v->cpu.seg[seg].base = base;
}

static void exec_rdfsbase(struct vcpu *v, const struct x86_insn *i) { read_base(v, i, FS); }

static void exec_rdgsbase(struct vcpu *v, const struct x86_insn *i) { read_base(v, i, GS); }

static void exec_wrfsbase(struct vcpu *v, const struct x86_insn *i) { write_base(v, i, FS); }

static void exec_wrgsbase(struct vcpu *v, const struct x86_insn *i) { write_base(v, i, GS); }

/* --- Binding ---------------------------------------------------------------------------------- */

/* Forms of MOV, PUSH and POP with a segment register. A load of SS ends the block: the interrupt
 * shadow follows. */
static x86_exec_fn *bind_register_form(struct x86_insn *i)
{
	bool first = i->op[0].kind == OPK_SEG;

	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		if (first && i->op[0].reg == SS)
			i->flags |= INSN_END;
		if (first)
			return exec_mov_to_seg;
		return i->op[1].kind == OPK_SEG ? exec_mov_from_seg : NULL;
	case ZYDIS_MNEMONIC_PUSH: return first ? exec_push_seg : NULL;
	case ZYDIS_MNEMONIC_POP:
		if (first && i->op[0].reg == SS)
			i->flags |= INSN_END;
		return first ? exec_pop_seg : NULL;
	default: return NULL;
	}
}

x86_exec_fn *x86_bind_seg(struct x86_insn *i, const struct x86_zydis *z)
{
	(void)z;
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_LES: return exec_les;
	case ZYDIS_MNEMONIC_LSS: return exec_lss;
	case ZYDIS_MNEMONIC_LDS: return exec_lds;
	case ZYDIS_MNEMONIC_LFS: return exec_lfs;
	case ZYDIS_MNEMONIC_LGS: return exec_lgs;
	case ZYDIS_MNEMONIC_LAR: return exec_lar;
	case ZYDIS_MNEMONIC_LSL: return exec_lsl;
	case ZYDIS_MNEMONIC_VERR: return exec_verr;
	case ZYDIS_MNEMONIC_VERW: return exec_verw;
	case ZYDIS_MNEMONIC_ARPL: return exec_arpl;
	case ZYDIS_MNEMONIC_LGDT: return exec_lgdt;
	case ZYDIS_MNEMONIC_LIDT: return exec_lidt;
	case ZYDIS_MNEMONIC_SGDT: return exec_sgdt;
	case ZYDIS_MNEMONIC_SIDT: return exec_sidt;
	case ZYDIS_MNEMONIC_LLDT: return exec_lldt;
	case ZYDIS_MNEMONIC_LTR: return exec_ltr;
	case ZYDIS_MNEMONIC_SLDT: return exec_sldt;
	case ZYDIS_MNEMONIC_STR: return exec_str;
	case ZYDIS_MNEMONIC_SWAPGS: return exec_swapgs;
	case ZYDIS_MNEMONIC_RDFSBASE: return exec_rdfsbase;
	case ZYDIS_MNEMONIC_RDGSBASE: return exec_rdgsbase;
	case ZYDIS_MNEMONIC_WRFSBASE: return exec_wrfsbase;
	case ZYDIS_MNEMONIC_WRGSBASE: return exec_wrgsbase;
	default: return bind_register_form(i);
	}
}
