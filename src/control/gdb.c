/* GDB remote serial protocol (GDB manual, appendix E), all-stop. One debugger at a time; each vCPU is a thread. The register set
 * is fixed when the debugger connects: amd64 while the boot CPU is in long mode, i386 otherwise. The program counter is the linear
 * address, CS base included, so that breakpoints and disassembly are right in real mode too. */
#include "control/gdb.h"

#include "base/bits.h"
#include "base/log.h"
#include "x86/debugger.h"
#include "x86/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX 4096

struct gdb {
	struct machine *machine;
	int listener, fd; /* fd: the debugger, -1 if none */
	bool wide; /* amd64 register set */
	bool no_ack;
	unsigned cpu; /* that register packets mean */
	struct debugger dbg[VM_MAX_VCPUS];
	gva_t breakpoints[DEBUGGER_MAX_BREAKPOINTS];
	unsigned breakpoint_count;
	char in[PACKET_MAX];
	size_t in_len;
	char out[2 * PACKET_MAX + 64];
	size_t out_len;
};

static struct vcpu *gdb_vcpu(struct gdb *g)
{
	struct vm *vm = machine_vm(g->machine);

	return vm->vcpus[g->cpu < vm->nvcpus ? g->cpu : 0];
}

/* --- Packets out ---------------------------------------------------------------------------- */

static void send_raw(struct gdb *g, const char *buf, size_t n)
{
	while (n && g->fd >= 0) {
		ssize_t done = send(g->fd, buf, n, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return; /* the reader will see the end of the connection */
		buf += done;
		n -= (size_t)done;
	}
}

static void put(struct gdb *g, const char *text)
{
	size_t n = MIN(strlen(text), sizeof(g->out) - g->out_len);

	memcpy(g->out + g->out_len, text, n);
	g->out_len += n;
}

static void put_hex(struct gdb *g, const void *data, size_t n)
{
	char two[3];

	for (size_t k = 0; k < n; k++) {
		snprintf(two, sizeof(two), "%02x", ((const u8 *)data)[k]);
		put(g, two);
	}
}

static void reply(struct gdb *g)
{
	char tail[4];
	u8 sum = 0;

	for (size_t k = 0; k < g->out_len; k++)
		sum = (u8)(sum + (u8)g->out[k]);
	send_raw(g, "$", 1);
	send_raw(g, g->out, g->out_len);
	snprintf(tail, sizeof(tail), "#%02x", sum);
	send_raw(g, tail, 3);
	g->out_len = 0;
}

static void reply_text(struct gdb *g, const char *text)
{
	put(g, text);
	reply(g);
}

/* --- Registers ------------------------------------------------------------------------------ */

/* GDB's order: rax rbx rcx rdx rsi rdi rbp rsp r8-15, but i386 has eax ecx edx ebx esp ebp esi edi. */
static const u8 wide_order[16] = {RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15};
static const u8 narrow_order[8] = {RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI};
static const u8 segment_order[6] = {CS, SS, DS, ES, FS, GS};

static u64 linear_pc(const struct x86_cpu *cpu)
{
	return x86_64bit(cpu) ? cpu->rip : (u32)(cpu->seg[CS].base + cpu->rip);
}

/* Register n of the description: its size in bytes and value; 0 if there is none. */
static unsigned register_get(const struct gdb *g, const struct x86_cpu *cpu, unsigned n, u64 *value)
{
	unsigned gprs = g->wide ? 16 : 8, word = g->wide ? 8 : 4;

	if (n < gprs) {
		*value = cpu->gpr[g->wide ? wide_order[n] : narrow_order[n]];
		return word;
	}
	if (n == gprs) {
		*value = linear_pc(cpu);
		return word;
	}
	if (n == gprs + 1) {
		*value = x86_rflags(cpu);
		return 4;
	}
	if (n < gprs + 8) {
		*value = cpu->seg[segment_order[n - gprs - 2]].sel;
		return 4;
	}
	return 0;
}

/* Segment registers are read-only: GDB writes selectors without meaning a segment load. */
static void register_set(const struct gdb *g, struct x86_cpu *cpu, unsigned n, u64 value)
{
	unsigned gprs = g->wide ? 16 : 8;

	if (n < gprs)
		cpu->gpr[g->wide ? wide_order[n] : narrow_order[n]] = value;
	else if (n == gprs)
		cpu->rip = x86_64bit(cpu) ? value : (u32)(value - cpu->seg[CS].base);
	else if (n == gprs + 1)
		x86_set_rflags(cpu, value);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads n bytes written as hex digits; false if they are not there. */
static bool parse_hex(const char **p, void *data, size_t n)
{
	for (size_t k = 0; k < n; k++, *p += 2) {
		int high = hex_digit((*p)[0]), low = high < 0 ? -1 : hex_digit((*p)[1]);

		if (low < 0)
			return false;
		((u8 *)data)[k] = (u8)(high << 4 | low);
	}
	return true;
}

static u64 parse_number(const char **p)
{
	u64 value = 0;

	for (; hex_digit(**p) >= 0; ++*p)
		value = value << 4 | (u64)hex_digit(**p);
	return value;
}

static void registers_read(struct gdb *g)
{
	u64 value;
	unsigned size;

	for (unsigned n = 0; (size = register_get(g, &gdb_vcpu(g)->cpu, n, &value)); n++)
		put_hex(g, &value, size);
	reply(g);
}

static void registers_write(struct gdb *g, const char *p)
{
	struct vcpu *v = gdb_vcpu(g);
	u64 value;
	unsigned size;

	for (unsigned n = 0; (size = register_get(g, &v->cpu, n, &value)); n++) {
		value = 0;
		if (!parse_hex(&p, &value, size)) {
			reply_text(g, "E16");
			return;
		}
		register_set(g, &v->cpu, n, value);
	}
	x86_mode_changed(v);
	reply_text(g, "OK");
}

static void register_one(struct gdb *g, const char *p, bool write)
{
	struct vcpu *v = gdb_vcpu(g);
	unsigned n = (unsigned)parse_number(&p);
	u64 value;
	unsigned size = register_get(g, &v->cpu, n, &value);

	if (!size) {
		reply_text(g, "E16");
		return;
	}
	if (!write) {
		put_hex(g, &value, size);
		reply(g);
		return;
	}
	value = 0;
	if (*p++ != '=' || !parse_hex(&p, &value, size)) {
		reply_text(g, "E16");
		return;
	}
	register_set(g, &v->cpu, n, value);
	x86_mode_changed(v);
	reply_text(g, "OK");
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
	gva_t a = parse_number(&p);
	u64 n = *p++ == ',' ? MIN(parse_number(&p), (u64)PACKET_MAX / 2) : 0;
	u64 done;

	for (done = 0; done < n; done++) {
		u8 byte;

		if (!memory_byte(g, a + done, &byte, false))
			break;
		put_hex(g, &byte, 1);
	}
	reply_text(g, n && !done ? "E14" : "");
}

static void memory_write(struct gdb *g, const char *p)
{
	gva_t a = parse_number(&p);
	u64 n = *p++ == ',' ? parse_number(&p) : 0;
	u8 byte;

	if (*p++ != ':') {
		reply_text(g, "E16");
		return;
	}
	for (u64 done = 0; done < n; done++)
		if (!parse_hex(&p, &byte, 1) || !memory_byte(g, a + done, &byte, true)) {
			reply_text(g, "E14");
			return;
		}
	reply_text(g, "OK");
}

/* --- Running -------------------------------------------------------------------------------- */

static void stop_reply(struct gdb *g, int signal)
{
	char text[32];

	snprintf(text, sizeof(text), "T%02xthread:%x;", signal, g->cpu + 1);
	reply_text(g, text);
}

/* Attached debuggers keep ATT_SLOW set; a CPU without breakpoints or step runs at full speed. */
static void debuggers_update(struct gdb *g, unsigned step_cpu)
{
	struct vm *vm = machine_vm(g->machine);

	for (unsigned n = 0; n < vm->nvcpus; n++) {
		struct debugger *d = &g->dbg[n];
		bool step = n == step_cpu;

		*d = (struct debugger){.count = g->breakpoint_count, .step = step, .resuming = true};
		memcpy(d->breakpoints, g->breakpoints, sizeof(g->breakpoints));
		vm->vcpus[n]->dbg = step || d->count ? d : NULL;
		x86_mode_changed(vm->vcpus[n]);
	}
}

static void resume(struct gdb *g, bool step)
{
	debuggers_update(g, step ? g->cpu : VM_MAX_VCPUS);
	machine_pause(g->machine, false);
}

static void on_debug(void *opaque, struct vcpu *v)
{
	struct gdb *g = opaque;

	g->cpu = v->index;
	stop_reply(g, 5);
}

static void breakpoint(struct gdb *g, const char *p, bool insert)
{
	unsigned kind = (unsigned)(p[0] - '0');
	gva_t a;

	if (kind > 1 || p[1] != ',') { /* watchpoints: the guest's own debug registers are not ours to take */
		reply_text(g, "");
		return;
	}
	p += 2;
	a = parse_number(&p);
	if (insert && g->breakpoint_count == DEBUGGER_MAX_BREAKPOINTS) {
		reply_text(g, "E12");
		return;
	}
	if (insert) {
		g->breakpoints[g->breakpoint_count++] = a;
	} else {
		for (unsigned n = 0; n < g->breakpoint_count; n++)
			if (g->breakpoints[n] == a) {
				g->breakpoints[n] = g->breakpoints[--g->breakpoint_count];
				break;
			}
	}
	reply_text(g, "OK");
}

/* --- Queries -------------------------------------------------------------------------------- */

static void describe(struct gdb *g, char *xml, size_t size)
{
	static const char *const wide[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"};
	static const char *const narrow[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip"};
	static const char *const rest[] = {"eflags", "cs", "ss", "ds", "es", "fs", "gs"};
	unsigned count = g->wide ? ARRAY_LEN(wide) : ARRAY_LEN(narrow);
	size_t n = (size_t)snprintf(xml, size, "<?xml version=\"1.0\"?><target version=\"1.0\"><architecture>%s</architecture><feature name=\"org.gnu.gdb.i386.core\">",
				    g->wide ? "i386:x86-64" : "i386");

	for (unsigned k = 0; k < count; k++)
		n += (size_t)snprintf(xml + n, size - n, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", g->wide ? wide[k] : narrow[k],
				      g->wide ? 64 : 32, k == count - 1 ? "code_ptr" : "int");
	for (unsigned k = 0; k < ARRAY_LEN(rest); k++)
		n += (size_t)snprintf(xml + n, size - n, "<reg name=\"%s\" bitsize=\"32\" type=\"int\"/>", rest[k]);
	for (unsigned k = 0; k < 8; k++)
		n += (size_t)snprintf(xml + n, size - n, "<reg name=\"st%u\" bitsize=\"80\" type=\"i387_ext\"/>", k);
	for (unsigned k = 0; k < 8; k++) {
		static const char *const fp[] = {"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"};

		n += (size_t)snprintf(xml + n, size - n, "<reg name=\"%s\" bitsize=\"32\" group=\"float\"/>", fp[k]);
	}
	snprintf(xml + n, size - n, "</feature></target>");
}

static void transfer(struct gdb *g, const char *p)
{
	char xml[4096];
	u64 offset, length;
	size_t size;

	describe(g, xml, sizeof(xml));
	size = strlen(xml);
	offset = parse_number(&p);
	length = *p++ == ',' ? MIN(parse_number(&p), (u64)PACKET_MAX / 2) : 0;
	offset = MIN(offset, size);
	length = MIN(length, size - offset);
	xml[offset + length] = 0;
	put(g, offset + length == size ? "l" : "m");
	reply_text(g, xml + offset);
}

static void remote_command(struct gdb *g, const char *p)
{
	char command[64] = "", *text = NULL;
	size_t size = 0;
	FILE *f;

	for (size_t n = 0; n < sizeof(command) - 1 && parse_hex(&p, &command[n], 1); n++)
		command[n + 1] = 0;
	f = open_memstream(&text, &size);
	if (!f) {
		reply_text(g, "E12");
		return;
	}
	if (!strcmp(command, "reset"))
		machine_reset(g->machine);
	else if (!machine_dump(g->machine, command, f))
		fputs("monitor commands: state, config, memmap, bus, cpuid, reset\n", f);
	fclose(f);
	/* Console output, in packets that fit. */
	for (size_t at = 0; at < size; at += PACKET_MAX / 2) {
		put(g, "O");
		put_hex(g, text + at, MIN(size - at, (size_t)PACKET_MAX / 2));
		reply(g);
	}
	free(text);
	reply_text(g, "OK");
}

static bool starts(const char **p, const char *prefix)
{
	size_t n = strlen(prefix);

	if (strncmp(*p, prefix, n))
		return false;
	*p += n;
	return true;
}

static void query(struct gdb *g, const char *p)
{
	char text[64];

	if (starts(&p, "Supported")) {
		snprintf(text, sizeof(text), "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+", PACKET_MAX - 16);
		reply_text(g, text);
	} else if (starts(&p, "Xfer:features:read:target.xml:")) {
		transfer(g, p);
	} else if (starts(&p, "Attached")) {
		reply_text(g, "1");
	} else if (starts(&p, "fThreadInfo")) {
		put(g, "m");
		for (unsigned n = 0; n < machine_vm(g->machine)->nvcpus; n++) {
			snprintf(text, sizeof(text), "%s%x", n ? "," : "", n + 1);
			put(g, text);
		}
		reply(g);
	} else if (starts(&p, "sThreadInfo")) {
		reply_text(g, "l");
	} else if (starts(&p, "ThreadExtraInfo,")) {
		unsigned n = (unsigned)parse_number(&p) - 1;

		bool halted = n < machine_vm(g->machine)->nvcpus && machine_vm(g->machine)->vcpus[n]->cpu.halted;

		snprintf(text, sizeof(text), "CPU %u%s", n, halted ? " (halted)" : "");
		put_hex(g, text, strlen(text));
		reply(g);
	} else if (starts(&p, "Rcmd,")) {
		remote_command(g, p);
	} else if (*p == 'C') {
		snprintf(text, sizeof(text), "QC%x", g->cpu + 1);
		reply_text(g, text);
	} else {
		reply_text(g, "");
	}
}

static void select_thread(struct gdb *g, const char *p)
{
	unsigned n = (unsigned)parse_number(&p);

	if (n > machine_vm(g->machine)->nvcpus) {
		reply_text(g, "E22");
		return;
	}
	if (n)
		g->cpu = n - 1;
	reply_text(g, "OK");
}

/* vCont;s:1;c - the first action decides; with all-stop one thread steps and the others run. */
static void vcont(struct gdb *g, const char *p)
{
	if (starts(&p, "Cont?")) {
		reply_text(g, "vCont;c;C;s;S");
		return;
	}
	if (!starts(&p, "Cont;")) {
		reply_text(g, "");
		return;
	}
	bool step = *p == 's' || *p == 'S';
	const char *colon = strchr(p, ':'), *next = strchr(p, ';');

	if (step && colon && (!next || colon < next)) {
		const char *id = colon + 1;
		unsigned n = (unsigned)parse_number(&id);

		if (n >= 1 && n <= machine_vm(g->machine)->nvcpus)
			g->cpu = n - 1;
	}
	resume(g, step);
}

static void detach(struct gdb *g)
{
	struct vm *vm = machine_vm(g->machine);

	loop_remove(machine_loop(g->machine), g->fd);
	close(g->fd);
	g->fd = -1;
	g->in_len = 0;
	g->no_ack = false;
	g->breakpoint_count = 0;
	for (unsigned n = 0; n < vm->nvcpus; n++) {
		vm->vcpus[n]->dbg = NULL;
		x86_mode_changed(vm->vcpus[n]);
	}
	machine_pause(g->machine, false);
}

static void packet(struct gdb *g, char *p)
{
	switch (*p) {
	case '?':
		stop_reply(g, 5);
		break;
	case 'g':
		registers_read(g);
		break;
	case 'G':
		registers_write(g, p + 1);
		break;
	case 'p':
		register_one(g, p + 1, false);
		break;
	case 'P':
		register_one(g, p + 1, true);
		break;
	case 'm':
		memory_read(g, p + 1);
		break;
	case 'M':
		memory_write(g, p + 1);
		break;
	case 'c':
		resume(g, false);
		break;
	case 's':
		resume(g, true);
		break;
	case 'v':
		vcont(g, p + 1);
		break;
	case 'Z':
		breakpoint(g, p + 1, true);
		break;
	case 'z':
		breakpoint(g, p + 1, false);
		break;
	case 'H':
		select_thread(g, p + 2);
		break;
	case 'T':
		reply_text(g, "OK");
		break;
	case 'q':
		query(g, p + 1);
		break;
	case 'Q':
		if (!strcmp(p, "QStartNoAckMode")) {
			reply_text(g, "OK");
			g->no_ack = true;
		} else {
			reply_text(g, "");
		}
		break;
	case 'D':
		reply_text(g, "OK");
		detach(g);
		break;
	case 'k':
		machine_end(g->machine, END_QUIT);
		detach(g);
		break;
	default:
		reply_text(g, "");
		break;
	}
}

/* Takes one packet or interrupt from the front of the input; false if there is no whole one. */
static bool take_packet(struct gdb *g)
{
	size_t used = 1;

	if (!g->in_len || g->fd < 0)
		return false;
	if (g->in[0] == 3) {
		machine_pause(g->machine, true);
		stop_reply(g, 2);
	} else if (g->in[0] == '$') {
		char *end = memchr(g->in, '#', g->in_len);

		if (!end || end + 2 >= g->in + g->in_len)
			return false;
		used = (size_t)(end - g->in) + 3;
		*end = 0;
		if (!g->no_ack)
			send_raw(g, "+", 1);
		packet(g, g->in + 1);
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

static void on_connect(void *arg, short revents)
{
	struct gdb *g = arg;
	int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC);

	(void)revents;
	if (fd < 0)
		return;
	if (g->fd >= 0 || loop_add(machine_loop(g->machine), fd, POLLIN, on_data, g)) {
		close(fd);
		return;
	}
	g->fd = fd;
	g->cpu = 0;
	g->wide = x86_long(&gdb_vcpu(g)->cpu);
	machine_pause(g->machine, true);
}

static int listen_on(const char *address, char *err, size_t errlen)
{
	char host[128] = "127.0.0.1";
	const char *colon = strrchr(address, ':');
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
	int fd = -1, one = 1;

	if (colon && colon != address)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	if (getaddrinfo(host, colon ? colon + 1 : address, &hints, &list)) {
		snprintf(err, errlen, "--gdb %s: not an address; write for example --gdb :1234", address);
		return -1;
	}
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) || listen(fd, 1)) {
		snprintf(err, errlen, "--gdb %s: cannot listen: %s; choose another port", address, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
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
	if (g->listener < 0 || loop_add(machine_loop(m), g->listener, POLLIN, on_connect, g)) {
		free(g);
		return NULL;
	}
	machine_on_debug(m, on_debug, g);
	machine_pause(m, true);
	log_info("waiting for gdb: target remote %s", address);
	return g;
}

void gdb_free(struct gdb *g)
{
	if (!g)
		return;
	if (g->fd >= 0)
		detach(g);
	loop_remove(machine_loop(g->machine), g->listener);
	close(g->listener);
	free(g);
}
