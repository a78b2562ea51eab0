/*
 * When interrupts are taken: the shadows of STI and MOV SS, POPF, HLT, and NMI blocking.
 * SDM 3A 6.7.1 and 6.8; STI and HLT in 2A and 2B.
 *
 * The source is channel 0 of the 8254 through the 8259, vector 0x20; for NMI, the local APIC.
 */
#include "pm.h"

#define IRQ0 0x20
#define APIC 0xfee00000

static void pic_init(void)
{
	tap_outb(0x20, 0x11);
	tap_outb(0x21, IRQ0);
	tap_outb(0x21, 4);
	tap_outb(0x21, 1);
	tap_outb(0xa0, 0x11);
	tap_outb(0xa1, IRQ0 + 8);
	tap_outb(0xa1, 2);
	tap_outb(0xa1, 1);
	tap_outb(0x21, 0xff);
	tap_outb(0xa1, 0xff);
}

/* The 8259's interrupt request register. */
static bool requested(void)
{
	tap_outb(0x20, 0x0a);
	return tap_inb(0x20) & 1;
}

/* Leave one interrupt pending: IRQ 0 requested, unmasked, and EFLAGS.IF clear. */
static bool arm(void)
{
	tap_outb(0x20, 0x20); /* end of an interrupt taken before */
	tap_outb(0x21, 0xff);
	tap_outb(0x43, 0x30); /* channel 0, mode 0: one request when the count ends */
	tap_outb(0x40, 100);
	tap_outb(0x40, 0);
	for (unsigned i = 0; i < 1000000; i++)
		if (requested())
			break;
	if (!requested())
		return false;
	tap_outb(0x21, 0xfe);
	return true;
}

/* Run a loop with IF set until the timer interrupts it, count timer ticks in. */
static void interrupt_loop(u32 loop, u8 count)
{
	reset();
	tap_outb(0x20, 0x20);
	tap_outb(0x43, 0x30);
	tap_outb(0x40, count);
	tap_outb(0x40, 0);
	tap_outb(0x21, 0xfe);
	PROBE(loop, .eax = KDS, .ebx = PAGES, .eflags = FL_IF | 2);
}

/*
 * A sequence of shadows holds interrupts off once only, so the interrupt has to arrive with IF set.
 * Interrupt the loop many times: the saved EIP is never the given offset.
 */
static bool never_at(u32 loop, u32 offset)
{
	bool holds = true;

	for (u8 i = 0; i < 60 && holds; i++) {
		interrupt_loop(loop, 100 + i);
		holds = t.vector == IRQ0 && t.eip != loop + offset;
	}
	return holds;
}

/* RF is saved set between two iterations of REP STOS, and only there; never on AMD. */
static bool resume_in_string(void)
{
	u32 loop = CODE("1: mov ecx, 0x8000\n mov edi, ebx\n rep stosb\n jmp 1b");
	bool holds = true;

	for (u8 i = 0; i < 60 && holds; i++) {
		bool between;

		interrupt_loop(loop, 100 + i);
		between = t.eip == loop + 7 && t.ecx != 0x8000;
		holds = t.vector == IRQ0 &&
			!!(t.eflags & FL_RF) == (between && saves_rf_in_strings);
	}
	return holds;
}

static void shadows(void)
{
	static u32 stack_pointer[2];
	u32 sti = CODE("sti\n nop\n nop"), sti_cli = CODE("sti\n cli\n nop");
	u32 popf = CODE("push 0x202\n popfd\n nop"), hlt = CODE("sti\n hlt\n nop");
	u32 nop = CODE("nop\n nop");
	u32 lss = CODE("sti\n lss esp, [ebx]\n nop\n nop");
	u32 sti_sti = CODE("sti\n sti\n nop"), if_set_sti = CODE("nop\n cli\n sti\n nop\n nop");

	arm();
	PROBE(nop);
	rule("SDM 3A 6.8.1 with IF clear a pending interrupt waits", done());
	arm();
	PROBE(sti);
	rule("SDM 2B STI: the interrupt comes after the instruction that follows STI",
	     fault(IRQ0, 2));
	arm();
	PROBE(sti_cli);
	rule("SDM 2B STI followed by CLI lets no interrupt in", done());
	arm();
	PROBE(sti_sti);
	rule("SDM 2B STI with IF set makes no new shadow", fault(IRQ0, 2));
	arm();
	PROBE(if_set_sti);
	rule("SDM 2B CLI, STI: the interrupt comes after the instruction behind STI",
	     fault(IRQ0, 4));
	arm();
	PROBE(popf);
	rule("SDM 2B POPF that sets IF has no shadow", t.vector == IRQ0 && t.eip == popf + 6);
	arm();
	PROBE(nop, .eflags = FL_IF | 2);
	rule("SDM 2A IRET that sets IF has no shadow", fault(IRQ0, 0));
	rule("SDM 3A 6.8.3 no interrupt comes between MOV SS and the next instruction",
	     never_at(CODE("1: mov ss, eax\n inc ecx\n jmp 1b"), 2));
	rule("SDM 3A 6.8.3 no interrupt comes between POP SS and the next instruction",
	     never_at(CODE("1: push eax\n pop ss\n inc ecx\n jmp 1b"), 2));
	rule("SDM 3B 17.3.1.1 an interrupt between two iterations of REP STOS saves RF set (AMD: "
	     "clear)",
	     resume_in_string());
	stack_pointer[0] = TOP(probe_stack);
	stack_pointer[1] = KDS;
	arm();
	PROBE(lss, .ebx = (u32)stack_pointer);
	rule("SDM 2A LSS does not hold interrupts off", t.vector == IRQ0 && t.eip == lss + 4);
	arm();
	PROBE(hlt);
	rule("SDM 2A HLT in the shadow of STI is left by the interrupt; saved EIP behind HLT",
	     fault(IRQ0, 2));
	arm();
	PROBE(hlt);
	rule("SDM 3A 6.12.1 an interrupt saves IF set and RF clear, and clears IF",
	     t.eflags == (FL_IF | 2) && t.h_eflags == 2);
	arm();
	idt_set(IRQ0, 0);
	PROBE(nop, .eflags = FL_IF | 2);
	rule("SDM 3A 6.13 an external interrupt through a bad gate: #GP with IDT and EXT",
	     fault_e(GP, IDT_VEC(IRQ0) + EXT, 0));
	arm();
	PROBE3(nop, .eflags = FL_IF | 2);
	rule("SDM 3A 6.12.1.1 an external interrupt ignores the gate's DPL",
	     fault(IRQ0, 0) && t.cs == UCS);
	arm();
	PROBEV(CODE_16("nop"), .eflags = FL_VM | FL_IF | FL_IOPL(0) | 2);
	rule("SDM 3B 20.3.1 an external interrupt leaves virtual-8086 mode with IOPL 0",
	     fault(IRQ0, 0) && (t.eflags & FL_VM));
	tap_outb(0x20, 0x20);
	tap_outb(0x21, 0xff);
}

/*
 * Each handler sends one more NMI and waits; it must not come before the handler's IRET. EBX holds
 * the ICR's address, EDI counts entries, ESI counts returns.
 */
static void nmi(void)
{
	u32 handler = CODE("inc edi\n cmp edi, 3\n jae 2f\n mov dword ptr [ebx], 0x4400\n"
			   "mov ecx, 1000\n1: loop 1b\n mov edx, edi\n inc esi\n iretd\n2:");
	u32 code = CODE("mov dword ptr [ebx], 0x4400\n mov ecx, 1000\n1: loop 1b\n nop");
	u32 id = *mem32(APIC + 0x20) & 0xff000000;

	if (!(cpuid_1_edx & 0x200)) {
		tap_skip("SDM 3A 6.7.1 NMI", "no local APIC");
		return;
	}
	*mem32(APIC + 0xf0) |= 0x1ff;
	*mem32(APIC + 0x310) = id;
	PROBE(code, .ebx = APIC + 0x300);
	rule("SDM 3A 6.7 an NMI comes with IF clear, through vector 2, without an error code",
	     t.vector == NMI && !t.has_error && !(t.eflags & FL_IF));
	/* The probe ended without IRET: let go of the NMI block. */
	PROBE(CODE("nop"));
	*mem32(APIC + 0x310) = id;
	idt_set(NMI, gate(KCS, handler, P | INT32, 0));
	PROBE(code, .ebx = APIC + 0x300);
	rule("SDM 3A 6.7.1 an NMI that arrives in the handler waits for its IRET, then comes",
	     done() && t.edi == 3 && t.esi == 2 && t.edx == 2);
}

void test_main(void)
{
	pic_init();
	if (!arm()) {
		tap_check(false, "SDM 3A 6.3.1 the timer requests an interrupt");
		return;
	}
	shadows();
	nmi();
}
