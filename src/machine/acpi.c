/* ACPI tables of the board: RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET (ACPI 6.4, 5.2; IA-PC HPET 1.0a, 3.2.4) and the DSDT. They are made
 * once as an image with a list of its pointers and checksums. Either those are resolved for a place in guest memory, or the list becomes
 * commands for firmware. */
#include "machine/acpi.h"

#include "base/bits.h"
#include "base/trace.h"
#include "dev/piix4.h"
#include "machine/acpi_dsdt.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define HEADER_SIZE 36u
#define CHECKSUM    9u /* of a table header */
#define RSDP_SIZE   36u
#define FADT_SIZE   244u /* revision 3 */
#define FACS_SIZE   64u
#define HPET_SIZE   56u

/* FADT */
#define FADT_FLAGS                                                                   \
	(BIT(0) /* WBINVD */ | BIT(2) /* PROC_C1 */ | BIT(5) /* no sleep button */ | \
	 BIT(6) /* no RTC wake */ | BIT(10) /* RESET_REG */)
#define BOOT_ARCH_LEGACY BIT(0)
#define BOOT_ARCH_8042   BIT(1)
#define BOOT_ARCH_NO_VGA BIT(2)
#define RESET_PORT       0xcf9
#define RESET_VALUE      0x06
#define CENTURY_CMOS     0x32

/* MADT interrupt flags: polarity in bits 1..0, trigger in bits 3..2 */
#define LEVEL_ACTIVE_LOW 0xf

#define TABLES_ALIGN 64u /* of the FACS */
#define TABLES_BASE  (ACPI_AREA_BASE + TABLES_ALIGN)
#define TABLES_MAX   ((u32)(ACPI_AREA_END - TABLES_BASE))
#define POINTERS     16u
#define SUMS         8u

/* --- The image ------------------------------------------------------------------------------ */

enum part { PART_TABLES, PART_RSDP, PARTS };

struct image {
	u8 tables[TABLES_MAX];
	u32 used;
	bool overflow;
	u8 rsdp[RSDP_SIZE];
	/* Offsets in `tables` that stand where addresses belong. */
	struct pointer {
		enum part part;
		u32 at;
		u8 size;
	} pointer[POINTERS];
	unsigned pointers;
	/* Bytes that make the sum of a range 0. */
	struct sum {
		enum part part;
		u32 at, start, size;
	} sum[SUMS];
	unsigned sums;
};

/* Room for a table, zeroed. When the image is full its start is returned and the mark set. */
static u8 *reserve(struct image *b, u32 size, u32 align)
{
	u32 at = (u32)align_up(b->used, align);

	if (at + size > sizeof(b->tables)) {
		b->overflow = true;
		at = 0;
		size = (u32)MIN(size, sizeof(b->tables));
	}
	b->used = MAX(b->used, at + size);
	memset(b->tables + at, 0, size);
	return b->tables + at;
}

static u8 *part_bytes(struct image *b, enum part part)
{
	return part == PART_RSDP ? b->rsdp : b->tables;
}

/* The bytes at p point to a table. */
static void put_pointer(struct image *b, enum part part, u8 *p, u32 target, u8 size)
{
	assert(b->pointers < POINTERS);
	b->pointer[b->pointers++] = (struct pointer){ part, (u32)(p - part_bytes(b, part)), size };
	le_store(p, target, size);
}

static void put_sum(struct image *b, enum part part, const u8 *start, u32 size, u32 at)
{
	u32 offset = (u32)(start - part_bytes(b, part));

	assert(b->sums < SUMS);
	b->sum[b->sums++] = (struct sum){ part, offset + at, offset, size };
}

/* Fills in the header of a table; returns its offset. */
static u32 seal(struct image *b, u8 *t, const char *signature, u8 revision, u32 size)
{
	memcpy(t, signature, 4);
	le_store(t + 4, size, 4);
	t[8] = revision;
	memcpy(t + 10, "POGO  ", 6);
	memcpy(t + 16, "POGOBX  ", 8);
	le_store(t + 24, 1, 4);
	memcpy(t + 28, "POGO", 4);
	le_store(t + 32, 1, 4);
	put_sum(b, PART_TABLES, t, size, CHECKSUM);
	return (u32)(t - b->tables);
}

/* Generic address structure for a port (5.2.3.2). */
static void gas_port(u8 *p, u32 port, unsigned bytes)
{
	p[0] = 1;
	p[1] = (u8)(8 * bytes);
	p[3] = (u8)(bytes == 4 ? 3 : bytes);
	le_store(p + 4, port, 8);
}

static u32 build_fadt(struct image *b, const struct acpi_board *board, u32 facs, u32 dsdt)
{
	u8 *t = reserve(b, FADT_SIZE, 16);
	u32 pm = acpi_board_pm_base(board);

	put_pointer(b, PART_TABLES, t + 36, facs, 4);
	put_pointer(b, PART_TABLES, t + 40, dsdt, 4);
	t[45] = 1; /* desktop */
	le_store(t + 46, PIIX4_SCI_IRQ, 2);
	le_store(t + 48, ACPI_SMI_COMMAND, 4);
	t[52] = ACPI_SMI_ENABLE;
	t[53] = ACPI_SMI_DISABLE;
	le_store(t + 56, pm + ACPI_PM1_EVENT, 4);
	le_store(t + 64, pm + ACPI_PM1_CONTROL, 4);
	le_store(t + 76, pm + ACPI_PM_TIMER, 4);
	t[88] = 4;                 /* PM1_EVT_LEN */
	t[89] = 2;                 /* PM1_CNT_LEN */
	t[91] = 4;                 /* PM_TMR_LEN */
	le_store(t + 96, 101, 2);  /* above 100: no C2 */
	le_store(t + 98, 1001, 2); /* above 1000: no C3 */
	t[108] = CENTURY_CMOS;
	le_store(t + 109,
		 BOOT_ARCH_LEGACY | (board->keyboard ? BOOT_ARCH_8042 : 0) |
			 (board->vga ? 0 : BOOT_ARCH_NO_VGA),
		 2);
	le_store(t + 112, FADT_FLAGS, 4);
	gas_port(t + 116, RESET_PORT, 1);
	t[128] = RESET_VALUE;
	put_pointer(b, PART_TABLES, t + 140, dsdt, 8);
	gas_port(t + 148, pm + ACPI_PM1_EVENT, 4);
	gas_port(t + 172, pm + ACPI_PM1_CONTROL, 2);
	gas_port(t + 208, pm + ACPI_PM_TIMER, 4);
	return seal(b, t, "FACP", 3, FADT_SIZE);
}

static u32 build_facs(struct image *b)
{
	u8 *t = reserve(b, FACS_SIZE, 64);

	memcpy(t, "FACS", 4);
	le_store(t + 4, FACS_SIZE, 4);
	t[32] = 1; /* version */
	return (u32)(t - b->tables);
}

static u8 *madt_override(u8 *p, u8 irq, u32 gsi, u16 flags)
{
	p[0] = 2;
	p[1] = 10;
	p[3] = irq; /* bus 0: ISA */
	le_store(p + 4, gsi, 4);
	le_store(p + 8, flags, 2);
	return p + 10;
}

static u32 build_madt(struct image *b, const struct acpi_board *board)
{
	u32 size = HEADER_SIZE + 8 + 8 * board->cpus + 12 + 10 + (board->pit_gsi ? 10 : 0) + 6;
	u8 *t = reserve(b, size, 16), *p = t + HEADER_SIZE + 8;

	le_store(t + 36, board->lapic_addr, 4);
	le_store(t + 40, 1, 4); /* PCAT_COMPAT: a pair of 8259s */
	for (unsigned n = 0; n < board->cpus; n++, p += 8) {
		p[1] = 8; /* type 0: local APIC */
		p[2] = (u8)n;
		p[3] = (u8)n;
		p[4] = 1; /* enabled */
	}
	p[0] = 1; /* I/O APIC, from GSI 0 */
	p[1] = 12;
	p[2] = board->ioapic_id;
	le_store(p + 4, board->ioapic_addr, 4);
	p += 12;
	if (board->pit_gsi)
		p = madt_override(p, 0, board->pit_gsi, 0);
	p = madt_override(p, PIIX4_SCI_IRQ, PIIX4_SCI_IRQ, LEVEL_ACTIVE_LOW);
	p[0] = 4; /* local APIC NMI: LINT1 of all processors */
	p[1] = 6;
	p[2] = 0xff;
	p[5] = 1;
	return seal(b, t, "APIC", 1, size);
}

static u32 build_hpet(struct image *b, const struct acpi_board *board)
{
	u8 *t = reserve(b, HPET_SIZE, 16);

	le_store(t + 36, board->hpet_id, 4);
	t[41] = 64; /* bits of a register; address space 0: memory */
	le_store(t + 44, board->hpet_addr, 8);
	le_store(t + 53, 100, 2); /* least period in ticks that loses no interrupt */
	return seal(b, t, "HPET", 1, HPET_SIZE);
}

static u32 build_dsdt(struct image *b, const struct acpi_board *board)
{
	u8 *t = reserve(b, HEADER_SIZE, 16);
	struct aml a = { .buf = b->tables + b->used, .cap = sizeof(b->tables) - b->used };

	acpi_dsdt_write(&a, board);
	b->overflow |= a.overflow;
	b->used += (u32)a.len;
	return seal(b, t, "DSDT", 2, HEADER_SIZE + (u32)a.len);
}

static u32 build_root(struct image *b, const char *signature, u8 entry_size, const u32 *tables,
		      unsigned count)
{
	u32 size = HEADER_SIZE + entry_size * count;
	u8 *t = reserve(b, size, 16);

	for (unsigned i = 0; i < count; i++)
		put_pointer(b, PART_TABLES, t + HEADER_SIZE + entry_size * i, tables[i],
			    entry_size);
	return seal(b, t, signature, 1, size);
}

static void build_rsdp(struct image *b, u32 rsdt, u32 xsdt)
{
	memset(b->rsdp, 0, sizeof(b->rsdp));
	memcpy(b->rsdp, "RSD PTR ", 8);
	memcpy(b->rsdp + 9, "POGO  ", 6);
	b->rsdp[15] = 2;
	put_pointer(b, PART_RSDP, b->rsdp + 16, rsdt, 4);
	le_store(b->rsdp + 20, RSDP_SIZE, 4);
	put_pointer(b, PART_RSDP, b->rsdp + 24, xsdt, 8);
	put_sum(b, PART_RSDP, b->rsdp, 20, 8);
	put_sum(b, PART_RSDP, b->rsdp, RSDP_SIZE, 32);
}

/* False: the board has more than tables can tell. */
static bool build(struct image *b, const struct acpi_board *board)
{
	u32 tables[3], rsdt, xsdt, facs, dsdt;
	unsigned count = 0;

	b->used = b->pointers = b->sums = 0;
	b->overflow = false;
	if (board->cpus == 0 || board->cpus > 254)
		return false;
	facs = build_facs(b);
	dsdt = build_dsdt(b, board);
	tables[count++] = build_fadt(b, board, facs, dsdt);
	tables[count++] = build_madt(b, board);
	if (board->hpet_addr)
		tables[count++] = build_hpet(b, board);
	rsdt = build_root(b, "RSDT", 4, tables, count);
	xsdt = build_root(b, "XSDT", 8, tables, count);
	build_rsdp(b, rsdt, xsdt);
	return !b->overflow;
}

/* --- In guest memory ------------------------------------------------------------------------ */

static void relocate(struct image *b, u64 base)
{
	for (unsigned i = 0; i < b->pointers; i++) {
		const struct pointer *r = &b->pointer[i];
		u8 *p = part_bytes(b, r->part) + r->at;

		le_store(p, le_load(p, r->size) + base, r->size);
	}
	for (unsigned i = 0; i < b->sums; i++) {
		const struct sum *s = &b->sum[i];
		u8 *p = part_bytes(b, s->part), sum = 0;

		for (u32 k = 0; k < s->size; k++)
			sum = (u8)(sum + p[s->start + k]);
		p[s->at] = (u8)(p[s->at] - sum);
	}
}

gpa_t acpi_build(struct mem *mem, const struct acpi_board *board)
{
	struct image *b = malloc(sizeof(*b));
	bool ok = b && build(b, board);

	if (ok) {
		relocate(b, TABLES_BASE);
		ok = mem_write(mem, ACPI_AREA_BASE, b->rsdp, RSDP_SIZE) &&
		     mem_write(mem, TABLES_BASE, b->tables, b->used);
		trace(BOOT, "ACPI tables: %u bytes", b->used);
	}
	free(b);
	return ok ? ACPI_AREA_BASE : 0;
}

/* --- For firmware --------------------------------------------------------------------------- */

/* A command of "etc/table-loader": its number, then what it works on. File names have 56 bytes. */
#define COMMAND_SIZE 128u
#define ALLOCATE     1 /* file, alignment (4 bytes), zone (1) */
#define ADD_POINTER  2 /* file with the pointer, file pointed to, offset (4), size (1) */
#define ADD_CHECKSUM 3 /* file, offset of the sum, start, length (4 each) */
#define ZONE_HIGH    1
#define ZONE_FSEG    2 /* where systems look for the root pointer */
#define COMMANDS     (PARTS + POINTERS + SUMS)

/* Files keep some room for what firmware may yet program, such as the SMBus controller. */
#define FILE_ALIGN 4096u
#define FILE_SPARE 256u

static const char *const part_files[PARTS] = { "etc/acpi/tables", "etc/acpi/rsdp" };

static u8 *command(u8 *p, u32 number, enum part part)
{
	le_store(p, number, 4);
	memcpy(p + 4, part_files[part], strlen(part_files[part]));
	return p + 4 + FW_CFG_NAME;
}

static u32 write_commands(const struct image *b, u8 commands[COMMANDS * COMMAND_SIZE])
{
	u8 *p = commands, *q;

	for (enum part part = 0; part < PARTS; part++, p += COMMAND_SIZE) {
		q = command(p, ALLOCATE, part);
		le_store(q, part == PART_TABLES ? TABLES_ALIGN : 16, 4);
		q[4] = part == PART_TABLES ? ZONE_HIGH : ZONE_FSEG;
	}
	for (unsigned i = 0; i < b->pointers; i++, p += COMMAND_SIZE) {
		q = command(p, ADD_POINTER, b->pointer[i].part);
		memcpy(q, part_files[PART_TABLES], strlen(part_files[PART_TABLES]));
		le_store(q + FW_CFG_NAME, b->pointer[i].at, 4);
		q[FW_CFG_NAME + 4] = b->pointer[i].size;
	}
	for (unsigned i = 0; i < b->sums; i++, p += COMMAND_SIZE) {
		q = command(p, ADD_CHECKSUM, b->sum[i].part);
		le_store(q, b->sum[i].at, 4);
		le_store(q + 4, b->sum[i].start, 4);
		le_store(q + 8, b->sum[i].size, 4);
	}
	return (u32)(p - commands);
}

static int add_files(struct fw_cfg *f, struct image *b)
{
	u8 commands[COMMANDS * COMMAND_SIZE] = { 0 };
	u32 size = (u32)align_up(b->used + FILE_SPARE, FILE_ALIGN), commands_size;
	int err;

	if (fw_cfg_file(f, part_files[PART_TABLES], &size) && size < b->used)
		return -ENOSPC;
	if (size > sizeof(b->tables))
		return -ENOSPC;
	memset(b->tables + b->used, 0, size - b->used);
	commands_size = write_commands(b, commands);
	err = fw_cfg_add_file(f, part_files[PART_TABLES], b->tables, size);
	if (!err)
		err = fw_cfg_add_file(f, part_files[PART_RSDP], b->rsdp, RSDP_SIZE);
	if (!err)
		err = fw_cfg_add_file(f, "etc/table-loader", commands, commands_size);
	return err;
}

int acpi_add_files(struct fw_cfg *f, const struct acpi_board *board)
{
	struct image *b = malloc(sizeof(*b));
	int err = !b ? -ENOMEM : build(b, board) ? add_files(f, b) : -ENOSPC;

	free(b);
	return err;
}
