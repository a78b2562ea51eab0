#include "dev/dev_test.h"
#include "dev/lapic.h"

#include <string.h>

#define CPUS 4
#define BASE LAPIC_MMIO_BASE

enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	APR = 0x90,
	PPR = 0xa0,
	EOI = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR_HIGH = 0x310,
	LVT_TIMER_REG = 0x320,
	LVT_LINT0_REG = 0x350,
	LVT_LINT1_REG = 0x360,
	LVT_ERROR_REG = 0x370,
	INITIAL = 0x380,
	CURRENT = 0x390,
	DIVIDE = 0x3e0,
};

struct cpu {
	struct lapic apic;
	bool intr;
	unsigned nmis, inits, sipis;
	unsigned sipi_vector;
};

struct fixture {
	struct test_board board;
	struct lapic_set set;
	struct cpu cpu[CPUS];
	unsigned current;
	u8 ended[8];
	unsigned ends;
};

static void on_signal(void *opaque, enum lapic_signal what, unsigned arg)
{
	struct cpu *cpu = opaque;

	switch (what) {
	case LAPIC_INTR: cpu->intr = arg; break;
	case LAPIC_NMI: cpu->nmis++; break;
	case LAPIC_INIT: cpu->inits++; break;
	case LAPIC_SIPI:
		cpu->sipis++;
		cpu->sipi_vector = arg;
		break;
	}
}

static struct lapic *current(void *opaque)
{
	struct fixture *f = opaque;

	return f->current < CPUS ? &f->cpu[f->current].apic : NULL;
}

static void on_eoi(void *opaque, u8 vector)
{
	struct fixture *f = opaque;

	assert_true(f->ends < sizeof(f->ended));
	f->ended[f->ends++] = vector;
}

/* A TSC of 2 GHz, at 0 when the clock is. */
static u64 tsc_due(void *opaque, u64 tsc) { return clock_ticks_to_ns(tsc, 2000000000); }

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.set.current = current;
	f.set.eoi = on_eoi;
	f.set.opaque = &f;
	assert_int_equal(lapic_set_init(&f.set, &f.board.platform), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		struct lapic *a = &f.cpu[i].apic;

		a->set = &f.set;
		a->id = i;
		a->bsp = i == 0;
		a->x2apic = a->has_tsc_deadline = true;
		a->phys_bits = 40;
		a->timer_hz = 1000000000;
		a->signal = on_signal;
		a->tsc_due = tsc_due;
		a->opaque = &f.cpu[i];
		board_add(&f.board, &a->dev, &lapic_type, "apic");
	}
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static u32 get(struct fixture *f, unsigned cpu, u32 reg)
{
	f->current = cpu;
	return (u32)bus_read(&f->board.mmio, BASE + reg, 4);
}

static void put(struct fixture *f, unsigned cpu, u32 reg, u32 value)
{
	f->current = cpu;
	bus_write(&f->board.mmio, BASE + reg, value, 4);
}

static void enable_all(struct fixture *f)
{
	for (unsigned i = 0; i < CPUS; i++)
		put(f, i, SVR, 0x1ff);
}

static bool in_irr(struct fixture *f, unsigned cpu, u8 vector)
{
	return get(f, cpu, IRR + vector / 32 * 16) >> vector % 32 & 1;
}

/* Which CPUs have the vector in IRR, as bits; acknowledged and ended. */
static unsigned takers(struct fixture *f, u8 vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < CPUS; i++) {
		if (lapic_ack(&f->cpu[i].apic) != vector)
			continue;
		mask |= 1u << i;
		if (!lapic_msr_write(&f->cpu[i].apic, 0x80b, 0))
			put(f, i, EOI, 0); /* not in x2APIC mode */
	}
	return mask;
}

static void ipi(struct fixture *f, unsigned from, u32 dest, u32 low)
{
	put(f, from, ICR_HIGH, dest << 24);
	put(f, from, ICR, low);
}

/* --- Registers ------------------------------------------------------------------------------ */

/* 10.4.7.1. */
static void after_reset(void **state)
{
	struct fixture *f = *state;
	u64 base;

	assert_int_equal(get(f, 3, ID), 3u << 24);
	assert_int_equal(get(f, 0, VERSION), 0x00050014);
	assert_int_equal(get(f, 0, SVR), 0xff);
	assert_int_equal(get(f, 0, DFR), 0xffffffff);
	assert_int_equal(get(f, 0, LDR), 0);
	assert_int_equal(get(f, 0, TPR), 0);
	for (u32 reg = LVT_TIMER_REG; reg <= LVT_ERROR_REG; reg += 0x10)
		assert_int_equal(get(f, 0, reg), 0x10000);
	for (u32 reg = ISR; reg < ESR; reg += 0x10)
		assert_int_equal(get(f, 0, reg), 0);
	assert_true(lapic_msr_read(&f->cpu[0].apic, 0x1b, &base));
	assert_int_equal(base, 0xfee00900);
	assert_true(lapic_msr_read(&f->cpu[1].apic, 0x1b, &base));
	assert_int_equal(base, 0xfee00800);
}

static void access_rules(void **state)
{
	struct fixture *f = *state;

	f->current = 0;
	bus_write(&f->board.mmio, BASE + TPR, 0x11, 1);
	bus_write(&f->board.mmio, BASE + TPR, 0x22, 2);
	bus_write(&f->board.mmio, BASE + TPR + 2, 0x33, 4);
	bus_write(&f->board.mmio, BASE + TPR + 4, 0x44, 4);
	assert_int_equal(get(f, 0, TPR), 0);
	assert_int_equal(bus_read(&f->board.mmio, BASE + VERSION + 2, 1), 0x05);
	assert_int_equal(bus_read(&f->board.mmio, BASE + VERSION + 4, 4), 0);
	put(f, 0, VERSION, 0);
	put(f, 0, ID, 0);
	put(f, 0, LDR, 0xffffffff);
	put(f, 0, DFR, 0);
	put(f, 0, TPR, 0xffffffff);
	assert_int_equal(get(f, 0, VERSION), 0x00050014);
	assert_int_equal(get(f, 0, LDR), 0xff000000);
	assert_int_equal(get(f, 0, DFR), 0x0fffffff);
	assert_int_equal(get(f, 0, TPR), 0xff);
	/* Nobody there: ones. */
	f->current = CPUS;
	assert_int_equal(bus_read(&f->board.mmio, BASE + VERSION, 4), 0xffffffff);
	bus_write(&f->board.mmio, BASE + TPR, 0, 4);
	assert_int_equal(get(f, 0, TPR), 0xff);
}

static void reserved_registers_report(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0, 0x00), 0);
	put(f, 0, ESR, 0);
	assert_int_equal(get(f, 0, ESR), 0x80);
	put(f, 0, ESR, 0);
	assert_int_equal(get(f, 0, ESR), 0x00);
	put(f, 0, 0x3f0, 0x20);
	put(f, 0, ESR, 0);
	assert_int_equal(get(f, 0, ESR), 0x80);
}

static void lvt_bits(void **state)
{
	struct fixture *f = *state;
	static const u32 kept[] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

	put(f, 0, SVR, 0x1ff);
	for (unsigned i = 0; i < 6; i++) {
		put(f, 0, LVT_TIMER_REG + 16 * i, 0xffffffff);
		assert_int_equal(get(f, 0, LVT_TIMER_REG + 16 * i), kept[i]);
		put(f, 0, LVT_TIMER_REG + 16 * i, 0x000000ee);
		assert_int_equal(get(f, 0, LVT_TIMER_REG + 16 * i), 0xee);
	}
	/* Turned off by software, every entry is masked and stays so. */
	put(f, 0, SVR, 0x0ff);
	put(f, 0, LVT_LINT0_REG, 0x700);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(get(f, 0, LVT_TIMER_REG + 16 * i), i == 3 ? 0x10700 : 0x100ee);
	put(f, 0, SVR, 0x1ff);
	assert_int_equal(get(f, 0, LVT_LINT0_REG), 0x10700);
}

/* --- Priorities ----------------------------------------------------------------------------- */

static void nesting(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;

	enable_all(f);
	ipi(f, 1, 0, 0x4041);
	ipi(f, 1, 0, 0x4052);
	assert_true(f->cpu[0].intr);
	assert_int_equal(get(f, 0, APR), 0x50);
	assert_int_equal(lapic_ack(a), 0x52);
	assert_int_equal(get(f, 0, PPR), 0x50);
	assert_int_equal(get(f, 0, ISR + 0x20), 1u << 18);
	assert_false(f->cpu[0].intr);
	assert_int_equal(lapic_ack(a), -1);
	ipi(f, 1, 0, 0x405f); /* the same class waits */
	assert_false(f->cpu[0].intr);
	ipi(f, 1, 0, 0x4060);
	assert_int_equal(lapic_ack(a), 0x60);
	put(f, 0, EOI, 0);
	assert_false(f->cpu[0].intr);
	put(f, 0, EOI, 0);
	assert_int_equal(lapic_ack(a), 0x5f);
	put(f, 0, EOI, 0);
	assert_int_equal(lapic_ack(a), 0x41);
	put(f, 0, EOI, 0);
	assert_int_equal(lapic_ack(a), -1);
	put(f, 0, EOI, 0);
	assert_int_equal(f->ends, 0);
}

static void task_priority(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;

	enable_all(f);
	put(f, 0, TPR, 0x45);
	assert_int_equal(get(f, 0, PPR), 0x45);
	assert_int_equal(get(f, 0, APR), 0x45);
	assert_int_equal(lapic_cr8_read(a), 4);
	ipi(f, 1, 0, 0x404f);
	assert_false(f->cpu[0].intr);
	lapic_cr8_write(a, 3);
	assert_true(f->cpu[0].intr);
	assert_int_equal(get(f, 0, TPR), 0x30);
	lapic_cr8_write(a, 15);
	assert_false(f->cpu[0].intr);
	assert_int_equal(lapic_ack(a), -1);
	put(f, 0, TPR, 0);
	assert_int_equal(lapic_ack(a), 0x4f);
	/* ISR above TPR. */
	put(f, 0, TPR, 0x25);
	assert_int_equal(get(f, 0, PPR), 0x40);
}

static void disabled_takes_no_fixed(void **state)
{
	struct fixture *f = *state;

	put(f, 1, SVR, 0x1ff);
	ipi(f, 1, 0, 0x4041);
	assert_false(in_irr(f, 0, 0x41));
	ipi(f, 1, 0, 0x4400);
	assert_int_equal(f->cpu[0].nmis, 1);
	/* What was accepted before stays pending when software turns the APIC off. */
	put(f, 0, SVR, 0x1ff);
	put(f, 0, TPR, 0xf0);
	ipi(f, 1, 0, 0x4041);
	put(f, 0, SVR, 0x0ff);
	assert_true(in_irr(f, 0, 0x41));
}

/* --- Routing -------------------------------------------------------------------------------- */

static void physical_destinations(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	ipi(f, 0, 2, 0x4041);
	assert_int_equal(takers(f, 0x41), 1u << 2);
	ipi(f, 0, 0, 0x4042);
	assert_int_equal(takers(f, 0x42), 1u << 0);
	ipi(f, 0, 0xff, 0x4043);
	assert_int_equal(takers(f, 0x43), 0xf);
	ipi(f, 0, 9, 0x4044);
	assert_int_equal(takers(f, 0x44), 0);
}

static void shorthands(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	ipi(f, 1, 3, 0x44041);
	assert_int_equal(takers(f, 0x41), 1u << 1);
	ipi(f, 1, 3, 0x84042);
	assert_int_equal(takers(f, 0x42), 0xf);
	ipi(f, 1, 3, 0xc4043);
	assert_int_equal(takers(f, 0x43), 0xd);
	/* NMI, INIT and SIPI cannot be sent to oneself by shorthand. */
	ipi(f, 1, 0, 0x44400);
	ipi(f, 1, 0, 0x84400);
	assert_int_equal(f->cpu[0].nmis + f->cpu[1].nmis, 0);
	ipi(f, 1, 0, 0xc4400);
	assert_int_equal(f->cpu[0].nmis, 1);
	assert_int_equal(f->cpu[1].nmis, 0);
}

static void logical_flat(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	for (unsigned i = 0; i < CPUS; i++)
		put(f, i, LDR, 1u << (24 + i));
	ipi(f, 0, 0x06, 0x4841);
	assert_int_equal(takers(f, 0x41), 0x6);
	ipi(f, 0, 0xff, 0x4842);
	assert_int_equal(takers(f, 0x42), 0xf);
	ipi(f, 0, 0xf0, 0x4843);
	assert_int_equal(takers(f, 0x43), 0);
}

static void logical_cluster(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	for (unsigned i = 0; i < CPUS; i++) {
		put(f, i, DFR, 0);
		put(f, i, LDR, (i / 2 << 4 | 1u << i % 2) << 24);
	}
	ipi(f, 0, 0x03, 0x4841);
	assert_int_equal(takers(f, 0x41), 0x3);
	ipi(f, 0, 0x12, 0x4842);
	assert_int_equal(takers(f, 0x42), 0x8);
	ipi(f, 0, 0xf1, 0x4843); /* every cluster */
	assert_int_equal(takers(f, 0x43), 0x5);
	ipi(f, 0, 0xff, 0x4844);
	assert_int_equal(takers(f, 0x44), 0xf);
	ipi(f, 0, 0x2f, 0x4845);
	assert_int_equal(takers(f, 0x45), 0);
}

static void lowest_priority(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	for (unsigned i = 0; i < CPUS; i++) {
		put(f, i, LDR, 1u << (24 + i));
		put(f, i, TPR, 0x30);
	}
	put(f, 2, TPR, 0x20);
	ipi(f, 0, 0xff, 0x4941);
	assert_int_equal(takers(f, 0x41), 0x4);
	/* Not addressed: the next best. */
	put(f, 3, TPR, 0x28);
	ipi(f, 0, 0x0b, 0x4942);
	assert_int_equal(takers(f, 0x42), 0x8);
	/* A disabled APIC does not take part. */
	put(f, 2, SVR, 0xff);
	ipi(f, 0, 0xff, 0x4943);
	assert_int_equal(takers(f, 0x43), 0x8);
	/* By shorthand: never the sender where it is left out. */
	put(f, 0, TPR, 0x10);
	ipi(f, 0, 0, 0xc4945);
	assert_int_equal(takers(f, 0x45), 0x8);
	put(f, 0, TPR, 0x30);
	/* Equals: one takes it. */
	put(f, 3, TPR, 0x30);
	ipi(f, 0, 0xff, 0x4944);
	assert_int_equal(__builtin_popcount(takers(f, 0x44)), 1);
}

static void illegal_vectors(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	put(f, 0, LVT_ERROR_REG, 0xe1);
	ipi(f, 0, 1, 0x400f);
	assert_false(in_irr(f, 1, 0x0f));
	assert_true(in_irr(f, 0, 0xe1));
	put(f, 0, ESR, 0);
	assert_int_equal(get(f, 0, ESR), 0x20);
	lapic_deliver(&f->set, &(struct apic_msg){ .dest = 1, .mode = APIC_FIXED, .vector = 3 });
	put(f, 1, ESR, 0);
	assert_int_equal(get(f, 1, ESR), 0x40);
	/* An error entry with an illegal vector reports itself, once. */
	put(f, 2, LVT_ERROR_REG, 0x05);
	get(f, 2, 0x00);
	put(f, 2, ESR, 0);
	assert_int_equal(get(f, 2, ESR), 0xc0);
}

static void init_and_sipi(void **state)
{
	struct fixture *f = *state;
	u64 base;

	enable_all(f);
	put(f, 1, TPR, 0x50);
	put(f, 1, INITIAL, 1000000);
	ipi(f, 0, 1, 0x4500);
	assert_int_equal(f->cpu[1].inits, 1);
	/* 10.4.7.3: as after reset, but for the ID and APIC_BASE. */
	assert_int_equal(get(f, 1, TPR), 0);
	assert_int_equal(get(f, 1, SVR), 0xff);
	assert_int_equal(get(f, 1, CURRENT), 0);
	assert_int_equal(get(f, 1, ID), 1u << 24);
	assert_true(lapic_msr_read(&f->cpu[1].apic, 0x1b, &base));
	assert_int_equal(base, 0xfee00800);
	/* INIT level de-assert does nothing. */
	ipi(f, 0, 1, 0x8500);
	assert_int_equal(f->cpu[1].inits, 1);
	ipi(f, 0, 1, 0xc500);
	assert_int_equal(f->cpu[1].inits, 2);
	ipi(f, 0, 1, 0x0500); /* as an edge the level does not count */
	assert_int_equal(f->cpu[1].inits, 3);
	ipi(f, 0, 1, 0x469a);
	assert_int_equal(f->cpu[1].sipis, 1);
	assert_int_equal(f->cpu[1].sipi_vector, 0x9a);
	ipi(f, 0, 0, 0xc4500);
	assert_int_equal(f->cpu[0].inits, 0);
	assert_int_equal(f->cpu[3].inits, 1);
	/* Delivery is immediate: the status bit reads idle. */
	assert_int_equal(get(f, 0, ICR) & 0x1000, 0);
}

static void messages_from_devices(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	for (unsigned i = 0; i < CPUS; i++)
		put(f, i, LDR, 1u << (24 + i));
	lapic_msi(&f->set, 0xfee02000, 0x4041);
	assert_int_equal(takers(f, 0x41), 0x4);
	lapic_msi(&f->set, 0xfee03004, 0x4042); /* logical */
	assert_int_equal(takers(f, 0x42), 0x3);
	lapic_msi(&f->set, 0xfee0f00c, 0x4043); /* logical, redirection hint */
	assert_int_equal(__builtin_popcount(takers(f, 0x43)), 1);
	lapic_msi(&f->set, 0xfee01000, 0x0400); /* NMI */
	assert_int_equal(f->cpu[1].nmis, 1);
	lapic_msi(&f->set, 0xfee01000, 0x8044); /* de-assert */
	assert_int_equal(takers(f, 0x44), 0);
	assert_false(lapic_deliver(&f->set, &(struct apic_msg){ .dest = 77, .vector = 0x50 }));
}

static void level_triggered_messages(void **state)
{
	struct fixture *f = *state;
	struct apic_msg msg = { .dest = 1, .vector = 0x51, .level = true };

	enable_all(f);
	assert_true(lapic_deliver(&f->set, &msg));
	assert_int_equal(get(f, 1, TMR + 0x20), 1u << 17);
	assert_int_equal(lapic_ack(&f->cpu[1].apic), 0x51);
	assert_int_equal(f->ends, 0);
	put(f, 1, EOI, 0);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->ended[0], 0x51);
	/* The same vector as an edge. */
	msg.level = false;
	lapic_deliver(&f->set, &msg);
	assert_int_equal(get(f, 1, TMR + 0x20), 0);
	lapic_ack(&f->cpu[1].apic);
	put(f, 1, EOI, 0);
	assert_int_equal(f->ends, 1);
}

/* --- Pins ----------------------------------------------------------------------------------- */

static void virtual_wire(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;

	for (unsigned i = 0; i < CPUS; i++)
		lapic_virtual_wire(&f->cpu[i].apic);
	lapic_lint_all(&f->set, 0, true);
	assert_true(f->cpu[0].intr);
	assert_false(f->cpu[1].intr);
	/* A fixed interrupt goes first. */
	ipi(f, 1, 0, 0x4041);
	assert_int_equal(lapic_ack(a), 0x41);
	assert_int_equal(lapic_ack(a), LAPIC_EXTINT);
	assert_true(f->cpu[0].intr);
	lapic_lint_all(&f->set, 0, false);
	assert_false(f->cpu[0].intr);
	assert_int_equal(lapic_ack(a), -1);
	/* Asked before it is set up: the request stands. */
	lapic_lint(a, 0, true);
	put(f, 0, SVR, 0x0ff);
	assert_false(f->cpu[0].intr);
	lapic_virtual_wire(a);
	assert_true(f->cpu[0].intr);
	lapic_lint(a, 0, false);
	lapic_lint_all(&f->set, 1, true);
	lapic_lint_all(&f->set, 1, true);
	assert_int_equal(f->cpu[0].nmis, 1);
	assert_int_equal(f->cpu[3].nmis, 1);
}

static void pins_of_old(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;

	lapic_lint(a, 0, true);
	assert_false(f->cpu[0].intr);
	/* Off, LINT0 and LINT1 are INTR and NMI. */
	assert_true(lapic_msr_write(a, 0x1b, 0xfee00100));
	assert_true(f->cpu[0].intr);
	assert_int_equal(lapic_ack(a), LAPIC_EXTINT);
	lapic_lint(a, 0, false);
	assert_false(f->cpu[0].intr);
	lapic_lint(a, 1, true);
	assert_int_equal(f->cpu[0].nmis, 1);
}

static void fixed_pins(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;

	enable_all(f);
	put(f, 0, LVT_LINT1_REG, 0x61);
	lapic_lint(a, 1, true);
	assert_int_equal(lapic_ack(a), 0x61);
	put(f, 0, EOI, 0);
	assert_int_equal(f->ends, 0);
	assert_int_equal(lapic_ack(a), -1);
	/* Active low: it falls. */
	put(f, 0, LVT_LINT1_REG, 0x2062);
	lapic_lint(a, 1, false);
	assert_int_equal(lapic_ack(a), 0x62);
	put(f, 0, EOI, 0);
	/* Level: again after EOI while it is asserted. */
	put(f, 0, LVT_LINT0_REG, 0x8063);
	lapic_lint(a, 0, true);
	assert_int_equal(get(f, 0, LVT_LINT0_REG), 0xc063);
	assert_int_equal(lapic_ack(a), 0x63);
	assert_int_equal(lapic_ack(a), -1);
	put(f, 0, EOI, 0);
	assert_int_equal(lapic_ack(a), 0x63);
	lapic_lint(a, 0, false);
	put(f, 0, EOI, 0);
	assert_int_equal(get(f, 0, LVT_LINT0_REG), 0x8063);
	assert_int_equal(lapic_ack(a), -1);
}

static void extint_message(void **state)
{
	struct fixture *f = *state;
	struct apic_msg msg = { .dest = 0, .mode = APIC_EXTINT };

	enable_all(f);
	lapic_deliver(&f->set, &msg);
	assert_true(f->cpu[0].intr);
	assert_int_equal(lapic_ack(&f->cpu[0].apic), LAPIC_EXTINT);
	assert_false(f->cpu[0].intr);
	assert_int_equal(lapic_ack(&f->cpu[0].apic), -1);
}

/* --- Timer ---------------------------------------------------------------------------------- */

static void one_shot(void **state)
{
	struct fixture *f = *state;

	put(f, 0, SVR, 0x1ff);
	put(f, 0, LVT_TIMER_REG, 0x40);
	put(f, 0, DIVIDE, 0xb); /* by 1 */
	put(f, 0, INITIAL, 1000);
	assert_int_equal(get(f, 0, CURRENT), 1000);
	board_run(&f->board, 400);
	assert_int_equal(get(f, 0, CURRENT), 600);
	board_run(&f->board, 599);
	assert_false(f->cpu[0].intr);
	board_run(&f->board, 1);
	assert_int_equal(lapic_ack(&f->cpu[0].apic), 0x40);
	assert_int_equal(get(f, 0, CURRENT), 0);
	assert_int_equal(get(f, 0, INITIAL), 1000);
	put(f, 0, EOI, 0);
	board_run(&f->board, 100000);
	assert_false(f->cpu[0].intr);
	/* Writing 0 stops it. */
	put(f, 0, INITIAL, 1000);
	put(f, 0, INITIAL, 0);
	board_run(&f->board, 100000);
	assert_false(f->cpu[0].intr);
}

static void divisors(void **state)
{
	static const struct {
		u8 reg;
		unsigned by;
	} rows[] = { { 0, 2 },  { 1, 4 },  { 2, 8 },    { 3, 16 },
		     { 8, 32 }, { 9, 64 }, { 10, 128 }, { 11, 1 } };
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		put(f, 0, DIVIDE, rows[i].reg);
		assert_int_equal(get(f, 0, DIVIDE), rows[i].reg);
		put(f, 0, INITIAL, 1000);
		board_run(&f->board, 100 * rows[i].by);
		assert_int_equal(get(f, 0, CURRENT), 900);
	}
	/* Changed while it runs: what is left goes on at the new rate. */
	put(f, 0, DIVIDE, 3);
	assert_int_equal(get(f, 0, CURRENT), 900);
	board_run(&f->board, 160);
	assert_int_equal(get(f, 0, CURRENT), 890);
	put(f, 0, DIVIDE, 0xffffffff);
	assert_int_equal(get(f, 0, DIVIDE), 11);
}

static void periodic(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;
	u64 start;

	put(f, 0, SVR, 0x1ff);
	put(f, 0, LVT_TIMER_REG, 0x20040);
	put(f, 0, DIVIDE, 0);
	start = clock_now(&f->board.clock);
	put(f, 0, INITIAL, 500);
	for (unsigned i = 1; i <= 1000; i++) {
		board_run_to(&f->board, start + i * 1000 - 1);
		assert_false(f->cpu[0].intr);
		board_run_to(&f->board, start + i * 1000);
		assert_int_equal(lapic_ack(&f->cpu[0].apic), 0x40);
		put(f, 0, EOI, 0);
		n++;
	}
	assert_int_equal(n, 1000);
	/* Late: one interrupt for what was missed, and the phase is kept. */
	clock_skip(&f->board.clock, start + 1010300);
	assert_int_equal(get(f, 0, CURRENT), 350);
	clock_run(&f->board.clock);
	assert_int_equal(lapic_ack(&f->cpu[0].apic), 0x40);
	put(f, 0, EOI, 0);
	assert_int_equal(get(f, 0, CURRENT), 350);
	board_run_to(&f->board, start + 1010999);
	assert_false(f->cpu[0].intr);
	board_run_to(&f->board, start + 1011000);
	assert_true(f->cpu[0].intr);
	/* Masked it goes on without interrupts. */
	lapic_ack(&f->cpu[0].apic);
	put(f, 0, EOI, 0);
	put(f, 0, LVT_TIMER_REG, 0x30040);
	board_run(&f->board, 10200);
	assert_false(f->cpu[0].intr);
	assert_int_equal(get(f, 0, CURRENT), 400);
}

static void tsc_deadline(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;
	u64 value;

	put(f, 0, SVR, 0x1ff);
	/* In another mode the MSR ignores writes. */
	assert_true(lapic_msr_write(a, 0x6e0, 5000));
	assert_true(lapic_msr_read(a, 0x6e0, &value));
	assert_int_equal(value, 0);
	put(f, 0, LVT_TIMER_REG, 0x40041);
	put(f, 0, INITIAL, 1000); /* ignored in this mode */
	assert_int_equal(get(f, 0, CURRENT), 0);
	assert_true(lapic_msr_write(a, 0x6e0, 5000));
	board_run_to(&f->board, 2499);
	assert_false(f->cpu[0].intr);
	assert_true(lapic_msr_read(a, 0x6e0, &value));
	assert_int_equal(value, 5000);
	board_run_to(&f->board, 2500);
	assert_int_equal(lapic_ack(a), 0x41);
	assert_true(lapic_msr_read(a, 0x6e0, &value));
	assert_int_equal(value, 0);
	put(f, 0, EOI, 0);
	/* In the past: at once. */
	assert_true(lapic_msr_write(a, 0x6e0, 1));
	assert_int_equal(lapic_ack(a), 0x41);
	put(f, 0, EOI, 0);
	/* 0 disarms, and so does a change of mode. */
	assert_true(lapic_msr_write(a, 0x6e0, 9000));
	assert_true(lapic_msr_write(a, 0x6e0, 0));
	board_run_to(&f->board, 5000);
	assert_false(f->cpu[0].intr);
	assert_true(lapic_msr_write(a, 0x6e0, 20000));
	put(f, 0, LVT_TIMER_REG, 0x00041);
	put(f, 0, LVT_TIMER_REG, 0x40041);
	board_run_to(&f->board, 20000);
	assert_false(f->cpu[0].intr);
	/* Not offered. */
	a->has_tsc_deadline = false;
	assert_false(lapic_msr_write(a, 0x6e0, 0));
	assert_false(lapic_msr_read(a, 0x6e0, &value));
	put(f, 0, LVT_TIMER_REG, 0x40041);
	assert_int_equal(get(f, 0, LVT_TIMER_REG), 0x41);
}

/* --- x2APIC --------------------------------------------------------------------------------- */

static void to_x2apic(struct fixture *f, unsigned cpu)
{
	assert_true(lapic_msr_write(&f->cpu[cpu].apic, 0x1b, cpu ? 0xfee00c00 : 0xfee00d00));
}

static void mode_transitions(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;
	u64 value;

	assert_false(lapic_msr_read(a, 0x802, &value));
	assert_false(lapic_msr_write(a, 0x808, 0));
	assert_false(lapic_msr_write(a, 0x1b, 0xfee00400));              /* EXTD without EN */
	assert_false(lapic_msr_write(a, 0x1b, 0xfee00a00));              /* reserved bit 9 */
	assert_false(lapic_msr_write(a, 0x1b, 1ull << 40 | 0xfee00900)); /* beyond 40 bits */
	put(f, 0, TPR, 0x40);
	put(f, 0, ICR_HIGH, 0x77000000);
	to_x2apic(f, 0);
	assert_true(lapic_msr_read(a, 0x808, &value));
	assert_int_equal(value, 0x40);
	assert_true(lapic_msr_read(a, 0x830, &value));
	assert_int_equal(value, 0);
	/* The page is gone. */
	assert_int_equal(get(f, 0, VERSION), 0xffffffff);
	put(f, 0, TPR, 0);
	assert_int_equal(lapic_cr8_read(a), 4);
	assert_false(lapic_msr_write(a, 0x1b, 0xfee00900)); /* back to xAPIC */
	assert_true(lapic_msr_write(a, 0x1b, 0xfee00100));  /* off */
	assert_false(lapic_msr_read(a, 0x808, &value));
	assert_false(lapic_msr_write(a, 0x1b, 0xfee00d00)); /* from off to x2APIC */
	assert_true(lapic_msr_write(a, 0x1b, 0xfee00900));
	assert_int_equal(get(f, 0, TPR), 0);
	a->x2apic = false;
	assert_false(lapic_msr_write(a, 0x1b, 0xfee00d00));
	/* Moved away, the page at the usual place is not this APIC's. */
	assert_true(lapic_msr_write(a, 0x1b, 0xfec80900));
	assert_int_equal(get(f, 0, VERSION), 0xffffffff);
}

static void x2apic_registers(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[3].apic;
	static const u16 no_read[] = { 0x800, 0x809, 0x80b, 0x80c, 0x80e, 0x831, 0x83f, 0x8ff };
	static const u16 no_write[] = { 0x802, 0x803, 0x80a, 0x80d, 0x80e,
					0x810, 0x820, 0x831, 0x839, 0x8ff };
	u64 value;

	to_x2apic(f, 3);
	for (unsigned i = 0; i < ARRAY_LEN(no_read); i++)
		assert_false(lapic_msr_read(a, no_read[i], &value));
	for (unsigned i = 0; i < ARRAY_LEN(no_write); i++)
		assert_false(lapic_msr_write(a, no_write[i], 0));
	assert_true(lapic_msr_read(a, 0x802, &value));
	assert_int_equal(value, 3);
	assert_true(lapic_msr_read(a, 0x80d, &value));
	assert_int_equal(value, 0x00000008);
	/* Reserved bits. */
	assert_false(lapic_msr_write(a, 0x808, 0x100));
	assert_false(lapic_msr_write(a, 0x80b, 1));
	assert_false(lapic_msr_write(a, 0x828, 1));
	assert_true(lapic_msr_write(a, 0x828, 0));
	/* Read-only bits may be written as read. */
	assert_true(lapic_msr_write(a, 0x837, 0x15033));
	assert_true(lapic_msr_read(a, 0x837, &value));
	assert_int_equal(value, 0x10033);
	assert_true(lapic_msr_write(a, 0x808, 0xff));
	assert_true(lapic_msr_write(a, 0x808, 0));
	assert_false(lapic_msr_write(a, 0x80f, 0x1000));
	assert_false(lapic_msr_write(a, 0x830, 1u << 13));
	assert_false(lapic_msr_write(a, 0x832, 1u << 20));
	assert_false(lapic_msr_write(a, 0x83e, 4));
	assert_false(lapic_msr_write(a, 0x838, 1ull << 32));
	assert_false(lapic_msr_write(a, 0x83f, 0x100));
	assert_true(lapic_msr_write(a, 0x80f, 0x1ff));
	assert_true(lapic_msr_write(a, 0x83f, 0x77));
	assert_int_equal(lapic_ack(a), 0x77);
	assert_true(lapic_msr_write(a, 0x80b, 0));
}

static void x2apic_interrupts(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;
	u64 value;

	enable_all(f);
	for (unsigned i = 0; i < CPUS; i++)
		to_x2apic(f, i);
	assert_true(lapic_msr_write(a, 0x830, 2ull << 32 | 0x4041));
	assert_true(lapic_msr_read(a, 0x830, &value));
	assert_int_equal(value, 2ull << 32 | 0x4041);
	assert_int_equal(takers(f, 0x41), 0x4);
	assert_true(lapic_msr_write(a, 0x830, 0xffffffffull << 32 | 0x4042));
	assert_int_equal(takers(f, 0x42), 0xf);
	assert_true(lapic_msr_write(a, 0x830, 0xffull << 32 | 0x4043));
	assert_int_equal(takers(f, 0x43), 0x0);
	assert_true(lapic_msr_write(a, 0x830, 0x0000000aull << 32 | 0x4844));
	assert_int_equal(takers(f, 0x44), 0xa);
	assert_true(lapic_msr_write(a, 0x830, 0x0001000aull << 32 | 0x4845));
	assert_int_equal(takers(f, 0x45), 0x0);
	/* An IOAPIC's 8-bit broadcast reaches them too. */
	lapic_deliver(&f->set, &(struct apic_msg){ .dest = 0xff, .vector = 0x46 });
	assert_int_equal(takers(f, 0x46), 0xf);
}

static void state_survives(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;

	put(f, 0, SVR, 0x1ff);
	put(f, 0, LVT_TIMER_REG, 0x20040);
	put(f, 0, DIVIDE, 0xb);
	put(f, 0, INITIAL, 1000);
	ipi(f, 0, 0, 0x4051);
	board_run(&f->board, 300);
	board_save_and_load(&a->dev);
	assert_true(f->cpu[0].intr);
	assert_int_equal(lapic_ack(a), 0x51);
	put(f, 0, EOI, 0);
	assert_int_equal(get(f, 0, CURRENT), 700);
	board_run(&f->board, 700);
	assert_int_equal(lapic_ack(a), 0x40);
}

/* 10.6.2.4. */
static void arbitration_priority(void **state)
{
	struct fixture *f = *state;

	enable_all(f);
	put(f, 0, TPR, 0x34);
	assert_int_equal(get(f, 0, APR), 0x34);
	ipi(f, 1, 0, 0x4010); /* 16 is the lowest legal vector */
	assert_int_equal(get(f, 0, APR), 0x34);
	ipi(f, 1, 0, 0x4055);
	assert_int_equal(get(f, 0, APR), 0x50);
	assert_int_equal(lapic_ack(&f->cpu[0].apic), 0x55);
	put(f, 0, TPR, 0x45);
	assert_int_equal(get(f, 0, APR), 0x40); /* of TPR and ISRV the bits that both have */
	put(f, 0, TPR, 0x67);
	assert_int_equal(get(f, 0, APR), 0x67);
	put(f, 1, ESR, 0);
	assert_int_equal(get(f, 1, ESR), 0);
	put(f, 0, EOI, 0);
	put(f, 0, TPR, 0);
	assert_int_equal(lapic_ack(&f->cpu[0].apic), 0x10);
}

static void read_only_registers_do_not_report(void **state)
{
	struct fixture *f = *state;
	static const u32 regs[] = {
		ID, VERSION, APR, PPR, 0xc0, ISR, TMR, IRR, IRR + 0x70, CURRENT
	};

	for (unsigned i = 0; i < ARRAY_LEN(regs); i++) {
		get(f, 0, regs[i]);
		put(f, 0, regs[i], 0xffffffff);
	}
	put(f, 0, ESR, 0);
	assert_int_equal(get(f, 0, ESR), 0);
	assert_int_equal(get(f, 0, IRR + 0x70), 0);
}

static void divisor_changed_within_a_period(void **state)
{
	struct fixture *f = *state;

	put(f, 0, SVR, 0x1ff);
	put(f, 0, LVT_TIMER_REG, 0x20040);
	put(f, 0, DIVIDE, 0xb);
	put(f, 0, INITIAL, 1000);
	board_run(&f->board, 600);
	put(f, 0, DIVIDE, 0x0);
	board_run(&f->board, 799);
	assert_false(f->cpu[0].intr);
	board_run(&f->board, 1);
	assert_int_equal(lapic_ack(&f->cpu[0].apic), 0x40);
	put(f, 0, EOI, 0);
	assert_int_equal(get(f, 0, CURRENT), 1000);
	board_run(&f->board, 1999);
	assert_false(f->cpu[0].intr);
	board_run(&f->board, 1);
	assert_true(f->cpu[0].intr);
}

static u64 tsc_ahead; /* of the 2 GHz clock */

static u64 shifted_tsc_due(void *opaque, u64 tsc)
{
	return tsc < tsc_ahead ? 0 : clock_ticks_to_ns(tsc - tsc_ahead, 2000000000);
}

static void tsc_adjusted_while_armed(void **state)
{
	struct fixture *f = *state;
	struct lapic *a = &f->cpu[0].apic;

	tsc_ahead = 0;
	a->tsc_due = shifted_tsc_due;
	put(f, 0, SVR, 0x1ff);
	put(f, 0, LVT_TIMER_REG, 0x40041);
	assert_true(lapic_msr_write(a, 0x6e0, 10000));
	tsc_ahead = 4000;
	lapic_tsc_changed(a);
	board_run_to(&f->board, 2999);
	assert_false(f->cpu[0].intr);
	board_run_to(&f->board, 3000);
	assert_true(f->cpu[0].intr);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_reset),
		TEST(access_rules),
		TEST(reserved_registers_report),
		TEST(lvt_bits),
		TEST(nesting),
		TEST(task_priority),
		TEST(disabled_takes_no_fixed),
		TEST(physical_destinations),
		TEST(shorthands),
		TEST(logical_flat),
		TEST(logical_cluster),
		TEST(lowest_priority),
		TEST(illegal_vectors),
		TEST(init_and_sipi),
		TEST(messages_from_devices),
		TEST(level_triggered_messages),
		TEST(virtual_wire),
		TEST(pins_of_old),
		TEST(fixed_pins),
		TEST(extint_message),
		TEST(one_shot),
		TEST(divisors),
		TEST(periodic),
		TEST(tsc_deadline),
		TEST(mode_transitions),
		TEST(x2apic_registers),
		TEST(x2apic_interrupts),
		TEST(arbitration_priority),
		TEST(read_only_registers_do_not_report),
		TEST(divisor_changed_within_a_period),
		TEST(tsc_adjusted_while_armed),
		TEST(state_survives),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("lapic", tests, NULL, NULL);
}
