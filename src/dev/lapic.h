/* Local APICs (SDM 3A chapter 10, of the 2022 edition) and the bus between them: xAPIC and x2APIC,
 * six LVT entries, version 0x14. */
#ifndef DEV_LAPIC_H
#define DEV_LAPIC_H

#include "core/device.h"

#define LAPIC_MAX       64u
#define LAPIC_MMIO_BASE 0xfee00000ull
#define LAPIC_EXTINT    256 /* from lapic_ack: the vector comes from the 8259 */

enum apic_mode {
	APIC_FIXED,
	APIC_LOWEST,
	APIC_SMI,
	APIC_RESERVED,
	APIC_NMI,
	APIC_INIT,
	APIC_SIPI,
	APIC_EXTINT
};

/* A message on the bus. */
struct apic_msg {
	u32 dest;
	u8 mode; /* enum apic_mode */
	u8 vector;
	bool logical; /* destination mode */
	bool level;   /* triggered by level: EOI is to be announced */
	/* dest is an x2APIC's: 32 bits, broadcast is all ones; else 8 bits, broadcast is 0xff. */
	bool wide;
};

enum lapic_signal {
	LAPIC_INTR, /* arg: the line is now 1 or 0; while it is 1, lapic_ack returns an interrupt */
	LAPIC_NMI,
	LAPIC_INIT, /* the APIC itself is already reset */
	LAPIC_SIPI, /* arg: vector */
};

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

struct lapic_regs {
	u64 apic_base; /* IA32_APIC_BASE */
	u32 isr[8], tmr[8], irr[8];
	u32 tpr, ldr, dfr, svr;
	u32 esr, esr_pending; /* as read; collected since it was last written */
	u64 icr;
	u32 lvt[LVT_COUNT];
	u32 initial_count, divide;
	u32 count;        /* at timer_tick; 0: not running */
	u64 timer_tick;   /* of the undivided timer clock */
	u64 tsc_deadline; /* 0: not armed */
	u8 lint;          /* bit per pin */
	u8 extint;        /* an ExtINT message waits to be acknowledged */
};

struct lapic_set;

struct lapic {
	struct device dev;
	struct lapic_regs regs;
	/* Set before init. */
	struct lapic_set *set;
	u32 id; /* initial APIC ID, as CPUID shows it */
	bool bsp;
	bool x2apic, has_tsc_deadline; /* as CPUID shows it */
	unsigned phys_bits;
	u64 timer_hz; /* the timer's clock before division */
	void (*signal)(void *opaque, enum lapic_signal what, unsigned arg);
	/* Guest time at which this CPU's TSC reaches a value: at or before now if it has,
	 * CLOCK_NEVER if beyond the clock. */
	u64 (*tsc_due)(void *opaque, u64 tsc);
	void *opaque;

	struct timer timer;
	bool intr; /* what LAPIC_INTR last said */
};

/* The bus, with everything on it. Zero it, set current and eoi, then lapic_set_init. */
struct lapic_set {
	struct lapic *cpus[LAPIC_MAX]; /* in the order of init */
	unsigned count;
	/* The one whose CPU makes the MMIO access in progress; NULL if none. */
	struct lapic *(*current)(void *opaque);
	/* End of a level-triggered interrupt, for the IOAPIC; may be NULL. */
	void (*eoi)(void *opaque, u8 vector);
	void *opaque;
};

extern const struct device_type lapic_type;

/* Maps the page at LAPIC_MMIO_BASE, through which each CPU reaches its own APIC. (An APIC that
 * IA32_APIC_BASE moves elsewhere is reached by x2APIC MSRs alone.) Negative errno. */
int lapic_set_init(struct lapic_set *set, struct platform *platform) must_check;
/* Sends a message: for IOAPICs and others outside. `set` is a struct lapic_set *. Returns whether
 * an APIC took it. */
bool lapic_deliver(void *set, const struct apic_msg *msg);
/* A device's write of a message-signalled interrupt to 0xfeexxxxx (SDM 3A 10.11). */
void lapic_msi(struct lapic_set *set, u64 addr, u32 data);
/* Pin 0 or 1 (LINT0, LINT1) of one APIC, and of all on the bus as a PC wires the 8259: for struct
 * irq, with chip = struct lapic * or struct lapic_set *. */
void lapic_lint(void *lapic, unsigned pin, bool level);
void lapic_lint_all(void *set, unsigned pin, bool level);

/* What firmware leaves behind (virtual wire mode): APIC on, LINT0 = ExtINT on the boot processor,
 * LINT1 = NMI. */
void lapic_virtual_wire(struct lapic *lapic);

/* The CPU takes an interrupt: returns its vector, now in service, LAPIC_EXTINT if the 8259 is to be
 * asked, or -1 for none. */
int lapic_ack(struct lapic *lapic);

/* IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC range. */
static inline bool lapic_has_msr(u32 msr)
{
	return msr == 0x1b || msr == 0x6e0 || (msr >= 0x800 && msr <= 0x8ff);
}

/* Only for lapic_has_msr. False: the access raises #GP(0). */
bool lapic_msr_read(struct lapic *lapic, u32 msr, u64 *value) must_check;
bool lapic_msr_write(struct lapic *lapic, u32 msr, u64 value) must_check;
/* CR8, which is TPR bits 7:4; value is at most 15. */
u64 lapic_cr8_read(const struct lapic *lapic);
void lapic_cr8_write(struct lapic *lapic, u64 value);
/* The CPU's TSC was set or adjusted: an armed deadline is computed anew. */
void lapic_tsc_changed(struct lapic *lapic);

#endif
