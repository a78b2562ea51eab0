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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(text_screen),
		TEST(linear_frame_buffer),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("vga screen", tests, NULL, NULL);
}
