/* The machine's own struct; for the files of this directory. */
#ifndef MACHINE_INTERNAL_H
#define MACHINE_INTERNAL_H

#include "dev/acpi_pm.h"
#include "dev/debug_exit.h"
#include "dev/debug_port.h"
#include "dev/fdc82077.h"
#include "dev/flash.h"
#include "dev/fw_cfg.h"
#include "dev/hpet.h"
#include "dev/i440bx.h"
#include "dev/i8042.h"
#include "dev/i8237.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ide.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/parallel.h"
#include "dev/piix4.h"
#include "dev/port92.h"
#include "dev/vga.h"
#include "dev/virtio/virtio_blk.h"
#include "host/alarm.h"
#include "machine/check.h"
#include "machine/firmware.h"
#include "machine/machine.h"
#include "x86/cpuid.h"
#include "x86/thunk.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define IOAPIC_ID \
	0 /* its four bits are a space of their own beside the local APICs of xAPIC systems */
#define IOAPIC_PIT_PIN 2 /* as on every PC: pin 0 of the I/O APIC is the 8259's */
/* Where BARs lie in machines that start without firmware: where the MTRRs say uncacheable. */
#define BOARD_PCI_BASE      MEM_LOW_MAX
#define MACHINE_MAX_DEVICES (VM_MAX_VCPUS + MACHINE_MAX_DISKS + 32)

struct machine {
	struct machine_config cfg;
	struct machine_console console;
	struct mem mem;
	struct bus ports, mmio;
	struct clock clock;
	struct platform platform;
	struct vm vm;
	/* vm.model: what was asked for, less what the counted clock rules out. */
	struct cpuid_model model;
	struct loop loop;
	int wake_fd, timeout_fd;
	struct alarm slice_end; /* for engines that do not count instructions */

	/* The parts, in the order of board.c. */
	struct device *devices[MACHINE_MAX_DEVICES];
	unsigned device_count;
	struct i440bx i440bx;
	struct piix4 piix4;
	struct acpi_pm acpi_pm;
	struct i8259 i8259;
	struct i8254 i8254;
	struct mc146818 mc146818;
	struct i8042 i8042;
	struct port92 port92;
	struct ns16550 com1, com2;
	struct i8237 dma;
	struct fdc82077 fdc;
	struct piix4_ide ide;
	struct vga vga;
	struct hpet hpet;
	struct parallel parallel;
	int com2_fd, parallel_fd; /* where their output goes, or -1 */
	struct debug_exit debug_exit;
	struct fw_cfg fw_cfg;
	struct flash nvram;
	struct debug_port debug_port;
	struct ioapic ioapic;
	struct lapic_set lapics;
	struct lapic *lapic[VM_MAX_VCPUS];
	struct virtio_blk *disk[MACHINE_MAX_DISKS];
	struct block *block[MACHINE_MAX_DISKS]; /* by number of the drive; NULL: no medium */
	char disk_name[MACHINE_MAX_DISKS][16];
	struct disk_watch {
		struct machine *machine;
		u64 errors; /* that the guest was told of */
	} watch[MACHINE_MAX_DISKS];
	struct machine_disk_error disk_error;
	bool disk_failed; /* disk_error is one */
	/* By number; in order. */
	struct firmware_boot boot[MACHINE_MAX_DISKS], boots[MACHINE_MAX_DISKS];
	struct firmware firmware;
	struct mem_area *rom; /* firmware; NULL: none */
	char lapic_name[VM_MAX_VCPUS][16];

	/* The run. */
	struct vcpu *current; /* whose turn it is */
	struct vcpu *crashed;
	/* Attention bits that each CPU could do nothing with when it halted. */
	u32 halted_attention[VM_MAX_VCPUS];
	enum machine_end end;
	int exit_code;
	bool paused, reset_wanted;
	bool guest_reset; /* the guest asked for the reset */
	bool a20_keyboard, a20_port92;
	bool console_ready;  /* in lockstep: console.ready waits for the end of the unit */
	struct check *check; /* of the leader and the follower of a lockstep, else NULL */
	volatile sig_atomic_t interrupted;
	u64 started_ns;
	void (*on_event)(void *opaque, enum machine_event event);
	void *event_opaque;
	bool (*on_debug)(void *opaque, struct vcpu *v, enum stop why);
	void *debug_opaque;
};

/* board.c: makes all devices and wires them. On failure one line in err. */
int board_init(struct machine *m, char *err, size_t errlen) must_check;
void board_fini(struct machine *m);
/* Power-on or reset: devices and CPUs in their reset state, firmware's work done, the kernel loaded. */
int board_power_on(struct machine *m, char *err, size_t errlen) must_check;
/* Adds a device to the board: its init is called. */
int board_part(struct machine *m, struct device *dev, const struct device_type *type,
	       const char *name) must_check;

/* board_disks.c: opens the images and gives each drive its place, before the chips that have a part in it are made. On failure one line
 * in err. */
int board_disks_open(struct machine *m, char *err, size_t errlen) must_check;
/* Makes the controllers on PCI. */
int board_disks_init(struct machine *m) must_check;
void board_disks_drain(struct machine *m);
/* The machine goes on: what failed is tried again. */
void board_disks_retry(struct machine *m);
void board_disks_fini(struct machine *m);

/* board_firmware.c: fills the fw_cfg device. */
int board_firmware_init(struct machine *m) must_check;
struct acpi_board board_acpi(const struct machine *m);

/* Makes the running CPU come back at the end of its block. */
void board_kick(struct machine *m);

/* Instructions that all CPUs together have completed. opaque: the machine. */
u64 machine_insns(void *opaque);

/* exits.c: the one door. */
void machine_exit(struct vcpu *v, struct exit *e);
unsigned machine_port_block(struct vcpu *v, u16 port, u8 *buf, unsigned size, unsigned n,
			    bool write);
int machine_take_irq(struct vcpu *v);
void machine_tsc_changed(struct vcpu *v);

/* run.c */
void machine_tell(struct machine *m, enum machine_event event);
int machine_loop_init(struct machine *m) must_check;

static inline struct machine *machine_of(struct vcpu *v)
{
	return container_of(v->vm, struct machine, vm);
}

#endif
