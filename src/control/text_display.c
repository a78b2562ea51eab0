/* The machine's text screen in the user's terminal (ECMA-48 sequences, as every terminal has them), and its keys on the keyboard. */
#include "control/text_display.h"

#include "base/log.h"
#include "control/keymap.h"
#include "host/terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FRAME_NS   50000000
#define NOTE_TICKS 80u
#define ESC        0x1b

/* VGA's colours are in the order blue, green, red; the terminal's in red, green, blue. */
static const u8 colours[8] = { 0, 4, 2, 6, 1, 5, 3, 7 };

static void put_attribute(FILE *f, u8 a)
{
	fprintf(f, "\x1b[0;%u;%um", (a & 8 ? 90u : 30u) + colours[a & 7],
		(a & 0x80 ? 100u : 40u) + colours[a >> 4 & 7]);
}

/* --- Drawing: clipped to the terminal, from row `top` of the text on ------------------------------- */

static bool is_cell_shown(const struct text_display *d, u32 x, u32 y)
{
	return d->text->chars[y][x] == d->shown->chars[y][x] &&
	       d->text->attributes[y][x] == d->shown->attributes[y][x];
}

/* Runs of cells that differ from what the terminal shows. */
static void draw_row(FILE *f, const struct text_display *d, u32 y)
{
	const struct screen_text *t = d->text;
	int attribute = -1;
	u32 at = UINT32_MAX;

	for (u32 x = 0; x < MIN(t->cols, d->cols); x++) {
		if (!d->anew && is_cell_shown(d, x, y))
			continue;
		if (at != x)
			fprintf(f, "\x1b[%u;%uH", y - d->top + 1, x + 1);
		if (attribute != t->attributes[y][x])
			put_attribute(f, t->attributes[y][x]);
		attribute = t->attributes[y][x];
		fputs(keymap_cp437[t->chars[y][x]], f);
		at = x + 1;
	}
}

static void draw_cursor(const struct text_display *d)
{
	const struct screen_text *t = d->text;

	if (t->cursor && t->cursor_row - d->top < d->rows && t->cursor_row < t->rows &&
	    t->cursor_col < MIN(t->cols, d->cols))
		printf("\x1b[%u;%uH\x1b[?25h", t->cursor_row - d->top + 1, t->cursor_col + 1);
	else
		fputs("\x1b[?25l", stdout);
}

/* Of a text that is longer than the terminal, the part with the cursor. */
static u32 first_row(const struct text_display *d)
{
	const struct screen_text *t = d->text;

	if (t->rows <= d->rows || !t->cursor || t->cursor_row < d->rows)
		return 0;
	return MIN(t->cursor_row, t->rows - 1) - d->rows + 1;
}

static void draw(struct text_display *d)
{
	struct screen_text *t = d->text;
	u32 top = first_row(d);

	d->anew |= d->graphics || t->cols != d->shown->cols || t->rows != d->shown->rows ||
		   top != d->top;
	d->top = top;
	if (d->anew)
		fputs("\x1b[0m\x1b[2J", stdout);
	for (u32 y = top; y < MIN(t->rows, top + d->rows); y++)
		draw_row(stdout, d, y);
	fputs("\x1b[0m", stdout);
	draw_cursor(d);
	fflush(stdout);
	d->graphics = d->anew = false;
	d->text = d->shown;
	d->shown = t;
}

static void draw_graphics(struct text_display *d, struct screen *s)
{
	struct screen_rect rects[SCREEN_RECTS];

	screen_update(s, rects);
	if (!d->anew && d->graphics && d->width == s->width && d->height == s->height)
		return;
	d->graphics = true;
	d->anew = false;
	d->width = s->width;
	d->height = s->height;
	printf("\x1b[0m\x1b[2J\x1b[HThe screen shows graphics (%u x %u): look at it with --vnc.\r\n",
	       s->width, s->height);
	fflush(stdout);
}

/* --- Messages: below the text where there is room, else over its last row, for a while -------------- */

/* From any thread. */
static void catch_message(void *opaque, enum log_level level, const char *line)
{
	struct text_display *d = opaque;

	pthread_mutex_lock(&d->lock);
	snprintf(d->note, sizeof(d->note), "%s", line);
	d->note_new = true;
	if (level != LOG_INFO && d->kept_count < sizeof(d->kept)) {
		int n = snprintf(d->kept + d->kept_count, sizeof(d->kept) - d->kept_count,
				 "pogo: %s%s\n",
				 level == LOG_ERROR ? "error: " : "warning: ", line);

		d->kept_count = MIN(d->kept_count + (size_t)n, sizeof(d->kept));
	}
	pthread_mutex_unlock(&d->lock);
}

static void draw_note(struct text_display *d)
{
	char note[sizeof(d->note)];
	bool fresh;

	pthread_mutex_lock(&d->lock);
	memcpy(note, d->note, sizeof(note));
	fresh = d->note_new;
	d->note_new = false;
	pthread_mutex_unlock(&d->lock);
	if (fresh)
		d->note_ticks = NOTE_TICKS;
	else if (d->note_ticks && !--d->note_ticks)
		d->anew = true;
	if (!d->note_ticks)
		return;
	printf("\0337\x1b[%u;1H\x1b[0;7m\x1b[2K%.*s\x1b[0m\0338", MIN(d->rows, d->shown->rows + 1),
	       (int)d->cols, note);
	fflush(stdout);
}

static void look_at_terminal(struct text_display *d)
{
	struct winsize size;
	u32 rows = SCREEN_MAX_ROWS, cols = SCREEN_MAX_COLS;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_row && size.ws_col) {
		rows = size.ws_row;
		cols = size.ws_col;
	}
	d->anew |= rows != d->rows || cols != d->cols;
	d->rows = rows;
	d->cols = cols;
}

static void on_tick(void *arg)
{
	struct text_display *d = arg;
	struct screen *s = machine_screen(d->machine);

	if (d->page)
		return;
	look_at_terminal(d);
	if (!s->text(s, d->text))
		draw_graphics(d, s);
	else if (d->anew || d->graphics || memcmp(d->text, d->shown, sizeof(*d->text)))
		draw(d);
	draw_note(d);
}

void text_display_page(struct text_display *d, const char *text)
{
	u32 row = 0;

	fputs("\x1b[0m\x1b[2J\x1b[H\x1b[?25l", stdout);
	while (*text && row + 2 < d->rows) {
		int n = (int)strcspn(text, "\n");

		printf("%.*s\r\n", n, text);
		text += n + (text[n] != 0);
		row++;
	}
	fputs("-- press a key --", stdout);
	fflush(stdout);
	d->page = d->anew = true;
}

int text_display_start(struct text_display *d, struct machine *m, struct keyboard *keyboard)
{
	int r = -ENOMEM;

	*d = (struct text_display){ .machine = m, .keyboard = keyboard };
	if (!machine_screen(m)) {
		d->machine = NULL;
		return -ENODEV;
	}
	d->text = calloc(1, sizeof(*d->text));
	d->shown = calloc(1, sizeof(*d->shown));
	if (d->text && d->shown)
		r = ticker_init(&d->frames, machine_loop(m), FRAME_NS, on_tick, d);
	if (r) {
		free(d->text);
		free(d->shown);
		d->machine = NULL;
		return r;
	}
	pthread_mutex_init(&d->lock, NULL);
	ticker_set(&d->frames, true);
	fflush(stdout);
	terminal_full();
	/* Messages that go to a file do not come into the way. */
	d->catching = isatty(STDERR_FILENO);
	if (d->catching)
		log_set_show(catch_message, d);
	return 0;
}

void text_display_stop(struct text_display *d)
{
	if (!d->machine)
		return;
	if (d->catching)
		log_set_show(NULL, NULL);
	ticker_fini(&d->frames);
	free(d->text);
	free(d->shown);
	d->machine = NULL;
	fflush(stdout);
	terminal_restore();
	fprintf(stderr, "%s", d->kept);
	pthread_mutex_destroy(&d->lock);
}

/* --- Keys -------------------------------------------------------------------------------------------- */

/* What follows ESC [ or ESC O. */
static const struct {
	const char *sequence, *key;
} sequences[] = {
	{ "[A", "up" },      { "[B", "down" },    { "[C", "right" }, { "[D", "left" },
	{ "[H", "home" },    { "[F", "end" },     { "[1~", "home" }, { "[4~", "end" },
	{ "[2~", "insert" }, { "[3~", "delete" }, { "[5~", "pgup" }, { "[6~", "pgdn" },
	{ "OA", "up" },      { "OB", "down" },    { "OC", "right" }, { "OD", "left" },
	{ "OH", "home" },    { "OF", "end" },     { "OP", "f1" },    { "OQ", "f2" },
	{ "OR", "f3" },      { "OS", "f4" },      { "[[A", "f1" },   { "[[B", "f2" },
	{ "[[C", "f3" },     { "[[D", "f4" },     { "[[E", "f5" },   { "[11~", "f1" },
	{ "[12~", "f2" },    { "[13~", "f3" },    { "[14~", "f4" },  { "[15~", "f5" },
	{ "[17~", "f6" },    { "[18~", "f7" },    { "[19~", "f8" },  { "[20~", "f9" },
	{ "[21~", "f10" },   { "[23~", "f11" },   { "[24~", "f12" },
};

static void press(struct text_display *d, u16 with, u16 code)
{
	if (with)
		keyboard_key(d->keyboard, with, true);
	keyboard_key(d->keyboard, code, true);
	keyboard_key(d->keyboard, code, false);
	if (with)
		keyboard_key(d->keyboard, with, false);
}

/* Bytes of the sequence behind an ESC, or 0 if there is none that means a key. */
static size_t press_sequence(struct text_display *d, const u8 *bytes, size_t n)
{
	for (size_t k = 0; k < ARRAY_LEN(sequences); k++) {
		size_t length = strlen(sequences[k].sequence);

		if (length <= n && !memcmp(sequences[k].sequence, bytes, length)) {
			press(d, 0, keymap_name(sequences[k].key));
			return length;
		}
	}
	return 0;
}

static void press_char(struct text_display *d, u8 c)
{
	bool shift;
	u16 code;

	if (c < ' ' && !strchr("\b\t\n\r\x1b", c))
		press(d, KEY_CONTROL, keymap_char((u8)(c ? c + '`' : ' '), &shift));
	else if ((code = keymap_char(c, &shift)))
		press(d, shift ? KEY_SHIFT : 0, code);
}

void text_display_input(struct text_display *d, const u8 *bytes, size_t n)
{
	if (d->page && n) {
		d->page = false;
		return;
	}
	for (size_t at = 0; at < n; at++) {
		size_t length;
		bool shift;

		if (bytes[at] != ESC || at + 1 == n) {
			press_char(d, bytes[at]);
			continue;
		}
		length = press_sequence(d, bytes + at + 1, n - at - 1);
		if (!length && keymap_char(bytes[at + 1], &shift)) {
			press(d, KEY_ALT, keymap_char(bytes[at + 1], &shift));
			length = 1;
		}
		at += length;
	}
}
