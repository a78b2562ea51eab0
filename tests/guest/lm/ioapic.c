/*
 * The I/O APIC: Intel 82093AA data sheet (register numbers, redirection table), SDM 3A 10.8 for EOI
 * and the trigger mode. Sources: the PIT on IRQ 0 (an edge; input 2 by the usual override) and the
 * first serial port on IRQ 4.
 */
#include "lib/lm.h"

#define IOAPIC  ((volatile u32 *)0xfec00000ull)
#define MASKED  0x10000u
#define LEVEL   0x8000u
#define REMOTE  0x4000u
#define LOGICAL 0x800u

enum { PIN_PIT = 2, PIN_COM1 = 4, COM1 = 0x3f8 };

static u32 io_read(u32 index)
{
	IOAPIC[0] = index;
	return IOAPIC[4];
}

static void io_write(u32 index, u32 value)
{
	IOAPIC[0] = index;
	IOAPIC[4] = value;
}

static void route(unsigned pin, u32 low, u32 destination)
{
	io_write(0x11 + 2 * pin, destination << 24);
	io_write(0x10 + 2 * pin, low);
}

static bool bit(u32 base, unsigned vector)
{
	return apic_read(base + (vector >> 5) * 0x10) >> (vector & 31) & 1;
}

static void window(void) { __asm__ volatile("sti; nop; nop; nop; cli" : : : "memory"); }

static void pit_rate(u16 divisor)
{
	outb(0x43, 0x34); /* channel 0, mode 2 */
	outb(0x40, (u8)divisor);
	outb(0x40, (u8)(divisor >> 8));
}

static void registers(void)
{
	u32 version = io_read(1), pins = (version >> 16 & 0xff) + 1;
	bool all_masked = true;

	tap_check((version & 0xff) >= 0x10 && (version & 0xff) <= 0x2f,
		  "82093AA 3.2.2 IOAPICVER has a version");
	tap_check(pins >= 24, "82093AA 3.2.2 IOAPICVER: 24 redirection entries");
	for (unsigned i = 0; i < pins; i++)
		all_masked &= io_read(0x10 + 2 * i) >> 16 & 1;
	tap_check(all_masked, "82093AA 3.2.4 all entries are masked after reset");
	io_write(0, 0x05000000);
	tap_equal(io_read(0) & 0x0f000000, 0x05000000,
		  "82093AA 3.2.1 IOAPICID bits 27:24 can be written");
	io_write(0, 0);
	io_write(1, 0);
	tap_equal(io_read(1), version, "82093AA 3.2.2 IOAPICVER is read-only");
	io_write(0x10 + 2 * 20, 0x0001ffff);
	tap_equal(io_read(0x10 + 2 * 20) & (REMOTE | 0x1000), 0,
		  "82093AA 3.2.4 remote IRR and delivery status are read-only");
	io_write(0x10 + 2 * 20, MASKED);
	io_write(0x11 + 2 * 20, 0xab000000);
	tap_equal(io_read(0x11 + 2 * 20) >> 24, 0xab,
		  "82093AA 3.2.4 the destination field reads back");
	io_write(0x11 + 2 * 20, 0);
	IOAPIC[0] = 0x10;
	tap_equal(IOAPIC[0] & 0xff, 0x10, "82093AA 3.1.1 IOREGSEL reads back");
}

/* Wait in a window of interrupts until vector came n times, at most ms. */
static u32 wait_hits(unsigned vector, u32 n, u32 ms)
{
	sti();
	for (u32 i = 0; i < ms && hits[vector] < n; i++)
		pit_wait(PIT_MS);
	cli();
	return hits[vector];
}

static void edge(void)
{
	u32 n;

	handler[0x62] = count_eoi;
	pit_rate(11932); /* 100 Hz */
	route(PIN_PIT, 0x62 | MASKED, 0);
	tap_equal(wait_hits(0x62, 1, 30), 0, "82093AA 3.2.4 a masked entry delivers nothing");
	route(PIN_PIT, 0x62, 0);
	tap_check(wait_hits(0x62, 5, 500) >= 5,
		  "82093AA 3.2.4 the PIT's edges come with their vector");
	route(PIN_PIT, 0x62 | MASKED, 0);
	hits_clear();
	wait_hits(0x62, 1, 2);
	hits_clear();
	tap_equal(wait_hits(0x62, 1, 30), 0, "82093AA 3.2.4 masking stops them");
	handler[0x62] = count_hit;
	route(PIN_PIT, 0x62, 0);
	n = wait_hits(0x62, 2, 50);
	tap_equal(n, 1, "SDM 3A 10.8.4 without EOI only one comes");
	tap_check(!bit(0x180, 0x62), "SDM 3A 10.8.4 an edge leaves the TMR bit clear");
	tap_equal(io_read(0x10 + 2 * PIN_PIT) & REMOTE, 0,
		  "82093AA 3.2.4 an edge leaves remote IRR clear");
	tap_check(bit(0x200, 0x62), "SDM 3A 10.8.4 the next edge waits in the IRR");
	apic_write(0xb0, 0);
	handler[0x62] = count_eoi;
	tap_check(wait_hits(0x62, 3, 50) >= 3, "SDM 3A 10.8.5 EOI lets the next ones through");
	route(PIN_PIT, 0x63, 0);
	handler[0x63] = count_eoi;
	tap_check(wait_hits(0x63, 2, 50) >= 2, "82093AA 3.2.4 the vector can be changed");
	apic_write(0xd0, 1u << 24);
	route(PIN_PIT, 0x63 | LOGICAL, 1);
	hits_clear();
	tap_check(wait_hits(0x63, 2, 50) >= 2, "82093AA 3.2.4 logical destination");
	route(PIN_PIT, 0x63 | LOGICAL, 2);
	wait_hits(0x63, 1, 2);
	hits_clear();
	tap_equal(wait_hits(0x63, 1, 30), 0, "82093AA 3.2.4 logical destination of nobody");
	route(PIN_PIT, 0x63, 7);
	wait_hits(0x63, 1, 2);
	hits_clear();
	tap_equal(wait_hits(0x63, 1, 30), 0, "82093AA 3.2.4 physical destination of nobody");
	route(PIN_PIT, 0x400, 0);
	handler[NMI] = count_hit;
	hits_clear();
	pit_wait(30 * PIT_MS);
	route(PIN_PIT, MASKED, 0);
	tap_check(hits[NMI] >= 1, "82093AA 3.2.4 delivery mode NMI comes as vector 2 with IF=0");
	handler[NMI] = 0;
}

/* The serial port's line goes up with the transmitter empty, and down when the IIR is read. */
static void com1_line(bool on)
{
	outb(COM1 + 4, 0x08); /* OUT2: interrupt enable */
	outb(COM1 + 1, on ? 2 : 0);
}

static void drain(void)
{
	while (!(inb(COM1 + 5) & 0x40))
		pause();
}

static u32 level_left;

/* Drops the line on the n-th call. */
static bool level_handler(struct frame *f)
{
	count_hit(f);
	if (--level_left == 0)
		com1_line(false);
	apic_write(0xb0, 0);
	return true;
}

static void level(void)
{
	bool tmr, remote, pending, after;
	u32 once, again;

	drain();
	handler[0x64] = count_hit;
	hits_clear();
	route(PIN_COM1, 0x64 | LEVEL, 0);
	com1_line(true);
	window();
	once = hits[0x64];
	tmr = bit(0x180, 0x64);
	remote = io_read(0x10 + 2 * PIN_COM1) & REMOTE;
	window();
	again = hits[0x64];
	com1_line(false);
	apic_write(0xb0, 0);
	after = io_read(0x10 + 2 * PIN_COM1) & REMOTE;
	tap_equal(once, 1, "82093AA 3.2.4 a level interrupt comes");
	drain();
	tap_check(tmr, "SDM 3A 10.8.4 ... with its TMR bit set");
	tap_check(remote, "82093AA 3.2.4 ... and remote IRR set");
	tap_equal(again, 1, "82093AA 3.2.4 it does not come again before EOI");
	tap_check(!after, "SDM 3A 10.8.5 EOI of a level vector clears remote IRR");
	drain();
	handler[0x64] = level_handler;
	hits_clear();
	level_left = 3;
	com1_line(true);
	for (unsigned i = 0; i < 100 && level_left; i++)
		window();
	once = hits[0x64];
	window();
	tap_equal(once, 3, "82093AA 3.2.4 while the line is up each EOI brings it again");
	tap_equal(hits[0x64], 3, "82093AA 3.2.4 ... and no more once it is down");
	drain();
	route(PIN_COM1, 0x64 | LEVEL | MASKED, 0);
	hits_clear();
	com1_line(true);
	window();
	once = hits[0x64];
	level_left = 1;
	route(PIN_COM1, 0x64 | LEVEL, 0);
	window();
	pending = hits[0x64] == 1;
	com1_line(false);
	tap_equal(once, 0, "82093AA 3.2.4 a masked level is held back");
	tap_check(pending,
		  "82093AA 3.2.4 ... and comes when it is unmasked, as the line is still up");
	route(PIN_COM1, MASKED, 0);
}

static u32 second_cpu;

static bool where(struct frame *f)
{
	count_hit(f);
	if (apic_read(0x20) >> 24 == 1)
		second_cpu++;
	apic_write(0xb0, 0);
	return true;
}

static volatile u32 stop;

static void spin(void *arg)
{
	(void)arg;
	apic_write(0xf0, 0x1ff);
	sti();
	while (!stop)
		pause();
	cli();
}

static void other_cpu(void)
{
	if (!ap_start()) {
		tap_skip("82093AA 3.2.4 physical destination: the second CPU", "one CPU");
		return;
	}
	handler[0x65] = where;
	ap_call(spin, 0);
	pit_wait(PIT_MS);
	hits_clear();
	route(PIN_PIT, 0x65, 1);
	pit_wait(60 * PIT_MS);
	route(PIN_PIT, MASKED, 0);
	stop = 1;
	ap_wait();
	tap_check(second_cpu >= 2 && second_cpu == hits[0x65],
		  "82093AA 3.2.4 physical destination: the second CPU");
}

void lm_main(void)
{
	apic_write(0xf0, 0x1ff);
	registers();
	edge();
	level();
	other_cpu();
}
