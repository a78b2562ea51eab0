/* A hostile guest: what it writes where, and what the world around it does. Registers and lists in
 * memory get the same kinds of values everywhere; a few recipes start what takes many right steps. */
#include "fuzz.h"

#include "machine/pci_setup.h"

u32 rnd(struct fuzz *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return (u32)(f->seed >> 16);
}

bool one_in(struct fuzz *f, u32 n) { return rnd(f) % n == 0; }

u64 rnd_value(struct fuzz *f)
{
	u64 power = BIT(rnd(f) % 64);

	switch (rnd(f) % 9) {
	case 0: return rnd(f) % 4;
	case 1: return rnd(f) & 0xff;
	case 2: return HOT + rnd(f) % HOT_PAGES * MEM_PAGE;
	case 3: return HOT + (rnd(f) % (HOT_PAGES * MEM_PAGE) & ~15u);
	case 4: return power - 1 + rnd(f) % 3;
	case 5: return -(u64)(rnd(f) % 4096);
	case 6: return (u64)rnd(f) << 32 | rnd(f);
	case 7: return f->mmio.regions[rnd(f) % f->mmio.count].base + rnd(f) % 16 * 4;
	default: return rnd(f) % 0x2000;
	}
}

/* --- Accesses -------------------------------------------------------------------------------- */

static void access_bus(struct fuzz *f, struct bus *bus, u64 addr, unsigned size)
{
	f->current = rnd(f) % CPUS;
	if (rnd(f) & 1)
		bus_read(bus, addr, size);
	else
		bus_write(bus, addr, rnd_value(f), size);
}

/* A few accesses to one region; some of them to one register again and again. */
static void access_region(struct fuzz *f, struct bus *bus)
{
	struct bus_region r = bus->regions[rnd(f) % bus->count];
	u64 near = MIN(r.size, 0x400), offset = rnd(f) % (one_in(f, 8) ? r.size : near);
	unsigned size = 1u << rnd(f) % 4;
	bool stay = one_in(f, 4);

	for (unsigned n = one_in(f, 4) ? rnd(f) % 64 : rnd(f) % 4 + 1; n; n--) {
		access_bus(f, bus, r.base + offset, size);
		if (!stay)
			offset = rnd(f) % near;
		if (!stay && one_in(f, 4))
			size = 1u << rnd(f) % 4;
	}
}

/* As a CPU does it: what memory shows, else what a device answers. */
static void access_memory(struct fuzz *f)
{
	static const u32 places[] = { 0xa0000, 0xb8000, 0xc0000, 0xf0000, 0xffc00000, 0xe0000000 };
	u64 at = places[rnd(f) % ARRAY_LEN(places)] + rnd(f) % 0x8000, value = rnd_value(f);
	unsigned size = 1u << rnd(f) % 4;

	for (unsigned n = rnd(f) % 32; n; n--, at += size) {
		const struct mem_slot *slot = mem_find(&f->mem, at);

		if (slot && (rnd(f) & 1) && mem_read(&f->mem, at, &value, size))
			continue;
		if (!slot || slot->readonly || !mem_write(&f->mem, at, &value, size))
			access_bus(f, &f->mmio, at, size);
	}
}

static unsigned random_function(struct fuzz *f)
{
	const struct pci_func *funcs[] = { &f->host.func, &f->piix4.func, &f->pm.func,
					   &f->ide.func,  &f->vga.func,   &f->virtio.vpci.func };

	return funcs[rnd(f) % ARRAY_LEN(funcs)]->devfn;
}

/* As firmware leaves things: everything is decoded. */
static void set_up_pci(struct fuzz *f)
{
	pci_setup(&f->host.bus, 0xe0000000, 0xfec00000);
	for (unsigned devfn = 0; devfn < 256; devfn++)
		if (f->host.bus.funcs[devfn])
			pci_config_write(&f->host.bus, devfn, PCI_COMMAND, 7, 2);
	pci_config_write(&f->host.bus, f->ide.func.devfn, IDE_IDETIM, 0x80008000, 4);
}

static void access_config(struct fuzz *f)
{
	unsigned devfn = one_in(f, 16) ? rnd(f) & 0xff : random_function(f);
	unsigned size = 1u << rnd(f) % 3, offset = rnd(f) & 0xff & ~(size - 1);

	if (one_in(f, 20))
		set_up_pci(f);
	else if (rnd(f) & 1)
		pci_config_read(&f->host.bus, devfn, offset, size);
	else
		pci_config_write(&f->host.bus, devfn, offset, (u32)rnd_value(f), size);
}

static void access_msr(struct fuzz *f)
{
	static const u32 msrs[] = { 0x1b, 0x6e0, 0x830, 0x80b, 0x83f, 0x832 };
	struct lapic *a = &f->lapic[rnd(f) % CPUS];
	u32 msr = rnd(f) % 4 ? msrs[rnd(f) % ARRAY_LEN(msrs)] : 0x800 + rnd(f) % 0x100;
	u64 value = msr == 0x1b ? 0xfee00000 | (rnd(f) & 0xd00) : rnd_value(f);

	if (rnd(f) & 1)
		(void)!lapic_msr_read(a, msr, &value);
	else
		(void)!lapic_msr_write(a, msr, value);
}

/* --- Memory ---------------------------------------------------------------------------------- */

/* Lists, rings and descriptors of all kinds: words of one size, or records that repeat. */
static void fill_memory(struct fuzz *f)
{
	u64 at = HOT + rnd(f) % (HOT_PAGES * MEM_PAGE - 512);
	unsigned size = 2u << rnd(f) % 3;
	u64 value = rnd_value(f);

	at &= ~(u64)(size - 1);
	for (unsigned n = rnd(f) % (512 / size); n; n--, at += size) {
		(void)!mem_write(&f->mem, at, &value, size);
		if (!one_in(f, 8))
			value = rnd_value(f);
	}
}

static void random_time(struct fuzz *f)
{
	unsigned shift = rnd(f) % 200 ? rnd(f) % 20 : rnd(f) % 50;

	/* A loaded state may wait for a time centuries away, which no machine sees. */
	for (unsigned n = rnd(f) % 3; n && clock_next(&f->clock) < BIT(60); n--) {
		clock_skip(&f->clock, clock_next(&f->clock));
		clock_run(&f->clock);
	}
	clock_skip(&f->clock, clock_now(&f->clock) + (rnd(f) & bits_mask(shift)));
	clock_run(&f->clock);
}

/* --- Recipes --------------------------------------------------------------------------------- */

static void put(struct fuzz *f, u16 port, u64 value, unsigned size)
{
	bus_write(&f->ports, port, value, size);
}

/* A queue on the hot pages, and a driver that says it is ready. */
static void start_virtio(struct fuzz *f)
{
	static const struct {
		u8 offset, size;
		u64 value;
	} steps[] = {
		{ 20, 1, 0 },
		{ 20, 1, 3 },
		{ 8, 4, 1 },
		{ 12, 4, 1 },
		{ 8, 4, 0 },
		{ 12, 4, BIT(28) },
		{ 20, 1, 0x0b },
		{ 22, 2, 0 },
		{ 24, 2, 16 },
		{ 32, 8, HOT },
		{ 40, 8, HOT + 0x1000 },
		{ 48, 8, HOT + 0x2000 },
		{ 28, 2, 1 },
		{ 20, 1, 0x0f },
	};
	const struct pci_bar *bar = NULL;

	set_up_pci(f);
	for (unsigned n = 0; n < PCI_BARS; n++)
		if (f->virtio.vpci.func.bars[n].size >= 16 * KIB)
			bar = &f->virtio.vpci.func.bars[n];
	for (unsigned n = 0; bar && n < ARRAY_LEN(steps); n++)
		bus_write(&f->mmio, bar->base + steps[n].offset, steps[n].value, steps[n].size);
	/* Chains of which the first descriptors look right, with headers that do. */
	for (unsigned n = 0; n < 4; n++) {
		u64 header[2] = { (u64[]){ 0, 1, 4, 8, 11, 13 }[rnd(f) % 6], rnd(f) % 64 };

		(void)!mem_write(&f->mem, HOT + 0x4000 + n * 16, header, 16);
	}
	for (unsigned n = 0; n < 16; n++) {
		u64 desc[2] = { rnd_value(f), rnd(f) % 3 ? (u64[]){ 16, 512, 1 }[n % 3] : rnd(f) };

		desc[1] |= (u64)(rnd(f) % 8) << 32 | (u64)(rnd(f) % 18) << 48;
		if (n % 3 == 0 && !one_in(f, 4)) {
			desc[0] = HOT + 0x4000 + rnd(f) % 4 * 16;
			desc[1] = 16 | BIT(32) | (u64)(n + 1) << 48;
		} else if (n % 3 == 1 && !one_in(f, 4)) {
			desc[0] = HOT + 0x5000 + rnd(f) % 0x2000;
			desc[1] = 512 | (rnd(f) & 1 ? 3ull : 1ull) << 32 | (u64)(n + 1) << 48;
		} else if (!one_in(f, 4)) {
			desc[1] = 1 | BIT(33);
		}
		(void)!mem_write(&f->mem, HOT + n * 16, desc, 16);
	}
	for (unsigned n = 0; bar && n < 4; n++) {
		u16 avail[18] = { 0, (u16)(rnd(f) % 20), (u16)(rnd(f) % 6 * 3),
				  (u16)(rnd(f) % 17) };

		(void)!mem_write(&f->mem, HOT + 0x1000, avail, sizeof(avail));
		bus_write(&f->mmio, bar->base + 0x3000, 0, 2);
	}
}

/* A command with parameters on a channel, its bus master set to a list on a hot page. */
static void start_ide(struct fuzz *f)
{
	static const u8 commands[] = { 0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0xa0, 0xa1,
				       0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xe7, 0xec, 0xef, 0x06, 0x40 };
	u16 base = one_in(f, 2) ? 0x170 : 0x1f0;
	u16 bm;

	if (one_in(f, 2))
		set_up_pci(f);
	if (one_in(f, 4)) {
		put(f, (u16)(base + 0x206), 4, 1);
		put(f, (u16)(base + 0x206), 0, 1);
	}
	bm = (u16)((le_load(f->ide.regs.pci.config + 0x20, 2) & 0xfff0) + (base == 0x170 ? 8 : 0));
	/* A list of which the first entries look right. */
	for (unsigned n = 0; n < 4; n++) {
		u64 entry = (rnd_value(f) & 0xfffffffe) | (u64)(rnd(f) % 3 ? 512 : rnd(f)) << 32 |
			    (one_in(f, 3) ? BIT(63) : 0);

		(void)!mem_write(&f->mem, HOT + 0x3000 + n * 8, &entry, 8);
	}
	put(f, (u16)(bm + 4), one_in(f, 2) ? HOT + 0x3000 : HOT + rnd(f) % 8 * 512, 4);
	put(f, (u16)(base + 6), one_in(f, 6) ? rnd(f) : 0xe0, 1);
	for (u16 n = 1; n < 6; n++)
		put(f, (u16)(base + n), one_in(f, 12) ? rnd(f) : n < 4 ? rnd(f) % 8 : 0, 1);
	put(f, (u16)(base + 7), one_in(f, 4) ? rnd(f) : commands[rnd(f) % ARRAY_LEN(commands)], 1);
	put(f, bm, 1 | (rnd(f) & 8), 1);
	for (unsigned n = rnd(f) % 300; n; n--) {
		if (one_in(f, 2))
			put(f, base, one_in(f, 8) ? rnd(f) : rnd(f) % 0x60, 2);
		else
			bus_read(&f->ports, base, 2);
	}
}

static void start_cdrom(struct fuzz *f)
{
	if (one_in(f, 2))
		set_up_pci(f);
	fuzz_cdrom(f);
}

/* A floppy command, with its DMA channel set up or not. */
static void start_floppy(struct fuzz *f)
{
	static const u8 commands[] = { 0x46, 0xe6, 0x45, 0xc5, 0x4d, 0x42, 0x4c, 0x56,
				       0x4a, 0x0f, 0x07, 0x08, 0x13, 0x03, 0x8f, 0x12 };
	static const u8 params[] = { 0, 0, 0, 1, 2, 18, 0x1b, 0xff };

	if (one_in(f, 2)) {
		put(f, 0x3f2, 0, 1);
		put(f, 0x3f2, 0x3c | rnd(f) % 4, 1);
		put(f, 0x3f7, 0, 1);
		put(f, 0xd4, 0, 1);
		put(f, 0xd6, 0xc0, 1);
		put(f, 0x08, 0, 1);
		put(f, 0xd0, 0, 1);
		clock_skip(&f->clock, clock_now(&f->clock) + 200000);
		clock_run(&f->clock);
	}
	put(f, 0x0b, 2 | (one_in(f, 2) ? 0x44 | (rnd(f) & 0x0c) : rnd(f) & 0xfc), 1);
	put(f, 0x0c, 0, 1);
	for (u16 n = 0; n < 4; n++)
		put(f, 4 + n / 2, rnd(f), 1);
	put(f, 0x81, rnd(f) % 4, 1);
	put(f, 0x0a, 2, 1);
	put(f, 0x3f5, commands[rnd(f) % ARRAY_LEN(commands)], 1);
	for (unsigned n = 0; n < sizeof(params); n++)
		put(f, 0x3f5, one_in(f, 16) ? rnd(f) : params[n], 1);
	for (unsigned n = rnd(f) % 8; n; n--)
		random_time(f);
	for (unsigned n = one_in(f, 4) ? rnd(f) % 600 : 8; n; n--)
		access_bus(f, &f->ports, 0x3f5, 1);
}

/* A descriptor of the firmware configuration device: big-endian, on a hot page. */
static void start_fw_cfg(struct fuzz *f)
{
	u32 at = HOT + rnd(f) % 64 * 16, keys[] = { 0, 1, 0x19, 0x20, 0x21, 0x22, 0x8000, 0xffff };
	u32 control = keys[rnd(f) % ARRAY_LEN(keys)] << 16 | (rnd(f) & 0x1f);
	u32 size = one_in(f, 4) ? (u32)rnd_value(f) : rnd(f) % 8192;
	u64 target = __builtin_bswap64(one_in(f, 4) ? at : rnd_value(f));
	u32 words[2] = { __builtin_bswap32(control), __builtin_bswap32(size) };

	(void)!mem_write(&f->mem, at, words, 8);
	(void)!mem_write(&f->mem, at + 8, &target, 8);
	put(f, 0x514, 0, 4);
	put(f, 0x518, __builtin_bswap32(at), 4);
}

static void start_vga(struct fuzz *f)
{
	static const u16 sizes[] = { 1, 8, 640, 480, 1024, 768, 2560, 1600, 0xffff, 4096 };
	static const u8 depths[] = { 4, 8, 15, 16, 24, 32 };

	for (u16 n = 0; n < 11; n++) {
		u16 value = n == 3 ? depths[rnd(f) % 6] : sizes[rnd(f) % ARRAY_LEN(sizes)];

		put(f, 0x1ce, n, 2);
		put(f, 0x1cf, n == 4 ? rnd(f) & 0xff : one_in(f, 6) ? rnd(f) : value, 2);
	}
	/* Registers of all groups by index. */
	for (unsigned n = rnd(f) % 40; n; n--)
		put(f, (u16[]){ 0x3c4, 0x3ce, 0x3d4 }[rnd(f) % 3], rnd(f), 2);
}

/* --- The world ------------------------------------------------------------------------------- */

static void look_at_screen(struct fuzz *f)
{
	static struct screen_text text;
	struct screen_rect rects[SCREEN_RECTS];
	struct screen *s = &f->vga.screen;
	unsigned count = s->update(s, rects);

	f->rects += count;
	for (unsigned n = 0; n < count; n++)
		if (rects[n].x + rects[n].width > s->width ||
		    rects[n].y + rects[n].height > s->height)
			__builtin_trap();
	if (s->width)
		f->bytes_sent += s->pixels[s->width * s->height - 1] & 1;
	s->text(s, &text);
}

static void take_interrupts(struct fuzz *f)
{
	for (unsigned i = 0; i < CPUS; i++) {
		int vector = lapic_ack(&f->lapic[i]);

		if (vector == LAPIC_EXTINT) {
			f->extints++;
			vector = i8259_ack(&f->pic);
		}
		f->vectors += vector >= 0;
	}
}

static void random_input(struct fuzz *f)
{
	static const u8 text[20] = "some text to receive";

	switch (rnd(f) % 8) {
	case 0: ns16550_receive(&f->uart, text, rnd(f) % 20); break;
	case 1: i8042_key(&f->kbc, (u16)rnd(f), rnd(f) & 1); break;
	case 2: i8042_mouse(&f->kbc, (int)rnd(f), (int)rnd(f), (u8)rnd(f)); break;
	case 3: acpi_pm_power_button(&f->pm); break;
	case 4: lapic_msi(&f->lapics, 0xfee00000 | (rnd(f) & 0xfffff), rnd(f) & 0xffff); break;
	case 5:
		(void)!fdc82077_insert(&f->fdc, rnd(f) % 3, rnd(f) & 1 ? &f->disk[2].block : NULL);
		break;
	case 6: piix4_ide_set_medium(&f->ide, 1, 0, rnd(f) & 1 ? &f->disk[1].block : NULL); break;
	case 7:
		f->slow = one_in(f, 3);
		f->failing = one_in(f, 6);
		break;
	}
}

/* As a hostile state file does it: any bytes in any field. */
static void random_state(struct fuzz *f)
{
	struct device *dev = f->devices[rnd(f) % f->count];
	const struct state_desc *desc = dev->type->regs;
	const struct state_field *field = &desc->fields[rnd(f) % desc->count];
	u8 *at = (u8 *)device_regs(dev) + field->offset;

	for (unsigned i = 0; i < (unsigned)field->size * field->count; i++)
		at[i] = field->is_bool ? rnd(f) & 1 : (u8)rnd(f);
	if (dev->type->loaded)
		dev->type->loaded(dev);
}

static void random_reset(struct fuzz *f)
{
	struct device *dev = f->devices[rnd(f) % f->count];

	dev->type->reset(dev);
}

static const struct {
	u8 weight;
	void (*run)(struct fuzz *f);
} recipes[] = {
	{ 4, access_memory }, { 3, access_config },   { 2, access_msr },   { 10, fill_memory },
	{ 2, start_virtio },  { 2, start_ide },       { 2, start_floppy }, { 1, start_fw_cfg },
	{ 1, start_vga },     { 3, take_interrupts }, { 3, random_input }, { 8, random_time },
	{ 1, start_cdrom },
};

void fuzz_step(struct fuzz *f, bool hostile_state)
{
	unsigned what = rnd(f) % 81, n = 0;

	f->hostile = hostile_state;
	if (what < 24) {
		access_region(f, &f->ports);
	} else if (what < 34) {
		access_region(f, &f->mmio);
	} else if (what < 36) {
		fuzz_disk_answer(&f->disk[rnd(f) % DISKS]);
	} else if (what < 37) {
		if (one_in(f, 50))
			look_at_screen(f);
	} else if (what < 39) {
		if (hostile_state)
			random_state(f);
		else if (one_in(f, 64))
			random_reset(f);
	} else {
		for (what -= 39; n < ARRAY_LEN(recipes) - 1 && what >= recipes[n].weight; n++)
			what -= recipes[n].weight;
		recipes[n].run(f);
	}
}
