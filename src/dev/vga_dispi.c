/* The Bochs VBE extensions: a mode is a width, a height and a depth; lines are as long as the virtual width. */
#include "dev/vga_internal.h"

#include "base/trace.h"

#define ID_FIRST 0xb0c0
#define ID_LAST  0xb0c5

#define ENABLE_BITS (DISPI_ENABLED | DISPI_GETCAPS | DISPI_8BIT_DAC | DISPI_LFB | DISPI_NOCLEAR)

#define BANKS (VGA_MEMORY / VGA_BANK_SIZE)

static bool depth_exists(u32 bpp)
{
	return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

/* Bytes of a line; with 4 bits a pixel, of each plane. */
static u32 pitch_of(u32 width, u32 bpp)
{
	return bpp == 4 ? (width + 7) / 8 : width * ((bpp + 7) / 8);
}

/* Bytes that lines may have: with 4 bits a pixel, of each plane. */
static u32 room_of(u32 bpp) { return bpp == 4 ? VGA_MEMORY / 4 : VGA_MEMORY; }

/* Whether a mode can be switched on: it is a picture, and it fits. */
static bool mode_fits(const struct vga_regs *r)
{
	u32 width = r->dispi[DISPI_XRES], height = r->dispi[DISPI_YRES];
	u32 bpp = r->dispi[DISPI_BPP];

	return depth_exists(bpp) && width && width <= SCREEN_MAX_WIDTH && height &&
	       height <= SCREEN_MAX_HEIGHT && height <= room_of(bpp) / pitch_of(width, bpp);
}

/* Lines of the virtual screen: as many as there is memory for. */
static u32 virtual_height(const struct vga_regs *r)
{
	u32 pitch = pitch_of(r->dispi[DISPI_VIRT_WIDTH], r->dispi[DISPI_BPP]);

	return pitch ? MIN(room_of(r->dispi[DISPI_BPP]) / pitch, 0xffff) : 0;
}

struct vga_dispi vga_dispi_mode(const struct vga_regs *r)
{
	struct vga_dispi mode = {
		.width = r->dispi[DISPI_XRES],
		.height = r->dispi[DISPI_YRES],
		.bpp = r->dispi[DISPI_BPP],
		.pitch = pitch_of(r->dispi[DISPI_VIRT_WIDTH], r->dispi[DISPI_BPP]),
	};
	u32 x = r->dispi[DISPI_X_OFFSET];

	mode.start = r->dispi[DISPI_Y_OFFSET] * mode.pitch;
	if (mode.bpp == 4) {
		mode.start += x / 8;
		mode.pan = x % 8;
	} else {
		mode.start += pitch_of(x, mode.bpp);
	}
	return mode;
}

static void set_virtual_width(struct vga_regs *r, u16 value)
{
	u16 old = r->dispi[DISPI_VIRT_WIDTH];

	r->dispi[DISPI_VIRT_WIDTH] = MAX(value, r->dispi[DISPI_XRES]);
	if (virtual_height(r) < r->dispi[DISPI_YRES])
		r->dispi[DISPI_VIRT_WIDTH] = old;
}

/* The visible part stays within the virtual screen. */
static void clamp_offsets(struct vga_regs *r)
{
	u32 x = r->dispi[DISPI_VIRT_WIDTH] - r->dispi[DISPI_XRES];
	u32 y = virtual_height(r) - r->dispi[DISPI_YRES];

	r->dispi[DISPI_X_OFFSET] = (u16)MIN(r->dispi[DISPI_X_OFFSET], x);
	r->dispi[DISPI_Y_OFFSET] = (u16)MIN(r->dispi[DISPI_Y_OFFSET], y);
}

/* The DAC keeps its colours when it gets wider or narrower. */
static void set_dac_width(struct vga_regs *r, bool wide)
{
	if (wide == (bool)(r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC))
		return;
	for (unsigned n = 0; n < 256 * 3; n++) {
		u8 *value = &r->palette[n / 3][n % 3];

		*value = (u8)(wide ? *value << 2 : *value >> 2);
	}
}

static void switch_on(struct vga *vga, u16 value)
{
	struct vga_regs *r = &vga->regs;
	u32 pitch = pitch_of(r->dispi[DISPI_XRES], r->dispi[DISPI_BPP]);
	u32 planes = r->dispi[DISPI_BPP] == 4 ? 4 : 1;
	u32 size = pitch * r->dispi[DISPI_YRES] * planes;

	r->dispi[DISPI_VIRT_WIDTH] = r->dispi[DISPI_XRES];
	r->dispi[DISPI_X_OFFSET] = 0;
	r->dispi[DISPI_Y_OFFSET] = 0;
	r->dispi[DISPI_BANK] = 0;
	trace(MMIO, "%s: %ux%ux%u", vga->dev.name, r->dispi[DISPI_XRES], r->dispi[DISPI_YRES],
	      r->dispi[DISPI_BPP]);
	if (value & DISPI_NOCLEAR)
		return;
	/* The first bytes of the planes are anywhere in the VGA's part, as the layout says. */
	if (planes == 4)
		size = MAX(size, VGA_LEGACY_SIZE);
	mem_area_touch(vga->dev.platform->mem, vga->memory, 0, size);
	memset(vga->memory->host, 0, size);
}

static void enable_write(struct vga *vga, u16 value)
{
	struct vga_regs *r = &vga->regs;
	bool was_on = vga_dispi_on(r);

	value &= ENABLE_BITS;
	if ((value & DISPI_ENABLED) && !mode_fits(r)) {
		trace(MMIO, "%s: no mode %ux%ux%u", vga->dev.name, r->dispi[DISPI_XRES],
		      r->dispi[DISPI_YRES], r->dispi[DISPI_BPP]);
		value &= (u16)~DISPI_ENABLED;
	}
	set_dac_width(r, value & DISPI_8BIT_DAC);
	r->dispi[DISPI_ENABLE] = value;
	if ((value & DISPI_ENABLED) && !was_on)
		switch_on(vga, value);
}

/* Width, height and depth change while the mode is off, offsets while it is on. */
void vga_dispi_write(struct vga *vga, unsigned index, u16 value)
{
	struct vga_regs *r = &vga->regs;
	bool on = vga_dispi_on(r);

	switch (index) {
	case DISPI_ID:
		if (value >= ID_FIRST && value <= ID_LAST)
			r->dispi[index] = value;
		break;
	case DISPI_XRES:
	case DISPI_YRES:
	case DISPI_BPP:
		if (!on)
			r->dispi[index] = value;
		break;
	case DISPI_ENABLE: enable_write(vga, value); break;
	case DISPI_BANK:
		if (value < BANKS)
			r->dispi[index] = value;
		break;
	case DISPI_VIRT_WIDTH:
		if (on)
			set_virtual_width(r, value);
		break;
	case DISPI_X_OFFSET:
	case DISPI_Y_OFFSET:
		if (on)
			r->dispi[index] = value;
		break;
	default: break;
	}
	if (on && vga_dispi_on(r))
		clamp_offsets(r);
	vga_window_update(vga);
}

u16 vga_dispi_read(struct vga *vga, unsigned index)
{
	const struct vga_regs *r = &vga->regs;
	bool caps = r->dispi[DISPI_ENABLE] & DISPI_GETCAPS;

	switch (index) {
	case DISPI_XRES: return caps ? SCREEN_MAX_WIDTH : r->dispi[index];
	case DISPI_YRES: return caps ? SCREEN_MAX_HEIGHT : r->dispi[index];
	case DISPI_BPP: return caps ? 32 : r->dispi[index];
	case DISPI_VIRT_HEIGHT: return vga_dispi_on(r) ? (u16)virtual_height(r) : 0;
	case DISPI_MEMORY: return BANKS;
	default: return index < VGA_DISPI_COUNT ? r->dispi[index] : 0;
	}
}

void vga_dispi_reset(struct vga *vga) { vga->regs.dispi[DISPI_ID] = ID_LAST; }

void vga_dispi_loaded(struct vga *vga)
{
	struct vga_regs *r = &vga->regs;

	if (r->dispi[DISPI_ID] < ID_FIRST || r->dispi[DISPI_ID] > ID_LAST)
		r->dispi[DISPI_ID] = ID_LAST;
	r->dispi[DISPI_ENABLE] &= ENABLE_BITS;
	r->dispi[DISPI_BANK] %= BANKS;
	r->dispi[DISPI_VIRT_HEIGHT] = 0;
	r->dispi[DISPI_MEMORY] = 0;
	if (vga_dispi_on(r) && !mode_fits(r))
		r->dispi[DISPI_ENABLE] &= (u16)~DISPI_ENABLED;
	if (!vga_dispi_on(r))
		return;
	if (r->dispi[DISPI_VIRT_WIDTH] < r->dispi[DISPI_XRES] ||
	    virtual_height(r) < r->dispi[DISPI_YRES])
		r->dispi[DISPI_VIRT_WIDTH] = r->dispi[DISPI_XRES];
	clamp_offsets(r);
}
