/*
 * Debug registers, breakpoints and single-step: SDM 3B 17.2 and 17.3.
 */
#include "pm.h"

#define B0 1
#define BD 0x2000
#define BS 0x4000
#define L0 1
#define G0 2
#define L1 4
#define GD 0x2000
/* R/W and LEN fields of breakpoint n: SDM 3B 17.2.4. */
#define RW(n, v)  ((u32)(v) << (16 + 4 * (n)))
#define LEN(n, v) ((u32)(v) << (18 + 4 * (n)))
enum { EXECUTE, WRITE, IO, ACCESS };

/* The #DB that ended the probe: this EIP, these bits of DR6 and no other. */
static bool debug(u32 eip, u32 bits)
{
	return t.vector == DB && t.eip == eip && (t.dr6 & 0xe00f) == bits;
}

static void single_step(void)
{
	u32 nop = CODE("nop"), movs = CODE("rep movsb"), mov_ss = CODE("mov ss, eax\n nop\n nop");
	u32 popf = CODE("push 0x102\n popfd\n nop\n nop"), untrap = CODE("push 2\n popfd\n nop");
	u32 trap_int = CODE("int 0x40\n nop"), sti = CODE("sti\n nop"), here;

	PROBE3(nop, .eflags = FL_TF | 2);
	rule("SDM 3B 17.3.1.4 TF: #DB after the instruction, DR6.BS", debug(nop + 1, BS));
	PROBE3(nop, .eflags = FL_TF | 2);
	rule("SDM 3B 17.3.1.4 the saved EFLAGS have TF set and RF clear, the handler's TF is clear",
	     debug(nop + 1, BS) && t.eflags == (FL_TF | 2) && !(t.h_eflags & FL_TF));
	PROBE3(popf);
	rule("SDM 3B 17.3.1.4 the first trap comes after the instruction behind the POPF that set TF",
	     debug(popf + 7, BS));
	PROBE3(untrap, .eflags = FL_TF | 2);
	rule("SDM 3B 17.3.1.4 the trap comes before the next instruction can clear TF",
	     debug(untrap + 2, BS));
	PROBE3(CODE("popfd\n nop"), .eflags = FL_TF | 2, .esp = TOP(user_stack) - 4);
	rule("SDM 3B 17.3.1.4 a POPF that clears TF is itself still trapped",
	     t.vector == DB && *mem8(t.eip - 1) == 0x9d && (t.dr6 & 0xe00f) == BS &&
		     !(t.eflags & FL_TF));
	PROBE3(movs, .eflags = FL_TF | 2, .ecx = 3, .esi = LOW_DATA, .edi = LOW_DATA + 16);
	rule("SDM 3B 17.3.1.4 a repeated string instruction traps after each iteration",
	     debug(movs, BS) && t.ecx == 2 && t.esi == LOW_DATA + 1);
	PROBE3(movs, .eflags = FL_TF | 2, .ecx = 3, .esi = LOW_DATA, .edi = LOW_DATA + 16);
	rule("SDM 3B 17.3.1.1 a trap between two iterations saves RF set (AMD: clear)",
	     debug(movs, BS) && !!(t.eflags & FL_RF) == saves_rf_in_strings);
	PROBE3(movs, .eflags = FL_TF | 2, .ecx = 1, .esi = LOW_DATA, .edi = LOW_DATA + 16);
	rule("SDM 3B 17.3.1.4 the last iteration traps behind the instruction",
	     debug(movs + 2, BS) && t.ecx == 0 && !(t.eflags & FL_RF));
	PROBE3(mov_ss, .eax = UDS, .eflags = FL_TF | 2);
	rule("SDM 3A 6.8.3 no trap after MOV SS, but after the instruction that follows",
	     debug(mov_ss + 3, BS));
	PROBE(sti, .eflags = FL_TF | 2);
	rule("SDM 2B STI: the shadow of STI does not hold off a single-step trap",
	     debug(sti + 1, BS));
	idt_set(0x40, stub_gate(0x40, 3));
	PROBE3(trap_int, .eflags = FL_TF | 2);
	rule("SDM 3B 17.3.1.4 INT n clears TF without a trap: the handler runs first",
	     fault(0x40, 2) && (t.eflags & FL_TF) && !(t.dr6 & BS));
	PROBE3(CODE("hlt"), .eflags = FL_TF | 2);
	rule("SDM 3A 6.9 an instruction that faults is not trapped",
	     fault_e(GP, 0, 0) && !(t.dr6 & BS));
	here = CODE("jmp 1f\n nop\n1: nop");
	PROBE3(here, .eflags = FL_TF | 2);
	rule("SDM 3B 17.3.1.4 a jump traps at its target", debug(here + 3, BS));
	PROBE3(CODE("pushfd\n nop"), .eflags = FL_TF | 2);
	rule("SDM 2B PUSHF under TF stores TF set", t.vector == DB && (*mem32(t.esp) & FL_TF));
	PROBEV(CODE_16("nop"), .eflags = FL_VM | FL_IOPL(3) | FL_TF | 2);
	rule("SDM 3B 17.3.1.4 TF works in virtual-8086 mode",
	     t.vector == DB && (t.eflags & FL_VM) && (t.dr6 & BS));
}

static void code_breakpoints(void)
{
	u32 code = CODE("nop\n nop\n nop"), ud2 = CODE("ud2"), longer = CODE("mov eax, 5");

	dr0_set(code + 1);
	dr7_set(L0);
	PROBE3(code);
	rule("SDM 3B 17.3.1.1 a code breakpoint: #DB before the instruction, DR6.B0",
	     debug(code + 1, B0));
	dr0_set(code + 1);
	dr7_set(L0);
	PROBE3(code);
	rule("SDM 3B 17.3.1.1 a code breakpoint saves EFLAGS with RF clear",
	     debug(code + 1, B0) && !(t.eflags & FL_RF));
	dr0_set(code);
	dr7_set(L0);
	PROBE3(code, .eflags = FL_RF | 2);
	rule("SDM 3B 17.3.1.1 RF holds a code breakpoint off for one instruction", done());
	dr0_set(code + 1);
	dr7_set(L0);
	PROBE3(code, .eflags = FL_RF | 2);
	rule("SDM 3B 17.3.1.1 RF does not reach the second instruction", debug(code + 1, B0));
	dr3_set(code);
	dr7_set(G0 << 6);
	PROBE(code);
	rule("SDM 3B 17.2.4 G3 alone enables breakpoint 3", debug(code, 8));
	dr0_set(code);
	dr7_set(0);
	PROBE3(code);
	rule("SDM 3B 17.2.4 with L0 and G0 clear there is no breakpoint", done());
	dr0_set(longer + 1);
	dr7_set(L0);
	PROBE3(longer);
	rule("SDM 3B 17.3.1.1 a code breakpoint inside an instruction does not match", done());
	dr0_set(ud2);
	dr7_set(L0);
	PROBE3(ud2);
	rule("SDM 3A 6.9 a code breakpoint comes before #UD", debug(ud2, B0));
	dr0_set(code);
	dr1_set(code);
	dr7_set(L0 | L1);
	PROBE3(code);
	rule("SDM 3B 17.2.3 each matching breakpoint sets its bit", debug(code, 3));
}

/* Breakpoint 0 on LOW_DATA + 8 + at, and an access of 1, 2 or 4 bytes. Did it hit? */
static bool hits(unsigned rw, unsigned len, u32 at, u32 code, u32 address)
{
	reset();
	dr0_set(LOW_DATA + 8 + at);
	dr7_set(L0 | RW(0, rw) | LEN(0, len));
	PROBE3(code, .ebx = LOW_DATA + 8 + address, .ecx = 1, .esi = LOW_DATA + 8 + address,
	       .edi = LOW_DATA + 8 + address);
	return t.vector == DB && (t.dr6 & 0xe00f) == B0;
}

static void data_breakpoints(void)
{
	u32 load1 = CODE("mov al, [ebx]"), store1 = CODE("mov [ebx], al");
	u32 store4 = CODE("mov [ebx], eax"), load4 = CODE("mov eax, [ebx]");
	u32 add = CODE("add dword ptr [ebx], 1"), push = CODE("push eax");
	u32 stos = CODE("rep stosb"), two = CODE("mov [ebx], eax\n mov [ebx + 4], eax");
	u32 mov_ss = CODE("mov ss, [ebx]\n nop\n nop");

	rule("SDM 3B 17.3.1.2 a write breakpoint: #DB after the write, a trap",
	     hits(WRITE, 0, 0, store1, 0) && debug(store1 + 2, B0) && !(t.eflags & FL_RF));
	rule("SDM 3B 17.2.4 a write breakpoint ignores reads",
	     !hits(WRITE, 0, 0, load1, 0) && done());
	rule("SDM 3B 17.2.4 a read/write breakpoint sees reads", hits(ACCESS, 0, 0, load1, 0));
	rule("SDM 3B 17.2.4 a read/write breakpoint sees writes", hits(ACCESS, 0, 0, store1, 0));
	rule("SDM 3B 17.2.4 a read-modify-write hits a write breakpoint",
	     hits(WRITE, 3, 0, add, 0));
	rule("SDM 3B 17.2.5 length 1: the byte before and the byte behind do not hit",
	     !hits(WRITE, 0, 0, store1, (u32)-1) && !hits(WRITE, 0, 0, store1, 1));
	rule("SDM 3B 17.2.5 length 2: both bytes hit, the third does not",
	     hits(WRITE, 1, 0, store1, 0) && hits(WRITE, 1, 0, store1, 1) &&
		     !hits(WRITE, 1, 0, store1, 2));
	rule("SDM 3B 17.2.5 length 4: the fourth byte hits, the fifth does not",
	     hits(WRITE, 3, 0, store1, 3) && !hits(WRITE, 3, 0, store1, 4));
	rule("SDM 3B 17.2.5 a dword access that overlaps one byte hits",
	     hits(WRITE, 0, 0, store4, (u32)-3) && hits(ACCESS, 0, 3, load4, 0));
	rule("SDM 3B 17.2.5 a dword access that ends before the byte does not",
	     !hits(WRITE, 0, 0, store4, (u32)-4) && done());
	rule("SDM 3B 17.2.5 length 4: the low two bits of the address do not matter",
	     hits(WRITE, 3, 3, store1, 0) && !hits(WRITE, 3, 3, store1, 4));
	rule("SDM 3B 17.2.5 length 2: the low bit of the address does not matter",
	     hits(WRITE, 1, 1, store1, 0) && !hits(WRITE, 1, 1, store1, 2));
	dr0_set(TOP(user_stack) - 4);
	dr7_set(L0 | RW(0, WRITE) | LEN(0, 3));
	PROBE3(push);
	rule("SDM 3B 17.3.1.2 a push hits a write breakpoint", debug(push + 1, B0));
	dr0_set(LOW_DATA + 1);
	dr7_set(L0 | RW(0, WRITE));
	PROBE3(stos, .edi = LOW_DATA, .ecx = 4);
	rule("SDM 3B 17.3.1.2 REP STOS traps after the iteration that hits",
	     debug(stos, B0) && t.ecx == 2 && t.edi == LOW_DATA + 2 &&
		     !!(t.eflags & FL_RF) == saves_rf_in_strings);
	dr0_set(LOW_DATA);
	dr1_set(LOW_DATA + 4);
	dr7_set(L0 | L1 | RW(0, WRITE) | RW(1, WRITE));
	PROBE3(two, .ebx = LOW_DATA);
	rule("SDM 3B 17.2.3 only the breakpoint that matched sets its bit", debug(two + 2, B0));
	dr0_set(LOW_DATA);
	dr7_set(L0 | RW(0, WRITE));
	PROBE3(store1, .ebx = LOW_DATA, .eflags = FL_TF | 2);
	rule("SDM 3B 17.2.3 a data breakpoint and a single-step share one #DB",
	     debug(store1 + 2, B0 | BS));
	*mem32(LOW_DATA) = UDS;
	dr0_set(LOW_DATA);
	dr7_set(L0 | RW(0, ACCESS) | LEN(0, 1));
	PROBE3(mov_ss, .ebx = LOW_DATA);
	rule("SDM 3A 6.8.3 a data breakpoint on the operand of MOV SS is held off one instruction",
	     t.vector == DB && t.eip == mov_ss + 3);
}

static void io_breakpoints(void)
{
	u32 out = CODE("out 0x80, al\n nop"), in = CODE("in al, 0x80\n nop"),
	    out2 = CODE("out 0x7f, ax");

	cr4_set(CR4_DE);
	dr2_set(0x80);
	dr7_set(L0 << 4 | RW(2, IO));
	PROBE(out);
	rule("SDM 3B 17.3.1.3 an I/O breakpoint with CR4.DE: #DB after OUT, DR6.B2",
	     debug(out + 2, 4));
	cr4_set(CR4_DE);
	dr2_set(0x80);
	dr7_set(L0 << 4 | RW(2, IO));
	PROBE(in);
	rule("SDM 3B 17.3.1.3 an I/O breakpoint sees IN", debug(in + 2, 4));
	cr4_set(CR4_DE);
	dr2_set(0x81);
	dr7_set(L0 << 4 | RW(2, IO));
	PROBE(out);
	rule("SDM 3B 17.3.1.3 an I/O breakpoint on the next port does not hit", done());
	cr4_set(CR4_DE);
	dr2_set(0x80);
	dr7_set(L0 << 4 | RW(2, IO));
	PROBE(out2);
	rule("SDM 3B 17.3.1.3 a word access that overlaps the port hits", debug(out2 + 3, 4));
}

static void registers(void)
{
	u32 read = CODE("mov eax, dr0\n nop"), dr4 = CODE("mov eax, dr4"),
	    dr5 = CODE("mov dr5, eax");

	dr7_set(GD);
	PROBE(read);
	rule("SDM 3B 17.2.4 GD: an access to a debug register: #DB before it, DR6.BD",
	     debug(read, BD));
	dr7_set(GD);
	PROBE(CODE("mov dr7, eax"));
	rule("SDM 3B 17.2.4 the processor clears GD as it enters the handler",
	     t.vector == DB && !(t.dr7 & GD));
	dr6_set(0xffff0ff0 | BD);
	PROBE3(CODE("nop"), .eflags = FL_TF | 2);
	rule("SDM 3B 17.2.3 the processor does not clear the other bits of DR6",
	     t.vector == DB && (t.dr6 & 0xe000) == (BD | BS));
	PROBE(CODE("mov dr6, eax\n mov ecx, dr4"), .eax = 0xffff0ff5);
	rule("SDM 3B 17.2.2 with CR4.DE clear DR4 is DR6", done() && (t.ecx & 0xe00f) == 5);
	PROBE(CODE("mov dr5, eax\n mov ecx, dr7"), .eax = L0 << 2 | 0x400);
	rule("SDM 3B 17.2.2 with CR4.DE clear DR5 is DR7", done() && t.ecx == (L0 << 2 | 0x400));
	cr4_set(CR4_DE);
	PROBE(dr4);
	rule("SDM 3B 17.2.2 with CR4.DE set DR4: #UD", fault(UD, 0));
	cr4_set(CR4_DE);
	PROBE(dr5);
	rule("SDM 3B 17.2.2 with CR4.DE set DR5: #UD", fault(UD, 0));
	PROBE(CODE("mov dr7, eax\n mov ecx, dr7"), .eax = 0xd000);
	rule("SDM 3B 17.2.4 DR7: bit 10 reads 1, bits 12, 14 and 15 read 0",
	     done() && t.ecx == 0x400);
	PROBE3(CODE("int1"));
	rule("SDM 3B 17.2.3 INT1 sets no bit of DR6", t.vector == DB && (t.dr6 & 0xe00f) == 0);
}

void test_main(void)
{
	single_step();
	code_breakpoints();
	data_breakpoints();
	io_breakpoints();
	registers();
}
