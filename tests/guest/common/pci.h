/* Configuration space through ports CF8h and CFCh (PCI Local Bus 3.0, 3.2.2.3.2), bus 0 alone: devfn is device * 8 + function. */
#ifndef TESTS_GUEST_PCI_H
#define TESTS_GUEST_PCI_H

#include "tap.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA    0xcfc
#define PCI_NONE    ~0u

enum { PCI_COMMAND = 4, PCI_BAR0 = 0x10, PCI_CAPABILITIES = 0x34 };
enum { PCI_IO = 1, PCI_MEMORY = 2, PCI_MASTER = 4 }; /* of the command register */

static inline void pci_select(unsigned devfn, unsigned at)
{
	__asm__ volatile("outl %0, %1"
			 :
			 : "a"(1u << 31 | devfn << 8 | (at & ~3u)), "d"((uint16_t)PCI_ADDRESS));
}

static inline uint32_t pci_read(unsigned devfn, unsigned at)
{
	uint32_t value;

	pci_select(devfn, at);
	__asm__ volatile("inl %1, %0" : "=a"(value) : "d"((uint16_t)PCI_DATA));
	return value;
}

static inline void pci_write(unsigned devfn, unsigned at, uint32_t value)
{
	pci_select(devfn, at);
	__asm__ volatile("outl %0, %1" : : "a"(value), "d"((uint16_t)PCI_DATA));
}

static inline void pci_write8(unsigned devfn, unsigned at, uint8_t value)
{
	pci_select(devfn, at);
	tap_outb((uint16_t)(PCI_DATA + (at & 3)), value);
}

/* Sets bits of the command register; the status register beside it keeps what a write of 1 would clear. */
static inline void pci_enable(unsigned devfn, uint32_t bits)
{
	pci_write(devfn, PCI_COMMAND, (pci_read(devfn, PCI_COMMAND) & 0xffff) | bits);
}

/* The first function with this vendor (low half) and device; PCI_NONE. */
static inline unsigned pci_find(uint32_t id)
{
	for (unsigned devfn = 0; devfn < 256; devfn++)
		if (pci_read(devfn, 0) == id)
			return devfn;
	return PCI_NONE;
}

#endif
