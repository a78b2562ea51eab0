/* Direct kernel boot: finds the format, and what the loaders share. Kernel and ramdisk are
 * hostile input: every number in them is checked, each failure is one line. */
#include "machine/boot_internal.h"

#include "base/fail.h"
#include "base/trace.h"
#include "machine/bios_stub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (64 * KIB)

int boot_fail(struct boot *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b->err, b->errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* MiB, rounded up, for messages. */
static unsigned long long mib(u64 size) { return size / MIB + (size % MIB != 0); }

int boot_no_room(struct boot *b, u64 end)
{
	if (end > MEM_LOW_MAX)
		return boot_fail(
			b,
			"kernel '%s' wants memory up to %#llx, which no machine has in one piece",
			b->kernel.path, (unsigned long long)end);
	return boot_fail(b,
			 "kernel '%s' does not fit in %llu MiB of memory: it needs at least %lluM",
			 b->kernel.path, mib(b->mem->size), mib(end));
}

/* --- Files ---------------------------------------------------------------------------------- */

static int open_file(struct boot *b, struct boot_file *f, const char *what, const char *path)
{
	struct stat st;

	f->what = what;
	f->path = path;
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us up */
	if (f->fd < 0)
		return boot_fail(b, "%s '%s': %s", what, path, fail_text(errno));
	if (fstat(f->fd, &st) < 0)
		return boot_fail(b, "%s '%s': %s", what, path, fail_text(errno));
	if (!S_ISREG(st.st_mode))
		return boot_fail(b, "%s '%s' is not a regular file", what, path);
	if (st.st_size == 0)
		return boot_fail(b, "%s '%s' is empty", what, path);
	f->size = (u64)st.st_size;
	return 0;
}

int boot_read(struct boot *b, const struct boot_file *f, u64 offset, void *buf, u64 size)
{
	u64 done = 0;

	while (done < size) {
		ssize_t n = pread(f->fd, (u8 *)buf + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return boot_fail(b, "%s '%s': %s", f->what, f->path, fail_text(errno));
		if (n == 0)
			return boot_fail(b, "%s '%s' is truncated", f->what, f->path);
		done += (u64)n;
	}
	return 0;
}

int boot_copy(struct boot *b, const struct boot_file *f, u64 offset, gpa_t gpa, u64 size)
{
	u8 buf[CHUNK];

	if (offset > f->size || size > f->size - offset)
		return boot_fail(b, "%s '%s' is truncated", f->what, f->path);
	for (u64 done = 0; done < size; done += CHUNK) {
		u64 n = MIN(size - done, CHUNK);
		int r = boot_read(b, f, offset + done, buf, n);

		if (r)
			return r;
		if (!mem_write(b->mem, gpa + done, buf, n))
			return boot_fail(b, "%s '%s' does not fit in memory: %#llx is not RAM",
					 f->what, f->path, (unsigned long long)(gpa + done));
	}
	return 0;
}

void boot_write(struct boot *b, gpa_t gpa, const void *buf, u64 size)
{
	if (!mem_write(b->mem, gpa, buf, size))
		trace(BOOT, "%#llx is not RAM", (unsigned long long)gpa);
}

void boot_zero(struct boot *b, gpa_t gpa, u64 size)
{
	static const u8 zeros[MEM_PAGE];

	for (u64 done = 0; done < size; done += MEM_PAGE)
		boot_write(b, gpa + done, zeros, MIN(size - done, MEM_PAGE));
}

int boot_load_initrd(struct boot *b, u64 floor, u64 ceiling, gpa_t *at, u64 *size)
{
	const struct boot_file *f = &b->initrd;
	u64 top = MIN(ceiling, b->mem->low_end), most = MIN(ceiling, MEM_LOW_MAX);

	*at = *size = 0;
	if (f->fd < 0)
		return 0;
	if (f->size > top || align_down(top - f->size, MEM_PAGE) < floor) {
		u64 end = align_up(floor, MEM_PAGE) + align_up(f->size, MEM_PAGE);

		if (end > most)
			return boot_fail(
				b, "initrd '%s' has %llu MiB; this kernel takes at most %llu",
				f->path, mib(f->size),
				most > floor ? (most - floor) / (unsigned long long)MIB : 0);
		return boot_fail(b,
				 "initrd '%s' (%llu MiB) does not fit in memory beside the kernel: "
				 "they need at least %lluM",
				 f->path, mib(f->size), mib(end));
	}
	*at = align_down(top - f->size, MEM_PAGE);
	*size = f->size;
	return boot_copy(b, f, 0, *at, f->size);
}

int boot_write_cmdline(struct boot *b, u64 max)
{
	u64 length = strlen(b->append);

	max = MIN(max, BOOT_CMDLINE_MAX);
	if (length > max)
		return boot_fail(
			b, "the kernel command line has %llu characters; this kernel takes %llu",
			(unsigned long long)length, (unsigned long long)max);
	boot_write(b, BOOT_CMDLINE, b->append, length + 1);
	return 0;
}

/* --- Memory map ----------------------------------------------------------------------------- */

unsigned boot_memory_map(const struct mem *mem, struct boot_range ranges[BOOT_RANGES])
{
	unsigned n = 0;

	ranges[n++] = (struct boot_range){ 0, BOOT_EBDA, 1 };
	ranges[n++] = (struct boot_range){ BOOT_EBDA, MEM_HOLE_BASE - BOOT_EBDA, 2 };
	/* Where firmware would be: the ACPI tables and the BIOS stub are here. */
	ranges[n++] = (struct boot_range){ 0xe0000, BOOT_HIGH - 0xe0000, 2 };
	if (mem->low_end > BOOT_HIGH)
		ranges[n++] = (struct boot_range){ BOOT_HIGH, mem->low_end - BOOT_HIGH, 1 };
	if (mem->high_end > 4 * GIB)
		ranges[n++] = (struct boot_range){ 4 * GIB, mem->high_end - 4 * GIB, 1 };
	return n;
}

/* --- Processor ------------------------------------------------------------------------------ */

#define SEL_CODE 0x10
#define SEL_DATA 0x18

#define PTE_TABLE 0x003ull /* present, writable */
#define PTE_2M    0x083ull /* and a 2 MiB page */

/* PML4, one PDPT and four page directories: linear is physical below 4 GiB. */
static void write_page_tables(struct boot *b)
{
	u64 table[512] = { BOOT_PAGE_TABLES + 0x1000 + PTE_TABLE };

	boot_write(b, BOOT_PAGE_TABLES, table, sizeof(table));
	for (unsigned i = 0; i < 4; i++)
		table[i] = BOOT_PAGE_TABLES + 0x2000 + i * 0x1000ull + PTE_TABLE;
	boot_write(b, BOOT_PAGE_TABLES + 0x1000, table, sizeof(table));
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned j = 0; j < 512; j++)
			table[j] = (i * 512ull + j) * (2 * MIB) + PTE_2M;
		boot_write(b, BOOT_PAGE_TABLES + 0x2000 + i * 0x1000ull, table, sizeof(table));
	}
}

void boot_enter_flat(struct boot *b, unsigned bits, u64 rip)
{
	static const u64 flat_code[] = { 0x00cf9b000000ffff, 0x00af9b000000ffff };
	const u64 gdt[] = { 0, 0, flat_code[bits == 64], 0x00cf93000000ffff };
	const struct x86_seg code = {
		.sel = SEL_CODE,
		.ar = (u32)((bits == 64 ? AR_L : AR_DB) | AR_G | AR_P | AR_S | AR_CODE | AR_WR |
			    AR_A),
		.limit = 0xffffffff,
	};
	const struct x86_seg data = {
		.sel = SEL_DATA,
		.ar = (u32)(AR_DB | AR_G | AR_P | AR_S | AR_WR | AR_A),
		.limit = 0xffffffff,
	};
	struct x86_cpu *cpu = b->cpu;

	boot_write(b, BOOT_GDT, gdt, sizeof(gdt));
	cpu->gdtr = (struct x86_dtr){ BOOT_GDT, sizeof(gdt) - 1 };
	cpu->idtr = (struct x86_dtr){ 0, 0 };
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->gpr[RSP] = BOOT_STACK;
	for (unsigned s = ES; s <= GS; s++)
		cpu->seg[s] = s == CS ? code : data;
	cpu->rip = rip;
	cpu->cpl = 0;
	x86_set_rflags(cpu, FL_FIXED);
	cpu->cr0 = CR0_PE | CR0_ET; /* caches on, as firmware leaves them */
	if (bits == 64) {
		write_page_tables(b);
		cpu->cr3 = BOOT_PAGE_TABLES;
		cpu->cr4 |= CR4_PAE;
		cpu->efer |= EFER_LME | EFER_LMA;
		cpu->cr0 |= CR0_PG;
	}
}

/* SDM 3A 12.11. Write-back but for the VGA window and the hole for PCI below 4 GiB. */
void boot_set_mtrrs(struct x86_cpu *cpu, unsigned phys_bits)
{
	const u64 wb = 0x0606060606060606;

	for (unsigned i = 0; i < ARRAY_LEN(cpu->mtrr_fix); i++)
		cpu->mtrr_fix[i] = wb;
	cpu->mtrr_fix[2] = 0;            /* IA32_MTRR_FIX16K_A0000 */
	cpu->mtrr_phys[0] = MEM_LOW_MAX; /* base, type UC */
	cpu->mtrr_phys[1] = (bits_mask(phys_bits) & ~(4 * GIB - MEM_LOW_MAX - 1)) | BIT(11);
	cpu->mtrr_def_type = BIT(11) | BIT(10) | 6; /* E, FE, write-back */
}

/* --- Formats -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	bool (*match)(const struct boot *b);
	int (*load)(struct boot *b);
} formats[] = {
	{ "Linux", boot_linux_match, boot_linux_load },
	{ "multiboot", boot_multiboot_match, boot_multiboot_load },
	{ "ELF", boot_pvh_match, boot_pvh_load },
};

/* Other files that people try, by their first bytes. */
static const struct {
	const char *magic;
	u8 size;
	const char *what;
} strangers[] = {
	{ "\x1f\x8b", 2, "a gzip file: unpack it first" },
	{ "\xfd"
	  "7zXZ",
	  5, "an xz file: unpack it first" },
	{ "\x28\xb5\x2f\xfd", 4, "a zstd file: unpack it first" },
	{ "BZh", 3, "a bzip2 file: unpack it first" },
	{ "070701", 6, "a cpio archive: perhaps the initrd" },
	{ "!<arch>", 7, "a package: unpack it first" },
	{ "QFI\xfb", 4, "a disk image: give it with --disk" },
	{ "#!", 2, "a script" },
};

static int load_kernel(struct boot *b)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (!formats[i].match(b))
			continue;
		b->rq->format = formats[i].name;
		trace(BOOT, "'%s' is a %s kernel", b->kernel.path, formats[i].name);
		return formats[i].load(b);
	}
	for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
		if (!memcmp(b->head, strangers[i].magic, strangers[i].size))
			return boot_fail(b, "kernel '%s' is %s", b->kernel.path, strangers[i].what);
	}
	return boot_fail(
		b,
		"kernel '%s' is not a kernel that can be started: neither a Linux bzImage, nor "
		"multiboot, nor ELF",
		b->kernel.path);
}

/* The words of the BIOS data area that systems look at: EBDA segment, KiB of low memory. */
static void write_bios_data(struct boot *b)
{
	const u16 ebda = BOOT_EBDA >> 4, low_kib = BOOT_EBDA / KIB;
	const u8 ebda_kib = 1;

	boot_write(b, 0x40e, &ebda, 2);
	boot_write(b, 0x413, &low_kib, 2);
	boot_write(b, BOOT_EBDA, &ebda_kib, 1);
}

int boot_load(struct boot_request *rq, char *err, size_t errlen)
{
	struct boot b = {
		.rq = rq,
		.mem = rq->mem,
		.cpu = rq->cpu,
		.kernel.fd = -1,
		.initrd.fd = -1,
		.append = rq->append ? rq->append : "",
		.err = err,
		.errlen = errlen,
	};
	int r = open_file(&b, &b.kernel, "kernel", rq->kernel);

	if (!r && rq->initrd)
		r = open_file(&b, &b.initrd, "initrd", rq->initrd);
	if (!r)
		r = boot_read(&b, &b.kernel, 0, b.head, MIN(b.kernel.size, BOOT_HEAD));
	if (!r) {
		write_bios_data(&b);
		bios_stub_install(&b);
		r = load_kernel(&b);
	}
	if (b.kernel.fd >= 0)
		close(b.kernel.fd);
	if (b.initrd.fd >= 0)
		close(b.initrd.fd);
	return r;
}

int boot_entry_parse(const char *text)
{
	static const char *const names[] = { "auto", "16", "32", "64" };

	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		if (!strcmp(text, names[i]))
			return (int)i;
	}
	return -1;
}
