/* The VGA's registers: ports, BARs, the extensions' rules, time. */
#include "dev/vga_internal.h"
#include "dev/vga_test.h"

#include <string.h>

static void identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pci_config_read(&f->bus, 16, 0, 4), 0x11111234);
	assert_int_equal(pci_config_read(&f->bus, 16, 8, 4) >> 8, 0x030000);
	cfg(f, PCI_BAR0, 0xffffffff);
	assert_int_equal(pci_config_read(&f->bus, 16, PCI_BAR0, 4), 0xff000008);
	cfg(f, PCI_ROM_BASE, 0xfffffffe);
	assert_int_equal(pci_config_read(&f->bus, 16, PCI_ROM_BASE, 4), 0xffffe000);
	cfg(f, PCI_ROM_BASE, ROM | 1);
	assert_int_equal(peek(f, ROM, 2), 0xaa55);
	assert_int_equal(peek(f, ROM + 4999, 2), 0x77);
	cfg(f, PCI_ROM_BASE, ROM);
	assert_null(mem_find(&f->board.mem, ROM));
}

/* Value written to every register, value read. */
static void register_bits(void **state)
{
	static const u8 seq[5] = { 3, 0x3d, 15, 0x3f, 14 };
	static const u8 gc[9] = { 15, 15, 15, 31, 3, 0x7b, 15, 15, 255 };
	struct fixture *f = *state;

	outb(f, 0x3c2, 0x67);
	for (u8 n = 0; n < 16; n++) {
		indexed(f, 0x3c4, n, 0xff);
		indexed(f, 0x3ce, n, 0xff);
		assert_int_equal(indexed_in(f, 0x3c4, n), n < 5 ? seq[n] : 0);
		assert_int_equal(indexed_in(f, 0x3ce, n), n < 9 ? gc[n] : 0);
	}
	for (u8 n = 0; n < 0x20; n++) {
		attr(f, n, 0xff);
		inb(f, 0x3da);
		outb(f, 0x3c0, n);
		assert_int_equal(inb(f, 0x3c1), n < 16    ? 0x3f
						: n == 16 ? 0xef
						: n == 17 ? 0xff
						: n == 18 ? 0x3f
						: n < 21  ? 0x0f
							  : 0);
	}
	assert_int_equal(inb(f, 0x3cc), 0x67);
	outb(f, 0x3da, 3);
	assert_int_equal(inb(f, 0x3ca), 3);
	assert_int_equal(inb(f, 0x3c2) & 0x10, 0x10);
}

static void crtc_protection(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x3c2, 0x67);
	for (u8 n = 0; n < 25; n++)
		indexed(f, 0x3d4, n, 0x55);
	indexed(f, 0x3d4, 0x11, 0x80);
	for (u8 n = 0; n < 25; n++)
		if (n != 0x11)
			indexed(f, 0x3d4, n, 0xaa);
	for (u8 n = 0; n < 7; n++)
		assert_int_equal(indexed_in(f, 0x3d4, n), 0x55);
	assert_int_equal(indexed_in(f, 0x3d4, 7), 0x45); /* line compare is not protected */
	assert_int_equal(indexed_in(f, 0x3d4, 8), 0xaa);
	indexed(f, 0x3d4, 0x11, 0);
	indexed(f, 0x3d4, 0, 0xaa);
	assert_int_equal(indexed_in(f, 0x3d4, 0), 0xaa);
	assert_int_equal(indexed_in(f, 0x3d4, 0x40 | 1), 0x55); /* five bits of index */
}

/* Colour or monochrome addresses. */
static void two_places(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x3c2, 0x66);
	indexed(f, 0x3b4, 12, 0x5a);
	assert_int_equal(indexed_in(f, 0x3b4, 12), 0x5a);
	assert_int_equal(inb(f, 0x3d5), 0xff);
	indexed(f, 0x3d4, 12, 0x11);
	assert_int_equal(inb(f, 0x3da), 0xff);
	outb(f, 0x3c2, 0x67);
	assert_int_equal(inb(f, 0x3b5), 0xff);
	assert_int_equal(indexed_in(f, 0x3d4, 12), 0x5a);
}

static void attribute_flip_flop(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x3c2, 0x67);
	inb(f, 0x3da);
	outb(f, 0x3c0, 0x21);
	outb(f, 0x3c0, 0x15);
	outb(f, 0x3c0, 0x02);
	inb(f, 0x3da);
	outb(f, 0x3c0, 0x01); /* an index, not the data of 2 */
	assert_int_equal(inb(f, 0x3c0), 1);
	assert_int_equal(inb(f, 0x3c1), 0x15);
	inb(f, 0x3c1);
	outb(f, 0x3c0, 0x0a); /* reads do not flip */
	assert_int_equal(inb(f, 0x3c1), 0x0a);
}

static void dac(void **state)
{
	struct fixture *f = *state;

	palette(f, 254, 1, 2, 0xff);
	outb(f, 0x3c9, 4);
	outb(f, 0x3c9, 5);
	outb(f, 0x3c9, 6);
	outb(f, 0x3c9, 7); /* the first part of entry 0 again: nothing yet */
	assert_int_equal(inb(f, 0x3c7), 0);
	outb(f, 0x3c7, 254);
	assert_int_equal(inb(f, 0x3c7), 3);
	assert_int_equal(inb(f, 0x3c9), 1);
	assert_int_equal(inb(f, 0x3c9), 2);
	assert_int_equal(inb(f, 0x3c9), 0x3f);
	assert_int_equal(inb(f, 0x3c9), 4);
	assert_int_equal(inb(f, 0x3c9), 5);
	assert_int_equal(inb(f, 0x3c9), 6);
	assert_int_equal(inb(f, 0x3c9), 0);
	/* Eight bits: colours stay what they are. */
	dispi(f, 4, 0x20);
	outb(f, 0x3c7, 254);
	assert_int_equal(inb(f, 0x3c9), 4);
	assert_int_equal(inb(f, 0x3c9), 8);
	assert_int_equal(inb(f, 0x3c9), 0xfc);
	palette(f, 1, 0xff, 0x80, 0x03);
	dispi(f, 4, 0);
	outb(f, 0x3c7, 1);
	assert_int_equal(inb(f, 0x3c9), 0x3f);
	assert_int_equal(inb(f, 0x3c9), 0x20);
	assert_int_equal(inb(f, 0x3c9), 0);
}

/* Mode 3: 900 dots at 28.322 MHz, 449 lines of which 400 are shown, the retrace from 412 to 413. */
static void retrace(void **state)
{
	struct fixture *f = *state;
	u64 line_ns = 900ull * 1000000000 / 28322000, frame_ns = 449 * line_ns;
	unsigned shown = 0, blank = 0, vertical = 0;
	u64 frames;
	bool ignored;

	set_mode(f, &mode_3);
	for (unsigned n = 0; n < 449 * 10; n++) {
		u8 status = inb(f, 0x3da);

		board_run(&f->board, line_ns / 10);
		vertical += status >> 3 & 1;
		blank += status & 1;
		shown += !(status & 1);
	}
	assert_in_range(vertical, 15, 25);
	assert_in_range(shown, 400 * 79 / 10, 400 * 81 / 10);
	assert_int_equal(shown + blank, 4490);
	frames = vga_frames(&f->vga, &ignored, &ignored);
	board_run(&f->board, 700 * frame_ns);
	assert_in_range(vga_frames(&f->vga, &ignored, &ignored) - frames, 699, 701);
	/* No sensible timing: the bits still change. */
	indexed(f, 0x3d4, 0x11, 0);
	for (u8 n = 0; n < 25; n++)
		indexed(f, 0x3d4, n, n == 6 || n == 7 ? 0 : 0xff);
	vertical = 0;
	for (unsigned n = 0; n < 2000; n++) {
		board_run(&f->board, 10000);
		vertical += inb(f, 0x3da) >> 3 & 1;
	}
	assert_in_range(vertical, 1, 200);
}

static void dispi_rules(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_3);
	assert_int_equal(dispi_in(f, 0), 0xb0c5);
	dispi(f, 0, 0xb0c2);
	assert_int_equal(dispi_in(f, 0), 0xb0c2);
	dispi(f, 0, 0xb0c6);
	assert_int_equal(dispi_in(f, 0), 0xb0c2);
	assert_int_equal(dispi_in(f, 10), 256);
	assert_int_equal(dispi_in(f, 11), 0);
	assert_int_equal(dispi_in(f, 0xffff), 0);
	dispi(f, 4, 2);
	assert_int_equal(dispi_in(f, 1), SCREEN_MAX_WIDTH);
	assert_int_equal(dispi_in(f, 2), SCREEN_MAX_HEIGHT);
	assert_int_equal(dispi_in(f, 3), 32);
	dispi_mode(f, 800, 600, 16, 0x41);
	assert_int_equal(dispi_in(f, 4), 0x41);
	assert_int_equal(dispi_in(f, 6), 800);
	assert_int_equal(dispi_in(f, 7), VGA_MEMORY / 1600);
	dispi(f, 1, 640); /* not while it is on */
	assert_int_equal(dispi_in(f, 1), 800);
	dispi(f, 6, 1024);
	assert_int_equal(dispi_in(f, 6), 1024);
	assert_int_equal(dispi_in(f, 7), VGA_MEMORY / 2048);
	dispi(f, 6, 0xffff); /* too few lines would be left */
	assert_int_equal(dispi_in(f, 6), 1024);
	dispi(f, 8, 300);
	assert_int_equal(dispi_in(f, 8), 224);
	dispi(f, 9, 0xffff);
	assert_int_equal(dispi_in(f, 9), VGA_MEMORY / 2048 - 600);
	dispi(f, 6, 10);
	assert_int_equal(dispi_in(f, 6), 800);
	assert_int_equal(dispi_in(f, 8), 0);
}

static void dispi_refuses(void **state)
{
	static const u16 modes[][3] = {
		{ 0, 600, 8 },      { 800, 0, 8 },     { 800, 600, 0 },
		{ 800, 600, 12 },   { 2561, 600, 8 },  { 800, 1601, 8 },
		{ 0xffff, 600, 8 }, { 800, 600, 256 }, { 65535, 65535, 32 }
	};
	struct fixture *f = *state;

	for (unsigned n = 0; n < ARRAY_LEN(modes); n++) {
		dispi_mode(f, modes[n][0], modes[n][1], modes[n][2], 0x41);
		assert_int_equal(dispi_in(f, 4), 0x40);
	}
	dispi_mode(f, SCREEN_MAX_WIDTH, SCREEN_MAX_HEIGHT, 32, 0x41);
	assert_int_equal(dispi_in(f, 4), 0x41);
}

static void clearing(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_3);
	poke(f, LFB + 4 * 640 * 480 - 4, 0x11111111, 8);
	dispi_mode(f, 640, 480, 32, 0xc1);
	assert_int_equal(peek(f, LFB + 4 * 640 * 480 - 4, 8), 0x11111111);
	dispi(f, 4, 0x41); /* it is on already */
	assert_int_equal(peek(f, LFB + 4 * 640 * 480 - 4, 8), 0x11111111);
	poke(f, LFB + 4 * 640 * 480, 0x22222222, 4);
	dispi_mode(f, 640, 480, 32, 0x41);
	assert_int_equal(peek(f, LFB + 4 * 640 * 480 - 4, 8), 0x2222222200000000);
}

/* BAR2: the same registers. */
static void mmio_registers(void **state)
{
	struct fixture *f = *state;
	struct bus *mmio = &f->board.mmio;
	u8 sum = 0, edid[128];

	bus_write(mmio, MMIO + 0x402, 0x67, 1);
	assert_int_equal(inb(f, 0x3cc), 0x67);
	bus_write(mmio, MMIO + 0x414, 0x5a0c, 2);
	assert_int_equal(bus_read(mmio, MMIO + 0x414, 2), 0x5a0c);
	assert_int_equal(indexed_in(f, 0x3d4, 12), 0x5a);
	bus_write(mmio, MMIO + 0x502, 640, 2);
	bus_write(mmio, MMIO + 0x504, 32 << 16 | 480, 4);
	bus_write(mmio, MMIO + 0x508, 0x41, 2);
	assert_int_equal(dispi_in(f, 1), 640);
	assert_int_equal(dispi_in(f, 3), 32);
	assert_int_equal(dispi_in(f, 4), 0x41);
	assert_int_equal(bus_read(mmio, MMIO + 0x500, 4), 640 << 16 | 0xb0c5);
	bus_write(mmio, MMIO + 0x503, 0x55, 1); /* words only */
	assert_int_equal(bus_read(mmio, MMIO + 0x502, 2), 640);
	assert_int_equal(bus_read(mmio, MMIO + 0xffc, 4), 0);
	for (unsigned n = 0; n < sizeof(edid); n++)
		sum = (u8)(sum + (edid[n] = (u8)bus_read(mmio, MMIO + n, 1)));
	assert_int_equal(sum, 0);
	assert_int_equal(le_load(edid, 8), 0x00ffffffffffff00);
	assert_int_equal(edid[54 + 2] | (edid[54 + 4] & 0xf0) << 4, 1024);
	assert_int_equal(edid[54 + 5] | (edid[54 + 7] & 0xf0) << 4, 768);
}

/* Any registers, any state, any memory: pictures stay within their limits. Sanitizers see the rest. */
static void hostile(void **state)
{
	static const u8 favourites[] = { 0, 1, 0xff, 0x80, 0x7f };
	struct fixture *f = *state;
	struct screen_rect rects[SCREEN_RECTS];
	static struct screen_text text;
	struct screen *s = &f->vga.screen;
	unsigned texts = 0, dispis = 0, large = 0;

	for (unsigned turn = 0; turn < 400; turn++) {
		u8 *regs = (u8 *)&f->vga.regs;

		if (turn % 3 == 0) {
			for (size_t n = sizeof(f->vga.regs.pci); n < sizeof(f->vga.regs); n++)
				regs[n] = (u8)rnd(f);
			f->vga.regs.dispi[DISPI_ENABLE] &= rnd(f) & 1 ? 0xffff : 0xfffe;
			f->vga.regs.dispi[DISPI_BPP] = rnd(f) % 34;
			f->vga.regs.dispi[DISPI_XRES] %= 2600;
			f->vga.regs.dispi[DISPI_YRES] %= 1650;
			vga_type.loaded(&f->vga.dev);
		}
		for (unsigned n = 0; n < 200; n++) {
			u16 port = (u16)(0x3b0 + rnd(f) % 0x30);
			u8 value = rnd(f) & 1 ? (u8)rnd(f) : favourites[rnd(f) % 5];

			if (rnd(f) % 8 == 0)
				dispi(f, rnd(f) % 11, rnd(f) & 1 ? (u16)rnd(f) : rnd(f) % 40);
			else if (rnd(f) & 1)
				bus_write(&f->board.ports, port, rnd(f), 2);
			else
				outb(f, port, value);
			inb(f, (u16)(0x3b0 + rnd(f) % 0x30));
			poke(f, GRAPH_BASE + rnd(f) % 0x1fff0, rnd(f), 8);
			peek(f, GRAPH_BASE + rnd(f) % 0x1fff0, 8);
		}
		f->vga.regs.attr_index |= 0x20;
		f->vga.regs.seq[0] = 3;
		board_run(&f->board, rnd(f));
		assert_in_range(s->update(s, rects), 0, SCREEN_RECTS);
		assert_in_range(s->width, 1, SCREEN_MAX_WIDTH);
		assert_in_range(s->height, 1, SCREEN_MAX_HEIGHT);
		dispis += vga_dispi_on(&f->vga.regs);
		large += s->width > 1000 && s->height > 500;
		if (s->text(s, &text)) {
			texts++;
			assert_in_range(text.cols, 1, SCREEN_MAX_COLS);
			assert_in_range(text.rows, 1, SCREEN_MAX_ROWS);
		}
	}
	assert_true(texts > 10 && dispis > 10 && large > 10);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(identity),   TEST(register_bits),       TEST(crtc_protection),
		TEST(two_places), TEST(attribute_flip_flop), TEST(dac),
		TEST(retrace),    TEST(dispi_rules),         TEST(dispi_refuses),
		TEST(clearing),   TEST(mmio_registers),      TEST(hostile),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vga", tests, NULL, NULL);
}
