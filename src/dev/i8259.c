/* 8259A pair. Page and section names are those of the 8259A data sheet. */
#include "dev/i8259.h"

#include "base/bits.h"
#include "base/trace.h"

#define MASTER  0
#define SLAVE   1
#define CASCADE 2 /* master input that the slave drives, and the slave's identity */

#define ICW1_ICW4   0x01
#define ICW1_SINGLE 0x02
#define ICW1_SELECT 0x10 /* tells ICW1 from OCW2 and OCW3 */

#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10 /* special fully nested mode */

#define OCW2_LEVEL 0x07
#define OCW2_EOI   0x20
#define OCW2_SL    0x40
#define OCW2_R     0x80

#define OCW3_RIS    0x01
#define OCW3_RR     0x02
#define OCW3_POLL   0x04
#define OCW3_SELECT 0x08 /* tells OCW3 from OCW2 */
#define OCW3_SMM    0x20
#define OCW3_ESMM   0x40

#define NO_INPUT 8u

static const struct state_field i8259_rows[] = {
	STATE_ARRAY(struct i8259_regs, lines),        STATE_ARRAY(struct i8259_regs, latch),
	STATE_ARRAY(struct i8259_regs, isr),          STATE_ARRAY(struct i8259_regs, imr),
	STATE_ARRAY(struct i8259_regs, elcr),         STATE_ARRAY(struct i8259_regs, icw1),
	STATE_ARRAY(struct i8259_regs, icw2),         STATE_ARRAY(struct i8259_regs, icw3),
	STATE_ARRAY(struct i8259_regs, icw4),         STATE_ARRAY(struct i8259_regs, expect),
	STATE_ARRAY(struct i8259_regs, lowest),       STATE_ARRAY(struct i8259_regs, rotate_aeoi),
	STATE_ARRAY(struct i8259_regs, special_mask), STATE_ARRAY(struct i8259_regs, read_isr),
	STATE_ARRAY(struct i8259_regs, poll),
};
static STATE_DESC(i8259_state, struct i8259_regs, "i8259", i8259_rows);

/* Bits that the PIIX lets be level triggered: not 0, 1, 2, 8, 13. */
static const u8 elcr_mask[2] = { 0xf8, 0xde };

static bool has_slave(const struct i8259_regs *r)
{
	return !(r->icw1[MASTER] & ICW1_SINGLE) && (r->icw3[MASTER] & 1u << CASCADE);
}

static u8 chip_irr(const struct i8259_regs *r, unsigned c);

/* The input of highest priority in a set, or NO_INPUT. */
static unsigned highest(const struct i8259_regs *r, unsigned c, u8 set)
{
	for (unsigned i = 1; i <= 8; i++) {
		unsigned input = (r->lowest[c] + i) & 7;

		if (set & 1u << input)
			return input;
	}
	return NO_INPUT;
}

/* The input that chip c requests service for now, or NO_INPUT: unmasked, and above all that is in
 * service ("fully nested mode"). */
static unsigned chip_request(const struct i8259_regs *r, unsigned c)
{
	unsigned request = highest(r, c, chip_irr(r, c) & ~r->imr[c]);
	u8 blocking = r->isr[c];

	if (request == NO_INPUT)
		return NO_INPUT;
	/* "Special mask mode": what is masked does not block while it is in service. */
	if (r->special_mask[c])
		blocking &= (u8)~r->imr[c];
	/* "Special fully nested mode": nor does the slave's input of the master block the slave. */
	if (c == MASTER && (r->icw4[MASTER] & ICW4_SFNM) && request == CASCADE)
		blocking &= (u8) ~(1u << CASCADE);
	return highest(r, c, (u8)(blocking | 1u << request)) == request &&
			       !(blocking & 1u << request)
		       ? request
		       : NO_INPUT;
}

/* The interrupt request register: inputs that ask, masked or not. An edge counts while its line
 * stays high. */
static u8 chip_irr(const struct i8259_regs *r, unsigned c)
{
	u8 irr = r->lines[c] & (r->latch[c] | r->elcr[c]);

	if (c == MASTER && has_slave(r)) {
		irr &= (u8) ~(1u << CASCADE);
		if (chip_request(r, SLAVE) != NO_INPUT)
			irr |= 1u << CASCADE;
	}
	return irr;
}

static void pic_update(struct i8259 *pic)
{
	bool level = chip_request(&pic->regs, MASTER) != NO_INPUT;

	if (level == pic->level)
		return;
	pic->level = level;
	irq_set(&pic->out, level);
}

void i8259_set_line(void *chip, unsigned line, bool level)
{
	struct i8259 *pic = chip;
	struct i8259_regs *r = &pic->regs;
	unsigned c = (line >> 3) & 1;
	u8 bit = (u8)(1u << (line & 7));

	if (!!(r->lines[c] & bit) == level)
		return;
	trace(IRQ, "pic line %u = %u", line & 15, level);
	r->lines[c] ^= bit;
	if (level)
		r->latch[c] |= bit;
	else
		r->latch[c] &= (u8)~bit;
	pic_update(pic);
}

/* One chip's part of an acknowledge cycle or a poll: the request becomes the one in service. */
static unsigned chip_ack(struct i8259_regs *r, unsigned c)
{
	unsigned input = chip_request(r, c);

	if (input == NO_INPUT)
		return NO_INPUT;
	r->latch[c] &= (u8) ~(1u << input);
	if (!(r->icw4[c] & ICW4_AEOI))
		r->isr[c] |= (u8)(1u << input);
	else if (r->rotate_aeoi[c])
		r->lowest[c] = (u8)input;
	return input;
}

static u8 chip_vector(const struct i8259_regs *r, unsigned c, unsigned input)
{
	/* Without a request the chip answers as for IR7, and no ISR bit is set ("edge and level
	 * triggered modes"). */
	return (u8)((r->icw2[c] & 0xf8) | (input == NO_INPUT ? 7 : input));
}

u8 i8259_ack(struct i8259 *pic)
{
	struct i8259_regs *r = &pic->regs;
	unsigned from_slave, input;
	u8 vector;

	/* The slave decides before the master's in-service bit changes what it shows. */
	input = chip_request(r, MASTER);
	from_slave = input == CASCADE && has_slave(r);
	chip_ack(r, MASTER);
	if (!from_slave)
		vector = chip_vector(r, MASTER, input);
	else if ((r->icw3[SLAVE] & 7) == CASCADE)
		vector = chip_vector(r, SLAVE, chip_ack(r, SLAVE));
	else
		vector = 0xff; /* no chip feels addressed: nothing drives the bus */
	trace(IRQ, "pic ack vector %02x", vector);
	/* INT goes low with the acknowledge, and high again if there is more: who looks for edges
	 * sees one. */
	pic->level = false;
	irq_set(&pic->out, false);
	pic_update(pic);
	return vector;
}

static void write_icw1(struct i8259_regs *r, unsigned c, u8 value)
{
	/* "Initialization command words", a to f; chips of today also end what is in service. */
	r->icw1[c] = value;
	r->latch[c] = 0;
	r->imr[c] = 0;
	r->isr[c] = 0;
	r->lowest[c] = 7;
	r->special_mask[c] = 0;
	r->read_isr[c] = 0;
	r->poll[c] = 0;
	r->rotate_aeoi[c] = 0;
	if (!(value & ICW1_ICW4))
		r->icw4[c] = 0;
	r->expect[c] = 2;
}

static void write_icw(struct i8259_regs *r, unsigned c, u8 value)
{
	bool single = r->icw1[c] & ICW1_SINGLE, icw4 = r->icw1[c] & ICW1_ICW4;

	switch (r->expect[c]) {
	case 2:
		r->icw2[c] = value;
		r->expect[c] = !single ? 3 : icw4 ? 4 : 0;
		break;
	case 3:
		r->icw3[c] = value;
		r->expect[c] = icw4 ? 4 : 0;
		break;
	default:
		r->icw4[c] = value;
		r->expect[c] = 0;
		break;
	}
}

static void write_ocw2(struct i8259_regs *r, unsigned c, u8 value)
{
	unsigned input = value & OCW2_LEVEL;

	if (!(value & OCW2_EOI)) {
		if ((value & (OCW2_R | OCW2_SL)) == (OCW2_R | OCW2_SL))
			r->lowest[c] = (u8)input; /* set priority command */
		else if (!(value & OCW2_SL))
			r->rotate_aeoi[c] = value & OCW2_R ? 1 : 0;
		return;
	}
	if (!(value & OCW2_SL)) {
		/* A non-specific EOI leaves alone what is masked in special mask mode. */
		u8 set = r->special_mask[c] ? r->isr[c] & (u8)~r->imr[c] : r->isr[c];

		input = highest(r, c, set);
		if (input == NO_INPUT)
			return;
	}
	r->isr[c] &= (u8) ~(1u << input);
	if (value & OCW2_R)
		r->lowest[c] = (u8)input;
}

static void write_ocw3(struct i8259_regs *r, unsigned c, u8 value)
{
	if (value & OCW3_ESMM)
		r->special_mask[c] = value & OCW3_SMM ? 1 : 0;
	if (value & OCW3_POLL)
		r->poll[c] = 1;
	else if (value & OCW3_RR)
		r->read_isr[c] = value & OCW3_RIS;
}

static void chip_write(struct i8259 *pic, unsigned c, u64 offset, u8 value)
{
	struct i8259_regs *r = &pic->regs;

	trace(PIC, "%s write %llu = %02x", c ? "slave" : "master", (unsigned long long)offset,
	      value);
	if (offset)
		if (r->expect[c])
			write_icw(r, c, value);
		else
			r->imr[c] = value;
	else if (value & ICW1_SELECT)
		write_icw1(r, c, value);
	else if (value & OCW3_SELECT)
		write_ocw3(r, c, value);
	else
		write_ocw2(r, c, value);
	pic_update(pic);
}

static u8 chip_poll(struct i8259 *pic, unsigned c)
{
	struct i8259_regs *r = &pic->regs;
	unsigned input = chip_ack(r, c);

	r->poll[c] = 0;
	pic_update(pic);
	return input == NO_INPUT ? 0 : (u8)(0x80 | input);
}

static u8 chip_read(struct i8259 *pic, unsigned c, u64 offset)
{
	const struct i8259_regs *r = &pic->regs;
	u8 value;

	if (r->poll[c])
		value = chip_poll(pic, c);
	else if (offset)
		value = r->imr[c];
	else
		value = r->read_isr[c] ? r->isr[c] : chip_irr(r, c);
	trace(PIC, "%s read %llu = %02x", c ? "slave" : "master", (unsigned long long)offset,
	      value);
	return value;
}

static u64 master_read(void *dev, u64 offset, unsigned size)
{
	return chip_read(dev, MASTER, offset);
}

static void master_write(void *dev, u64 offset, u64 value, unsigned size)
{
	chip_write(dev, MASTER, offset, (u8)value);
}

static u64 slave_read(void *dev, u64 offset, unsigned size)
{
	return chip_read(dev, SLAVE, offset);
}

static void slave_write(void *dev, u64 offset, u64 value, unsigned size)
{
	chip_write(dev, SLAVE, offset, (u8)value);
}

static u64 elcr_read(void *dev, u64 offset, unsigned size)
{
	const struct i8259 *pic = dev;

	return pic->regs.elcr[offset];
}

static void elcr_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct i8259 *pic = dev;

	trace(PIC, "elcr%llu = %02llx", (unsigned long long)offset, (unsigned long long)value);
	pic->regs.elcr[offset] = (u8)value & elcr_mask[offset];
	pic_update(pic);
}

static const struct bus_ops master_ops = { master_read, master_write, 1 };
static const struct bus_ops slave_ops = { slave_read, slave_write, 1 };
static const struct bus_ops elcr_ops = { elcr_read, elcr_write, 1 };

/* The chip has no reset pin; until initialized it is taken to have everything masked, wired as a PC
 * wires it. */
static void i8259_reset(struct device *dev)
{
	struct i8259 *pic = container_of(dev, struct i8259, dev);
	struct i8259_regs *r = &pic->regs;
	u8 lines[2] = { r->lines[MASTER], r->lines[SLAVE] };

	*r = (struct i8259_regs){
		.lines = { lines[MASTER], lines[SLAVE] },
		.imr = { 0xff, 0xff },
		.icw3 = { 1u << CASCADE, CASCADE },
		.lowest = { 7, 7 },
	};
	pic_update(pic);
}

static void i8259_loaded(struct device *dev)
{
	struct i8259 *pic = container_of(dev, struct i8259, dev);

	pic->level = chip_request(&pic->regs, MASTER) != NO_INPUT;
	irq_set(&pic->out, pic->level);
}

static int i8259_init(struct device *dev)
{
	struct i8259 *pic = container_of(dev, struct i8259, dev);
	struct bus *ports = dev->platform->ports;
	int err = bus_map(ports, 0x20, 2, &master_ops, pic, "pic master");

	if (err < 0)
		return err;
	err = bus_map(ports, 0xa0, 2, &slave_ops, pic, "pic slave");
	if (err < 0)
		return err;
	err = bus_map(ports, 0x4d0, 2, &elcr_ops, pic, "pic edge/level");
	if (err < 0)
		return err;
	i8259_reset(dev);
	return 0;
}

const struct device_type i8259_type = {
	.name = "i8259",
	.help = "pair of 8259A interrupt controllers",
	.size = sizeof(struct i8259),
	.regs_offset = offsetof(struct i8259, regs),
	.regs = &i8259_state,
	.init = i8259_init,
	.reset = i8259_reset,
	.loaded = i8259_loaded,
};
