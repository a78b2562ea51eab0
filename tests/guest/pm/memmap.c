/*
 * A memory map that changes under its code: shadow RAM and SMRAM of the host bridge (82443BX datasheet, 3.3.17 and 3.3.21), the window
 * and the BAR that show the adapter's memory at two addresses. After each change what runs is what is now seen; so it is where one
 * address was written and another one runs (a serializing instruction is between, SDM 3A 8.1.3).
 */
#include "code.h"
#include "pci.h"
#include "pm.h"

#define TIMES  200
#define SHADOW 0xd0000u /* PAM3, low nibble */
#define NEXT   0xd4000u /* PAM3, high nibble */
#define WINDOW 0xa0000u
#define PAM3   0x5c
#define SMRAM  0x72

#define DISPI_INDEX  0x1ce
#define DISPI_DATA   0x1cf
#define DISPI_ENABLE 4
#define DISPI_BANK   5

static u32 lfb, id;

static void out16(u16 port, u16 value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
static void bridge(unsigned reg, u8 value) { pci_write8(0, reg, value); }

static void dispi(unsigned index, unsigned value)
{
	out16(DISPI_INDEX, (u16)index);
	out16(DISPI_DATA, (u16)value);
}

static void serialize(void)
{
	u32 a = 0, c = 0;

	__asm__ volatile("cpuid" : "+a"(a), "+c"(c) : : "ebx", "edx", "memory");
}

/* At `at`: a function that returns value. */
static void put_function(u32 at, u32 value)
{
	struct emit e = { (u8 *)at };

	emit_load(&e, value);
	emit8(&e, 0xc3);
}

static u32 call(u32 at)
{
	u32 value;

	serialize();
	__asm__ volatile("call *%1" : "=a"(value) : "r"(at) : "ecx", "edx", "memory");
	return value;
}

/* --- Shadow RAM --------------------------------------------------------------------------------- */

static void write_in_other_ways(u32 at)
{
	u32 zero = 0, to = at, count = 64;

	__asm__ volatile("xchgl %0, (%1)" : "+r"(zero) : "r"(at) : "memory");
	__asm__ volatile("lock orl $-1, (%0)" : : "r"(at) : "memory");
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0xf4) : "memory");
}

static void shadow(void)
{
	bool run = true, dropped = true, bus = true, in_place = true, edge = true;
	u32 old = 0x1000;

	for (u32 n = 0; n < TIMES; n++) {
		bridge(PAM3, 0x33);
		put_function(SHADOW, old);
		run = run && call(SHADOW) == old;
		bridge(PAM3, 0x31);
		put_function(SHADOW, 0xbad);
		write_in_other_ways(SHADOW);
		dropped = dropped && call(SHADOW) == old;
		/* Across the edge to the piece behind it, which takes its half. */
		*mem32(NEXT) = 0;
		*mem32(NEXT - 2) = 0x44332211;
		edge = edge && *mem32(NEXT) == 0x4433 && *mem16(NEXT - 2) != 0x2211;
		bridge(PAM3, 0x32);
		bus = bus && *mem32(SHADOW) == 0xffffffff;
		put_function(SHADOW, old + 1);
		bus = bus && *mem32(SHADOW) == 0xffffffff;
		bridge(PAM3, 0x31);
		in_place = in_place && call(SHADOW) == old + 1;
		bridge(PAM3, 0x30);
		put_function(SHADOW, 0xbad);
		bus = bus && *mem32(SHADOW) == 0xffffffff;
		bridge(PAM3, 0x33);
		in_place = in_place && call(SHADOW) == old + 1;
		old += 2;
	}
	tap_check(run, "82443BX 3.3.17 shadow RAM holds code");
	tap_check(dropped, "82443BX 3.3.17 read only: writes of every kind change nothing");
	tap_check(edge, "82443BX 3.3.17 a write across the edge of a read-only piece");
	tap_check(bus, "82443BX 3.3.17 without the read enable the PCI bus is read");
	tap_check(in_place, "82443BX 3.3.17 write only: what was written runs when it is seen");
}

/* Code in shadow RAM that takes it away: the next byte is the bus's, FFh FFh is no instruction. */
static void shadow_leaves(void)
{
	static const u8 code[] = { 0xee, 0x90, 0x90, 0x90, 0xcc }; /* out dx, al; nops; int3 */
	bool good = true;

	for (unsigned n = 0; n < 20 && good; n++) {
		bridge(PAM3, 0x33);
		for (unsigned i = 0; i < sizeof(code); i++)
			put8((u8 *)SHADOW + i, code[i]);
		pci_select(0, PAM3);
		PROBE(SHADOW, .edx = PCI_DATA, .eax = 0x33);
		good = t.vector == BP && t.eip == SHADOW + 5;
		PROBE(SHADOW, .edx = PCI_DATA, .eax = 0x30);
		good = good && fault(UD, 1);
	}
	rule_report("82443BX 3.3.17 code that turns its own shadow RAM off", good,
		    "#UD behind OUT");
	bridge(PAM3, 0x33);
}

/* --- SMRAM -------------------------------------------------------------------------------------- */

/* mov eax, 48h or 8; out dx, al; mov eax, value; ret */
static void put_switch(u32 at, unsigned smram, u32 value)
{
	struct emit e = { (u8 *)at };

	emit_load(&e, smram);
	emit8(&e, 0xee);
	emit_load(&e, value);
	emit8(&e, 0xc3);
}

static u32 call_dx(u32 at, u32 edx)
{
	u32 value;

	serialize();
	__asm__ volatile("call *%1" : "=a"(value), "+r"(at), "+d"(edx) : : "ecx", "memory");
	return value;
}

static void smram(void)
{
	bool in = true, out = true, apart = true;

	for (u32 n = 0; n < TIMES; n++) {
		bridge(SMRAM, 0x08);
		put_switch(lfb, 0x48, 0x5000 + n);
		bridge(SMRAM, 0x48);
		put_switch(WINDOW, 0x08, 0x6000 + n);
		/* Leaves SMRAM in its middle: the value is the adapter's. */
		out = out && call_dx(WINDOW, PCI_DATA + (SMRAM & 3)) == 0x5000 + n;
		apart = apart && *mem8(WINDOW + 1) == 0x48;
		in = in && call_dx(WINDOW, PCI_DATA + (SMRAM & 3)) == 0x6000 + n;
		apart = apart && *mem8(WINDOW + 1) == 0x08;
	}
	bridge(SMRAM, 0x08);
	tap_check(apart, "82443BX 3.3.21 SMRAM and the adapter's memory at one address");
	tap_check(out, "82443BX 3.3.21 code that closes SMRAM over itself");
	tap_check(in, "82443BX 3.3.21 code that opens SMRAM over itself");
	bridge(SMRAM, 0x58);
	bridge(SMRAM, 0x48);
	tap_check(*mem8(WINDOW + 1) == 0x48 && (pci_read(0, SMRAM) >> 16 & 0xff) == 0x1a,
		  "82443BX 3.3.21 D_LCK holds SMRAM closed");
}

/* --- One memory at two addresses ---------------------------------------------------------------- */

/* Makes the window a piece of memory instead of a device: the machine may take some accesses to do so. */
static void warm(void)
{
	for (unsigned n = 0; n < 5000; n++)
		(void)*mem32(WINDOW + n % 64 * 4);
}

static void aliases(void)
{
	bool same = true, fresh = true, back = true, hot = true;

	for (u32 n = 0; n < TIMES; n++) {
		u32 at = (n * 36) & 0x7ffc;

		put_function(WINDOW + at, n);
		same = same && *mem32(lfb + at + 1) == n;
		fresh = fresh && call(lfb + at) == n;
		*mem32(WINDOW + at + 1) = n + 1;
		fresh = fresh && call(lfb + at) == n + 1 && call(WINDOW + at) == n + 1;
		*mem32(lfb + at + 1) = n + 2;
		back = back && call(WINDOW + at) == n + 2 && call(lfb + at) == n + 2;
	}
	/* Often enough for code that is patched all the time to be treated in another way. */
	put_function(lfb + 0x9000, 0);
	for (u32 n = 0; n < 20000; n++) {
		put32((u8 *)(n & 1 ? WINDOW : lfb) + 0x9001, n);
		hot = hot && call(n & 2 ? WINDOW + 0x9000 : lfb + 0x9000) == n;
	}
	tap_check(same, "the adapter's window and its BAR show the same bytes");
	tap_check(fresh,
		  "SDM 3A 8.1.3 code that is written through the window, and runs in the BAR");
	tap_check(back,
		  "SDM 3A 8.1.3 code that is written through the BAR, and runs in the window");
	tap_check(hot, "SDM 3A 8.1.3 the same 20000 times");
}

/* Code in the window that turns to the other bank, where the same code has another value: mov ax, bank; out dx, ax; mov eax, value; ret */
static void banks(void)
{
	bool good = true, repeated = true;

	for (u32 n = 0; n < TIMES; n++) {
		for (u32 bank = 0; bank < 2; bank++) {
			struct emit e = { (u8 *)(lfb + bank * 0x10000 + 0x4000) };

			emit_load(&e, !bank);
			emit8(&e, 0x66);
			emit8(&e, 0xef);
			emit_load(&e, 0x7000 + 2 * n + bank);
			emit8(&e, 0xc3);
		}
		dispi(DISPI_BANK, 0);
		good = good && call_dx(WINDOW + 0x4000, DISPI_DATA) == 0x7000 + 2 * n + 1;
		good = good && call_dx(WINDOW + 0x4000, DISPI_DATA) == 0x7000 + 2 * n;
		/* A repeated write goes on into what has come. */
		dispi(DISPI_BANK, n & 1);
		*mem32(WINDOW + 0xfffc) = n;
		repeated = repeated && *mem32(lfb + (n & 1) * 0x10000 + 0xfffc) == n;
	}
	dispi(DISPI_BANK, 0);
	tap_check(good, "code that turns the bank that it is in");
	tap_check(repeated, "writes go to the bank that is seen");
}

void test_main(void)
{
	id = pci_read(0, 0);
	tap_check(id == 0x71908086 || id == 0x12378086, "the host bridge");
	lfb = pci_read(2 << 3, PCI_BAR0) & ~15u;
	tap_check(lfb >= 0x10000000, "the adapter has a BAR of memory");
	shadow();
	shadow_leaves();
	dispi(DISPI_ENABLE, 0);
	dispi(1, 640);
	dispi(2, 480);
	dispi(3, 8);
	dispi(DISPI_ENABLE, 0xc1); /* on, linear, not cleared */
	for (unsigned n = 0; n < 2; n++) {
		aliases();
		banks();
		warm();
	}
	smram();
}
