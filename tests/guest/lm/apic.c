/*
 * The local APIC in xAPIC mode: SDM 3A 10.4 to 10.9.
 */
#include "lib/lm.h"

enum {
	ID = 0x20,
	VERSION = 0x30,
	TPR = 0x80,
	PPR = 0xa0,
	EOI = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR_HIGH = 0x310,
	LVT_TIMER = 0x320,
	LVT_LINT0 = 0x350,
	LVT_ERROR = 0x370,
	TIMER_INITIAL = 0x380,
	TIMER_CURRENT = 0x390,
	TIMER_DIVIDE = 0x3e0
};

#define MASKED  0x10000u
#define PENDING 0x1000u
#define SELF    0x40000u

static bool bit(u32 base, unsigned vector)
{
	return apic_read(base + (vector >> 5) * 0x10) >> (vector & 31) & 1;
}

static void send(u32 low)
{
	apic_write(ICR, low);
	for (unsigned i = 0; i < 100000 && apic_read(ICR) & PENDING; i++)
		pause();
}

/* Let interrupts in for a moment. */
static void window(void) { __asm__ volatile("sti; nop; nop; nop; cli" : : : "memory"); }

static void after_reset(void)
{
	u32 version = apic_read(VERSION);

	tap_check((version & 0xff) >= 0x10 && (version & 0xff) <= 0x15,
		  "SDM 3A 10.4.8 the version of an integrated APIC is 10h to 15h");
	tap_check((version >> 16 & 0xff) >= 3 && (version >> 16 & 0xff) <= 7,
		  "SDM 3A 10.4.8 the maximum LVT entry is given");
	tap_equal(apic_read(ID) >> 24, 0, "SDM 3A 10.4.6 the APIC ID of the first CPU is 0");
	tap_check((rdmsr(MSR_APIC_BASE) & 0xd00) == 0x900,
		  "SDM 3A 10.4.4 IA32_APIC_BASE has BSP and global enable");
	tap_equal(apic_read(DFR), 0xffffffff, "SDM 3A 10.6.2.2 the DFR selects the flat model");
	tap_check(apic_read(LVT_TIMER) & MASKED, "SDM 3A 10.4.7.1 the timer is masked after reset");
	tap_check(apic_read(LVT_ERROR) & MASKED,
		  "SDM 3A 10.4.7.1 the error LVT is masked after reset");
	apic_write(SVR, 0x1ff);
	tap_equal(apic_read(SVR) & 0x1ff, 0x1ff, "SDM 3A 10.9 the SVR holds vector and enable");
	tap_equal(apic_read(TPR), 0, "SDM 3A 10.8.3.1 the TPR is 0 after reset");
}

static void basic(void)
{
	handler[0x51] = count_hit;
	cli();
	send(SELF | 0x51);
	tap_check(bit(IRR, 0x51) && !bit(ISR, 0x51),
		  "SDM 3A 10.8.4 a self IPI with IF=0 waits in the IRR");
	tap_check(!bit(TMR, 0x51), "SDM 3A 10.8.4 ... as an edge: its TMR bit is clear");
	window();
	tap_equal(hits[0x51], 1, "SDM 3A 10.8.4 it is delivered once IF=1");
	tap_check(!bit(IRR, 0x51) && bit(ISR, 0x51),
		  "SDM 3A 10.8.4 ... and moves from the IRR to the ISR");
	tap_equal(apic_read(PPR), 0x50, "SDM 3A 10.8.3.1 the PPR is the class of the ISR");
	send(SELF | 0x51);
	window();
	tap_equal(hits[0x51], 1, "SDM 3A 10.8.3.1 a second one waits for the EOI");
	tap_check(bit(IRR, 0x51), "SDM 3A 10.8.4 ... one vector can be in IRR and ISR at once");
	apic_write(EOI, 0);
	window();
	tap_equal(hits[0x51], 2, "SDM 3A 10.8.5 EOI lets it through");
	apic_write(EOI, 0);
	tap_check(!bit(ISR, 0x51) && apic_read(PPR) == 0, "SDM 3A 10.8.5 EOI clears the ISR bit");
	send(SELF | 0x51);
	send(SELF | 0x51);
	window();
	apic_write(EOI, 0);
	window();
	tap_equal(hits[0x51], 3, "SDM 3A 10.8.4 two requests of a vector in the IRR are one");
	apic_write(EOI, 0);
	hits_clear();
}

static void priority(void)
{
	handler[0x51] = handler[0x52] = handler[0x61] = handler[0x41] = count_eoi;
	send(SELF | 0x41);
	send(SELF | 0x61);
	send(SELF | 0x51);
	send(SELF | 0x52);
	window();
	tap_check(hit_orders == 4 && hit_order[0] == 0x61 && hit_order[1] == 0x52 &&
			  hit_order[2] == 0x51 && hit_order[3] == 0x41,
		  "SDM 3A 10.8.3 the highest vector comes first");
	hits_clear();
	apic_write(TPR, 0x50);
	tap_equal(apic_read(PPR), 0x50,
		  "SDM 3A 10.8.3.1 with nothing in service the PPR is the TPR");
	send(SELF | 0x51);
	send(SELF | 0x61);
	window();
	tap_check(hits[0x61] == 1 && !hits[0x51],
		  "SDM 3A 10.8.3.1 the TPR holds its own class and lower back");
	apic_write(TPR, 0x4f);
	window();
	tap_equal(hits[0x51], 1, "SDM 3A 10.8.3.1 lowering the TPR lets it through");
	apic_write(TPR, 0);
	hits_clear();

	handler[0x51] = count_hit;
	send(SELF | 0x51);
	window();
	send(SELF | 0x52);
	send(SELF | 0x41);
	window();
	tap_check(!hits[0x52] && !hits[0x41],
		  "SDM 3A 10.8.3.1 a vector in service holds back its class and lower");
	send(SELF | 0x61);
	window();
	tap_equal(hits[0x61], 1, "SDM 3A 10.8.4 a higher class interrupts it");
	apic_write(TPR, 0x57);
	tap_equal(apic_read(PPR), 0x57,
		  "SDM 3A 10.8.3.1 TPR and ISR in one class: the PPR is the TPR");
	apic_write(TPR, 0x40);
	tap_equal(apic_read(PPR), 0x50, "SDM 3A 10.8.3.1 ISR above the TPR: sub-class 0");
	apic_write(TPR, 0);
	apic_write(EOI, 0);
	window();
	tap_check(hits[0x52] == 1 && hits[0x41] == 1, "SDM 3A 10.8.5 EOI lets both through");
	hits_clear();
}

static void destinations(void)
{
	u32 id = apic_read(ID) >> 24;

	handler[0x53] = count_eoi;
	apic_write(ICR_HIGH, id << 24);
	send(0x4053);
	window();
	tap_equal(hits[0x53], 1, "SDM 3A 10.6.2.1 physical destination: the own ID");
	apic_write(ICR_HIGH, 0x7fu << 24);
	send(0x4053);
	window();
	tap_equal(hits[0x53], 1, "SDM 3A 10.6.2.1 physical destination: nobody there");
	apic_write(LDR, 1u << 24);
	apic_write(ICR_HIGH, 3u << 24);
	send(0x4853);
	window();
	tap_equal(hits[0x53], 2, "SDM 3A 10.6.2.2 logical destination, flat: a common bit");
	apic_write(ICR_HIGH, 2u << 24);
	send(0x4853);
	window();
	tap_equal(hits[0x53], 2, "SDM 3A 10.6.2.2 logical destination, flat: no common bit");
	apic_write(DFR, 0x0fffffff);
	apic_write(LDR, 0x21u << 24);
	apic_write(ICR_HIGH, 0x23u << 24);
	send(0x4853);
	window();
	tap_equal(hits[0x53], 3,
		  "SDM 3A 10.6.2.2 logical destination, cluster: same cluster, common bit");
	apic_write(ICR_HIGH, 0x13u << 24);
	send(0x4853);
	window();
	tap_equal(hits[0x53], 3, "SDM 3A 10.6.2.2 logical destination, cluster: another cluster");
	apic_write(DFR, 0xffffffff);
	tap_equal(apic_read(DFR), 0xffffffff,
		  "SDM 3A 10.6.2.2 the low 28 bits of the DFR read as 1");
	apic_write(LDR, 1u << 24);
	apic_write(ICR_HIGH, 0);
	send(0x80053);
	window();
	tap_equal(hits[0x53], 4, "SDM 3A 10.6.1 shorthand: all including self");
	send(0xc0053);
	window();
	tap_equal(hits[0x53], 4, "SDM 3A 10.6.1 shorthand: all excluding self");
	apic_write(ICR_HIGH, 0xffu << 24);
	send(0x4053);
	window();
	tap_equal(hits[0x53], 5, "SDM 3A 10.6.2.1 physical destination FFh: all");
	hits_clear();
}

static void errors(void)
{
	handler[0x54] = handler[5] = count_eoi;
	apic_write(LVT_ERROR, 0x54);
	apic_write(ESR, 0);
	apic_write(ESR, 0);
	tap_equal(apic_read(ESR), 0, "SDM 3A 10.5.3 a write to the ESR clears it");
	send(SELF | 0x05);
	apic_write(ESR, 0);
	tap_check(apic_read(ESR) & 0x60,
		  "SDM 3A 10.5.3 an IPI with vector 5: illegal vector in the ESR");
	window();
	tap_check(hits[0x54] >= 1, "SDM 3A 10.5.3 ... and the error interrupt");
	tap_equal(hits[5], 0, "SDM 3A 10.5.2 vectors below 16 are not delivered by the APIC");
	apic_write(ESR, 0);
	apic_write(ESR, 0);
	tap_equal(apic_read(ESR), 0, "SDM 3A 10.5.3 ... which a second write clears");
	apic_write(LVT_ERROR, MASKED);
	hits_clear();
}

/* How often vector 0x60 came within some milliseconds. */
static u32 timer_hits(u32 ms)
{
	hits[0x60] = 0;
	sti();
	pit_wait(ms * PIT_MS);
	cli();
	return hits[0x60];
}

/* Whether vector 0x60 comes n times within a second: a busy host may delay it. */
static bool timer_comes(u32 n)
{
	hits[0x60] = 0;
	sti();
	for (u32 ms = 0; ms < 1000 && hits[0x60] < n; ms++)
		pit_wait(PIT_MS);
	cli();
	return hits[0x60] >= n;
}

/* Ticks of the APIC timer in 10 ms: the least of some tries, as the host may halt us. */
static u32 timer_rate(u32 divide)
{
	u32 least = 0xffffffff;

	apic_write(TIMER_DIVIDE, divide);
	for (unsigned i = 0; i < 5; i++) {
		u32 ticks;

		apic_write(TIMER_INITIAL, 0xffffffff);
		pit_wait(10 * PIT_MS);
		ticks = 0xffffffff - apic_read(TIMER_CURRENT);
		least = ticks < least ? ticks : least;
	}
	return least;
}

static void timer(void)
{
	u32 full, divided, once;

	handler[0x60] = count_eoi;
	apic_write(LVT_TIMER, MASKED | 0x60);
	full = timer_rate(0xb); /* by 1 */
	tap_check(full > 10000, "SDM 3A 10.5.4 the timer counts down, also while masked");
	divided = timer_rate(0xa); /* by 128 */
	tap_check(divided > full / 128 / 2 && divided < full / 128 * 2 + 2,
		  "SDM 3A 10.5.4 the divide register scales it: 128 against 1");
	apic_write(TIMER_INITIAL, 0);
	tap_equal(apic_read(TIMER_CURRENT), 0,
		  "SDM 3A 10.5.4 an initial count of 0 stops the timer");
	apic_write(TIMER_DIVIDE, 0xb);
	once = full / 5; /* 2 ms */
	apic_write(LVT_TIMER, 0x60);
	apic_write(TIMER_INITIAL, once);
	tap_check(timer_comes(1), "SDM 3A 10.5.4 one-shot: an interrupt");
	tap_equal(timer_hits(20), 0, "SDM 3A 10.5.4 one-shot: and no other");
	tap_equal(apic_read(TIMER_CURRENT), 0, "SDM 3A 10.5.4 one-shot: the count stays 0");
	tap_equal(apic_read(TIMER_INITIAL), once, "SDM 3A 10.5.4 the initial count stays");
	apic_write(LVT_TIMER, 0x20060);
	apic_write(TIMER_INITIAL, once);
	tap_check(timer_comes(5), "SDM 3A 10.5.4 periodic: one interrupt after the other");
	tap_check(apic_read(TIMER_CURRENT) > 0 && apic_read(TIMER_CURRENT) <= once,
		  "SDM 3A 10.5.4 periodic: the count restarts from the initial count");
	apic_write(LVT_TIMER, 0x20060 | MASKED);
	timer_hits(4);
	tap_equal(timer_hits(10), 0, "SDM 3A 10.5.1 a masked LVT delivers nothing");
	apic_write(TIMER_INITIAL, 0);
	apic_write(LVT_TIMER, 0x60);
	apic_write(TIMER_INITIAL, full * 10);
	apic_write(TIMER_INITIAL, 0);
	tap_equal(timer_hits(5), 0, "SDM 3A 10.5.4 writing 0 cancels a one-shot");
}

static void deadline(void)
{
	u64 start, end, ms10;

	if (!(cpuid_ecx(1, 0) >> 24 & 1)) {
		struct try t = try_new(K64);

		t.rcx = MSR_TSC_DEADLINE;
		faults(&t, CODE("rdmsr"), GP, 0,
		       "SDM 3A 10.5.4.1 IA32_TSC_DEADLINE without CPUID bit faults #GP(0)");
		return;
	}
	start = rdtsc();
	pit_wait(10 * PIT_MS);
	ms10 = rdtsc() - start;
	apic_write(LVT_TIMER, 0x60);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 100);
	tap_equal(rdmsr(MSR_TSC_DEADLINE), 0,
		  "SDM 3A 10.5.4.1 IA32_TSC_DEADLINE is 0 and ignored in one-shot mode");
	tap_equal(timer_hits(3), 0, "SDM 3A 10.5.4.1 ... no interrupt then");
	apic_write(LVT_TIMER, 0x40060);
	apic_write(TIMER_INITIAL, 1000);
	tap_equal(apic_read(TIMER_CURRENT), 0,
		  "SDM 3A 10.5.4.1 the count reads 0 in deadline mode");
	end = rdtsc() + ms10;
	wrmsr(MSR_TSC_DEADLINE, end);
	tap_equal(rdmsr(MSR_TSC_DEADLINE), end,
		  "SDM 3A 10.5.4.1 IA32_TSC_DEADLINE reads back while armed");
	hits[0x60] = 0;
	sti();
	for (unsigned i = 0; i < 10000 && !hits[0x60]; i++)
		pit_wait(20);
	cli();
	tap_check(hits[0x60] == 1 && rdtsc() >= end,
		  "SDM 3A 10.5.4.1 one interrupt, not before the deadline");
	tap_equal(rdmsr(MSR_TSC_DEADLINE), 0, "SDM 3A 10.5.4.1 ... after which the register is 0");
	wrmsr(MSR_TSC_DEADLINE, 1);
	tap_check(timer_comes(1), "SDM 3A 10.5.4.1 a deadline in the past fires at once");
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + ms10);
	wrmsr(MSR_TSC_DEADLINE, 0);
	tap_equal(timer_hits(20), 0, "SDM 3A 10.5.4.1 writing 0 disarms");
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + ms10);
	apic_write(LVT_TIMER, 0x60);
	tap_equal(rdmsr(MSR_TSC_DEADLINE), 0, "SDM 3A 10.5.4.1 leaving the mode disarms");
	tap_equal(timer_hits(20), 0, "SDM 3A 10.5.4.1 ... no interrupt then");
	apic_write(LVT_TIMER, MASKED);
}

static void disabled(void)
{
	u32 lint0 = apic_read(LVT_LINT0);

	handler[0x55] = count_eoi;
	apic_write(LVT_TIMER, 0x60);
	send(SELF | 0x55);
	apic_write(SVR, 0xff);
	tap_check(apic_read(LVT_TIMER) & MASKED,
		  "SDM 3A 10.4.7.2 disabling the APIC masks the LVT");
	apic_write(LVT_TIMER, 0x60);
	tap_check(apic_read(LVT_TIMER) & MASKED,
		  "SDM 3A 10.4.7.2 ... and the masks cannot be cleared");
	tap_check(bit(IRR, 0x55), "SDM 3A 10.4.7.2 pending interrupts are held");
	apic_write(SVR, 0x1ff);
	window();
	tap_equal(hits[0x55], 1, "SDM 3A 10.4.7.2 ... and delivered once it is enabled");
	tap_check(apic_read(LVT_TIMER) & MASKED,
		  "SDM 3A 10.4.7.2 enabling it does not clear the masks");
	apic_write(LVT_LINT0, lint0);
	apic_write(LVT_TIMER, MASKED);
}

/* EOI without an interrupt in service. */
static void idle_eoi(void)
{
	hits_clear();
	apic_write(EOI, 0);
	tap_equal(apic_read(PPR), 0, "SDM 3A 10.8.5 EOI with nothing in service does nothing");
	tap_check(!bit(ISR, 0xff), "SDM 3A 10.9 the spurious vector is never in service");
}

void lm_main(void)
{
	after_reset();
	basic();
	priority();
	destinations();
	errors();
	timer();
	deadline();
	disabled();
	idle_eoi();
}
