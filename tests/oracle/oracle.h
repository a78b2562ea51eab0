/* The instruction oracle: random instructions on random states, executed by the host CPU and by an engine, compared. */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include "x86/cpu.h"
#include "x86/insn.h"

#include <Zydis/Zydis.h>

/* Where things lie, on the host as in the guest: linear addresses. */
#define CODE_PAGE \
	0x20000000u /* one page of code, readable; a case starts at CODE_OFFSET or after it */
#define CODE_OFFSET 0x100u
#define DATA_PAGE \
	0x20010000u /* DATA_PAGES pages of data; the page before and the page after are not mapped */
#define DATA_PAGES 2u
#define DATA_SIZE  (DATA_PAGES * 4096u)
/* 16-bit segments start here, so that both lie within their 64 KiB. */
#define SEG16_BASE  (DATA_PAGE - 0x8000u)
#define CODE16_BASE CODE_PAGE

/* Guest-visible state before and after a case. */
struct oracle_state {
	u64 gpr[16];
	u64 rip; /* offset in the code segment */
	u64 flags;
	u8 xsave[X86_XSAVE_SIZE] __attribute__((aligned(64)));
	u8 data[DATA_SIZE];
};

/* How a case ended. */
struct oracle_end {
	bool fault;
	u8 vector; /* EXC_NONE with fault clear: a sequence that did not end */
	u32 error; /* of vectors that have one */
	u64 cr2;   /* #PF alone */
};

#define INSN_MAX ZYDIS_MAX_INSTRUCTION_LENGTH
#define CODE_MAX 256u /* bytes of a case; the rest of the page is HLT */
#define CODE_AREA \
	512u /* from CODE_OFFSET: where cases start and end, and what is rewritten for each */
#define HLT 0xf4

/* One instruction, or a sequence (to_halt) that runs until the HLT after it or the first fault. */
struct oracle_case {
	unsigned mode; /* 16, 32, 64 */
	bool to_halt;
	u16 len;
	u8 bytes[CODE_MAX];
	u64 undefined; /* status flags without a defined value at the end; a single instruction's, if it completes */
	/* A single instruction's. */
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct oracle_state before;
};

/* Exceptions that push an error code (SDM 3A table 6-1), of those that a case can raise. */
static inline bool oracle_has_error(u8 vector)
{
	return vector == EXC_PF || vector == EXC_GP || vector == EXC_SS || vector == EXC_AC;
}

struct oracle_result {
	struct oracle_state after;
	struct oracle_end end;
};

/* --- gen.c ----------------------------------------------------------------------------------- */

struct rng {
	u64 s;
};

u64 rng_next(struct rng *r);
unsigned rng_below(struct rng *r, unsigned n);
struct form;
/* POPA is the one whose fault may leave general registers changed (SDM 3A 6.5). */
bool gen_fault_is_loose(const ZydisDecodedInstruction *insn);
/* A case of this form: operands, addresses and state are random; false if the draw did not come out as that form. */
bool gen_case(struct rng *r, unsigned mode, const struct form *form, struct oracle_case *c);
/* True for a form that the oracle leaves out, with the reason. */
bool gen_excluded(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *ops,
		  const char **why);

/* --- host.c ---------------------------------------------------------------------------------- */

struct host;

/* A child process that executes cases of one mode. NULL if the host cannot (message on stderr). */
struct host *host_start(unsigned mode);
/* Runs n cases (at most HOST_BATCH). */
#define HOST_BATCH 256
void host_run(struct host *h, const struct oracle_case *cases, struct oracle_result *results,
	      unsigned n);
void host_stop(struct host *h);
/* XCR0 components that the host saves for a signal. */
u64 host_xcr0(void);

/* --- guest.c --------------------------------------------------------------------------------- */

struct guest;

struct guest *guest_start(unsigned mode, const char *engine);
/* slice: the instructions that the engine is asked for at a time, GUEST_WHOLE for all at once. */
#define GUEST_WHOLE 4096u /* far more than any case has */
void guest_run(struct guest *g, const struct oracle_case *c, unsigned slice,
	       struct oracle_result *result);
void guest_stop(struct guest *g);

/* The same vCPU one instruction at a time, for a look at what a sequence is going to do: load, then step. rip and registers may be
 * changed between steps. */
struct guest_view {
	u64 gpr[16], rip, flags;
	bool fault; /* the instruction raised an exception: nothing else has moved */
	u8 vector;
	bool lost; /* it did not end */
};
void guest_load(struct guest *g, const struct oracle_state *s);
void guest_step(struct guest *g, const u8 *bytes, unsigned len, struct guest_view *view);

/* --- compare.c ------------------------------------------------------------------------------- */

/* NULL if both agree, else a text that says in what they differ (static buffer). */
const char *compare(const struct oracle_case *c, const struct oracle_result *host,
		    const struct oracle_result *guest);
/* Flags that are compared. */
u64 compare_flags(const struct oracle_case *c, bool fault);
/* Makes extended states comparable: a component that is not in use gets its initial value, what is not compared becomes 0. */
void compare_normalize(u8 *xsave);
/* The names of the general registers. */
extern const char *const oracle_gpr_names[16];

#endif
