/*
 * Two processors: SDM 3A 8.4 (INIT, SIPI), 10.6 (IPIs), 8.1 (locked operations), 8.1.3 (cross-modifying
 * code), 4.10.5 (TLB shootdown).
 */
#include "lib/lm.h"

static volatile u32 stop, counter, flag, answer;
static volatile u64 seen[8];

static void send(u32 destination, u32 low)
{
	apic_write(0x310, destination << 24);
	apic_write(0x300, low);
	for (unsigned i = 0; i < 100000 && apic_read(0x300) & 0x1000; i++)
		pause();
}

/* Wait up to 200 ms for *word to get to value. */
static bool reaches(volatile u32 *word, u32 value)
{
	for (unsigned i = 0; i < 200 && *word != value; i++)
		pit_wait(PIT_MS);
	return *word == value;
}

static void start(void)
{
	tap_equal(*(volatile u16 *)AP_SEEN(ap_seen_cs), AP_PAGE >> 4,
		  "SDM 3A 8.4.3 SIPI with vector V starts at CS = V00h, IP = 0");
	tap_check(!(*(volatile u32 *)AP_SEEN(ap_seen_cr0) & (u32)(CR0_PE | CR0_PG)) &&
			  (*(volatile u32 *)AP_SEEN(ap_seen_cr0) & 0x10),
		  "SDM 3A 9.1.1 after INIT CR0 has PE=0, PG=0, ET=1");
	tap_check((*(volatile u32 *)AP_SEEN(ap_seen_edx) & 0xfffff0ff) ==
				  (cpuid(1, 0).eax & 0xfffff0ff) ||
			  (*(volatile u32 *)AP_SEEN(ap_seen_edx) >> 8 & 15) ==
				  (cpuid(1, 0).eax >> 8 & 15),
		  "SDM 3A 9.1.1 after INIT EDX holds the processor signature");
	tap_equal(*(volatile u32 *)AP_SEEN(ap_seen_esi), 0, "SDM 3A 9.1.1 after INIT ESI is 0");
}

static void describe(void *arg)
{
	(void)arg;
	seen[0] = apic_read(0x20) >> 24;
	seen[1] = rdmsr(MSR_APIC_BASE);
	seen[2] = apic_read(0xf0);
	seen[3] = cpuid(1, 0).ebx >> 24;
	seen[4] = rdmsr(MSR_FS_BASE);
	seen[5] = apic_read(0x350);
	seen[6] = apic_read(0x320);
	apic_write(0xf0, 0x1ff);
}

static void identity(void)
{
	wrmsr(MSR_FS_BASE, 0x123456);
	ap_call(describe, 0);
	tap_check(ap_wait(), "SDM 3A 8.4 the second CPU runs 64-bit code");
	tap_equal(seen[0], 1, "SDM 3A 10.4.6 the second CPU has an APIC ID of its own: 1");
	tap_equal(seen[3], 1, "SDM 2A ... and CPUID.1 gives it");
	tap_check((seen[1] & 0x900) == 0x800,
		  "SDM 3A 10.4.4 IA32_APIC_BASE.BSP is 0 on the second CPU");
	tap_equal(seen[2] & 0x1ff, 0xff,
		  "SDM 3A 10.4.7.1 its APIC is disabled by software after INIT");
	tap_equal(seen[4], 0, "SDM 3A 8.7 model-specific registers are per CPU");
	tap_check(seen[5] & 0x10000, "SDM 3A 10.4.7.1 its LINT0 is masked after INIT");
	wrmsr(MSR_FS_BASE, 0);
}

static void spin(void *arg)
{
	(void)arg;
	sti();
	while (!stop)
		pause();
	cli();
}

static void sleep(void *arg)
{
	(void)arg;
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static volatile u32 by_cpu[2];

static bool on_cpu(struct frame *f)
{
	(void)f;
	by_cpu[apic_read(0x20) >> 24 & 1]++;
	apic_write(0xb0, 0);
	return true;
}

static bool on_nmi(struct frame *f)
{
	(void)f;
	by_cpu[apic_read(0x20) >> 24 & 1]++;
	return true;
}

static void ldr(void *arg) { apic_write(0xd0, (u32)(u64)arg << 24); }

static void ipis(void)
{
	handler[0x50] = on_cpu;
	handler[NMI] = on_nmi;
	apic_write(0xf0, 0x1ff);
	apic_write(0xd0, 1u << 24);
	ap_call(ldr, (void *)2);
	ap_wait();
	stop = 0;
	ap_call(spin, 0);
	send(1, 0x4050);
	tap_check(reaches(&by_cpu[1], 1),
		  "SDM 3A 10.6.1 a fixed IPI to the other CPU's physical ID");
	tap_equal(by_cpu[0], 0, "SDM 3A 10.6.1 ... does not come to the sender");
	send(2, 0x4850);
	tap_check(reaches(&by_cpu[1], 2), "SDM 3A 10.6.2.2 a fixed IPI to its logical ID");
	send(0, 0xc4050);
	tap_check(reaches(&by_cpu[1], 3), "SDM 3A 10.6.1 shorthand: all excluding self");
	by_cpu[0] = by_cpu[1] = 0;
	send(0, 0x84050);
	sti();
	tap_check(reaches(&by_cpu[1], 1) && reaches(&by_cpu[0], 1),
		  "SDM 3A 10.6.1 shorthand: all including self");
	cli();
	by_cpu[0] = by_cpu[1] = 0;
	send(3, 0x4950);
	sti();
	for (unsigned i = 0; i < 100 && !(by_cpu[0] + by_cpu[1]); i++)
		pit_wait(PIT_MS);
	pit_wait(5 * PIT_MS);
	cli();
	tap_equal(by_cpu[0] + by_cpu[1], 1,
		  "SDM 3A 10.6.2.4 lowest priority: one of the CPUs gets it");
	by_cpu[0] = by_cpu[1] = 0;
	send(1, 0x4400);
	tap_check(reaches(&by_cpu[1], 1) && !by_cpu[0], "SDM 3A 10.6.1 an NMI to the other CPU");
	stop = 1;
	tap_check(ap_wait(), "SDM 3A 6.7 ... which goes on after it");
	by_cpu[1] = 0;
	ap_call(sleep, 0);
	pit_wait(5 * PIT_MS);
	send(1, 0x4050);
	tap_check(ap_wait() && by_cpu[1] == 1, "SDM 2A an IPI wakes a CPU from HLT");
	stop = 0;
	ap_call(spin, 0);
	by_cpu[1] = 0;
	for (unsigned i = 0; i < 1000; i++) {
		send(1, 0x4050);
		for (unsigned n = 0; n < 1000000 && by_cpu[1] != i + 1; n++)
			pause();
	}
	tap_equal(by_cpu[1], 1000, "SDM 3A 10.6.1 a thousand IPIs in turn all arrive");
	stop = 1;
	ap_wait();
}

static void add(void *arg)
{
	(void)arg;
	flag = 1;
	for (unsigned i = 0; i < 200000; i++)
		__asm__ volatile("lock incl %0" : "+m"(counter));
}

static u8 lock_word;

static void add_under_lock(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 20000; i++) {
		u8 old;

		do {
			old = 1;
			__asm__ volatile("xchgb %0, %1" : "+r"(old), "+m"(lock_word) : : "memory");
			if (old)
				pause();
		} while (old);
		counter++;
		__asm__ volatile("movb $0, %0" : "=m"(lock_word) : : "memory");
	}
}

static void atomics(void)
{
	counter = 0;
	ap_call(add, 0);
	add(0);
	ap_wait();
	tap_equal(counter, 400000, "SDM 3A 8.1.2 LOCK INC from two CPUs loses nothing");
	counter = 0;
	ap_call(add_under_lock, 0);
	add_under_lock(0);
	ap_wait();
	tap_equal(counter, 40000, "SDM 3A 8.1.2.1 XCHG with memory locks without a prefix");
}

static u32 (*volatile patched)(void);

static void call_patched(void *arg)
{
	(void)arg;
	while (!stop) {
		u32 want = flag;
		struct cpuid serialize = cpuid(0, 0);

		(void)serialize;
		answer = patched();
		counter = want;
	}
}

static void cross_modify(void)
{
	u8 *code = page_alloc(); /* B8 imm32, C3 */
	unsigned stale = 0;

	code[0] = 0xb8;
	code[5] = 0xc3;
	*(volatile u32 *)(code + 1) = 0;
	patched = (u32(*)(void))code;
	stop = flag = counter = 0;
	ap_call(call_patched, 0);
	for (u32 i = 1; i <= 500; i++) {
		*(volatile u32 *)(code + 1) = i;
		flag = i;
		for (unsigned n = 0; n < 10000000 && counter != i; n++)
			pause();
		if (answer != i)
			stale++;
	}
	stop = 1;
	tap_check(ap_wait() && counter == 500,
		  "SDM 3A 8.1.3 the other CPU runs code that is patched");
	tap_equal(stale, 0, "SDM 3A 8.1.3 after a serializing instruction it runs the new code");
}

static volatile u32 lock, taken;

/* Takes the lock as SeaBIOS does. */
static void lock_take(void)
{
	__asm__ volatile("1: pause; lock btsl $0, %0; jc 1b" : "+m"(lock) : : "cc", "memory");
}

static void take(void *arg)
{
	(void)arg;
	lock_take();
	taken = 1;
	lock = 0;
}

/* The lock is free for no more than the two instructions between its release and the end of PAUSE. */
static void handover(void)
{
	lock = 1;
	taken = 0;
	ap_call(take, 0);
	for (unsigned i = 0; i < 1000000 && !taken; i++) {
		lock = 0;
		lock_take();
	}
	tap_check(taken, "SDM 2B PAUSE: a CPU gets a lock that another one takes again behind it");
	lock = 0;
	ap_wait();
}

static volatile u64 *shared_va = (volatile u64 *)TEST_VA;

static void touch(void *arg)
{
	(void)arg;
	seen[0] = *shared_va;
}

static void flush_and_touch(void *arg)
{
	(void)arg;
	invlpg(TEST_VA);
	seen[0] = *shared_va;
}

static void shootdown(void)
{
	u64 *one = page_alloc(), *two = page_alloc();

	one[0] = 1;
	two[0] = 2;
	*pt_entry(TEST_VA, 1) = (u64)one | PTE_P | PTE_W;
	ap_call(touch, 0);
	tap_check(ap_wait() && seen[0] == 1, "SDM 3A 4.10.5 two CPUs share page tables");
	*pt_entry(TEST_VA, 1) = (u64)two | PTE_P | PTE_W;
	ap_call(flush_and_touch, 0);
	tap_check(ap_wait() && seen[0] == 2,
		  "SDM 3A 4.10.5 INVLPG on the other CPU shows it the new page");
	*pt_entry(TEST_VA, 1) = (u64)two | PTE_P | PTE_W;
	invlpg(TEST_VA);
	ap_call(flush_and_touch, 0);
	ap_wait();
	tap_check(*pt_entry(TEST_VA, 1) & PTE_A, "SDM 3A 4.8 the other CPU sets the accessed flag");
}

static void restart(void)
{
	u32 before = ap_alive;

	send(1, 0x4600 | AP_PAGE >> 12);
	pit_wait(20 * PIT_MS);
	tap_equal(ap_alive, before, "SDM 3A 8.4.1 a SIPI to a CPU that runs is ignored");
	send(1, 0x4500);
	pit_wait(10 * PIT_MS);
	flag = 0;
	ap_call(add, 0);
	pit_wait(20 * PIT_MS);
	tap_equal(flag, 0, "SDM 3A 8.4.1 INIT stops the other CPU");
	send(1, 0x4050);
	pit_wait(10 * PIT_MS);
	tap_equal(flag, 0, "SDM 3A 8.4.1 ... which then waits for a SIPI alone");
	tap_check(ap_start(), "SDM 3A 8.4.1 INIT and SIPI start it again");
	ap_wait();
	tap_equal(flag, 1, "SDM 3A 8.4.1 ... from the beginning");
	ap_call(describe, 0);
	ap_wait();
	tap_equal(seen[2] & 0x1ff, 0xff, "SDM 3A 10.4.7.3 INIT resets the local APIC");
	tap_equal(seen[0], 1, "SDM 3A 10.4.7.3 ... but not its ID");
}

void lm_main(void)
{
	if (!tap_check(ap_start(), "SDM 3A 8.4.3 INIT and SIPI start the second CPU"))
		return;
	start();
	identity();
	ipis();
	atomics();
	cross_modify();
	handover();
	shootdown();
	restart();
}
