/*
 * The 8254 interval timer: Intel 8254 data sheet (order number 231164). Channel 2 has its gate and its
 * output at port 61h (bits 0 and 5), so its modes can be seen whole; channel 0 drives IRQ 0.
 */
#include "lib/lm.h"

/* Ticks, 25 ms: a busy host may take as much as 10 from a guest. */
#define LONG 30000

enum { COUNTER0 = 0x40, COUNTER2 = 0x42, CONTROL = 0x43 };

static void gate(bool on) { outb(0x61, (u8)((inb(0x61) & 0xfc) | on)); }
static bool out2(void) { return inb(0x61) >> 5 & 1; }

/* Mode and count of channel 2, low byte then high byte. */
static void set(unsigned mode, u16 count)
{
	outb(CONTROL, (u8)(0xb0 | mode << 1));
	outb(COUNTER2, (u8)count);
	outb(COUNTER2, (u8)(count >> 8));
}

static u16 read16(void)
{
	u16 low = inb(COUNTER2);

	return (u16)(low | inb(COUNTER2) << 8);
}

static u16 latched(void)
{
	outb(CONTROL, 0x80);
	return read16();
}

static u8 status(unsigned channel)
{
	outb(CONTROL, (u8)(0xe0 | 2u << channel));
	return inb((u16)(COUNTER0 + channel));
}

/* Let time go by without the PIT, about so many of its ticks, by the APIC timer's rate. */
static u32 apic_per_tick = 100;

static void idle(u32 ticks)
{
	u32 want = ticks * apic_per_tick;

	apic_write(0x380, 0xffffffff);
	while (0xffffffff - apic_read(0x390) < want)
		pause();
}

/* Wait at most 100 ms for OUT of channel 2 to be at a level. */
static bool wait_out(bool level)
{
	for (unsigned i = 0; i < 1000; i++) {
		if (out2() == level)
			return true;
		idle(120);
	}
	return false;
}

static void calibrate(void)
{
	apic_write(0xf0, 0x1ff);
	apic_write(0x320, 0x10000);
	apic_write(0x3e0, 0xb);
	apic_write(0x380, 0xffffffff);
	pit_wait(20000);
	apic_per_tick = (0xffffffff - apic_read(0x390)) / 20000;
	if (!apic_per_tick)
		apic_per_tick = 1;
}

static void mode0(void)
{
	u16 a, b;

	gate(true);
	set(0, LONG);
	tap_check(!out2(), "8254 mode 0: OUT is low after the control word");
	idle(20); /* the count is loaded by the next clock */
	a = latched();
	tap_check(a <= LONG, "8254 mode 0: it counts from the loaded value");
	tap_check(wait_out(true), "8254 mode 0: OUT goes high at terminal count");
	b = latched();
	tap_check(b > 0xffff - LONG,
		  "8254 mode 0: counting goes on from FFFFh after terminal count");
	set(0, 60000);
	gate(false);
	idle(20);
	a = latched();
	idle(2000);
	b = latched();
	tap_equal(b, a, "8254 mode 0: GATE low stops counting");
	gate(true);
	idle(2000);
	b = latched();
	tap_check(b < a, "8254 mode 0: GATE high goes on");
	outb(CONTROL, 0xb0);
	outb(COUNTER2, 0x00);
	idle(100);
	a = latched();
	idle(1000);
	tap_check(latched() == a && !out2(),
		  "8254 mode 0: after the first byte of two counting waits");
	outb(COUNTER2, 0x10);
	tap_check(wait_out(true), "8254 mode 0: the second byte starts it");
	outb(COUNTER2, 0x00);
	outb(COUNTER2, 0x10);
	tap_check(!out2() && wait_out(true),
		  "8254 mode 0: a new count alone sets OUT low and starts over");
}

static void mode1(void)
{
	gate(false);
	set(1, LONG);
	idle(100);
	tap_check(out2(), "8254 mode 1: OUT is high until the trigger");
	idle(5000);
	tap_check(out2(), "8254 mode 1: nothing happens without the trigger");
	gate(true);
	idle(20);
	tap_check(!out2(), "8254 mode 1: the rising edge of GATE sets OUT low");
	tap_check(wait_out(true), "8254 mode 1: OUT goes high after the count");
	gate(false);
	gate(true);
	idle(20);
	tap_check(!out2(), "8254 mode 1: it can be triggered again");
	gate(false);
	idle(LONG + 1000);
	tap_check(out2(), "8254 mode 1: GATE low does not stop the one-shot");
}

static void mode2(void)
{
	u16 low = 0xffff, high = 0, v;
	bool wrapped = false;
	u16 last = 0;

	gate(true);
	set(2, 1000);
	idle(20);
	tap_check(out2(), "8254 mode 2: OUT is high");
	for (unsigned i = 0; i < 400; i++) {
		v = latched();
		if (v > last && i)
			wrapped = true;
		last = v;
		low = v < low ? v : low;
		high = v > high ? v : high;
		idle(37);
	}
	tap_check(high <= 1000 && low >= 1, "8254 mode 2: the count runs from N to 1");
	tap_check(wrapped && high > 900 && low < 100, "8254 mode 2: it reloads by itself");
	gate(false);
	idle(20);
	tap_check(out2(), "8254 mode 2: GATE low sets OUT high");
	v = latched();
	idle(3000);
	tap_check(latched() == v, "8254 mode 2: GATE low stops counting");
	for (unsigned i = 0; i < 10 && (v <= 700 || v > 1000 || !i);
	     i++) { /* the host may halt us */
		gate(false);
		gate(true);
		idle(50);
		v = latched();
	}
	tap_check(v > 700 && v <= 1000, "8254 mode 2: the rising edge of GATE reloads the count");
}

static void mode3(void)
{
	u32 up = 0, odd = 0;
	u16 a, b;
	bool twice = false;

	gate(true);
	set(3, 2000);
	for (unsigned i = 0; i < 1000; i++) {
		up += out2();
		odd += latched() & 1;
		idle(31);
	}
	tap_check(up > 350 && up < 650, "8254 mode 3: OUT is high half of the time");
	tap_equal(odd, 0, "8254 mode 3: an even count goes down by two");
	for (unsigned i = 0; i < 10 && !twice; i++) { /* the host may halt us in between */
		set(3, 60000);
		idle(20);
		a = latched();
		idle(1000);
		b = latched();
		twice = a - b > 1600 && a - b < 3000;
	}
	tap_check(twice, "8254 mode 3: ... twice as fast as the clock");
	gate(false);
	idle(20);
	tap_check(out2(), "8254 mode 3: GATE low sets OUT high");
	gate(true);
}

static void mode4_5(void)
{
	u16 a;

	gate(true);
	set(4, 2000);
	tap_check(out2(), "8254 mode 4: OUT is high after the control word");
	idle(4000);
	tap_check(out2(), "8254 mode 4: OUT is high again after the strobe");
	a = latched();
	tap_check(a > 2000, "8254 mode 4: counting goes on from FFFFh");
	gate(false);
	set(5, LONG);
	idle(LONG + 1000);
	tap_check(out2(), "8254 mode 5: OUT is high");
	gate(true);
	idle(20);
	a = latched();
	tap_check(a <= LONG && a > LONG / 2,
		  "8254 mode 5: the rising edge of GATE loads the count");
	gate(true);
	set(6, 1000);
	tap_equal(status(2) & 0x0e, 6u << 1,
		  "8254 read-back status gives mode X10 as it was written");
	idle(5000);
	a = latched();
	tap_check(a <= 1000, "8254 mode X10 is mode 2: it reloads");
	set(7, 1000);
	idle(5000);
	a = latched();
	tap_check(a <= 1000 && !(a & 1),
		  "8254 mode X11 is mode 3: it reloads and goes down by two");
}

static void reading(void)
{
	u16 a, b;

	gate(true);
	set(2, 0);
	idle(100);
	outb(CONTROL, 0x80);
	idle(2000);
	a = read16();
	tap_check(a > 60000, "8254 a latched count does not change; a count of 0 is 65,536");
	b = read16();
	tap_check((u16)(a - b) >= 1000, "8254 after the latched count the counter reads live");
	outb(CONTROL, 0x80);
	idle(1000);
	outb(CONTROL, 0x80);
	a = read16();
	outb(CONTROL, 0x80);
	b = read16();
	tap_check((u16)(a - b) >= 500, "8254 a second latch before the read is ignored");
	outb(CONTROL, 0x94); /* low byte alone, mode 2 */
	outb(COUNTER2, 100);
	idle(20);
	tap_check(inb(COUNTER2) <= 100 && inb(COUNTER2) <= 100,
		  "8254 low-byte access reads one byte");
	outb(CONTROL, 0xa4); /* high byte alone */
	outb(COUNTER2, 0x80);
	idle(20);
	a = inb(COUNTER2);
	b = inb(COUNTER2);
	tap_check(a <= 0x80 && a > 0x40 && b <= 0x80 && b > 0x40,
		  "8254 high-byte access: the low byte is 0");
	outb(CONTROL, 0xb5); /* BCD, mode 2 */
	outb(COUNTER2, 0x00);
	outb(COUNTER2, 0x10);
	idle(20);
	a = 0;
	for (unsigned i = 0; i < 100; i++) {
		b = latched();
		if ((b & 15) > 9 || (b >> 4 & 15) > 9 || (b >> 8 & 15) > 9 || b > 0x1000)
			a++;
		idle(41);
	}
	tap_equal(a, 0, "8254 BCD counts hold decimal digits, at most the loaded 1000");
	set(3, 5000);
	idle(50);
	tap_equal(status(2) & 0x3f, 0x36, "8254 read-back status: access, mode and BCD");
	tap_check(!(status(2) & 0x40), "8254 read-back status: null count is 0 once it is loaded");
	outb(CONTROL, 0xb0);
	tap_check(status(2) & 0x40,
		  "8254 read-back status: null count is 1 after the control word");
	set(0, LONG);
	tap_check(!(status(2) & 0x80), "8254 read-back status: OUT low");
	wait_out(true);
	tap_check(status(2) & 0x80, "8254 read-back status: OUT high");
	set(2, 50000);
	idle(100);
	outb(CONTROL, 0xc8); /* latch status and count of channel 2 */
	a = inb(COUNTER2);
	b = read16();
	tap_check((a & 0x3f) == 0x34 && b <= 50000 && b > 50000 - LONG,
		  "8254 read-back gives status, then count");
	outb(CONTROL, 0xd8); /* count alone, for channel 2 */
	idle(1000);
	b = read16();
	a = latched();
	tap_check((u16)(b - a) >= 500, "8254 read-back with the count bit alone latches the count");
}

static void channel0(void)
{
	u32 n;

	handler[0x20] = count_hit;
	outb(CONTROL, 0x34);
	outb(COUNTER0, 0x9c); /* 1,193,180 / 11,932: 100 a second */
	outb(COUNTER0, 0x2e);
	pic_quiet();
	apic_write(0x350, 0x700);
	outb(0x20, 0x20);
	outb(0x21, 0x00);
	outb(0x21, 0xff);
	outb(0x20, 0x11); /* automatic EOI */
	outb(0x21, 0x20);
	outb(0x21, 0x04);
	outb(0x21, 0x03);
	outb(0x21, 0xfe);
	sti();
	gate(true);
	pit_wait(5 * PIT_MS);
	n = 0;
	for (unsigned i = 0; i < 5 && (n < 18 || n > 22); i++) { /* the host may halt us */
		hits_clear();
		pit_wait(200 * PIT_MS);
		n = hits[0x20];
	}
	cli();
	outb(0x21, 0xff);
	tap_check(n >= 18 && n <= 22, "8254 channel 0 in mode 2 gives 20 interrupts in 200 ms");
	outb(CONTROL, 0x30);
	outb(COUNTER0, 0x00);
	outb(COUNTER0, 0x08);
	hits_clear();
	outb(0x21, 0xfe);
	sti();
	pit_wait(20 * PIT_MS);
	cli();
	n = hits[0x20];
	outb(0x21, 0xff);
	tap_check(n >= 1 && n <= 2, "8254 channel 0 in mode 0 gives one interrupt");
}

static void port61(void)
{
	u8 a, toggles = 0, last;

	outb(0x61, 0x00);
	tap_equal(inb(0x61) & 3, 0, "PIIX4 port 61h: gate and speaker bits read back as 0");
	outb(0x61, 0x03);
	tap_equal(inb(0x61) & 3, 3, "PIIX4 port 61h: gate and speaker bits read back as 1");
	outb(0x61, 0x01);
	last = inb(0x61) & 0x10;
	for (unsigned i = 0; i < 1000; i++) {
		a = inb(0x61) & 0x10;
		toggles = (u8)(toggles + (a != last && toggles < 200));
		last = a;
		idle(7);
	}
	tap_check(toggles > 10, "PIIX4 port 61h: bit 4 toggles with the refresh clock");
}

void lm_main(void)
{
	calibrate();
	mode0();
	mode1();
	mode2();
	mode3();
	mode4_5();
	reading();
	port61();
	channel0();
}
