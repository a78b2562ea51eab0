/* PIIX4 power management through its ports, with a clock that moves when told. */
#include "dev/acpi_pm.h"
#include "dev/dev_test.h"

#include <string.h>

#define PM             ACPI_PM_BASE
#define HALF_PERIOD_NS 2343484438ull /* 2^23 ticks of 3.579545 MHz, rounded up */

struct fixture {
	struct test_board board;
	struct pci_bus bus;
	struct acpi_pm pm;
	struct test_line sci;
	unsigned power_offs;
};

static void on_power_off(void *opaque) { ((struct fixture *)opaque)->power_offs++; }

static void map(struct fixture *f, u16 base)
{
	pci_config_write(&f->bus, f->pm.func.devfn, 0x40, base, 4);
	pci_config_write(&f->bus, f->pm.func.devfn, 0x80, 1, 1);
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	f.bus.ports = &f.board.ports;
	f.bus.mmio = &f.board.mmio;
	f.pm.func.bus = &f.bus;
	f.pm.sci = test_irq(&f.sci);
	f.pm.power_off = on_power_off;
	f.pm.power_off_opaque = &f;
	board_add(&f.board, &f.pm.dev, &acpi_pm_type, "pm");
	map(&f, PM);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	acpi_pm_type.fini(&f->pm.dev);
	assert_int_equal(f->board.ports.count, 0);
	board_fini(&f->board);
	return 0;
}

static u32 in(struct fixture *f, unsigned offset, unsigned size)
{
	return (u32)bus_read(&f->board.ports, PM + offset, size);
}

static void out(struct fixture *f, unsigned offset, u32 value, unsigned size)
{
	bus_write(&f->board.ports, PM + offset, value, size);
}

static void enable_acpi(struct fixture *f) { out8(&f->board, 0xb2, ACPI_SMI_ENABLE); }

static void place(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pci_config_read(&f->bus, f->pm.func.devfn, 0, 4), 0x71138086);
	assert_int_equal(in(f, 4, 2), 0);
	pci_config_write(&f->bus, f->pm.func.devfn, 0x40, 0xb03f, 4);
	assert_int_equal(pci_config_read(&f->bus, f->pm.func.devfn, 0x40, 4), 0xb001);
	assert_int_equal(in(f, 4, 2), 0xffff);
	assert_int_equal(bus_read(&f->board.ports, 0xb004, 2), 0);
	pci_config_write(&f->bus, f->pm.func.devfn, 0x80, 0, 1);
	assert_int_equal(bus_read(&f->board.ports, 0xb004, 2), 0xffff);
}

static void timer_counts(void **state)
{
	struct fixture *f = *state;

	board_run_to(&f->board, 1000000000);
	assert_int_equal(in(f, 8, 4), 3579545);
	board_run_to(&f->board, 10000000000);
	assert_int_equal(in(f, 8, 4), 35795450 & 0xffffff);
	assert_int_equal(in(f, 9, 1), 35795450 >> 8 & 0xff);
	assert_int_equal(in(f, 0xb, 1), 0); /* 24 bits */
}

static void timer_overflow(void **state)
{
	struct fixture *f = *state;

	board_run_to(&f->board, HALF_PERIOD_NS - 2);
	assert_int_equal(in(f, 0, 2) & 1, 0);
	board_run_to(&f->board, HALF_PERIOD_NS);
	assert_int_equal(in(f, 0, 2) & 1, 1);
	out(f, 0, 1, 2);
	assert_int_equal(in(f, 0, 2) & 1, 0);
	/* As an interrupt: by itself, without a register being read. */
	enable_acpi(f);
	out(f, 2, 1, 2);
	assert_false(f->sci.level);
	board_run_to(&f->board, 2 * HALF_PERIOD_NS);
	assert_true(f->sci.level);
	out(f, 0, 1, 2);
	assert_false(f->sci.level);
	board_run_to(&f->board, 3 * HALF_PERIOD_NS);
	assert_true(f->sci.level);
	out(f, 2, 0, 2);
	assert_false(f->sci.level);
	assert_true(clock_next(&f->board.clock) == CLOCK_NEVER);
}

static void power_button(void **state)
{
	struct fixture *f = *state;

	acpi_pm_power_button(&f->pm);
	assert_int_equal(in(f, 0, 2), 0x100);
	assert_false(f->sci.level); /* not enabled */
	out(f, 2, 0x100, 2);
	assert_false(f->sci.level); /* SCI_EN is clear */
	enable_acpi(f);
	assert_int_equal(in(f, 4, 2) & 1, 1);
	assert_true(f->sci.level);
	out(f, 0, 0xffff, 2);
	assert_int_equal(in(f, 0, 2), 0);
	assert_false(f->sci.level);
	out8(&f->board, 0xb2, ACPI_SMI_DISABLE);
	assert_int_equal(in(f, 4, 2) & 1, 0);
	assert_int_equal(in8(&f->board, 0xb2), ACPI_SMI_DISABLE);
}

static void soft_off(void **state)
{
	struct fixture *f = *state;

	out(f, 4, 0x0001, 2);
	out(f, 4, 0x2401, 2); /* a sleep state that the board does not have */
	assert_int_equal(f->power_offs, 0);
	assert_int_equal(in(f, 4, 2), 0x0401); /* SLP_EN reads 0 */
	out(f, 4, 0x2001, 2);
	assert_int_equal(f->power_offs, 1);
	out(f, 5, 0x20, 1);
	assert_int_equal(f->power_offs, 2);
}

static void registers(void **state)
{
	struct fixture *f = *state;

	out(f, 2, 0xffff, 2);
	assert_int_equal(in(f, 2, 2), 0x521);
	out(f, 0x10, 0x12345678, 4);
	assert_int_equal(in(f, 0x10, 4), 0x12345678);
	out(f, 0x12, 0xab, 1);
	assert_int_equal(in(f, 0x10, 4), 0x12ab5678);
	assert_int_equal(in(f, 0x14, 1), 0);
	for (unsigned i = 0; i < ACPI_PM_SIZE; i++) /* every byte answers */
		in(f, i, 1);
	board_save_and_load(&f->pm.dev);
	assert_int_equal(in(f, 0x10, 4), 0x12ab5678);
	assert_int_equal(in(f, 2, 2), 0x521);
	acpi_pm_type.reset(&f->pm.dev);
	assert_int_equal(in(f, 2, 2), 0xffff); /* not mapped until programmed again */
	map(f, PM);
	assert_int_equal(in(f, 2, 2), 0);
}

static void smbus(void **state)
{
	struct fixture *f = *state;
	unsigned devfn = f->pm.func.devfn;

	pci_config_write(&f->bus, devfn, 0x90, 0x70f, 4);
	assert_int_equal(pci_config_read(&f->bus, devfn, 0x90, 4), 0x701);
	pci_config_write(&f->bus, devfn, 0xd2, 0x09, 1);
	assert_int_equal(in8(&f->board, 0x700), 0xff); /* the command register has its say too */
	pci_config_write(&f->bus, devfn, 4, 1, 2);
	assert_int_equal(in8(&f->board, 0x700), 0);
	/* A byte data read from address 50h: nobody acknowledges. */
	out8(&f->board, 0x704, 0xa1);
	out8(&f->board, 0x702, 0x49);
	assert_int_equal(in8(&f->board, 0x700), 0x01);
	assert_int_equal(in8(&f->board, 0x702), 0x09);
	board_run(&f->board, 50000);
	board_save_and_load(&f->pm.dev);
	assert_false(f->sci.level);
	board_run(&f->board, 50000);
	assert_int_equal(in8(&f->board, 0x700), 0x04);
	assert_true(f->sci.level);
	pci_config_write(&f->bus, devfn, 0xd2, 0x01, 1); /* an SMI instead */
	assert_false(f->sci.level);
	pci_config_write(&f->bus, devfn, 0xd2, 0x09, 1);
	assert_true(f->sci.level);
	out8(&f->board, 0x700, 0x1e);
	assert_int_equal(in8(&f->board, 0x700), 0);
	assert_false(f->sci.level);
	/* KILL ends one that is under way, and the block register counts through its bytes. */
	out8(&f->board, 0x702, 0x54);
	out8(&f->board, 0x702, 0x02);
	assert_int_equal(in8(&f->board, 0x700), 0x10);
	board_run(&f->board, 1000000);
	assert_int_equal(in8(&f->board, 0x700), 0x10);
	in8(&f->board, 0x702);
	for (u8 n = 0; n < 32; n++)
		out8(&f->board, 0x707, n * 3);
	in8(&f->board, 0x702);
	for (u8 n = 0; n < 33; n++)
		assert_int_equal(in8(&f->board, 0x707), n % 32 * 3);
	pci_config_write(&f->bus, devfn, 0xd2, 0, 1);
	assert_int_equal(in8(&f->board, 0x700), 0xff);
	for (u16 n = 0; n < 16; n++)
		in8(&f->board, 0x700 + n);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(place),    TEST(timer_counts), TEST(timer_overflow), TEST(power_button),
		TEST(soft_off), TEST(registers),    TEST(smbus),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("acpi_pm", tests, NULL, NULL);
}
