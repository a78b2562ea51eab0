/* What the parts of the VGA share. */
#ifndef DEV_VGA_INTERNAL_H
#define DEV_VGA_INTERNAL_H

#include "dev/vga.h"

/* Sequencer. */
#define SEQ_RESET    0
#define SEQ_CLOCKING 1
#define SEQ_MAP_MASK 2
#define SEQ_FONTS    3
#define SEQ_MEMORY   4

#define CLOCKING_8DOT BIT(0)
#define CLOCKING_HALF BIT(3)
#define CLOCKING_OFF  BIT(5)

#define MEMORY_LINEAR BIT(2) /* odd/even is off */
#define MEMORY_CHAIN4 BIT(3)

/* Graphics controller. */
#define GC_SET_RESET    0
#define GC_SET_ENABLE   1
#define GC_COMPARE      2
#define GC_ROTATE       3
#define GC_READ_MAP     4
#define GC_MODE         5
#define GC_MISC         6
#define GC_COMPARE_CARE 7
#define GC_BIT_MASK     8

#define MODE_WRITE      3u
#define MODE_COMPARE    BIT(3)
#define MODE_ODD_EVEN   BIT(4)
#define MODE_INTERLEAVE BIT(5)
#define MODE_256        BIT(6)

#define MISC_GRAPHICS BIT(0)
#define MISC_CHAIN    BIT(1) /* odd/even addressing of the planes */

/* CRT controller. */
#define CRTC_HTOTAL       0x00
#define CRTC_HDISPLAY_END 0x01
#define CRTC_VTOTAL       0x06
#define CRTC_OVERFLOW     0x07
#define CRTC_PRESET_ROW   0x08
#define CRTC_MAX_SCAN     0x09
#define CRTC_CURSOR_START 0x0a
#define CRTC_CURSOR_END   0x0b
#define CRTC_START_HIGH   0x0c
#define CRTC_CURSOR_HIGH  0x0e
#define CRTC_VSYNC_START  0x10
#define CRTC_VSYNC_END    0x11
#define CRTC_VDISPLAY_END 0x12
#define CRTC_OFFSET       0x13
#define CRTC_UNDERLINE    0x14
#define CRTC_MODE         0x17
#define CRTC_LINE_COMPARE 0x18

/* Attribute controller. */
#define ATTR_MODE         0x10
#define ATTR_PLANES       0x12
#define ATTR_PANNING      0x13
#define ATTR_COLOR_SELECT 0x14

#define ATTR_INDEX_ON BIT(5) /* palette address source: the screen is on */

/* Miscellaneous output. */
#define OUTPUT_COLOR    BIT(0) /* CRTC and status are at 3Dxh, not 3Bxh */
#define OUTPUT_RAM      BIT(1)
#define OUTPUT_PAGE_LOW BIT(5)

/* Dispi registers. */
#define DISPI_ID          0
#define DISPI_XRES        1
#define DISPI_YRES        2
#define DISPI_BPP         3
#define DISPI_ENABLE      4
#define DISPI_BANK        5
#define DISPI_VIRT_WIDTH  6
#define DISPI_VIRT_HEIGHT 7
#define DISPI_X_OFFSET    8
#define DISPI_Y_OFFSET    9
#define DISPI_MEMORY      10

#define DISPI_ENABLED  BIT(0)
#define DISPI_GETCAPS  BIT(1)
#define DISPI_8BIT_DAC BIT(5)
#define DISPI_LFB      BIT(6)
#define DISPI_NOCLEAR  BIT(7)

#define VGA_PLANE_SIZE  (64 * KIB)
#define VGA_BANK_SIZE   (64 * KIB)
#define VGA_LEGACY_SIZE (256 * KIB)

/* Where offset o of plane p lies:
 *  PLANAR  4 * o + p
 *  CHAIN4  o = 4 * i + j: 64K * j + 4 * i + p. The CPU's addresses in chain-4 modes are the first 64 KiB.
 *  TEXT    planes 0 and 1 first, then 2 and 3, o = 2 * i + j: 64K * j + 2 * i + (p & 1). The CPU's odd and even addresses
 *          are the first 64 KiB.
 * Offsets beyond 64K, which only the extensions have, are PLANAR always. */
enum vga_layout { VGA_PLANAR, VGA_CHAIN4, VGA_TEXT };

static inline u32 vga_at(u8 layout, u32 offset, unsigned plane)
{
	if (layout == VGA_PLANAR || offset >= VGA_PLANE_SIZE)
		return (4 * offset + plane) % VGA_MEMORY;
	if (layout == VGA_CHAIN4)
		return (offset & 3) << 16 | (offset & 0xfffc) | plane;
	return (plane & 2) << 16 | (offset & 1) << 16 | (offset & 0xfffe) | (plane & 1);
}

/* The bytes of all planes at an offset, plane n in byte n. */
static inline u32 vga_fetch(const struct vga *vga, u32 offset)
{
	const u8 *memory = vga->memory->host;
	u8 layout = vga->regs.layout;
	u32 bytes = 0;

	if (layout == VGA_PLANAR || offset >= VGA_PLANE_SIZE)
		return (u32)le_load(memory + vga_at(VGA_PLANAR, offset, 0), 4);
	for (unsigned plane = 0; plane < 4; plane++)
		bytes |= (u32)memory[vga_at(layout, offset, plane)] << (8 * plane);
	return bytes;
}

/* vga_ports.c: the registers of the VGA. port is 3B0h to 3DFh. */
u8 vga_port_read(struct vga *vga, u16 port);
void vga_port_write(struct vga *vga, u16 port, u8 value);
void vga_ports_reset(struct vga *vga);
/* Bits that do not exist are cleared: the regs were loaded. */
void vga_ports_loaded(struct vga *vga);
/* Frames that the monitor has shown since power-on; and in *retrace the vertical and in *blank any retrace. */
u64 vga_frames(const struct vga *vga, bool *retrace, bool *blank);
/* Vertical CRTC values of 10 bits. */
u32 vga_vertical(const struct vga_regs *r, unsigned reg);

/* vga_dispi.c: the extensions. */
struct vga_dispi {
	u32 width, height, bpp;
	u32 pitch; /* bytes a line; planar: bytes of one plane */
	u32 start; /* offset of the first line */
	u32 pan;   /* planar: pixels to skip */
};
u16 vga_dispi_read(struct vga *vga, unsigned index);
void vga_dispi_write(struct vga *vga, unsigned index, u16 value);
void vga_dispi_reset(struct vga *vga);
void vga_dispi_loaded(struct vga *vga);
static inline bool vga_dispi_on(const struct vga_regs *r)
{
	return r->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}
/* What is shown; every byte of every line lies in the memory. The extensions are on. */
struct vga_dispi vga_dispi_mode(const struct vga_regs *r);

/* vga_memory.c: what the CPU sees between A0000h and BFFFFh. */
extern const struct bus_ops vga_memory_ops;
/* The registers have changed: takes the window away that they no longer allow. */
void vga_window_update(struct vga *vga);
void vga_window_hide(struct vga *vga);

/* vga_screen.c */
int vga_screen_init(struct vga *vga) must_check;
void vga_screen_fini(struct vga *vga);

/* vga_edid.c */
#define VGA_EDID_SIZE 128u
void vga_edid(u8 edid[VGA_EDID_SIZE]);

#endif
