/* Virtio over PCI, modern interface only (Virtio 1.2, 4.1). */
#ifndef DEV_VIRTIO_VIRTIO_PCI_H
#define DEV_VIRTIO_VIRTIO_PCI_H

#include "dev/pci.h"
#include "dev/virtio/virtio.h"

/* The first member of each virtio PCI device. The board sets dev, func.bus and func.devfn. */
struct virtio_pci {
	struct device dev;
	struct pci_func func;
	struct virtio virtio;
	u8 cfg_cap; /* offset of the capability through which configuration cycles reach the BAR */
};

/* For the device's init: puts a device of `kind` on the bus, with its state in *pci and *regs.
 * Negative errno. */
int virtio_pci_init(struct virtio_pci *p, const struct virtio_kind *kind, struct pci_regs *pci,
		    struct virtio_regs *regs) must_check;
void virtio_pci_reset(struct virtio_pci *p);
void virtio_pci_fini(struct virtio_pci *p);

#endif
