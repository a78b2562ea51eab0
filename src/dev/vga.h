/* VGA display adapter with the Bochs VBE extensions, a PCI function.
 * Registers: IBM VGA as in the FreeVGA documentation. Extensions: Bochs dispi interface (VBE_DISPI_ID0 to ID5); layout of BAR2 as the
 * "standard VGA" of QEMU documents it (docs/specs/standard-vga).
 *
 * 256 KiB are the four planes of the VGA; the frame buffer of the extensions starts at the same byte. How planes lie in the memory is
 * the layout: one of three, so that in the modes where a CPU address is one byte of one plane the guest accesses the memory itself,
 * without an exit. */
#ifndef DEV_VGA_H
#define DEV_VGA_H

#include "core/screen.h"
#include "dev/pci.h"

#define VGA_MEMORY (16 * MIB)

#define VGA_SEQ_COUNT   5
#define VGA_GC_COUNT    9
#define VGA_CRTC_COUNT  25
#define VGA_ATTR_COUNT  21
#define VGA_DISPI_COUNT 11

struct vga_regs {
	struct pci_regs pci;
	u8 misc, feature;
	u8 seq_index, gc_index, crtc_index;
	u8 attr_index; /* with the palette address source, bit 5 */
	u8 attr_data;  /* flip-flop: the next write to 3C0h is data */
	u8 seq[VGA_SEQ_COUNT];
	u8 gc[VGA_GC_COUNT];
	u8 crtc[VGA_CRTC_COUNT];
	u8 attr[VGA_ATTR_COUNT];
	u8 dac_mask, dac_state, dac_read, dac_write, dac_part;
	u8 dac_latch[3];
	u8 palette[256][3]; /* as wide as the DAC is */
	u32 latch;          /* plane n in byte n */
	u16 dispi_index;
	u16 dispi[VGA_DISPI_COUNT];
	u8 layout; /* of the planes in the memory, enum vga_layout: the frame buffer shows it */
};

struct vga_draw;

struct vga {
	struct device dev;
	struct vga_regs regs;
	struct screen screen;
	struct pci_func func; /* the board sets bus and devfn before init */
	/* The option ROM's image, copied by init; NULL: none. Set before init. */
	const void *rom;
	size_t rom_size;

	struct mem_area *memory; /* the video memory; part of the guest-visible state */
	/* The window on the memory between A0000h and BFFFFh: what the registers allow, and whether it is there. */
	struct mem_window window;
	u8 window_layout;
	bool window_possible, window_shown;
	unsigned window_accesses; /* since the registers changed */
	u32 *planes;              /* room to change the layout */
	struct vga_draw *draw;
};

extern const struct device_type vga_type;

#endif
