/*
 * Exceptions: class (fault or trap, by the saved EIP), conditions, priority and double faults.
 * SDM 3A 6.5, 6.9 and 6.15.
 */
#include "pm.h"

#define BASE (CR0_PE | CR0_ET | CR0_NE)

static void divide(void)
{
	PROBE3(CODE("nop\n div ecx"), .ecx = 0, .eax = 5);
	rule("SDM 3A 6.15 (0) DIV by zero: #DE, a fault", fault(DE, 1) && t.eax == 5);
	PROBE3(CODE("nop\n div ecx"), .ecx = 1, .edx = 1);
	rule("SDM 2A DIV: quotient too large: #DE", fault(DE, 1) && t.edx == 1);
	PROBE3(CODE("nop\n idiv ecx"), .ecx = 0xffffffff, .edx = 0xffffffff, .eax = 0x80000000);
	rule("SDM 2A IDIV: -2^31 / -1: #DE", fault(DE, 1));
	PROBE3(CODE("aam 0"));
	rule("SDM 2A AAM with base 0: #DE", fault(DE, 0));
}

static void software(void)
{
	static u32 bounds[2] = { 10, 20 };

	idt_set(OF, stub_gate(OF, 3));
	PROBE3(CODE("into\n nop"), .eflags = FL_OF | 2);
	rule("SDM 3A 6.15 (4) INTO with OF set: #OF, a trap", fault(OF, 1));
	PROBE3(CODE("into"));
	rule("SDM 3A 6.15 (4) INTO with OF clear does nothing", done());
	PROBE3(CODE("int3"));
	rule("SDM 3A 6.15 (3) INT3: #BP, a trap", fault(BP, 1));
	PROBE3(CODE("bound eax, [ebx]"), .eax = 9, .ebx = (u32)bounds);
	rule("SDM 3A 6.15 (5) BOUND below the lower bound: #BR, a fault", fault(BR, 0));
	PROBE3(CODE("bound eax, [ebx]"), .eax = 21, .ebx = (u32)bounds);
	rule("SDM 3A 6.15 (5) BOUND above the upper bound: #BR", fault(BR, 0));
	PROBE3(CODE("bound eax, [ebx]"), .eax = 20, .ebx = (u32)bounds);
	rule("SDM 2A BOUND: the upper bound is inside", done());
}

static void undefined(void)
{
	PROBE3(CODE("nop\n ud2"));
	rule("SDM 3A 6.15 (6) UD2: #UD, a fault", fault(UD, 1));
	PROBE3(CODE(".byte 0xf0\n mov eax, ecx"));
	rule("SDM 2A LOCK before MOV: #UD", fault(UD, 0));
	PROBE3(CODE(".byte 0xf0\n add eax, ecx"));
	rule("SDM 2A LOCK before ADD to a register: #UD", fault(UD, 0));
	PROBE3(CODE(".byte 0xf0\n cmp [ebx], eax"), .ebx = LOW_DATA);
	rule("SDM 2A LOCK before CMP to memory: #UD", fault(UD, 0));
	PROBE3(CODE(".byte 0xf0\n hlt"));
	rule("SDM 3A 6.9 LOCK HLT at CPL 3: #UD comes before #GP", fault(UD, 0));
	PROBE3(CODE(".byte 0xc5, 0xc0, 0x90, 0x90\n"));
	rule("SDM 2A LDS with a register operand is a VEX prefix: #UD with CR4.OSXSAVE clear",
	     fault(UD, 0));
	PROBE3(CODE(".byte 0x8d, 0xc0"));
	rule("SDM 2A LEA with a register operand: #UD", fault(UD, 0));
	PROBE3(CODE(".byte 0x8e, 0xf8"));
	rule("SDM 2B MOV to a segment register that does not exist: #UD", fault(UD, 0));
	PROBE3(CODE(".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,"
		    "0x66, 0x66, 0x90"));
	rule("SDM 3A 6.15 (13) an instruction of 15 bytes executes", done());
	PROBE3(CODE(".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,"
		    "0x66, 0x66, 0x66, 0x90"));
	rule("SDM 3A 6.15 (13) an instruction longer than 15 bytes: #GP(0)", fault_e(GP, 0, 0));
}

static void coprocessor(void)
{
	static const u16 divide_unmasked = 0x037b;
	u32 fpu = CODE("nop\n fld1"), wait = CODE("nop\n fwait");

	cr0_set(BASE | CR0_TS);
	PROBE3(fpu);
	rule("SDM 3A 6.15 (7) x87 with CR0.TS: #NM, a fault", fault(NM, 1));
	cr0_set(BASE | CR0_EM);
	PROBE3(fpu);
	rule("SDM 3A 6.15 (7) x87 with CR0.EM: #NM", fault(NM, 1));
	cr0_set(BASE | CR0_TS);
	PROBE3(wait);
	rule("SDM 3A 6.15 (7) WAIT with TS and without MP executes", done());
	cr0_set(BASE | CR0_TS | CR0_MP);
	PROBE3(wait);
	rule("SDM 3A 6.15 (7) WAIT with TS and MP: #NM", fault(NM, 1));
	cr0_set(BASE | CR0_EM | CR0_MP);
	PROBE3(wait);
	rule("SDM 3A 6.15 (7) WAIT with EM and MP, TS clear, executes", done());
	cr0_set(BASE | CR0_TS);
	PROBE3(CODE("fld dword ptr [ebx]"), .ds = 0, .ebx = 0);
	rule("SDM 3A 6.9 #NM comes before the #GP of the operand", fault(NM, 0));
	PROBE3(CODE("fninit\n fldcw [ebx]\n fldz\n fld1\n fdiv st, st(1)\n nop\n fld1"),
	       .ebx = (u32)&divide_unmasked);
	rule("SDM 3A 6.15 (16) an unmasked x87 error: #MF at the next waiting instruction",
	     t.vector == MF && !t.has_error && *mem16(t.eip) == 0xe8d9 && *mem8(t.eip - 1) == 0x90);
	__asm__ volatile("fnclex");
	PROBE3(CODE("fninit\n fldcw [ebx]\n fldz\n fld1\n fdiv st, st(1)\n fnstsw ax\n fnclex\n"
		    "fld1"),
	       .ebx = (u32)&divide_unmasked);
	rule("SDM 3A 6.15 (16) instructions without wait do not report it",
	     done() && (t.eax & 0x84) == 0x84);
	__asm__ volatile("fninit");
}

static void sse(void)
{
	static const u32 divide_unmasked = 0x1d80;
	u32 code = CODE("nop\n xorps xmm0, xmm0");
	u32 divide_code = CODE("ldmxcsr [ebx]\n xorps xmm0, xmm0\n mov eax, 0x3f800000\n"
			       "movd xmm1, eax\n nop\n divss xmm1, xmm0");

	PROBE3(code);
	rule("SDM 3A 2.5 SSE with CR4.OSFXSR clear: #UD", fault(UD, 1));
	cr4_set(CR4_OSFXSR);
	cr0_set(BASE | CR0_TS);
	PROBE3(code);
	rule("SDM 3A 2.5 SSE with CR0.TS: #NM", fault(NM, 1));
	cr4_set(CR4_OSFXSR);
	cr0_set(BASE | CR0_EM | CR0_TS);
	PROBE3(code);
	rule("SDM 3A 2.5 SSE with CR0.EM: #UD, before #NM", fault(UD, 1));
	cr4_set(CR4_OSFXSR | 0x400);
	PROBE3(divide_code, .ebx = (u32)&divide_unmasked);
	rule("SDM 3A 6.15 (19) an unmasked SIMD error with OSXMMEXCPT: #XM, a fault",
	     t.vector == 19 && *mem16(t.eip) == 0x0ff3);
	cr4_set(CR4_OSFXSR);
	PROBE3(divide_code, .ebx = (u32)&divide_unmasked);
	rule("SDM 3A 6.15 (6) an unmasked SIMD error without OSXMMEXCPT: #UD",
	     t.vector == UD && *mem16(t.eip) == 0x0ff3);
}

static void alignment(void)
{
	u32 dword = CODE("mov eax, [ebx]"), word = CODE("mov ax, [ebx]"), odd = LOW_DATA + 2;

	cr0_set(BASE | CR0_AM);
	PROBE3(dword, .ebx = odd, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) a dword off its boundary with AM, AC, CPL 3: #AC(0), a fault",
	     fault_e(AC, 0, 0));
	cr0_set(BASE | CR0_AM);
	PROBE3(dword, .ebx = LOW_DATA + 4, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) an aligned dword does not fault", done());
	cr0_set(BASE | CR0_AM);
	PROBE3(word, .ebx = LOW_DATA + 1, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) a word at an odd address: #AC(0)", fault_e(AC, 0, 0));
	cr0_set(BASE | CR0_AM);
	PROBE3(word, .ebx = LOW_DATA + 2, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) a word at an even address does not fault", done());
	PROBE3(dword, .ebx = odd, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) without CR0.AM no check", done());
	cr0_set(BASE | CR0_AM);
	PROBE3(dword, .ebx = odd);
	rule("SDM 3A 6.15 (17) without EFLAGS.AC no check", done());
	cr0_set(BASE | CR0_AM);
	PROBE(dword, .ebx = odd, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) at CPL 0 no check", done());
	cr0_set(BASE | CR0_AM);
	PROBE2(dword, .ebx = odd, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) at CPL 2 no check", done());
	cr0_set(BASE | CR0_AM);
	PROBE3(CODE("push eax"), .esp = TOP(user_stack) - 2, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (17) a push onto an unaligned stack: #AC(0), ESP unchanged",
	     fault_e(AC, 0, 0) && t.esp == TOP(user_stack) - 2);
}

static void double_faults(void)
{
	/* A gate not present turns the delivery of its exception into #NP. */
	idt_set(GP, 0);
	PROBE3(CODE("hlt"));
	rule("SDM 3A 6.15 (8) #GP during delivery of #GP: #DF(0)",
	     t.vector == DF && t.has_error && t.error == 0);
	idt_set(DE, stub_gate(DE, 0) & ~((u64)P << 40));
	PROBE3(CODE("div ecx"), .ecx = 0);
	rule("SDM 3A 6.15 (8) #NP during delivery of #DE: #DF(0)",
	     t.vector == DF && t.has_error && t.error == 0);
	idt_set(NP, gate(CS1, (u32)trap_stubs, P | INT32, 0));
	seg_set(T(0), desc(0, 0xfffff, DPL(3) | DATA_RW, G | D));
	tss.ss1 = 0;
	PROBE3(CODE("mov ds, eax"), .eax = T(0));
	rule("SDM 3A 6.15 (8) #TS during delivery of #NP: #DF(0)",
	     t.vector == DF && t.has_error && t.error == 0);
	*mem32(LOW_DATA + 0x100) = 2;
	*mem32(LOW_DATA + 0x104) = 3;
	idt_set(BR, 0);
	PROBE3(CODE("bound eax, [ebx]"), .eax = 1, .ebx = LOW_DATA + 0x100);
	rule("SDM 3A 6.15 (8) #GP during delivery of the benign #BR is handled in turn",
	     fault_e(GP, IDT_VEC(BR) + EXT, 0));
	idt_set(AC, 0);
	cr0_set(BASE | CR0_AM);
	PROBE3(CODE("mov eax, [ebx]"), .ebx = LOW_DATA + 1, .eflags = FL_AC | 2);
	rule("SDM 3A 6.15 (8) #GP during delivery of the benign #AC is handled in turn",
	     fault_e(GP, IDT_VEC(AC) + EXT, 0));
	idt_set(0x40, 0);
	idt_set(GP, stub_gate(GP, 0) & ~((u64)P << 40));
	PROBE3(CODE("int 0x40"));
	rule("SDM 3A 6.15 (8) INT n is benign, its #GP is not: #NP of the #GP gate: #DF(0)",
	     t.vector == DF && t.error == 0);
}

static void resume_flag(void)
{
	PROBE3(CODE("hlt"));
	rule("SDM 3B 17.3.1.1 a fault saves EFLAGS with RF set",
	     fault_e(GP, 0, 0) && t.eflags == (FL_RF | 2));
	idt_set(0x40, stub_gate(0x40, 3));
	PROBE3(CODE("int 0x40"));
	rule("SDM 3B 17.3.1.1 INT n saves EFLAGS with RF clear", fault(0x40, 2) && t.eflags == 2);
	PROBE3(CODE("int3"));
	rule("SDM 3B 17.3.1.1 INT3 saves EFLAGS with RF clear", fault(BP, 1) && t.eflags == 2);
	PROBE3(CODE("nop\n hlt"), .eflags = FL_RF | 2);
	rule("SDM 3B 17.3.1.1 the handler starts with RF clear",
	     fault_e(GP, 0, 1) && !(t.h_eflags & FL_RF));
	PROBE3(CODE("nop"), .eflags = FL_RF | 2);
	rule("SDM 3B 17.3.1.1 an instruction that completes clears RF",
	     done() && !(t.eflags & FL_RF));
}

void test_main(void)
{
	divide();
	software();
	undefined();
	coprocessor();
	sse();
	alignment();
	double_faults();
	resume_flag();
}
