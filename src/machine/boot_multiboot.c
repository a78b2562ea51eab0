/* Multiboot 1 (Multiboot Specification 0.6.96): ELF kernels, and flat ones by the address fields
 * of the header. */
#include "machine/boot_internal.h"

#include "base/trace.h"

#include <stdio.h>

#define HEADER_MAGIC   0x1badb002u
#define LOADER_MAGIC   0x2badb002u
#define HEADER_SIZE    48u
#define FLAG_ADDRESSES BIT(16)
/* Requirements that can be met: modules on page boundaries, memory information. Of the others up
 * to bit 15 an unknown one is a reason to refuse (3.1.2); the video mode is a wish. */
#define FLAGS_KNOWN (BIT(0) | BIT(1) | BIT(2))
#define FLAGS_MUST  0xffffu

/* Information structure (3.3); at BOOT_INFO, what it points to behind it in the same page. */
#define INFO_FLAGS      0
#define INFO_MEM_LOWER  4
#define INFO_MEM_UPPER  8
#define INFO_CMDLINE    16
#define INFO_MODS_COUNT 20
#define INFO_MODS_ADDR  24
#define INFO_MMAP_LEN   44
#define INFO_MMAP_ADDR  48
#define INFO_LOADER     64
#define INFO_SIZE       0x1000
#define HAS_MEM         BIT(0)
#define HAS_CMDLINE     BIT(2)
#define HAS_MODS        BIT(3)
#define HAS_MMAP        BIT(6)
#define HAS_LOADER      BIT(9)
#define MODS_OFFSET     0x100
#define MMAP_OFFSET     0x200
#define MMAP_ENTRY      24
#define LOADER_OFFSET   0x400
#define MOD_NAME_OFFSET 0x480

struct header {
	u32 flags, header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
	u32 offset; /* in the file */
};

/* The header lies within the first 8 KiB on a 4-byte boundary; magic, flags and checksum add up
 * to 0. */
static bool find_header(const struct boot *b, struct header *h)
{
	for (u32 at = 0; at + HEADER_SIZE <= BOOT_HEAD; at += 4) {
		u32 word[8];

		memcpy(word, b->head + at, sizeof(word));
		if (word[0] != HEADER_MAGIC || word[0] + word[1] + word[2] != 0)
			continue;
		*h = (struct header){ word[1], word[3], word[4], word[5], word[6], word[7], at };
		return true;
	}
	return false;
}

bool boot_multiboot_match(const struct boot *b)
{
	struct header h;

	return find_header(b, &h);
}

/* Loads by the header's addresses. */
static int load_flat(struct boot *b, const struct header *h, u64 *end, u64 *entry)
{
	u64 skip = (u64)h->header_addr - h->load_addr, size, total;
	int r;

	if (h->header_addr < h->load_addr || skip > h->offset ||
	    (h->load_end_addr && h->load_end_addr < h->load_addr) ||
	    (h->bss_end_addr && h->bss_end_addr < MAX(h->load_end_addr, h->load_addr)))
		return boot_fail(
			b,
			"kernel '%s': the addresses in its multiboot header contradict each other",
			b->kernel.path);
	size = b->kernel.size - (h->offset - skip);
	if (h->load_end_addr) {
		if (h->load_end_addr - h->load_addr > size)
			return boot_fail(b, "kernel '%s' is truncated: %llu of %u bytes",
					 b->kernel.path, (unsigned long long)size,
					 h->load_end_addr - h->load_addr);
		size = h->load_end_addr - h->load_addr;
	}
	total = MAX(size, h->bss_end_addr ? (u64)h->bss_end_addr - h->load_addr : 0);
	r = boot_check_range(b, h->load_addr, total);
	if (!r)
		r = boot_copy(b, &b->kernel, h->offset - skip, h->load_addr, size);
	if (r)
		return r;
	boot_zero(b, h->load_addr + size, total - size);
	*end = h->load_addr + total;
	*entry = h->entry_addr;
	return 0;
}

static int load_elf(struct boot *b, u64 *end, u64 *entry)
{
	struct boot_elf elf;
	int r;

	if (!boot_is_elf(b))
		return boot_fail(
			b,
			"kernel '%s' has a multiboot header, but is neither ELF nor says where to "
			"load it",
			b->kernel.path);
	r = boot_elf_parse(b, &elf);
	if (!r && elf.entry > UINT32_MAX)
		r = boot_fail(b, "kernel '%s': multiboot entry %#llx is beyond 4 GiB",
			      b->kernel.path, (unsigned long long)elf.entry);
	if (!r)
		r = boot_elf_load(b, &elf);
	*end = elf.end;
	*entry = elf.entry;
	return r;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* By custom the command line starts with the kernel's name. */
static int write_cmdline(struct boot *b)
{
	u8 line[BOOT_CMDLINE_MAX + 1];
	int n = snprintf((char *)line, sizeof(line), "%s%s%s", base_name(b->kernel.path),
			 *b->append ? " " : "", b->append);

	if (n < 0 || n > (int)BOOT_CMDLINE_MAX)
		return boot_fail(b, "the kernel command line has %d characters; %u are possible", n,
				 BOOT_CMDLINE_MAX);
	boot_write(b, BOOT_CMDLINE, line, (u64)n + 1);
	return 0;
}

static void add_memory(const struct boot *b, u8 *info)
{
	struct boot_range ranges[BOOT_RANGES];
	unsigned count = boot_memory_map(b->mem, ranges);

	le_store(info + INFO_MEM_LOWER, BOOT_EBDA / KIB, 4);
	le_store(info + INFO_MEM_UPPER, (b->mem->low_end - BOOT_HIGH) / KIB, 4);
	for (unsigned i = 0; i < count; i++) {
		u8 *e = info + MMAP_OFFSET + MMAP_ENTRY * i;

		le_store(e, MMAP_ENTRY - 4, 4); /* size of what follows */
		le_store(e + 4, ranges[i].base, 8);
		le_store(e + 12, ranges[i].size, 8);
		le_store(e + 20, ranges[i].type, 4);
	}
	le_store(info + INFO_MMAP_ADDR, BOOT_INFO + MMAP_OFFSET, 4);
	le_store(info + INFO_MMAP_LEN, MMAP_ENTRY * count, 4);
}

static void write_info(struct boot *b, gpa_t module, u64 module_size)
{
	u8 info[INFO_SIZE] = { 0 };
	u32 flags = HAS_MEM | HAS_CMDLINE | HAS_MODS | HAS_MMAP | HAS_LOADER;

	add_memory(b, info);
	le_store(info + INFO_CMDLINE, BOOT_CMDLINE, 4);
	if (module) {
		le_store(info + INFO_MODS_COUNT, 1, 4);
		le_store(info + MODS_OFFSET, module, 4);
		le_store(info + MODS_OFFSET + 4, module + module_size, 4);
		le_store(info + MODS_OFFSET + 8, BOOT_INFO + MOD_NAME_OFFSET, 4);
		snprintf((char *)info + MOD_NAME_OFFSET, INFO_SIZE - MOD_NAME_OFFSET, "%s",
			 base_name(b->initrd.path));
	}
	le_store(info + INFO_MODS_ADDR, BOOT_INFO + MODS_OFFSET, 4);
	memcpy(info + LOADER_OFFSET, "Pogo", sizeof("Pogo"));
	le_store(info + INFO_LOADER, BOOT_INFO + LOADER_OFFSET, 4);
	le_store(info + INFO_FLAGS, flags, 4);
	boot_write(b, BOOT_INFO, info, sizeof(info));
}

int boot_multiboot_load(struct boot *b)
{
	struct header h;
	u64 end = 0, entry = 0, module_size;
	gpa_t module;
	int r;

	find_header(b, &h);
	if (b->rq->entry == BOOT_ENTRY_16 || b->rq->entry == BOOT_ENTRY_64)
		return boot_fail(
			b, "kernel '%s' is a multiboot kernel: these have the 32-bit entry only",
			b->kernel.path);
	if (h.flags & FLAGS_MUST & ~FLAGS_KNOWN)
		return boot_fail(b,
				 "kernel '%s' requires multiboot features %#x, which are unknown",
				 b->kernel.path, (unsigned)(h.flags & FLAGS_MUST & ~FLAGS_KNOWN));
	r = h.flags & FLAG_ADDRESSES ? load_flat(b, &h, &end, &entry) : load_elf(b, &end, &entry);
	if (!r)
		r = write_cmdline(b);
	if (!r)
		r = boot_load_initrd(b, end, 4 * GIB, &module, &module_size);
	if (r)
		return r;
	write_info(b, module, module_size);
	boot_enter_flat(b, 32, entry);
	b->cpu->gpr[RAX] = LOADER_MAGIC;
	b->cpu->gpr[RBX] = BOOT_INFO;
	return 0;
}
