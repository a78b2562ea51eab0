/* Integer loops on the bare machine, 32-bit: sieve, sort, CRC, hash table, recursion. ROUNDS times. The same work on every monitor, and
 * the exit code carries its checksum. Multiboot 1. */
#include <stdint.h>

__attribute__((section(".multiboot"), used)) static const uint32_t header[] = { 0x1badb002, 0,
										-0x1badb002u };

static uint8_t sieve[65536];
static uint32_t table[4096], values[512];

static uint32_t primes(void)
{
	uint32_t count = 0;

	for (uint32_t n = 0; n < sizeof(sieve); n++)
		sieve[n] = 1;
	for (uint32_t n = 2; n < sizeof(sieve); n++) {
		if (!sieve[n])
			continue;
		count++;
		for (uint32_t k = 2 * n; k < sizeof(sieve); k += n)
			sieve[k] = 0;
	}
	return count;
}

static uint32_t sort(uint32_t seed)
{
	const uint32_t n = sizeof(values) / sizeof(values[0]);

	for (uint32_t i = 0; i < n; i++)
		values[i] = seed = seed * 1664525 + 1013904223;
	for (uint32_t i = 1; i < n; i++) {
		uint32_t v = values[i], j = i;

		for (; j && values[j - 1] > v; j--)
			values[j] = values[j - 1];
		values[j] = v;
	}
	return values[n / 2];
}

static uint32_t crc(void)
{
	uint32_t c = ~0u;

	for (uint32_t n = 0; n < 16384; n++) {
		c ^= sieve[n];
		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
	}
	return ~c;
}

static uint32_t hash(uint32_t seed)
{
	uint32_t hits = 0;

	for (uint32_t n = 0; n < 100000; n++) {
		seed ^= seed << 13;
		seed ^= seed >> 17;
		seed ^= seed << 5;
		uint32_t *slot = &table[seed % 4093];

		hits += *slot == seed >> 20;
		*slot = seed >> 20;
	}
	return hits;
}

__attribute__((noinline)) static uint32_t fibonacci(uint32_t n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((used)) void body(void)
{
	uint32_t sum = 0;

	for (uint32_t r = 0; r < ROUNDS; r++)
		sum = sum * 31 + primes() + sort(r) + crc() + hash(r + 1) + fibonacci(22);
	/* Pogo and QEMU end at port F4h, Bochs at this word on its port. */
	__asm__ volatile("outb %0, $0xf4" : : "a"((uint8_t)(sum & 0x3f)));
	for (const char *p = "Shutdown"; *p; p++)
		__asm__ volatile("outb %0, %1" : : "a"(*p), "d"((uint16_t)0x8900));
	for (;;)
		__asm__ volatile("cli; hlt");
}

uint8_t stack[65536] __attribute__((aligned(16)));

__asm__(".globl _start\n_start:\n\tmov $stack + 65536, %esp\n\tcall body\n");
