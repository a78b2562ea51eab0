/* GDB remote serial protocol (GDB manual, appendix E), all-stop. One debugger at a time; each vCPU is a thread. The register set
 * is fixed when the debugger connects: amd64 while the boot CPU is in long mode, i386 otherwise. The program counter is the linear
 * address, CS base included, so that breakpoints and disassembly are right in real mode too. */
#include "control/gdb.h"

#include "base/bits.h"
#include "base/log.h"
#include "control/gdb_regs.h"
#include "control/gdb_wire.h"
#include "x86/debugger.h"
#include "x86/mem.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SIGNAL_INT = 2, SIGNAL_TRAP = 5, SIGNAL_SEGV = 11 }; /* gdb's numbers */
enum {
	KIND_SOFTWARE,
	KIND_HARDWARE,
	KIND_COUNT
}; /* of breakpoints: to gdb they differ, to Pogo they do not */

struct gdb {
	struct machine *machine;
	int listener;
	struct wire wire;
	bool wide; /* amd64 register set */
	const char *architecture;
	bool running; /* gdb waits for a stop reply */
	bool reasons; /* gdb understands which breakpoint it was */
	bool crashed; /* gdb has seen the triple fault */
	unsigned cpu; /* that register packets mean */
	struct debugger dbg[VM_MAX_VCPUS];
	struct {
		gva_t address;
		unsigned kind;
	} breakpoints[DEBUGGER_MAX_BREAKPOINTS];
	unsigned breakpoint_count;
};

static struct vcpu *gdb_vcpu(struct gdb *g)
{
	struct vm *vm = machine_vm(g->machine);

	return vm->vcpus[g->cpu < vm->nvcpus ? g->cpu : 0];
}

/* A thread: n + 1 for CPU n. -1 and 0 mean all or any; *cpu is VM_MAX_VCPUS then. False if there is no such thread. */
static bool take_thread(const struct gdb *g, const char **p, unsigned *cpu)
{
	u64 id;

	*cpu = VM_MAX_VCPUS;
	if (wire_take_word(p, "-1"))
		return true;
	if (!wire_take_number(p, &id) || id > machine_vm(g->machine)->nvcpus)
		return false;
	if (id)
		*cpu = (unsigned)id - 1;
	return true;
}

/* --- Registers ------------------------------------------------------------------------------ */

static void registers_read(struct gdb *g)
{
	u8 value[GDB_REG_MAX];
	unsigned size;

	for (unsigned n = 0; (size = gdb_reg_get(&gdb_vcpu(g)->cpu, g->wide, n, value)); n++)
		wire_put_hex(&g->wire, value, size);
	wire_reply(&g->wire);
}

/* All of them, or none. Read-only ones keep their values: gdb writes back what it has read. */
static void registers_write(struct gdb *g, const char *p)
{
	struct vcpu *v = gdb_vcpu(g);
	u8 value[GDB_REG_MAX];
	const char *check = p;
	unsigned size;

	for (unsigned n = 0; (size = gdb_reg_get(&v->cpu, g->wide, n, value)); n++)
		if (!wire_take_hex(&check, value, size)) {
			wire_reply_bool(&g->wire, false);
			return;
		}
	for (unsigned n = 0; (size = gdb_reg_get(&v->cpu, g->wide, n, value)); n++)
		if (wire_take_hex(&p, value, size))
			(void)gdb_reg_set(v, g->wide, n, value);
	x86_mode_changed(v);
	wire_reply_bool(&g->wire, true);
}

static void register_read(struct gdb *g, const char *p)
{
	u8 value[GDB_REG_MAX];
	unsigned size = 0;
	u64 n;

	if (wire_take_number(&p, &n) && n < WIRE_PACKET_MAX)
		size = gdb_reg_get(&gdb_vcpu(g)->cpu, g->wide, (unsigned)n, value);
	if (!size) {
		wire_reply_bool(&g->wire, false);
		return;
	}
	wire_put_hex(&g->wire, value, size);
	wire_reply(&g->wire);
}

static void register_write(struct gdb *g, const char *p)
{
	struct vcpu *v = gdb_vcpu(g);
	u8 value[GDB_REG_MAX];
	unsigned size = 0;
	u64 n;

	if (wire_take_number(&p, &n) && wire_take(&p, '=') && n < WIRE_PACKET_MAX)
		size = gdb_reg_get(&v->cpu, g->wide, (unsigned)n, value);
	bool good = size && wire_take_hex(&p, value, size) &&
		    gdb_reg_set(v, g->wide, (unsigned)n, value);

	x86_mode_changed(v);
	wire_reply_bool(&g->wire, good);
}

/* --- Memory --------------------------------------------------------------------------------- */

/* Moves one byte at a linear address; RAM only. */
static bool memory_byte(struct gdb *g, gva_t a, u8 *byte, bool write)
{
	struct vm *vm = machine_vm(g->machine);
	gpa_t gpa;

	if (!x86_translate_debug(gdb_vcpu(g), a, &gpa))
		return false;
	return write ? mem_write(vm->mem, gpa, byte, 1) : mem_read(vm->mem, gpa, byte, 1);
}

static void memory_read(struct gdb *g, const char *p)
{
	u64 a, n, done;
	u8 byte;

	if (!wire_take_number(&p, &a) || !wire_take(&p, ',') || !wire_take_number(&p, &n)) {
		wire_reply_bool(&g->wire, false);
		return;
	}
	n = MIN(n, (u64)WIRE_CHUNK_MAX);
	for (done = 0; done < n && memory_byte(g, a + done, &byte, false); done++)
		wire_put_hex(&g->wire, &byte, 1);
	wire_reply_text(&g->wire, n && !done ? "E14" : "");
}

static void memory_write(struct gdb *g, const char *p)
{
	u64 a, n;
	u8 byte;

	if (!wire_take_number(&p, &a) || !wire_take(&p, ',') || !wire_take_number(&p, &n) ||
	    !wire_take(&p, ':') || strlen(p) != 2 * n) {
		wire_reply_bool(&g->wire, false);
		return;
	}
	for (u64 done = 0; done < n; done++)
		if (!wire_take_hex(&p, &byte, 1) || !memory_byte(g, a + done, &byte, true)) {
			wire_reply_text(&g->wire, "E14");
			return;
		}
	wire_reply_bool(&g->wire, true);
}

/* --- Running -------------------------------------------------------------------------------- */

static void stop_reply(struct gdb *g, int signal, const char *reason)
{
	char text[64];

	g->running = false;
	snprintf(text, sizeof(text), "T%02x%sthread:%x;", signal, reason, g->cpu + 1);
	wire_reply_text(&g->wire, text);
}

/* What each CPU does until the next stop. */
enum action { ACTION_NONE, ACTION_RUN, ACTION_STEP };

/* A CPU that neither steps nor has breakpoints to look for runs at full speed. */
static void resume(struct gdb *g, const u8 action[VM_MAX_VCPUS])
{
	struct vm *vm = machine_vm(g->machine);

	for (unsigned n = 0; n < vm->nvcpus; n++) {
		struct debugger *d = &g->dbg[n];

		*d = (struct debugger){
			.count = g->breakpoint_count,
			.step = action[n] == ACTION_STEP,
			.held = action[n] == ACTION_NONE,
			/* A halted CPU goes on in an interrupt handler, not with the instruction at rip. */
			.resuming = !vm->vcpus[n]->cpu.halted,
		};
		for (unsigned k = 0; k < g->breakpoint_count; k++)
			d->breakpoints[k] = g->breakpoints[k].address;
		vm->vcpus[n]->dbg = d->step || d->held || d->count ? d : NULL;
		x86_mode_changed(vm->vcpus[n]);
	}
	g->running = true;
	machine_pause(g->machine, false);
}

static void resume_all(struct gdb *g, enum action of_selected)
{
	u8 action[VM_MAX_VCPUS];

	memset(action, ACTION_RUN, sizeof(action));
	action[gdb_vcpu(g)->index] = (u8)of_selected;
	resume(g, action);
}

/* vCont;ACTION[:THREAD]... For each thread the first action that names it counts; a thread without one stays where it is. */
static void resume_listed(struct gdb *g, const char *p)
{
	u8 action[VM_MAX_VCPUS] = { ACTION_NONE };
	bool any = false;

	while (wire_take(&p, ';')) {
		char kind = *p ? *p++ : 0;
		unsigned cpu = VM_MAX_VCPUS;
		u64 signal;

		if ((kind == 'C' || kind == 'S') && !wire_take_number(&p, &signal))
			kind = 0;
		if (!kind || !strchr("cCsS", kind) ||
		    (wire_take(&p, ':') && !take_thread(g, &p, &cpu))) {
			wire_reply_bool(&g->wire, false);
			return;
		}
		for (unsigned n = 0; n < VM_MAX_VCPUS; n++)
			if (action[n] == ACTION_NONE && (cpu == VM_MAX_VCPUS || cpu == n))
				action[n] = kind == 's' || kind == 'S' ? ACTION_STEP : ACTION_RUN;
		any = true;
	}
	if (any && !*p)
		resume(g, action);
	else
		wire_reply_bool(&g->wire, false);
}

/* Why CPU v has stopped, if gdb wants to know: it moves the program counter of a breakpoint that is not declared. */
static const char *stop_reason(const struct gdb *g, const struct vcpu *v)
{
	static const char *const reasons[KIND_COUNT] = { "swbreak:;", "hwbreak:;" };
	gva_t pc = gdb_pc(&v->cpu);

	if (!g->reasons || g->dbg[v->index].step)
		return "";
	for (unsigned n = 0; n < g->breakpoint_count; n++)
		if (g->breakpoints[n].address == pc)
			return reasons[g->breakpoints[n].kind];
	return "";
}

static bool on_debug(void *opaque, struct vcpu *v, enum stop why)
{
	struct gdb *g = opaque;

	if (why == STOP_DEBUG && !g->running)
		return true; /* the user let the machine go on while gdb had stopped it: gdb is right */
	if (!g->running || (why == STOP_SHUTDOWN && g->crashed))
		return false;
	g->cpu = v->index;
	g->crashed = why == STOP_SHUTDOWN;
	if (g->crashed)
		log_info("cpu%u: triple fault; gdb has it", v->index);
	stop_reply(g, g->crashed ? SIGNAL_SEGV : SIGNAL_TRAP, g->crashed ? "" : stop_reason(g, v));
	return true;
}

static unsigned breakpoint_find(const struct gdb *g, gva_t address, unsigned kind)
{
	unsigned n = 0;

	while (n < g->breakpoint_count &&
	       (g->breakpoints[n].address != address || g->breakpoints[n].kind != kind))
		n++;
	return n;
}

static void breakpoint(struct gdb *g, const char *p, bool insert)
{
	u64 kind, address, size;

	if (!wire_take_number(&p, &kind) || !wire_take(&p, ',') ||
	    !wire_take_number(&p, &address) || !wire_take(&p, ',') ||
	    !wire_take_number(&p, &size)) {
		wire_reply_bool(&g->wire, false);
		return;
	}
	if (kind >= KIND_COUNT) { /* watchpoints: gdb steps and looks itself */
		wire_reply_text(&g->wire, "");
		return;
	}
	unsigned n = breakpoint_find(g, address, (unsigned)kind);

	if (insert && n == DEBUGGER_MAX_BREAKPOINTS) {
		wire_reply_text(&g->wire, "E12");
		return;
	}
	if (insert && n == g->breakpoint_count) {
		g->breakpoints[n].address = address;
		g->breakpoints[n].kind = (unsigned)kind;
		g->breakpoint_count++;
	} else if (!insert && n < g->breakpoint_count) {
		g->breakpoints[n] = g->breakpoints[--g->breakpoint_count];
	}
	wire_reply_bool(&g->wire, true);
}

/* --- Queries -------------------------------------------------------------------------------- */

static void transfer(struct gdb *g, const char *p)
{
	char *xml = NULL;
	size_t size = 0;
	u64 offset, length;
	FILE *f;

	if (!wire_take_number(&p, &offset) || !wire_take(&p, ',') ||
	    !wire_take_number(&p, &length)) {
		wire_reply_bool(&g->wire, false);
		return;
	}
	f = open_memstream(&xml, &size);
	if (!f) {
		wire_reply_text(&g->wire, "E12");
		return;
	}
	gdb_reg_describe(g->wide, g->architecture, f);
	fclose(f);
	offset = MIN(offset, (u64)size);
	length = MIN(MIN(length, (u64)WIRE_CHUNK_MAX), size - offset);
	wire_put(&g->wire, offset + length == size ? "l" : "m");
	wire_put_bytes(&g->wire, xml + offset, length);
	wire_reply(&g->wire);
	free(xml);
}

static void remote_command(struct gdb *g, const char *p)
{
	char command[64] = "", *text = NULL;
	size_t size = 0;
	FILE *f;

	for (size_t n = 0; n < sizeof(command) - 1 && wire_take_hex(&p, &command[n], 1); n++)
		command[n + 1] = 0;
	f = open_memstream(&text, &size);
	if (!f) {
		wire_reply_text(&g->wire, "E12");
		return;
	}
	if (!strcmp(command, "reset"))
		machine_reset(g->machine);
	else if (!strcmp(command, "report"))
		machine_report(g->machine, f);
	else if (!strcmp(command, "stats"))
		machine_stats(g->machine, f);
	else if (!machine_dump(g->machine, command, f))
		fputs("monitor commands: report, state, stats, config, memmap, bus, cpuid, reset (then: maintenance flush register-cache)\n",
		      f);
	fclose(f);
	/* Console output, in packets that fit. */
	for (size_t at = 0; at < size; at += WIRE_CHUNK_MAX) {
		wire_put(&g->wire, "O");
		wire_put_hex(&g->wire, text + at, MIN(size - at, (size_t)WIRE_CHUNK_MAX));
		wire_reply(&g->wire);
	}
	free(text);
	wire_reply_bool(&g->wire, true);
}

static void thread_list(struct gdb *g)
{
	char text[16];

	for (unsigned n = 0; n < machine_vm(g->machine)->nvcpus; n++) {
		snprintf(text, sizeof(text), "%c%x", n ? ',' : 'm', n + 1);
		wire_put(&g->wire, text);
	}
	wire_reply(&g->wire);
}

static void thread_info(struct gdb *g, const char *p)
{
	char text[64];
	unsigned n;

	if (!take_thread(g, &p, &n) || n == VM_MAX_VCPUS) {
		wire_reply_bool(&g->wire, false);
		return;
	}
	const struct x86_cpu *cpu = &machine_vm(g->machine)->vcpus[n]->cpu;

	snprintf(text, sizeof(text), "CPU %u%s", n,
		 cpu->wait_sipi ? " (waiting to be started)"
		 : cpu->halted  ? " (halted)"
				: "");
	wire_put_hex(&g->wire, text, strlen(text));
	wire_reply(&g->wire);
}

static void query(struct gdb *g, const char *p)
{
	char text[96];

	if (wire_take_word(&p, "Supported")) {
		g->reasons = strstr(p, "swbreak+");
		snprintf(text, sizeof(text),
			 "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+%s",
			 WIRE_PACKET_MAX - 16, g->reasons ? ";swbreak+;hwbreak+" : "");
		wire_reply_text(&g->wire, text);
	} else if (wire_take_word(&p, "Xfer:features:read:target.xml:")) {
		transfer(g, p);
	} else if (wire_take_word(&p, "Attached")) {
		wire_reply_text(&g->wire, "1");
	} else if (wire_take_word(&p, "fThreadInfo")) {
		thread_list(g);
	} else if (wire_take_word(&p, "sThreadInfo")) {
		wire_reply_text(&g->wire, "l");
	} else if (wire_take_word(&p, "ThreadExtraInfo,")) {
		thread_info(g, p);
	} else if (wire_take_word(&p, "Rcmd,")) {
		remote_command(g, p);
	} else if (!strcmp(p, "C")) {
		snprintf(text, sizeof(text), "QC%x", g->cpu + 1);
		wire_reply_text(&g->wire, text);
	} else {
		wire_reply_text(&g->wire, "");
	}
}

/* Hg THREAD, for register and memory packets. Hc is for the resume packets that vCont has replaced. */
static void select_thread(struct gdb *g, const char *p)
{
	bool registers = *p == 'g';
	unsigned cpu;

	if ((!wire_take(&p, 'g') && !wire_take(&p, 'c')) || !take_thread(g, &p, &cpu)) {
		wire_reply_bool(&g->wire, false);
		return;
	}
	if (registers && cpu != VM_MAX_VCPUS)
		g->cpu = cpu;
	wire_reply_bool(&g->wire, true);
}

static void multi_letter(struct gdb *g, const char *p)
{
	if (!strcmp(p, "Cont?"))
		wire_reply_text(&g->wire, "vCont;c;C;s;S");
	else if (wire_take_word(&p, "Cont"))
		resume_listed(g, p);
	else
		wire_reply_text(&g->wire, "");
}

static void detach(struct gdb *g)
{
	struct vm *vm = machine_vm(g->machine);

	loop_remove(machine_loop(g->machine), g->wire.fd);
	close(g->wire.fd);
	g->wire.fd = -1;
	g->wire.in_len = 0;
	g->wire.no_ack = g->running = g->reasons = false;
	g->breakpoint_count = 0;
	for (unsigned n = 0; n < vm->nvcpus; n++) {
		vm->vcpus[n]->dbg = NULL;
		x86_mode_changed(vm->vcpus[n]);
	}
	machine_pause(g->machine, false);
}

static void packet(struct gdb *g, const char *p)
{
	char kind = *p ? *p++ : 0;
	unsigned cpu;

	switch (kind) {
	case '?': stop_reply(g, SIGNAL_TRAP, ""); break;
	case 'g': registers_read(g); break;
	case 'G': registers_write(g, p); break;
	case 'p': register_read(g, p); break;
	case 'P': register_write(g, p); break;
	case 'm': memory_read(g, p); break;
	case 'M': memory_write(g, p); break;
	case 'c': resume_all(g, ACTION_RUN); break;
	case 's': resume_all(g, ACTION_STEP); break;
	case 'v': multi_letter(g, p); break;
	case 'Z':
	case 'z': breakpoint(g, p, kind == 'Z'); break;
	case 'H': select_thread(g, p); break;
	case 'T': wire_reply_bool(&g->wire, take_thread(g, &p, &cpu)); break;
	case 'q': query(g, p); break;
	case 'Q':
		wire_reply_text(&g->wire, strcmp(p, "StartNoAckMode") ? "" : "OK");
		g->wire.no_ack |= !strcmp(p, "StartNoAckMode");
		break;
	case 'D':
		wire_reply_bool(&g->wire, true);
		detach(g);
		break;
	case 'k':
		machine_end(g->machine, END_QUIT);
		detach(g);
		break;
	default: wire_reply_text(&g->wire, ""); break;
	}
}

static void on_data(void *arg, short revents)
{
	struct gdb *g = arg;
	char text[WIRE_PACKET_MAX];
	enum wire_event event;

	(void)revents;
	if (!wire_receive(&g->wire)) {
		detach(g);
		return;
	}
	while ((event = wire_next(&g->wire, text))) {
		if (event == WIRE_PACKET) {
			packet(g, text);
			continue;
		}
		machine_pause(g->machine, true);
		if (g->running)
			stop_reply(g, SIGNAL_INT, "");
	}
}

/* The set and the machine name that gdb takes its idea of the target from. */
static void choose_registers(struct gdb *g)
{
	const struct x86_cpu *cpu = &machine_vm(g->machine)->vcpus[0]->cpu;

	g->wide = x86_long(cpu);
	g->architecture = g->wide ? "i386:x86-64" : x86_code_bits(cpu) == 16 ? "i8086" : "i386";
}

static void on_connect(void *arg, short revents)
{
	struct gdb *g = arg;
	int fd = wire_accept(g->listener);

	(void)revents;
	if (fd < 0)
		return;
	if (wire_has_left(&g->wire))
		detach(g);
	if (g->wire.fd >= 0 || loop_add(machine_loop(g->machine), fd, POLLIN, on_data, g)) {
		close(fd);
		return;
	}
	g->wire.fd = fd;
	g->cpu = 0;
	choose_registers(g);
	machine_pause(g->machine, true);
}

struct gdb *gdb_new(struct machine *m, const char *address, char *err, size_t errlen)
{
	struct gdb *g = calloc(1, sizeof(*g));

	if (!g) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	g->machine = m;
	g->wire.fd = -1;
	g->listener = wire_listen(address, err, errlen);
	if (g->listener < 0)
		goto fail;
	if (loop_add(machine_loop(m), g->listener, POLLIN, on_connect, g)) {
		snprintf(err, errlen, "--gdb %s: too many files are being watched", address);
		close(g->listener);
		goto fail;
	}
	machine_on_debug(m, on_debug, g);
	machine_pause(m, true);
	log_info("waiting for gdb: target remote :%u", wire_port(g->listener));
	return g;
fail:
	free(g);
	return NULL;
}

void gdb_free(struct gdb *g, int code)
{
	char text[8];

	if (!g)
		return;
	if (g->wire.fd >= 0) {
		if (g->running) {
			snprintf(text, sizeof(text), "W%02x", (u8)code);
			wire_reply_text(&g->wire, text);
		}
		detach(g);
	}
	machine_on_debug(g->machine, NULL, NULL);
	loop_remove(machine_loop(g->machine), g->listener);
	close(g->listener);
	free(g);
}
