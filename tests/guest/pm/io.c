/*
 * Access to I/O ports: IOPL and the I/O permission bitmap. SDM 1 19.5, SDM 3A 7.2.1.
 * Port 0x80 is the POST diagnostic port: a write there has no effect on the machine.
 */
#include "pm.h"

/* Bits set for these ports of a map that is otherwise clear; the TSS ends limit bytes in. */
static void map(u32 limit, const u16 *denied, unsigned count)
{
	memset(tss.iomap, 0, sizeof(tss.iomap));
	for (unsigned i = 0; i < count; i++)
		tss.iomap[denied[i] / 8] |= (u8)(1 << denied[i] % 8);
	seg_set(SEL_TSS, desc((u32)&tss, limit, P | TSS32, 0));
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
}

#define FULL (TSS_IOBASE + 8192)

void test_main(void)
{
	static const u16 p81[] = { 0x81 }, p83[] = { 0x83 }, p88[] = { 0x88 }, p80[] = { 0x80 };
	static struct tss16 old;
	u32 out8 = CODE("out 0x80, al"), out16 = CODE("out 0x80, ax"),
	    out32 = CODE("out 0x80, eax");
	u32 v86 = CODE_16("out 0x80, al"), out16_87 = CODE("mov dx, 0x87\n out dx, ax");

	PROBE3(out8, .eflags = FL_IOPL(3) | 2);
	rule("SDM 1 19.5.1 CPL <= IOPL: allowed without a bitmap", done());
	PROBE3(out8, .eflags = FL_IOPL(2) | 2);
	rule("SDM 1 19.5.2 CPL > IOPL, TSS without a bitmap: #GP(0)", fault_e(GP, 0, 0));
	PROBE1(CODE("in al, 0x80"), .eflags = 2);
	rule("SDM 1 19.5.1 CPL 1 with IOPL 0, no bitmap: #GP(0)", fault_e(GP, 0, 0));
	map(FULL, NULL, 0);
	PROBE3(out8);
	rule("SDM 1 19.5.2 CPL > IOPL, bit clear: allowed", done());
	map(FULL, p80, 1);
	PROBE3(out8);
	rule("SDM 1 19.5.2 CPL > IOPL, bit set: #GP(0)", fault_e(GP, 0, 0));
	map(FULL, p81, 1);
	PROBE3(out8);
	rule("SDM 1 19.5.2 a byte access tests one bit", done());
	map(FULL, p81, 1);
	PROBE3(out16);
	rule("SDM 1 19.5.2 a word access tests two bits: #GP(0)", fault_e(GP, 0, 0));
	map(FULL, p83, 1);
	PROBE3(out16);
	rule("SDM 1 19.5.2 a word access does not test the third bit", done());
	map(FULL, p83, 1);
	PROBE3(out32);
	rule("SDM 1 19.5.2 a dword access tests four bits: #GP(0)", fault_e(GP, 0, 0));
	map(FULL, p88, 1);
	PROBE3(out16_87);
	rule("SDM 1 19.5.2 a word access across a byte of the map tests both bytes: #GP(0)",
	     fault_e(GP, 0, 4));
	map(TSS_IOBASE + 0x80 / 8, NULL, 0);
	PROBE3(out8);
	rule("SDM 1 19.5.2 two bytes of the map are read: the second beyond the TSS limit: #GP(0)",
	     fault_e(GP, 0, 0));
	map(TSS_IOBASE + 0x80 / 8 + 1, NULL, 0);
	PROBE3(out8);
	rule("SDM 1 19.5.2 both bytes of the map within the TSS limit: allowed", done());
	map(FULL, p80, 1);
	PROBE3(CODE("mov dx, 0x80\n outsb"), .esi = LOW_DATA);
	rule("SDM 1 19.5.2 OUTS obeys the bitmap: #GP(0)", fault_e(GP, 0, 4) && t.esi == LOW_DATA);
	map(FULL, p80, 1);
	PROBE3(CODE("mov dx, 0x80\n insb"), .edi = LOW_DATA);
	rule("SDM 1 19.5.2 INS obeys the bitmap: #GP(0)", fault_e(GP, 0, 4) && t.edi == LOW_DATA);
	map(FULL, p80, 1);
	PROBEV(v86, .eflags = FL_VM | FL_IOPL(3) | 2);
	rule("SDM 3B 20.2.8.1 virtual-8086 mode obeys the bitmap with IOPL 3, too: #GP(0)",
	     fault_e(GP, 0, 0));
	map(FULL, NULL, 0);
	PROBEV(v86, .eflags = FL_VM | 2);
	rule("SDM 3B 20.2.8.1 virtual-8086 mode with IOPL 0, bit clear: allowed", done());
	PROBEV(v86, .eflags = FL_VM | FL_IOPL(3) | 2);
	rule("SDM 3B 20.2.8.1 virtual-8086 mode with IOPL 3, TSS without a bitmap: #GP(0)",
	     fault_e(GP, 0, 0));
	old.ss0 = T(1);
	old.sp0 = 0x8000;
	seg_set(T(0), desc((u32)&old, 0xff, P | TSS16, 0));
	seg_set(T(1), desc(LOW_STACK, 0xffff, P | DATA_RW, 0));
	__asm__ volatile("ltr %w0" : : "r"(T(0)));
	PROBE3(out8);
	rule("SDM 1 19.5.2 a 16-bit TSS has no bitmap: #GP(0)", fault_e(GP, 0, 0));
}
