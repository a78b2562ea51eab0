/* Vector instructions that access memory element by element: EVEX masking with fault
 * suppression, gathers and scatters, compress and expand, VMASKMOV, MASKMOVDQU (SDM 2A 2.7.11,
 * 2C VGATHER, VPSCATTER, VMASKMOV; 1 14.9). Only selected elements are accessed and may fault,
 * lowest first. */
#include "x86/exec_host.h"

#include <Zydis/Zydis.h>

static gva_t element_address(struct vcpu *v, const struct x86_insn *i, u64 off, unsigned size,
			     enum x86_access acc)
{
	return x86_linear(v, i->seg, off & bits_mask(8 * i->addrsize), size, acc);
}

/* The whole operand if it can be accessed directly, whatever the mask says: the host suppresses
 * nothing then, for nothing faults. */
static u8 *whole_operand(struct vcpu *v, const struct x86_insn *i, unsigned size, bool store)
{
	u64 a = x86_ea(v, i);

	if (!x86_64bit(&v->cpu))
		return NULL;
	if (i->seg >= FS)
		a += v->cpu.seg[i->seg].base;
	return tlb_hit(v, a, size, store);
}

/* The linear address that alignment is about; no check of the segment. */
static u64 operand_linear(const struct vcpu *v, const struct x86_insn *i)
{
	return x86_ea(v, i) + (i->seg < FS && x86_64bit(&v->cpu) ? 0 : v->cpu.seg[i->seg].base);
}

/* --- EVEX masking --- */

/* Elements of memory that a mask selects, a bit each. */
static u64 selected_elements(const struct x86_cpu *cpu, const struct thunk *t)
{
	u64 mask = fpu_get_mask(cpu, t->mask_reg) & bits_mask(t->lanes), elements = 0;

	for (unsigned lane = 0; lane < t->lanes; lane += t->elements)
		elements |= mask >> lane & bits_mask(t->elements);
	return elements;
}

/* Elements of a masked operand: alignment is checked for the operand, if at all. */
static u64 element_read(struct vcpu *v, gva_t a, unsigned size)
{
	u64 value = 0;

	host_load(v, a, &value, size);
	return value;
}

static void element_write(struct vcpu *v, gva_t a, u64 value, unsigned size)
{
	host_store(v, a, &value, size);
}

static void load_selected(struct vcpu *v, const struct x86_insn *i, const struct thunk *t,
			  u64 elements, u8 *to)
{
	unsigned size = t->element_size;
	u64 off = x86_ea(v, i);

	for (unsigned at = 0; at < t->size; at += size, elements >>= 1)
		if (elements & 1)
			le_store(to + at,
				 element_read(v, element_address(v, i, off + at, size, ACC_READ),
					      size),
				 size);
}

static void probe_selected(struct vcpu *v, const struct x86_insn *i, const struct thunk *t,
			   u64 elements)
{
	unsigned size = t->element_size;
	u64 off = x86_ea(v, i);

	if (t->flags & THUNK_WHOLE) {
		x86_probe(v, x86_operand(v, i, t->size, ACC_WRITE), t->size, ACC_WRITE);
		return;
	}
	for (unsigned at = 0; at < t->size; at += size, elements >>= 1)
		if (elements & 1)
			x86_probe(v, element_address(v, i, off + at, size, ACC_WRITE), size,
				  ACC_WRITE);
}

static void store_selected(struct vcpu *v, const struct x86_insn *i, const struct thunk *t,
			   u64 elements, const u8 *from)
{
	unsigned size = t->element_size;
	u64 off = x86_ea(v, i);

	for (unsigned at = 0; at < t->size; at += size, elements >>= 1)
		if (elements & 1)
			element_write(v, element_address(v, i, off + at, size, ACC_WRITE),
				      le_load(from + at, size), size);
}

void exec_host_masked(struct vcpu *v, const struct x86_insn *i)
{
	const struct thunk *t = thunk_of(v, i);
	u8 room[HOST_OPERAND_ROOM] __attribute__((aligned(64))) = { 0 };
	bool store = t->flags & THUNK_STORE;
	u64 elements;
	u32 fault;
	u8 *mem;

	fpu_check_gate(v, t->gate);
	elements = selected_elements(&v->cpu, t);
	mem = whole_operand(v, i, t->size, store);
	if (mem != NULL) {
		fault = host_run(v, t, mem);
	} else {
		u64 linear = operand_linear(v, i);

		mem = room + (linear & 63);
		/* The operand's alignment comes before its pages; with no element selected the
		 * processor may not care. */
		if (linear & t->align_mask) {
			fault = host_run(v, t, mem);
			if (fault)
				host_fault(v, fault);
		}
		if (unlikely(fpu_align_check(v)))
			host_check_alignment(v, t, mem);
		if (store)
			probe_selected(v, i, t, elements);
		else
			load_selected(v, i, t, elements, mem);
		fault = host_run(v, t, mem);
		if (!fault && store)
			store_selected(v, i, t, elements, mem);
	}
	if (unlikely(fault))
		host_fault(v, fault);
	fpu_use(&v->cpu, t->inuse);
}

/* VCOMPRESS to memory, VEXPAND from memory: as many consecutive elements as the mask has bits. */
static void exec_packed(struct vcpu *v, const struct x86_insn *i)
{
	const struct thunk *t = thunk_of(v, i);
	u8 room[HOST_OPERAND_ROOM] __attribute__((aligned(64))) = { 0 };
	bool store = t->flags & THUNK_STORE;
	unsigned count, size;
	gva_t a = 0;
	u32 fault;
	u8 *mem;

	fpu_check_gate(v, t->gate);
	count = (unsigned)__builtin_popcountll(fpu_get_mask(&v->cpu, t->mask_reg) &
					       bits_mask(t->elements));
	size = count * t->element_size;
	mem = whole_operand(v, i, t->size, store);
	if (mem != NULL) {
		fault = host_run(v, t, mem);
	} else {
		mem = room + (operand_linear(v, i) & 63);
		if (unlikely(fpu_align_check(v)))
			host_check_alignment(v, t, mem);
		if (size != 0) {
			a = x86_operand(v, i, size, store ? ACC_WRITE : ACC_READ);
			if (store)
				x86_probe(v, a, size, ACC_WRITE);
			else
				x86_read_bytes(v, a, mem, size);
		}
		fault = host_run(v, t, mem);
		if (!fault && store && size != 0)
			x86_write_bytes(v, a, mem, size);
	}
	if (unlikely(fault))
		host_fault(v, fault);
	fpu_use(&v->cpu, t->inuse);
}

/* --- Gathers and scatters --- */

/* i->imm: bytes of an index, of an element, elements. i->imm2: registers. */
struct vsib {
	u8 index_size, element_size, count, vector_size;
};

static struct vsib vsib_of(const struct x86_insn *i)
{
	struct vsib g;

	memcpy(&g, &i->imm2, sizeof(g));
	return g;
}

static u64 vsib_offset(struct vcpu *v, const struct x86_insn *i, const struct vsib *g, unsigned n)
{
	u64 index = le_load(fpu_vector_at(&v->cpu, i->index, n * g->index_size), g->index_size);

	if (g->index_size == 4)
		index = (u64)(i64)(i32)index; /* always signed */
	return x86_slot(&v->cpu, i->base) + (index << i->scale) + (u64)i->disp;
}

static u64 vsib_read(struct vcpu *v, const struct x86_insn *i, const struct vsib *g, unsigned n)
{
	return x86_read(v,
			element_address(v, i, vsib_offset(v, i, g, n), g->element_size, ACC_READ),
			g->element_size);
}

/* Clears a vector register from byte `from` on. */
static void clear_above(struct x86_cpu *cpu, unsigned n, unsigned from)
{
	unsigned end = xsave_layout()->avx512 ? 64 : 32;

	for (unsigned byte = from; byte < end; byte += 4)
		memset(fpu_vector_at(cpu, n, byte), 0, 4);
}

static u64 vector_components(unsigned n, unsigned size)
{
	return n > 15 ? XC_HI16 : XC_SSE | (size > 16 ? XC_AVX : 0) | (size > 32 ? XC_ZMM_HI : 0);
}

/* AVX2: operands destination, memory, mask vector. Each element done is written and its mask
 * cleared before the next, so that the instruction can be restarted after a fault. */
static void exec_gather_avx2(struct vcpu *v, const struct x86_insn *i)
{
	struct vsib g = vsib_of(i);
	struct x86_cpu *cpu = &v->cpu;
	unsigned to = i->op[0].reg, mask = i->op[2].reg, data = g.count * g.element_size;

	if (!cpuid_bit(v->vm, CPUID_AVX2))
		x86_raise_ud(v);
	fpu_check_gate(v, GATE_AVX);
	if (to == mask || to == i->index || mask == i->index)
		x86_raise_ud(v);
	fpu_use(cpu, vector_components(to, g.vector_size));
	for (unsigned n = 0; n < g.count; n++) {
		u8 *m = fpu_vector_at(cpu, mask, n * g.element_size);

		if (m[g.element_size - 1] & 0x80)
			le_store(fpu_vector_at(cpu, to, n * g.element_size), vsib_read(v, i, &g, n),
				 g.element_size);
		memset(m, 0, g.element_size);
	}
	clear_above(cpu, mask, 0);
	clear_above(cpu, to, data);
}

/* AVX-512: operands destination, opmask, memory. */
static void exec_gather_evex(struct vcpu *v, const struct x86_insn *i)
{
	struct vsib g = vsib_of(i);
	struct x86_cpu *cpu = &v->cpu;
	unsigned to = i->op[0].reg, k = i->op[1].reg;
	u64 mask;

	if (!cpuid_bit(v->vm, CPUID_AVX512F))
		x86_raise_ud(v);
	fpu_check_gate(v, GATE_AVX512);
	if (to == i->index || k == 0)
		x86_raise_ud(v);
	fpu_use(cpu, vector_components(to, g.vector_size));
	mask = fpu_get_mask(cpu, k);
	for (unsigned n = 0; n < g.count; n++) {
		if (!(mask & BIT(n)))
			continue;
		le_store(fpu_vector_at(cpu, to, n * g.element_size), vsib_read(v, i, &g, n),
			 g.element_size);
		mask &= ~BIT(n);
		fpu_set_mask(cpu, k, mask);
	}
	fpu_set_mask(cpu, k, 0);
	clear_above(cpu, to, g.count * g.element_size);
}

/* AVX-512: operands memory, opmask, source. Overlapping elements are written lowest first. */
static void exec_scatter(struct vcpu *v, const struct x86_insn *i)
{
	struct vsib g = vsib_of(i);
	struct x86_cpu *cpu = &v->cpu;
	unsigned k = i->op[1].reg, from = i->op[2].reg;
	u64 mask;

	if (!cpuid_bit(v->vm, CPUID_AVX512F))
		x86_raise_ud(v);
	fpu_check_gate(v, GATE_AVX512);
	if (k == 0)
		x86_raise_ud(v);
	mask = fpu_get_mask(cpu, k);
	for (unsigned n = 0; n < g.count; n++) {
		if (!(mask & BIT(n)))
			continue;
		x86_write(v,
			  element_address(v, i, vsib_offset(v, i, &g, n), g.element_size,
					  ACC_WRITE),
			  le_load(fpu_vector_at(cpu, from, n * g.element_size), g.element_size),
			  g.element_size);
		mask &= ~BIT(n);
		fpu_set_mask(cpu, k, mask);
	}
	fpu_set_mask(cpu, k, 0);
}

/* --- Masked moves --- */

/* VMASKMOVPS/PD, VPMASKMOVD/Q. The element size is in i->imm2, the feature in i->sel. */
static bool lane_on(struct x86_cpu *cpu, unsigned mask, unsigned n, unsigned size)
{
	return *fpu_vector_at(cpu, mask, n * size + size - 1) & 0x80;
}

static void exec_maskmov_load(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->imm2, length = i->op[0].size;
	u64 off = x86_ea(v, i);
	u8 value[64] = { 0 };

	if (!cpuid_bit(v->vm, i->sel))
		x86_raise_ud(v);
	fpu_check_gate(v, GATE_AVX);
	for (unsigned n = 0; n < length / size; n++)
		if (lane_on(&v->cpu, i->op[1].reg, n, size))
			le_store(value + n * size,
				 element_read(v,
					      element_address(v, i, off + n * size, size, ACC_READ),
					      size),
				 size);
	fpu_set_vector(&v->cpu, i->op[0].reg, value, length);
}

static void exec_maskmov_store(struct vcpu *v, const struct x86_insn *i)
{
	unsigned size = i->imm2, count = i->op[0].size / size;
	u64 off = x86_ea(v, i);
	u8 value[64];

	if (!cpuid_bit(v->vm, i->sel))
		x86_raise_ud(v);
	fpu_check_gate(v, GATE_AVX);
	fpu_get_vector(&v->cpu, i->op[2].reg, value, i->op[0].size);
	for (unsigned n = 0; n < count; n++)
		if (lane_on(&v->cpu, i->op[1].reg, n, size))
			x86_probe(v, element_address(v, i, off + n * size, size, ACC_WRITE), size,
				  ACC_WRITE);
	for (unsigned n = 0; n < count; n++)
		if (lane_on(&v->cpu, i->op[1].reg, n, size))
			element_write(v, element_address(v, i, off + n * size, size, ACC_WRITE),
				      le_load(value + n * size, size), size);
}

/* Bytes of `data` whose mask byte is negative go to [rDI]. The whole operand must be writable, whatever
 * the mask says: SDM 2B MASKMOVDQU leaves that to the implementation. */
static void store_bytes(struct vcpu *v, const struct x86_insn *i, const u8 *data, const u8 *mask,
			unsigned count)
{
	gva_t a = x86_operand(v, i, count, ACC_WRITE);

	if ((a & 7) && fpu_align_check(v))
		x86_raise_error(v, EXC_AC, 0);
	x86_probe(v, a, count, ACC_WRITE);
	for (unsigned n = 0; n < count; n++)
		if (mask[n] & 0x80)
			element_write(v, a + n, data[n], 1);
}

static void exec_maskmovdqu(struct vcpu *v, const struct x86_insn *i)
{
	bool vex = i->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
	const struct x86_operand *source = &i->op[i->nops - 2], *mask = &i->op[i->nops - 1];

	if (!cpuid_bit(v->vm, i->sel))
		x86_raise_ud(v);
	fpu_check_gate(v, vex ? GATE_AVX : GATE_SSE);
	store_bytes(v, i, fpu_vector_at(&v->cpu, source->reg, 0),
		    fpu_vector_at(&v->cpu, mask->reg, 0), 16);
}

static void exec_maskmovq(struct vcpu *v, const struct x86_insn *i)
{
	const struct x86_operand *source = &i->op[i->nops - 2], *mask = &i->op[i->nops - 1];
	struct x86_cpu *cpu = &v->cpu;

	if (!cpuid_bit(v->vm, i->sel))
		x86_raise_ud(v);
	fpu_check_gate(v, GATE_MMX);
	fpu_check_pending(v);
	fpu_turn(cpu, 0);
	fpu_enter_mmx(cpu, 0);
	store_bytes(v, i, cpu->xsave + FX_ST + 16 * source->reg,
		    cpu->xsave + FX_ST + 16 * mask->reg, 8);
}

/* --- Binding --- */

static const struct vsib_row {
	u16 mnemonic;
	u8 index_size, element_size;
	bool scatter;
} vsib_rows[] = {
	{ ZYDIS_MNEMONIC_VGATHERDPS, 4, 4, false }, { ZYDIS_MNEMONIC_VGATHERDPD, 4, 8, false },
	{ ZYDIS_MNEMONIC_VGATHERQPS, 8, 4, false }, { ZYDIS_MNEMONIC_VGATHERQPD, 8, 8, false },
	{ ZYDIS_MNEMONIC_VPGATHERDD, 4, 4, false }, { ZYDIS_MNEMONIC_VPGATHERDQ, 4, 8, false },
	{ ZYDIS_MNEMONIC_VPGATHERQD, 8, 4, false }, { ZYDIS_MNEMONIC_VPGATHERQQ, 8, 8, false },
	{ ZYDIS_MNEMONIC_VSCATTERDPS, 4, 4, true }, { ZYDIS_MNEMONIC_VSCATTERDPD, 4, 8, true },
	{ ZYDIS_MNEMONIC_VSCATTERQPS, 8, 4, true }, { ZYDIS_MNEMONIC_VSCATTERQPD, 8, 8, true },
	{ ZYDIS_MNEMONIC_VPSCATTERDD, 4, 4, true }, { ZYDIS_MNEMONIC_VPSCATTERDQ, 4, 8, true },
	{ ZYDIS_MNEMONIC_VPSCATTERQD, 8, 4, true }, { ZYDIS_MNEMONIC_VPSCATTERQQ, 8, 8, true },
};

static x86_exec_fn *bind_vsib(struct x86_insn *i, const struct x86_zydis *z)
{
	const struct vsib_row *r = vsib_rows;
	bool evex = z->insn->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	unsigned length = z->insn->avx.vector_length / 8u;
	struct vsib g;

	while (r < vsib_rows + ARRAY_LEN(vsib_rows) && r->mnemonic != i->mnemonic)
		r++;
	if (r == vsib_rows + ARRAY_LEN(vsib_rows))
		return NULL;
	g.index_size = r->index_size;
	g.element_size = r->element_size;
	g.count = (u8)(length / MAX(r->index_size, r->element_size));
	g.vector_size = (u8)(g.count * g.element_size);
	memcpy(&i->imm2, &g, sizeof(g));
	if (r->scatter)
		return exec_scatter;
	return evex ? exec_gather_evex : exec_gather_avx2;
}

static bool is_packed(const struct x86_insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_VCOMPRESSPS:
	case ZYDIS_MNEMONIC_VCOMPRESSPD:
	case ZYDIS_MNEMONIC_VPCOMPRESSB:
	case ZYDIS_MNEMONIC_VPCOMPRESSW:
	case ZYDIS_MNEMONIC_VPCOMPRESSD:
	case ZYDIS_MNEMONIC_VPCOMPRESSQ:
	case ZYDIS_MNEMONIC_VEXPANDPS:
	case ZYDIS_MNEMONIC_VEXPANDPD:
	case ZYDIS_MNEMONIC_VPEXPANDB:
	case ZYDIS_MNEMONIC_VPEXPANDW:
	case ZYDIS_MNEMONIC_VPEXPANDD:
	case ZYDIS_MNEMONIC_VPEXPANDQ: return true;
	default: return false;
	}
}

static x86_exec_fn *bind_maskmov(struct x86_insn *i, u16 feature, unsigned size)
{
	i->sel = feature;
	i->imm2 = size;
	return i->op[0].kind == OPK_MEM ? exec_maskmov_store : exec_maskmov_load;
}

x86_exec_fn *host_bind_gather(struct x86_insn *i, const struct x86_zydis *z)
{
	struct thunk_plan p;

	if (i->flags & INSN_VSIB)
		return bind_vsib(i, z);
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS: return bind_maskmov(i, CPUID_AVX, 4);
	case ZYDIS_MNEMONIC_VMASKMOVPD: return bind_maskmov(i, CPUID_AVX, 8);
	case ZYDIS_MNEMONIC_VPMASKMOVD: return bind_maskmov(i, CPUID_AVX2, 4);
	case ZYDIS_MNEMONIC_VPMASKMOVQ: return bind_maskmov(i, CPUID_AVX2, 8);
	case ZYDIS_MNEMONIC_MASKMOVQ: i->sel = CPUID_SSE; return exec_maskmovq;
	case ZYDIS_MNEMONIC_MASKMOVDQU: i->sel = CPUID_SSE2; return exec_maskmovdqu;
	case ZYDIS_MNEMONIC_VMASKMOVDQU: i->sel = CPUID_AVX; return exec_maskmovdqu;
	default: break;
	}
	if (is_packed(i) && thunk_plan(&p, z) && (p.t.flags & THUNK_MASKED))
		return exec_packed;
	return NULL;
}
