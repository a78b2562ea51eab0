/* SMBus host controller of the PIIX4 (82371AB datasheet 29056201, 7.3): the register block that
 * function 3 decodes. No device is on the bus: each transaction ends unacknowledged. */
#ifndef DEV_SMBUS_H
#define DEV_SMBUS_H

#include "core/device.h"

#define SMBUS_SIZE  16u
#define SMBUS_BLOCK 32u

struct smbus_regs {
	u8 status, slave_status, control, command, address;
	u8 data[2], block[SMBUS_BLOCK], block_at;
	u8 slave_control, shadow_command;
	u16 slave_event, slave_data;
	u64 due_ns; /* when the transaction ends; CLOCK_NEVER: none */
};

/* Rows for the state table of the device whose regs block `type` holds a struct smbus_regs. */
#define SMBUS_STATE_ROWS(type, member)                                                         \
	STATE_ROW(type, member.status), STATE_ROW(type, member.slave_status),                  \
		STATE_ROW(type, member.control), STATE_ROW(type, member.command),              \
		STATE_ROW(type, member.address), STATE_ARRAY(type, member.data),               \
		STATE_ARRAY(type, member.block), STATE_ROW(type, member.block_at),             \
		STATE_ROW(type, member.slave_control), STATE_ROW(type, member.shadow_command), \
		STATE_ROW(type, member.slave_event), STATE_ROW(type, member.slave_data),       \
		STATE_ROW(type, member.due_ns)

/* The part that function 3 embeds. */
struct smbus {
	struct smbus_regs *regs;
	struct clock *clock;
	struct timer timer;
	/* The interrupt may have changed. */
	void (*changed)(void *opaque);
	void *opaque;
};

/* 16 ports; dev is the struct smbus. */
extern const struct bus_ops smbus_ops;

/* regs, clock, changed and opaque are set. Negative errno. */
int smbus_init(struct smbus *s, const char *name) must_check;
/* As in struct device_type. */
void smbus_reset(struct smbus *s);
void smbus_loaded(struct smbus *s);
/* The controller asks for its interrupt. */
bool smbus_interrupt(const struct smbus *s);

#endif
