/* A machine's life, and what it shows of itself. */
#include "machine/machine.h"

#include "base/log.h"
#include "base/trace.h"
#include "machine/internal.h"
#include "x86/cpuid.h"
#include "x86/decode_cache.h"
#include "x86/exec.h"
#include "x86/hostsig.h"
#include "x86/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TSC_HZ_REAL  2000000000ull
#define TSC_HZ_INSNS 1000000000ull /* one tick an instruction */

u64 machine_insns(void *opaque)
{
	const struct machine *m = opaque;
	u64 sum = 0;

	for (unsigned n = 0; n < m->vm.nvcpus; n++)
		sum += vcpu_icount(m->vm.vcpus[n]);
	return sum;
}

static int init_cpus(struct machine *m, char *err, size_t errlen)
{
	m->vm.thunks = thunk_cache_new();
	m->vm.decode = decode_cache_new();
	int code = m->vm.thunks && m->vm.decode ? hostsig_init_thread() : -ENOMEM;

	if (!code)
		code = m->vm.engine->vm_init(&m->vm);
	if (code) {
		snprintf(err, errlen, "engine %s: %s", m->vm.engine->name, strerror(-code));
		return code;
	}
	for (unsigned n = 0; n < m->cfg.cpus; n++) {
		struct vcpu *v = vcpu_new(&m->vm);

		if (!v)
			goto no_memory;
		m->vm.vcpus[n] = v;
		v->index = n;
		v->apic_id = n;
		v->exit = machine_exit;
		v->port_block = machine_port_block;
		v->take_irq = machine_take_irq;
		if (m->vm.engine->vcpu_init(v)) {
			m->vm.vcpus[n] = NULL;
			vcpu_free(v);
			goto no_memory;
		}
		m->vm.nvcpus++;
	}
	return 0;
no_memory:
	snprintf(err, errlen, "no memory for %u CPUs", m->cfg.cpus);
	return -ENOMEM;
}

static int init_memory(struct machine *m, char *err, size_t errlen)
{
	int code = mem_init(&m->mem, align_up(m->cfg.memory, MEM_PAGE));

	if (code)
		snprintf(err, errlen, "no %llu MiB of guest memory: %s; give a smaller --memory",
			 (unsigned long long)(m->cfg.memory / MIB), strerror(-code));
	return code;
}

/* Random numbers of the host would make each counted run another one. */
static void init_model(struct machine *m)
{
	static const u16 random[] = { CPUID_RDRAND, CPUID_RDSEED };

	m->model = *cpuid_model_find(m->cfg.cpu);
	if (m->clock.kind == CLOCK_KIND_INSNS)
		for (unsigned n = 0; n < ARRAY_LEN(random); n++)
			m->model.words[random[n] / 32] &= ~(1u << random[n] % 32);
}

static void discard(void *opaque, const u8 *buf, size_t n)
{
	(void)opaque;
	(void)buf;
	(void)n;
}

static void on_code_written(void *opaque, const u8 *host, u64 size)
{
	struct vm *vm = opaque;

	vm->code_written(vm, host, size);
}

/* What the guest sees at some addresses has changed. */
static void on_memory_changed(void *opaque)
{
	struct vm *vm = opaque;

	for (unsigned n = 0; n < vm->nvcpus; n++)
		x86_tlb_flush(vm->vcpus[n], false);
}

static int machine_build(struct machine **out, const struct machine_config *cfg,
			 const struct machine_console *console, char *err, size_t errlen)
{
	struct machine *m = calloc(1, sizeof(*m));
	int code;

	err[0] = 0;
	if (!m) {
		snprintf(err, errlen, "out of memory");
		return -ENOMEM;
	}
	m->cfg = *cfg;
	m->console = *console;
	m->wake_fd = m->timeout_fd = m->com2_fd = m->parallel_fd = -1;
	m->mem.fd = -1;
	clock_init(&m->clock, strcmp(cfg->clock, "insns") ? CLOCK_KIND_REAL : CLOCK_KIND_INSNS);
	m->clock.count = machine_insns;
	m->clock.opaque = m;
	/* Counted time starts on a fixed day, so that two runs are the same. */
	m->clock.wall_offset_s = m->clock.kind == CLOCK_KIND_REAL ? (i64)time(NULL) : 1000000000;
	bus_init(&m->ports, "port", 0x10000, true);
	bus_init(&m->mmio, "mmio", ~0ull, false);
	m->platform = (struct platform){ &m->mem, &m->ports, &m->mmio, &m->clock };
	init_model(m);
	m->vm = (struct vm){
		.mem = &m->mem,
		.clock = &m->clock,
		.engine = engine_find(cfg->engine),
		.model = &m->model,
		.tsc_hz = m->clock.kind == CLOCK_KIND_REAL ? TSC_HZ_REAL : TSC_HZ_INSNS,
		.a20_mask = ~0ull,
		.pace = cfg->pace,
		.cache_size = cfg->cache,
		.perf_map = cfg->perf_map,
	};
	m->vm.icount = m->vm.engine->icount;
	m->vm.tsc_changed = machine_tsc_changed;
	code = init_memory(m, err, errlen);
	if (!code)
		code = machine_loop_init(m);
	if (!code)
		code = init_cpus(m, err, errlen);
	m->mem.code_written = on_code_written;
	m->mem.changed = on_memory_changed;
	m->mem.opaque = &m->vm;
	if (!code)
		code = board_init(m, err, errlen);
	if (!code)
		code = board_power_on(m, err, errlen);
	if (code) {
		if (!err[0])
			snprintf(err, errlen, "the machine could not be built: %s",
				 strerror(-code));
		machine_free(m);
		return code;
	}
	*out = m;
	return 0;
}

int machine_new(struct machine **m, const struct machine_config *cfg,
		const struct machine_console *console, char *err, size_t errlen)
{
	static const struct machine_console nowhere = { .write = discard };
	struct machine_config c = *cfg;
	struct machine *follower;
	int code;

	c.pace = cfg->check ? PACE_UNITS : PACE_FREE;
	code = machine_build(m, &c, console, err, errlen);
	if (code || !cfg->check)
		return code;
	c.pace = PACE_EXACT;
	c.engine = cfg->check;
	c.perf_map = false; /* one file for a process */
	code = machine_build(&follower, &c, &nowhere, err, errlen);
	if (!code) {
		code = check_new(*m, follower);
		if (!code)
			return 0;
		snprintf(err, errlen, "out of memory");
		machine_free(follower);
	}
	machine_free(*m);
	return code;
}

void machine_free(struct machine *m)
{
	if (m->check) {
		struct machine *follower = check_free(m->check);

		m->check = NULL;
		machine_free(follower);
	}
	board_fini(m);
	for (unsigned n = 0; n < m->vm.nvcpus; n++)
		m->vm.engine->vcpu_fini(m->vm.vcpus[n]);
	if (m->vm.engine_vm)
		m->vm.engine->vm_fini(&m->vm);
	for (unsigned n = 0; n < m->vm.nvcpus; n++)
		vcpu_free(m->vm.vcpus[n]);
	decode_cache_free(m->vm.decode);
	thunk_cache_free(m->vm.thunks);
	hostsig_fini_thread();
	alarm_fini(&m->slice_end);
	if (m->wake_fd >= 0)
		close(m->wake_fd);
	if (m->timeout_fd >= 0)
		close(m->timeout_fd);
	bus_fini(&m->mmio);
	bus_fini(&m->ports);
	clock_fini(&m->clock);
	if (m->mem.fd >= 0)
		mem_fini(&m->mem);
	free(m);
}

int machine_exit_code(const struct machine *m) { return m->exit_code; }

struct loop *machine_loop(struct machine *m) { return &m->loop; }

struct vm *machine_vm(struct machine *m) { return &m->vm; }

size_t machine_input(struct machine *m, const u8 *buf, size_t n)
{
	size_t taken = ns16550_receive(&m->com1, buf, n);

	if (m->check)
		check_input(m->check, buf, n);
	return taken;
}

struct screen *machine_screen(struct machine *m) { return m->cfg.no_vga ? NULL : &m->vga.screen; }

/* A key is at most six bytes; a keyboard that does not scan drops them. */
bool machine_key(struct machine *m, u16 code, bool down)
{
	if (m->i8042.regs.kbd.out.count + 6u > PS2_QUEUE)
		return false;
	i8042_key(&m->i8042, code, down);
	return true;
}

u8 machine_lights(const struct machine *m) { return m->i8042.regs.kbd.leds; }

bool machine_pointer(struct machine *m, int dx, int dy, u8 buttons)
{
	const struct ps2_mouse *mouse = &m->i8042.regs.mouse;

	if (mouse->reporting && !mouse->remote && mouse->out.count + 3u > PS2_QUEUE)
		return false;
	i8042_mouse(&m->i8042, dx, -dy, buttons);
	return true;
}

void machine_on_event(struct machine *m, void (*fn)(void *opaque, enum machine_event event),
		      void *opaque)
{
	m->on_event = fn;
	m->event_opaque = opaque;
}

void machine_on_debug(struct machine *m, bool (*fn)(void *opaque, struct vcpu *v, enum stop why),
		      void *opaque)
{
	m->on_debug = fn;
	m->debug_opaque = opaque;
}

/* --- Sight ----------------------------------------------------------------------------------- */

static void dump_config(const struct machine *m, FILE *f)
{
	fprintf(f, "engine %s\ncpu %s\ncpus %u\nmemory %llu MiB\nclock %s\n", m->cfg.engine,
		m->cfg.cpu, m->cfg.cpus, (unsigned long long)(m->cfg.memory / MIB), m->cfg.clock);
	if (m->cfg.kernel)
		fprintf(f, "kernel %s\ninitrd %s\nappend %s\nboot-entry %s\n", m->cfg.kernel,
			m->cfg.initrd ? m->cfg.initrd : "-", m->cfg.append, m->cfg.boot_entry);
	else
		fprintf(f, "firmware %s\n", m->cfg.firmware);
	for (unsigned n = 0; n < m->cfg.disk_count; n++)
		if (m->block[n])
			fprintf(f, "disk%u %s %llu MiB%s\n", n, m->cfg.disks[n].path,
				(unsigned long long)(m->block[n]->size / MIB),
				m->block[n]->readonly ? " read-only" : "");
	for (unsigned n = 0; n < m->device_count; n++)
		fprintf(f, "device %s: %s\n", m->devices[n]->name, m->devices[n]->type->help);
}

static void dump_state(struct machine *m, FILE *f)
{
	char prefix[16];

	fprintf(f, "time_ns %llu\ninsns %llu\n", (unsigned long long)clock_now(&m->clock),
		(unsigned long long)machine_insns(m));
	for (unsigned n = 0; n < m->vm.nvcpus; n++) {
		snprintf(prefix, sizeof(prefix), "cpu%u.", n);
		state_show(&x86_cpu_state, &m->vm.vcpus[n]->cpu, prefix, f);
	}
	for (unsigned n = 0; n < m->device_count; n++) {
		struct device *d = m->devices[n];

		snprintf(prefix, sizeof(prefix), "%s.", d->name);
		state_show(d->type->regs, device_regs(d), prefix, f);
	}
}

bool machine_dump(struct machine *m, const char *what, void *file)
{
	if (!strcmp(what, "config"))
		dump_config(m, file);
	else if (!strcmp(what, "memmap"))
		mem_dump(&m->mem, file);
	else if (!strcmp(what, "bus")) {
		bus_dump(&m->ports, file);
		bus_dump(&m->mmio, file);
	} else if (!strcmp(what, "cpuid"))
		cpuid_dump(m->vm.vcpus[0], file);
	else if (!strcmp(what, "state"))
		dump_state(m, file);
	else
		return false;
	return true;
}

static const char *const exception_names[32] = {
	"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL,
	"#TS", "#NP", "#SS", "#GP", "#PF", NULL,  "#MF", "#AC", "#MC", "#XM",
};

static const char *exception_name(u64 vector, char *buf, size_t size)
{
	if (vector < ARRAY_LEN(exception_names) && exception_names[vector])
		return exception_names[vector];
	snprintf(buf, size, "vector %02llx", (unsigned long long)vector);
	return buf;
}

void machine_stats(struct machine *m, void *file)
{
	static const char *const names[EXIT_KINDS] = { "port in",    "port out", "mmio read",
						       "mmio write", "msr read", "msr write",
						       "tpr read",   "tpr write" };
	char buf[16];

	for (unsigned n = 0; n < m->vm.nvcpus; n++) {
		const struct vcpu *v = m->vm.vcpus[n];

		fprintf(file, "cpu%u: %llu instructions, %llu interrupts\n", n,
			(unsigned long long)vcpu_icount(v), (unsigned long long)v->interrupts);
		for (unsigned k = 0; k < EXIT_KINDS; k++)
			if (v->exits[k])
				fprintf(file, "  exit %-11s %12llu\n", names[k],
					(unsigned long long)v->exits[k]);
		for (unsigned k = 0; k < 256; k++)
			if (v->exceptions[k])
				fprintf(file, "  exception %-6s %12llu\n",
					exception_name(k, buf, sizeof(buf)),
					(unsigned long long)v->exceptions[k]);
	}
	m->vm.engine->stats(&m->vm, file);
	if (m->check)
		check_stats(m->check, file);
	fprintf(file, "unclaimed accesses: %llu port, %llu mmio\n",
		(unsigned long long)m->ports.unclaimed, (unsigned long long)m->mmio.unclaimed);
}

static const char *mode_name(const struct x86_cpu *cpu)
{
	if (!x86_protected(cpu))
		return "real mode";
	if (x86_v86(cpu))
		return "virtual-8086 mode";
	if (x86_64bit(cpu))
		return "64-bit mode";
	if (x86_long(cpu))
		return "compatibility mode";
	return cpu->seg[CS].ar & AR_DB ? "32-bit protected mode" : "16-bit protected mode";
}

static void report_registers(const struct x86_cpu *c, FILE *f)
{
	static const char *const gpr[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
	static const char *const seg[] = { "es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr" };

	for (unsigned n = 0; n < 16; n++)
		fprintf(f, "%s %016llx%s", gpr[n], (unsigned long long)c->gpr[n],
			n % 4 == 3 ? "\n" : "  ");
	fprintf(f, "rip %016llx  rflags %llx  cr0 %llx  cr2 %llx  cr3 %llx  cr4 %llx  efer %llx\n",
		(unsigned long long)c->rip, (unsigned long long)x86_rflags(c),
		(unsigned long long)c->cr0, (unsigned long long)c->cr2, (unsigned long long)c->cr3,
		(unsigned long long)c->cr4, (unsigned long long)c->efer);
	for (unsigned n = 0; n < SREG_COUNT; n++)
		fprintf(f, "%s %04x base %llx limit %x ar %x%s", seg[n], c->seg[n].sel,
			(unsigned long long)c->seg[n].base, c->seg[n].limit, c->seg[n].ar,
			n % 2 ? "\n" : "  ");
	fprintf(f, "gdt %llx+%x  idt %llx+%x\n", (unsigned long long)c->gdtr.base, c->gdtr.limit,
		(unsigned long long)c->idtr.base, c->idtr.limit);
}

/* The instruction at rip, if it can be read. */
static void report_code(const struct vcpu *v, FILE *f)
{
	unsigned bits = x86_code_bits(&v->cpu), have = 0;
	gva_t a = bits == 64 ? v->cpu.rip : (u32)(v->cpu.seg[CS].base + v->cpu.rip);
	u8 bytes[15];
	struct x86_insn i;
	char text[128];
	gpa_t gpa;

	while (have < sizeof(bytes) && x86_translate_debug(v, a + have, &gpa) &&
	       mem_read(v->vm->mem, gpa, bytes + have, 1))
		have++;
	if (!have || x86_decode(&i, bytes, have, bits) == 0) {
		fputs("at rip: no readable code\n", f);
		return;
	}
	x86_disasm(&i, v->cpu.rip, text, sizeof(text));
	fprintf(f, "at rip: %s\n", text);
}

void machine_report(struct machine *m, void *file)
{
	FILE *f = file;
	char buf[16];

	for (unsigned n = 0; n < m->vm.nvcpus; n++) {
		const struct vcpu *v = m->vm.vcpus[n];
		u64 last = v->last_exc_count,
		    first = last > ARRAY_LEN(v->last_exc) ? last - ARRAY_LEN(v->last_exc) : 0;

		fprintf(f, "cpu%u%s: %s%s, after %llu instructions\n", n,
			v == m->crashed ? " (crashed)" : "", mode_name(&v->cpu),
			v->cpu.wait_sipi ? ", waiting to be started"
			: v->cpu.halted  ? ", halted"
					 : "",
			(unsigned long long)vcpu_icount(v));
		report_registers(&v->cpu, f);
		report_code(v, f);
		for (u64 k = first; k < last; k++)
			fprintf(f, "exception %s error %llx at %llx cr2 %llx\n",
				exception_name(v->last_exc[k % 8].vector, buf, sizeof(buf)),
				(unsigned long long)v->last_exc[k % 8].error,
				(unsigned long long)v->last_exc[k % 8].rip,
				(unsigned long long)v->last_exc[k % 8].cr2);
	}
	trace_ring_dump();
}
