#include "dev/dev_test.h"
#include "dev/ioapic.h"

#include <string.h>

struct fixture {
	struct test_board board;
	struct ioapic io;
	struct apic_msg sent[16];
	unsigned count;
	bool nobody;
};

static bool deliver(void *opaque, const struct apic_msg *msg)
{
	struct fixture *f = opaque;

	assert_true(f->count < 16);
	f->sent[f->count++] = *msg;
	return !f->nobody;
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.io.base = IOAPIC_BASE;
	f.io.id = 2;
	f.io.deliver = deliver;
	f.io.opaque = &f;
	board_add(&f.board, &f.io.dev, &ioapic_type, "ioapic");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	board_fini(&((struct fixture *)*state)->board);
	return 0;
}

static u32 get(struct fixture *f, u8 reg)
{
	bus_write(&f->board.mmio, IOAPIC_BASE, reg, 4);
	return (u32)bus_read(&f->board.mmio, IOAPIC_BASE + 0x10, 4);
}

static void put(struct fixture *f, u8 reg, u32 value)
{
	bus_write(&f->board.mmio, IOAPIC_BASE, reg, 4);
	bus_write(&f->board.mmio, IOAPIC_BASE + 0x10, value, 4);
}

static void route(struct fixture *f, unsigned pin, u64 entry)
{
	put(f, (u8)(0x11 + 2 * pin), (u32)(entry >> 32));
	put(f, (u8)(0x10 + 2 * pin), (u32)entry);
}

static void registers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0), 2u << 24);
	assert_int_equal(get(f, 1), 0x00170020);
	put(f, 0, 0xff000000);
	assert_int_equal(get(f, 0), 0x0f000000);
	assert_int_equal(get(f, 2), 0x0f000000);
	put(f, 1, 0);
	assert_int_equal(get(f, 1), 0x00170020);
	for (unsigned pin = 0; pin < 24; pin++) {
		u8 reg = (u8)(0x10 + 2 * pin);

		assert_int_equal(get(f, reg), 0x10000);
		assert_int_equal(get(f, reg + 1), 0);
		put(f, reg, 0xffffffff);
		put(f, reg + 1, 0xffffffff);
		/* Delivery status and remote IRR are read-only, 17..55 reserved. */
		assert_int_equal(get(f, reg), 0x0001afff);
		assert_int_equal(get(f, reg + 1), 0xff000000);
	}
	assert_int_equal(get(f, 0x40), 0);
	put(f, 0x40, 0xffffffff);
	put(f, 0xff, 0xffffffff);
	assert_int_equal(get(f, 0xff), 0);
	assert_int_equal(bus_read(&f->board.mmio, IOAPIC_BASE, 4), 0xff);
	assert_int_equal(bus_read(&f->board.mmio, IOAPIC_BASE + 0x20, 4), 0);
	assert_int_equal(f->count, 0);
}

static void edge(void **state)
{
	struct fixture *f = *state;

	route(f, 4, 0x0300000000000834); /* logical 3, fixed, vector 0x34 */
	ioapic_set_line(&f->io, 4, true);
	ioapic_set_line(&f->io, 4, true);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->sent[0].vector, 0x34);
	assert_int_equal(f->sent[0].dest, 3);
	assert_true(f->sent[0].logical);
	assert_false(f->sent[0].level);
	assert_int_equal(f->sent[0].mode, APIC_FIXED);
	assert_int_equal(get(f, 0x18), 0x834);
	ioapic_set_line(&f->io, 4, false);
	assert_int_equal(f->count, 1);
	ioapic_set_line(&f->io, 4, true);
	assert_int_equal(f->count, 2);
}

static void masked_edges_are_lost(void **state)
{
	struct fixture *f = *state;

	route(f, 4, 0x10034);
	ioapic_set_line(&f->io, 4, true);
	route(f, 4, 0x00034);
	assert_int_equal(f->count, 0);
}

static void level(void **state)
{
	struct fixture *f = *state;

	route(f, 10, 0x01000000000081a1); /* level, lowest priority */
	ioapic_set_line(&f->io, 10, true);
	assert_int_equal(f->count, 1);
	assert_true(f->sent[0].level);
	assert_int_equal(f->sent[0].mode, APIC_LOWEST);
	assert_int_equal(get(f, 0x24), 0xc1a1);
	/* Not again before EOI, even if the line moves. */
	ioapic_set_line(&f->io, 10, false);
	ioapic_set_line(&f->io, 10, true);
	assert_int_equal(f->count, 1);
	ioapic_eoi(&f->io, 0xa2);
	assert_int_equal(f->count, 1);
	ioapic_eoi(&f->io, 0xa1);
	assert_int_equal(f->count, 2);
	ioapic_set_line(&f->io, 10, false);
	ioapic_eoi(&f->io, 0xa1);
	assert_int_equal(f->count, 2);
	assert_int_equal(get(f, 0x24), 0x81a1);
}

static void masked_level_waits(void **state)
{
	struct fixture *f = *state;

	route(f, 10, 0x180a1);
	ioapic_set_line(&f->io, 10, true);
	assert_int_equal(f->count, 0);
	route(f, 10, 0x080a1);
	assert_int_equal(f->count, 1);
	/* Masking before the EOI: sent again when unmasked. */
	put(f, 0x24, 0x180a1);
	ioapic_eoi(&f->io, 0xa1);
	assert_int_equal(f->count, 1);
	put(f, 0x24, 0x080a1);
	assert_int_equal(f->count, 2);
}

static void remote_irr(void **state)
{
	struct fixture *f = *state;

	route(f, 10, 0x080a1);
	ioapic_set_line(&f->io, 10, true);
	ioapic_set_line(&f->io, 10, false);
	/* Turned to edge and back, the remote IRR is gone. */
	put(f, 0x24, 0x180a1);
	assert_int_equal(get(f, 0x24), 0x1c0a1);
	put(f, 0x24, 0x100a1);
	put(f, 0x24, 0x180a1);
	assert_int_equal(get(f, 0x24), 0x180a1);
	/* Nobody took it: no EOI would come. */
	f->nobody = true;
	route(f, 10, 0x080a1);
	ioapic_set_line(&f->io, 10, true);
	assert_int_equal(get(f, 0x24), 0x080a1);
}

static void shared_vector(void **state)
{
	struct fixture *f = *state;

	route(f, 10, 0x080a1);
	route(f, 11, 0x080a1);
	ioapic_set_line(&f->io, 10, true);
	ioapic_set_line(&f->io, 11, true);
	assert_int_equal(f->count, 2);
	ioapic_set_line(&f->io, 10, false);
	ioapic_eoi(&f->io, 0xa1);
	assert_int_equal(f->count, 3);
}

static void eoi_register(void **state)
{
	struct fixture *f = *state;

	route(f, 10, 0x080a1);
	ioapic_set_line(&f->io, 10, true);
	bus_write(&f->board.mmio, IOAPIC_BASE + 0x40, 0xa1, 4);
	assert_int_equal(f->count, 2);
}

static void special_modes_are_edges(void **state)
{
	struct fixture *f = *state;
	static const u8 modes[] = { APIC_SMI, APIC_NMI, APIC_INIT, APIC_EXTINT };

	for (unsigned i = 0; i < 4; i++) {
		route(f, i, 0x8000u | (u32)modes[i] << 8);
		ioapic_set_line(&f->io, i, true);
		assert_int_equal(f->count, i + 1);
		assert_int_equal(f->sent[i].mode, modes[i]);
		assert_false(f->sent[i].level);
		assert_int_equal(get(f, (u8)(0x10 + 2 * i)) & 0x4000, 0);
	}
}

static void pins_beyond_the_last(void **state)
{
	struct fixture *f = *state;

	ioapic_set_line(&f->io, 24, true);
	ioapic_set_line(&f->io, 1000, true);
	assert_int_equal(f->io.regs.lines, 0);
}

static void access_sizes(void **state)
{
	struct fixture *f = *state;

	bus_write(&f->board.mmio, IOAPIC_BASE, 0x01, 1);
	assert_int_equal(bus_read(&f->board.mmio, IOAPIC_BASE + 0x12, 1), 0x17);
	bus_write(&f->board.mmio, IOAPIC_BASE, 0x10, 1);
	bus_write(&f->board.mmio, IOAPIC_BASE + 0x10, 0x33, 1);
	assert_int_equal(get(f, 0x10), 0x10000);
}

static void state_survives(void **state)
{
	struct fixture *f = *state;

	route(f, 10, 0x080a1);
	ioapic_set_line(&f->io, 10, true);
	board_save_and_load(&f->io.dev);
	assert_int_equal(get(f, 0x24), 0xc0a1);
	ioapic_eoi(&f->io, 0xa1);
	assert_int_equal(f->count, 2);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers),
		TEST(edge),
		TEST(masked_edges_are_lost),
		TEST(level),
		TEST(masked_level_waits),
		TEST(remote_irr),
		TEST(shared_vector),
		TEST(eoi_register),
		TEST(special_modes_are_edges),
		TEST(pins_beyond_the_last),
		TEST(access_sizes),
		TEST(state_survives),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
