/*
 * Where near jumps go in segments whose base is not zero: in 16-bit code the target is cut to 16 bits (SDM 2A JMP, 2A CALL, 2A Jcc,
 * 2A LOOP: "the upper two bytes of the EIP register are cleared"), whatever the limit of the segment is; and the same offset in
 * another segment is another place (SDM 1 3.3.1). Each program is run several times, so that a jump that was remembered counts.
 */
#include "code.h"
#include "real.h"

#define TIMES 4
#define AREA  (PAGES + 0x10000) /* INT3s: 64 KiB below a segment, and 128 KiB from its base on */
#define STACK 0x8000

enum kind { REAL_64K, PROT_64K, PROT_4G, PROT_4G_ODD, KINDS };
static const char *const kind_names[KINDS] = { "real mode", "16-bit segment of 64 KiB",
					       "16-bit segment of 4 GiB",
					       "16-bit segment of 4 GiB at an odd base" };
/* Real mode reaches only what is below 1 MiB: the base is that of a segment number. */
static const u32 bases[KINDS] = { 0x50000, AREA, AREA, AREA + 0x7e0 };

static void fill(u32 base)
{
	u32 from = base >= AREA ? base - 0x10000 : base;

	for (u32 at = from; at < base + 0x20000; at += 4)
		put32((void *)at, 0xcccccccc);
	/* Not beyond what is RAM. */
	if (base < AREA)
		put32((void *)base, 0xcccccccc);
}

static void write_code(u32 at, const u8 *bytes, unsigned size)
{
	for (unsigned n = 0; n < size; n++)
		put8((void *)(at + n), bytes[n]);
}

struct place {
	u16 at;
	u8 size, bytes[8];
};

/* Run from `start` until an INT3 and tell whether that is the one at `end`. */
static bool ends_at(enum kind k, u32 start, u32 end, u32 ecx, u32 eax)
{
	struct regs r = { .eip = start, .eflags = FL_ZF | 2, .ecx = ecx, .eax = eax };

	if (k == REAL_64K) {
		r.cs = bases[k] >> 4;
		r.ds = r.es = LOW_DATA >> 4;
		r.ss = LOW_STACK >> 4;
		r.esp = STACK;
		real_probe(&r, DS16);
	} else {
		r.cs = T(0);
		r.ss = r.ds = r.es = r.fs = r.gs = KDS;
		r.esp = TOP(probe_stack);
		seg_set(T(0), desc(bases[k], k == PROT_64K ? 0xffff : 0xfffff, P | CODE_XR,
				   k == PROT_64K ? 0 : G));
		probe(&r);
	}
	return t.vector == BP && t.eip == end + 1u && t.cs == r.cs;
}

struct jump {
	const char *name;
	u16 start, end;
	u32 ecx, eax;
	struct place place[2];
};

#define CODE_AT(at_, ...)                                                                    \
	{                                                                                    \
		.at = (at_), .size = sizeof((u8[]){ __VA_ARGS__ }), .bytes = { __VA_ARGS__ } \
	}

static const struct jump jumps[] = {
	{ "JMP rel16 beyond 64 KiB", 0xf800, 0x105, 0, 0, { CODE_AT(0xf800, 0xe9, 0x02, 0x09) } },
	{ "JMP rel16 below 0", 0x100, 0xff00, 0, 0, { CODE_AT(0x100, 0xe9, 0xfd, 0xfd) } },
	{ "JMP rel8 beyond 64 KiB", 0xfffc, 0x0e, 0, 0, { CODE_AT(0xfffc, 0xeb, 0x10) } },
	{ "JMP rel8 below 0", 0x10, 0xffc2, 0, 0, { CODE_AT(0x10, 0xeb, 0xb0) } },
	{ "Jcc rel16 beyond 64 KiB",
	  0xf7ff,
	  0x105,
	  0,
	  0,
	  { CODE_AT(0xf7ff, 0x0f, 0x84, 0x02, 0x09) } },
	{ "Jcc rel16 below 0", 0x100, 0xff01, 0, 0, { CODE_AT(0x100, 0x0f, 0x84, 0xfd, 0xfd) } },
	{ "Jcc rel8 below 0", 0x0, 0xfff2, 0, 0, { CODE_AT(0x0, 0x74, 0xf0) } },
	{ "Jcc that is not taken", 0x100, 0x104, 0, 0, { CODE_AT(0x100, 0x0f, 0x85, 0xfd, 0xfd) } },
	{ "LOOP beyond 64 KiB", 0xfff0, 0x12, 2, 0, { CODE_AT(0xfff0, 0xe2, 0x20) } },
	{ "LOOP with ECX below 0", 0x20, 0xffe3, 2, 0, { CODE_AT(0x20, 0x67, 0xe2, 0xc0) } },
	{ "JCXZ below 0", 0x20, 0xffe2, 0, 0, { CODE_AT(0x20, 0xe3, 0xc0) } },
	{ "JECXZ beyond 64 KiB", 0xfff0, 0x13, 0, 0, { CODE_AT(0xfff0, 0x67, 0xe3, 0x20) } },
	{ "CALL rel16 beyond 64 KiB, RET",
	  0xf800,
	  0xf803,
	  0,
	  0,
	  { CODE_AT(0xf800, 0xe8, 0x02, 0x09), CODE_AT(0x105, 0xc3) } },
	{ "CALL rel16 below 0, RET",
	  0x100,
	  0x103,
	  0,
	  0,
	  { CODE_AT(0x100, 0xe8, 0xfd, 0xfd), CODE_AT(0xff00, 0xc3) } },
	{ "JMP AX", 0xfff0, 0x200, 0, 0x12340200, { CODE_AT(0xfff0, 0xff, 0xe0) } },
	{ "PUSH, RET", 0x20, 0xff80, 0, 0xff80, { CODE_AT(0x20, 0x50, 0xc3) } },
	{ "from page to page", 0xffe, 0x1001, 0, 0, { CODE_AT(0xffe, 0x90, 0x90, 0x90) } },
};

/* What is no jump does not wrap: SDM 3A 5.3 for the limit. */
static void goes_on(void)
{
	static const u8 nops[] = { 0x90, 0x90, 0x90, 0x90 }, back[] = { 0xeb, 0x20 };

	for (enum kind k = PROT_64K; k < KINDS; k++) {
		bool good = true;

		fill(bases[k]);
		write_code(bases[k] + 0xfffc, nops, 4);
		write_code(bases[k] + 0x10000, back, 2);
		for (unsigned i = 0; i < TIMES && good; i++) {
			good = ends_at(k, 0xfffc, 0x22, 0, 0);
			if (k == PROT_64K)
				good = fault_e(GP, 0, 4) && t.eip == 0x10000;
		}
		rule_report(k == PROT_64K
				    ? "SDM 3A 5.3 16-bit code that runs on behind its limit: #GP"
			    : k == PROT_4G
				    ? "SDM 2A JMP 16-bit code runs on behind 64 KiB, and jumps back"
				    : "SDM 2A JMP the same at an odd base",
			    good, "#GP at 10000h, or an INT3 at 22h");
	}
}

static void wraps(enum kind k)
{
	static char name[128];

	for (unsigned n = 0; n < sizeof(jumps) / sizeof(*jumps); n++) {
		const struct jump *j = &jumps[n];
		bool good = true;
		char *to = name;

		fill(bases[k]);
		for (unsigned p = 0; p < 2; p++)
			write_code(bases[k] + j->place[p].at, j->place[p].bytes, j->place[p].size);
		for (unsigned i = 0; i < TIMES && good; i++)
			good = ends_at(k, j->start, j->end, j->ecx, j->eax);
		for (const char *from = kind_names[k]; *from;)
			*to++ = *from++;
		*to++ = ':';
		*to++ = ' ';
		for (const char *from = j->name; *from;)
			*to++ = *from++;
		*to = 0;
		rule_report(name, good, "an INT3 at the target");
	}
}

/* --- Two segments, one offset ------------------------------------------------------------------- */

#define FIRST  AREA
#define SECOND (AREA + 0x8000)

/* In each segment, at `from`, a jump to an offset `to` that is in EAX, or on into the next page; there a value of its own. One program
 * calls both in turn. */
static void two(unsigned flags, u32 from, const u8 *bytes, unsigned size, u32 to, const char *name)
{
	static const u32 base[2] = { FIRST, SECOND };
	u32 calls = CODE(
		"mov ecx, 20\n"
		"1: mov eax, ebx\n .byte 0x9a\n .long 0x100\n .word 0x80\n cmp eax, 0x1000\n jne 2f\n"
		"mov eax, ebx\n .byte 0x9a\n .long 0x100\n .word 0x88\n cmp eax, 0x1001\n jne 2f\n"
		"loop 1b\n 2:");

	fill(FIRST);
	for (unsigned n = 0; n < 2; n++) {
		struct emit e = { (u8 *)(base[n] + to) };
		struct emit way = { (u8 *)(base[n] + 0x100) };

		if (from != 0x100) { /* jmp from */
			emit8(&way, 0xe9);
			if (flags & D)
				emit32(&way, from - 0x105);
			else
				put16(way.at, (u16)(from - 0x103));
		}
		write_code(base[n] + from, bytes, size);
		if (!(flags & D))
			emit8(&e, 0x66);
		emit_load(&e, 0x1000 + n);
		if (!(flags & D))
			emit8(&e, 0x66);
		emit8(&e, 0xcb);
		seg_set(T(n), desc(base[n], flags & G ? 0xfffff : 0xffff, P | CODE_XR, flags));
	}
	PROBE(calls, .ebx = to);
	rule_report(name, done() && t.ecx == 0, "the code of the segment that CS holds");
}

static void segments(void)
{
	static const u8 jump[] = { 0xff, 0xe0 }, ret[] = { 0x50, 0xc3 },
			nops[] = { 0x90, 0x90, 0x90, 0x90 };
	static const u8 rel[] = { 0xe9, 0xfb, 0x10, 0, 0 };

	two(D | G, 0x100, jump, 2, 0x200, "SDM 1 3.3.1 JMP EAX in two 32-bit segments");
	two(D | G, 0x100, ret, 2, 0x200, "SDM 1 3.3.1 RET in two 32-bit segments");
	two(D | G, 0x100, rel, 5, 0x1200, "SDM 1 3.3.1 JMP rel32 in two 32-bit segments");
	two(D | G, 0xffc, nops, 4, 0x1000, "SDM 1 3.3.1 to the next page in two 32-bit segments");
	two(G, 0x100, jump, 2, 0x200, "SDM 1 3.3.1 JMP AX in two 16-bit segments of 4 GiB");
	two(G, 0xffc, nops, 4, 0x1000,
	    "SDM 1 3.3.1 to the next page in two 16-bit segments of 4 GiB");
	two(0, 0x100, jump, 2, 0x200, "SDM 1 3.3.1 JMP AX in two 16-bit segments of 64 KiB");
	two(0, 0xffc, nops, 4, 0x1000,
	    "SDM 1 3.3.1 to the next page in two 16-bit segments of 64 KiB");
}

void test_main(void)
{
	for (enum kind k = 0; k < KINDS; k++)
		wraps(k);
	goes_on();
	segments();
}
