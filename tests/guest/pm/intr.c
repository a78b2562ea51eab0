/*
 * Delivery through interrupt and trap gates, and the return: SDM 3A 6.11 to 6.13, INT n and IRET
 * in 2A. POPF, PUSHF, CLI and STI follow IOPL: 2B.
 */
#include "pm.h"

#define V 0x40 /* a vector of the rules' own */

/* Code that ends the probe at once, as a handler: what it found is then below the INT3's frame. */
static u32 handler(void) { return CODE(""); }

#define INT3_GATE (P | DPL(3) | INT32)

static void flags(void)
{
	u32 all = FL_IF | FL_NT | FL_IOPL(3) | FL_AC | FL_ID | 2 | FL_CF;

	idt_set(V, stub_gate(V, 3));
	PROBE3(CODE("int 0x40"), .eflags = all);
	rule("SDM 3A 6.12.1.3 an interrupt gate clears IF, TF, NT, RF and keeps the other flags",
	     fault(V, 2) && t.eflags == all && t.h_eflags == (all & ~(FL_IF | FL_NT)));
	idt_set(V, stub_gate(V, 3) | (u64)(P | DPL(3) | TRAP32) << 40);
	PROBE3(CODE("int 0x40"), .eflags = all);
	rule("SDM 3A 6.12.1.3 a trap gate keeps IF",
	     fault(V, 2) && t.eflags == all && t.h_eflags == (all & ~FL_NT));
	idt_set(V, stub_gate(V, 3));
	PROBE3(CODE("int 0x40"));
	rule("SDM 3A 6.12.1 from CPL 3 the frame lies on the TSS's stack: SS, ESP, EFLAGS, CS, EIP",
	     fault(V, 2) && t.h_ss == KDS && t.h_esp == TOP(trap_stack) - 20 && t.ss == UDS &&
		     t.esp == TOP(user_stack) && t.cs == UCS);
	idt_set(V, stub_gate(V, 0));
	PROBE(CODE("int 0x40"));
	rule("SDM 3A 6.12.1 at the same level the frame is EFLAGS, CS, EIP on the current stack",
	     fault(V, 2) && t.h_esp == TOP(probe_stack) - 12);
	idt_set(GP, gate(KCS, handler(), P | DPL(3) | INT32, 0));
	PROBE3(CODE("int 13"));
	rule("SDM 3A 6.4.2 INT 13 pushes no error code",
	     done() && t.esp == TOP(trap_stack) - 20 && *mem32(t.esp + 4) == UCS);
	idt_set(V, gate(UCS, handler(), P | DPL(3) | INT32, 0));
	PROBE3(CODE("nop\n int 0x40"));
	rule("SDM 3A 6.12.1 a handler at CPL 3 for CPL 3 uses the current stack",
	     done() && t.cs == UCS && t.esp == TOP(user_stack) - 12 && *mem32(t.esp + 4) == UCS);
	idt_set(V, gate(CCS, handler(), P | DPL(3) | INT32, 0));
	PROBE3(CODE("nop\n int 0x40"));
	rule("SDM 3A 6.12.1.1 a conforming handler runs at the interrupted level",
	     done() && t.cs == CCS + 3 && t.ss == UDS && t.esp == TOP(user_stack) - 12);
	idt_set(V, gate(CS1, handler(), P | DPL(3) | INT32, 0));
	PROBE3(CODE("int 0x40"));
	rule("SDM 3A 6.12.1 a handler of DPL 1 uses SS1:ESP1",
	     done() && t.cs == CS1 && t.ss == DS1 && t.esp == TOP(stack1) - 20);
	idt_set(V, gate(KCS + 3, handler(), P | DPL(3) | INT32, 0));
	PROBE3(CODE("int 0x40"));
	rule("SDM 3A 6.12.1 the RPL of the gate's selector does not matter", done() && t.cs == KCS);
}

static void gate_faults(void)
{
	u32 code = CODE("int 0x40"), ud2 = CODE("ud2");
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) r = { V * 8 + 6, (u32)idt };

	idt_set(V, stub_gate(V, 2));
	PROBE3(code);
	rule("SDM 3A 6.12.1.1 INT n through a gate of DPL < CPL: #GP(vector * 8 + IDT)",
	     fault_e(GP, IDT_VEC(V), 0));
	idt_set(BP, stub_gate(BP, 0));
	PROBE3(CODE("nop\n int3"));
	rule("SDM 3A 6.12.1.1 INT3 obeys the gate's DPL", fault_e(GP, IDT_VEC(BP), 1));
	PROBE3(CODE("into"), .eflags = FL_OF | 2);
	rule("SDM 3A 6.12.1.1 INTO obeys the gate's DPL", fault_e(GP, IDT_VEC(OF), 0));
	PROBE3(ud2);
	rule("SDM 3A 6.12.1.1 an exception ignores the gate's DPL", fault(UD, 0));
	PROBE3(CODE("int1"));
	rule("SDM 2A INT1 ignores the gate's DPL; the saved EIP lies behind it", fault(DB, 1));
	idt_set(V, gate(KCS, handler(), DPL(3) | INT32, 0));
	PROBE3(code);
	rule("SDM 3A 6.15 INT n through a gate not present: #NP(vector * 8 + IDT)",
	     fault_e(NP, IDT_VEC(V), 0));
	idt_set(UD, gate(KCS, handler(), INT32, 0));
	PROBE3(ud2);
	rule("SDM 3A 6.13 an exception through a gate not present: #NP with IDT and EXT",
	     fault_e(NP, IDT_VEC(UD) + EXT, 0));
	idt_set(V, gate(KCS, handler(), P | DPL(3) | CALL32, 0));
	PROBE3(code);
	rule("SDM 2A INT: the IDT entry is a call gate: #GP(vector * 8 + IDT)",
	     fault_e(GP, IDT_VEC(V), 0));
	idt_set(UD, 0);
	PROBE3(ud2);
	rule("SDM 3A 6.13 an exception finds an IDT entry of zeros: #GP with IDT and EXT",
	     fault_e(GP, IDT_VEC(UD) + EXT, 0));
	PROBE(CODE("lidt [ebx]\n int 0x40"), .ebx = (u32)&r);
	rule("SDM 2A INT: the last byte of the gate lies beyond the IDT limit: #GP",
	     fault_e(GP, IDT_VEC(V), 3));
	r.limit++;
	PROBE(CODE("lidt [ebx]\n int 0x40"), .ebx = (u32)&r);
	rule("SDM 3A 6.10 a gate that ends at the IDT limit serves", fault(V, 5));
	idt_set(V, gate(0, handler(), INT3_GATE, 0));
	PROBE3(code);
	rule("SDM 2A INT: null code selector in the gate: #GP(0)", fault_e(GP, 0, 0));
	idt_set(UD, gate(0, handler(), INT3_GATE, 0));
	PROBE3(ud2);
	rule("SDM 2A INT: null code selector in an exception's gate: #GP(EXT)",
	     fault_e(GP, EXT, 0));
	idt_set(V, gate(KDS, handler(), INT3_GATE, 0));
	PROBE3(code);
	rule("SDM 2A INT: the gate names a data segment: #GP(selector)", fault_e(GP, KDS, 0));
	idt_set(V, gate(UCS, handler(), INT3_GATE, 0));
	PROBE(code);
	rule("SDM 3A 6.12.1.1 a handler of DPL > CPL: #GP(selector)", fault_e(GP, UCS & ~3u, 0));
	idt_set(V, gate(GDT_ENTRIES * 8, handler(), INT3_GATE, 0));
	PROBE3(code);
	rule("SDM 2A INT: the gate's selector lies beyond the GDT: #GP(selector)",
	     fault_e(GP, GDT_ENTRIES * 8, 0));
	seg_set(T(0), desc(0, 0xfffff, CODE_XR, G | D));
	idt_set(V, gate(T(0), handler(), INT3_GATE, 0));
	PROBE3(code);
	rule("SDM 2A INT: the handler's segment is not present: #NP(selector)",
	     fault_e(NP, T(0), 0));
	seg_set(T(0), desc(0, 0xfff, P | CODE_XR, D));
	idt_set(V, gate(T(0), 0x1000, INT3_GATE, 0));
	PROBE3(code);
	rule("SDM 2A INT: the handler's offset lies beyond its segment: #GP(0)",
	     fault_e(GP, 0, 0) && t.esp == TOP(user_stack));
}

static void stack_faults(void)
{
	u32 code = CODE("int 0x40"), ud2 = CODE("ud2");

	idt_set(V, gate(CS1, handler(), INT3_GATE, 0));
	tss.ss1 = 0;
	PROBE3(code);
	rule("SDM 2A INT: null inner SS: #TS(0)", fault_e(TS, 0, 0));
	idt_set(UD, gate(CS1, handler(), INT3_GATE, 0));
	tss.ss1 = 0;
	PROBE3(ud2);
	rule("SDM 2A INT: null inner SS for an exception: #TS(EXT)", fault_e(TS, EXT, 0));
	idt_set(V, gate(CS1, handler(), INT3_GATE, 0));
	tss.ss1 = DS1 & ~3u;
	PROBE3(code);
	rule("SDM 2A INT: inner SS with a wrong RPL: #TS(SS)", fault_e(TS, DS1 & ~3u, 0));
	idt_set(UD, gate(CS1, handler(), INT3_GATE, 0));
	tss.ss1 = (DS2 & ~3u) + 1;
	PROBE3(ud2);
	rule("SDM 2A INT: inner SS with a wrong DPL for an exception: #TS(SS + EXT)",
	     fault_e(TS, (DS2 & ~3u) + EXT, 0));
	idt_set(V, gate(CS1, handler(), INT3_GATE, 0));
	seg_set(T(1), desc(0, 0xfffff, DPL(1) | DATA_RW, G | D));
	tss.ss1 = T(1) + 1;
	PROBE3(code);
	rule("SDM 2A INT: inner SS not present: #SS(SS)", fault_e(SS, T(1), 0));
	idt_set(V, gate(CS1, handler(), INT3_GATE, 0));
	seg_set(T(1), desc((u32)stack1, 0xff, P | DPL(1) | DATA_RW, D));
	tss.ss1 = T(1) + 1;
	tss.esp1 = 16;
	PROBE3(code);
	rule("SDM 2A INT: no room for 20 bytes on the inner stack: #SS(SS)",
	     fault_e(SS, T(1), 0) && t.esp == TOP(user_stack));
}

static void gates16(void)
{
	u16 *top = (u16 *)TOP(trap_stack);

	seg_set(T(2), desc(LOW, 0xffff, P | CODE_XR, D));
	idt_set(V, gate(T(2), handler() - LOW, P | DPL(3) | INT16, 0));
	PROBE3(CODE("int 0x40"), .eflags = FL_IF | FL_CF | 2);
	rule("SDM 3B 21.4 a 16-bit interrupt gate pushes SS, SP, FLAGS, CS, IP as words",
	     done() && t.cs == T(2) && t.esp == (u32)(top - 5) && top[-1] == UDS &&
		     top[-2] == (u16)TOP(user_stack) && top[-3] == (FL_IF | FL_CF | 2) &&
		     top[-4] == UCS && !(t.eflags & FL_IF));
	seg_set(T(2), desc(LOW, 0xffff, P | CODE_XR, D));
	idt_set(GP, gate(T(2), handler() - LOW, P | INT16, 0));
	PROBE3(CODE("mov fs, eax"), .eax = KDS);
	rule("SDM 3A 6.13 a 16-bit gate pushes the error code as a word",
	     done() && t.cs == T(2) && t.esp == (u32)(top - 6) && top[-6] == KDS && top[-4] == UCS);
	seg_set(T(2), desc(LOW, 0xffff, P | CODE_XR, D));
	idt_set(V, gate(T(2), handler() - LOW, P | DPL(3) | TRAP16, 0));
	PROBE3(CODE("int 0x40"), .eflags = FL_IF | 2);
	rule("SDM 3A 6.12.1.3 a 16-bit trap gate keeps IF",
	     done() && t.cs == T(2) && (t.eflags & FL_IF));
}

static void irets(void)
{
	u32 code = CODE("iretd"), esp3 = TOP(user_stack);
	u32 all = FL_IF | FL_IOPL(3) | FL_AC | FL_ID | FL_VIF | FL_VIP | FL_CF | FL_OF | 2;
	u16 *words = (u16 *)return_frame;

	return_by(code, handler(), KCS, all, 0, 0);
	rule("SDM 2A IRET: to the same level at CPL 0 every flag comes from the frame",
	     done() && t.eflags == all && t.esp == (u32)(return_frame + 3));
	return_by(code, handler(), UCS, FL_IF | FL_IOPL(1) | 2, esp3, UDS);
	rule("SDM 2A IRET: to CPL 3 loads SS:ESP, IOPL and IF",
	     done() && t.cs == UCS && t.ss == UDS && t.esp == esp3 &&
		     t.eflags == (FL_IF | FL_IOPL(1) | 2));
	rule("SDM 2A IRET: to an outer level makes data segments of inner DPL null",
	     t.ds == 0 && t.es == 0 && t.fs == 0 && t.gs == 0);
	return_frame[0] = handler();
	return_frame[1] = UCS;
	return_frame[2] = FL_VM | FL_VIF | FL_VIP | FL_IOPL(3) | FL_IF | FL_CF | FL_AC | 2;
	PROBE3(CODE("mov esp, ebx\n iretd"), .ebx = (u32)return_frame);
	rule("SDM 2A IRET: at CPL 3 above IOPL the frame's VM, VIF, VIP, IOPL and IF are ignored",
	     done() && t.eflags == (FL_CF | FL_AC | 2));
	return_frame[0] = handler();
	return_frame[1] = UCS;
	return_frame[2] = FL_IOPL(0) | FL_IF | 2;
	PROBE3(CODE("mov esp, ebx\n iretd"), .ebx = (u32)return_frame, .eflags = FL_IOPL(3) | 2);
	rule("SDM 2A IRET: at CPL 3 within IOPL the frame gives IF, not IOPL",
	     done() && t.eflags == (FL_IF | FL_IOPL(3) | 2));
	seg_set(T(3), desc(LOW, 0xffff, P | DPL(3) | CODE_XR, D));
	words[0] = (u16)(handler() - LOW);
	words[1] = T(3) + 3;
	words[2] = FL_CF | 2;
	words[3] = 0x1230;
	words[4] = UDS;
	PROBE(CODE("mov esp, ebx\n iretw"), .ebx = (u32)return_frame, .eflags = FL_AC | FL_ID | 2);
	rule("SDM 2A IRET: a 16-bit IRET pops words, and keeps the upper half of EFLAGS",
	     t.vector == BP && t.cs == T(3) + 3 && t.eflags == (FL_AC | FL_ID | FL_CF | 2) &&
		     t.ss == UDS && (u16)t.esp == 0x1230);
	return_by(code, handler(), 0, 2, 0, 0);
	rule("SDM 2A IRET: null CS: #GP(0)", return_fault(code, GP, 0));
	return_by(code, handler(), KDS, 2, 0, 0);
	rule("SDM 2A IRET: CS is a data segment: #GP(selector)", return_fault(code, GP, KDS));
	return_by(code, handler(), KCS + 3, 2, esp3, UDS);
	rule("SDM 2A IRET: nonconforming CS of DPL unlike its RPL: #GP(selector)",
	     return_fault(code, GP, KCS));
	seg_set(T(3), desc(0, 0xfffff, P | DPL(3) | CONF_XR, G | D));
	return_by(code, handler(), T(3), 2, 0, 0);
	rule("SDM 2A IRET: conforming CS of DPL > RPL: #GP(selector)",
	     return_fault(code, GP, T(3)));
	return_by(code, handler(), CCS + 3, 2, esp3, UDS);
	rule("SDM 2A IRET: conforming CS of DPL < RPL returns to the RPL's level",
	     done() && t.cs == CCS + 3 && t.ss == UDS);
	seg_set(T(3), desc(0, 0xfffff, DPL(3) | CODE_XR, G | D));
	return_by(code, handler(), T(3) + 3, 2, esp3, UDS);
	rule("SDM 2A IRET: CS not present: #NP(selector)", return_fault(code, NP, T(3)));
	return_by(code, handler(), UCS, 2, esp3, 0);
	rule("SDM 2A IRET: null SS to CPL 3: #GP(0)", return_fault(code, GP, 0));
	return_by(code, handler(), UCS, 2, esp3, (UDS & ~3u) + 2);
	rule("SDM 2A IRET: SS RPL unlike CS RPL: #GP(SS)", return_fault(code, GP, UDS & ~3u));
	return_by(code, handler(), UCS, 2, esp3, UCS);
	rule("SDM 2A IRET: SS is a code segment: #GP(SS)", return_fault(code, GP, UCS & ~3u));
	return_by(code, handler(), UCS, 2, esp3, KDS + 3);
	rule("SDM 2A IRET: SS DPL unlike CS RPL: #GP(SS)", return_fault(code, GP, KDS));
	seg_set(T(3), desc(0, 0xfffff, DPL(3) | DATA_RW, G | D));
	return_by(code, handler(), UCS, 2, esp3, T(3) + 3);
	rule("SDM 3A 6.15 (interrupt 12) IRET to an outer level, SS not present: #SS(SS)",
	     return_fault(code, SS, T(3)));
	seg_set(T(3), desc(0, 0xfff, P | CODE_XR, D));
	return_by(code, 0x1000, T(3), 2, 0, 0);
	rule("SDM 2A IRET: EIP beyond the code limit: #GP(0)", return_fault(code, GP, 0));
	return_frame[0] = handler();
	return_frame[1] = KCS;
	return_frame[2] = 2;
	PROBE3(CODE("mov esp, ebx\n iretd"), .ebx = (u32)return_frame);
	rule("SDM 2A IRET: to an inner level: #GP(selector)", fault_e(GP, KCS, 2));
}

static void flag_instructions(void)
{
	u32 popf = CODE("push eax\n popfd"), cli = CODE("cli"), sti = CODE("sti");
	u32 all = 0x003f7fd5 & ~FL_TF; /* every defined flag but TF, with VM, RF, VIF, VIP */

	PROBE(popf, .eax = all & ~FL_VM);
	rule("SDM 2B POPF: at CPL 0 IOPL, IF, NT, AC and ID change, VM, RF, VIF and VIP do not",
	     done() && t.eflags == (0x00247fd5 & ~FL_TF) + 2);
	PROBE3(popf, .eax = all);
	rule("SDM 2B POPF: at CPL 3 above IOPL, IOPL and IF keep their values without a fault",
	     done() && t.eflags == (0x00244dd5 & ~FL_TF) + 2);
	PROBE3(popf, .eax = FL_IF, .eflags = FL_IOPL(3) | 2);
	rule("SDM 2B POPF: at CPL 3 within IOPL, IF changes and IOPL does not",
	     done() && t.eflags == (FL_IOPL(3) | FL_IF | 2));
	PROBE3(CODE("popfw"), .esp = (u32)(return_frame + 2), .eflags = FL_AC | FL_ID | 2);
	rule("SDM 2B POPF: a 16-bit POPF keeps the upper half of EFLAGS",
	     done() && (t.eflags & 0xffff0000) == (FL_AC | FL_ID));
	PROBE3(cli, .eflags = FL_IOPL(2) | FL_IF | 2);
	rule("SDM 2A CLI: CPL > IOPL: #GP(0)", fault_e(GP, 0, 0) && (t.eflags & FL_IF));
	PROBE3(sti, .eflags = FL_IOPL(2) | 2);
	rule("SDM 2B STI: CPL > IOPL: #GP(0)", fault_e(GP, 0, 0));
	PROBE3(cli, .eflags = FL_IOPL(3) | FL_IF | 2);
	rule("SDM 2A CLI: CPL <= IOPL clears IF", done() && !(t.eflags & FL_IF));
	PROBE2(sti, .eflags = FL_IOPL(2) | 2);
	rule("SDM 2B STI: CPL <= IOPL sets IF", done() && (t.eflags & FL_IF));
}

void test_main(void)
{
	flags();
	gate_faults();
	stack_faults();
	gates16();
	irets();
	flag_instructions();
}
