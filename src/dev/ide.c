/* 82371AB (PIIX4) function 1: IDE controller with bus-master DMA (datasheet 29056201, chapter 5). */
#include "dev/ide.h"

#include "base/trace.h"
#include "dev/piix4.h"

/* Configuration registers (5.1) */
#define LATENCY  0x0d
#define SIDETIM  0x44
#define UDMACTL  0x48
#define UDMATIM  0x4a
#define IDETIM_W 0xf3ffu /* bits 11 and 10 are reserved */

#define BM_BAR  4
#define BM_SIZE 16u

/* Bus master registers of a channel (5.2) */
#define BM_CHANNEL   8u /* bytes a channel */
#define BMIC         0
#define BMIS         2
#define BMIDTP       4
#define BMIC_START   BIT(0)
#define BMIC_TO_MEM  BIT(3)
#define BMIS_ACTIVE  BIT(0)
#define BMIS_ERROR   BIT(1)
#define BMIS_INTR    BIT(2)
#define BMIS_CAPABLE 0x60u /* drive 0 and 1: for software's use */

/* A physical region descriptor (5.4.1): address, byte count (0: 64 KiB), end of table. A table does not cross a 64 KiB boundary: one that does
 * ends there with an error, which also bounds the list. */
#define PRD_SIZE     8u
#define PRD_END      BIT(31)
#define PRD_BOUNDARY 0x10000u

static const u16 command_ports[IDE_CHANNELS] = { 0x1f0, 0x170 };
static const u16 control_ports[IDE_CHANNELS] = { 0x3f6, 0x376 };

static struct ide_bm_regs *bm_regs(struct ide_channel *c) { return &c->ide->regs.bm[c->index]; }

/* --- Bus master ------------------------------------------------------------------------------ */

static bool bm_ready(void *opaque, bool to_memory)
{
	struct ide_channel *c = opaque;
	const struct ide_bm_regs *r = bm_regs(c);

	return (r->status & BMIS_ACTIVE) && !!(r->command & BMIC_TO_MEM) == to_memory &&
	       (pci_command(&c->ide->func) & PCI_COMMAND_MASTER);
}

/* The next region; false, and the engine has stopped, if there is none. */
static bool bm_fetch(struct ide_channel *c)
{
	struct ide_bm_regs *r = bm_regs(c);
	u32 prd[2];

	if (r->last) {
		r->status &= (u8)~BMIS_ACTIVE;
		return false;
	}
	if (r->next == (r->table & ~(PRD_BOUNDARY - 1)) + PRD_BOUNDARY ||
	    !mem_read(c->ide->dev.platform->mem, r->next, prd, sizeof(prd))) {
		r->status = (u8)((r->status & ~BMIS_ACTIVE) | BMIS_ERROR);
		return false;
	}
	r->next += PRD_SIZE;
	r->addr = prd[0] & ~1u;
	r->left = prd[1] & 0xfffe ? prd[1] & 0xfffe : 0x10000;
	r->last = prd[1] & PRD_END;
	return true;
}

static bool bm_move(void *opaque, u8 *buf, u32 size, bool to_memory)
{
	struct ide_channel *c = opaque;
	struct ide_bm_regs *r = bm_regs(c);
	struct mem *mem = c->ide->dev.platform->mem;

	while (size) {
		u32 n;

		if (r->left == 0 && !bm_fetch(c))
			return false;
		n = MIN(size, r->left);
		if (!(to_memory ? mem_write(mem, r->addr, buf, n)
				: mem_read(mem, r->addr, buf, n))) {
			r->status = (u8)((r->status & ~BMIS_ACTIVE) | BMIS_ERROR);
			return false;
		}
		buf += n;
		size -= n;
		r->addr += n;
		r->left -= n;
	}
	/* The engine is idle once the last region is full (5.2.2). */
	if (r->last && r->left == 0)
		r->status &= (u8)~BMIS_ACTIVE;
	return true;
}

static void bm_command(struct ide_channel *c, u8 value)
{
	struct ide_bm_regs *r = bm_regs(c);
	bool was = r->command & BMIC_START, start = value & BMIC_START;

	r->command = value & (BMIC_START | BMIC_TO_MEM);
	if (start == was)
		return;
	if (!start) {
		r->status &= (u8)~BMIS_ACTIVE;
		return;
	}
	r->status |= BMIS_ACTIVE;
	r->next = r->table;
	r->left = 0;
	r->last = false;
	ata_dma_changed(&c->ata);
}

static u8 bm_read_byte(struct ide_channel *c, unsigned offset)
{
	const struct ide_bm_regs *r = bm_regs(c);

	switch (offset) {
	case BMIC: return r->command;
	case BMIS: return r->status;
	case BMIDTP ... BMIDTP + 3: return (u8)(r->table >> (8 * (offset - BMIDTP)));
	default: return 0;
	}
}

static void bm_write_byte(struct ide_channel *c, unsigned offset, u8 value)
{
	struct ide_bm_regs *r = bm_regs(c);
	unsigned shift = 8 * (offset & 3);

	switch (offset) {
	case BMIC: bm_command(c, value); break;
	case BMIS:
		r->status = (u8)((r->status & ~BMIS_CAPABLE) | (value & BMIS_CAPABLE));
		r->status &= (u8) ~(value & (BMIS_ERROR | BMIS_INTR));
		break;
	case BMIDTP ... BMIDTP + 3:
		r->table = ((r->table & ~(0xffu << shift)) | (u32)value << shift) & ~3u;
		break;
	}
}

static u64 bm_read(void *dev, u64 offset, unsigned size)
{
	struct piix4_ide *ide = dev;
	u64 value = 0;

	for (unsigned i = 0; i < size; i++, offset++)
		value |= (u64)bm_read_byte(&ide->channel[offset / BM_CHANNEL], offset % BM_CHANNEL)
			 << (8 * i);
	return value;
}

static void bm_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct piix4_ide *ide = dev;

	for (unsigned i = 0; i < size; i++, offset++)
		bm_write_byte(&ide->channel[offset / BM_CHANNEL], offset % BM_CHANNEL,
			      (u8)(value >> (8 * i)));
}

static const struct bus_ops bm_ops = { bm_read, bm_write, 4 };

/* --- The drives' ports ----------------------------------------------------------------------- */

static u64 command_read(void *dev, u64 offset, unsigned size)
{
	struct ide_channel *c = dev;
	u64 value = 0;

	if (offset == ATA_DATA)
		return ata_data_read(&c->ata, size);
	for (unsigned i = 0; i < size; i++)
		value |= (u64)ata_reg_read(&c->ata, (enum ata_reg)(offset + i)) << (8 * i);
	return value;
}

static void command_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct ide_channel *c = dev;

	if (offset == ATA_DATA) {
		ata_data_write(&c->ata, (u32)value, size);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		ata_reg_write(&c->ata, (enum ata_reg)(offset + i), (u8)(value >> (8 * i)));
}

static unsigned command_block(void *dev, u64 offset, u8 *buf, unsigned size, unsigned n, bool write)
{
	struct ide_channel *c = dev;

	return offset == ATA_DATA ? ata_data_block(&c->ata, buf, size, n, write) : 0;
}

static u64 control_read(void *dev, u64 offset, unsigned size)
{
	return ata_alt_read(&((struct ide_channel *)dev)->ata);
}

static void control_write(void *dev, u64 offset, u64 value, unsigned size)
{
	ata_control_write(&((struct ide_channel *)dev)->ata, (u8)value);
}

static const struct bus_ops command_ops = { command_read, command_write, 4 };
static const struct bus_ops control_ops = { control_read, control_write, 1 };

static void unmap_channel(struct ide_channel *c)
{
	struct bus *ports = c->ide->dev.platform->ports;

	if (c->mapped)
		bus_unmap(ports, command_ports[c->index], c);
	if (c->mapped_control)
		bus_unmap(ports, control_ports[c->index], c);
	c->mapped = c->mapped_control = false;
}

/* Ports that are taken stay with their owner. */
static void map_channel(struct ide_channel *c)
{
	struct piix4_ide *ide = c->ide;
	struct bus *ports = ide->dev.platform->ports;
	u32 timing = (u32)le_load(ide->regs.pci.config + IDE_IDETIM + 2 * c->index, 2);
	bool on = (timing & IDE_DECODE) && (pci_command(&ide->func) & PCI_COMMAND_IO);

	if (!on) {
		unmap_channel(c);
		return;
	}
	if (!c->mapped)
		c->mapped = bus_map(ports, command_ports[c->index], ATA_REGS, &command_ops, c,
				    ide->dev.name) == 0;
	bus_map_block(ports, command_ports[c->index], c, command_block);
	if (!c->mapped_control)
		c->mapped_control = bus_map(ports, control_ports[c->index], 1, &control_ops, c,
					    ide->dev.name) == 0;
}

/* INTRQ of a channel. The bus master notes its rising edge. */
static void on_intrq(void *chip, unsigned line, bool level)
{
	struct ide_channel *c = chip;

	if (level)
		bm_regs(c)->status |= BMIS_INTR;
	irq_set(&c->ide->irq[c->index], level);
}

static void on_error(void *opaque, unsigned unit, int error)
{
	struct ide_channel *c = opaque;

	if (c->ide->error)
		c->ide->error(c->ide->opaque, c->index, unit, error);
}

static void on_tray(void *opaque, unsigned unit, bool open)
{
	struct ide_channel *c = opaque;

	if (c->ide->tray)
		c->ide->tray(c->ide->opaque, c->index, unit, open);
}

void piix4_ide_set_medium(struct piix4_ide *ide, unsigned channel, unsigned unit,
			  struct block *block)
{
	atapi_set_medium(&ide->channel[channel].ata, unit, block);
}

/* --- Function 1 ------------------------------------------------------------------------------ */

static void map_channels(struct piix4_ide *ide)
{
	for (unsigned i = 0; i < IDE_CHANNELS; i++)
		map_channel(&ide->channel[i]);
}

static void config_written(struct pci_func *f, unsigned offset, unsigned size)
{
	struct piix4_ide *ide = f->opaque;

	map_channels(ide);
	for (unsigned i = 0; i < IDE_CHANNELS; i++) /* bus mastering may be allowed now */
		ata_dma_changed(&ide->channel[i].ata);
}

static void describe(struct piix4_ide *ide)
{
	struct pci_func *f = &ide->func;
	u32 timing = ide->decoded ? IDE_DECODE : 0;

	pci_func_init(f, ide->dev.name, 0x8086, 0x7111, 0x010180, 0x01);
	le_store(f->initial + PCI_COMMAND, ide->decoded ? PCI_COMMAND_IO : 0, 2);
	le_store(f->initial + PCI_STATUS, 0x0280, 2);
	le_store(f->writable + PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	f->writable[PCI_INTR_LINE] = 0; /* the channels' IRQs are fixed */
	f->writable[LATENCY] = 0xf0;
	pci_bar_init(f, BM_BAR, true, BM_SIZE, &bm_ops, ide);
	for (unsigned i = 0; i < IDE_CHANNELS; i++) {
		le_store(f->initial + IDE_IDETIM + 2 * i, timing, 2);
		le_store(f->writable + IDE_IDETIM + 2 * i, IDETIM_W, 2);
	}
	f->writable[SIDETIM] = 0xff;
	f->writable[UDMACTL] = 0x0f;
	le_store(f->writable + UDMATIM, 0x3333, 2);
}

static void piix4_ide_reset(struct device *dev)
{
	struct piix4_ide *ide = (struct piix4_ide *)dev;

	pci_func_reset(&ide->func);
	for (unsigned i = 0; i < IDE_CHANNELS; i++) {
		ata_reset(&ide->channel[i].ata);
		memset(&ide->regs.bm[i], 0, sizeof(ide->regs.bm[i]));
	}
	map_channels(ide);
}

static int init_channel(struct piix4_ide *ide, unsigned index)
{
	struct ide_channel *c = &ide->channel[index];

	c->ide = ide;
	c->index = index;
	c->ata.regs = &ide->regs.ata[index];
	c->ata.index = index;
	memcpy(c->ata.drive, ide->drive[index], sizeof(c->ata.drive));
	c->ata.irq = (struct irq){ on_intrq, c, 0 };
	c->ata.dma = (struct ata_dma){ bm_ready, bm_move, c };
	c->ata.error = on_error;
	c->ata.tray = on_tray;
	c->ata.opaque = c;
	return ata_init(&c->ata);
}

static int piix4_ide_init(struct device *dev)
{
	struct piix4_ide *ide = (struct piix4_ide *)dev;
	struct pci_func *f = &ide->func;
	int r;

	f->regs = &ide->regs.pci;
	f->devfn = PCI_DEVFN(PIIX4_SLOT, 1);
	f->opaque = ide;
	f->config_written = config_written;
	describe(ide);
	r = init_channel(ide, 0);
	if (r)
		return r;
	r = init_channel(ide, 1);
	if (r)
		goto first;
	r = pci_add(f);
	if (r)
		goto both;
	map_channels(ide);
	return 0;

both:
	ata_fini(&ide->channel[1].ata);
first:
	ata_fini(&ide->channel[0].ata);
	return r;
}

static void piix4_ide_fini(struct device *dev)
{
	struct piix4_ide *ide = (struct piix4_ide *)dev;

	for (unsigned i = 0; i < IDE_CHANNELS; i++) {
		unmap_channel(&ide->channel[i]);
		ata_fini(&ide->channel[i].ata);
	}
	pci_remove(&ide->func);
}

static void check_bm(struct ide_bm_regs *r)
{
	r->command &= BMIC_START | BMIC_TO_MEM;
	r->status &= BMIS_ACTIVE | BMIS_ERROR | BMIS_INTR | BMIS_CAPABLE;
	if (!(r->command & BMIC_START))
		r->status &= (u8)~BMIS_ACTIVE;
	r->table &= ~3u;
	if ((r->next ^ r->table) & ~(PRD_BOUNDARY - 1))
		r->next = r->table;
	r->left = MIN(r->left, 0x10000);
}

/* The interrupt line's level is no news to the bus master. */
static void piix4_ide_loaded(struct device *dev)
{
	struct piix4_ide *ide = (struct piix4_ide *)dev;

	pci_func_loaded(&ide->func);
	for (unsigned i = 0; i < IDE_CHANNELS; i++) {
		struct ide_bm_regs *r = &ide->regs.bm[i];
		u8 noted;

		check_bm(r);
		noted = r->status & BMIS_INTR;
		ata_loaded(&ide->channel[i].ata);
		r->status = (u8)((r->status & ~BMIS_INTR) | noted);
	}
	map_channels(ide);
}

#define BM_ROWS(m)                                                                               \
	STATE_ROW(struct piix4_ide_regs, m.command), STATE_ROW(struct piix4_ide_regs, m.status), \
		STATE_ROW(struct piix4_ide_regs, m.table),                                       \
		STATE_ROW(struct piix4_ide_regs, m.next),                                        \
		STATE_ROW(struct piix4_ide_regs, m.addr),                                        \
		STATE_ROW(struct piix4_ide_regs, m.left), STATE_ROW(struct piix4_ide_regs, m.last)

static const struct state_field fields[] = {
	PCI_STATE_ROWS(struct piix4_ide_regs, pci),
	BM_ROWS(bm[0]),
	BM_ROWS(bm[1]),
	ATA_STATE_ROWS(struct piix4_ide_regs, ata[0]),
	ATA_STATE_ROWS(struct piix4_ide_regs, ata[1]),
};
static STATE_DESC(piix4_ide_state, struct piix4_ide_regs, "piix4-ide", fields);

const struct device_type piix4_ide_type = {
	.name = "piix4-ide",
	.help = "PIIX4 IDE controller, hard disks and CD-ROM drives",
	.size = sizeof(struct piix4_ide),
	.regs_offset = offsetof(struct piix4_ide, regs),
	.regs = &piix4_ide_state,
	.init = piix4_ide_init,
	.reset = piix4_ide_reset,
	.loaded = piix4_ide_loaded,
	.fini = piix4_ide_fini,
};
