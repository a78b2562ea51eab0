/*
 * Loading segment registers, and the checks on each access through them: SDM 3A chapter 3 and
 * 5.2 to 5.7. Error codes of selector faults hold index and TI only: the RPL bits are EXT and IDT.
 */
#include "pm.h"

#define DATA32(access) desc(LOW_DATA, 0xfff, P | (access), D)

static void load_table_limits(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) r = { T(0) + 6, (u32)gdt };
	u32 code = CODE("lgdt [ebx]\n mov ds, eax");

	PROBE(CODE("mov ds, eax"), .eax = GDT_ENTRIES * 8);
	rule("SDM 3A 5.2 a selector beyond the GDT limit: #GP(selector)",
	     fault_e(GP, GDT_ENTRIES * 8, 0));
	seg_set(T(0), DATA32(DATA_RW));
	PROBE(code, .eax = T(0), .ebx = (u32)&r);
	rule("SDM 3A 3.5.1 a descriptor whose last byte lies beyond the GDT limit: #GP(selector)",
	     fault_e(GP, T(0), 3));
	seg_set(T(0), DATA32(DATA_RW));
	r.limit++;
	PROBE(code, .eax = T(0), .ebx = (u32)&r);
	rule("SDM 3A 3.5.1 a descriptor that ends at the GDT limit loads", done() && t.ds == T(0));
	seg_set(L(2), DATA32(DATA_RW));
	PROBE(CODE("mov ds, eax"), .eax = L(2));
	rule("SDM 3A 3.4.2 a selector with TI set loads from the LDT", done() && t.ds == L(2));
	PROBE(CODE("mov ds, eax"), .eax = L(LDT_ENTRIES));
	rule("SDM 3A 5.2 a selector beyond the LDT limit: #GP(selector), TI kept",
	     fault_e(GP, L(LDT_ENTRIES), 0));
	seg_set(L(2), DATA32(DATA_RW));
	PROBE(CODE("xor ecx, ecx\n lldt cx\n mov ds, eax"), .eax = L(2));
	rule("SDM 3A 2.4.2 with a null LDTR each LDT selector faults: #GP(selector)",
	     fault_e(GP, L(2), 5));
	PROBE(CODE("mov ds, eax"), .eax = SEL_NONE);
	rule("SDM 3A 3.5 a descriptor of zeros is a reserved system type: #GP(selector)",
	     fault_e(GP, SEL_NONE, 0));
}

static void load_null(void)
{
	PROBE3(CODE("mov ds, eax\n mov es, eax\n mov fs, eax\n mov gs, eax"), .eax = 0);
	rule("SDM 3A 5.4.1 null loads into DS, ES, FS and GS",
	     done() && !t.ds && !t.es && !t.fs && !t.gs);
	PROBE(CODE("mov ds, eax"), .eax = 3);
	rule("SDM 3A 3.4.2 null with RPL 3 is null too, and reads back with its RPL",
	     done() && t.ds == 3);
	PROBE(CODE("mov bl, [eax]"), .ds = 0);
	rule("SDM 3A 5.4.1 a read through a null DS: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE("mov es:[eax], bl"), .es = 0);
	rule("SDM 3A 5.4.1 a write through a null ES: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE("mov ss, eax"), .eax = 0);
	rule("SDM 3A 5.4.1 null into SS at CPL 0: #GP(0)", fault_e(GP, 0, 0));
	PROBE3(CODE("mov ss, eax"), .eax = 3);
	rule("SDM 3A 5.4.1 null with RPL 3 into SS at CPL 3: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE("mov cs, eax"), .eax = KCS);
	rule("SDM 2B MOV: MOV to CS: #UD", fault(UD, 0));
}

static void load_types(void)
{
	static const struct {
		const char *name;
		u8 access;
		bool loads;
	} types[] = {
		{ "SDM 3A 5.4 a read-only data segment loads into DS", DATA_R, true },
		{ "SDM 3A 5.4 an execute-only segment into DS: #GP(selector)", CODE_X, false },
		{ "SDM 3A 5.4 a readable code segment loads into DS", CODE_XR, true },
		{ "SDM 3A 5.4 a conforming execute-only segment into DS: #GP(selector)", CONF_X,
		  false },
		{ "SDM 3A 5.4 a TSS into DS: #GP(selector)", TSS32, false },
		{ "SDM 3A 5.4 an LDT into DS: #GP(selector)", LDT, false },
		{ "SDM 3A 5.4 a call gate into DS: #GP(selector)", CALL32, false },
	};

	for (unsigned i = 0; i < sizeof(types) / sizeof(*types); i++) {
		seg_set(T(1), DATA32(types[i].access));
		PROBE(CODE("mov ds, eax"), .eax = T(1));
		rule(types[i].name, types[i].loads ? done() && t.ds == T(1) : fault_e(GP, T(1), 0));
	}
	seg_set(T(1), DATA32(DATA_R));
	PROBE(CODE("mov ss, eax"), .eax = T(1));
	rule("SDM 3A 5.4 a read-only data segment into SS: #GP(selector)", fault_e(GP, T(1), 0));
	seg_set(T(1), DATA32(CODE_XR));
	PROBE(CODE("mov ss, eax"), .eax = T(1));
	rule("SDM 3A 5.4 a readable code segment into SS: #GP(selector)", fault_e(GP, T(1), 0));
}

/* All RPL and DPL at one CPL: DS loads exactly where DPL >= max(CPL, RPL). */
static bool load_matrix(unsigned cpl)
{
	bool holds = true;

	for (unsigned i = 0; i < 16 && holds; i++) {
		unsigned rpl = i & 3, dpl = i >> 2;

		reset();
		seg_set(T(2), DATA32(DATA_RW | DPL(dpl)));
		PROBE_WITH(CODE("mov ds, eax"), KCS + 17 * cpl, KDS + 17 * cpl, TOP(user_stack),
			   UDS, .eax = T(2) + rpl);
		holds = dpl >= cpl && dpl >= rpl ? done() && t.ds == T(2) + rpl
						 : fault_e(GP, T(2), 0);
	}
	return holds;
}

static void load_privilege(void)
{
	rule("SDM 3A 5.6 DS load at CPL 0 with DPL < RPL: #GP(selector)", load_matrix(0));
	rule("SDM 3A 5.6 DS load at CPL 1 with DPL < max(CPL, RPL): #GP(selector)", load_matrix(1));
	rule("SDM 3A 5.6 DS load at CPL 2 with DPL < max(CPL, RPL): #GP(selector)", load_matrix(2));
	rule("SDM 3A 5.6 DS load at CPL 3 with DPL < max(CPL, RPL): #GP(selector)", load_matrix(3));
	seg_set(T(2), DATA32(CONF_XR));
	PROBE3(CODE("mov ds, eax"), .eax = T(2) + 3);
	rule("SDM 3A 5.6.1 a conforming readable segment of DPL 0 loads into DS at CPL 3",
	     done() && t.ds == T(2) + 3);
	seg_set(T(2), DATA32(CODE_XR));
	PROBE3(CODE("mov ds, eax"), .eax = T(2) + 3);
	rule("SDM 3A 5.6.1 a nonconforming readable segment of DPL 0 into DS at CPL 3: #GP",
	     fault_e(GP, T(2), 0));
	PROBE(CODE("mov ss, eax"), .eax = KDS + 3);
	rule("SDM 3A 5.7 SS load with RPL 3 at CPL 0: #GP(selector)", fault_e(GP, KDS, 0));
	PROBE(CODE("mov ss, eax"), .eax = UDS & ~3u);
	rule("SDM 3A 5.7 SS load with DPL 3 at CPL 0: #GP(selector)", fault_e(GP, UDS & ~3u, 0));
	PROBE3(CODE("mov ss, eax"), .eax = KDS);
	rule("SDM 3A 5.7 SS load of DPL 0 at CPL 3: #GP(selector)", fault_e(GP, KDS, 0));
}

static void load_present(void)
{
	static const char *const names[] = {
		"SDM 3A 6.15 MOV to ES of a segment not present: #NP(selector)",
		"SDM 3A 6.15 MOV to FS of a segment not present: #NP(selector)",
		"SDM 3A 6.15 POP GS of a segment not present: #NP(selector)",
		"SDM 3A 6.15 LDS of a segment not present: #NP(selector), register unchanged",
		"SDM 3A 6.15 MOV to SS of a segment not present: #SS(selector)",
		"SDM 3A 6.15 POP SS of a segment not present: #SS(selector), ESP unchanged",
		"SDM 3A 6.15 LSS of a segment not present: #SS(selector), ESP unchanged",
	};
	static u32 pointer[2] = { 0x1234, T(3) };

	for (unsigned i = 0; i < 7; i++) {
		u32 codes[] = { CODE("mov es, eax"),       CODE("mov fs, eax"),
				CODE("push eax\n pop gs"), CODE("lds edx, [ebx]"),
				CODE("mov ss, eax"),       CODE("push eax\n pop ss"),
				CODE("lss esp, [ebx]") };
		bool pop = i == 2 || i == 5;

		seg_set(T(3), desc(0, 0xfffff, DATA_RW, G | D));
		PROBE(codes[i], .eax = T(3), .ebx = (u32)pointer, .edx = 7);
		rule(names[i], fault_e(i >= 4 ? SS : NP, T(3), pop ? 1 : 0) && t.edx == 7 &&
				       t.esp == TOP(probe_stack) - (pop ? 4 : 0));
	}
	seg_set(T(3), DATA32(DATA_RW) & ~((u64)P << 40));
	PROBE3(CODE("mov ds, eax"), .eax = T(3));
	rule("SDM 2B MOV: privilege comes before presence: #GP, not #NP", fault_e(GP, T(3), 0));
	seg_set(T(3), desc(0, 0xfffff, DATA_RW, G | D));
	PROBE(CODE("mov ds, eax"), .eax = T(3));
	rule("SDM 2B MOV: a load that faults leaves the segment register as it was",
	     fault_e(NP, T(3), 0) && t.ds == KDS);
}

static void accessed(void)
{
	seg_set(T(4), DATA32(DATA_RW));
	PROBE(CODE("mov ds, eax"), .eax = T(4));
	rule("SDM 3A 3.4.5.1 a load sets the accessed bit",
	     seg_access(t.gdt_entry[T(4) / 8]) == (P | DATA_RW | ACCESSED));
	seg_set(T(4), desc(0, 0xfffff, P | DATA_RW, G | D));
	PROBE(CODE("mov ss, eax"), .eax = T(4));
	rule("SDM 3A 3.4.5.1 a load into SS sets the accessed bit",
	     done() && seg_access(t.gdt_entry[T(4) / 8]) == (P | DATA_RW | ACCESSED));
	seg_set(T(4), desc(0, 0xfffff, P | CODE_X, G | D));
	PROBE(CODE("push eax\n push offset 1f\n retf\n1:"), .eax = T(4));
	rule("SDM 3A 3.4.5.1 a load into CS sets the accessed bit",
	     done() && t.cs == T(4) &&
		     seg_access(t.gdt_entry[T(4) / 8]) == (P | CODE_X | ACCESSED));
	seg_set(T(4), DATA32(DATA_RW) & ~((u64)P << 40));
	PROBE(CODE("mov ds, eax"), .eax = T(4));
	rule("SDM 3A 3.4.5.1 a load that faults leaves the accessed bit clear",
	     seg_access(t.gdt_entry[T(4) / 8]) == DATA_RW);
	PROBE(CODE("mov ds, eax\n mov byte ptr es:[ebx + 5], 0\n mov cl, [0]"), .eax = UDS,
	      .ebx = (u32)&gdt[UDS / 8]);
	rule("SDM 3A 3.4.3 a loaded segment keeps its cached descriptor when the table changes",
	     done());
}

/* One access through DS with base LOW_DATA: 1, 2 or 4 bytes at the offset in ebx. */
static void access(u64 descriptor, unsigned size, u32 offset)
{
	u32 codes[] = { CODE("mov al, [ebx]"), CODE("mov ax, [ebx]"), CODE("mov eax, [ebx]") };

	seg_set(T(5), descriptor);
	PROBE(codes[size >> 1], .ds = T(5), .ebx = offset);
}

static void limits(void)
{
	static const struct {
		const char *name;
		u32 limit;
		u8 flags, access, size;
		u32 offset;
		bool ok;
	} rows[] = {
		{ "SDM 3A 5.3 byte at the limit", 0x123, D, DATA_RW, 1, 0x123, true },
		{ "SDM 3A 5.3 byte past the limit: #GP(0)", 0x123, D, DATA_RW, 1, 0x124, false },
		{ "SDM 3A 5.3 word that ends at the limit", 0x123, D, DATA_RW, 2, 0x122, true },
		{ "SDM 3A 5.3 word that crosses the limit: #GP(0)", 0x123, D, DATA_RW, 2, 0x123,
		  false },
		{ "SDM 3A 5.3 dword that ends at the limit", 0x123, D, DATA_RW, 4, 0x120, true },
		{ "SDM 3A 5.3 dword one byte past: #GP(0)", 0x123, D, DATA_RW, 4, 0x121, false },
		{ "SDM 3A 5.3 dword three bytes past: #GP(0)", 0x123, D, DATA_RW, 4, 0x123, false },
		{ "SDM 3A 5.3 G set: limit 0 reaches 0xfff", 0, G | D, DATA_RW, 1, 0xfff, true },
		{ "SDM 3A 5.3 G set: limit 0 ends at 0xfff: #GP(0)", 0, G | D, DATA_RW, 1, 0x1000,
		  false },
		{ "SDM 3A 5.3 expand-down: at the limit: #GP(0)", 0xfff, D, DATA_RW_DOWN, 1, 0xfff,
		  false },
		{ "SDM 3A 5.3 expand-down: above the limit", 0xfff, D, DATA_RW_DOWN, 1, 0x1000,
		  true },
		{ "SDM 3A 5.3 expand-down: dword starting at the limit: #GP(0)", 0xfff, D,
		  DATA_RW_DOWN, 4, 0xfff, false },
		{ "SDM 3A 5.3 expand-down, G set: limit 0 excludes 0xfff: #GP(0)", 0, G | D,
		  DATA_RW_DOWN, 1, 0xfff, false },
		{ "SDM 3A 5.3 expand-down, G set: limit 0 admits 0x1000", 0, G | D, DATA_RW_DOWN, 1,
		  0x1000, true },
		{ "SDM 3A 5.3 expand-down, B clear: byte at 0xffff", 0xfff, 0, DATA_RW_DOWN, 1,
		  0xffff, true },
		{ "SDM 3A 5.3 expand-down, B clear: byte at 0x10000: #GP(0)", 0xfff, 0,
		  DATA_RW_DOWN, 1, 0x10000, false },
		{ "SDM 3A 5.3 expand-down, B clear: word at 0xffff: #GP(0)", 0xfff, 0, DATA_RW_DOWN,
		  2, 0xffff, false },
		{ "SDM 3A 5.3 expand-down, B set: byte at 0x10000", 0xfff, D, DATA_RW_DOWN, 1,
		  0x10000, true },
		{ "SDM 3A 5.3 a 16-bit data segment expanding up obeys its limit alone", 0x12fff, 0,
		  DATA_RW, 1, 0x10000, true },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		access(desc(LOW_DATA, rows[i].limit, P | rows[i].access, rows[i].flags),
		       rows[i].size, rows[i].offset);
		rule(rows[i].name, rows[i].ok ? done() : fault_e(GP, 0, 0));
	}
}

static void stack_limits(void)
{
	u64 small = desc((u32)probe_stack, 0x7ff, P | DATA_RW, D);
	u64 small16 = desc((u32)probe_stack, 0x7ff, P | DATA_RW, 0);

	seg_set(T(6), small);
	PROBE(CODE("mov al, [ebp]"), .ss = T(6), .esp = 0x780, .ebp = 0x800);
	rule("SDM 3A 6.15 EBP addresses SS: past the limit: #SS(0)", fault_e(SS, 0, 0));
	seg_set(T(6), small);
	PROBE(CODE("mov al, ss:[ebx]"), .ss = T(6), .esp = 0x780, .ebx = 0x800);
	rule("SDM 3A 6.15 an SS override past the limit: #SS(0)", fault_e(SS, 0, 0));
	seg_set(T(6), small);
	PROBE(CODE("mov al, ds:[ebp]"), .ds = T(6), .ebp = 0x800);
	rule("SDM 3A 6.15 EBP with a DS override past the limit: #GP(0)", fault_e(GP, 0, 0));
	seg_set(T(6), small | (u64)DPL(3) << 40);
	PROBE3(CODE("push eax"), .ss = T(6) + 3, .esp = 0x804);
	rule("SDM 3A 6.15 a push past the limit: #SS(0), ESP unchanged",
	     fault_e(SS, 0, 0) && t.esp == 0x804);
	seg_set(T(6), small | (u64)DPL(3) << 40);
	PROBE3(CODE("push eax"), .ss = T(6) + 3, .esp = 2);
	rule("SDM 3A 6.15 a push that wraps below offset 0 of a 32-bit stack: #SS(0)",
	     fault_e(SS, 0, 0) && t.esp == 2);
	seg_set(T(6), small | (u64)DPL(3) << 40);
	PROBE3(CODE("pop eax"), .ss = T(6) + 3, .esp = 0x7fe, .eax = 5);
	rule("SDM 3A 6.15 a pop across the limit: #SS(0), register and ESP unchanged",
	     fault_e(SS, 0, 0) && t.esp == 0x7fe && t.eax == 5);
	seg_set(T(6), small16 | (u64)DPL(3) << 40);
	PROBE3(CODE("mov esp, ecx\n push eax"), .ss = T(6) + 3, .ecx = 0x12340400, .eax = 0xcafe);
	rule("SDM 1 6.2.3 with SS.B clear a push uses SP and keeps the upper half of ESP",
	     done() && t.esp == 0x123403fc && *(u32 *)(probe_stack + 0x3fc) == 0xcafe);
	seg_set(T(6), desc((u32)probe_stack - 0xf000, 0xffff, P | DATA_RW | DPL(3), 0));
	PROBE3(CODE("mov esp, ecx\n push eax"), .ss = T(6) + 3, .ecx = 0x55550000, .eax = 0xbeef);
	rule("SDM 1 6.2.3 with SS.B clear a push at SP 0 wraps to 0xfffc",
	     done() && t.esp == 0x5555fffc && *(u32 *)(probe_stack + 0xffc) == 0xbeef);
	seg_set(T(6), desc((u32)probe_stack, 0x7ff, P | DATA_RW_DOWN | DPL(3), D));
	PROBE3(CODE("push eax"), .ss = T(6) + 3, .esp = 0x804);
	rule("SDM 3A 5.3 a push onto an expand-down stack just above its limit", done());
	seg_set(T(6), desc((u32)probe_stack, 0x7ff, P | DATA_RW_DOWN | DPL(3), D));
	PROBE3(CODE("push eax"), .ss = T(6) + 3, .esp = 0x803);
	rule("SDM 3A 5.3 a push that reaches the limit of an expand-down stack: #SS(0)",
	     fault_e(SS, 0, 0));
}

static void rights(void)
{
	seg_set(T(7), DATA32(DATA_R));
	PROBE(CODE("mov [ebx], al"), .ds = T(7), .ebx = 0);
	rule("SDM 3A 5.4 a write to a read-only data segment: #GP(0)", fault_e(GP, 0, 0));
	seg_set(T(7), DATA32(DATA_R));
	PROBE(CODE("lock inc dword ptr [ebx]"), .ds = T(7), .ebx = 0);
	rule("SDM 3A 5.4 a read-modify-write of a read-only data segment: #GP(0)",
	     fault_e(GP, 0, 0));
	seg_set(T(7), DATA32(CODE_XR));
	PROBE(CODE("mov [ebx], al"), .ds = T(7), .ebx = 0);
	rule("SDM 3A 5.4 a write to a readable code segment: #GP(0)", fault_e(GP, 0, 0));
	PROBE(CODE("mov cs:[ebx], al"), .ebx = LOW_DATA);
	rule("SDM 3A 5.4 a write through CS: #GP(0)", fault_e(GP, 0, 0));
	seg_set(T(7), desc(0, 0xfffff, P | CODE_X, G | D));
	PROBE(CODE("mov al, cs:[ebx]"), .cs = T(7), .ebx = LOW_DATA);
	rule("SDM 3A 5.4 a read through CS of an execute-only segment: #GP(0)", fault_e(GP, 0, 0));
	*mem32(0x1234) = 0x5ca1ab1e;
	seg_set(T(7), desc(0xfffff000, 0xfffff, P | DATA_RW, G | D));
	PROBE(CODE("mov eax, [ebx]"), .ds = T(7), .ebx = 0x2234);
	rule("SDM 3A 3.3 base plus offset wraps at 4 GiB", done() && t.eax == 0x5ca1ab1e);
}

static void code_limits(void)
{
	u32 code = CODE("nop\n nop\n mov eax, 0x11223344"), jump = CODE("nop\n jmp eax"),
	    call = CODE("nop\n call eax");

	seg_set(T(8), desc(code, 1, P | CODE_XR, D));
	PROBE(code, .cs = T(8), .eip = 0);
	rule("SDM 3A 5.3 execution past the code limit: #GP(0) with the EIP past the limit",
	     t.vector == GP && t.error == 0 && t.eip == 2 && t.cs == T(8));
	seg_set(T(8), desc(code, 5, P | CODE_XR, D));
	PROBE(code, .cs = T(8), .eip = 0);
	rule("SDM 3A 5.3 an instruction that crosses the code limit: #GP(0) at its first byte",
	     t.vector == GP && t.error == 0 && t.eip == 2 && t.eax == 0);
	seg_set(T(8), desc(code, 6, P | CODE_XR, D));
	PROBE(code, .cs = T(8), .eip = 0);
	rule("SDM 3A 5.3 an instruction that ends at the code limit executes",
	     t.vector == GP && t.error == 0 && t.eip == 7 && t.eax == 0x11223344);
	seg_set(T(8), desc(jump, 0x100, P | CODE_XR, D));
	PROBE(jump, .cs = T(8), .eip = 0, .eax = 0x101);
	rule("SDM 2A JMP: near target past the code limit: #GP(0), EIP at the jump",
	     t.vector == GP && t.error == 0 && t.eip == 1);
	seg_set(T(8), desc(call, 0x100, P | CODE_XR, D));
	PROBE(call, .cs = T(8), .eip = 0, .eax = 0x101);
	rule("SDM 2A CALL: near target past the code limit: #GP(0), EIP at the call, ESP unchanged",
	     t.vector == GP && t.error == 0 && t.eip == 1 && t.esp == TOP(probe_stack));
}

void test_main(void)
{
	load_table_limits();
	load_null();
	load_types();
	load_privilege();
	load_present();
	accessed();
	limits();
	stack_limits();
	rights();
	code_limits();
}
