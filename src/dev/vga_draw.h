/* A line of the picture, drawn from the video memory. */
#ifndef DEV_VGA_DRAW_H
#define DEV_VGA_DRAW_H

#include "dev/vga_internal.h"

/* The widest line: 256 characters of nine dots, doubled, and one more for panning. */
#define VGA_LINE_DOTS (257u * 18u)

enum vga_kind {
	VGA_KIND_TEXT,
	VGA_KIND_PLANES,     /* a bit from each plane is a pixel */
	VGA_KIND_INTERLEAVE, /* two bits a pixel, from planes 0 and 2, then 1 and 3 */
	VGA_KIND_BYTES,      /* a byte is a pixel, plane after plane */
	VGA_KIND_DISPI,      /* linear, of bpp bits */
};

/* What the registers say about the picture. Words only: two of them are compared as bytes. */
struct vga_mode {
	enum vga_kind kind;
	u32 on;
	u32 width, height;
	u32 chars;      /* clocks of a line: characters, or the bytes of planes */
	u32 char_dots;  /* 8 or 9 */
	u32 doubled;    /* 1: each dot is two wide */
	u32 step_shift; /* the address counts on each 1 << step_shift characters */
	u32 char_lines; /* lines of a character row */
	struct vga_dispi dispi;
	/* Text. */
	u32 font[2]; /* offsets in plane 2 of fonts B and A */
	u32 cursor;  /* counter at which it is */
	u32 cursor_first, cursor_last;
	u32 cursor_on, blink_on; /* in this moment */
};

/* Where a line starts. */
struct vga_line {
	u32 counter; /* of the CRTC; of the extensions: byte in the memory or in the planes */
	u32 row;     /* line of the character row */
	u32 pan;     /* dots to skip */
};

/* As the registers are now; a size that no screen has is cut. */
struct vga_mode vga_mode_of(const struct vga *vga);
/* The plane offset that the CRTC fetches. */
u32 vga_crtc_address(const struct vga_regs *r, u32 counter, u32 row);
/* Colours as 00RRGGBBh. */
void vga_colors(const struct vga *vga, const struct vga_mode *mode, u32 colors[256]);
/* Draws a line into dots, which has room for VGA_LINE_DOTS; the picture starts at the pan-th of them. */
void vga_draw_line(const struct vga *vga, const struct vga_mode *mode, const u32 colors[256],
		   const struct vga_line *line, u32 *dots);

#endif
