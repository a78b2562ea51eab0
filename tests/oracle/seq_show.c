/* Sequences and their differences as text, every line a TAP comment. */
#include "seq.h"

#include "gen.h"

#include <stdio.h>
#include <string.h>

#define SHOW_BYTES 24u /* of differing memory */

void seq_show_code(const struct oracle_case *c)
{
	static struct oracle_case i;
	ZydisFormatter f;

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	for (unsigned at = 0; at < c->len; at += i.insn.length) {
		char text[128] = "?";
		u64 rip = c->before.rip + at;

		i.mode = c->mode;
		memset(i.bytes, HLT, INSN_MAX);
		memcpy(i.bytes, c->bytes + at, MIN(INSN_MAX, c->len - at));
		if (!gen_redecode(&i))
			return;
		ZydisFormatterFormatInstruction(&f, &i.insn, i.ops, i.insn.operand_count_visible,
						text, sizeof(text), rip, NULL);
		printf("#   %8llx  ", (unsigned long long)rip);
		for (unsigned n = 0; n < i.insn.length; n++)
			printf("%02x", i.bytes[n]);
		printf("%*s  %s\n", (int)(2 * (INSN_MAX - i.insn.length)), "", text);
	}
	printf("#   %8llx  the end\n", (unsigned long long)(c->before.rip + c->len));
}

static void show_row(const char *name, u64 before, u64 host, u64 guest, u64 mask)
{
	printf("#   %-6s %16llx %16llx %16llx%s\n", name, (unsigned long long)before,
	       (unsigned long long)host, (unsigned long long)guest,
	       (host ^ guest) & mask ? "  <--" : "");
}

static void show_end(const char *who, const struct oracle_end *e)
{
	if (e->fault)
		printf("#   %s: vector %u, error code %x, cr2 %llx\n", who, e->vector, e->error,
		       (unsigned long long)e->cr2);
	else
		printf("#   %s: %s\n", who,
		       e->vector == EXC_NONE ? "does not come to the end" : "completes");
}

static void show_extended(const struct oracle_case *c, const struct oracle_result *h,
			  const struct oracle_result *g)
{
	static u8 before[X86_XSAVE_SIZE], a[X86_XSAVE_SIZE], b[X86_XSAVE_SIZE];

	memcpy(before, c->before.xsave, sizeof(before));
	memcpy(a, h->after.xsave, sizeof(a));
	memcpy(b, g->after.xsave, sizeof(b));
	compare_normalize(before);
	compare_normalize(a);
	compare_normalize(b);
	show_row("fcw", le_load(before, 2), le_load(a, 2), le_load(b, 2), ~0ull);
	show_row("fsw", le_load(before + 2, 2), le_load(a + 2, 2), le_load(b + 2, 2), ~0ull);
	show_row("mxcsr", le_load(before + 24, 4), le_load(a + 24, 4), le_load(b + 24, 4), ~0ull);
	for (unsigned n = 32; n + 8 <= X86_XSAVE_SIZE; n += 8) {
		char name[16];

		if (!memcmp(a + n, b + n, 8))
			continue;
		snprintf(name, sizeof(name), "x+%u", n);
		show_row(name, le_load(before + n, 8), le_load(a + n, 8), le_load(b + n, 8), ~0ull);
	}
}

void seq_show_difference(const struct oracle_case *c, const struct oracle_result *h,
			 const struct oracle_result *g)
{
	u64 width = c->mode == 64 ? ~0ull : 0xffffffff;
	unsigned shown = 0;

	show_end("host", &h->end);
	show_end("guest", &g->end);
	printf("#   %-6s %16s %16s %16s\n", "", "before", "host", "guest");
	for (unsigned n = 0; n < (c->mode == 64 ? 16u : 8u); n++)
		show_row(oracle_gpr_names[n], c->before.gpr[n], h->after.gpr[n], g->after.gpr[n],
			 width);
	show_row("rip", c->before.rip, h->after.rip, g->after.rip, width);
	show_row("flags", c->before.flags, h->after.flags, g->after.flags,
		 compare_flags(c, h->end.fault));
	show_extended(c, h, g);
	for (unsigned n = 0; n < DATA_SIZE && shown < SHOW_BYTES; n++)
		if (h->after.data[n] != g->after.data[n]) {
			printf("#   data + %-5u %4s%02x %14s%02x %14s%02x  <--\n", n, "",
			       c->before.data[n], "", h->after.data[n], "", g->after.data[n]);
			shown++;
		}
}

void seq_show_command(const struct seq_options *o, u64 n)
{
	printf("#   again: oracle --engine %s --mode %u --seed %llu --cases 0 --sequences 1 --first %llu",
	       o->engine, o->mode, (unsigned long long)o->seed, (unsigned long long)n);
	if (o->length)
		printf(" --length %u", o->length);
	printf("%s\n", o->plant == PLANT_NONE ? "" : " --plant");
}
