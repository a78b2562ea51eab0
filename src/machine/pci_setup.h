/* What firmware does to the PCI bus before it starts a system. */
#ifndef MACHINE_PCI_SETUP_H
#define MACHINE_PCI_SETUP_H

#include "dev/pci.h"

/* Makes the shadow area below 1 MiB plain RAM, gives each BAR an address (memory from mem_base to mem_end) and switches it on, routes
 * PIRQA..D to IRQ 10 and 11, fills in the interrupt line registers, turns the power management
 * block on, and makes the PCI interrupts and the SCI level-triggered at the 8259s. Through
 * configuration cycles and ports alone, as software would. */
void pci_setup(struct pci_bus *bus, u64 mem_base, u64 mem_end);

#endif
