/* The registers of the VGA (FreeVGA: "VGA Registers"): general, sequencer, graphics controller, CRT controller, attribute controller,
 * DAC. */
#include "dev/vga_internal.h"

/* Bits that exist. */
static const u8 seq_bits[VGA_SEQ_COUNT] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e };
static const u8 gc_bits[VGA_GC_COUNT] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff };
static const u8 attr_bits[VGA_ATTR_COUNT] = {
	0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
	0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f,
};

#define ATTR_INDEX_BITS 0x3f
#define INDEX_BITS      0x1f
#define OUTPUT_BITS     0xef
#define FEATURE_BITS    0x0b

#define VSYNC_PROTECT     BIT(7) /* CRTC 0 to 7 are read-only, but for the line compare bit */
#define OVERFLOW_COMPARE  BIT(4)
#define STATUS0_SENSE     BIT(4) /* a monitor is there */
#define STATUS1_BLANK     BIT(0)
#define STATUS1_RETRACE   BIT(3)
#define DAC_STATE_READING 3

/* --- Timing ------------------------------------------------------------------------------------ */

/* A monitor that shows nothing sensible is taken to run at this rate. */
#define FRAME_LINES 525u
#define LINE_DOTS   800u
#define DOT_HZ      25175000u

struct timing {
	u32 dot_hz;
	u32 line_dots, shown_dots;
	u32 lines, shown_lines, retrace_line, retrace_lines;
};

u32 vga_vertical(const struct vga_regs *r, unsigned reg)
{
	u32 overflow = r->crtc[CRTC_OVERFLOW];
	u32 value = r->crtc[reg];

	switch (reg) {
	case CRTC_VTOTAL: return value | (overflow & BIT(0)) << 8 | (overflow & BIT(5)) << 4;
	case CRTC_VDISPLAY_END: return value | (overflow & BIT(1)) << 7 | (overflow & BIT(6)) << 3;
	case CRTC_VSYNC_START: return value | (overflow & BIT(2)) << 6 | (overflow & BIT(7)) << 2;
	default: /* line compare */
		return value | (overflow & BIT(4)) << 4 | (r->crtc[CRTC_MAX_SCAN] & BIT(6)) << 3;
	}
}

/* The extensions know no timing: 60 frames a second, with a twentieth of the lines not shown. */
static struct timing dispi_timing(const struct vga_regs *r)
{
	struct vga_dispi mode = vga_dispi_mode(r);
	struct timing t = {
		.line_dots = mode.width + mode.width / 4 + 1,
		.shown_dots = mode.width,
		.lines = mode.height + mode.height / 20 + 4,
		.shown_lines = mode.height,
		.retrace_line = mode.height + 1,
		.retrace_lines = 2,
	};

	t.dot_hz = 60 * t.line_dots * t.lines;
	return t;
}

static struct timing timing_of(const struct vga_regs *r)
{
	u32 char_dots = r->seq[SEQ_CLOCKING] & CLOCKING_8DOT ? 8 : 9;
	struct timing t = {
		.dot_hz = (r->misc >> 2 & 3) == 1 ? 28322000 : 25175000,
		.line_dots = (r->crtc[CRTC_HTOTAL] + 5u) * char_dots,
		.shown_dots = (r->crtc[CRTC_HDISPLAY_END] + 1u) * char_dots,
		.lines = vga_vertical(r, CRTC_VTOTAL) + 2,
		.shown_lines = vga_vertical(r, CRTC_VDISPLAY_END) + 1,
		.retrace_line = vga_vertical(r, CRTC_VSYNC_START),
	};

	if (vga_dispi_on(r))
		return dispi_timing(r);
	/* It ends in the line that has these low bits. */
	t.retrace_lines = ((r->crtc[CRTC_VSYNC_END] - t.retrace_line - 1) & 15) + 1;
	if (r->seq[SEQ_CLOCKING] & CLOCKING_HALF)
		t.dot_hz /= 2;
	if (t.shown_dots < t.line_dots && t.shown_lines < t.lines && t.retrace_line < t.lines)
		return t;
	return (struct timing){ DOT_HZ, LINE_DOTS, 640, FRAME_LINES, 480, 490, 2 };
}

u64 vga_frames(const struct vga *vga, bool *retrace, bool *blank)
{
	struct timing t = timing_of(&vga->regs);
	u64 dots = clock_ns_to_ticks(clock_now(vga->dev.platform->clock), t.dot_hz);
	u64 lines = dots / t.line_dots;
	u32 line = (u32)(lines % t.lines), dot = (u32)(dots % t.line_dots);

	*retrace = line - t.retrace_line < t.retrace_lines;
	*blank = line >= t.shown_lines || dot >= t.shown_dots;
	return lines / t.lines;
}

/* Reading starts a new index-data sequence of the attribute controller. */
static u8 status1_read(struct vga *vga)
{
	bool retrace, blank;

	vga->regs.attr_data = 0;
	vga_frames(vga, &retrace, &blank);
	return (u8)((retrace ? STATUS1_RETRACE : 0) | (blank ? STATUS1_BLANK : 0));
}

/* --- Indexed registers -------------------------------------------------------------------------- */

static u8 indexed_read(const u8 *regs, unsigned count, unsigned index)
{
	return index < count ? regs[index] : 0;
}

static void seq_write(struct vga *vga, u8 value)
{
	struct vga_regs *r = &vga->regs;

	if (r->seq_index >= VGA_SEQ_COUNT)
		return;
	r->seq[r->seq_index] = value & seq_bits[r->seq_index];
	vga_window_update(vga);
}

static void gc_write(struct vga *vga, u8 value)
{
	struct vga_regs *r = &vga->regs;

	if (r->gc_index >= VGA_GC_COUNT)
		return;
	r->gc[r->gc_index] = value & gc_bits[r->gc_index];
	vga_window_update(vga);
}

static void crtc_write(struct vga_regs *r, u8 value)
{
	u8 keep = 0;

	if (r->crtc_index >= VGA_CRTC_COUNT)
		return;
	if (r->crtc_index <= CRTC_OVERFLOW && (r->crtc[CRTC_VSYNC_END] & VSYNC_PROTECT))
		keep = r->crtc_index == CRTC_OVERFLOW ? (u8)~OVERFLOW_COMPARE : 0xff;
	r->crtc[r->crtc_index] = (u8)((r->crtc[r->crtc_index] & keep) | (value & ~keep));
}

static void attr_write(struct vga_regs *r, u8 value)
{
	unsigned index = r->attr_index & INDEX_BITS;

	if (!r->attr_data)
		r->attr_index = value & ATTR_INDEX_BITS;
	else if (index < VGA_ATTR_COUNT)
		r->attr[index] = value & attr_bits[index];
	r->attr_data ^= 1;
}

/* --- DAC ---------------------------------------------------------------------------------------- */

static u8 dac_bits(const struct vga_regs *r)
{
	return r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC ? 0xff : 0x3f;
}

/* Three accesses are one colour; the index counts on then. */
static u8 dac_data_read(struct vga_regs *r)
{
	u8 value = r->palette[r->dac_read][r->dac_part];

	if (++r->dac_part == 3) {
		r->dac_part = 0;
		r->dac_read++;
	}
	return value;
}

static void dac_data_write(struct vga_regs *r, u8 value)
{
	r->dac_latch[r->dac_part] = value & dac_bits(r);
	if (++r->dac_part < 3)
		return;
	r->dac_part = 0;
	memcpy(r->palette[r->dac_write], r->dac_latch, 3);
	r->dac_write++;
}

/* --- Ports ------------------------------------------------------------------------------------- */

/* CRTC, status 1 and feature control are at one of two places; the other does not answer. */
static bool answers(const struct vga_regs *r, u16 port)
{
	if (port >= 0x3c0 && port <= 0x3cf)
		return true;
	return (port >= 0x3d0) == (bool)(r->misc & OUTPUT_COLOR);
}

u8 vga_port_read(struct vga *vga, u16 port)
{
	struct vga_regs *r = &vga->regs;

	if (!answers(r, port))
		return 0xff;
	switch (port) {
	case 0x3c0: return r->attr_index;
	case 0x3c1: return indexed_read(r->attr, VGA_ATTR_COUNT, r->attr_index & INDEX_BITS);
	case 0x3c2: return STATUS0_SENSE;
	case 0x3c4: return r->seq_index;
	case 0x3c5: return indexed_read(r->seq, VGA_SEQ_COUNT, r->seq_index);
	case 0x3c6: return r->dac_mask;
	case 0x3c7: return r->dac_state;
	case 0x3c8: return r->dac_write;
	case 0x3c9: return dac_data_read(r);
	case 0x3ca: return r->feature;
	case 0x3cc: return r->misc;
	case 0x3ce: return r->gc_index;
	case 0x3cf: return indexed_read(r->gc, VGA_GC_COUNT, r->gc_index);
	case 0x3b4:
	case 0x3d4: return r->crtc_index;
	case 0x3b5:
	case 0x3d5: return indexed_read(r->crtc, VGA_CRTC_COUNT, r->crtc_index);
	case 0x3ba:
	case 0x3da: return status1_read(vga);
	default: return 0xff;
	}
}

void vga_port_write(struct vga *vga, u16 port, u8 value)
{
	struct vga_regs *r = &vga->regs;

	if (!answers(r, port))
		return;
	switch (port) {
	case 0x3c0: attr_write(r, value); break;
	case 0x3c2:
		r->misc = value & OUTPUT_BITS;
		vga_window_update(vga);
		break;
	case 0x3c4: r->seq_index = value & INDEX_BITS; break;
	case 0x3c5: seq_write(vga, value); break;
	case 0x3c6: r->dac_mask = value; break;
	case 0x3c7:
		r->dac_read = value;
		r->dac_part = 0;
		r->dac_state = DAC_STATE_READING;
		break;
	case 0x3c8:
		r->dac_write = value;
		r->dac_part = 0;
		r->dac_state = 0;
		break;
	case 0x3c9: dac_data_write(r, value); break;
	case 0x3ce: r->gc_index = value & INDEX_BITS; break;
	case 0x3cf: gc_write(vga, value); break;
	case 0x3b4:
	case 0x3d4: r->crtc_index = value & INDEX_BITS; break;
	case 0x3b5:
	case 0x3d5: crtc_write(r, value); break;
	case 0x3ba:
	case 0x3da: r->feature = value & FEATURE_BITS; break;
	default: break;
	}
}

/* All registers are zero after power-on: the screen is off, the memory does not answer. */
void vga_ports_reset(struct vga *vga)
{
	struct vga_regs *r = &vga->regs;

	memset((u8 *)r + sizeof(r->pci), 0, sizeof(*r) - sizeof(r->pci));
	r->dac_mask = 0xff;
}

void vga_ports_loaded(struct vga *vga)
{
	struct vga_regs *r = &vga->regs;

	r->misc &= OUTPUT_BITS;
	r->feature &= FEATURE_BITS;
	r->seq_index &= INDEX_BITS;
	r->gc_index &= INDEX_BITS;
	r->crtc_index &= INDEX_BITS;
	r->attr_index &= ATTR_INDEX_BITS;
	r->attr_data &= 1;
	for (unsigned n = 0; n < VGA_SEQ_COUNT; n++)
		r->seq[n] &= seq_bits[n];
	for (unsigned n = 0; n < VGA_GC_COUNT; n++)
		r->gc[n] &= gc_bits[n];
	for (unsigned n = 0; n < VGA_ATTR_COUNT; n++)
		r->attr[n] &= attr_bits[n];
	r->dac_state = r->dac_state ? DAC_STATE_READING : 0;
	r->dac_part %= 3;
	for (unsigned n = 0; n < 256 * 3; n++)
		r->palette[n / 3][n % 3] &= dac_bits(r);
	if (r->layout > VGA_TEXT)
		r->layout = VGA_PLANAR;
}
