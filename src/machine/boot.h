/* Starting a guest without firmware: loads a kernel and puts the boot processor at its entry. */
#ifndef MACHINE_BOOT_H
#define MACHINE_BOOT_H

#include "core/mem.h"
#include "x86/cpu.h"

enum boot_entry {
	BOOT_ENTRY_AUTO, /* 64-bit if kernel and processor can, else 32-bit */
	BOOT_ENTRY_16,
	BOOT_ENTRY_32,
	BOOT_ENTRY_64,
};

struct boot_request {
	const char *kernel;
	const char *initrd; /* NULL: none */
	const char *append; /* command line; NULL is empty */
	enum boot_entry entry;
	bool long_mode; /* the processor model has it */
	gpa_t rsdp;     /* ACPI root pointer, 0: none */
	bool vga;       /* the board has a VGA in text mode */
	struct mem *mem;
	struct x86_cpu *cpu; /* the boot processor, in its state after reset */
	/* Set on success: what the kernel was recognized as. */
	const char *format;
};

/* Loads the kernel and, if given, the initial ramdisk, writes what the boot protocol wants into
 * guest RAM, and sets the processor to the entry point. The caller tells the engine that the
 * mode has changed. On failure a negative errno and one line in err; guest RAM and processor are
 * then undefined. */
int boot_load(struct boot_request *rq, char *err, size_t errlen) must_check;

/* Number for "auto", "16", "32", "64", or -1. */
int boot_entry_parse(const char *text);

/* What firmware does to each processor before a system starts: memory types by MTRR. Caller: for
 * all processors, after reset, if the model has MTRRs. phys_bits: width of physical addresses. */
void boot_set_mtrrs(struct x86_cpu *cpu, unsigned phys_bits);

#endif
