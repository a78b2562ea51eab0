/*
 * Debug registers, single-step, breakpoints, interrupt shadows and NMI blocking:
 * SDM 3B 17.2, 17.3, SDM 3A 6.7.1, 6.8.
 */
#include "lib/lm.h"

/* DR6 bits, SDM 3B 17.2.3; FIXED: bits that read as 1, but for bus-lock and RTM (bits 11, 16). */
#define DR6_B0    0x1ull
#define DR6_B1    0x2ull
#define DR6_BD    0x2000ull
#define DR6_BS    0x4000ull
#define DR6_CAUSE 0xe00full

/* DR7 for breakpoint 0: enable, R/W (0 execute, 1 write, 2 I/O, 3 data), LEN (0 to 3: 1 2 8 4). */
#define DR7_BP(rw, len) (0x400ull | 2 | (u64)(rw) << 16 | (u64)(len) << 18)

static u64 data[4] USER;

static void registers(void)
{
	struct try t = try_new(K64);
	u64 cr4 = read_cr4();

	t.rax = 0x123456789abcdef0;
	try_run(&t, CODE("mov dr0, rax; mov rcx, dr0; mov dr3, rax; mov rdx, dr3"));
	check(&t, t.out.vector == DONE && t.out.rcx == t.rax && t.out.rdx == t.rax,
	      "SDM 3B 17.2.6 DR0 to DR3 hold 64 bits, canonical or not");
	t = try_new(K64);
	t.rax = 1ull << 32;
	faults(&t, CODE("mov dr6, rax"), GP, 0, "SDM 3B 17.2.6 DR6 with bit 32 faults #GP(0)");
	t = try_new(K64);
	t.rax = 1ull << 63;
	faults(&t, CODE("mov dr7, rax"), GP, 0, "SDM 3B 17.2.6 DR7 with bit 63 faults #GP(0)");
	t = try_new(K64);
	try_run(&t, CODE("mov dr6, rax; mov rcx, dr6; mov dr7, rax; mov rdx, dr7"));
	check(&t, (t.out.rcx & ~0x10800ull) == 0xfffe07f0 && t.out.rcx >> 32 == 0,
	      "SDM 3B 17.2.3 DR6 written with 0 reads FFFF0FF0h (but for bits 11 and 16)");
	check(&t, t.out.rdx == 0x400, "SDM 3B 17.2.4 DR7 written with 0 reads 400h");
	t = try_new(K64);
	t.rax = 0x0000d800;
	try_run(&t, CODE("mov dr7, rax; mov rcx, dr7; mov dr7, rdx"));
	check(&t, (t.out.rcx & 0xd400) == 0x400,
	      "SDM 3B 17.2.4 DR7 bits 15:14, 12 and 10 are fixed");
	t = try_new(K64);
	runs(&t, CODE("mov rax, dr4; mov rax, dr5; mov dr5, rax"),
	     "SDM 3B 17.2.2 DR4 and DR5 are aliases with CR4.DE=0");
	t = try_new(K64);
	t.rax = 0xffff0ff1;
	try_run(&t, CODE("mov dr4, rax; mov rcx, dr6"));
	check(&t, (t.out.rcx & 1) == 1, "SDM 3B 17.2.2 DR4 is DR6 with CR4.DE=0");
	write_cr4(cr4 | CR4_DE);
	t = try_new(K64);
	faults(&t, CODE("mov rax, dr4"), UD, 0,
	       "SDM 3B 17.2.2 MOV from DR4 with CR4.DE=1 faults #UD");
	t = try_new(K64);
	faults(&t, CODE("mov dr5, rax"), UD, 0,
	       "SDM 3B 17.2.2 MOV to DR5 with CR4.DE=1 faults #UD");
	write_cr4(cr4);
	t = try_new(K64);
	faults(&t, CODE(".byte 0x44, 0x0f, 0x21, 0xc0"), UD, 0, "SDM 2B MOV from DR8 faults #UD");
	t = try_new(K64);
	t.rax = 0x400 | 1u << 13;
	try_run(&t, CODE("mov dr7, rax; nop; mov rcx, dr0"));
	check(&t, t.out.vector == DB && t.out.rip == t.rip + 4 && (t.dr6 & DR6_CAUSE) == DR6_BD,
	      "SDM 3B 17.2.4 DR7.GD: a MOV of a debug register faults #DB, RIP on it, DR6.BD");
	tap_check(!(read_dr7() & 1u << 13), "SDM 3B 17.2.4 #DB clears DR7.GD");
}

static void single_step(void)
{
	struct try t = try_new(U64);

	t.rflags |= FLAG_TF;
	faults_at(&t, CODE("nop; nop"), 1, DB, 0,
		  "SDM 3B 17.3.1.4 TF traps after the first instruction");
	check(&t, (t.dr6 & DR6_CAUSE) == DR6_BS, "SDM 3B 17.2.3 ... with DR6.BS");
	check(&t, (t.out.rflags & FLAG_TF) && !(t.out.rflags & FLAG_RF),
	      "SDM 3B 17.3.1.4 ... TF=1 and RF=0 in the pushed RFLAGS");
	t = try_new(U64);
	try_run(&t, CODE("pushfq; or dword ptr [rsp], 0x100; popfq; nop; nop"));
	check(&t, t.out.vector == DB && t.out.rip == t.rip + 1 + 7 + 1 + 1,
	      "SDM 3B 17.3.1.4 POPF that sets TF: the trap comes after the next instruction");
	t = try_new(U64);
	t.rflags |= FLAG_TF;
	t.rcx = 3;
	t.rdi = (u64)data;
	try_run(&t, CODE("rep stosb"));
	check(&t, t.out.vector == DB && t.out.rip == t.rip && t.out.rcx == 2,
	      "SDM 3B 17.3.1.4 TF traps after each iteration of a REP");
	t = try_new(K64);
	t.rflags |= FLAG_TF;
	t.rax = SEL_DATA;
	faults_at(&t, CODE("mov ss, eax; nop; nop"), 3, DB, 0,
		  "SDM 3A 6.8.3 MOV SS holds the single-step trap back for one instruction");
	t = try_new(U64);
	t.rflags |= FLAG_TF;
	faults(&t, CODE("ud2"), UD, 0,
	       "SDM 3A 6.9 a faulting instruction gives its fault, no trap");
	check(&t, !(t.dr6 & DR6_BS), "SDM 3B 17.3.1.4 ... and no DR6.BS");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)SEL_UCODE32 << 48);
	wrmsr(MSR_LSTAR, (u64)CODE("nop; nop"));
	wrmsr(MSR_FMASK, FLAG_TF);
	t = try_new(U64);
	t.rflags |= FLAG_TF;
	try_run(&t, CODE("syscall"));
	check(&t, t.out.vector == DONE && (t.out.r11 & FLAG_TF),
	      "SDM 2B SYSCALL with TF in IA32_FMASK is not single-stepped");
	gate_set(0x60, (void *)CODE("nop; nop"), SEL_CODE64, 14, 3, 0);
	t = try_new(U64);
	t.rflags |= FLAG_TF;
	try_run(&t, CODE("int 0x60"));
	check(&t, t.out.vector == DONE && (((u64 *)t.out.rsp)[2] & FLAG_TF),
	      "SDM 3A 6.12.1.2 INT n clears TF for its handler");
	t = try_new(K64);
	t.rcx = (u64)CODE("nop; nop");
	t.r11 = 2 | FLAG_TF;
	try_run(&t, CODE(".byte 0x48, 0x0f, 0x07"));
	check(&t,
	      t.out.vector == DB && (t.out.rip == t.rcx || t.out.rip == t.rcx + 1) &&
		      t.out.cs == SEL_UCODE64,
	      "SDM 2B SYSRET that sets TF traps at CPL 3");
}

static void int_traps(void)
{
	struct try t = try_new(U64);

	faults_at(&t, CODE("int3"), 1, BP, 0, "SDM 3A 6.15 #BP is a trap: RIP behind INT3");
	check(&t, !(t.out.rflags & FLAG_RF), "SDM 3A 6.8 ... RF=0 in the pushed RFLAGS");
	t = try_new(U64);
	faults_at(&t, CODE("int 3"), 1, BP, 0, "SDM 3A 6.15 INT 3 assembles to CCh");
	t = try_new(U64);
	faults_at(&t, CODE(".byte 0xcd, 0x03"), 2, BP, 0, "SDM 2A CD 03 is #BP with RIP behind it");
	t = try_new(U64);
	faults_at(&t, CODE(".byte 0xf1"), 1, DB, 0,
		  "SDM 2A INT1 is a #DB trap that ignores the gate's DPL");
	check(&t, (t.dr6 & DR6_CAUSE) == 0, "SDM 2A INT1 leaves DR6.BS and B0 to B3 clear");
	t = try_new(U64);
	faults(&t, CODE("ud2"), UD, 0, "SDM 3A 6.15 #UD is a fault: RIP on it");
	check(&t, t.out.rflags & FLAG_RF, "SDM 3B 17.3.1.1 a fault pushes RF=1");
	t = try_new(U64);
	t.rcx = 0;
	t.rax = 1;
	faults(&t, CODE("div ecx"), DE, 0, "SDM 3A 6.15 #DE is a fault: RIP on it");
	t = try_new(U64);
	t.rax = 1ull << 63;
	t.rdx = ~0ull;
	t.rcx = ~0ull;
	faults(&t, CODE("idiv rcx"), DE, 0,
	       "SDM 2A IDIV of the most negative number by -1 faults #DE");
}

static void breakpoints(void)
{
	const u8 *code = CODE("nop; nop; ud2");
	struct try t = try_new(U64);

	write_dr0((u64)code + 1);
	write_dr7(DR7_BP(0, 0));
	faults_at(&t, code, 1, DB, 0, "SDM 3B 17.3.1.1 an instruction breakpoint faults before it");
	check(&t, (t.dr6 & DR6_CAUSE) == DR6_B0, "SDM 3B 17.2.3 ... with DR6.B0");
	t = try_new(U64);
	t.rflags |= FLAG_RF;
	write_dr0((u64)code);
	write_dr7(DR7_BP(0, 0));
	faults_at(&t, code, 2, UD, 0, "SDM 3B 17.3.1.1 RF=1 skips an instruction breakpoint once");
	t = try_new(U64);
	write_dr0((u64)code + 2);
	write_dr7(DR7_BP(0, 0));
	faults_at(&t, code, 2, DB, 0, "SDM 3A 6.9 an instruction breakpoint comes before #UD");
	t = try_new(U64);
	write_dr0((u64)code);
	write_dr7(0x400);
	faults_at(&t, code, 2, UD, 0,
		  "SDM 3B 17.2.4 a breakpoint that is not enabled does nothing");
	t = try_new(U64);
	write_dr0((u64)data);
	write_dr7(DR7_BP(1, 3));
	t.rbx = (u64)data;
	try_run(&t, CODE("mov [rbx], eax; nop"));
	check(&t, t.out.vector == DB && t.out.rip == t.rip + 2 && (t.dr6 & DR6_CAUSE) == DR6_B0,
	      "SDM 3B 17.3.1.2 a write breakpoint traps after the store");
	t = try_new(U64);
	write_dr7(DR7_BP(1, 3));
	t.rbx = (u64)data;
	runs(&t, CODE("mov eax, [rbx]"), "SDM 3B 17.2.4 a write breakpoint ignores reads");
	t = try_new(U64);
	write_dr7(DR7_BP(3, 3));
	t.rbx = (u64)data;
	try_run(&t, CODE("mov al, [rbx + 3]; nop"));
	check(&t, t.out.vector == DB && t.out.rip == t.rip + 3,
	      "SDM 3B 17.2.5 a data breakpoint of 4 bytes covers its last byte");
	t = try_new(U64);
	write_dr7(DR7_BP(3, 3));
	t.rbx = (u64)data;
	runs(&t, CODE("mov al, [rbx + 4]"), "SDM 3B 17.2.5 ... and no more");
	t = try_new(U64);
	write_dr7(DR7_BP(3, 2));
	t.rbx = (u64)data;
	try_run(&t, CODE("mov al, [rbx + 7]; nop"));
	check(&t, t.out.vector == DB && t.out.rip == t.rip + 3,
	      "SDM 3B 17.2.5 a data breakpoint can have 8 bytes");
	t = try_new(U64);
	write_dr7(DR7_BP(1, 3));
	t.rbx = (u64)data - 2;
	try_run(&t, CODE("mov [rbx], rax; nop"));
	check(&t, t.out.vector == DB, "SDM 3B 17.2.5 an access that overlaps in part triggers");
	t = try_new(U64);
	write_dr0((u64)data);
	write_dr7(DR7_BP(1, 0));
	t.rdi = (u64)data - 1;
	t.rcx = 3;
	try_run(&t, CODE("rep stosb"));
	check(&t, t.out.vector == DB && t.out.rcx == 1 && t.out.rip == t.rip,
	      "SDM 3B 17.3.1.2 a write breakpoint in a REP traps after that iteration");
	t = try_new(U64);
	write_dr0((u64)t.rsp - 8);
	write_dr7(DR7_BP(1, 2));
	try_run(&t, CODE("push rax; nop"));
	check(&t, t.out.vector == DB && t.out.rip == t.rip + 1,
	      "SDM 3B 17.3.1.2 PUSH triggers a write breakpoint");
	if (cpuid_edx(1, 0) >> 2 & 1) {
		u64 cr4 = read_cr4();

		write_cr4(cr4 | CR4_DE);
		t = try_new(K64);
		write_dr0(0x80);
		write_dr7(DR7_BP(2, 0));
		try_run(&t, CODE("in al, 0x80; nop"));
		check(&t, t.out.vector == DB && t.out.rip == t.rip + 2 && (t.dr6 & DR6_B0),
		      "SDM 3B 17.3.1.2 an I/O breakpoint traps after IN");
		write_cr4(cr4);
	}
	t = try_new(U64);
	write_dr1((u64)data + 8);
	write_dr7(0x400 | 8 | 1u << 20 | 3u << 22); /* breakpoint 1: write, 4 bytes */
	t.rbx = (u64)data;
	t.rflags |= FLAG_TF;
	try_run(&t, CODE("mov [rbx + 8], eax; nop"));
	check(&t, t.out.vector == DB && (t.dr6 & DR6_CAUSE) == (DR6_B1 | DR6_BS),
	      "SDM 3B 17.2.3 a data breakpoint and a single step are reported together");
	write_dr7(0x400);
}

/* Interrupt shadows: a self IPI waits with IF=0. */
static void self_ipi(u32 vector)
{
	apic_write(0x300, 0x44000 | vector);
	while (apic_read(0x300) & 0x1000)
		pause();
}

static u64 irq_rip;
static u64 irq_rflags;

static bool note_rip(struct frame *f)
{
	hits[f->vector]++;
	irq_rip = f->rip;
	irq_rflags = f->rflags;
	apic_write(0xb0, 0);
	return true;
}

static void shadows(void)
{
	struct try t = try_new(K64);

	apic_write(0xf0, 0x1ff);
	handler[0x50] = note_rip;
	self_ipi(0x50);
	try_run(&t, CODE("sti; nop; nop; cli"));
	check(&t, t.out.vector == DONE && hits[0x50] == 1 && irq_rip == t.rip + 2,
	      "SDM 2B STI holds interrupts back until after the next instruction");
	check(&t, irq_rflags & FLAG_IF, "SDM 3A 6.8.1 ... with IF=1 in the pushed RFLAGS");
	self_ipi(0x50);
	t = try_new(K64);
	try_run(&t, CODE("sti; cli; nop; nop"));
	check(&t, t.out.vector == DONE && hits[0x50] == 1,
	      "SDM 2B STI directly before CLI lets nothing in");
	t = try_new(K64);
	try_run(&t, CODE("sti; hlt; cli"));
	check(&t, t.out.vector == DONE && hits[0x50] == 2 && irq_rip == t.rip + 2,
	      "SDM 2A STI; HLT with an interrupt waiting: it wakes HLT, RIP behind it");
	self_ipi(0x50);
	t = try_new(K64);
	try_run(&t, CODE("pushfq; or dword ptr [rsp], 0x200; popfq; nop; cli"));
	check(&t, t.out.vector == DONE && hits[0x50] == 3 && irq_rip == t.rip + 9,
	      "SDM 3A 6.8.1 POPF that sets IF has no shadow");
	write_cr8(5);
	self_ipi(0x50);
	t = try_new(K64);
	t.rflags |= FLAG_IF;
	t.rax = SEL_DATA;
	try_run(&t, CODE("xor ecx, ecx; mov cr8, rcx; nop; cli"));
	check(&t, t.out.vector == DONE && hits[0x50] == 4 && irq_rip == t.rip + 6,
	      "SDM 3A 10.8.3.1 lowering CR8 lets an interrupt in at the next boundary");
	self_ipi(0x50);
	t = try_new(K64);
	t.rflags |= FLAG_IF;
	t.rdi = (u64)data;
	t.rcx = 2;
	try_run(&t, CODE("rep stosb; cli"));
	check(&t, t.out.vector == DONE && hits[0x50] == 5 && irq_rip == t.rip,
	      "SDM 2A IRET that sets IF has no shadow: the interrupt comes before its target");
	handler[0x50] = 0;
}

static volatile u32 nmi_depth, nmi_nested, nmi_count;

static void nmi_self(void)
{
	apic_write(0x310, apic_read(0x20) & 0xff000000);
	apic_write(0x300, 0x4400);
	while (apic_read(0x300) & 0x1000)
		pause();
}

static bool nmi_handler(struct frame *f)
{
	(void)f;
	nmi_count++;
	if (nmi_depth++)
		nmi_nested = 1;
	if (nmi_count == 1) {
		nmi_self();
		for (volatile int i = 0; i < 1000; i++)
			;
	}
	nmi_depth--;
	return true;
}

static void nmi(void)
{
	handler[NMI] = nmi_handler;
	cli();
	nmi_self();
	for (volatile int i = 0; i < 1000 && nmi_count < 2; i++)
		;
	tap_check(nmi_count >= 1, "SDM 3A 6.7 an NMI comes through vector 2 with IF=0");
	tap_check(!nmi_nested, "SDM 3A 6.7.1 an NMI is blocked while another is handled");
	tap_equal(nmi_count, 2, "SDM 3A 6.7.1 the blocked NMI is kept and comes after IRET");
	handler[NMI] = 0;
}

void lm_main(void)
{
	registers();
	single_step();
	int_traps();
	breakpoints();
	shadows();
	nmi();
}
