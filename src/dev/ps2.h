/* PS/2 keyboard and mouse, the devices behind the keyboard controller (IBM PS/2 Hardware Interface
 * Technical Reference, "Keyboards" and "Mouse", 1990). Each takes bytes from the controller and
 * queues bytes for it. */
#ifndef DEV_PS2_H
#define DEV_PS2_H

#include "base/types.h"

#define PS2_QUEUE 16u

struct ps2_queue {
	u8 data[PS2_QUEUE];
	u8 head, count;
};

struct ps2_kbd {
	struct ps2_queue out;
	u8 scan_set; /* 1 or 2 */
	u8 leds, rate;
	u8 scanning; /* keys are reported */
	u8 expect;   /* command whose parameter byte comes next, or 0 */
	u8 last;     /* byte sent last, for Resend */
};

struct ps2_mouse {
	struct ps2_queue out;
	u8 rate, resolution, scaling; /* scaling: 1 for 2:1 */
	u8 reporting, remote, wrap;
	u8 expect, last;
	u8 buttons; /* bit 0 left, 1 right, 2 middle */
	i16 dx, dy; /* moved and not yet reported; up is positive */
};

/* False, and nothing changes, if there is no room for all n bytes. */
bool ps2_put(struct ps2_queue *q, const u8 *bytes, unsigned n);
/* False if the queue is empty. */
bool ps2_get(struct ps2_queue *q, u8 *byte);

/* The keyboard as after power on, without the byte that says so. */
void ps2_kbd_reset(struct ps2_kbd *kbd);
/* A byte comes from the controller: a command, or a parameter of one. */
void ps2_kbd_write(struct ps2_kbd *kbd, u8 byte);
/* A key moves; code is its set 1 make code, 0xe0xx for those with the prefix. */
void ps2_kbd_key(struct ps2_kbd *kbd, u16 code, bool down);
/* A byte of scan set 2 as the controller translates it to set 1; 0xf0 is left to the caller. */
u8 ps2_translate(u8 byte);

/* The mouse, likewise. */
void ps2_mouse_reset(struct ps2_mouse *mouse);
void ps2_mouse_write(struct ps2_mouse *mouse, u8 byte);
/* It moves, up is positive; buttons: bit 0 left, 1 right, 2 middle. */
void ps2_mouse_move(struct ps2_mouse *mouse, int dx, int dy, u8 buttons);

#endif
