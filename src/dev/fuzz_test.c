/* The classic chips, wired as on a PC, under random accesses, inputs, time and loaded state:
 * nothing may crash, hang, or depend on anything but the seed. The sanitizers are the judges;
 * counters show that the harness reaches something. */
#include "base/bits.h"
#include "dev/debug_exit.h"
#include "dev/dev_test.h"
#include "dev/fdc82077.h"
#include "dev/hpet.h"
#include "dev/i8042.h"
#include "dev/i8237.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/parallel.h"
#include "dev/port92.h"

#include <string.h>

#define CPUS    3
#define DEVICES (CPUS + 12)
#define STEPS   300000

struct machine {
	struct test_board board;
	struct lapic_set set;
	struct lapic lapic[CPUS];
	struct ioapic ioapic;
	struct i8259 pic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct ns16550 uart;
	struct i8042 kbc;
	struct port92 port92;
	struct debug_exit exit;
	struct i8237 dma;
	struct fdc82077 fdc;
	struct parallel lpt;
	struct hpet hpet;
	struct device *devices[DEVICES];
	unsigned count, current;
	u64 seed;
	/* What was reached. */
	unsigned vectors[256], extints, signals[4], resets, exits, sent, a20s;
};

static u32 rnd(struct machine *m) { return (u32)(test_random(&m->seed) >> 16); }

static void isa(void *opaque, unsigned line, bool level)
{
	struct machine *m = opaque;

	i8259_set_line(&m->pic, line, level);
	ioapic_set_line(&m->ioapic, line, level);
}

static void on_signal(void *opaque, enum lapic_signal what, unsigned arg)
{
	((struct machine *)opaque)->signals[what]++;
}

static u64 tsc_due(void *opaque, u64 tsc) { return tsc / 3; }

static struct lapic *current(void *opaque)
{
	struct machine *m = opaque;

	return &m->lapic[m->current];
}

static void on_eoi(void *opaque, u8 vector)
{
	ioapic_eoi(&((struct machine *)opaque)->ioapic, vector);
}

static void on_a20(void *opaque, bool on) { ((struct machine *)opaque)->a20s++; }

static void on_reset(void *opaque) { ((struct machine *)opaque)->resets++; }

static void on_exit_port(void *opaque, u32 code) { ((struct machine *)opaque)->exits++; }

static void on_sent(void *opaque, const u8 *buf, size_t n)
{
	((struct machine *)opaque)->sent += (unsigned)n;
}

static void on_can_receive(void *opaque)
{
	struct machine *m = opaque;
	static const u8 text[] = "more input than it takes";

	ns16550_receive(&m->uart, text, sizeof(text));
}

static void add(struct machine *m, struct device *dev, const struct device_type *type)
{
	board_add(&m->board, dev, type, type->name);
	m->devices[m->count++] = dev;
}

static void build(struct machine *m, u64 seed)
{
	memset(m, 0, sizeof(*m));
	m->seed = seed;
	board_init(&m->board);
	board_add_ram(&m->board, 2 * MIB);
	m->set = (struct lapic_set){ .current = current, .eoi = on_eoi, .opaque = m };
	assert_int_equal(lapic_set_init(&m->set, &m->board.platform), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		m->lapic[i] = (struct lapic){
			.set = &m->set,
			.id = i,
			.bsp = !i,
			.x2apic = true,
			.has_tsc_deadline = true,
			.phys_bits = 40,
			.timer_hz = 1000000000,
			.signal = on_signal,
			.tsc_due = tsc_due,
			.opaque = m,
		};
		add(m, &m->lapic[i].dev, &lapic_type);
		lapic_virtual_wire(&m->lapic[i]);
	}
	m->ioapic =
		(struct ioapic){ .base = IOAPIC_BASE, .deliver = lapic_deliver, .opaque = &m->set };
	add(m, &m->ioapic.dev, &ioapic_type);
	m->pic.out = (struct irq){ lapic_lint_all, &m->set, 0 };
	add(m, &m->pic.dev, &i8259_type);
	m->hpet = (struct hpet){ .isa = { { isa, m, 0 }, { isa, m, 8 } },
				 .apic = { ioapic_set_line, &m->ioapic, 0 } };
	add(m, &m->hpet.dev, &hpet_type);
	m->pit.irq = (struct irq){ hpet_legacy_set, &m->hpet, 0 };
	add(m, &m->pit.dev, &i8254_type);
	m->rtc = (struct mc146818){ .irq = { hpet_legacy_set, &m->hpet, 1 },
				    .ram_low_end = 64 * MIB };
	add(m, &m->rtc.dev, &mc146818_type);
	m->uart = (struct ns16550){ .base = 0x3f8,
				    .irq = { isa, m, 4 },
				    .backend = { on_sent, on_can_receive, m } };
	add(m, &m->uart.dev, &ns16550_type);
	m->kbc = (struct i8042){ .irq_kbd = { isa, m, 1 },
				 .irq_aux = { isa, m, 12 },
				 .set_a20 = on_a20,
				 .reset = on_reset,
				 .opaque = m };
	add(m, &m->kbc.dev, &i8042_type);
	m->port92 = (struct port92){ .set_a20 = on_a20, .reset = on_reset, .opaque = m };
	add(m, &m->port92.dev, &port92_type);
	m->exit = (struct debug_exit){ .base = 0xf4, .exit = on_exit_port, .opaque = m };
	add(m, &m->exit.dev, &debug_exit_type);
	add(m, &m->dma.dev, &i8237_type);
	m->fdc = (struct fdc82077){ .irq = { isa, m, 6 },
				    .dma = &m->dma,
				    .drive = { { .type = FLOPPY_1440K } } };
	add(m, &m->fdc.dev, &fdc82077_type);
	m->lpt = (struct parallel){ .base = PARALLEL_BASE,
				    .irq = { isa, m, 7 },
				    .backend = { on_sent, NULL, m } };
	add(m, &m->lpt.dev, &parallel_type);
	assert_int_equal(m->count, DEVICES);
}

static void random_access(struct machine *m, struct bus *bus)
{
	const struct bus_region *r = &bus->regions[rnd(m) % bus->count];
	u64 addr = r->base + rnd(m) % r->size;
	unsigned size = 1u << rnd(m) % 4;

	/* Pages are mostly holes: stay with the registers. */
	if (!bus->is_port)
		addr = r->base + rnd(m) % (r->base == IOAPIC_BASE ? 5 : 0x40) * 16;
	if (!bus->is_port && rnd(m) % 8)
		size = 4;
	m->current = rnd(m) % CPUS;
	if (rnd(m) & 1)
		bus_read(bus, addr, size);
	else
		bus_write(bus, addr, rnd(m) & 3 ? rnd(m) : rnd(m) & 0xff, size);
}

static void random_msr(struct machine *m)
{
	static const u32 msrs[] = { 0x1b, 0x6e0, 0x830, 0x80b, 0x83f, 0x832 };
	struct lapic *a = &m->lapic[rnd(m) % CPUS];
	u32 msr = rnd(m) % 4 ? msrs[rnd(m) % ARRAY_LEN(msrs)] : 0x800 + rnd(m) % 0x100;
	u64 value = msr == 0x1b  ? 0xfee00000 | (rnd(m) & 0xd00)
		    : rnd(m) & 1 ? rnd(m) & 0xff
				 : rnd(m);

	if (rnd(m) & 1)
		(void)!lapic_msr_read(a, msr, &value);
	else
		(void)!lapic_msr_write(a, msr, value);
}

static void take_interrupts(struct machine *m)
{
	for (unsigned i = 0; i < CPUS; i++) {
		int vector = lapic_ack(&m->lapic[i]);

		if (vector == LAPIC_EXTINT) {
			m->extints++;
			vector = i8259_ack(&m->pic);
		}
		if (vector >= 0)
			m->vectors[vector & 0xff]++;
	}
}

static void random_input(struct machine *m)
{
	static const u8 text[20] = "some text to receive";

	switch (rnd(m) % 6) {
	case 0: ns16550_receive(&m->uart, text, rnd(m) % 20); break;
	case 1: i8042_key(&m->kbc, (u16)rnd(m), rnd(m) & 1); break;
	case 2: i8042_mouse(&m->kbc, (int)rnd(m), (int)rnd(m), (u8)rnd(m)); break;
	case 3: isa(m, rnd(m) % 16, rnd(m) & 1); break;
	case 4: ioapic_set_line(&m->ioapic, rnd(m) % 32, rnd(m) & 1); break;
	case 5: lapic_msi(&m->set, 0xfee00000 | (rnd(m) & 0xfffff), rnd(m) & 0xffff); break;
	}
}

static void random_time(struct machine *m)
{
	unsigned shift = rnd(m) % 200 ? rnd(m) % 20 : rnd(m) % 50;

	clock_skip(&m->board.clock, clock_now(&m->board.clock) + (rnd(m) & bits_mask(shift)));
	clock_run(&m->board.clock);
}

/* As a hostile state file does it: any bytes in any field. */
static void random_state(struct machine *m)
{
	struct device *dev = m->devices[rnd(m) % m->count];
	const struct state_desc *desc = dev->type->regs;
	const struct state_field *f = &desc->fields[rnd(m) % desc->count];
	u8 *at = (u8 *)device_regs(dev) + f->offset;

	for (unsigned i = 0; i < f->size * f->count; i++)
		at[i] = f->is_bool ? rnd(m) & 1 : (u8)rnd(m);
	if (dev->type->loaded)
		dev->type->loaded(dev);
}

static void random_reset(struct machine *m)
{
	struct device *dev = m->devices[rnd(m) % m->count];

	dev->type->reset(dev);
}

static void step(struct machine *m, bool hostile_state)
{
	unsigned what = rnd(m) % 64;

	if (what < 30)
		random_access(m, &m->board.ports);
	else if (what < 40)
		random_access(m, &m->board.mmio);
	else if (what < 44)
		random_msr(m);
	else if (what < 50)
		take_interrupts(m);
	else if (what < 56)
		random_input(m);
	else if (what < 62)
		random_time(m);
	else if (hostile_state)
		random_state(m);
	else if (!(rnd(m) % 64))
		random_reset(m);
}

static u64 hash_state(struct machine *m)
{
	static u8 buf[16384];
	u64 hash = 14695981039346656037ull;

	for (unsigned i = 0; i < m->count; i++) {
		size_t n = state_save(m->devices[i]->type->regs, device_regs(m->devices[i]), buf,
				      sizeof(buf));

		assert_true(n <= sizeof(buf));
		for (size_t k = 0; k < n; k++)
			hash = (hash ^ buf[k]) * 1099511628211ull;
	}
	return hash;
}

static u64 run(struct machine *m, u64 seed, bool hostile_state)
{
	u64 hash;

	build(m, seed);
	for (unsigned i = 0; i < STEPS; i++)
		step(m, hostile_state);
	hash = hash_state(m);
	board_fini(&m->board);
	return hash;
}

static void reaches_the_chips(void **state)
{
	static struct machine m;
	unsigned taken = 0;

	run(&m, 1, false);
	for (unsigned i = 0; i < 256; i++)
		taken += m.vectors[i] > 0;
	assert_true(taken > 50);
	assert_true(m.extints > 0);
	for (unsigned i = 0; i < 4; i++)
		assert_true(m.signals[i] > 0);
	assert_true(m.resets > 0 && m.exits > 0 && m.sent > 0 && m.a20s > 0);
}

static void same_seed_same_state(void **state)
{
	static struct machine m;
	u64 first = run(&m, 7, false);

	assert_int_equal(run(&m, 7, false), first);
	assert_int_not_equal(run(&m, 8, false), first);
}

static void survives_hostile_state(void **state)
{
	static struct machine m;

	for (u64 seed = 11; seed < 15; seed++)
		run(&m, seed, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reaches_the_chips),
		cmocka_unit_test(same_seed_same_state),
		cmocka_unit_test(survives_hostile_state),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
}
