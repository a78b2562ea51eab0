/*
 * Instruction format in 64-bit mode: SDM 2A 2.1, 2.2, SDM 2 per opcode; what is gone, what LOCK may
 * stand before, REX, prefixes, the length limit.
 */
#include "lib/lm.h"

static u64 data[8] USER;

struct row {
	u8 size;
	u8 bytes[15];
	const char *rule;
};

static void gone(void)
{
	static const struct row rows[] = {
		{ 1, { 0x06 }, "SDM 2B PUSH ES in 64-bit mode faults #UD" },
		{ 1, { 0x07 }, "SDM 2B POP ES in 64-bit mode faults #UD" },
		{ 1, { 0x0e }, "SDM 2B PUSH CS in 64-bit mode faults #UD" },
		{ 1, { 0x16 }, "SDM 2B PUSH SS in 64-bit mode faults #UD" },
		{ 1, { 0x17 }, "SDM 2B POP SS in 64-bit mode faults #UD" },
		{ 1, { 0x1e }, "SDM 2B PUSH DS in 64-bit mode faults #UD" },
		{ 1, { 0x1f }, "SDM 2B POP DS in 64-bit mode faults #UD" },
		{ 1, { 0x27 }, "SDM 2A DAA in 64-bit mode faults #UD" },
		{ 1, { 0x2f }, "SDM 2A DAS in 64-bit mode faults #UD" },
		{ 1, { 0x37 }, "SDM 2A AAA in 64-bit mode faults #UD" },
		{ 1, { 0x3f }, "SDM 2A AAS in 64-bit mode faults #UD" },
		{ 1, { 0x60 }, "SDM 2B PUSHA in 64-bit mode faults #UD" },
		{ 1, { 0x61 }, "SDM 2B POPA in 64-bit mode faults #UD" },
		{ 3, { 0x82, 0xc0, 0x01 }, "SDM 2D opcode 82h in 64-bit mode faults #UD" },
		{ 7,
		  { 0x9a, 0, 0, 0, 0, 0x33, 0 },
		  "SDM 2A CALL ptr16:32 in 64-bit mode faults #UD" },
		{ 7,
		  { 0xea, 0, 0, 0, 0, 0x33, 0 },
		  "SDM 2A JMP ptr16:32 in 64-bit mode faults #UD" },
		{ 1, { 0xce }, "SDM 2A INTO in 64-bit mode faults #UD" },
		{ 2, { 0xd4, 0x0a }, "SDM 2A AAM in 64-bit mode faults #UD" },
		{ 2, { 0xd5, 0x0a }, "SDM 2A AAD in 64-bit mode faults #UD" },
		{ 1, { 0xd6 }, "SDM 2D SALC in 64-bit mode faults #UD" },
		{ 2, { 0x0f, 0x04 }, "SDM 2D opcode 0F 04 faults #UD" },
		{ 2, { 0x0f, 0x0a }, "SDM 2D opcode 0F 0A faults #UD" },
		{ 2, { 0x0f, 0x24 }, "SDM 2D opcode 0F 24 faults #UD" },
		{ 2, { 0x0f, 0x0b }, "SDM 2B UD2 faults #UD" },
		{ 3, { 0x0f, 0xb9, 0xc0 }, "SDM 2B UD1 faults #UD" },
		{ 3, { 0x0f, 0xff, 0xc0 }, "SDM 2B UD0 faults #UD" },
		{ 2, { 0xfe, 0xd0 }, "SDM 2D group 4 /2 faults #UD" },
		{ 2, { 0xff, 0xf8 }, "SDM 2D group 5 /7 faults #UD" },
		{ 3, { 0x8f, 0xc8, 0x00 }, "SDM 2D group 1A /1 faults #UD" },
		{ 2, { 0xff, 0xd8 }, "SDM 2A far CALL with a register operand faults #UD" },
		{ 2, { 0xff, 0xe8 }, "SDM 2A far JMP with a register operand faults #UD" },
		{ 2, { 0x8d, 0xc0 }, "SDM 2A LEA of a register faults #UD" },
		{ 3, { 0x0f, 0xb2, 0xc0 }, "SDM 2A LSS with a register operand faults #UD" },
		{ 3, { 0x0f, 0xba, 0xc0 }, "SDM 2D group 8 /0 faults #UD" },
		{ 3, { 0x0f, 0xc7, 0xc8 }, "SDM 2A CMPXCHG8B of a register faults #UD" },
		{ 3, { 0xc7, 0xc8, 0 }, "SDM 2D group 11 /1 faults #UD" },
		{ 3, { 0x0f, 0x00, 0xf0 }, "SDM 2D group 6 /6 faults #UD" },
	};
	struct try t;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		t = try_new(U64);
		t.rsp -= 64;
		faults(&t, code_bytes(rows[i].bytes, rows[i].size), UD, 0, rows[i].rule);
	}
	t = try_new(U64);
	t.rbx = (u64)data;
	faults(&t, CODE(".byte 0xc4, 0x03, 0, 0, 0"), UD, 0,
	       "SDM 2A C4h with mod not 3 is VEX in 64-bit mode, not LES");
	t = try_new(U64);
	faults(&t, CODE(".byte 0x66, 0xc5, 0xf8, 0x77"), UD, 0,
	       "SDM 2A 2.3.3 66h before VEX faults #UD");
	t = try_new(U64);
	faults(&t, CODE(".byte 0x48, 0xc5, 0xf8, 0x77"), UD, 0,
	       "SDM 2A 2.3.2 REX before VEX faults #UD");
	t = try_new(U64);
	faults(&t, CODE(".byte 0xf0, 0xc5, 0xf8, 0x77"), UD, 0,
	       "SDM 2A 2.3.1 LOCK before VEX faults #UD");
}

static void lock(void)
{
	static const struct row bad[] = {
		{ 3, { 0xf0, 0x01, 0xc0 }, "SDM 2A LOCK ADD of registers faults #UD" },
		{ 3, { 0xf0, 0x03, 0x03 }, "SDM 2A LOCK ADD with a memory source faults #UD" },
		{ 3, { 0xf0, 0x8b, 0x03 }, "SDM 2A LOCK MOV faults #UD" },
		{ 3, { 0xf0, 0x39, 0x03 }, "SDM 2A LOCK CMP faults #UD" },
		{ 3, { 0xf0, 0x85, 0x03 }, "SDM 2A LOCK TEST faults #UD" },
		{ 2, { 0xf0, 0x90 }, "SDM 2A LOCK NOP faults #UD" },
		{ 4, { 0xf0, 0x0f, 0xa3, 0x03 }, "SDM 2A LOCK BT faults #UD" },
		{ 4, { 0xf0, 0x0f, 0xc1, 0xc0 }, "SDM 2A LOCK XADD of registers faults #UD" },
		{ 3, { 0xf0, 0x87, 0xc3 }, "SDM 2A LOCK XCHG of registers faults #UD" },
		{ 2, { 0xf0, 0x50 }, "SDM 2A LOCK PUSH faults #UD" },
		{ 3, { 0xf0, 0xd1, 0x03 }, "SDM 2A LOCK ROL faults #UD" },
		{ 3, { 0xf0, 0xf7, 0x23 }, "SDM 2A LOCK MUL faults #UD" },
	};
	static const struct row good[] = {
		{ 3, { 0xf0, 0x01, 0x03 }, "SDM 2A LOCK ADD [m], r works" },
		{ 4, { 0xf0, 0x83, 0x03, 0x01 }, "SDM 2A LOCK ADD [m], imm8 works" },
		{ 3, { 0xf0, 0xff, 0x03 }, "SDM 2A LOCK INC [m] works" },
		{ 3, { 0xf0, 0xf7, 0x1b }, "SDM 2A LOCK NEG [m] works" },
		{ 3, { 0xf0, 0xf7, 0x13 }, "SDM 2A LOCK NOT [m] works" },
		{ 4, { 0xf0, 0x0f, 0xab, 0x03 }, "SDM 2A LOCK BTS [m], r works" },
		{ 5, { 0xf0, 0x0f, 0xba, 0x33, 0x01 }, "SDM 2A LOCK BTR [m], imm8 works" },
		{ 4, { 0xf0, 0x0f, 0xb1, 0x03 }, "SDM 2A LOCK CMPXCHG works" },
		{ 4, { 0xf0, 0x0f, 0xc1, 0x03 }, "SDM 2A LOCK XADD works" },
		{ 3, { 0xf0, 0x87, 0x03 }, "SDM 2A LOCK XCHG works" },
		{ 4, { 0xf0, 0x0f, 0xc7, 0x0b }, "SDM 2A LOCK CMPXCHG8B works" },
		{ 5, { 0xf0, 0x48, 0x0f, 0xc7, 0x0b }, "SDM 2A LOCK CMPXCHG16B works" },
	};
	struct try t;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		t = try_new(U64);
		t.rbx = (u64)data & ~15ull;
		faults(&t, code_bytes(bad[i].bytes, bad[i].size), UD, 0, bad[i].rule);
	}
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		t = try_new(U64);
		t.rbx = ((u64)data + 15) & ~15ull;
		runs(&t, code_bytes(good[i].bytes, good[i].size), good[i].rule);
	}
	t = try_new(U64);
	t.rbx = (((u64)data + 15) & ~15ull) + 8;
	faults(&t, CODE("cmpxchg16b [rbx]"), GP, 0,
	       "SDM 2A CMPXCHG16B not aligned to 16 faults #GP(0)");
}

static void rex(void)
{
	struct try t = try_new(U64);

	t.rax = 0x1122334455667788;
	try_run(&t, CODE(".byte 0x48, 0x66, 0x89, 0xc3")); /* REX.W 66 mov: REX is ignored */
	check(&t, t.out.vector == DONE && t.out.rbx == 0x7788,
	      "SDM 2A 2.2.1 a REX prefix before a legacy prefix is ignored");
	t = try_new(U64);
	t.rax = 0x1122334455667788;
	try_run(&t, CODE(".byte 0x66, 0x48, 0x89, 0xc3"));
	check(&t, t.out.rbx == t.rax, "SDM 2A 2.2.1.2 REX.W wins over the operand-size prefix");
	t = try_new(U64);
	t.rax = 0x1122334455667788;
	try_run(&t, CODE(".byte 0x48, 0x40, 0x89, 0xc3"));
	check(&t, t.out.rbx == 0x55667788, "SDM 2A 2.2.1 of two REX prefixes the last counts");
	t = try_new(U64);
	t.rsi = 0x1234;
	t.rdx = 0xaaaa;
	try_run(&t, CODE(".byte 0x88, 0xf1, 0x40, 0x88, 0xf5")); /* mov cl, dh; rex mov bpl, sil */
	check(&t, t.out.rcx == 0xaa && t.out.rbp == 0x34,
	      "SDM 2A 2.2.1.2 REX turns AH, CH, DH, BH into SPL, BPL, SIL, DIL");
	t = try_new(U64);
	t.rax = 0xffffffffffffffff;
	t.rbx = 0xffffffffffffffff;
	t.rcx = 0xffffffffffffffff;
	try_run(&t, CODE("mov eax, 1; mov bx, 1; mov cl, 1"));
	check(&t,
	      t.out.rax == 1 && t.out.rbx == 0xffffffffffff0001 && t.out.rcx == 0xffffffffffffff01,
	      "SDM 1 3.4.1.1 32-bit results are zero-extended, 16 and 8-bit ones are not");
	t = try_new(U64);
	t.rax = 0xffffffff00000000;
	t.rbx = 0xffffffff00000000;
	try_run(&t, CODE("cmovc eax, ecx; xchg ebx, ebx; .byte 0x90"));
	check(&t, t.out.rax == 0 && t.out.rbx == 0,
	      "SDM 2A CMOVcc r32 clears bits 63:32 even when it moves nothing");
	t = try_new(U64);
	t.rax = 0xffffffff00000000;
	t.r8 = 5;
	try_run(&t, CODE(".byte 0x90, 0x41, 0x90"));
	check(&t, t.out.rax == 5 && t.out.r8 == 0, "SDM 2B 90h is NOP, 41 90 is XCHG r8d, eax");
	t = try_new(U64);
	t.rcx = 0xffffffff80000000;
	try_run(&t,
		CODE(".byte 0x48, 0x63, 0xc1, 0x63, 0xd1")); /* movsxd rax, ecx; movsxd edx, ecx */
	check(&t, t.out.rax == 0xffffffff80000000 && t.out.rdx == 0x80000000,
	      "SDM 2B 63h is MOVSXD in 64-bit mode");
	t = try_new(U64);
	t.r12 = (u64)data;
	t.r13 = (u64)data;
	data[0] = 0x77;
	try_run(&t, CODE("mov rax, [r12]; mov rcx, [r13]"));
	check(&t, t.out.rax == 0x77 && t.out.rcx == 0x77,
	      "SDM 2A 2.2.1.2 base R12 needs a SIB, base R13 a displacement, like RSP and RBP");
	t = try_new(U64);
	t.rbx = (u64)data - 0x20;
	t.r12 = 0x10;
	try_run(&t, CODE("mov rax, [rbx + r12 * 2]"));
	check(&t, t.out.rax == 0x77, "SDM 2A 2.2.1.2 R12 can be an index, RSP cannot");
}

static void addressing(void)
{
	struct try t = try_new(U64);
	static u8 moffs[11] = { 0x48, 0xa1 };

	data[0] = 0x1122334455667788;
	*(u64 *)(moffs + 2) = (u64)data;
	try_run(&t, code_bytes(moffs, 10));
	check(&t, t.out.vector == DONE && t.out.rax == data[0],
	      "SDM 2A 2.2.1.4 MOV RAX, moffs64 has a 64-bit address");
	{
		u8 short_moffs[7] = { 0x67, 0x48, 0xa1 };

		*(u32 *)(short_moffs + 3) = (u32)(u64)data;
		t = try_new(U64);
		try_run(&t, code_bytes(short_moffs, 7));
		check(&t, t.out.vector == DONE && t.out.rax == data[0],
		      "SDM 2A 2.2.1.4 with an address-size prefix moffs has 32 bits");
	}
	t = try_new(U64);
	t.rbx = 0x1234567800000000 + (u64)data;
	try_run(&t, CODE("mov rax, [ebx]"));
	check(&t, t.out.vector == DONE && t.out.rax == data[0],
	      "SDM 1 3.3.7 an address-size prefix gives 32-bit addresses, zero-extended");
	t = try_new(U64);
	t.rbx = (u64)data + 0x10;
	t.rcx = 0xfffffff0;
	try_run(&t, CODE("mov rax, [ebx + ecx]"));
	check(&t, t.out.vector == DONE && t.out.rax == data[0],
	      "SDM 1 3.3.7 32-bit addresses wrap at 4 GiB");
	t = try_new(U64);
	t.rcx = 0x100000000;
	try_run(&t, CODE(".byte 0x67, 0xe3, 0x02; ud2")); /* jecxz */
	check(&t, t.out.vector == DONE, "SDM 2A JECXZ with an address-size prefix looks at ECX");
	t = try_new(U64);
	t.rcx = 0x100000001;
	t.rdi = (u64)data;
	try_run(&t, CODE(".byte 0x67; rep stosb"));
	check(&t, t.out.vector == DONE && t.out.rcx == 0 && t.out.rdi == t.rdi + 1,
	      "SDM 2B REP with an address-size prefix counts in ECX and clears RCX[63:32]");
	t = try_new(U64);
	try_run(&t, CODE("lea rax, [rip + 0x10]; lea rcx, [eip + 0]"));
	check(&t, t.out.rax == t.rip + 7 + 0x10 && t.out.rcx == t.rip + 15,
	      "SDM 2A 2.2.1.6 RIP-relative addresses count from the next instruction");
	t = try_new(U64);
	try_run(&t, CODE("lea rax, [0xffffffffffffff00]"));
	check(&t, t.out.rax == 0xffffffffffffff00, "SDM 2A 2.2.1.3 disp32 is sign-extended");
	t = try_new(U64);
	t.rsp -= 64;
	try_run(&t, CODE(".byte 0x68, 0, 0, 0, 0x80; pop rax; .byte 0x6a, 0xff; pop rcx"));
	check(&t, t.out.rax == 0xffffffff80000000 && t.out.rcx == ~0ull && t.out.rsp == t.rsp,
	      "SDM 2B PUSH imm sign-extends to 64 bits");
	t = try_new(U64);
	t.rsp -= 64;
	t.rax = 0x1234;
	try_run(&t, CODE("push ax; pop cx"));
	check(&t, t.out.rcx == 0x1234 && t.out.rsp == t.rsp,
	      "SDM 2B PUSH with an operand-size prefix moves RSP by 2");
	t = try_new(U64);
	t.rsp -= 64;
	try_run(&t, CODE(".byte 0x66, 0x68, 0x34, 0x12; mov rcx, rsp; add rsp, 2"));
	check(&t, t.out.vector == DONE && t.out.rcx == t.rsp - 2,
	      "SDM 2B PUSH imm16 moves RSP by 2");
	t = try_new(U64);
	t.rsp -= 64;
	try_run(&t, CODE("push rsp; pop rax; mov rcx, rsp; push rcx; pop rsp"));
	check(&t, t.out.rax == t.rsp && t.out.rsp == t.rsp, "SDM 2B PUSH RSP pushes the old value");
	t = try_new(U64);
	t.rbp = 0x99;
	try_run(&t, CODE("enter 0x20, 0; mov rax, rsp; leave"));
	check(&t, t.out.rax == t.rsp - 8 - 0x20 && t.out.rsp == t.rsp && t.out.rbp == 0x99,
	      "SDM 2A ENTER and LEAVE work on 64 bits");
	t = try_new(U64);
	t.rsp -= 64;
	try_run(&t, CODE("pushfq; pop rax; pushf; pop rcx"));
	check(&t,
	      t.out.rax == (t.out.rax & 0xffffffff) && !(t.out.rax & (FLAG_RF | FLAG_VM)) &&
		      (t.out.rax & 2),
	      "SDM 2B PUSHFQ pushes RFLAGS with RF and VM clear and bit 1 set");
}

static void lengths(void)
{
	u8 longest[16], limit[16];
	struct try t = try_new(U64);

	for (unsigned i = 0; i < 16; i++)
		longest[i] = limit[i] = 0x66;
	longest[14] = 0x90;
	limit[15] = 0x90;
	runs(&t, code_bytes(longest, 15), "SDM 2A 2.3.11 an instruction may have 15 bytes");
	t = try_new(U64);
	faults(&t, code_bytes(limit, 16), GP, 0,
	       "SDM 2A 2.3.11 an instruction of 16 bytes faults #GP(0)");
	t = try_new(U64);
	for (unsigned i = 0; i < 15; i++)
		limit[i] = 0x2e;
	faults(&t, code_bytes(limit, 16), GP, 0,
	       "SDM 2A 2.3.11 16 bytes with segment prefixes fault #GP(0)");
}

static void prefixes(void)
{
	struct try t = try_new(U64);

	t.rbx = (u64)data;
	data[0] = 0x42;
	try_run(&t, CODE(".byte 0x26, 0x2e, 0x36, 0x3e; mov rax, [rbx]"));
	check(&t, t.out.rax == 0x42,
	      "SDM 2A 2.1.1 ES, CS, SS, DS prefixes are ignored in 64-bit mode");
	t = try_new(U64);
	wrmsr(MSR_FS_BASE, 8);
	wrmsr(MSR_GS_BASE, 16);
	data[1] = 0x43;
	data[2] = 0x44;
	t.rbx = (u64)data;
	try_run(&t, CODE(".byte 0x65, 0x64; mov rax, [rbx]; .byte 0x64, 0x3e; mov rcx, [rbx]"));
	check(&t, t.out.rax == 0x43 && (t.out.rcx == 0x43),
	      "SDM 2A 2.1.1 of FS and GS prefixes the last counts, ignored ones do not undo it");
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
	t = try_new(U64);
	t.rcx = 2;
	t.rsi = (u64)data;
	t.rdi = (u64)(data + 4);
	try_run(&t, CODE(".byte 0xf2, 0x48, 0xa5")); /* repne movsq */
	check(&t, t.out.vector == DONE && t.out.rcx == 0,
	      "SDM 2B REPNE before MOVS repeats like REP");
	t = try_new(U64);
	runs(&t, CODE(".byte 0xf3, 0x90; .byte 0xf2, 0x90; .byte 0x66, 0x90"),
	     "SDM 2B PAUSE, and NOP with other prefixes");
	t = try_new(U64);
	runs(&t, CODE(".byte 0x0f, 0x19, 0xc0; .byte 0x0f, 0x1f, 0xc0"),
	     "SDM 2D 0F 19 to 0F 1F are NOPs with a ModRM byte");
	t = try_new(U64);
	t.rax = 0x102;
	t.rflags |= 1;
	try_run(&t, CODE("lahf; sahf"));
	if (cpuid_ecx(0x80000001, 0) & 1)
		check(&t, t.out.vector == DONE && (t.out.rax >> 8 & 0xff) == 3,
		      "SDM 2A LAHF and SAHF work in 64-bit mode with their CPUID bit");
	else
		check(&t, t.out.vector == UD,
		      "SDM 2A LAHF in 64-bit mode without its CPUID bit faults #UD");
	t = try_new(U64);
	t.rbx = (u64)data + 1;
	t.rflags |= FLAG_AC;
	write_cr0(read_cr0() | CR0_AM);
	faults(&t, CODE("mov eax, [rbx]"), AC, 0,
	       "SDM 3A 6.15 #AC at CPL 3 with AM=1, AC=1: not aligned doubleword");
	t = try_new(U64);
	t.rbx = (u64)data + 1;
	runs(&t, CODE("mov eax, [rbx]"), "SDM 3A 6.15 no #AC with RFLAGS.AC=0");
	t = try_new(K64);
	t.rbx = (u64)data + 1;
	t.rflags |= FLAG_AC;
	runs(&t, CODE("mov eax, [rbx]"), "SDM 3A 6.15 no #AC at CPL 0");
	write_cr0(read_cr0() & ~CR0_AM);
}

void lm_main(void)
{
	gone();
	lock();
	rex();
	addressing();
	lengths();
	prefixes();
}
