/* clc stc cmc lahf sahf cld std cli pushf, and the fences. The status flags are the host's; all others are in x86_cpu.rflags, where
 * bits are cleared without AND, which would change the host's. */
#include "engine/bt/tr.h"

#include "x86/cpuid.h"

#include <Zydis/Zydis.h>

static bool emit_carry(struct tr *t)
{
	switch (t->i->mnemonic) {
	case ZYDIS_MNEMONIC_CLC: as_byte(&t->a, 0xf8); break;
	case ZYDIS_MNEMONIC_STC: as_byte(&t->a, 0xf9); break;
	default: as_byte(&t->a, 0xf5); break; /* CMC */
	}
	return true;
}

static bool emit_lahf(struct tr *t)
{
	as_mov(&t->a, 8, H_RAX, bt_home[RAX]);
	as_byte(&t->a, 0x9f);
	as_mov(&t->a, 8, bt_home[RAX], H_RAX);
	return true;
}

static bool emit_sahf(struct tr *t)
{
	as_mov(&t->a, 4, H_RAX, bt_home[RAX]);
	as_byte(&t->a, 0x9e);
	return true;
}

/* Bits 8..15 of RFLAGS: TF IF DF IOPL NT. */
static struct as_rm rflags_high(void) { return rm_ctx(CTX(cpu.rflags) + 1); }

/* Clears one of them, and sets it again if `set`. */
static void change_flag(struct tr *t, u32 flag, bool set)
{
	u32 bit = flag >> 8;
	struct as *a = &t->a;

	as_loadz(a, 1, H_RCX, rflags_high());
	as_mov_imm(a, H_RDX, 0xff & ~bit);
	as_pext(a, H_RCX, H_RCX, H_RDX);
	as_pdep(a, H_RCX, H_RCX, H_RDX);
	if (set)
		as_lea(a, 4, H_RCX, rm_mem(H_RCX, (i32)bit));
	as_store(a, 1, rflags_high(), H_RCX);
}

static bool emit_direction(struct tr *t)
{
	change_flag(t, FL_DF, t->i->mnemonic == ZYDIS_MNEMONIC_STD);
	return true;
}

/* At CPL 0, where IOPL does not matter. */
static bool emit_cli(struct tr *t)
{
	as_loadz(&t->a, 1, H_RCX, rm_ctx(CTX(cpu.cpl)));

	u8 *allowed = as_jrcxz(&t->a);

	tr_slow_jmp(t);
	as_short_here(&t->a, allowed);
	change_flag(t, FL_IF, false);
	return true;
}

/* Outside virtual-8086 mode, so VM is clear. RF can be set where a repeated instruction was left: C masks it then. */
static bool emit_pushf(struct tr *t)
{
	unsigned size = t->i->opsize, sp = bt_home[RSP];
	struct as *a = &t->a;
	struct tr_mem m;

	if (size * 8u != t->mode)
		return false;
	as_loadz(a, 1, H_RCX, rm_ctx(CTX(cpu.rflags) + 2));
	as_mov_imm(a, H_RDX, FL_RF >> 16);
	as_pext(a, H_RCX, H_RCX, H_RDX);

	u8 *clear = as_jrcxz(a);

	tr_slow_jmp(t);
	as_short_here(a, clear);
	as_flags_to_ax(a);
	as_loadz(a, 1, H_RDX, rm_reg(H_RAX)); /* OF */
	as_mov_imm(a, H_RCX, 11);
	as_shlx(a, H_RDX, H_RDX, H_RCX);
	as_rorx(a, false, H_RCX, H_RAX, 8);
	as_loadz(a, 1, H_RCX, rm_reg(H_RCX));
	as_load(a, 4, H_RAX, rm_ctx(CTX(cpu.rflags)));
	as_lea(a, 8, H_RAX, rm_index(H_RAX, H_RDX, 0, 0));
	/* LAHF gives the fixed bit too. */
	as_lea(a, 8, H_RAX, rm_index(H_RAX, H_RCX, 0, -(i32)FL_FIXED));
	if (!tr_stack(t, &m, RSP, -(i32)size, size, TR_WRITE))
		return false;
	as_store(a, size, m.rm, H_RAX);
	as_lea(a, size, sp, rm_mem(sp, -(i32)size));
	return true;
}

/* LFENCE MFENCE SFENCE: the host's order of memory is the guest's. */
static bool emit_fence(struct tr *t)
{
	unsigned modrm;

	switch (t->i->mnemonic) {
	case ZYDIS_MNEMONIC_LFENCE: modrm = 0xe8; break;
	case ZYDIS_MNEMONIC_MFENCE: modrm = 0xf0; break;
	default: modrm = 0xf8; break;
	}
	if (!cpuid_bit(t->bt->vm, modrm == 0xf8 ? CPUID_SSE : CPUID_SSE2))
		return false;
	as_byte(&t->a, 0x0f);
	as_byte(&t->a, 0xae);
	as_byte(&t->a, modrm);
	return true;
}

void emit_flag_init(struct bt *bt)
{
	static const struct {
		u16 mnemonic;
		bt_emit_fn *fn;
	} rows[] = {
		{ ZYDIS_MNEMONIC_CLC, emit_carry },     { ZYDIS_MNEMONIC_STC, emit_carry },
		{ ZYDIS_MNEMONIC_CMC, emit_carry },     { ZYDIS_MNEMONIC_LAHF, emit_lahf },
		{ ZYDIS_MNEMONIC_SAHF, emit_sahf },     { ZYDIS_MNEMONIC_CLD, emit_direction },
		{ ZYDIS_MNEMONIC_STD, emit_direction }, { ZYDIS_MNEMONIC_CLI, emit_cli },
		{ ZYDIS_MNEMONIC_PUSHFD, emit_pushf },  { ZYDIS_MNEMONIC_PUSHFQ, emit_pushf },
		{ ZYDIS_MNEMONIC_LFENCE, emit_fence },  { ZYDIS_MNEMONIC_MFENCE, emit_fence },
		{ ZYDIS_MNEMONIC_SFENCE, emit_fence },
	};

	for (unsigned n = 0; n < ARRAY_LEN(rows); n++)
		bt->emit[rows[n].mnemonic] = rows[n].fn;
}
