/* The device fuzzer: every device type on one board, without a CPU. Random accesses to ports,
 * registers and configuration space, hostile contents of guest memory, random time, backends that
 * answer late or fail, and, if asked for, hostile saved states. Sanitizers judge accesses; a count
 * of basic blocks judges the work of each operation. Everything follows from the seed. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

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

#define CPUS        2
#define RAM         (8 * MIB)
#define HOT_PAGES   8u
#define HOT         0x10000u /* guest address of the pages in which rings and lists are put */
#define DISKS       4
#define DISK_BYTES  (1440 * KIB)
#define HELD        32
#define MAX_DEVICES 40
#define PLANTS      5
#define SIGNALS     0x7fu

struct fuzz;

/* A medium in memory that answers at once, later, or with an error. */
struct fuzz_disk {
	struct block block;
	u8 bytes[DISK_BYTES];
	struct block_req *held[HELD];
	unsigned count;
	struct fuzz *fuzz;
};

/* A device with a mistake, see plants.c. */
struct plant;

struct fuzz {
	struct bus ports, mmio;
	struct clock clock;
	struct mem mem;
	struct platform platform;
	struct lapic_set lapics;
	struct lapic lapic[CPUS];
	struct ioapic ioapic;
	struct i8259 pic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct ns16550 uart;
	struct i8042 kbc;
	struct port92 port92;
	struct debug_exit exit;
	struct debug_port log;
	struct i8237 dma;
	struct fdc82077 fdc;
	struct parallel lpt;
	struct hpet hpet;
	struct i440bx host;
	struct piix4 piix4;
	struct acpi_pm pm;
	struct piix4_ide ide;
	struct virtio_blk virtio;
	struct vga vga;
	struct fw_cfg fw_cfg;
	struct flash flash;
	struct plant *plant;
	struct fuzz_disk disk[DISKS]; /* hard disk, CD-ROM, floppy, virtio */
	struct device *devices[MAX_DEVICES];
	unsigned count, current;
	u64 seed, rounds;
	bool slow, failing; /* what the disks do */
	bool hostile;       /* states are loaded */
	/* What was reached. */
	u64 vectors, extints, requests[DISKS], bytes_sent, resets, rects;
	unsigned signals; /* a bit each: of local APICs, then A20, an exit, power off */
};

/* The state of one run, and what a sanitizer's report is followed by. */
u32 rnd(struct fuzz *f);
/* A number as a hostile driver would choose it: small, an address of the hot pages, an edge. */
u64 rnd_value(struct fuzz *f);
bool one_in(struct fuzz *f, u32 n);

/* board.c. `plant`: 0, or one of the mistakes. */
void fuzz_build(struct fuzz *f, u64 seed, unsigned plant);
void fuzz_fini(struct fuzz *f);
/* Of every device's registers. */
u64 fuzz_hash(struct fuzz *f);
/* Serves what a disk holds back: one request, any of them. */
void fuzz_disk_answer(struct fuzz_disk *d);

/* guest.c: one operation. */
void fuzz_step(struct fuzz *f, bool hostile_state);

/* cdrom.c: a few commands to the CD-ROM drive. */
void fuzz_cdrom(struct fuzz *f);

/* plants.c. NULL if there is no such mistake. */
const char *plant_name(unsigned n);
struct plant *plant_new(struct platform *platform, unsigned n);
void plant_free(struct plant *p);

#endif
