/*
 * The sensitive unprivileged instructions in 64-bit mode and in compatibility mode, at CPL 0 and
 * CPL 3: each must show the state that the guest has set up, as the pages of the instruction in
 * SDM 2A and 2B have it.
 */
#include "lib/lm.h"
#include "sensitive.h"

#define MODES 4 /* K64, U64, K32, U32 of enum mode */
static const char *const mode_names[MODES] = { "64/0", "64/3", "compat/0", "compat/3" };

#define T(n)       (u16)(SEL_FREE + 8 * (n)) /* selectors of these rules */
#define V          0x90
#define FLAG_OF    0x800ull
#define FLAG_ID    0x200000ull
#define IOPL(n)    ((u64)(n) << 12)
#define USER_STACK (USER_STACK_TOP - 512)

static u8 saved[64] USER __attribute__((aligned(16)));
static u64 tr_in_use = SEL_TSS;
static struct try t; /* the one under way */

static bool is_user(enum mode m) { return m == U64 || m == U32; }
static bool is_64(enum mode m) { return m == K64 || m == U64; }

static u16 code_selector(enum mode m)
{
	static const u16 cs[MODES] = { SEL_CODE64, SEL_UCODE64, SEL_CODE32, SEL_UCODE32 };

	return cs[m];
}

static u16 data_selector(enum mode m) { return is_user(m) ? SEL_UDATA : SEL_DATA; }

static u64 load(unsigned at, unsigned size)
{
	u64 value = 0;

	while (size--)
		value = value << 8 | *(volatile u8 *)&saved[at + size];
	return value;
}

static void store(unsigned at, u64 value, unsigned size)
{
	for (unsigned i = 0; i < size; i++, value >>= 8)
		*(volatile u8 *)&saved[at + i] = (u8)value;
}

/* A state with a user-visible stack in every mode, and RBX at the operands. */
static struct try fresh(enum mode m)
{
	struct try made = try_new(m);

	made.rsp = USER_STACK;
	made.rbx = (u64)saved;
	return made;
}

#define RUN2(m, wide, narrow)                                            \
	do {                                                             \
		const u8 *wide_ = CODE(wide), *narrow_ = CODE32(narrow); \
		try_run(&t, is_64(m) ? wide_ : narrow_);                 \
	} while (0)
#define RUN(m, text) RUN2(m, text, text)

static void cell(enum row row, enum mode m, bool ok, u64 value, const char *what)
{
	cell_note(row, m, ok, value);
	check(&t, ok, cell_name(row, mode_names[m], what));
}

static bool ended(void) { return t.out.vector == DONE; }

static void cell_faults(enum row row, enum mode m, u64 vector, u64 error, const char *what)
{
	cell(row, m, t.out.vector == vector && t.out.error == error && t.out.rip == t.rip,
	     t.out.vector, what);
}

static bool umip_set(bool on)
{
	if (!(cpuid_ecx(7, 0) & 4))
		return !on;
	write_cr4((read_cr4() & ~CR4_UMIP) | (on ? CR4_UMIP : 0));
	return true;
}

struct table_register {
	u16 limit;
	u64 base;
} __attribute__((packed));

/* SGDT and SIDT: 10 bytes in 64-bit mode, 6 in compatibility mode. */
static void descriptor_tables(enum mode m)
{
	struct table_register g, i, r;
	unsigned size = is_64(m) ? 8 : 4;

	__asm__ volatile("sgdt %0; sidt %1" : "=m"(g), "=m"(i));
	tap_check(g.base == (u64)gdt && i.base == (u64)idt, "SGDT and SIDT of the guest itself");
	for (unsigned n = 0; n < 4; n++) {
		bool umip = n & 1, blocked = umip && is_user(m);
		u16 less = n & 2 ? 0x100 : 0;

		if (!umip_set(umip))
			continue;
		r = (struct table_register){ (u16)(g.limit - less), g.base };
		__asm__ volatile("lgdt %0" : : "m"(r));
		store(8, ~0ull, 8);
		t = fresh(m);
		RUN2(m, "sgdt [rbx]", "sgdt [ebx]");
		__asm__ volatile("lgdt %0" : : "m"(g));
		if (blocked)
			cell_faults(R_SGDT, m, GP, 0, "#GP(0) with CR4.UMIP");
		else
			cell(R_SGDT, m,
			     ended() && load(0, 2) == r.limit && load(2, size) == g.base &&
				     (is_64(m) || load(8, 4) == 0xffffffff),
			     load(2, size), "the guest's");
		r = (struct table_register){ (u16)(i.limit - less), i.base };
		__asm__ volatile("lidt %0" : : "m"(r));
		t = fresh(m);
		RUN2(m, "sidt [rbx]", "sidt [ebx]");
		__asm__ volatile("lidt %0" : : "m"(i));
		if (blocked)
			cell_faults(R_SIDT, m, GP, 0, "#GP(0) with CR4.UMIP");
		else
			cell(R_SIDT, m, ended() && load(0, 2) == r.limit && load(2, size) == i.base,
			     load(2, size), "the guest's");
	}
	umip_set(false);
}

static void task_register(u64 selector)
{
	gdt[selector >> 3] &= ~(2ull << 40);
	__asm__ volatile("ltr %w0" : : "r"((u32)selector));
	tr_in_use = selector;
}

static void system_selectors(enum mode m)
{
	static u64 local[2];

	desc_system(T(0), (u64)&tss, sizeof(tss) - 1, 9, 0);
	desc_system(SEL_LDT, (u64)local, sizeof(local) - 1, 2, 0);
	for (unsigned n = 0; n < 4; n++) {
		bool blocked = (n & 1) && is_user(m);
		u32 ldtr = n & 2 ? SEL_LDT : 0;

		if (!umip_set(n & 1))
			continue;
		task_register(n & 2 ? T(0) : SEL_TSS);
		__asm__ volatile("lldt %w0" : : "r"(ldtr));
		t = fresh(m);
		t.rax = 0x55555555;
		RUN(m, "sldt eax");
		if (blocked)
			cell_faults(R_SLDT, m, GP, 0, "#GP(0) with CR4.UMIP");
		else
			cell(R_SLDT, m, ended() && (u16)t.out.rax == ldtr, t.out.rax,
			     "the guest's");
		t = fresh(m);
		t.rax = 0x55555555;
		RUN(m, "str eax");
		if (blocked)
			cell_faults(R_STR, m, GP, 0, "#GP(0) with CR4.UMIP");
		else
			cell(R_STR, m, ended() && (u16)t.out.rax == tr_in_use, t.out.rax,
			     "the guest's");
	}
	umip_set(false);
	__asm__ volatile("lldt %w0" : : "r"(0));
	task_register(SEL_TSS);
}

static void machine_status(enum mode m)
{
	static const u64 bits[] = { 0, CR0_TS, CR0_EM, CR0_TS | CR0_EM };
	u64 cr0 = read_cr0();

	for (unsigned i = 0; i < 4; i++) {
		u64 now = (cr0 & ~(CR0_TS | CR0_EM)) | bits[i];

		write_cr0(now);
		t = fresh(m);
		RUN(m, "smsw eax");
		cell(R_SMSW, m, ended() && t.out.rax == now, t.out.rax, "the guest's CR0");
	}
	write_cr0(cr0);
	if (!umip_set(true))
		return;
	t = fresh(m);
	RUN(m, "smsw eax");
	if (is_user(m))
		cell_faults(R_SMSW, m, GP, 0, "#GP(0) with CR4.UMIP");
	else
		cell(R_SMSW, m, ended() && t.out.rax == cr0, t.out.rax, "CR4.UMIP at CPL 0");
	umip_set(false);
}

static void flags(enum mode m)
{
	for (unsigned iopl = 0; iopl < 4; iopl++) {
		for (u64 interrupts = 0; interrupts <= FLAG_IF; interrupts += FLAG_IF) {
			u64 before = IOPL(iopl) | interrupts | FLAG_NT | FLAG_ID | FLAG_CF | 2;
			u64 image = IOPL(iopl ^ 1) | (interrupts ^ FLAG_IF) | FLAG_AC | FLAG_OF | 2;
			u64 after = image;

			t = fresh(m);
			t.rflags = before;
			RUN2(m, "pushfq; pop rax", "pushfd; pop eax");
			cell(R_PUSHF, m, ended() && t.out.rax == before, t.out.rax,
			     "IF, IOPL, NT and ID are the guest's");
			t = fresh(m);
			t.rflags = before;
			t.rcx = image;
			RUN2(m, "push rcx; popfq; pushfq; pop rax",
			     "push ecx; popfd; pushfd; pop eax");
			if (is_user(m)) /* IOPL needs CPL 0, */
				after = (after & ~IOPL(3)) | IOPL(iopl);
			if (is_user(m) && iopl < 3) /* IF needs CPL <= IOPL */
				after = (after & ~FLAG_IF) | interrupts;
			cell(R_POPF, m, ended() && t.out.rax == after, t.out.rax,
			     "IF and IOPL change where CPL and IOPL allow it");
		}
	}
}

static void descriptors(enum mode m)
{
	static const struct {
		u8 access;
		bool inner, readable, writable; /* inner: not for CPL 3 */
	} kinds[] = {
		{ 0x93, true, true, true },    /* data, DPL 0 */
		{ 0xf3, false, true, true },   /* data, DPL 3 */
		{ 0xf1, false, true, false },  /* read-only */
		{ 0xf9, false, false, false }, /* code, execute-only */
		{ 0xfb, false, true, false },  /* code, readable */
		{ 0x9f, false, true, false },  /* conforming, DPL 0 */
		{ 0x77, false, true, true },   /* expand-down, absent */
	};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool seen = !(kinds[i].inner && is_user(m));
		u32 limit = 0x12340 + i;
		u64 d = desc(0xabcdef00, limit, kinds[i].access, 5);
		u16 sel = T(2 + (i & 1));

		gdt[sel >> 3] = d;
		t = fresh(m);
		t.rax = 0x77;
		t.rcx = sel;
		RUN(m, "lar eax, ecx; setz dl");
		cell(R_LAR, m,
		     ended() && (t.out.rdx & 1) == seen &&
			     (seen ? (t.out.rax & 0x00f0ff00) == (d >> 32 & 0x00f0ff00)
				   : t.out.rax == 0x77),
		     t.out.rax, "the guest's descriptor, with its CPL");
		t = fresh(m);
		t.rax = 0x77;
		t.rcx = sel;
		RUN(m, "lsl eax, ecx; setz dl");
		cell(R_LSL, m,
		     ended() && (t.out.rdx & 1) == seen && t.out.rax == (seen ? limit : 0x77),
		     t.out.rax, "the guest's limit, with its CPL");
		t = fresh(m);
		t.rcx = sel;
		RUN(m, "verr cx; setz dl; verw cx; setz dh");
		cell(R_VERR, m,
		     ended() && (u16)t.out.rdx == ((seen && kinds[i].readable) |
						   (seen && kinds[i].writable) << 8),
		     t.out.rdx, "rights in the guest's descriptor, with its CPL");
	}
}

static void segment_registers(enum mode m)
{
	u16 cs = code_selector(m), ds = data_selector(m), other = T(4) | (is_user(m) ? 3 : 0);
	u32 secret = 0x5eed0000 + (u32)m;

	t = fresh(m);
	RUN(m, "mov eax, cs; mov ecx, ss; mov edx, ds; mov esi, fs");
	cell(R_MOV, m,
	     ended() && t.out.rax == cs && t.out.rcx == ds && t.out.rdx == ds && !t.out.rsi,
	     t.out.rax, "from CS, SS, DS and FS, with the CPL");
	gdt[T(4) >> 3] = desc((u32)(u64)saved - 0x20, 0xfff, 0xf2, 4);
	store(0, secret, 4);
	t = fresh(m);
	t.rcx = other;
	RUN(m, "mov fs, ecx; mov eax, fs:[0x20]; mov edx, fs; xor ecx, ecx; mov fs, ecx");
	cell(R_MOV, m,
	     ended() && t.out.rax == secret && t.out.rdx == other &&
		     (gdt[T(4) >> 3] >> 40 & 0xff) == 0xf3,
	     t.out.rax, "to FS: base, selector and the accessed bit are the guest's");
	t = fresh(m);
	t.rcx = other;
	RUN2(m, "push rcx; pop gs; mov eax, gs:[0x20]; push gs; pop rdx; xor ecx, ecx; mov gs, ecx",
	     "push ecx; pop gs; mov eax, gs:[0x20]; push gs; pop edx; xor ecx, ecx; mov gs, ecx");
	cell(R_POP, m, ended() && t.out.rax == secret, t.out.rax, "GS: the base is the guest's");
	cell(R_PUSH, m, ended() && (u16)t.out.rdx == other, t.out.rdx, "GS as loaded");
	if (is_64(m)) {
		t = fresh(m);
		try_run(&t, CODE(".byte 0x0e"));
		cell_faults(R_PUSH, m, UD, 0, "PUSH CS: #UD");
		t = fresh(m);
		try_run(&t, CODE(".byte 0x07"));
		cell_faults(R_POP, m, UD, 0, "POP ES: #UD");
	} else {
		t = fresh(m);
		try_run(&t, CODE32("push cs; push ss; push ds; pop edx; pop ecx; pop eax"));
		cell(R_PUSH, m,
		     ended() && (u16)t.out.rax == cs && (u16)t.out.rcx == ds &&
			     (u16)t.out.rdx == ds,
		     t.out.rax, "CS, SS and DS, with the CPL");
		t = fresh(m);
		t.rcx = other;
		try_run(&t, CODE32("push ecx; pop es; mov eax, es:[0x20]; mov edx, es"));
		cell(R_POP, m, ended() && t.out.rax == secret && t.out.rdx == other, t.out.rax,
		     "ES: base and selector are the guest's");
	}
	t = fresh(m);
	t.rcx = T(5);
	gdt[T(5) >> 3] = desc(0, 0xfffff, 0x93, 12);
	RUN(m, "mov es, ecx; mov eax, es");
	if (is_user(m))
		cell_faults(R_MOV, m, GP, T(5), "DPL 0 at CPL 3: #GP(selector)");
	else
		cell(R_MOV, m, ended() && t.out.rax == T(5), t.out.rax, "a selector of DPL 0");
	t = fresh(m);
	RUN(m, "mov ss, ecx");
	if (m == K64)
		cell(R_MOV, m, ended(), t.out.vector, "a null SS is good at CPL 0, 64-bit");
	else
		cell_faults(R_MOV, m, GP, 0, "a null selector to SS: #GP(0)");
}

static void far_transfers(enum mode m)
{
	const u8 *pops = is_64(m) ? CODE("pop rax; mov ecx, cs")
				  : CODE32("pop eax; pop edx; mov ecx, cs");
	const u8 *lands = is_64(m) ? CODE("mov ecx, cs") : CODE32("mov ecx, cs");
	u16 cs = code_selector(m), conforming = T(6) | (cs & 3);

	gdt[T(6) >> 3] = desc(0, 0xfffff, 0x9f, is_64(m) ? 10 : 12);
	for (unsigned n = 0; n < 2; n++) {
		u16 sel = n ? conforming : cs;

		store(0, (u64)pops, 4);
		store(4, sel, 2);
		t = fresh(m);
		RUN2(m, "call fword ptr [rbx]", "call fword ptr [ebx]");
		if (is_64(m)) {
			t.out.rdx = t.out.rax >> 32;
			t.out.rax = (u32)t.out.rax;
		}
		cell(R_CALL, m,
		     ended() && t.out.rax == t.rip + 2 && (u16)t.out.rdx == cs &&
			     t.out.rcx == sel && t.out.cs == sel,
		     t.out.rax, "pushes the guest's CS, with the CPL, and EIP");
		store(0, (u64)lands, 4);
		t = fresh(m);
		RUN2(m, "jmp fword ptr [rbx]", "jmp fword ptr [ebx]");
		cell(R_JMP, m, ended() && t.out.rcx == sel && t.out.cs == sel, t.out.rcx,
		     "CS, with the CPL");
		t = fresh(m);
		t.rax = sel;
		t.rdx = (u64)lands;
		RUN2(m, "push rax; push rdx; .byte 0x48, 0xcb", "push eax; push edx; retf");
		cell(R_RET, m, ended() && t.out.rcx == sel && t.out.rsp == t.rsp, t.out.rcx,
		     "to the same level");
	}
	if (is_user(m)) {
		store(0, (u64)lands, 4);
		store(4, is_64(m) ? SEL_CODE64 : SEL_CODE32, 2);
		t = fresh(m);
		RUN2(m, "jmp fword ptr [rbx]", "jmp fword ptr [ebx]");
		cell_faults(R_JMP, m, GP, is_64(m) ? SEL_CODE64 : SEL_CODE32,
			    "to DPL 0 at CPL 3: #GP(selector)");
		t = fresh(m);
		t.rax = SEL_CODE64;
		RUN2(m, "push rax; push rdx; .byte 0x48, 0xcb", "push eax; push edx; retf");
		cell(R_RET, m, t.out.vector == GP && t.out.error == SEL_CODE64, t.out.error,
		     "to DPL 0 at CPL 3: #GP(selector)");
	} else {
		t = fresh(m);
		t.rax = is_64(m) ? SEL_UCODE64 : SEL_UCODE32;
		t.rdx = (u64)lands;
		t.rsi = SEL_UDATA;
		t.rdi = USER_STACK - 64;
		RUN2(m, "push rsi; push rdi; push rax; push rdx; .byte 0x48, 0xcb",
		     "push esi; push edi; push eax; push edx; retf");
		cell(R_RET, m,
		     ended() && t.out.cs == t.rax && t.out.ss == SEL_UDATA &&
			     t.out.rsp == USER_STACK - 64,
		     t.out.cs, "to CPL 3 with its stack");
	}
	/* A 64-bit call gate: SDM 3A 5.8.3.1. Its target sees what was pushed. */
	{
		const u8 *target = CODE(
			"mov rax, [rsp]; mov rdx, [rsp + 8]; mov rsi, [rsp + 16]; mov ecx, cs");

		gdt[T(8) >> 3] = ((u64)target & 0xffff) | (u64)SEL_CODE64 << 16 | 0xecull << 40 |
				 ((u64)target >> 16 & 0xffff) << 48;
		gdt[(T(8) >> 3) + 1] = (u64)target >> 32;
		store(4, T(8), 2);
		t = fresh(m);
		RUN2(m, "call fword ptr [rbx]", "call fword ptr [ebx]");
		cell(R_CALL, m,
		     ended() && t.out.rax == t.rip + 2 && t.out.rdx == cs &&
			     t.out.rcx == SEL_CODE64 && (!is_user(m) || t.out.rsi == t.rsp),
		     t.out.rdx, "a call gate pushes the caller's CS:RIP, and its RSP");
	}
}

static void interrupts(enum mode m)
{
	u16 cs = code_selector(m);

	for (unsigned dpl = 0; dpl < 4; dpl += 3) {
		gate_set(V, trap_stubs + 16 * V, SEL_CODE64, 14, dpl, 1);
		t = fresh(m);
		t.rflags = IOPL(1) | FLAG_CF | FLAG_IF | 2;
		RUN(m, "int 0x90");
		if (is_user(m) && !dpl)
			cell_faults(R_INT, m, GP, V * 8 + 2, "DPL 0 at CPL 3: #GP(vector)");
		else
			cell(R_INT, m,
			     t.out.vector == V && t.out.cs == cs && t.out.rip == t.rip + 2 &&
				     t.out.rflags == t.rflags && t.out.rsp == t.rsp &&
				     t.out.ss == data_selector(m),
			     t.out.cs, "saves the guest's CS, with the CPL, RIP, flags, SS:RSP");
	}
}

void lm_main(void)
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
