/* GDB remote serial protocol (GDB manual, appendix E), all-stop. One debugger at a time; each vCPU is a thread. The register set
 * is fixed when the debugger connects: amd64 while the boot CPU is in long mode, i386 otherwise. The program counter is the linear
 * address, CS base included, so that breakpoints and disassembly are right in real mode too. */
#include "control/gdb.h"

#include "base/bits.h"
#include "base/log.h"
#include "control/gdb_regs.h"
#include "x86/debugger.h"
#include "x86/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX     4096
#define CHUNK_MAX      1024 /* bytes of text or memory in one reply: two digits each */
#define SEND_TIMEOUT_S 5    /* a debugger that does not read for so long is gone */

enum { SIGNAL_INT = 2, SIGNAL_TRAP = 5, SIGNAL_SEGV = 11 }; /* gdb's numbers */
enum {
	KIND_SOFTWARE,
	KIND_HARDWARE,
	KIND_COUNT
}; /* of breakpoints: to gdb they differ, to Pogo they do not */

struct gdb {
	struct machine *machine;
	int listener, fd; /* fd: the debugger, -1 if none */
	bool wide;        /* amd64 register set */
	const char *architecture;
	bool no_ack;
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
	char in[PACKET_MAX];
	size_t in_len;
	char out[1 + 2 * PACKET_MAX + 3]; /* "$", the packet, "#", its sum */
	size_t out_len;                   /* with the "$" */
};

static struct vcpu *gdb_vcpu(struct gdb *g)
{
	struct vm *vm = machine_vm(g->machine);

	return vm->vcpus[g->cpu < vm->nvcpus ? g->cpu : 0];
}

/* --- Packets out ---------------------------------------------------------------------------- */

/* On failure the connection is closed, which the reader sees. */
static void send_raw(struct gdb *g, const char *buf, size_t n)
{
	while (n && g->fd >= 0) {
		ssize_t done = send(g->fd, buf, n, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			shutdown(g->fd, SHUT_RDWR);
			return;
		}
		buf += done;
		n -= (size_t)done;
	}
}

static void put_bytes(struct gdb *g, const char *text, size_t n)
{
	if (!g->out_len)
		g->out[g->out_len++] = '$';
	n = MIN(n, sizeof(g->out) - 3 - g->out_len);
	memcpy(g->out + g->out_len, text, n);
	g->out_len += n;
}

static void put(struct gdb *g, const char *text) { put_bytes(g, text, strlen(text)); }

static void put_hex(struct gdb *g, const void *data, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t k = 0; k < n; k++) {
		u8 byte = ((const u8 *)data)[k];
		char two[2] = { digits[byte >> 4], digits[byte & 15] };

		put_bytes(g, two, 2);
	}
}

static u8 checksum(const char *buf, size_t n)
{
	u8 sum = 0;

	for (size_t k = 0; k < n; k++)
		sum = (u8)(sum + (u8)buf[k]);
	return sum;
}

static void reply(struct gdb *g)
{
	char tail[4];

	put(g, "");
	snprintf(tail, sizeof(tail), "#%02x", checksum(g->out + 1, g->out_len - 1));
	memcpy(g->out + g->out_len, tail, 3);
	send_raw(g, g->out, g->out_len + 3);
	g->out_len = 0;
}

static void reply_text(struct gdb *g, const char *text)
{
	put(g, text);
	reply(g);
}

static void reply_bool(struct gdb *g, bool good) { reply_text(g, good ? "OK" : "E16"); }

/* --- Packets in: each function takes what it knows from the front of *p ---------------------- */

static bool take(const char **p, char c)
{
	if (**p != c)
		return false;
	++*p;
	return true;
}

static bool take_word(const char **p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*p, word, n))
		return false;
	*p += n;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* n bytes written as hex digits; false if they are not there. */
static bool take_hex(const char **p, void *data, size_t n)
{
	for (size_t k = 0; k < n; k++, *p += 2) {
		int high = hex_digit((*p)[0]), low = high < 0 ? -1 : hex_digit((*p)[1]);

		if (low < 0)
			return false;
		((u8 *)data)[k] = (u8)(high << 4 | low);
	}
	return true;
}

/* A number in hex; false if there is none. */
static bool take_number(const char **p, u64 *value)
{
	const char *start = *p;

	for (*value = 0; hex_digit(**p) >= 0; ++*p)
		*value = *value << 4 | (u64)hex_digit(**p);
	return *p != start;
}

/* A thread: n + 1 for CPU n. -1 and 0 mean all or any; *cpu is VM_MAX_VCPUS then. False if there is no such thread. */
static bool take_thread(const struct gdb *g, const char **p, unsigned *cpu)
{
	u64 id;

	*cpu = VM_MAX_VCPUS;
	if (take_word(p, "-1"))
		return true;
	if (!take_number(p, &id) || id > machine_vm(g->machine)->nvcpus)
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
		put_hex(g, value, size);
	reply(g);
}

/* All of them, or none. Read-only ones keep their values: gdb writes back what it has read. */
static void registers_write(struct gdb *g, const char *p)
{
	struct vcpu *v = gdb_vcpu(g);
	u8 value[GDB_REG_MAX];
	const char *check = p;
	unsigned size;

	for (unsigned n = 0; (size = gdb_reg_get(&v->cpu, g->wide, n, value)); n++)
		if (!take_hex(&check, value, size)) {
			reply_bool(g, false);
			return;
		}
	for (unsigned n = 0; (size = gdb_reg_get(&v->cpu, g->wide, n, value)); n++)
		if (take_hex(&p, value, size))
			(void)gdb_reg_set(v, g->wide, n, value);
	x86_mode_changed(v);
	reply_bool(g, true);
}

static void register_read(struct gdb *g, const char *p)
{
	u8 value[GDB_REG_MAX];
	unsigned size = 0;
	u64 n;

	if (take_number(&p, &n) && n < PACKET_MAX)
		size = gdb_reg_get(&gdb_vcpu(g)->cpu, g->wide, (unsigned)n, value);
	if (!size) {
		reply_bool(g, false);
		return;
	}
	put_hex(g, value, size);
	reply(g);
}

static void register_write(struct gdb *g, const char *p)
{
	struct vcpu *v = gdb_vcpu(g);
	u8 value[GDB_REG_MAX];
	unsigned size = 0;
	u64 n;

	if (take_number(&p, &n) && take(&p, '=') && n < PACKET_MAX)
		size = gdb_reg_get(&v->cpu, g->wide, (unsigned)n, value);
	bool good = size && take_hex(&p, value, size) &&
		    gdb_reg_set(v, g->wide, (unsigned)n, value);

	x86_mode_changed(v);
	reply_bool(g, good);
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

	if (!take_number(&p, &a) || !take(&p, ',') || !take_number(&p, &n)) {
		reply_bool(g, false);
		return;
	}
	n = MIN(n, (u64)CHUNK_MAX);
	for (done = 0; done < n && memory_byte(g, a + done, &byte, false); done++)
		put_hex(g, &byte, 1);
	reply_text(g, n && !done ? "E14" : "");
}

static void memory_write(struct gdb *g, const char *p)
{
	u64 a, n;
	u8 byte;

	if (!take_number(&p, &a) || !take(&p, ',') || !take_number(&p, &n) || !take(&p, ':') ||
	    strlen(p) != 2 * n) {
		reply_bool(g, false);
		return;
	}
	for (u64 done = 0; done < n; done++)
		if (!take_hex(&p, &byte, 1) || !memory_byte(g, a + done, &byte, true)) {
			reply_text(g, "E14");
			return;
		}
	reply_bool(g, true);
}

/* --- Running -------------------------------------------------------------------------------- */

static void stop_reply(struct gdb *g, int signal, const char *reason)
{
	char text[64];

	g->running = false;
	snprintf(text, sizeof(text), "T%02x%sthread:%x;", signal, reason, g->cpu + 1);
	reply_text(g, text);
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

	while (take(&p, ';')) {
		char kind = *p ? *p++ : 0;
		unsigned cpu = VM_MAX_VCPUS;
		u64 signal;

		if ((kind == 'C' || kind == 'S') && !take_number(&p, &signal))
			kind = 0;
		if (!kind || !strchr("cCsS", kind) ||
		    (take(&p, ':') && !take_thread(g, &p, &cpu))) {
			reply_bool(g, false);
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
		reply_bool(g, false);
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

	if (!take_number(&p, &kind) || !take(&p, ',') || !take_number(&p, &address) ||
	    !take(&p, ',') || !take_number(&p, &size)) {
		reply_bool(g, false);
		return;
	}
	if (kind >= KIND_COUNT) { /* watchpoints: gdb steps and looks itself */
		reply_text(g, "");
		return;
	}
	unsigned n = breakpoint_find(g, address, (unsigned)kind);

	if (insert && n == DEBUGGER_MAX_BREAKPOINTS) {
		reply_text(g, "E12");
		return;
	}
	if (insert && n == g->breakpoint_count) {
		g->breakpoints[n].address = address;
		g->breakpoints[n].kind = (unsigned)kind;
		g->breakpoint_count++;
	} else if (!insert && n < g->breakpoint_count) {
		g->breakpoints[n] = g->breakpoints[--g->breakpoint_count];
	}
	reply_bool(g, true);
}

/* --- Queries -------------------------------------------------------------------------------- */

static void transfer(struct gdb *g, const char *p)
{
	char *xml = NULL;
	size_t size = 0;
	u64 offset, length;
	FILE *f;

	if (!take_number(&p, &offset) || !take(&p, ',') || !take_number(&p, &length)) {
		reply_bool(g, false);
		return;
	}
	f = open_memstream(&xml, &size);
	if (!f) {
		reply_text(g, "E12");
		return;
	}
	gdb_reg_describe(g->wide, g->architecture, f);
	fclose(f);
	offset = MIN(offset, (u64)size);
	length = MIN(MIN(length, (u64)CHUNK_MAX), size - offset);
	put(g, offset + length == size ? "l" : "m");
	put_bytes(g, xml + offset, length);
	reply(g);
	free(xml);
}

static void remote_command(struct gdb *g, const char *p)
{
	char command[64] = "", *text = NULL;
	size_t size = 0;
	FILE *f;

	for (size_t n = 0; n < sizeof(command) - 1 && take_hex(&p, &command[n], 1); n++)
		command[n + 1] = 0;
	f = open_memstream(&text, &size);
	if (!f) {
		reply_text(g, "E12");
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
	for (size_t at = 0; at < size; at += CHUNK_MAX) {
		put(g, "O");
		put_hex(g, text + at, MIN(size - at, (size_t)CHUNK_MAX));
		reply(g);
	}
	free(text);
	reply_bool(g, true);
}

static void thread_list(struct gdb *g)
{
	char text[16];

	for (unsigned n = 0; n < machine_vm(g->machine)->nvcpus; n++) {
		snprintf(text, sizeof(text), "%c%x", n ? ',' : 'm', n + 1);
		put(g, text);
	}
	reply(g);
}

static void thread_info(struct gdb *g, const char *p)
{
	char text[64];
	unsigned n;

	if (!take_thread(g, &p, &n) || n == VM_MAX_VCPUS) {
		reply_bool(g, false);
		return;
	}
	const struct x86_cpu *cpu = &machine_vm(g->machine)->vcpus[n]->cpu;

	snprintf(text, sizeof(text), "CPU %u%s", n,
		 cpu->wait_sipi ? " (waiting to be started)"
		 : cpu->halted  ? " (halted)"
				: "");
	put_hex(g, text, strlen(text));
	reply(g);
}

static void query(struct gdb *g, const char *p)
{
	char text[96];

	if (take_word(&p, "Supported")) {
		g->reasons = strstr(p, "swbreak+");
		snprintf(text, sizeof(text),
			 "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+%s",
			 PACKET_MAX - 16, g->reasons ? ";swbreak+;hwbreak+" : "");
		reply_text(g, text);
	} else if (take_word(&p, "Xfer:features:read:target.xml:")) {
		transfer(g, p);
	} else if (take_word(&p, "Attached")) {
		reply_text(g, "1");
	} else if (take_word(&p, "fThreadInfo")) {
		thread_list(g);
	} else if (take_word(&p, "sThreadInfo")) {
		reply_text(g, "l");
	} else if (take_word(&p, "ThreadExtraInfo,")) {
		thread_info(g, p);
	} else if (take_word(&p, "Rcmd,")) {
		remote_command(g, p);
	} else if (!strcmp(p, "C")) {
		snprintf(text, sizeof(text), "QC%x", g->cpu + 1);
		reply_text(g, text);
	} else {
		reply_text(g, "");
	}
}

/* Hg THREAD, for register and memory packets. Hc is for the resume packets that vCont has replaced. */
static void select_thread(struct gdb *g, const char *p)
{
	bool registers = *p == 'g';
	unsigned cpu;

	if ((!take(&p, 'g') && !take(&p, 'c')) || !take_thread(g, &p, &cpu)) {
		reply_bool(g, false);
		return;
	}
	if (registers && cpu != VM_MAX_VCPUS)
		g->cpu = cpu;
	reply_bool(g, true);
}

static void multi_letter(struct gdb *g, const char *p)
{
	if (!strcmp(p, "Cont?"))
		reply_text(g, "vCont;c;C;s;S");
	else if (take_word(&p, "Cont"))
		resume_listed(g, p);
	else
		reply_text(g, "");
}

static void detach(struct gdb *g)
{
	struct vm *vm = machine_vm(g->machine);

	loop_remove(machine_loop(g->machine), g->fd);
	close(g->fd);
	g->fd = -1;
	g->in_len = 0;
	g->no_ack = g->running = g->reasons = false;
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
	case 'T': reply_bool(g, take_thread(g, &p, &cpu)); break;
	case 'q': query(g, p); break;
	case 'Q':
		reply_text(g, strcmp(p, "StartNoAckMode") ? "" : "OK");
		g->no_ack |= !strcmp(p, "StartNoAckMode");
		break;
	case 'D':
		reply_bool(g, true);
		detach(g);
		break;
	case 'k':
		machine_end(g->machine, END_QUIT);
		detach(g);
		break;
	default: reply_text(g, ""); break;
	}
}

/* A whole packet, "$" excluded, and the two digits of its sum. */
static void receive(struct gdb *g, char *text, size_t n, const char *sum)
{
	u8 expected;
	bool good = memchr(text, 0, n) == NULL && take_hex(&sum, &expected, 1) &&
		    expected == checksum(text, n);

	if (!g->no_ack)
		send_raw(g, good ? "+" : "-", 1);
	text[n] = 0;
	if (good)
		packet(g, text);
}

/* Takes one packet or interrupt from the front of the input; false if there is no whole one. */
static bool take_packet(struct gdb *g)
{
	size_t used = 1;

	if (!g->in_len || g->fd < 0)
		return false;
	if (g->in[0] == 3) {
		machine_pause(g->machine, true);
		if (g->running)
			stop_reply(g, SIGNAL_INT, "");
	} else if (g->in[0] == '$') {
		char *end = memchr(g->in, '#', g->in_len);

		if (!end || end + 2 >= g->in + g->in_len)
			return false;
		used = (size_t)(end - g->in) + 3;
		receive(g, g->in + 1, used - 4, end + 1);
		if (g->fd < 0)
			return false;
	}
	g->in_len -= used;
	memmove(g->in, g->in + used, g->in_len);
	return true;
}

static void on_data(void *arg, short revents)
{
	struct gdb *g = arg;
	ssize_t n = recv(g->fd, g->in + g->in_len, sizeof(g->in) - 1 - g->in_len, 0);

	(void)revents;
	if (n <= 0) { /* gone, or a packet longer than we announced */
		detach(g);
		return;
	}
	g->in_len += (size_t)n;
	while (take_packet(g))
		;
}

/* The set and the machine name that gdb takes its idea of the target from. */
static void choose_registers(struct gdb *g)
{
	const struct x86_cpu *cpu = &machine_vm(g->machine)->vcpus[0]->cpu;

	g->wide = x86_long(cpu);
	g->architecture = g->wide ? "i386:x86-64" : x86_code_bits(cpu) == 16 ? "i8086" : "i386";
}

/* The debugger has gone, and the news of it waits to be read. */
static bool has_left(const struct gdb *g)
{
	char byte;

	return g->fd >= 0 && recv(g->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void on_connect(void *arg, short revents)
{
	struct gdb *g = arg;
	int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC), one = 1;
	struct timeval patience = { .tv_sec = SEND_TIMEOUT_S };

	(void)revents;
	if (fd < 0)
		return;
	if (has_left(g))
		detach(g);
	if (g->fd >= 0 || loop_add(machine_loop(g->machine), fd, POLLIN, on_data, g)) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	g->fd = fd;
	g->cpu = 0;
	choose_registers(g);
	machine_pause(g->machine, true);
}

static int listen_on(const char *address, char *err, size_t errlen)
{
	char host[128] = "127.0.0.1";
	const char *colon = strrchr(address, ':');
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE },
			*list;
	int fd = -1, one = 1;

	if (colon && colon != address)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	const char *port = colon ? colon + 1 : address;

	/* The resolver takes any number, and its last 16 bits. */
	if (strspn(port, "0123456789") != strlen(port) || strlen(port) > 5 ||
	    strtoul(port, NULL, 10) > 65535 || getaddrinfo(host, port, &hints, &list)) {
		snprintf(err, errlen, "--gdb %s: not an address; write for example --gdb :1234",
			 address);
		return -1;
	}
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) || listen(fd, 1)) {
		snprintf(err, errlen, "--gdb %s: cannot listen: %s; choose another port", address,
			 strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

/* The port that was taken, which the user may have left to the system (port 0). */
static unsigned port_of(int fd)
{
	struct sockaddr_in6 a = { 0 }; /* the port lies at the same place in both families */
	socklen_t len = sizeof(a);

	return getsockname(fd, (struct sockaddr *)&a, &len) ? 0 : ntohs(a.sin6_port);
}

struct gdb *gdb_new(struct machine *m, const char *address, char *err, size_t errlen)
{
	struct gdb *g = calloc(1, sizeof(*g));

	if (!g) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	g->machine = m;
	g->fd = -1;
	g->listener = listen_on(address, err, errlen);
	if (g->listener < 0)
		goto fail;
	if (loop_add(machine_loop(m), g->listener, POLLIN, on_connect, g)) {
		snprintf(err, errlen, "--gdb %s: too many files are being watched", address);
		close(g->listener);
		goto fail;
	}
	machine_on_debug(m, on_debug, g);
	machine_pause(m, true);
	log_info("waiting for gdb: target remote :%u", port_of(g->listener));
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
	if (g->fd >= 0) {
		if (g->running) {
			snprintf(text, sizeof(text), "W%02x", (u8)code);
			reply_text(g, text);
		}
		detach(g);
	}
	machine_on_debug(g->machine, NULL, NULL);
	loop_remove(machine_loop(g->machine), g->listener);
	close(g->listener);
	free(g);
}
