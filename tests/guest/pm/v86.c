/*
 * Virtual-8086 mode without extensions: SDM 3B 20.2 and 20.3. The extensions are in vme.c.
 */
#include "pm.h"

#define V 0x40

/* A virtual-8086 EFLAGS image with this IOPL. */
#define VM(iopl) (FL_VM | FL_IOPL(iopl) | 2)

static void entry_and_exit(void)
{
	idt_set(V, stub_gate(V, 3));
	PROBEV(CODE_16("int 0x40"), .es = 0x1111, .ds = 0x2222, .fs = 0x3333, .gs = 0x4444,
	       .eflags = VM(3) | FL_IF);
	rule("SDM 3B 20.3.1 an interrupt saves GS, FS, DS, ES, SS, ESP, EFLAGS, CS, EIP",
	     fault(V, 2) && t.h_esp == TOP(trap_stack) - 36 && t.es == 0x1111 && t.ds == 0x2222 &&
		     t.fs == 0x3333 && t.gs == 0x4444 && t.ss == LOW_STACK >> 4 &&
		     t.esp == 0x8000 && t.cs == LOW_SEG && t.eflags == (VM(3) | FL_IF));
	idt_set(V, stub_gate(V, 3));
	PROBEV(CODE_16("int 0x40"), .eflags = VM(3) | FL_IF | FL_NT | FL_AC);
	rule("SDM 3B 20.3.1 the handler starts with null data segments and VM, IF, NT clear",
	     fault(V, 2) && !t.h_ds && !t.h_es && !t.h_fs && !t.h_gs && t.h_cs == KCS &&
		     t.h_ss == KDS && t.h_eflags == (FL_IOPL(3) | FL_AC | 2));
	PROBEV(CODE_16("hlt"));
	rule("SDM 3B 20.2.8 a fault with an error code pushes it below the nine dwords",
	     fault_e(GP, 0, 0) && t.h_esp == TOP(trap_stack) - 40);
	idt_set(V, gate(CCS, (u32)trap_stubs, P | DPL(3) | INT32, 0));
	PROBEV(CODE_16("int 0x40"));
	rule("SDM 3B 20.3.1 a conforming handler from virtual-8086 mode: #GP(code selector)",
	     fault_e(GP, CCS, 0));
	idt_set(V, gate(UCS, (u32)trap_stubs, P | DPL(3) | INT32, 0));
	PROBEV(CODE_16("int 0x40"));
	rule("SDM 3B 20.3.1 a handler of DPL 3 from virtual-8086 mode: #GP(code selector)",
	     fault_e(GP, UCS & ~3u, 0));
	idt_set(V, gate(CS1, (u32)trap_stubs, P | DPL(3) | INT32, 0));
	PROBEV(CODE_16("int 0x40"));
	rule("SDM 3B 20.3.1 a handler of DPL 1 from virtual-8086 mode: #GP(code selector)",
	     fault_e(GP, CS1 & ~3u, 0));
	idt_set(V, stub_gate(V, 0));
	PROBEV(CODE_16("int 0x40"));
	rule("SDM 3B 20.3.3 INT n with IOPL 3 obeys the gate's DPL", fault_e(GP, IDT_VEC(V), 0));
	PROBEV(CODE_16("nop\n int 0x40"), .eflags = VM(2));
	rule("SDM 3B 20.3.3 INT n with IOPL below 3: #GP(0)", fault_e(GP, 0, 1));
	PROBEV(CODE_16("nop"), .eflags = VM(0));
	rule("SDM 3B 20.3.3 INT3 does not depend on IOPL", done() && (t.eflags & FL_VM));
	idt_set(OF, stub_gate(OF, 3));
	PROBEV(CODE_16("into"), .eflags = VM(0) | FL_OF);
	rule("SDM 3B 20.3.3 INTO does not depend on IOPL", fault(OF, 1));
	PROBEV(CODE_16("int1"), .eflags = VM(0));
	rule("SDM 3B 20.3.3 INT1 does not depend on IOPL", fault(DB, 1));
}

static void iopl(void)
{
	static const char *const names[] = {
		"SDM 3B 20.2.7 CLI with IOPL below 3: #GP(0)",
		"SDM 3B 20.2.7 STI with IOPL below 3: #GP(0)",
		"SDM 3B 20.2.7 PUSHF with IOPL below 3: #GP(0)",
		"SDM 3B 20.2.7 POPF with IOPL below 3: #GP(0)",
		"SDM 3B 20.2.7 IRET with IOPL below 3: #GP(0)",
		"SDM 3B 20.2.7 PUSHFD with IOPL below 3: #GP(0)",
	};
	u32 codes[] = { CODE_16("cli"),   CODE_16("sti"),   CODE_16("pushfw"),
			CODE_16("popfw"), CODE_16("iretw"), CODE_16("pushfd") };

	for (unsigned i = 0; i < 6; i++) {
		PROBEV(codes[i], .eflags = VM(2) | FL_IF);
		rule(names[i], fault_e(GP, 0, 0) && t.eflags == (VM(2) | FL_IF | FL_RF));
	}
	PROBEV(codes[0], .eflags = VM(3) | FL_IF);
	rule("SDM 3B 20.2.7 CLI with IOPL 3 clears IF", done() && t.eflags == VM(3));
	PROBEV(codes[1], .eflags = VM(3));
	rule("SDM 3B 20.2.7 STI with IOPL 3 sets IF", done() && t.eflags == (VM(3) | FL_IF));
	PROBEV(CODE_16("push 0x4ad7\n popfw"), .eflags = VM(3));
	rule("SDM 2B POPF: with IOPL 3, IF and NT change and IOPL does not",
	     t.vector == BP && t.eflags == (VM(3) | (0x4ad7 & ~0x3000)));
	PROBEV(CODE_16("pushfd\n pop eax"), .eflags = VM(3) | FL_RF | FL_AC);
	rule("SDM 2B PUSHF: with IOPL 3, PUSHFD stores VM and RF as zero",
	     done() && t.eax == (FL_AC | FL_IOPL(3) | 2));
	*mem16(LOW_DATA) = (u16)(CODE_16("") - LOW);
	PROBEV(CODE_16("push 0x0ad7\n push cs\n push word ptr [0]\n iretw"), .eflags = VM(3));
	rule("SDM 2A IRET: with IOPL 3 in virtual-8086 mode, pops IP, CS and FLAGS but IOPL",
	     done() && t.cs == LOW_SEG && t.eflags == (VM(3) | 0x0ad7) && t.esp == 0x8000);
}

static void instructions(void)
{
	static const char *const gp[] = {
		"SDM 2A LGDT in virtual-8086 mode: #GP(0)",
		"SDM 2A LIDT in virtual-8086 mode: #GP(0)",
		"SDM 2B MOV from CR0 in virtual-8086 mode: #GP(0)",
		"SDM 2A CLTS in virtual-8086 mode: #GP(0)",
		"SDM 2A LMSW in virtual-8086 mode: #GP(0)",
		"SDM 2A INVLPG in virtual-8086 mode: #GP(0)",
		"SDM 2D WBINVD in virtual-8086 mode: #GP(0)",
		"SDM 2B RDMSR in virtual-8086 mode: #GP(0)",
	};
	static const char *const ud[] = {
		"SDM 2A LLDT in virtual-8086 mode: #UD", "SDM 2A LTR in virtual-8086 mode: #UD",
		"SDM 2B SLDT in virtual-8086 mode: #UD", "SDM 2B STR in virtual-8086 mode: #UD",
		"SDM 2A LAR in virtual-8086 mode: #UD",  "SDM 2A LSL in virtual-8086 mode: #UD",
		"SDM 2C VERR in virtual-8086 mode: #UD", "SDM 2A ARPL in virtual-8086 mode: #UD",
	};
	u32 gp_code[] = { CODE_16("lgdt [bx]"), CODE_16("lidt [bx]"), CODE_16("mov eax, cr0"),
			  CODE_16("clts"),      CODE_16("lmsw ax"),   CODE_16("invlpg [bx]"),
			  CODE_16("wbinvd"),    CODE_16("rdmsr") };
	u32 ud_code[] = { CODE_16("lldt ax"), CODE_16("ltr ax"),     CODE_16("sldt ax"),
			  CODE_16("str ax"),  CODE_16("lar ax, bx"), CODE_16("lsl ax, bx"),
			  CODE_16("verr ax"), CODE_16("arpl ax, bx") };

	for (unsigned i = 0; i < 8; i++) {
		PROBEV(gp_code[i], .ecx = 0x10);
		rule(gp[i], fault_e(GP, 0, 0));
	}
	for (unsigned i = 0; i < 8; i++) {
		PROBEV(ud_code[i]);
		rule(ud[i], fault(UD, 0));
	}
	PROBEV(CODE_16("smsw ax\n sgdt [bx]\n mov ecx, [bx + 2]"));
	rule("SDM 2B SMSW and SGDT execute in virtual-8086 mode",
	     done() && (t.eax & CR0_PE) && t.ecx == (u32)gdt);
}

static void addresses(void)
{
	*mem32(LOW_DATA + 0x10) = 0x01234567;
	PROBEV(CODE_16("mov ds, cx\n mov eax, [bx]"), .ecx = LOW_DATA >> 4, .ebx = 0x10);
	rule("SDM 3B 20.2.1 a segment register load makes its value times 16 the base",
	     done() && t.eax == 0x01234567 && t.ds == LOW_DATA >> 4);
	PROBEV(CODE_16("mov al, [bx]"), .ebx = 0xffff);
	rule("SDM 3B 20.2.1 a byte at offset 0xffff", done());
	PROBEV(CODE_16("mov ax, [bx]"), .ebx = 0xffff);
	rule("SDM 3B 20.2.1 a word at offset 0xffff: #GP(0)", fault_e(GP, 0, 0));
	PROBEV(CODE_16("mov ax, ss:[bx]"), .ebx = 0xffff);
	rule("SDM 3B 20.2.1 a word at offset 0xffff of SS: #SS(0)", fault_e(SS, 0, 0));
	PROBEV(CODE_16("mov al, [ebx]"), .ebx = 0x10000);
	rule("SDM 3B 20.2.1 a 32-bit offset of 0x10000: #GP(0)", fault_e(GP, 0, 0));
	PROBEV(CODE_16("push ax"), .esp = 1);
	rule("SDM 3B 20.2.1 a push of a word with SP 1 crosses 0xffff: #SS(0)",
	     fault_e(SS, 0, 0) && t.esp == 1);
	PROBEV(CODE_16("mov eax, [bx]"), .ds = 0xffff, .ebx = 0x14);
	rule("SDM 3B 20.2.1 segment 0xffff reaches beyond 1 MiB with A20 enabled",
	     done() && t.eax == *mem32(0x100004));
	PROBEV(CODE_16("mov al, cs:[bx]\n mov byte ptr cs:[bx], 0x5a\n mov ah, cs:[bx]"),
	       .ebx = CODE_16("nop") - LOW);
	rule("SDM 3B 20.2.1 the code segment is writable", done() && (t.eax >> 8 & 255) == 0x5a);
}

void test_main(void)
{
	entry_and_exit();
	iopl();
	instructions();
	addresses();
}
