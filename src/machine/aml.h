/* An encoder for the part of AML that the board's DSDT needs (ACPI 6.4, chapter 20; resources:
 * 6.4). Writes beyond the buffer are dropped and noted. */
#ifndef MACHINE_AML_H
#define MACHINE_AML_H

#include "base/types.h"

struct aml {
	u8 *buf;
	size_t len, cap;
	bool overflow;
};

#define AML_ZERO         0x00
#define AML_STORE        0x70
#define AML_LOCAL0       0x60
#define AML_ARG0         0x68
#define AML_AND          0x7b
#define AML_OR           0x7d
#define AML_CREATE_DWORD 0x8a
#define AML_RETURN       0xa4

/* Things with a length: open one, write its contents, close it with what open returned. */
enum aml_block {
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_METHOD = 0x14,
	AML_SCOPE = 0x10,
	AML_IF = 0xa0,
	AML_ELSE = 0xa1,
	AML_DEVICE = 0x5b82,
	AML_FIELD = 0x5b81,
};
size_t aml_open(struct aml *a, enum aml_block op);
void aml_close(struct aml *a, size_t at);
/* The same for a buffer of resource descriptors: adds the end tag and the buffer's size. */
size_t aml_open_resources(struct aml *a);
void aml_close_resources(struct aml *a, size_t at);

/* What follows is added at the end. */
void aml_byte(struct aml *a, unsigned byte);
/* A name of up to four characters, padded; a leading '\' stands for the root; '.' separates two. */
void aml_name(struct aml *a, const char *name);
void aml_int(struct aml *a, u32 value);
void aml_string(struct aml *a, const char *text);
/* Name (name, then the object that follows). */
void aml_def(struct aml *a, const char *name);
void aml_def_int(struct aml *a, const char *name, u32 value);
/* An EISA identifier such as "PNP0A03". */
void aml_def_eisa(struct aml *a, const char *name, const char *id);
/* Method with `args` arguments; serialized if it creates names. */
size_t aml_open_method(struct aml *a, const char *name, unsigned args, bool serialized);
size_t aml_open_device(struct aml *a, const char *name);

/* Resource descriptors. */
void aml_io(struct aml *a, u16 base, u8 size);
void aml_irq(struct aml *a, unsigned irq); /* edge, active high */
/* Interrupts for a PCI line: level, active low, shared. */
void aml_interrupts(struct aml *a, const u32 *irqs, unsigned count);
void aml_bus_range(struct aml *a, u16 first, u16 last);
void aml_io_range(struct aml *a, u16 first, u16 last);
void aml_memory_range(struct aml *a, u32 first, u32 last);
void aml_memory_fixed(struct aml *a, u32 base, u32 size); /* registers */
void aml_dma(struct aml *a, unsigned channel);            /* of the 8237, one byte at a time */

#endif
