/* What the files of the local APIC share. Section numbers are those of SDM 3A. */
#ifndef DEV_LAPIC_INTERNAL_H
#define DEV_LAPIC_INTERNAL_H

#include "base/bits.h"
#include "dev/lapic.h"

#define BASE_BSP  BIT(8)
#define BASE_EXTD BIT(10) /* x2APIC */
#define BASE_EN   BIT(11)
#define BASE_ADDR (~0ull << 12)

#define SVR_ENABLE    0x100u
#define SVR_FOCUS_OFF 0x200u
#define SVR_WRITABLE  (0xffu | SVR_ENABLE | SVR_FOCUS_OFF)

#define ESR_SEND_VECTOR    0x20u
#define ESR_RECEIVE_VECTOR 0x40u
#define ESR_REGISTER       0x80u

#define LVT_MASKED     0x10000u
#define LVT_LEVEL      0x8000u
#define LVT_REMOTE_IRR 0x4000u
#define LVT_LOW        0x2000u /* pin is active low */
#define LVT_STATUS     0x1000u /* delivery status: always idle */
#define LVT_MODE(lvt)  ((lvt) >> 8 & 7)

#define TIMER_MODE(lvt) ((lvt) >> 17 & 3)
#define DIVIDE_WRITABLE 0xbu /* of the divide configuration register */
enum { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

/* Turned on by IA32_APIC_BASE. */
static inline bool lapic_is_on(const struct lapic *a) { return a->regs.apic_base & BASE_EN; }

static inline bool lapic_is_x2apic(const struct lapic *a) { return a->regs.apic_base & BASE_EXTD; }

static inline u32 lapic_x2apic_ldr(const struct lapic *a)
{
	return a->id >> 4 << 16 | 1u << (a->id & 15);
}

/* Asks for an interrupt, or takes that back, as the registers are now. */
void lapic_update(struct lapic *a);
/* As INIT leaves it. */
void lapic_clear(struct lapic *a);
/* An error for the ESR, and for the error entry of the LVT. */
void lapic_error(struct lapic *a, u32 error);
/* A fixed interrupt has come. */
void lapic_accept(struct lapic *a, u8 vector, bool level);
/* EOI: the interrupt in service with the highest priority is over. */
void lapic_end_interrupt(struct lapic *a);
/* An event of the processor's own, through an LVT entry that may be masked. */
void lapic_deliver_lvt(struct lapic *a, unsigned i, bool level);
/* What a pin that has just become active (edge), or an entry that has just been written or ended, gives rise to. */
void lapic_pin_deliver(struct lapic *a, unsigned pin, bool edge);
/* PPR and APR (10.8.3.1, 10.7). */
u32 lapic_processor_priority(const struct lapic *a);
u32 lapic_arbitration_priority(const struct lapic *a);

/* lapic_timer.c. Arms the timer as the registers are now. */
void lapic_timer_arm(struct lapic *a);
/* For struct timer. */
void lapic_timer_expired(void *lapic);
/* What software writes to the registers of the timer and reads from them. */
u32 lapic_timer_current(const struct lapic *a);
void lapic_timer_set_initial(struct lapic *a, u32 value);
void lapic_timer_set_divide(struct lapic *a, u32 value);
void lapic_timer_set_deadline(struct lapic *a, u64 value);

/* lapic_bus.c. A message goes to those addressed, but not to `except`, which may be NULL. */
bool lapic_send(struct lapic_set *set, const struct apic_msg *msg, const struct lapic *except);
/* The message is for this one; whether it is. */
void lapic_receive(struct lapic *lapic, const struct apic_msg *msg);
bool lapic_matches(const struct lapic *lapic, const struct apic_msg *msg);
/* By hardware and by software: takes fixed interrupts. */
bool lapic_is_enabled(const struct lapic *lapic);
/* lapic_regs.c: the page at LAPIC_MMIO_BASE. */
u32 lapic_mmio_read(struct lapic *lapic, u32 offset);
void lapic_mmio_write(struct lapic *lapic, u32 offset, u32 value);

#endif
