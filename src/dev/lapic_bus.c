/* What connects the local APICs: message routing (SDM 3A 10.6.2), the MMIO page, message-signalled
 * interrupts. */
#include "dev/lapic_internal.h"

#include "base/trace.h"

/* Of the APICs addressed, the one whose processor has the lowest priority (10.6.2.4). Equals share
 * by vector, so that the choice depends on nothing but the state. */
static struct lapic *lowest_priority(struct lapic_set *set, const struct apic_msg *msg,
				     const struct lapic *except)
{
	struct lapic *equals[LAPIC_MAX];
	u32 best = UINT32_MAX;
	unsigned n = 0;

	for (unsigned i = 0; i < set->count; i++) {
		struct lapic *a = set->cpus[i];
		u32 priority = lapic_processor_priority(a);

		if (a == except || !lapic_matches(a, msg) || !lapic_is_enabled(a) ||
		    priority > best)
			continue;
		if (priority < best)
			n = 0;
		best = priority;
		equals[n++] = a;
	}
	return n ? equals[msg->vector % n] : NULL;
}

bool lapic_send(struct lapic_set *set, const struct apic_msg *msg, const struct lapic *except)
{
	bool taken = false;

	if (msg->mode == APIC_LOWEST) {
		struct lapic *a = lowest_priority(set, msg, except);

		if (a)
			lapic_receive(a, msg);
		return a;
	}
	for (unsigned i = 0; i < set->count; i++) {
		struct lapic *a = set->cpus[i];

		if (a == except || !lapic_matches(a, msg))
			continue;
		lapic_receive(a, msg);
		taken = true;
	}
	return taken;
}

bool lapic_deliver(void *set, const struct apic_msg *msg) { return lapic_send(set, msg, NULL); }

void lapic_msi(struct lapic_set *set, u64 addr, u32 data)
{
	struct apic_msg msg = {
		.dest = (u32)bits_get(addr, 19, 12),
		.logical = addr & 4,
		.mode = data >> 8 & 7,
		.vector = (u8)data,
		.level = data & 0x8000,
	};

	trace(APIC, "msi %llx %x", (unsigned long long)addr, data);
	/* Redirection hint: the lowest priority of those addressed. The de-assert of a level
	 * message carries nothing. */
	if ((addr & 8) && msg.mode == APIC_FIXED)
		msg.mode = APIC_LOWEST;
	if (msg.level && !(data & 0x4000))
		return;
	lapic_deliver(set, &msg);
}

void lapic_lint_all(void *opaque, unsigned pin, bool level)
{
	struct lapic_set *set = opaque;

	for (unsigned i = 0; i < set->count; i++)
		lapic_lint(set->cpus[i], pin, level);
}

/* Registers are 32 bits wide, each at the start of 16 bytes (10.4.1). Reads may pick bytes out of
 * them; what else is done is undefined there, and ignored here. */
static u64 page_read(void *opaque, u64 offset, unsigned size)
{
	struct lapic_set *set = opaque;
	struct lapic *a = set->current(set->opaque);

	if (!a)
		return UINT32_MAX;
	if ((offset & 15) + size > 4)
		return 0;
	return lapic_mmio_read(a, (u32)offset & ~15u) >> (8 * (offset & 3));
}

static void page_write(void *opaque, u64 offset, u64 value, unsigned size)
{
	struct lapic_set *set = opaque;
	struct lapic *a = set->current(set->opaque);

	if (a && size == 4 && !(offset & 15))
		lapic_mmio_write(a, (u32)offset, (u32)value);
}

static const struct bus_ops page_ops = { page_read, page_write, 4 };

int lapic_set_init(struct lapic_set *set, struct platform *platform)
{
	return bus_map(platform->mmio, LAPIC_MMIO_BASE, 4096, &page_ops, set, "local APIC");
}
