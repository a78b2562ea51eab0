/* What the VGA shows: text, planes, packed pixels, the extensions' modes; and that damage is what has changed. */
#include "dev/vga_test.h"

#include <string.h>

static u32 pixel(struct fixture *f, u32 x, u32 y)
{
	struct screen *s = &f->vga.screen;

	assert_true(x < s->width && y < s->height);
	return s->pixels[y * s->width + x];
}

static unsigned refresh(struct fixture *f)
{
	struct screen_rect rects[SCREEN_RECTS];

	return f->vga.screen.update(&f->vga.screen, rects);
}

static void expect_size(struct fixture *f, u32 width, u32 height)
{
	refresh(f);
	assert_int_equal(f->vga.screen.width, width);
	assert_int_equal(f->vga.screen.height, height);
}

/* Loads a glyph as BIOSes do: plane 2, no odd/even, at A0000h; then back to text. */
static void load_glyph(struct fixture *f, unsigned font_at, u8 c, const u8 rows[16])
{
	indexed(f, 0x3c4, 2, 4);
	indexed(f, 0x3c4, 4, 6);
	indexed(f, 0x3ce, 5, 0);
	indexed(f, 0x3ce, 6, 4);
	for (unsigned n = 0; n < 16; n++)
		poke(f, GRAPH_BASE + font_at + c * 32u + n, rows[n], 1);
	indexed(f, 0x3c4, 2, 3);
	indexed(f, 0x3c4, 4, 2);
	indexed(f, 0x3ce, 5, 0x10);
	indexed(f, 0x3ce, 6, 0x0e);
}

static const u8 glyph[16] = { 0x81, 0x42, 0x24, 0x18, 0xff, 0x00, 0x0f, 0xf0,
			      0xaa, 0x55, 0x01, 0x80, 0x3c, 0xc3, 0x7e, 0xe7 };

/* Checks a character cell dot by dot. */
static void expect_cell(struct fixture *f, unsigned col, unsigned row, const u8 rows[16], u32 fg,
			u32 bg, bool ninth)
{
	for (unsigned y = 0; y < 16; y++)
		for (unsigned x = 0; x < 9; x++) {
			bool set = x < 8 ? rows[y] >> (7 - x) & 1 : ninth && (rows[y] & 1);

			assert_int_equal(pixel(f, col * 9 + x, row * 16 + y), set ? fg : bg);
		}
}

static void text_screen(void **state)
{
	struct fixture *f = *state;
	static struct screen_text text;

	set_mode(f, &mode_3);
	load_glyph(f, 0, 'A', glyph);
	load_glyph(f, 0, 0xc4, glyph);
	for (unsigned n = 0; n < 80 * 25; n++)
		poke(f, TEXT_BASE + 2 * n, 0x0720, 2);
	poke(f, TEXT_BASE + 2 * (3 * 80 + 5), 0x1e41, 2);
	poke(f, TEXT_BASE + 2 * (24 * 80 + 79), 0x42c4, 2);
	indexed(f, 0x3d4, 14, 0);
	indexed(f, 0x3d4, 15, 71);
	expect_size(f, 720, 400);
	expect_cell(f, 5, 3, glyph, color(f, 14), color(f, 1), false);
	expect_cell(f, 79, 24, glyph, color(f, 2), color(f, 4), true);
	/* The cursor: lines 13 and 14, in the foreground colour. */
	assert_int_equal(pixel(f, 71 * 9 + 8, 14), color(f, 7));
	assert_int_equal(pixel(f, 71 * 9 + 8, 12), color(f, 0));
	assert_true(f->vga.screen.text(&f->vga.screen, &text));
	assert_int_equal(text.cols, 80);
	assert_int_equal(text.rows, 25);
	assert_int_equal(text.chars[3][5], 'A');
	assert_int_equal(text.attributes[3][5], 0x1e);
	assert_int_equal(text.chars[24][79], 0xc4);
	assert_true(text.cursor);
	assert_int_equal(text.cursor_col, 71);
	assert_int_equal(text.cursor_row, 0);
}

/* Two fonts, by bit 3 of the attribute; 8-dot characters; no blinking, bright backgrounds. */
static void fonts(void **state)
{
	struct fixture *f = *state;
	static const u8 full[16] = { [0 ... 15] = 0xff };

	set_mode(f, &mode_3);
	load_glyph(f, 0, 'A', glyph);
	load_glyph(f, 0xe000, 'A', full); /* map 7 */
	indexed(f, 0x3c4, 3, 0x2c);       /* A: 7, B: 0 */
	indexed(f, 0x3c4, 1, 1);
	attr(f, 0x30, 0x04);
	poke(f, TEXT_BASE, 0x9741, 2);
	poke(f, TEXT_BASE + 2, 0x1941, 2);
	expect_size(f, 640, 400);
	for (unsigned x = 0; x < 8; x++) {
		bool set = glyph[2] >> (7 - x) & 1;

		assert_int_equal(pixel(f, x, 2), color(f, set ? 7 : 9));
		assert_int_equal(pixel(f, 8 + x, 2), color(f, 9));
	}
}

static void blinking(void **state)
{
	struct fixture *f = *state;
	u64 line_ns = 900ull * 1000000000 / 28322000, frame_ns = 449 * line_ns;
	unsigned cursor = 0, chars = 0;

	set_mode(f, &mode_3);
	load_glyph(f, 0, 'A', glyph);
	poke(f, TEXT_BASE, 0x07209741, 4);
	indexed(f, 0x3d4, 15, 1);
	for (unsigned n = 0; n < 64; n++) {
		board_run(&f->board, frame_ns);
		refresh(f);
		chars += pixel(f, 0, 4) == color(f, 7);
		cursor += pixel(f, 10, 13) != 0;
		assert_int_equal(pixel(f, 0, 5), color(f, 1));
	}
	assert_in_range(chars, 28, 36);
	assert_in_range(cursor, 28, 36);
	indexed(f, 0x3d4, 10, 0x2d); /* off */
	for (unsigned n = 0; n < 16; n++) {
		board_run(&f->board, frame_ns);
		refresh(f);
		assert_int_equal(pixel(f, 10, 13), 0);
	}
}

static void mode_13h(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_13);
	for (u32 n = 0; n < 64000; n++)
		poke(f, GRAPH_BASE + n, n * 31 >> 3 & 0xff, 1);
	expect_size(f, 640, 400);
	for (u32 y = 0; y < 400; y++)
		for (u32 x = 0; x < 640; x++)
			assert_int_equal(pixel(f, x, y),
					 color(f, (y / 2 * 320 + x / 2) * 31 >> 3 & 0xff));
	outb(f, 0x3c6, 0x0f);
	refresh(f);
	assert_int_equal(pixel(f, 639, 399), color(f, 63999 * 31 >> 3 & 0x0f));
}

/* Mode X: four planes of 64 KiB, pages by the start address. */
static void mode_x(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_13);
	indexed(f, 0x3c4, 4, 6);
	indexed(f, 0x3d4, 0x14, 0);
	indexed(f, 0x3d4, 0x17, 0xe3);
	for (u8 plane = 0; plane < 4; plane++) {
		indexed(f, 0x3c4, 2, 1u << plane);
		for (u32 n = 0; n < 80 * 200; n++)
			poke(f, GRAPH_BASE + 0x8000 + n, n * 5 + plane * 50, 1);
	}
	indexed(f, 0x3d4, 12, 0x80);
	expect_size(f, 640, 400);
	for (u32 y = 0; y < 400; y += 3)
		for (u32 x = 0; x < 640; x++)
			assert_int_equal(pixel(f, x, y),
					 color(f,
					       ((y / 2 * 80 + x / 8) * 5 + x / 2 % 4 * 50) & 0xff));
}

static unsigned planes_at(u32 x, u32 y) { return (x * 3 + y * 5 + (x ^ y)) & 15; }

/* Draws planes_at into a screen of `pitch` bytes a line, dot by dot. */
static void draw_planes(struct fixture *f, u32 width, u32 height, u32 pitch)
{
	for (u8 plane = 0; plane < 4; plane++) {
		indexed(f, 0x3c4, 2, 1u << plane);
		for (u32 y = 0; y < height; y++)
			for (u32 x = 0; x < width; x += 8) {
				unsigned byte = 0;

				for (u32 n = 0; n < 8; n++)
					byte = byte << 1 | (planes_at(x + n, y) >> plane & 1);
				poke(f, GRAPH_BASE + y * pitch + x / 8, byte, 1);
			}
	}
}

static void mode_12h(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_12);
	draw_planes(f, 640, 480, 80);
	expect_size(f, 640, 480);
	for (u32 y = 0; y < 480; y++)
		for (u32 x = 0; x < 640; x++)
			assert_int_equal(pixel(f, x, y), color(f, planes_at(x, y)));
	/* Color select, plane enable. */
	attr(f, 0x32, 0x07);
	attr(f, 0x34, 0x0c);
	attr(f, 0x33, 5); /* panning */
	refresh(f);
	assert_int_equal(pixel(f, 3, 7), color(f, 0xc0 | (planes_at(8, 7) & 7)));
	/* Split: the second part starts at offset 0, here without panning. */
	attr(f, 0x30, 0x21);
	indexed(f, 0x3d4, 0x0c, 0x20);
	indexed(f, 0x3d4, 0x18, 99);
	indexed(f, 0x3d4, 0x07, 0x2e);
	indexed(f, 0x3d4, 0x09, 0);
	refresh(f);
	assert_int_equal(pixel(f, 8, 100), color(f, 0xc0 | (planes_at(8, 0) & 7)));
	assert_int_equal(pixel(f, 9, 105), color(f, 0xc0 | (planes_at(9, 5) & 7)));
	assert_int_equal(pixel(f, 3, 99),
			 color(f, 0xc0 | (planes_at((0x2000 + 99 * 80) % 80 * 8 + 8,
						    (0x2000 + 99 * 80) / 80) &
					  7)));
}

/* Half the dot clock: dots are two wide. */
static void mode_0dh(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_0d);
	draw_planes(f, 320, 200, 40);
	expect_size(f, 640, 400);
	for (u32 y = 0; y < 400; y++)
		for (u32 x = 0; x < 640; x++)
			assert_int_equal(pixel(f, x, y), color(f, planes_at(x / 2, y / 2)));
}

/* Lines alternate between two banks. */
static void cga_modes(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_4);
	for (u32 n = 0; n < 0x4000; n++)
		poke(f, TEXT_BASE + n, n * 77 >> 2, 1);
	assert_true(f->vga.window_shown);
	expect_size(f, 640, 400);
	for (u32 y = 0; y < 400; y++)
		for (u32 x = 0; x < 640; x++) {
			u32 at = (y / 2 & 1) * 0x2000 + y / 4 * 80 + x / 8;

			assert_int_equal(pixel(f, x, y),
					 color(f, (at * 77 >> 2) >> (6 - x / 2 % 4 * 2) & 3));
		}
	set_mode(f, &mode_6);
	for (u32 n = 0; n < 0x4000; n++)
		poke(f, TEXT_BASE + n, n * 77 >> 2, 1);
	expect_size(f, 640, 400);
	for (u32 y = 0; y < 400; y++)
		for (u32 x = 0; x < 640; x++) {
			u32 at = (y / 2 & 1) * 0x2000 + y / 4 * 80 + x / 8;

			assert_int_equal(pixel(f, x, y),
					 color(f, (at * 77 >> 2) >> (7 - x % 8) & 1));
		}
}

static void linear_frame_buffer(void **state)
{
	struct fixture *f = *state;

	outb(f, 0x3c2, 0x67);
	inb(f, 0x3da);
	outb(f, 0x3c0, 0x20);
	dispi_mode(f, 1024, 768, 32, 0x41);
	expect_size(f, 1024, 768);
	assert_int_equal(pixel(f, 1023, 767), 0);
	poke(f, LFB + 4 * (767 * 1024 + 1023), 0xff123456, 4);
	assert_int_equal(refresh(f), 1);
	assert_int_equal(pixel(f, 1023, 767), 0x123456);
	assert_int_equal(refresh(f), 0);
	assert_int_equal(peek(f, LFB + 4 * (767 * 1024 + 1023), 4), 0xff123456);
}

/* All depths, with a virtual screen that is larger. */
static void depths(void **state)
{
	static const struct {
		u16 bpp, bytes;
		u32 value, rgb;
	} depth[] = {
		{ 8, 1, 0x9c, 0 },
		{ 15, 2, 0x7c1f, 0xff00ff },
		{ 15, 2, 0x0210, 0x008484 },
		{ 16, 2, 0x07e0, 0x00ff00 },
		{ 16, 2, 0x8410, 0x848284 },
		{ 24, 3, 0x123456, 0x123456 },
		{ 32, 4, 0xff654321, 0x654321 },
	};
	struct fixture *f = *state;

	set_mode(f, &mode_3);
	for (unsigned n = 0; n < ARRAY_LEN(depth); n++) {
		u32 at = ((37 + 150) * 1000 + 22 + 41) * depth[n].bytes;

		dispi_mode(f, 640, 480, depth[n].bpp, 0x41);
		dispi(f, 6, 1000);
		dispi(f, 8, 22);
		dispi(f, 9, 37);
		for (unsigned k = 0; k < depth[n].bytes; k++)
			poke(f, LFB + at + k, depth[n].value >> (8 * k) & 0xff, 1);
		expect_size(f, 640, 480);
		assert_int_equal(pixel(f, 41, 150),
				 depth[n].bpp == 8 ? color(f, 0x9c) : depth[n].rgb);
		assert_int_equal(pixel(f, 40, 150), depth[n].bpp == 8 ? color(f, 0) : 0);
		assert_int_equal(pixel(f, 42, 150), depth[n].bpp == 8 ? color(f, 0) : 0);
	}
}

/* The extensions' 16 colours, through the data path; what is beyond 64 KiB of a plane is in other banks. */
static void dispi_planes(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_12);
	dispi_mode(f, 800, 600, 4, 0x41);
	dispi(f, 6, 1024);
	draw_planes(f, 800, 500, 128);
	dispi(f, 5, 1);
	for (u8 plane = 0; plane < 4; plane++) {
		indexed(f, 0x3c4, 2, 1u << plane);
		poke(f, GRAPH_BASE + 128, plane & 1 ? 0xff : 0, 1); /* line 513 */
	}
	dispi(f, 8, 3);
	expect_size(f, 800, 600);
	for (u32 y = 0; y < 500; y++)
		for (u32 x = 0; x < 797; x++)
			assert_int_equal(pixel(f, x, y), color(f, planes_at(x + 3, y)));
	assert_int_equal(pixel(f, 4, 513), color(f, 10));
	assert_int_equal(pixel(f, 5, 513), color(f, 0));
	dispi(f, 9, 0xffff);
	assert_int_equal(dispi_in(f, 9), VGA_MEMORY / 4 / 128 - 600);
	refresh(f);
	assert_int_equal(pixel(f, 4, 513), 0);
}

static void off_is_black(void **state)
{
	struct fixture *f = *state;

	expect_size(f, 720, 400);
	set_mode(f, &mode_13);
	poke(f, GRAPH_BASE, 0x3f, 1);
	refresh(f);
	assert_int_not_equal(pixel(f, 0, 0), 0);
	indexed(f, 0x3c4, 1, 0x21);
	assert_int_equal(refresh(f), 1);
	assert_int_equal(pixel(f, 0, 0), 0);
	indexed(f, 0x3c4, 1, 0x01);
	refresh(f);
	assert_int_not_equal(pixel(f, 0, 0), 0);
	inb(f, 0x3da);
	outb(f, 0x3c0, 0);
	refresh(f);
	assert_int_equal(pixel(f, 0, 0), 0);
	assert_false(f->vga.screen.text(&f->vga.screen, NULL));
}

/* --- Damage ------------------------------------------------------------------------------------- */

static bool covered(const struct screen_rect *rects, unsigned count, u32 x, u32 y)
{
	for (unsigned n = 0; n < count; n++)
		if (x - rects[n].x < rects[n].width && y - rects[n].y < rects[n].height)
			return true;
	return false;
}

/* What differs is within the rectangles; and what was not drawn again is as if it had been. */
static void expect_exact(struct fixture *f)
{
	static u32 before[1024 * 768];
	struct screen *s = &f->vga.screen;
	struct screen_rect rects[SCREEN_RECTS];
	u32 width = s->width, height = s->height;
	unsigned count;

	assert_true(width * height <= ARRAY_LEN(before));
	memcpy(before, s->pixels, (size_t)width * height * sizeof(*before));
	count = s->update(s, rects);
	assert_in_range(count, 0, SCREEN_RECTS);
	for (unsigned n = 0; n < count; n++) {
		assert_in_range(rects[n].width, 1, s->width - rects[n].x);
		assert_in_range(rects[n].height, 1, s->height - rects[n].y);
	}
	if (width == s->width && height == s->height)
		for (u32 at = 0; at < width * height; at++)
			if (before[at] != s->pixels[at])
				assert_true(covered(rects, count, at % width, at / width));
	mem_area_touch(&f->board.mem, f->vga.memory, 0, VGA_MEMORY);
	assert_int_equal(s->update(s, rects), 0);
}

static void random_tweak(struct fixture *f)
{
	static const u8 crtc[] = { 8, 9, 10, 12, 13, 14, 15, 19, 24, 23, 20 };

	switch (rnd(f) % 6) {
	case 0: indexed(f, 0x3d4, crtc[rnd(f) % sizeof(crtc)], 0x80 | rnd(f)); break;
	case 1: palette(f, (u8)rnd(f), (u8)rnd(f), 1, 2); break;
	case 2: attr(f, 0x20 | rnd(f) % 21, (u8)rnd(f)); break;
	case 3: indexed(f, 0x3c4, 2, rnd(f) & 15); break;
	case 4: dispi(f, (u16)(5 + rnd(f) % 5), rnd(f) % 1200); break;
	default: board_run(&f->board, rnd(f) % 100000000); break;
	}
}

static void damage(void **state)
{
	static const struct mode_regs *const modes[] = { &mode_3, &mode_13, &mode_12,
							 &mode_4, &mode_0d, &mode_6 };
	static const u16 bpp[] = { 4, 8, 16, 24, 32 };
	struct fixture *f = *state;

	for (unsigned turn = 0; turn < 300; turn++) {
		bool linear = turn % 3 == 0;
		u32 start = rnd(f) % 0x20000;

		if (turn % 4 == 0)
			set_mode(f, modes[rnd(f) % ARRAY_LEN(modes)]);
		if (turn % 8 == 0)
			dispi_mode(f, 320 + rnd(f) % 640, 200 + rnd(f) % 500,
				   bpp[rnd(f) % ARRAY_LEN(bpp)], 0xc1);
		for (unsigned n = 0; n < 1 + rnd(f) % 100; n++) {
			u32 at = start + (rnd(f) & 0xf1f);

			if (linear)
				poke(f, LFB + at * 4, rnd(f), 4);
			else if (at < 0x1fff8)
				poke(f, GRAPH_BASE + at, rnd(f), 8);
		}
		if (rnd(f) % 3 == 0)
			random_tweak(f);
		expect_exact(f);
	}
}

/* Where the layout does not fit the mode, bytes of a line are all over the memory. */
static void damage_in_another_layout(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_13);
	for (u32 n = 0; n < 100; n++)
		poke(f, GRAPH_BASE + n, 0, 1);
	assert_true(f->vga.window_shown);
	indexed(f, 0x3c4, 4, 6);
	indexed(f, 0x3d4, 0x14, 0);
	indexed(f, 0x3d4, 0x17, 0xe3);
	refresh(f);
	poke(f, GRAPH_BASE + 1, 0x3f, 1);
	assert_int_equal(refresh(f), 1);
	assert_int_equal(pixel(f, 8, 0), color(f, 0x3f));
	assert_int_equal(pixel(f, 15, 1), color(f, 0x3f));
	assert_int_equal(pixel(f, 16, 0), color(f, 0));
}

/* Small changes are small rectangles; too many become fewer. */
static void rectangles(void **state)
{
	struct fixture *f = *state;
	struct screen_rect rects[SCREEN_RECTS];
	struct screen *s = &f->vga.screen;

	set_mode(f, &mode_12);
	dispi_mode(f, 800, 600, 32, 0x41);
	refresh(f);
	for (unsigned y = 10; y < 20; y++)
		poke(f, LFB + 4 * (y * 800 + 100 + y), 0xffffff, 4);
	poke(f, LFB + 4 * (500 * 800 + 7), 0xffffff, 4);
	assert_int_equal(s->update(s, rects), 2);
	assert_memory_equal(&rects[0], (&(struct screen_rect){ 110, 10, 10, 10 }),
			    sizeof(rects[0]));
	assert_memory_equal(&rects[1], (&(struct screen_rect){ 7, 500, 1, 1 }), sizeof(rects[1]));
	for (unsigned y = 0; y < 600; y += 2)
		poke(f, LFB + 4 * (y * 800 + y), 0x123456, 4);
	assert_int_equal(s->update(s, rects), SCREEN_RECTS);
	assert_int_equal(rects[31].y + rects[31].height, 599);
	/* Written, but not changed. */
	poke(f, LFB + 4 * (500 * 800 + 7), 0xffffff, 4);
	assert_int_equal(s->update(s, rects), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(text_screen),
		TEST(fonts),
		TEST(blinking),
		TEST(mode_13h),
		TEST(mode_x),
		TEST(mode_12h),
		TEST(mode_0dh),
		TEST(cga_modes),
		TEST(linear_frame_buffer),
		TEST(depths),
		TEST(dispi_planes),
		TEST(off_is_black),
		TEST(damage),
		TEST(damage_in_another_layout),
		TEST(rectangles),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vga screen", tests, NULL, NULL);
}
