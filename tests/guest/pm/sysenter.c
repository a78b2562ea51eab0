/*
 * SYSENTER and SYSEXIT: SDM 3A 5.8.7 and the instructions' pages in 2B.
 */
#include "pm.h"

#define IA32_SYSENTER_CS  0x174
#define IA32_SYSENTER_ESP 0x175
#define IA32_SYSENTER_EIP 0x176

/* The MSRs name four descriptors in a row: level 0 code and stack, level 3 code and stack. */
static void setup(u32 cs, u32 eip)
{
	seg_set(T(0), seg_get(KCS));
	seg_set(T(1), seg_get(KDS));
	seg_set(T(2), seg_get(UCS));
	seg_set(T(3), seg_get(UDS));
	wrmsr(IA32_SYSENTER_CS, cs);
	wrmsr(IA32_SYSENTER_ESP, TOP(stack1));
	wrmsr(IA32_SYSENTER_EIP, eip);
}

void test_main(void)
{
	u32 enter = CODE("sysenter\n nop"), end = CODE(""), leave = CODE("sysexit\n nop");

	if (!(cpuid_1_edx & 0x800)) {
		tap_skip("SDM 3A 5.8.7 SYSENTER", "CPUID.1:EDX.SEP is clear");
		return;
	}
	setup(T(0), end);
	PROBE3(enter);
	rule("SDM 2B SYSENTER loads CS, EIP, SS and ESP from the MSRs",
	     done() && t.eip == end + 1 && t.cs == T(0) && t.ss == T(1) && t.esp == TOP(stack1));
	setup(T(0), end);
	PROBE3(enter, .eflags = FL_IF | FL_CF | FL_IOPL(3) | 2);
	rule("SDM 2B SYSENTER clears IF and RF and keeps the other flags",
	     done() && t.eflags == (FL_CF | FL_IOPL(3) | 2));
	setup(T(0) + 3, end);
	PROBE3(enter);
	rule("SDM 2B SYSENTER ignores the RPL in IA32_SYSENTER_CS", done() && t.cs == T(0));
	setup(T(0), end);
	seg_set(T(0), 0);
	seg_set(T(1), 0);
	PROBE3(enter);
	rule("SDM 2B SYSENTER does not read the descriptors: flat segments whatever the GDT says",
	     t.vector == BP && t.cs == T(0) && t.ss == T(1) && t.eip == end + 1);
	setup(0, end);
	PROBE3(enter);
	rule("SDM 2B SYSENTER with a null IA32_SYSENTER_CS: #GP(0)", fault_e(GP, 0, 0));
	setup(3, end);
	PROBE3(enter);
	rule("SDM 2B SYSENTER with IA32_SYSENTER_CS null but for its RPL: #GP(0)",
	     fault_e(GP, 0, 0));
	setup(T(0), end);
	PROBEV(CODE_16("sysenter"), .eflags = FL_VM | FL_IF | 2);
	rule("SDM 2B SYSENTER leaves virtual-8086 mode",
	     done() && t.cs == T(0) && !(t.eflags & FL_VM));
	setup(T(0), end);
	PROBE(leave, .edx = end, .ecx = TOP(user_stack));
	rule("SDM 2B SYSEXIT loads CS + 16, EDX, SS + 24 and ECX at CPL 3",
	     done() && t.eip == end + 1 && t.cs == T(2) + 3 && t.ss == T(3) + 3 &&
		     t.esp == TOP(user_stack));
	setup(T(0), end);
	PROBE(leave, .edx = end, .ecx = TOP(user_stack), .eflags = FL_IF | FL_CF | 2);
	rule("SDM 2B SYSEXIT keeps EFLAGS", done() && t.eflags == (FL_IF | FL_CF | 2));
	setup(T(0), end);
	PROBE3(leave);
	rule("SDM 2B SYSEXIT at CPL 3: #GP(0)", fault_e(GP, 0, 0));
	setup(0, end);
	PROBE(leave);
	rule("SDM 2B SYSEXIT with a null IA32_SYSENTER_CS: #GP(0)", fault_e(GP, 0, 0));
}
