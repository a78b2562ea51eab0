/* Comparison of two results, with what the manual leaves undefined taken out. */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[512];

static const char *differ(const char *what, u64 host, u64 guest)
{
	snprintf(text, sizeof(text), "%s: host %llx, guest %llx", what, (unsigned long long)host,
		 (unsigned long long)guest);
	return text;
}

const char *const oracle_gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

u64 compare_flags(const struct oracle_case *c, bool fault)
{
	if (c->to_halt)
		return (FL_STATUS | FL_DF | FL_AC | FL_NT | FL_ID) & ~c->undefined;
	/* The kernel does not set NT and ID for a case. */
	return (FL_STATUS | FL_DF | FL_AC) & ~(fault ? 0 : c->undefined);
}

static const char *compare_end(const struct oracle_case *c, const struct oracle_result *h,
			       const struct oracle_result *g)
{
	if (c->to_halt && h->end.vector == EXC_NONE)
		return "the host does not come to the end";
	if (h->end.fault != g->end.fault ||
	    ((h->end.fault || c->to_halt) && h->end.vector != g->end.vector)) {
		snprintf(text, sizeof(text), "host %s %u, guest %s %u",
			 h->end.fault ? "faults with vector" : "completes,", h->end.vector,
			 g->end.fault ? "faults with vector" : "completes,", g->end.vector);
		return text;
	}
	if (h->end.cr2 != g->end.cr2)
		return differ("cr2", h->end.cr2, g->end.cr2);
	return h->end.error != g->end.error ? differ("error code", h->end.error, g->end.error)
					    : NULL;
}

static const char *compare_registers(const struct oracle_case *c, const struct oracle_result *h,
				     const struct oracle_result *g)
{
	u64 width = c->mode == 64 ? ~0ull : 0xffffffff;
	u64 flags = compare_flags(c, h->end.fault);

	for (unsigned n = 0; n < (c->mode == 64 ? 16u : 8u); n++)
		if ((h->after.gpr[n] ^ g->after.gpr[n]) & width)
			return differ(oracle_gpr_names[n], h->after.gpr[n], g->after.gpr[n]);
	if ((h->after.rip ^ g->after.rip) & width)
		return differ("rip", h->after.rip, g->after.rip);
	if ((h->after.flags ^ g->after.flags) & flags)
		return differ("flags", h->after.flags & flags, g->after.flags & flags);
	return NULL;
}

void compare_normalize(u8 *x)
{
	u64 use = le_load(x + 512, 8);

	if (!(use & 1)) {
		memset(x, 0, 24);
		/* gcc 12 with ASan takes a memset here for one beyond x. */
		for (unsigned k = 32; k < 160; k++)
			x[k] = 0;
		le_store(x, 0x37f, 2);
	}
	if (!(use & 2))
		memset(x + 160, 0, 256);
	for (unsigned c = 2; c < 8; c++) {
		u32 size = 0, offset = 0, ecx = c, edx;

		asm volatile("cpuid" : "=a"(size), "=b"(offset), "+c"(ecx), "=d"(edx) : "a"(0xd));
		if (!(use & BIT(c)) && size && offset + size <= X86_XSAVE_SIZE)
			memset(x + offset, 0, size);
	}
	/* FOP, FIP, FDP: processors differ in when they save them. The kernel's own bytes, and the header. */
	memset(x + 6, 0, 18);
	memset(x + 28, 0, 4);
	for (unsigned n = 0; n < 8; n++)
		memset(x + 42 + 16 * n, 0, 6);
	memset(x + 416, 0, 96 + 64);
}

static const char *compare_extended(const struct oracle_result *h, const struct oracle_result *g)
{
	static u8 a[X86_XSAVE_SIZE], b[X86_XSAVE_SIZE];

	memcpy(a, h->after.xsave, sizeof(a));
	memcpy(b, g->after.xsave, sizeof(b));
	compare_normalize(a);
	compare_normalize(b);
	for (unsigned n = 0; n < sizeof(a); n++)
		if (a[n] != b[n]) {
			unsigned at = n & ~7u;

			snprintf(text, sizeof(text),
				 "extended state byte %u: host %016llx, guest %016llx", at,
				 (unsigned long long)le_load(a + at, 8),
				 (unsigned long long)le_load(b + at, 8));
			return text;
		}
	return NULL;
}

static bool pushes_flags(const struct oracle_case *c)
{
	return !c->to_halt && (c->insn.mnemonic == ZYDIS_MNEMONIC_PUSHF ||
			       c->insn.mnemonic == ZYDIS_MNEMONIC_PUSHFD ||
			       c->insn.mnemonic == ZYDIS_MNEMONIC_PUSHFQ);
}

static const char *compare_data(const struct oracle_case *c, const struct oracle_result *h,
				const struct oracle_result *g)
{
	u32 base = c->mode == 16 ? DATA_PAGE - SEG16_BASE : DATA_PAGE;
	u64 sp = h->after.gpr[RSP] & bits_mask(c->mode);

	for (unsigned n = 0; n < DATA_SIZE; n++) {
		u8 diff = h->after.data[n] ^ g->after.data[n];

		/* What PUSHF stores: the host steps (TF), and NT and ID are not the case's. */
		if (pushes_flags(c) && ((base + n == sp + 1 && !(diff & ~0x41)) ||
					(base + n == sp + 2 && !(diff & ~0x20))))
			continue;
		if (diff) {
			snprintf(text, sizeof(text),
				 "memory at data + %u: host %02x, guest %02x, before %02x", n,
				 h->after.data[n], g->after.data[n], c->before.data[n]);
			return text;
		}
	}
	return NULL;
}

const char *compare(const struct oracle_case *c, const struct oracle_result *h,
		    const struct oracle_result *g)
{
	const char *why = compare_end(c, h, g);

	if (!why)
		why = compare_registers(c, h, g);
	if (!why)
		why = compare_extended(h, g);
	return why ? why : compare_data(c, h, g);
}
