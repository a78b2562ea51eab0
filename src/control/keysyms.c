#include "control/keysyms.h"

#include "control/keymap.h"

#define KEY_SHIFT_R 0x36u

static bool is_upper(u32 c) { return c >= 'A' && c <= 'Z'; }
static bool is_letter(u32 c) { return is_upper(c) || (c >= 'a' && c <= 'z'); }
static bool is_symbol(u32 keysym) { return keysym > ' ' && keysym < 0x7f; }

static void shift_keys(const struct keysyms *k, bool down, keysyms_emit *emit, void *opaque)
{
	if (k->shift)
		emit(opaque, KEY_SHIFT, down);
	if (k->shift_r)
		emit(opaque, KEY_SHIFT_R, down);
}

/* The key of a symbol goes down with the shift state that the symbol needs, which may not be the one that the user holds. */
static void press_symbol(const struct keysyms *k, u32 keysym, u16 code, bool caps,
			 keysyms_emit *emit, void *opaque)
{
	bool held = k->shift || k->shift_r, wanted;

	keymap_char((u8)keysym, &wanted);
	if (is_letter(keysym))
		wanted = is_upper(keysym) != caps;
	if (wanted && !held)
		emit(opaque, KEY_SHIFT, true);
	if (!wanted && held)
		shift_keys(k, false, emit, opaque);
	emit(opaque, code, true);
	if (wanted && !held)
		emit(opaque, KEY_SHIFT, false);
	if (!wanted && held)
		shift_keys(k, true, emit, opaque);
}

static void press(struct keysyms *k, u32 keysym, u16 code, bool caps, keysyms_emit *emit,
		  void *opaque)
{
	unsigned n = 0;

	while (n < k->count && k->held[n].keysym != keysym)
		n++;
	if (n == KEYSYMS_HELD)
		return;
	k->held[n].keysym = keysym;
	k->held[n].code = code;
	if (n == k->count)
		k->count++;
	k->shift |= code == KEY_SHIFT;
	k->shift_r |= code == KEY_SHIFT_R;
	if (is_symbol(keysym))
		press_symbol(k, keysym, code, caps, emit, opaque);
	else
		emit(opaque, code, true);
}

static bool is_held(const struct keysyms *k, u16 code)
{
	for (unsigned n = 0; n < k->count; n++)
		if (k->held[n].code == code)
			return true;
	return false;
}

static void lift(struct keysyms *k, unsigned n, keysyms_emit *emit, void *opaque)
{
	u16 code = k->held[n].code;

	k->held[n] = k->held[--k->count];
	if (is_held(k, code))
		return;
	k->shift &= code != KEY_SHIFT;
	k->shift_r &= code != KEY_SHIFT_R;
	emit(opaque, code, false);
}

void keysyms_event(struct keysyms *k, u32 keysym, bool down, bool caps, keysyms_emit *emit,
		   void *opaque)
{
	u16 code = keymap_keysym(keysym);
	unsigned n = 0;

	if (!code)
		return;
	if (down) {
		press(k, keysym, code, caps, emit, opaque);
		return;
	}
	while (n < k->count && k->held[n].keysym != keysym)
		n++;
	/* Where shift went up first, the key that went down as '!' comes up as '1'. */
	if (n == k->count)
		for (n = 0; n < k->count && k->held[n].code != code;)
			n++;
	if (n < k->count)
		lift(k, n, emit, opaque);
}

void keysyms_release(struct keysyms *k, keysyms_emit *emit, void *opaque)
{
	while (k->count)
		lift(k, k->count - 1, emit, opaque);
}
