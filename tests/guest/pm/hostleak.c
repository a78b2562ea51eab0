/*
 * What runs the guest does not show in real-address mode, protected mode at CPL 0 and 3 and
 * virtual-8086 mode: registers, flags, segment registers, return addresses, x87 pointers and the
 * memory below the stack are the guest's, after loops long enough to have been translated.
 */
#include "real.h"

#define DATA  0x100
#define TIMES 20000
#define ARITH 0x8d5u
#define BELOW 1024 /* bytes below the stack that are watched */

enum mode { REAL16, PROT16, PROT32, USER32, V86, MODES };
static const char *const mode_names[MODES] = { "real", "16-bit, CPL 0", "32-bit, CPL 0",
					       "32-bit, CPL 3", "virtual-8086" };
static struct regs r; /* what the program started with */

static bool is_wide(enum mode m) { return m == PROT32 || m == USER32; }
/* Byte i of the memory below the stack, less what the exception that ends a program pushes there. */
static volatile u8 *below(enum mode m, unsigned i)
{
	return mem8(LOW_STACK + 0x8000 - (m == PROT16 || m == PROT32 ? 256 : 64) - BELOW + i);
}

static bool has_selectors(enum mode m) { return m != REAL16 && m != V86; }

/* Run a program, EBX at the data, other registers with values of their own. */
static void run(enum mode m, u32 wide, u32 narrow, u32 eflags)
{
	static const u16 cs[MODES] = { LOW_SEG, CS16, KCS, UCS, LOW_SEG };
	static const u16 ds[MODES] = { LOW_DATA >> 4, KDS, KDS, UDS, LOW_DATA >> 4 };

	r = (struct regs){ .ecx = TIMES,
			   .edx = 0,
			   .ebx = has_selectors(m) ? LOW_DATA + DATA : DATA,
			   .ebp = 0xb0b0b0b0,
			   .esi = 0x51515151,
			   .edi = 0xd1d1d1d1,
			   .eflags = eflags | 2,
			   .eip = is_wide(m) ? wide : narrow - LOW,
			   .cs = cs[m],
			   .ds = ds[m],
			   .es = ds[m],
			   .fs = ds[m],
			   .gs = ds[m],
			   .ss = has_selectors(m) ? ds[m] : LOW_STACK >> 4,
			   .esp = has_selectors(m) ? LOW_STACK + 0x8000 : 0x8000 };
	for (unsigned i = 0; i < BELOW; i++)
		*below(m, i) = 0xa5;
	if (m == REAL16) {
		real_probe(&r, DS16);
		return;
	}
	if (m == V86)
		r.eflags |= FL_VM | FL_IOPL(3);
	probe(&r);
}

#define RUN2(m, eflags, wide, narrow) run(m, CODE(wide), CODE_16(narrow), eflags)
#define RUN(m, eflags, text)          RUN2(m, eflags, text, text)

/* The program ended, with all that it does not name as it was. */
static bool kept(enum mode m)
{
	bool end = m == REAL16 ? t.vector == BP && *mem32(t.cs * 16 + t.eip) == 0x656e6f64 : done();

	for (unsigned i = 0; i < BELOW; i++)
		end &= *below(m, i) == 0xa5;
	return end && t.ebx == r.ebx && t.esi == r.esi && t.edi == r.edi && t.ebp == r.ebp &&
	       t.esp == r.esp && t.cs == r.cs && t.ss == r.ss && t.ds == r.ds && t.es == r.es &&
	       t.fs == r.fs && t.gs == r.gs;
}

static void registers(enum mode m)
{
	u32 eflags = FL_NT | (m == REAL16 ? 0 : FL_ID | FL_AC), seen;

	RUN(m, eflags, "1: add eax, ecx\n rol edx, 3\n xor edx, ecx\n dec ecx\n jnz 1b");
	rule("SDM 1 3.4 registers and segments after a long loop, and memory below the stack",
	     kept(m) && t.eax == TIMES * (TIMES + 1u) / 2);
	RUN(m, eflags,
	    "xor eax, eax\n 1: pushfd\n or eax, [esp]\n not dword ptr [esp]\n or edx, [esp]\n"
	    "add esp, 4\n dec ecx\n jnz 1b\n not edx");
	seen = r.eflags & ~(FL_VM | ARITH);
	rule("SDM 2B PUSHF in a long loop: only the guest's flags, and all of them",
	     kept(m) && (t.eax & ~ARITH) == seen && (t.edx & ~ARITH) == seen);
	RUN2(m, 0,
	     "call 5f\n 5: pop eax\n 1: call 3f\n 2: dec ecx\n jnz 1b\n jmp 4f\n"
	     "3: mov edx, [esp]\n sub edx, eax\n cmp edx, 6\n jne 6f\n ret\n 6: ud2\n 4:",
	     "call 5f\n 5: pop ax\n 1: call 3f\n 2: dec ecx\n jnz 1b\n jmp 4f\n"
	     "3: mov dx, [esp]\n sub dx, ax\n cmp dx, 4\n jne 6f\n ret\n 6: ud2\n 4:");
	rule("SDM 2A CALL pushes the guest's address, each time", kept(m));
	RUN2(m, 0,
	     "1: push cs\n push ss\n push ds\n push gs\n pop eax\n xor eax, [esp]\n or edx, eax\n"
	     "pop eax\n pop eax\n pop eax\n dec ecx\n jnz 1b\n mov eax, cs",
	     "1: push cs\n push ss\n push ds\n push gs\n pop ax\n xor ax, [esp]\n or dx, ax\n"
	     "pop ax\n pop ax\n pop ax\n dec ecx\n jnz 1b\n mov eax, cs");
	rule("SDM 2B PUSH of segment registers in a long loop",
	     kept(m) && !(u16)t.edx && (u16)t.eax == r.cs);
}

/* FNSTENV of 28 bytes: protected-mode or real-mode form (SDM 1 figures 8-9 and 8-10). */
static void x87(enum mode m)
{
	u32 wide = CODE("fninit\n 1: fld1\n fiadd dword ptr [ebx]\n fwait\n dec ecx\n jnz 1b\n"
			"fnstenv [ebx + 16]");
	u32 narrow = CODE_16("fninit\n 1: fld1\n fiadd dword ptr [ebx]\n fwait\n dec ecx\n jnz 1b\n"
			     ".byte 0x66, 0x67, 0xd9, 0x73, 0x10");
	u32 base = LOW_DATA + DATA + 16, fip, fdp, fip_is = is_wide(m) ? wide + 4 : narrow + 4;
	bool ok;

	__asm__ volatile("fninit");
	run(m, wide, narrow, 0);
	__asm__ volatile("fninit");
	if (has_selectors(m)) {
		u16 fcs = *mem16(base + 16), fds = *mem16(base + 24);

		fip = *mem32(base + 12);
		fdp = *mem32(base + 20);
		fip_is -= is_wide(m) ? 0 : LOW;
		ok = (fcs == 0 || fcs == r.cs) && (fds == 0 || fds == r.ds);
		fdp = fdp ? fdp : r.ebx; /* CPUID.7.EBX[6]: no pointer without an exception */
		ok &= fdp == r.ebx;
	} else {
		/* FIP and FDP are linear where the processor keeps FCS and FDS, else offsets. */
		fip = *mem16(base + 12) | (*mem32(base + 16) >> 12 & 0xffff) << 16;
		fdp = *mem16(base + 20) | (*mem32(base + 24) >> 12 & 0xffff) << 16;
		ok = fdp == LOW_DATA + DATA || fdp == DATA || fdp == 0;
		if (fip < LOW)
			fip += LOW;
	}
	if (!tap_check(kept(m) && ok && fip == fip_is,
		       "SDM 1 8.1.8 FNSTENV: the x87 pointers are the guest's")) {
		tap_note("fip", fip, fip_is);
		tap_note("fdp", fdp, r.ebx);
	}
	reset();
}

static void faults(enum mode m)
{
	u32 wide = CODE("1: add eax, 3\n dec ecx\n jnz 1b\n div ecx");
	u32 narrow = CODE_16("1: add eax, 3\n dec ecx\n jnz 1b\n div ecx");
	u32 eflags = m == REAL16 ? FL_NT : FL_NT | FL_ID;

	run(m, wide, narrow, eflags);
	rule("SDM 3A 6.12.1 the CS, EIP and flags that #DE saves behind a long loop",
	     t.vector == DE && t.cs == r.cs && t.eip == r.eip + (is_wide(m) ? 6 : 8) &&
		     t.eax == 3 * TIMES && t.edx == 0 &&
		     (t.eflags & ~(ARITH | FL_RF)) == (r.eflags & ~ARITH));
}

void test_main(void)
{
	for (enum mode m = 0; m < MODES; m++) {
		tap_puts("# mode ");
		tap_puts(mode_names[m]);
		tap_putc('\n');
		registers(m);
		x87(m);
		faults(m);
	}
}
