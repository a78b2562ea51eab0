/* --dump=tu: a unit as text, guest instruction by guest instruction: address, bytes, decoded form, and the host code made of it. */
#include "engine/bt/bt.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

static void dump_host(const struct bt *bt, const struct unit *u, unsigned from, unsigned to,
		      FILE *f)
{
	const u8 *p = u->code + from, *end = u->code + to;
	ZydisDisassembledInstruction d;

	while (p < end) {
		u64 at = (u64)(uintptr_t)(p + bt->exec);

		if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, at, p,
							(ZyanUSize)(end - p), &d)))
			break;
		fprintf(f, "        %12llx  ", (unsigned long long)at);
		for (unsigned k = 0; k < 15; k++)
			fprintf(f, k < d.info.length ? "%02x" : "  ", p[k]);
		fprintf(f, "  %s\n", d.text);
		p += d.info.length;
	}
}

void bt_dump_unit(const struct bt *bt, const struct unit *u, u64 rip, void *file)
{
	FILE *f = file;
	char text[128];
	unsigned end = u->count ? u->insn[u->count - 1].end : u->body;

	fprintf(f, "unit %llx: %u instructions, %u bytes, %u-bit, key %#x, %u host bytes\n",
		(unsigned long long)rip, u->count, u->bytes, key_bits(u->key), u->key, u->total);
	fprintf(f, "  entry\n");
	dump_host(bt, u, 0, u->body, f);
	for (unsigned n = 0; n < u->count; n++) {
		struct x86_insn room;
		const struct x86_insn *i = bt_insn(bt, &u->insn[n], &room);

		if (!i) {
			fprintf(f, "  changed\n");
			break;
		}
		x86_disasm(i, rip + i->off, text, sizeof(text));
		fprintf(f, "  %8llx  ", (unsigned long long)(rip + i->off));
		for (unsigned k = 0; k < 15; k++)
			fprintf(f, k < i->len ? "%02x" : "  ", i->bytes[k]);
		fprintf(f, "  %s\n", text);
		dump_host(bt, u, u->insn[n].host, u->insn[n].end, f);
	}
	fprintf(f, "  exits and what is out of line\n");
	dump_host(bt, u, end, u->total, f);
	for (unsigned n = 0; n < u->exits; n++)
		fprintf(f, "  exit %u: to %llx\n", n,
			(unsigned long long)(rip - ((uintptr_t)u->guest & 0xfff) +
					     (u64)u->exit[n].target));
}
