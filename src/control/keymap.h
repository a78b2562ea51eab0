/* Keys of a US keyboard: what X11 and texts call them, as the PS/2 keyboard's set 1 make codes. */
#ifndef CONTROL_KEYMAP_H
#define CONTROL_KEYMAP_H

#include "base/types.h"

#define KEY_SHIFT   0x2au
#define KEY_CONTROL 0x1du
#define KEY_ALT     0x38u

/* Set 1 make code (e0xxh with the prefix) of an X11 keysym, or 0. */
u16 keymap_keysym(u32 keysym);
/* Make code of the key that types a character of ASCII, or 0; *shift: with the shift key. Newline is Enter, 8 is Backspace, 27 Escape. */
u16 keymap_char(u8 c, bool *shift);
/* Make code of a key by name, as QMP calls them ("ret", "f1", "ctrl", "a", "kp_0", "pgdn"), or 0. */
u16 keymap_name(const char *name);
/* Code page 437 as UTF-8: a string of 1 to 3 bytes for each of the 256 characters; controls are the symbols that VGA shows. */
extern const char *const keymap_cp437[256];

#endif
