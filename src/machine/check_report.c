/* Lockstep: what is said about a difference. */
#include "machine/check_internal.h"
#include "x86/exec.h"
#include "x86/fpu.h"
#include "x86/mem.h"

#include <stdio.h>

#define MAX_CODE 40 /* instructions of the unit that are shown */
#define MAX_RAM  16 /* pages that are listed */

static const char *lead_name(const struct check *c) { return c->lead->vm.engine->name; }
static const char *follow_name(const struct check *c) { return c->follow->vm.engine->name; }

/* --- The unit --------------------------------------------------------------------------------- */

static unsigned read_code(struct check *c, gva_t a, u8 *bytes, unsigned max)
{
	const struct vcpu *v = c->lead->vm.vcpus[c->cpu];
	unsigned have = 0;
	gpa_t gpa;

	while (have < max && x86_translate_debug(v, a + have, &gpa) &&
	       mem_read(v->vm->mem, gpa, bytes + have, 1))
		have++;
	return have;
}

/* Code size before the unit: EFER and CR0 are those after it, which matters to nothing but the unit that switches modes. */
static unsigned code_bits(const struct check *c)
{
	const struct x86_seg *cs = &c->before.seg[CS];

	if (x86_long(&c->lead->vm.vcpus[c->cpu]->cpu) && (cs->ar & AR_L))
		return 64;
	return cs->ar & AR_DB ? 32 : 16;
}

/* From memory as it is now, straight on from where the unit began. */
static void report_code(struct check *c, FILE *f)
{
	unsigned bits = code_bits(c);
	u64 rip = c->before.rip, count = c->insns + c->fault;

	fprintf(f, "code at %04x:%llx, %u-bit, as memory holds it now:\n", c->before.seg[CS].sel,
		(unsigned long long)rip, bits);
	for (unsigned n = 0; n < count && n < MAX_CODE; n++) {
		gva_t a = bits == 64 ? rip : (u32)(c->before.seg[CS].base + rip);
		struct x86_insn i;
		u8 bytes[15];
		char text[128];
		unsigned have = read_code(c, a, bytes, sizeof(bytes));

		if (!have || x86_decode(&i, bytes, have, bits) == 0) {
			fprintf(f, "  %16llx  (not readable)\n", (unsigned long long)rip);
			return;
		}
		x86_disasm(&i, rip, text, sizeof(text));
		fprintf(f, "  %16llx  ", (unsigned long long)rip);
		for (unsigned k = 0; k < 15; k++)
			fprintf(f, k < i.len ? "%02x" : "  ", bytes[k]);
		fprintf(f, "  %s\n", text);
		rip += i.len;
		if ((i.flags & INSN_BRANCH) && n + 1 < count) {
			fprintf(f, "  and on from wherever that went, %llu more\n",
				(unsigned long long)(count - n - 1));
			return;
		}
	}
}

static const char *stop_name(enum stop stop)
{
	static const char *const names[] = {
		[STOP_BUDGET] = "goes on",
		[STOP_HALT] = "halted",
		[STOP_KICK] = "was stopped",
		[STOP_SHUTDOWN] = "is shut down (triple fault)",
		[STOP_DEBUG] = "is at a breakpoint",
	};

	return names[stop];
}

static void report_event(const struct vcpu *v, const char *name, enum stop stop, FILE *f)
{
	fprintf(f,
		"%s: %llu instructions, %llu exceptions, %llu interrupts, events pending %x, %s\n",
		name, (unsigned long long)vcpu_icount(v), (unsigned long long)v->last_exc_count,
		(unsigned long long)v->interrupts,
		(unsigned)(atomic_load(&v->attention) & CHECK_ATT), stop_name(stop));
	if (v->last_exc_count) {
		unsigned last = (v->last_exc_count - 1) % ARRAY_LEN(v->last_exc);

		fprintf(f, "  last exception: vector %llu error %llx at %llx cr2 %llx\n",
			(unsigned long long)v->last_exc[last].vector,
			(unsigned long long)v->last_exc[last].error,
			(unsigned long long)v->last_exc[last].rip,
			(unsigned long long)v->last_exc[last].cr2);
	}
}

/* --- Registers -------------------------------------------------------------------------------- */

static u64 field_value(const struct state_field *f, const struct x86_cpu *cpu)
{
	return le_load((const u8 *)cpu + f->offset, f->size);
}

static void row(const char *name, u64 before, u64 a, u64 b, FILE *f)
{
	fprintf(f, "%c %-10s %16llx %16llx", a == b ? ' ' : '*', name, (unsigned long long)before,
		(unsigned long long)a);
	if (a != b)
		fprintf(f, " %16llx", (unsigned long long)b);
	fputc('\n', f);
}

/* General and segment registers in full, the others where they differ. */
static void report_registers(struct check *c, FILE *f)
{
	const struct x86_cpu *a = &c->lead->vm.vcpus[c->cpu]->cpu,
			     *b = &c->follow->vm.vcpus[c->cpu]->cpu;

	fprintf(f, "  %-10s %16s %16s %16s (where it differs)\n", "", "before", lead_name(c),
		follow_name(c));
	row("all flags", x86_rflags(&c->before), x86_rflags(a), x86_rflags(b), f);
	for (unsigned n = 0; n < x86_cpu_state.count; n++) {
		const struct state_field *field = &x86_cpu_state.fields[n];

		if (field->offset < offsetof(struct x86_cpu, gdtr)) {
			row(field->name, field_value(field, &c->before), field_value(field, a),
			    field_value(field, b), f);
			continue;
		}
		for (unsigned k = 0; check_is_core(field) && k < field->count; k++) {
			struct state_field one = *field;

			one.offset += k * one.size;
			if (field_value(&one, a) != field_value(&one, b))
				fprintf(f, "* %s[%u] %llx, %llx\n", one.name, k,
					(unsigned long long)field_value(&one, a),
					(unsigned long long)field_value(&one, b));
		}
	}
}

static void fp_name(unsigned at, char *buf, size_t size)
{
	if (at < FX_ST)
		snprintf(buf, size, "x87/MXCSR +%u", at);
	else if (at < FX_XMM)
		snprintf(buf, size, "st%u", (at - FX_ST) / 16);
	else if (at < FX_XMM + 256)
		snprintf(buf, size, "xmm%u", (at - FX_XMM) / 16);
	else if (at >= XS_YMM && at < XS_YMM + 256)
		snprintf(buf, size, "ymm%u high", (at - XS_YMM) / 16);
	else
		snprintf(buf, size, "xsave +%u", at);
}

static void report_fp(struct check *c, FILE *f)
{
	const struct x86_cpu *a = &c->lead->vm.vcpus[c->cpu]->cpu,
			     *b = &c->follow->vm.vcpus[c->cpu]->cpu;
	unsigned at = 0;
	char name[32];

	while ((at = check_fp_differs(a, b, at)) < X86_XSAVE_SIZE) {
		at &= ~15u;
		fp_name(at, name, sizeof(name));
		fprintf(f, "* %-14s %016llx:%016llx  %016llx:%016llx\n", name,
			(unsigned long long)le_load(a->xsave + at + 8, 8),
			(unsigned long long)le_load(a->xsave + at, 8),
			(unsigned long long)le_load(b->xsave + at + 8, 8),
			(unsigned long long)le_load(b->xsave + at, 8));
		at += 16;
	}
}

/* --- The rest --------------------------------------------------------------------------------- */

static void report_exit(const char *who, const struct check_log *log, u64 n, FILE *f)
{
	static const char *const names[EXIT_KINDS] = { "port in",    "port out", "mmio read",
						       "mmio write", "msr read", "msr write",
						       "tpr read",   "tpr write" };
	const struct exit *e = &log->exit[n];

	if (n >= MIN(log->count, CHECK_EXITS))
		fprintf(f, "  %s: none\n", who);
	else
		fprintf(f, "  %s: %s%u %llx = %llx%s\n", who, names[e->kind], e->size * 8,
			(unsigned long long)e->addr, (unsigned long long)e->value,
			e->fault ? ", #GP" : "");
}

static void report_exits(struct check *c, FILE *f)
{
	u64 n = check_exits_differ(c);

	fprintf(f, "exits of the unit: %llu and %llu; the first that differs is number %llu\n",
		(unsigned long long)c->lead_log.count, (unsigned long long)c->follow_log.count,
		(unsigned long long)n);
	report_exit(lead_name(c), &c->lead_log, n, f);
	report_exit(follow_name(c), &c->follow_log, n, f);
}

static gpa_t ram_gpa(const struct mem *mem, u64 offset)
{
	gpa_t gpa = mem_gpa(mem, mem->ram->host + offset);

	return gpa == ~0ull ? offset : gpa;
}

static void report_ram(struct check *c, FILE *f)
{
	const struct mem *a = &c->lead->mem, *b = &c->follow->mem;
	u64 at = 0;
	unsigned pages = 0;

	while ((at = check_ram_differs(a, b, at)) < a->size && pages++ < MAX_RAM) {
		u64 word = at & ~7ull;

		fprintf(f, "* memory at gpa %llx, page %#llx: %016llx, %016llx\n",
			(unsigned long long)ram_gpa(a, word),
			(unsigned long long)ram_gpa(a, word) / MEM_PAGE,
			(unsigned long long)le_load(a->ram->host + word, 8),
			(unsigned long long)le_load(b->ram->host + word, 8));
		at = (at | (MEM_PAGE - 1)) + 1;
	}
	if (!pages)
		fputs("memory: the same\n", f);
	else
		fprintf(f,
			"memory: the first difference of each of %s%u pages; all was the same after %llu instructions\n",
			at < a->size ? "more than " : "", MIN(pages, (unsigned)MAX_RAM),
			(unsigned long long)c->ram_fine);
}

static void report_devices(struct check *c, FILE *f)
{
	for (unsigned n = 0; n < c->lead->device_count; n++) {
		struct device *d = c->lead->devices[n];

		if (state_diff(d->type->regs, device_regs(d), device_regs(c->follow->devices[n]),
			       NULL)) {
			fprintf(f, "* device %s (- %s, + %s):\n", d->name, lead_name(c),
				follow_name(c));
			state_diff(d->type->regs, device_regs(d),
				   device_regs(c->follow->devices[n]), f);
		}
	}
}

static void report_head(const struct check *c, unsigned what, FILE *f)
{
	static const char *const names[] = { "stop",      "count",    "exits",  "pending events",
					     "registers", "FP state", "memory", "devices" };
	const char *comma = "";

	fprintf(f, "check: %s and %s differ in ", lead_name(c), follow_name(c));
	for (unsigned n = 0; n < ARRAY_LEN(names); n++)
		if (what & 1u << n) {
			fprintf(f, "%s%s", comma, names[n]);
			comma = ", ";
		}
	fprintf(f, "\nafter %llu instructions of all CPUs, cpu%u, in ",
		(unsigned long long)machine_insns(c->lead), c->cpu);
	if (c->attended)
		fputs("the delivery of an event\n", f);
	else
		fprintf(f, "a unit of %llu instructions%s\n", (unsigned long long)c->insns,
			c->fault ? " and one that faulted" : "");
	if (what & DIFF_RAM && !c->lead_page)
		fputs("RAM may have differed before: run it again with --check-page for one of the pages below\n",
		      f);
}

void check_report(struct check *c, unsigned what, void *file)
{
	FILE *f = file;

	report_head(c, what, f);
	if (!c->attended)
		report_code(c, f);
	if (c->lead->vm.engine->describe)
		c->lead->vm.engine->describe(c->lead->vm.vcpus[c->cpu], f);
	if (c->follow->vm.engine->describe)
		c->follow->vm.engine->describe(c->follow->vm.vcpus[c->cpu], f);
	report_event(c->lead->vm.vcpus[c->cpu], lead_name(c), c->lead_stop, f);
	report_event(c->follow->vm.vcpus[c->cpu], follow_name(c), c->follow_stop, f);
	report_registers(c, f);
	report_fp(c, f);
	if (what & DIFF_EXITS)
		report_exits(c, f);
	report_ram(c, f);
	report_devices(c, f);
}
