/* Compares an engine with the host CPU: single instructions, and sequences of them. Prints TAP: for each a line per code size, then
 * the planted bugs and the coverage. The options are in `usage`. */
#include "forms.h"
#include "seq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOW_DIFFERENCES 40 /* mnemonics */
#define FORM_SPREAD      4  /* draws tried for one case before the next form */

static const char usage[] =
	"usage: oracle [OPTION...]\n"
	"  --engine NAME    the engine that is compared (interp)\n"
	"  --cases N        single instructions for each code size\n"
	"  --sequences N    sequences for each code size; each runs three times\n"
	"  --length N       instructions of a sequence, 2 to 12 (all of these lengths)\n"
	"  --first N        the first sequence: each depends on the seed and its number alone (0)\n"
	"  --seed N         (1)\n"
	"  --mode 16|32|64  one code size\n"
	"  --only MNEMONIC  single instructions with this name, no sequences\n"
	"  --list           names the forms that never completed\n"
	"  --show           prints each sequence before it runs\n"
	"  --plant          plants a bug in the results, which must show\n";

struct options {
	const char *engine, *only;
	u64 cases, seed, sequences, first;
	unsigned mode, length;
	bool list, show;
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

/* The host went into the middle of the instruction: the guest would run what is there. Or the state is open. */
static bool inconclusive(const struct oracle_case *c, const struct oracle_result *h)
{
	if (h->end.fault && gen_fault_is_loose(&c->insn))
		return true;
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
			guest_run(g, &cases[k], GUEST_WHOLE, &guest_result);
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

static unsigned number(const char *text)
{
	u64 n = strtoull(text, NULL, 0);

	return n > ~0u ? ~0u : (unsigned)n;
}

static bool parse_flag(const char *name, struct options *o)
{
	bool *flag = !strcmp(name, "--list")    ? &o->list
		     : !strcmp(name, "--show")  ? &o->show
		     : !strcmp(name, "--plant") ? &o->plant
						: NULL;

	if (flag)
		*flag = true;
	return flag;
}

static bool parse_value(const char *name, const char *value, struct options *o)
{
	if (!strcmp(name, "--engine"))
		o->engine = value;
	else if (!strcmp(name, "--cases"))
		o->cases = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--sequences"))
		o->sequences = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--length"))
		o->length = number(value);
	else if (!strcmp(name, "--first"))
		o->first = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--seed"))
		o->seed = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--mode"))
		o->mode = number(value);
	else if (!strcmp(name, "--only"))
		o->only = value;
	else
		return false;
	return true;
}

static void parse(int argc, char **argv, struct options *o)
{
	for (int n = 1; n < argc; n++) {
		if (!strcmp(argv[n], "--help")) {
			fputs(usage, stdout);
			exit(0);
		}
		if (parse_flag(argv[n], o))
			continue;
		if (n + 1 == argc || !parse_value(argv[n], argv[n + 1], o)) {
			fputs(usage, stderr);
			exit(2);
		}
		n++;
	}
	if (o->length && (o->length < 2 || o->length > 12)) {
		fputs(usage, stderr);
		exit(2);
	}
	if (o->only)
		o->sequences = 0;
}

/* --- The tests ------------------------------------------------------------------------------- */

struct tests {
	unsigned count, failed;
};

static void verdict(struct tests *t, bool ok)
{
	t->failed += !ok;
	printf("%s %u - ", ok ? "ok" : "not ok", ++t->count);
}

static void test_singles(struct tests *tests, unsigned mode, const struct options *o,
			 struct tally *all)
{
	struct tally t = { 0 };

	run_mode(mode, o, &t);
	verdict(tests, t.cases && !t.differences);
	printf("%u-bit: %llu cases on %s agree with the host CPU (%llu faults, %llu differences, %llu left out; %u of %u forms)\n",
	       mode, (unsigned long long)t.cases, o->engine, (unsigned long long)t.faults,
	       (unsigned long long)t.differences, (unsigned long long)t.skipped, t.seen, t.forms);
	all->forms += t.forms;
	all->seen += t.seen;
	all->cases += t.cases;
}

static void test_sequences(struct tests *tests, unsigned mode, const struct options *o)
{
	struct seq_options so = { .engine = o->engine,
				  .mode = mode,
				  .length = o->length,
				  .seed = o->seed,
				  .first = o->first,
				  .count = o->sequences,
				  .show = o->show,
				  .plant = o->plant ? PLANT_CARRY : PLANT_NONE };
	struct seq_tally t = { 0 };

	seq_run(&so, &t);
	verdict(tests, t.runs == SEQ_RUNS * o->sequences && !t.differences);
	printf("%u-bit: %llu runs of sequences on %s agree with the host CPU (%llu faults, %llu in the middle; %llu differences; %llu instructions; %llu draws dropped)\n",
	       mode, (unsigned long long)t.runs, o->engine, (unsigned long long)t.faults,
	       (unsigned long long)t.middle, (unsigned long long)t.differences,
	       (unsigned long long)t.instructions, (unsigned long long)t.dropped);
}

static void test_planted_single(struct tests *tests, const struct options *o)
{
	struct options planted = { .engine = o->engine,
				   .cases = 2000,
				   .seed = o->seed,
				   .only = "adc",
				   .plant = true,
				   .quiet = true };
	struct tally t = { 0 };

	run_mode(32, &planted, &t);
	verdict(tests, t.differences);
	printf("a bug planted in single instructions is caught (%llu differences)\n",
	       (unsigned long long)t.differences);
}

static void test_planted_sequences(struct tests *tests, const struct options *o)
{
	static const char *const names[] = { [PLANT_CARRY] = "a carry lost between instructions",
					     [PLANT_SPILL] = "a register lost at a fault" };

	for (enum seq_plant p = PLANT_CARRY; p <= PLANT_SPILL; p++) {
		struct seq_options so = { .engine = o->engine,
					  .mode = 32,
					  .seed = o->seed,
					  .count = 500,
					  .plant = p,
					  .quiet = true };
		struct seq_tally t = { 0 };

		seq_run(&so, &t);
		verdict(tests, t.differences);
		printf("planted in sequences, %s is caught (%llu differences)\n", names[p],
		       (unsigned long long)t.differences);
	}
}

int main(int argc, char **argv)
{
	static const unsigned modes[] = { 16, 32, 64 };
	struct options o = { .engine = "interp", .cases = 40000, .sequences = 20000, .seed = 1 };
	struct tally all = { 0 };
	struct tests tests = { 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv, &o);
	for (unsigned n = 0; n < ARRAY_LEN(modes); n++)
		if (o.cases && (!o.mode || o.mode == modes[n]))
			test_singles(&tests, modes[n], &o, &all);
	for (unsigned n = 0; n < ARRAY_LEN(modes); n++)
		if (o.sequences && (!o.mode || o.mode == modes[n]))
			test_sequences(&tests, modes[n], &o);
	if (o.cases && !o.only && !o.plant)
		test_planted_single(&tests, &o);
	if (o.sequences > 1 && !o.plant)
		test_planted_sequences(&tests, &o);
	if (o.cases && !o.only) {
		verdict(&tests, all.seen * 100ull >= all.forms * 95ull);
		printf("%u of %u instruction forms met in %llu cases (at least 95 %%)\n", all.seen,
		       all.forms, (unsigned long long)all.cases);
	}
	printf("1..%u\n", tests.count);
	return tests.failed != 0;
}
