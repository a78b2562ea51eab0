/* The picture, and what of it has changed: memory that was written since the last time, and registers that are not what they were. */
#include "dev/vga_draw.h"

#include <errno.h>
#include <stdlib.h>

/* A display that is off before any mode was set. */
#define OFF_WIDTH  720u
#define OFF_HEIGHT 400u

#define PAGES        (VGA_MEMORY / MEM_PAGE)
#define LEGACY_PAGES (VGA_LEGACY_SIZE / MEM_PAGE)

/* Registers that the picture depends on; without padding, as it is compared. */
struct shown {
	struct vga_mode mode;
	u32 colors[256];
	u8 crtc[VGA_CRTC_COUNT];
	u8 attr_mode, panning, layout;
};
_Static_assert(sizeof(struct shown) == sizeof(struct vga_mode) + 1024 + VGA_CRTC_COUNT + 3,
	       "no padding");

struct vga_draw {
	struct shown shown;
	bool valid; /* the picture is of what `shown` says */
	u64 dirty[PAGES / 64];
	u32 dots[VGA_LINE_DOTS];
	/* Of the line in dots. */
	struct vga_line line;
	bool line_valid;
	/* Each line's first changed pixel and the end of the changed ones; equal if there are none. */
	u16 first[SCREEN_MAX_HEIGHT], end[SCREEN_MAX_HEIGHT];
	u32 pixels[SCREEN_MAX_WIDTH * SCREEN_MAX_HEIGHT];
};

static struct vga *vga_of(struct screen *s) { return container_of(s, struct vga, screen); }

/* --- What has changed --------------------------------------------------------------------------- */

static void look(const struct vga *vga, struct shown *s)
{
	const struct vga_regs *r = &vga->regs;

	memset(s, 0, sizeof(*s));
	s->mode = vga_mode_of(vga);
	vga_colors(vga, &s->mode, s->colors);
	s->layout = r->layout;
	if (vga_dispi_on(r))
		return;
	memcpy(s->crtc, r->crtc, sizeof(s->crtc));
	s->attr_mode = r->attr[ATTR_MODE];
	s->panning = r->attr[ATTR_PANNING];
}

static bool pages_dirty(const struct vga_draw *d, u32 first, u32 last)
{
	for (u32 page = first / MEM_PAGE; page <= last / MEM_PAGE; page++)
		if (d->dirty[page / 64] >> page % 64 & 1)
			return true;
	return false;
}

/* The bytes that a line is drawn from; all that the VGA has where they do not lie in a row. */
static void line_bytes(const struct vga *vga, const struct vga_mode *m, const struct vga_line *line,
		       u32 *first, u32 *last)
{
	const struct vga_regs *r = &vga->regs;

	if (m->kind == VGA_KIND_DISPI) {
		*first = line->counter;
		*last = line->counter + m->width * ((m->dispi.bpp + 7) / 8) - 1;
		return;
	}
	if (vga_dispi_on(r) && line->counter >= VGA_PLANE_SIZE) {
		*first = MIN(4 * line->counter, VGA_MEMORY - 1);
		*last = MIN(4 * (line->counter + m->chars) + 3, VGA_MEMORY - 1);
		return;
	}
	if (m->kind != VGA_KIND_TEXT && !vga_dispi_on(r) && m->step_shift == 0) {
		u32 from = vga_crtc_address(r, line->counter, line->row);
		u32 to = vga_crtc_address(r, line->counter + m->chars, line->row);

		*first = vga_at(r->layout, from, 0);
		*last = vga_at(r->layout, to, 0) + 3;
		if (*last - *first == 4 * m->chars + 3)
			return;
	}
	*first = 0;
	*last = vga_dispi_on(r) ? 4 * ((u32)VGA_PLANE_SIZE + m->chars) + 3 : VGA_LEGACY_SIZE - 1;
}

/* --- Damage ------------------------------------------------------------------------------------- */

/* Puts a line's dots into the picture and notes which differ. */
static void put_line(struct vga *vga, u32 y, const u32 *dots)
{
	struct vga_draw *d = vga->draw;
	u32 width = vga->screen.width;
	u32 *row = d->pixels + (size_t)y * width;
	u32 first = 0, end = width;

	if (!memcmp(row, dots, width * sizeof(*row)))
		return;
	while (row[first] == dots[first])
		first++;
	while (row[end - 1] == dots[end - 1])
		end--;
	memcpy(row + first, dots + first, (end - first) * sizeof(*row));
	d->first[y] = (u16)first;
	d->end[y] = (u16)end;
}

/* Lines one below the other become one rectangle; when there are too many, the last one takes in what follows. */
static unsigned collect(const struct vga *vga, struct screen_rect *rects)
{
	const struct vga_draw *d = vga->draw;
	unsigned count = 0;

	for (u32 y = 0; y < vga->screen.height; y++) {
		u32 first = d->first[y], end = d->end[y];
		struct screen_rect *r = count ? &rects[count - 1] : NULL;

		if (first == end)
			continue;
		if (r && (r->y + r->height == y || count == SCREEN_RECTS)) {
			end = MAX(end, r->x + r->width);
			r->x = MIN(r->x, first);
			r->width = end - r->x;
			r->height = y + 1 - r->y;
		} else {
			rects[count++] = (struct screen_rect){ first, y, end - first, 1 };
		}
	}
	return count;
}

/* --- The walk over the lines --------------------------------------------------------------------- */

static void draw_line(struct vga *vga, const struct shown *s, u32 y, const struct vga_line *line)
{
	struct vga_draw *d = vga->draw;

	if (!d->line_valid || memcmp(&d->line, line, sizeof(*line)) != 0)
		vga_draw_line(vga, &s->mode, s->colors, line, d->dots);
	d->line = *line;
	d->line_valid = true;
	put_line(vga, y, d->dots + line->pan);
}

static void visit(struct vga *vga, const struct shown *s, u32 y, const struct vga_line *line)
{
	u32 first, last;

	if (vga->draw->valid) {
		line_bytes(vga, &s->mode, line, &first, &last);
		if (!pages_dirty(vga->draw, first, last))
			return;
	}
	draw_line(vga, s, y, line);
}

static void walk_dispi(struct vga *vga, const struct shown *s)
{
	const struct vga_dispi *mode = &s->mode.dispi;

	for (u32 y = 0; y < s->mode.height; y++)
		visit(vga, s, y,
		      &(struct vga_line){ .counter = mode->start + y * mode->pitch,
					  .pan = mode->pan });
}

/* Dots that the attribute controller shifts the picture to the left (FreeVGA: Horizontal Pixel Panning Register). */
static u32 panning(const struct vga_regs *r, const struct vga_mode *m)
{
	u32 pan = r->attr[ATTR_PANNING] & 15;

	if (m->kind == VGA_KIND_BYTES)
		return pan & 6;
	if (m->char_dots == 9)
		pan = pan >= 8 ? 0 : pan + 1;
	else
		pan &= 7;
	return pan << m->doubled;
}

/* As the CRTC counts: lines of a row, rows, and from the line after the line compare on the second part of a split screen. */
static void walk_crtc(struct vga *vga, const struct shown *s)
{
	const struct vga_regs *r = &vga->regs;
	const struct vga_mode *m = &s->mode;
	u32 compare = vga_vertical(r, CRTC_LINE_COMPARE);
	u32 scan_doubled = r->crtc[CRTC_MAX_SCAN] >> 7;
	bool row_counts = m->kind == VGA_KIND_TEXT || (r->crtc[CRTC_MODE] & 3) != 3;
	u32 start = (u32)r->crtc[CRTC_START_HIGH] << 8 | r->crtc[CRTC_START_HIGH + 1];
	u32 row = r->crtc[CRTC_PRESET_ROW] & 31, repeat = 0;
	u32 pan = panning(r, m);

	start += r->crtc[CRTC_PRESET_ROW] >> 5 & 3;
	for (u32 y = 0; y < m->height; y++) {
		visit(vga, s, y,
		      &(struct vga_line){
			      .counter = start & 0xffff,
			      .row = row_counts ? row : 0,
			      .pan = pan,
		      });
		if (y == compare) {
			start = row = repeat = 0;
			if (r->attr[ATTR_MODE] & BIT(5))
				pan = 0;
			continue;
		}
		if (repeat++ < scan_doubled)
			continue;
		repeat = 0;
		if (row == m->char_lines - 1) {
			row = 0;
			start += r->crtc[CRTC_OFFSET] * 2u;
		} else {
			row = (row + 1) & 31;
		}
	}
}

static void blacken(struct vga *vga)
{
	struct vga_draw *d = vga->draw;

	memset(d->dots, 0, vga->screen.width * sizeof(*d->dots));
	for (u32 y = 0; y < vga->screen.height; y++)
		put_line(vga, y, d->dots);
}

/* Returns whether the picture has another size. */
static bool resize(struct screen *s, const struct vga_mode *m)
{
	u32 width = m->on ? m->width : s->width ? s->width : OFF_WIDTH;
	u32 height = m->on ? m->height : s->height ? s->height : OFF_HEIGHT;

	if (width == s->width && height == s->height)
		return false;
	s->width = width;
	s->height = height;
	memset(s->pixels, 0, (size_t)width * height * sizeof(*s->pixels));
	return true;
}

static unsigned update(struct screen *s, struct screen_rect rects[SCREEN_RECTS])
{
	struct vga *vga = vga_of(s);
	struct vga_draw *d = vga->draw;
	struct shown now;
	bool dirty, resized;

	memset(d->dirty, 0, sizeof(d->dirty));
	dirty = mem_take_dirty(vga->dev.platform->mem, vga->memory, d->dirty);
	look(vga, &now);
	d->valid = d->valid && !memcmp(&now, &d->shown, sizeof(now));
	if (d->valid && !dirty)
		return 0;
	resized = resize(s, &now.mode);
	memset(d->first, 0, s->height * sizeof(*d->first));
	memset(d->end, 0, s->height * sizeof(*d->end));
	d->line_valid = false;
	if (!now.mode.on)
		blacken(vga);
	else if (vga_dispi_on(&vga->regs))
		walk_dispi(vga, &now);
	else
		walk_crtc(vga, &now);
	d->shown = now;
	d->valid = true;
	if (!resized)
		return collect(vga, rects);
	rects[0] = (struct screen_rect){ 0, 0, s->width, s->height };
	return 1;
}

/* --- Text --------------------------------------------------------------------------------------- */

static bool text(struct screen *s, struct screen_text *t)
{
	struct vga *vga = vga_of(s);
	const struct vga_regs *r = &vga->regs;
	struct vga_mode m = vga_mode_of(vga);
	u32 start = (u32)r->crtc[CRTC_START_HIGH] << 8 | r->crtc[CRTC_START_HIGH + 1];
	u32 pitch = r->crtc[CRTC_OFFSET] * 2u;
	u32 lines = m.char_lines << (r->crtc[CRTC_MAX_SCAN] >> 7);

	if (!m.on || m.kind != VGA_KIND_TEXT)
		return false;
	memset(t, 0, sizeof(*t));
	t->cols = MIN(m.chars, SCREEN_MAX_COLS);
	t->rows = MIN(MAX(m.height / lines, 1), SCREEN_MAX_ROWS);
	start += r->crtc[CRTC_PRESET_ROW] >> 5 & 3;
	for (u32 row = 0; row < t->rows; row++) {
		for (u32 col = 0; col < t->cols; col++) {
			u32 counter = (start + row * pitch + (col >> m.step_shift)) & 0xffff;
			u32 bytes = vga_fetch(vga, vga_crtc_address(r, counter, 0));

			t->chars[row][col] = (u8)bytes;
			t->attributes[row][col] = (u8)(bytes >> 8);
			if (counter == m.cursor && !t->cursor &&
			    !(r->crtc[CRTC_CURSOR_START] & BIT(5)) &&
			    m.cursor_first <= MIN(m.cursor_last, m.char_lines - 1)) {
				t->cursor = 1;
				t->cursor_col = col;
				t->cursor_row = row;
			}
		}
	}
	return true;
}

int vga_screen_init(struct vga *vga)
{
	vga->draw = calloc(1, sizeof(*vga->draw));
	if (!vga->draw)
		return -ENOMEM;
	vga->screen =
		(struct screen){ .pixels = vga->draw->pixels, .update = update, .text = text };
	return 0;
}

void vga_screen_fini(struct vga *vga)
{
	free(vga->draw);
	vga->draw = NULL;
	vga->screen = (struct screen){ 0 };
}
