/* Sequences on the host and on the engine. Each runs three times with the same bytes: an engine that keeps translations meets it
 * cold, then warm with another state, then with the first state again and a budget of one instruction at a time. The next one is
 * written over it, which makes all of them a test of self-modifying code. What differs is shrunk before it is shown. */
#include "seq.h"

#include "gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATES     2u
#define BATCH      (HOST_BATCH / STATES)
#define DRAW_TRIES 200u
#define SHOW_MAX   10u /* sequences */
#define LENGTH_MIN 2u
#define LENGTH_MAX 12u

static const struct run {
	const char *name;
	unsigned state, slice;
} runs[SEQ_RUNS] = {
	{ "cold", 0, GUEST_WHOLE },
	{ "warm with a second state", 1, GUEST_WHOLE },
	{ "warm, by single instructions", 0, 1 },
};

struct runner {
	const struct seq_options *o;
	struct seq_tally *t;
	struct seq_forms *forms;
	struct guest *seer, *subject;
	struct host *host;
	struct sequence list[BATCH];
	struct oracle_case cases[BATCH * STATES];
	struct oracle_result host_results[BATCH * STATES];
	/* While one is shrunk. */
	struct oracle_case trial, warm, empty;
	struct oracle_result trial_host, trial_guest;
};

/* --- Planted bugs ---------------------------------------------------------------------------- */

/* A translator that loses the carry between two instructions: ADC becomes ADD. */
static void plant_carry(struct oracle_case *c)
{
	static struct oracle_case i;

	for (unsigned at = 0; at < c->len; at += i.insn.length) {
		i.mode = c->mode;
		memset(i.bytes, HLT, INSN_MAX);
		memcpy(i.bytes, c->bytes + at, MIN(INSN_MAX, c->len - at));
		if (!gen_redecode(&i))
			return;
		if (i.insn.mnemonic != ZYDIS_MNEMONIC_ADC)
			continue;
		u8 *modrm = c->bytes + at + i.insn.raw.modrm.offset;

		if (i.insn.opcode >= 0x80)
			*modrm &= (u8)~0x38;
		else if (i.insn.opcode >= 0x14)
			c->bytes[at + i.insn.raw.imm[0].offset - 1u] &= (u8)~0x10;
		else
			modrm[-1] &= (u8)~0x10;
	}
}

/* A translator that does not write a register back where an exception leaves: one that had changed is as it was. */
static void plant_spill(const struct oracle_case *c, struct oracle_result *r)
{
	for (unsigned n = 0; n < 16 && r->end.fault; n++)
		if (r->after.gpr[n] != c->before.gpr[n]) {
			r->after.gpr[n] = c->before.gpr[n];
			return;
		}
}

static void engine_run(struct runner *w, const struct oracle_case *c, unsigned slice,
		       struct oracle_result *r)
{
	static struct oracle_case planted;

	if (w->o->plant == PLANT_CARRY) {
		planted = *c;
		plant_carry(&planted);
		guest_run(w->subject, &planted, slice, r);
		return;
	}
	guest_run(w->subject, c, slice, r);
	if (w->o->plant == PLANT_SPILL)
		plant_spill(c, r);
}

/* --- Shrinking ------------------------------------------------------------------------------- */

/* How a difference came about: the state it was seen with, and the one that the engine had run before; NULL: it was cold. */
struct found {
	const struct run *run;
	const struct oracle_state *state, *warm;
};

/* Repeats a run on an engine that has just seen other code. NULL if both agree, or if it is not a sequence that may run. */
static const char *try_again(struct runner *w, const struct sequence *s, const struct found *f)
{
	struct seq_walk walk;

	w->trial.before = *f->state;
	w->empty.mode = s->mode;
	w->empty.to_halt = true;
	w->empty.before = *f->state;
	if (!seq_assemble(s, &w->trial) || !seq_walk(w->seer, &w->trial, &walk))
		return NULL;
	host_run(w->host, &w->trial, &w->trial_host, 1);
	engine_run(w, &w->empty, GUEST_WHOLE, &w->trial_guest);
	if (f->warm) {
		w->warm.before = *f->warm;
		if (!seq_assemble(s, &w->warm))
			return NULL;
		engine_run(w, &w->warm, GUEST_WHOLE, &w->trial_guest);
	}
	engine_run(w, &w->trial, f->run->slice, &w->trial_guest);
	return compare(&w->trial, &w->trial_host, &w->trial_guest);
}

static void drop_insn(struct sequence *s, unsigned at)
{
	memmove(&s->list[at], &s->list[at + 1], (s->count - at - 1) * sizeof(s->list[0]));
	s->count--;
	for (unsigned n = 0; n < s->count; n++)
		if (s->list[n].target > at)
			s->list[n].target--;
}

/* Drops instructions while a difference is left; pairs too, for a branch and what it depends on may go only together. */
static void shrink(struct runner *w, struct sequence *s, const struct found *f)
{
	for (bool smaller = true; smaller;) {
		smaller = false;
		for (unsigned a = 0; a < s->count && !smaller; a++)
			for (unsigned b = a; b < s->count && !smaller && s->count > 1; b++) {
				struct sequence less = *s;

				if (b > a)
					drop_insn(&less, b);
				drop_insn(&less, a);
				if (!less.count || !try_again(w, &less, f))
					continue;
				*s = less;
				smaller = true;
			}
	}
}

static void report(struct runner *w, u64 n, unsigned k, const struct run *run, const char *why,
		   const struct oracle_result *guest)
{
	const struct oracle_case *c = &w->cases[k * STATES + run->state];
	struct found f = { .run = run, .state = &c->before };
	struct sequence s = w->list[k];

	printf("# %u-bit sequence %llu, %s: %s\n", w->o->mode, (unsigned long long)n, run->name,
	       why);
	if (!try_again(w, &s, &f)) {
		/* The states before: the other one, or for the last run either. */
		f.warm = &w->cases[k * STATES + !run->state].before;
		if (run == &runs[0] || !try_again(w, &s, &f)) {
			printf("#   it does not happen again: it depends on what ran before\n");
			seq_show_code(c);
			seq_show_difference(c, &w->host_results[k * STATES + run->state], guest);
			seq_show_command(w->o, n);
			return;
		}
		printf("#   only after a run with another state\n");
	} else if (run != &runs[0]) {
		printf("#   cold as well\n");
	}
	shrink(w, &s, &f);
	why = try_again(w, &s, &f);
	printf("#   shrunk: %s\n", why ? why : "(it has gone)");
	seq_show_code(&w->trial);
	seq_show_difference(&w->trial, &w->trial_host, &w->trial_guest);
	seq_show_command(w->o, n);
}

/* --- Runs ------------------------------------------------------------------------------------ */

/* Sequence n, which depends on the seed, the mode and n alone. */
static bool draw(struct runner *w, u64 n, struct sequence *s, struct oracle_case *c)
{
	const struct seq_options *o = w->o;
	struct rng r = { (o->seed * 1000003 + o->mode) * 0xd1342543de82ef95ull +
			 n * 0xaf251af3b0f025b5ull };
	struct seq_walk walk;

	for (unsigned tries = 0; tries < DRAW_TRIES; tries++) {
		unsigned length = o->length
					  ? o->length
					  : LENGTH_MIN + rng_below(&r, LENGTH_MAX - LENGTH_MIN + 1);

		if (!seq_draw(&r, w->forms, o->mode, length, w->seer, s, &c[0]) ||
		    !seq_walk(w->seer, &c[0], &walk)) {
			w->t->dropped++;
			continue;
		}
		w->t->instructions += walk.steps;
		w->t->middle += walk.fault && walk.steps > 1;
		c[1] = c[0];
		for (unsigned again = 0; again < 4; again++) {
			seq_second_state(&r, s, &c[0].before, &c[1].before);
			if (seq_walk(w->seer, &c[1], &walk))
				break;
			c[1] = c[0];
		}
		return true;
	}
	return false;
}

/* One run on the engine. True if it differs from the host's. */
static bool run_one(struct runner *w, u64 n, unsigned k, const struct run *run)
{
	static struct oracle_result guest;
	const struct oracle_case *c = &w->cases[k * STATES + run->state];
	const struct oracle_result *host = &w->host_results[k * STATES + run->state];

	engine_run(w, c, run->slice, &guest);
	w->t->runs++;
	w->t->faults += host->end.fault;
	const char *why = compare(c, host, &guest);

	if (!why)
		return false;
	if (w->t->differences++ < SHOW_MAX && !w->o->quiet)
		report(w, n, k, run, why, &guest);
	return true;
}

static void run_batch(struct runner *w, u64 first, unsigned count)
{
	host_run(w->host, w->cases, w->host_results, count * STATES);
	for (unsigned k = 0; k < count; k++) {
		bool differs = false;

		if (w->o->show) {
			printf("# %u-bit sequence %llu\n", w->o->mode,
			       (unsigned long long)(first + k));
			seq_show_code(&w->cases[k * STATES]);
		}
		/* One report a sequence; a run that is left out counts. */
		for (unsigned n = 0; n < SEQ_RUNS; n++)
			if (differs)
				w->t->runs++;
			else
				differs = run_one(w, first + k, k, &runs[n]);
	}
}

void seq_run(const struct seq_options *o, struct seq_tally *t)
{
	struct runner *w = calloc(1, sizeof(*w));

	w->o = o;
	w->t = t;
	w->forms = seq_forms_new(o->mode);
	w->host = host_start(o->mode);
	w->seer = guest_start(o->mode, "interp");
	w->subject = guest_start(o->mode, o->engine);
	w->empty.before.rip = o->mode == 16 ? CODE_OFFSET : CODE_PAGE + CODE_OFFSET;
	for (u64 n = o->first; n < o->first + o->count && w->host;) {
		u64 first = n;
		unsigned got = 0;

		while (got < BATCH && n < o->first + o->count &&
		       draw(w, n, &w->list[got], &w->cases[got * STATES])) {
			got++;
			n++;
		}
		if (!got)
			break;
		run_batch(w, first, got);
	}
	if (w->host)
		host_stop(w->host);
	guest_stop(w->seer);
	guest_stop(w->subject);
	seq_forms_free(w->forms);
	free(w);
}
