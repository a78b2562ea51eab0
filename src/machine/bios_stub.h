/* The few BIOS services that a kernel's real-mode setup code calls, and the reset vector. */
#ifndef MACHINE_BIOS_STUB_H
#define MACHINE_BIOS_STUB_H

#include "machine/boot_internal.h"

/* Puts the stub into guest RAM below 1 MiB; the vector table is left alone. */
void bios_stub_install(struct boot *b);
/* Fills the interrupt vector table and sets the processor to cs:0000 in real mode, with the
 * other segments at ss, the stack at ss:sp, interrupts off. The stub is installed. */
void bios_stub_enter(struct boot *b, u16 cs, u16 ss, u16 sp);

#endif
