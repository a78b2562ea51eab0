/* SMBus host controller. */
#include "dev/smbus.h"

#include "base/bits.h"
#include "base/trace.h"

enum {
	REG_STATUS = 0,
	REG_SLAVE_STATUS = 1,
	REG_CONTROL = 2,
	REG_COMMAND = 3,
	REG_ADDRESS = 4,
	REG_DATA0 = 5,
	REG_DATA1 = 6,
	REG_BLOCK = 7,
	REG_SLAVE_CONTROL = 8,
	REG_SHADOW_COMMAND = 9,
	REG_SLAVE_EVENT = 10, /* two bytes */
	REG_SLAVE_DATA = 12,  /* two bytes */
};

/* SMBHSTSTS (7.3.1) */
#define STATUS_BUSY    BIT(0)
#define STATUS_DEV_ERR BIT(2)
#define STATUS_FAILED  BIT(4)
#define STATUS_EVENTS  0x1eu /* cleared by writing ones */
/* SMBSLVSTS (7.3.2) */
#define SLAVE_EVENTS 0x3cu
/* SMBHSTCNT (7.3.3) */
#define CONTROL_INTEREN BIT(0)
#define CONTROL_KILL    BIT(1)
#define CONTROL_START   BIT(6)
#define CONTROL_STORED  0x1fu

#define ADDRESS_NS 100000ull /* start, eight bits and no acknowledge, at 100 kHz */

bool smbus_interrupt(const struct smbus *s)
{
	return (s->regs->control & CONTROL_INTEREN) && (s->regs->status & STATUS_EVENTS);
}

static void arm(struct smbus *s, u64 due_ns)
{
	s->regs->due_ns = due_ns;
	timer_set(s->clock, &s->timer, due_ns);
}

static void end(struct smbus *s, u8 how)
{
	struct smbus_regs *r = s->regs;

	r->status = (u8)((r->status & ~STATUS_BUSY) | how);
	arm(s, CLOCK_NEVER);
}

static void transaction_due(void *opaque)
{
	struct smbus *s = opaque;

	end(s, STATUS_DEV_ERR);
	s->changed(s->opaque);
}

static void write_control(struct smbus *s, u8 value)
{
	struct smbus_regs *r = s->regs;

	r->control = value & CONTROL_STORED;
	if ((value & CONTROL_KILL) && (r->status & STATUS_BUSY)) {
		end(s, STATUS_FAILED);
	} else if ((value & (CONTROL_START | CONTROL_KILL)) == CONTROL_START &&
		   !(r->status & STATUS_BUSY)) {
		trace(ACPI, "smbus: address %02x, protocol %u", r->address >> 1,
		      (unsigned)bits_get(value, 4, 2));
		r->status |= STATUS_BUSY;
		arm(s, clock_now(s->clock) + ADDRESS_NS);
	}
}

/* Reading the control register points to the first byte of a block; each access of the block
 * register to the next one (7.3.8). */
static u8 *next_of_block(struct smbus_regs *r)
{
	u8 *at = &r->block[r->block_at % SMBUS_BLOCK];

	r->block_at = (u8)((r->block_at + 1) % SMBUS_BLOCK);
	return at;
}

static u64 smbus_read(void *dev, u64 offset, unsigned size)
{
	struct smbus_regs *r = ((struct smbus *)dev)->regs;

	switch (offset) {
	case REG_STATUS: return r->status;
	case REG_SLAVE_STATUS: return r->slave_status;
	case REG_CONTROL: r->block_at = 0; return r->control;
	case REG_COMMAND: return r->command;
	case REG_ADDRESS: return r->address;
	case REG_DATA0:
	case REG_DATA1: return r->data[offset - REG_DATA0];
	case REG_BLOCK: return *next_of_block(r);
	case REG_SLAVE_CONTROL: return r->slave_control;
	case REG_SHADOW_COMMAND: return r->shadow_command;
	case REG_SLAVE_EVENT: return r->slave_event & 0xff;
	case REG_SLAVE_EVENT + 1: return r->slave_event >> 8;
	case REG_SLAVE_DATA: return r->slave_data & 0xff;
	case REG_SLAVE_DATA + 1: return r->slave_data >> 8;
	default: return 0;
	}
}

static void smbus_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct smbus *s = dev;
	struct smbus_regs *r = s->regs;
	u8 byte = (u8)value;

	switch (offset) {
	case REG_STATUS: r->status &= (u8) ~(byte & STATUS_EVENTS); break;
	case REG_SLAVE_STATUS: r->slave_status &= (u8) ~(byte & SLAVE_EVENTS); break;
	case REG_CONTROL: write_control(s, byte); break;
	case REG_COMMAND: r->command = byte; break;
	case REG_ADDRESS: r->address = byte; break;
	case REG_DATA0:
	case REG_DATA1: r->data[offset - REG_DATA0] = byte; break;
	case REG_BLOCK: *next_of_block(r) = byte; break;
	case REG_SLAVE_CONTROL: r->slave_control = byte & 0x0f; break;
	case REG_SLAVE_EVENT: r->slave_event = (u16)((r->slave_event & 0xff00) | byte); break;
	case REG_SLAVE_EVENT + 1:
		r->slave_event = (u16)((r->slave_event & 0x00ff) | byte << 8);
		break;
	default: break; /* shadow command and slave data are what others have sent */
	}
	s->changed(s->opaque);
}

const struct bus_ops smbus_ops = { smbus_read, smbus_write, 1 };

int smbus_init(struct smbus *s, const char *name)
{
	return timer_init(s->clock, &s->timer, name, transaction_due, s);
}

void smbus_reset(struct smbus *s)
{
	*s->regs = (struct smbus_regs){ .due_ns = CLOCK_NEVER };
	timer_cancel(s->clock, &s->timer);
}

void smbus_loaded(struct smbus *s) { timer_set(s->clock, &s->timer, s->regs->due_ns); }
