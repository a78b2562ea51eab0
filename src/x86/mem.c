/* Linear memory accesses that the inline fast path of mem.h did not take: TLB misses, page-crossing accesses, MMIO,
 * pages with cached code, data breakpoints, alignment checks. */
#include "x86/mem.h"

#include "x86/exec.h"
#include "x86/tlb.h"

/* The parts of an access that may span two pages. */
struct span {
	struct x86_place at[2];
	unsigned first; /* bytes on the first page */
};

static enum tlb_mode current_mode(const struct vcpu *v)
{
	return (enum tlb_mode)(v->tlb - v->tlbs);
}

static gva_t linear_wrap(const struct vcpu *v, gva_t a) { return x86_long(&v->cpu) ? a : (u32)a; }

static u64 mmio(struct vcpu *v, enum exit_kind kind, gpa_t gpa, u64 value, unsigned size)
{
	struct exit e = { .kind = kind, .size = (u8)size, .addr = gpa, .value = value };

	v->exit(v, &e);
	return e.value;
}

static unsigned mmio_piece(gpa_t gpa, unsigned size)
{
	unsigned piece = 8;

	while (piece > size || gpa & (piece - 1))
		piece >>= 1;
	return piece;
}

static void place_read(struct vcpu *v, const struct x86_place *p, u8 *buf, unsigned size)
{
	if (p->host) {
		memcpy(buf, p->host, size);
		return;
	}
	for (unsigned done = 0, piece; done < size; done += piece) {
		piece = mmio_piece(p->gpa + done, size - done);
		le_store(buf + done, mmio(v, EXIT_MMIO_READ, p->gpa + done, 0, piece), piece);
	}
}

static void place_write(struct vcpu *v, const struct x86_place *p, const u8 *buf, unsigned size)
{
	if (p->host && !p->readonly) {
		if (p->code)
			v->vm->code_written(v->vm, p->host, size);
		if (p->track)
			*p->flags |= MEM_PAGE_DIRTY;
		memcpy(p->host, buf, size);
		return;
	}
	for (unsigned done = 0, piece; done < size; done += piece) {
		piece = mmio_piece(p->gpa + done, size - done);
		mmio(v, EXIT_MMIO_WRITE, p->gpa + done, le_load(buf + done, piece), piece);
	}
}

/* Translates all of an access of at most one page, so that nothing happens if any part faults. */
static struct span span_of(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc,
			   enum tlb_mode mode)
{
	struct span s = { .first = size };
	unsigned room = 4096 - (unsigned)(a & 0xfff);

	a = linear_wrap(v, a);
	if (size > room) {
		gva_t next = linear_wrap(v, a + room);

		/* Only the stack and the last page below the hole can get here non-canonical; a fault on the operand's own
		 * segment. */
		if (x86_long(&v->cpu) && !x86_canonical(next))
			x86_raise_gp0(v);
		s.first = room;
		s.at[0] = x86_translate(v, a, acc, mode);
		s.at[1] = x86_translate(v, next, acc, mode);
		return s;
	}
	s.at[0] = x86_translate(v, a, acc, mode);
	return s;
}

static void span_read(struct vcpu *v, const struct span *s, u8 *buf, unsigned size)
{
	place_read(v, &s->at[0], buf, s->first);
	if (size > s->first)
		place_read(v, &s->at[1], buf + s->first, size - s->first);
}

static void span_write(struct vcpu *v, const struct span *s, const u8 *buf, unsigned size)
{
	place_write(v, &s->at[0], buf, s->first);
	if (size > s->first)
		place_write(v, &s->at[1], buf + s->first, size - s->first);
}

static void check_access(struct vcpu *v, gva_t a, unsigned size)
{
	if (unlikely(a & (size - 1)) && x86_alignment_checked(&v->cpu))
		x86_raise_error(v, EXC_AC, 0);
}

static void check_watch(struct vcpu *v, gva_t a, unsigned size, bool write)
{
	if (unlikely(v->cpu.dr[7] & 0xff))
		x86_data_breakpoint(v, a, size, write);
}

static u64 read_mode(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc,
		     enum tlb_mode mode)
{
	struct span s = span_of(v, a, size, acc, mode);
	u64 value = 0;

	span_read(v, &s, (u8 *)&value, size);
	check_watch(v, a, size, acc == ACC_RMW);
	return value;
}

static void write_mode(struct vcpu *v, gva_t a, u64 value, unsigned size, enum tlb_mode mode)
{
	struct span s = span_of(v, a, size, ACC_WRITE, mode);

	span_write(v, &s, (const u8 *)&value, size);
	check_watch(v, a, size, true);
}

u64 x86_read_slow(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc)
{
	check_access(v, a, size);
	return read_mode(v, a, size, acc, current_mode(v));
}

void x86_write_slow(struct vcpu *v, gva_t a, u64 value, unsigned size)
{
	check_access(v, a, size);
	write_mode(v, a, value, size, current_mode(v));
}

/* tlb_hit with the rights of mode. */
static u8 *hit_in(struct vcpu *v, gva_t a, unsigned size, bool write, enum tlb_mode mode)
{
	const struct tlb *t = &v->tlbs[mode];
	unsigned slot = tlb_slot(a);

	return tlb_covers(write ? t->write[slot] : t->read[slot], a, size)
		       ? (u8 *)(uintptr_t)(a + t->addend[slot])
		       : NULL;
}

static u64 read_with(struct vcpu *v, gva_t a, unsigned size, enum tlb_mode mode)
{
	const u8 *p = hit_in(v, a, size, false, mode);

	return likely(p) ? le_load(p, size) : read_mode(v, a, size, ACC_READ, mode);
}

static void write_with(struct vcpu *v, gva_t a, u64 value, unsigned size, enum tlb_mode mode)
{
	u8 *p = hit_in(v, a, size, true, mode);

	if (likely(p))
		le_store(p, value, size);
	else
		write_mode(v, a, value, size, mode);
}

u64 x86_read_sys(struct vcpu *v, gva_t a, unsigned size)
{
	return read_with(v, a, size, TLB_SUPER);
}

void x86_write_sys(struct vcpu *v, gva_t a, u64 value, unsigned size)
{
	write_with(v, a, value, size, TLB_SUPER);
}

static enum tlb_mode mode_of_cpl(const struct vcpu *v, unsigned cpl)
{
	if (cpl == 3)
		return TLB_USER;
	return v->cpu.rflags & FL_AC && v->cpu.cpl < 3 ? TLB_SUPER_AC : TLB_SUPER;
}

u64 x86_read_as(struct vcpu *v, gva_t a, unsigned size, unsigned cpl)
{
	return read_with(v, a, size, mode_of_cpl(v, cpl));
}

void x86_write_as(struct vcpu *v, gva_t a, u64 value, unsigned size, unsigned cpl)
{
	write_with(v, a, value, size, mode_of_cpl(v, cpl));
}

void x86_probe(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc)
{
	span_of(v, a, size, acc, current_mode(v));
}

void x86_probe_sys(struct vcpu *v, gva_t a, unsigned size, enum x86_access acc)
{
	span_of(v, a, size, acc, TLB_SUPER);
}

void x86_read_bytes(struct vcpu *v, gva_t a, void *buf, unsigned size)
{
	struct span s = span_of(v, a, size, ACC_READ, current_mode(v));

	span_read(v, &s, buf, size);
	check_watch(v, a, size, false);
}

void x86_write_bytes(struct vcpu *v, gva_t a, const void *buf, unsigned size)
{
	struct span s = span_of(v, a, size, ACC_WRITE, current_mode(v));

	span_write(v, &s, buf, size);
	check_watch(v, a, size, true);
}

u8 *x86_direct(struct vcpu *v, gva_t a, enum x86_access acc)
{
	struct x86_place p;

	a = linear_wrap(v, a);
	if (unlikely(v->cpu.dr[7] & 0xff) && x86_page_watched(v, a & ~0xfffull))
		return NULL;
	p = x86_translate(v, a, acc, current_mode(v));
	if (acc != ACC_READ && (p.code || p.readonly))
		return NULL;
	return p.host;
}

unsigned x86_fetch(struct vcpu *v, gva_t a, u8 *buf, unsigned max)
{
	unsigned room = 4096 - (unsigned)(a & 0xfff);
	unsigned size = MIN(room, max);
	struct x86_place p = x86_translate(v, linear_wrap(v, a), ACC_EXEC, current_mode(v));

	place_read(v, &p, buf, size);
	return size;
}

u8 *x86_fetch_host(struct vcpu *v, gva_t a)
{
	return x86_translate(v, linear_wrap(v, a), ACC_EXEC, current_mode(v)).host;
}
