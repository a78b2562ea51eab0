/* Each helper of the assembler, decoded by Zydis: the text is the instruction that was meant, the length is what was written. */
#include "engine/bt/asm.h"

#include "base/test.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

static u8 buffer[4096]; /* written at its start, run in its second half by one test */

static struct as begin(void)
{
	memset(buffer, 0xcc, sizeof(buffer));
	return (struct as){ .p = buffer };
}

static void is(const struct as *a, const char *expected)
{
	ZydisDisassembledInstruction d;

	if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, 0x1000, buffer,
						sizeof(buffer), &d)))
		fail_msg("no instruction where '%s' was meant", expected);
	assert_string_equal(d.text, expected);
	assert_int_equal(d.info.length, a->p - buffer);
}

#define check(expected, emit)          \
	do {                           \
		struct as a = begin(); \
                                       \
		emit;                  \
		is(&a, expected);      \
	} while (0)

static void memory_operands(void **state)
{
	static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					       "rsi", "rdi", "r8",  "r9",  "r10", "r11",
					       "r12", "r13", "r14", "r15" };
	static const struct {
		i32 disp;
		const char *text;
	} disps[] = {
		{ 0, "" }, { 127, "+0x7F" }, { -128, "-0x80" }, { 128, "+0x80" }, { -129, "-0x81" }
	};
	char text[64];

	for (unsigned base = 0; base < 16; base++)
		for (unsigned n = 0; n < ARRAY_LEN(disps); n++) {
			snprintf(text, sizeof(text), "mov %s, [%s%s]", names[15 - base],
				 names[base], disps[n].text);
			/* With base 13 or 5 a displacement of 0 is written, and not shown. */
			check(text, as_load(&a, 8, 15 - base, rm_mem(base, disps[n].disp)));
			for (unsigned index = 0; index < 16; index++) {
				if (index == H_RSP)
					continue;
				snprintf(text, sizeof(text), "lea r9, [%s+%s*4%s]", names[base],
					 names[index], disps[n].text);
				check(text,
				      as_lea(&a, 8, H_R9, rm_index(base, index, 2, disps[n].disp)));
			}
		}
	check("mov rcx, gs:[0x0000000000012345]", as_load(&a, 8, H_RCX, rm_ctx(0x12345)));
	check("mov r10, gs:[rcx*8+0x12345]", as_load(&a, 8, H_R10, rm_ctx_array(0x12345, H_RCX)));
	check("lea rcx, [r13*8+0x100]", as_lea(&a, 8, H_RCX, rm_index(H_NONE, H_R13, 3, 0x100)));
}

static void sizes(void **state)
{
	check("mov sil, [rax]", as_load(&a, 1, H_RSI, rm_mem(H_RAX, 0)));
	check("mov si, [rax]", as_load(&a, 2, H_RSI, rm_mem(H_RAX, 0)));
	check("mov esi, [rax]", as_load(&a, 4, H_RSI, rm_mem(H_RAX, 0)));
	check("mov [r12], r11b", as_store(&a, 1, rm_mem(H_R12, 0), H_R11));
	check("mov [r12], r11w", as_store(&a, 2, rm_mem(H_R12, 0), H_R11));
	check("movzx ecx, sil", as_loadz(&a, 1, H_RCX, rm_reg(H_RSI)));
	check("movzx r9d, byte ptr [rbx]", as_loadz(&a, 1, H_R9, rm_mem(H_RBX, 0)));
	check("movzx ecx, ax", as_loadz(&a, 2, H_RCX, rm_reg(H_RAX)));
	check("mov ecx, eax", as_loadz(&a, 4, H_RCX, rm_reg(H_RAX)));
	check("mov r15, rcx", as_mov(&a, 8, H_R15, H_RCX));
}

static void immediates(void **state)
{
	check("mov r9d, 0xFFFFFFFF", as_mov_imm(&a, H_R9, 0xffffffff));
	check("mov rdx, 0xFFFFFFFF80000000", as_mov_imm(&a, H_RDX, 0xffffffff80000000));
	check("mov r8, 0x123456789ABCDEF0", as_mov_imm(&a, H_R8, 0x123456789abcdef0));
	check("mov byte ptr [rdx], 0x12", as_store_imm(&a, 1, rm_mem(H_RDX, 0), 0x12));
	check("mov word ptr [rdx], 0x1234", as_store_imm(&a, 2, rm_mem(H_RDX, 0), 0x1234));
	check("mov dword ptr gs:[0x0000000000000040], 0x12345678",
	      as_store_imm(&a, 4, rm_ctx(0x40), 0x12345678));
}

static void without_flags(void **state)
{
	check("rorx rcx, r10, 0x0C", as_rorx(&a, true, H_RCX, H_R10, 12));
	check("rorx r14d, ebx, 0x08", as_rorx(&a, false, H_R14, H_RBX, 8));
	check("shrx rcx, r9, rsp", as_shrx(&a, H_RCX, H_R9, H_RSP));
	check("shlx r9, rcx, r10", as_shlx(&a, H_R9, H_RCX, H_R10));
	check("sarx rax, rdx, r15", as_sarx(&a, H_RAX, H_RDX, H_R15));
	check("pext rax, r8, rcx", as_pext(&a, H_RAX, H_R8, H_RCX));
	check("pdep r8, rax, r11", as_pdep(&a, H_R8, H_RAX, H_R11));
}

static void indirect_jumps(void **state)
{
	check("jmp rdx", as_jmp_reg(&a, H_RDX));
	check("jmp r11", as_jmp_reg(&a, H_R11));
}

static void jumps(void **state)
{
	struct as a;
	u8 *at;

	/* Zydis is told that the buffer lies at 1000h. */
	a = begin();
	as_patch(&a, as_jmp(&a), (uintptr_t)buffer + 0x20);
	is(&a, "jmp 0x0000000000001020");
	a = begin();
	as_patch(&a, as_jcc(&a, 5), (uintptr_t)buffer - 0x10);
	is(&a, "jnz 0x0000000000000FF0");
	a = begin();
	at = as_jrcxz(&a);
	for (unsigned n = 0; n < 20; n++)
		as_byte(&a, 0x90);
	as_short_here(&a, at);
	a.p = buffer + 2;
	is(&a, "jrcxz 0x0000000000001016");
	a = begin();
	as_jecxz(&a);
	is(&a, "jecxz 0x0000000000001003");
}

/* What is written at one address and run at another goes where it would go there. */
static void two_mappings(void **state)
{
	struct as a = begin();

	a.exec = 0x800;
	as_jmp_to(&a, (uintptr_t)buffer + 0x800 + 0x30);
	is(&a, "jmp 0x0000000000001030");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_operands), cmocka_unit_test(sizes),
		cmocka_unit_test(immediates),      cmocka_unit_test(without_flags),
		cmocka_unit_test(indirect_jumps),  cmocka_unit_test(jumps),
		cmocka_unit_test(two_mappings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
