/*
 * The C half of the test images' base: tables, traps and tries, the second CPU, small helpers.
 */
#include "lm.h"

struct tss tss, tss_ap;
u64 idt[512] __attribute__((aligned(16)));
u8 ist_stacks[2][5][HANDLER_STACK_SIZE] __attribute__((aligned(16)));
u8 rsp0_stack[HANDLER_STACK_SIZE] __attribute__((aligned(16)));
u8 kernel_try_stack[HANDLER_STACK_SIZE] __attribute__((aligned(16)));
static u8 ap_rsp0_stack[HANDLER_STACK_SIZE] __attribute__((aligned(16)));

bool (*handler[256])(struct frame *);
volatile u32 hits[256];
volatile u8 hit_order[16];
volatile u32 hit_orders;

volatile u32 ap_alive;
static void (*volatile ap_fn)(void *);
static void *volatile ap_arg;
static volatile u32 ap_busy;

static struct try *volatile trying;

void try_enter(struct try *t);
__attribute__((noreturn)) void try_leave(void);
void trap(struct frame *f);
void ap_main(void);
void lm_start(void);
void lm_tables(void);

void say(const char *text, u64 value)
{
	tap_puts("# ");
	tap_puts(text);
	tap_puts(" ");
	tap_put_hex(value);
	tap_putc('\n');
}

static unsigned cpu_index(void)
{
	u16 tr;

	__asm__ volatile("str %0" : "=r"(tr));
	return tr == SEL_TSS_AP;
}

static __attribute__((noreturn)) void panic(const struct frame *f)
{
	tap_puts("Bail out! unexpected event");
	tap_putc('\n');
	say("vector", f->vector);
	say("error", f->error);
	say("cs", f->cs);
	say("rip", f->rip);
	say("rsp", f->rsp);
	say("rflags", f->rflags);
	say("cr2", read_cr2());
	say("cpu", cpu_index());
	tap.failures++;
	tap_done();
}

/* Called by the entry stubs on the stack of the gate. Returning resumes the interrupted code. */
void trap(struct frame *f)
{
	bool (*h)(struct frame *) = handler[f->vector];
	struct try *t = trying;

	if (h && h(f))
		return;
	if (!t || cpu_index())
		panic(f);
	trying = 0;
	t->out = *f;
	t->cr2 = read_cr2();
	t->dr6 = read_dr6();
	t->handler_rsp = (u64)&f->rip;
	__asm__ volatile("movw %%ss, %0" : "=m"(t->handler_ss));
	try_leave();
}

bool count_hit(struct frame *f)
{
	hits[f->vector]++;
	if (hit_orders < sizeof(hit_order))
		hit_order[hit_orders++] = (u8)f->vector;
	return true;
}

bool count_eoi(struct frame *f)
{
	count_hit(f);
	apic_write(0xb0, 0);
	return true;
}

void hits_clear(void)
{
	for (unsigned i = 0; i < 256; i++)
		hits[i] = 0;
	hit_orders = 0;
}

struct try try_new(enum mode mode)
{
	static const struct {
		u16 cs, ss, ds;
	} sel[] = {
		[K64] = { SEL_CODE64, SEL_DATA, SEL_DATA },
		[U64] = { SEL_UCODE64, SEL_UDATA, SEL_UDATA },
		[K32] = { SEL_CODE32, SEL_DATA, SEL_DATA },
		[U32] = { SEL_UCODE32, SEL_UDATA, SEL_UDATA },
		[K16] = { SEL_CODE16, SEL_DATA, SEL_DATA },
		[U16] = { SEL_UCODE16, SEL_UDATA, SEL_UDATA },
	};
	struct try t;

	for (unsigned i = 0; i < sizeof(t); i++)
		((u8 *)&t)[i] = 0;
	t.cs = sel[mode].cs;
	t.ss = sel[mode].ss;
	t.ds = sel[mode].ds;
	t.rflags = 2;
	if (t.cs & 3)
		t.rsp = USER_STACK_TOP - 256;
	else
		t.rsp = (u64)kernel_try_stack + sizeof(kernel_try_stack) - 256;
	return t;
}

void try_run(struct try *t, const void *code)
{
	t->rip = (u64)code;
	write_cr2(0x5a5a5a);
	write_dr6(0xffff0ff0);
	trying = t;
	try_enter(t);
	write_dr7(0x400);
}

bool check(const struct try *t, bool ok, const char *rule)
{
	if (tap_check(ok, rule))
		return true;
	say("vector", t->out.vector);
	say("error", t->out.error);
	say("rip - start", t->out.rip - t->rip);
	say("rip", t->out.rip);
	say("cs", t->out.cs);
	say("ss", t->out.ss);
	say("rsp", t->out.rsp);
	say("rflags", t->out.rflags);
	say("rax", t->out.rax);
	say("cr2", t->cr2);
	say("dr6", t->dr6);
	return false;
}

bool faults_at(struct try *t, const void *code, u64 offset, u64 vector, u64 error, const char *rule)
{
	bool ok;

	try_run(t, code);
	ok = t->out.vector == vector && t->out.error == error && t->out.rip == t->rip + offset;
	if (!check(t, ok, rule)) {
		tap_note("vector", t->out.vector, vector);
		tap_note("error", t->out.error, error);
		tap_note("offset", t->out.rip - t->rip, offset);
	}
	return ok;
}

bool faults(struct try *t, const void *code, u64 vector, u64 error, const char *rule)
{
	return faults_at(t, code, 0, vector, error, rule);
}

bool runs(struct try *t, const void *code, const char *rule)
{
	try_run(t, code);
	return check(t, t->out.vector == DONE, rule);
}

static u8 user_code[64] USER;

const u8 *code_bytes(const void *bytes, unsigned size)
{
	for (unsigned i = 0; i < size && i < sizeof(user_code) - 2; i++)
		user_code[i] = ((const u8 *)bytes)[i];
	user_code[size] = 0xcd;
	user_code[size + 1] = DONE;
	return user_code;
}

void gate_set(unsigned vector, void *target, u16 selector, unsigned type, unsigned dpl,
	      unsigned ist)
{
	u64 at = (u64)target;

	idt[2 * vector] = (at & 0xffff) | (u64)selector << 16 | (u64)ist << 32 | (u64)type << 40 |
			  (u64)dpl << 45 | 1ull << 47 | (at >> 16 & 0xffff) << 48;
	idt[2 * vector + 1] = at >> 32;
}

void desc_system(u16 selector, u64 base, u32 limit, unsigned type, unsigned dpl)
{
	u64 *d = &gdt[selector >> 3];

	d[0] = (limit & 0xffff) | (base & 0xffffff) << 16 | (u64)type << 40 | (u64)dpl << 45 |
	       1ull << 47 | (u64)(limit >> 16 & 15) << 48 | (base >> 24 & 0xff) << 56;
	d[1] = base >> 32;
}

u64 desc(u32 base, u32 limit, u8 access, u8 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}

/*
 * Called before any table is loaded. Every exception and the end of a snippet have a stack of their own: a
 * try may spoil RSP.
 */
void lm_tables(void)
{
	for (unsigned i = 0; i < 256; i++) {
		unsigned ist = i < 32 || i == DONE ? 1 : 0;

		if (i == NMI)
			ist = 2;
		if (i == DF)
			ist = 3;
		if (i == MC)
			ist = 4;
		gate_set(i, trap_stubs + 16 * i, SEL_CODE64, 14,
			 i == DONE || i == BP || i == OF ? 3 : 0, ist);
	}
	for (unsigned i = 1; i <= 4; i++) {
		tss.ist[i] = (u64)ist_stacks[0][i] + HANDLER_STACK_SIZE;
		tss_ap.ist[i] = (u64)ist_stacks[1][i] + HANDLER_STACK_SIZE;
	}
	tss.rsp[0] = (u64)rsp0_stack + HANDLER_STACK_SIZE;
	tss_ap.rsp[0] = (u64)ap_rsp0_stack + HANDLER_STACK_SIZE;
	tss.iomap = tss_ap.iomap = sizeof(struct tss);
	desc_system(SEL_TSS, (u64)&tss, sizeof(tss) - 1, 9, 0);
	desc_system(SEL_TSS_AP, (u64)&tss_ap, sizeof(tss_ap) - 1, 9, 0);
}

void lm_start(void)
{
	pic_quiet();
	lm_main();
	tap_done();
}

static u64 pool_next = 0x800000;

void *page_alloc(void)
{
	u64 *page = (u64 *)pool_next;

	if (pool_next >= 0x1000000) {
		tap_puts("Bail out! page pool empty\n");
		tap.failures++;
		tap_done();
	}
	pool_next += 4096;
	for (unsigned i = 0; i < 512; i++)
		page[i] = 0;
	return page;
}

u64 *pt_entry(u64 va, unsigned level)
{
	u64 *table = (u64 *)(read_cr3() & 0x000ffffffffff000);

	for (unsigned l = 4; l > level; l--) {
		u64 *e = &table[va >> (12 + 9 * (l - 1)) & 511];

		if (!(*e & PTE_P))
			*e = (u64)page_alloc() | PTE_P | PTE_W | PTE_U;
		table = (u64 *)(*e & 0x000ffffffffff000);
	}
	return &table[va >> (12 + 9 * (level - 1)) & 511];
}

void pit_wait(u32 ticks)
{
	while (ticks) {
		u32 n = ticks > 0xffff ? 0xffff : ticks;

		outb(0x61, (u8)((inb(0x61) & ~2) | 1)); /* gate on, speaker off */
		outb(0x43, 0xb0);                       /* channel 2, mode 0 */
		outb(0x42, (u8)n);
		outb(0x42, (u8)(n >> 8));
		for (u32 spins = 0; spins < 100000000 && !(inb(0x61) & 0x20); spins++)
			;
		ticks -= n;
	}
}

void pic_quiet(void)
{
	static const u8 init[][2] = {
		{ 0x20, 0x11 }, { 0xa0, 0x11 }, { 0x21, 0x20 }, { 0xa1, 0x28 }, { 0x21, 0x04 },
		{ 0xa1, 0x02 }, { 0x21, 0x01 }, { 0xa1, 0x01 }, { 0x21, 0xff }, { 0xa1, 0xff },
	};

	for (unsigned i = 0; i < sizeof(init) / sizeof(init[0]); i++)
		outb(init[i][0], init[i][1]);
}

static struct cpuid cpuid_checked(u32 leaf, u32 sub)
{
	if (leaf > cpuid(leaf & 0x80000000, 0).eax)
		return (struct cpuid){ 0, 0, 0, 0 };
	return cpuid(leaf, sub);
}

u32 cpuid_eax(u32 leaf, u32 sub) { return cpuid_checked(leaf, sub).eax; }
u32 cpuid_ebx(u32 leaf, u32 sub) { return cpuid_checked(leaf, sub).ebx; }
u32 cpuid_ecx(u32 leaf, u32 sub) { return cpuid_checked(leaf, sub).ecx; }
u32 cpuid_edx(u32 leaf, u32 sub) { return cpuid_checked(leaf, sub).edx; }

bool cpu_is_intel(void) { return cpuid(0, 0).ecx == 0x6c65746e; /* "ntel" */ }

unsigned cpu_phys_bits(void)
{
	u32 bits = cpuid_eax(0x80000008, 0) & 0xff;

	return bits ? bits : 36;
}

/* The second CPU: serve calls for ever. */
void ap_main(void)
{
	ap_alive++;
	for (;;) {
		void (*fn)(void *) = ap_fn;

		if (!fn) {
			pause();
			continue;
		}
		ap_fn = 0;
		fn(ap_arg);
		ap_busy = 0;
	}
}

bool ap_start(void)
{
	u8 *page = (u8 *)(u64)AP_PAGE;
	u32 before = ap_alive;

	for (u64 i = 0; i < (u64)(ap_trampoline_end - ap_trampoline); i++)
		page[i] = ap_trampoline[i];
	apic_write(0xf0, 0x1ff);
	apic_write(0x310, 1u << 24);
	apic_write(0x300, 0x4500); /* INIT */
	pit_wait(10 * PIT_MS);
	apic_write(0x310, 1u << 24);
	apic_write(0x300, 0x4600 | AP_PAGE >> 12); /* SIPI */
	for (unsigned i = 0; i < 200 && ap_alive == before; i++)
		pit_wait(PIT_MS);
	return ap_alive != before;
}

void ap_call(void (*fn)(void *), void *arg)
{
	ap_busy = 1;
	ap_arg = arg;
	ap_fn = fn;
}

bool ap_wait(void)
{
	for (unsigned i = 0; i < 2000 && ap_busy; i++)
		pit_wait(PIT_MS);
	return !ap_busy;
}

/* gcc may call these for structure copies. */
void *memcpy(void *to, const void *from, u64 n);
void *memset(void *to, int value, u64 n);

void *memcpy(void *to, const void *from, u64 n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int value, u64 n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return start;
}
