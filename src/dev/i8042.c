/* Keyboard controller. It works at once: the input buffer is always empty, and a byte that waits
 * moves to the output buffer as soon as that has been read. */
#include "dev/i8042.h"

#include "base/bits.h"
#include "base/trace.h"

#define STATUS_FULL     0x01
#define STATUS_SYSTEM   0x04
#define STATUS_COMMAND  0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX      0x20

/* Command byte. */
#define CTR_KBD_IRQ   0x01
#define CTR_AUX_IRQ   0x02
#define CTR_SYSTEM    0x04
#define CTR_KBD_OFF   0x10
#define CTR_AUX_OFF   0x20
#define CTR_TRANSLATE 0x40

#define PORT_NO_RESET 0x01
#define PORT_A20      0x02
#define PORT_AUX_FULL 0x20
#define PORT_KBD_FULL 0x10

enum {
	CMD_READ_RAM = 0x20,
	CMD_WRITE_RAM = 0x60,
	CMD_TEST_PASSWORD = 0xa4,
	CMD_AUX_OFF = 0xa7,
	CMD_AUX_ON = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_OFF = 0xad,
	CMD_KBD_ON = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_WRITE_KBD_BUFFER = 0xd2,
	CMD_WRITE_AUX_BUFFER = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_READ_TEST = 0xe0,
	CMD_PULSE = 0xf0,
};

/* Sources of a byte in the controller's own queue. */
enum { FROM_KBD, FROM_AUX };

static const struct state_field i8042_rows[] = {
	STATE_ARRAY(struct i8042_regs, ram),
	STATE_ROW(struct i8042_regs, output_port),
	STATE_ROW(struct i8042_regs, full),
	STATE_ROW(struct i8042_regs, from_aux),
	STATE_ROW(struct i8042_regs, data),
	STATE_ROW(struct i8042_regs, system),
	STATE_ROW(struct i8042_regs, was_command),
	STATE_ROW(struct i8042_regs, expect),
	STATE_ROW(struct i8042_regs, break_seen),
	STATE_ARRAY(struct i8042_regs, own.data),
	STATE_ROW(struct i8042_regs, own.head),
	STATE_ROW(struct i8042_regs, own.count),
	STATE_ARRAY(struct i8042_regs, kbd.out.data),
	STATE_ROW(struct i8042_regs, kbd.out.head),
	STATE_ROW(struct i8042_regs, kbd.out.count),
	STATE_ROW(struct i8042_regs, kbd.scan_set),
	STATE_ROW(struct i8042_regs, kbd.leds),
	STATE_ROW(struct i8042_regs, kbd.rate),
	STATE_ROW(struct i8042_regs, kbd.scanning),
	STATE_ROW(struct i8042_regs, kbd.expect),
	STATE_ROW(struct i8042_regs, kbd.last),
	STATE_ARRAY(struct i8042_regs, mouse.out.data),
	STATE_ROW(struct i8042_regs, mouse.out.head),
	STATE_ROW(struct i8042_regs, mouse.out.count),
	STATE_ROW(struct i8042_regs, mouse.rate),
	STATE_ROW(struct i8042_regs, mouse.resolution),
	STATE_ROW(struct i8042_regs, mouse.scaling),
	STATE_ROW(struct i8042_regs, mouse.reporting),
	STATE_ROW(struct i8042_regs, mouse.remote),
	STATE_ROW(struct i8042_regs, mouse.wrap),
	STATE_ROW(struct i8042_regs, mouse.expect),
	STATE_ROW(struct i8042_regs, mouse.last),
	STATE_ROW(struct i8042_regs, mouse.buttons),
	STATE_ROW(struct i8042_regs, mouse.dx),
	STATE_ROW(struct i8042_regs, mouse.dy),
};
static STATE_DESC(i8042_state, struct i8042_regs, "i8042", i8042_rows);

/* The interrupt lines follow the output buffer while the command byte lets them. */
static void kbc_update(struct i8042 *kbc)
{
	const struct i8042_regs *r = &kbc->regs;

	irq_set(&kbc->irq_kbd, r->full && !r->from_aux && (r->ram[0] & CTR_KBD_IRQ));
	irq_set(&kbc->irq_aux, r->full && r->from_aux && (r->ram[0] & CTR_AUX_IRQ));
}

/* The keyboard's next byte as software is to see it; false if there is none yet. */
static bool next_kbd_byte(struct i8042_regs *r, u8 *byte)
{
	while (ps2_get(&r->kbd.out, byte)) {
		if (!(r->ram[0] & CTR_TRANSLATE))
			return true;
		if (*byte == 0xf0) {
			r->break_seen = 1;
			continue;
		}
		*byte = ps2_translate(*byte) | (r->break_seen ? 0x80 : 0);
		r->break_seen = 0;
		return true;
	}
	return false;
}

/* Moves the next byte that waits into the output buffer. A device whose interface is off keeps its
 * bytes. */
static void kbc_fill(struct i8042 *kbc)
{
	struct i8042_regs *r = &kbc->regs;
	u8 source = FROM_KBD;

	if (!r->full) {
		if (ps2_get(&r->own, &source)) {
			r->full = ps2_get(&r->own, &r->data);
		} else if (!(r->ram[0] & CTR_KBD_OFF) && next_kbd_byte(r, &r->data)) {
			r->full = 1;
		} else if (!(r->ram[0] & CTR_AUX_OFF) && ps2_get(&r->mouse.out, &r->data)) {
			r->full = 1;
			source = FROM_AUX;
		}
		r->from_aux = source == FROM_AUX;
	}
	kbc_update(kbc);
}

/* An answer of the controller; beyond what the queue holds, software that does not read gets no
 * more. */
static void kbc_answer(struct i8042_regs *r, u8 source, u8 data)
{
	u8 entry[2] = { source, data };

	ps2_put(&r->own, entry, 2);
}

static void write_output_port(struct i8042 *kbc, u8 value)
{
	u8 old = kbc->regs.output_port;

	kbc->regs.output_port = value & (PORT_NO_RESET | PORT_A20);
	if ((old ^ value) & PORT_A20)
		kbc->set_a20(kbc->opaque, value & PORT_A20);
	if (!(value & PORT_NO_RESET)) {
		/* The line springs back with the processor. */
		kbc->regs.output_port |= PORT_NO_RESET;
		kbc->reset(kbc->opaque);
	}
}

static u8 read_output_port(const struct i8042_regs *r)
{
	return r->output_port | 0xcc | (r->full && !r->from_aux ? PORT_KBD_FULL : 0) |
	       (r->full && r->from_aux ? PORT_AUX_FULL : 0);
}

static void write_ram(struct i8042_regs *r, unsigned index, u8 value)
{
	r->ram[index] = value;
	if (index == 0)
		r->system = value & CTR_SYSTEM ? 1 : 0;
}

static void self_test(struct i8042_regs *r)
{
	r->system = 1;
	r->ram[0] |= CTR_SYSTEM | CTR_KBD_OFF | CTR_AUX_OFF;
	kbc_answer(r, FROM_KBD, 0x55);
}

static void kbc_command(struct i8042 *kbc, u8 command)
{
	struct i8042_regs *r = &kbc->regs;

	r->expect = 0;
	switch (command) {
	case CMD_READ_RAM ... CMD_READ_RAM + I8042_RAM - 1:
		kbc_answer(r, FROM_KBD, r->ram[command - CMD_READ_RAM]);
		break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM - 1:
	case CMD_WRITE_OUTPUT:
	case CMD_WRITE_KBD_BUFFER:
	case CMD_WRITE_AUX_BUFFER:
	case CMD_WRITE_AUX: r->expect = command; break;
	case CMD_TEST_PASSWORD: kbc_answer(r, FROM_KBD, 0xf1); break; /* none installed */
	case CMD_AUX_OFF: r->ram[0] |= CTR_AUX_OFF; break;
	case CMD_AUX_ON: r->ram[0] &= (u8)~CTR_AUX_OFF; break;
	case CMD_AUX_TEST:
	case CMD_KBD_TEST: kbc_answer(r, FROM_KBD, 0x00); break; /* no fault */
	case CMD_SELF_TEST: self_test(r); break;
	case CMD_KBD_OFF: r->ram[0] |= CTR_KBD_OFF; break;
	case CMD_KBD_ON: r->ram[0] &= (u8)~CTR_KBD_OFF; break;
	case CMD_READ_INPUT: kbc_answer(r, FROM_KBD, 0x80); break; /* keyboard not locked */
	case CMD_READ_OUTPUT: kbc_answer(r, FROM_KBD, read_output_port(r)); break;
	case CMD_READ_TEST: kbc_answer(r, FROM_KBD, 0x00); break;
	case CMD_PULSE ... CMD_PULSE + 15:
		/* Each clear bit pulses one output low; bit 0 is the processor's reset. */
		if (!(command & PORT_NO_RESET))
			kbc->reset(kbc->opaque);
		break;
	default: trace(I8042, "unknown command %02x", command); break;
	}
}

static void kbc_data(struct i8042 *kbc, u8 value)
{
	struct i8042_regs *r = &kbc->regs;
	u8 command = r->expect;

	r->expect = 0;
	switch (command) {
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM - 1:
		write_ram(r, command - CMD_WRITE_RAM, value);
		break;
	case CMD_WRITE_OUTPUT: write_output_port(kbc, value); break;
	case CMD_WRITE_KBD_BUFFER: kbc_answer(r, FROM_KBD, value); break;
	case CMD_WRITE_AUX_BUFFER: kbc_answer(r, FROM_AUX, value); break;
	case CMD_WRITE_AUX:
		r->ram[0] &= (u8)~CTR_AUX_OFF;
		ps2_mouse_write(&r->mouse, value);
		break;
	default:
		/* For the keyboard; sending to it also turns its interface on. */
		r->ram[0] &= (u8)~CTR_KBD_OFF;
		r->break_seen = 0;
		ps2_kbd_write(&r->kbd, value);
		break;
	}
}

static u64 data_read(void *dev, u64 offset, unsigned size)
{
	struct i8042 *kbc = dev;
	u8 value = kbc->regs.data; /* an empty buffer gives the last byte again */

	trace(I8042, "read data %02x%s", value, kbc->regs.full ? "" : " (empty)");
	kbc->regs.full = 0;
	kbc_update(kbc);
	kbc_fill(kbc);
	return value;
}

static void data_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct i8042 *kbc = dev;

	trace(I8042, "write data %02llx", (unsigned long long)value);
	kbc->regs.was_command = 0;
	kbc_data(kbc, (u8)value);
	kbc_fill(kbc);
}

static u64 status_read(void *dev, u64 offset, unsigned size)
{
	const struct i8042_regs *r = &((struct i8042 *)dev)->regs;

	return (r->full ? STATUS_FULL : 0) | (r->full && r->from_aux ? STATUS_AUX : 0) |
	       (r->system ? STATUS_SYSTEM : 0) | (r->was_command ? STATUS_COMMAND : 0) |
	       STATUS_UNLOCKED;
}

static void command_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct i8042 *kbc = dev;

	trace(I8042, "command %02llx", (unsigned long long)value);
	kbc->regs.was_command = 1;
	kbc_command(kbc, (u8)value);
	kbc_fill(kbc);
}

void i8042_key(struct i8042 *kbc, u16 code, bool down)
{
	ps2_kbd_key(&kbc->regs.kbd, code, down);
	kbc_fill(kbc);
}

void i8042_mouse(struct i8042 *kbc, int dx, int dy, u8 buttons)
{
	ps2_mouse_move(&kbc->regs.mouse, dx, dy, buttons);
	kbc_fill(kbc);
}

static const struct bus_ops data_ops = { data_read, data_write, 1 };
static const struct bus_ops command_ops = { status_read, command_write, 1 };

/* As firmware leaves it: tested, keyboard on with its interrupt and translation, A20 on. */
static void i8042_reset(struct device *dev)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	struct i8042_regs *r = &kbc->regs;

	*r = (struct i8042_regs){ .output_port = PORT_NO_RESET | PORT_A20, .system = 1 };
	r->ram[0] = CTR_KBD_IRQ | CTR_SYSTEM | CTR_AUX_OFF | CTR_TRANSLATE;
	ps2_kbd_reset(&r->kbd);
	ps2_mouse_reset(&r->mouse);
	kbc->set_a20(kbc->opaque, true);
	kbc_update(kbc);
}

static void i8042_loaded(struct device *dev)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);

	kbc->set_a20(kbc->opaque, kbc->regs.output_port & PORT_A20);
	kbc_update(kbc);
}

static int i8042_init(struct device *dev)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	int err = bus_map(dev->platform->ports, 0x60, 1, &data_ops, kbc, "keyboard data");

	if (err < 0)
		return err;
	err = bus_map(dev->platform->ports, 0x64, 1, &command_ops, kbc, "keyboard command");
	if (err < 0)
		return err;
	i8042_reset(dev);
	return 0;
}

const struct device_type i8042_type = {
	.name = "i8042",
	.help = "keyboard controller with keyboard and mouse",
	.size = sizeof(struct i8042),
	.regs_offset = offsetof(struct i8042, regs),
	.regs = &i8042_state,
	.init = i8042_init,
	.reset = i8042_reset,
	.loaded = i8042_loaded,
};
