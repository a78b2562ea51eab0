/*
 * The Test Anything Protocol on COM1, for freestanding 32-bit and 64-bit test guests.
 *
 * Output goes to a 16550 at 0x3f8 by polling. The verdict leaves through the isa-debug-exit
 * device at port 0xf4: a monitor that gets the value v exits with status v * 2 + 1, so a guest
 * whose rules all hold ends with status 1 and any other with status 3.
 */
#ifndef TESTS_GUEST_TAP_H
#define TESTS_GUEST_TAP_H

#include <stdbool.h>
#include <stdint.h>

#define TAP_COM1 0x3f8
#define TAP_EXIT 0xf4

/* One copy for all objects of an image: weak, so that the header needs no companion object. */
__attribute__((weak)) struct {
	unsigned checks, failures;
	bool uart_ready;
} tap;

static inline void tap_outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t tap_inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* Write one character. The wait is bounded so that a machine without COM1 still ends. */
__attribute__((unused)) static void tap_putc(char c)
{
	if (!tap.uart_ready) {
		tap.uart_ready = true;
		tap_outb(TAP_COM1 + 1, 0x00); /* no interrupts */
		tap_outb(TAP_COM1 + 3, 0x80); /* divisor latch: 1, 115200 baud */
		tap_outb(TAP_COM1 + 0, 0x01);
		tap_outb(TAP_COM1 + 1, 0x00);
		tap_outb(TAP_COM1 + 3, 0x03); /* 8 bits, no parity, 1 stop bit */
		tap_outb(TAP_COM1 + 2, 0x07); /* FIFOs on and empty */
	}
	for (unsigned spins = 0; spins < 1000000; spins++)
		if (tap_inb(TAP_COM1 + 5) & 0x20)
			break;
	tap_outb(TAP_COM1, (uint8_t)c);
}

__attribute__((unused)) static void tap_puts(const char *s)
{
	while (*s)
		tap_putc(*s++);
}

__attribute__((unused)) static void tap_put_dec(unsigned n)
{
	char digits[11], *p = digits + sizeof(digits) - 1;

	*p = 0;
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	tap_puts(p);
}

/* Print "0x" and n in hexadecimal without leading zeros. */
__attribute__((unused)) static void tap_put_hex(uint64_t n)
{
	int shift = 60;

	tap_puts("0x");
	while (shift && !(n >> shift & 15))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		tap_putc("0123456789abcdef"[n >> shift & 15]);
}

/* Print "# label: got X, expected Y": what a rule that does not hold has to say. */
__attribute__((unused)) static void tap_note(const char *label, uint64_t got, uint64_t expected)
{
	tap_puts("# ");
	tap_puts(label);
	tap_puts(": got ");
	tap_put_hex(got);
	tap_puts(", expected ");
	tap_put_hex(expected);
	tap_putc('\n');
}

/* Report one rule. Returns ok. */
__attribute__((unused)) static bool tap_check(bool ok, const char *rule)
{
	if (!ok) {
		tap.failures++;
		tap_puts("not ");
	}
	tap_puts("ok ");
	tap_put_dec(++tap.checks);
	tap_puts(" - ");
	tap_puts(rule);
	tap_putc('\n');
	return ok;
}

/* Report one rule that got must equal expected, with both values where it does not hold. */
__attribute__((unused)) static bool tap_equal(uint64_t got, uint64_t expected, const char *rule)
{
	bool ok = tap_check(got == expected, rule);

	if (!ok)
		tap_note("value", got, expected);
	return ok;
}

/* Report a rule that this processor does not offer, and why. */
__attribute__((unused)) static void tap_skip(const char *rule, const char *why)
{
	tap_puts("ok ");
	tap_put_dec(++tap.checks);
	tap_puts(" - ");
	tap_puts(rule);
	tap_puts(" # SKIP ");
	tap_puts(why);
	tap_putc('\n');
}

/* Print the plan and leave: status 1 of the monitor if every rule held, 3 otherwise. */
__attribute__((unused, noreturn)) static void tap_done(void)
{
	tap_puts("1..");
	tap_put_dec(tap.checks);
	tap_putc('\n');
	__asm__ volatile("outl %0, %1" : : "a"(tap.failures != 0), "Nd"((uint16_t)TAP_EXIT));
	for (;;)
		__asm__ volatile("cli; hlt");
}

#endif
