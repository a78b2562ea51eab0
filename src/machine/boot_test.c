/* Kernel loading with small synthetic images: what the guest finds, and one clear line for each
 * bad file. */
#include "base/bits.h"
#include "base/test.h"
#include "machine/boot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAM     (48 * MIB)
#define PAYLOAD 5000u
#define SETUP   (5u * 512)
#define BZ_SIZE (SETUP + PAYLOAD)
#define INFO    0x2000 /* where the boot information is */
#define CMDLINE "console=ttyS0 quiet"

static char dir[] = "/tmp/pogo-boot-XXXXXX";
static char kernel[64], initrd[64];
static struct mem mem;
static struct x86_cpu cpu;
static u8 image[65536];
static char err[256];
static struct boot_request rq;

static int setup(void **state)
{
	if (mem_init(&mem, RAM))
		return -1;
	memset(&cpu, 0, sizeof(cpu));
	cpu.cr0 = CR0_CD | CR0_NW | CR0_ET;
	memset(image, 0, sizeof(image));
	err[0] = 0;
	rq = (struct boot_request){ .kernel = kernel,
				    .append = CMDLINE,
				    .long_mode = true,
				    .rsdp = 0xe0000,
				    .mem = &mem,
				    .cpu = &cpu };
	return 0;
}

static int teardown(void **state)
{
	mem_fini(&mem);
	return 0;
}

static void write_file(const char *path, const void *data, size_t size)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size, f), size);
	fclose(f);
}

static void loads(size_t size)
{
	write_file(kernel, image, size);
	if (boot_load(&rq, err, sizeof(err)))
		fail_msg("%s", err);
}

/* Fails with one line that names the file and says so. */
static void fails(size_t size, const char *says)
{
	write_file(kernel, image, size);
	err[0] = 0;
	assert_true(boot_load(&rq, err, sizeof(err)) < 0);
	if (!strstr(err, says) || strchr(err, '\n'))
		fail_msg("'%s' does not say '%s'", err, says);
}

static void put(unsigned at, u64 value, unsigned size) { le_store(image + at, value, size); }

static u64 get(gpa_t at, unsigned size)
{
	u64 v = 0;

	assert_true(mem_read(&mem, at, &v, size));
	return v;
}

static void make_initrd(u64 size)
{
	FILE *f = fopen(initrd, "w");

	assert_non_null(f);
	fputs("initrd", f);
	fflush(f);
	assert_int_equal(ftruncate(fileno(f), (off_t)size), 0);
	fclose(f);
	rq.initrd = initrd;
}

static void check_segments(unsigned cs_ar)
{
	assert_int_equal(cpu.seg[CS].sel, 0x10);
	assert_int_equal(cpu.seg[CS].ar, cs_ar);
	assert_int_equal(cpu.seg[CS].limit, 0xffffffff);
	for (unsigned s = ES; s <= GS; s++) {
		assert_int_equal(cpu.seg[s].base, 0);
		if (s != CS) {
			assert_int_equal(cpu.seg[s].sel, 0x18);
			assert_int_equal(cpu.seg[s].ar, 0xc093);
		}
	}
	assert_int_equal(cpu.rflags, 2);
	assert_int_equal(cpu.gdtr.limit, 31);
	assert_int_equal(get(cpu.gdtr.base + 0x18, 8), 0x00cf93000000ffff);
}

/* --- Linux ---------------------------------------------------------------------------------- */

/* A relocatable 64-bit bzImage of protocol 2.15. */
static void make_bzimage(void)
{
	memset(image, 0, sizeof(image));
	image[0x1f1] = 4;
	put(0x1f4, (PAYLOAD + 15) / 16, 4);
	put(0x1fe, 0xaa55, 2);
	put(0x200, 0x66eb, 2);
	memcpy(image + 0x202, "HdrS", 4);
	put(0x206, 0x20f, 2);
	image[0x211] = 1;
	put(0x22c, 0x7fffffff, 4);
	put(0x230, 0x200000, 4);
	image[0x234] = 1;
	put(0x236, 1, 2);
	put(0x238, 255, 4);
	put(0x258, 0x1000000, 8);
	put(0x260, 0x800000, 4);
	for (unsigned i = 0; i < PAYLOAD; i++)
		image[SETUP + i] = (u8)(i * 13 + 5);
}

static void check_payload(void)
{
	u8 got[PAYLOAD];

	assert_true(mem_read(&mem, 0x100000, got, PAYLOAD));
	assert_memory_equal(got, image + SETUP, PAYLOAD);
}

static void linux_64(void **state)
{
	u64 pml4, pdpt, pd;
	char line[32];

	make_bzimage();
	make_initrd(5000);
	loads(BZ_SIZE);
	check_payload();
	check_segments(0xa09b);
	assert_int_equal(cpu.rip, 0x100200);
	assert_int_equal(cpu.gpr[RSI], INFO);
	assert_true(cpu.cr0 == (CR0_PE | CR0_PG | CR0_ET));
	assert_true(cpu.cr4 & CR4_PAE);
	assert_true(cpu.efer == (EFER_LME | EFER_LMA));
	assert_int_equal(get(cpu.gdtr.base + 0x10, 8), 0x00af9b000000ffff);
	/* 3 GiB + 2 MiB maps to itself. */
	pml4 = get(cpu.cr3, 8);
	pdpt = get((pml4 & ~0xfffull) + 3 * 8, 8);
	pd = get((pdpt & ~0xfffull) + 8, 8);
	assert_int_equal(pml4 & 0xfff, 3);
	assert_int_equal(pdpt & 0xfff, 3);
	assert_int_equal(pd, 3 * GIB + 2 * MIB + 0x83);
	/* boot_params */
	assert_int_equal(get(INFO + 0x202, 4), 0x53726448);
	assert_int_equal(get(INFO + 0x1ef, 1), 0);
	assert_int_equal(get(INFO + 0x210, 1), 0xff);
	assert_int_equal(get(INFO + 0x214, 4), 0x100000);
	assert_int_equal(get(INFO + 0x70, 8), 0xe0000);
	assert_int_equal(get(INFO + 0x21c, 4), 5000);
	assert_int_equal(get(INFO + 0x218, 4), RAM - 8192);
	assert_int_equal(get(RAM - 8192, 6), 0x647274696e69);
	assert_true(mem_read(&mem, get(INFO + 0x228, 4), line, sizeof(CMDLINE)));
	assert_string_equal(line, CMDLINE);
	assert_int_equal(get(INFO + 6, 1), 0); /* no VGA */
	assert_string_equal(rq.format, "Linux");
}

static void linux_memory_map(void **state)
{
	u64 n, end = 0;

	make_bzimage();
	rq.vga = true;
	loads(BZ_SIZE);
	n = get(INFO + 0x1e8, 1);
	assert_in_range(n, 4, 8);
	for (u64 i = 0; i < n; i++) {
		u64 e = INFO + 0x2d0 + 20 * i, base = get(e, 8), size = get(e + 8, 8);

		assert_true(base >= end && size > 0);
		end = base + size;
		if (get(e + 16, 4) == 1)
			assert_non_null(mem_host(&mem, base, size));
	}
	assert_int_equal(end, RAM);
	assert_int_equal(get(INFO + 0x1e0, 4), (RAM - MIB) / 1024);
	assert_int_equal(get(INFO + 7, 1), 80);
	assert_int_equal(get(INFO + 15, 1), 1);
	assert_int_equal(get(0x40e, 2), 0x9fc0);
	assert_int_equal(get(0x413, 2), 639);
}

static void linux_32(void **state)
{
	make_bzimage();
	rq.entry = BOOT_ENTRY_32;
	loads(BZ_SIZE);
	check_segments(0xc09b);
	assert_int_equal(cpu.rip, 0x100000);
	assert_int_equal(cpu.gpr[RSI], INFO);
	assert_int_equal(cpu.gpr[RBP] | cpu.gpr[RDI] | cpu.gpr[RBX], 0);
	assert_true(cpu.cr0 == (CR0_PE | CR0_ET));
	assert_true(cpu.efer == 0);
}

static void linux_entry_choice(void **state)
{
	make_bzimage();
	rq.long_mode = false; /* 32-bit processor: the 32-bit entry by itself, 64 refused */
	loads(BZ_SIZE);
	assert_int_equal(cpu.rip, 0x100000);
	rq.entry = BOOT_ENTRY_64;
	fails(BZ_SIZE, "long mode");
	rq.long_mode = true;
	put(0x236, 0, 2); /* a 32-bit kernel */
	fails(BZ_SIZE, "no 64-bit entry");
	rq.entry = BOOT_ENTRY_AUTO;
	loads(BZ_SIZE);
	assert_int_equal(cpu.rip, 0x100000);
	assert_int_equal(boot_entry_parse("auto"), BOOT_ENTRY_AUTO);
	assert_int_equal(boot_entry_parse("64"), BOOT_ENTRY_64);
	assert_int_equal(boot_entry_parse("128"), -1);
}

static void linux_16(void **state)
{
	u64 vector;

	make_bzimage();
	rq.entry = BOOT_ENTRY_16;
	loads(BZ_SIZE);
	check_payload();
	assert_int_equal(cpu.seg[CS].sel, 0x9020);
	assert_int_equal(cpu.seg[CS].base, 0x90200);
	assert_int_equal(cpu.seg[SS].sel, 0x9000);
	assert_int_equal(cpu.rip, 0);
	assert_int_equal(cpu.gpr[RSP], 0xe000);
	assert_false(cpu.cr0 & CR0_PE);
	assert_int_equal(get(0x90202, 4), 0x53726448);
	assert_int_equal(get(0x90211, 1), 0x81); /* CAN_USE_HEAP */
	assert_int_equal(get(0x90224, 2), 0xde00);
	assert_int_equal(get(0x90200, 2), 0x66eb);
	/* Interrupt 15h leads into the stub, which holds the memory map: 0, 639 KiB, RAM. */
	vector = get(0x15 * 4, 4);
	assert_int_equal(vector >> 16, 0xf000);
	assert_int_equal(get(0xfe000, 8), 0);
	assert_int_equal(get(0xfe008, 8), 0x9fc00);
	assert_int_equal(get(0xfe010, 4), 1);
	assert_int_equal(get(0xffff0, 1), 0xea); /* a far jump at the reset vector */
	assert_int_equal(get(0xffff3, 2), 0xf000);
	image[0x1f1] = 115;
	put(0x1f4, 16, 4);
	fails(sizeof(image), "too many for the 16-bit entry");
}

static void linux_bad(void **state)
{
	make_bzimage();
	fails(BZ_SIZE - 100, "truncated");
	fails(SETUP, "truncated");
	fails(SETUP - 1, "truncated");
	fails(0x300, "truncated");
	put(0x206, 0x201, 2);
	fails(BZ_SIZE, "protocol 2.01");
	make_bzimage();
	image[0x211] = 0;
	fails(BZ_SIZE, "zImage");
	make_bzimage();
	put(0x1f4, 0xffffffff, 4);
	fails(BZ_SIZE, "truncated");
	make_bzimage();
	put(0x230, 0, 4);
	fails(BZ_SIZE, "kernel_alignment");
	put(0x230, 3, 4);
	fails(BZ_SIZE, "kernel_alignment");
	make_bzimage();
	put(0x260, 0x7fffffff, 4);
	fails(BZ_SIZE, "2064M");
	put(0x260, 0xffffffff, 4);
	fails(BZ_SIZE, "no machine has");
	make_bzimage();
	put(0x258, ~0ull, 8);
	fails(BZ_SIZE, "memory");
	put(0x258, 1ull << 40, 8);
	fails(BZ_SIZE, "no machine has");
	make_bzimage();
	put(0x230, 0x80000000, 4);
	fails(BZ_SIZE, "memory");
	put(0x201, 0xff, 1); /* a header that claims to reach into the rest of boot_params */
	put(0x230, 0x200000, 4);
	loads(BZ_SIZE);
}

static void linux_initrd_limits(void **state)
{
	make_bzimage(); /* it occupies memory up to 24 MiB */
	make_initrd(24 * MIB);
	loads(BZ_SIZE);
	assert_int_equal(get(INFO + 0x218, 4), 24 * MIB);
	make_initrd(24 * MIB + 1);
	fails(BZ_SIZE, "at least 49M");
	make_initrd(4096 * MIB);
	fails(BZ_SIZE, "this kernel takes at most");
	put(0x22c, 0x1bfffff, 4); /* initrd_addr_max: 28 MiB */
	make_initrd(MIB);
	loads(BZ_SIZE);
	assert_int_equal(get(INFO + 0x218, 4), 27 * MIB);
	make_initrd(5 * MIB);
	fails(BZ_SIZE, "at most 4");
	put(0x22c, 0xffff, 4);
	fails(BZ_SIZE, "at most 0");
	make_initrd(0);
	fails(BZ_SIZE, "empty");
	rq.initrd = "/nonexistent/initrd";
	fails(BZ_SIZE, "No such file");
}

static void linux_command_line(void **state)
{
	static char line[70000];

	make_bzimage();
	memset(line, 'a', 255);
	rq.append = line;
	loads(BZ_SIZE);
	line[255] = 'a';
	fails(BZ_SIZE, "256 characters; this kernel takes 255");
	put(0x238, 0xffffffff, 4);
	memset(line, 'a', 65535);
	loads(BZ_SIZE);
	line[65535] = 'a';
	fails(BZ_SIZE, "65536 characters");
}

/* --- Multiboot ------------------------------------------------------------------------------ */

#define MB_LOAD 0x200000u

/* A flat image with its header 64 bytes in. */
static void make_flat(u32 flags)
{
	memset(image, 0, sizeof(image));
	put(64, 0x1badb002, 4);
	put(68, flags, 4);
	put(72, (u32) - (0x1badb002 + flags), 4);
	put(76, MB_LOAD + 32, 4); /* header_addr: loading starts 32 bytes into the file */
	put(80, MB_LOAD, 4);
	put(84, MB_LOAD + 1000, 4);
	put(88, MB_LOAD + 5000, 4);
	put(92, MB_LOAD + 0x40, 4);
	memset(image + 1032, 0x77, 100); /* beyond load_end_addr */
}

static void multiboot_flat(void **state)
{
	u64 n, at;
	char name[40];

	make_flat(0x10003);
	make_initrd(6000);
	mem.ram->host[MB_LOAD + 4999] = 1; /* the bss is cleared */
	loads(2000);
	assert_string_equal(rq.format, "multiboot");
	check_segments(0xc09b);
	assert_int_equal(cpu.rip, MB_LOAD + 0x40);
	assert_int_equal(cpu.gpr[RAX], 0x2badb002);
	assert_int_equal(cpu.gpr[RBX], INFO);
	assert_int_equal(get(MB_LOAD + 32, 4), 0x1badb002);
	assert_int_equal(get(MB_LOAD + 1000, 4), 0);
	assert_int_equal(get(MB_LOAD + 4999, 1), 0);
	assert_int_equal(get(INFO, 4) & 0x4d, 0x4d);
	assert_int_equal(get(INFO + 4, 4), 639);
	assert_int_equal(get(INFO + 8, 4), RAM / 1024 - 1024);
	assert_true(mem_read(&mem, get(INFO + 16, 4), name, sizeof(name)));
	assert_string_equal(name, "kernel " CMDLINE);
	assert_int_equal(get(INFO + 20, 4), 1);
	at = get(INFO + 24, 4);
	assert_int_equal(get(at, 4) % 4096, 0);
	assert_int_equal(get(at + 4, 4) - get(at, 4), 6000);
	assert_int_equal(get(get(at, 4), 6), 0x647274696e69);
	assert_true(mem_read(&mem, get(at + 8, 4), name, 7));
	assert_string_equal(name, "initrd");
	n = get(INFO + 44, 4);
	at = get(INFO + 48, 4);
	assert_int_equal(n % 24, 0);
	assert_int_equal(get(at, 4), 20);
	assert_int_equal(get(at + 12, 8), 0x9fc00);
	assert_int_equal(get(at + 20, 4), 1);
}

static void multiboot_bad(void **state)
{
	make_flat(0x10000);
	fails(1031, "truncated");
	put(76, MB_LOAD - 4, 4); /* header below the load address */
	fails(2000, "contradict");
	put(76, MB_LOAD + 100, 4); /* loading would start before the file */
	fails(2000, "contradict");
	make_flat(0x10000);
	put(84, MB_LOAD - 1, 4);
	fails(2000, "contradict");
	make_flat(0x10000);
	put(88, MB_LOAD + 10, 4);
	fails(2000, "contradict");
	make_flat(0x10000);
	put(88, 0xffffffff, 4);
	fails(2000, "memory");
	make_flat(0x10000);
	put(76, 0x9000, 4);
	put(80, 0x9000 - 32, 4);
	put(84, 0, 4);
	put(88, 0, 4);
	fails(2000, "first MiB");
	make_flat(0x10008);
	fails(2000, "features 0x8");
	make_flat(0x10000);
	rq.entry = BOOT_ENTRY_64;
	fails(2000, "32-bit entry only");
	rq.entry = BOOT_ENTRY_AUTO;
	make_flat(0);
	fails(2000, "neither ELF");
	make_flat(0x10000);
	image[72]++; /* checksum */
	fails(2000, "not a kernel");
}

/* --- ELF ------------------------------------------------------------------------------------ */

#define PH(n) (is64 ? 64 + 56 * (n) : 52 + 32 * (n))

static void put_segment(bool is64, unsigned n, u32 type, u64 offset, u64 vaddr, u64 paddr,
			u64 filesz, u64 memsz)
{
	unsigned at = PH(n);

	put(at, type, 4);
	if (is64) {
		put(at + 8, offset, 8);
		put(at + 16, vaddr, 8);
		put(at + 24, paddr, 8);
		put(at + 32, filesz, 8);
		put(at + 40, memsz, 8);
		put(at + 48, 4, 8);
	} else {
		put(at + 4, offset, 4);
		put(at + 8, vaddr, 4);
		put(at + 12, paddr, 4);
		put(at + 16, filesz, 4);
		put(at + 20, memsz, 4);
		put(at + 28, 4, 4);
	}
}

/* Two loaded segments and a PVH note; the entry is a virtual address of the first segment. */
static void make_elf(bool is64, bool note)
{
	memset(image, 0, sizeof(image));
	memcpy(image, "\177ELF", 4);
	image[4] = is64 ? 2 : 1;
	image[5] = image[6] = 1;
	put(16, 2, 2);
	put(18, is64 ? 62 : 3, 2);
	put(20, 1, 4);
	if (is64) {
		put(24, 0xffffffff80200010, 8);
		put(32, 64, 8);
		put(54, 56, 2);
		put(56, 3, 2);
	} else {
		put(24, 0xc0200010, 4);
		put(28, 52, 4);
		put(42, 32, 2);
		put(44, 3, 2);
	}
	put_segment(is64, 0, 1, 4096, is64 ? 0xffffffff80200000 : 0xc0200000, 0x200000, 256, 512);
	put_segment(is64, 1, 1, 4352, 0, 0x300000, 16, 0x10000);
	put_segment(is64, 2, note ? 4 : 0, 8192, 0, 0, 64, 64);
	memset(image + 4096, 0x11, 256);
	memset(image + 4352, 0x22, 16);
	/* Somebody else's note, then Xen's. */
	put(8192, 4, 4);
	put(8196, 5, 4);
	put(8200, 18, 4);
	memcpy(image + 8204, "GNU", 4);
	put(8216, 4, 4);
	put(8220, 4, 4);
	put(8224, 18, 4);
	memcpy(image + 8228, "Xen", 4);
	put(8232, 0x200020, 4);
}

static void pvh(void **state)
{
	for (unsigned is64 = 0; is64 < 2; is64++) {
		u64 modules, map;

		make_elf(is64, true);
		make_initrd(4096);
		mem.ram->host[0x2001ff] = 1;
		loads(10000);
		assert_string_equal(rq.format, "PVH");
		check_segments(0xc09b);
		assert_int_equal(cpu.rip, 0x200020);
		assert_int_equal(cpu.gpr[RBX], INFO);
		assert_int_equal(cpu.seg[TR].limit, 0x67);
		assert_int_equal(cpu.seg[TR].ar, 0x8b);
		assert_int_equal(get(0x2000ff, 1), 0x11);
		assert_int_equal(get(0x200100, 8), 0);
		assert_int_equal(get(0x2001ff, 1), 0);
		assert_int_equal(get(0x30000f, 2), 0x22);
		assert_int_equal(get(INFO, 4), 0x336ec578);
		assert_int_equal(get(INFO + 4, 4), 1);
		assert_int_equal(get(INFO + 12, 4), 1);
		modules = get(INFO + 16, 8);
		assert_int_equal(get(modules, 8), RAM - 4096);
		assert_int_equal(get(modules + 8, 8), 4096);
		assert_int_equal(get(INFO + 32, 8), 0xe0000);
		map = get(INFO + 40, 8);
		assert_int_equal(get(map + 8, 8), 0x9fc00);
		assert_int_equal(get(map + 16, 4), 1);
	}
}

static void elf_linux(void **state)
{
	make_elf(true, false);
	loads(10000);
	assert_string_equal(rq.format, "Linux ELF");
	check_segments(0xa09b);
	assert_int_equal(cpu.rip, 0x200010); /* physical */
	assert_int_equal(cpu.gpr[RSI], INFO);
	assert_int_equal(get(INFO + 0x202, 4), 0x53726448);
	assert_int_equal(get(INFO + 0x70, 8), 0xe0000);
	rq.long_mode = false;
	fails(10000, "long mode");
	rq.long_mode = true;
	rq.entry = BOOT_ENTRY_16;
	fails(10000, "no such entry");
	rq.entry = BOOT_ENTRY_AUTO;
	make_elf(false, false);
	loads(10000);
	check_segments(0xc09b);
	assert_int_equal(cpu.rip, 0x200010);
}

static void multiboot_elf(void **state)
{
	make_elf(false, true);
	put(1024, 0x1badb002, 4);
	put(1032, (u32)-0x1badb002, 4);
	loads(10000);
	assert_string_equal(rq.format, "multiboot");
	assert_int_equal(cpu.rip, 0x200010);
	assert_int_equal(get(0x2000ff, 1), 0x11);
}

static void elf_bad(void **state)
{
	for (unsigned is64 = 0; is64 < 2; is64++) {
		make_elf(is64, true);
		fails(8200, "truncated"); /* within the notes */
		fails(4360, "truncated");
		fails(40, "ELF");
		put(18, 183, 2); /* another processor */
		fails(10000, "another kind of processor");
		make_elf(is64, true);
		image[5] = 2; /* big endian */
		fails(10000, "another kind of processor");
		make_elf(is64, true);
		put(16, 1, 2);
		fails(10000, "not an executable");
		make_elf(is64, true);
		put(is64 ? 56 : 44, 0xffff, 2);
		fails(10000, "program headers");
		put(is64 ? 56 : 44, 0, 2);
		fails(10000, "program headers");
		make_elf(is64, true);
		put(is64 ? 54 : 42, 8, 2);
		fails(10000, "program headers");
		make_elf(is64, true);
		put(is64 ? 32 : 28, is64 ? ~0ull : 0xffffffff, is64 ? 8 : 4);
		fails(10000, "truncated");
		make_elf(is64, true);
		put_segment(is64, 1, 1, 4352, 0, 0x2001ff, 16, 16);
		fails(10000, "overlap");
		put_segment(is64, 1, 1, 4352, 0, 0x300000, 16, 15);
		fails(10000, "larger in the file");
		put_segment(is64, 1, 1, 4352, 0, 0x300000, 0x10000, 0x10000);
		fails(10000, "truncated");
		put_segment(is64, 1, 1, 4352, 0, 0x8000, 16, 16);
		fails(10000, "first MiB");
		put_segment(is64, 1, 1, 4352, 0, RAM - 8, 16, 16);
		fails(10000, "at least 49M");
		put_segment(is64, 1, 1, 4352, 0, 0xffffffffffffff00, 16, 0xfffffff0);
		fails(10000, "memory");
		make_elf(is64, true);
		put_segment(is64, 0, 6, 0, 0, 0, 0, 0);
		put_segment(is64, 1, 6, 0, 0, 0, 0, 0);
		fails(10000, "nothing to load");
		/* Notes with sizes that lead nowhere: no PVH entry. */
		make_elf(is64, true);
		put(8192, 0xffffffff, 4);
		loads(10000);
		assert_string_equal(rq.format, "Linux ELF");
		make_elf(is64, true); /* the note ends beyond its segment */
		put_segment(is64, 2, 4, 8192, 0, 0, 40, 40);
		loads(10000);
		assert_string_equal(rq.format, "Linux ELF");
		make_elf(is64, true);
		put(8196, 0xfffffff0, 4);
		loads(10000);
		assert_string_equal(rq.format, "Linux ELF");
	}
}

/* --- Other files ---------------------------------------------------------------------------- */

static void strangers(void **state)
{
	fails(0, "empty");
	fails(3, "not a kernel");
	fails(60000, "not a kernel");
	memcpy(image, "\x1f\x8b", 2);
	fails(60000, "gzip");
	memcpy(image, "070701", 6);
	fails(60000, "initrd");
	memcpy(image, "QFI\xfb", 4);
	fails(60000, "--disk");
	rq.kernel = dir;
	fails(0, "not a regular file");
	rq.kernel = "/nonexistent/kernel";
	fails(0, "No such file");
	rq.kernel = "/dev/zero";
	fails(0, "not a regular file");
}

/* Every byte of each header set to hostile values: loads or fails, never anything worse. */
static void hostile_headers(void **state)
{
	static const u8 values[] = { 0, 1, 0x7f, 0x80, 0xff };

	for (unsigned kind = 0; kind < 4; kind++) {
		unsigned first = kind == 0 ? 0x1f0 : 0, last = kind == 0 ? 0x270 : 0xe0;

		for (unsigned at = first; at < last; at++) {
			for (unsigned v = 0; v < ARRAY_LEN(values); v++) {
				if (kind == 0)
					make_bzimage();
				else if (kind == 1)
					make_flat(0x10003);
				else
					make_elf(kind == 3, true);
				image[at] = values[v];
				write_file(kernel, image, 10000);
				rq.initrd = NULL;
				err[0] = 0;
				if (boot_load(&rq, err, sizeof(err)))
					assert_true(err[0] && !strchr(err, '\n'));
			}
		}
	}
}

static void mtrrs(void **state)
{
	boot_set_mtrrs(&cpu, 40);
	assert_int_equal(cpu.mtrr_def_type, 0xc06);
	assert_int_equal(cpu.mtrr_fix[0], 0x0606060606060606);
	assert_int_equal(cpu.mtrr_fix[2], 0);
	assert_int_equal(cpu.mtrr_phys[0], 0xc0000000);
	assert_int_equal(cpu.mtrr_phys[1], 0xffc0000800);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(linux_64),
		TEST(linux_memory_map),
		TEST(linux_32),
		TEST(linux_entry_choice),
		TEST(linux_16),
		TEST(linux_bad),
		TEST(linux_initrd_limits),
		TEST(linux_command_line),
		TEST(multiboot_flat),
		TEST(multiboot_bad),
		TEST(multiboot_elf),
		TEST(pvh),
		TEST(elf_linux),
		TEST(elf_bad),
		TEST(strangers),
		TEST(hostile_headers),
		TEST(mtrrs),
	};
	int failed;

	assert_non_null(mkdtemp(dir));
	snprintf(kernel, sizeof(kernel), "%s/kernel", dir);
	snprintf(initrd, sizeof(initrd), "%s/initrd", dir);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests_name("boot", tests, NULL, NULL);
	unlink(kernel);
	unlink(initrd);
	rmdir(dir);
	return failed;
}
