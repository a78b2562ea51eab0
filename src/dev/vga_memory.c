/* The VGA's memory as the CPU sees it between A0000h and BFFFFh: the graphics controller's data path, and windows where there is
 * nothing to compute. */
#include "dev/vga_internal.h"

#include "base/trace.h"

/* Accesses in an unchanged state after which the window is shown. Each change of windows costs all cached translations; guests that
 * draw between register writes do without. */
#define WINDOW_PATIENCE 64u
/* The same for a layout that only makes accesses and drawing faster: guests that change a few glyphs of a font do without. */
#define LAYOUT_PATIENCE 4096u

/* --- The CPU's side of the address ------------------------------------------------------------- */

/* Where the memory answers (FreeVGA: Miscellaneous Graphics Register, memory map select): from A0000h. */
static const struct {
	u32 base, size;
} maps[4] = { { 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 } };

static unsigned map_of(const struct vga_regs *r) { return (r->gc[GC_MISC] >> 2) & 3; }

/* The address within the window, from an offset in the hole; false if the adapter does not answer. */
static bool decode(const struct vga_regs *r, u32 *addr)
{
	unsigned map = vga_dispi_on(r) ? 1 : map_of(r);

	if (!vga_dispi_on(r) && !(r->misc & OUTPUT_RAM))
		return false;
	*addr -= maps[map].base;
	return *addr < maps[map].size;
}

static bool chain4(const struct vga_regs *r)
{
	return !vga_dispi_on(r) && (r->seq[SEQ_MEMORY] & MEMORY_CHAIN4);
}

/* Odd/even: A0 selects the plane; another bit takes its place (GC_MISC bit 1). */
static u32 plane_offset(const struct vga_regs *r, u32 addr)
{
	u32 page;

	if (vga_dispi_on(r))
		return r->dispi[DISPI_BANK] * (u32)VGA_BANK_SIZE + addr;
	if (chain4(r))
		return addr & 0xfffc;
	if (!(r->gc[GC_MISC] & MISC_CHAIN))
		return addr & 0xffff;
	page = map_of(r) == 0 ? addr >> 16 & 1 : !(r->misc & OUTPUT_PAGE_LOW);
	return (addr & 0xfffe) | page;
}

/* Linear modes of the extensions: the byte in the memory. */
static bool is_linear(const struct vga_regs *r)
{
	return vga_dispi_on(r) && r->dispi[DISPI_BPP] != 4;
}

static u32 linear(const struct vga_regs *r, u32 addr)
{
	return (r->dispi[DISPI_BANK] * (u32)VGA_BANK_SIZE + addr) % VGA_MEMORY;
}

/* --- The data path ----------------------------------------------------------------------------- */

/* A byte in each plane whose bit is set in `planes`. */
static u32 spread(unsigned planes)
{
	static const u32 lanes[16] = { 0x00000000, 0x000000ff, 0x0000ff00, 0x0000ffff,
				       0x00ff0000, 0x00ff00ff, 0x00ffff00, 0x00ffffff,
				       0xff000000, 0xff0000ff, 0xff00ff00, 0xff00ffff,
				       0xffff0000, 0xffff00ff, 0xffffff00, 0xffffffff };

	return lanes[planes & 15];
}

static u32 replicate(u8 byte) { return byte * 0x01010101u; }

static u8 rotated(const struct vga_regs *r, u8 value)
{
	unsigned count = r->gc[GC_ROTATE] & 7;

	return (u8)(value >> count | value << (8 - count));
}

static u32 combine(const struct vga_regs *r, u32 data)
{
	switch (r->gc[GC_ROTATE] >> 3 & 3) {
	case 1: return data & r->latch;
	case 2: return data | r->latch;
	case 3: return data ^ r->latch;
	default: return data;
	}
}

/* What a byte written by the CPU becomes in the four planes (FreeVGA: Graphics Mode Register, write mode). */
static u32 written(const struct vga_regs *r, u8 value)
{
	u32 set_reset = spread(r->gc[GC_SET_RESET]);
	u32 enabled = spread(r->gc[GC_SET_ENABLE]);
	u32 mask = replicate(r->gc[GC_BIT_MASK]);
	u32 data;

	switch (r->gc[GC_MODE] & MODE_WRITE) {
	case 0:
		data = replicate(rotated(r, value));
		data = (data & ~enabled) | (set_reset & enabled);
		break;
	case 1: return r->latch;
	case 2: data = spread(value); break;
	default:
		mask &= replicate(rotated(r, value));
		data = set_reset;
		break;
	}
	return (combine(r, data) & mask) | (r->latch & ~mask);
}

static void store(struct vga *vga, u32 offset, unsigned planes, u32 data)
{
	struct mem *mem = vga->dev.platform->mem;
	u8 *memory = vga->memory->host;
	u8 layout = vga->regs.layout;

	if (layout == VGA_PLANAR || offset >= VGA_PLANE_SIZE) {
		u32 at = vga_at(VGA_PLANAR, offset, 0), lanes = spread(planes);

		mem_area_touch(mem, vga->memory, at, 4);
		le_store(memory + at, (le_load(memory + at, 4) & ~lanes) | (data & lanes), 4);
		return;
	}
	for (unsigned plane = 0; plane < 4; plane++) {
		u32 at = vga_at(layout, offset, plane);

		if (!(planes & BIT(plane)))
			continue;
		mem_area_touch(mem, vga->memory, at, 1);
		memory[at] = (u8)(data >> (8 * plane));
	}
}

static void write_byte(struct vga *vga, u32 addr, u8 value)
{
	const struct vga_regs *r = &vga->regs;
	unsigned planes = r->seq[SEQ_MAP_MASK];

	if (!decode(r, &addr))
		return;
	if (is_linear(r)) {
		u32 at = linear(r, addr);

		mem_area_touch(vga->dev.platform->mem, vga->memory, at, 1);
		vga->memory->host[at] = value;
		return;
	}
	if (chain4(r))
		planes &= 1u << (addr & 3);
	else if (!vga_dispi_on(r) && !(r->seq[SEQ_MEMORY] & MEMORY_LINEAR))
		planes &= addr & 1 ? 0xa : 0x5;
	store(vga, plane_offset(r, addr), planes, written(r, value));
}

/* Read mode 1: a bit is set where all planes that matter have the colour. */
static u8 compared(const struct vga_regs *r)
{
	u32 wrong = (r->latch ^ spread(r->gc[GC_COMPARE])) & spread(r->gc[GC_COMPARE_CARE]);

	return (u8) ~(wrong | wrong >> 8 | wrong >> 16 | wrong >> 24);
}

static u8 read_byte(struct vga *vga, u32 addr)
{
	struct vga_regs *r = &vga->regs;
	unsigned plane = r->gc[GC_READ_MAP] & 3;

	if (!decode(r, &addr))
		return 0xff;
	if (is_linear(r))
		return vga->memory->host[linear(r, addr)];
	r->latch = vga_fetch(vga, plane_offset(r, addr));
	if (r->gc[GC_MODE] & MODE_COMPARE)
		return compared(r);
	if (chain4(r))
		plane = addr & 3;
	else if (!vga_dispi_on(r) && (r->gc[GC_MODE] & MODE_ODD_EVEN))
		plane = (plane & 2) | (addr & 1);
	return (u8)(r->latch >> (8 * plane));
}

/* --- Windows ----------------------------------------------------------------------------------- */

/* A byte that the CPU writes is the byte that is stored, and the other way. */
static bool is_transparent(const struct vga_regs *r)
{
	return !(r->gc[GC_MODE] & (MODE_WRITE | MODE_COMPARE)) && !r->gc[GC_SET_ENABLE] &&
	       !r->gc[GC_ROTATE] && r->gc[GC_BIT_MASK] == 0xff;
}

/* Whether addresses of the CPU are bytes of the memory in a row, in the layout that the mode has. */
static bool is_direct(const struct vga_regs *r, u8 layout)
{
	unsigned planes = r->seq[SEQ_MAP_MASK];

	if (!(r->misc & OUTPUT_RAM) || map_of(r) == 0 || !is_transparent(r))
		return false;
	if (layout == VGA_CHAIN4)
		return planes == 0xf;
	return layout == VGA_TEXT && planes == 3 && (r->gc[GC_MODE] & MODE_ODD_EVEN) &&
	       !(r->gc[GC_READ_MAP] & 2) && (r->misc & OUTPUT_PAGE_LOW);
}

/* The layout that fits the mode best. */
static u8 layout_of(const struct vga_regs *r)
{
	if (is_linear(r))
		return r->layout;
	if (vga_dispi_on(r))
		return VGA_PLANAR;
	if (chain4(r))
		return VGA_CHAIN4;
	return (r->gc[GC_MISC] & MISC_CHAIN) && !(r->seq[SEQ_MEMORY] & MEMORY_LINEAR) ? VGA_TEXT
										      : VGA_PLANAR;
}

/* The window that the registers allow; false if they allow none. */
static bool window_of(struct vga *vga, struct mem_window *w, u8 *layout)
{
	const struct vga_regs *r = &vga->regs;
	unsigned map = vga_dispi_on(r) ? 1 : map_of(r);

	*layout = layout_of(r);
	*w = (struct mem_window){ .base = MEM_HOLE_BASE + maps[map].base,
				  .size = maps[map].size,
				  .area = vga->memory,
				  .offset = is_linear(r) ? linear(r, 0) : 0,
				  .access = MEM_RAM,
				  .level = MEM_LEVEL_DEVICE,
				  .owner = vga };
	return vga_dispi_on(r) ? is_linear(r) : is_direct(r, *layout);
}

void vga_window_hide(struct vga *vga)
{
	if (vga->window_shown)
		mem_hide(vga->dev.platform->mem, vga->window.base, vga);
	vga->window_shown = false;
	vga->window_possible = false;
}

void vga_window_update(struct vga *vga)
{
	struct mem_window w;
	u8 layout;
	bool possible = window_of(vga, &w, &layout);

	if (possible == vga->window_possible && w.base == vga->window.base &&
	    w.offset == vga->window.offset && w.size == vga->window.size &&
	    layout == vga->window_layout)
		return;
	vga_window_hide(vga);
	vga->window = w;
	vga->window_layout = layout;
	vga->window_possible = possible;
	vga->window_accesses = 0;
}

static void set_layout(struct vga *vga, u8 layout)
{
	u8 *memory = vga->memory->host, old = vga->regs.layout;
	u32 *planes = vga->planes;

	if (layout == old)
		return;
	trace(MMIO, "%s: layout %u, was %u", vga->dev.name, layout, old);
	for (u32 offset = 0; offset < VGA_PLANE_SIZE; offset++)
		planes[offset] = vga_fetch(vga, offset);
	mem_area_touch(vga->dev.platform->mem, vga->memory, 0, VGA_LEGACY_SIZE);
	for (u32 offset = 0; offset < VGA_PLANE_SIZE; offset++)
		for (unsigned plane = 0; plane < 4; plane++)
			memory[vga_at(layout, offset, plane)] = (u8)(planes[offset] >> (8 * plane));
	vga->regs.layout = layout;
}

/* The guest keeps coming: the layout becomes the one that fits, and the window opens if there can be one. If the machine has no
 * room for it, accesses go on as they are. */
static void settle(struct vga *vga)
{
	unsigned patience = vga->window_possible ? WINDOW_PATIENCE : LAYOUT_PATIENCE;

	if (vga->window_shown || vga->window_accesses == patience)
		return;
	if (++vga->window_accesses < patience)
		return;
	set_layout(vga, vga->window_layout);
	if (vga->window_possible)
		vga->window_shown = mem_show(vga->dev.platform->mem, &vga->window) == 0;
}

static u64 memory_read(void *dev, u64 offset, unsigned size)
{
	u64 value = 0;

	settle(dev);
	for (unsigned n = 0; n < size; n++)
		value |= (u64)read_byte(dev, (u32)offset + n) << (8 * n);
	return value;
}

static void memory_write(void *dev, u64 offset, u64 value, unsigned size)
{
	settle(dev);
	for (unsigned n = 0; n < size; n++)
		write_byte(dev, (u32)offset + n, (u8)(value >> (8 * n)));
}

const struct bus_ops vga_memory_ops = { memory_read, memory_write, 8 };
