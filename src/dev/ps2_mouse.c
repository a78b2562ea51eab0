/* PS/2 mouse with three buttons and two axes. */
#include "dev/ps2.h"

#include "base/bits.h"

#define ACK    0xfa
#define RESEND 0xfe
#define BAT_OK 0xaa
#define ID     0x00

enum {
	CMD_SCALE_1 = 0xe6,
	CMD_SCALE_2 = 0xe7,
	CMD_RESOLUTION = 0xe8,
	CMD_STATUS = 0xe9,
	CMD_STREAM = 0xea,
	CMD_READ_DATA = 0xeb,
	CMD_RESET_WRAP = 0xec,
	CMD_WRAP = 0xee,
	CMD_REMOTE = 0xf0,
	CMD_READ_ID = 0xf2,
	CMD_RATE = 0xf3,
	CMD_ENABLE = 0xf4,
	CMD_DISABLE = 0xf5,
	CMD_DEFAULT = 0xf6,
	CMD_RESEND = 0xfe,
	CMD_RESET = 0xff,
};

static void answer(struct ps2_mouse *m, const u8 *bytes, unsigned n)
{
	m->out.count = 0;
	ps2_put(&m->out, bytes, n);
	m->last = bytes[n - 1];
}

static void answer1(struct ps2_mouse *m, u8 byte) { answer(m, &byte, 1); }

void ps2_mouse_reset(struct ps2_mouse *m)
{
	*m = (struct ps2_mouse){ .rate = 100, .resolution = 2 };
}

/* Up to 255 counts of one axis in a report of 9 bits; the rest waits for the next. */
static int take_axis(i16 *moved)
{
	int n = *moved < -255 ? -255 : MIN(*moved, 255);

	*moved = (i16)(*moved - n);
	return n;
}

static void make_report(struct ps2_mouse *m, u8 report[3])
{
	int dx = take_axis(&m->dx), dy = take_axis(&m->dy);

	report[0] = (u8)(8 | (m->buttons & 7) | (dx < 0) << 4 | (dy < 0) << 5);
	report[1] = (u8)dx;
	report[2] = (u8)dy;
}

/* Stream mode: a report goes out whenever there is something to tell and room for it. */
void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, u8 buttons)
{
	bool news = dx || dy || buttons != m->buttons;
	u8 report[3];

	m->dx = (i16)MAX(-4095, MIN(4095, m->dx + MAX(-4095, MIN(4095, dx))));
	m->dy = (i16)MAX(-4095, MIN(4095, m->dy + MAX(-4095, MIN(4095, dy))));
	m->buttons = buttons & 7;
	if (!news || !m->reporting || m->remote || m->wrap)
		return;
	while (m->out.count + sizeof(report) <= PS2_QUEUE) {
		make_report(m, report);
		ps2_put(&m->out, report, sizeof(report));
		m->last = report[2];
		if (!m->dx && !m->dy)
			break;
	}
}

static void send_status(struct ps2_mouse *m)
{
	/* Left is bit 2, middle bit 1, right bit 0 here. */
	u8 buttons =
		(u8)((m->buttons & 1) << 2 | (m->buttons >> 2 & 1) << 1 | (m->buttons >> 1 & 1));
	u8 status[4] = { ACK, (u8)(m->remote << 6 | m->reporting << 5 | m->scaling << 4 | buttons),
			 m->resolution, m->rate };

	answer(m, status, sizeof(status));
}

static void send_report(struct ps2_mouse *m)
{
	u8 bytes[4] = { ACK };

	make_report(m, bytes + 1);
	answer(m, bytes, sizeof(bytes));
}

static void set_default(struct ps2_mouse *m)
{
	m->rate = 100;
	m->resolution = 2;
	m->scaling = m->reporting = m->remote = 0;
}

static void write_parameter(struct ps2_mouse *m, u8 command, u8 value)
{
	if (command == CMD_RATE)
		m->rate = value;
	else
		m->resolution = value & 3;
	answer1(m, ACK);
}

static void write_command(struct ps2_mouse *m, u8 byte)
{
	static const u8 reset_done[] = { ACK, BAT_OK, ID };
	static const u8 id[] = { ACK, ID };

	switch (byte) {
	case CMD_SCALE_1:
	case CMD_SCALE_2: m->scaling = byte == CMD_SCALE_2; break;
	case CMD_RESOLUTION:
	case CMD_RATE: m->expect = byte; break;
	case CMD_STATUS: send_status(m); return;
	case CMD_STREAM:
	case CMD_REMOTE: m->remote = byte == CMD_REMOTE; break;
	case CMD_READ_DATA: send_report(m); return;
	case CMD_RESET_WRAP: break;
	case CMD_WRAP: m->wrap = 1; break;
	case CMD_READ_ID: answer(m, id, sizeof(id)); return;
	case CMD_ENABLE:
	case CMD_DISABLE: m->reporting = byte == CMD_ENABLE; break;
	case CMD_DEFAULT: set_default(m); break;
	case CMD_RESEND: answer1(m, m->last); return;
	case CMD_RESET:
		ps2_mouse_reset(m);
		answer(m, reset_done, sizeof(reset_done));
		return;
	default: answer1(m, RESEND); return;
	}
	answer1(m, ACK);
}

void ps2_mouse_write(struct ps2_mouse *m, u8 byte)
{
	u8 command = m->expect;

	m->expect = 0;
	if (m->wrap && byte != CMD_RESET && byte != CMD_RESET_WRAP) {
		answer1(m, byte);
		return;
	}
	m->wrap = 0;
	if (command && byte < CMD_SCALE_1)
		write_parameter(m, command, byte);
	else
		write_command(m, byte);
}
