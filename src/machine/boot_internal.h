/* What the loaders of boot_*.c share. */
#ifndef MACHINE_BOOT_INTERNAL_H
#define MACHINE_BOOT_INTERNAL_H

#include "machine/boot.h"

/* Low memory at the start of a kernel. A kernel that wants to be loaded over the first page or
 * two of it is refused. */
#define BOOT_GDT         0x01000ull
#define BOOT_INFO        0x02000ull /* boot_params, multiboot info, hvm_start_info: one page */
#define BOOT_PAGE_TABLES 0x03000ull /* PML4, PDPT, four page directories */
#define BOOT_STACK       0x0f000ull /* top */
#define BOOT_CMDLINE     0x80000ull
#define BOOT_CMDLINE_MAX 0xffffu /* without the final zero */
#define BOOT_REAL_MODE   0x90000ull
#define BOOT_EBDA        0x9fc00ull /* end of low memory that is free */
#define BOOT_HIGH        0x100000ull

/* Bytes of a kernel's start in which all headers are looked for. */
#define BOOT_HEAD 8192u

/* A file being loaded. */
struct boot_file {
	const char *what, *path;
	int fd;
	u64 size;
};

struct boot {
	struct boot_request *rq;
	struct mem *mem;
	struct x86_cpu *cpu;
	struct boot_file kernel, initrd; /* fd -1: none */
	u8 head[BOOT_HEAD];              /* the kernel's start, zeros beyond its end */
	const char *append;
	char *err;
	size_t errlen;
};

/* Sets the message and returns -EINVAL. */
int boot_fail(struct boot *b, const char *fmt, ...) printf_like(2, 3);
/* Reads size bytes at offset; the message says "truncated" if the file ends before. */
int boot_read(struct boot *b, const struct boot_file *f, u64 offset, void *buf, u64 size)
	must_check;
/* Copies a part of the file to guest RAM. */
int boot_copy(struct boot *b, const struct boot_file *f, u64 offset, gpa_t gpa, u64 size)
	must_check;
/* Writes to guest RAM that the caller knows to exist. */
void boot_write(struct boot *b, gpa_t gpa, const void *buf, u64 size);
void boot_zero(struct boot *b, gpa_t gpa, u64 size);
/* Loads the initial ramdisk, if there is one, as high as possible in [floor, ceiling) below the
 * end of low RAM, at a page boundary. *at and *size are 0 without one. */
int boot_load_initrd(struct boot *b, u64 floor, u64 ceiling, gpa_t *at, u64 *size) must_check;
/* Writes the command line with its zero at BOOT_CMDLINE; fails if it has more than max
 * characters. */
int boot_write_cmdline(struct boot *b, u64 max) must_check;
/* The kernel needs RAM up to `end`, which there is not: sets the message and returns an error. */
int boot_no_room(struct boot *b, u64 end);

/* Memory map in the types of E820: 1 RAM, 2 reserved. */
struct boot_range {
	u64 base, size;
	u32 type;
};
#define BOOT_RANGES 8
unsigned boot_memory_map(const struct mem *mem, struct boot_range ranges[BOOT_RANGES]);

/* Flat 4 GiB segments through a GDT at BOOT_GDT: code selector 10h (bits: 32 or 64), data 18h;
 * interrupts off, IDT empty, paging off for 32, identity-mapped 4 GiB for 64. */
void boot_enter_flat(struct boot *b, unsigned bits, u64 rip);

/* An ELF image for x86, 32 or 64-bit. */
#define BOOT_ELF_SEGMENTS 64
struct boot_segment {
	u32 type;
	u64 offset, vaddr, paddr, file_size, mem_size, align;
};
struct boot_elf {
	bool is64;
	u64 entry; /* physical, if a segment says where that is */
	unsigned count;
	struct boot_segment segment[BOOT_ELF_SEGMENTS];
	u64 end; /* of what was loaded above 1 MiB */
};
bool boot_is_elf(const struct boot *b);
/* Headers, checked: every segment to load is RAM above the boot information, inside the file,
 * and overlaps no other. */
int boot_elf_parse(struct boot *b, struct boot_elf *elf) must_check;
int boot_elf_load(struct boot *b, const struct boot_elf *elf) must_check;
/* A range of physical memory that the kernel is to occupy: RAM above 1 MiB. */
int boot_check_range(struct boot *b, u64 base, u64 size) must_check;
/* Linux started with a boot_params at BOOT_INFO that does not come from a bzImage. */
void boot_linux_params(struct boot *b, gpa_t initrd, u64 initrd_size);

/* The loaders. match: the head is one of theirs. */
bool boot_linux_match(const struct boot *b);
int boot_linux_load(struct boot *b) must_check;
bool boot_multiboot_match(const struct boot *b);
int boot_multiboot_load(struct boot *b) must_check;
bool boot_pvh_match(const struct boot *b);
int boot_pvh_load(struct boot *b) must_check;

#endif
