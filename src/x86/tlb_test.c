/* The soft TLB: what each kind of flush drops and what it keeps (SDM 3A 4.10.4), large pages, cached code, alignment checks. */
#include "x86/tlb.h"

#include "x86/exec_test.h"

#define RAM   (8 * MIB)
#define PML4  0x10000ull
#define PDPT  0x11000ull
#define PD    0x12000ull
#define PT    0x13000ull
#define SMALL (PTE_P | PTE_W | PTE_U)
#define BIG   (SMALL | PTE_PS)

/* Linear addresses: small pages are in the first 2 MiB, frames where the test says. */
#define PAGE_A 0x40000ull
#define PAGE_B 0x41000ull
#define LARGE  (4 * MIB)
#define HUGE   GIB
#define ALIAS  ((u64)TLB_SIZE << 12) /* from page to page in one slot */

static struct {
	enum tlb_drop what;
	gva_t a;
	unsigned count;
} dropped;

static void on_dropped(struct vcpu *v, enum tlb_drop what, gva_t a)
{
	(void)v;
	dropped.what = what;
	dropped.a = a;
	dropped.count++;
}

static int setup(void **state)
{
	struct machine *m;

	if (machine_setup(state))
		return -1;
	m = *state;
	mem_fini(&m->mem);
	return mem_init(&m->mem, RAM);
}

static void map(struct machine *m, gva_t a, u64 entry) { poke(m, PT + (a >> 12) * 8, entry, 8); }

/* 64-bit mode at CPL 0 with PGE; PAGE_A and PAGE_B on frames of the same numbers, nothing else. */
static struct machine *fresh(void **state)
{
	struct machine *m = *state;
	struct x86_cpu *cpu = &m->v->cpu;

	machine_mode(m, 64);
	memset(mem_host(&m->mem, PML4, 0x4000), 0, 0x4000);
	memset(m->mem.ram->page_flags, 0, RAM / MEM_PAGE);
	poke(m, PML4, PDPT | SMALL, 8);
	poke(m, PDPT, PD | SMALL, 8);
	poke(m, PD, PT | SMALL, 8);
	map(m, PAGE_A, PAGE_A | SMALL);
	map(m, PAGE_B, PAGE_B | SMALL);
	cpu->cr3 = PML4;
	cpu->cr4 = CR4_PAE | CR4_PGE;
	cpu->cr0 |= CR0_PG;
	x86_tlb_flush(m->v, false);
	x86_mode_changed(m->v);
	m->v->mapping_dropped = on_dropped;
	memset(&dropped, 0, sizeof(dropped));
	return m;
}

static void cpl(struct machine *m, unsigned n)
{
	m->v->cpu.cpl = (u8)n;
	x86_mode_changed(m->v);
}

/* Accesses one byte; what it raised. */
static int touch(struct machine *m, gva_t a, bool write)
{
	m->r[RAX] = a;
	return run(m, write ? "c6 00 5a" : "8a 08"); /* mov byte [rax], 5ah; mov cl, [rax] */
}

static bool held(struct machine *m, gva_t a) { return tlb_hit(m->v, a, 1, false); }

static void invlpg(struct machine *m, gva_t a)
{
	m->r[RAX] = a;
	assert_int_equal(run(m, "0f 01 38"), NO_EXC);
}

static void load_cr3(struct machine *m)
{
	m->r[RAX] = PML4;
	assert_int_equal(run(m, "0f 22 d8"), NO_EXC);
}

/* An engine's memory of a page. */
static void plant_near(struct machine *m, gva_t page)
{
	m->v->near[TLB_USER][RBX] = (struct tlb_near){ .read = -page, .write = -page };
}

static bool near_empty(struct machine *m)
{
	const struct tlb_near *n = &m->v->near[TLB_USER][RBX];

	return n->read == TLB_NEAR_INVALID && n->write == TLB_NEAR_INVALID;
}

/* No access finds anything, least of all one that begins below page 0 or ends behind it. */
static void empty_table(void **state)
{
	static const unsigned sizes[] = { 1, 2, 4, 8, 64, 576, 4096 };
	static const u64 pages[] = { 0, 1, 2, 3, TLB_SIZE - 2, TLB_SIZE - 1 };
	static const u64 high[] = { 0, ALIAS, 5 * ALIAS, -ALIAS };
	struct vcpu *v = vcpu_new(&((struct machine *)*state)->vm);

	assert_non_null(v);
	assert_int_equal((uintptr_t)v->tlbs % 4096, 0);
	for (unsigned m = 0; m < TLB_MODES; m++) {
		v->tlb = &v->tlbs[m];
		for (unsigned h = 0; h < ARRAY_LEN(high); h++)
			for (unsigned p = 0; p < ARRAY_LEN(pages); p++)
				for (unsigned off = 0; off < 4096; off++)
					for (unsigned s = 0; s < ARRAY_LEN(sizes); s++) {
						gva_t a = high[h] + (pages[p] << 12) + off;

						assert_null(tlb_hit(v, a, sizes[s], false));
						assert_null(tlb_hit(v, a, sizes[s], true));
						assert_false(tlb_covers(v->tlb->exec[tlb_slot(a)],
									a, sizes[s]));
					}
	}
	assert_int_equal(v->near[TLB_CHECKED][15].read, TLB_NEAR_INVALID);
	vcpu_free(v);
	vcpu_free(NULL);
}

static void hits(void **state)
{
	struct machine *m = fresh(state);
	struct vcpu *v = m->v;

	map(m, PAGE_B, (PAGE_A + 0x5000) | SMALL);
	assert_int_equal(touch(m, PAGE_A, true), NO_EXC);
	assert_int_equal(touch(m, PAGE_B, true), NO_EXC);
	/* Unaligned ones too, but none that leaves the page at either end. */
	assert_ptr_equal(tlb_hit(v, PAGE_A + 0xff7, 8, true), mem_host(&m->mem, PAGE_A + 0xff7, 8));
	assert_non_null(tlb_hit(v, PAGE_A, 4096, true));
	assert_non_null(tlb_hit(v, PAGE_A + 0xff8, 8, false));
	for (unsigned n = 1; n < 8; n++)
		assert_null(tlb_hit(v, PAGE_A + 0xff8 + n, 8, false));
	assert_null(tlb_hit(v, PAGE_A - 1, 2, false));
	assert_null(tlb_hit(v, PAGE_A + ALIAS, 1, false));
	for (unsigned n = 0; n < 16; n++)
		poke(m, (n < 8 ? PAGE_A + 0xff8 : PAGE_A + 0x5000) + n % 8, n, 1);
	m->r[RAX] = PAGE_A + 0xffc;
	assert_int_equal(run(m, "48 8b 08"), NO_EXC); /* mov rcx, [rax] */
	assert_int_equal(m->r[RCX], 0x0b0a090807060504);
}

static void flush_keeps_global_pages(void **state)
{
	struct machine *m = fresh(state);

	map(m, PAGE_B, PAGE_B | SMALL | PTE_G);
	poke(m, PAGE_B, 0x11, 1);
	poke(m, PAGE_B + 0x1000, 0x22, 1);
	assert_int_equal(touch(m, PAGE_A, false), NO_EXC);
	assert_int_equal(touch(m, PAGE_B, false), NO_EXC);
	map(m, PAGE_B, (PAGE_B + 0x1000) | SMALL | PTE_G);
	plant_near(m, PAGE_A);
	load_cr3(m);
	assert_true(near_empty(m));
	assert_int_equal(dropped.what, TLB_DROP_NONGLOBAL);
	assert_false(held(m, PAGE_A));
	assert_true(held(m, PAGE_B));
	touch(m, PAGE_B, false);
	assert_int_equal(m->r[RCX] & 0xff, 0x11);
	/* A change of CR4.PGE drops them too. */
	m->r[RAX] = CR4_PAE;
	assert_int_equal(run(m, "0f 22 e0"), NO_EXC);
	assert_int_equal(dropped.what, TLB_DROP_ALL);
	assert_false(held(m, PAGE_B));
	touch(m, PAGE_B, false);
	assert_int_equal(m->r[RCX] & 0xff, 0x22);
	/* Without it, G means nothing. */
	load_cr3(m);
	assert_false(held(m, PAGE_B));
	assert_int_equal(dropped.count, 3);
}

/* A slot goes from a page of one kind to one of the other. */
static void slot_changes_scope(void **state)
{
	struct machine *m = fresh(state);

	touch(m, PAGE_A, false);
	invlpg(m, PAGE_A);
	map(m, PAGE_A, PAGE_A | SMALL | PTE_G);
	touch(m, PAGE_A, false);
	load_cr3(m);
	assert_true(held(m, PAGE_A));
	/* Without a flush: a write finds D clear and walks again. */
	map(m, PAGE_A, PAGE_A | SMALL);
	assert_int_equal(touch(m, PAGE_A, true), NO_EXC);
	assert_true(held(m, PAGE_A));
	load_cr3(m);
	assert_false(held(m, PAGE_A));
	touch(m, PAGE_B, false);
	map(m, PAGE_B, PAGE_B | SMALL | PTE_G);
	assert_int_equal(touch(m, PAGE_B, true), NO_EXC);
	load_cr3(m);
	assert_true(held(m, PAGE_B));
}

static void invlpg_drops_one_page(void **state)
{
	struct machine *m = fresh(state);

	map(m, PAGE_A, PAGE_A | SMALL | PTE_G);
	for (unsigned n = 0; n < 4; n += 3) {
		cpl(m, n);
		touch(m, PAGE_A, true);
		touch(m, PAGE_B, true);
		assert_true(held(m, PAGE_A) && held(m, PAGE_B));
	}
	cpl(m, 0);
	plant_near(m, PAGE_B);
	invlpg(m, PAGE_A + ALIAS);
	assert_true(held(m, PAGE_A));
	assert_true(near_empty(m));
	invlpg(m, PAGE_A + 0x123);
	assert_int_equal(dropped.what, TLB_DROP_PAGE);
	assert_int_equal(dropped.a, PAGE_A + 0x123);
	for (unsigned n = 0; n < 4; n += 3) {
		cpl(m, n);
		assert_false(held(m, PAGE_A));
		assert_true(held(m, PAGE_B));
	}
}

static void large_pages(void **state)
{
	static const u64 piece[] = { 0, 0x1000, 0x7f000, 0x1ff000 };
	struct machine *m = fresh(state);

	poke(m, PD + (LARGE >> 21) * 8, BIG | PTE_G, 8);
	touch(m, PAGE_A, true);
	for (unsigned n = 0; n < ARRAY_LEN(piece); n++)
		assert_int_equal(touch(m, LARGE + piece[n], true), NO_EXC);
	/* A small page elsewhere is no reason to drop it. */
	invlpg(m, PAGE_A);
	assert_int_equal(dropped.what, TLB_DROP_PAGE);
	for (unsigned n = 0; n < ARRAY_LEN(piece); n++)
		assert_true(held(m, LARGE + piece[n]));
	touch(m, PAGE_A, true);
	load_cr3(m);
	touch(m, PAGE_A, true);
	cpl(m, 3);
	assert_true(touch(m, LARGE + piece[1], false) == NO_EXC && held(m, LARGE + piece[1]));
	cpl(m, 0);
	invlpg(m, LARGE + 0x80000);
	assert_int_equal(dropped.what, TLB_DROP_ALL);
	for (unsigned n = 0; n < ARRAY_LEN(piece); n++)
		assert_false(held(m, LARGE + piece[n]));
	assert_true(held(m, PAGE_A));
	cpl(m, 3);
	assert_false(held(m, LARGE + piece[1]));
	cpl(m, 0);
	/* Engines are told even if the TLB has lost the last piece. */
	x86_tlb_flush(m->v, false);
	poke(m, PD + ((LARGE + ALIAS) >> 21) * 8, BIG, 8);
	touch(m, LARGE, false);
	touch(m, LARGE + ALIAS, false);
	assert_false(held(m, LARGE));
	invlpg(m, LARGE + 0x1000);
	assert_int_equal(dropped.what, TLB_DROP_ALL);
	assert_true(held(m, LARGE + ALIAS));
	/* After a flush of everything nothing is known of it. */
	x86_tlb_flush(m->v, false);
	invlpg(m, LARGE);
	assert_int_equal(dropped.what, TLB_DROP_PAGE);
}

static void huge_pages(void **state)
{
	struct machine *m = fresh(state);

	if (!cpuid_has(&m->vm, FEAT_1G))
		skip();
	poke(m, PDPT + (HUGE >> 30) * 8, BIG, 8);
	touch(m, PAGE_A, false);
	assert_int_equal(touch(m, HUGE, false), NO_EXC);
	assert_int_equal(touch(m, HUGE + 7 * MIB, false), NO_EXC);
	invlpg(m, HUGE - 1);
	assert_true(held(m, HUGE) && held(m, HUGE + 7 * MIB));
	invlpg(m, 2 * HUGE - 1);
	assert_int_equal(dropped.what, TLB_DROP_ALL);
	assert_false(held(m, HUGE) || held(m, HUGE + 7 * MIB));
	assert_true(held(m, PAGE_A));
}

/* 4 MiB pages of 32-bit paging. */
static void pse_pages(void **state)
{
	struct machine *m = fresh(state);
	struct x86_cpu *cpu = &m->v->cpu;

	machine_mode(m, 32);
	cpu->cr0 |= CR0_PG;
	cpu->cr4 = CR4_PSE;
	cpu->cr3 = PML4;
	memset(mem_host(&m->mem, PML4, 4096), 0, 4096);
	poke(m, PML4 + 2 * 4, BIG, 4);
	x86_mode_changed(m->v);
	assert_int_equal(touch(m, 8 * MIB, false), NO_EXC);
	assert_int_equal(touch(m, 11 * MIB, false), NO_EXC);
	assert_true(held(m, 8 * MIB) && held(m, 11 * MIB));
	invlpg(m, 9 * MIB);
	assert_false(held(m, 8 * MIB) || held(m, 11 * MIB));
	assert_int_equal(dropped.what, TLB_DROP_ALL);
}

/* More pages than there are slots, of both kinds: flushes find each of them. */
static void many_pages(void **state)
{
	struct machine *m = fresh(state);
	const struct vcpu *v = m->v;

	for (unsigned n = 2; n < 512; n++)
		poke(m, PD + n * 8, BIG | (n % 4) << 21 | (n & 1 ? PTE_G : 0), 8);
	for (gva_t a = LARGE; a < GIB / 2; a += 4096)
		x86_read(m->v, a, 8);
	assert_true(held(m, GIB / 2 - 4096));
	load_cr3(m);
	for (gva_t a = GIB / 2 - ALIAS; a < GIB / 2; a += 4096)
		assert_int_equal(held(m, a), a >> 21 & 1);
	x86_tlb_flush(m->v, false);
	for (unsigned k = 0; k < TLB_MODES; k++)
		for (unsigned n = 0; n < TLB_SIZE; n++) {
			assert_int_equal(v->tlbs[k].read[n], tlb_invalid(n));
			assert_int_equal(v->tlbs[k].write[n], tlb_invalid(n));
			assert_int_equal(v->tlbs[k].exec[n], tlb_invalid(n));
		}
}

static const u8 *watched_page;
static unsigned announced;

static void on_code_written(struct vm *vm, const u8 *host, u64 size)
{
	(void)vm;
	(void)size;
	announced += host >= watched_page && host < watched_page + MEM_PAGE;
}

static void protected_code(void **state)
{
	struct machine *m = fresh(state);
	const u8 *flags = &m->mem.ram->page_flags[PAGE_A >> 12];
	struct vcpu *first = m->v, *second = vcpu_new(&m->vm);

	assert_non_null(second);
	m->vm.code_written = on_code_written;
	watched_page = m->mem.ram->host + PAGE_A;
	second->cpu = first->cpu;
	second->exit = first->exit;
	x86_mode_changed(second);
	m->vm.vcpus[m->vm.nvcpus++] = second;
	/* Two linear addresses, one of them global, two modes, two CPUs. */
	map(m, PAGE_B, PAGE_A | SMALL | PTE_G);
	map(m, PAGE_B + 0x1000, PAGE_B | SMALL);
	assert_int_equal(*flags, 0);
	touch(m, PAGE_A, true);
	assert_int_equal(*flags, MEM_PAGE_TLB_WRITE);
	touch(m, PAGE_B + 0x1000, true);
	cpl(m, 3);
	touch(m, PAGE_B, true);
	x86_write(second, PAGE_A, 1, 1);
	assert_true(tlb_hit(second, PAGE_A, 1, true) && tlb_hit(first, PAGE_B, 1, true));
	plant_near(m, PAGE_A);
	x86_protect_code(&m->vm, m->mem.ram->host + PAGE_A);
	assert_int_equal(*flags, MEM_PAGE_CODE);
	assert_true(near_empty(m));
	assert_null(tlb_hit(second, PAGE_A, 1, true));
	assert_null(tlb_hit(first, PAGE_B, 1, true));
	assert_non_null(tlb_hit(first, PAGE_B, 1, false));
	cpl(m, 0);
	assert_null(tlb_hit(first, PAGE_A, 1, true));
	assert_non_null(tlb_hit(first, PAGE_A, 1, false));
	assert_non_null(tlb_hit(first, PAGE_B + 0x1000, 1, true));
	announced = 0;
	touch(m, PAGE_A, true);
	x86_write(second, PAGE_B, 1, 8);
	assert_int_equal(announced, 2);
	assert_null(tlb_hit(first, PAGE_A, 1, true));
	/* And once more after a time without code. */
	x86_unprotect_code(&m->vm, m->mem.ram->host + PAGE_A);
	touch(m, PAGE_A, true);
	assert_int_equal(announced, 2);
	assert_non_null(tlb_hit(first, PAGE_A, 1, true));
	x86_protect_code(&m->vm, m->mem.ram->host + PAGE_A);
	assert_null(tlb_hit(first, PAGE_A, 1, true));
	m->vm.nvcpus--;
	vcpu_free(second);
}

static void alignment_checks(void **state)
{
	struct machine *m = fresh(state);
	struct vcpu *v = m->v;
	u8 byte;

	poke(m, PAGE_A + 8, 0x1122334455667788, 8);
	v->cpu.cr0 |= CR0_AM;
	v->cpu.rflags |= FL_AC;
	cpl(m, 3);
	m->r[RAX] = PAGE_A + 8;
	assert_int_equal(run(m, "48 8b 08"), NO_EXC); /* mov rcx, [rax] */
	assert_int_equal(m->r[RCX], 0x1122334455667788);
	assert_int_equal(run(m, "48 8b 48 01"), EXC_AC); /* mov rcx, [rax + 1] */
	assert_int_equal(run(m, "48 89 48 f9"), EXC_AC); /* mov [rax - 7], rcx */
	assert_int_equal(run(m, "48 01 48 04"), EXC_AC); /* add [rax + 4], rcx */
	assert_int_equal(run(m, "c6 40 01 00"), NO_EXC); /* mov byte [rax + 1], 0 */
	m->r[RSP] = PAGE_A + 0x84;
	assert_int_equal(run(m, "50"), EXC_AC); /* push rax */
	assert_int_equal(v->exc.error, 0);
	assert_ptr_equal(v->tlb, &v->tlbs[TLB_CHECKED]);
	/* What can be fetched is found there, and nothing else. */
	assert_int_equal(x86_fetch(v, PAGE_A, &byte, 1), 1);
	assert_true(tlb_covers(v->tlb->exec[tlb_slot(PAGE_A)], PAGE_A, 1));
	assert_null(tlb_hit(v, PAGE_A, 1, false));
	assert_null(tlb_hit(v, PAGE_A, 1, true));
	assert_true(tlb_covers(v->tlbs[TLB_USER].write[tlb_slot(PAGE_A)], PAGE_A, 1));
	invlpg((cpl(m, 0), m), PAGE_A);
	assert_false(tlb_covers(v->tlbs[TLB_CHECKED].exec[tlb_slot(PAGE_A)], PAGE_A, 1));
	assert_int_equal(run(m, "48 8b 48 01"), NO_EXC); /* not at CPL 0 */
	cpl(m, 3);
	/* The rights are those of CPL 3, for data and code. */
	map(m, PAGE_A, PAGE_A | PTE_P | PTE_W);
	assert_int_equal(touch(m, PAGE_A, false), EXC_PF);
	assert_int_equal(v->exc.error, PF_P | PF_U);
	v->cpu.rflags &= ~FL_AC;
	x86_mode_changed(v);
	m->r[RAX] = PAGE_B;
	assert_int_equal(run(m, "48 8b 48 01"), NO_EXC);
	assert_non_null(tlb_hit(v, PAGE_B + 1, 8, false));
}

static void watched_pages(void **state)
{
	struct machine *m = fresh(state);

	touch(m, PAGE_A, true);
	plant_near(m, PAGE_A);
	m->r[RAX] = PAGE_A + 0x10;
	assert_int_equal(run(m, "0f 23 c0"), NO_EXC); /* mov dr0, rax */
	m->r[RAX] = 0xd0002;                          /* breakpoint 0: four bytes, write */
	assert_int_equal(run(m, "0f 23 f8"), NO_EXC); /* mov dr7, rax */
	assert_true(near_empty(m));
	touch(m, PAGE_A, true);
	touch(m, PAGE_B, true);
	assert_false(held(m, PAGE_A));
	assert_true(held(m, PAGE_B));
	assert_int_equal(m->v->pending_dr6, 0);
	touch(m, PAGE_A + 0x12, true);
	assert_int_equal(m->v->pending_dr6, 1);
	m->v->pending_dr6 = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_table),
		cmocka_unit_test(hits),
		cmocka_unit_test(flush_keeps_global_pages),
		cmocka_unit_test(slot_changes_scope),
		cmocka_unit_test(invlpg_drops_one_page),
		cmocka_unit_test(large_pages),
		cmocka_unit_test(huge_pages),
		cmocka_unit_test(pse_pages),
		cmocka_unit_test(many_pages),
		cmocka_unit_test(protected_code),
		cmocka_unit_test(alignment_checks),
		cmocka_unit_test(watched_pages),
	};

	return cmocka_run_group_tests(tests, setup, machine_teardown);
}
