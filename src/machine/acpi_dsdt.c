/* The DSDT of the board: processors, the PCI root with its windows and interrupt routing, the chips on the ISA bus. */
#include "machine/acpi_dsdt.h"

#include "base/bits.h"
#include "dev/acpi_pm.h"
#include "dev/fw_cfg.h"
#include "dev/piix4.h"

#include <stdio.h>

#define PCI_SLOTS 32
#define HPET_SIZE 0x400

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

#define NONE 0xff

/* A chip on the ISA bus: up to four port ranges, one interrupt, one DMA channel. */
struct isa_chip {
	const char *name, *id;
	u8 uid, irq, dma;
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
	if (c->irq != NONE)
		aml_irq(a, c->irq);
	if (c->dma != NONE)
		aml_dma(a, c->dma);
	aml_close_resources(a, res);
	aml_close(a, device);
}

static const struct isa_chip board_chips[] = {
	{ "PIC", "PNP0000", 0, 2, NONE, { { 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 } } },
	{ "TIMR", "PNP0100", 0, 0, NONE, { { 0x40, 4 } } },
	{ "RTC", "PNP0B00", 0, 8, NONE, { { 0x70, 2 } } },
	{ "SPKR", "PNP0800", 0, NONE, NONE, { { 0x61, 1 } } },
};
static const struct isa_chip keyboard_chip = { "PS2K", "PNP0303", 0,
					       1,      NONE,      { { 0x60, 1 }, { 0x64, 1 } } };
static const struct isa_chip mouse_chip = { "PS2M", "PNP0F13", 0, 12, NONE, { { 0 } } };
static const struct isa_chip dma_chip = { "DMAC", "PNP0200",
					  0,      NONE,
					  4,      { { 0x00, 16 }, { 0x81, 15 }, { 0xc0, 32 } } };
static const struct isa_chip floppy_chip = { "FDC0", "PNP0700", 0,
					     6,      2,         { { 0x3f2, 4 }, { 0x3f7, 1 } } };
static const struct isa_chip parallel_chip = { "LPT1", "PNP0400", 1, 7, NONE, { { 0x378, 8 } } };
static const struct isa_chip serial_chips[] = {
	{ "COM1", "PNP0501", 1, 4, NONE, { { 0x3f8, 8 } } },
	{ "COM2", "PNP0501", 2, 3, NONE, { { 0x2f8, 8 } } },
	{ "COM3", "PNP0501", 3, 4, NONE, { { 0x3e8, 8 } } },
	{ "COM4", "PNP0501", 4, 3, NONE, { { 0x2e8, 8 } } },
};

/* Ports of the board that no other device names. */
static void add_motherboard(struct aml *a, const struct acpi_board *board)
{
	struct isa_chip chip = { "MBRD",
				 "PNP0C02",
				 0,
				 NONE,
				 NONE,
				 { { 0x92, 1 },
				   { ACPI_SMI_COMMAND, 2 },
				   { acpi_board_pm_base(board), ACPI_PM_SIZE },
				   { board->smbus_base, board->smbus_base ? 16 : 0 } } };

	add_isa_chip(a, &chip);
}

static void add_isa(struct aml *a, const struct acpi_board *board)
{
	size_t isa = aml_open_device(a, "ISA");

	aml_def_int(a, "_ADR", PIIX4_SLOT << 16);
	add_links(a);
	for (unsigned i = 0; i < ARRAY_LEN(board_chips); i++)
		add_isa_chip(a, &board_chips[i]);
	add_motherboard(a, board);
	if (board->keyboard)
		add_isa_chip(a, &keyboard_chip);
	if (board->mouse)
		add_isa_chip(a, &mouse_chip);
	if (board->dma)
		add_isa_chip(a, &dma_chip);
	if (board->floppy)
		add_isa_chip(a, &floppy_chip);
	if (board->parallel)
		add_isa_chip(a, &parallel_chip);
	for (unsigned i = 0; i < board->serial_ports && i < ARRAY_LEN(serial_chips); i++)
		add_isa_chip(a, &serial_chips[i]);
	aml_close(a, isa);
}

static void add_hpet(struct aml *a, const struct acpi_board *board)
{
	size_t device = aml_open_device(a, "HPET"), res;

	aml_def_eisa(a, "_HID", "PNP0103");
	aml_def_int(a, "_UID", 0);
	aml_def(a, "_CRS");
	res = aml_open_resources(a);
	aml_memory_fixed(a, board->hpet_addr, HPET_SIZE);
	aml_close_resources(a, res);
	aml_close(a, device);
}

static void add_fw_cfg(struct aml *a)
{
	size_t device = aml_open_device(a, "FWCF"), res;

	aml_def(a, "_HID");
	aml_string(a, "QEMU0002");
	aml_def_int(a, "_STA", 0x0b); /* present, enabled, works; not to be shown to users */
	aml_def(a, "_CRS");
	res = aml_open_resources(a);
	aml_io(a, FW_CFG_PORT, FW_CFG_PORTS);
	aml_close_resources(a, res);
	aml_close(a, device);
}

void acpi_dsdt_write(struct aml *a, const struct acpi_board *board)
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
	if (board->fw_cfg)
		add_fw_cfg(a);
	aml_close(a, pci);
	if (board->hpet_addr)
		add_hpet(a, board);
	aml_close(a, scope);
}
