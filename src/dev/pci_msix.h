/* MSI-X, shared between pci.c and pci_msix.c; devices use dev/pci.h. */
#ifndef DEV_PCI_MSIX_H
#define DEV_PCI_MSIX_H

#include "dev/pci.h"

#define PCI_MSIX_MASKED 1u /* vector control bit 0 */

/* Sends the pending vectors that nothing holds back any more. */
void pci_msix_deliver(struct pci_func *f);

#endif
