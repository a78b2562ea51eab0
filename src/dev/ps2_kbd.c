/* PS/2 keyboard with scan sets 1 and 2. */
#include "dev/ps2.h"

#include "base/bits.h"

#define ACK    0xfa
#define RESEND 0xfe
#define BAT_OK 0xaa /* basic assurance test passed */

enum {
	CMD_LEDS = 0xed,
	CMD_ECHO = 0xee,
	CMD_SCAN_SET = 0xf0,
	CMD_IDENTIFY = 0xf2,
	CMD_RATE = 0xf3,
	CMD_ENABLE = 0xf4,
	CMD_DISABLE = 0xf5,
	CMD_DEFAULT = 0xf6,
	CMD_SET3_FIRST = 0xf7,
	CMD_SET3_ALL_LAST = 0xfa,
	CMD_RESEND = 0xfe,
	CMD_RESET = 0xff,
};

/* What the controller makes of each code of set 2; those above are passed as they are. */
static const u8 set2_to_set1[] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
	0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11,
	0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14,
	0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
	0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35,
	0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36,
	0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c,
	0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
};

u8 ps2_translate(u8 byte) { return byte < ARRAY_LEN(set2_to_set1) ? set2_to_set1[byte] : byte; }

/* The key's own code in set 2, or 0. Where two codes translate to one, the real key's is the higher
 * (F7, Alt+SysRq). */
static u8 set1_to_set2(u8 code)
{
	for (unsigned i = ARRAY_LEN(set2_to_set1); i-- > 1;)
		if (set2_to_set1[i] == code)
			return (u8)i;
	return 0;
}

bool ps2_put(struct ps2_queue *q, const u8 *bytes, unsigned n)
{
	if (q->count + n > PS2_QUEUE)
		return false;
	for (unsigned i = 0; i < n; i++)
		q->data[(q->head + q->count++) % PS2_QUEUE] = bytes[i];
	return true;
}

bool ps2_get(struct ps2_queue *q, u8 *byte)
{
	if (!q->count)
		return false;
	*byte = q->data[q->head % PS2_QUEUE];
	q->head = (q->head + 1) % PS2_QUEUE;
	q->count--;
	return true;
}

/* An answer to a command takes the place of what was queued: the command has interrupted it. */
static void answer(struct ps2_kbd *kbd, const u8 *bytes, unsigned n)
{
	kbd->out.count = 0;
	ps2_put(&kbd->out, bytes, n);
	kbd->last = bytes[n - 1];
}

static void answer1(struct ps2_kbd *kbd, u8 byte) { answer(kbd, &byte, 1); }

static void set_default(struct ps2_kbd *kbd)
{
	kbd->scan_set = 2;
	kbd->rate = 0x2b; /* 10.9 a second after 500 ms */
}

void ps2_kbd_reset(struct ps2_kbd *kbd)
{
	*kbd = (struct ps2_kbd){ .scanning = 1 };
	set_default(kbd);
}

static void write_scan_set(struct ps2_kbd *kbd, u8 value)
{
	u8 report[2] = { ACK, kbd->scan_set };

	if (!value) {
		answer(kbd, report, 2);
	} else if (value <= 2) {
		kbd->scan_set = value;
		answer1(kbd, ACK);
	} else {
		answer1(kbd, RESEND);
	}
}

static void write_parameter(struct ps2_kbd *kbd, u8 command, u8 value)
{
	switch (command) {
	case CMD_LEDS: kbd->leds = value & 7; break;
	case CMD_RATE: kbd->rate = value & 0x7f; break;
	default: write_scan_set(kbd, value); return;
	}
	answer1(kbd, ACK);
}

void ps2_kbd_write(struct ps2_kbd *kbd, u8 byte)
{
	static const u8 id[] = { ACK, 0xab, 0x83 };
	static const u8 reset_done[] = { ACK, BAT_OK };
	u8 command = kbd->expect;

	kbd->expect = 0;
	/* A command in place of the parameter starts afresh. */
	if (command && byte < CMD_LEDS) {
		write_parameter(kbd, command, byte);
		return;
	}
	switch (byte) {
	case CMD_ECHO: answer1(kbd, CMD_ECHO); return;
	case CMD_IDENTIFY: answer(kbd, id, sizeof(id)); return;
	case CMD_RESEND: answer1(kbd, kbd->last); return;
	case CMD_RESET:
		ps2_kbd_reset(kbd);
		answer(kbd, reset_done, sizeof(reset_done));
		return;
	case CMD_LEDS:
	case CMD_SCAN_SET:
	case CMD_RATE: kbd->expect = byte; break;
	case CMD_ENABLE: kbd->scanning = 1; break;
	case CMD_DISABLE:
		kbd->scanning = 0;
		set_default(kbd);
		break;
	case CMD_DEFAULT: set_default(kbd); break;
	/* key types of set 3: accepted, without effect in the others */
	case CMD_SET3_FIRST ... CMD_SET3_ALL_LAST: break;
	default: answer1(kbd, RESEND); return;
	}
	answer1(kbd, ACK);
}

void ps2_kbd_key(struct ps2_kbd *kbd, u16 code, bool down)
{
	u8 bytes[3], key = (u8)code & 0x7f;
	unsigned n = 0;

	if (kbd->scan_set == 2 && !(key = set1_to_set2(key)))
		return;
	if (!kbd->scanning)
		return;
	if (code >> 8 == 0xe0)
		bytes[n++] = 0xe0;
	if (kbd->scan_set == 2 && !down)
		bytes[n++] = 0xf0;
	bytes[n++] = kbd->scan_set == 1 && !down ? key | 0x80 : key;
	/* What does not fit is lost, a key's bytes together. */
	if (ps2_put(&kbd->out, bytes, n))
		kbd->last = bytes[n - 1];
}
