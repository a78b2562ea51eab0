/* A unit being made: what emit_*.c work with. */
#ifndef ENGINE_BT_TR_H
#define ENGINE_BT_TR_H

#include "engine/bt/bt.h"

#define TR_SLOWS    4u
#define TR_X87_VRIP BIT(31) /* bt_cpu.x87_vrip is this unit's */

/* A jump out of line, whose code is written after the unit's. */
struct tr_slow {
	u8 *at; /* displacement of the jump */
	u8 k;   /* instruction */
	/* A miss of the page last used through a base register: what to look up, and where to go on. */
	bool is_near;
	u8 a, slot, size;
	bool write;
	i32 disp;
	u8 *back;
	/* The check was that of a group: the access itself. */
	bool grouped, own_write;
	u8 own_size;
	i32 own_disp;
};

/* Bytes around a guest register that have been checked together: from register + low to register + high. */
struct tr_group {
	bool open, write;
	bool moved; /* the register has changed since the check */
	i32 low, high;
};

struct tr {
	struct as a;
	struct bt *bt;
	struct vcpu *v;
	struct unit *u;
	u32 key;
	unsigned mode; /* 16, 32, 64 */
	unsigned tlb;  /* enum tlb_mode */
	const struct x86_insn *i;
	unsigned k; /* its number in the unit */
	u64 rip_page; /* rip of the page's first byte as it is now: others may use the unit elsewhere */
	u32 page_off; /* of the unit's first byte in its page */
	bool crosses; /* the unit is one instruction across two pages */
	bool ends;    /* nothing is executed after this instruction */
	u32 writes; /* guest registers that the present instruction may write, where its emitter says so */
	unsigned opened;           /* register whose group it has opened, or GROUP_NONE */
	struct tr_group group[16]; /* by register */
	u32 fp_ready;              /* gates that have been found open in this unit; TR_X87_VRIP */
	bool wrote;                /* the present instruction may write to memory */
	unsigned limit;            /* instructions at most */
	unsigned slows, nexits, nkept;
	/* From here on nothing is set at first. */
	struct x86_insn insn[UNIT_MAX_INSNS];
	u8 live[UNIT_MAX_INSNS]; /* bytes of the immediate if it is to be taken from the guest's code (tr_live_imm), or 0 */
	u8 kept[UNIT_MAX_INSNS]; /* instructions that C runs always */
	struct tr_slow slow[UNIT_MAX_INSNS * TR_SLOWS];
	struct bt_exit exit[2 * UNIT_MAX_INSNS + 2];
};

/* Offset of the present instruction, and of the one after it, in the page. */
static inline u32 tr_off(const struct tr *t) { return t->page_off + t->i->off; }
static inline u32 tr_next(const struct tr *t) { return tr_off(t) + t->i->len; }

/* --- Registers ------------------------------------------------------------------------------------ */

/* Home of a guest register, or H_NONE if it stays in x86_cpu. */
extern const u8 bt_home[16];

static inline struct as_rm tr_rm(unsigned guest)
{
	return bt_home[guest] != H_NONE ? rm_reg(bt_home[guest]) : rm_ctx(CTX_GPR(guest));
}

/* A host register that holds guest register `guest`, whole: its home, or scratch after a load. */
static inline unsigned tr_use(struct tr *t, unsigned guest, unsigned scratch)
{
	if (bt_home[guest] != H_NONE)
		return bt_home[guest];
	as_load(&t->a, 8, scratch, rm_ctx(CTX_GPR(guest)));
	return scratch;
}

/* The register that is to receive guest register `guest` whole (64 or 32 bits written). */
static inline unsigned tr_def(unsigned guest, unsigned scratch)
{
	return bt_home[guest] != H_NONE ? bt_home[guest] : scratch;
}

/* After host register reg, from tr_use or tr_def, was written. */
static inline void tr_done(struct tr *t, unsigned guest, unsigned reg)
{
	if (bt_home[guest] == H_NONE)
		as_store(&t->a, 8, rm_ctx(CTX_GPR(guest)), reg);
}

/* A byte operand (AH..BH included) in a host register whose low byte it is: a home, or scratch. */
unsigned tr_use_byte(struct tr *t, const struct x86_operand *o, unsigned scratch);
/* After that register was written. spare: another scratch. */
void tr_done_byte(struct tr *t, const struct x86_operand *o, unsigned reg, unsigned spare);
/* Value of a general register operand of any size in a host register; the bits above its size are anything. */
unsigned tr_use_op(struct tr *t, const struct x86_operand *o, unsigned scratch);
/* After that register was written with an instruction of the operand's size. */
void tr_done_op(struct tr *t, const struct x86_operand *o, unsigned reg, unsigned spare);

/* --- Memory (emit_mem.c) -------------------------------------------------------------------------- */

enum tr_access { TR_READ, TR_WRITE /* also read-modify-write */ };

/* A guest memory operand as the host's, once checked. RCX is free again, RDX never, RAX unless base is RAX. */
struct tr_mem {
	struct as_rm rm;
};

/* False if the present instruction's operand cannot be had in line: the caller gives up (returns false) having emitted nothing. */
bool tr_mem(struct tr *t, struct tr_mem *m, unsigned size, enum tr_access access);
/* size bytes at [guest register base + disp] in the stack segment; base is RSP or RBP. RAX keeps its value. */
bool tr_stack(struct tr *t, struct tr_mem *m, unsigned base, i32 disp, unsigned size,
	      enum tr_access access);
/* Folds the address into RDX alone: RAX and RCX are free. */
void tr_mem_pin(struct tr *t, struct tr_mem *m);
/* The effective address, cut to the smaller of operand and address size but to no less than 32 bits, into reg; false as above. */
bool tr_ea(struct tr *t, unsigned reg);

/* The operand's offset in its segment into RAX; false as above, never where tr_mem took the operand. Uses RCX. */
bool tr_offset(struct tr *t);
/* size bytes at the offset in RAX of the operand's segment; false if that needs checks beyond the TLB's. */
bool tr_mem_at_rax(struct tr *t, struct tr_mem *m, unsigned size, enum tr_access access);
/* Whether an index register of the present instruction is itself the linear address in seg. */
bool tr_plain(const struct tr *t, unsigned seg);
/* size bytes at guest register reg, of a tr_plain segment; reg has a home. RAX keeps its value. */
void tr_mem_plain(struct tr *t, struct tr_mem *m, unsigned reg, unsigned size,
		  enum tr_access access);
/* Offsets in struct vcpu of the TLB's tags and addends in force (see struct tlb). */
size_t tr_tags(struct tr *t, enum tr_access access);
size_t tr_addends(const struct tr *t);

/* --- Groups of accesses (group.c) ----------------------------------------------------------------- */

#define GROUP_NONE     16u
#define GROUP_MOST_OFF 0x70000000 /* from its register: of any access */
#define TR_WRITES_ALL  0xffffu

/* Whether size bytes at guest register reg + disp have been checked. */
bool group_covers(const struct tr *t, unsigned reg, i32 disp, unsigned size, bool write);
/* Opens a group for an access that the present instruction makes; false if it is better checked alone. */
bool group_open(struct tr *t, unsigned reg, i32 disp, unsigned size, bool write);
/* After the present instruction was written; by_c: C runs it. */
void group_next(struct tr *t, bool by_c);

/* --- Leaving the unit ----------------------------------------------------------------------------- */

/* Jumps to where C runs the present instruction. */
void tr_slow_jmp(struct tr *t);
/* After the unit's code: what those jumps, and misses of memory accesses, go to. */
void tr_emit_slow(struct tr *t);
/* Goes to rip = page + target (target is relative to the page). cond: 0..15, or -1 for always. */
void tr_exit(struct tr *t, int cond, i64 target);
/* Jumps to the unit of KEY_SINGLE that begins with instruction k. */
void tr_exit_single(struct tr *t, unsigned k);
/* Goes to the rip in RAX, by the jump cache. */
void tr_jump_rax(struct tr *t);
/* rip of the page + off into reg. */
void tr_rip(struct tr *t, unsigned reg, i64 off);

/* Whether the present instruction's immediate must be taken from the guest's code: its address is then in RDX, and it has 4 bytes, or
 * all 8 of the operand. */
bool tr_live_imm(struct tr *t);

/* The guest's LOCK prefix. */
static inline void tr_lock(struct tr *t)
{
	if ((t->i->flags & INSN_LOCK) && t->bt->threads)
		as_byte(&t->a, 0xf0);
}

/* Number of a condition, 0..15, in a row of mnemonics in the order of their encoding. */
static inline unsigned tr_condition(const u16 row[16], u16 mnemonic)
{
	unsigned cond = 0;

	while (row[cond] != mnemonic)
		cond++;
	return cond;
}

/* Called once for each family at start-up: enters its functions into bt->emit. */
void emit_alu_init(struct bt *bt);
void emit_mov_init(struct bt *bt);
void emit_branch_init(struct bt *bt);
void emit_shift_init(struct bt *bt);
void emit_bit_init(struct bt *bt);
void emit_cond_init(struct bt *bt);
void emit_muldiv_init(struct bt *bt);
void emit_atomic_init(struct bt *bt);
void emit_flag_init(struct bt *bt);
void emit_string_init(struct bt *bt);
void emit_sys_init(struct bt *bt);
/* The stubs of SYSCALL and SYSRET. */
void emit_sys_stubs(struct bt *bt, struct as *a);

/* Last: takes what no other family has. */
void emit_fp_init(struct bt *bt);

/* MOVSD and CMPSD, which bt->emit has as SSE2 instructions. */
bool emit_string_d(struct tr *t);

#endif
