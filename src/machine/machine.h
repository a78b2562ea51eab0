/* A machine: RAM, buses, clock, CPUs and the board's devices; made from a configuration, run on one thread until it ends. */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "block/block.h"
#include "core/opt.h"
#include "core/screen.h"
#include "engine/engine.h"
#include "host/loop.h"

enum machine_drive { DRIVE_DISK, DRIVE_CDROM, DRIVE_FLOPPY };
/* A request to a disk's image fails: ... */
enum machine_on_error {
	ON_ERROR_ENOSPACE, /* for want of space: as STOP, otherwise as REPORT */
	ON_ERROR_STOP,   /* the machine is paused; the request is tried again when it is resumed */
	ON_ERROR_REPORT, /* the guest is told */
};
enum machine_bus { DISK_BUS_AUTO, DISK_BUS_VIRTIO, DISK_BUS_IDE, DISK_BUS_FDC };

#define MACHINE_MAX_DISKS 16 /* four on IDE, two floppies */

/* Bytes of guest RAM, bytes of an engine's host code, seconds: what may be asked for. */
#define MACHINE_MEMORY_MIN     (2 * MIB)
#define MACHINE_MEMORY_MAX     (64 * GIB)
#define MACHINE_MEMORY_DEFAULT (512 * MIB)
#define MACHINE_CACHE_MIN      (4 * MIB)
#define MACHINE_CACHE_MAX      GIB
#define MACHINE_TIMEOUT_MAX_S  10000000u

struct machine_disk {
	enum machine_drive drive;
	enum machine_bus bus; /* AUTO: virtio for disks, IDE for CD-ROMs, FDC for floppies */
	const char *path;     /* NULL: a CD-ROM or floppy drive without a medium */
	const char *format;   /* NULL: found out */
	const char *serial;   /* NULL: made from its number */
	/* NULL: changes go to the image. "": they are lost at the end. Else the image that keeps them. */
	const char *overlay;
	/* What a differencing image may refer to: NULL nothing, "*" what it names, else this file. */
	const char *parent;
	const char *parent_format; /* with a file as parent; NULL: found out */
	/* The same of the parent's own parent, and so on; NULL: it has none. */
	const struct block_below *below;
	bool readonly;
	enum machine_on_error on_error; /* not of floppy drives: they report errors */
	unsigned boot;                  /* order: 1 first; 0: after those that have one */
};

/* All strings outlive the machine. */
struct machine_config {
	/* A kernel that is loaded directly, or NULL: then firmware starts the machine. */
	const char *kernel, *initrd, *append;
	/* "bios", "uefi", or a ROM image; NULL with a kernel. */
	const char *firmware;
	const char *nvram; /* uefi: file that keeps its variables; NULL: they are lost at the end */
	const char *board; /* "440bx", "440fx"; "auto" or NULL is what the firmware knows */
	bool boot_menu;    /* the BIOS offers a choice */
	bool no_vga;
	/* Files for the output of the second serial and of the parallel port; NULL: nothing is connected. */
	const char *serial2, *parallel;
	struct machine_disk disks[MACHINE_MAX_DISKS];
	unsigned disk_count;
	u64 memory; /* bytes */
	u32 cpus;
	const char *engine, *cpu, *clock, *boot_entry;
	u32 timeout_s;  /* 0: none */
	u32 debug_exit; /* port, 0: none */
	bool no_reboot;
	u64 cache;     /* bytes for an engine's host code; 0: its default */
	bool perf_map; /* name it for perf, in /tmp/perf-PID.map */
	/* Lockstep: a second machine follows on this engine, instruction by instruction, and the first difference ends the run.
	 * With the counted clock alone. Disk images are only read then. NULL: none. */
	const char *check;
	u32 check_step; /* instructions between comparisons, about; 1 is a unit of the engine */
	u32 check_page; /* number of a page of guest RAM to compare each time too; none if it is no RAM */
	enum vm_pace pace; /* set by machine_new */
};

/* Why machine_run returned. */
enum machine_end {
	END_NONE,
	END_POWEROFF,
	END_RESET,      /* with no_reboot */
	END_CRASH,      /* triple fault */
	END_DEBUG_EXIT, /* the guest wrote the debug-exit port: code in machine_exit_code */
	END_TIMEOUT,
	END_QUIT,        /* the user asked */
	END_INTERRUPTED, /* SIGINT or SIGTERM */
	END_DIFFERENT,   /* lockstep: the engines differ; a report has been printed */
	END_ERROR,       /* the machine could not go on; a message has been printed */
};

struct machine;

/* Where the first serial port's output goes. */
struct machine_console {
	void (*write)(void *opaque, const u8 *buf, size_t n);
	void *opaque;
	/* The guest has taken input: machine_input may have room again. */
	void (*ready)(void *opaque);
};

/* Builds the machine and loads its kernel. On failure one clear line, with the fix, in err. */
int machine_new(struct machine **m, const struct machine_config *cfg,
		const struct machine_console *console, char *err, size_t errlen) must_check;
/* The machine does not run. Its disks are closed. */
void machine_free(struct machine *m);
/* Runs on the calling thread until the machine ends. */
enum machine_end machine_run(struct machine *m);
/* After END_DEBUG_EXIT: what the guest asks the process to exit with. */
int machine_exit_code(const struct machine *m);
/* Ends the run with END_INTERRUPTED. From any thread or a signal handler. */
void machine_interrupt(struct machine *m);

/* From here on: only from callbacks of the machine's own loop. */
struct loop *machine_loop(struct machine *m);
struct vm *machine_vm(struct machine *m);
/* Bytes for the first serial port; returns how many it took. */
size_t machine_input(struct machine *m, const u8 *buf, size_t n);
/* Has machine_run return `end`, unless something has ended the machine before. */
void machine_end(struct machine *m, enum machine_end end);
/* The reset button: takes effect when the running CPU comes out of the guest. */
void machine_reset(struct machine *m);
/* What the display adapter shows, or NULL if there is none. */
struct screen *machine_screen(struct machine *m);
/* A key of the PS/2 keyboard moves; code as for ps2_kbd_key. False if its buffer is full: the key waits with the caller. */
bool machine_key(struct machine *m, u16 code, bool down);
/* The lights of the keyboard as the guest set them: bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock. */
u8 machine_lights(const struct machine *m);
/* The PS/2 mouse moves (down is positive), up to 255 each way; buttons: bit 0 left, 1 right, 2 middle. False if the guest has not taken the
 * reports before it: the movement waits with the caller. */
bool machine_pointer(struct machine *m, int dx, int dy, u8 buttons);
/* Stops vCPUs and guest time, or lets them go on. */
void machine_pause(struct machine *m, bool paused);
bool machine_paused(const struct machine *m);
/* Somebody presses the power button: a guest with ACPI shuts itself down, another one does nothing. */
void machine_power_button(struct machine *m);
/* A request that failed because the host could not serve it. */
struct machine_disk_error {
	unsigned drive; /* index in machine_config.disks */
	enum block_op op;
	int error;   /* errno */
	bool paused; /* the machine is, and the request waits; otherwise the guest has been told */
};
/* The last one. NULL if there was none. */
const struct machine_disk_error *machine_disk_error(const struct machine *m);
/* One line on it, with what to do. */
void machine_disk_error_text(const struct machine *m, char *text, size_t size);
enum machine_event {
	MACHINE_RESET,       /* on request; done: devices and CPUs are in their reset state */
	MACHINE_GUEST_RESET, /* by the guest; likewise */
	MACHINE_PAUSED,      /* by whomever */
	MACHINE_RESUMED,
	/* An image failed: machine_disk_error says what happened. Not for each time if it happens often. */
	MACHINE_DISK_ERROR,
};
/* fn is called on the machine's thread; it must not free the machine. NULL: nobody listens. */
void machine_on_event(struct machine *m, void (*fn)(void *opaque, enum machine_event event),
		      void *opaque);
/* fn is called when a vCPU stops for the debugger (STOP_DEBUG) or in a triple fault (STOP_SHUTDOWN), with the machine paused. It returns
 * true if it has taken the stop; if not, a triple fault ends the machine, and anything else goes on. NULL: nobody asks. */
void machine_on_debug(struct machine *m, bool (*fn)(void *opaque, struct vcpu *v, enum stop why),
		      void *opaque);

/* Dumps. what: config, memmap, bus, cpuid, state; false if it is unknown. */
bool machine_dump(struct machine *m, const char *what, void *file);
void machine_stats(struct machine *m, void *file);
/* Registers, last exceptions and what each CPU was doing: after a crash. */
void machine_report(struct machine *m, void *file);

#endif
