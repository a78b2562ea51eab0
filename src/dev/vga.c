/* The adapter as a PCI function: ports, BARs, memory, reset. */
#include "dev/vga_internal.h"

#include <errno.h>
#include <stdlib.h>

#define HOLE_SIZE (MEM_HOLE_END - MEM_HOLE_BASE)
#define ROM_MAX   MIB

#define MONO_PORT  0x3b0
#define VGA_PORT   0x3c0
#define DISPI_PORT 0x1ce

/* BAR2. */
#define MMIO_SIZE  0x1000u
#define MMIO_PORTS 0x400u /* 3C0h to 3DFh */
#define MMIO_DISPI 0x500u /* a word for each register */

/* --- Ports ------------------------------------------------------------------------------------- */

/* Those of monochrome modes; LPT ports may follow. */
static u64 mono_read(void *dev, u64 offset, unsigned size)
{
	return vga_port_read(dev, (u16)(MONO_PORT + offset));
}

static void mono_write(void *dev, u64 offset, u64 value, unsigned size)
{
	vga_port_write(dev, (u16)(MONO_PORT + offset), (u8)value);
}

static const struct bus_ops mono_ops = { mono_read, mono_write, 1 };

static u64 port_read(void *dev, u64 offset, unsigned size)
{
	return vga_port_read(dev, (u16)(VGA_PORT + offset));
}

static void port_write(void *dev, u64 offset, u64 value, unsigned size)
{
	vga_port_write(dev, (u16)(VGA_PORT + offset), (u8)value);
}

static const struct bus_ops port_ops = { port_read, port_write, 1 };

/* 1CEh is the index; 1CFh, and at an even address 1D0h, the register. All are words; bytes of them can be read. */
static u64 dispi_read(void *dev, u64 offset, unsigned size)
{
	struct vga *vga = dev;

	return offset == 0 ? vga->regs.dispi_index : vga_dispi_read(vga, vga->regs.dispi_index);
}

static void dispi_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct vga *vga = dev;

	if (size != 2)
		return;
	if (offset == 0)
		vga->regs.dispi_index = (u16)value;
	else
		vga_dispi_write(vga, vga->regs.dispi_index, (u16)value);
}

static const struct bus_ops dispi_ops = { dispi_read, dispi_write, 2 };

static const struct {
	u16 base, size;
	const struct bus_ops *ops;
} port_regions[] = {
	{ MONO_PORT, 12, &mono_ops },
	{ VGA_PORT, 32, &port_ops },
	{ DISPI_PORT, 4, &dispi_ops },
};

/* --- BAR2 -------------------------------------------------------------------------------------- */

static u8 mmio_byte(struct vga *vga, u64 offset)
{
	u8 edid[VGA_EDID_SIZE];

	if (offset < VGA_EDID_SIZE) {
		vga_edid(edid);
		return edid[offset];
	}
	if (offset >= MMIO_PORTS && offset < MMIO_PORTS + 0x20)
		return vga_port_read(vga, (u16)(VGA_PORT + offset - MMIO_PORTS));
	if (offset >= MMIO_DISPI && offset < MMIO_DISPI + 2 * VGA_DISPI_COUNT)
		return (u8)(vga_dispi_read(vga, (unsigned)(offset - MMIO_DISPI) / 2) >>
			    (offset % 2 * 8));
	return 0;
}

static u64 mmio_read(void *dev, u64 offset, unsigned size)
{
	u64 value = 0;

	for (unsigned n = 0; n < size; n++)
		value |= (u64)mmio_byte(dev, offset + n) << (8 * n);
	return value;
}

static void mmio_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct vga *vga = dev;

	if (offset >= MMIO_DISPI && size == 2 && offset % 2 == 0) {
		vga_dispi_write(vga, (unsigned)(offset - MMIO_DISPI) / 2, (u16)value);
		return;
	}
	for (unsigned n = 0; n < size; n++, offset++)
		if (offset >= MMIO_PORTS && offset < MMIO_PORTS + 0x20)
			vga_port_write(vga, (u16)(VGA_PORT + offset - MMIO_PORTS),
				       (u8)(value >> (8 * n)));
}

static const struct bus_ops mmio_ops = { mmio_read, mmio_write, 2 };

/* --- The device -------------------------------------------------------------------------------- */

static void vga_reset(struct device *dev)
{
	struct vga *vga = container_of(dev, struct vga, dev);

	vga_window_hide(vga);
	pci_func_reset(&vga->func);
	vga_ports_reset(vga);
	vga_dispi_reset(vga);
	vga_window_update(vga);
}

static void vga_loaded(struct device *dev)
{
	struct vga *vga = container_of(dev, struct vga, dev);

	vga_ports_loaded(vga);
	vga_dispi_loaded(vga);
	vga_window_hide(vga);
	pci_func_loaded(&vga->func);
	vga_window_update(vga);
}

static int map_regions(struct vga *vga)
{
	struct platform *p = vga->dev.platform;
	int err = bus_map(p->mmio, MEM_HOLE_BASE, HOLE_SIZE, &vga_memory_ops, vga, vga->dev.name);

	for (unsigned n = 0; !err && n < ARRAY_LEN(port_regions); n++)
		err = bus_map(p->ports, port_regions[n].base, port_regions[n].size,
			      port_regions[n].ops, vga, vga->dev.name);
	return err;
}

static void unmap_regions(struct vga *vga)
{
	struct platform *p = vga->dev.platform;

	bus_unmap(p->mmio, MEM_HOLE_BASE, vga);
	for (unsigned n = 0; n < ARRAY_LEN(port_regions); n++)
		bus_unmap(p->ports, port_regions[n].base, vga);
}

static int add_rom(struct vga *vga)
{
	u64 size = MEM_PAGE;
	struct mem_area *area;

	if (!vga->rom)
		return 0;
	if (vga->rom_size > ROM_MAX)
		return -EFBIG;
	while (size < vga->rom_size)
		size *= 2;
	area = mem_area_new(vga->dev.platform->mem, size, "vga-rom");
	if (!area)
		return -ENOMEM;
	memcpy(area->host, vga->rom, vga->rom_size);
	pci_rom_init(&vga->func, area);
	return 0;
}

static int describe(struct vga *vga)
{
	struct pci_func *f = &vga->func;

	f->regs = &vga->regs.pci;
	pci_func_init(f, vga->dev.name, 0x1234, 0x1111, 0x030000, 0);
	le_store(f->writable + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
	pci_bar_area_init(f, 0, vga->memory);
	pci_bar_init(f, 2, false, MMIO_SIZE, &mmio_ops, vga);
	return add_rom(vga);
}

static void vga_fini(struct device *dev)
{
	struct vga *vga = container_of(dev, struct vga, dev);

	vga_window_hide(vga);
	unmap_regions(vga);
	pci_remove(&vga->func);
	vga_screen_fini(vga);
	free(vga->planes);
	vga->planes = NULL;
}

static int vga_init(struct device *dev)
{
	struct vga *vga = container_of(dev, struct vga, dev);
	int err;

	vga->memory = mem_area_new(dev->platform->mem, VGA_MEMORY, "vga");
	vga->planes = calloc(VGA_PLANE_SIZE, sizeof(*vga->planes));
	if (!vga->memory || !vga->planes) {
		err = -ENOMEM;
		goto free;
	}
	vga->memory->track = true;
	err = vga_screen_init(vga);
	if (err)
		goto free;
	err = describe(vga);
	if (!err)
		err = map_regions(vga);
	if (!err)
		err = pci_add(&vga->func);
	if (err) {
		unmap_regions(vga);
		vga_screen_fini(vga);
		goto free;
	}
	vga_reset(dev);
	return 0;
free:
	free(vga->planes);
	return err;
}

static const struct state_field fields[] = {
	PCI_STATE_ROWS(struct vga_regs, pci),    STATE_ROW(struct vga_regs, misc),
	STATE_ROW(struct vga_regs, feature),     STATE_ROW(struct vga_regs, seq_index),
	STATE_ROW(struct vga_regs, gc_index),    STATE_ROW(struct vga_regs, crtc_index),
	STATE_ROW(struct vga_regs, attr_index),  STATE_ROW(struct vga_regs, attr_data),
	STATE_ARRAY(struct vga_regs, seq),       STATE_ARRAY(struct vga_regs, gc),
	STATE_ARRAY(struct vga_regs, crtc),      STATE_ARRAY(struct vga_regs, attr),
	STATE_ROW(struct vga_regs, dac_mask),    STATE_ROW(struct vga_regs, dac_state),
	STATE_ROW(struct vga_regs, dac_read),    STATE_ROW(struct vga_regs, dac_write),
	STATE_ROW(struct vga_regs, dac_part),    STATE_ARRAY(struct vga_regs, dac_latch),
	STATE_ARRAY(struct vga_regs, palette),   STATE_ROW(struct vga_regs, latch),
	STATE_ROW(struct vga_regs, dispi_index), STATE_ARRAY(struct vga_regs, dispi),
	STATE_ROW(struct vga_regs, layout),
};
static STATE_DESC(vga_state, struct vga_regs, "vga", fields);

const struct device_type vga_type = {
	.name = "vga",
	.help = "VGA with the Bochs VBE extensions",
	.size = sizeof(struct vga),
	.regs_offset = offsetof(struct vga, regs),
	.regs = &vga_state,
	.init = vga_init,
	.reset = vga_reset,
	.loaded = vga_loaded,
	.fini = vga_fini,
};
