/* The VGA's memory: every access against a model that works bit by bit; windows show the same bytes as registers do. */
#include "dev/vga_internal.h"
#include "dev/vga_test.h"

#include <string.h>

struct model {
	u8 plane[4][65536], latch[4];
	u8 misc, seq[5], gc[9];
};

struct target {
	unsigned plane_bits;
	u32 offset;
	bool claimed;
};

static struct target model_target(const struct model *m, u32 gpa, bool write)
{
	static const u32 base[4] = { 0xa0000, 0xa0000, 0xb0000, 0xb8000 };
	static const u32 size[4] = { 0x20000, 0x10000, 0x8000, 0x8000 };
	unsigned map = m->gc[6] >> 2 & 3;
	u32 a = gpa - base[map];
	struct target t = { 0xf, a & 0xffff, (m->misc & 2) && gpa >= base[map] && a < size[map] };

	if (m->seq[4] & 8) {
		t.plane_bits = 1u << (a & 3);
		t.offset &= 0xfffc;
		return t;
	}
	if (write ? !(m->seq[4] & 4) : m->gc[5] >> 4 & 1)
		t.plane_bits = a & 1 ? 0xa : 0x5;
	if (m->gc[6] & 2) {
		t.offset &= 0xfffe;
		t.offset |= map == 0 ? a >> 16 : m->misc & 0x20 ? 0 : 1;
	}
	return t;
}

/* One bit of one plane. */
static unsigned model_bit(const struct model *m, unsigned plane, unsigned bit, u8 value)
{
	unsigned rotate = m->gc[3] & 7, alu = m->gc[3] >> 3, mode = m->gc[5] & 3;
	unsigned cpu = value >> ((bit + rotate) % 8) & 1;
	unsigned latch = m->latch[plane] >> bit & 1;
	unsigned set = m->gc[0] >> plane & 1, mask = m->gc[8] >> bit & 1, data;

	if (mode == 1)
		return latch;
	data = mode == 2 ? value >> plane & 1 : mode == 3 || (m->gc[1] >> plane & 1) ? set : cpu;
	if (mode == 3)
		mask &= cpu;
	if (!mask)
		return latch;
	return alu == 0 ? data : alu == 1 ? data & latch : alu == 2 ? data | latch : data ^ latch;
}

static void model_write(struct model *m, u32 gpa, u8 value)
{
	struct target t = model_target(m, gpa, true);

	for (unsigned plane = 0; t.claimed && plane < 4; plane++) {
		unsigned byte = 0;

		for (unsigned bit = 0; bit < 8; bit++)
			byte |= model_bit(m, plane, bit, value) << bit;
		if (t.plane_bits & m->seq[2] & 1u << plane)
			m->plane[plane][t.offset] = (u8)byte;
	}
}

/* Reads through a window do not reach the latches. */
static u8 model_read(struct model *m, u32 gpa, bool direct)
{
	struct target t = model_target(m, gpa, false);
	unsigned plane = m->gc[4], equal = 0xff;
	u8 latch[4];

	if (!t.claimed)
		return 0xff;
	for (unsigned p = 0; p < 4; p++)
		latch[p] = m->plane[p][t.offset];
	if (!direct)
		memcpy(m->latch, latch, 4);
	if (m->gc[5] & 8) {
		for (unsigned bit = 0; bit < 8; bit++)
			for (unsigned p = 0; p < 4; p++)
				if ((m->gc[7] >> p & 1) &&
				    (latch[p] >> bit & 1) != (m->gc[2] >> p & 1))
					equal &= ~(1u << bit);
		return (u8)equal;
	}
	if (t.plane_bits != 0xf)
		plane = m->seq[4] & 8 ? gpa & 3 : (plane & 2) | (gpa & 1);
	return latch[plane];
}

static void put_seq(struct fixture *f, struct model *m, u8 n, u8 value)
{
	indexed(f, 0x3c4, n, value);
	m->seq[n] = value;
}

static void put_gc(struct fixture *f, struct model *m, u8 n, u8 value)
{
	indexed(f, 0x3ce, n, value);
	m->gc[n] = value;
}

static void put_misc(struct fixture *f, struct model *m, u8 value)
{
	outb(f, 0x3c2, value);
	m->misc = value;
}

static void put_mode(struct fixture *f, struct model *m, const struct mode_regs *mode)
{
	put_misc(f, m, mode->misc);
	for (u8 n = 0; n < 5; n++)
		put_seq(f, m, n, mode->seq[n]);
	for (u8 n = 0; n < 9; n++)
		put_gc(f, m, n, mode->gc[n]);
}

static void random_register(struct fixture *f, struct model *m)
{
	static const u8 gc_bits[9] = { 15, 15, 15, 0x1f, 3, 0x7b, 15, 15, 255 };

	switch (rnd(f) % 4) {
	case 0: put_seq(f, m, 2, rnd(f) & 15); break;
	case 1: put_seq(f, m, 4, rnd(f) & 14); break;
	case 2: {
		u8 n = (u8)(rnd(f) % 9);

		put_gc(f, m, n, rnd(f) & gc_bits[n]);
		break;
	}
	default: put_misc(f, m, (rnd(f) & 0x20) | (rnd(f) % 8 ? 3 : 1)); break;
	}
}

static void random_access(struct fixture *f, struct model *m, u32 start)
{
	unsigned size = 1u << rnd(f) % 4;
	u32 gpa = start + rnd(f) % 64;
	bool direct;

	if (gpa + size > 0xc0000)
		return;
	if (rnd(f) & 1) {
		u64 value = (u64)rnd(f) << 32 | rnd(f);

		poke(f, gpa, value, size);
		for (unsigned n = 0; n < size; n++)
			model_write(m, gpa + n, (u8)(value >> (8 * n)));
		return;
	}
	direct = mem_host(&f->board.mem, gpa, size);
	u64 got = peek(f, gpa, size);
	for (unsigned n = 0; n < size; n++)
		assert_int_equal((u8)(got >> (8 * n)), model_read(m, gpa + n, direct));
}

static void expect_same(struct fixture *f, const struct model *m)
{
	for (u32 offset = 0; offset < 65536; offset++) {
		u32 bytes = vga_fetch(&f->vga, offset);

		for (unsigned p = 0; p < 4; p++)
			if ((u8)(bytes >> (8 * p)) != m->plane[p][offset])
				fail_msg("plane %u offset %x", p, offset);
	}
}

static void as_the_model(void **state)
{
	static const struct mode_regs *const modes[] = { &mode_3, &mode_13, &mode_12, &mode_4 };
	static struct model m;
	struct fixture *f = *state;
	unsigned shown = 0, layouts = 0;

	memset(&m, 0, sizeof(m));
	for (unsigned turn = 0; turn < 4000; turn++) {
		unsigned tweaks = rnd(f) % 4;
		u32 start;

		put_mode(f, &m, modes[rnd(f) % ARRAY_LEN(modes)]);
		for (unsigned n = 0; n < tweaks; n++)
			random_register(f, &m);
		start = 0xa0000 + (rnd(f) % 4 ? (m.gc[6] & 8 ? 0x18000 : 0) + rnd(f) % 0x8000
					      : rnd(f) % 0x20000);
		for (unsigned n = 0; n < 160; n++)
			random_access(f, &m, start);
		shown += f->vga.window_shown;
		layouts |= 1u << f->vga.regs.layout;
		if (turn % 200 == 0)
			expect_same(f, &m);
	}
	expect_same(f, &m);
	assert_true(shown > 500);
	assert_int_equal(layouts, BIT(VGA_PLANAR) | BIT(VGA_CHAIN4) | BIT(VGA_TEXT));
}

/* Fills a screen, looks at it through other modes' eyes, and comes back. */
static void text_survives_a_font(void **state)
{
	struct fixture *f = *state;
	u32 v = 1;

	set_mode(f, &mode_3);
	for (u32 n = 0; n < 0x8000; n += 2)
		poke(f, TEXT_BASE + n, n * 40503u & 0xffff, 2);
	assert_true(f->vga.window_shown);
	assert_int_equal(f->vga.regs.layout, VGA_TEXT);
	/* Plane 2, as a BIOS loads it. */
	indexed(f, 0x3c4, 2, 4);
	assert_false(f->vga.window_shown);
	assert_null(mem_find(&f->board.mem, TEXT_BASE));
	indexed(f, 0x3c4, 4, 6);
	indexed(f, 0x3ce, 4, 2);
	indexed(f, 0x3ce, 5, 0);
	indexed(f, 0x3ce, 6, 4);
	for (u32 n = 0; n < 0x2000; n++)
		poke(f, GRAPH_BASE + n, v = v * 69069 + 1, 1);
	v = 1;
	for (u32 n = 0; n < 0x2000; n++)
		assert_int_equal(peek(f, GRAPH_BASE + n, 1), (u8)(v = v * 69069 + 1));
	/* Characters are in plane 0 at even offsets, attributes beside them in plane 1. */
	indexed(f, 0x3ce, 4, 0);
	assert_int_equal(peek(f, GRAPH_BASE + 0x102, 1), (u8)(0x102 * 40503u));
	indexed(f, 0x3ce, 4, 1);
	assert_int_equal(peek(f, GRAPH_BASE + 0x102, 1), (u8)(0x102 * 40503u >> 8));
	set_mode(f, &mode_3);
	for (u32 n = 0; n < 0x8000; n += 2)
		assert_int_equal(peek(f, TEXT_BASE + n, 2), n * 40503u & 0xffff);
	assert_true(f->vga.window_shown);
}

/* Bytes of chain-4 are at every fourth offset of their plane; a program that goes on without it finds them there. */
static void chain4_and_planes(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_13);
	for (u32 n = 0; n < 64000; n++)
		poke(f, GRAPH_BASE + n, n * 7 & 0xff, 1);
	assert_true(f->vga.window_shown);
	assert_int_equal(peek(f, GRAPH_BASE + 319, 1), 319 * 7 & 0xff);
	indexed(f, 0x3c4, 4, 6);
	for (u8 plane = 0; plane < 4; plane++) {
		indexed(f, 0x3ce, 4, plane);
		for (u32 n = 0; n < 400; n += 4)
			assert_int_equal(peek(f, GRAPH_BASE + n, 1), (n + plane) * 7 & 0xff);
	}
	indexed(f, 0x3c4, 2, 4);
	poke(f, GRAPH_BASE + 8, 0x99, 1);
	set_mode(f, &mode_13);
	assert_int_equal(peek(f, GRAPH_BASE + 10, 1), 0x99);
}

/* Registers that flap cost no change of windows; a guest that stays gets its window soon. */
static void windows_are_lazy(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	set_mode(f, &mode_13);
	before = f->flushes;
	for (unsigned n = 0; n < 1000; n++) {
		indexed(f, 0x3ce, 8, n & 1 ? 0xff : 0x0f);
		poke(f, GRAPH_BASE + n, n, 1);
	}
	assert_int_equal(f->flushes, before);
	for (unsigned n = 0; n < 1000; n++)
		poke(f, GRAPH_BASE + n, n, 1);
	assert_int_equal(f->flushes, before + 1);
	/* What the window does not depend on: map mask as it was, CRTC, DAC, attributes. */
	indexed(f, 0x3c4, 2, 15);
	indexed(f, 0x3d4, 12, 1);
	attr(f, 0x33, 1);
	palette(f, 1, 2, 3, 4);
	assert_int_equal(f->flushes, before + 1);
	assert_true(f->vga.window_shown);
}

static void banks(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_3);
	dispi_mode(f, 800, 600, 8, 1);
	dispi(f, 5, 3);
	for (u32 n = 0; n < 0x10000; n += 4)
		poke(f, GRAPH_BASE + n, n, 4);
	assert_true(f->vga.window_shown);
	assert_int_equal(peek(f, LFB + 0x3fffc, 4), 0xfffc);
	assert_int_equal(peek(f, LFB + 0x40000, 4), 0);
	poke(f, LFB + 0x30010, 0xabcd, 2);
	assert_int_equal(peek(f, GRAPH_BASE + 0x10, 2), 0xabcd);
	dispi(f, 5, 255);
	poke(f, GRAPH_BASE + 0xffff, 0x5a, 1);
	assert_int_equal(peek(f, LFB + 0xffffff, 1), 0x5a);
	dispi(f, 5, 256); /* no such bank */
	assert_int_equal(dispi_in(f, 5), 255);
	assert_int_equal(peek(f, TEXT_BASE, 1), 0xff);
	dispi(f, 4, 0);
	assert_int_equal(dispi_in(f, 5), 255);
	assert_int_equal(peek(f, GRAPH_BASE, 1), 0xff); /* text mode answers at B8000h */
}

/* Saved and loaded: the same bytes, whatever windows there were. */
static void state(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_3);
	for (u32 n = 0; n < 0x1000; n++)
		poke(f, TEXT_BASE + n, n * 3 & 0xff, 1);
	assert_true(f->vga.window_shown);
	board_save_and_load(&f->vga.dev);
	assert_false(f->vga.window_shown);
	for (u32 n = 0; n < 0x1000; n++)
		assert_int_equal(peek(f, TEXT_BASE + n, 1), n * 3 & 0xff);
	assert_true(f->vga.window_shown);
	vga_type.reset(&f->vga.dev);
	assert_null(mem_find(&f->board.mem, TEXT_BASE));
	assert_null(mem_find(&f->board.mem, LFB));
	assert_int_equal(bus_read(&f->board.mmio, TEXT_BASE, 1), 0xff);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(as_the_model),
		TEST(text_survives_a_font),
		TEST(chain4_and_planes),
		TEST(windows_are_lazy),
		TEST(banks),
		TEST(state),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vga memory", tests, NULL, NULL);
}
