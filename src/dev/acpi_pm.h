/* PIIX4 function 3: power management as ACPI sees it (PIIX4 datasheet, chapter 7; ACPI 6.4,
 * 4.8). */
#ifndef DEV_ACPI_PM_H
#define DEV_ACPI_PM_H

#include "dev/pci.h"
#include "dev/smbus.h"

/* Where firmware puts the register blocks. */
#define ACPI_PM_BASE  0x600u
#define ACPI_PM_SMBUS 0x700u
#define ACPI_PM_SIZE  64u

/* Offsets in the block. */
#define ACPI_PM1_EVENT   0x00
#define ACPI_PM1_CONTROL 0x04
#define ACPI_PM_TIMER    0x08

/* Ports of the SMI command; the values stand in the FADT. */
#define ACPI_SMI_COMMAND 0xb2
#define ACPI_SMI_ENABLE  0xf1
#define ACPI_SMI_DISABLE 0xf0

#define ACPI_S5_SLP_TYP 0 /* soft off */

/* Configuration registers that firmware programs. */
#define ACPI_PM_PMBA      0x40
#define ACPI_PM_DEVACTB   0x58
#define ACPI_PM_APMC_EN   BIT(25)
#define ACPI_PM_PMREGMISC 0x80
#define ACPI_PM_SMBBA     0x90
#define ACPI_PM_SMBHSTCFG 0xd2
#define ACPI_PM_SMB_ON    0x09   /* the SMBus block is decoded, interrupts on IRQ 9 */
#define ACPI_PM_PMIOSE    BIT(0) /* the block is decoded */

struct acpi_pm_regs {
	struct pci_regs pci;
	u16 pmsts, pmen, pmcntrl;
	u32 pcntrl, glben, glbctl, devctl;
	u32 gporeg;
	u16 gpen;
	u8 apmc, apms;
	struct smbus_regs smbus;
	u64 timer_wraps; /* half periods of the PM timer that its overflow status has seen */
};

struct acpi_pm {
	struct device dev;
	struct acpi_pm_regs regs;
	struct pci_func func; /* the board sets func.bus */
	struct irq sci;       /* active high, level */
	struct timer overflow;
	struct smbus smbus;
	bool mapped, smbus_mapped;
	u16 base, smbus_base;
	/* Soft off: called from a vCPU's exit; it must only take note. */
	void (*power_off)(void *opaque);
	void *power_off_opaque;
};

extern const struct device_type acpi_pm_type;

/* Somebody presses the power button. Caller holds the device lock. */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
