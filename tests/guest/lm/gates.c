/*
 * Gates, far transfers, task registers and interrupt delivery in IA-32e mode: SDM 3A 5.8, 6.14, 7.7.
 */
#include "lib/lm.h"

enum {
	SEL_G0 = SEL_FREE, /* 16 bytes each */
	SEL_G1 = SEL_FREE + 16,
	SEL_C0 = SEL_FREE + 32, /* 8 bytes */
	VEC = 0x60,
	VEC_ERROR = VEC * 8 + 2, /* IDT bit, SDM 3A 6.13 */
};

static u64 far_target[2] USER;

static u64 far_pointer(const void *at, u16 selector)
{
	far_target[0] = (u64)at | (u64)selector << 32;
	far_target[1] = 0;
	return (u64)far_target;
}

static u64 far_pointer64(const void *at, u16 selector)
{
	far_target[0] = (u64)at;
	far_target[1] = selector;
	return (u64)far_target;
}

static void call_gate(u16 selector, u64 target, u16 code, unsigned dpl, bool present, u32 upper)
{
	u64 *d = &gdt[selector >> 3];

	d[0] = (target & 0xffff) | (u64)code << 16 | 0xcull << 40 | (u64)dpl << 45 |
	       (u64)present << 47 | (target >> 16 & 0xffff) << 48;
	d[1] = target >> 32 | (u64)upper << 32;
}

static void far_transfers(void)
{
	struct try t = try_new(U64);

	t.rbx = far_pointer(CODE32("mov eax, 0x7fffffff; inc eax"), SEL_UCODE32);
	try_run(&t, CODE("jmp fword ptr [rbx]"));
	check(&t, t.out.vector == DONE && t.out.cs == SEL_UCODE32 && t.out.rax == 0x80000000,
	      "SDM 3A 5.8.1 a far JMP m16:32 goes from 64-bit to compatibility mode");
	t = try_new(U32);
	t.rbx = far_pointer(CODE("mov rax, 0x123456789a"), SEL_UCODE64);
	try_run(&t, CODE32("jmp fword ptr [ebx]"));
	check(&t, t.out.vector == DONE && t.out.cs == SEL_UCODE64 && t.out.rax == 0x123456789a,
	      "SDM 3A 5.8.1 a far JMP goes from compatibility to 64-bit mode");
	t = try_new(U64);
	t.rbx = far_pointer(CODE32("nop"), SEL_UCODE32);
	try_run(&t, CODE("call fword ptr [rbx]; 1:"));
	check(&t,
	      t.out.vector == DONE && t.out.cs == SEL_UCODE32 && t.out.rsp == t.rsp - 8 &&
		      *(u32 *)(t.rsp - 4) == SEL_UCODE64,
	      "SDM 2A a far CALL m16:32 pushes 32-bit CS and EIP");
	t = try_new(U64);
	t.rsp -= 16;
	((u64 *)t.rsp)[0] = (u64)CODE("nop");
	((u64 *)t.rsp)[1] = SEL_UCODE64;
	try_run(&t, CODE("retfq"));
	check(&t, t.out.vector == DONE && t.out.rsp == t.rsp + 16,
	      "SDM 2B RETF with REX.W pops 64-bit RIP and CS");
	t = try_new(K64);
	t.rsp -= 32;
	((u64 *)t.rsp)[0] = (u64)CODE("nop");
	((u64 *)t.rsp)[1] = SEL_UCODE64;
	((u64 *)t.rsp)[2] = USER_STACK_TOP - 64;
	((u64 *)t.rsp)[3] = SEL_UDATA;
	try_run(&t, CODE("retfq"));
	check(&t,
	      t.out.vector == DONE && t.out.cs == SEL_UCODE64 && t.out.ss == SEL_UDATA &&
		      t.out.rsp == USER_STACK_TOP - 64,
	      "SDM 2B RETF to CPL 3 pops SS and RSP too");
	t = try_new(K64);
	t.rsp -= 32;
	((u64 *)t.rsp)[0] = (u64)CODE("mov eax, ds");
	((u64 *)t.rsp)[1] = SEL_UCODE64;
	((u64 *)t.rsp)[2] = USER_STACK_TOP - 64;
	((u64 *)t.rsp)[3] = SEL_UDATA;
	try_run(&t, CODE("retfq"));
	check(&t, t.out.vector == DONE && t.out.rax == 0,
	      "SDM 2B RETF to CPL 3 makes a DPL 0 segment in DS null");
	t = try_new(K64);
	t.rsp -= 32;
	((u64 *)t.rsp)[0] = (u64)CODE("nop");
	((u64 *)t.rsp)[1] = SEL_UCODE64;
	((u64 *)t.rsp)[2] = USER_STACK_TOP - 64;
	((u64 *)t.rsp)[3] = 0;
	faults(&t, CODE("retfq"), GP, 0, "SDM 2B RETF to CPL 3 with a null SS faults #GP(0)");
	t = try_new(U64);
	t.rsp -= 16;
	((u64 *)t.rsp)[0] = (u64)CODE("nop");
	((u64 *)t.rsp)[1] = SEL_CODE64;
	faults(&t, CODE("retfq"), GP, SEL_CODE64,
	       "SDM 2B RETF to a numerically lower CPL faults #GP(selector)");
	t = try_new(U64);
	t.rsp -= 16;
	((u64 *)t.rsp)[0] = NONCANON;
	((u64 *)t.rsp)[1] = SEL_UCODE64;
	faults(&t, CODE("retfq"), GP, 0, "SDM 2B RETF to a non-canonical RIP faults #GP(0)");
	if (cpu_is_intel()) {
		t = try_new(U64);
		t.rbx = far_pointer64(CODE("nop"), SEL_UCODE64);
		runs(&t, CODE(".byte 0x48, 0xff, 0x2b"),
		     "SDM 2A a far JMP with REX.W takes m16:64 (Intel)");
	} else {
		t = try_new(U64);
		t.rbx = far_pointer(CODE("nop"), SEL_UCODE64);
		runs(&t, CODE(".byte 0x48, 0xff, 0x2b"),
		     "APM 3 JMP far ignores REX.W: m16:32 (AMD)");
	}
}

static void call_gates(void)
{
	static const struct {
		u16 code;
		u8 dpl, present;
		u32 upper;
		u8 rpl, vector;
		u16 error;
		const char *rule;
	} bad[] = {
		{ SEL_CODE64, 0, 1, 0, 3, GP, SEL_G0,
		  "SDM 3A 5.8.4 a call gate with DPL 0 at CPL 3 faults #GP(gate)" },
		{ SEL_CODE64, 3, 0, 0, 3, NP, SEL_G0,
		  "SDM 3A 5.8.4 a call gate that is not present faults #NP(gate)" },
		{ SEL_CODE64, 3, 1, 0x100, 3, GP, SEL_G0,
		  "SDM 3A 5.8.3.1 a type in the upper half of a call gate faults #GP(gate)" },
		{ SEL_CODE32, 3, 1, 0, 3, GP, SEL_CODE32,
		  "SDM 3A 5.8.3.1 a call gate to 32-bit code faults #GP(code)" },
		{ SEL_DATA, 3, 1, 0, 3, GP, SEL_DATA,
		  "SDM 3A 5.8.4 a call gate to data faults #GP(data)" },
		{ 0, 3, 1, 0, 3, GP, 0,
		  "SDM 3A 5.8.4 a call gate to a null selector faults #GP(0)" },
		{ SEL_BEYOND, 3, 1, 0, 3, GP, SEL_BEYOND,
		  "SDM 3A 5.8.4 a call gate beyond the GDT faults #GP(code)" },
	};
	const u8 *inner = CODE("mov rdx, rsp; mov eax, ss");
	struct try t;
	u64 top = tss.rsp[0];

	call_gate(SEL_G0, (u64)inner, SEL_CODE64, 3, true, 0);
	t = try_new(U64);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	try_run(&t, CODE("call fword ptr [rbx]"));
	check(&t, t.out.vector == DONE && t.out.cs == SEL_CODE64,
	      "SDM 3A 5.8.4 a CALL through a 64-bit call gate enters CPL 0");
	check(&t, t.out.rdx == top - 32, "SDM 3A 5.8.5.1 ... on RSP0, with four quadwords pushed");
	check(&t, (u16)t.out.rax == 0, "SDM 3A 5.8.5.1 ... with a null SS");
	check(&t,
	      ((u64 *)top)[-1] == SEL_UDATA && ((u64 *)top)[-2] == t.rsp &&
		      ((u64 *)top)[-3] == SEL_UCODE64 && ((u64 *)top)[-4] > 0x400000,
	      "SDM 3A 5.8.5.1 ... SS, RSP, CS and RIP of the caller, and no parameters");
	t = try_new(U64);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	call_gate(SEL_G0, (u64)CODE("retfq"), SEL_CODE64, 3, true, 0);
	try_run(&t, CODE("call fword ptr [rbx]"));
	check(&t, t.out.vector == DONE && t.out.cs == SEL_UCODE64 && t.out.rsp == t.rsp,
	      "SDM 3A 5.8.6 RETF with REX.W returns through the gate to CPL 3");
	call_gate(SEL_G0, (u64)inner, SEL_CODE64, 3, true, 0);
	t = try_new(U32);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	try_run(&t, CODE32("call fword ptr [ebx]"));
	check(&t, t.out.vector == DONE && t.out.cs == SEL_CODE64,
	      "SDM 3A 5.8.3.1 a call gate leads from compatibility to 64-bit mode");
	t = try_new(K64);
	t.rbx = far_pointer(0, SEL_G0);
	try_run(&t, CODE("call fword ptr [rbx]"));
	check(&t, t.out.vector == DONE && t.out.rsp == t.rsp - 16,
	      "SDM 3A 5.8.4 a CALL through a gate at the same CPL pushes CS and RIP");
	t = try_new(K64);
	t.rbx = far_pointer(0, SEL_G0);
	try_run(&t, CODE("jmp fword ptr [rbx]"));
	check(&t, t.out.vector == DONE && t.out.rsp == t.rsp,
	      "SDM 3A 5.8.4 a JMP through a gate at the same CPL pushes nothing");
	t = try_new(U64);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, SEL_CODE64,
	       "SDM 3A 5.8.4 a JMP through a gate to another CPL faults #GP(code)");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		call_gate(SEL_G0, (u64)inner, bad[i].code, bad[i].dpl, bad[i].present,
			  bad[i].upper);
		t = try_new(U64);
		t.rbx = far_pointer(0, SEL_G0 | bad[i].rpl);
		faults(&t, CODE("call fword ptr [rbx]"), bad[i].vector, bad[i].error, bad[i].rule);
	}
	call_gate(SEL_G0, NONCANON, SEL_CODE64, 3, true, 0);
	t = try_new(U64);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	faults(&t, CODE("call fword ptr [rbx]"), GP, 0,
	       "SDM 2A a call gate to a non-canonical address faults #GP(0)");
	call_gate(SEL_G0, (u64)inner, SEL_CODE64, 3, true, 0);
	tss.rsp[0] = NONCANON;
	t = try_new(U64);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	faults(&t, CODE("call fword ptr [rbx]"), SS, 0,
	       "SDM 2A a call gate with a non-canonical RSP0 faults #SS(0)");
	tss.rsp[0] = top;
	gdt[SEL_G0 >> 3] = (gdt[SEL_G0 >> 3] & ~(0xfull << 40)) | 5ull << 40;
	t = try_new(U64);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	faults(&t, CODE("call fword ptr [rbx]"), GP, SEL_G0,
	       "SDM 3A 7.7 a far CALL to a task gate in IA-32e mode faults #GP(gate)");
	desc_system(SEL_G0, (u64)&tss_ap, sizeof(tss) - 1, 9, 3);
	t = try_new(U64);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	faults(&t, CODE("jmp fword ptr [rbx]"), GP, SEL_G0,
	       "SDM 3A 7.7 a far JMP to a TSS in IA-32e mode faults #GP(selector)");
	t = try_new(U32);
	t.rbx = far_pointer(0, SEL_G0 | 3);
	faults(&t, CODE32("jmp fword ptr [ebx]"), GP, SEL_G0,
	       "SDM 3A 7.7 a far JMP to a TSS in compatibility mode faults #GP(selector)");
}

static void task_registers(void)
{
	static const struct {
		u8 type, present;
		u16 selector;
		u8 vector;
		u16 error;
		const char *rule;
	} tr[] = {
		{ 11, 1, SEL_G0, GP, SEL_G0, "SDM 2A LTR of a busy TSS faults #GP(selector)" },
		{ 9, 0, SEL_G0, NP, SEL_G0,
		  "SDM 2A LTR of a TSS not present faults #NP(selector)" },
		{ 2, 1, SEL_G0, GP, SEL_G0, "SDM 2A LTR of an LDT faults #GP(selector)" },
		{ 1, 1, SEL_G0, GP, SEL_G0,
		  "SDM 2A LTR of a 16-bit TSS in IA-32e mode faults #GP(selector)" },
		{ 9, 1, 0, GP, 0, "SDM 2A LTR of a null selector faults #GP(0)" },
		{ 9, 1, SEL_G0 | 4, GP, SEL_G0 | 4,
		  "SDM 2A LTR from the LDT faults #GP(selector)" },
		{ 9, 1, SEL_BEYOND, GP, SEL_BEYOND,
		  "SDM 2A LTR beyond the GDT faults #GP(selector)" },
		{ 9, 1, SEL_BEYOND - 8, GP, SEL_BEYOND - 8,
		  "SDM 2A LTR of a descriptor cut by the GDT limit faults #GP(selector)" },
	};
	static const struct {
		u8 type, present;
		u16 selector;
		u8 vector;
		u16 error;
		const char *rule;
	} ldt[] = {
		{ 9, 1, SEL_G0, GP, SEL_G0, "SDM 2A LLDT of a TSS faults #GP(selector)" },
		{ 2, 0, SEL_G0, NP, SEL_G0,
		  "SDM 2A LLDT of an LDT not present faults #NP(selector)" },
		{ 2, 1, SEL_G0 | 4, GP, SEL_G0 | 4,
		  "SDM 2A LLDT from the LDT faults #GP(selector)" },
		{ 2, 1, SEL_BEYOND, GP, SEL_BEYOND,
		  "SDM 2A LLDT beyond the GDT faults #GP(selector)" },
	};
	static u64 table[2];
	struct try t;

	for (unsigned i = 0; i < sizeof(tr) / sizeof(tr[0]); i++) {
		desc_system(SEL_G0, (u64)&tss, sizeof(tss) - 1, tr[i].type, 0);
		gdt[127] = gdt[SEL_G0 >> 3];
		if (!tr[i].present)
			gdt[SEL_G0 >> 3] &= ~(1ull << 47);
		desc_system(SEL_G1, (u64)&tss, sizeof(tss) - 1, 9, 0);
		t = try_new(K64);
		t.rax = tr[i].selector;
		t.rcx = SEL_G1; /* to survive a wrong success */
		faults(&t, CODE("ltr ax; ltr cx"), tr[i].vector, tr[i].error, tr[i].rule);
	}
	gdt[127] = 0;
	for (unsigned i = 0; i < sizeof(ldt) / sizeof(ldt[0]); i++) {
		desc_system(SEL_G0, (u64)table, sizeof(table) - 1, ldt[i].type, 0);
		if (!ldt[i].present)
			gdt[SEL_G0 >> 3] &= ~(1ull << 47);
		t = try_new(K64);
		t.rax = ldt[i].selector;
		faults(&t, CODE("lldt ax"), ldt[i].vector, ldt[i].error, ldt[i].rule);
	}
	tap_equal(gdt[SEL_TSS >> 3] >> 40 & 15, 11, "SDM 3A 7.2.3 LTR makes the TSS busy");
	desc_system(SEL_G0, (u64)&tss, sizeof(tss) - 1, 9, 0);
	t = try_new(K64);
	t.rax = SEL_G0;
	try_run(&t, CODE("ltr ax; str ecx"));
	check(&t, t.out.vector == DONE && t.out.rcx == SEL_G0,
	      "SDM 2B STR gives the selector of LTR");
	gdt[SEL_TSS >> 3] &= ~(2ull << 40);
	t = try_new(K64);
	t.rax = SEL_TSS;
	runs(&t, CODE("ltr ax"), "SDM 2A LTR back to the first TSS");
	desc_system(SEL_G0, (u64)table | 0xffff800000000000, sizeof(table) - 1, 2, 0);
	table[1] = desc(0, 0xfffff, 0xf2, 0xc);
	*pt_entry((u64)table | 0xffff800000000000, 1) = ((u64)table & ~0xfffull) | PTE_P | PTE_W;
	t = try_new(K64);
	t.rax = SEL_G0;
	t.rcx = 8 | 4;
	try_run(&t, CODE("lldt ax; mov ds, ecx; sldt edx; mov ecx, ds"));
	check(&t, t.out.vector == DONE && t.out.rdx == SEL_G0 && t.out.rcx == (8 | 4),
	      "SDM 3A 3.5.2 an LDT descriptor has 16 bytes and a 64-bit base");
	t = try_new(K64);
	t.rcx = 16 | 4;
	faults(&t, CODE("mov ds, ecx"), GP, 16 | 4,
	       "SDM 3A 3.5.1 a selector beyond the LDT limit faults #GP(selector)");
	t = try_new(K64);
	try_run(&t, CODE("lldt ax; mov ecx, 12; mov ds, ecx"));
	check(&t, t.out.vector == GP && t.out.error == (8 | 4),
	      "SDM 2A LLDT of a null selector makes the LDT unusable");
	if (cpu_is_intel()) {
		desc_system(SEL_G0, NONCANON, 0xfff, 2, 0);
		t = try_new(K64);
		t.rax = SEL_G0;
		try_run(&t, CODE("lldt ax"));
		check(&t, t.out.vector == GP,
		      "SDM 2A LLDT with a non-canonical base faults #GP (Intel)");
	}
	t = try_new(U64);
	t.rax = SEL_G0;
	faults(&t, CODE("ltr ax"), GP, 0, "SDM 2A LTR at CPL 3 faults #GP(0)");
	t = try_new(U64);
	faults(&t, CODE("lldt ax"), GP, 0, "SDM 2A LLDT at CPL 3 faults #GP(0)");
}

static void interrupts(void)
{
	static const struct {
		u16 selector;
		u8 type, dpl, present, vector;
		u16 error;
		const char *rule;
	} bad[] = {
		{ SEL_CODE64, 14, 0, 1, GP, VEC_ERROR,
		  "SDM 3A 6.12.1.1 INT n through a DPL 0 gate at CPL 3 faults #GP(vector, IDT)" },
		{ SEL_CODE64, 14, 3, 0, NP, VEC_ERROR,
		  "SDM 3A 6.13 INT n through a gate not present faults #NP(vector, IDT)" },
		{ SEL_CODE64, 5, 3, 1, GP, VEC_ERROR,
		  "SDM 3A 6.14.1 a task gate in the IDT faults #GP(vector, IDT) in IA-32e mode" },
		{ SEL_CODE64, 6, 3, 1, GP, VEC_ERROR,
		  "SDM 3A 6.14.1 a 16-bit interrupt gate faults #GP(vector, IDT) in IA-32e mode" },
		{ SEL_CODE64, 12, 3, 1, GP, VEC_ERROR,
		  "SDM 3A 6.14.1 a call gate in the IDT faults #GP(vector, IDT)" },
		{ SEL_CODE32, 14, 3, 1, GP, SEL_CODE32,
		  "SDM 3A 6.14.1 an interrupt gate to 32-bit code faults #GP(code)" },
		{ 0, 14, 3, 1, GP, 0,
		  "SDM 3A 6.14.1 an interrupt gate to a null selector faults #GP(0)" },
		{ SEL_UCODE64, 14, 3, 1, DONE, 0,
		  "SDM 3A 6.12.1 an interrupt gate to DPL 3 code at CPL 3 stays there" },
		{ SEL_DATA, 14, 3, 1, GP, SEL_DATA,
		  "SDM 3A 6.12.1 an interrupt gate to data faults #GP(data)" },
		{ SEL_BEYOND, 14, 3, 1, GP, SEL_BEYOND,
		  "SDM 3A 6.12.1 an interrupt gate beyond the GDT faults #GP(selector)" },
	};
	u64 top = tss.rsp[0], stack = (u64)kernel_try_stack + 4096;
	struct try t;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		gate_set(VEC, (void *)CODE("nop"), bad[i].selector, bad[i].type, bad[i].dpl, 0);
		if (!bad[i].present)
			idt[2 * VEC] &= ~(1ull << 47);
		t = try_new(U64);
		if (bad[i].vector == DONE)
			runs(&t, CODE("int 0x60"), bad[i].rule);
		else
			faults(&t, CODE("int 0x60"), bad[i].vector, bad[i].error, bad[i].rule);
	}
	gate_set(VEC, (void *)CODE("nop"), SEL_UCODE64, 14, 0, 0);
	t = try_new(K64);
	faults(&t, CODE("int 0x60"), GP, SEL_UCODE64 & ~3,
	       "SDM 3A 6.12.1 an interrupt gate from CPL 0 to DPL 3 code faults #GP(code)");
	gate_set(VEC, (void *)NONCANON, SEL_CODE64, 14, 3, 0);
	t = try_new(U64);
	faults(&t, CODE("int 0x60"), GP, 0,
	       "SDM 2A an interrupt gate to a non-canonical address faults #GP(0)");
	gate_set(VEC, (void *)CODE("mov eax, ss; mov edx, cs"), SEL_CODE64, 14, 3, 0);
	t = try_new(U64);
	t.rflags |= FLAG_IF | FLAG_NT | FLAG_CF;
	try_run(&t, CODE("int 0x60"));
	check(&t, t.out.vector == DONE && t.out.rsp == top - 40 && (u16)t.out.rax == 0,
	      "SDM 3A 6.14.4 INT n from CPL 3 takes RSP0, pushes 40 bytes, sets SS null");
	check(&t,
	      ((u64 *)top)[-1] == SEL_UDATA && ((u64 *)top)[-2] == t.rsp &&
		      ((u64 *)top)[-4] == SEL_UCODE64 && ((u64 *)top)[-5] == t.rip + 2,
	      "SDM 3A 6.14.2 ... SS, RSP, RFLAGS, CS and RIP behind the INT");
	check(&t, ((u64 *)top)[-3] == (t.rflags & ~0ull), "SDM 3A 6.14.2 ... with the old RFLAGS");
	check(&t,
	      !(t.out.rflags & (FLAG_IF | FLAG_NT | FLAG_TF | FLAG_RF)) && (t.out.rflags & FLAG_CF),
	      "SDM 3A 6.12.1.2 an interrupt gate clears IF, NT, TF, RF");
	gate_set(VEC, (void *)CODE("nop"), SEL_CODE64, 15, 3, 0);
	t = try_new(U64);
	t.rflags |= FLAG_IF | FLAG_NT;
	try_run(&t, CODE("int 0x60"));
	check(&t, (t.out.rflags & (FLAG_IF | FLAG_NT)) == FLAG_IF,
	      "SDM 3A 6.12.1.2 a trap gate keeps IF and clears NT");
	for (unsigned i = 0; i < 16; i += 5) {
		t = try_new(K64);
		t.rsp = stack + i;
		try_run(&t, CODE("int 0x60"));
		check(&t,
		      t.out.vector == DONE && t.out.rsp == (stack & ~15ull) - 40 &&
			      *(u64 *)(t.out.rsp + 24) == t.rsp,
		      "SDM 3A 6.14.2 an interrupt aligns RSP to 16 before it pushes");
	}
	t = try_new(K64);
	try_run(&t, CODE("int 0x60"));
	check(&t, t.out.ss == SEL_DATA && ((u64 *)t.out.rsp)[4] == SEL_DATA,
	      "SDM 3A 6.14.2 an interrupt pushes SS:RSP at the same CPL too, and keeps SS");
	gate_set(VEC, (void *)CODE("nop"), SEL_CODE64, 14, 3, 5);
	tss.ist[5] = stack + 0x408;
	t = try_new(K64);
	try_run(&t, CODE("int 0x60"));
	check(&t, t.out.rsp == stack + 0x400 - 40,
	      "SDM 3A 6.14.5 an IST stack is used at CPL 0, aligned");
	t = try_new(U64);
	try_run(&t, CODE("int 0x60"));
	check(&t, t.out.rsp == stack + 0x400 - 40,
	      "SDM 3A 6.14.5 an IST stack replaces RSP0 at CPL 3");
	tss.ist[5] = NONCANON;
	t = try_new(U64);
	faults(&t, CODE("int 0x60"), SS, 0,
	       "SDM 2A INT n to a non-canonical IST stack faults #SS(0)");
	tss.ist[5] = 0x7000000000;
	t = try_new(U64);
	faults(&t, CODE("int 0x60"), PF, PF_W,
	       "SDM 3A 6.14 INT n to an unmapped IST stack faults #PF, a supervisor write");
	gate_set(VEC, (void *)CODE("nop"), SEL_CODE64, 14, 3, 0);
	tss.rsp[0] = NONCANON;
	t = try_new(U64);
	faults(&t, CODE("int 0x60"), SS, 0, "SDM 2A INT n to a non-canonical RSP0 faults #SS(0)");
	tss.rsp[0] = top;
	t = try_new(U64);
	gate_set(BP, trap_stubs + 16 * BP, SEL_CODE64, 14, 0, 1);
	faults(&t, CODE("int3"), GP, BP * 8 + 2,
	       "SDM 3A 6.12.1.1 INT3 through a DPL 0 gate at CPL 3 faults #GP(vector, IDT)");
	t = try_new(U64);
	runs(&t, CODE(".byte 0xeb, 0"), "SDM 3A 6.14 code runs on after it");
	gate_set(BP, trap_stubs + 16 * BP, SEL_CODE64, 14, 3, 1);
	t = try_new(U64);
	gate_set(UD, trap_stubs + 16 * UD, SEL_CODE64, 14, 0, 1);
	faults(&t, CODE("ud2"), UD, 0,
	       "SDM 3A 6.12.1.1 the DPL of a gate does not count for a fault");
	idt[2 * UD] &= ~(1ull << 47);
	t = try_new(U64);
	faults(&t, CODE("ud2"), NP, UD * 8 + 3,
	       "SDM 3A 6.13 a fault whose gate is not present faults #NP(vector, IDT, EXT)");
	gate_set(UD, trap_stubs + 16 * UD, SEL_CODE64, 14, 0, 1);
}

static struct {
	u16 limit;
	u64 base;
} __attribute__((packed)) short_idt, full_idt;

static void idt_limit(void)
{
	struct try t = try_new(K64);

	short_idt.limit = 0x82 * 16 - 1;
	full_idt.limit = 0xfff;
	short_idt.base = full_idt.base = (u64)idt;
	__asm__ volatile("lidt %0" : : "m"(short_idt));
	t = try_new(U64);
	faults(&t, CODE("int 0x82"), GP, 0x82 * 8 + 2,
	       "SDM 3A 6.10 a vector beyond the IDT limit faults #GP(vector, IDT)");
	short_idt.limit = 0x83 * 16 - 2;
	__asm__ volatile("lidt %0" : : "m"(short_idt));
	gate_set(0x82, trap_stubs + 16 * DONE, SEL_CODE64, 14, 3, 1);
	t = try_new(U64);
	faults(&t, CODE("int 0x82"), GP, 0x82 * 8 + 2,
	       "SDM 3A 6.10 a gate cut by the IDT limit faults #GP(vector, IDT)");
	__asm__ volatile("lidt %0" : : "m"(full_idt));
	t = try_new(K64);
	t.rbx = (u64)far_target;
	try_run(&t, CODE("sidt [rbx]"));
	check(&t,
	      t.out.vector == DONE && (u16)far_target[0] == 0xfff &&
		      (far_target[0] >> 16 | far_target[1] << 48) == (u64)idt,
	      "SDM 2B SIDT stores a 16-bit limit and a 64-bit base");
}

static void push_iret(struct try *t, u64 rip, u64 cs, u64 rflags, u64 rsp, u64 ss)
{
	u64 *frame;

	t->rsp -= 40;
	frame = (u64 *)t->rsp;
	frame[0] = rip;
	frame[1] = cs;
	frame[2] = rflags;
	frame[3] = rsp;
	frame[4] = ss;
}

static void iret(void)
{
	u64 nop = (u64)CODE("nop"), nop32 = (u64)CODE32("nop");
	static const struct {
		u64 cs, ss;
		u8 vector;
		u16 error;
		const char *rule;
	} bad[] = {
		{ SEL_UCODE64, 0, GP, 0, "SDM 2A IRET to CPL 3 with a null SS faults #GP(0)" },
		{ SEL_UCODE64, SEL_DATA, GP, SEL_DATA,
		  "SDM 2A IRET to CPL 3 with an SS of DPL 0 faults #GP(SS)" },
		{ 0, SEL_DATA, GP, 0, "SDM 2A IRET to a null CS faults #GP(0)" },
		{ SEL_DATA, SEL_DATA, GP, SEL_DATA,
		  "SDM 2A IRET to a data segment faults #GP(CS)" },
		{ SEL_BEYOND, SEL_DATA, GP, SEL_BEYOND,
		  "SDM 2A IRET beyond the GDT faults #GP(CS)" },
		{ SEL_UCODE64 & ~3, SEL_DATA, GP, SEL_UCODE64 & ~3,
		  "SDM 2A IRET to DPL 3 code with RPL 0 faults #GP(CS)" },
		{ SEL_CODE64 | 3, SEL_UDATA, GP, SEL_CODE64,
		  "SDM 2A IRET to DPL 0 code with RPL 3 faults #GP(CS)" },
		{ SEL_CODE32, 0, GP, 0,
		  "SDM 2A IRET to compatibility mode with a null SS faults #GP(0)" },
		{ SEL_C0 | 3, SEL_UDATA, NP, SEL_C0,
		  "SDM 2A IRET to code not present faults #NP(CS)" },
		{ SEL_UCODE64, (SEL_C0 + 8) | 3, SS, SEL_C0 + 8,
		  "SDM 2A IRET with an SS not present faults #SS(SS)" },
	};
	struct try t = try_new(K64);

	push_iret(&t, nop, SEL_CODE64, 2, (u64)kernel_try_stack + 2048, SEL_DATA);
	try_run(&t, CODE("iretq"));
	check(&t, t.out.vector == DONE && t.out.rsp == (u64)kernel_try_stack + 2048,
	      "SDM 3A 6.14.3 IRETQ pops SS:RSP at the same CPL too");
	t = try_new(K64);
	push_iret(&t, nop, SEL_CODE64, 2, (u64)kernel_try_stack + 2048, 0);
	try_run(&t, CODE("iretq"));
	check(&t, t.out.vector == DONE && t.out.ss == 0,
	      "SDM 3A 6.14.3 IRETQ takes a null SS in 64-bit mode at CPL 0");
	t = try_new(K64);
	push_iret(&t, nop32, SEL_UCODE32, 2, 0x100000000 + USER_STACK_TOP - 64, SEL_UDATA);
	try_run(&t, CODE("iretq"));
	check(&t,
	      t.out.vector == DONE && t.out.cs == SEL_UCODE32 &&
		      (u32)t.out.rsp == USER_STACK_TOP - 64,
	      "SDM 3A 6.14.3 IRETQ goes to compatibility mode");
	t = try_new(K64);
	t.rsp -= 20;
	((u32 *)t.rsp)[0] = (u32)nop;
	((u32 *)t.rsp)[1] = SEL_CODE64;
	((u32 *)t.rsp)[2] = 2;
	((u32 *)t.rsp)[3] = (u32)(u64)kernel_try_stack + 1024;
	((u32 *)t.rsp)[4] = SEL_DATA;
	try_run(&t, CODE("iretd"));
	check(&t, t.out.vector == DONE && t.out.rsp == (u64)kernel_try_stack + 1024,
	      "SDM 2A IRETD in 64-bit mode pops five doublewords");
	t = try_new(K64);
	push_iret(&t, NONCANON, SEL_CODE64, 2, t.rsp, SEL_DATA);
	faults(&t, CODE("iretq"), GP, 0, "SDM 2A IRETQ to a non-canonical RIP faults #GP(0)");
	t = try_new(K64);
	t.rflags |= FLAG_NT;
	push_iret(&t, nop, SEL_CODE64, 2, t.rsp, SEL_DATA);
	faults(&t, CODE("iretq"), GP, 0, "SDM 3A 7.7 IRET with NT=1 in IA-32e mode faults #GP(0)");
	t = try_new(K64);
	push_iret(&t, nop, SEL_UCODE64, 2 | FLAG_VM, USER_STACK_TOP - 64, SEL_UDATA);
	try_run(&t, CODE("iretq"));
	check(&t, t.out.vector == GP || (t.out.vector == DONE && !(t.out.rflags & FLAG_VM)),
	      "SDM 2A IRETQ does not enter virtual-8086 mode");
	t = try_new(U64);
	push_iret(&t, nop, SEL_UCODE64, 2 | FLAG_IF | 0x3000 | FLAG_AC, t.rsp - 512, SEL_UDATA);
	try_run(&t, CODE("iretq"));
	check(&t, t.out.vector == DONE && (t.out.rflags & (FLAG_IF | 0x3000 | FLAG_AC)) == FLAG_AC,
	      "SDM 2A IRETQ at CPL 3 with IOPL 0 keeps IF and IOPL");
	t = try_new(U64);
	push_iret(&t, nop, SEL_CODE64, 2, t.rsp, SEL_DATA);
	faults(&t, CODE("iretq"), GP, SEL_CODE64, "SDM 2A IRETQ to a lower CPL faults #GP(CS)");
	gdt[SEL_C0 >> 3] = desc(0, 0xfffff, 0x7a, 0xa);
	gdt[(SEL_C0 >> 3) + 1] = desc(0, 0xfffff, 0x72, 0xc);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		t = try_new(K64);
		push_iret(&t, bad[i].cs == SEL_CODE32 ? nop32 : nop, bad[i].cs, 2,
			  USER_STACK_TOP - 64, bad[i].ss);
		faults(&t, CODE("iretq"), bad[i].vector, bad[i].error, bad[i].rule);
	}
}

static void ports(void)
{
	struct try t;

	tss.iomap = (u16)((u64)tss.bitmap - (u64)&tss);
	for (unsigned i = 0; i < sizeof(tss.bitmap); i++)
		tss.bitmap[i] = 0xff;
	tss.bitmap[0x80 / 8] = 0xfe;
	t = try_new(U64);
	t.rdx = 0x80;
	runs(&t, CODE("out dx, al; in al, dx; out 0x80, al"),
	     "SDM 1 18.5.2 a clear bit in the I/O bitmap allows a port at CPL 3");
	t = try_new(U64);
	faults(&t, CODE("in al, 0x81"), GP, 0,
	       "SDM 1 18.5.2 a set bit in the I/O bitmap faults #GP(0)");
	t = try_new(U64);
	faults(&t, CODE("in ax, 0x80"), GP, 0,
	       "SDM 1 18.5.2 each byte of an access needs its bit clear: #GP(0)");
	t = try_new(U64);
	t.rdx = 0x400;
	faults(&t, CODE("in al, dx"), GP, 0,
	       "SDM 1 18.5.2 a port beyond the TSS limit faults #GP(0)");
	t = try_new(U64);
	t.rflags |= 0x3000;
	runs(&t, CODE("in al, 0x81; cli; sti"),
	     "SDM 1 18.5.1 IOPL 3 allows ports, CLI and STI at CPL 3");
	tss.iomap = sizeof(tss);
	t = try_new(U64);
	faults(&t, CODE("in al, 0x80"), GP, 0, "SDM 1 18.5.2 no bitmap within the limit: #GP(0)");
	t = try_new(U64);
	t.rdx = 0x80;
	t.rcx = 0;
	faults(&t, CODE("rep outsb"), GP, 0,
	       "SDM 2B REP OUTS with a count of 0 checks the port's permission first");
}

static void privileged(void)
{
	struct {
		const u8 *code;
		const char *rule;
	} rules[] = {
		{ CODE("cli"), "SDM 2A CLI at CPL 3 with IOPL 0 faults #GP(0)" },
		{ CODE("sti"), "SDM 2B STI at CPL 3 with IOPL 0 faults #GP(0)" },
		{ CODE("hlt"), "SDM 3A 5.9 HLT at CPL 3 faults #GP(0)" },
		{ CODE("clts"), "SDM 3A 5.9 CLTS at CPL 3 faults #GP(0)" },
		{ CODE("invd"), "SDM 3A 5.9 INVD at CPL 3 faults #GP(0)" },
		{ CODE("wbinvd"), "SDM 3A 5.9 WBINVD at CPL 3 faults #GP(0)" },
		{ CODE("invlpg [rax]"), "SDM 3A 5.9 INVLPG at CPL 3 faults #GP(0)" },
		{ CODE("rdmsr"), "SDM 3A 5.9 RDMSR at CPL 3 faults #GP(0)" },
		{ CODE("wrmsr"), "SDM 3A 5.9 WRMSR at CPL 3 faults #GP(0)" },
		{ CODE("mov rax, cr0"), "SDM 3A 5.9 MOV from CR0 at CPL 3 faults #GP(0)" },
		{ CODE("mov cr3, rax"), "SDM 3A 5.9 MOV to CR3 at CPL 3 faults #GP(0)" },
		{ CODE("mov rax, cr8"), "SDM 3A 5.9 MOV from CR8 at CPL 3 faults #GP(0)" },
		{ CODE("mov rax, dr7"), "SDM 3A 5.9 MOV from DR7 at CPL 3 faults #GP(0)" },
		{ CODE("mov dr0, rax"), "SDM 3A 5.9 MOV to DR0 at CPL 3 faults #GP(0)" },
		{ CODE("lmsw ax"), "SDM 3A 5.9 LMSW at CPL 3 faults #GP(0)" },
		{ CODE("lgdt [rax]"), "SDM 3A 5.9 LGDT at CPL 3 faults #GP(0)" },
		{ CODE("lidt [rax]"), "SDM 3A 5.9 LIDT at CPL 3 faults #GP(0)" },
		{ CODE("swapgs"), "SDM 2B SWAPGS at CPL 3 faults #GP(0)" },
		{ CODE(".byte 0x0f, 0x07"), "SDM 2B SYSRET at CPL 3 faults #GP(0)" },
	};
	struct try t;

	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		t = try_new(U64);
		faults(&t, rules[i].code, GP, 0, rules[i].rule);
	}
	t = try_new(U64);
	try_run(&t, CODE("pushfq; or qword ptr [rsp], 0x3200; popfq; pushfq; pop rax"));
	check(&t, t.out.vector == DONE && !(t.out.rax & 0x3200),
	      "SDM 2B POPF at CPL 3 with IOPL 0 leaves IF and IOPL alone, without a fault");
	t = try_new(U64);
	t.rax = 0x202;
	faults(&t, CODE("mov cr8, rax"), GP, 0, "SDM 3A 5.9 MOV to CR8 at CPL 3 faults #GP(0)");
}

void lm_main(void)
{
	far_transfers();
	call_gates();
	task_registers();
	interrupts();
	idt_limit();
	iret();
	ports();
	privileged();
}
