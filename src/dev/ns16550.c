/* 16550A UART. Sent bytes reach the backend at once, so that the transmitter is always empty;
 * receiving is limited by the FIFO alone. Line format and divisor are kept, and set the time of the
 * character timeout, but not the pace: the backend carries whole bytes. Section numbers are those
 * of the PC16550D data sheet. */
#include "dev/ns16550.h"

#include "base/bits.h"
#include "base/trace.h"

#define UART_CLOCK_HZ 1843200ull /* the PC's crystal; a bit takes 16 * divisor of these */

/* Offsets; with LCR.DLAB set 0 and 1 are the divisor latch. */
enum { RBR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { THR = RBR, DLL = RBR, DLM = IER, FCR = IIR };

#define IER_RDA   0x01 /* received data available, and character timeout */
#define IER_THRE  0x02
#define IER_RLS   0x04 /* receiver line status */
#define IER_MODEM 0x08

#define IIR_NONE    0x01
#define IIR_RLS     0x06
#define IIR_RDA     0x04
#define IIR_TIMEOUT 0x0c
#define IIR_THRE    0x02
#define IIR_MODEM   0x00
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_RX_RESET 0x02
#define FCR_TX_RESET 0x04

#define LCR_STOP   0x04
#define LCR_PARITY 0x08
#define LCR_DLAB   0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DR   0x01
#define LSR_OE   0x02
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_DCTS 0x01
#define MSR_DDSR 0x02
#define MSR_TERI 0x04
#define MSR_DDCD 0x08
#define MSR_CTS  0x10
#define MSR_DSR  0x20
#define MSR_RI   0x40
#define MSR_DCD  0x80

static const struct state_field ns16550_rows[] = {
	STATE_ROW(struct ns16550_regs, ier),
	STATE_ROW(struct ns16550_regs, fcr),
	STATE_ROW(struct ns16550_regs, lcr),
	STATE_ROW(struct ns16550_regs, mcr),
	STATE_ROW(struct ns16550_regs, scr),
	STATE_ROW(struct ns16550_regs, lsr),
	STATE_ROW(struct ns16550_regs, msr),
	STATE_ROW(struct ns16550_regs, thre_pending),
	STATE_ROW(struct ns16550_regs, timeout_pending),
	STATE_ROW(struct ns16550_regs, divisor),
	STATE_ARRAY(struct ns16550_regs, rx),
	STATE_ROW(struct ns16550_regs, rx_head),
	STATE_ROW(struct ns16550_regs, rx_count),
	STATE_ROW(struct ns16550_regs, timeout_due_ns),
};
static STATE_DESC(ns16550_state, struct ns16550_regs, "ns16550", ns16550_rows);

static bool fifo_mode(const struct ns16550_regs *r) { return r->fcr & FCR_ENABLE; }

static unsigned rx_capacity(const struct ns16550_regs *r)
{
	return fifo_mode(r) ? NS16550_FIFO : 1;
}

/* Bytes at which received data raises its interrupt (8.4, FCR bits 6-7). */
static unsigned rx_trigger(const struct ns16550_regs *r)
{
	static const u8 level[] = { 1, 4, 8, 14 };

	return fifo_mode(r) ? level[r->fcr >> 6] : 1;
}

/* The source that IIR shows now, by priority (table IV). */
static u8 uart_source(const struct ns16550_regs *r)
{
	if ((r->ier & IER_RLS) && (r->lsr & LSR_OE))
		return IIR_RLS;
	if ((r->ier & IER_RDA) && r->rx_count >= rx_trigger(r))
		return IIR_RDA;
	if ((r->ier & IER_RDA) && r->timeout_pending)
		return IIR_TIMEOUT;
	if ((r->ier & IER_THRE) && r->thre_pending)
		return IIR_THRE;
	if ((r->ier & IER_MODEM) && (r->msr & 0x0f))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On a PC, OUT2 connects the interrupt to the bus. In loopback the pin does not say what MCR says;
 * chip sets since the Super-I/O have the interrupt enabled then, and so has this one. */
static void uart_update(struct ns16550 *uart)
{
	const struct ns16550_regs *r = &uart->regs;

	irq_set(&uart->irq, uart_source(r) != IIR_NONE && (r->mcr & (MCR_OUT2 | MCR_LOOP)));
}

/* Four character times (8.6.2): start, data, parity and stop bits. */
static u64 timeout_ns(const struct ns16550_regs *r)
{
	unsigned bits =
		1 + 5 + (r->lcr & 3) + (r->lcr & LCR_PARITY ? 1 : 0) + (r->lcr & LCR_STOP ? 2 : 1);

	return clock_ticks_to_ns(4ull * bits * 16 * MAX(r->divisor, 1), UART_CLOCK_HZ);
}

/* The timeout runs from the last character in or out while the FIFO holds any (8.6.2). */
static void timeout_restart(struct ns16550 *uart)
{
	struct ns16550_regs *r = &uart->regs;
	struct clock *clock = uart->dev.platform->clock;

	r->timeout_pending = 0;
	r->timeout_due_ns = CLOCK_NEVER;
	if (fifo_mode(r) && r->rx_count)
		r->timeout_due_ns = clock_now(clock) + timeout_ns(r);
	timer_set(clock, &uart->timeout, r->timeout_due_ns);
}

static void timeout_expired(void *opaque)
{
	struct ns16550 *uart = opaque;

	uart->regs.timeout_due_ns = CLOCK_NEVER;
	uart->regs.timeout_pending = 1;
	uart_update(uart);
}

static void rx_clear(struct ns16550_regs *r)
{
	r->rx_head = 0;
	r->rx_count = 0;
}

/* A character arrives when there is no room: in FIFO mode it is lost, else it takes the place of
 * the unread one (8.3, OE). */
static void rx_push(struct ns16550_regs *r, u8 byte)
{
	if (r->rx_count >= rx_capacity(r)) {
		r->lsr |= LSR_OE;
		if (fifo_mode(r))
			return;
		rx_clear(r);
	}
	r->rx[(r->rx_head + r->rx_count++) % NS16550_FIFO] = byte;
}

static u8 rx_pop(struct ns16550_regs *r)
{
	u8 byte = r->rx[r->rx_head % NS16550_FIFO];

	if (r->rx_count) {
		r->rx_head = (r->rx_head + 1) % NS16550_FIFO;
		r->rx_count--;
	}
	return byte;
}

/* Nothing from outside arrives in loopback; it stays with the backend. */
static size_t rx_room(const struct ns16550_regs *r)
{
	if ((r->mcr & MCR_LOOP) || r->rx_count >= rx_capacity(r))
		return 0;
	return rx_capacity(r) - r->rx_count;
}

size_t ns16550_receive(struct ns16550 *uart, const u8 *buf, size_t n)
{
	size_t taken = MIN(n, rx_room(&uart->regs));

	for (size_t i = 0; i < taken; i++)
		rx_push(&uart->regs, buf[i]);
	uart->starved = taken < n;
	if (taken) {
		timeout_restart(uart);
		uart_update(uart);
	}
	return taken;
}

/* Asks a backend that was refused to try again. It may call ns16550_receive from within. */
static void rx_wanted(struct ns16550 *uart)
{
	if (!uart->starved || !rx_room(&uart->regs))
		return;
	uart->starved = false;
	if (uart->backend.can_receive)
		uart->backend.can_receive(uart->backend.opaque);
}

static void uart_transmit(struct ns16550 *uart, u8 byte)
{
	struct ns16550_regs *r = &uart->regs;

	/* The interrupt goes away with the write and comes back when the byte has left: the line
	 * shows both edges. */
	r->thre_pending = 0;
	uart_update(uart);
	if (r->mcr & MCR_LOOP) {
		rx_push(r, byte);
		timeout_restart(uart);
	} else if (uart->backend.write) {
		uart->backend.write(uart->backend.opaque, &byte, 1);
	}
	r->thre_pending = 1;
}

/* Modem inputs: a backend counts as a connected, ready modem; in loopback they are the outputs
 * (8.7). */
static u8 modem_inputs(const struct ns16550_regs *r)
{
	if (!(r->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (r->mcr & MCR_RTS ? MSR_CTS : 0) | (r->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (r->mcr & MCR_OUT1 ? MSR_RI : 0) | (r->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void modem_update(struct ns16550_regs *r)
{
	u8 now = modem_inputs(r), changed = now ^ r->msr;

	if (changed & MSR_CTS)
		r->msr |= MSR_DCTS;
	if (changed & MSR_DSR)
		r->msr |= MSR_DDSR;
	if (changed & ~now & MSR_RI)
		r->msr |= MSR_TERI; /* trailing edge only */
	if (changed & MSR_DCD)
		r->msr |= MSR_DDCD;
	r->msr = now | (r->msr & 0x0f);
}

static void write_ier(struct ns16550_regs *r, u8 value)
{
	value &= 0x0f;
	/* Enabling the interrupt while THR is empty raises it, acknowledged before or not. */
	if (value & ~r->ier & IER_THRE)
		r->thre_pending = 1;
	r->ier = value;
}

static void write_fcr(struct ns16550 *uart, u8 value)
{
	struct ns16550_regs *r = &uart->regs;
	bool toggled = (value ^ r->fcr) & FCR_ENABLE;

	/* Changing the mode clears both FIFOs; the other bits count only with bit 0 (8.4). */
	if (toggled || (value & FCR_ENABLE && value & FCR_RX_RESET)) {
		rx_clear(r);
		timeout_restart(uart);
	}
	r->fcr = value & FCR_ENABLE ? value & ~(FCR_RX_RESET | FCR_TX_RESET) : 0;
}

static void write_mcr(struct ns16550_regs *r, u8 value)
{
	r->mcr = value & 0x1f;
	modem_update(r);
}

static void ns16550_write(void *dev, u64 offset, u64 value, unsigned size)
{
	struct ns16550 *uart = dev;
	struct ns16550_regs *r = &uart->regs;
	u8 byte = (u8)value;

	trace(SERIAL, "%s write %llu = %02x", uart->dev.name, (unsigned long long)offset, byte);
	switch (offset) {
	case THR:
		if (r->lcr & LCR_DLAB)
			r->divisor = (u16)((r->divisor & 0xff00) | byte);
		else
			uart_transmit(uart, byte);
		break;
	case IER:
		if (r->lcr & LCR_DLAB)
			r->divisor = (u16)((r->divisor & 0x00ff) | byte << 8);
		else
			write_ier(r, byte);
		break;
	case FCR: write_fcr(uart, byte); break;
	case LCR: r->lcr = byte; break;
	case MCR: write_mcr(r, byte); break;
	case SCR: r->scr = byte; break;
	default: break; /* LSR and MSR are for reading */
	}
	uart_update(uart);
	rx_wanted(uart);
}

static u8 read_rbr(struct ns16550 *uart)
{
	u8 byte = rx_pop(&uart->regs);

	timeout_restart(uart);
	return byte;
}

/* Reading IIR acknowledges THRE if that is the source it shows (table IV). */
static u8 read_iir(struct ns16550_regs *r)
{
	u8 source = uart_source(r);

	if (source == IIR_THRE)
		r->thre_pending = 0;
	return source | (fifo_mode(r) ? IIR_FIFO : 0);
}

static u8 read_lsr(struct ns16550_regs *r)
{
	u8 value = r->lsr | LSR_THRE | LSR_TEMT | (r->rx_count ? LSR_DR : 0);

	r->lsr &= ~LSR_OE;
	return value;
}

static u8 read_msr(struct ns16550_regs *r)
{
	u8 value = r->msr;

	r->msr &= 0xf0;
	return value;
}

static u64 ns16550_read(void *dev, u64 offset, unsigned size)
{
	struct ns16550 *uart = dev;
	struct ns16550_regs *r = &uart->regs;
	u8 value = 0;

	switch (offset) {
	case RBR: value = r->lcr & LCR_DLAB ? (u8)r->divisor : read_rbr(uart); break;
	case IER: value = r->lcr & LCR_DLAB ? (u8)(r->divisor >> 8) : r->ier; break;
	case IIR: value = read_iir(r); break;
	case LCR: value = r->lcr; break;
	case MCR: value = r->mcr; break;
	case LSR: value = read_lsr(r); break;
	case MSR: value = read_msr(r); break;
	case SCR: value = r->scr; break;
	}
	trace(SERIAL, "%s read %llu = %02x", uart->dev.name, (unsigned long long)offset, value);
	uart_update(uart);
	rx_wanted(uart);
	return value;
}

static const struct bus_ops ns16550_ops = { ns16550_read, ns16550_write, 1 };

/* Master reset (table I). The scratch, divisor and receive registers keep their values on the chip;
 * here they are cleared. */
static void ns16550_reset(struct device *dev)
{
	struct ns16550 *uart = container_of(dev, struct ns16550, dev);

	uart->regs = (struct ns16550_regs){ .timeout_due_ns = CLOCK_NEVER };
	uart->regs.msr = modem_inputs(&uart->regs);
	timer_cancel(dev->platform->clock, &uart->timeout);
	uart_update(uart);
	rx_wanted(uart);
}

static void ns16550_loaded(struct device *dev)
{
	struct ns16550 *uart = container_of(dev, struct ns16550, dev);

	timer_set(dev->platform->clock, &uart->timeout, uart->regs.timeout_due_ns);
	uart_update(uart);
}

static int ns16550_init(struct device *dev)
{
	struct ns16550 *uart = container_of(dev, struct ns16550, dev);
	int err = timer_init(dev->platform->clock, &uart->timeout, "uart timeout", timeout_expired,
			     uart);

	if (err < 0)
		return err;
	err = bus_map(dev->platform->ports, uart->base, 8, &ns16550_ops, uart, dev->name);
	if (err < 0)
		return err;
	ns16550_reset(dev);
	return 0;
}

const struct device_type ns16550_type = {
	.name = "ns16550",
	.help = "16550A serial port",
	.size = sizeof(struct ns16550),
	.regs_offset = offsetof(struct ns16550, regs),
	.regs = &ns16550_state,
	.init = ns16550_init,
	.reset = ns16550_reset,
	.loaded = ns16550_loaded,
};
