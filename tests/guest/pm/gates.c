/*
 * Far transfers: JMP, CALL and RET between code segments and through call gates. SDM 3A 5.8, and
 * the operation sections of CALL, JMP and RET in 2A and 2B.
 */
#include "pm.h"

static struct {
	u32 offset;
	u16 selector;
} __attribute__((packed)) pointer;

#define JUMP "jmp fword ptr [ebx]"
#define CALL "call fword ptr [ebx]"

/* The EBX of a probe that jumps to selector:offset. */
static u32 far(u32 selector, u32 offset)
{
	pointer.offset = offset;
	pointer.selector = (u16)selector;
	return (u32)&pointer;
}

/* Code that ends the probe at once, as the target of a transfer. */
static u32 target(void) { return CODE(""); }

static void segments(void)
{
	/* The operand-size prefix on CALL m16:16; it reaches 64 KiB of a segment with base LOW. */
	u32 call16 = CODE(".byte 0x66\n" CALL);

	PROBE3(CODE(JUMP), .ebx = far(UCS & ~3u, target()));
	rule("SDM 3A 5.8.1.1 JMP to a nonconforming segment of DPL = CPL: CS gets RPL = CPL",
	     done() && t.cs == UCS);
	PROBE(CODE(JUMP), .ebx = far(KCS + 3, target()));
	rule("SDM 3A 5.8.1.1 JMP to a nonconforming segment with RPL > CPL: #GP(selector)",
	     fault_e(GP, KCS, 0));
	PROBE3(CODE(JUMP), .ebx = far(KCS, target()));
	rule("SDM 3A 5.8.1.1 JMP to a nonconforming segment of DPL < CPL: #GP(selector)",
	     fault_e(GP, KCS, 0));
	PROBE(CODE(JUMP), .ebx = far(UCS & ~3u, target()));
	rule("SDM 3A 5.8.1.1 JMP to a nonconforming segment of DPL > CPL: #GP(selector)",
	     fault_e(GP, UCS & ~3u, 0));
	PROBE3(CODE(CALL), .ebx = far(KCS, target()));
	rule("SDM 3A 5.8.1.1 CALL to a nonconforming segment of DPL < CPL: #GP(selector)",
	     fault_e(GP, KCS, 0) && t.esp == TOP(user_stack));
	PROBE3(CODE(JUMP), .ebx = far(CCS, CODE("nop\n hlt")));
	rule("SDM 3A 5.8.1.2 JMP to a conforming segment of DPL 0 stays at CPL 3",
	     t.vector == GP && t.error == 0 && t.cs == CCS + 3 && t.ss == UDS);
	PROBE(CODE(JUMP), .ebx = far(CCS + 3, target()));
	rule("SDM 3A 5.8.1.2 JMP to a conforming segment ignores RPL", done() && t.cs == CCS);
	seg_set(T(0), desc(0, 0xfffff, P | DPL(3) | CONF_XR, G | D));
	PROBE(CODE(JUMP), .ebx = far(T(0), target()));
	rule("SDM 3A 5.8.1.2 JMP to a conforming segment of DPL > CPL: #GP(selector)",
	     fault_e(GP, T(0), 0));
	seg_set(T(0), desc(0, 0xfffff, CODE_XR, G | D));
	PROBE(CODE(JUMP), .ebx = far(T(0), target()));
	rule("SDM 2A JMP: target segment not present: #NP(selector)", fault_e(NP, T(0), 0));
	PROBE(CODE(JUMP), .ebx = far(KDS, target()));
	rule("SDM 2A JMP: target is a data segment: #GP(selector)", fault_e(GP, KDS, 0));
	PROBE(CODE(JUMP), .ebx = far(SEL_LDT, target()));
	rule("SDM 2A JMP: target is an LDT: #GP(selector)", fault_e(GP, SEL_LDT, 0));
	PROBE(CODE(JUMP), .ebx = far(0, target()));
	rule("SDM 2A JMP: null target: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE(CALL), .ebx = far(T(1), target()));
	rule("SDM 2A CALL: target is a descriptor of zeros: #GP(selector)", fault_e(GP, T(1), 0));
	seg_set(T(0), desc(0, 0xfff, P | CODE_XR, D));
	PROBE(CODE("nop\n" JUMP), .ebx = far(T(0), 0x1000));
	rule("SDM 2A JMP: far target beyond the segment limit: #GP(0) at the jump",
	     fault_e(GP, 0, 1) && t.cs == KCS);
	PROBE(CODE(CALL "\n nop"), .ebx = far(KCS, CODE("pop eax\n pop edx")));
	rule("SDM 2A CALL: a far call pushes CS and the EIP of the next instruction",
	     done() && t.edx == KCS && *mem8(t.eax) == 0x90 && t.esp == TOP(probe_stack));
	seg_set(T(0), desc(LOW, 0xffff, P | CODE_XR, D));
	pointer.offset = (target() - LOW) | (u32)T(0) << 16;
	PROBE(call16, .cs = T(0), .eip = call16 - LOW, .ebx = (u32)&pointer);
	rule("SDM 2A CALL: a 16-bit far call pushes two words",
	     done() && t.esp == TOP(probe_stack) - 4 && mem16(t.esp)[1] == T(0) &&
		     mem16(t.esp)[0] == call16 - LOW + 3);
	seg_set(T(0), desc((u32)user_stack, 0xff, P | DPL(3) | DATA_RW, D));
	PROBE3(CODE(CALL), .ss = T(0) + 3, .esp = 0x104, .ebx = far(UCS, target()));
	rule("SDM 2A CALL: no room for the return address: #SS(0), nothing changed",
	     fault_e(SS, 0, 0) && t.cs == UCS && t.esp == 0x104);
}

static void returns(void)
{
	u32 retf = CODE("retf"), retf8 = CODE("retf 8"), esp3 = TOP(user_stack);

	return_by(retf, target(), KCS, 0, 0, 0);
	rule("SDM 2B RET: far return to the same level pops two dwords",
	     done() && t.cs == KCS && t.esp == (u32)(return_frame + 2));
	return_by(retf8, target(), KCS, 0, 0, 0);
	rule("SDM 2B RET: the immediate releases that many bytes more",
	     done() && t.esp == (u32)(return_frame + 4));
	return_by(retf, target(), UCS, esp3, UDS, 0);
	rule("SDM 3A 5.8.6 far return to an outer level loads SS:ESP from the stack",
	     done() && t.cs == UCS && t.ss == UDS && t.esp == esp3);
	return_by(retf8, target(), UCS, 0, 0, esp3);
	return_frame[5] = UDS;
	PROBE(CODE("mov esp, ebx\n jmp eax"), .eax = retf8, .ebx = (u32)return_frame);
	rule("SDM 3A 5.8.6 RET n to an outer level skips n bytes on both stacks",
	     done() && t.cs == UCS && t.ss == UDS && t.esp == esp3 + 8);
	return_frame[0] = target();
	return_frame[1] = KCS;
	PROBE3(CODE("mov esp, ebx\n retf"), .ebx = (u32)return_frame);
	rule("SDM 3A 5.8.6 far return to an inner level: #GP(selector)", fault_e(GP, KCS, 2));
	return_by(retf, target(), 0, 0, 0, 0);
	rule("SDM 2B RET: null return selector: #GP(0)", return_fault(retf, GP, 0));
	return_by(retf, target(), KDS, 0, 0, 0);
	rule("SDM 2B RET: return to a data segment: #GP(selector)", return_fault(retf, GP, KDS));
	return_by(retf, target(), GDT_ENTRIES * 8, 0, 0, 0);
	rule("SDM 2B RET: return selector beyond the GDT: #GP(selector)",
	     return_fault(retf, GP, GDT_ENTRIES * 8));
	return_by(retf, target(), KCS + 3, esp3, UDS, 0);
	rule("SDM 2B RET: outer return to a nonconforming segment of DPL < RPL: #GP(selector)",
	     return_fault(retf, GP, KCS));
	seg_set(T(0), desc(0, 0xfffff, CODE_XR, G | D));
	return_by(retf, target(), T(0), 0, 0, 0);
	rule("SDM 2B RET: return to a segment not present: #NP(selector)",
	     return_fault(retf, NP, T(0)));
	return_by(retf, target(), UCS, esp3, 0, 0);
	rule("SDM 2B RET: outer return with a null SS: #GP(0)", return_fault(retf, GP, 0));
	return_by(retf, target(), UCS, esp3, UDS & ~3u, 0);
	rule("SDM 2B RET: outer return with SS RPL unlike the new CPL: #GP(SS)",
	     return_fault(retf, GP, UDS & ~3u));
	return_by(retf, target(), UCS, esp3, KDS + 3, 0);
	rule("SDM 2B RET: outer return with SS DPL unlike the new CPL: #GP(SS)",
	     return_fault(retf, GP, KDS));
	seg_set(T(0), desc(0, 0xfffff, DPL(3) | DATA_RW, G | D));
	return_by(retf, target(), UCS, esp3, T(0) + 3, 0);
	rule("SDM 2B RET: outer return with SS not present: #SS(SS)", return_fault(retf, SS, T(0)));
	seg_set(T(0), desc(0, 0xfff, P | CODE_XR, D));
	return_by(retf, 0x1000, T(0), 0, 0, 0);
	rule("SDM 2B RET: return offset beyond the segment limit: #GP(0)",
	     return_fault(retf, GP, 0));
	return_by(CODE("mov ecx, 0x43\n mov es, ecx\n mov ecx, 0x58\n mov fs, ecx\n xor ecx, ecx\n"
		       "mov gs, ecx\n retf"),
		  target(), UCS, esp3, UDS, 0);
	rule("SDM 3A 5.8.6 outer return: a DS of DPL < CPL becomes null; ES of DPL 3 and a "
	     "conforming FS stay",
	     done() && t.ds == 0 && t.es == UDS && t.fs == CCS && t.gs == 0);
}

/* A call gate of DPL 3 in T(2) to selector:offset. */
static u32 call_gate(u32 selector, u32 offset, unsigned access, unsigned params)
{
	seg_set(T(2), gate((u16)selector, offset, access, params));
	return far(T(2), 0xdeadbeef);
}

#define GATE3 (P | DPL(3) | CALL32)

static void gates(void)
{
	u32 *top = (u32 *)TOP(trap_stack), call = CODE(CALL "\n nop");

	PROBE3(call, .ebx = call_gate(KCS, target(), GATE3, 0));
	rule("SDM 3A 5.8.5 an inner call through a gate pushes SS, ESP, CS, EIP on the TSS's stack",
	     done() && t.cs == KCS && t.ss == KDS && t.esp == (u32)(top - 4) && top[-1] == UDS &&
		     top[-2] == TOP(user_stack) && top[-3] == UCS && top[-4] == call + 2);
	PROBE3(call, .ebx = call_gate(KCS + 3, target(), GATE3, 0));
	rule("SDM 3A 5.8.4 the RPL of the selector in the gate does not matter",
	     done() && t.cs == KCS);
	PROBE3(CODE("push 11\n push 22\n push 33\n" CALL),
	       .ebx = call_gate(KCS, target(), GATE3, 3));
	rule("SDM 3A 5.8.5 three parameters lie in order between old ESP and old CS",
	     done() && t.esp == (u32)(top - 7) && top[-3] == 11 && top[-4] == 22 && top[-5] == 33 &&
		     top[-6] == UCS && top[-2] == TOP(user_stack) - 12);
	PROBE3(CODE("push 11\n push 22\n" CALL "\n mov ecx, 7"),
	       .ebx = call_gate(KCS, CODE("mov edx, [esp + 8]\n retf 8"), GATE3, 2));
	rule("SDM 3A 5.8.6 RET n from the gate's procedure releases the parameters at both levels",
	     done() && t.cs == UCS && t.esp == TOP(user_stack) && t.edx == 22 && t.ecx == 7);
	PROBE3(CODE(CALL), .ebx = call_gate(CS1 & ~3u, target(), GATE3, 0));
	rule("SDM 3A 5.8.5 a gate to DPL 1 takes SS1:ESP1",
	     done() && t.cs == CS1 && t.ss == DS1 && t.esp == TOP(stack1) - 16);
	PROBE3(call, .ebx = call_gate(CCS, target(), GATE3, 2));
	rule("SDM 3A 5.8.4 a gate to a conforming segment keeps CPL and stack",
	     done() && t.cs == CCS + 3 && t.ss == UDS && t.esp == TOP(user_stack) - 8);
	PROBE3(CODE(JUMP), .ebx = call_gate(CCS, target(), GATE3, 0));
	rule("SDM 3A 5.8.4 JMP through a gate to a conforming segment", done() && t.cs == CCS + 3);
	PROBE3(CODE(JUMP), .ebx = call_gate(UCS, target(), GATE3, 0));
	rule("SDM 3A 5.8.4 JMP through a gate at the same level", done() && t.cs == UCS);
	PROBE3(CODE(JUMP), .ebx = call_gate(KCS, target(), GATE3, 0));
	rule("SDM 3A 5.8.4 JMP through a gate to an inner nonconforming segment: #GP(code selector)",
	     fault_e(GP, KCS, 0));
	PROBE3(call, .ebx = call_gate(KCS, target(), P | DPL(2) | CALL32, 0));
	rule("SDM 3A 5.8.4 gate DPL < CPL: #GP(gate selector)", fault_e(GP, T(2), 0));
	call_gate(KCS, target(), P | DPL(2) | CALL32, 0);
	PROBE(call, .ebx = far(T(2) + 3, 0));
	rule("SDM 3A 5.8.4 gate DPL < RPL: #GP(gate selector)", fault_e(GP, T(2), 0));
	PROBE3(call, .ebx = call_gate(KCS, target(), DPL(3) | CALL32, 0));
	rule("SDM 2A CALL: gate not present: #NP(gate selector)", fault_e(NP, T(2), 0));
	PROBE3(call, .ebx = call_gate(0, target(), GATE3, 0));
	rule("SDM 2A CALL: null code selector in the gate: #GP(0)", fault_e(GP, 0, 0));
	PROBE3(call, .ebx = call_gate(GDT_ENTRIES * 8, target(), GATE3, 0));
	rule("SDM 2A CALL: code selector in the gate beyond the GDT: #GP(code selector)",
	     fault_e(GP, GDT_ENTRIES * 8, 0));
	PROBE3(call, .ebx = call_gate(KDS, target(), GATE3, 0));
	rule("SDM 2A CALL: the gate names a data segment: #GP(code selector)", fault_e(GP, KDS, 0));
	PROBE(call, .ebx = call_gate(UCS, target(), GATE3, 0));
	rule("SDM 2A CALL: the gate leads outward: #GP(code selector)", fault_e(GP, UCS & ~3u, 0));
	seg_set(T(3), desc(0, 0xfffff, CODE_XR, G | D));
	PROBE3(call, .ebx = call_gate(T(3), target(), GATE3, 0));
	rule("SDM 2A CALL: the gate's code segment is not present: #NP(code selector)",
	     fault_e(NP, T(3), 0));
	seg_set(T(3), desc(0, 0xfff, P | DPL(3) | CODE_XR, D));
	PROBE3(call, .ebx = call_gate(T(3), 0x1000, GATE3, 0));
	rule("SDM 2A CALL: the gate's offset lies beyond the code limit: #GP(0)",
	     fault_e(GP, 0, 0) && t.esp == TOP(user_stack));
}

/* A call from CPL 3 to CPL 1 with this SS1: exceptions still find a good stack at level 0. */
static void call_with_ss1(u32 ss1)
{
	tss.ss1 = (u16)ss1;
	PROBE3(CODE(CALL), .ebx = call_gate(CS1 & ~3u, target(), GATE3, 0));
}

static void inner_stacks(void)
{
	call_with_ss1(0);
	rule("SDM 2A CALL: null SS in the TSS: #TS(0)", fault_e(TS, 0, 0) && t.cs == UCS);
	call_with_ss1(GDT_ENTRIES * 8 + 1);
	rule("SDM 2A CALL: SS in the TSS beyond the GDT: #TS(SS)", fault_e(TS, GDT_ENTRIES * 8, 0));
	call_with_ss1(DS1 & ~3u);
	rule("SDM 2A CALL: RPL of SS in the TSS unlike the new CPL: #TS(SS)",
	     fault_e(TS, DS1 & ~3u, 0));
	call_with_ss1((DS2 & ~3u) + 1);
	rule("SDM 2A CALL: DPL of SS in the TSS unlike the new CPL: #TS(SS)",
	     fault_e(TS, DS2 & ~3u, 0));
	seg_set(T(4), desc(0, 0xfffff, P | DPL(1) | DATA_R, G | D));
	call_with_ss1(T(4) + 1);
	rule("SDM 2A CALL: SS in the TSS is not writable: #TS(SS)", fault_e(TS, T(4), 0));
	seg_set(T(4), desc(0, 0xfffff, DPL(1) | DATA_RW, G | D));
	call_with_ss1(T(4) + 1);
	rule("SDM 2A CALL: SS in the TSS is not present: #SS(SS)", fault_e(SS, T(4), 0));
	seg_set(T(4), desc((u32)stack1, 0xf, P | DPL(1) | DATA_RW, D));
	tss.esp1 = 12;
	call_with_ss1(T(4) + 1);
	rule("SDM 2A CALL: no room on the new stack: #SS(SS), still at the outer level",
	     fault_e(SS, T(4), 0) && t.cs == UCS && t.ss == UDS && t.esp == TOP(user_stack));
	seg_set(T(5), desc((u32)&tss, offsetof(struct tss, ss1), P | TSS32, 0));
	seg_set(T(2), gate(CS1 & ~3u, target(), GATE3, 0));
	far(T(2), 0);
	PROBE(CODE("mov eax, 0xa8\n ltr ax\n mov eax, 0x43\n mov ds, eax\n push 0x43\n push esp\n push 0x3b\n push ecx\n retf"),
	      .ecx = CODE(CALL), .ebx = (u32)&pointer);
	rule("SDM 2A CALL: SS and ESP of the level lie beyond the TSS limit: #TS(TSS)",
	     t.vector == TS && t.error == T(5) && t.cs == UCS);
}

static void gates16(void)
{
	u16 *top = (u16 *)TOP(trap_stack);
	u32 esp = LOW_STACK + 0x8000;

	seg_set(T(7), desc(LOW, 0xffff, P | CODE_XR, D));
	PROBE3(CODE("push 0x11112222\n" CALL), .esp = esp,
	       .ebx = call_gate(T(7), target() - LOW, P | DPL(3) | CALL16, 2));
	rule("SDM 3A 5.8.3 a 16-bit gate pushes words and counts parameters in words",
	     done() && t.cs == T(7) && t.esp == (u32)(top - 6) && top[-1] == UDS &&
		     top[-2] == (u16)(esp - 4) && top[-3] == 0x1111 && top[-4] == 0x2222 &&
		     top[-5] == UCS);
	seg_set(T(7), desc(LOW, 0xffff, P | CODE_XR, D));
	seg_set(T(2), gate(T(7), target() - LOW, P | DPL(3) | CALL16, 0) | 0x1234ull << 48);
	PROBE3(CODE(CALL), .ebx = far(T(2), 0));
	rule("SDM 3A 5.8.3 a 16-bit gate ignores the upper half of its offset",
	     done() && t.cs == T(7));
}

void test_main(void)
{
	segments();
	returns();
	gates();
	inner_stacks();
	gates16();
}
