/* ELF images for x86 (System V ABI, chapters 4 and 5). */
#include "machine/boot_internal.h"

#include "base/trace.h"

#include <elf.h>
#include <string.h>

bool boot_is_elf(const struct boot *b) { return !memcmp(b->head, ELFMAG, SELFMAG); }

int boot_check_range(struct boot *b, u64 base, u64 size)
{
	if (base + size >= base && base >= BOOT_HIGH && mem_host(b->mem, base, size))
		return 0;
	if (base < BOOT_HIGH)
		return boot_fail(b,
				 "kernel '%s' wants to be loaded at %#llx; the first MiB is taken",
				 b->kernel.path, (unsigned long long)base);
	return boot_no_room(b, base + size < base ? UINT64_MAX : base + size);
}

static struct boot_segment segment_32(const u8 *p)
{
	Elf32_Phdr h;

	memcpy(&h, p, sizeof(h));
	return (struct boot_segment){ h.p_type,   h.p_offset, h.p_vaddr, h.p_paddr,
				      h.p_filesz, h.p_memsz,  h.p_align };
}

static struct boot_segment segment_64(const u8 *p)
{
	Elf64_Phdr h;

	memcpy(&h, p, sizeof(h));
	return (struct boot_segment){ h.p_type,   h.p_offset, h.p_vaddr, h.p_paddr,
				      h.p_filesz, h.p_memsz,  h.p_align };
}

/* Where the program headers are. */
struct table {
	u64 offset;
	unsigned count, entry_size;
};

static int parse_header(struct boot *b, struct boot_elf *elf, struct table *t)
{
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;
	unsigned machine, type;

	elf->is64 = b->head[EI_CLASS] == ELFCLASS64;
	memcpy(&h64, b->head, sizeof(h64));
	memcpy(&h32, b->head, sizeof(h32));
	machine = h64.e_machine; /* the same place in both classes */
	type = h64.e_type;
	if (b->head[EI_DATA] != ELFDATA2LSB ||
	    (elf->is64 ? machine != EM_X86_64 : machine != EM_386 && machine != EM_X86_64) ||
	    (!elf->is64 && b->head[EI_CLASS] != ELFCLASS32))
		return boot_fail(b, "kernel '%s' is an ELF file for another kind of processor",
				 b->kernel.path);
	if (type != ET_EXEC && type != ET_DYN)
		return boot_fail(b, "kernel '%s' is an ELF file, but not an executable",
				 b->kernel.path);
	if (elf->is64) {
		*t = (struct table){ h64.e_phoff, h64.e_phnum, h64.e_phentsize };
		elf->entry = h64.e_entry;
	} else {
		*t = (struct table){ h32.e_phoff, h32.e_phnum, h32.e_phentsize };
		elf->entry = h32.e_entry;
	}
	if (t->entry_size != (elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    t->count == 0 || t->count > BOOT_ELF_SEGMENTS)
		return boot_fail(b, "kernel '%s': ELF program headers: %u of %u bytes",
				 b->kernel.path, t->count, t->entry_size);
	return 0;
}

static bool overlap(const struct boot_segment *a, const struct boot_segment *b)
{
	return a->paddr < b->paddr + b->mem_size && b->paddr < a->paddr + a->mem_size;
}

/* A segment that is to be loaded, against the file, the memory, and the segments before it. */
static int check_segment(struct boot *b, const struct boot_elf *elf, unsigned n)
{
	const struct boot_segment *s = &elf->segment[n];
	int r;

	if (s->offset > b->kernel.size || s->file_size > b->kernel.size - s->offset)
		return boot_fail(b, "kernel '%s' is truncated: ELF segment %u is not in the file",
				 b->kernel.path, n);
	if (s->file_size > s->mem_size)
		return boot_fail(b,
				 "kernel '%s': ELF segment %u is larger in the file than in memory",
				 b->kernel.path, n);
	r = boot_check_range(b, s->paddr, s->mem_size);
	for (unsigned i = 0; i < n && !r; i++) {
		if (elf->segment[i].type == PT_LOAD && elf->segment[i].mem_size &&
		    overlap(s, &elf->segment[i]))
			r = boot_fail(b, "kernel '%s': ELF segments %u and %u overlap",
				      b->kernel.path, i, n);
	}
	return r;
}

/* Kernels that run high give their entry as a virtual address. */
static u64 physical_entry(const struct boot_elf *elf)
{
	for (unsigned i = 0; i < elf->count; i++) {
		const struct boot_segment *s = &elf->segment[i];

		if (s->type == PT_LOAD && elf->entry - s->vaddr < s->mem_size)
			return elf->entry - s->vaddr + s->paddr;
	}
	return elf->entry;
}

int boot_elf_parse(struct boot *b, struct boot_elf *elf)
{
	u8 table[BOOT_ELF_SEGMENTS * sizeof(Elf64_Phdr)];
	struct table t = { 0 };
	int r;

	memset(elf, 0, sizeof(*elf));
	r = parse_header(b, elf, &t);
	if (r)
		return r;
	if (t.offset > b->kernel.size || t.count * t.entry_size > b->kernel.size - t.offset)
		return boot_fail(b, "kernel '%s' is truncated: no ELF program headers",
				 b->kernel.path);
	r = boot_read(b, &b->kernel, t.offset, table, (u64)t.count * t.entry_size);
	elf->count = t.count;
	for (unsigned i = 0; i < t.count && !r; i++) {
		struct boot_segment *s = &elf->segment[i];

		*s = (elf->is64 ? segment_64 : segment_32)(table + (size_t)i * t.entry_size);
		if (s->type != PT_LOAD || s->mem_size == 0)
			continue;
		r = check_segment(b, elf, i);
		elf->end = MAX(elf->end, s->paddr + s->mem_size);
	}
	if (!r && elf->end == 0)
		r = boot_fail(b, "kernel '%s' is an ELF file with nothing to load", b->kernel.path);
	elf->entry = physical_entry(elf);
	return r;
}

int boot_elf_load(struct boot *b, const struct boot_elf *elf)
{
	int r = 0;

	for (unsigned i = 0; i < elf->count && !r; i++) {
		const struct boot_segment *s = &elf->segment[i];

		if (s->type != PT_LOAD || s->mem_size == 0)
			continue;
		trace(BOOT, "segment %u: %#llx bytes to %#llx", i, (unsigned long long)s->mem_size,
		      (unsigned long long)s->paddr);
		r = boot_copy(b, &b->kernel, s->offset, s->paddr, s->file_size);
		boot_zero(b, s->paddr + s->file_size, s->mem_size - s->file_size);
	}
	return r;
}
