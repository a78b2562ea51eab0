/*
 * The two 8259A interrupt controllers of a PC: Intel 8259A data sheet (order number 231468). They reach
 * the CPU through LINT0 as ExtINT (SDM 3A 10.5.1). Sources: the PIT on IRQ 0, the serial port on IRQ 4,
 * the real-time clock on IRQ 8 of the second chip.
 */
#include "lib/lm.h"

enum { M = 0x20, S = 0xa0, COM1 = 0x3f8, BASE_M = 0x20, BASE_S = 0x28 };

static void window(void) { __asm__ volatile("sti; nop; nop; nop; cli" : : : "memory"); }

static u8 irr(u16 chip)
{
	outb(chip, 0x0a);
	return inb(chip);
}

static u8 isr(u16 chip)
{
	outb(chip, 0x0b);
	return inb(chip);
}

static void mask(u8 master, u8 slave)
{
	outb(M + 1, master);
	outb(S + 1, slave);
}

/* OUT of the PIT's channel 0 low, then high after some ticks: one edge. */
static void pit_edge(void)
{
	outb(0x43, 0x30); /* mode 0: OUT goes low */
	outb(0x40, 10);
	outb(0x40, 0);
	pit_wait(60);
}

/* An edge on IRQ 4 that stays up. */
static void com1_edge(void)
{
	while (!(inb(COM1 + 5) & 0x40))
		pause();
	outb(COM1 + 4, 0x08);
	outb(COM1 + 1, 0);
	outb(COM1 + 1, 2);
}

static void com1_down(void) { outb(COM1 + 1, 0); }

static void init(u8 icw4_m)
{
	outb(M, 0x11);
	outb(S, 0x11);
	outb(M + 1, BASE_M);
	outb(S + 1, BASE_S);
	outb(M + 1, 4);
	outb(S + 1, 2);
	outb(M + 1, icw4_m);
	outb(S + 1, 1);
	mask(0xff, 0xff);
	outb(M, 0x0a);
	outb(S, 0x0a);
}

static void registers(void)
{
	outb(M + 1, 0x5a);
	tap_equal(inb(M + 1), 0x5a, "8259A OCW1: the mask register reads back");
	outb(S + 1, 0xa5);
	tap_equal(inb(S + 1), 0xa5, "8259A OCW1: the second chip's mask reads back");
	outb(M, 0x11);
	tap_equal(inb(M + 1), 0, "8259A ICW1 clears the mask register");
	init(1);
	tap_equal(isr(M), 0, "8259A ICW1: nothing is in service");
	pit_edge();
	tap_check(irr(M) & 1, "8259A IRR shows a masked request");
	outb(0x43, 0x30); /* OUT low again */
}

static void basic(void)
{
	handler[BASE_M] = count_hit;
	init(1);
	mask(0xff, 0xff);
	pit_edge();
	window();
	tap_equal(hits[BASE_M], 0, "8259A OCW1: a masked request is not delivered");
	mask(0xfe, 0xff);
	window();
	tap_equal(hits[BASE_M], 1, "8259A ICW2: IRQ 0 comes at the base vector once unmasked");
	tap_check(isr(M) == 1 && !(irr(M) & 1), "8259A INTA moves the bit from the IRR to the ISR");
	pit_edge();
	window();
	tap_equal(hits[BASE_M], 1, "8259A a second request waits for EOI");
	outb(M, 0x20);
	tap_equal(isr(M), 0, "8259A OCW2: non-specific EOI clears the ISR bit");
	window();
	tap_equal(hits[BASE_M], 2, "8259A ... and lets the second request through");
	outb(M, 0x60);
	tap_equal(isr(M), 0, "8259A OCW2: specific EOI clears the named ISR bit");
	hits_clear();
}

static void priority(void)
{
	u8 in_service;
	u32 blocked, higher;

	handler[BASE_M] = handler[BASE_M + 4] = count_hit;
	init(1);
	mask(0xee, 0xff);
	pit_edge();
	com1_edge();
	window();
	tap_check(hits[BASE_M] == 1 && hits[BASE_M + 4] == 0, "8259A IRQ 0 comes before IRQ 4");
	outb(M, 0x20);
	com1_down();
	com1_edge();
	window();
	blocked = hits[BASE_M + 4];
	pit_edge();
	window();
	higher = hits[BASE_M];
	in_service = isr(M);
	outb(M, 0x20);
	outb(M, 0x20);
	com1_down();
	tap_equal(blocked, 1, "8259A IRQ 4 comes after the EOI of IRQ 0");
	tap_check(higher == 2 && in_service == 0x11,
		  "8259A a higher priority nests into a lower one");
	hits_clear();

	outb(M, 0xc3); /* set priority: IRQ 3 is the lowest, IRQ 4 the highest */
	pit_edge();
	com1_edge();
	window();
	blocked = hits[BASE_M];
	higher = hits[BASE_M + 4];
	outb(M, 0x20);
	com1_down();
	window();
	outb(M, 0x20);
	tap_check(higher == 1 && blocked == 0, "8259A OCW2: set priority makes IRQ 4 the highest");
	tap_equal(hits[BASE_M], 1, "8259A ... and IRQ 0 follows");
	outb(M, 0xc7);
	hits_clear();

	com1_edge();
	window();
	outb(M, 0xa0); /* rotate on non-specific EOI: IRQ 4 becomes the lowest */
	com1_down();
	com1_edge();
	pit_edge();
	window();
	higher = hits[BASE_M];
	outb(M, 0x20);
	com1_down();
	window();
	outb(M, 0x20);
	tap_equal(higher, 1, "8259A OCW2: rotate on EOI makes the served level the lowest");
	outb(M, 0xc7);
	hits_clear();

	mask(0xee, 0xff);
	pit_edge();
	window();
	outb(M, 0x68); /* OCW3: special mask mode */
	mask(0xef, 0xff);
	com1_edge();
	window();
	higher = hits[BASE_M + 4];
	outb(M, 0x48);
	outb(M, 0x64);
	outb(M, 0x60);
	com1_down();
	tap_equal(higher, 1,
		  "8259A OCW3: in special mask mode a masked level in service blocks no lower one");
	tap_equal(isr(M), 0, "8259A OCW2: specific EOI in any order");
	hits_clear();
}

static void automatic(void)
{
	init(3);
	mask(0xfe, 0xff);
	pit_edge();
	window();
	tap_check(hits[BASE_M] == 1 && isr(M) == 0,
		  "8259A ICW4: automatic EOI leaves the ISR clear");
	pit_edge();
	window();
	tap_equal(hits[BASE_M], 2, "8259A ICW4: ... and the next request comes without EOI");
	init(1);
	hits_clear();
}

static void poll(void)
{
	init(1);
	mask(0xfe, 0xff);
	outb(M, 0x0c);
	tap_equal(inb(M) & 0x80, 0, "8259A OCW3: poll with no request has bit 7 clear");
	pit_edge();
	outb(M, 0x0c);
	tap_equal(inb(M) & 0x87, 0x80, "8259A OCW3: poll gives bit 7 and the level");
	tap_equal(isr(M), 1, "8259A OCW3: poll counts as INTA");
	window();
	tap_equal(hits[BASE_M], 0, "8259A OCW3: ... and the CPU gets no interrupt for it");
	outb(M, 0x20);
	hits_clear();
}

static u8 cmos(u8 index)
{
	outb(0x70, index);
	return inb(0x71);
}

static void cmos_set(u8 index, u8 value)
{
	outb(0x70, index);
	outb(0x71, value);
}

static void cascade(void)
{
	u8 b = cmos(0x0b), a = cmos(0x0a);
	u8 master, slave;

	handler[BASE_S] = count_hit;
	init(1);
	cmos(0x0c);
	cmos_set(0x0a, 0x26); /* 1,024 Hz */
	cmos_set(0x0b, (u8)((b & 0x8f) | 0x40));
	mask(0xff, 0xfe);
	pit_wait(5 * PIT_MS);
	tap_check(irr(S) & 1, "8259A IRQ 8 requests at the second chip");
	tap_check(irr(M) & 4, "8259A the second chip requests at IRQ 2 of the first");
	mask(0xfb, 0xfe);
	window();
	master = isr(M);
	slave = isr(S);
	cmos_set(0x0b, (u8)(b & 0x8f));
	cmos(0x0c);
	tap_equal(hits[BASE_S], 1, "8259A ICW2: IRQ 8 comes at the second base vector");
	tap_check(master == 4 && slave == 1, "8259A both chips have it in service");
	outb(S, 0x20);
	tap_check(isr(M) == 4 && isr(S) == 0, "8259A EOI goes to each chip on its own");
	outb(M, 0x62);
	tap_equal(isr(M), 0, "8259A ... and the first chip's for level 2");
	cmos_set(0x0a, a);
	cmos_set(0x0b, b);
	hits_clear();
}

static void edge_and_level(void)
{
	u32 edge, level;
	u8 elcr = inb(0x4d0);

	handler[BASE_M + 4] = count_hit;
	init(1);
	mask(0xef, 0xff);
	com1_edge();
	window();
	outb(M, 0x20);
	window();
	edge = hits[BASE_M + 4];
	com1_down();
	hits_clear();
	outb(0x4d0, elcr | 0x10);
	com1_edge();
	window();
	outb(M, 0x20);
	window();
	level = hits[BASE_M + 4];
	com1_down();
	outb(M, 0x20);
	tap_equal(edge, 1, "8259A edge mode: a line that stays up requests once");
	tap_equal(level, 2, "PIIX4 ELCR: in level mode it requests again after EOI");
	hits_clear();
	com1_edge();
	com1_down();
	tap_equal(irr(M) & 0x10, 0, "8259A level mode: the request goes away with the line");
	outb(0x4d0, elcr);
	tap_equal(inb(0x4d0), elcr, "PIIX4 ELCR reads back");
}

/* The way to the CPU: LINT0. */
static void lint0(void)
{
	init(1);
	mask(0xfe, 0xff);
	apic_write(0x350, 0x10700);
	pit_edge();
	window();
	tap_equal(hits[BASE_M], 0, "SDM 3A 10.5.1 a masked LINT0 keeps the 8259's interrupts out");
	apic_write(0x350, 0x700);
	window();
	tap_equal(hits[BASE_M], 1, "SDM 3A 10.5.1 LINT0 as ExtINT lets them in");
	outb(M, 0x20);
	apic_write(0x80, 0xf0);
	pit_edge();
	window();
	tap_equal(hits[BASE_M], 2, "SDM 3A 10.8.3.1 the TPR does not hold ExtINT back");
	apic_write(0x80, 0);
	outb(M, 0x20);
}

void lm_main(void)
{
	apic_write(0xf0, 0x1ff);
	apic_write(0x350, 0x700);
	registers();
	basic();
	priority();
	automatic();
	poll();
	cascade();
	edge_and_level();
	lint0();
}
