/*
 * Real-address mode: SDM 3B 20.1, and what the 8086 does differently: 3B 22.
 */
#include "real.h"

#define V 0x40

/* The probe at code ended by this vector, offset bytes in. */
static bool at(unsigned vector, u32 code, u32 offset)
{
	return t.vector == vector && t.cs == LOW_SEG && t.eip == code - LOW + offset;
}

/* Ended by the INT3 behind the code. */
static bool ended(void) { return t.vector == BP && *mem32(t.cs * 16 + t.eip) == 0x656e6f64; }

static void interrupts(void)
{
	u32 code = CODE_16("int 0x40"), iret = CODE_16("push 0x3ed7\n push cs\n push bx\n iretw");
	u32 lidt = CODE_16("lidt [bx]\n int 0x40"), popf = CODE_16("push 0x7ed7\n popfw");

	REAL(code, .eflags = FL_IF | FL_CF | 2);
	rule("SDM 3B 20.1.4 INT n takes CS:IP from the vector table and pushes FLAGS, CS, IP",
	     at(V, code, 2) && t.h_esp == 0x8000 - 6 && t.eflags == (FL_IF | FL_CF | 2));
	REAL(code, .eflags = FL_IF | FL_CF | 2);
	rule("SDM 3B 20.1.4 the handler starts with IF and TF clear",
	     at(V, code, 2) && t.h_eflags == (FL_CF | 2));
	*mem16(LOW_DATA) = 4 * V + 2;
	*mem32(LOW_DATA + 2) = 0;
	REAL(lidt);
	rule("SDM 2A INT: the last byte of the vector lies beyond the IDT limit: #GP, no error code",
	     at(GP, lidt, 3) && t.h_esp == 0x8000 - 6);
	*mem16(LOW_DATA) = 4 * V + 3;
	*mem32(LOW_DATA + 2) = 0;
	REAL(lidt);
	rule("SDM 2A INT: a vector that ends at the IDT limit serves", at(V, lidt, 5));
	*mem16(LOW_DATA) = 0x3ff;
	*mem32(LOW_DATA + 2) = LOW_DATA + 0x1000;
	for (unsigned v = 0; v < 256; v++)
		*mem32(LOW_DATA + 0x1000 + 4 * v) = (u32)LOW_SEG << 16 |
						    (u16)((u32)real_stubs + 8 * 0x55 - LOW);
	REAL(lidt);
	rule("SDM 3B 20.1.4 the vector table may be moved by LIDT", at(0x55, lidt, 5));
	REAL(iret, .ebx = CODE_16("nop") - LOW);
	rule("SDM 2A IRET: in real mode, FLAGS come from the stack, IOPL included",
	     ended() && t.eflags == 0x3ed7 && t.esp == 0x8000);
	REAL(popf);
	rule("SDM 2B POPF: in real mode IOPL, NT and IF change", ended() && t.eflags == 0x7ed7);
	REAL(CODE_16("cli"), .eflags = FL_IF | 2);
	rule("SDM 2A CLI: in real mode IOPL does not matter", ended() && !(t.eflags & FL_IF));
}

static void exceptions(void)
{
	static const char *const ud[] = {
		"SDM 2A LLDT in real mode: #UD", "SDM 2A LTR in real mode: #UD",
		"SDM 2B SLDT in real mode: #UD", "SDM 2B STR in real mode: #UD",
		"SDM 2A LAR in real mode: #UD",  "SDM 2C VERW in real mode: #UD",
		"SDM 2A ARPL in real mode: #UD",
	};
	u32 codes[] = { CODE_16("lldt ax"),    CODE_16("ltr ax"),     CODE_16("sldt ax"),
			CODE_16("str ax"),     CODE_16("lar ax, bx"), CODE_16("verw ax"),
			CODE_16("arpl ax, bx") };
	u32 div = CODE_16("nop\n div cl"), step = CODE_16("nop\n nop");

	for (unsigned i = 0; i < 7; i++) {
		REAL(codes[i]);
		rule(ud[i], at(UD, codes[i], 0));
	}
	REAL(div, .ecx = 0);
	rule("SDM 3A 6.15 (0) the IP saved by #DE is that of the DIV", at(DE, div, 1));
	REAL(step, .eflags = FL_TF | 2);
	rule("SDM 3B 20.1.4 TF: #DB through vector 1 after the instruction", at(DB, step, 1));
	REAL(CODE_16("smsw ax\n mov ecx, cr0\n clts"));
	rule("SDM 3B 20.1.3 SMSW, MOV from CR0 and CLTS execute in real mode",
	     ended() && !(t.ecx & CR0_PE) && !(t.eax & CR0_PE));
}

static void limits(void)
{
	u32 byte = CODE_16("mov al, [bx]"), word = CODE_16("mov ax, [bx]");
	u32 stack = CODE_16("mov ax, ss:[bx]"), wide = CODE_16("mov al, [ebx]");
	u32 bp = CODE_16("mov ax, [bp]"), jump = CODE_16("nop\n jmp ebx"), cross;

	REAL(byte, .ebx = 0xffff);
	rule("SDM 3B 20.1.1 a byte at offset 0xffff", ended());
	REAL(word, .ebx = 0xffff);
	rule("SDM 3B 22 (segment wraparound) a word at offset 0xffff: #GP", at(GP, word, 0));
	REAL(stack, .ebx = 0xffff);
	rule("SDM 3B 22 (segment wraparound) a word at offset 0xffff of SS: #SS", at(SS, stack, 0));
	REAL(bp, .ebp = 0xffff);
	rule("SDM 3B 22 (segment wraparound) a word at BP 0xffff: #SS", at(SS, bp, 0));
	REAL(wide, .ebx = 0x10000);
	rule("SDM 3B 20.1.1 a 32-bit offset above 0xffff: #GP", at(GP, wide, 0));
	REAL(wide, .ebx = 0xfff0);
	rule("SDM 3B 20.1.3 a 32-bit offset within 64 KiB", ended());
	REAL(jump, .ebx = 0x10000);
	rule("SDM 2A JMP: a 32-bit near target above 0xffff: #GP at the jump", at(GP, jump, 1));
	REAL(CODE_16("push ax"), .esp = 0);
	rule("SDM 1 6.2.3 a push at SP 0 wraps to 0xfffe", ended() && t.esp == 0xfffe);
	cross = 0x1fffe; /* offset 0xfffe of LOW_SEG */
	*mem8(cross) = 0xb8;
	*mem8(cross + 1) = 0x34;
	REAL(cross);
	rule("SDM 3B 22 (segment wraparound) an instruction across offset 0xffff: #GP at its IP",
	     at(GP, cross, 0));
}

static void addresses(void)
{
	u32 load = CODE_16("mov ds, cx\n mov ax, [bx]"), big = CODE_16("mov eax, [ebx]");
	u32 big_load = CODE_16("mov ds, cx\n mov eax, [ebx]");
	/* The keyboard controller's output port and port 0x92 gate A20 together: close both. */
	u32 a20 = CODE_16("in al, 0x92\n and al, 0xfc\n out 0x92, al\n"
			  "1: in al, 0x64\n test al, 2\n jnz 1b\n mov al, 0xd1\n out 0x64, al\n"
			  "2: in al, 0x64\n test al, 2\n jnz 2b\n mov al, 0xdd\n out 0x60, al\n"
			  "3: in al, 0x64\n test al, 2\n jnz 3b\n"
			  "mov cx, 0xffff\n mov ds, cx\n mov esi, [0x10]\n"
			  "mov al, 0xd1\n out 0x64, al\n"
			  "4: in al, 0x64\n test al, 2\n jnz 4b\n mov al, 0xdf\n out 0x60, al\n"
			  "5: in al, 0x64\n test al, 2\n jnz 5b\n"
			  "in al, 0x92\n and al, 0xfe\n or al, 2\n out 0x92, al\n mov edi, [0x10]\n"
			  "xor cx, cx\n mov ds, cx\n mov ebx, [0]");

	*mem16(LOW_DATA + 0x1230) = 0xbead;
	REAL(load, .ecx = (LOW_DATA + 0x1200) >> 4, .ebx = 0x30);
	rule("SDM 3B 20.1.1 a segment register load makes its value times 16 the base",
	     ended() && (u16)t.eax == 0xbead);
	REAL(CODE_16("mov byte ptr cs:[bx], 0x5a\n mov al, cs:[bx]"), .ebx = 0xfffd);
	rule("SDM 3B 20.1.1 the code segment is writable", ended() && (u8)t.eax == 0x5a);
	*mem32(PAGES) = 0xb16da7a;
	seg_set(T(0), desc(0, 0xfffff, P | DATA_RW, G));
	REAL_WITH(CODE_16("mov eax, [ebx]"), T(0), .ebx = PAGES, .ds = 0);
	rule("SDM 3A 9.9.2 a limit loaded in protected mode outlives PE, and real-mode loads",
	     ended() && t.eax == 0xb16da7a);
	seg_set(T(0), desc(0, 0xfffff, P | DATA_RW, G));
	REAL_WITH(big_load, T(0), .ecx = LOW_DATA >> 4, .ebx = PAGES - LOW_DATA);
	rule("SDM 3A 9.9.2 a real-mode load changes the base and keeps the limit",
	     ended() && t.eax == 0xb16da7a);
	REAL(big, .ebx = PAGES, .ds = 0);
	rule("SDM 3A 9.9.2 with the limit of 64 KiB put back: #GP", at(GP, big, 0));
	REAL(a20);
	rule("SDM 3B 20.1.1 segment 0xffff reaches 1 MiB with A20 enabled",
	     ended() && t.edi == *mem32(0x100000) && t.edi != t.ebx);
	REAL(a20);
	rule("SDM 3B 20.1.1 segment 0xffff wraps to 0 with A20 masked", ended() && t.esi == t.ebx);
}

static void transfers(void)
{
	u32 ret = CODE_16("pop ax\n pop dx");
	u32 call = CODE_16(".byte 0xff, 0x1f\n nop"); /* CALL FAR [BX] */

	*mem32(LOW_DATA) = (u32)LOW_SEG << 16 | (u16)(ret - LOW);
	REAL(call);
	rule("SDM 3B 20.1.3 a far call pushes CS and IP as words",
	     ended() && (u16)t.eax == (u16)(call - LOW + 2) && (u16)t.edx == LOW_SEG);
	dr0_set(ret);
	dr7_set(1);
	REAL(ret);
	rule("SDM 3B 17.2 a code breakpoint matches the linear address in real mode",
	     at(DB, ret, 0) && (t.dr6 & 1));
}

void test_main(void)
{
	interrupts();
	exceptions();
	limits();
	addresses();
	transfers();
}
