/* 82443BX host bridge: PCI bus 0 and configuration mechanism 1 (82443BX datasheet, PCI 3.0
 * 3.2.2.3.2), shadow RAM below 1 MiB and SMRAM. */
#ifndef DEV_I440BX_H
#define DEV_I440BX_H

#include "dev/pci.h"

#define I440BX_CONFIG_PORT 0xcf8 /* CONFADD; CONFDATA is at 0xcfc */

struct i440bx_regs {
	struct pci_regs pci;
	u32 confadd;
};

#define I440BX_PAM   0x59 /* PAM0..PAM6 */
#define I440BX_PAMS  7u
#define I440BX_SMRAM 0x72

/* Attributes of a shadow segment: whose are reads and writes, the memory's or the PCI bus's. */
#define I440BX_PAM_READ  1u
#define I440BX_PAM_WRITE 2u

struct i440bx {
	struct device dev;
	struct i440bx_regs regs;
	bool fx; /* it says that it is an 82441FX, whose registers for shadow RAM are the same */
	struct pci_bus bus; /* the board sets pirq and msi before init */
	struct pci_func func;
	/* Byte accesses to port CF9h, which lies among the bridge's own ports but belongs to the
	 * south bridge. May be NULL. Set before init. */
	const struct bus_ops *reset_ops;
	void *reset_dev;
};

extern const struct device_type i440bx_type;

#endif
