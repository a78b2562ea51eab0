/* ELF kernels: by their PVH entry (Xen's docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h), or, without a PVH note, as an uncompressed Linux kernel,
 * which takes a boot_params. */
#include "machine/boot_internal.h"

#include "base/trace.h"

#include <elf.h>

#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY, of owner "Xen" */
#define NOTES_MAX         (64 * KIB)

#define START_MAGIC   0x336ec578u
#define START_SIZE    56
#define MODULE_OFFSET 0x100
#define MODULE_SIZE   32
#define MEMMAP_OFFSET 0x200
#define MEMMAP_ENTRY  24
#define INFO_SIZE     0x400

_Static_assert(MEMMAP_OFFSET + BOOT_RANGES * MEMMAP_ENTRY <= INFO_SIZE, "memory map fits");

bool boot_pvh_match(const struct boot *b) { return boot_is_elf(b); }

/* Looks through one note segment. */
static bool find_in_notes(const u8 *notes, u64 size, u64 align, u32 *entry)
{
	u64 at = 0;

	while (at + 12 <= size) {
		u64 name_size = le_load(notes + at, 4), desc_size = le_load(notes + at + 4, 4);
		u64 type = le_load(notes + at + 8, 4), name = at + 12;
		u64 desc = align_up(name + name_size, align);

		if (desc + desc_size > size)
			return false;
		if (type == NOTE_PHYS32_ENTRY && name_size == 4 &&
		    !memcmp(notes + name, "Xen", 4) && desc_size >= 4) {
			*entry = (u32)le_load(notes + desc, 4);
			return true;
		}
		at = align_up(desc + desc_size, align);
	}
	return false;
}

/* 1: found; 0: not there; negative: unreadable. */
static int find_entry(struct boot *b, const struct boot_elf *elf, u32 *entry)
{
	u8 notes[NOTES_MAX];

	for (unsigned i = 0; i < elf->count; i++) {
		const struct boot_segment *s = &elf->segment[i];
		u64 size = MIN(s->file_size, NOTES_MAX);
		int r;

		if (s->type != PT_NOTE)
			continue;
		if (s->offset > b->kernel.size || size > b->kernel.size - s->offset)
			return boot_fail(
				b, "kernel '%s' is truncated: its ELF notes are not in the file",
				b->kernel.path);
		r = boot_read(b, &b->kernel, s->offset, notes, size);
		if (r)
			return r;
		if (find_in_notes(notes, size, s->align == 8 ? 8 : 4, entry))
			return 1;
	}
	return 0;
}

static void write_start_info(struct boot *b, gpa_t initrd, u64 initrd_size)
{
	struct boot_range ranges[BOOT_RANGES];
	unsigned count = boot_memory_map(b->mem, ranges);
	u8 info[INFO_SIZE] = { 0 };

	le_store(info, START_MAGIC, 4);
	le_store(info + 4, 1, 4); /* version, with the memory map */
	le_store(info + 12, initrd ? 1 : 0, 4);
	le_store(info + 16, BOOT_INFO + MODULE_OFFSET, 8);
	le_store(info + 24, BOOT_CMDLINE, 8);
	le_store(info + 32, b->rq->rsdp, 8);
	le_store(info + 40, BOOT_INFO + MEMMAP_OFFSET, 8);
	le_store(info + 48, count, 4);
	le_store(info + MODULE_OFFSET, initrd, 8);
	le_store(info + MODULE_OFFSET + 8, initrd_size, 8);
	for (unsigned i = 0; i < count; i++) {
		u8 *e = info + MEMMAP_OFFSET + MEMMAP_ENTRY * i;

		le_store(e, ranges[i].base, 8);
		le_store(e + 8, ranges[i].size, 8);
		le_store(e + 16, ranges[i].type, 4);
	}
	boot_write(b, BOOT_INFO, info, sizeof(info));
}

static void enter_pvh(struct boot *b, u32 entry, gpa_t initrd, u64 initrd_size)
{
	write_start_info(b, initrd, initrd_size);
	boot_enter_flat(b, 32, entry);
	b->cpu->gpr[RBX] = BOOT_INFO;
	b->cpu->seg[TR] = (struct x86_seg){
		.ar = (u32)(AR_P | 0xb), /* busy 32-bit TSS */
		.limit = 0x67,
	};
}

/* Linux without its wrapping: the entry point of the mode that the image is built for. */
static int enter_linux(struct boot *b, const struct boot_elf *elf, gpa_t initrd, u64 initrd_size)
{
	if (elf->is64 && !b->rq->long_mode)
		return boot_fail(
			b,
			"kernel '%s' is a 64-bit ELF without PVH entry: it needs a CPU model with "
			"long mode",
			b->kernel.path);
	b->rq->format = "Linux ELF";
	boot_linux_params(b, initrd, initrd_size);
	boot_enter_flat(b, elf->is64 ? 64 : 32, elf->entry);
	b->cpu->gpr[RSI] = BOOT_INFO;
	return 0;
}

int boot_pvh_load(struct boot *b)
{
	struct boot_elf elf;
	enum boot_entry wanted = b->rq->entry;
	gpa_t initrd;
	u64 initrd_size;
	u32 entry = 0;
	int r = boot_elf_parse(b, &elf), pvh = 0;

	if (!r)
		pvh = find_entry(b, &elf, &entry);
	if (pvh < 0 || r)
		return pvh < 0 ? pvh : r;
	if (wanted == BOOT_ENTRY_16 || (wanted == BOOT_ENTRY_64 && !elf.is64) ||
	    (wanted == BOOT_ENTRY_32 && elf.is64 && !pvh))
		return boot_fail(b, "kernel '%s' has no such entry: it is an ELF file %s PVH entry",
				 b->kernel.path, pvh ? "with" : "without");
	r = boot_elf_load(b, &elf);
	if (!r)
		r = boot_write_cmdline(b, BOOT_CMDLINE_MAX);
	if (!r)
		r = boot_load_initrd(b, elf.end, 4 * GIB, &initrd, &initrd_size);
	if (r)
		return r;
	if (!pvh || wanted == BOOT_ENTRY_64)
		return enter_linux(b, &elf, initrd, initrd_size);
	b->rq->format = "PVH";
	enter_pvh(b, entry, initrd, initrd_size);
	return 0;
}
