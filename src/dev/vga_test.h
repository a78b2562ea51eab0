/* A VGA on a PCI bus of its own, and the standard modes' registers. */
#ifndef DEV_VGA_TEST_H
#define DEV_VGA_TEST_H

#include "dev/dev_test.h"
#include "dev/vga.h"

#include <stdlib.h>

#define LFB        0xe0000000u
#define MMIO       0xd0000000u
#define ROM        0xd8000000u
#define TEXT_BASE  0xb8000u
#define GRAPH_BASE 0xa0000u

struct fixture {
	struct test_board board;
	struct pci_bus bus;
	struct vga vga;
	u64 seed;
	unsigned flushes; /* changes of windows */
};

struct mode_regs {
	u8 misc, seq[5], crtc[25], gc[9], attr[21];
};

/* IBM VGA, BIOS modes; pixel n of 16-colour modes is attribute palette entry n. */
static const struct mode_regs mode_3 = {
	0x67,
	{ 0x03, 0x00, 0x03, 0x00, 0x02 },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
	  0x00, 0x00, 0x50, 0x9c, 0x0e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff },
	{ 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff },
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x0c, 0x00, 0x0f, 0x08, 0x00 },
};
static const struct mode_regs mode_4 = {
	0x63,
	{ 0x03, 0x09, 0x03, 0x00, 0x02 },
	{ 0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x9c, 0x0e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff },
	{ 0x00, 0x00, 0x00, 0x00, 0x00, 0x30, 0x0f, 0x0f, 0xff },
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x01, 0x00, 0x03, 0x00, 0x00 },
};
static const struct mode_regs mode_6 = {
	0x63,
	{ 0x03, 0x01, 0x01, 0x00, 0x06 },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x9c, 0x0e, 0x8f, 0x28, 0x00, 0x96, 0xb9, 0xc2, 0xff },
	{ 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0d, 0x0f, 0xff },
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x01, 0x00, 0x01, 0x00, 0x00 },
};
static const struct mode_regs mode_0d = {
	0x63,
	{ 0x03, 0x09, 0x0f, 0x00, 0x06 },
	{ 0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc0, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x9c, 0x0e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xe3, 0xff },
	{ 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x0f, 0xff },
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x01, 0x00, 0x0f, 0x00, 0x00 },
};
static const struct mode_regs mode_12 = {
	0xe3,
	{ 0x03, 0x01, 0x0f, 0x00, 0x06 },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0xea, 0x0c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff },
	{ 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x0f, 0xff },
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x01, 0x00, 0x0f, 0x00, 0x00 },
};
static const struct mode_regs mode_13 = {
	0x63,
	{ 0x03, 0x01, 0x0f, 0x00, 0x0e },
	{ 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0x00, 0x00, 0x00,
	  0x00, 0x00, 0x00, 0x9c, 0x0e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff },
	{ 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x05, 0x0f, 0xff },
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x41, 0x00, 0x0f, 0x00, 0x00 },
};

static inline u32 rnd(struct fixture *f) { return (u32)(test_random(&f->seed) >> 16); }

static inline void on_mem_changed(void *opaque) { ((struct fixture *)opaque)->flushes++; }

static inline u8 inb(struct fixture *f, u16 port) { return in8(&f->board, port); }

static inline void outb(struct fixture *f, u16 port, u8 value) { out8(&f->board, port, value); }

static inline void indexed(struct fixture *f, u16 port, u8 index, u8 value)
{
	bus_write(&f->board.ports, port, (u64)value << 8 | index, 2);
}

static inline u8 indexed_in(struct fixture *f, u16 port, u8 index)
{
	outb(f, port, index);
	return inb(f, port + 1);
}

static inline void attr(struct fixture *f, u8 index, u8 value)
{
	inb(f, 0x3da);
	outb(f, 0x3c0, index);
	outb(f, 0x3c0, value);
}

static inline void dispi(struct fixture *f, u16 index, u16 value)
{
	bus_write(&f->board.ports, 0x1ce, index, 2);
	bus_write(&f->board.ports, 0x1cf, value, 2);
}

static inline u16 dispi_in(struct fixture *f, u16 index)
{
	bus_write(&f->board.ports, 0x1ce, index, 2);
	return (u16)bus_read(&f->board.ports, 0x1cf, 2);
}

static inline void dispi_mode(struct fixture *f, u16 width, u16 height, u16 bpp, u16 enable)
{
	dispi(f, 4, 0);
	dispi(f, 1, width);
	dispi(f, 2, height);
	dispi(f, 3, bpp);
	dispi(f, 4, enable);
}

static inline void palette(struct fixture *f, u8 index, u8 r, u8 g, u8 b)
{
	outb(f, 0x3c8, index);
	outb(f, 0x3c9, r);
	outb(f, 0x3c9, g);
	outb(f, 0x3c9, b);
}

static inline void set_mode(struct fixture *f, const struct mode_regs *m)
{
	dispi(f, 4, 0);
	outb(f, 0x3c2, m->misc);
	for (u8 n = 0; n < 5; n++)
		indexed(f, 0x3c4, n, m->seq[n]);
	indexed(f, 0x3d4, 0x11, 0);
	for (u8 n = 0; n < 25; n++)
		indexed(f, 0x3d4, n, m->crtc[n]);
	for (u8 n = 0; n < 9; n++)
		indexed(f, 0x3ce, n, m->gc[n]);
	for (u8 n = 0; n < 21; n++)
		attr(f, n, m->attr[n]);
	inb(f, 0x3da);
	outb(f, 0x3c0, 0x20);
}

/* As a CPU: a window if there is one, else the bus. */
static inline void poke(struct fixture *f, gpa_t gpa, u64 value, unsigned size)
{
	if (!mem_write(&f->board.mem, gpa, &value, size))
		bus_write(&f->board.mmio, gpa, value, size);
}

static inline u64 peek(struct fixture *f, gpa_t gpa, unsigned size)
{
	u64 value = 0;

	return mem_read(&f->board.mem, gpa, &value, size) ? value
							  : bus_read(&f->board.mmio, gpa, size);
}

static inline void cfg(struct fixture *f, unsigned reg, u32 value)
{
	pci_config_write(&f->bus, f->vga.func.devfn, reg, value, 4);
}

static inline int setup(void **state)
{
	static struct fixture f;
	static const u8 rom[5000] = { 0x55, 0xaa, 10, [4999] = 0x77 };

	memset(&f, 0, sizeof(f));
	f.seed = TEST_SEED;
	board_init(&f.board);
	board_add_ram(&f.board, 2 * MIB);
	f.board.mem.changed = on_mem_changed;
	f.board.mem.opaque = &f;
	f.bus = (struct pci_bus){ .ports = &f.board.ports,
				  .mmio = &f.board.mmio,
				  .mem = &f.board.mem };
	f.vga.func.bus = &f.bus;
	f.vga.func.devfn = PCI_DEVFN(2, 0);
	f.vga.rom = rom;
	f.vga.rom_size = sizeof(rom);
	board_add(&f.board, &f.vga.dev, &vga_type, "vga");
	cfg(&f, PCI_BAR0, LFB);
	cfg(&f, PCI_BAR0 + 8, MMIO);
	cfg(&f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	for (unsigned n = 0; n < 256; n++)
		palette(&f, (u8)n, (u8)n & 63, (u8)(n * 7) & 63, (u8)(n * 29 >> 2) & 63);
	*state = &f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	vga_type.fini(&f->vga.dev);
	assert_int_equal(f->board.ports.count, 0);
	assert_int_equal(f->board.mmio.count, 0);
	board_fini(&f->board);
	return 0;
}

/* The DAC's colour as pixels have it. */
static inline u32 color(struct fixture *f, unsigned index)
{
	const u8 *c = f->vga.regs.palette[index];
	u32 rgb = 0;

	for (unsigned n = 0; n < 3; n++)
		rgb = rgb << 8 | (u8)(c[n] << 2 | c[n] >> 4);
	return rgb;
}

#endif
