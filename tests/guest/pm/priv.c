/*
 * Instructions of level 0, control registers, and the instructions that test descriptors:
 * SDM 3A 2.5, 2.8, 5.9 and 5.10.
 */
#include "pm.h"

static void level0(void)
{
	static const char *const names[] = {
		"SDM 3A 5.9 HLT at CPL 3: #GP(0)",
		"SDM 3A 5.9 LGDT at CPL 3: #GP(0)",
		"SDM 3A 5.9 LIDT at CPL 3: #GP(0)",
		"SDM 3A 5.9 LLDT at CPL 3: #GP(0)",
		"SDM 3A 5.9 LTR at CPL 3: #GP(0)",
		"SDM 3A 5.9 MOV to CR0 at CPL 3: #GP(0)",
		"SDM 3A 5.9 MOV from CR3 at CPL 3: #GP(0)",
		"SDM 3A 5.9 MOV to DR7 at CPL 3: #GP(0)",
		"SDM 3A 5.9 MOV from DR0 at CPL 3: #GP(0)",
		"SDM 3A 5.9 CLTS at CPL 3: #GP(0)",
		"SDM 3A 5.9 LMSW at CPL 3: #GP(0)",
		"SDM 3A 5.9 INVLPG at CPL 3: #GP(0)",
		"SDM 3A 5.9 INVD at CPL 3: #GP(0)",
		"SDM 3A 5.9 WBINVD at CPL 3: #GP(0)",
		"SDM 3A 5.9 RDMSR at CPL 3: #GP(0)",
		"SDM 3A 5.9 WRMSR at CPL 3: #GP(0)",
	};
	u32 codes[] = { CODE("hlt"),          CODE("lgdt [ebx]"),   CODE("lidt [ebx]"),
			CODE("lldt ax"),      CODE("ltr ax"),       CODE("mov cr0, eax"),
			CODE("mov eax, cr3"), CODE("mov dr7, eax"), CODE("mov eax, dr0"),
			CODE("clts"),         CODE("lmsw ax"),      CODE("invlpg [ebx]"),
			CODE("invd"),         CODE("wbinvd"),       CODE("rdmsr"),
			CODE("wrmsr") };

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		PROBE3(codes[i], .ecx = 0x10, .ebx = LOW_DATA);
		rule(names[i], fault_e(GP, 0, 0));
	}
	PROBE1(CODE("clts"));
	rule("SDM 3A 5.9 CLTS at CPL 1: #GP(0)", fault_e(GP, 0, 0));
	PROBE3(CODE("sgdt [ebx]\n sidt [ebx + 8]\n sldt ax\n str cx\n smsw dx"), .ebx = LOW_DATA);
	rule("SDM 3A 5.9 SGDT, SIDT, SLDT, STR and SMSW execute at CPL 3",
	     done() && (u16)t.eax == SEL_LDT && (u16)t.ecx == SEL_TSS && (t.edx & CR0_PE) &&
		     *mem32(LOW_DATA + 2) == (u32)gdt && *mem32(LOW_DATA + 10) == (u32)idt);
	cr4_set(CR4_TSD);
	PROBE3(CODE("rdtsc"));
	rule("SDM 3A 2.5 CR4.TSD: RDTSC at CPL 3: #GP(0)", fault_e(GP, 0, 0));
	cr4_set(CR4_TSD);
	PROBE(CODE("rdtsc"));
	rule("SDM 3A 2.5 CR4.TSD: RDTSC at CPL 0 executes", done());
	PROBE3(CODE("rdtsc"));
	rule("SDM 3A 2.5 CR4.TSD clear: RDTSC at CPL 3 executes", done());
	PROBE3(CODE("rdpmc"));
	rule("SDM 3A 2.5 CR4.PCE clear: RDPMC at CPL 3: #GP(0)", fault_e(GP, 0, 0));
}

static void umip(void)
{
	static const char *const names[] = {
		"SDM 3A 2.5 CR4.UMIP: SGDT at CPL 3: #GP(0)",
		"SDM 3A 2.5 CR4.UMIP: SIDT at CPL 3: #GP(0)",
		"SDM 3A 2.5 CR4.UMIP: SLDT at CPL 3: #GP(0)",
		"SDM 3A 2.5 CR4.UMIP: STR at CPL 3: #GP(0)",
		"SDM 3A 2.5 CR4.UMIP: SMSW at CPL 3: #GP(0)",
	};
	u32 codes[] = { CODE("sgdt [ebx]"), CODE("sidt [ebx]"), CODE("sldt ax"), CODE("str ax"),
			CODE("smsw ax") };

	for (unsigned i = 0; i < 5; i++) {
		if (!(cpuid_7_ecx & 4)) {
			tap_skip(names[i], "CPUID.7:ECX.UMIP is clear");
			continue;
		}
		cr4_set(CR4_UMIP);
		PROBE3(codes[i], .ebx = LOW_DATA);
		rule(names[i], fault_e(GP, 0, 0));
	}
}

static void control(void)
{
	u32 mov_cr0 = CODE("mov cr0, eax"), mov_cr4 = CODE("mov cr4, eax");
	u32 base = CR0_PE | CR0_ET | CR0_NE;

	PROBE(mov_cr0, .eax = CR0_PG | CR0_ET);
	rule("SDM 2B MOV CR: CR0.PG without PE: #GP(0)", fault_e(GP, 0, 0));
	PROBE(mov_cr0, .eax = base | CR0_NW);
	rule("SDM 2B MOV CR: CR0.NW without CD: #GP(0)", fault_e(GP, 0, 0));
	PROBE(mov_cr0, .eax = base | CR0_NW | CR0_CD);
	rule("SDM 2B MOV CR: CR0.NW with CD loads", done() && (t.cr0 & CR0_NW) && (t.cr0 & CR0_CD));
	PROBE(CODE("mov cr0, eax\n mov ecx, cr0"), .eax = CR0_PE | CR0_NE);
	rule("SDM 3A 2.5 CR0.ET is always 1", done() && t.ecx == base);
	PROBE(mov_cr4, .eax = 0x8000);
	rule("SDM 2B MOV CR: a reserved bit of CR4: #GP(0)", fault_e(GP, 0, 0));
	PROBE(mov_cr4, .eax = 0x80000000);
	rule("SDM 2B MOV CR: bit 31 of CR4: #GP(0)", fault_e(GP, 0, 0));
	PROBE(mov_cr4, .eax = CR4_PCIDE);
	rule("SDM 2B MOV CR: CR4.PCIDE outside IA-32e mode: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE(".byte 0x0f, 0x20, 0xc8"));
	rule("SDM 2B MOV CR: CR1: #UD", fault(UD, 0));
	PROBE(CODE(".byte 0x0f, 0x22, 0xe8"));
	rule("SDM 2B MOV CR: CR5: #UD", fault(UD, 0));
	cr0_set(base | CR0_TS);
	PROBE(CODE("clts"));
	rule("SDM 2A CLTS clears CR0.TS", done() && !(t.cr0 & CR0_TS));
	PROBE(CODE("lmsw ax"), .eax = 0);
	rule("SDM 2A LMSW cannot clear PE", done() && t.cr0 == base);
	PROBE(CODE("lmsw ax"), .eax = 0xffff);
	rule("SDM 2A LMSW loads the low four bits alone",
	     done() && t.cr0 == (base | CR0_MP | CR0_EM | CR0_TS));
	cr0_set(base | CR0_TS | CR0_EM);
	PROBE(CODE("lmsw ax"), .eax = 0);
	rule("SDM 2A LMSW clears TS, EM and MP", done() && t.cr0 == base);
	PROBE(CODE("rdmsr"), .ecx = 0x12345678);
	rule("SDM 2B RDMSR of an MSR that does not exist: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE("wrmsr"), .ecx = 0x12345678);
	rule("SDM 2D WRMSR of an MSR that does not exist: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE("wrmsr"), .ecx = 0xc0000080, .eax = 0x80000000);
	rule("SDM 2D WRMSR of a reserved bit of IA32_EFER: #GP(0)", fault_e(GP, 0, 0));
}

static void lldt(void)
{
	u32 code = CODE("lldt ax");

	PROBE(CODE("lldt ax\n sldt ecx"), .eax = 0);
	rule("SDM 2A LLDT of null loads", done() && t.ecx == 0);
	PROBE(code, .eax = SEL_TSS);
	rule("SDM 2A LLDT of a TSS: #GP(selector)", fault_e(GP, SEL_TSS, 0));
	PROBE(code, .eax = KDS);
	rule("SDM 2A LLDT of a data segment: #GP(selector)", fault_e(GP, KDS, 0));
	PROBE(code, .eax = GDT_ENTRIES * 8);
	rule("SDM 2A LLDT of a selector beyond the GDT: #GP(selector)",
	     fault_e(GP, GDT_ENTRIES * 8, 0));
	seg_set(L(1), seg_get(SEL_LDT));
	PROBE(code, .eax = L(1));
	rule("SDM 2A LLDT of a selector into the LDT: #GP(selector)", fault_e(GP, L(1), 0));
	seg_set(T(0), seg_get(SEL_LDT) & ~((u64)P << 40));
	PROBE(code, .eax = T(0));
	rule("SDM 2A LLDT of an LDT not present: #NP(selector)", fault_e(NP, T(0), 0));
	*mem32(LOW_DATA) = (u32)gdt << 16 | 0xff;
	*mem32(LOW_DATA + 4) = 0xab000000 | (u32)gdt >> 16;
	PROBE(CODE(".byte 0x66\n lgdt [ebx]\n sgdt [ecx]"), .ebx = LOW_DATA, .ecx = LOW_DATA + 16);
	rule("SDM 2A LGDT with a 16-bit operand loads 24 bits of base",
	     done() && *mem32(LOW_DATA + 18) == (u32)gdt);
}

/* Run a probe for each system descriptor type; bit n of the result: ZF was set for type n. */
static u32 types_with_zf(u32 code)
{
	u32 map = 0;

	for (unsigned type = 0; type < 16; type++) {
		seg_set(T(1), desc(0, 0x123, P | type, 0));
		PROBE(code, .eax = T(1));
		if (done() && (t.eflags & FL_ZF))
			map |= 1u << type;
	}
	return map;
}

/* ZF after the code with EAX = selector at CPL 3. */
static bool zf3(u32 code, u32 sel)
{
	PROBE3(code, .eax = sel, .ecx = 0x77777777, .eflags = 2);
	return done() && (t.eflags & FL_ZF);
}

static void lar_lsl(void)
{
	u32 lar = CODE("lar ecx, eax"), lsl = CODE("lsl ecx, eax");
	u32 map;

	map = types_with_zf(lar);
	rule("SDM 2A LAR accepts TSS, LDT, call and task gates, not interrupt and trap gates",
	     map == (1u << TSS16 | 1u << LDT | 1u << TSS16_BUSY | 1u << CALL16 | 1u << TASK |
		     1u << TSS32 | 1u << TSS32_BUSY | 1u << CALL32));
	map = types_with_zf(lsl);
	rule("SDM 2A LSL accepts TSS and LDT, and no gate",
	     map == (1u << TSS16 | 1u << LDT | 1u << TSS16_BUSY | 1u << TSS32 | 1u << TSS32_BUSY));
	seg_set(T(2), desc(0x12345678, 0xabcde, P | DPL(3) | DATA_RW, G | D | 1));
	zf3(lar, T(2));
	rule("SDM 2A LAR returns the second word masked with 00F0FF00H",
	     done() && (t.eflags & FL_ZF) && (t.ecx & 0xfff0ffff) == 0x00d0f200);
	seg_set(T(2), desc(0, 0xabcde, P | DPL(3) | DATA_RW, G | D));
	zf3(CODE("lar cx, ax"), T(2));
	rule("SDM 2A LAR with a 16-bit operand returns the access byte in CH",
	     done() && t.ecx == 0x7777f200);
	seg_set(T(2), desc(0, 0xabcde, P | DPL(3) | DATA_RW, G | D));
	zf3(lsl, T(2));
	rule("SDM 2A LSL with G set returns the limit in bytes", done() && t.ecx == 0xabcdefff);
	seg_set(T(2), desc(0, 0xabcde, P | DPL(3) | DATA_RW, D));
	zf3(lsl, T(2));
	rule("SDM 2A LSL with G clear returns the limit as it is", done() && t.ecx == 0xabcde);
	rule("SDM 2A LAR with DPL < CPL clears ZF and keeps the destination",
	     !zf3(lar, KDS) && t.ecx == 0x77777777);
	rule("SDM 2A LSL with DPL < CPL clears ZF and keeps the destination",
	     !zf3(lsl, KCS) && t.ecx == 0x77777777);
	PROBE(lar, .eax = KDS + 3);
	rule("SDM 2A LAR with DPL < RPL clears ZF", done() && !(t.eflags & FL_ZF));
	rule("SDM 2A LAR of a conforming segment ignores privilege", zf3(lar, CCS));
	rule("SDM 2A LAR of null clears ZF", !zf3(lar, 0));
	rule("SDM 2A LAR of a selector beyond the GDT clears ZF", !zf3(lar, GDT_ENTRIES * 8));
	seg_set(T(2), desc(0, 0xfffff, DPL(3) | DATA_RW, G | D));
	rule("SDM 2A LAR of a segment not present sets ZF",
	     zf3(lar, T(2)) && (t.ecx & 0xff00) == (DPL(3) | DATA_RW) << 8);
}

static void verify(void)
{
	static const struct {
		const char *name;
		u8 access;
		bool read, write;
	} rows[] = {
		{ "SDM 2C VERR/VERW of a read-only data segment", P | DPL(3) | DATA_R, true,
		  false },
		{ "SDM 2C VERR/VERW of a writable data segment", P | DPL(3) | DATA_RW, true, true },
		{ "SDM 2C VERR/VERW of an execute-only segment", P | DPL(3) | CODE_X, false,
		  false },
		{ "SDM 2C VERR/VERW of a readable code segment", P | DPL(3) | CODE_XR, true,
		  false },
		{ "SDM 2C VERR/VERW of data with DPL < CPL", P | DPL(2) | DATA_RW, false, false },
		{ "SDM 2C VERR/VERW of conforming readable code with DPL < CPL", P | CONF_XR, true,
		  false },
		{ "SDM 2C VERR/VERW of a TSS", P | DPL(3) | TSS32, false, false },
	};
	u32 verr = CODE("verr ax"), verw = CODE("verw ax");

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		seg_set(T(3), desc(0, 0xfffff, rows[i].access, G | D));
		rule(rows[i].name,
		     zf3(verr, T(3)) == rows[i].read && zf3(verw, T(3)) == rows[i].write);
	}
	rule("SDM 2C VERR of null clears ZF", !zf3(verr, 0) && done());
	PROBE3(CODE("arpl ax, cx"), .eax = 0x10, .ecx = 3);
	rule("SDM 2A ARPL raises the RPL and sets ZF",
	     done() && t.eax == 0x13 && (t.eflags & FL_ZF));
	PROBE3(CODE("arpl ax, cx"), .eax = 0x12, .ecx = 1, .eflags = FL_ZF | 2);
	rule("SDM 2A ARPL with a higher RPL clears ZF and changes nothing",
	     done() && t.eax == 0x12 && !(t.eflags & FL_ZF));
}

void test_main(void)
{
	level0();
	umip();
	control();
	lldt();
	lar_lsl();
	verify();
}
