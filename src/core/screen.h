/* What a display adapter shows, for those who look at it: VNC, screenshots, the terminal. */
#ifndef CORE_SCREEN_H
#define CORE_SCREEN_H

#include "base/types.h"

#define SCREEN_MAX_WIDTH  2560u
#define SCREEN_MAX_HEIGHT 1600u
#define SCREEN_RECTS      32u
#define SCREEN_MAX_COLS   160u
#define SCREEN_MAX_ROWS   100u

struct screen_rect {
	u32 x, y, width, height;
};

/* A text mode's screen. */
struct screen_text {
	u32 cols, rows;
	/* Code page 437; attributes as VGA's: foreground 3..0, background 6..4, blink or bright background 7. */
	u8 chars[SCREEN_MAX_ROWS][SCREEN_MAX_COLS], attributes[SCREEN_MAX_ROWS][SCREEN_MAX_COLS];
	u32 cursor; /* 1: shown; a number, so that two screens can be compared as memory */
	u32 cursor_col, cursor_row;
};

/* Embedded in the adapter. All calls on the machine's thread. */
struct screen {
	u32 width, height; /* of the picture; 0 before the first update */
	u32 *pixels;       /* width * height, row by row, 00RRGGBBh; the adapter's */
	/* Draws what has changed since the last call. Returns the number of rectangles (at most SCREEN_RECTS, coarser if there are
	 * more) in which pixels differ; if width or height or pixels have changed, one rectangle of all. A display that is off is
	 * black. */
	unsigned (*update)(struct screen *s, struct screen_rect rects[SCREEN_RECTS]);
	/* False if the adapter is not in a text mode. */
	bool (*text)(struct screen *s, struct screen_text *text);
	u32 updates; /* screen_update's that found changes: who looks besides others sees by it that he has missed some */
};

/* update, for all who look. */
static inline unsigned screen_update(struct screen *s, struct screen_rect rects[SCREEN_RECTS])
{
	unsigned n = s->update(s, rects);

	s->updates += n != 0;
	return n;
}

#endif
