/*
 * Segmentation in 64-bit and compatibility mode, SDM 3A 3.2.4, 3.4.4 and 5.2 to 5.6.
 */
#include "lib/lm.h"

/* Free descriptors and the selectors that name them. */
enum {
	SEL_T0 = SEL_FREE,
	SEL_T1 = SEL_FREE + 8,
	SEL_T2 = SEL_FREE + 16,
};

static u32 word[4] USER = { 0x11111111, 0x22222222, 0x33333333, 0x44444444 };
static u64 far_target[2] USER;

static void set(unsigned selector, u32 base, u32 limit, u8 access, u8 flags)
{
	gdt[selector >> 3] = desc(base, limit, access, flags);
}

static void bases_and_limits(void)
{
	struct try t;

	set(SEL_T0, 0x10000, 0, 0xf2, 4);
	t = try_new(U64);
	t.rax = SEL_T0 | 3;
	t.rbx = (u64)word;
	try_run(&t, CODE("mov ds, eax; mov ecx, [rbx]"));
	check(&t, t.out.vector == DONE && t.out.rcx == word[0],
	      "SDM 3A 3.2.4 base and limit of DS do not count in 64-bit mode");
	t = try_new(U64);
	t.rax = SEL_T0 | 3;
	t.rdi = (u64)&word[1];
	try_run(&t, CODE("mov es, eax; mov eax, 0x22222222; scasd"));
	check(&t, t.out.vector == DONE && (t.out.rflags & FLAG_ZF),
	      "SDM 3A 3.2.4 base and limit of ES do not count in 64-bit mode");
	t = try_new(K64);
	set(SEL_T1, 0x10000, 0, 0x92, 4);
	t.rax = SEL_T1;
	t.rbp = (u64)word;
	try_run(&t, CODE("mov ss, eax; mov ecx, [rbp]; push rcx; pop rdx"));
	check(&t, t.out.vector == DONE && t.out.rdx == word[0],
	      "SDM 3A 3.2.4 base and limit of SS do not count in 64-bit mode");
	t = try_new(U64);
	t.rbx = (u64)word;
	try_run(&t, CODE("xor eax, eax; mov ds, eax; mov es, eax; mov ecx, [rbx]; mov [rbx], ecx"));
	check(&t, t.out.vector == DONE && t.out.rcx == word[0],
	      "SDM 3A 3.4.4 memory can be reached with null selectors in DS and ES");
	t = try_new(U64);
	set(SEL_T0, 0, 0xfffff, 0xf0, 0xc); /* read-only */
	t.rax = SEL_T0 | 3;
	t.rbx = (u64)word;
	runs(&t, CODE("mov ds, eax; mov dword ptr [rbx], 0x11111111"),
	     "SDM 3A 3.2.4 a read-only DS can be written through in 64-bit mode");
	t = try_new(U64);
	t.rbx = (u64)word;
	runs(&t, CODE("mov eax, cs:[rbx]; mov cs:[rbx], eax"),
	     "SDM 3A 3.2.4 a CS override is ignored in 64-bit mode: stores pass");
}

static void fs_gs(void)
{
	struct try t;
	bool nulls = cpu_is_intel() || (cpuid_eax(0x80000021, 0) & 1u << 6);

	wrmsr(MSR_FS_BASE, (u64)&word[1]);
	wrmsr(MSR_GS_BASE, (u64)&word[2]);
	t = try_new(U64);
	t.rdx = 0;
	try_run(&t, CODE("mov eax, fs:[rdx]; mov ecx, gs:[rdx]"));
	check(&t, t.out.rax == 0x22222222 && t.out.rcx == 0x33333333,
	      "SDM 3A 3.4.4 IA32_FS_BASE and IA32_GS_BASE are the bases of FS and GS");
	t = try_new(U64);
	try_run(&t, CODE(".byte 0x64, 0x48, 0x8d, 0x04, 0x25, 8, 0, 0, 0"));
	check(&t, t.out.rax == 8, "SDM 2A LEA does not add the segment base");
	set(SEL_T0, (u32)(u64)word, 3, 0xf2, 4);
	t = try_new(U64);
	t.rax = SEL_T0 | 3;
	t.rdx = 12;
	try_run(&t, CODE("mov fs, eax; mov ecx, fs:[rdx]"));
	check(&t, t.out.vector == DONE && t.out.rcx == 0x44444444,
	      "SDM 3A 3.4.4 the limit of FS does not count in 64-bit mode");
	tap_equal(rdmsr(MSR_FS_BASE), (u64)word,
		  "SDM 3A 3.4.4 MOV to FS loads the 32-bit base of the descriptor");
	wrmsr(MSR_FS_BASE, 0x123400000000 + (u64)word);
	set(SEL_T0, 0xfedcba98, 3, 0xf2, 4);
	t = try_new(U64);
	t.rax = SEL_T0 | 3;
	runs(&t, CODE("mov fs, eax"), "SDM 3A 3.4.4 MOV to FS replaces a 64-bit base");
	tap_equal(rdmsr(MSR_FS_BASE), 0xfedcba98,
		  "SDM 3A 3.4.4 MOV to FS clears bits 63:32 of the base");
	wrmsr(MSR_GS_BASE, 0x123456789000);
	t = try_new(U64);
	runs(&t, CODE("mov gs, eax"), "SDM 3A 3.4.4 GS takes a null selector");
	if (nulls)
		tap_equal(rdmsr(MSR_GS_BASE), 0,
			  "SDM 3A 3.4.4 a null selector clears the base of GS (Intel, AMD with "
			  "NullSelectorClearsBase)");
	else
		tap_check(rdmsr(MSR_GS_BASE) == 0 || rdmsr(MSR_GS_BASE) == 0x123456789000,
			  "APM 2 4.5.3 a null selector keeps or clears the base of GS (AMD)");
	t = try_new(K64);
	t.rdi = SEL_UDATA;
	t.rcx = MSR_FS_BASE;
	t.rax = (u32)(u64)word;
	t.rdx = 1;
	try_run(&t, CODE("mov fs, edi; wrmsr"));
	t = try_new(U32);
	t.rdx = 4;
	try_run(&t, CODE32("mov eax, fs:[edx]"));
	check(&t, t.out.vector == DONE && t.out.rax == 0x22222222,
	      "SDM 3A 3.4.4 bits 63:32 of the FS base do not count in compatibility mode");
	t = try_new(U64);
	set(SEL_T0, 0, 0xfffff, 0xf2, 0xc);
	t.rax = SEL_T0 | 3;
	*(u64 *)(t.rsp - 8) = 0;
	try_run(&t, CODE("push rax; pop fs; push fs; pop rcx"));
	check(&t, t.out.vector == DONE && t.out.rcx == (SEL_T0 | 3) && t.out.rsp == t.rsp,
	      "SDM 2B PUSH FS and POP FS move RSP by 8, zero-extended");
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
}

static void loads(void)
{
	static const struct {
		u8 access;
		u16 selector;
		const char *rule;
		u8 vector;
		u16 error;
	} ds[] = {
		{ 0x72, SEL_T0 | 3, "SDM 3A 5.6 DS not present faults #NP(selector)", NP, SEL_T0 },
		{ 0x92, SEL_T0 | 3, "SDM 3A 5.6 DS with DPL 0 at CPL 3 faults #GP(selector)", GP,
		  SEL_T0 },
		{ 0xf2, SEL_BEYOND | 3, "SDM 3A 5.3 DS beyond the GDT limit faults #GP(selector)",
		  GP, SEL_BEYOND },
		{ 0xf2, SEL_T0 | 7, "SDM 3A 3.5.1 DS from a null LDT faults #GP(selector, TI=1)",
		  GP, SEL_T0 | 4 },
		{ 0xf8, SEL_T0 | 3, "SDM 3A 5.4 DS of an execute-only segment faults #GP(selector)",
		  GP, SEL_T0 },
		{ 0xe9, SEL_T0 | 3, "SDM 3A 5.4 DS of a system segment faults #GP(selector)", GP,
		  SEL_T0 },
		{ 0xf2, SEL_T0, "SDM 3A 5.6 DS with RPL 0, DPL 3 at CPL 3 is fine", DONE, 0 },
		{ 0x9e, SEL_T0 | 3,
		  "SDM 3A 5.6.1 DS of readable conforming code is fine at any CPL", DONE, 0 },
		{ 0x9a, SEL_T0 | 3,
		  "SDM 3A 5.6.1 DS of readable non-conforming DPL 0 code faults #GP(selector)", GP,
		  SEL_T0 },
	};
	static const struct {
		u8 access;
		u16 selector;
		const char *rule;
		u8 vector;
		u16 error;
	} ss[] = {
		{ 0x12, SEL_T0, "SDM 3A 5.7 SS not present faults #SS(selector)", SS, SEL_T0 },
		{ 0x90, SEL_T0, "SDM 3A 5.7 SS of a read-only segment faults #GP(selector)", GP,
		  SEL_T0 },
		{ 0xf2, SEL_T0, "SDM 3A 5.7 SS with DPL 3 at CPL 0 faults #GP(selector)", GP,
		  SEL_T0 },
		{ 0x92, SEL_T0 | 3, "SDM 3A 5.7 SS with RPL 3 at CPL 0 faults #GP(selector)", GP,
		  SEL_T0 },
		{ 0x9a, SEL_T0, "SDM 3A 5.4 SS of a code segment faults #GP(selector)", GP,
		  SEL_T0 },
		{ 0x92, SEL_BEYOND, "SDM 3A 5.3 SS beyond the GDT limit faults #GP(selector)", GP,
		  SEL_BEYOND },
		{ 0x92, 0, "SDM 3A 5.4.1.1 SS takes a null selector in 64-bit mode at CPL 0", DONE,
		  0 },
		{ 0x92, 3, "SDM 3A 5.4.1.1 a null SS with RPL 3 at CPL 0 faults #GP(0)", GP, 0 },
	};
	struct try t;

	for (unsigned i = 0; i < sizeof(ds) / sizeof(ds[0]); i++) {
		if (ds[i].access & 0x10)
			set(SEL_T0, 0, 0xfffff, ds[i].access, 0xc);
		else
			set(SEL_T0, 0, 0xfff, ds[i].access, 0);
		t = try_new(U64);
		t.rax = ds[i].selector;
		if (ds[i].vector == DONE)
			runs(&t, CODE("mov ds, eax"), ds[i].rule);
		else
			faults(&t, CODE("mov ds, eax"), ds[i].vector, ds[i].error, ds[i].rule);
	}
	for (unsigned i = 0; i < sizeof(ss) / sizeof(ss[0]); i++) {
		set(SEL_T0, 0, 0xfffff, ss[i].access, 0xc);
		t = try_new(K64);
		t.rax = ss[i].selector;
		if (ss[i].vector == DONE)
			runs(&t, CODE("mov ss, eax"), ss[i].rule);
		else
			faults(&t, CODE("mov ss, eax"), ss[i].vector, ss[i].error, ss[i].rule);
	}
	t = try_new(U64);
	faults(&t, CODE("mov ss, eax"), GP, 0,
	       "SDM 3A 5.4.1.1 a null SS in 64-bit mode at CPL 3 faults #GP(0)");
	t = try_new(U64);
	t.rax = 3;
	faults(&t, CODE("mov ss, eax"), GP, 0,
	       "SDM 3A 5.4.1.1 a null SS with RPL 3 at CPL 3 faults #GP(0)");
	t = try_new(K32);
	faults(&t, CODE32("mov ss, eax"), GP, 0,
	       "SDM 3A 5.4.1 a null SS in compatibility mode faults #GP(0)");
	t = try_new(U64);
	faults(&t, CODE(".byte 0x8e, 0xc8"), UD, 0, "SDM 2B MOV to CS faults #UD");
	t = try_new(U64);
	faults(&t, CODE(".byte 0x8e, 0xf0"), UD, 0, "SDM 2B MOV to segment register 6 faults #UD");
	t = try_new(U64);
	faults(&t, CODE(".byte 0x8c, 0xf8"), UD, 0,
	       "SDM 2B MOV from segment register 7 faults #UD");
	t = try_new(U64);
	t.rax = ~0ull;
	try_run(&t, CODE("mov rax, ds"));
	check(&t, t.out.rax == SEL_UDATA, "SDM 2B MOV r64, Sreg zero-extends");
	t = try_new(U64);
	t.rax = ~0ull;
	try_run(&t, CODE("mov ax, ds"));
	check(&t, t.out.rax == (0xffffffffffff0000 | SEL_UDATA),
	      "SDM 2B MOV r16, Sreg writes 16 bits");
	set(SEL_T0, 0, 0xfffff, 0xf2, 0xc);
	t = try_new(U64);
	t.rax = SEL_T0 | 3;
	runs(&t, CODE("mov ds, eax"), "SDM 3A 3.4.5.1 a data segment can be loaded");
	tap_equal(gdt[SEL_T0 >> 3] >> 40 & 0xff, 0xf3,
		  "SDM 3A 3.4.5.1 loading a segment sets the accessed bit in its descriptor");
	set(SEL_T0, 0, 0xfffff, 0x92, 0xc);
	t = try_new(U64);
	t.rax = SEL_T0 | 3;
	try_run(&t, CODE("mov ds, eax"));
	tap_equal(gdt[SEL_T0 >> 3] >> 40 & 0xff, 0x92,
		  "SDM 3A 3.4.5.1 a load that faults leaves the accessed bit clear");
}

static void code_segments(void)
{
	struct try t;

	set(SEL_T0, 0, 0xfffff, 0x9a, 0xe); /* L and D */
	far_target[0] = (u64)CODE("nop") | (u64)SEL_T0 << 32;
	t = try_new(K64);
	t.rbx = (u64)far_target;
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, SEL_T0,
	       "SDM 3A 5.2.1 a far JMP to CS with L=1 and D=1 faults #GP(selector)");
	t = try_new(K64);
	t.rsp -= 16;
	((u64 *)t.rsp)[0] = (u64)CODE("nop");
	((u64 *)t.rsp)[1] = SEL_T0;
	faults(&t, CODE("retfq"), GP, SEL_T0,
	       "SDM 3A 5.2.1 a far RET to CS with L=1 and D=1 faults #GP(selector)");
	set(SEL_T0, 0, 0xfffff, 0x1a, 0xa);
	t = try_new(K64);
	t.rbx = (u64)far_target;
	faults(&t, CODE("jmp fword ptr [rbx]"), NP, SEL_T0,
	       "SDM 3A 5.8.1 a far JMP to code that is not present faults #NP(selector)");
	set(SEL_T0, 0, 0xfffff, 0x92, 0xc);
	t = try_new(K64);
	t.rbx = (u64)far_target;
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, SEL_T0,
	       "SDM 3A 5.8.1 a far JMP to a data segment faults #GP(selector)");
	set(SEL_T0, 0, 0xfffff, 0xfa, 0xa);
	t = try_new(K64);
	t.rbx = (u64)far_target;
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, SEL_T0,
	       "SDM 3A 5.8.1.1 a far JMP from CPL 0 to DPL 3 code faults #GP(selector)");
	set(SEL_T0, 0, 0xfffff, 0x9a, 0xa);
	t = try_new(U64);
	t.rbx = (u64)far_target;
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, SEL_T0,
	       "SDM 3A 5.8.1.1 a far JMP from CPL 3 to DPL 0 code faults #GP(selector)");
	set(SEL_T0, 0, 0xfffff, 0x9e, 0xa);
	t = try_new(U64);
	t.rbx = (u64)far_target;
	try_run(&t, CODE("jmp fword ptr [rbx]"));
	check(&t, t.out.vector == DONE && t.out.cs == (SEL_T0 | 3),
	      "SDM 3A 5.8.1.2 a far JMP from CPL 3 to DPL 0 conforming code keeps CPL 3");
	far_target[0] = (u64)CODE("nop");
	t = try_new(U64);
	t.rbx = (u64)far_target;
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, 0,
	       "SDM 3A 5.4.1 a far JMP to a null selector faults #GP(0)");
	set(SEL_T0, 0x7000000, 0, 0xfa, 0xa);
	far_target[0] = (u64)CODE("nop") | (u64)(SEL_T0 | 3) << 32;
	t = try_new(U64);
	t.rbx = (u64)far_target;
	runs(&t, CODE("jmp fword ptr [rbx]"),
	     "SDM 3A 3.2.4 base and limit of CS do not count in 64-bit mode");
	set(SEL_T0, 0x1000, 0xfffff, 0xfa, 0xc);
	far_target[0] = ((u64)CODE32("nop") - 0x1000) | (u64)(SEL_T0 | 3) << 32;
	t = try_new(U64);
	t.rbx = (u64)far_target;
	runs(&t, CODE("jmp fword ptr [rbx]"),
	     "SDM 3A 3.2.4 the base of CS counts in compatibility mode");
	check(&t, t.out.rip == (u64)(u32)far_target[0] + 3,
	      "SDM 3A 6.14.2 the pushed RIP is the EIP");
	set(SEL_T0, 0, 0xf, 0xfa, 0x4);
	far_target[0] = 0x400000 | (u64)(SEL_T0 | 3) << 32;
	t = try_new(U64);
	t.rbx = (u64)far_target;
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, 0,
	       "SDM 2A a far JMP beyond the limit of a compatibility-mode CS faults #GP(0)");
}

static void compat_limits(void)
{
	struct try t;
	u32 base = (u32)(u64)word;

	set(SEL_T0, base, 7, 0xf2, 4);
	set(SEL_T1, base, 7, 0xf0, 4); /* read-only */
	set(SEL_T2, base, 7, 0xf6, 4); /* expand-down: offsets 8 to 4G-1 */
	t = try_new(U32);
	t.rax = SEL_T0 | 3;
	t.rbx = 4;
	try_run(&t, CODE32("mov ds, eax; mov ecx, [ebx]"));
	check(&t, t.out.vector == DONE && t.out.rcx == 0x22222222,
	      "SDM 3A 3.2.4 the base of DS counts in compatibility mode");
	t = try_new(U32);
	t.rax = SEL_T0 | 3;
	t.rbx = 5;
	faults_at(&t, CODE32("mov ds, eax; mov ecx, [ebx]"), 2, GP, 0,
		  "SDM 3A 5.3.1 a read beyond the limit in compatibility mode faults #GP(0)");
	t = try_new(U32);
	t.rax = SEL_T1 | 3;
	t.rbx = 0;
	faults_at(&t, CODE32("mov ds, eax; mov [ebx], ecx"), 2, GP, 0,
		  "SDM 3A 5.4 a write to a read-only segment in compatibility mode faults #GP(0)");
	t = try_new(U32);
	t.rax = SEL_T2 | 3;
	t.rbx = 8;
	try_run(&t, CODE32("mov ds, eax; mov ecx, [ebx]"));
	check(&t, t.out.vector == DONE && t.out.rcx == 0x33333333,
	      "SDM 3A 5.3 an expand-down segment starts above its limit");
	t = try_new(U32);
	t.rax = SEL_T2 | 3;
	t.rbx = 7;
	faults_at(&t, CODE32("mov ds, eax; mov ecx, [ebx]"), 2, GP, 0,
		  "SDM 3A 5.3 an expand-down segment ends at its limit: #GP(0)");
	t = try_new(U32);
	t.rbx = base;
	faults_at(&t, CODE32("xor eax, eax; mov ds, eax; mov ecx, [ebx]"), 4, GP, 0,
		  "SDM 3A 3.4.2 a null DS in compatibility mode faults #GP(0) on use");
	t = try_new(U32);
	t.rbx = base;
	faults(&t, CODE32("mov cs:[ebx], eax"), GP, 0,
	       "SDM 3A 5.4 a write through CS in compatibility mode faults #GP(0)");
	t = try_new(U32);
	t.rax = SEL_T0 | 3;
	t.rsp = 4;
	faults_at(&t, CODE32("mov ss, eax; pop ecx; pop ecx"), 3, SS, 0,
		  "SDM 3A 5.3.1 a POP beyond the limit of SS in compatibility mode faults #SS(0)");
	t = try_new(U32);
	t.rax = SEL_T0 | 3;
	t.rbx = 5;
	faults_at(&t, CODE32("mov fs, eax; mov ecx, fs:[ebx]"), 2, GP, 0,
		  "SDM 3A 5.3.1 the limit of FS counts in compatibility mode: #GP(0)");
	t = try_new(U32);
	t.rax = SEL_T0 | 3;
	t.rsp = USER_STACK_TOP - 64;
	*(u32 *)(t.rsp - 4) = 0xdeadbeef;
	try_run(&t, CODE32("mov fs, eax; push fs; pop ecx"));
	check(&t, t.out.vector == DONE && (u16)t.out.rcx == (SEL_T0 | 3) && t.out.rsp == t.rsp,
	      "SDM 2B PUSH FS in compatibility mode moves ESP by 4");
}

static void queries(void)
{
	struct try t;

	set(SEL_T0, 0x12345, 0xabcde, 0xf2, 0xd);
	t = try_new(U64);
	t.rcx = SEL_T0 | 3;
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, (t.out.rflags & FLAG_ZF) && (t.out.rax & ~0xf0000ull) == 0xd0f200,
	      "SDM 2A LAR gives the access byte and the flags of a descriptor");
	t = try_new(U64);
	t.rcx = SEL_T0 | 3;
	try_run(&t, CODE("lsl eax, ecx"));
	check(&t, (t.out.rflags & FLAG_ZF) && t.out.rax == 0xabcdefff,
	      "SDM 2A LSL scales the limit by G");
	t = try_new(U64);
	t.rcx = SEL_TSS;
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, !(t.out.rflags & FLAG_ZF), "SDM 2A LAR of a DPL 0 TSS at CPL 3 clears ZF");
	t = try_new(K64);
	t.rcx = SEL_TSS;
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, (t.out.rflags & FLAG_ZF) && (t.out.rax & 0xff00) == 0x8b00,
	      "SDM 2A LAR shows the busy 64-bit TSS");
	t = try_new(K64);
	t.rcx = SEL_TSS;
	try_run(&t, CODE("lsl eax, ecx"));
	check(&t, (t.out.rflags & FLAG_ZF) && t.out.rax == sizeof(struct tss) - 1,
	      "SDM 2A LSL of a 64-bit TSS");
	set(SEL_T0, 0, 0x67, 0x81, 0);
	gdt[(SEL_T0 >> 3) + 1] = 0;
	t = try_new(K64);
	t.rcx = SEL_T0;
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, !(t.out.rflags & FLAG_ZF), "SDM 2A LAR of type 1 clears ZF in IA-32e mode");
	set(SEL_T0, 0, 0x67, 0x84, 0);
	t = try_new(K64);
	t.rcx = SEL_T0;
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, !(t.out.rflags & FLAG_ZF), "SDM 2A LAR of type 4 clears ZF in IA-32e mode");
	set(SEL_T0, 0, 0x67, 0x85, 0);
	t = try_new(K64);
	t.rcx = SEL_T0;
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, !(t.out.rflags & FLAG_ZF), "SDM 2A LAR of a task gate clears ZF in IA-32e mode");
	set(SEL_T0, 0, 0x67, 0x8c, 0);
	t = try_new(K64);
	t.rcx = SEL_T0;
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, t.out.rflags & FLAG_ZF, "SDM 2A LAR of a 64-bit call gate sets ZF");
	t = try_new(K64);
	t.rcx = SEL_T0;
	try_run(&t, CODE("lsl eax, ecx"));
	check(&t, !(t.out.rflags & FLAG_ZF), "SDM 2A LSL of a call gate clears ZF");
	t = try_new(U64);
	try_run(&t, CODE("lar eax, ecx"));
	check(&t, !(t.out.rflags & FLAG_ZF), "SDM 2A LAR of a null selector clears ZF");
	t = try_new(U64);
	t.rcx = SEL_BEYOND | 3;
	t.rax = 0x77;
	try_run(&t, CODE("lsl eax, ecx"));
	check(&t, !(t.out.rflags & FLAG_ZF) && t.out.rax == 0x77,
	      "SDM 2A LSL beyond the GDT clears ZF and leaves the register");
	set(SEL_T0, 0, 0xfffff, 0xf0, 0xc);
	set(SEL_T1, 0, 0xfffff, 0xf8, 0xc);
	t = try_new(U64);
	t.rcx = SEL_T0 | 3;
	try_run(&t, CODE("verr cx; setz al; verw cx; setz bl"));
	check(&t, t.out.vector == DONE && t.out.rax == 1 && t.out.rbx == 0,
	      "SDM 2D VERR passes and VERW fails on read-only data");
	t = try_new(U64);
	t.rcx = SEL_T1 | 3;
	try_run(&t, CODE("verr cx; setz al; verw cx; setz bl"));
	check(&t, t.out.vector == DONE && t.out.rax == 0 && t.out.rbx == 0,
	      "SDM 2D VERR and VERW fail on execute-only code");
}

void lm_main(void)
{
	bases_and_limits();
	fs_gs();
	loads();
	code_segments();
	compat_limits();
	queries();
}
