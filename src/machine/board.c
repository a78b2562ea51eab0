/* The board: an Intel 440BX PC as a parts list, read from top to bottom, with its wiring. */
#include "base/log.h"
#include "base/trace.h"
#include "machine/acpi.h"
#include "machine/boot.h"
#include "machine/internal.h"
#include "machine/pci_setup.h"
#include "machine/rom.h"
#include "x86/exec.h"
#include "x86/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define IRQ_PIT        0
#define IRQ_KEYBOARD   1
#define IRQ_COM2       3
#define IRQ_COM1       4
#define IRQ_FLOPPY     6
#define IRQ_PARALLEL   7
#define IRQ_RTC        8
#define IRQ_SCI        9
#define IRQ_MOUSE      12
#define LAPIC_TIMER_HZ 1000000000ull
#define VGA_SLOT       2
#define VGABIOS        "/usr/share/seabios/vgabios-stdvga.bin"

/* --- Wires ----------------------------------------------------------------------------------- */

/* An ISA interrupt reaches the 8259 pair and the I/O APIC. */
static void isa_set(void *opaque, unsigned line, bool level)
{
	struct machine *m = opaque;

	trace(IRQ, "isa irq %u %s", line, level ? "up" : "down");
	i8259_set_line(&m->i8259, line, level);
	ioapic_set_line(&m->ioapic, line == IRQ_PIT ? IOAPIC_PIT_PIN : line, level);
}

static struct irq isa_irq(struct machine *m, unsigned line)
{
	return (struct irq){ isa_set, m, line };
}

static void on_msi(void *opaque, u64 addr, u32 data)
{
	struct machine *m = opaque;

	lapic_msi(&m->lapics, addr, data);
}

static void on_lapic_signal(void *opaque, enum lapic_signal what, unsigned arg)
{
	struct vcpu *v = opaque;

	switch (what) {
	case LAPIC_INTR:
		if (arg)
			vcpu_attend(v, ATT_IRQ);
		else
			vcpu_unattend(v, ATT_IRQ);
		break;
	case LAPIC_NMI: vcpu_attend(v, ATT_NMI); break;
	case LAPIC_INIT: vcpu_attend(v, ATT_INIT); break;
	case LAPIC_SIPI:
		v->sipi_vector = (u8)arg;
		vcpu_attend(v, ATT_SIPI);
		break;
	}
}

/* Guest time at which this CPU's TSC reaches `tsc`. */
static u64 on_tsc_due(void *opaque, u64 tsc)
{
	struct vcpu *v = opaque;
	u64 now = x86_rdtsc(v);

	if (tsc <= now)
		return 0;
	unsigned __int128 ns = (unsigned __int128)(tsc - now) * 1000000000 / v->vm->tsc_hz + 1 +
			       clock_now(v->vm->clock);

	return ns >= CLOCK_NEVER ? CLOCK_NEVER : (u64)ns;
}

static struct lapic *on_lapic_current(void *opaque)
{
	struct machine *m = opaque;

	return m->current ? m->lapic[m->current->index] : NULL;
}

static void on_lapic_eoi(void *opaque, u8 vector)
{
	struct machine *m = opaque;

	ioapic_eoi(&m->ioapic, vector);
}

static void guest_wants_reset(struct machine *m, const char *who)
{
	trace(RUN, "reset by %s", who);
	m->guest_reset = true;
	machine_reset(m);
}

static void on_keyboard_reset(void *opaque)
{
	guest_wants_reset(opaque, "the keyboard controller");
}

static void on_port92_reset(void *opaque) { guest_wants_reset(opaque, "port 92h"); }

static void on_piix4_reset(void *opaque, bool hard)
{
	(void)hard;
	guest_wants_reset(opaque, "port CF9h");
}

static void on_power_off(void *opaque)
{
	trace(RUN, "power off");
	machine_end(opaque, END_POWEROFF);
}

static void on_debug_exit(void *opaque, u32 code)
{
	struct machine *m = opaque;

	m->exit_code = (int)((code << 1 | 1) & 0xff);
	machine_end(m, END_DEBUG_EXIT);
}

/* A20 is open if either of its two gates is. Linear addresses are cached with the mask applied. */
static void a20_update(struct machine *m)
{
	gpa_t mask = m->a20_keyboard || m->a20_port92 ? ~0ull : ~(1ull << 20);

	if (mask == m->vm.a20_mask)
		return;
	m->vm.a20_mask = mask;
	for (unsigned n = 0; n < m->vm.nvcpus; n++)
		x86_tlb_flush(m->vm.vcpus[n], false);
}

static void on_keyboard_a20(void *opaque, bool on)
{
	struct machine *m = opaque;

	m->a20_keyboard = on;
	a20_update(m);
}

static void on_port92_a20(void *opaque, bool on)
{
	struct machine *m = opaque;

	m->a20_port92 = on;
	a20_update(m);
}

static void on_console_write(void *opaque, const u8 *buf, size_t n)
{
	struct machine *m = opaque;

	m->console.write(m->console.opaque, buf, n);
}

/* What a file does not take is lost, as with a printer without paper. opaque: its descriptor's place. */
static void on_output(void *opaque, const u8 *buf, size_t n)
{
	(void)!write(*(const int *)opaque, buf, n);
}

static void on_console_ready(void *opaque)
{
	struct machine *m = opaque;

	if (m->check)
		m->console_ready = true;
	else if (m->console.ready)
		m->console.ready(m->console.opaque);
}

/* SeaBIOS and OVMF know the 82441FX alone: they look for shadow RAM by the bridge's identity. */
static bool board_is_fx(const struct machine_config *cfg)
{
	if (cfg->board && strcmp(cfg->board, "auto"))
		return !strcmp(cfg->board, "440fx");
	return cfg->firmware && (!strcmp(cfg->firmware, "bios") || !strcmp(cfg->firmware, "uefi"));
}

/* --- Parts ----------------------------------------------------------------------------------- */

int board_part(struct machine *m, struct device *dev, const struct device_type *type,
	       const char *name)
{
	int err;

	dev->type = type;
	dev->name = name;
	dev->platform = &m->platform;
	err = type->init(dev);
	if (!err && m->device_count == MACHINE_MAX_DEVICES)
		err = -ENOSPC;
	if (!err)
		m->devices[m->device_count++] = dev;
	else
		log_error("device %s: %s", name, strerror(-err));
	return err;
}

static int init_lapics(struct machine *m)
{
	int err;

	m->lapics.current = on_lapic_current;
	m->lapics.eoi = on_lapic_eoi;
	m->lapics.opaque = m;
	err = lapic_set_init(&m->lapics, &m->platform);
	for (unsigned n = 0; n < m->vm.nvcpus && !err; n++) {
		struct lapic *l = m->lapic[n] = calloc(1, sizeof(*l));

		if (!l)
			return -ENOMEM;
		l->set = &m->lapics;
		l->id = n;
		l->bsp = n == 0;
		l->x2apic = cpuid_has(&m->vm, FEAT_X2APIC);
		l->has_tsc_deadline = cpuid_has(&m->vm, FEAT_TSC_DEADLINE);
		l->phys_bits = cpuid_phys_bits(&m->vm);
		l->timer_hz = LAPIC_TIMER_HZ;
		l->signal = on_lapic_signal;
		l->tsc_due = on_tsc_due;
		l->opaque = m->vm.vcpus[n];
		snprintf(m->lapic_name[n], sizeof(m->lapic_name[n]), "lapic%u", n);
		err = board_part(m, &l->dev, &lapic_type, m->lapic_name[n]);
	}
	return err;
}

static int init_interrupts(struct machine *m)
{
	int err = init_lapics(m);

	m->ioapic.base = IOAPIC_BASE;
	m->ioapic.id = IOAPIC_ID;
	m->ioapic.deliver = lapic_deliver;
	m->ioapic.opaque = &m->lapics;
	m->i8259.out = (struct irq){ lapic_lint_all, &m->lapics, 0 };
	if (!err)
		err = board_part(m, &m->ioapic.dev, &ioapic_type, "ioapic");
	if (!err)
		err = board_part(m, &m->i8259.dev, &i8259_type, "pic");
	return err;
}

static int init_bridges(struct machine *m)
{
	int err;

	for (unsigned n = 0; n < PCI_PIRQS; n++) {
		m->i440bx.bus.pirq[n] = (struct irq){ piix4_pirq_set, &m->piix4, n };
		m->piix4.apic[n] = (struct irq){ ioapic_set_line, &m->ioapic, ACPI_PIRQ_GSI + n };
	}
	for (unsigned n = 0; n < ARRAY_LEN(m->piix4.isa); n++)
		m->piix4.isa[n] = isa_irq(m, n);
	for (unsigned n = 0; n < IDE_CHANNELS; n++)
		m->ide.irq[n] = isa_irq(m, IDE_IRQ0 + n);
	m->i440bx.bus.mem = &m->mem;
	m->i440bx.fx = board_is_fx(&m->cfg);
	m->i440bx.bus.msi = on_msi;
	m->i440bx.bus.msi_opaque = m;
	m->i440bx.reset_ops = &piix4_reset_ops;
	m->i440bx.reset_dev = &m->piix4;
	m->piix4.func.bus = &m->i440bx.bus;
	m->piix4.reset = on_piix4_reset;
	m->piix4.reset_opaque = m;
	m->acpi_pm.func.bus = &m->i440bx.bus;
	m->acpi_pm.sci = (struct irq){ piix4_sci_set, &m->piix4, 0 };
	m->acpi_pm.power_off = on_power_off;
	m->acpi_pm.power_off_opaque = m;
	err = board_part(m, &m->i440bx.dev, &i440bx_type, "pci");
	if (!err)
		err = board_part(m, &m->piix4.dev, &piix4_type, "isa");
	if (!err)
		err = board_part(m, &m->acpi_pm.dev, &acpi_pm_type, "pm");
	return err;
}

static int open_output(const char *what, const char *path, int *fd, char *err, size_t errlen)
{
	int code;

	if (!path)
		return 0;
	*fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
	code = *fd < 0 ? -errno : 0;
	if (code)
		snprintf(err, errlen, "%s port's file '%s' cannot be opened: %s", what, path,
			 strerror(-code));
	return code;
}

static int open_outputs(struct machine *m, char *err, size_t errlen)
{
	int code = open_output("second serial", m->cfg.serial2, &m->com2_fd, err, errlen);

	return code ? code : open_output("parallel", m->cfg.parallel, &m->parallel_fd, err, errlen);
}

static int init_isa(struct machine *m)
{
	int err;

	/* The HPET can take their interrupts over. */
	m->hpet.isa[0] = isa_irq(m, IRQ_PIT);
	m->hpet.isa[1] = isa_irq(m, IRQ_RTC);
	m->hpet.apic = (struct irq){ ioapic_set_line, &m->ioapic, 0 };
	m->i8254.irq = (struct irq){ hpet_legacy_set, &m->hpet, 0 };
	m->mc146818.irq = (struct irq){ hpet_legacy_set, &m->hpet, 1 };
	m->mc146818.cpus = m->vm.nvcpus;
	m->parallel.base = PARALLEL_BASE;
	m->parallel.irq = isa_irq(m, IRQ_PARALLEL);
	if (m->parallel_fd >= 0)
		m->parallel.backend =
			(struct chardev){ .write = on_output, .opaque = &m->parallel_fd };
	m->mc146818.ram_low_end = m->mem.low_end;
	m->mc146818.ram_high = m->mem.high_end - 4 * GIB;
	m->i8042.irq_kbd = isa_irq(m, IRQ_KEYBOARD);
	m->i8042.irq_aux = isa_irq(m, IRQ_MOUSE);
	m->i8042.set_a20 = on_keyboard_a20;
	m->i8042.reset = on_keyboard_reset;
	m->i8042.opaque = m;
	m->port92.set_a20 = on_port92_a20;
	m->port92.reset = on_port92_reset;
	m->port92.opaque = m;
	m->com1.base = 0x3f8;
	m->com1.irq = isa_irq(m, IRQ_COM1);
	m->com1.backend = (struct chardev){ on_console_write, on_console_ready, m };
	m->com2.base = 0x2f8;
	m->com2.irq = isa_irq(m, IRQ_COM2);
	if (m->com2_fd >= 0)
		m->com2.backend = (struct chardev){ .write = on_output, .opaque = &m->com2_fd };
	m->fdc.irq = isa_irq(m, IRQ_FLOPPY);
	m->fdc.dma = &m->dma;
	m->debug_exit.base = (u16)m->cfg.debug_exit;
	m->debug_exit.exit = on_debug_exit;
	m->debug_exit.opaque = m;
	err = board_part(m, &m->i8254.dev, &i8254_type, "pit");
	if (!err)
		err = board_part(m, &m->mc146818.dev, &mc146818_type, "rtc");
	if (!err)
		err = board_part(m, &m->i8042.dev, &i8042_type, "keyboard");
	if (!err)
		err = board_part(m, &m->port92.dev, &port92_type, "port92");
	if (!err)
		err = board_part(m, &m->com1.dev, &ns16550_type, "com1");
	if (!err)
		err = board_part(m, &m->com2.dev, &ns16550_type, "com2");
	if (!err)
		err = board_part(m, &m->dma.dev, &i8237_type, "dma");
	if (!err)
		err = board_part(m, &m->fdc.dev, &fdc82077_type, "floppy");
	if (!err)
		err = board_part(m, &m->parallel.dev, &parallel_type, "parallel");
	if (!err)
		err = board_part(m, &m->hpet.dev, &hpet_type, "hpet");
	if (!err && m->cfg.debug_exit)
		err = board_part(m, &m->debug_exit.dev, &debug_exit_type, "debug-exit");
	return err;
}

static int init_vga(struct machine *m, char *err, size_t errlen)
{
	u8 *rom = NULL;
	size_t size = 0;
	int code = 0;

	if (m->cfg.no_vga)
		return 0;
	if (!m->cfg.kernel)
		code = rom_file_read("VGA BIOS", VGABIOS, 256 * KIB, &rom, &size, err, errlen);
	if (code)
		return code;
	m->vga.func.bus = &m->i440bx.bus;
	m->vga.func.devfn = PCI_DEVFN(VGA_SLOT, 0);
	m->vga.rom = rom;
	m->vga.rom_size = size;
	code = board_part(m, &m->vga.dev, &vga_type, "vga");
	free(rom);
	m->vga.rom = NULL;
	return code;
}

/* What a virtual machine's firmware asks for, beside chips. */
static int init_firmware(struct machine *m)
{
	int err = board_part(m, &m->fw_cfg.dev, &fw_cfg_type, "fw-cfg");

	if (!err)
		err = board_firmware_init(m);
	if (!err)
		err = board_part(m, &m->debug_port.dev, &debug_port_type, "firmware-log");
	return err;
}

int board_init(struct machine *m, char *err, size_t errlen)
{
	int code = init_interrupts(m);

	if (!code)
		code = init_bridges(m);
	if (!code)
		code = board_disks_open(m, err, errlen);
	if (!code)
		code = open_outputs(m, err, errlen);
	if (!code)
		code = init_isa(m);
	if (!code)
		code = init_vga(m, err, errlen);
	if (!code)
		code = board_disks_init(m);
	if (!code && !m->cfg.kernel)
		code = init_firmware(m);
	if (!code)
		code = rom_init(m, err, errlen);
	if (code && !err[0])
		snprintf(err, errlen, "the board could not be built: %s", strerror(-code));
	return code;
}

void board_fini(struct machine *m)
{
	board_disks_drain(m);
	while (m->device_count) {
		struct device *dev = m->devices[--m->device_count];

		if (dev->type->fini)
			dev->type->fini(dev);
	}
	board_disks_fini(m);
	if (m->parallel_fd >= 0)
		close(m->parallel_fd);
	if (m->com2_fd >= 0)
		close(m->com2_fd);
	for (unsigned n = 0; n < VM_MAX_VCPUS; n++)
		free(m->lapic[n]);
}

/* --- Power-on -------------------------------------------------------------------------------- */

/* What firmware leaves behind, for kernels that start without it. */
static int boot_directly(struct machine *m, char *err, size_t errlen)
{
	struct acpi_board board = board_acpi(m);
	struct boot_request boot = {
		.kernel = m->cfg.kernel,
		.initrd = m->cfg.initrd,
		.append = m->cfg.append,
		.entry = (enum boot_entry)boot_entry_parse(m->cfg.boot_entry),
		.mem = &m->mem,
		.cpu = &m->vm.vcpus[0]->cpu,
		.long_mode = cpuid_has(&m->vm, FEAT_LM),
	};

	lapic_virtual_wire(m->lapic[0]);
	pci_setup(&m->i440bx.bus, board.pci_base, board.pci_end);
	if (cpuid_has(&m->vm, FEAT_MTRR))
		for (unsigned n = 0; n < m->vm.nvcpus; n++)
			boot_set_mtrrs(&m->vm.vcpus[n]->cpu, cpuid_phys_bits(&m->vm));
	boot.rsdp = acpi_build(&m->mem, &board);
	if (!boot.rsdp) {
		snprintf(err, errlen, "the ACPI tables do not fit below 1 MiB");
		return -ENOSPC;
	}
	return boot_load(&boot, err, errlen);
}

int board_power_on(struct machine *m, char *err, size_t errlen)
{
	int code;

	for (unsigned n = 0; n < m->device_count; n++)
		m->devices[n]->type->reset(m->devices[n]);
	m->a20_keyboard = true; /* as on boards of the last decades */
	a20_update(m);
	for (unsigned n = 0; n < m->vm.nvcpus; n++) {
		struct vcpu *v = m->vm.vcpus[n];

		atomic_store(&v->attention, 0);
		x86_reset(v);
		x86_tlb_flush(v, false);
	}
	code = m->cfg.kernel ? boot_directly(m, err, errlen) : 0;
	for (unsigned n = 0; n < m->vm.nvcpus; n++)
		x86_mode_changed(m->vm.vcpus[n]);
	return code;
}

void board_kick(struct machine *m)
{
	if (m->current)
		vcpu_attend(m->current, ATT_STOP);
}
