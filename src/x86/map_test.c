/* The CPU on a memory map that changes: what its TLB remembers of it, ROM whose writes are the bus's, pages of which it is noted that
 * they were written, paging structures in such places. */
#include "x86/exec_test.h"
#include "x86/mmu.h"

#define ROM_AT   0xc8000ull /* 8 KiB */
#define VIDEO_AT 0xd0000ull /* 8 KiB of tracked memory */
#define ALIAS_AT 0xd8000ull /* the same once more */
#define NOTHING  0xa0000ull
#define TABLES   0x10000ull /* PML4, PDPT and PD; PT where the test says */
#define PT       0x13000ull

static struct {
	struct machine *m;
	struct mem_area *rom, *video;
	unsigned writes;
	struct {
		gpa_t addr;
		u64 value;
		unsigned size;
	} write[8];
	unsigned announced;
	int owner;
} x;

static void on_exit_(struct vcpu *v, struct exit *e)
{
	(void)v;
	if (e->kind == EXIT_MMIO_READ)
		e->value = bits_mask(64);
	if (e->kind != EXIT_MMIO_WRITE)
		return;
	assert_true(x.writes < ARRAY_LEN(x.write));
	x.write[x.writes].addr = e->addr;
	x.write[x.writes].value = e->value & bits_mask(8u * e->size);
	x.write[x.writes++].size = e->size;
}

static void on_changed(void *opaque)
{
	(void)opaque;
	x86_tlb_flush(x.m->v, false);
}

static void on_code(struct vm *vm, const u8 *host, u64 size)
{
	(void)vm;
	(void)host;
	(void)size;
	x.announced++;
}

static void show(struct mem_area *area, gpa_t base, u64 offset, enum mem_access access)
{
	assert_int_equal(mem_show(&x.m->mem, &(struct mem_window){ .base = base,
								   .size = 0x2000,
								   .area = area,
								   .offset = offset,
								   .access = access,
								   .level = MEM_LEVEL_DEVICE,
								   .owner = &x.owner }),
			 0);
}

static int setup(void **state)
{
	struct machine *m;

	if (machine_setup(state))
		return -1;
	m = *state;
	memset(&x, 0, sizeof(x));
	x.m = m;
	m->v->exit = on_exit_;
	m->vm.code_written = on_code;
	m->mem.changed = on_changed;
	x.rom = mem_area_new(&m->mem, 0x2000, "rom");
	x.video = mem_area_new(&m->mem, 0x4000, "video");
	if (!x.rom || !x.video)
		return -1;
	x.video->track = true;
	memset(x.rom->host, 0x11, 0x2000);
	show(x.rom, ROM_AT, 0, MEM_ROM);
	show(x.video, VIDEO_AT, 0, MEM_RAM);
	show(x.video, ALIAS_AT, 0, MEM_RAM);
	machine_mode(m, 64);
	return 0;
}

static void wrote(unsigned n, gpa_t addr, u64 value, unsigned size)
{
	assert_true(n < x.writes);
	assert_int_equal(x.write[n].addr, addr);
	assert_int_equal(x.write[n].value, value);
	assert_int_equal(x.write[n].size, size);
}

static u64 dirty(void)
{
	u64 bits[1] = { 0 };

	mem_take_dirty(&x.m->mem, x.video, bits);
	return bits[0];
}

/* Paging on: what lies below 2 MiB is mapped to itself by a table at `pt`. */
static void paging(gpa_t pt)
{
	struct machine *m = x.m;
	u8 *table = mem_find(&m->mem, pt)->host + (pt - mem_find(&m->mem, pt)->base);

	memset(mem_host(&m->mem, TABLES, 0x3000), 0, 0x3000);
	poke(m, TABLES, (TABLES + 0x1000) | PTE_P | PTE_W, 8);
	poke(m, TABLES + 0x1000, (TABLES + 0x2000) | PTE_P | PTE_W, 8);
	poke(m, TABLES + 0x2000, pt | PTE_P | PTE_W, 8);
	for (unsigned n = 0; n < 512; n++)
		le_store(table + 8 * n, n * 4096ull | PTE_P | PTE_W, 8);
	m->v->cpu.cr3 = TABLES;
	m->v->cpu.cr4 = CR4_PAE;
	m->v->cpu.cr0 |= CR0_PG | CR0_WP;
	x86_tlb_flush(m->v, false);
	x86_mode_changed(m->v);
}

/* --- The map changes --------------------------------------------------------------------------- */

static void translations_follow_the_map(void **state)
{
	struct machine *m = *state;
	struct vcpu *v = m->v;
	u8 code;

	x86_write(v, VIDEO_AT + 8, 0x1122, 8);
	assert_int_equal(x86_read(v, ALIAS_AT + 8, 8), 0x1122);
	assert_int_equal(x86_fetch(v, VIDEO_AT + 8, &code, 1), 1);
	assert_int_equal(code, 0x22);
	assert_non_null(tlb_hit(v, VIDEO_AT, 8, true));
	le_store(x.video->host + 0x2008, 0x3344, 8);
	show(x.video, VIDEO_AT, 0x2000, MEM_RAM);
	assert_int_equal(x86_read(v, VIDEO_AT + 8, 8), 0x3344);
	assert_int_equal(x86_fetch(v, VIDEO_AT + 8, &code, 1), 1);
	assert_int_equal(code, 0x44);
	assert_ptr_equal(x86_fetch_host(v, VIDEO_AT + 8), x.video->host + 0x2008);
	x86_write(v, VIDEO_AT + 8, 0x5566, 8);
	assert_int_equal(x86_read(v, ALIAS_AT + 8, 8), 0x1122);
	/* From memory to ROM: no write goes by an old translation. */
	show(x.video, VIDEO_AT, 0x2000, MEM_ROM);
	x86_write(v, VIDEO_AT + 8, 0x7788, 8);
	wrote(0, VIDEO_AT + 8, 0x7788, 8);
	assert_int_equal(x86_read(v, VIDEO_AT + 8, 8), 0x5566);
	/* To nothing, and back. */
	mem_hide(&m->mem, VIDEO_AT, &x.owner);
	mem_hide(&m->mem, ALIAS_AT, &x.owner);
	assert_int_equal(x86_read(v, VIDEO_AT + 8, 8), 0); /* RAM is below */
	show(x.video, VIDEO_AT, 0, MEM_RAM);
	assert_int_equal(x86_read(v, VIDEO_AT + 8, 8), 0x1122);
	assert_null(x86_fetch_host(v, NOTHING));
}

/* --- ROM ---------------------------------------------------------------------------------------- */

static void rom_writes_reach_the_bus_once(void **state)
{
	struct machine *m = *state;
	struct vcpu *v = m->v;

	/* Also where reads have filled the TLB. */
	assert_int_equal(x86_read(v, ROM_AT, 8), 0x1111111111111111);
	m->r[RAX] = ROM_AT;
	m->r[RCX] = 0x8877665544332211;
	assert_int_equal(run(m, "48 89 48 08"), NO_EXC); /* mov [rax + 8], rcx */
	assert_int_equal(x.writes, 1);
	wrote(0, ROM_AT + 8, 0x8877665544332211, 8);
	/* Within the ROM, across its pages: in pieces that are aligned. */
	x.writes = 0;
	m->r[RAX] = ROM_AT + 0x0ffc;
	assert_int_equal(run(m, "48 89 08"), NO_EXC);
	assert_int_equal(x.writes, 2);
	wrote(0, ROM_AT + 0xffc, 0x44332211, 4);
	wrote(1, ROM_AT + 0x1000, 0x88776655, 4);
	/* From RAM into it, and out of it. */
	x.writes = 0;
	m->r[RAX] = ROM_AT - 3;
	assert_int_equal(run(m, "48 89 08"), NO_EXC);
	assert_int_equal(peek(m, ROM_AT - 3, 3), 0x332211);
	assert_int_equal(x.writes, 2);
	wrote(0, ROM_AT, 0x77665544, 4);
	wrote(1, ROM_AT + 4, 0x88, 1);
	x.writes = 0;
	m->r[RAX] = ROM_AT + 0x1ffe;
	assert_int_equal(run(m, "48 89 08"), NO_EXC);
	assert_int_equal(x.writes, 1);
	wrote(0, ROM_AT + 0x1ffe, 0x2211, 2);
	assert_int_equal(peek(m, ROM_AT + 0x2000, 6), 0x887766554433);
	/* Pushes. */
	x.writes = 0;
	m->r[RSP] = ROM_AT + 0x10;
	assert_int_equal(run(m, "51"), NO_EXC);
	assert_int_equal(x.writes, 1);
	wrote(0, ROM_AT + 8, m->r[RCX], 8);
	assert_int_equal(m->r[RSP], ROM_AT + 8);
	/* Nothing of all this is in the ROM. */
	for (unsigned n = 0; n < 0x2000; n++)
		assert_int_equal(x.rom->host[n], 0x11);
}

static void read_modify_write_of_rom(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = ROM_AT;
	m->r[RCX] = 0x22;
	assert_int_equal(run(m, "f0 48 01 48 10"), NO_EXC); /* lock add [rax + 16], rcx */
	assert_int_equal(x.writes, 1);
	wrote(0, ROM_AT + 16, 0x1111111111111133, 8);
	x.writes = 0;
	assert_int_equal(run(m, "48 87 48 08"), NO_EXC); /* xchg [rax + 8], rcx */
	assert_int_equal(m->r[RCX], 0x1111111111111111);
	assert_int_equal(x.writes, 1);
	wrote(0, ROM_AT + 8, 0x22, 8);
	x.writes = 0;
	assert_int_equal(run(m, "f0 48 0f c1 48 18"), NO_EXC); /* lock xadd [rax + 24], rcx */
	assert_int_equal(x.writes, 1);
	wrote(0, ROM_AT + 24, 0x2222222222222222, 8);
	x.writes = 0;
	assert_int_equal(run(m, "80 48 03 80"), NO_EXC); /* or byte [rax + 3], 80h */
	assert_int_equal(x.writes, 1);
	wrote(0, ROM_AT + 3, 0x91, 1);
	assert_int_equal(le_load(x.rom->host, 8), 0x1111111111111111);
}

static void strings_into_rom(void **state)
{
	struct machine *m = *state;

	m->r[RAX] = 0xa5;
	m->r[RDI] = ROM_AT + 0xffe;
	m->r[RCX] = 4;
	assert_int_equal(run(m, "f3 aa"), NO_EXC); /* rep stosb */
	assert_int_equal(x.writes, 4);
	for (unsigned n = 0; n < 4; n++)
		wrote(n, ROM_AT + 0xffe + n, 0xa5, 1);
	x.writes = 0;
	poke(m, 0x6000, 0x4444333322221111, 8);
	m->r[RSI] = 0x6000;
	m->r[RDI] = ROM_AT - 4;
	m->r[RCX] = 4;
	assert_int_equal(run(m, "f3 66 a5"), NO_EXC); /* rep movsw */
	assert_int_equal(peek(m, ROM_AT - 4, 4), 0x22221111);
	assert_int_equal(x.writes, 2);
	wrote(0, ROM_AT, 0x3333, 2);
	wrote(1, ROM_AT + 2, 0x4444, 2);
	/* Out of ROM to RAM, fast. */
	x.writes = 0;
	m->r[RSI] = ROM_AT;
	m->r[RDI] = 0x6000;
	m->r[RCX] = 8;
	assert_int_equal(run(m, "f3 a4"), NO_EXC);
	assert_int_equal(peek(m, 0x6000, 8), 0x1111111111111111);
	assert_int_equal(x.writes, 0);
}

/* --- Pages that were written -------------------------------------------------------------------- */

static void writes_are_noted(void **state)
{
	struct machine *m = *state;
	struct vcpu *v = m->v;

	assert_int_equal(dirty(), 0);
	x86_write(v, VIDEO_AT + 0x1000, 1, 1);
	assert_int_equal(dirty(), 2);
	/* Noted again each time after it was asked for, through whichever window. */
	assert_null(tlb_hit(v, VIDEO_AT + 0x1000, 1, true));
	x86_write(v, VIDEO_AT + 0x1000, 1, 1);
	x86_write(v, ALIAS_AT, 1, 1);
	assert_int_equal(dirty(), 3);
	assert_int_equal(dirty(), 0);
	x86_write(v, VIDEO_AT + 0xffc, 1, 8);
	assert_int_equal(dirty(), 3);
	m->r[RDI] = VIDEO_AT + 0x800;
	m->r[RCX] = 0x400;
	assert_int_equal(run(m, "f3 48 ab"), NO_EXC); /* rep stosq */
	assert_int_equal(dirty(), 3);                 /* what follows is RAM */
}

/* Writes that the TLB never lets pass are noted, too. */
static void slow_writes_are_noted(void **state)
{
	struct machine *m = *state;
	struct vcpu *v = m->v;

	x86_protect_code(&m->vm, x.video->host);
	x86_write(v, VIDEO_AT + 4, 1, 4);
	assert_int_equal(x.announced, 1);
	assert_int_equal(dirty(), 1);
	x86_write(v, VIDEO_AT + 4, 1, 4);
	assert_int_equal(dirty(), 1);
	m->r[RDI] = VIDEO_AT;
	m->r[RCX] = 2;
	assert_int_equal(run(m, "f3 48 ab"), NO_EXC);
	assert_int_equal(dirty(), 1);
	x86_unprotect_code(&m->vm, x.video->host);
	/* A data breakpoint. */
	v->cpu.dr[0] = VIDEO_AT + 0x1100;
	v->cpu.dr[7] = 0x10002;
	x86_tlb_flush(v, false);
	x86_write(v, VIDEO_AT + 0x1000, 1, 4);
	assert_int_equal(dirty(), 2);
	x86_write(v, VIDEO_AT + 0x1000, 1, 4);
	assert_int_equal(dirty(), 2);
	v->cpu.dr[7] = 0x400;
}

/* --- Paging structures -------------------------------------------------------------------------- */

static void accessed_bits_of_tracked_memory(void **state)
{
	struct machine *m = *state;
	struct vcpu *v = m->v;

	paging(VIDEO_AT + 0x1000);
	dirty();
	x86_read(v, 0x5000, 1);
	assert_int_equal(le_load(x.video->host + 0x1000 + 5 * 8, 8),
			 0x5000 | PTE_P | PTE_W | PTE_A);
	assert_int_equal(dirty(), 2);
	x86_read(v, 0x5000, 1);
	assert_int_equal(dirty(), 0); /* it is set already */
	x86_protect_code(&m->vm, x.video->host + 0x1000);
	x86_write(v, 0x5000, 1, 1);
	assert_true(le_load(x.video->host + 0x1000 + 5 * 8, 8) & PTE_D);
	assert_int_equal(x.announced, 1);
	assert_int_equal(dirty(), 2);
}

static void tables_in_rom(void **state)
{
	struct machine *m = *state;
	struct vcpu *v = m->v;

	paging(ROM_AT + 0x1000);
	poke(m, 0x5000, 0x42, 1);
	assert_int_equal(x86_read(v, 0x5000, 1), 0x42);
	x86_write(v, 0x5001, 0x43, 1);
	assert_int_equal(peek(m, 0x5000, 2), 0x4342);
	assert_int_equal(le_load(x.rom->host + 0x1000 + 5 * 8, 8), 0x5000 | PTE_P | PTE_W);
	/* A table that moves away below the TLB. */
	mem_hide(&m->mem, ROM_AT, &x.owner);
	m->r[RAX] = 0x5000;
	assert_int_equal(run(m, "8a 08"), EXC_PF); /* RAM of zeros */
	assert_int_equal(v->exc.error, 0);
}

/* Where nothing is, entries read as ones: of a bus that nobody drives. Here reserved bits are among them. */
static void tables_nowhere(void **state)
{
	struct machine *m = *state;

	paging(PT);
	poke(m, TABLES + 0x2000, NOTHING | PTE_P | PTE_W, 8);
	x86_tlb_flush(m->v, false);
	m->r[RAX] = 0x5000;
	assert_int_equal(run(m, "8a 08"), EXC_PF);
	assert_int_equal(m->v->exc.error, PF_P | PF_RSVD);
	assert_int_equal(x.writes, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		TEST(translations_follow_the_map),
		TEST(rom_writes_reach_the_bus_once),
		TEST(read_modify_write_of_rom),
		TEST(strings_into_rom),
		TEST(writes_are_noted),
		TEST(slow_writes_are_noted),
		TEST(accessed_bits_of_tracked_memory),
		TEST(tables_in_rom),
		TEST(tables_nowhere),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
