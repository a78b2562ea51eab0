/* Keys of a US keyboard (IBM PS/2 Technical Reference, "Keyboards": scan code set 1), and the characters of code page 437. */
#include "control/keymap.h"

#include <assert.h>
#include <string.h>

/* By ASCII code from the space on: make code, and whether shift is down. */
static const char plain[] = "`1234567890-=\tqwertyuiop[]\nasdfghjkl;'\\zxcvbnm,./ ";
static const char shifted[] = "~!@#$%^&*()_+\tQWERTYUIOP{}\nASDFGHJKL:\"|ZXCVBNM<>? ";
static const u8 codes[] = {
	0x29, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b,
	0x0c, 0x0d, /* digits */
	0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19,
	0x1a, 0x1b, /* Tab to ] */
	0x1c, 0x1e, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
	0x28, 0x2b,                                                       /* Enter, a to \ */
	0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x39, /* z to space */
};

static_assert(sizeof(plain) == sizeof(codes) + 1 && sizeof(shifted) == sizeof(plain), "a key each");

u16 keymap_char(u8 c, bool *shift)
{
	const char *at;

	*shift = false;
	if (c == '\b' || c == 0x7f)
		return 0x0e;
	if (c == 0x1b)
		return 0x01;
	if (c == '\r')
		c = '\n';
	if (c == 0)
		return 0;
	at = strchr(plain, c);
	if (at)
		return codes[at - plain];
	at = strchr(shifted, c);
	*shift = at != NULL;
	return at ? codes[at - shifted] : 0;
}

/* Keys that type nothing: X11's keysym, QMP's name, make code. */
static const struct {
	u32 keysym;
	const char *name;
	u16 code;
} keys[] = {
	{ 0xff08, "backspace", 0x0e },
	{ 0xff09, "tab", 0x0f },
	{ 0xff0d, "ret", 0x1c },
	{ 0xff1b, "esc", 0x01 },
	{ 0xff13, "pause", 0xe046 },
	{ 0xff14, "scroll_lock", 0x46 },
	{ 0xff15, "sysrq", 0x54 },
	{ 0xff50, "home", 0xe047 },
	{ 0xff51, "left", 0xe04b },
	{ 0xff52, "up", 0xe048 },
	{ 0xff53, "right", 0xe04d },
	{ 0xff54, "down", 0xe050 },
	{ 0xff55, "pgup", 0xe049 },
	{ 0xff56, "pgdn", 0xe051 },
	{ 0xff57, "end", 0xe04f },
	{ 0xff61, "print", 0xe037 },
	{ 0xff63, "insert", 0xe052 },
	{ 0xff67, "menu", 0xe05d },
	{ 0xff7f, "num_lock", 0x45 },
	{ 0xff8d, "kp_enter", 0xe01c },
	{ 0xff95, "kp_7", 0x47 },
	{ 0xff96, "kp_4", 0x4b },
	{ 0xff97, "kp_8", 0x48 },
	{ 0xff98, "kp_6", 0x4d },
	{ 0xff99, "kp_2", 0x50 },
	{ 0xff9a, "kp_9", 0x49 },
	{ 0xff9b, "kp_3", 0x51 },
	{ 0xff9c, "kp_1", 0x4f },
	{ 0xff9d, "kp_5", 0x4c },
	{ 0xff9e, "kp_0", 0x52 },
	{ 0xff9f, "kp_decimal", 0x53 },
	{ 0xffaa, "kp_multiply", 0x37 },
	{ 0xffab, "kp_add", 0x4e },
	{ 0xffad, "kp_subtract", 0x4a },
	{ 0xffae, "kp_decimal", 0x53 },
	{ 0xffaf, "kp_divide", 0xe035 },
	{ 0xffb0, "kp_0", 0x52 },
	{ 0xffb1, "kp_1", 0x4f },
	{ 0xffb2, "kp_2", 0x50 },
	{ 0xffb3, "kp_3", 0x51 },
	{ 0xffb4, "kp_4", 0x4b },
	{ 0xffb5, "kp_5", 0x4c },
	{ 0xffb6, "kp_6", 0x4d },
	{ 0xffb7, "kp_7", 0x47 },
	{ 0xffb8, "kp_8", 0x48 },
	{ 0xffb9, "kp_9", 0x49 },
	{ 0xffbe, "f1", 0x3b },
	{ 0xffbf, "f2", 0x3c },
	{ 0xffc0, "f3", 0x3d },
	{ 0xffc1, "f4", 0x3e },
	{ 0xffc2, "f5", 0x3f },
	{ 0xffc3, "f6", 0x40 },
	{ 0xffc4, "f7", 0x41 },
	{ 0xffc5, "f8", 0x42 },
	{ 0xffc6, "f9", 0x43 },
	{ 0xffc7, "f10", 0x44 },
	{ 0xffc8, "f11", 0x57 },
	{ 0xffc9, "f12", 0x58 },
	{ 0xffe1, "shift", 0x2a },
	{ 0xffe2, "shift_r", 0x36 },
	{ 0xffe3, "ctrl", 0x1d },
	{ 0xffe4, "ctrl_r", 0xe01d },
	{ 0xffe5, "caps_lock", 0x3a },
	{ 0xffe7, "alt", 0x38 },
	{ 0xffe8, "alt_r", 0xe038 },
	{ 0xffe9, "alt", 0x38 },
	{ 0xffea, "alt_r", 0xe038 },
	{ 0xfe20, "tab", 0x0f }, /* what X11 makes of Shift+Tab */
	{ 0xffeb, "meta_l", 0xe05b },
	{ 0xffec, "meta_r", 0xe05c },
	{ 0xffff, "delete", 0xe053 },
	{ 0x0020, "spc", 0x39 },
	{ 0x002d, "minus", 0x0c },
	{ 0x003d, "equal", 0x0d },
	{ 0x002c, "comma", 0x33 },
	{ 0x002e, "dot", 0x34 },
	{ 0x002f, "slash", 0x35 },
	{ 0x003b, "semicolon", 0x27 },
	{ 0x0027, "apostrophe", 0x28 },
	{ 0x0060, "grave_accent", 0x29 },
	{ 0x005c, "backslash", 0x2b },
	{ 0x005b, "bracket_left", 0x1a },
	{ 0x005d, "bracket_right", 0x1b },
	{ 0x003c, "less", 0x56 },
};

u16 keymap_keysym(u32 keysym)
{
	bool shift;

	if (keysym > 0x20 && keysym < 0x7f)
		return keymap_char((u8)keysym, &shift);
	for (size_t n = 0; n < ARRAY_LEN(keys); n++)
		if (keys[n].keysym == keysym)
			return keys[n].code;
	return 0;
}

u16 keymap_name(const char *name)
{
	bool shift;
	u16 code = 0;

	for (size_t n = 0; n < ARRAY_LEN(keys) && !code; n++)
		if (!strcmp(keys[n].name, name))
			code = keys[n].code;
	if (!code && name[0] > ' ' && !name[1])
		code = keymap_char((u8)name[0], &shift);
	return code;
}

/* clang-format off */
const char *const keymap_cp437[256] = {
	" ", "☺", "☻", "♥", "♦", "♣", "♠", "•", "◘", "○", "◙", "♂", "♀", "♪", "♫", "☼",
	"►", "◄", "↕", "‼", "¶", "§", "▬", "↨", "↑", "↓", "→", "←", "∟", "↔", "▲", "▼",
	" ", "!", "\"", "#", "$", "%", "&", "'", "(", ")", "*", "+", ",", "-", ".", "/",
	"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", ":", ";", "<", "=", ">", "?",
	"@", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O",
	"P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "[", "\\", "]", "^", "_",
	"`", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o",
	"p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z", "{", "|", "}", "~", "⌂",
	"Ç", "ü", "é", "â", "ä", "à", "å", "ç", "ê", "ë", "è", "ï", "î", "ì", "Ä", "Å",
	"É", "æ", "Æ", "ô", "ö", "ò", "û", "ù", "ÿ", "Ö", "Ü", "¢", "£", "¥", "₧", "ƒ",
	"á", "í", "ó", "ú", "ñ", "Ñ", "ª", "º", "¿", "⌐", "¬", "½", "¼", "¡", "«", "»",
	"░", "▒", "▓", "│", "┤", "╡", "╢", "╖", "╕", "╣", "║", "╗", "╝", "╜", "╛", "┐",
	"└", "┴", "┬", "├", "─", "┼", "╞", "╟", "╚", "╔", "╩", "╦", "╠", "═", "╬", "╧",
	"╨", "╤", "╥", "╙", "╘", "╒", "╓", "╫", "╪", "┘", "┌", "█", "▄", "▌", "▐", "▀",
	"α", "ß", "Γ", "π", "Σ", "σ", "µ", "τ", "Φ", "Θ", "Ω", "δ", "∞", "φ", "ε", "∩",
	"≡", "±", "≥", "≤", "⌠", "⌡", "÷", "≈", "°", "∙", "·", "√", "ⁿ", "²", "■", " ",
};
/* clang-format on */
