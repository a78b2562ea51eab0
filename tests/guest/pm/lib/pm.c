/* Default tables, the record of how a probe ended, and the report of a rule: see pm.h. */
#include "pm.h"

struct table_register {
	u16 limit;
	u32 base;
} __attribute__((packed));

struct trap t;
struct tss tss;
u64 gdt[GDT_ENTRIES], ldt[LDT_ENTRIES], idt[256];
u8 probe_stack[4096], user_stack[4096], trap_stack[8192], stack1[4096], stack2[4096];
bool saves_rf_in_strings;
u32 cpuid_1_edx, cpuid_1_ecx, cpuid_7_ebx, cpuid_7_ecx, cpuid_ext_edx;
const struct table_register gdtr = { sizeof(gdt) - 1, (u32)gdt };
const struct table_register idtr = { sizeof(idt) - 1, (u32)idt };

#define NOWHERE 0xfff0fff0 /* an address that no rule touches */

/* What trap_common copied, lowest address first. */
u32 trap_raw[TRAP_RAW_WORDS], trap_ss, trap_cs;
static u32 probe_start;
static unsigned depth;

void pm_main(void);
void trap_decode(void);
void pm_load_tables(void);
void probe_enter(const struct regs *r);

/* gcc may call these for struct copies, too. */

void *memset(void *to, int value, size_t size)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

u64 desc(u32 base, u32 limit, unsigned access, unsigned flags)
{
	return (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

u64 gate(u16 sel, u32 offset, unsigned access, unsigned params)
{
	return (u64)(offset & 0xffff) | (u64)sel << 16 | (u64)params << 32 | (u64)access << 40 |
	       (u64)(offset >> 16) << 48;
}

void seg_set(u16 sel, u64 descriptor)
{
	*(volatile u64 *)&(sel & 4 ? ldt : gdt)[sel >> 3] = descriptor;
}

u64 seg_get(u16 sel) { return *(volatile u64 *)&(sel & 4 ? ldt : gdt)[sel >> 3]; }

void idt_set(unsigned vector, u64 gate_descriptor)
{
	*(volatile u64 *)&idt[vector & 255] = gate_descriptor;
}

u64 stub_gate(unsigned vector, unsigned dpl)
{
	return gate(KCS, (u32)trap_stubs + 16 * vector, P | DPL(dpl) | INT32, 0);
}

static void default_tables(void)
{
	memset(gdt, 0, sizeof(gdt));
	memset(ldt, 0, sizeof(ldt));
	for (unsigned level = 0; level < 4; level++) {
		unsigned sel = KCS + 16 * level;

		seg_set(sel, desc(0, 0xfffff, P | DPL(level) | CODE_XR | ACCESSED, G | D));
		seg_set(sel + 8, desc(0, 0xfffff, P | DPL(level) | DATA_RW | ACCESSED, G | D));
	}
	seg_set(SEL_TSS, desc((u32)&tss, TSS_LIMIT, P | TSS32, 0));
	seg_set(SEL_LDT, desc((u32)ldt, sizeof(ldt) - 1, P | LDT, 0));
	seg_set(CCS, desc(0, 0xfffff, P | CONF_XR | ACCESSED, G | D));
	seg_set(CS16, desc(LOW, 0xffff, P | CODE_XR | ACCESSED, 0));
	seg_set(DS16, desc(LOW, 0xffff, P | DATA_RW | ACCESSED, 0));
	memset(&tss, 0, offsetof(struct tss, iomap));
	tss.ss0 = KDS;
	tss.esp0 = TOP(trap_stack);
	tss.ss1 = DS1;
	tss.esp1 = TOP(stack1);
	tss.ss2 = DS2;
	tss.esp2 = TOP(stack2);
	tss.iobase = TSS_IOBASE;
	for (unsigned v = 0; v < 256; v++)
		idt_set(v, stub_gate(v, v == BP ? 3 : 0));
}

void reset(void)
{
	__asm__ volatile("pushl $2; popfl" : : : "memory", "cc");
	dr7_set(0x400);
	cr0_set(CR0_PE | CR0_ET | CR0_NE);
	cr4_set(0);
	cr3_set(0);
	dr6_set(0xffff0ff0);
	/* DR6 may report a match of a breakpoint that is not enabled (17.2.3): leave none to match. */
	dr0_set(NOWHERE);
	dr1_set(NOWHERE);
	dr2_set(NOWHERE);
	dr3_set(NOWHERE);
	default_tables();
	pm_load_tables();
}

void probe(const struct regs *r)
{
	probe_start = r->eip;
	memset(&t, 0, sizeof(t));
	probe_enter(r);
}

/*
 * Fill `t` from the handler's stack. An exception vector reached by INT n has no error code; where
 * the stack was switched, the distance to its top tells.
 */
void trap_decode(void)
{
	const u32 *raw = trap_raw;
	unsigned v = raw[13] & 255;
	bool coded = v == DF || (v >= TS && v <= PF) || v == AC || v == 21;
	u32 h_esp =
		raw[7] + 8 + (coded ? 0 : 4); /* ESP at PUSHA: above it EFLAGS, vector, filler */
	const u32 *frame = raw + (coded ? 14 : 15);

	if (++depth > 2) {
		tap_puts("Bail out! exception within the exception handler, vector ");
		tap_put_dec(v);
		tap_putc('\n');
		tap.failures++;
		tap_done();
	}
	t = (struct trap){ .vector = v,
			   .h_esp = h_esp,
			   .h_ss = trap_ss,
			   .h_cs = trap_cs,
			   .edi = raw[4],
			   .esi = raw[5],
			   .ebp = raw[6],
			   .ebx = raw[8],
			   .edx = raw[9],
			   .ecx = raw[10],
			   .eax = raw[11],
			   .h_eflags = raw[12],
			   .h_ds = (u16)raw[3],
			   .h_es = (u16)raw[2],
			   .h_fs = (u16)raw[1],
			   .h_gs = (u16)raw[0] };
	t.cr0 = cr0_get();
	t.cr2 = cr2_get();
	t.dr6 = dr6_get();
	t.dr7 = dr7_get();
	dr7_set(0x400);
	__asm__ volatile("strl %0" : "=r"(t.tr));
	if (coded && trap_ss == tss.ss0 && (tss.esp0 - h_esp == 20 || tss.esp0 - h_esp == 36))
		coded = false;
	if (coded) {
		t.has_error = true;
		t.error = *frame++;
	}
	t.eip = frame[0];
	t.cs = (u16)frame[1];
	t.eflags = frame[2];
	if (t.eflags & FL_VM) {
		t.esp = frame[3];
		t.ss = (u16)frame[4];
		t.es = (u16)frame[5];
		t.ds = (u16)frame[6];
		t.fs = (u16)frame[7];
		t.gs = (u16)frame[8];
	} else {
		bool outer = (t.cs & 3) > (trap_cs & 3);

		t.esp = outer ? frame[3] : h_esp + (coded ? 16 : 12);
		t.ss = outer ? (u16)frame[4] : trap_ss;
		t.es = t.h_es;
		t.ds = t.h_ds;
		t.fs = t.h_fs;
		t.gs = t.h_gs;
	}
	for (unsigned i = 0; i < GDT_ENTRIES; i++)
		t.gdt_entry[i] = gdt[i];
	depth--;
}

bool fault(enum vector v, u32 offset)
{
	return t.vector == v && !t.has_error && t.eip == probe_start + offset;
}

bool fault_e(enum vector v, u32 error, u32 offset)
{
	return t.vector == v && t.has_error && t.error == error && t.eip == probe_start + offset;
}

/* The linear address of the byte after the INT3 that ended the probe. */
static u32 linear_eip(void)
{
	u64 d;

	if (t.eflags & FL_VM)
		return t.cs * 16 + t.eip;
	d = seg_get((u16)t.cs);
	return (u32)(d >> 16 & 0xffffff) + (u32)(d >> 56 << 24) + t.eip;
}

bool done(void) { return t.vector == BP && *mem32(linear_eip()) == 0x656e6f64; /* "done" */ }

static void put(const char *label, u32 value)
{
	tap_puts(label);
	tap_put_hex(value);
}

u32 *const return_frame = (u32 *)(probe_stack + 2048);

void return_by(u32 code, u32 a, u32 b, u32 c, u32 d, u32 e)
{
	return_frame[0] = a;
	return_frame[1] = b;
	return_frame[2] = c;
	return_frame[3] = d;
	return_frame[4] = e;
	PROBE(CODE("mov esp, ebx\n jmp eax"), .eax = code, .ebx = (u32)return_frame);
}

bool return_fault(u32 code, enum vector v, u32 error)
{
	return t.vector == v && t.has_error && t.error == error && t.eip == code && t.cs == KCS &&
	       t.esp == (u32)return_frame;
}

void rule_report(const char *name, bool holds, const char *text)
{
	if (!tap_check(holds, name)) {
		tap_puts("# expected: ");
		tap_puts(text);
		put("\n# got: vector ", t.vector);
		if (t.has_error)
			put(" error ", t.error);
		put(" eip ", t.eip);
		put(" = start+", t.eip - probe_start);
		put(" cs ", t.cs);
		put(" eflags ", t.eflags);
		put(" ss:esp ", t.ss);
		put(":", t.esp);
		put("\n# eax ", t.eax);
		put(" ecx ", t.ecx);
		put(" edx ", t.edx);
		put(" ebx ", t.ebx);
		put(" ebp ", t.ebp);
		put(" esi ", t.esi);
		put(" edi ", t.edi);
		put(" cr2 ", t.cr2);
		put(" dr6 ", t.dr6);
		put(" tr ", t.tr);
		put("\n# ds ", t.ds);
		put(" es ", t.es);
		put(" fs ", t.fs);
		put(" gs ", t.gs);
		put(" handler: cs ", t.h_cs);
		put(" ss:esp ", t.h_ss);
		put(":", t.h_esp);
		put(" eflags ", t.h_eflags);
		tap_putc('\n');
	}
	reset();
}

static void cpuid(u32 leaf, u32 out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(0));
}

void pm_main(void)
{
	u32 out[4];

	tap_outb(0x21, 0xff);
	tap_outb(0xa1, 0xff);
	cpuid(0, out);
	saves_rf_in_strings = out[1] != 0x68747541; /* "Auth"enticAMD */
	if (out[0] >= 7) {
		cpuid(7, out);
		cpuid_7_ebx = out[1];
		cpuid_7_ecx = out[2];
	}
	cpuid(1, out);
	cpuid_1_ecx = out[2];
	cpuid_1_edx = out[3];
	cpuid(0x80000000, out);
	if (out[0] >= 0x80000001) {
		cpuid(0x80000001, out);
		cpuid_ext_edx = out[3];
	}
	reset();
	test_main();
	tap_done();
}
