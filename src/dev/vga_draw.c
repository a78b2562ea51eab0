/* Lines of text, planes, packed pixels (FreeVGA: "VGA Display Generation", "VGA Text Mode Operation"). */
#include "dev/vga_draw.h"

#define ATTR_LINE_GRAPHICS BIT(2)
#define ATTR_BLINK         BIT(3)
#define ATTR_FIXED_45      BIT(7) /* palette bits 5 and 4 come from the colour select register */

#define CURSOR_OFF BIT(5)

/* Frames. */
#define CURSOR_BLINK 8
#define CHAR_BLINK   16

#define FONT_CHAR_SIZE 32u

/* --- What the registers say --------------------------------------------------------------------- */

static enum vga_kind kind_of(const struct vga_regs *r)
{
	if (vga_dispi_on(r))
		return r->dispi[DISPI_BPP] == 4 ? VGA_KIND_PLANES : VGA_KIND_DISPI;
	if (!(r->gc[GC_MISC] & MISC_GRAPHICS))
		return VGA_KIND_TEXT;
	if (r->gc[GC_MODE] & MODE_256)
		return VGA_KIND_BYTES;
	return r->gc[GC_MODE] & MODE_INTERLEAVE ? VGA_KIND_INTERLEAVE : VGA_KIND_PLANES;
}

static bool screen_on(const struct vga_regs *r)
{
	if (!(r->attr_index & ATTR_INDEX_ON))
		return false;
	return vga_dispi_on(r) || ((r->crtc[CRTC_MODE] & BIT(7)) && r->seq[SEQ_RESET] == 3 &&
				   !(r->seq[SEQ_CLOCKING] & CLOCKING_OFF));
}

/* Character map n of eight: their 8 KiB interleave (FreeVGA: Character Map Select Register). */
static u32 font_offset(unsigned n) { return (n & 3) << 14 | (n & 4) << 11; }

static void text_mode(const struct vga *vga, struct vga_mode *m)
{
	const struct vga_regs *r = &vga->regs;
	u8 fonts = r->seq[SEQ_FONTS];
	bool retrace, blank;
	u64 frames = vga_frames(vga, &retrace, &blank);

	m->font[0] = font_offset((fonts & 3u) | (fonts >> 2 & 4u));
	m->font[1] = font_offset((fonts >> 2 & 3u) | (fonts >> 3 & 4u));
	m->cursor = (u32)r->crtc[CRTC_CURSOR_HIGH] << 8 | r->crtc[CRTC_CURSOR_HIGH + 1];
	m->cursor_first = r->crtc[CRTC_CURSOR_START] & 31;
	m->cursor_last = r->crtc[CRTC_CURSOR_END] & 31;
	m->cursor_on = !(r->crtc[CRTC_CURSOR_START] & CURSOR_OFF) && frames / CURSOR_BLINK % 2 == 0;
	m->blink_on = !(r->attr[ATTR_MODE] & ATTR_BLINK) || frames / CHAR_BLINK % 2 == 0;
}

struct vga_mode vga_mode_of(const struct vga *vga)
{
	const struct vga_regs *r = &vga->regs;
	struct vga_mode m = { .kind = kind_of(r), .on = screen_on(r), .char_dots = 8 };

	if (vga_dispi_on(r)) {
		m.dispi = vga_dispi_mode(r);
		m.width = m.dispi.width;
		m.height = m.dispi.height;
		m.chars = (m.width + 7) / 8;
		m.char_lines = 1;
		return m;
	}
	if (m.kind == VGA_KIND_TEXT) {
		m.char_dots = r->seq[SEQ_CLOCKING] & CLOCKING_8DOT ? 8 : 9;
		text_mode(vga, &m);
	}
	m.doubled = m.kind != VGA_KIND_BYTES && (r->seq[SEQ_CLOCKING] & CLOCKING_HALF);
	m.chars = r->crtc[CRTC_HDISPLAY_END] + 1u;
	m.width = MIN((m.chars * m.char_dots) << m.doubled, SCREEN_MAX_WIDTH);
	m.height = MIN(vga_vertical(r, CRTC_VDISPLAY_END) + 1, SCREEN_MAX_HEIGHT);
	m.char_lines = (r->crtc[CRTC_MAX_SCAN] & 31u) + 1;
	m.step_shift = r->crtc[CRTC_UNDERLINE] & BIT(5) ? 2 : r->crtc[CRTC_MODE] & BIT(3) ? 1 : 0;
	return m;
}

/* FreeVGA: CRTC Mode Control and Underline Location Registers: byte, word and doubleword addresses; row lines as address bits 13
 * and 14. */
u32 vga_crtc_address(const struct vga_regs *r, u32 counter, u32 row)
{
	u8 mode = r->crtc[CRTC_MODE];
	u32 address = counter & 0xffff;

	if (r->crtc[CRTC_UNDERLINE] & BIT(6))
		address = address << 2 | (address >> 14 & 3);
	else if (!(mode & BIT(6)))
		address = address << 1 | (address >> (mode & BIT(5) ? 15 : 13) & 1);
	if (!(mode & BIT(0)))
		address = (address & ~(u32)BIT(13)) | (row & 1) << 13;
	if (!(mode & BIT(1)))
		address = (address & ~(u32)BIT(14)) | (row >> 1 & 1) << 14;
	return address & 0xffff;
}

/* --- Colours ----------------------------------------------------------------------------------- */

static u32 dac_color(const struct vga_regs *r, unsigned index)
{
	const u8 *c = r->palette[index & r->dac_mask];
	u32 rgb = 0;

	for (unsigned n = 0; n < 3; n++) {
		u8 value = r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC ? c[n]
								   : (u8)(c[n] << 2 | c[n] >> 4);
		rgb = rgb << 8 | value;
	}
	return rgb;
}

/* A pixel of four bits through the attribute controller's palette. */
static unsigned attribute_index(const struct vga_regs *r, unsigned pixel)
{
	unsigned select = r->attr[ATTR_COLOR_SELECT];
	unsigned index = r->attr[pixel & r->attr[ATTR_PLANES] & 15];

	if (r->attr[ATTR_MODE] & ATTR_FIXED_45)
		index = (index & 0x0f) | (select & 3) << 4;
	return index | (select & 0xc) << 4;
}

void vga_colors(const struct vga *vga, const struct vga_mode *mode, u32 colors[256])
{
	const struct vga_regs *r = &vga->regs;
	bool bytes = mode->kind == VGA_KIND_BYTES || mode->kind == VGA_KIND_DISPI;

	for (unsigned n = 0; n < (bytes ? 256 : 16); n++)
		colors[n] = dac_color(r, bytes ? n : attribute_index(r, n));
}

/* --- Lines ------------------------------------------------------------------------------------- */

/* Bit 7 - n of a byte as byte n. */
static u64 bits_to_bytes(u8 byte)
{
	u64 picked = byte * 0x0101010101010101ull & 0x0102040810204080ull;

	return (picked + 0x7f7f7f7f7f7f7f7full) >> 7 & 0x0101010101010101ull;
}

/* Nine dots from bit 8 on, of which `count` count. */
static u32 *draw_glyph(u32 glyph, u32 fg, u32 bg, u32 count, u32 *dots)
{
	u64 bits = bits_to_bytes((u8)(glyph >> 1));
	u32 other = fg ^ bg;

	for (unsigned n = 0; n < 8; n++)
		dots[n] = bg ^ (other & -(u32)(bits >> (8 * n) & 1));
	dots[8] = bg ^ (other & -(glyph & 1));
	return dots + count;
}

static void draw_text(const struct vga *vga, const struct vga_mode *m, const u32 *colors,
		      const struct vga_line *line, u32 *dots)
{
	const struct vga_regs *r = &vga->regs;
	const u8 *memory = vga->memory->host;
	bool blinks = r->attr[ATTR_MODE] & ATTR_BLINK;
	bool cursor_line = m->cursor_on && line->row >= m->cursor_first &&
			   line->row <= m->cursor_last;

	for (u32 i = 0; i <= m->chars; i++) {
		u32 counter = (line->counter + (i >> m->step_shift)) & 0xffff;
		u32 at = vga_crtc_address(r, counter, line->row);
		u8 c = memory[vga_at(r->layout, at, 0)], attr = memory[vga_at(r->layout, at, 1)];
		u32 glyph_at = m->font[attr >> 3 & 1] + c * FONT_CHAR_SIZE + line->row;
		u32 glyph = (u32)memory[vga_at(r->layout, glyph_at, 2)] << 1;
		u32 fg = colors[attr & 15], bg = colors[blinks ? attr >> 4 & 7 : attr >> 4];

		/* The ninth dot: of line graphics it is the eighth again. */
		if ((r->attr[ATTR_MODE] & ATTR_LINE_GRAPHICS) && (c & 0xe0) == 0xc0)
			glyph |= glyph >> 1 & 1;
		if (blinks && (attr & 0x80) && !m->blink_on)
			glyph = 0;
		if (cursor_line && counter == m->cursor)
			glyph = 0x1ff;
		dots = draw_glyph(glyph, fg, bg, m->char_dots, dots);
	}
}

static u32 *draw_planes(const u32 *colors, u32 bytes, u32 *dots)
{
	u64 pixels = bits_to_bytes((u8)bytes) | bits_to_bytes((u8)(bytes >> 8)) << 1 |
		     bits_to_bytes((u8)(bytes >> 16)) << 2 | bits_to_bytes((u8)(bytes >> 24)) << 3;

	for (unsigned n = 0; n < 8; n++)
		*dots++ = colors[pixels >> (8 * n) & 15];
	return dots;
}

static u32 *draw_interleave(const u32 *colors, u32 bytes, u32 *dots)
{
	for (unsigned n = 0; n < 8; n++) {
		unsigned shift = 6 - n % 4 * 2;
		u32 pair = bytes >> (n < 4 ? 0 : 8);

		*dots++ = colors[(pair >> shift & 3) | (pair >> 16 >> shift & 3) << 2];
	}
	return dots;
}

static u32 *draw_bytes(const u32 *colors, u32 bytes, u32 *dots)
{
	for (unsigned n = 0; n < 4; n++, bytes >>= 8) {
		*dots++ = colors[bytes & 0xff];
		*dots++ = colors[bytes & 0xff];
	}
	return dots;
}

static void draw_graphics(const struct vga *vga, const struct vga_mode *m, const u32 *colors,
			  const struct vga_line *line, u32 *dots)
{
	const struct vga_regs *r = &vga->regs;
	bool dispi = vga_dispi_on(r);

	for (u32 i = 0; i <= m->chars; i++) {
		u32 counter = line->counter + (i >> m->step_shift);
		u32 at = dispi ? counter : vga_crtc_address(r, counter, line->row);
		u32 bytes = vga_fetch(vga, at);

		if (m->kind == VGA_KIND_BYTES)
			dots = draw_bytes(colors, bytes, dots);
		else if (m->kind == VGA_KIND_INTERLEAVE)
			dots = draw_interleave(colors, bytes, dots);
		else
			dots = draw_planes(colors, bytes, dots);
	}
}

/* `bits` bits from `low` on, widened to eight. */
static u32 widen(u32 value, unsigned low, unsigned bits)
{
	u32 v = value >> low & ((1u << bits) - 1);

	return v << (8 - bits) | v >> (2 * bits - 8);
}

static void draw_dispi(const struct vga *vga, const struct vga_mode *m, const u32 *colors,
		       const struct vga_line *line, u32 *dots)
{
	const u8 *from = vga->memory->host + line->counter;

	switch (m->dispi.bpp) {
	case 8:
		for (u32 x = 0; x < m->width; x++)
			dots[x] = colors[from[x]];
		break;
	case 15:
		for (u32 x = 0; x < m->width; x++) {
			u32 v = (u32)le_load(from + 2 * x, 2);

			dots[x] = widen(v, 10, 5) << 16 | widen(v, 5, 5) << 8 | widen(v, 0, 5);
		}
		break;
	case 16:
		for (u32 x = 0; x < m->width; x++) {
			u32 v = (u32)le_load(from + 2 * x, 2);

			dots[x] = widen(v, 11, 5) << 16 | widen(v, 5, 6) << 8 | widen(v, 0, 5);
		}
		break;
	case 24:
		for (u32 x = 0; x < m->width; x++)
			dots[x] = from[3 * x] | (u32)from[3 * x + 1] << 8 |
				  (u32)from[3 * x + 2] << 16;
		break;
	default:
		for (u32 x = 0; x < m->width; x++)
			dots[x] = (u32)le_load(from + 4 * x, 4) & 0xffffff;
		break;
	}
}

/* From the end, so that no dot is lost before it has been doubled. */
static void double_dots(u32 *dots, u32 count)
{
	while (count--) {
		u32 dot = dots[count];

		dots[2 * count] = dot;
		dots[2 * count + 1] = dot;
	}
}

void vga_draw_line(const struct vga *vga, const struct vga_mode *m, const u32 colors[256],
		   const struct vga_line *line, u32 *dots)
{
	if (m->kind == VGA_KIND_DISPI)
		draw_dispi(vga, m, colors, line, dots);
	else if (m->kind == VGA_KIND_TEXT)
		draw_text(vga, m, colors, line, dots);
	else
		draw_graphics(vga, m, colors, line, dots);
	if (m->doubled)
		double_dots(dots, (m->chars + 1) * m->char_dots);
}
