/*
 * Virtual-8086 mode extensions (CR4.VME: the interrupt redirection bitmap, VIF and VIP) and
 * protected-mode virtual interrupts (CR4.PVI): SDM 3B 20.3 and 20.4.
 */
#include "pm.h"

#define V        0x40
#define VM(iopl) (FL_VM | FL_IOPL(iopl) | 2)

/*
 * VME on, every redirection bit clear but that of one vector (0: none). Entry V of the vector table
 * at 0 leads to code that ends the probe.
 */
static void vme(unsigned redirected_to_gate)
{
	cr4_set(CR4_VME);
	memset(tss.redirect, 0, sizeof(tss.redirect));
	if (redirected_to_gate)
		tss.redirect[redirected_to_gate / 8] = (u8)(1 << redirected_to_gate % 8);
	seg_set(SEL_TSS, desc((u32)&tss, TSS_IOBASE + 31, P | TSS32, 0));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
	idt_set(V, stub_gate(V, 3));
	*mem32(V * 4) = (u32)LOW_SEG << 16 | (u16)(CODE_16("nop") - LOW);
}

/* The words that the 8086-style INT left on the virtual-8086 stack. */
static u16 pushed(unsigned i) { return mem16(LOW_STACK + 0x8000 - 6)[i]; }

static void redirection(void)
{
	u32 code = CODE_16("int 0x40");

	vme(0);
	PROBEV(code, .eflags = VM(3) | FL_IF | FL_CF);
	rule("SDM 3B 20.3.3.4 IOPL 3, bit clear: INT n goes to the 8086 handler, clearing IF",
	     done() && t.cs == LOW_SEG && t.esp == 0x8000 - 6 && t.eflags == (VM(3) | FL_CF));
	vme(0);
	PROBEV(code, .eflags = VM(3) | FL_IF | FL_CF);
	rule("SDM 3B 20.3.3.4 IOPL 3, bit clear: IP behind the INT, CS and FLAGS are on the stack",
	     done() && pushed(0) == code - LOW + 2 && pushed(1) == LOW_SEG &&
		     pushed(2) == (FL_IOPL(3) | FL_IF | FL_CF | 2));
	vme(V);
	PROBEV(code, .eflags = VM(3));
	rule("SDM 3B 20.3.3.3 IOPL 3, bit set: INT n goes through the gate",
	     fault(V, 2) && t.h_cs == KCS);
	vme(V);
	PROBEV(code, .eflags = VM(0));
	rule("SDM 3B 20.3.3.2 IOPL below 3, bit set: #GP(0)", fault_e(GP, 0, 0));
	vme(0);
	PROBEV(code, .eflags = VM(0) | FL_IF | FL_VIF);
	rule("SDM 3B 20.3.3.5 IOPL below 3, bit clear: 8086 handler with VIF cleared, IF kept",
	     done() && t.eflags == (VM(0) | FL_IF));
	vme(0);
	PROBEV(code, .eflags = VM(0) | FL_VIF);
	rule("SDM 3B 20.3.3.5 IOPL below 3, bit clear: the FLAGS pushed show VIF as IF and IOPL 3",
	     done() && pushed(2) == (FL_IOPL(3) | FL_IF | 2));
	vme(0);
	PROBEV(code, .eflags = VM(0) | FL_IF);
	rule("SDM 3B 20.3.3.5 with VIF clear the FLAGS pushed show IF clear",
	     done() && pushed(2) == (FL_IOPL(3) | 2));
	vme(0);
	PROBEV(CODE_16("nop"), .eflags = VM(0));
	rule("SDM 3B 20.3.3 INT3 is not redirected", done() && (t.eflags & FL_VM));
}

static void virtual_if(void)
{
	u32 cli = CODE_16("cli"), sti = CODE_16("sti"), popf = CODE_16("push ax\n popfw");
	u32 target = CODE_16("mov ax, 7") - LOW;
	u32 iret = CODE_16("push ax\n push cs\n push bx\n iretw");

	vme(0);
	PROBEV(cli, .eflags = VM(0) | FL_VIF | FL_IF);
	rule("SDM 3B 20.3.2 CLI with IOPL below 3 clears VIF alone",
	     done() && t.eflags == (VM(0) | FL_IF));
	vme(0);
	PROBEV(sti, .eflags = VM(0));
	rule("SDM 3B 20.3.2 STI with IOPL below 3 sets VIF alone",
	     done() && t.eflags == (VM(0) | FL_VIF));
	vme(0);
	PROBEV(sti, .eflags = VM(0) | FL_VIP);
	rule("SDM 3B 20.3.2 STI with VIP set: #GP(0)",
	     fault_e(GP, 0, 0) && t.eflags == (VM(0) | FL_VIP | FL_RF));
	vme(0);
	PROBEV(cli, .eflags = VM(3) | FL_VIF | FL_IF);
	rule("SDM 3B 20.3.2 with IOPL 3, CLI clears IF and leaves VIF",
	     done() && t.eflags == (VM(3) | FL_VIF));
	vme(0);
	PROBEV(CODE_16("pushfw\n pop ax"), .eflags = VM(0) | FL_VIF);
	rule("SDM 3B 20.3.2 PUSHF with IOPL below 3 stores VIF as IF and IOPL 3",
	     done() && (u16)t.eax == (FL_IOPL(3) | FL_IF | 2));
	vme(0);
	PROBEV(popf, .eax = FL_IF | FL_IOPL(3) | FL_CF | 2, .eflags = VM(0));
	rule("SDM 3B 20.3.2 POPF with IOPL below 3 loads VIF from IF and keeps IF and IOPL",
	     done() && t.eflags == (VM(0) | FL_VIF | FL_CF));
	vme(0);
	PROBEV(popf, .eax = FL_IF | 2, .eflags = VM(0) | FL_VIP);
	rule("SDM 3B 20.3.2 POPF that would set VIF with VIP set: #GP(0), SP unchanged",
	     fault_e(GP, 0, 1) && t.esp == 0x7ffe);
	vme(0);
	PROBEV(popf, .eax = FL_TF | 2, .eflags = VM(0));
	rule("SDM 3B 20.3.2 POPF with TF in the image: #GP(0)", fault_e(GP, 0, 1));
	vme(0);
	PROBEV(CODE_16("popfd"), .eflags = VM(0));
	rule("SDM 2B POPF: POPFD with IOPL below 3 faults with VME, too: #GP(0)",
	     fault_e(GP, 0, 0));
	vme(0);
	PROBEV(CODE_16("pushfd"), .eflags = VM(0));
	rule("SDM 2B PUSHF: PUSHFD with IOPL below 3 faults with VME, too: #GP(0)",
	     fault_e(GP, 0, 0));
	vme(0);
	PROBEV(iret, .eax = FL_IF | FL_CF | 2, .ebx = target, .eflags = VM(0));
	rule("SDM 3B 20.3.2 IRET with IOPL below 3 loads VIF from IF",
	     done() && (u16)t.eax == 7 && t.eflags == (VM(0) | FL_VIF | FL_CF));
	vme(0);
	PROBEV(iret, .eax = FL_IF | 2, .ebx = target, .eflags = VM(0) | FL_VIP);
	rule("SDM 3B 20.3.2 IRET that would set VIF with VIP set: #GP(0)",
	     t.vector == GP && t.error == 0 && t.esp == 0x8000 - 6);
	vme(0);
	PROBEV(CODE_16("iretd"), .eflags = VM(0));
	rule("SDM 2A IRET: IRETD with IOPL below 3 faults with VME, too: #GP(0)",
	     fault_e(GP, 0, 0));
	PROBEV(cli, .eflags = VM(0) | FL_VIF);
	rule("SDM 3B 20.3.2 with VME clear, CLI with IOPL below 3: #GP(0)", fault_e(GP, 0, 0));
}

static void pvi(void)
{
	u32 cli = CODE("cli"), sti = CODE("sti");

	cr4_set(CR4_PVI);
	PROBE3(cli, .eflags = FL_VIF | FL_IF | 2);
	rule("SDM 3B 20.4 PVI: CLI at CPL 3 above IOPL clears VIF alone",
	     done() && t.eflags == (FL_IF | 2));
	cr4_set(CR4_PVI);
	PROBE3(sti);
	rule("SDM 3B 20.4 PVI: STI at CPL 3 above IOPL sets VIF alone",
	     done() && t.eflags == (FL_VIF | 2));
	cr4_set(CR4_PVI);
	PROBE3(sti, .eflags = FL_VIP | 2);
	rule("SDM 3B 20.4 PVI: STI with VIP set: #GP(0)", fault_e(GP, 0, 0));
	cr4_set(CR4_PVI);
	PROBE3(cli, .eflags = FL_VIF | FL_IF | FL_IOPL(3) | 2);
	rule("SDM 3B 20.4 PVI: CLI within IOPL clears IF",
	     done() && t.eflags == (FL_VIF | FL_IOPL(3) | 2));
	cr4_set(CR4_PVI);
	PROBE2(cli, .eflags = FL_VIF | 2);
	rule("SDM 3B 20.4 PVI serves CPL 3 alone: CLI at CPL 2 above IOPL: #GP(0)",
	     fault_e(GP, 0, 0));
	cr4_set(CR4_PVI);
	PROBE3(CODE("push 0x202\n popfd"), .eflags = 2);
	rule("SDM 3B 20.4 PVI: POPF above IOPL changes neither IF nor VIF",
	     done() && t.eflags == 2);
}

void test_main(void)
{
	if (!(cpuid_1_edx & 2)) {
		tap_skip("SDM 3B 20.3 virtual-8086 mode extensions", "CPUID.1:EDX.VME is clear");
		return;
	}
	redirection();
	virtual_if();
	pvi();
}
