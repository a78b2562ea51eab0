/*
 * Hardware task switches: SDM 3A chapter 7.
 *
 * T(0) is the second task's TSS. The tests of faults inside a switch catch the fault in a third
 * task, T(1), as 6.15 (interrupt 10) asks for: such a fault may have no usable stack.
 */
#include "pm.h"

static struct tss second, catcher;
static struct tss16 second16;
static u32 second_entry;

static struct {
	u32 offset;
	u16 selector;
} __attribute__((packed)) pointer;

#define JUMP "jmp fword ptr [ebx]"
#define CALL "call fword ptr [ebx]"

static u32 far(u32 selector)
{
	pointer.offset = 0xdeadbeef;
	pointer.selector = (u16)selector;
	return (u32)&pointer;
}

/* Fill a TSS for CPL 0 code at eip, with telling values in the registers. */
static void task_init(struct tss *task, u32 eip)
{
	memset(task, 0, TSS_LIMIT + 1);
	task->esp0 = TOP(trap_stack);
	task->ss0 = KDS;
	task->eip = eip;
	task->eflags = 2 | FL_CF;
	task->eax = 0xa1;
	task->ecx = 0xa2;
	task->edx = 0xa3;
	task->ebx = 0xa4;
	task->esp = TOP(stack1);
	task->ebp = 0xa5;
	task->esi = 0xa6;
	task->edi = 0xa7;
	task->es = task->ds = task->fs = task->gs = task->ss = KDS;
	task->cs = KCS;
	task->ldt = SEL_LDT;
	task->iobase = TSS_LIMIT + 1;
}

/* Make T(0) a second task that runs the code; yields the EBX for a jump to it. */
static u32 task(u32 eip)
{
	second_entry = eip;
	task_init(&second, eip);
	seg_set(T(0), desc((u32)&second, TSS_LIMIT, P | TSS32, 0));
	return far(T(0));
}

static bool busy(u32 sel) { return (seg_access(t.gdt_entry[sel / 8]) & 15) == TSS32_BUSY; }

static void jumps(void)
{
	u32 code = CODE(JUMP), end = CODE("");
	u32 saved = FL_CF | FL_AC | 2;

	PROBE(code, .ebx = task(end), .eax = 1, .ecx = 2, .edx = 3, .ebp = 5, .esi = 6, .edi = 7,
	      .eflags = saved);
	rule("SDM 3A 7.3 JMP to a TSS loads every register from it",
	     done() && t.eip == end + 1 && t.eax == 0xa1 && t.ecx == 0xa2 && t.edx == 0xa3 &&
		     t.ebx == 0xa4 && t.ebp == 0xa5 && t.esi == 0xa6 && t.edi == 0xa7 &&
		     t.esp == TOP(stack1) && t.eflags == (2 | FL_CF));
	PROBE(code, .ebx = task(end), .eax = 1, .ecx = 2, .edx = 3, .ebp = 5, .esi = 6, .edi = 7,
	      .eflags = saved);
	rule("SDM 3A 7.3 JMP to a TSS saves every register in the old TSS, EIP behind the jump",
	     done() && tss.eip == code + 2 && tss.eax == 1 && tss.ecx == 2 && tss.edx == 3 &&
		     tss.ebx == (u32)&pointer && tss.ebp == 5 && tss.esi == 6 && tss.edi == 7 &&
		     tss.esp == TOP(probe_stack) && tss.eflags == saved && tss.cs == KCS &&
		     tss.ss == KDS && tss.ds == KDS && tss.es == KDS && tss.fs == KDS &&
		     tss.gs == KDS);
}

static void busy_bits(void)
{
	u32 end = CODE("");

	PROBE(CODE(JUMP), .ebx = task(end));
	rule("SDM 3A 7.4 JMP: the new TSS is busy, the old is not, NT and the link are untouched",
	     done() && t.tr == T(0) && busy(T(0)) && !busy(SEL_TSS) && !(t.eflags & FL_NT) &&
		     second.link == 0);
	PROBE(CODE(JUMP), .ebx = task(end));
	rule("SDM 3A 2.5 a task switch sets CR0.TS", done() && (t.cr0 & CR0_TS));
	PROBE(CODE(CALL), .ebx = task(end));
	rule("SDM 3A 7.4 CALL: both TSSs are busy, NT is set, the link names the old task",
	     done() && busy(T(0)) && busy(SEL_TSS) && (t.eflags & FL_NT) &&
		     second.link == SEL_TSS && !(tss.eflags & FL_NT));
	PROBE(CODE("mov ecx, 5\n" CALL "\n nop"), .ebx = task(CODE("iretd")));
	rule("SDM 3A 7.4 IRET with NT returns to the linked task behind its CALL",
	     done() && t.tr == SEL_TSS && t.ecx == 5 && t.esp == TOP(probe_stack));
	PROBE(CODE(CALL), .ebx = task(CODE("iretd")));
	rule("SDM 3A 7.4 IRET with NT: the task left is not busy and its saved NT is clear",
	     done() && !busy(T(0)) && busy(SEL_TSS) && !(second.eflags & FL_NT) &&
		     !(t.eflags & FL_NT));
	PROBE(CODE(CALL "\n" CALL), .ebx = task(CODE("1: inc eax\n iretd\n jmp 1b")));
	rule("SDM 3A 7.3 a task called again goes on behind its IRET",
	     done() && t.tr == SEL_TSS && second.eax == 0xa3);
	PROBE(CODE(CALL), .ebx = task(CODE("mov ebx, 0x48\n push ebx\n push ebx\n"
					   "jmp fword ptr [esp]")));
	rule("SDM 3A 7.4 JMP to a busy TSS: #GP(TSS)",
	     t.vector == GP && t.error == SEL_TSS && t.tr == T(0));
	task(end);
	PROBE(CODE(CALL), .ebx = far(SEL_TSS));
	rule("SDM 3A 7.4 CALL to the current, busy TSS: #GP(TSS)", fault_e(GP, SEL_TSS, 0));
	task(end);
	tss.link = T(0);
	PROBE(CODE("push 0x4002\n popfd\n iretd"));
	rule("SDM 2A IRET: NT with a linked TSS that is not busy: #TS(TSS)",
	     t.vector == TS && t.error == T(0) && t.tr == SEL_TSS);
	task(end);
	seg_set(T(0), desc((u32)&second, TSS_LIMIT, P | TSS32_BUSY, 0) & ~((u64)P << 40));
	tss.link = T(0);
	PROBE(CODE("push 0x4002\n popfd\n iretd"));
	rule("SDM 2A IRET: NT with a linked TSS not present: #NP(TSS)",
	     t.vector == NP && t.error == T(0) && t.tr == SEL_TSS);
	seg_set(L(1), desc((u32)&second, TSS_LIMIT, P | TSS32_BUSY, 0));
	tss.link = L(1);
	PROBE(CODE("push 0x4002\n popfd\n iretd"));
	rule("SDM 2A IRET: NT with a link into the LDT: #TS(TSS)",
	     t.vector == TS && t.error == L(1));
}

static void descriptors(void)
{
	u32 code = CODE(JUMP), end = CODE("");

	task(end);
	PROBE3(code, .ebx = far(T(0)));
	rule("SDM 3A 7.2.2 JMP to a TSS of DPL < CPL: #GP(TSS)", fault_e(GP, T(0), 0));
	task(end);
	PROBE(code, .ebx = far(T(0) + 3));
	rule("SDM 3A 7.2.2 JMP to a TSS of DPL < RPL: #GP(TSS)", fault_e(GP, T(0), 0));
	task(end);
	seg_set(T(0), seg_get(T(0)) | (u64)DPL(3) << 40);
	PROBE3(code, .ebx = far(T(0)));
	rule("SDM 3A 7.2.2 JMP to a TSS of DPL 3 at CPL 3 switches",
	     done() && t.cs == KCS && tss.cs == UCS);
	task(end);
	seg_set(T(0), seg_get(T(0)) & ~((u64)P << 40));
	PROBE(code, .ebx = far(T(0)));
	rule("SDM 3A 7.3 JMP to a TSS not present: #NP(TSS)", fault_e(NP, T(0), 0));
	task(end);
	seg_set(T(0), desc((u32)&second, TSS_LIMIT - 1, P | TSS32, 0));
	PROBE(code, .ebx = far(T(0)));
	rule("SDM 3A 7.3 JMP to a TSS of limit below 0x67: #TS(TSS)", fault_e(TS, T(0), 0));
	task(end);
	seg_set(L(1), seg_get(T(0)));
	PROBE(code, .ebx = far(L(1)));
	rule("SDM 3A 7.2.2 JMP to a TSS in the LDT: #GP(selector)", fault_e(GP, L(1), 0));
	task(end);
	seg_set(L(2), gate(T(0), 0, P | DPL(3) | TASK, 0));
	PROBE3(code, .ebx = far(L(2) + 3));
	rule("SDM 3A 7.2.5 through a task gate only the gate's DPL counts, and it may be in the LDT",
	     done() && t.tr == T(0) && tss.cs == UCS);
	task(end);
	seg_set(T(2), gate(T(0), 0, P | DPL(2) | TASK, 0));
	PROBE3(code, .ebx = far(T(2)));
	rule("SDM 3A 7.2.5 a task gate of DPL < CPL: #GP(gate)", fault_e(GP, T(2), 0));
	task(end);
	seg_set(T(2), gate(T(0), 0, TASK, 0));
	PROBE(code, .ebx = far(T(2)));
	rule("SDM 2A JMP: task gate not present: #NP(gate)", fault_e(NP, T(2), 0));
	task(end);
	seg_set(L(1), seg_get(T(0)));
	seg_set(T(2), gate(L(1), 0, P | TASK, 0));
	PROBE(code, .ebx = far(T(2)));
	rule("SDM 2A JMP: a task gate that names the LDT: #GP(TSS)", fault_e(GP, L(1), 0));
	task(end);
	seg_set(T(2), gate(KDS, 0, P | TASK, 0));
	PROBE(code, .ebx = far(T(2)));
	rule("SDM 2A JMP: a task gate that names no TSS: #GP(selector)", fault_e(GP, KDS, 0));
}

static void interrupts(void)
{
	u32 code = CODE("nop\n int 0x40"), end = CODE("");

	task(end);
	idt_set(0x40, gate(T(0), 0, P | DPL(3) | TASK, 0));
	PROBE3(code, .eax = 9);
	rule("SDM 3A 6.12.2 INT n through a task gate: NT, link, both busy, EIP behind the INT",
	     done() && (t.eflags & FL_NT) && second.link == SEL_TSS && busy(T(0)) &&
		     busy(SEL_TSS) && tss.eip == code + 3 && tss.eax == 9 && tss.cs == UCS &&
		     t.esp == TOP(stack1));
	task(end);
	idt_set(0x40, gate(T(0), 0, P | DPL(2) | TASK, 0));
	PROBE3(code);
	rule("SDM 3A 6.12.1.1 INT n through a task gate of DPL < CPL: #GP(vector * 8 + IDT)",
	     fault_e(GP, IDT_VEC(0x40), 1));
	task(CODE("pop eax"));
	idt_set(GP, gate(T(0), 0, P | TASK, 0));
	PROBE3(CODE("nop\n mov fs, eax"), .eax = KDS);
	rule("SDM 3A 6.13 a fault through a task gate pushes its error code on the new task's stack",
	     done() && t.eax == KDS && t.tr == T(0) && t.esp == TOP(stack1));
	task(CODE("pop eax\n add dword ptr [ebx], 2\n iretd"));
	second.ebx = (u32)&tss.eip;
	idt_set(GP, gate(T(0), 0, P | TASK, 0));
	PROBE3(CODE("mov fs, eax\n mov esi, 7"), .eax = KDS);
	rule("SDM 3A 7.4 the handler task may alter the saved EIP and IRET to it",
	     done() && t.esi == 7 && t.cs == UCS && t.tr == SEL_TSS);
	task(end);
	seg_set(T(0), desc((u32)&second, TSS_LIMIT, P | TSS32_BUSY, 0));
	idt_set(0x40, gate(T(0), 0, P | TASK, 0));
	PROBE(code);
	rule("SDM 2A INT: the task gate names a busy TSS: #GP(TSS)", fault_e(GP, T(0), 1));
	task(end);
	seg_set(T(0), desc((u32)&second, TSS_LIMIT, P | TSS32_BUSY, 0));
	idt_set(UD, gate(T(0), 0, P | TASK, 0));
	PROBE(CODE("ud2"));
	rule("SDM 2A INT: an exception's task gate names a busy TSS: #GP(TSS + EXT)",
	     fault_e(GP, T(0) + EXT, 0));
	task(end);
	seg_set(T(0), desc((u32)&second, TSS_LIMIT, TSS32, 0));
	idt_set(UD, gate(T(0), 0, P | TASK, 0));
	PROBE(CODE("ud2"));
	rule("SDM 2A INT: an exception's task gate names a TSS not present: #NP(TSS + EXT)",
	     fault_e(NP, T(0) + EXT, 0));
	task(CODE("pop eax"));
	idt_set(DF, gate(T(0), 0, P | TASK, 0));
	seg_set(T(3), desc((u32)probe_stack, 0xfff, P | DATA_RW, D));
	PROBE(CODE("mov esp, 4\n ud2"), .ss = T(3), .esp = 0x800);
	rule("SDM 3A 6.15 (interrupt 8) #DF through a task gate survives a bad stack: error code 0",
	     done() && t.tr == T(0) && t.eax == 0 && tss.esp == 4);
}

/* Switch to the second task as it stands, and catch vector v in the catcher. */
static void catch (enum vector v)
{
	task_init(&catcher, CODE("pop eax"));
	catcher.eflags = 2;
	seg_set(T(1), desc((u32)&catcher, TSS_LIMIT, P | TSS32, 0));
	idt_set(v, gate(T(1), 0, P | TASK, 0));
	PROBE(CODE(JUMP), .ebx = (u32)&pointer);
}

/* The fault happened in the second task, before its first instruction, with this error code. */
static bool caught(u32 error)
{
	return done() && t.tr == T(1) && t.eax == error && catcher.link == T(0) &&
	       second.eip == second_entry && second.eax == 0xa1 && busy(T(0)) && busy(T(1));
}

static void faults(void)
{
	u32 end = CODE("");

	task(end);
	second.cs = KDS;
	catch (TS);
	rule("SDM 3A 7.3 CS of the new task is a data segment: #TS(CS)", caught(KDS));
	task(end);
	second.cs = 0;
	catch (TS);
	rule("SDM 3A 7.3 CS of the new task is null: #TS(0)", caught(0));
	task(end);
	second.cs = KCS + 3;
	second.ss = second.ds = second.es = second.fs = second.gs = UDS;
	catch (TS);
	rule("SDM 3A 7.3 CS of the new task has DPL unlike its RPL: #TS(CS)", caught(KCS));
	task(end);
	seg_set(T(4), desc(0, 0xfffff, CODE_XR, G | D));
	second.cs = T(4);
	catch (NP);
	rule("SDM 3A 7.3 CS of the new task is not present: #NP(CS)", caught(T(4)));
	task(end);
	second.ss = 0;
	catch (TS);
	rule("SDM 3A 7.3 SS of the new task is null: #TS(0)", caught(0));
	task(end);
	second.ss = UDS;
	catch (TS);
	rule("SDM 3A 7.3 SS of the new task has DPL unlike CPL: #TS(SS)", caught(UDS & ~3u));
	task(end);
	seg_set(T(4), desc(0, 0xfffff, DATA_RW, G | D));
	second.ss = T(4);
	catch (SS);
	rule("SDM 3A 7.3 SS of the new task is not present: #SS(SS)", caught(T(4)));
	task(end);
	second.ds = SEL_NONE;
	catch (TS);
	rule("SDM 3A 7.3 DS of the new task has a bad type: #TS(DS)", caught(SEL_NONE));
	task(end);
	second.es = GDT_ENTRIES * 8;
	catch (TS);
	rule("SDM 3A 7.3 ES of the new task lies beyond the GDT: #TS(ES)", caught(GDT_ENTRIES * 8));
	task(end);
	seg_set(T(4), desc(0, 0xfffff, DATA_RW, G | D));
	second.fs = T(4);
	catch (NP);
	rule("SDM 3A 7.3 FS of the new task is not present: #NP(FS)", caught(T(4)));
	task(end);
	second.ldt = T(5);
	catch (TS);
	rule("SDM 3A 7.3 LDT of the new task is no LDT: #TS(LDT)", caught(T(5)));
	task(end);
	seg_set(T(5), desc((u32)ldt, 0x3f, LDT, 0));
	second.ldt = T(5);
	catch (TS);
	rule("SDM 3A 6.15 (interrupt 10) LDT of the new task is not present: #TS(LDT)",
	     caught(T(5)));
	task(end);
	second.ldt = L(1);
	catch (TS);
	rule("SDM 3A 7.3 LDT selector of the new task has TI set: #TS(LDT)", caught(L(1)));
	task(end);
	seg_set(T(4), desc(0, 0xfff, P | CODE_XR, D));
	second.cs = T(4);
	catch (GP);
	rule("SDM 3A 7.3 EIP of the new task lies beyond the code limit: #GP(0)", caught(0));
}

static void ldt_and_debug(void)
{
	static u64 other_ldt[2];
	u32 end = CODE("");

	other_ldt[1] = desc(LOW_DATA, 0xfff, P | DATA_RW, D);
	*mem32(LOW_DATA) = 0x600df00d;
	task(CODE("mov eax, ds:[ebp]"));
	seg_set(T(5), desc((u32)other_ldt, sizeof(other_ldt) - 1, P | LDT, 0));
	second.ldt = T(5);
	second.ds = 0xc;
	second.ebp = 0;
	PROBE(CODE(JUMP), .ebx = far(T(0)));
	rule("SDM 3A 7.3 the new task's LDT is in force for its segments",
	     done() && t.eax == 0x600df00d && t.ds == 0xc);
	task(end);
	second.trap = 1;
	PROBE(CODE(JUMP), .ebx = far(T(0)));
	rule("SDM 3A 17.3.1.5 a TSS with T set: #DB before its first instruction, DR6.BT",
	     t.vector == DB && t.eip == end && t.tr == T(0) && (t.dr6 & 0xe00f) == 0x8000);
	dr0_set(0xfff0);
	dr1_set(0xfff0);
	dr7_set(0x400 | 1 | 8 | 0x100 | 0x200);
	PROBE(CODE(JUMP), .ebx = task(end));
	rule("SDM 3A 17.2.4 a task switch clears L0 to L3 and keeps G0 to G3",
	     done() && (t.dr7 & 0xff) == 8);
	task(end);
	second.eflags = 2 | FL_VM | FL_IOPL(3);
	second.cs = LOW_SEG;
	second.eip = CODE_16("mov ax, cs") - LOW;
	second.ss = LOW_STACK >> 4;
	second.esp = 0x1000;
	second.ds = second.es = second.fs = second.gs = 0x1234;
	PROBE(CODE(JUMP), .ebx = far(T(0)));
	rule("SDM 3B 20.2.5 a TSS with VM set starts a virtual-8086 task",
	     done() && (t.eflags & FL_VM) && t.cs == LOW_SEG && t.ds == 0x1234 &&
		     (u16)t.eax == LOW_SEG && t.h_ds == 0);
}

static void cr3(void)
{
	u32 *one = (u32 *)PAGES, *two = (u32 *)(PAGES + 0x1000);

	for (unsigned i = 0; i < 1024; i++)
		one[i] = two[i] = i << 22 | 0x83;
	two[16] = 0xc00083; /* linear 64 MiB: physical 12 MiB in the second task */
	*mem32(0xc00000) = 0x22222222;
	one[16] = 0xc00083 + 0x400000;
	*mem32(0x1000000) = 0x11111111;
	task(CODE("mov ecx, [0x4000000]\n mov edx, cr3"));
	second.cr3 = (u32)two;
	cr4_set(CR4_PSE);
	cr3_set((u32)one);
	cr0_set(cr0_get() | CR0_PG);
	PROBE(CODE("mov eax, [0x4000000]\n" JUMP), .ebx = far(T(0)));
	rule("SDM 3A 7.3 with paging on, a task switch loads CR3 from the TSS",
	     done() && tss.eax == 0x11111111 && t.ecx == 0x22222222 && t.edx == (u32)two);
	for (unsigned i = 0; i < 1024; i++)
		one[i] = two[i] = i << 22 | 0x83;
	one[16] = 0xc00083;
	two[16] = 0xc00083 + 0x400000;
	task(CODE("iretd"));
	second.cr3 = (u32)two;
	tss.cr3 = (u32)one;
	cr4_set(CR4_PSE);
	cr3_set((u32)one);
	cr0_set(cr0_get() | CR0_PG);
	PROBE(CODE(CALL "\n mov ecx, [0x4000000]\n mov edx, cr3"), .ebx = far(T(0)));
	rule("SDM 3A 7.3 the switch does not save CR3, and the return loads the old TSS's field",
	     done() && t.ecx == 0x22222222 && t.edx == (u32)one && tss.cr3 == (u32)one);
}

static void tss_286(void)
{
	memset(&second16, 0, sizeof(second16));
	second16.ip = (u16)(CODE("") - LOW);
	second16.flags = 2 | FL_CF;
	second16.ax = 0xb1;
	second16.cx = 0xb2;
	second16.dx = 0xb3;
	second16.bx = 0xb4;
	second16.bp = 0xb5;
	second16.si = 0xb6;
	second16.di = 0xb7;
	second16.sp = 0x4000;
	second16.es = second16.ds = KDS;
	second16.ss = T(7);
	second16.cs = T(6);
	second16.ldt = SEL_LDT;
	seg_set(T(6), desc(LOW, 0xffff, P | CODE_XR, 0));
	seg_set(T(7), desc(LOW_STACK, 0xffff, P | DATA_RW, 0));
	seg_set(T(0), desc((u32)&second16, sizeof(second16) - 1, P | TSS16, 0));
	PROBE(CODE(CALL), .ebx = far(T(0)));
	rule("SDM 3A 7.6 CALL to a 16-bit TSS saves 32 bits, loads words, sets link and busy bit",
	     t.vector == BP && t.cs == T(6) && (u16)t.eax == 0xb1 && (u16)t.ecx == 0xb2 &&
		     (u16)t.edx == 0xb3 && (u16)t.ebx == 0xb4 && (u16)t.ebp == 0xb5 &&
		     (u16)t.esi == 0xb6 && (u16)t.edi == 0xb7 && t.ss == T(7) &&
		     (u16)t.esp == 0x4000 && second16.link == SEL_TSS && (t.eflags & FL_NT) &&
		     tss.esp == TOP(probe_stack) && (t.eflags & FL_CF) &&
		     (seg_access(t.gdt_entry[T(0) / 8]) & 15) == TSS16_BUSY);
	memset(&second16, 0, sizeof(second16));
	second16.ldt = SEL_LDT;
	seg_set(T(0), desc((u32)&second16, sizeof(second16) - 2, P | TSS16, 0));
	PROBE(CODE(JUMP), .ebx = far(T(0)));
	rule("SDM 3A 7.3 JMP to a 16-bit TSS of limit below 0x2b: #TS(TSS)", fault_e(TS, T(0), 0));
}

static void ltr(void)
{
	u32 code = CODE("ltr ax");

	task(0);
	PROBE(CODE("ltr ax\n str ecx"), .eax = T(0));
	rule("SDM 2A LTR marks the TSS busy and TR reads back",
	     done() && busy(T(0)) && t.ecx == T(0) && t.tr == T(0));
	PROBE(code, .eax = SEL_TSS);
	rule("SDM 2A LTR of a busy TSS: #GP(selector)", fault_e(GP, SEL_TSS, 0));
	PROBE(code, .eax = 0);
	rule("SDM 2A LTR of null: #GP(0)", fault_e(GP, 0, 0));
	PROBE(code, .eax = SEL_LDT);
	rule("SDM 2A LTR of an LDT: #GP(selector)", fault_e(GP, SEL_LDT, 0));
	seg_set(L(1), desc((u32)&second, TSS_LIMIT, P | TSS32, 0));
	PROBE(code, .eax = L(1));
	rule("SDM 2A LTR of a selector into the LDT: #GP(selector)", fault_e(GP, L(1), 0));
	seg_set(T(0), desc((u32)&second, TSS_LIMIT, TSS32, 0));
	PROBE(code, .eax = T(0));
	rule("SDM 2A LTR of a TSS not present: #NP(selector)", fault_e(NP, T(0), 0));
}

void test_main(void)
{
	jumps();
	busy_bits();
	descriptors();
	interrupts();
	faults();
	ldt_and_debug();
	cr3();
	tss_286();
	ltr();
}
