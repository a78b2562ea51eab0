/* What check.c (running, comparing) and check_report.c (showing) share. */
#ifndef MACHINE_CHECK_INTERNAL_H
#define MACHINE_CHECK_INTERNAL_H

#include "machine/internal.h"

/* Exits of one unit that are held; a repeated OUTS makes one for each element of a piece. */
#define CHECK_EXITS 8192u

struct check_log {
	u64 count; /* may be above CHECK_EXITS: of those only the number is known */
	struct exit exit[CHECK_EXITS];
};

struct check {
	struct machine *lead, *follow;
	struct check_log lead_log, follow_log;
	/* The unit that ran last. Of the registers before it, those up to x86_cpu.gdtr are kept. */
	unsigned cpu;
	bool attended; /* it was no unit: an event was due */
	u64 insns;
	bool fault; /* and then the leader raised an exception */
	enum stop lead_stop, follow_stop;
	struct x86_cpu before;
	/* Comparisons. */
	const u8 *lead_page, *follow_page; /* RAM that is compared after each unit; may be NULL */
	/* Instruction counts: of the next comparison of RAM, of the last good one. */
	u64 ram_due, ram_fine;
	u64 units, events, fp_compared, ram_compared;
};

/* What differs, as a set. */
enum {
	DIFF_STOP = 1 << 0,
	DIFF_COUNT = 1 << 1,
	DIFF_EXITS = 1 << 2,
	DIFF_EVENTS = 1 << 3, /* attention bits that devices set */
	DIFF_CPU = 1 << 4,
	DIFF_FP = 1 << 5,
	DIFF_RAM = 1 << 6,
	DIFF_DEVICES = 1 << 7,
};

#define CHECK_ATT (ATT_IRQ | ATT_NMI | ATT_INIT | ATT_SIPI)

/* Fields of x86_cpu up to the floating-point state. */
#define CHECK_CORE offsetof(struct x86_cpu, xsave)

static inline bool check_is_core(const struct state_field *f) { return f->offset < CHECK_CORE; }

static inline bool check_field_differs(const struct state_field *f, const void *a, const void *b)
{
	return memcmp((const u8 *)a + f->offset, (const u8 *)b + f->offset,
		      (size_t)f->size * f->count) != 0;
}

/* Offset in x86_cpu.xsave of the first byte of state at or above `from` that differs, or X86_XSAVE_SIZE. XINUSE and the mask of
 * MXCSR are no state. */
unsigned check_fp_differs(const struct x86_cpu *a, const struct x86_cpu *b, unsigned from);
/* The same for RAM: an offset into it, or its size. */
u64 check_ram_differs(const struct mem *a, const struct mem *b, u64 from);
/* The number of the first exit that differs, or both logs' count. */
u64 check_exits_differ(const struct check *c);

/* check_report.c: all there is to say about a difference, on `file`. */
void check_report(struct check *c, unsigned what, void *file);

#endif
