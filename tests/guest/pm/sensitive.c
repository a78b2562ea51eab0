/*
 * The sensitive unprivileged instructions in real-address mode, 16-bit and 32-bit protected mode
 * at CPL 0, at CPL 3, and in virtual-8086 mode: each must show the state that the guest has set
 * up, as the pages of the instruction in SDM 2A and 2B have it.
 */
#include "real.h"
#include "sensitive.h"

#define V        0x40
#define DATA     0x100 /* offset of operands in LOW_DATA */
#define SAVED(n) (*mem32(LOW_DATA + DATA + (n)))

enum mode { REAL16, PROT16, PROT32, USER32, V86, MODES };
static const char *const mode_names[MODES] = { "real", "prot16/0", "prot32/0", "prot32/3", "v86" };

static u32 start; /* of the program that ran last: its linear address */

static bool is_user(enum mode m) { return m == USER32 || m == V86; }
static bool is_wide(enum mode m) { return m == PROT32 || m == USER32; }
static bool has_selectors(enum mode m) { return m != REAL16 && m != V86; }
static u32 code_base(enum mode m) { return is_wide(m) ? 0 : LOW; }

static u16 code_selector(enum mode m)
{
	static const u16 cs[MODES] = { LOW_SEG, CS16, KCS, UCS, LOW_SEG };

	return cs[m];
}

static u16 data_selector(enum mode m)
{
	static const u16 ds[MODES] = { LOW_DATA >> 4, KDS, KDS, UDS, LOW_DATA >> 4 };

	return ds[m];
}

/*
 * Run one of two programs in a mode, with the caller's registers and flags and with the offset of
 * the operands in EBX.
 */
static void run(enum mode m, u32 wide, u32 narrow, const struct regs *more)
{
	struct regs r = *more;

	start = is_wide(m) ? wide : narrow;
	r.ebx = has_selectors(m) ? LOW_DATA + DATA : DATA;
	r.eip = start - code_base(m);
	r.cs = code_selector(m);
	r.ds = r.es = r.fs = r.gs = data_selector(m);
	r.eflags |= 2;
	r.esp = m == USER32 ? TOP(user_stack) : TOP(probe_stack);
	r.ss = data_selector(m);
	if (!has_selectors(m)) {
		r.ss = LOW_STACK >> 4;
		r.esp = 0x8000;
	}
	if (m == REAL16) {
		real_probe(&r, DS16);
		return;
	}
	if (m == V86)
		r.eflags |= FL_VM;
	probe(&r);
}

#define RUN2(m, wide, narrow, ...) \
	run(m, CODE(wide), CODE_16(narrow), &(struct regs){ __VA_ARGS__ })
#define RUN(m, text, ...) RUN2(m, text, text, __VA_ARGS__)

static bool at_end(enum mode m)
{
	if (m == REAL16)
		return t.vector == BP && *mem32(t.cs * 16 + t.eip) == 0x656e6f64;
	return done();
}

static void cell(enum row row, enum mode m, bool ok, u32 value, const char *what)
{
	cell_note(row, m, ok, value);
	rule_report(cell_name(row, mode_names[m], what), ok, what);
}

/* The program must have ended by this exception at its first byte. */
static void cell_faults(enum row row, enum mode m, enum vector v, u32 error, const char *what)
{
	bool ok = t.vector == v && t.eip == start - code_base(m) && t.error == error;

	cell(row, m, ok, t.vector, what);
}

/* UMIP (SDM 3A 2.5) keeps CPL 3 from these, and no other. */
static bool umip_on(void)
{
	if (!(cpuid_7_ecx & 4))
		return false;
	cr4_set(cr4_get() | CR4_UMIP);
	return true;
}

struct table_register {
	u16 limit;
	u32 base;
} __attribute__((packed));

static void load_gdtr(u16 limit)
{
	struct table_register r = { limit, (u32)gdt };

	__asm__ volatile("lgdt %0" : : "m"(r));
}

static void load_idtr(u16 limit)
{
	struct table_register r = { limit, (u32)idt };

	__asm__ volatile("lidt %0" : : "m"(r));
}

static void descriptor_tables(enum mode m)
{
	for (unsigned on = 0; on < 2; on++) {
		bool umip = false;

		for (u32 limit = 0xff; limit <= 0x13f; limit += 0x40) {
			load_gdtr((u16)limit);
			if (on && !(umip = umip_on()))
				return;
			RUN(m, "sgdt [ebx]");
			if (umip && is_user(m))
				cell_faults(R_SGDT, m, GP, 0, "#GP(0) with CR4.UMIP");
			else
				cell(R_SGDT, m,
				     at_end(m) && (u16)SAVED(0) == limit && SAVED(2) == (u32)gdt,
				     SAVED(2), umip ? "the guest's, UMIP on" : "the guest's");
		}
		for (u32 limit = 0x3ff; limit <= 0x7ff; limit += 0x400) {
			load_idtr((u16)limit);
			if (on && !(umip = umip_on()))
				return;
			RUN(m, "sidt [ebx]");
			if (umip && is_user(m))
				cell_faults(R_SIDT, m, GP, 0, "#GP(0) with CR4.UMIP");
			else
				cell(R_SIDT, m,
				     at_end(m) && (m == REAL16 ? (u16)SAVED(0) == 0x3ff && !SAVED(2)
							       : (u16)SAVED(0) == limit &&
									 SAVED(2) == (u32)idt),
				     SAVED(2), umip ? "the guest's, UMIP on" : "the guest's");
		}
	}
	if (m != REAL16)
		return;
	SAVED(0) = 0x3f7;
	SAVED(4) = 0;
	RUN(m, "lidt [ebx]\n sidt [ebx + 8]");
	cell(R_SIDT, m, at_end(m) && (u16)SAVED(8) == 0x3f7 && !SAVED(10), SAVED(8),
	     "what LIDT loaded");
}

/* LDTR and TR as LLDT and LTR left them, with UMIP or without. False: there is no UMIP. */
static bool load_system_selectors(u16 ldtr, u16 tr, bool umip)
{
	seg_set(tr, desc((u32)&tss, TSS_LIMIT, P | TSS32, 0)); /* available, not busy */
	__asm__ volatile("lldt %w0; ltr %w1" : : "r"((u32)ldtr), "r"((u32)tr));
	return !umip || umip_on();
}

/* SLDT and STR: "#UD" where there are no selectors. */
static void system_selectors(enum mode m)
{
	for (unsigned n = 0; n < 4; n++) {
		bool umip = n & 2;
		u16 tr = n & 1 ? T(3) : SEL_TSS, ldtr = n & 1 ? 0 : SEL_LDT;

		if (!load_system_selectors(ldtr, tr, umip))
			return;
		RUN(m, "sldt eax", .eax = 0x55555555);
		if (!has_selectors(m))
			cell_faults(R_SLDT, m, UD, 0, "#UD");
		else if (umip && is_user(m))
			cell_faults(R_SLDT, m, GP, 0, "#GP(0) with CR4.UMIP");
		else
			cell(R_SLDT, m, at_end(m) && (u16)t.eax == ldtr, t.eax, "the guest's");
		load_system_selectors(ldtr, tr, umip);
		RUN(m, "str eax", .eax = 0x55555555);
		if (!has_selectors(m))
			cell_faults(R_STR, m, UD, 0, "#UD");
		else if (umip && is_user(m))
			cell_faults(R_STR, m, GP, 0, "#GP(0) with CR4.UMIP");
		else
			cell(R_STR, m, at_end(m) && (u16)t.eax == tr, t.eax, "the guest's");
	}
}

static void machine_status(enum mode m)
{
	static const u32 bits[] = { 0, CR0_MP, CR0_MP | CR0_EM, CR0_EM | CR0_MP | CR0_AM };

	for (unsigned i = 0; i < 4; i++) {
		u32 cr0 = CR0_PE | CR0_ET | CR0_NE | bits[i];

		cr0_set(cr0);
		RUN(m, "smsw eax");
		if (m == REAL16)
			cr0 &= ~(u32)CR0_PE;
		cell(R_SMSW, m, at_end(m) && t.eax == cr0, t.eax, "the guest's CR0");
	}
	cr0_set(cr0_get() | CR0_TS);
	RUN(m, "smsw ax", .eax = 0xabcd0000);
	cell(R_SMSW, m,
	     at_end(m) && t.eax == (0xabcd0000 | CR0_ET | CR0_NE | CR0_TS | (m != REAL16)), t.eax,
	     "CR0.TS, in 16 bits");
	if (!umip_on())
		return;
	RUN(m, "smsw eax");
	if (is_user(m))
		cell_faults(R_SMSW, m, GP, 0, "#GP(0) with CR4.UMIP");
	else
		cell(R_SMSW, m, at_end(m), t.vector, "works with CR4.UMIP");
}

/* SDM 2B PUSHF, POPF: IF and IOPL as the guest has them, at any CPL and IOPL. */
static void flags(enum mode m)
{
	for (unsigned iopl = 0; iopl < 4; iopl++) {
		for (u32 interrupts = 0; interrupts <= FL_IF; interrupts += FL_IF) {
			u32 before = FL_IOPL(iopl) | interrupts | FL_NT | FL_CF | 2 |
				     (m == REAL16 ? 0 : FL_ID); /* beyond IRETW's 16 bits */
			u32 image = FL_IOPL(iopl ^ 1) | (interrupts ^ FL_IF) | FL_AC | FL_OF | 2;
			u32 after = image;
			bool blocked = m == V86 && iopl < 3;

			RUN(m, "pushfd\n pop eax", .eflags = before);
			if (blocked)
				cell_faults(R_PUSHF, m, GP, 0, "#GP(0) with IOPL below 3");
			else
				cell(R_PUSHF, m, at_end(m) && t.eax == before, t.eax,
				     "IF, IOPL, NT and ID are the guest's");
			RUN(m, "push ecx\n popfd\n pushfd\n pop eax", .eflags = before,
			    .ecx = image);
			if (is_user(m)) /* IOPL needs CPL 0, */
				after = (after & ~FL_IOPL(3)) | FL_IOPL(iopl);
			if (is_user(m) && iopl < 3) /* IF needs CPL <= IOPL */
				after = (after & ~(u32)FL_IF) | interrupts;
			if (blocked)
				cell(R_POPF, m, t.vector == GP && !t.error, t.vector,
				     "#GP(0) with IOPL below 3");
			else
				cell(R_POPF, m, at_end(m) && t.eax == after, t.eax,
				     "IF and IOPL change where CPL and IOPL allow it");
		}
	}
}

/* LAR, LSL, VERR and VERW look into the guest's tables, with its CPL. */
static void descriptors(enum mode m)
{
	static const struct {
		u8 access;
		bool inner, readable, writable; /* valid for CPL 0; inner: not for CPL 3 */
	} kinds[] = {
		{ P | DATA_RW, true, true, true },
		{ P | DPL(3) | DATA_RW, false, true, true },
		{ P | DPL(3) | DATA_R, false, true, false },
		{ P | DPL(3) | CODE_X, false, false, false },
		{ P | DPL(3) | CODE_XR, false, true, false },
		{ P | CONF_XR, false, true, false },
		{ DPL(3) | DATA_RW_DOWN, false, true, true },
	};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		u16 sel = T(4) + 8 * (i & 1);
		bool seen = !(kinds[i].inner && m == USER32);
		u32 limit = 0x12340 + i, high;

		for (unsigned what = 0; what < 4; what++) {
			u64 d = desc(0xabcdef00, limit, kinds[i].access | ACCESSED, D | 1);
			bool expected = what < 2    ? seen
					: what == 2 ? seen && kinds[i].readable
						    : seen && kinds[i].writable;
			enum row row = what == 0 ? R_LAR : what == 1 ? R_LSL : R_VERR;

			seg_set(sel, d);
			high = (u32)(d >> 32);
			if (what == 0)
				RUN(m, "lar eax, ecx\n setz dl", .ecx = sel, .eax = 0x77);
			else if (what == 1)
				RUN(m, "lsl eax, ecx\n setz dl", .ecx = sel, .eax = 0x77);
			else if (what == 2)
				RUN(m, "verr cx\n setz dl", .ecx = sel, .eax = 0x77);
			else
				RUN(m, "verw cx\n setz dl", .ecx = sel, .eax = 0x77);
			if (!has_selectors(m)) {
				cell_faults(row, m, UD, 0, "#UD");
				continue;
			}
			if (what == 0)
				t.eax &= seen ? 0x00f0ff00 : ~0u;
			cell(row, m,
			     at_end(m) && (bool)(t.edx & 1) == expected &&
				     t.eax == (what == 0 && seen   ? (high & 0x00f0ff00)
					       : what == 1 && seen ? limit
								   : 0x77),
			     t.eax, "the guest's descriptor, with its CPL");
		}
	}
}

static void segment_registers(enum mode m)
{
	u16 cs = code_selector(m), ds = data_selector(m);
	u16 ss = has_selectors(m) ? ds : LOW_STACK >> 4;
	u16 other = has_selectors(m) ? T(6) | (is_user(m) ? 3 : 0) : (LOW_DATA + 0x1000) >> 4;
	u64 segment = desc(LOW_DATA + 0x1000, 0xfff, P | DPL(3) | DATA_RW, D);

	RUN(m, "push cs\n push ss\n push ds\n push es\n push fs\n push gs\n"
	       "mov ebp, esp\n"
	       "pop eax\n pop ecx\n pop edx\n pop edi");
	if (is_wide(m))
		cell(R_PUSH, m,
		     at_end(m) && (u16)t.eax == ds && (u16)t.ecx == ds && (u16)t.edx == ds &&
			     (u16)t.edi == ds,
		     t.eax, "GS, FS, ES and DS as loaded");
	else
		cell(R_PUSH, m,
		     at_end(m) && t.eax == (ds * 0x10001u) && t.ecx == (ds * 0x10001u) &&
			     t.edx == (cs * 0x10000u + ss),
		     t.eax, "all six as loaded, CPL in CS and SS");
	RUN2(m, "push cs\n push ss\n pop eax\n pop edx", "push cs\n push ss\n pop ax\n pop dx");
	cell(R_PUSH, m, at_end(m) && (u16)t.eax == ss && (u16)t.edx == cs, t.eax,
	     "SS and CS, with the CPL");
	RUN(m, "mov ax, cs\n mov cx, ss\n mov dx, ds\n mov di, gs");
	cell(R_MOV, m,
	     at_end(m) && (u16)t.eax == cs && (u16)t.ecx == ss && (u16)t.edx == ds &&
		     (u16)t.edi == ds,
	     t.eax, "from CS, SS, DS and GS, with the CPL");

	*mem32(LOW_DATA + 0x1010) = 0x5eed0000 + (u32)m;
	seg_set(T(6), segment);
	RUN(m, "mov fs, cx\n mov eax, fs:[0x10]\n mov edx, fs", .ecx = other);
	cell(R_MOV, m,
	     at_end(m) && t.eax == 0x5eed0000 + (u32)m && (u16)t.edx == other && t.fs == other,
	     t.eax, "to FS: base and selector are the guest's");
	seg_set(T(6), segment);
	RUN2(m, "push ecx\n pop es\n mov eax, es:[0x10]\n mov edx, es",
	     "push cx\n pop es\n mov eax, es:[0x10]\n mov edx, es", .ecx = other);
	cell(R_POP, m,
	     at_end(m) && t.eax == 0x5eed0000 + (u32)m && (u16)t.edx == other && t.es == other,
	     t.eax, "ES: base and selector are the guest's");
	if (!has_selectors(m))
		return;
	RUN(m, "mov gs, cx\n mov eax, gs", .ecx = KDS);
	if (m == USER32)
		cell_faults(R_MOV, m, GP, KDS, "a selector of DPL 0 at CPL 3: #GP(selector)");
	else
		cell(R_MOV, m, at_end(m) && (u16)t.eax == KDS, t.eax, "a selector of DPL 0");
	RUN(m, "push ecx\n pop gs\n mov eax, gs", .ecx = 0);
	cell(R_POP, m, at_end(m) && !(u16)t.eax, t.eax, "a null selector");
	RUN(m, "mov ss, cx", .ecx = 0);
	cell_faults(R_MOV, m, GP, 0, "a null selector to SS: #GP(0)");
	seg_set(T(6), desc(0, 0xfffff, DPL(3) | DATA_RW, G | D));
	RUN(m, "mov fs, cx", .ecx = other);
	cell_faults(R_MOV, m, NP, T(6), "an absent segment: #NP(selector)");
}

/* What far transfers go to: they pop the return address and end. */
static void far_pointer(enum mode m, u32 wide, u32 narrow, u16 selector)
{
	SAVED(0) = (is_wide(m) ? wide : narrow) - code_base(m);
	SAVED(4) = selector;
}

static void far_transfers(enum mode m)
{
	u32 wide = CODE("pop eax\n pop edx"), narrow = CODE_16("pop eax\n pop edx");
	u32 back = CODE("mov eax, esp"), back16 = CODE_16("mov eax, esp");
	u16 cs = code_selector(m);
	u32 length = is_wide(m) ? 2 : 4; /* of CALL FAR [EBX], with both prefixes in 16-bit code */

	far_pointer(m, wide, narrow, cs);
	RUN(m, "call fword ptr [ebx]");
	cell(R_CALL, m,
	     at_end(m) && t.eax == start - code_base(m) + length && (u16)t.edx == cs && t.cs == cs,
	     t.eax, "pushes the guest's CS, with the CPL, and EIP");
	far_pointer(m, back, back16, cs);
	RUN(m, "jmp fword ptr [ebx]");
	cell(R_JMP, m, at_end(m) && t.cs == cs, t.cs, "loads CS");
	RUN2(m, "push cs\n push ecx\n retf", "push cs\n push cx\n retf",
	     .ecx = (is_wide(m) ? back : back16) - code_base(m));
	cell(R_RET, m, at_end(m) && t.cs == cs && t.eax == t.esp, t.cs, "to the same level");
	if (!is_wide(m))
		return;
	far_pointer(m, wide, narrow, CCS);
	RUN(m, "call fword ptr [ebx]");
	cell(R_CALL, m, at_end(m) && (u16)t.edx == cs && t.cs == (CCS | (cs & 3)), t.cs,
	     "a conforming target keeps the CPL");
	far_pointer(m, back, back, CCS);
	RUN(m, "jmp fword ptr [ebx]");
	cell(R_JMP, m, at_end(m) && t.cs == (CCS | (cs & 3)), t.cs,
	     "a conforming target keeps the CPL");
	seg_set(T(7), gate(KCS, CODE("mov eax, [esp]\n mov edx, [esp + 4]\n mov ecx, [esp + 8]"),
			   P | DPL(3) | CALL32, 0));
	far_pointer(m, 0, 0, T(7));
	RUN(m, "call fword ptr [ebx]", .ecx = 0);
	cell(R_CALL, m,
	     at_end(m) && t.eax == start + 2 && (u16)t.edx == cs && t.cs == KCS &&
		     (m == PROT32 || t.ecx == TOP(user_stack)),
	     t.edx, "a call gate pushes the caller's CS:EIP, and its ESP");
	if (m == USER32) {
		far_pointer(m, back, back, KCS);
		RUN(m, "jmp fword ptr [ebx]");
		cell_faults(R_JMP, m, GP, KCS, "to DPL 0 at CPL 3: #GP(selector)");
		RUN(m, "push 0x08\n push ecx\n 1: retf", .ecx = back);
		cell(R_RET, m, t.vector == GP && t.error == KCS, t.error,
		     "to DPL 0 at CPL 3: #GP(selector)");
		return;
	}
	RUN(m, "push 0x43\n push edx\n push 0x3b\n push ecx\n retf", .ecx = back,
	    .edx = TOP(user_stack) - 32);
	cell(R_RET, m, at_end(m) && t.cs == UCS && t.ss == UDS && t.eax == TOP(user_stack) - 32,
	     t.cs, "to CPL 3 with its stack");
}

static void interrupts(enum mode m)
{
	for (unsigned iopl = 0; iopl < 4; iopl += 3) {
		u32 fl = FL_IOPL(iopl) | FL_IF | FL_CF | 2;

		idt_set(V, stub_gate(V, 3));
		RUN(m, "int 0x40", .eflags = fl);
		if (m == V86 && iopl < 3)
			cell_faults(R_INT, m, GP, 0, "#GP(0) with IOPL below 3");
		else
			cell(R_INT, m,
			     t.vector == V && t.cs == code_selector(m) &&
				     t.eip == start - code_base(m) + 2 &&
				     (t.eflags & ~(u32)FL_VM) == fl && !(t.h_eflags & FL_IF),
			     t.cs, "saves the guest's CS, with the CPL, EIP and flags");
	}
	if (m == REAL16)
		return;
	RUN(m, "int 0x40", .eflags = FL_IOPL(3));
	if (is_user(m))
		cell_faults(R_INT, m, GP, IDT_VEC(V), "a gate of DPL 0 at CPL 3: #GP(vector)");
	else
		cell(R_INT, m, t.vector == V, t.vector, "a gate of DPL 0");
}

void test_main(void)
{
	for (enum mode m = 0; m < MODES; m++) {
		descriptor_tables(m);
		system_selectors(m);
		machine_status(m);
		flags(m);
		descriptors(m);
		segment_registers(m);
		far_transfers(m);
		interrupts(m);
	}
	table_print(mode_names, MODES);
}
