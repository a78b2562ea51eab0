/*
 * The real-time clock: Motorola MC146818A data sheet; the PC's IRQ 8.
 */
#include "lib/lm.h"

enum { A = 0x0a, B = 0x0b, C = 0x0c, D = 0x0d };
enum { UIP = 0x80, SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 4, H24 = 2 };
enum { IRQF = 0x80, PF_FLAG = 0x40, AF = 0x20, UF = 0x10 };

static u8 get(u8 index)
{
	outb(0x70, index);
	return inb(0x71);
}

static void put(u8 index, u8 value)
{
	outb(0x70, index);
	outb(0x71, value);
}

static u8 from_bcd(u8 v) { return (u8)((v >> 4) * 10 + (v & 15)); }
static u8 to_bcd(u8 v) { return (u8)(v / 10 << 4 | v % 10); }

/* Wait at most ms for a flag in register C; the flags that were seen. */
static u8 wait_flag(u8 flag, u32 ms)
{
	u8 seen = 0;

	for (u32 i = 0; i < ms && !(seen & flag); i++) {
		seen |= get(C);
		pit_wait(PIT_MS);
	}
	return seen;
}

static u16 pit_last;

static u16 pit_count(void)
{
	u16 low;

	outb(0x43, 0x00);
	low = inb(0x40);
	return (u16)(low | inb(0x40) << 8);
}

/* Channel 0 of the PIT runs free, from 65,536 down. */
static void pit_start(void)
{
	outb(0x43, 0x34);
	outb(0x40, 0);
	outb(0x40, 0);
	pit_last = pit_count();
}

/* Its ticks since the last call; to be called each 50 ms at least. */
static u32 pit_elapsed(void)
{
	u16 now = pit_count(), ticks = (u16)(pit_last - now);

	pit_last = now;
	return ticks;
}

static void registers(void)
{
	tap_check(get(D) & 0x80, "MC146818A register D: VRT is set");
	put(D, 0);
	tap_check(get(D) & 0x80, "MC146818A register D is read-only");
	put(0x50, 0xa5);
	put(0x51, 0x5a);
	tap_check(get(0x50) == 0xa5 && get(0x51) == 0x5a, "MC146818A the RAM keeps bytes");
	outb(0x70, 0x80 | 0x50);
	tap_equal(inb(0x71), 0xa5, "PIIX4 port 70h: bit 7 is not part of the index");
	outb(0x70, 0);
	put(B, H24);
	put(A, 0x26);
	tap_equal(get(A) & 0x7f, 0x26, "MC146818A register A: divider and rate read back");
	tap_equal(get(B), H24, "MC146818A register B reads back");
}

static void periodic(void)
{
	u8 c;
	u32 n = 0, elapsed;

	put(B, H24);
	get(C);
	c = wait_flag(PF_FLAG, 20);
	tap_check(c & PF_FLAG, "MC146818A register C: PF comes without PIE");
	tap_check(!(c & IRQF), "MC146818A register C: ... but no IRQF");
	put(B, H24 | PIE);
	get(C);
	pit_wait(5 * PIT_MS);
	c = get(C);
	tap_check((c & (PF_FLAG | IRQF)) == (PF_FLAG | IRQF), "MC146818A PF with PIE sets IRQF");
	/* On a busy host the next period may come in between. */
	for (unsigned tries = 0; tries < 50 && (c & IRQF); tries++) {
		get(C);
		c = get(C);
	}
	tap_check(!(c & IRQF), "MC146818A reading register C clears its flags");
	put(A, 0x2c); /* rate 12, 16 a second: one each 62.5 ms */
	wait_flag(PF_FLAG, 200);
	pit_start();
	for (elapsed = 0; elapsed < 1193182; elapsed += pit_elapsed())
		n += get(C) >> 6 & 1;
	if (!tap_check(n >= 14 && n <= 18, "MC146818A rate 12: 16 periods in a second"))
		tap_note("periods", n, 16);
	put(A, 0x20);
	get(C);
	pit_wait(20 * PIT_MS);
	tap_check(!(get(C) & PF_FLAG), "MC146818A rate 0: no periodic flag");
	put(A, 0x26);
	put(B, H24);
}

static void interrupt(void)
{
	u32 n;

	handler[0x28] = count_hit;
	pic_quiet();
	apic_write(0xf0, 0x1ff);
	apic_write(0x350, 0x700);
	put(A, 0x26);
	get(C);
	put(B, H24 | PIE);
	outb(0x21, 0xfb);
	outb(0xa1, 0xfe);
	sti();
	pit_wait(10 * PIT_MS);
	cli();
	n = hits[0x28];
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	tap_equal(n, 1, "MC146818A IRQ 8 comes, once until register C is read");
	get(C);
	hits_clear();
	sti();
	pit_wait(10 * PIT_MS);
	cli();
	n = hits[0x28];
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	tap_equal(n, 1, "MC146818A reading register C lets the next one come");
	put(B, H24);
	get(C);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

static void update(void)
{
	u8 c, s0, s1;
	bool uip = false, step = false;

	put(B, H24);
	get(C);
	c = wait_flag(UF, 1500);
	tap_check(c & UF, "MC146818A register C: UF comes each second");
	for (unsigned i = 0; i < 3 && !step; i++) { /* the host may halt us for a second */
		s0 = from_bcd(get(0));
		wait_flag(UF, 1500);
		s1 = from_bcd(get(0));
		step = (s1 + 60 - s0) % 60 == 1;
	}
	tap_check(step, "MC146818A the seconds go up by one for each update");
	/* A busy host may look away at many of the twenty updates. */
	for (unsigned i = 0; i < 200000 && !uip; i++) {
		uip = get(A) & UIP;
		pit_wait(100);
	}
	tap_check(uip, "MC146818A register A: UIP is seen before an update");
	get(C);
	put(B, H24 | SET);
	s0 = get(0);
	c = wait_flag(UF, 1200);
	tap_check(!(c & UF) && get(0) == s0, "MC146818A SET stops updates");
	tap_check(!(get(A) & UIP), "MC146818A SET clears UIP");
	put(B, H24 | SET | UIE);
	tap_equal(get(B) & UIE, 0, "MC146818A SET clears UIE");
	put(B, H24);
}

/* Write a time with updates stopped, let go, and wait for one update. */
static void set_time(u8 mode, u8 hours, u8 minutes, u8 seconds)
{
	put(B, (u8)(mode | SET));
	put(4, hours);
	put(2, minutes);
	put(0, seconds);
	put(B, mode);
	get(C);
	wait_flag(UF, 1500);
}

static void time(void)
{
	u8 h = get(4), m = get(2), s = get(0);

	set_time(H24, 0x23, 0x59, 0x59);
	tap_check(get(4) == 0 && get(2) == 0 && get(0) == 0,
		  "MC146818A BCD, 24 hours: 23:59:59 wraps to 0");
	set_time(H24 | DM, 9, 59, 59);
	tap_check(get(4) == 10 && get(2) == 0 && get(0) == 0,
		  "MC146818A binary: 9:59:59 becomes 10:00:00");
	set_time(0, 0x11, 0x59, 0x59);
	tap_equal(get(4), 0x92, "MC146818A 12 hours: 11:59:59 AM becomes 12 PM (bit 7)");
	set_time(0, 0x92, 0x59, 0x59);
	tap_equal(get(4), 0x81, "MC146818A 12 hours: 12:59:59 PM becomes 1 PM");
	set_time(H24, 0x12, 0x34, 0x09);
	tap_equal(get(0), 0x10, "MC146818A BCD: 09 becomes 10h");
	put(B, H24 | SET);
	put(4, h);
	put(2, m);
	put(0, s);
	put(B, H24);
}

static void alarm(void)
{
	u8 s, c;

	put(B, H24);
	get(C);
	wait_flag(UF, 1500);
	s = from_bcd(get(0));
	put(5, 0xff); /* any hour, any minute */
	put(3, 0xff);
	put(1, to_bcd((u8)((s + 2) % 60)));
	get(C);
	c = wait_flag(UF, 1500);
	tap_check(!(c & AF), "MC146818A the alarm waits for its second");
	c = wait_flag(AF, 1500);
	tap_check(c & AF, "MC146818A the alarm comes, with FFh as any hour and minute");
	tap_equal(from_bcd(get(0)), (s + 2u) % 60, "MC146818A ... in its second");
	put(1, 0xff);
	get(C);
	c = wait_flag(AF, 1500);
	tap_check(c & AF, "MC146818A an alarm second of FFh comes each second");
	put(1, 0);
}

void lm_main(void)
{
	registers();
	periodic();
	interrupt();
	update();
	time();
	alarm();
}
