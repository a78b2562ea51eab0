/* The ACPI tables as a system finds them: from the root pointer down, lengths and checksums, key
 * fields. */
#include "base/bits.h"
#include "base/test.h"
#include "machine/acpi.h"
#include "machine/aml.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root),        cmocka_unit_test(fadt),
		cmocka_unit_test(madt),        cmocka_unit_test(dsdt),
		cmocka_unit_test(aml_lengths), cmocka_unit_test(aml_overflow),
		cmocka_unit_test(most_cpus),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("acpi", tests, setup, teardown);
}
