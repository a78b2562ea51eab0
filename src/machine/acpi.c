/* ACPI tables of the board: RSDP, RSDT, XSDT, FADT, FACS, MADT (ACPI 6.4, 5.2) and the DSDT. */
#include "machine/acpi.h"

#include "base/bits.h"
#include "base/trace.h"
#include "dev/acpi_pm.h"
#include "dev/piix4.h"
#include "machine/aml.h"

#include <stdio.h>

#define HEADER_SIZE 36u
#define CHECKSUM    9u /* of a table header */
#define RSDP_SIZE   36u
#define FADT_SIZE   244u /* revision 3 */
#define FACS_SIZE   64u

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

#define PCI_SLOTS 32

/* --- Tables in memory ----------------------------------------------------------------------- */

struct builder {
	u8 area[ACPI_AREA_END - ACPI_AREA_BASE];
	u32 used;
	bool overflow;
};

static u32 address(const struct builder *b, const void *p)
{
	return (u32)(ACPI_AREA_BASE + (u64)((const u8 *)p - b->area));
}

/* Room for a table, zeroed. When the area is full its start is returned and the mark set. */
static u8 *reserve(struct builder *b, u32 size, u32 align)
{
	u32 at = (u32)align_up(b->used, align);

	if (at + size > sizeof(b->area)) {
		b->overflow = true;
		at = 0;
		size = (u32)MIN(size, sizeof(b->area));
	}
	b->used = MAX(b->used, at + size);
	memset(b->area + at, 0, size);
	return b->area + at;
}

static u8 checksum(const u8 *p, u32 size)
{
	u8 sum = 0;

	for (u32 i = 0; i < size; i++)
		sum = (u8)(sum + p[i]);
	return (u8)-sum;
}

/* Fills in the header of a complete table. */
static void seal(u8 *t, const char *signature, u8 revision, u32 size)
{
	memcpy(t, signature, 4);
	le_store(t + 4, size, 4);
	t[8] = revision;
	t[CHECKSUM] = 0;
	memcpy(t + 10, "POGO  ", 6);
	memcpy(t + 16, "POGOBX  ", 8);
	le_store(t + 24, 1, 4);
	memcpy(t + 28, "POGO", 4);
	le_store(t + 32, 1, 4);
	t[CHECKSUM] = checksum(t, size);
}

/* Generic address structure for a port (5.2.3.2). */
static void gas_port(u8 *p, u32 port, unsigned bytes)
{
	p[0] = 1;
	p[1] = (u8)(8 * bytes);
	p[3] = (u8)(bytes == 4 ? 3 : bytes);
	le_store(p + 4, port, 8);
}

static u32 build_fadt(struct builder *b, const struct acpi_board *board, u32 facs, u32 dsdt)
{
	u8 *t = reserve(b, FADT_SIZE, 16);
	u32 pm = ACPI_PM_BASE;

	le_store(t + 36, facs, 4);
	le_store(t + 40, dsdt, 4);
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
	le_store(t + 140, dsdt, 8);
	gas_port(t + 148, pm + ACPI_PM1_EVENT, 4);
	gas_port(t + 172, pm + ACPI_PM1_CONTROL, 2);
	gas_port(t + 208, pm + ACPI_PM_TIMER, 4);
	seal(t, "FACP", 3, FADT_SIZE);
	return address(b, t);
}

static u32 build_facs(struct builder *b)
{
	u8 *t = reserve(b, FACS_SIZE, 64);

	memcpy(t, "FACS", 4);
	le_store(t + 4, FACS_SIZE, 4);
	t[32] = 1; /* version */
	return address(b, t);
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

static u32 build_madt(struct builder *b, const struct acpi_board *board)
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
	seal(t, "APIC", 1, size);
	return address(b, t);
}

/* --- DSDT ----------------------------------------------------------------------------------- */

static void add_cpus(struct aml *a, unsigned cpus)
{
	for (unsigned n = 0; n < cpus; n++) {
		char name[5];
		size_t device;

		snprintf(name, sizeof(name), "C%03X", n & 0xfff);
		device = aml_open_device(a, name);
		aml_def(a, "_HID");
		aml_string(a, "ACPI0007");
		aml_def_int(a, "_UID", n);
		aml_close(a, device);
	}
}

static void add_bridge_resources(struct aml *a, const struct acpi_board *board)
{
	size_t res;

	aml_def(a, "_CRS");
	res = aml_open_resources(a);
	aml_bus_range(a, 0, 0xff);
	aml_io(a, 0xcf8, 8);
	aml_io_range(a, 0, 0xcf7);
	aml_io_range(a, 0xd00, 0xffff);
	aml_memory_range(a, 0xa0000, 0xbffff);
	aml_memory_range(a, (u32)board->pci_base, (u32)(board->pci_end - 1));
	aml_close_resources(a, res);
}

/* Name (PRTx, Package of { address, pin, source, index } for each slot and pin): with I/O APICs
 * source is 0 and index the GSI; with 8259s source is a link device. */
static void add_routes(struct aml *a, const char *name, bool apic)
{
	static const char *const links[PCI_PIRQS] = { "ISA.LNKA", "ISA.LNKB", "ISA.LNKC",
						      "ISA.LNKD" };
	size_t all, one;

	aml_def(a, name);
	all = aml_open(a, AML_PACKAGE);
	aml_byte(a, (PCI_SLOTS - 1) * 4);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			unsigned pirq = pci_pirq(slot, pin);

			one = aml_open(a, AML_PACKAGE);
			aml_byte(a, 4);
			aml_int(a, slot << 16 | 0xffff);
			aml_int(a, pin);
			if (apic)
				aml_int(a, 0);
			else
				aml_name(a, links[pirq]);
			aml_int(a, apic ? ACPI_PIRQ_GSI + pirq : 0);
			aml_close(a, one);
		}
	}
	aml_close(a, all);
}

/* Method (_PRT) { If (PICF) { Return (PRTA) } Return (PRTP) } */
static void add_prt(struct aml *a)
{
	size_t method, block;

	add_routes(a, "PRTP", false);
	add_routes(a, "PRTA", true);
	method = aml_open_method(a, "_PRT", 0, false);
	block = aml_open(a, AML_IF);
	aml_name(a, "\\PICF");
	aml_byte(a, AML_RETURN);
	aml_name(a, "PRTA");
	aml_close(a, block);
	aml_byte(a, AML_RETURN);
	aml_name(a, "PRTP");
	aml_close(a, method);
}

/* Binary operator: op (left name, right constant) -> target */
static void name_op(struct aml *a, unsigned op, const char *left, u32 right)
{
	aml_byte(a, op);
	aml_name(a, left);
	aml_int(a, right);
}

/* A PCI interrupt link over one of the ISA bridge's PIRQ route registers. */
static void add_link(struct aml *a, unsigned n)
{
	static const u32 possible[] = { 5, 10, 11 }, none[] = { 0 };
	char name[] = "LNKA", reg[] = "PRQA";
	size_t device, res, method, block;

	name[3] = reg[3] = (char)('A' + n);
	device = aml_open_device(a, name);
	aml_def_eisa(a, "_HID", "PNP0C0F");
	aml_def_int(a, "_UID", n + 1);
	aml_def(a, "_PRS");
	res = aml_open_resources(a);
	aml_interrupts(a, possible, ARRAY_LEN(possible));
	aml_close_resources(a, res);
	aml_def(a, "RES");
	res = aml_open_resources(a);
	aml_interrupts(a, none, 1);
	aml_close_resources(a, res);

	/* If (PRQx & 0x80) { Return (0x09) } Return (0x0B): present; enabled or not */
	method = aml_open_method(a, "_STA", 0, false);
	block = aml_open(a, AML_IF);
	name_op(a, AML_AND, reg, 0x80);
	aml_byte(a, AML_ZERO);
	aml_byte(a, AML_RETURN);
	aml_int(a, 0x09);
	aml_close(a, block);
	aml_byte(a, AML_RETURN);
	aml_int(a, 0x0b);
	aml_close(a, method);

	method = aml_open_method(a, "_DIS", 0, false);
	name_op(a, AML_OR, reg, 0x80);
	aml_name(a, reg);
	aml_close(a, method);

	/* CreateDWordField (RES, 5, IRQN) IRQN = PRQx & 0x0F Return (RES) */
	method = aml_open_method(a, "_CRS", 0, true);
	name_op(a, AML_CREATE_DWORD, "RES", 5);
	aml_name(a, "IRQN");
	name_op(a, AML_AND, reg, 0x0f);
	aml_name(a, "IRQN");
	aml_byte(a, AML_RETURN);
	aml_name(a, "RES");
	aml_close(a, method);

	/* CreateDWordField (Arg0, 5, IRQN) PRQx = IRQN */
	method = aml_open_method(a, "_SRS", 1, true);
	aml_byte(a, AML_CREATE_DWORD);
	aml_byte(a, AML_ARG0);
	aml_int(a, 5);
	aml_name(a, "IRQN");
	aml_byte(a, AML_STORE);
	aml_name(a, "IRQN");
	aml_name(a, reg);
	aml_close(a, method);
	aml_close(a, device);
}

static void add_links(struct aml *a)
{
	size_t field;

	aml_byte(a, 0x5b); /* OperationRegion (PIRQ, PCI_Config, 0x60, 4) */
	aml_byte(a, 0x80);
	aml_name(a, "PIRQ");
	aml_byte(a, 2);
	aml_int(a, PIIX4_PIRQRC);
	aml_int(a, PCI_PIRQS);
	field = aml_open(a, AML_FIELD); /* bytes, preserve */
	aml_name(a, "PIRQ");
	aml_byte(a, 1);
	for (unsigned n = 0; n < PCI_PIRQS; n++) {
		char reg[] = "PRQA";

		reg[3] = (char)('A' + n);
		aml_name(a, reg);
		aml_byte(a, 8); /* bits */
	}
	aml_close(a, field);
	for (unsigned n = 0; n < PCI_PIRQS; n++)
		add_link(a, n);
}

#define NO_IRQ 0xff

/* A chip on the ISA bus: up to three port ranges, one interrupt. */
struct isa_chip {
	const char *name, *id;
	u8 uid, irq;
	struct {
		u16 base;
		u8 size;
	} io[4];
};

static void add_isa_chip(struct aml *a, const struct isa_chip *c)
{
	size_t device = aml_open_device(a, c->name), res;

	aml_def_eisa(a, "_HID", c->id);
	if (c->uid)
		aml_def_int(a, "_UID", c->uid);
	aml_def(a, "_CRS");
	res = aml_open_resources(a);
	for (unsigned i = 0; i < ARRAY_LEN(c->io) && c->io[i].size; i++)
		aml_io(a, c->io[i].base, c->io[i].size);
	if (c->irq != NO_IRQ)
		aml_irq(a, c->irq);
	aml_close_resources(a, res);
	aml_close(a, device);
}

static const struct isa_chip board_chips[] = {
	{ "PIC", "PNP0000", 0, 2, { { 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 } } },
	{ "TIMR", "PNP0100", 0, 0, { { 0x40, 4 } } },
	{ "RTC", "PNP0B00", 0, 8, { { 0x70, 2 } } },
	{ "MBRD",
	  "PNP0C02",
	  0,
	  NO_IRQ,
	  { { 0x92, 1 }, { ACPI_SMI_COMMAND, 2 }, { ACPI_PM_BASE, ACPI_PM_SIZE } } },
};
static const struct isa_chip keyboard_chip = {
	"PS2K", "PNP0303", 0, 1, { { 0x60, 1 }, { 0x64, 1 } }
};
static const struct isa_chip mouse_chip = { "PS2M", "PNP0F13", 0, 12, { { 0 } } };
static const struct isa_chip serial_chips[] = {
	{ "COM1", "PNP0501", 1, 4, { { 0x3f8, 8 } } },
	{ "COM2", "PNP0501", 2, 3, { { 0x2f8, 8 } } },
	{ "COM3", "PNP0501", 3, 4, { { 0x3e8, 8 } } },
	{ "COM4", "PNP0501", 4, 3, { { 0x2e8, 8 } } },
};

static void add_isa(struct aml *a, const struct acpi_board *board)
{
	size_t isa = aml_open_device(a, "ISA");

	aml_def_int(a, "_ADR", PIIX4_SLOT << 16);
	add_links(a);
	for (unsigned i = 0; i < ARRAY_LEN(board_chips); i++)
		add_isa_chip(a, &board_chips[i]);
	if (board->keyboard)
		add_isa_chip(a, &keyboard_chip);
	if (board->mouse)
		add_isa_chip(a, &mouse_chip);
	for (unsigned i = 0; i < board->serial_ports && i < ARRAY_LEN(serial_chips); i++)
		add_isa_chip(a, &serial_chips[i]);
	aml_close(a, isa);
}

static void write_dsdt(struct aml *a, const struct acpi_board *board)
{
	size_t scope, pci, method, package;

	aml_def(a, "\\_S5");
	package = aml_open(a, AML_PACKAGE);
	aml_byte(a, 4);
	aml_int(a, ACPI_S5_SLP_TYP);
	for (unsigned i = 0; i < 3; i++)
		aml_int(a, 0);
	aml_close(a, package);
	/* The system tells with _PIC whether it uses the 8259s (0) or I/O APICs (1). */
	aml_def_int(a, "\\PICF", 0);
	method = aml_open_method(a, "\\_PIC", 1, false);
	aml_byte(a, AML_STORE);
	aml_byte(a, AML_ARG0);
	aml_name(a, "\\PICF");
	aml_close(a, method);

	scope = aml_open(a, AML_SCOPE);
	aml_name(a, "\\_SB");
	add_cpus(a, board->cpus);
	pci = aml_open_device(a, "PCI0");
	aml_def_eisa(a, "_HID", "PNP0A03");
	aml_def_int(a, "_BBN", 0);
	aml_def_int(a, "_UID", 0);
	add_bridge_resources(a, board);
	add_isa(a, board);
	add_prt(a);
	aml_close(a, pci);
	aml_close(a, scope);
}

static u32 build_dsdt(struct builder *b, const struct acpi_board *board)
{
	u8 *t = reserve(b, HEADER_SIZE, 16);
	struct aml a = { .buf = b->area + b->used, .cap = sizeof(b->area) - b->used };

	write_dsdt(&a, board);
	b->overflow |= a.overflow;
	b->used += (u32)a.len;
	seal(t, "DSDT", 2, HEADER_SIZE + (u32)a.len);
	return address(b, t);
}

/* --- Root ----------------------------------------------------------------------------------- */

static u32 build_root(struct builder *b, const char *signature, unsigned entry_size,
		      const u32 *tables, unsigned count)
{
	u32 size = HEADER_SIZE + entry_size * count;
	u8 *t = reserve(b, size, 16);

	for (unsigned i = 0; i < count; i++)
		le_store(t + HEADER_SIZE + entry_size * i, tables[i], entry_size);
	seal(t, signature, 1, size);
	return address(b, t);
}

gpa_t acpi_build(struct mem *mem, const struct acpi_board *board)
{
	struct builder b;
	u32 tables[2], rsdt, xsdt, facs, dsdt;
	u8 *rsdp;

	if (board->cpus == 0 || board->cpus > 254)
		return 0;
	b.used = 0;
	b.overflow = false;
	rsdp = reserve(&b, RSDP_SIZE, 16);
	facs = build_facs(&b);
	dsdt = build_dsdt(&b, board);
	tables[0] = build_fadt(&b, board, facs, dsdt);
	tables[1] = build_madt(&b, board);
	rsdt = build_root(&b, "RSDT", 4, tables, ARRAY_LEN(tables));
	xsdt = build_root(&b, "XSDT", 8, tables, ARRAY_LEN(tables));
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "POGO  ", 6);
	rsdp[15] = 2;
	le_store(rsdp + 16, rsdt, 4);
	le_store(rsdp + 20, RSDP_SIZE, 4);
	le_store(rsdp + 24, xsdt, 8);
	rsdp[8] = checksum(rsdp, 20);
	rsdp[32] = checksum(rsdp, RSDP_SIZE);
	if (b.overflow || !mem_write(mem, ACPI_AREA_BASE, b.area, b.used))
		return 0;
	trace(BOOT, "ACPI tables: %u bytes", b.used);
	return ACPI_AREA_BASE;
}
