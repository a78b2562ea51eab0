/* A decoded instruction, in the compact form that engines cache and that the functions of exec_*.c
 * run on. */
#ifndef X86_INSN_H
#define X86_INSN_H

#include "base/types.h"

struct vcpu;
struct x86_insn;

/* Runs one instruction. On entry cpu.rip is the address of the instruction. A function that does
 * not transfer control leaves rip alone and the engine moves it on by len; one that does
 * (insn->flags & INSN_BRANCH) always sets rip itself, also where it falls through. Exceptions leave
 * through x86_raise and do not return; nothing the guest can see has changed then, save what the
 * manual says changes. */
typedef void x86_exec_fn(struct vcpu *v, const struct x86_insn *i);

enum x86_operand_kind {
	OPK_NONE,
	OPK_GPR,      /* reg: 0..15 */
	OPK_GPR_HIGH, /* AH CH DH BH: reg 0..3 */
	OPK_MEM, /* address parts in the insn; at most one per insn except string instructions */
	OPK_IMM, /* x86_insn.imm, sign-extended as the instruction says */
	OPK_REL, /* branch displacement in imm */
	OPK_FAR, /* selector in sel, offset in imm */
	OPK_SEG, /* reg: enum x86_sreg */
	OPK_CR,
	OPK_DR,
	OPK_X87, /* reg: ST(i) */
	OPK_MMX,
	OPK_VEC,  /* XMM, YMM, ZMM: reg 0..31 */
	OPK_MASK, /* k0..k7 */
	OPK_OTHER,
};

struct x86_operand {
	u8 kind; /* enum x86_operand_kind */
	u8 reg;
	u8 size; /* bytes; 255 for more */
};

#define INSN_BRANCH BIT(0) /* sets rip itself; ends a block */
/* Changes what later instructions mean (mode, paging, interrupt shadow): ends a block. */
#define INSN_END          BIT(1)
#define INSN_LOCK         BIT(2)
#define INSN_REP          BIT(3) /* F3 with effect as REP/REPE */
#define INSN_REPNE        BIT(4)
#define INSN_SEG_OVERRIDE BIT(5)
#define INSN_RIP_REL      BIT(6)
#define INSN_IO           BIT(7) /* touches ports: time and interrupts may move */
#define INSN_VSIB         BIT(8)

/* fn to op are the instruction's shape: instructions that differ in the values of displacement and
 * immediate alone have it in common (decode_cache.h). */
struct x86_insn {
	u64 imm;         /* immediate, displacement of a branch, offset of a far pointer */
	i64 disp;        /* also the whole address of moffs forms */
	const void *aux; /* fn's own: the thunk of an FP instruction; NULL as decoded */
	x86_exec_fn *fn;
	u32 imm2;     /* second immediate (ENTER, EXTRQ, INSERTQ), or fn's own */
	u16 mnemonic; /* ZydisMnemonic */
	u16 flags;
	u16 sel;
	u8 len;
	u8 off;      /* engine's own: bytes from the start of the block */
	u8 mode;     /* 16, 32, 64: code size it was decoded for */
	u8 opsize;   /* effective operand size in bytes: 2, 4, 8 (1 for byte forms) */
	u8 addrsize; /* 2, 4, 8 */
	u8 seg;      /* segment of the memory operand after defaults and overrides */
	/* Slots for x86_slot: ZERO_IDX if absent, RIP_IDX if rip-relative (disp then includes len).
	 * With VSIB the index is the vector register. scale is a shift. */
	u8 base, index, scale;
	u8 nops; /* explicit and implicit operands that op holds */
	struct x86_operand op[4];
	u8 bytes[15]; /* the encoding, for thunks, dumps and error reports */
};

/* Decodes the instruction in bytes[0..avail) for a code size of 16, 32 or 64 and binds fn. 1: done;
 * 0: more bytes are needed than avail (avail < 15); -1: not an instruction: i->fn raises #UD,
 * i->len is the bytes it would have (at least 1). A run of more than 15 bytes raises #GP. Never
 * fails otherwise. Any thread. */
int x86_decode(struct x86_insn *i, const u8 *bytes, unsigned avail, unsigned mode) must_check;
/* Text of the instruction in Intel syntax at rip, for dumps. */
void x86_disasm(const struct x86_insn *i, u64 rip, char *buf, size_t size);

#endif
