/* Sequences of several instructions, as cases of the oracle. */
#ifndef TESTS_ORACLE_SEQ_H
#define TESTS_ORACLE_SEQ_H

#include "oracle.h"

#define SEQ_MAX 16u /* instructions: the longest that is asked for, and what a construct may add */

/* A field of an instruction that depends on where instructions lie. */
enum seq_patch {
	SEQ_NONE,
	SEQ_BRANCH,  /* displacement of a branch to instruction `target` */
	SEQ_ADDRESS, /* immediate: the address of instruction `target` */
	SEQ_RIP,     /* rip-relative displacement to linear address `to` */
};

struct seq_insn {
	u8 bytes[INSN_MAX];
	u8 len;
	u8 patch;    /* enum seq_patch */
	u8 at, size; /* of the field, in bytes */
	u8 target;   /* at most the number of instructions: then the end */
	u64 to;
};

struct sequence {
	unsigned mode;
	unsigned count;
	u64 start; /* rip of the first */
	struct seq_insn list[SEQ_MAX];
	u32 keep; /* general registers that serve as addresses or counts: a second state has the same */
};

/* What a sequence does with a state, as the interpreter foresees it. */
struct seq_walk {
	u64 undefined; /* status flags that are undefined at the end or at the fault */
	unsigned steps;
	bool fault;
};

/* --- seq_gen.c ------------------------------------------------------------------------------- */

struct forms;
struct seq_forms;

/* Forms by kind of instruction. */
struct seq_forms *seq_forms_new(unsigned mode);
void seq_forms_free(struct seq_forms *f);
/* A sequence of about `length` instructions and a state for it, written to c->before. seer is a guest of the interpreter.
 * False if the draw came to nothing. */
bool seq_draw(struct rng *r, struct seq_forms *f, unsigned mode, unsigned length,
	      struct guest *seer, struct sequence *s, struct oracle_case *c);
/* Another state for the same sequence. */
void seq_second_state(struct rng *r, const struct sequence *s, const struct oracle_state *first,
		      struct oracle_state *second);

/* --- seq_walk.c ------------------------------------------------------------------------------ */

/* Lays the instructions out in c->bytes. False if a branch does not reach. */
bool seq_assemble(const struct sequence *s, struct oracle_case *c);
/* Address of a memory operand; false if the instruction computes none there. */
bool seq_operand_address(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *op,
			 const u64 *gpr, u64 rip, u64 *address);
/* True for an address in or near the data pages. */
bool seq_near_data(unsigned mode, u64 address);
/* Flags without a defined value after an instruction (SDM 2: "Flags Affected" of each), of which `undefined` had none before. gpr:
 * before it. */
u64 seq_undefined_after(const struct oracle_case *i, const u64 *gpr, u64 undefined);
/* Goes through the assembled sequence with c->before. False if the host and an engine may differ for good reason, or if it is
 * not safe to run on the host. Sets c->undefined. */
bool seq_walk(struct guest *seer, struct oracle_case *c, struct seq_walk *w);

/* --- seq_show.c ------------------------------------------------------------------------------ */

struct seq_options;

/* The code of a case with its addresses. */
void seq_show_code(const struct oracle_case *c);
/* Both states after it, differences marked. */
void seq_show_difference(const struct oracle_case *c, const struct oracle_result *host,
			 const struct oracle_result *guest);
/* The command that runs sequence n again. */
void seq_show_command(const struct seq_options *o, u64 n);

/* --- seq.c ----------------------------------------------------------------------------------- */

struct seq_options {
	const char *engine;
	unsigned mode, length; /* length 0: 2 to 12 */
	u64 seed, first, count;
	bool show; /* print each before it runs */
	bool quiet;
	enum seq_plant { PLANT_NONE, PLANT_CARRY, PLANT_SPILL } plant;
};

struct seq_tally {
	u64 runs, faults, middle, instructions, differences, dropped;
};

/* Runs `count` sequences of one mode, each SEQ_RUNS times. */
#define SEQ_RUNS 3u
void seq_run(const struct seq_options *o, struct seq_tally *t);

#endif
