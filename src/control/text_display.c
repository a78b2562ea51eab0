/* The machine's text screen in the user's terminal (ECMA-48 sequences, as every terminal has them), and its keys on the keyboard. */
#include "control/text_display.h"

#include "control/keymap.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FRAME_NS 50000000
#define ESC      0x1b

/* VGA's colours are in the order blue, green, red; the terminal's in red, green, blue. */
static const u8 colours[8] = { 0, 4, 2, 6, 1, 5, 3, 7 };

static void put_attribute(FILE *f, u8 a)
{
	fprintf(f, "\x1b[0;%u;%um", (a & 8 ? 90u : 30u) + colours[a & 7],
		(a & 0x80 ? 100u : 40u) + colours[a >> 4 & 7]);
}

/* Runs of cells that differ from what the terminal shows. */
static void draw_row(FILE *f, const struct text_display *d, u32 y)
{
	const struct screen_text *t = d->text, *s = d->shown;
	int attribute = -1;
	u32 at = UINT32_MAX;

	for (u32 x = 0; x < t->cols; x++) {
		if (t->chars[y][x] == s->chars[y][x] && t->attributes[y][x] == s->attributes[y][x])
			continue;
		if (at != x)
			fprintf(f, "\x1b[%u;%uH", y + 1, x + 1);
		if (attribute != t->attributes[y][x])
			put_attribute(f, t->attributes[y][x]);
		attribute = t->attributes[y][x];
		fputs(keymap_cp437[t->chars[y][x]], f);
		at = x + 1;
	}
}

static void draw(struct text_display *d)
{
	struct screen_text *t = d->text, *swap = d->shown;
	bool anew = d->graphics || t->cols != swap->cols || t->rows != swap->rows;

	if (anew) {
		fputs("\x1b[0m\x1b[2J", stdout);
		memset(swap, 0, sizeof(*swap));
	}
	for (u32 y = 0; y < t->rows; y++)
		draw_row(stdout, d, y);
	fputs("\x1b[0m", stdout);
	if (t->cursor && t->cursor_row < t->rows && t->cursor_col < t->cols)
		fprintf(stdout, "\x1b[%u;%uH\x1b[?25h", t->cursor_row + 1, t->cursor_col + 1);
	else
		fputs("\x1b[?25l", stdout);
	fflush(stdout);
	d->graphics = false;
	d->text = swap;
	d->shown = t;
}

static void draw_graphics(struct text_display *d, struct screen *s)
{
	struct screen_rect rects[SCREEN_RECTS];

	screen_update(s, rects);
	if (d->graphics && d->width == s->width && d->height == s->height)
		return;
	d->graphics = true;
	d->width = s->width;
	d->height = s->height;
	printf("\x1b[0m\x1b[2J\x1b[HThe screen shows graphics (%u x %u): look at it with --vnc.\r\n",
	       s->width, s->height);
	fflush(stdout);
}

static void on_tick(void *arg, short revents)
{
	struct text_display *d = arg;
	struct screen *s = machine_screen(d->machine);
	u64 expired;

	(void)revents;
	(void)!read(d->timer_fd, &expired, sizeof(expired));
	if (!s->text(s, d->text))
		draw_graphics(d, s);
	else if (d->graphics || memcmp(d->text, d->shown, sizeof(*d->text)))
		draw(d);
}

int text_display_start(struct text_display *d, struct machine *m, struct keyboard *keyboard)
{
	struct itimerspec every = { { 0, FRAME_NS }, { 0, FRAME_NS } };
	int r;

	*d = (struct text_display){ .machine = m, .keyboard = keyboard, .timer_fd = -1 };
	if (!machine_screen(m))
		return -ENODEV;
	d->text = calloc(1, sizeof(*d->text));
	d->shown = calloc(1, sizeof(*d->shown));
	d->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	r = !d->text || !d->shown ? -ENOMEM : d->timer_fd < 0 ? -errno : 0;
	if (!r)
		r = loop_add(machine_loop(m), d->timer_fd, POLLIN, on_tick, d);
	if (r) {
		free(d->text);
		free(d->shown);
		if (d->timer_fd >= 0)
			close(d->timer_fd);
		d->machine = NULL;
		return r;
	}
	timerfd_settime(d->timer_fd, 0, &every, NULL);
	fputs("\x1b[?1049h", stdout); /* a screen of its own */
	return 0;
}

void text_display_stop(struct text_display *d)
{
	if (!d->machine)
		return;
	loop_remove(machine_loop(d->machine), d->timer_fd);
	close(d->timer_fd);
	free(d->text);
	free(d->shown);
	d->machine = NULL;
	fputs("\x1b[0m\x1b[?25h\x1b[?1049l", stdout);
	fflush(stdout);
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
