/* Fields of decoded instructions against encodings worked out by hand from SDM 2. */
#include "base/test.h"
#include "x86/cpu.h"
#include "x86/insn.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>

static struct x86_insn decode(unsigned mode, const char *hex, unsigned *given)
{
	struct x86_insn i;
	u8 bytes[16];
	unsigned n = 0, byte;

	for (; sscanf(hex, "%2x", &byte) == 1; hex += 2 + (hex[2] == ' '))
		bytes[n++] = (u8)byte;
	*given = n;
	memset(bytes + n, 0, sizeof(bytes) - n);
	assert_int_equal(x86_decode(&i, bytes, 15, mode), 1);
	return i;
}

/* Zeros where an instruction has fewer operands. */
static const struct {
	unsigned mode;
	const char *hex;
	unsigned mnemonic, opsize, addrsize;
	struct x86_operand op[2];
} operands[] = {
	{ 64, "01 d8", ZYDIS_MNEMONIC_ADD, 4, 8, { { OPK_GPR, RAX, 4 }, { OPK_GPR, RBX, 4 } } },
	{ 64, "48 01 d8", ZYDIS_MNEMONIC_ADD, 8, 8, { { OPK_GPR, RAX, 8 }, { OPK_GPR, RBX, 8 } } },
	{ 64, "66 01 d8", ZYDIS_MNEMONIC_ADD, 2, 8, { { OPK_GPR, RAX, 2 }, { OPK_GPR, RBX, 2 } } },
	{ 16, "01 d8", ZYDIS_MNEMONIC_ADD, 2, 2, { { OPK_GPR, RAX, 2 }, { OPK_GPR, RBX, 2 } } },
	{ 16, "66 67 01 d8", ZYDIS_MNEMONIC_ADD, 4, 4, { { OPK_GPR, RAX, 4 }, { OPK_GPR, RBX, 4 } } },
	{ 64, "00 e5", ZYDIS_MNEMONIC_ADD, 1, 8, { { OPK_GPR_HIGH, 1, 1 }, { OPK_GPR_HIGH, 0, 1 } } },
	{ 64, "40 00 e5", ZYDIS_MNEMONIC_ADD, 1, 8, { { OPK_GPR, RBP, 1 }, { OPK_GPR, RSP, 1 } } },
	{ 64, "45 00 ff", ZYDIS_MNEMONIC_ADD, 1, 8, { { OPK_GPR, R15, 1 }, { OPK_GPR, R15, 1 } } },
	{ 64,
	  "48 66 01 d8",
	  ZYDIS_MNEMONIC_ADD,
	  2,
	  8,
	  { { OPK_GPR, RAX, 2 }, { OPK_GPR, RBX, 2 } } }, /* REX before a prefix */
	{ 32, "82 c0 05", ZYDIS_MNEMONIC_ADD, 1, 4, { { OPK_GPR, RAX, 1 }, { OPK_IMM, 0, 1 } } },
	{ 64, "f6 c8 01", ZYDIS_MNEMONIC_TEST, 1, 8, { { OPK_GPR, RAX, 1 }, { OPK_IMM, 0, 1 } } },
	{ 64, "d0 f0", ZYDIS_MNEMONIC_SHL, 1, 8, { { OPK_GPR, RAX, 1 }, { OPK_IMM, 0, 1 } } },
	{ 64, "d3 e0", ZYDIS_MNEMONIC_SHL, 4, 8, { { OPK_GPR, RAX, 4 }, { OPK_GPR, RCX, 1 } } },
	{ 64, "8e d8", ZYDIS_MNEMONIC_MOV, 4, 8, { { OPK_SEG, DS, 2 }, { OPK_GPR, RAX, 2 } } },
	{ 64,
	  "0f 20 04",
	  ZYDIS_MNEMONIC_MOV,
	  8,
	  8,
	  { { OPK_GPR, RSP, 8 }, { OPK_CR, 0, 8 } } }, /* mod is ignored */
	{ 32, "0f 22 d8", ZYDIS_MNEMONIC_MOV, 4, 4, { { OPK_CR, 3, 4 }, { OPK_GPR, RAX, 4 } } },
	{ 64, "0f 23 f8", ZYDIS_MNEMONIC_MOV, 8, 8, { { OPK_DR, 7, 8 }, { OPK_GPR, RAX, 8 } } },
	{ 64, "d8 c3", ZYDIS_MNEMONIC_FADD, 4, 8, { { OPK_X87, 0, 10 }, { OPK_X87, 3, 10 } } },
	{ 64, "0f 6f c1", ZYDIS_MNEMONIC_MOVQ, 4, 8, { { OPK_MMX, 0, 8 }, { OPK_MMX, 1, 8 } } },
	{ 64,
	  "44 0f 28 c1",
	  ZYDIS_MNEMONIC_MOVAPS,
	  4,
	  8,
	  { { OPK_VEC, 8, 16 }, { OPK_VEC, 1, 16 } } },
	{ 64, "c5 f8 90 ca", ZYDIS_MNEMONIC_KMOVW, 4, 8, { { OPK_MASK, 1, 8 }, { OPK_MASK, 2, 8 } } },
	{ 64, "e8 00 00 00 00", ZYDIS_MNEMONIC_CALL, 8, 8, { { OPK_REL, 0, 4 } } },
	{ 64,
	  "66 e8 00 00 00 00",
	  ZYDIS_MNEMONIC_CALL,
	  8,
	  8,
	  { { OPK_REL, 0, 4 } } }, /* as Intel: no 16-bit form */
	{ 32, "66 e8 00 00", ZYDIS_MNEMONIC_CALL, 2, 4, { { OPK_REL, 0, 2 } } },
	{ 64, "50", ZYDIS_MNEMONIC_PUSH, 8, 8, { { OPK_GPR, RAX, 8 } } },
	{ 64, "66 50", ZYDIS_MNEMONIC_PUSH, 2, 8, { { OPK_GPR, RAX, 2 } } },
	{ 32, "06", ZYDIS_MNEMONIC_PUSH, 4, 4, { { OPK_SEG, ES, 2 } } },
	{ 32, "d6", ZYDIS_MNEMONIC_SALC, 4, 4, { { OPK_NONE, 0, 0 } } },
	{ 64, "0f 1a 00", ZYDIS_MNEMONIC_NOP, 4, 8, { { OPK_MEM, 0, 4 } } },
	{ 64, "f3 0f 1e fa", ZYDIS_MNEMONIC_NOP, 4, 8, { { OPK_GPR, RDX, 4 }, { OPK_GPR, RDI, 4 } } },
	{ 64, "f3 90", ZYDIS_MNEMONIC_PAUSE, 4, 8, { { OPK_NONE, 0, 0 } } },
	{ 64, "f3 48 90", ZYDIS_MNEMONIC_PAUSE, 8, 8, { { OPK_NONE, 0, 0 } } },
	{ 64, "f3 41 90", ZYDIS_MNEMONIC_XCHG, 4, 8, { { OPK_GPR, R8, 4 }, { OPK_GPR, RAX, 4 } } },
	{ 64, "66 f3 49 90", ZYDIS_MNEMONIC_XCHG, 8, 8, { { OPK_GPR, R8, 8 }, { OPK_GPR, RAX, 8 } } },
	{ 64, "41 90", ZYDIS_MNEMONIC_XCHG, 4, 8, { { OPK_GPR, R8, 4 }, { OPK_GPR, RAX, 4 } } },
	{ 16, "c4 06 34 12", ZYDIS_MNEMONIC_LES, 2, 2, { { OPK_GPR, RAX, 2 }, { OPK_MEM, 0, 4 } } },
};

static void fields_of_operands(void **state)
{
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(operands); n++) {
		unsigned given;
		struct x86_insn i = decode(operands[n].mode, operands[n].hex, &given);

		print_message("%s\n", operands[n].hex);
		assert_int_equal(i.len, given);
		assert_int_equal(i.mode, operands[n].mode);
		assert_int_equal(i.mnemonic, operands[n].mnemonic);
		assert_int_equal(i.opsize, operands[n].opsize);
		assert_int_equal(i.addrsize, operands[n].addrsize);
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(i.op[k].kind, operands[n].op[k].kind);
			assert_int_equal(i.op[k].reg, operands[n].op[k].reg);
			assert_int_equal(i.op[k].size, operands[n].op[k].size);
		}
	}
}

static const struct {
	unsigned mode;
	const char *hex;
	unsigned seg, base, index, scale;
	i64 disp;
	unsigned flags;
} addresses[] = {
	{ 64, "8b 00", DS, RAX, ZERO_IDX, 0, 0, 0 },
	{ 64, "8b 45 f8", SS, RBP, ZERO_IDX, 0, -8, 0 },
	{ 64, "8b 44 24 08", SS, RSP, ZERO_IDX, 0, 8, 0 },
	{ 64, "42 8b 84 b8 00 01 00 00", DS, RAX, R15, 2, 0x100, 0 },
	{ 64, "8b 04 25 00 00 00 80", DS, ZERO_IDX, ZERO_IDX, 0, -0x80000000ll, 0 },
	/* Base 5 with mod 0 is none, with REX.B too. */
	{ 64, "41 8b 04 25 00 00 00 80", DS, ZERO_IDX, ZERO_IDX, 0, -0x80000000ll, 0 },
	{ 64, "67 41 8b 04 25 00 10 00 00", DS, ZERO_IDX, ZERO_IDX, 0, 0x1000, 0 },
	{ 64, "67 41 8b 04 8d 00 10 00 00", DS, ZERO_IDX, RCX, 2, 0x1000, 0 },
	{ 64, "67 41 8b 44 25 10", DS, R13, ZERO_IDX, 0, 0x10, 0 },
	{ 64, "8b 05 10 00 00 00", DS, RIP_IDX, ZERO_IDX, 0, 0x16, INSN_RIP_REL },
	{ 64, "c7 05 10 00 00 00 01 02 03 04", DS, RIP_IDX, ZERO_IDX, 0, 0x1a, INSN_RIP_REL },
	{ 64, "65 48 8b 04 25 28 00 00 00", GS, ZERO_IDX, ZERO_IDX, 0, 0x28, INSN_SEG_OVERRIDE },
	{ 64, "64 2e 8b 00", FS, RAX, ZERO_IDX, 0, 0, INSN_SEG_OVERRIDE }, /* CS: means nothing */
	{ 64, "2e 8b 45 00", SS, RBP, ZERO_IDX, 0, 0, 0 },
	{ 64, "48 a1 11 22 33 44 55 66 77 88", DS, ZERO_IDX, ZERO_IDX, 0,
	  (i64)0x8877665544332211ull, 0 },
	{ 32, "8b 04 cd 00 10 00 00", DS, ZERO_IDX, RCX, 3, 0x1000, 0 },
	{ 32, "3e 8b 45 00", DS, RBP, ZERO_IDX, 0, 0, INSN_SEG_OVERRIDE },
	{ 32, "2e 36 8b 00", SS, RAX, ZERO_IDX, 0, 0, INSN_SEG_OVERRIDE }, /* the last one counts */
	{ 32, "a1 78 56 34 12", DS, ZERO_IDX, ZERO_IDX, 0, 0x12345678, 0 },
	{ 16, "8b 00", DS, RBX, RSI, 0, 0, 0 },
	{ 16, "8b 42 ff", SS, RBP, RSI, 0, -1, 0 },
	{ 16, "8b 46 05", SS, RBP, ZERO_IDX, 0, 5, 0 },
	{ 16, "8b 0e 34 12", DS, ZERO_IDX, ZERO_IDX, 0, 0x1234, 0 },
	{ 64, "a4", DS, RSI, ZERO_IDX, 0, 0, 0 },
	{ 32, "26 a5", ES, RSI, ZERO_IDX, 0, 0, INSN_SEG_OVERRIDE },
	{ 32, "64 6f", FS, RSI, ZERO_IDX, 0, 0, INSN_SEG_OVERRIDE | INSN_IO },
	{ 32, "2e d7", CS, RBX, ZERO_IDX, 0, 0, INSN_SEG_OVERRIDE },
	{ 64, "62 f1 7c 48 58 40 01", DS, RAX, ZERO_IDX, 0, 0x40, 0 }, /* compressed displacement */
	{ 64, "c4 e2 69 90 04 08", DS, RAX, 1, 0, 0, INSN_VSIB },
};

static void fields_of_addresses(void **state)
{
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(addresses); n++) {
		unsigned given, mask = INSN_SEG_OVERRIDE | INSN_RIP_REL | INSN_VSIB | INSN_IO;
		struct x86_insn i = decode(addresses[n].mode, addresses[n].hex, &given);

		print_message("%s\n", addresses[n].hex);
		assert_int_equal(i.len, given);
		assert_int_equal(i.seg, addresses[n].seg);
		assert_int_equal(i.base, addresses[n].base);
		assert_int_equal(i.index, addresses[n].index);
		assert_int_equal(i.scale, addresses[n].scale);
		assert_int_equal(i.disp, addresses[n].disp);
		assert_int_equal(i.flags & mask, addresses[n].flags);
	}
}

static const struct {
	unsigned mode;
	const char *hex;
	u64 imm;
	u32 imm2;
	u16 sel;
} immediates[] = {
	{ 64, "48 83 c0 ff", ~0ull, 0, 0 },
	{ 64, "48 05 00 00 00 80", 0xffffffff80000000ull, 0, 0 },
	{ 64, "48 b8 88 77 66 55 44 33 22 11", 0x1122334455667788ull, 0, 0 },
	{ 64, "6a fe", (u64)-2, 0, 0 },
	{ 64, "d1 e0", 1, 0, 0 },
	{ 64, "c8 10 00 03", 0x10, 3, 0 },
	{ 64, "eb fe", (u64)-2, 0, 0 },
	{ 16, "e9 00 80", (u64)-0x8000, 0, 0 },
	{ 32, "ea 11 22 33 44 55 66", 0x44332211, 0, 0x6655 },
	{ 16, "9a 34 12 78 56", 0x1234, 0, 0x5678 },
};

static void fields_of_immediates(void **state)
{
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(immediates); n++) {
		unsigned given;
		struct x86_insn i = decode(immediates[n].mode, immediates[n].hex, &given);

		print_message("%s\n", immediates[n].hex);
		assert_int_equal(i.len, given);
		assert_int_equal(i.imm, immediates[n].imm);
		assert_int_equal(i.imm2, immediates[n].imm2);
		assert_int_equal(i.sel, immediates[n].sel);
	}
}

static const struct {
	unsigned mode;
	const char *hex;
	unsigned flags;
} flags[] = {
	{ 64, "90", 0 },
	{ 64, "f0 01 00", INSN_LOCK },
	{ 64, "f3 a4", INSN_REP | INSN_BRANCH },
	{ 64, "f3 a6", INSN_REP | INSN_BRANCH },
	{ 64, "f2 a6", INSN_REPNE | INSN_BRANCH },
	{ 64, "f2 f3 a6", INSN_REP | INSN_BRANCH }, /* the last one counts */
	{ 64, "f3 c3", INSN_BRANCH },
	{ 64, "f2 e8 00 00 00 00", INSN_BRANCH },
	{ 64, "74 00", INSN_BRANCH },
	{ 64, "e2 00", INSN_BRANCH },
	{ 64, "ff e0", INSN_BRANCH },
	{ 64, "6c", INSN_IO },
	{ 64, "9d", INSN_END },
	{ 64, "fb", INSN_END },
};

static void prefixes_and_ends(void **state)
{
	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(flags); n++) {
		unsigned given;

		print_message("%s\n", flags[n].hex);
		assert_int_equal(decode(flags[n].mode, flags[n].hex, &given).flags, flags[n].flags);
	}
}

static int decode_avail(struct x86_insn *i, const char *text, unsigned n)
{
	u8 *exact = malloc(n ? n : 1); /* so that a sanitizer sees a read beyond */
	int result;

	memcpy(exact, text, n);
	result = x86_decode(i, exact, n, 64);
	free(exact);
	return result;
}

static void truncated(void **state)
{
	static const char text[] = "\x48\xc7\x84\xc8\x00\x01\x00\x00\x78\x56\x34\x12";
	struct x86_insn i; /* mov qword [rax+rcx*8+100h], 12345678h */

	(void)state;
	for (unsigned n = 0; n < 12; n++)
		assert_int_equal(decode_avail(&i, text, n), 0);
	assert_int_equal(decode_avail(&i, text, 12), 1);
	assert_int_equal(i.len, 12);
	assert_memory_equal(i.bytes, text, 12);
}

static void longer_than_15(void **state)
{
	struct x86_insn i, ud;
	u8 bytes[16];

	(void)state;
	memset(bytes, 0x66, sizeof(bytes));
	assert_int_equal(x86_decode(&i, bytes, 14, 64), 0);
	assert_int_equal(x86_decode(&i, bytes, 15, 64), -1);
	assert_int_equal(i.len, 15);
	assert_true(i.flags & INSN_BRANCH);
	assert_int_equal(x86_decode(&ud, (const u8 *)"\xf0\x90", 2, 64), -1);
	assert_ptr_not_equal(i.fn, ud.fn); /* #GP, not #UD */
	bytes[14] = 0x90;
	assert_int_equal(x86_decode(&i, bytes, 16, 64), 1);
	assert_int_equal(i.len, 15);
}

/* No instruction, and the bytes it takes to know. */
static void undefined(void **state)
{
	static const struct {
		unsigned mode, len;
		const char *text;
	} row[] = {
		{ 64, 1, "\x06" }, /* push es */
		{ 64, 1, "\xd6" },
		{ 64, 3, "\xf0\x01\xd8" }, /* lock, register destination */
		{ 64, 3, "\xf0\x8b\x00" }, /* lock mov */
		{ 64, 3, "\xf0\x3b\x00" }, /* lock cmp */
		{ 64, 2, "\x8e\xc8" },     /* mov cs, ax */
		{ 64, 2, "\x8e\xf0" },     /* mov sreg 6 */
		{ 32, 2, "\xfe\xd0" },     /* group 4 /2 */
		{ 64, 2, "\xff\xf8" },     /* group 5 /7 */
		{ 64, 2, "\x8d\xc0" },     /* lea with a register */
	};

	(void)state;
	for (unsigned n = 0; n < ARRAY_LEN(row); n++) {
		struct x86_insn i;

		print_message("row %u\n", n);
		assert_int_equal(x86_decode(&i, (const u8 *)row[n].text, row[n].len, row[n].mode),
				 -1);
		assert_int_equal(i.len, row[n].len);
		assert_non_null(i.fn);
		assert_true(i.flags & INSN_BRANCH);
	}
}

/* Every byte string has a function and a sane length, however little of it there is. */
static void any_bytes(void **state)
{
	u64 seed = 1;

	(void)state;
	for (unsigned n = 0; n < 300000; n++) {
		struct x86_insn i;
		u8 bytes[15];
		unsigned avail = n % 16;

		for (unsigned k = 0; k < sizeof(bytes); k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			bytes[k] = (u8)(seed >> 56);
		}
		if (x86_decode(&i, bytes, avail, 16u << n % 3) == 0) {
			assert_true(avail < 15);
			continue;
		}
		assert_non_null(i.fn);
		assert_in_range(i.len, 1, avail);
		assert_in_range(i.seg, ES, GS);
		assert_true(i.base < GPR_SLOTS && (i.index < GPR_SLOTS || i.flags & INSN_VSIB));
		assert_true(i.nops <= ARRAY_LEN(i.op));
	}
}

static void disassembly(void **state)
{
	struct x86_insn i;
	char text[64];

	(void)state;
	assert_int_equal(x86_decode(&i, (const u8 *)"\xeb\xfe", 2, 64), 1);
	x86_disasm(&i, 0x1000, text, sizeof(text));
	assert_string_equal(text, "jmp 0x0000000000001000");
	assert_int_equal(x86_decode(&i, (const u8 *)"\xf0\x90", 2, 64), -1);
	x86_disasm(&i, 0x1000, text, sizeof(text));
	assert_string_equal(text, "(bad)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_of_operands),
		cmocka_unit_test(fields_of_addresses),
		cmocka_unit_test(fields_of_immediates),
		cmocka_unit_test(prefixes_and_ends),
		cmocka_unit_test(truncated),
		cmocka_unit_test(longer_than_15),
		cmocka_unit_test(undefined),
		cmocka_unit_test(any_bytes),
		cmocka_unit_test(disassembly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
