/* The ACPI tables as a system finds them: from the root pointer down, lengths and checksums, key
 * fields. */
#include "base/bits.h"
#include "base/test.h"
#include "machine/acpi.h"
#include "machine/aml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct mem mem;

static const struct acpi_board board = {
	.cpus = 3,
	.lapic_addr = 0xfee00000,
	.ioapic_addr = 0xfec00000,
	.ioapic_id = 64,
	.pit_gsi = 2,
	.pci_base = 0xc0000000,
	.pci_end = 0xfec00000,
	.serial_ports = 1,
	.keyboard = true,
};

/* A board with everything. */
static const struct acpi_board full = {
	.cpus = 2,
	.lapic_addr = 0xfee00000,
	.ioapic_addr = 0xfec00000,
	.pit_gsi = 2,
	.pm_base = 0xb000,
	.smbus_base = 0x700,
	.pci_base = 0x80000000,
	.pci_end = 0xfec00000,
	.serial_ports = 4,
	.keyboard = true,
	.mouse = true,
	.vga = true,
	.dma = true,
	.floppy = true,
	.parallel = true,
	.fw_cfg = true,
	.hpet_addr = 0xfed00000,
	.hpet_id = 0x8086a201,
};

static const u8 *at(u64 gpa, u64 size)
{
	const u8 *p = mem_host(&mem, gpa, size);

	assert_non_null(p);
	return p;
}

static u8 sum(const u8 *p, u32 size)
{
	u8 s = 0;

	for (u32 i = 0; i < size; i++)
		s = (u8)(s + p[i]);
	return s;
}

/* A table with its header checked. */
static const u8 *table(u64 gpa, const char *signature, u32 *size)
{
	const u8 *t = at(gpa, 36);

	assert_memory_equal(t, signature, 4);
	*size = (u32)le_load(t + 4, 4);
	assert_true(gpa >= ACPI_AREA_BASE && gpa + *size <= ACPI_AREA_END);
	assert_int_equal(sum(at(gpa, *size), *size), 0);
	return t;
}

static u64 find(const char *signature, bool xsdt)
{
	const u8 *rsdp = at(ACPI_AREA_BASE, 36);
	u32 size, step = xsdt ? 8 : 4;
	const u8 *root =
		table(le_load(rsdp + (xsdt ? 24 : 16), step), xsdt ? "XSDT" : "RSDT", &size);

	for (u32 i = 36; i < size; i += step) {
		u64 gpa = le_load(root + i, step);

		if (!memcmp(at(gpa, 4), signature, 4))
			return gpa;
	}
	fail_msg("no table %s", signature);
	return 0;
}

static int setup(void **state)
{
	if (mem_init(&mem, 4 * MIB))
		return -1;
	return acpi_build(&mem, &board) == ACPI_AREA_BASE ? 0 : -1;
}

static int teardown(void **state)
{
	mem_fini(&mem);
	return 0;
}

static void root(void **state)
{
	const u8 *rsdp = at(ACPI_AREA_BASE, 36);

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(le_load(rsdp + 20, 4), 36);
	assert_int_equal(find("FACP", false), find("FACP", true));
	assert_int_equal(find("APIC", false), find("APIC", true));
}

static void fadt(void **state)
{
	u32 size, dsdt_size;
	const u8 *t = table(find("FACP", true), "FACP", &size);
	u64 facs = le_load(t + 36, 4);

	assert_int_equal(size, 244);
	table(le_load(t + 40, 4), "DSDT", &dsdt_size);
	assert_int_equal(le_load(t + 140, 8), le_load(t + 40, 4));
	assert_int_equal(facs % 64, 0);
	assert_memory_equal(at(facs, 64), "FACS", 4);
	assert_int_equal(le_load(t + 46, 2), 9);
	assert_int_equal(le_load(t + 48, 4), 0xb2);
	assert_int_equal(le_load(t + 56, 4), 0x600);
	assert_int_equal(le_load(t + 64, 4), 0x604);
	assert_int_equal(le_load(t + 76, 4), 0x608);
	assert_int_equal(le_load(t + 112, 4) >> 8 & 1, 0); /* 24-bit timer */
	assert_int_equal(le_load(t + 112, 4) >> 10 & 1, 1);
	assert_int_equal(le_load(t + 120, 8), 0xcf9);
	assert_int_equal(le_load(t + 152, 8), 0x600);
	assert_int_equal(le_load(t + 109, 2), 7);
}

static void madt(void **state)
{
	u32 size, cpus = 0, ioapics = 0, pit = 0, sci = 0, nmi = 0;
	const u8 *t = table(find("APIC", true), "APIC", &size);

	assert_int_equal(le_load(t + 36, 4), 0xfee00000);
	for (u32 i = 44; i < size; i += t[i + 1]) {
		const u8 *e = t + i;

		assert_true(e[1] >= 2 && i + e[1] <= size);
		switch (e[0]) {
		case 0:
			assert_int_equal(e[3], cpus);
			assert_int_equal(e[4], 1);
			cpus++;
			break;
		case 1:
			assert_int_equal(e[2], 64);
			assert_int_equal(le_load(e + 4, 4), 0xfec00000);
			assert_int_equal(le_load(e + 8, 4), 0);
			ioapics++;
			break;
		case 2:
			pit += e[3] == 0 && le_load(e + 4, 4) == 2;
			sci += e[3] == 9 && le_load(e + 4, 4) == 9 && le_load(e + 8, 2) == 0xf;
			break;
		case 4: nmi++; break;
		default: fail_msg("entry type %u", e[0]);
		}
	}
	assert_int_equal(cpus, 3);
	assert_int_equal(ioapics, 1);
	assert_int_equal(pit, 1);
	assert_int_equal(sci, 1);
	assert_int_equal(nmi, 1);
}

static bool contains(const u8 *p, u32 size, const void *what, u32 n)
{
	for (u32 i = 0; i + n <= size; i++) {
		if (!memcmp(p + i, what, n))
			return true;
	}
	return false;
}

static void dsdt(void **state)
{
	u32 size;
	const u8 *t = table(le_load(at(find("FACP", true), 44) + 40, 4), "DSDT", &size);
	static const u8 s5[] = { 0x08, '\\', '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0 };
	/* PCI0's _HID, and the memory window's first and last address */
	static const u8 hid[] = { 0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0a, 0x03 };
	static const u8 window[] = { 0, 0, 0, 0xc0, 0xff, 0xff, 0xbf, 0xfe };
	/* Slot 1, pin A, in I/O APIC mode: PIRQA */
	static const u8 route[] = { 0x12, 0x0b, 4, 0x0c, 0xff, 0xff, 1, 0, 0, 0, 0x0a, 16 };

	assert_true(contains(t, size, s5, sizeof(s5)));
	assert_true(contains(t, size, hid, sizeof(hid)));
	assert_true(contains(t, size, window, sizeof(window)));
	assert_true(contains(t, size, route, sizeof(route)));
	assert_true(contains(t, size, "C002", 4));
	assert_false(contains(t, size, "C003", 4));
	assert_true(contains(t, size, "COM1", 4));
	assert_false(contains(t, size, "COM2", 4));
	assert_true(contains(t, size, "PS2K", 4));
	assert_false(contains(t, size, "PS2M", 4));
}

static void most_cpus(void **state)
{
	struct acpi_board big = board;
	u32 size;

	big.cpus = 254;
	assert_int_equal(acpi_build(&mem, &big), ACPI_AREA_BASE);
	table(find("APIC", true), "APIC", &size);
	assert_int_equal(size, 44 + 254 * 8 + 12 + 10 + 10 + 6);
	big.cpus = 255; /* no more APIC IDs */
	assert_int_equal(acpi_build(&mem, &big), 0);
}

static void aml_lengths(void **state)
{
	u8 buf[8192];
	static const unsigned sizes[] = { 0, 62, 63, 0xffd, 0xffe, 0x1800 };
	static const u8 heads[][3] = { { 1 },
				       { 63 },
				       { 0x41, 4 },
				       { 0x4f, 0xff },
				       { 0x81, 0x00, 0x01 },
				       { 0x83, 0x80, 0x01 } };
	static const unsigned len[] = { 1, 1, 2, 2, 3, 3 };

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		struct aml a = { .buf = buf, .cap = sizeof(buf) };
		size_t block = aml_open(&a, AML_PACKAGE);

		for (unsigned n = 0; n < sizes[i]; n++)
			aml_byte(&a, 0xa5);
		aml_close(&a, block);
		assert_false(a.overflow);
		assert_int_equal(a.len, 1 + len[i] + sizes[i]);
		assert_memory_equal(buf + 1, heads[i], len[i]);
		if (sizes[i])
			assert_int_equal(buf[a.len - 1], 0xa5);
	}
}

static void aml_overflow(void **state)
{
	u8 buf[64];

	for (size_t cap = 0; cap < 40; cap++) {
		struct aml a = { .buf = buf, .cap = cap };
		size_t block, res;

		memset(buf, 0xee, sizeof(buf));
		block = aml_open_device(&a, "DEV");
		aml_def(&a, "_CRS");
		res = aml_open_resources(&a);
		aml_io(&a, 0x3f8, 8);
		aml_close_resources(&a, res);
		aml_close(&a, block);
		assert_int_equal(a.overflow, cap < 27);
		for (size_t i = cap; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0xee);
	}
}

/* --- The files for firmware ----------------------------------------------------------------- */

/* What a loader has: places for the files, in this test's memory. */
struct place {
	char name[FW_CFG_NAME];
	gpa_t at;
	u32 size;
};

struct loader {
	struct place places[4];
	unsigned count;
	gpa_t high, fseg; /* where the next file goes */
};

static struct place *place(struct loader *l, const u8 *name)
{
	for (unsigned n = 0; n < l->count; n++)
		if (!strcmp(l->places[n].name, (const char *)name))
			return &l->places[n];
	fail_msg("no file %s", (const char *)name);
	return NULL;
}

static void load_file(struct loader *l, struct fw_cfg *cfg, const u8 *c)
{
	struct place *p = &l->places[l->count++];
	u32 align = (u32)le_load(c + 60, 4);
	gpa_t *next = c[64] == 2 ? &l->fseg : &l->high;
	const u8 *data;

	assert_true(l->count <= ARRAY_LEN(l->places));
	assert_true(c[64] == 1 || c[64] == 2);
	assert_true(align && !(align & (align - 1)));
	memcpy(p->name, c + 4, FW_CFG_NAME);
	data = fw_cfg_file(cfg, p->name, &p->size);
	assert_non_null(data);
	*next = align_up(*next, align);
	p->at = *next;
	*next += p->size;
	assert_true(mem_write(&mem, p->at, data, p->size));
}

static void add_pointer(struct loader *l, const u8 *c)
{
	struct place *in = place(l, c + 4), *to = place(l, c + 60);
	u32 offset = (u32)le_load(c + 116, 4), size = c[120];
	u8 *p = mem_host(&mem, in->at + offset, size);

	assert_true(offset + size <= in->size);
	assert_true(le_load(p, size) < to->size);
	le_store(p, le_load(p, size) + to->at, size);
}

static void add_checksum(struct loader *l, const u8 *c)
{
	struct place *in = place(l, c + 4);
	u32 offset = (u32)le_load(c + 60, 4), start = (u32)le_load(c + 64, 4);
	u32 size = (u32)le_load(c + 68, 4);
	u8 *p = mem_host(&mem, in->at, in->size);

	assert_true(start + size <= in->size && offset >= start && offset < start + size);
	p[offset] = (u8)(p[offset] - sum(p + start, size));
}

/* Returns where the root pointer came to be. */
static gpa_t run_loader(struct fw_cfg *cfg)
{
	struct loader l = { .high = 0x200010, .fseg = 0xf0004 };
	u32 size;
	const u8 *c = fw_cfg_file(cfg, "etc/table-loader", &size);

	assert_non_null(c);
	assert_int_equal(size % 128, 0);
	for (; size; size -= 128, c += 128) {
		switch (le_load(c, 4)) {
		case 1: load_file(&l, cfg, c); break;
		case 2: add_pointer(&l, c); break;
		case 3: add_checksum(&l, c); break;
		default: fail_msg("command %u", c[0]);
		}
	}
	return place(&l, (const u8 *)"etc/acpi/rsdp")->at;
}

static gpa_t loaded_table(gpa_t gpa, const char *signature)
{
	const u8 *t = at(gpa, 36);
	u32 size = (u32)le_load(t + 4, 4);

	assert_memory_equal(t, signature, 4);
	assert_true(gpa >= 0x200000);
	assert_int_equal(sum(at(gpa, size), size), 0);
	return gpa;
}

static void check_loaded(gpa_t rsdp_at)
{
	const u8 *rsdp = at(rsdp_at, 36), *rsdt, *xsdt, *fadt;

	assert_int_equal(rsdp_at % 16, 0);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	rsdt = at(loaded_table(le_load(rsdp + 16, 4), "RSDT"), 48);
	xsdt = at(loaded_table(le_load(rsdp + 24, 8), "XSDT"), 60);
	assert_int_equal(le_load(rsdt + 4, 4), 36 + 3 * 4);
	assert_int_equal(le_load(xsdt + 4, 4), 36 + 3 * 8);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const names[] = { "FACP", "APIC", "HPET" };

		assert_int_equal(le_load(rsdt + 36 + 4 * i, 4), le_load(xsdt + 36 + 8 * i, 8));
		loaded_table(le_load(xsdt + 36 + 8 * i, 8), names[i]);
	}
	fadt = at(le_load(xsdt + 36, 8), 244);
	assert_int_equal(le_load(fadt + 36, 4) % 64, 0);
	assert_memory_equal(at(le_load(fadt + 36, 4), 64), "FACS", 4);
	assert_int_equal(le_load(fadt + 140, 8), loaded_table(le_load(fadt + 40, 4), "DSDT"));
	assert_int_equal(le_load(fadt + 56, 4), 0xb000);
	assert_int_equal(le_load(at(le_load(xsdt + 52, 8), 56) + 44, 8), 0xfed00000);
}

static void files(void **state)
{
	static struct fw_cfg cfg;
	struct acpi_board changed = full;
	u32 size, size_after, loader_size;

	changed.smbus_base = 0;
	changed.pm_base = 0;
	assert_int_equal(acpi_add_files(&cfg, &changed), 0);
	assert_non_null(fw_cfg_file(&cfg, "etc/acpi/tables", &size));
	assert_non_null(fw_cfg_file(&cfg, "etc/table-loader", &loader_size));
	/* What firmware has programmed since does not change sizes. */
	assert_int_equal(acpi_add_files(&cfg, &full), 0);
	assert_non_null(fw_cfg_file(&cfg, "etc/acpi/tables", &size_after));
	assert_int_equal(size, size_after);
	assert_non_null(fw_cfg_file(&cfg, "etc/table-loader", &size_after));
	assert_int_equal(loader_size, size_after);
	check_loaded(run_loader(&cfg));
	changed.cpus = 254; /* does not fit where firmware has made room for two */
	assert_int_equal(acpi_add_files(&cfg, &changed), -ENOSPC);
	changed.cpus = 255;
	assert_int_equal(acpi_add_files(&cfg, &changed), -ENOSPC);
	fw_cfg_clear(&cfg);
	assert_int_equal(cfg.files, 0);
	changed.cpus = 254;
	assert_int_equal(acpi_add_files(&cfg, &changed), 0);
	fw_cfg_clear(&cfg);
}

/* The same tables from both ways of making them. */
static void files_are_the_tables(void **state)
{
	static struct fw_cfg cfg;
	static u8 direct[65536];
	u32 size, differ = 0;
	const u8 *file;

	assert_int_equal(acpi_build(&mem, &board), ACPI_AREA_BASE);
	assert_int_equal(acpi_add_files(&cfg, &board), 0);
	file = fw_cfg_file(&cfg, "etc/acpi/tables", &size);
	assert_true(size <= sizeof(direct));
	assert_true(mem_read(&mem, ACPI_AREA_BASE + 64, direct, size));
	while (size && !file[size - 1])
		size--;
	assert_true(size > 4096);
	for (u32 i = 0; i < size; i++)
		differ += direct[i] != file[i];
	assert_true(differ < 64); /* pointers and checksums */
	fw_cfg_clear(&cfg);
}

/* iasl, if it is there, takes the DSDT apart and makes it anew: both without an error or a warning. */
static void iasl_understands(const struct acpi_board *b)
{
	char dir[] = "/tmp/pogo-acpi-XXXXXX", path[64], command[512];
	const u8 *t;
	u32 size;
	FILE *f;

	assert_int_equal(acpi_build(&mem, b), ACPI_AREA_BASE);
	t = table(le_load(at(find("FACP", true), 44) + 40, 4), "DSDT", &size);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/dsdt.aml", dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(t, 1, size, f), size);
	fclose(f);
	snprintf(command, sizeof(command),
		 "cd %s && iasl -d dsdt.aml >d.log 2>&1 && iasl -p new dsdt.dsl >c.log 2>&1 && "
		 "grep -q ' 0 Errors, 0 Warnings' c.log && ! grep -qi 'error\\|warning' d.log",
		 dir);
	if (system(command) != 0) {
		snprintf(command, sizeof(command), "cat %s/*.log >&2", dir);
		fail_msg("iasl: status %d", system(command));
	}
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void iasl_agrees(void **state)
{
	if (system("command -v iasl >/dev/null") != 0)
		skip();
	iasl_understands(&board);
	iasl_understands(&full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root),
		cmocka_unit_test(fadt),
		cmocka_unit_test(madt),
		cmocka_unit_test(dsdt),
		cmocka_unit_test(aml_lengths),
		cmocka_unit_test(aml_overflow),
		cmocka_unit_test(most_cpus),
		cmocka_unit_test(files),
		cmocka_unit_test(files_are_the_tables),
		cmocka_unit_test(iasl_agrees),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("acpi", tests, setup, teardown);
}
