/* One-instruction thunks: host code that runs an instruction of the guest on the host's own
 * units. A thunk loads the registers that the instruction names from x86_cpu, executes it with
 * its memory operand at an address that the caller gives, and stores what was written. A cache
 * belongs to one machine; one thread at a time uses it. */
#ifndef X86_THUNK_H
#define X86_THUNK_H

#include "x86/fpu.h"
#include "x86/insn.h"
#include "x86/vcpu.h"

#define THUNK_LOAD     BIT(0) /* reads memory */
#define THUNK_STORE    BIT(1) /* writes memory */
#define THUNK_MMX      BIT(2) /* enters MMX state */
#define THUNK_X87      BIT(3) /* the whole x87 state is loaded and saved */
#define THUNK_POINTERS BIT(4) /* x87: sets FOP, FIP and, with memory, FDP */
#define THUNK_WAITS    BIT(5) /* checks for pending x87 exceptions */
#define THUNK_MASKED   BIT(6) /* memory elements whose mask bit is clear are not accessed */
#define THUNK_WHOLE    BIT(8) /* with THUNK_MASKED: faults as an access to the whole operand */
#define THUNK_ALIGNED  BIT(7) /* align_mask holds even where MXCSR.MM is set */

struct thunk {
	/* Returns 0, or HOSTSIG_FAULT | vector: then nothing has been written, but MXCSR for
	 * #XM. mem: the memory operand. */
	u32 (*code)(struct x86_cpu *cpu, void *mem);
	u16 flags; /* THUNK_ */
	u8 gate;   /* enum fpu_gate */
	u8 size;   /* of the memory operand in bytes, 0 if there is none */
	/* #GP(0) if the address has one of these bits; 0: no rule, or the host's check does it */
	u8 align_mask;
	u8 inuse;       /* state components in use afterwards */
	u8 mmx_written; /* MMX registers written */
	/* THUNK_MASKED: element i of memory goes with mask bits i, i + elements, ...; in all
	 * `lanes` bits. */
	u8 mask_reg, elements, element_size, lanes;
	u16 fop;
	u16 next; /* in its hash chain */
	u8 key_size;
	u8 key[19];
};

#define THUNK_INDEX_BITS 13u
#define THUNK_ENTRIES    (1u << THUNK_INDEX_BITS)
#define THUNK_HASH       4096u
#define THUNK_ARENA      (4u * 1024 * 1024)

struct thunk_cache {
	u64 epoch;   /* counts flushes, from 1: x86_insn.aux of an older one is stale */
	u32 count;   /* entries in use, entry 0 is none */
	u32 used;    /* bytes of the arena */
	u32 fixed;   /* bytes at its start that stay: constants and the exits of faults */
	u8 *rw, *rx; /* the same memory, writable and executable */
	u64 flushes, built;
	u16 hash[THUNK_HASH];
	struct thunk entries[THUNK_ENTRIES];
};

/* NULL if the host gives no memory. */
struct thunk_cache *thunk_cache_new(void);
void thunk_cache_free(struct thunk_cache *cache);

/* Finds or makes the thunk of an instruction that x86_bind_host took, and remembers it in
 * i->aux. Raises #UD if the CPU model does not have the instruction, or if the host's encoding
 * of it could not be made. */
const struct thunk *thunk_lookup(struct vcpu *v, const struct x86_insn *i);

/* i->aux holds epoch << THUNK_INDEX_BITS | index. */
static inline const struct thunk *thunk_of(struct vcpu *v, const struct x86_insn *i)
{
	const struct thunk_cache *cache = v->vm->thunks;
	uintptr_t tag = (uintptr_t)i->aux;

	if (likely(tag >> THUNK_INDEX_BITS == cache->epoch))
		return &cache->entries[tag & (THUNK_ENTRIES - 1)];
	return thunk_lookup(v, i);
}

/* --- Between thunk.c, thunk_plan.c and thunk_emit.c --- */

struct x86_zydis;

#define PLAN_GPRS     4
#define PLAN_NO_INDEX 16

/* What a thunk has to do, as Zydis' operand list gives it. */
struct thunk_plan {
	struct thunk t;  /* all but code */
	u16 features[3]; /* enum cpuid_id: all must be there */
	/* General registers: the guest's (16..19: AH..BH) and the host's that stands for it. */
	struct {
		u8 guest, host;
		bool load, store;
	} gpr[PLAN_GPRS];
	u8 gprs;
	/* Vector registers: bytes, 0 for none. A store always goes to the full length. */
	u8 load[32], store[32];
	u8 k_load, k_store; /* opmask registers, a bit each */
	u8 mmx_load, mmx_store;
	bool vex; /* a write of a vector register reaches to its full length */
	bool evex;
	bool mxcsr, flags_load, flags_store;
	bool clears_upper; /* code that leaves YMM state behind */
	/* The memory operand of the host's encoding: [base + index + disp], index PLAN_NO_INDEX for none. */
	struct {
		u8 base, index;
		i32 disp;
	} mem;
	u8 bytes[16]; /* the host's encoding */
	u8 size;
	u16 mnemonic;
};

_Static_assert(sizeof(((struct thunk *)0)->key) >= 15 + PLAN_GPRS,
	       "a key is an encoding and the registers it stands for");

/* The number of a register in its file; AH..BH are 16..19. reg is a ZydisRegister. */
u8 thunk_register(u32 reg);
/* A general register of the plan whose host register may not be another. */
static inline bool plan_gpr_fixed(const struct thunk_plan *p, unsigned k)
{
	return p->gpr[k].host < R8;
}

/* Whether the CPU model has the instruction. *bsx: it has not, but takes TZCNT for BSF or LZCNT for
 * BSR; the plan, which this adapts, is for that then. */
bool thunk_in_model(struct thunk_plan *p, const struct vm *vm, bool *bsx) must_check;
/* Fills the plan, without the encoding. False if the instruction is not one for a thunk. */
bool thunk_plan(struct thunk_plan *p, const struct x86_zydis *z) must_check;
/* Re-encodes the instruction for 64-bit mode with renamed registers and memory at p->mem, which
 * thunk_plan sets to [RSI], and checks it by decoding. bsx: the F3 prefix of TZCNT or LZCNT is
 * dropped. */
bool thunk_encode(struct thunk_plan *p, const struct x86_zydis *z, const u8 *bytes, bool bsx)
	must_check;
/* Writes the whole thunk. `at` is the address it will run at, `constant` that of the host's
 * MXCSR, which the host's FCW follows. Returns its bytes, at most THUNK_MAX. */
#define THUNK_MAX        1024u
#define THUNK_FCW_OFFSET 4u
unsigned thunk_emit(const struct thunk_plan *p, u8 *out, uintptr_t at, uintptr_t constant);
/* The exit of faults: restores the host's state; simd: saves MXCSR for the guest first. */
unsigned thunk_emit_exit(u8 *out, uintptr_t at, uintptr_t constant, bool simd);

#endif
