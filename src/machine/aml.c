/* AML encoding (ACPI 6.4, 20.2) and resource descriptors (6.4.2, 6.4.3). */
#include "machine/aml.h"

#include "base/bits.h"

#define NAME_OP      0x08
#define BYTE_PREFIX  0x0a
#define WORD_PREFIX  0x0b
#define DWORD_PREFIX 0x0c
#define STRING_OP    0x0d
#define DUAL_NAME    0x2e

void aml_byte(struct aml *a, unsigned byte)
{
	if (a->len < a->cap)
		a->buf[a->len++] = (u8)byte;
	else
		a->overflow = true;
}

static void put(struct aml *a, u64 value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		aml_byte(a, (u8)(value >> (8 * i)));
}

size_t aml_open(struct aml *a, enum aml_block op)
{
	if (op > 0xff)
		aml_byte(a, op >> 8);
	aml_byte(a, op & 0xff);
	return a->len;
}

/* PkgLength counts itself: one byte up to 63, else the first byte has the low nibble and the number
 * of bytes that follow. */
void aml_close(struct aml *a, size_t at)
{
	size_t body = a->len - at, len;
	unsigned n = body + 1 <= 0x3f ? 1 : body + 2 <= 0xfff ? 2 : 3;

	put(a, 0, n); /* room, or the overflow mark */
	if (a->overflow)
		return;
	memmove(a->buf + at + n, a->buf + at, body);
	len = body + n;
	a->buf[at] = (u8)(n == 1 ? len : (n - 1) << 6 | (len & 0xf));
	for (unsigned i = 1; i < n; i++)
		a->buf[at + i] = (u8)(len >> (8 * i - 4));
}

/* Buffer: PkgLength, size as a term, bytes. The size is a word, filled in at the end. */
size_t aml_open_resources(struct aml *a)
{
	size_t at = aml_open(a, AML_BUFFER);

	aml_byte(a, WORD_PREFIX);
	put(a, 0, 2);
	return at;
}

void aml_close_resources(struct aml *a, size_t at)
{
	put(a, 0x79, 2); /* end tag, checksum 0: not used */
	if (!a->overflow)
		le_store(a->buf + at + 1, a->len - at - 3, 2);
	aml_close(a, at);
}

void aml_name(struct aml *a, const char *name)
{
	if (*name == '\\')
		aml_byte(a, (u8)*name++);
	if (strchr(name, '.'))
		aml_byte(a, DUAL_NAME);
	while (*name) {
		for (unsigned i = 0; i < 4; i++)
			aml_byte(a, *name && *name != '.' ? (u8)*name++ : '_');
		if (*name == '.')
			name++;
	}
}

void aml_int(struct aml *a, u32 value)
{
	if (value < 2) {
		aml_byte(a, value); /* ZeroOp, OneOp */
	} else if (value < 0x100) {
		aml_byte(a, BYTE_PREFIX);
		put(a, value, 1);
	} else if (value < 0x10000) {
		aml_byte(a, WORD_PREFIX);
		put(a, value, 2);
	} else {
		aml_byte(a, DWORD_PREFIX);
		put(a, value, 4);
	}
}

void aml_string(struct aml *a, const char *text)
{
	aml_byte(a, STRING_OP);
	do {
		aml_byte(a, (u8)*text);
	} while (*text++);
}

void aml_def(struct aml *a, const char *name)
{
	aml_byte(a, NAME_OP);
	aml_name(a, name);
}

void aml_def_int(struct aml *a, const char *name, u32 value)
{
	aml_def(a, name);
	aml_int(a, value);
}

static u32 hex_digit(char c) { return c <= '9' ? (u32)(c - '0') : (u32)(c - 'A' + 10); }

/* Three letters of five bits, then four hexadecimal digits, stored with the high byte first. */
void aml_def_eisa(struct aml *a, const char *name, const char *id)
{
	u32 v = (id[0] & 0x1fu) << 26 | (id[1] & 0x1fu) << 21 | (id[2] & 0x1fu) << 16 |
		hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 |
		hex_digit(id[6]);

	aml_def_int(a, name, __builtin_bswap32(v));
}

size_t aml_open_method(struct aml *a, const char *name, unsigned args, bool serialized)
{
	size_t at = aml_open(a, AML_METHOD);

	aml_name(a, name);
	aml_byte(a, args | (serialized ? 8 : 0));
	return at;
}

size_t aml_open_device(struct aml *a, const char *name)
{
	size_t at = aml_open(a, AML_DEVICE);

	aml_name(a, name);
	return at;
}

void aml_io(struct aml *a, u16 base, u8 size)
{
	put(a, 0x0147, 2); /* 16-bit decode */
	put(a, base, 2);
	put(a, base, 2);
	aml_byte(a, 1); /* alignment */
	aml_byte(a, size);
}

void aml_irq(struct aml *a, unsigned irq)
{
	aml_byte(a, 0x22);
	put(a, BIT(irq), 2);
}

void aml_interrupts(struct aml *a, const u32 *irqs, unsigned count)
{
	aml_byte(a, 0x89);
	put(a, 2 + 4 * count, 2);
	aml_byte(a, 0x0d); /* consumer, level, active low, shared */
	aml_byte(a, count);
	for (unsigned i = 0; i < count; i++)
		put(a, irqs[i], 4);
}

/* Word or doubleword address space: fixed range, positive decode, the bridge produces it. */
static void range(struct aml *a, unsigned type, unsigned flags, u32 first, u32 last, unsigned size)
{
	aml_byte(a, size == 2 ? 0x88 : 0x87);
	put(a, 3 + 5 * size, 2);
	aml_byte(a, type);
	aml_byte(a, 0x0c); /* both ends fixed */
	aml_byte(a, flags);
	put(a, 0, size); /* granularity */
	put(a, first, size);
	put(a, last, size);
	put(a, 0, size); /* translation */
	put(a, (u64)last - first + 1, size);
}

void aml_bus_range(struct aml *a, u16 first, u16 last) { range(a, 2, 0, first, last, 2); }

void aml_io_range(struct aml *a, u16 first, u16 last)
{
	range(a, 1, 3, first, last, 2); /* ISA and other ports alike */
}

void aml_memory_range(struct aml *a, u32 first, u32 last)
{
	range(a, 0, 1, first, last, 4); /* read and write, not cacheable */
}

void aml_memory_fixed(struct aml *a, u32 base, u32 size)
{
	aml_byte(a, 0x86);
	put(a, 9, 2);
	aml_byte(a, 1); /* writable */
	put(a, base, 4);
	put(a, size, 4);
}

void aml_dma(struct aml *a, unsigned channel)
{
	aml_byte(a, 0x2a);
	aml_byte(a, (unsigned)BIT(channel));
	aml_byte(a, 0); /* compatible timing, no bus master, 8 bits */
}
