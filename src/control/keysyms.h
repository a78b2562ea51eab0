/* What one VNC client does on its keyboard, as keys of the guest's US keyboard. Clients send symbols: some with the shift key as their own user
 * holds it, on whatever layout that is, some without. */
#ifndef CONTROL_KEYSYMS_H
#define CONTROL_KEYSYMS_H

#include "base/types.h"

#define KEYSYMS_HELD 24u /* keys that are down at once */

/* Zeroed: no key is down. */
struct keysyms {
	bool shift, shift_r;
	struct {
		u32 keysym;
		u16 code;
	} held[KEYSYMS_HELD];
	unsigned count;
};

/* Where keys go: set 1 make codes. */
typedef void keysyms_emit(void *opaque, u16 code, bool down);

/* caps: the guest's Caps Lock is on. A symbol without a key is ignored, and so is a key that was not down; one that is down already
 * repeats. ISO_Level3_Shift (AltGr) is ignored: the symbol that it makes has its own key here. */
void keysyms_event(struct keysyms *k, u32 keysym, bool down, bool caps, keysyms_emit *emit,
		   void *opaque);
/* All keys go up: the client has gone. */
void keysyms_release(struct keysyms *k, keysyms_emit *emit, void *opaque);

#endif
