/* The fuzzer's board: what src/machine/board.c wires, with backends that misbehave. */
#include "fuzz.h"

#include "machine/pci_setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void must(int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-err));
	abort();
}

/* --- Disks ----------------------------------------------------------------------------------- */

static void serve(struct fuzz_disk *d, struct block_req *req)
{
	struct fuzz *f = d->fuzz;
	u64 at;

	f->requests[d - f->disk]++;
	if (req->size > d->block.size || req->offset > d->block.size - req->size)
		abort(); /* block_submit has checked */
	req->result = f->failing && one_in(f, 4) ? -EIO : 0;
	at = req->offset <= DISK_BYTES - req->size ? req->offset : 0; /* of a DVD */
	if (!req->result && req->op == BLOCK_READ)
		memcpy(req->buf, d->bytes + at, req->size);
	else if (!req->result && req->op == BLOCK_WRITE)
		memcpy(d->bytes + at, req->buf, req->size);
	block_complete(&d->block, req);
}

void fuzz_disk_answer(struct fuzz_disk *d)
{
	struct block_req *req;
	unsigned n;

	if (!d->count)
		return;
	n = rnd(d->fuzz) % d->count;
	req = d->held[n];
	d->held[n] = d->held[--d->count];
	serve(d, req);
}

static void disk_submit(struct block *block, struct block_req *req)
{
	struct fuzz_disk *d = (struct fuzz_disk *)block;

	if (d->fuzz->slow && d->count < HELD)
		d->held[d->count++] = req;
	else
		serve(d, req);
}

static const struct block_ops disk_ops = { .name = "fuzz", .submit = disk_submit };

/* The linker puts this in the place of block_drain: there is no thread to wait for. */
void __wrap_block_drain(struct block *block);
void __wrap_block_drain(struct block *block)
{
	struct fuzz_disk *d = (struct fuzz_disk *)block;

	while (block && d->count)
		fuzz_disk_answer(d);
}

static void init_disk(struct fuzz *f, unsigned n, u64 size, bool readonly)
{
	f->disk[n] = (struct fuzz_disk){ .block = { .ops = &disk_ops,
						    .size = size,
						    .physical_size = 512,
						    .readonly = readonly },
					 .fuzz = f };
}

/* A chip asks only for what the medium has: block_submit refuses the rest. A loaded state may ask for anything. */
static void on_error(void *opaque, unsigned channel, unsigned unit, int error)
{
	if (error == EINVAL && !((struct fuzz *)opaque)->hostile) {
		fprintf(stderr, "a request beyond the disk\n");
		abort();
	}
}

/* --- Wires ----------------------------------------------------------------------------------- */

static void isa(void *opaque, unsigned line, bool level)
{
	struct fuzz *f = opaque;

	i8259_set_line(&f->pic, line, level);
	ioapic_set_line(&f->ioapic, line ? line : 2, level);
}

static struct irq isa_irq(struct fuzz *f, unsigned line) { return (struct irq){ isa, f, line }; }

static struct lapic *current(void *opaque)
{
	struct fuzz *f = opaque;

	return &f->lapic[f->current];
}

static void on_eoi(void *opaque, u8 vector)
{
	ioapic_eoi(&((struct fuzz *)opaque)->ioapic, vector);
}

static void on_signal(void *opaque, enum lapic_signal what, unsigned arg)
{
	((struct fuzz *)opaque)->signals |= 1u << what;
}

static u64 tsc_due(void *opaque, u64 tsc) { return tsc / 3; }

static void on_msi(void *opaque, u64 addr, u32 data)
{
	lapic_msi(&((struct fuzz *)opaque)->lapics, addr, data);
}

static void on_a20(void *opaque, bool on) { ((struct fuzz *)opaque)->signals |= 0x10; }

static void on_reset(void *opaque) { ((struct fuzz *)opaque)->resets++; }

static void on_hard_reset(void *opaque, bool hard) { ((struct fuzz *)opaque)->resets++; }

static void on_exit_port(void *opaque, u32 code) { ((struct fuzz *)opaque)->signals |= 0x20; }

static void on_power_off(void *opaque) { ((struct fuzz *)opaque)->signals |= 0x40; }

static void on_sent(void *opaque, const u8 *buf, size_t n)
{
	((struct fuzz *)opaque)->bytes_sent += n;
}

static void on_can_receive(void *opaque)
{
	static const u8 text[] = "more input than it takes";

	ns16550_receive(&((struct fuzz *)opaque)->uart, text, sizeof(text));
}

/* --- Parts ----------------------------------------------------------------------------------- */

static void add(struct fuzz *f, struct device *dev, const struct device_type *type)
{
	dev->type = type;
	dev->name = type->name;
	dev->platform = &f->platform;
	must(type->init(dev), type->name);
	f->devices[f->count++] = dev;
}

static void add_interrupts(struct fuzz *f)
{
	f->lapics = (struct lapic_set){ .current = current, .eoi = on_eoi, .opaque = f };
	must(lapic_set_init(&f->lapics, &f->platform), "lapics");
	for (unsigned i = 0; i < CPUS; i++) {
		f->lapic[i] = (struct lapic){ .set = &f->lapics,
					      .id = i,
					      .bsp = !i,
					      .x2apic = true,
					      .has_tsc_deadline = true,
					      .phys_bits = 40,
					      .timer_hz = 1000000000,
					      .signal = on_signal,
					      .tsc_due = tsc_due,
					      .opaque = f };
		add(f, &f->lapic[i].dev, &lapic_type);
	}
	f->ioapic = (struct ioapic){ .base = IOAPIC_BASE,
				     .deliver = lapic_deliver,
				     .opaque = &f->lapics };
	add(f, &f->ioapic.dev, &ioapic_type);
	f->pic.out = (struct irq){ lapic_lint_all, &f->lapics, 0 };
	add(f, &f->pic.dev, &i8259_type);
	lapic_virtual_wire(&f->lapic[0]);
}

static void add_bridges(struct fuzz *f)
{
	for (unsigned n = 0; n < PCI_PIRQS; n++) {
		f->host.bus.pirq[n] = (struct irq){ piix4_pirq_set, &f->piix4, n };
		f->piix4.apic[n] = (struct irq){ ioapic_set_line, &f->ioapic, 16 + n };
	}
	for (unsigned n = 0; n < ARRAY_LEN(f->piix4.isa); n++)
		f->piix4.isa[n] = isa_irq(f, n);
	f->host.bus.msi = on_msi;
	f->host.bus.msi_opaque = f;
	f->host.reset_ops = &piix4_reset_ops;
	f->host.reset_dev = &f->piix4;
	f->piix4.func.bus = f->pm.func.bus = f->ide.func.bus = &f->host.bus;
	f->virtio.vpci.func.bus = f->vga.func.bus = &f->host.bus;
	f->piix4.reset = on_hard_reset;
	f->piix4.reset_opaque = f;
	f->pm.sci = (struct irq){ piix4_sci_set, &f->piix4, 0 };
	f->pm.power_off = on_power_off;
	f->pm.power_off_opaque = f;
	add(f, &f->host.dev, &i440bx_type);
	add(f, &f->piix4.dev, &piix4_type);
	add(f, &f->pm.dev, &acpi_pm_type);
}

static void add_pci(struct fuzz *f)
{
	init_disk(f, 0, 1000 * KIB, false);
	init_disk(f, 1, 1024 * KIB, true);
	init_disk(f, 3, 1000 * KIB, false);
	f->ide.drive[0][0] = (struct ata_drive){ .kind = ATA_DISK, .block = &f->disk[0].block };
	f->ide.drive[1][0] = (struct ata_drive){ .kind = ATA_CDROM, .block = &f->disk[1].block };
	f->ide.decoded = true;
	f->ide.error = on_error;
	f->ide.opaque = f;
	f->ide.irq[0] = isa_irq(f, 14);
	f->ide.irq[1] = isa_irq(f, 15);
	add(f, &f->ide.dev, &piix4_ide_type);
	f->virtio.block = &f->disk[3].block;
	f->virtio.vpci.func.devfn = PCI_DEVFN(8, 0);
	add(f, &f->virtio.vpci.dev, &virtio_blk_type);
	f->vga.func.devfn = PCI_DEVFN(2, 0);
	add(f, &f->vga.dev, &vga_type);
}

static void add_isa(struct fuzz *f)
{
	f->hpet.isa[0] = isa_irq(f, 0);
	f->hpet.isa[1] = isa_irq(f, 8);
	f->hpet.apic = (struct irq){ ioapic_set_line, &f->ioapic, 0 };
	add(f, &f->hpet.dev, &hpet_type);
	f->pit.irq = (struct irq){ hpet_legacy_set, &f->hpet, 0 };
	add(f, &f->pit.dev, &i8254_type);
	f->rtc = (struct mc146818){ .irq = { hpet_legacy_set, &f->hpet, 1 }, .ram_low_end = RAM };
	add(f, &f->rtc.dev, &mc146818_type);
	f->uart = (struct ns16550){ .base = 0x3f8,
				    .irq = isa_irq(f, 4),
				    .backend = { on_sent, on_can_receive, f } };
	add(f, &f->uart.dev, &ns16550_type);
	f->lpt = (struct parallel){ .base = PARALLEL_BASE,
				    .irq = isa_irq(f, 7),
				    .backend = { on_sent, NULL, f } };
	add(f, &f->lpt.dev, &parallel_type);
	f->kbc = (struct i8042){ .irq_kbd = isa_irq(f, 1),
				 .irq_aux = isa_irq(f, 12),
				 .set_a20 = on_a20,
				 .reset = on_reset,
				 .opaque = f };
	add(f, &f->kbc.dev, &i8042_type);
	f->port92 = (struct port92){ .set_a20 = on_a20, .reset = on_reset, .opaque = f };
	add(f, &f->port92.dev, &port92_type);
	f->exit = (struct debug_exit){ .base = 0xf4, .exit = on_exit_port, .opaque = f };
	add(f, &f->exit.dev, &debug_exit_type);
	add(f, &f->dma.dev, &i8237_type);
	init_disk(f, 2, 1440 * KIB, false);
	f->fdc.irq = isa_irq(f, 6);
	f->fdc.dma = &f->dma;
	f->fdc.drive[0].type = f->fdc.drive[1].type = FLOPPY_1440K;
	f->fdc.drive[0].block = &f->disk[2].block;
	add(f, &f->fdc.dev, &fdc82077_type);
}

static void add_firmware(struct fuzz *f)
{
	static const u8 bytes[5000];

	add(f, &f->fw_cfg.dev, &fw_cfg_type);
	must(fw_cfg_add_file(&f->fw_cfg, "etc/some", bytes, sizeof(bytes)), "fw_cfg");
	must(fw_cfg_add_file(&f->fw_cfg, "etc/more", bytes, 77), "fw_cfg");
	add(f, &f->log.dev, &debug_port_type);
	f->flash.base = 0xffc00000;
	f->flash.size = 128 * KIB;
	add(f, &f->flash.dev, &flash_type);
}

void fuzz_build(struct fuzz *f, u64 seed, unsigned plant)
{
	memset(f, 0, sizeof(*f));
	f->seed = seed * 0x9e3779b97f4a7c15ull + 1;
	bus_init(&f->ports, "port", 0x10000, true);
	bus_init(&f->mmio, "mmio", 1ull << 52, false);
	clock_init(&f->clock, CLOCK_KIND_INSNS);
	must(mem_init(&f->mem, RAM), "memory");
	f->platform = (struct platform){ &f->mem, &f->ports, &f->mmio, &f->clock };
	add_interrupts(f);
	add_bridges(f);
	add_isa(f);
	add_pci(f);
	add_firmware(f);
	if (plant) {
		f->plant = plant_new(&f->platform, plant);
		must(f->plant ? 0 : -ENOMEM, "plant");
	}
	for (unsigned n = 0; n < f->count; n++)
		f->devices[n]->type->reset(f->devices[n]);
	pci_setup(&f->host.bus, 0xe0000000, 0xfec00000);
}

void fuzz_fini(struct fuzz *f)
{
	f->slow = false;
	for (unsigned n = 0; n < DISKS; n++)
		__wrap_block_drain(&f->disk[n].block);
	plant_free(f->plant);
	while (f->count) {
		struct device *dev = f->devices[--f->count];

		if (dev->type->fini)
			dev->type->fini(dev);
	}
	bus_fini(&f->ports);
	bus_fini(&f->mmio);
	mem_fini(&f->mem);
	clock_fini(&f->clock);
}

u64 fuzz_hash(struct fuzz *f)
{
	static u8 buf[256 * 1024];
	u64 hash = 14695981039346656037ull;

	for (unsigned i = 0; i < f->count; i++) {
		size_t n = state_save(f->devices[i]->type->regs, device_regs(f->devices[i]), buf,
				      sizeof(buf));

		if (n > sizeof(buf))
			abort();
		for (size_t k = 0; k < n; k++)
			hash = (hash ^ buf[k]) * 1099511628211ull;
	}
	return hash;
}
