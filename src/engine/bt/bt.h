/* The binary translator: guest code becomes host code that works on the guest's registers in host registers. docs/bt.md follows one
 * unit from guest bytes to host bytes.
 *
 * In translated code
 *   GS                 is the address of the running struct vcpu (with its struct bt_cpu behind it)
 *   RAX RCX RDX        are free between guest instructions
 *   RSP                is the monitor's stack; RSP modulo 64 is 12, so that it serves as a shift count (SHRX) of 12
 *   the other twelve   hold the guest registers that bt_home names; the other four guest registers stay in x86_cpu
 *   RFLAGS             holds the guest's status flags, always: what is not the guest's own instruction leaves flags alone
 *   x87, SSE, AVX      hold the guest's while bt_cpu.fp_live (emit_fp.c)
 * Everything else of the guest's state is in x86_cpu. */
#ifndef ENGINE_BT_BT_H
#define ENGINE_BT_BT_H

#include "engine/bt/asm.h"
#include "engine/bt/stats.h"
#include "x86/decode_cache.h"
#include "x86/fpu.h"
#include "x86/vcpu.h"

#define UNIT_MAX_INSNS 32u
#define BT_SP_SHIFT    12u

/* --- What a unit depends on besides its bytes ----------------------------------------------------- */

/* Key: code size 16, 32, 64; table of rights; stack size; which segments can be used without a check. */
#define KEY_16      0u
#define KEY_32      1u
#define KEY_64      2u
#define KEY_SIZE    3u
#define KEY_TLB_POS 2u /* enum tlb_mode */
#define KEY_TLB     (3u << KEY_TLB_POS)
#define KEY_SS_B    (1u << 4) /* 32-bit stack */
#define KEY_CS_LINK \
	(1u         \
	 << 5) /* no jump within the offsets that code of this size can name leaves the segment in mid-page */
#define KEY_CS_WIDE    (1u << 6)            /* no 32-bit offset is beyond the limit of CS */
#define KEY_SINGLE     (1u << 7)            /* each access is checked alone (group.c) */
#define KEY_PLAIN(seg) (1u << (8 + (seg)))  /* ES SS DS FS GS: writable, 4 GiB, expand-up */
#define KEY_ZERO(seg)  (1u << (16 + (seg))) /* and its base is 0 */

static inline unsigned key_bits(u32 key) { return 16u << (key & KEY_SIZE); }
static inline unsigned key_tlb(u32 key) { return (key & KEY_TLB) >> KEY_TLB_POS; }

/* --- Units ---------------------------------------------------------------------------------------- */

struct unit;

/* A direct jump out of a unit. Unlinked it goes to its stub, which asks bt_exit. */
struct bt_exit {
	struct unit *from, *to; /* to: NULL while unlinked */
	struct bt_exit *next;   /* among those linked to `to` */
	u8 *at;                 /* the jump's displacement, writable */
	uintptr_t stub;         /* host address */
	i64 target;             /* rip relative to the page of `from` */
	u32 give_back;          /* counted: instructions of the unit that were not executed */
	bool single;            /* goes to a unit of KEY_SINGLE; the others never do */
	bool falls;             /* no jump: goes on behind the unit */
};

/* One instruction of a unit. C decodes it again from the guest's bytes when it runs it, unless it is one that C always runs: that
 * one is kept. */
struct unit_insn {
	u16 host, end; /* offsets of its code, and of that of the next one */
	u8 off;        /* bytes from the start of the unit */
	u8 k;          /* its number in the unit */
	u8 gate;       /* enum fpu_gate: of code that uses the FP registers */
	u8 kept;       /* its number among those kept, or NOT_KEPT */
	/* It opens a group of accesses (group.c): where that lies from the register as the instruction leaves it. */
	u8 group; /* register and GROUP_WRITE, or NO_GROUP */
	u8 span;
	i32 low;
};

#define NOT_KEPT    0xffu
#define GROUP_WRITE 0x80u
#define NO_GROUP    0xffu

/* Eight bytes of a self-checking unit's code: those under mask, which is made of whole bytes, must be value. */
struct unit_word {
	u64 mask, value;
	i32 off; /* from the first byte of the unit; all eight lie in its page, or across two with it */
};

#define UNIT_MAX_WORDS 33u

/* One translation: a straight run of guest instructions within a page, with side exits where a conditional jump is taken.
 *
 * Most pages with units are protected: a write to them goes through C, which kills the units that it touches. A page that is written
 * again and again is left writable, and its units check the guest's bytes themselves each time they are entered. Nothing behind an
 * instruction that may have written to memory belongs to such a unit. Immediates that it loads from the guest's code when it needs
 * them are not checked.
 *
 * One instruction across two pages that follow each other in RAM too may also be a unit. It checks itself, and is entered by the
 * jump cache alone, which forgets it when either page is mapped elsewhere. */
struct unit {
	const u8 *guest;                            /* host address of its first byte in RAM */
	struct unit *hash_next, *page_next, *older; /* older: made before it in the same segment */
	struct bt_exit *incoming;
	u8 *code;        /* writable; executed at code + bt.exec */
	u32 size, total; /* bytes of its code to where a dead unit goes on; and all of it */
	u32 key;
	u16 bytes;      /* of the guest's code */
	u16 near, body; /* offsets of the entry without, and past the poll */
	u8 count, exits;
	bool dead;
	bool falls;   /* there is code behind the last instruction */
	bool checked; /* it is self-checking: the page does not know of it */
	u8 words;
	struct unit_word *word;
	struct bt_exit *exit;
	struct x86_insn *kept;
	struct unit_insn insn[];
};

/* Whether it is of one instruction across two pages. */
static inline bool unit_crosses(const struct unit *u)
{
	return ((uintptr_t)u->guest & 0xfff) + u->bytes > 4096;
}

static inline struct unit *unit_of(const struct unit_insn *n)
{
	return (struct unit *)(void *)((u8 *)(uintptr_t)(n - n->k) - offsetof(struct unit, insn));
}

/* bt_cpu.x87_op: FOP, the instruction's offset in its page, and whether there was one. x87_mem: segment, and the same. */
#define X87_FOP     0x7ffu
#define X87_OFF_POS 11u
#define X87_SEG     7u
#define X87_NOTED   BIT(31)

/* --- Per CPU -------------------------------------------------------------------------------------- */

#define JUMP_SLOTS 65536u
#define JUMP_CACHES \
	16u /* one a key, as far as they go: the last is for all other keys, and 16-bit code */
#define JUMP_LOG   8192u
#define JUMP_PAGES 32768u

/* Where code at a rip is, by the low 16 bits of the rip. Empty: 0, but 1 in slot 0 (no rip that belongs to the slot matches). */
struct jump_cache {
	u64 tag[JUMP_SLOTS]; /* minus the rip */
	u64 entry[JUMP_SLOTS];
	u32 key;  /* of all units in it */
	u64 base; /* of the code segment that the rips are of; 0 for 64-bit code */
	/* Slots that were filled, by scope of the page: those of global pages outlive a CR3 load. */
	struct {
		u32 used; /* more than fit: clear all */
		u16 slot[JUMP_LOG];
	} log[TLB_SCOPES];
	u64 pages[JUMP_PAGES / 64]; /* hashes of the linear pages of all entries, and of more */
};

/* Lies in vcpu.engine_area, which is zero at first. */
struct bt_cpu {
	struct vcpu *self;
	struct bt *bt;
	uintptr_t host_sp;
	u64 vrip;    /* rip of the first byte of the page that the running unit lies in */
	i64 left;    /* counted: what is left of the budget; the running unit is paid for whole */
	i64 granted; /* what left was when v->icount was exact */
	const struct unit_insn *at; /* being executed by C, or NULL: v->icount and left agree then */
	struct unit *last;          /* entered last by C, or NULL */
	const struct bt_cross *cross; /* with step: what is to run, if it is known */
	const u8 *cold;     /* with step: code that is to run in C as it stands, or NULL */
	u32 sys_id;         /* the SYSCALL or SYSRET that a stub is at */
	uintptr_t fault_at; /* host address of a faulting instruction */
	u64 group[16];      /* addends of the running unit's groups, by register */
	/* Of a piece of a repeated string instruction: bytes, then elements; and the addends of both sides. */
	u64 rep_room, rep_from, rep_to;
	bool fp_live;   /* x87, SSE and AVX registers are in the host's */
	bool moved;     /* a mapping was dropped: where code lies must be looked up again */
	bool overdrawn; /* counted: the budget has been exceeded for the sake of a whole unit */
	bool irq_held;  /* an interrupt waits for IF: ATT_IRQ is to be set again then */
	bool step;      /* the next instruction must run alone, in C */
	u8 fp_closed[GATE_COUNT]; /* by gate: 0 if fp_live and instructions of the gate may run */
	u32 fp_mxcsr;             /* the host's own */
	u64 fp_inuse;             /* components in use when the registers were loaded */
	u8 fp_zeroed;             /* VZEROUPPER or VZEROALL has run since */
	/* The last x87 instruction noted by units, and the last one of those with a memory operand. */
	u32 x87_op, x87_mem;
	u64 x87_vrip;                  /* vrip of its unit */
	u64 x87_fop, x87_fip, x87_fdp; /* x87_fdp: also what units note */
	struct jump_cache jump[JUMP_CACHES];
};

_Static_assert(sizeof(struct bt_cpu) <= VCPU_ENGINE_AREA, "it lies there");

#define CTX(field)    offsetof(struct vcpu, field)
#define CTX_BT(field) (offsetof(struct vcpu, engine_area) + offsetof(struct bt_cpu, field))
#define CTX_GPR(reg)  (offsetof(struct vcpu, cpu.gpr) + 8 * (size_t)(reg))

static inline struct bt_cpu *bt_cpu(struct vcpu *v)
{
	return (struct bt_cpu *)(void *)v->engine_area;
}

/* --- Per machine ---------------------------------------------------------------------------------- */

#define BT_SEGMENTS 8u
#define UNIT_HASH   65536u
#define PAGE_HASH   4096u
/* If the machine does not say: a part of its RAM, within bounds. */
#define BT_CACHE_PART  16u
#define BT_CACHE_LEAST (32 * MIB)
#define BT_CACHE_MOST  (128 * MIB)
#define HOT_HASH       65536u
#define COLD_HASH      65536u

/* Units are made in segments, one after the other; when all are full the oldest is emptied. */
struct bt_segment {
	u8 *code, *meta;
	struct unit *units; /* newest first */
	u32 code_used, meta_used, count;
};

struct code_page {
	const u8 *host;
	struct code_page *next;
	struct unit *units;
	u64 granules; /* bit per 64 bytes that any live unit touches */
	u32 heat;     /* of writes */
};

#define BT_CROSSES   256u
#define BT_CROSS_OFF 0xff2u /* in its page: no instruction before it reaches the next one */

/* An instruction across two pages that has been run lately. */
struct bt_cross {
	const u8 *first;  /* host address of its first byte, or NULL */
	const u8 *second; /* of the page that it reaches into */
	u32 mode, runs;
	u8 bytes[15];
	struct x86_insn insn;
};

struct tr;
typedef bool bt_emit_fn(struct tr *t);

struct bt {
	struct vm *vm;
	bool groups; /* accesses are checked in groups: not in lockstep, where a unit must not fail to get on */
	bool counted; /* the guest's clock counts instructions: units do too */
	/* The CPUs run on several host threads. If not, nothing comes between the read and the write of one instruction, and no
	 * other thread looks at memory that guests share by locking: LOCK then buys nothing, and costs some 20 cycles. */
	bool threads;
	u8 *rw, *meta;
	ptrdiff_t exec;           /* executable minus writable address */
	u32 code_size, meta_size; /* of a segment */
	unsigned current;
	struct bt_segment segment[BT_SEGMENTS];
	u8 *fixed; /* stubs, before the segments */
	struct {
		uintptr_t enter, insn, exit, entry, miss, fault, fp, syscall, sysret, end;
	} stub;
	bt_emit_fn **emit;             /* by mnemonic */
	bool *goes_on;                 /* by mnemonic: a jump behind which the unit goes on */
	u32 jump_key[JUMP_CACHES - 1]; /* the keys that have a jump cache of their own */
	unsigned jump_keys;
	struct unit **hash; /* UNIT_HASH chains, behind the metadata */
	struct code_page *pages[PAGE_HASH];
	/* How often pages got their first unit after all that they had were killed: from HOT on units of the page check themselves.
	 * Pages that share an entry are hot together, which costs speed alone. Forgotten after HOT_MEMORY of these events. */
	u8 births[HOT_HASH];
	u32 born;
	struct bt_cross cross[BT_CROSSES];
	u8 cold_runs[COLD_HASH]; /* by hash of the code; forgotten whenever a segment is emptied */
	void *dump;              /* FILE of --dump=tu, or NULL */
	void *perf;              /* FILE of --perf-map, or NULL */
	struct bt_stats stats;
};

/* cache.c */
int bt_cache_init(struct bt *bt, size_t size) must_check;
void bt_cache_fini(struct bt *bt);
/* Room for one more unit, emptying a segment if need be; never while a unit is running. */
struct bt_segment *bt_cache_room(struct bt *bt);
struct unit *bt_cache_find(struct bt *bt, const u8 *guest, u32 key);
void bt_cache_publish(struct bt *bt, struct unit *u);
/* Whether units of the page of the guest code at `guest` are to check themselves. */
bool bt_cache_hot(const struct bt *bt, const u8 *guest);
/* Forgets a self-checking unit, whose bytes have changed. */
void bt_cache_stale(struct bt *bt, struct unit *u);
/* Bytes [gpa, gpa + size) are about to change. */
void bt_cache_written(struct bt *bt, const u8 *host, u64 size);
void bt_link(struct bt *bt, struct bt_exit *x, struct unit *to);
/* The unit whose code holds the host address, or NULL. */
struct unit *bt_cache_unit_at(struct bt *bt, uintptr_t host);

/* cross.c: the instruction at rip, whose first byte is at `guest`, not before BT_CROSS_OFF, if it lies across two pages and can be run
 * by bt_cross_run, next and without attention. NULL: not so. CS is wide. May raise #PF. */
struct bt_cross *bt_cross_find(struct vcpu *v, const u8 *guest, u32 key);
/* Whether it is worth a unit, and can have one. Counts how often it is asked. */
bool bt_cross_is_unit(struct bt_cross *c);
void bt_cross_run(struct vcpu *v, const struct bt_cross *c);

/* cold.c: whether C is to run the code at guest, by bt_cold_run, next and without attention, in place of a unit of it. Counts. */
bool bt_cold(struct bt *bt, const u8 *guest, u32 key);
/* How many instructions were run. */
unsigned bt_cold_run(struct vcpu *v, const u8 *guest, u32 key);

/* jump.c */
void jump_init(struct bt_cpu *e);
/* The number of the jump cache that code of this key uses. */
unsigned jump_index(struct bt *bt, u32 key);
void jump_clear(struct jump_cache *c);
void jump_clear_local(struct jump_cache *c);
/* linear: the linear address of rip, from which on so many bytes are relied on to stay mapped where they are. */
void jump_fill(struct jump_cache *c, u64 rip, u64 linear, unsigned bytes, enum tlb_scope scope,
	       uintptr_t entry);
void jump_drop_page(struct jump_cache *c, u64 page);

/* stubs.c: the fixed code between C and units. Each calls the C function below it and goes where that says; 0 leaves to the
 * caller of bt_enter. */
void bt_make_stubs(struct bt *bt);
u64 bt_do_insn(struct vcpu *v, u32 id); /* runs one instruction in C */
u64 bt_do_exit(struct vcpu *v, u32 id); /* an unlinked direct exit */
u64 bt_do_entry(struct vcpu *v,
		u32 id); /* attention, or the budget is used up, at a unit's entry */
u64 bt_do_miss(struct vcpu *v,
	       u32 id); /* a target, in cpu.rip, that the jump cache does not know */
u64 bt_do_fp(struct vcpu *v,
	     u32 id); /* an instruction of a gate that is closed, or not looked at yet */
u64 bt_do_fault(struct vcpu *v, u32 vector); /* the host faulted at bt_cpu.fault_at */

/* translate.c: makes the unit at guest, whose rip is `rip` now; NULL if its first instruction goes beyond the page. Or, crosses: of that
 * instruction alone, whose bytes on the next page follow in RAM. */
struct unit *bt_translate(struct bt *bt, struct vcpu *v, const u8 *guest, u64 rip, u32 key,
			  bool crosses);
/* The instruction, decoded: in room, or where it is kept. Its unit is not dead. NULL if it has changed, in a self-checking unit, to one
 * that is longer than the unit. */
const struct x86_insn *bt_insn(const struct bt *bt, const struct unit_insn *n,
			       struct x86_insn *room);
/* Whether the guest's bytes are still those that the self-checking unit was made of. */
bool bt_unit_holds(const struct unit *u);
/* dump.c */
void bt_dump_unit(const struct bt *bt, const struct unit *u, u64 rip, void *file);

/* perf_map.c: open before the first unit; the others only while bt.perf is set. */
int bt_perf_open(struct bt *bt) must_check;
void bt_perf_close(struct bt *bt);
void bt_perf_stubs(struct bt *bt);
void bt_perf_unit(struct bt *bt, const struct unit *u, u64 rip);

/* Metadata is named in code by its offset. */
static inline u32 bt_id(const struct bt *bt, const void *meta)
{
	return (u32)((const u8 *)meta - bt->meta);
}

static inline void *bt_of_id(const struct bt *bt, u32 id) { return bt->meta + id; }

#endif
