/* 82093AA. Section numbers are those of its data sheet. */
#include "dev/ioapic.h"

#include "base/bits.h"
#include "base/trace.h"

#define IOREGSEL 0x00
#define IOWIN    0x10
#define IOEOI    0x40

#define REG_ID      0x00
#define REG_VERSION 0x01
#define REG_ARB     0x02
#define REG_REDIR   0x10

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

#define REDIR_MODE(e)    ((e) >> 8 & 7)
#define REDIR_LOGICAL    BIT(11)
#define REDIR_REMOTE_IRR BIT(14)
#define REDIR_LEVEL      BIT(15)
#define REDIR_MASKED     BIT(16)
#define REDIR_WRITABLE   (0x1afffull | 0xffull << 56)

static const struct state_field ioapic_rows[] = {
	STATE_ROW(struct ioapic_regs, select),
	STATE_ROW(struct ioapic_regs, id),
	STATE_ROW(struct ioapic_regs, lines),
	STATE_ARRAY(struct ioapic_regs, redir),
};
static STATE_DESC(ioapic_state, struct ioapic_regs, "ioapic", ioapic_rows);

/* Level triggering is for fixed and lowest priority; the other modes are edges, whatever the bit
 * says (3.2.4). */
static bool is_level(u64 entry)
{
	return (entry & REDIR_LEVEL) && REDIR_MODE(entry) <= APIC_LOWEST;
}

static bool pin_send(struct ioapic *io, unsigned pin)
{
	u64 entry = io->regs.redir[pin];
	struct apic_msg msg = {
		.dest = (u32)(entry >> 56),
		.mode = REDIR_MODE(entry),
		.vector = (u8)entry,
		.logical = entry & REDIR_LOGICAL,
		.level = is_level(entry),
	};

	trace(IRQ, "ioapic pin %u sends %llx", pin, (unsigned long long)entry);
	return io->deliver(io->opaque, &msg);
}

/* A level-triggered pin that is asserted sends once, and again after each end of interrupt. The
 * remote IRR is set when an APIC has taken the message (3.2.4, bit 14). */
static void pin_level(struct ioapic *io, unsigned pin)
{
	u64 *entry = &io->regs.redir[pin];

	if (!is_level(*entry) || (*entry & (REDIR_MASKED | REDIR_REMOTE_IRR)) ||
	    !(io->regs.lines >> pin & 1))
		return;
	if (pin_send(io, pin))
		*entry |= REDIR_REMOTE_IRR;
}

void ioapic_set_line(void *chip, unsigned pin, bool level)
{
	struct ioapic *io = chip;
	u32 bit = 1u << pin % 32;

	if (pin >= IOAPIC_PINS || !!(io->regs.lines & bit) == level)
		return;
	trace(IRQ, "ioapic line %u = %u", pin, level);
	io->regs.lines ^= bit;
	if (!level)
		return;
	/* Edges on a masked pin are not held pending (3.2.4, bit 16). */
	if (is_level(io->regs.redir[pin]))
		pin_level(io, pin);
	else if (!(io->regs.redir[pin] & REDIR_MASKED))
		pin_send(io, pin);
}

void ioapic_eoi(void *chip, u8 vector)
{
	struct ioapic *io = chip;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 *entry = &io->regs.redir[pin];

		if ((u8)*entry != vector || !(*entry & REDIR_REMOTE_IRR))
			continue;
		*entry &= ~REDIR_REMOTE_IRR;
		pin_level(io, pin);
	}
}

/* Half of an entry; delivery status and remote IRR are read-only. */
static void write_redir(struct ioapic *io, unsigned pin, bool high, u32 value)
{
	u64 *entry = &io->regs.redir[pin];
	u64 old = *entry, mask = high ? ~0ull << 32 : UINT32_MAX;

	*entry = (old & ~(mask & REDIR_WRITABLE)) |
		 ((high ? (u64)value << 32 : value) & mask & REDIR_WRITABLE);
	/* Software clears a stuck remote IRR by turning the pin to edge and back. */
	if (!is_level(*entry))
		*entry &= ~REDIR_REMOTE_IRR;
	pin_level(io, pin);
}

static u32 read_register(const struct ioapic *io)
{
	const struct ioapic_regs *r = &io->regs;
	unsigned reg = r->select, pin = (reg - REG_REDIR) / 2;

	switch (reg) {
	case REG_ID:
	case REG_ARB: return (u32)r->id << 24;
	case REG_VERSION: return VERSION;
	}
	if (reg < REG_REDIR || pin >= IOAPIC_PINS)
		return 0;
	return (u32)(r->redir[pin] >> (reg & 1 ? 32 : 0));
}

static void write_register(struct ioapic *io, u32 value)
{
	unsigned reg = io->regs.select, pin = (reg - REG_REDIR) / 2;

	if (reg == REG_ID)
		io->regs.id = value >> 24 & 0x0f;
	else if (reg >= REG_REDIR && pin < IOAPIC_PINS)
		write_redir(io, pin, reg & 1, value);
}

static u64 ioapic_read(void *dev, u64 offset, unsigned size)
{
	struct ioapic *io = dev;
	u32 value = 0;

	if ((offset & ~3ull) == IOREGSEL)
		value = io->regs.select;
	else if ((offset & ~3ull) == IOWIN)
		value = read_register(io);
	trace(APIC, "ioapic read %02llx [%02x] = %08x", (unsigned long long)offset, io->regs.select,
	      value);
	return value >> (8 * (offset & 3));
}

/* Registers are written whole: 32 bits, but for the select register, where 8 bits count (3.1). */
static void ioapic_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct ioapic *io = dev;

	trace(APIC, "ioapic write %02llx [%02x] = %08llx", (unsigned long long)offset,
	      io->regs.select, (unsigned long long)value);
	if (offset == IOREGSEL)
		io->regs.select = (u8)value;
	else if (offset == IOWIN && size == 4)
		write_register(io, (u32)value);
	else if (offset == IOEOI)
		ioapic_eoi(io, (u8)value);
}

static const struct bus_ops ioapic_ops = { ioapic_read, ioapic_write, 4 };

static void ioapic_reset(struct device *dev)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);

	io->regs = (struct ioapic_regs){ .id = io->id, .lines = io->regs.lines };
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->regs.redir[pin] = REDIR_MASKED;
}

static int ioapic_init(struct device *dev)
{
	struct ioapic *io = container_of(dev, struct ioapic, dev);
	int err = bus_map(dev->platform->mmio, io->base, 0x1000, &ioapic_ops, io, dev->name);

	if (err < 0)
		return err;
	ioapic_reset(dev);
	return 0;
}

const struct device_type ioapic_type = {
	.name = "ioapic",
	.help = "I/O APIC",
	.size = sizeof(struct ioapic),
	.regs_offset = offsetof(struct ioapic, regs),
	.regs = &ioapic_state,
	.init = ioapic_init,
	.reset = ioapic_reset,
};
