/* PCI bus 0: functions, their configuration space, base address registers, INTx and MSI-X.
 * PCI Local Bus Specification 3.0. All functions: the caller holds the device lock. */
#ifndef DEV_PCI_H
#define DEV_PCI_H

#include "base/bits.h"
#include "core/device.h"

/* Type 00h configuration header (PCI 3.0, 6.1). */
#define PCI_VENDOR_ID     0x00
#define PCI_DEVICE_ID     0x02
#define PCI_COMMAND       0x04
#define PCI_STATUS        0x06
#define PCI_REVISION_ID   0x08
#define PCI_CLASS_CODE    0x09 /* three bytes: interface, sub-class, base class */
#define PCI_HEADER_TYPE   0x0e
#define PCI_BAR0          0x10
#define PCI_SUBSYS_VENDOR 0x2c
#define PCI_SUBSYS_ID     0x2e
#define PCI_ROM_BASE      0x30 /* expansion ROM base address */
#define PCI_CAP_PTR       0x34
#define PCI_INTR_LINE     0x3c
#define PCI_INTR_PIN      0x3d

#define PCI_COMMAND_IO     BIT(0)
#define PCI_COMMAND_MEMORY BIT(1)
#define PCI_COMMAND_MASTER BIT(2)
#define PCI_COMMAND_PARITY BIT(6)
#define PCI_COMMAND_SERR   BIT(8)
#define PCI_COMMAND_INTX   BIT(10) /* interrupt disable */

#define PCI_STATUS_INTX BIT(3)
#define PCI_STATUS_CAPS BIT(4)

#define PCI_HEADER_MULTI 0x80

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX   0x11

#define PCI_BARS                  6
#define PCI_ROM_BAR               PCI_BARS /* the expansion ROM's place in pci_func.bars */
#define PCI_CONFIG_SIZE           256
#define PCI_MSIX_MAX              16 /* vectors of one function */
#define PCI_PIRQS                 4
#define PCI_DEVFN(slot, function) ((slot) << 3 | (function))

struct pci_bus;
struct pci_func;

/* Guest-visible state of one function; part of its device's regs block. */
struct pci_regs {
	u8 config[PCI_CONFIG_SIZE];
	u64 msix_addr[PCI_MSIX_MAX];
	u32 msix_data[PCI_MSIX_MAX];
	u32 msix_control[PCI_MSIX_MAX];
	u64 msix_pending; /* bit per vector */
	u8 intx;          /* the function asserts INTx; the command register gates it */
};

/* Rows for the state table of a device whose regs block `type` holds a struct pci_regs `member`. */
#define PCI_STATE_ROWS(type, member)                                                         \
	STATE_ARRAY(type, member.config), STATE_ARRAY(type, member.msix_addr),               \
		STATE_ARRAY(type, member.msix_data), STATE_ARRAY(type, member.msix_control), \
		STATE_ROW(type, member.msix_pending), STATE_ROW(type, member.intx)

/* Behind a BAR are registers (ops, dev) or memory (area), never both. */
struct pci_bar {
	u64 size; /* a power of two; 0: the register does not exist */
	const struct bus_ops *ops;
	void *dev;
	struct mem_area *area;
	bool io;
	bool mapped;
	u64 base; /* where it is mapped */
};

/* One function: the part that a device embeds. The device sets `bus`, `devfn` and `regs`, calls
 * pci_func_init, fills in `initial` and `writable`, adds BARs and capabilities, then pci_add. */
struct pci_func {
	struct pci_bus *bus;
	struct pci_regs *regs;
	const char *name;
	u8 devfn;
	u8 initial[PCI_CONFIG_SIZE];  /* configuration space after reset */
	u8 writable[PCI_CONFIG_SIZE]; /* bits that the guest may write */
	struct pci_bar bars[PCI_BARS + 1];
	u8 cap_last, cap_end; /* last capability; first free byte */
	u8 msix_cap;          /* 0: none */
	u8 msix_vectors;
	/* May be NULL. Called before a configuration read, to bring bytes up to date, and after a
	 * write has changed them. The access is of 1, 2 or 4 bytes and naturally aligned. */
	void (*config_read)(struct pci_func *f, unsigned offset, unsigned size);
	void (*config_written)(struct pci_func *f, unsigned offset, unsigned size);
	void *opaque;
};

struct pci_bus {
	struct bus *ports, *mmio;
	struct mem *mem;             /* may be NULL if no function has memory behind a BAR */
	struct pci_func *funcs[256]; /* by device and function number */
	struct irq pirq[PCI_PIRQS];  /* PIRQA..PIRQD, active high */
	u8 pirq_level;               /* bit per line, derived from the functions */
	/* A message signalled interrupt: a 32-bit write of data to addr. May be NULL. */
	void (*msi)(void *opaque, u64 addr, u32 data);
	void *msi_opaque;
};

/* The PIRQ that pin (0 is INTA) of a slot is wired to on this board; SeaBIOS knows it by heart. */
static inline unsigned pci_pirq(unsigned slot, unsigned pin)
{
	return (slot + pin + PCI_PIRQS - 1) % PCI_PIRQS;
}

static inline u16 pci_command(const struct pci_func *f)
{
	return (u16)le_load(f->regs->config + PCI_COMMAND, 2);
}

/* Starts a description: identity, class (24 bits) and the writable bits that every function has. */
void pci_func_init(struct pci_func *f, const char *name, u16 vendor, u16 device, u32 class_code,
		   u8 revision);
/* Describes BAR n of `size` bytes (a power of two; at least 16, or 4 for ports). ops->max_size and
 * offsets are as in core/bus.h. */
void pci_bar_init(struct pci_func *f, unsigned n, bool io, u64 size, const struct bus_ops *ops,
		  void *dev);
/* Describes BAR n as prefetchable memory: the guest sees the whole area, whose size is a power of two of at least a page, as RAM. An
 * address where memory is already (RAM, ROM, another such BAR) is not decoded until a mapping goes away. */
void pci_bar_area_init(struct pci_func *f, unsigned n, struct mem_area *area);
/* The same for the expansion ROM, of at most 16 MiB; it is read-only. */
void pci_rom_init(struct pci_func *f, struct mem_area *area);
/* Appends a capability of `size` bytes (the two-byte head included); returns its offset. */
unsigned pci_cap_add(struct pci_func *f, u8 id, unsigned size);
/* Adds an MSI-X capability; table and pending bits live in BAR n, 4 KiB of memory. */
void pci_msix_init(struct pci_func *f, unsigned n, unsigned vectors);

/* Puts a described function on the bus, in its reset state. -EEXIST if the place is taken. */
int pci_add(struct pci_func *f) must_check;
void pci_remove(struct pci_func *f);
/* RST#: configuration space as after power-on, BARs unmapped, interrupts gone. */
void pci_func_reset(struct pci_func *f);
/* The regs were loaded: bits that a guest cannot write are put right, mappings and interrupts
 * follow. */
void pci_func_loaded(struct pci_func *f);

/* Configuration cycles. size is 1, 2 or 4, offset naturally aligned. No such function: ones. */
u32 pci_config_read(struct pci_bus *bus, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned devfn, unsigned offset, u32 value,
		      unsigned size);

/* Access to the inside of a BAR with registers, mapped or not. The caller has checked that it lies within. */
u64 pci_bar_read(struct pci_func *f, unsigned n, u64 offset, unsigned size);
void pci_bar_write(struct pci_func *f, unsigned n, u64 offset, u64 value, unsigned size);

/* Level of the function's INTx. */
void pci_intx_set(struct pci_func *f, bool level);
/* The guest has MSI-X on: INTx is not used then. */
bool pci_msix_enabled(const struct pci_func *f);
/* Sends vector, or remembers it as pending while it is masked. Unknown vectors are ignored. */
void pci_msix_notify(struct pci_func *f, unsigned vector);

#endif
