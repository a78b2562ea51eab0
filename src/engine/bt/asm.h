/* The assembler of translated code: host instructions written byte by byte (SDM 2A 2, AMD APM 3). It knows encodings alone; which
 * register means what is in bt.h. */
#ifndef ENGINE_BT_ASM_H
#define ENGINE_BT_ASM_H

#include "base/bits.h"
#include "base/types.h"

#include <assert.h>

enum host_reg {
	H_RAX,
	H_RCX,
	H_RDX,
	H_RBX,
	H_RSP,
	H_RBP,
	H_RSI,
	H_RDI,
	H_R8,
	H_R9,
	H_R10,
	H_R11,
	H_R12,
	H_R13,
	H_R14,
	H_R15,
	H_NONE
};

/* Where code goes: written at p, executed at p + exec. Room is the caller's business: a guest instruction takes at most ASM_MOST. */
struct as {
	u8 *p;
	ptrdiff_t exec;
};

#define ASM_MOST 512u

/* The r/m operand: a register, or memory at [base + index * scale + disp], through the segment base of GS if gs is set. */
struct as_rm {
	bool mem, gs;
	u8 base, index, scale; /* H_NONE where absent; scale is a shift */
	i32 disp;
};

static inline struct as_rm rm_reg(unsigned reg) { return (struct as_rm){ .base = (u8)reg }; }

static inline struct as_rm rm_mem(unsigned base, i32 disp)
{
	return (struct as_rm){ .mem = true, .base = (u8)base, .index = H_NONE, .disp = disp };
}

static inline struct as_rm rm_index(unsigned base, unsigned index, unsigned scale, i32 disp)
{
	return (struct as_rm){
		.mem = true, .base = (u8)base, .index = (u8)index, .scale = (u8)scale, .disp = disp
	};
}

/* A field of the running CPU's struct vcpu: GS holds its address. */
static inline struct as_rm rm_ctx(size_t offset)
{
	return (struct as_rm){
		.mem = true, .gs = true, .base = H_NONE, .index = H_NONE, .disp = (i32)offset
	};
}

/* Element reg of an array of u64 in struct vcpu. */
static inline struct as_rm rm_ctx_array(size_t offset, unsigned reg)
{
	return (struct as_rm){ .mem = true,
			       .gs = true,
			       .base = H_NONE,
			       .index = (u8)reg,
			       .scale = 3,
			       .disp = (i32)offset };
}

static inline void as_byte(struct as *a, unsigned byte) { *a->p++ = (u8)byte; }

static inline void as_u16(struct as *a, u64 value)
{
	le_store(a->p, value, 2);
	a->p += 2;
}

static inline void as_u32(struct as *a, u64 value)
{
	le_store(a->p, value, 4);
	a->p += 4;
}

static inline void as_u64(struct as *a, u64 value)
{
	le_store(a->p, value, 8);
	a->p += 8;
}

static inline uintptr_t as_here(const struct as *a) { return (uintptr_t)(a->p + a->exec); }

/* ModRM, SIB and displacement. */
static inline void as_modrm(struct as *a, unsigned reg, const struct as_rm *m)
{
	unsigned r = (reg & 7) << 3;

	if (!m->mem) {
		as_byte(a, 0xc0u | r | (m->base & 7u));
		return;
	}
	if (m->base == H_NONE) {
		unsigned index = m->index == H_NONE ? 4 : m->index & 7u;

		as_byte(a, r | 4);
		as_byte(a, (unsigned)m->scale << 6 | index << 3 | 5);
		as_u32(a, (u32)m->disp);
		return;
	}
	unsigned mod = m->disp == 0 && (m->base & 7) != 5  ? 0
		       : m->disp >= -128 && m->disp <= 127 ? 0x40
							   : 0x80;

	if (m->index != H_NONE || (m->base & 7) == 4) {
		unsigned index = m->index == H_NONE ? 4 : m->index & 7u;

		assert(m->index != H_RSP);
		as_byte(a, mod | r | 4);
		as_byte(a, (unsigned)m->scale << 6 | index << 3 | (m->base & 7u));
	} else {
		as_byte(a, mod | r | (m->base & 7u));
	}
	if (mod == 0x40)
		as_byte(a, (u8)m->disp);
	else if (mod == 0x80)
		as_u32(a, (u32)m->disp);
}

/* Opcode maps. */
#define MAP_1    0x000u
#define MAP_0F   0x100u
#define MAP_0F38 0x200u
#define MAP_0F3A 0x300u

/* One legacy-encoded instruction up to its immediate. op: map | opcode; size: operand bytes, of which 1 means that registers are
 * byte registers (SPL, BPL, SIL, DIL, not AH..BH), 2 adds 66, 8 adds REX.W; prefix: 0, 66, F2 or F3. */
static inline void as_op(struct as *a, unsigned prefix, unsigned op, unsigned size, unsigned reg,
			 struct as_rm m)
{
	unsigned rex = (size == 8 ? 8u : 0) | (reg & 8) >> 1 |
		       (m.base != H_NONE && m.base & 8 ? 1u : 0) |
		       (m.mem && m.index != H_NONE && m.index & 8 ? 2u : 0);
	bool need = rex || (size == 1 && (reg >= 4 || (!m.mem && m.base >= 4)));

	if (m.gs)
		as_byte(a, 0x65);
	if (size == 2)
		as_byte(a, 0x66);
	if (prefix)
		as_byte(a, prefix);
	if (need)
		as_byte(a, 0x40 | rex);
	if (op >= MAP_0F)
		as_byte(a, 0x0f);
	if (op >= MAP_0F38)
		as_byte(a, op >= MAP_0F3A ? 0x3a : 0x38);
	as_byte(a, op & 0xff);
	as_modrm(a, reg, &m);
}

/* One VEX-encoded instruction. pp: 0, 1 (66), 2 (F3), 3 (F2). */
static inline void as_vex(struct as *a, unsigned pp, unsigned op, bool w, bool l, unsigned reg,
			  unsigned vvvv, struct as_rm m)
{
	unsigned b = m.base != H_NONE && m.base & 8, x = m.mem && m.index != H_NONE && m.index & 8;

	if (m.gs)
		as_byte(a, 0x65);
	as_byte(a, 0xc4);
	as_byte(a, (reg & 8 ? 0 : 0x80u) | (x ? 0 : 0x40u) | (b ? 0 : 0x20u) | op >> 8);
	as_byte(a, (w ? 0x80u : 0) | (~vvvv & 15) << 3 | (l ? 4u : 0) | pp);
	as_byte(a, op & 0xff);
	as_modrm(a, reg, &m);
}

static inline void as_imm(struct as *a, u64 imm, unsigned size)
{
	if (size == 1)
		as_byte(a, (u8)imm);
	else if (size == 2)
		as_u16(a, imm);
	else
		as_u32(a, imm);
}

/* --- None of these touches a flag --------------------------------------------------------------- */

static inline void as_load(struct as *a, unsigned size, unsigned reg, struct as_rm m)
{
	as_op(a, 0, 0x8a | (size > 1), size, reg, m);
}

/* Zero-extends to 64 bits. */
static inline void as_loadz(struct as *a, unsigned size, unsigned reg, struct as_rm m)
{
	if (size >= 4)
		as_op(a, 0, 0x8b, size, reg, m);
	else /* the register operand of a byte form may need a REX, which as_op adds for the r/m register */
		as_op(a, 0, MAP_0F | (size == 1 ? 0xb6 : 0xb7), size == 1 && !m.mem ? 1 : 4, reg,
		      m);
}

static inline void as_store(struct as *a, unsigned size, struct as_rm m, unsigned reg)
{
	as_op(a, 0, 0x88 | (size > 1), size, reg, m);
}

static inline void as_mov(struct as *a, unsigned size, unsigned to, unsigned from)
{
	as_op(a, 0, 0x8b, size, to, rm_reg(from));
}

static inline void as_mov_imm(struct as *a, unsigned reg, u64 imm)
{
	if (imm <= 0xffffffff) {
		if (reg & 8)
			as_byte(a, 0x41);
		as_byte(a, 0xb8 | (reg & 7));
		as_u32(a, imm);
	} else if ((i64)imm == (i32)imm) {
		as_op(a, 0, 0xc7, 8, 0, rm_reg(reg));
		as_u32(a, imm);
	} else {
		as_byte(a, reg & 8 ? 0x49 : 0x48);
		as_byte(a, 0xb8 | (reg & 7));
		as_u64(a, imm);
	}
}

static inline void as_store_imm(struct as *a, unsigned size, struct as_rm m, u64 imm)
{
	as_op(a, 0, 0xc6 | (size > 1), size, 0, m);
	as_imm(a, imm, size);
}

static inline void as_lea(struct as *a, unsigned size, unsigned reg, struct as_rm m)
{
	m.gs = false;
	as_op(a, 0, 0x8d, size, reg, m);
}

static inline void as_rorx(struct as *a, bool w, unsigned reg, unsigned from, unsigned count)
{
	as_vex(a, 3, MAP_0F3A | 0xf0, w, false, reg, 0, rm_reg(from));
	as_byte(a, count);
}

static inline void as_shrx(struct as *a, unsigned reg, unsigned from, unsigned count_reg)
{
	as_vex(a, 3, MAP_0F38 | 0xf7, true, false, reg, count_reg, rm_reg(from));
}

static inline void as_shlx(struct as *a, unsigned reg, unsigned from, unsigned count_reg)
{
	as_vex(a, 1, MAP_0F38 | 0xf7, true, false, reg, count_reg, rm_reg(from));
}

static inline void as_sarx(struct as *a, unsigned reg, unsigned from, unsigned count_reg)
{
	as_vex(a, 2, MAP_0F38 | 0xf7, true, false, reg, count_reg, rm_reg(from));
}

static inline void as_pext(struct as *a, unsigned reg, unsigned from, unsigned mask)
{
	as_vex(a, 2, MAP_0F38 | 0xf5, true, false, reg, from, rm_reg(mask));
}

static inline void as_pdep(struct as *a, unsigned reg, unsigned from, unsigned mask)
{
	as_vex(a, 3, MAP_0F38 | 0xf5, true, false, reg, from, rm_reg(mask));
}

/* AH and AL (bit 0) from the status flags, as x86_cpu.cc has them; AL has nothing else. */
static inline void as_flags_to_ax(struct as *a)
{
	as_byte(a, 0x9f);
	as_op(a, 0, MAP_0F | 0x90, 1, 0, rm_reg(H_RAX));
}

/* Sets the status flags from what as_flags_to_ax leaves in AX: 127 + OF overflows exactly if OF is set, SAHF sets the others. */
static inline void as_flags_from_ax(struct as *a)
{
	as_byte(a, 0x04);
	as_byte(a, 127);
	as_byte(a, 0x9e);
}

/* --- Jumps -------------------------------------------------------------------------------------- */

/* Returns the place of the 32-bit displacement, for as_patch. */
static inline u8 *as_jmp(struct as *a)
{
	as_byte(a, 0xe9);
	as_u32(a, 0);
	return a->p - 4;
}

static inline u8 *as_jcc(struct as *a, unsigned cond)
{
	as_byte(a, 0x0f);
	as_byte(a, 0x80 | cond);
	as_u32(a, 0);
	return a->p - 4;
}

/* Lets the jump whose displacement is at `at` go to the host address target. */
static inline void as_patch(const struct as *a, u8 *at, uintptr_t target)
{
	i64 rel = (i64)(target - (uintptr_t)(at + a->exec) - 4);

	assert(rel == (i32)rel);
	le_store(at, (u32)rel, 4);
}

static inline void as_patch_here(const struct as *a, u8 *at) { as_patch(a, at, as_here(a)); }

static inline void as_jmp_to(struct as *a, uintptr_t target) { as_patch(a, as_jmp(a), target); }

static inline void as_jmp_reg(struct as *a, unsigned reg) { as_op(a, 0, 0xff, 4, 4, rm_reg(reg)); }

/* A short forward jump: returns the place of the displacement, for as_short_here. */
static inline u8 *as_jrcxz(struct as *a)
{
	as_byte(a, 0xe3);
	as_byte(a, 0);
	return a->p - 1;
}

static inline u8 *as_jecxz(struct as *a)
{
	as_byte(a, 0x67);
	return as_jrcxz(a);
}

static inline void as_short_here(const struct as *a, u8 *at)
{
	assert(a->p - at - 1 <= 127);
	*at = (u8)(a->p - at - 1);
}

#endif
