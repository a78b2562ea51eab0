/* A machine: RAM, buses, clock, CPUs and the board's devices; made from a configuration, run on one thread until it ends. */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "core/opt.h"
#include "engine/engine.h"
#include "host/loop.h"

/* All strings outlive the machine. */
struct machine_config {
	const char *kernel, *initrd, *append;
	u64 memory; /* bytes */
	u32 cpus;
	struct opt_list disks; /* FILE or FILE,ro */
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
	void (*ready)(
		void *opaque); /* the guest has taken input: machine_input may have room again */
};

/* Builds the machine and loads its kernel. On failure one clear line, with the fix, in err. */
int machine_new(struct machine **m, const struct machine_config *cfg,
		const struct machine_console *console, char *err, size_t errlen) must_check;
void machine_free(struct machine *m);
/* Runs on the calling thread until the machine ends. */
enum machine_end machine_run(struct machine *m);
int machine_exit_code(const struct machine *m);
/* Ends the run with END_INTERRUPTED. From any thread or a signal handler. */
void machine_interrupt(struct machine *m);

/* Only from callbacks of the machine's own loop. */
struct loop *machine_loop(struct machine *m);
struct vm *machine_vm(struct machine *m);
size_t machine_input(struct machine *m, const u8 *buf,
		     size_t n); /* returns how many bytes the serial port took */
void machine_end(struct machine *m, enum machine_end end);
void machine_reset(struct machine *m);
void machine_pause(struct machine *m, bool paused);
bool machine_paused(const struct machine *m);
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
