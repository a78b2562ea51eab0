/*
 * The local APIC in x2APIC mode: SDM 3A 10.12.
 */
#include "lib/lm.h"

#define X2(offset) (0x800u + (offset) / 16)

static bool faults_read(u32 msr, const char *rule)
{
	struct try t = try_new(K64);

	t.rcx = msr;
	return faults(&t, CODE("rdmsr"), GP, 0, rule);
}

static bool faults_write(u32 msr, u64 value, const char *rule)
{
	struct try t = try_new(K64);

	t.rcx = msr;
	t.rax = (u32)value;
	t.rdx = value >> 32;
	return faults(&t, CODE("wrmsr"), GP, 0, rule);
}

static void window(void) { __asm__ volatile("sti; nop; nop; nop; cli" : : : "memory"); }

static bool bit(u32 base, unsigned vector)
{
	return rdmsr(X2(base) + (vector >> 5)) >> (vector & 31) & 1;
}

static void transitions(u64 base)
{
	faults_read(X2(0x20), "SDM 3A 10.12.1.2 RDMSR of 802h in xAPIC mode faults #GP(0)");
	faults_write(MSR_APIC_BASE, (base & ~0x800ull) | 0x400,
		     "SDM 3A 10.12.5 xAPIC to the invalid state (EXTD without EN) faults #GP(0)");
	wrmsr(MSR_APIC_BASE, base | 0x400);
	tap_check(rdmsr(MSR_APIC_BASE) & 0x400,
		  "SDM 3A 10.12.1 IA32_APIC_BASE[10] turns x2APIC mode on");
	faults_write(MSR_APIC_BASE, base, "SDM 3A 10.12.5 x2APIC directly to xAPIC faults #GP(0)");
	faults_write(MSR_APIC_BASE, (base & ~0x800ull) | 0x400,
		     "SDM 3A 10.12.5 x2APIC to the invalid state faults #GP(0)");
}

static void registers(void)
{
	tap_equal(rdmsr(X2(0x20)), 0,
		  "SDM 3A 10.12.5.1 the x2APIC ID has 32 bits: 0 on the first CPU");
	tap_equal(rdmsr(X2(0xd0)), 1,
		  "SDM 3A 10.12.10.2 the LDR derives from the ID: cluster 0, bit 0");
	tap_check((rdmsr(X2(0x30)) & 0xff) >= 0x10, "SDM 3A 10.12.1.2 version register");
	faults_read(X2(0xe0), "SDM 3A 10.12.1.2 there is no DFR: RDMSR 80Eh faults #GP(0)");
	faults_read(X2(0x310), "SDM 3A 10.12.1.2 there is no upper ICR: RDMSR 831h faults #GP(0)");
	faults_read(X2(0xb0), "SDM 3A 10.12.1.2 EOI is write-only: RDMSR 80Bh faults #GP(0)");
	faults_read(X2(0x3f0), "SDM 3A 10.12.1.2 SELF IPI is write-only: RDMSR 83Fh faults #GP(0)");
	faults_read(0x801, "SDM 3A 10.12.1.2 a reserved register faults #GP(0)");
	faults_write(X2(0x20), 5, "SDM 3A 10.12.1.2 the ID is read-only: #GP(0)");
	faults_write(X2(0x30), 5, "SDM 3A 10.12.1.2 the version is read-only: #GP(0)");
	faults_write(X2(0xd0), 5, "SDM 3A 10.12.10.2 the LDR is read-only: #GP(0)");
	faults_write(X2(0xb0), 1, "SDM 3A 10.12.1.2 EOI with a value other than 0 faults #GP(0)");
	faults_write(X2(0x80), 0x100, "SDM 3A 10.12.1.3 a reserved bit in the TPR faults #GP(0)");
	faults_write(X2(0x80), 1ull << 32,
		     "SDM 3A 10.12.1.3 bit 32 of a 32-bit register faults #GP(0)");
	faults_write(X2(0x280), 1, "SDM 3A 10.5.3 ESR with a value other than 0 faults #GP(0)");
	faults_write(X2(0x3f0), 0x100,
		     "SDM 3A 10.12.11 SELF IPI with a reserved bit faults #GP(0)");
	wrmsr(X2(0x80), 0x70);
	tap_equal(read_cr8(), 7, "SDM 3A 10.8.6.1 the TPR of x2APIC mode is CR8");
	wrmsr(X2(0x80), 0);
	wrmsr(X2(0xf0), 0x1ff);
	tap_equal(rdmsr(X2(0xf0)) & 0x1ff, 0x1ff, "SDM 3A 10.12.1.2 SVR is 80Fh");
}

static bool count_x2(struct frame *f)
{
	count_hit(f);
	wrmsr(X2(0xb0), 0);
	return true;
}

static void interrupts(void)
{
	handler[0x51] = count_x2;
	wrmsr(X2(0x3f0), 0x51);
	tap_check(bit(0x200, 0x51), "SDM 3A 10.12.11 SELF IPI sets the IRR");
	window();
	tap_equal(hits[0x51], 1, "SDM 3A 10.12.11 SELF IPI is delivered");
	wrmsr(X2(0x300), 0x40051);
	window();
	tap_equal(hits[0x51], 2, "SDM 3A 10.12.9 ICR with the self shorthand");
	wrmsr(X2(0x300), 0x51);
	window();
	tap_equal(hits[0x51], 3, "SDM 3A 10.12.9 ICR, one 64-bit write: physical ID 0");
	wrmsr(X2(0x300), 1ull << 32 | 0x851);
	window();
	tap_equal(hits[0x51], 4, "SDM 3A 10.12.10.2 logical destination: cluster 0, bit 0");
	wrmsr(X2(0x300), 0x10001ull << 32 | 0x851);
	window();
	tap_equal(hits[0x51], 4, "SDM 3A 10.12.10.2 logical destination: cluster 1 is not ours");
	wrmsr(X2(0x300), 0xffffffffull << 32 | 0x51);
	window();
	tap_equal(hits[0x51], 5, "SDM 3A 10.12.9 physical destination FFFFFFFFh: all");
	wrmsr(X2(0x300), 0x7full << 32 | 0x51);
	window();
	tap_equal(hits[0x51], 5, "SDM 3A 10.12.9 physical destination of nobody");
	wrmsr(X2(0x3e0), 0xb);
	wrmsr(X2(0x320), 0x51);
	wrmsr(X2(0x380), 1000);
	sti();
	pit_wait(5 * PIT_MS);
	cli();
	tap_equal(hits[0x51], 6, "SDM 3A 10.5.4 the timer works in x2APIC mode");
	wrmsr(X2(0x320), 0x10000);
}

static void back(u64 base)
{
	wrmsr(MSR_APIC_BASE, base & ~0xc00ull);
	tap_check(!(rdmsr(MSR_APIC_BASE) & 0xc00), "SDM 3A 10.12.5 x2APIC to disabled");
	faults_write(MSR_APIC_BASE, (base & ~0x800ull) | 0x400,
		     "SDM 3A 10.12.5 disabled to the invalid state faults #GP(0)");
	wrmsr(MSR_APIC_BASE, base);
	tap_equal(apic_read(0x20) >> 24, 0, "SDM 3A 10.12.5 disabled to xAPIC");
	tap_equal(apic_read(0xf0) & 0x1ff, 0xff, "SDM 3A 10.4.3 ... in the state after reset");
}

void lm_main(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	if (!(cpuid_ecx(1, 0) >> 21 & 1)) {
		faults_write(MSR_APIC_BASE, base | 0x400,
			     "SDM 3A 10.12.1 x2APIC mode without CPUID bit faults #GP(0)");
		return;
	}
	transitions(base);
	registers();
	interrupts();
	back(base);
}
