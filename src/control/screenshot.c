/* The screen as a picture, and as text. */
#include "control/screenshot.h"

#include "base/fail.h"
#include "control/keymap.h"

#include <errno.h>
#include <limits.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Row by row: the adapter's pixels are 00RRGGBBh. The row is the caller's, who frees it whatever happens. */
static bool write_rows(png_structp png, png_infop info, const struct screen *s, u8 *row)
{
	if (setjmp(png_jmpbuf(png)))
		return false;
	png_set_IHDR(png, info, s->width, s->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (u32 y = 0; y < s->height; y++) {
		const u32 *from = s->pixels + (size_t)y * s->width;

		for (u32 x = 0; x < s->width; x++) {
			row[3 * x] = (u8)(from[x] >> 16);
			row[3 * x + 1] = (u8)(from[x] >> 8);
			row[3 * x + 2] = (u8)from[x];
		}
		png_write_row(png, row);
	}
	png_write_end(png, info);
	return true;
}

static bool write_png(FILE *file, const struct screen *s)
{
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	u8 *row = malloc((size_t)s->width * 3);
	bool ok = false;

	if (info && row) {
		png_init_io(png, file);
		ok = write_rows(png, info, s, row);
	}
	free(row);
	png_destroy_write_struct(&png, &info);
	return ok;
}

/* The file that takes the place of `path` when it is whole. NULL, with *r and err. */
static FILE *open_part(const char *path, char part[PATH_MAX], int *r, char *err, size_t errlen)
{
	struct stat st;
	FILE *file;

	/* That must not happen to a device. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		snprintf(err, errlen, "screenshot '%s': that is no ordinary file; name another one",
			 path);
		*r = -EEXIST;
		return NULL;
	}
	if (snprintf(part, PATH_MAX, "%s.part", path) >= PATH_MAX) {
		snprintf(err, errlen, "screenshot: the path is too long");
		*r = -ENAMETOOLONG;
		return NULL;
	}
	file = fopen(part, "wbe");
	if (!file) {
		*r = -errno;
		snprintf(err, errlen, "screenshot '%s' cannot be written: %s", path,
			 fail_text(-*r));
	}
	return file;
}

int screenshot_can(const char *path, char *err, size_t errlen)
{
	char part[PATH_MAX];
	int r = 0;
	FILE *file = open_part(path, part, &r, err, errlen);

	if (file) {
		fclose(file);
		unlink(part);
	}
	return r;
}

int screenshot_png(struct screen *s, const char *path, char *err, size_t errlen)
{
	struct screen_rect rects[SCREEN_RECTS];
	char part[PATH_MAX];
	int r = 0;
	FILE *file;
	bool ok;

	screen_update(s, rects);
	if (!s->width || !s->height) {
		snprintf(err, errlen, "screenshot '%s': the screen shows nothing yet", path);
		return -ENODATA;
	}
	file = open_part(path, part, &r, err, errlen);
	if (!file)
		return r;
	ok = write_png(file, s);
	ok = fflush(file) == 0 && ok;
	ok = fclose(file) == 0 && ok;
	if (ok && rename(part, path) == 0)
		return 0;
	int error = errno ? errno : EIO;

	unlink(part);
	snprintf(err, errlen, "screenshot '%s' cannot be written: %s", path, fail_text(error));
	return -error;
}

/* The characters that show nothing. */
static bool is_blank(u8 c) { return !c || c == ' ' || c == 0xff; }

char *screenshot_text(struct screen *s)
{
	struct screen_text *t = malloc(sizeof(*t));
	char *text = NULL, *to, *last;

	if (t && s->text(s, t))
		text = malloc((size_t)SCREEN_MAX_ROWS * (SCREEN_MAX_COLS * 3 + 1) + 1);
	to = last = text;
	for (u32 y = 0; text && y < t->rows; y++) {
		u32 end = t->cols;

		while (end && is_blank(t->chars[y][end - 1]))
			end--;
		for (u32 x = 0; x < end; x++)
			to = stpcpy(to, keymap_cp437[t->chars[y][x]]);
		*to++ = '\n';
		if (end)
			last = to;
	}
	if (text)
		*last = 0;
	free(t);
	return text;
}
