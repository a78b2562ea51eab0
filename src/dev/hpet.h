/* High precision event timers (IA-PC HPET Specification 1.0a): three 64-bit timers on a 100 MHz
 * counter, with legacy replacement routing. */
#ifndef DEV_HPET_H
#define DEV_HPET_H

#include "core/device.h"

#define HPET_BASE   0xfed00000ull
#define HPET_TIMERS 3u
/* Low half of the capabilities register (2.3.4), which firmware's table repeats: revision 1, three
 * timers, 64 bits, legacy routing, made by Intel. */
#define HPET_ID 0x8086a201u
/* Inputs of the I/O APIC that a timer may be routed to. */
#define HPET_PINS 0x00f00000u

struct hpet_regs {
	u64 config;              /* general configuration */
	u64 counter, counter_ns; /* the main counter, and when it had that value if it runs */
	u8 status;               /* interrupt status of level-triggered timers */
	u64 timer_config[HPET_TIMERS];
	u64 comparator[HPET_TIMERS], period[HPET_TIMERS];
	u8 raised[HPET_TIMERS]; /* an edge-triggered timer's output; low for a moment before each edge */
	u8 legacy[2];           /* levels of hpet_legacy_set */
};

struct hpet {
	struct device dev;
	struct hpet_regs regs;
	/* Set before init. */
	struct irq isa[2]; /* IRQ 0 and IRQ 8 of the board */
	struct irq apic;   /* .line is the pin, as each call says */
	struct timer timer;
	u32 pins; /* what the I/O APIC's inputs are driven to, derived */
};

extern const struct device_type hpet_type;

/* Inputs for struct irq: chip is the struct hpet; line 0 the 8254, line 1 the real-time clock. They
 * go through to isa[] unless the guest has legacy replacement routing on. */
void hpet_legacy_set(void *chip, unsigned line, bool level);

#endif
