/* PCI through its ports: configuration mechanism 1, BARs, INTx, MSI-X. */
#include "dev/dev_test.h"
#include "dev/i440bx.h"
#include "dev/piix4.h"

#include <errno.h>
#include <string.h>

#define SLOT   5
#define IO_BAR 2

/* A function with a memory BAR of 16 KiB, MSI-X, and 32 ports. */
struct card {
	struct pci_regs regs;
	struct pci_func func;
	u64 last_offset, last_value;
};

struct fixture {
	struct test_board board;
	struct i440bx host;
	struct piix4 piix4;
	struct card card[2];
	struct test_line apic[4], isa[16];
	u64 msi_addr;
	u32 msi_data;
	unsigned msis, resets;
	bool hard;
};

static u64 card_read(void *dev, u64 offset, unsigned size) { return 0x40 + offset; }

static void card_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct card *c = dev;

	c->last_offset = offset;
	c->last_value = value;
}

static const struct bus_ops card_ops = { card_read, card_write, 4 };

static void on_msi(void *opaque, u64 addr, u32 data)
{
	struct fixture *f = opaque;

	f->msi_addr = addr;
	f->msi_data = data;
	f->msis++;
}

static void on_reset(void *opaque, bool hard)
{
	struct fixture *f = opaque;

	f->resets++;
	f->hard = hard;
}

static void add_card(struct fixture *f, unsigned n)
{
	struct card *c = &f->card[n];

	c->func.bus = &f->host.bus;
	c->func.regs = &c->regs;
	c->func.devfn = PCI_DEVFN(SLOT + n, 0);
	pci_func_init(&c->func, n ? "card1" : "card0", 0x1234, 0x5678, 0x020000, 1);
	c->func.initial[PCI_INTR_PIN] = 1;
	pci_bar_init(&c->func, 0, false, 0x4000, &card_ops, c);
	pci_msix_init(&c->func, 1, 3);
	pci_bar_init(&c->func, IO_BAR, true, 32, &card_ops, c);
	assert_int_equal(pci_add(&c->func), 0);
}

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	board_init(&f.board);
	board_add_ram(&f.board, 2 * MIB);
	for (unsigned i = 0; i < 4; i++) {
		f.host.bus.pirq[i] = (struct irq){ piix4_pirq_set, &f.piix4, i };
		f.piix4.apic[i] = test_irq(&f.apic[i]);
	}
	for (unsigned i = 0; i < 16; i++)
		f.piix4.isa[i] = test_irq(&f.isa[i]);
	f.host.bus.msi = on_msi;
	f.host.bus.msi_opaque = &f;
	f.host.reset_ops = &piix4_reset_ops;
	f.host.reset_dev = &f.piix4;
	f.piix4.func.bus = &f.host.bus;
	f.piix4.reset = on_reset;
	f.piix4.reset_opaque = &f;
	board_add(&f.board, &f.host.dev, &i440bx_type, "host");
	board_add(&f.board, &f.piix4.dev, &piix4_type, "isa");
	add_card(&f, 0);
	add_card(&f, 1);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pci_remove(&f->card[1].func);
	pci_remove(&f->card[0].func);
	piix4_type.fini(&f->piix4.dev);
	i440bx_type.fini(&f->host.dev);
	assert_int_equal(f->board.ports.count, 0);
	assert_int_equal(f->board.mmio.count, 0);
	board_fini(&f->board);
	return 0;
}

static void select_reg(struct fixture *f, unsigned slot, unsigned func, unsigned reg)
{
	bus_write(&f->board.ports, 0xcf8, 0x80000000 | slot << 11 | func << 8 | (reg & 0xfc), 4);
}

static u32 cfg_read(struct fixture *f, unsigned slot, unsigned reg, unsigned size)
{
	select_reg(f, slot, 0, reg);
	return (u32)bus_read(&f->board.ports, 0xcfc + (reg & 3), size);
}

static void cfg_write(struct fixture *f, unsigned slot, unsigned reg, u32 value, unsigned size)
{
	select_reg(f, slot, 0, reg);
	bus_write(&f->board.ports, 0xcfc + (reg & 3), value, size);
}

static void identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cfg_read(f, 0, 0, 4), 0x71908086);
	assert_int_equal(cfg_read(f, 0, 8, 4), 0x06000003);
	assert_int_equal(cfg_read(f, PIIX4_SLOT, 0, 4), 0x71108086);
	assert_int_equal(cfg_read(f, PIIX4_SLOT, 0xe, 1), 0x80);
	assert_int_equal(cfg_read(f, SLOT, 2, 2), 0x5678);
	assert_int_equal(cfg_read(f, SLOT, 1, 1), 0x12);
	assert_int_equal(cfg_read(f, 20, 0, 4), 0xffffffff); /* nobody there */
	/* Another bus, or the enable bit clear: no configuration cycle. */
	bus_write(&f->board.ports, 0xcf8, 0x80010000, 4);
	assert_int_equal(bus_read(&f->board.ports, 0xcfc, 4), 0xffffffff);
	bus_write(&f->board.ports, 0xcf8, 0, 4);
	assert_int_equal(bus_read(&f->board.ports, 0xcfc, 4), 0xffffffff);
}

static void config_address_is_a_doubleword(void **state)
{
	struct fixture *f = *state;

	bus_write(&f->board.ports, 0xcf8, 0xffffffff, 4);
	assert_int_equal(bus_read(&f->board.ports, 0xcf8, 4), 0x80fffffc);
	bus_write(&f->board.ports, 0xcf8, 0x12, 1); /* not CONFADD */
	bus_write(&f->board.ports, 0xcfa, 0x1234, 2);
	assert_int_equal(bus_read(&f->board.ports, 0xcf8, 4), 0x80fffffc);
	assert_int_equal(bus_read(&f->board.ports, 0xcf8, 1), 0xff);
}

static void read_only_bits_stay(void **state)
{
	struct fixture *f = *state;

	for (unsigned reg = 0; reg < 256; reg += 4)
		cfg_write(f, SLOT, reg, 0xffffffff, 4);
	assert_int_equal(cfg_read(f, SLOT, 0, 4), 0x56781234);
	assert_int_equal(cfg_read(f, SLOT, 4, 2), 0x547 & ~0x200);
	assert_int_equal(cfg_read(f, SLOT, 8, 4), 0x02000001);
	assert_int_equal(cfg_read(f, SLOT, 0x3c, 4), 0x1ff);
	assert_int_equal(cfg_read(f, SLOT, 0x34, 1), 0x40);
	assert_int_equal(cfg_read(f, SLOT, 0x40, 2), 0x0011);
}

static void bar_sizing_and_mapping(void **state)
{
	struct fixture *f = *state;

	cfg_write(f, SLOT, 0x10, 0xffffffff, 4);
	assert_int_equal(cfg_read(f, SLOT, 0x10, 4), 0xffffc000);
	cfg_write(f, SLOT, 0x18, 0xffffffff, 4);
	assert_int_equal(cfg_read(f, SLOT, 0x18, 4), 0xffffffe1);
	cfg_write(f, SLOT, 0x1c, 0xffffffff, 4);
	assert_int_equal(cfg_read(f, SLOT, 0x1c, 4), 0);

	cfg_write(f, SLOT, 0x10, 0xe0001000, 4); /* low bits are not there */
	cfg_write(f, SLOT, 0x18, 0xc000, 4);
	assert_int_equal(bus_read(&f->board.mmio, 0xe0000010, 1), 0xff); /* not enabled yet */
	cfg_write(f, SLOT, 4, 2, 2);
	assert_int_equal(bus_read(&f->board.mmio, 0xe0000010, 1), 0x50);
	assert_int_equal(bus_read(&f->board.ports, 0xc004, 1), 0xff);
	cfg_write(f, SLOT, 4, 3, 2);
	assert_int_equal(bus_read(&f->board.ports, 0xc004, 1), 0x44);
	bus_write(&f->board.mmio, 0xe0003ffc, 0xabcd, 2);
	assert_int_equal(f->card[0].last_offset, 0x3ffc);
	assert_int_equal(f->card[0].last_value, 0xabcd);
	/* Moving, and byte-wise at that. */
	cfg_write(f, SLOT, 0x13, 0xd0, 1);
	assert_int_equal(bus_read(&f->board.mmio, 0xe0000010, 1), 0xff);
	assert_int_equal(bus_read(&f->board.mmio, 0xd0000010, 1), 0x50);
	cfg_write(f, SLOT, 4, 0, 2);
	assert_int_equal(bus_read(&f->board.mmio, 0xd0000010, 1), 0xff);
}

static void overlapping_bars(void **state)
{
	struct fixture *f = *state;

	cfg_write(f, SLOT, 0x10, 0xe0000000, 4);
	cfg_write(f, SLOT, 0x14, 0xd0000000, 4);
	cfg_write(f, SLOT, 4, 2, 2);
	cfg_write(f, SLOT + 1, 0x10, 0xe0000000, 4);
	cfg_write(f, SLOT + 1, 0x14, 0xd8000000, 4);
	cfg_write(f, SLOT + 1, 4, 2, 2);
	bus_write(&f->board.mmio, 0xe0000000, 1, 1);
	assert_int_equal(f->card[0].last_value, 1);
	assert_int_equal(f->card[1].last_value, 0);
	/* The place becomes free: the other one gets it. */
	cfg_write(f, SLOT, 0x10, 0xe0010000, 4);
	bus_write(&f->board.mmio, 0xe0000000, 2, 1);
	assert_int_equal(f->card[0].last_value, 1);
	assert_int_equal(f->card[1].last_value, 2);
	/* Beyond the port space: not mapped, nothing breaks. */
	cfg_write(f, SLOT, 0x18, 0xfffffff0, 4);
	cfg_write(f, SLOT, 4, 3, 2);
	assert_int_equal(bus_read(&f->board.ports, 0xffe0, 1), 0xff);
}

static void intx_routing(void **state)
{
	struct fixture *f = *state;
	unsigned pirq = pci_pirq(SLOT, 0);

	cfg_write(f, PIIX4_SLOT, 0x60 + pirq, 11, 1);
	pci_intx_set(&f->card[0].func, true);
	assert_true(f->apic[pirq].level);
	assert_true(f->isa[11].level);
	assert_int_equal(cfg_read(f, SLOT, 6, 2) & 8, 8);
	cfg_write(f, SLOT, 4, 0x400, 2); /* interrupt disable */
	assert_false(f->isa[11].level);
	assert_int_equal(cfg_read(f, SLOT, 6, 2) & 8, 8);
	cfg_write(f, SLOT, 4, 0, 2);
	assert_true(f->isa[11].level);
	cfg_write(f, PIIX4_SLOT, 0x60 + pirq, 10, 1); /* moves while asserted */
	assert_false(f->isa[11].level);
	assert_true(f->isa[10].level);
	cfg_write(f, PIIX4_SLOT, 0x60 + pirq, 0x80, 1);
	assert_false(f->isa[10].level);
	assert_true(f->apic[pirq].level);
	cfg_write(f, PIIX4_SLOT, 0x60 + pirq, 0, 1); /* the timer's interrupt is out of reach */
	assert_false(f->isa[0].level);
	pci_intx_set(&f->card[0].func, false);
	assert_false(f->apic[pirq].level);
}

static void shared_isa_interrupt(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 4; i++)
		cfg_write(f, PIIX4_SLOT, 0x60 + i, 9, 1);
	pci_intx_set(&f->card[0].func, true);
	pci_intx_set(&f->card[1].func, true);
	piix4_sci_set(&f->piix4, 0, true);
	pci_intx_set(&f->card[0].func, false);
	assert_true(f->isa[9].level);
	piix4_sci_set(&f->piix4, 0, false);
	assert_true(f->isa[9].level);
	pci_intx_set(&f->card[1].func, false);
	assert_false(f->isa[9].level);
	assert_int_equal(f->isa[9].rises, 1);
}

static void msix(void **state)
{
	struct fixture *f = *state;
	struct bus *mmio = &f->board.mmio;

	cfg_write(f, SLOT, 0x14, 0xd0000000, 4);
	cfg_write(f, SLOT, 4, 6, 2);
	assert_int_equal(cfg_read(f, SLOT, 0x42, 2), 2); /* table size - 1 */
	bus_write(mmio, 0xd0000010, 0x1fee01003, 8);
	bus_write(mmio, 0xd0000018, 0x4041, 4);
	assert_int_equal(bus_read(mmio, 0xd0000010, 8), 0x1fee01000);
	assert_int_equal(bus_read(mmio, 0xd000001c, 4), 1);
	pci_msix_notify(&f->card[0].func, 1); /* MSI-X is off: nothing, and nothing pending */
	cfg_write(f, SLOT, 0x42, 0x8000, 2);
	assert_int_equal(f->msis, 0);
	pci_msix_notify(&f->card[0].func, 1); /* masked: pending */
	pci_msix_notify(&f->card[0].func, 7); /* no such vector */
	assert_int_equal(bus_read(mmio, 0xd0000800, 4), 2);
	assert_int_equal(f->msis, 0);
	cfg_write(f, SLOT, 0x42, 0xc000, 2); /* function mask */
	bus_write(mmio, 0xd000001c, 0, 4);
	assert_int_equal(f->msis, 0);
	cfg_write(f, SLOT, 0x42, 0x8000, 2);
	assert_int_equal(f->msis, 1);
	assert_int_equal(f->msi_addr, 0x1fee01000);
	assert_int_equal(f->msi_data, 0x4041);
	assert_int_equal(bus_read(mmio, 0xd0000800, 4), 0);
	/* Without the bus master bit the message waits. */
	cfg_write(f, SLOT, 4, 2, 2);
	pci_msix_notify(&f->card[0].func, 1);
	assert_int_equal(f->msis, 1);
	cfg_write(f, SLOT, 4, 6, 2);
	assert_int_equal(f->msis, 2);
	/* A write of the pending bits, beyond the table or of odd size does nothing. */
	bus_write(mmio, 0xd0000800, 0xff, 4);
	bus_write(mmio, 0xd0000ff8, 0xff, 8);
	bus_write(mmio, 0xd0000030, 0xff, 4);
	bus_write(mmio, 0xd000001c, 1, 1);
	bus_write(mmio, 0xd000001d, 1, 4);
	assert_int_equal(bus_read(mmio, 0xd000001c, 4), 0);
	assert_int_equal(f->msis, 2);
	/* INTx is silent while MSI-X is on. */
	pci_intx_set(&f->card[0].func, true);
	assert_false(f->apic[pci_pirq(SLOT, 0)].level);
	cfg_write(f, SLOT, 0x42, 0, 2);
	assert_true(f->apic[pci_pirq(SLOT, 0)].level);
}

static void reset_control(void **state)
{
	struct fixture *f = *state;

	out8(&f->board, 0xcf9, 0x04);
	assert_int_equal(f->resets, 1);
	assert_false(f->hard);
	out8(&f->board, 0xcf9, 0x06); /* RCPU was set already */
	assert_int_equal(f->resets, 1);
	out8(&f->board, 0xcf9, 0x02);
	assert_int_equal(in8(&f->board, 0xcf9), 0x02);
	out8(&f->board, 0xcf9, 0x06);
	assert_int_equal(f->resets, 2);
	assert_true(f->hard);
}

static void reset_and_load(void **state)
{
	struct fixture *f = *state;

	cfg_write(f, SLOT, 0x10, 0xe0000000, 4);
	cfg_write(f, SLOT, 4, 2, 2);
	pci_intx_set(&f->card[0].func, true);
	pci_func_reset(&f->card[0].func);
	assert_int_equal(bus_read(&f->board.mmio, 0xe0000010, 1), 0xff);
	assert_false(f->apic[pci_pirq(SLOT, 0)].level);
	assert_int_equal(cfg_read(f, SLOT, 0x10, 4), 0);
	/* Loaded: writable bits count, the others are the function's own. */
	memset(f->card[0].regs.config, 0xff, 256);
	f->card[0].regs.intx = 1;
	pci_func_loaded(&f->card[0].func);
	assert_int_equal(cfg_read(f, SLOT, 0, 4), 0x56781234);
	assert_int_equal(cfg_read(f, SLOT, 0x10, 4), 0xffffc000);
	cfg_write(f, SLOT, 0x10, 0xe0000000, 4);
	assert_int_equal(bus_read(&f->board.mmio, 0xe0000010, 1), 0x50);
	cfg_write(f, PIIX4_SLOT, 0x61, 5, 1);
	board_save_and_load(&f->piix4.dev);
	assert_int_equal(cfg_read(f, PIIX4_SLOT, 0x61, 1), 5);
	board_save_and_load(&f->host.dev);
}

/* Memory behind a BAR and an expansion ROM: windows that follow the registers. */
static void memory_bars(void **state)
{
	struct fixture *f = *state;
	struct pci_regs regs;
	struct pci_func func = { .bus = &f->host.bus, .regs = &regs, .devfn = PCI_DEVFN(9, 0) };
	struct mem *mem = &f->board.mem;
	struct mem_area *video = mem_area_new(mem, 64 * KIB, "video");
	struct mem_area *rom = mem_area_new(mem, 8 * KIB, "rom");
	u16 value = 0x1234;

	assert_non_null(video);
	assert_non_null(rom);
	rom->host[0] = 0x55;
	pci_func_init(&func, "video", 0x1234, 0x1111, 0x030000, 0);
	pci_bar_area_init(&func, 0, video);
	pci_rom_init(&func, rom);
	assert_int_equal(pci_add(&func), 0);
	cfg_write(f, 9, 0x10, 0xffffffff, 4);
	assert_int_equal(cfg_read(f, 9, 0x10, 4), 0xffff0008);
	cfg_write(f, 9, 0x30, 0xfffff800, 4);
	assert_int_equal(cfg_read(f, 9, 0x30, 4), 0xffffe000);

	cfg_write(f, 9, 0x10, 0xe0000000, 4);
	cfg_write(f, 9, 0x30, 0xe0010001, 4);
	assert_null(mem_find(mem, 0xe0000000)); /* not enabled yet */
	cfg_write(f, 9, 4, 2, 2);
	assert_true(mem_write(mem, 0xe000fffe, &value, 2));
	assert_int_equal(le_load(video->host + 0xfffe, 2), 0x1234);
	assert_ptr_equal(mem_host(mem, 0xe0010000, 0x2000), rom->host);
	assert_true(mem_find(mem, 0xe0010000)->readonly);
	cfg_write(f, 9, 0x30, 0xe0010000, 4); /* its own enable bit */
	assert_null(mem_find(mem, 0xe0010000));
	cfg_write(f, 9, 0x12, 0xd0, 1); /* moves */
	assert_null(mem_find(mem, 0xe0000000));
	assert_ptr_equal(mem_host(mem, 0xe0d00000, 1), video->host);

	/* Where memory is already it is not decoded; it comes when there is room. */
	cfg_write(f, 9, 0x10, 0, 4);
	assert_ptr_equal(mem_host(mem, 0, 1), mem->ram->host);
	cfg_write(f, 9, 0x10, 0xe0000000, 4);
	cfg_write(f, 9, 0x30, 0xe0008001, 4);
	assert_ptr_equal(mem_host(mem, 0xe0008000, 1), video->host + 0x8000);
	cfg_write(f, 9, 0x10, 0xd0000000, 4);
	assert_ptr_equal(mem_host(mem, 0xe0008000, 1), rom->host);
	cfg_write(f, 9, 4, 0, 2);
	assert_null(mem_find(mem, 0xd0000000));
	assert_null(mem_find(mem, 0xe0008000));
	memset(regs.config, 0xff, sizeof(regs.config));
	pci_func_loaded(&func);
	assert_ptr_equal(mem_host(mem, 0xffff0000, 1), video->host);
	pci_remove(&func);
	assert_null(mem_find(mem, 0xffff0000));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(identity),
		TEST(config_address_is_a_doubleword),
		TEST(read_only_bits_stay),
		TEST(bar_sizing_and_mapping),
		TEST(overlapping_bars),
		TEST(intx_routing),
		TEST(shared_isa_interrupt),
		TEST(msix),
		TEST(reset_control),
		TEST(reset_and_load),
		TEST(memory_bars),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
