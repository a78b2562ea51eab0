/* Compares an engine with the host CPU, instruction by instruction. Prints TAP: one line per code size, one for the coverage.
 * usage: oracle [--engine NAME] [--cases N] [--seed N] [--mode 16|32|64] [--only MNEMONIC] [--list] [--plant] */
#include "forms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOW_DIFFERENCES 40 /* mnemonics */
#define FORM_SPREAD      4  /* draws tried for one case before the next form */

struct options {
	const char *engine, *only;
	u64 cases, seed;
	unsigned mode;
	bool list;
	bool plant;
	bool quiet; /* differences are expected */
};

struct tally {
	u64 cases, faults, differences, skipped;
	unsigned forms, seen;
};

static struct oracle_case cases[HOST_BATCH];
static struct oracle_result host_results[HOST_BATCH], guest_result;
static u32 form_of[HOST_BATCH];
static u32 differs[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* by mnemonic, in the present mode */

static void show(const struct oracle_case *c, const char *why, const struct oracle_result *h,
		 const struct oracle_result *g)
{
	char asm_text[128] = "?";
	ZydisFormatter f;

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&f, &c->insn, c->ops, c->insn.operand_count_visible,
					asm_text, sizeof(asm_text), c->before.rip, NULL);
	printf("# %u-bit ", c->mode);
	for (unsigned n = 0; n < c->len; n++)
		printf("%02x", c->bytes[n]);
	printf("  %s\n#   %s\n", asm_text, why);
	printf("#   before: flags %llx", (unsigned long long)c->before.flags);
	for (unsigned n = 0; n < (c->mode == 64 ? 16u : 8u); n++)
		printf(" %llx", (unsigned long long)c->before.gpr[n]);
	printf("\n#   mxcsr before %llx host %llx guest %llx, fcw %llx fsw %llx\n",
	       (unsigned long long)le_load(c->before.xsave + 24, 4),
	       (unsigned long long)le_load(h->after.xsave + 24, 4),
	       (unsigned long long)le_load(g->after.xsave + 24, 4),
	       (unsigned long long)le_load(c->before.xsave, 2),
	       (unsigned long long)le_load(c->before.xsave + 2, 2));
}

/* Fills the batch; forms are taken in turn, so that each is met about equally often. */
static unsigned fill(struct rng *r, unsigned mode, struct forms *f, const struct options *o,
		     u32 *next)
{
	unsigned n = 0;

	for (unsigned tries = 0; n < HOST_BATCH && tries < f->count + HOST_BATCH * 64; tries++) {
		struct form *form = &f->list[*next];

		if (!o->only || !strcmp(ZydisMnemonicGetString(form->mnemonic), o->only)) {
			bool got = false;

			for (unsigned k = 0; k < FORM_SPREAD && !got; k++)
				got = gen_case(r, mode, form, &cases[n]);
			if (got)
				form_of[n++] = *next;
		}
		*next = (*next + 1) % f->count;
	}
	return n;
}

/* The host went into the middle of the instruction: the guest would run what is there. */
static bool inconclusive(const struct oracle_case *c, const struct oracle_result *h)
{
	return !h->end.fault && h->after.rip >= c->before.rip &&
	       h->after.rip < c->before.rip + 32 && h->after.rip != c->before.rip + c->len &&
	       c->insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
}

/* A bug such as a translator might have: ADC of a register loses AF where the low byte carried. */
static void plant(const struct oracle_case *c, struct oracle_result *r)
{
	if (c->insn.mnemonic == ZYDIS_MNEMONIC_ADC && !r->end.fault &&
	    (c->before.gpr[RAX] & 0xff) == 0xff)
		r->after.flags &= ~FL_AF;
}

static void run_mode(unsigned mode, const struct options *o, struct tally *t)
{
	struct forms *f = forms_new(mode);
	struct host *h = host_start(mode);
	struct guest *g = guest_start(mode, o->engine);
	struct rng r = { o->seed * 1000003 + mode };
	u32 next = 0;
	u64 shown = 0;

	while (h && t->cases < o->cases) {
		unsigned n = fill(&r, mode, f, o, &next);

		if (!n)
			break;
		host_run(h, cases, host_results, n);
		for (unsigned k = 0; k < n; k++) {
			if (inconclusive(&cases[k], &host_results[k])) {
				t->skipped++;
				continue;
			}
			guest_run(g, &cases[k], &guest_result);
			if (o->plant)
				plant(&cases[k], &guest_result);
			const char *why = compare(&cases[k], &host_results[k], &guest_result);
			struct form *form = &f->list[form_of[k]];

			form->runs++;
			form->completed += !host_results[k].end.fault;
			t->cases++;
			t->faults += host_results[k].end.fault;
			if (!why)
				continue;
			t->differences++;
			/* The first of each mnemonic; the rest are counted. */
			if (!differs[cases[k].insn.mnemonic]++ && shown++ < SHOW_DIFFERENCES &&
			    !o->quiet)
				show(&cases[k], why, &host_results[k], &guest_result);
		}
	}
	t->forms = f->count;
	for (unsigned n = 0; n <= ZYDIS_MNEMONIC_MAX_VALUE; n++) {
		if (differs[n] && !o->quiet)
			printf("# %u differences in %s\n", differs[n],
			       ZydisMnemonicGetString((ZydisMnemonic)n));
		differs[n] = 0;
	}
	for (unsigned n = 0; n < f->count; n++) {
		t->seen += f->list[n].runs > 0;
		if (o->list && !f->list[n].completed)
			printf("# never completed in %u runs: %s %02x%02x%02x%02x%02x%02x\n",
			       f->list[n].runs, ZydisMnemonicGetString(f->list[n].mnemonic),
			       f->list[n].bytes[0], f->list[n].bytes[1], f->list[n].bytes[2],
			       f->list[n].bytes[3], f->list[n].bytes[4], f->list[n].bytes[5]);
	}
	if (h)
		host_stop(h);
	guest_stop(g);
	forms_free(f);
}

static void parse(int argc, char **argv, struct options *o)
{
	for (int n = 1; n < argc; n++) {
		const char *value = n + 1 < argc ? argv[n + 1] : "";

		if (!strcmp(argv[n], "--list") || !strcmp(argv[n], "--plant")) {
			*(argv[n][2] == 'l' ? &o->list : &o->plant) = true;
			continue;
		}
		if (!strcmp(argv[n], "--engine"))
			o->engine = value;
		else if (!strcmp(argv[n], "--cases"))
			o->cases = strtoull(value, NULL, 0);
		else if (!strcmp(argv[n], "--seed"))
			o->seed = strtoull(value, NULL, 0);
		else if (!strcmp(argv[n], "--mode"))
			o->mode = (unsigned)strtoul(value, NULL, 0);
		else if (!strcmp(argv[n], "--only"))
			o->only = value;
		else {
			fprintf(stderr,
				"usage: oracle [--engine NAME] [--cases N] [--seed N] [--mode 16|32|64] [--only MNEMONIC] [--list] [--plant]\n");
			exit(2);
		}
		n++;
	}
}

int main(int argc, char **argv)
{
	static const unsigned modes[] = { 16, 32, 64 };
	struct options o = { .engine = "interp", .cases = 340000, .seed = 1 };
	struct tally all = { 0 };
	unsigned test = 0, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv, &o);
	for (unsigned n = 0; n < ARRAY_LEN(modes); n++) {
		struct tally t = { 0 };

		if (o.mode && o.mode != modes[n])
			continue;
		run_mode(modes[n], &o, &t);
		bool ok = t.cases && !t.differences;

		printf("%s %u - %u-bit: %llu cases on %s agree with the host CPU (%llu faults, %llu differences, %llu left out; %u of %u forms)\n",
		       ok ? "ok" : "not ok", ++test, modes[n], (unsigned long long)t.cases,
		       o.engine, (unsigned long long)t.faults, (unsigned long long)t.differences,
		       (unsigned long long)t.skipped, t.seen, t.forms);
		failed += !ok;
		all.forms += t.forms;
		all.seen += t.seen;
		all.cases += t.cases;
	}
	if (!o.only && !o.plant) {
		struct options planted = { .engine = o.engine,
					   .cases = 2000,
					   .seed = o.seed,
					   .only = "adc",
					   .plant = true,
					   .quiet = true };
		struct tally t = { 0 };

		run_mode(32, &planted, &t);
		printf("%s %u - a planted bug is caught (%llu differences)\n",
		       t.differences ? "ok" : "not ok", ++test, (unsigned long long)t.differences);
		failed += !t.differences;
	}
	if (!o.only) {
		bool ok = all.seen * 100ull >= all.forms * 95ull;

		printf("%s %u - %u of %u instruction forms met in %llu cases (at least 95 %%)\n",
		       ok ? "ok" : "not ok", ++test, all.seen, all.forms,
		       (unsigned long long)all.cases);
		failed += !ok;
	}
	printf("1..%u\n", test);
	return failed != 0;
}
