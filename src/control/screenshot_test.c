#include "base/test.h"
#include "control/screenshot.h"

#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static u32 pixels[3 * 2] = { 0xff0000, 0x00ff00, 0x0000ff, 0x123456, 0xffffff, 0 };
static struct screen_text text_now;
static bool in_text;

static unsigned update(struct screen *s, struct screen_rect *rects) { return 0; }

static bool text(struct screen *s, struct screen_text *t)
{
	*t = text_now;
	return in_text;
}

static struct screen screen_of(u32 width, u32 height)
{
	return (struct screen){
		.width = width, .height = height, .pixels = pixels, .update = update, .text = text
	};
}

static void picture(void **state)
{
	static const u8 expected[] = { 255,  0,    0,    0,   255, 0,   0, 0, 255,
				       0x12, 0x34, 0x56, 255, 255, 255, 0, 0, 0 };
	struct screen s = screen_of(3, 2);
	png_image image = { .version = PNG_IMAGE_VERSION };
	u8 got[sizeof(expected)];
	char path[64], part[80], err[256];

	snprintf(path, sizeof(path), "/tmp/pogo-shot-%d.png", getpid());
	snprintf(part, sizeof(part), "%s.part", path);
	assert_int_equal(screenshot_png(&s, path, err, sizeof(err)), 0);
	assert_true(png_image_begin_read_from_file(&image, path));
	image.format = PNG_FORMAT_RGB;
	assert_int_equal(image.width, 3);
	assert_int_equal(image.height, 2);
	assert_true(png_image_finish_read(&image, NULL, got, 0, NULL));
	assert_memory_equal(got, expected, sizeof(expected));
	assert_int_equal(access(part, F_OK), -1);
	unlink(path);
}

static void refusals(void **state)
{
	struct screen s = screen_of(3, 2), nothing = screen_of(0, 0);
	char err[256], path[64];
	struct stat st;

	assert_int_equal(screenshot_png(&nothing, "/tmp/pogo-no.png", err, sizeof(err)), -ENODATA);
	assert_int_equal(screenshot_png(&s, "/nowhere/a.png", err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nowhere/a.png"));
	/* The disk is full: the old picture stays. */
	if (stat("/dev/full", &st))
		skip();
	snprintf(path, sizeof(path), "/tmp/pogo-full-%d.png", getpid());
	char part[80];
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs("old", f);
	fclose(f);
	snprintf(part, sizeof(part), "%s.part", path);
	assert_int_equal(symlink("/dev/full", part), 0);
	assert_int_not_equal(screenshot_png(&s, path, err, sizeof(err)), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(access(part, F_OK), -1);
	unlink(path);
}

static void check_text(const char *expected)
{
	struct screen s = screen_of(3, 2);
	char *got = screenshot_text(&s);

	if (!expected)
		assert_null(got);
	else
		assert_string_equal(got, expected);
	free(got);
}

static void words(void **state)
{
	in_text = false;
	check_text(NULL);
	in_text = true;
	text_now = (struct screen_text){ .cols = 6, .rows = 4 };
	check_text("");
	memcpy(text_now.chars[1], " ab\0  ", 6);
	memcpy(text_now.chars[2], "\xc9\xcd\xbb\xff  ", 6);
	check_text("\n ab\n╔═╗\n");
	memset(text_now.chars, 0xdb, sizeof(text_now.chars));
	text_now.cols = SCREEN_MAX_COLS;
	text_now.rows = SCREEN_MAX_ROWS;
	struct screen s = screen_of(3, 2);
	char *got = screenshot_text(&s);

	assert_int_equal(strlen(got), SCREEN_MAX_ROWS * (SCREEN_MAX_COLS * 3 + 1));
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(picture),
		cmocka_unit_test(refusals),
		cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
