/* The one door from the engines to the machine: ports, MMIO, and the MSRs and the task priority of the local APIC. */
#include "base/trace.h"
#include "machine/internal.h"
#include "x86/debugger.h"

static struct lapic *lapic_of(struct vcpu *v) { return machine_of(v)->lapic[v->index]; }

static void exit_msr(struct vcpu *v, struct exit *e)
{
	bool write = e->kind == EXIT_MSR_WRITE;

	e->fault = !lapic_has_msr((u32)e->addr) ||
		   !(write ? lapic_msr_write(lapic_of(v), (u32)e->addr, e->value)
			   : lapic_msr_read(lapic_of(v), (u32)e->addr, &e->value));
	if (e->fault)
		trace(MSR, "cpu%u: %s of unknown MSR %llx", v->index, write ? "write" : "read",
		      (unsigned long long)e->addr);
}

void machine_exit(struct vcpu *v, struct exit *e)
{
	struct machine *m = machine_of(v);

	v->exits[e->kind]++;
	m->current = v;
	switch (e->kind) {
	case EXIT_PORT_IN: e->value = bus_read(&m->ports, e->addr, e->size); break;
	case EXIT_PORT_OUT: bus_write(&m->ports, e->addr, e->value, e->size); break;
	case EXIT_MMIO_READ: e->value = bus_read(&m->mmio, e->addr, e->size); break;
	case EXIT_MMIO_WRITE: bus_write(&m->mmio, e->addr, e->value, e->size); break;
	case EXIT_MSR_READ:
	case EXIT_MSR_WRITE: exit_msr(v, e); break;
	case EXIT_TPR_READ: e->value = lapic_cr8_read(lapic_of(v)); break;
	case EXIT_TPR_WRITE: lapic_cr8_write(lapic_of(v), e->value); break;
	case EXIT_KINDS: break;
	}
}

unsigned machine_port_block(struct vcpu *v, u16 port, u8 *buf, unsigned size, unsigned n,
			    bool write)
{
	struct machine *m = machine_of(v);

	m->current = v;
	n = bus_block(&m->ports, port, buf, size, n, write);
	v->exits[write ? EXIT_PORT_OUT : EXIT_PORT_IN] += n > 0;
	return n;
}

int machine_take_irq(struct vcpu *v)
{
	struct machine *m = machine_of(v);

	/* In real time a timer is always due between two steps of the user's, who would never get out of its handler. */
	if (unlikely(v->dbg) && v->dbg->step && !v->cpu.halted)
		return -1;
	int vector = lapic_ack(lapic_of(v));

	if (vector == LAPIC_EXTINT)
		vector = i8259_ack(&m->i8259);
	trace(IRQ, "cpu%u: takes vector %02x", v->index, (unsigned)vector);
	return vector;
}

void machine_tsc_changed(struct vcpu *v) { lapic_tsc_changed(lapic_of(v)); }
