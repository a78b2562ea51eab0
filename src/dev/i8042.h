/* Keyboard controller of a PC (8042 with the firmware of IBM's PS/2: Hardware Interface Technical
 * Reference, "Keyboard and Auxiliary Device Controller", 1990), with a keyboard and a mouse. */
#ifndef DEV_I8042_H
#define DEV_I8042_H

#include "core/device.h"
#include "dev/ps2.h"

#define I8042_RAM 32u

struct i8042_regs {
	u8 ram[I8042_RAM]; /* byte 0 is the command byte */
	u8 output_port;
	/* output buffer: it holds data, which came from the auxiliary device */
	u8 full, from_aux, data;
	u8 system;            /* status bit 2 */
	u8 was_command;       /* status bit 3: the last write was to port 0x64 */
	u8 expect;            /* controller command whose parameter byte comes next, or 0 */
	u8 break_seen;        /* the keyboard's prefix 0xf0 waits for the code it belongs to */
	struct ps2_queue own; /* answers of the controller, each two bytes: source and data */
	struct ps2_kbd kbd;
	struct ps2_mouse mouse;
};

struct i8042 {
	struct device dev;
	struct i8042_regs regs;
	/* Set before init. */
	struct irq irq_kbd, irq_aux; /* IRQ1, IRQ12 */
	/* the controller's part: A20 is on if this or port 0x92 says so */
	void (*set_a20)(void *opaque, bool on);
	void (*reset)(void *opaque); /* of the processor */
	void *opaque;
};

extern const struct device_type i8042_type;

/* User input, as for ps2_kbd_key and ps2_mouse_move. */
void i8042_key(struct i8042 *kbc, u16 code, bool down);
void i8042_mouse(struct i8042 *kbc, int dx, int dy, u8 buttons);

#endif
